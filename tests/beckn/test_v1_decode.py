"""Requests of generation 1, in every form the guides show, mean what they mean."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from beckn_world import BPP, HOUR, ITEM, NOW, PROVIDER, SOCKET
from hypothesis import given, settings
from hypothesis import strategies as st
from schema import needs_schemas, shared
from v1_world import PROFILES, body_of, codec, read

from beckn_adapter.catalog import ItemView
from beckn_adapter.commands import (
    Cancel,
    Confirm,
    Discover,
    Init,
    Rating,
    RatingCategories,
    Select,
    Status,
    Support,
    Track,
    Update,
    Window,
)
from beckn_adapter.discovery import Catalogue
from beckn_adapter.envelope import parse_context, reply_context
from beckn_adapter.v1.codec import ACTIONS
from beckn_adapter.v1.profiles import DEG, EOS, RFC, UEI
from beckn_adapter.v1.search import comparisons
from beckn_adapter.v2.items import item_json
from csms.domain.quote import Want, WantKind
from csms.domain.refusal import Refusal, Why
from csms.domain.tariff import FeeKind, FinderFee

Json = dict[str, Any]


def group(code: str | None, entries: list[tuple[str, str]], *, name: str | None = None) -> Json:
    descriptor = {key: value for key, value in (("code", code), ("name", name)) if value is not None}
    listed = [{"descriptor": {"code": key}, "value": value} for key, value in entries]
    return {"descriptor": descriptor, "list": listed} if descriptor else {"list": listed}


def an_order(**changes: Any) -> Json:
    order: Json = {
        "provider": {"id": "mycpo"},
        "items": [{"id": ITEM.item_id, "quantity": {"selected": {"measure": measure("10", "kWh")}}}],
        "fulfillments": [{"id": "1"}],
    }
    return {"order": {**order, **changes}}


def measure(value: Any, unit: str) -> Json:
    return {"type": "CONSTANT", "value": value, "unit": unit}


def wanted(value: Any, unit: str) -> Json:
    return an_order(items=[{"id": ITEM.item_id, "quantity": {"selected": {"measure": measure(value, unit)}}}])


def select(message: Json) -> Select:
    command = read("select", message)
    assert isinstance(command, Select)
    return command


def refused(action: str, message: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(action, message)
    assert " " in caught.value.detail
    return caught.value


# --- search


def found(intent: Json, items: tuple[ItemView, ...] = (ITEM, SOCKET)) -> list[str]:
    """The EVSEs that fit, as buyers of this generation find them."""
    command = read("search", {"intent": intent})
    assert isinstance(command, Discover)
    index = Catalogue(item_json, is_publishable=lambda _: False)
    for item in items:
        index.put(item)
    return sorted(item.evse_id for item in index.search(command.intent, NOW, is_publishable=lambda _: True))


CCS, PLUG15 = ITEM.evse_id, SOCKET.evse_id
BOTH = [CCS, PLUG15]


def circle(gps: str, value: Any, unit: str = "km") -> Json:
    radius = {"type": "CONSTANT", "value": value, "unit": unit}
    return {"fulfillment": {"stops": [{"location": {"circle": {"gps": gps, "radius": radius}}}]}}


@pytest.mark.parametrize(
    ("intent", "expected"),
    [
        ({}, BOTH),
        (circle("12.97,77.59", "5"), BOTH),
        (circle("12.97, 77.59", 5), BOTH),
        (circle("12.97,77.59", "3", "miles"), BOTH),
        (circle("12.97,77.59", "900", "m"), BOTH),
        (circle("12.97,77.59", "100", "m"), []),
        (circle("77.59,12.97", "5"), []),
        ({"fulfillment": {"stops": [{"location": {"gps": "12.97,77.59"}}]}}, BOTH),
        ({"fulfillment": {"stops": [{"location": {"gps": "28.7041,77.1025", "address": {"full": "Delhi"}}}]}}, []),
        ({"descriptor": {"name": "ccs2"}}, [CCS]),
        ({"category": {"descriptor": {"code": "green-tariff"}}}, BOTH),
        ({"category": {"descriptor": {"code": "DC_FAST"}}}, [CCS]),
        ({"category": {"descriptor": {"code": "AC_SLOW"}}}, [PLUG15]),
        ({"category": {"descriptor": {"code": "CCS2"}}}, [CCS]),
        ({"category": {"descriptor": {"code": "loyalty-program"}}}, []),
        ({"item": {"descriptor": {"code": "CHARGER"}}}, BOTH),
        ({"item": {"id": SOCKET.item_id}}, [PLUG15]),
        ({"item": {"id": SOCKET.item_id + "-spot"}}, [PLUG15]),
        ({"provider": {"id": "mycpo"}}, BOTH),
        ({"provider": {"id": "other"}}, []),
        ({"tags": [group("connector-specifications", [("connector-type", "CCS2")])]}, [CCS]),
        ({"fulfillment": {"tags": [group(None, [("connector-type", "iec_62196_t2_combo")])]}}, [CCS]),
        ({"fulfillment": {"tags": [{"list": [{"code": "connector-type", "value": "CCS 2"}]}]}}, [CCS]),
        ({"item": {"tags": [{"descriptor": {"code": "connector-type"}, "value": "15 A"}]}}, [PLUG15]),
        ({"fulfillment": {"tags": [group("X", [("Connector_Type", "CCS2"), ("Charger_Type", "AC")])]}}, []),
        ({"tags": [group(None, [("connector-type", "CHAOJI")])]}, []),
        ({"tags": [group(None, [("connector-type", "CCS2,15A")])]}, BOTH),
        ({"tags": [group("Charging Point", [("charger-type", "DC")])]}, [CCS]),
        ({"tags": [group(None, [("power-type", "AC_1_PHASE")])]}, [PLUG15]),
        ({"tags": [group(None, [("power-rating", ">=50kW")])]}, [CCS]),
        ({"tags": [group(None, [("power-rating", "greater than 3.2kW and less than 11kW")])]}, [PLUG15]),
        ({"tags": [group(None, [("power-rating", "equals to 60kW")])]}, [CCS]),
        ({"tags": [group(None, [("power-rating", "60")])]}, [CCS]),
        ({"tags": [group(None, [("power-rating", "3 - 7 kW")])]}, [PLUG15]),
        ({"tags": [group(None, [("vehicle-type", "4-wheeler")])]}, BOTH),
        ({"tags": [group("buyer-finder-fee", [("type", "PERCENTAGE"), ("value", "2.5")])]}, BOTH),
        ({"fulfillment": {"type": "CHARGING"}}, BOTH),
        ({"fulfillment": {"type": "BATTERY-SWAP"}}, []),
    ],
)
def test_a_search_finds_what_it_describes(intent: Json, expected: list[str]) -> None:
    assert found(intent) == expected


def test_a_search_without_an_intent_is_for_everything() -> None:
    assert isinstance(read("search", {}), Discover)


def test_prices_and_availability_are_asked_of_the_market() -> None:
    tags = [group(None, [("tariff", "less than 15"), ("availability", "Available")])]
    command = read("search", {"intent": {"tags": tags, "item": {"price": {"minimum_value": "2"}}}})
    assert isinstance(command, Discover)
    assert command.intent.price_per_kwh == (("<", Decimal(15)), (">=", Decimal(2)))
    assert command.intent.available_only


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.network)
def test_only_networks_that_show_slots_ask_for_them(profile: Any) -> None:
    span = {"start": "2026:01:02:10:00:00", "end": "2026-01-02T06:30:00Z"}
    command = read("search", {"intent": {"fulfillment": {"stops": [{"time": {"range": span}}]}}}, profile)
    assert isinstance(command, Discover)
    assert command.with_slots is (profile is DEG)
    assert command.window == Window(start_ms=1_767_328_200_000, end_ms=1_767_335_400_000)


@pytest.mark.parametrize(
    ("intent", "member"),
    [
        (circle("somewhere", "5"), "gps"),
        (circle("95,200", "5"), "gps"),
        (circle("12.9,77.5", "far"), "radius"),
        (circle("12.9,77.5", "5", "parsec"), "radius.unit"),
        (circle("12.9,77.5", "-1"), "radius"),
    ],
)
def test_a_place_that_is_none_is_refused_by_name(intent: Json, member: str) -> None:
    refusal = refused("search", {"intent": intent})
    assert refusal.why is Why.INVALID_REQUEST
    assert member in refusal.detail


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("greater than 3.3kW and less than 11kW", ((">", "3.3"), ("<", "11"))),
        (">=50kW", ((">=", "50"),)),
        ("at least 7 kW", ((">=", "7"),)),
        ("< 10 INR", (("<", "10"),)),
        ("3.3-11kW", ((">=", "3.3"), ("<=", "11"))),
        ("fast", ()),
    ],
)
def test_comparisons_in_words(said: str, meant: tuple[tuple[str, str], ...]) -> None:
    assert comparisons(said) == tuple((op, Decimal(value)) for op, value in meant)


# --- buying


@pytest.mark.parametrize(
    ("value", "unit", "meant"),
    [
        ("4", "kWh", Want(kind=WantKind.ENERGY, energy_wh=4000)),
        ("4.0", "kWH", Want(kind=WantKind.ENERGY, energy_wh=4000)),
        (5, "KWH", Want(kind=WantKind.ENERGY, energy_wh=5000)),
        ("3", "UNITS", Want(kind=WantKind.ENERGY, energy_wh=3000)),
        ("100", "INR", Want(kind=WantKind.AMOUNT, amount_minor=10_000)),
        ("99.99", "INR", Want(kind=WantKind.AMOUNT, amount_minor=9_999)),
        ("30", "MINUTES", Want(kind=WantKind.TIME, minutes=30)),
        ("30", "min", Want(kind=WantKind.TIME, minutes=30)),
        ("1.5", "HOURS", Want(kind=WantKind.TIME, minutes=90)),
    ],
)
def test_an_order_by_amount_units_or_time(value: Any, unit: str, meant: Want) -> None:
    assert select(wanted(value, unit)).want == meant


@pytest.mark.parametrize(
    ("value", "unit"), [("0", "kWh"), ("-1", "INR"), ("many", "kWh"), ("1", "litre"), (None, "kWh")]
)
def test_a_quantity_that_is_none_is_refused_by_name(value: Any, unit: str) -> None:
    assert "order.items[0].quantity.selected.measure" in refused("select", wanted(value, unit)).detail


def test_a_count_of_chargers_says_nothing_about_energy() -> None:
    asked = select(an_order(items=[{"id": ITEM.item_id, "quantity": {"count": 1}}]))
    assert asked.want == Want(kind=WantKind.OPEN)


def test_the_item_may_stand_alone_and_the_walk_in_twin_is_the_same_connector() -> None:
    line = {"id": ITEM.item_id + "-spot", "quantity": {"selected": {"measure": measure("100", "INR")}}}
    soon = {"timestamp": "2026-01-02T10:00:00+05:30"}
    order = {"provider": {"id": "mycpo"}, "item": line, "fulfillments": [{"stops": [{"time": soon}]}]}
    asked = select({"order": order})
    assert asked.item_id == ITEM.item_id
    assert asked.slot is None  # a walk-in reserves nothing
    assert asked.wire["item_id"] == ITEM.item_id + "-spot"


@pytest.mark.parametrize(
    "second",
    [
        {"id": "pe-charging-01-addon-1"},
        {"id": "wash", "descriptor": {"code": "add-on-item", "name": "Free car wash"}},
    ],
)
def test_add_ons_beside_the_connector_are_passed_over(second: Json) -> None:
    lines = [*an_order()["order"]["items"], second]
    assert select(an_order(items=lines)).item_id == ITEM.item_id
    assert select(an_order(items=lines[::-1])).item_id == ITEM.item_id


def test_two_connectors_are_not_one_order() -> None:
    lines = [{**line, "id": name} for line in an_order()["order"]["items"] for name in ("a", "b")]
    assert "more than one item" in refused("select", an_order(items=lines)).detail


@pytest.mark.parametrize(
    ("stops", "expected"),
    [
        ([], None),
        ([{"type": "START"}, {"type": "STOP"}], None),
        (
            [{"type": "START", "time": {"timestamp": "2026-01-02T04:04:05Z"}}],
            Window(start_ms=NOW + HOUR),
        ),
        (
            [
                {"type": "start", "time": {"timestamp": "2026-01-02T09:34:05"}},
                {"type": "finish", "time": {"timestamp": "2026-01-02T05:04:05.000Z"}},
            ],
            Window(start_ms=NOW + HOUR, end_ms=NOW + 2 * HOUR),
        ),
        (
            [
                {"type": "START", "time": {"timestamp": "2026:01:02:09:34:05"}},
                {"type": "START", "time": {"timestamp": "2026:01:02:10:34:05"}},
            ],
            Window(start_ms=NOW + HOUR, end_ms=NOW + 2 * HOUR),
        ),
        (
            [{"time": {"range": {"start": "2026-01-02T04:04:05Z", "end": "2026-01-02T05:04:05Z"}}}],
            Window(start_ms=NOW + HOUR, end_ms=NOW + 2 * HOUR),
        ),
        (
            [{"time": {"timestamp": "09:34:05"}}, {"time": {"timestamp": "10:34:05"}}],
            Window(start_ms=NOW + HOUR, end_ms=NOW + 2 * HOUR),
        ),
        (
            [{"time": {"timestamp": "2023-06-01T10:00:00"}}, {"time": {"timestamp": "2023-06-01T10:00:00"}}],
            Window(start_ms=1_685_593_800_000),
        ),
    ],
)
def test_the_time_asked_for_runs_from_the_first_stop_to_the_last(stops: list[Json], expected: Window | None) -> None:
    assert select(an_order(fulfillments=[{"stops": stops}])).slot == expected


@pytest.mark.parametrize(
    "times", [("tomorrow", "later"), ("2026-01-02T05:00:00Z", "2026-01-02T04:00:00Z"), ("2026-01-02T05:00:00Z", "x")]
)
def test_times_that_are_none_are_refused_by_name(times: tuple[str, str]) -> None:
    stops = [{"time": {"timestamp": at}} for at in times]
    assert "order.fulfillments[0].stops" in refused("select", an_order(fulfillments=[{"stops": stops}])).detail


@pytest.mark.parametrize(
    "tags",
    [
        [group("buyer-finder-fee", [("type", "PERCENTAGE"), ("value", "2.5")])],
        [group("Buyer_Finder_Fee", [("Type", "percentage"), ("Value", "2.5%")])],
        [group(None, [("buyer-finder-fee-type", "PERCENTAGE"), ("buyer-finder-fee-percentage", "2.5")])],
        [{"descriptor": {"name": "Buyer Finder Fee"}, "list": [{"descriptor": {"code": "value"}, "value": "2.5%"}]}],
    ],
)
def test_the_buyer_finder_fee_in_every_spelling(tags: list[Json]) -> None:
    expected = FinderFee(kind=FeeKind.PERCENTAGE, value=Decimal("2.5"))
    assert select(an_order(tags=tags)).finder_fee == expected


def test_offers_are_named_by_id() -> None:
    assert select(an_order(offers=[{"id": "diwali", "descriptor": {"name": "x"}}])).offer_id == "diwali"
    assert "order.offers[0].id" in refused("select", an_order(offers=[{}])).detail


def test_who_buys_is_who_pays_and_then_who_comes() -> None:
    billing = {
        "name": "A. Rao",
        "organization": {"descriptor": {"name": "Rao Logistics"}},
        "address": "1 Main Rd",
        "state": {"name": "Karnataka"},
        "email": "a@rao.example",
        "phone": "+91-98765 22222",
        "tax_id": "29ABCDE1234F1Z5",
    }
    customer = {"person": {"id": "u-1", "name": "Driver"}, "contact": {"phone": "+91-9887766554"}}
    fulfillment = {"customer": customer, "vehicle": {"make": "Tata", "model": "Nexon EV"}}
    payments = [{"collected_by": "bap", "params": {"source_virtual_payment_address": "rao@bank"}}]
    command = read("init", an_order(billing=billing, fulfillments=[fulfillment], payments=payments))
    assert isinstance(command, Init)
    buyer = command.buyer
    assert (buyer.name, buyer.organization, buyer.tax_id) == ("A. Rao", "Rao Logistics", "29ABCDE1234F1Z5")
    assert (buyer.phone, buyer.vpa, buyer.buyer_id) == ("+919876522222", "rao@bank", "u-1")
    assert (buyer.state, buyer.vehicle_make, buyer.address) == ("Karnataka", "Tata", "1 Main Rd")
    assert command.collected_by == "BAP"
    assert command.wire["billing"] == {
        **{name: billing[name] for name in ("name", "organization", "address", "state", "email", "tax_id")},
        "phone": "+919876522222",
    }
    without = read("init", an_order(fulfillments=[{"customer": customer}]))
    assert isinstance(without, Init)
    assert (without.buyer.phone, without.collected_by) == ("+919887766554", "BPP")


def test_an_order_id_of_the_buyers_app_is_not_taken_over() -> None:
    command = read("init", an_order(id="theirs"))
    assert isinstance(command, Init)
    assert command.order_id is None


@pytest.mark.parametrize(
    ("payment", "status"),
    [
        ({"status": "PAID"}, "COMPLETED"),
        ({"status": "NOT-PAID"}, "INITIATED"),
        ({"status": "NOT_PAID", "params": {"transaction_id": "T"}}, "INITIATED"),
        ({"params": {"transaction_id": "T"}}, "COMPLETED"),
        ({"type": "ON-ORDER"}, None),
    ],
)
def test_what_a_payment_claims(payment: Json, status: str | None) -> None:
    command = read("confirm", an_order(payments=[payment]))
    assert isinstance(command, Confirm)
    assert command.payment is not None
    assert command.payment.status == status


def test_the_particulars_of_a_payment() -> None:
    params = {
        "amount": "272.34",
        "currency": "INR",
        "transaction_id": "TX",
        "source_virtual_payment_address": "rao@bank",
        "virtual_payment_address": "app@bank",
    }
    payment = {"id": "pay-1", "collected_by": "Bpp", "status": "PAID", "params": params}
    stop = {"authorization": {"type": "OTP", "token": 4711}}
    command = read("confirm", an_order(payments=[payment], fulfillments=[{"stops": [stop]}]))
    assert isinstance(command, Confirm)
    claim = command.payment
    assert claim is not None
    assert (claim.payment_id, claim.amount_minor, claim.txn_ref) == ("pay-1", 27_234, "TX")
    assert (claim.beneficiary, claim.payer_vpa) == ("BPP", "rao@bank")
    assert claim.accounts == ({"beneficiaryId": "b.example", "vpa": "app@bank"},)
    assert (command.otp, command.order_id) == ("4711", None)


# --- during and after


def update(state: str | None, target: str = "order.fulfillments[0].state", **order: Any) -> Json:
    fulfillment = {"stops": [{"authorization": {"token": "12"}}]}
    if state is not None:
        fulfillment["state"] = {"descriptor": {"code": state}}  # type: ignore[assignment]
    return {"update_target": target, "order": {"fulfillments": [fulfillment], **order}}


@pytest.mark.parametrize(
    ("state", "wants_stop"),
    [
        *(
            (code, False)
            for code in ("start-charging", "START-CHARGING", "START_CHARGING", "charging started", "ACTIVE")
        ),
        *((code, False) for code in ("CHARGING_STARTED", "charging-start", "start-chargin", "payment-completed")),
        *(
            (code, True)
            for code in ("end-charging", "STOP-CHARGING", "charging-ended", "CHARGING_STOPPED", "COMPLETED")
        ),
    ],
)
@pytest.mark.parametrize("target", ["order.fulfillments[0].state", "fulfillments[0].state", "fulfillment.state", ""])
def test_start_and_stop_in_every_spelling(state: str, wants_stop: bool, target: str) -> None:
    command = read("update", update(state, target))
    assert isinstance(command, Update)
    assert command.wants_stop is wants_stop
    assert (command.order_id, command.otp) == (None, "12")


def test_a_state_nobody_knows_starts_and_stops_nothing() -> None:
    assert "state.descriptor.code" in refused("update", update("dancing")).detail
    assert "state.descriptor.code" in refused("update", update(None)).detail
    assert refused("update", update("start-charging", "order.items[0]")).why is Why.UNKNOWN_TARGET


def test_a_payment_may_be_reported_by_update() -> None:
    command = read("update", update(None, "order.payments[0]", id="o", payments=[{"id": "top-1", "status": "PAID"}]))
    assert isinstance(command, Update)
    assert not command.wants_stop
    assert command.payment is not None
    assert (command.payment.payment_id, command.payment.status) == ("top-1", "COMPLETED")


def test_status_track_and_support() -> None:
    assert read("status", {"order_id": "o-1"}) == Status(order_id="o-1")
    assert read("status", {}) == Status(order_id=None)
    asked = {"order_id": "o-1", "callback_url": "https://b.example/track"}
    assert read("track", asked) == Track(tracking_id=None, order_id="o-1", callback_url="https://b.example/track")
    support = read("support", {"support": {"ref_id": "o-1", "callback_phone": "+91-1"}})
    assert support == Support(ref_id="o-1", ref_type="ORDER", contact={"phone": "+911"})
    assert "ref_id" in refused("support", {"support": {}}).detail


def test_a_cancellation_keeps_its_id_and_its_words() -> None:
    asked = {"order_id": "o", "cancellation_reason_id": "5", "descriptor": {"short_desc": "can't come"}}
    command = read("cancel", asked)
    assert command == Cancel(order_id="o", reason="5", wire={"cancellation": {"id": "5", "said": "can't come"}})
    only_words = read("cancel", {"order_id": "o", "descriptor": {"name": "rain"}})
    assert isinstance(only_words, Cancel)
    assert only_words.reason == "rain"
    assert read("cancel", {"order_id": "o", "cancellation_reason_id": 5}) == Cancel(
        order_id="o", reason="5", wire={"cancellation": {"id": "5"}}
    )


def test_ratings_come_as_text_and_a_charger_is_an_item() -> None:
    given = [
        {"id": "x", "rating_category": "charger", "value": "4.5"},
        {"id": "o", "rating_category": "Order", "value": 5},
    ]
    command = read("rating", {"ratings": given})
    assert isinstance(command, Rating)
    assert [(rated.category, rated.value) for rated in command.ratings] == [
        ("ITEM", Decimal("4.5")),
        ("ORDER", Decimal(5)),
    ]
    assert refused("rating", {"ratings": [{"id": "x", "value": "7"}]}).why is Why.BAD_RATING
    assert refused("rating", {"ratings": [{"id": "x", "value": "good"}]}).why is Why.BAD_RATING
    assert "ratings[0].id" in refused("rating", {"ratings": [{"value": "1"}]}).detail


def test_what_can_be_rated_is_asked_without_a_message() -> None:
    body = body_of("get_rating_categories", {})
    del body["message"]
    assert isinstance(codec().decode(parse_context(body), body, NOW), RatingCategories)


@pytest.mark.parametrize("action", ["select", "init", "confirm", "update", "status", "rating"])
def test_a_message_without_content_is_refused_by_name(action: str) -> None:
    if action != "status":
        assert refused(action, {}).why is Why.INVALID_REQUEST
    assert "message is missing" in refused(action, None).detail


def test_an_action_of_the_other_generation_is_not_known() -> None:
    assert refused("discover_all", {}).why is Why.NOT_SUPPORTED
    odd = {"ratings": [{"id": "o", "rating_category": "Weather", "value": 5}]}
    assert refused("rating", odd).why is Why.NOT_SUPPORTED  # 50003


# --- the envelope


def test_the_answer_is_in_the_version_and_domain_of_the_request() -> None:
    place = {"country": {"code": "IND", "name": "India"}, "city": {"code": "std:080", "odd": 1}, "gps": [1]}
    body = body_of("select", an_order(), UEI, version="1.0.0", location=place, network_id=["n"])
    context = parse_context(body)
    answer = reply_context(context, BPP, NOW)
    assert (answer["version"], answer["domain"]) == ("1.0.0", "ev-charging:uei")
    assert answer["location"] == {"country": {"code": "IND", "name": "India"}, "city": {"code": "std:080"}}
    assert "network_id" not in answer
    command = codec(UEI).decode(context, body, NOW)
    assert isinstance(command, Select)
    assert command.wire["context"] == {"location": answer["location"], "version": "1.0.0"}


# --- the published examples


@needs_schemas
@pytest.mark.parametrize("action", ["search", "select", "init", "confirm", "cancel"])
def test_the_published_examples_are_understood(action: str) -> None:
    folder = shared()
    assert folder is not None
    body = json.loads((folder / "v1" / "examples" / f"{action}-request.json").read_text("utf-8"))
    command = codec(EOS).decode(parse_context(body), body, NOW)
    match command:
        case Discover(intent=intent):
            place = intent.spatial[0]
            assert (place.shape.points, place.distance_m) == (((77.325647, 12.423423),), 5000)
            assert intent.filter is None
        case Select() | Init():
            assert command.item_id == "pe-charging-01"
            assert command.want == Want(kind=WantKind.ENERGY, energy_wh=4000)
            if isinstance(command, Init):
                assert command.buyer.phone == "+919876522222"
        case Confirm(payment=claim):
            assert claim is not None
            assert (claim.status, claim.amount_minor, claim.txn_ref) == ("COMPLETED", 4000, "asjdhw8e238e3")
        case Cancel():
            assert (command.reason, command.order_id) == ("5", "6743e9e2-4fb5-487c-92b7")


def test_the_search_of_the_ocpi_mapping_has_a_place_and_no_radius() -> None:
    stop = {"location": {"gps": "12.97,77.59", "address": {"full": "Bengaluru, India"}}}
    command = read("search", {"intent": {"fulfillment": {"type": "CHARGING", "stops": [stop]}}}, RFC)
    assert isinstance(command, Discover)
    assert command.intent.text is None
    assert found({"fulfillment": {"stops": [stop]}}) == BOTH


# --- nothing surprises the reader

NAMES = st.sampled_from(
    [
        *("intent", "order", "items", "item", "id", "quantity", "selected", "measure", "value", "unit", "fulfillments"),
        *("fulfillment", "stops", "time", "timestamp", "range", "start", "end", "location", "circle", "gps", "radius"),
        *("tags", "list", "descriptor", "code", "name", "payments", "params", "amount", "status", "collected_by"),
        *("billing", "phone", "state", "update_target", "ratings", "rating_category", "support", "ref_id", "offers"),
        *("category", "price", "maximum_value", "authorization", "token", "customer", "person", "contact", "email"),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["10", "kWh", "INR", "12.9,77.5", "PAID", "bap", "connector-type", "CCS2", "power-rating", ">=50kW", "1e999"]
    ),
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=True, allow_infinity=True), TEXTS)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=5)),
    max_leaves=30,
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(ACTIONS)), st.dictionaries(NAMES, TREES, max_size=6), st.sampled_from(PROFILES))
def test_a_reader_refuses_and_never_breaks(action: str, message: Json, profile: Any) -> None:
    body = body_of(action, message, profile)
    try:
        command = codec(profile).decode(parse_context(body), body, NOW)
    except Refusal:
        return
    if isinstance(command, Discover):
        index = Catalogue(item_json)
        index.put(ITEM)
        codec(profile).on_discover({"action": "on_search"}, PROVIDER, index.search(command.intent, NOW), [])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["select", "init", "confirm", "update"]), st.dictionaries(NAMES, TREES, max_size=8))
def test_an_odd_order_is_refused_or_read(action: str, order: Json) -> None:
    body = body_of(action, {"order": {"items": [{"id": "x"}], **order}})
    try:
        command = codec().decode(parse_context(body), body, NOW)
    except Refusal:
        return
    wire = getattr(command, "wire", {})
    json.dumps(dict(wire), allow_nan=False)
