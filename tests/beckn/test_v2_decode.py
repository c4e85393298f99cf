"""Requests of buyers' apps, in every form that was ever published, and the nonsense between."""

import contextlib
import json
from decimal import Decimal
from typing import Any

import pytest
from beckn_world import BAP_ACCOUNT, BUYER, HOUR, ITEM_ID, NOW, request
from hypothesis import given
from hypothesis import strategies as st
from schema import needs_schemas, shared

from beckn_adapter.commands import (
    Cancel,
    CatalogPublished,
    Command,
    Confirm,
    Discover,
    Init,
    PaymentClaim,
    Published,
    Rating,
    Select,
    Status,
    Support,
    Track,
    Update,
    Window,
)
from beckn_adapter.envelope import parse_context
from beckn_adapter.filters import parse
from beckn_adapter.v2.constants import CORE, OFFER_PACK, SESSION_PACK, SETTLEMENT_PACK
from beckn_adapter.v2.decode import decode
from csms.domain.quote import Want, WantKind
from csms.domain.refusal import Refusal, Why
from csms.domain.tariff import FeeKind, FinderFee


def decoded(action: str, message: Any, **context: Any) -> Command:
    body = request(action, message, **context)
    return decode(parse_context(body), body, NOW)


def refused(action: str, message: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        decoded(action, message)
    return caught.value


def order(**parts: Any) -> dict[str, Any]:
    """A full order as an app sends it; `parts` replace or, as None, remove members."""
    whole = {
        "@context": CORE,
        "@type": "beckn:Order",
        "beckn:orderStatus": "CREATED",
        "beckn:seller": "mycpo",
        "beckn:buyer": {**BUYER, "beckn:email": "a.rao@example.com", "beckn:taxID": "GSTIN1"},
        "beckn:orderItems": [
            {
                "beckn:orderedItem": ITEM_ID,
                "beckn:quantity": {"unitText": "Kilowatt Hour", "unitCode": "KWH", "unitQuantity": 2.5},
                "beckn:acceptedOffer": {
                    "@context": CORE,
                    "@type": "beckn:Offer",
                    "beckn:id": "offer-base",
                    "beckn:descriptor": {"@type": "beckn:Descriptor", "schema:name": "x"},
                    "beckn:items": [ITEM_ID],
                    "beckn:provider": "mycpo",
                    "beckn:price": {"currency": "INR", "value": 1},
                },
            }
        ],
        "beckn:orderAttributes": {
            "@context": SESSION_PACK,
            "@type": "ChargingSession",
            "buyerFinderFee": {"feeType": "PERCENTAGE", "feeValue": 2.5},
            "preferences": {"startTime": "2026-01-02T10:00:00Z", "endTime": "2026-01-02T11:30:00Z"},
        },
    }
    merged = {**whole, **{f"beckn:{name}": value for name, value in parts.items()}}
    return {name: value for name, value in merged.items() if value is not None}


def line(**parts: Any) -> dict[str, Any]:
    merged = {"beckn:orderedItem": ITEM_ID, **{f"beckn:{name}": value for name, value in parts.items()}}
    return {name: value for name, value in merged.items() if value is not None}


# --- select


def test_a_select_is_read_whole() -> None:
    command = decoded("select", {"order": order()}, network_id=["n"])
    assert isinstance(command, Select)
    assert command.item_id == ITEM_ID
    assert command.want == Want(kind=WantKind.ENERGY, energy_wh=2_500)
    assert command.offer_id == "offer-base"
    assert command.finder_fee == FinderFee(kind=FeeKind.PERCENTAGE, value=Decimal("2.5"))
    assert command.slot == Window(start_ms=1_767_348_000_000, end_ms=1_767_353_400_000)
    assert (command.buyer.buyer_id, command.buyer.phone) == ("user-1", "+919812345678")
    assert command.wire["seller"] == "mycpo"
    assert command.wire["context"] == {"network_id": ["n"]}
    assert command.wire["quantity"] == {"unitText": "Kilowatt Hour", "unitCode": "KWH", "unitQuantity": 2.5}


def test_the_least_select() -> None:
    command = decoded("select", {"order": {"beckn:buyer": {"beckn:id": "u"}, "beckn:orderItems": [line()]}})
    assert isinstance(command, Select)
    assert command.want == Want(kind=WantKind.OPEN)
    assert (command.offer_id, command.finder_fee, command.slot, command.buyer.vehicle_make) == (None,) * 4


@pytest.mark.parametrize(
    ("quantity", "want"),
    [
        ({"unitCode": "KWH", "unitQuantity": 10}, Want(kind=WantKind.ENERGY, energy_wh=10_000)),
        ({"unitCode": "kWh", "unitQuantity": "2.5"}, Want(kind=WantKind.ENERGY, energy_wh=2_500)),
        ({"unitText": "Kilowatt Hour", "unitQuantity": 1}, Want(kind=WantKind.ENERGY, energy_wh=1_000)),
        ({"unitQuantity": 3}, Want(kind=WantKind.ENERGY, energy_wh=3_000)),
        ({"unitCode": "WH", "unitQuantity": 500}, Want(kind=WantKind.ENERGY, energy_wh=500)),
        ({"unitCode": "KWH", "unitQuantity": 0.0014}, Want(kind=WantKind.ENERGY, energy_wh=1)),
        ({"unitCode": "INR", "unitQuantity": 450}, Want(kind=WantKind.AMOUNT, amount_minor=45_000)),
        ({"unitCode": "INR", "unitQuantity": 99.995}, Want(kind=WantKind.AMOUNT, amount_minor=10_000)),
        ({"unitCode": "MIN", "unitQuantity": 45}, Want(kind=WantKind.TIME, minutes=45)),
        ({"unitCode": "MINUTE", "unitQuantity": 45}, Want(kind=WantKind.TIME, minutes=45)),
        ({"unitCode": "HUR", "unitQuantity": 1.5}, Want(kind=WantKind.TIME, minutes=90)),
        ({"unitCode": "HOUR", "unitQuantity": 2}, Want(kind=WantKind.TIME, minutes=120)),
        (5, Want(kind=WantKind.ENERGY, energy_wh=5_000)),
        (None, Want(kind=WantKind.OPEN)),
    ],
)
def test_what_is_wanted_may_be_energy_money_or_time(quantity: object, want: Want) -> None:
    command = decoded("select", {"order": order(orderItems=[line(quantity=quantity)])})
    assert isinstance(command, Select)
    assert command.want == want


@pytest.mark.parametrize(
    ("parts", "member"),
    [
        ({"orderItems": None}, "beckn:orderItems"),
        ({"orderItems": []}, "beckn:orderItems"),
        ({"orderItems": ["x"]}, "beckn:orderItems"),
        ({"orderItems": [line(), line()]}, "more than one"),
        ({"orderItems": [line(orderedItem=None)]}, "beckn:orderedItem"),
        ({"orderItems": [line(orderedItem=7)]}, "beckn:orderedItem"),
        ({"orderItems": [line(orderedItem="x" * 2000)]}, "longer"),
        ({"buyer": None}, "beckn:buyer"),
        ({"buyer": {}}, "beckn:buyer"),
        ({"orderItems": [line(quantity={"unitQuantity": 0})]}, "unitQuantity"),
        ({"orderItems": [line(quantity={"unitQuantity": -1})]}, "unitQuantity"),
        ({"orderItems": [line(quantity={"unitQuantity": True})]}, "unitQuantity"),
        ({"orderItems": [line(quantity={"unitQuantity": float("nan")})]}, "unitQuantity"),
        ({"orderItems": [line(quantity={"unitQuantity": 1e300})]}, "unitQuantity"),
        ({"orderItems": [line(quantity={"unitQuantity": 0.0001})]}, "too small"),
        ({"orderItems": [line(quantity={"unitCode": "MILE", "unitQuantity": 1})]}, "unitCode"),
        ({"orderItems": [line(acceptedOffer={"price": 1})]}, "acceptedOffer"),
        ({"orderAttributes": {"buyerFinderFee": {"feeType": "SHARE", "feeValue": 1}}}, "feeType"),
        ({"orderAttributes": {"buyerFinderFee": {"feeType": "AMOUNT", "feeValue": -1}}}, "feeValue"),
        ({"orderAttributes": {"buyerFinderFee": {"feeType": "AMOUNT"}}}, "feeValue"),
        ({"orderAttributes": {"preferences": {"startTime": "soon"}}}, "startTime"),
        ({"orderAttributes": {"preferences": {"endTime": "2026-01-02T10:00:00Z"}}}, "startTime"),
        (
            {"orderAttributes": {"preferences": {"startTime": "2026-01-02T10:00Z", "endTime": "2026-01-01T10:00Z"}}},
            "endTime",
        ),
    ],
)  # fmt: skip
def test_a_select_that_cannot_be_meant_names_the_member(parts: dict[str, Any], member: str) -> None:
    refusal = refused("select", {"order": order(**parts)})
    assert refusal.why is Why.INVALID_REQUEST
    assert member in refusal.detail


@pytest.mark.parametrize(
    ("wished", "window"),
    [
        ({"startTime": "2026-01-02T15:30:00"}, Window(start_ms=1_767_348_000_000)),
        ({"startTime": "2026:01:02:15:30:00"}, Window(start_ms=1_767_348_000_000)),
        ({"startTime": "09:34:05", "endTime": "10:34:05"}, Window(start_ms=NOW + HOUR, end_ms=NOW + 2 * HOUR)),
        ({"startTime": "04:04:05Z"}, Window(start_ms=NOW + HOUR)),
        ({"startTime": "23:34:05", "endTime": "01:34:05"}, Window(start_ms=NOW + 15 * HOUR, end_ms=NOW + 17 * HOUR)),
    ],
)
def test_times_are_read_in_every_form(wished: dict[str, str], window: Window) -> None:
    command = decoded("select", {"order": order(orderAttributes={"preferences": wished})})
    assert isinstance(command, Select)
    assert command.slot == window


def test_an_older_app_puts_the_fee_into_the_offer_and_names_no_prefixes() -> None:
    offer = {
        "id": "o",
        "offerAttributes": {"@context": OFFER_PACK, "buyerFinderFee": {"feeType": "amount", "feeValue": 5}},
    }
    message = {
        "order": {
            "buyer": {"id": "u"},
            "orderItems": [{"orderedItem": "i", "acceptedOffer": offer}],
            "orderAttributes": {"vehicleMake": "Moto", "vehicleModel": "E-1"},
        }
    }
    command = decoded("select", message)
    assert isinstance(command, Select)
    assert command.finder_fee == FinderFee(kind=FeeKind.AMOUNT, value=Decimal(5))
    assert (command.item_id, command.offer_id) == ("i", "o")
    assert (command.buyer.vehicle_make, command.buyer.vehicle_model) == ("Moto", "E-1")


def test_what_would_break_the_schema_is_not_echoed() -> None:
    buyer = {"beckn:id": "u", "beckn:role": "KING", "beckn:email": "not an address", "odd": 1, "beckn:telephone": "1"}
    attributes = {
        "buyerFinderFee": {"feeType": "PERCENTAGE", "feeValue": 2},
        "odd": 1,
        "preferences": {"startTime": "09:00:00"},
    }
    command = decoded("select", {"order": order(buyer=buyer, orderAttributes=attributes, seller={"beckn:id": "s"})})
    assert isinstance(command, Select)
    assert command.wire["buyer"] == {
        "@context": CORE,
        "@type": "beckn:Buyer",
        "beckn:id": "u",
        "beckn:telephone": "1",
    }
    assert command.wire["attributes"] == {"buyerFinderFee": {"feeType": "PERCENTAGE", "feeValue": 2}}
    assert command.wire["seller"] == "s"


# --- init, confirm


def paid(**parts: Any) -> dict[str, Any]:
    return {
        "@context": CORE,
        "@type": "beckn:Payment",
        "beckn:amount": {"currency": "INR", "value": 143.95},
        "beckn:beneficiary": "BPP",
        "beckn:paymentStatus": "INITIATED",
        "beckn:paymentAttributes": {
            "@context": SETTLEMENT_PACK,
            "@type": "PaymentSettlement",
            "settlementAccounts": [{**BAP_ACCOUNT, "odd": "x", "paymentURL": "javascript:1"}],
        },
        **{f"beckn:{name}": value for name, value in parts.items()},
    }


def test_an_init_where_we_collect() -> None:
    command = decoded("init", {"order": order(payment=paid())})
    assert isinstance(command, Init)
    assert (command.order_id, command.collected_by) == (None, "BPP")
    assert command.payment == PaymentClaim(
        status="INITIATED",
        beneficiary="BPP",
        amount_minor=14_395,
        currency="INR",
        accounts=(BAP_ACCOUNT,),
    )
    assert command.wire["accounts"] == [BAP_ACCOUNT]


def test_an_init_where_the_app_collects_brings_its_own_ids() -> None:
    command = decoded("init", {"order": order(id="bap-order-1", payment=paid(id="bap-pay-1", beneficiary="BAP"))})
    assert isinstance(command, Init)
    assert (command.order_id, command.collected_by) == ("bap-order-1", "BAP")
    assert command.payment is not None
    assert command.payment.payment_id == "bap-pay-1"


def test_an_init_without_payment_leaves_collecting_to_us() -> None:
    command = decoded("init", {"order": order()})
    assert isinstance(command, Init)
    assert (command.collected_by, command.payment) == ("BPP", None)


@pytest.mark.parametrize(
    "payment",
    [paid(beneficiary="BUYER"), paid(amount={"value": "much"}), paid(amount={"value": -1}), "cash"],
)
def test_an_init_with_an_impossible_payment_is_refused(payment: object) -> None:
    assert "beckn:payment" in refused("init", {"order": order(payment=payment)}).detail


def test_a_confirm_carries_the_evidence() -> None:
    claim = paid(id="pay-1", paymentStatus="completed", txnRef="TX-1", paidAt="2026-01-02T03:04:05Z")
    command = decoded("confirm", {"order": order(id="ord-1", payment=claim)})
    assert isinstance(command, Confirm)
    assert (command.order_id, command.item_id) == ("ord-1", ITEM_ID)
    assert command.payment is not None
    assert (command.payment.status, command.payment.txn_ref, command.payment.paid_at_ms) == ("COMPLETED", "TX-1", NOW)


def test_a_confirm_may_leave_the_order_to_the_conversation() -> None:
    command = decoded("confirm", {"order": {}})
    assert isinstance(command, Confirm)
    assert (command.order_id, command.payment, command.item_id) == (None, None, None)


# --- status, track, update, cancel


@pytest.mark.parametrize("message", [{"order": {"beckn:id": "o"}}, {"order": order(id="o")}, {"order": [{"id": "o"}]}])
def test_a_status_names_the_order_barely_or_in_full(message: dict[str, Any]) -> None:
    assert decoded("status", message) == Status(order_id="o")


def test_a_track_names_a_tracking_or_an_order() -> None:
    assert decoded("track", {"tracking": {"id": "TRACK-1"}}) == Track(tracking_id="TRACK-1", order_id=None)
    assert decoded("track", {"order": {"beckn:id": "o"}}) == Track(tracking_id=None, order_id="o")
    assert "tracking.id" in refused("track", {"tracking": {}}).detail
    assert "tracking" in refused("track", {}).detail


def delivery(status: str | None, **more: Any) -> dict[str, Any]:
    return {"beckn:mode": "RESERVATION", "beckn:deliveryAttributes": {"sessionStatus": status, **more}}


@pytest.mark.parametrize(
    ("fulfillment", "status", "wants_stop"),
    [
        (delivery("PENDING"), "PENDING", False),
        (delivery("ACTIVE"), "ACTIVE", False),
        (delivery("STOP"), "STOP", True),
        (delivery("stop"), "STOP", True),
        (delivery("COMPLETED"), "COMPLETED", True),
        (delivery(None), None, False),
        (None, None, False),
        ({"sessionStatus": "STOP"}, "STOP", True),
    ],
)
def test_an_update_says_start_or_stop_by_the_wanted_session_status(
    fulfillment: object, status: str | None, wants_stop: bool
) -> None:
    command = decoded("update", {"order": order(id="o", orderStatus="inprogress", fulfillment=fulfillment)})
    assert isinstance(command, Update)
    assert (command.order_id, command.session_status, command.wants_stop) == ("o", status, wants_stop)
    assert command.order_status == "INPROGRESS"


@pytest.mark.parametrize(
    "fulfillment",
    [
        {"beckn:authorization": {"type": "OTP", "value": "4321"}},
        {"beckn:deliveryAttributes": {"beckn:authorization": {"type": "OTP", "value": 4321}}},
        {"beckn:deliveryAttributes": {"authorizationMode": "OTP", "authorizationToken": "4321"}},
    ],
)
def test_a_one_time_password_is_found_wherever_prose_put_it(fulfillment: dict[str, Any]) -> None:
    command = decoded("update", {"order": {"beckn:id": "o", "beckn:fulfillment": fulfillment}})
    assert isinstance(command, Update)
    assert command.otp == "4321"


@pytest.mark.parametrize(
    "message",
    [
        {"order": order(id="o", orderStatus="CONFIRMED")},
        {"order": {"beckn:id": "o"}},
        {"order": {"beckn:id": "o", "beckn:orderItems": [{"beckn:orderedItem": "x"}]}},
        {"order": [{"beckn:id": "o"}]},
    ],
)
def test_a_cancel_comes_in_four_forms(message: dict[str, Any]) -> None:
    assert decoded("cancel", message) == Cancel(order_id="o")


def test_a_cancel_may_say_why() -> None:
    assert decoded("cancel", {"order": {"beckn:id": "o"}, "cancellation_reason_id": "late"}) == Cancel(
        order_id="o", reason="late"
    )
    message = {"order": {"beckn:id": "o", "cancellationReason": {"code": "user_request"}}}
    assert decoded("cancel", message) == Cancel(order_id="o", reason="user_request")


@pytest.mark.parametrize("action", ["select", "init", "confirm", "status", "update", "cancel"])
@pytest.mark.parametrize("message", [{}, {"order": None}, {"order": []}, {"order": "x"}])
def test_a_message_without_order_is_refused(action: str, message: dict[str, Any]) -> None:
    assert "message.order" in refused(action, message).detail


# --- rating, support, catalogue


def test_a_rating_is_read_with_its_feedback() -> None:
    rating = {"id": "o", "ratingValue": 4, "bestRating": 5, "worstRating": 1, "category": "order"}
    command = decoded("rating", {"ratings": [{**rating, "feedback": {"comments": "fine", "tags": ["clean", 7]}}]})
    assert isinstance(command, Rating)
    (one,) = command.ratings
    assert (one.target_id, one.value, one.category, one.comments, one.tags) == (
        "o",
        Decimal(4),
        "ORDER",
        "fine",
        ("clean",),
    )


@pytest.mark.parametrize(
    ("rating", "why"),
    [
        ({"id": "o", "ratingValue": 6}, Why.BAD_RATING),
        ({"id": "o", "ratingValue": 0.5}, Why.BAD_RATING),
        ({"id": "o", "ratingValue": "good"}, Why.BAD_RATING),
        ({"id": "o"}, Why.BAD_RATING),
        ({"id": "o", "ratingValue": 5, "bestRating": 1, "worstRating": 9}, Why.BAD_RATING),
        ({"ratingValue": 5}, Why.INVALID_REQUEST),
        (7, Why.INVALID_REQUEST),
    ],
)
def test_a_rating_out_of_its_own_scale_is_refused(rating: object, why: Why) -> None:
    assert refused("rating", {"ratings": [rating]}).why is why


@pytest.mark.parametrize("message", [{}, {"ratings": []}, {"ratings": None}])
def test_no_rating_at_all_is_refused(message: dict[str, Any]) -> None:
    assert refused("rating", message).why is Why.INVALID_REQUEST


def test_ten_is_fine_on_a_scale_of_ten() -> None:
    command = decoded("rating", {"ratings": [{"id": "o", "ratingValue": 10, "bestRating": 10}]})
    assert isinstance(command, Rating)


@pytest.mark.parametrize(
    "message",
    [{"refId": "o", "refType": "ORDER"}, {"ref_id": "o", "ref_type": "order"}, {"refId": "o"}],
)
def test_support_is_asked_in_new_and_old_spelling(message: dict[str, Any]) -> None:
    assert decoded("support", message) == Support(ref_id="o", ref_type="ORDER")


def test_support_without_a_reference_or_of_an_unknown_kind_is_refused() -> None:
    assert "refId" in refused("support", {"refType": "ORDER"}).detail
    assert "refType" in refused("support", {"refId": "o", "refType": "PLANET"}).detail


def test_the_catalogue_services_report() -> None:
    results = [
        {"catalog_id": "c1", "status": "accepted", "item_count": 4},
        {"catalog_id": "c2", "status": "REJECTED", "error": {"code": "x", "message": "bad item"}},
    ]
    assert decoded("on_catalog_publish", {"results": results}) == CatalogPublished(
        results=(
            Published(catalog_id="c1", status="ACCEPTED", item_count=4),
            Published(catalog_id="c2", status="REJECTED", error="bad item"),
        )
    )
    assert "results" in refused("on_catalog_publish", {}).detail


def test_an_unknown_action_is_not_supported() -> None:
    assert refused("search", {}).why is Why.NOT_SUPPORTED


@pytest.mark.parametrize("message", [None, [], "x"])
def test_a_body_without_message_is_refused(message: object) -> None:
    assert "message" in refused("select", message).detail


# --- discover

CIRCLE = {
    "op": "s_dwithin",
    "targets": "$['beckn:itemAttributes.chargingStation.serviceLocation.geo']",
    "geometry": {"type": "Point", "coordinates": [77.59, 12.94]},
    "distanceMeters": 10000,
}
EXPRESSION = "$[?(@.beckn:itemAttributes.connectorType == 'CCS2')]"


def found(message: dict[str, Any]) -> Discover:
    command = decoded("discover", message)
    assert isinstance(command, Discover)
    return command


def test_a_discover_is_read_whole() -> None:
    intent = found(
        {"text_search": "fast", "filters": {"type": "jsonpath", "expression": EXPRESSION}, "spatial": [CIRCLE]}
    ).intent
    assert intent.text == "fast"
    assert intent.filter == parse(EXPRESSION)
    (condition,) = intent.spatial
    assert (condition.op, condition.distance_m, condition.negated) == ("s_dwithin", 10_000, False)
    assert condition.shape.points == ((77.59, 12.94),)


def test_a_filter_may_be_a_bare_text_and_a_condition_may_stand_alone() -> None:
    assert found({"filters": EXPRESSION}).intent.filter == parse(EXPRESSION)
    assert len(found({"spatial": CIRCLE}).intent.spatial) == 1
    other = {**CIRCLE, "targets": ["$['beckn:availableAt'][*]['geo']"], "op": "S_DWITHIN"}
    assert found({"spatial": [other]}).intent == found({"spatial": [CIRCLE]}).intent
    assert found({"spatial": [{**CIRCLE, "quantifier": "none"}]}).intent.spatial[0].negated


@pytest.mark.parametrize(
    ("message", "member"),
    [
        ({}, "text_search"),
        ({"text_search": 7}, "text_search"),
        ({"text_search": "x" * 2000}, "text_search"),
        ({"filters": {"type": "xpath", "expression": "x"}}, "filters.type"),
        ({"filters": {"type": "jsonpath"}}, "filters.expression"),
        ({"filters": 7}, "filters.expression"),
        ({"filters": "$[?("}, "at character 4"),
        ({"spatial": [7]}, "spatial[0]"),
        ({"spatial": [CIRCLE] * 9}, "spatial"),
        ({"spatial": [{**CIRCLE, "op": "near"}]}, "spatial[0].op"),
        ({"spatial": [{**CIRCLE, "distanceMeters": None}]}, "distanceMeters"),
        ({"spatial": [{**CIRCLE, "distanceMeters": -5}]}, "distanceMeters"),
        ({"spatial": [{**CIRCLE, "geometry": None}]}, "geometry"),
        ({"spatial": [{**CIRCLE, "targets": 5}]}, "targets"),
        ({"spatial": [{**CIRCLE, "quantifier": "some"}]}, "quantifier"),
        ({"spatial": [{**CIRCLE, "srid": "EPSG:3857"}]}, "srid"),
    ],
)
def test_a_discover_that_cannot_be_meant_names_the_member(message: dict[str, Any], member: str) -> None:
    refusal = refused("discover", message)
    assert refusal.why is Why.INVALID_REQUEST
    assert member in refusal.detail


def test_a_search_by_picture_is_declined() -> None:
    assert refused("discover", {"media_search": {"media": []}}).why is Why.NOT_SUPPORTED


# --- everything published, and everything else

_REQUESTS = ("discover", "select", "init", "confirm", "status", "update", "cancel", "rating", "support", "track")


@needs_schemas
def test_every_published_request_is_understood() -> None:
    base = shared()
    assert base is not None
    read = []
    for file in sorted((base / "v2" / "examples").glob("*.json")):
        body = json.loads(file.read_text("utf-8"))
        context = parse_context(body)
        if context.action in _REQUESTS:
            read.append(type(decode(context, body, NOW)).__name__)
    assert set(read) >= {"Discover", "Select", "Init", "Confirm", "Status", "Update", "Cancel", "Rating", "Support"}
    assert len(read) >= 12


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FULL: dict[str, dict[str, Any]] = {
    "discover": {"text_search": "x", "filters": {"type": "jsonpath", "expression": EXPRESSION}, "spatial": [CIRCLE]},
    "select": {"order": order()},
    "init": {"order": order(id="o", payment=paid())},
    "confirm": {"order": order(id="o", payment=paid())},
    "update": {"order": order(id="o", fulfillment=delivery("PENDING"))},
    "cancel": {"order": order(id="o")},
    "rating": {"ratings": [{"id": "o", "ratingValue": 4, "feedback": {"comments": "x", "tags": ["y"]}}]},
    "support": {"refId": "o", "refType": "ORDER", "support": {"name": "x"}},
    "track": {"tracking": {"id": "x"}},
    "on_catalog_publish": {"results": [{"catalog_id": "c", "status": "ACCEPTED", "error": {"message": "x"}}]},
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, child in children for place in places(child, (*path, name)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


@given(st.data())
def test_a_message_broken_anywhere_is_read_or_refused(data: st.DataObject) -> None:
    action = data.draw(st.sampled_from(sorted(FULL)))
    path = data.draw(st.sampled_from(places(FULL[action])))
    message = put(FULL[action], path, data.draw(JSON))
    with contextlib.suppress(Refusal):
        decoded(action, message)
