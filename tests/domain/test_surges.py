"""Surge windows and loyalty discounts: what is used inside a window is dearer, and quotes agree with bills."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.app.ocpitariff import read_tariff
from csms.domain.breakdown import Breakdown, Role
from csms.domain.quote import Want, WantKind, quote
from csms.domain.refusal import Refusal
from csms.domain.running_cost import price_text
from csms.domain.stored import from_json, to_json
from csms.domain.tariff import Discount, Rate, Slice, Surge, Tariff, Terms, Usage, bill

D = Decimal
HOUR = 3_600_000
DAY = int(datetime(2026, 11, 20, tzinfo=ZoneInfo("Asia/Kolkata")).timestamp() * 1000)  # a Friday
EVENING = Surge(label="Peak hour", percent=D(20), from_minute=17 * 60, to_minute=21 * 60)


def terms(*surges: Surge, **more: object) -> Terms:
    tariff = Tariff(tariff_id="t", rates=(Rate(per_kwh=D(10)),), surges=surges)
    return Terms(tariff=tariff, **more)  # type: ignore[arg-type]


def used(start_ms: int, end_ms: int, wh: int) -> Usage:
    return Usage(slices=(Slice(start_ms=start_ms, end_ms=end_ms, energy_wh=wh),))


def lines(breakdown: Breakdown) -> list[tuple[str, str]]:
    return [(line.description, str(line.amount)) for line in breakdown.components]


def test_only_what_flows_inside_the_window_is_dearer() -> None:
    made = bill(terms(EVENING), used(DAY + 16 * HOUR, DAY + 18 * HOUR, 10_000))
    assert lines(made) == [
        ("Energy 10 kWh × 10 INR/kWh", "100.00"),
        ("Peak hour (20%, on 5 kWh)", "10.00"),
    ]


def test_a_price_per_kwh_and_a_window_that_holds_throughout() -> None:
    site = Surge(label="Location surcharge", per_kwh=D("1.5"))
    made = bill(terms(site), used(DAY, DAY + HOUR, 4_000))
    assert lines(made)[1] == ("Location surcharge (1.5 INR/kWh)", "6.00")


def test_windows_that_overlap_add_up_and_one_over_midnight_belongs_to_the_day_it_begins_on() -> None:
    friday_night = Surge(label="Night", percent=D(50), from_minute=23 * 60, to_minute=60, weekdays=frozenset({4}))
    made = bill(terms(friday_night, Surge(per_kwh=D(1))), used(DAY + 22 * HOUR, DAY + 26 * HOUR, 8_000))
    assert lines(made)[1:] == [("Surge price (1 INR/kWh)", "8.00"), ("Night (50%, on 4 kWh)", "20.00")]
    thursday = DAY - 24 * HOUR
    made = bill(terms(friday_night), used(thursday + 23 * HOUR, thursday + 24 * HOUR, 8_000))
    assert len(made.components) == 1


def test_dates_bound_a_window_to_the_millisecond() -> None:
    holiday = Surge(percent=D(10), from_ms=DAY + HOUR, until_ms=DAY + 2 * HOUR)
    assert bill(terms(holiday), used(DAY, DAY + 4 * HOUR, 4_000)).amount(Role.SURGE) == D("1.00")
    assert bill(terms(holiday), used(DAY + 2 * HOUR, DAY + 4 * HOUR, 4_000)).amount(Role.SURGE) == D(0)


def test_terms_with_windows_survive_being_stored() -> None:
    kept = terms(EVENING, Surge(per_kwh=D(1), from_ms=1), loyalty=Discount(offer_id="gold", label="Loyalty discount"))
    assert from_json(Terms, to_json(kept)) == kept


def test_an_operators_windows_are_read_and_what_cannot_be_billed_is_refused() -> None:
    data = {
        "currency": "INR",
        "elements": [{"price_components": [{"type": "ENERGY", "price": 10}]}],
        "surge_windows": [
            {"label": "Peak hour", "percent": 20, "start_time": "17:00", "end_time": "21:00"},
            {"per_kwh": 2, "day_of_week": ["SUNDAY"], "valid_from": "2026-11-20T00:00:00+05:30"},
        ],
    }
    first, second = read_tariff("t", data).surges
    assert first == EVENING
    assert (second.weekdays, second.from_ms, second.per_kwh) == (frozenset({6}), DAY, D(2))
    for wrong in ({"percent": 0}, {"percent": 5, "valid_from": "tomorrow"}, {"percent": 5, "hours": "all"}, "peak"):
        with pytest.raises(Refusal):
            read_tariff("t", data | {"surge_windows": [wrong]})


def test_a_display_tells_the_surge_in_force() -> None:
    assert price_text(terms(EVENING).tariff, DAY + 18 * HOUR) == "10 INR/kWh, Peak hour 20%"
    assert price_text(terms(EVENING).tariff, DAY) == "10 INR/kWh"


def test_loyalty_stands_beside_the_chosen_offer_and_never_turns_into_a_payout() -> None:
    offer = Discount(offer_id="o", label="Offer", percent=D(30))
    member = Discount(offer_id="gold", label="Loyalty discount", percent=D(10), threshold_wh=5_000)
    both = terms(discount=offer, loyalty=member)
    assert lines(bill(both, used(DAY, DAY + HOUR, 5_000)))[1:] == [("Offer", "-15.00"), ("Loyalty discount", "-5.00")]
    assert lines(bill(both, used(DAY, DAY + HOUR, 4_000)))[1:] == [("Offer", "-12.00")]  # judged on actual energy
    greedy = terms(discount=Discount(offer_id="o", label="Offer", percent=D(80)), loyalty=Discount(
        offer_id="g", label="Loyalty discount", flat=D(500)))  # fmt: skip
    assert bill(greedy, used(DAY, DAY + HOUR, 5_000)).total == 0


@given(
    start=st.integers(0, 24 * 60 - 1),
    wh=st.integers(100, 60_000),
    amount=st.integers(1_000, 50_000),
    thresholds=st.tuples(st.integers(0, 20_000), st.integers(0, 20_000)),
)
def test_quotes_of_energy_are_bills_and_an_amount_buys_the_most_it_can(
    start: int, wh: int, amount: int, thresholds: tuple[int, int]
) -> None:
    now = DAY + start * 60_000
    both = terms(
        EVENING,
        Surge(label="Late", per_kwh=D(3), from_minute=20 * 60, to_minute=6 * 60),
        discount=Discount(offer_id="o", label="Offer", flat=D(20), threshold_wh=thresholds[0]),
        loyalty=Discount(offer_id="g", label="Loyalty discount", percent=D(10), threshold_wh=thresholds[1]),
    )
    priced = quote(both, Want(kind=WantKind.ENERGY, energy_wh=wh), start_ms=now, max_power_w=7_400)
    end = now - (-wh * HOUR // 7_400)
    assert priced.breakdown.total == bill(both, used(now, end, wh)).total
    bought = quote(both, Want(kind=WantKind.AMOUNT, amount_minor=amount), start_ms=now, max_power_w=7_400)
    assert bought.breakdown.total_minor == amount
    for more in (bought.energy_wh + 1, *thresholds):
        if more > bought.energy_wh:
            longer = now - (-more * HOUR // 7_400)
            assert bill(both, used(now, longer, more)).total_minor > amount
