"""Invoices, and the notes that correct them, as values: what the buyer is charged, who sold, which tax is in it.

A bill becomes a document once. A later revision of the bill makes a document of the difference: a credit note when
the buyer is charged less, a debit note (supplementary invoice) when more. So the documents of an order always add up
to what the buyer is charged, in every column, and none of them is ever changed.

The tax of a bill is the tariff's. A document only names it; where the configured rate is not the one that was charged,
there is none (`NotInvoiced`), because a wrong invoice cannot be taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from csms.domain.breakdown import Breakdown, Role
from csms.domain.buyer import Buyer
from csms.domain.order import Order
from csms.domain.taxes import (
    PlaceOfSupply,
    Registration,
    TaxEntry,
    TaxLine,
    financial_year,
    is_gstin,
    split,
    state_of,
)
from csms.domain.units import round_money, to_minor

UNTAXED: Final = (Role.FINDER, Role.WAIVED, Role.ROUNDING, Role.BUFFER)
"""Lines outside the tariff's own tax: what the buyer app takes, what the operator bears of a taxed bill."""


class NotInvoiced(Exception):
    """No document can be made; the text says why and what to do."""


class DocumentKind(StrEnum):
    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"
    DEBIT_NOTE = "debit_note"
    BAP_STATEMENT = "bap_statement"
    CDR_STATEMENT = "cdr_statement"
    FLEET_STATEMENT = "fleet_statement"


ORDER_KINDS: Final = (DocumentKind.INVOICE, DocumentKind.CREDIT_NOTE, DocumentKind.DEBIT_NOTE)
_LETTERS: Final = {
    DocumentKind.INVOICE: "I",
    DocumentKind.CREDIT_NOTE: "C",
    DocumentKind.DEBIT_NOTE: "D",
    DocumentKind.BAP_STATEMENT: "B",
    DocumentKind.CDR_STATEMENT: "R",
    DocumentKind.FLEET_STATEMENT: "F",
}


def series(kind: DocumentKind, at_ms: int, zone: str, sign: str = "") -> str:
    """What numbers run within: `I29/2627`. The sign tells registrations apart, each has numbers without a gap."""
    return f"{_LETTERS[kind]}{sign}/{financial_year(at_ms, zone)}"


def number_in(series_name: str, no: int) -> str:
    """`I29/2627/0000001`: at most 16 places of letters, digits and `/`, as the rules of GST want it."""
    return f"{series_name}/{no:07d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The columns that must add up, in paise: price before tax, tax, and what is outside the tax."""

    taxable_minor: int = 0
    tax_minor: int = 0
    untaxed_minor: int = 0

    @property
    def total_minor(self) -> int:
        return self.taxable_minor + self.tax_minor + self.untaxed_minor

    def plus(self, other: Figures) -> Figures:
        return Figures(
            taxable_minor=self.taxable_minor + other.taxable_minor,
            tax_minor=self.tax_minor + other.tax_minor,
            untaxed_minor=self.untaxed_minor + other.untaxed_minor,
        )

    def minus(self, other: Figures) -> Figures:
        return Figures(
            taxable_minor=self.taxable_minor - other.taxable_minor,
            tax_minor=self.tax_minor - other.tax_minor,
            untaxed_minor=self.untaxed_minor - other.untaxed_minor,
        )


def figures_of(bill: Breakdown) -> Figures:
    """A bill by columns; its total is the bill's, exactly."""
    tax_minor = to_minor(bill.tax)
    untaxed_minor = to_minor(bill.amount(*UNTAXED))
    return Figures(
        taxable_minor=bill.total_minor - tax_minor - untaxed_minor, tax_minor=tax_minor, untaxed_minor=untaxed_minor
    )


def summed(parts: Iterable[Figures]) -> Figures:
    total = Figures()
    for part in parts:
        total = total.plus(part)
    return total


def due(bill: Breakdown, earlier: Sequence[Figures]) -> tuple[DocumentKind, Figures] | None:
    """The document that brings those made `earlier` to `bill`; None when they say the same already."""
    now = figures_of(bill)
    if not earlier:
        return (DocumentKind.INVOICE, now) if now != Figures() else None
    change = now.minus(summed(earlier))
    if change == Figures():
        return None
    falls = (change.total_minor, change.tax_minor) < (0, 0)
    return (DocumentKind.CREDIT_NOTE if falls else DocumentKind.DEBIT_NOTE), change


