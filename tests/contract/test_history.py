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
