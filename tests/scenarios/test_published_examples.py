"""Every published Beckn V2 example that is a request, posted as published: only the addresses are ours.

Twice: in the order of the story against a provider that sells what the examples name, and each alone against one
that has never heard of any of it. The examples are not part of the product; without them this is skipped.
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
import pytest_asyncio
from beckn_shop import RATED_KW, Answer, Json, Shop, fast_charger, identity, open_shop
from running import BPP_ID
from schema import shared

from simulators.bap import Bap, Callback
from simulators.pricing import Bill, Quote, cents

BUYER_ID, CDS_BUYER_ID = "example-bap.com", "app.example.com"
ITEM_ID = "IND*ecopower-charging*cs-01*IN*ECO*BTM*01*CCS2*A*CCS2-A"


def requests() -> dict[str, Json]:
    """File name -> message, requests only."""
    base = shared()
    if base is None:
        return {}
    files = sorted((base / "v2" / "examples").glob("*.json"))
    bodies = {file.name: json.loads(file.read_text("utf-8")) for file in files}
    return {name: body for name, body in bodies.items() if not body["context"]["action"].startswith("on_")}


REQUESTS = requests()
pytestmark = [
    pytest.mark.skipif(not REQUESTS, reason="the published Beckn examples are not at hand"),
    pytest.mark.asyncio(loop_scope="module"),
]


@dataclass(slots=True)
class Network:
    """Our provider and the two buyer apps of the examples."""

    shop: Shop
    apps: dict[str, Bap]

    def addressed(self, name: str) -> Json:
        """The example with the addresses replaced; a discover stays addressed to the catalogue service."""
        body: Json = copy.deepcopy(REQUESTS[name])
        context = body["context"]
        context["bap_uri"] = self.apps[context["bap_id"]].uri
        if context["action"] != "discover":
            context |= {"bpp_id": BPP_ID, "bpp_uri": self.shop.server.receiver}
        return body

    async def post(self, name: str) -> Answer:
        body = self.addressed(name)
        return await self.shop.knock(body, signer=self.apps[body["context"]["bap_id"]].identity)

    async def answer(self, name: str) -> Callback:
        """ACK, then the callback of the matching action under the example's own ids."""
        context = self.addressed(name)["context"]
        app = self.apps[context["bap_id"]]
        mark = len(app.received)
        answer = await self.post(name)
        assert answer.is_ack, (name, answer.text)
        told = await app.wait_for(f"on_{context['action']}", context["transaction_id"], after=mark)
        for member in ("domain", "version", "message_id", "bap_id"):
            assert told.context[member] == context[member]
        return told

    def judge(self) -> None:
        """All callbacks so far: signed, addressed, valid."""
        for app in self.apps.values():
            Shop(self.shop.server, app, self.shop.http).judge()


@asynccontextmanager
async def network(folder: Path, provider_id: str) -> AsyncIterator[Network]:
    async with AsyncExitStack() as stack:
        me, cds = identity(BUYER_ID), identity(CDS_BUYER_ID)
        settings = {"beckn": {"provider_id": provider_id}}
        shop = await stack.enter_async_context(open_shop(folder, settings, known=(me, cds)))
        apps = {one.subscriber_id: await stack.enter_async_context(Bap(one, shop.server.registry)) for one in (me, cds)}
        yield Network(shop, apps)


