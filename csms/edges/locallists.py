"""Keeping the authorization lists of chargers in step, in the words of both OCPP versions.

    GetLocalListVersion ─▶ as we know it? ──▶ SendLocalList Differential … ─▶ in step
                               └─ no (drift) ─▶ SendLocalList Full, Differential …   -1, NotSupported ─▶ not asked again
                                                  ▲
    a Differential that Failed, or VersionMismatch ┘

The errand goes out from the shadow that `app.locallists` keeps of the wire, message by message, and ends when the
shadow has followed. How much fits into a message the charger has told in its configuration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from csms.app.calls import CallAnswered, Calls
from csms.app.locallists import FAILED, IN_STEP, NOT_SUPPORTED, UNKNOWN, LocalLists, Shadow
from csms.app.stations import Stations
from csms.domain.locallist import Limits, Listed, Update, fit, next_update
from csms.domain.matching import token_norm
from csms.edges.ocpp16 import wire as wire16
from csms.edges.ocpp201 import wire as wire201
from csms.edges.ocppj.codes import Version
from csms.edges.ocpptime import parse
from csms.edges.steward import NoAnswer, SaidNo, Steward, Visit
from csms.ports import Clock, Fact, ReadTx, Row, Store, Table

ERRAND: Final = "local-list"
_GOOD_FOR_MS: Final = 6 * 3_600_000  # a version that was asked for so lately is not asked for at every reconnect
_FOLLOW_S: Final = 30.0
# What a charger takes that has not told: small enough for all that is sold.
_UNTOLD: Final = 10
_TAG_MAX: Final = {Version.V16: 20, Version.V201: 36}
_KEYS16: Final = ("SendLocalListMaxLength", "LocalAuthListMaxLength")
_ITEMS201: Final = "LocalAuthListCtrlr.ItemsPerMessage"
_BYTES201: Final = "LocalAuthListCtrlr.BytesPerMessage"
_ENTRIES201: Final = "LocalAuthListCtrlr.Entries"
_ENVELOPE_BYTES: Final = 200  # a message around its tokens

Payload = dict[str, Any]


class LocalListErrand:
    """The errand, what calls for it, and the reading of answers. Follows the journal for tokens."""

    FOLLOWED: Final = frozenset({"TokenChanged", "TokenDeleted"})

    def __init__(
        self, *, store: Store, stations: Stations, lists: LocalLists, clock: Clock, steward: Steward, delay_s: float
    ) -> None:
        self._store = store
        self._stations = stations
        self._lists = lists
        self._clock = clock
        self._steward = steward
        self._delay_s = delay_s
        self._asked: set[str] = set()  # whose version is asked for even if it was told lately

    def listen(self, calls: Calls) -> None:
        """Register the errand and the readers."""
        self._lists.compare_by(self.look)
        self._steward.errand(ERRAND, self.sync, on={"StationBooted": self._has_booted, "LinkOpened": self._is_kept})
        calls.read("SendLocalList", self._sent)
        calls.read("GetLocalListVersion", self._version_told)
        calls.read("CustomerInformation", self._customer)

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """Tokens were changed; an order's own is on no list."""
        changed = [fact for fact in facts if fact.order_id is None]
        for fact in changed:
            if fact.kind == "TokenChanged":
                await self._lists.put_again(str(fact.body["uid"]))
        if changed:
            self._lists.changed()

    def look(self, station_id: str, now: bool = False) -> None:
        """Compare this charger's list; unless it is wanted now, more changes may follow and are waited for."""
        if now:
            self._asked.add(station_id)
        self._steward.want(station_id, ERRAND, in_s=0 if now else self._delay_s)

    def _has_booted(self, fact: Fact) -> bool:
        """A list may be lost with the power."""
        is_kept = self._is_kept(fact)
        if is_kept and fact.station is not None:
            self._asked.add(fact.station)
        return is_kept

    def _is_kept(self, fact: Fact) -> bool:
        station = self._stations.get(fact.station) if fact.station is not None else None
        return station is not None and self._lists.is_kept(station)

    # -- the errand

    async def sync(self, visit: Visit) -> None:
        """Bring the charger's list to what it should hold."""
        station, lists = visit.station, self._lists
        shadow = await lists.shadow(station.id)
        wanted = lists.wanted(station, shadow)
        is_asked = station.id in self._asked
        self._asked.discard(station.id)
        if wanted is None and not is_asked:
            return
        limits = await self._limits(visit)
        goal, left_out = fit(_sayable(visit.version, wanted or {}), limits)
        if not is_asked and shadow.state == IN_STEP and goal == shadow.entries and self._is_fresh(shadow):
            return
        try:
            state, detail = await self._outcome(visit, shadow, None if wanted is None else goal, limits)
        except (NoAnswer, TimeoutError):
            if is_asked:
                self._asked.add(station.id)
            raise
        except SaidNo as no:
            state, detail = NOT_SUPPORTED if no.is_unsupported else FAILED, str(no)
        if state == IN_STEP and left_out:
            detail = f"{left_out} tokens have no room on it"
        await lists.concluded(station, state, detail)

    async def _outcome(
        self, visit: Visit, shadow: Shadow, goal: Mapping[str, Listed] | None, limits: Limits
    ) -> tuple[str, str | None]:
        """(state, what there is to say about it). `goal` None: it is only compared."""
        reported = _version_in(await visit.ask("GetLocalListVersion", {}))
        if reported is None or reported < 0:
            return NOT_SUPPORTED, "the charger keeps no list"
        if goal is not None:
            return await self._bring(visit, shadow, goal, limits, reported)
        if shadow.version == reported:
            return IN_STEP, None
        return UNKNOWN, f"the charger reports version {reported}; what it was sent last is {shadow.version}"

    async def _bring(
        self, visit: Visit, shadow: Shadow, goal: Mapping[str, Listed], limits: Limits, reported: int
    ) -> tuple[str, str | None]:
        held: Mapping[str, Listed] | None = shadow.entries if shadow.version == reported else None
        if reported == 0 and not goal:
            held = {}  # its list is empty, as it should be
        number, taken = max(reported, shadow.version), None
        while (update := _next(visit.version, held, goal, number, limits)) is not None:
            answer = await visit.ask("SendLocalList", _message(visit.version, update))
            status, number = str(answer.get("status")), update.version
            if status == "Accepted":
                held, taken = update.applied_to(held), update.version
            elif status == "NotSupported":
                return NOT_SUPPORTED, "the charger takes no list"
            elif update.full:
                return FAILED, f"the charger answered {status} to the whole list"
            else:
                held = None  # 1.6 5.15: what it holds is not what we think; the whole list puts that right
        if taken is not None and not await self._lists.followed(visit.station.id, taken, _FOLLOW_S):
            raise TimeoutError("the answers are not read yet")
        return IN_STEP, None

    def _is_fresh(self, shadow: Shadow) -> bool:
        checked_ms = shadow.checked_ms
        return checked_ms is not None and self._clock.now_ms() - checked_ms < _GOOD_FOR_MS

    async def _limits(self, visit: Visit) -> Limits:
        names = _KEYS16 if visit.version is Version.V16 else (_ITEMS201, _BYTES201, _ENTRIES201)
        rows = await self._store.read(lambda tx: _configured(tx, visit.station.id, names))
        return limits_of(visit.version, rows)

    # -- what is read on the wire, whoever asked

    async def _sent(self, call: CallAnswered) -> None:
        if call.response.get("status") == "Accepted":
            await self._lists.took(call.station, read_message(call.request), call.at_ms, call.seq)
            self._look_when_not_ours(call.station)

    async def _version_told(self, call: CallAnswered) -> None:
        version = _version_in(call.response)
        if version is not None:
            await self._lists.reported(call.station, version, call.at_ms, call.seq)

    async def _customer(self, call: CallAnswered) -> None:
        """CustomerInformation that clears: the list is not the charger's to change, so we send another (N10)."""
        asked = call.request
        if not asked.get("clear") or call.response.get("status") != "Accepted":
            return
        uid = (asked.get("idToken") or {}).get("idToken")
        await self._lists.cleared(call.station, uid, asked.get("customerIdentifier"), call.at_ms)

    def _look_when_not_ours(self, station_id: str) -> None:
        """A list that an operator sent by hand is compared with what it should hold, where there is such a thing."""
        station = self._stations.get(station_id)
        if station is not None and self._lists.is_kept(station) and not self._steward.is_wanted(station_id, ERRAND):
            self.look(station_id)


