"""Energy from readings: every rule of SESSIONS 5.7, the bound of 5.8-d, and the clock model."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csms.domain.clock import IST_MS, ClockModel, TimeQuality, worse
from csms.domain.meter import (
    Between,
    Cut,
    Doubt,
    Mark,
    Marks,
    Quality,
    Register,
    RegisterKind,
    energy,
    offline_estimate,
    power_estimate,
)

T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z
MIN = 60_000
HOUR = 3_600_000


def register(*pairs: tuple[int, int]) -> Register:
    """Readings as (minute, wh)."""
    found = Register()
    for minute, wh in pairs:
        found.add(T0 + minute * MIN, wh)
    return found


def mark(minute: int, wh: int | None, *, signed: bool = False) -> Mark:
    return Mark(T0 + minute * MIN, wh, signed)


# ── the set ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reading_is_kept_once() -> None:
    readings = Register()
    assert readings.add(10, 100)
    assert not readings.add(10, 100)
    assert readings.add(5, 50)
    assert not readings.add(5, 50)
    assert list(readings) == [(5, 50), (10, 100)]
    assert readings.last_at_ms == 10


def test_a_known_reading_that_turns_out_signed_is_news() -> None:
    readings = Register()
    readings.add(10, 100)
    assert readings.add(10, 100, Marks.SIGNED)
    assert not readings.add(10, 100, Marks.SIGNED)
    assert readings.rows() == [[10, 100, 1]]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=60), st.randoms())
@settings(max_examples=60, deadline=None)
def test_the_register_is_a_set_whatever_the_order(pairs: list[tuple[int, int]], chance: random.Random) -> None:
    shuffled = pairs[:]
    chance.shuffle(shuffled)
    one, other = Register(), Register()
    for pair in pairs:
        one.add(*pair)
    for pair in shuffled:
        other.add(*pair)
    assert one == other
    assert list(one) == sorted(set(pairs))
    assert Register.from_rows(one.rows()) == one


# ── ends, epochs, sums ──────────────────────────────────────────────────────────────────────────────────────


def test_start_and_stop_registers_are_quality_a_whatever_lies_between() -> None:
    found = energy(register((1, 1100), (2, 1200)), start=mark(0, 1000), stops=[mark(10, 1500)])
    assert (found.wh, found.quality, found.complete, found.doubts) == (500, Quality.A, True, ())


def test_without_a_stop_the_highest_sample_counts_with_quality_b() -> None:
    found = energy(register((1, 1100), (2, 1190), (3, 1185)), start=mark(0, 1000))
    assert (found.wh, found.quality, found.complete) == (190, Quality.B, False)
    assert found.last_wh == 1190


def test_without_a_start_register_the_first_reading_is_the_start_with_quality_c() -> None:
    found = energy(register((1, 1100), (2, 1200)), start=mark(0, None))
    assert (found.wh, found.quality) == (100, Quality.C)


def test_a_begin_reading_stands_in_for_a_missing_meter_start() -> None:
    readings = register((1, 1100))
    readings.add(T0, 1000, Marks.BEGIN)
    found = energy(readings, start=mark(0, None), stops=[mark(5, 1300)])
    assert (found.wh, found.quality) == (300, Quality.A)


def test_an_end_reading_stands_in_for_a_missing_meter_stop() -> None:
    readings = register((1, 1100))
    readings.add(T0 + 5 * MIN, 1300, Marks.END)
    found = energy(readings, start=mark(0, 1000), stops=[mark(5, None)])
    assert (found.wh, found.quality, found.complete) == (300, Quality.A, True)


def test_nothing_known_is_unknown_and_not_a_measured_zero() -> None:
    assert energy(Register()).quality is Quality.U
    assert energy(Register(), start=mark(0, 1000)).quality is Quality.U
    assert energy(Register(), start=mark(0, 1000), stops=[mark(1, 1000)]).quality is Quality.A


def test_a_drop_confirmed_by_the_next_reading_starts_an_epoch() -> None:
    found = energy(
        register((1, 3000), (2, 5200), (3, 10), (4, 400)), start=mark(0, 1000), stops=[mark(5, 600)], rated_w=150_000
    )
    assert found.wh == 4200 + 590
    assert Doubt.REG_RESET in found.doubts
    assert found.gap_wh_max == 2500  # 150 kW for the minute that nobody measured
    assert found.quality is Quality.B


def test_a_drop_inside_the_tolerance_is_jitter() -> None:
    found = energy(register((1, 3000), (2, 2985), (3, 2981)), start=mark(0, 1000))
    assert (found.wh, found.doubts) == (2000, ())


@pytest.mark.parametrize(("low", "wh"), [(2980, 2100), (2979, 2121)])
def test_the_tolerance_is_twenty_watt_hours(low: int, wh: int) -> None:
    found = energy(register((1, 3000), (2, 3000), (3, low), (4, low), (5, 3100)), start=mark(0, 1000))
    assert found.wh == wh


def test_an_unconfirmed_drop_changes_nothing() -> None:
    found = energy(register((1, 3000), (2, 400)), start=mark(0, 1000))
    assert (found.wh, found.doubts, found.steady) == (2000, (), False)


def test_a_boot_confirms_a_drop() -> None:
    found = energy(register((1, 3000), (3, 400)), start=mark(0, 1000), breaks_ms=[T0 + 2 * MIN])
    assert (found.wh, found.doubts) == (2000, (Doubt.REG_RESET,))
    more = energy(register((1, 3000), (3, 400), (4, 500)), start=mark(0, 1000), breaks_ms=[T0 + 2 * MIN])
    assert more.wh == 2100


def test_a_boot_before_the_drop_does_not_confirm_it() -> None:
    found = energy(register((1, 3000), (3, 400)), start=mark(0, 1000), breaks_ms=[T0 + 30_000])
    assert (found.wh, found.doubts) == (2000, ())


@pytest.mark.parametrize("zeros", [[(2, 0)], [(2, 0), (3, 0)]])
def test_zeros_between_two_consistent_values_are_a_dropout(zeros: list[tuple[int, int]]) -> None:
    found = energy(register((1, 3000), *zeros, (4, 3100)), start=mark(0, 1000))
    assert (found.wh, found.doubts) == (2100, ())
    with_boot = energy(register((1, 3000), *zeros, (4, 3100)), start=mark(0, 1000), breaks_ms=[T0 + 90_000])
    assert with_boot.wh == 2100


def test_zeros_before_the_stop_are_a_dropout() -> None:
    found = energy(register((1, 3000), (2, 0)), start=mark(0, 1000), stops=[mark(3, 3100)])
    assert (found.wh, found.quality, found.doubts) == (2100, Quality.A, ())


def test_a_lone_peak_is_a_spike() -> None:
    found = energy(register((1, 3000), (2, 90_000), (3, 3100), (4, 3200)), start=mark(0, 1000))
    assert (found.wh, found.doubts) == (2200, ())


def test_a_sudden_rise_waits_for_its_successor() -> None:
    waiting = energy(register((60, 3000), (61, 90_000)), start=mark(0, 1000), rated_w=7_400)
    assert (waiting.wh, waiting.steady) == (2000, False)
    confirmed = energy(register((60, 3000), (61, 5_000), (62, 5_100)), start=mark(0, 1000), rated_w=7_400)
    assert confirmed.wh == 4100


def test_a_reading_from_before_the_start_belongs_to_somebody_else() -> None:
    found = energy(register((-5, 400), (1, 1100)), start=mark(0, 1000))
    assert (found.wh, found.doubts) == (100, ())


def test_a_reading_after_the_stop_is_not_of_this_session() -> None:
    found = energy(register((1, 1100), (20, 9_000), (21, 9_100)), start=mark(0, 1000), stops=[mark(5, 1200)])
    assert (found.wh, found.quality, found.doubts) == (200, Quality.A, ())


def test_a_stop_below_the_samples_is_billed_as_said_with_a_doubt() -> None:
    found = energy(register((1, 3000)), start=mark(0, 1000), stops=[mark(5, 2900)])
    assert (found.wh, found.doubts) == (1900, (Doubt.STOP_BELOW_SAMPLES,))


# ── register kinds ──────────────────────────────────────────────────────────────────────────────────────────


def test_session_registers_are_lifted_by_the_start() -> None:
    found = energy(
        register((1, 0), (2, 500), (3, 900)),
        start=mark(0, 100_000),
        stops=[mark(4, 1000)],
        kind=RegisterKind.SESSION,
    )
    assert (found.wh, found.quality, found.last_wh) == (1000, Quality.A, 100_900)


def test_a_lifetime_stop_of_a_session_relative_model_is_taken_as_it_is() -> None:
    found = energy(register((1, 500)), start=mark(0, 100_000), stops=[mark(4, 100_800)], kind=RegisterKind.SESSION)
    assert found.wh == 800


def test_intervals_are_summed() -> None:
    found = energy(register((1, 100), (2, 0), (3, 120)), start=mark(0, None), kind=RegisterKind.INTERVAL)
    assert (found.wh, found.quality) == (220, Quality.C)
    both = energy(register((1, 100)), start=mark(0, 1000), stops=[mark(4, 1240)], kind=RegisterKind.INTERVAL)
    assert (both.wh, both.quality) == (240, Quality.A)


# ── stops that are odd ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("said", [None, 0, 400])
def test_a_missing_zero_or_low_meter_stop_leaves_the_highest_proven(said: int | None) -> None:
    found = energy(register((1, 3000), (2, 5200)), start=mark(0, 1000), stops=[mark(5, said)])
    assert (found.wh, found.quality, found.complete) == (4200, Quality.B, False)
    assert found.doubts in ((Doubt.NO_STOP_METER,), (Doubt.NEG_ENERGY,))
    closed = energy(register((1, 3000), (2, 5200)), start=mark(0, 1000), stops=[mark(5, said)], idle=mark(15, 5240))
    assert (closed.wh, closed.quality, closed.complete) == (4240, Quality.B, True)


def test_energy_is_never_negative() -> None:
    found = energy(Register(), start=mark(0, 1000), stops=[mark(5, 400)])
    assert (found.wh, found.quality, found.complete) == (0, Quality.U, False)
    assert found.doubts == (Doubt.NEG_ENERGY,)


def test_a_zero_stop_of_a_session_that_took_nothing_is_a_measurement() -> None:
    found = energy(Register(), start=mark(0, 0), stops=[mark(5, 0)])
    assert (found.wh, found.quality, found.complete) == (0, Quality.A, True)


def test_of_two_stops_the_signed_one_counts() -> None:
    found = energy(register((1, 3000)), start=mark(0, 1000), stops=[mark(5, 4000, signed=True), mark(6, 4200)])
    assert (found.wh, found.doubts) == (3000, (Doubt.DUP_CONFLICT,))


def test_of_two_stops_the_one_monotone_with_the_samples_counts() -> None:
    found = energy(register((1, 3000)), start=mark(0, 1000), stops=[mark(5, 3100), mark(6, 2000)])
    assert (found.wh, found.doubts) == (2100, (Doubt.DUP_CONFLICT,))


def test_of_two_good_stops_the_later_one_counts_and_a_small_difference_is_no_case() -> None:
    found = energy(register((1, 3000)), start=mark(0, 1000), stops=[mark(6, 3140), mark(5, 3100)])
    assert (found.wh, found.doubts) == (2140, ())


def test_the_register_that_restarted_at_zero_is_never_negative_and_never_free() -> None:
    found = energy(
        register((1, 1_001_000), (2, 1_005_000), (4, 100), (5, 3000)),
        start=mark(0, 1_000_000),
        stops=[mark(6, 3050)],
        breaks_ms=[T0 + 3 * MIN],
    )
    assert (found.wh, found.complete) == (5000 + 2950, True)


def test_a_restarted_register_known_only_by_its_stop_is_incomplete() -> None:
    found = energy(register((1, 1_005_000)), start=mark(0, 1_000_000), stops=[mark(6, 3050)], breaks_ms=[T0 + 3 * MIN])
    assert (found.wh, found.complete) == (5000, False)


# ── plausibility and estimates ──────────────────────────────────────────────────────────────────────────────


def test_more_than_the_socket_can_give_is_never_priced_by_itself() -> None:
    # 1.1 x 7.4 kW x 1 h + 200 Wh = 8340 Wh
    fits = energy(Register(), start=mark(0, 1000), stops=[mark(60, 9340)], rated_w=7_400)
    assert (fits.wh, fits.quality, fits.complete) == (8340, Quality.A, True)
    over = energy(Register(), start=mark(0, 1000), stops=[mark(60, 9341)], rated_w=7_400)
    assert (over.quality, over.complete, over.doubts) == (Quality.U, False, (Doubt.IMPLAUSIBLE,))


def test_a_duration_nobody_knows_proves_nothing_against_the_energy() -> None:
    found = energy(Register(), start=mark(0, 1000), stops=[mark(0, 9341)], rated_w=7_400, times_good=False)
    assert (found.wh, found.quality) == (8341, Quality.A)


def test_power_samples_alone_are_an_estimate_of_quality_d() -> None:
    power = register((0, 3000), (30, 3000), (60, 1000))
    found = energy(Register(), start=mark(0, None), power=power)
    assert (found.wh, found.quality, found.complete) == (2500, Quality.D, False)
    assert power_estimate([]) == 0


def test_the_offline_estimate_never_exceeds_the_order() -> None:
    assert offline_estimate(ordered_wh=None, mean_power_w=3000, offline_ms=HOUR) == 3000
    assert offline_estimate(ordered_wh=2000, mean_power_w=3000, offline_ms=HOUR) == 2000
    assert offline_estimate(ordered_wh=None, mean_power_w=3000, offline_ms=HOUR, fill_ms=HOUR // 2) == 1500


# ── between two sessions: worked example 3 ──────────────────────────────────────────────────────────────────

SAMPLE_1810 = 130  # minutes after the start at 16:00
EXAMPLE_3 = register((60, 3000), (SAMPLE_1810, 5200))


def cut(policy: Between = Between.BOUND) -> Cut:
    return Cut(policy, last_life_ms=T0 + (SAMPLE_1810 + 4) * MIN, dead_time_ms=100_000)


def test_worked_example_3_all_of_it_is_attributed() -> None:
    found = energy(EXAMPLE_3, start=mark(0, 1000), rated_w=7_400, idle=mark(900, 5640), cut=cut())
    assert (found.wh, found.quality, found.unmetered_wh, found.complete) == (4640, Quality.B, 0, True)
    assert found.doubts == ()


def test_worked_example_3_beyond_the_bound_the_rest_is_a_case() -> None:
    found = energy(EXAMPLE_3, start=mark(0, 1000), rated_w=7_400, idle=mark(900, 6400), cut=cut())
    assert (found.wh, found.quality, found.unmetered_wh) == (4899, Quality.B, 501)
    assert found.doubts == (Doubt.UNMETERED,)


@pytest.mark.parametrize(
    ("policy", "wh", "left"), [(Between.NONE, 4200, 1200), (Between.BOUND, 4899, 501), (Between.ALL, 5400, 0)]
)
def test_who_pays_between_two_sessions_is_a_policy(policy: Between, wh: int, left: int) -> None:
    found = energy(EXAMPLE_3, start=mark(0, 1000), rated_w=7_400, idle=mark(900, 6400), cut=cut(policy))
    assert (found.wh, found.unmetered_wh) == (wh, left)


def test_without_a_rating_nothing_can_be_bounded() -> None:
    found = energy(EXAMPLE_3, start=mark(0, 1000), idle=mark(900, 5640), cut=cut())
    assert (found.wh, found.unmetered_wh) == (4200, 440)


def test_an_idle_register_below_the_last_sample_is_another_epoch_and_no_help() -> None:
    found = energy(EXAMPLE_3, start=mark(0, 1000), rated_w=7_400, idle=mark(900, 30), cut=cut())
    assert (found.wh, found.complete) == (4200, False)


# ── the clock ───────────────────────────────────────────────────────────────────────────────────────────────


def steady_clock(skew_ms: int, count: int = 9) -> ClockModel:
    clock = ClockModel()
    for index in range(count):
        clock.observe(T0 + index * MIN + skew_ms, T0 + index * MIN)
    return clock


def test_the_skew_is_the_median_of_the_last_nine() -> None:
    clock = ClockModel()
    for skew in [9_000_000, 1, 2, 3, 4, 5, 6, 7, 8, 9]:
        clock.observe(T0 + skew, T0)
    assert clock.skew_ms == 5
    assert len(clock.samples) == 9


def test_a_sane_time_of_a_good_clock_is_left_alone() -> None:
    stamp = steady_clock(40).effective(T0 - HOUR, T0)
    assert (stamp.at_ms, stamp.quality) == (T0 - HOUR, TimeQuality.A)


def test_a_known_skew_is_taken_off() -> None:
    stamp = steady_clock(300_000).effective(T0 + 300_000, T0)
    assert (stamp.at_ms, stamp.quality) == (T0, TimeQuality.B)
    assert steady_clock(300_000).is_alarming


def test_the_skew_in_use_does_not_follow_jitter() -> None:
    clock = steady_clock(300_000)
    for _ in range(9):
        clock.observe(T0 + 301_500, T0)
    assert clock.applied_ms == 300_000


def test_ist_sent_as_utc_is_recognised_and_shown() -> None:
    clock = steady_clock(IST_MS + 800)
    assert clock.is_ist_as_z
    stamp = clock.effective(T0 + IST_MS + 800, T0)
    assert (stamp.at_ms, stamp.ist_as_z) == (T0, True)
    assert not steady_clock(300_000).is_ist_as_z


@pytest.mark.parametrize("device_ms", [None, 86_400_000, T0 + 11 * MIN])
def test_a_nonsense_time_is_put_between_its_neighbours_or_is_that_of_receipt(device_ms: int | None) -> None:
    clock = ClockModel()
    between = clock.effective(device_ms, T0, before_ms=T0 - 60 * MIN, after_ms=T0 - 30 * MIN, position=1, of=2)
    assert (between.at_ms, between.quality) == (T0 - 50 * MIN, TimeQuality.C)
    received = clock.effective(device_ms, T0)
    assert (received.at_ms, received.quality) == (T0, TimeQuality.D)


def test_a_skew_of_a_day_or_more_is_not_used() -> None:
    clock = steady_clock(-T0 + 500_000)  # 1970 after a cut
    assert not clock.is_good
    assert clock.effective(500_000, T0).quality is TimeQuality.D


def test_a_clock_model_reloads_exactly() -> None:
    clock = steady_clock(300_000, 4)
    assert ClockModel.from_row(clock.to_row()) == clock


def test_the_worse_of_two_time_qualities() -> None:
    assert worse(TimeQuality.A, TimeQuality.C) is TimeQuality.C
    assert worse(TimeQuality.D, TimeQuality.B) is TimeQuality.D
