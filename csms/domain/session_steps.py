"""What starts, links, boots and deadlines do to a session: the guards that choose a row of the table
(SESSIONS 5.4, 5.8). Every function takes the turn and the event; repeats change nothing.
"""

from __future__ import annotations

from csms.domain.clock import worse
from csms.domain.matching import may_resume
from csms.domain.meter import RegisterKind
from csms.domain.reported import SocketStatus, Started
from csms.domain.session_energy import take_reading
from csms.domain.session_events import (
    AskMeterValues,
    AskTransactionStatus,
    BootSeen,
    CancelInstructions,
    CaseType,
    LateFact,
    LinkDown,
    OtherStartSeen,
    SendStop,
    Settled,
    Severity,
    StartRequested,
    StartSeen,
    StatusSeen,
    StopCause,
    TimerFired,
    TransactionStatusSeen,
)
from csms.domain.session_meter import on_pause, reach_budget, resume, set_idle
from csms.domain.session_record import Interruption, Segment
from csms.domain.session_states import LATE, LIVE, OPEN, EventKind, State
from csms.domain.session_stop import on_stop_requested, reconsider
from csms.domain.session_turn import Turn
from csms.domain.timers import Timer

# ── asking for a start ──────────────────────────────────────────────────────────────────────────────────────


def on_start_requested(turn: Turn, event: StartRequested) -> None:
    """A remote start: remember what was ordered and wait for the start fact."""
    session = turn.session
    if not turn.fire(EventKind.START_REQUESTED):
        return
    session.token, session.order_id = event.token, event.order_id
    session.instruction_id = event.instruction_id
    session.budget_wh, session.budget_s = event.budget_wh, event.budget_s
    turn.arm(Timer.T_START, turn.timing.start_s if event.window_s is None else event.window_s)


# ── start ───────────────────────────────────────────────────────────────────────────────────────────────────


def on_start(turn: Turn, event: StartSeen) -> None:
    """A start fact: bind it, adopt an orphan with it, resume after a cut, or close this session for it."""
    session, started = turn.session, event.started
    if any(segment.start_key == started.key for segment in session.segments):
        if event.authorised is not None and session.authorised is None:
            on_verdict(turn, good=event.authorised)
        return
    if not turn.exists or session.state in (State.REQUESTED, State.RESERVED):
        turn.disarm(Timer.T_START)
        _bind(turn, event)
        turn.fire(EventKind.START_FACT)
        if event.authorised is not None:
            on_verdict(turn, good=event.authorised)
    elif session.state is State.ORPHAN:
        _adopt(turn, event)
    elif may_resume(session, started, event.effective_ms, turn.timing):
        session.idle_at_ms = session.idle_wh = None  # it bounded the part before the cut, which ends proven
        _append(turn, event)
        turn.fire(EventKind.START_AFTER_CUT)
    elif session.state in OPEN or session.state is State.ENDED_PENDING_DATA:
        on_other_start(turn, OtherStartSeen(turn.now_ms, event.effective_ms, started.register_wh))
    elif session.state is State.VOID:
        # "RemoteStop if later": the order is gone, whatever starts under it must not run on.
        turn.out.append(SendStop(1))
        turn.case(CaseType.LATE_START, Severity.MONEY, "It started after its order was given up.")


def on_verdict(turn: Turn, *, good: bool) -> None:
    """The token was judged. A session that went dark before that remembers where it would be."""
    session = turn.session
    session.authorised = good
    if turn.fire(EventKind.AUTH_OK if good else EventKind.AUTH_BAD):
        return
    if session.state is State.SUSPENDED_OFFLINE and session.live_state is State.STARTING:
        session.live_state = State.ACTIVE if good else State.STOPPING
        if not good and session.stop_asked_at_ms is None:
            session.stop_asked_at_ms, session.stop_cause = turn.now_ms, StopCause.REFUSED
    elif not good and session.state in (State.ACTIVE, State.SUSPENDED):
        on_stop_requested(turn, StopCause.REFUSED)  # it was adopted, or resumed, before anybody was asked


