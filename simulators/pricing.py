"""Recomputing a bill from the price lines of its own quotation, and nothing else.

The witness does not know the seller's tariff: it reads unit price and percentages off `on_select` as a careful
buyer would, applies them to the metered energy (BECKN 4.5) and compares. What a line does not tell (an idle fee
that arose meanwhile) is taken from the bill and named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

CENT = Decimal("0.01")
ZERO = Decimal(0)
PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
THRESHOLD = re.compile(r"(?:from|at|above|>=|≥)\s*(\d+(?:\.\d+)?)\s*kWh", re.IGNORECASE)
PROVISION = re.compile(r"over(charge|age)|buffer|provision", re.IGNORECASE)
FINDER = re.compile(r"finder", re.IGNORECASE)
IDLE = re.compile(r"idle", re.IGNORECASE)
REFUNDED = frozenset({"REFUNDED", "PARTIALLY_REFUNDED"})
ZERO_SESSION_KWH = Decimal("0.01")  # below this no service fee is charged (BECKN 6.2)


def cents(amount: Decimal) -> Decimal:
    """Half up to two places, as every component line is."""
    return amount.quantize(CENT, rounding=ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Line:
    """One component of an orderValue."""

    kind: str
    value: Decimal
    text: str

    @property
    def percent(self) -> Decimal | None:
        found = PERCENT.search(self.text)
        return Decimal(found.group(1)) if found else None


@dataclass(frozen=True, slots=True)
class Quote:
    """What an order costs by its message: total, lines, and the price of one unit."""

    value: Decimal
    lines: tuple[Line, ...]
    unit_price: Decimal | None
    unit: str

    @classmethod
    def of(cls, order: dict[str, Any]) -> Quote:
        """Read `beckn:orderValue` and the item's price; a missing value is an error of the seller: KeyError."""
        value = order["beckn:orderValue"]
        price = order["beckn:orderItems"][0].get("beckn:price") or {}
        per = price.get("applicableQuantity", {})
        unit_price = None
        if "value" in price:
            unit_price = exact(price["value"]) / exact(per.get("unitQuantity", 1))
        return cls(
            value=exact(value["value"]),
            lines=tuple(
                Line(part["type"], exact(part["value"]), part.get("description", ""))
                for part in value.get("components", [])
            ),
            unit_price=unit_price,
            unit=per.get("unitCode", "KWH"),
        )

    @property
    def provision(self) -> Decimal:
        """The overage buffer inside the total."""
        return sum((line.value for line in self.lines if PROVISION.search(line.text)), ZERO)

    def adds_up(self) -> bool:
        """The total is the exact sum of its lines."""
        return not self.lines or sum((line.value for line in self.lines), ZERO) == self.value

    def price_of(self, kwh: Decimal, idle_fee: Decimal = ZERO) -> Decimal:
        """What `kwh` cost by these lines: no provision, percentages re-applied, flat fees kept."""
        if self.unit_price is None:
            raise ValueError("the quotation names no unit price")
        unit = cents(self.unit_price * kwh)
        taxable = total = unit
        for line in self.lines:
            amount = self._applied(line, unit, kwh)
            total += amount
            if not FINDER.search(line.text):
                taxable += amount
        taxable, total = taxable + idle_fee, total + idle_fee
        for line in self.lines:
            if line.kind == "TAX":
                rate = line.percent if line.percent is not None else self._rate(line)
                total += cents(taxable * rate / 100)
        return total

    def _applied(self, line: Line, unit: Decimal, kwh: Decimal) -> Decimal:
        if line.kind in {"UNIT", "TAX"} or PROVISION.search(line.text) or IDLE.search(line.text):
            return ZERO
        if line.percent is not None:
            share = cents(unit * line.percent / 100)
            return -share if line.value < 0 else share
        if line.kind == "DISCOUNT" and (floor := THRESHOLD.search(line.text)):
            return line.value if kwh >= Decimal(floor.group(1)) else ZERO
        if line.kind == "FEE" and kwh < ZERO_SESSION_KWH and not FINDER.search(line.text):
            return ZERO
        return line.value

    def _rate(self, tax: Line) -> Decimal:
        """The tax rate when the line does not say it: from its own amounts."""
        base = sum(
            (
                line.value
                for line in self.lines
                if line.kind != "TAX" and not PROVISION.search(line.text) and not FINDER.search(line.text)
            ),
            ZERO,
        )
        return (tax.value * 100 / base).quantize(CENT) if base else ZERO


@dataclass(frozen=True, slots=True)
class Bill:
    """An order as the seller last described it, in particular the final one."""

    order: dict[str, Any]

    @property
    def quote(self) -> Quote:
        return Quote.of(self.order)

    @property
    def value(self) -> Decimal:
        return self.quote.value

    @property
    def session(self) -> dict[str, Any]:
        attributes: dict[str, Any] = self.order.get("beckn:fulfillment", {}).get("beckn:deliveryAttributes", {})
        return attributes

    @property
    def metered_kwh(self) -> Decimal | None:
        metered = self.session.get("meteredEnergyKWh")
        return None if metered is None else exact(metered)

    @property
    def order_status(self) -> str:
        return str(self.order.get("beckn:orderStatus", ""))

    @property
    def session_status(self) -> str:
        return str(self.session.get("sessionStatus", ""))

    @property
    def payment(self) -> dict[str, Any]:
        payment: dict[str, Any] = self.order.get("beckn:payment", {})
        return payment

    @property
    def payment_status(self) -> str:
        return str(self.payment.get("beckn:paymentStatus", ""))

    @property
    def payment_amount(self) -> Decimal:
        return exact(self.payment.get("beckn:amount", {}).get("value", 0))

    @property
    def payment_id(self) -> str:
        return str(self.payment.get("beckn:id", ""))

    @property
    def refunds(self) -> dict[str, Decimal]:
        """What went back by this message: payment id -> amount."""
        return {self.payment_id: self.payment_amount} if self.payment_status in REFUNDED else {}

    @property
    def due(self) -> Decimal:
        """What the final bill still asks for."""
        asks = self.order_status == "COMPLETED" and self.payment_status in {"PENDING", "INITIATED"}
        return self.payment_amount if asks else ZERO

    @property
    def idle_fee(self) -> Decimal:
        return sum((line.value for line in self.quote.lines if IDLE.search(line.text)), ZERO)


def exact(number: float | str | Decimal) -> Decimal:
    """A JSON number as the decimal it was written as."""
    return Decimal(str(number))
