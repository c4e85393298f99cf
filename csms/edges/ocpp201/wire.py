"""OCPP 2.0.1 frames <-> what they mean: requests become facts, verdicts become answers. Pure.

Requests are structs generated from the JSON schemas: camelCase attributes, absent members `None`, JSON numbers as
floats. A reader never invents: an unreadable time is `None`, a negative sequence number (which a repaired frame
carries where the station gave none) is `None`, an empty string is an absent one. `evse` and `connector` are 0 where
a message that must have a number names none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
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
from firmware_profiles.quirks import ENERGY_SAMPLES_ARE_KWH, NO_QUIRKS

Payload = dict[str, Any]

_OTHER: Final = Context.OTHER  # an enum member looked up through its class costs as much as a dict

# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────


def boot(req: Any) -> Booted:
    """BootNotification, with its reason."""
    station = req.chargingStation
    modem = station.modem
    return Booted(
        vendor=station.vendorName.strip(),
        model=station.model.strip(),
        serial=_text(station.serialNumber),
        firmware=_text(station.firmwareVersion),
        iccid=_text(modem.iccid) if modem is not None else None,
        imsi=_text(modem.imsi) if modem is not None else None,
        reason=_text(req.reason),
    )


def status(req: Any, quirks: frozenset[str] = NO_QUIRKS) -> StatusReported:
    """StatusNotification. A status outside the closed list is a `ValueError`."""
    return StatusReported(
        evse=req.evseId,
        connector=req.connectorId,
        status=SocketStatus(req.connectorStatus),
        at_ms=parse(req.timestamp, quirks),
    )


def transaction_event(req: Any, quirks: frozenset[str] = NO_QUIRKS) -> Started | Metered | Stopped:
    """TransactionEvent. Key: transaction id | seqNo | event type (SESSIONS 5.5).

    Some firmware counts no sequence, so equal keys are the same event only when the content is the same too.
    """
    info = req.transactionInfo
    tx_id = info.transactionId
    seq_no = req.seqNo if req.seqNo >= 0 else None
    key = f"{tx_id}|{'' if seq_no is None else seq_no}|{req.eventType}"
    evse = req.evse
    evse_id = evse.id if evse is not None else None
    connector_id = evse.connectorId if evse is not None else None
    id_token = req.idToken
    token = _text(id_token.idToken) if id_token is not None else None
    token_kind = id_token.type if id_token is not None else None
    readings = read_samples(req.meterValue or (), quirks)
    offline = bool(req.offline)
    match req.eventType:
        case "Updated":
            return Metered(
                key=key,
                evse=evse_id or 0,
                connector=connector_id or 0,
                readings=readings,
                tx_id=tx_id,
                token=token,
                charging_state=info.chargingState,
                offline=offline,
                seq_no=seq_no,
                remote_start_id=info.remoteStartId,
                token_kind=token_kind,
            )
        case "Started":
            return Started(
                key=key,
                evse=evse_id or 0,
                connector=connector_id or 0,
                token=token,
                at_ms=parse(req.timestamp, quirks),
                register_wh=first_register(readings),
                tx_id=tx_id,
                remote_start_id=info.remoteStartId,
                reservation_id=req.reservationId,
                offline=offline,
                seq_no=seq_no,
                charging_state=info.chargingState,
                token_kind=token_kind,
                readings=readings,
            )
        case "Ended":
            return Stopped(
                key=key,
                tx_id=tx_id,
                at_ms=parse(req.timestamp, quirks),
                register_wh=last_register(readings),
                # 2.0.1 TransactionType: stoppedReason may only be omitted when it is Local.
                reason=_text(info.stoppedReason) or "Local",
                token=token,
                evse=evse_id,
                connector=connector_id,
                offline=offline,
                seq_no=seq_no,
                signed=any(reading.signed for reading in readings),
                readings=readings,
                token_kind=token_kind,
            )
        case other:
            raise ValueError(f"TransactionEvent of type {other!r}")


def meter(req: Any, quirks: frozenset[str] = NO_QUIRKS) -> Metered:
    """MeterValues: readings outside of any transaction. The connector is not named."""
    return Metered(evse=req.evseId, connector=0, readings=read_samples(req.meterValue, quirks))


def first_register(readings: Sequence[Reading]) -> int | None:
    """The register a transaction began with: Transaction.Begin, else the first that is not its end."""
    return _register(readings, Context.BEGIN, Context.END)


def last_register(readings: Sequence[Reading]) -> int | None:
    """The register a transaction ended with: Transaction.End, else the last that is not its begin."""
    return _register(readings[::-1], Context.END, Context.BEGIN)


def read_samples(meter_values: Sequence[Any], quirks: frozenset[str] = NO_QUIRKS) -> tuple[Reading, ...]:
    """The readings of a meterValue list in its order; instants without anything we know give none."""
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


def _register(readings: Iterable[Reading], wanted: Context, unwanted: Context) -> int | None:
    fallback: int | None = None
    for reading in readings:
        if reading.register_wh is None or reading.register_wh < 0 or reading.context is unwanted:
            continue
        if reading.context is wanted:
            return reading.register_wh
        if fallback is None:
            fallback = reading.register_wh
    return fallback


def _plain(at_ms: int | None, samples: Sequence[Any]) -> Reading | None:
    """The short cut for an instant of plain samples, `None` where it is not one (`combine` then decides).

    One flat pass: unsigned, no multiplier, the unit we keep or none, energy and power as totals.
    """
    if not samples:
        return None
    raw_context = samples[0].context
    register = interval = power = amps = amps_phase = volts = soc = None
    volts_sum = 0.0
    volts_count = 0
    for sample in samples:
        measurand, phase, value, location = sample.measurand, sample.phase, sample.value, sample.location
        if sample.signedMeterValue is not None or not LOWEST < value < LIMIT:
            return None
        if sample.context != raw_context and (sample.context or PERIODIC) != (raw_context or PERIODIC):
            return None
        if location is not None and location != "Outlet" and measurand in KINDS and measurand != "SoC":
            return None
        measure = sample.unitOfMeasure
        unit = None
        if measure is not None:
            unit = measure.unit
            if measure.multiplier:
                return None
        if measurand == "Current.Import":
            if phase is None:
                amps = value
            elif phase not in PHASES:
                return None
            elif amps_phase is None or value > amps_phase:
                amps_phase = value
            if unit is not None and unit != "A":
                return None
        elif measurand == "Voltage":
            if phase is None:
                volts = value
            elif phase not in PHASES:
                return None
            else:
                volts_sum += value
                volts_count += 1
            if unit is not None and unit != "V":
                return None
        elif measurand == "SoC":
            soc = value
            if (unit is not None and unit != "Percent") or not 0 <= value <= 100:
                return None
        elif measurand not in KINDS:
            continue
        elif phase is not None:
            return None
        elif measurand == "Power.Active.Import":
            power = value
            if unit is not None and unit != "W":
                return None
        elif unit is not None and unit != "Wh":
            return None
        elif measurand == "Energy.Active.Import.Interval":
            interval = value
        else:
            register = value
    register_wh = None
    if register is not None:
        register_wh = int(register)
        if register_wh != register:
            register_wh = whole(register)  # half up: this one becomes money
    if amps_phase is not None:
        amps = amps_phase
    if volts_count:
        volts = volts_sum / volts_count
    reading = Reading(
        at_ms,
        CONTEXTS.get(raw_context, _OTHER),
        register_wh,
        None if interval is None else round(interval),
        None if power is None else round(power),
        None if amps is None else round(amps * 1000),
        None if volts is None else round(volts * 1000),
        None if soc is None else round(soc),
    )
    return None if register_wh is None and is_blank(reading) else reading


def _rows(samples: Iterable[Any]) -> Iterator[Sample]:
    for sample in samples:
        measure = sample.unitOfMeasure
        yield Sample(
            value=sample.value,
            measurand=sample.measurand,
            unit=measure.unit if measure is not None else None,
            phase=sample.phase,
            location=sample.location,
            context=sample.context,
            signed=sample.signedMeterValue is not None,
            multiplier=(measure.multiplier or 0) if measure is not None else 0,
        )


def _text(raw: str | None) -> str | None:
    return (raw.strip() or None) if raw else None


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────

# Every inbound action whose answer has no required member.
EMPTY_ANSWERS: Final = frozenset(
    {
        "StatusNotification",
        "MeterValues",
        "NotifyEvent",
        "NotifyReport",
        "NotifyMonitoringReport",
        "NotifyCustomerInformation",
        "SecurityEventNotification",
        "FirmwareStatusNotification",
        "LogStatusNotification",
        "ReservationStatusUpdate",
        "NotifyChargingLimit",
        "NotifyDisplayMessages",
        "ReportChargingProfiles",
        "ClearedChargingLimit",
        "PublishFirmwareStatusNotification",
    }
)

# What a charging station may send. An action outside this set is NotImplemented.
INBOUND_ACTIONS: Final = EMPTY_ANSWERS | {
    "BootNotification",
    "Heartbeat",
    "Authorize",
    "TransactionEvent",
    "DataTransfer",
    "NotifyEVChargingNeeds",
    "NotifyEVChargingSchedule",
    "SignCertificate",
    "Get15118EVCertificate",
    "GetCertificateStatus",
}

_TOKEN_WORDS: Final = frozenset(
    {
        "Accepted",
        "Blocked",
        "ConcurrentTx",
        "Expired",
        "Invalid",
        "NoCredit",
        "NotAllowedTypeEVSE",
        "NotAtThisLocation",
        "NotAtThisTime",
        "Unknown",
    }
)
_ID_TOKEN_MAX: Final = 36
_REASON_CODE_MAX: Final = 20
_CONTENT_MAX: Final = 512


def boot_answer(status: str, now_ms: int, interval_s: int, *, reason_code: str | None = None) -> Payload:
    """`status` Accepted, Pending or Rejected; the interval is the heartbeat's, or the earliest retry."""
    return {"currentTime": stamp(now_ms), "interval": interval_s, "status": status} | _status_info(reason_code)


