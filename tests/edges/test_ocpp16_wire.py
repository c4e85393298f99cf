"""OCPP 1.6 requests become facts, verdicts become answers that fit the response schemas."""

from __future__ import annotations

import time
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.domain.reported import Context, Reading, SocketStatus
from csms.edges.ocpp16 import wire
from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.schemas import schemas_for
from csms.edges.ocppsamples import combine
from firmware_profiles.quirks import ENERGY_SAMPLES_ARE_KWH, IST_SENT_AS_Z, START_STOP_ARE_KWH, TZ_MISSING_IST

SCHEMAS = schemas_for(Version.V16)
AT = "2026-01-02T03:04:05Z"
AT_MS = 1_767_323_045_000
REGISTER = "Energy.Active.Import.Register"


def request(action: str, **members: Any) -> Any:
    fit = SCHEMAS.fit(action, members)
    assert isinstance(fit, msgspec.Struct), fit
    return fit


def read(*samples: dict[str, Any], at: str = AT, quirks: frozenset[str] = frozenset()) -> tuple[Reading, ...]:
    values = [{"timestamp": at, "sampledValue": list(samples)}]
    return wire.read_samples(request("MeterValues", connectorId=1, meterValue=values).meterValue, quirks)


def one(*samples: dict[str, Any], quirks: frozenset[str] = frozenset()) -> Reading:
    (reading,) = read(*samples, quirks=quirks)
    return reading


def sample(value: str, measurand: str | None = None, phase: str | None = None, **more: str) -> dict[str, Any]:
    given = {"value": value, "measurand": measurand, "phase": phase, **more}
    return {name: text for name, text in given.items() if text is not None}


# ── samples ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_bare_value_is_a_periodic_import_register_in_wh() -> None:
    assert one(sample("123400")) == Reading(at_ms=AT_MS, context=Context.SAMPLE, register_wh=123400)


def test_a_full_ac_sample_is_one_reading() -> None:
    reading = one(
        sample("123400", REGISTER, unit="Wh", context="Sample.Clock"),
        sample("7.2", "Power.Active.Import", unit="kW", context="Sample.Clock"),
        sample("10", "Current.Import", "L1", unit="A", context="Sample.Clock"),
        sample("12.5", "Current.Import", "L2", unit="A", context="Sample.Clock"),
        sample("11", "Current.Import", "L3", unit="A", context="Sample.Clock"),
        sample("229", "Voltage", "L1-N", unit="V", context="Sample.Clock"),
        sample("230", "Voltage", "L2-N", unit="V", context="Sample.Clock"),
        sample("231", "Voltage", "L3-N", unit="V", context="Sample.Clock"),
        sample("31", "Temperature", unit="Celsius", context="Sample.Clock"),
    )
    assert reading == Reading(AT_MS, Context.CLOCK, 123400, None, 7200, 12500, 230000)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        ("123400.4", "Wh", 123400),
        ("123400.5", "Wh", 123401),
        ("123.4", "kWh", 123400),
        ("123.4005", "kWh", 123401),
        ("0.0005", "kWh", 1),
        ("1234567.4449", "kWh", 1234567445),
        ("0", "Wh", 0),
        ("1.5e3", "Wh", 1500),
        (" 42 ", "Wh", 42),
        ("-5", "Wh", -5),
    ],
)
def test_the_register_is_whole_wh_rounded_half_up(value: str, unit: str, expected: int) -> None:
    assert one(sample(value, REGISTER, unit=unit)).register_wh == expected


@pytest.mark.parametrize(
    "value", ["", "n/a", "NaN", "Infinity", "-inf", "1e400", "9" * 30, "9" * 17, "1_000", "12,5", "1e99999999"]
)
def test_a_register_that_is_no_number_is_dropped_alone(value: str) -> None:
    reading = one(sample(value, REGISTER), sample("3500", "Power.Active.Import"))
    assert (reading.register_wh, reading.power_w) == (None, 3500)
    assert read(sample(value, REGISTER)) == ()


