"""What the gateway is asked to collect, as rows: one per payment, sum and manner (table `gateway_refs`)."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from csms.ports import Collection, PaymentRequest, ReadTx, Row, Table, Tx

# wanted -> made -> authorized -> captured -> closed; voided, refused, closed: nothing more is expected
LIVE: Final = ("wanted", "made", "authorized", "captured")
GOOD: Final = ("authorized", "captured", "voided", "closed")


def receipt_of(payment_id: str, amount_minor: int, *, hold: bool) -> str:
    """Our name for it at the gateway: 32 characters; the same wish gives the same one, so it is made there once."""
    wish = f"{payment_id}|{amount_minor}|{'hold' if hold else 'pay'}"
    return hashlib.blake2b(wish.encode(), digest_size=16).hexdigest()


def expect(tx: Tx, request: PaymentRequest, *, provider: str, is_remote: bool, now_ms: int) -> None:
    """This is to be collected. Asked again it lives longer; a gateway elsewhere is told by a worker, not from here."""
    receipt = receipt_of(request.payment_id, request.amount_minor, hold=request.hold)
    row = tx.take(Table.GATEWAY_REFS, receipt=receipt)
    first = {"state": "wanted", "next_ms": now_ms} if is_remote else {"state": "made", "next_ms": None}
    if row is not None:
        values: dict[str, Any] = {"expires_ms": request.expires_ms, "updated_ms": now_ms}
        # An intent ends with the time it was made for.
        is_longer = row["state"] == "made" and request.expires_ms > row["expires_ms"]
        is_over = row["state"] == "refused" or (row["state"] == "closed" and not row["remote_payment_id"])
        if is_longer or is_over:
            values |= first | {"data": json.dumps(data_of(row) | {"upi_intent": ""})}
        tx.change(Table.GATEWAY_REFS, values, receipt=receipt)
        return
    tx.add(
        Table.GATEWAY_REFS,
        {
            "receipt": receipt,
            "no": tx.next_no("collection"),
            "payment_id": request.payment_id,
            "order_id": request.order_id,
            "provider": provider,
            "amount_minor": request.amount_minor,
            "currency": request.currency,
            "is_hold": int(request.hold),
            "expires_ms": request.expires_ms,
            "created_ms": now_ms,
            "updated_ms": now_ms,
            "data": json.dumps({"note": request.note}),
            **first,
        },
    )


def collection_of(tx: ReadTx, row: Row) -> Collection:
    """The row in the words of `ports.Payments`, with what our books take and give back of it."""
    moves = tx.many(Table.PAYMENTS, payment_id=row["payment_id"], kind=("capture", "release"))
    standing = [move for move in moves if move["status"] != "refused"]
    return Collection(
        receipt=row["receipt"],
        payment_id=row["payment_id"],
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        hold=bool(row["is_hold"]),
        note=json.loads(row["data"]).get("note", ""),
        expires_ms=row["expires_ms"],
        remote_id=row["remote_id"],
        remote_payment_id=row["remote_payment_id"],
        taken_minor=sum(move["amount_minor"] for move in standing if move["kind"] == "capture"),
        released_minor=sum(move["amount_minor"] for move in standing if move["kind"] == "release"),
    )


def row_of_payment(tx: ReadTx, payment_id: str) -> Row | None:
    """The row whose money is in our books; none such, the newest."""
    rows = tx.many(Table.GATEWAY_REFS, order="-no", payment_id=payment_id)
    paid = [row for row in rows if row["state"] in GOOD and row["remote_payment_id"]]
    return next(iter([*paid, *rows]), None)


def data_of(row: Row) -> dict[str, Any]:
    """What is kept beside the columns: note, upi_intent, hold_ends_ms, tries, error."""
    found: dict[str, Any] = json.loads(row["data"])
    return found
