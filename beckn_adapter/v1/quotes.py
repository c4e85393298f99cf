"""Quotations and bills in Beckn 1.1.0: lines in each network's titles, whose sum is the price (BECKN 5.4). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from beckn_adapter.speaking import Json
from beckn_adapter.v1.profiles import Profile
from csms.domain.breakdown import Breakdown, Component, ComponentKind, Role
from csms.domain.order import Order, PaymentStatus, State
from csms.domain.tariff import text
from csms.domain.units import ZERO, from_minor

OVER: Final = frozenset({State.CANCELLED, State.EXPIRED, State.FAILED})  # ended before there was anything to bill
_SURGE: Final = "Surge price"  # what the tariff calls a surge without a name


def value_of(order: Order) -> Breakdown:
    """What the order is worth by now: the bill, an interruption's estimate, or the quote."""
    if order.final is not None:
        return order.final
    if order.estimate is not None and order.state in (State.INTERRUPTED, State.COMPLETED):
        return order.estimate
    return order.quote


def quote_json(order: Order, profile: Profile, *, with_ttl: bool = False) -> Json:
    """Price and breakup, which always add up; discounts are negative (BECKN 5.4). A cancelled order
    shows its refund."""
    if order.state in OVER:
        return refund_quote(order)
    value = value_of(order)
    note = "Estimate: " if value is order.estimate and value is not order.final else ""
    lines = [(note + title_of(order, line, profile), line.amount) for line in value.components]
    back = returned(order)
    if profile.shows_returns and back > 0:
        lines += [("Paid in advance, not used", back), ("Overcharge refund", -back)]
    written = priced(lines, value.currency)
    if with_ttl:
        minutes = max(1, (order.quote_expires_ms - order.quoted_at_ms) // 60_000)
        written["ttl"] = f"PT{minutes}M"
    return written


def refund_quote(order: Order) -> Json:
    """What a cancelled order comes to: what was paid goes back, all but the fee; the total is negative (BECKN 5.6)."""
    lines = [("payment refund", -from_minor(order.paid_minor))]
    fee = order.cancellation_fee
    lines += [(line.description, line.amount) for line in fee.components] if fee is not None else []
    return priced(lines, order.quote.currency)


def returned(order: Order) -> Decimal:
    """What a bill leaves of what was collected, in rupees; a hold is released, not paid back."""
    payment = order.payment
    if order.final is None or payment is None or not payment.is_good or payment.status is PaymentStatus.AUTHORIZED:
        return ZERO
    paid_minor = payment.amount_minor + sum(top_up.amount_minor for top_up in order.top_ups if top_up.is_good)
    return max(ZERO, from_minor(paid_minor - order.final.total_minor))


def priced(lines: Sequence[tuple[str, Decimal]], currency: str) -> Json:
    """A quotation whose price is the sum of its lines."""
    return {
        "price": {"value": money(sum((amount for _, amount in lines), ZERO)), "currency": currency},
        "breakup": [
            {"title": title, "price": {"value": money(amount), "currency": currency}} for title, amount in lines
        ],
    }


def money(amount: Decimal) -> str:
    """Rupees with two places; there is no minus zero."""
    return f"{amount if amount else ZERO:.2f}"


def title_of(order: Order, line: Component, profile: Profile) -> str:
    """What a line is called in this network; one it has no word for keeps its own."""
    template = profile.titles.get(line.role)
    if template is None or (line.role is Role.TAX and line.kind is not ComponentKind.TAX):
        return line.description
    name, _, inside = line.description.rpartition(" (")
    loyalty = order.terms.loyalty
    is_loyal = loyalty is not None and line.description == loyalty.label
    discount = loyalty if is_loyal else order.terms.discount
    return template.format(
        description=line.description,
        quantity=line.description.removeprefix("Energy ").removeprefix("Time ").replace(" × ", " @ "),
        inside=inside.removesuffix(")"),
        label="" if name == _SURGE else f" {name}",
        discount="loyalty program" if is_loyal else "offer",
        off=f"({text(discount.percent)}%)" if discount is not None and discount.percent else "",
    )
