"""Pushing catalogs: when, what, and what waits while the service is away. A real store; the clock is the test's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from market_world import GONE, NOW_MS, TARIFF, Shelves, item_id, location, shelves
from schema import shared, validate_callback

from beckn_adapter.commands import CatalogPublished, Published
from beckn_adapter.envelope import Endpoint
from beckn_adapter.publishing import LOOK_MS, Publisher, publish_url, record_results
from beckn_adapter.speaking import Speaker
from beckn_adapter.v2.codec import V2Codec
from beckn_adapter.v2.items import MAX_CATALOG_BYTES
from csms.ports import Row, Table, Tx

EVERY_MS = 900_000
AFTER_MS = 30_000
URL = "https://cds.example/beckn/catalog/publish"
SPEAKER = Speaker(bpp=Endpoint("bpp.example", "https://bpp.example/r"), provider_id="cpo", empty_error=True)


class Bell:
    def ring(self, topic: str) -> None:
        """Nobody listens."""

    async def wait(self, topic: str, timeout_s: float) -> None:
        raise AssertionError("not asked here")


class Ids:
    def __init__(self) -> None:
        self.count = 0

    def uuid4(self) -> str:
        self.count += 1
        return f"00000000-0000-4000-8000-{self.count:012}"

    uuid = secret = uuid4


class Clock:
    now = NOW_MS

    def now_ms(self) -> int:
        return self.now


class Press:
    """A publisher, and time as the test lets it pass."""

    def __init__(self, world: Shelves) -> None:
        self.world = world
        self.clock = Clock()
        self.publisher = Publisher(
            store=world.store,
            bell=Bell(),
            clock=self.clock,
            ids=Ids(),
            market=world.market,
            codec=V2Codec(SPEAKER, "v2-ubc"),
            url=URL,
            domain="beckn.one:deg:ev-charging",
            debounce_ms=AFTER_MS,
            every_ms=EVERY_MS,
        )

    async def run(self, ms: int, step_ms: int = 1000) -> None:
        """Let so much time pass, a step a second."""
        for _ in range(0, ms, step_ms):
            self.clock.now += step_ms
            await self.publisher.step(self.clock.now)

    async def waiting(self) -> list[dict[str, Any]]:
        """The messages in the outbox, in order."""
        rows = await self.world.store.read(lambda tx: tx.many(Table.OUTBOX, order="no", state=("waiting", "behind")))
        return [json.loads(row["body"]) for row in rows]

    async def rows(self) -> list[Row]:
        """The publications, in order."""
        return await self.world.store.read(lambda tx: tx.many(Table.PUBLICATIONS, order="no"))

    async def delivered(self) -> None:
        """The service took everything."""
        changes = {"state": "done"}
        await self.world.store.transact(lambda tx: tx.change(Table.OUTBOX, changes, state=("waiting", "behind")))

    async def reasons(self) -> list[str]:
        """Why each was published."""
        return [row["reason"] for row in await self.rows()]


@asynccontextmanager
async def press(folder: Path, evses: int = 2) -> AsyncIterator[Press]:
    async with shelves(folder) as world:
        await world.put(Table.LOCATIONS, "st", location("st", 12.9, 77.5, evses=evses))
        await world.load()
        made = Press(world)
        await made.publisher.step(NOW_MS)
        yield made


def active(body: dict[str, Any]) -> dict[str, bool]:
    return {i["beckn:id"]: i["beckn:isActive"] for c in body["message"]["catalogs"] for i in c["beckn:items"]}


async def test_the_whole_catalog_is_published_at_start_as_the_schema_wants_it(tmp_path: Path) -> None:
    async with press(tmp_path) as it:
        (body,) = await it.waiting()
        assert body["error"] == {}
        context = body["context"]
        assert context["action"] == "catalog_publish"
        assert context["bap_id"] == context["bpp_id"] == "bpp.example"
        assert context["bap_uri"] == context["bpp_uri"] == "https://bpp.example/r"
        assert context["domain"] == "beckn.one:deg:ev-charging"
        assert active(body) == {item_id("st", 1): True, item_id("st", 2): True}
        if shared() is not None:
            assert validate_callback(body) == []
        (row,) = await it.world.store.read(lambda tx: tx.many(Table.OUTBOX))
        assert (row["url"], row["order_id"]) == (URL, None)


async def test_nothing_is_said_while_nothing_changes_and_everything_every_quarter_of_an_hour(tmp_path: Path) -> None:
    async with press(tmp_path) as it:
        await it.delivered()
        await it.run(EVERY_MS - 1000)
        assert await it.reasons() == ["start"]
        await it.run(2000)
        assert await it.reasons() == ["start", "schedule"]


async def test_a_connector_that_goes_is_told_once_half_a_minute_later_with_what_followed(tmp_path: Path) -> None:
    async with press(tmp_path) as it:
        await it.delivered()
        await it.run(LOOK_MS)  # every connector has been looked at once
        it.world.states[item_id("st", 1)] = GONE
        await it.run(LOOK_MS)
        it.world.states[item_id("st", 2)] = GONE
        await it.run(AFTER_MS - LOOK_MS - 1000)
        assert await it.reasons() == ["start"]
        await it.run(LOOK_MS + 1000)
        assert await it.reasons() == ["start", "changed"]
        (body,) = await it.waiting()
        assert active(body) == {item_id("st", 1): False, item_id("st", 2): False}


async def test_a_connector_that_came_back_in_time_is_not_mentioned(tmp_path: Path) -> None:
    async with press(tmp_path) as it:
        await it.delivered()
        await it.run(LOOK_MS)
        it.world.states[item_id("st", 1)] = GONE
        await it.run(LOOK_MS)
        del it.world.states[item_id("st", 1)]
        await it.run(AFTER_MS + LOOK_MS)
        assert await it.reasons() == ["start"]


async def test_a_changed_price_and_a_new_station_are_published(tmp_path: Path) -> None:
    async with press(tmp_path) as it:
        await it.delivered()
        dearer = json.loads(json.dumps(TARIFF))
        dearer["elements"][0]["price_components"][0]["price"] = 25.0
        await it.world.put(Table.TARIFFS, "base", dearer)
        await it.world.load()
        await it.run(AFTER_MS + 2000)
        (body,) = await it.waiting()
        assert [o["beckn:price"]["value"] for o in body["message"]["catalogs"][0]["beckn:offers"]] == [25.0]
        await it.delivered()
        await it.world.put(Table.LOCATIONS, "st2", location("st2", 13.0, 77.5))
        await it.world.load()
        await it.run(AFTER_MS + 2000)
        (body,) = await it.waiting()
        assert set(active(body)) == {item_id("st", 1), item_id("st", 2), item_id("st2")}


async def test_while_the_service_is_away_only_the_newest_waits_and_its_line_is_kept(tmp_path: Path) -> None:
    async with press(tmp_path) as it:
        first = (await it.waiting())[0]["context"]
        for _ in range(3):
            it.world.states[item_id("st", 1)] = GONE
            await it.run(EVERY_MS, step_ms=10_000)
        (body,) = await it.waiting()
        assert active(body)[item_id("st", 1)] is False
        assert body["context"]["message_id"] != first["message_id"]
        assert body["context"]["transaction_id"] == first["transaction_id"]
        states = [row["state"] for row in await it.rows()]
        assert states[-1] == "sent"
        assert set(states[:-1]) == {"replaced"}
        assert len(await it.world.store.read(lambda tx: tx.many(Table.OUTBOX))) == 1


async def test_a_service_that_takes_nothing_is_a_case_once_a_day(tmp_path: Path) -> None:
    async with press(tmp_path) as it:
        for _ in range(3):
            failing = {"attempts": 4, "error": "connection refused"}
            await it.world.store.transact(lambda tx, failing=failing: tx.change(Table.OUTBOX, failing, state="waiting"))
            await it.run(EVERY_MS + 1000, step_ms=10_000)
        (case,) = await it.world.store.read(lambda tx: tx.many(Table.CASES))
        assert case["type"] == "CATALOG_NOT_TAKEN"
        assert "the catalogue service at cds.example does not" in case["text"]
        assert "connection refused" in case["text"]


async def test_being_asked_publishes_all_at_once(tmp_path: Path) -> None:
    async with press(tmp_path) as it:
        await it.delivered()
        assert it.publisher.ask() == 1
        await it.run(1000)
        assert await it.reasons() == ["start", "asked"]


async def test_many_connectors_are_many_small_catalogs_and_a_change_republishes_one(tmp_path: Path) -> None:
    async with press(tmp_path, evses=400) as it:
        await it.run(3000)
        bodies = await it.waiting()
        catalogs = [c for body in bodies for c in body["message"]["catalogs"]]
        assert len(bodies) == len(catalogs) > 2
        assert all(len(json.dumps(c, ensure_ascii=False).encode()) < 1.1 * MAX_CATALOG_BYTES for c in catalogs)
        assert len({c["beckn:id"] for c in catalogs}) == len(catalogs)
        assert sum(len(c["beckn:items"]) for c in catalogs) == 400
        await it.delivered()
        await it.run(LOOK_MS + 2000)
        it.world.states[item_id("st", 333)] = GONE
        await it.run(2 * LOOK_MS + AFTER_MS)
        (body,) = await it.waiting()
        assert active(body)[item_id("st", 333)] is False


async def test_a_station_taken_out_of_a_large_catalog_moves_nothing_else(tmp_path: Path) -> None:
    async with press(tmp_path, evses=300) as it:
        await it.world.put(Table.LOCATIONS, "zz", location("zz", 13.0, 77.5))
        await it.world.load()
        await it.run(AFTER_MS + 5000)
        await it.delivered()
        await it.world.put(Table.LOCATIONS, "st", location("st", 12.9, 77.5, evses=299))
        await it.world.load()
        await it.run(AFTER_MS + 5000)
        (body,) = await it.waiting()
        assert item_id("st", 300) not in active(body)


async def test_after_a_restart_a_catalog_that_is_no_more_is_emptied(tmp_path: Path) -> None:
    async with press(tmp_path, evses=300) as it:
        await it.run(3000)
        before = {row["catalog_id"] for row in await it.rows()}
        await it.delivered()
        await it.world.put(Table.LOCATIONS, "st", location("st", 12.9, 77.5, evses=1))
        await it.world.load()
        again = Press(it.world)
        again.publisher._ids.count = 1000  # type: ignore[attr-defined]
        again.clock.now = it.clock.now
        await again.run(2000)
        catalogs = {c["beckn:id"]: c for body in await again.waiting() for c in body["message"]["catalogs"]}
        assert set(catalogs) == before
        assert [len(c["beckn:items"]) for _, c in sorted(catalogs.items())] == [1] + [0] * (len(before) - 1)
        assert [c["beckn:isActive"] for _, c in sorted(catalogs.items())] == [True] + [False] * (len(before) - 1)
        if shared() is not None:
            assert [validate_callback(body) for body in await again.waiting()] == [[]] * len(before)


@pytest.mark.parametrize(
    ("statuses", "state", "cases"),
    [
        (["ACCEPTED"], "accepted", 0),
        (["REJECTED"], "rejected", 1),
        (["PARTIAL"], "partial", 1),
        (["ACCEPTED", "REJECTED"], "rejected", 1),
        (["WHO_KNOWS"], "partial", 1),
        ([], "accepted", 0),
    ],
)
async def test_what_the_service_made_of_it(tmp_path: Path, statuses: list[str], state: str, cases: int) -> None:
    async with press(tmp_path) as it:
        (row,) = await it.rows()
        told = CatalogPublished(
            results=tuple(
                Published(catalog_id="catalog-ev-cpo", status=s, item_count=2, error="no plug") for s in statuses
            )
        )

        def work(tx: Tx) -> None:
            record_results(tx, row["message_id"], told, NOW_MS + 5)
            record_results(tx, row["message_id"], told, NOW_MS + 5)  # told twice
            record_results(tx, "unknown", told, NOW_MS + 5)

        await it.world.store.transact(work)
        (after,) = await it.rows()
        assert (after["state"], after["answered_ms"]) == (state, NOW_MS + 5)
        assert [r["status"] for r in json.loads(after["results"])] == statuses
        found = await it.world.store.read(lambda tx: tx.many(Table.CASES))
        assert [case["type"] for case in found] == ["CATALOG_REJECTED"] * cases


@pytest.mark.parametrize(
    ("cds", "caller", "expected"),
    [
        ("https://c/beckn", None, "https://c/beckn/catalog/publish"),
        ("https://c/beckn/catalog/", None, "https://c/beckn/catalog/publish"),
        ("https://c/beckn/catalog/publish", None, "https://c/beckn/catalog/publish"),
        ("https://c/beckn", "http://onix:8082/bpp/caller", "http://onix:8082/bpp/caller/publish"),
    ],
)
def test_where_catalogs_are_posted(cds: str, caller: str | None, expected: str) -> None:
    assert publish_url(cds, caller) == expected
