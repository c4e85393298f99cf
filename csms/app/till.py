"""Where money that came through our gateway is booked: on an order, on a top-up, or before a person.

Every function takes the transaction. Told twice they change nothing; money that has no place raises Refusal and is
then shown to a person as a case, because nobody but a person can say whose it is.
"""

from __future__ import annotations

from dataclasses import replace

from csms.app.cases import open_case
from csms.app.ordering import Ordering
from csms.app.orders import act, order_from
from csms.app.paying import top_up_made
from csms.domain.order import CollectedBy, Order, Payment, PaymentStatus, RecordPayment, State
from csms.domain.refusal import Refusal, Why
from csms.domain.units import from_minor
from csms.ports import ReadTx, Table, Tx


class Till:
    """The seller's side of a gateway's news."""

    def __init__(self, ordering: Ordering) -> None:
        self._ordering = ordering

    def paid(
        self, tx: Tx, payment_id: str, *, held: bool, ref: str | None, amount_minor: int | None, now_ms: int
    ) -> None:
        """The money is there, or held. Raises Refusal when it has no place."""
        found = find_payment(tx, payment_id)
        if found is None:
            raise Refusal(Why.UNKNOWN_ORDER, "there is no such payment")
        order, payment, is_top_up = found
        if payment is None:
            raise Refusal(Why.UNKNOWN_ORDER, "there is no such payment any more")
        if payment.is_good and ref is not None and payment.txn_ref not in {None, ref}:
            raise Refusal(Why.WRONG_STATE, f"it was paid before, by {payment.txn_ref}")
        if not is_top_up:
            self._ordering.record_payment(tx, order, now_ms, held=held, ref=ref, amount_minor=amount_minor)
            return
        if held:
            raise Refusal(Why.NOT_PAID, "a top-up is paid, not held: nobody would ever capture it")
        if amount_minor is not None and amount_minor != payment.amount_minor:
            raise Refusal(Why.NOT_PAID, f"{amount_minor} paise were paid, {payment.amount_minor} were asked")
        top_up_made(tx, order, payment, ref, now_ms)

    @staticmethod
    def failed(tx: Tx, payment_id: str, now_ms: int) -> None:
        """An attempt to pay came to nothing. The driver may try again; what was paid stays paid."""
        found = find_payment(tx, payment_id)
        if found is None:
            return
        order, payment, is_top_up = found
        if is_top_up or payment is None or payment.is_good or order.state is not State.INITIALISED:
            return
        act(tx, order, RecordPayment(payment=replace(payment, status=PaymentStatus.FAILED)), now_ms)

    @staticmethod
    def unplaced(tx: Tx, payment_id: str, ref: str | None, amount_minor: int, why: str, now_ms: int) -> None:
        """Money that belongs to no payment we ask for (any more): a person gives it back or books it."""
        found = find_payment(tx, payment_id)
        order = tx.one(Table.ORDERS, id=payment_id.removeprefix("pay-")) if found is None else None
        order_id = found[0].order_id if found is not None else order["id"] if order is not None else None
        open_case(
            tx,
            case_id=f"unplaced:{payment_id}:{ref or ''}:{amount_minor}",
            type_="PAYMENT_UNPLACED",
            severity="money",
            order_id=order_id,
            text=f"The gateway took {from_minor(amount_minor)} for {payment_id} (reference {ref}), but {why}.",
            now_ms=now_ms,
        )


def find_payment(tx: ReadTx, payment_id: str) -> tuple[Order, Payment | None, bool] | None:
    """The order a payment of ours belongs to, the payment, and whether it is a top-up.

    Where the buyer app collects, the id is of its choosing and opens no page of ours.
    """
    for row in tx.many(Table.ORDERS, payment_id=payment_id):
        order = order_from(row)
        if order.collected_by is CollectedBy.BPP:
            return order, order.payment, False
    asked = tx.one(Table.PAYMENTS, key=payment_id, kind="topup")
    row_of = tx.one(Table.ORDERS, id=asked["order_id"]) if asked is not None else None
    if row_of is None:
        return None
    order = order_from(row_of)
    if order.collected_by is not CollectedBy.BPP:
        return None
    return order, next((p for p in order.top_ups if p.payment_id == payment_id), None), True
