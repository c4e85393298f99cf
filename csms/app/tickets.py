"""Questions of buyers, until somebody has answered them (BECKN 4.12), and those that a fault asks by itself (6.4).

One ticket per thing asked about and conversation: asking again finds the same one, and opens it again if it was closed.
Its id is unguessable, because the link with it shows the answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from csms.app.orders import find_order
from csms.domain.end_cause import EndCause, EndClass
from csms.domain.refusal import Refusal, Why
from csms.ports import Clock, Fact, Ids, ReadTx, Row, Store, Table, Tx

OPEN: Final = "open"
CLOSED: Final = "closed"
FAULT: Final = "fault"  # in `contact`: who asks is not a person


def ask(
    tx: Tx,
    *,
    ticket_id: str,
    bap_id: str,
    transaction_id: str,
    order_id: str | None,
    ref_id: str,
    ref_type: str,
    contact: Mapping[str, str],
    now_ms: int,
) -> Row:
    """The ticket for a question; a new one under `ticket_id` when it was not asked before."""
    key = {"bap_id": bap_id, "transaction_id": transaction_id, "ref_id": ref_id[:255]}
    standing = tx.take(Table.TICKETS, **key)
    if standing is None:
        row = {
            **key,
            "id": ticket_id,
            "no": tx.next_no("ticket"),
            "order_id": order_id,
            "ref_type": ref_type,
            "contact": json.dumps(dict(contact), ensure_ascii=False),
            "state": OPEN,
            "opened_ms": now_ms,
        }
        tx.add(Table.TICKETS, row)
        tx.append([Fact("TicketOpened", now_ms, _told(row), order_id=order_id)])
        return {**row, "answer": None, "closed_ms": None}
    if standing["state"] == OPEN:
        return standing
    tx.change(Table.TICKETS, {"state": OPEN, "closed_ms": None}, id=standing["id"])
    tx.append([Fact("TicketOpened", now_ms, _told(standing), order_id=standing["order_id"])])
    return {**standing, "state": OPEN, "closed_ms": None}


def close(tx: Tx, ticket_no: int, answer: str, who: str, now_ms: int) -> Row:
    """Answer a question. Refusal when it is closed already with another answer."""
    row = found(tx, ticket_no)
    if row["state"] == CLOSED:
        if row["answer"] == answer:
            return row
        raise Refusal(Why.WRONG_STATE, f"Ticket {ticket_no} is closed already.")
    tx.change(Table.TICKETS, {"state": CLOSED, "answer": answer, "closed_ms": now_ms}, id=row["id"])
    tx.append([Fact("TicketClosed", now_ms, {**_told(row), "who": who}, order_id=row["order_id"])])
    return found(tx, ticket_no)


def found(tx: ReadTx, ticket_no: int) -> Row:
    """A ticket by its number. Refusal(UNKNOWN_TARGET)."""
    if (row := tx.one(Table.TICKETS, no=ticket_no)) is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no ticket {ticket_no}.")
    return row


def _told(row: Row) -> dict[str, Any]:
    return {"ticket": row["no"], "bap_id": row["bap_id"], "ref_id": row["ref_id"]}


class FaultTickets:
    """Follower that asks in the driver's name when a fault ended the charging, or kept it from beginning."""

    FOLLOWED: Final = frozenset({"ChargingEnded", "OrderFailed"})

    def __init__(self, *, store: Store, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """A ticket per order that a fault ended."""
        for fact in facts:
            why = _fault_of(fact)
            if why is not None and fact.order_id is not None:
                await self._open(fact.order_id, why)

    async def _open(self, order_id: str, why: str) -> None:
        ticket_id, now_ms = self._ids.secret(), self._clock.now_ms()

        def work(tx: Tx) -> None:
            order = find_order(tx, order_id)
            if order is None:
                return
            key = {"bap_id": order.bap_id, "transaction_id": order.transaction_id, "ref_id": order_id}
            if tx.one(Table.TICKETS, **key) is not None:
                return  # told before, and perhaps answered
            ask(
                tx,
                ticket_id=ticket_id,
                order_id=order_id,
                ref_type="ORDER",
                contact={FAULT: why},
                now_ms=now_ms,
                **key,
            )

        await self._store.transact(work)


def _fault_of(fact: Fact) -> str | None:
    if fact.kind == "OrderFailed":
        return str(fact.body.get("reason") or "the order failed")
    try:
        cause = EndCause(str(fact.body.get("cause")))
    except ValueError:
        return None
    return f"charging ended: {cause.value}" if cause.end_class is EndClass.FAULT else None
