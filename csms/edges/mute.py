"""Chargers that are connected and say nothing: one question may free them.

Some firmware that lost the answer to its boot or to a status waits for it for ever; it still answers pings, and our
calls. A connected, silent charger may also be quite well, so it is asked once, for no more than a sign of life, and
asked again only when it has spoken in between (OCPP.md appendix).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from csms.app.stations import Station, Stations
from csms.edges.steward import NoAnswer, SaidNo, Visit
from csms.ports import Fact, Store

log = structlog.get_logger()

ERRAND: Final = "sign-of-life"
_LOOKS_PER_SILENCE: Final = 10
_LONGEST_PAUSE_MS: Final = 30_000


class Mute:
    """Finds them (`tick`, every second), and is the errand that asks (`ask`)."""

    def __init__(
        self,
        *,
        store: Store,
        stations: Stations,
        now_ms: Callable[[], int],
        want: Callable[[str, str], None],
        mute_s: float,
    ) -> None:
        self._store = store
        self._stations = stations
        self._now_ms = now_ms
        self._want = want
        self._mute_ms = int(mute_s * 1000)
        self._next_look_ms = 0
        self._asked: dict[str, int] = {}  # charger -> when it had last spoken as it was asked

    async def tick(self, now_ms: int) -> None:
        """Send the errand to everybody who has been silent for too long."""
        if not self._mute_ms or now_ms < self._next_look_ms:
            return
        # All of them are looked at, so not every second where the patience is long.
        self._next_look_ms = now_ms + min(self._mute_ms // _LOOKS_PER_SILENCE, _LONGEST_PAUSE_MS)
        for station in self._stations.all():
            spoke_ms = station.last_seen_ms
            if station.link is None or spoke_ms is None or now_ms - spoke_ms < self._mute_ms:
                continue
            if self._asked.get(station.id) != spoke_ms:
                self._asked[station.id] = spoke_ms
                self._want(station.id, ERRAND)

    async def ask(self, visit: Visit) -> None:
        """Ask for a Heartbeat, or for the boot if that was the last we heard; whatever comes of it, once."""
        station, now_ms = visit.station, self._now_ms()
        silent_ms = now_ms - (station.last_seen_ms or now_ms)
        if silent_ms < self._mute_ms:
            return  # it spoke meanwhile
        message = "BootNotification" if _waits_for_its_boot(station) else "Heartbeat"
        try:
            answer = await visit.ask("TriggerMessage", {"requestedMessage": message})
        except NoAnswer:
            came = "no answer"
        except SaidNo as no:
            came = no.code
        else:
            came = str(answer.get("status"))
        body = {"silent_s": silent_ms // 1000, "message": message, "answer": came}
        log.info("station.mute", station=station.id, **body)
        fact = Fact("StationNudged", now_ms, body, station.id)
        await self._store.transact(lambda tx: tx.append([fact]))


def _waits_for_its_boot(station: Station) -> bool:
    """Nothing came after its boot, or no boot ever came."""
    boot_ms, spoke_ms = station.boot_ms, station.last_seen_ms
    return boot_ms is None or spoke_ms is None or spoke_ms <= boot_ms
