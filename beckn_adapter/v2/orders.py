"""An order of ours as Beckn V2 JSON-LD: status, price, payment, fulfillment (BECKN 4.2, 4.5 to 4.11). Pure.

Which statuses stand in a message follows from the order's state alone, by the tables here; what is known only
while charging comes in a `Progress`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from beckn_adapter.catalog import ItemView, OfferView, connector_word, number
from beckn_adapter.speaking import Json, Progress, Sample, Speaker
from beckn_adapter.v2.constants import (
    CORE,
    KWH,
    MAX_SAMPLES,
    MINUTE,
    PAYMENT_METHODS,
    SESSION_PACK,
    SETTLEMENT_PACK,
)
from beckn_adapter.v2.items import offer_json
from csms.domain.breakdown import Breakdown
from csms.domain.order import CollectedBy, Order, Payment, PaymentStatus, State, Want, WantKind
from csms.domain.refusal import Refusal
from csms.domain.reported import SocketStatus
from csms.domain.tariff import FinderFee, rate_at
from csms.domain.units import from_minor, rfc3339

ORDER_STATUS: Final[Mapping[State, str]] = {
    State.QUOTED: "CREATED",
    State.INITIALISED: "CREATED",
    State.PAID: "PENDING",
    State.CONFIRMED: "CONFIRMED",
    State.STARTING: "CONFIRMED",
    State.ACTIVE: "INPROGRESS",
    State.INTERRUPTED: "INPROGRESS",
    State.STOPPING: "INPROGRESS",
    State.COMPLETED: "COMPLETED",
    State.CANCELLED: "CANCELLED",
    State.EXPIRED: "CANCELLED",  # the network knows no expiry of an order
    State.FAILED: "FAILED",
}

SESSION_STATUS: Final[Mapping[State, str]] = {
    State.CONFIRMED: "PENDING",
    State.STARTING: "PENDING",
    State.ACTIVE: "ACTIVE",
    State.STOPPING: "ACTIVE",
    State.INTERRUPTED: "INTERRUPTED",
    State.COMPLETED: "COMPLETED",
}

_FREE: Final = frozenset({SocketStatus.AVAILABLE})
_PLUGGED: Final = frozenset({SocketStatus.PREPARING, SocketStatus.OCCUPIED})


def order_status(order: Order) -> str:
    """V2 `orderStatus`. Charging that has ended is INPROGRESS until its bill is final."""
    if order.state is State.COMPLETED and not order.is_billed:
        return "INPROGRESS"
    return ORDER_STATUS[order.state]


def connector_status(status: SocketStatus | None, *, is_online: bool, is_holder: bool = False) -> str:
    """V2 `connectorStatus` (BECKN 6.1). `is_holder`: asked for the order that reserved the connector."""
    if not is_online or status is None:
        return "UNAVAILABLE"
    if status in _FREE or (status is SocketStatus.RESERVED and is_holder):
        return "AVAILABLE"
    # 2.0.1 says Occupied for a plugged cable too; with a session on it, the session's own words tell more.
    return "PREPARING" if status in _PLUGGED else "UNAVAILABLE"


# --- the order ----------------------------------------------------------------------------------------------


def order_json(
    order: Order,
    speaker: Speaker,
    *,
    item: ItemView | None = None,
    offer: OfferView | None = None,
    status: str | None = None,
    value: Breakdown | None = None,
    payment: Json | None = None,
    fulfillment: Json | None = None,
    with_id: bool = True,
    with_attributes: bool = False,
) -> Json:
    """The parts every callback shares; absent parts are left out."""
    shown: Json = {"@context": CORE, "@type": "beckn:Order"}
    if with_id:
        shown["beckn:id"] = order.order_id
        if order.order_number is not None:
            shown["beckn:orderNumber"] = order.order_number
    shown["beckn:orderStatus"] = status if status is not None else order_status(order)
    shown["beckn:seller"] = _seller(order.wire, speaker, item)
    shown["beckn:buyer"] = buyer_json(order.wire)
    shown["beckn:orderItems"] = [_line_json(order, offer)]
    if value is not None:
        shown["beckn:orderValue"] = value_json(value)
    if fulfillment is not None:
        shown["beckn:fulfillment"] = fulfillment
    if payment is not None:
        shown["beckn:payment"] = payment
    if with_attributes:
        attributes = _attributes(order)
        if len(attributes) > 2:
            shown["beckn:orderAttributes"] = attributes
    return shown


def _seller(wire: Mapping[str, object], speaker: Speaker, item: ItemView | None) -> str:
    seller = wire.get("seller")
    if isinstance(seller, str):
        return seller
    return item.provider.provider_id if item is not None else speaker.provider_id


def buyer_json(wire: Mapping[str, object]) -> Json:
    """The buyer as the request gave it. Without one the schema still wants an id."""
    buyer = wire.get("buyer")
    if isinstance(buyer, Mapping):
        return dict(buyer)
    return {"@context": CORE, "@type": "beckn:Buyer", "beckn:id": "unknown"}


def _line_json(order: Order, offer: OfferView | None) -> Json:
    line: Json = {"beckn:orderedItem": order.item_id}
    quantity = order.wire.get("quantity")
    shown = dict(quantity) if isinstance(quantity, Mapping) else quantity_json(order.want)
    if shown is not None:
        line["beckn:quantity"] = shown
    if offer is not None:
        line["beckn:acceptedOffer"] = offer_json(offer, only={order.item_id})
    price = _unit_price(order)
    if price is not None:
        line["beckn:price"] = price
    return line


def quantity_json(want: Want) -> Json | None:
    """What was asked for in the network's units; None for an open-ended wish."""
    match want.kind:
        case WantKind.ENERGY:
            return {**KWH, "unitQuantity": number(want.energy_wh or 0)}
        case WantKind.AMOUNT:
            return {"unitText": "Indian Rupee", "unitCode": "INR", "unitQuantity": (want.amount_minor or 0) / 100}
        case WantKind.TIME:
            return {**MINUTE, "unitQuantity": want.minutes or 0}
        case _:
            return None


