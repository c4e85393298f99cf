"""What drivers do on the public pages: pay, top up, watch. Thin over the ordering use cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from csms.app.cases import open_case
from csms.app.ordering import Ordering
from csms.app.orders import order_from
from csms.app.paying import top_up_made
from csms.domain.order import CollectedBy, Order
from csms.domain.refusal import Refusal, Why
from csms.domain.units import from_minor
from csms.ports import Bell, Clock, ReadTx, Row, Store, Table, Tx


class Buying:
    """`edges.public.Buying`. `page` renders an order and its session as the tracking view."""

    def __init__(
        self,
        *,
        store: Store,
        ordering: Ordering,
        clock: Clock,
        bell: Bell,
        page: Callable[[Order, Row | None], Mapping[str, Any]],
    ) -> None:
        self._store = store
        self._ordering = ordering
        self._clock = clock
        self._bell = bell
        self._page = page

    async def tracked(self, token: str) -> Mapping[str, Any] | None:
        """The live view behind a tracking token."""

        def query(tx: ReadTx) -> Mapping[str, Any] | None:
            row = tx.one(Table.ORDERS, tracking=token)
            if row is None:
                return None
            session = tx.one(Table.SESSIONS, id=row["session_id"]) if row["session_id"] else None
            return self._page(order_from(row), session)

        return await self._store.read(query)

    async def payment(self, payment_id: str) -> Mapping[str, Any] | None:
        """What is asked for under this payment id: an order's payment or a top-up."""

        def query(tx: ReadTx) -> Mapping[str, Any] | None:
            found = _find(tx, payment_id)
            if found is None:
                return None
            order, is_top_up = found
            payment = (
                next((p for p in order.top_ups if p.payment_id == payment_id), None) if is_top_up else order.payment
            )
            if payment is None:
                return None
            return {
                "amount_minor": payment.amount_minor,
                "currency": order.quote.currency,
                "status": payment.status.value,
                "upi_intent": str(payment.details.get("upi_intent", "")),
            }

        return await self._store.read(query)

    async def payment_made(self, payment_id: str, *, held: bool, ref: str | None, amount_minor: int | None) -> None:
        """The gateway says the money is there. Told twice it changes nothing; raises Refusal."""
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> None:
            found = _find(tx, payment_id)
            if found is None:
                raise Refusal(Why.UNKNOWN_ORDER, "there is no such payment")
            order, is_top_up = found
            if not is_top_up:
                self._ordering.record_payment(tx, order, now_ms, held=held, ref=ref, amount_minor=amount_minor)
                return
            payment = next((p for p in order.top_ups if p.payment_id == payment_id), None)
            if payment is None:
                raise Refusal(Why.UNKNOWN_ORDER, "there is no such payment")
            if held:
                raise Refusal(Why.NOT_PAID, "a top-up is paid, not held: nobody would ever capture it")
            if amount_minor is not None and amount_minor != payment.amount_minor:
                raise Refusal(Why.NOT_PAID, f"{amount_minor} paise were paid, {payment.amount_minor} were asked")
            top_up_made(tx, order, payment, ref, now_ms)

        try:
            await self._store.transact(work)
        except Refusal as refusal:
            if amount_minor is not None:  # only a gateway's signed event names a sum: money came that has no place
                why, sum_minor = refusal.detail, amount_minor
                await self._store.transact(lambda tx: _unplaced(tx, payment_id, ref, sum_minor, why, now_ms))
            raise
        for topic in ("outbox", "payments"):
            self._bell.ring(topic)


def _unplaced(tx: Tx, payment_id: str, ref: str | None, amount_minor: int, why: str, now_ms: int) -> None:
    """Money that belongs to no payment we ask for (any more): a person gives it back or books it."""
    order = tx.one(Table.ORDERS, id=payment_id.removeprefix("pay-"))
    open_case(
        tx,
        case_id=f"unplaced:{payment_id}:{ref or ''}:{amount_minor}",
        type_="PAYMENT_UNPLACED",
        severity="money",
        order_id=order["id"] if order is not None else None,
        text=f"The gateway took {from_minor(amount_minor)} for {payment_id} (reference {ref}), but {why}.",
        now_ms=now_ms,
    )


def _find(tx: ReadTx, payment_id: str) -> tuple[Order, bool] | None:
    # Where the buyer app collects, the id is of its choosing and opens no page of ours.
    for row in tx.many(Table.ORDERS, payment_id=payment_id):
        order = order_from(row)
        if order.collected_by is CollectedBy.BPP:
            return order, False
    top_up = tx.one(Table.PAYMENTS, key=payment_id, kind="topup")
    found = tx.one(Table.ORDERS, id=top_up["order_id"]) if top_up is not None else None
    return (order_from(found), True) if found is not None else None
