"""One conversation with one charger over one socket, without the socket.

Feed it text with `receive`, hand it calls with `call`, wake it with `tick` at `next_deadline`; after each of
these write what `data_to_send` gives. Answers are the exception: `answer` and `refuse` return their frame, since
they leave one by one, after a commit. All times are milliseconds on one steady clock of the caller's choice.

                                 ours                                          theirs
    call ─▶ WAITING ─▶ IN THE AIR ─▶ Answered | Refused          receive ─▶ Asked ─▶ answer | refuse
              │            └─ timeout ─▶ TimedOut ┄▶ LateAnswer       └─ a repeat ─▶ the remembered answer again
              └─ Expired
    lost ─▶ LinkLost for everything of ours that has no outcome yet

One CALL of ours at a time (T3); theirs may cross it and are served meanwhile. Message ids serve only to replay
an answer inside this one connection, and only for the same bytes: real stacks reuse ids (OCPP.md appendix).
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from csms.edges.ocppj.codes import Fault, Version, error_code
from csms.edges.ocppj.frames import (
    Call,
    Error,
    Malformed,
    Payload,
    Result,
    encode_call,
    encode_error,
    encode_id,
    encode_result,
    parse,
    reply_to_malformed,
)

# A charger has one to three messages outstanding, so a true repeat comes soon. 16 answers are 4 KiB per charger.
REMEMBERED_ANSWERS: Final = 16
LARGEST_REMEMBERED: Final = 4096
"""Bytes. A larger answer (a certificate, a report) is worked out again instead."""

# Our own finished calls, so that a late or doubled answer is known for what it is.
REMEMBERED_CALLS: Final = 32
LONGEST_QUEUE: Final = 256

# Answers that hold the clock or a permission grow stale and cost nothing to work out again: never replayed. A
# charger that restarts its ids with the same number after every boot would otherwise get last week's time.
ALWAYS_FRESH: Final = frozenset({"BootNotification", "Heartbeat", "Authorize"})


class Priority(IntEnum):
    """What goes first when several calls wait (OCPP.md 6.2)."""

    STOP = 0
    UNLOCK = 1
    START = 2
    PROFILE = 3
    CONFIG = 4
    REPORT = 5


@dataclass(frozen=True, slots=True)
class Answered:
    """The charger answered."""

    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """The charger sent a CALLERROR."""

    code: str
    description: str
    details: object


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Sent, and no answer in time. A `LateAnswer` may follow."""


