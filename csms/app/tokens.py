"""Who may charge, in memory: no read stands between a tag and its answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from csms.app.dues import Due
from csms.app.inuse import InUse
from csms.app.masks import MASK
from csms.domain.access import (
    KEY_CODE,
    Area,
    Circumstances,
    Place,
    Standing,
    Token,
    TokenKind,
    TokenStatus,
    Verdict,
    judge,
    vehicle_norm,
)
from csms.domain.matching import token_norm
from csms.domain.session_record import Session
from csms.ports import Row, Store, Table, Tx

_KINDS: Final = {kind.value: kind for kind in TokenKind}
# A start that waited longer than this in a charger's queue is judged as if the token had never been known.
_DELETED_KEPT_MS: Final = 90 * 86_400_000


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The operator's choices for tokens that have none of their own."""

    master_group: str | None = None
    one_at_a_time: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A token and what it may draw."""

    token: Token
    budget_wh: int | None = None
    budget_s: int | None = None
    used_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Vehicle:
    """A car that stands for a token. `token` is normalised; a limit of its own comes before the token's."""

    vehicle_id: str
    token: str
    limit_wh: int | None = None
    limit_s: int | None = None


def _nothing_due(_: Token) -> Sequence[Due]:
    return ()


def _type_unknown(_station: str, _evse: int, _connector: int) -> str | None:
    return None


class Tokens:
    """Every token and vehicle this system knows, by normalised spelling, and which of them are charging.

    `dues` says what a token's driver owes, oldest first; `power_type_of` what a socket gives, AC or DC.
    """

    def __init__(
        self,
        store: Store,
        rules: AccessRules = AccessRules(),
        *,
        dues: Callable[[Token], Sequence[Due]] = _nothing_due,
        power_type_of: Callable[[str, int, int], str | None] = _type_unknown,
    ) -> None:
        self._store = store
        self.rules = rules
        self.dues = dues
        self._power_type_of = power_type_of
        self._entries: dict[str, Entry] = {}
        self._vehicles: dict[str, Vehicle] = {}
        self._cars: dict[str, set[str]] = {}  # by the token they stand for
        self.in_use = InUse()

    async def load(self, now_ms: int = 0) -> None:
        """Read them all, at start; drop what was deleted long ago."""

        def work(tx: Tx) -> tuple[list[Row], list[Row]]:
            rows = tx.many(Table.TOKENS)
            old = [row["uid_norm"] for row in rows if row["deleted"] and row["updated_ms"] < now_ms - _DELETED_KEPT_MS]
            if old:
                tx.drop(Table.TOKENS, uid_norm=old)
            return rows, tx.many(Table.VEHICLES, enabled=1)

        rows, vehicles = await self._store.transact(work)
        self._entries = {row["uid_norm"]: entry_from(row) for row in rows}
        self._vehicles = {row["id_norm"]: _vehicle_from(row) for row in vehicles}
        self._cars = {}
        for id_norm, vehicle in self._vehicles.items():
            self._cars.setdefault(vehicle.token, set()).add(id_norm)

    async def changed(self, uid: str) -> None:
        """One was put, used up or deleted."""
        norm = token_norm(uid) or ""
        row = await self._store.read(lambda tx: tx.one(Table.TOKENS, uid_norm=norm))
        if row is None:
            self._entries.pop(norm, None)
        else:
            self._entries[norm] = entry_from(row)

    async def vehicle_changed(self, id_norm: str) -> None:
        """A vehicle was put or deleted."""
        row = await self._store.read(lambda tx: tx.one(Table.VEHICLES, id_norm=id_norm, enabled=1))
        before = self._vehicles.pop(id_norm, None)
        if before is not None:
            self._cars[before.token].discard(id_norm)
        if row is not None:
            self._vehicles[id_norm] = _vehicle_from(row)
            self._cars.setdefault(row["token"], set()).add(id_norm)

    # -- found

    def get(self, uid: str | None, type_: str | None = None) -> Entry | None:
        """By uid as a charger spells it. What was typed at a keypad is no card, and no card is a key code."""
        norm = token_norm(uid)
        entry = self._entries.get(norm) if norm is not None else None
        if entry is not None and type_ is not None and (type_ == KEY_CODE) != (entry.token.type == KEY_CODE):
            return None
        return entry

    def all(self) -> list[Entry]:
        """Every token on record, in no order."""
        return list(self._entries.values())

    def recognise(self, said: str | None) -> tuple[str | None, Vehicle | None]:
        """The token a charger means: the one it names, or the one that the vehicle it names stands for."""
        if said is None or ((known := self.get(said)) is not None and known.token.status is not TokenStatus.DELETED):
            return said, None
        vehicle = self._vehicles.get(vehicle_norm(said))
        if vehicle is None:
            return said, None
        entry = self._entries.get(vehicle.token)
        return entry.token.uid if entry is not None else vehicle.token, vehicle

    def vehicles_of(self, uid: str) -> list[str]:
        """The cars that stand for a token, in their one spelling."""
        return list(self._cars.get(token_norm(uid) or "", ()))

    def is_master_pass(self, uid: str | None) -> bool:
        """Whether it ends sessions and begins none."""
        entry, group = self.get(uid), self.rules.master_group
        return entry is not None and group is not None and entry.token.group_id == group

    def written(self, uid: str | None, type_: str | None = None) -> str | None:
        """As it may stand in the journal: a key code is nobody's to read."""
        entry = self.get(uid)
        is_code = entry is not None and entry.token.type == KEY_CODE
        return written(uid, KEY_CODE if is_code else type_) if uid is not None else None

    # -- judged

    def authorize(self, uid: str | None, now_ms: int, place: Place, type_: str | None = None) -> Verdict:
        """As of now. It may be to begin a session or to end one, so only a start is asked for other sessions."""
        entry = self.get(uid, type_)
        known = self._circumstances(entry, starts=False)
        return judge(_token(entry), now_ms, now_ms=now_ms, place=self._at(entry, place), circumstances=known)

    def start(
        self,
        uid: str | None,
        at_ms: int,
        now_ms: int,
        place: Place,
        session: Session,
        type_: str | None = None,
    ) -> Verdict:
        """Whether `session` could begin at `at_ms`."""
        entry = self.get(uid, type_)
        known = self._circumstances(entry, starts=True)
        if entry is not None:
            is_order = entry.token.kind is TokenKind.ORDER
            ours = session.order_id is not None and session.order_id == entry.token.order_id
            # One that came at once is judged as of now: no clock of a charger is that exact.
            open_at_ms = at_ms if session.offline_start else now_ms
            known = replace(
                known,
                open_elsewhere=self.in_use.others(uid, open_at_ms, but=session.no, dark=is_order),
                used_before=is_order and not ours and entry.used_ms is not None,
            )
        return judge(_token(entry), at_ms, now_ms=now_ms, place=self._at(entry, place), circumstances=known)

    def stop(self, uid: str | None, now_ms: int, type_: str | None = None) -> Verdict:
        """What a charger's cache hears of the token that ended a session."""
        entry = self.get(uid, type_)
        return judge(_token(entry), now_ms, now_ms=now_ms, circumstances=self._circumstances(entry, starts=False))

    def used(self, uid: str, now_ms: int) -> None:
        """An order's token has made its session."""
        norm = token_norm(uid) or ""
        if (entry := self._entries.get(norm)) is not None:
            self._entries[norm] = replace(entry, used_ms=now_ms)

    def _circumstances(self, entry: Entry | None, *, starts: bool) -> Circumstances:
        # An order that is paid may start, whatever its driver owes for another.
        owes = entry is not None and entry.token.kind is not TokenKind.ORDER
        dues = self.dues(entry.token) if entry is not None and owes else ()
        return Circumstances(
            starts=starts,
            one_at_a_time=self.rules.one_at_a_time,
            master_group=self.rules.master_group,
            due_since_ms=dues[0].since_ms if dues else None,
        )

    def _at(self, entry: Entry | None, place: Place) -> Place:
        if entry is None or not entry.token.power_types or place.evse is None:
            return place
        return replace(place, power_type=self._power_type_of(place.station, place.evse, place.connector or 0))


