"""Kinds of connectors: what differs in nothing but its ids and what changes by itself. Whatever can be judged of a kind
is judged once, and a hundred thousand connectors are few kinds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from beckn_adapter.catalog import CONNECTORS, ItemView

MAX_WORDS: Final = 16


class Kinds:
    """The kinds there are. `of`: item id -> the number of its kind; `texts`: that number -> what can be read of it."""

    def __init__(self) -> None:
        self._of: dict[str, int] = {}
        self._texts: dict[int, str] = {}
        self._numbers: dict[tuple[object, ...], list[int]] = {}  # kind -> [its number, how many items]
        self._next = 0

    @property
    def of(self) -> Mapping[str, int]:
        return self._of

    @property
    def texts(self) -> Mapping[int, str]:
        return self._texts

    def add(self, item: ItemView) -> None:
        """Count an item in."""
        kind = self._numbers.get(key := _kind(item))
        if kind is None:
            self._next += 1
            kind = self._numbers[key] = [self._next, 0]
            self._texts[self._next] = _text(item)
        kind[1] += 1
        self._of[item.item_id] = kind[0]

    def drop(self, item: ItemView) -> None:
        """Count it out."""
        del self._of[item.item_id]
        kind = self._numbers[key := _kind(item)]
        kind[1] -= 1
        if not kind[1]:
            del self._numbers[key]
            del self._texts[kind[0]]


def words_of(text: str | None) -> tuple[str, ...]:
    """The words of a search, each once; all of them must be found."""
    return tuple(dict.fromkeys((text or "").casefold().split()))[:MAX_WORDS]


def _kind(item: ItemView) -> tuple[object, ...]:
    return (
        *(item.station, item.provider, item.connector, item.max_power_w, item.min_power_w, item.power_type),
        *(item.format, item.name, item.short_desc, item.long_desc, item.reservation_supported, item.is_active),
        *(item.rateable, item.rating, item.vehicle_types, item.roaming_network),
    )


def _text(item: ItemView) -> str:
    station, provider = item.station, item.provider
    label = CONNECTORS[item.connector].label if item.connector in CONNECTORS else ""
    parts = (
        *(item.title, item.short_desc, item.long_desc, item.connector, label),
        *(provider.name, provider.short_desc, station.name, station.street, station.city),
        *(station.region, station.postal_code, station.parking, *station.amenities),
    )
    return " ".join(part for part in parts if part).casefold()
