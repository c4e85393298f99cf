"""Everything we ask of a charger: a row before it is a frame, with its own small machine.

    ISSUED -> SENT -> ACCEPTED -> EFFECTIVE        "Accepted" is not "happened".
       |        |         |
       +--------+---------+--> REFUSED | EXPIRED

A retried instruction keeps its `effect_key`, so two RemoteStarts cannot make two sessions (SESSIONS 5.5).
Times are UTC ms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from typing import Any, Final


class Kind(StrEnum):
    """What is asked. RAW is any OCPP action with the payload as given."""

    START = "start"
    STOP = "stop"
    UNLOCK = "unlock"
    RESET = "reset"
    AVAILABILITY = "availability"
    PROFILE = "profile"
    TRIGGER = "trigger"
    GET_CONFIG = "get-config"
    SET_CONFIG = "set-config"
    RAW = "raw"


class InstructionState(StrEnum):
    """Where an instruction stands."""

    ISSUED = "ISSUED"
    SENT = "SENT"
    ACCEPTED = "ACCEPTED"
    EFFECTIVE = "EFFECTIVE"
    REFUSED = "REFUSED"
    EXPIRED = "EXPIRED"


class Priority(IntEnum):
    """The lower goes first: stop > unlock > start > profile > config > report."""

    STOP = 0
    UNLOCK = 1
    START = 2
    PROFILE = 3
    CONFIG = 4
    REPORT = 5


PRIORITY: Final = {
    Kind.STOP: Priority.STOP,
    Kind.UNLOCK: Priority.UNLOCK,
    Kind.START: Priority.START,
    Kind.PROFILE: Priority.PROFILE,
    Kind.RESET: Priority.CONFIG,
    Kind.AVAILABILITY: Priority.CONFIG,
    Kind.SET_CONFIG: Priority.CONFIG,
    Kind.RAW: Priority.CONFIG,
    Kind.TRIGGER: Priority.REPORT,
    Kind.GET_CONFIG: Priority.REPORT,
}
TTL_S: Final = {
    Kind.START: 60,  # a start carried out twenty minutes late is a fault (SESSIONS 5.8)
    Kind.STOP: 86_400,
    Kind.UNLOCK: 60,  # the person stands in front of it
    Kind.RESET: 600,
    Kind.AVAILABILITY: 604_800,
    Kind.PROFILE: 600,
    Kind.TRIGGER: 300,
    Kind.GET_CONFIG: 3_600,
    Kind.SET_CONFIG: 604_800,
    Kind.RAW: 300,
}
PROMISES: Final = frozenset({Kind.START, Kind.STOP, Kind.RESET})
"""Kinds whose acceptance is a promise; for the others the answer is the effect."""


class Step(StrEnum):
    """What may happen to an instruction."""

    SENT = "sent"
    UNSENT = "unsent"  # the link was lost, or nobody answered: it may be sent again
    ACCEPTED = "accepted"
    REFUSED = "refused"
    EFFECT = "effect"  # what it asked for was seen
    EXPIRE = "expire"
    WITHDRAWN = "withdrawn"  # we no longer want it


@dataclass(frozen=True, slots=True)
class InstructionEvent:
    """`reason` for people and programs (the charger's status word), `response` the answer as received."""

    step: Step
    reason: str | None = None
    response: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Instruction:
    """One thing asked of one station. Made by `issue`, changed by `step`."""

    instruction_id: str
    station: str
    kind: Kind
    payload: dict[str, Any]
    priority: Priority
    state: InstructionState
    issued_ms: int
    expires_ms: int
    effect_key: str | None = None
    sent_ms: int | None = None
    answered_ms: int | None = None
    effective_ms: int | None = None
    order_id: str | None = None
    session_id: str | None = None
    token: str | None = None
    reason: str | None = None
    response: dict[str, Any] | None = None

    @property
    def is_over(self) -> bool:
        """Nothing more is expected of it."""
        return self.state in _OVER

    def is_due_to_expire(self, now_ms: int) -> bool:
        """Whether `Step.EXPIRE` should be taken now."""
        return not self.is_over and now_ms >= self.expires_ms


_I = InstructionState
_OVER: Final = frozenset({_I.EFFECTIVE, _I.REFUSED, _I.EXPIRED})

STEPS: Final[dict[tuple[InstructionState, Step], InstructionState]] = {
    (_I.ISSUED, Step.SENT): _I.SENT,
    (_I.ISSUED, Step.EFFECT): _I.EFFECTIVE,  # it happened before we could ask
    (_I.ISSUED, Step.EXPIRE): _I.EXPIRED,
    (_I.ISSUED, Step.WITHDRAWN): _I.REFUSED,
    (_I.SENT, Step.UNSENT): _I.ISSUED,
    (_I.SENT, Step.ACCEPTED): _I.ACCEPTED,
    (_I.SENT, Step.REFUSED): _I.REFUSED,
    (_I.SENT, Step.EFFECT): _I.EFFECTIVE,  # the start came before the answer
    (_I.SENT, Step.EXPIRE): _I.EXPIRED,
    (_I.ACCEPTED, Step.EFFECT): _I.EFFECTIVE,
    (_I.ACCEPTED, Step.EXPIRE): _I.EXPIRED,
    (_I.ACCEPTED, Step.UNSENT): _I.ISSUED,  # promised and nothing came of it: asked again
    (_I.EXPIRED, Step.EFFECT): _I.EFFECTIVE,  # late, but it did happen
}


def issue(
    instruction_id: str,
    station: str,
    kind: Kind,
    payload: dict[str, Any],
    now_ms: int,
    *,
    effect_key: str | None = None,
    ttl_s: int | None = None,
    priority: Priority | None = None,
    order_id: str | None = None,
    session_id: str | None = None,
    token: str | None = None,
) -> Instruction:
    """A new instruction with the priority and lifetime of its kind unless told otherwise."""
    lifetime_s = TTL_S[kind] if ttl_s is None else ttl_s
    return Instruction(
        instruction_id=instruction_id,
        station=station,
        kind=kind,
        payload=payload,
        priority=PRIORITY[kind] if priority is None else priority,
        state=InstructionState.ISSUED,
        issued_ms=now_ms,
        expires_ms=now_ms + lifetime_s * 1_000,
        effect_key=effect_key if effect_key is not None else _effect_key(kind, order_id, session_id),
        order_id=order_id,
        session_id=session_id,
        token=token,
    )


def _effect_key(kind: Kind, order_id: str | None, session_id: str | None) -> str | None:
    """`(order, START)`, `(session, STOP)`: only what must not happen twice has one."""
    if kind not in PROMISES or kind is Kind.RESET:
        return None
    about = order_id if kind is Kind.START else session_id or order_id
    return None if about is None else f"{about}:{kind}"


def step(instruction: Instruction, event: InstructionEvent, now_ms: int) -> Instruction:
    """The instruction after `event`; unchanged when the table does not list it.

    A late answer to one that is over is kept beside it without changing its state.
    """
    to = STEPS.get((instruction.state, event.step))
    answered = event.step in (Step.ACCEPTED, Step.REFUSED)
    if to is None:
        if answered and instruction.answered_ms is None:
            return replace(instruction, answered_ms=now_ms, reason=event.reason, response=event.response)
        return instruction
    if to is InstructionState.ACCEPTED and instruction.kind not in PROMISES:
        to = InstructionState.EFFECTIVE
    return replace(
        instruction,
        state=to,
        sent_ms=_sent_ms(instruction, event.step, now_ms),
        answered_ms=now_ms if answered else instruction.answered_ms,
        effective_ms=now_ms if to is InstructionState.EFFECTIVE else instruction.effective_ms,
        reason=event.reason if event.reason is not None else instruction.reason,
        response=event.response if event.response is not None else instruction.response,
    )


def _sent_ms(instruction: Instruction, taken: Step, now_ms: int) -> int | None:
    if taken is Step.SENT:
        return now_ms
    return None if taken is Step.UNSENT else instruction.sent_ms


def queue_order(instruction: Instruction) -> tuple[int, int, str]:
    """Sort key of a station's outbound queue: priority, then age."""
    return instruction.priority, instruction.issued_ms, instruction.instruction_id