def _bind(turn: Turn, event: StartSeen) -> None:
    session, started = turn.session, event.started
    session.evse, session.connector = started.evse, started.connector
    session.token = started.token if started.token is not None else session.token
    session.offline_start = event.offline
    session.started_at_ms = event.effective_ms
    session.meter_start_wh = started.register_wh
    session.seq_base = started.seq_no or 0
    session.time_quality = worse(session.time_quality, event.time_quality)
    _append(turn, event)


def _append(turn: Turn, event: StartSeen) -> None:
    session, started = turn.session, event.started
    session.segments.append(
        Segment(
            n=len(session.segments) + 1,
            tx_id=event.tx_id if event.tx_id is not None else started.tx_id,
            start_key=started.key,
            start_at_ms=event.effective_ms,
            start_wh=started.register_wh,
            start_source=None if started.register_wh is None else "start",
            meter_epoch=len(session.breaks_ms),
        )
    )
    _finish_start(turn, started)


def _finish_start(turn: Turn, started: Started) -> None:
    session = turn.session
    session.note_seq(started.seq_no)
    if session.register_kind is RegisterKind.SESSION:
        session.lift_wh = session.segments[-1].start_wh or 0
    for reading in started.readings:
        take_reading(session, reading, turn.now_ms)
    turn.refigure()


def _adopt(turn: Turn, event: StartSeen) -> None:
    """A start for what came without one (5.8-k)."""
    session, started = turn.session, event.started
    orphan = session.segments[-1]
    session.segments.pop()
    _bind(turn, event)
    session.segments[-1].stops = orphan.stops
    if session.segments[-1].tx_id is None:
        session.segments[-1].tx_id = orphan.tx_id
    session.authorised = event.authorised
    _finish_start(turn, started)
    if not orphan.stops:
        turn.fire(EventKind.ADOPTED)
        if event.authorised is False:
            on_stop_requested(turn, StopCause.REFUSED)
        return
    turn.fire(EventKind.ADOPTED_COMPLETE if session.complete else EventKind.ADOPTED_INCOMPLETE)


def on_other_start(turn: Turn, event: OtherStartSeen) -> None:
    """The connector holds another transaction now; this one ended before it, whatever we heard."""
    session = turn.session
    if session.state not in OPEN and session.state is not State.ENDED_PENDING_DATA:
        return
    if session.closed_before_ms is None or event.at_ms < session.closed_before_ms:
        session.closed_before_ms = event.at_ms
    if session.last_proven_at_ms is not None and session.last_proven_at_ms > event.at_ms:
        turn.case(CaseType.OVERLAP, Severity.WARNING, "Readings of two sessions overlap on one connector.")
    if event.wh is not None:
        set_idle(session, event.at_ms, event.wh)
    if not turn.fire(EventKind.OTHER_START):
        turn.refigure()
    if session.complete:
        turn.fire(EventKind.FACTS_COMPLETE)


# ── status, link, power ─────────────────────────────────────────────────────────────────────────────────────


def on_status(turn: Turn, event: StatusSeen) -> None:
    """The socket's status: pauses, and Available as closing evidence after a cut."""
    session = turn.session
    at_ms = turn.now_ms if event.at_ms is None else event.at_ms
    if session.status_at_ms is not None and at_ms < session.status_at_ms:
        return
    if event.status is SocketStatus.AVAILABLE:
        session.status_at_ms = at_ms
        if not turn.fire(EventKind.FREED) and session.state in LIVE:
            # Free although open: ask, do not guess. Once, because on 1.6 the answer is this very status.
            if session.freed_at_ms is None:
                session.freed_at_ms = at_ms
                turn.out.append(AskTransactionStatus())
        elif session.complete:
            turn.fire(EventKind.FACTS_COMPLETE)
        return
    session.freed_at_ms = None
    on_pause(turn, event.status, at_ms)


def on_link_down(turn: Turn, event: LinkDown) -> None:
    """The link is gone; whether the car still charges is unknown."""
    session = turn.session
    session.link_up = False
    session.drain_since_ms = None
    turn.disarm(Timer.T_DRAIN, Timer.T_QUEUE)
    if event.last_life_ms is not None:
        turn.at_ms = event.last_life_ms
        # What lives on after the cut, or after the end, says nothing about how long energy could flow before.
        dark_before = session.state is State.INTERRUPTED and session.boot_at_ms is not None
        if session.state in OPEN and not dark_before:
            session.last_life_ms = max(event.last_life_ms, session.last_life_ms or 0)
    if Timer.T_DATA in session.deadlines:
        turn.arm(Timer.T_DATA, turn.timing.data_offline_s)
    turn.fire(EventKind.LINK_DOWN)


