"""OCPP timestamps, read tolerantly and written strictly.

Chargers write ISO 8601 in every way it can be bent: fractions of any length, offsets, no zone at all, a space
for the `T`. Whatever can be read without guessing becomes UTC milliseconds, the rest is `None`. What we write
always ends in `Z` with milliseconds, because some clients refuse `+00:00` (OCPP 4.1 T10 and appendix).
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Final

from firmware_profiles.quirks import IST_SENT_AS_Z, NO_QUIRKS, TZ_MISSING_IST

IST_OFFSET_MS: Final = 19_800_000  # +05:30, no daylight saving
NO_CLOCK: Final = "1970-01-01T00:00:00Z"  # what a repaired frame carries where the charger gave no time

_DAY_MS: Final = 86_400_000
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - naive on purpose: a zone is taken off before subtracting
_EPOCH_UTC: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_SHORTEST: Final = 15  # "20260102T030405"; anything shorter names a day or an hour, not an instant
_fromisoformat: Final = datetime.fromisoformat

_BENT: Final = re.compile(
    r"(?P<year>\d{4})[-/](?P<month>\d{1,2})[-/](?P<day>\d{1,2})"
    r"[Tt _]+(?P<hour>\d{1,2}):(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:[.,:](?P<fraction>\d{1,9}))?)?"
    r"\s*(?P<zone>[Zz]|UTC|GMT|(?P<sign>[+-])(?P<off_hour>\d{1,2}):?(?P<off_minute>\d{2})?)?",
    re.ASCII,
)


def parse(text: str | None, quirks: frozenset[str] = NO_QUIRKS) -> int | None:
    """UTC milliseconds of a charger's timestamp, or `None` for none or nonsense.

    No zone means UTC, or Indian time under `tz_missing=IST`. Instants up to and including the epoch are
    nonsense: they are what firmware prints when it has no clock at all.
    """
    try:
        at = _fromisoformat(text)  # type: ignore[arg-type]  # None is the TypeError below, cheaper than asking
        since = at - (_EPOCH if at.tzinfo is None else _EPOCH_UTC)
    except (ValueError, TypeError, OverflowError):
        return _parse_bent(text, quirks)
    at_ms = since.days * _DAY_MS + since.seconds * 1000 + since.microseconds // 1000
    if quirks:
        at_ms -= _correction_ms(at.tzinfo is None, not at.utcoffset(), quirks)
    if at_ms <= 0 or not _names_an_instant(text):  # type: ignore[arg-type]  # it was parsed, so it is a str
        return None
    return at_ms


def stamp(at_ms: int) -> str:
    """UTC milliseconds -> `2026-01-02T03:04:05.678Z`."""
    days, rest = divmod(at_ms, _DAY_MS)
    seconds, millis = divmod(rest, 1000)
    minutes, second = divmod(seconds, 60)
    return f"{_day(days)}T{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}.{millis:03d}Z"


@lru_cache(maxsize=8)
def _day(days: int) -> str:
    return date.fromordinal(_EPOCH_DAY + days).isoformat()


def _names_an_instant(text: str) -> bool:
    """The library reads a date alone as midnight, and `2026-01-02+05:30` as half past five: both are guesses."""
    return len(text) >= _SHORTEST and (text[10] in "Tt " or text[8] in "Tt")


def _correction_ms(zone_missing: bool, reads_as_utc: bool, quirks: frozenset[str]) -> int:
    if zone_missing:
        return IST_OFFSET_MS if TZ_MISSING_IST in quirks else 0
    return IST_OFFSET_MS if reads_as_utc and IST_SENT_AS_Z in quirks else 0


def _parse_bent(text: object, quirks: frozenset[str]) -> int | None:
    """The forms the standard library will not read: single digits, `24:00:00`, a leap second, `03:04:05 Z`."""
    if not isinstance(text, str) or (found := _BENT.fullmatch(text.strip())) is None:
        return None
    try:
        day = date(int(found["year"]), int(found["month"]), int(found["day"])).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"] or 0)
    end_of_day = hour == 24 and minute == second == 0
    if minute > 59 or second > 60 or (hour > 23 and not end_of_day):
        return None
    offset_ms = 0
    if found["sign"]:
        off_hour, off_minute = int(found["off_hour"]), int(found["off_minute"] or 0)
        if off_hour > 14 or off_minute > 59:
            return None
        offset_ms = (off_hour * 60 + off_minute) * 60_000 * (-1 if found["sign"] == "-" else 1)
    millis = int((found["fraction"] or "0").ljust(3, "0")[:3])
    at_ms = day * _DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000 + millis - offset_ms
    at_ms -= _correction_ms(found["zone"] is None, offset_ms == 0, quirks)
    return at_ms if at_ms > 0 else None