def _unit_price(order: Order) -> Json | None:
    """The price of one unit in the order's own terms, which never change once quoted."""
    tariff = order.terms.tariff
    at_ms = order.slot.start_ms if order.slot is not None else order.quoted_at_ms
    try:
        rate = rate_at(tariff, at_ms)
    except Refusal:  # a slot may reach into hours without a price; the breakdown says what was priced
        return None
    is_by_time = not rate.per_kwh and bool(rate.per_minute)
    price, unit = (rate.per_minute, MINUTE) if is_by_time else (rate.per_kwh, KWH)
    return {"currency": tariff.currency, "value": float(price), "applicableQuantity": dict(unit)}


def value_json(breakdown: Breakdown, note: str = "") -> Json:
    """`orderValue`: the value is the exact sum of its lines. `note` is put before every description."""
    return {
        "currency": breakdown.currency,
        "value": float(breakdown.total),
        "components": [
            {
                "type": line.kind.value,
                "value": float(line.amount),
                "currency": breakdown.currency,
                "description": note + line.description,
            }
            for line in breakdown.components
        ],
    }


def _attributes(order: Order) -> Json:
    """`orderAttributes`: the fee as we understood it, the slot as we granted it, the vehicle as it was named."""
    attributes: Json = {"@context": SESSION_PACK, "@type": "ChargingSession"}
    if order.terms.finder_fee is not None:
        attributes["buyerFinderFee"] = finder_fee_json(order.terms.finder_fee)
    if order.slot is not None:
        attributes["preferences"] = {
            "startTime": rfc3339(order.slot.start_ms),
            "endTime": rfc3339(order.slot.end_ms),
        }
    echoed = order.wire.get("attributes")
    if isinstance(echoed, Mapping):
        attributes |= {name: echoed[name] for name in ("vehicleMake", "vehicleModel") if name in echoed}
    return attributes


def finder_fee_json(fee: FinderFee) -> Json:
    """`buyerFinderFee` of the session pack."""
    value = fee.value
    return {
        "feeType": fee.kind.value,
        "feeValue": int(value) if value == value.to_integral_value() else float(value),
    }


# --- payment ------------------------------------------------------------------------------------------------


def payment_json(
    payment: Payment,
    currency: str,
    *,
    accounts: Sequence[Mapping[str, object]] = (),
    with_url: bool = False,
) -> Json:
    """A core Payment. The link and the methods only while there is something to pay."""
    shown: Json = {
        "@context": CORE,
        "@type": "beckn:Payment",
        "beckn:id": payment.payment_id,
        "beckn:amount": {"currency": currency, "value": float(from_minor(payment.amount_minor))},
    }
    if with_url and payment.url is not None:
        shown["beckn:paymentURL"] = payment.url
    if payment.txn_ref is not None:
        shown["beckn:txnRef"] = payment.txn_ref
    if payment.paid_at_ms is not None:
        shown["beckn:paidAt"] = rfc3339(payment.paid_at_ms)
    shown["beckn:beneficiary"] = payment.beneficiary
    methods = [method for method in payment.methods if method in PAYMENT_METHODS]
    if with_url and methods:
        shown["beckn:acceptedPaymentMethod"] = methods
    shown["beckn:paymentStatus"] = payment.status.value
    if accounts:
        shown["beckn:paymentAttributes"] = {
            "@context": SETTLEMENT_PACK,
            "@type": "PaymentSettlement",
            "settlementAccounts": [dict(account) for account in accounts],
        }
    return shown


