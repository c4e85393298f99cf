"""Bills: the formula of BECKN 4.5 and civil time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.domain.breakdown import Breakdown, Component, ComponentKind, Role
from csms.domain.refusal import Refusal, Why
from csms.domain.stored import Unreadable, from_json, to_json
from csms.domain.tariff import (
    CancellationPolicy,
    Discount,
    FeeKind,
    FinderFee,
    Pattern,
    Rate,
    Slice,
    Tariff,
    Terms,
    Usage,
    bill,
    cancellation_bill,
    rate_at,
)
from csms.domain.units import to_ms

D = Decimal
FLAT_18 = Rate(per_kwh=D(18))
CANONICAL = Terms(
    tariff=Tariff(
        tariff_id="t",
        rates=(FLAT_18,),
        service_fee=D(10),
        tax_percent=D(18),
        surge_percent=D(20),
        buffer_percent=D(10),
    ),
    discount=Discount(offer_id="o", label="Offer: 20 INR off from 5 kWh", flat=D(20), threshold_wh=5000),
    finder_fee=FinderFee(kind=FeeKind.PERCENTAGE, value=D("2.5")),
)
PLAIN = Terms(tariff=Tariff(tariff_id="p", rates=(FLAT_18,)))


def ist(day: int, hour: int, minute: int = 0) -> int:
    """A local time of January 2026 in India; the 5th is a Monday."""
    return to_ms(datetime(2026, 1, day, hour, minute, tzinfo=ZoneInfo("Asia/Kolkata")))


def used(energy_wh: int, start_ms: int | None = None, minutes: int = 24, idle: int = 0) -> Usage:
    start = ist(5, 12) if start_ms is None else start_ms
    end = start + minutes * 60_000
    return Usage(slices=(Slice(start_ms=start, end_ms=end, energy_wh=energy_wh),), idle_minutes=idle)


def amounts(breakdown: Breakdown) -> list[str]:
    return [str(line.amount) for line in breakdown.components]


def with_tariff(terms: Terms, **changes: object) -> Terms:
    return replace(terms, tariff=replace(terms.tariff, **changes))


def test_the_canonical_final_bill() -> None:
    final = bill(CANONICAL, used(6400))
    assert amounts(final) == ["115.20", "23.04", "-20.00", "10.00", "23.08", "2.88"]
    assert [line.kind for line in final.components] == [
        ComponentKind.UNIT,
        ComponentKind.SURCHARGE,
        ComponentKind.DISCOUNT,
        ComponentKind.FEE,
        ComponentKind.TAX,
        ComponentKind.FEE,
    ]
    assert final.total == D("154.20")
    assert final.total_minor == 15420
    assert final.total_before_tax == D("131.12")
    assert final.components[0].description == "Energy 6.4 kWh × 18 INR/kWh"
    assert 27234 - final.total_minor == 11814


def test_a_discount_threshold_is_judged_on_delivered_energy() -> None:
    assert not bill(CANONICAL, used(4999)).has(Role.DISCOUNT)
    assert bill(CANONICAL, used(5000)).amount(Role.DISCOUNT) == D("-20.00")


def test_a_percentage_discount_stops_at_its_cap() -> None:
    capped = Discount(offer_id="o", label="x", percent=D(15), cap=D(15))
    assert bill(replace(PLAIN, discount=capped), used(10_000)).amount(Role.DISCOUNT) == D("-15.00")
    assert bill(replace(PLAIN, discount=capped), used(2_000)).amount(Role.DISCOUNT) == D("-5.40")


def test_a_discount_never_pays_out() -> None:
    generous = replace(PLAIN, discount=Discount(offer_id="o", label="x", flat=D(100)))
    assert bill(generous, used(1000)).total == D("0.00")


def test_the_published_example_sums_to_its_own_value() -> None:
    """The published figures do not compute from their percentages; their sum does (BECKN 4.5)."""
    lines = [
        (ComponentKind.UNIT, Role.ENERGY, "112.50"),
        (ComponentKind.SURCHARGE, Role.SURGE, "20.00"),
        (ComponentKind.DISCOUNT, Role.DISCOUNT, "-15.00"),
        (ComponentKind.FEE, Role.SERVICE, "10.00"),
        (ComponentKind.FEE, Role.BUFFER, "13.64"),
        (ComponentKind.FEE, Role.FINDER, "2.81"),
    ]
    shown = Breakdown(
        currency="INR",
        components=tuple(
            Component(kind=kind, role=role, amount=D(amount), description="") for kind, role, amount in lines
        ),
    )
    assert shown.total == D("143.95")
    assert shown.without(Role.BUFFER).total == D("130.31")


def test_a_line_with_three_places_is_a_bug() -> None:
    with pytest.raises(ValueError, match="two places"):
        Component(kind=ComponentKind.FEE, role=Role.SERVICE, amount=D("1.005"), description="")


@pytest.mark.parametrize(("idle", "fee"), [(0, "0.00"), (10, "0.00"), (11, "2.00"), (25, "30.00")])
def test_idling_costs_after_the_grace(idle: int, fee: str) -> None:
    terms = with_tariff(PLAIN, idle_per_minute=D(2), idle_grace_minutes=10)
    assert bill(terms, used(1000, idle=idle)).amount(Role.IDLE) == D(fee)


@pytest.mark.parametrize("energy_wh", [0, 9])
def test_nothing_delivered_costs_nothing(energy_wh: int) -> None:
    terms = with_tariff(CANONICAL, min_price=D(50), rates=(Rate(per_kwh=D(18), per_minute=D(1)),))
    nothing = bill(terms, used(energy_wh, idle=99))
    assert [(line.kind, str(line.amount)) for line in nothing.components] == [(ComponentKind.UNIT, "0.00")]
    assert bill(terms, Usage()) == nothing
    assert bill(terms, used(10)).has(Role.SERVICE)


def test_tax_inclusive_prices_have_no_tax_line_but_know_the_tax() -> None:
    terms = with_tariff(PLAIN, tax_percent=D(18), tax_inclusive=True, service_fee=D(10))
    bought = bill(terms, used(6000))
    assert amounts(bought) == ["108.00", "10.00"]
    assert bought.total == D("118.00")
    assert (bought.tax, bought.total_before_tax) == (D("18.00"), D("100.00"))


def test_a_location_surcharge_is_per_kwh_and_labelled() -> None:
    line = bill(with_tariff(PLAIN, surcharge_per_kwh=D(2)), used(2500)).components[1]
    assert (line.role, line.amount) == (Role.LOCATION_SURCHARGE, D("5.00"))
    assert line.description == "Location surcharge (2 INR/kWh)"


def test_minimum_and_maximum_bound_charging_but_not_idling() -> None:
    terms = with_tariff(PLAIN, min_price=D(50), max_price=D(100), idle_per_minute=D(1))
    assert amounts(bill(terms, used(1000))) == ["18.00", "32.00"]
    assert amounts(bill(terms, used(10_000, idle=5))) == ["180.00", "-80.00", "5.00"]
    assert amounts(bill(terms, used(4000))) == ["72.00"]


def test_a_finder_fee_by_amount() -> None:
    terms = replace(PLAIN, finder_fee=FinderFee(kind=FeeKind.AMOUNT, value=D(3)))
    assert bill(terms, used(1000)).amount(Role.FINDER) == D("3.00")


# ---------------------------------------------------------------- civil time

EVENING = (
    Rate(from_minute=18 * 60, to_minute=22 * 60, per_kwh=D(24)),
    Rate(from_minute=22 * 60, to_minute=6 * 60, per_kwh=D(12)),
    Rate(from_minute=6 * 60, to_minute=18 * 60, per_kwh=D(18)),
)


def test_time_of_day_cuts_a_slice_at_six_in_the_evening() -> None:
    bought = bill(with_tariff(PLAIN, rates=EVENING), used(4000, ist(5, 17, 30), minutes=60))
    assert amounts(bought) == ["36.00", "48.00"]
    assert bought.components[1].description == "Energy 2 kWh × 24 INR/kWh"


def test_energy_cut_at_a_boundary_adds_up_to_the_wh() -> None:
    bought = bill(with_tariff(PLAIN, rates=EVENING), used(1001, ist(5, 17, 20), minutes=60))
    assert [line.description.split()[1] for line in bought.components] == ["0.667", "0.334"]


def test_a_night_window_runs_over_midnight() -> None:
    bought = bill(with_tariff(PLAIN, rates=EVENING), used(9000, ist(5, 21), minutes=9 * 60 + 60))
    # 21-22 evening 0.9, 22-06 night 7.2, 06-07 day 0.9
    assert [line.description.split()[1] for line in bought.components] == ["0.9", "7.2", "0.9"]


def test_a_night_belongs_to_the_day_it_begins_on() -> None:
    tariff = Tariff(
        tariff_id="w",
        rates=(
            Rate(from_minute=22 * 60, to_minute=6 * 60, weekdays=frozenset({4}), per_kwh=D(9)),
            Rate(per_kwh=D(18)),
        ),
    )
    assert rate_at(tariff, ist(9, 23)).per_kwh == D(9)  # Friday night
    assert rate_at(tariff, ist(10, 5, 59)).per_kwh == D(9)  # Saturday morning
    assert rate_at(tariff, ist(9, 5, 59)).per_kwh == D(18)  # Friday morning
    assert rate_at(tariff, ist(10, 6)).per_kwh == D(18)


def test_a_weekday_ends_at_local_midnight() -> None:
    tariff = with_tariff(
        PLAIN,
        rates=(Rate(weekdays=frozenset({0}), per_kwh=D(10)), Rate(weekdays=frozenset({1}), per_kwh=D(20))),
    )
    assert amounts(bill(tariff, used(2000, ist(5, 23), minutes=120))) == ["10.00", "20.00"]


def test_a_moment_without_a_rate_is_refused_not_free() -> None:
    terms = with_tariff(PLAIN, rates=(Rate(from_minute=360, to_minute=1320, per_kwh=D(18)),))
    for usage in (used(1000, ist(5, 21, 59), minutes=10), used(1000, ist(5, 23), minutes=0)):
        with pytest.raises(Refusal) as refused:
            bill(terms, usage)
        assert refused.value.why is Why.NO_TARIFF
    assert bill(terms, used(1000, ist(5, 21), minutes=60)).total == D("18.00")


def test_minutes_are_priced_whole_and_not_lost_between_slices() -> None:
    terms = with_tariff(PLAIN, rates=(Rate(per_minute=D(2)),))
    start = ist(5, 12)
    halves = tuple(Slice(start_ms=start + i * 90_000, end_ms=start + (i + 1) * 90_000, energy_wh=50) for i in range(2))
    bought = bill(terms, Usage(slices=halves))
    assert (amounts(bought), bought.components[0].role) == (["6.00"], Role.TIME)
    assert bought.components[0].description == "Time 3 min × 2 INR/min"
    assert amounts(bill(terms, used(50, minutes=0))) == ["0.00"]


def test_energy_and_time_may_both_cost() -> None:
    terms = with_tariff(PLAIN, rates=(Rate(per_kwh=D(10), per_minute=D(1)),))
    assert amounts(bill(terms, used(2000, minutes=30))) == ["20.00", "30.00"]


def test_the_hour_that_happens_twice_is_priced_once_each_time() -> None:
    """Clocks in Berlin went back at 01:00 UTC on 2025-10-26: local 02:00-03:00 came twice."""
    rates = (
        Rate(from_minute=120, to_minute=180, per_kwh=D(10)),
        Rate(from_minute=180, to_minute=120, per_kwh=D(20)),
    )
    terms = with_tariff(PLAIN, rates=rates, zone="Europe/Berlin")
    start = to_ms(datetime(2025, 10, 25, 23, 30, tzinfo=ZoneInfo("UTC")))
    # 01:30-02:00 dear, 02:00-03:00 twice cheap, 03:00-03:30 dear
    assert sorted(amounts(bill(terms, used(3000, start, minutes=180)))) == ["20.00", "20.00"]


def test_a_window_across_the_hour_that_is_skipped_is_shorter() -> None:
    """Clocks in Berlin went forward at 01:00 UTC on 2026-03-29: local 00:30-03:30 lasted two hours."""
    rates = (
        Rate(from_minute=30, to_minute=210, per_kwh=D(10)),
        Rate(from_minute=210, to_minute=30, per_kwh=D(20)),
    )
    terms = with_tariff(PLAIN, rates=rates, zone="Europe/Berlin")
    start = to_ms(datetime(2026, 3, 28, 23, 30, tzinfo=ZoneInfo("UTC")))
    assert amounts(bill(terms, used(3000, start, minutes=180))) == ["20.00", "20.00"]


@given(
    energy_wh=st.integers(10, 60_000),
    start=st.integers(ist(5, 0), ist(12, 0)),
    minutes=st.integers(1, 2000),
    parts=st.integers(1, 5),
)
def test_cutting_usage_into_slices_keeps_its_energy(energy_wh: int, start: int, minutes: int, parts: int) -> None:
    bought = bill(with_tariff(PLAIN, rates=EVENING), used(energy_wh, start, minutes))
    said = sum(D(line.description.split()[1]) for line in bought.components)
    assert said == D(energy_wh) / 1000
    assert bought.total == sum(line.amount for line in bought.components)


# ---------------------------------------------------------------- refusals to build nonsense, JSON, cancelling


def test_nonsense_is_not_built() -> None:
    for build in (
        lambda: Rate(from_minute=600, to_minute=600),
        lambda: Rate(weekdays=frozenset({7})),
        lambda: Rate(per_kwh=D(-1)),
        lambda: Tariff(tariff_id="t", rates=(), zone="Asia/Nowhere"),
        lambda: Tariff(tariff_id="t", rates=(), min_price=D(2), max_price=D(1)),
        lambda: Discount(offer_id="o", label="x", percent=D(101)),
        lambda: Slice(start_ms=1, end_ms=0, energy_wh=0),
        lambda: Usage(slices=(Slice(start_ms=0, end_ms=9, energy_wh=1), Slice(start_ms=8, end_ms=9, energy_wh=1))),
    ):
        with pytest.raises(ValueError):
            build()


def test_terms_and_breakdown_survive_json() -> None:
    terms = replace(
        with_tariff(CANONICAL, rates=EVENING, max_price=D("99.50")),
        pattern=Pattern.CPO_ABSORBS,
        cancellation=CancellationPolicy(free_minutes=15, percent=D(30)),
    )
    stored = to_json(terms)
    assert stored["tariff"]["max_price"] == "99.50"
    assert from_json(Terms, stored) == terms
    final = bill(CANONICAL, used(6400))
    assert from_json(Breakdown, to_json(final)) == final


def test_stored_prices_are_read_strictly() -> None:
    stored = to_json(PLAIN)
    for damage in (
        {**stored, "pattern": "FREE_FOR_ALL"},
        {**stored, "surprise": 1},
        {**stored, "absorb_cap_minor": True},
        {**stored, "tariff": {**stored["tariff"], "service_fee": 10.5}},
        {**stored, "tariff": {**stored["tariff"], "service_fee": "NaN"}},
        {key: value for key, value in stored.items() if key != "tariff"},
    ):
        with pytest.raises(Unreadable):
            from_json(Terms, damage)
    assert from_json(Terms, {"tariff": stored["tariff"]}) == PLAIN


def test_a_cancellation_fee_has_its_tax_and_never_exceeds_what_was_paid() -> None:
    flat = replace(with_tariff(PLAIN, tax_percent=D(18)), cancellation=CancellationPolicy(flat=D(50)))
    fee = cancellation_bill(flat, D(500), D(500))
    assert [(c.role, str(c.amount)) for c in fee.components] == [
        (Role.CANCELLATION, "50.00"),
        (Role.TAX, "9.00"),
    ]
    assert cancellation_bill(flat, D(500), D(20)).total == D("20.00")
    assert cancellation_bill(flat, D(500), D(0)).components == ()
    share = replace(with_tariff(PLAIN, tax_percent=D(18)), cancellation=CancellationPolicy(percent=D(30)))
    assert cancellation_bill(share, D("154.20"), D("154.20")).total == D("46.26")