def test_the_phases_are_summed_where_no_total_is_given() -> None:
    phases = [sample(str(1000 + n), REGISTER, f"L{n}") for n in (1, 2, 3)]
    assert one(*phases).register_wh == 3006
    assert one(*phases, sample("3333", REGISTER)).register_wh == 3333
    assert one(sample("3333", REGISTER), *phases).register_wh == 3333
    power = [sample("1.1", "Power.Active.Import", f"L{n}", unit="kW") for n in (1, 2, 3)]
    assert one(*power).power_w == 3300


def test_a_sum_with_an_unreadable_phase_is_no_sum() -> None:
    assert read(sample("1000", REGISTER, "L1"), sample("x", REGISTER, "L2"), sample("1000", REGISTER, "L3")) == ()


def test_the_neutral_and_line_to_line_values_add_nothing() -> None:
    reading = one(
        sample("10", "Current.Import", "L1"),
        sample("99", "Current.Import", "N"),
        sample("400", "Voltage", "L1-L2"),
        sample("230", "Voltage", "L1-N"),
    )
    assert (reading.current_ma, reading.voltage_mv) == (10000, 230000)


def test_the_largest_phase_beats_a_total_of_the_currents() -> None:
    assert one(sample("32", "Current.Import"), sample("16", "Current.Import", "L1")).current_ma == 16000
    assert one(sample("32", "Current.Import")).current_ma == 32000


def test_the_outlet_beats_every_other_place() -> None:
    inlet, outlet = sample("9000", REGISTER, location="Inlet"), sample("8000", REGISTER, location="Outlet")
    assert one(inlet, outlet).register_wh == 8000
    assert one(outlet, inlet).register_wh == 8000
    assert one(inlet, sample("8000", REGISTER)).register_wh == 8000
    assert one(inlet).register_wh == 9000
    assert one(inlet, sample("1", REGISTER, location="Body")).register_wh == 1
    # Phases at the outlet are not mixed with a total at the inlet.
    assert one(inlet, *(sample("10", REGISTER, f"L{n}", location="Outlet") for n in (1, 2, 3))).register_wh == 30


def test_a_state_of_charge_comes_from_wherever_it_is_known() -> None:
    assert one(sample("81.4", "SoC", unit="Percent", location="EV")).soc_percent == 81
    assert one(sample("1", REGISTER), sample("130", "SoC")).soc_percent is None


def test_signed_data_is_noted_and_never_turned_into_a_register() -> None:
    signed = one(sample("OCMF|{...}", REGISTER, format="SignedData", context="Transaction.End"))
    assert signed == Reading(at_ms=AT_MS, context=Context.END, signed=True)
    assert one(sample("12345678", REGISTER, format="SignedData")).register_wh is None
    both = one(sample("OCMF", REGISTER, format="SignedData"), sample("500", REGISTER, format="Raw"))
    assert (both.register_wh, both.signed) == (500, True)


def test_a_unit_of_another_kind_makes_no_reading() -> None:
    assert read(sample("230", REGISTER, unit="V")) == ()
    assert read(sample("7", "Power.Active.Import", unit="kVA")) == ()


def test_begin_and_end_in_one_instant_are_two_readings() -> None:
    begin = sample("100", REGISTER, context="Transaction.Begin")
    end = sample("900", REGISTER, context="Transaction.End")
    readings = read(begin, end)
    assert [(r.context, r.register_wh) for r in readings] == [(Context.BEGIN, 100), (Context.END, 900)]


def test_the_default_context_and_its_name_are_one() -> None:
    assert len(read(sample("1", REGISTER), sample("2", "SoC", context="Sample.Periodic"))) == 1


@pytest.mark.parametrize(
    ("raw", "context"),
    [
        ("Interruption.Begin", Context.INTERRUPTION),
        ("Interruption.End", Context.INTERRUPTION),
        ("Trigger", Context.TRIGGER),
        ("Other", Context.OTHER),
    ],
)
def test_contexts_are_told_apart_as_far_as_money_does(raw: str, context: Context) -> None:
    assert one(sample("1", REGISTER, context=raw)).context is context


def test_an_interval_is_not_a_register() -> None:
    reading = one(sample("0.25", "Energy.Active.Import.Interval", unit="kWh"))
    assert (reading.register_wh, reading.interval_wh) == (None, 250)


def test_an_instant_of_nothing_we_know_is_no_reading() -> None:
    assert read(sample("50", "Frequency"), sample("5", "Energy.Active.Export.Register")) == ()