def limits_of(version: Version, rows: Sequence[Row]) -> Limits:
    """What a charger's configuration says of its list."""
    told = {(row["name"], row["attribute"]): row for row in rows}

    def value(name: str, attribute: str = "Actual") -> int | None:
        row = told.get((name, attribute))
        return _whole(row["value"]) if row is not None else None

    if version is Version.V16:
        most, longest = (value(name) for name in _KEYS16)
        return Limits(per_message=most or _UNTOLD, capacity=longest)
    bytes_per_message = value(_BYTES201)
    return Limits(
        per_message=value(_ITEMS201) or _UNTOLD,
        bytes_per_message=max(1, bytes_per_message - _ENVELOPE_BYTES) if bytes_per_message else None,
        capacity=value(_ENTRIES201, "MaxSet") or _largest(told.get((_ENTRIES201, "Actual"))),
    )


def _largest(row: Row | None) -> int | None:
    """2.0.1: `maxLimit` of the variable's characteristics."""
    told = json.loads(row["data"]).get("characteristics") if row is not None else None
    return _whole((told or {}).get("maxLimit"))


def _whole(said: object) -> int | None:
    try:
        number = int(float(str(said)))
    except (ValueError, OverflowError):
        return None
    return number if number > 0 else None


def _configured(tx: ReadTx, station_id: str, names: Sequence[str]) -> list[Row]:
    return tx.many(Table.CONFIGURATION, station=station_id, name=list(names))


