"""The figures of a session from its facts (SESSIONS 5.7 over all its transactions), and the step that avoids it.

`recompute` looks at everything; `advance` adds one reading in order and must give the same result.
"""

from __future__ import annotations

from csms.domain.clock import TimeQuality
from csms.domain.epochs import is_sudden
from csms.domain.meter import Cut, Doubt, Energy, Mark, Marks, Quality, RegisterKind, energy
from csms.domain.reported import Context, Reading
from csms.domain.session_record import Interruption, Segment, Session
from csms.domain.session_states import CLOSED
from csms.domain.timers import Timing

_ORDER = list(Quality)


def advance(session: Session, at_ms: int, wh: int) -> bool:
    """Add the newest reading without looking back; False when only `recompute` can tell.

    The reading is put into the register only when it was handled.
    """
    last_at_ms, last_wh = session.last_proven_at_ms, session.last_proven_wh
    if not session.steady or last_at_ms is None or last_wh is None:
        return False
    wh_lifted = wh + session.lift_wh
    if at_ms <= last_at_ms or wh_lifted < last_wh:
        return False
    if is_sudden(session.rated_w, last_at_ms, last_wh, at_ms, wh_lifted):
        return False
    session.register.add(at_ms, wh)
    session.energy_wh += wh_lifted - last_wh
    session.last_proven_at_ms = at_ms
    session.last_proven_wh = wh_lifted
    return True


def take_reading(session: Session, reading: Reading, now_ms: int) -> bool | None:
    """None: nothing new. Otherwise whether the figures must be worked out again."""
    at_ms = now_ms if reading.at_ms is None else reading.at_ms
    wh = reading.interval_wh if session.register_kind is RegisterKind.INTERVAL else reading.register_wh
    if wh is not None and wh < 0:
        wh = None  # no import meter counts below zero; nor is it among the readings a restart brings back
    if session.power_at_ms is None or at_ms >= session.power_at_ms:
        if reading.power_w is not None:
            session.power_w, session.power_at_ms = reading.power_w, at_ms
        if reading.soc_percent is not None:
            session.soc_percent = reading.soc_percent
    if wh is None:
        if reading.power_w is None:
            return None
        return True if session.power.add(at_ms, reading.power_w) else None
    marks = _marks(reading)
    if not marks and advance(session, at_ms, wh):
        return False
    return True if session.register.add(at_ms, wh, marks) else None


def _marks(reading: Reading) -> int:
    marks = Marks.SIGNED.value if reading.signed else 0
    if reading.context is Context.BEGIN:
        marks |= Marks.BEGIN.value
    elif reading.context is Context.END:
        marks |= Marks.END.value
    return marks


def recompute(session: Session, timing: Timing) -> list[Doubt]:
    """Set every figure of the session from its facts; what is odd about them is returned."""
    groups = list(session.groups())
    found = [_of_group(session, groups, index, timing) for index in range(len(groups))]
    if not found:
        return []
    last = found[-1]
    session.energy_wh = sum(part.wh for part in found)
    session.quality = _together(found)
    session.gap_wh_max = _gap(found)
    session.unmetered_wh = sum(part.unmetered_wh for part in found)
    session.complete = last.complete and not session.has_seq_gap()
    session.steady = last.steady and _can_step(session, groups[-1])
    session.last_proven_at_ms, session.last_proven_wh = _last_proven(found)
    _ends(session, groups[-1], last)
    return [doubt for part in found for doubt in part.doubts]


def _of_group(session: Session, groups: list[list[Segment]], index: int, timing: Timing) -> Energy:
    """One transaction: its readings are those between its start and the next one's."""
    group = groups[index]
    first, is_last = group[0], index == len(groups) - 1
    start = None if first.start_key is None and first.start_wh is None else _start(first)
    return energy(
        session.register,
        start=start,
        stops=[Mark(m.at_ms, m.wh, m.signed) for segment in group for m in segment.stops],
        kind=session.register_kind,
        breaks_ms=session.breaks_ms,
        rated_w=session.rated_w,
        since_ms=first.start_at_ms if index else None,
        until_ms=None if is_last else groups[index + 1][0].start_at_ms,
        idle=_idle(session) if is_last else None,
        cut=_cut(session, timing) if is_last else None,
        power=session.power if len(groups) == 1 else None,
        times_good=session.time_quality is not TimeQuality.D,
    )


