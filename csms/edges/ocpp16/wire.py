"""OCPP 1.6 frames <-> what they mean: requests become facts, verdicts become answers. Pure.

Requests are structs generated from the JSON schemas: camelCase attributes, absent members `None`. A reader never
invents: an unreadable time is `None`, a negative register (which no import meter shows, and which a repaired frame
carries where the charger gave none) is `None`, an empty string is an absent one. Token text keeps its case; only the
business keys of SESSIONS 5.5 use the normalised form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from csms.domain.reported import (
    Booted,
    Context,
    Metered,
    Reading,
    SocketStatus,
    Started,
    StatusReported,
    Stopped,
)
from csms.edges.ocppsamples import (
    CONTEXTS,
    KINDS,
    LIMIT,
    LOWEST,
    PERIODIC,
    PHASES,
    Sample,
    combine,
    is_blank,
    whole,
)
from csms.edges.ocpptime import parse, stamp
from firmware_profiles.quirks import ENERGY_SAMPLES_ARE_KWH, NO_QUIRKS, START_STOP_ARE_KWH

Payload = dict[str, Any]

_OTHER: Final = Context.OTHER  # an enum member looked up through its class costs as much as a dict

# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────


def boot(req: Any) -> Booted:
    """BootNotification. The serial is the charge point's, else the (deprecated) charge box's."""
    return Booted(
        vendor=req.chargePointVendor.strip(),
        model=req.chargePointModel.strip(),
        serial=_text(req.chargePointSerialNumber) or _text(req.chargeBoxSerialNumber),
        firmware=_text(req.firmwareVersion),
        iccid=_text(req.iccid),
        imsi=_text(req.imsi),
        meter_serial=_text(req.meterSerialNumber),
        meter_type=_text(req.meterType),
    )


def status(req: Any, quirks: frozenset[str] = NO_QUIRKS) -> StatusReported:
    """StatusNotification. Error codes stay text; a status outside the closed list is a `ValueError`."""
    return StatusReported(
        evse=req.connectorId,
        connector=req.connectorId,
        status=SocketStatus(req.status),
        at_ms=parse(req.timestamp, quirks),
        error_code=_text(req.errorCode),
        info=_text(req.info),
        vendor_id=_text(req.vendorId),
        vendor_error_code=_text(req.vendorErrorCode),
    )


def start(req: Any, quirks: frozenset[str] = NO_QUIRKS) -> Started:
    """StartTransaction. Key: connector | normalised idTag | start ms | meterStart."""
    connector = req.connectorId
    token = _text(req.idTag)
    at_ms = parse(req.timestamp, quirks)
    register_wh = _register(req.meterStart, quirks)
    return Started(
        key=f"{connector}|{normal(token)}|{_part(at_ms)}|{_part(register_wh)}",
        evse=connector,
        connector=connector,
        token=token,
        at_ms=at_ms,
        register_wh=register_wh,
        reservation_id=req.reservationId,
    )


def meter(req: Any, quirks: frozenset[str] = NO_QUIRKS) -> Metered:
    """MeterValues. Transaction ids 0 and -1 stay "0" and "-1": the charger does not know its id (SESSIONS 5.5)."""
    connector = req.connectorId
    number = req.transactionId
    tx_id = None if number is None else str(number)
    return Metered(connector, connector, read_samples(req.meterValue, quirks), tx_id)


def stop(req: Any, quirks: frozenset[str] = NO_QUIRKS) -> Stopped:
    """StopTransaction. A missing reason is Local (1.6 6.49: it may only be omitted then).

    Key: the transaction id if it can be one of ours, else `?` | normalised idTag | stop ms | meterStop.
    """
    number = req.transactionId
    token = _text(req.idTag)
    at_ms = parse(req.timestamp, quirks)
    register_wh = _register(req.meterStop, quirks)
    readings = read_samples(req.transactionData or (), quirks)
    return Stopped(
        key=str(number) if number > 0 else f"?|{normal(token)}|{_part(at_ms)}|{_part(register_wh)}",
        tx_id=str(number),
        at_ms=at_ms,
        register_wh=register_wh,
        reason=_text(req.reason) or "Local",
        token=token,
        signed=any(reading.signed for reading in readings),
        readings=readings,
    )


def read_samples(meter_values: Sequence[Any], quirks: frozenset[str] = NO_QUIRKS) -> tuple[Reading, ...]:
    """The readings of a meterValue list in its order; instants without anything we know give none.

    The hot path of the house: one instant of eight plain samples is one pass over them and one `Reading`.
    """
    energy_is_kwh = ENERGY_SAMPLES_ARE_KWH in quirks
    readings: list[Reading] = []
    for instant in meter_values:
        at_ms = parse(instant.timestamp, quirks)
        samples = instant.sampledValue
        plain = None if energy_is_kwh else _plain(at_ms, samples)
        if plain is not None:
            readings.append(plain)
        else:
            readings.extend(combine(at_ms, _rows(samples), energy_is_kwh=energy_is_kwh))
    return tuple(readings)


def normal(token: str | None) -> str:
    """`idTag_norm` of SESSIONS 5.5: trimmed and upper case, because 1.6 tokens are case-insensitive."""
    return token.strip().upper() if token else ""


def _plain(at_ms: int | None, samples: Sequence[Any]) -> Reading | None:
    """The short cut for an instant of plain samples, `None` where it is not one (`combine` then decides).

    One flat pass without calls but `float`, hashing one word per sample: a line here is paid millions of times.
    """
    if not samples:
        return None
    raw_context = samples[0].context
    register = interval = power = amps = amps_phase = volts = soc = None
    register_wh = interval_wh = power_w = current_ma = voltage_mv = soc_percent = None
    register_text = ""
    factor = 1
    volts_sum = 0.0
    volts_count = 0
    try:
        for sample in samples:
            measurand, unit, phase = sample.measurand, sample.unit, sample.phase
            value_format, location = sample.format, sample.location
            if value_format is not None and value_format != "Raw":
                return None
            if sample.context != raw_context and (sample.context or PERIODIC) != (raw_context or PERIODIC):
                return None
            if location is not None and location != "Outlet" and measurand in KINDS and measurand != "SoC":
                return None
            if measurand == "Current.Import":
                number = float(sample.value)
                if phase is None:
                    amps = number
                elif phase not in PHASES:
                    return None
                elif amps_phase is None or number > amps_phase:
                    amps_phase = number
                if unit is not None and unit != "A":
                    return None
            elif measurand == "Voltage":
                if phase is None:
                    volts = float(sample.value)
                elif phase not in PHASES:
                    return None
                else:
                    volts_sum += float(sample.value)
                    volts_count += 1
                if unit is not None and unit != "V":
                    return None
            elif measurand == "SoC":
                soc = float(sample.value)
                if unit is not None and unit != "Percent":
                    return None
            elif measurand not in KINDS:
                continue
            elif phase is not None:
                return None
            elif measurand == "Power.Active.Import":
                power = float(sample.value)
                if unit == "kW":
                    power *= 1000
                elif unit is not None and unit != "W":
                    return None
            elif measurand == "Energy.Active.Import.Interval":
                interval = float(sample.value)
                if unit is not None and unit != "Wh":
                    return None
            else:
                register_text = sample.value
                register = float(register_text)
                factor = 1000 if unit == "kWh" else 1
                if factor == 1 and unit is not None and unit != "Wh":
                    return None
        # Anything odd (nan, infinity, beyond LIMIT, out of range) raises or leaves here; `combine` drops it alone.
        if register is not None:
            register *= factor
            register_wh = int(register)
            if register_wh != register or "_" in register_text:
                register_wh = whole(register_text, factor)  # exact and half up: this one becomes money
            if register_wh is None or not LOWEST < register_wh < LIMIT:
                return None
        if power is not None:
            power_w = round(power)
            if not LOWEST < power_w < LIMIT:
                return None
        if amps_phase is not None:
            amps = amps_phase
        if amps is not None:
            current_ma = round(amps * 1000)
            if not LOWEST < current_ma < LIMIT:
                return None
        if volts_count:
            volts = volts_sum / volts_count
        if volts is not None:
            voltage_mv = round(volts * 1000)
            if not LOWEST < voltage_mv < LIMIT:
                return None
        if soc is not None:
            soc_percent = round(soc)
            if not 0 <= soc_percent <= 100:
                return None
        if interval is not None:
            interval_wh = round(interval)
            if not LOWEST < interval_wh < LIMIT:
                return None
    except (ValueError, OverflowError):
        return None
    reading = Reading(
        at_ms,
        CONTEXTS.get(raw_context, _OTHER),
        register_wh,
        interval_wh,
        power_w,
        current_ma,
        voltage_mv,
        soc_percent,
    )
    return None if register_wh is None and is_blank(reading) else reading


def _rows(samples: Iterable[Any]) -> Iterator[Sample]:
    for sample in samples:
        opaque = sample.format == "SignedData"
        yield Sample(
            value=sample.value,
            measurand=sample.measurand,
            unit=sample.unit,
            phase=sample.phase,
            location=sample.location,
            context=sample.context,
            signed=opaque,
            opaque=opaque,
        )


def _register(raw: int | None, quirks: frozenset[str]) -> int | None:
    if raw is None or not 0 <= raw < LIMIT:
        return None
    return raw * 1000 if START_STOP_ARE_KWH in quirks else raw


def _text(raw: str | None) -> str | None:
    return (raw.strip() or None) if raw else None


def _part(value: int | None) -> str:
    return "" if value is None else str(value)


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────

# Every inbound action whose answer has no members. They are answered so in every state (OCPP 4.2 rows 4, 6, 9, 10).
EMPTY_ANSWERS: Final = frozenset(
    {
        "StatusNotification",
        "MeterValues",
        "DiagnosticsStatusNotification",
        "FirmwareStatusNotification",
        "SecurityEventNotification",
        "LogStatusNotification",
        "SignedFirmwareStatusNotification",
    }
)

# What a charge point may send. An action outside this set is NotImplemented.
INBOUND_ACTIONS: Final = EMPTY_ANSWERS | {
    "BootNotification",
    "Heartbeat",
    "Authorize",
    "StartTransaction",
    "StopTransaction",
    "DataTransfer",
    "SignCertificate",
}

# Our verdicts that 1.6 has a word for. Every other one means "no" and 1.6 says that as Invalid.
_TOKEN_WORDS: Final = frozenset({"Accepted", "Blocked", "Expired", "Invalid", "ConcurrentTx"})
_ID_TOKEN_MAX: Final = 20  # CiString20


def boot_answer(status: str, now_ms: int, interval_s: int) -> Payload:
    """`status` Accepted, Pending or Rejected; the interval is the heartbeat's, or the earliest retry."""
    return {"status": status, "currentTime": stamp(now_ms), "interval": interval_s}


