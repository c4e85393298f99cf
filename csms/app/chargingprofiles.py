"""Charging profiles at chargers: which may be set, and the shadow of those that stand there.

    an operator's profile ─▶ set_payload: fitting, in its units, not against what stands there ─▶ an instruction
    SetChargingProfile, ClearChargingProfile, a remote start ─▶ their answers ─▶ table installed_profiles
    ReportChargingProfiles, NotifyChargingLimit, NotifyEVChargingSchedule     ─▶ table installed_profiles

The shadow follows the wire, whoever sent the call. What a charger has lost of ours is set again when it says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from csms.app import instructions, queries
from csms.app.calls import CallAnswered, Calls
from csms.app.configured import said
from csms.app.reports import Report, Reports, parts
from csms.domain import charging_profile as domain
from csms.domain.charging_profile import Installed, Profile, Purpose, Unit
from csms.domain.instruction import Kind
from csms.domain.matching import token_norm
from csms.domain.refusal import Refusal, Why
from csms.ports import Bell, Fact, Ids, ReadTx, Row, Store, Table, Tx

CSMS: Final = "csms"
REPORTED: Final = "reported"
VEHICLE: Final = "vehicle"
_SOURCES: Final = {"EMS": -1, "Other": -2, "SO": -3, "CSO": -4}  # a limit that came without a profile has no number
_PLANNED: Final = -10  # what the car said it will do
_PLANNED_PURPOSE: Final = "EVChargingSchedule"
_OF_TRANSACTIONS: Final = ("TxProfile", _PLANNED_PURPOSE)
_EXTERNAL: Final = "ChargingStationExternalConstraints"
_PHASES: Final = {"AC_1_PHASE": 1, "AC_2_PHASE": 2, "AC_2_PHASE_SPLIT": 2}


class ChargingProfiles:
    """Keeps the shadow."""

    FOLLOWED: Final = frozenset({"SessionStarted", "SessionEnded", "SessionVoided"})

    def __init__(self, *, store: Store, ids: Ids, bell: Bell) -> None:
        self._store = store
        self._ids = ids
        self._bell = bell

    def listen(self, calls: Calls, reports: Reports) -> None:
        """Hear what chargers answer and report about profiles; at composition."""
        calls.read("SetChargingProfile", self._set_answered)
        calls.read("ClearChargingProfile", self._clear_answered)
        calls.read("RemoteStartTransaction", self._start_answered)
        calls.read("RequestStartTransaction", self._start_answered)
        calls.read("GetChargingProfiles", self._read_answered)
        reports.read("ReportChargingProfiles", self._reported)
        reports.read("NotifyChargingLimit", self._limited)
        reports.read("ClearedChargingLimit", self._limit_cleared)
        reports.read("NotifyEVChargingSchedule", self._planned)

    # -- what was answered

    async def _set_answered(self, answered: CallAnswered) -> None:
        request = answered.request
        profile = request.get("csChargingProfiles", request.get("chargingProfile"))
        evse = request.get("connectorId", request.get("evseId"))
        if answered.response.get("status") == "Accepted" and isinstance(profile, dict) and isinstance(evse, int):
            await self._store.transact(lambda tx: _install(tx, answered.station, evse, profile, answered.at_ms))

    async def _start_answered(self, answered: CallAnswered) -> None:
        request = answered.request
        profile, evse = request.get("chargingProfile"), request.get("connectorId", request.get("evseId", 0))
        if answered.response.get("status") != "Accepted" or not isinstance(profile, dict) or not isinstance(evse, int):
            return
        id_token = request.get("idToken")
        token = token_norm(str(id_token.get("idToken") if isinstance(id_token, dict) else request.get("idTag")))

        def work(tx: Tx) -> None:
            begun = _begun(tx, answered.station, evse, token)
            if begun is None:
                _install(tx, answered.station, evse, profile, answered.at_ms)  # its transaction is still to come
                return
            with_tx = profile | {"transactionId": transaction_of(begun)}
            _install(tx, answered.station, begun["evse"], with_tx, answered.at_ms)

        await self._store.transact(work)

    async def _clear_answered(self, answered: CallAnswered) -> None:
        # Unknown: it holds none of these, which a shadow that does must hear, too.
        if answered.response.get("status") in {"Accepted", "Unknown"}:
            matches = _cleared_by(answered.request)
            await self._store.transact(lambda tx: _clear(tx, answered.station, matches, answered.at_ms))

    async def _read_answered(self, answered: CallAnswered) -> None:
        if answered.response.get("status") == "NoProfiles":
            await self._reconcile(answered.station, answered.request, set(), answered.at_ms)

    # -- what was reported

    async def _reported(self, report: Report) -> None:
        """One part; with the last of them, what our question was about and no part names is not there (K09)."""
        await self._store.transact(lambda tx: _take_report(tx, report))
        if not report.is_last:
            return

        def query(tx: ReadTx) -> tuple[Mapping[str, Any] | None, set[tuple[int, int]]]:
            named = {
                (int(part.body["evseId"]), int(profile["id"]))
                for part in parts(tx, report.station, report.kind, report.request_id)
                for profile in part.body["chargingProfile"]
            }
            return _question(tx, report), named

        question, named = await self._store.read(query)
        if question is not None:
            await self._reconcile(report.station, question, named, report.received_ms)

    async def _reconcile(
        self, station_id: str, question: Mapping[str, Any], named: set[tuple[int, int]], now_ms: int
    ) -> None:
        def work(tx: Tx) -> None:
            lost: list[Row] = []
            for row in tx.many(Table.INSTALLED_PROFILES, station=station_id):
                if (row["evse"], row["profile_id"]) in named or not _is_asked_for(row, question):
                    continue
                _drop(tx, row)
                if row["origin"] == CSMS and _is_wanted(row, now_ms):
                    lost.append(row)
            for row in lost:
                _set_again(tx, row, now_ms, self._ids.uuid())
            body = {"reported": len(named), "lost": [row["profile_id"] for row in lost]}
            tx.append([Fact("ChargingProfilesRead", now_ms, body, station=station_id)])

        await self._store.transact(work)
        self._bell.ring("instructions")

    async def _limited(self, report: Report) -> None:
        """NotifyChargingLimit (K12): a limit from elsewhere, kept beside ours."""
        told = report.body
        source = str((told.get("chargingLimit") or {}).get("chargingLimitSource"))
        evse = int(told.get("evseId") or 0)
        row = _row(report.station, evse, _SOURCES.get(source, -9), _EXTERNAL, 0, None, told, report.received_ms)
        kept = row | {"origin": REPORTED, "source": source}
        await self._store.transact(lambda tx: tx.save(Table.INSTALLED_PROFILES, kept))

    async def _limit_cleared(self, report: Report) -> None:
        """ClearedChargingLimit (K13)."""
        where: dict[str, Any] = {"station": report.station, "purpose": _EXTERNAL}
        where["source"] = str(report.body.get("chargingLimitSource"))
        if report.body.get("evseId") is not None:
            where["evse"] = int(report.body["evseId"])
        await self._store.transact(lambda tx: tx.drop(Table.INSTALLED_PROFILES, **where))

    async def _planned(self, report: Report) -> None:
        """NotifyEVChargingSchedule (K15): what the car will do, as long as its session lasts."""
        evse = int(report.body["evseId"])

        def work(tx: Tx) -> None:
            session = running(tx, report.station, evse)
            tx_id = transaction_of(session) if session is not None else None
            row = _row(report.station, evse, _PLANNED, _PLANNED_PURPOSE, 0, tx_id, report.body, report.received_ms)
            tx.save(Table.INSTALLED_PROFILES, row | {"origin": VEHICLE})

        await self._store.transact(work)

    # -- what happened

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """A profile sent with a start gets its transaction; with the transaction go all of its profiles."""
        stations = sorted({fact.station for fact in facts if fact.station is not None})
        held = await self._store.read(
            lambda tx: tx.many(Table.INSTALLED_PROFILES, station=stations, purpose=_OF_TRANSACTIONS)
        )
        holding = {row["station"] for row in held}
        concerned = [fact for fact in facts if fact.station in holding]  # hardly ever any: most sessions have none

        def work(tx: Tx) -> None:
            for fact in concerned:
                (_bind if fact.kind == "SessionStarted" else _forget)(tx, fact)

        if concerned:
            await self._store.transact(work)


# -- what an operator asks for


def set_payload(
    tx: ReadTx,
    station: Row,
    profile: Profile,
    *,
    evse: int,
    connector: int,
    session: Row | None,
    now_ms: int,
) -> dict[str, Any]:
    """The payload of the command `set_profile`. Refusal when it must not be sent."""
    if profile.purpose is Purpose.TX:
        session = session or running(tx, station["id"], evse)
        if session is None or not session["open"]:
            raise Refusal(Why.WRONG_STATE, "A transaction's profile needs a running transaction; say which session.")
        if profile.tx_id not in (None, transaction_of(session)):
            raise Refusal(
                Why.INVALID_REQUEST, f"transactionId: the session's transaction is {transaction_of(session)}."
            )
        evse, connector = session["evse"], session["connector"]
        profile = replace(profile, tx_id=transaction_of(session))
    ability = domain.ability(said(tx, station["id"], domain.CONFIGURATION))
    profile = domain.in_units(profile, ability.units, phases=phases_of(tx, station["id"], evse))
    profile = domain.anchored(profile, now_ms)
    domain.check(profile, evse, ability, held(tx, station["id"], but_of_other_than=profile.tx_id))
    place = {"evse": evse, "connector": connector} if evse or connector else {}
    return {**place, "profile": domain.to_shape(profile)}


def flat_limit(
    tx: ReadTx,
    charger_id: str,
    *,
    watts: int | None,
    amperes: float | None,
    evse: int | None = None,
    connector: int | None = None,
    now_ms: int,
) -> dict[str, Any]:
    """The payload of `set_profile` for one flat limit of an EVSE, or of the whole charger when none is named."""
    unit, limit = (Unit.WATT, watts) if watts is not None else (Unit.AMPERE, amperes)
    purpose = Purpose.TX_DEFAULT if evse else Purpose.STATION_MAX
    profile = domain.limit_of(purpose, evse or 0, unit, Decimal(str(limit)))
    station = queries.charger(tx, charger_id)
    return set_payload(tx, station, profile, evse=evse or 0, connector=connector or 0, session=None, now_ms=now_ms)


def held(tx: ReadTx, station_id: str, *, but_of_other_than: str | None = None) -> list[Installed]:
    """What the charger holds, for the rules between profiles; TxProfiles of other transactions are on their way out."""
    found = []
    for row in tx.many(Table.INSTALLED_PROFILES, station=station_id):
        purpose = domain.PURPOSES.get(row["purpose"])
        if purpose is None or (purpose is Purpose.TX and row["tx_id"] not in (None, but_of_other_than)):
            continue
        data = json.loads(row["data"])
        start, end = domain.validity(data)
        found.append(Installed(row["evse"], row["profile_id"], purpose, row["stack_level"], start, end))
    return found


def lasting(tx: ReadTx, station_id: str) -> list[int]:
    """The numbers of what we set and what outlives transactions."""
    rows = tx.many(Table.INSTALLED_PROFILES, station=station_id, origin=CSMS)
    return sorted(row["profile_id"] for row in rows if row["purpose"] != "TxProfile")


def phases_of(tx: ReadTx, station_id: str, evse: int) -> int:
    """How many phases a limit in A stands for where it does not say: as the connector is built, else three."""
    built = queries.built_connectors(tx, [station_id])[station_id]
    types = {one.get("power_type") for one in built if evse in (0, one.get("evse_id"))}
    return min((_PHASES.get(str(type_), domain.PHASES) for type_ in types), default=domain.PHASES)


# -- the pieces, each within a transaction


def _install(tx: Tx, station_id: str, evse: int, profile: dict[str, Any], at_ms: int) -> None:
    number = profile.get("id", profile.get("chargingProfileId"))
    purpose, level = str(profile.get("chargingProfilePurpose")), int(profile.get("stackLevel") or 0)
    raw_tx = profile.get("transactionId")
    tx_id = str(raw_tx) if raw_tx is not None else None
    if not isinstance(number, int) or _has_ended(tx, station_id, tx_id):
        return
    for row in tx.many(Table.INSTALLED_PROFILES, station=station_id):
        is_same = row["profile_id"] == number
        # 1.6 replaces by place, purpose and level, too; 2.0.1 refuses what would (K01.FR.06).
        in_place = (row["evse"], row["purpose"], row["stack_level"]) == (evse, purpose, level)
        if is_same or (in_place and "chargingProfileId" in profile):
            _drop(tx, row)
    made = _row(station_id, evse, number, purpose, level, tx_id, profile, at_ms)
    tx.save(Table.INSTALLED_PROFILES, made | {"origin": CSMS, "source": "CSO"})
    body = {"evse": evse, "profile_id": number, "purpose": purpose, "stack_level": level, "transaction_id": tx_id}
    tx.append([Fact("ChargingProfileInstalled", at_ms, body, station=station_id)])


def _clear(tx: Tx, station_id: str, matches: Callable[[Row], bool], at_ms: int) -> None:
    for row in tx.many(Table.INSTALLED_PROFILES, station=station_id):
        if row["origin"] == VEHICLE or row["purpose"] == _EXTERNAL or not matches(row):
            continue  # external constraints are not ours to clear (K10.FR.06)
        _drop(tx, row)
        body = {"evse": row["evse"], "profile_id": row["profile_id"], "purpose": row["purpose"]}
        tx.append([Fact("ChargingProfileCleared", at_ms, body, station=station_id)])


def _cleared_by(request: Mapping[str, Any]) -> Callable[[Row], bool]:
    number = request.get("id", request.get("chargingProfileId"))
    if number is not None:  # what else is named does not count then
        return lambda row: bool(row["profile_id"] == number)
    wanted = request.get("chargingProfileCriteria", request)
    where = {
        "evse": wanted.get("connectorId", wanted.get("evseId")),
        "purpose": wanted.get("chargingProfilePurpose"),
        "stack_level": wanted.get("stackLevel"),
    }
    return lambda row: all(value is None or row[name] == value for name, value in where.items())


def _is_asked_for(row: Row, question: Mapping[str, Any]) -> bool:
    """Whether a GetChargingProfiles with these criteria would have named it."""
    if row["profile_id"] < 0:
        return False  # a limit or a plan that was never a profile
    criteria = question.get("chargingProfile") or {}
    evse = question.get("evseId")
    ids, sources = criteria.get("chargingProfileId"), criteria.get("chargingLimitSource")
    return (
        (evse is None or row["evse"] == evse)
        and (not ids or row["profile_id"] in ids)
        and (not sources or row["source"] in sources)
        and criteria.get("chargingProfilePurpose") in (None, row["purpose"])
        and criteria.get("stackLevel") in (None, row["stack_level"])
    )


def _question(tx: ReadTx, report: Report) -> Mapping[str, Any] | None:
    """Our GetChargingProfiles that this report answers; None when it is not among the last things asked."""
    asked, is_command = instructions.question(
        tx, report.station, report.request_id, action="GetChargingProfiles", command="GetProfiles"
    )
    return (_asked(asked) if is_command else asked) or None


def _asked(command: Mapping[str, Any]) -> dict[str, Any]:
    words = {purpose.value: word for word, purpose in domain.PURPOSES.items() if word != "ChargePointMaxProfile"}
    criteria = {
        "chargingProfileId": command.get("profile_ids"),
        "chargingLimitSource": command.get("sources"),
        "chargingProfilePurpose": words.get(str(command.get("purpose"))),
        "stackLevel": command.get("stack_level"),
    }
    return {"evseId": command.get("evse"), "chargingProfile": criteria}


def _take_report(tx: Tx, report: Report) -> None:
    told = report.body
    evse, source = int(told["evseId"]), str(told["chargingLimitSource"])
    for profile in told["chargingProfile"]:
        key = {"station": report.station, "evse": evse, "profile_id": int(profile["id"])}
        standing = tx.one(Table.INSTALLED_PROFILES, **key)
        origin = standing["origin"] if standing is not None else REPORTED
        raw_tx = profile.get("transactionId")
        row = _row(
            report.station, evse, int(profile["id"]), str(profile["chargingProfilePurpose"]),
            int(profile["stackLevel"]), str(raw_tx) if raw_tx is not None else None, profile, report.received_ms,
        )  # fmt: skip
        tx.save(Table.INSTALLED_PROFILES, row | {"origin": origin, "source": source})


def _is_wanted(row: Row, now_ms: int) -> bool:
    """Whether its loss matters: a transaction's profile is the charger's own business once that is over."""
    if domain.PURPOSES.get(row["purpose"]) in (None, Purpose.TX, Purpose.EXTERNAL):
        return False
    _, end_ms = domain.validity(json.loads(row["data"]))
    return end_ms is None or now_ms < end_ms


def _set_again(tx: Tx, row: Row, now_ms: int, instruction_id: str) -> None:
    payload = {"evseId": row["evse"], "chargingProfile": json.loads(row["data"])}
    instructions.issue(
        tx,
        instruction_id=instruction_id,
        station=row["station"],
        kind=Kind.RAW,
        payload={"action": "SetChargingProfile", "payload": payload},
        now_ms=now_ms,
    )


def _bind(tx: Tx, fact: Fact) -> None:
    session = tx.one(Table.SESSIONS, no=fact.session_no)
    if session is None:
        return
    for row in tx.many(Table.INSTALLED_PROFILES, station=fact.station, purpose="TxProfile"):
        if row["tx_id"] is None and row["evse"] in (0, session["evse"]):
            _drop(tx, row)
            tx.save(Table.INSTALLED_PROFILES, row | {"evse": session["evse"], "tx_id": transaction_of(session)})


def _forget(tx: Tx, fact: Fact) -> None:
    session = tx.one(Table.SESSIONS, no=fact.session_no)
    if session is None:
        return
    names = set(json.loads(session["tx_ids"]))
    for row in tx.many(Table.INSTALLED_PROFILES, station=fact.station, purpose=_OF_TRANSACTIONS):
        never_bound = row["tx_id"] is None and row["evse"] in (0, session["evse"])
        if row["tx_id"] in names or never_bound:
            _drop(tx, row)


def _has_ended(tx: ReadTx, station_id: str, tx_id: str | None) -> bool:
    """Whether the transaction is known and over: the answer came after the end."""
    alias = tx.one(Table.ALIASES, station=station_id, kind="tx", value=tx_id) if tx_id is not None else None
    session = tx.one(Table.SESSIONS, no=alias["session_no"]) if alias is not None else None
    return session is not None and not session["open"]


def _begun(tx: ReadTx, station_id: str, evse: int, token: str | None) -> Row | None:
    """The session that a start of ours has made before its answer was read."""
    for row in tx.many(Table.SESSIONS, order="-no", station=station_id, open=1):
        if token_norm(row["token"]) == token and evse in (0, row["evse"]):
            return row
    return None


def running(tx: ReadTx, station_id: str, evse: int) -> Row | None:
    """The open session at an EVSE, the newest."""
    rows = tx.many(Table.SESSIONS, order="-no", limit=1, station=station_id, evse=evse, open=1)
    return rows[0] if rows else None


def transaction_of(session: Row) -> str | None:
    """The transaction id that the charger knows it by."""
    names = json.loads(session["tx_ids"])
    return str(names[-1]) if names else None


def _drop(tx: Tx, row: Row) -> None:
    tx.drop(Table.INSTALLED_PROFILES, station=row["station"], evse=row["evse"], profile_id=row["profile_id"])


def _row(
    station_id: str, evse: int, number: int, purpose: str, level: int, tx_id: str | None, data: Any, at_ms: int
) -> Row:
    return {
        "station": station_id,
        "evse": evse,
        "profile_id": number,
        "purpose": purpose,
        "stack_level": level,
        "tx_id": tx_id,
        "data": json.dumps(data, ensure_ascii=False),
        "updated_ms": at_ms,
    }
