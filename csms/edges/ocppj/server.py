"""The door for chargers: an OCPP-J WebSocket server that knows who is connected and nothing of what they mean.

    handshake ─▶ admit (the application) ─▶ Link ─▶ its dialect's handlers
                                             └─ newest wins: a second link of the same charger closes the first

Whoever starts this in a process should do `bytearray(1 << 20)` once before: it raises glibc's mmap threshold,
without which stock asyncio pays 17 µs of kernel time for every read (SPEED.md A). TLS wants uvloop: stock asyncio
keeps 256 KiB per TLS connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from ssl import SSLContext, SSLObject
from typing import Any, Final

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.connection import ChargerConnection
from csms.edges.ocppj.handshake import (
    Admission,
    Attempt,
    BadPath,
    Credentials,
    PingPolicy,
    Turnstile,
    choose_version,
    read_credentials,
    read_identity,
    read_query_identity,
    retry_after_s,
)
from csms.edges.ocppj.link import REPLACED, SILENT, Dialect, Handler, Hooks, Link, Router, Stats
from csms.edges.ocppj.schemas import schemas_for
from csms.edges.ocppj.wheel import Wheel

__all__ = [
    "REPLACED",
    "SILENT",
    "Admission",
    "Attempt",
    "Credentials",
    "Dialect",
    "Handler",
    "Hooks",
    "Limits",
    "Link",
    "OcppServer",
    "PingPolicy",
    "Stats",
]

log = structlog.get_logger(__name__)

GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
INTERNAL_ERROR: Final = 1011

HARD_MAX_SIZE: Final = 8 << 20

# How long a stopping server waits for chargers to answer its close frames. They all wait at the same time.
_LAST_WORDS_S: Final = 1.0

Admit = Callable[[Attempt], Admission | Awaitable[Admission]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one node stands. The defaults are OCPP.md 6.2."""

    max_size: int = 2 << 20  # bytes of one inbound message; never above 8 MiB
    handshakes_per_s: float = 200.0
    open_timeout_s: float = 10.0  # a handshake over 2G takes a few seconds, TLS included
    backlog: int = 1024
    drain_s: float = 5.0  # for answers under way when the server stops; the whole process has 10 s
    slot_ms: int = 100  # how late a timeout or ping may be


def monotonic_ms() -> int:
    """A clock that never jumps; its zero means nothing."""
    return time.monotonic_ns() // 1_000_000


