"""Charging profiles before any dialect: what one says, whether it may be sent, which of two counts.

    stored shape (OCPP's, of either version) ─▶ read_profile ─▶ Profile ─▶ checked against the charger and what it
                                                                           holds ─▶ the version's outbound writes it

Limits are W or A as they were given, in steps of a tenth; offsets are whole seconds, instants UTC ms. Rules are cited
by OCPP 2.0.1's numbers; 1.6 has the same ones in prose (5.16, 7.8).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339, to_ms

TENTH: Final = Decimal("0.1")
NOMINAL_V: Final = 230
PHASES: Final = 3  # where a period names none (OCPP's default)
OURS: Final = 2_000_000_000
"""Numbers from here on are the house's own, so that a profile an operator stores never displaces one of ours."""


class Unit(StrEnum):
    """What limits are given in."""

    WATT = "W"
    AMPERE = "A"


class Purpose(StrEnum):
    """What a profile limits."""

    STATION_MAX = "station-max"
    TX_DEFAULT = "tx-default"
    TX = "tx"
    EXTERNAL = "external"


class Kind(StrEnum):
    """What its schedule counts from."""

    ABSOLUTE = "Absolute"
    RECURRING = "Recurring"
    RELATIVE = "Relative"


PURPOSES: Final[Mapping[str, Purpose]] = {
    "ChargePointMaxProfile": Purpose.STATION_MAX,
    "ChargingStationMaxProfile": Purpose.STATION_MAX,
    "TxDefaultProfile": Purpose.TX_DEFAULT,
    "TxProfile": Purpose.TX,
    "ChargingStationExternalConstraints": Purpose.EXTERNAL,
}
"""OCPP's words in either version."""


@dataclass(frozen=True, slots=True)
class Period:
    """From `start_s` on this limit holds."""

    start_s: int
    limit: Decimal
    phases: int | None = None
    phase_to_use: int | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """Limits over time. `start_ms` None: from when the profile counts; `duration_s` None: without an end."""

    unit: Unit
    periods: tuple[Period, ...]
    start_ms: int | None = None
    duration_s: int | None = None
    min_rate: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A charging profile. More than one schedule are choices for the car (ISO 15118)."""

    profile_id: int
    stack_level: int
    purpose: Purpose
    kind: Kind
    schedules: tuple[Schedule, ...]
    recurrency: str | None = None  # Daily, Weekly
    valid_from_ms: int | None = None
    valid_to_ms: int | None = None
    tx_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ability:
    """What a charger takes, by its configuration; None: it has not said."""

    units: frozenset[Unit] | None = None
    most_periods: int | None = None
    highest_stack_level: int | None = None
    most_profiles: int | None = None
    switches_phases: bool | None = None


@dataclass(frozen=True, slots=True)
class Installed:
    """A profile a charger holds, as far as rules between profiles go. `evse` 0: the whole charger."""

    evse: int
    profile_id: int
    purpose: Purpose
    stack_level: int
    valid_from_ms: int | None = None
    valid_to_ms: int | None = None


# -- reading


def read_profile(shape: Mapping[str, Any], *, profile_id: int | None = None) -> Profile:
    """A profile in OCPP's own shape, of either version. Refusal(INVALID_REQUEST) names what is wrong with it."""
    number = profile_id if profile_id is not None else shape.get("id", shape.get("chargingProfileId"))
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise _wrong("chargingProfileId: a number is needed")
    purpose = PURPOSES.get(str(shape.get("chargingProfilePurpose")))
    if purpose is None:
        raise _wrong("chargingProfilePurpose: ChargingStationMaxProfile, TxDefaultProfile or TxProfile is needed")
    try:
        kind = Kind(str(shape.get("chargingProfileKind")))
    except ValueError:
        raise _wrong("chargingProfileKind: Absolute, Recurring or Relative is needed") from None
    raw = shape.get("chargingSchedule")
    schedules = [raw] if isinstance(raw, Mapping) else raw
    if not isinstance(schedules, list) or not schedules:
        raise _wrong("chargingSchedule: a schedule is needed")
    return Profile(
        profile_id=number,
        stack_level=_whole(shape.get("stackLevel", 0), "stackLevel"),
        purpose=purpose,
        kind=kind,
        schedules=tuple(_schedule(one) for one in schedules),
        recurrency=str(shape["recurrencyKind"]) if shape.get("recurrencyKind") else None,
        valid_from_ms=_instant(shape.get("validFrom"), "validFrom"),
        valid_to_ms=_instant(shape.get("validTo"), "validTo"),
        tx_id=str(shape["transactionId"]) if shape.get("transactionId") is not None else None,
    )


