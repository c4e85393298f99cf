"""Readings of a register, and the energy they prove (SESSIONS 5.7).

A session's readings are a sorted set; energy is a pure function of that set, of the registers named by start
and stop, and of the boots and swaps in between. The order of arrival therefore never matters. Energy is whole
Wh, time UTC milliseconds, power W.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag, StrEnum
from itertools import pairwise
from typing import Final

from csms.domain.epochs import TOLERANCE_WH, Epoch, Point, possible_wh, split
from csms.domain.register_scope import reread

STOP_CONFLICT_WH: Final = 50  # two stops further apart than this open a case (5.7-4)
SLACK_WH: Final = 200  # 5.7-6
UNRATED_W: Final = 400_000  # no socket on the road gives more; used when the rating is unknown


class RegisterKind(StrEnum):
    """What the model's Energy.Active.Import values mean (5.7-2)."""

    LIFETIME = "lifetime"
    SESSION = "session"
    INTERVAL = "interval"


class Quality(StrEnum):
    """How an energy figure was established. Price from A-C; D is provisional only; U never (5.3)."""

    A = "A"  # both registers proven
    B = "B"  # start register and a later sample, or a post-boot register
    C = "C"  # samples only
    D = "D"  # power x time
    U = "U"  # unknown


class Doubt(StrEnum):
    """What is odd about a figure; each becomes a case."""

    REG_RESET = "reg-reset"
    NEG_ENERGY = "neg-energy"
    NO_STOP_METER = "no-stop-meter"
    DUP_CONFLICT = "dup-conflict"
    STOP_BELOW_SAMPLES = "stop-below-samples"
    IMPLAUSIBLE = "implausible"
    UNMETERED = "unmetered"


class Between(StrEnum):
    """Who pays for what a lifetime register counted between two sessions (5.8-d)."""

    NONE = "none"
    BOUND = "bound"
    ALL = "all"


class Marks(IntFlag):
    """What else is known of a reading."""

    NONE = 0
    SIGNED = 1
    BEGIN = 2
    END = 4


class Register:
    """A sorted set of (at_ms, wh) with marks, 17 bytes each.

    Two values of one instant are both kept: which one counts must not depend on which came first.
    """

    __slots__ = ("_at", "_marks", "_wh")

    def __init__(self) -> None:
        self._at: array[int] = array("q")
        self._wh: array[int] = array("q")
        self._marks: array[int] = array("b")

    def add(self, at_ms: int, wh: int, marks: int = 0) -> bool:
        """Put a reading in; False when it was already known (with these marks). O(1) at the end."""
        at = self._at
        if not at or at_ms > at[-1]:
            at.append(at_ms)
            self._wh.append(wh)
            self._marks.append(marks)
            return True
        return self._insert(at_ms, wh, marks)

    def _insert(self, at_ms: int, wh: int, marks: int) -> bool:
        low, high = bisect_left(self._at, at_ms), bisect_right(self._at, at_ms)
        place = bisect_left(self._wh, wh, low, high)
        if place < high and self._wh[place] == wh:
            if self._marks[place] | marks == self._marks[place]:
                return False
            self._marks[place] |= marks
            return True
        self._at.insert(place, at_ms)
        self._wh.insert(place, wh)
        self._marks.insert(place, marks)
        return True

    def __len__(self) -> int:
        return len(self._at)

    def __iter__(self) -> Iterator[Point]:
        return zip(self._at, self._wh, strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Register) and self.rows() == other.rows()

    __hash__ = None  # type: ignore[assignment]  # mutable; the protocol's way to say so

    def __repr__(self) -> str:
        return f"Register({self.rows()!r})"

    @property
    def last_at_ms(self) -> int | None:
        """The newest instant, or None when empty."""
        return self._at[-1] if self._at else None

    def span(self, since_ms: int | None, until_ms: int | None) -> range:
        """Indexes of the readings with since_ms <= at < until_ms."""
        low = 0 if since_ms is None else bisect_left(self._at, since_ms)
        high = len(self._at) if until_ms is None else bisect_left(self._at, until_ms)
        return range(low, max(low, high))

    def points(self, where: range) -> list[Point]:
        """The readings at these indexes."""
        return list(zip(self._at[where.start : where.stop], self._wh[where.start : where.stop], strict=True))

    def ends_and_samples(self, where: range) -> tuple[list[Point], list[Point]]:
        """The readings at these indexes that begin or end a transaction, and the others."""
        ends: list[Point] = []
        samples: list[Point] = []
        for index in where:
            is_end = self._marks[index] & (Marks.BEGIN | Marks.END)
            (ends if is_end else samples).append((self._at[index], self._wh[index]))
        return ends, samples

    def marked(self, mark: Marks, where: range) -> tuple[int, int, int] | None:
        """The last reading with this mark as (at_ms, wh, marks); for BEGIN the first."""
        order = where if mark is Marks.BEGIN else reversed(where)
        for index in order:
            if self._marks[index] & mark:
                return self._at[index], self._wh[index], self._marks[index]
        return None

    def rows(self) -> list[list[int]]:
        """`[at_ms, wh, marks]` of every reading in order: plain values for storage."""
        return [list(row) for row in zip(self._at, self._wh, self._marks, strict=True)]

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[int]]) -> Register:
        """The inverse of `rows`; order does not matter."""
        register = cls()
        for at_ms, wh, marks in rows:
            register.add(at_ms, wh, marks)
        return register


