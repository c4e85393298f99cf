"""The link of a simulated charger: connecting, booting, speaking in turn, and delivering the offline queue.

`Charger` (in `ocpp_charger`) stands on this and adds sockets, meters and people. What is said in OCPP 1.6 and
2.0.1 words stands in `dialect16` and `dialect201`; this file is the same for both.
"""

from __future__ import annotations

import abc
import asyncio
import base64
import contextlib
import itertools
import random
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, get_args
from urllib.parse import quote

from websockets import ClientProtocol
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from simulators.clock import wall_ms
from simulators.faults import Faults
from simulators.physics import Kind, Outlet
from simulators.station import KIND_START, SETTINGS, Connector, Outbox, Queued, Session
from simulators.transcript import Transcript
from simulators.wire import (
    CALL,
    CALLRESULT,
    CallRefusedError,
    CallTimeoutError,
    LinkLostError,
    Payload,
    Version,
    Wire,
)

if TYPE_CHECKING:
    from simulators.dialect16 import Dialect16
    from simulators.dialect201 import Dialect201

TICK_S = 0.02
FASTEST_SAMPLE_S = 0.05
SUBPROTOCOLS: dict[Version, str] = {"1.6": "ocpp1.6", "2.0.1": "ocpp2.0.1"}
IST_MS = 19_800_000


