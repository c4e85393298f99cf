"""Schemas: generated from the library's files, as strict as they are, and kinder where chargers need it."""

from __future__ import annotations

import json
import math
from importlib import resources
from typing import Any

import msgspec
import pytest

from csms.edges.ocppj.codes import Fault, Version
from csms.edges.ocppj.schemas import ACTION_DOES_NOT_FIT, SchemaSet, UnknownAction, is_vast, schemas_for, validate

V16, V201 = schemas_for(Version.V16), schemas_for(Version.V201)


def frame(action: str, payload: object) -> bytes:
    return json.dumps([2, "id", action, payload]).encode()


def sample(**changes: Any) -> dict[str, Any]:
    value = {"value": "12.5", "measurand": "Energy.Active.Import.Register", "unit": "kWh"} | changes
    return {"connectorId": 1, "meterValue": [{"timestamp": "yesterday", "sampledValue": [value]}]}


EVENT: dict[str, Any] = {
    "eventType": "Updated",
    "timestamp": "2026-01-02T03:04:05Z",
    "triggerReason": "MeterValuePeriodic",
    "seqNo": 3,
    "transactionInfo": {"transactionId": "tx"},
    "meterValue": [{"timestamp": "2026-01-02T03:04:05Z", "sampledValue": [{"value": 12.1}]}],
}


@pytest.mark.parametrize("schemas", [V16, V201], ids=["1.6", "2.0.1"])
def test_every_schema_of_the_library_becomes_a_struct_and_a_validator(schemas: SchemaSet) -> None:
    for action in schemas.actions:
        for direction in ("request", "response"):
            assert issubclass(schemas.struct(action, direction), msgspec.Struct)
            schemas.validate(action, direction, {})


def test_the_security_extension_of_16_is_among_the_actions() -> None:
    assert {"SecurityEventNotification", "SignCertificate", "LogStatusNotification", "GetLog"} <= V16.actions
    assert {"SignedUpdateFirmware", "ExtendedTriggerMessage", "InstallCertificate"} <= V16.actions
    assert len(V16.actions) == 39
    assert len(V201.actions) == 64


def test_nothing_is_built_before_it_is_used() -> None:
    fresh = SchemaSet(Version.V201)
    fresh.decoder("Heartbeat")
    assert len(fresh._structs) == 1


def test_a_whole_frame_is_decoded_in_one_pass_with_the_names_of_the_schema() -> None:
    kind, message_id, action, request = V16.decoder("MeterValues")(frame("MeterValues", sample()))
    assert (kind, message_id, action) == (2, "id", "MeterValues")
    value: Any = request
    assert value.connectorId == 1
    assert value.transactionId is None
    assert value.meterValue[0].timestamp == "yesterday"  # date-times stay text
    assert value.meterValue[0].sampledValue[0].unit == "kWh"


def test_a_201_event_keeps_numbers_and_custom_data() -> None:
    payload = EVENT | {"customData": {"vendorId": "v", "extra": {"deep": [1]}}}
    request: Any = V201.decoder("TransactionEvent")(frame("TransactionEvent", payload))[3]
    assert request.meterValue[0].sampledValue[0].value == 12.1
    assert request.customData == {"vendorId": "v", "extra": {"deep": [1]}}
    assert request.offline is None


def test_members_nobody_knows_and_nulls_are_tolerated() -> None:
    request: Any = V16.decoder("MeterValues")(frame("MeterValues", sample(context=None, vendor=[1]) | {"x": {"y": 1}}))[
        3
    ]
    assert request.meterValue[0].sampledValue[0].context is None


def test_a_strict_set_tolerates_neither() -> None:
    strict = SchemaSet(Version.V16, strict=True)
    assert strict.decoder("Heartbeat")(frame("Heartbeat", {}))
    for payload in (sample(context=None), sample(vendor=1)):
        with pytest.raises(ACTION_DOES_NOT_FIT):
            strict.decoder("MeterValues")(frame("MeterValues", payload))
        assert isinstance(strict.fit("MeterValues", payload), list)
        assert not isinstance(V16.fit("MeterValues", payload), list)


def test_whole_floats_are_integers() -> None:
    fitted: Any = V16.fit("MeterValues", sample() | {"connectorId": 1.0})
    assert fitted.connectorId == 1


MISFITS = [
    ("required", sample() | {"connectorId": None}, Fault.OCCURRENCE, "", "OccurenceConstraintViolation"),
    ("type", sample(value=5), Fault.TYPE, "meterValue/0/sampledValue/0/value", "TypeConstraintViolation"),
    ("enum", sample(unit="MWh"), Fault.PROPERTY, "meterValue/0/sampledValue/0/unit", "PropertyConstraintViolation"),
    ("minItems", sample() | {"meterValue": []}, Fault.OCCURRENCE, "meterValue", "OccurenceConstraintViolation"),
    ("array", [], Fault.TYPE, "", "TypeConstraintViolation"),
    ("text", "x", Fault.TYPE, "", "TypeConstraintViolation"),
    ("fraction", sample() | {"connectorId": 1.5}, Fault.TYPE, "connectorId", "TypeConstraintViolation"),
    ("too big", sample() | {"connectorId": 10**30}, Fault.TYPE, "", "TypeConstraintViolation"),
]


