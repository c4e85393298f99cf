"""When connectors are free to be reserved: the gaps of the calendar, as far as buyers are shown it (BECKN 5.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from beckn_adapter.catalog import ItemView
from beckn_adapter.commands import Window
from csms.domain.reservation import ACTIVE
from csms.ports import ReadTx, Table

HORIZON_MS: Final = 24 * 3_600_000
SHORTEST_MS: Final = 15 * 60_000  # a gap shorter than this is no slot
MAX_SLOTS: Final = 10
Span = tuple[int, int]
Place = Callable[[str], tuple[str, int] | None]


def with_slots(
    tx: ReadTx, items: Sequence[ItemView], place: Place, window: Window | None, now_ms: int
) -> list[ItemView]:
    """The items that can be reserved, with when they are free: in `window`, or within the coming day.

    `place` tells an item's (station, evse): one EVSE serves one car, whatever plugs it has.
    """
    start_ms = now_ms if window is None else max(now_ms, window.start_ms)
    end_ms = window.end_ms if window is not None and window.end_ms is not None else start_ms + HORIZON_MS
    end_ms = min(end_ms, start_ms + 7 * HORIZON_MS)
    booked: dict[str, dict[int, list[Span]]] = {}
    shown = []
    for item in items:
        at = place(item.item_id) if item.reservation_supported else None
        if at is None:
            shown.append(item)
            continue
        station, evse = at
        if station not in booked:
            booked[station] = _booked(tx, station)
        shown.append(replace(item, free_slots=gaps(booked[station].get(evse, []), start_ms, end_ms)))
    return shown


def _booked(tx: ReadTx, station: str) -> dict[int, list[Span]]:
    spans: dict[int, list[Span]] = {}
    for row in tx.many(Table.RESERVATIONS, order="start_ms", station=station, status=ACTIVE):
        if row["start_ms"] is not None and row["end_ms"] is not None:
            spans.setdefault(row["evse"], []).append((row["start_ms"], row["end_ms"]))
    return spans


def gaps(booked: Sequence[Span], start_ms: int, end_ms: int) -> tuple[Span, ...]:
    """What `booked` leaves of a span of time, earliest first; what is too short for a charge is left out."""
    free: list[Span] = []
    at_ms = start_ms
    for begin, finish in sorted(booked):
        if at_ms < begin and at_ms < end_ms:
            free.append((at_ms, min(begin, end_ms)))
        at_ms = max(at_ms, finish)
    free.append((at_ms, end_ms))
    return tuple(span for span in free if span[1] - span[0] >= SHORTEST_MS)[:MAX_SLOTS]
