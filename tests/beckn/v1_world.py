"""The operator of `beckn_world` on the networks of generation 1: requests, orders and every callback there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

from beckn_world import (
    BPP,
    HOUR,
    ITEM,
    NOW,
    OFFER,
    PROVIDER,
    SOCKET,
    SPEAKER,
    TERMS,
    WANT,
    billed,
    order,
    payment,
    request,
)

from beckn_adapter.catalog import PowerType
from beckn_adapter.commands import Command, Status
from beckn_adapter.envelope import Context, parse_context, reply_context
from beckn_adapter.errors import BecknError
from beckn_adapter.speaking import Aggregate, Contact, Progress, Sample, Shown
from beckn_adapter.v1.codec import V1Codec
from beckn_adapter.v1.profiles import DEG, PROFILES, Profile
from csms.domain.breakdown import Breakdown, Component, ComponentKind, Role
from csms.domain.connector import Availability
from csms.domain.order import CancelledBy, CollectedBy, Order, Payment, PaymentStatus, State, Want, WantKind
from csms.domain.tariff import CancellationPolicy, Discount

UUID = "11111111-2222-4333-8444-555555555555"
ERROR = BecknError("30008", "the connector is out of order", {"path": "order.items[0].id"})
FULL = Progress(
    energy_wh=3_217,
    minutes=8,
    telemetry=tuple(
        Sample(at_ms=NOW + step, energy_wh=step, power_w=17_100, current_ma=44_200, voltage_mv=388_000, soc_percent=63)
        for step in range(25)
    ),
    socket_status="Charging",
    last_updated_ms=NOW,
    tracking_url="https://p.example/track/9c1f",
    reservation_id="4711",
    started_ms=NOW + HOUR,
    ended_ms=NOW + HOUR + 480_000,
    meter_start_wh=12_345,
    meter_stop_wh=15_562,
)
FEE = Breakdown(
    currency="INR",
    components=(
        Component(
            kind=ComponentKind.FEE, role=Role.CANCELLATION, amount=Decimal("27.23"), description="Cancellation fee"
        ),
    ),
)
REFUND = Payment(
    payment_id="pay-2",
    status=PaymentStatus.COMPLETED,
    amount_minor=11_814,
    beneficiary="BUYER",
    txn_ref="RF-77",
    paid_at_ms=NOW,
)
TOP_UP = payment(PaymentStatus.PENDING, payment_id="top-1", amount_minor=500, txn_ref=None, paid_at_ms=None)
WIRE = {
    "context": {"location": {"country": {"code": "IND"}, "city": {"code": "std:080"}}, "version": "1.1.0"},
    "item_id": ITEM.item_id,
    "provider": "mycpo",
    "fulfillment_id": "1",
    "billing": {"name": "A. Rao", "email": "a@rao.example", "phone": "+919812345678", "state": {"name": "Karnataka"}},
    "customer": {"person": {"name": "A. Rao"}, "contact": {"phone": "+919812345678"}},
    "vehicle": {"make": "Tata", "model": "Nexon EV"},
    "window": [NOW + HOUR, NOW + 2 * HOUR],
}


def body_of(action: str, message: Any, profile: Profile = DEG, **context: Any) -> dict[str, Any]:
    """A request of a buyer's app of this generation."""
    return request(action, message, **{"version": "1.1.0", "domain": profile.domains[0], **context})


def context_of(action: str, profile: Profile = DEG, **context: Any) -> Context:
    return parse_context(body_of(action, {}, profile, **context))


def read(action: str, message: Any, profile: Profile = DEG, now_ms: int = NOW) -> Command:
    """The command in a request."""
    body = body_of(action, message, profile)
    return codec(profile).decode(parse_context(body), body, now_ms)


def codec(profile: Profile = DEG, **speaker: Any) -> V1Codec:
    return V1Codec(replace(SPEAKER, **speaker), profile)


def reply(action: str, profile: Profile = DEG, **context: Any) -> dict[str, object]:
    return reply_context(context_of(action, profile, **context), BPP, NOW)


def v1_order(state: State = State.QUOTED, **changes: Any) -> Order:
    """The order of `beckn_world`, bought in this generation."""
    return order(state, **{"network": "v1-deg", "domain": "deg:ev-charging", "wire": WIRE, **changes})


def v1_billed(energy_wh: int = 6_400, **changes: Any) -> Order:
    return billed(energy_wh, **{"network": "v1-deg", "domain": "deg:ev-charging", "wire": WIRE, **changes})


