"""Frames that are none: so many an hour are kept, so much of each."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any

from csms.edges.garbled import Garbled
from csms.ports import Unit

HOUR_MS = 3_600_000


def test_a_charger_that_writes_nothing_else_does_not_fill_the_disk() -> None:
    stored: list[Unit] = []
    garbled = Garbled(count(1).__next__, stored.append)
    one: Any = SimpleNamespace(id="A", no=1)
    other: Any = SimpleNamespace(id="B", no=2)
    assert [garbled.keep(one, "no JSON", b"[", n) for n in range(150)].count(True) == 20
    assert garbled.keep(other, "no JSON", b"[", 1)
    assert garbled.keep(one, "no JSON", b"[", HOUR_MS)
    assert len(stored) == 22
    garbled.keep(one, "no JSON", b"x" * 1_000_000, HOUR_MS)
    row = stored[-1].rows[0][1]
    assert len(row[6]) == 8_192
    assert row[9] == "malformed, cut at 8192 bytes: no JSON"
