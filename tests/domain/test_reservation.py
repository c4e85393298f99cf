"""Reservations: when a charger is told, what its answers mean, who may use them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.domain.reported import SocketStatus
from csms.domain.reservation import (
    ASK_AGAIN_MS,
    MOST_TIMES,
    TELL_AHEAD_MS,
    Hold,
    Reach,
    Reservation,
    Status,
    Step,
    Told,
    after_answer,
    after_unsupported,
    could_be_used,
    is_kept,
    may_use,
    next_step,
)

START_MS = 10_000_000
END_MS = START_MS + 3_600_000
SOLD = Reservation(
    id=1, station="CP1", evse=1, start_ms=START_MS, end_ms=END_MS, expires_ms=START_MS + 600_000,
    status=Status.ACCEPTED, hold=Hold.HARD, told=Told.NO, token="T", order_id="o-1",
)  # fmt: skip
NOW = replace(SOLD, status=Status.REQUESTED, expires_ms=END_MS, order_id=None)  # an operator's, for now
QUOTED = replace(SOLD, status=Status.REQUESTED, hold=Hold.SOFT, expires_ms=START_MS)


def step(it: Reservation, now_ms: int, *, online: bool = True, socket: SocketStatus | None = None) -> Step:
    return next_step(it, now_ms, online=online, socket=socket)


@pytest.mark.parametrize(
    ("it", "now_ms", "wanted"),
    [
        (SOLD, START_MS - TELL_AHEAD_MS - 1, Step.NOTHING),
        (SOLD, START_MS - TELL_AHEAD_MS, Step.TELL),
        (SOLD, END_MS - 1, Step.TELL),
        (SOLD, END_MS, Step.NOTHING),
        (QUOTED, START_MS, Step.NOTHING),
        (replace(SOLD, told=Told.HOLDS), START_MS, Step.NOTHING),
        (replace(SOLD, told=Told.UNSUPPORTED), START_MS, Step.NOTHING),
        (replace(SOLD, told=Told.HOLDS, status=Status.CANCELLED), START_MS, Step.RELEASE),
        (replace(SOLD, told=Told.HOLDS, status=Status.USED), START_MS, Step.RELEASE),  # used at another socket
        (replace(SOLD, told=Told.SILENT, status=Status.EXPIRED), START_MS, Step.RELEASE),
        (replace(SOLD, told=Told.HOLDS, status=Status.EXPIRED), END_MS, Step.NOTHING),
        (replace(SOLD, told=Told.REFUSED, status=Status.REJECTED), START_MS, Step.NOTHING),
        (replace(SOLD, told=Told.NO, status=Status.CANCELLED), START_MS, Step.NOTHING),
    ],
)
def test_what_is_to_be_done(it: Reservation, now_ms: int, wanted: Step) -> None:
    assert step(it, now_ms) is wanted
    # A charger that is away is told and released all the same: it hears of it when it is back.
    assert step(it, now_ms, online=False) is wanted


def test_one_that_was_used_is_released_when_no_news_says_that_it_was_spent() -> None:
    used = replace(SOLD, told=Told.HOLDS, status=Status.USED, updated_ms=START_MS)
    assert step(used, START_MS + ASK_AGAIN_MS - 1) is Step.NOTHING
    assert step(used, START_MS + ASK_AGAIN_MS) is Step.RELEASE


@pytest.mark.parametrize(
    ("it", "online", "socket", "wanted"),
    [
        (replace(SOLD, told=Told.SILENT), True, None, Step.TELL),
        (replace(SOLD, told=Told.SILENT), False, None, Step.NOTHING),
        (replace(SOLD, told=Told.REFUSED, reason="Occupied"), True, SocketStatus.AVAILABLE, Step.TELL),
        (replace(SOLD, told=Told.REFUSED, reason="Occupied"), True, SocketStatus.CHARGING, Step.NOTHING),
        (replace(SOLD, told=Told.REFUSED, reason="Removed"), True, SocketStatus.AVAILABLE, Step.TELL),
        (replace(SOLD, told=Told.REFUSED, reason="Rejected"), True, SocketStatus.AVAILABLE, Step.NOTHING),
    ],
)
def test_a_charger_is_asked_again_while_it_may_say_yes(
    it: Reservation, online: bool, socket: SocketStatus | None, wanted: Step
) -> None:
    asked = replace(it, told_ms=START_MS, told_times=1)
    assert step(asked, START_MS + ASK_AGAIN_MS - 1, online=online, socket=socket) is Step.NOTHING
    assert step(asked, START_MS + ASK_AGAIN_MS, online=online, socket=socket) is wanted
    tired = replace(asked, told_times=MOST_TIMES)
    assert step(tired, START_MS + ASK_AGAIN_MS, online=online, socket=socket) is Step.NOTHING


@pytest.mark.parametrize(
    ("it", "word", "wanted"),
    [
        (NOW, "Accepted", (Status.ACCEPTED, Hold.HARD, Told.HOLDS)),
        (NOW, "Occupied", (Status.REJECTED, Hold.HARD, Told.REFUSED)),
        (SOLD, "Accepted", (Status.ACCEPTED, Hold.HARD, Told.HOLDS)),
        (SOLD, "Faulted", (Status.ACCEPTED, Hold.HARD, Told.REFUSED)),
        (replace(NOW, status=Status.ACCEPTED, hold=Hold.SOFT), "Accepted", (Status.ACCEPTED, Hold.HARD, Told.HOLDS)),
        (replace(NOW, status=Status.CANCELLED), "Accepted", (Status.CANCELLED, Hold.HARD, Told.HOLDS)),
        (replace(NOW, status=Status.CANCELLED), "Rejected", (Status.CANCELLED, Hold.HARD, Told.GONE)),
    ],
)
def test_what_an_answer_means(it: Reservation, word: str, wanted: tuple[Status, Hold, Told]) -> None:
    assert after_answer(it, word) == wanted


def test_without_support_ours_is_the_only_guard() -> None:
    assert after_unsupported(NOW) == (Status.ACCEPTED, Hold.SOFT, Told.UNSUPPORTED)
    assert after_unsupported(SOLD) == (Status.ACCEPTED, Hold.HARD, Told.UNSUPPORTED)  # a no-show is still a no-show
    assert after_unsupported(replace(NOW, status=Status.CANCELLED))[2] is Told.GONE
    soft = replace(NOW, status=Status.ACCEPTED, hold=Hold.SOFT, told=Told.UNSUPPORTED)
    assert soft.claims(START_MS)
    assert not soft.claims(END_MS)
    assert not QUOTED.claims(START_MS)


def test_who_may_use_it() -> None:
    assert may_use("T", None, "T", None)
    assert may_use("T", "G", "U", "G")
    assert not may_use("T", None, "U", None)  # no group is not a common group
    assert not may_use("T", "G", "U", "H")
    assert not may_use(None, None, None, None)


@pytest.mark.parametrize(
    ("said", "one", "any_"),
    [
        ({}, None, None),
        ({"SupportedFeatureProfiles": "Core, Reservation"}, True, False),
        ({"SupportedFeatureProfiles": "Core"}, False, False),
        ({"SupportedFeatureProfiles": "Reservation", "ReserveConnectorZeroSupported": "true"}, True, True),
        ({"SupportedFeatureProfiles": "Reservation", "ReserveConnectorZeroSupported": "false"}, True, False),
        ({"ReservationCtrlr.Available": "true"}, True, None),
        ({"ReservationCtrlr.Available": "false"}, False, False),
        ({"ReservationCtrlr.Available": "true", "ReservationCtrlr.Enabled": "false"}, False, False),
        ({"ReservationCtrlr.Available": "true", "ReservationCtrlr.NonEvseSpecific": "true"}, True, True),
        ({"ReservationCtrlr.Available": "true", "ReservationCtrlr.NonEvseSpecific": "false"}, True, False),
        ({"SupportedFeatureProfiles": ""}, None, None),
    ],
)
def test_what_a_charger_says_it_keeps(said: dict[str, str | None], one: bool | None, any_: bool | None) -> None:
    assert (is_kept(said, 1), is_kept(said, 0)) == (one, any_)


FREE, TAKEN = SocketStatus.AVAILABLE, SocketStatus.CHARGING
BEFORE, WITHIN, AFTER = START_MS - 1, START_MS + 1, SOLD.expires_ms + 1


@pytest.mark.parametrize(
    ("told", "reach", "sockets", "is_usable"),
    [
        (Told.HOLDS, Reach(BEFORE, None, AFTER), {FREE}, True),
        (Told.UNSUPPORTED, Reach(BEFORE, None, AFTER), set(), True),
        (Told.SILENT, Reach(WITHIN, BEFORE, AFTER), {FREE, TAKEN}, True),
        (Told.HOLDS, Reach(AFTER, WITHIN, AFTER), {FREE}, True),  # it has only just come back, and was there before
        (Told.HOLDS, Reach(None, WITHIN, WITHIN), {FREE}, True),
        (Told.HOLDS, Reach(None, BEFORE, START_MS), {FREE}, False),  # away all the while
        (Told.NO, Reach(), set(), False),  # never seen at all
        (Told.ASKED, Reach(AFTER, BEFORE, AFTER), {FREE}, False),
        (Told.NO, Reach(AFTER, None, AFTER), {FREE}, False),
        (Told.REFUSED, Reach(BEFORE, None, AFTER), {FREE}, False),
        (Told.UNSUPPORTED, Reach(BEFORE, None, AFTER), {TAKEN}, False),
        (Told.UNSUPPORTED, Reach(BEFORE, None, AFTER), {SocketStatus.FAULTED}, False),
    ],
)
def test_whether_whoever_came_could_have_charged(
    told: Told, reach: Reach, sockets: set[SocketStatus], is_usable: bool
) -> None:
    assert could_be_used(replace(SOLD, told=told), reach, sockets) is is_usable


reservations = st.builds(
    Reservation,
    id=st.just(1), station=st.just("CP1"), evse=st.integers(0, 2), start_ms=st.integers(0, 10**7),
    end_ms=st.integers(0, 2 * 10**7), expires_ms=st.integers(0, 2 * 10**7), status=st.sampled_from(Status),
    hold=st.sampled_from(Hold), told=st.sampled_from(Told), told_times=st.integers(0, 9),
    reason=st.none() | st.sampled_from(["Occupied", "Rejected"]), order_id=st.none() | st.just("o"),
)  # fmt: skip


@given(reservations, st.integers(0, 2 * 10**7), st.booleans(), st.none() | st.sampled_from(SocketStatus))
def test_nothing_is_told_of_what_is_over_and_nothing_taken_back_of_what_stands(
    it: Reservation, now_ms: int, online: bool, socket: SocketStatus | None
) -> None:
    done = step(it, now_ms, online=online, socket=socket)
    if done is Step.TELL:
        assert it.is_active
        assert now_ms < it.until_ms <= it.wire_until_ms
    if done is Step.RELEASE:
        assert not it.is_active


@given(reservations, st.sampled_from(["Accepted", "Faulted", "Occupied", "Unavailable", "Rejected", "?"]))
def test_no_answer_brings_back_what_is_over(it: Reservation, word: str) -> None:
    status, _, told = after_answer(it, word)
    if not it.is_active:
        assert status is it.status
    assert (told is Told.HOLDS) == (word == "Accepted")
