"""Reading a seller's Beckn 1.1.0 order, in whatever accent: `BillV1` says it in the words the judge knows.

State codes are taken as people write them: case, `_` and blanks do not matter (BECKN 5.1).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from simulators.pricing import ZERO, Bill, Line, Quote, exact

Json = dict[str, Any]

PENDING: Final = frozenset({"pending", "payment-completed", "reservation", "order-initiated"})
ACTIVE: Final = frozenset({"active", "charging-started", "charging-start", "charging"})
INTERRUPTED: Final = frozenset({"connection-interrupted", "charging-interrupted", "interrupted"})
COMPLETED: Final = frozenset({"completed", "charging-ended", "charging-end"})
CANCELLED: Final = frozenset({"cancelled", "order-cancelled", "charger-error"})
# What each network's own words for a price line mean.
TAX: Final = re.compile(r"\bgst\b|\btax\b", re.IGNORECASE)
UNIT: Final = re.compile(r"session.cost|energy.cost|estimated units|^time cost", re.IGNORECASE)
SURCHARGE: Final = re.compile(r"surge|surcharge", re.IGNORECASE)
OFFLINE: Final = frozenset({"Unavailable", "Faulted"})
UNIT_CODES: Final = {"kwh": "KWH", "min": "MIN", "minute": "MIN", "minutes": "MIN"}


def normal(code: object) -> str:
    """A code as it is compared."""
    return re.sub(r"[\s_]+", "-", str(code or "").strip().lower())


def tags_of(thing: Json, group: str) -> dict[str, str]:
    """The entries of a tag group, by normalised code; the group is found by code or name."""
    for tag in thing.get("tags", []):
        described = tag.get("descriptor", {})
        if group in {normal(described.get("code")), normal(described.get("name"))}:
            return {normal(e["descriptor"].get("code") or e["descriptor"].get("name")): e["value"] for e in tag["list"]}
    return {}


@dataclass(frozen=True, slots=True)
class ItemV1:
    """One line of a catalogue."""

    raw: Json
    provider_raw: Json

    @property
    def id(self) -> str:
        return str(self.raw["id"])

    @property
    def provider(self) -> str:
        return str(self.provider_raw["id"])

    @property
    def offers(self) -> tuple[Json, ...]:
        """The offers that cover it."""
        every = self.provider_raw.get("offers", [])
        return tuple(offer for offer in every if self.id in offer.get("item_ids", []))

    @property
    def attributes(self) -> Json:
        """Its connector's tags."""
        return dict(tags_of(self.raw, "connector-specifications"))

    @property
    def is_spot(self) -> bool:
        """For whoever stands there now, where the network tells it from a booking (BECKN 5.3)."""
        return bool(self.raw.get("descriptor", {}).get("short_desc") == "Spot Booking")

    @property
    def fulfillments(self) -> list[Json]:
        """Those that belong to it."""
        mine = self.raw.get("fulfillment_ids", [])
        return [one for one in self.provider_raw.get("fulfillments", []) if one["id"] in mine]

    @property
    def names(self) -> str:
        """Everything a person could know it by."""
        points = [tags_of(one, "charging-point-specifications") for one in self.fulfillments]
        return " ".join([self.id, *(value for point in points for value in point.values())])


