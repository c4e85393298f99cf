"""The device model of OCPP 2.0.1 on the wire <-> names and items (B05-B08, N). Pure.

A variable's name in this house is `Component[instance]@evse.connector.Variable[instance]`, the parts that are absent
left out: `OCPPCommCtrlr.MessageTimeout[Default]`, `Connector@1.1.Available`. The parts themselves travel in
`Item.data`, so a name that was reported never has to be taken apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from csms.app.masks import is_secret
from csms.domain.provisioning import ACTUAL, READ_WRITE, WRITE_ONLY, Item, Wanted, batches
from csms.domain.refusal import Refusal, Why
from firmware_profiles.quirks import MAX_KEYS_PER_GET, NO_QUIRKS, number_of

Payload = dict[str, Any]

_NAME: Final = re.compile(
    r"(?P<component>[^\[\]@.]{1,50})(?:\[(?P<component_instance>[^\[\]]{1,50})\])?"
    r"(?:@(?P<evse>\d{1,9})(?:\.(?P<connector>\d{1,9}))?)?"
    r"\.(?P<variable>[^\[\]]{1,50})(?:\[(?P<variable_instance>[^\[\]]{1,50})\])?"
)
_FRAME_BYTES: Final = 100  # of a CALL around its list

# What a station is asked for when it cannot report: the variables that the referenced components require (part 2,
# chapter 3), and those our own work rests on.
KNOWN_VARIABLES: Final = (
    "AlignedDataCtrlr.Interval", "AlignedDataCtrlr.Measurands", "AlignedDataCtrlr.TxEndedInterval",
    "AlignedDataCtrlr.TxEndedMeasurands", "AuthCacheCtrlr.Enabled", "AuthCtrlr.AuthorizeRemoteStart",
    "AuthCtrlr.LocalAuthorizeOffline", "AuthCtrlr.LocalPreAuthorize", "AuthCtrlr.OfflineTxForUnknownIdEnabled",
    "ClockCtrlr.DateTime", "ClockCtrlr.TimeSource", "DeviceDataCtrlr.BytesPerMessage[GetReport]",
    "DeviceDataCtrlr.BytesPerMessage[GetVariables]", "DeviceDataCtrlr.BytesPerMessage[SetVariables]",
    "DeviceDataCtrlr.ItemsPerMessage[GetReport]", "DeviceDataCtrlr.ItemsPerMessage[GetVariables]",
    "DeviceDataCtrlr.ItemsPerMessage[SetVariables]", "LocalAuthListCtrlr.BytesPerMessage",
    "LocalAuthListCtrlr.Enabled", "LocalAuthListCtrlr.Entries", "LocalAuthListCtrlr.ItemsPerMessage",
    "MonitoringCtrlr.BytesPerMessage[SetVariableMonitoring]", "MonitoringCtrlr.ItemsPerMessage[SetVariableMonitoring]",
    "OCPPCommCtrlr.FileTransferProtocols", "OCPPCommCtrlr.HeartbeatInterval",
    "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]", "OCPPCommCtrlr.MessageAttempts[TransactionEvent]",
    "OCPPCommCtrlr.MessageTimeout[Default]", "OCPPCommCtrlr.NetworkConfigurationPriority",
    "OCPPCommCtrlr.NetworkProfileConnectionAttempts", "OCPPCommCtrlr.OfflineThreshold",
    "OCPPCommCtrlr.QueueAllMessages", "OCPPCommCtrlr.ResetRetries", "OCPPCommCtrlr.RetryBackOffRandomRange",
    "OCPPCommCtrlr.RetryBackOffRepeatTimes", "OCPPCommCtrlr.RetryBackOffWaitMinimum",
    "OCPPCommCtrlr.UnlockOnEVSideDisconnect", "OCPPCommCtrlr.WebSocketPingInterval",
    "SampledDataCtrlr.SignReadings", "SampledDataCtrlr.TxEndedInterval", "SampledDataCtrlr.TxEndedMeasurands",
    "SampledDataCtrlr.TxStartedMeasurands", "SampledDataCtrlr.TxUpdatedInterval",
    "SampledDataCtrlr.TxUpdatedMeasurands", "SecurityCtrlr.CertificateEntries", "SecurityCtrlr.OrganizationName",
    "SecurityCtrlr.SecurityProfile", "SmartChargingCtrlr.Entries[ChargingProfiles]",
    "SmartChargingCtrlr.PeriodsPerSchedule", "SmartChargingCtrlr.ProfileStackLevel", "SmartChargingCtrlr.RateUnit",
    "TxCtrlr.EVConnectionTimeOut", "TxCtrlr.MaxEnergyOnInvalidId", "TxCtrlr.StopTxOnEVSideDisconnect",
    "TxCtrlr.StopTxOnInvalidId", "TxCtrlr.TxStartPoint", "TxCtrlr.TxStopPoint",
)  # fmt: skip


# -- names


def name_of(component: Mapping[str, Any], variable: Mapping[str, Any]) -> str:
    """The house's name of a variable."""
    said = str(component["name"])
    if component.get("instance"):
        said += f"[{component['instance']}]"
    if evse := component.get("evse"):
        said += f"@{evse['id']}"
        if evse.get("connectorId") is not None:
            said += f".{evse['connectorId']}"
    said += f".{variable['name']}"
    if variable.get("instance"):
        said += f"[{variable['instance']}]"
    return said