def orders() -> Iterator[Order]:
    """Every state, in the ways that change what is said."""
    loyal = replace(
        TERMS,
        loyalty=Discount(offer_id="l", label="Loyalty discount", percent=Decimal(10)),
        cancellation=CancellationPolicy(free_minutes=15, percent=Decimal(30)),
    )
    for state in State:
        yield v1_order(state)
        yield v1_order(state, payment=payment(), slot=None, session_id="s-1", terms=loyal)
        yield v1_order(state, payment=payment(PaymentStatus.INITIATED), wire={}, terms=loyal)
        yield v1_order(state, payment=payment(beneficiary="BAP"), collected_by=CollectedBy.BAP, estimate=FEE)
        yield v1_order(state, payment=payment(PaymentStatus.AUTHORIZED), want=Want(kind=WantKind.OPEN))
        yield v1_order(state, want=Want(kind=WantKind.TIME, minutes=30), wire={**WIRE, "unit": "HOURS"})
        yield v1_order(state, want=Want(kind=WantKind.AMOUNT, amount_minor=10_050), cancelled_at_ms=NOW)
    yield v1_billed()
    yield v1_billed(0)
    yield v1_billed(payment=payment(PaymentStatus.AUTHORIZED))
    yield v1_billed(20_000, top_ups=(TOP_UP,))
    yield v1_billed(20_000, top_ups=(replace(TOP_UP, status=PaymentStatus.COMPLETED),))
    yield v1_billed(refunds=(REFUND,))
    cancelled = {"payment": payment(), "cancelled_at_ms": NOW, "cancel_reason": "5"}
    said = {**WIRE, "cancellation": {"id": "5", "said": "cannot come"}}
    yield v1_order(State.CANCELLED, cancelled_by=CancelledBy.BUYER, cancellation_fee=FEE, **{**cancelled, "wire": said})
    yield v1_order(State.CANCELLED, cancelled_by=CancelledBy.PROVIDER, refunds=(REFUND,), **cancelled)
    yield v1_order(State.FAILED, failure="the charger did not start", payment=payment())


def bodies(profile: Profile) -> Iterator[dict[str, Any]]:
    """Every message this profile can send."""
    speaking = codec(profile, asks_otp=True)
    slots = ((NOW, NOW + HOUR), (NOW + 2 * HOUR, NOW + 9 * HOUR))
    shown_items = [
        replace(ITEM, free_slots=slots, availability=Availability.CHARGING),
        replace(SOCKET, availability=Availability.OFFLINE, reservation_supported=False),
        replace(SOCKET, item_id="x", connector="TYPE7", power_type=None, format=None),
        replace(SOCKET, item_id="y", connector="GBT", power_type=PowerType.DC, is_active=False),
    ]
    yield speaking.on_discover(reply("search", profile), PROVIDER, shown_items, [OFFER])
    yield speaking.on_discover(reply("search", profile), PROVIDER, [], [])
    for progress in (None, FULL):
        for told in orders():
            for item in (None, ITEM):
                shown = Shown(item=item, offer=OFFER, progress=progress)
                yield speaking.on_select(reply("select", profile), told, shown)
                yield speaking.on_init(reply("init", profile), told, shown)
                yield speaking.on_confirm(reply("confirm", profile), told, shown)
                yield speaking.on_status(speaking.news(told, "on_status", UUID, NOW), told, shown)
                yield speaking.on_update(reply("update", profile), told, shown, is_revised=item is None)
                yield speaking.on_refund(speaking.news(told, "on_status", UUID, NOW), told, REFUND, shown)
                yield speaking.on_cancel(reply("cancel", profile), told, shown)
                yield speaking.on_track(reply("track", profile), told, "https://p.example/t/9", shown, with_order=True)
    contact = Contact(name="Help", phone="+91-80-1234", email="help@p.example", url="https://p.example/help")
    rated = {"aggregate": Aggregate(value=4.5, count=2), "submission_id": UUID}
    yield speaking.on_support(reply("support", profile), contact, "ord-81c2")
    yield speaking.on_support(reply("support", profile), Contact(email="no mail"), "ord-81c2")
    yield speaking.on_rating(reply("rating", profile), feedback_url="https://p.example/f/1", **rated)
    yield speaking.on_rating(reply("rating", profile), aggregate=None, feedback_url=None, submission_id=None)
    yield speaking.rating_categories(reply("get_rating_categories", profile))
    shown = Shown(item=ITEM)
    for action in ("search", "select", "init", "confirm", "status", "update", "cancel", "track", "rating", "support"):
        yield speaking.error_for_order(reply(action, profile), ERROR, v1_order(), shown)
        yield speaking.error_for_command(reply(action, profile), ERROR, Status(order_id="o-1"))


__all__ = [
    "PROFILES",
    "UUID",
    "WANT",
    "bodies",
    "body_of",
    "codec",
    "context_of",
    "orders",
    "read",
    "reply",
    "v1_billed",
    "v1_order",
]
