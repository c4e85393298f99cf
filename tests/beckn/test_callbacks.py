"""The line of messages to buyers under trouble: a real store, a made-up network, and a clock that the test moves."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from beckn_adapter.callbacks import Callbacks
from beckn_adapter.circuit import Circuit
from beckn_adapter.envelope import Outcome, PeerAnswer
from csms.app import outbox
from csms.bus.inprocess import InProcessBell
from csms.domain.refusal import Refusal
from csms.ports import Row, Table, Tx
from csms.storage.migrate import migrate_sqlite
from csms.storage.sqlite import SqliteStore

ACK = PeerAnswer(Outcome.ACK, status=200)
DOWN = PeerAnswer(Outcome.RETRY)
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


class Clock:
    def __init__(self) -> None:
        self.at_ms = 1_790_000_000_000

    def now_ms(self) -> int:
        return self.at_ms


class Ids:
    def uuid(self) -> str:
        return str(uuid.uuid4())

    uuid4 = secret = uuid


@dataclass
class Line:
    """The line, and everybody's servers as `answers` makes them."""

    store: SqliteStore
    clock: Clock = field(default_factory=Clock)
    bell: InProcessBell = field(default_factory=InProcessBell)
    answer: Callable[[Row], PeerAnswer] = lambda _: ACK
    tried: list[tuple[int, str, str, str]] = field(default_factory=list)  # (when, app, conversation, purpose)
    taken: list[tuple[str, str, str]] = field(default_factory=list)  # (app, conversation, purpose)
    most_at_once: int = 0
    _in_the_air: int = 0

    def __post_init__(self) -> None:
        self.callbacks = self.fresh()

    def fresh(self) -> Callbacks:
        """As after a restart: nothing is remembered but what the store holds."""
        return Callbacks(
            store=self.store, bell=self.bell, clock=self.clock, ids=Ids(), post=self.post,
            retry_s=(1, 5, 30, 120, 300), give_up_s=3 * 86_400, count=lambda *_: None,
        )  # fmt: skip

    async def post(self, row: Row) -> tuple[PeerAnswer, str | None]:
        self._in_the_air += 1
        self.most_at_once = max(self.most_at_once, self._in_the_air)
        await asyncio.sleep(0)
        self._in_the_air -= 1
        self.tried.append((self.clock.at_ms, row["bap_id"], row["transaction_id"], row["purpose"]))
        answer = self.answer(row)
        if answer.outcome is Outcome.ACK:
            self.taken.append((row["bap_id"], row["transaction_id"], row["purpose"]))
        return answer, None if answer.outcome is Outcome.ACK else "no"

    def row(self, tx: Tx, app: str, conversation: str, purpose: str) -> None:
        now_ms = self.clock.at_ms
        tx.add(
            Table.OUTBOX,
            {
                "purpose": purpose, "network": "v2", "url": f"https://{app}/on_status", "action": "on_status",
                "bap_id": app, "transaction_id": conversation, "message_id": purpose, "order_id": conversation,
                "body": b"{}", "state": outbox.place(tx, app, conversation), "next_ms": now_ms, "created_ms": now_ms,
            },
        )  # fmt: skip

    async def write(self, app: str, conversation: str, *purposes: str) -> None:
        def work(tx: Tx) -> None:
            for purpose in purposes:
                self.row(tx, app, conversation, purpose)

        await self.store.transact(work)

    async def wait_ms(self, span_ms: int, step_ms: int = 1000) -> None:
        """Time goes by; the worker looks as often as it would."""
        until_ms = self.clock.at_ms + span_ms
        while self.clock.at_ms < until_ms:
            self.clock.at_ms += step_ms
            await self.callbacks.deliver_due()

    async def states(self) -> dict[str, str]:
        rows = await self.store.read(lambda tx: tx.many(Table.OUTBOX, order="no"))
        return {row["purpose"]: row["state"] for row in rows}

    async def cases(self) -> list[Row]:
        return await self.store.read(lambda tx: tx.many(Table.CASES, order="no"))

    def order_of(self, app: str, conversation: str) -> list[str]:
        return [purpose for a, c, purpose in self.taken if (a, c) == (app, conversation)]


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    path = tmp_path / "store.db"
    migrate_sqlite(path, stamp="test")
    store = SqliteStore(path, lambda _: None)
    await store.start()
    try:
        yield Line(store)
    finally:
        await store.stop()


async def test_an_outage_of_an_hour_loses_nothing_and_keeps_the_order_within_a_conversation(line: Line) -> None:
    begin_ms = line.clock.at_ms
    line.answer = lambda _: DOWN if line.clock.at_ms < begin_ms + HOUR_MS else ACK
    for minute in range(60):
        for conversation in ("t-1", "t-2", "t-3"):
            await line.write("a.example", conversation, f"{conversation}/{minute}")
        await line.wait_ms(MINUTE_MS, 5_000)
    assert line.taken == []
    tried_ms = sorted({at for at, *_ in line.tried})
    assert len(line.tried) < 80, "it hammered"
    assert max(b - a for a, b in pairwise(tried_ms)) <= 305_000, "it lost interest"
    await line.wait_ms(6 * MINUTE_MS, 1_000)
    for conversation in ("t-1", "t-2", "t-3"):
        assert line.order_of("a.example", conversation) == [f"{conversation}/{minute}" for minute in range(60)]
    assert set((await line.states()).values()) == {"done"}
    assert await line.cases() == []


