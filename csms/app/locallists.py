"""The authorization lists that chargers keep: what each should hold, and the shadow of what it holds.

The shadow follows the wire (`calls.py`), so it is right whoever sent the list. A charger's rule for its list comes from
an operator or from the configuration.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from csms.app.stations import Station, Stations
from csms.app.tokens import Tokens
from csms.domain.access import Place, TokenKind, driver_norm
from csms.domain.locallist import Listed, Update, listed, may_be_listed
from csms.domain.matching import token_norm
from csms.ports import Clock, Fact, Row, Store, Table, Tx

OFF: Final = "off"
_KINDS: Final = {
    "fleet": frozenset({TokenKind.FLEET}),
    "all": frozenset({TokenKind.FLEET, TokenKind.REGULAR, TokenKind.APP, TokenKind.AUTOCHARGE}),
}
UNKNOWN, IN_STEP, DUE, NOT_SUPPORTED, FAILED = "unknown", "in-step", "due", "not-supported", "failed"


@dataclass(frozen=True, slots=True)
class Shadow:
    """What we know of a charger's list. `version` is of the entries; the charger's own word is `reported_version`."""

    version: int = 0
    reported_version: int | None = None
    entries: Mapping[str, Listed] = field(default_factory=dict)
    state: str = UNKNOWN
    detail: str | None = None
    tokens: str | None = None
    withheld: Mapping[str, int] = field(default_factory=dict)
    firmware: str | None = None
    checked_ms: int | None = None
    updated_ms: int | None = None
    frame_seq: int = 0


class LocalLists:
    """Rules and shadows of all chargers' lists."""

    def __init__(
        self,
        *,
        store: Store,
        stations: Stations,
        tokens: Tokens,
        clock: Clock,
        default: str,
    ) -> None:
        self._store = store
        self._stations = stations
        self._tokens = tokens
        self._clock = clock
        self._default = default
        self._want: Callable[[str, bool], None] = _nobody
        self._own: dict[str, str] = {}  # station -> its own rule
        self._unsupported: dict[str, str | None] = {}  # station -> the firmware that keeps no list
        self._withheld: dict[str, set[str]] = {}  # token -> the stations it was cleared from
        self._news: dict[str, asyncio.Event] = {}  # somebody waits for the shadow to follow

    def compare_by(self, want: Callable[[str, bool], None]) -> None:
        """Who compares a charger's list when it is wanted: now, or when what else is changing has changed."""
        self._want = want

    async def load(self) -> None:
        """Read which chargers have a rule of their own, at start."""
        rows = await self._store.read(lambda tx: tx.many(Table.LOCAL_LISTS))
        self._own = {row["station"]: row["tokens"] for row in rows if row["tokens"] is not None}
        self._unsupported = {row["station"]: row["firmware"] for row in rows if row["state"] == NOT_SUPPORTED}
        for row in rows:
            self._note_withheld(row["station"], json.loads(row["withheld"]))

    # -- rules

    def rule(self, station_id: str) -> str:
        """Which tokens belong on this charger's list: off, fleet, all."""
        return self._own.get(station_id, self._default)

    def is_kept(self, station: Station) -> bool:
        """Whether this charger is asked about its list: it should hold one, and is not known to keep none."""
        if self.rule(station.id) == OFF:
            return False
        return station.id not in self._unsupported or self._unsupported[station.id] != station.firmware

    async def set_rule(self, station_id: str, tokens: str | None, who: str) -> None:
        """An operator decides; a list that is not wanted any more is emptied."""
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> None:
            held = _shadow(tx.take(Table.LOCAL_LISTS, station=station_id))
            is_off = (self._default if tokens is None else tokens) == OFF
            state = (DUE if held.entries else held.state) if is_off else UNKNOWN
            _keep(tx, station_id, now_ms, tokens=tokens, state=state, detail=None)
            tx.append([Fact("LocalListRuleChanged", now_ms, {"tokens": tokens, "who": who}, station_id)])

        await self._store.transact(work)
        self._unsupported.pop(station_id, None)
        if tokens is None:
            self._own.pop(station_id, None)
        else:
            self._own[station_id] = tokens
        self._want(station_id, False)

    def ask(self, station_id: str) -> None:
        """An operator wants it compared."""
        self._want(station_id, True)

    def changed(self) -> None:
        """Tokens have changed: every list that is kept is looked at."""
        for station in self._stations.all():
            if self.is_kept(station):
                self._want(station.id, False)

    # -- wanted

    async def shadow(self, station_id: str) -> Shadow:
        """What we know of its list."""
        return _shadow(await self._store.read(lambda tx: tx.one(Table.LOCAL_LISTS, station=station_id)))

    def wanted(self, station: Station, shadow: Shadow) -> dict[str, Listed] | None:
        """What its list should hold, the most important first; None: whatever it holds.

        A holder whose data an operator had cleared from the charger stays off its list until the token is put again.
        """
        rule = self.rule(station.id)
        if rule == OFF:
            if shadow.state == DUE:
                return {}
            if shadow.entries.keys() & shadow.withheld.keys():
                return {key: entry for key, entry in shadow.entries.items() if key not in shadow.withheld}
            return None
        now_ms, place = self._clock.now_ms(), Place(station.id, location=station.location_id)
        kinds, master_group = _KINDS[rule], self._tokens.rules.master_group
        found: list[tuple[bool, str, Listed]] = []
        for entry in self._tokens.all():
            token = entry.token
            key = token_norm(token.uid) or ""
            if not may_be_listed(token, kinds, master_group) or key in shadow.withheld:
                continue
            dues = self._tokens.dues(token)
            told = listed(token, now_ms, place, due_since_ms=dues[0].since_ms if dues else None)
            if told is not None:
                found.append((token.kind is not TokenKind.FLEET, key, told))
        return {key: told for _, key, told in sorted(found, key=lambda one: one[:2])}

    # -- what the charger said

    async def took(self, station_id: str, update: Update, at_ms: int, seq: int) -> None:
        """It accepted this message. Told again it changes nothing."""

        def work(tx: Tx) -> None:
            held = _shadow(tx.take(Table.LOCAL_LISTS, station=station_id))
            if seq <= held.frame_seq:
                return
            entries = update.applied_to(held.entries)
            _keep(
                tx, station_id, at_ms,
                version=update.version, reported_version=update.version, frame_seq=seq, checked_ms=at_ms,
                entries=json.dumps({key: asdict(entry) for key, entry in entries.items()}),
            )  # fmt: skip

        await self._store.transact(work)
        self._followed(station_id)

    async def reported(self, station_id: str, version: int, at_ms: int, seq: int) -> None:
        """It told the version of its list. 0: it is empty; -1: it keeps none."""

        def work(tx: Tx) -> None:
            held = _shadow(tx.take(Table.LOCAL_LISTS, station=station_id))
            if seq <= held.frame_seq:
                return
            emptied = {"version": 0, "entries": "{}"} if version == 0 else {}
            _keep(tx, station_id, at_ms, reported_version=version, checked_ms=at_ms, frame_seq=seq, **emptied)

        await self._store.transact(work)
        self._followed(station_id)

    async def cleared(self, station_id: str, uid: str | None, driver: str | None, at_ms: int) -> None:
        """An operator had a customer's data cleared from the charger (2.0.1 N10): they go from its list, too."""
        norm, name = token_norm(uid), driver_norm(driver)
        theirs = {
            token_norm(entry.token.uid) or ""
            for entry in self._tokens.all()
            if name is not None and driver_norm(entry.token.driver) == name
        }
        concerned = theirs | ({norm} if norm is not None else set())

        def work(tx: Tx) -> set[str]:
            held = _shadow(tx.take(Table.LOCAL_LISTS, station=station_id))
            gone = concerned & held.entries.keys()
            if gone:
                withheld = {**held.withheld, **dict.fromkeys(sorted(gone), at_ms)}
                _keep(tx, station_id, at_ms, withheld=json.dumps(withheld))
            return gone

        if gone := await self._store.transact(work):
            self._note_withheld(station_id, gone)
            self._want(station_id, False)

    async def put_again(self, uid: str) -> None:
        """A token was put: who was cleared from a charger may be on its list again."""
        norm = token_norm(uid) or ""
        concerned = self._withheld.pop(norm, None)
        if not concerned:
            return

        def work(tx: Tx) -> None:
            for row in tx.many(Table.LOCAL_LISTS, station=sorted(concerned)):
                withheld = {key: at_ms for key, at_ms in json.loads(row["withheld"]).items() if key != norm}
                tx.change(Table.LOCAL_LISTS, {"withheld": json.dumps(withheld)}, station=row["station"])

        await self._store.transact(work)

    async def concluded(self, station: Station, state: str, detail: str | None) -> None:
        """What a sync came to."""
        now_ms = self._clock.now_ms()
        firmware = station.firmware if state == NOT_SUPPORTED else None

        def work(tx: Tx) -> None:
            held = _shadow(tx.take(Table.LOCAL_LISTS, station=station.id))
            _keep(tx, station.id, now_ms, state=state, detail=detail, firmware=firmware)
            if held.state != state:
                body = {"state": state, "version": held.version, "entries": len(held.entries), "detail": detail}
                tx.append([Fact("LocalListChecked", now_ms, body, station.id)])

        await self._store.transact(work)
        if state == NOT_SUPPORTED:
            self._unsupported[station.id] = firmware
        else:
            self._unsupported.pop(station.id, None)

    async def followed(self, station_id: str, version: int, timeout_s: float) -> bool:
        """Wait until the shadow has taken in the list of this version."""
        event = self._news[station_id] = asyncio.Event()
        try:
            async with asyncio.timeout(timeout_s):
                while (await self.shadow(station_id)).version != version:
                    await event.wait()
                    event.clear()
        except TimeoutError:
            return False
        finally:
            del self._news[station_id]
        return True

    def _note_withheld(self, station_id: str, norms: Iterable[str]) -> None:
        for norm in norms:
            self._withheld.setdefault(norm, set()).add(station_id)

    def _followed(self, station_id: str) -> None:
        if (event := self._news.get(station_id)) is not None:
            event.set()


def _nobody(_station_id: str, _now: bool) -> None:
    """Before it is composed."""


def _shadow(row: Row | None) -> Shadow:
    if row is None:
        return Shadow()
    return Shadow(
        version=row["version"],
        reported_version=row["reported_version"],
        entries={key: _listed(plain) for key, plain in json.loads(row["entries"]).items()},
        state=row["state"],
        detail=row["detail"],
        tokens=row["tokens"],
        withheld=json.loads(row["withheld"]),
        firmware=row["firmware"],
        checked_ms=row["checked_ms"],
        updated_ms=row["updated_ms"],
        frame_seq=row["frame_seq"],
    )


def _listed(plain: dict[str, Any]) -> Listed:
    return Listed(**{**plain, "evses": tuple(plain["evses"])})


def _keep(tx: Tx, station_id: str, now_ms: int, **values: object) -> None:
    tx.add(Table.LOCAL_LISTS, {"station": station_id, "state": UNKNOWN, "updated_ms": now_ms})
    tx.change(Table.LOCAL_LISTS, {**values, "updated_ms": now_ms}, station=station_id)
