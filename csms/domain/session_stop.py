"""The end of a session: asked for, told, told late (SESSIONS 5.4, 5.7-4, 5.8). Repeats change nothing."""

from __future__ import annotations

from csms.domain.clock import TimeQuality, worse
from csms.domain.end_cause import WEAK, EndCause, normalise_end_cause
from csms.domain.session_energy import take_reading
from csms.domain.session_events import CaseType, Reshaped, Severity, StopCause, StopSeen
from csms.domain.session_record import Segment, Session, StopMark
from csms.domain.session_states import LATE, EventKind, State
from csms.domain.session_turn import Turn
from csms.domain.timers import Timer


def on_stop_requested(turn: Turn, cause: StopCause) -> None:
    """Somebody wants it to end. Where it cannot be sent now the intent waits."""
    session = turn.session
    if session.stop_asked_at_ms is None:
        session.stop_asked_at_ms, session.stop_cause = turn.now_ms, cause
    if turn.fire(EventKind.STOP_REQUESTED):
        return
    if session.state is State.STOPPING and Timer.T_STOP not in session.deadlines:
        session.stop_attempts = 0
        turn.send_stop()
    elif session.state is State.SUSPENDED_OFFLINE and session.live_state is not State.STARTING:
        session.live_state = State.STOPPING


def on_stop(turn: Turn, event: StopSeen) -> None:
    """The end of a transaction: complete or not, of the last one or of one before a cut."""
    session, stopped = turn.session, event.stopped
    if not turn.exists:
        open_orphan(turn, event.effective_ms, stopped.tx_id)
        session.token = stopped.token
        turn.case(CaseType.ORPHAN_STOP, Severity.MONEY, "A stop came that belongs to no known start.")
    group = _group_of(session, stopped.tx_id)
    if group is None:
        return
    before = sum(len(segment.stops) for segment in session.segments)
    turn.at_ms = event.effective_ms
    _keep_stop(group, event)
    known = before == sum(len(segment.stops) for segment in session.segments)
    news = [take_reading(session, reading, turn.now_ms) for reading in stopped.readings]
    session.note_seq(stopped.seq_no)
    if known and not any(item is not None for item in news):
        return
    session.time_quality = worse(session.time_quality, event.time_quality)
    if event.time_quality is TimeQuality.D:
        turn.case(CaseType.CLOCK, Severity.INFO, "The stop's time is that of its receipt.")
    if group[-1] is not session.segments[-1]:
        turn.refigure()  # the part before a cut has got its own end after all
        if session.state in LATE:
            reconsider(turn)
        return
    if stopped.seq_no is not None:
        session.seq_last = max(stopped.seq_no, session.seq_last or 0)
    if not known:
        _note_cause(session, stopped.reason)
    turn.extend_drain()
    turn.refigure()
    _end(turn)


def _end(turn: Turn) -> None:
    session = turn.session
    match session.state:
        case State.ENDED_PENDING_DATA:
            if session.complete:
                turn.fire(EventKind.FACTS_COMPLETE)
        case State.ABANDONED | State.SETTLED | State.RECONCILED:
            reconsider(turn)
        case State.STOPPING if session.authorised is False and session.complete and session.energy_wh == 0:
            turn.fire(EventKind.STOP_OF_REFUSED)
        case _:
            turn.fire(EventKind.STOP_COMPLETE if session.complete else EventKind.STOP_INCOMPLETE)


def _group_of(session: Session, tx_id: str) -> list[Segment] | None:
    """The transaction with this alias, else the last one (the match was made by other means)."""
    groups = list(session.groups())
    for group in reversed(groups):
        if any(segment.tx_id == tx_id for segment in group):
            return group
    return groups[-1] if groups else None


def _keep_stop(group: list[Segment], event: StopSeen) -> None:
    stopped = event.stopped
    for segment in group:
        for mark in segment.stops:
            # The same key with another register is no repeat: both are kept and become a case (5.5).
            same = mark.key == stopped.key or mark.at_ms == event.effective_ms
            if same and mark.wh == stopped.register_wh:
                return
    group[-1].stops.append(StopMark(stopped.key, event.effective_ms, stopped.register_wh, stopped.signed))


def _note_cause(session: Session, reason: str | None) -> None:
    """Raw and normalised; evidence of a power cut may override the normalised one only (PEERS 3 row 24)."""
    cause = normalise_end_cause(reason)
    if session.interrupted_by is not None and (reason is None or cause in WEAK):
        cause = EndCause.POWER_LOSS
    session.stop_reason = reason
    session.end_cause = cause


def open_orphan(turn: Turn, at_ms: int, tx_id: str | None) -> None:
    turn.session.segments.append(Segment(n=1, tx_id=tx_id, start_key=None, start_at_ms=at_ms))
    turn.fire(EventKind.UNMATCHED)


def reconsider(turn: Turn, *, approved: bool = False) -> None:
    """Does what came late change energy, time or cause against what is in the ledger? Then it is a revision."""
    session = turn.session
    turn.refigure()
    is_reshaped = session.late_pending and not session.final
    session.late_pending = False
    now = (session.energy_wh, session.ended_at_ms, session.end_cause)
    if now == (session.settled_wh, session.settled_ended_ms, session.settled_cause):
        if is_reshaped:
            turn.out.append(Reshaped())
        return
    if session.final and not approved:
        session.late_pending = True
        turn.case(CaseType.LATE_FACT, Severity.MONEY, "A fact came after the final date; approve it to move money.")
        return
    turn.fire(EventKind.LATE_FACT)
