"""Energy by the hour or the day, for those who supply it: a session's metered profile cut at civil boundaries.

The parts of a session add up to its energy exactly, to the Wh: within a slice energy is spread evenly and cut by the
running total, so nothing is rounded twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum

from csms.domain.tariff import Slice, Usage
from csms.domain.units import local, to_ms


class Interval(StrEnum):
    """How fine consumption is told."""

    HOUR = "hour"
    DAY = "day"


def by_interval(usage: Usage, interval: Interval, zone: str) -> dict[int, int]:
    """Wh by the instant (UTC ms) at which each civil hour or day of `zone` begins."""
    found: dict[int, int] = {}
    for piece in usage.slices:
        for begin_ms, energy_wh in _pieces(piece, interval, zone):
            if energy_wh:
                found[begin_ms] = found.get(begin_ms, 0) + energy_wh
    return found


def _pieces(piece: Slice, interval: Interval, zone: str) -> Iterator[tuple[int, int]]:
    begin_ms, end_ms = bounds(piece.start_ms, interval, zone)
    length_ms = piece.end_ms - piece.start_ms
    if not length_ms:
        yield begin_ms, piece.energy_wh
        return
    given_wh = 0
    while True:
        until_ms = min(end_ms, piece.end_ms)
        so_far_wh = piece.energy_wh * (until_ms - piece.start_ms) // length_ms
        yield begin_ms, so_far_wh - given_wh
        if until_ms >= piece.end_ms:
            return
        given_wh = so_far_wh
        begin_ms, end_ms = bounds(until_ms, interval, zone)


def bounds(at_ms: int, interval: Interval, zone: str) -> tuple[int, int]:
    """The civil hour or day an instant lies in: (first instant, first of the next one), UTC ms."""
    at = local(at_ms, zone)
    if interval is Interval.DAY:
        first = at.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        after = (first + timedelta(days=1)).replace(fold=0)
        return to_ms(first), to_ms(after)
    # Minutes past the hour as the clock on the wall has them; elapsed time from there, so that a clock change
    # makes neither an hour of none nor one that ends before it begins.
    past_ms = (at.minute * 60 + at.second) * 1000 + at.microsecond // 1000
    return at_ms - past_ms, at_ms - past_ms + 3_600_000