def accounts_of(order: Order, speaker: Speaker) -> list[Mapping[str, object]]:
    """The buyer app's settlement accounts, then ours."""
    given = order.wire.get("accounts")
    accounts = [account for account in given if isinstance(account, Mapping)] if isinstance(given, list | tuple) else []
    if speaker.settlement_account:
        accounts.append({"beneficiaryId": speaker.bpp.subscriber_id, **speaker.settlement_account})
    return accounts


def payment_due(order: Order) -> Payment | None:
    """The top-up the buyer still owes, if any."""
    return next(iter(reversed(order.open_top_ups)), None)


def payment_of_bill(order: Order, *, is_revised: bool = False) -> Payment | None:
    """The payment beside a final bill (BECKN 4.10).

    COMPLETED when the bill is what was paid (or what is beyond it is not asked for), ADJUSTED while the rest goes
    back, PENDING with its own id while a top-up is due, CAPTURED when the bill is taken from a hold.
    """
    due = payment_due(order)
    if due is not None:
        return replace(due, status=PaymentStatus.PENDING)
    payment = order.payment
    if payment is None or order.final is None or not payment.is_good:
        return payment
    if payment.status is PaymentStatus.AUTHORIZED:
        captured = min(order.final.total_minor, payment.amount_minor)
        return replace(payment, status=PaymentStatus.CAPTURED, amount_minor=captured)
    paid = payment.amount_minor + sum(top_up.amount_minor for top_up in order.top_ups if top_up.is_good)
    is_adjusted = is_revised or order.final.total_minor < paid
    return replace(payment, status=PaymentStatus.ADJUSTED if is_adjusted else PaymentStatus.COMPLETED)


def payment_of_cancellation(order: Order) -> Payment | None:
    """The payment beside a cancelled order (BECKN 4.11): the refund, or what was never paid."""
    if order.refunds:
        return refund_shown(order, order.refunds[-1])
    payment = order.payment
    if payment is None:
        return None
    if not payment.is_good:
        return replace(payment, status=PaymentStatus.CANCELLED)
    fee_minor = order.cancellation_fee.total_minor if order.cancellation_fee is not None else 0
    back_minor = payment.amount_minor - fee_minor
    if back_minor <= 0:
        return replace(payment, status=PaymentStatus.COMPLETED)
    if fee_minor == 0 and payment.status is PaymentStatus.AUTHORIZED:
        return replace(payment, status=PaymentStatus.VOIDED, beneficiary="BUYER")
    return Payment(
        payment_id=_announced(payment),
        status=PaymentStatus.PARTIALLY_REFUNDED if fee_minor else PaymentStatus.REFUNDED,
        amount_minor=back_minor,
        beneficiary="BUYER",
    )


def refund_shown(order: Order, refund: Payment) -> Payment:
    """A refund as the buyer sees it: REFUNDED when all of it went back, else PARTIALLY_REFUNDED."""
    is_all = order.payment is not None and refund.amount_minor >= order.payment.amount_minor
    status = PaymentStatus.REFUNDED if is_all else PaymentStatus.PARTIALLY_REFUNDED
    payment_id = refund.payment_id
    if order.state is State.CANCELLED and order.payment is not None and len(order.refunds) <= 1:
        payment_id = _announced(order.payment)  # on_cancel has named it already
    return replace(refund, payment_id=payment_id, status=status, beneficiary="BUYER")


def _announced(payment: Payment) -> str:
    """The number under which a cancellation tells of the refund, before the gateway has made it."""
    return f"{payment.payment_id}-refund"


def current_payment(order: Order) -> Payment | None:
    """The payment to show when somebody asks how the order stands."""
    if order.state in (State.CANCELLED, State.FAILED):
        return payment_of_cancellation(order)
    if order.state is State.EXPIRED:
        return None if order.payment is None else replace(order.payment, status=PaymentStatus.EXPIRED)
    if payment_due(order) is not None:
        return payment_of_bill(order)
    moved = [
        *(paid for paid in order.top_ups if paid.is_good),
        *(refund_shown(order, refund) for refund in order.refunds),
    ]
    if moved:  # the money that moved last
        return max(moved, key=lambda one: one.paid_at_ms or 0)
    return payment_of_bill(order)


