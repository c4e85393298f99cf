"""Walks over readings on a database that orders rows of one instant as it likes."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from csms.app import queries
from csms.ports import Row, Table


class Careless:
    """A snapshot that orders by the asked column and shuffles what is equal in it."""

    def __init__(self, rows: list[Row], seed: int) -> None:
        self._rows = rows
        self._chance = random.Random(seed)

    def many(
        self, table: Table, *, order: str | None = None, limit: int | None = None, after: Any = None, **where: Any
    ) -> list[Row]:
        assert table is Table.READINGS
        found = [row for row in self._rows if all(row[name] == value for name, value in where.items())]
        found = [row for row in found if after is None or row["at_ms"] > after]
        self._chance.shuffle(found)
        if order is not None:
            found.sort(key=lambda row: row[order])
        return found[:limit]


keys = st.tuples(st.integers(0, 4), st.sampled_from([1001, 2001]), st.integers(-1, 3))


@given(st.sets(keys, max_size=25), st.integers(1, 6), st.integers())
def test_a_walk_sees_every_reading_once_in_order(places: set[tuple[int, int, int]], limit: int, seed: int) -> None:
    rows = [{"subject": 7, "at_ms": at, "socket": socket, "register_wh": wh} for at, socket, wh in places]
    tx: Any = Careless(rows, seed)
    seen: list[tuple[int, int, int]] = []
    after = None
    while True:
        found = queries.readings(tx, 7, limit=limit, after=after)
        assert len(found.rows) <= limit
        seen += [(row["at_ms"], row["socket"], row["register_wh"]) for row in found.rows]
        if (after := found.after) is None:
            break
    assert seen == sorted(places)
