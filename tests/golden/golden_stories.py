"""The stories whose transcripts are kept. Between them every action is asked and every unasked message is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from golden_world import DRIVER, MINUTE_MS, NETWORKS, REGULAR, World

from csms.domain.reported import SocketStatus
from simulators.bap import NackedError, RefusedError
from simulators.buyer import Buyer
from simulators.clock import written


async def _item(buyer: Buyer, *, for_now: bool = True) -> Any:
    found = await buyer.discover(near=(9.93, 76.26, 5_000))
    fitting = [item for item in found if getattr(item, "is_spot", for_now) is for_now]
    return (fitting or found)[0]


async def _bought(buyer: Buyer, **wanted: Any) -> None:
    await buyer.select(await _item(buyer, for_now="slot" not in wanted), **wanted)
    await buyer.init()
    await buyer.pay()
    await buyer.confirm()


async def _charging(world: World, buyer: Buyer) -> None:
    await world.plugged_in()
    await _sent(buyer, buyer.tongue.start(buyer.order, buyer.otp))
    await world.started()


async def _sent(buyer: Buyer, message: Any) -> None:
    """An update whose answer comes when the charger has done it."""
    await buyer._send("update", message)


async def walk_in(world: World) -> None:
    """By units, paid to the seller, stopped early by the app: the ordinary way, and all that can be asked on it."""
    buyer = world.buyer(finder_fee_percent=2.5)
    await _bought(buyer, kwh=6)
    await buyer.status()
    await buyer.track()
    await _charging(world, buyer)
    await world.minutes(2)
    await world.metered(1.25, soc=41)
    await world.minutes(3)
    await world.metered(2.8, soc=48)
    await buyer.status()
    await _sent(buyer, buyer.tongue.stop(buyer.order))
    await world.stopped("Remote")
    await world.minutes(1)
    await buyer.track()
    await buyer.rate(5, "quick and clean")
    await buyer.support()
    if buyer.tongue.looking[0] == "search":
        await buyer._send("get_rating_categories", {})


async def by_amount(world: World) -> None:
    """By money, with an offer, collected by the buyer's app; the link breaks, comes back, and the car is full."""
    buyer = world.buyer()
    async with world.unwritten("the buyer looks around"):
        item = await _item(buyer)
    offers = [offer for offer in item.offers if "O-1" in str(offer)]
    await buyer.select(item, amount=150, offer=offers[0] if offers else None)
    await buyer.init("BAP")
    await buyer.pay()
    await buyer.confirm()
    await _charging(world, buyer)
    await world.minutes(2)
    await world.metered(1.0)
    await world.link_down()
    await world.minutes(2)
    await world.minutes(20)
    await world.link_again()
    await world.metered(3.5)
    await world.minutes(1)
    await world.stopped("EVDisconnected")
    await world.minutes(1)


async def beyond(world: World) -> None:
    """By time; the power is cut, the buyer gets its estimate, and the late stop shows that more was delivered."""
    buyer = world.buyer()
    async with world.unwritten("the buyer looks around"):
        item = await _item(buyer)
    await buyer.select(item, minutes=10)
    async with world.unwritten("it is paid and confirmed"):
        await buyer.init()
        await buyer.pay()
        await buyer.confirm()
    async with world.unwritten("charging starts"):
        await _charging(world, buyer)
    await world.minutes(4)
    await world.metered(2.0)
    await world.link_down()
    await world.minutes(2)
    await _sent(buyer, buyer.tongue.stop(buyer.order))
    await world.minutes(16)
    await world.link_again()
    await world.metered(9.0)
    await world.stopped("PowerLoss")
    await world.minutes(1)
    if buyer.due:
        await buyer.pay_due()


async def cancelled(world: World) -> None:
    """A reservation given back for a fee; one nobody came for; and an order the charger refuses to start."""
    soon = world.clock.now_ms() + 20 * MINUTE_MS
    first, slot = world.buyer(), (written(soon), written(soon + 30 * MINUTE_MS))
    async with world.unwritten("the buyer looks around"):
        item = await _item(first, for_now=False)
    await first.select(item, kwh=2, slot=slot)
    await first.init()
    async with world.unwritten("it is paid"):
        await first.pay()
    await first.confirm()
    await world.minutes(10)
    await first.cancel()
    await world.minutes(1)
    later = world.clock.now_ms() + 60 * MINUTE_MS
    second = world.buyer()
    async with world.unwritten("another books, pays and confirms"):
        await _bought(second, kwh=2, slot=(written(later), written(later + 30 * MINUTE_MS)))
    await world.minutes(60)
    await world.minutes(30)
    world.status(SocketStatus.AVAILABLE)
    await world.settle()


async def refused(world: World) -> None:
    """What is answered with an error, at once or in a callback."""
    buyer = world.buyer()
    async with world.unwritten("the buyer looks around"):
        item = await _item(buyer)
    with suppress(NackedError, RefusedError):
        await buyer._send("status", buyer.tongue.status("no-such-order"))
    known, item.raw[_id_of(item.raw)] = item.raw[_id_of(item.raw)], "no-such-connector"
    with suppress(NackedError, RefusedError):
        await buyer.select(item, kwh=1)
    item.raw[_id_of(item.raw)] = known
    buyer.begin()
    async with world.unwritten("an order is prepared"):
        await buyer.select(item, kwh=1)
        await buyer.init()
    with suppress(NackedError, RefusedError):
        await buyer.confirm()  # not paid
    async with world.unwritten("it is paid and confirmed, charging starts"):
        await buyer.pay()
        await buyer.confirm()
        await _charging(world, buyer)
    with suppress(NackedError, RefusedError):
        await buyer.cancel()  # too late
    world.status(SocketStatus.FAULTED)
    await world.settle()
    other = world.buyer()
    with suppress(NackedError, RefusedError):
        await other.select(item, kwh=1)


def _id_of(raw: dict[str, Any]) -> str:
    return "beckn:id" if "beckn:id" in raw else "id"


async def members(world: World) -> None:
    """A fleet's driver, who has to prove it before its price holds; and one whom a loyalty programme knows."""
    for person in (DRIVER, REGULAR):
        buyer = world.buyer(person=person)
        async with world.unwritten(f"{person.name} looks around"):
            item = await _item(buyer)
        await buyer.select(item, kwh=2)
        await buyer.init()


async def published(world: World) -> None:
    """What is for sale goes to the catalogue service, which reports."""
    sent = await world.published()
    (catalog,) = sent["message"]["catalogs"]
    result = {"catalog_id": catalog["beckn:id"], "status": "ACCEPTED", "item_count": len(catalog["beckn:items"])}
    await world.reported(sent["context"], {"results": [result]})


SECOND_GENERATION = frozenset({"v2", "ubc"})
STORIES: dict[str, Callable[[World], Awaitable[None]]] = {
    "walk-in": walk_in, "by-amount": by_amount, "beyond": beyond, "cancelled": cancelled, "refused": refused,
    "members": members,
    "published": published,
}  # fmt: skip
TOLD: list[tuple[str, str]] = [
    (dialect, story)
    for dialect in NETWORKS
    for story in STORIES
    if story != "published" or dialect in SECOND_GENERATION
]
