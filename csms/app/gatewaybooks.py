"""The gateway's word and our books, within one transaction: what is taken in, what differs, what is looked at next.

What a webhook says and what the worker finds goes one way (`take_in`) and only forward: an older word about a payment
changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from csms.app.cases import open_case
from csms.app.collecting import data_of, row_of_payment
from csms.app.ordering import Ordering
from csms.app.orders import ledger_of, post, take_order
from csms.app.paying import TOP_UP_LIFE_MS, move_of
from csms.app.till import Till, find_payment
from csms.domain.ledger import hold_lost
from csms.domain.order import CancelledBy, PaymentStatus, State
from csms.domain.order_state import STARTED
from csms.domain.refusal import Refusal
from csms.domain.units import from_minor, rfc3339
from csms.ports import GatewayEvent, MoneyState, RefundNews, RemoteMoney, RemoteView, Row, Table, Tx

log = structlog.get_logger()

_GOOD = frozenset({MoneyState.AUTHORIZED, MoneyState.CAPTURED})
_DAY_MS = 86_400_000
_EVENT_OLD_MS = 2 * _DAY_MS  # gateways repeat an event for a day; what is older is asked about, not believed
_EVENT_AHEAD_MS = 300_000
_LATE_MS = _DAY_MS  # so long after its end a payment may still arrive there


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRules:
    """The operator's choices."""

    reconcile_ms: int = 60_000  # how soon a payment is looked at again; later ones ever more seldom
    reconcile_most_ms: int = 600_000
    hold_warn_ms: int = 6 * 3_600_000  # a hold that ends so soon under a running session is a case
    page_wait_s: float = 6.0


