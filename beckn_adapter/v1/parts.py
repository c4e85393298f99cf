"""The parts of a Beckn 1.1.0 order as buyers send them, read one by one (BECKN 5.4 to 5.6). Pure, tolerant.

`wire` is what callbacks repeat: `context`, `item_id`, `provider`, `fulfillment_id`, `billing`, `customer`, `vehicle`,
`unit`, `window`. It holds only members the network's schema knows, with values it takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP
from typing import Final

from beckn_adapter.commands import PaymentClaim, Window
from beckn_adapter.envelope import parse_instant, wire_of_context
from beckn_adapter.members import (
    DAY_MS,
    MAX_QUANTITY,
    Reading,
    invalid,
    is_email,
    mapping,
    number_of,
    time_of,
    want_of,
)
from beckn_adapter.v1.members import code_of, figure_of, first, listed, phone_of, text_of
from beckn_adapter.v1.tags import entries_of
from csms.domain.buyer import Buyer
from csms.domain.quote import Want, WantKind
from csms.domain.tariff import FeeKind, FinderFee

Json = dict[str, object]
SPOT: Final = "-spot"  # what the walk-in twin of an item adds to its id
MAX_LINES: Final = 50


# --- the order ----------------------------------------------------------------------------------------------


def line_of(order: Mapping[str, object]) -> Mapping[str, object]:
    """The one item that is charged at. Add-ons may stand beside it as items of their own; they are passed over."""
    lines = [mapping(line) for line in _lines(order)]
    if not lines:
        raise invalid("order.items has no item")
    if len(lines) > MAX_LINES:
        raise invalid(f"order.items has more than {MAX_LINES} items; one order is one connector and its add-ons")
    sold = [line for line in lines if not _is_add_on(line)] or lines[:1]
    measured = [line for line in sold if _measure(line)]
    chosen = measured or sold
    if len(chosen) > 1:
        raise invalid("order.items has more than one item; one order is one connector")
    return chosen[0]


def _lines(order: Mapping[str, object]) -> Sequence[object]:
    lines = order.get("items")
    return listed(lines if lines is not None else order.get("item"))  # one guide writes `item`


def _is_add_on(line: Mapping[str, object]) -> bool:
    code = text_of(mapping(line.get("descriptor")), "code")
    item_id = text_of(line, "id") or ""
    return (code is not None and code_of(code).startswith("add-on")) or "addon" in item_id.casefold().replace("-", "")


def item_id_of(line: Mapping[str, object]) -> str:
    """The item's id as the buyer names it, which may be that of its walk-in twin."""
    item_id = text_of(line, "id")
    if item_id is None:
        raise invalid("order.items[0].id is missing")
    return item_id


def own_id(item_id: str) -> str:
    """Our id of an item: that of the connector, whichever twin was chosen."""
    return item_id.removesuffix(SPOT) or item_id


def optional_item_id(order: Mapping[str, object]) -> str | None:
    lines = _lines(order)
    item_id = text_of(mapping(lines[0]), "id") if lines else None
    return own_id(item_id) if item_id is not None else None


def _measure(line: Mapping[str, object]) -> Mapping[str, object]:
    return mapping(mapping(mapping(line.get("quantity")).get("selected")).get("measure"))


def wish_of(line: Mapping[str, object]) -> Want:
    """Amount, units or time. `count` says nothing about energy in any guide, so it is not read."""
    measure = _measure(line)
    if not measure:
        return Want(kind=WantKind.OPEN)
    value = measure.get("value", measure.get("estimated_value"))
    where = "order.items[0].quantity.selected.measure"
    unit = text_of(measure, "unit") or "kWh"
    return want_of(value, unit, value_at=f"{where}.value", unit_at=f"{where}.unit", units="kWh, INR or MINUTES")


def offer_id_of(order: Mapping[str, object]) -> str | None:
    offers = listed(order.get("offers"))
    if not offers:
        return None
    offer_id = text_of(mapping(offers[0]), "id")
    if offer_id is None:
        raise invalid("order.offers[0].id is missing")
    return offer_id


