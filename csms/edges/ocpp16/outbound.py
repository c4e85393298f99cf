"""Commands of the house as OCPP 1.6 calls, and a charge point's answers read back. Pure.

The members of each command are listed in `ocppcalls`. Ids the charge point may not know (connector 99, somebody
else's transaction) go out as they are: the charge point decides (OCPP appendix).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from csms.domain.charging_profile import OURS, Purpose
from csms.domain.refusal import Refusal, Why
from csms.edges.ocppcalls import (
    Answer,
    Build,
    Call,
    Payload,
    build,
    flag,
    need,
    power_limit,
    short,
    status_answer,
)
from csms.edges.ocppprofiles import PURPOSES_16, given, to_16
from csms.edges.ocpptime import stamp
from firmware_profiles.quirks import NO_QUIRKS, REMOTE_START_NEEDS_CONNECTOR

# Everything the central system may send: 19 messages of the core document and 7 of the security white paper.
CSMS_ACTIONS: Final = frozenset(
    {
        "CancelReservation",
        "ChangeAvailability",
        "ChangeConfiguration",
        "ClearCache",
        "ClearChargingProfile",
        "DataTransfer",
        "GetCompositeSchedule",
        "GetConfiguration",
        "GetDiagnostics",
        "GetLocalListVersion",
        "RemoteStartTransaction",
        "RemoteStopTransaction",
        "ReserveNow",
        "Reset",
        "SendLocalList",
        "SetChargingProfile",
        "TriggerMessage",
        "UnlockConnector",
        "UpdateFirmware",
        "CertificateSigned",
        "DeleteCertificate",
        "ExtendedTriggerMessage",
        "GetInstalledCertificateIds",
        "GetLog",
        "InstallCertificate",
        "SignedUpdateFirmware",
    }
)

_TRIGGERS: Final = frozenset(
    {
        "BootNotification",
        "DiagnosticsStatusNotification",
        "FirmwareStatusNotification",
        "Heartbeat",
        "MeterValues",
        "StatusNotification",
    }
)
_TRIGGER_WORDS: Final = {
    "SignChargingStationCertificate": "SignChargePointCertificate",  # 2.0.1's name for the same
}
_ID_TAG_MAX: Final = 20  # CiString20
_KEY_MAX: Final = 50
_VALUE_MAX: Final = 500


def to_call(kind: str, payload: Mapping[str, Any], *, quirks: frozenset[str] = NO_QUIRKS) -> Call:
    """(action, payload) of a command. Raises `Refusal` when the command cannot be said in 1.6."""
    return build(_COMMANDS, kind, payload, quirks)


def read_answer(action: str, response: Mapping[str, Any]) -> Answer:
    """What the charge point said to `action`. Accepted is a promise, not an effect (OCPP 4.2 row 12)."""
    match action:
        case "GetConfiguration":
            return Answer(True, "Accepted", dict(response))
        case "UpdateFirmware":
            return Answer(True, "Accepted", {})
        case "GetDiagnostics":
            # No file name: there is nothing to upload (1.6 5.9).
            has_file = bool(response.get("fileName"))
            return Answer(has_file, "Accepted" if has_file else "NoFile", dict(response))
        case "GetLocalListVersion":
            supported = response.get("listVersion", -1) != -1
            return Answer(supported, "Accepted" if supported else "NotSupported", dict(response))
        case "ClearChargingProfile":
            # Unknown: no such profile, which is what was wanted.
            answer = status_answer(response)
            return answer._replace(accepted=answer.accepted or answer.status == "Unknown")
        case _:
            return status_answer(response)


def csms_actions() -> frozenset[str]:
    """Every action the central system may send."""
    return CSMS_ACTIONS


def _start(command: Mapping[str, Any], quirks: frozenset[str]) -> Call:
    payload: Payload = {"idTag": short(need(command, "token"), _ID_TAG_MAX, "the token")}
    connector = _connector(command)
    if connector:
        payload["connectorId"] = connector
    elif REMOTE_START_NEEDS_CONNECTOR in quirks:
        raise Refusal(Why.UNKNOWN_CONNECTOR, "this model starts only when a connector is named")
    if "watts" in command or "amperes" in command:
        payload["chargingProfile"] = _tx_profile(command, connector)
    return "RemoteStartTransaction", payload


def _stop(command: Mapping[str, Any], _: frozenset[str]) -> Call:
    return "RemoteStopTransaction", {"transactionId": _transaction(command)}


def _unlock(command: Mapping[str, Any], _: frozenset[str]) -> Call:
    return "UnlockConnector", {"connectorId": int(need(command, "connector", "evse"))}


def _reset(command: Mapping[str, Any], _: frozenset[str]) -> Call:
    if command.get("evse"):
        raise Refusal(Why.NOT_SUPPORTED, "OCPP 1.6 resets the whole charge point only")
    return "Reset", {"type": "Hard" if command.get("hard") else "Soft"}


def _availability(command: Mapping[str, Any], _: frozenset[str]) -> Call:
    operative = flag(command, "operative")
    payload = {"connectorId": _connector(command) or 0, "type": "Operative" if operative else "Inoperative"}
    return "ChangeAvailability", payload


def _trigger(command: Mapping[str, Any], _: frozenset[str]) -> Call:
    message = _TRIGGER_WORDS.get(need(command, "message"), command["message"])
    payload: Payload = {"requestedMessage": message}
    if connector := _connector(command):
        payload["connectorId"] = connector
    return ("TriggerMessage" if message in _TRIGGERS else "ExtendedTriggerMessage"), payload


def _get_config(command: Mapping[str, Any], _: frozenset[str]) -> Call:
    if "component" in command:
        raise Refusal(Why.NOT_SUPPORTED, "OCPP 1.6 has configuration keys, not components and variables")
    keys = [short(key, _KEY_MAX, "a key") for key in command.get("keys", ())]
    return "GetConfiguration", {"key": keys} if keys else {}


def _set_config(command: Mapping[str, Any], _: frozenset[str]) -> Call:
    payload = {
        "key": short(need(command, "key"), _KEY_MAX, "the key"),
        "value": short(need(command, "value"), _VALUE_MAX, "the value"),
    }
    return "ChangeConfiguration", payload


def _reserve(command: Mapping[str, Any], _: frozenset[str]) -> Call:
    payload: Payload = {
        "connectorId": _connector(command) or 0,
        "expiryDate": stamp(need(command, "expires_ms")),
        "idTag": short(need(command, "token"), _ID_TAG_MAX, "the token"),
        "reservationId": int(need(command, "reservation_id")),
    }
    if "group" in command:
        payload["parentIdTag"] = short(command["group"], _ID_TAG_MAX, "the group")
    return "ReserveNow", payload


def _cancel_reservation(command: Mapping[str, Any], _: frozenset[str]) -> Call:
    return "CancelReservation", {"reservationId": int(need(command, "reservation_id"))}


def _clear_cache(_: Mapping[str, Any], __: frozenset[str]) -> Call:
    return "ClearCache", {}


def _data_transfer(command: Mapping[str, Any], _: frozenset[str]) -> Call:
    payload: Payload = {"vendorId": short(need(command, "vendor_id"), 255, "the vendor id")}
    if "message_id" in command:
        payload["messageId"] = short(command["message_id"], 50, "the message id")
    if "data" in command:
        data = command["data"]
        # 1.6 carries text only, so anything else travels as JSON in it.
        payload["data"] = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    return "DataTransfer", payload


def _limit(command: Mapping[str, Any], _: frozenset[str]) -> Call:
    connector = int(need(command, "connector", "evse"))
    profile = _tx_profile(command, connector) | {"transactionId": _transaction(command)}
    return "SetChargingProfile", {"connectorId": connector, "csChargingProfiles": profile}


def _tx_profile(command: Mapping[str, Any], connector: int | None) -> Payload:
    unit, limit = power_limit(command)
    period: Payload = {"startPeriod": 0, "limit": limit}
    if "phases" in command:
        period["numberPhases"] = int(command["phases"])
    return {
        # One id per socket: a profile replaces the one with its id wherever that is installed (1.6 5.16.4).
        "chargingProfileId": int(command.get("profile_id", OURS + (connector or 0))),
        "stackLevel": int(command.get("stack_level", 0)),
        "chargingProfilePurpose": "TxProfile",
        "chargingProfileKind": "Relative",
        "chargingSchedule": {"chargingRateUnit": unit, "chargingSchedulePeriod": [period]},
    }


def _set_profile(command: Mapping[str, Any], _: frozenset[str]) -> Call:
    return "SetChargingProfile", {"connectorId": _connector(command) or 0, "csChargingProfiles": to_16(given(command))}


def _clear_profile(command: Mapping[str, Any], _: frozenset[str]) -> Call:
    if "profile_id" in command:
        return "ClearChargingProfile", {"id": int(command["profile_id"])}
    payload: Payload = {}
    if (connector := _connector(command)) is not None:
        payload["connectorId"] = connector
    if "purpose" in command:
        payload["chargingProfilePurpose"] = PURPOSES_16[Purpose(command["purpose"])]
    if "stack_level" in command:
        payload["stackLevel"] = int(command["stack_level"])
    return "ClearChargingProfile", payload


def _composite_schedule(command: Mapping[str, Any], _: frozenset[str]) -> Call:
    payload: Payload = {"connectorId": _connector(command) or 0, "duration": int(need(command, "duration_s"))}
    if "unit" in command:
        payload["chargingRateUnit"] = command["unit"]
    return "GetCompositeSchedule", payload


def _connector(command: Mapping[str, Any]) -> int | None:
    number = command.get("connector", command.get("evse"))
    return None if number is None else int(number)


def _transaction(command: Mapping[str, Any]) -> int:
    try:
        return int(need(command, "tx_id"))
    except ValueError:
        raise Refusal(Why.INVALID_REQUEST, "an OCPP 1.6 transaction id is a number") from None


_COMMANDS: Final[Mapping[str, Build]] = {
    "Start": _start,
    "Stop": _stop,
    "Unlock": _unlock,
    "Reset": _reset,
    "Availability": _availability,
    "Trigger": _trigger,
    "GetConfig": _get_config,
    "SetConfig": _set_config,
    "Reserve": _reserve,
    "CancelReservation": _cancel_reservation,
    "ClearCache": _clear_cache,
    "DataTransfer": _data_transfer,
    "Limit": _limit,
    "SetProfile": _set_profile,
    "ClearProfile": _clear_profile,
    "CompositeSchedule": _composite_schedule,
}
