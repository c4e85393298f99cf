"""A slot that was sold over Beckn, and the charger it is at: told, used, given back, refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from beckn_shop import Shop, bought, open_shop, selling
from wire import until

from simulators.bap import RefusedError
from simulators.buyer import Buyer, Item

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]
# The soonest that is a slot and no walk-in; a minute later its holder may start.
SOON = timedelta(minutes=15, seconds=3)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    # Chargers are told an hour ahead here, so that a slot that was just bought is told at once.
    settings = {"limits": {"reserve_ahead_s": 3600}}
    async with open_shop(tmp_path_factory.mktemp("slots"), settings) as open_:
        yield open_
        open_.judge()


async def buy(shop: Shop, item: Item) -> Buyer:
    start = datetime.now(UTC) + SOON
    slot = tuple(t.isoformat(timespec="seconds").replace("+00:00", "Z") for t in (start, start + timedelta(hours=1)))
    return await bought(shop.buyer(), item, slot=slot)


async def reservation(shop: Shop, buyer: Buyer, **wanted: Any) -> Json:
    async def look() -> Json | None:
        (found,) = (await shop.server.api("GET", f"/api/v1/reservations?order_id={buyer.order_id}"))["items"]
        return found if all(found[name] == value for name, value in wanted.items()) else None

    found: Json = await until(look)
    return found


VERSIONS = pytest.mark.parametrize("version", ["1.6", "2.0.1"])


@VERSIONS
async def test_a_sold_slot_is_told_to_the_charger_and_used_by_its_buyer(shop: Shop, version: str) -> None:
    async with selling(shop, f"SLOT-USE-{version}", version=version) as (charger, item):
        buyer = await buy(shop, item)
        held = await reservation(shop, buyer, charger="holds")
        assert (held["status"], held["hold"]) == ("ACCEPTED", "hard")
        kept = charger.connectors[1].reservation
        assert kept == (held["id"], held["token"])
        await charger.wait_for("the socket being kept", lambda: charger.connectors[1].reported_status == "Reserved")
        await charger.plug_in()

        async def started() -> bool:
            try:
                await buyer.start()
            except RefusedError as refusal:
                if "reserved time" not in str(refusal):
                    raise
                return False
            return True

        await until(started)
        used = await reservation(shop, buyer, status="USED")
        assert used["charger"] == "gone"
        await buyer.stop()


@VERSIONS
async def test_an_order_that_is_given_back_frees_the_charger(shop: Shop, version: str) -> None:
    async with selling(shop, f"SLOT-BACK-{version}", version=version) as (charger, item):
        buyer = await buy(shop, item)
        await reservation(shop, buyer, charger="holds")
        assert (await buyer.cancel()).payment_status == "REFUNDED"
        await reservation(shop, buyer, status="CANCELLED", charger="gone")
        await charger.wait_for("the socket being free", lambda: charger.connectors[1].reservation is None)
        assert charger.connectors[1].reported_status == "Available"


@VERSIONS
async def test_a_refused_slot_stays_sold_and_is_told_again_when_the_socket_is_free(shop: Shop, version: str) -> None:
    async with selling(shop, f"SLOT-NO-{version}", version=version) as (charger, item):
        await charger.plug_in()  # somebody stands there
        await charger.wait_for("the car being told", lambda: charger.connectors[1].reported_status != "Available")
        buyer = await buy(shop, item)
        refused = await reservation(shop, buyer, charger="refused")
        assert (refused["status"], refused["reason"]) == ("ACCEPTED", "Occupied")
        cases = (await shop.server.api("GET", "/api/v1/cases?limit=100"))["items"]
        (case,) = [one for one in cases if one["order_id"] == buyer.order_id]
        assert (case["type"], case["charger_id"]) == ("RESERVATION_REFUSED", charger.identity)
        await charger.unplug()
        await reservation(shop, buyer, charger="holds")
        assert (await buyer.cancel()).payment_status == "REFUNDED"
        await reservation(shop, buyer, charger="gone")
