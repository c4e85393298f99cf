"""Buying and selling over signed HTTP: every action, every refusal, every figure, as a buyer app sees them (BECKN 4).

After each test all callbacks are judged: signed by us, addressed to the buyer, valid against the published schemas.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sqlite3
import uuid
from collections.abc import AsyncIterator, Awaitable
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from beckn_shop import BAP_ID, PLAIN, Answer, Json, Shop, bought, fast_charger, open_shop, selling
from running import BPP_ID
from wire import until

from simulators import bodies
from simulators.bap import RefusedError
from simulators.buyer import Buyer, Item
from simulators.clock import wall_ms, written
from simulators.ocpp_charger import Charger
from simulators.pricing import Bill, Quote

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "gateway-secret"
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
SETTINGS: dict[str, dict[str, Any]] = {
    "beckn": {"start_timeout_s": 2, "telemetry_every_s": 3600, "telemetry_share": 1},
    "payments": {"webhook_secret": SECRET},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path_factory.mktemp("flow"), SETTINGS) as shop:
        yield shop


@pytest_asyncio.fixture(loop_scope="module")
async def shop(open_market: Shop) -> AsyncIterator[Shop]:
    yield open_market
    open_market.judge()


async def refused(asked: Awaitable[Any], code: str) -> Json:
    """The body of the callback that says no with this code."""
    with pytest.raises(RefusedError) as told:
        await asked
    assert told.value.code == code, told.value
    assert " " in told.value.body["error"]["message"]
    body: Json = told.value.body
    return body


async def order_of(shop: Shop, buyer: Buyer) -> Json:
    """The operator's view."""
    order: Json = await shop.server.api("GET", f"/api/v1/orders/{buyer.order_id}")
    return order


async def money_back(shop: Shop, buyer: Buyer, amount: Decimal) -> None:
    """The gateway was told to return it, once, and the books close."""

    async def is_back() -> bool:
        refunds = (await order_of(shop, buyer))["payments"][1:]
        return [Decimal(refund["amount"]["amount"]) for refund in refunds] == [amount]

    await until(is_back)
    ledger = await shop.server.api("GET", f"/api/v1/orders/{buyer.order_id}/ledger")
    assert Decimal(ledger["sum"]["amount"]) == 0


async def is_offline(shop: Shop, charger: Charger) -> bool:
    return not (await shop.server.api("GET", f"/api/v1/chargers/{charger.identity}"))["online"]


def window(start_in_ms: int, length_ms: int = HOUR_MS) -> tuple[str, str]:
    """A slot as RFC 3339, whole seconds."""
    start = (wall_ms() + start_in_ms) // 1000 * 1000
    return written(start), written(start + length_ms)


def granted(order: Json) -> tuple[str, str]:
    preferences = order["beckn:orderAttributes"]["preferences"]
    return preferences["startTime"], preferences["endTime"]


def session_of(order: Json) -> Json:
    attributes: Json = order["beckn:fulfillment"]["beckn:deliveryAttributes"]
    return attributes


# --- the whole way


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_all_ten_actions_from_the_first_look_to_the_rating(shop: Shop, version: str) -> None:
    async with selling(shop, version=version) as (charger, item):
        buyer = shop.buyer()
        quote = await buyer.select(item, kwh=40)
        assert quote.adds_up()
        assert "beckn:id" not in buyer.order
        await buyer.init()
        order_id = buyer.order_id
        await buyer.pay()
        assert buyer.payment["beckn:paymentStatus"] == "COMPLETED"
        assert {"beckn:paidAt", "beckn:txnRef"} <= buyer.payment.keys()
        order = await buyer.confirm()
        assert (order["beckn:id"], order["beckn:orderStatus"]) == (order_id, "CONFIRMED")
        assert session_of(order)["sessionStatus"] == "PENDING"

        assert (await buyer.status()).session["connectorStatus"] == "AVAILABLE"
        await charger.plug_in()

        async def is_plugged() -> bool:
            return bool((await buyer.status()).session["connectorStatus"] == "PREPARING")

        await until(is_plugged)
        waiting = await buyer.status()
        assert (waiting.order_status, waiting.session_status) == ("CONFIRMED", "PENDING")
        tracking = await buyer.track()
        assert tracking["trackingStatus"] == "DISABLED"
        by_order = shop.message("track", {"order": {"beckn:id": order_id}}, transaction_id=buyer.transaction_id)
        assert (await shop.knock(by_order)).is_ack
        told = await shop.callback(by_order)
        assert told.order["beckn:id"] == order_id
        assert told.body["message"]["tracking"]["url"] == tracking["url"]

        started = await buyer.start()
        assert (started.order_status, started.session_status) == ("INPROGRESS", "ACTIVE")
        await charger.wait_delivered(1, 2_000)
        running = await buyer.status()
        assert (running.order_status, running.session_status) == ("INPROGRESS", "ACTIVE")
        telemetry = running.session["chargingTelemetry"]
        energies = [m["value"] for t in telemetry for m in t["metrics"] if m["name"] == "ENERGY"]
        assert energies == sorted(energies)
        assert [t["eventTime"] for t in telemetry] == sorted(t["eventTime"] for t in telemetry)
        assert running.order["beckn:fulfillment"]["trackingAction"]["target"]["url"] == tracking["url"]
        async with shop.http.get(tracking["url"]) as page:
            view = await page.json()
            assert (page.status, view["order_status"], view["final"]) == (200, "ACTIVE", False)
            assert "A. Rao" not in json.dumps(view)
        async with shop.http.get(tracking["url"][:-1] + ("-" if tracking["url"].endswith("_") else "_")) as page:
            assert page.status == 404

        bill = await buyer.stop()
        assert bill is not None
        assert (bill.order_status, bill.session_status) == ("COMPLETED", "COMPLETED")
        assert bill.quote.adds_up()
        truth = Decimal(charger.truth[0].delivered_wh) / 1000
        assert bill.metered_kwh is not None
        assert abs(bill.metered_kwh - truth) <= Decimal("0.001")  # registers show whole Wh
        assert bill.value == buyer_price(buyer, bill)
        assert bill.payment_status == "ADJUSTED"
        await buyer.wait_for("on_status", lambda c: Bill(c.order).payment_status == "PARTIALLY_REFUNDED")
        assert buyer.refunded == buyer.paid - bill.value
        assert (await buyer.track())["trackingStatus"] == "COMPLETED"

        rated = await buyer.rate(4, 'clean, and not a word about "socks" – ₹')
        assert rated["received"] is True
        assert rated["aggregate"] == {"value": 4, "count": 1, "best": 5, "worst": 1}
        assert (await buyer.rate(5))["aggregate"]["value"] == 5  # the last word counts
        assert (await buyer.support())["name"] == "Test CPO"
        await money_back(shop, buyer, buyer.refunded)


