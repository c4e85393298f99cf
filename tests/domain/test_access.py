"""Tokens are judged at the time of the event; an order's token opens one socket once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csms.domain.access import (
    CROCKFORD,
    ID_TAG_MAX,
    Place,
    Token,
    TokenKind,
    TokenStatus,
    Verdict,
    Why,
    judge,
    order_token,
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
    token = replace(CARD, history=((200, A), (100, B)))
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
    assert judge(ORDER, NOON, place=HERE, used_before=True).why is Why.USED
    twice = judge(ORDER, NOON, place=HERE, open_elsewhere=1, used_before=True)
    assert (twice.status, twice.why) == (TokenStatus.CONCURRENT, Why.CONCURRENT)


def test_one_session_at_a_time_is_a_choice_for_ordinary_tokens() -> None:
    assert judge(CARD, NOON, open_elsewhere=2).is_good
    assert judge(CARD, NOON, open_elsewhere=1, one_at_a_time=True).status is TokenStatus.CONCURRENT
    assert judge(CARD, NOON, used_before=True).is_good


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
