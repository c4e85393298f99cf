"""Money where things cross: an order that ends while its session begins, top-ups that are not due any more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from customer import Customer
from money_world import MINUTE_MS, World

from csms.app.debtors import forgive
from csms.app.orders import take_order
from csms.domain.breakdown import Role
from csms.domain.ledger import Account, EntryKind, Totals, outstanding
from csms.domain.order import CancelledBy, PaymentStatus, State
from csms.domain.reported import Started, Stopped
from csms.domain.units import rfc3339, to_minor
from csms.ports import Table
from simulators import bodies

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=[False, True], ids=["once", "doubled"])
async def world(tmp_path: Path, request: Any) -> AsyncIterator[World]:
    made = World(tmp_path, seed=7, doubled=request.param)
    await made.open()
    yield made
    await made.close()


async def stopped_again(customer: Customer, wh: int) -> None:
    """The charger tells another end of the same session."""
    order, world = await customer.order(), customer.world
    again = Stopped(
        key=f"again-{wh}", tx_id=customer.number, at_ms=world.clock.now_ms(),
        register_wh=customer.register_wh + wh, reason="Local", token=order.token,
    )  # fmt: skip
    world.report(customer.charger, again)
    await world.settle()


async def test_a_session_that_began_while_its_order_was_cancelled_is_billed_to_nobody(world: World) -> None:
    customer, next_one = Customer(world), Customer(world, person=bodies.Person(id="n", phone="+919000000009"))
    order = await customer.bought(5)
    now_ms = world.clock.now_ms()
    ordering = world.system.ordering

    def cancel(tx: Any) -> None:
        standing = take_order(tx, order.order_id)
        assert standing is not None
        ordering.cancel(tx, standing, "changed my mind", CancelledBy.BUYER, now_ms, {})

    await world.system.store.transact(cancel)
    # The charger's message crossed it: the token in memory is still good.
    started = Started(key="s", evse=1, connector=1, token=order.token, at_ms=now_ms, register_wh=0)
    (answer,) = world.report(customer.charger, started)
    await world.settle()
    world.clock.at_ms += 20 * MINUTE_MS
    stopped = Stopped(
        key="e", tx_id=str(answer.number), at_ms=world.clock.now_ms(), register_wh=3_000, reason="Local",
        token=order.token,
    )  # fmt: skip
    world.report(customer.charger, stopped)
    await world.settle()
    entries = await world.ledger(order.order_id)
    assert (await customer.order()).state is State.CANCELLED
    assert sum(entry.amount_minor for entry in entries) == 0
    assert -Totals(entries).of(EntryKind.REFUND) == order.paid_minor
    assert outstanding(entries).due_minor == 0
    (case,) = await world.rows(Table.CASES, type="NOT_ORDERED")
    assert "3000 Wh" in case["text"]
    await world.pass_time(120)
    bought = await next_one.bought(2)  # nobody else is held up by it
    await next_one.charge(1_000)
    assert (await next_one.order()).is_billed, bought.state


async def test_a_higher_bill_withdraws_the_top_up_that_was_asked_for_before(world: World) -> None:
    customer = Customer(world)
    await customer.bought(5)
    await customer.charge(6_000)
    await stopped_again(customer, 6_040)
    order = await customer.order()
    assert [top_up.status for top_up in order.top_ups] == [PaymentStatus.CANCELLED, PaymentStatus.PENDING]
    first, second = order.top_ups
    await world.pay(second.payment_id, held=False)
    assert [top_up.status for top_up in (await customer.order()).top_ups][1] is PaymentStatus.COMPLETED
    await customer._ask("status", {"order": {"beckn:id": order.order_id}})
    shown = customer.shown["beckn:payment"]
    assert (shown["beckn:paymentStatus"], shown["beckn:id"]) == ("COMPLETED", second.payment_id)
    page = await world.system.buyers.buying.payment(first.payment_id)
    assert page is not None
    assert not page["is_open"]
    # Whoever kept the old code and pays it gets it back.
    await world.pay(first.payment_id, held=False)
    entries = await world.ledger(order.order_id)
    assert Totals(entries).account(Account.DUE) == 0
    assert -Totals(entries).of(EntryKind.REFUND) == first.amount_minor


async def test_a_bill_that_came_down_asks_for_nothing_any_more(world: World) -> None:
    customer = Customer(world)
    await customer.bought(5)
    await customer.charge(5_027)
    assert [top_up.status for top_up in (await customer.order()).top_ups] == [PaymentStatus.PENDING]
    await world.pass_time(10)
    await stopped_again(customer, 4_999)
    order = await customer.order()
    assert order.final is not None
    assert order.final.total_minor < order.paid_minor
    assert [top_up.status for top_up in order.top_ups] == [PaymentStatus.CANCELLED]
    await customer._ask("status", {"order": {"beckn:id": order.order_id}})
    assert customer.shown["beckn:payment"]["beckn:paymentStatus"] != "PENDING"


async def test_what_was_forgiven_is_not_asked_for_any_more(world: World) -> None:
    customer = Customer(world)
    await customer.bought(5)
    await customer.charge(6_000)
    order_id = (await customer.order()).order_id
    await world.system.store.transact(lambda tx: forgive(tx, order_id, reason="r", who="w", now_ms=1))
    await world.settle()
    await customer._ask("status", {"order": {"beckn:id": order_id}})
    assert customer.shown["beckn:payment"]["beckn:paymentStatus"] != "PENDING"
    await stopped_again(customer, 6_040)
    order = await customer.order()
    due_minor = outstanding(await world.ledger(order_id)).due_minor
    assert [top_up.amount_minor for top_up in order.open_top_ups] == [due_minor]
    assert due_minor < order.top_ups[0].amount_minor


async def test_a_fleet_pays_for_a_slot_its_driver_does_not_use(world: World) -> None:
    """The fee for not coming stays on its account as it stays with anybody else."""
    driver = Customer(world, charger="BOOKED", person=bodies.Person(id="d", phone="+919811100001"))
    begin_ms = world.clock.now_ms() + 60 * MINUTE_MS
    await driver.select(5, slot=(rfc3339(begin_ms), rfc3339(begin_ms + 60 * MINUTE_MS)))
    await driver.init()
    await driver.confirm()
    assert (await driver.order()).on_account
    await world.pass_time(120)
    order = await driver.order()
    assert (order.state, order.cancelled_by) == (State.CANCELLED, CancelledBy.NO_SHOW)
    assert order.cancellation_fee is not None
    entries = await world.ledger(order.order_id)
    assert outstanding(entries).on_account_minor == order.cancellation_fee.total_minor == 2_950
    assert outstanding(entries).is_settled


async def test_a_fleet_that_was_removed_can_still_pay_what_it_owes(world: World) -> None:
    driver = Customer(world, person=bodies.Person(id="d", phone="+919811100001"))
    await driver.select(5)
    await driver.init()
    await driver.confirm()
    await driver.charge(3_000)
    order = await driver.order()
    owed_minor = outstanding(await world.ledger(order.order_id)).on_account_minor
    assert order.final is not None
    assert owed_minor == order.final.total_minor > 0
    await world.system.store.transact(lambda tx: tx.drop(Table.FLEETS, id="by-month"))
    for _ in range(world.times):
        await world.system.books.remit("fleet", "by-month", "U-1", amount_minor=owed_minor, withheld_minor=0, who="t")
    assert outstanding(await world.ledger(order.order_id)).on_account_minor == 0


async def test_an_app_that_collects_after_the_bill_keeps_its_fee_then(world: World) -> None:
    customer = Customer(world, charger="AFTERWARDS")
    await customer.select(5, finder_fee=2.5)
    await customer.init("BAP")
    await customer.confirm()
    await customer.charge(3_000)
    order = await customer.order()
    assert order.final is not None
    fee_minor = to_minor(order.final.amount(Role.FINDER))
    assert fee_minor > 0
    assert outstanding(await world.ledger(order.order_id)).receivable_minor == 0
    (top_up,) = order.top_ups
    amount = {"currency": "INR", "value": top_up.amount_minor / 100}
    paid = {"beckn:id": top_up.payment_id, "beckn:paymentStatus": "COMPLETED", "beckn:amount": amount}
    await customer.tell({**paid, "beckn:txnRef": "app-1"})
    entries = await world.ledger(order.order_id)
    assert outstanding(entries).receivable_minor == order.final.total_minor - fee_minor
    assert outstanding(entries).is_settled