async def test_a_restart_in_the_middle_of_an_outage_changes_nothing(line: Line) -> None:
    line.answer = lambda _: DOWN
    await line.write("a.example", "t", *(f"m{n}" for n in range(5)))
    await line.wait_ms(10 * MINUTE_MS, 5_000)
    line.callbacks = line.fresh()
    line.answer = lambda _: ACK
    await line.wait_ms(6 * MINUTE_MS, 5_000)
    assert line.order_of("a.example", "t") == [f"m{n}" for n in range(5)]


async def test_a_failing_head_holds_up_only_its_own_conversation(line: Line) -> None:
    line.answer = lambda row: DOWN if row["purpose"] == "sick" else ACK
    await line.write("a.example", "t-1", "sick", "behind it")
    for n in range(20):
        await line.write("a.example", f"t-x{n}", f"well {n}")
    await line.wait_ms(2_000)
    assert len(line.taken) == 20
    assert (await line.states())["behind it"] == "behind"


async def test_a_buyer_that_is_down_costs_the_others_nothing(line: Line) -> None:
    line.answer = lambda row: DOWN if row["bap_id"] == "down.example" else ACK

    def many(tx: Tx) -> None:
        for n in range(2_000):
            line.row(tx, "down.example", f"d{n}", f"d{n}")

    await line.store.transact(many)
    await line.wait_ms(10_000)
    await line.write("up.example", "t", "first", "second")
    before = len(line.tried)
    await line.wait_ms(1_000)
    assert line.order_of("up.example", "t") == ["first", "second"]
    assert len(line.tried) - before <= 4
    assert len([one for one in line.tried if one[1] == "down.example"]) < 30


async def test_a_hundred_thousand_waiting_messages_make_a_look_no_dearer(line: Line) -> None:
    line.answer = lambda row: DOWN if row["bap_id"].startswith("down") else ACK

    def many(tx: Tx) -> None:
        for n in range(100_000):
            line.row(tx, f"down-{n % 5}.example", f"d{n % 10_000}", f"d{n}")

    await line.store.transact(many)
    await line.wait_ms(20_000)
    reads: list[int] = []
    real = line.store.read

    async def counted(query):  # type: ignore[no-untyped-def]
        def inside(tx):  # type: ignore[no-untyped-def]
            class Counting:
                def many(self, table, **where):  # type: ignore[no-untyped-def]
                    rows = tx.many(table, **where)
                    reads.append(len(rows))
                    return rows

                one = staticmethod(tx.one)

            return query(Counting())

        return await real(inside)

    line.store.read = counted  # type: ignore[method-assign]
    await line.write("up.example", "t", "late")
    begun = time.perf_counter()
    await line.wait_ms(1_000)
    took_s = time.perf_counter() - begun
    assert line.order_of("up.example", "t") == ["late"]
    assert sum(reads) < 200, "what is read grows with what waits"
    assert took_s < 5  # some milliseconds; a scan of every row would be felt


async def test_a_refusal_is_final_and_the_next_message_follows(line: Line) -> None:
    line.answer = lambda row: PeerAnswer(Outcome.NACK, status=400) if row["purpose"] == "bad" else ACK
    await line.write("a.example", "t", "bad", "good")
    await line.wait_ms(1_000)
    assert await line.states() == {"bad": "failed", "good": "done"}
    (case,) = await line.cases()
    assert case["type"] == "CALLBACK_FAILED"
    assert len([one for one in line.tried if one[3] == "bad"]) == 1


async def test_an_unauthorized_is_signed_anew_once(line: Line) -> None:
    answers = iter([PeerAnswer(Outcome.NACK, status=401), ACK])
    line.answer = lambda _: next(answers)
    await line.write("a.example", "t", "m")
    await line.wait_ms(3_000)
    assert await line.states() == {"m": "done"}
    line.answer = lambda _: PeerAnswer(Outcome.NACK, status=401)
    await line.write("a.example", "u", "n")
    await line.wait_ms(10_000)
    assert (await line.states())["n"] == "failed"
    assert len([one for one in line.tried if one[3] == "n"]) == 2


