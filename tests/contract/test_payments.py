"""One body of tests for every payment gateway: a new adapter adds a parameter and a way to let its driver pay."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from csms.payments.orderpay import OrderpayGateway
from csms.payments.simulated import SimulatedGateway
from csms.ports import (
    Collection,
    GatewayAway,
    GatewayRefused,
    MoneyState,
    PaymentRequest,
    Payments,
    RemoteMoney,
    UnreadableEvent,
)
from simulators.gateway import Gateway

PREPAID = Collection(
    receipt="r" * 32, payment_id="pay-o1", amount_minor=55_000, currency="INR", hold=False, note="Charging",
    expires_ms=4_000_000_000_000,
)  # fmt: skip
HOLD = replace(PREPAID, receipt="h" * 32, payment_id="pay-o2", hold=True)


@dataclass
class World:
    """An adapter, and the driver on the other side."""

    payments: Payments
    pay: Callable[[Collection], Any]
    standin: Gateway | None = None

    async def paid(self, of: Collection, **sums: int) -> Collection:
        """Prepared and paid by the driver, as our rows would know it then."""
        prepared = await self.payments.prepare(of)
        self.pay(of)
        money = await self.money(replace(of, remote_id=prepared.remote_id))
        return replace(of, remote_id=prepared.remote_id, remote_payment_id=money.remote_payment_id, **sums)

    async def money(self, of: Collection) -> RemoteMoney:
        view = await self.payments.look(of)
        assert view is not None
        return view.attempts[0]


@pytest.fixture(params=["simulated", "orderpay"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "simulated":
        local = SimulatedGateway(public_url="http://pay.example", vpa="cpo@bank", name="CPO", webhook_secret="s")
        yield World(local, lambda of: local.pay(of, held=of.hold))
        return
    async with elsewhere() as there:
        yield there


@asynccontextmanager
async def elsewhere() -> AsyncIterator[World]:
    """The adapter for a gateway that is reached over HTTP."""
    async with Gateway() as standin:
        adapter = OrderpayGateway(
            base_url=standin.url, key_id=standin.key_id, key_secret=standin.key_secret,
            webhook_secret=standin.webhook_secret, public_url="http://pay.example", timeout_s=0.5,
        )  # fmt: skip
        yield World(adapter, lambda of: standin.books.pay(of.receipt), standin)
        await adapter.close()


async def test_a_link_is_given_without_asking_anybody_and_is_the_same_twice(world: World) -> None:
    request = PaymentRequest(
        payment_id="pay-o1", order_id="o1", amount_minor=100, currency="INR", hold=False, note="n", expires_ms=1
    )
    link = world.payments.link(request)
    assert link == world.payments.link(request)
    assert link.url == f"http://pay.example/payments/{world.payments.name}/pay-o1"
    assert world.standin is None or world.standin.requests == []


async def test_what_is_prepared_twice_is_made_once_and_can_be_paid_by_upi(world: World) -> None:
    first, second = await world.payments.prepare(PREPAID), await world.payments.prepare(PREPAID)
    assert first.remote_id == second.remote_id
    assert first.upi_intent.startswith("upi://pay?")
    assert "am=550.00" in first.upi_intent


async def test_a_prepaid_payment_is_captured_when_it_is_paid(world: World) -> None:
    of = await world.paid(PREPAID)
    money = await world.money(of)
    assert (money.state, money.amount_minor, money.captured_minor, money.refunded_minor, money.currency) == (
        MoneyState.CAPTURED, 55_000, 55_000, 0, "INR",
    )  # fmt: skip


async def test_a_hold_is_captured_for_the_bill_and_the_rest_goes_back(world: World) -> None:
    of = await world.paid(HOLD, taken_minor=52_000, released_minor=3_000)
    assert (await world.money(of)).state is MoneyState.AUTHORIZED
    assert (await world.payments.capture(of, 52_000, "o2:CAPTURE")).is_done
    assert (await world.payments.release(of, 3_000, "o2:RELEASE")).is_done
    money = await world.money(of)
    assert (money.state, money.captured_minor, money.refunded_minor) == (MoneyState.CAPTURED, 52_000, 0)


async def test_a_hold_of_which_nothing_is_taken_ends(world: World) -> None:
    of = await world.paid(HOLD, released_minor=55_000)
    assert (await world.payments.release(of, 55_000, "o2:RELEASE")).is_done
    assert (await world.money(of)).state is MoneyState.VOIDED
    assert (await world.payments.release(of, 55_000, "o2:RELEASE")).is_done


async def test_a_movement_asked_twice_happens_once(world: World) -> None:
    of = await world.paid(HOLD, taken_minor=50_000, released_minor=5_000)
    captured = [await world.payments.capture(of, 50_000, "o2:CAPTURE") for _ in range(2)]
    refunded = [await world.payments.refund(of, 10_000, "o2:REFUND") for _ in range(3)]
    assert len({moved.ref for moved in captured}) == len({moved.ref for moved in refunded}) == 1
    money = await world.money(of)
    assert (money.captured_minor, money.refunded_minor) == (50_000, 10_000)


async def test_two_refunds_of_the_same_sum_are_two(world: World) -> None:
    of = await world.paid(PREPAID)
    refs = {(await world.payments.refund(of, 1_000, f"o1:REFUND:{n}")).ref for n in range(2)}
    assert len(refs) == 2
    assert (await world.money(of)).refunded_minor == 2_000


async def test_no_more_is_refunded_than_was_captured(world: World) -> None:
    of = await world.paid(PREPAID)
    await world.payments.refund(of, 50_000, "o1:REFUND:1")
    asked = len(world.standin.requests) if world.standin is not None else 0
    with pytest.raises(GatewayRefused):
        await world.payments.refund(of, 5_001, "o1:REFUND:2")
    assert (await world.money(of)).refunded_minor == 50_000
    if world.standin is not None:  # it is not even asked
        assert not [one for one in world.standin.requests[asked:] if one.path.endswith("/refund")]


async def test_no_more_is_captured_than_was_held(world: World) -> None:
    of = await world.paid(HOLD, taken_minor=55_001)
    with pytest.raises(GatewayRefused):
        await world.payments.capture(of, 55_001, "o2:CAPTURE")
    assert (await world.money(of)).captured_minor == 0


@pytest.mark.parametrize("amount_minor", [0, -1])
async def test_only_positive_sums_move(world: World, amount_minor: int) -> None:
    of = await world.paid(HOLD)
    for move in (world.payments.capture, world.payments.release, world.payments.refund):
        with pytest.raises(GatewayRefused):
            await move(of, amount_minor, "k")


async def test_a_webhook_is_genuine_only_with_our_signature(world: World) -> None:
    for signature in ("", "sha256=00", "ü", "0" * 64):
        for name in ("X-Signature", "X-Orderpay-Signature"):
            assert world.payments.is_genuine({name: signature}, b"{}") is False


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b"null", b"\xff", b"[" * 100_000, b'{"event": 7}', b'{"payment_id": [1]}']
)
async def test_an_event_that_cannot_be_read_says_so(world: World, body: bytes) -> None:
    with pytest.raises(UnreadableEvent):
        world.payments.event({}, body)


# --- what only a gateway elsewhere can suffer


@pytest.fixture
async def remote() -> AsyncIterator[World]:
    async with elsewhere() as there:
        yield there


async def test_an_outage_is_trouble_and_no_answer(remote: World) -> None:
    assert remote.standin is not None
    of = await remote.paid(PREPAID)
    remote.standin.trouble.outage = -1
    for call in (remote.payments.prepare(of), remote.payments.look(of), remote.payments.refund(of, 1, "k")):
        with pytest.raises(GatewayAway):
            await call
    remote.standin.trouble.outage = 0
    await remote.payments.refund(of, 1, "k")


@pytest.mark.parametrize("how", ["drop_after", "delay_s"])
async def test_an_answer_that_is_lost_after_the_act_moves_once(remote: World, how: str) -> None:
    standin = remote.standin
    assert standin is not None
    of = await remote.paid(HOLD, taken_minor=50_000, released_minor=5_000)
    for move, amount_minor, key in (
        (remote.payments.capture, 50_000, "o2:CAPTURE"),
        (remote.payments.refund, 9_000, "o2:REFUND"),
    ):
        spoilt = 1 if how == "drop_after" else 2.0
        before = len(standin.requests)
        setattr(standin.trouble, how, spoilt)
        with pytest.raises(GatewayAway):
            await move(of, amount_minor, key)
        setattr(standin.trouble, how, 0)
        assert await move(of, amount_minor, key)
        posted = [one for one in standin.requests[before:] if one.method == "POST"]
        assert len(posted) <= 1 or how == "delay_s"
    assert standin.books.totals() == {"captured": 50_000, "refunded": 9_000, "held": 0}


async def test_an_order_whose_answer_was_lost_is_found_by_its_receipt(remote: World) -> None:
    assert remote.standin is not None
    remote.standin.trouble.drop_after = 1
    with pytest.raises(GatewayAway):
        await remote.payments.prepare(PREPAID)
    prepared = await remote.payments.prepare(PREPAID)
    assert list(remote.standin.books.orders) == [prepared.remote_id]


async def test_a_hold_that_the_gateway_captured_whole_gives_back_by_refund(remote: World) -> None:
    standin = remote.standin
    assert standin is not None
    of = await remote.paid(HOLD, taken_minor=52_000, released_minor=3_000)
    standin.books.auto_capture_after_s = 0
    standin.books.pass_time()
    assert (await remote.payments.capture(of, 52_000, "o2:CAPTURE")).is_done
    for _ in range(2):
        assert (await remote.payments.release(of, 3_000, "o2:RELEASE")).is_done
    assert standin.books.totals() == {"captured": 55_000, "refunded": 3_000, "held": 0}


async def test_a_part_of_a_hold_waits_for_the_capture(remote: World) -> None:
    of = await remote.paid(HOLD, released_minor=40_000)
    assert not (await remote.payments.release(of, 40_000, "o2:RELEASE:1")).is_done
    assert (await remote.money(of)).state is MoneyState.AUTHORIZED
    of = replace(of, taken_minor=11_000, released_minor=44_000)
    await remote.payments.capture(of, 11_000, "o2:CAPTURE")
    assert (await remote.payments.release(of, 40_000, "o2:RELEASE:1")).is_done


async def test_a_hold_that_has_lapsed_cannot_be_captured(remote: World) -> None:
    standin = remote.standin
    assert standin is not None
    standin.books.hold_life_s = 0
    of = await remote.paid(HOLD, taken_minor=1)
    standin.books.pass_time()
    with pytest.raises(GatewayRefused, match="voided"):
        await remote.payments.capture(of, 1, "o2:CAPTURE")


async def test_a_refund_the_bank_takes_time_for_is_sent_then_done(remote: World) -> None:
    standin = remote.standin
    assert standin is not None
    standin.books.refunds_take_time = True
    of = await remote.paid(PREPAID)
    first = await remote.payments.refund(of, 100, "k")
    assert not first.is_done
    standin.books.settle_refund(standin.books.refunds[first.ref])
    assert await remote.payments.refund(of, 100, "k") == replace(first, is_done=True)


async def test_wrong_keys_are_trouble_that_can_be_mended(remote: World) -> None:
    assert remote.standin is not None
    of = await remote.paid(PREPAID)
    remote.standin.key_secret = "changed"
    with pytest.raises(GatewayAway, match="401"):
        await remote.payments.refund(of, 1, "k")


async def test_a_genuine_event_is_read(remote: World) -> None:
    standin = remote.standin
    assert standin is not None
    told: list[tuple[str, bytes]] = []
    standin.webhook_url = "http://127.0.0.1/unused"
    standin._send = lambda event_id, body: told.append((event_id, body))  # type: ignore[method-assign]
    of = await remote.paid(PREPAID)
    await remote.payments.refund(of, 100, "o1:REFUND")
    events = {}
    for event_id, body in told:
        signed = hmac.new(standin.webhook_secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"x-orderpay-signature": signed, "X-ORDERPAY-EVENT-ID": event_id}
        assert remote.payments.is_genuine(headers, body) is True
        assert remote.payments.is_genuine(headers, body + b" ") is False
        event = remote.payments.event(headers, body)
        assert event.event_id == event_id
        events[event.kind] = event
    captured = events["payment.captured"]
    assert captured.money is not None
    assert (captured.remote_id, captured.payment_id) == (of.remote_id, "pay-o1")
    assert (captured.money.state, captured.money.captured_minor) == (MoneyState.CAPTURED, 55_000)
    assert events["order.paid"].receipt == of.receipt
    refund = events["refund.processed"].refund
    assert refund is not None
    assert (refund.key, refund.state, refund.amount_minor) == ("o1:REFUND", "done", 100)
