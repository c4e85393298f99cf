"""Firmware, logs and customer information of chargers, put together: one use case each, one place to compose them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from csms.app.answers import RawAnswer
from csms.app.calls import Calls
from csms.app.customers import KIND, Customers
from csms.app.reports import Reports
from csms.app.stations import Stations
from csms.app.upgrading import Upgrading
from csms.app.uploads import Uploads
from csms.edges.customers import Enquiries
from csms.edges.files import FilePages
from csms.edges.firmware import ERRAND, PLAIN, SIGNED16, Upgrades
from csms.edges.logs import Logs
from csms.edges.steward import Steward
from csms.ports import Clock, Files, Ids, Store


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Sizes and lifetimes of files."""

    upload_bytes: int
    firmware_bytes: int
    upload_life_s: int
    download_life_s: int
    logs_days: int


class Maintenance:
    """What the operator API, the public listener and the clockwork ask of it."""

    def __init__(
        self,
        *,
        store: Store,
        files: Files,
        stations: Stations,
        clock: Clock,
        ids: Ids,
        raw: Callable[..., Awaitable[RawAnswer]],
        steward: Steward,
        public_url: str,
        key: bytes,
        limits: FileLimits,
    ) -> None:
        self.files = files
        self.limits = limits
        self._customers = Customers(store=store, clock=clock, ids=ids)
        self.enquiries = Enquiries(stations=stations, customers=self._customers, raw=raw)
        self.uploads = Uploads(
            store=store, files=files, clock=clock, ids=ids, public_url=public_url,
            life_s=limits.upload_life_s, kept_days=limits.logs_days,
        )  # fmt: skip
        self.logs = Logs(store=store, stations=stations, uploads=self.uploads, raw=raw)
        self.upgrading = Upgrading(
            store=store, files=files, stations=stations, clock=clock, ids=ids, public_url=public_url, key=key,
            ticket_life_s=limits.download_life_s, want=lambda station_id: steward.want(station_id, ERRAND),
        )  # fmt: skip
        self.upgrades = Upgrades(self.upgrading, clock, raw)
        self._pages = FilePages(
            files=files, uploads=self.uploads, upgrading=self.upgrading, upload_bytes=limits.upload_bytes
        )
        steward.errand(ERRAND, self.upgrades.errand)

    def listen(self, calls: Calls, reports: Reports) -> None:
        """Read what chargers tell and answer about all this."""
        for kind in ("DiagnosticsStatusNotification", "LogStatusNotification"):
            reports.read(kind, self.logs.on_notice)
        for kind in ("FirmwareStatusNotification", "SignedFirmwareStatusNotification"):
            reports.read(kind, self.upgrades.on_notice)
        reports.read(KIND, self._customers.on_part)
        for action in ("GetDiagnostics", "GetLog"):
            calls.read(action, self.logs.on_answer)
        for action in (PLAIN, SIGNED16):
            calls.read(action, self.upgrades.on_answer)
        calls.read("CustomerInformation", self._customers.on_answer)

    def routes(self) -> list[web.RouteDef]:
        """Of the public listener."""
        return self._pages.routes()

    async def tick(self, now_ms: int) -> None:
        """Once a second."""
        await self.uploads.tick(now_ms)
        await self.upgrading.tick(now_ms)