def to_shape(profile: Profile) -> dict[str, Any]:
    """The inverse of `read_profile`, in 2.0.1's spelling: how one travels inside the house."""
    words = {purpose: word for word, purpose in PURPOSES.items() if word != "ChargePointMaxProfile"}
    shape: dict[str, Any] = {
        "id": profile.profile_id,
        "stackLevel": profile.stack_level,
        "chargingProfilePurpose": words[profile.purpose],
        "chargingProfileKind": profile.kind.value,
        "recurrencyKind": profile.recurrency,
        "validFrom": _stamp(profile.valid_from_ms),
        "validTo": _stamp(profile.valid_to_ms),
        "transactionId": profile.tx_id,
        "chargingSchedule": [
            _given(
                startSchedule=_stamp(one.start_ms),
                duration=one.duration_s,
                chargingRateUnit=one.unit.value,
                minChargingRate=_number(one.min_rate),
                chargingSchedulePeriod=[
                    _given(
                        startPeriod=period.start_s,
                        limit=_number(period.limit),
                        numberPhases=period.phases,
                        phaseToUse=period.phase_to_use,
                    )
                    for period in one.periods
                ],
            )
            for one in profile.schedules
        ],
    }
    return _given(**shape)


def validity(shape: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """(from, to) of a profile as it stands on the wire; what cannot be read does not bound it."""
    try:
        return _instant(shape.get("validFrom"), "validFrom"), _instant(shape.get("validTo"), "validTo")
    except Refusal:
        return None, None


def _schedule(raw: Any) -> Schedule:
    if not isinstance(raw, Mapping):
        raise _wrong("chargingSchedule: a schedule is an object")
    try:
        unit = Unit(str(raw.get("chargingRateUnit")))
    except ValueError:
        raise _wrong("chargingRateUnit: W or A is needed") from None
    periods = raw.get("chargingSchedulePeriod")
    if not isinstance(periods, list) or not periods:
        raise _wrong("chargingSchedulePeriod: at least one period is needed")
    return Schedule(
        unit=unit,
        periods=tuple(_period(one) for one in periods),
        start_ms=_instant(raw.get("startSchedule"), "startSchedule"),
        duration_s=_whole(raw["duration"], "duration") if raw.get("duration") is not None else None,
        min_rate=_limit(raw["minChargingRate"], "minChargingRate") if raw.get("minChargingRate") is not None else None,
    )


def _period(raw: Any) -> Period:
    if not isinstance(raw, Mapping):
        raise _wrong("chargingSchedulePeriod: a period is an object")
    return Period(
        start_s=_whole(raw.get("startPeriod"), "startPeriod"),
        limit=_limit(raw.get("limit"), "limit"),
        phases=_whole(raw["numberPhases"], "numberPhases") if raw.get("numberPhases") is not None else None,
        phase_to_use=_whole(raw["phaseToUse"], "phaseToUse") if raw.get("phaseToUse") is not None else None,
    )


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _wrong(f"{name}: a whole number from 0 is needed")
    return value


def _limit(value: Any, name: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not 0 <= value < 10**9:
        raise _wrong(f"{name}: a number from 0 is needed")
    return Decimal(str(value)).quantize(TENTH, ROUND_DOWN)  # a limit is never rounded up


def _instant(value: Any, name: str) -> int | None:
    if value is None:
        return None
    try:
        return to_ms(datetime.fromisoformat(str(value)))
    except (ValueError, OverflowError):
        raise _wrong(f"{name}: a time with its offset is needed, such as 2026-01-02T03:04:05Z") from None


def _wrong(sentence: str) -> Refusal:
    return Refusal(Why.INVALID_REQUEST, f"{sentence}.")


def _stamp(at_ms: int | None) -> str | None:
    return rfc3339(at_ms) if at_ms is not None else None


def _number(value: Decimal | None) -> float | None:
    return float(value) if value is not None else None


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


# -- may it be sent


def check(profile: Profile, evse: int, ability: Ability, held: Iterable[Installed] = ()) -> None:
    """Refusal for a profile that this charger must not be sent for this EVSE (0: the whole charger)."""
    _check_target(profile, evse)
    for schedule in profile.schedules:
        _check_schedule(profile, schedule)
    if profile.kind is Kind.RECURRING and profile.recurrency not in {"Daily", "Weekly"}:
        raise _wrong("recurrencyKind: a recurring profile is Daily or Weekly")
    if None not in (profile.valid_from_ms, profile.valid_to_ms) and not _meet(profile, profile):
        raise _wrong("validTo: it must be after validFrom")
    _check_ability(profile, ability, held)
    _check_stack(profile, evse, held)


def _check_target(profile: Profile, evse: int) -> None:
    match profile.purpose:
        case Purpose.EXTERNAL:
            raise _wrong("chargingProfilePurpose: external constraints come to the charger from others (K01.FR.22)")
        case Purpose.STATION_MAX if evse != 0:
            raise _wrong("evse_id: a limit of the whole charger is for the charger, not for one EVSE")
        case Purpose.STATION_MAX if profile.kind is Kind.RELATIVE:
            raise _wrong("chargingProfileKind: a limit of the whole charger has nothing to be relative to (K01.FR.38)")
        case Purpose.TX if evse == 0:
            raise _wrong("evse_id: a transaction's profile is for the EVSE it runs at (K01.FR.16)")
        case Purpose.TX if profile.tx_id is None:
            raise _wrong("session_id: a transaction's profile names its transaction (K01.FR.03)")
        case Purpose.TX_DEFAULT | Purpose.STATION_MAX if profile.tx_id is not None:
            raise _wrong("transactionId: only a TxProfile is for one transaction")


def _check_schedule(profile: Profile, schedule: Schedule) -> None:
    starts = [period.start_s for period in schedule.periods]
    if starts[0] != 0:
        raise _wrong("startPeriod: the first period starts at 0 (K01.FR.31)")
    if any(later <= earlier for earlier, later in pairwise(starts)):
        raise _wrong("startPeriod: each period starts after the one before it (K01.FR.35)")
    if profile.kind is Kind.RELATIVE and schedule.start_ms is not None:
        raise _wrong("startSchedule: a relative schedule has none (K01.FR.41)")
    if any(period.phase_to_use is not None and period.phases != 1 for period in schedule.periods):
        raise _wrong("phaseToUse: it is for one phase, so numberPhases is 1 (K01.FR.19)")
    if any(period.phases is not None and not 1 <= period.phases <= PHASES for period in schedule.periods):
        raise _wrong("numberPhases: 1, 2 or 3")
    if len(profile.schedules) > 1 and profile.purpose is not Purpose.TX:
        raise _wrong("chargingSchedule: choices are for a transaction only")
    if len(profile.schedules) > 3:
        raise _wrong("chargingSchedule: three choices at most (K15.FR.08)")


def _check_ability(profile: Profile, ability: Ability, held: Iterable[Installed]) -> None:
    uses_phase = any(period.phase_to_use is not None for one in profile.schedules for period in one.periods)
    if uses_phase and ability.switches_phases is False:
        raise _wrong("phaseToUse: this charger cannot choose a phase (K01.FR.20)")
    longest = max(len(schedule.periods) for schedule in profile.schedules)
    if ability.most_periods is not None and longest > ability.most_periods:
        raise _wrong(f"chargingSchedulePeriod: this charger takes {ability.most_periods} periods")
    if ability.highest_stack_level is not None and profile.stack_level > ability.highest_stack_level:
        raise _wrong(f"stackLevel: {ability.highest_stack_level} is the highest this charger takes")
    others = {(one.evse, one.profile_id) for one in held if one.purpose is not Purpose.EXTERNAL}
    others -= {place for place in others if place[1] == profile.profile_id}
    if ability.most_profiles is not None and len(others) >= ability.most_profiles:
        raise Refusal(Why.WRONG_STATE, f"This charger holds {ability.most_profiles} profiles; clear one first.")


def _check_stack(profile: Profile, evse: int, held: Iterable[Installed]) -> None:
    """K01.FR.06, K01.FR.39: no second profile of this purpose and level that counts at the same time."""
    for one in held:
        if one.profile_id == profile.profile_id or one.evse != evse:
            continue  # the same number is replaced
        if (one.purpose, one.stack_level) != (profile.purpose, profile.stack_level):
            continue
        if profile.purpose is not Purpose.TX and not _meet(profile, one):
            continue
        raise Refusal(
            Why.WRONG_STATE,
            f"Profile {one.profile_id} has the same purpose and stack level here. "
            "Clear it, use its number to replace it, or give this one another level.",
        )


def _meet(a: Profile, b: Installed | Profile) -> bool:
    starts_before = a.valid_from_ms is None or b.valid_to_ms is None or a.valid_from_ms < b.valid_to_ms
    ends_after = a.valid_to_ms is None or b.valid_from_ms is None or b.valid_from_ms < a.valid_to_ms
    return starts_before and ends_after


# -- made to fit


def in_units(profile: Profile, units: frozenset[Unit] | None, *, phases: int = PHASES) -> Profile:
    """The profile in a unit the charger takes; as it is where that is not known.

    One unit is made of the other at the nominal voltage, over the phases a period names or else `phases`, and rounded
    down. Right for AC; a DC charger takes W.
    """
    if not units or all(schedule.unit in units for schedule in profile.schedules):
        return profile
    return replace(profile, schedules=tuple(_in_unit(one, units, phases) for one in profile.schedules))


def _in_unit(schedule: Schedule, units: frozenset[Unit], phases: int) -> Schedule:
    if schedule.unit in units:
        return schedule
    to = Unit.AMPERE if schedule.unit is Unit.WATT else Unit.WATT

    def turned(limit: Decimal, of: int | None) -> Decimal:
        volts = NOMINAL_V * (of or phases)
        return (limit / volts if to is Unit.AMPERE else limit * volts).quantize(TENTH, ROUND_DOWN)

    periods = tuple(replace(one, limit=turned(one.limit, one.phases)) for one in schedule.periods)
    rate = turned(schedule.min_rate, None) if schedule.min_rate is not None else None
    return replace(schedule, unit=to, periods=periods, min_rate=rate)


def anchored(profile: Profile, now_ms: int) -> Profile:
    """The profile with a beginning for schedules that must have one: Absolute and Recurring ones (K01.FR.40)."""
    if profile.kind is Kind.RELATIVE:
        return profile
    schedules = (
        replace(one, start_ms=now_ms - now_ms % 1000) if one.start_ms is None else one for one in profile.schedules
    )
    return replace(profile, schedules=tuple(schedules))


def limit_of(purpose: Purpose, evse: int, unit: Unit, limit: Decimal) -> Profile:
    """One flat limit under the house's own number for its purpose and place; a `TX` one still lacks its transaction."""
    number = OURS + {Purpose.TX: 0, Purpose.TX_DEFAULT: 10_000, Purpose.STATION_MAX: 20_000}[purpose] + evse
    kind = Kind.ABSOLUTE if purpose is Purpose.STATION_MAX else Kind.RELATIVE
    schedule = Schedule(unit, (Period(0, limit.quantize(TENTH, ROUND_DOWN)),))
    return Profile(number, 0, purpose, kind, (schedule,))


# -- what the charger is able to


def ability(said: Mapping[str, str | None]) -> Ability:
    """Of a charger's own words: 1.6 keys, or variables of 2.0.1's SmartChargingCtrlr."""
    units = said.get("ChargingScheduleAllowedChargingRateUnit") or said.get("SmartChargingCtrlr.RateUnit") or ""
    words = {"current": Unit.AMPERE, "a": Unit.AMPERE, "power": Unit.WATT, "w": Unit.WATT}
    taken = {words[name.strip().lower()] for name in units.split(",") if name.strip().lower() in words}
    return Ability(
        units=frozenset(taken) or None,
        most_periods=_said_number(said, "ChargingScheduleMaxPeriods", "SmartChargingCtrlr.PeriodsPerSchedule"),
        highest_stack_level=_said_number(said, "ChargeProfileMaxStackLevel", "SmartChargingCtrlr.ProfileStackLevel"),
        most_profiles=_said_number(
            said, "MaxChargingProfilesInstalled", "SmartChargingCtrlr.Entries[ChargingProfiles]"
        ),
        switches_phases=_said_flag(said, "SmartChargingCtrlr.ACPhaseSwitchingSupported"),
    )


CONFIGURATION: Final = (
    "ChargingScheduleAllowedChargingRateUnit",
    "ChargingScheduleMaxPeriods",
    "ChargeProfileMaxStackLevel",
    "MaxChargingProfilesInstalled",
    "SmartChargingCtrlr.RateUnit",
    "SmartChargingCtrlr.PeriodsPerSchedule",
    "SmartChargingCtrlr.ProfileStackLevel",
    "SmartChargingCtrlr.Entries[ChargingProfiles]",
    "SmartChargingCtrlr.ACPhaseSwitchingSupported",
)
"""The names `ability` looks at."""


def _said_flag(said: Mapping[str, str | None], name: str) -> bool | None:
    text = (said.get(name) or "").strip().lower()
    return text in ("true", "1") if text else None


def _said_number(said: Mapping[str, str | None], *names: str) -> int | None:
    for name in names:
        text = (said.get(name) or "").strip()
        if text.isdigit():
            return int(text)
    return None


# -- what counts at an instant


def watts_at(profile: Profile, at_ms: int, *, phases: int = PHASES) -> int | None:
    """The limit in W that the first schedule sets at that time; None where it sets none, or counts from an unknown
    beginning (Relative)."""
    if (profile.valid_from_ms or at_ms) > at_ms or (profile.valid_to_ms or at_ms + 1) <= at_ms:
        return None
    schedule = profile.schedules[0]
    since_ms = schedule.start_ms
    if since_ms is None:
        return _flat_watts(schedule, phases)
    elapsed_s = (at_ms - since_ms) // 1000
    if profile.kind is Kind.RECURRING:
        elapsed_s %= 86_400 if profile.recurrency == "Daily" else 604_800
    if elapsed_s < 0 or (schedule.duration_s is not None and elapsed_s >= schedule.duration_s):
        return None
    current = [period for period in schedule.periods if period.start_s <= elapsed_s][-1]
    return _watts(current, schedule.unit, phases)


def changes(profile: Profile, from_ms: int, to_ms_: int) -> Sequence[int]:
    """The instants in between at which `watts_at` may change."""
    schedule = profile.schedules[0]
    marks = [profile.valid_from_ms, profile.valid_to_ms]
    if schedule.start_ms is not None:
        lap_ms = {"Daily": 86_400_000, "Weekly": 604_800_000}.get(profile.recurrency or "")
        offsets = [period.start_s * 1000 for period in schedule.periods]
        offsets += [schedule.duration_s * 1000] if schedule.duration_s is not None else []
        base_ms = schedule.start_ms
        if profile.kind is Kind.RECURRING and lap_ms:
            base_ms += (from_ms - base_ms) // lap_ms * lap_ms
            laps = range(int((to_ms_ - base_ms) // lap_ms) + 1)
            marks += [base_ms + lap * lap_ms + offset for lap in laps for offset in offsets]
        else:
            marks += [base_ms + offset for offset in offsets]
    return sorted({mark for mark in marks if mark is not None and from_ms < mark < to_ms_})


def _flat_watts(schedule: Schedule, phases: int) -> int | None:
    """Counted from an unknown beginning only what holds throughout is certain: the lowest."""
    return min(_watts(period, schedule.unit, phases) for period in schedule.periods)


def _watts(period: Period, unit: Unit, phases: int) -> int:
    return int(period.limit if unit is Unit.WATT else period.limit * NOMINAL_V * (period.phases or phases))