async def test_the_worked_figures_to_the_paisa(shop: Shop) -> None:
    """BECKN 4.5: quote 272.34 for 10 kWh, bill 154.20 for 6.4, 118.14 back."""
    tariff = {"pattern": "BUFFER_IN_QUOTE", "surge_percent": 20, "buffer_percent": 10}
    # The register starts on half a Wh, so that its whole Wh show exactly what flows.
    async with selling(shop, tariff=tariff, register_wh=1_000_000.5) as (charger, item):
        offer_id = f"twenty-off-{charger.identity}"
        await shop.server.api(
            "PUT",
            f"/api/v1/offers/{offer_id}",
            {"name": "20 INR off", "label": "Offer: 20 INR off", "flat": 20, "threshold_kwh": 5, "items": [item.id]},
        )
        offered = await offer_named(shop, charger.identity, offer_id)
        buyer = shop.buyer(finder_fee_percent=2.5)
        quote = await buyer.select(item, kwh=10, offer=offered)
        expected = ["180.00", "36.00", "-20.00", "10.00", "37.08", "4.50", "24.76"]
        assert [line.value for line in quote.lines] == [Decimal(value) for value in expected]
        kinds = ["UNIT", "SURCHARGE", "DISCOUNT", "FEE", "TAX", "FEE", "FEE"]
        assert [line.kind for line in quote.lines] == kinds
        assert quote.value == Decimal("272.34")
        assert (await buyer.init()).value == Decimal("272.34")
        await buyer.pay()
        await buyer.confirm()
        await charger.plug_in()
        charger.set_car_limit(6.4)
        await buyer.start()
        await charger.wait_for("a full car", lambda: charger.connectors[1].status == "SuspendedEV")
        bill = await buyer.stop()
        assert bill is not None
        assert bill.metered_kwh == Decimal("6.4")
        final = ["115.20", "23.04", "-20.00", "10.00", "23.08", "2.88"]
        assert [line.value for line in bill.quote.lines] == [Decimal(value) for value in final]
        assert bill.value == Decimal("154.20")
        cost = bill.session["totalCost"]
        assert Decimal(str(cost["inclVat"])) == Decimal("154.20")
        assert Decimal(str(cost["exclVat"])) == Decimal("131.12")
        await buyer.wait_for("on_status", lambda c: Bill(c.order).payment_status == "PARTIALLY_REFUNDED")
        assert buyer.refunded == Decimal("118.14")


async def offer_named(shop: Shop, charger_id: str, offer_id: str) -> Json:
    """An offer as the catalog shows it."""
    return next(offer for offer in (await shop.item(charger_id)).offers if offer["beckn:id"] == offer_id)