@dataclass(frozen=True, slots=True)
class Mark:
    """A register named by a start, a stop or an idle socket. `wh` None: the charger gave none."""

    at_ms: int
    wh: int | None
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """What is known of a power cut without a stop (5.8-d): who pays, and how long energy could have flowed."""

    policy: Between
    last_life_ms: int
    dead_time_ms: int


@dataclass(frozen=True, slots=True)
class Energy:
    """The energy of one transaction.

    `gap_wh_max` bounds what resets left unmeasured (None: no rating to bound it with). `complete`: nothing is
    missing to bill it. `steady`: the newest reading is the proven one, so the next in order may be added
    without looking back. `last_*` is the last proven reading. `unmetered_wh` was counted but given to nobody.
    """

    wh: int
    quality: Quality
    gap_wh_max: int | None = 0
    doubts: tuple[Doubt, ...] = ()
    complete: bool = False
    steady: bool = False
    last_at_ms: int | None = None
    last_wh: int | None = None
    ended_at_ms: int | None = None
    unmetered_wh: int = 0


def energy(
    register: Register,
    *,
    start: Mark | None = None,
    stops: Sequence[Mark] = (),
    kind: RegisterKind = RegisterKind.LIFETIME,
    breaks_ms: Sequence[int] = (),
    rated_w: int | None = None,
    since_ms: int | None = None,
    until_ms: int | None = None,
    idle: Mark | None = None,
    cut: Cut | None = None,
    power: Register | None = None,
    times_good: bool = True,
) -> Energy:
    """Rules 5.7-1..8 over the readings in [since_ms, until_ms).

    `breaks_ms` are new boots and meter swaps, `idle` the first register seen afterwards with no transaction,
    `power` (at_ms, W) samples of a charger that meters nothing else. `times_good` False skips the
    plausibility rule, which is only as good as the duration.
    """
    where = register.span(since_ms, until_ms)
    begin = _begin(register, where, start)
    if kind is RegisterKind.INTERVAL:
        found = _from_intervals(register.points(where), begin, stops)
    else:
        lift = begin.wh if kind is RegisterKind.SESSION and begin is not None and begin.wh is not None else 0
        stops = _lifted_stops(register, where, stops, lift)
        points = register.points(where)
        if lift:
            points = [(at_ms, wh + lift) for at_ms, wh in points]
        elif kind is RegisterKind.LIFETIME:
            points = _as_lifetime(register, where, begin, stops, breaks_ms, rated_w)
        found = _from_register(points, begin, stops, breaks_ms=breaks_ms, rated_w=rated_w, idle=idle, cut=cut)
    if found.quality is Quality.U and power is not None and len(power) > 1:
        at = [at_ms for at_ms, _ in power]
        estimated = power_estimate(list(power))
        found = Energy(estimated, Quality.D, doubts=found.doubts, last_at_ms=at[-1], ended_at_ms=found.ended_at_ms)
    return _plausible(found, begin, rated_w) if times_good else found


