"""The parts of a Beckn V2 order as buyers send them, read one by one (BECKN 4.5 to 4.11). Pure, tolerant.

A member that cannot be meant raises Refusal(INVALID_REQUEST) with its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from beckn_adapter.commands import PaymentClaim, Window
from beckn_adapter.envelope import Context, parse_instant, wire_of_context
from beckn_adapter.members import (
    DAY_MS,
    MAX_QUANTITY,
    MAX_TEXT,
    Reading,
    invalid,
    is_email,
    is_uri,
    mapping,
    number_of,
    time_of,
    want_of,
)
from beckn_adapter.v2.constants import BUYER_ROLES, CORE
from csms.domain.buyer import Buyer
from csms.domain.quote import Want, WantKind
from csms.domain.tariff import FeeKind, FinderFee
from csms.domain.units import rfc3339

Json = dict[str, object]


# --- parts of an order --------------------------------------------------------------------------------------


def order_id(order: Mapping[str, object]) -> str | None:
    return text_of(order, "id")


def _lines(order: Mapping[str, object]) -> Sequence[object]:
    lines = get(order, "orderItems")
    return lines if isinstance(lines, list) else []


def line_of(order: Mapping[str, object]) -> Mapping[str, object]:
    lines = _lines(order)
    if not lines or not isinstance(lines[0], Mapping):
        raise invalid("order.beckn:orderItems has no item")
    if len(lines) > 1:
        raise invalid("order.beckn:orderItems has more than one item; one order is one connector")
    return lines[0]


def item_id(line: Mapping[str, object]) -> str:
    item_id = text_of(line, "orderedItem")
    if item_id is None:
        raise invalid("order.beckn:orderItems[0].beckn:orderedItem is missing")
    return item_id


def optional_item_id(order: Mapping[str, object]) -> str | None:
    lines = _lines(order)
    return text_of(mapping(lines[0]), "orderedItem") if lines else None


def offer_id(line: Mapping[str, object], order: Mapping[str, object]) -> str | None:
    accepted = get(line, "acceptedOffer")
    if accepted is None:
        offers = get(order, "acceptedOffers")
        accepted = offers[0] if isinstance(offers, list) and offers else None
    if accepted is None:
        return None
    # The embedded price is the buyer's memory of ours, so only the id counts.
    offer_id = accepted if isinstance(accepted, str) else text_of(mapping(accepted), "id")
    if not offer_id:
        raise invalid("order.beckn:orderItems[0].beckn:acceptedOffer.beckn:id is missing")
    return offer_id


def wish_of(line: Mapping[str, object]) -> Want:
    quantity = get(line, "quantity")
    if quantity is None:
        return Want(kind=WantKind.OPEN)
    where = "order.beckn:orderItems[0].beckn:quantity"
    amount: object = quantity
    unit = "kwh"
    if isinstance(quantity, Mapping):
        amount = get(quantity, "unitQuantity")
        unit = text_of(quantity, "unitCode") or text_of(quantity, "unitText") or unit
    return want_of(amount, unit, value_at=f"{where}.unitQuantity", unit_at=f"{where}.unitCode", units="KWH, INR or MIN")


def buyer_of(order: Mapping[str, object]) -> Buyer:
    buyer = mapping(get(order, "buyer"))
    attributes = mapping(get(order, "orderAttributes"))
    buyer_id = text_of(buyer, "id")
    if buyer_id is None:
        raise invalid("order.beckn:buyer.beckn:id is missing")
    return Buyer(
        buyer_id=buyer_id,
        name=text_of(buyer, "displayName"),
        phone=text_of(buyer, "telephone"),
        email=text_of(buyer, "email"),
        tax_id=text_of(buyer, "taxID"),
        vehicle_make=text_of(attributes, "vehicleMake"),
        vehicle_model=text_of(attributes, "vehicleModel"),
        # No schema has these; who sends them all the same is known by them (BECKN 7.4).
        vpa=text_of(buyer, "vpa"),
        vehicle_id=text_of(attributes, "vehicleId") or text_of(attributes, "vin") or text_of(attributes, "evccId"),
    )


def finder_fee_of(order: Mapping[str, object], line: Mapping[str, object]) -> FinderFee | None:
    fee = get(mapping(get(order, "orderAttributes")), "buyerFinderFee")
    if fee is None:  # older apps put it into the offer
        offer = mapping(get(line, "acceptedOffer"))
        fee = get(mapping(get(offer, "offerAttributes")), "buyerFinderFee")
    if fee is None:
        return None
    where = "order.beckn:orderAttributes.buyerFinderFee"
    kind, value = text_of(mapping(fee), "feeType"), number_of(get(mapping(fee), "feeValue"))
    if kind is None or kind.upper() not in FeeKind.__members__:
        raise invalid(f"{where}.feeType is neither PERCENTAGE nor AMOUNT")
    if value is None or not 0 <= value <= MAX_QUANTITY:
        raise invalid(f"{where}.feeValue is not a number from 0")
    if kind.upper() == FeeKind.PERCENTAGE and value > 100:
        raise invalid(f"{where}.feeValue is more than 100 percent")
    return FinderFee(kind=FeeKind[kind.upper()], value=value)


def window_of(order: Mapping[str, object], reading: Reading) -> Window | None:
    wished = mapping(get(mapping(get(order, "orderAttributes")), "preferences"))
    start, end = get(wished, "startTime"), get(wished, "endTime")
    if start is None and end is None:
        return None
    where = "order.beckn:orderAttributes.preferences"
    start_ms = time_of(start, reading)
    end_ms = time_of(end, reading) if end is not None else None
    if start_ms is None or (end is not None and end_ms is None):
        raise invalid(f"{where}.startTime or .endTime is not a time")
    if end_ms is not None and end_ms <= start_ms:
        # Two clock times over midnight mean the next day; two dates in the wrong order mean nothing.
        if parse_instant(str(end)) is not None:
            raise invalid(f"{where}.endTime is not after .startTime")
        end_ms += DAY_MS
    return Window(start_ms=start_ms, end_ms=end_ms)


def payment_of(order: Mapping[str, object], reading: Reading) -> PaymentClaim | None:
    payment = get(order, "payment")
    if isinstance(payment, list):
        payment = payment[0] if payment else None
    if payment is None:
        return None
    where = "order.beckn:payment"
    if not isinstance(payment, Mapping):
        raise invalid(f"{where} is not an object")
    amount = mapping(get(payment, "amount"))
    value = get(amount, "value")
    rupees = number_of(value)
    if value is not None and (rupees is None or not 0 <= rupees <= MAX_QUANTITY):
        raise invalid(f"{where}.beckn:amount.value is not a number from 0")
    status, beneficiary = text_of(payment, "paymentStatus"), text_of(payment, "beneficiary")
    paid_at = text_of(payment, "paidAt")
    return PaymentClaim(
        payment_id=text_of(payment, "id"),
        status=status.upper() if status is not None else None,
        beneficiary=beneficiary.upper() if beneficiary is not None else None,
        amount_minor=None if rupees is None else int((rupees * 100).to_integral_value(ROUND_HALF_UP)),
        currency=text_of(amount, "currency"),
        txn_ref=text_of(payment, "txnRef"),
        paid_at_ms=parse_instant(paid_at, reading.zone) if paid_at is not None else None,
        accounts=_accounts(payment),
    )


_ACCOUNT: Final = (
    *("beneficiaryId", "accountHolderName", "accountNumber", "ifscCode", "bankName", "vpa", "paymentURL"),
)


def _accounts(payment: Mapping[str, object]) -> tuple[Mapping[str, str], ...]:
    listed = get(mapping(get(payment, "paymentAttributes")), "settlementAccounts")
    if not isinstance(listed, list):
        return ()
    accounts = []
    for entry in listed[:10]:
        named = {name: text_of(mapping(entry), name) for name in _ACCOUNT}
        if named["paymentURL"] is not None and not is_uri(named["paymentURL"]):
            named["paymentURL"] = None
        account = {name: value for name, value in named.items() if value is not None}
        if account:
            accounts.append(account)
    return tuple(accounts)


def otp_of(order: Mapping[str, object]) -> str | None:
    """A one-time password, which only prose mentions: anywhere under the fulfillment, under any of its names."""
    level: list[object] = [get(order, "fulfillment")]
    for _ in range(4):
        below: list[object] = []
        for node in level:
            if not isinstance(node, Mapping):
                continue
            authorization = get(node, "authorization")
            found = get(mapping(authorization), "value") or get(node, "authorizationToken") or get(node, "otp")
            if isinstance(found, str | int) and not isinstance(found, bool) and str(found).strip():
                return str(found).strip()[:64]
            below += node.values()
        level = below
    return None


# --- what is echoed -----------------------------------------------------------------------------------------


def wire_of(order: Mapping[str, object], context: Context) -> Json:
    """The parts of a request that callbacks repeat: `context`, `seller`, `buyer`, `quantity`, `attributes`,
    `accounts`. Members the schema does not know, or values it would refuse, are left out."""
    wire: Json = {}
    kept = wire_of_context(context)
    if kept:
        wire["context"] = kept
    seller = text_of(order, "seller") or text_of(mapping(get(order, "seller")), "id")
    if seller is not None:
        wire["seller"] = seller
    buyer = _echoed_buyer(mapping(get(order, "buyer")))
    if buyer is not None:
        wire["buyer"] = buyer
    lines = _lines(order)
    quantity = mapping(get(mapping(lines[0]), "quantity")) if lines else {}
    echoed: Json = {}
    for name in ("unitText", "unitCode"):
        text = text_of(quantity, name)
        if text is not None:
            echoed[name] = text
    number = number_of(quantity.get("unitQuantity"))
    if number is not None:
        echoed["unitQuantity"] = _json_number(number)
    if echoed:
        wire["quantity"] = echoed
    attributes = _echoed_attributes(mapping(get(order, "orderAttributes")))
    if attributes:
        wire["attributes"] = attributes
    accounts = _accounts(mapping(get(order, "payment")))
    if accounts:
        wire["accounts"] = [dict(account) for account in accounts]
    return wire


def _echoed_buyer(buyer: Mapping[str, object]) -> Json | None:
    buyer_id = text_of(buyer, "id")
    if buyer_id is None:
        return None
    echoed: Json = {"@context": CORE, "@type": "beckn:Buyer", "beckn:id": buyer_id}
    role = text_of(buyer, "role")
    if role is not None and role in BUYER_ROLES:
        echoed["beckn:role"] = role
    for name in ("displayName", "telephone", "email", "taxID"):
        text = text_of(buyer, name)
        if text is not None and (name != "email" or is_email(text)):
            echoed[f"beckn:{name}"] = text
    return echoed


def _echoed_attributes(attributes: Mapping[str, object]) -> Json:
    echoed: Json = {}
    fee = mapping(get(attributes, "buyerFinderFee"))
    value, kind = number_of(get(fee, "feeValue")), text_of(fee, "feeType")
    if value is not None and value >= 0 and kind is not None and kind.upper() in FeeKind.__members__:
        echoed["buyerFinderFee"] = {"feeType": kind.upper(), "feeValue": _json_number(value)}
    wished = mapping(get(attributes, "preferences"))
    times: Json = {}
    for name in ("startTime", "endTime"):
        text = text_of(wished, name)
        at_ms = parse_instant(text) if text is not None else None
        if at_ms is not None:
            times[name] = rfc3339(at_ms)
    if times:
        echoed["preferences"] = times
    for name in ("vehicleMake", "vehicleModel"):
        text = text_of(attributes, name)
        if text is not None:
            echoed[name] = text
    return echoed


def _json_number(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)


# --- members ------------------------------------------------------------------------------------------------


def get(holder: Mapping[str, object], name: str) -> object:
    """A member with or without the `beckn:` prefix."""
    found = holder.get(f"beckn:{name}")
    return found if found is not None else holder.get(name)


def text_of(holder: Mapping[str, object], name: str, limit: int = MAX_TEXT) -> str | None:
    """A non-empty text, or None. A text beyond `limit` is refused rather than cut: it may be an id."""
    value = get(holder, name)
    if not isinstance(value, str) or not value.strip():
        return None
    if len(value) > limit:
        raise invalid(f"{name} is longer than {limit} characters")
    return value.strip()
