"""What every store promises (ports.Store): durable before told, all or nothing, own failures only, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from csms.ports import Fact, Put, Store, StoreDown, Table, Tx, Unit

FRAME = (1, 7, 1000, 0, "Heartbeat", "m", '[2,"m","Heartbeat",{}]', '[3,"m",{}]', 1001, None)


def frame(seq: int, station_no: int = 7, text: str = "x") -> tuple[Any, ...]:
    return (seq, station_no, 1000 + seq, 0, "MeterValues", f"m{seq}", text, "{}", 1001, None)


def reading(subject: int, at_ms: int, wh: int) -> tuple[Any, ...]:
    return (subject, at_ms, 1001, wh, at_ms, at_ms, "sample", 3000, None, None, None, 0, 1, None)


def fact(kind: str, n: int) -> tuple[Any, ...]:
    return (n, kind, "CP1", None, None, f'{{"n":{n}}}')


class Told:
    """Collects what `done` was told, in order."""

    def __init__(self) -> None:
        self.outcomes: list[BaseException | None] = []
        self._event = asyncio.Event()
        self._wanted = 0

    def __call__(self, error: BaseException | None) -> None:
        self.outcomes.append(error)
        if len(self.outcomes) >= self._wanted:
            self._event.set()

    async def wait(self, count: int) -> list[BaseException | None]:
        self._wanted = count
        if len(self.outcomes) < count:
            self._event.clear()
            await asyncio.wait_for(self._event.wait(), 10)
        return self.outcomes


def unit(done: Callable[[BaseException | None], None] | None, *rows: tuple[int, tuple[Any, ...]]) -> Unit:
    made = Unit(done)
    for what, row in rows:
        made.put(what, row)
    return made


async def test_what_was_told_done_is_there_after_a_restart(open_store: Any) -> None:
    async with open_store() as store:
        told = Told()
        for n in range(1, 51):
            store.submit(unit(told, (Put.FRAME, frame(n)), (Put.READING, reading(3, n, 100 + n))))
        assert await told.wait(50) == [None] * 50
    async with open_store() as store:
        frames = await store.read(lambda tx: tx.many(Table.FRAMES, order="seq"))
        readings = await store.read(lambda tx: tx.many(Table.READINGS, order="at_ms", subject=3))
    assert [row["seq"] for row in frames] == list(range(1, 51))
    assert [row["register_wh"] for row in readings] == list(range(101, 151))


async def test_a_read_sees_everything_committed_before_it(open_store: Any) -> None:
    async with open_store() as store:
        for n in range(1, 20):
            await store.transact(lambda tx, n=n: tx.save(Table.SETTINGS, {"name": "n", "value": str(n)}))
            row = await store.read(lambda tx: tx.one(Table.SETTINGS, name="n"))
            assert row == {"name": "n", "value": str(n)}


async def test_a_bad_unit_is_told_and_the_others_in_its_batch_are_stored(open_store: Any) -> None:
    async with open_store() as store:
        good, bad = Told(), Told()
        broken = (2, 7, 1000, 0, "Heartbeat", "m", None, None, None, None)  # request must not be null
        store.submit(unit(good, (Put.FRAME, frame(1))))
        store.submit(unit(bad, (Put.READING, reading(1, 5, 5)), (Put.FRAME, broken)))
        store.submit(unit(good, (Put.FRAME, frame(3))))
        await good.wait(2)
        (error,) = await bad.wait(1)
        assert good.outcomes == [None, None]
        assert error is not None
        assert not isinstance(error, StoreDown)
        assert [row["seq"] for row in await store.read(lambda tx: tx.many(Table.FRAMES, order="seq"))] == [1, 3]
        # all or nothing: the good row of the bad unit is not there either
        assert await store.read(lambda tx: tx.count(Table.READINGS)) == 0


async def test_a_refused_work_rolls_back_and_hears_its_own_error(open_store: Any) -> None:
    async with open_store() as store:

        def work(tx: Tx) -> None:
            tx.save(Table.SETTINGS, {"name": "a", "value": "1"})
            tx.append([Fact("Never", 1, {})])
            raise LookupError("no")

        with pytest.raises(LookupError):
            await store.transact(work)
        assert await store.read(lambda tx: (tx.count(Table.SETTINGS), tx.facts(0, 10))) == (0, [])


async def test_units_and_works_take_effect_in_the_order_they_were_handed_in(open_store: Any) -> None:
    async with open_store() as store:
        told = Told()
        seen: list[int] = []
        for n in range(1, 31):
            store.submit(unit(told, (Put.FRAME, frame(n))))
            if n % 10 == 0:
                seen.append(await store.transact(lambda tx: tx.count(Table.FRAMES)))
        await told.wait(30)
        assert seen == [10, 20, 30]


async def test_the_same_unit_twice_changes_nothing(open_store: Any) -> None:
    async with open_store() as store:
        told = Told()
        rows = [
            (Put.FRAME, frame(1)),
            (Put.READING, reading(3, 10, 500)),
            (Put.ALIAS, ("CP1", "ocpp16_id", "9", 9, 0)),
            (Put.ANSWER, (7, "start:1", "d", "{}", 5)),
        ]
        store.submit(unit(told, *rows))
        store.submit(unit(told, *rows))
        assert await told.wait(2) == [None, None]
        counts = await store.read(
            lambda tx: [tx.count(t) for t in (Table.FRAMES, Table.READINGS, Table.ALIASES, Table.ANSWERS)]
        )
        assert counts == [1, 1, 1, 1]


async def test_two_registers_of_one_instant_are_both_kept(open_store: Any) -> None:
    async with open_store() as store:
        told = Told()
        store.submit(unit(told, (Put.READING, reading(3, 10, 500)), (Put.READING, reading(3, 10, 501))))
        await told.wait(1)
        assert await store.read(lambda tx: tx.count(Table.READINGS, subject=3)) == 2


async def test_an_older_session_write_never_covers_a_newer_one(open_store: Any) -> None:
    async with open_store() as store:
        told = Told()
        store.submit(unit(told, (Put.SESSION, session_row(version=5, state="ENDED"))))
        store.submit(unit(told, (Put.SESSION, session_row(version=4, state="ACTIVE"))))
        meter = (3, 99, 1, 99, 1, 1, None, "0", 7, 1, 42, 3)
        store.submit(unit(told, (Put.SESSION_METER, meter)))
        await told.wait(3)
        row = await store.read(lambda tx: tx.one(Table.SESSIONS, no=42))
        assert (row["state"], row["version"], row["energy_wh"]) == ("ENDED", 5, 1000)


async def test_journal_numbers_follow_the_order_of_commits(open_store: Any) -> None:
    async with open_store() as store:
        told = Told()
        for n in range(1, 21):
            store.submit(unit(told, (Put.FACT, fact("A", n))))
        await store.transact(lambda tx: tx.append([Fact("B", 21, {"n": 21}, order_id="o")]))
        facts = await store.read(lambda tx: tx.facts(0, 100))
        assert [f.body["n"] for f in facts] == list(range(1, 22))
        assert [f.seq for f in facts] == sorted(f.seq for f in facts)
        assert [f.body["n"] for f in await store.read(lambda tx: tx.facts(facts[9].seq, 5))] == [11, 12, 13, 14, 15]


async def test_only_commits_with_facts_ring(open_store: Any) -> None:
    async with open_store() as store:
        told = Told()
        store.submit(unit(told, (Put.FRAME, frame(1))))
        await told.wait(1)
        await store.transact(lambda tx: tx.save(Table.SETTINGS, {"name": "a", "value": "1"}))
        assert store.rings == []
        store.submit(unit(told, (Put.FACT, fact("A", 1))))
        await told.wait(2)
        assert store.rings == [{"journal"}]


async def test_numbers_of_a_sequence_are_never_given_twice_even_after_a_restart(open_store: Any) -> None:
    async with open_store() as store:
        given = [await store.transact(lambda tx: tx.next_no("order")) for _ in range(5)]
    async with open_store() as store:
        given += [await store.transact(lambda tx: tx.next_no("order")) for _ in range(5)]
    assert given == list(range(1, 11))


async def test_add_keeps_what_is_there_and_save_overwrites(open_store: Any) -> None:
    async with open_store() as store:

        def work(tx: Tx) -> tuple[bool, bool, Any, Any]:
            first = tx.add(Table.TOKENS, {"uid_norm": "A", "uid": "a", "updated_ms": 1})
            again = tx.add(Table.TOKENS, {"uid_norm": "A", "uid": "b", "updated_ms": 2})
            kept = tx.one(Table.TOKENS, uid_norm="A")
            tx.save(Table.TOKENS, {"uid_norm": "A", "uid": "c", "updated_ms": 3})
            return first, again, kept, tx.one(Table.TOKENS, uid_norm="A")

        first, again, kept, saved = await store.transact(work)
        assert (first, again) == (True, False)
        assert (kept["uid"], saved["uid"], saved["status"]) == ("a", "c", "Accepted")


async def test_filters_match_null_lists_and_bounds(open_store: Any) -> None:
    async with open_store() as store:

        def work(tx: Tx) -> list[Any]:
            for n in range(1, 7):
                tx.add(
                    Table.TOKENS,
                    {"uid_norm": f"T{n}", "uid": f"t{n}", "group_id": None if n < 3 else "g", "updated_ms": n},
                )
            return [
                len(tx.many(Table.TOKENS, group_id=None)),
                [r["uid"] for r in tx.many(Table.TOKENS, uid=("t1", "t5"), order="uid")],
                [r["updated_ms"] for r in tx.many(Table.TOKENS, order="-updated_ms", before=5, limit=2)],
                [r["updated_ms"] for r in tx.many(Table.TOKENS, order="updated_ms", after=4)],
                tx.total(Table.TOKENS, "updated_ms", group_id="g"),
                tx.total(Table.TOKENS, "updated_ms", group_id="none"),
                tx.change(Table.TOKENS, {"status": "Blocked"}, group_id="g"),
                tx.count(Table.TOKENS, status="Blocked"),
                tx.drop(Table.TOKENS, group_id=None),
                tx.count(Table.TOKENS),
            ]

        assert await store.transact(work) == [2, ["t1", "t5"], [4, 3], [5, 6], 18, 0, 4, 4, 2, 4]


async def test_a_cancelled_caller_does_not_take_its_transaction_along(open_store: Any) -> None:
    async with open_store() as store:
        task = asyncio.create_task(store.transact(lambda tx: tx.save(Table.SETTINGS, {"name": "kept", "value": "1"})))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await store.transact(lambda tx: None)
        assert await store.read(lambda tx: tx.one(Table.SETTINGS, name="kept")) is not None


async def test_stopping_commits_what_waits(open_store: Any) -> None:
    told = Told()
    async with open_store() as store:
        for n in range(1, 2001):
            store.submit(unit(told, (Put.FRAME, frame(n))))
    async with open_store() as store:
        assert await store.read(lambda tx: tx.count(Table.FRAMES)) == 2000


async def test_waiting_counts_what_is_not_yet_committed(open_store: Any) -> None:
    async with open_store() as store:
        told = Told()
        for n in range(1, 11):
            store.submit(unit(told, (Put.FRAME, frame(n))))
        assert store.waiting() == 10
        await told.wait(10)
        assert store.waiting() == 0


async def test_a_done_that_raises_harms_nobody_else(open_store: Any) -> None:
    async with open_store() as store:

        def broken(_: BaseException | None) -> None:
            raise RuntimeError("a bug of the caller")

        told = Told()
        store.submit(unit(broken, (Put.FRAME, frame(1))))
        store.submit(unit(told, (Put.FRAME, frame(2))))
        assert await told.wait(1) == [None]
        await store.transact(lambda tx: None)


def session_row(*, version: int, state: str) -> tuple[Any, ...]:
    from csms.storage.hot import SESSION_COLUMNS

    values: dict[str, Any] = dict.fromkeys(SESSION_COLUMNS)
    values |= {
        "no": 42, "id": "s-42", "station": "CP1", "evse": 1, "connector": 1, "state": state, "open": 1,
        "version": version, "energy_wh": 1000, "revision": 0, "frame_seq": 0, "last_no": 42, "tx_ids": "[]",
        "updated_ms": 1, "data": "{}",
    }  # fmt: skip
    return tuple(values[name] for name in SESSION_COLUMNS)


def test_the_store_is_what_the_port_says(open_store: Any) -> None:
    from csms.storage.sqlite import SqliteStore

    methods = {name for name in vars(Store) if not name.startswith("_")}
    assert methods <= set(dir(SqliteStore))
