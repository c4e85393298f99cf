"""What a car needs and what it may get: a schedule from now on, within every limit (OCPP 2.0.1 K15, K16).

    needs (energy, when it leaves, what the car can take)  +  ceilings over time (connector, site, session)
        ─▶ up to two choices of steps: as fast as may be; as even as will do

A step holds until the next one, the last one without an end. Power is whole W, time whole seconds from now. A step is
never above a ceiling, nor above what the car takes; below what the car can take it is 0: the car waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from itertools import pairwise
from typing import Final

from csms.domain.charging_profile import NOMINAL_V, TENTH, Kind, Period, Profile, Purpose, Schedule, Unit

HORIZON_S: Final = 86_400
"""What is looked ahead, and how long a car is taken to stay that does not say when it leaves."""
MOST_STEPS: Final = 1024  # of a schedule in 2.0.1


@dataclass(frozen=True, slots=True)
class Needs:
    """What the car asks for. None: it did not say. Power is what the car can take at least and at most."""

    is_dc: bool
    phases: int
    max_w: int
    min_w: int = 0
    energy_wh: int | None = None
    leaves_in_s: int | None = None
    most_steps: int = MOST_STEPS


@dataclass(frozen=True, slots=True)
class Step:
    """From `start_s` on this many W."""

    start_s: int
    watts: int


def plan(needs: Needs, ceilings: Sequence[Step]) -> tuple[tuple[Step, ...], ...]:
    """The choices, the fastest first. `ceilings` in order, the first one at 0."""
    until_s = _until_s(needs)
    open_ = [Step(one.start_s, _taken(min(one.watts, needs.max_w), needs)) for one in ceilings]
    fastest = _fewer(_joined(open_), needs.most_steps, until_s)
    even = _even(needs, fastest, until_s)
    return (fastest,) if even is None or even == fastest else (fastest, even)


def energy_wh(steps: Sequence[Step], until_s: int) -> Decimal:
    """What flows by then when the car takes all it is given."""
    ends = [step.start_s for step in steps[1:]] + [until_s]
    total_ws = sum(
        step.watts * max(0, min(end_s, until_s) - step.start_s) for step, end_s in zip(steps, ends, strict=True)
    )
    return Decimal(total_ws) / 3600


def lowest(layers: Sequence[Sequence[Step]]) -> tuple[Step, ...]:
    """The lowest of several ceilings over time."""
    starts = sorted({step.start_s for layer in layers for step in layer} | {0})
    return _joined([Step(start_s, min(watts_at(layer, start_s) for layer in layers)) for start_s in starts])


def watts_at(steps: Sequence[Step], at_s: int) -> int:
    """What holds at that second; before the first step the first one."""
    begun = [step for step in steps if step.start_s <= at_s]
    return (begun[-1] if begun else steps[0]).watts


def is_within(
    wished: Sequence[Step], choices: Sequence[Sequence[Step]], *, until_s: int, slack_w: int = 0, slack_s: int = 0
) -> bool:
    """Whether what the car will do fits one of the choices throughout.

    `slack_w` is for rounding between W and A, `slack_s` for a car that follows a step so much later.
    """

    def allowed(choice: Sequence[Step], at_s: int) -> int:
        return max(watts_at(choice, at_s), watts_at(choice, max(0, at_s - slack_s))) + slack_w

    def fits(choice: Sequence[Step]) -> bool:
        starts = {step.start_s for step in wished} | {step.start_s + slack_s for step in choice}
        marks = {at_s for at_s in starts if 0 <= at_s < until_s} | {0}
        return all(watts_at(wished, at_s) <= allowed(choice, at_s) for at_s in marks)

    return any(map(fits, choices))


def to_profile(
    needs: Needs,
    choices: Sequence[Sequence[Step]],
    unit: Unit,
    *,
    profile_id: int,
    tx_id: str,
    start_ms: int,
    stack_level: int = 0,
) -> Profile:
    """The choices as a TxProfile; limits in A are rounded down."""
    phases = None if needs.is_dc else needs.phases
    schedules = tuple(
        Schedule(
            unit,
            tuple(Period(step.start_s, _in(unit, step.watts, needs), phases) for step in choice),
            start_ms=start_ms - start_ms % 1000,
        )
        for choice in choices
    )
    return Profile(profile_id, stack_level, Purpose.TX, Kind.ABSOLUTE, schedules, tx_id=tx_id)


def _in(unit: Unit, watts: int, needs: Needs) -> Decimal:
    if unit is Unit.WATT:
        return Decimal(watts)
    return (Decimal(watts) / (NOMINAL_V * needs.phases)).quantize(TENTH, ROUND_DOWN)


def _until_s(needs: Needs) -> int:
    return HORIZON_S if needs.leaves_in_s is None else max(1, min(needs.leaves_in_s, HORIZON_S))


def _taken(watts: int, needs: Needs) -> int:
    return watts if watts >= max(needs.min_w, 1) else 0


def _even(needs: Needs, fastest: tuple[Step, ...], until_s: int) -> tuple[Step, ...] | None:
    """The lowest level that still brings the energy in time; None where there is no time to spare."""
    if needs.energy_wh is None or needs.leaves_in_s is None or energy_wh(fastest, until_s) <= needs.energy_wh:
        return None
    low, high = max(needs.min_w, 1), max(step.watts for step in fastest)
    if low >= high:
        return None
    while low < high:
        level = (low + high) // 2
        if energy_wh(_capped(fastest, level), until_s) >= needs.energy_wh:
            high = level
        else:
            low = level + 1
    return _joined(_capped(fastest, high))


def _capped(steps: Sequence[Step], level: int) -> list[Step]:
    return [Step(step.start_s, min(step.watts, level)) for step in steps]


def _joined(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Without steps that change nothing."""
    kept = list(steps[:1])
    for step in steps[1:]:
        if step.watts != kept[-1].watts:
            kept.append(step)
    return tuple(kept)


def _fewer(steps: tuple[Step, ...], most: int, until_s: int) -> tuple[Step, ...]:
    """At most so many steps: neighbours become one at the lower of the two, where that costs the least energy."""
    left = list(steps)
    while len(left) > max(1, most):
        ends = [step.start_s for step in left[1:]] + [max(until_s, left[-1].start_s + 1)]
        costs = [_cost(one, other, end_s) for (one, other), end_s in zip(pairwise(left), ends[1:], strict=True)]
        index = costs.index(min(costs))
        lower = min(left[index].watts, left[index + 1].watts)
        left[index : index + 2] = [Step(left[index].start_s, lower)]
        left = list(_joined(left))
    return tuple(left)


def _cost(one: Step, other: Step, end_s: int) -> int:
    """What is lost when the two become one that ends at `end_s`, in Ws."""
    lost_s = other.start_s - one.start_s if one.watts > other.watts else end_s - other.start_s
    return abs(one.watts - other.watts) * lost_s
