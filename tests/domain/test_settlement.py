"""Settlement: the worked examples and every row of the table in SESSIONS 5.9."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from csms.domain.breakdown import Breakdown, Component, ComponentKind, Role
from csms.domain.ledger import (
    EntryKind,
    LedgerEntry,
    money_collected,
    money_collected_by_bap,
    money_held,
    order_placed,
    outstanding,
    remitted,
    summary,
    top_up_paid,
)
from csms.domain.quote import Want, WantKind, quote
from csms.domain.settlement import (
    Charge,
    Delivery,
    delivery,
    give_back_overpaid,
    margin_minor,
    settle,
    settle_cancellation,
)
from csms.domain.tariff import Pattern, Rate, Slice, Tariff, Terms, Usage, bill, cancellation_bill
from csms.domain.units import from_minor

K = EntryKind
D = Decimal
Ledger = tuple[LedgerEntry, ...]
AT_18 = Terms(tariff=Tariff(tariff_id="t18", rates=(Rate(per_kwh=D(18)),)))
ENERGY = Want(kind=WantKind.ENERGY, energy_wh=27_778)
Q = 27_778  # 500 INR at 18 INR/kWh
MINUTE = 60_000


def usage(wh: int, end_ms: int = 3_600_000) -> Usage:
    return Usage(slices=(Slice(start_ms=0, end_ms=end_ms, energy_wh=wh),))


def of(minor: int, finder_minor: int = 0) -> Breakdown:
    line = Component(kind=ComponentKind.UNIT, role=Role.ENERGY, amount=from_minor(minor - finder_minor), description="")
    fee = Component(kind=ComponentKind.FEE, role=Role.FINDER, amount=from_minor(finder_minor), description="")
    return Breakdown(currency="INR", components=(line, fee))


def charge(revision: int, breakdown: Breakdown, wh: int) -> Charge:
    return Charge(order_id="o", revision=revision, breakdown=breakdown, delivered_wh=wh, at_ms=revision)


def opened(*, held: int = 0, prepaid: int = 0, by_bap: int = 0, ordered: int = 50_000, wh: int = Q) -> Ledger:
    ledger: Ledger = order_placed("o", amount_minor=ordered, energy_wh=wh, at_ms=0)
    if held:
        ledger += money_held(ledger, "o", amount_minor=held, ref="h", at_ms=0)
    if prepaid:
        ledger += money_collected(ledger, "o", amount_minor=prepaid, ref="p", at_ms=0)
    if by_bap:
        ledger += money_collected_by_bap(ledger, "o", amount_minor=by_bap, ref="b", at_ms=0)
    return ledger


def said(entries: Ledger) -> dict[str, int]:
    """Amounts by kind. METERED and DIFFERENCE are looked at where the order account is the subject."""
    return {str(e.kind): e.amount_minor for e in entries if e.amount_minor and e.kind not in (K.METERED, K.DIFFERENCE)}


def is_closed(ledger: Ledger) -> bool:
    return (
        sum(e.amount_minor for e in ledger) == 0 and sum(e.wh for e in ledger) == 0 and outstanding(ledger).is_settled
    )


# ---------------------------------------------------------------- worked examples


def test_example_1_a_hold_of_550_for_500_delivers_520() -> None:
    ledger = opened(held=55_000)
    over_wh = 28_889  # 520 INR at 18 INR/kWh
    made = bill(AT_18, usage(over_wh))
    assert made.total_minor == 52_000
    posted = settle(ledger, charge(1, made, over_wh), terms=replace(AT_18, pattern=Pattern.HOLD), want=ENERGY)
    assert said(posted) == {"PRICED": -52_000, "CAPTURE": -52_000, "COLLECTED": 52_000, "RELEASE": -3_000}
    assert {e.kind: (e.amount_minor, e.wh) for e in posted if e.wh} == {
        K.METERED: (-52_000, -28_889),
        K.DIFFERENCE: (2_000, 1_111),
    }
    assert is_closed((*ledger, *posted))
    story = summary((*ledger, *posted))
    assert (story.ordered_minor, story.delivered_minor, story.released_minor) == (50_000, 52_000, 3_000)
    assert (story.ordered_wh, story.delivered_wh, story.over_wh) == (Q, over_wh, 1_111)


def power_cut() -> tuple[Breakdown, int]:
    proven = usage(6200)
    margin = margin_minor(AT_18, proven, rated_w=3300, sample_interval_ms=MINUTE, at_ms=3_600_000)
    return bill(AT_18, proven), margin


def test_example_2_a_power_cut_is_answered_early_and_finished_later() -> None:
    provisional, margin = power_cut()
    assert (provisional.total_minor, margin) == (11_160, 297)
    ledger = opened(prepaid=50_000)
    assert 50_000 - provisional.total_minor == 38_840  # the refund the driver is shown at once
    early = settle(ledger, charge(1, provisional, 6200), terms=AT_18, want=ENERGY, margin=margin)
    assert said(early) == {"PRICED": -11_160, "REFUND": -38_543}
    ledger += early
    now = outstanding(ledger)
    assert (now.unspent_minor, now.is_settled) == (297, False)

    final = bill(AT_18, usage(6340))
    assert final.total_minor == 11_412
    late = settle(ledger, charge(2, final, 6340), terms=AT_18, want=ENERGY)
    assert said(late) == {"PRICED": -252, "REFUND": -45}
    assert [(e.wh) for e in late if e.kind is K.METERED] == [-140]
    ledger += late
    assert is_closed(ledger)
    assert summary(ledger).refunded_minor == 50_000 - 11_412


def test_example_2_on_a_hold_releases_early_and_captures_once() -> None:
    provisional, margin = power_cut()
    ledger = opened(held=50_000)
    early = settle(ledger, charge(1, provisional, 6200), terms=AT_18, want=ENERGY, margin=margin)
    assert said(early) == {"PRICED": -11_160, "RELEASE": -38_543}
    ledger += early
    late = settle(ledger, charge(2, bill(AT_18, usage(6340)), 6340), terms=AT_18, want=ENERGY)
    assert said(late) == {"PRICED": -252, "CAPTURE": -11_412, "COLLECTED": 11_412, "RELEASE": -45}
    assert is_closed((*ledger, *late))


def test_one_interval_of_margin_would_have_been_153_paise_short() -> None:
    provisional, margin = power_cut()
    ledger = opened(prepaid=50_000)
    ledger += settle(ledger, charge(1, provisional, 6200), terms=AT_18, want=ENERGY, margin=margin // 3)
    late = settle(ledger, charge(2, bill(AT_18, usage(6340)), 6340), terms=AT_18, want=ENERGY)
    assert said(late)["TOP_UP_DUE"] == 153


def test_the_margin_of_a_dc_charger() -> None:
    margin = margin_minor(AT_18, usage(6200), rated_w=60_000, sample_interval_ms=MINUTE, at_ms=0)
    assert margin == 5_400


@pytest.mark.parametrize(("wh", "minor"), [(4640, 8_352), (4899, 8_818)])
def test_example_3_priced(wh: int, minor: int) -> None:
    made = bill(AT_18, usage(wh))
    assert made.total_minor == minor
    ledger = opened(prepaid=50_000)
    posted = settle(ledger, charge(1, made, wh), terms=AT_18, want=ENERGY)
    assert said(posted) == {"PRICED": -minor, "REFUND": minor - 50_000}
    assert is_closed((*ledger, *posted))


def test_the_canonical_prepayment_of_272_34_refunds_118_14() -> None:
    ledger = opened(prepaid=27_234, ordered=24_758, wh=10_000)
    posted = settle(ledger, charge(1, of(15_420), 6400), terms=AT_18, want=ENERGY)
    assert said(posted) == {"PRICED": -15_420, "REFUND": -11_814}
    assert is_closed((*ledger, *posted))


# ---------------------------------------------------------------- the table, row by row

B = Pattern.BUFFER_IN_QUOTE
H = Pattern.HOLD
T = Pattern.TOP_UP
A = Pattern.CPO_ABSORBS


@pytest.mark.parametrize(
    ("row", "pattern", "opening", "billed", "expected"),
    [
        ("exact, prepaid", T, {"prepaid": 50_000}, (50_000, Q), {"PRICED": -50_000}),
        (
            "exact, hold",
            H,
            {"held": 55_000},
            (50_000, Q),
            {"PRICED": -50_000, "CAPTURE": -50_000, "COLLECTED": 50_000, "RELEASE": -5_000},
        ),
        ("under, prepaid", T, {"prepaid": 50_000}, (30_000, 16_667), {"PRICED": -30_000, "REFUND": -20_000}),
        (
            "under, prepaid with buffer",
            B,
            {"prepaid": 55_000},
            (30_000, 16_667),
            {"PRICED": -30_000, "REFUND": -25_000},
        ),
        (
            "under, hold",
            H,
            {"held": 55_000},
            (30_000, 16_667),
            {"PRICED": -30_000, "CAPTURE": -30_000, "COLLECTED": 30_000, "RELEASE": -25_000},
        ),
        ("over within buffer", B, {"prepaid": 55_000}, (52_000, 28_889), {"PRICED": -52_000, "REFUND": -3_000}),
        (
            "over within hold",
            H,
            {"held": 55_000},
            (55_000, 30_556),
            {"PRICED": -55_000, "CAPTURE": -55_000, "COLLECTED": 55_000},
        ),
        (
            "over the hold",
            H,
            {"held": 55_000},
            (56_000, 31_111),
            {"PRICED": -56_000, "CAPTURE": -55_000, "COLLECTED": 55_000, "TOP_UP_DUE": 1_000},
        ),
        ("over, top-up", T, {"prepaid": 50_000}, (52_000, 28_889), {"PRICED": -52_000, "TOP_UP_DUE": 2_000}),
        (
            "over, absorbed",
            A,
            {"prepaid": 50_000},
            (51_000, 28_333),
            {"PRICED": -51_000, "WRITE_OFF": 1_000},
        ),
        (
            "over, absorbed to the cap",
            A,
            {"prepaid": 50_000},
            (52_000, 28_889),
            {"PRICED": -52_000, "WRITE_OFF": 1_500, "TOP_UP_DUE": 500},
        ),
        ("zero energy, prepaid", B, {"prepaid": 55_000}, (0, 0), {"REFUND": -55_000}),
        ("zero energy, hold", H, {"held": 55_000}, (0, 0), {"RELEASE": -55_000}),
        ("fees without energy", T, {"prepaid": 50_000}, (2_000, 0), {"PRICED": -2_000, "REFUND": -48_000}),
        ("post-paid", T, {}, (30_000, 16_667), {"PRICED": -30_000, "TOP_UP_DUE": 30_000}),
    ],
)
def test_settlement_table(
    row: str, pattern: Pattern, opening: dict[str, int], billed: tuple[int, int], expected: dict[str, int]
) -> None:
    terms = replace(AT_18, pattern=pattern, absorb_cap_minor=1_500)
    ledger = opened(**opening)
    minor, wh = billed
    posted = settle(ledger, charge(1, of(minor), wh), terms=terms, want=ENERGY)
    assert said(posted) == expected, row
    assert is_closed((*ledger, *posted)), row
    assert {K.METERED, K.PRICED} <= {e.kind for e in posted}, "a revision leaves its mark even at zero"


# ---------------------------------------------------------------- revisions


def test_a_later_revision_posts_only_the_difference() -> None:
    ledger = opened(prepaid=55_000)
    ledger += settle(ledger, charge(1, of(50_000), Q), terms=AT_18, want=ENERGY)
    more = settle(ledger, charge(2, of(51_000), Q + 556), terms=AT_18, want=ENERGY)
    assert said(more) == {"PRICED": -1_000, "TOP_UP_DUE": 1_000}
    assert [(e.amount_minor, e.wh) for e in more if e.kind is K.METERED] == [(-1_000, -556)]
    ledger += more
    less = settle(ledger, charge(3, of(50_400), Q + 222), terms=AT_18, want=ENERGY)
    assert said(less) == {"PRICED": 600, "TOP_UP_DUE": -600}
    ledger += less
    again = settle(ledger, charge(4, of(48_000), Q - 1_111), terms=AT_18, want=ENERGY)
    assert said(again) == {"PRICED": 2_400, "TOP_UP_DUE": -400, "REFUND": -2_000}
    assert is_closed((*ledger, *again))


def test_a_paid_top_up_that_was_too_much_goes_back() -> None:
    terms = replace(AT_18, pattern=A, absorb_cap_minor=5_000)
    ledger = opened(prepaid=50_000)
    ledger += settle(ledger, charge(1, of(58_000), Q + 4_444), terms=terms, want=ENERGY)
    assert summary(ledger).due_minor == 3_000
    ledger += top_up_paid(ledger, "o", amount_minor=3_000, ref="t", at_ms=2)
    assert is_closed(ledger)
    assert outstanding(ledger).due_minor == 0
    # The operator still absorbs its 50 rupees: the buyer gets the correction.
    down = settle(ledger, charge(2, of(57_000), Q + 3_889), terms=terms, want=ENERGY)
    assert said(down) == {"PRICED": 1_000, "REFUND": -1_000}
    ledger += down
    down = settle(ledger, charge(3, of(54_000), Q + 2_222), terms=terms, want=ENERGY)
    assert said(down) == {"PRICED": 3_000, "REFUND": -2_000, "WRITE_OFF": -1_000}
    assert is_closed((*ledger, *down))


# ---------------------------------------------------------------- who bears an excess


def test_energy_that_our_missing_stop_let_through_is_ours() -> None:
    for opening, due in ({"prepaid": 50_000}, 0), ({"held": 55_000}, 0):
        ledger = opened(**opening)
        posted = settle(ledger, charge(1, of(60_000), 33_333), terms=AT_18, want=ENERGY, our_fault=True)
        secured = max(opening.values())
        assert said(posted)["WRITE_OFF"] == 60_000 - secured
        assert outstanding((*ledger, *posted)).due_minor == due
        assert is_closed((*ledger, *posted))
    theirs = settle(opened(prepaid=50_000), charge(1, of(60_000), 33_333), terms=AT_18, want=ENERGY)
    assert said(theirs)["TOP_UP_DUE"] == 10_000


def test_our_fault_does_not_forgive_the_price_of_the_order_itself() -> None:
    provisional, margin = power_cut()
    ledger = opened(prepaid=50_000)
    ledger += settle(ledger, charge(1, provisional, 6200), terms=AT_18, want=ENERGY, margin=margin)
    late = settle(ledger, charge(2, of(52_000), 28_889), terms=AT_18, want=ENERGY, our_fault=True)
    assert said(late) == {"PRICED": -40_840, "WRITE_OFF": 2_000, "TOP_UP_DUE": 38_543}


@pytest.mark.parametrize(
    ("over", "kind"), [(1, "WRITE_OFF"), (100, "WRITE_OFF"), (101, "TOP_UP_DUE"), (5_000, "TOP_UP_DUE")]
)
def test_an_amount_order_is_forgiven_one_rupee(over: int, kind: str) -> None:
    amount = Want(kind=WantKind.AMOUNT, amount_minor=50_000)
    posted = settle(opened(prepaid=50_000), charge(1, of(50_000 + over), Q + 1000), terms=AT_18, want=amount)
    assert said(posted) == {"PRICED": -50_000 - over, kind: over}


def test_an_amount_quote_settles_exactly_when_it_stops_at_its_limit() -> None:
    terms = replace(AT_18, tariff=replace(AT_18.tariff, rates=(Rate(per_kwh=D("17.77")),)))
    want = Want(kind=WantKind.AMOUNT, amount_minor=10_000)
    offered = quote(terms, want, start_ms=0, max_power_w=3300)
    assert offered.breakdown.amount(Role.ROUNDING) == D("0.01")
    ledger = opened(prepaid=10_000, ordered=offered.breakdown.total_minor, wh=offered.energy_wh)
    made = bill(terms, usage(offered.energy_wh))
    posted = settle(ledger, charge(1, made, offered.energy_wh), terms=terms, want=want)
    assert said(posted) == {"PRICED": -9_999, "REFUND": -1}


def test_nobody_is_asked_for_energy_within_tolerance() -> None:
    near = settle(opened(prepaid=50_000), charge(1, of(50_250), Q + 138), terms=AT_18, want=ENERGY)
    assert said(near) == {"PRICED": -50_250, "WRITE_OFF": 250}
    beyond = settle(opened(prepaid=50_000), charge(1, of(50_252), Q + 139), terms=AT_18, want=ENERGY)
    assert said(beyond) == {"PRICED": -50_252, "TOP_UP_DUE": 252}


def test_idling_is_not_forgiven_as_tolerance() -> None:
    idle = Component(kind=ComponentKind.FEE, role=Role.IDLE, amount=D("40.00"), description="")
    energy = of(50_002)
    made = replace(energy, components=(*energy.components, idle))
    posted = settle(opened(prepaid=50_000), charge(1, made, Q + 1), terms=AT_18, want=ENERGY)
    assert said(posted) == {"PRICED": -54_002, "WRITE_OFF": 3, "TOP_UP_DUE": 3_999}


@pytest.mark.parametrize(
    ("ordered", "delivered", "expected"),
    [
        (1000, 1010, Delivery.EXACT),
        (1000, 1011, Delivery.OVER),
        (1000, 989, Delivery.UNDER),
        (10_000, 10_050, Delivery.EXACT),
        (10_000, 10_051, Delivery.OVER),
        (10_000, 9_950, Delivery.EXACT),
        (10_000, 9_949, Delivery.UNDER),
    ],
)
def test_tolerance(ordered: int, delivered: int, expected: Delivery) -> None:
    assert delivery(ordered, delivered) is expected


# ---------------------------------------------------------------- the buyer app collects


def test_the_buyer_app_keeps_no_fee_out_of_money_it_has_given_back() -> None:
    ledger = opened(by_bap=50_000)
    ledger += settle(ledger, charge(1, of(0), 0), terms=AT_18, want=ENERGY)  # nothing was charged, it seemed
    late = settle(ledger, charge(2, of(30_000, finder_minor=750), 16_667), terms=AT_18, want=ENERGY)
    assert said(late) == {"PRICED": -30_000, "TOP_UP_DUE": 30_000}
    assert is_closed([*ledger, *late])


def test_the_buyer_app_refunds_keeps_its_fee_and_owes_the_rest() -> None:
    ledger = opened(by_bap=50_000)
    posted = settle(ledger, charge(1, of(30_000, finder_minor=750), 16_667), terms=AT_18, want=ENERGY)
    assert said(posted) == {
        "PRICED": -30_000,
        "BAP_REFUND": -20_000,
        "FINDER_RETAINED": -750,
        "FINDER_COST": 750,
    }
    ledger += posted
    assert is_closed(ledger)
    assert outstanding(ledger).receivable_minor == 29_250
    ledger += remitted(ledger, "o", amount_minor=29_250, ref="utr", at_ms=5)
    assert is_closed(ledger)
    story = summary(ledger)
    assert (story.receivable_minor, story.collected_minor, story.finder_minor) == (0, 50_000, 750)
    down = settle(ledger, charge(2, of(29_000, finder_minor=750), 16_111), terms=AT_18, want=ENERGY)
    # It has passed everything on, and gives back all the same: nobody else can reach the buyer's money.
    assert said(down) == {"PRICED": 1_000, "BAP_REFUND": -1_000}
    ledger += down
    assert is_closed(ledger)
    assert outstanding(ledger).receivable_minor == -1_000  # taken off what it passes on next


@pytest.mark.parametrize("by_bap", [False, True])
def test_of_two_top_ups_open_at_once_what_was_not_due_any_more_goes_back(by_bap: bool) -> None:
    ledger = opened(prepaid=50_000)
    ledger += settle(ledger, charge(1, of(52_000), 28_900), terms=AT_18, want=ENERGY)
    ledger += settle(ledger, charge(2, of(53_000), 29_500), terms=AT_18, want=ENERGY)
    for ref, amount_minor in (("t1", 2_000), ("t2", 3_000)):
        ledger += top_up_paid(ledger, "o", amount_minor=amount_minor, ref=ref, at_ms=3, by_bap=by_bap)
        ledger += give_back_overpaid(ledger, "o", ref=ref, at_ms=3)
    assert sum(e.amount_minor for e in ledger if e.kind in (K.REFUND, K.BAP_REFUND)) == -2_000
    assert outstanding(ledger).due_minor == 0
    assert is_closed(ledger)
    ledger += settle(ledger, charge(3, of(51_000), 28_300), terms=AT_18, want=ENERGY)
    assert is_closed(ledger)
    assert summary(ledger).refunded_minor == 4_000


def test_a_top_up_through_the_buyer_app_is_a_receivable() -> None:
    ledger = opened(by_bap=50_000)
    ledger += settle(ledger, charge(1, of(52_000), 28_889), terms=AT_18, want=ENERGY)
    ledger += top_up_paid(ledger, "o", amount_minor=2_000, ref="t", at_ms=2, by_bap=True)
    assert is_closed(ledger)
    assert outstanding(ledger).receivable_minor == 52_000


# ---------------------------------------------------------------- cancelling


def test_a_free_cancellation_gives_all_back() -> None:
    for opening, kind in ({"prepaid": 55_000}, "REFUND"), ({"held": 55_000}, "RELEASE"):
        ledger = opened(**opening)
        posted = settle_cancellation(ledger, charge(1, of(0), 0))
        assert said(posted) == {kind: -55_000}
        assert is_closed((*ledger, *posted))
    assert summary((*ledger, *posted)).released_wh == Q


def test_a_late_cancellation_keeps_its_fee() -> None:
    terms = replace(AT_18, cancellation=replace(AT_18.cancellation, percent=D(30)))
    fee = cancellation_bill(terms, D(500), D(550))
    ledger = opened(held=55_000)
    posted = settle_cancellation(ledger, charge(1, fee, 0))
    assert said(posted) == {
        "CANCELLATION_FEE": -15_000,
        "CAPTURE": -15_000,
        "COLLECTED": 15_000,
        "RELEASE": -40_000,
    }
    assert is_closed((*ledger, *posted))


def test_a_charge_knows_its_limits() -> None:
    with pytest.raises(ValueError):
        charge(0, of(1), 1)
    with pytest.raises(ValueError):
        charge(1, of(-1), 1)
    with pytest.raises(ValueError):
        settle_cancellation(opened(), charge(1, of(0), 1))


def test_a_hold_is_captured_only_for_what_prepaid_money_does_not_cover() -> None:
    ledger = opened(prepaid=30_000, held=25_000)
    posted = settle(ledger, charge(1, of(40_000), 22_222), terms=AT_18, want=ENERGY)
    assert said(posted) == {"PRICED": -40_000, "CAPTURE": -10_000, "COLLECTED": 10_000, "RELEASE": -15_000}


def test_our_ceiling_is_what_was_secured_even_after_an_early_release() -> None:
    ledger = opened(held=55_000)
    ledger += settle(ledger, charge(1, of(10_000), 5_556), terms=AT_18, want=ENERGY, margin=0)
    late = settle(ledger, charge(2, of(56_000), 31_111), terms=AT_18, want=ENERGY, our_fault=True)
    assert (said(late)["WRITE_OFF"], said(late)["TOP_UP_DUE"]) == (1_000, 45_000)
