"""How a buyer speaks: one tongue per dialect of Beckn. What is asked and what is understood, no conversation.

`Buyer` holds the conversation and is the same in every tongue; a tongue writes its requests and reads the seller's
orders into `Bill`s. `tongue("uei")` gives one by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Protocol

from simulators import bodies
from simulators.bodies import Amount, Json, Person
from simulators.pricing import Bill, exact

V2_HEADER: Final[Json] = {"version": "2.0.0", "domain": bodies.DOMAIN, "ttl": "PT30S"}
# The national network's name for the same thing (BECKN 0.1).
UBC_HEADER: Final[Json] = {**V2_HEADER, "domain": "beckn.one:deg:ev-charging"}


@dataclass(frozen=True, slots=True)
class Item:
    """One connector of a catalog, with the offers that cover it."""

    raw: Json
    offers: tuple[Json, ...] = ()

    @property
    def id(self) -> str:
        return str(self.raw["beckn:id"])

    @property
    def provider(self) -> str:
        return str(self.raw["beckn:provider"]["beckn:id"])

    @property
    def attributes(self) -> Json:
        attributes: Json = self.raw.get("beckn:itemAttributes", {})
        return attributes

    @property
    def is_active(self) -> bool:
        return bool(self.raw.get("beckn:isActive", True))

    @property
    def names(self) -> str:
        """Everything a person could know it by."""
        return f"{self.id} {self.attributes.get('evseId', '')}"


class Tongue(Protocol):
    """One dialect. `order` is always `message.order` as the seller last sent it."""

    @property
    def name(self) -> str:
        """As `--dialect` has it."""
        ...

    @property
    def header(self) -> Json:
        """What a context says of the dialect: version, domain, place."""
        ...

    @property
    def looking(self) -> tuple[str, str]:
        """The action that looks around, and its answer."""
        ...

    def look(self, *, near: tuple[float, float, float] | None, expression: str | None, text: str | None) -> Json:
        """The message of a look around; `near` is (latitude, longitude, metres)."""
        ...

    def items(self, message: Json) -> list[Any]:
        """What a catalogue offers, as `Item`s or their like."""
        ...

    def select(
        self,
        *,
        item: Any,
        person: Person,
        amount: Amount | None,
        offer: Json | None,
        slot: tuple[str, str] | None,
        finder_fee_percent: float | None,
    ) -> Json:
        """Ask for a quotation."""
        ...

    def init(
        self, order: Json, *, person: Person, collected_by: str, subscriber_id: str, order_id: str, payment_id: str
    ) -> Json:
        """Ask for the order. The ids are used only where the buyer's app makes them."""
        ...

    def confirm(self, order: Json, payment: Json, otp: str | None) -> Json:
        """Make it binding."""
        ...

    def start(self, order: Json, otp: str | None) -> Json:
        """Begin to charge."""
        ...

    def stop(self, order: Json) -> Json:
        """End it."""
        ...

    def status(self, order_id: str) -> Json:
        """How does it stand?"""
        ...

    def track(self, order_id: str) -> Json:
        """Where can it be watched?"""
        ...

    def cancel(self, order: Json) -> Json:
        """Give it back."""
        ...

    def rating(self, order_id: str, value: int, comments: str | None) -> Json:
        """An opinion of the order, 1 to 5."""
        ...

    def support(self, order_id: str) -> Json:
        """Whom can I ask?"""
        ...

    def read(self, order: Json) -> Bill:
        """What an order says."""
        ...

    def order_id(self, order: Json) -> str:
        """Its id; empty while it has none."""
        ...

    def payment(self, order: Json) -> Json:
        """The payment to make."""
        ...

    def asked(self, payment: Json, order: Json) -> Decimal:
        """How much it asks for."""
        ...

    def page(self, payment: Json) -> object:
        """Where it is made."""
        ...

    def collector(self, payment: Json) -> str:
        """BAP or BPP."""
        ...

    def paid(self, payment: Json, *, txn_ref: str, at: str, hold: bool) -> Json:
        """The payment with the buyer's app's word that it was made."""
        ...


@dataclass(frozen=True, slots=True)
class TongueV2:
    """Beckn 2.0.0, and the national network's profile of it."""

    name: str = "v2"
    header: Json = field(default_factory=lambda: dict(V2_HEADER))
    looking: tuple[str, str] = ("discover", "on_discover")

    def look(self, *, near: tuple[float, float, float] | None, expression: str | None, text: str | None) -> Json:
        return bodies.discover(near=near, expression=expression, text=text)

    def items(self, message: Json) -> list[Item]:
        items = []
        for catalog in message.get("catalogs", []):
            for raw in catalog.get("beckn:items", []):
                offers = [o for o in catalog.get("beckn:offers", []) if raw["beckn:id"] in o.get("beckn:items", [])]
                items.append(Item(raw, tuple(offers)))
        return items

    def select(
        self,
        *,
        item: Any,
        person: Person,
        amount: Amount | None,
        offer: Json | None,
        slot: tuple[str, str] | None,
        finder_fee_percent: float | None,
    ) -> Json:
        return bodies.select(
            item=item.raw,
            seller=item.provider,
            person=person,
            amount=amount,
            offer=offer,
            slot=slot,
            finder_fee_percent=finder_fee_percent,
        )

    def init(
        self,
        order: Json,
        *,
        person: Person,  # noqa: ARG002 - the order repeats its buyer
        collected_by: str,
        subscriber_id: str,
        order_id: str,
        payment_id: str,
    ) -> Json:
        return bodies.init(
            order, collected_by=collected_by, subscriber_id=subscriber_id, order_id=order_id, payment_id=payment_id
        )

    def confirm(self, order: Json, payment: Json, otp: str | None) -> Json:
        return bodies.with_otp(bodies.confirm(order, payment), otp)

    def start(self, order: Json, otp: str | None) -> Json:
        return bodies.with_otp(bodies.update(order, session_status="PENDING", order_status="CONFIRMED"), otp)

    def stop(self, order: Json) -> Json:
        return bodies.update(order, session_status="STOP", order_status="INPROGRESS")

    def status(self, order_id: str) -> Json:
        return bodies.status(order_id)

    def track(self, order_id: str) -> Json:
        return bodies.track(order_id)

    def cancel(self, order: Json) -> Json:
        return bodies.cancel(order)

    def rating(self, order_id: str, value: int, comments: str | None) -> Json:
        return bodies.rating(order_id, value, "ORDER", comments)

    def support(self, order_id: str) -> Json:
        return bodies.support(order_id)

    def read(self, order: Json) -> Bill:
        return Bill(order)

    def order_id(self, order: Json) -> str:
        return str(order.get("beckn:id", ""))

    def payment(self, order: Json) -> Json:
        payment: Json = order.get("beckn:payment", {})
        return payment

    def asked(self, payment: Json, order: Json) -> Decimal:
        asked: Json = payment.get("beckn:amount") or order["beckn:orderValue"]
        return exact(asked["value"])

    def page(self, payment: Json) -> object:
        return payment.get("beckn:paymentURL")

    def collector(self, payment: Json) -> str:
        return "BAP" if payment.get("beckn:beneficiary") == "BAP" else "BPP"

    def paid(self, payment: Json, *, txn_ref: str, at: str, hold: bool) -> Json:
        status = "AUTHORIZED" if hold else "COMPLETED"
        return {**payment, "beckn:txnRef": txn_ref, "beckn:paidAt": at, "beckn:paymentStatus": status}


V2: Final = TongueV2()
UBC: Final = TongueV2("ubc", UBC_HEADER)
