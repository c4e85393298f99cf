"""Statements reproduce the ledger: whatever happened to orders, the months' columns add up to it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.domain.breakdown import Breakdown, Component, ComponentKind, Role
from csms.domain.ledger import (
    Account,
    EntryKind,
    LedgerEntry,
    Totals,
    account_paid,
    latest_revision,
    money_collected_by_bap,
    order_placed,
    outstanding,
    put_on_account,
    remitted,
)
from csms.domain.quote import Want, WantKind
from csms.domain.settlement import Charge, settle
from csms.domain.statement import WITHHELD, AccountReader, Bill, billed, month, month_before, month_of, totals
from csms.domain.tariff import Rate, Tariff, Terms
from csms.domain.taxes import Registration, TaxEntry, Withholding
from csms.domain.units import from_minor

ZONE = "Asia/Kolkata"
TERMS = Terms(tariff=Tariff(tariff_id="t", rates=(Rate(per_kwh=Decimal(18)),)))
WANT = Want(kind=WantKind.ENERGY, energy_wh=27_778)
MONTHS = ("2026-09", "2026-10", "2026-11", "2026-12")
BEGIN_MS, END_MS = month(MONTHS[0], ZONE)[0], month(MONTHS[-1], ZONE)[1]
TAXES = (
    TaxEntry(
        valid_from_ms=0,
        seller="CPO",
        registrations=(Registration(state="29", address="Bengaluru"),),
        rate_percent=Decimal(18),
        withholding=Withholding(section="194-O", percent=Decimal(1)),
    ),
    TaxEntry(
        valid_from_ms=month("2026-11", ZONE)[0],
        seller="CPO",
        registrations=(Registration(state="29", address="Bengaluru"),),
        rate_percent=Decimal(18),
        withholding=Withholding(section="194-O", percent=Decimal("0.1")),
    ),
)


def price(minor: int, finder_minor: int = 0) -> Breakdown:
    lines = [
        Component(kind=ComponentKind.UNIT, role=Role.ENERGY, amount=from_minor(minor - finder_minor), description=""),
        Component(kind=ComponentKind.FEE, role=Role.FINDER, amount=from_minor(finder_minor), description=""),
    ]
    return Breakdown(currency="INR", components=tuple(lines))


@st.composite
def stories(draw: st.DrawFn) -> list[LedgerEntry]:
    """Ledgers of a few orders whose money a buyer app took: billed, billed again, paid over in parts, at any time."""
    found: list[LedgerEntry] = []
    for number in range(draw(st.integers(1, 4))):
        order_id = f"o{number}"
        times = sorted(draw(st.lists(st.integers(BEGIN_MS, END_MS - 1), min_size=6, max_size=6)))
        own = list(order_placed(order_id, amount_minor=50_000, energy_wh=27_778, at_ms=times[0]))
        own += money_collected_by_bap(own, order_id, amount_minor=50_000, ref="b", at_ms=times[1])
        for at_ms in times[2:4]:
            minor = draw(st.integers(1_000, 60_000))
            charge = Charge(
                order_id=order_id,
                revision=latest_revision(own) + 1,
                breakdown=price(minor, draw(st.integers(0, 900))),
                delivered_wh=minor // 2,
                at_ms=at_ms,
            )
            own += settle(own, charge, terms=TERMS, want=WANT)
        for turn, at_ms in enumerate(times[4:]):
            part = draw(st.integers(0, max(0, outstanding(own).receivable_minor)))
            ref = f"r{turn}" + (WITHHELD if draw(st.booleans()) else "")
            own += remitted(own, order_id, amount_minor=part, ref=ref, at_ms=at_ms) if part else ()
        found += own
    return found


@given(stories())
def test_the_statements_of_all_months_reproduce_the_ledger(entries: list[LedgerEntry]) -> None:
    whole = Totals(entries)
    open_minor = tax_open_minor = 0
    sums = dict.fromkeys(("collected", "refunded", "retained", "remitted", "withheld", "tax"), 0)
    for name in MONTHS:
        reader = AccountReader(*month(name, ZONE), ZONE, TAXES)
        for entry in entries:
            reader.take(entry)
        account = reader.account()
        assert account.opening_minor == open_minor
        moved = account.collected_minor - account.refunded_minor - account.retained_minor
        assert account.closing_minor == open_minor + moved - account.remitted_minor - account.withheld_minor
        tax_open_minor += account.withholding_minor - account.withheld_minor
        assert account.withholding_open_minor == tax_open_minor
        open_minor = account.closing_minor
        for column in ("collected", "refunded", "retained", "remitted", "withheld"):
            sums[column] += getattr(account, f"{column}_minor")
    kind = EntryKind
    assert open_minor == whole.account(Account.BAP)
    assert sums["collected"] == whole.of(kind.BAP_COLLECTED)
    assert sums["refunded"] == -whole.of(kind.BAP_REFUND)
    assert sums["retained"] == -whole.of(kind.FINDER_RETAINED)
    assert sums["remitted"] + sums["withheld"] == -whole.of(kind.REMITTED)


def at(name: str, day: int = 1) -> int:
    return month(name, ZONE)[0] + day * 86_400_000


def test_a_month_in_figures_with_the_tax_to_be_deducted() -> None:
    entries = list(order_placed("o", amount_minor=50_000, energy_wh=27_778, at_ms=at("2026-10")))
    entries += money_collected_by_bap(entries, "o", amount_minor=50_000, ref="b", at_ms=at("2026-10"))
    charge = Charge(order_id="o", revision=1, breakdown=price(40_000, 1_000), delivered_wh=1, at_ms=at("2026-10", 2))
    entries += settle(entries, charge, terms=TERMS, want=WANT)
    entries += remitted(entries, "o", amount_minor=38_600, ref="R", at_ms=at("2026-11"))
    entries += remitted(entries, "o", amount_minor=400, ref=f"R{WITHHELD}", at_ms=at("2026-11"))

    def account(name: str) -> object:
        reader = AccountReader(*month(name, ZONE), ZONE, TAXES)
        for entry in entries:
            reader.take(entry)
        return reader.account()

    october, november = account("2026-10"), account("2026-11")
    assert october == replace(
        october,  # type: ignore[type-var]
        opening_minor=0, collected_minor=50_000, refunded_minor=10_000, retained_minor=1_000, closing_minor=39_000,
        withholding_minor=400, withholding_open_minor=400, withholding_words="section 194-O, 1%", orders=1,
    )  # fmt: skip
    assert october.to_remit_minor == 38_600  # type: ignore[attr-defined]
    assert november == replace(
        november,  # type: ignore[type-var]
        opening_minor=39_000, remitted_minor=38_600, withheld_minor=400, closing_minor=0, withholding_open_minor=0,
        orders=1,
    )  # fmt: skip


def test_a_fleets_account_is_read_the_same_way() -> None:
    entries = list(order_placed("o", amount_minor=50_000, energy_wh=1, at_ms=at("2026-10")))
    entries += put_on_account(entries, "o", amount_minor=50_000, fleet_id="f", at_ms=at("2026-10"))
    entries += account_paid(entries, "o", amount_minor=20_000, ref="R", at_ms=at("2026-10", 3))
    reader = AccountReader(*month("2026-10", ZONE), ZONE, (), Account.FLEET)
    assert [reader.take(entry) for entry in entries] == [False, True, True, False]
    account = reader.account()
    assert (account.collected_minor, account.remitted_minor, account.closing_minor) == (50_000, 20_000, 30_000)


def test_what_was_billed_again_stands_as_a_difference() -> None:
    first = Bill(session_no=1, revision=1, billed_ms=1, energy_wh=6_400, breakdown=price(11_520, 288))
    again = Bill(session_no=1, revision=2, billed_ms=2, energy_wh=6_300, breakdown=price(11_340, 283))
    lines = [billed(first, None), billed(again, first)]
    assert [(line.energy_wh, line.amount_minor, line.finder_minor) for line in lines] == [
        (6_400, 11_520, 288),
        (-100, -180, -5),
    ]
    sums = totals(lines)
    assert (sums.sessions, sums.corrections, sums.energy_wh, sums.amount_minor) == (1, 1, 6_300, 11_340)


def test_months_begin_and_end_in_civil_time() -> None:
    assert month("2026-11", ZONE) == (1_793_471_400_000, 1_796_063_400_000)  # 18:30 UTC the evening before
    assert month("2026-12", "UTC")[1] == month("2027-01", "UTC")[0]
    assert (month_before("2027-01"), month_before("2026-11")) == ("2026-12", "2026-10")
    assert month_of(1_793_471_399_999, ZONE) == "2026-10"
    for broken in ("2026-13", "2026-1", "26-11", "2026-11-01", ""):
        with pytest.raises(ValueError, match="no month"):
            month(broken, ZONE)