def finder_fee_of(order: Mapping[str, object], line: Mapping[str, object]) -> FinderFee | None:
    """The tag group `buyer-finder-fee`, wherever the order carries it."""
    kind: str | None = None
    value = None
    for entry in entries_of(order, first(order.get("fulfillments")), line):
        if not (entry.group.startswith("buyer-finder-fee") or entry.code.startswith("buyer-finder-fee")):
            continue
        if entry.code.endswith("type"):
            kind = entry.value.upper()
        elif entry.value:
            value = figure_of(entry.value)
            kind = kind or ("PERCENTAGE" if entry.code.endswith("percentage") or entry.value.endswith("%") else None)
            if value is None:
                raise invalid("order.tags: the value of buyer-finder-fee is not a number")
    if value is None:
        return None
    if kind is None or kind not in FeeKind.__members__:
        raise invalid("order.tags: the type of buyer-finder-fee is neither PERCENTAGE nor AMOUNT")
    if not 0 <= value <= MAX_QUANTITY:
        raise invalid("order.tags: the value of buyer-finder-fee is not a number from 0")
    if kind == FeeKind.PERCENTAGE and value > 100:
        raise invalid("order.tags: the value of buyer-finder-fee is more than 100 percent")
    return FinderFee(kind=FeeKind[kind], value=value)


# --- where, when, who ---------------------------------------------------------------------------------------


def fulfillment_of(order: Mapping[str, object]) -> Mapping[str, object]:
    found = order.get("fulfillments")
    return first(found if found is not None else order.get("fulfillment"))


def window_of(order: Mapping[str, object], reading: Reading) -> Window | None:
    """From the first stop to the last: guides call them start, START, START-CHARGING, finish, end, STOP …"""
    stops = [mapping(stop) for stop in listed(fulfillment_of(order).get("stops"))]
    return stops_window(stops, reading, "order.fulfillments[0].stops")


def stops_window(stops: Sequence[Mapping[str, object]], reading: Reading, where: str) -> Window | None:
    if not stops:
        return None
    begin, finish = mapping(stops[0].get("time")), mapping(stops[-1].get("time"))
    start = begin.get("timestamp") or mapping(begin.get("range")).get("start")
    end: object = None
    if len(stops) > 1:
        end = finish.get("timestamp") or mapping(finish.get("range")).get("end")
    end = end or mapping(begin.get("range")).get("end")
    if start is None:
        return None
    start_ms, end_ms = time_of(start, reading), time_of(end, reading) if end is not None else None
    if start_ms is None or (end is not None and end_ms is None):
        raise invalid(f"{where}: a time is not in RFC 3339")
    if end_ms is not None and end_ms < start_ms:
        if parse_instant(str(end)) is not None:
            raise invalid(f"{where}: the end is before the start")
        end_ms += DAY_MS  # two clock times over midnight
    return Window(start_ms=start_ms, end_ms=end_ms if end_ms != start_ms else None)


def buyer_of(order: Mapping[str, object], claim: PaymentClaim | None) -> Buyer:
    """Who pays (`billing`) and who comes (`customer`); the payer's word goes first."""
    billing = mapping(order.get("billing"))
    fulfillment = fulfillment_of(order)
    customer, vehicle = mapping(fulfillment.get("customer")), mapping(fulfillment.get("vehicle"))
    person, contact = mapping(customer.get("person")), mapping(customer.get("contact"))
    tags = {entry.code: entry.value for entry in entries_of(order, fulfillment, person) if entry.value}
    organization = mapping(mapping(billing.get("organization")).get("descriptor"))
    return Buyer(
        buyer_id=text_of(person, "id"),
        name=text_of(billing, "name") or text_of(person, "name"),
        organization=text_of(organization, "name"),
        phone=_phone(billing) or _phone(contact),
        email=text_of(billing, "email") or text_of(contact, "email"),
        tax_id=text_of(billing, "tax_id"),
        address=_address(billing),
        state=text_of(mapping(billing.get("state")), "name") or text_of(mapping(billing.get("state")), "code"),
        vpa=claim.payer_vpa if claim is not None else None,
        vehicle_make=text_of(vehicle, "make"),
        vehicle_model=text_of(vehicle, "model"),
        vehicle_id=tags.get("vin") or tags.get("evccid") or tags.get("vehicle-id"),
        consumer_number=tags.get("consumer-number"),
    )


def _phone(holder: Mapping[str, object]) -> str | None:
    return phone_of(text_of(holder, "phone") or text_of(holder, "number"))  # one collection says `number`


def _address(billing: Mapping[str, object]) -> str | None:
    address = billing.get("address")
    return text_of(mapping(address), "full") if isinstance(address, Mapping) else text_of(billing, "address")


def otp_of(order: Mapping[str, object]) -> str | None:
    """The one-time password the driver was given, at whichever stop it stands."""
    for stop in listed(fulfillment_of(order).get("stops")):
        authorization = mapping(mapping(stop).get("authorization"))
        token = authorization.get("token")
        if isinstance(token, int) and not isinstance(token, bool) and 0 <= token < 10**12:
            return str(token)
        if isinstance(token, str) and token.strip():
            return token.strip()[:64]
    return None


