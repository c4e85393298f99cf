"""After a reconnect the queue is heard first (SESSIONS 5.4); what is measured from then on is not of the queue."""

from __future__ import annotations

from csms.domain import session_events as ev
from csms.domain.reported import Reading, Started
from csms.domain.session import Session, State, Timer, Timing, apply, due, open_session

T0 = 1_767_225_600_000
SEC, MIN = 1_000, 60_000
TIMING = Timing()


def meter(at_ms: int | None, wh: int, now_ms: int) -> ev.MeterSeen:
    return ev.MeterSeen(now_ms, (Reading(at_ms=at_ms, register_wh=wh),))


def back_with_a_stop_asked_for(back_ms: int) -> Session:
    began = Started(key="s1", evse=1, connector=1, token="BK7", at_ms=T0, register_wh=1000, tx_id=None)
    first = ev.StartSeen(T0, began, T0, authorised=True, tx_id="7")
    session, _ = open_session(first, TIMING, no=1, session_id="01", station="CP1", evse=1, connector=1)
    for event in (
        meter(T0 + SEC, 1001, T0 + SEC),
        ev.LinkDown(T0 + MIN),
        ev.StopRequested(T0 + 2 * MIN, ev.StopCause.USER),
        ev.LinkUp(back_ms),
    ):
        apply(session, event, TIMING)
    return session


def test_live_samples_after_the_reconnect_do_not_put_off_the_stop_that_was_asked_for_in_the_dark() -> None:
    back_ms = T0 + 3 * MIN
    session = back_with_a_stop_asked_for(back_ms)
    sent: list[int] = []
    for second in range(0, 600, 10):
        now_ms = back_ms + second * SEC
        out = apply(session, meter(now_ms, 1100 + second, now_ms), TIMING)
        for timer in due(session, now_ms):
            out += apply(session, ev.TimerFired(now_ms, timer), TIMING)
        sent += [second for outcome in out if isinstance(outcome, ev.SendStop)]
    assert session.state is State.STOPPING
    assert sent[0] == TIMING.drain_s


def test_a_queued_sample_does_put_it_off() -> None:
    back_ms = T0 + 3 * MIN
    session = back_with_a_stop_asked_for(back_ms)
    now_ms = back_ms + 30 * SEC
    apply(session, meter(T0 + 2 * MIN, 1100, now_ms), TIMING)
    assert session.deadlines[Timer.T_DRAIN] == now_ms + TIMING.drain_s * SEC


def test_a_sample_without_a_time_is_taken_as_measured_now() -> None:
    back_ms = T0 + 3 * MIN
    session = back_with_a_stop_asked_for(back_ms)
    apply(session, meter(None, 1100, back_ms + 30 * SEC), TIMING)
    assert session.deadlines[Timer.T_DRAIN] == back_ms + TIMING.drain_s * SEC
