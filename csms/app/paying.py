"""Moving the money that the ledger decided: captures, releases, refunds and top-ups, each exactly once.

A settlement posts its entries and, in the same transaction, queues what the gateway must do, under the entry's own
key. This worker does it, with retries; the key makes a second call a repeat, so a crash in between moves nothing twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import structlog

from csms.app.cases import open_case
from csms.app.orders import act, ledger_of, post, take_order
from csms.domain.ledger import EntryKind, LedgerEntry, top_up_paid
from csms.domain.order import AskTopUp, CollectedBy, Order, Payment, PaymentStatus, RefundDone, TopUpPaid
from csms.domain.settlement import give_back_overpaid
from csms.ports import Bell, Clock, Fact, Ids, PaymentRequest, Payments, Row, Store, Table, Tx

log = structlog.get_logger()

_MOVES = {EntryKind.CAPTURE: "capture", EntryKind.RELEASE: "release", EntryKind.REFUND: "refund"}
_RETRY_S = (1, 5, 30, 120, 600, 3600)
_IDLE_S = 2.0


def queue_moves(tx: Tx, order: Order, entries: Iterable[LedgerEntry], now_ms: int) -> None:
    """What the gateway must do for these new entries. A buyer app that collected moves its own money."""
    if order.payment is None or order.collected_by is not CollectedBy.BPP:
        return
    for entry in entries:
        kind = _MOVES.get(entry.kind)
        amount_minor = -entry.amount_minor
        if kind is None or amount_minor <= 0:
            continue
        tx.add(
            Table.PAYMENTS,
            {
                "key": entry.idem_key,
                "payment_id": order.payment.payment_id,
                "order_id": order.order_id,
                "kind": kind,
                "status": "waiting",
                "amount_minor": amount_minor,
                "at_ms": now_ms,
                "next_ms": now_ms,
                "data": json.dumps({"revision": entry.revision}),
            },
        )


def ask_top_up(tx: Tx, order: Order, due_minor: int, payments: Payments, now_ms: int) -> Order:
    """Ask the buyer for what was delivered beyond what was collected."""
    payment_id = f"top-{order.order_id}-{order.revision}"
    if order.collected_by is CollectedBy.BPP:
        link = payments.link(
            PaymentRequest(
                payment_id=payment_id,
                order_id=order.order_id,
                amount_minor=due_minor,
                currency=order.quote.currency,
                hold=False,
                note=f"Charging {order.station}, energy beyond the order",
                expires_ms=now_ms + 7 * 86_400_000,
            )
        )
        payment = Payment(
            payment_id=payment_id,
            status=PaymentStatus.PENDING,
            amount_minor=due_minor,
            beneficiary="BPP",
            txn_ref=link.txn_ref,
            url=link.url,
            methods=("UPI",),
            details={"upi_intent": link.upi_intent},
        )
    else:
        payment = Payment(
            payment_id=payment_id, status=PaymentStatus.PENDING, amount_minor=due_minor, beneficiary="BAP"
        )
    order, facts = act(tx, order, AskTopUp(payment=payment), now_ms)
    if facts:
        tx.add(
            Table.PAYMENTS,
            {
                "key": payment_id,
                "payment_id": payment_id,
                "order_id": order.order_id,
                "kind": "topup",
                "status": "asked",
                "amount_minor": due_minor,
                "at_ms": now_ms,
            },
        )
    return order


def top_up_made(tx: Tx, order: Order, payment: Payment, ref: str | None, now_ms: int) -> Order:
    """The buyer paid the top-up; what was not due any more goes back. Told twice it changes nothing."""
    if payment.status is PaymentStatus.COMPLETED:
        return order
    reference = ref or payment.txn_ref or payment.payment_id
    entries = top_up_paid(
        ledger_of(tx, order.order_id),
        order.order_id,
        amount_minor=payment.amount_minor,
        ref=reference,
        at_ms=now_ms,
        by_bap=order.collected_by is CollectedBy.BAP,
    )
    post(tx, entries)
    back = give_back_overpaid(ledger_of(tx, order.order_id), order.order_id, ref=reference, at_ms=now_ms)
    queue_moves(tx, order, post(tx, back), now_ms)
    tx.change(Table.PAYMENTS, {"status": "done", "ref": reference}, key=payment.payment_id)
    done = Payment(
        payment_id=payment.payment_id,
        status=PaymentStatus.COMPLETED,
        amount_minor=payment.amount_minor,
        beneficiary=payment.beneficiary,
        txn_ref=reference,
        paid_at_ms=now_ms,
    )
    order, _ = act(tx, order, TopUpPaid(payment=done), now_ms)
    return order


class Paying:
    """The worker that makes queued movements happen."""

    def __init__(self, *, store: Store, payments: Payments, clock: Clock, ids: Ids, bell: Bell) -> None:
        self._store = store
        self._payments = payments
        self._clock = clock
        self._ids = ids
        self._bell = bell

    async def run(self) -> None:
        """For ever."""
        while True:
            rows = await self._store.read(
                lambda tx: tx.many(Table.PAYMENTS, order="next_ms", limit=100, status="waiting")
            )
            now_ms = self._clock.now_ms()
            moved = 0
            for row in rows:
                if row["next_ms"] <= now_ms:
                    await self._move(row)
                    moved += 1
            if not moved:
                await self._bell.wait("payments", _IDLE_S)

    async def _move(self, row: Row) -> None:
        gateway = {
            "capture": self._payments.capture,
            "release": self._payments.release,
            "refund": self._payments.refund,
        }
        try:
            ref = await gateway[row["kind"]](row["payment_id"], row["amount_minor"], row["key"])
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a gateway may fail in any way; the movement stays queued
            await self._failed(row, repr(error))
            return
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> None:
            tx.change(Table.PAYMENTS, {"status": "done", "ref": ref, "at_ms": now_ms}, key=row["key"])
            moved = {"kind": row["kind"], "ref": ref, "amount_minor": row["amount_minor"]}
            tx.append([Fact("MoneyMoved", now_ms, moved, order_id=row["order_id"])])
            order = take_order(tx, row["order_id"])
            if order is None or row["kind"] != "refund":
                return
            everything = order.payment is not None and row["amount_minor"] >= order.payment.amount_minor
            refund = Payment(
                payment_id=f"refund-{row['key']}"[:120],
                status=PaymentStatus.REFUNDED if everything else PaymentStatus.PARTIALLY_REFUNDED,
                amount_minor=row["amount_minor"],
                beneficiary="BUYER",
                txn_ref=ref,
                paid_at_ms=now_ms,
            )
            act(tx, order, RefundDone(payment=refund), now_ms)

        await self._store.transact(work)

    async def _failed(self, row: Row, error: str) -> None:
        now_ms = self._clock.now_ms()
        attempts = int(row["attempts"]) + 1
        pause_s = _RETRY_S[min(attempts, len(_RETRY_S)) - 1]
        log.warning("payment.failed", kind=row["kind"], order_id=row["order_id"], attempts=attempts, error=error)

        def work(tx: Tx) -> None:
            values: dict[str, Any] = {"attempts": attempts, "next_ms": now_ms + pause_s * 1000}
            tx.change(Table.PAYMENTS, values, key=row["key"])
            if attempts == len(_RETRY_S):
                open_case(
                    tx,
                    case_id=f"payment:{row['key']}",
                    type_="PAYMENT_STUCK",
                    severity="money",
                    text=f"The {row['kind']} of {row['amount_minor']} paise keeps failing: {error}",
                    now_ms=now_ms,
                    order_id=row["order_id"],
                )

        await self._store.transact(work)