def _can_step(session: Session, group: list[Segment]) -> bool:
    """Not behind an end, not for sums, and not for a session register whose start (its lift) is unknown."""
    if session.state in CLOSED or session.idle_at_ms is not None:
        return False
    if session.register_kind is RegisterKind.SESSION:
        return group[0].start_wh is not None
    return session.register_kind is RegisterKind.LIFETIME


def _start(segment: Segment) -> Mark:
    return Mark(segment.start_at_ms, segment.start_wh)


def _idle(session: Session) -> Mark | None:
    """Only an ended session has an idle socket; while it may still go on, the register proves nothing."""
    if session.idle_at_ms is None or session.register_kind is not RegisterKind.LIFETIME:
        return None
    if session.state not in CLOSED:
        return None
    return Mark(session.idle_at_ms, session.idle_wh)


def _cut(session: Session, timing: Timing) -> Cut | None:
    """The bound of 5.8-d; nothing is attributed across a swap, and nothing without a proven cut."""
    if session.boot_at_ms is None or session.interrupted_by is Interruption.SWAP:
        return None
    return Cut(timing.between_sessions, session.last_life_ms or 0, timing.dead_time_s * 1_000)


def _together(found: list[Energy]) -> Quality:
    """The poorest part decides; a cut-off stretch with no sample of its own adds nothing and only costs the A."""
    if any(Doubt.IMPLAUSIBLE in part.doubts for part in found):
        return Quality.U
    known = [part.quality for part in found if part.quality is not Quality.U]
    if not known:
        return Quality.U
    poorest = max(known, key=_ORDER.index)
    return poorest if len(known) == len(found) else max(poorest, Quality.C, key=_ORDER.index)


def _gap(found: list[Energy]) -> int | None:
    gaps = [part.gap_wh_max for part in found]
    return None if None in gaps else sum(gap for gap in gaps if gap is not None)


def _last_proven(found: list[Energy]) -> tuple[int | None, int | None]:
    for part in reversed(found):
        if part.last_at_ms is not None:
            return part.last_at_ms, part.last_wh
    return None, None


def _ends(session: Session, group: list[Segment], last: Energy) -> None:
    """The end of the session and of its last transaction, as far as it has one."""
    segment = group[-1]
    if session.meter_start_wh is None:
        session.meter_start_wh = session.segments[0].start_wh
    has_stop = last.ended_at_ms is not None
    if not has_stop and session.state not in CLOSED:
        session.ended_at_ms = None
        return
    ended_at_ms = last.ended_at_ms
    if ended_at_ms is None:
        ended_at_ms = last.last_at_ms if last.last_at_ms is not None else session.started_at_ms
        if session.closed_before_ms is not None:
            # The connector cannot hold two: min(new start, last proven).
            ended_at_ms = min(session.closed_before_ms, ended_at_ms or session.closed_before_ms)
    session.ended_at_ms = ended_at_ms
    segment.stop_at_ms = ended_at_ms
    segment.stop_wh = last.last_wh
    segment.stop_source = "last-proven"
    if has_stop:
        usable = [m.wh for seg in group for m in seg.stops if m.wh is not None and m.at_ms == ended_at_ms]
        if last.complete and usable:
            segment.stop_wh, segment.stop_source = usable[-1], "stop"
    if last.complete and segment.stop_source != "stop":
        segment.stop_source = "idle-register" if session.idle_wh is not None else "end-reading"
        if session.idle_wh is not None:
            segment.stop_wh = session.idle_wh
    session.meter_stop_wh = segment.stop_wh