def heartbeat_answer(now_ms: int) -> Payload:
    return {"currentTime": stamp(now_ms)}


def id_token_info(
    status: str,
    group: str | None = None,
    expires_ms: int | None = None,
    *,
    group_kind: str = "Central",
    evse_ids: Sequence[int] = (),
) -> Payload:
    """IdTokenInfo; a verdict 2.0.1 has no word for is Unknown. `evse_ids`: allowed there only (C01.FR.20).

    A group too long for the wire is left out: cut short it would name another group.
    """
    info: Payload = {"status": status if status in _TOKEN_WORDS else "Unknown"}
    if expires_ms is not None:
        info["cacheExpiryDateTime"] = stamp(expires_ms)
    if evse_ids:
        info["evseId"] = list(evse_ids)
    if group and len(group) <= _ID_TOKEN_MAX:
        info["groupIdToken"] = {"idToken": group, "type": group_kind}
    return info


def authorize_answer(
    status: str,
    group: str | None = None,
    expires_ms: int | None = None,
    *,
    evse_ids: Sequence[int] = (),
    certificate_status: str | None = None,
) -> Payload:
    """`certificate_status` only when the request carried a contract certificate (C07)."""
    info = id_token_info(status, group, expires_ms, evse_ids=evse_ids)
    answer: Payload = {"idTokenInfo": info}
    if certificate_status is not None:
        answer["certificateStatus"] = certificate_status
    return answer