def _as_lifetime(
    register: Register,
    where: range,
    begin: Mark | None,
    stops: Sequence[Mark],
    breaks_ms: Sequence[int],
    rated_w: int | None,
) -> list[Point]:
    """5.7-2 for a model nobody has classified: samples that contradict both registers are read as what they are."""
    ends, samples = register.ends_and_samples(where)
    first = (begin.at_ms, begin.wh) if begin is not None and begin.wh is not None else None
    told = [stop.wh for stop in stops if stop.wh]
    ceiling_w = UNRATED_W if rated_w is None else rated_w
    read = reread(samples, first, max(told, default=None), breaks_ms=breaks_ms, ceiling_w=ceiling_w)
    return sorted(ends + read)


def _begin(register: Register, where: range, start: Mark | None) -> Mark | None:
    """meterStart, else the Transaction.Begin reading (5.7-4); the time of the start in either case."""
    if start is not None and start.wh is not None:
        return start
    marked = register.marked(Marks.BEGIN, where)
    if marked is None:
        return start
    at_ms, wh, marks = marked
    return Mark(start.at_ms if start is not None else at_ms, wh, bool(marks & Marks.SIGNED))


def _lifted_stops(register: Register, where: range, stops: Sequence[Mark], lift: int) -> list[Mark]:
    """Stops with a register; a Transaction.End reading speaks for stops that brought none.

    Some session-relative models still send a lifetime meterStop, so only a stop below the start is lifted.
    """
    marked = register.marked(Marks.END, where) if stops else None
    found = []
    for stop in stops:
        if stop.wh is not None:
            found.append(Mark(stop.at_ms, stop.wh + lift if stop.wh < lift else stop.wh, stop.signed))
        elif marked is not None:
            found.append(Mark(stop.at_ms, marked[1] + lift, bool(marked[2] & Marks.SIGNED)))
        else:
            found.append(stop)
    return found


def _from_register(
    points: list[Point],
    begin: Mark | None,
    stops: Sequence[Mark],
    *,
    breaks_ms: Sequence[int],
    rated_w: int | None,
    idle: Mark | None,
    cut: Cut | None,
) -> Energy:
    if begin is not None and begin.wh is not None:
        # A reading from before the start that is below it belongs to whoever charged before.
        points = [p for p in points if p[0] >= begin.at_ms or p[1] >= begin.wh]
        points.insert(0, (begin.at_ms, begin.wh))
    usable = _usable_stops(points, stops)
    stop = _choose_stop(usable, points, breaks_ms, rated_w)
    doubts: list[Doubt] = []
    if _differ(usable):
        doubts.append(Doubt.DUP_CONFLICT)
    said_at_ms = max((mark.at_ms for mark in stops), default=None)
    if stop is not None:
        points = [p for p in points if p[0] <= stop.at_ms or p == points[0]]
    if not points and stop is None:
        return Energy(0, Quality.U, doubts=tuple(doubts), ended_at_ms=said_at_ms)
    epochs, steady = split(points, breaks_ms, rated_w, stop)
    ends_with_stop, told = _told_by_stop(epochs, stop, stops)
    doubts += told
    proven = begin is not None and begin.wh is not None
    total, gap = _sum(epochs, rated_w)
    last = epochs[-1]
    if len(epochs) > 1:
        doubts.append(Doubt.REG_RESET)
    unmetered = 0
    complete = ends_with_stop
    if not ends_with_stop and idle is not None and idle.wh is not None:
        added, unmetered = _idle_part(idle, last, stops, cut, rated_w)
        if added is not None:
            total, complete = total + added, True
        if unmetered:
            doubts.append(Doubt.UNMETERED)
    samples = sum(epoch.count for epoch in epochs) + ends_with_stop
    quality = _quality(proven=proven, single=len(epochs) == 1, by_stop=ends_with_stop, samples=samples, closed=complete)
    return Energy(
        wh=total,
        quality=quality,
        gap_wh_max=gap,
        doubts=tuple(doubts),
        complete=complete,
        steady=steady and not stops,
        last_at_ms=last.top_at_ms,
        last_wh=last.top_wh,
        ended_at_ms=stop.at_ms if stop is not None else said_at_ms,
        unmetered_wh=unmetered,
    )


