"""The charging session: one machine for every transport (SESSIONS 5.3-5.8). This is its front door.

`open_session` makes one from its first event, `apply` changes it in place and says what the application must
do, `meter_fast` takes the ordinary reading of an ordinary session in a few microseconds. The table is in
`session_states`, the guards in `session_steps`, `session_meter` and `session_stop`, what a state demands on
entry in `session_turn`.
"""

from __future__ import annotations

from csms.domain import session_meter, session_stop
from csms.domain import session_steps as steps
from csms.domain.end_cause import EndCause, EndClass, normalise_end_cause
from csms.domain.epochs import is_sudden
from csms.domain.meter import RegisterKind
from csms.domain.session_events import (
    AuthBad,
    AuthOk,
    BootSeen,
    Ended,
    Event,
    FactsComplete,
    LateFact,
    LinkDown,
    LinkUp,
    MeterSeen,
    OperatorClose,
    OperatorVoid,
    OtherStartSeen,
    Outcome,
    RegisterSeen,
    Reserved,
    Settled,
    SitePowerCut,
    StartRequested,
    StartSeen,
    StatusSeen,
    StopAnswered,
    StopRequested,
    StopSeen,
    TimerFired,
    TransactionStatusSeen,
)
from csms.domain.session_record import Interruption, Segment, Session, StopMark, fast_row, from_row, to_row
from csms.domain.session_states import LATE, LIVE, OPEN, TRANSITIONS, Back, EventKind, State
from csms.domain.session_turn import Turn
from csms.domain.timers import Timer, Timing

__all__ = [
    "LATE",
    "LIVE",
    "OPEN",
    "TRANSITIONS",
    "Back",
    "EndCause",
    "EndClass",
    "EventKind",
    "Interruption",
    "Segment",
    "Session",
    "State",
    "StopMark",
    "Timer",
    "Timing",
    "apply",
    "due",
    "fast_row",
    "from_row",
    "meter_fast",
    "normalise_end_cause",
    "open_session",
    "to_row",
]


def open_session(
    event: Reserved | StartRequested | StartSeen | MeterSeen | StopSeen,
    timing: Timing,
    *,
    no: int,
    session_id: str,
    station: str,
    evse: int,
    connector: int,
    register_kind: RegisterKind = RegisterKind.LIFETIME,
    rated_w: int | None = None,
    link_up: bool = True,
) -> tuple[Session, list[Outcome]]:
    """A session from its first event; a stop or reading without a start makes an ORPHAN."""
    session = Session(
        no=no,
        session_id=session_id,
        station=station,
        evse=evse,
        connector=connector,
        state=State.ORPHAN,  # replaced by the first move
        register_kind=register_kind,
        rated_w=rated_w,
        link_up=link_up,
    )
    turn = Turn(session, timing, event.now_ms, event.now_ms, exists=False)
    _dispatch(turn, event)
    _note_fast(session)
    return session, turn.out


def apply(session: Session, event: Event, timing: Timing) -> list[Outcome]:
    """Change the session in place and return what the application must do, in order.

    An event that the table does not list for this state is recorded and leaves the state unchanged; repeats
    change nothing.
    """
    turn = Turn(session, timing, event.now_ms, event.now_ms)
    ended_with = _billed_by(session) if session.state is State.ENDED else None
    _dispatch(turn, event)
    if ended_with is not None and session.state is State.ENDED and _billed_by(session) != ended_with:
        # Not settled yet, so no revision; but whoever settles may have looked already, or could not price it.
        turn.out.append(Ended())
    _note_fast(session)
    return turn.out


def _billed_by(session: Session) -> tuple[object, ...]:
    # Readings alone may change the price, too: they tell when the energy flowed.
    return session.energy_wh, session.quality, session.ended_at_ms, session.end_cause, len(session.register)


def _dispatch(turn: Turn, event: Event) -> None:
    session = turn.session
    match event:
        case MeterSeen():
            session_meter.on_meter(turn, event)
        case StatusSeen():
            steps.on_status(turn, event)
        case StartSeen():
            steps.on_start(turn, event)
        case StopSeen():
            session_stop.on_stop(turn, event)
        case LinkDown():
            steps.on_link_down(turn, event)
        case LinkUp():
            steps.on_link_up(turn, queues=event.queues)
        case BootSeen():
            steps.on_boot(turn, event)
        case SitePowerCut():
            turn.fire(EventKind.SITE_POWER_CUT)
        case TimerFired():
            steps.on_timer(turn, event)
        case StopRequested():
            session_stop.on_stop_requested(turn, event.cause)
        case StopAnswered():
            session.stop_delivered = session.stop_delivered or event.accepted
        case Reserved():
            if turn.fire(EventKind.RESERVE_OK):
                session.deadlines[Timer.T_START] = event.expires_ms
        case StartRequested():
            steps.on_start_requested(turn, event)
        case AuthOk() | AuthBad():
            steps.on_verdict(turn, good=isinstance(event, AuthOk))
        case OtherStartSeen():
            steps.on_other_start(turn, event)
        case RegisterSeen():
            session_meter.on_register(turn, event)
        case TransactionStatusSeen():
            steps.on_transaction_status(turn, event)
        case FactsComplete():
            turn.fire(EventKind.FACTS_COMPLETE)
        case Settled():
            steps.on_settled(turn, event)
        case LateFact():
            steps.on_late(turn, event)
        case OperatorClose():
            steps.on_operator_close(turn)
        case OperatorVoid():
            if not event.money_captured:
                turn.fire(EventKind.OPERATOR_VOID)


def _note_fast(session: Session) -> None:
    """Whether the next ordinary reading needs no thought."""
    session.fast = (
        session.state is State.ACTIVE
        and session.steady
        and not session.notified
        and Timer.T_DRAIN not in session.deadlines
    )


def meter_fast(
    session: Session,
    at_ms: int,
    wh: int,
    power_w: int | None = None,
    seq_no: int | None = None,
    soc_percent: int | None = None,
) -> bool:
    """Take one unmarked register reading in order; False: nothing was changed, take `apply`.

    True means exactly what `apply(MeterSeen)` would have done: no outcome, no state change.
    """
    if not session.fast:
        return False
    last_wh = session.last_proven_wh
    last_at_ms = session.last_proven_at_ms
    if last_wh is None or last_at_ms is None:
        return False
    lifted_wh = wh + session.lift_wh
    if at_ms <= last_at_ms or lifted_wh < last_wh:
        return False
    energy_wh = session.energy_wh + lifted_wh - last_wh
    budget_wh = session.budget_wh
    if budget_wh is not None and energy_wh >= budget_wh and not session.budget_reached:
        return False
    if is_sudden(session.rated_w, last_at_ms, last_wh, at_ms, lifted_wh):
        return False
    session.register.add(at_ms, wh)
    session.energy_wh = energy_wh
    session.last_proven_at_ms = at_ms
    session.last_proven_wh = lifted_wh
    if session.power_at_ms is None or at_ms >= session.power_at_ms:
        if power_w is not None:
            session.power_w, session.power_at_ms = power_w, at_ms
        if soc_percent is not None:
            session.soc_percent = soc_percent
    if seq_no is not None:
        session.note_seq(seq_no)
    return True


def due(session: Session, now_ms: int) -> list[Timer]:
    """The timers that have passed, earliest first."""
    passed = [(at_ms, timer) for timer, at_ms in session.deadlines.items() if at_ms <= now_ms]
    return [timer for _, timer in sorted(passed)]
