"""What a Beckn 1.1.0 EV-charging buyer writes, in each of its accents (BECKN 5, appendix A).

An accent is data: the domain, and how that network spells a step. The shapes are the same in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from simulators.bodies import Amount, Json, Person

UNITS: Final = {"KWH": "kWh", "INR": "INR", "MIN": "MINUTES"}
METRES_PER_KM: Final = 1000


@dataclass(frozen=True, slots=True)
class Accent:
    """One profile of 1.1.0. `start` and `stop` are the state codes a buyer asks with; `stops` name the two ends."""

    name: str
    domain: str
    search_code: str
    stops: tuple[str, str]
    start: str
    stop: str
    payment_type: str
    filter_group: str
    rating_category: str = "Order"
    knows_categories: bool = False
    search_stop: str = "start"
    place: Json = field(default_factory=lambda: {"country": {"code": "IND"}, "city": {"code": "std:080"}})


UEI: Final = Accent(
    "uei", "ev-charging:uei", "energy", ("start", "finish"), "start-charging", "end-charging", "PRE-ORDER",
    "connector-type", knows_categories=True,
)  # fmt: skip
DEG: Final = Accent(
    "deg", "deg:ev-charging", "CHARGER", ("START", "STOP"), "START-CHARGING", "STOP-CHARGING", "PRE-FULFILLMENT",
    "connector-specifications", search_stop="START-CHARGING",
)  # fmt: skip
EOS: Final = Accent(
    "eos", "dent:ev-charging:0.1.0", "energy", ("start", "end"), "start-charging", "end-charging", "PRE-ORDER",
    "connector-type", rating_category="charger",
)  # fmt: skip
RFC: Final = Accent(
    "rfc", "ev-charging:beckn", "ev-charger", ("START", "END"), "START-CHARGING", "STOP-CHARGING", "ON-ORDER",
    "connector-specifications",
)  # fmt: skip
DEG2: Final = Accent(
    "deg2", "charging", "ENERGY", ("START", "END"), "CHARGING_STARTED", "CHARGING_ENDED", "PRE-ORDER",
    "Connector_Type",
)  # fmt: skip
ACCENTS: Final = {accent.name: accent for accent in (UEI, DEG, EOS, RFC, DEG2)}


def header(accent: Accent) -> Json:
    """What a context says of the accent."""
    return {"version": "1.1.0", "domain": accent.domain, "location": accent.place, "ttl": "PT30S"}


def search(
    accent: Accent,
    *,
    near: tuple[float, float, float] | None = None,
    text: str | None = None,
    connector: str | None = None,
    slot: tuple[str, str] | None = None,
) -> Json:
    """`near` is (latitude, longitude, metres). A gps is latitude first."""
    stop: Json = {"type": accent.search_stop}
    if near is not None:
        latitude, longitude, metres = near
        radius = {"type": "CONSTANT", "value": f"{metres / METRES_PER_KM:g}", "unit": "km"}
        stop["location"] = {"circle": {"gps": f"{latitude},{longitude}", "radius": radius}}
    if slot is not None:
        stop["time"] = {"range": {"start": slot[0], "end": slot[1]}}
    fulfillment: Json = {"type": "CHARGING", "stops": [stop]}
    if connector is not None:
        entry = {"descriptor": {"code": "connector-type"}, "value": connector}
        fulfillment["tags"] = [{"descriptor": {"code": accent.filter_group}, "list": [entry]}]
    intent: Json = {"item": {"descriptor": {"code": accent.search_code}}, "fulfillment": fulfillment}
    if text is not None:
        intent["descriptor"] = {"name": text}
    return {"intent": intent}


def select(
    accent: Accent,
    *,
    item_id: str,
    provider_id: str,
    person: Person,
    amount: Amount | None,
    offer_id: str | None,
    slot: tuple[str, str] | None,
    finder_fee_percent: float | None,
    fulfillment_id: str = "1",
) -> Json:
    """Ask for a price. A walk-in names no time."""
    line: Json = {"id": item_id}
    if amount is not None:
        line["quantity"] = quantity(amount)
    fulfillment: Json = {"id": fulfillment_id, "type": "CHARGING", "customer": customer(person)}
    if slot is not None:
        fulfillment["stops"] = [
            {"type": kind, "time": {"timestamp": at}} for kind, at in zip(accent.stops, slot, strict=True)
        ]
    order: Json = {"provider": {"id": provider_id}, "items": [line], "fulfillments": [fulfillment]}
    if offer_id is not None:
        order["offers"] = [{"id": offer_id}]
    if finder_fee_percent is not None:
        order["tags"] = [finder_fee(finder_fee_percent)]
    return {"order": order}


def quantity(amount: Amount) -> Json:
    """By energy, money or time: the unit says which (BECKN 5.4)."""
    measure = {"type": "CONSTANT", "value": f"{amount.number:g}", "unit": UNITS[amount.code]}
    return {"selected": {"measure": measure}}


def finder_fee(percent: float) -> Json:
    """What the buyer's app wants for bringing the buyer."""
    return {
        "descriptor": {"code": "buyer-finder-fee"},
        "list": [
            {"descriptor": {"code": "type"}, "value": "PERCENTAGE"},
            {"descriptor": {"code": "value"}, "value": f"{percent:g}"},
        ],
    }