async def stock(shop: Shop) -> None:
    """The connector of the examples, at their price, with their fee."""
    last = {"last_updated": "2026-01-01T00:00:00Z"}
    prices = [{"type": "ENERGY", "price": 45}, {"type": "FLAT", "price": 10}]
    await shop.server.api(
        "PUT",
        "/api/v1/tariffs/ccs2-60kw-kwh",
        {"country_code": "IN", "party_id": "ECO", "id": "ccs2-60kw-kwh", "currency": "INR",
         "elements": [{"price_components": prices}], "pattern": "TOP_UP", **last},
    )  # fmt: skip
    await shop.server.api("POST", "/api/v1/chargers", {"id": "ECO-1", "location_id": "cs-01", "rated_kw": RATED_KW})
    connector = {
        "id": "CCS2-A", "standard": "IEC_62196_T2_COMBO", "format": "CABLE", "power_type": "DC", "max_voltage": 500,
        "max_amperage": 120, "max_electric_power": 60000, "tariff_ids": ["ccs2-60kw-kwh"], **last,
    }  # fmt: skip
    evse = {"uid": "ECO-1", "evse_id": "IN*ECO*BTM*01*CCS2*A", "status": "AVAILABLE", "capabilities": ["RESERVABLE"],
            "connectors": [connector], **last}  # fmt: skip
    await shop.server.api(
        "PUT",
        "/api/v1/locations/cs-01",
        {"country_code": "IN", "party_id": "ECO", "id": "cs-01", "publish": True, "name": "EcoPower BTM Hub",
         "address": "BTM Layout", "city": "Bengaluru", "country": "IND", "time_zone": "Asia/Kolkata",
         "coordinates": {"latitude": "12.9400", "longitude": "77.5900"}, "evses": [evse], **last},
    )  # fmt: skip


def found(told: Callback) -> list[str]:
    return [item["beckn:id"] for catalog in told.body["message"]["catalogs"] for item in catalog["beckn:items"]]


