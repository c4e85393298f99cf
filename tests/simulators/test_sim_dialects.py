"""The simulated buyer of generation 1: what it writes is valid, and it reads what sellers write, in every spelling."""

from __future__ import annotations

import copy
import json
from decimal import Decimal
from typing import Any

import pytest
from schema import needs_schemas, shared
from typer.testing import CliRunner

from simulators.__main__ import app
from simulators.beckn_schema import ClassicSchemas
from simulators.bodies import Amount, Person
from simulators.bodies_v1 import ACCENTS
from simulators.reading_v1 import BillV1, ItemV1, normal
from simulators.tongue_v1 import DIALECTS, TongueV1, tongue

PERSON = Person(name="A. Rao", phone="+919812345678", tax_id="29ABCDE1234F1Z5")


def final(**changes: Any) -> dict[str, Any]:
    """A COMPLETED order: 6.4 kWh of 10, paid 272.34, the rest to go back."""
    refund = {"descriptor": {"code": "refund-details"},
              "list": [{"descriptor": {"code": "refund-type"}, "value": "OVERCHARGE_REFUND"},
                       {"descriptor": {"code": "refund-amount"}, "value": "118.14INR"}]}  # fmt: skip
    lines = [
        ("charging session cost", "115.20"), ("surge price(20%)", "23.04"), ("offer discount", "-20.00"),
        ("service-charge", "10.00"), ("gst", "23.08"), ("buyer finder fee", "2.88"),
    ]  # fmt: skip
    order: dict[str, Any] = {
        "id": "ord-1",
        "status": "COMPLETE",
        "provider": {"id": "cpo"},
        "items": [
            {
                "id": "item-1",
                "price": {"value": "18", "currency": "INR/kWh"},
                "quantity": {"allocated": {"measure": {"type": "CONSTANT", "value": "6.4", "unit": "kWh"}}},
            }
        ],
        "fulfillments": [{"id": "f1", "type": "CHARGING", "state": {"descriptor": {"code": "charging-ended"}}}],
        "quote": {
            "price": {"value": "154.20", "currency": "INR"},
            "breakup": [{"title": t, "price": {"value": v, "currency": "INR"}} for t, v in lines],
        },
        "payments": [
            {"id": "pay-1", "status": "PAID", "params": {"amount": "272.34", "currency": "INR"}},
            {"id": "pay-2", "status": "NOT-PAID", "params": {"amount": "118.14"}, "tags": [refund]},
        ],
    }
    return order | changes


def with_state(code: str, **changes: Any) -> BillV1:
    """An order whose state has that code."""
    state = {"descriptor": {"code": code}}
    return BillV1(final(fulfillments=[{"id": "f1", "type": "CHARGING", "state": state}], **changes))


def test_a_final_bill_is_read_as_it_was_meant() -> None:
    bill = BillV1(final())
    assert (bill.order_status, bill.session_status) == ("COMPLETED", "COMPLETED")
    assert (bill.value, bill.metered_kwh) == (Decimal("154.20"), Decimal("6.4"))
    assert bill.quote.adds_up()
    assert [line.kind for line in bill.quote.lines] == ["UNIT", "SURCHARGE", "DISCOUNT", "FEE", "TAX", "FEE"]
    assert (bill.quote.unit_price, bill.quote.unit) == (18, "KWH")
    assert bill.payment_status == "ADJUSTED"
    assert bill.refunds == {}
    assert bill.due == 0


def test_a_refund_counts_when_it_is_made_and_once() -> None:
    order = final()
    order["payments"][1]["status"] = "PAID"
    assert BillV1(order).refunds == {"pay-2": Decimal("118.14")}
    assert BillV1(order).payment_status == "PARTIALLY_REFUNDED"


def test_what_is_asked_for_more_is_due() -> None:
    order = final()
    order["payments"][1] = {"id": "pay-2", "status": "NOT_PAID", "params": {"amount": "20.00"}, "url": "http://x"}
    bill = BillV1(order)
    assert (bill.payment_status, bill.due, bill.payment["url"]) == ("PENDING", 20, "http://x")


def test_lines_that_do_not_add_up_are_noticed() -> None:
    order = final()
    order["quote"]["price"]["value"] = "154.21"
    assert not BillV1(order).quote.adds_up()


@pytest.mark.parametrize(
    ("code", "session"),
    [
        ("charging-started", "ACTIVE"), ("CHARGING_STARTED", "ACTIVE"), ("charging started", "ACTIVE"),
        ("ACTIVE", "ACTIVE"), ("CONNECTION-INTERRUPTED", "INTERRUPTED"), ("CONNECTION_INTERRUPTED", "INTERRUPTED"),
        ("PENDING", "PENDING"), ("payment-completed", "PENDING"),
    ],
)  # fmt: skip
def test_states_are_read_in_every_spelling(code: str, session: str) -> None:
    assert with_state(code, status="ACTIVE").session_status == session


