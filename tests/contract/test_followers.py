"""Followers of the journal: every fact at least once and in order, whatever fails, crashes or comes late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from conftest import Opener

from csms.app import follow
from csms.app.follow import Followers
from csms.bus.inprocess import InProcessBell
from csms.ports import Fact, Follower, StoreDown, Table, Tx
from csms.storage.sqlite import SqliteStore


class Listener:
    """A follower that keeps what it hears, and fails when told to."""

    def __init__(self, name: str, *kinds: str) -> None:
        self.heard: list[int] = []
        self.batches: list[int] = []
        self.fails: Callable[[Sequence[Fact]], BaseException | None] = lambda _: None
        self.follower = Follower(name, self._on_facts, frozenset(kinds))

    async def _on_facts(self, facts: Sequence[Fact]) -> None:
        if (error := self.fails(facts)) is not None:
            raise error
        self.heard += [fact.seq for fact in facts]
        self.batches.append(len(facts))


class World:
    """A store and its followers, until the end of the block."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.bell = InProcessBell()
        self.followers = Followers(store, self.bell)

    async def write(self, count: int, kind: str = "A") -> None:
        await self.store.transact(lambda tx: tx.append([Fact(kind, n, {}) for n in range(count)]))
        self.bell.ring("journal")

    async def stands(self, seq: int, *names: str) -> None:
        """Wait for these cursors to be written."""
        async with asyncio.timeout(10):
            while await self.store.read(lambda tx: tx.count(Table.CURSORS, name=names, seq=seq)) != len(names):  # noqa: ASYNC110 - as below
                await asyncio.sleep(0.005)


