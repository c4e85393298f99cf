"""What chargers say of themselves, what is wanted of them, and how the two compare. Rows and facts; no protocol.

    read ─▶ table `configuration` ─▶ compared with the templates ─▶ table `provisioning` (state, drift) ─▶ written, read

Templates and the standing of every charger are also in memory (a line each), because news of chargers ask about them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from csms.app.stations import Station, Stations
from csms.domain.presets import BUILTIN
from csms.domain.provisioning import (
    REBOOT_REQUIRED,
    Drift,
    Item,
    Nature,
    State,
    Template,
    Wanted,
    carried,
    drift,
    judge,
    wanted,
)
from csms.domain.session_states import OPEN
from csms.ports import Clock, Fact, ReadTx, Row, Store, Table, Tx


@dataclass(frozen=True, slots=True)
class Standing:
    """How one charger stands; the row of `provisioning`."""

    state: State = State.UNKNOWN
    drift: tuple[Drift, ...] = ()
    detail: str | None = None
    inventory_ms: int | None = None
    inventory_firmware: str | None = None
    checked_ms: int | None = None
    template: str | None = None
    asked: str | None = None
    written_ms: int | None = None
    reset_ms: int | None = None

    @property
    def is_reset_asked(self) -> bool:
        """Whether a restart was asked since something was written last: once is enough."""
        return self.reset_ms is not None and self.reset_ms >= (self.written_ms or 0)


_NEW: Final = Standing()


class Provisioning:
    """The book of all this. `base` names the built-in template of every charger without a choice of its own."""

    def __init__(self, store: Store, stations: Stations, clock: Clock, base: str) -> None:
        self._store = store
        self._stations = stations
        self._clock = clock
        self._base = base
        self._templates: list[Template] = []
        self._standings: dict[str, Standing] = {}

    async def load(self) -> None:
        """Read what lives in memory."""
        templates, rows = await self._store.read(
            lambda tx: (tx.many(Table.CONFIG_TEMPLATES), tx.many(Table.PROVISIONING))
        )
        self._templates = [template_from(row) for row in templates]
        self._standings = {row["station"]: standing_from(row) for row in rows}

    # -- asked

    def standing(self, station_id: str) -> Standing:
        """How it stands; UNKNOWN for one never seen."""
        return self._standings.get(station_id, _NEW)

    def standings(self) -> Iterable[tuple[str, Standing]]:
        """Every charger that was ever read or compared."""
        return list(self._standings.items())

    def wanted_of(self, station: Station) -> dict[str, Wanted]:
        """What is wanted of a charger now, by folded name."""
        chosen = self.standing(station.id).template
        base = BUILTIN.get(self._base if chosen is None else chosen)
        return wanted(self._templates, nature_of(station), base)

    def heartbeat_s(self, station: Station) -> int | None:
        """How often it shall send a heartbeat, where a template says so: the answer to its boot sets it, too."""
        name = "heartbeatinterval" if station.transport == "ocpp1.6" else "ocppcommctrlr.heartbeatinterval"
        want = self.wanted_of(station).get(name)
        return int(want.value) if want is not None and want.value.isdecimal() and int(want.value) > 0 else None

    async def held(self, station_id: str) -> list[Item]:
        """What it last said of itself."""
        return await self._store.read(lambda tx: items_of(tx, station_id))

    # -- told

    async def saw(self, station_id: str, items: Sequence[Item], at_ms: int, gone: Sequence[str] = ()) -> None:
        """It said these values at `at_ms`, and that it does not know `gone`."""
        if items or gone:
            await self._store.transact(lambda tx: keep_items(tx, station_id, items, at_ms, gone))

    async def read_all(self, station: Station, items: Sequence[Item]) -> Standing:
        """It said everything: what it did not name any more is gone. Compared as well."""
        now_ms = self._clock.now_ms()
        told = {(item.name, item.attribute) for item in items}
        before = self.standing(station.id)
        is_other = before.inventory_ms is not None and before.inventory_firmware != station.firmware

        def work(tx: Tx) -> Standing:
            before = {(row["name"], row["attribute"]): row for row in tx.many(Table.CONFIGURATION, station=station.id)}
            for name, attribute in before.keys() - told:
                tx.drop(Table.CONFIGURATION, station=station.id, name=name, attribute=attribute)
            # Most of a thousand variables are as they were: one statement says of all that they were seen.
            keep_items(tx, station.id, [item for item in items if not _stands(before, item)], now_ms)
            tx.change(Table.CONFIGURATION, {"seen_ms": now_ms}, station=station.id)
            body = {"count": len(items), "firmware": station.firmware}
            tx.append([Fact("ConfigurationRead", now_ms, body, station=station.id)])
            more = {"inventory_ms": now_ms, "inventory_firmware": station.firmware}
            # Other firmware may take what the one before refused.
            return self._compare(tx, station, items, now_ms, more, forget=is_other)

        return self._remember(station.id, await self._store.transact(work))

    async def compare(self, station: Station, *, checked: bool = True) -> Standing:
        """Compare what it last said with what is wanted. `checked`: it said so just now."""
        items = await self.held(station.id)
        now_ms = self._clock.now_ms()
        more = {"checked_ms": now_ms} if checked else {}
        return self._remember(
            station.id, await self._store.transact(lambda tx: self._compare(tx, station, items, now_ms, more))
        )

    async def wrote(self, station: Station, written: Sequence[Drift], outcomes: Mapping[str, str]) -> Standing:
        """Values were written and read again; `outcomes` are its words, by folded name."""
        items = await self.held(station.id)
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> Standing:
            told = [
                {"name": one.name, "value": one.wanted, "outcome": outcomes.get(one.name.casefold())} for one in written
            ]
            tx.append([Fact("ConfigurationWritten", now_ms, {"outcomes": told}, station=station.id)])
            more = {"checked_ms": now_ms, "written_ms": now_ms}
            return self._compare(tx, station, items, now_ms, more, outcomes=outcomes)

        return self._remember(station.id, await self._store.transact(work))

    async def choose(self, station_id: str, template: str | None) -> None:
        """An operator chose a built-in template for a charger; None: the configured one again."""
        await self._change(station_id, {"template": template})

    async def ask(self, station_id: str, errand: str) -> None:
        """An operator wants an errand done; it is remembered until it is."""
        await self._change(station_id, {"asked": errand})

    async def done(self, station_id: str, errand: str, detail: str | None = None) -> None:
        """It is, or the charger will have nothing of it (`detail`)."""
        if self.standing(station_id).asked == errand:
            await self._change(station_id, {"asked": None, "detail": detail})

    async def reset_asked(self, station_id: str, detail: str | None) -> None:
        """A restart was asked of it, for what was written."""
        await self._change(station_id, {"reset_ms": self._clock.now_ms(), "detail": detail})

    async def templates_changed(self) -> list[Station]:
        """Templates were put or deleted: take them over. The chargers that were read and of which other things are
        wanted now."""
        rows = await self._store.read(lambda tx: tx.many(Table.CONFIG_TEMPLATES))
        known = [self._stations.get(station_id) for station_id, one in self.standings() if one.inventory_ms is not None]
        before = [(station, self.wanted_of(station)) for station in known if station is not None]
        self._templates = [template_from(row) for row in rows]
        return [station for station, wants in before if self.wanted_of(station) != wants]

    # -- the pieces

    def _compare(
        self,
        tx: Tx,
        station: Station,
        items: Sequence[Item],
        now_ms: int,
        more: Mapping[str, Any],
        *,
        outcomes: Mapping[str, str] | None = None,
        forget: bool = False,
    ) -> Standing:
        row = tx.take(Table.PROVISIONING, station=station.id)
        before = standing_from(row) if row is not None else _NEW
        wants = self.wanted_of(station)
        found = drift(wants, items, outcomes)
        differing = found if forget else carried(before.drift, found)
        told = outcomes or {}
        waits = REBOOT_REQUIRED in told.values() or (
            before.state is State.REBOOT_NEEDED and (station.boot_ms or 0) <= (before.written_ms or 0)
        )
        state = judge(differing, waits_for_reboot=waits) if wants else State.UNKNOWN
        values = {
            "station": station.id,
            "state": state.value,
            "drift": json.dumps([asdict(one) for one in differing], ensure_ascii=False),
            "detail": before.detail if waits else None,
            "updated_ms": now_ms,
            **more,
        }
        if "inventory_ms" in more:
            values["checked_ms"] = now_ms
        tx.save(Table.PROVISIONING, values)
        if differing and _differs(before.drift, differing):
            body = {"names": [one.name for one in differing]}
            tx.append([Fact("ConfigurationDrifted", now_ms, body, station=station.id)])
        after = tx.one(Table.PROVISIONING, station=station.id)
        assert after is not None
        return standing_from(after)

    async def _change(self, station_id: str, values: Mapping[str, Any]) -> None:
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> Standing:
            row = tx.take(Table.PROVISIONING, station=station_id)
            fresh = {"state": State.UNKNOWN.value} if row is None else {"state": row["state"]}
            tx.save(Table.PROVISIONING, {"station": station_id, **fresh, "updated_ms": now_ms, **values})
            after = tx.one(Table.PROVISIONING, station=station_id)
            assert after is not None
            return standing_from(after)

        self._remember(station_id, await self._store.transact(work))

    def _remember(self, station_id: str, standing: Standing) -> Standing:
        self._standings[station_id] = standing
        return standing


def _stands(rows: Mapping[tuple[str, str], Row], item: Item) -> bool:
    row = rows.get((item.name, item.attribute))
    return (
        row is not None
        and (row["value"], row["mutability"]) == (item.value, item.mutability)
        and json.loads(row["data"]) == item.data
    )


def _differs(before: Sequence[Drift], after: Sequence[Drift]) -> bool:
    """Whether it is news: outcomes aside."""
    return {(one.name, one.wanted, one.found) for one in before} != {(one.name, one.wanted, one.found) for one in after}


def is_idle(station: Station) -> bool:
    """No open session: configuration may be written and the charger restarted (OCPP.md 6.1)."""
    return not any(session.state in OPEN for session in station.sessions.values())


def nature_of(station: Station) -> Nature:
    """What templates match by."""
    return Nature(station.id, station.vendor, station.model, station.location_id, station.transport)


# -- rows


def template_from(row: Row) -> Template:
    """A stored template."""
    match = json.loads(row["match"])
    return Template(
        id=row["id"],
        wanted=json.loads(row["wanted"]),
        priority=row["priority"],
        transport=row["transport"],
        enabled=bool(row["enabled"]),
        **{name: match.get(name) for name in ("vendor", "model", "location_id", "charger_id")},
    )


def standing_from(row: Row) -> Standing:
    """A stored standing."""
    return Standing(
        state=State(row["state"]),
        drift=tuple(Drift(**one) for one in json.loads(row["drift"])),
        **{
            name: row[name]
            for name in (
                "detail", "inventory_ms", "inventory_firmware", "checked_ms", "template", "asked", "written_ms",
                "reset_ms",
            )
        },
    )  # fmt: skip


def items_of(tx: ReadTx, station_id: str) -> list[Item]:
    """What a charger last said of itself, by name."""
    return [
        Item(row["name"], row["value"], row["mutability"], row["attribute"], json.loads(row["data"]))
        for row in tx.many(Table.CONFIGURATION, order="name", station=station_id)
    ]


def keep_items(tx: Tx, station_id: str, items: Iterable[Item], at_ms: int, gone: Iterable[str] = ()) -> None:
    """Store what it said at `at_ms`; older news never covers newer. What is not told of an item stays as it was."""
    for item in items:
        row = tx.one(Table.CONFIGURATION, station=station_id, name=item.name, attribute=item.attribute)
        if row is None and item.mutability is None:
            row = _in_its_spelling(tx, station_id, item)
        if row is not None and row["seen_ms"] > at_ms:
            continue
        data = json.dumps({**(json.loads(row["data"]) if row else {}), **item.data}, ensure_ascii=False)
        mutability = item.mutability if item.mutability is not None or row is None else row["mutability"]
        tx.save(
            Table.CONFIGURATION,
            {
                "station": station_id, "name": row["name"] if row else item.name, "attribute": item.attribute,
                "value": item.value,
                "mutability": mutability, "data": data, "seen_ms": at_ms,
            },
        )  # fmt: skip
    for name in gone:
        row = tx.one(Table.CONFIGURATION, station=station_id, name=name)
        if row is not None and row["seen_ms"] <= at_ms:
            tx.drop(Table.CONFIGURATION, station=station_id, name=name)


def _in_its_spelling(tx: ReadTx, station_id: str, item: Item) -> Row | None:
    """The row of a name that was written in other letters than the charger's own: names have no case."""
    for row in tx.many(Table.CONFIGURATION, station=station_id, attribute=item.attribute):
        if row["name"].casefold() == item.name.casefold():
            return row
    return None
