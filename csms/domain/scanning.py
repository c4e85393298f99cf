"""Who looks at everything and buys nothing gets to see less and less (BECKN 7.4). Pure.

Searches and selections of one buyer app are counted as scores that halve with time. What an app may ask for is a free
allowance plus so many searches per selection; what it has asked for beyond that is answered, doubling by doubling,
from older states, without states, and not at all:

    searches / allowed    <= 1    LIVE      the state of now
                          <= 2    RECENT    a state up to five minutes old
                          <= 4    COARSE    what is sold there, without its state
                          beyond  REFUSED

The same question about the same area has an allowance of its own, lower than that of all areas together: whoever
polls one place is found by the first, whoever walks a map by the second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Freshness(StrEnum):
    """How fresh a state a buyer app is shown."""

    LIVE = "live"
    RECENT = "recent"
    COARSE = "coarse"
    REFUSED = "refused"


RECENT_MS: Final = 300_000  # how old a state RECENT shows at most
_STEPS: Final = ((1.0, Freshness.LIVE), (2.0, Freshness.RECENT), (4.0, Freshness.COARSE))
_CEILING: Final = 8.0  # a score stops growing here, so that even the worst is forgotten within hours


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What is free. `per_select` searches more for every selection; scores halve every `half_life_ms`. A free
    allowance of 0 means that nothing is limited."""

    area: int
    total: int
    per_select: int
    half_life_ms: int


@dataclass(frozen=True, slots=True)
class Score:
    """A count that fades. `value` is as of `at_ms`."""

    value: float = 0.0
    at_ms: int = 0

    def at(self, now_ms: int, half_life_ms: int) -> float:
        """What is left of it by now; a clock that went back changes nothing."""
        return self.value * math.pow(0.5, max(0, now_ms - self.at_ms) / half_life_ms)

    def plus_one(self, now_ms: int, half_life_ms: int, ceiling: float) -> Score:
        """One more, up to a ceiling."""
        left = self.at(now_ms, half_life_ms)
        return Score(max(left, min(left + 1, ceiling)), max(now_ms, self.at_ms))


def allowed(free: int, per_select: int, selects: float) -> float:
    """How many searches are within the allowance."""
    return free + per_select * selects


def ceiling(free: int, per_select: int, selects: float) -> float:
    """Where a score of searches stops growing."""
    return _CEILING * allowed(free, per_select, selects)


def freshness(area: float, total: float, selects: float, allowance: Allowance) -> Freshness:
    """How fresh an answer is, given the scores that include this search."""
    worst = max(
        _beyond(area, allowance.area, allowance.per_select, selects),
        _beyond(total, allowance.total, allowance.per_select, selects),
    )
    return next((fresh for step, fresh in _STEPS if worst <= step), Freshness.REFUSED)


def _beyond(score: float, free: int, per_select: int, selects: float) -> float:
    return score / allowed(free, per_select, selects) if free > 0 else 0.0
