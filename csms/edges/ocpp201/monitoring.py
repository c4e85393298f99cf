"""Variable monitoring of OCPP 2.0.1 on the wire <-> monitors and events (N01-N08). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from csms.app.masks import is_secret
from csms.app.noticing import Monitor
from csms.domain.notices import Notice, severity_of_security
from csms.domain.provisioning import Item
from csms.edges.ocpp201.device_model import in_messages, name_of, parts_of
from csms.edges.ocpptime import parse
from firmware_profiles.quirks import NO_QUIRKS

Payload = dict[str, Any]

_CONTROLLER: Final = "MonitoringCtrlr"


def plain(number: float | Decimal) -> str:
    """A limit as it is shown: 30, not 30.0."""
    return format(Decimal(str(number)).normalize(), "f")


# -- what a station says


def reported(body: Mapping[str, Any]) -> list[Monitor]:
    """The monitors of one NotifyMonitoringReport."""
    return [
        Monitor(
            one["id"],
            name_of(entry["component"], entry["variable"]),
            one["type"],
            plain(one["value"]),
            one["severity"],
            {**_place(entry), "transaction": one["transaction"]},
        )
        for entry in body.get("monitor") or ()
        for one in entry["variableMonitoring"]
    ]


def monitors_set(request: Mapping[str, Any], response: Mapping[str, Any]) -> list[Monitor]:
    """Those of a SetVariableMonitoring that stand now. Results come in the order of what was asked (N04)."""
    asked = request.get("setMonitoringData") or ()
    results = response.get("setMonitoringResult") or ()
    made: list[Monitor] = []
    for result in results:
        one = _asked_for(result, asked)
        if one is None or result["status"] != "Accepted" or result.get("id") is None:
            continue
        data = {**_place(one), "transaction": bool(one.get("transaction"))}
        name = name_of(one["component"], one["variable"])
        made.append(Monitor(result["id"], name, one["type"], plain(one["value"]), one["severity"], data))
    return made


def _asked_for(result: Mapping[str, Any], asked: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The request that a result answers: the same variable, type and severity."""
    name = name_of(result["component"], result["variable"]).casefold()
    for one in asked:
        is_it = name_of(one["component"], one["variable"]).casefold() == name
        if is_it and one["type"] == result["type"] and one["severity"] == result["severity"]:
            return one
    return None


def events(body: Mapping[str, Any], quirks: frozenset[str] = NO_QUIRKS) -> list[Notice]:
    """The events of one NotifyEvent."""
    return [
        Notice(
            # A station may count its events anew after a reboot: the moment tells them apart.
            id=f"{one['timestamp']}|{one['eventId']}",
            kind="event",
            name=name_of(one["component"], one["variable"]),
            value=None if is_secret(one["variable"]["name"]) else one.get("actualValue"),
            trigger=one.get("trigger"),
            is_cleared=bool(one.get("cleared")),
            monitor_id=one.get("variableMonitoringId"),
            at_ms=parse(one["timestamp"], quirks),
            data={name: value for name, value in one.items() if name not in {"actualValue", "customData"}},
        )
        for one in body.get("eventData") or ()
    ]


def security_event(body: Mapping[str, Any], quirks: frozenset[str] = NO_QUIRKS) -> Notice:
    """SecurityEventNotification; 1.6 has the same members."""
    return Notice(
        id=f"{body['timestamp']}|{body['type']}",
        kind="security",
        name=body["type"],
        severity=severity_of_security(body["type"]),
        value=body.get("techInfo"),
        at_ms=parse(body["timestamp"], quirks),
        data=dict(body),
    )


# -- what we ask


def set_monitors(wants: Sequence[Mapping[str, Any]], held: Sequence[Item]) -> list[Payload]:
    """SetVariableMonitoring; each of `wants` has name, type, value, severity, and perhaps transaction, monitor_id."""
    members = []
    for want in wants:
        member: Payload = {"value": float(want["value"]), "type": want["type"], "severity": want["severity"]}
        if want.get("transaction"):
            member["transaction"] = True
        if want.get("monitor_id") is not None:
            member["id"] = want["monitor_id"]
        members.append({**member, **parts_of(want["name"])})
    return [{"setMonitoringData": part} for part in in_messages(members, held, "SetVariableMonitoring", _CONTROLLER)]


def clear_monitors(ids: Sequence[int], held: Sequence[Item]) -> list[Payload]:
    """ClearVariableMonitoring."""
    members = [{"id": one} for one in dict.fromkeys(ids)]
    parts = in_messages(members, held, "ClearVariableMonitoring", _CONTROLLER)
    return [{"id": [member["id"] for member in part]} for part in parts]


def monitoring_report(request_id: int, names: Sequence[str], criteria: Sequence[str]) -> Payload:
    """GetMonitoringReport; neither names nor criteria: everything."""
    payload: Payload = {"requestId": request_id}
    if criteria:
        payload["monitoringCriteria"] = list(criteria)
    if names:
        payload["componentVariable"] = [parts_of(name) for name in names]
    return payload


def _place(entry: Mapping[str, Any]) -> Payload:
    return {"component": entry["component"], "variable": entry["variable"]}