# --- discover


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def catalogue(open_market: Shop) -> Shop:
    """FAST: CCS2 60 kW in Bengaluru, open always. SLOW: Type 2, 7 kW, in Delhi, open in the day, with a restaurant."""
    await open_market.server.sell("FAST", tariff=PLAIN)
    await open_market.server.sell("SLOW", tariff=PLAIN)
    connector = {
        "id": "A", "standard": "IEC_62196_T2", "format": "SOCKET", "power_type": "AC_1_PHASE", "max_voltage": 230,
        "max_amperage": 32, "max_electric_power": 7400, "tariff_ids": ["T-SLOW"],
        "last_updated": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    hours = [{"weekday": day, "period_begin": "09:00", "period_end": "18:00"} for day in range(1, 8)]
    await open_market.server.api(
        "PUT",
        "/api/v1/locations/L-SLOW",
        {
            "country_code": "IN", "party_id": "TST", "id": "L-SLOW", "publish": True, "name": "Lotus Garage",
            "address": "7 Ring Road", "city": "Delhi", "country": "IND", "time_zone": "Asia/Kolkata",
            "coordinates": {"latitude": "28.6139", "longitude": "77.2090"}, "facilities": ["RESTAURANT"],
            "opening_times": {"twentyfourseven": False, "regular_hours": hours},
            "evses": [{"uid": "SLOW", "evse_id": "IN*TST*SLOW*1", "status": "AVAILABLE", "connectors": [connector],
                       "last_updated": "2026-01-01T00:00:00Z"}],
            "last_updated": "2026-01-01T00:00:00Z",
        },
    )  # fmt: skip
    await open_market.item("FAST")
    assert (await open_market.item("SLOW")).attributes["connectorType"] == "Type2"
    return open_market


BENGALURU, DELHI = [77.5946, 12.9716], [77.2090, 28.6139]
GEO = "$['beckn:itemAttributes.chargingStation.serviceLocation.geo']"
OLD_GEO = "$['beckn:availableAt'][*]['geo']"


def near(point: list[float], metres: float = 10_000, targets: Any = GEO) -> Json:
    geometry = {"type": "Point", "coordinates": point}
    return {"spatial": [{"op": "s_dwithin", "targets": targets, "geometry": geometry, "distanceMeters": metres}]}


def by(expression: str, *, bare: bool = False) -> Json:
    return {"filters": expression if bare else {"type": "jsonpath", "expression": expression}}


FAST_ID = "IND*test-cpo*L-FAST*IN*TST*FAST*1*1"
SLOW_ID = "IND*test-cpo*L-SLOW*IN*TST*SLOW*1*A"
CCS = "$[?(@.beckn:itemAttributes.connectorType == 'CCS2' && @.beckn:itemAttributes.maxPowerKW >= 50)]"
VEHICLE = "@.beckn:fulfillment.beckn:deliveryAttributes.vehicle"
HOURS = (
    "$[?(@.beckn:itemAttributes.connectorType == 'Type2' && @.beckn:availabilityWindow.schema:startTime <= '{}' && "
    "@.beckn:availabilityWindow.schema:endTime >= '{}')]"
)


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (near(BENGALURU), {FAST_ID}),
        (near(DELHI), {SLOW_ID}),
        (near(DELHI, targets=OLD_GEO), {SLOW_ID}),
        (near(DELHI, targets=["$['somewhere']['else']"]), {SLOW_ID}),
        (near([0, 0]), set()),
        (near(BENGALURU) | by(CCS), {FAST_ID}),
        (near(DELHI) | by(CCS), set()),
        (near(BENGALURU) | by(f"$[?({VEHICLE}.make == 'Tata' && {VEHICLE}.model == 'Nexon-EV')]"), {FAST_ID}),
        (by("$[?(@.beckn:provider.beckn:id == 'test-cpo')]"), {FAST_ID, SLOW_ID}),
        (by("$[?(@['beckn:provider']['beckn:id'] == 'test-cpo')]", bare=True), {FAST_ID, SLOW_ID}),
        (by("$[?(@.beckn:provider.beckn:id == 'ecopower-charging')]"), set()),
        (by(f"$[?(@.beckn:id=='{SLOW_ID}')]"), {SLOW_ID}),
        (by(f"$[?(@['beckn:id']=='{SLOW_ID}')]", bare=True), {SLOW_ID}),
        (by("$[?(@.beckn:itemAttributes.chargingStation.id == 'L-SLOW')]"), {SLOW_ID}),
        (by("$[?(@['beckn:itemAttributes']['evseId']=='IN*TST*FAST*1')]"), {FAST_ID}),
        (by("$[?(@.beckn:id == 'IN*TST*FAST*1')]"), {FAST_ID}),
        (by(HOURS.format("11:30:00", "14:30:00")), {SLOW_ID}),
        (by(HOURS.format("08:30:00", "14:30:00")), set()),
        (by(HOURS.format("11:30:00", "18:30:00")), set()),
        (by("@.beckn:itemAttributes.maxPowerKW < 10 || !(@.beckn:itemAttributes.maxPowerKW < 10)"), {FAST_ID, SLOW_ID}),
        (by("$.beckn:items[?(@.beckn:itemAttributes.powerType != 'DC')]"), {SLOW_ID}),
        (by("$[?(@.beckn:itemAttributes.no.such.thing != 'x')]"), set()),
        ({"text_search": "lotus delhi"}, {SLOW_ID}),
        ({"text_search": "LOTUS restaurant"}, {SLOW_ID}),
        ({"text_search": "lotus mumbai"}, set()),
        ({"text_search": "lotus"} | by(CCS), set()),
        ({"spatial": [{"op": "s_dwithin", "distanceMeters": 5000, "geometry": {
            "type": "LineString", "coordinates": [[77.40, 12.9716], [77.80, 12.9716]]}}]}, {FAST_ID}),
        ({"spatial": [{"op": "s_within", "geometry": {"type": "Polygon", "coordinates": [
            [[77, 28], [78, 28], [78, 29], [77, 29], [77, 28]]]}}]}, {SLOW_ID}),
        (near(BENGALURU) | {"spatial": near(BENGALURU)["spatial"] + near(DELHI)["spatial"]}, set()),
    ],
)  # fmt: skip
async def test_every_published_way_to_look_finds_what_fits(
    catalogue: Shop, shop: Shop, message: Json, found: set[str]
) -> None:
    request = shop.message("discover", message)
    assert (await shop.knock(request)).is_ack
    told = await shop.callback(request)
    assert told.error is None
    catalogs = told.body["message"]["catalogs"]
    items = {item["beckn:id"] for catalog in catalogs for item in catalog["beckn:items"]}
    assert items & {FAST_ID, SLOW_ID} == found
    if not items:
        assert catalogs == []
    for catalog in catalogs:
        covered = {item_id for offer in catalog["beckn:offers"] for item_id in offer["beckn:items"]}
        assert items == covered  # each has a price, and none is offered that is not shown


async def test_a_connector_is_active_in_the_catalog_while_its_charger_is_there(shop: Shop) -> None:
    async with selling(shop) as (charger, item):
        assert item.is_active
        path = f"/api/v1/chargers/{charger.identity}/commands/availability"
        await shop.server.api("POST", path, {"operative": False})
        await charger.wait_for("being out of order", lambda: charger.connectors[1].reported_status == "Unavailable")

        async def is_inactive() -> bool:
            return not (await shop.item(charger.identity)).is_active

        await until(is_inactive)


# --- select


async def test_money_and_time_can_be_ordered_as_well_as_energy(shop: Shop) -> None:
    async with selling(shop) as (_, item):
        buyer = shop.buyer()
        assert (await buyer.select(item, amount=100)).value == 100
        # 100 = (18 e + 10) x 1.18
        quantity = buyer.order["beckn:orderItems"][0]["beckn:quantity"]
        assert (quantity["unitCode"], quantity["unitQuantity"]) == ("INR", 100)
        by_time = await shop.buyer().select(item, minutes=10)
        assert by_time.adds_up()
        assert by_time.value == (Decimal(10) * 18 + 10) * Decimal("1.18")  # 60 kW for ten minutes
        assert (await shop.buyer().select(item)).value == (Decimal(10) * 18 + 10) * Decimal("1.18")  # none said: 10 kWh
        assert (await shop.buyer().select(item, kwh=2.5)).value == (Decimal("2.5") * 18 + 10) * Decimal("1.18")


async def test_selecting_again_prices_again(shop: Shop) -> None:
    async with selling(shop) as (_, item):
        buyer = shop.buyer()
        first = await buyer.select(item, kwh=1)
        second = await buyer.select(item, kwh=2)
        assert second.value - first.value == Decimal(18) * Decimal("1.18")
        assert (await buyer.init()).value == second.value


async def test_an_offer_counts_from_its_threshold_and_only_where_it_holds(shop: Shop) -> None:
    async with selling(shop) as (charger, item), selling(shop) as (_, elsewhere):
        offer_id = f"o-{charger.identity}"
        offer = {"name": "Ten percent", "percent": 10, "cap": 12, "threshold_kwh": 5, "items": [item.id]}
        await shop.server.api("PUT", f"/api/v1/offers/{offer_id}", offer)
        shown = await offer_named(shop, charger.identity, offer_id)
        assert shown["beckn:items"] == [item.id]
        discounts = {}
        for kwh in (4.9, 5, 10):
            quote = await shop.buyer().select(item, kwh=kwh, offer=shown)
            discounts[kwh] = sum(line.value for line in quote.lines if line.kind == "DISCOUNT")
        assert discounts == {4.9: 0, 5: -9, 10: -12}
        dearer = json.loads(json.dumps(shown))
        dearer["beckn:price"]["value"] = 0.01  # what the buyer remembers of our price does not matter
        assert (await shop.buyer().select(item, kwh=5, offer=dearer)).adds_up()
        await refused(shop.buyer().select(elsewhere, kwh=5, offer=shown), "30006")
        await refused(shop.buyer().select(item, kwh=5, offer={**shown, "beckn:id": "no-such-offer"}), "30006")
        base = next(o for o in item.offers if o["beckn:id"] != offer_id)
        assert (await shop.buyer().select(item, kwh=5, offer=base)).adds_up()


