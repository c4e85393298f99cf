"""Paper of whole months, through the real use cases: what was sold is invoiced to the paisa, and the statements of the
months are the ledger."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from customer import Customer
from money_world import BAP, World

from csms.app import documents
from csms.domain.ledger import Account, EntryKind, Totals, outstanding
from csms.domain.reported import Stopped
from csms.domain.statement import month, month_before, month_of
from csms.domain.taxes import Registration, TaxEntry, Withholding
from csms.ports import Table

ZONE = "Asia/Kolkata"
DAY_MS = 86_400_000
TAXES = TaxEntry(
    valid_from_ms=0,
    seller="Test CPO",
    registrations=(Registration(state="29", address="1 Main Road", gstin="29AAPFU0939F1ZR"),),
    rate_percent=Decimal(18),
    withholding=Withholding(section="194-O", percent=Decimal("0.1")),
)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path, seed=7, doubled=True)
    await made.open()
    await made.system.books.set_taxes([TAXES], "test")
    yield made
    await made.close()


async def sold(world: World, wh: int, *, by: str, late_wh: int | None = None) -> Customer:
    """Bought, charged and billed; `late_wh`: what a stop that came again said."""
    customer = Customer(world)
    await customer.select(10)
    await customer.init(by)
    if by == "BPP":
        await customer.pay()
    await customer.confirm(status="COMPLETED")
    await customer.start()
    await customer.charge(wh)
    await world.pass_time(10)
    if late_wh is not None:
        order = await customer.order()
        again = Stopped(
            key=f"again-{customer.transaction_id}", tx_id=customer.number, at_ms=world.clock.now_ms(),
            register_wh=customer.register_wh + late_wh, reason="Local", token=order.token,
        )  # fmt: skip
        world.report(customer.charger, again)
        await world.settle()
    return customer


async def all_ledgers(world: World) -> Totals:
    rows = await world.rows(Table.ORDERS)
    return Totals([entry for row in rows for entry in await world.ledger(row["id"])])


async def statement(world: World, period: str) -> dict[str, Any]:
    row, _ = await world.system.books.make_statement("bap_statement", BAP, period)
    found: dict[str, Any] = json.loads(row["data"])["account"]
    return found


async def test_months_of_sales_are_invoiced_and_stated_to_the_paisa(world: World) -> None:
    first = month_of(world.clock.now_ms(), ZONE)
    for wh, by, late_wh in ((6_400, "BAP", None), (3_000, "BPP", 2_970), (8_123, "BAP", 8_100), (10_400, "BAP", None)):
        customer = await sold(world, wh, by=by, late_wh=late_wh)
        order = await customer.order()
        rows = await world.system.store.read(lambda tx, o=order.order_id: documents.of_order(tx, o))
        charged = Totals(await world.ledger(order.order_id))
        assert order.final is not None
        assert sum(row["amount_minor"] for row in rows) == order.final.total_minor
        assert order.final.total_minor == charged.charged_minor - charged.of(EntryKind.WRITE_OFF)
        assert [row["kind"] for row in rows] == ["invoice"] + (["credit_note"] if late_wh is not None else [])

    world.clock.at_ms = month(first, ZONE)[1] + 3 * DAY_MS
    await world.system.books.statements.tick(world.clock.now_ms())
    made = await world.rows(Table.DOCUMENTS, kind="bap_statement")
    assert [(row["party"], row["period"]) for row in made] == [(BAP, first)]
    account, whole = await statement(world, first), await all_ledgers(world)
    assert account["opening_minor"] == 0
    assert account["collected_minor"] == whole.of(EntryKind.BAP_COLLECTED)
    assert account["refunded_minor"] == -whole.of(EntryKind.BAP_REFUND)
    assert account["closing_minor"] == whole.account(Account.BAP) > 0
    expected = account["collected_minor"] - account["refunded_minor"]
    assert account["withholding_minor"] == (expected + 500) // 1000

    withheld = account["withholding_minor"]
    paid = account["closing_minor"] - withheld
    for _ in range(2):
        await world.system.books.remit("bap", BAP, "UTR1", amount_minor=paid, withheld_minor=withheld, who="test")
    customer = await sold(world, 5_000, by="BAP")
    assert outstanding(await world.ledger((await customer.order()).order_id)).receivable_minor > 0
    second = month_of(world.clock.now_ms(), ZONE)
    assert month_before(second) == first
    world.clock.at_ms = month(second, ZONE)[1] + 3 * DAY_MS
    later, whole = await statement(world, second), await all_ledgers(world)
    assert later["opening_minor"] == account["closing_minor"]
    assert (later["remitted_minor"], later["withheld_minor"]) == (paid, withheld)
    assert later["closing_minor"] == whole.account(Account.BAP)
    assert later["withholding_open_minor"] == later["withholding_minor"]
    assert whole.balance_minor == 0
    assert await world.rows(Table.CASES, type="NOT_INVOICED") == []
