"""An order and its money before charging: what is asked for at init, what is posted, what goes back."""

from __future__ import annotations

from csms.app import slots
from csms.app.appmoney import status_of
from csms.app.collecting import expect
from csms.app.orders import act, ledger_of, post, take_order
from csms.app.paying import queue_moves
from csms.app.selling import Claim
from csms.domain.breakdown import Breakdown, Role
from csms.domain.ledger import money_collected, money_collected_by_bap, money_held, order_placed, put_on_account
from csms.domain.order import Cancel, CancelledBy, CollectedBy, Fail, Order, Payment, PaymentStatus, State
from csms.domain.refusal import Refusal, Why
from csms.domain.settlement import Charge, settle_cancellation
from csms.domain.tariff import Pattern
from csms.domain.units import to_minor
from csms.ports import Fact, PaymentRequest, Payments, Table, Tx


def payment_asked(
    tx: Tx, order: Order, gateway: Payments, collected_by: CollectedBy, claim: Claim | None, now_ms: int
) -> Payment:
    """What is to be paid before charging: at our gateway, or to the buyer's app under its own number."""
    details = dict(claim.details) if claim is not None else {}
    if collected_by is CollectedBy.BAP:
        return Payment(
            payment_id=(claim.payment_id if claim is not None else None) or f"pay-{order.order_id}",
            status=PaymentStatus.INITIATED,
            amount_minor=order.hold_minor,
            beneficiary="BAP",
            details=details,
        )
    hold = order.terms.pattern is Pattern.HOLD
    request = PaymentRequest(
        payment_id=f"pay-{order.order_id}",
        order_id=order.order_id,
        amount_minor=order.hold_minor,
        currency=order.quote.currency,
        hold=hold,
        note=f"Charging {order.station}",
        expires_ms=order.quote_expires_ms,
    )
    link = gateway.link(request)
    if not order.is_paid:
        expect(tx, request, provider=gateway.name, is_remote=gateway.is_remote, now_ms=now_ms)
    return Payment(
        payment_id=request.payment_id,
        status=PaymentStatus.INITIATED,
        amount_minor=order.hold_minor,
        beneficiary="BPP",
        txn_ref=link.txn_ref,
        url=link.url,
        methods=("UPI",),
        details={**details, "upi_intent": link.upi_intent, "hold": hold},
    )


def evidence_of(order: Order, claim: Claim | None) -> Payment | None:
    """What the buyer's app claims about the order's payment."""
    status = status_of(claim)
    if claim is None or status is None:
        return None
    asked = order.payment
    return Payment(
        payment_id=claim.payment_id or (asked.payment_id if asked is not None else f"pay-{order.order_id}"),
        status=status,
        amount_minor=claim.amount_minor if claim.amount_minor is not None else order.hold_minor,
        beneficiary=order.collected_by.value,
        txn_ref=claim.txn_ref,
        paid_at_ms=claim.paid_at_ms,
        details={**(asked.details if asked is not None else {}), **claim.details},
    )


def post_payment(tx: Tx, order: Order, now_ms: int) -> None:
    """The payment the order stands on, into its ledger."""
    payment = order.payment
    if payment is None or not payment.is_good:
        return
    entries = ledger_of(tx, order.order_id)
    ref = payment.txn_ref or payment.payment_id
    if order.collected_by is CollectedBy.BAP:
        book = money_collected_by_bap
    elif payment.status is PaymentStatus.AUTHORIZED:
        book = money_held
    else:
        book = money_collected
    post(tx, book(entries, order.order_id, amount_minor=payment.amount_minor, ref=ref, at_ms=now_ms))


def post_order(tx: Tx, order: Order, now_ms: int) -> None:
    """The order as it was confirmed, and who stands for its price."""
    ordered_minor = to_minor(order.quote.without(Role.BUFFER, Role.ROUNDING).total)
    post(tx, order_placed(order.order_id, amount_minor=ordered_minor, energy_wh=order.quoted_wh, at_ms=now_ms))
    post_payment(tx, order, now_ms)
    if order.on_account and order.fleet_id is not None:
        promise = put_on_account(
            ledger_of(tx, order.order_id),
            order.order_id,
            amount_minor=ordered_minor,
            fleet_id=order.fleet_id,
            at_ms=now_ms,
        )
        post(tx, promise)


def fail(tx: Tx, order_id: str, why: str, now_ms: int) -> None:
    """An order that cannot be had any more: closed, and paid back if it was paid."""
    order = take_order(tx, order_id)
    if order is None or order.state is not State.PAID:
        return  # unpaid it simply runs out
    order, facts = act(tx, order, Fail(reason=why), now_ms)
    if facts:
        release(tx, order, now_ms)
        give_back(tx, order, now_ms)


def give_back(tx: Tx, order: Order, now_ms: int) -> None:
    """Settle an order that never charged: its fee is kept, everything else goes back."""
    fee = order.cancellation_fee or Breakdown(currency=order.quote.currency, components=())
    charge = Charge(order_id=order.order_id, revision=1, breakdown=fee, delivered_wh=0, at_ms=now_ms)
    queue_moves(tx, order, post(tx, settle_cancellation(ledger_of(tx, order.order_id), charge)), now_ms)


def release(tx: Tx, order: Order, now_ms: int) -> None:
    """The order is over before it began: its token opens nothing any more, its slot is free."""
    if order.token is not None:
        tx.change(Table.TOKENS, {"status": "Invalid", "updated_ms": now_ms}, uid_norm=order.token)
        tx.append([Fact("TokenChanged", now_ms, {"uid": order.token}, order_id=order.order_id)])
    slots.let_go(tx, order.order_id, "CANCELLED", now_ms)


def call_off(tx: Tx, order: Order, cancel: Cancel, now_ms: int) -> Order:
    """Cancel an order that does not charge yet: token and slot are free, what was paid beyond the fee goes back.

    Refusal(NOT_CANCELLABLE) once it charges.
    """
    before = order.state
    if before is State.CONFIRMED and tx.count(Table.SESSIONS, order_id=order.order_id):
        # Its session has begun; the order hears of it a moment later.
        raise Refusal(Why.NOT_CANCELLABLE, f"Order {order.order_id} is charging and cannot be cancelled.")
    order, facts = act(tx, order, cancel, now_ms)
    if not facts:
        return order
    release(tx, order, now_ms)
    if before in {State.PAID, State.CONFIRMED} or ledger_of(tx, order.order_id):
        give_back(tx, order, now_ms)
    return order


def withdraw(tx: Tx, order_id: str, *, reason: str, who: str, now_ms: int) -> Order:
    """An operator calls a sale off: everything goes back, whatever the terms say of the buyer's own cancelling."""
    order = take_order(tx, order_id)
    if order is None:
        raise Refusal(Why.UNKNOWN_ORDER, f"There is no order {order_id!r}.")
    withdrawn = call_off(tx, order, Cancel(reason=reason, by=CancelledBy.PROVIDER, wire={}), now_ms)
    if withdrawn.version != order.version:
        tx.append([Fact("OrderWithdrawn", now_ms, {"reason": reason, "who": who}, order.station, order_id=order_id)])
    return withdrawn