async def test_a_finder_fee_may_be_a_sum(shop: Shop) -> None:
    async with selling(shop) as (_, item):
        plain = await shop.buyer().select(item, kwh=1)
        request = shop.select(item)
        request["message"]["order"]["beckn:orderAttributes"] = {
            "@context": bodies.pack("EvChargingSession"), "@type": "ChargingSession",
            "buyerFinderFee": {"feeType": "AMOUNT", "feeValue": 3},
        }  # fmt: skip
        assert (await shop.knock(request)).is_ack
        order = (await shop.callback(request)).order
        assert Quote.of(order).value == plain.value + 3
        assert order["beckn:orderAttributes"]["buyerFinderFee"] == {"feeType": "AMOUNT", "feeValue": 3}


async def test_what_cannot_be_sold_is_rejected_with_its_reason(shop: Shop) -> None:
    async with selling(shop) as (charger, item):
        unknown = Item({**item.raw, "beckn:id": "IND*nobody*nowhere"})
        body = await refused(shop.buyer().select(unknown, kwh=1), "30004")
        assert body["message"]["order"]["beckn:orderStatus"] == "REJECTED"
        assert body["message"]["order"]["beckn:orderItems"][0]["beckn:orderedItem"] == "IND*nobody*nowhere"
        await refused(shop.buyer().select(item, kwh=0.001), "40002")
        await refused(shop.buyer().select(item, amount=0.5), "40002")
        busy = await bought(shop.buyer(), item, kwh=40)
        await charger.plug_in()
        await busy.start()
        await refused(shop.buyer().select(item, kwh=1), "30008")
        await busy.stop()
        await charger.unplug()
        await charger.go_offline()
        await until(lambda: is_offline(shop, charger))
        await refused(shop.buyer().select(item, kwh=1), "30008")
        await charger.go_online()
        await charger.wait_online()


# --- init, payment


async def test_when_we_collect_init_gives_the_order_its_id_and_a_way_to_pay(shop: Shop) -> None:
    async with selling(shop) as (_, item):
        buyer = shop.buyer()
        quote = await buyer.select(item, kwh=1)
        assert await buyer.init() == quote
        first = buyer.order
        payment = first["beckn:payment"]
        assert 0 < len(first["beckn:id"]) <= 64
        assert first["beckn:orderNumber"]
        assert first["beckn:orderStatus"] == "CREATED"
        assert payment["beckn:beneficiary"] == "BPP"
        assert payment["beckn:paymentStatus"] == "INITIATED"
        assert payment["beckn:paymentURL"].startswith("http")
        assert "$" not in payment["beckn:paymentURL"]
        assert payment["beckn:acceptedPaymentMethod"] == ["UPI"]
        assert Decimal(str(payment["beckn:amount"]["value"])) == quote.value
        accounts = payment["beckn:paymentAttributes"]["settlementAccounts"]
        assert [account["beneficiaryId"] for account in accounts] == [BAP_ID, BPP_ID]
        assert first["beckn:buyer"]["beckn:telephone"] == buyer.person.phone
        await buyer.init()
        assert buyer.order["beckn:id"] == first["beckn:id"]
        assert buyer.order["beckn:payment"] == payment


async def test_when_the_buyer_app_collects_it_makes_the_ids(shop: Shop) -> None:
    async with selling(shop) as (charger, item):
        buyer = shop.buyer()
        await buyer.select(item, kwh=1)
        await buyer.init("BAP")
        payment = buyer.payment
        assert buyer.order_id.startswith("order-")
        assert payment["beckn:id"].startswith("pay-")
        assert payment["beckn:beneficiary"] == "BAP"
        assert "beckn:paymentURL" not in payment
        accounts = payment["beckn:paymentAttributes"]["settlementAccounts"]
        assert [account["beneficiaryId"] for account in accounts] == [BAP_ID, BPP_ID]
        await buyer.pay()
        order = await buyer.confirm()
        assert order["beckn:orderStatus"] == "CONFIRMED"
        assert buyer.bap.messages(buyer.transaction_id, "on_status") == []  # it knows that itself
        await charger.plug_in()
        await buyer.start()
        await charger.wait_delivered(1, 500)
        bill = await buyer.stop()
        assert bill is not None
        assert bill.value == buyer_price(buyer, bill)


def buyer_price(buyer: Buyer, bill: Bill) -> Decimal:
    assert buyer.quote is not None
    assert bill.metered_kwh is not None
    return buyer.quote.price_of(bill.metered_kwh)


async def test_an_order_id_that_is_taken_is_refused(shop: Shop) -> None:
    async with selling(shop) as (_, item):
        first = shop.buyer()
        await first.select(item, kwh=1)
        await first.init("BAP")
        for second in (shop.buyer(), shop.buyer()):
            await second.select(item, kwh=1)
            request = shop.message(
                "init",
                bodies.init(second.order, collected_by="BAP", subscriber_id=BAP_ID, order_id=first.order_id,
                            payment_id="pay-x"),
                transaction_id=second.transaction_id,
            )  # fmt: skip
            assert (await shop.knock(request)).is_ack
            error = (await shop.callback(request)).error
            assert error is not None
            assert error["code"] == "30000"
        assert (await first.status()).order["beckn:id"] == first.order_id
        await second.init("BAP")  # with an id of its own it goes on
        assert second.order_id != first.order_id


async def test_a_sticker_is_enough_to_init_without_a_select(shop: Shop) -> None:
    async with selling(shop) as (charger, item):
        buyer = shop.buyer()
        request = shop.select(item)
        order = request["message"]["order"] | {"beckn:orderValue": {"currency": "INR", "value": 1}}
        order["beckn:orderItems"][0]["beckn:orderedItem"] = f"IN*TST*{charger.identity}*1"
        buyer.order = order
        quote = await buyer.init()
        assert quote.value == Decimal(28) * Decimal("1.18")
        assert buyer.order["beckn:orderItems"][0]["beckn:orderedItem"] == item.id


