"""The time-of-day shape of a bill: readings give it, the session's energy bounds it."""

from __future__ import annotations

import json
from typing import Any

from csms.app.settling import usage_of
from csms.ports import Put, Unit

MINUTE_MS = 60_000
QUARTER_MS = 15 * MINUTE_MS
SESSION: dict[str, Any] = {
    "no": 5, "started_ms": 0, "ended_ms": 4 * QUARTER_MS, "last_proven_ms": None, "energy_wh": 400,
    "meter_start_wh": 1000, "data": json.dumps({"idle_ms": 3 * MINUTE_MS}),
}  # fmt: skip


async def shape(open_store: Any, *readings: tuple[int, int]) -> list[int]:
    """Wh of each quarter of an hour."""
    async with open_store() as store:
        unit = Unit()
        for at_ms, wh in readings:
            unit.put(Put.READING, (5, at_ms, 1001, wh, at_ms, at_ms, "sample", None, None, None, None, 0, 1, None))
        store.submit(unit)
        await store.transact(lambda _: None)
        usage = await store.read(lambda tx: usage_of(tx, SESSION))
    assert usage.idle_minutes == 3
    assert sum(piece.energy_wh for piece in usage.slices) == 400
    return [piece.energy_wh for piece in usage.slices]


async def test_each_quarter_of_an_hour_gets_what_the_register_rose_in_it(open_store: Any) -> None:
    readings = ((QUARTER_MS, 1100), (2 * QUARTER_MS, 1150), (3 * QUARTER_MS, 1390))
    assert await shape(open_store, *readings) == [100, 50, 240, 10]


async def test_a_spike_does_not_draw_the_rest_into_its_quarter_of_an_hour(open_store: Any) -> None:
    readings = ((QUARTER_MS, 1100), (QUARTER_MS + MINUTE_MS, 990_000), (2 * QUARTER_MS, 1150), (3 * QUARTER_MS, 1390))
    assert await shape(open_store, *readings) == [100, 50, 240, 10]