class Line(abc.ABC):
    """Everything of a charger that has to do with its link. The parameters are explained at `Charger`."""

    def __init__(
        self,
        identity: str,
        url: str,
        *,
        version: Version = "1.6",
        connectors: int = 1,
        kind: Kind = "AC",
        rated_kw: float = 7.4,
        power_scale: float = 1.0,
        seed: int = 0,
        password: str | None = None,
        faults: Iterable[str] = (),
        settings: dict[str, str] | None = None,
        register_wh: float = 1_000_000.0,
        queue_file: Path | None = None,
        transcript: Transcript | None = None,
        call_timeout_s: float = 10.0,
        reconnect_s: float = 0.2,
        answer_delay_s: float = 0.0,
        check_schemas: bool = True,
        tick_s: float = TICK_S,
        vendor: str = "Witness",
        model: str = "Sim-1",
    ) -> None:
        if version not in get_args(Version):
            raise ValueError(f"no simulator for OCPP {version}")
        self.identity, self.url, self.version = identity, url, version
        self.kind, self.rated_kw, self.power_scale = kind, rated_kw, power_scale
        self.password = password
        self.faults = Faults(frozenset(faults), seed)
        self.rng = random.Random(f"{identity}/{seed}")
        self.settings = {**SETTINGS, **(settings or {})}
        self.fixed_settings = frozenset(settings or ())
        self.transcript = transcript if transcript is not None else Transcript()
        self.call_timeout_s, self.reconnect_s = call_timeout_s, reconnect_s
        self.answer_delay_s, self.check_schemas, self.tick_s = answer_delay_s, check_schemas, tick_s
        self.vendor, self.model, self.serial = vendor, model, f"SN-{identity}"[:25]
        self.firmware = "1.0.0"
        self.connectors = {
            number: Connector(
                number,
                Outlet(
                    kind=kind,
                    rated_w=rated_kw * 1000,
                    phases=3 if kind == "AC" and rated_kw > 7.5 else 1,
                    power_scale=power_scale,
                    register_wh=register_wh,
                    rng=random.Random(f"{identity}/{seed}/{number}"),
                ),
            )
            for number in range(1, connectors + 1)
        }
        self.outbox = Outbox(queue_file, cap=100 if self.faults.on("queue_cap_100_drop_oldest") else None)
        self.truth: list[Session] = []
        self.complaints: list[str] = []
        self.refusals: list[str] = []  # handshakes the server refused
        self.boots = 0
        self.is_accepted = False
        self.heartbeat_s = 300.0
        self.profiles: list[Payload] = []
        self.local_list_version = 0
        self.boot_reason = "PowerUp"
        self._needs_boot = True
        self._powered, self._linked, self._hang_up = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._work, self._boot_now = asyncio.Event(), asyncio.Event()
        self._turn = asyncio.Lock()  # OCPP-J: one outstanding CALL per side
        self._notices: deque[tuple[int, str, Payload]] = deque()
        self._held_start: dict[str, Queued] = {}
        self._held_sample: Queued | None = None
        self._cut_ms = 0
        self._wire: Wire | None = None
        self._zombies: list[ClientConnection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._ids = itertools.count(1)
        self.dialect = self.make_dialect()

    # -- life ------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Power on and keep connecting until `stop`."""
        self._powered.set()
        self._linked.set()
        self._own(self._live())
        self.begin_work()
        if self.faults.on("flapping_link"):
            self._own(self._flap())

    async def stop(self) -> None:
        """Take it out of service: close the link (going away) and end everything it does."""
        wire, self._wire = self._wire, None
        if wire is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await wire.socket.close(1001)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for socket in self._zombies:
            socket.transport.abort()

    @property
    @property
    def effective_kw(self) -> float:
        """The rating the central system should know: nameplate times `power_scale`."""
        return self.rated_kw * self.power_scale

    @property
    def is_online(self) -> bool:
        """Connected and accepted by the central system."""
        return self._wire is not None and self.is_accepted

    @property
    def sample_every_s(self) -> float | None:
        """Real seconds between two samples of a session; `None`: none are taken."""
        interval = float(self.settings["MeterValueSampleInterval"])
        return max(FASTEST_SAMPLE_S, interval / self.power_scale) if interval > 0 else None

    def now_ms(self) -> int:
        """The charger's own clock, right or wrong."""
        now = wall_ms()
        if self.faults.on("clock_1970"):
            return now % 86_400_000
        return now + IST_MS if self.faults.on("clock_plus_5h30") else now

    # -- what the charger above adds ----------------------------------------------------------------------------

    @abc.abstractmethod
    def make_dialect(self) -> Dialect16 | Dialect201:
        """The words of this charger's OCPP version."""

    @abc.abstractmethod
    def begin_work(self) -> None:
        """Start whatever runs beside the link."""

    @abc.abstractmethod
    def tell_statuses(self, *, everything: bool) -> None:
        """After (re)connecting: queue the states the central system does not know."""

    @abc.abstractmethod
    def learn(self, session: Session | None, answer: Payload) -> None:
        """Take in the answer to a start."""

    @abc.abstractmethod
    async def go_offline(self, seconds: float | None = None) -> None:
        """Lose the link; with `seconds` it comes back by itself."""

    def note(self, sentence: str) -> None:
        self.transcript.add(self.identity, "note", sentence)

    def complain(self, sentence: str) -> None:
        """Record a breach of protocol by the central system."""
        self.complaints.append(sentence)
        self.note(f"complaint: {sentence}")

    def tell(self, action: str, payload: Payload) -> None:
        """Queue a message that is lost with the link."""
        self._notices.append((wall_ms(), action, payload))
        self._work.set()

    def reboot(self, reason: str) -> None:
        """Forget what a reboot forgets; the next connection starts with a boot."""
        self.boot_reason = reason
        self._needs_boot = not self.faults.on("no_boot_on_reconnect") or self.boots == 0
        if self.faults.on("reuse_message_id_after_boot"):
            self._ids = itertools.count(1)

    def boot_again(self) -> None:
        """Asked by TriggerMessage while pending."""
        self._boot_now.set()

    async def call(self, action: str, payload: Payload, *, message_id: str | None = None) -> Payload:
        """Send a CALL in turn and wait for its answer. Raises LinkLostError, CallTimeoutError, CallRefusedError."""
        async with self._turn:
            wire = self._wire
            if wire is None:
                raise LinkLostError("not connected")
            message_id = message_id or self._message_id()
            followers: list[list[Any]] = []
            if self.faults.chance("duplicate_frames", 0.5):
                followers.append([CALL, message_id, action, payload])
            if self.faults.on("call_while_awaiting"):
                followers.append([CALL, self._message_id(), "Heartbeat", {}])
            return await wire.call(message_id, action, payload, timeout_s=self.call_timeout_s, followed_by=followers)

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self.complain(f"the simulator itself failed: {fault!r}")

    async def _later(self, seconds: float, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await asyncio.sleep(seconds)
        await act()

    def _message_id(self) -> str:
        return str(next(self._ids)) if self.faults.on("reuse_message_id_after_boot") else str(uuid.uuid4())

    def _drop_link(self, *, silently: bool = False) -> None:
        wire, self._wire = self._wire, None
        self.is_accepted = False
        if wire is None:
            return
        wire.is_muted = True
        if self.faults.on("half_open") or silently:
            wire.socket.transport.pause_reading()
            self._zombies.append(wire.socket)
        else:
            wire.socket.transport.abort()
        wire.fail_pending()
        self._hang_up.set()

    async def _flap(self) -> None:
        while True:
            await asyncio.sleep(self.faults.rng.uniform(0.6, 1.4))
            if self._powered.is_set() and self._linked.is_set():
                await self.go_offline(self.faults.rng.uniform(0.1, 0.3))

    # -- the link ------------------------------------------------------------------------------------------------

    def _address(self) -> str:
        written = quote(self.identity, safe="")
        if self.faults.on("escaped_id"):
            written = f"%{ord(self.identity[0]):02X}{quote(self.identity[1:], safe='')}"
        return f"{self.url.rstrip('/')}{'//' if self.faults.on('slash_slash_id') else '/'}{written}"

    async def _connect(self) -> ClientConnection:
        headers = {}
        if self.password is not None:
            pair = base64.b64encode(f"{self.identity}:{self.password}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
        offered = None if self.faults.on("no_subprotocol") else [Subprotocol(SUBPROTOCOLS[self.version])]
        socket = await connect(
            self._address(),
            subprotocols=offered,
            additional_headers=headers,
            compression=None,
            ping_interval=float(self.settings["WebSocketPingInterval"]) or None,
            close_timeout=1,
            max_size=2**23,
            proxy=None,
        )
        if offered and socket.subprotocol != SUBPROTOCOLS[self.version]:
            self.complain(f"the server chose the subprotocol {socket.subprotocol!r}")
        if self.faults.on("ignores_server_ping") or self.faults.on("drops_on_server_ping"):
            _break_pings(socket, drop=self.faults.on("drops_on_server_ping"))
        return socket

    async def _live(self) -> None:
        delay = self.reconnect_s
        while True:
            await self._powered.wait()
            await self._linked.wait()
            try:
                socket = await self._connect()
            except (OSError, InvalidHandshake, TimeoutError) as refused:
                self.refusals.append(str(refused))
                self.note(f"no connection: {refused}")
                await asyncio.sleep(delay * self.rng.uniform(0.8, 1.2))
                delay = min(delay * 2, 30 * self.reconnect_s)
                continue
            delay = self.reconnect_s
            if self._powered.is_set() and self._linked.is_set():
                await self._converse(socket)
            else:
                socket.transport.abort()
            await asyncio.sleep(self.reconnect_s)

    async def _converse(self, socket: ClientConnection) -> None:
        wire = Wire(
            socket,
            version=self.version,
            who=self.identity,
            handler=self.dialect.handle,
            transcript=self.transcript,
            complain=self.complain,
            answer_delay_s=self.answer_delay_s,
            check_schemas=self.check_schemas,
        )
        self._hang_up.clear()
        self._wire = wire
        tasks = {asyncio.create_task(work) for work in (wire.run(), self._speak(), self._hung_up())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception) and not isinstance(outcome, LinkLostError):
                    self.complain(f"the simulator itself failed: {outcome!r}")
            if self._wire is wire:
                self._wire, self.is_accepted = None, False
            if not wire.is_muted:
                socket.transport.abort()
            if self._notices:  # told to nobody: say it again on the next link
                for connector in self.connectors.values():
                    connector.reported_status = None
            self._notices.clear()
            self.dialect.link_lost(self.outbox.items)

    async def _hung_up(self) -> None:
        await self._hang_up.wait()

    async def _speak(self) -> None:
        if self._needs_boot or self.faults.on("boot_every_reconnect"):
            await self._boot()
            fresh = True
        else:
            fresh = False
        self.is_accepted = True
        self.tell_statuses(everything=fresh)
        pulse = asyncio.create_task(self._pulse())
        try:
            await self._pump()
        finally:
            pulse.cancel()
            await asyncio.gather(pulse, return_exceptions=True)

    async def _boot(self) -> None:
        while True:
            self._boot_now.clear()
            action, payload = self.dialect.boot(self.boot_reason)
            try:
                answer = await self.call(action, payload)
            except (CallTimeoutError, CallRefusedError) as refused:
                self.note(f"boot not answered: {refused}")
                answer = {"status": "Rejected", "interval": self.reconnect_s}
            self.heartbeat_s = float(answer.get("interval") or 300)
            if answer.get("status") == "Accepted":
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.heartbeat_s):
                    await self._boot_now.wait()
        self.boots += 1
        self._needs_boot = False
        if self.faults.on("reply_unknown_id") and self._wire is not None:
            await self._wire.send([CALLRESULT, "nobody-asked-for-this", {}])

    async def _pulse(self) -> None:
        while True:
            await asyncio.sleep(self.heartbeat_s)
            with contextlib.suppress(LinkLostError, CallTimeoutError, CallRefusedError):
                await self.call("Heartbeat", {})

    async def _pump(self) -> None:
        while True:
            head = self.outbox.head()
            notice = self._notices[0] if self._notices else None
            if notice is not None and (head is None or notice[0] <= head.created_ms):
                self._notices.popleft()
                with contextlib.suppress(CallTimeoutError, CallRefusedError):
                    await self.call(notice[1], notice[2])
            elif head is not None:
                await self._deliver(head)
            else:
                self._work.clear()
                await self._work.wait()

    async def _deliver(self, item: Queued) -> None:
        session = next((s for s in self.truth if s.local_id == item.session), None)
        payload = self.dialect.addressed(item, session)
        message_id = self._message_id()
        try:
            answer = await self.call(item.action, payload, message_id=message_id)
        except (CallTimeoutError, CallRefusedError) as refused:
            await self._retry_later(item, refused)
            return
        self.outbox.drop(item)
        if item.kind != KIND_START:
            return
        self.learn(session, answer)
        for fault, again in (("dup_start_same_id", message_id), ("dup_start_new_id", None)):
            if self.faults.on(fault):
                self.learn(session, await self.call(item.action, payload, message_id=again))

    async def _retry_later(self, item: Queued, refused: Exception) -> None:
        item.attempts += 1
        allowed = 3 if self.faults.on("discard_after_3_attempts") else self._whole("TransactionMessageAttempts")
        if item.attempts >= allowed:
            self.complain(f"{item.action} given up after {item.attempts} attempts: {refused}")
            self.outbox.drop(item)
            return
        # OCPP 1.6 3.7.1: the wait grows with the number of the attempt.
        wait = float(self.settings["TransactionMessageRetryInterval"]) * item.attempts
        self.note(f"{item.action} failed ({refused}); again in {wait} s")
        await asyncio.sleep(wait)

    def _whole(self, key: str) -> int:
        return int(self.settings[key])


def _break_pings(socket: ClientConnection, *, drop: bool) -> None:
    """Make the connection leave pings unanswered, or fall over them."""
    protocol: ClientProtocol = socket.protocol
    honest = protocol.send_frame

    def send_frame(frame: Frame) -> None:
        if frame.opcode is not Opcode.PONG:
            honest(frame)
        elif drop:
            socket.transport.abort()

    protocol.send_frame = send_frame  # type: ignore[method-assign]  # the one place where a pong is made