def is_open_to_pay(order: Order, payment: Payment) -> bool:
    """Whether the link belongs into the message: we collect, and it is not paid."""
    return order.collected_by is CollectedBy.BPP and payment.status in (
        PaymentStatus.INITIATED,
        PaymentStatus.PENDING,
    )


# --- fulfillment --------------------------------------------------------------------------------------------


def fulfillment_json(
    order: Order,
    speaker: Speaker,
    progress: Progress | None = None,
    *,
    item: ItemView | None = None,
    with_connector: bool = True,
    cost: Breakdown | None = None,
) -> Json | None:
    """The charging: None before there is anything to fulfil (an order not confirmed)."""
    progress = progress if progress is not None else Progress()
    status = progress.session_status or SESSION_STATUS.get(order.state)
    if status is None:
        return None
    session: Json = {"@context": SESSION_PACK, "@type": "ChargingSession"}
    if with_connector and item is not None:
        word = connector_word(item.connector, speaker.connector_enum)
        if word is not None:
            session["connectorType"] = word
        if item.max_power_w >= 1000:
            session["maxPowerKW"] = number(item.max_power_w)
    session["sessionStatus"] = status
    if progress.connector_status is not None:
        session["connectorStatus"] = progress.connector_status
    if progress.reservation_id is not None:
        session["reservationId"] = progress.reservation_id
    if speaker.grace_minutes is not None and status == "PENDING":
        session["gracePeriodMinutes"] = speaker.grace_minutes
    if progress.energy_wh is not None:
        session["meteredEnergyKWh"] = number(progress.energy_wh)
    if progress.minutes is not None:
        session["meteredDurationMinutes"] = progress.minutes
    if cost is not None:
        session["totalCost"] = {"exclVat": float(cost.total_before_tax), "inclVat": float(cost.total)}
    if progress.last_updated_ms is not None:
        session["lastUpdated"] = rfc3339(progress.last_updated_ms)
    telemetry = telemetry_json(progress.telemetry, speaker.telemetry_units)
    if telemetry:
        session["chargingTelemetry"] = telemetry
    shown: Json = {
        "@context": CORE,
        "@type": "beckn:Fulfillment",
        "beckn:id": f"ful-{order.order_id}",
        "beckn:mode": "RESERVATION",
    }
    if progress.tracking_url is not None:
        shown["trackingAction"] = {
            "@type": "beckn:TrackAction",
            "target": {"@type": "schema:EntryPoint", "url": progress.tracking_url},
        }
    shown["beckn:deliveryAttributes"] = session
    return shown


def not_to_be_had(order: Order) -> Json:
    """The fulfillment of an order that we cancelled (BECKN 4.2, row 12)."""
    return {
        "@context": CORE,
        "@type": "beckn:Fulfillment",
        "beckn:id": f"ful-{order.order_id}",
        "beckn:mode": "RESERVATION",
        "beckn:deliveryAttributes": {
            "@context": SESSION_PACK, "@type": "ChargingSession", "connectorStatus": "UNAVAILABLE",
        },
    }  # fmt: skip


_UNITS: Final[Mapping[str, tuple[str, str]]] = {"physical": ("KWH", "KW"), "literal": ("KW", "KWH")}


def telemetry_json(samples: Sequence[Sample], units: str = "physical") -> list[Json]:
    """The last samples, oldest first. Energy never goes back: a lower register is a meter's fault, not the car's."""
    energy_unit, power_unit = _UNITS[units]
    shown: list[Json] = []
    highest_wh = 0
    for sample in sorted(samples, key=lambda one: one.at_ms):
        metrics: list[Json] = []
        if sample.soc_percent is not None:
            metrics.append({"name": "STATE_OF_CHARGE", "value": sample.soc_percent, "unitCode": "PERCENTAGE"})
        if sample.power_w is not None:
            metrics.append({"name": "POWER", "value": number(sample.power_w), "unitCode": power_unit})
        if sample.energy_wh is not None:
            highest_wh = max(highest_wh, sample.energy_wh)
            metrics.append({"name": "ENERGY", "value": number(highest_wh), "unitCode": energy_unit})
        if sample.voltage_mv is not None:
            metrics.append({"name": "VOLTAGE", "value": number(sample.voltage_mv), "unitCode": "VLT"})
        if sample.current_ma is not None:
            metrics.append({"name": "CURRENT", "value": number(sample.current_ma), "unitCode": "AMP"})
        if metrics:
            shown.append({"eventTime": rfc3339(sample.at_ms), "metrics": metrics})
    return shown[-MAX_SAMPLES:]
