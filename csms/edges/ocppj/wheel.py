"""One timer for many charger links: who wants to be woken, and when.

A timer object per link and purpose would cost more than the links do. Here a link has one place on the wheel,
rounded up to a slot; moving it is two dictionary operations. Pure: the caller says what time it is.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Wheel(Generic[K]):
    """Wake-up times in milliseconds on a steady clock, never early, late by at most `slot_ms`."""

    def __init__(self, slot_ms: int) -> None:
        self._slot_ms = slot_ms
        self._slot_of: dict[K, int] = {}
        self._slots: dict[int, dict[K, None]] = {}  # a dict keeps the order of setting, a set would not

    def set(self, key: K, at_ms: int) -> None:
        """Wake `key` at `at_ms` instead of whenever it was to be woken before."""
        self.drop(key)
        slot = -(-at_ms // self._slot_ms)
        self._slot_of[key] = slot
        self._slots.setdefault(slot, {})[key] = None

    def drop(self, key: K) -> None:
        """Do not wake `key`."""
        slot = self._slot_of.pop(key, None)
        if slot is None:
            return
        keys = self._slots[slot]
        del keys[key]
        if not keys:
            del self._slots[slot]

    def due(self, now_ms: int) -> list[K]:
        """Take off the wheel everyone whose time has come, earliest first."""
        now_slot = now_ms // self._slot_ms
        woken: list[K] = []
        for slot in sorted(slot for slot in self._slots if slot <= now_slot):
            keys = self._slots.pop(slot)
            for key in keys:
                del self._slot_of[key]
            woken.extend(keys)
        return woken

    def __len__(self) -> int:
        return len(self._slot_of)
