"""Our books beside a gateway's, over real sockets: nothing is lost with a webhook, nothing is booked twice.

The store is a real one, the gateway a simulated one that keeps books of its own; time is what the test says.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from csms.app.buying import Buying
from csms.app.collecting import expect
from csms.app.gatewaybooks import GatewayRules
from csms.app.gateways import Gateways
from csms.app.ordering import Ordering
from csms.app.orders import act, add_order, find_order, ledger_of, order_from, post, save_order
from csms.app.paying import Paying, ask_top_up, queue_moves
from csms.app.upkeep import Upkeep
from csms.bus.inprocess import InProcessBell
from csms.domain.breakdown import Breakdown, Component, ComponentKind, Role
from csms.domain.ledger import order_placed, outstanding
from csms.domain.order import Expire, Order, Payment, PaymentStatus, State, Want, WantKind
from csms.domain.settlement import Charge, settle
from csms.domain.tariff import Rate, Tariff, Terms
from csms.edges.public import PublicPages
from csms.payments.orderpay import OrderpayGateway
from csms.payments.simulated import SimulatedGateway
from csms.ports import PaymentRequest, Row, Table, Tx
from csms.storage.migrate import migrate_sqlite
from csms.storage.sqlite import SqliteStore
from simulators.gateway import Gateway

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
TERMS = Terms(tariff=Tariff(tariff_id="t18", rates=(Rate(per_kwh=Decimal(18)),)))


def of(rupees: int) -> Breakdown:
    line = Component(kind=ComponentKind.UNIT, role=Role.ENERGY, amount=Decimal(f"{rupees}.00"), description="")
    return Breakdown(currency="INR", components=(line,))


def initialised(order_id: str, *, hold: bool) -> Order:
    payment = Payment(
        payment_id=f"pay-{order_id}", status=PaymentStatus.INITIATED, amount_minor=55_000, beneficiary="BPP",
        txn_ref=f"pay-{order_id}", details={"hold": hold},
    )  # fmt: skip
    return Order(
        order_id=order_id, network="v2", transaction_id=f"t-{order_id}", bap_id="bap", bap_uri="http://bap.example",
        domain="d", item_id="i", station="CP", evse=1, connector=1,
        want=Want(kind=WantKind.ENERGY, energy_wh=27_778), terms=TERMS, quote=of(500), quoted_wh=27_778,
        hold_minor=55_000, quoted_at_ms=NOW_MS, quote_expires_ms=NOW_MS + HOUR_MS // 4, state=State.INITIALISED,
        payment=payment,
    )  # fmt: skip


@dataclass
class Clock:
    ms: int = NOW_MS

    def now_ms(self) -> int:
        return self.ms


@dataclass
class World:
    """Everything between the driver's bank and our ledger."""

    store: SqliteStore
    standin: Gateway
    payments: OrderpayGateway
    gateways: Gateways
    paying: Paying
    clock: Clock
    http: aiohttp.ClientSession
    url: str = ""
    counted: list[tuple[str, str]] = field(default_factory=list)

    async def asked(self, order_id: str = "o", *, hold: bool = False, amount_minor: int = 55_000) -> None:
        """An order that was initialised: its payment is asked for, and made at the gateway."""

        def work(tx: Tx) -> None:
            if find_order(tx, order_id) is None:
                no = tx.next_no("order")
                add_order(tx, initialised(order_id, hold=hold), no=no, tracking=f"k{no}", now_ms=NOW_MS)
            request = PaymentRequest(
                payment_id=f"pay-{order_id}", order_id=order_id, amount_minor=amount_minor, currency="INR", hold=hold,
                note="Charging", expires_ms=NOW_MS + HOUR_MS // 4,
            )  # fmt: skip
            expect(tx, request, provider="orderpay", is_remote=True, now_ms=self.clock.ms)

        await self.store.transact(work)
        await self.gateways._due()

    async def later(self, ms: int) -> None:
        """Time passes, and the worker looks at what is due."""
        self.clock.ms += ms
        self.standin.books.pass_time()
        await self.gateways._due()

    async def order(self, order_id: str = "o") -> Order:
        found = await self.store.read(lambda tx: find_order(tx, order_id))
        assert found is not None
        return found

    async def refs(self) -> list[Row]:
        return await self.store.read(lambda tx: tx.many(Table.GATEWAY_REFS, order="no"))

    async def events(self) -> list[Row]:
        return await self.store.read(lambda tx: tx.many(Table.GATEWAY_EVENTS, order="received_ms"))

    async def cases(self) -> list[str]:
        return [row["type"] for row in await self.store.read(lambda tx: tx.many(Table.CASES, order="no"))]

    async def kinds(self) -> list[str]:
        return [fact.kind for fact in await self.store.read(lambda tx: tx.facts(0, 1000))]

    async def collected(self, order_id: str = "o") -> int:
        return outstanding(await self.store.read(lambda tx: ledger_of(tx, order_id))).collected_minor

    async def billed(self, rupees: int, order_id: str = "o", revision: int = 1) -> None:
        """What a session of this order cost: its entries, and what the gateway must do for them."""

        def work(tx: Tx) -> None:
            order = find_order(tx, order_id)
            assert order is not None
            if revision == 1:
                post(tx, order_placed(order_id, amount_minor=50_000, energy_wh=27_778, at_ms=self.clock.ms))
            charge = Charge(
                order_id=order_id, revision=revision, breakdown=of(rupees), delivered_wh=27_000, at_ms=self.clock.ms
            )
            new = post(tx, settle(ledger_of(tx, order_id), charge, terms=TERMS, want=order.want))
            over = replace(order, state=State.COMPLETED, session_id="s", final=of(rupees), revision=revision)
            tx.change(Table.ORDERS, {"state": "COMPLETED"}, id=order_id)
            save_order(tx, over, self.clock.ms)
            queue_moves(tx, over, new, self.clock.ms)

        await self.store.transact(work)

    async def moves(self) -> dict[str, str]:
        rows = await self.store.read(lambda tx: tx.many(Table.PAYMENTS, order="at_ms"))
        return {f"{row['kind']} {row['amount_minor']}": row["status"] for row in rows}


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[World]:
    store, clock, bell, nothing = SqliteStore(path, lambda _: None), Clock(), InProcessBell(), _nothing()
    await store.start()
    async with Gateway(now=lambda: clock.ms / 1000) as standin, aiohttp.ClientSession() as http:
        payments = OrderpayGateway(
            base_url=standin.url, key_id=standin.key_id, key_secret=standin.key_secret,
            webhook_secret=standin.webhook_secret, public_url="http://pay.example", timeout_s=2,
        )  # fmt: skip
        ordering = Ordering(
            inventory=nothing, sockets=nothing, payments=payments, ids=nothing, selling=nothing, otps=nothing,
            identities=nothing,
        )  # fmt: skip
        counted: list[tuple[str, str]] = []
        gateways = Gateways(
            store=store, payments=payments, ordering=ordering, clock=clock, bell=bell, rules=GatewayRules(),
            count=lambda what, outcome: counted.append((what, outcome)),
        )  # fmt: skip
        paying = Paying(store=store, payments=payments, clock=clock, ids=nothing, bell=bell)
        buying = Buying(store=store, clock=clock, page=lambda _order, _row: {})
        app = web.Application()
        app.add_routes(PublicPages(buying, gateways, simulated=False).routes())
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        standin.webhook_url = f"{url}/payments/webhook/orderpay"
        yield World(store, standin, payments, gateways, paying, clock, http, url, counted)
        await runner.cleanup()
        await payments.close()
    await store.stop()


