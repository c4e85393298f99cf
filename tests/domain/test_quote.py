"""Quotes: the provision, and an amount solved to the paisa."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csms.domain.breakdown import Role
from csms.domain.quote import Quote, Want, WantKind, hold_minor, quote
from csms.domain.refusal import Refusal, Why
from csms.domain.stored import from_json, to_json
from csms.domain.tariff import (
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
)

D = Decimal
NOON = 1_767_594_600_000  # 2026-01-05 12:00 in India, a Monday
CANONICAL = Terms(
    tariff=Tariff(
        tariff_id="t",
        rates=(Rate(per_kwh=D(18)),),
        service_fee=D(10),
        tax_percent=D(18),
        surge_percent=D(20),
        buffer_percent=D(10),
    ),
    discount=Discount(offer_id="o", label="20 off", flat=D(20), threshold_wh=5000),
    finder_fee=FinderFee(kind=FeeKind.PERCENTAGE, value=D("2.5")),
    pattern=Pattern.BUFFER_IN_QUOTE,
)
FEE_10 = Terms(tariff=Tariff(tariff_id="f", rates=(Rate(per_kwh=D(18)),), service_fee=D(10)))


def energy(wh: int) -> Want:
    return Want(kind=WantKind.ENERGY, energy_wh=wh)


def amount(minor: int) -> Want:
    return Want(kind=WantKind.AMOUNT, amount_minor=minor)


def ask(terms: Terms, want: Want, power_w: int = 60_000, start_ms: int = NOON) -> Quote:
    return quote(terms, want, start_ms=start_ms, max_power_w=power_w)


def test_the_canonical_quote() -> None:
    offered = ask(CANONICAL, energy(10_000))
    assert [str(c.amount) for c in offered.breakdown.components] == [
        "180.00",
        "36.00",
        "-20.00",
        "10.00",
        "37.08",
        "4.50",
        "24.76",
    ]
    assert offered.breakdown.total == D("272.34")
    assert (offered.energy_wh, offered.minutes, offered.hold_minor) == (10_000, 10, 27234)


@pytest.mark.parametrize(
    ("pattern", "quoted", "held"),
    [
        (Pattern.BUFFER_IN_QUOTE, 27234, 27234),
        (Pattern.HOLD, 24758, 27234),
        (Pattern.TOP_UP, 24758, 24758),
        (Pattern.CPO_ABSORBS, 24758, 24758),
    ],
)
def test_where_the_provision_stands(pattern: Pattern, quoted: int, held: int) -> None:
    terms = replace(CANONICAL, pattern=pattern)
    offered = ask(terms, energy(10_000))
    assert (offered.breakdown.total_minor, offered.hold_minor) == (quoted, held)
    assert hold_minor(terms, offered.breakdown) == held
    assert offered.breakdown.has(Role.BUFFER) == (pattern is Pattern.BUFFER_IN_QUOTE)


def test_a_provision_has_a_least_amount() -> None:
    terms = replace(FEE_10, pattern=Pattern.HOLD, tariff=replace(FEE_10.tariff, buffer_min=D(50)))
    assert ask(terms, energy(5000)).hold_minor == 15000


def test_a_hundred_rupees_at_eighteen_with_a_fee_of_ten_buy_five_kwh() -> None:
    offered = ask(FEE_10, amount(10_000))
    assert offered.energy_wh == 5000
    assert [str(c.amount) for c in offered.breakdown.components] == ["90.00", "10.00"]
    assert (offered.breakdown.total, offered.hold_minor) == (D("100.00"), 10_000)


@pytest.mark.parametrize("pattern", list(Pattern))
def test_an_amount_gets_no_provision_under_any_pattern(pattern: Pattern) -> None:
    terms = replace(CANONICAL, pattern=pattern)
    offered = ask(terms, amount(50_000))
    assert (offered.breakdown.total_minor, offered.hold_minor) == (50_000, 50_000)
    assert hold_minor(terms, offered.breakdown, want=amount(50_000)) == 50_000
    assert not offered.breakdown.has(Role.BUFFER)


def test_an_amount_follows_the_closed_form_of_the_percentages() -> None:
    """kWh = (A - fixed (1+t)) / (p ((1+s-d)(1+t) + f)), BECKN 4.5; here fixed = 10 - 20."""
    by_hand = (D(500) - (10 - 20) * D("1.18")) / (18 * (D("1.2") * D("1.18") + D("0.025")))
    assert abs(D(ask(CANONICAL, amount(50_000)).energy_wh) / 1000 - by_hand) < D("0.001")


@settings(max_examples=60, deadline=None)
@given(
    minor=st.integers(2500, 300_000),
    price=st.decimals("3", "60", places=2),
    tax=st.sampled_from(["0", "5", "18"]),
    surge=st.sampled_from(["0", "12.5", "20"]),
    share=st.sampled_from(["0", "15"]),
    flat=st.sampled_from(["0", "20"]),
    threshold=st.sampled_from([0, 5000]),
)
def test_an_amount_is_met_to_the_paisa_and_not_one_wh_more_fits(
    minor: int, price: Decimal, tax: str, surge: str, share: str, flat: str, threshold: int
) -> None:
    terms = Terms(
        tariff=Tariff(
            tariff_id="h",
            rates=(Rate(per_kwh=price),),
            service_fee=D(10),
            tax_percent=D(tax),
            surge_percent=D(surge),
        ),
        discount=Discount(offer_id="o", label="x", percent=D(share), flat=D(flat), threshold_wh=threshold),
    )
    offered = ask(terms, amount(minor))
    assert offered.breakdown.total_minor == minor
    assert D(0) <= offered.breakdown.amount(Role.ROUNDING) <= D("0.20") or (
        threshold and offered.energy_wh == threshold - 1
    )

    def price_of(wh: int) -> int:
        piece = Slice(start_ms=NOON, end_ms=NOON + 3_600_000, energy_wh=wh)
        return bill(terms, Usage(slices=(piece,))).total_minor

    assert price_of(offered.energy_wh) <= minor < price_of(offered.energy_wh + 1)


def test_an_amount_that_reaches_a_discount_is_worth_more() -> None:
    terms = replace(FEE_10, discount=Discount(offer_id="o", label="x", flat=D(20), threshold_wh=5000))
    assert ask(terms, amount(8_000)).energy_wh == 5000  # 90 + 10 - 20
    short = ask(terms, amount(7_999))
    assert short.energy_wh == 3888  # 69.984 + 10; the discount is out of reach
    assert short.breakdown.total_minor == 7_999


def test_an_amount_across_six_in_the_evening() -> None:
    rates = (
        Rate(from_minute=1080, to_minute=360, per_kwh=D(24)),
        Rate(from_minute=360, to_minute=1080, per_kwh=D(18)),
    )
    terms = replace(FEE_10, tariff=replace(FEE_10.tariff, rates=rates))
    half_past_five = NOON + 5 * 3_600_000 + 1_800_000
    # 10 fee, 3.5 kWh x 18 = 63 until six at 7 kW, then 1 kWh x 24
    offered = ask(terms, amount(9_700), power_w=7000, start_ms=half_past_five)
    assert offered.energy_wh == 4500
    assert offered.breakdown.total_minor == 9_700


def test_a_free_tariff_does_not_eat_an_amount() -> None:
    free = Terms(tariff=Tariff(tariff_id="free", rates=(Rate(),)))
    offered = ask(free, amount(10_000), power_w=3300)
    assert (offered.breakdown.total_minor, offered.energy_wh) == (0, 24 * 3300)


@pytest.mark.parametrize("minor", [0, 1000, 1017])
def test_an_amount_that_buys_nothing_is_refused(minor: int) -> None:
    with pytest.raises(Refusal) as refused:
        ask(FEE_10, amount(minor))
    assert refused.value.why is Why.QUANTITY
    assert ask(FEE_10, amount(1018)).energy_wh == 10


def test_a_time_is_quoted_at_full_power() -> None:
    offered = ask(FEE_10, Want(kind=WantKind.TIME, minutes=30), power_w=7400)
    assert (offered.energy_wh, offered.minutes) == (3700, 30)
    assert offered.breakdown.total == D("76.60")


def test_time_priced_by_the_minute() -> None:
    terms = Terms(tariff=Tariff(tariff_id="m", rates=(Rate(per_minute=D(3)),)))
    assert ask(terms, Want(kind=WantKind.TIME, minutes=30)).breakdown.total == D("90.00")


def test_an_open_wish_is_quoted_by_the_default_energy() -> None:
    offered = quote(FEE_10, Want(kind=WantKind.OPEN), start_ms=NOON, max_power_w=3300, default_energy_wh=2000)
    assert (offered.energy_wh, offered.minutes) == (2000, 37)
    assert offered.breakdown.total == D("46.00")


@pytest.mark.parametrize("want", [energy(0), energy(9), energy(-5), Want(kind=WantKind.TIME, minutes=0)])
def test_less_than_a_hundredth_kwh_is_refused(want: Want) -> None:
    with pytest.raises(Refusal) as refused:
        ask(FEE_10, want)
    assert refused.value.why is Why.QUANTITY


@pytest.mark.parametrize("want", [energy(5000), amount(10_000)])
def test_hours_without_a_price_are_refused(want: Want) -> None:
    rates = (Rate(from_minute=0, to_minute=600, per_kwh=D(18)),)
    with pytest.raises(Refusal) as refused:
        ask(replace(FEE_10, tariff=replace(FEE_10.tariff, rates=rates)), want)
    assert refused.value.why is Why.NO_TARIFF


def test_an_amount_is_cut_where_the_tariff_ends_and_not_padded() -> None:
    rates = (Rate(from_minute=360, to_minute=780, per_kwh=D(18)),)  # until 13:00
    terms = replace(FEE_10, tariff=replace(FEE_10.tariff, rates=rates))
    offered = ask(terms, amount(100_000), power_w=7000)
    assert offered.energy_wh == 7000
    assert offered.hold_minor == offered.breakdown.total_minor == 13_600


def test_a_wish_names_exactly_its_own_member() -> None:
    for wrong in (
        {"kind": WantKind.ENERGY},
        {"kind": WantKind.OPEN, "minutes": 3},
        {"kind": WantKind.AMOUNT, "amount_minor": 1, "energy_wh": 1},
    ):
        with pytest.raises(ValueError):
            Want(**wrong)


def test_want_survives_json() -> None:
    assert from_json(Want, to_json(amount(500))) == amount(500)
