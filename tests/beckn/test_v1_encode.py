"""What is said in generation 1, in each network's words."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from beckn_world import HOUR, ITEM, NOW, OFFER, PROVIDER, SOCKET, SPEAKER, TERMS, context_of, payment
from v1_world import (
    ERROR,
    FEE,
    FULL,
    PROFILES,
    REFUND,
    TOP_UP,
    UUID,
    WIRE,
    codec,
    orders,
    reply,
    v1_billed,
    v1_order,
)

from beckn_adapter.codecs import Codecs
from beckn_adapter.commands import Status, Window
from beckn_adapter.errors import BecknError
from beckn_adapter.slots import gaps, with_slots
from beckn_adapter.speaking import Contact, Progress, Shown
from beckn_adapter.v1.catalogue import MAX_BYTES
from beckn_adapter.v1.codec import V1Codec
from beckn_adapter.v1.orders import plug_word
from beckn_adapter.v1.profiles import DEG, DEG2, DOMAINS, EOS, RFC, UEI, Plugs, Profile, profiles
from beckn_adapter.v1.quotes import money
from beckn_adapter.v2.codec import V2Codec
from csms.domain.connector import Availability
from csms.domain.order import CancelledBy, CollectedBy, Order, PaymentStatus, State, Want, WantKind
from csms.domain.tariff import CancellationPolicy, Discount, Slice, Surge, Usage, bill

Json = dict[str, Any]
SHOWN = Shown(item=ITEM, offer=OFFER)
EVERY_PROFILE = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.network)


def told(order: Order, profile: Profile = DEG, progress: Progress | None = None, **speaker: Any) -> Json:
    """`message.order` of an on_status."""
    body: Json = codec(profile, **speaker).on_status(reply("status", profile), order, replace(SHOWN, progress=progress))
    shown: Json = body["message"]["order"]
    return shown


def state_of(order: Json) -> Json:
    state: Json = order["fulfillments"][0]["state"]
    return state


def tags(holder: Json, code: str) -> dict[str, str | None]:
    (group,) = [group for group in holder["tags"] if group["descriptor"]["code"] == code]
    return {entry["descriptor"]["code"]: entry.get("value") for entry in group["list"]}


def titles(order: Json) -> dict[str, str]:
    return {line["title"]: line["price"]["value"] for line in order["quote"]["breakup"]}


# --- states and words


@pytest.mark.parametrize(
    ("profile", "codes"),
    [
        (UEI, ("order-initiated", "payment-completed", "charging-started", "charging-started", "charging-ended")),
        (EOS, ("order-initiated", "payment-completed", "charging-started", "charging-started", "charging-ended")),
        (DEG, ("PENDING", "PENDING", "ACTIVE", "CONNECTION-INTERRUPTED", "COMPLETED")),
        (RFC, ("PENDING", "PENDING", "ACTIVE", "CONNECTION-INTERRUPTED", "COMPLETED")),
        (
            DEG2,
            ("ORDER_INITIATED", "PAYMENT_COMPLETED", "CHARGING_STARTED", "CONNECTION_INTERRUPTED", "CHARGING_ENDED"),
        ),
    ],
    ids=lambda value: value.network if isinstance(value, Profile) else "",
)
def test_each_network_has_its_own_words_for_a_session(profile: Profile, codes: tuple[str, ...]) -> None:
    states = (State.INITIALISED, State.CONFIRMED, State.ACTIVE, State.INTERRUPTED, State.COMPLETED)
    said = tuple(state_of(told(v1_order(state), profile))["descriptor"]["code"] for state in states)
    assert said == codes


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (State.QUOTED, None),
        (State.PAID, "ACTIVE"),
        (State.CONFIRMED, "ACTIVE"),
        (State.INTERRUPTED, "ACTIVE"),
        (State.COMPLETED, "ACTIVE"),  # until it is billed
        (State.CANCELLED, "CANCELLED"),
        (State.EXPIRED, "CANCELLED"),
        (State.FAILED, "CANCELLED"),
    ],
)
def test_the_status_of_an_order(state: State, status: str | None) -> None:
    assert told(v1_order(state)).get("status") == status


def test_a_billed_order_is_complete() -> None:
    assert told(v1_billed())["status"] == "COMPLETE"


def test_the_charger_speaks_in_the_state_of_the_indian_interface() -> None:
    order = v1_order(State.ACTIVE)
    said = json.loads(state_of(told(order, UEI, FULL))["descriptor"]["long_desc"])
    assert said == {"connectorId": 1, "status": "Charging", "errorCode": "NoError"}
    faulted = state_of(told(order, UEI, Progress(socket_status="Faulted")))["descriptor"]["long_desc"]
    assert json.loads(faulted)["errorCode"] == "OtherError"
    offline = state_of(told(v1_order(State.INTERRUPTED), UEI))["descriptor"]
    assert json.loads(offline["long_desc"])["status"] == "Unavailable"
    assert "offline" in offline["name"]
    assert "long_desc" not in state_of(told(order, DEG, FULL))["descriptor"]


@EVERY_PROFILE
def test_telemetry_is_told_in_every_network(profile: Profile) -> None:
    shown = told(v1_order(State.ACTIVE, session_id="s-1"), profile, FULL)["fulfillments"][0]
    spell = profile.spelling.code
    assert tags(shown, spell("charging-details")) == {
        spell("energy-delivered"): "3.217kWh",
        spell("soc"): "63%",
        spell("start-time"): "2026-01-02T04:04:05.000Z",
        spell("stop-time"): "2026-01-02T04:12:05.000Z",
        spell("meter-start"): "12345",
        spell("meter-stop"): "15562",
        spell("current"): "44.2A",
        spell("power"): "17.1kW",
        spell("voltage"): "388V",
    }


def test_codes_of_the_second_deg_network_are_in_snake_pascal() -> None:
    item = told(v1_order(), DEG2)["items"][0]
    assert tags(item, "Connector_Specifications")["Connector_Type"] == "CCS2"


@pytest.mark.parametrize(
    ("connector", "is_dc", "plain", "upper"),
    [
        ("CCS2", True, "CCS2", "IEC_62196_T2_COMBO"),
        ("TYPE2", False, "Type 2", "IEC_62196_T2"),
        ("GBT", True, "GB/T", "GBT_DC"),
        ("GBT", False, "GB/T", "GBT_AC"),
        ("TYPE7", False, "Ather", "TYPE_7"),
        ("BHARAT_AC001", False, "AC001", "AC001"),
    ],
)
def test_plugs_in_the_spelling_that_is_configured(connector: str, is_dc: bool, plain: str, upper: str) -> None:
    item = replace(ITEM if is_dc else SOCKET, connector=connector)
    assert plug_word(item, Plugs.PLAIN) == plain
    assert plug_word(item, Plugs.OCPI_UPPER) == upper
    assert plug_word(item, Plugs.OCPI_LOWER) == (upper.lower() if upper != plain else plain)


def test_only_the_indian_interface_changes_its_plugs() -> None:
    chosen = {profile.network: profile.plugs for profile in profiles(Plugs.OCPI_LOWER)}
    assert {network for network, plugs in chosen.items() if plugs is Plugs.OCPI_LOWER} == {"v1-uei", "v1-eos"}


# --- the catalogue


def catalogue(profile: Profile, *items: Any) -> Json:
    body: Json = codec(profile).on_discover(reply("search", profile), PROVIDER, items, [OFFER])
    (provider,) = body["message"]["catalog"]["providers"]
    return dict(provider)


def test_nothing_found_is_an_empty_catalogue() -> None:
    body: Json = codec().on_discover(reply("search"), PROVIDER, [], [])
    assert body["message"]["catalog"]["providers"] == []


@pytest.mark.parametrize(
    ("availability", "uei", "deg"),
    [
        (Availability.AVAILABLE, "Available", "Available"),
        (Availability.CHARGING, "Charging", "In Use"),
        (Availability.FINISHING, "Finishing", "In Use"),
        (Availability.RESERVED, "Reserved", "In Use"),
        (Availability.FAULTED, "Faulted", "Maintenance"),
        (Availability.OFFLINE, "Unavailable", "Maintenance"),
    ],
)
def test_the_state_of_a_connector_in_the_words_of_each(availability: Availability, uei: str, deg: str) -> None:
    item = replace(ITEM, availability=availability)
    assert tags(catalogue(UEI, item)["items"][0], "connector-specifications")["availability"] == uei
    assert tags(catalogue(DEG, item)["items"][0], "connector-specifications")["status"] == deg


def test_without_a_live_state_only_yes_or_no_is_told() -> None:
    assert tags(catalogue(UEI, ITEM)["items"][0], "connector-specifications")["availability"] == "Available"
    off = replace(ITEM, is_active=False)
    assert tags(catalogue(UEI, off)["items"][0], "connector-specifications")["availability"] == "Unavailable"


def test_free_slots_and_the_walk_in_twin_of_deg() -> None:
    slots = ((NOW, NOW + HOUR), (NOW + 3 * HOUR, NOW + 9 * HOUR))
    found = catalogue(DEG, replace(ITEM, free_slots=slots))
    booked, spot = found["items"]
    assert (booked["id"], spot["id"]) == (ITEM.item_id, f"{ITEM.item_id}-spot")
    assert spot["descriptor"]["short_desc"] == "Spot Booking"
    assert booked["price"] == spot["price"] == {"value": "18", "currency": "INR/kWh"}
    shown = {one["id"]: one["stops"] for one in found["fulfillments"]}
    assert [stop["time"]["range"]["start"] for stop in shown[booked["fulfillment_ids"][0]]] == [
        "2026-01-02T03:04:05.000Z",
        "2026-01-02T06:04:05.000Z",
    ]
    assert "time" not in shown[spot["fulfillment_ids"][0]][0]
    assert found["offers"][0]["item_ids"] == [booked["id"], spot["id"]]


def test_what_cannot_be_reserved_is_the_walk_in_itself() -> None:
    (only,) = catalogue(DEG, replace(ITEM, reservation_supported=False))["items"]
    assert (only["id"], only["descriptor"]["short_desc"]) == (ITEM.item_id, "Spot Booking")


@pytest.mark.parametrize("profile", [UEI, EOS, RFC, DEG2], ids=lambda profile: profile.network)
def test_other_networks_have_one_item_per_connector(profile: Profile) -> None:
    assert [item["id"] for item in catalogue(profile, ITEM, SOCKET)["items"]] == [ITEM.item_id, SOCKET.item_id]


def test_a_surcharge_of_now_stands_at_the_item() -> None:
    assert tags(catalogue(DEG, ITEM)["items"][0], "surcharge-details") == {"peak-hour-surcharge": "20%"}


def test_a_catalogue_fits_into_what_adapters_take() -> None:
    many = [replace(ITEM, item_id=f"{ITEM.item_id}-{number}") for number in range(400)]
    found = catalogue(DEG, *many)
    assert len(json.dumps(found)) < MAX_BYTES * 1.1
    assert found["items"][0]["id"] == many[0].item_id  # the nearest stay
    assert {one["id"] for one in found["fulfillments"]} == {item["fulfillment_ids"][0] for item in found["items"]}


@pytest.mark.parametrize(
    ("booked", "free"),
    [
        ([], [(0, 100)]),
        ([(20, 60)], [(0, 20), (60, 100)]),
        ([(0, 100)], []),
        ([(60, 200), (-50, 40)], [(40, 60)]),
        ([(5, 95)], []),  # what is left is too short for a charge
        ([(150, 160)], [(0, 100)]),
        ([(95, 200)], [(0, 95)]),
    ],
)
def test_slots_are_the_gaps_of_the_calendar(booked: list[tuple[int, int]], free: list[tuple[int, int]]) -> None:
    minute = 60_000
    spans = [(begin * minute, end * minute) for begin, end in booked]
    assert gaps(spans, 0, 100 * minute) == tuple((begin * minute, end * minute) for begin, end in free)


class Calendar:
    """A store with one reservation at the first EVSE of CP1."""

    def many(self, _table: Any, **_where: Any) -> list[Json]:
        return [{"evse": 1, "start_ms": NOW + HOUR, "end_ms": NOW + 2 * HOUR}]


def test_slots_are_those_of_the_connectors_own_evse_within_the_time_asked_for() -> None:
    places = {ITEM.item_id: ("CP1", 1), "other": ("CP1", 2)}
    other, walk_in = replace(ITEM, item_id="other"), replace(ITEM, item_id="walk", reservation_supported=False)
    window = Window(start_ms=NOW - HOUR, end_ms=NOW + 3 * HOUR)
    tx: Any = Calendar()
    shown = with_slots(tx, [ITEM, other, walk_in], places.get, window, NOW)
    assert shown[0].free_slots == ((NOW, NOW + HOUR), (NOW + 2 * HOUR, NOW + 3 * HOUR))
    assert shown[1].free_slots == ((NOW, NOW + 3 * HOUR),)
    assert shown[2].free_slots == ()
    assert with_slots(tx, [other], places.get, None, NOW)[0].free_slots == ((NOW, NOW + 24 * HOUR),)


# --- quotation, payment, terms


def test_the_quotation_of_the_contract_in_each_networks_titles() -> None:
    uei: Any = codec(UEI).on_select(reply("select"), v1_order(), SHOWN)["message"]
    assert titles(uei["order"]) == {
        "charging session cost": "180.00",
        "surge price(20%)": "36.00",
        "offer discount": "-20.00",
        "service-charge": "10.00",
        "gst": "37.08",
        "buyer finder fee": "4.50",
        "overcharge estimation": "24.76",
    }
    assert uei["order"]["quote"]["price"] == {"value": "272.34", "currency": "INR"}
    assert uei["order"]["quote"]["ttl"] == "PT15M"
    deg: Any = codec(DEG).on_select(reply("select"), v1_order(), SHOWN)["message"]
    assert list(titles(deg["order"]))[:2] == ["Charging session cost (10 kWh @ 18 INR/kWh)", "surge price(20%)"]
    assert {"Service Fee", "GST (18%)"} <= titles(deg["order"]).keys()
    assert "id" not in deg["order"]  # nothing is binding yet


def test_a_loyalty_discount_is_named_and_detailed() -> None:
    discount = Discount(offer_id="gold", label="Loyalty discount", percent=Decimal(10))
    line = next(line for line in v1_order().quote.components if line.amount < 0)
    loyal = replace(line, description=discount.label)
    order = v1_order(terms=replace(TERMS, loyalty=discount))
    order = replace(order, quote=replace(order.quote, components=(loyal,)))
    shown = told(order)
    assert list(titles(shown)) == ["loyalty program discount(10%)"]
    assert tags(shown["items"][0], "loyalty-benefits") == {"discount": "10%"}


def test_a_surge_of_some_hours_keeps_its_name_and_says_its_hours() -> None:
    evening = Surge(label="Evening peak", percent=Decimal(25), from_minute=18 * 60, to_minute=22 * 60)
    tariff = replace(TERMS.tariff, surges=(evening,), surge_percent=Decimal(0))
    usage = Usage(slices=(Slice(start_ms=NOW + 10 * HOUR, end_ms=NOW + 11 * HOUR, energy_wh=10_000),))
    terms = replace(TERMS, tariff=tariff)
    shown = told(v1_order(terms=terms, quote=bill(terms, usage)))
    assert titles(shown)["surge price(25%) Evening peak"] == "45.00"
    assert tags(shown["items"][0], "surcharge-details") == {"peak-hour-surcharge": "25%", "peak-hours": "18:00-22:00"}


@pytest.mark.parametrize(
    ("want", "unit", "expected"),
    [
        (Want(kind=WantKind.ENERGY, energy_wh=2_500), None, ("2.5", "kWh")),
        (Want(kind=WantKind.ENERGY, energy_wh=2_500), "Wh", ("2500", "Wh")),
        (Want(kind=WantKind.AMOUNT, amount_minor=10_050), "INR", ("100.5", "INR")),
        (Want(kind=WantKind.TIME, minutes=30), None, ("30", "MINUTES")),
        (Want(kind=WantKind.TIME, minutes=90), "HOURS", ("1.5", "HOURS")),
    ],
)
def test_what_was_ordered_is_repeated_in_the_buyers_unit(
    want: Want, unit: str | None, expected: tuple[str, str]
) -> None:
    wire = WIRE if unit is None else {**WIRE, "unit": unit}
    measure = told(v1_order(want=want, wire=wire))["items"][0]["quantity"]["selected"]["measure"]
    assert (measure["value"], measure["unit"]) == expected


def init(order: Order, profile: Profile = DEG, **speaker: Any) -> Json:
    shown: Any = codec(profile, **speaker).on_init(reply("init", profile), order, SHOWN)["message"]
    return dict(shown["order"])


def test_how_to_pay_when_we_collect() -> None:
    (asked,) = init(v1_order(State.INITIALISED, payment=payment(PaymentStatus.INITIATED, paid_at_ms=None)))["payments"]
    assert asked["url"] == "https://pay.p.example/t/9f3"
    assert (asked["status"], asked["type"], asked["collected_by"]) == ("NOT-PAID", "PRE-FULFILLMENT", "BPP")
    assert asked["params"]["amount"] == "272.34"
    assert asked["params"]["virtual_payment_address"] == "mycpo@bank"
    assert tags(asked, "payment-methods") == {"PAYMENT-LINK": None}


def test_what_a_fleet_pays_by_the_month_is_due_after_charging() -> None:
    (only,) = told(v1_billed(on_account=True, payment=payment(PaymentStatus.PENDING, amount_minor=15_420)))["payments"]
    assert (only["type"], only["status"], only["params"]["amount"]) == ("POST-FULFILLMENT", "NOT-PAID", "154.20")


def test_no_link_is_given_when_the_buyers_app_collects() -> None:
    order = v1_order(
        State.INITIALISED,
        collected_by=CollectedBy.BAP,
        payment=payment(PaymentStatus.INITIATED, beneficiary="BAP"),
    )
    (asked,) = init(order, UEI)["payments"]
    assert "url" not in asked
    assert (asked["collected_by"], asked["type"]) == ("bap", "PRE-ORDER")
    assert asked["params"]["bank_account_number"] == "000111"


def test_a_paid_order_says_so_before_it_is_confirmed() -> None:
    shown = told(v1_order(State.PAID, payment=payment()), UEI)
    assert shown["id"] == "ord-81c2"
    assert shown["payments"][0]["status"] == "PAID"
    assert shown["payments"][0]["params"]["transaction_id"] == "TX-9f3"
    assert state_of(shown)["descriptor"]["code"] == "payment-completed"


def test_the_password_is_asked_for_at_the_first_stop() -> None:
    start, finish = init(v1_order(State.INITIALISED), asks_otp=True)["fulfillments"][0]["stops"]
    assert start["authorization"] == {"type": "OTP"}
    assert (start["type"], finish["type"]) == ("START", "STOP")
    assert "authorization" not in finish
    assert "authorization" not in told(v1_order(State.ACTIVE), asks_otp=True)["fulfillments"][0]["stops"][0]


def test_the_terms_of_cancelling_follow_the_policy_of_the_order() -> None:
    policy = CancellationPolicy(free_minutes=15, percent=Decimal(30))
    order = v1_order(State.INITIALISED, terms=replace(TERMS, cancellation=policy), payment=payment())
    free, late, charging = init(order, UEI)["cancellation_terms"]
    assert free["cancellation_fee"] == {"percentage": "0"}
    assert free["cancel_by"] == {"timestamp": "2026-01-02T03:49:05.000Z"}
    assert late["cancellation_fee"] == {"amount": {"value": "74.27", "currency": "INR"}}  # 30 % of 247.58
    assert charging["fulfillment_state"]["descriptor"]["code"] == "charging-started"
    back, none = init(order, DEG)["refund_terms"]
    assert (back["refund_eligible"], back["refund_amount"]["value"]) == (True, "198.07")
    assert (none["fulfillment_state"], none["refund_eligible"]) == ({"code": "ACTIVE"}, False)
    walk_in = replace(order, slot=None)
    assert [term["cancellation_fee"] for term in init(walk_in, UEI)["cancellation_terms"]] == [
        {"percentage": "0"},
        {"percentage": "100"},
    ]


# --- the bill and what follows


@EVERY_PROFILE
def test_a_bill_below_what_was_paid_announces_its_refund(profile: Profile) -> None:
    body: Json = codec(profile).on_update(reply("update", profile), v1_billed(), SHOWN)
    order = body["message"]["order"]
    assert order["quote"]["price"]["value"] == "154.20"
    assert order["items"][0]["quantity"]["allocated"]["measure"]["value"] == "6.4"
    paid, back = order["payments"]
    assert (paid["status"], paid["params"]["amount"]) == ("PAID", "272.34")
    assert (back["type"], back["status"], back["params"]["amount"]) == ("POST-FULFILLMENT", "NOT-PAID", "118.14")
    spell = profile.spelling.code
    assert tags(back, spell("refund-details")) == {
        spell("refund-type"): "OVERCHARGE_REFUND",
        spell("refund-amount"): "118.14INR",
    }
    assert ("Overcharge refund" in titles(order)) is profile.shows_returns


def test_a_refund_is_announced_once_and_told_done_once() -> None:
    quick = v1_billed(refunds=(replace(REFUND, paid_at_ms=NOW + 3 * HOUR),))
    announced: Json = codec().on_update(reply("update"), quick, SHOWN)
    assert [entry["status"] for entry in announced["message"]["order"]["payments"]] == ["PAID", "NOT-PAID"]
    done: Json = codec().on_refund(codec().news(quick, "on_status", UUID, NOW), quick, REFUND, SHOWN)
    _, back = done["message"]["order"]["payments"]
    assert (back["status"], back["params"]["transaction_id"]) == ("PAID", "RF-77")
    early = v1_billed(refunds=(replace(REFUND, amount_minor=5_000, paid_at_ms=NOW),))
    bill: Json = codec().on_update(reply("update"), early, SHOWN)
    entries = [(entry["status"], entry["params"]["amount"]) for entry in bill["message"]["order"]["payments"]]
    assert entries == [("PAID", "272.34"), ("PAID", "50.00"), ("NOT-PAID", "68.14")]


def test_a_hold_is_charged_with_the_bill_and_nothing_goes_back() -> None:
    (only,) = told(v1_billed(payment=payment(PaymentStatus.AUTHORIZED)))["payments"]
    assert (only["status"], only["params"]["amount"]) == ("PAID", "154.20")


def test_a_top_up_is_asked_for_with_a_link_of_its_own() -> None:
    _, asked = told(v1_billed(20_000, top_ups=(TOP_UP,)))["payments"]
    assert (asked["id"], asked["status"], asked["type"]) == ("top-1", "NOT-PAID", "POST-FULFILLMENT")
    assert asked["url"]
    assert "tags" not in asked


def test_an_interruption_shows_an_estimate() -> None:
    order = v1_order(State.INTERRUPTED, estimate=FEE, payment=payment(), interrupted_at_ms=NOW)
    shown = told(order)
    assert list(titles(shown)) == ["Estimate: Cancellation fee"]
    assert state_of(shown)["updated_at"] == "2026-01-02T03:04:05.000Z"
    assert state_of(shown)["updated_by"] == "p.example"


def cancelled(by: CancelledBy = CancelledBy.BUYER, profile: Profile = UEI, **changes: Any) -> Json:
    said = {**WIRE, "cancellation": {"id": "5", "said": "cannot come"}}
    given = {"payment": payment(), "cancelled_at_ms": NOW, "cancelled_by": by, "cancel_reason": "5", "wire": said}
    order = v1_order(State.CANCELLED, **{**given, **changes})
    body: Json = codec(profile).on_cancel(reply("cancel", profile), order, SHOWN)
    return dict(body["message"]["order"])


def test_a_cancelled_order_shows_what_goes_back_as_a_negative_total() -> None:
    shown = cancelled()
    assert shown["quote"]["price"]["value"] == "-272.34"
    assert titles(shown) == {"payment refund": "-272.34"}
    assert shown["status"] == "CANCELLED"
    assert state_of(shown)["descriptor"]["code"] == "order-cancelled"
    assert shown["cancellation"] == {
        "cancelled_by": "CONSUMER",
        "time": "2026-01-02T03:04:05.000Z",
        "reason": {"id": "5", "descriptor": {"short_desc": "cannot come"}},
    }
    assert [entry["params"]["amount"] for entry in shown["payments"]] == ["272.34", "272.34"]


def test_a_fee_is_kept_from_the_refund() -> None:
    shown = cancelled(cancellation_fee=FEE)
    assert titles(shown) == {"payment refund": "-272.34", "Cancellation fee": "27.23"}
    assert shown["quote"]["price"]["value"] == "-245.11"
    assert shown["payments"][1]["params"]["amount"] == "245.11"


def test_what_was_never_paid_is_not_given_back() -> None:
    shown = cancelled(payment=payment(PaymentStatus.INITIATED))
    assert shown["quote"]["price"]["value"] == "0.00"
    assert len(shown["payments"]) == 1


def test_a_charger_that_broke_is_the_providers_doing() -> None:
    shown = cancelled(CancelledBy.PROVIDER, cancel_reason="hardware_failure")
    assert state_of(shown)["descriptor"]["code"] == "charger-error"
    assert shown["cancellation"]["cancelled_by"] == "PROVIDER"
    assert shown["cancellation"]["reason"] == {"descriptor": {"short_desc": "hardware_failure"}}


# --- confirm, track, rating, support, errors


def test_a_confirmed_order_tells_how_to_start() -> None:
    body: Json = codec(UEI).on_confirm(reply("confirm"), v1_order(State.CONFIRMED, payment=payment()), SHOWN)
    order = body["message"]["order"]
    assert (order["id"], order["status"]) == ("ord-81c2", "ACTIVE")
    start = order["fulfillments"][0]["stops"][0]
    assert "IN*MYC*E0012" in start["instructions"]["short_desc"]
    assert start["location"]["gps"] == "12.971600,77.594600"
    assert start["time"]["timestamp"] == "2026-01-02T04:04:05.000Z"
    assert order["fulfillments"][0]["customer"]["contact"]["phone"] == "+919812345678"
    assert order["billing"]["email"] == "a@rao.example"


@pytest.mark.parametrize(("state", "status"), [(State.ACTIVE, "active"), (State.COMPLETED, "inactive")])
def test_tracking_is_active_while_it_charges(state: State, status: str) -> None:
    order = v1_order(state, session_id="s-9")
    body: Json = codec().on_track(reply("track"), order, "https://p.example/t/9", SHOWN, with_order=True)
    assert body["message"] == {"tracking": {"id": "TRACK-s-9", "url": "https://p.example/t/9", "status": status}}


def test_support_gives_a_number_without_hyphens() -> None:
    body: Json = codec().on_support(reply("support"), Contact(phone="+91-80-1234 5678"), "o-1")
    assert body["message"]["support"] == {"ref_id": "o-1", "phone": "+918012345678"}


def test_what_can_be_rated_is_told_under_its_own_action() -> None:
    body: Json = codec().rating_categories(reply("get_rating_categories"))
    assert body["context"]["action"] == "rating_categories"
    assert body["message"]["rating_categories"] == ["Item", "Order", "Fulfillment", "Provider"]


def test_an_error_has_a_context_and_no_message() -> None:
    body: Json = codec(UEI).error_for_command(reply("select", UEI), ERROR, Status(order_id=None))
    assert body.keys() == {"context", "error"}
    assert body["error"] == {
        "code": "30008",
        "paths": "order.items[0].id",
        "message": "the connector is out of order",
    }
    opened: Json = codec(DEG).error_for_order(reply("select"), ERROR, v1_order(), Shown())
    assert opened["error"]["type"] == "DOMAIN-ERROR"
    rated: Json = codec().error_for_command(reply("rating"), ERROR, Status(order_id=None))
    assert rated["message"] == {}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("30000", "CORE-ERROR"),
        ("40002", "DOMAIN-ERROR"),
        ("50001", "POLICY-ERROR"),
        ("NET_INTERNAL_ERROR", "CORE-ERROR"),
    ],
)
def test_the_family_of_an_error(code: str, kind: str) -> None:
    body: Json = codec().error_for_command(reply("select"), BecknError(code, "no"), Status(order_id=None))
    assert body["error"]["type"] == kind


def test_news_are_told_in_the_version_the_order_was_bought_in() -> None:
    order = v1_order(State.ACTIVE, wire={**WIRE, "context": {"version": "1.0.0"}})
    assert codec().news(order, "on_status", UUID, NOW)["version"] == "1.0.0"
    assert codec().news(v1_order(wire={}), "on_status", UUID, NOW)["version"] == "1.1.0"


@EVERY_PROFILE
def test_money_is_written_as_decimal_text_and_never_as_minus_nothing(profile: Profile) -> None:
    assert money(Decimal("-0.00")) == "0.00"
    for order in orders():
        written = json.dumps(told(order, profile))
        assert '"-0.00"' not in written
        for line in told(order, profile)["quote"]["breakup"]:
            assert isinstance(line["price"]["value"], str)
            assert Decimal(line["price"]["value"]).as_tuple().exponent == -2


# --- which codec speaks


def test_a_domain_decides_which_words_are_used() -> None:
    codecs = Codecs(
        [V2Codec(SPEAKER), *(V1Codec(SPEAKER, profile) for profile in PROFILES)], {**DOMAINS, "x": "v1-uei"}
    )
    for domain, network in {
        "deg:ev-charging": "v1-deg",
        "ev-charging:uei": "v1-uei",
        "dent:ev-charging:0.1.0": "v1-eos",
        "ev-charging:beckn": "v1-rfc",
        "charging": "v1-deg2",
        "x": "v1-uei",
        "never heard of": "v1-deg",
    }.items():
        assert codecs.of_context(context_of("select", version="1.1.0", domain=domain)).network == network
    assert codecs.of_context(context_of("select", domain="charging")).network == "v2"
