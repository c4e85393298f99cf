"""Where a register was reset, replaced, or merely stammered (SESSIONS 5.7-3).

A drop starts a new epoch when the next reading, or a boot or swap in between, confirms it. Zeros between two
consistent values are dropouts, a lone peak that the following readings deny is a spike; both are ignored. When
in doubt the smaller energy is taken: only what is proven may be billed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from csms.domain.meter import Mark

TOLERANCE_WH: Final = 20
RISE_SLACK_WH: Final = 200

Point = tuple[int, int]


@dataclass(slots=True)
class Epoch:
    """One stretch of a register that only counts up. `stop_wh` is set when the stop's register ends it."""

    start_at_ms: int
    start_wh: int
    top_at_ms: int
    top_wh: int
    count: int = 1
    before: Point | None = None  # the top before the last rise, to take a spike back
    stop_wh: int | None = None
    lone_stop: bool = False

    @property
    def end_wh(self) -> int:
        """The stop's register, else the highest proven reading."""
        return self.top_wh if self.stop_wh is None else self.stop_wh

    def rise(self, point: Point) -> None:
        """Take a reading that continues this epoch. Inside the tolerance the top stays."""
        self.count += 1
        if point[1] >= self.top_wh:
            self.before = (self.top_at_ms, self.top_wh)
            self.top_at_ms, self.top_wh = point


def possible_wh(rated_w: int, during_ms: int) -> int:
    """P x t in whole Wh, rounded half up."""
    return (rated_w * during_ms * 2 + 3_600_000) // 7_200_000


def is_sudden(rated_w: int | None, before_ms: int, before_wh: int, at_ms: int, wh: int) -> bool:
    """Whether a rise is more than the socket can give in the time; such a value needs its successor's word."""
    if rated_w is None:
        return False
    return wh - before_wh > rated_w * max(0, at_ms - before_ms) * 11 // 36_000_000 + RISE_SLACK_WH


def split(
    points: Sequence[Point], breaks_ms: Sequence[int], rated_w: int | None, stop: Mark | None
) -> tuple[list[Epoch], bool]:
    """Epochs of `points` (sorted, the start register first if there is one), ended by `stop` if it fits.

    The second value tells whether the newest reading is also the proven one. With neither points nor a stop
    there is nothing to split: the caller asks only when there is something.
    """
    tail: list[Point] = [] if stop is None or stop.wh is None else [(stop.at_ms, stop.wh)]
    line = [*points, *tail]
    breaks = sorted(breaks_ms)
    epochs = [Epoch(line[0][0], line[0][1], line[0][0], line[0][1])]
    samples = len(points)
    index, accepted = 1, True
    while index < samples:
        step, accepted = _take(line, index, samples, epochs, breaks=breaks, rated_w=rated_w)
        index += step
    current = epochs[-1]
    if tail:
        _end_by_stop(epochs, tail[0], breaks, is_first=not points)
    steady = accepted and current.count > 1 and (len(epochs) == 1 or current.top_wh > 0)
    return epochs, steady and current.top_wh == line[samples - 1][1]


def _take(
    line: Sequence[Point],
    index: int,
    samples: int,
    epochs: list[Epoch],
    *,
    breaks: Sequence[int],
    rated_w: int | None,
) -> tuple[int, bool]:
    """Judge one reading: how many were dealt with, and whether the last of them was accepted."""
    current = epochs[-1]
    at_ms, wh = line[index]
    following = line[index + 1] if index + 1 < len(line) else None
    if wh >= current.top_wh - TOLERANCE_WH:
        sudden = is_sudden(rated_w, current.top_at_ms, current.top_wh, at_ms, wh)
        if sudden and (following is None or following[1] < wh - TOLERANCE_WH):
            return 1, False
        current.rise((at_ms, wh))
        return 1, True
    after = _after_zeros(line, index)
    if wh == 0 and after is not None and line[after][1] >= current.top_wh - TOLERANCE_WH:
        return min(after, samples) - index, False
    if not _is_broken(breaks, current.top_at_ms, at_ms):
        if following is None or following[1] >= current.top_wh - TOLERANCE_WH:
            return 1, False  # nobody confirms the drop
        if following[1] < wh - TOLERANCE_WH:
            return 1, False  # it fell on: this value was neither here nor there
        if current.before is not None and wh >= current.before[1] - TOLERANCE_WH:
            current.top_at_ms, current.top_wh = current.before
            current.before = None
            current.count -= 1
            return 0, True  # the top was a spike; judge this reading again without it
    epochs.append(Epoch(at_ms, wh, at_ms, wh))
    return 1, True


def _after_zeros(line: Sequence[Point], index: int) -> int | None:
    while index < len(line) and line[index][1] == 0:
        index += 1
    return index if index < len(line) else None


def _is_broken(breaks: Sequence[int], after_ms: int, until_ms: int) -> bool:
    place = bisect_right(breaks, after_ms)
    return place < len(breaks) and breaks[place] <= until_ms


def _end_by_stop(epochs: list[Epoch], stop: Point, breaks: Sequence[int], *, is_first: bool) -> None:
    """Where the stop's register belongs: this epoch, a new one behind a boot, or nowhere (below the start)."""
    current = epochs[-1]
    at_ms, wh = stop
    if is_first:
        current.stop_wh, current.lone_stop = wh, True
    elif wh >= current.start_wh:
        current.stop_wh = wh
    elif _is_broken(breaks, current.top_at_ms, at_ms):
        epochs.append(Epoch(at_ms, wh, at_ms, wh, stop_wh=wh, lone_stop=True))