@asynccontextmanager
async def following(store: Any, *listeners: Listener) -> AsyncIterator[World]:
    world = World(store)
    tasks = [asyncio.create_task(world.followers.tail())]
    tasks += [asyncio.create_task(world.followers.run(listener.follower)) for listener in listeners]
    try:
        yield world
        assert not any(task.done() for task in tasks)  # none of them ever ends by itself
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_IDLE_S", 60)  # so that nothing here works only because a minute has passed
    monkeypatch.setattr(follow, "_SAVE_EVERY_S", 0.01)
    monkeypatch.setattr(follow, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(follow, "_LONGEST_PAUSE_S", 0.02)
    monkeypatch.setattr(follow, "_BATCH", 10)
    monkeypatch.setattr(follow, "_KEPT_FACTS", 20)


async def test_everybody_hears_everything_once_and_in_order(open_store: Opener) -> None:
    one, other = Listener("one"), Listener("other", "B")
    async with open_store() as store, following(store, one, other) as world:
        for number in range(30):
            await world.write(number % 4, "AB"[number % 2])
        await until(lambda: len(one.heard) == sum(n % 4 for n in range(30)))
        facts = await store.read(lambda tx: tx.facts(0, 1000))
        await until(lambda: other.heard == [f.seq for f in facts if f.kind == "B"])
        assert one.heard == [fact.seq for fact in facts]


async def test_who_stands_far_behind_catches_up_from_the_store_and_goes_on_in_memory(open_store: Opener) -> None:
    late, fresh = Listener("late"), Listener("fresh")
    async with open_store() as store:
        await World(store).write(137)
        await store.transact(lambda tx: tx.save(Table.CURSORS, {"name": "fresh", "seq": 130}))
        async with following(store, late, fresh) as world:
            await world.write(95)
            await until(lambda: len(late.heard) == 232)
            await until(lambda: len(fresh.heard) == 102)
            assert late.heard == list(range(1, 233))
            assert fresh.heard == list(range(131, 233))
            assert max(late.batches) <= 10


async def test_facts_that_memory_has_let_go_are_read_from_the_store(open_store: Opener) -> None:
    slow, quick = Listener("slow"), Listener("quick")
    is_stuck = True
    slow.fails = lambda _: RuntimeError("not now") if is_stuck else None
    async with open_store() as store, following(store, slow, quick) as world:
        for _ in range(20):
            await world.write(10)
        await until(lambda: len(quick.heard) == 200)
        assert slow.heard == []
        assert "not now" in str(world.followers.health["slow"].error)
        is_stuck = False
        await until(lambda: len(slow.heard) == 200)
        assert slow.heard == list(range(1, 201))
        await until(lambda: world.followers.health["slow"].error is None)


async def test_one_that_fails_stays_at_its_fact_and_holds_up_nobody(open_store: Opener) -> None:
    stuck, other = Listener("stuck"), Listener("other")
    stuck.fails = lambda facts: ValueError("7") if any(fact.seq >= 7 for fact in facts) else None
    async with open_store() as store, following(store, stuck, other) as world:
        for _ in range(12):
            await world.write(1)
        await until(lambda: len(other.heard) == 12)
        assert stuck.heard == list(range(1, len(stuck.heard) + 1))
        assert world.followers.health["stuck"].cursor < 7
        await until(lambda: world.followers.health["stuck"].error is not None)
        stuck.fails = lambda _: None
        await until(lambda: len(stuck.heard) == 12)
        assert stuck.heard == list(range(1, 13))


async def test_a_crash_repeats_a_little_and_loses_nothing(open_store: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = Listener("it"), Listener("it")
    async with open_store() as store:
        async with following(store, before) as world:
            await world.write(5)
            await until(lambda: len(before.heard) == 5)
            await world.stands(5, "it")
            monkeypatch.setattr(follow, "_SAVE_EVERY_S", 60)
            await world.write(5)
            await until(lambda: len(before.heard) == 10)
        async with following(store, after) as world:  # its cursor was not yet written
            await world.write(1)
            await until(lambda: len(after.heard) == 6)
            assert after.heard == list(range(6, 12))


async def test_the_cursor_is_written_when_nothing_more_comes(open_store: Opener) -> None:
    one, other = Listener("one"), Listener("other", "B")
    async with open_store() as store, following(store, one, other) as world:
        await world.write(3)
        await until(lambda: len(one.heard) == 3)
        await world.stands(3, "one", "other")


class Ailing:
    """A store whose disk fails for a while."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.fails_to_read = self.fails_to_write = False
        self.refused_reads = 0

    async def read(self, query: Callable[[Any], Any]) -> Any:
        if self.fails_to_read:
            self.refused_reads += 1
            raise StoreDown("no disk")
        return await self._store.read(query)

    async def transact(self, work: Callable[[Tx], Any]) -> Any:
        if self.fails_to_write:
            raise StoreDown("disk full")
        return await self._store.transact(work)


async def test_a_disk_that_fails_for_a_while_ends_no_follower(open_store: Opener) -> None:
    it = Listener("it")
    async with open_store() as real:
        store = Ailing(real)
        async with following(store, it) as world:
            await world.write(2)
            await until(lambda: len(it.heard) == 2)
            store.fails_to_write = True
            await real.transact(lambda tx: tx.append([Fact("A", 0, {})]))
            world.bell.ring("journal")
            await until(lambda: world.followers.health["it"].error is not None)
            store.fails_to_read = True
            world.bell.ring("journal")
            await until(lambda: store.refused_reads > 2)
            store.fails_to_write = store.fails_to_read = False
            await until(lambda: it.heard == [1, 2, 3])
            await until(lambda: world.followers.health["it"].error is None)
            await world.stands(3, "it")


async def test_gaps_in_the_numbers_stop_nobody(open_store: Opener) -> None:
    it = Listener("it")
    async with open_store() as store, following(store, it) as world:
        await world.write(3)
        await until(lambda: len(it.heard) == 3)
        with suppress(ZeroDivisionError):  # a transaction that was taken back may leave a gap
            await store.transact(lambda tx: (tx.append([Fact("A", 0, {})]), 1 // 0))
        await store.transact(lambda tx: tx.append([Fact("A", 0, {})]))
        await store.transact(lambda tx: tx.drop(Table.JOURNAL, seq=2))
        await world.write(60)
        await until(lambda: len(it.heard) == 64)
        assert it.heard == sorted(set(it.heard))


async def test_facts_of_other_kinds_wake_nobody_and_hide_nothing(open_store: Opener) -> None:
    picky, easy = Listener("picky", "B"), Listener("easy")
    async with open_store() as store, following(store, picky, easy) as world:
        for turn in range(1, 6):
            await world.write(3)
            await until(lambda turn=turn: len(easy.heard) == turn * 4 - 1)  # type: ignore[misc]  # mypy and lambdas with defaults
            assert len(picky.heard) == turn - 1
            await world.write(1, "B")
            await until(lambda turn=turn: len(picky.heard) == turn)  # type: ignore[misc]  # as above
            await until(lambda turn=turn: len(easy.heard) == turn * 4)  # type: ignore[misc]  # as above
        assert picky.heard == [4, 8, 12, 16, 20]
        assert world.followers.health["picky"].cursor == 20
