"""The line of messages to buyers: who is next within a conversation, and taking up again what was given up.

    waiting   the first of its conversation: it may be sent        done     the buyer's server took it
    behind    others of its conversation go first                  failed   it was given up

Only heads wait, so whoever delivers reads no more rows than it can send, however many stand behind them.
"""

from __future__ import annotations

from typing import Final

from csms.domain.refusal import Refusal, Why
from csms.ports import Row, Table, Tx

PUBLICATION: Final = "publish:"  # how the purpose of a catalog on its way to a catalogue service begins
PROGRESS: Final = "progress:"  # how the purpose of a message begins that a newer one replaces
WAITING: Final = "waiting"
BEHIND: Final = "behind"
UNSENT: Final = (WAITING, BEHIND)


def place(tx: Tx, bap_id: str, transaction_id: str) -> str:
    """The state of a message that joins the line of its conversation now."""
    before = tx.count(Table.OUTBOX, bap_id=bap_id, transaction_id=transaction_id, state=UNSENT)
    return BEHIND if before else WAITING


def move_up(tx: Tx, bap_id: str, transaction_id: str, now_ms: int) -> None:
    """Whoever is first in the line of a conversation may be sent."""
    first = tx.many(Table.OUTBOX, order="no", limit=1, bap_id=bap_id, transaction_id=transaction_id, state=UNSENT)
    if first and first[0]["state"] == BEHIND:
        tx.change(Table.OUTBOX, {"state": WAITING, "next_ms": now_ms}, no=first[0]["no"])


def replace_progress(tx: Tx, order_id: str) -> None:
    """What was to be told of the progress of an order and is still here goes: something newer takes its place."""
    rows = tx.many(Table.OUTBOX, order_id=order_id, state=UNSENT)
    stale = [row["no"] for row in rows if str(row["purpose"]).startswith(PROGRESS)]
    if stale:
        tx.drop(Table.OUTBOX, no=stale)


def take_up(tx: Tx, no: int, now_ms: int) -> Row:
    """Send a message again that was given up, before everything younger of its conversation. Refusal when it was not.

    A message that was refused may be refused again: whoever asks for this has had the cause removed.
    """
    row = tx.take(Table.OUTBOX, no=no)
    if row is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no callback {no}.")
    if row["state"] in UNSENT:
        return row
    if row["state"] != "failed":
        raise Refusal(Why.WRONG_STATE, f"Callback {no} is {row['state']}: only one that was given up is sent again.")
    conversation = {"bap_id": row["bap_id"], "transaction_id": row["transaction_id"]}
    tx.change(Table.OUTBOX, {"state": BEHIND}, **conversation, state=WAITING)
    again = {"state": BEHIND, "attempts": 0, "next_ms": now_ms, "done_ms": None, "error": None}
    tx.change(Table.OUTBOX, again, no=no)
    move_up(tx, **conversation, now_ms=now_ms)
    found = tx.one(Table.OUTBOX, no=no)
    assert found is not None
    return found


def take_up_all(tx: Tx, bap_id: str, now_ms: int, limit: int) -> int:
    """`take_up` for what was given up of one buyer app, the oldest `limit` of it; how many."""
    rows = tx.many(Table.OUTBOX, order="no", limit=limit, state="failed", bap_id=bap_id)
    for row in rows:
        take_up(tx, row["no"], now_ms)
    return len(rows)
