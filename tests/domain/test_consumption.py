"""Energy by the hour: whatever the profile, the parts are the whole, and each lies in its own hour."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.domain.consumption import Interval, bounds, by_interval
from csms.domain.running_cost import usage
from csms.domain.tariff import Slice, Usage

ZONES = st.sampled_from(["Asia/Kolkata", "UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"])
HOUR_MS = 3_600_000
BEGIN_MS = 1_793_471_400_000  # 2026-11-01 00:00 in India


@given(
    start_ms=st.integers(1_700_000_000_000, 1_900_000_000_000),
    length_ms=st.integers(0, 3 * 86_400_000),
    energy_wh=st.integers(0, 200_000),
    readings=st.lists(st.tuples(st.floats(0, 1), st.integers(-1, 250_000)), max_size=20),
    interval=st.sampled_from(list(Interval)),
    zone=ZONES,
)
def test_the_parts_of_a_session_are_its_billed_energy_exactly(
    start_ms: int,
    length_ms: int,
    energy_wh: int,
    readings: list[tuple[float, int]],
    interval: Interval,
    zone: str,
) -> None:
    profile = usage(
        start_ms=start_ms,
        end_ms=start_ms + length_ms,
        start_wh=1_000,
        energy_wh=energy_wh,
        registers=sorted((start_ms + int(share * length_ms), wh) for share, wh in readings),
        idle_minutes=0,
    )
    parts = by_interval(profile, interval, zone)
    assert sum(parts.values()) == energy_wh
    for begin_ms, wh in parts.items():
        first_ms, after_ms = bounds(begin_ms, interval, zone)
        assert first_ms == begin_ms
        assert wh > 0
        assert after_ms > start_ms
        assert begin_ms <= start_ms + length_ms


@given(at_ms=st.integers(1_700_000_000_000, 1_900_000_000_000), interval=st.sampled_from(list(Interval)), zone=ZONES)
def test_hours_and_days_follow_one_another_without_a_gap(at_ms: int, interval: Interval, zone: str) -> None:
    first_ms, after_ms = bounds(at_ms, interval, zone)
    assert first_ms <= at_ms < after_ms
    assert bounds(after_ms - 1, interval, zone) == (first_ms, after_ms)
    assert bounds(after_ms, interval, zone)[0] == after_ms


@pytest.mark.parametrize(
    ("start", "end", "wh", "expected"),
    [
        (0.5, 1.5, 1_001, {0: 500, 1: 501}),
        (0.0, 3.0, 3_000, {0: 1_000, 1: 1_000, 2: 1_000}),
        (1.0, 1.0, 7, {1: 7}),
        (0.25, 0.5, 400, {0: 400}),
        (0.999, 1.001, 1, {1: 1}),
    ],
)
def test_a_slice_is_cut_at_the_hours_of_the_clock_on_the_wall(
    start: float, end: float, wh: int, expected: dict[int, int]
) -> None:
    piece = Slice(start_ms=BEGIN_MS + int(start * HOUR_MS), end_ms=BEGIN_MS + int(end * HOUR_MS), energy_wh=wh)
    found = by_interval(Usage(slices=(piece,)), Interval.HOUR, "Asia/Kolkata")
    assert found == {BEGIN_MS + hour * HOUR_MS: wh for hour, wh in expected.items()}