async def test_the_payment_page_shows_the_sum_and_takes_it_once(shop: Shop) -> None:
    async with selling(shop) as (_, item):
        buyer = shop.buyer()
        quote = await buyer.select(item, kwh=1)
        await buyer.init()
        url = buyer.payment["beckn:paymentURL"]
        async with shop.http.get(url) as page:
            assert page.status == 200
            text = await page.text()
            assert f"{quote.value} INR" in text
            assert "upi://pay?" in text
            assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        async with shop.http.post(url, json={"status": "stolen"}) as page:
            assert page.status == 400
        async with shop.http.post(url, data=b"{", headers={"Content-Type": "application/json"}) as page:
            assert page.status == 400
        async with shop.http.post(url + "x", json={"status": "paid"}) as page:
            assert page.status == 404
        for _ in range(3):
            async with shop.http.post(url, data={"status": "paid"}) as page:
                assert page.status == 200
        told = await buyer.wait_for("on_status")
        assert told.order["beckn:orderStatus"] == "PENDING"
        assert told.order["beckn:payment"]["beckn:paymentStatus"] == "COMPLETED"
        assert told.context["message_id"] not in {buyer.bap.received[0].context["message_id"]}
        await asyncio.sleep(0.3)
        assert len(buyer.bap.messages(buyer.transaction_id, "on_status")) == 1


async def hook(shop: Shop, event: Any, secret: str | None = SECRET) -> Answer:
    """A gateway's event at the webhook."""
    raw = event if isinstance(event, bytes) else json.dumps(event).encode()
    headers = {}
    if secret is not None:
        headers["X-Signature"] = "sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    url = f"{shop.server.public_url}/payments/webhook/simulated"
    async with shop.http.post(url, data=raw, headers=headers) as answer:
        found = Answer(answer.status, dict(answer.headers), await answer.text())
    found.assert_silent()
    return found


async def unplaced_money(shop: Shop, payment_id: str) -> list[Json]:
    """The cases about money of this payment that has no place."""
    found = (await shop.server.api("GET", "/api/v1/cases?limit=200"))["items"]
    return [case for case in found if case["type"] == "PAYMENT_UNPLACED" and payment_id in case["text"]]


async def test_money_for_a_payment_that_was_replaced_is_shown_to_a_person(shop: Shop) -> None:
    async with selling(shop) as (_, item):
        buyer = shop.buyer()
        quote = await buyer.select(item, kwh=1)
        await buyer.init()
        paid = {
            "payment_id": buyer.payment["beckn:id"], "status": "paid", "amount": str(quote.value), "reference": "UTR-2",
        }  # fmt: skip
        await buyer.select(item, kwh=3)
        assert (await hook(shop, paid)).status == 200
        assert len(await unplaced_money(shop, paid["payment_id"])) == 1


async def test_a_webhook_counts_when_it_is_signed_true_and_new(shop: Shop) -> None:
    async with selling(shop) as (_, item):
        buyer = shop.buyer()
        quote = await buyer.select(item, kwh=1)
        await buyer.init()
        event = {
            "payment_id": buyer.payment["beckn:id"], "status": "paid", "amount": str(quote.value), "reference": "UTR-1",
        }  # fmt: skip
        assert (await hook(shop, event, None)).status == 401
        assert (await hook(shop, event, "wrong")).status == 401
        for _ in range(2):
            assert (await hook(shop, {**event, "amount": "1.00"})).status == 200
        (unplaced,) = await unplaced_money(shop, event["payment_id"])
        assert "1.00" in unplaced["text"]
        assert (await hook(shop, {**event, "payment_id": "pay-unknown"})).status == 200
        assert len(await unplaced_money(shop, "pay-unknown")) == 1
        # What is signed is kept, and a person is asked where it cannot be understood.
        nonsense = ({"status": "paid"}, {**event, "amount": "much"}, {**event, "payment_id": [1]})
        for broken in (b"", b"{", b"[]", b"7", *nonsense):
            assert (await hook(shop, broken)).status == 200, broken
        unread = await shop.server.api("GET", "/api/v1/cases?type=GATEWAY_EVENT_UNREADABLE")
        assert len(unread["items"]) == 7
        assert (await hook(shop, {**event, "status": "failed"})).status == 200
        await asyncio.sleep(0.2)
        assert (await order_of(shop, buyer))["state"] == "INITIALISED"
        for _ in range(3):
            assert (await hook(shop, event)).status == 200
        told = await buyer.wait_for("on_status")
        assert told.order["beckn:payment"]["beckn:txnRef"] == "UTR-1"
        await asyncio.sleep(0.3)
        assert len(buyer.bap.messages(buyer.transaction_id, "on_status")) == 1
        await buyer.confirm()
        assert (await hook(shop, event)).status == 200
        assert (await order_of(shop, buyer))["state"] == "CONFIRMED"


# --- confirm


async def test_unpaid_is_not_confirmed_whatever_is_claimed(shop: Shop) -> None:
    async with selling(shop) as (_, item):
        buyer = shop.buyer()
        await buyer.select(item, kwh=1)
        await buyer.init()
        body = await refused(buyer.confirm(), "40004")
        assert body["message"]["order"]["beckn:orderStatus"] == "REJECTED"
        asked = buyer.payment
        buyer.payment = {**asked, "beckn:paymentStatus": "COMPLETED", "beckn:txnRef": "TX-made-up"}
        await refused(buyer.confirm(), "40004")
        buyer.payment = asked
        await buyer.pay()
        assert (await buyer.confirm())["beckn:orderStatus"] == "CONFIRMED"


async def test_two_confirms_are_one_order(shop: Shop) -> None:
    async with selling(shop) as (_, item):
        buyer = await bought(shop.buyer(), item)
        order_id = buyer.order_id
        before = (await order_of(shop, buyer))["token"]
        assert (await buyer.confirm())["beckn:id"] == order_id
        after = await order_of(shop, buyer)
        assert after["state"] == "CONFIRMED"
        assert after["token"] == before


# --- start and stop


async def test_what_was_paid_for_starts_though_it_is_not_sold_any_more(shop: Shop) -> None:
    """Its place was renamed, or taken out of the catalogue, after the order was confirmed."""
    async with selling(shop) as (charger, item):
        buyer = await bought(shop.buyer(), item)
        await shop.server.api("DELETE", f"/api/v1/locations/L-{charger.identity}")

        async def is_gone() -> bool:
            return not [one for one in await shop.buyer().discover() if charger.identity in one.names]

        await until(is_gone)
        await charger.plug_in()
        assert (await buyer.start()).session_status == "ACTIVE"
        assert (await buyer.wait_for_bill()).order_status == "COMPLETED"


