"""Charger timestamps: every bent form that can be read without guessing, and nothing else."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.domain.units import rfc3339, to_ms
from csms.edges import ocpptime
from csms.edges.ocpptime import NO_CLOCK, parse, stamp
from firmware_profiles.quirks import IST_SENT_AS_Z, TZ_MISSING_IST

BASE = to_ms(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", BASE),
        ("2026-01-02T03:04:05.678Z", BASE + 678),
        ("2026-01-02T03:04:05.6Z", BASE + 600),
        ("2026-01-02T03:04:05.6789999Z", BASE + 678),
        ("2026-01-02T03:04:05,678Z", BASE + 678),
        ("2026-01-02T03:04:05+00:00", BASE),
        ("2026-01-02T08:34:05+05:30", BASE),
        ("2026-01-02T08:34:05+0530", BASE),
        ("2026-01-02T08:34:05 +05:30", BASE),
        ("2026-01-02T08:34:05+5:30", BASE),
        ("2026-01-01T22:04:05-05:00", BASE),
        ("2026-01-02 03:04:05", BASE),
        ("2026-01-02T03:04:05", BASE),
        ("2026-01-02 03:04:05 Z", BASE),
        ("2026-01-02 03:04:05 UTC", BASE),
        ("2026-01-02t03:04:05z", BASE),
        (" 2026-01-02T03:04:05Z ", BASE),
        ("2026/01/02 03:04:05", BASE),
        ("2026-1-2T3:4:5Z", BASE),
        ("20260102T030405Z", BASE),
        ("2026-01-02T03:04Z", BASE - 5000),
        ("2026-01-01T24:00:00Z", BASE - 3 * 3600_000 - 4 * 60_000 - 5000),
        ("2026-01-02T03:03:60Z", BASE - 5000),
    ],
)
def test_a_bent_timestamp_is_read(text: str, expected: int) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        " ",
        "now",
        "2026-01-02",
        "2026-01-02+05:30",
        "2026-01-02T03",
        "2026-13-02T03:04:05Z",
        "2026-02-30T03:04:05Z",
        "2026-01-02T25:04:05Z",
        "2026-01-02T24:00:01Z",
        "2026-1-2T3:4:61Z",
        "2026-1-2T3:4:5+15:00",
        "02.01.2026 03:04:05",
        "1767323045",
        "0001-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "0000-00-00T00:00:00Z",
        NO_CLOCK,
    ],
)
def test_nonsense_is_no_time_at_all(text: str | None) -> None:
    assert parse(text) is None


def test_a_clock_that_started_at_the_epoch_still_orders_its_messages() -> None:
    assert parse("1970-01-01T00:05:00Z") == 300_000


@pytest.mark.parametrize("text", ["2026-01-02T08:34:05", "2026-01-02 08:34:05.000", "2026-1-2 8:34:05"])
def test_a_missing_zone_is_indian_time_only_where_the_model_says_so(text: str) -> None:
    assert parse(text, frozenset({TZ_MISSING_IST})) == BASE
    assert parse(text) == BASE + ocpptime.IST_OFFSET_MS


def test_a_named_zone_beats_the_missing_zone_rule() -> None:
    assert parse("2026-01-02T03:04:05Z", frozenset({TZ_MISSING_IST})) == BASE
    assert parse("2026-01-02T08:34:05+05:30", frozenset({TZ_MISSING_IST, IST_SENT_AS_Z})) == BASE


@pytest.mark.parametrize("text", ["2026-01-02T08:34:05Z", "2026-01-02T08:34:05+00:00", "2026-1-2T8:34:05Z"])
def test_indian_time_labelled_utc_is_corrected_where_the_model_says_so(text: str) -> None:
    assert parse(text, frozenset({IST_SENT_AS_Z})) == BASE


@given(st.datetimes(datetime(1970, 1, 2), datetime(2199, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_every_offset_names_the_same_instant(local: datetime, offset_minutes: int) -> None:
    local = local.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)), microsecond=0)
    if to_ms(local) <= 0:
        return
    assert parse(local.isoformat()) == to_ms(local)
    assert ocpptime._parse_bent(local.isoformat(), frozenset()) == to_ms(local)


@given(st.integers(1, 7_226_582_400_000))
def test_what_is_written_is_read_back(at_ms: int) -> None:
    assert stamp(at_ms) == rfc3339(at_ms)
    assert parse(stamp(at_ms)) == at_ms


@given(st.text(max_size=40))
def test_no_text_makes_the_parser_fall_over(text: str) -> None:
    assert parse(text) is None or isinstance(parse(text), int)


def test_the_common_form_is_cheap() -> None:
    texts = [f"2026-01-02T03:04:{second:02d}.123Z" for second in range(60)]
    best = min(_seconds_for(texts) for _ in range(5))
    # Measured well under 0.5 us; the bound leaves room for a loaded machine.
    assert best / (60 * 100) < 3e-6


def _seconds_for(texts: list[str]) -> float:
    started = time.perf_counter()
    for _ in range(100):
        for text in texts:
            parse(text)
    return time.perf_counter() - started