# -- said and read


def _sayable(version: Version, wanted: Mapping[str, Listed]) -> dict[str, Listed]:
    """As the version can say it: what is too long for its words, or good at some connectors only where it cannot tell
    which, is left to us when the charger is online."""
    said: dict[str, Listed] = {}
    for key, entry in wanted.items():
        if len(entry.uid) > _TAG_MAX[version] or (entry.evses and version is Version.V16):
            continue
        said[key] = _read_entry(_entry(version, entry))[1]
    return said


def _next(
    version: Version, held: Mapping[str, Listed] | None, goal: Mapping[str, Listed], number: int, limits: Limits
) -> Update | None:
    return next_update(held, goal, version=number, limits=limits, weigh=lambda entry: _bytes(version, entry))


def _bytes(version: Version, entry: Listed) -> int:
    return len(json.dumps(_entry(version, entry), separators=(",", ":")).encode()) + 1


def _message(version: Version, update: Update) -> Payload:
    """SendLocalList."""
    entries = [_entry(version, entry, removed=True) for _, entry in update.drop]
    entries += [_entry(version, entry) for _, entry in update.put]
    kind = "Full" if update.full else "Differential"
    if version is Version.V16:
        return {"listVersion": update.version, "localAuthorizationList": entries, "updateType": kind}
    message: Payload = {"versionNumber": update.version, "updateType": kind}
    if entries:  # 2.0.1 says an empty list by none
        message["localAuthorizationList"] = entries
    return message


def read_message(request: Mapping[str, Any]) -> Update:
    """SendLocalList of either version, read back."""
    version = request["listVersion"] if "listVersion" in request else request["versionNumber"]
    put: list[tuple[str, Listed]] = []
    drop: list[tuple[str, Listed]] = []
    for said in request.get("localAuthorizationList") or ():
        key, entry = _read_entry(said)
        (put if entry.status else drop).append((key, entry))
    return Update(int(version), request["updateType"] == "Full", tuple(put), tuple(drop))


def _entry(version: Version, entry: Listed, *, removed: bool = False) -> Payload:
    if version is Version.V16:
        tag: Payload = {"idTag": entry.uid}
        return (
            tag if removed else tag | {"idTagInfo": wire16.id_tag_info(entry.status, entry.group_id, entry.expires_ms)}
        )
    token: Payload = {"idToken": {"idToken": entry.uid, "type": entry.type or "Central"}}
    if removed:
        return token
    info = wire201.id_token_info(entry.status, entry.group_id, entry.expires_ms, evse_ids=entry.evses)
    return token | {"idTokenInfo": info}


def _read_entry(said: Mapping[str, Any]) -> tuple[str, Listed]:
    """A token of a list. Without a status it is one that is taken off."""
    if "idTag" in said:
        uid, type_, info = said["idTag"], None, said.get("idTagInfo") or {}
        group, expires = info.get("parentIdTag"), info.get("expiryDate")
    else:
        uid, type_, info = said["idToken"]["idToken"], said["idToken"]["type"], said.get("idTokenInfo") or {}
        group, expires = (info.get("groupIdToken") or {}).get("idToken"), info.get("cacheExpiryDateTime")
    evses = tuple(info.get("evseId") or ())
    return token_norm(uid) or "", Listed(uid, type_, info.get("status") or "", group, parse(expires), evses)


def _version_in(answer: Mapping[str, Any]) -> int | None:
    said = answer.get("listVersion", answer.get("versionNumber"))
    return said if isinstance(said, int) else None
