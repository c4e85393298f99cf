"""A report in parts (`NotifyReport`, `NotifyMonitoringReport`), put together: out of order, repeated, or never whole.

The parts are stored by the edge as they come; whoever asked for the report waits here until the store holds all.
"""

from __future__ import annotations

import asyncio
from typing import Any

from csms.app.reports import Report, Reports, parts
from csms.domain.provisioning import is_whole
from csms.ports import Store


class Collecting:
    """Waits for reports by request id. `patience_s` runs from the last part that came."""

    def __init__(self, store: Store, reports: Reports, patience_s: float) -> None:
        self._store = store
        self._patience_s = patience_s
        self._news: dict[tuple[str, str, int], asyncio.Event] = {}
        for kind in ("NotifyReport", "NotifyMonitoringReport"):
            reports.read(kind, self._came)

    async def request_id(self) -> int:
        """A number that no other report of ours has."""
        return await self._store.transact(lambda tx: tx.next_no("request"))

    async def parts(self, station_id: str, kind: str, request_id: int) -> tuple[list[dict[str, Any]], bool]:
        """(the bodies by number, whether they are all). Returns when they are, or when no more come."""
        key = (station_id, kind, request_id)
        news = self._news.setdefault(key, asyncio.Event())
        try:
            while True:
                news.clear()
                found = await self._store.read(lambda tx: parts(tx, *key))
                if is_whole({part.seq_no: part.is_last for part in found}):
                    return [part.body for part in found], True
                try:
                    async with asyncio.timeout(self._patience_s):
                        await news.wait()
                except TimeoutError:
                    return [part.body for part in found], False
        finally:
            del self._news[key]

    def is_awaited(self, report: Report) -> bool:
        """Whether somebody here waits for the report that this is a part of."""
        return (report.station, report.kind, report.request_id) in self._news

    async def _came(self, report: Report) -> None:
        if (news := self._news.get((report.station, report.kind, report.request_id))) is not None:
            news.set()