async def test_a_start_with_the_charger_offline_leaves_the_order_confirmed(shop: Shop) -> None:
    async with selling(shop) as (charger, item):
        buyer = await bought(shop.buyer(), item)
        await charger.plug_in()
        await charger.go_offline()
        await until(lambda: is_offline(shop, charger))
        body = await refused(buyer.start(), "30008")
        assert body["message"]["order"]["beckn:orderStatus"] == "CONFIRMED"
        assert (await buyer.status()).session["connectorStatus"] == "UNAVAILABLE"
        await charger.go_online()
        await charger.wait_online()
        assert (await buyer.start()).session_status == "ACTIVE"
        await buyer.stop()


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_start_the_charger_rejects_leaves_the_order_confirmed(shop: Shop, version: str) -> None:
    async with selling(shop, version=version) as (charger, item):
        buyer = await bought(shop.buyer(), item)
        await charger.plug_in()
        charger.connectors[1].is_operative = False  # and it did not say so
        body = await refused(buyer.start(), "40000")
        assert body["message"]["order"]["beckn:orderStatus"] == "CONFIRMED"
        assert (await order_of(shop, buyer))["state"] == "CONFIRMED"
        charger.connectors[1].is_operative = True
        assert (await buyer.start()).session_status == "ACTIVE"
        await buyer.stop()


async def test_a_start_that_is_accepted_and_never_happens_leaves_the_order_confirmed(shop: Shop) -> None:
    async with selling(shop, faults=["remote_start_accepted_silent"]) as (charger, item):
        buyer = await bought(shop.buyer(), item)
        await charger.plug_in()
        body = await refused(buyer.start(), "40000")
        assert body["message"]["order"]["beckn:orderStatus"] == "CONFIRMED"
        assert (await order_of(shop, buyer))["state"] == "CONFIRMED"
        assert (await buyer.cancel()).payment_status == "REFUNDED"


async def test_a_stop_of_a_start_that_never_happens_is_answered_too(shop: Shop) -> None:
    async with selling(shop, faults=["remote_start_accepted_silent"]) as (charger, item):
        buyer = await bought(shop.buyer(), item)
        await charger.plug_in()
        starting = asyncio.create_task(buyer.start())

        async def is_starting() -> bool:
            return bool((await order_of(shop, buyer))["state"] == "STARTING")

        await until(is_starting)
        mark = len(shop.bap.received)
        context = await buyer._send("update", buyer.tongue.stop(buyer.order))
        await refused(starting, "40000")
        told = await buyer.wait_for("on_update", lambda c: c.context["message_id"] == context["message_id"], after=mark)
        assert told.error is None
        assert (Bill(told.order).order_status, Bill(told.order).session_status) == ("CONFIRMED", "PENDING")


async def test_start_and_stop_under_one_message_id_are_two_messages(shop: Shop) -> None:
    """As published: both updates carry the same transaction and message id (BECKN 1.6)."""
    async with selling(shop) as (charger, item):
        buyer = await bought(shop.buyer(), item, kwh=40)
        await charger.plug_in()
        message_id = str(uuid.uuid4())

        def update(session: str, order: str) -> Json:
            message = bodies.update(buyer.order, session_status=session, order_status=order)
            return shop.message("update", message, transaction_id=buyer.transaction_id, message_id=message_id)

        start = update("PENDING", "CONFIRMED")
        assert (await shop.knock(start)).is_ack
        active = await shop.callback(start)
        assert Bill(active.order).session_status == "ACTIVE"
        # A true repeat of the start starts nothing and brings the same answer once more.
        mark = len(shop.bap.received)
        assert (await shop.knock(start)).is_ack
        assert (await shop.callback(start, after=mark)).body == active.body
        await charger.wait_delivered(1, 300)
        mark = len(shop.bap.received)
        assert (await shop.knock(update("STOP", "INPROGRESS"))).is_ack
        ended = await shop.callback(start, after=mark)
        assert Bill(ended.order).order_status == "COMPLETED"
        assert len(charger.truth) == 1


async def test_starting_twice_and_stopping_twice_tell_the_present_state(shop: Shop) -> None:
    async with selling(shop) as (charger, item):
        buyer = await bought(shop.buyer(), item, kwh=40)
        await charger.plug_in()
        await buyer.start()
        assert (await buyer.start()).session_status == "ACTIVE"
        assert len(charger.truth) == 1
        bill = await buyer.stop()
        assert bill is not None
        again = await buyer.stop()
        assert again is not None
        assert again.value == bill.value
        await refused(buyer.start(), "50002")


async def test_stop_before_start_is_refused(shop: Shop) -> None:
    async with selling(shop) as (_, item):
        buyer = await bought(shop.buyer(), item)
        body = await refused(buyer.stop(), "50002")
        assert body["message"]["order"]["beckn:orderStatus"] == "CONFIRMED"
        unconfirmed = shop.buyer()
        await unconfirmed.select(item, kwh=1)
        await unconfirmed.init()
        await refused(unconfirmed.start(), "50002")


async def test_what_was_bought_ends_by_itself_and_is_told_unasked(shop: Shop) -> None:
    async with selling(shop) as (charger, item):
        buyer = await bought(shop.buyer(), item, kwh=40)
        await charger.plug_in()
        await buyer.start()
        await charger.wait_delivered(1, 300)
        await charger.stop_local()
        bill = await buyer.wait_for_bill()
        assert bill.value == buyer_price(buyer, bill)
        told = buyer.bap.messages(buyer.transaction_id, "on_update")
        assert len({c.context["message_id"] for c in told}) == len(told)


# --- cancel


