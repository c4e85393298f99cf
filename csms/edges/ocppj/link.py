"""A live link to one charger, and the seam between the transport and whoever gives the messages meaning.

    raw text ─▶ on_text ─▶ one decode ─▶ dialect handler ─▶ … commit … ─▶ link.answer
                   └─ anything unusual ─▶ Conversation ─▶ refusal, outcome of a call of ours, repeat

Handlers run inside the read loop and must not block; they answer whenever they are ready. A handler that raises
costs the charger an InternalError, never its connection.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from csms.edges.ocppj.codes import Fault, Version
from csms.edges.ocppj.connection import ChargerConnection
from csms.edges.ocppj.frames import Call, Payload
from csms.edges.ocppj.handshake import Admission, Pace, PingPolicy
from csms.edges.ocppj.schemas import ACTION_DOES_NOT_FIT, Decode, Problem, SchemaSet
from csms.edges.ocppj.session import (
    REMEMBERED_CALLS,
    Asked,
    Conversation,
    Event,
    Garbled,
    LateAnswer,
    LinkLost,
    Outcome,
    Priority,
    Settled,
    Tally,
    TimedOut,
)

log = structlog.get_logger(__name__)

# OCPP.md 6.2: 45 s for a CALL of ours unless the charger's model says otherwise.
CALL_TIMEOUT_S: Final = 45.0

# What may wait while the application holds a link. Beyond it the socket is not read, so TCP holds the rest.
MOST_HELD_FRAMES: Final = 64
MOST_HELD_BYTES: Final = 4 << 20

_IS_CALL: Final = re.compile(rb"\s*\[\s*2\s*,")

OnOutcome = Callable[[Outcome], None]


class Handler(Protocol):
    """`request` is the action's generated struct, `raw` the whole frame as it came."""

    def __call__(self, link: Link, message_id: str, request: Any, raw: bytes, /) -> None: ...


class Dialect(Protocol):
    """What one OCPP version means to the application."""

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """Action -> handler. A known action without one is NotSupported, an unknown one NotImplemented."""
        ...

    @property
    def mended_actions(self) -> frozenset[str]:
        """Actions of which a message that does not fit its schema goes to `misfit` instead of being refused."""
        ...

    def misfit(  # the seam as the dialects know it
        self,
        link: Link,
        message_id: str,
        action: str,
        payload: dict[str, Any] | None,
        raw: bytes,
        problems: list[Problem],
    ) -> None:
        """Repair the message or put it into quarantine, and answer it. `payload` is None when it is no object."""
        ...


@dataclass(slots=True)
class Stats(Tally):
    """Everything the transport counts, for the whole server."""

    frames_in: int = 0
    frames_out: int = 0
    answers_dropped: int = 0
    handler_errors: int = 0
    misfits: int = 0
    opened: int = 0
    refused: int = 0
    replaced: int = 0
    died_silent: int = 0


def _ignore(*_: Any) -> None:
    """The hook nobody wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the application may want to know. All run on the loop and must be quick; one that raises is logged.

    `on_frame` (link, "in" or "out", text, UTC ms) is for a frame log; leave it None and it costs nothing.
    `on_refused` gets the identity (None when the path had none), a sentence and the remote address. `on_version`:
    a charger that offered no subprotocol turned out to speak another version than was taken for granted.
    """

    on_open: Callable[[Link], None] = _ignore
    on_close: Callable[[Link, int], None] = _ignore
    on_malformed: Callable[[Link, str, bytes], None] = _ignore
    on_refused: Callable[[str | None, str, str], None] = _ignore
    on_version: Callable[[Link], None] = _ignore
    on_frame: Callable[[Link, str, bytes, int], None] | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Where an action goes."""

    action: str
    handler: Handler
    decode: Decode


class Router:
    """One version's actions, shared by all its links. Routes are built when first needed."""

    def __init__(self, version: Version, dialect: Dialect, schemas: SchemaSet) -> None:
        self.version = version
        self.dialect = dialect
        self.schemas = schemas
        self.by_name: dict[bytes, Route] = {}  # by the action's bytes, as they stand in a frame

    def find(self, action: str) -> Route | None:
        """The route of an action, None when the dialect has no handler for it."""
        handler = self.dialect.handlers.get(action)
        if handler is None or action not in self.schemas.actions:
            return None
        name = action.encode()
        if name not in self.by_name:
            self.by_name[name] = Route(action, handler, self.schemas.decoder(action))
        return self.by_name[name]


class Surroundings(Protocol):
    """What a link needs of its server."""

    clock: Callable[[], int]
    steady: Callable[[], int]
    stats: Stats
    hooks: Hooks

    def schedule(self, link: Link, at_ms: int | None) -> None:
        """Call `link.wake` at a steady time, None for never."""
        ...

    def forget(self, link: Link) -> None:
        """The link is closed; stop counting it among the live ones."""
        ...


