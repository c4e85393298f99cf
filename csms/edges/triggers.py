"""Asking a charger for a message: which of the trigger messages, and not again and again (F06; 1.6 5.17, white paper).

1.6 has two: TriggerMessage of the core document, ExtendedTriggerMessage of the security white paper. What only the
second knows goes there; what the first refuses as unsupported is tried with the second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from csms.edges.ocpp16 import outbound as outbound16
from csms.edges.ocpp201 import outbound as outbound201
from csms.edges.ocppj.codes import Version
from csms.edges.steward import SaidNo, Visit

HELD: Final = "held"  # not asked: it was asked a moment ago
_NOT_ASKED_AGAIN_S: Final = 60.0  # a charger that does not send what it accepted to send will not by being pressed
_PER_HOUR: Final = 30
_HOUR_S: Final = 3600.0
# What the white paper's message knows of the core document's six.
_EXTENDED: Final = frozenset(
    {"BootNotification", "FirmwareStatusNotification", "Heartbeat", "MeterValues", "StatusNotification"}
)


class Triggers:
    """Triggers that we send of our own accord. An operator's go past this and are not counted, and so does the one
    question that a mute charger is asked (`mute.py`, once per silence)."""

    def __init__(self, steady_s: Callable[[], float]) -> None:
        self._steady_s = steady_s
        self._asked: dict[str, list[tuple[float, str]]] = {}  # by charger: when, and what

    async def ask(self, visit: Visit, message: str, *, evse: int | None = None, connector: int | None = None) -> str:
        """The charger's word: Accepted, Rejected, NotImplemented, an OCPP error code, or `HELD`.

        Raises NoAnswer as `Visit.ask` does.
        """
        what = f"{message}@{evse}.{connector}"
        if not self._may(visit.station.id, what):
            return HELD
        command = {"message": message, "evse": evse, "connector": connector}
        outbound = outbound16 if visit.version is Version.V16 else outbound201
        action, payload = outbound.to_call("Trigger", command, quirks=visit.station.quirks)
        word = await _word(visit, action, payload)
        is_core_only = word in {"NotImplemented", "NotSupported"} and action == "TriggerMessage"
        if visit.version is Version.V16 and is_core_only and message in _EXTENDED:
            word = await _word(visit, "ExtendedTriggerMessage", payload)
        return word

    def _may(self, station_id: str, what: str) -> bool:
        now_s = self._steady_s()
        asked = [one for one in self._asked.get(station_id, ()) if now_s - one[0] < _HOUR_S]
        if len(asked) >= _PER_HOUR or any(name == what and now_s - at_s < _NOT_ASKED_AGAIN_S for at_s, name in asked):
            self._asked[station_id] = asked
            return False
        self._asked[station_id] = [*asked, (now_s, what)]
        return True


async def _word(visit: Visit, action: str, payload: dict[str, Any]) -> str:
    try:
        return str((await visit.ask(action, payload)).get("status"))
    except SaidNo as no:
        return no.code