async def test_a_cancel_before_the_start_gives_everything_back(shop: Shop) -> None:
    async with selling(shop) as (charger, item):
        buyer = await bought(shop.buyer(), item)
        mark = len(shop.bap.received)
        cancelled = await buyer.cancel()
        assert cancelled.order_status == "CANCELLED"
        assert cancelled.payment_status == "REFUNDED"
        assert cancelled.payment["beckn:beneficiary"] == "BUYER"
        assert cancelled.payment_amount == buyer.paid
        assert cancelled.payment["beckn:id"] != buyer.payment["beckn:id"]
        assert (await buyer.cancel()).order_status == "CANCELLED"
        await money_back(shop, buyer, buyer.paid)
        back = Bill((await buyer.wait_for("on_status", lambda c: "beckn:fulfillment" not in c.order, after=mark)).order)
        assert (back.order_status, back.payment_status) == ("CANCELLED", "REFUNDED")
        assert back.payment["beckn:id"] == cancelled.payment["beckn:id"]
        assert (back.payment_amount, back.payment["beckn:txnRef"][:3]) == (buyer.paid, "RF-")
        await refused(buyer.start(), "50002")
        assert await charger.present_tag((await order_of(shop, buyer)).get("token") or "x") is False
        await refused(buyer.confirm(), "50002")


async def test_a_charger_that_is_sold_is_not_deleted_until_the_sale_is_called_off(shop: Shop) -> None:
    async with selling(shop) as (charger, item):
        buyer = await bought(shop.buyer(), item)
        path = f"/api/v1/chargers/{charger.identity}"
        problem = await shop.server.api("DELETE", path, expect=409)
        assert buyer.order_id in str(problem)
        told = await shop.server.api("POST", f"/api/v1/orders/{buyer.order_id}/cancel", {"reason": "roadworks"})
        assert (told["state"], told["cancel_reason"], told["cancelled_by"]) == ("CANCELLED", "roadworks", "provider")
        cancelled = Bill((await buyer.wait_for("on_cancel")).order)
        assert (cancelled.order_status, cancelled.payment_amount) == ("CANCELLED", buyer.paid)
        await money_back(shop, buyer, buyer.paid)
        await shop.server.api("DELETE", path)


async def test_a_cancel_of_what_was_never_paid_moves_no_money(shop: Shop) -> None:
    async with selling(shop) as (_, item):
        buyer = shop.buyer()
        await buyer.select(item, kwh=1)
        await buyer.init()
        cancelled = await buyer.cancel()
        assert (cancelled.order_status, cancelled.payment_status) == ("CANCELLED", "CANCELLED")
        # Money that comes after all is not kept.
        async with shop.http.post(buyer.payment["beckn:paymentURL"], json={"status": "paid"}) as page:
            assert page.status == 200
        assert (await order_of(shop, buyer))["state"] == "CANCELLED"
        await money_back(shop, buyer, Decimal(str(buyer.payment["beckn:amount"]["value"])))


async def test_a_cancel_after_the_start_is_refused(shop: Shop) -> None:
    async with selling(shop) as (charger, item):
        buyer = await bought(shop.buyer(), item, kwh=40)
        await charger.plug_in()
        await buyer.start()
        body = await refused(buyer.cancel(), "50001")
        assert body["message"]["order"]["beckn:orderStatus"] == "INPROGRESS"
        assert (await buyer.status()).session_status == "ACTIVE"
        await buyer.stop()
        await refused(buyer.cancel(), "50001")


@pytest.mark.parametrize("form", ["bare", "array", "line"])
async def test_every_published_form_of_a_cancel_is_understood(shop: Shop, form: str) -> None:
    async with selling(shop) as (_, item):
        buyer = await bought(shop.buyer(), item)
        order: Json = {"beckn:id": buyer.order_id}
        if form == "line":
            order["beckn:orderItems"] = [{"beckn:orderedItem": item.id}]
        message = {"order": [order] if form == "array" else order}
        request = shop.message("cancel", message, transaction_id=buyer.transaction_id)
        assert (await shop.knock(request)).is_ack
        assert Bill((await shop.callback(request)).order).order_status == "CANCELLED"


# --- slots


async def test_a_taken_slot_is_answered_with_the_next_free_one(shop: Shop) -> None:
    async with selling(shop) as (charger, item):
        wanted = window(3 * HOUR_MS)
        first, second = shop.buyer(), shop.buyer()
        await first.select(item, kwh=1, slot=wanted)
        assert granted(first.order) == wanted
        await first.init()  # holds it while the quote lives
        overlapping = window(3 * HOUR_MS + 30 * MINUTE_MS)
        await second.select(item, kwh=1, slot=overlapping)
        assert granted(second.order)[0] == wanted[1]
        await first.pay()
        order = await first.confirm()
        assert session_of(order)["reservationId"]
        assert session_of(order)["gracePeriodMinutes"] == 10
        booked = await shop.server.api("GET", f"/api/v1/reservations?charger_id={charger.identity}")
        assert [(r["status"], r["order_id"]) for r in booked["items"]] == [("ACCEPTED", first.order_id)]
        await refused(first.start(), "50002")  # hours too early
        # Given back, it is free again.
        assert (await first.cancel()).payment_status == "REFUNDED"
        third = shop.buyer()
        await third.select(item, kwh=1, slot=wanted)
        assert granted(third.order) == wanted


async def test_two_buyers_at_once_get_two_slots(shop: Shop) -> None:
    async with selling(shop) as (_, item):
        wanted = window(5 * HOUR_MS)
        buyers = [shop.buyer() for _ in range(4)]

        async def buy(buyer: Buyer) -> tuple[str, str]:
            await buyer.select(item, kwh=1, slot=wanted)
            await buyer.init()
            return granted(buyer.order)

        slots = await asyncio.gather(*(buy(buyer) for buyer in buyers), return_exceptions=True)
        got = [slot for slot in slots if not isinstance(slot, BaseException)]
        assert len(set(got)) == len(got)
        assert wanted in got
        for slot in slots:  # who came second at the hold is told so, and may select again
            assert not isinstance(slot, BaseException) or isinstance(slot, RefusedError), slot


async def test_an_order_that_gets_another_id_keeps_its_slot_and_a_paid_one_its_id(shop: Shop) -> None:
    async with selling(shop) as (charger, item):
        wanted = window(7 * HOUR_MS)
        buyer = shop.buyer()
        await buyer.select(item, kwh=1, slot=wanted)
        ids = set()
        for _ in range(3):
            await buyer.init("BAP")  # with a new id each time
            ids.add(buyer.order_id)
            assert granted(buyer.order) == wanted
        assert len(ids) == 3
        held = (await shop.server.api("GET", f"/api/v1/reservations?charger_id={charger.identity}"))["items"]
        assert [(r["status"], r["order_id"]) for r in held] == [("REQUESTED", buyer.order_id)]

        paid = shop.buyer()
        await paid.select(item, kwh=1)
        await paid.init()
        order_id = paid.order_id
        await paid.pay()
        await refused(paid.init("BAP"), "50002")
        assert (await paid.confirm())["beckn:id"] == order_id


