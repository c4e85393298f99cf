"""Callbacks: which status stands where, what the money says, what is repeated."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from beckn_world import (
    BAP_ACCOUNT,
    BPP,
    BUYER,
    ITEM,
    ITEM_ID,
    NOW,
    OFFER,
    SPEAKER,
    WANT,
    billed,
    order,
    payment,
    reply,
)

from beckn_adapter.commands import (
    Buyer,
    Cancel,
    Confirm,
    Discover,
    Init,
    Rating,
    Select,
    Status,
    Support,
    Track,
    Update,
)
from beckn_adapter.errors import BecknError
from beckn_adapter.v2.encode import (
    Aggregate,
    Contact,
    Progress,
    Sample,
    connector_status,
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
    serialise,
)
from beckn_adapter.v2.orders import payment_of_bill, telemetry_json
from csms.domain.breakdown import Breakdown, Component, ComponentKind, Role
from csms.domain.order import CancelledBy, CollectedBy, Order, Payment, PaymentStatus, State, Want, WantKind
from csms.domain.reported import SocketStatus


def order_in(body: dict[str, object]) -> dict[str, Any]:
    message = body["message"]
    assert isinstance(message, dict)
    shown = message["order"]
    assert isinstance(shown, dict)
    return shown


def session_in(body: dict[str, object]) -> dict[str, Any]:
    attributes = order_in(body)["beckn:fulfillment"]["beckn:deliveryAttributes"]
    assert isinstance(attributes, dict)
    return attributes


def pay_in(body: dict[str, object]) -> dict[str, Any]:
    shown = order_in(body)["beckn:payment"]
    assert isinstance(shown, dict)
    return shown


def news(of: Order, action: str) -> dict[str, object]:
    return news_for(of, SPEAKER, action, "11111111-2222-4333-8444-555555555555", NOW)


# --- select, init, confirm


def test_the_quote_is_the_exact_sum_of_its_lines() -> None:
    value = order_in(on_select(reply("select"), order(), SPEAKER, item=ITEM, offer=OFFER))["beckn:orderValue"]
    assert value["value"] == 272.34
    assert [(line["type"], line["value"]) for line in value["components"]] == [
        ("UNIT", 180.0),
        ("SURCHARGE", 36.0),
        ("DISCOUNT", -20.0),
        ("FEE", 10.0),
        ("TAX", 37.08),
        ("FEE", 4.5),
        ("FEE", 24.76),
    ]
    assert sum(Decimal(str(line["value"])) for line in value["components"]) == Decimal("272.34")


def test_on_select_repeats_the_buyer_and_grants_the_slot_but_names_no_order() -> None:
    shown = order_in(on_select(reply("select"), order(), SPEAKER, item=ITEM, offer=OFFER))
    assert "beckn:id" not in shown
    assert shown["beckn:orderStatus"] == "CREATED"
    assert (shown["beckn:seller"], shown["beckn:buyer"]) == ("mycpo", BUYER)
    (line,) = shown["beckn:orderItems"]
    assert line["beckn:orderedItem"] == ITEM_ID
    assert line["beckn:quantity"] == {"unitText": "Kilowatt Hour", "unitCode": "KWH", "unitQuantity": 10}
    assert line["beckn:price"]["value"] == 18.0
    assert line["beckn:acceptedOffer"]["beckn:items"] == [ITEM_ID]
    attributes = shown["beckn:orderAttributes"]
    assert attributes["buyerFinderFee"] == {"feeType": "PERCENTAGE", "feeValue": 2.5}
    assert attributes["preferences"]["startTime"] == "2026-01-02T04:04:05.000Z"


@pytest.mark.parametrize(
    ("want", "quantity"),
    [
        (Want(kind=WantKind.AMOUNT, amount_minor=45_050), ("INR", 450.5)),
        (Want(kind=WantKind.TIME, minutes=45), ("MIN", 45)),
        (Want(kind=WantKind.ENERGY, energy_wh=2_500), ("KWH", 2.5)),
    ],
)
def test_the_quantity_is_told_in_the_units_asked(want: Want, quantity: tuple[str, float]) -> None:
    (line,) = order_in(on_select(reply("select"), order(want=want), SPEAKER))["beckn:orderItems"]
    assert (line["beckn:quantity"]["unitCode"], line["beckn:quantity"]["unitQuantity"]) == quantity


def test_a_quantity_as_the_app_wrote_it_is_repeated_and_an_open_wish_has_none() -> None:
    written = {"unitCode": "HUR", "unitQuantity": 1}
    (line,) = order_in(on_select(reply("select"), order(wire={"quantity": written}), SPEAKER))["beckn:orderItems"]
    assert line["beckn:quantity"] == written
    (line,) = order_in(on_select(reply("select"), order(want=Want(kind=WantKind.OPEN)), SPEAKER))["beckn:orderItems"]
    assert "beckn:quantity" not in line


def test_on_init_where_we_collect_has_link_methods_and_both_accounts() -> None:
    init = order(State.INITIALISED, payment=payment(PaymentStatus.INITIATED, paid_at_ms=None))
    body = on_init(reply("init"), init, SPEAKER, item=ITEM)
    assert order_in(body)["beckn:id"] == "ord-81c2"
    assert order_in(body)["beckn:orderNumber"] == "2026-0001"
    shown = pay_in(body)
    assert shown["beckn:paymentURL"] == "https://pay.p.example/t/9f3"
    assert shown["beckn:acceptedPaymentMethod"] == ["UPI"]
    assert (shown["beckn:beneficiary"], shown["beckn:paymentStatus"]) == ("BPP", "INITIATED")
    assert shown["beckn:amount"] == {"currency": "INR", "value": 272.34}
    accounts = shown["beckn:paymentAttributes"]["settlementAccounts"]
    assert accounts == [BAP_ACCOUNT, {"beneficiaryId": BPP.subscriber_id, **SPEAKER.settlement_account}]


def test_on_init_where_the_app_collects_has_no_link() -> None:
    init = order(
        State.INITIALISED,
        collected_by=CollectedBy.BAP,
        payment=payment(PaymentStatus.INITIATED, beneficiary="BAP", paid_at_ms=None),
    )
    shown = pay_in(on_init(reply("init"), init, SPEAKER))
    assert "beckn:paymentURL" not in shown
    assert shown["beckn:beneficiary"] == "BAP"


def test_on_confirm_describes_the_session_to_come() -> None:
    confirmed = order(State.CONFIRMED, payment=payment())
    body = on_confirm(reply("confirm"), confirmed, SPEAKER, Progress(reservation_id="4711"), item=ITEM)
    assert order_in(body)["beckn:orderStatus"] == "CONFIRMED"
    session = session_in(body)
    assert {name: session[name] for name in ("connectorType", "maxPowerKW", "sessionStatus", "reservationId")} == {
        "connectorType": "CCS2",
        "maxPowerKW": 60,
        "sessionStatus": "PENDING",
        "reservationId": "4711",
    }
    assert session["gracePeriodMinutes"] == 10
    assert "beckn:paymentURL" not in pay_in(body)
    assert pay_in(body)["beckn:paidAt"] == "2026-01-02T03:05:05.000Z"


# --- statuses


@pytest.mark.parametrize(
    ("state", "order_status", "session_status"),
    [
        (State.QUOTED, "CREATED", None),
        (State.INITIALISED, "CREATED", None),
        (State.PAID, "PENDING", None),
        (State.CONFIRMED, "CONFIRMED", "PENDING"),
        (State.STARTING, "CONFIRMED", "PENDING"),
        (State.ACTIVE, "INPROGRESS", "ACTIVE"),
        (State.STOPPING, "INPROGRESS", "ACTIVE"),
        (State.INTERRUPTED, "INPROGRESS", "INTERRUPTED"),
        (State.COMPLETED, "INPROGRESS", "COMPLETED"),
        (State.CANCELLED, "CANCELLED", None),
        (State.EXPIRED, "CANCELLED", None),
        (State.FAILED, "FAILED", None),
    ],
)
def test_every_state_has_its_words(state: State, order_status: str, session_status: str | None) -> None:
    shown = order_in(on_status(reply("status"), order(state, payment=payment()), SPEAKER))
    assert shown["beckn:orderStatus"] == order_status
    if session_status is None:
        assert "beckn:fulfillment" not in shown
    else:
        assert shown["beckn:fulfillment"]["beckn:deliveryAttributes"]["sessionStatus"] == session_status


def test_an_order_is_completed_only_with_its_bill() -> None:
    shown = order_in(on_update(news(billed(), "on_update"), billed(), SPEAKER))
    assert shown["beckn:orderStatus"] == "COMPLETED"


@pytest.mark.parametrize(
    ("status", "is_online", "is_holder", "word"),
    [
        (SocketStatus.AVAILABLE, True, False, "AVAILABLE"),
        (SocketStatus.PREPARING, True, False, "PREPARING"),
        (SocketStatus.OCCUPIED, True, False, "PREPARING"),
        (SocketStatus.RESERVED, True, False, "UNAVAILABLE"),
        (SocketStatus.RESERVED, True, True, "AVAILABLE"),
        (SocketStatus.CHARGING, True, True, "UNAVAILABLE"),
        (SocketStatus.FAULTED, True, False, "UNAVAILABLE"),
        (SocketStatus.AVAILABLE, False, True, "UNAVAILABLE"),
        (None, True, False, "UNAVAILABLE"),
    ],
)
def test_connectors_have_three_words(status: SocketStatus | None, is_online: bool, is_holder: bool, word: str) -> None:
    assert connector_status(status, is_online=is_online, is_holder=is_holder) == word


def test_progress_shows_the_figures_and_the_link() -> None:
    progress = Progress(
        energy_wh=3_200,
        minutes=8,
        last_updated_ms=NOW,
        tracking_url="https://p.example/track/9c1f",
        connector_status="UNAVAILABLE",
        telemetry=(
            Sample(at_ms=NOW, energy_wh=3_200, power_w=17_100, current_ma=44_200, voltage_mv=388_000, soc_percent=63),
        ),
    )
    body = on_status(reply("status"), order(State.ACTIVE, payment=payment()), SPEAKER, progress, item=ITEM)
    session = session_in(body)
    assert (session["meteredEnergyKWh"], session["meteredDurationMinutes"]) == (3.2, 8)
    assert (session["lastUpdated"], session["connectorStatus"]) == ("2026-01-02T03:04:05.000Z", "UNAVAILABLE")
    (sample,) = session["chargingTelemetry"]
    assert sample["eventTime"] == "2026-01-02T03:04:05.000Z"
    assert {m["name"]: (m["value"], m["unitCode"]) for m in sample["metrics"]} == {
        "STATE_OF_CHARGE": (63, "PERCENTAGE"),
        "POWER": (17.1, "KW"),
        "ENERGY": (3.2, "KWH"),
        "VOLTAGE": (388, "VLT"),
        "CURRENT": (44.2, "AMP"),
    }
    target = order_in(body)["beckn:fulfillment"]["trackingAction"]["target"]
    assert target == {"@type": "schema:EntryPoint", "url": "https://p.example/track/9c1f"}


def test_what_is_unknown_is_left_out_and_zero_is_said() -> None:
    session = session_in(on_status(reply("status"), order(State.ACTIVE), SPEAKER))
    assert set(session) == {"@context", "@type", "sessionStatus"}
    session = session_in(on_status(reply("status"), order(State.ACTIVE), SPEAKER, Progress(energy_wh=0, minutes=0)))
    assert (session["meteredEnergyKWh"], session["meteredDurationMinutes"]) == (0, 0)


def test_telemetry_is_ascending_bounded_and_its_energy_never_falls() -> None:
    samples = [Sample(at_ms=NOW + step, energy_wh=step) for step in range(30, 0, -1)]
    shown = telemetry_json([*samples, Sample(at_ms=NOW + 31, energy_wh=5), Sample(at_ms=NOW + 32)])
    assert len(shown) == 20
    times = [sample["eventTime"] for sample in shown]
    assert times == sorted(times, key=str)
    metrics = shown[-1]["metrics"]
    assert isinstance(metrics, list)
    assert metrics[0]["value"] == 0.03


def test_units_follow_the_packs_text_only_when_told_to() -> None:
    (sample,) = telemetry_json([Sample(at_ms=NOW, energy_wh=1, power_w=1)], "literal")
    metrics = sample["metrics"]
    assert isinstance(metrics, list)
    assert {m["name"]: m["unitCode"] for m in metrics} == {"ENERGY": "KW", "POWER": "KWH"}


# --- interrupted, billed, refunded


def estimate() -> Breakdown:
    line = Component(kind=ComponentKind.UNIT, role=Role.ENERGY, amount=Decimal("67.50"), description="Energy 3.75 kWh")
    return Breakdown(currency="INR", components=(line,))


def test_a_long_interruption_shows_an_estimate_and_says_so() -> None:
    broken = order(State.INTERRUPTED, payment=payment(), estimate=estimate())
    progress = Progress(energy_wh=3_750, connector_status="UNAVAILABLE")
    body = on_update(news(broken, "on_update"), broken, SPEAKER, progress)
    assert order_in(body)["beckn:orderValue"] == {
        "currency": "INR",
        "value": 67.5,
        "components": [{"type": "UNIT", "value": 67.5, "currency": "INR", "description": "Estimate: Energy 3.75 kWh"}],
    }
    assert session_in(body)["totalCost"] == {"exclVat": 67.5, "inclVat": 67.5}
    assert pay_in(body)["beckn:paymentStatus"] == "COMPLETED"


def test_an_interruption_without_estimate_keeps_the_quote() -> None:
    shown = order_in(on_status(reply("status"), order(State.INTERRUPTED), SPEAKER))
    assert shown["beckn:orderValue"]["value"] == 272.34


def test_the_final_bill_is_what_was_metered() -> None:
    done = billed()
    body = on_update(news(done, "on_update"), done, SPEAKER, Progress(energy_wh=1, minutes=1), item=ITEM)
    value = order_in(body)["beckn:orderValue"]
    assert value["value"] == 154.2
    assert not any("verage" in line["description"] or "rovision" in line["description"] for line in value["components"])
    session = session_in(body)
    assert (session["meteredEnergyKWh"], session["meteredDurationMinutes"]) == (6.4, 24)
    assert session["totalCost"] == {"exclVat": 131.12, "inclVat": 154.2}
    shown = pay_in(body)
    assert (shown["beckn:id"], shown["beckn:amount"]["value"]) == ("pay-1", 272.34)
    assert shown["beckn:paymentStatus"] == "ADJUSTED"


def top_up(status: PaymentStatus) -> Payment:
    return payment(status, payment_id="top-1", amount_minor=500, url="https://pay.p.example/t/top")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # paid as billed
        ({"payment": payment(amount_minor=15_420)}, ("pay-1", "COMPLETED", 15_420)),
        # more was paid than billed
        ({}, ("pay-1", "ADJUSTED", 27_234)),
        # the bill is taken from a hold
        ({"payment": payment(PaymentStatus.AUTHORIZED)}, ("pay-1", "CAPTURED", 15_420)),
        ({"payment": payment(PaymentStatus.AUTHORIZED, amount_minor=15_000)}, ("pay-1", "CAPTURED", 15_000)),
        # less was paid: asked for, paid, or not asked for
        (
            {"payment": payment(amount_minor=14_920), "top_ups": (top_up(PaymentStatus.PENDING),)},
            ("top-1", "PENDING", 500),
        ),
        (
            {"payment": payment(amount_minor=14_920), "top_ups": (top_up(PaymentStatus.COMPLETED),)},
            ("pay-1", "COMPLETED", 14_920),
        ),
        ({"payment": payment(amount_minor=15_400)}, ("pay-1", "COMPLETED", 15_400)),
        # nothing was paid yet: post-paid
        ({"payment": payment(PaymentStatus.PENDING)}, ("pay-1", "PENDING", 27_234)),
    ],
)
def test_the_payment_beside_a_bill(changes: dict[str, Any], expected: tuple[str, str, int]) -> None:
    shown = payment_of_bill(billed(**changes))
    assert shown is not None
    assert (shown.payment_id, shown.status.value, shown.amount_minor) == expected


def test_a_top_up_is_told_with_its_own_link() -> None:
    due = billed(payment=payment(amount_minor=14_920), top_ups=(top_up(PaymentStatus.PENDING),))
    shown = pay_in(on_update(news(due, "on_update"), due, SPEAKER))
    assert shown["beckn:paymentURL"] == "https://pay.p.example/t/top"


def test_a_revised_bill_is_adjusted_even_when_the_sum_is_the_same() -> None:
    same = billed(payment=payment(amount_minor=15_420), revision=2)
    shown = pay_in(on_update(news(same, "on_update"), same, SPEAKER, is_revised=True))
    assert shown["beckn:paymentStatus"] == "ADJUSTED"


REFUND = Payment(
    payment_id="pay-2",
    status=PaymentStatus.COMPLETED,
    amount_minor=11_814,
    beneficiary="BUYER",
    txn_ref="RF-77",
    paid_at_ms=NOW,
)


def test_a_refund_is_told_by_itself() -> None:
    done = billed(refunds=(REFUND,))
    shown = pay_in(on_refund(news(done, "on_status"), done, SPEAKER, REFUND))
    assert (shown["beckn:id"], shown["beckn:beneficiary"], shown["beckn:paymentStatus"]) == (
        "pay-2",
        "BUYER",
        "PARTIALLY_REFUNDED",
    )
    assert (shown["beckn:amount"]["value"], shown["beckn:txnRef"]) == (118.14, "RF-77")
    everything = replace(REFUND, amount_minor=27_234)
    assert pay_in(on_refund(news(done, "on_status"), done, SPEAKER, everything))["beckn:paymentStatus"] == "REFUNDED"


def test_a_refund_never_becomes_a_price_line() -> None:
    done = billed(refunds=(REFUND,))
    lines = order_in(on_status(reply("status"), done, SPEAKER))["beckn:orderValue"]["components"]
    assert {line["type"] for line in lines} <= {"UNIT", "TAX", "DELIVERY", "DISCOUNT", "FEE", "SURCHARGE"}


def test_an_early_refund_does_not_hide_the_payment_of_the_bill() -> None:
    done = billed(refunds=(REFUND,))
    assert pay_in(on_update(news(done, "on_update"), done, SPEAKER))["beckn:id"] == "pay-1"
    assert pay_in(on_status(reply("status"), done, SPEAKER))["beckn:id"] == "pay-2"


def test_a_top_up_that_came_is_told_under_its_own_number() -> None:
    came = replace(top_up(PaymentStatus.COMPLETED), paid_at_ms=NOW + 7_200_000)
    done = billed(payment=payment(amount_minor=14_920), top_ups=(came,))
    shown = pay_in(on_status(news(done, "on_status"), done, SPEAKER))
    assert (shown["beckn:id"], shown["beckn:paymentStatus"]) == ("top-1", "COMPLETED")
    assert shown["beckn:amount"]["value"] == 5
    assert "beckn:paymentURL" not in shown


def test_what_is_due_is_not_hidden_by_what_went_back_before() -> None:
    early = replace(REFUND, amount_minor=500)
    due = billed(payment=payment(amount_minor=14_920), refunds=(early,), top_ups=(top_up(PaymentStatus.PENDING),))
    shown = pay_in(on_status(reply("status"), due, SPEAKER))
    assert (shown["beckn:id"], shown["beckn:paymentStatus"]) == ("top-1", "PENDING")
    came = replace(top_up(PaymentStatus.COMPLETED), paid_at_ms=NOW + 7_200_000)
    assert pay_in(on_status(reply("status"), replace(due, top_ups=(came,)), SPEAKER))["beckn:id"] == "top-1"


# --- cancelled


def fee() -> Breakdown:
    line = Component(
        kind=ComponentKind.FEE, role=Role.CANCELLATION, amount=Decimal("27.23"), description="Cancellation fee"
    )
    return Breakdown(currency="INR", components=(line,))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"payment": payment()}, ("REFUNDED", "BUYER", 272.34)),
        ({"payment": payment(PaymentStatus.AUTHORIZED)}, ("VOIDED", "BUYER", 272.34)),
        ({"payment": payment(), "cancellation_fee": fee()}, ("PARTIALLY_REFUNDED", "BUYER", 245.11)),
        ({"payment": payment(amount_minor=2_723), "cancellation_fee": fee()}, ("COMPLETED", "BPP", 27.23)),
        ({"payment": payment(PaymentStatus.INITIATED)}, ("CANCELLED", "BPP", 272.34)),
        ({"payment": payment(), "refunds": (replace(REFUND, amount_minor=27_234),)}, ("REFUNDED", "BUYER", 272.34)),
    ],
)
def test_a_cancellation_says_what_goes_back(changes: dict[str, Any], expected: tuple[str, str, float]) -> None:
    gone = order(State.CANCELLED, **changes)
    body = on_cancel(reply("cancel"), gone, SPEAKER)
    assert order_in(body)["beckn:orderStatus"] == "CANCELLED"
    shown = pay_in(body)
    amount = shown["beckn:amount"]["value"]
    assert (shown["beckn:paymentStatus"], shown["beckn:beneficiary"], amount) == expected
    assert "beckn:fulfillment" not in order_in(body)


@pytest.mark.parametrize("by", [CancelledBy.PROVIDER, CancelledBy.NO_SHOW])
def test_a_cancellation_by_us_says_that_the_connector_is_not_to_be_had(by: CancelledBy) -> None:
    gone = order(State.CANCELLED, payment=payment(), cancelled_by=by)
    session = session_in(on_cancel(news(gone, "on_cancel"), gone, SPEAKER))
    assert session["connectorStatus"] == "UNAVAILABLE"
    assert "sessionStatus" not in session


def test_a_refund_after_a_cancellation_has_the_number_that_was_announced() -> None:
    gone = order(State.CANCELLED, payment=payment(), cancellation_fee=fee())
    announced = pay_in(on_cancel(reply("cancel"), gone, SPEAKER))
    back = replace(REFUND, amount_minor=24_511)
    made = replace(gone, refunds=(back,))
    for body in (on_refund(news(made, "on_status"), made, SPEAKER, back), on_status(reply("status"), made, SPEAKER)):
        told = pay_in(body)
        assert (told["beckn:id"], told["beckn:txnRef"]) == (announced["beckn:id"], "RF-77")
        assert (told["beckn:paymentStatus"], order_in(body)["beckn:orderStatus"]) == ("PARTIALLY_REFUNDED", "CANCELLED")


def test_a_cancellation_fee_is_the_orders_value() -> None:
    gone = order(State.CANCELLED, payment=payment(), cancellation_fee=fee())
    assert order_in(on_cancel(reply("cancel"), gone, SPEAKER))["beckn:orderValue"]["value"] == 27.23
    free = order(State.CANCELLED, payment=payment(), cancellation_fee=Breakdown(currency="INR", components=()))
    assert order_in(on_cancel(reply("cancel"), free, SPEAKER))["beckn:orderValue"]["value"] == 272.34


# --- tracking, rating, support, discovery


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (State.CONFIRMED, "DISABLED"),
        (State.ACTIVE, "ACTIVE"),
        (State.INTERRUPTED, "ACTIVE"),
        (State.CANCELLED, "COMPLETED"),
    ],
)
def test_tracking_says_whether_there_is_something_to_see(state: State, word: str) -> None:
    body = on_track(reply("track"), order(state, session_id="s-1"), SPEAKER, "https://p.example/track/x")
    assert body["message"] == {
        "tracking": {
            "id": "TRACK-s-1",
            "url": "https://p.example/track/x",
            "tl_method": "http/get",
            "trackingStatus": word,
        }
    }


def test_who_tracks_by_order_gets_the_order_too() -> None:
    active = order(State.ACTIVE, payment=payment())
    body = on_track(reply("track"), active, SPEAKER, "https://p.example/track/x", with_order=True)
    assert order_in(body)["beckn:id"] == "ord-81c2"


def test_a_rating_is_thanked_for() -> None:
    body = on_rating(reply("rating"), SPEAKER, aggregate=Aggregate(value=4.2, count=7))
    assert body["message"] == {"received": True, "aggregate": {"value": 4.2, "count": 7, "best": 5, "worst": 1}}


def test_support_names_only_what_is_known() -> None:
    body = on_support(reply("support"), SPEAKER, Contact(phone="1800", channels=("PHONE", "PIGEON")))
    message = body["message"]
    assert isinstance(message, dict)
    assert {name: value for name, value in message["support"].items() if name[0] != "@"} == {
        "phone": "1800",
        "channels": ["PHONE"],
    }


def test_the_national_profile_gets_an_empty_error_and_nobody_else() -> None:
    assert "error" not in on_discover(reply("discover"), [], SPEAKER)
    assert on_discover(reply("discover"), [], replace(SPEAKER, empty_error=True))["error"] == {}


# --- errors

ERROR = BecknError("30008", "the connector is out of order")


@pytest.mark.parametrize(
    ("action", "state", "status"),
    [
        ("select", State.QUOTED, "REJECTED"),
        ("init", State.QUOTED, "REJECTED"),
        ("confirm", State.INITIALISED, "REJECTED"),
        ("update", State.CONFIRMED, "CONFIRMED"),
        ("update", State.ACTIVE, "INPROGRESS"),
        ("cancel", State.ACTIVE, "INPROGRESS"),
        ("status", State.PAID, "PENDING"),
    ],
)
def test_an_error_about_an_order_repeats_it(action: str, state: State, status: str) -> None:
    body = error_for_order(reply(action), ERROR, order(state), SPEAKER)
    assert body["error"] == {"code": "30008", "message": "the connector is out of order"}
    assert order_in(body)["beckn:orderStatus"] == status


WIRE = {"seller": "mycpo", "buyer": BUYER, "quantity": {"unitCode": "KWH", "unitQuantity": 1}}
SELECT = Select(item_id="i", want=WANT, buyer=Buyer(buyer_id="user-1"), wire=WIRE)
INIT = Init(order_id="o", item_id="i", want=WANT, buyer=Buyer(buyer_id="user-1"), collected_by="BAP", wire=WIRE)


def test_an_error_about_a_wish_repeats_the_wish() -> None:
    shown = order_in(error_for_command(reply("select"), ERROR, SELECT, SPEAKER))
    assert (shown["beckn:orderStatus"], shown["beckn:buyer"]) == ("REJECTED", BUYER)
    assert shown["beckn:orderItems"] == [
        {"beckn:orderedItem": "i", "beckn:quantity": {"unitCode": "KWH", "unitQuantity": 1}}
    ]
    assert order_in(error_for_command(reply("init"), ERROR, INIT, SPEAKER))["beckn:id"] == "o"


@pytest.mark.parametrize(
    ("action", "command", "message"),
    [
        ("status", Status(order_id="x"), {}),
        ("rating", Rating(ratings=()), {"received": False}),
        ("track", Track(tracking_id="x", order_id=None), {"tracking": {}}),
        ("discover", Discover(intent=None), {"catalogs": []}),  # type: ignore[arg-type]  # the intent plays no part
    ],
)
def test_an_error_without_an_order_has_the_smallest_message(action: str, command: Any, message: object) -> None:
    body = error_for_command(reply(action), ERROR, command, SPEAKER)
    assert (body["message"], body["error"]) == (message, ERROR.v2())


def test_every_command_has_an_error_callback() -> None:
    for action, command in (
        ("confirm", Confirm(order_id=None)),
        ("update", Update(order_id="o", order_status="CONFIRMED")),
        ("cancel", Cancel(order_id=None)),
        ("support", Support(ref_id="x", ref_type="ORDER")),
    ):
        assert error_for_command(reply(action), ERROR, command, SPEAKER)["error"] == ERROR.v2()


# --- all of it


def test_every_message_is_plain_json_in_one_line() -> None:
    text = serialise(on_update(news(billed(), "on_update"), billed(), SPEAKER, item=ITEM)).decode()
    assert "\n" not in text
    assert ": " not in text.split('"description"')[0]
    assert "×" in text or "kWh" in text
