"""What a session makes of the station's own word on its transaction (2.0.1 E14)."""

from __future__ import annotations

import pytest
from test_session import HOUR, MIN, NOW, SEC, T0, TIMING, boot, fired, in_state, kinds, meter, play, start, stop

from csms.domain import session_events as ev
from csms.domain.reported import SocketStatus
from csms.domain.session import State, Timer, from_row, to_row

S = State


def said(now_ms: int, *, queued: bool, ongoing: bool | None = None) -> ev.TransactionStatusSeen:
    return ev.TransactionStatusSeen(now_ms, queued, ongoing)


OPEN_STATES = [S.STARTING, S.ACTIVE, S.SUSPENDED, S.INTERRUPTED, S.STOPPING]


@pytest.mark.parametrize("state", OPEN_STATES)
def test_a_transaction_the_station_does_not_know_ends_when_it_says_so_twice(state: State) -> None:
    session = in_state(state)
    assert ev.AskTransactionStatus in kinds(play(session, said(NOW, queued=False, ongoing=False)))
    assert session.state is S.ENDED_PENDING_DATA
    play(session, said(NOW + SEC, queued=False, ongoing=False))
    assert session.state is S.ENDED


@pytest.mark.parametrize("state", OPEN_STATES)
@pytest.mark.parametrize("ongoing", [True, False, None])
def test_while_messages_wait_nothing_is_decided_and_it_asks_again(state: State, ongoing: bool | None) -> None:
    session = in_state(state)
    play(session, said(NOW, queued=True, ongoing=ongoing))
    assert session.state is state
    again_ms = session.deadlines[Timer.T_QUEUE]
    assert play(session, fired(again_ms, Timer.T_QUEUE)) == [ev.AskTransactionStatus()]


def test_a_queue_pushes_the_end_of_the_wait_away_and_not_for_ever() -> None:
    session = in_state(S.ENDED_PENDING_DATA)
    first_ms = session.deadlines[Timer.T_DATA]
    play(session, said(first_ms - SEC, queued=True, ongoing=False))
    assert session.deadlines[Timer.T_DATA] == first_ms - SEC + TIMING.data_online_s * SEC
    at_ms = first_ms
    while Timer.T_QUEUE in session.deadlines:
        at_ms = session.deadlines[Timer.T_QUEUE]
        play(session, fired(at_ms, Timer.T_QUEUE), said(at_ms, queued=True, ongoing=False))
    assert at_ms - first_ms < (TIMING.data_offline_s + TIMING.drain_s) * SEC
    play(session, fired(session.deadlines[Timer.T_DATA], Timer.T_DATA))
    assert session.state is S.ENDED


def test_an_emptied_queue_without_a_word_on_the_transaction_completes_what_waits_and_leaves_what_runs() -> None:
    waiting, running = in_state(S.ENDED_PENDING_DATA), in_state(S.ACTIVE)
    for session in (waiting, running):
        play(session, said(NOW, queued=False))
    assert (waiting.state, running.state) == (S.ENDED, S.ACTIVE)


def test_what_survived_a_reboot_goes_on_and_counts_once() -> None:
    session = in_state(S.INTERRUPTED)
    play(session, said(NOW, queued=False, ongoing=True))
    assert (session.state, session.energy_wh, session.segments[-1].continues) == (S.ACTIVE, 200, True)
    play(session, meter(NOW + MIN, 1400), stop(NOW + 2 * MIN, 1500))
    assert (session.state, session.energy_wh) == (S.ENDED, 500)


def test_what_was_given_up_after_a_reboot_comes_back_when_the_station_still_has_it() -> None:
    session = in_state(S.INTERRUPTED)
    play(session, fired(session.deadlines[Timer.T_BOOTSTOP], Timer.T_BOOTSTOP))
    assert session.state is S.ENDED_PENDING_DATA
    play(session, said(NOW + HOUR, queued=False, ongoing=True))
    assert (session.state, session.end_cause, session.ended_at_ms) == (S.ACTIVE, None, None)


def test_a_stop_another_start_and_another_unit_outweigh_the_word() -> None:
    stopped = in_state(S.ENDED_PENDING_DATA)
    displaced = in_state(S.ACTIVE)
    play(displaced, ev.OtherStartSeen(NOW, NOW, None))
    swapped = in_state(S.ACTIVE)
    play(swapped, boot(NOW, swapped=True))
    for session in (stopped, displaced, swapped):
        before = session.state
        play(session, said(NOW + SEC, queued=False, ongoing=True))
        assert session.state is before


def test_an_abandoned_session_that_is_still_ongoing_is_open_again() -> None:
    session = in_state(S.ABANDONED)
    play(session, ev.LinkUp(T0 + 26 * HOUR), said(T0 + 26 * HOUR, queued=False, ongoing=True))
    assert session.state is S.ACTIVE


def test_the_link_going_down_ends_the_asking() -> None:
    session = in_state(S.ACTIVE)
    play(session, said(NOW, queued=True, ongoing=True), ev.LinkDown(NOW + SEC))
    assert Timer.T_QUEUE not in session.deadlines


def test_a_free_socket_is_asked_about_once_until_it_was_occupied_again() -> None:
    session = in_state(S.ACTIVE)
    free, busy = SocketStatus.AVAILABLE, SocketStatus.CHARGING
    asked = [
        ev.AskTransactionStatus in kinds(play(session, ev.StatusSeen(NOW + n * SEC, status)))
        for n, status in enumerate([free, free, free, busy, free])
    ]
    assert asked == [True, False, False, False, True]


def test_a_row_of_before_knows_nothing_of_it_and_loads() -> None:
    row = to_row(in_state(S.ACTIVE))
    del row["queued_since_ms"], row["freed_at_ms"]
    loaded = from_row(row)
    assert (loaded.queued_since_ms, loaded.freed_at_ms, loaded.state) == (None, None, S.ACTIVE)
    assert play(loaded, start()) == []  # a repeat, as ever