class GatewayBooks:
    """`count(what, outcome)` counts what was found out. Every method takes the transaction and may be run twice."""

    def __init__(
        self,
        *,
        provider: str,
        is_remote: bool,
        ordering: Ordering,
        rules: GatewayRules,
        count: Callable[[str, str], None],
    ) -> None:
        self._provider = provider
        self._is_remote = is_remote
        self._ordering = ordering
        self._rules = rules
        self._count = count
        self.till = Till(ordering)

    # -- events

    def on_event(self, tx: Tx, event: GatewayEvent, now_ms: int) -> str:
        kept = tx.take(Table.GATEWAY_EVENTS, provider=self._provider, event_id=event.event_id)
        if kept is None or kept["state"] != "waiting":
            return "known"
        row = self._row_of(tx, event)
        state, error = "ignored", None
        if row is not None and self._is_off(event, now_ms):
            error = "its time is too far from ours; the gateway is asked"
            tx.change(Table.GATEWAY_REFS, {"next_ms": now_ms}, receipt=row["receipt"])
        elif event.refund is not None:
            state, error = self._on_refund(tx, event.refund, row, now_ms)
        elif event.money is not None and row is not None:
            error = self.take_in(tx, row, event.money, now_ms)
            state = "done" if error is None else "refused"
        elif event.money is not None and event.money.state in _GOOD:
            error = "there is no such payment"
            name = event.payment_id or event.receipt or event.remote_id or "an unnamed payment"
            money = event.money
            self.till.unplaced(tx, name, money.remote_payment_id, money.amount_minor, error, now_ms)
            state = "refused"
        payment_id = row["payment_id"] if row is not None else event.payment_id
        values = {"state": state, "error": error, "payment_id": payment_id}
        tx.change(Table.GATEWAY_EVENTS, values, provider=self._provider, event_id=event.event_id)
        return state

    def _row_of(self, tx: Tx, event: GatewayEvent) -> Row | None:
        """By the surest name that is there."""
        if event.receipt is not None and (row := tx.take(Table.GATEWAY_REFS, receipt=event.receipt)):
            return row
        if event.remote_id is not None:
            found = tx.many(Table.GATEWAY_REFS, remote_id=event.remote_id, provider=self._provider)
            if found:
                return found[0]
        if event.refund is not None and event.refund.key is not None:
            moved = move_of(tx, event.refund.key)
            return row_of_payment(tx, moved["payment_id"]) if moved is not None else None
        return row_of_payment(tx, event.payment_id) if event.payment_id is not None else None

    @staticmethod
    def _is_off(event: GatewayEvent, now_ms: int) -> bool:
        return event.at_ms is not None and not -_EVENT_OLD_MS <= event.at_ms - now_ms <= _EVENT_AHEAD_MS

    def _on_refund(self, tx: Tx, news: RefundNews, row: Row | None, now_ms: int) -> tuple[str, str | None]:
        """Ours: the worker that asked for it finds it now. Of somebody else's hand: a case."""
        ours = move_of(tx, news.key) if news.key is not None else None
        if ours is None:
            why = f"the gateway gave back {from_minor(news.amount_minor)} (refund {news.ref}) that we did not ask for"
            self._differs(tx, row, f"refund:{news.ref}", why, now_ms)
            return "refused", why
        if ours["status"] in {"waiting", "sent"}:
            tx.change(Table.PAYMENTS, {"next_ms": now_ms}, key=ours["key"])
        elif ours["status"] == "done" and news.state == "failed":
            why = f"refund {news.ref} of {from_minor(news.amount_minor)} failed after it was done"
            self._differs(tx, row, f"refund:{news.ref}", why, now_ms)
            return "refused", why
        return "done", None

    def unreadable(self, tx: Tx, event: GatewayEvent, error: str, now_ms: int) -> None:
        tx.change(
            Table.GATEWAY_EVENTS, {"state": "refused", "error": error}, provider=self._provider, event_id=event.event_id
        )
        open_case(
            tx,
            case_id=f"gateway-event:{self._provider}:{event.event_id}",
            type_="GATEWAY_EVENT_UNREADABLE",
            severity="money",
            text=f"A signed event of the gateway {self._provider} cannot be understood: {error}. It is kept.",
            now_ms=now_ms,
        )

    # -- what is so at the gateway, into our books

    def take_in(self, tx: Tx, row: Row, money: RemoteMoney, now_ms: int) -> str | None:
        """One attempt to pay, as the gateway knows it now; what was wrong with it. Older news changes nothing."""
        if money.currency != row["currency"]:
            why = f"{money.amount_minor} {money.currency} are no {row['currency']}"
            self.till.unplaced(tx, row["payment_id"], money.remote_payment_id, money.amount_minor, why, now_ms)
            return why
        match money.state:
            case MoneyState.AUTHORIZED if not row["is_hold"]:
                self._to_be_captured(tx, row, money, now_ms)
            case MoneyState.AUTHORIZED | MoneyState.CAPTURED:
                return self._paid(tx, row, money, now_ms)
            case MoneyState.VOIDED if row["state"] == "authorized":
                # Of another hold on the same order (a driver who paid twice) the end is no news of this one.
                if row["remote_payment_id"] == money.remote_payment_id:
                    self._hold_ended(tx, row, money, now_ms)
            case MoneyState.FAILED if row["state"] in {"wanted", "made"}:
                self.till.failed(tx, row["payment_id"], now_ms)
                if self._is_remote and now_ms < row["expires_ms"]:
                    again = {"state": "wanted", "next_ms": now_ms}
                    self.change(tx, row, now_ms, again, error=money.reason, upi_intent="")
        return None

    def _to_be_captured(self, tx: Tx, row: Row, money: RemoteMoney, now_ms: int) -> None:
        """The gateway captures a payment by itself a moment later; where it does not, the worker does."""
        if row["state"] in {"wanted", "made"}:
            due_ms = now_ms + self._rules.reconcile_ms
            self.change(tx, row, now_ms, {"remote_payment_id": money.remote_payment_id, "next_ms": due_ms})

    def _paid(self, tx: Tx, row: Row, money: RemoteMoney, now_ms: int) -> str | None:
        is_captured = money.state is MoneyState.CAPTURED
        is_known = row["state"] in {"captured", "voided"} or (row["state"] == "authorized" and not is_captured)
        if is_known and row["remote_payment_id"] == money.remote_payment_id:
            return None
        try:
            self.till.paid(
                tx,
                row["payment_id"],
                held=not is_captured,
                ref=money.remote_payment_id,
                amount_minor=money.amount_minor,
                now_ms=now_ms,
            )
        except Refusal as refusal:
            why = refusal.detail
            self.till.unplaced(tx, row["payment_id"], money.remote_payment_id, money.amount_minor, why, now_ms)
            return why
        values: dict[str, Any] = {
            "state": money.state.value,
            "remote_payment_id": money.remote_payment_id,
            "next_ms": now_ms + (_DAY_MS if is_captured else self._rules.reconcile_ms),
        }
        self.change(tx, row, now_ms, values, hold_ends_ms=money.hold_ends_ms)
        return None

    def _hold_ended(self, tx: Tx, row: Row, money: RemoteMoney, now_ms: int) -> None:
        """Voided: by our release, or by time. An order that has not started on it is given up, one that has is billed
        without it."""
        self.change(tx, row, now_ms, {"state": "voided", "next_ms": None})
        if tx.count(Table.PAYMENTS, payment_id=row["payment_id"], kind=("capture", "release")):
            return  # what we asked for says itself what came of it
        order = take_order(tx, row["order_id"])
        open_case(
            tx,
            case_id=f"hold-lost:{row['receipt']}",
            type_="HOLD_LOST",
            severity="money",
            order_id=row["order_id"],
            text=f"The hold of {from_minor(money.amount_minor)} on {row['payment_id']} has ended at the gateway "
            "before anything was captured. What a session costs is asked for as a top-up.",
            now_ms=now_ms,
        )
        if order is not None and order.state in STARTED | {State.STARTING}:
            lost = hold_lost(ledger_of(tx, row["order_id"]), row["order_id"], ref=money.remote_payment_id, at_ms=now_ms)
            post(tx, lost)  # the bill finds no hold, and asks
        if order is not None and order.state in {State.PAID, State.CONFIRMED}:
            try:
                self._ordering.cancel(tx, order, "payment_hold_ended", CancelledBy.PROVIDER, now_ms, {})
            except Refusal as refusal:
                log.info("gateway.not_cancelled", order_id=order.order_id, why=refusal.detail)

    def change(self, tx: Tx, row: Row, now_ms: int, values: Mapping[str, Any], **data: Any) -> None:
        kept = data_of(row) | {name: value for name, value in data.items() if value is not None}
        kept.pop("tries", None)
        changed = {**values, "updated_ms": now_ms, "data": json.dumps(kept)}
        tx.change(Table.GATEWAY_REFS, changed, receipt=row["receipt"])
        row.update(changed)

    @staticmethod
    def _differs(tx: Tx, row: Row | None, cause: str, why: str, now_ms: int) -> None:
        about = f" for {row['payment_id']}" if row is not None else ""
        open_case(
            tx,
            case_id=f"gateway-differs:{row['receipt'] if row is not None else ''}:{cause}",
            type_="GATEWAY_DIFFERS",
            severity="money",
            order_id=row["order_id"] if row is not None else None,
            text=f"The gateway's books{about} differ from ours: {why}.",
            now_ms=now_ms,
        )

    def found_there(self, tx: Tx, receipt: str, view: RemoteView | None, now_ms: int) -> None:
        row = tx.take(Table.GATEWAY_REFS, receipt=receipt)
        if row is None:
            return
        attempts = view.attempts if view is not None else ()
        before = row["state"]
        if view is not None and row["remote_id"] is None:
            self.change(tx, row, now_ms, {"remote_id": view.remote_id})
        for money in [one for one in attempts if one.state in _GOOD] or attempts[:1]:
            self.take_in(tx, row, money, now_ms)
        if row["state"] != before and self._is_remote:
            log.info("gateway.found", payment_id=row["payment_id"], before=before, after=row["state"])
            self._count("found", row["state"])
        self._check_hold(tx, row, now_ms)
        money_there = next((one for one in attempts if one.remote_payment_id == row["remote_payment_id"]), None)
        if row["state"] in {"authorized", "captured"} and money_there is None and self._is_remote:
            self._differs(tx, row, "gone", "it does not know the payment that is booked here", now_ms)
        is_even = row["state"] == "captured" and self._is_even(tx, row, money_there, now_ms)
        values = self._next(tx, row, now_ms, is_even=is_even)
        self.change(tx, row, now_ms, {**values, "checked_ms": now_ms})

    def _is_even(self, tx: Tx, row: Row, money: RemoteMoney | None, now_ms: int) -> bool:
        """Whether what was taken less what went back is the same there; a case when nothing is under way and not."""
        moves = [move for move in tx.many(Table.PAYMENTS, payment_id=row["payment_id"]) if move["kind"] != "topup"]
        order = take_order(tx, row["order_id"])
        if money is None or order is None or any(move["status"] in {"waiting", "sent"} for move in moves):
            return False
        done = [move for move in moves if move["status"] == "done"]
        sums = {kind: sum(m["amount_minor"] for m in done if m["kind"] == kind) for kind in ("capture", "refund")}
        payment = order.payment
        is_held = (
            payment is not None
            and payment.payment_id == row["payment_id"]
            and payment.status is PaymentStatus.AUTHORIZED
        )
        if is_held and not any(move["kind"] in {"capture", "release"} for move in moves):
            self._differs(tx, row, "captured", "it has captured a hold by itself that we have not asked for", now_ms)
            return False
        ours_minor = (sums["capture"] if is_held else row["amount_minor"]) - sums["refund"]
        theirs_minor = money.captured_minor - money.refunded_minor
        is_even = bool(ours_minor == theirs_minor)
        if not is_even:
            why = f"{from_minor(theirs_minor)} are left with it, {from_minor(ours_minor)} with us"
            self._differs(tx, row, f"sum:{theirs_minor}:{ours_minor}", why, now_ms)
        return is_even

    def _check_hold(self, tx: Tx, row: Row, now_ms: int) -> None:
        ends_ms = data_of(row).get("hold_ends_ms")
        if row["state"] != "authorized" or ends_ms is None or now_ms < ends_ms - self._rules.hold_warn_ms:
            return
        order = take_order(tx, row["order_id"])
        if order is not None and order.is_billed:
            return  # its capture is under way
        open_case(
            tx,
            case_id=f"hold-ends:{row['receipt']}",
            type_="HOLD_ENDS",
            severity="money",
            order_id=row["order_id"],
            text=f"The hold on {row['payment_id']} ends at {rfc3339(ends_ms)} and its order is not billed yet. "
            "What is not captured by then goes back to the driver.",
            now_ms=now_ms,
        )

    def _next(self, tx: Tx, row: Row, now_ms: int, *, is_even: bool) -> dict[str, Any]:
        """When it is looked at again, ever more seldom; when nothing more can come, never."""
        rules = self._rules
        if not self._is_remote:
            return {"next_ms": None}
        match row["state"]:
            case "captured":
                order = take_order(tx, row["order_id"])
                is_over = (
                    order is None or order.is_billed or order.state in {State.CANCELLED, State.EXPIRED, State.FAILED}
                )
                return {"state": "closed", "next_ms": None} if is_over and is_even else {"next_ms": now_ms + _DAY_MS}
            case "wanted" | "made" if now_ms > row["expires_ms"] + _LATE_MS:
                return {"state": "closed", "next_ms": None}
            case "wanted" if now_ms < row["expires_ms"]:
                return {"next_ms": now_ms}
            case "wanted" | "made" | "authorized":
                age_ms = now_ms - row["created_ms"]
                return {"next_ms": now_ms + max(rules.reconcile_ms, min(rules.reconcile_most_ms, age_ms // 4))}
            case _:
                return {"next_ms": None}

    def renewed(self, tx: Tx, payment_id: str, now_ms: int) -> Row | None:
        """A top-up is owed until it is paid, however late; an order's payment ends with its quotation."""
        row, found = row_of_payment(tx, payment_id), find_payment(tx, payment_id)
        if row is None or found is None or not found[2] or found[1] not in found[0].open_top_ups:
            return None
        if row["remote_payment_id"] is not None:
            return None  # money is on its way
        again = {"state": "wanted", "next_ms": now_ms, "expires_ms": now_ms + TOP_UP_LIFE_MS}
        self.change(tx, row, now_ms, again, upi_intent="")
        return row
