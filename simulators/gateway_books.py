"""The books of a simulated payment gateway: orders, payments that fulfil them, captures, refunds, events.

What a gateway of the common Indian kind keeps to, it keeps to: an order takes one good payment, a hold is captured
once and at most for what is held (the rest goes back at once), refunds never exceed what was captured, a hold nobody
captures is voided when its time is over. Amounts are paise, times seconds.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


class Refused(Exception):
    """The request is wrong: HTTP `status`, with a code and a sentence."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass
class Books:
    """`now` tells seconds; `tell(event, entities)` hears of everything that happens to a payment or refund."""

    now: Callable[[], float]
    tell: Callable[[str, dict[str, Json]], None]
    hold_life_s: float = 7 * 86_400
    auto_capture_after_s: float | None = None  # holds are captured whole so long after they were granted
    refunds_take_time: bool = False
    orders: dict[str, Json] = field(default_factory=dict)
    payments: dict[str, Json] = field(default_factory=dict)
    refunds: dict[str, Json] = field(default_factory=dict)

    # -- what the seller asks

    def new_order(self, said: Json) -> Json:
        """`{amount, currency, receipt, payment{capture}, notes}`. A receipt may be used twice, as at the real ones."""
        amount = _amount(said.get("amount"))
        receipt = str(said.get("receipt") or "")
        if len(receipt) > 40:
            raise Refused("receipt: the length must be no more than 40")
        capture = (said.get("payment") or {}).get("capture", "automatic")
        if capture not in {"automatic", "manual"}:
            raise Refused("payment.capture must be automatic or manual")
        order = {
            "id": _id("order"), "entity": "order", "amount": amount, "amount_paid": 0, "currency": said["currency"],
            "receipt": receipt, "status": "created", "capture": capture, "notes": said.get("notes") or [],
            "created_at": int(self.now()),
        }  # fmt: skip
        self.orders[order["id"]] = order
        return order

    def order(self, order_id: str) -> Json:
        return _known(self.orders, order_id)

    def payment(self, payment_id: str) -> Json:
        return _known(self.payments, payment_id)

    def payments_of(self, order_id: str) -> list[Json]:
        self.order(order_id)
        return [payment for payment in self.payments.values() if payment["order_id"] == order_id]

    def refunds_of(self, payment_id: str) -> list[Json]:
        self.payment(payment_id)
        return [refund for refund in self.refunds.values() if refund["payment_id"] == payment_id]

    def new_intent(self, said: Json) -> Json:
        """A payment that waits for a UPI app: `{order_id, amount, currency, upi{flow: intent}}`."""
        order = self.order(str(said.get("order_id")))
        if _amount(said.get("amount")) != order["amount"]:
            raise Refused("the amount is not the order's")
        if (said.get("upi") or {}).get("flow") != "intent":
            raise Refused("upi.flow must be intent")
        if order["status"] == "paid":
            raise Refused("the order is paid already")
        payment = self._new_payment(order)
        rupees = f"{order['amount'] // 100}.{order['amount'] % 100:02d}"
        link = f"upi://pay?pa=merchant@orderpay&pn=Merchant&am={rupees}&cu={order['currency']}&tr={payment['id'][4:]}"
        return {"payment_id": payment["id"], "link": link}

    def _new_payment(self, order: Json) -> Json:
        payment = {
            "id": _id("pay"), "entity": "payment", "order_id": order["id"], "amount": order["amount"],
            "currency": order["currency"], "status": "created", "method": "upi", "captured_amount": 0,
            "amount_refunded": 0, "authorized_until": None, "error_description": None, "notes": order["notes"],
            "created_at": int(self.now()), "_until": None, "_authorized": None,
        }  # fmt: skip
        self.payments[payment["id"]] = payment
        return payment

    def capture(self, payment_id: str, said: Json) -> Json:
        """Once, at most for what is held. The rest goes back."""
        payment = self.payment(payment_id)
        amount = _amount(said.get("amount"))
        if payment["status"] != "authorized":
            raise Refused(f"a payment that is {payment['status']} cannot be captured")
        if amount > payment["amount"]:
            raise Refused("the capture exceeds what is authorized")
        self._captured(payment, amount)
        return payment

    def _captured(self, payment: Json, amount: int) -> None:
        payment |= {"status": "captured", "captured_amount": amount}
        order = self.orders[payment["order_id"]]
        order |= {"status": "paid", "amount_paid": amount}
        self.tell("payment.captured", {"payment": payment})
        self.tell("order.paid", {"payment": payment, "order": order})

    def void(self, payment_id: str) -> Json:
        payment = self.payment(payment_id)
        if payment["status"] != "authorized":
            raise Refused(f"a payment that is {payment['status']} cannot be voided")
        payment["status"] = "voided"
        self.tell("payment.voided", {"payment": payment})
        return payment

    def refund(self, payment_id: str, said: Json) -> Json:
        payment = self.payment(payment_id)
        amount = _amount(said.get("amount"))
        if payment["status"] not in {"captured", "refunded"}:
            raise Refused(f"a payment that is {payment['status']} cannot be refunded")
        if amount > payment["captured_amount"] - payment["amount_refunded"]:
            raise Refused("the refund exceeds what was captured and not refunded")
        refund = {
            "id": _id("rfnd"), "entity": "refund", "payment_id": payment_id, "amount": amount,
            "currency": payment["currency"], "receipt": said.get("receipt"), "notes": said.get("notes") or [],
            "speed_requested": said.get("speed", "normal"), "status": "pending", "created_at": int(self.now()),
        }  # fmt: skip
        self.refunds[refund["id"]] = refund
        payment["amount_refunded"] += amount
        if payment["amount_refunded"] == payment["captured_amount"]:
            payment["status"] = "refunded"
        self.tell("refund.created", {"refund": refund, "payment": payment})
        if not self.refunds_take_time:
            self.settle_refund(refund)
        return refund

    def settle_refund(self, refund: Json, *, works: bool = True) -> None:
        """The bank has done it, or not."""
        payment = self.payments[refund["payment_id"]]
        refund["status"] = "processed" if works else "failed"
        if not works:
            payment["amount_refunded"] -= refund["amount"]
            payment["status"] = "captured"
        self.tell(f"refund.{refund['status']}", {"refund": refund, "payment": payment})

    # -- what drivers and time do

    def pay(self, receipt_or_id: str, *, works: bool = True) -> Json:
        """A driver pays an order, through its waiting intent when there is one."""
        order = self.find(receipt_or_id)
        waiting = [p for p in self.payments_of(order["id"]) if p["status"] == "created"]
        payment = waiting[0] if waiting else self._new_payment(order)
        is_taken = any(p["status"] in {"authorized", "captured", "refunded"} for p in self.payments_of(order["id"]))
        if not works or is_taken:
            reason = "the order is paid already" if is_taken else "the bank declined the payment"
            payment |= {"status": "failed", "error_description": reason}
            self.tell("payment.failed", {"payment": payment})
            return payment
        order["status"] = "attempted"
        is_held = order["capture"] == "manual"
        payment["status"] = "authorized"
        payment["_authorized"] = self.now()
        if is_held:
            payment["_until"] = self.now() + self.hold_life_s
            payment["authorized_until"] = int(payment["_until"])
        self.tell("payment.authorized", {"payment": payment})
        if not is_held:
            self._captured(payment, payment["amount"])
        return payment

    def find(self, receipt_or_id: str) -> Json:
        """An order by its id, its receipt, or the payment id in its notes; the newest."""
        for order in reversed(self.orders.values()):
            notes = order["notes"] if isinstance(order["notes"], dict) else {}
            if receipt_or_id in {order["id"], order["receipt"], notes.get("payment_id")}:
                return order
        raise Refused(f"there is no order {receipt_or_id}", 404)

    def pass_time(self) -> None:
        """Holds whose time is over end; those that are captured by rule are."""
        now = self.now()
        for payment in list(self.payments.values()):
            if payment["status"] != "authorized":
                continue
            is_due = self.auto_capture_after_s is not None and payment["_authorized"] is not None
            if is_due and now >= payment["_authorized"] + (self.auto_capture_after_s or 0):
                self._captured(payment, payment["amount"])
            elif payment["_until"] is not None and now >= payment["_until"]:
                self.void(payment["id"])

    # -- sums, for witnesses

    def totals(self) -> dict[str, int]:
        """Paise captured, refunded, held."""
        payments = self.payments.values()
        return {
            "captured": sum(p["captured_amount"] for p in payments),
            "refunded": sum(r["amount"] for r in self.refunds.values() if r["status"] != "failed"),
            "held": sum(p["amount"] for p in payments if p["status"] == "authorized"),
        }


def shown(entity: Json) -> Json:
    """An entity without what is ours alone."""
    return {name: value for name, value in entity.items() if not name.startswith("_")}


def _amount(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise Refused("amount must be a whole number of paise above 0")
    return value


def _known(table: dict[str, Json], entity_id: str) -> Json:
    if entity_id not in table:
        raise Refused("the id provided does not exist", 404)
    return table[entity_id]


def _id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(7)}"
