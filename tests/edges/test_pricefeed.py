"""A supplier's server over a real socket: read, refused, broken, back again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from csms.app import price_events
from csms.edges.pricefeed import PriceFeed, source_of
from csms.ports import Row, Table
from csms.storage.migrate import migrate_sqlite
from csms.storage.sqlite import SqliteStore

NOW = 1_790_000_000_000


class Clock:
    def now_ms(self) -> int:
        return NOW


class Supplier:
    """An OpenADR 3 server of one event; `answer` replaces what it says."""

    def __init__(self) -> None:
        self.answer: web.Response | None = None
        self.asked: list[str | None] = []
        self.listed: list[Any] = []
        app = web.Application()
        app.router.add_get("/events", self.events)
        self.server = TestServer(app)

    async def events(self, request: web.Request) -> web.Response:
        self.asked.append(request.headers.get("Authorization"))
        return self.answer if self.answer is not None else web.json_response(self.listed)


def event(name: str, price: float, changed: str = "2026-09-21T00:00:00Z") -> dict[str, Any]:
    return {
        "id": name, "objectType": "EVENT", "programID": "p", "modificationDateTime": changed,
        "intervalPeriod": {"start": "2026-09-21T14:00:00Z", "duration": "PT1H"},
        "intervals": [{"id": 0, "payloads": [{"type": "PRICE", "values": [price]}]}],
    }  # fmt: skip


class World:
    def __init__(self, store: SqliteStore, supplier: Supplier) -> None:
        self.store, self.supplier, self.changes = store, supplier, 0
        self.source = source_of(f"openadr:{supplier.server.make_url('/events')}")
        self.feed = PriceFeed(
            self.source, store=store, clock=Clock(), spawn=asyncio.ensure_future, on_change=self.changed,
            token="secret", every_s=1, currency="INR", markup=Decimal("0.5"),
        )  # fmt: skip

    def changed(self) -> None:
        self.changes += 1

    async def read(self) -> dict[str, str]:
        """One reading; the prices that hold, by event."""
        assert self.source is not None
        await self.feed.read(self.source)
        live = await self.store.read(price_events.live)
        return {one.event_id: str(one.prices[0].per_kwh) for one in live}

    async def cases(self) -> list[Row]:
        return await self.store.read(lambda tx: tx.many(Table.CASES, order="no"))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    path = tmp_path / "store.db"
    migrate_sqlite(path, stamp="test")
    store, supplier = SqliteStore(path, lambda _: None), Supplier()
    await store.start()
    await supplier.server.start_server()
    yield World(store, supplier)
    await supplier.server.close()
    await store.stop()


async def test_news_are_kept_once_and_repeats_cost_nothing(world: World) -> None:
    world.supplier.listed = [event("a", 8)]
    assert await world.read() == {"a": "8.5"}
    assert await world.read() == {"a": "8.5"}
    assert world.changes == 1
    assert set(world.supplier.asked) == {"Bearer secret"}
    world.supplier.listed = [event("a", 9, "2026-09-21T02:00:00Z"), event("b", 3)]
    assert await world.read() == {"a": "9.5", "b": "3.5"}
    world.supplier.listed = [event("a", 8), event("b", 3)]
    assert await world.read() == {"a": "9.5", "b": "3.5"}, "an older word of it came late"


async def test_what_is_listed_no_more_is_withdrawn_and_comes_back_when_it_is_listed_again(world: World) -> None:
    world.supplier.listed = [event("a", 8), event("b", 3)]
    await world.read()
    world.supplier.listed = [event("b", 3)]
    assert await world.read() == {"b": "3.5"}
    world.supplier.listed = [event("a", 8), event("b", 3)]
    assert await world.read() == {"a": "8.5", "b": "3.5"}


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=500),
        lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}),
        lambda: web.Response(text="<html>"),
        lambda: web.Response(text="[" * 100_000),
        lambda: web.json_response({"no": "list"}),
        lambda: web.Response(body=b" " * (9 * 1024 * 1024)),
    ],
)
async def test_a_source_that_cannot_be_read_changes_nothing_and_is_one_case(world: World, answer: Any) -> None:
    world.supplier.listed = [event("a", 8)]
    await world.read()
    for _ in range(5):
        world.supplier.answer = answer()
        assert await world.read() == {"a": "8.5"}
    assert [case["type"] for case in await world.cases()] == ["PRICE_FEED"]
    world.supplier.answer = None
    world.supplier.listed = [event("a", 8), event("b", 1)]
    assert await world.read() == {"a": "8.5", "b": "1.5"}


async def test_a_list_with_an_unreadable_event_withdraws_nothing_and_says_which(world: World) -> None:
    world.supplier.listed = [event("a", 8)]
    await world.read()
    world.supplier.listed = [event("b", 99_999), event("c", 2)]
    for _ in range(3):
        assert await world.read() == {"a": "8.5", "c": "2.5"}
    (case,) = await world.cases()
    assert "event b" in case["text"]


async def test_a_server_that_is_away_does_not_hold_up_the_clockwork(world: World) -> None:
    await world.supplier.server.close()
    async with asyncio.timeout(5):
        await world.feed.tick(NOW)
        await world.feed.tick(NOW + 10_000)


@pytest.mark.parametrize("text", ["http://x", "openadr:ftp://x/", "file:", "openadr:", "openadr:http://"])
def test_a_source_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        source_of(text)
