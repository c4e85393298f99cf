"""The session machine: the table of SESSIONS 5.4 row by row, and the cases a-o of 5.8."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from csms.domain import session_events as ev
from csms.domain.end_cause import EndCause, EndClass, normalise_end_cause
from csms.domain.matching import (
    BootEvidence,
    How,
    canonical_hash,
    is_new_boot_epoch,
    is_offline_start,
    match_meter,
    match_start,
    match_stop,
    token_norm,
)
from csms.domain.meter import Quality
from csms.domain.reported import Context, Metered, Reading, SocketStatus, Started, Stopped
from csms.domain.session import (
    TRANSITIONS,
    Back,
    EventKind,
    Session,
    State,
    Timer,
    Timing,
    apply,
    due,
    from_row,
    meter_fast,
    open_session,
    to_row,
)
from csms.domain.session_states import LATE, OPEN

S, K = State, EventKind
T0 = 1_767_225_600_000
SEC, MIN, HOUR = 1_000, 60_000, 3_600_000
TIMING = Timing()


def started(
    at_ms: int = T0, wh: int | None = 1000, *, key: str = "s1", token: str = "BK7", tx_id: str | None = None
) -> Started:
    return Started(key=key, evse=1, connector=1, token=token, at_ms=at_ms, register_wh=wh, tx_id=tx_id)


def start(at_ms: int = T0, wh: int | None = 1000, *, authorised: bool | None = True, **more: str) -> ev.StartSeen:
    tx_id = more.pop("tx", "7")
    return ev.StartSeen(at_ms, started(at_ms, wh, **more), at_ms, authorised=authorised, tx_id=tx_id)


def stopped(at_ms: int, wh: int | None, *, key: str = "e1", tx: str = "7", reason: str | None = None) -> Stopped:
    return Stopped(key=key, tx_id=tx, at_ms=at_ms, register_wh=wh, reason=reason)


def stop(at_ms: int, wh: int | None, *, now_ms: int | None = None, **more: str) -> ev.StopSeen:
    return ev.StopSeen(at_ms if now_ms is None else now_ms, stopped(at_ms, wh, **more), at_ms)


def meter(at_ms: int, wh: int, *, now_ms: int | None = None, power_w: int | None = None) -> ev.MeterSeen:
    reading = Reading(at_ms=at_ms, register_wh=wh, power_w=power_w)
    return ev.MeterSeen(at_ms if now_ms is None else now_ms, (reading,))


def boot(at_ms: int, *, swapped: bool = False) -> ev.BootSeen:
    return ev.BootSeen(at_ms, new_epoch=True, boot_at_ms=at_ms, swapped=swapped)


def fired(at_ms: int, timer: Timer) -> ev.TimerFired:
    return ev.TimerFired(at_ms, timer)


def opened(event: ev.Event | None = None, **more: object) -> Session:
    first = start() if event is None else event
    session, _ = open_session(
        first,  # type: ignore[arg-type]  # the tests name only events that open
        TIMING,
        no=7,
        session_id="01",
        station="CP1",
        evse=1,
        connector=1,
        **more,  # type: ignore[arg-type]  # register_kind, rated_w, link_up
    )
    return session


def play(session: Session, *events: ev.Event) -> list[ev.Outcome]:
    out: list[ev.Outcome] = []
    for event in events:
        out += apply(session, event, TIMING)
    return out


def kinds(outcomes: list[ev.Outcome]) -> set[type]:
    return {type(outcome) for outcome in outcomes}


def cases(outcomes: list[ev.Outcome]) -> set[str]:
    return {outcome.type.value for outcome in outcomes if isinstance(outcome, ev.CaseOpened)}


REQUEST = ev.StartRequested(T0, token="BK7", order_id="o1", budget_wh=10_000)


def in_state(state: State) -> Session:
    """A session that got there through events alone, with 200 Wh proven at T0 + 1 min where it charged."""
    metered = meter(T0 + MIN, 1200)
    paths: dict[State, tuple[ev.Event, ...]] = {
        S.RESERVED: (ev.Reserved(T0, T0 + HOUR),),
        S.REQUESTED: (REQUEST,),
        S.STARTING: (start(authorised=None),),
        S.ACTIVE: (start(), metered),
        S.SUSPENDED: (start(), metered, ev.StatusSeen(T0 + MIN, SocketStatus.SUSPENDED_EV)),
        S.SUSPENDED_OFFLINE: (start(), metered, ev.LinkDown(T0 + MIN, T0 + MIN)),
        S.INTERRUPTED: (start(), metered, boot(T0 + 2 * MIN)),
        S.STOPPING: (start(), metered, ev.StopRequested(T0 + MIN, ev.StopCause.USER)),
        S.ENDED_PENDING_DATA: (start(), metered, stop(T0 + 2 * MIN, None)),
        S.ABANDONED: (start(), metered, ev.LinkDown(T0 + MIN), fired(T0 + 25 * HOUR, Timer.T_ABANDON)),
        S.ENDED: (start(), metered, stop(T0 + 2 * MIN, 1300)),
        S.SETTLED: (start(), metered, stop(T0 + 2 * MIN, 1300), ev.Settled(T0 + 2 * MIN, 1)),
        S.RECONCILED: (
            start(),
            metered,
            ev.LinkDown(T0 + MIN),
            fired(T0 + 25 * HOUR, Timer.T_ABANDON),
            stop(T0 + 2 * MIN, 1300, now_ms=T0 + 26 * HOUR),
        ),
        S.VOID: (REQUEST, fired(T0 + HOUR, Timer.T_START)),
        S.ORPHAN: (stop(T0 + 2 * MIN, 1300),),
    }
    path = paths[state]
    session = opened(path[0])
    play(session, *path[1:])
    assert session.state is state
    return session


# ── the table ───────────────────────────────────────────────────────────────────────────────────────────────

SPEC: list[tuple[str, EventKind, State | Back]] = [
    ("-", K.RESERVE_OK, S.RESERVED),
    ("- RESERVED", K.START_REQUESTED, S.REQUESTED),
    ("- REQUESTED RESERVED", K.START_FACT, S.STARTING),
    ("REQUESTED RESERVED", K.START_TIMEOUT, S.VOID),
    ("STARTING", K.AUTH_OK, S.ACTIVE),
    ("STARTING", K.AUTH_BAD, S.STOPPING),
    ("STARTING", K.METER, S.STARTING),
    ("ACTIVE", K.METER, S.ACTIVE),
    ("SUSPENDED", K.METER, S.SUSPENDED),
    ("ACTIVE", K.PAUSED, S.SUSPENDED),
    ("SUSPENDED", K.CHARGING, S.ACTIVE),
    ("ACTIVE SUSPENDED STARTING STOPPING", K.LINK_DOWN, S.SUSPENDED_OFFLINE),
    ("SUSPENDED_OFFLINE INTERRUPTED", K.LINK_UP, Back.LIVE),
    ("SUSPENDED_OFFLINE", K.SITE_POWER_CUT, S.INTERRUPTED),
    ("open", K.BOOT, S.INTERRUPTED),
    ("INTERRUPTED", K.METER_AFTER_CUT, S.ACTIVE),
    ("INTERRUPTED ENDED_PENDING_DATA", K.START_AFTER_CUT, S.ACTIVE),
    ("INTERRUPTED", K.FREED, S.ENDED_PENDING_DATA),
    ("INTERRUPTED", K.BOOTSTOP_TIMEOUT, S.ENDED_PENDING_DATA),
    ("ACTIVE SUSPENDED", K.STOP_REQUESTED, S.STOPPING),
    ("STOPPING", K.STOP_TIMEOUT, S.STOPPING),
    ("STOPPING", K.STOP_OF_REFUSED, S.VOID),
    ("open", K.STOP_COMPLETE, S.ENDED),
    ("open", K.STOP_INCOMPLETE, S.ENDED_PENDING_DATA),
    ("open", K.OTHER_START, S.ENDED_PENDING_DATA),
    ("SUSPENDED_OFFLINE INTERRUPTED", K.ABANDON_TIMEOUT, S.ABANDONED),
    ("open", K.GONE, S.ENDED_PENDING_DATA),
    ("INTERRUPTED ENDED_PENDING_DATA", K.STILL_ONGOING, S.ACTIVE),
    ("ENDED_PENDING_DATA", K.FACTS_COMPLETE, S.ENDED),
    ("ENDED_PENDING_DATA", K.DATA_TIMEOUT, S.ENDED),
    ("ENDED", K.SETTLE, S.SETTLED),
    ("ABANDONED SETTLED RECONCILED", K.LATE_FACT, S.RECONCILED),
    ("ABANDONED", K.STILL_CHARGING, S.ACTIVE),
    ("ABANDONED", K.STILL_CHARGING_DARK, S.SUSPENDED_OFFLINE),
    ("-", K.UNMATCHED, S.ORPHAN),
    ("ORPHAN", K.ADOPTED, S.ACTIVE),
    ("ORPHAN", K.ADOPTED_COMPLETE, S.ENDED),
    ("ORPHAN", K.ADOPTED_INCOMPLETE, S.ENDED_PENDING_DATA),
    ("open ENDED_PENDING_DATA ORPHAN", K.OPERATOR_CLOSE, S.ENDED),
    ("any", K.OPERATOR_VOID, S.VOID),
]


def _froms(words: str) -> list[State | None]:
    found: list[State | None] = []
    for word in words.split():
        match word:
            case "-":
                found.append(None)
            case "open":
                found += sorted(OPEN)
            case "any":
                found += [state for state in State if state is not S.VOID]
            case _:
                found.append(S(word))
    return found


def test_the_table_is_the_specification_and_nothing_more() -> None:
    wanted = {(before, kind): to for words, kind, to in SPEC for before in _froms(words)}
    assert wanted == TRANSITIONS
    assert {kind for _, kind in TRANSITIONS} == set(EventKind)


NOW = T0 + 3 * MIN
ROWS: list[tuple[State, ev.Event, State, set[type]]] = [
    (S.RESERVED, replace(REQUEST, now_ms=NOW), S.REQUESTED, set()),
    (S.RESERVED, fired(T0 + 2 * HOUR, Timer.T_START), S.VOID, {ev.Voided}),
    (S.REQUESTED, start(NOW), S.ACTIVE, set()),
    (S.REQUESTED, start(NOW, authorised=None), S.STARTING, set()),
    (S.REQUESTED, fired(T0 + 150 * SEC, Timer.T_START), S.VOID, {ev.Voided, ev.AskTransactionStatus}),
    (S.STARTING, ev.AuthOk(NOW), S.ACTIVE, set()),
    (S.STARTING, ev.AuthBad(NOW), S.STOPPING, set()),
    (S.STARTING, meter(NOW, 1100), S.STARTING, set()),
    (S.ACTIVE, meter(NOW, 1300), S.ACTIVE, set()),
    (S.SUSPENDED, meter(NOW, 1200), S.SUSPENDED, set()),
    (S.ACTIVE, ev.StatusSeen(NOW, SocketStatus.SUSPENDED_EVSE), S.SUSPENDED, set()),
    (S.SUSPENDED, ev.StatusSeen(NOW, SocketStatus.CHARGING), S.ACTIVE, set()),
    (S.STARTING, ev.LinkDown(NOW), S.SUSPENDED_OFFLINE, set()),
    (S.ACTIVE, ev.LinkDown(NOW), S.SUSPENDED_OFFLINE, set()),
    (S.SUSPENDED, ev.LinkDown(NOW), S.SUSPENDED_OFFLINE, set()),
    (S.STOPPING, ev.LinkDown(NOW), S.SUSPENDED_OFFLINE, set()),
    (S.SUSPENDED_OFFLINE, ev.LinkUp(NOW), S.ACTIVE, {ev.AskMeterValues}),
    (S.SUSPENDED_OFFLINE, ev.SitePowerCut(NOW), S.INTERRUPTED, {ev.NotifyInterrupted}),
    (S.ACTIVE, boot(NOW), S.INTERRUPTED, {ev.NotifyInterrupted, ev.AskMeterValues, ev.AskTransactionStatus}),
    (S.STARTING, boot(NOW), S.INTERRUPTED, {ev.NotifyInterrupted}),
    (S.SUSPENDED, boot(NOW), S.INTERRUPTED, {ev.NotifyInterrupted}),
    (S.STOPPING, boot(NOW), S.INTERRUPTED, {ev.NotifyInterrupted}),
    (S.SUSPENDED_OFFLINE, boot(NOW), S.INTERRUPTED, {ev.NotifyInterrupted}),
    (S.INTERRUPTED, boot(NOW), S.INTERRUPTED, set()),
    (S.SUSPENDED_OFFLINE, replace(boot(NOW), new_epoch=False), S.ACTIVE, {ev.AskMeterValues}),
    (S.INTERRUPTED, stop(NOW, 1300), S.ENDED, {ev.Ended}),
    (S.INTERRUPTED, stop(NOW, None), S.ENDED_PENDING_DATA, {ev.AskMeterValues}),
    (S.INTERRUPTED, meter(NOW, 1300), S.ACTIVE, {ev.NotifyResumed}),
    (S.INTERRUPTED, meter(T0 + 90 * SEC, 1250, now_ms=NOW), S.INTERRUPTED, set()),
    (S.INTERRUPTED, start(NOW, 1250, key="s2", tx="8"), S.ACTIVE, {ev.NotifyResumed}),
    (S.INTERRUPTED, ev.StatusSeen(NOW, SocketStatus.AVAILABLE), S.ENDED_PENDING_DATA, {ev.AskMeterValues}),
    (S.INTERRUPTED, fired(T0 + 12 * MIN, Timer.T_BOOTSTOP), S.ENDED_PENDING_DATA, set()),
    (S.ACTIVE, ev.StopRequested(NOW, ev.StopCause.USER), S.STOPPING, {ev.SendStop}),
    (S.SUSPENDED, ev.StopRequested(NOW, ev.StopCause.OPERATOR), S.STOPPING, {ev.SendStop}),
    (S.STOPPING, fired(NOW, Timer.T_STOP), S.STOPPING, {ev.SendStop}),
    (S.STARTING, stop(NOW, 1300), S.ENDED, {ev.Ended}),
    (S.ACTIVE, stop(NOW, 1300), S.ENDED, {ev.Ended}),
    (S.SUSPENDED, stop(NOW, 1300), S.ENDED, {ev.Ended}),
    (S.SUSPENDED_OFFLINE, stop(NOW, 1300), S.ENDED, {ev.Ended}),
    (S.STOPPING, stop(NOW, 1300), S.ENDED, {ev.Ended}),
    (S.ACTIVE, stop(NOW, 0), S.ENDED_PENDING_DATA, {ev.AskMeterValues, ev.AskTransactionStatus}),
    (S.ACTIVE, stop(NOW, 900), S.ENDED_PENDING_DATA, {ev.CaseOpened}),
    (S.ACTIVE, ev.OtherStartSeen(NOW, NOW, 1300), S.ENDED_PENDING_DATA, set()),
    (S.SUSPENDED_OFFLINE, ev.OtherStartSeen(NOW, NOW, 1300), S.ENDED_PENDING_DATA, set()),
    (S.SUSPENDED_OFFLINE, fired(T0 + 25 * HOUR, Timer.T_ABANDON), S.ABANDONED, {ev.Abandoned, ev.CaseOpened}),
    (S.ACTIVE, ev.TransactionStatusSeen(NOW, False, False), S.ENDED_PENDING_DATA, {ev.AskTransactionStatus}),
    (S.INTERRUPTED, ev.TransactionStatusSeen(NOW, False, True), S.ACTIVE, {ev.NotifyResumed}),
    (S.ENDED_PENDING_DATA, ev.TransactionStatusSeen(NOW, False, False), S.ENDED, {ev.Ended}),
    (S.ENDED_PENDING_DATA, ev.FactsComplete(NOW), S.ENDED, {ev.Ended}),
    (S.ENDED_PENDING_DATA, stop(NOW, 1300, key="e2"), S.ENDED, {ev.Ended}),
    (S.ENDED_PENDING_DATA, fired(T0 + HOUR, Timer.T_DATA), S.ENDED, {ev.Ended}),
    (S.ENDED, ev.Settled(NOW, 1), S.SETTLED, set()),
    (S.ABANDONED, stop(NOW, 1300, now_ms=T0 + 26 * HOUR), S.RECONCILED, {ev.Revised}),
    (S.SETTLED, stop(NOW, 1400, key="e2"), S.RECONCILED, {ev.Revised}),
    (S.RECONCILED, stop(NOW, 1400, key="e2"), S.RECONCILED, {ev.Revised}),
    (S.ABANDONED, meter(T0 + 26 * HOUR, 9000), S.SUSPENDED_OFFLINE, set()),
    (S.ORPHAN, start(), S.ENDED, {ev.Ended}),
    (S.ACTIVE, ev.OperatorClose(NOW, "stuck"), S.ENDED, {ev.Ended}),
    (S.SETTLED, ev.OperatorVoid(NOW, "test"), S.VOID, {ev.Voided}),
    (S.SETTLED, ev.OperatorVoid(NOW, "test", money_captured=True), S.SETTLED, set()),
]


@pytest.mark.parametrize(("before", "event", "after", "wanted"), ROWS, ids=lambda value: type(value).__name__)
def test_a_row_of_the_table(before: State, event: ev.Event, after: State, wanted: set[type]) -> None:
    session = in_state(before)
    version = session.version
    out = play(session, event)
    assert session.state is after
    assert wanted <= kinds(out)
    moved = [o for o in out if isinstance(o, ev.StateChanged)]
    assert bool(moved) == (before is not after)
    assert (session.version > version) == (bool(moved) or ev.Revised in kinds(out))


def test_an_abandoned_session_whose_link_is_back_and_charges_is_active() -> None:
    session = in_state(S.ABANDONED)
    out = play(session, ev.LinkUp(T0 + 26 * HOUR), meter(T0 + 26 * HOUR + MIN, 9000))
    assert session.state is S.ACTIVE
    assert session.revision == 1  # the provisional settlement stands
    assert (session.end_cause, session.ended_at_ms, Timer.T_FINAL in session.deadlines) == (None, None, False)
    play(session, stop(T0 + 27 * HOUR, 9500), ev.Settled(T0 + 27 * HOUR, 2))
    assert (session.state, session.revision, session.energy_wh) == (S.SETTLED, 2, 8500)
    assert ev.AskTransactionStatus in kinds(out)


IRRELEVANT: list[ev.Event] = [
    ev.AuthOk(NOW),
    ev.LinkUp(NOW),
    ev.StatusSeen(NOW, SocketStatus.PREPARING),
    ev.Settled(NOW, 9),
    ev.FactsComplete(NOW),
    ev.LateFact(NOW),
    ev.RegisterSeen(NOW, NOW, 1210),
    fired(NOW, Timer.T_DATA),
]


@pytest.mark.parametrize("state", [S.ACTIVE, S.VOID, S.STOPPING])
@pytest.mark.parametrize("event", IRRELEVANT, ids=lambda value: type(value).__name__)
def test_what_the_table_does_not_list_leaves_the_state_unchanged(state: State, event: ev.Event) -> None:
    session = in_state(state)
    figures = session.energy_wh, session.quality, session.version
    play(session, event)
    assert session.state is state
    assert figures == (session.energy_wh, session.quality, session.version)


@pytest.mark.parametrize("state", list(State))
def test_a_session_in_any_state_reloads_exactly(state: State) -> None:
    session = in_state(state)
    assert from_row(json.loads(json.dumps(to_row(session)))) == session
    apart = to_row(session, with_readings=False)
    assert from_row(apart, readings=session.register.rows(), power=session.power.rows()) == session


# ── link, drain, notices ────────────────────────────────────────────────────────────────────────────────────


def test_a_short_drop_is_told_to_nobody() -> None:
    session = in_state(S.SUSPENDED_OFFLINE)
    out = play(session, ev.LinkUp(T0 + MIN + 20 * SEC), fired(T0 + 2 * MIN, Timer.T_NOTIFY))
    assert not kinds(out) & {ev.NotifyInterrupted, ev.NotifyResumed}


def test_a_long_drop_is_told_and_so_is_its_end_but_only_by_a_fresh_reading() -> None:
    session = in_state(S.SUSPENDED_OFFLINE)
    assert ev.NotifyInterrupted in kinds(play(session, fired(T0 + 2 * MIN, Timer.T_NOTIFY)))
    back_ms = T0 + 10 * MIN
    assert ev.NotifyResumed not in kinds(play(session, ev.LinkUp(back_ms)))
    assert ev.NotifyResumed not in kinds(play(session, meter(T0 + 5 * MIN, 1500, now_ms=back_ms)))
    assert ev.NotifyResumed in kinds(play(session, meter(back_ms + SEC, 1800)))


def test_a_pending_stop_survives_the_drop_and_is_sent_after_the_drain() -> None:
    session = in_state(S.STOPPING)
    back_ms = T0 + 10 * MIN
    out = play(session, ev.LinkDown(T0 + 2 * MIN), ev.LinkUp(back_ms), meter(T0 + 5 * MIN, 1500, now_ms=back_ms))
    assert session.state is S.STOPPING
    assert ev.SendStop not in kinds(out)
    assert session.deadlines[Timer.T_DRAIN] == back_ms + 180 * SEC
    assert ev.SendStop(1) in play(session, fired(back_ms + 180 * SEC, Timer.T_DRAIN))


def test_a_stop_asked_for_in_the_dark_is_sent_after_the_drain() -> None:
    session = in_state(S.SUSPENDED_OFFLINE)
    out = play(session, ev.StopRequested(T0 + 2 * MIN, ev.StopCause.USER), ev.LinkUp(T0 + 3 * MIN))
    assert (session.state, ev.SendStop in kinds(out)) == (S.STOPPING, False)
    assert ev.SendStop in kinds(play(session, fired(T0 + 9 * MIN, Timer.T_DRAIN)))


def test_a_limit_passed_in_the_backlog_is_acted_on_only_after_the_drain() -> None:
    session = opened(replace(REQUEST, budget_wh=500))
    play(session, start(T0 + SEC), meter(T0 + MIN, 1200), ev.LinkDown(T0 + MIN), ev.LinkUp(T0 + HOUR))
    out = play(session, meter(T0 + 10 * MIN, 1700, now_ms=T0 + HOUR))
    assert ev.BudgetReached in kinds(out)
    out += play(session, ev.StatusSeen(T0 + HOUR, SocketStatus.SUSPENDED_EV))
    out += play(session, ev.StatusSeen(T0 + HOUR + SEC, SocketStatus.CHARGING))
    out += play(session, ev.LinkDown(T0 + HOUR + MIN), ev.LinkUp(T0 + HOUR + 2 * MIN))
    assert (session.state, ev.SendStop in kinds(out)) == (S.ACTIVE, False)
    assert ev.SendStop(1) in play(session, fired(T0 + HOUR + 5 * MIN, Timer.T_DRAIN))
    assert session.state is S.STOPPING


def test_the_drain_ends_after_thirty_minutes_at_the_latest() -> None:
    session = in_state(S.SUSPENDED_OFFLINE)
    back_ms = T0 + HOUR
    play(session, ev.LinkUp(back_ms))
    for minute in range(1, 40):
        play(session, meter(T0 + minute * MIN, 1200 + minute, now_ms=back_ms + minute * MIN))
    assert session.deadlines[Timer.T_DRAIN] == back_ms + 30 * MIN


def test_an_unconfirmed_stop_is_tried_three_times_then_asked_about_then_a_case() -> None:
    session = in_state(S.STOPPING)
    seen = []
    for n in range(1, 5):
        seen.append(play(session, fired(T0 + MIN + n * 45 * SEC, Timer.T_STOP)))
    assert seen[0] == [ev.SendStop(2)]
    assert seen[1] == [ev.SendStop(3)]
    assert seen[2] == [ev.AskTransactionStatus()]
    assert cases(seen[3]) == {"STOP_UNCONFIRMED"}
    assert session.state is S.STOPPING


def test_a_stop_asked_for_before_the_start_is_sent_once_it_is_active() -> None:
    session = in_state(S.REQUESTED)
    play(session, ev.StopRequested(T0 + SEC, ev.StopCause.USER))
    assert ev.SendStop(1) in play(session, start(T0 + 5 * SEC))
    assert session.state is S.STOPPING


def test_a_timer_that_was_moved_does_nothing() -> None:
    session = in_state(S.SUSPENDED_OFFLINE)
    assert play(session, fired(T0 + 2 * MIN, Timer.T_ABANDON)) == []
    assert due(session, T0 + 3 * MIN) == [Timer.T_NOTIFY]


def test_the_abandon_deadline_follows_the_expected_remaining_time() -> None:
    assert TIMING.abandon_after_s(None, None) == 6 * 3_600
    assert TIMING.abandon_after_s(20_000, 2_000) == 20 * 3_600
    assert TIMING.abandon_after_s(90_000, 2_000) == 24 * 3_600


def test_only_the_pauses_of_the_car_run_the_idle_clock() -> None:
    session = in_state(S.ACTIVE)
    at = T0 + 2 * MIN
    play(session, ev.StatusSeen(at, SocketStatus.SUSPENDED_EV, at))
    play(session, ev.StatusSeen(at + 5 * MIN, SocketStatus.SUSPENDED_EVSE, at + 5 * MIN))
    play(session, ev.StatusSeen(at + 9 * MIN, SocketStatus.CHARGING, at + 9 * MIN))
    assert (session.state, session.idle_ms) == (S.ACTIVE, 5 * MIN)
    play(session, ev.StatusSeen(at + 10 * MIN, SocketStatus.SUSPENDED_EV, at + 10 * MIN))
    play(session, stop(at + 12 * MIN, 1300, now_ms=at + HOUR))
    assert session.idle_ms == 7 * MIN


def test_an_older_status_does_not_overtake_a_newer_one() -> None:
    session = in_state(S.SUSPENDED)
    play(session, ev.StatusSeen(NOW, SocketStatus.CHARGING, T0))
    assert session.state is S.SUSPENDED


def test_a_free_socket_of_a_live_session_is_asked_about_not_closed() -> None:
    session = in_state(S.ACTIVE)
    assert ev.AskTransactionStatus in kinds(play(session, ev.StatusSeen(NOW, SocketStatus.AVAILABLE)))
    assert session.state is S.ACTIVE


# ── budgets ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_ordered_energy_asks_for_a_stop_once() -> None:
    session = opened(replace(REQUEST, budget_wh=500))
    play(session, start(T0 + SEC))
    assert ev.BudgetReached not in kinds(play(session, meter(T0 + MIN, 1499)))
    out = play(session, meter(T0 + 2 * MIN, 1500))
    assert ev.BudgetReached(ev.StopCause.ENERGY_LIMIT, 500) in out
    assert ev.SendStop(1) in out
    assert kinds(play(session, meter(T0 + 3 * MIN, 1600))) == set()


@pytest.mark.parametrize(("delivered", "ours"), [(True, False), (False, True)])
def test_overcharge_is_our_fault_only_if_our_stop_was_never_delivered(delivered: bool, ours: bool) -> None:
    session = opened(replace(REQUEST, budget_wh=500))
    play(session, start(T0 + SEC), meter(T0 + MIN, 1500), ev.StopAnswered(T0 + MIN, delivered))
    play(session, stop(T0 + 5 * MIN, 1800))
    assert (session.energy_wh, session.our_fault) == (800, ours)


def test_overcharge_in_the_dark_is_not_our_fault() -> None:
    session = opened(replace(REQUEST, budget_wh=500))
    play(session, start(T0 + SEC), meter(T0 + MIN, 1400), ev.LinkDown(T0 + MIN), ev.LinkUp(T0 + HOUR))
    out = play(session, meter(T0 + 10 * MIN, 1700, now_ms=T0 + HOUR))
    assert ev.BudgetReached in kinds(out)
    assert ev.SendStop not in kinds(out)  # backlog: its own stop may be the next frame
    play(session, stop(T0 + 20 * MIN, 1800, now_ms=T0 + HOUR))
    assert (session.state, session.our_fault) == (S.ENDED, False)


def test_the_ordered_time_is_a_deadline_and_waits_in_the_dark() -> None:
    session = opened(replace(REQUEST, budget_wh=None, budget_s=1_800))
    play(session, start(T0 + SEC))
    assert session.deadlines[Timer.T_BUDGET] == T0 + SEC + 30 * MIN
    dark = from_row(to_row(session))
    assert ev.SendStop(1) in play(session, fired(T0 + 31 * MIN, Timer.T_BUDGET))
    out = play(dark, ev.LinkDown(T0 + MIN), fired(T0 + 31 * MIN, Timer.T_BUDGET), ev.LinkUp(T0 + 40 * MIN))
    assert (dark.state, ev.SendStop in kinds(out)) == (S.STOPPING, False)


# ── the fast path ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_fast_path_takes_ordinary_readings_and_equals_the_long_way() -> None:
    fast = opened(rated_w=7_400)
    slow = opened(rated_w=7_400)
    taken = 0
    for minute in range(1, 60):
        at_ms, wh = T0 + minute * MIN, 1000 + minute * 100
        if meter_fast(fast, at_ms, wh, 6_000, minute, 40):
            taken += 1
        else:
            play(fast, ev.MeterSeen(at_ms, (Reading(at_ms, Context.SAMPLE, wh, None, 6_000, soc_percent=40),), minute))
        play(slow, ev.MeterSeen(at_ms, (Reading(at_ms, Context.SAMPLE, wh, None, 6_000, soc_percent=40),), minute))
    assert taken == 58  # all but the first, which gives the figure its quality
    assert fast == slow
    assert (fast.energy_wh, fast.quality) == (5900, Quality.B)


@pytest.mark.parametrize(
    ("at_ms", "wh"),
    [(T0 + MIN, 1200), (T0 + 30 * SEC, 1300), (T0 + 2 * MIN, 1199), (T0 + 2 * MIN, 90_000), (T0 + 2 * MIN, 11_000)],
    ids=["repeat", "late", "drop", "sudden", "budget"],
)
def test_the_fast_path_refuses_what_needs_thought_and_changes_nothing(at_ms: int, wh: int) -> None:
    session = opened(replace(REQUEST, budget_wh=10_000), rated_w=7_400)
    play(session, start(T0), meter(T0 + MIN, 1200))
    before = to_row(session)
    assert session.fast
    assert not meter_fast(session, at_ms, wh, 3_000)
    assert to_row(session) == before


@pytest.mark.parametrize("state", [s for s in State if s is not S.ACTIVE])
def test_the_fast_path_is_for_active_sessions(state: State) -> None:
    assert not meter_fast(in_state(state), T0 + 5 * MIN, 1400)


# ── 5.8, a to o ─────────────────────────────────────────────────────────────────────────────────────────────


def test_case_a_an_offline_start_begins_at_device_time() -> None:
    link_opened = T0 + HOUR
    assert is_offline_start(T0, link_opened, TIMING)
    assert not is_offline_start(link_opened - 20 * SEC, link_opened, TIMING)
    late = ev.StartSeen(link_opened + SEC, started(), T0, authorised=True, tx_id="7", offline=True)
    session = opened(late)
    play(session, meter(T0 + MIN, 1200, now_ms=link_opened + SEC), stop(T0 + 10 * MIN, 2000, now_ms=link_opened + SEC))
    assert session.offline_start
    assert (session.started_at_ms, session.ended_at_ms) == (T0, T0 + 10 * MIN)
    assert (session.state, session.energy_wh, session.quality) == (S.ENDED, 1000, Quality.A)


def test_case_a_the_queue_behind_an_offline_start_may_carry_minus_one() -> None:
    session = opened()
    metered = Metered(evse=1, connector=1, readings=(), tx_id="-1")
    assert match_meter(metered, T0 + MIN, [session]).session is session
    found = match_stop(stopped(T0 + 10 * MIN, 2000, tx="-1"), T0 + 10 * MIN, [session])
    assert (found.how, found.session) == (How.BY_METER, session)


def test_case_b_repeats_have_no_second_effect() -> None:
    session = opened()
    once: list[ev.Event] = [meter(T0 + MIN, 1200), stop(T0 + 2 * MIN, 1300)]
    play(session, *once)
    before = to_row(session)
    assert play(session, start(), *once) == []
    assert to_row(session) == before
    assert match_start(started(), T0, [session], TIMING).how is How.SAME
    assert match_stop(stopped(T0 + 2 * MIN, 1300), T0, [session]).how is How.SAME


def test_case_b_a_stop_repeated_with_another_effective_time_is_one_stop() -> None:
    session = in_state(S.SETTLED)
    again = replace(stop(T0 + 2 * MIN, 1300), effective_ms=T0 + 2 * MIN + 7_000)
    assert play(session, again) == []
    assert len(session.segments[0].stops) == 1


def test_case_b_a_start_stamped_anew_is_the_same_start() -> None:
    session = opened()
    again = started(T0 + 100 * SEC, key="s1b")
    assert match_start(again, T0 + 100 * SEC, [session], TIMING).how is How.NEAR
    clock_lost = replace(started(key="s1c"), at_ms=5_000)
    assert match_start(clock_lost, T0 + HOUR, [session], TIMING).how is How.NEAR
    assert match_start(started(T0 + HOUR, key="s1d"), T0 + HOUR, [session], TIMING).how is How.NEW
    assert match_start(replace(again, register_wh=1300), T0, [session], TIMING).how is How.NEW
    play(session, stop(T0 + 2 * MIN, 1300))
    assert match_start(again, T0 + 100 * SEC, [session], TIMING).how is How.NEW


def test_case_c_a_power_loss_with_its_stop_after_the_boot() -> None:
    session = in_state(S.ACTIVE)
    play(session, ev.LinkDown(T0 + 5 * MIN), boot(T0 + HOUR))
    assert session.deadlines[Timer.T_BOOTSTOP] == T0 + HOUR + 10 * MIN
    out = play(session, stop(T0 + 4 * MIN, 1500, now_ms=T0 + HOUR + MIN, reason="PowerLoss"))
    assert ev.Ended in kinds(out)
    assert (session.energy_wh, session.quality, session.end_cause) == (500, Quality.A, EndCause.POWER_LOSS)
    assert session.ended_at_ms == T0 + 4 * MIN


def test_case_c_boot_evidence_overrides_a_missing_reason_but_not_a_plain_one() -> None:
    silent, plain = in_state(S.INTERRUPTED), in_state(S.INTERRUPTED)
    play(silent, stop(NOW, 1300))
    play(plain, stop(NOW, 1300, reason="EVDisconnected"))
    assert (silent.stop_reason, silent.end_cause) == (None, EndCause.POWER_LOSS)
    assert plain.end_cause is EndCause.EV_DISCONNECTED


def test_case_d_worked_example_3_a_power_loss_with_no_stop_ever() -> None:
    sample, pong, morning = T0 + 130 * MIN, T0 + 134 * MIN, T0 + 15 * HOUR
    for register_wh, energy_wh, left in [(5640, 4640, 0), (6400, 4899, 501)]:
        session = opened(rated_w=7_400)
        play(session, meter(T0 + HOUR, 3000), meter(sample, 5200), ev.LinkDown(pong + MIN, pong), boot(morning))
        play(session, ev.RegisterSeen(morning + MIN, morning + MIN, register_wh))
        out = play(session, ev.StatusSeen(morning + 2 * MIN, SocketStatus.AVAILABLE))
        assert ev.Ended in kinds(out)
        assert (session.energy_wh, session.quality, session.unmetered_wh) == (energy_wh, Quality.B, left)
        assert ("UNMETERED" in cases(out)) == bool(left)
        assert session.ended_at_ms == sample


def test_case_d_the_register_may_come_after_the_decision_or_with_the_next_start() -> None:
    for late in (
        ev.RegisterSeen(T0 + 16 * HOUR, T0 + 16 * HOUR, 5640),
        ev.OtherStartSeen(T0 + 16 * HOUR, T0 + 16 * HOUR, 5640),
    ):
        session = opened(rated_w=7_400)
        play(session, meter(T0 + HOUR, 3000), meter(T0 + 130 * MIN, 5200), ev.LinkDown(T0 + 135 * MIN, T0 + 134 * MIN))
        play(session, boot(T0 + 15 * HOUR), fired(T0 + 15 * HOUR + 10 * MIN, Timer.T_BOOTSTOP))
        assert (session.state, session.energy_wh) == (S.ENDED_PENDING_DATA, 4200)
        play(session, late)
        assert (session.state, session.energy_wh) == (S.ENDED, 4640)


def test_case_d_a_late_sample_moves_the_bound_and_is_not_counted_twice() -> None:
    session = opened(rated_w=7_400)
    play(session, meter(T0 + HOUR, 3000), meter(T0 + 130 * MIN, 5200), ev.LinkDown(T0 + 135 * MIN, T0 + 134 * MIN))
    play(session, boot(T0 + 15 * HOUR), ev.RegisterSeen(T0 + 15 * HOUR, T0 + 15 * HOUR, 5640))
    play(session, ev.StatusSeen(T0 + 15 * HOUR, SocketStatus.AVAILABLE))
    play(session, meter(T0 + 131 * MIN, 5300, now_ms=T0 + 15 * HOUR + MIN))
    assert (session.state, session.energy_wh, session.last_proven_wh) == (S.ENDED, 4640, 5300)


def test_case_d_without_a_register_the_end_is_the_last_proven_reading() -> None:
    session = in_state(S.INTERRUPTED)
    play(session, fired(T0 + 12 * MIN, Timer.T_BOOTSTOP), fired(T0 + 13 * HOUR, Timer.T_DATA))
    assert (session.state, session.energy_wh, session.ended_at_ms) == (S.ENDED, 200, T0 + MIN)
    assert session.end_cause is EndCause.POWER_LOSS


def test_case_e_link_lost_and_charging_goes_on() -> None:
    session = in_state(S.SUSPENDED_OFFLINE)
    play(session, ev.LinkUp(T0 + 10 * MIN))
    play(session, *(meter(T0 + n * MIN, 1200 + n * 10, now_ms=T0 + 10 * MIN) for n in range(2, 10)))
    play(session, stop(T0 + 20 * MIN, 2000))
    assert (session.state, session.energy_wh, session.quality) == (S.ENDED, 1000, Quality.A)
    assert len(session.segments) == 1


def test_case_f_ended_while_dark_is_settled_provisionally_then_revised() -> None:
    session = in_state(S.ABANDONED)
    assert (session.revision, session.settled_wh) == (1, 200)
    out = play(session, ev.LinkUp(T0 + 30 * HOUR), stop(T0 + HOUR, 3000, now_ms=T0 + 30 * HOUR))
    assert ev.Revised(2) in out
    assert (session.state, session.energy_wh, session.quality) == (S.RECONCILED, 2000, Quality.A)


def test_case_f_a_backlog_makes_one_revision_not_many() -> None:
    session = in_state(S.ABANDONED)
    back = T0 + 30 * HOUR
    out = play(session, ev.LinkUp(back), *(meter(T0 + n * MIN, 1200 + n, now_ms=back) for n in range(2, 30)))
    assert ev.Revised not in kinds(out)
    assert play(session, fired(back + 30 * MIN, Timer.T_DRAIN)).count(ev.Revised(2)) == 1
    assert session.energy_wh == 229


def test_case_g_a_rollback_is_a_sum_of_epochs_and_a_case() -> None:
    session = opened()
    out = play(session, meter(T0 + MIN, 3000), meter(T0 + 2 * MIN, 5000), meter(T0 + 3 * MIN, 40))
    assert session.energy_wh == 4000
    out += play(session, meter(T0 + 4 * MIN, 500))
    assert (session.energy_wh, cases(out)) == (4460, {"REG_RESET"})
    play(session, stop(T0 + 5 * MIN, 900))
    assert (session.state, session.energy_wh, session.quality) == (S.ENDED, 4860, Quality.B)


def test_case_h_a_swapped_unit_ends_the_old_part_at_its_last_proven_reading() -> None:
    session = in_state(S.SUSPENDED_OFFLINE)
    out = play(session, boot(T0 + HOUR, swapped=True))
    assert cases(out) == {"SWAP"}
    assert ev.CancelInstructions in kinds(out)
    play(session, ev.RegisterSeen(T0 + HOUR + SEC, T0 + HOUR + SEC, 900_000))  # another meter proves nothing
    assert session.energy_wh == 200
    continued = from_row(to_row(session))
    play(session, fired(T0 + HOUR + 10 * MIN, Timer.T_BOOTSTOP))
    assert (session.state, session.energy_wh, session.end_cause) == (S.ENDED_PENDING_DATA, 200, EndCause.SWAPPED)
    play(continued, start(T0 + HOUR + MIN, 50, key="s2", tx="8"), stop(T0 + 2 * HOUR, 1050, tx="8"))
    assert (continued.state, continued.energy_wh, len(continued.segments)) == (S.ENDED, 1200, 2)


@pytest.mark.parametrize("said", [None, 0, 500])
def test_case_i_a_missing_meter_stop_waits_for_data_and_the_idle_register_closes_it(said: int | None) -> None:
    session = in_state(S.ACTIVE)
    out = play(session, stop(T0 + 3 * MIN, said))
    assert (session.state, session.energy_wh) == (S.ENDED_PENDING_DATA, 200)
    assert ev.AskMeterValues in kinds(out)
    play(session, ev.RegisterSeen(T0 + 15 * MIN, T0 + 15 * MIN, 1290))
    assert (session.state, session.energy_wh, session.quality) == (S.ENDED, 290, Quality.B)


def test_case_i_without_any_register_the_deadline_fixes_what_is_proven() -> None:
    session = in_state(S.ENDED_PENDING_DATA)
    assert session.deadlines[Timer.T_DATA] == T0 + 2 * MIN + 30 * MIN
    play(session, ev.LinkDown(T0 + 3 * MIN))
    assert session.deadlines[Timer.T_DATA] == T0 + 3 * MIN + 24 * HOUR
    play(session, fired(T0 + 25 * HOUR, Timer.T_DATA))
    assert (session.state, session.energy_wh, session.quality) == (S.ENDED, 200, Quality.B)


def test_case_j_late_meter_values_do_not_touch_the_money() -> None:
    session = in_state(S.SETTLED)
    out = play(session, meter(T0 + 30 * SEC, 1100, now_ms=NOW), meter(T0 + 90 * SEC, 1250, now_ms=NOW))
    # Nothing but when it flowed has changed: whoever prices it by the time of day may look again.
    assert (session.state, kinds(out), session.energy_wh) == (S.SETTLED, {ev.Reshaped}, 300)
    assert len(session.register) == 3
    assert play(session, meter(T0 + 90 * SEC, 1250, now_ms=NOW)) == []
    session.final = True
    assert play(session, meter(T0 + 60 * SEC, 1200, now_ms=NOW)) == []


def test_case_k_a_stop_before_its_start_is_adopted() -> None:
    session, out = open_session(
        stop(T0 + 10 * MIN, 2000, tx="T-9"), TIMING, no=1, session_id="1", station="CP1", evse=1, connector=1
    )
    assert (session.state, cases(out)) == (S.ORPHAN, {"ORPHAN_STOP"})
    begun = started(tx_id="T-9")
    assert match_start(begun, T0, [session], TIMING).how is How.ADOPTS
    play(session, ev.StartSeen(T0 + 11 * MIN, begun, T0, authorised=True))
    assert (session.state, session.energy_wh, session.quality) == (S.ENDED, 1000, Quality.A)


def test_case_k_an_orphan_of_1_6_is_found_by_token_register_and_time() -> None:
    orphan = opened(stop(T0 + 10 * MIN, 2000, tx="-1"))
    assert match_start(started(), T0, [orphan], TIMING).session is orphan
    assert match_start(started(wh=2100), T0, [orphan], TIMING).how is How.NEW
    assert match_start(started(), T0 + HOUR, [orphan], TIMING).how is How.NEW


def test_case_k_readings_of_an_unknown_transaction_wait_for_their_start() -> None:
    session = opened(replace(meter(T0 + MIN, 1200), tx_id="T-9"))
    assert session.state is S.ORPHAN
    play(session, meter(T0 + 2 * MIN, 1400))
    play(session, ev.StartSeen(T0 + 3 * MIN, started(tx_id="T-9"), T0, authorised=True))
    assert (session.state, session.energy_wh) == (S.ACTIVE, 400)


def test_case_k_an_adopted_transaction_whose_token_was_bad_then_is_stopped() -> None:
    session = opened(replace(meter(T0 + MIN, 1200), tx_id="T-9"))
    play(session, ev.StartSeen(T0 + 3 * MIN, started(tx_id="T-9"), T0))
    assert (session.state, session.authorised) == (S.ACTIVE, None)
    out = play(session, ev.AuthBad(T0 + 3 * MIN))  # judged after the start, as the application does
    assert (session.state, session.stop_cause) == (S.STOPPING, ev.StopCause.REFUSED)
    assert ev.SendStop in kinds(out)
    assert not play(session, ev.AuthBad(T0 + 4 * MIN))


def test_case_k_an_orphan_that_is_closed_by_hand_lasted_as_long_as_its_readings() -> None:
    session = opened(replace(meter(T0 + MIN, 1200), tx_id="T-9"))
    play(session, meter(T0 + 21 * MIN, 1700), ev.OperatorClose(NOW, "its start was never understood"))
    assert (session.state, session.energy_wh, session.quality) == (S.ENDED, 500, Quality.C)
    assert (session.started_at_ms, session.ended_at_ms) == (T0 + MIN, T0 + 21 * MIN)
    alone = opened(stop(T0 + 10 * MIN, 2000, tx="T-9"))
    play(alone, ev.OperatorClose(NOW, "nothing is known of it"))
    assert (alone.energy_wh, alone.started_at_ms) == (0, T0 + 10 * MIN)


def test_a_register_below_zero_is_none() -> None:
    session = in_state(S.ACTIVE)
    play(session, meter(T0 + 2 * MIN, -900), meter(T0 + 3 * MIN, -800), meter(T0 + 4 * MIN, 1250))
    assert (session.energy_wh, len(session.register)) == (250, 2)


def test_case_l_a_connector_cannot_hold_two() -> None:
    session = in_state(S.ACTIVE)
    second = started(T0 + 10 * MIN, 1400, key="s2", token="OTHER")
    found = match_start(second, T0 + 10 * MIN, [session], TIMING)
    assert (found.how, found.displaces) == (How.NEW, session)
    out = play(session, ev.OtherStartSeen(T0 + 10 * MIN, T0 + 10 * MIN, 1400))
    assert (session.state, session.energy_wh, session.ended_at_ms) == (S.ENDED_PENDING_DATA, 200, T0 + MIN)
    assert (session.end_cause, cases(out)) == (EndCause.SUPERSEDED, set())
    overlapping = in_state(S.ACTIVE)
    out = play(overlapping, ev.OtherStartSeen(T0 + HOUR, T0 + 30 * SEC, 1100))
    assert cases(out) == {"OVERLAP"}
    assert overlapping.ended_at_ms == T0 + 30 * SEC


def test_case_m_a_refused_tag_with_energy_is_kept_and_without_it_is_void() -> None:
    flowed, empty = opened(start(authorised=False)), opened(start(authorised=False))
    assert flowed.state is S.STOPPING
    play(flowed, stop(T0 + MIN, 1150, reason="DeAuthorized"))
    assert (flowed.state, flowed.energy_wh, flowed.authorised) == (S.ENDED, 150, False)
    assert ev.Voided in kinds(play(empty, stop(T0 + 5 * SEC, 1000, reason="DeAuthorized")))
    assert empty.state is S.VOID


def test_case_n_an_order_that_is_void_does_not_start_again() -> None:
    session = in_state(S.VOID)
    out = play(session, start(T0 + 2 * HOUR))
    assert (session.state, ev.SendStop in kinds(out), cases(out)) == (S.VOID, True, {"LATE_START"})


def test_case_o_a_wrong_clock_spoils_the_time_and_not_the_energy() -> None:
    from csms.domain.clock import TimeQuality

    event = ev.StartSeen(T0, replace(started(), at_ms=5_000), T0, True, "7", time_quality=TimeQuality.D)
    session = opened(event, rated_w=3_300)
    play(session, replace(stop(T0 + SEC, 6340), time_quality=TimeQuality.D))
    assert (session.state, session.energy_wh, session.quality) == (S.ENDED, 5340, Quality.A)
    assert session.time_quality is TimeQuality.D


# ── worked examples 1 and 2, the energy ─────────────────────────────────────────────────────────────────────


def test_worked_example_1_link_lost_and_the_stop_delivered_on_reconnect() -> None:
    session = opened()
    play(session, meter(T0 + HOUR, 10_100), ev.LinkDown(T0 + HOUR))
    assert session.energy_wh == 9_100
    play(session, ev.LinkUp(T0 + 2 * HOUR), stop(T0 + 90 * MIN, 29_889, now_ms=T0 + 2 * HOUR))
    assert (session.state, session.energy_wh, session.quality) == (S.ENDED, 28_889, Quality.A)


def test_worked_example_2_power_cut_and_a_stop_after_the_boot() -> None:
    session = opened(rated_w=3_300)
    cut, morning = T0 + 120 * MIN, T0 + 275 * MIN
    play(session, meter(T0 + 119 * MIN, 7_200), ev.LinkDown(cut, cut))
    assert ev.NotifyInterrupted in kinds(play(session, ev.SitePowerCut(cut + MIN)))
    assert (session.state, session.energy_wh) == (S.INTERRUPTED, 6_200)
    out = play(session, boot(morning), stop(cut, 7_340, now_ms=morning + SEC, reason="PowerLoss"))
    assert ev.Ended in kinds(out)
    assert (session.energy_wh, session.quality, session.end_cause) == (6_340, Quality.A, EndCause.POWER_LOSS)


# ── more ways to go on, and late facts ──────────────────────────────────────────────────────────────────────


def test_the_same_transaction_may_go_on_after_a_cut() -> None:
    session = in_state(S.INTERRUPTED)
    play(session, meter(NOW, 1300))
    assert [segment.continues for segment in session.segments] == [False, True]
    assert session.segments[1].tx_id == "7"
    play(session, stop(T0 + HOUR, 2000))
    assert (session.energy_wh, session.quality) == (1000, Quality.A)


def test_a_site_cut_without_a_boot_ends_with_the_link() -> None:
    session = in_state(S.SUSPENDED_OFFLINE)
    play(session, ev.SitePowerCut(T0 + 2 * MIN), ev.LinkUp(T0 + 3 * MIN))
    assert session.state is S.ACTIVE
    booted = in_state(S.INTERRUPTED)
    play(booted, ev.LinkUp(NOW))
    assert booted.state is S.INTERRUPTED


def test_a_new_start_after_the_cut_is_the_same_order_only_with_the_same_tag_in_time() -> None:
    for tag, at_ms, goes_on in [("bk7 ", NOW, True), ("OTHER", NOW, False), ("BK7", T0 + HOUR, False)]:
        session = in_state(S.INTERRUPTED)
        second = started(at_ms, 1250, key="s2", token=tag)
        found = match_start(second, at_ms, [session], TIMING)
        assert found.how is (How.RESUMED if goes_on else How.NEW)
        play(session, ev.StartSeen(at_ms, second, at_ms, True, "8"))
        # Otherwise the new start's register is the first one after the cut, and closes it (5.8-d).
        assert session.state is (S.ACTIVE if goes_on else S.ENDED)


def test_a_start_between_t_bootstop_and_t_resume_is_still_the_same_order_unless_the_socket_was_freed() -> None:
    second = start(T0 + 14 * MIN, 1250, key="s2", tx="8")
    silent, freed = in_state(S.INTERRUPTED), in_state(S.INTERRUPTED)
    play(silent, fired(T0 + 12 * MIN, Timer.T_BOOTSTOP))
    assert match_start(second.started, second.effective_ms, [silent], TIMING).how is How.RESUMED
    play(silent, second, meter(T0 + 15 * MIN, 1300))
    assert (silent.state, silent.energy_wh, silent.end_cause) == (S.ACTIVE, 250, None)
    assert (silent.ended_at_ms, Timer.T_DATA in silent.deadlines) == (None, False)
    play(freed, ev.StatusSeen(T0 + 12 * MIN, SocketStatus.AVAILABLE))
    assert match_start(second.started, second.effective_ms, [freed], TIMING).how is How.NEW


def test_the_stop_of_the_part_before_the_cut_does_not_end_the_session() -> None:
    session = in_state(S.INTERRUPTED)
    play(session, start(NOW, 1250, key="s2", tx="8"), stop(T0 + 2 * MIN, 1230, now_ms=T0 + 4 * MIN))
    assert (session.state, session.energy_wh) == (S.ACTIVE, 230)
    play(session, stop(T0 + 9 * MIN, 1750, key="e2", tx="8"))
    assert (session.state, session.energy_wh) == (S.ENDED, 730)


def test_two_stops_that_differ_are_both_kept_and_make_a_case() -> None:
    session = in_state(S.SETTLED)
    out = play(session, stop(T0 + 3 * MIN, 1900, key="e2"))
    assert cases(out) == {"DUP_CONFLICT"}
    assert ev.Revised(2) in out
    assert [mark.wh for mark in session.segments[0].stops] == [1300, 1900]


def test_after_the_final_date_money_needs_an_operator() -> None:
    session = in_state(S.SETTLED)
    play(session, fired(T0 + 8 * 24 * HOUR, Timer.T_FINAL))
    out = play(session, stop(T0 + 3 * MIN, 1900, key="e2", now_ms=T0 + 9 * 24 * HOUR))
    assert (session.state, ev.Revised in kinds(out)) == (S.SETTLED, False)
    assert "LATE_FACT" in cases(out)
    out = play(session, ev.LateFact(T0 + 9 * 24 * HOUR, approved=True))
    assert (session.state, session.energy_wh, ev.Revised(2) in out) == (S.RECONCILED, 900, True)


def test_a_gap_in_the_sequence_waits_for_the_missing_event() -> None:
    begun = replace(started(tx_id="T"), seq_no=0)
    session = opened(ev.StartSeen(T0, begun, T0, True))
    ended = replace(stopped(T0 + 3 * MIN, 1300, tx="T"), seq_no=2)
    play(session, ev.StopSeen(T0 + 3 * MIN, ended, T0 + 3 * MIN))
    assert (session.state, session.energy_wh) == (S.ENDED_PENDING_DATA, 300)
    play(session, replace(meter(T0 + MIN, 1100), seq_no=1))
    assert (session.state, session.energy_wh) == (S.ENDED, 300)


def test_firmware_whose_sequence_is_always_zero_has_no_gaps() -> None:
    session = opened(ev.StartSeen(T0, replace(started(tx_id="T"), seq_no=0), T0, True))
    play(session, ev.StopSeen(NOW, replace(stopped(NOW, 1300, tx="T"), seq_no=0), NOW))
    assert session.state is S.ENDED


def test_a_huge_sequence_number_costs_nothing() -> None:
    session = opened()
    play(session, replace(meter(NOW, 1300), seq_no=2**31 - 1))
    assert session.seq_mask.bit_length() < 64


def test_implausible_energy_waits_and_is_never_priced_by_itself() -> None:
    session = opened(rated_w=3_300)
    out = play(session, stop(T0 + MIN, 90_000))
    assert (session.state, session.quality) == (S.ENDED_PENDING_DATA, Quality.U)
    assert "IMPLAUSIBLE" in cases(out)


def test_a_charging_state_of_2_0_1_moves_like_a_status() -> None:
    session = in_state(S.ACTIVE)
    play(session, replace(meter(NOW, 1300), charging_state="SuspendedEV"))
    assert session.state is S.SUSPENDED
    play(session, replace(meter(NOW + MIN, 1300), charging_state="Charging"))
    assert (session.state, session.idle_ms) == (S.ACTIVE, MIN)


# ── matching and other pure rules ───────────────────────────────────────────────────────────────────────────


def test_the_start_we_asked_for_is_found_by_its_one_time_tag() -> None:
    session = in_state(S.REQUESTED)
    found = match_start(started(token="bk7"), T0, [session], TIMING)
    assert (found.how, found.session) == (How.REQUESTED, session)
    assert match_start(started(token="OTHER"), T0, [session], TIMING).how is How.NEW
    elsewhere = replace(started(token="BK7"), evse=2, connector=2)
    assert match_start(elsewhere, T0, [session], TIMING).how is How.NEW


def test_a_register_with_no_transaction_after_a_cut_is_idle_and_during_charging_a_sample() -> None:
    metered = Metered(evse=1, connector=1, readings=())
    assert match_meter(metered, NOW, [in_state(S.ACTIVE)]).how is How.BY_SOCKET
    assert match_meter(metered, NOW, [in_state(S.INTERRUPTED)]).how is How.IDLE
    assert match_meter(metered, NOW, [in_state(S.ENDED_PENDING_DATA)]).how is How.IDLE
    assert match_meter(replace(metered, tx_id="7"), NOW, [in_state(S.ENDED)]).how is How.ALIAS
    assert match_meter(replace(metered, tx_id="99"), NOW, [in_state(S.ACTIVE)]).how is How.UNMATCHED


def test_a_stop_with_two_candidates_is_an_orphan_not_a_guess() -> None:
    one, other = in_state(S.ACTIVE), in_state(S.ACTIVE)
    other.connector = other.evse = 2
    said = stopped(NOW, 1300, tx="-1")
    assert match_stop(said, NOW, [one, other]).how is How.UNMATCHED
    other.token = "OTHER"
    assert match_stop(replace(said, token="bk7"), NOW, [one, other]).session is one
    assert match_stop(replace(said, register_wh=1100), NOW, [one]).how is How.UNMATCHED
    assert match_stop(replace(said, tx_id="424242"), NOW, [one]).session is one  # 1.6: not one of ours
    assert match_stop(replace(said, tx_id="T", evse=1, connector=1), NOW, [one]).how is How.UNMATCHED


BOOTS: list[tuple[BootEvidence, bool]] = [
    (BootEvidence(), False),
    (BootEvidence(reason="PowerUp"), True),
    (BootEvidence(reason="Watchdog"), True),
    (BootEvidence(reason="RemoteReset"), True),
    (BootEvidence(reason="Triggered"), False),
    (BootEvidence(link_down_ms=20_000), False),
    (BootEvidence(link_down_ms=20_001), True),
    (BootEvidence(link_down_ms=90_000, uptime_known=True), False),
    (BootEvidence(startup_event=True), True),
    (BootEvidence(counter_changed=True), True),
    (BootEvidence(link_down_ms=90_000, counter_changed=False), False),
    (BootEvidence(message_ids_restarted=True), True),
    (BootEvidence(status_after=SocketStatus.CHARGING), False),
    (BootEvidence(status_after=SocketStatus.SUSPENDED_EV), False),
    (BootEvidence(status_after=SocketStatus.AVAILABLE), True),
    (BootEvidence(link_down_ms=90_000, boots_on_reconnect=True), False),
    (BootEvidence(reason="PowerUp", boots_on_reconnect=True), True),
]


@pytest.mark.parametrize(("evidence", "new"), BOOTS)
def test_a_boot_is_weak_evidence(evidence: BootEvidence, new: bool) -> None:
    assert is_new_boot_epoch(evidence) is new


def test_what_changes_the_bill_between_end_and_settlement_is_told_again() -> None:
    session = opened()
    play(session, meter(T0 + MIN, 1500))
    assert ev.Ended in kinds(play(session, stop(T0 + 10 * MIN, 5000)))
    again = play(session, stop(T0 + 11 * MIN, 6000, key="e2"))
    assert (session.state, session.energy_wh) == (S.ENDED, 5000)
    assert ev.Ended in kinds(again)
    assert ev.Ended not in kinds(play(session, stop(T0 + 11 * MIN, 6000, key="e2")))  # a repeat says nothing new


def test_an_ended_session_that_could_not_be_priced_is_told_again_when_its_registers_come() -> None:
    session = opened(start(wh=None))
    for at_ms in (T0 + MIN, T0 + 31 * MIN):
        play(session, ev.MeterSeen(at_ms, (Reading(at_ms=at_ms, power_w=7000),)))
    play(session, stop(T0 + 40 * MIN, None), fired(T0 + 80 * MIN, Timer.T_DATA))
    assert (session.state, session.quality) == (S.ENDED, Quality.D)
    late = (Reading(at_ms=T0 + MIN, register_wh=1000), Reading(at_ms=T0 + 39 * MIN, register_wh=4600))
    assert ev.Ended in kinds(play(session, ev.MeterSeen(T0 + 90 * MIN, late)))
    assert (session.quality, session.energy_wh) == (Quality.C, 3600)


def test_the_canonical_hash_ignores_order_offline_and_custom_data() -> None:
    one = {"a": 1, "b": [{"c": 2, "customData": {"vendorId": "x"}}], "offline": True}
    other = {"b": [{"c": 2}], "a": 1, "offline": False}
    assert canonical_hash(one) == canonical_hash(other)
    assert canonical_hash({"a": 1}) != canonical_hash({"a": 2})
    assert canonical_hash([1, 2]) != canonical_hash([2, 1])


def test_tokens_compare_without_case_and_blanks() -> None:
    assert token_norm(" bk7 ") == "BK7"
    assert token_norm("") is None
    assert token_norm(None) is None


REASONS: list[tuple[str | None, EndCause, EndClass]] = [
    (None, EndCause.LOCAL, EndClass.NORMAL),
    ("", EndCause.LOCAL, EndClass.NORMAL),
    ("Remote", EndCause.REMOTE, EndClass.NORMAL),
    ("deauthorized", EndCause.DEAUTHORIZED, EndClass.NORMAL),
    ("SOCLimitReached", EndCause.SOC_LIMIT, EndClass.NORMAL),
    ("UnlockCommand", EndCause.UNLOCK, EndClass.NORMAL),
    ("PowerLoss", EndCause.POWER_LOSS, EndClass.INTERRUPTED),
    ("HardReset", EndCause.RESTART, EndClass.INTERRUPTED),
    ("ImmediateReset", EndCause.RESTART, EndClass.INTERRUPTED),
    ("PowerQuality", EndCause.POWER_QUALITY, EndClass.INTERRUPTED),
    ("EmergencyStop", EndCause.EMERGENCY_STOP, EndClass.FAULT),
    ("GroundFault", EndCause.GROUND_FAULT, EndClass.FAULT),
    ("SomethingNew", EndCause.OTHER, EndClass.NORMAL),
]


@pytest.mark.parametrize(("reason", "cause", "end_class"), REASONS)
def test_stop_reasons_have_one_vocabulary(reason: str | None, cause: EndCause, end_class: EndClass) -> None:
    assert normalise_end_cause(reason) is cause
    assert cause.end_class is end_class


def test_late_states_are_those_with_a_revision() -> None:
    check: Callable[[State], bool] = lambda state: in_state(state).revision > 0  # noqa: E731  # one-line table
    assert {state for state in State if check(state)} == set(LATE)
