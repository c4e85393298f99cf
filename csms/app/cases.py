"""What a person must look at. A case is opened once per cause and never closes itself."""

from __future__ import annotations

from typing import Any

from csms.ports import Fact, Row, Table, Tx


def open_case(
    tx: Tx,
    *,
    case_id: str,
    type_: str,
    severity: str,
    text: str,
    now_ms: int,
    station: str | None = None,
    session_id: str | None = None,
    order_id: str | None = None,
) -> bool:
    """Open a case, unless one with this id stands already (ids of recurring causes are derived from the cause)."""
    newest = tx.many(Table.CASES, order="-no", limit=1)
    row: dict[str, Any] = {
        "id": case_id,
        "no": (newest[0]["no"] if newest else 0) + 1,
        "type": type_,
        "severity": severity,
        "state": "open",
        "station": station,
        "session_id": session_id,
        "order_id": order_id,
        "text": text,
        "opened_ms": now_ms,
    }
    if not tx.add(Table.CASES, row):
        return False
    body = {"case_id": case_id, "type": type_, "severity": severity, "text": text, "session_id": session_id}
    tx.append([Fact("CaseOpened", now_ms, body, station=station, order_id=order_id)])
    return True


def close_case(tx: Tx, row: Row, *, resolution: str, who: str, now_ms: int) -> Row:
    """Close an open case with what `who` found and did; the row as it is then."""
    changed = {"state": "resolved", "resolved_ms": now_ms, "resolution": resolution}
    tx.change(Table.CASES, changed, id=row["id"])
    body = {
        "case_id": row["id"],
        "type": row["type"],
        "resolution": resolution,
        "session_id": row["session_id"],
        "who": who,
    }
    tx.append([Fact("CaseResolved", now_ms, body, station=row["station"], order_id=row["order_id"])])
    return {**row, **changed}
