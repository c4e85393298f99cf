"""History ends: frames beyond their days and keys of old requests go, all of them, and nothing younger."""

from __future__ import annotations

from typing import Any, cast

from csms.app.upkeep import Upkeep
from csms.ports import Put, Store, Table, Unit

DAY_MS = 86_400_000
NOW_MS = 200 * DAY_MS


def upkeep(store: Store, frames_days: int) -> Upkeep:
    nobody = cast("Any", None)
    return Upkeep(
        store=store, stations=nobody, charging=nobody, ordering=nobody, clock=nobody, frames_days=frames_days,
        unused_s=60, every_second=[],
    )  # fmt: skip


async def test_more_old_frames_than_one_bite_go_in_one_round_and_young_ones_stay(open_store: Any) -> None:
    async with open_store() as store:
        unit = Unit()
        for seq in range(1, 1301):
            at_ms = NOW_MS - 91 * DAY_MS if seq <= 1200 else NOW_MS - 89 * DAY_MS
            unit.put(Put.FRAME, (seq, 7, at_ms, 0, "Heartbeat", f"m{seq}", "x", "{}", at_ms, None))
        store.submit(unit)
        dropped = await upkeep(store, 90).drop_history(NOW_MS)
        assert dropped == 1200
        assert await store.read(lambda tx: tx.count(Table.FRAMES)) == 100
        assert await upkeep(store, 90).drop_history(NOW_MS) == 0


async def test_old_reports_go_with_the_frames(open_store: Any) -> None:
    async with open_store() as store:
        unit = Unit()
        for number in range(700):
            at_ms = NOW_MS - (89 if number < 100 else 91) * DAY_MS
            unit.put(Put.REPORT, ("CP", "DataTransfer", 0, number, "", "{}", at_ms))
        store.submit(unit)
        assert await upkeep(store, 90).drop_history(NOW_MS) == 600
        left = await store.read(lambda tx: tx.many(Table.REPORTS, order="seq_no"))
        assert [row["seq_no"] for row in left] == list(range(100))


async def test_keys_of_requests_are_forgotten_after_a_day(open_store: Any) -> None:
    def key(name: str, at_ms: int) -> dict[str, Any]:
        return {"key": name, "route": "POST /x", "digest": "d", "status": 200, "body": "{}", "at_ms": at_ms}

    async with open_store() as store:
        await store.transact(lambda tx: tx.save(Table.IDEMPOTENCY, key("old", NOW_MS - DAY_MS - 1)))
        await store.transact(lambda tx: tx.save(Table.IDEMPOTENCY, key("young", NOW_MS - DAY_MS + 1)))
        assert await upkeep(store, 90).drop_history(NOW_MS) == 1
        left = await store.read(lambda tx: tx.many(Table.IDEMPOTENCY))
        assert [row["key"] for row in left] == ["young"]


async def test_messages_with_buyers_go_with_the_frames_and_searches_after_a_day(open_store: Any) -> None:
    def asked(no: int, action: str, days: int, state: str) -> dict[str, Any]:
        return {
            "network": "v2", "bap_id": "b", "transaction_id": "t", "message_id": f"m{no}", "action": action,
            "digest": "d", "body": b"{}", "received_ms": NOW_MS - days * DAY_MS - 1, "state": state,
        }  # fmt: skip

    def told(no: int, action: str, days: int, state: str) -> dict[str, Any]:
        at_ms = NOW_MS - days * DAY_MS - 1
        return {
            "purpose": f"p{no}", "network": "v2", "url": "u", "action": action, "bap_id": "b", "transaction_id": "t",
            "message_id": f"m{no}", "body": b"{}", "state": state, "next_ms": at_ms, "created_ms": at_ms,
        }  # fmt: skip

    kept = [("discover", 0, "done"), ("discover", 400, "new"), ("confirm", 89, "done"), ("select", 400, "new")]
    gone = [("discover", 1, "done"), ("search", 1, "failed"), ("confirm", 90, "done"), ("status", 91, "failed")]
    waits = {"done": "done", "failed": "failed", "new": "waiting"}
    async with open_store() as store:
        for no, (action, days, state) in enumerate([*gone, *kept] * 40):
            said, answer = asked(no, action, days, state), told(no, f"on_{action}", days, waits[state])
            await store.transact(lambda tx, row=said: tx.add(Table.INBOX, row))
            await store.transact(lambda tx, row=answer: tx.add(Table.OUTBOX, row))
        assert await upkeep(store, 90).drop_history(NOW_MS) == 2 * 40 * len(gone)
        for table, prefix in ((Table.INBOX, ""), (Table.OUTBOX, "on_")):
            left = await store.read(lambda tx, table=table: tx.many(table, order="no"))
            assert [row["action"] for row in left] == [f"{prefix}{action}" for action, _, _ in kept] * 40
        assert await upkeep(store, 90).drop_history(NOW_MS) == 0
        # The newest stays however old it is: its number, by which its answer is known, is not given away again.
        await store.transact(lambda tx: tx.add(Table.INBOX, asked(999, "discover", 400, "done")))
        assert await upkeep(store, 90).drop_history(NOW_MS) == 0