def _nothing() -> Any:
    return None


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy: migrating is what takes longest."""
    path = tmp_path_factory.mktemp("empty") / "csms.db"
    migrate_sqlite(path, stamp="now")
    return path


@pytest.fixture
async def world(tmp_path: Path, empty: Path) -> AsyncIterator[World]:
    shutil.copy(empty, tmp_path / "csms.db")
    async with opened(tmp_path / "csms.db") as there:
        yield there


# --- paid


async def test_a_payment_that_is_made_is_booked_by_its_webhook(world: World) -> None:
    await world.asked()
    (row,) = await world.refs()
    assert (row["state"], json.loads(row["data"])["upi_intent"][:10]) == ("made", "upi://pay?")
    world.standin.books.pay("pay-o")
    await world.standin.told()
    order = await world.order()
    assert (order.state, order.payment and order.payment.status) == (State.PAID, PaymentStatus.COMPLETED)
    assert order.payment is not None
    assert order.payment.txn_ref in world.standin.books.payments
    assert await world.collected() == 55_000
    assert {row["state"] for row in await world.events()} == {"done"}
    assert await world.cases() == []


async def test_a_lost_webhook_loses_no_money(world: World) -> None:
    await world.asked()
    world.standin.trouble.lose_webhooks = True
    world.standin.books.pay("pay-o")
    await world.later(59_000)
    assert (await world.order()).state is State.INITIALISED
    await world.later(2_000)
    assert (await world.order()).state is State.PAID
    assert await world.collected() == 55_000
    assert ("found", "captured") in world.counted


async def test_webhooks_twice_and_the_wrong_way_round_book_once(world: World) -> None:
    await world.asked()
    world.standin.trouble.keep_webhooks = True
    world.standin.trouble.copies = 3
    world.standin.books.pay("pay-o")
    assert world.standin.flush() == 3  # order.paid, captured, authorized: the wrong way round
    await world.standin.told()
    await world.later(61_000)
    assert [status for _, status in world.standin.webhooks] == [200] * 9
    assert len(await world.events()) == 3
    assert (await world.kinds()).count("PaymentRecorded") == 1
    assert await world.collected() == 55_000
    assert await world.cases() == []


async def test_a_wrong_signature_is_refused_and_nothing_is_kept(world: World) -> None:
    await world.asked()
    world.standin.trouble.wrong_signature = True
    world.standin.books.pay("pay-o")
    await world.standin.told()
    assert {status for _, status in world.standin.webhooks} == {401}
    assert await world.events() == []
    assert (await world.order()).state is State.INITIALISED


async def test_a_signed_event_is_kept_whatever_it_says(world: World) -> None:
    for n, body in enumerate((b"", b"[]", b'{"event": 1}', b'{"event":"dispute.created","payload":[]}')):
        assert await world.standin.post_webhook(f"e{n}", body) == 200
        assert await world.standin.post_webhook(f"e{n}", body) == 200
    assert sorted(row["state"] for row in await world.events()) == ["ignored", "refused", "refused", "refused"]
    assert await world.cases() == ["GATEWAY_EVENT_UNREADABLE"] * 3


async def test_money_for_a_payment_nobody_knows_is_a_case(world: World) -> None:
    stranger = world.standin.books.new_order({"amount": 100, "currency": "INR", "notes": {"payment_id": "pay-x"}})
    world.standin.books.pay(stranger["id"])
    await world.standin.told()
    assert await world.cases() == ["PAYMENT_UNPLACED"]  # one, for three events of it


async def test_an_event_out_of_its_time_is_asked_about_and_not_believed(world: World) -> None:
    await world.asked()
    world.standin.trouble.keep_webhooks = True
    world.standin.books.pay("pay-o")
    world.clock.ms += 3 * 24 * HOUR_MS
    world.standin.flush()
    await world.standin.told()
    assert (await world.order()).state is State.INITIALISED
    await world.later(0)
    assert (await world.order()).state is State.PAID


async def test_an_attempt_that_failed_can_be_repeated(world: World) -> None:
    await world.asked()
    before = json.loads((await world.refs())[0]["data"])["upi_intent"]
    world.standin.books.pay("pay-o", works=False)
    await world.standin.told()
    assert "PaymentFailed" in await world.kinds()
    await world.later(0)
    assert json.loads((await world.refs())[0]["data"])["upi_intent"] != before
    world.standin.books.pay("pay-o")
    await world.standin.told()
    assert (await world.order()).state is State.PAID
    world.standin.books.tell("payment.failed", {"payment": next(iter(world.standin.books.payments.values()))})
    await world.standin.told()
    assert (await world.order()).state is State.PAID
    assert len(world.standin.books.orders) == 1


async def test_money_that_comes_after_the_end_goes_back(world: World) -> None:
    await world.asked()
    world.clock.ms += HOUR_MS
    await world.store.transact(lambda tx: act(tx, order_from(tx.many(Table.ORDERS)[0]), Expire(), world.clock.ms))
    world.standin.books.pay("pay-o")
    await world.standin.told()
    assert (await world.order()).state is State.EXPIRED
    await world.paying.step()
    assert world.standin.books.totals() == {"captured": 55_000, "refunded": 55_000, "held": 0}
    assert (await world.order()).refunds[0].amount_minor == 55_000


async def test_money_for_a_sum_that_was_replaced_is_a_case_and_the_new_sum_is_booked(world: World) -> None:
    await world.asked(amount_minor=10_000)
    await world.asked()
    first, second = await world.refs()
    world.standin.books.pay(first["receipt"])
    await world.standin.told()
    assert (await world.order()).state is State.INITIALISED
    world.standin.books.pay(second["receipt"])
    await world.standin.told()
    assert (await world.order()).state is State.PAID
    assert set(await world.cases()) == {"PAYMENT_UNPLACED"}
    assert await world.collected() == 55_000


async def test_a_second_payment_of_what_is_paid_is_a_case(world: World) -> None:
    await world.asked()
    world.standin.books.pay("pay-o")
    await world.standin.told()
    twin = world.standin.books.new_order({"amount": 55_000, "currency": "INR", "notes": {"payment_id": "pay-o"}})
    world.standin.books.pay(twin["id"])
    await world.standin.told()
    assert await world.cases() == ["PAYMENT_UNPLACED"]
    assert await world.collected() == 55_000
    assert [row["state"] for row in await world.refs()] == ["captured"]


async def test_a_payment_the_gateway_only_authorized_is_captured(world: World) -> None:
    await world.asked()
    world.standin.trouble.lose_webhooks = True
    books = world.standin.books
    order = books.find("pay-o")
    order["capture"] = "manual"  # the gateway's own capture did not happen
    books.pay("pay-o")
    await world.later(61_000)
    assert books.totals()["captured"] == 55_000
    assert (await world.order()).state is State.PAID


# --- holds


async def test_a_hold_is_captured_for_the_bill_and_the_rest_goes_back(world: World) -> None:
    await world.asked(hold=True)
    world.standin.books.pay("pay-o")
    await world.standin.told()
    order = await world.order()
    assert order.payment is not None
    assert order.payment.status is PaymentStatus.AUTHORIZED
    await world.billed(520)
    await world.paying.step()
    await world.standin.told()
    assert world.standin.books.totals() == {"captured": 52_000, "refunded": 0, "held": 0}
    assert await world.moves() == {"capture 52000": "done", "release 3000": "done"}
    await world.later(25 * HOUR_MS)
    assert [row["state"] for row in await world.refs()] == ["closed"]
    assert await world.cases() == []


async def test_a_hold_about_to_end_under_a_running_session_is_a_case_once(world: World) -> None:
    world.standin.books.hold_life_s = 10 * 3600
    await world.asked(hold=True)
    world.standin.books.pay("pay-o")
    await world.standin.told()
    await world.later(3 * HOUR_MS)
    assert await world.cases() == []
    await world.later(2 * HOUR_MS)
    await world.later(HOUR_MS)
    assert await world.cases() == ["HOLD_ENDS"]


async def test_a_hold_that_lapsed_before_charging_ends_the_order(world: World) -> None:
    world.standin.books.hold_life_s = 3600
    await world.asked(hold=True)
    world.standin.books.pay("pay-o")
    await world.standin.told()
    await world.later(2 * HOUR_MS)
    await world.standin.told()
    assert "HOLD_LOST" in await world.cases()
    assert (await world.order()).state is State.CANCELLED
    await world.paying.step()
    assert await world.moves() == {"release 55000": "done"}
    assert outstanding(await world.store.read(lambda tx: ledger_of(tx, "o"))).held_minor == 0


async def test_the_end_of_another_hold_of_the_same_driver_is_no_news_of_ours(world: World) -> None:
    await world.asked(hold=True)
    world.standin.books.pay("pay-o")
    await world.standin.told()
    asked = {"amount": 55_000, "currency": "INR", "payment": {"capture": "manual"}, "notes": {"payment_id": "pay-o"}}
    twin = world.standin.books.pay(world.standin.books.new_order(asked)["id"])
    await world.standin.told()
    world.standin.books.void(twin["id"])
    await world.standin.told()
    assert (await world.order()).state is State.PAID
    assert await world.cases() == ["PAYMENT_UNPLACED"]
    assert [row["state"] for row in await world.refs()] == ["authorized"]


async def test_a_session_whose_hold_lapsed_meanwhile_is_asked_for_and_not_taken_for_paid(world: World) -> None:
    world.standin.books.hold_life_s = 3600
    await world.asked(hold=True)
    world.standin.books.pay("pay-o")
    await world.standin.told()
    charging = replace(await world.order(), state=State.ACTIVE, session_id="s")
    await world.store.transact(lambda tx: save_order(tx, charging, world.clock.ms))
    await world.later(2 * HOUR_MS)
    await world.standin.told()
    assert "HOLD_LOST" in await world.cases()
    await world.billed(520)
    await world.paying.step()
    assert await world.moves() == {}
    now = outstanding(await world.store.read(lambda tx: ledger_of(tx, "o")))
    assert (now.is_settled, now.due_minor, now.collected_minor) == (True, 52_000, 0)
    order = await world.order()
    await world.store.transact(lambda tx: ask_top_up(tx, order, 52_000, world.payments, world.clock.ms))
    await world.gateways._due()
    world.standin.books.pay("top-o-1")
    await world.standin.told()
    await world.billed(500, revision=2)
    await world.paying.step()
    assert world.standin.books.totals() == {"captured": 52_000, "refunded": 2_000, "held": 0}
    assert "PAYMENT_REFUSED" not in await world.cases()


async def test_a_top_up_paid_when_nothing_is_due_any_more_goes_back_to_itself(world: World) -> None:
    """The first payment has all gone back: what comes now can only go where it came from."""
    await world.asked()
    world.standin.books.pay("pay-o")
    await world.standin.told()
    await world.billed(600)
    order = await world.order()
    await world.store.transact(lambda tx: ask_top_up(tx, order, 5_000, world.payments, world.clock.ms))
    await world.gateways._due()
    await world.billed(0, revision=2)
    await world.paying.step()
    world.standin.books.pay("top-o-1")
    await world.standin.told()
    await world.paying.step()
    assert world.standin.books.totals() == {"captured": 60_000, "refunded": 60_000, "held": 0}
    assert await world.cases() == []


async def test_what_was_paid_after_the_bill_goes_back_to_that_payment(world: World) -> None:
    """An order confirmed to be paid afterwards: nothing ever came by the payment it was confirmed with."""
    await world.asked()
    await world.billed(500)
    order = await world.order()
    await world.store.transact(lambda tx: ask_top_up(tx, order, 50_000, world.payments, world.clock.ms))
    await world.gateways._due()
    world.standin.books.pay("top-o-1")
    await world.standin.told()
    await world.billed(480, revision=2)
    await world.paying.step()
    assert world.standin.books.totals() == {"captured": 50_000, "refunded": 2_000, "held": 0}
    assert await world.cases() == []


async def test_a_hold_that_lapsed_before_its_capture_is_a_case_and_can_be_tried_again(world: World) -> None:
    world.standin.books.hold_life_s = 3600
    await world.asked(hold=True)
    world.standin.books.pay("pay-o")
    await world.standin.told()
    await world.billed(520)
    world.clock.ms += 2 * HOUR_MS
    world.standin.books.pass_time()
    await world.standin.told()
    await world.paying.step()
    assert (await world.moves())["capture 52000"] == "refused"
    assert "PAYMENT_REFUSED" in await world.cases()
    await world.gateways.reconcile("pay-o")
    assert (await world.moves())["capture 52000"] == "waiting"


async def test_a_hold_that_the_gateway_captured_by_itself_is_a_case_and_gives_back(world: World) -> None:
    await world.asked(hold=True)
    world.standin.books.pay("pay-o")
    await world.standin.told()
    world.standin.books.auto_capture_after_s = 0
    world.standin.books.pass_time()
    await world.standin.told()
    await world.later(25 * HOUR_MS)
    assert await world.cases() == ["GATEWAY_DIFFERS"]
    await world.billed(520)
    await world.paying.step()
    assert world.standin.books.totals() == {"captured": 55_000, "refunded": 3_000, "held": 0}


# --- movements


async def test_a_refund_is_done_when_the_bank_has_done_it(world: World) -> None:
    world.standin.books.refunds_take_time = True
    await world.asked()
    world.standin.books.pay("pay-o")
    await world.standin.told()
    await world.billed(400)
    await world.paying.step()
    assert await world.moves() == {"refund 15000": "sent"}
    assert (await world.order()).refunds == ()
    (refund,) = world.standin.books.refunds.values()
    world.standin.books.settle_refund(refund)
    await world.standin.told()  # the webhook wakes it before its time
    await world.paying.step()
    assert await world.moves() == {"refund 15000": "done"}
    assert [one.txn_ref for one in (await world.order()).refunds] == [refund["id"]]
    assert len(world.standin.books.refunds) == 1


async def test_a_refund_that_failed_at_the_bank_is_a_case(world: World) -> None:
    world.standin.books.refunds_take_time = True
    await world.asked()
    world.standin.books.pay("pay-o")
    await world.standin.told()
    await world.billed(400)
    await world.paying.step()
    (refund,) = world.standin.books.refunds.values()
    world.standin.books.settle_refund(refund, works=False)
    await world.standin.told()
    await world.paying.step()
    assert await world.moves() == {"refund 15000": "refused"}
    assert await world.cases() == ["PAYMENT_REFUSED"]
    await world.gateways.reconcile("pay-o")  # a person has spoken with the bank
    await world.paying.step()
    assert await world.moves() == {"refund 15000": "sent"}
    (_, second) = world.standin.books.refunds.values()
    world.standin.books.settle_refund(second)
    await world.standin.told()
    await world.paying.step()
    assert await world.moves() == {"refund 15000": "done"}
    assert world.standin.books.totals()["refunded"] == 15_000
    assert await world.cases() == ["PAYMENT_REFUSED"]


async def test_a_movement_survives_an_outage_and_a_lost_answer(world: World) -> None:
    await world.asked()
    world.standin.books.pay("pay-o")
    await world.standin.told()
    await world.billed(400)
    world.standin.trouble.outage = 2
    await world.paying.step()
    world.clock.ms += 2_000
    world.standin.trouble.drop_after = 1
    await world.paying.step()
    world.clock.ms += 10_000
    await world.paying.step()
    assert world.standin.books.totals()["refunded"] == 15_000
    assert await world.moves() == {"refund 15000": "done"}
    assert len((await world.order()).refunds) == 1


async def test_a_refund_made_by_hand_at_the_gateway_is_a_case(world: World) -> None:
    await world.asked()
    paid = world.standin.books.pay("pay-o")
    await world.standin.told()
    world.standin.books.refund(paid["id"], {"amount": 100})
    await world.standin.told()
    assert await world.cases() == ["GATEWAY_DIFFERS"]


async def test_what_came_by_a_top_up_goes_back_to_the_top_up(world: World) -> None:
    """No more goes back to a payment than came by it."""
    await world.asked()
    world.standin.books.pay("pay-o")
    await world.standin.told()
    await world.billed(600)
    order = await world.order()
    await world.store.transact(lambda tx: ask_top_up(tx, order, 5_000, world.payments, world.clock.ms))
    await world.gateways._due()
    world.standin.books.pay("top-o-1")
    await world.standin.told()
    assert await world.collected() == 60_000
    await world.billed(0, revision=2)
    await world.paying.step()
    assert world.standin.books.totals() == {"captured": 60_000, "refunded": 60_000, "held": 0}
    assert await world.cases() == []


# --- the page


async def test_the_page_makes_the_payment_payable_and_shows_how_it_stands(world: World) -> None:
    world.standin.trouble.outage = 2  # the worker's first attempt
    await world.asked()
    world.clock.ms += 2_000
    url = f"{world.url}/payments/orderpay/pay-o"
    async with world.http.get(url) as answer:
        text = await answer.text()
        policy = answer.headers["Content-Security-Policy"]
    assert "550.00 INR" in text
    assert "<svg" in text
    assert 'href="upi://pay?' in text
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    world.standin.books.pay("pay-o")
    await world.standin.told()
    async with world.http.get(url) as answer:
        text = await answer.text()
    assert "It is paid" in text
    assert "upi://" not in text
    async with world.http.get(f"{url}x") as answer:
        assert answer.status == 404
    async with world.http.post(url, data={"status": "paid"}) as answer:
        assert answer.status == 405  # nobody pays by pressing a button of ours


async def test_the_page_waits_while_the_gateway_is_away(world: World) -> None:
    world.standin.trouble.outage = -1
    await world.asked()
    async with world.http.get(f"{world.url}/payments/orderpay/pay-o") as answer:
        assert answer.status == 200
        text = await answer.text()
    assert "being prepared" in text
    assert "<svg" not in text


async def test_an_old_page_of_a_top_up_can_still_be_paid(world: World) -> None:
    await world.asked()
    world.standin.books.pay("pay-o")
    await world.standin.told()
    await world.billed(600)
    order = await world.order()
    await world.store.transact(lambda tx: ask_top_up(tx, order, 5_000, world.payments, world.clock.ms))
    await world.gateways._due()
    for _ in range(12):
        await world.later(24 * HOUR_MS)
    assert [row["state"] for row in await world.refs()][-1] == "closed"
    before = len(world.standin.requests)
    async with world.http.get(f"{world.url}/payments/orderpay/top-o-1") as answer:
        assert "<svg" in await answer.text()
    assert [one.path for one in world.standin.requests[before:] if one.method == "POST"] == ["/v1/payments/create/upi"]
    world.standin.books.pay("top-o-1")
    await world.standin.told()
    assert await world.collected() == 60_000
    assert len(world.standin.books.orders) == 2


# --- restarts


async def test_what_was_heard_and_not_used_is_taken_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.asked()
    used = world.gateways._use

    async def fails(_event: Any) -> None:
        raise OSError("the process ended here")

    monkeypatch.setattr(world.gateways, "_use", fails)
    world.standin.books.pay("pay-o")
    await world.standin.told()
    assert {status for _, status in world.standin.webhooks} == {200}
    assert (await world.order()).state is State.INITIALISED
    monkeypatch.setattr(world.gateways, "_use", used)
    world.clock.ms += 6_000
    await world.gateways._events()
    assert (await world.order()).state is State.PAID


async def test_at_start_everything_that_is_not_final_is_asked_about(world: World) -> None:
    await world.asked()
    world.standin.trouble.lose_webhooks = True
    world.standin.books.pay("pay-o")
    worker = asyncio.create_task(world.gateways.run())
    try:
        async with asyncio.timeout(10):
            while (await world.order()).state is not State.PAID:  # noqa: ASYNC110 - the worker has no event to wait for
                await asyncio.sleep(0.01)
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


async def test_asking_again_for_the_same_makes_nothing_new(world: World) -> None:
    await world.asked()
    await world.asked()
    assert len(await world.refs()) == len(world.standin.books.orders) == 1


async def test_a_refund_never_goes_through_a_gateway_the_money_did_not_come_by(world: World) -> None:
    """Another provider was configured meanwhile: it would say "done" and move nothing."""
    await world.asked()
    world.standin.books.pay("pay-o")
    await world.standin.told()
    await world.billed(300)
    other = Paying(
        store=world.store, payments=SimulatedGateway(public_url="http://pay.example", vpa="v@upi", name="P"),
        clock=world.clock, ids=_nothing(), bell=InProcessBell(),
    )  # fmt: skip
    for _ in range(6):
        await other.step()
        world.clock.ms += HOUR_MS
    assert await world.moves() == {"refund 25000": "waiting"}
    assert await world.cases() == ["PAYMENT_STUCK"]
    await world.paying.step()  # the old one again
    assert world.standin.books.totals()["refunded"] == 25_000


async def test_orders_that_were_paid_and_wait_hold_up_nobody_elses_end(world: World) -> None:
    """More of them than are looked at at once: a quotation behind them runs out all the same."""

    def work(tx: Tx) -> None:
        for no in range(101):
            order = replace(
                initialised(f"o{no}", hold=False), state=State.PAID if no < 100 else State.INITIALISED,
                quote_expires_ms=NOW_MS + no,
            )  # fmt: skip
            add_order(tx, order, no=tx.next_no("order"), tracking=f"k{no}", now_ms=NOW_MS)

    await world.store.transact(work)
    upkeep = Upkeep(
        store=world.store, stations=_nothing(), charging=_nothing(), ordering=_nothing(), clock=world.clock,
        frames_days=90, unused_s=60, every_second=[],
    )  # fmt: skip
    await upkeep._orders(NOW_MS + 60_000)
    assert (await world.order("o100")).state is State.EXPIRED
    assert (await world.order("o0")).state is State.PAID