async def test_the_published_story_runs_from_discovery_to_support(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with network(tmp_path_factory.mktemp("story"), "ecopower-charging") as net:
        await stock(net.shop)
        async with fast_charger(net.shop, "ECO-1") as charger:
            await charger.wait_online()
            told: dict[str, Callback] = {}

            async def play(name: str) -> Json:
                told[name] = await net.answer(name)
                assert told[name].error is None, (name, told[name].error)
                order: Json = told[name].order
                return order

            await play("discovery-services-by-a-cpo.json")
            await play("discovery-services-by-a-station.json")
            await play("discovery-within-a-circular-boundary.json")
            await play("discovery-within-boundary-with-connection-spec.json")
            hits = {name: found(callback) for name, callback in told.items()}
            nothing = hits.pop("discovery-services-by-a-station.json")
            assert nothing == []  # it asks for an id the other examples do not know
            assert set(map(tuple, hits.values())) == {(ITEM_ID,)}

            quoted = await play("ev-charging-select.json")
            # 45 x 2.5 kWh, service 10, finder's fee 2.5 % of 112.50
            assert [str(line.value) for line in Quote.of(quoted).lines] == ["112.5", "10.0", "2.81"]
            assert (Quote.of(quoted).value, Quote.of(quoted).unit_price) == (Decimal("125.31"), 45)
            assert quoted["beckn:orderItems"][0]["beckn:acceptedOffer"]["beckn:id"] == "offer-ccs2-60kw-kwh"
            prepared = await play("ev-charging-bpp-payment-init.json")
            assert Quote.of(prepared) == Quote.of(quoted)
            payment = prepared["beckn:payment"]
            # The example's own amount is another: what is asked for is what was quoted.
            assert (payment["beckn:amount"], payment["beckn:beneficiary"], payment["beckn:paymentStatus"]) == (
                {"currency": "INR", "value": 125.31}, "BPP", "INITIATED",
            )  # fmt: skip
            theirs = REQUESTS["ev-charging-bpp-payment-init.json"]["message"]["order"]["beckn:payment"]
            accounts = payment["beckn:paymentAttributes"]["settlementAccounts"]
            assert theirs["beckn:paymentAttributes"]["settlementAccounts"][0] in accounts
            url = payment["beckn:paymentURL"]
            async with net.shop.http.post(url, json={"status": "paid"}) as page:
                assert page.status == 200
            app = net.apps[BUYER_ID]
            transaction_id = REQUESTS["ev-charging-confirm.json"]["context"]["transaction_id"]
            paid = await app.wait_for("on_status", transaction_id)
            assert paid.order["beckn:payment"]["beckn:paymentStatus"] == "COMPLETED"
            assert paid.order["beckn:payment"]["beckn:amount"]["value"] == 125.31
            # The examples go on with an order id of their own invention; the conversation says which is meant.
            confirmed = await play("ev-charging-confirm.json")
            assert confirmed["beckn:orderStatus"] == "CONFIRMED"
            assert confirmed["beckn:id"] == prepared["beckn:id"]
            assert Quote.of(confirmed) == Quote.of(quoted)
            # Whatever the example claims to have paid, the gateway's record is told.
            assert confirmed["beckn:payment"]["beckn:amount"]["value"] == 125.31
            await charger.plug_in()
            waiting = Bill(await play("ev-charging-connector-status.json"))
            assert waiting.session["connectorStatus"] in {"AVAILABLE", "PREPARING"}
            started = Bill(await play("ev-charging-01-session-start-update.json"))
            assert (started.order_status, started.session_status) == ("INPROGRESS", "ACTIVE")

            # A cancel comes too late now, and says so without changing anything.
            late = await net.answer("ev-charging-cancel-reserved-slot.json")
            assert late.error is not None
            assert late.error["code"] == "50001"
            await charger.wait_delivered(1, 500)
            await charger.stop_local()
            bill = await app.wait_for("on_update", transaction_id, is_it=_is_final)
            told_bill = Bill(bill.order)
            assert told_bill.quote.adds_up()
            kwh = told_bill.metered_kwh
            assert kwh is not None
            assert abs(kwh - Decimal(charger.truth[0].delivered_wh) / 1000) <= Decimal("0.001")
            unit = cents(45 * kwh)
            # Units, service fee, finder's fee: of what was delivered, not of what the examples go on naming.
            assert [line.value for line in told_bill.quote.lines] == [unit, 10, cents(unit * Decimal("0.025"))]
            assert told_bill.value == sum(line.value for line in told_bill.quote.lines)
            await app.wait_for("on_status", transaction_id, is_it=lambda c: bool(Bill(c.order).refunds))
            back = [c for c in app.messages(transaction_id, "on_status") if Bill(c.order).refunds]
            assert [Bill(c.order).payment_amount for c in back] == [Decimal("125.31") - told_bill.value]
            rated = told_message(await net.answer("ev-charging-session-rating.json"))
            given = REQUESTS["ev-charging-session-rating.json"]["message"]["ratings"][0]
            assert rated["received"] is True
            assert (rated["aggregate"]["value"], rated["aggregate"]["count"]) == (given["ratingValue"], 1)
            assert "support" in told_message(await net.answer("ev-charging-session-support.json"))
            assert not charger.complaints
        net.judge()


def _is_final(callback: Callback) -> bool:
    return Bill(callback.order).order_status == "COMPLETED"


def told_message(callback: Callback) -> Json:
    assert callback.error is None
    message: Json = callback.body["message"]
    return message


async def test_a_published_reservation_is_cancelled_with_its_published_cancel(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    async with network(tmp_path_factory.mktemp("cancel"), "ecopower-charging") as net:
        await stock(net.shop)
        async with fast_charger(net.shop, "ECO-1") as charger:
            await charger.wait_online()
            for name in ("ev-charging-select.json", "ev-charging-bpp-payment-init.json"):
                assert (await net.answer(name)).error is None
            cancelled = Bill((await net.answer("ev-charging-cancel-reserved-slot.json")).order)
            assert (cancelled.order_status, cancelled.payment_status) == ("CANCELLED", "CANCELLED")
            assert cancelled.refunds == {}  # nothing was paid
        net.judge()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strangers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Network]:
    async with network(tmp_path_factory.mktemp("strangers"), "test-cpo") as net:
        yield net


# What each is told by a provider that has none of it.
_ERRORS: dict[str, str | None] = {
    "discover": None, "select": "30004", "init": "30004", "confirm": "30010", "status": "30010", "rating": "30014",
    "support": None,
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
async def test_each_alone_is_answered_by_a_provider_that_has_none_of_it(strangers: Network, name: str) -> None:
    action = REQUESTS[name]["context"]["action"]
    if action in {"update", "cancel"}:
        # An order that is not there is better refused than acknowledged: the callback's schema wants an order.
        answer = await strangers.post(name)
        assert (answer.status, answer.code) == (400, "30010")
    else:
        told = await strangers.answer(name)
        error: Any = told.error or {"code": None}
        assert error["code"] == _ERRORS[action]
    strangers.judge()
