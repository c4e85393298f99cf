"""Orders a fleet pays by the month, and debts that are given up: the ledger closes whatever bills come later."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from csms.domain.breakdown import Breakdown, Component, ComponentKind, Role
from csms.domain.ledger import (
    EntryKind,
    LedgerEntry,
    account_paid,
    due_since_ms,
    forgiven,
    money_collected,
    order_placed,
    outstanding,
    put_on_account,
    summary,
    top_up_paid,
)
from csms.domain.quote import Want, WantKind
from csms.domain.settlement import Charge, give_back_overpaid, settle, settle_cancellation
from csms.domain.tariff import Rate, Tariff, Terms
from csms.domain.units import from_minor

D = Decimal
TERMS = Terms(tariff=Tariff(tariff_id="t", rates=(Rate(per_kwh=D(18)),)))
ENERGY = Want(kind=WantKind.ENERGY, energy_wh=10_000)
AMOUNT = Want(kind=WantKind.AMOUNT, amount_minor=18_000)
ORDERED = 18_000
Ledger = tuple[LedgerEntry, ...]


def charge(revision: int, minor: int, wh: int | None = None) -> Charge:
    line = Component(kind=ComponentKind.UNIT, role=Role.ENERGY, amount=from_minor(minor), description="")
    breakdown = Breakdown(currency="INR", components=(line,))
    delivered = minor * 10 // 18 if wh is None else wh
    return Charge(order_id="o", revision=revision, breakdown=breakdown, delivered_wh=delivered, at_ms=revision)


def on_account() -> Ledger:
    ledger = order_placed("o", amount_minor=ORDERED, energy_wh=10_000, at_ms=0)
    return ledger + put_on_account(ledger, "o", amount_minor=ORDERED, fleet_id="f", at_ms=0)


def settled(ledger: Ledger, revision: int, minor: int, want: Want = ENERGY) -> Ledger:
    return ledger + settle(ledger, charge(revision, minor), terms=TERMS, want=want)


def assert_closed(ledger: Ledger) -> None:
    assert sum(entry.amount_minor for entry in ledger) == 0
    assert sum(entry.wh for entry in ledger) == 0
    assert outstanding(ledger).is_settled


def test_a_fleet_owes_what_was_metered_and_its_driver_nothing() -> None:
    for minor in (9_000, ORDERED, 30_000):
        ledger = settled(on_account(), 1, minor)
        assert_closed(ledger)
        state = outstanding(ledger)
        assert (state.on_account_minor, state.due_minor, state.receivable_minor) == (minor, 0, 0)
        assert summary(ledger).refunded_minor == 0


def test_a_fleet_that_paid_too_early_has_it_on_its_account() -> None:
    ledger = settled(on_account(), 1, 20_000)
    ledger += account_paid(ledger, "o", amount_minor=20_000, ref="utr-1", at_ms=5)
    assert outstanding(ledger).on_account_minor == 0
    ledger = settled(ledger, 2, 15_000)
    assert_closed(ledger)
    assert outstanding(ledger).on_account_minor == -5_000
    assert not [entry for entry in ledger if entry.kind is EntryKind.REFUND]


def test_a_cancelled_order_takes_the_promise_back() -> None:
    ledger = on_account()
    ledger += settle_cancellation(ledger, charge(1, 0, 0))
    assert_closed(ledger)
    assert outstanding(ledger).on_account_minor == 0


def test_an_overshoot_is_waived_once_however_often_the_bill_changes() -> None:
    ledger = settled(on_account(), 1, ORDERED + 80, AMOUNT)
    assert (summary(ledger).written_off_minor, outstanding(ledger).on_account_minor) == (80, ORDERED)
    ledger = settled(ledger, 2, ORDERED + 200, AMOUNT)
    assert (summary(ledger).written_off_minor, outstanding(ledger).on_account_minor) == (0, ORDERED + 200)
    ledger = settled(ledger, 3, ORDERED + 250, AMOUNT)
    assert (summary(ledger).written_off_minor, outstanding(ledger).on_account_minor) == (0, ORDERED + 250)


def owing() -> Ledger:
    ledger = order_placed("o", amount_minor=ORDERED, energy_wh=10_000, at_ms=0)
    ledger += money_collected(ledger, "o", amount_minor=ORDERED, ref="p", at_ms=0)
    return settled(ledger, 1, 20_000)


def test_a_forgiven_debt_is_not_asked_for_again_by_a_later_bill() -> None:
    ledger = owing()
    assert outstanding(ledger).due_minor == 2_000
    given_up = forgiven(ledger, "o", at_ms=9)
    assert [(entry.kind, entry.amount_minor) for entry in given_up] == [
        (EntryKind.TOP_UP_DUE, -2_000),
        (EntryKind.FORGIVEN, 2_000),
    ]
    ledger += given_up
    assert_closed(ledger)
    assert forgiven(ledger, "o", at_ms=10) == ()
    ledger = settled(ledger, 2, 21_000)
    assert_closed(ledger)
    assert (outstanding(ledger).due_minor, summary(ledger).forgiven_minor) == (1_000, 2_000)
    ledger = settled(ledger, 3, 18_500)
    assert_closed(ledger)
    assert (outstanding(ledger).due_minor, summary(ledger).forgiven_minor) == (0, 500)
    ledger = settled(ledger, 4, 17_000)
    assert_closed(ledger)
    assert (summary(ledger).refunded_minor, summary(ledger).forgiven_minor) == (1_000, 0)


def test_what_is_paid_after_it_was_forgiven_goes_back() -> None:
    ledger = owing()
    ledger += forgiven(ledger, "o", at_ms=9)
    ledger += top_up_paid(ledger, "o", amount_minor=2_000, ref="t", at_ms=10)
    ledger += give_back_overpaid(ledger, "o", ref="t", at_ms=10)
    assert_closed(ledger)
    assert (outstanding(ledger).due_minor, summary(ledger).refunded_minor) == (0, 2_000)


def test_a_debt_is_as_old_as_the_last_time_nothing_was_due() -> None:
    ledger = owing()
    assert due_since_ms(ledger) == 1
    ledger += top_up_paid(ledger, "o", amount_minor=2_000, ref="t", at_ms=5)
    assert due_since_ms(ledger) is None
    ledger = settled(ledger, 7, 23_000)
    assert due_since_ms(ledger) == 7
    ledger = settled(ledger, 8, 24_000)
    assert due_since_ms(ledger) == 7


@given(
    bills=st.lists(st.integers(0, 60_000), min_size=1, max_size=6),
    pays=st.lists(st.booleans(), min_size=6, max_size=6),
    want=st.sampled_from([ENERGY, AMOUNT]),
)
def test_an_account_follows_every_bill_and_money_is_never_paid_out(
    bills: list[int], pays: list[bool], want: Want
) -> None:
    ledger = on_account()
    for number, minor in enumerate(bills, 1):
        ledger = settled(ledger, number, minor, want)
        assert settle(ledger, charge(number, minor), terms=TERMS, want=want) == ()
        assert_closed(ledger)
        state = outstanding(ledger)
        asked = minor - summary(ledger).written_off_minor
        paid = -sum(entry.amount_minor for entry in ledger if entry.kind is EntryKind.ACCOUNT_PAID)
        assert state.due_minor == 0
        assert state.on_account_minor + paid == asked
        if pays[number - 1] and state.on_account_minor > 0:
            ledger += account_paid(ledger, "o", amount_minor=state.on_account_minor, ref=f"r{number}", at_ms=number)
    assert not [entry for entry in ledger if entry.kind is EntryKind.REFUND]


@given(
    bills=st.lists(st.integers(0, 40_000), min_size=2, max_size=6),
    gives=st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_forgiving_never_makes_a_buyer_pay_twice_nor_be_paid(bills: list[int], gives: list[bool]) -> None:
    ledger = order_placed("o", amount_minor=ORDERED, energy_wh=10_000, at_ms=0)
    ledger += money_collected(ledger, "o", amount_minor=ORDERED, ref="p", at_ms=0)
    for number, minor in enumerate(bills, 1):
        ledger = settled(ledger, number, minor)
        if gives[number - 1]:
            ledger += forgiven(ledger, "o", at_ms=number)
        assert_closed(ledger)
        told = summary(ledger)
        kept = ORDERED - told.refunded_minor
        assert kept + told.due_minor + told.forgiven_minor + told.written_off_minor == minor