def test_kwh_labelled_wh_is_corrected_where_the_model_says_so() -> None:
    quirks = frozenset({ENERGY_SAMPLES_ARE_KWH})
    assert one(sample("12.345", REGISTER, unit="Wh"), quirks=quirks).register_wh == 12345
    assert one(sample("12.345", REGISTER), quirks=quirks).register_wh == 12345
    assert one(sample("12.345", REGISTER, unit="kWh"), quirks=quirks).register_wh == 12345
    assert one(sample("3500", "Power.Active.Import"), quirks=quirks).power_w == 3500


def test_an_unreadable_time_is_no_time() -> None:
    (reading,) = read(sample("1"), at="yesterday")
    assert (reading.at_ms, reading.register_wh) == (None, 1)


def test_the_time_quirks_reach_the_samples() -> None:
    (reading,) = read(sample("1"), at="2026-01-02T08:34:05Z", quirks=frozenset({IST_SENT_AS_Z}))
    assert reading.at_ms == AT_MS


numbers = st.decimals(0, 10**9, places=3).map(str)
plain_samples = st.tuples(
    numbers,
    st.sampled_from([None, REGISTER, "Power.Active.Import", "Current.Import", "Voltage", "SoC", "Frequency"]),
    st.sampled_from([None, "L1", "L2", "L3", "L1-N", "N", "L1-L2"]),
    st.sampled_from([None, "Outlet", "Inlet", "EV"]),
    st.sampled_from([None, "Sample.Periodic", "Transaction.End"]),
    st.sampled_from([None, "Raw", "SignedData"]),
)


@given(
    st.lists(plain_samples, min_size=1, max_size=8, unique_by=lambda row: (row[1] or REGISTER, row[2] and row[2][:2]))
)
def test_the_short_cut_and_the_long_way_agree(rows: list[tuple[Any, ...]]) -> None:
    names = ("value", "measurand", "phase", "location", "context", "format")
    samples = [{k: v for k, v in zip(names, row, strict=True) if v is not None} for row in rows]
    values = request("MeterValues", connectorId=1, meterValue=[{"timestamp": AT, "sampledValue": samples}])
    (instant,) = values.meterValue
    quick = wire.read_samples([instant])
    slow = combine(AT_MS, wire._rows(instant.sampledValue))
    assert len(quick) == len(slow)
    for a, b in zip(quick, slow, strict=True):
        assert (a.at_ms, a.context, a.register_wh, a.soc_percent is None, a.signed) == (
            b.at_ms,
            b.context,
            b.register_wh,
            b.soc_percent is None,
            b.signed,
        )
        for left, right in ((a.power_w, b.power_w), (a.current_ma, b.current_ma), (a.voltage_mv, b.voltage_mv)):
            assert (left is None) == (right is None)
            assert left is None or right is None or abs(left - right) <= 1


@given(st.decimals(0, 10**8, places=4), st.sampled_from(["Wh", "kWh"]))
def test_the_register_is_exact_in_decimal(value: Decimal, unit: str) -> None:
    exact = (value * (1000 if unit == "kWh" else 1)).to_integral_value(ROUND_HALF_UP)
    assert one(sample(str(value), REGISTER, unit=unit)).register_wh == int(exact)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=4))
def test_no_value_makes_the_reader_fall_over(values: list[str]) -> None:
    readings = read(*(sample(value) for value in values))
    assert all(isinstance(reading.register_wh, int) for reading in readings)