# --- payment ------------------------------------------------------------------------------------------------


def payment_of(order: Mapping[str, object], reading: Reading) -> PaymentClaim | None:
    found = order.get("payments")
    payment = first(found if found is not None else order.get("payment"))
    if not payment:
        return None
    where = "order.payments[0]"
    params = mapping(payment.get("params"))
    rupees = number_of(params.get("amount"))
    if params.get("amount") is not None and (rupees is None or not 0 <= rupees <= MAX_QUANTITY):
        raise invalid(f"{where}.params.amount is not a number from 0")
    collector = text_of(payment, "collected_by")
    if collector is not None and collector.upper() not in ("BAP", "BPP"):
        raise invalid(f"{where}.collected_by is neither bap nor bpp")
    reference = text_of(params, "transaction_id")
    paid_at = mapping(payment.get("time")).get("timestamp")
    return PaymentClaim(
        payment_id=text_of(payment, "id"),
        status=_status(payment, reference),
        beneficiary=collector.upper() if collector is not None else None,
        amount_minor=None if rupees is None else int((rupees * 100).to_integral_value(ROUND_HALF_UP)),
        currency=text_of(params, "currency"),
        txn_ref=reference,
        paid_at_ms=parse_instant(paid_at, reading.zone) if isinstance(paid_at, str) else None,
        accounts=_accounts(params, reading.context.bap_id),
        payer_vpa=text_of(params, "source_virtual_payment_address"),
    )


def _status(payment: Mapping[str, object], reference: str | None) -> str | None:
    """PAID as the orders here know it. A bank's reference without a status is a claim that it is paid."""
    said = text_of(payment, "status")
    if said is None:
        return "COMPLETED" if reference is not None else None
    return {"paid": "COMPLETED", "not-paid": "INITIATED"}.get(code_of(said))


def _accounts(params: Mapping[str, object], owner: str) -> tuple[Mapping[str, str], ...]:
    named = {
        "accountNumber": text_of(params, "bank_account_number"),
        "ifscCode": text_of(params, "bank_code"),
        "vpa": text_of(params, "virtual_payment_address"),
    }
    account = {name: value for name, value in named.items() if value is not None}
    return ({"beneficiaryId": owner, **account},) if account else ()


# --- what is echoed -----------------------------------------------------------------------------------------


def wire_of(order: Mapping[str, object], reading: Reading) -> Json:
    """What callbacks repeat of an order: cleaned, and only what is there."""
    wire: Json = {"context": {**wire_of_context(reading.context), "version": reading.context.version}}
    lines = _lines(order)
    fulfillment = fulfillment_of(order)
    line = line_of(order) if lines else {}
    unit = text_of(_measure(line), "unit")
    named = {
        "item_id": text_of(line, "id"),
        "provider": text_of(mapping(order.get("provider")), "id"),
        "fulfillment_id": text_of(fulfillment, "id"),
        "unit": unit if unit is not None and len(unit) <= 20 else None,
        "billing": _billing(mapping(order.get("billing"))),
        "customer": _customer(mapping(fulfillment.get("customer"))),
        "vehicle": _texts(mapping(fulfillment.get("vehicle")), ("make", "model", "registration")),
    }
    wire |= {name: value for name, value in named.items() if value}
    window = window_of(order, reading)
    if window is not None:
        wire["window"] = [window.start_ms, window.end_ms]
    return wire


def _texts(holder: Mapping[str, object], names: Sequence[str]) -> Json:
    return {name: text for name in names if (text := text_of(holder, name)) is not None}


def _billing(billing: Mapping[str, object]) -> Json:
    kept = _texts(billing, ("name", "tax_id"))
    organization = text_of(mapping(mapping(billing.get("organization")).get("descriptor")), "name")
    if organization is not None:
        kept["organization"] = {"descriptor": {"name": organization}}
    address, email, phone = _address(billing), text_of(billing, "email"), _phone(billing)
    if address is not None:
        kept["address"] = address
    for name in ("state", "city"):
        place = _texts(mapping(billing.get(name)), ("name", "code"))
        if place:
            kept[name] = place
    if email is not None and is_email(email):
        kept["email"] = email
    if phone is not None:
        kept["phone"] = phone
    return kept


def _customer(customer: Mapping[str, object]) -> Json:
    kept: Json = {}
    person = _texts(mapping(customer.get("person")), ("id", "name"))
    contact = mapping(customer.get("contact"))
    phone, email = _phone(contact), text_of(contact, "email")
    reached = {name: value for name, value in (("phone", phone), ("email", email)) if value is not None}
    if person:
        kept["person"] = person
    if reached:
        kept["contact"] = reached
    return kept
