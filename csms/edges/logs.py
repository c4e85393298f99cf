"""Asking chargers for their diagnostics and logs, and what they tell on the way (1.6 5.9, white paper 4.6; N01).

OCPP 1.6 has two ways: GetDiagnostics, which every charger knows, and GetLog of the security extension, which numbers
its requests and has the security log. What a charger has shown decides (`app.abilities`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from csms.app.abilities import has_security_extension
from csms.app.answers import RawAnswer, SchemaProblems
from csms.app.calls import CallAnswered
from csms.app.reports import Report
from csms.app.stations import Stations
from csms.app.uploads import DIAGNOSTICS, LOG, LogRequest, Uploads, Wish
from csms.domain.refusal import Refusal
from csms.edges.ocppj.codes import Version
from csms.edges.ocpptime import stamp
from csms.ports import Store

_LOG_TYPES: Final = {"diagnostics": "DiagnosticsLog", "security": "SecurityLog"}
_KINDS: Final = {"DiagnosticsStatusNotification": DIAGNOSTICS, "LogStatusNotification": LOG}


class Logs:
    """Sends the requests and reads what comes back."""

    def __init__(
        self, *, store: Store, stations: Stations, uploads: Uploads, raw: Callable[..., Awaitable[RawAnswer]]
    ) -> None:
        self._store = store
        self._stations = stations
        self._uploads = uploads
        self._raw = raw

    async def ask(self, station_id: str, wanted: LogRequest, who: str, *, timeout_s: float) -> str:
        """Ask now; the id of the upload, whose state says what the charger answered. Raises Refusal."""
        station = self._stations.present(station_id)
        numbered = station.transport == Version.V201.value or wanted.kind == "security"
        if not numbered:
            numbered = await self._store.read(lambda tx: has_security_extension(tx, station.id))
        wish = Wish(LOG if numbered else DIAGNOSTICS, _LOG_TYPES[wanted.kind], wanted.location, wanted.is_login)
        slot = await self._uploads.ask(station.id, wish, who)
        if numbered:
            action, payload = "GetLog", _get_log(wanted, wish.log_type, slot.request_id, slot.location)
        else:
            action, payload = "GetDiagnostics", _get_diagnostics(wanted, slot.location)
        try:
            answer = await self._raw(station.id, action, payload, timeout_s=timeout_s)
        except (Refusal, SchemaProblems) as no:
            await self._uploads.failed(slot.id, str(no))
            raise
        await self._take(slot.id, action, answer)
        return slot.id

    async def _take(self, upload_id: str, action: str, answer: RawAnswer) -> None:
        if answer.status == "answered" and isinstance(answer.response, dict):
            await self._uploads.answered(upload_id, *_read(action, answer.response))
        elif answer.status == "call_error":
            code = answer.error.get("code") if isinstance(answer.error, dict) else None
            await self._uploads.answered(upload_id, str(code or "an error"), None)
        elif answer.status == "offline":
            await self._uploads.failed(upload_id, "the link was lost")
        # No answer in time: it may have heard; its answer, its notices or the file may still come.

    async def on_answer(self, call: CallAnswered) -> None:
        """Reader of GetLog and GetDiagnostics: an answer that came too late for whoever asked counts all the same."""
        upload_id = await self._uploads.slot_of_call(call.station, call.action, call.request)
        if upload_id is not None:
            await self._uploads.answered(upload_id, *_read(call.action, call.response))

    async def on_notice(self, report: Report) -> None:
        """Reader of DiagnosticsStatusNotification and LogStatusNotification."""
        status, request_id = str(report.body.get("status")), report.body.get("requestId")
        await self._uploads.noticed(report.station, _KINDS[report.kind], status, request_id)


def _read(action: str, response: dict[str, Any]) -> tuple[str, str | None]:
    """(status, file name) of an answer; GetDiagnostics has no status, it accepts by answering."""
    if action == "GetDiagnostics":
        return "Accepted", response.get("fileName")
    return str(response.get("status")), response.get("filename")


def _get_diagnostics(wanted: LogRequest, location: str) -> dict[str, Any]:
    payload: dict[str, Any] = {"location": location, **_retries(wanted)}
    if wanted.oldest_ms is not None:
        payload["startTime"] = stamp(wanted.oldest_ms)
    if wanted.latest_ms is not None:
        payload["stopTime"] = stamp(wanted.latest_ms)
    return payload


def _get_log(wanted: LogRequest, log_type: str, request_id: int, location: str) -> dict[str, Any]:
    log: dict[str, Any] = {"remoteLocation": location}
    if wanted.oldest_ms is not None:
        log["oldestTimestamp"] = stamp(wanted.oldest_ms)
    if wanted.latest_ms is not None:
        log["latestTimestamp"] = stamp(wanted.latest_ms)
    return {"logType": log_type, "requestId": request_id, "log": log, **_retries(wanted)}


def _retries(wanted: LogRequest) -> dict[str, int]:
    given = {"retries": wanted.retries, "retryInterval": wanted.retry_interval_s}
    return {name: value for name, value in given.items() if value is not None}
