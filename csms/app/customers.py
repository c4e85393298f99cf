"""What chargers know of customers: asked for, collected, cleared (2.0.1 N09, N10).

ask ─▶ row `customer_requests` ─▶ CustomerInformation ─▶ answer ─▶ parts in `reports`, shown together
                                                            └─▶ cleared: fact CustomerCleared
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from csms.app.calls import CallAnswered
from csms.app.reports import Report, parts
from csms.domain.provisioning import is_whole
from csms.domain.refusal import Refusal, Why
from csms.ports import Clock, Fact, Ids, ReadTx, Row, Store, Table, Tx

KIND: Final = "NotifyCustomerInformation"


@dataclass(frozen=True, slots=True)
class CertificateHash:
    """A customer's certificate, by its hashes."""

    hash_algorithm: str
    issuer_name_hash: str
    issuer_key_hash: str
    serial_number: str


@dataclass(frozen=True, slots=True)
class CustomerWish:
    """What is wanted, and whom it is about: one of the last three."""

    report: bool
    clear: bool
    customer_identifier: str | None = None
    token: tuple[str, str] | None = None  # what it says, and its type
    certificate: CertificateHash | None = None


class Customers:
    """The use cases around `customer_requests`."""

    def __init__(self, *, store: Store, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids

    async def ask(self, station_id: str, wanted: dict[str, Any], who: str) -> Row:
        """Write the request down, before the charger hears of it; `asked` in the row is its payload."""
        now_ms, request_key = self._clock.now_ms(), self._ids.uuid()

        def work(tx: Tx) -> Row:
            request_id = tx.next_no("request")
            row = _row(request_key, station_id, {"requestId": request_id, **wanted}, now_ms)
            tx.add(Table.CUSTOMER_REQUESTS, row)
            told = {"request": request_key, "report": wanted["report"], "clear": wanted["clear"], "who": who}
            tx.append([Fact("CustomerAsked", now_ms, told, station_id)])
            return row

        return await self._store.transact(work)

    async def answered(self, request_key: str, status: str) -> None:
        """The charger's answer: Accepted, Rejected, Invalid, or an error's code."""
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> None:
            row = tx.take(Table.CUSTOMER_REQUESTS, id=request_key)
            if row is not None and row["state"] == "asked":
                _answer(tx, row, status, now_ms)

        await self._store.transact(work)

    async def on_answer(self, call: CallAnswered) -> None:
        """Reader of CustomerInformation: also what an operator sent by hand is collected and, cleared, made known."""
        status, request_key = str(call.response.get("status")), self._ids.uuid()

        def work(tx: Tx) -> None:
            where = {"station": call.station, "request_id": int(call.request["requestId"])}
            rows = tx.many(Table.CUSTOMER_REQUESTS, order="-created_ms", limit=1, **where)
            row = rows[0] if rows else None
            if row is None or (json.loads(row["asked"]) != call.request and row["created_ms"] < call.at_ms):
                row = _row(request_key, call.station, call.request, call.at_ms)
                tx.add(Table.CUSTOMER_REQUESTS, row)
            if row["state"] == "asked":
                _answer(tx, row, status, call.at_ms)

        await self._store.transact(work)

    async def on_part(self, report: Report) -> None:
        """Reader of NotifyCustomerInformation: with the last part, and all before it, the request is done."""

        def work(tx: Tx) -> None:
            where = {"station": report.station, "request_id": report.request_id}
            rows = tx.many(Table.CUSTOMER_REQUESTS, order="-created_ms", limit=1, **where)
            if rows and rows[0]["state"] in {"asked", "accepted"} and collected(tx, rows[0])[1]:
                changed = {"state": "done", "updated_ms": report.received_ms}
                tx.change(Table.CUSTOMER_REQUESTS, changed, id=rows[0]["id"])
                if rows[0]["state"] == "asked":  # the report was quicker than the answer
                    _cleared(tx, rows[0], report.received_ms)

        await self._store.transact(work)


def collected(tx: ReadTx, row: Row) -> tuple[str | None, bool]:
    """(the text of all parts that have come, whether that is everything). No part at all: (None, False)."""
    told = parts(tx, row["station"], KIND, row["request_id"])
    # An operator's own number may have been used before.
    found = [part for part in told if part.received_ms >= row["created_ms"]]
    if not found:
        return None, False
    text = "".join(str(part.body.get("data", "")) for part in found)
    return text, is_whole({part.seq_no: part.is_last for part in found})


def request_of(tx: ReadTx, station_id: str, request_key: str) -> Row:
    """The request's row. Refuses UNKNOWN_TARGET."""
    row = tx.one(Table.CUSTOMER_REQUESTS, id=request_key, station=station_id)
    if row is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no such request {request_key!r} at this charger.")
    return row


def _answer(tx: Tx, row: Row, status: str, now_ms: int) -> None:
    is_accepted = status == "Accepted"
    state = "refused"
    if is_accepted:
        state = "done" if collected(tx, row)[1] else "accepted"
        _cleared(tx, row, now_ms)
    changed = {"state": state, "status": status, "updated_ms": now_ms}
    tx.change(Table.CUSTOMER_REQUESTS, changed, id=row["id"])


def _cleared(tx: Tx, row: Row, now_ms: int) -> None:
    """Whoever keeps lists of customers at chargers looks into them (N10.FR.02)."""
    asked = json.loads(row["asked"])
    if not asked.get("clear"):
        return
    token = asked.get("idToken")
    told = {"request": row["id"], "token": token.get("idToken") if isinstance(token, dict) else None}
    tx.append([Fact("CustomerCleared", now_ms, told, row["station"])])


def _row(request_key: str, station_id: str, asked: dict[str, Any], now_ms: int) -> Row:
    return {
        "id": request_key,
        "station": station_id,
        "request_id": asked["requestId"],
        "state": "asked",
        "asked": json.dumps(asked),
        "status": None,
        "created_ms": now_ms,
        "updated_ms": now_ms,
    }
