"""What members of a message mean in either generation of Beckn: numbers, wishes, times, addresses. Pure.

What is merely absent or odd is None; what cannot be meant raises Refusal(INVALID_REQUEST) with the member's name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from decimal import ROUND_HALF_UP, Decimal
from typing import Final
from urllib.parse import urlsplit

from beckn_adapter.envelope import Context, parse_clock, parse_instant
from csms.domain.quote import Want, WantKind
from csms.domain.refusal import Refusal, Why

MAX_TEXT: Final = 1000
MAX_QUANTITY: Final = Decimal(10) ** 9
DAY_MS: Final = 86_400_000
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_NUMBER: Final = frozenset("0123456789.+-eE")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader needs besides the message."""

    context: Context
    now_ms: int
    zone: tzinfo


def invalid(sentence: str) -> Refusal:
    return Refusal(Why.INVALID_REQUEST, sentence)


def mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def order_of(message: Mapping[str, object]) -> Mapping[str, object]:
    """The order a message is about."""
    order = message.get("order")
    if isinstance(order, list) and order:
        order = order[0]  # a guide sends an array
    if not isinstance(order, Mapping):
        raise invalid("message.order is missing")
    return order


def number_of(value: object) -> Decimal | None:
    """A finite number, or a text that is one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    text = str(value).strip() if not isinstance(value, int) or abs(value) < 10**30 else ""
    if not text or len(text) > 40 or not set(text) <= _NUMBER:
        return None
    try:
        number = Decimal(text)
    except ArithmeticError:
        return None
    return number if number.is_finite() and abs(number) < Decimal(10) ** 30 else None


# What one unit is: the kind of wish, and how many Wh, paise or minutes it means.
_UNITS: Final[Mapping[str, tuple[WantKind, Decimal]]] = {
    **dict.fromkeys(("kwh", "kilowatthour", "kilowatthours", "unit", "units"), (WantKind.ENERGY, Decimal(1000))),
    **dict.fromkeys(("wh", "watthour", "watthours"), (WantKind.ENERGY, Decimal(1))),
    **dict.fromkeys(("inr", "rs", "rupee", "rupees", "₹"), (WantKind.AMOUNT, Decimal(100))),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), (WantKind.TIME, Decimal(1))),
    **dict.fromkeys(("hur", "h", "hr", "hrs", "hour", "hours"), (WantKind.TIME, Decimal(60))),
}


def want_of(value: object, unit: str, *, value_at: str, unit_at: str, units: str) -> Want:
    """An amount, units or time as a wish. The rest is for refusals: where both stand, and which `units` there are."""
    number = number_of(value)
    if number is None or not 0 < number <= MAX_QUANTITY:
        raise invalid(f"{value_at} is not a positive number")
    known = _UNITS.get("".join(char for char in unit.casefold() if char.isalnum() or char == "₹"))
    if known is None:
        raise invalid(f"{unit_at} is not {units}")
    kind, size = known
    whole = int((number * size).to_integral_value(ROUND_HALF_UP))
    if whole < 1:
        raise invalid(f"{value_at} is too small")
    match kind:
        case WantKind.AMOUNT:
            return Want(kind=kind, amount_minor=whole)
        case WantKind.TIME:
            return Want(kind=kind, minutes=whole)
        case _:
            return Want(kind=kind, energy_wh=whole)


def time_of(value: object, reading: Reading) -> int | None:
    """An instant, or a time of the day that comes next."""
    if not isinstance(value, str):
        return None
    at_ms = parse_instant(value, reading.zone)
    return at_ms if at_ms is not None else parse_clock(value, reading.now_ms, reading.zone)


def is_uri(text: str) -> bool:
    """Plain enough for the schema's `uri` format: ASCII, a host, nothing RFC 3986 forbids."""
    if not text.isascii() or not text.isprintable() or any(char in ' "<>\\^`{|}[]' for char in text):
        return False
    if any(len(rest) < 2 or not set(rest[:2]) <= _HEX for rest in text.split("%")[1:]):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def is_email(text: str) -> bool:
    """Plain enough for any validator of the `email` format; what is not is simply not repeated."""
    name, at, host = text.partition("@")
    usual = set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    is_plain = (
        bool(name)
        and set(name.lower()) <= usual | {"_", "+"}
        and set(host.lower()) <= usual
        and len(name) <= 64
        and name.strip(".") == name
    )
    labels = host.split(".")
    is_host = all(0 < len(one) < 64 and one.strip("-") == one and one[2:4] != "--" for one in labels)
    return bool(at) and is_plain and ".." not in text and is_host and len(labels) > 1 and labels[-1].isalpha()
