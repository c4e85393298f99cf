"""Money through a gateway outside the process: a real server, a gateway with its own books, a buyer, a charger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from beckn_shop import PLAIN, Shop, open_shop, selling
from wire import until

from simulators.bap import NackedError
from simulators.buyer import Buyer, Item
from simulators.gateway import Gateway
from simulators.ocpp_charger import Charger

HELD = {"pattern": "HOLD", "buffer_percent": 10, "buffer_min": 20}


@asynccontextmanager
async def market(folder: Path) -> AsyncIterator[tuple[Shop, Gateway]]:
    async with Gateway() as gateway:
        settings = {
            "payments": {
                "provider": "orderpay", "gateway_url": gateway.url, "key_id": gateway.key_id,
                "key_secret": gateway.key_secret, "webhook_secret": gateway.webhook_secret, "reconcile_s": 1,
            },
            "beckn": {"start_timeout_s": 5, "telemetry_every_s": 3600, "telemetry_share": 1},
        }  # fmt: skip
        async with open_shop(folder, settings) as shop:
            gateway.webhook_url = f"{shop.server.public_url}/payments/webhook/orderpay"
            yield shop, gateway


async def initialised(shop: Shop, gateway: Gateway, item: Item) -> Buyer:
    """A buyer whose payment stands at the gateway."""
    buyer = shop.buyer()
    await buyer.select(item, kwh=2)
    await buyer.init()
    url = buyer.payment["beckn:paymentURL"]
    assert "/payments/orderpay/" in url
    async with shop.http.get(url) as page:  # as the driver does; the worker would make it a moment later
        assert page.status == 200
        assert "upi://pay?" in await page.text()
    assert gateway.books.find(buyer.payment["beckn:id"])
    return buyer


async def paid(shop: Shop, gateway: Gateway, item: Item) -> Buyer:
    buyer = await initialised(shop, gateway, item)
    gateway.books.pay(buyer.payment["beckn:id"])
    await confirmed(buyer)
    return buyer


async def confirmed(buyer: Buyer) -> None:
    told = await buyer.wait_for("on_status")
    assert told.order["beckn:orderStatus"] == "PENDING"
    buyer.payment = told.order["beckn:payment"]
    buyer.paid = Decimal(str(buyer.payment["beckn:amount"]["value"]))
    await buyer.confirm()


async def charged(buyer: Buyer, charger: Charger) -> None:
    """One of the two kWh flows."""
    await charger.plug_in()
    await buyer.start()
    await charger.wait_delivered(1, 1000)
    await buyer.stop()


async def payments_of(shop: Shop, buyer: Buyer) -> list[dict[str, Any]]:
    found = await shop.server.api("GET", f"/api/v1/payments?order_id={buyer.order_id}")
    items: list[dict[str, Any]] = found["items"]
    return items


async def is_even(shop: Shop, gateway: Gateway, buyer: Buyer) -> bool:
    """Every movement is done, and the gateway kept what the ledger says was collected."""
    movements = [move for one in await payments_of(shop, buyer) for move in one["movements"]]
    ledger = await shop.server.api("GET", f"/api/v1/orders/{buyer.order_id}/ledger")
    totals = gateway.books.totals()
    kept = Decimal(totals["captured"] - totals["refunded"]) / 100
    figures = ledger["summary"]
    return (
        bool(movements)
        and all(move["status"] == "done" for move in movements)
        and Decimal(ledger["sum"]["amount"]) == 0
        and kept == Decimal(figures["delivered"]["amount"])
        and totals["held"] == 0
    )


async def test_a_lost_webhook_is_found_and_the_rest_goes_back(tmp_path: Path) -> None:
    async with market(tmp_path) as (shop, gateway), selling(shop, "CP-1", tariff=PLAIN) as (charger, item):
        gateway.trouble.lose_webhooks = True
        buyer = await initialised(shop, gateway, item)
        gateway.books.pay(buyer.payment["beckn:id"])
        await confirmed(buyer)
        gateway.trouble.lose_webhooks = False
        await charged(buyer, charger)
        await until(lambda: is_even(shop, gateway, buyer))
        asked = await shop.server.api("POST", f"/api/v1/payments/{buyer.payment['beckn:id']}/reconcile")
        assert asked["items"] == await payments_of(shop, buyer)
        await shop.server.api("POST", "/api/v1/payments/pay-none/reconcile", expect=404)
        (payment,) = await payments_of(shop, buyer)
        assert payment["state"] == "closed"  # all is done and even: nothing more is looked for
        assert {event["kind"] for event in payment["events"]} == {"refund.created", "refund.processed"}
        shop.judge()


async def test_a_hold_is_captured_for_the_bill(tmp_path: Path) -> None:
    async with market(tmp_path) as (shop, gateway), selling(shop, "CP-1", tariff=HELD) as (charger, item):
        gateway.trouble.copies = 2
        buyer = await paid(shop, gateway, item)
        (payment,) = await payments_of(shop, buyer)
        assert (payment["is_hold"], payment["state"]) == (True, "authorized")
        await charged(buyer, charger)
        await until(lambda: is_even(shop, gateway, buyer))
        assert gateway.books.totals()["refunded"] == 0
        (payment,) = await payments_of(shop, buyer)
        assert {move["kind"] for move in payment["movements"]} == {"capture", "release"}
        shop.judge()


@pytest.mark.parametrize(("tariff", "call"), [(PLAIN, "/refund"), (HELD, "/capture")])
async def test_killed_between_the_gateways_act_and_our_record_money_moves_once(
    tmp_path: Path, tariff: dict[str, Any], call: str
) -> None:
    async with market(tmp_path) as (shop, gateway), selling(shop, "CP-1", tariff=tariff) as (charger, item):
        buyer = await paid(shop, gateway, item)
        gateway.trouble.delay_after = {call: 60}  # it acts, and nobody hears of it

        async def has_acted() -> bool:
            return any(one.path.endswith(call) for one in gateway.requests)

        gateway.trouble.lose_webhooks = True
        await charged(buyer, charger)
        await until(has_acted)
        await shop.server.kill()
        gateway.trouble.delay_after = {}
        acted = gateway.books.totals()
        await shop.server.start()
        await until(lambda: is_even(shop, gateway, buyer), 30)
        assert sum(one.path.endswith(call) for one in gateway.requests) == 1
        assert gateway.books.totals() == acted
        cases = (await shop.server.api("GET", "/api/v1/cases"))["items"]
        assert [case["type"] for case in cases if case["severity"] == "money"] == []


async def test_a_webhook_that_nobody_of_ours_signed_changes_nothing(tmp_path: Path) -> None:
    async with market(tmp_path) as (shop, gateway), selling(shop, "CP-1", tariff=PLAIN) as (_, item):
        gateway.trouble.wrong_signature = True
        buyer = await initialised(shop, gateway, item)
        assert gateway.webhook_url is not None
        body = b'{"event":"payment.captured","payload":{}}'
        assert await gateway.post_webhook("evt_1", body) == 401
        other = gateway.webhook_url.replace("orderpay", "simulated")
        async with aiohttp.ClientSession() as http, http.post(other, data=body) as answer:
            assert answer.status == 404
        (payment,) = await payments_of(shop, buyer)
        assert (payment["state"], payment["events"]) == ("made", [])


async def test_the_simulated_buyer_pays_at_the_simulated_gateway(tmp_path: Path) -> None:
    """As `csms-sim bap --gateway` beside `csms-sim gateway`; without it, its page says what is missing."""
    async with market(tmp_path) as (shop, gateway), selling(shop, "CP-1", tariff=PLAIN) as (charger, item):
        buyer = shop.buyer()
        await buyer.select(item, kwh=2)
        await buyer.init()
        with pytest.raises(NackedError, match="--gateway"):
            await buyer.pay()
        shop.bap.gateway = gateway.url.replace("://", f"://{gateway.key_id}:{gateway.key_secret}@")
        await buyer.pay()
        await buyer.confirm()
        await charged(buyer, charger)
        await until(lambda: is_even(shop, gateway, buyer))
        shop.judge()