@dataclass(frozen=True, slots=True)
class Expired:
    """Never sent: it waited past its usefulness."""


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The socket went. `sent` tells whether the charger may have seen the call."""

    sent: bool


@dataclass(frozen=True, slots=True)
class LateAnswer:
    """What came after `TimedOut` was already reported for the same call."""

    answer: Answered | Refused


Outcome = Answered | Refused | TimedOut | Expired | LinkLost | LateAnswer


@dataclass(frozen=True, slots=True)
class Asked:
    """The charger asks and expects `answer` or `refuse` for `call.message_id`."""

    call: Call


@dataclass(frozen=True, slots=True)
class Settled:
    """A call of ours has an outcome."""

    message_id: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Garbled:
    """The frame was no message; whatever may be answered has been."""

    malformed: Malformed


Event = Asked | Settled | Garbled


@dataclass(slots=True)
class Tally:
    """What was ignored or repeated, counted. One tally may serve many conversations."""

    malformed: int = 0
    unknown_type: int = 0
    repeats_replayed: int = 0
    repeats_ignored: int = 0
    ids_reused: int = 0
    answers_doubled: int = 0
    answers_unknown: int = 0
    answers_late: int = 0
    answers_unasked: int = 0
    calls_timed_out: int = 0
    calls_expired: int = 0


class QueueFull(Exception):
    """More calls wait for this charger than could ever be useful."""


class DuplicateCall(Exception):
    """A message id of ours was used twice; ids are unique for ever (T4)."""


@dataclass(slots=True)
class _Waiting:
    frame: bytes
    expires_ms: int | None
    timeout_ms: int


class Conversation:
    """See the module. `remember` bounds the answers kept for replay."""

    __slots__ = (
        "_air",
        "_air_deadline_ms",
        "_answered",
        "_clashing",
        "_echo",
        "_finished",
        "_open",
        "_outgoing",
        "_queue",
        "_ready_ms",
        "_remember",
        "_sequence",
        "_waiting",
        "pace_ms",
        "tally",
        "version",
    )

    def __init__(self, version: Version, *, tally: Tally | None = None, remember: int = REMEMBERED_ANSWERS) -> None:
        self.version = version
        self.pace_ms = 0  # calls of ours leave at least so far apart (quirk ONE_COMMAND_PER_10S)
        self._ready_ms = 0
        self.tally = Tally() if tally is None else tally
        self._remember = remember
        self._outgoing: list[bytes] = []
        # Theirs: id -> fingerprint while unanswered, then id -> (fingerprint, frame). `_clashing` holds later
        # questions under an id that is still open, `_echo` the ids that must not be echoed as plain strings.
        self._open: dict[str, int] = {}
        self._answered: dict[str, tuple[int, bytes]] = {}
        self._clashing: dict[str, deque[int]] | None = None
        self._echo: dict[str, bytes] | None = None
        # Ours: a heap of (priority, order, id) over `_waiting`, the one in the air, and the ones that are over
        # with whether an answer would be late (True) or doubled (False).
        self._queue: list[tuple[int, int, str]] = []
        self._waiting: dict[str, _Waiting] = {}
        self._sequence = 0
        self._air: str | None = None
        self._air_deadline_ms = 0
        self._finished: dict[str, bool] = {}

    # Theirs

    def receive(self, text: bytes, now_ms: int) -> list[Event]:
        """Take one frame. Never raises, whatever it holds."""
        match parse(text):
            case Call() as call:
                if not self.asked(call.message_id, call.action, hash(text)):
                    return []
                plain = encode_id(call.message_id)
                if call.echo != plain:
                    self._echo = self._echo or {}
                    self._echo[call.message_id] = call.echo
                return [Asked(call)]
            case Result(message_id, payload):
                return self._replied(message_id, Answered(payload), now_ms)
            case Error(message_id, code, description, details):
                return self._replied(message_id, Refused(code, description, details), now_ms)
            case Malformed() as bad:
                if bad.fault is Fault.MESSAGE_TYPE:
                    self.tally.unknown_type += 1
                else:
                    self.tally.malformed += 1
                reply = reply_to_malformed(bad, self.version)
                if reply is not None:
                    self._outgoing.append(reply)
                if bad.fault is not None or bad.message_id is None:
                    return [Garbled(bad)]
                # A result of which only the id can be read is read as an empty one, as null is: no better one is
                # coming, and whoever asked would keep every call behind it waiting for the whole time-out.
                return [Garbled(bad), *self._replied(bad.message_id, Answered({}), now_ms)]

    def asked(self, message_id: str, action: str, fingerprint: int) -> bool:
        """Note their CALL. True: it is new and waits for `answer` or `refuse`. False: a repeat, dealt with.

        `fingerprint` is a hash of the whole frame, so "the same" means the same bytes. A repeat of an answered
        CALL queues the remembered answer; a repeat of an open one is dropped, since its answer is coming.
        """
        # Zero marks an answer that is not to be remembered; a real hash of zero is merely not remembered either.
        mark = 0 if action in ALWAYS_FRESH else fingerprint
        if message_id in self._open:
            return self._asked_while_open(message_id, mark)
        answered = self._answered.get(message_id)
        if answered is not None:
            if answered[0] == mark:
                self.tally.repeats_replayed += 1
                self._outgoing.append(answered[1])
                return False
            self.tally.ids_reused += 1
            del self._answered[message_id]
        self._open[message_id] = mark
        return True

    def _asked_while_open(self, message_id: str, mark: int) -> bool:
        clashing = () if self._clashing is None else self._clashing.get(message_id, ())
        if mark and (mark == self._open[message_id] or mark in clashing):
            self.tally.repeats_ignored += 1
            return False
        self.tally.ids_reused += 1
        self._clashing = self._clashing or {}
        self._clashing.setdefault(message_id, deque()).append(mark)
        return True

    def answer(self, message_id: str, payload: Payload) -> bytes | None:
        """The CALLRESULT to write, None when nobody is waiting for it (any more)."""
        if message_id not in self._open:
            self.tally.answers_unasked += 1
            return None
        return self._close(message_id, encode_result(self._echo_of(message_id), payload))

    def refuse(
        self,
        message_id: str,
        fault: Fault,
        description: str = "",
        details: dict[str, Any] | None = None,
    ) -> bytes | None:
        """The CALLERROR to write, None when nobody is waiting. Not remembered: a repeat is a new attempt."""
        if message_id not in self._open:
            self.tally.answers_unasked += 1
            return None
        self._open[message_id] = 0
        code = error_code(self.version, fault)
        return self._close(message_id, encode_error(self._echo_of(message_id), code, description, details))

    def _echo_of(self, message_id: str) -> bytes:
        return (self._echo and self._echo.get(message_id)) or encode_id(message_id)

    def _close(self, message_id: str, frame: bytes) -> bytes:
        fingerprint = self._open.pop(message_id)
        if self._clashing and message_id in self._clashing:
            later = self._clashing[message_id]
            self._open[message_id] = later.popleft()
            if not later:
                del self._clashing[message_id]
        elif self._echo:
            self._echo.pop(message_id, None)
        if fingerprint and len(frame) <= LARGEST_REMEMBERED:
            self._answered[message_id] = (fingerprint, frame)
            if len(self._answered) > self._remember:
                del self._answered[next(iter(self._answered))]
        return frame

    @property
    def open_questions(self) -> int:
        """How many CALLs of the charger wait for our answer."""
        return len(self._open) + sum(len(later) for later in (self._clashing or {}).values())

    # Ours

    def call(
        self,
        message_id: str,
        action: str,
        payload: Payload,
        *,
        now_ms: int,
        timeout_ms: int,
        priority: Priority = Priority.CONFIG,
        expires_ms: int | None = None,
    ) -> list[Event]:
        """Queue a call of ours; it leaves when it is the most urgent one and the air is free.

        The timeout runs from when it leaves. A call still waiting at `expires_ms` never leaves. Raises
        `QueueFull` and `DuplicateCall`; in both cases nothing was queued.
        """
        if message_id == self._air or message_id in self._waiting or message_id in self._finished:
            raise DuplicateCall(message_id)
        if len(self._waiting) >= LONGEST_QUEUE:
            raise QueueFull(f"{LONGEST_QUEUE} calls are waiting")
        self._waiting[message_id] = _Waiting(encode_call(message_id, action, payload), expires_ms, timeout_ms)
        self._sequence += 1
        heapq.heappush(self._queue, (priority, self._sequence, message_id))
        return self._launch(now_ms)

    def tick(self, now_ms: int) -> list[Event]:
        """Do what is due. Call it at `next_deadline`; earlier or later does no harm."""
        events: list[Event] = []
        if self._air is not None and now_ms >= self._air_deadline_ms:
            self.tally.calls_timed_out += 1
            events.append(Settled(self._air, TimedOut()))
            self._finish(self._air, may_come_late=True)
        for message_id in [
            message_id
            for message_id, waiting in self._waiting.items()
            if waiting.expires_ms is not None and now_ms >= waiting.expires_ms
        ]:
            events.append(self._expire(message_id))
        return events + self._launch(now_ms)

    def next_deadline(self) -> int | None:
        """When `tick` has something to do, None when never."""
        times = [waiting.expires_ms for waiting in self._waiting.values() if waiting.expires_ms is not None]
        if self._air is not None:
            times.append(self._air_deadline_ms)
        elif self._waiting and self.pace_ms:
            times.append(self._ready_ms)
        return min(times, default=None)

    def lost(self) -> list[Event]:
        """The socket is gone: every call without an outcome gets one."""
        events: list[Event] = []
        if self._air is not None:
            events.append(Settled(self._air, LinkLost(sent=True)))
        events.extend(
            Settled(message_id, LinkLost(sent=False))
            for _, _, message_id in sorted(self._queue)
            if message_id in self._waiting
        )
        self._air = None
        self._queue.clear()
        self._waiting.clear()
        self._outgoing.clear()
        return events

    def data_to_send(self) -> list[bytes]:
        """Frames to write now, in this order."""
        frames, self._outgoing = self._outgoing, []
        return frames

    @property
    def in_the_air(self) -> str | None:
        """The message id of our one CALL the charger has not answered yet."""
        return self._air

    def is_pending(self, message_id: str) -> bool:
        """Whether a call of ours still waits or is in the air."""
        return message_id == self._air or message_id in self._waiting

    def _launch(self, now_ms: int) -> list[Event]:
        events: list[Event] = []
        while self._air is None and self._queue and not (self.pace_ms and now_ms < self._ready_ms):
            _, _, message_id = heapq.heappop(self._queue)
            waiting = self._waiting.get(message_id)
            if waiting is None:  # expired while it waited
                continue
            if waiting.expires_ms is not None and now_ms >= waiting.expires_ms:
                events.append(self._expire(message_id))
                continue
            del self._waiting[message_id]
            self._air = message_id
            self._air_deadline_ms = now_ms + waiting.timeout_ms
            self._ready_ms = now_ms + self.pace_ms
            self._outgoing.append(waiting.frame)
        return events

    def _expire(self, message_id: str) -> Settled:
        del self._waiting[message_id]
        self.tally.calls_expired += 1
        return Settled(message_id, Expired())

    def _finish(self, message_id: str, *, may_come_late: bool) -> None:
        self._air = None
        self._finished[message_id] = may_come_late
        if len(self._finished) > REMEMBERED_CALLS:
            del self._finished[next(iter(self._finished))]

    def _replied(self, message_id: str, answer: Answered | Refused, now_ms: int) -> list[Event]:
        if message_id == self._air:
            self._finish(message_id, may_come_late=False)
            return [Settled(message_id, answer), *self._launch(now_ms)]
        late = self._finished.get(message_id)
        if late is None:
            self.tally.answers_unknown += 1
            return []
        if not late:
            self.tally.answers_doubled += 1
            return []
        self.tally.answers_late += 1
        self._finished[message_id] = False
        return [Settled(message_id, LateAnswer(answer))]