def test_eight_samples_are_cheap() -> None:
    samples = [
        sample("123400", REGISTER, unit="Wh"),
        sample("7200.5", "Power.Active.Import", unit="W"),
        *(sample(f"{10 + n}", "Current.Import", f"L{n}", unit="A") for n in (1, 2, 3)),
        *(sample(f"{230 + n}", "Voltage", f"L{n}-N", unit="V") for n in (1, 2, 3)),
    ]
    meter_value = request(
        "MeterValues", connectorId=1, meterValue=[{"timestamp": AT, "sampledValue": samples}]
    ).meterValue
    best = 1.0
    for _ in range(10):
        started = time.perf_counter()
        for _ in range(500):
            wire.read_samples(meter_value)
        best = min(best, (time.perf_counter() - started) / 500)
    # About 4 us alone on a core; the bound only catches a fall off the short cut on a loaded machine.
    assert best < 15e-6


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_boot_names_the_device_and_leaves_empty_strings_out() -> None:
    booted = wire.boot(
        request(
            "BootNotification",
            chargePointVendor="Voltbee ",
            chargePointModel="VB-15",
            chargePointSerialNumber="",
            chargeBoxSerialNumber="B1",
            firmwareVersion="2.1",
            iccid="",
            meterSerialNumber="M9",
        )
    )
    assert (booted.vendor, booted.model, booted.serial) == ("Voltbee", "VB-15", "B1")
    assert (booted.firmware, booted.iccid, booted.meter_serial, booted.reason) == ("2.1", None, "M9", None)


@pytest.mark.parametrize("number", [0, 1, 99])
def test_a_connector_is_its_own_evse(number: int) -> None:
    reported = wire.status(request("StatusNotification", connectorId=number, errorCode="NoError", status="SuspendedEV"))
    assert (reported.evse, reported.connector) == (number, number)
    assert (reported.status, reported.at_ms, reported.info) == (SocketStatus.SUSPENDED_EV, None, None)


def test_every_status_of_the_schema_is_known() -> None:
    for word in ("Available", "Preparing", "Charging", "SuspendedEVSE", "SuspendedEV"):
        wire.status(request("StatusNotification", connectorId=1, errorCode="NoError", status=word))
    for word in ("Finishing", "Reserved", "Unavailable", "Faulted"):
        wire.status(request("StatusNotification", connectorId=1, errorCode="OtherError", status=word))


def start(**changes: Any) -> Any:
    members = {"connectorId": 2, "idTag": "aBc1", "meterStart": 1000, "timestamp": AT} | changes
    return request("StartTransaction", **members)


def test_a_start_carries_the_business_key() -> None:
    started = wire.start(start(reservationId=7))
    assert started.key == f"2|ABC1|{AT_MS}|1000"
    assert (started.evse, started.connector, started.token) == (2, 2, "aBc1")
    assert (started.at_ms, started.register_wh, started.tx_id, started.reservation_id) == (AT_MS, 1000, None, 7)


def test_the_same_start_said_otherwise_has_the_same_key() -> None:
    again = wire.start(start(idTag=" ABC1", timestamp="2026-01-02T08:34:05.000+05:30"))
    assert again.key == wire.start(start()).key
    for change in ({"connectorId": 1}, {"idTag": "X"}, {"meterStart": 1001}, {"timestamp": "2026-01-02T03:04:06Z"}):
        assert wire.start(start(**change)).key != wire.start(start()).key


def test_what_a_start_does_not_say_is_absent() -> None:
    started = wire.start(start(idTag="", meterStart=-1, timestamp="1970-01-01T00:00:00Z"))
    assert (started.token, started.register_wh, started.at_ms) == (None, None, None)
    assert wire.start(start(meterStart=0)).register_wh == 0
    assert wire.start(start(meterStart=2**60)).register_wh is None


def test_the_start_and_stop_registers_have_their_own_unit_quirk() -> None:
    assert wire.start(start(), frozenset({START_STOP_ARE_KWH})).register_wh == 1_000_000
    assert wire.start(start(), frozenset({ENERGY_SAMPLES_ARE_KWH})).register_wh == 1000


def test_a_start_without_a_zone_is_indian_time_where_the_model_says_so() -> None:
    assert wire.start(start(timestamp="2026-01-02 08:34:05"), frozenset({TZ_MISSING_IST})).at_ms == AT_MS


def stop(**changes: Any) -> Any:
    members = {"transactionId": 17, "meterStop": 9000, "timestamp": AT} | changes
    return request("StopTransaction", **members)


def test_a_stop_is_known_by_its_transaction() -> None:
    stopped = wire.stop(stop(idTag="aBc1", reason="PowerLoss"))
    assert (stopped.key, stopped.tx_id, stopped.token) == ("17", "17", "aBc1")
    assert (stopped.at_ms, stopped.register_wh, stopped.reason) == (AT_MS, 9000, "PowerLoss")
    assert (stopped.evse, stopped.connector, stopped.signed) == (None, None, False)