async def test_a_server_that_is_gone_for_days_is_one_case_and_its_messages_can_be_taken_up_again(line: Line) -> None:
    line.answer = lambda _: DOWN
    for n in range(300):
        await line.write("a.example", f"t{n}", f"{n}/a", f"{n}/b")
    await line.wait_ms(3 * DAY_MS + HOUR_MS, 10 * MINUTE_MS)
    assert set((await line.states()).values()) == {"failed"}
    cases = await line.cases()
    assert 0 < len(cases) <= 8, [case["text"] for case in cases]
    line.answer = lambda _: ACK
    assert await line.store.transact(lambda tx: outbox.take_up_all(tx, "a.example", line.clock.at_ms, 1000)) == 600
    await line.wait_ms(2 * MINUTE_MS)
    assert set((await line.states()).values()) == {"done"}
    for n in range(300):
        assert line.order_of("a.example", f"t{n}") == [f"{n}/a", f"{n}/b"]


async def test_what_was_given_up_goes_before_what_is_younger_when_it_is_taken_up_again(line: Line) -> None:
    line.answer = lambda row: PeerAnswer(Outcome.NACK, status=400) if row["purpose"] == "one" else DOWN
    await line.write("a.example", "t", "one", "two", "three")
    await line.wait_ms(2_000)
    assert await line.states() == {"one": "failed", "two": "waiting", "three": "behind"}
    rows = await line.store.read(lambda tx: tx.many(Table.OUTBOX, purpose="one"))
    await line.store.transact(lambda tx: outbox.take_up(tx, rows[0]["no"], line.clock.at_ms))
    assert await line.states() == {"one": "waiting", "two": "behind", "three": "behind"}
    line.answer = lambda _: ACK
    await line.wait_ms(2 * MINUTE_MS)
    assert line.order_of("a.example", "t") == ["one", "two", "three"]


async def test_what_was_delivered_is_not_sent_again_by_a_command(line: Line) -> None:
    await line.write("a.example", "t", "m")
    await line.wait_ms(1_000)
    rows = await line.store.read(lambda tx: tx.many(Table.OUTBOX, purpose="m"))
    with pytest.raises(Refusal, match="given up"):
        await line.store.transact(lambda tx: outbox.take_up(tx, rows[0]["no"], line.clock.at_ms))


async def test_never_more_than_its_places_are_in_the_air_for_one_buyer(line: Line) -> None:
    for n in range(50):
        await line.write("a.example", f"t{n}", f"m{n}")
    await line.wait_ms(1_000)
    assert len(line.taken) == 50
    assert 1 < line.most_at_once <= 8


def test_a_circuit_opens_after_three_failures_and_tries_one_at_a_time() -> None:
    circuit = Circuit()
    for _ in range(3):
        assert circuit.room(0, 8) == 8
        circuit.failed(0)
    assert circuit.room(999, 8) == 0
    assert circuit.room(1_000, 8) == 1
    pauses = []
    now_ms = 1_000
    for _ in range(10):
        circuit.failed(now_ms)
        pauses.append(circuit.probe_at_ms - now_ms)
        now_ms = circuit.probe_at_ms
    assert pauses == [2_000, 4_000, 8_000, 16_000, 32_000, *[60_000] * 5]
    assert circuit.down_since_ms == 0
    circuit.answered(now_ms)
    assert (circuit.room(now_ms, 8), circuit.down_since_ms, circuit.reached_ms) == (8, None, now_ms)


async def progress(line: Line, order_id: str, number: int) -> None:
    """As `notices` writes it."""

    def work(tx: Tx) -> None:
        outbox.replace_progress(tx, order_id)
        line.row(tx, "a.example", order_id, f"{outbox.PROGRESS}{order_id}:{number}")
        outbox.move_up(tx, "a.example", order_id, line.clock.at_ms)

    await line.store.transact(work)


async def test_newer_progress_takes_the_place_of_what_is_unsent_and_of_nothing_else(line: Line) -> None:
    line.answer = lambda _: DOWN
    await progress(line, "t", 1)
    await line.wait_ms(2_000)
    await line.write("a.example", "t", "interrupted")
    await progress(line, "t", 2)
    await progress(line, "t", 3)
    assert await line.states() == {"interrupted": "waiting", "progress:t:3": "behind"}
    line.answer = lambda _: ACK
    await line.wait_ms(2 * MINUTE_MS)
    assert line.order_of("a.example", "t") == ["interrupted", "progress:t:3"]
    assert await line.states() == {"interrupted": "done"}, "told progress is of use to nobody"


async def test_progress_that_is_replaced_while_it_is_in_the_air_holds_nobody_up(line: Line) -> None:
    real = line.post

    async def slow(row: Row) -> tuple[PeerAnswer, str | None]:
        if row["purpose"] == "progress:t:1":
            await progress(line, "t", 2)
            await line.write("a.example", "t", "bill")
        return await real(row)

    line.post = slow  # type: ignore[method-assign]
    line.callbacks = line.fresh()
    await progress(line, "t", 1)
    await line.wait_ms(3_000)
    assert line.order_of("a.example", "t") == ["progress:t:1", "progress:t:2", "bill"]


async def test_refused_progress_is_no_case(line: Line) -> None:
    line.answer = lambda _: PeerAnswer(Outcome.NACK, status=400)
    await progress(line, "t", 1)
    await line.wait_ms(1_000)
    assert await line.cases() == []
