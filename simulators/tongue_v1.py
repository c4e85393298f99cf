"""Beckn 1.1.0 as a `Tongue`, in one accent."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from simulators import bodies_v1 as bodies
from simulators.bodies import Amount, Json, Person
from simulators.bodies_v1 import ACCENTS, Accent
from simulators.pricing import Bill, exact
from simulators.reading_v1 import BillV1, ItemV1, normal
from simulators.tongues import UBC, V2, Tongue


@dataclass(slots=True)
class TongueV1:
    """One buyer's: it remembers who buys, because every message of this generation repeats it."""

    accent: Accent
    looking: tuple[str, str] = ("search", "on_search")
    _person: Person = field(default_factory=Person)

    @property
    def name(self) -> str:
        return self.accent.name

    @property
    def header(self) -> Json:
        return bodies.header(self.accent)

    def look(self, *, near: tuple[float, float, float] | None, expression: str | None, text: str | None) -> Json:
        """`expression`: this generation filters by connector alone."""
        return bodies.search(self.accent, near=near, text=text, connector=expression)

    def items(self, message: Json) -> list[ItemV1]:
        providers = message.get("catalog", {}).get("providers", [])
        return [ItemV1(item, provider) for provider in providers for item in provider.get("items", [])]

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
        self._person = person
        places = item.raw.get("fulfillment_ids") or ["1"]
        return bodies.select(
            self.accent,
            item_id=item.id,
            provider_id=item.provider,
            person=person,
            amount=amount,
            offer_id=offer["id"] if offer is not None else None,
            slot=slot,
            finder_fee_percent=finder_fee_percent,
            fulfillment_id=places[0],
        )

    def init(
        self,
        order: Json,
        *,
        person: Person,
        collected_by: str,
        subscriber_id: str,  # noqa: ARG002 - the seller makes the ids in this generation
        order_id: str,  # noqa: ARG002 - as above
        payment_id: str,  # noqa: ARG002 - as above
    ) -> Json:
        self._person = person
        return bodies.init(order, person=person, collected_by=collected_by)

    def confirm(self, order: Json, payment: Json, otp: str | None) -> Json:
        return bodies.confirm(order, payment, self._person, otp)

    def start(self, order: Json, otp: str | None) -> Json:
        return bodies.update(self.accent, order, self.accent.start, otp)

    def stop(self, order: Json) -> Json:
        return bodies.update(self.accent, order, self.accent.stop)

    def status(self, order_id: str) -> Json:
        return {"order_id": order_id}

    def track(self, order_id: str) -> Json:
        return {"order_id": order_id}

    def cancel(self, order: Json) -> Json:
        return bodies.cancel(order)

    def rating(self, order_id: str, value: int, comments: str | None) -> Json:  # noqa: ARG002 - no place for words
        return bodies.rating(self.accent, order_id, value)

    def support(self, order_id: str) -> Json:
        return {"support": {"ref_id": order_id}}

    def read(self, order: Json) -> Bill:
        return BillV1(order)

    def order_id(self, order: Json) -> str:
        return str(order.get("id", ""))

    def payment(self, order: Json) -> Json:
        payments = order.get("payments") or [{}]
        payment: Json = payments[0]
        return payment

    def asked(self, payment: Json, order: Json) -> Decimal:
        amount = payment.get("params", {}).get("amount")
        return exact(amount if amount is not None else order["quote"]["price"]["value"])

    def page(self, payment: Json) -> object:
        return payment.get("url")

    def collector(self, payment: Json) -> str:
        return "BAP" if normal(payment.get("collected_by")) == "bap" else "BPP"

    def paid(self, payment: Json, *, txn_ref: str, at: str, hold: bool) -> Json:  # noqa: ARG002 - PAID is the only word
        params = {**payment.get("params", {}), "transaction_id": txn_ref}
        kept = {key: value for key, value in payment.items() if key in {"id", "collected_by", "type", "tags"}}
        return {**kept, "type": payment.get("type", self.accent.payment_type), "status": "PAID", "params": params}


DIALECTS: Final = ("v2", "ubc", *ACCENTS)


def tongue(name: str) -> Tongue:
    """The tongue of that dialect. KeyError for one nobody speaks."""
    return {"v2": V2, "ubc": UBC}.get(name) or TongueV1(ACCENTS[name])