@pytest.mark.parametrize(("payload", "fault", "path", "code"), [m[1:] for m in MISFITS], ids=[m[0] for m in MISFITS])
def test_a_misfit_is_refused_by_the_decoder_and_named_exactly(payload: Any, fault: Fault, path: str, code: str) -> None:
    with pytest.raises(ACTION_DOES_NOT_FIT):
        V16.decoder("MeterValues")(frame("MeterValues", payload))
    problems = V16.fit("MeterValues", payload)
    assert isinstance(problems, list)
    assert [(problem.fault, problem.path, problem.code) for problem in problems] == [(fault, path, code)]
    assert problems[0].message


def test_201_spells_the_occurrence_code_its_own_way() -> None:
    problems = V201.fit("Heartbeat", {}), V201.fit("TransactionEvent", {})
    assert not isinstance(problems[0], list)
    assert isinstance(problems[1], list)
    assert {problem.code for problem in problems[1]} == {"OccurrenceConstraintViolation"}


def test_the_decoder_and_the_schema_agree_on_every_required_member_and_length() -> None:
    """Whatever single change makes the JSON schema refuse a payload makes the struct refuse it, and the reverse."""
    for member in EVENT:
        payload = {name: value for name, value in EVENT.items() if name != member}
        refused = bool(V201.problems("TransactionEvent", payload))
        assert isinstance(V201.fit("TransactionEvent", payload), list) is refused
        assert refused is (member != "meterValue")
    for length in (36, 37):
        payload = EVENT | {"transactionInfo": {"transactionId": "x" * length}}
        assert isinstance(V201.fit("TransactionEvent", payload), list) is (length == 37)
        assert bool(V201.problems("TransactionEvent", payload)) is (length == 37)


def test_what_an_operator_sends_is_held_to_the_letter() -> None:
    good = {"connectorId": 1, "idTag": "ABC"}
    assert validate(Version.V16, "RemoteStartTransaction", "request", good) == []
    problems = validate(Version.V16, "RemoteStartTransaction", "request", {"idTag": "x" * 21, "more": 1})
    assert [(p.code, p.path) for p in problems] == [
        ("PropertyConstraintViolation", "idTag"),
        ("FormationViolation", ""),
    ]
    reserve = {"connectorId": 1, "expiryDate": "tomorrow", "idTag": "A", "reservationId": 1}
    assert [p.path for p in validate(Version.V16, "ReserveNow", "request", reserve)] == ["expiryDate"]
    assert validate(Version.V16, "ReserveNow", "request", reserve | {"expiryDate": "2026-01-02T03:04:05Z"}) == []


@pytest.mark.parametrize(("limit", "fits"), [(16.1, True), (21.4, True), (4.11, False), (0.3, True)])
def test_limits_are_multiples_of_a_tenth_whatever_binary_floats_think(limit: float, fits: bool) -> None:
    profile = {
        "chargingProfileId": 1,
        "stackLevel": 0,
        "chargingProfilePurpose": "TxProfile",
        "chargingProfileKind": "Relative",
        "chargingSchedule": {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}]},
    }
    payload = {"connectorId": 1, "csChargingProfiles": profile}
    assert (validate(Version.V16, "SetChargingProfile", "request", payload) == []) is fits


def test_what_is_no_json_is_a_problem_and_no_exception() -> None:
    payload: Any = {1: 2}
    assert validate(Version.V16, "Reset", "request", payload)
    assert validate(Version.V201, "NoSuchThing", "request", {})[0].code == "NotImplemented"
    assert validate(Version.V16, "SetChargingProfile", "request", {"connectorId": math.nan})


@pytest.mark.parametrize("name", ["../../messages", "Nope", "", "HeartbeatRequest"])
def test_an_unknown_action_is_no_file_name(name: str) -> None:
    with pytest.raises(UnknownAction):
        V201.struct(name)


def test_deep_nesting_in_an_unknown_member_is_refused_and_kills_nothing() -> None:
    text = b'[2,"1","Heartbeat",{"x":' + b"[" * 5000 + b"]" * 5000 + b"}]"
    with pytest.raises(ACTION_DOES_NOT_FIT):
        V16.decoder("Heartbeat")(text)


def test_no_schema_has_a_keyword_the_generator_would_drop() -> None:
    for folder, schemas in (("v16", V16), ("v201", V201)):
        names = {entry.name for entry in (resources.files("ocpp") / folder / "schemas").iterdir()}
        assert len([name for name in names if name.endswith(".json")]) == 2 * len(schemas.actions)


def test_half_a_million_faults_cost_no_more_than_the_first() -> None:
    """One charger's two megabytes must not hold up the loop that serves all of them."""
    payload = {"connectorId": 1, "meterValue": [{}] * 500_000}
    schemas = schemas_for(Version.V16)
    found = schemas.fit("MeterValues", payload)
    assert isinstance(found, list)
    assert [problem.fault for problem in found] == [Fault.OCCURRENCE]
    short = schemas.fit("MeterValues", {"connectorId": 1, "meterValue": [{}] * 30})
    assert isinstance(short, list)
    assert len(short) == 60
    assert len(schemas.problems("MeterValues", {"connectorId": 1, "meterValue": [{}] * 500})) == 100
    assert is_vast(payload)
    assert not is_vast({"a": [[{"b": 1}] * 100] * 10})