class OcppServer:
    """`start` it, and chargers that `admit` accepts become `links`; `stop` it, and everything read is answered first.

    `clock` gives UTC ms for what others see; `steady` ms for timeouts, since a step of the wall clock must not
    kill ten thousand links. `chance` in [0, 1) spreads the Retry-After of refused handshakes.
    """

    def __init__(
        self,
        *,
        dialects: Mapping[Version, Dialect],
        admit: Admit,
        clock: Callable[[], int],
        chance: Callable[[], float],
        hooks: Hooks | None = None,
        limits: Limits | None = None,
        steady: Callable[[], int] = monotonic_ms,
        strict: bool = False,
    ) -> None:
        self.clock = clock
        self.steady = steady
        self.hooks = Hooks() if hooks is None else hooks
        self.limits = Limits() if limits is None else limits
        self.stats = Stats()
        self.links: dict[str, Link] = {}
        self._admit = admit
        self._chance = chance
        self._routers = {
            version: Router(version, dialect, schemas_for(version, strict=strict))
            for version, dialect in dialects.items()
        }
        self._turnstile = Turnstile(self.limits.handshakes_per_s)
        self._wheel: Wheel[Link] = Wheel(self.limits.slot_ms)
        self._timer: asyncio.TimerHandle | None = None
        self._servers: list[Server] = []
        self._sockets: set[ChargerConnection] = set()
        self._is_stopping = False

    # Start and stop

    async def start(self, host: str, port: int, *, ssl: SSLContext | None = None, is_relic: bool = False) -> int:
        """Listen, and again on another port when called again; the port, which the system chooses for 0.

        `is_relic` marks a listener that takes outdated TLS: whoever comes there is known by it (`Attempt`).
        """
        options: Any = {} if ssl is None else {"ssl_handshake_timeout": self.limits.open_timeout_s}
        server = await serve(
            self._serve,
            host,
            port,
            ssl=ssl,
            compression=None,
            create_connection=self._connection_type(is_relic=is_relic),
            process_request=self._process_request,
            process_response=self._process_response,
            select_subprotocol=self._select_subprotocol,
            server_header=None,
            open_timeout=self.limits.open_timeout_s,
            ping_interval=None,  # the wheel pings, by each charger's own policy
            max_size=min(self.limits.max_size, HARD_MAX_SIZE),
            backlog=self.limits.backlog,
            **options,
        )
        self._servers.append(server)
        if self._timer is None:
            self._turn()
        return _port(server)

    @property
    def port(self) -> int:
        """The port of the first listener."""
        if not self._servers:
            raise RuntimeError("the server is not started")
        return _port(self._servers[0])

    async def stop(self) -> None:
        """Accept no more, answer what was read (for `drain_s` at most), close every link with 1001. Idempotent."""
        if not self._servers:
            return
        self._is_stopping = True
        for server in self._servers:
            server.server.close()  # the listener; the connections follow below
        for link in list(self.links.values()):
            link.stop_listening()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.limits.drain_s):
                while any(link.open_questions for link in self.links.values()):  # noqa: ASYNC110  # answers come from many hands; once per life
                    await asyncio.sleep(0.01)
        for link in list(self.links.values()):
            link.close(GOING_AWAY, "the central system is shutting down", linger_s=_LAST_WORDS_S)
        for server in self._servers:
            server.close(code=GOING_AWAY)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await asyncio.gather(*(server.wait_closed() for server in self._servers))
        for connection in list(self._sockets):  # mid-handshake, or not answering our close
            connection.transport.abort()
        await asyncio.gather(*(server.wait_closed() for server in self._servers))
        self._servers.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _connection_type(self, *, is_relic: bool) -> type[ChargerConnection]:
        server, relic = self, is_relic

        class Connection(ChargerConnection):
            steady = staticmethod(server.steady)
            on_abandoned = staticmethod(server._abandoned)
            sockets = server._sockets
            is_relic = relic

        return Connection

    # Handshake

    async def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        assert isinstance(connection, ChargerConnection)  # ours are the only ones made
        remote = _remote(connection)
        if self._is_stopping:
            return self._turn_away(connection, None, 503, "The central system is shutting down.", remote)
        _forget_empty_offer(request)
        try:
            # The request's form first, so that the application is not bothered with what is no WebSocket.
            connection.protocol.process_request(request)
        except (InvalidHandshake, ValueError):
            return None  # the library meets the same fault again and words the answer
        named = read_query_identity(request.path)
        try:
            identity, has_path = read_identity(request.path), True
        except BadPath as error:
            if named is None:
                return self._turn_away(connection, None, 404, str(error), remote)
            identity, has_path = named, False
        connection.identity = identity
        if not self._turnstile.admits(self.steady()):
            sentence = "Too many chargers are connecting at once; please come back a little later."
            return self._turn_away(connection, identity, 503, sentence, remote)
        try:
            attempt = _attempt(connection, request, identity, remote)
            admission = self._admit(replace(attempt, query_identity=named, has_path_identity=has_path))
            if isinstance(admission, Awaitable):
                admission = await admission
        except Exception:
            self.stats.handler_errors += 1
            log.exception("ocppj.admission_failed", station=identity)
            sentence = "The central system could not decide; please come back a little later."
            return self._turn_away(connection, identity, 503, sentence, remote)
        if admission.status is not None:
            return self._turn_away(connection, identity, admission.status, admission.reason, remote)
        if admission.identity is not None:
            connection.identity = admission.identity
        if connection.connection_lost_waiter.done():
            self._abandoned(connection)
        else:
            connection.admission = admission
        return None

    def _turn_away(
        self, connection: ChargerConnection, identity: str | None, status: int, sentence: str, remote: str
    ) -> Response:
        response = connection.respond(status, sentence.rstrip() + "\n")
        if status == 401:
            response.headers["WWW-Authenticate"] = 'Basic realm="OCPP", charset="UTF-8"'
        if status in (429, 503):
            response.headers["Retry-After"] = str(retry_after_s(self._chance))
        self._refused(identity, sentence, remote)
        return response

    def _refused(self, identity: str | None, sentence: str, remote: str) -> None:
        self.stats.refused += 1
        try:
            self.hooks.on_refused(identity, sentence, remote)
        except Exception:
            self.stats.handler_errors += 1
            log.exception("ocppj.hook_failed", station=identity)

    def _select_subprotocol(self, connection: ServerConnection, offered: Any) -> Subprotocol | None:
        assert isinstance(connection, ChargerConnection)  # ours are the only ones made
        admission = connection.admission
        if not isinstance(admission, Admission):
            return None  # the first look at the request's form
        chosen = choose_version(offered, admission.versions & self._routers.keys())
        return None if chosen is None else Subprotocol(chosen[1])

    async def _process_response(self, connection: ServerConnection, request: Request, response: Response) -> None:
        """Report what the library itself refuses: no upgrade, wrong version, a missing key."""
        assert isinstance(connection, ChargerConnection)  # ours are the only ones made
        if connection.protocol.handshake_exc is not None:
            connection.admission = None
            body = bytes(response.body or b"").decode(errors="replace").strip()
            self._refused(_identity_or_none(request), body, _remote(connection))

    def _abandoned(self, connection: ChargerConnection) -> None:
        self._refused(connection.identity, "The charger left during the handshake.", _remote(connection))

    # Links

    async def _serve(self, connection: ServerConnection) -> None:
        """Life of one accepted socket. Runs in the same step as the handshake's answer, so nothing is missed."""
        assert isinstance(connection, ChargerConnection)  # ours are the only ones made
        admission, connection.admission = connection.admission, None
        if not isinstance(admission, Admission) or connection.identity is None or connection.request is None:
            raise AssertionError("a connection was served without admission")
        offered = _offered(connection.request)
        if not offered:
            version: Version | None = admission.default_version
        else:
            version = next((v for v in Version if v.value == (connection.subprotocol or "").lower()), None)
        router = None if version is None else self._routers.get(version)
        if router is None:
            # T2: finish the handshake without the header, then close.
            sentence = f"None of the subprotocols offered is spoken here: {', '.join(offered) or version}."
            self._refused(connection.identity, sentence, _remote(connection))
            connection.shut(PROTOCOL_ERROR, "no common subprotocol")
        else:
            others = [] if offered else [r for v, r in self._routers.items() if v in admission.versions - {version}]
            self._open(connection, router, admission, connection.identity, next(iter(others), None))
        await connection.wait_closed()

    def _open(
        self,
        connection: ChargerConnection,
        router: Router,
        admission: Admission,
        identity: str,
        other: Router | None,
    ) -> None:
        older = self.links.get(identity)
        if older is not None and older.epoch > admission.epoch:
            # Two handshakes overtook each other; the one admitted last is the newest.
            self._refused(identity, "A newer connection of this charger is open.", _remote(connection))
            connection.shut(REPLACED, "replaced")
            return
        remote = _remote(connection)
        link = Link(self, connection, router, admission=admission, identity=identity, remote=remote, other=other)
        self.links[identity] = link
        if older is not None:
            self.stats.replaced += 1
            older.close(REPLACED, "replaced")
        self.stats.opened += 1
        try:
            self.hooks.on_open(link)
        except Exception:
            self.stats.handler_errors += 1
            log.exception("ocppj.open_failed", station=identity)
            link.close(INTERNAL_ERROR, "the central system failed")
            return
        self.schedule(link, link.next_wake())
        connection.attach(link.on_text, link.lost)

    def forget(self, link: Link) -> None:
        """See `Surroundings`."""
        if self.links.get(link.identity) is link:  # not when a newer one has taken the place
            del self.links[link.identity]

    # Time

    def schedule(self, link: Link, at_ms: int | None) -> None:
        """See `Surroundings`."""
        if at_ms is None or not link.is_open:
            self._wheel.drop(link)
        else:
            self._wheel.set(link, at_ms)

    def _turn(self) -> None:
        """One turn of the wheel; the only timer there is."""
        self._timer = asyncio.get_running_loop().call_later(self.limits.slot_ms / 1000, self._turn)
        now_ms = self.steady()
        for link in self._wheel.due(now_ms):
            try:
                self.schedule(link, link.wake(now_ms))
            except Exception:
                self.stats.handler_errors += 1
                log.exception("ocppj.wake_failed", station=link.identity)
                self.schedule(link, now_ms + 1000)


