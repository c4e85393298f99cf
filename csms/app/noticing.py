"""Events and monitors of chargers: rows, a case for what is grave, and the shadow of what they watch for us."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from csms.app.cases import open_case
from csms.domain.notices import DANGER, WORDS, Notice, needs_a_person, severity_of_event
from csms.ports import Fact, ReadTx, Row, Store, Table, Tx

OURS: Final = "csms"
REPORTED: Final = "reported"


@dataclass(frozen=True, slots=True)
class Monitor:
    """Something a 2.0.1 charger watches."""

    monitor_id: int
    name: str
    type: str
    value: str
    severity: int
    data: dict[str, Any] = field(default_factory=dict)  # component, variable, transaction


async def notice(store: Store, station_id: str, notices: Sequence[Notice], received_ms: int) -> None:
    """Keep events, open cases for the grave ones; each once, however often it is told."""
    await store.transact(lambda tx: _notice(tx, station_id, notices, received_ms))


def _notice(tx: Tx, station_id: str, notices: Iterable[Notice], received_ms: int) -> None:
    for told in notices:
        one = told if told.severity is not None else replace(told, severity=_severity(tx, station_id, told))
        assert one.severity is not None
        row: Row = {
            "no": tx.next_no("station-event"), "id": f"{station_id}|{one.id}", "station": station_id, "kind": one.kind,
            "name": one.name, "severity": one.severity, "value": one.value, "trigger": one.trigger,
            "cleared": int(one.is_cleared), "monitor_id": one.monitor_id, "at_ms": one.at_ms,
            "received_ms": received_ms, "data": json.dumps(one.data, ensure_ascii=False),
        }  # fmt: skip
        if not tx.add(Table.STATION_EVENTS, row):
            continue
        if one.kind == "security":
            body = {"type": one.name, "severity": one.severity, "info": one.value}
            tx.append([Fact("SecurityEvent", received_ms, body, station=station_id)])
        if needs_a_person(one.severity) and not one.is_cleared:
            _open(tx, station_id, one, row["no"], received_ms)


def _severity(tx: ReadTx, station_id: str, told: Notice) -> int:
    if told.monitor_id is not None:
        row = tx.one(Table.MONITORS, station=station_id, monitor_id=told.monitor_id)
        if row is not None:
            return int(row["severity"])
    return severity_of_event(told.name, told.value)


def _open(tx: Tx, station_id: str, one: Notice, number: int, now_ms: int) -> None:
    """One case per cause, as long as it is open: a charger that repeats itself makes no heap of them."""
    cause = f"{one.kind}:{station_id}:{one.name}:"
    if any(row["id"].startswith(cause) for row in tx.many(Table.CASES, station=station_id, state="open")):
        return
    said = f" ({one.value})" if one.value else ""
    text = f"The charger notified {one.name}{said}: {WORDS[one.severity or 0]}."
    severity = "danger" if one.severity == DANGER else "warning"
    case = {"case_id": f"{cause}{number}", "severity": severity, "text": text, "station": station_id}
    if one.kind == "security":
        open_case(tx, type_="SECURITY_EVENT", now_ms=now_ms, **case)
    else:
        open_case(tx, type_="STATION_EVENT", now_ms=now_ms, **case)


# -- monitors


async def keep_monitors(store: Store, station_id: str, monitors: Sequence[Monitor], origin: str, now_ms: int) -> None:
    """The charger watches these; what we set ourselves stays ours when it reports it."""
    await store.transact(lambda tx: _keep(tx, station_id, monitors, origin, now_ms))


def _keep(tx: Tx, station_id: str, monitors: Iterable[Monitor], origin: str, now_ms: int) -> None:
    for one in monitors:
        row = tx.one(Table.MONITORS, station=station_id, monitor_id=one.monitor_id)
        if row is not None and row["updated_ms"] > now_ms:
            continue
        tx.save(
            Table.MONITORS,
            {
                "station": station_id, "monitor_id": one.monitor_id, "name": one.name, "type": one.type,
                "value": one.value, "severity": one.severity,
                "origin": OURS if OURS in {origin, row["origin"] if row else origin} else REPORTED,
                "data": json.dumps(one.data, ensure_ascii=False), "updated_ms": now_ms,
            },
        )  # fmt: skip


async def only_monitors(store: Store, station_id: str, monitors: Sequence[Monitor], now_ms: int) -> None:
    """The charger reported all it watches: what it did not name is gone."""
    told = {one.monitor_id for one in monitors}

    def work(tx: Tx) -> None:
        _keep(tx, station_id, monitors, REPORTED, now_ms)
        for row in tx.many(Table.MONITORS, station=station_id):
            if row["monitor_id"] not in told:
                tx.drop(Table.MONITORS, station=station_id, monitor_id=row["monitor_id"])

    await store.transact(work)


async def drop_monitors(store: Store, station_id: str, ids: Sequence[int], at_ms: int) -> None:
    """It watches these no more."""

    def work(tx: Tx) -> None:
        for monitor_id in ids:
            row = tx.one(Table.MONITORS, station=station_id, monitor_id=monitor_id)
            if row is not None and row["updated_ms"] <= at_ms:
                tx.drop(Table.MONITORS, station=station_id, monitor_id=monitor_id)

    await store.transact(work)


async def drop_our_monitors(store: Store, station_id: str, at_ms: int) -> None:
    """Its monitoring base was set back: what we had set until then is gone (N05.FR.02, FR.03)."""
    rows = await store.read(lambda tx: tx.many(Table.MONITORS, station=station_id, origin=OURS))
    await drop_monitors(store, station_id, [row["monitor_id"] for row in rows], at_ms)