def parts_of(name: str) -> Payload:
    """`component` and `variable` of a name. Raises Refusal for one that is none."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise Refusal(Why.INVALID_REQUEST, f"{name!r} is not of the form Component.Variable")
    component: Payload = {"name": found["component"]}
    if found["component_instance"]:
        component["instance"] = found["component_instance"]
    if found["evse"]:
        component["evse"] = {"id": int(found["evse"])}
        if found["connector"]:
            component["evse"]["connectorId"] = int(found["connector"])
    variable: Payload = {"name": found["variable"]}
    if found["variable_instance"]:
        variable["instance"] = found["variable_instance"]
    return {"component": component, "variable": variable}


def place_of(item: Item) -> Payload:
    """`component` and `variable` of an item: its own where it was reported, else read from its name."""
    if "component" in item.data and "variable" in item.data:
        return {"component": item.data["component"], "variable": item.data["variable"]}
    return parts_of(item.name)


# -- what a station says


def reported(body: Mapping[str, Any]) -> list[Item]:
    """The items of one NotifyReport."""
    found: list[Item] = []
    for entry in body.get("reportData") or ():
        data = {"component": entry["component"], "variable": entry["variable"]}
        if entry.get("variableCharacteristics"):
            data["characteristics"] = entry["variableCharacteristics"]
        name = name_of(entry["component"], entry["variable"])
        for attribute in entry["variableAttribute"]:
            # B07/part 2: an absent type is Actual, an absent mutability ReadWrite.
            mutability = attribute.get("mutability") or READ_WRITE
            value = attribute.get("value")
            is_hidden = is_secret(entry["variable"]["name"]) or mutability == WRITE_ONLY
            found.append(Item(name, None if is_hidden else value, mutability, attribute.get("type") or ACTUAL, data))
    return found


def variables_read(response: Mapping[str, Any]) -> tuple[list[Item], list[str]]:
    """Of a GetVariables answer: what it holds, and the names it does not know."""
    found: list[Item] = []
    unknown: list[str] = []
    for result in response.get("getVariableResult") or ():
        name = name_of(result["component"], result["variable"])
        match result["attributeStatus"]:
            case "Accepted":
                value = None if is_secret(result["variable"]["name"]) else result.get("attributeValue")
                data = {"component": result["component"], "variable": result["variable"]}
                found.append(Item(name, value, None, result.get("attributeType") or ACTUAL, data))
            case "UnknownComponent" | "UnknownVariable":
                unknown.append(name)
    return found, unknown


def variables_set(request: Mapping[str, Any], response: Mapping[str, Any]) -> tuple[list[Item], dict[str, str]]:
    """Of SetVariables: the values that stand now, and every word by folded name."""
    asked = {
        (name_of(one["component"], one["variable"]).casefold(), one.get("attributeType") or ACTUAL): one
        for one in request.get("setVariableData") or ()
    }
    stands: list[Item] = []
    words: dict[str, str] = {}
    for result in response.get("setVariableResult") or ():
        name, attribute = name_of(result["component"], result["variable"]), result.get("attributeType") or ACTUAL
        words[name.casefold()] = result["attributeStatus"]
        one = asked.get((name.casefold(), attribute))
        if one is None or result["attributeStatus"] != "Accepted":
            continue
        value = None if is_secret(result["variable"]["name"]) else one["attributeValue"]
        data = {"component": result["component"], "variable": result["variable"]}
        stands.append(Item(name, value, None, attribute, data))
    return stands, words


# -- what we ask, in as many messages as the station can take


def limit(items: Iterable[Item], what: str, message: str, controller: str = "DeviceDataCtrlr") -> int | None:
    """`ItemsPerMessage` or `BytesPerMessage` of a message, None where the station told none."""
    for wanted in (f"{controller}.{what}[{message}]", f"{controller}.{what}"):
        for item in items:
            if item.name.casefold() == wanted.casefold() and item.attribute == ACTUAL:
                return int(item.value) if item.value and item.value.isdecimal() and int(item.value) > 0 else None
    return None


def in_messages(
    members: Sequence[Payload],
    held: Sequence[Item],
    message: str,
    controller: str = "DeviceDataCtrlr",
    *,
    most: int | None = None,
) -> list[list[Payload]]:
    """`members` in lists that respect the limits the station told (B05.FR.11, B06.FR.05, N04.FR); `most`: ours."""
    told = limit(held, "ItemsPerMessage", message, controller)
    return batches(
        members,
        [len(json.dumps(member, separators=(",", ":")).encode()) for member in members],
        most=min((one for one in (told, most) if one is not None), default=None),
        most_bytes=limit(held, "BytesPerMessage", message, controller),
        frame_bytes=_FRAME_BYTES,
    )


def get_variables(places: Sequence[Payload], held: Sequence[Item], quirks: frozenset[str] = NO_QUIRKS) -> list[Payload]:
    """GetVariables for these places, as many messages as needed."""
    most = number_of(quirks, MAX_KEYS_PER_GET)
    return [{"getVariableData": part} for part in in_messages(places, held, "GetVariables", most=most)]


def set_variables(wants: Sequence[Wanted], held: Sequence[Item]) -> list[Payload]:
    """SetVariables for these values. One place stands in one message once (B05.FR.13): names are unique."""
    by_name = {item.name.casefold(): item for item in held if item.attribute == ACTUAL}
    members = []
    for want in {want.name.casefold(): want for want in wants}.values():
        item = by_name.get(want.name.casefold())
        place = place_of(item) if item is not None else parts_of(want.name)
        members.append({"attributeValue": want.value, **place})
    return [{"setVariableData": part} for part in in_messages(members, held, "SetVariables")]
