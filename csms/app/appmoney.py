"""What a buyer's app that collects tells of money later on: a top-up paid, a refund carried out (BECKN 4.7, 4.10).

We trust its signature; what it says it took is a receivable, and what it says it gave back is written beside the order.
"""

from __future__ import annotations

from typing import Final

from csms.app.orders import act, ledger_of
from csms.app.paying import top_up_made
from csms.app.selling import Claim
from csms.domain.ledger import EntryKind
from csms.domain.order import CollectedBy, Order, Payment, PaymentStatus, RefundDone
from csms.domain.order_facts import GOOD_AS_PAID
from csms.domain.refusal import Refusal, Why
from csms.ports import Tx

_REFUNDED: Final = frozenset({PaymentStatus.REFUNDED, PaymentStatus.PARTIALLY_REFUNDED})


def told_by_app(tx: Tx, order: Order, claim: Claim | None, now_ms: int) -> Order:
    """Take note of a claim about a top-up or a refund; anything else changes nothing, and so does telling it twice.

    Where we collect, our gateway's word counts and the app's does not. Refusal(NOT_PAID) when the sum is another one.
    """
    status = status_of(claim)
    if claim is None or status is None or order.collected_by is not CollectedBy.BAP:
        return order
    if status in _REFUNDED:
        return _refunded(tx, order, claim, status, now_ms)
    return _topped_up(tx, order, claim, now_ms) if status in GOOD_AS_PAID else order


def status_of(claim: Claim | None) -> PaymentStatus | None:
    """The status claimed; None for none, and for a word nobody knows."""
    if claim is None or claim.status is None:
        return None
    try:
        return PaymentStatus(claim.status)
    except ValueError:
        return None


def _topped_up(tx: Tx, order: Order, claim: Claim, now_ms: int) -> Order:
    due = [top_up for top_up in order.top_ups if not top_up.is_good]
    found = next((top_up for top_up in due if top_up.payment_id == claim.payment_id), None)
    if found is None and claim.payment_id is None and len(due) == 1:
        found = due[0]
    if found is None:
        return order
    if claim.amount_minor is not None and claim.amount_minor != found.amount_minor:
        raise Refusal(Why.NOT_PAID, f"{claim.amount_minor} paise are claimed, {found.amount_minor} were asked")
    return top_up_made(tx, order, found, claim.txn_ref, now_ms)


def _refunded(tx: Tx, order: Order, claim: Claim, status: PaymentStatus, now_ms: int) -> Order:
    """The app gave back what the ledger says it must; more than that is its own affair and is not written here."""
    name = claim.txn_ref or claim.payment_id
    owed = -sum(posted.amount_minor for posted in ledger_of(tx, order.order_id) if posted.kind is EntryKind.BAP_REFUND)
    left = owed - sum(refund.amount_minor for refund in order.refunds)
    amount_minor = min(claim.amount_minor, left) if claim.amount_minor is not None else left
    if name is None or amount_minor <= 0:
        return order
    refund = Payment(
        payment_id=f"refund-{order.order_id}-{name}"[:120],
        status=status,
        amount_minor=amount_minor,
        beneficiary="BUYER",
        txn_ref=claim.txn_ref,
        paid_at_ms=claim.paid_at_ms or now_ms,
    )
    return act(tx, order, RefundDone(payment=refund), now_ms)[0]
