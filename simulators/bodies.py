"""What a Beckn v2 EV-charging buyer writes: contexts and the bodies of its requests (BECKN 4, appendix A)."""

from __future__ import annotations

import copy
import uuid
from dataclasses import dataclass
from typing import Any

BASE = "https://raw.githubusercontent.com/beckn/protocol-specifications-new/refs/heads/main/schema"
CORE = f"{BASE}/core/v2/context.jsonld"
DOMAIN = "beckn.one:deg:ev-charging:*"
UNIT_TEXTS = {"KWH": "Kilowatt Hour", "INR": "Indian Rupee", "MIN": "minutes"}
# A discover must ask for something (BECKN 4.3); this is true of every connector.
ANYTHING = "$[?(@.beckn:itemAttributes.maxPowerKW > 0)]"
GEO_TARGET = "$['beckn:itemAttributes.chargingStation.serviceLocation.geo']"

Json = dict[str, Any]


def pack(name: str) -> str:
    """The context URL of one of the EV packs."""
    return f"{BASE}/{name}/v1/context.jsonld"


@dataclass(frozen=True, slots=True)
class Person:
    """Who buys."""

    id: str = "user-1"
    name: str = "A. Rao"
    phone: str = "+919812345678"
    email: str | None = None
    tax_id: str | None = None  # a firm's, for its invoices

    def body(self) -> Json:
        body: Json = {
            "@context": CORE,
            "@type": "beckn:Buyer",
            "beckn:id": self.id,
            "beckn:role": "BUYER",
            "beckn:displayName": self.name,
            "beckn:telephone": self.phone,
        }
        body |= {"beckn:email": self.email} if self.email else {}
        return body | ({"beckn:taxID": self.tax_id} if self.tax_id else {})


