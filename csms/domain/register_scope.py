"""What the samples of a register mean when they cannot mean what they say (SESSIONS 5.7-2, PEERS 3 row 19).

Start and stop are read off the meter; samples go through more firmware. Where all samples lie below the start and no
boot explains that, they are one of two things that real chargers send: kWh labelled Wh, or energy since the start of
the session. Only a reading that all of them agree with is taken, and it never proves more than was metered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from csms.domain.epochs import TOLERANCE_WH, Point, possible_wh

# Below 100 kWh on the meter a count from zero could pass for kWh by chance.
_LEAST_FOR_KWH: Final = 100_000
_KWH: Final = 1000
_HALF_KWH: Final = 500  # samples come in whole numbers: what is behind the point was rounded away
_SLACK_WH: Final = 200


def reread(
    points: Sequence[Point],
    begin: Point | None,
    stop_wh: int | None,
    *,
    breaks_ms: Sequence[int],
    ceiling_w: int,
) -> list[Point]:
    """The samples as a lifetime register, or as they are when they may well be one."""
    given = list(points)
    if begin is None or not given or not _contradict(given, begin, stop_wh, breaks_ms):
        return given
    if _are_kwh(given, begin, stop_wh, ceiling_w):
        # Never above what was metered: a rounded-up kWh is not proven.
        return [(at_ms, max(begin[1], wh * _KWH - _HALF_KWH)) for at_ms, wh in given]
    if stop_wh is not None and all(begin[1] + wh <= stop_wh + TOLERANCE_WH for _, wh in given):
        return [(at_ms, begin[1] + wh) for at_ms, wh in given]
    return given


def _contradict(points: list[Point], begin: Point, stop_wh: int | None, breaks_ms: Sequence[int]) -> bool:
    """All below the start, while start and stop agree with each other and nothing restarted the register."""
    if stop_wh is not None and stop_wh < begin[1]:
        return False
    if any(at_ms < begin[0] for at_ms, _ in points) or any(at_ms >= begin[0] for at_ms in breaks_ms):
        return False
    return any(wh > 0 for _, wh in points) and all(wh < begin[1] - TOLERANCE_WH for _, wh in points)


def _are_kwh(points: list[Point], begin: Point, stop_wh: int | None, ceiling_w: int) -> bool:
    if begin[1] < _LEAST_FOR_KWH:
        return False

    def fits(at_ms: int, wh: int) -> bool:
        highest = stop_wh if stop_wh is not None else begin[1] + possible_wh(ceiling_w, at_ms - begin[0]) + _SLACK_WH
        return begin[1] - _HALF_KWH <= wh * _KWH <= highest + _HALF_KWH

    return all(fits(at_ms, wh) for at_ms, wh in points if wh > 0)  # a zero is a dropout, whatever the unit
