"""Sockets: late statuses do not overtake, and what can be sold follows from what is known."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csms.domain.connector import Availability, Sale, Socket, observe, sale
from csms.domain.reported import SocketStatus, StatusReported

V = Availability
NOW = 1_767_225_600_000
MIN = 60_000


def told(status: SocketStatus, at_ms: int | None = None, error: str | None = None) -> StatusReported:
    return StatusReported(1, 1, status, at_ms, error)


def socket(status: SocketStatus | None = SocketStatus.AVAILABLE) -> Socket:
    return Socket(1, 1, status, NOW, NOW)


def test_a_status_is_taken_over_with_its_details() -> None:
    seen = observe(Socket(1, 1), told(SocketStatus.FAULTED, NOW - 5, "GroundFailure"), NOW)
    assert (seen.status, seen.at_ms, seen.received_ms, seen.error_code) == (
        SocketStatus.FAULTED,
        NOW - 5,
        NOW,
        "GroundFailure",
    )


def test_an_older_status_from_a_queue_does_not_overtake() -> None:
    newer = observe(Socket(1, 1), told(SocketStatus.CHARGING, NOW - MIN), NOW)
    assert observe(newer, told(SocketStatus.AVAILABLE, NOW - 2 * MIN), NOW + 1) is newer
    assert observe(newer, told(SocketStatus.FINISHING, NOW - MIN), NOW + 1).status is SocketStatus.FINISHING


@pytest.mark.parametrize("at_ms", [None, 5_000, NOW + 20 * MIN])
def test_a_status_without_a_sane_time_is_as_of_its_receipt(at_ms: int | None) -> None:
    first = observe(socket(), told(SocketStatus.CHARGING, at_ms), NOW + MIN)
    assert (first.status, first.at_ms) == (SocketStatus.CHARGING, NOW + MIN)
    after = observe(first, told(SocketStatus.FINISHING, NOW + 2 * MIN), NOW + 2 * MIN)
    assert after.status is SocketStatus.FINISHING  # a clock in the future silences nobody


@given(st.permutations([(0, SocketStatus.PREPARING), (1, SocketStatus.CHARGING), (2, SocketStatus.FINISHING)]))
@settings(max_examples=20, deadline=None)
def test_the_newest_status_wins_in_any_order(order: list[tuple[int, SocketStatus]]) -> None:
    seen = Socket(1, 1)
    for minute, status in order:
        seen = observe(seen, told(status, NOW + minute * MIN), NOW + 5 * MIN)
    assert seen.status is SocketStatus.FINISHING


MAPPING: list[tuple[SocketStatus | None, Availability, bool, bool]] = [
    (SocketStatus.AVAILABLE, V.AVAILABLE, True, True),
    (SocketStatus.PREPARING, V.PREPARING, True, True),
    (SocketStatus.CHARGING, V.CHARGING, False, True),
    (SocketStatus.SUSPENDED_EV, V.SUSPENDED_EV, False, True),
    (SocketStatus.SUSPENDED_EVSE, V.SUSPENDED_EVSE, False, True),
    (SocketStatus.FINISHING, V.FINISHING, False, True),
    (SocketStatus.RESERVED, V.RESERVED, False, True),
    (SocketStatus.UNAVAILABLE, V.UNAVAILABLE, False, False),
    (SocketStatus.FAULTED, V.FAULTED, False, False),
    (SocketStatus.OCCUPIED, V.PREPARING, True, True),
    (None, V.UNAVAILABLE, False, False),
]


@pytest.mark.parametrize(("status", "availability", "sellable", "active"), MAPPING)
def test_what_a_status_means_for_sale(
    status: SocketStatus | None, availability: Availability, sellable: bool, active: bool
) -> None:
    assert sale(socket(status), now_ms=NOW, link_up=True) == Sale(availability, sellable, active)


def test_every_status_has_a_meaning() -> None:
    assert {status for status, *_ in MAPPING} == {*SocketStatus, None}


@pytest.mark.parametrize(
    ("state", "in_session", "availability"),
    [
        ("Charging", True, V.CHARGING),
        ("SuspendedEV", True, V.SUSPENDED_EV),
        ("SuspendedEVSE", True, V.SUSPENDED_EVSE),
        ("EVConnected", False, V.PREPARING),
        ("Idle", False, V.FINISHING),
        (None, True, V.CHARGING),
        (None, False, V.PREPARING),
    ],
)
def test_occupied_is_told_apart_by_the_charging_state(
    state: str | None, in_session: bool, availability: Availability
) -> None:
    found = sale(
        socket(SocketStatus.OCCUPIED), now_ms=NOW, link_up=True, is_in_session=in_session, charging_state=state
    )
    assert found.availability is availability


def test_an_offline_charger_is_not_sold_and_leaves_the_catalogue_after_a_while() -> None:
    def lost(minutes: int | None) -> Sale:
        at_ms = None if minutes is None else NOW - minutes * MIN
        return sale(socket(), now_ms=NOW, link_up=False, link_lost_ms=at_ms)

    assert lost(1) == Sale(V.OFFLINE, is_sellable=False, is_active=True)
    assert lost(5) == Sale(V.OFFLINE, is_sellable=False, is_active=False)
    assert lost(None).is_active is False


@pytest.mark.parametrize("status", [SocketStatus.UNAVAILABLE, SocketStatus.FAULTED])
def test_connector_zero_takes_the_whole_station_out(status: SocketStatus) -> None:
    station = Socket(0, 0, status)
    assert not sale(socket(), now_ms=NOW, link_up=True, station=station).is_sellable
    free = Socket(0, 0, SocketStatus.AVAILABLE)
    assert sale(socket(), now_ms=NOW, link_up=True, station=free).is_sellable


def test_a_held_socket_is_sold_only_to_its_holder() -> None:
    for status in (SocketStatus.AVAILABLE, SocketStatus.RESERVED):
        other = sale(socket(status), now_ms=NOW, link_up=True, is_held=True)
        holder = sale(socket(status), now_ms=NOW, link_up=True, is_held=True, held_for_asker=True)
        assert (other.availability, other.is_sellable) == (V.RESERVED, False)
        assert (holder.availability, holder.is_sellable) == (V.AVAILABLE, True)
    broken = sale(socket(SocketStatus.FAULTED), now_ms=NOW, link_up=True, is_held=True, held_for_asker=True)
    assert not broken.is_sellable


def test_a_socket_in_a_session_is_not_sold_whatever_it_says() -> None:
    assert not sale(socket(), now_ms=NOW, link_up=True, is_in_session=True).is_sellable
