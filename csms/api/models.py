"""What every resource's models share: bodies that refuse unknown members, times, money."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field, WithJsonSchema

from csms.domain.units import from_minor, rfc3339, round_money

LARGEST_NUMBER: Final = 2**31 - 1
NO_CONTROL: Final = r"^[^\x00-\x1f\x7f]+$"
CURRENCY: Final = "INR"

Time = Annotated[
    str, WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-02T03:04:05.678Z"]})
]


def _in_our_time(at: datetime) -> datetime:
    # Chargers and tariffs live in these years; a date outside them is a slip of the keyboard.
    if not 2000 <= at.year < 2200:
        raise ValueError("a time between the years 2000 and 2200 is needed")
    return at


# A time in a request; it names its offset.
Instant = Annotated[AwareDatetime, AfterValidator(_in_our_time)]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone") from error
    return name


# The name of a time zone, e.g. Asia/Kolkata.
Zone = Annotated[str, AfterValidator(_zone)]

Number = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]
Text = Annotated[str, Field(min_length=1, max_length=500, pattern=NO_CONTROL)]
ShortText = Annotated[str, Field(min_length=1, max_length=100, pattern=NO_CONTROL)]
# OCPP identities: the last path segment of the charger's URL.
ChargerId = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\s/\\?#\x00-\x1f\x7f]+$")]
TokenUid = Annotated[str, Field(min_length=1, max_length=36, pattern=NO_CONTROL)]


class Body(BaseModel):
    """A request's body. Types are not bent, and a member nobody knows is refused by name."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Shaped(BaseModel):
    """A body of a public standard's shape: known members are checked, further ones are kept as they are."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class View(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid")


class OpenView(BaseModel):
    """An answer with members that are not listed here."""

    model_config = ConfigDict(extra="allow")


class Money(View):
    """An amount with exactly two places."""

    amount: Annotated[str, Field(pattern=r"^-?\d+\.\d\d$", examples=["154.20"])]
    currency: Annotated[str, Field(examples=["INR"])] = CURRENCY


def money(amount_minor: int | None, currency: str | None = None) -> Money | None:
    """Paise as they are shown; None stays None."""
    if amount_minor is None:
        return None
    return Money(amount=str(from_minor(amount_minor)), currency=currency or CURRENCY)


def sure_money(amount_minor: int, currency: str | None = None) -> Money:
    """`money` of an amount that is there."""
    return Money(amount=str(from_minor(amount_minor)), currency=currency or CURRENCY)


def rupees(amount: Decimal, currency: str | None = None) -> Money:
    """Rupees as they are shown."""
    return Money(amount=str(round_money(amount)), currency=currency or CURRENCY)


def time(at_ms: int | None) -> str | None:
    """Milliseconds as they are shown; None stays None."""
    return rfc3339(at_ms) if at_ms is not None else None


def also_called(name: str, *others: str, **constraints: Any) -> Any:
    """An optional member with further spellings that are accepted, too; the first is the documented one."""
    return Field(default=None, validation_alias=AliasChoices(name, *others), **constraints)


class Empty(Body):
    """No members."""
