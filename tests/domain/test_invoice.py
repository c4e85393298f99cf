"""Invoices and notes: every column adds up, the tax is the tariff's, and a wrong rate makes no document."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.domain.breakdown import Breakdown, Component, ComponentKind, Role
from csms.domain.buyer import Buyer
from csms.domain.invoice import (
    DocumentKind,
    Figures,
    Invoice,
    Metered,
    NotInvoiced,
    Stamp,
    Supply,
    check,
    document,
    due,
    figures_of,
    number_in,
    series,
    summed,
)
from csms.domain.order import Order, Payment, PaymentStatus, State, Want, WantKind
from csms.domain.settlement import payable
from csms.domain.stored import from_json, to_json
from csms.domain.tariff import (
    CancellationPolicy,
    FeeKind,
    FinderFee,
    Rate,
    Slice,
    Tariff,
    Terms,
    Usage,
    bill,
    cancellation_bill,
)
from csms.domain.taxes import (
    PlaceOfSupply,
    Registration,
    TaxEntry,
    entry_at,
    financial_year,
    is_gstin,
    split,
    state_of,
)
from csms.domain.units import to_minor

D = Decimal
KARNATAKA = "29AAPFU0939F1ZR"
MAHARASHTRA = "27AAPFU0939F1ZV"
TARIFF = Tariff(tariff_id="t18", rates=(Rate(per_kwh=D(18)),), service_fee=D(10), tax_percent=D(18))
TERMS = Terms(tariff=TARIFF, finder_fee=FinderFee(kind=FeeKind.PERCENTAGE, value=D("2.5")))
INCLUSIVE = Terms(tariff=replace(TARIFF, tax_inclusive=True))
ENTRY = TaxEntry(
    valid_from_ms=0,
    seller="Test CPO",
    registrations=(
        Registration(state="29", address="1 Main Road, Bengaluru", gstin=KARNATAKA),
        Registration(state="27", address="2 Marine Drive, Mumbai", gstin=MAHARASHTRA),
    ),
    rate_percent=D(18),
)
NOVEMBER_MS = 1_793_000_000_000  # 2026-10-26
STAMP = Stamp(number="I29/2627/0000001", issued_ms=NOVEMBER_MS)


def usage(wh: int) -> Usage:
    return Usage(slices=(Slice(start_ms=0, end_ms=3_600_000, energy_wh=wh),))


def order(terms: Terms = TERMS, buyer: Buyer | None = None) -> Order:
    price = bill(terms, usage(10_000))
    return Order(
        order_id="o", network="v2", transaction_id="t", bap_id="bap", bap_uri="http://bap.example", domain="d",
        item_id="i", station="CP", evse=1, connector=1, want=Want(kind=WantKind.ENERGY, energy_wh=10_000),
        terms=terms, quote=price, quoted_wh=10_000, hold_minor=price.total_minor, quoted_at_ms=0, quote_expires_ms=1,
        state=State.COMPLETED, session_id="s", buyer=buyer or Buyer(),
        payment=Payment(payment_id="p", status=PaymentStatus.COMPLETED, amount_minor=500, beneficiary="BPP",
                        txn_ref="R"),
    )  # fmt: skip


def supply(made: Breakdown, *, terms: Terms = TERMS, state: str | None = "KA", buyer: Buyer | None = None) -> Supply:
    return Supply(
        order=order(terms, buyer),
        bill=made,
        revision=1,
        supplied_ms=NOVEMBER_MS,
        metered=Metered(),
        station_state=state,
    )


def invoiced(it: Supply, entry: TaxEntry = ENTRY) -> Invoice:
    wanted = due(it.bill, [])
    assert wanted is not None
    return document(it, entry, check(it, entry), *wanted, STAMP)


# ---------------------------------------------------------------- figures


def test_the_worked_bill_of_6_4_kwh_by_columns() -> None:
    made = bill(TERMS, usage(6_400))  # 115.20 + 10.00 + 22.54 tax + 2.88 finder
    assert figures_of(made) == Figures(taxable_minor=12_520, tax_minor=2_254, untaxed_minor=288)
    assert figures_of(made).total_minor == made.total_minor


def test_tax_inside_the_prices_is_taken_out_of_them() -> None:
    made = bill(INCLUSIVE, usage(6_400))
    assert made.total_minor == 12_520
    assert figures_of(made) == Figures(taxable_minor=10_610, tax_minor=1_910, untaxed_minor=0)


def test_what_the_operator_bears_stands_outside_the_tax() -> None:
    line = Component(kind=ComponentKind.DISCOUNT, role=Role.WAIVED, amount=D("-1.00"), description="borne")
    made = bill(TERMS, usage(6_400))
    lower = replace(made, components=(*made.components, line))
    assert figures_of(lower).tax_minor == figures_of(made).tax_minor
    assert figures_of(lower).total_minor == made.total_minor - 100


@pytest.mark.parametrize(
    ("before_wh", "now_wh", "kind"),
    [
        (6_400, 6_300, DocumentKind.CREDIT_NOTE),
        (6_400, 6_500, DocumentKind.DEBIT_NOTE),
        (6_400, 0, DocumentKind.CREDIT_NOTE),
        (6_400, 6_400, None),
    ],
)
def test_a_later_bill_makes_a_note_of_the_difference(before_wh: int, now_wh: int, kind: DocumentKind | None) -> None:
    before, now = figures_of(bill(TERMS, usage(before_wh))), bill(TERMS, usage(now_wh))
    made = due(now, [before])
    if kind is None:
        assert made is None
        return
    assert made is not None
    assert made[0] is kind
    assert before.plus(made[1]) == figures_of(now)


def test_nothing_charged_makes_no_invoice() -> None:
    assert due(bill(TERMS, usage(0)), []) is None


@given(st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 300)), min_size=1, max_size=6), st.booleans())
def test_the_documents_of_an_order_add_up_to_what_the_buyer_is_charged(
    bills: list[tuple[int, int]], is_inclusive: bool
) -> None:
    terms = INCLUSIVE if is_inclusive else TERMS
    made: list[Figures] = []
    for wh, waived_minor in bills:
        now = bill(terms, usage(wh))
        if waived_minor and now.total_minor > waived_minor:
            line = Component(
                kind=ComponentKind.DISCOUNT, role=Role.WAIVED, amount=D(-waived_minor) / 100, description="borne"
            )
            now = replace(now, components=(*now.components, line))
        wanted = due(now, made)
        if wanted is not None:
            kind, figures = wanted
            assert kind is DocumentKind.INVOICE if not made else kind is not DocumentKind.INVOICE
            assert figures.total_minor <= 0 if kind is DocumentKind.CREDIT_NOTE else figures.total_minor >= 0
            made.append(figures)
        assert summed(made) == figures_of(now)
        assert summed(made).total_minor == now.total_minor
        assert summed(made).tax_minor == to_minor(now.tax)


@given(st.integers(-10_000_000, 10_000_000), st.booleans())
def test_the_parts_of_the_tax_add_up_to_it(tax_minor: int, is_one_state: bool) -> None:
    parts = split(tax_minor, D(18), seller_state="29", place="29" if is_one_state else "27")
    assert sum(part.amount_minor for part in parts) == tax_minor
    if is_one_state and tax_minor:
        assert [(part.label, part.percent) for part in parts] == [("CGST", D(9)), ("SGST", D(9))]
        assert 0 <= abs(parts[0].amount_minor) - abs(parts[1].amount_minor) <= 1
        back = split(-tax_minor, D(18), seller_state="29", place="29")
        assert [part.amount_minor for part in back] == [-part.amount_minor for part in parts]
    elif tax_minor:
        assert [(part.label, part.percent) for part in parts] == [("IGST", D(18))]


# ---------------------------------------------------------------- who sells, and where


@pytest.mark.parametrize(
    ("station", "buyer", "rule", "seller", "place", "labels"),
    [
        ("KA", Buyer(), PlaceOfSupply.BUYER, "29", "29", ["CGST", "SGST"]),
        ("MH", Buyer(), PlaceOfSupply.BUYER, "27", "27", ["CGST", "SGST"]),
        ("KA", Buyer(tax_id=MAHARASHTRA.lower()), PlaceOfSupply.BUYER, "29", "27", ["IGST"]),
        ("KA", Buyer(tax_id=MAHARASHTRA), PlaceOfSupply.STATION, "29", "29", ["CGST", "SGST"]),
        ("KA", Buyer(state="Tamil Nadu"), PlaceOfSupply.BUYER, "29", "33", ["IGST"]),
        ("Goa", Buyer(), PlaceOfSupply.BUYER, "29", "30", ["IGST"]),  # the head office sells where no other does
        (None, Buyer(), PlaceOfSupply.BUYER, "29", "29", ["CGST", "SGST"]),
        ("KA", Buyer(tax_id="not a number"), PlaceOfSupply.BUYER, "29", "29", ["CGST", "SGST"]),
    ],
)
def test_two_states_decide_the_split(
    station: str | None, buyer: Buyer, rule: PlaceOfSupply, seller: str, place: str, labels: list[str]
) -> None:
    it = invoiced(supply(bill(TERMS, usage(6_400)), state=station, buyer=buyer), replace(ENTRY, place_of_supply=rule))
    assert (it.seller.state, it.place_of_supply) == (seller, place)
    assert [tax.label for tax in it.taxes] == labels
    assert sum(tax.amount_minor for tax in it.taxes) == it.figures.tax_minor == 2_254


def test_a_union_territory_without_a_legislature_takes_utgst() -> None:
    assert [part.label for part in split(100, D(18), seller_state="04", place="04")] == ["CGST", "UTGST"]


def test_an_invoice_says_everything_and_can_be_read_back() -> None:
    it = invoiced(supply(bill(TERMS, usage(6_400)), buyer=Buyer(name="A. Driver", tax_id=MAHARASHTRA)))
    assert (it.seller.gstin, it.buyer.gstin, it.buyer.name) == (KARNATAKA, MAHARASHTRA, "A. Driver")
    assert (it.code, it.currency, it.order_id) == ("998714", "INR", "o")
    assert [(line.amount_minor, line.is_taxed) for line in it.lines] == [(11_520, True), (1_000, True), (288, False)]
    assert [(paid.ref, paid.amount_minor) for paid in it.payments] == [("R", 500)]
    assert from_json(Invoice, to_json(it)) == it


# ---------------------------------------------------------------- what is not invoiced


def test_a_rate_that_was_not_charged_makes_no_document() -> None:
    with pytest.raises(NotInvoiced, match=r"charged 18% tax .* but 12% is configured"):
        check(supply(bill(TERMS, usage(6_400))), replace(ENTRY, rate_percent=D(12)))


def test_tax_without_a_registration_makes_no_document() -> None:
    bare = replace(ENTRY, registrations=(Registration(state="29", address="1 Main Road"),))
    with pytest.raises(NotInvoiced, match="no GSTIN"):
        check(supply(bill(TERMS, usage(6_400))), bare)


def test_tax_that_is_not_the_rate_of_the_price_makes_no_document() -> None:
    made = bill(TERMS, usage(6_400))
    more = Component(kind=ComponentKind.TAX, role=Role.TAX, amount=D("0.02"), description="a slip")
    with pytest.raises(NotInvoiced, match="is not 18%"):
        check(supply(replace(made, components=(*made.components, more))), ENTRY)


@given(st.integers(0, 3_000_000), st.booleans(), st.sampled_from(["0", "5", "12", "18", "28", "0.25"]))
def test_every_bill_of_a_tariff_passes_under_its_own_rate(wh: int, is_inclusive: bool, percent: str) -> None:
    terms = replace(TERMS, tariff=replace(TARIFF, tax_percent=D(percent), tax_inclusive=is_inclusive))
    it = supply(bill(terms, usage(wh)), terms=terms)
    assert check(it, replace(ENTRY, rate_percent=D(percent))).state == "29"


@given(st.integers(1, 1_000_000), st.sampled_from(["10", "33.3", "100"]), st.booleans())
def test_a_cancellation_fee_passes_under_its_own_rate(paid_minor: int, percent: str, is_inclusive: bool) -> None:
    policy = CancellationPolicy(percent=D(percent), flat=D(15))
    terms = replace(TERMS, tariff=replace(TARIFF, tax_inclusive=is_inclusive), cancellation=policy)
    fee = cancellation_bill(terms, D("272.34"), D(paid_minor) / 100)
    if fee.total_minor:
        check(supply(fee, terms=terms), ENTRY)


def test_payable_and_invoice_agree_on_what_is_waived() -> None:
    assert figures_of(payable(bill(TERMS, usage(6_400)), [])).total_minor == bill(TERMS, usage(6_400)).total_minor


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("KA", "29"), ("IN-KA", "29"), ("29", "29"), ("Karnataka", "29"), ("tamil nadu", "33"),
        ("Jammu & Kashmir", "01"), ("Orissa", "21"), ("New Delhi", "07"), ("TG", "36"), ("Atlantis", None), ("", None),
        (None, None), ("99", None),
    ],
)  # fmt: skip
def test_states_as_people_write_them(text: str | None, code: str | None) -> None:
    assert state_of(text) == code


def test_a_gstin_has_a_check_digit() -> None:
    assert is_gstin(MAHARASHTRA)
    assert is_gstin(KARNATAKA)
    for broken in ("27AAPFU0939F1ZW", "27AAPFU0939F1Z", "27aapfu0939f1zv", "28AAPFU0939F1ZV", "27AAPFU9039F1ZV"):
        assert not is_gstin(broken)


def test_the_entry_in_force_at_the_time_of_supply_counts() -> None:
    later = replace(ENTRY, valid_from_ms=1000, rate_percent=D(12))
    assert entry_at((later, ENTRY), 999) is ENTRY
    assert entry_at((later, ENTRY), 1000) is later
    assert entry_at((later,), 999) is None


@pytest.mark.parametrize(
    "broken",
    [
        {"registrations": ()},
        {"registrations": (Registration(state="29", address="a"), Registration(state="29", address="b", series="X"))},
        {"registrations": (Registration(state="29", address="a"), Registration(state="27", address="b", series="29"))},
        {"rate_percent": D(101)},
        {"zone": "Mars/Olympus"},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(broken: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError)):
        replace(ENTRY, **broken)  # type: ignore[arg-type]


def test_a_registration_must_be_its_states() -> None:
    with pytest.raises(ValueError, match="not of the state"):
        Registration(state="27", address="a", gstin=KARNATAKA)
    with pytest.raises(ValueError, match="check digit"):
        Registration(state="27", address="a", gstin="27AAPFU0939F1ZW")


def test_numbers_have_at_most_sixteen_places_and_years_begin_in_april_there() -> None:
    last_ms, first_ms = 1_774_981_799_999, 1_774_981_800_000  # 2026-04-01 00:00 in India
    assert (financial_year(last_ms, "Asia/Kolkata"), financial_year(first_ms, "Asia/Kolkata")) == ("2526", "2627")
    name = series(DocumentKind.INVOICE, first_ms, "Asia/Kolkata", "29")
    assert number_in(name, 1) == "I29/2627/0000001"
    assert len(number_in(name, 9_999_999)) == 16
