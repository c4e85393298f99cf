"""What an operator does about debts: gives one up, with a reason, through the ledger (SESSIONS 5.9)."""

from __future__ import annotations

from csms.app.orders import ledger_of, post, take_order
from csms.app.paying import withdraw_top_ups
from csms.domain.ledger import EntryKind, forgiven
from csms.domain.refusal import Refusal, Why
from csms.ports import Fact, Table, Tx


def forgive(tx: Tx, order_id: str, *, reason: str, who: str, now_ms: int) -> int:
    """Give up what is due for an order; the paise given up. Refusal when nothing is due.

    The bill stays what it was. Should the driver pay all the same, it goes back to them.
    """
    order = take_order(tx, order_id)
    if order is None:
        raise Refusal(Why.UNKNOWN_ORDER, f"There is no order {order_id!r}.")
    new = post(tx, forgiven(ledger_of(tx, order_id), order_id, at_ms=now_ms))
    amount_minor = sum(entry.amount_minor for entry in new if entry.kind is EntryKind.FORGIVEN)
    if amount_minor <= 0:
        raise Refusal(Why.WRONG_STATE, f"Nothing is due for order {order_id!r}.")
    tx.change(Table.PAYMENTS, {"status": "forgiven"}, order_id=order_id, kind="topup", status="asked")
    withdraw_top_ups(tx, order, now_ms)
    body = {"amount_minor": amount_minor, "reason": reason, "who": who}
    tx.append([Fact("DebtForgiven", now_ms, body, station=order.station, order_id=order_id)])
    return amount_minor