def on_link_up(turn: Turn, *, queues: bool = True) -> None:
    """The link is back and nothing says that power was lost."""
    session = turn.session
    session.link_up = True
    by_evidence = session.interrupted_by in (Interruption.BOOT, Interruption.SWAP)
    if not (session.state is State.INTERRUPTED and by_evidence) and turn.fire(EventKind.LINK_UP):
        session.interrupted_by = None
        turn.disarm(Timer.T_ABANDON, Timer.T_NOTIFY)
        turn.start_drain(queues=queues)
        turn.out.append(AskMeterValues())
    elif session.state is State.ABANDONED and Timer.T_DRAIN not in session.deadlines:
        turn.start_drain(queues=queues)
        turn.ask()
    elif Timer.T_DATA in session.deadlines:
        limit_ms = turn.now_ms + turn.timing.data_online_s * 1_000
        if limit_ms < session.deadlines[Timer.T_DATA]:
            session.deadlines[Timer.T_DATA] = limit_ms
            turn.ask()


def on_boot(turn: Turn, event: BootSeen) -> None:
    """A boot: with a new epoch the power-loss path (5.8-c), otherwise no more than a link-up."""
    session = turn.session
    if not event.new_epoch and not event.swapped:
        on_link_up(turn)
        return
    session.link_up = True
    if session.state not in OPEN and session.state is not State.ABANDONED:
        return
    if event.boot_at_ms in session.breaks_ms:
        return
    session.breaks_ms.append(event.boot_at_ms)
    session.boot_at_ms = event.boot_at_ms
    session.interrupted_by = Interruption.SWAP if event.swapped else Interruption.BOOT
    session.interrupted_at_ms = event.boot_at_ms
    if event.last_life_ms is not None and session.state is not State.INTERRUPTED:
        session.last_life_ms = max(event.last_life_ms, session.last_life_ms or 0)
    if event.swapped:
        turn.case(CaseType.SWAP, Severity.WARNING, "The unit was replaced while the session was open.")
        turn.out.append(CancelInstructions())
    if not turn.fire(EventKind.BOOT):
        turn.start_drain()  # abandoned: hear its queue before deciding again
        turn.ask()


# ── the station's own word on the transaction ───────────────────────────────────────────────────────────────


def on_transaction_status(turn: Turn, event: TransactionStatusSeen) -> None:
    """What is queued is waited for; what the station no longer knows is over, what it still knows goes on (E14)."""
    session = turn.session
    if event.queued:
        _await_queue(turn)
        return
    session.queued_since_ms = None
    turn.disarm(Timer.T_QUEUE)
    if event.ongoing:
        _still_ongoing(turn)
    elif event.ongoing is False and turn.fire(EventKind.GONE):
        pass  # entering the next state asks once more; the same answer then completes it
    elif session.state is State.ENDED_PENDING_DATA:
        turn.fire(EventKind.FACTS_COMPLETE)


def _await_queue(turn: Turn) -> None:
    """Nothing is decided while messages wait; a queue that never empties is not waited for beyond T_data offline."""
    session, timing = turn.session, turn.timing
    if session.state not in OPEN and session.state is not State.ENDED_PENDING_DATA:
        return
    if session.queued_since_ms is None:
        session.queued_since_ms = turn.now_ms
    if turn.now_ms - session.queued_since_ms >= timing.data_offline_s * 1_000:
        return
    turn.arm(Timer.T_QUEUE, timing.drain_s)
    for timer, patience_s in ((Timer.T_DATA, timing.data_online_s), (Timer.T_BOOTSTOP, 2 * timing.drain_s)):
        if timer in session.deadlines:
            session.deadlines[timer] = max(session.deadlines[timer], turn.now_ms + patience_s * 1_000)