def _usable_stops(points: Sequence[Point], stops: Sequence[Mark]) -> list[Mark]:
    """Stops that name a register; a zero after anything above it is "I do not know" (5.8-i)."""
    highest = max((wh for _, wh in points), default=0)
    return [s for s in stops if s.wh is not None and (s.wh > 0 or highest <= TOLERANCE_WH)]


def _choose_stop(
    stops: Sequence[Mark], points: Sequence[Point], breaks_ms: Sequence[int], rated_w: int | None
) -> Mark | None:
    """Of stops that differ: the signed, then the one monotone with the samples, then the later (5.7-4)."""
    if len(stops) <= 1:
        return stops[0] if stops else None
    top = 0
    if points:
        epochs, _ = split(points, breaks_ms, rated_w, None)
        top = epochs[-1].top_wh - TOLERANCE_WH
    return max(stops, key=lambda s: (s.signed, (s.wh or 0) >= top, s.at_ms, s.wh or 0))


def _differ(stops: Sequence[Mark]) -> bool:
    values = [stop.wh for stop in stops if stop.wh is not None]
    return bool(values) and max(values) - min(values) > STOP_CONFLICT_WH


def _told_by_stop(epochs: list[Epoch], stop: Mark | None, stops: Sequence[Mark]) -> tuple[bool, list[Doubt]]:
    """Let the stop's register end the last epoch if it can; say whether it did, and what was odd."""
    if stop is None or stop.wh is None:
        return False, [Doubt.NO_STOP_METER] if stops else []
    last = epochs[-1]
    if last.stop_wh is None:
        return False, [Doubt.NEG_ENERGY]
    if last.lone_stop:
        # The register restarted and the stop is all we have of it: what it added cannot be known.
        return False, [Doubt.NO_STOP_METER]
    if last.top_wh - last.stop_wh > STOP_CONFLICT_WH:
        return True, [Doubt.STOP_BELOW_SAMPLES]
    return True, []


def _sum(epochs: Sequence[Epoch], rated_w: int | None) -> tuple[int, int | None]:
    """5.7-5: the proven part of every epoch, and the most that the gaps between them can hide."""
    total = sum(max(0, epoch.end_wh - epoch.start_wh) for epoch in epochs)
    gap_ms = sum(max(0, after.start_at_ms - before.top_at_ms) for before, after in pairwise(epochs))
    if not gap_ms:
        return total, 0
    return total, None if rated_w is None else possible_wh(rated_w, gap_ms)


def _idle_part(
    idle: Mark, last: Epoch, stops: Sequence[Mark], cut: Cut | None, rated_w: int | None
) -> tuple[int | None, int]:
    """What a register read with no transaction adds (None: it cannot help), and what it leaves to nobody."""
    if idle.wh is None or idle.wh < last.top_wh - TOLERANCE_WH:
        return None, 0
    unmetered = max(0, idle.wh - last.top_wh)
    if stops:
        # It ended, only the register was missing: the idle register is the missing one (5.8-i).
        return unmetered, 0
    if cut is None:
        return None, 0
    added = between_sessions(unmetered, cut, rated_w, last.top_at_ms)
    return added, unmetered - added


