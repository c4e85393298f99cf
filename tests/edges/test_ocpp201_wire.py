"""OCPP 2.0.1 requests become facts, verdicts become answers that fit the response schemas."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.domain.reported import Context, Metered, Reading, SocketStatus, Started, Stopped
from csms.edges.ocpp201 import wire
from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.schemas import schemas_for
from csms.edges.ocppsamples import combine
from firmware_profiles.quirks import ENERGY_SAMPLES_ARE_KWH

SCHEMAS = schemas_for(Version.V201)
AT = "2026-01-02T03:04:05Z"
AT_MS = 1_767_323_045_000
REGISTER = "Energy.Active.Import.Register"
SIGNED = {"signedMeterData": "x", "signingMethod": "", "encodingMethod": "OCMF", "publicKey": ""}


def request(action: str, **members: Any) -> Any:
    fit = SCHEMAS.fit(action, members)
    assert isinstance(fit, msgspec.Struct), fit
    return fit


def sample(value: float, measurand: str | None = None, phase: str | None = None, **more: Any) -> dict[str, Any]:
    given = {"value": value, "measurand": measurand, "phase": phase, **more}
    return {name: member for name, member in given.items() if member is not None}


def unit(name: str | None = None, multiplier: int | None = None) -> dict[str, Any]:
    given = {"unit": name, "multiplier": multiplier}
    return {key: member for key, member in given.items() if member is not None}


def instant(*samples: dict[str, Any], at: str = AT) -> dict[str, Any]:
    return {"timestamp": at, "sampledValue": list(samples)}


def read(*samples: dict[str, Any], quirks: frozenset[str] = frozenset()) -> tuple[Reading, ...]:
    return wire.read_samples(request("MeterValues", evseId=1, meterValue=[instant(*samples)]).meterValue, quirks)


def event(kind: str, **changes: Any) -> Any:
    info = {"transactionId": "T-1"} | changes.pop("info", {})
    members = {
        "eventType": kind,
        "timestamp": AT,
        "triggerReason": "Authorized",
        "seqNo": 3,
        "transactionInfo": info,
    } | changes
    return request("TransactionEvent", **members)


# ── samples ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dc_sample_is_one_reading() -> None:
    (reading,) = read(
        sample(123400, REGISTER, unitOfMeasure=unit("Wh")),
        sample(60000, "Power.Active.Import", unitOfMeasure=unit("W")),
        sample(150.5, "Current.Import", unitOfMeasure=unit("A")),
        sample(400, "Voltage", unitOfMeasure=unit("V")),
        sample(55, "SoC", location="EV", unitOfMeasure=unit("Percent")),
        sample(1, "Power.Factor"),
    )
    assert reading == Reading(AT_MS, Context.SAMPLE, 123400, None, 60000, 150500, 400000, 55)


@pytest.mark.parametrize(
    ("value", "measure", "expected"),
    [
        (123400, None, 123400),
        (123400.4, unit("Wh"), 123400),
        (123400.5, unit("Wh"), 123401),
        (123.4, unit("kWh"), 123400),
        (123.4, unit("KWH"), 123400),
        (1234, unit("Wh", 2), 123400),
        (1.2345, unit("kWh", 1), 12345),
        (12345, unit("kWh", -3), 12345),
        (1234, unit(None, 3), 1234000),
    ],
)
def test_unit_and_multiplier_make_whole_wh(value: float, measure: dict[str, Any] | None, expected: int) -> None:
    (reading,) = read(sample(value, REGISTER, unitOfMeasure=measure))
    assert reading.register_wh == expected


@pytest.mark.parametrize("measure", [unit("varh"), unit("Wh", 99), unit("Wh", -99), unit("BTU")])
def test_a_unit_we_do_not_know_makes_no_reading(measure: dict[str, Any]) -> None:
    assert read(sample(5, REGISTER, unitOfMeasure=measure)) == ()


def test_a_value_beyond_any_meter_makes_no_reading() -> None:
    assert read(sample(1e300, REGISTER)) == ()
    assert read(sample(1e300, "Voltage")) == ()
    assert read(sample(101, "SoC")) == ()


def test_a_signed_register_is_a_number_and_signed() -> None:
    (reading,) = read(sample(500, REGISTER, context="Transaction.End", signedMeterValue=SIGNED))
    assert (reading.register_wh, reading.signed, reading.context) == (500, True, Context.END)


def test_phases_are_summed_and_the_outlet_wins() -> None:
    (reading,) = read(*(sample(1000, REGISTER, f"L{n}") for n in (1, 2, 3)), sample(9, REGISTER, location="Inlet"))
    assert reading.register_wh == 3000


def test_kwh_labelled_wh_is_corrected_where_the_model_says_so() -> None:
    (reading,) = read(sample(12.345, REGISTER), quirks=frozenset({ENERGY_SAMPLES_ARE_KWH}))
    assert reading.register_wh == 12345


rows = st.tuples(
    st.floats(0, 1e9).map(lambda value: round(value, 3)),
    st.sampled_from([None, REGISTER, "Power.Active.Import", "Current.Import", "Voltage", "SoC", "Frequency"]),
    st.sampled_from([None, "L1", "L2", "L3-N", "N", "L1-L2"]),
    st.sampled_from([None, "Outlet", "Inlet", "EV"]),
    st.sampled_from([None, "Sample.Periodic", "Transaction.End"]),
)


@given(st.lists(rows, min_size=1, max_size=8, unique_by=lambda row: (row[1] or REGISTER, row[2] and row[2][:2])))
def test_the_short_cut_and_the_long_way_agree(given_rows: list[tuple[Any, ...]]) -> None:
    names = ("value", "measurand", "phase", "location", "context")
    samples = [{k: v for k, v in zip(names, row, strict=True) if v is not None} for row in given_rows]
    (value,) = request("MeterValues", evseId=1, meterValue=[instant(*samples)]).meterValue
    quick, slow = wire.read_samples([value]), combine(AT_MS, wire._rows(value.sampledValue))
    assert [(r.context, r.register_wh, r.signed) for r in quick] == [(r.context, r.register_wh, r.signed) for r in slow]
    for a, b in zip(quick, slow, strict=True):
        for name in ("power_w", "current_ma", "voltage_mv", "soc_percent"):
            left, right = getattr(a, name), getattr(b, name)
            assert (left is None) == (right is None)
            assert left is None or abs(left - right) <= 1


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_boot_names_the_device_and_why() -> None:
    station = {"vendorName": "Voltbee", "model": "VB-60", "serialNumber": "S1", "modem": {"iccid": "8991"}}
    booted = wire.boot(request("BootNotification", chargingStation=station, reason="PowerUp"))
    assert (booted.vendor, booted.serial, booted.iccid, booted.reason) == ("Voltbee", "S1", "8991", "PowerUp")
    assert (booted.imsi, booted.firmware) == (None, None)
    bare = wire.boot(request("BootNotification", chargingStation={"vendorName": "V", "model": "M"}, reason="Unknown"))
    assert (bare.serial, bare.iccid) == (None, None)


@pytest.mark.parametrize("word", ["Available", "Occupied", "Reserved", "Unavailable", "Faulted"])
def test_a_status_is_of_a_connector_of_an_evse(word: str) -> None:
    members = {"timestamp": AT, "connectorStatus": word, "evseId": 2, "connectorId": 1}
    reported = wire.status(request("StatusNotification", **members))
    assert (reported.evse, reported.connector, reported.at_ms) == (2, 1, AT_MS)
    assert reported.status is SocketStatus(word)


def test_started_carries_who_where_and_the_first_register() -> None:
    started = wire.transaction_event(
        event(
            "Started",
            info={"remoteStartId": 41, "chargingState": "EVConnected"},
            evse={"id": 2, "connectorId": 1},
            idToken={"idToken": "K7Q2", "type": "Central"},
            reservationId=9,
            offline=True,
            meterValue=[
                instant(sample(7, REGISTER)),
                instant(sample(5, REGISTER, context="Transaction.Begin")),
            ],
        )
    )
    assert isinstance(started, Started)
    assert (started.key, started.tx_id, started.seq_no, started.offline) == ("T-1|3|Started", "T-1", 3, True)
    assert (started.evse, started.connector, started.token, started.token_kind) == (2, 1, "K7Q2", "Central")
    assert (started.register_wh, started.remote_start_id, started.reservation_id) == (5, 41, 9)
    assert (started.charging_state, started.at_ms, len(started.readings)) == ("EVConnected", AT_MS, 2)


def test_started_without_a_begin_takes_the_first_register() -> None:
    started = wire.transaction_event(
        event("Started", meterValue=[instant(sample(50, "SoC")), instant(sample(7, REGISTER)), instant(sample(8))])
    )
    assert isinstance(started, Started)
    assert started.register_wh == 7


def test_started_with_nothing_says_nothing() -> None:
    started = wire.transaction_event(event("Started", idToken={"idToken": "", "type": "NoAuthorization"}))
    assert isinstance(started, Started)
    assert (started.token, started.token_kind) == (None, "NoAuthorization")
    assert (started.register_wh, started.evse, started.connector, started.offline) == (None, 0, 0, False)


def test_updated_is_a_meter_report_of_the_transaction() -> None:
    metered = wire.transaction_event(
        event("Updated", info={"chargingState": "SuspendedEV"}, meterValue=[instant(sample(7))], seqNo=0)
    )
    assert isinstance(metered, Metered)
    assert (metered.key, metered.tx_id, metered.seq_no) == ("T-1|0|Updated", "T-1", 0)
    assert (metered.charging_state, metered.evse, metered.token) == ("SuspendedEV", 0, None)
    assert [reading.register_wh for reading in metered.readings] == [7]


def test_updated_may_bring_the_token_that_came_later() -> None:
    metered = wire.transaction_event(event("Updated", idToken={"idToken": "A1", "type": "ISO14443"}))
    assert isinstance(metered, Metered)
    assert metered.token == "A1"
    assert metered.readings == ()


def test_ended_carries_the_reason_and_the_last_register() -> None:
    stopped = wire.transaction_event(
        event(
            "Ended",
            info={"stoppedReason": "PowerLoss"},
            meterValue=[
                instant(sample(5, REGISTER, context="Transaction.Begin")),
                instant(sample(90, REGISTER, context="Transaction.End", signedMeterValue=SIGNED)),
                instant(sample(95, REGISTER)),
            ],
        )
    )
    assert isinstance(stopped, Stopped)
    assert (stopped.key, stopped.reason, stopped.register_wh, stopped.signed) == ("T-1|3|Ended", "PowerLoss", 90, True)
    assert (stopped.evse, stopped.connector, stopped.at_ms) == (None, None, AT_MS)


def test_ended_without_an_end_takes_the_last_register_but_never_the_begin() -> None:
    begin = instant(sample(5, REGISTER, context="Transaction.Begin"))
    with_samples = wire.transaction_event(
        event("Ended", meterValue=[begin, instant(sample(80)), instant(sample(90)), instant(sample(1, "SoC"))])
    )
    begin_only = wire.transaction_event(event("Ended", meterValue=[begin]))
    assert isinstance(with_samples, Stopped)
    assert isinstance(begin_only, Stopped)
    assert (with_samples.register_wh, with_samples.reason) == (90, "Local")
    assert begin_only.register_wh is None


def test_a_sequence_number_that_was_not_given_is_absent() -> None:
    metered = wire.transaction_event(event("Updated", seqNo=-1))
    assert isinstance(metered, Metered)
    assert (metered.seq_no, metered.key) == (None, "T-1||Updated")


def test_meter_values_belong_to_no_transaction() -> None:
    metered = wire.meter(request("MeterValues", evseId=1, meterValue=[instant(sample(7))]))
    assert (metered.evse, metered.connector, metered.tx_id) == (1, 0, None)


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────

INFO = wire.id_token_info("Accepted", "FLEET", AT_MS, group_kind="ISO14443", evse_ids=[1, 2])
ANSWERS = [
    *((action, {}) for action in sorted(wire.EMPTY_ANSWERS)),
    ("BootNotification", wire.boot_answer("Accepted", AT_MS, 300)),
    ("BootNotification", wire.boot_answer("Rejected", AT_MS, 60, reason_code="SerialMismatchAndMoreThan20")),
    ("Heartbeat", wire.heartbeat_answer(AT_MS)),
    ("Authorize", wire.authorize_answer("Accepted", "FLEET", AT_MS, evse_ids=[1])),
    ("Authorize", wire.authorize_answer("Invalid", certificate_status="CertificateRevoked")),
    ("TransactionEvent", wire.transaction_event_answer()),
    ("TransactionEvent", wire.transaction_event_answer(INFO, Decimal("123.45"), message="₹ 123.45")),
    ("DataTransfer", wire.data_transfer_answer("UnknownVendorId")),
    ("DataTransfer", wire.data_transfer_answer("Accepted", {"any": [1]})),
    ("NotifyEVChargingNeeds", wire.charging_needs_answer("Processing")),
    ("NotifyEVChargingNeeds", wire.charging_needs_answer("Rejected", "NotEnabled")),
    ("NotifyEVChargingSchedule", wire.charging_schedule_answer(accepted=True)),
    ("SignCertificate", wire.sign_certificate_answer(accepted=False, reason_code="InvalidCSR")),
    ("Get15118EVCertificate", wire.ev_certificate_answer(None)),
    ("Get15118EVCertificate", wire.ev_certificate_answer("gJmAoA==")),
    ("GetCertificateStatus", wire.certificate_status_answer(None)),
    ("GetCertificateStatus", wire.certificate_status_answer("MIIB")),
]


@pytest.mark.parametrize(("action", "answer"), ANSWERS)
def test_every_answer_fits_its_schema(action: str, answer: dict[str, Any]) -> None:
    assert SCHEMAS.validate(action, "response", answer) == []


def test_every_inbound_action_has_an_answer() -> None:
    assert {action for action, _ in ANSWERS} == wire.INBOUND_ACTIONS


def test_a_verdict_keeps_its_word_and_nonsense_is_unknown() -> None:
    for word in ("Accepted", "Blocked", "Expired", "Invalid", "ConcurrentTx", "NoCredit", "NotAtThisTime"):
        assert wire.id_token_info(word)["status"] == word
    assert wire.id_token_info("Whatever")["status"] == "Unknown"


def test_a_free_transaction_says_zero_and_an_unpriced_one_says_nothing() -> None:
    assert wire.transaction_event_answer(total_cost=Decimal(0)) == {"totalCost": 0.0}
    assert wire.transaction_event_answer() == {}
