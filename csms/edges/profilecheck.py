"""After a 2.0.1 charger has booted: does it still hold the profiles that we set?

    StationBooted ─▶ GetChargingProfiles by their numbers ─▶ ReportChargingProfiles ─▶ `app.chargingprofiles`,
                                                             which sets again what was lost
1.6 cannot be asked.
"""

from __future__ import annotations

from typing import Final

from csms.app.chargingprofiles import lasting
from csms.app.stations import Stations
from csms.edges.ocppj.codes import Version
from csms.edges.steward import Steward, Visit
from csms.ports import Fact, Store

ERRAND: Final = "profiles"


class ProfileCheck:
    """The errand, and what calls for it."""

    def __init__(self, *, store: Store, stations: Stations, steward: Steward) -> None:
        self._store = store
        self._stations = stations
        self._steward = steward

    def listen(self) -> None:
        """Register the errand; at composition."""
        self._steward.errand(ERRAND, self._ask, on={"StationBooted": self._can_tell})

    def _can_tell(self, fact: Fact) -> bool:
        station = self._stations.get(str(fact.station))
        return station is not None and station.transport == Version.V201.value

    async def _ask(self, visit: Visit) -> None:
        numbers = await self._store.read(lambda tx: lasting(tx, visit.station.id))
        if visit.version is not Version.V201 or not numbers:
            return
        request_id = await self._store.transact(lambda tx: tx.next_no("request"))
        criteria = {"chargingProfileId": numbers}
        await visit.ask("GetChargingProfiles", {"requestId": request_id, "chargingProfile": criteria})
