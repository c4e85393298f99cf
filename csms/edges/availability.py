"""ChangeAvailability of both versions: what chargers answered to it, and telling them again what they forgot.

A change outlives a reboot by the specifications (1.6 5.2, 2.0.1 G02.FR.04); firmware that forgets it is told again.
"""

from __future__ import annotations

from typing import Any, Final

import structlog

from csms.app.availability import INOPERATIVE, OPERATIVE, Availability
from csms.app.calls import CallAnswered, Calls
from csms.domain.in_service import WHOLE, Part
from csms.edges.ocppj.codes import Version
from csms.edges.steward import Steward, Visit
from csms.ports import Clock, Fact

log = structlog.get_logger()

_ERRAND: Final = "availability"
_CALLING: Final = ("StationBooted", "SocketChanged", "SessionEnded", "SessionAbandoned")


class AvailabilityEdge:
    """Joins the wishes to the wire."""

    def __init__(self, *, availability: Availability, steward: Steward, calls: Calls, clock: Clock) -> None:
        self._availability = availability
        self._steward = steward
        self._clock = clock
        calls.read("ChangeAvailability", self._answered)
        steward.errand(_ERRAND, self._remind, on=dict.fromkeys(_CALLING, self._is_concerned))

    def _is_concerned(self, fact: Fact) -> bool:
        return self._availability.is_concerned(fact.station)

    async def _answered(self, call: CallAnswered) -> None:
        answer = call.response.get("status")
        said = _said(call)
        if isinstance(answer, str) and said is not None:
            part, operative = said
            await self._availability.answered(
                call.station, part, operative=operative, answer=answer, at_ms=call.at_ms,
                is_all="connectorId" in call.request,
            )  # fmt: skip

    async def _remind(self, visit: Visit) -> None:
        parts, later_ms = self._availability.forgotten(visit.station, self._clock.now_ms())
        for part in parts:
            log.info("availability.told_again", station=visit.station.id, evse=part[0], connector=part[1])
            await visit.ask("ChangeAvailability", _request(visit.version, part))
        if later_ms is not None:
            self._steward.want(visit.station.id, _ERRAND, in_s=later_ms / 1000)


def _said(call: CallAnswered) -> tuple[Part, bool] | None:
    """(part, operative) of a request; 1.6 names a connector, 2.0.1 an EVSE and perhaps its connector."""
    request = call.request
    if "connectorId" in request:
        number = int(request["connectorId"])
        return (number, number), request.get("type") == OPERATIVE
    word = request.get("operationalStatus")
    if word not in {OPERATIVE, INOPERATIVE}:
        return None
    evse = request.get("evse")
    part = WHOLE if not isinstance(evse, dict) else (int(evse["id"]), int(evse.get("connectorId", 0)))
    return part, word == OPERATIVE


def _request(version: Version, part: Part) -> dict[str, Any]:
    if version is Version.V16:
        return {"connectorId": part[1], "type": INOPERATIVE}
    evse = {"id": part[0]} | ({"connectorId": part[1]} if part[1] else {})
    return {"operationalStatus": INOPERATIVE} | ({"evse": evse} if part != WHOLE else {})