@pytest.mark.parametrize("number", [0, -1])
def test_a_stop_of_an_unknown_transaction_is_known_by_what_it_says(number: int) -> None:
    stopped = wire.stop(stop(transactionId=number, idTag="a"))
    assert stopped.key == f"?|A|{AT_MS}|9000"
    assert stopped.tx_id == str(number)


def test_a_stop_without_a_reason_is_local() -> None:
    assert wire.stop(stop()).reason == "Local"


def test_a_stop_brings_its_transaction_data() -> None:
    data = [
        {"timestamp": AT, "sampledValue": [sample("1000", REGISTER, context="Transaction.Begin")]},
        {
            "timestamp": AT,
            "sampledValue": [
                sample("OCMF", REGISTER, context="Transaction.End", format="SignedData"),
                sample("9000", REGISTER, context="Transaction.End"),
            ],
        },
    ]
    stopped = wire.stop(stop(transactionData=data))
    assert [(r.context, r.register_wh) for r in stopped.readings] == [(Context.BEGIN, 1000), (Context.END, 9000)]
    assert stopped.signed


def meter(value: str = "5", *, measurand: str | None = None, at: str = AT, **members: Any) -> Any:
    values = [{"timestamp": at, "sampledValue": [sample(value, measurand)]}]
    return request("MeterValues", **({"connectorId": 1, "meterValue": values} | members))


def test_meter_values_keep_the_transaction_id_as_the_charger_said_it() -> None:
    assert wire.meter(meter()).tx_id is None
    assert [wire.meter(meter(transactionId=n)).tx_id for n in (17, 0, -1)] == ["17", "0", "-1"]


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────

ANSWERS = [
    *((action, {}) for action in sorted(wire.EMPTY_ANSWERS)),
    ("BootNotification", wire.boot_answer("Accepted", AT_MS, 300)),
    ("BootNotification", wire.boot_answer("Pending", AT_MS, 60)),
    ("Heartbeat", wire.heartbeat_answer(AT_MS)),
    ("Authorize", wire.authorize_answer("Accepted", "FLEET", AT_MS)),
    ("Authorize", wire.authorize_answer("Unknown")),
    ("StartTransaction", wire.start_answer(1, "Invalid")),
    ("StartTransaction", wire.start_answer(2**31 - 1, "Accepted", "G" * 30, AT_MS)),
    ("StopTransaction", wire.stop_answer()),
    ("StopTransaction", wire.stop_answer("ConcurrentTx")),
    ("DataTransfer", wire.data_transfer_answer("UnknownVendorId")),
    ("DataTransfer", wire.data_transfer_answer("Accepted", "yes")),
    ("SignCertificate", wire.sign_certificate_answer(accepted=True)),
    ("SignCertificate", wire.sign_certificate_answer(accepted=False)),
]


@pytest.mark.parametrize(("action", "answer"), ANSWERS)
def test_every_answer_fits_its_schema(action: str, answer: dict[str, Any]) -> None:
    assert SCHEMAS.validate(action, "response", answer) == []


def test_every_inbound_action_has_an_answer() -> None:
    assert {action for action, _ in ANSWERS} == wire.INBOUND_ACTIONS


@pytest.mark.parametrize("verdict", ["Accepted", "Blocked", "Expired", "Invalid", "ConcurrentTx"])
def test_the_verdicts_keep_their_words(verdict: str) -> None:
    assert wire.id_tag_info(verdict) == {"status": verdict}


def test_a_verdict_without_a_word_is_a_no() -> None:
    assert wire.id_tag_info("NoCredit") == {"status": "Invalid"}


def test_a_group_too_long_for_the_wire_is_left_out() -> None:
    assert "parentIdTag" not in wire.id_tag_info("Accepted", "G" * 21)
    assert wire.id_tag_info("Accepted", "G" * 20)["parentIdTag"] == "G" * 20


@pytest.mark.parametrize("number", [0, -1, 2**31])
def test_a_start_is_never_answered_with_an_id_outside_the_range(number: int) -> None:
    with pytest.raises(ValueError, match="transaction id"):
        wire.start_answer(number, "Accepted")