def heartbeat_answer(now_ms: int) -> Payload:
    return {"currentTime": stamp(now_ms)}


def id_tag_info(status: str, group: str | None = None, expires_ms: int | None = None) -> Payload:
    """IdTagInfo. A group too long for 1.6 is left out: cut short it would name another group."""
    info: Payload = {"status": status if status in _TOKEN_WORDS else "Invalid"}
    if group and len(group) <= _ID_TOKEN_MAX:
        info["parentIdTag"] = group
    if expires_ms is not None:
        info["expiryDate"] = stamp(expires_ms)
    return info


def authorize_answer(status: str, group: str | None = None, expires_ms: int | None = None) -> Payload:
    return {"idTagInfo": id_tag_info(status, group, expires_ms)}


def start_answer(transaction_id: int, status: str, group: str | None = None, expires_ms: int | None = None) -> Payload:
    """The id is always given and always positive, whatever the verdict (OCPP 4.2 row 5): the stop will name it."""
    if not 0 < transaction_id < 2**31:
        raise ValueError(f"transaction id {transaction_id} is outside 1 … 2^31-1")
    return {"transactionId": transaction_id, "idTagInfo": id_tag_info(status, group, expires_ms)}


def stop_answer(status: str | None = None, group: str | None = None, expires_ms: int | None = None) -> Payload:
    """A stop cannot be refused. Without an idTag in the request there is no verdict and the answer is empty."""
    return {} if status is None else {"idTagInfo": id_tag_info(status, group, expires_ms)}


def data_transfer_answer(status: str, data: Any = None) -> Payload:
    """Accepted, Rejected, UnknownMessageId or UnknownVendorId. 1.6 carries text, so anything else is JSON in it."""
    if data is None:
        return {"status": status}
    return {"status": status, "data": data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))}


def sign_certificate_answer(*, accepted: bool) -> Payload:
    return {"status": "Accepted" if accepted else "Rejected"}
