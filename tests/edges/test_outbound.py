"""Commands of the house become calls that fit the request schemas of both versions; answers are read back."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.domain.charging_profile import OURS
from csms.domain.refusal import Refusal, Why
from csms.edges.ocpp16 import outbound as v16
from csms.edges.ocpp16 import wire as wire16
from csms.edges.ocpp201 import outbound as v201
from csms.edges.ocpp201 import wire as wire201
from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.schemas import schemas_for
from firmware_profiles.quirks import REMOTE_START_NEEDS_CONNECTOR

AT_MS = 1_767_323_045_678
TOKEN = "K7Q2M5W8X3Y6Z1A4B9C0"
VERSIONS = [(Version.V16, v16), (Version.V201, v201)]

START = {"token": TOKEN, "evse": 2, "connector": 1, "remote_start_id": 41}
RESERVE = {"reservation_id": 5, "token": TOKEN, "expires_ms": AT_MS, "evse": 2, "connector": 2}
PROFILE = {
    "id": 8, "stackLevel": 1, "chargingProfilePurpose": "TxDefaultProfile", "chargingProfileKind": "Recurring",
    "recurrencyKind": "Daily", "validFrom": "2026-01-02T03:04:05Z",
    "chargingSchedule": {
        "startSchedule": "2026-01-02T00:00:00+05:30", "duration": 86400, "chargingRateUnit": "A", "minChargingRate": 6,
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16.06, "numberPhases": 3}],
    },
}  # fmt: skip
LIMIT = {"tx_id": "17", "evse": 2, "connector": 2}
MESSAGE = {"id": 0, "priority": "NormalCycle", "message": {"format": "UTF8", "content": "Welcome"}}
COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("Start", START),
    ("Start", {"token": TOKEN, "remote_start_id": 41, "evse": None}),
    ("Start", START | {"watts": 3300, "budget": {"wh": 5000}}),
    ("Stop", {"tx_id": "17"}),
    ("Unlock", {"evse": 2, "connector": 99}),
    ("Reset", {"hard": True}),
    ("Reset", {"hard": False}),
    ("Reset", {}),
    ("Availability", {"operative": False}),
    ("Availability", {"operative": True, "evse": 0, "connector": 0}),
    ("Availability", {"operative": True, "evse": 2}),
    ("Availability", {"operative": True, "evse": 2, "connector": 2}),
    *(("Trigger", {"message": message, "evse": 1, "connector": 1}) for message in sorted(v16._TRIGGERS)),
    ("Trigger", {"message": "LogStatusNotification"}),
    ("Trigger", {"message": "SignChargePointCertificate"}),
    ("Trigger", {"message": "SignChargingStationCertificate"}),
    ("GetConfig", {"request_id": 3}),
    ("GetConfig", {"keys": ["OCPPCommCtrlr.HeartbeatInterval"]}),
    ("SetConfig", {"key": "SampledDataCtrlr.TxUpdatedInterval", "value": 60}),
    ("Reserve", RESERVE),
    ("Reserve", RESERVE | {"group": "FLEET", "evse": None, "connector": None}),
    ("CancelReservation", {"reservation_id": 99999}),
    ("ClearCache", {}),
    ("DataTransfer", {"vendor_id": "in.voltbee"}),
    ("DataTransfer", {"vendor_id": "in.voltbee", "message_id": "x", "data": {"a": [1]}}),
    ("Limit", LIMIT | {"watts": 3333.333}),
    ("Limit", LIMIT | {"amperes": 16, "phases": 3, "profile_id": 8, "stack_level": 1}),
    ("SetProfile", {"profile": PROFILE}),
    ("SetProfile", {"profile": PROFILE, "evse": 2, "connector": 2}),
    ("SetProfile", {"profile": {**PROFILE, "chargingProfilePurpose": "TxProfile", "transactionId": "17"}, "evse": 2}),
    ("ClearProfile", {"profile_id": 8}),
    ("ClearProfile", {"evse": 0, "purpose": "station-max", "stack_level": 1}),
    ("CompositeSchedule", {"duration_s": 300}),
    ("CompositeSchedule", {"duration_s": 300, "unit": "A", "evse": 2, "connector": 2}),
]
COMMANDS_201: list[tuple[str, dict[str, Any]]] = [
    ("GetProfiles", {"request_id": 3, "profile_ids": [1, 2]}),
    ("GetProfiles", {"request_id": 3, "evse": 0, "purpose": "external", "stack_level": 0, "sources": ["EMS"]}),
    ("SetDisplayMessage", {"message": MESSAGE}),
    ("ClearDisplayMessage", {"message_no": 0}),
    ("GetDisplayMessages", {"request_id": 3}),
    ("GetDisplayMessages", {"request_id": 3, "numbers": [1, 2], "priority": "InFront", "state": "Idle"}),
]


@pytest.mark.parametrize(("version", "module"), VERSIONS)
@pytest.mark.parametrize(("kind", "payload"), COMMANDS)
def test_every_command_fits_its_schema(
    version: Version, module: ModuleType, kind: str, payload: dict[str, Any]
) -> None:
    action, call = module.to_call(kind, payload)
    assert action in module.csms_actions()
    assert schemas_for(version).validate(action, "request", call) == []


@pytest.mark.parametrize(("version", "module"), VERSIONS)
def test_every_kind_of_command_is_tried(version: Version, module: ModuleType) -> None:
    tried = COMMANDS + (COMMANDS_201 if module is v201 else [])
    assert {kind for kind, _ in tried} == module._COMMANDS.keys()


@pytest.mark.parametrize(("kind", "payload"), COMMANDS_201)
def test_every_command_of_201_alone_fits_its_schema(kind: str, payload: dict[str, Any]) -> None:
    action, call = v201.to_call(kind, payload)
    assert schemas_for(Version.V201).validate(action, "request", call) == []
    with pytest.raises(Refusal, match="has no"):
        v16.to_call(kind, payload)


@pytest.mark.parametrize(("version", "inbound", "module"), [(Version.V16, wire16, v16), (Version.V201, wire201, v201)])
def test_the_actions_of_both_sides_are_all_the_actions(
    version: Version, inbound: ModuleType, module: ModuleType
) -> None:
    assert inbound.INBOUND_ACTIONS | module.csms_actions() == schemas_for(version).actions
    assert inbound.INBOUND_ACTIONS & module.csms_actions() == {"DataTransfer"}


def test_a_start_says_who_and_where_in_each_version() -> None:
    assert v16.to_call("Start", START) == ("RemoteStartTransaction", {"idTag": TOKEN, "connectorId": 1})
    action, payload = v201.to_call("Start", START)
    assert action == "RequestStartTransaction"
    assert payload == {"idToken": {"idToken": TOKEN, "type": "Central"}, "remoteStartId": 41, "evseId": 2}


def test_a_start_without_a_socket_lets_the_charger_choose() -> None:
    assert v16.to_call("Start", {"token": "A"}) == ("RemoteStartTransaction", {"idTag": "A"})
    with pytest.raises(Refusal) as refused:
        v16.to_call("Start", {"token": "A"}, quirks=frozenset({REMOTE_START_NEEDS_CONNECTOR}))
    assert refused.value.why is Why.UNKNOWN_CONNECTOR


def test_the_profile_of_a_start_names_no_transaction_and_that_of_a_limit_does() -> None:
    _, start = v16.to_call("Start", START | {"amperes": 16})
    assert "transactionId" not in start["chargingProfile"]
    _, limit = v16.to_call("Limit", LIMIT | {"amperes": 16})
    assert limit["csChargingProfiles"]["transactionId"] == 17
    schedule = limit["csChargingProfiles"]["chargingSchedule"]
    assert schedule == {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16.0}]}
    _, limit = v201.to_call("Limit", LIMIT | {"watts": 0})
    assert (limit["evseId"], limit["chargingProfile"]["transactionId"]) == (2, "17")
    assert limit["chargingProfile"]["chargingSchedule"][0]["chargingSchedulePeriod"][0]["limit"] == 0


def test_the_limits_of_two_sockets_do_not_replace_each_other() -> None:
    both = [LIMIT | {"watts": 1}, LIMIT | {"watts": 1, "evse": 3, "connector": 3}]
    made = [v16.to_call("Limit", one)[1]["csChargingProfiles"] for one in both]
    assert [one["chargingProfileId"] for one in made] == [OURS + 2, OURS + 3]
    assert [v201.to_call("Limit", one)[1]["chargingProfile"]["id"] for one in both] == [OURS + 2, OURS + 3]


def test_the_station_itself_is_connector_zero_or_nobody() -> None:
    assert v16.to_call("Availability", {"operative": False})[1] == {"connectorId": 0, "type": "Inoperative"}
    assert v201.to_call("Availability", {"operative": False})[1] == {"operationalStatus": "Inoperative"}
    assert v201.to_call("Availability", {"operative": True, "evse": 2})[1]["evse"] == {"id": 2}


def test_no_keys_means_every_key_and_no_filter_on_the_wire() -> None:
    assert v16.to_call("GetConfig", {"keys": []}) == ("GetConfiguration", {})
    assert v16.to_call("GetConfig", {"keys": ["HeartbeatInterval"]})[1] == {"key": ["HeartbeatInterval"]}
    action, payload = v201.to_call("GetConfig", {"request_id": 3})
    assert (action, payload["reportBase"]) == ("GetBaseReport", "FullInventory")


def test_a_variable_is_named_in_full_or_with_a_dot() -> None:
    named = {"component": "EVSE", "variable": "Power", "evse": 1, "instance": "x", "attribute": "MaxSet"}
    _, payload = v201.to_call("GetConfig", named)
    assert payload["getVariableData"] == [
        {
            "component": {"name": "EVSE", "evse": {"id": 1}},
            "variable": {"name": "Power", "instance": "x"},
            "attributeType": "MaxSet",
        }
    ]
    _, payload = v201.to_call("SetConfig", {"key": "AuthCtrlr.Enabled", "value": True})
    assert payload["setVariableData"][0]["attributeValue"] == "true"
    assert v16.to_call("SetConfig", {"key": "k", "value": False})[1]["value"] == "false"


@pytest.mark.parametrize(
    ("message", "action"),
    [("Heartbeat", "TriggerMessage"), ("LogStatusNotification", "ExtendedTriggerMessage")],
)
def test_what_the_core_cannot_trigger_the_security_paper_can(message: str, action: str) -> None:
    assert v16.to_call("Trigger", {"message": message})[0] == action


@pytest.mark.parametrize(
    ("module", "kind", "payload", "why"),
    [
        (v16, "Dance", {}, Why.NOT_SUPPORTED),
        (v16, "Start", {}, Why.INVALID_REQUEST),
        (v16, "Start", {"token": "x" * 21}, Why.INVALID_REQUEST),
        (v201, "Start", {"token": "x"}, Why.INVALID_REQUEST),
        (v201, "Start", {"token": "x" * 37, "remote_start_id": 1}, Why.INVALID_REQUEST),
        (v16, "Stop", {"tx_id": "0e7b-uuid"}, Why.INVALID_REQUEST),
        (v201, "Stop", {}, Why.INVALID_REQUEST),
        (v16, "Reset", {"evse": 1}, Why.NOT_SUPPORTED),
        (v16, "GetConfig", {"component": "EVSE", "variable": "Power"}, Why.NOT_SUPPORTED),
        (v201, "GetConfig", {}, Why.INVALID_REQUEST),
        (v201, "GetConfig", {"keys": ["HeartbeatInterval"]}, Why.INVALID_REQUEST),
        (v16, "Availability", {"operative": "false"}, Why.INVALID_REQUEST),
        (v201, "Availability", {"operative": 0}, Why.INVALID_REQUEST),
        (v16, "Limit", LIMIT, Why.INVALID_REQUEST),
        (v16, "Limit", LIMIT | {"watts": "much"}, Why.INVALID_REQUEST),
        (v16, "Unlock", {"connector": "left"}, Why.INVALID_REQUEST),
    ],
)
def test_what_cannot_be_said_is_refused(module: ModuleType, kind: str, payload: dict[str, Any], why: Why) -> None:
    with pytest.raises(Refusal) as refused:
        module.to_call(kind, payload)
    assert refused.value.why is why


@given(st.floats(0, 1e6))
def test_every_limit_is_a_multiple_of_a_tenth(watts: float) -> None:
    for version, module in VERSIONS:
        action, payload = module.to_call("Limit", LIMIT | {"watts": watts})
        assert schemas_for(version).validate(action, "request", payload) == []


@pytest.mark.parametrize("module", [v16, v201])
@pytest.mark.parametrize(
    ("action", "response", "accepted", "status"),
    [
        ("Reset", {"status": "Accepted"}, True, "Accepted"),
        ("Reset", {"status": "Rejected"}, False, "Rejected"),
        ("ChangeAvailability", {"status": "Scheduled"}, True, "Scheduled"),
        ("UnlockConnector", {"status": "Unlocked"}, True, "Unlocked"),
        ("UnlockConnector", {"status": "UnlockFailed"}, False, "UnlockFailed"),
        ("TriggerMessage", {"status": "NotImplemented"}, False, "NotImplemented"),
        ("ClearChargingProfile", {"status": "Unknown"}, True, "Unknown"),
        ("GetLog", {"status": "AcceptedCanceled", "filename": "x"}, True, "AcceptedCanceled"),
        ("DataTransfer", {"status": "UnknownVendorId"}, False, "UnknownVendorId"),
        ("Reset", {}, False, "Unreadable"),
        ("Reset", {"status": None}, False, "Unreadable"),
    ],
)
def test_an_answer_is_a_promise_or_a_no(
    module: ModuleType, action: str, response: dict[str, Any], accepted: bool, status: str
) -> None:
    assert module.read_answer(action, response)[:2] == (accepted, status)


@pytest.mark.parametrize(
    ("action", "response", "accepted", "status"),
    [
        ("ChangeConfiguration", {"status": "RebootRequired"}, True, "RebootRequired"),
        ("ChangeConfiguration", {"status": "NotSupported"}, False, "NotSupported"),
        ("GetConfiguration", {"unknownKey": ["a"]}, True, "Accepted"),
        ("UpdateFirmware", {}, True, "Accepted"),
        ("GetDiagnostics", {"fileName": "log.zip"}, True, "Accepted"),
        ("GetDiagnostics", {}, False, "NoFile"),
        ("GetLocalListVersion", {"listVersion": 0}, True, "Accepted"),
        ("GetLocalListVersion", {"listVersion": -1}, False, "NotSupported"),
        ("SendLocalList", {"status": "VersionMismatch"}, False, "VersionMismatch"),
    ],
)
def test_the_answers_only_1_6_gives(action: str, response: dict[str, Any], accepted: bool, status: str) -> None:
    assert v16.read_answer(action, response)[:2] == (accepted, status)


@pytest.mark.parametrize(
    ("action", "response", "accepted", "status"),
    [
        ("GetVariables", {"getVariableResult": [{"attributeStatus": "Accepted"}]}, True, "Accepted"),
        (
            "GetVariables",
            {"getVariableResult": [{"attributeStatus": "Accepted"}, {"attributeStatus": "UnknownVariable"}]},
            False,
            "UnknownVariable",
        ),
        (
            "SetVariables",
            {"setVariableResult": [{"attributeStatus": "Accepted"}, {"attributeStatus": "RebootRequired"}]},
            True,
            "RebootRequired",
        ),
        ("SetVariables", {"setVariableResult": []}, False, "Unreadable"),
        ("SetVariables", {"setVariableResult": ["x"]}, False, "Unreadable"),
        ("ClearVariableMonitoring", {"clearMonitoringResult": [{"status": "NotFound", "id": 1}]}, False, "NotFound"),
        ("GetTransactionStatus", {"messagesInQueue": False, "ongoingIndicator": False}, True, "Accepted"),
        ("CostUpdated", {}, True, "Accepted"),
        ("GetReport", {"status": "EmptyResultSet"}, False, "EmptyResultSet"),
    ],
)
def test_the_answers_only_2_0_1_gives(action: str, response: dict[str, Any], accepted: bool, status: str) -> None:
    assert v201.read_answer(action, response)[:2] == (accepted, status)


def test_the_rest_of_an_answer_is_kept() -> None:
    info = {"reasonCode": "TxInProgress"}
    assert v201.read_answer("Reset", {"status": "Rejected", "statusInfo": info}).detail == {"statusInfo": info}
    keys = {"configurationKey": [{"key": "a", "readonly": True, "value": "1"}]}
    assert v16.read_answer("GetConfiguration", keys).detail == keys
