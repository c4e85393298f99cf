"""Tokens are judged at the time of the event; an order's token opens one socket once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csms.domain.access import (
    CROCKFORD,
    ID_TAG_MAX,
    Area,
    Circumstances,
    Place,
    Standing,
    Token,
    TokenKind,
    TokenStatus,
    Verdict,
    Why,
    driver_norm,
    judge,
    order_token,
    vehicle_norm,
)

A, B = TokenStatus.ACCEPTED, TokenStatus.BLOCKED
HOUR = 3_600_000
NOON = 1_767_268_800_000
CARD = Token("AB12", driver="d1", group_id="g1", expires_ms=NOON + 24 * HOUR)
HERE = Place("CP1", 1, 1)
ORDER = Token(order_token("o1"), TokenKind.ORDER, order_id="o1", station="CP1", evse=1, connector=1)


def test_a_good_token_is_accepted_with_its_group_and_expiry() -> None:
    assert judge(CARD, NOON) == Verdict(A, "g1", CARD.expires_ms, A)
    assert judge(CARD, NOON).is_good


def test_an_unknown_token_is_invalid() -> None:
    assert judge(None, NOON) == Verdict(TokenStatus.INVALID, answer=TokenStatus.INVALID, why=Why.UNKNOWN)


@pytest.mark.parametrize("status", [B, TokenStatus.EXPIRED, TokenStatus.INVALID])
def test_a_token_that_is_not_accepted_says_so(status: TokenStatus) -> None:
    verdict = judge(replace(CARD, status=status), NOON)
    assert (verdict.status, verdict.answer, verdict.is_good) == (status, status, False)


def test_a_token_expires_at_its_time() -> None:
    assert judge(CARD, NOON + 24 * HOUR - 1).is_good
    assert judge(CARD, NOON + 24 * HOUR).status is TokenStatus.EXPIRED


def test_valid_then_and_blocked_now_bills_as_accepted_and_answers_blocked() -> None:
    token = CARD.with_status(B, NOON)
    offline = judge(token, NOON - HOUR, now_ms=NOON + HOUR)
    assert (offline.status, offline.answer, offline.is_good) == (A, B, True)
    assert judge(token, NOON, now_ms=NOON + HOUR).status is B


def test_blocked_then_and_good_now_stays_blocked_for_that_start() -> None:
    token = CARD.with_status(B, NOON - 2 * HOUR).with_status(A, NOON)
    verdict = judge(token, NOON - HOUR, now_ms=NOON + HOUR)
    assert (verdict.status, verdict.is_good) == (B, False)
    assert judge(token, NOON - 3 * HOUR).is_good


def test_history_is_read_by_time_whatever_its_order() -> None:
    token = replace(CARD, history=(Standing(200, A), Standing(100, B)))
    assert [token.status_at(at) for at in (50, 100, 199, 200)] == [B, B, B, A]


def test_expired_now_but_good_then_is_told_expired() -> None:
    verdict = judge(CARD, NOON, now_ms=NOON + 25 * HOUR)
    assert (verdict.status, verdict.answer) == (A, TokenStatus.EXPIRED)


@pytest.mark.parametrize(
    ("place", "good"),
    [
        (HERE, True),
        (Place("CP1"), True),  # an Authorize names no socket
        (Place("CP2", 1, 1), False),
        (Place("CP1", 2, 1), False),
        (Place("CP1", 1, 2), False),
    ],
)
def test_an_order_token_is_good_only_at_its_socket(place: Place, good: bool) -> None:
    verdict = judge(ORDER, NOON, place=place)
    assert verdict.is_good is good
    assert verdict.why is (None if good else Why.OTHER_PLACE)


def test_an_order_token_starts_once() -> None:
    assert judge(ORDER, NOON, place=HERE, circumstances=Circumstances(used_before=True)).why is Why.USED
    elsewhere = Circumstances(open_elsewhere=1, used_before=True)
    for place in (HERE, Place("CP1", 2, 1)):
        twice = judge(ORDER, NOON, place=place, circumstances=elsewhere)
        assert (twice.status, twice.why) == (TokenStatus.CONCURRENT, Why.CONCURRENT)


def test_one_session_at_a_time_is_a_choice_for_all_tokens_and_for_each() -> None:
    def start(token: Token, **known: Any) -> TokenStatus:
        return judge(token, NOON, circumstances=Circumstances(open_elsewhere=2, **known)).status

    concurrent = TokenStatus.CONCURRENT
    assert [start(CARD), start(CARD, one_at_a_time=True)] == [A, concurrent]
    assert start(replace(CARD, one_at_a_time=True)) is concurrent
    assert start(replace(CARD, one_at_a_time=False), one_at_a_time=True) is A
    assert start(CARD, one_at_a_time=True, starts=False) is A  # an Authorize may be to end the other one
    assert judge(CARD, NOON, circumstances=Circumstances(used_before=True)).is_good


def test_a_master_pass_ends_sessions_and_begins_none() -> None:
    start = judge(CARD, NOON, circumstances=Circumstances(master_group="g1"))
    assert (start.status, start.why, start.group_id) == (TokenStatus.INVALID, Why.MASTER_PASS, "g1")
    authorize = judge(CARD, NOON, circumstances=Circumstances(starts=False, master_group="g1"))
    assert (authorize.status, authorize.group_id) == (A, "g1")
    assert judge(CARD, NOON, circumstances=Circumstances(master_group="g2")).is_good


def test_who_owes_begins_nothing_from_then_on() -> None:
    owes = Circumstances(due_since_ms=NOON)
    assert judge(CARD, NOON, circumstances=owes).why is Why.DUE
    assert judge(CARD, NOON, circumstances=owes).status is B
    before = judge(CARD, NOON - 1, now_ms=NOON, circumstances=owes)
    assert (before.status, before.answer) == (A, B)


def test_expiry_group_and_removal_are_judged_as_of_then() -> None:
    member = Token("AB12", expires_ms=NOON + HOUR, group_id="g1")
    moved = member.changed(Standing(NOON, A, NOON - HOUR, "g2"))  # it expired an hour ago, as from now
    gone = moved.changed(Standing(NOON + HOUR, TokenStatus.DELETED, None, None))
    back = gone.changed(Standing(NOON + 2 * HOUR, A, None, "g3"))
    pass_1 = Circumstances(master_group="g1")
    assert judge(back, NOON - 1).is_good
    assert judge(back, NOON - 1, circumstances=pass_1).why is Why.MASTER_PASS
    assert judge(back, NOON).why is Why.EXPIRED
    assert judge(back, NOON + HOUR).why is Why.UNKNOWN
    assert judge(back, NOON + 2 * HOUR, circumstances=pass_1).is_good
    assert judge(back, NOON).group_id == "g3"  # what the charger's cache is told is of now
    offline = judge(gone, NOON - 1, now_ms=NOON + HOUR)
    assert (offline.status, offline.answer) == (A, TokenStatus.INVALID)
    assert back.changed(Standing(NOON + 3 * HOUR, A, None, "g3")) == back


@pytest.mark.parametrize(
    ("place", "status", "evses"),
    [
        (Place("CP1"), A, (1, 3)),  # an Authorize is told which (C01.FR.20)
        (Place("CP1", 1), A, ()),
        (Place("CP1", 2), TokenStatus.INVALID, (1, 3)),
        (Place("CP2", 2, location="SITE"), A, ()),
        (Place("CP2", location="SITE"), A, ()),
        (Place("CP1", 2, location="SITE"), A, ()),  # good at the charger in part, at its location as a whole
        (Place("CP3", 1, location="OTHER"), TokenStatus.NOT_HERE, ()),
        (Place("CP3", 1), TokenStatus.NOT_HERE, ()),
    ],
)
def test_a_token_is_good_where_it_is_good(place: Place, status: TokenStatus, evses: tuple[int, ...]) -> None:
    token = replace(CARD, areas=(Area(station="CP1", evses=frozenset({1, 3})), Area(location="SITE")))
    verdict = judge(token, NOON, place=place)
    assert (verdict.status, verdict.evses) == (status, evses)


def test_a_token_may_be_for_one_kind_of_power() -> None:
    token = replace(CARD, power_types=frozenset({"AC"}))
    refused = judge(token, NOON, place=Place("CP1", 1, power_type="DC"))
    assert (refused.status, refused.why) == (TokenStatus.NOT_THIS_TYPE, Why.OTHER_TYPE)
    assert judge(token, NOON, place=Place("CP1", 1, power_type="AC")).is_good
    assert judge(token, NOON, place=Place("CP1", 1)).is_good  # not known: not refused


@pytest.mark.parametrize("said", ["aa:bb:cc:dd:ee:01", "AA-BB-CC-DD-EE-01", "VID:AABBCCDDEE01", " aabb.ccdd.ee01 "])
def test_a_vehicle_is_one_however_it_is_written(said: str) -> None:
    assert vehicle_norm(said) == "AABBCCDDEE01"


@pytest.mark.parametrize(
    ("one", "other"), [("+91 98123 45678", "09812345678"), ("Fleet 7", " fleet 7"), ("A@B.example", "a@b.example")]
)
def test_a_driver_is_one_however_written(one: str, other: str) -> None:
    assert driver_norm(one) == driver_norm(other) is not None


def test_no_name_is_no_driver() -> None:
    assert driver_norm(None) is driver_norm("  ") is None
    assert driver_norm("9812345678") != driver_norm("9812345679")


@given(st.text(max_size=60))
@settings(max_examples=80, deadline=None)
def test_an_order_token_fits_an_id_tag_and_is_always_the_same(order_id: str) -> None:
    token = order_token(order_id)
    assert len(token) == ID_TAG_MAX
    assert token.startswith("BK")
    assert set(token[2:]) <= set(CROCKFORD)
    assert token == order_token(order_id)
    assert token != order_token(order_id + "x")


def test_the_order_token_is_blake2b_in_crockford_base32() -> None:
    import base64
    import hashlib

    digest = hashlib.blake2b(b"order-1", digest_size=12).digest()
    rfc4648 = base64.b32encode(digest).decode()[:18]
    spelled = rfc4648.translate(str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", CROCKFORD))
    assert order_token("order-1") == "BK" + spelled
