"""Bent frames: what a named rule can mend fits its schema afterwards, the rest goes to quarantine."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csms.domain.reported import Metered, Started, Stopped
from csms.edges.ocpp16 import repair as repair16
from csms.edges.ocpp16 import wire as wire16
from csms.edges.ocpp201 import repair as repair201
from csms.edges.ocpp201 import wire as wire201
from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.schemas import schemas_for
from csms.edges.ocpprepair import RULES, Repaired

AT = "2026-01-02T03:04:05Z"
AT_MS = 1_767_323_045_000
V16, V201 = schemas_for(Version.V16), schemas_for(Version.V201)
STRICT16, STRICT201 = (schemas_for(version, strict=True) for version in Version)

START = {"connectorId": 1, "idTag": "ABC", "meterStart": 1000, "timestamp": AT}
STOP = {"transactionId": 17, "meterStop": 9000, "timestamp": AT}
METER = {"connectorId": 1, "transactionId": 17, "meterValue": [{"timestamp": AT, "sampledValue": [{"value": "5"}]}]}
EVENT = {
    "eventType": "Ended",
    "timestamp": AT,
    "triggerReason": "RemoteStop",
    "seqNo": 4,
    "transactionInfo": {"transactionId": "T-1", "stoppedReason": "Remote"},
    "evse": {"id": 1, "connectorId": 1},
    "idToken": {"idToken": "ABC", "type": "ISO14443"},
    "meterValue": [{"timestamp": AT, "sampledValue": [{"value": 5, "unitOfMeasure": {"unit": "Wh", "multiplier": 0}}]}],
}


def mend16(action: str, payload: Any) -> tuple[Any, tuple[str, ...]]:
    """The mended payload as the wire gets it, and the rules."""
    mended = repair16.repair(action, payload)
    assert mended is not None
    assert STRICT16.problems(action, mended.payload) == []
    assert set(mended.rules) <= RULES.keys()
    return msgspec.convert(mended.payload, V16.struct(action)), mended.rules


def mend201(action: str, payload: Any) -> tuple[Any, tuple[str, ...]]:
    mended = repair201.repair(action, payload)
    assert mended is not None
    assert STRICT201.problems(action, mended.payload) == []
    assert set(mended.rules) <= RULES.keys()
    return msgspec.convert(mended.payload, V201.struct(action)), mended.rules


def meter16(*samples: Any) -> dict[str, Any]:
    return METER | {"meterValue": [{"timestamp": AT, "sampledValue": list(samples)}]}


@pytest.mark.parametrize(
    ("action", "payload"), [("StartTransaction", START), ("StopTransaction", STOP), ("MeterValues", METER)]
)
def test_a_frame_that_fits_is_left_alone(action: str, payload: dict[str, Any]) -> None:
    assert repair16.repair(action, payload) == Repaired(payload, ())
    assert repair201.repair("TransactionEvent", EVENT) == Repaired(EVENT, ())


def test_the_original_is_never_touched() -> None:
    bent = {"connectorId": "1", "errorCode": "E12", "status": "charging", "info": ""}
    before = copy.deepcopy(bent)
    repair16.repair("StatusNotification", bent)
    assert bent == before


# ── shapes ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_object_where_a_list_belongs() -> None:
    bent = METER | {"meterValue": {"timestamp": AT, "sampledValue": {"value": "5"}}}
    request, rules = mend16("MeterValues", bent)
    assert rules == ("object_for_array",)
    assert wire16.meter(request).readings[0].register_wh == 5


def test_a_list_of_one_where_the_thing_belongs() -> None:
    request, rules = mend201("TransactionEvent", EVENT | {"transactionInfo": [EVENT["transactionInfo"]]})
    assert rules == ("array_for_object",)
    assert request.transactionInfo.transactionId == "T-1"
    assert mend16("StopTransaction", [STOP])[1] == ("array_for_object",)


def test_numbers_for_text_and_text_for_numbers() -> None:
    request, rules = mend16("StartTransaction", START | {"connectorId": "1", "idTag": 4711, "meterStart": " 1000 "})
    assert set(rules) == {"string_for_number", "number_for_string"}
    assert wire16.start(request).key == f"1|4711|{AT_MS}|1000"
    request, _ = mend16("MeterValues", meter16({"value": 123400.4}))
    assert wire16.meter(request).readings[0].register_wh == 123400
    request, rules = mend201("TransactionEvent", EVENT | {"seqNo": "4", "offline": "true"})
    assert (request.seqNo, request.offline) == (4, True)
    assert set(rules) == {"string_for_number", "string_for_boolean"}


def test_a_fraction_is_rounded_only_where_a_meter_may_have_one() -> None:
    request, rules = mend16("StopTransaction", STOP | {"meterStop": 9000.5})
    assert request.meterStop == 9001
    assert "fraction_rounded" in rules
    assert mend16("StopTransaction", STOP | {"meterStop": "9000.0"})[0].meterStop == 9000
    assert repair16.repair("StartTransaction", START | {"connectorId": 1.5}) is None


def test_a_null_and_an_empty_text_are_absent_members() -> None:
    request, rules = mend16("StopTransaction", STOP | {"idTag": None, "reason": "", "transactionData": None})
    assert (request.idTag, request.reason) == (None, None)
    assert set(rules) == {"null_dropped", "empty_string_dropped"}
    assert mend16("Heartbeat", None)[1] == ("null_dropped",)


def test_an_overlong_text_is_cut_and_an_overlong_token_is_none() -> None:
    request, rules = mend16("BootNotification", {"chargePointVendor": "V" * 30, "chargePointModel": "M"})
    assert (request.chargePointVendor, rules) == ("V" * 20, ("string_cut",))
    request, rules = mend16("StartTransaction", START | {"idTag": "T" * 21})
    assert rules == ("token_absent",)
    assert wire16.start(request).token is None
    request, _ = mend16("StartTransaction", START | {"idTag": "T" * 20 + "  \0"})
    assert wire16.start(request).token == "T" * 20
    request, rules = mend201("TransactionEvent", EVENT | {"idToken": {"idToken": "T" * 37, "type": "Central"}})
    assert (request.idToken, rules) == (None, ("member_dropped",))


def test_a_transaction_id_is_never_cut() -> None:
    bent = EVENT | {"transactionInfo": {"transactionId": "T" * 37}}
    assert repair201.repair("TransactionEvent", bent) is None


def test_members_spelled_otherwise_and_members_nobody_knows() -> None:
    bent = {"connectorID": 1, "transactionId": 17, "values": METER["meterValue"], "vendorStuff": 1}
    request, rules = mend16("MeterValues", bent)
    assert set(rules) == {"member_spelling", "unknown_member_dropped"}
    assert (request.connectorId, len(request.meterValue)) == (1, 1)
    # The right name wins over the nearly right one.
    request, _ = mend16("StopTransaction", {"meterstop": 1} | STOP)
    assert request.meterStop == 9000


# ── samples ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_list_of_samples_is_an_instant_without_meaning() -> None:
    bent = METER | {"meterValue": [{"timestamp": AT, "sampledValue": []}, *METER["meterValue"]]}  # type: ignore[misc]  # a list
    request, rules = mend16("MeterValues", bent)
    assert (len(request.meterValue), rules) == (1, ("instant_dropped",))
    assert repair16.repair("MeterValues", meter16()) is None
    request, rules = mend16("StopTransaction", STOP | {"transactionData": [{"timestamp": AT, "sampledValue": []}]})
    assert (request.transactionData, rules) == ([], ("instant_dropped",))
    request, rules = mend201("TransactionEvent", EVENT | {"meterValue": [{"timestamp": AT, "sampledValue": []}]})
    assert request.meterValue is None
    assert set(rules) == {"instant_dropped", "member_dropped"}


@pytest.mark.parametrize(
    "sample",
    [
        {"value": "230", "measurand": "Voltage.Something"},
        {"value": "230", "measurand": ""},
        {"value": "230", "unit": "BTU"},
        {"value": "230", "phase": "R"},
        {"value": "230", "location": "Grid"},
        {"value": "230", "format": "Hex"},
        {"value": None},
        {"value": True},
        {"measurand": "Voltage"},
        None,
    ],
)
def test_a_sample_that_cannot_be_understood_never_becomes_a_register(sample: Any) -> None:
    request, rules = mend16("MeterValues", meter16(sample, {"value": "5"}))
    assert [reading.register_wh for reading in wire16.meter(request).readings] == [5]
    assert "sample_dropped" in rules


@pytest.mark.parametrize(
    ("bent", "register_wh"),
    [
        ({"value": "5", "unit": "KWH"}, 5000),
        ({"value": "5", "measurand": "energy.active.import.register"}, 5),
        ({"value": "5", "measurand": "EnergyActiveImportRegister", "phase": "", "location": ""}, 5),
        ({"value": "5", "context": "Sample.Weird"}, 5),
        ({"value": "5", "location": "outlet", "format": "raw"}, 5),
        ("5", 5),
        (5, 5),
    ],
)
def test_a_sample_spelled_otherwise_is_understood(bent: Any, register_wh: int) -> None:
    request, rules = mend16("MeterValues", meter16(bent))
    assert [reading.register_wh for reading in wire16.meter(request).readings] == [register_wh]
    assert rules


def test_phases_without_their_hyphen_are_still_phases() -> None:
    volts = [{"value": "230", "measurand": "Voltage", "phase": f"L{n}N"} for n in (1, 2, 3)]
    request, _ = mend16("MeterValues", meter16(*volts))
    assert wire16.meter(request).readings[0].voltage_mv == 230_000


@pytest.mark.parametrize("value", ["x", "nan", None, True, [], {}])
def test_a_value_that_is_no_number_drops_its_sample_in_2_0_1(value: Any) -> None:
    bent = [{"timestamp": AT, "sampledValue": [{"value": value}, {"value": "7.5", "measurand": "SoC"}]}]
    request, rules = mend201("MeterValues", {"evseId": 1, "meterValue": bent})
    readings = wire201.meter(request).readings
    assert [(reading.register_wh, reading.soc_percent) for reading in readings] == [(None, 8)]
    assert "sample_dropped" in rules


def test_an_unreadable_multiplier_drops_the_sample() -> None:
    bent = [{"value": 5, "unitOfMeasure": {"unit": "Wh", "multiplier": "kilo"}}, {"value": 6}]
    request, _ = mend201("MeterValues", {"evseId": 1, "meterValue": [{"timestamp": AT, "sampledValue": bent}]})
    assert [reading.register_wh for reading in wire201.meter(request).readings] == [6]


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("DeAuthorised?", "Other"),
        ("Deauthorized", "DeAuthorized"),
        ("EV_DISCONNECTED", "EVDisconnected"),
        ("ImmediateReset", "HardReset"),
        ("MasterPass", "Local"),
    ],
)
def test_a_stop_reason_of_another_tongue_is_not_local_by_accident(reason: str, expected: str) -> None:
    request, _ = mend16("StopTransaction", STOP | {"reason": reason})
    assert wire16.stop(request).reason == expected


def test_a_vendors_error_code_moves_to_where_it_belongs() -> None:
    bent = {"connectorId": 1, "errorCode": "E-STOP 7", "status": "Faulted"}
    request, rules = mend16("StatusNotification", bent)
    reported = wire16.status(request)
    assert (reported.error_code, reported.vendor_error_code) == ("OtherError", "E-STOP 7")
    assert "unknown_word_is_other" in rules
    request, _ = mend16("StatusNotification", bent | {"vendorErrorCode": "own"})
    assert request.vendorErrorCode == "own"
    request, _ = mend16("StatusNotification", bent | {"errorCode": "noerror"})
    assert (request.errorCode, request.vendorErrorCode) == ("NoError", None)


def test_a_status_nobody_knows_is_not_guessed() -> None:
    assert repair16.repair("StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": "Zzz"}) is None


def test_a_2_0_1_status_in_the_words_of_1_6_is_occupied() -> None:
    bent = {"connectorStatus": "SuspendedEV", "evseId": 1, "connectorId": 1}
    request, rules = mend201("StatusNotification", bent)
    assert request.connectorStatus == "Occupied"
    assert set(rules) == {"word_mapped", "time_absent"}
    assert wire201.status(request).at_ms is None


def test_words_of_a_later_version_do_not_stop_a_transaction_event() -> None:
    bent = EVENT | {
        "triggerReason": "TxResumed",
        "idToken": {"idToken": "ABC", "type": "DirectPayment"},
        "transactionInfo": {"transactionId": "T-1", "stoppedReason": "ReqEnergyTransferRejected", "chargingState": "?"},
    }
    request, rules = mend201("TransactionEvent", bent)
    stopped = wire201.transaction_event(request)
    assert isinstance(stopped, Stopped)
    assert (stopped.reason, stopped.token) == ("Other", "ABC")
    assert set(rules) == {"unknown_word_is_other", "member_dropped"}


def test_an_event_of_no_known_type_is_not_guessed() -> None:
    assert repair201.repair("TransactionEvent", EVENT | {"eventType": "Paused"}) is None


# ── what is missing ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("nothing", [None, "", "n/a", [], True])
def test_a_missing_register_is_absent_and_never_zero(nothing: Any) -> None:
    request, rules = mend16("StopTransaction", STOP | {"meterStop": nothing})
    assert wire16.stop(request).register_wh is None
    assert "register_absent" in rules
    request, rules = mend16("StartTransaction", START | {"meterStart": nothing})
    assert wire16.start(request).register_wh is None
    assert "register_absent" in rules


def test_missing_members_are_absent_on_the_other_side() -> None:
    request, rules = mend16("StopTransaction", {})
    stopped = wire16.stop(request)
    assert (stopped.tx_id, stopped.register_wh, stopped.at_ms, stopped.token) == ("-1", None, None, None)
    assert set(rules) == {"register_absent", "time_absent", "transaction_absent"}
    started = wire16.start(mend16("StartTransaction", {"connectorId": 1})[0])
    assert (started.register_wh, started.at_ms, started.token) == (None, None, None)


def test_a_transaction_id_as_text_is_read_and_any_other_is_unknown() -> None:
    assert mend16("StopTransaction", STOP | {"transactionId": "17"})[0].transactionId == 17
    assert mend16("StopTransaction", STOP | {"transactionId": "0e7b-uuid"})[0].transactionId == -1
    assert mend16("MeterValues", METER | {"transactionId": "abc"})[0].transactionId == -1
    assert mend16("MeterValues", METER | {"transactionId": ""})[0].transactionId == -1
    # Null says there is none, which is another thing than an id nobody can read.
    assert mend16("MeterValues", METER | {"transactionId": None})[0].transactionId is None
    assert (
        mend201("TransactionEvent", EVENT | {"transactionInfo": {"transactionId": 17}})[0].transactionInfo.transactionId
        == "17"
    )


def test_meter_values_without_a_connector_need_a_transaction() -> None:
    without = {name: member for name, member in METER.items() if name != "connectorId"}
    request, rules = mend16("MeterValues", without)
    assert (wire16.meter(request).tx_id, rules) == ("17", ("connector_absent",))
    assert repair16.repair("MeterValues", without | {"transactionId": 0}) is None


def test_what_has_no_stand_in_is_not_understood() -> None:
    assert repair16.repair("StartTransaction", {"idTag": "A", "meterStart": 0, "timestamp": AT}) is None
    assert (
        repair201.repair("TransactionEvent", {name: EVENT[name] for name in EVENT if name != "transactionInfo"}) is None
    )
    assert repair16.repair("NoSuchAction", {}) is None
    for nonsense in ("text", 7, [], [1, 2], True):
        assert repair16.repair("StartTransaction", nonsense) is None


@pytest.mark.parametrize(
    ("number", "at_ms"),
    [(1_767_323_045, AT_MS), (1_767_323_045_000, AT_MS), (1_767_323_045.5, AT_MS + 500), (17, None)],
)
def test_a_time_in_seconds_or_milliseconds_is_a_time(number: float, at_ms: int | None) -> None:
    request, rules = mend16("StartTransaction", START | {"timestamp": number})
    assert wire16.start(request).at_ms == at_ms
    assert rules == (("number_for_time",) if at_ms else ("time_absent",))


def test_an_event_without_its_sequence_number_says_so() -> None:
    bent = {name: EVENT[name] for name in ("eventType", "transactionInfo")}
    stopped = wire201.transaction_event(mend201("TransactionEvent", bent)[0])
    assert isinstance(stopped, Stopped)
    assert (stopped.seq_no, stopped.at_ms, stopped.register_wh) == (None, None, None)


def test_vendor_data_that_names_no_vendor_is_dropped() -> None:
    request, rules = mend201("TransactionEvent", EVENT | {"customData": {"x": 1}, "seqNo": "4"})
    assert request.customData is None
    assert "member_dropped" in rules
    request, _ = mend201("TransactionEvent", EVENT | {"customData": {"vendorId": "v", "x": 1}, "seqNo": "4"})
    assert request.customData == {"vendorId": "v", "x": 1}


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_quarantined_money_frames_are_answered_validly() -> None:
    for action in repair16.MONEY_ACTIONS:
        answer = repair16.safe_answer(action, transaction_id=8)
        assert V16.validate(action, "response", answer) == []
    assert repair16.safe_answer("StartTransaction", transaction_id=8)["idTagInfo"] == {"status": "Invalid"}
    for action in repair201.MONEY_ACTIONS:
        assert V201.validate(action, "response", repair201.safe_answer(action)) == []


def test_a_quarantined_start_still_needs_an_id() -> None:
    with pytest.raises(ValueError, match="transaction id"):
        repair16.safe_answer("StartTransaction")
    for module in (repair16, repair201):
        with pytest.raises(ValueError, match="no money"):
            module.safe_answer("Heartbeat")


# ── properties ───────────────────────────────────────────────────────────────────────────────────────────────

junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in items:
        found += paths(member, (*at, name))
    return found


def bend(payload: dict[str, Any], path: tuple[Any, ...], junk_value: Any, remove: bool) -> dict[str, Any]:
    bent = copy.deepcopy(payload)
    holder: Any = bent
    for step in path[:-1]:
        holder = holder[step]
    if remove:
        del holder[path[-1]]
    else:
        holder[path[-1]] = junk_value
    return bent


FULL_STOP = STOP | {
    "idTag": "ABC",
    "reason": "Local",
    "transactionData": [{"timestamp": AT, "sampledValue": [{"value": "5", "unit": "Wh", "phase": "L1"}]}],
}
FRAMES: list[tuple[Version, str, dict[str, Any]]] = [
    (Version.V16, "StartTransaction", START | {"reservationId": 1}),
    (Version.V16, "StopTransaction", FULL_STOP),
    (Version.V16, "MeterValues", METER),
    (Version.V16, "StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": "Available", "info": "x"}),
    (Version.V16, "BootNotification", {"chargePointVendor": "V", "chargePointModel": "M", "iccid": "1"}),
    (Version.V201, "TransactionEvent", EVENT),
    (Version.V201, "MeterValues", {"evseId": 1, "meterValue": EVENT["meterValue"]}),
    (Version.V201, "BootNotification", {"chargingStation": {"vendorName": "V", "model": "M"}, "reason": "PowerUp"}),
]


@settings(max_examples=400)
@given(st.data())
def test_a_bent_frame_fits_its_schema_or_is_not_understood(data: st.DataObject) -> None:
    version, action, payload = data.draw(st.sampled_from(FRAMES))
    bent = bend(payload, data.draw(st.sampled_from(paths(payload))), data.draw(junk), data.draw(st.booleans()))
    mended = (repair16 if version is Version.V16 else repair201).repair(action, bent)
    if mended is None:
        return
    assert set(mended.rules) <= RULES.keys()
    assert schemas_for(version, strict=True).problems(action, mended.payload) == []
    request = msgspec.convert(mended.payload, schemas_for(version).struct(action))
    readers: dict[tuple[Version, str], Callable[[Any], object]] = {
        (Version.V16, "StartTransaction"): wire16.start,
        (Version.V16, "StopTransaction"): wire16.stop,
        (Version.V16, "MeterValues"): wire16.meter,
        (Version.V16, "StatusNotification"): wire16.status,
        (Version.V16, "BootNotification"): wire16.boot,
        (Version.V201, "TransactionEvent"): wire201.transaction_event,
        (Version.V201, "MeterValues"): wire201.meter,
        (Version.V201, "BootNotification"): wire201.boot,
    }
    fact = readers[version, action](request)
    if isinstance(fact, Started | Stopped):
        assert fact.register_wh is None or abs(fact.register_wh) < 2**63
    if isinstance(fact, Metered):
        assert bool(fact.key) == (action == "TransactionEvent")


@given(st.dictionaries(st.sampled_from([*EVENT, "x"]) | st.text(max_size=6), junk, max_size=6))
def test_no_junk_makes_the_repair_fall_over(payload: dict[str, Any]) -> None:
    for action in ("StartTransaction", "StopTransaction", "MeterValues", "StatusNotification"):
        repair16.repair(action, payload)
    for action in ("TransactionEvent", "MeterValues", "NotifyEvent"):
        repair201.repair(action, payload)


def test_repairing_twice_changes_nothing_more() -> None:
    mended = repair16.repair("StopTransaction", {"transactionId": "17", "meterStop": "9000.4", "reason": "Weird"})
    assert mended is not None
    assert repair16.repair("StopTransaction", mended.payload) == Repaired(mended.payload, ())