def between_sessions(unmetered_wh: int, cut: Cut, rated_w: int | None, last_sample_ms: int) -> int:
    """The part of the unmetered energy that goes to the session cut short (5.8-d)."""
    if cut.policy is Between.ALL:
        return unmetered_wh
    if cut.policy is Between.NONE or rated_w is None:
        return 0
    alive_ms = max(0, cut.last_life_ms - last_sample_ms) + cut.dead_time_ms
    return min(unmetered_wh, possible_wh(rated_w, alive_ms))


def _quality(*, proven: bool, single: bool, by_stop: bool, samples: int, closed: bool) -> Quality:
    if proven and by_stop and single:
        return Quality.A
    if proven and (samples > 1 or by_stop or closed):
        return Quality.B
    return Quality.C if samples > 1 else Quality.U


def _from_intervals(points: Sequence[Point], begin: Mark | None, stops: Sequence[Mark]) -> Energy:
    """INTERVAL values are summed (5.7-2); both registers, when the charger has them, still win."""
    said_at_ms = max((mark.at_ms for mark in stops), default=None)
    known = [stop for stop in stops if stop.wh is not None]
    last_at_ms = points[-1][0] if points else None
    if begin is not None and begin.wh is not None and known:
        stop = max(known, key=lambda s: (s.signed, s.at_ms, s.wh or 0))
        if stop.wh is not None and stop.wh > begin.wh:
            return Energy(
                stop.wh - begin.wh,
                Quality.A,
                complete=True,
                last_at_ms=last_at_ms,
                ended_at_ms=stop.at_ms,
            )
    total = sum(max(0, wh) for _, wh in points)
    return Energy(
        total,
        Quality.C if points else Quality.U,
        complete=bool(stops) and bool(points),
        last_at_ms=last_at_ms,
        ended_at_ms=said_at_ms,
    )


def _plausible(found: Energy, begin: Mark | None, rated_w: int | None) -> Energy:
    """5.7-6: more than the socket can give in the time is never priced by itself."""
    if begin is None or found.quality in (Quality.U, Quality.D):
        return found
    until_ms = max(found.ended_at_ms or begin.at_ms, found.last_at_ms or begin.at_ms)
    if not is_implausible(found.wh, rated_w, until_ms - begin.at_ms):
        return found
    return Energy(
        wh=found.wh,
        quality=Quality.U,
        gap_wh_max=found.gap_wh_max,
        doubts=(*found.doubts, Doubt.IMPLAUSIBLE),
        complete=False,
        last_at_ms=found.last_at_ms,
        last_wh=found.last_wh,
        ended_at_ms=found.ended_at_ms,
        unmetered_wh=found.unmetered_wh,
    )


def is_implausible(wh: int, rated_w: int | None, duration_ms: int) -> bool:
    """`E > 1.1 x P_rated x duration + 200 Wh`, or negative."""
    ceiling_w = UNRATED_W if rated_w is None else rated_w
    return wh < 0 or wh > ceiling_w * max(0, duration_ms) * 11 // 36_000_000 + SLACK_WH


def power_estimate(samples: Sequence[tuple[int, int]]) -> int:
    """Wh under (at_ms, W) samples, straight lines between them (5.7-7). Quality D: never captured."""
    area = 0
    for (at_ms, watt), (next_ms, next_watt) in pairwise(samples):
        area += (watt + next_watt) * (next_ms - at_ms)
    return area // 7_200_000


def offline_estimate(*, ordered_wh: int | None, mean_power_w: int, offline_ms: int, fill_ms: int | None = None) -> int:
    """What a dark session has probably taken since its last sample (5.7-7); shown, never billed."""
    within_ms = offline_ms if fill_ms is None else min(offline_ms, fill_ms)
    estimated = mean_power_w * max(0, within_ms) // 3_600_000
    return estimated if ordered_wh is None else min(ordered_wh, estimated)