# ---------------------------------------------------------------- the document


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Seller or buyer. `state` is the two digits of a GSTIN; None where nobody says one."""

    name: str
    address: str | None = None
    state: str | None = None
    gstin: str | None = None
    other_tax_id: str | None = None  # as the buyer gave it, when it is no GSTIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line in words, paise; `is_taxed` false for what is outside the tax."""

    description: str
    amount_minor: int
    is_taxed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidBy:
    """A payment the document refers to."""

    ref: str
    amount_minor: int
    at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """What was delivered: Wh, UTC ms. Registers are None where the charger gave none."""

    session_id: str | None = None
    station: str | None = None
    place: str | None = None  # in words
    energy_wh: int = 0
    meter_start_wh: int | None = None
    meter_stop_wh: int | None = None
    started_ms: int | None = None
    ended_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """Everything that stands on an invoice, a credit note or a debit note.

    `refers_to` is the number of the invoice a note corrects. Amounts of a credit note are negative here and printed
    without their sign, under a heading that says so.
    """

    kind: DocumentKind
    number: str
    issued_ms: int
    supplied_ms: int
    zone: str
    seller: Party
    buyer: Party
    place_of_supply: str
    code: str
    currency: str
    figures: Figures
    lines: tuple[Line, ...]
    taxes: tuple[TaxLine, ...]
    prices_include_tax: bool
    metered: Metered
    order_id: str
    revision: int
    order_number: str | None = None
    bap_id: str | None = None
    payments: tuple[PaidBy, ...] = ()
    refers_to: str | None = None
    refers_to_ms: int | None = None
    footer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """What a document is about, before it has a number."""

    order: Order
    bill: Breakdown
    revision: int
    supplied_ms: int
    metered: Metered
    station_state: str | None  # as the location says it
    buyer: Buyer | None = None  # who pays when that is not the buyer of the order: its fleet


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What a document gets when it is made."""

    number: str
    issued_ms: int
    refers_to: str | None = None
    refers_to_ms: int | None = None


def check(supply: Supply, entry: TaxEntry) -> Registration:
    """The registration that sells. Raises NotInvoiced where the configured tax is not the one that was charged."""
    seller = entry.seller_in(state_of(supply.station_state))
    figures = figures_of(supply.bill)
    charged = supply.order.terms.tariff.tax_percent
    about = f"Order {supply.order.order_id}"
    if figures.taxable_minor and charged != entry.rate_percent:
        raise NotInvoiced(
            f"{about} was charged {charged.normalize():f}% tax by its tariff {supply.order.terms.tariff.tariff_id}, but"
            f" {entry.rate_percent.normalize():f}% is configured for the day of supply: correct the tax settings, or"
            " settle it with the buyer by hand."
        )
    if figures.tax_minor and seller.gstin is None:
        raise NotInvoiced(f"{about} was charged tax, but the seller has no GSTIN in the tax settings.")
    wanted = to_minor(round_money(Decimal(figures.taxable_minor) * entry.rate_percent / 10_000))
    if abs(wanted - figures.tax_minor) > 1:
        raise NotInvoiced(
            f"The tax of {about[0].lower()}{about[1:]}, {figures.tax_minor} paise, is not"
            f" {entry.rate_percent.normalize():f}% of {figures.taxable_minor} paise."
        )
    return seller


def document(
    supply: Supply, entry: TaxEntry, seller: Registration, kind: DocumentKind, figures: Figures, stamp: Stamp
) -> Invoice:
    """The document as it will stand for ever. `figures` is what `due` found for the supply's bill."""
    order = supply.order
    buyer = _buyer(supply.buyer or order.buyer, order.bap_id)
    place = _place(entry, buyer, supply.station_state, seller)
    return Invoice(
        kind=kind,
        number=stamp.number,
        issued_ms=stamp.issued_ms,
        supplied_ms=supply.supplied_ms,
        zone=entry.zone,
        seller=Party(name=entry.seller, address=seller.address, state=seller.state, gstin=seller.gstin),
        buyer=buyer,
        place_of_supply=place,
        code=entry.code,
        currency=supply.bill.currency,
        figures=figures,
        lines=_lines(supply.bill) if kind is DocumentKind.INVOICE else _difference(entry, figures, supply),
        taxes=split(figures.tax_minor, entry.rate_percent, seller_state=seller.state, place=place),
        prices_include_tax=kind is DocumentKind.INVOICE and bool(supply.bill.included_tax),
        metered=supply.metered,
        order_id=order.order_id,
        revision=supply.revision,
        order_number=order.order_number,
        bap_id=order.bap_id,
        payments=_payments(order),
        refers_to=stamp.refers_to,
        refers_to_ms=stamp.refers_to_ms,
        footer=entry.footer,
    )


def _buyer(buyer: Buyer, bap_id: str) -> Party:
    tax_id = buyer.tax_id.strip().upper() if buyer.tax_id else None
    gstin = tax_id if tax_id is not None and is_gstin(tax_id) else None
    return Party(
        name=buyer.organization or buyer.name or f"Customer of {bap_id}",
        address=buyer.address,
        state=gstin[:2] if gstin is not None else state_of(buyer.state),
        gstin=gstin,
        other_tax_id=None if gstin is not None else buyer.tax_id,
    )


def _place(entry: TaxEntry, buyer: Party, station_state: str | None, seller: Registration) -> str:
    station = state_of(station_state)
    if entry.place_of_supply is PlaceOfSupply.STATION:
        return station or seller.state
    return buyer.state or station or seller.state


def _lines(bill: Breakdown) -> tuple[Line, ...]:
    return tuple(
        Line(description=line.description, amount_minor=to_minor(line.amount), is_taxed=line.role not in UNTAXED)
        for line in bill.components
        if line.role is not Role.TAX
    )


def _difference(entry: TaxEntry, figures: Figures, supply: Supply) -> tuple[Line, ...]:
    kwh = f"{Decimal(supply.metered.energy_wh) / 1000:.3f}"
    said = f"{entry.description}: difference to what was invoiced before, now {kwh} kWh in all"
    lines = [Line(description=said, amount_minor=figures.taxable_minor)]
    if figures.untaxed_minor:
        lines.append(
            Line(description="Amounts outside the tax, difference", amount_minor=figures.untaxed_minor, is_taxed=False)
        )
    return tuple(lines)


def _payments(order: Order) -> tuple[PaidBy, ...]:
    made = [payment for payment in (order.payment, *order.top_ups) if payment is not None and payment.is_good]
    return tuple(
        PaidBy(ref=payment.txn_ref or payment.payment_id, amount_minor=payment.amount_minor, at_ms=payment.paid_at_ms)
        for payment in made
    )
