"""A small operator on a made-up network: one station, two connectors, one tariff, one order."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from beckn_adapter.catalog import Format, ItemView, OfferView, PowerType, ProviderView, Rating, StationView, offer_of
from beckn_adapter.envelope import Context, Endpoint, parse_context, reply_context
from beckn_adapter.v2.constants import CORE
from beckn_adapter.v2.encode import Speaker
from csms.domain.order import Order, Payment, PaymentStatus, Slot, State, Want, WantKind
from csms.domain.quote import quote
from csms.domain.tariff import Discount, FeeKind, FinderFee, Pattern, Rate, Slice, Tariff, Terms, Usage, bill

NOW = 1_767_323_045_000  # 2026-01-02T03:04:05Z, 08:34:05 in India
HOUR = 3_600_000
BPP = Endpoint("p.example", "https://p.example/beckn/bpp/receiver")
SPEAKER = Speaker(
    bpp=BPP,
    provider_id="mycpo",
    settlement_account={"accountHolderName": "MyCPO Pvt Ltd", "accountNumber": "000111", "vpa": "mycpo@bank"},
    grace_minutes=10,
)
ITEM_ID = "IND*mycpo*st-7*IN*MYC*E0012*1"

PROVIDER = ProviderView(provider_id="mycpo", name="MyCPO Pvt Ltd", rating=Rating(value=Decimal("4.5"), count=12))
STATION = StationView(
    station_id="st-7",
    name="Main Road hub",
    lat=12.9716,
    lon=77.5946,
    street="1 Main Rd",
    city="Bengaluru",
    region="Karnataka",
    postal_code="560001",
    amenities=("RESTROOM", "WIFI", "SPORT"),
    parking="Mall",
    hours=(("06:00", "22:00"),),
)
ITEM = ItemView(
    item_id=ITEM_ID,
    evse_id="IN*MYC*E0012",
    station=STATION,
    provider=PROVIDER,
    connector="CCS2",
    max_power_w=60_000,
    power_type=PowerType.DC,
    format=Format.CABLE,
    reservation_supported=True,
)
SOCKET = replace(
    ITEM,
    item_id="IND*mycpo*st-7*IN*MYC*E0013*1",
    evse_id="IN*MYC*E0013",
    connector="SOCKET_15A",
    max_power_w=3_300,
    power_type=PowerType.AC_1_PHASE,
    format=Format.SOCKET,
)

TARIFF = Tariff(
    tariff_id="base",
    rates=(Rate(per_kwh=Decimal(18)),),
    service_fee=Decimal(10),
    idle_per_minute=Decimal(2),
    idle_grace_minutes=10,
    tax_percent=Decimal(18),
    surge_percent=Decimal(20),
    buffer_percent=Decimal(10),
)
TERMS = Terms(
    tariff=TARIFF,
    discount=Discount(offer_id="d1", label="Offer: 20 INR off from 5 kWh", flat=Decimal(20), threshold_wh=5_000),
    finder_fee=FinderFee(kind=FeeKind.PERCENTAGE, value=Decimal("2.5")),
    pattern=Pattern.BUFFER_IN_QUOTE,
)
WANT = Want(kind=WantKind.ENERGY, energy_wh=10_000)
OFFER: OfferView = offer_of(
    TARIFF,
    offer_id="offer-base",
    provider_id="mycpo",
    item_ids=[ITEM_ID, SOCKET.item_id],
    now_ms=NOW,
    valid_from_ms=NOW,
    valid_until_ms=NOW + 90 * 24 * HOUR,
    payment_methods=("UPI", "WALLET", "BEADS"),
)

BUYER = {
    "@context": CORE,
    "@type": "beckn:Buyer",
    "beckn:id": "user-1",
    "beckn:role": "BUYER",
    "beckn:displayName": "A. Rao",
    "beckn:telephone": "+919812345678",
}
BAP_ACCOUNT = {"beneficiaryId": "b.example", "accountHolderName": "App Ltd", "vpa": "app@bank"}


def request(action: str, message: dict[str, Any], **context: Any) -> dict[str, Any]:
    """A request body of the buyer's app."""
    return {
        "context": {
            "version": "2.0.0",
            "action": action,
            "domain": "beckn.one:deg:ev-charging:*",
            "bap_id": "b.example",
            "bap_uri": "https://b.example/bap/receiver",
            "bpp_id": BPP.subscriber_id,
            "bpp_uri": BPP.uri,
            "transaction_id": "2b4d69aa-22e4-4c78-9f56-5a7b9e2b2002",
            "message_id": "6ace310b-6440-4421-a2ed-b484c7548bd5",
            "timestamp": "2026-01-02T03:04:05.000Z",
            "ttl": "PT30S",
            **context,
        },
        "message": message,
    }


def context_of(action: str, **context: Any) -> Context:
    return parse_context(request(action, {}, **context))


def reply(action: str, **context: Any) -> dict[str, object]:
    """The context of an answer to `action`."""
    return reply_context(context_of(action, **context), BPP, NOW)


def order(state: State = State.QUOTED, **changes: Any) -> Order:
    """An order for 10 kWh at the worked prices of the contract (272.34 INR), in any state."""
    priced = quote(TERMS, WANT, start_ms=NOW, max_power_w=60_000)
    fresh = Order(
        order_id="ord-81c2",
        network="v2",
        transaction_id="2b4d69aa-22e4-4c78-9f56-5a7b9e2b2002",
        bap_id="b.example",
        bap_uri="https://b.example/bap/receiver",
        domain="beckn.one:deg:ev-charging:*",
        item_id=ITEM_ID,
        station="CP1",
        evse=1,
        connector=1,
        want=WANT,
        terms=TERMS,
        quote=priced.breakdown,
        quoted_wh=priced.energy_wh,
        hold_minor=priced.hold_minor,
        quoted_at_ms=NOW,
        quote_expires_ms=NOW + 900_000,
        state=state,
        order_number="2026-0001",
        slot=Slot(start_ms=NOW + HOUR, end_ms=NOW + 2 * HOUR),
        wire={"seller": "mycpo", "buyer": BUYER, "accounts": [BAP_ACCOUNT]},
    )
    return replace(fresh, **changes)


def payment(status: PaymentStatus = PaymentStatus.COMPLETED, **changes: Any) -> Payment:
    return replace(
        Payment(
            payment_id="pay-1",
            status=status,
            amount_minor=27_234,
            beneficiary="BPP",
            txn_ref="TX-9f3",
            paid_at_ms=NOW + 60_000,
            url="https://pay.p.example/t/9f3",
            methods=("UPI",),
        ),
        **changes,
    )


def billed(energy_wh: int = 6_400, **changes: Any) -> Order:
    """The order after charging `energy_wh`, with its final bill."""
    usage = Usage(slices=(Slice(start_ms=NOW + HOUR, end_ms=NOW + HOUR + 24 * 60_000, energy_wh=energy_wh),))
    ended: dict[str, Any] = {
        "payment": payment(),
        "final": bill(TERMS, usage),
        "delivered_wh": energy_wh,
        "duration_min": 24,
        "ended_at_ms": NOW + HOUR + 24 * 60_000,
        "session_id": "s-1",
        "revision": 1,
    }
    return order(State.COMPLETED, **{**ended, **changes})
