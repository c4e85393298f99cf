"""What cars need, and the schedule they are offered for it: NotifyEVChargingNeeds and what follows (K15, K16, K17).

    the car's needs ─▶ answered from memory ─▶ reports ─▶ a plan within every limit we know ─▶ SetChargingProfile
    what the car will do ─▶ answered by the plan in memory; beyond it: Rejected, and the plan is sent again

A plan waits for its transaction: needs that come before it are planned for when it begins.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from csms.app import instructions, queries
from csms.app.chargingprofiles import running, transaction_of
from csms.app.configured import said
from csms.app.reports import Report, Reports
from csms.app.stations import Station
from csms.domain import charging_needs as needs_of
from csms.domain import charging_profile as profile_of
from csms.domain.charging_needs import HORIZON_S, Needs, Step
from csms.domain.charging_profile import NOMINAL_V, OURS, Profile, Purpose, Unit
from csms.domain.instruction import Kind
from csms.domain.refusal import Refusal
from csms.domain.units import instant
from csms.ports import Bell, Clock, Fact, Ids, ReadTx, Row, Store, Table, Tx

log = structlog.get_logger()

_PHASES: Final = {"AC_single_phase": 1, "AC_two_phase": 2, "AC_three_phase": 3}
_PLAN_S: Final = 60  # K15.FR.07: that long the car waits
_WAIT_MS: Final = 10 * 60_000  # needs that no transaction followed
_SLACK_W: Final = 70  # a tenth of an ampere on three phases
_SLACK_S: Final = 60  # the car counts from when it heard of the plan
_MOST_AGAIN: Final = 3  # a car that will not keep to any plan is not argued with for ever
_ANYTHING_W: Final = 10_000_000


@dataclass(slots=True)
class _Offer:
    """What one EVSE's car was offered."""

    session_no: int
    needs: Mapping[str, Any]
    choices: tuple[tuple[Step, ...], ...]
    start_ms: int
    times: int = 1


