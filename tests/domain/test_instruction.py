"""Instructions: the table, priorities, lifetimes, and keys that keep one effect from happening twice."""

from __future__ import annotations

from itertools import product

import pytest

from csms.domain.instruction import (
    PRIORITY,
    PROMISES,
    STEPS,
    TTL_S,
    Instruction,
    InstructionEvent,
    InstructionState,
    Kind,
    Priority,
    Step,
    issue,
    queue_order,
    step,
)

I = InstructionState  # noqa: E741  # the table reads like the drawing
T0 = 1_767_225_600_000

SPEC: list[tuple[InstructionState, Step, InstructionState]] = [
    (I.ISSUED, Step.SENT, I.SENT),
    (I.ISSUED, Step.EFFECT, I.EFFECTIVE),
    (I.ISSUED, Step.EXPIRE, I.EXPIRED),
    (I.ISSUED, Step.WITHDRAWN, I.REFUSED),
    (I.SENT, Step.UNSENT, I.ISSUED),
    (I.SENT, Step.ACCEPTED, I.ACCEPTED),
    (I.SENT, Step.REFUSED, I.REFUSED),
    (I.SENT, Step.EFFECT, I.EFFECTIVE),
    (I.SENT, Step.EXPIRE, I.EXPIRED),
    (I.ACCEPTED, Step.EFFECT, I.EFFECTIVE),
    (I.ACCEPTED, Step.EXPIRE, I.EXPIRED),
    (I.ACCEPTED, Step.UNSENT, I.ISSUED),
    (I.EXPIRED, Step.EFFECT, I.EFFECTIVE),
]


def issued(kind: Kind = Kind.START, **more: str) -> Instruction:
    return issue("i1", "CP1", kind, {"idTag": "BK7"}, T0, order_id=more.get("order_id", "o1"))


def take(instruction: Instruction, *steps: Step) -> Instruction:
    for n, taken in enumerate(steps, 1):
        instruction = step(instruction, InstructionEvent(taken), T0 + n)
    return instruction


PATHS = {
    I.ISSUED: (),
    I.SENT: (Step.SENT,),
    I.ACCEPTED: (Step.SENT, Step.ACCEPTED),
    I.EFFECTIVE: (Step.SENT, Step.ACCEPTED, Step.EFFECT),
    I.REFUSED: (Step.SENT, Step.REFUSED),
    I.EXPIRED: (Step.EXPIRE,),
}


def test_the_table_is_the_drawing_and_nothing_more() -> None:
    assert {(before, taken): after for before, taken, after in SPEC} == STEPS


@pytest.mark.parametrize(("before", "taken"), list(product(I, Step)))
def test_every_step_in_every_state(before: InstructionState, taken: Step) -> None:
    instruction = take(issued(), *PATHS[before])
    assert instruction.state is before
    after = step(instruction, InstructionEvent(taken, reason="x"), T0 + 9)
    assert after.state is STEPS.get((before, taken), before)
    assert after.effect_key == instruction.effect_key == "o1:start"


def test_accepted_is_not_happened_for_a_promise() -> None:
    for kind in Kind:
        accepted = take(issued(kind), Step.SENT, Step.ACCEPTED)
        assert accepted.state is (I.ACCEPTED if kind in PROMISES else I.EFFECTIVE)
        assert (accepted.effective_ms is None) == (kind in PROMISES)


def test_times_and_the_answer_are_kept() -> None:
    sent = take(issued(), Step.SENT)
    answered = step(sent, InstructionEvent(Step.REFUSED, "Rejected", {"status": "Rejected"}), T0 + 5)
    assert (answered.sent_ms, answered.answered_ms, answered.reason) == (T0 + 1, T0 + 5, "Rejected")
    assert answered.response == {"status": "Rejected"}
    assert answered.is_over


def test_a_late_answer_is_kept_beside_an_expired_instruction() -> None:
    expired = take(issued(), Step.SENT, Step.EXPIRE)
    late = step(expired, InstructionEvent(Step.ACCEPTED, "Accepted", {"status": "Accepted"}), T0 + 99)
    assert (late.state, late.answered_ms, late.reason) == (I.EXPIRED, T0 + 99, "Accepted")
    assert step(late, InstructionEvent(Step.REFUSED, "no"), T0 + 100) == late


def test_a_lost_link_puts_it_back_with_the_same_effect_key() -> None:
    again = take(issued(), Step.SENT, Step.UNSENT)
    assert (again.state, again.sent_ms, again.effect_key) == (I.ISSUED, None, "o1:start")


@pytest.mark.parametrize(("kind", "seconds"), [(Kind.START, 60), (Kind.STOP, 86_400), (Kind.SET_CONFIG, 604_800)])
def test_lifetimes(kind: Kind, seconds: int) -> None:
    instruction = issued(kind)
    assert instruction.expires_ms == T0 + seconds * 1_000
    assert not instruction.is_due_to_expire(instruction.expires_ms - 1)
    assert instruction.is_due_to_expire(instruction.expires_ms)
    assert not take(instruction, Step.SENT, Step.REFUSED).is_due_to_expire(instruction.expires_ms)


def test_every_kind_has_a_priority_and_a_lifetime() -> None:
    assert set(PRIORITY) == set(TTL_S) == set(Kind)
    assert list(Priority) == sorted(Priority)


def test_the_queue_is_stop_unlock_start_profile_config_report_then_age() -> None:
    kinds = [Kind.GET_CONFIG, Kind.SET_CONFIG, Kind.PROFILE, Kind.START, Kind.UNLOCK, Kind.STOP]
    waiting = [issue(f"i{n}", "CP1", kind, {}, T0 + n) for n, kind in enumerate(kinds)]
    older = issue("i9", "CP1", Kind.START, {}, T0)
    ordered = sorted([*waiting, older], key=queue_order)
    assert [i.kind for i in ordered] == [
        Kind.STOP,
        Kind.UNLOCK,
        Kind.START,
        Kind.START,
        Kind.PROFILE,
        Kind.SET_CONFIG,
        Kind.GET_CONFIG,
    ]
    assert ordered[2] is older


def test_only_what_must_not_happen_twice_has_an_effect_key() -> None:
    keyed = {kind for kind in Kind if issue("i", "CP1", kind, {}, T0, order_id="o", session_id="s").effect_key}
    assert keyed == {Kind.START, Kind.STOP}
    assert issue("i", "CP1", Kind.STOP, {}, T0, order_id="o", session_id="s").effect_key == "s:stop"
    assert issue("i", "CP1", Kind.RAW, {}, T0, effect_key="k", ttl_s=5, priority=Priority.STOP).effect_key == "k"