async def test_a_late_cancel_of_a_slot_costs_what_the_tariff_says(shop: Shop) -> None:
    tariff = {**PLAIN, "cancellation": {"free_minutes": 1440, "percent": 30}}
    async with selling(shop, tariff=tariff) as (_, item):
        early = await bought(shop.buyer(), item, slot=window(48 * HOUR_MS))
        assert (await early.cancel()).payment_status == "REFUNDED"
        late = await bought(shop.buyer(), item, slot=window(3 * HOUR_MS))
        cancelled = await late.cancel()
        assert cancelled.payment_status == "PARTIALLY_REFUNDED"
        assert cancelled.value + cancelled.payment_amount == late.paid
        assert cancelled.quote.adds_up()
        fee = next(line.value for line in cancelled.quote.lines if line.kind == "FEE")
        assert Decimal("0.29") < cancelled.value / late.paid < Decimal("0.37"), (fee, late.paid)


async def test_what_cannot_be_reserved_is_not_reserved(catalogue: Shop, shop: Shop) -> None:
    slow = await shop.item("SLOW")
    assert not slow.attributes.get("reservationSupported")
    await refused(shop.buyer().select(slow, kwh=1, slot=window(3 * HOUR_MS)), "30008")


# --- rating


@pytest.mark.parametrize("value", [0, 6, -1, 1000, None, "good"])
async def test_a_rating_beyond_its_scale_is_refused_at_once(shop: Shop, value: Any) -> None:
    message = bodies.rating("anything", 1, "ORDER", None)
    message["ratings"][0]["ratingValue"] = value
    answer = await shop.knock(shop.message("rating", message))
    assert (answer.status, answer.code) == (400, "30015")


async def test_only_what_was_used_can_be_rated(shop: Shop) -> None:
    request = shop.message("rating", bodies.rating("no-such-order", 5, "ORDER", None))
    assert (await shop.knock(request)).is_ack
    told = await shop.callback(request)
    assert told.error is not None
    assert told.error["code"] == "30014"
    assert told.body["message"] == {"received": False}


# --- time


@pytest.mark.slow
async def test_a_quote_that_runs_out_frees_its_slot_and_a_no_show_pays_its_fee(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("time")
    async with open_shop(folder, {"limits": {"quote_life_s": 2}}) as shop:
        tariff = {**PLAIN, "cancellation": {"free_minutes": 15, "percent": 50}}
        await shop.server.sell("CP-T", tariff=tariff)
        item = await shop.item("CP-T")
        wanted = window(3 * HOUR_MS)
        slow = shop.buyer()
        await slow.select(item, kwh=1, slot=wanted)
        await slow.init()

        async def is_expired() -> bool:
            return bool((await order_of(shop, slow))["state"] == "EXPIRED")

        await until(is_expired, 10)
        told = await slow.status()
        assert (told.order_status, told.payment_status) == ("CANCELLED", "EXPIRED")
        await refused(slow.confirm(), "50002")
        async with shop.http.post(slow.payment["beckn:paymentURL"], json={"status": "paid"}) as page:
            assert page.status == 200
        await money_back(shop, slow, Decimal(str(slow.payment["beckn:amount"]["value"])))

        quick = await bought(shop.buyer(), item, slot=wanted)
        assert granted(quick.order if "beckn:orderAttributes" in quick.order else slow.order) == wanted
        # Nobody comes, though the charger was there: the day passes while the server is down.
        async with fast_charger(shop, "CP-T") as charger:
            await charger.wait_online()
        await pass_the_day(shop)
        told_off = await quick.wait_for("on_cancel")
        cancelled = Bill(told_off.order)
        assert cancelled.order_status == "CANCELLED"
        assert cancelled.payment_status == "PARTIALLY_REFUNDED"
        assert cancelled.value + cancelled.payment_amount == quick.paid
        assert len(shop.bap.messages(quick.transaction_id, "on_cancel")) == 1
        shop.judge()


async def pass_the_day(shop: Shop) -> None:
    """Every slot and its grace are over when the server is back."""
    await shop.server.stop()
    with sqlite3.connect(shop.server.data_dir / "csms.db") as database:
        database.execute("UPDATE reservations SET start_ms = 1, expires_ms = 2 WHERE status = 'ACCEPTED'")
    database.close()
    await shop.server.start()


@pytest.mark.slow
async def test_a_slot_that_its_charger_did_not_keep_costs_its_buyer_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """One was never there, the other said no for as long as the slot lasted."""
    async with open_shop(tmp_path_factory.mktemp("unkept"), {"limits": {"reserve_ahead_s": 14_400}}) as shop:
        tariff = {**PLAIN, "cancellation": {"free_minutes": 15, "percent": 50}}
        wanted = window(3 * HOUR_MS)
        await shop.server.sell("CP-ABSENT", tariff=tariff)
        buyers = [await bought(shop.buyer(), await shop.item("CP-ABSENT"), slot=wanted)]
        async with selling(shop, tariff=tariff) as (charger, item):
            await charger.plug_in()
            await charger.wait_for("the car being told", lambda: charger.connectors[1].reported_status != "Available")
            buyers.append(await bought(shop.buyer(), item, slot=wanted))

            async def is_refused() -> bool:
                query = f"/api/v1/reservations?order_id={buyers[1].order_id}"
                (found,) = (await shop.server.api("GET", query))["items"]
                return bool(found["charger"] == "refused")

            await until(is_refused)
        await pass_the_day(shop)
        for buyer in buyers:
            told = Bill((await buyer.wait_for("on_cancel")).order)
            assert (told.order_status, told.payment_status) == ("CANCELLED", "REFUNDED")
            await money_back(shop, buyer, buyer.paid)
        shop.judge()


async def test_what_was_bought_and_never_started_is_given_back_after_a_while(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    async with open_shop(tmp_path_factory.mktemp("unused"), {"limits": {"unused_s": 1}}) as shop:
        async with selling(shop) as (_, item):
            buyer = await bought(shop.buyer(), item)
            told = Bill((await buyer.wait_for("on_cancel")).order)
            assert (told.order_status, told.payment_status) == ("CANCELLED", "REFUNDED")
            await money_back(shop, buyer, buyer.paid)
        shop.judge()
