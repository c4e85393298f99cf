"""Members of a Beckn 1.1.0 message, read with patience (BECKN 5.1). Pure.

What is merely absent or odd is None; what cannot be meant raises Refusal(INVALID_REQUEST) with the member's name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Final
from urllib.parse import urlsplit

from csms.domain.quote import Want, WantKind
from csms.domain.refusal import Refusal, Why

MAX_TEXT: Final = 1000
MAX_QUANTITY: Final = Decimal(10) ** 9
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_NUMBER: Final = frozenset("0123456789.+-eE")
_DIGITS: Final = frozenset("0123456789")


def invalid(sentence: str) -> Refusal:
    return Refusal(Why.INVALID_REQUEST, sentence)


def mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def listed(value: object) -> Sequence[object]:
    """A list; one object standing where a list belongs is a list of one."""
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, Mapping) else []


def first(value: object) -> Mapping[str, object]:
    """The first object of a list, or the object itself."""
    entries = listed(value)
    return mapping(entries[0]) if entries else {}


def text_of(holder: Mapping[str, object], name: str, limit: int = MAX_TEXT) -> str | None:
    """A non-empty text, or None. One beyond `limit` is refused rather than cut: it may be an id."""
    value = holder.get(name)
    if not isinstance(value, str) or not value.strip():
        return None
    if len(value) > limit:
        raise invalid(f"{name} is longer than {limit} characters")
    return value.strip()


def word_of(holder: Mapping[str, object], name: str) -> str | None:
    """A text, or a number as text: codes and ratings come as either."""
    value = holder.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = number_of(value)
        return None if number is None else plain(number)
    return text_of(holder, name)


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


def figure_of(value: object) -> Decimal | None:
    """The number a text begins with: `2.5%`, `25 INR`, `60kW`."""
    if not isinstance(value, str):
        return number_of(value)
    head = value.strip()[:40]
    end = 0
    while end < len(head) and head[end] in "+-.0123456789":
        end += 1
    return number_of(head[:end])


def plain(number: Decimal) -> str:
    """`10.50` as `10.5`, `10` as `10`, never with an exponent."""
    shown = f"{number:f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def code_of(text: str) -> str:
    """A code as the guides mean it, however they spell it: `Connector_Type`, `CONNECTOR TYPE` -> `connector-type`."""
    return "-".join(text.casefold().replace("_", " ").replace("-", " ").split())


def phone_of(text: str | None) -> str | None:
    """A telephone number without the hyphens and blanks that some networks refuse (BECKN 5.8)."""
    if text is None:
        return None
    kept = "".join(char for char in text if char in _DIGITS or char == "+")
    return kept or None


# What one unit is: the kind of wish, and how many Wh, paise or minutes it means.
_UNITS: Final[Mapping[str, tuple[WantKind, Decimal]]] = {
    **dict.fromkeys(("kwh", "kilowatthour", "kilowatthours", "unit", "units"), (WantKind.ENERGY, Decimal(1000))),
    **dict.fromkeys(("wh", "watthour", "watthours"), (WantKind.ENERGY, Decimal(1))),
    **dict.fromkeys(("inr", "rs", "rupee", "rupees", "₹"), (WantKind.AMOUNT, Decimal(100))),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), (WantKind.TIME, Decimal(1))),
    **dict.fromkeys(("hur", "h", "hr", "hrs", "hour", "hours"), (WantKind.TIME, Decimal(60))),
}


def want_of(value: object, unit: str, where: str) -> Want:
    """An amount, units or time as a wish. `where` names the measure in a refusal."""
    number = number_of(value)
    if number is None or not 0 < number <= MAX_QUANTITY:
        raise invalid(f"{where}.value is not a positive number")
    known = _UNITS.get("".join(char for char in unit.casefold() if char.isalnum() or char == "₹"))
    if known is None:
        raise invalid(f"{where}.unit is not kWh, INR or MINUTES")
    kind, size = known
    whole = int((number * size).to_integral_value(ROUND_HALF_UP))
    if whole < 1:
        raise invalid(f"{where}.value is too small")
    match kind:
        case WantKind.AMOUNT:
            return Want(kind=kind, amount_minor=whole)
        case WantKind.TIME:
            return Want(kind=kind, minutes=whole)
        case _:
            return Want(kind=kind, energy_wh=whole)


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
