"""The bill a buyer sees when the operator bears a part of it."""

from __future__ import annotations

from decimal import Decimal

from csms.domain.breakdown import Breakdown, Component, ComponentKind, Role
from csms.domain.ledger import money_collected, order_placed
from csms.domain.quote import Want, WantKind
from csms.domain.settlement import Charge, payable, settle
from csms.domain.tariff import Pattern, Rate, Tariff, Terms

TERMS = Terms(tariff=Tariff(tariff_id="t", rates=(Rate(per_kwh=Decimal(18)),)), pattern=Pattern.TOP_UP)


def bill_of(amount: str) -> Breakdown:
    line = Component(kind=ComponentKind.UNIT, role=Role.ENERGY, amount=Decimal(amount), description="Energy")
    return Breakdown(currency="INR", components=(line,))


def test_what_is_written_off_stands_in_the_bill_as_a_line_of_its_own() -> None:
    want = Want(kind=WantKind.AMOUNT, amount_minor=4000)
    before = [
        *order_placed("o", amount_minor=4000, energy_wh=2222, at_ms=1),
        *money_collected([], "o", amount_minor=4000, ref="TX", at_ms=1),
    ]
    charge = Charge(order_id="o", revision=1, breakdown=bill_of("40.20"), delivered_wh=2233, at_ms=2)
    entries = [*before, *settle(before, charge, terms=TERMS, want=want)]
    shown = payable(charge.breakdown, entries)
    assert shown.total == Decimal("40.00")
    assert shown.components[-1].role is Role.WAIVED
    assert sum(entry.amount_minor for entry in entries) == 0


def test_a_bill_that_is_paid_in_full_is_shown_as_it_is() -> None:
    assert payable(bill_of("40.00"), []) == bill_of("40.00")
