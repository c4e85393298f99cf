"""The page drivers pay on: what stands on it, and what cannot."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest

from csms.edges.paymentpage import HEADERS, code, page

OPEN: dict[str, Any] = {
    "amount_minor": 55_000, "currency": "INR", "status": "INITIATED", "upi_intent": "upi://pay?pa=a@b&am=550.00",
    "what": "Charging at CP-1", "hold": False, "is_paid": False, "is_open": True,
}  # fmt: skip


def test_an_open_payment_shows_sum_code_and_link_and_loads_itself_again() -> None:
    text = page(OPEN, simulated=False)
    assert "550.00 INR" in text
    assert "<svg" in text
    assert 'href="upi://pay?pa=a@b&amp;am=550.00"' in text
    assert "http-equiv=refresh" in text
    assert "<form" not in text
    assert "<script" not in text


def test_a_paid_one_asks_for_nothing_and_stands_still() -> None:
    text = page(OPEN | {"is_open": False, "is_paid": True, "status": "COMPLETED"}, simulated=False)
    assert "It is paid" in text
    assert "upi://" not in text
    assert "refresh" not in text


def test_one_that_has_ended_says_so() -> None:
    text = page(OPEN | {"is_open": False}, simulated=False)
    assert "can no longer be paid" in text
    assert "upi://" not in text


@pytest.mark.parametrize("intent", ["", "javascript:alert(1)", "https://pay.example", "upi:pay", "upi://" + "x" * 1000])
def test_nothing_but_a_upi_intent_becomes_a_link(intent: str) -> None:
    text = page(OPEN | {"upi_intent": intent}, simulated=False)
    assert "href" not in text
    assert "<svg" not in text
    assert "being prepared" in text


def test_what_others_wrote_is_escaped() -> None:
    text = page(OPEN | {"what": "<b>", "upi_intent": 'upi://"><b>', "currency": "<i>"}, simulated=True)
    assert "<b>" not in text
    assert "<i>" not in text


def test_the_policy_allows_the_style_of_the_page_and_nothing_else() -> None:
    (style,) = re.findall(r"<style>(.*?)</style>", page(OPEN, simulated=False))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = HEADERS["Content-Security-Policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "style=" not in page(OPEN, simulated=True)


def test_the_code_has_a_quiet_zone_and_grows_with_the_text() -> None:
    small, large = code("upi://pay?pa=a@b"), code("upi://pay?" + "a" * 900)
    sides = [int(re.search(r'viewBox="0 0 (\d+) \1"', one)[1]) for one in (small, large)]  # type: ignore[index]
    assert sides[0] == 25 + 8  # version 2 and four modules on each side
    assert sides[0] < sides[1]
