"""What a registry said, remembered (BECKN 3.3).

Found: believed for ten minutes at most, and never past its `valid_until`. Not found: for half a minute. One question at
a time per key, however many ask. A key that does not fit a signature is asked for again, at most every half minute.
While the registry is down what ran out is believed a while longer; with nothing to believe RegistryDown is raised.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from beckn_adapter.registry import RegistryDown, Source, Subscriber, usable

log = structlog.get_logger()

NEGATIVE_MS: Final = 30_000
DOWN_MS: Final = 2_000  # after a failure the registry is left alone for so long, per key
MAX_ENTRIES: Final = 10_000  # of each kind: strangers must not push out those we know
AT_ONCE: Final = 16
MAX_WAITING: Final = 256

Key = tuple[str, str]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Known:
    subscriber: Subscriber
    fetched_ms: int


class KeyCache:
    """A `registry.Registry` in front of a `Source`. The times are those its callers pass."""

    def __init__(self, source: Source, *, positive_s: int = 600, stale_s: int = 3600) -> None:
        self._source = source
        self._positive_ms = positive_s * 1000
        self._stale_ms = stale_s * 1000
        self._known: OrderedDict[Key, _Known] = OrderedDict()
        self._absent: OrderedDict[Key, int] = OrderedDict()  # key -> when it was asked for
        self._failed: OrderedDict[Key, int] = OrderedDict()  # key -> when asking failed
        self._flights: dict[Key, asyncio.Task[Subscriber | None]] = {}
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._is_down = False

    async def lookup(self, subscriber_id: str, key_id: str, now_ms: int, *, fresh: bool = False) -> Subscriber | None:
        """See `registry.Registry`."""
        key = (subscriber_id, key_id)
        known = self._known.get(key)
        if known is not None and known.subscriber.is_usable_at(now_ms):
            age_ms = now_ms - known.fetched_ms
            if 0 <= age_ms < (NEGATIVE_MS if fresh else self._positive_ms):
                self._known.move_to_end(key)
                return known.subscriber
        elif _is_recent(self._absent.get(key), now_ms, NEGATIVE_MS):
            return None
        try:
            if _is_recent(self._failed.get(key), now_ms, DOWN_MS):
                raise RegistryDown("the registry did not answer a moment ago")
            return await self._fetch_once(key, now_ms)
        except RegistryDown:
            stale = self._stale(key, now_ms)
            if stale is None:
                raise
            return stale

    def __len__(self) -> int:
        return len(self._known) + len(self._absent) + len(self._failed)

    def _stale(self, key: Key, now_ms: int) -> Subscriber | None:
        known = self._known.get(key)
        if known is None or not known.subscriber.is_usable_at(now_ms):
            return None
        return known.subscriber if now_ms - known.fetched_ms < self._positive_ms + self._stale_ms else None

    async def _fetch_once(self, key: Key, now_ms: int) -> Subscriber | None:
        flight = self._flights.get(key)
        if flight is None:
            if len(self._flights) >= MAX_WAITING:
                raise RegistryDown("too many questions to the registry are open")
            flight = asyncio.create_task(self._fetch(key, now_ms))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        # The one who asked first may hang up; the others still want to know.
        return await asyncio.shield(flight)

    def _landed(self, key: Key, flight: asyncio.Task[Subscriber | None]) -> None:
        self._flights.pop(key, None)
        if not flight.cancelled():
            flight.exception()  # taken note of even when nobody waits any more

    async def _fetch(self, key: Key, now_ms: int) -> Subscriber | None:
        try:
            async with self._gate:
                listed = await self._source.fetch(*key, now_ms)
        except RegistryDown as down:
            _keep(self._failed, key, now_ms)
            if not self._is_down:
                log.warning("registry.down", problem=str(down))
            self._is_down = True
            raise
        if self._is_down:
            log.info("registry.up")
        self._is_down = False
        self._failed.pop(key, None)
        found = usable(listed, now_ms)
        if found is None:
            self._known.pop(key, None)  # revoked, expired or gone: what was known ends here
            _keep(self._absent, key, now_ms)
        else:
            self._absent.pop(key, None)
            _keep(self._known, key, _Known(found, now_ms))
        return found


def _is_recent(at_ms: int | None, now_ms: int, span_ms: int) -> bool:
    return at_ms is not None and 0 <= now_ms - at_ms < span_ms


def _keep(entries: OrderedDict[Key, _T], key: Key, value: _T) -> None:
    entries[key] = value
    entries.move_to_end(key)
    if len(entries) > MAX_ENTRIES:
        entries.popitem(last=False)
