"""What was billed in a time, session by session: bills as they were stored, each as the difference to the one before.

Read in small transactions by the time of billing, so a month of a large network holds nothing up. Bills are never
changed, so reading goes on where it stopped as if nothing had happened meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from csms.domain.breakdown import Breakdown
from csms.domain.matching import token_norm
from csms.domain.statement import Bill, Billed, billed
from csms.domain.stored import from_json
from csms.ports import ReadTx, Row, Store, Table

_CHUNK: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Billing:
    """One billing of a session, and whose it is. `order` is the stored order's JSON, empty without one."""

    line: Billed
    session: Row
    order: dict[str, Any]
    fleet: str | None

    @property
    def bap_id(self) -> str | None:
        return self.order.get("bap_id")


async def billings(store: Store, from_ms: int, to_ms: int) -> AsyncIterator[Billing]:
    """Everything billed from `from_ms` (inclusive) to `to_ms` (exclusive), by time."""
    after_ms: int | None = from_ms - 1
    while after_ms is not None:
        begin_ms = after_ms
        found, after_ms = await store.read(lambda tx, begin_ms=begin_ms: _some(tx, begin_ms, to_ms))  # type: ignore[misc]
        for one in found:
            yield one


def _some(tx: ReadTx, after_ms: int, to_ms: int) -> tuple[list[Billing], int | None]:
    """The next bills behind `after_ms`, and where to go on. The last instant is read whole: several may share it."""
    rows = tx.many(Table.REVISIONS, order="at_ms", after=after_ms, before=to_ms, limit=_CHUNK)
    going_on = None
    if len(rows) == _CHUNK:
        going_on = rows[-1]["at_ms"]
        rows = [row for row in rows if row["at_ms"] < going_on] + tx.many(Table.REVISIONS, at_ms=going_on)
    final = [row for row in rows if not row["provisional"]]
    return list(_joined(tx, final)), going_on


def _joined(tx: ReadTx, rows: Sequence[Row]) -> Iterable[Billing]:
    if not rows:
        return
    numbers = sorted({row["session_no"] for row in rows})
    sessions = {row["no"]: row for row in tx.many(Table.SESSIONS, no=numbers)}
    orders = _orders(tx, sessions.values())
    fleets = _fleets(tx, sessions.values(), orders)
    earlier: dict[int, list[Row]] = {}
    for row in tx.many(Table.REVISIONS, session_no=numbers, provisional=0):
        earlier.setdefault(row["session_no"], []).append(row)
    for row in sorted(rows, key=lambda row: (row["at_ms"], row["session_no"], row["revision"])):
        session = sessions.get(row["session_no"])
        if session is None:
            continue
        before = [other for other in earlier[row["session_no"]] if other["revision"] < row["revision"]]
        last = max(before, key=lambda other: int(other["revision"]), default=None)
        yield Billing(
            line=billed(_bill(row), _bill(last) if last is not None else None),
            session=session,
            order=orders.get(session["order_id"], {}),
            fleet=fleets.get(session["no"]),
        )


def _orders(tx: ReadTx, sessions: Iterable[Row]) -> dict[str | None, dict[str, Any]]:
    ids = sorted({row["order_id"] for row in sessions if row["order_id"]})
    return {row["id"]: json.loads(row["data"]) for row in tx.many(Table.ORDERS, id=ids)} if ids else {}


def _fleets(tx: ReadTx, sessions: Iterable[Row], orders: dict[str | None, dict[str, Any]]) -> dict[int, str | None]:
    """By session: the fleet its order was sold to; without an order, the fleet that lists its token, else the group of
    a fleet's token. A loyalty programme is no fleet."""
    norms = {row["no"]: token_norm(row["token"]) for row in sessions if row["token"]}
    wanted = sorted({norm for norm in norms.values() if norm})
    tokens = {row["uid_norm"]: row for row in tx.many(Table.TOKENS, uid_norm=wanted, kind="fleet")} if wanted else {}
    known = {row["id"]: json.loads(row["data"]) for row in tx.many(Table.FLEETS)}
    programmes = {fleet_id for fleet_id, fleet in known.items() if fleet.get("kind") == "loyalty"}
    members = {
        token_norm(uid): fleet_id
        for fleet_id, fleet in known.items()
        if fleet_id not in programmes
        for uid in fleet.get("tokens") or ()
    }
    found: dict[int, str | None] = {}
    for row in sessions:
        norm = norms.get(row["no"])
        token = tokens.get(norm)
        if row["order_id"] is not None:
            fleet = orders.get(row["order_id"], {}).get("fleet_id")
        else:
            fleet = members.get(norm) or (token["group_id"] if token is not None else None) if norm else None
        found[row["no"]] = fleet if fleet not in programmes else None
    return found


def _bill(row: Row) -> Bill:
    return Bill(
        session_no=row["session_no"],
        revision=row["revision"],
        billed_ms=row["at_ms"],
        energy_wh=row["energy_wh"],
        breakdown=from_json(Breakdown, json.loads(row["breakdown"])) if row["breakdown"] else None,
    )
