"""Orders and their ledger as rows, and the one way to change an order: decide, evolve, save, journal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from csms.domain.ledger import EntryKind, LedgerEntry
from csms.domain.order import Command, Order, OrderFact, decide, evolve
from csms.domain.stored import from_json, to_json
from csms.ports import Fact, ReadTx, Row, Table, Tx


def order_from(row: Row) -> Order:
    """A stored order."""
    return from_json(Order, json.loads(row["data"]))


def find_order(tx: ReadTx, order_id: str) -> Order | None:
    """By our id."""
    row = tx.one(Table.ORDERS, id=order_id)
    return order_from(row) if row is not None else None


def take_order(tx: Tx, order_id: str) -> Order | None:
    """By our id, locked."""
    row = tx.take(Table.ORDERS, id=order_id)
    return order_from(row) if row is not None else None


def act(tx: Tx, order: Order, command: Command, now_ms: int) -> tuple[Order, tuple[OrderFact, ...]]:
    """Let the order decide; save and journal what follows. Raises Refusal and changes nothing when it says no."""
    facts = decide(order, command, now_ms)
    if not facts:
        return order, ()
    changed = evolve(order, facts)
    save_order(tx, changed, now_ms)
    journal(tx, changed, facts)
    return changed, facts


def journal(tx: Tx, order: Order, facts: Iterable[OrderFact]) -> None:
    """Facts of an order into the journal."""
    tx.append(
        [Fact(fact.kind, fact.at_ms, fact.body(), station=order.station, order_id=order.order_id) for fact in facts]
    )


def save_order(tx: Tx, order: Order, now_ms: int) -> None:
    """Write the order over its row."""
    tx.change(Table.ORDERS, _columns(order, now_ms), id=order.order_id)


def touch_wire(tx: Tx, order: Order, now_ms: int, **wire: Any) -> Order:
    """Remember something about the conversation beside the order; nothing happened to the order itself."""
    changed = replace(order, wire={**order.wire, **wire})
    save_order(tx, changed, now_ms)
    return changed


def add_order(tx: Tx, order: Order, *, no: int, tracking: str, now_ms: int) -> bool:
    """Insert a new order; False when the conversation has one already."""
    row = {
        "id": order.order_id,
        "no": no,
        "network": order.network,
        "bap_id": order.bap_id,
        "transaction_id": order.transaction_id,
        "tracking": tracking,
        "created_ms": now_ms,
    }
    return tx.add(Table.ORDERS, row | _columns(order, now_ms))


def _columns(order: Order, now_ms: int) -> dict[str, Any]:
    return {
        "state": order.state.value,
        "version": order.version,
        "station": order.station,
        "evse": order.evse,
        "connector": order.connector,
        "session_id": order.session_id,
        "token": order.token,
        "payment_id": order.payment.payment_id if order.payment is not None else None,
        "expires_ms": order.quote_expires_ms,
        "fleet_id": order.fleet_id,
        "updated_ms": now_ms,
        "data": json.dumps(to_json(order), ensure_ascii=False, separators=(",", ":")),
    }


# --- the ledger


def ledger_of(tx: ReadTx, order_id: str) -> list[LedgerEntry]:
    """Every entry of an order, in the order in which they were posted."""
    return [entry_from(row) for row in tx.many(Table.LEDGER, order="no", order_id=order_id)]


def entry_from(row: Row) -> LedgerEntry:
    """A stored entry."""
    return LedgerEntry(
        order_id=row["order_id"],
        revision=row["revision"],
        kind=EntryKind(row["kind"]),
        amount_minor=row["amount_minor"],
        wh=row["wh"],
        idem_key=row["idem_key"],
        at_ms=row["at_ms"],
        ref=row["ref"],
    )


def post(tx: Tx, entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """Append entries; those whose key stands already are left out. Which ones were new."""
    new = []
    for entry in entries:
        row = {
            "order_id": entry.order_id,
            "revision": entry.revision,
            "kind": entry.kind.value,
            "account": entry.account.value,
            "amount_minor": entry.amount_minor,
            "wh": entry.wh,
            "idem_key": entry.idem_key,
            "ref": entry.ref,
            "at_ms": entry.at_ms,
        }
        if tx.add(Table.LEDGER, row):
            new.append(entry)
    return new