def customer(person: Person) -> Json:
    """The driver."""
    return {"person": {"name": person.name}, "contact": {"phone": person.phone}}


def billing(person: Person) -> Json:
    """Who gets the invoice."""
    told = {"name": person.name, "phone": person.phone}
    return (
        told | ({"email": person.email} if person.email else {}) | ({"tax_id": person.tax_id} if person.tax_id else {})
    )


def init(order: Json, *, person: Person, collected_by: str) -> Json:
    """From the order of `on_select`. Who collects is said only when it is not the seller (BECKN 5.5)."""
    body = asked_again(order, person)
    if collected_by == "BAP":
        body["payments"] = [{"collected_by": "bap"}]
    return {"order": body}


def asked_again(order: Json, person: Person) -> Json:
    """What a buyer's app repeats of an order: provider, item with its quantity, when, and who."""
    line = order["items"][0]
    fulfillment = order["fulfillments"][0]
    body: Json = {
        "provider": {"id": order["provider"]["id"]},
        "items": [{key: line[key] for key in ("id", "quantity") if key in line}],
        "billing": billing(person),
        "fulfillments": [
            {key: fulfillment[key] for key in ("id", "type", "stops") if key in fulfillment}
            | {"customer": customer(person)}
        ],
    }
    body["fulfillments"][0]["stops"] = [
        {key: stop[key] for key in ("type", "time") if key in stop} for stop in fulfillment.get("stops", [])
    ]
    return body | {key: order[key] for key in ("offers", "tags") if key in order}


def confirm(order: Json, payment: Json, person: Person, otp: str | None) -> Json:
    """From the order of `on_init` and the payment as it stands now; the order's id is the seller's to give."""
    body = asked_again(order, person)
    body["payments"] = [payment]
    body["quote"] = order["quote"]
    with_otp(body["fulfillments"][0], otp)
    return {"order": body}


def update(accent: Accent, order: Json, state: str, otp: str | None = None) -> Json:
    """Start or stop. The order's id is left out, as this network's own examples do, in the accents that do."""
    fulfillment: Json = {"id": order["fulfillments"][0].get("id", "1"), "type": "CHARGING",
                         "state": {"descriptor": {"code": state}}}  # fmt: skip
    with_otp(fulfillment, otp)
    body: Json = {"provider": {"id": order["provider"]["id"]}, "fulfillments": [fulfillment]}
    if accent.name in {"deg", "rfc"}:
        body["id"] = order["id"]
    return {"update_target": "order.fulfillments[0].state", "order": body}


def with_otp(fulfillment: Json, otp: str | None) -> None:
    """The driver's one-time password stands at the first stop (BECKN 5.5)."""
    if otp is None:
        return
    stops = fulfillment.setdefault("stops", [])
    if not stops:
        stops.append({})
    stops[0]["authorization"] = {"type": "OTP", "token": otp}


def cancel(order: Json) -> Json:
    return {
        "order_id": order["id"],
        "cancellation_reason_id": "5",
        "descriptor": {"short_desc": "the driver's plans have changed"},
    }


def rating(accent: Accent, subject_id: str, value: int) -> Json:
    return {"ratings": [{"id": subject_id, "rating_category": accent.rating_category, "value": str(value)}]}
