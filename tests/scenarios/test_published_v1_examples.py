"""The published Beckn 1.1.0 requests, posted as published: only the addresses and the item's id are ours.

All five share one id for transaction and messages, their totals do not add up (a claim of 40 for a quotation of 32),
their order id is an invention, their times lie years back: the answers are right all the same. Without the examples
this is skipped.
"""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from beckn_shop import RATED_KW, Json, Shop, fast_charger, identity, open_shop
from running import BPP_ID
from schema import shared
from worlds import schemas

from simulators.bap import Bap, Callback
from simulators.reading_v1 import BillV1

BUYER_ID = "example-bap.com"


def requests() -> dict[str, Json]:
    """Action -> message, requests only."""
    base = shared()
    if base is None:
        return {}
    bodies = [json.loads(file.read_text("utf-8")) for file in sorted((base / "v1" / "examples").glob("*.json"))]
    actions = {str(body["context"]["action"]): body for body in bodies}
    return {action: body for action, body in actions.items() if not action.startswith("on_")}


REQUESTS = requests()
pytestmark = pytest.mark.skipif(not REQUESTS, reason="the published Beckn examples are not at hand")


@dataclass(slots=True)
class Network:
    """Our provider and the buyer app of the examples. `item_id`: what we call the item they name."""

    shop: Shop
    app: Bap
    item_id: str = ""

    def addressed(self, action: str) -> Json:
        body: Json = copy.deepcopy(REQUESTS[action])
        context = body["context"]
        context["bap_uri"] = self.app.uri
        if action != "search":
            context |= {"bpp_id": BPP_ID, "bpp_uri": self.shop.server.receiver}
        for item in body["message"].get("order", {}).get("items", []):
            item["id"] = self.item_id
        return body

    async def answer(self, action: str) -> Callback:
        """ACK in the shape of this generation, then the callback under the example's own ids."""
        body, mark = self.addressed(action), len(self.app.received)
        answer = await self.shop.knock(body, signer=self.app.identity)
        assert (answer.status, answer.body) == (200, {"message": {"ack": {"status": "ACK"}}})
        told = await self.app.wait_for(f"on_{action}", body["context"]["transaction_id"], after=mark)
        for member in ("domain", "version", "message_id", "bap_id", "location"):
            assert told.context[member] == body["context"][member]
        assert told.error is None
        return told


@asynccontextmanager
async def network(folder: Path) -> AsyncIterator[Network]:
    """A provider by the examples' name, with a connector at their price where they look for one."""
    async with AsyncExitStack() as stack:
        me = identity(BUYER_ID)
        settings = {"beckn": {"provider_id": "chargezone.in"}}
        shop = await stack.enter_async_context(open_shop(folder, settings, known=(me,)))
        app = await stack.enter_async_context(Bap(me, shop.server.registry, schemas()))
        await stock(shop)
        await stack.enter_async_context(fast_charger(shop, "PE-1"))
        net = Network(shop, app)
        yield net
        assert app.problems == []


async def stock(shop: Shop) -> None:
    last = {"last_updated": "2026-01-01T00:00:00Z"}
    await shop.server.api(
        "PUT",
        "/api/v1/tariffs/eight",
        {"country_code": "IN", "party_id": "CHZ", "id": "eight", "currency": "INR", "pattern": "TOP_UP",
         "elements": [{"price_components": [{"type": "ENERGY", "price": 8}]}], **last},
    )  # fmt: skip
    await shop.server.api("POST", "/api/v1/chargers", {"id": "PE-1", "location_id": "pe-site", "rated_kw": RATED_KW})
    connector = {
        "id": "1", "standard": "IEC_62196_T2_COMBO", "format": "CABLE", "power_type": "DC", "max_voltage": 500,
        "max_amperage": 120, "max_electric_power": 60000, "tariff_ids": ["eight"], **last,
    }  # fmt: skip
    evse = {"uid": "PE-1", "evse_id": "IN*CHZ*PE-1", "status": "AVAILABLE", "connectors": [connector], **last}
    await shop.server.api(
        "PUT",
        "/api/v1/locations/pe-site",
        {"country_code": "IN", "party_id": "CHZ", "id": "pe-site", "publish": True, "name": "Site",
         "address": "1 Main Road", "city": "Bengaluru", "country": "IND", "time_zone": "Asia/Kolkata",
         "coordinates": {"latitude": "12.4234", "longitude": "77.3256"}, "evses": [evse], **last},
    )  # fmt: skip


