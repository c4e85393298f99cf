"""The ledger: it closes at zero, never posts twice, and can be taken up at any point."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csms.domain.breakdown import Breakdown, Component, ComponentKind, Role
from csms.domain.ledger import (
    ACCOUNTS,
    Account,
    EntryKind,
    LedgerEntry,
    Totals,
    latest_revision,
    money_collected,
    money_collected_by_bap,
    money_held,
    order_placed,
    outstanding,
    remitted,
    summary,
    top_up_paid,
)
from csms.domain.quote import Want, WantKind
from csms.domain.settlement import Charge, settle, settle_cancellation
from csms.domain.stored import from_json, to_json
from csms.domain.tariff import Pattern, Rate, Tariff, Terms
from csms.domain.units import from_minor

K = EntryKind
Ledger = tuple[LedgerEntry, ...]
TERMS = Terms(tariff=Tariff(tariff_id="t", rates=(Rate(per_kwh=Decimal(18)),)))


def price(minor: int, finder_minor: int = 0) -> Breakdown:
    lines = [
        Component(kind=ComponentKind.UNIT, role=Role.ENERGY, amount=from_minor(minor - finder_minor), description=""),
        Component(kind=ComponentKind.FEE, role=Role.FINDER, amount=from_minor(finder_minor), description=""),
    ]
    return Breakdown(currency="INR", components=tuple(lines))


def charge(revision: int, minor: int, wh: int, finder_minor: int = 0) -> Charge:
    return Charge(
        order_id="o",
        revision=revision,
        breakdown=price(minor, finder_minor),
        delivered_wh=wh,
        at_ms=revision,
    )


def test_every_kind_has_an_account() -> None:
    assert set(ACCOUNTS) == set(EntryKind)


def test_news_told_twice_makes_the_same_key() -> None:
    placed = order_placed("o", amount_minor=500, energy_wh=10, at_ms=0)
    once = money_collected(placed, "o", amount_minor=500, ref="upi-1", at_ms=1)
    posted = (*placed, *once, *settle((*placed, *once), charge(1, 500, 10), terms=TERMS, want=OPEN))
    again = money_collected(posted, "o", amount_minor=500, ref="upi-1", at_ms=9)
    assert [e.idem_key for e in again] == [e.idem_key for e in once]
    assert latest_revision(posted) == again[0].revision == 1


def test_money_from_outside_needs_a_reference_of_its_own() -> None:
    first = money_collected((), "o", amount_minor=1, ref="a", at_ms=0)
    second = money_collected((), "o", amount_minor=1, ref="b", at_ms=0)
    held = money_held((), "o", amount_minor=1, ref="a", at_ms=0)
    due = top_up_paid((), "o", amount_minor=1, ref="a", at_ms=0)
    keys = [e.idem_key for e in (*first, *second, *held, *due)]
    assert len(set(keys)) == len(keys)


def test_outstanding_at_every_moment_of_a_hold() -> None:
    ledger: Ledger = order_placed("o", amount_minor=50_000, energy_wh=27_000, at_ms=0)
    assert outstanding(ledger).ordered_minor == 50_000
    ledger += money_held(ledger, "o", amount_minor=55_000, ref="m", at_ms=1)
    now = outstanding(ledger)
    assert (now.held_minor, now.collected_minor, now.is_settled) == (55_000, 0, False)
    ledger += settle(ledger, charge(1, 52_000, 28_000), terms=TERMS, want=OPEN)
    now = outstanding(ledger)
    assert (now.ordered_minor, now.held_minor, now.collected_minor, now.due_minor) == (0, 0, 52_000, 0)
    assert now.is_settled


def test_late_money_opens_the_ledger_and_the_next_revision_returns_it() -> None:
    ledger: Ledger = order_placed("o", amount_minor=500, energy_wh=100, at_ms=0)
    ledger += money_collected(ledger, "o", amount_minor=500, ref="a", at_ms=1)
    ledger += settle(ledger, charge(1, 500, 100), terms=TERMS, want=OPEN)
    ledger += money_collected(ledger, "o", amount_minor=500, ref="b", at_ms=2)
    assert outstanding(ledger).unspent_minor == 500
    ledger += settle(ledger, charge(2, 500, 100), terms=TERMS, want=OPEN)
    assert outstanding(ledger).is_settled
    assert summary(ledger).refunded_minor == 500


def test_entries_survive_json() -> None:
    (placed,) = order_placed("o", amount_minor=500, energy_wh=100, at_ms=0)
    assert from_json(LedgerEntry, to_json(placed)) == placed


OPEN = Want(kind=WantKind.OPEN)


# ---------------------------------------------------------------- properties

_money = st.integers(0, 100_000)
_energy = st.integers(0, 50_000)
_terms = st.builds(
    lambda pattern, cap: replace(TERMS, pattern=pattern, absorb_cap_minor=cap),
    st.sampled_from(list(Pattern)),
    st.sampled_from([0, 50, 5_000, 10**9]),
)
_want = st.sampled_from([OPEN, Want(kind=WantKind.AMOUNT, amount_minor=1), Want(kind=WantKind.ENERGY, energy_wh=1)])
_opening = st.lists(st.tuples(st.sampled_from(["hold", "prepaid", "bap"]), _money), max_size=3)
_step = st.one_of(
    st.tuples(st.just("settle"), _money, _energy, st.booleans()),
    st.tuples(st.just("provisional"), _money, _energy, _money),
    st.tuples(st.just("pay-due"), st.booleans()),
    st.tuples(st.just("remit")),
    st.tuples(st.just("late-money"), _money),
)


def _opened(ordered: int, ordered_wh: int, opening: list[tuple[str, int]]) -> Ledger:
    ledger: Ledger = order_placed("o", amount_minor=ordered, energy_wh=ordered_wh, at_ms=0)
    post = {"hold": money_held, "prepaid": money_collected, "bap": money_collected_by_bap}
    for number, (how, minor) in enumerate(opening):
        ledger += post[how](ledger, "o", amount_minor=minor, ref=f"{how}{number}", at_ms=0)
    return ledger


def _advance(ledger: Ledger, step: tuple, revision: int, terms: Terms, want: Want, number: int) -> Ledger:
    match step:
        case ("settle", minor, wh, our_fault):
            made = charge(revision, minor, wh, finder_minor=minor // 40)
            return settle(ledger, made, terms=terms, want=want, our_fault=our_fault)
        case ("provisional", minor, wh, margin):
            return settle(ledger, charge(revision, minor, wh), terms=terms, want=want, margin=margin)
        case ("pay-due", by_bap):
            due = outstanding(ledger).due_minor
            return top_up_paid(ledger, "o", amount_minor=due, ref=f"t{number}", at_ms=0, by_bap=by_bap) if due else ()
        case ("remit",):
            receivable = outstanding(ledger).receivable_minor
            if receivable <= 0:
                return ()
            return remitted(ledger, "o", amount_minor=receivable, ref=f"r{number}", at_ms=0)
        case (_, minor):
            return money_collected(ledger, "o", amount_minor=minor, ref=f"late{number}", at_ms=0)


@settings(max_examples=150, deadline=None)
@given(
    ordered=_money,
    ordered_wh=_energy,
    opening=_opening,
    steps=st.lists(_step, max_size=6),
    final=st.tuples(_money, _energy, st.booleans()),
    terms=_terms,
    want=_want,
)
def test_the_ledger_closes_whatever_came_before(
    ordered: int,
    ordered_wh: int,
    opening: list[tuple[str, int]],
    steps: list[tuple],
    final: tuple[int, int, bool],
    terms: Terms,
    want: Want,
) -> None:
    ledger = _opened(ordered, ordered_wh, opening)
    for number, step in enumerate([*steps, ("settle", *final)], start=1):
        revision = latest_revision(ledger) + 1
        added = _advance(ledger, step, revision, terms, want, number)
        if step[0] in ("settle", "provisional"):
            for cut in range(len(added) + 1):  # told again, and taken up after any part of it
                kept = (*ledger, *added[:cut])
                assert _advance(kept, step, revision, terms, want, number) == added[cut:]
        ledger += added
        _check_always(ledger)
        if step[0] == "settle":
            _check_settled(ledger, step[1], step[2])


def _check_always(ledger: Ledger) -> None:
    totals = Totals(ledger)
    assert len({e.idem_key for e in ledger}) == len(ledger)
    assert totals.account(Account.HOLD) >= 0
    assert -totals.of(K.CAPTURE) <= totals.of(K.HELD)
    assert totals.of(K.CAPTURE) <= 0
    assert totals.of(K.RELEASE) <= 0
    assert totals.of(K.REFUND) <= 0
    assert totals.of(K.BAP_REFUND) <= 0
    assert totals.of(K.WRITE_OFF) >= 0
    assert totals.of(K.FINDER_COST) == -totals.of(K.FINDER_RETAINED)
    story = summary(ledger)
    assert story.refunded_minor <= story.collected_minor


def _check_settled(ledger: Ledger, minor: int, wh: int) -> None:
    totals, story, now = Totals(ledger), summary(ledger), outstanding(ledger)
    assert sum(e.amount_minor for e in ledger) == 0
    assert sum(e.wh for e in ledger) == 0
    assert now.is_settled
    assert now.due_minor >= 0
    assert (story.delivered_minor, story.delivered_wh) == (minor, wh)
    assert story.ordered_wh == story.delivered_wh + story.released_wh - story.over_wh
    # The price is paid, due or lost, and the buyer never pays more than the price.
    assert totals.paid_minor + now.due_minor + story.written_off_minor == minor
    assert 0 <= totals.paid_minor <= minor


@settings(max_examples=60, deadline=None)
@given(ordered=_money, ordered_wh=_energy, opening=_opening, fee=_money)
def test_a_cancelled_order_closes_too(ordered: int, ordered_wh: int, opening: list[tuple[str, int]], fee: int) -> None:
    ledger = _opened(ordered, ordered_wh, opening)
    fee = min(fee, sum(minor for _, minor in opening))
    added = settle_cancellation(ledger, charge(1, fee, 0))
    assert settle_cancellation((*ledger, *added), charge(1, fee, 0)) == ()
    ledger += added
    _check_always(ledger)
    assert sum(e.amount_minor for e in ledger) == sum(e.wh for e in ledger) == 0
    assert outstanding(ledger).is_settled
    story = summary(ledger)
    assert (story.cancellation_fee_minor, story.due_minor, story.delivered_wh) == (fee, 0, 0)


def test_another_bill_under_a_settled_revision_is_a_bug() -> None:
    ledger = _opened(500, 100, [("prepaid", 500)])
    ledger += settle(ledger, charge(1, 400, 90), terms=TERMS, want=OPEN)
    for other in (charge(1, 401, 90), charge(1, 400, 91)):
        with pytest.raises(ValueError, match="settled differently"):
            settle(ledger, other, terms=TERMS, want=OPEN)
    with pytest.raises(ValueError, match="settled differently"):
        settle(ledger, charge(1, 400, 90), terms=TERMS, want=OPEN, margin=5)
    ledger += settle(ledger, charge(2, 401, 91), terms=TERMS, want=OPEN)
    with pytest.raises(ValueError, match="beyond revision"):
        settle(ledger, charge(1, 400, 90), terms=TERMS, want=OPEN)


def test_entries_of_another_order_are_a_bug() -> None:
    with pytest.raises(ValueError, match="another order"):
        settle(order_placed("x", amount_minor=1, energy_wh=1, at_ms=0), charge(1, 1, 1), terms=TERMS, want=OPEN)
