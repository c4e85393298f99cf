"""Charging profiles on the wire of both versions; what 1.6 cannot say is refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from csms.domain.charging_profile import Period, Profile, Purpose, Schedule, read_profile
from csms.domain.refusal import Refusal, Why
from csms.edges.ocpptime import stamp

Payload = dict[str, Any]

PURPOSES_16: Final[Mapping[Purpose, str]] = {
    Purpose.STATION_MAX: "ChargePointMaxProfile",
    Purpose.TX_DEFAULT: "TxDefaultProfile",
    Purpose.TX: "TxProfile",
}
PURPOSES_201: Final[Mapping[Purpose, str]] = {
    Purpose.STATION_MAX: "ChargingStationMaxProfile",
    Purpose.TX_DEFAULT: "TxDefaultProfile",
    Purpose.TX: "TxProfile",
    Purpose.EXTERNAL: "ChargingStationExternalConstraints",
}


def given(command: Mapping[str, Any]) -> Profile:
    """The profile a command carries."""
    shape = command.get("profile")
    if not isinstance(shape, Mapping):
        raise Refusal(Why.INVALID_REQUEST, "the command needs a profile")
    return read_profile(shape)


def to_16(profile: Profile) -> Payload:
    """ChargingProfile of 1.6. Refusal for what that version cannot say."""
    if len(profile.schedules) != 1:
        raise Refusal(Why.NOT_SUPPORTED, "OCPP 1.6 has one schedule in a profile")
    if profile.purpose not in PURPOSES_16:
        raise Refusal(Why.NOT_SUPPORTED, "OCPP 1.6 has no external constraints")
    if any(period.phase_to_use is not None for period in profile.schedules[0].periods):
        raise Refusal(Why.NOT_SUPPORTED, "OCPP 1.6 cannot choose a phase")
    made: Payload = {"chargingProfileId": profile.profile_id}
    if profile.tx_id is not None:
        if not profile.tx_id.lstrip("-").isdigit():
            raise Refusal(Why.INVALID_REQUEST, "an OCPP 1.6 transaction id is a number")
        made["transactionId"] = int(profile.tx_id)
    made |= _head(profile, PURPOSES_16[profile.purpose])
    return made | {"chargingSchedule": _schedule(profile.schedules[0])}


def to_201(profile: Profile) -> Payload:
    """ChargingProfileType of 2.0.1; its schedules are numbered by their place."""
    made: Payload = {"id": profile.profile_id, **_head(profile, PURPOSES_201[profile.purpose])}
    if profile.tx_id is not None:
        made["transactionId"] = profile.tx_id
    numbered = enumerate(profile.schedules, 1)
    return made | {"chargingSchedule": [{"id": number, **_schedule(schedule)} for number, schedule in numbered]}


def _head(profile: Profile, purpose: str) -> Payload:
    made: Payload = {
        "stackLevel": profile.stack_level,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": profile.kind.value,
    }
    if profile.recurrency is not None:
        made["recurrencyKind"] = profile.recurrency
    if profile.valid_from_ms is not None:
        made["validFrom"] = stamp(profile.valid_from_ms)
    if profile.valid_to_ms is not None:
        made["validTo"] = stamp(profile.valid_to_ms)
    return made


def _schedule(schedule: Schedule) -> Payload:
    made: Payload = {}
    if schedule.duration_s is not None:
        made["duration"] = schedule.duration_s
    if schedule.start_ms is not None:
        made["startSchedule"] = stamp(schedule.start_ms)
    made["chargingRateUnit"] = schedule.unit.value
    if schedule.min_rate is not None:
        made["minChargingRate"] = _number(schedule.min_rate)
    return made | {"chargingSchedulePeriod": [_period(period) for period in schedule.periods]}


def _period(period: Period) -> Payload:
    made: Payload = {"startPeriod": period.start_s, "limit": _number(period.limit)}
    if period.phases is not None:
        made["numberPhases"] = period.phases
    if period.phase_to_use is not None:
        made["phaseToUse"] = period.phase_to_use
    return made


def _number(value: Decimal) -> float:
    return float(value)
