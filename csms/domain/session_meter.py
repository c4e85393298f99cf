"""What a session makes of its meter: readings in any order, budgets, pauses, and the idle register
(SESSIONS 5.4, 5.7, 5.8-d, 5.8-i). Repeats change nothing.
"""

from __future__ import annotations

from csms.domain.reported import SocketStatus
from csms.domain.session_energy import take_reading
from csms.domain.session_events import BudgetReached, MeterSeen, RegisterSeen, StopCause
from csms.domain.session_record import Interruption, Segment, Session
from csms.domain.session_states import LATE, LIVE, EventKind, State
from csms.domain.session_stop import on_stop_requested, open_orphan, reconsider
from csms.domain.session_turn import Turn
from csms.domain.timers import Timer

_PAUSES = {SocketStatus.SUSPENDED_EV: True, SocketStatus.SUSPENDED_EVSE: False}
_CHARGING_STATES = {
    "SuspendedEV": SocketStatus.SUSPENDED_EV,
    "SuspendedEVSE": SocketStatus.SUSPENDED_EVSE,
    "Charging": SocketStatus.CHARGING,
}


def on_meter(turn: Turn, event: MeterSeen) -> None:
    """Readings of the transaction, in whatever order they come."""
    session = turn.session
    if not turn.exists:
        open_orphan(turn, turn.now_ms, event.tx_id)
    session.note_seq(event.seq_no)
    newest_ms: int | None = None
    dirty = False
    for reading in event.readings:
        at_ms = turn.now_ms if reading.at_ms is None else reading.at_ms
        taken = take_reading(session, reading, turn.now_ms)
        if taken is None:
            continue
        dirty = dirty or taken
        newest_ms = at_ms if newest_ms is None else max(newest_ms, at_ms)
    if dirty or (event.seq_no is not None and session.state is State.ENDED_PENDING_DATA):
        turn.refigure()
    if _is_queued(session, event):
        turn.extend_drain()
    if newest_ms is not None:
        _after_meter(turn, newest_ms)
    status = _CHARGING_STATES.get(event.charging_state or "")
    if status is not None:
        on_pause(turn, status, turn.now_ms if newest_ms is None else newest_ms)
    if session.state is State.ENDED_PENDING_DATA and session.complete:
        turn.fire(EventKind.FACTS_COMPLETE)


def _is_queued(session: Session, event: MeterSeen) -> bool:
    """What was measured after the reconnect was not queued: a pending stop does not wait for it."""
    since_ms = session.drain_since_ms
    return since_ms is None or all(r.at_ms is not None and r.at_ms < since_ms for r in event.readings)


def _after_meter(turn: Turn, newest_ms: int) -> None:
    session = turn.session
    match session.state:
        case State.INTERRUPTED:
            _resume_by_meter(turn, newest_ms)
        case State.ABANDONED if session.abandoned_at_ms is not None and newest_ms > session.abandoned_at_ms:
            turn.fire(EventKind.STILL_CHARGING if session.link_up else EventKind.STILL_CHARGING_DARK)
        case State.ABANDONED | State.SETTLED | State.RECONCILED:
            session.late_pending = True
            if Timer.T_DRAIN not in session.deadlines:
                reconsider(turn)
        case _:
            turn.fire(EventKind.METER)
    if session.state in LIVE:
        fresh = session.drain_since_ms is None or newest_ms >= session.drain_since_ms
        if fresh:
            turn.tell_resumed()
        _check_energy_budget(turn, fresh=fresh)


def _resume_by_meter(turn: Turn, newest_ms: int) -> None:
    """A reading from after the cut: the same transaction goes on. Older ones are backlog."""
    session = turn.session
    cut_ms = session.boot_at_ms if session.boot_at_ms is not None else session.interrupted_at_ms
    if cut_ms is None or newest_ms <= cut_ms or session.interrupted_by is Interruption.SWAP:
        return
    resume(turn, EventKind.METER_AFTER_CUT)


def resume(turn: Turn, kind: EventKind) -> None:
    """The same transaction goes on after a cut, as a new stretch; without a cut it simply goes on."""
    session = turn.session
    session.idle_at_ms = session.idle_wh = None  # the socket was not idle after all
    cut_ms = session.boot_at_ms if session.boot_at_ms is not None else session.interrupted_at_ms
    before = session.segments[-1]
    if cut_ms is not None and before.start_at_ms != cut_ms:
        session.segments.append(
            Segment(
                n=before.n + 1,
                tx_id=before.tx_id,
                start_key=None,
                start_at_ms=cut_ms,
                start_source="resumed",
                meter_epoch=len(session.breaks_ms),
                continues=True,
            )
        )
    turn.fire(kind)


def _check_energy_budget(turn: Turn, *, fresh: bool) -> None:
    session = turn.session
    if session.budget_wh is None or session.budget_reached or session.energy_wh < session.budget_wh:
        return
    reach_budget(turn, StopCause.ENERGY_LIMIT, fresh=fresh)


def reach_budget(turn: Turn, cause: StopCause, *, fresh: bool) -> None:
    session = turn.session
    session.budget_reached = True
    session.budget_online = session.link_up and session.state in LIVE and fresh
    turn.out.append(BudgetReached(cause, session.energy_wh))
    if not fresh and session.state in (State.ACTIVE, State.SUSPENDED):
        # Backlog: its own stop may be the next frame. The intent is kept until the queue is drained.
        session.stop_asked_at_ms, session.stop_cause = turn.now_ms, cause
        return
    on_stop_requested(turn, cause)


def on_register(turn: Turn, event: RegisterSeen) -> None:
    """The register of the idle socket closes what has no register of its own (5.8-d, 5.8-i)."""
    session = turn.session
    if not set_idle(session, event.at_ms, event.wh):
        return
    if session.state in LATE:
        reconsider(turn)
        return
    turn.refigure()
    if session.complete:
        turn.fire(EventKind.FACTS_COMPLETE)


def set_idle(session: Session, at_ms: int, wh: int) -> bool:
    """Keep the earliest register after the end. False when it says nothing about this session."""
    stops = session.last_stops()
    if stops:
        after_ms = max(stop.at_ms for stop in stops)
    elif session.boot_at_ms is not None and session.interrupted_by is not Interruption.SWAP:
        after_ms = session.boot_at_ms
    else:
        return False
    if at_ms < after_ms or (session.closed_before_ms is not None and at_ms > session.closed_before_ms):
        return False
    if session.idle_at_ms is not None and session.idle_at_ms <= at_ms:
        return False
    session.idle_at_ms, session.idle_wh = at_ms, wh
    return True


def on_pause(turn: Turn, status: SocketStatus, at_ms: int) -> None:
    session = turn.session
    if session.status_at_ms is not None and at_ms < session.status_at_ms:
        return
    session.status_at_ms = turn.at_ms = at_ms
    if status in _PAUSES:
        if turn.fire(EventKind.PAUSED):
            session.suspended_since_ms, session.paused_by_ev = at_ms, _PAUSES[status]
        elif session.state is State.SUSPENDED and session.paused_by_ev is not _PAUSES[status]:
            _swap_pause(session, at_ms, by_ev=_PAUSES[status])
    elif status is SocketStatus.CHARGING:
        turn.fire(EventKind.CHARGING)


def _swap_pause(session: Session, at_ms: int, *, by_ev: bool) -> None:
    if session.paused_by_ev and session.suspended_since_ms is not None:
        session.idle_ms += max(0, at_ms - session.suspended_since_ms)
    session.suspended_since_ms, session.paused_by_ev = at_ms, by_ev
