"""Debts and orders' tokens at chargers: who owes begins nothing, and an order is for one session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from beckn_shop import PLAIN, RATED_KW, Shop, open_shop
from wire import Station16, Station201, at, sessions, token, until

from simulators.bap import RefusedError
from simulators.bodies import Person
from simulators.buyer import Buyer, Item

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path_factory.mktemp("debts"), {"access": {"block_on_due": "all"}}) as opened:
        yield opened


async def started(shop: Shop, cp: Station16, person: Person, *, evses: int = 1) -> tuple[Buyer, str, int]:
    """A kWh is bought and charging at connector 1: its buyer, the order's token, the transaction."""
    await shop.server.sell(cp.id, tariff=PLAIN, rated_kw=RATED_KW, evses=evses)
    await cp.connect()
    cp.table["RemoteStopTransaction"] = {"status": "Accepted"}
    await cp.boot()
    for connector in range(1, evses + 1):
        await cp.status("Preparing", connector=connector)
    buyer = shop.buyer(person=person)
    await buyer.select(await on_sale(shop, cp.id), kwh=1)
    await buyer.init()
    await buyer.pay()
    await buyer.confirm()
    tag = str((await shop.server.api("GET", f"/api/v1/orders/{buyer.order_id}"))["token"])
    begun = await cp.start(tag, 0)
    assert begun["idTagInfo"]["status"] == "Accepted"
    return buyer, tag, begun["transactionId"]


async def on_sale(shop: Shop, charger_id: str) -> Item:
    """The catalog's entry, once the catalogue has been read again."""
    expression = f"$[?(@.beckn:itemAttributes.evseId == 'IN*TST*{charger_id}*1')]"

    async def look() -> list[Item]:
        return await shop.buyer().discover(expression=expression)

    (found,) = await until(look)
    assert isinstance(found, Item)
    return found


async def until_owing(shop: Shop, uid: str, count: int) -> list[dict[str, Any]]:
    """What blocks a token, once it is so many debts."""

    async def look() -> list[list[dict[str, Any]]]:
        blocked_by = (await shop.server.api("GET", f"/api/v1/tokens/{uid}"))["blocked_by"]
        return [blocked_by] if len(blocked_by) == count else []

    (found,) = await until(look)
    return list(found)


async def test_who_owes_begins_nothing_until_it_is_paid(shop: Shop) -> None:
    server, person = shop.server, Person(id="user-debt", phone="+91 90000 00001")
    await token(server, "DEBTOR", driver="090000-00001")
    await token(server, "OTHER", driver="+91 90000 00002")
    await server.api("PUT", "/api/v1/vehicles/AABBCCDDEE31", {"token": "DEBTOR"})
    cp = Station16(server, "DEBT-16")
    async with Station201(server, "DEBT-201") as cs:
        buyer, _, number = await started(shop, cp, person)
        await cs.boot()
        before = at()
        assert (await cs.authorize("DEBTOR"))["status"] == "Accepted"
        await cp.stop(number, 1500)  # half a kWh more than was ordered
        (due,) = await until_owing(shop, "DEBTOR", 1)
        assert (due["order_id"], due["amount"]["currency"]) == (buyer.order_id, "INR")
        assert float(due["amount"]["amount"]) > 0
        for name in ("DEBTOR", "AABBCCDDEE31"):
            assert await cp.authorize(name) == {"status": "Blocked"}
            assert (await cs.authorize(name))["status"] == "Blocked"
        refused = await cp.start("DEBTOR", 1500, when=at())
        assert refused["idTagInfo"] == {"status": "Blocked"}
        await cp.stop(refused["transactionId"], 1500, reason="DeAuthorized")
        offline = await cs.event("Started", "before", "Authorized", token="DEBTOR", wh=0, when=before, offline=True)
        assert offline["idTokenInfo"]["status"] == "Blocked"  # for its cache
        assert (await sessions(server, cs.id))[0]["state"] == "ACTIVE"  # but it owed nothing then
        assert await cp.authorize("OTHER") == {"status": "Accepted"}
        again = shop.buyer(person=person)
        with pytest.raises(RefusedError) as no:
            await again.select(await on_sale(shop, cp.id), kwh=1)
        assert no.value.code == "50000"
        assert "/payments/" in str(no.value)  # and where to pay it
        await buyer.pay_due()
        assert await until_owing(shop, "DEBTOR", 0) == []
        assert await cp.authorize("DEBTOR") == {"status": "Accepted"}
        assert (await cs.authorize("DEBTOR"))["status"] == "Accepted"
        await again.select(await on_sale(shop, cp.id), kwh=1)
        await again.init()
    await cp.close()


async def test_an_orders_token_at_a_second_connector_is_refused_and_shown_to_a_person(shop: Shop) -> None:
    cp = Station16(shop.server, "FRAUD-16")
    buyer, tag, number = await started(shop, cp, Person(id="user-fraud", phone="+91 90000 00003"), evses=2)
    second = cp.start_of(tag, 0, connector=2)
    refused = await cp.ask("StartTransaction", second)
    assert refused["idTagInfo"] == {"status": "ConcurrentTx"}
    assert await cp.ask("StartTransaction", second) == refused
    first, other = await sessions(shop.server, cp.id)
    assert (first["state"], first["order_id"]) == ("ACTIVE", buyer.order_id)
    assert (other["state"], other["order_id"]) == ("STOPPING", None)
    cases = (await shop.server.api("GET", f"/api/v1/cases?charger_id={cp.id}"))["items"]
    assert [(case["type"], case["severity"], case["session_id"]) for case in cases] == [("FRAUD", "money", other["id"])]
    await cp.stop(number, 500)
    await cp.close()


async def test_debts_are_known_after_a_restart(shop: Shop) -> None:
    await token(shop.server, "LATER", driver="later@example.com")
    cp = Station16(shop.server, "DEBT-LATER")
    buyer, _, number = await started(shop, cp, Person(id="u", phone="+91 90000 00004", email="Later@Example.com"))
    await cp.stop(number, 3000)
    (due,) = await until_owing(shop, "LATER", 1)
    assert due["order_id"] == buyer.order_id
    await cp.close()
    await shop.server.stop()
    await shop.server.start()
    assert await until_owing(shop, "LATER", 1) == [due]  # the ledger knows