def somebody() -> Person:
    """A person nobody has met: who owes for an earlier order is refused, whatever app they come by."""
    number = uuid.uuid4().int % 10**8
    return Person(id=f"user-{number}", phone=f"+9198{number:08}")


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is ordered: energy, money or time, in the unit codes of BECKN 4.5."""

    number: float
    code: str

    def body(self) -> Json:
        return {"unitText": UNIT_TEXTS[self.code], "unitCode": self.code, "unitQuantity": self.number}


def discover(
    *,
    near: tuple[float, float, float] | None = None,
    expression: str | None = None,
    text: str | None = None,
) -> Json:
    """`near` is (latitude, longitude, metres). Nothing given asks for everything."""
    message: Json = {}
    if near is None and expression is None and text is None:
        expression = ANYTHING
    if near is not None:
        latitude, longitude, metres = near
        message["spatial"] = [
            {
                "op": "s_dwithin",
                "targets": GEO_TARGET,
                "geometry": {"type": "Point", "coordinates": [longitude, latitude]},
                "distanceMeters": metres,
            }
        ]
    if expression is not None:
        message["filters"] = {"type": "jsonpath", "expression": expression}
    if text is not None:
        message["text_search"] = text
    return message


def select(
    *,
    item: Json,
    seller: str,
    person: Person,
    amount: Amount | None,
    offer: Json | None,
    slot: tuple[str, str] | None,
    finder_fee_percent: float | None,
) -> Json:
    line: Json = {"beckn:orderedItem": item["beckn:id"]}
    if amount is not None:
        line["beckn:quantity"] = amount.body()
    if offer is not None:
        line["beckn:acceptedOffer"] = offer
    order: Json = {
        "@context": CORE,
        "@type": "beckn:Order",
        "beckn:orderStatus": "CREATED",
        "beckn:seller": seller,
        "beckn:buyer": person.body(),
        "beckn:orderItems": [line],
    }
    attributes: Json = {"@context": pack("EvChargingSession"), "@type": "ChargingSession"}
    if finder_fee_percent is not None:
        attributes["buyerFinderFee"] = {"feeType": "PERCENTAGE", "feeValue": finder_fee_percent}
    if slot is not None:
        attributes["preferences"] = {"startTime": slot[0], "endTime": slot[1]}
    if len(attributes) > 2:
        order["beckn:orderAttributes"] = attributes
    return {"order": order}


def init(order: Json, *, collected_by: str, subscriber_id: str, order_id: str, payment_id: str) -> Json:
    """From the order of `on_select`. The BAP makes order and payment id only when it collects itself (BECKN 4.6)."""
    body = _bare(order, "CREATED")
    payment: Json = {
        "@context": CORE,
        "@type": "beckn:Payment",
        "beckn:amount": {"currency": "INR", "value": order["beckn:orderValue"]["value"]},
        "beckn:beneficiary": collected_by,
        "beckn:paymentStatus": "INITIATED",
        "beckn:paymentAttributes": {
            "@context": pack("PaymentSettlement"),
            "@type": "PaymentSettlement",
            "settlementAccounts": [
                {
                    "beneficiaryId": subscriber_id,
                    "accountHolderName": "Simulated Buyer App Ltd",
                    "accountNumber": "0001112223334",
                    "ifscCode": "SIMU0000001",
                    "bankName": "Simulated Bank",
                    "vpa": "buyer-app@sim",
                }
            ],
        },
    }
    if collected_by == "BAP":
        body["beckn:id"] = order_id
        payment["beckn:id"] = payment_id
    body["beckn:payment"] = payment
    return {"order": body}


def confirm(order: Json, payment: Json) -> Json:
    """From the order of `on_init` and the payment as it stands now."""
    body = _bare(order, "PENDING")
    body["beckn:payment"] = payment
    return {"order": body}


def update(order: Json, *, session_status: str, order_status: str) -> Json:
    """Start (PENDING) or stop (STOP) of a confirmed order."""
    body = _bare(order, order_status)
    fulfillment = copy.deepcopy(
        order.get("beckn:fulfillment")
        or {
            "@context": CORE,
            "@type": "beckn:Fulfillment",
            "beckn:id": f"ful-{order['beckn:id']}",
            "beckn:mode": "RESERVATION",
        }
    )
    asked: Json = {"@context": pack("EvChargingSession"), "@type": "ChargingSession"}
    told = fulfillment.get("beckn:deliveryAttributes", {})
    asked |= {key: told[key] for key in ("connectorType", "maxPowerKW") if key in told}
    fulfillment["beckn:deliveryAttributes"] = asked | {"sessionStatus": session_status}
    fulfillment.pop("trackingAction", None)
    body["beckn:fulfillment"] = fulfillment
    if "beckn:payment" in order:
        body["beckn:payment"] = order["beckn:payment"]
    return {"order": body}


def with_otp(message: Json, otp: str | None) -> Json:
    """The same message with the driver's one-time password, where the guide's prose has it (BECKN 4.8)."""
    if otp is not None:
        order = message["order"]
        fulfillment = order.setdefault(
            "beckn:fulfillment",
            {"@context": CORE, "@type": "beckn:Fulfillment", "beckn:id": "ful-1", "beckn:mode": "RESERVATION"},
        )
        fulfillment["beckn:authorization"] = {"type": "OTP", "value": otp}
    return message


def status(order_id: str) -> Json:
    return {"order": {"beckn:id": order_id}}


def track(tracking_id: str) -> Json:
    return {"tracking": {"id": tracking_id, "mode_hint": "link_only"}}


def cancel(order: Json) -> Json:
    body = _bare(order, "CONFIRMED")
    body.pop("beckn:orderValue", None)
    return {"order": body}


def rating(subject_id: str, value: int, category: str, comments: str | None) -> Json:
    entry: Json = {
        "@context": CORE,
        "@type": "beckn:RatingInput",
        "id": subject_id,
        "ratingValue": value,
        "bestRating": 5,
        "worstRating": 1,
        "category": category,
    }
    if comments:
        entry["feedback"] = {"comments": comments}
    return {"ratings": [entry]}


def support(order_id: str) -> Json:
    return {"refId": order_id, "refType": "ORDER"}


def _bare(order: Json, order_status: str) -> Json:
    """What a buyer echoes of an order: everything but fulfilment and payment, in the status it asks for."""
    kept = copy.deepcopy({k: v for k, v in order.items() if k not in {"beckn:fulfillment", "beckn:payment"}})
    kept["beckn:orderStatus"] = order_status
    return kept