@dataclass(frozen=True, slots=True)
class BillV1(Bill):
    """An order of generation 1 as the seller last described it."""

    @property
    def quote(self) -> Quote:
        quote = self.order["quote"]
        unit_price, unit = self._unit_price()
        return Quote(
            value=exact(quote["price"]["value"]),
            lines=tuple(_line(part) for part in quote.get("breakup", [])),
            unit_price=unit_price,
            unit=unit,
        )

    def _unit_price(self) -> tuple[Decimal | None, str]:
        price = self.order["items"][0].get("price") or {}
        _, _, per = str(price.get("currency", "")).partition("/")
        if "value" not in price or not per:
            return None, "KWH"
        return exact(price["value"]), UNIT_CODES.get(per.strip().lower(), per.strip())

    @property
    def state(self) -> str:
        """The state code, normalised."""
        for fulfillment in self.order.get("fulfillments", []):
            code = fulfillment.get("state", {}).get("descriptor", {}).get("code")
            if code:
                return normal(code)
        return ""

    @property
    def session(self) -> Json:
        """The telemetry group, as it stands."""
        fulfillments = self.order.get("fulfillments") or [{}]
        return dict(tags_of(fulfillments[0], "charging-details"))

    @property
    def metered_kwh(self) -> Decimal | None:
        measure = self.order["items"][0].get("quantity", {}).get("allocated", {}).get("measure", {})
        if "value" in measure:
            return exact(measure["value"])
        return None

    @property
    def delivered_kwh(self) -> Decimal | None:
        """By the telemetry."""
        told = self.session.get("energy-delivered")
        return exact(re.sub(r"[^0-9.]", "", told)) if told else None

    @property
    def order_status(self) -> str:
        status = normal(self.order.get("status"))
        if status == "cancelled" or self.state in CANCELLED:
            return "CANCELLED"
        if status in {"complete", "completed"} or self.state in COMPLETED:
            return "COMPLETED"
        if self.state in ACTIVE | INTERRUPTED:
            return "INPROGRESS"
        return "CONFIRMED" if status == "active" else "CREATED"

    @property
    def session_status(self) -> str:
        if self.state in ACTIVE:
            return "INTERRUPTED" if self._is_offline() else "ACTIVE"
        known = {**dict.fromkeys(PENDING, "PENDING"), **dict.fromkeys(INTERRUPTED, "INTERRUPTED"),
                 **dict.fromkeys(COMPLETED, "COMPLETED")}  # fmt: skip
        return known.get(self.state, "")

    def _is_offline(self) -> bool:
        """A network without a word for it says it by the charger's own status (BECKN 6.2)."""
        told = self.order["fulfillments"][0]["state"]["descriptor"].get("long_desc")
        if not told:
            return False
        try:
            return bool(json.loads(told).get("status") in OFFLINE)
        except (ValueError, AttributeError):
            return False

    @property
    def payments(self) -> list[Json]:
        """All of them: what was paid, what goes back, what is still to pay."""
        return list(self.order.get("payments", []))

    @property
    def payment(self) -> Json:
        """What is asked for, else what was paid first."""
        return next(iter(self._asking()), self.payments[0] if self.payments else {})

    @property
    def payment_id(self) -> str:
        return str(self.payment.get("id", ""))

    @property
    def payment_status(self) -> str:
        if not self.payments:
            return ""
        if self._asking():
            return "PENDING"
        if self.refunds:
            return "REFUNDED" if self.value <= 0 else "PARTIALLY_REFUNDED"
        if any(refund_of(payment) is not None for payment in self.payments):
            return "ADJUSTED"
        return "COMPLETED"

    @property
    def payment_amount(self) -> Decimal:
        return _amount(self.payment)

    @property
    def refunds(self) -> dict[str, Decimal]:
        back = {str(p.get("id", "")): refund_of(p) for p in self.payments if normal(p.get("status")) == "paid"}
        return {payment_id: amount for payment_id, amount in back.items() if amount is not None}

    @property
    def due(self) -> Decimal:
        return _amount(self._asking()[0]) if self.order_status == "COMPLETED" and self._asking() else ZERO

    def _asking(self) -> list[Json]:
        return [p for p in self.payments if normal(p.get("status")) == "not-paid" and refund_of(p) is None]


def refund_of(payment: Json) -> Decimal | None:
    """How much goes back by this entry; None when it is no refund (BECKN 5.7)."""
    for tag in payment.get("tags", []):
        for entry in tag.get("list", []):
            if normal(entry.get("descriptor", {}).get("code")) == "refund-amount":
                return exact(re.sub(r"[^0-9.]", "", entry["value"]))
    return None


def _amount(payment: Json) -> Decimal:
    return exact(payment.get("params", {}).get("amount", "0"))


def _line(part: Json) -> Line:
    """One line of a breakup, with the kind the calculation needs."""
    title = part.get("title") or part.get("item", {}).get("descriptor", {}).get("name", "")
    value = exact(part["price"]["value"])
    if TAX.search(title):
        kind = "TAX"
    elif UNIT.search(title):
        kind = "UNIT"
    elif SURCHARGE.search(title):
        kind = "SURCHARGE"
    else:
        kind = "DISCOUNT" if value < 0 else "FEE"
    return Line(kind, value, title)
