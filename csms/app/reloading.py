"""Reading again what is for sale, when an operator changed it: many changes in a row are one reading."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from csms.app.catalogue import Inventory
from csms.ports import Clock

_SETTLE_S = 0.02  # changes come in bursts
_WAIT_S = 1.0  # a discover or select during a reading
_LARGE = 20_000  # connectors: more take so long to read that nobody waits for it


class Reloading:
    """Keeps the inventory in step. `refresh` follows every reading: an index may stand on it."""

    def __init__(
        self,
        inventory: Inventory,
        clock: Clock,
        *,
        refresh: Callable[[], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[Any]],
    ) -> None:
        self._inventory = inventory
        self._clock = clock
        self._refresh = refresh
        self._spawn = spawn
        self._task: asyncio.Task[Any] | None = None
        self._again = False

    def changed(self) -> None:
        """A location, tariff, offer or charger changed."""
        if self._task is None or self._task.done():
            self._task = self._spawn(self._read())
        else:
            self._again = True

    def charger_added(self, station_id: str) -> None:
        """A charger nobody knew was let in: of interest only where a location has waited for it."""
        if self._inventory.names(station_id):
            self.changed()

    async def done(self) -> None:
        """Return when what operators have put is for sale; soon in any case, a buyer does not wait for ever, and of a
        large inventory sees a change some seconds later."""
        if self._task is not None and not self._task.done() and len(self._inventory) < _LARGE:
            await asyncio.wait([self._task], timeout=_WAIT_S)

    async def _read(self) -> None:
        while True:
            self._again = False
            await asyncio.sleep(_SETTLE_S)
            before_ms = self._clock.now_ms()
            await self._inventory.load()
            await self._refresh()
            if not self._again:
                return
            # A big inventory that changes all the time must not eat the loop.
            await asyncio.sleep((self._clock.now_ms() - before_ms) / 1000 * 3)
