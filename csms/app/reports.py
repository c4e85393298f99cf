"""What chargers report beside charging: stored as it came by the edge, understood here afterwards.

    Notify…, …StatusNotification ─▶ table `reports`, fact ReportStored ─▶ commit, answer ─▶ Reports ─▶ its readers

Nobody in the read loop understands a report; a reader may take its time, fail and be called again, so it must be
idempotent. The journal carries the key, not the body.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from csms.app.calls import read_safely
from csms.ports import Fact, ReadTx, Row, Store, Table


@dataclass(frozen=True, slots=True)
class Report:
    """One stored report. `is_last` is False while more parts of the same request are to come (2.0.1 `tbc`)."""

    station: str
    kind: str  # the OCPP action
    request_id: int
    seq_no: int
    generated_at: str
    is_last: bool
    received_ms: int
    body: dict[str, Any]


Reader = Callable[[Report], Awaitable[None]]


class Reports:
    """Follower of the journal that hands each report to the readers of its kind."""

    FOLLOWED: Final = frozenset({"ReportStored"})

    def __init__(self, store: Store) -> None:
        self._store = store
        self._readers: dict[str, list[Reader]] = {}

    def read(self, kind: str, reader: Reader) -> None:
        """Call `reader` for every stored report of this OCPP action, in the order in which they came."""
        self._readers.setdefault(kind, []).append(reader)

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """Hand them on; again after a crash."""
        for fact in facts:
            readers = self._readers.get(str(fact.body["report"]))
            if not readers or fact.station is None:
                continue
            report = await self._store.read(partial(_one, fact=fact))
            if report is None:
                continue  # dropped by retention since
            for reader in readers:
                await read_safely(reader, report, station=report.station, what=report.kind)


def stored_fact(station: str, at_ms: int, kind: str, key: Mapping[str, Any]) -> Fact:
    """A report has been stored; `key` is its place: request_id, seq_no, generated_at."""
    return Fact("ReportStored", at_ms, {"report": kind, **key}, station)


def parts(tx: ReadTx, station_id: str, kind: str, request_id: int) -> list[Report]:
    """Every part of a report that has come so far, by number; of one that came twice the last wording."""
    rows = tx.many(Table.REPORTS, order="received_ms", station=station_id, kind=kind, request_id=request_id)
    newest = {row["seq_no"]: row for row in rows}
    return [_report(newest[number]) for number in sorted(newest)]


def _one(tx: ReadTx, fact: Fact) -> Report | None:
    body = fact.body
    key = {"request_id": body["request_id"], "seq_no": body["seq_no"], "generated_at": body["generated_at"]}
    row = tx.one(Table.REPORTS, station=fact.station, kind=body["report"], **key)
    return _report(row) if row is not None else None


def _report(row: Row) -> Report:
    told = json.loads(row["body"])
    return Report(
        row["station"], row["kind"], row["request_id"], row["seq_no"], row["generated_at"],
        not told.get("tbc"), row["received_ms"], told,
    )  # fmt: skip