def test_a_network_without_a_word_for_interruption_says_it_by_the_charger() -> None:
    order = final(status="ACTIVE")
    told = {"connectorId": 1, "status": "Unavailable", "errorCode": "NoError"}
    order["fulfillments"][0]["state"]["descriptor"] = {"code": "charging-started", "long_desc": json.dumps(told)}
    assert BillV1(order).session_status == "INTERRUPTED"
    order["fulfillments"][0]["state"]["descriptor"]["long_desc"] = json.dumps({**told, "status": "Charging"})
    assert BillV1(order).session_status == "ACTIVE"


def test_there_is_a_tongue_for_every_dialect() -> None:
    assert [tongue(name).name for name in DIALECTS] == list(DIALECTS)
    with pytest.raises(KeyError):
        tongue("v3")


def requests(accent: str) -> dict[str, Any]:
    """Every request of a buyer in that accent."""
    speaks = TongueV1(ACCENTS[accent])
    item = ItemV1({"id": "item-1", "fulfillment_ids": ["f1"]}, {"id": "cpo"})
    order = final()
    slot = ("2026-01-02T10:00:00Z", "2026-01-02T10:30:00Z")
    stops = [{"type": kind, "time": {"timestamp": at}} for kind, at in zip(("start", "end"), slot, strict=True)]
    order["fulfillments"][0]["stops"] = stops
    return {
        "search": speaks.look(near=(12.9, 77.6, 5_000), expression="CCS2", text="fast"),
        "select": speaks.select(
            item=item, person=PERSON, amount=Amount(100, "INR"), offer={"id": "o-1"}, slot=slot, finder_fee_percent=2.5
        ),
        "init": speaks.init(
            order, person=PERSON, collected_by="BAP", subscriber_id="b", order_id="-", payment_id="-"
        ),
        "confirm": speaks.confirm(order, order["payments"][0], "123456"),
        "update": speaks.start(order, "123456"),
        "status": speaks.status("ord-1"),
        "track": speaks.track("ord-1"),
        "cancel": speaks.cancel(order),
        "rating": speaks.rating("ord-1", 5, None),
        "support": speaks.support("ord-1"),
    }  # fmt: skip


@needs_schemas
@pytest.mark.parametrize("accent", ACCENTS)
def test_what_the_buyer_writes_is_valid(accent: str) -> None:
    base = shared()
    assert base is not None
    schemas = ClassicSchemas(base / "v1" / "schema" / "core-1.1.1-transaction.yaml")
    header = TongueV1(ACCENTS[accent]).header
    for action, message in requests(accent).items():
        if action == "rating" and accent == "eos":
            continue  # its category `charger` is this network's own (BECKN 9 row 37)
        assert schemas.faults(action, {"context": {**header, "action": action}, "message": message}) == []


def test_the_one_time_password_stands_at_the_first_stop() -> None:
    for message in (requests("uei")["confirm"], requests("deg")["update"]):
        first = message["order"]["fulfillments"][0]["stops"][0]
        assert first["authorization"] == {"type": "OTP", "token": "123456"}


def test_units_say_what_is_ordered() -> None:
    speaks = TongueV1(ACCENTS["deg"])
    item = ItemV1({"id": "item-1"}, {"id": "cpo"})
    for code, unit in (("KWH", "kWh"), ("INR", "INR"), ("MIN", "MINUTES")):
        said = speaks.select(
            item=item, person=PERSON, amount=Amount(4, code), offer=None, slot=None, finder_fee_percent=None
        )
        measure = said["order"]["items"][0]["quantity"]["selected"]["measure"]
        assert measure == {"type": "CONSTANT", "value": "4", "unit": unit}


def test_reading_changes_nothing() -> None:
    order = final()
    before = copy.deepcopy(order)
    bill = BillV1(order)
    assert [bill.quote.value, bill.due, bill.payment_status] == [Decimal("154.20"), 0, "ADJUSTED"]
    assert order == before
    assert normal(" Charging_Started ") == "charging-started"


def test_a_dialect_nobody_speaks_is_refused_by_name() -> None:
    said = CliRunner().invoke(
        app, ["bap", "--bpp", "http://127.0.0.1:1", "--story", "walk-in-by-kwh", "--dialect", "v3"]
    )
    assert said.exit_code == 2
    assert "deg2" in said.output
