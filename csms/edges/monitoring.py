"""Variable monitoring as an operator asks for it, and events as chargers notify them (2.0.1 N; 1.6 security events).

What an operator asks is asked at once and answered with the charger's own words. The shadow of what a charger watches
follows the wire, whoever asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from csms.app import noticing
from csms.app.answers import RawAnswer
from csms.app.calls import CallAnswered, Calls
from csms.app.provisioning import Provisioning
from csms.app.reports import Report, Reports
from csms.app.stations import Stations
from csms.domain.refusal import Refusal, Why
from csms.edges.collecting import Collecting
from csms.edges.ocpp201 import monitoring as wire
from csms.edges.ocppj.codes import Version
from csms.edges.steward import visit_now
from csms.ports import Clock, Store

_BACK_TO_OTHERS = frozenset({"FactoryDefault", "HardWiredOnly"})


class Monitoring:
    """Monitors and events of chargers."""

    def __init__(
        self,
        *,
        store: Store,
        stations: Stations,
        clock: Clock,
        book: Provisioning,
        collecting: Collecting,
        raw: Callable[..., Awaitable[RawAnswer]],
    ) -> None:
        self._store = store
        self._stations = stations
        self._clock = clock
        self._book = book
        self._collecting = collecting
        self._raw = raw

    def listen(self, calls: Calls, reports: Reports) -> None:
        """Enter the readers."""
        calls.read("SetVariableMonitoring", self._set)
        calls.read("ClearVariableMonitoring", self._cleared)
        calls.read("SetMonitoringBase", self._based)
        reports.read("NotifyMonitoringReport", self._reported)
        reports.read("NotifyEvent", self._notified)
        reports.read("SecurityEventNotification", self._security_notified)

    # -- an operator asks; all raise Refusal

    async def set(self, station_id: str, wants: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Set monitors; the charger's result for each, in its words."""
        held = await self._book.held(station_id)
        results: list[dict[str, Any]] = []
        for payload in wire.set_monitors(wants, held):
            answer = await self._ask(station_id, "SetVariableMonitoring", payload)
            results += answer.get("setMonitoringResult") or ()
            # The journal will say so again; whoever reads the list next must not wait for it.
            await self._keep(station_id, wire.monitors_set(payload, answer), self._clock.now_ms())
        return results

    async def clear(self, station_id: str, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Clear monitors; the charger's result for each."""
        held = await self._book.held(station_id)
        results: list[dict[str, Any]] = []
        for payload in wire.clear_monitors(ids, held):
            answer = await self._ask(station_id, "ClearVariableMonitoring", payload)
            results += answer.get("clearMonitoringResult") or ()
            await noticing.drop_monitors(self._store, station_id, _gone(answer), self._clock.now_ms())
        return results

    async def base(self, station_id: str, base: str) -> str:
        """All, FactoryDefault or HardWiredOnly; its word."""
        return str((await self._ask(station_id, "SetMonitoringBase", {"monitoringBase": base})).get("status"))

    async def level(self, station_id: str, severity: int) -> str:
        """Events up to this severity are notified; its word."""
        return str((await self._ask(station_id, "SetMonitoringLevel", {"severity": severity})).get("status"))

    async def read(self, station_id: str, names: Sequence[str], criteria: Sequence[str]) -> str:
        """Ask what it watches and wait for the whole report; its word. Without names and criteria the list here is
        exactly what it reported."""
        request_id = await self._collecting.request_id()
        payload = wire.monitoring_report(request_id, names, criteria)
        word = str((await self._ask(station_id, "GetMonitoringReport", payload)).get("status"))
        is_everything = not names and not criteria
        if word == "EmptyResultSet" and is_everything:
            await noticing.only_monitors(self._store, station_id, [], self._clock.now_ms())
        if word != "Accepted":
            return word
        bodies, is_all = await self._collecting.parts(station_id, "NotifyMonitoringReport", request_id)
        if not is_all:
            raise Refusal(Why.CHARGER_SILENT, "A part of the report did not come; ask again.")
        monitors = [one for body in bodies for one in wire.reported(body)]
        if is_everything:
            await noticing.only_monitors(self._store, station_id, monitors, self._clock.now_ms())
        else:
            await self._keep_reported(station_id, monitors, self._clock.now_ms())
        return word

    async def _ask(self, station_id: str, action: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        if self._stations.known(station_id).transport != Version.V201.value:
            raise Refusal(Why.NOT_SUPPORTED, "Only a charger that speaks OCPP 2.0.1 watches variables.")
        return await visit_now(self._stations, station_id, self._raw).ask_now(action, payload)

    # -- what answers and reports say, whoever asked

    async def _keep(self, station_id: str, monitors: Sequence[noticing.Monitor], at_ms: int) -> None:
        if monitors:
            await noticing.keep_monitors(self._store, station_id, monitors, noticing.OURS, at_ms)

    async def _keep_reported(self, station_id: str, monitors: Sequence[noticing.Monitor], at_ms: int) -> None:
        if monitors:
            await noticing.keep_monitors(self._store, station_id, monitors, noticing.REPORTED, at_ms)

    async def _set(self, answered: CallAnswered) -> None:
        await self._keep(answered.station, wire.monitors_set(answered.request, answered.response), answered.at_ms)

    async def _cleared(self, answered: CallAnswered) -> None:
        await noticing.drop_monitors(self._store, answered.station, _gone(answered.response), answered.at_ms)

    async def _based(self, answered: CallAnswered) -> None:
        is_back = answered.request.get("monitoringBase") in _BACK_TO_OTHERS
        if is_back and answered.response.get("status") == "Accepted":
            await noticing.drop_our_monitors(self._store, answered.station, answered.at_ms)

    async def _reported(self, report: Report) -> None:
        await self._keep_reported(report.station, wire.reported(report.body), report.received_ms)

    async def _notified(self, report: Report) -> None:
        told = wire.events(report.body, self._quirks(report.station))
        await noticing.notice(self._store, report.station, told, report.received_ms)

    async def _security_notified(self, report: Report) -> None:
        told = wire.security_event(report.body, self._quirks(report.station))
        await noticing.notice(self._store, report.station, [told], report.received_ms)

    def _quirks(self, station_id: str) -> frozenset[str]:
        station = self._stations.get(station_id)
        return station.quirks if station is not None else frozenset()


def _gone(answer: Mapping[str, Any]) -> list[int]:
    """Monitors that are not there any more: cleared now, or unknown to the charger."""
    results = answer.get("clearMonitoringResult") or ()
    return [one["id"] for one in results if one["status"] in {"Accepted", "NotFound"}]
