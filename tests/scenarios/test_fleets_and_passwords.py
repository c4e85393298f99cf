"""Fleets, one-time passwords, debts and the calendar with a real server: put over REST, bought over signed HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from beckn_shop import PLAIN, RATED_KW, Shop, fast_charger, open_shop
from wire import Station16, until

from csms.messaging.webhook import NoMessenger, NotTaken, WebhookMessenger
from csms.ports import Message
from simulators.bap import RefusedError
from simulators.bodies import Person

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECRET = "telephone-secret"
DRIVER = Person(id="driver", phone="+91 98450 11111")


class Telephone:
    """An SMS gateway: takes signed messages over HTTP. `status` is what it answers next."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.status = 200
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        said = dict(part.split("=", 1) for part in request.headers["X-Signature"].split(","))
        proof = hmac.new(SECRET.encode(), f"{said['t']}.".encode() + body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(proof, said["v1"])
        assert abs(time.time() - int(said["t"])) < 60
        self.keys.append(request.headers["Idempotency-Key"])
        if self.status == 200:
            self.messages.append(json.loads(body))
        return web.Response(status=self.status, headers={"Location": "/elsewhere"})


async def listening(telephone: Telephone) -> web.AppRunner:
    app = web.Application()
    app.router.add_post("/sms", telephone.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    telephone.url = f"http://127.0.0.1:{port}/sms"
    return runner


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def telephone() -> AsyncIterator[Telephone]:
    made = Telephone()
    runner = await listening(made)
    yield made
    await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory, telephone: Telephone) -> AsyncIterator[Shop]:
    settings = {
        "access": {"block_on_due": "all"},
        "beckn": {"start_otp": "fleet"},
        "messages": {"url": telephone.url, "secret": SECRET},
    }
    async with open_shop(tmp_path_factory.mktemp("fleets"), settings) as opened:
        yield opened


async def code_from(telephone: Telephone, count: int) -> str:
    """The newest of `count` messages, once there are so many."""

    async def look() -> list[dict[str, Any]]:
        return telephone.messages if len(telephone.messages) >= count else []

    return str((await until(look))[-1]["code"])


async def test_a_fleets_driver_shows_two_passwords_and_the_fleet_pays_later(shop: Shop, telephone: Telephone) -> None:
    server = shop.server
    await server.sell("FLEET-1", tariff=PLAIN, rated_kw=RATED_KW)
    prices = [{"price_components": [{"type": "ENERGY", "price": 11, "vat": 18}]}]
    tariff = {"country_code": "IN", "party_id": "TST", "currency": "INR", "elements": prices}
    await server.api("PUT", "/api/v1/tariffs/CABS", tariff)
    fleet = {
        "kind": "fleet", "name": "Swift Cabs", "phones": ["9845011111"], "tariff_id": "CABS", "needs_otp": True,
        "postpaid": True, "monthly_limit": "5000",
    }  # fmt: skip
    kept = await server.api("PUT", "/api/v1/fleets/swift", fleet, expect=201)
    assert (kept["id"], kept["phones"], kept["postpaid"]) == ("swift", ["9845011111"], True)
    charger = fast_charger(shop, "FLEET-1")
    async with charger:
        await charger.wait_online()
        await charger.plug_in()
        item = await shop.item("FLEET-1")
        assert "CABS" not in json.dumps(item.raw) + json.dumps(item.offers)
        driver = shop.buyer(person=DRIVER)
        await driver.select(item, kwh=1)
        await driver.init()
        driver.otp = await code_from(telephone, 1)
        assert telephone.messages[0]["to"] == DRIVER.phone
        await driver.confirm()
        order = await server.api("GET", f"/api/v1/orders/{driver.order_id}")
        assert (order["state"], order["fleet_id"], order["on_account"]) == ("CONFIRMED", "swift", True)
        assert driver.order["beckn:orderValue"]["components"][0]["value"] == 11
        first, driver.otp = driver.otp, None
        with pytest.raises(RefusedError) as no:
            await driver.start()
        assert no.value.code == "50002"
        driver.otp = await code_from(telephone, 2)
        assert telephone.messages[1]["purpose"] == "otp_start"
        assert (first, len(set(telephone.keys))) == (telephone.messages[0]["code"], 2)
        await driver.start()
        bill = await driver.wait_for_bill(timeout_s=30)
        assert bill.order_status == "COMPLETED"
        # The fleet's app sees what is to come by the month; nobody is sent to a page to pay.
        assert (bill.payment_status, bill.payment_amount) == ("PENDING", bill.value)
        assert "beckn:paymentURL" not in bill.order["beckn:payment"]
    shop.judge()


async def test_an_operator_sees_forgives_and_parts_debtors(shop: Shop) -> None:
    server = shop.server
    await server.sell("OWES-1", tariff=PLAIN, rated_kw=RATED_KW)
    cp = Station16(server, "OWES-1")
    await cp.connect()
    cp.table["RemoteStopTransaction"] = {"status": "Accepted"}
    await cp.boot()
    await cp.status("Preparing", connector=1)
    buyer = shop.buyer(person=Person(id="u-owes", phone="+91 90000 00055", email="owes@example.com"))
    await buyer.select(await shop.item("OWES-1"), kwh=1)
    await buyer.init()
    await buyer.pay()
    await buyer.confirm()
    tag = str((await server.api("GET", f"/api/v1/orders/{buyer.order_id}"))["token"])
    begun = await cp.start(tag, 0)
    await cp.stop(begun["transactionId"], 1_500)

    async def debts() -> list[dict[str, Any]]:
        return list((await server.api("GET", "/api/v1/debtors"))["items"])

    (debt,) = await until(debts)
    assert (debt["order_id"], debt["amount"]["amount"]) == (buyer.order_id, "10.62")
    assert debt["pay_url"].startswith("http")
    assert sorted(name["kind"] for name in debt["names"]) == ["buyer", "email", "phone"]
    assert "90000" not in json.dumps(debt["names"])
    mail = next(name["id"] for name in debt["names"] if name["kind"] == "email")
    path = f"/api/v1/debtors/{buyer.order_id}"
    await server.api("POST", f"{path}/names/{mail}", {"reason": "a shared mailbox"})
    family = shop.buyer(person=Person(id="u-2", phone="+91 90000 00056", email="owes@example.com"))

    async def may_select() -> list[bool]:
        try:
            await family.select(await shop.item("OWES-1"), kwh=1)
        except RefusedError:
            return []
        return [True]

    assert await until(may_select)
    await server.api("POST", f"{path}/forgive", {"reason": ""}, expect=422)
    given = await server.api("POST", f"{path}/forgive", {"reason": "a power cut"})
    assert given["amount"]["amount"] == "10.62"
    await server.api("POST", f"{path}/forgive", {"reason": "again"}, expect=409)

    async def none() -> list[bool]:
        return [] if await debts() else [True]

    assert await until(none)
    await cp.close()


async def test_the_calendar_of_a_location_shows_what_is_taken_and_free(shop: Shop) -> None:
    server = shop.server
    await server.sell("CAL-1", tariff=PLAIN, rated_kw=RATED_KW, evses=2)
    cp = Station16(server, "CAL-1")
    await cp.connect()
    await cp.boot()
    for connector in (1, 2):
        await cp.status("Available", connector=connector)
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
    end = start + timedelta(hours=1)

    async def sold() -> list[Any]:
        return [item for item in await shop.buyer().discover() if "CAL-1*1" in item.id]

    (item,) = await until(sold)
    buyer = shop.buyer(person=Person(id="u-cal", phone="+91 90000 00066"))
    await buyer.select(item, kwh=1, slot=(start.isoformat(), end.isoformat()))
    await buyer.init()
    await buyer.pay()
    await buyer.confirm()
    day = f"?start={_url(start - timedelta(hours=1))}&end={_url(end + timedelta(hours=1))}"
    calendar = await server.api("GET", f"/api/v1/locations/L-CAL-1/calendar{day}")
    first, second = calendar["evses"]
    assert [(taken["hold"], taken["order_id"]) for taken in first["taken"]] == [("hard", buyer.order_id)]
    assert [_hours(free) for free in first["free"]] == [1, 1]
    assert (second["taken"], [_hours(free) for free in second["free"]]) == ([], [3])
    await server.api("GET", f"/api/v1/locations/L-CAL-1/calendar?start={_url(end)}&end={_url(start)}", expect=422)
    await server.api("GET", "/api/v1/locations/NOWHERE/calendar", expect=404)
    await cp.close()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "club"}, "kind"),
        ({"phones": ["call me"]}, "phones"),
        ({"tariff_id": "NOT-THERE"}, "tariff_id"),
        ({"kind": "loyalty", "postpaid": True}, "discount"),
        ({"monthly_limit": "10"}, "monthly_limit"),
        ({"discount": {"percent": 5}, "offer_id": "X"}, "discount"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_fleet_that_cannot_be_used_is_refused_with_the_member_named(
    shop: Shop, change: dict[str, Any], named: str
) -> None:
    refused = await shop.server.api(
        "PUT", "/api/v1/fleets/wrong", {"kind": "fleet", "name": "Wrong"} | change, expect=422
    )
    assert named in json.dumps(refused)
    await shop.server.api("GET", "/api/v1/fleets/wrong", expect=404)


async def test_fleets_are_listed_and_removed(shop: Shop) -> None:
    api = shop.server.api
    gold = {"kind": "loyalty", "name": "Gold", "discount": {"percent": 10, "cap": "50"}}
    await api("PUT", "/api/v1/fleets/gold", gold, expect=201)
    await api("PUT", "/api/v1/fleets/gold", gold | {"name": "Gold club"}, expect=200)
    assert {one["id"]: one["name"] for one in (await api("GET", "/api/v1/fleets"))["items"]}["gold"] == "Gold club"
    await api("DELETE", "/api/v1/fleets/gold", expect=204)
    await api("DELETE", "/api/v1/fleets/gold", expect=404)


async def test_a_message_that_is_not_taken_is_known_to_be_lost(telephone: Telephone) -> None:
    class Now:
        def now_ms(self) -> int:
            return int(time.time() * 1000)

    message = Message(key="k", to="+91", purpose="otp_start", text="t", code="c", expires_at="x")
    webhook = WebhookMessenger(url=telephone.url, secret=SECRET, clock=Now(), timeout_s=5)
    for status in (302, 400, 503):  # a redirect is not followed: the code is for this address alone
        telephone.status = status
        with pytest.raises(NotTaken, match=str(status)):
            await webhook.send(message)
    telephone.status = 200
    await webhook.send(message)
    with pytest.raises(NotTaken):
        await NoMessenger().send(message)
    await asyncio.sleep(0)


def _url(at: datetime) -> str:
    return at.isoformat().replace("+", "%2B")


def _hours(span: dict[str, str]) -> float:
    start, end = (datetime.fromisoformat(span[name]) for name in ("start_at", "end_at"))
    return (end - start).total_seconds() / 3600