class Link:
    """One charger on one socket. `context` belongs to the application; so does what it makes of `epoch`."""

    __slots__ = (
        "__weakref__",
        "_asked_ms",
        "_callbacks",
        "_connection",
        "_conversation",
        "_draining",
        "_held",
        "_held_bytes",
        "_holds",
        "_latest_answer_ms",
        "_on_frame",
        "_other",
        "_pinged_ms",
        "_routes",
        "_server",
        "close_code",
        "connected_ms",
        "context",
        "epoch",
        "identity",
        "is_open",
        "peer_name",
        "ping",
        "remote",
        "router",
        "version",
    )

    def __init__(
        self,
        server: Surroundings,
        connection: ChargerConnection,
        router: Router,
        *,
        admission: Admission,
        identity: str,
        remote: str,
        other: Router | None = None,
    ) -> None:
        self.identity = identity
        self.remote = remote
        self.version = router.version
        self.router = router
        self.epoch = admission.epoch
        self.context = admission.context
        self.peer_name = admission.peer_name
        self.ping: PingPolicy = admission.ping
        self.connected_ms = server.clock()
        self.is_open = True
        self.close_code: int | None = None
        self._server = server
        self._connection = connection
        self._routes = router.by_name
        self._conversation = Conversation(router.version, tally=server.stats)
        self._callbacks: dict[str, OnOutcome] = {}
        self._on_frame = server.hooks.on_frame
        self._pinged_ms = connection.heard_ms
        self._holds = 0
        self._draining = False
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._other = other  # what it may speak instead, when it did not say
        # When they asked, kept only for a charger that must not be answered too late.
        self._asked_ms: dict[str, int] | None = None
        self._latest_answer_ms = 0
        self._keep_pace(admission.pace)

    def __repr__(self) -> str:
        return f"<Link {self.identity} {self.version} epoch {self.epoch}>"

    @property
    def last_seen_ms(self) -> int:
        """When any byte last came, pongs included; UTC ms. Inside a handler that is when its frame came."""
        return self._server.clock() - (self._server.steady() - self._connection.heard_ms)

    @property
    def open_questions(self) -> int:
        """CALLs of the charger that are read but not answered, held ones included."""
        return self._conversation.open_questions + len(self._held)

    # Theirs

    def on_text(self, raw: bytes) -> None:
        """Take one text frame. The common case is decoded once and handed to its handler; never raises."""
        if not self.is_open:  # we hung up within the same chunk of bytes
            return
        self._server.stats.frames_in += 1
        if self._on_frame is not None:
            self._guard(self._on_frame, self, "in", raw, self._server.clock())
        if (self._holds or self._held) and _IS_CALL.match(raw):
            self._keep(raw)
        else:
            self._take(raw)

    def _take(self, raw: bytes) -> None:
        parts = raw.split(b'"', 4)  # [2,  id  ,  action  ,{…}]
        if len(parts) == 5:
            route = self._routes.get(parts[3])
            # An id with escapes takes the slow path: it is not echoed by its own bytes.
            if route is not None and b"\\" not in parts[1]:
                try:
                    kind, message_id, action, request = route.decode(raw)
                except ACTION_DOES_NOT_FIT:
                    kind = 0
                if kind == 2:
                    if self._conversation.asked(message_id, action, hash(raw)):
                        self._handle(route, message_id, request, raw)
                    else:
                        self._flush()
                    return
        self._digest(self._conversation.receive(raw, self._server.steady()), raw)

    def _handle(self, route: Route, message_id: str, request: Any, raw: bytes) -> None:
        if self._asked_ms is not None:
            self._asked_ms[message_id] = self._server.steady()
        try:
            route.handler(self, message_id, request, raw)
        except Exception:  # noqa: BLE001  # logged and answered by _failed
            self._failed(message_id, route.action)

    def _digest(self, events: list[Event], raw: bytes = b"") -> None:
        for event in events:
            match event:
                case Asked(call):
                    try:
                        self._ask(call, raw)
                    except Exception:  # noqa: BLE001  # logged and answered by _failed
                        self._failed(call.message_id, call.action)
                case Settled(message_id, outcome):
                    self._settle(message_id, outcome)
                case Garbled(malformed):
                    self._guard(self._server.hooks.on_malformed, self, malformed.reason, raw)
        self._flush()
        if events:
            self._reschedule()

    def _ask(self, call: Call, raw: bytes) -> None:
        if self._other is not None and _fits(self._other, call) and not _fits(self.router, call):
            self._switch(self._other)
        router = self.router
        route = router.find(call.action)
        if route is None:
            known = call.action in router.schemas.actions
            fault = Fault.NOT_SUPPORTED if known else Fault.NOT_IMPLEMENTED
            self.refuse(call.message_id, fault, f"{call.action[:50]} is {'not offered' if known else 'unknown'}")
            return
        fitted = router.schemas.fit(call.action, call.payload)
        if not isinstance(fitted, list):
            self._handle(route, call.message_id, fitted, raw)
            return
        self._server.stats.misfits += 1
        if call.action not in router.dialect.mended_actions:
            self.refuse(call.message_id, fitted[0].fault, str(fitted[0]))
            return
        payload = call.payload if isinstance(call.payload, dict) else None
        try:
            router.dialect.misfit(self, call.message_id, call.action, payload, raw, fitted)
        except Exception:  # noqa: BLE001  # logged and answered by _failed
            self._failed(call.message_id, call.action)

    def _failed(self, message_id: str, action: str) -> None:
        """Our bug: say so once, let the charger repeat, keep the connection."""
        self._server.stats.handler_errors += 1
        log.exception("ocppj.handler_failed", station=self.identity, action=action)
        self.refuse(message_id, Fault.INTERNAL, "The central system failed to process the message.")

    def answer(self, message_id: str, payload: Payload) -> bool:
        """Answer a CALL, after the commit. Bytes are a JSON object already. False: nobody is there to hear it."""
        frame = self._conversation.answer(message_id, payload)
        return self._reply(None if self._is_too_late(message_id) else frame)

    def refuse(
        self, message_id: str, fault: Fault, description: str = "", details: dict[str, Any] | None = None
    ) -> bool:
        """Answer a CALL with a CALLERROR; the charger may repeat the message. False as in `answer`."""
        frame = self._conversation.refuse(message_id, fault, description, details)
        return self._reply(None if self._is_too_late(message_id) else frame)

    def _is_too_late(self, message_id: str) -> bool:
        """Whether this charger has given the question up and would stumble over the answer (quirk NO_LATE_CONF)."""
        if self._asked_ms is None:
            return False
        now_ms = self._server.steady()
        return now_ms - self._asked_ms.pop(message_id, now_ms) > self._latest_answer_ms

    def _switch(self, router: Router) -> None:
        """It speaks the other version: from this frame on so do we."""
        self.router, self.version, self._routes, self._other = router, router.version, router.by_name, None
        self._conversation.version = router.version
        self._guard(self._server.hooks.on_version, self)

    def follow(self, ping: PingPolicy, pace: Pace) -> None:
        """From now on this is how the charger is treated: more is known of it than when it came."""
        self.ping = ping
        self._keep_pace(pace)
        self._reschedule()

    def _keep_pace(self, pace: Pace) -> None:
        self._conversation.pace_ms = int(pace.between_calls_s * 1000)
        if pace.latest_answer_s is None:
            self._asked_ms = None
        else:
            self._asked_ms = self._asked_ms or {}
            self._latest_answer_ms = int(pace.latest_answer_s * 1000)

    def _reply(self, frame: bytes | None) -> bool:
        if frame is not None and self._write(frame):
            return True
        self._server.stats.answers_dropped += 1
        return False

    def _write(self, frame: bytes) -> bool:
        if not self._connection.send_text(frame):
            return False
        self._server.stats.frames_out += 1
        if self._on_frame is not None:
            self._guard(self._on_frame, self, "out", frame, self._server.clock())
        return True

    def _flush(self) -> None:
        for frame in self._conversation.data_to_send():
            self._write(frame)

    # Holding

    def hold(self) -> None:
        """Let further CALLs of the charger wait, in order, until `release`. Answers to our own calls still pass."""
        self._holds += 1

    def release(self) -> None:
        """Take back one `hold`; after the last one what waited is served, even if the socket has gone meanwhile."""
        if self._holds == 0:
            raise RuntimeError("release without hold")
        self._holds -= 1
        if self._draining:
            return
        self._draining = True
        try:
            while self._held and not self._holds:
                raw = self._held.popleft()
                self._held_bytes -= len(raw)
                self._take(raw)
        finally:
            self._draining = False
        if len(self._held) <= MOST_HELD_FRAMES // 2 and self._held_bytes <= MOST_HELD_BYTES // 2:
            self._connection.resume("held")

    def _keep(self, raw: bytes) -> None:
        self._held.append(raw)
        self._held_bytes += len(raw)
        if len(self._held) >= MOST_HELD_FRAMES or self._held_bytes >= MOST_HELD_BYTES:
            self._connection.pause("held")

    # Ours

    def call(
        self,
        action: str,
        payload: Payload,
        on_outcome: OnOutcome,
        *,
        message_id: str,
        priority: Priority = Priority.CONFIG,
        expires_ms: int | None = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        """Queue a CALL; `on_outcome` gets exactly one outcome, and after a `TimedOut` perhaps a `LateAnswer`.

        `expires_ms` is UTC; a call still waiting then is never sent. On a closed link the outcome is `LinkLost`
        at once. Raises `QueueFull` or `DuplicateCall`, and then there is no outcome.
        """
        if not self.is_open:
            on_outcome(LinkLost(sent=False))
            return
        now_ms = self._server.steady()
        events = self._conversation.call(
            message_id,
            action,
            payload,
            now_ms=now_ms,
            timeout_ms=int(timeout_s * 1000),
            priority=priority,
            expires_ms=None if expires_ms is None else now_ms + expires_ms - self._server.clock(),
        )
        self._callbacks[message_id] = on_outcome
        self._digest(events)
        self._reschedule()

    def _settle(self, message_id: str, outcome: Outcome) -> None:
        on_outcome = self._callbacks.pop(message_id, None)
        if on_outcome is None:
            return
        if isinstance(outcome, TimedOut):
            self._callbacks[message_id] = on_outcome  # moved to the end: the oldest are forgotten first
            self._forget_old_calls()
        try:
            on_outcome(outcome)
        except Exception:
            self._server.stats.handler_errors += 1
            late = isinstance(outcome, LateAnswer)
            log.exception("ocppj.outcome_failed", station=self.identity, message_id=message_id, late=late)

    def _forget_old_calls(self) -> None:
        # As many as the conversation can still tell a late answer for, and all that wait.
        for message_id in list(self._callbacks)[: max(0, len(self._callbacks) - REMEMBERED_CALLS)]:
            if not self._conversation.is_pending(message_id):
                del self._callbacks[message_id]

    # Life

    def wake(self, now_ms: int) -> int | None:
        """Do what is due at steady time `now_ms`; returns when to be woken next, None for never."""
        connection = self._connection
        dead_after_s, interval_s = self.ping.dead_after_s, self.ping.interval_s
        if connection.is_paused:
            connection.heard_ms = now_ms  # a charger we do not listen to is not silent
        if dead_after_s is not None and now_ms - connection.heard_ms >= dead_after_s * 1000:
            self._server.stats.died_silent += 1
            self.close(SILENT, "silent", linger_s=0)
            return None
        if interval_s is not None and now_ms >= self._ping_due(interval_s):
            self._pinged_ms = now_ms
            connection.send_ping()
        self._digest(self._conversation.tick(now_ms))
        return self.next_wake()

    def _ping_due(self, interval_s: float) -> int:
        return max(self._connection.heard_ms, self._pinged_ms) + int(interval_s * 1000)

    def next_wake(self) -> int | None:
        """The earliest steady time at which `wake` has something to do."""
        times = [self._conversation.next_deadline()] if self.is_open else []
        if self.is_open and self.ping.interval_s is not None:
            times.append(self._ping_due(self.ping.interval_s))
        if self.is_open and self.ping.dead_after_s is not None:
            times.append(self._connection.heard_ms + int(self.ping.dead_after_s * 1000))
        return min((at for at in times if at is not None), default=None)

    def _reschedule(self) -> None:
        self._server.schedule(self, self.next_wake())

    def close(self, code: int, reason: str, *, linger_s: float = 5.0) -> None:
        """Hang up now: the close frame leaves, calls get their `LinkLost`, `on_close` is called; all before return."""
        self._connection.shut(code, reason, linger_s=linger_s)
        self.lost(code)

    def stop_listening(self) -> None:
        """Read no more; what was read can still be answered (the first half of a shutdown)."""
        self._connection.pause("stopping")

    def lost(self, code: int) -> None:
        """The socket is gone or as good as gone. Happens once, whoever says it first."""
        if not self.is_open:
            return
        self.is_open = False
        self.close_code = code
        self._server.schedule(self, None)
        self._server.forget(self)
        for event in self._conversation.lost():
            if isinstance(event, Settled):
                self._settle(event.message_id, event.outcome)
        self._callbacks.clear()
        self._guard(self._server.hooks.on_close, self, code)

    def _guard(self, hook: Callable[..., None], *arguments: Any) -> None:
        try:
            hook(*arguments)
        except Exception:
            self._server.stats.handler_errors += 1
            log.exception("ocppj.hook_failed", station=self.identity)


def _fits(router: Router, call: Call) -> bool:
    """Whether this is a message of that version, as it should be."""
    if router.find(call.action) is None:
        return False
    return not isinstance(router.schemas.fit(call.action, call.payload), list)


# Close codes of our own (RFC 6455 7.4.2 leaves 4000-4999 to applications).
REPLACED: Final = 4001
SILENT: Final = 4002