def _port(server: Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


def _remote(connection: ServerConnection) -> str:
    address = connection.remote_address
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)


def _offered(request: Request) -> tuple[str, ...]:
    values = request.headers.get_all("Sec-WebSocket-Protocol")
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def _forget_empty_offer(request: Request) -> None:
    """An empty subprotocol header is no offer; the library would call it malformed."""
    if "Sec-WebSocket-Protocol" in request.headers and not _offered(request):
        del request.headers["Sec-WebSocket-Protocol"]


def _identity_or_none(request: Request) -> str | None:
    try:
        return read_identity(request.path)
    except BadPath:
        return None


def _attempt(connection: ChargerConnection, request: Request, identity: str, remote: str) -> Attempt:
    authorization = request.headers.get_all("Authorization")
    agents = request.headers.get_all("User-Agent")
    tls = connection.transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert() if isinstance(tls, SSLObject) else None
    return Attempt(
        identity=identity,
        offered=_offered(request),
        credentials=read_credentials(authorization[0] if authorization else None, identity),
        remote=remote,
        is_tls=tls is not None,
        is_relic=connection.is_relic,
        peer_certificate=certificate or None,
        peer_certificate_der=tls.getpeercert(binary_form=True) if isinstance(tls, SSLObject) else None,
        user_agent=agents[0] if agents else None,
    )
