"""Documents, statements, remittances, tax settings and consumption over the API."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from apiworld import NOW_MS, Client, World, session_row, station_row

from csms.app.bookkeeping import Bookkeeping
from csms.app.documents import add_invoice
from csms.app.orders import add_order
from csms.app.statements import StatementRules
from csms.domain.breakdown import Breakdown
from csms.domain.buyer import Buyer
from csms.domain.invoice import DocumentKind, Figures, Invoice, Line, Metered, Party
from csms.domain.ledger import money_collected_by_bap
from csms.domain.order import Order, Want, WantKind
from csms.domain.tariff import Rate, Tariff, Terms
from csms.ports import Table, Tx

ENTRY = {
    "valid_from": "2025-04-01",
    "seller": "Test CPO",
    "registrations": [{"state": "Karnataka", "address": "1 Main Road", "gstin": "29AAPFU0939F1ZR"}],
    "rate_percent": 18,
    "withholding": {"section": "194-O", "percent": 0.1},
}
EMPTY = Breakdown(currency="INR", components=())
NOTE = Invoice(
    kind=DocumentKind.CREDIT_NOTE, number="", issued_ms=NOW_MS, supplied_ms=NOW_MS, zone="Asia/Kolkata",
    seller=Party(name="Test CPO"), buyer=Party(name="A. Driver"), place_of_supply="29", code="998714", currency="INR",
    figures=Figures(taxable_minor=-100), lines=(Line(description="less", amount_minor=-100),), taxes=(),
    prices_include_tax=False, metered=Metered(), order_id="o-1", revision=2, bap_id="bap.example",
)  # fmt: skip


@pytest.fixture
async def books(world: World) -> Bookkeeping:
    nothing: Any = None
    made = Bookkeeping(
        store=world.store, inventory=nothing, clock=world.clock, ids=world.ids,
        rules=StatementRules(provider="Test CPO"), keep_days=400,
    )  # fmt: skip
    world.books = made  # type: ignore[attr-defined]
    return made


async def an_order(world: World) -> None:
    order = Order(
        order_id="o-1", network="v2", transaction_id="t", bap_id="bap.example", bap_uri="http://bap.example",
        domain="d", item_id="i", station="CP1", evse=1, connector=1, want=Want(kind=WantKind.ENERGY, energy_wh=1),
        terms=Terms(tariff=Tariff(tariff_id="t", rates=(Rate(),))), quote=EMPTY, quoted_wh=1, hold_minor=0,
        quoted_at_ms=0, quote_expires_ms=0, buyer=Buyer(), final=EMPTY,
    )  # fmt: skip

    def work(tx: Tx) -> None:
        add_order(tx, order, no=1, tracking="t", now_ms=NOW_MS)
        tx.change(Table.ORDERS, {"state": "COMPLETED"}, id="o-1")
        (entry,) = money_collected_by_bap([], "o-1", amount_minor=5_000, ref="b", at_ms=NOW_MS - 5 * 86_400_000)
        tx.add(
            Table.LEDGER,
            {
                "order_id": "o-1", "revision": 0, "kind": entry.kind.value, "account": "bap", "amount_minor": 5_000,
                "wh": 0, "idem_key": entry.idem_key, "ref": "b", "at_ms": entry.at_ms,
            },
        )  # fmt: skip

    await world.store.transact(work)


async def test_tax_settings_are_kept_as_they_were_put(api: Client, books: Bookkeeping) -> None:
    assert (await api("GET", "/api/v1/settings/tax")).body == {"entries": []}
    put = await api("PUT", "/api/v1/settings/tax", {"entries": [ENTRY]})
    assert put.status == 200, put.text
    (kept,) = (await api("GET", "/api/v1/settings/tax")).body["entries"]
    assert kept == {
        "valid_from": "2025-04-01", "seller": "Test CPO",
        "registrations": [{"state": "29", "address": "1 Main Road", "gstin": "29AAPFU0939F1ZR", "series": None}],
        "rate_percent": 18.0, "code": "998714", "description": "Electric vehicle charging",
        "place_of_supply": "buyer", "time_zone": "Asia/Kolkata",
        "withholding": {"section": "194-O", "percent": 0.1}, "footer": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"valid_from": "2026-02-30"}, "valid_from"),
        ({"registrations": [{"state": "KA", "address": "a", "gstin": "29AAPFU0939F1ZV"}]}, "check digit"),
        ({"registrations": [{"state": "MH", "address": "a", "gstin": "29AAPFU0939F1ZR"}]}, "not of the state"),
        ({"registrations": [{"state": "Atlantis", "address": "a"}]}, "no state"),
        ({"registrations": []}, "registrations"),
        ({"rate_percent": 118}, "rate_percent"),
        ({"time_zone": "Mars"}, "no time zone"),
        ({"colour": "red"}, "not known"),
    ],
)
async def test_tax_settings_that_cannot_be_meant_are_refused(
    api: Client, books: Bookkeeping, wrong: dict[str, Any], said: str
) -> None:
    reply = await api("PUT", "/api/v1/settings/tax", {"entries": [{**ENTRY, **wrong}]})
    assert (reply.status, reply.body["type"]) == (422, "/problems/invalid-request")
    assert said in reply.text
    assert (await api("GET", "/api/v1/settings/tax")).body == {"entries": []}


async def test_two_entries_may_not_begin_on_one_day(api: Client, books: Bookkeeping) -> None:
    reply = await api("PUT", "/api/v1/settings/tax", {"entries": [ENTRY, ENTRY]})
    assert (reply.status, reply.body["detail"]) == (422, "two entries begin at the same time.")


async def test_a_document_is_listed_shown_and_printed(api: Client, world: World, books: Bookkeeping) -> None:
    await world.store.transact(lambda tx: add_invoice(tx, NOTE, sign="29", document_id="d-1", token="tok"))
    (one,) = (await api("GET", "/api/v1/documents?kind=credit_note&order_id=o-1&party=bap.example")).body["items"]
    assert (one["number"], one["amount"]["amount"], one["revision"]) == ("C29/2526/0000001", "-1.00", 2)
    assert one["link"] == "/documents/tok"
    assert (await api("GET", "/api/v1/documents?kind=invoice")).body["items"] == []
    assert (await api("GET", "/api/v1/documents?kind=poem")).status == 422
    full = (await api("GET", "/api/v1/documents/d-1")).body
    assert full["content"]["buyer"]["name"] == "A. Driver"
    page = await api("GET", "/api/v1/documents/d-1/html")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "sandbox" in page.headers["Content-Security-Policy"]
    assert "Credit note" in page.text
    for path in ("/api/v1/documents/d-2", "/api/v1/documents/d-2/html", "/api/v1/statements/d-1"):
        reply = await api("GET", path)
        assert (reply.status, reply.body["type"]) == (404, "/problems/unknown-target")


async def test_a_statement_is_made_once_and_shown_in_every_form(api: Client, world: World, books: Bookkeeping) -> None:
    await an_order(world)
    wanted = {"kind": "bap_statement", "party": "bap.example", "period": "2025-12"}
    made = await api("POST", "/api/v1/statements", wanted)
    assert made.status == 201, made.text
    again = await api("POST", "/api/v1/statements", wanted)
    assert (again.status, again.body["id"]) == (200, made.body["id"])
    assert made.body["content"]["account"]["collected_minor"] == 5_000
    (listed,) = (await api("GET", "/api/v1/statements?party=bap.example&period=2025-12")).body["items"]
    assert (listed["number"], listed["amount"]["amount"]) == ("B/2526/0000001", "50.00")
    path = f"/api/v1/statements/{made.body['id']}"
    assert (await api("GET", path)).body == made.body
    assert "Statement of account" in (await api("GET", f"{path}/html")).text
    lines = await api("GET", f"{path}/csv")
    assert lines.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(lines.text)))
    assert [(row["order_id"], row["kind"], row["amount"]) for row in rows] == [("o-1", "BAP_COLLECTED", "50.00")]


async def test_a_month_that_is_not_over_has_no_statement(api: Client, books: Bookkeeping) -> None:
    wanted = {"kind": "bap_statement", "party": "bap.example", "period": "2026-01"}
    reply = await api("POST", "/api/v1/statements", wanted)
    assert (reply.status, reply.body["type"]) == (409, "/problems/wrong-state")
    assert (await api("POST", "/api/v1/statements", {**wanted, "period": "2026-13"})).status == 422
    assert (await api("POST", "/api/v1/statements", {**wanted, "kind": "invoice"})).status == 422


async def test_a_remittance_is_recorded_once_per_reference(api: Client, world: World, books: Bookkeeping) -> None:
    await an_order(world)
    told = {"bap_id": "bap.example", "reference": "UTR1", "amount": "30.00", "withheld": "0.5"}
    first = await api("POST", "/api/v1/remittances", told)
    assert first.status == 201, first.text
    assert first.body["left"]["amount"] == "0.00"
    assert first.body["recorded_by"] == "bootstrap"
    assert (await api("POST", "/api/v1/remittances", told)).status == 200
    (kept,) = (await api("GET", "/api/v1/remittances?bap_id=bap.example")).body["items"]
    assert kept == first.body
    assert (await api("GET", "/api/v1/remittances?fleet_id=f")).body["items"] == []
    ledger = (await api("GET", "/api/v1/orders/o-1/ledger")).body["items"]
    assert [(one["kind"], one["amount"]["amount"], one["ref"]) for one in ledger[1:]] == [
        ("REMITTED", "-30.00", "UTR1"), ("COLLECTED", "30.00", "UTR1"),
        ("REMITTED", "-0.50", "UTR1#withheld"), ("COLLECTED", "0.50", "UTR1#withheld"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"amount": "31.00"}, 409), ({"bap_id": None}, 422), ({"fleet_id": "f"}, 422), ({"amount": "-1"}, 422),
        ({"amount": "0"}, 422), ({"amount": "1e3"}, 422), ({"amount": "1.001"}, 422), ({"reference": "a#b"}, 422),
        ({"reference": ""}, 422), ({"bap_id": "nobody"}, 404), ({"bap_id": None, "fleet_id": "f"}, 404),
        ({"amount": 30}, 422),
    ],
)  # fmt: skip
async def test_a_remittance_that_cannot_be_meant_is_refused(
    api: Client, world: World, books: Bookkeeping, told: dict[str, Any], status: int
) -> None:
    await an_order(world)
    good = {"bap_id": "bap.example", "reference": "UTR1", "amount": "30.00"}
    assert (await api("POST", "/api/v1/remittances", good)).status == 201
    reply = await api("POST", "/api/v1/remittances", {**good, **told})
    assert reply.status == status, reply.text


async def test_consumption_comes_as_json_and_as_csv(api: Client, world: World, books: Bookkeeping) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    await world.add(
        Table.SESSIONS,
        session_row(1, state="SETTLED", open=0, ended_ms=NOW_MS + 3_600_000, energy_wh=5_340, token="tag1"),
    )
    assert (await api("PUT", "/api/v1/consumers/TAG1", {"consumer_number": "=C-9"})).status == 201
    assert (await api("PUT", "/api/v1/consumers/tag1", {"consumer_number": "=C-9"})).status == 200
    assert [one["consumer_number"] for one in await api.walk("/api/v1/consumers", 1)] == ["=C-9"]
    query = "by=consumer&from=2026-01-02T00:00:00Z&to=2026-01-03T00:00:00Z"
    reply = await api("GET", f"/api/v1/consumption?{query}&tz=UTC")
    assert reply.status == 200, reply.text
    assert json.loads(reply.text) == {
        "items": [
            {
                "key": "=C-9", "from": "2026-01-02T03:00:00.000Z", "to": "2026-01-02T04:00:00.000Z",
                "energy_wh": 5_340, "sessions": 1,
            }
        ],
        "next_cursor": None,
    }  # fmt: skip
    lines = await api("GET", f"/api/v1/consumption?{query}&format=csv")
    rows = list(csv.DictReader(io.StringIO(lines.text)))
    assert [(row["consumer"], row["from"], row["energy_kwh"]) for row in rows] == [
        ("'=C-9", "2026-01-02T08:00:00+05:30", "2.670"),
        ("'=C-9", "2026-01-02T09:00:00+05:30", "2.670"),
    ]
    assert (await api("DELETE", "/api/v1/consumers/TAG1")).status == 204
    assert (await api("DELETE", "/api/v1/consumers/TAG1")).status == 404
    assert json.loads((await api("GET", f"/api/v1/consumption?{query}")).text)["items"][0]["key"] is None
    for wrong in (
        "by=moon",
        f"{query}&tz=Mars",
        "by=feeder",
        f"{query}&interval=minute",
        query.replace("2026-01-03", "2027-01-03"),
    ):
        assert (await api("GET", f"/api/v1/consumption?{wrong}")).status == 422