async def found(net: Network) -> list[Json]:
    """The items of the published search; what an operator has just put shows a moment later."""
    told = await net.answer("search")
    return [item for provider in told.body["message"]["catalog"]["providers"] for item in provider["items"]]


async def quoted(net: Network) -> tuple[Json, BillV1]:
    """Search and select: the item, and the quotation."""
    (item,) = await found(net)
    net.item_id = item["id"]
    return item, BillV1((await net.answer("select")).order)


def figures(bill: BillV1) -> list[Decimal]:
    assert bill.quote.adds_up()
    return [line.value for line in bill.quote.lines]


async def test_the_published_story_is_answered_with_our_figures(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        item, quotation = await quoted(net)
        assert (Decimal(item["price"]["value"]), item["descriptor"]["code"]) == (8, "energy")
        assert figures(quotation) == [32]  # 4 kWh at 8
        assert quotation.quote.unit_price == 8
        prepared = BillV1((await net.answer("init")).order)
        assert figures(prepared) == [32]
        (payment,) = prepared.payments
        # Their confirm will claim 40; asked for is what was quoted.
        assert (payment["status"], Decimal(payment["params"]["amount"]), payment["params"]["currency"]) == (
            "NOT-PAID", 32, "INR",
        )  # fmt: skip
        phone = prepared.order["billing"]["phone"]
        assert phone == "+919876522222"
        await net.app.pay(payment["url"], "paid")
        transaction_id = REQUESTS["init"]["context"]["transaction_id"]
        paid = await net.app.wait_for("on_status", transaction_id)
        assert paid.context["message_id"] != REQUESTS["init"]["context"]["message_id"]
        assert BillV1(paid.order).payment_status == "COMPLETED"
        confirmed = BillV1((await net.answer("confirm")).order)
        assert (confirmed.order_status, confirmed.session_status) == ("CONFIRMED", "PENDING")
        assert figures(confirmed) == [32]
        assert [Decimal(one["params"]["amount"]) for one in confirmed.payments] == [32]
        # The order id in their cancel is nobody's: the conversation says which order is meant.
        cancelled = BillV1((await net.answer("cancel")).order)
        assert cancelled.order_status == "CANCELLED"
        assert cancelled.order["id"] == confirmed.order["id"] != REQUESTS["cancel"]["message"]["order_id"]
        assert figures(cancelled)[-1] == cancelled.value == -32
        order = await net.shop.server.api("GET", f"/api/v1/orders/{cancelled.order['id']}")
        assert order["state"] == "CANCELLED"


async def test_the_published_confirm_is_no_proof_of_payment(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        await quoted(net)
        await net.answer("init")
        body, mark = net.addressed("confirm"), len(net.app.received)
        assert (await net.shop.knock(body, signer=net.app.identity)).status == 200
        told = await net.app.wait_for("on_confirm", body["context"]["transaction_id"], after=mark)
        error: Any = told.error
        assert error["code"] == "40004"


async def test_a_search_elsewhere_finds_nothing(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        body = net.addressed("search")
        circle = body["message"]["intent"]["fulfillment"]["stops"][0]["location"]["circle"]
        circle["gps"] = "28.6139,77.2090"
        assert (await net.shop.knock(body, signer=net.app.identity)).status == 200
        told = await net.app.wait_for("on_search", body["context"]["transaction_id"])
        assert told.error is None
        providers = told.body["message"]["catalog"].get("providers", [])
        assert [item for provider in providers for item in provider.get("items", [])] == []