class CarNeeds:
    """Plans for cars that say what they need. `rating_w` tells what a socket gives, None where nobody has said."""

    FOLLOWED: Final = frozenset({"SessionStarted", "SessionEnded", "SessionVoided"})

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        bell: Bell,
        rating_w: Callable[[str, int, int], int | None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._bell = bell
        self._rating_w = rating_w
        self._offers: dict[tuple[str, int], _Offer] = {}
        self._waiting: dict[tuple[str, int], Report] = {}

    def listen(self, reports: Reports) -> None:
        """Hear what cars need and will do; at composition."""
        reports.read("NotifyEVChargingNeeds", self._needed)
        reports.read("NotifyEVChargingSchedule", self._planned)

    # -- answered at once, from memory

    def answer(self, station: Station, told: Mapping[str, Any]) -> str:
        """Accepted: a schedule follows. Processing: it follows when the transaction has begun. Rejected: none will."""
        if read_needs(told, self._clock.now_ms()) is None:
            return "Rejected"
        evse = told.get("evseId")
        return "Accepted" if any(s.evse == evse for s in station.sessions.values()) else "Processing"

    def keeps_to_plan(self, station: Station, told: Mapping[str, Any]) -> bool:
        """Whether what the car will do is within what it was offered; nothing offered forbids nothing (K15.FR.11)."""
        offer = self._offers.get((station.id, int(told["evseId"])))
        return offer is None or _is_within(offer, told)

    # -- understood afterwards

    async def _needed(self, report: Report) -> None:
        await self._plan(report, times=1)

    async def _planned(self, report: Report) -> None:
        """Beyond what it may: the plan is sent again, and the car asked to choose anew (K16)."""
        place = (report.station, int(report.body["evseId"]))
        offer = self._offers.get(place)
        if offer is None or _is_within(offer, report.body) or offer.times > _MOST_AGAIN:
            return
        log.info("needs.beyond_plan", station=report.station, evse=place[1], times=offer.times)
        await self._plan(report, times=offer.times + 1, body=offer.needs)

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """A transaction has begun: was a car waiting for it? One is over, and what was offered with it."""
        for fact in facts:
            if fact.kind != "SessionStarted":
                over = [place for place, offer in self._offers.items() if offer.session_no == fact.session_no]
                for place in over:
                    del self._offers[place]
                continue
            report = self._waiting.get((str(fact.station), int(fact.body["evse"])))
            if report is not None and fact.at_ms - report.received_ms < _WAIT_MS:
                await self._plan(report, times=1)

    async def _plan(self, report: Report, *, times: int, body: Mapping[str, Any] | None = None) -> None:
        told = report.body if body is None else body
        now_ms = self._clock.now_ms()
        place = (report.station, int(told["evseId"]))
        offer = await self._store.transact(lambda tx: self._offer(tx, report.station, told, now_ms))
        self._waiting.pop(place, None)
        if offer is None:
            self._waiting[place] = report
            return
        offer.times = times
        self._offers[place] = offer
        self._bell.ring("instructions")

    def _offer(self, tx: Tx, station_id: str, told: Mapping[str, Any], now_ms: int) -> _Offer | None:
        needs, evse = read_needs(told, now_ms), int(told["evseId"])
        session = running(tx, station_id, evse)
        tx_id = transaction_of(session) if session is not None else None
        if needs is None or session is None or tx_id is None:
            return None
        rating_w = self._rating_w(station_id, evse, session["connector"])
        choices = needs_of.plan(needs, ceilings(tx, session, needs, rating_w, now_ms))
        profile = needs_of.to_profile(
            needs, choices, _unit(tx, station_id, needs), profile_id=OURS + evse, tx_id=tx_id, start_ms=now_ms,
            stack_level=_level_above(tx, session),
        )  # fmt: skip
        payload = {
            instructions.COMMAND: "SetProfile",
            "evse": evse,
            "connector": session["connector"],
            "profile": profile_of.to_shape(profile),
        }
        instructions.issue(
            tx,
            instruction_id=self._ids.uuid(),
            station=station_id,
            kind=Kind.RAW,
            payload=payload,
            now_ms=now_ms,
            ttl_s=_PLAN_S,
            order_id=session["order_id"],
        )
        return _Offer(session["no"], told, choices, now_ms)


# -- reading


def read_needs(told: Mapping[str, Any], now_ms: int) -> Needs | None:
    """The needs in a NotifyEVChargingNeeds; None where they cannot be planned for."""
    asked = told.get("chargingNeeds") or {}
    leaves_in_s = _seconds_until(asked.get("departureTime"), now_ms)
    most = int(told.get("maxScheduleTuples") or needs_of.MOST_STEPS)
    phases = _PHASES.get(str(asked.get("requestedEnergyTransfer")))
    if phases is None:
        dc = asked.get("dcChargingParameters") or {}
        max_w = int(dc.get("evMaxCurrent") or 0) * int(dc.get("evMaxVoltage") or 0)
        max_w = min(max_w, int(dc["evMaxPower"])) if dc.get("evMaxPower") else max_w
        if max_w <= 0:
            return None
        return Needs(True, 3, max_w, 0, _dc_energy(dc), leaves_in_s, max(1, most))
    ac = asked.get("acChargingParameters") or {}
    watts = NOMINAL_V * phases
    max_w, min_w = int(ac.get("evMaxCurrent") or 0) * watts, int(ac.get("evMinCurrent") or 0) * watts
    if max_w <= 0:
        return None
    return Needs(False, phases, max_w, min(min_w, max_w), ac.get("energyAmount"), leaves_in_s, max(1, most))


def _dc_energy(dc: Mapping[str, Any]) -> int | None:
    """What it asks for, else what fills it."""
    if dc.get("energyAmount") is not None:
        return int(dc["energyAmount"])
    if dc.get("evEnergyCapacity") is None or dc.get("stateOfCharge") is None:
        return None
    missing = int(dc.get("fullSoC") or 100) - int(dc["stateOfCharge"])
    return int(dc["evEnergyCapacity"]) * max(0, missing) // 100


def _seconds_until(text: Any, now_ms: int) -> int | None:
    at_ms = instant(text)
    return (at_ms - now_ms) // 1000 if at_ms is not None else None


def _is_within(offer: _Offer, told: Mapping[str, Any]) -> bool:
    """The car's schedule counts from its own time base; the plan counts from when it was made."""
    schedule = told["chargingSchedule"]
    base_s = -(_seconds_until(told.get("timeBase"), offer.start_ms) or 0)
    is_watts = schedule["chargingRateUnit"] == Unit.WATT.value
    wished = [
        Step(
            int(period["startPeriod"]) - base_s,
            int(period["limit"] if is_watts else period["limit"] * NOMINAL_V * (period.get("numberPhases") or 3)),
        )
        for period in schedule["chargingSchedulePeriod"]
    ]
    until_s = int(schedule["duration"]) - base_s if schedule.get("duration") else HORIZON_S
    return needs_of.is_within(wished, offer.choices, until_s=until_s, slack_w=_SLACK_W, slack_s=_SLACK_S)


# -- the limits we know


def ceilings(tx: ReadTx, session: Row, needs: Needs, rating_w: int | None, now_ms: int) -> tuple[Step, ...]:
    """What may flow at this socket over the next day: its rating, the charger's limit shared by its sessions, this
    session's own limit, and what others than us have set."""
    station_id, evse = session["station"], session["evse"]
    station = tx.one(Table.STATIONS, id=station_id)
    built = [
        one.get("max_power_w")
        for one in queries.built_connectors(tx, [station_id])[station_id]
        if one.get("evse_id") == evse
    ]
    rated = [rating_w, station["rated_w"] if station is not None else None, *built]
    layers = [[Step(0, min([watts for watts in rated if watts], default=_ANYTHING_W))]]
    open_sessions = max(1, tx.count(Table.SESSIONS, station=station_id, open=1))
    for row in tx.many(Table.INSTALLED_PROFILES, station=station_id, evse=(0, evse)):
        if row["profile_id"] == OURS + evse or row["tx_id"] not in (None, transaction_of(session)):
            continue  # an earlier plan, or somebody else's transaction
        share = open_sessions if row["evse"] == 0 and row["purpose"] != "TxDefaultProfile" else 1
        layers.append([Step(step.start_s, step.watts // share) for step in _limits(row, needs, now_ms)])
    if (limit_w := _session_limit(tx, session, needs)) is not None:
        layers.append([Step(0, limit_w)])
    return needs_of.lowest([layer for layer in layers if layer])


def _limits(row: Row, needs: Needs, now_ms: int) -> list[Step]:
    """A profile in the shadow as a ceiling from now on; nothing where it sets none."""
    profile = _profile(row)
    if profile is None:
        return []
    end_ms = now_ms + HORIZON_S * 1000
    marks = [now_ms, *profile_of.changes(profile, now_ms, end_ms)]
    found = [(mark, profile_of.watts_at(profile, mark, phases=needs.phases)) for mark in marks]
    # Where a profile sets nothing, others do.
    return [Step((mark - now_ms) // 1000, _ANYTHING_W if watts is None else watts) for mark, watts in found]


def _profile(row: Row) -> Profile | None:
    data = json.loads(row["data"])
    purpose = profile_of.PURPOSES.get(row["purpose"])
    if purpose is Purpose.EXTERNAL and "chargingProfilePurpose" not in data:
        if not data.get("chargingSchedule"):
            return None  # somebody limits, and does not say to what
        head = {"id": 0, "chargingProfilePurpose": row["purpose"], "chargingProfileKind": "Absolute"}
        data = {**head, "chargingSchedule": data["chargingSchedule"]}
    if purpose is None:
        return None
    try:
        return profile_of.read_profile(data)
    except Refusal:
        return None


def _level_above(tx: ReadTx, session: Row) -> int:
    """Above the transaction's other profiles: two of one level do not stand side by side (K01.FR.39)."""
    rows = tx.many(Table.INSTALLED_PROFILES, station=session["station"], evse=session["evse"], purpose="TxProfile")
    others = [row for row in rows if row["profile_id"] != OURS + session["evse"]]
    return max((row["stack_level"] + 1 for row in others), default=0)


def _session_limit(tx: ReadTx, session: Row, needs: Needs) -> int | None:
    """The last limit an operator or an order put on this transaction."""
    rows = tx.many(
        Table.INSTRUCTIONS, order="-issued_ms", limit=50, station=session["station"], kind=Kind.PROFILE.value,
        state="EFFECTIVE",
    )  # fmt: skip
    for payload in (json.loads(row["payload"]) for row in rows):
        if str(payload.get("tx_id")) != transaction_of(session):
            continue
        if payload.get("watts") is not None:
            return int(payload["watts"])
        return int(float(payload["amperes"]) * NOMINAL_V * int(payload.get("phases") or needs.phases))
    return None


def _unit(tx: ReadTx, station_id: str, needs: Needs) -> Unit:
    """W for DC; A for AC, where its chargers are set in them."""
    units = profile_of.ability(said(tx, station_id, profile_of.CONFIGURATION)).units
    wanted = Unit.WATT if needs.is_dc else Unit.AMPERE
    return wanted if units is None or wanted in units else next(iter(units))
