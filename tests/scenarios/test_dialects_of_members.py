"""Loyalty, fleets and one-time passwords, in both generations: who buys changes the price, a telephone proves it.

A small postman stands in for whoever sends short messages; the passwords shown are those it was given.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from beckn_shop import Json, Shop, open_shop
from dialect_world import PRICE, as_delivered, books_close, charged, comes_back, meeting, paise, prepaid, worth
from worlds import schemas

from simulators.bap import RefusedError
from simulators.buyer import Buyer

pytestmark = pytest.mark.asyncio(loop_scope="module")

DIALECTS = ["v2", "uei", "deg"]
FLEET_PRICE = Decimal(12)


@dataclass(slots=True)
class Postman:
    """Takes the messages meant for drivers. `url` is where."""

    url: str = ""
    taken: list[Json] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, request: web.Request) -> web.Response:
        said = await request.json()
        assert request.headers["X-Signature"].startswith("t=")
        async with self._news:
            self.taken.append(said)
            self._news.notify_all()
        return web.Response()

    async def code(self, phone: str, after: int = 0) -> str:
        """The first password sent to a number since `after` messages."""

        def mine() -> list[Json]:
            return [said for said in self.taken[after:] if said["to"].endswith(phone[-10:])]

        async with asyncio.timeout(10), self._news:
            while not mine():
                await self._news.wait()
            return str(mine()[0]["code"])


@asynccontextmanager
async def postman() -> AsyncIterator[Postman]:
    made = Postman()
    app = web.Application()
    app.router.add_post("/messages", made.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/messages"
    try:
        yield made
    finally:
        await runner.cleanup()


@dataclass(frozen=True, slots=True)
class Town:
    """A market whose drivers have telephones."""

    shop: Shop
    post: Postman


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with postman() as post:
        settings: dict[str, dict[str, Any]] = {
            "beckn": {"start_timeout_s": 2, "telemetry_every_s": 3600, "telemetry_share": 1, "start_otp": "fleet"},
            "messages": {"url": post.url, "secret": "between-us"},
        }
        async with open_shop(tmp_path_factory.mktemp("members"), settings) as shop:
            shop.bap.schemas = schemas()
            yield Town(shop, post)


@pytest_asyncio.fixture(loop_scope="module")
async def town(open_town: Town) -> AsyncIterator[Town]:
    yield open_town
    problems, open_town.shop.bap.problems = open_town.shop.bap.problems, []
    assert problems == []


async def enrol(shop: Shop, buyer: Buyer, kind: str, **terms: Any) -> str:
    """Make the buyer's number a member of a new fleet or programme."""
    name = f"{kind}-{buyer.person.phone[-4:]}"
    body = {"kind": kind, "name": name, "phones": [buyer.person.phone], **terms}
    await shop.server.api("PUT", f"/api/v1/fleets/{name}", body)
    return name


async def fleet_tariff(shop: Shop) -> str:
    """12 INR/kWh with GST and no fee, for fleets only."""
    parts = [{"type": "ENERGY", "price": float(FLEET_PRICE), "vat": 18}]
    tariff = {
        "country_code": "IN", "party_id": "TST", "id": "T-FLEET", "currency": "INR", "pattern": "TOP_UP",
        "elements": [{"price_components": parts}], "last_updated": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    await shop.server.api("PUT", "/api/v1/tariffs/T-FLEET", tariff)
    return "T-FLEET"


def fleet_worth(kwh: Decimal) -> Decimal:
    net = paise(FLEET_PRICE * kwh)
    return net + paise(net * Decimal("0.18"))


def is_asked(buyer: Buyer) -> bool:
    """Whether the order asks for a password. V2 has no place to ask (BECKN 4.8)."""
    if buyer.tongue.name == "v2":
        return True
    first: Json = buyer.order["fulfillments"][0]["stops"][0]
    return first.get("authorization") == {"type": "OTP"}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_loyalty_takes_its_part_off_what_was_really_charged(town: Town, dialect: str) -> None:
    async with meeting(town.shop, dialect) as (charger, buyer, item):
        await enrol(town.shop, buyer, "loyalty", discount={"percent": 10})
        await prepaid(buyer, item, kwh=20)
        assert dialect == "v2" or not is_asked(buyer)
        # By init at the latest (BECKN 4.6).
        assert buyer.read(buyer.order).value == worth(Decimal(20), Decimal(-36))
        bill = await charged(charger, buyer, 1_000)
        assert bill.metered_kwh is not None
        off = paise(paise(PRICE * bill.metered_kwh) * Decimal("0.1"))
        assert bill.value == worth(bill.metered_kwh, -off)
        await comes_back(town.shop, buyer, buyer.paid - bill.value)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_fleet_pays_its_own_price_by_the_month_and_its_driver_shows_a_password(
    town: Town, dialect: str
) -> None:
    async with meeting(town.shop, dialect) as (charger, buyer, item):
        await enrol(town.shop, buyer, "fleet", tariff_id=await fleet_tariff(town.shop), postpaid=True)
        quote = await buyer.select(item, kwh=10)
        assert quote.value == fleet_worth(Decimal(10))
        await buyer.init()
        mark = len(town.post.taken)
        assert buyer.read(await buyer.confirm()).order_status == "CONFIRMED"  # nothing was paid
        assert is_asked(buyer)
        code = await town.post.code(buyer.person.phone, mark)
        await charger.plug_in()
        with pytest.raises(RefusedError):
            await buyer.start()
        buyer.otp = "000000" if code != "000000" else "111111"
        with pytest.raises(RefusedError):
            await buyer.start()
        assert not charger.truth
        buyer.otp = code
        assert (await buyer.start()).session_status == "ACTIVE"
        await charger.wait_delivered(1, 1_000)
        bill = await buyer.stop()
        assert bill is not None
        as_delivered(charger, bill)
        assert bill.metered_kwh is not None
        assert bill.value == fleet_worth(bill.metered_kwh)
        assert buyer.refunded == 0
        await books_close(town.shop, buyer)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_fleets_price_holds_only_for_whom_the_password_was_sent_to(town: Town, dialect: str) -> None:
    async with meeting(town.shop, dialect) as (charger, buyer, item):
        await enrol(town.shop, buyer, "fleet", tariff_id=await fleet_tariff(town.shop), needs_otp=True)
        assert (await buyer.select(item, kwh=10)).value == worth(Decimal(10))  # nothing is proven yet
        mark = len(town.post.taken)
        await buyer.init()
        assert is_asked(buyer)
        code = await town.post.code(buyer.person.phone, mark)
        await buyer.pay()
        buyer.otp = "000000" if code != "000000" else "111111"
        with pytest.raises(RefusedError):
            await buyer.confirm()
        buyer.otp, mark = code, len(town.post.taken)
        confirmed = buyer.read(await buyer.confirm())
        assert confirmed.value == fleet_worth(Decimal(10))
        buyer.otp = await town.post.code(buyer.person.phone, mark)  # the one for the start
        bill = await charged(charger, buyer, 1_000)
        assert bill.metered_kwh is not None
        assert bill.value == fleet_worth(bill.metered_kwh)
        await comes_back(town.shop, buyer, worth(Decimal(10)) - bill.value)
