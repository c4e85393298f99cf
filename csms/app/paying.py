"""Moving the money that the ledger decided: captures, releases, refunds and top-ups, each exactly once.

A settlement posts its entries and, in the same transaction, queues what the gateway must do, under the entry's own
key. This worker does it, with retries; the key makes a second call a repeat, so a crash in between moves nothing twice.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from csms.app.cases import open_case
from csms.app.collecting import collection_of, expect, row_of_payment
from csms.app.orders import act, ledger_of, post, take_order
from csms.domain.ledger import EntryKind, LedgerEntry, outstanding, top_up_paid
from csms.domain.order import (
    AskTopUp,
    CollectedBy,
    Order,
    Payment,
    PaymentStatus,
    RefundDone,
    TopUpPaid,
    WithdrawTopUp,
)
from csms.domain.settlement import finder_retained, give_back_overpaid
from csms.ports import (
    Bell,
    Clock,
    Collection,
    Fact,
    GatewayRefused,
    Ids,
    PaymentRequest,
    Payments,
    ReadTx,
    Row,
    Store,
    Table,
    Tx,
)

log = structlog.get_logger()

_MOVES = {EntryKind.CAPTURE: "capture", EntryKind.RELEASE: "release", EntryKind.REFUND: "refund"}
_TURN = {"capture": 0, "release": 1, "refund": 2}
_RETRY_S = (1, 5, 30, 120, 600, 3600)
_SENT_EVERY_S = 600  # the gateway has it and says later; its webhook wakes us sooner
_IDLE_S = 2.0
_AT_ONCE = 8
_OPEN = ("waiting", "sent")
TOP_UP_LIFE_MS = 7 * 86_400_000  # a page that is opened later makes it payable anew


def queue_moves(tx: Tx, order: Order, entries: Iterable[LedgerEntry], now_ms: int) -> None:
    """What the gateway must do for these new entries. A buyer app that collected moves its own money."""
    if order.payment is None or order.collected_by is not CollectedBy.BPP:
        return
    for entry in entries:
        kind = _MOVES.get(entry.kind)
        amount_minor = -entry.amount_minor
        if kind is None or amount_minor <= 0:
            continue
        sources = [(order.payment.payment_id, amount_minor)]
        if kind == "refund":
            sources = _refund_sources(tx, order, amount_minor)
        for payment_id, part_minor in sources:
            is_first = payment_id == sources[0][0]
            tx.add(
                Table.PAYMENTS,
                {
                    "key": entry.idem_key if is_first else f"{entry.idem_key}:{payment_id}",
                    "payment_id": payment_id,
                    "order_id": order.order_id,
                    "kind": kind,
                    "status": "waiting",
                    "amount_minor": part_minor,
                    "at_ms": now_ms,
                    "next_ms": now_ms,
                    "data": json.dumps({"revision": entry.revision}),
                },
            )


def _refund_sources(tx: Tx, order: Order, amount_minor: int) -> list[tuple[str, int]]:
    """Which payments it goes back to: never more to one than came by it. The first payment first, then top-ups."""
    assert order.payment is not None
    moves = tx.many(Table.PAYMENTS, order_id=order.order_id, kind=("capture", "refund"))
    first = order.payment
    came = {first.payment_id: first.amount_minor if first.is_good else 0}  # to be paid afterwards: by top-ups only
    if first.status is PaymentStatus.AUTHORIZED:
        came[first.payment_id] = sum(move["amount_minor"] for move in moves if move["kind"] == "capture")
    came |= {
        row["payment_id"]: row["amount_minor"]
        for row in tx.many(Table.PAYMENTS, order_id=order.order_id, kind="topup", status="done")
    }
    for move in moves:
        if move["kind"] == "refund" and move["payment_id"] in came:
            came[move["payment_id"]] -= move["amount_minor"]
    sources: list[tuple[str, int]] = []
    left_minor = amount_minor
    for payment_id, room_minor in came.items():
        part_minor = min(left_minor, max(0, room_minor))
        if part_minor:
            sources.append((payment_id, part_minor))
            left_minor -= part_minor
    if left_minor:  # more than ever came: the gateway will refuse it, and a person hears of it
        return [(first.payment_id, amount_minor)]
    return sources


def ask_top_up(tx: Tx, order: Order, due_minor: int, payments: Payments, now_ms: int) -> Order:
    """Ask the buyer for what was delivered beyond what was collected."""
    payment_id = f"top-{order.order_id}-{order.revision}"
    request = None
    if order.collected_by is CollectedBy.BPP:
        request = PaymentRequest(
            payment_id=payment_id,
            order_id=order.order_id,
            amount_minor=due_minor,
            currency=order.quote.currency,
            hold=False,
            note=f"Charging {order.station}, energy beyond the order",
            expires_ms=now_ms + TOP_UP_LIFE_MS,
        )
        link = payments.link(request)
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
    if facts and request is not None:
        expect(tx, request, provider=payments.name, is_remote=payments.is_remote, now_ms=now_ms)
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


def settle_top_ups(tx: Tx, order: Order, due_minor: int, payments: Payments, now_ms: int) -> Order:
    """Exactly what is due is asked for, once: what was asked for before and is another sum is withdrawn."""
    if due_minor > 0 and any(top_up.amount_minor == due_minor for top_up in order.open_top_ups):
        return order
    order = withdraw_top_ups(tx, order, now_ms)
    return ask_top_up(tx, order, due_minor, payments, now_ms) if due_minor > 0 else order


def withdraw_top_ups(tx: Tx, order: Order, now_ms: int) -> Order:
    """Nothing of what is asked for is due any more. Whoever pays it all the same gets it back."""
    for top_up in order.open_top_ups:
        order, _ = act(tx, order, WithdrawTopUp(payment_id=top_up.payment_id), now_ms)
        tx.change(Table.PAYMENTS, {"status": "withdrawn"}, key=top_up.payment_id, status="asked")
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
    tx.change(Table.PAYMENTS, {"status": "done", "ref": reference}, key=payment.payment_id)
    back = give_back_overpaid(ledger_of(tx, order.order_id), order.order_id, ref=reference, at_ms=now_ms)
    queue_moves(tx, order, post(tx, back), now_ms)
    if order.final is not None:
        post(
            tx,
            finder_retained(ledger_of(tx, order.order_id), order.order_id, order.final, ref=reference, at_ms=now_ms),
        )
    done = Payment(
        payment_id=payment.payment_id,
        status=PaymentStatus.COMPLETED,
        amount_minor=payment.amount_minor,
        beneficiary=payment.beneficiary,
        txn_ref=reference,
        paid_at_ms=now_ms,
    )
    order, _ = act(tx, order, TopUpPaid(payment=done), now_ms)
    is_open = outstanding(ledger_of(tx, order.order_id)).due_minor > 0
    return order if is_open else withdraw_top_ups(tx, order, now_ms)


class Paying:
    """The worker that makes queued movements happen. `count(kind, outcome)` counts what came of each attempt."""

    def __init__(
        self,
        *,
        store: Store,
        payments: Payments,
        clock: Clock,
        ids: Ids,
        bell: Bell,
        count: Callable[[str, str], None] = lambda _kind, _outcome: None,
    ) -> None:
        self._store = store
        self._payments = payments
        self._clock = clock
        self._ids = ids
        self._bell = bell
        self._count = count

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                did = await self.step()
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("payment.worker_failed")  # the store is in trouble; the rows are still waiting
                await asyncio.sleep(1)
                continue
            if not did:
                await self._bell.wait("payments", _IDLE_S)

    async def step(self) -> int:
        """Try everything that is due; how many there were. Movements of one payment go one after the other."""
        now_ms = self._clock.now_ms()
        rows = await self._store.read(
            lambda tx: tx.many(Table.PAYMENTS, order="next_ms", limit=100, before=now_ms + 1, status=_OPEN)
        )
        by_payment: dict[str, list[Row]] = {}
        for row in sorted(rows, key=lambda row: _TURN[row["kind"]]):
            by_payment.setdefault(row["payment_id"], []).append(row)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def of_one(moves: list[Row]) -> None:
            async with gate:
                for row in moves:
                    await self._move(row)

        await asyncio.gather(*(of_one(moves) for moves in by_payment.values()))
        return len(rows)

    async def _move(self, row: Row) -> None:
        call = {
            "capture": self._payments.capture,
            "release": self._payments.release,
            "refund": self._payments.refund,
        }[row["kind"]]
        of, must_wait, came_by = await self._store.read(
            lambda tx: (_collection(tx, row), _must_wait(tx, row), _provider(tx, row))
        )
        if must_wait:
            await self._later(row, _RETRY_S[1])
            return
        if came_by not in {None, self._payments.name}:  # ours would know nothing of it, or say "done" and move nothing
            self._count(row["kind"], "away")
            await self._failed(row, f"{row['payment_id']} is with {came_by}, and {self._payments.name} is configured")
            return
        try:
            moved = await call(of, row["amount_minor"], key_at_gateway(row))
        except asyncio.CancelledError:
            raise
        except GatewayRefused as refused:
            self._count(row["kind"], "refused")
            await self._refused(row, str(refused))
        except Exception as error:  # noqa: BLE001 - a gateway may fail in any way; the movement stays queued
            self._count(row["kind"], "away")
            await self._failed(row, str(error) or repr(error))
        else:
            self._count(row["kind"], "done" if moved.is_done else "sent")
            if moved.is_done:
                await self._done(row, moved.ref)
            else:
                await self._later(row, _SENT_EVERY_S, status="sent", ref=moved.ref)

    async def _done(self, row: Row, ref: str) -> None:
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> None:
            standing = tx.take(Table.PAYMENTS, key=row["key"])
            if standing is None or standing["status"] == "done":
                return
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

    async def _later(self, row: Row, pause_s: int, **values: Any) -> None:
        next_ms = self._clock.now_ms() + pause_s * 1000
        await self._store.transact(
            lambda tx: tx.change(Table.PAYMENTS, {"next_ms": next_ms, **values}, key=row["key"], status=_OPEN)
        )

    async def _refused(self, row: Row, why: str) -> None:
        """It would be refused again: it waits for a person, who may have it tried again."""
        now_ms = self._clock.now_ms()
        log.warning("payment.refused", kind=row["kind"], order_id=row["order_id"], why=why)

        def work(tx: Tx) -> None:
            tx.change(
                Table.PAYMENTS,
                {"status": "refused", "attempts": int(row["attempts"]) + 1, "at_ms": now_ms},
                key=row["key"],
                status=_OPEN,
            )
            open_case(
                tx,
                case_id=f"refused:{key_at_gateway(row)}",
                type_="PAYMENT_REFUSED",
                severity="money",
                text=f"The gateway refuses the {row['kind']} of {row['amount_minor']} paise on {row['payment_id']}: "
                f"{why}",
                now_ms=now_ms,
                order_id=row["order_id"],
            )

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


def _collection(tx: ReadTx, row: Row) -> Collection:
    """What the movement is about, as far as rows tell."""
    known = row_of_payment(tx, row["payment_id"])
    if known is not None:
        return collection_of(tx, known)
    return Collection(
        receipt=row["payment_id"],
        payment_id=row["payment_id"],
        amount_minor=row["amount_minor"],
        currency="",
        hold=row["kind"] != "refund",
    )


def _provider(tx: ReadTx, row: Row) -> str | None:
    """Whose gateway holds the money; None when no row says so."""
    known = row_of_payment(tx, row["payment_id"])
    return None if known is None else str(known["provider"])


def key_at_gateway(row: Row) -> str:
    """The movement's key, and a further one each time a person has it tried anew: what was refused moved nothing."""
    again = json.loads(row["data"]).get("again", 0)
    return f"{row['key']}#{again}" if again else str(row["key"])


def move_of(tx: Tx, key: str) -> Row | None:
    """The movement that `key_at_gateway` names."""
    return tx.take(Table.PAYMENTS, key=key) or tx.take(Table.PAYMENTS, key=re.sub(r"#\d+$", "", key))


def try_again(tx: Tx, row: Row, now_ms: int) -> None:
    """A person has mended why the gateway refused it."""
    data = json.loads(row["data"])
    values = {
        "status": "waiting",
        "next_ms": now_ms,
        "attempts": 0,
        "data": json.dumps(data | {"again": data.get("again", 0) + 1}),
    }
    tx.change(Table.PAYMENTS, values, key=row["key"], status="refused")


def _must_wait(tx: ReadTx, row: Row) -> bool:
    """Nothing goes back of a hold before what we keep of it was taken."""
    return row["kind"] != "capture" and bool(
        tx.count(Table.PAYMENTS, payment_id=row["payment_id"], kind="capture", status=_OPEN)
    )