def _still_ongoing(turn: Turn) -> None:
    """It survived what looked like its end. A stop that was told, another start or another unit outweigh the word."""
    session = turn.session
    if session.last_stops() or session.closed_before_ms is not None or session.interrupted_by is Interruption.SWAP:
        return
    if session.state is State.ABANDONED:
        turn.fire(EventKind.STILL_CHARGING if session.link_up else EventKind.STILL_CHARGING_DARK)
    elif session.state in (State.INTERRUPTED, State.ENDED_PENDING_DATA):
        resume(turn, EventKind.STILL_ONGOING)
        turn.refigure()


# ── timers and what comes late ──────────────────────────────────────────────────────────────────────────────


def on_timer(turn: Turn, event: TimerFired) -> None:
    """A deadline has passed. One that was moved or disarmed meanwhile does nothing."""
    session = turn.session
    due_ms = session.deadlines.get(event.timer)
    if due_ms is None or due_ms > turn.now_ms:
        return
    turn.disarm(event.timer)
    match event.timer:
        case Timer.T_START:
            turn.out.append(AskTransactionStatus())
            turn.fire(EventKind.START_TIMEOUT)
        case Timer.T_NOTIFY:
            turn.tell_interrupted()
        case Timer.T_DRAIN:
            _on_drained(turn)
        case Timer.T_BOOTSTOP:
            turn.fire(EventKind.BOOTSTOP_TIMEOUT)
            if session.complete:
                turn.fire(EventKind.FACTS_COMPLETE)
        case Timer.T_STOP:
            _on_stop_unconfirmed(turn)
        case Timer.T_DATA:
            turn.fire(EventKind.DATA_TIMEOUT)
        case Timer.T_QUEUE:
            turn.out.append(AskTransactionStatus())
        case Timer.T_ABANDON:
            turn.fire(EventKind.ABANDON_TIMEOUT)
        case Timer.T_FINAL:
            session.final = True
        case Timer.T_BUDGET:
            if session.state in OPEN and not session.budget_reached:
                reach_budget(turn, StopCause.TIME_LIMIT, fresh=True)
        case Timer.T_RESUME:
            pass  # the guard compares times; the deadline only shows that the door is still open


def _on_drained(turn: Turn) -> None:
    """The queue is empty: now decisions may be made."""
    session = turn.session
    since_ms = session.drain_since_ms
    session.drain_since_ms = None
    if session.late_pending:
        reconsider(turn)
    if session.state in LIVE:
        turn.tell_resumed()
        if session.last_proven_at_ms is None or (since_ms or 0) > session.last_proven_at_ms:
            turn.out.append(AskTransactionStatus())  # connected and silent: is it still charging?
    if session.stop_asked_at_ms is None:
        return
    if session.state is State.STOPPING and Timer.T_STOP not in session.deadlines:
        session.stop_attempts = 0
        turn.send_stop()
    elif session.state in (State.ACTIVE, State.SUSPENDED):
        turn.fire(EventKind.STOP_REQUESTED)


def _on_stop_unconfirmed(turn: Turn) -> None:
    """Two more tries, then ask for the status, then a case; what is held stays held."""
    session, tries = turn.session, turn.timing.stop_tries
    if not turn.fire(EventKind.STOP_TIMEOUT):
        return
    if session.stop_attempts < tries:
        turn.send_stop()
    elif session.stop_attempts == tries:
        session.stop_attempts += 1
        turn.out.append(AskTransactionStatus())
        turn.arm(Timer.T_STOP, turn.timing.stop_s)
    else:
        turn.case(CaseType.STOP_UNCONFIRMED, Severity.MONEY, "The charger does not confirm the stop.")


def on_operator_close(turn: Turn) -> None:
    """An operator ends it. What never had a start began, as far as anybody knows, with its first reading."""
    session = turn.session
    if session.state is State.ORPHAN and session.started_at_ms is None:
        first_ms = next((at_ms for at_ms, _ in session.register), None)
        session.started_at_ms = session.segments[0].start_at_ms if first_ms is None else first_ms
    turn.fire(EventKind.OPERATOR_CLOSE)


def on_settled(turn: Turn, event: Settled) -> None:
    """The ledger balances for this revision."""
    session = turn.session
    if turn.session.state is State.ENDED:
        session.revision = event.revision
        turn.fire(EventKind.SETTLE)


def on_late(turn: Turn, event: LateFact) -> None:
    """Look again; with an operator's approval even after T_final."""
    if turn.session.state in LATE:
        reconsider(turn, approved=event.approved)
