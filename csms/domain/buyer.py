"""Who buys, as far as the buyer's app says: one person under several names."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Buyer:
    """What was said of a buyer. Everything may be missing; nothing here has been checked.

    `buyer_id` is the app's own number for them and means nothing in another app; `vehicle_id` is a VIN or EVCCID;
    `consumer_number` is their account with the electricity supplier, where they want the energy on that bill.
    """

    buyer_id: str | None = None
    name: str | None = None
    organization: str | None = None
    phone: str | None = None
    email: str | None = None
    tax_id: str | None = None  # GSTIN in India
    address: str | None = None
    state: str | None = None  # decides between CGST + SGST and IGST
    vpa: str | None = None
    vehicle_make: str | None = None
    vehicle_model: str | None = None
    vehicle_id: str | None = None
    consumer_number: str | None = None

    def with_news(self, said: Buyer | None) -> Buyer:
        """This buyer with what `said` adds or changes; what it leaves out stands."""
        if said is None:
            return self
        return Buyer(**{f.name: getattr(said, f.name) or getattr(self, f.name) for f in fields(Buyer)})

    @property
    def names(self) -> tuple[str, ...]:
        """What is the same person's in every app: number and address. An id is not, each app gives its own."""
        return tuple(name for name in (self.phone, self.email) if name)
