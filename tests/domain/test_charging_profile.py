"""Charging profiles: read in either version's shape, refused by the rules, made to fit, looked at over time."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.domain.charging_profile import (
    NOMINAL_V,
    OURS,
    Ability,
    Installed,
    Kind,
    Period,
    Profile,
    Purpose,
    Schedule,
    Unit,
    ability,
    anchored,
    changes,
    check,
    in_units,
    limit_of,
    read_profile,
    to_shape,
    watts_at,
)
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339

AT_MS = 1_767_323_045_000
FLAT = Schedule(Unit.AMPERE, (Period(0, Decimal(16)),), start_ms=AT_MS)
DEFAULT = Profile(1, 0, Purpose.TX_DEFAULT, Kind.ABSOLUTE, (FLAT,))
STATION = replace(DEFAULT, purpose=Purpose.STATION_MAX)
TX = replace(DEFAULT, purpose=Purpose.TX, tx_id="t")
ANY = Ability()


def with_periods(*periods: Period, **more: Any) -> Profile:
    return replace(DEFAULT, schedules=(replace(FLAT, periods=periods),), **more)


def test_both_versions_shapes_say_the_same() -> None:
    schedule = {"chargingRateUnit": "W", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 11000.09}]}
    rest = {"stackLevel": 2, "chargingProfileKind": "Recurring", "recurrencyKind": "Daily"}
    old = {"chargingProfileId": 7, "chargingProfilePurpose": "ChargePointMaxProfile", "chargingSchedule": schedule}
    new = {"id": 7, "chargingProfilePurpose": "ChargingStationMaxProfile", "chargingSchedule": [{"id": 1, **schedule}]}
    read = read_profile({**old, **rest, "transactionId": 9})
    assert read == read_profile({**new, **rest, "transactionId": "9"})
    assert read.schedules[0].periods[0].limit == Decimal("11000.0")  # a limit is never rounded up


@pytest.mark.parametrize(
    "broken",
    [
        {"id": None}, {"id": True}, {"id": -1}, {"chargingProfilePurpose": "Any"}, {"chargingProfileKind": "Sometimes"},
        {"chargingSchedule": []}, {"chargingSchedule": None}, {"chargingSchedule": [3]}, {"stackLevel": -1},
        {"stackLevel": 1.5}, {"validFrom": "tomorrow"}, {"validFrom": "99999-01-01T00:00:00Z"},
        {"chargingSchedule": {"chargingRateUnit": "kW", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 1}]}},
        {"chargingSchedule": {"chargingRateUnit": "W", "chargingSchedulePeriod": []}},
        {"chargingSchedule": {"chargingRateUnit": "W", "chargingSchedulePeriod": [{"startPeriod": 0}]}},
        {"chargingSchedule": {"chargingRateUnit": "W", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": -1}]}},
        {"chargingSchedule": {"chargingRateUnit": "W", "chargingSchedulePeriod": [{"startPeriod": "0", "limit": 1}]}},
        {"chargingSchedule": {"chargingRateUnit": "W", "chargingSchedulePeriod": ["x"]}},
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(broken: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refused:
        read_profile({**to_shape(DEFAULT), **broken})
    assert refused.value.why is Why.INVALID_REQUEST
    assert " " in refused.value.detail


def test_an_instant_without_its_offset_is_a_refusal_and_no_crash() -> None:
    with pytest.raises(Refusal):
        read_profile({**to_shape(DEFAULT), "validTo": "2026-01-02T03:04:05"})


periods = st.lists(
    st.tuples(st.integers(1, 10**6), st.integers(0, 10**6), st.none() | st.integers(1, 3)), min_size=1, max_size=6,
    unique_by=lambda one: one[0],
).map(
    lambda drawn: tuple(
        Period(0 if n == 0 else start_s, Decimal(tenths) / 10, phases)
        for n, (start_s, tenths, phases) in enumerate(sorted(drawn))
    )
)  # fmt: skip
schedules = st.builds(
    Schedule, st.sampled_from(Unit), periods, start_ms=st.none() | st.integers(0, 4 * 10**12),
    duration_s=st.none() | st.integers(0, 10**6), min_rate=st.none() | st.just(Decimal("6.5")),
)  # fmt: skip
profiles = st.builds(
    Profile, st.integers(0, 2**31 - 1), st.integers(0, 9), st.sampled_from(Purpose), st.sampled_from(Kind),
    st.lists(schedules, min_size=1, max_size=3).map(tuple), recurrency=st.none() | st.sampled_from(["Daily", "Weekly"]),
    valid_from_ms=st.none() | st.integers(0, 4 * 10**12), valid_to_ms=st.none() | st.integers(0, 4 * 10**12),
    tx_id=st.none() | st.just("t"),
)  # fmt: skip


@given(profiles)
def test_what_travels_inside_the_house_comes_out_as_it_went_in(profile: Profile) -> None:
    assert read_profile(to_shape(profile)) == profile


@pytest.mark.parametrize(
    ("profile", "evse", "rule"),
    [
        (replace(DEFAULT, purpose=Purpose.EXTERNAL), 0, "K01.FR.22"),
        (STATION, 1, "whole charger"),
        (replace(STATION, kind=Kind.RELATIVE), 0, "K01.FR.38"),
        (TX, 0, "K01.FR.16"),
        (replace(TX, tx_id=None), 1, "K01.FR.03"),
        (replace(DEFAULT, tx_id="t"), 1, "only a TxProfile"),
        (with_periods(Period(1, Decimal(1))), 1, "K01.FR.31"),
        (with_periods(Period(0, Decimal(1)), Period(0, Decimal(2))), 1, "K01.FR.35"),
        (replace(DEFAULT, kind=Kind.RELATIVE), 1, "K01.FR.41"),
        (with_periods(Period(0, Decimal(1), 3, 2)), 1, "K01.FR.19"),
        (with_periods(Period(0, Decimal(1), 4)), 1, "numberPhases"),
        (replace(DEFAULT, schedules=(FLAT, FLAT)), 1, "choices"),
        (replace(TX, schedules=(FLAT,) * 4), 1, "K15.FR.08"),
        (replace(DEFAULT, kind=Kind.RECURRING), 1, "recurrencyKind"),
        (replace(DEFAULT, valid_from_ms=AT_MS, valid_to_ms=AT_MS), 1, "validTo"),
    ],
)
def test_what_must_not_be_sent(profile: Profile, evse: int, rule: str) -> None:
    with pytest.raises(Refusal, match=rule):
        check(profile, evse, ANY)


@pytest.mark.parametrize(
    ("profile", "evse"), [(DEFAULT, 0), (DEFAULT, 1), (STATION, 0), (TX, 1), (replace(TX, schedules=(FLAT,) * 3), 2)]
)
def test_what_may_be_sent(profile: Profile, evse: int) -> None:
    check(profile, evse, ANY)


def test_a_charger_is_not_sent_more_than_it_takes() -> None:
    two = with_periods(Period(0, Decimal(1)), Period(60, Decimal(2)))
    one_phase = with_periods(Period(0, Decimal(1), 1, 2))
    full = [Installed(1, 8, Purpose.TX_DEFAULT, 5)]
    for profile, able, held in (
        (two, Ability(most_periods=1), []),
        (replace(DEFAULT, stack_level=3), Ability(highest_stack_level=2), []),
        (one_phase, Ability(switches_phases=False), []),
        (DEFAULT, Ability(most_profiles=1), full),
    ):
        with pytest.raises(Refusal):
            check(profile, 1, able, held)
    check(two, 1, Ability(most_periods=2))
    check(one_phase, 1, Ability(switches_phases=True))
    check(DEFAULT, 1, Ability(most_profiles=2), full)
    check(replace(DEFAULT, profile_id=8), 1, Ability(most_profiles=1), full)  # it replaces


def test_two_of_a_purpose_and_level_do_not_stand_at_one_place_at_one_time() -> None:
    held = Installed(1, 9, Purpose.TX_DEFAULT, 0, valid_from_ms=AT_MS, valid_to_ms=AT_MS + 1000)
    with pytest.raises(Refusal, match="Profile 9"):
        check(DEFAULT, 1, ANY, [held])
    check(replace(DEFAULT, profile_id=9), 1, ANY, [held])  # the same number is replaced
    check(replace(DEFAULT, stack_level=1), 1, ANY, [held])
    check(DEFAULT, 2, ANY, [held])
    check(STATION, 0, ANY, [held])
    check(replace(DEFAULT, valid_from_ms=AT_MS + 1000), 1, ANY, [held])
    check(replace(DEFAULT, valid_to_ms=AT_MS), 1, ANY, [held])


@given(profiles, st.sampled_from(Unit), st.integers(1, 3))
def test_another_unit_is_never_a_higher_limit(profile: Profile, unit: Unit, phases: int) -> None:
    turned = in_units(profile, frozenset({unit}), phases=phases)
    for before, after in zip(profile.schedules, turned.schedules, strict=True):
        assert after.unit is unit
        for one, other in zip(before.periods, after.periods, strict=True):
            of = NOMINAL_V * (one.phases or phases)
            watts = [p.limit * (1 if s.unit is Unit.WATT else of) for s, p in ((before, one), (after, other))]
            assert watts[0] - Decimal("0.1") * of <= watts[1] <= watts[0]
    assert in_units(profile, None) is profile
    assert in_units(profile, frozenset(Unit)) is profile


def test_a_schedule_that_must_begin_somewhere_begins_now() -> None:
    loose = replace(DEFAULT, schedules=(replace(FLAT, start_ms=None),))
    assert anchored(loose, AT_MS + 999).schedules[0].start_ms == AT_MS
    assert anchored(DEFAULT, AT_MS + 5000) == DEFAULT
    relative = replace(loose, kind=Kind.RELATIVE)
    assert anchored(relative, AT_MS) == relative


@pytest.mark.parametrize("purpose", [Purpose.TX, Purpose.TX_DEFAULT, Purpose.STATION_MAX])
@pytest.mark.parametrize("evse", [0, 1, 999])
def test_the_houses_own_limits_never_displace_each_other(purpose: Purpose, evse: int) -> None:
    made = limit_of(purpose, evse, Unit.WATT, Decimal("3333.39"))
    assert OURS <= made.profile_id < 2**31
    assert made.schedules[0].periods[0].limit == Decimal("3333.3")
    others = {
        limit_of(p, e, Unit.WATT, Decimal(1)).profile_id for p in (Purpose.TX, Purpose.TX_DEFAULT, Purpose.STATION_MAX)
        for e in (0, 1, 999) if (p, e) != (purpose, evse)
    }  # fmt: skip
    assert made.profile_id not in others


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({}, Ability()),
        ({"ChargingScheduleAllowedChargingRateUnit": "Current"}, Ability(units=frozenset({Unit.AMPERE}))),
        ({"ChargingScheduleAllowedChargingRateUnit": "Current, Power"}, Ability(units=frozenset(Unit))),
        ({"ChargingScheduleAllowedChargingRateUnit": "?"}, Ability()),
        ({"SmartChargingCtrlr.RateUnit": "A,W"}, Ability(units=frozenset(Unit))),
        ({"ChargingScheduleMaxPeriods": "6", "ChargeProfileMaxStackLevel": "x"}, Ability(most_periods=6)),
        ({"SmartChargingCtrlr.ProfileStackLevel": "3"}, Ability(highest_stack_level=3)),
        ({"SmartChargingCtrlr.ACPhaseSwitchingSupported": "false"}, Ability(switches_phases=False)),
    ],
)
def test_what_a_charger_says_it_takes(said: dict[str, str | None], wanted: Ability) -> None:
    assert ability(said) == wanted


def test_the_limit_at_an_instant() -> None:
    steps = (Period(0, Decimal(10)), Period(3600, Decimal(6)))
    schedule = Schedule(Unit.AMPERE, steps, start_ms=AT_MS, duration_s=7200)
    absolute = replace(DEFAULT, schedules=(schedule,), valid_to_ms=AT_MS + 7_000_000)
    assert watts_at(absolute, AT_MS - 1) is None
    assert watts_at(absolute, AT_MS) == 10 * NOMINAL_V * 3
    assert watts_at(absolute, AT_MS + 3_600_000, phases=1) == 6 * NOMINAL_V
    assert watts_at(absolute, AT_MS + 7_000_000) is None  # not valid any more
    assert watts_at(replace(absolute, valid_to_ms=None), AT_MS + 7_200_000) is None  # run down
    daily = replace(absolute, kind=Kind.RECURRING, recurrency="Daily", valid_to_ms=None)
    assert watts_at(daily, AT_MS + 5 * 86_400_000 + 3_600_000) == 6 * NOMINAL_V * 3
    relative = replace(absolute, kind=Kind.RELATIVE, schedules=(replace(schedule, start_ms=None),))
    assert watts_at(relative, AT_MS) == 6 * NOMINAL_V * 3  # what holds throughout is certain


@given(profiles.filter(lambda p: p.kind is not Kind.RELATIVE), st.integers(10**12, 3 * 10**12), st.integers(1, 10**8))
def test_between_its_changes_a_limit_stays_as_it_is(profile: Profile, from_ms: int, length_ms: int) -> None:
    until_ms = from_ms + length_ms
    marks = [from_ms, *changes(profile, from_ms, until_ms), until_ms]
    for begin, end in pairwise(marks):
        # To the second: that is what offsets are given in.
        instants = {begin, (begin + end) // 2, max(begin, end - 1)}
        assert len({watts_at(profile, at_ms) for at_ms in instants}) == 1, rfc3339(begin)