def transaction_event_answer(
    id_token: Payload | None = None, total_cost: Decimal | None = None, *, message: str | None = None
) -> Payload:
    """`id_token` from `id_token_info`, given when the request carried a token. `total_cost` in the currency of
    the site; absent says nothing, while 0 says the transaction was free (2.0.1 1.60.2)."""
    answer: Payload = {}
    if total_cost is not None:
        answer["totalCost"] = float(total_cost)
    if id_token is not None:
        answer["idTokenInfo"] = id_token
    if message:
        answer["updatedPersonalMessage"] = message_content(message)
    return answer


def message_content(text: str) -> Payload:
    """A text for a display (MessageContentType)."""
    return {"format": "UTF8", "content": text[:_CONTENT_MAX]}


def data_transfer_answer(status: str, data: Any = None) -> Payload:
    """Accepted, Rejected, UnknownMessageId or UnknownVendorId."""
    return {"status": status} if data is None else {"status": status, "data": data}


def sign_certificate_answer(*, accepted: bool, reason_code: str | None = None) -> Payload:
    return {"status": "Accepted" if accepted else "Rejected"} | _status_info(reason_code)


def charging_needs_answer(status: str, reason_code: str | None = None) -> Payload:
    """NotifyEVChargingNeeds: Accepted, Rejected or Processing."""
    return {"status": status} | _status_info(reason_code)


def charging_schedule_answer(*, accepted: bool) -> Payload:
    """NotifyEVChargingSchedule."""
    return {"status": "Accepted" if accepted else "Rejected"}


def ev_certificate_answer(exi_response: str | None) -> Payload:
    """Get15118EVCertificate: the EXI answer of the contract certificate pool, `None` where it gave none."""
    if exi_response is None:
        return {"status": "Failed", "exiResponse": ""} | _status_info("NoContractPool")
    return {"status": "Accepted", "exiResponse": exi_response}


def certificate_status_answer(ocsp_result: str | None) -> Payload:
    """GetCertificateStatus: the DER OCSP response in base64, `None` where the responder gave none."""
    if ocsp_result is None:
        return {"status": "Failed"} | _status_info("NoResponder")
    return {"status": "Accepted", "ocspResult": ocsp_result}


def _status_info(reason_code: str | None) -> Payload:
    return {"statusInfo": {"reasonCode": reason_code[:_REASON_CODE_MAX]}} if reason_code else {}
