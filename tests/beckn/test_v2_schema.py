"""Everything we emit passes the published schemas: core, attribute packs, formats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from beckn_world import (
    BPP,
    BUYER,
    ITEM,
    NOW,
    OFFER,
    PROVIDER,
    SOCKET,
    SPEAKER,
    WANT,
    billed,
    order,
    payment,
    reply,
    request,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from schema import needs_schemas, validate_callback

from beckn_adapter.commands import Cancel, Confirm, Init, Rating, Select, Status, Support, Track, Update
from beckn_adapter.envelope import parse_context, serialise
from beckn_adapter.errors import BecknError
from beckn_adapter.v2.decode import decode
from beckn_adapter.v2.encode import (
    Aggregate,
    Contact,
    Progress,
    Sample,
    catalog_publish,
    error_for_command,
    error_for_order,
    news_for,
    on_cancel,
    on_confirm,
    on_discover,
    on_init,
    on_rating,
    on_refund,
    on_select,
    on_status,
    on_support,
    on_track,
    on_update,
    publish_context,
)
from beckn_adapter.v2.items import catalog_json
from csms.domain.breakdown import Breakdown, Component, ComponentKind, Role
from csms.domain.order import CollectedBy, Order, Payment, PaymentStatus, State
from csms.domain.refusal import Refusal

pytestmark = needs_schemas

UUID = "11111111-2222-4333-8444-555555555555"
ERROR = BecknError("30008", "the connector is out of order", {"path": "order"})
FULL = Progress(
    energy_wh=3_217,
    minutes=8,
    telemetry=tuple(
        Sample(at_ms=NOW + step, energy_wh=step, power_w=17_100, current_ma=44_200, voltage_mv=388_000, soc_percent=63)
        for step in range(25)
    ),
    connector_status="UNAVAILABLE",
    last_updated_ms=NOW,
    tracking_url="https://p.example/track/9c1f",
    reservation_id="4711",
)
LINE = Component(
    kind=ComponentKind.FEE, role=Role.CANCELLATION, amount=Decimal("27.23"), description="Cancellation fee"
)
FEE = Breakdown(currency="INR", components=(LINE,))
REFUND = Payment(
    payment_id="pay-2",
    status=PaymentStatus.COMPLETED,
    amount_minor=11_814,
    beneficiary="BUYER",
    txn_ref="RF-77",
    paid_at_ms=NOW,
)
TOP_UP = payment(PaymentStatus.PENDING, payment_id="top-1", amount_minor=500)


def news(of: Order, action: str) -> dict[str, object]:
    return news_for(of, SPEAKER, action, UUID, NOW)


def orders() -> Iterator[Order]:
    for state in State:
        yield order(state)
        yield order(state, payment=payment(), slot=None)
        yield order(state, payment=payment(PaymentStatus.INITIATED), wire={"context": {"network_id": ["n"]}})
        yield order(state, payment=payment(beneficiary="BAP"), collected_by=CollectedBy.BAP, estimate=FEE)
    yield billed()
    yield billed(0)
    yield billed(top_ups=(TOP_UP,))
    yield billed(refunds=(REFUND,))
    yield order(State.CANCELLED, payment=payment(), cancellation_fee=FEE)
    yield order(State.CANCELLED, payment=payment(), refunds=(REFUND,))


def bodies() -> Iterator[dict[str, Any]]:
    catalog = catalog_json(PROVIDER, [ITEM, SOCKET], [OFFER], BPP, network_id=["net"])
    yield on_discover(reply("discover"), [catalog], SPEAKER)
    yield on_discover(reply("discover"), [])
    yield on_discover(reply("discover"), [catalog_json(PROVIDER, [], [], BPP)], replace(SPEAKER, empty_error=True))
    yield catalog_publish(publish_context(BPP, "beckn.one:deg:ev-charging:*", UUID, UUID, NOW), [catalog])
    for progress in (None, FULL):
        for told in orders():
            yield on_select(reply("select"), told, SPEAKER, item=ITEM, offer=OFFER)
            yield on_init(reply("init"), told, SPEAKER, item=ITEM, offer=OFFER)
            yield on_confirm(reply("confirm"), told, SPEAKER, progress, item=ITEM)
            yield on_status(reply("status"), told, SPEAKER, progress, item=ITEM)
            yield on_status(news(told, "on_status"), told, SPEAKER, progress)
            yield on_update(news(told, "on_update"), told, SPEAKER, progress, item=ITEM)
            yield on_refund(news(told, "on_status"), told, SPEAKER, REFUND, progress, item=ITEM)
            yield on_cancel(reply("cancel"), told, SPEAKER, item=ITEM)
            yield on_track(reply("track"), told, SPEAKER, "https://p.example/t", progress, with_order=True)
            for action in ("select", "init", "confirm", "status", "update", "cancel", "track", "rating", "support"):
                yield error_for_order(reply(action), ERROR, told, SPEAKER, item=ITEM)
    yield on_rating(reply("rating"), SPEAKER)
    yield on_rating(
        reply("rating"),
        SPEAKER,
        aggregate=Aggregate(value=4.2, count=7),
        feedback_url="https://p.example/f",
        submission_id=UUID,
    )
    contact = Contact(
        name="Help",
        phone="1800",
        email="help@p.example",
        url="https://p.example/help",
        hours="24/7",
        channels=("PHONE", "EMAIL"),
    )
    yield on_support(reply("support"), SPEAKER, contact)
    yield on_support(reply("support"), SPEAKER, Contact())
    yield from errors()


def errors() -> Iterator[dict[str, Any]]:
    buying = request("init", {"order": {"beckn:buyer": BUYER, "beckn:orderItems": [{"beckn:orderedItem": "i"}]}})
    init = decode(parse_context(buying), buying, NOW)
    assert isinstance(init, Init)
    select = Select(item_id="i", want=WANT, buyer=init.buyer, wire=init.wire)
    for action, command in (
        ("select", select),
        ("init", init),
        ("init", replace(init, order_id="o", wire={})),
        ("confirm", Confirm(order_id=None)),
        ("update", Update(order_id="o", order_status="CONFIRMED", item_id="i")),
        ("update", Update(order_id=None, order_status="ODD")),
        ("cancel", Cancel(order_id="o")),
        ("status", Status(order_id="o")),
        ("rating", Rating(ratings=())),
        ("support", Support(ref_id="x", ref_type="ORDER")),
        ("track", Track(tracking_id="x", order_id=None)),
    ):
        yield error_for_command(reply(action), ERROR, command, SPEAKER)


def test_everything_emitted_passes() -> None:
    count = 0
    for body in bodies():
        assert validate_callback(body) == [], serialise(body).decode()
        count += 1
    assert count > 1000


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("beckn:fulfillment", "beckn:deliveryAttributes", "connectorStatus"), "CHARGING"),
        (("beckn:fulfillment", "beckn:deliveryAttributes", "connectorStatus"), "FAULTED"),
        (("beckn:fulfillment", "beckn:deliveryAttributes", "sessionId"), "x"),
        (("beckn:fulfillment", "beckn:deliveryAttributes", "connectorType"), "TYPE2"),
        (("beckn:fulfillment", "beckn:deliveryAttributes", "lastUpdated"), "yesterday"),
        (("beckn:fulfillment", "beckn:status"), "CANCELLED"),
        (("beckn:totals",), {}),
        (("beckn:payment", "beckn:paymentStatus"), "PAID"),
        (("beckn:orderStatus",), "DONE"),
        (("beckn:orderValue",), {"components": [{"type": "REFUND"}]}),
    ],
)
def test_the_validator_sees_what_the_network_refuses(path: tuple[str, ...], value: object) -> None:
    """A guard for the guard: these mutations are known to be refused."""
    body: dict[str, Any] = on_status(reply("status"), billed(), SPEAKER, FULL, item=ITEM)
    holder = body["message"]["order"]
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = value
    assert validate_callback(body) != []


TEXTS = st.text(max_size=12)
ODD = st.one_of(TEXTS, st.integers(), st.floats(), st.none(), st.lists(TEXTS, max_size=2), st.booleans())


@given(
    buyer=st.dictionaries(
        st.sampled_from(["beckn:role", "beckn:displayName", "beckn:telephone", "beckn:email", "beckn:taxID", "odd"]),
        ODD,
    ),
    email=st.from_regex(r"[a-z.@+-]{1,12}", fullmatch=True) | st.emails(),
    quantity=st.dictionaries(st.sampled_from(["unitText", "unitCode", "odd"]), ODD),
    attributes=st.dictionaries(st.sampled_from(["vehicleMake", "vehicleModel", "odd", "preferences"]), ODD),
    account=st.dictionaries(st.sampled_from(["beneficiaryId", "vpa", "paymentURL", "odd"]), ODD),
)
@settings(max_examples=150, deadline=None)
def test_whatever_an_app_writes_what_we_repeat_of_it_passes(
    buyer: dict[str, Any],
    email: str,
    quantity: dict[str, Any],
    attributes: dict[str, Any],
    account: dict[str, Any],
) -> None:
    whole = {
        "beckn:seller": "mycpo",
        "beckn:buyer": {"beckn:email": email, **buyer, "beckn:id": "u"},
        "beckn:orderItems": [{"beckn:orderedItem": "i", "beckn:quantity": {**quantity, "unitQuantity": 3}}],
        "beckn:orderAttributes": attributes,
        "beckn:payment": {"beckn:paymentAttributes": {"settlementAccounts": [account]}},
    }
    body = request("init", {"order": whole})
    try:
        init = decode(parse_context(body), body, NOW)
    except Refusal:
        return
    assert isinstance(init, Init)
    told = order(State.INITIALISED, wire=init.wire, payment=payment(PaymentStatus.INITIATED))
    assert validate_callback(on_init(reply("init"), told, SPEAKER)) == []
    assert validate_callback(error_for_command(reply("init"), ERROR, init, SPEAKER)) == []
