"""Energy, money and time in the units the rest of the house agrees on.

Energy is whole Wh. Money is `Decimal` rupees while a price is worked out, integer minor units (paise) once it
is booked; it is rounded half up, once, on the component line (BECKN 4.5, ADR 0005). Time inside the domain is
UTC milliseconds since the epoch; civil time exists only where a tariff or a person needs it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Final
from zoneinfo import ZoneInfo

CENT: Final = Decimal("0.01")
ZERO: Final = Decimal(0)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
WH_PER_KWH: Final = Decimal(1000)


def round_money(amount: Decimal) -> Decimal:
    """`amount` rounded half up to two places (the only rounding rule of the house)."""
    return amount.quantize(CENT, rounding=ROUND_HALF_UP)


def to_minor(amount: Decimal) -> int:
    """Rupees -> paise, rounded half up."""
    return int(round_money(amount) * 100)


def from_minor(amount_minor: int) -> Decimal:
    """Paise -> rupees with exactly two places."""
    return (Decimal(amount_minor) / 100).quantize(CENT)


def kwh(energy_wh: int) -> Decimal:
    """Wh -> kWh, exact."""
    return Decimal(energy_wh) / WH_PER_KWH


def to_ms(at: datetime) -> int:
    """An aware datetime -> UTC milliseconds since the epoch. A naive one is a bug of the caller."""
    if at.tzinfo is None:
        raise ValueError("a naive datetime has no place on the time line")
    return (at - EPOCH) // timedelta(milliseconds=1)


def instant(text: object) -> int | None:
    """UTC milliseconds of an ISO 8601 text; without an offset it is UTC. None for none, and for what is no time."""
    try:
        at = datetime.fromisoformat(str(text)) if text else None
        return to_ms(at if at.tzinfo is not None else at.replace(tzinfo=UTC)) if at is not None else None
    except (ValueError, OverflowError):
        return None


def from_ms(at_ms: int) -> datetime:
    """UTC milliseconds since the epoch -> aware UTC datetime."""
    return EPOCH + timedelta(milliseconds=at_ms)


def local(at_ms: int, zone: str) -> datetime:
    """Civil time, for people and calendars."""
    return from_ms(at_ms).astimezone(ZoneInfo(zone))


def rfc3339(at_ms: int) -> str:
    """UTC milliseconds -> `2026-01-02T03:04:05.678Z` (some chargers refuse `+00:00`, OCPP appendix)."""
    at = from_ms(at_ms)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