def written(uid: str, type_: str | None) -> str:
    """A token as it may stand in the journal."""
    return MASK if type_ == KEY_CODE else uid


def _token(entry: Entry | None) -> Token | None:
    return entry.token if entry is not None else None


def entry_from(row: Row) -> Entry:
    """A stored token."""
    status = TokenStatus.DELETED if row["deleted"] else TokenStatus(row["status"])
    now = Standing(0, status, row["expires_ms"], row["group_id"])
    token = Token(
        uid=row["uid"],
        type=row["type"],
        kind=_KINDS.get(row["kind"], TokenKind.REGULAR),
        status=status,
        expires_ms=row["expires_ms"],
        group_id=row["group_id"],
        driver=row["driver"],
        order_id=row["order_id"],
        station=row["station"],
        evse=row["evse"],
        connector=row["connector"],
        history=tuple(_standing(kept, now) for kept in json.loads(row["history"])),
        areas=tuple(_area(kept) for kept in json.loads(row["places"] or "[]")),
        power_types=frozenset(json.loads(row["power_types"] or "[]")),
        one_at_a_time=None if row["one_at_a_time"] is None else bool(row["one_at_a_time"]),
    )
    return Entry(token, row["budget_wh"], row["budget_s"], row["used_ms"])


def history_of(
    standing: Row | None, status: TokenStatus, expires_ms: int | None, group: str | None, now_ms: int
) -> str:
    """The history of a token that is put as this; empty while its first standing holds."""
    if standing is None:
        return "[]"
    token = entry_from(standing).token.changed(Standing(now_ms, status, expires_ms, group))
    return json.dumps([[s.from_ms, s.status.value, s.expires_ms, s.group_id] for s in token.history])


def _standing(kept: list[Any], now: Standing) -> Standing:
    """Entries of older versions tell the status alone."""
    expires_ms, group_id = kept[2:] if len(kept) > 2 else (now.expires_ms, now.group_id)
    return Standing(int(kept[0]), TokenStatus(kept[1]), expires_ms, group_id)


def _area(kept: dict[str, Any]) -> Area:
    return Area(kept.get("station"), kept.get("location"), frozenset(kept.get("evses") or ()))


def _vehicle_from(row: Row) -> Vehicle:
    return Vehicle(row["id"], row["token"], row["limit_wh"], row["limit_s"])
