"""One order from the first price to the last refund, whatever network it came from (BECKN 4.2).

    QUOTED -> INITIALISED -> PAID -> CONFIRMED -> STARTING -> ACTIVE -> STOPPING -> COMPLETED
       |          |           |         |  ^         |          | ^        ^
       +----------+-----------+---------+  +---------+          v |        |
       |          v           v                              INTERRUPTED --+-> COMPLETED
       v        CANCELLED (any of them), FAILED (from PAID to STARTING)
    EXPIRED (QUOTED, INITIALISED)

`decide` answers a command with facts, or with none when it is already so (told twice is not an error), or says
no with a `Refusal`. `evolve` applies facts by the table `TRANSITIONS`. A buyer app that collects goes from
INITIALISED straight to CONFIRMED. COMPLETED means that charging has ended; `final` is the bill, and None until
the meter data for it are complete. A stop asked for while STARTING or INTERRUPTED is kept in `stop_asked_at_ms`.
"""

from __future__ import annotations

from dataclasses import replace

from csms.domain import order_facts as f
from csms.domain.breakdown import Breakdown, Role
from csms.domain.order_commands import (
    AskStart,
    AskStop,
    AskTopUp,
    Begin,
    Bill,
    Cancel,
    Command,
    Confirm,
    End,
    Expire,
    Fail,
    Initialise,
    Interrupt,
    Reclass,
    RecordPayment,
    RefundDone,
    Renew,
    Requote,
    Resume,
    StartFailed,
    TopUpPaid,
    WithdrawTopUp,
)
from csms.domain.order_facts import CancelledBy, CollectedBy, OrderFact, Payment, PaymentStatus, Slot
from csms.domain.order_state import CLOSED, STARTED, TRANSITIONS, Order, S, State, evolve, quoted_fact
from csms.domain.quote import Want, WantKind
from csms.domain.refusal import Refusal, Why
from csms.domain.tariff import cancellation_bill
from csms.domain.units import from_minor

__all__ = [
    "TRANSITIONS",
    "AskStart",
    "AskStop",
    "AskTopUp",
    "Begin",
    "Bill",
    "Cancel",
    "CancelledBy",
    "CollectedBy",
    "Command",
    "Confirm",
    "End",
    "Expire",
    "Fail",
    "Initialise",
    "Interrupt",
    "Order",
    "OrderFact",
    "Payment",
    "PaymentStatus",
    "Reclass",
    "RecordPayment",
    "RefundDone",
    "Renew",
    "Requote",
    "Resume",
    "Slot",
    "StartFailed",
    "State",
    "TopUpPaid",
    "Want",
    "WantKind",
    "WithdrawTopUp",
    "decide",
    "evolve",
    "quoted_fact",
]

Facts = tuple[OrderFact, ...]


def decide(order: Order, command: Command, now_ms: int) -> Facts:
    """The facts that follow from `command`; none when it is already so. `Refusal` when the rules say no."""
    match command:
        case Requote():
            return _requote(order, command, now_ms)
        case Renew():
            return _renew(order, command, now_ms)
        case Reclass():
            return _reclass(order, command, now_ms)
        case Initialise():
            return _initialise(order, command, now_ms)
        case RecordPayment():
            return _record_payment(order, command, now_ms)
        case Confirm():
            return _confirm(order, command, now_ms)
        case AskStart():
            return _ask_start(order, now_ms)
        case AskStop():
            return _ask_stop(order, now_ms)
        case Cancel():
            return _cancel(order, command, now_ms)
        case Expire():
            return _expire(order, now_ms)
        case Fail():
            return _fail(order, command, now_ms)
        case Begin():
            return _begin(order, command)
        case StartFailed():
            return _start_failed(order, command, now_ms)
        case Interrupt():
            return _interrupt(order, command)
        case Resume():
            return _resume(order, command)
        case End():
            return _end(order, command)
        case Bill():
            return _bill(order, command, now_ms)
        case RefundDone():
            return _refund_done(order, command, now_ms)
        case AskTopUp():
            return _ask_top_up(order, command, now_ms)
        case WithdrawTopUp():
            return _withdraw_top_up(order, command, now_ms)
        case TopUpPaid():
            return _top_up_paid(order, command, now_ms)


# ---------------------------------------------------------------- price and payment


def _requote(order: Order, command: Requote, now_ms: int) -> Facts:
    if order.state not in (S.QUOTED, S.INITIALISED):
        raise _wrong_state(order, "select again")
    return (
        f.OrderQuoted(
            at_ms=now_ms,
            item_id=command.item_id,
            station=command.station,
            evse=command.evse,
            connector=command.connector,
            offer_id=command.offer_id,
            want=command.want,
            terms=command.terms,
            quote=command.quote,
            quoted_wh=command.quoted_wh,
            hold_minor=command.hold_minor,
            expires_ms=command.expires_ms,
            slot=command.slot,
            buyer=command.buyer,
            wire=command.wire,
            fleet_id=command.fleet_id,
        ),
    )


def _reclass(order: Order, command: Reclass, now_ms: int) -> Facts:
    if order.fleet_id == command.fleet_id:
        return ()
    if order.state not in (S.QUOTED, S.INITIALISED, S.PAID):
        raise _wrong_state(order, "be priced anew")
    return (
        f.BuyerClassed(
            at_ms=now_ms,
            fleet_id=command.fleet_id,
            terms=command.terms,
            quote=command.quote,
            quoted_wh=command.quoted_wh,
            hold_minor=command.hold_minor,
        ),
    )


def _renew(order: Order, command: Renew, now_ms: int) -> Facts:
    if order.state is S.PAID:
        return ()  # the price was paid in time and is honoured
    if order.state not in (S.QUOTED, S.INITIALISED):
        raise _wrong_state(order, "renew its quote")
    if command.quote.total != order.quote.total:
        raise Refusal(
            Why.QUOTE_EXPIRED,
            f"The quote of {order.quote.total} has expired; the price now is {command.quote.total}.",
        )
    return (
        f.QuoteRenewed(
            at_ms=now_ms,
            terms=command.terms,
            quote=command.quote,
            quoted_wh=command.quoted_wh,
            hold_minor=command.hold_minor,
            expires_ms=command.expires_ms,
        ),
    )


def _initialise(order: Order, command: Initialise, now_ms: int) -> Facts:
    if order.state is S.PAID:
        return ()
    if order.state not in (S.QUOTED, S.INITIALISED):
        raise _wrong_state(order, "be initialised")
    _refuse_expired(order, now_ms)
    fact = f.OrderInitialised(
        at_ms=now_ms,
        order_number=command.order_number or order.order_number,
        collected_by=command.collected_by,
        payment=command.payment,
        buyer=command.buyer,
        wire=command.wire,
    )
    changes = evolve(order, (fact,))
    before = (order.state, order.order_number, order.collected_by, order.payment, order.buyer, order.wire)
    after = (changes.state, changes.order_number, changes.collected_by, changes.payment, changes.buyer, changes.wire)
    return () if before == after else (fact,)


def _record_payment(order: Order, command: RecordPayment, now_ms: int) -> Facts:
    payment, known = command.payment, order.payment
    if order.collected_by is CollectedBy.BAP:
        raise Refusal(Why.WRONG_STATE, f"Order {order.order_id} is paid to the buyer app, not to us.")
    if order.state is S.QUOTED:
        raise _wrong_state(order, "be paid")
    if payment == known:
        return ()
    if known is not None and known.is_good and known.payment_id != payment.payment_id:
        if not payment.is_good:
            return ()
        raise Refusal(
            Why.WRONG_STATE,
            f"Order {order.order_id} is paid by {known.payment_id}; {payment.payment_id} has to go back.",
        )
    if not payment.is_good:
        return (f.PaymentFailed(at_ms=now_ms, payment=payment),) if order.state is S.INITIALISED else ()
    if payment.amount_minor < order.quote.total_minor:
        raise _not_paid(order, payment)
    return (f.PaymentRecorded(at_ms=now_ms, payment=payment),)


def _confirm(order: Order, command: Confirm, now_ms: int) -> Facts:
    if order.state in STARTED or order.state in (S.CONFIRMED, S.STARTING):
        return ()
    if order.state not in (S.INITIALISED, S.PAID):
        raise _wrong_state(order, "be confirmed")
    if not (order.collected_by is CollectedBy.BPP and order.is_paid):
        _refuse_expired(order, now_ms)
    payment = _proven(order, command)
    on_account = command.on_account and not (payment is not None and payment.is_good)
    if on_account and payment is not None:  # nobody pays it by a link any more
        amount_minor = order.quote.without(Role.BUFFER, Role.ROUNDING).total_minor
        payment = replace(payment, status=PaymentStatus.PENDING, amount_minor=amount_minor, url=None, methods=())
    return (
        f.OrderConfirmed(
            at_ms=now_ms,
            payment=payment,
            token=command.token,
            wire=command.wire,
            on_account=on_account,
            buyer=command.buyer,
        ),
    )


def _proven(order: Order, command: Confirm) -> Payment | None:
    """The payment the order stands on: our own record when we collect, the signed claim when the app does."""
    payment = command.evidence or order.payment if order.collected_by is CollectedBy.BAP else order.payment
    if payment is not None and payment.is_good:
        if payment.amount_minor < order.quote.total_minor:
            raise _not_paid(order, payment)
        return payment
    if command.allow_postpaid or command.on_account:
        return payment or order.payment
    raise Refusal(Why.NOT_PAID, f"Order {order.order_id} is not paid.")


# ---------------------------------------------------------------- asked for: start, stop, cancel, give up


def _ask_start(order: Order, now_ms: int) -> Facts:
    match order.state:
        case S.CONFIRMED:
            return (f.ChargingRequested(at_ms=now_ms),)
        case S.STARTING | S.ACTIVE | S.INTERRUPTED | S.STOPPING:
            return ()
        case _:
            raise Refusal(Why.NOT_STARTABLE, _sentence(order, "start charging"))


def _ask_stop(order: Order, now_ms: int) -> Facts:
    match order.state:
        case S.STARTING | S.ACTIVE:
            return (f.StopRequested(at_ms=now_ms),)
        case S.INTERRUPTED if order.stop_asked_at_ms is None:
            return (f.StopRequested(at_ms=now_ms),)
        case S.INTERRUPTED | S.STOPPING | S.COMPLETED:
            return ()
        case _:
            raise Refusal(Why.NOT_STOPPABLE, _sentence(order, "stop charging"))


def _cancel(order: Order, command: Cancel, now_ms: int) -> Facts:
    if order.state is S.CANCELLED:
        return ()
    if order.state not in (S.QUOTED, S.INITIALISED, S.PAID, S.CONFIRMED):
        raise Refusal(Why.NOT_CANCELLABLE, _sentence(order, "be cancelled"))
    fee = _cancellation_fee(order, command, now_ms)
    return (
        f.OrderCancelled(
            at_ms=now_ms,
            by=command.by,
            reason=command.reason,
            fee=fee,
            refund_minor=max(0, order.paid_minor - fee.total_minor),
            wire=command.wire,
        ),
    )


def _cancellation_fee(order: Order, command: Cancel, now_ms: int) -> Breakdown:
    free = Breakdown(currency=order.quote.currency, components=())
    if command.by is CancelledBy.PROVIDER or command.is_free or order.slot is None:
        return free
    free_until = order.slot.start_ms - order.terms.cancellation.free_minutes * 60_000
    if command.by is CancelledBy.BUYER and now_ms <= free_until:
        return free
    ordered = order.quote.without(Role.BUFFER).total
    # What its fleet promised is as good as money in hand: of it the fee stays on the account.
    at_most = ordered if order.on_account else from_minor(order.paid_minor)
    return cancellation_bill(order.terms, ordered, at_most)


def _expire(order: Order, now_ms: int) -> Facts:
    """Only what nobody paid for expires; a timer that fires before a renewed quote ends means nothing."""
    if order.state in (S.QUOTED, S.INITIALISED) and now_ms > order.quote_expires_ms:
        return (f.OrderExpired(at_ms=now_ms),)
    return ()


def _fail(order: Order, command: Fail, now_ms: int) -> Facts:
    match order.state:
        case S.PAID | S.CONFIRMED | S.STARTING:
            return (f.OrderFailed(at_ms=now_ms, reason=command.reason, refund_minor=order.paid_minor),)
        case S.FAILED:
            return ()
        case _:
            raise _wrong_state(order, "fail")


# ---------------------------------------------------------------- news from the charger


def _begin(order: Order, command: Begin) -> Facts:
    if order.session_id == command.session_id:
        return ()
    if order.state in (S.CONFIRMED, S.STARTING) or _is_stopping_unstarted(order):
        return (f.ChargingStarted(at_ms=command.at_ms, session_id=command.session_id),)
    raise _wrong_state(order, f"take session {command.session_id}")


def _start_failed(order: Order, command: StartFailed, now_ms: int) -> Facts:
    if order.state is S.CONFIRMED:
        return ()
    if order.state is S.STARTING or _is_stopping_unstarted(order):
        return (f.ChargingNotStarted(at_ms=now_ms, reason=command.reason),)
    raise _wrong_state(order, "fail to start")


def _is_stopping_unstarted(order: Order) -> bool:
    return order.state is S.STOPPING and order.session_id is None


def _interrupt(order: Order, command: Interrupt) -> Facts:
    _refuse_unstarted(order, "be interrupted")
    if order.state is S.COMPLETED:
        return ()
    if order.state is S.INTERRUPTED and command.estimate in (None, order.estimate):
        return ()
    return (f.ChargingInterrupted(at_ms=command.at_ms, estimate=command.estimate),)


def _resume(order: Order, command: Resume) -> Facts:
    _refuse_unstarted(order, "resume")
    if order.state is not S.INTERRUPTED:
        return ()
    resumed = f.ChargingResumed(at_ms=command.at_ms)
    if order.stop_asked_at_ms is None:
        return (resumed,)
    return (resumed, f.StopRequested(at_ms=command.at_ms))  # the wish to stop outlived the dark


def _end(order: Order, command: End) -> Facts:
    _refuse_unstarted(order, "end")
    if order.state is S.COMPLETED:
        return ()
    return (f.ChargingEnded(at_ms=command.at_ms, cause=command.cause),)


def _bill(order: Order, command: Bill, now_ms: int) -> Facts:
    """A repeated or older bill says nothing new; another one under a known revision is refused."""
    _refuse_unstarted(order, "be billed")
    last = order.final or order.estimate
    told = (command.breakdown, command.delivered_wh, command.minutes)
    if order.is_billed and (command.provisional or command.revision < order.revision):
        return ()
    if order.revision and command.revision <= order.revision:
        if told == (last, order.delivered_wh, order.duration_min) and command.provisional != order.is_billed:
            return ()
        raise Refusal(Why.WRONG_STATE, f"Order {order.order_id} has revision {order.revision} of its bill already.")
    kind: type[f.OrderEstimated | f.OrderBilled | f.OrderRevised]
    if command.provisional:
        kind = f.OrderEstimated
    elif order.state is not S.COMPLETED:
        raise _wrong_state(order, "be billed")
    else:
        kind = f.OrderRevised if order.is_billed else f.OrderBilled
    return (
        kind(
            at_ms=now_ms,
            breakdown=command.breakdown,
            delivered_wh=command.delivered_wh,
            minutes=command.minutes,
            revision=command.revision,
        ),
    )


# ---------------------------------------------------------------- money after the end


def _refund_done(order: Order, command: RefundDone, now_ms: int) -> Facts:
    if any(known.payment_id == command.payment.payment_id for known in order.refunds):
        return ()
    if order.state not in STARTED and order.state not in CLOSED:
        raise _wrong_state(order, "be refunded")
    return (f.RefundMade(at_ms=now_ms, payment=command.payment),)


def _ask_top_up(order: Order, command: AskTopUp, now_ms: int) -> Facts:
    if any(known.payment_id == command.payment.payment_id for known in order.top_ups):
        return ()
    if not order.is_billed:
        raise _wrong_state(order, "ask for more money")
    return (f.TopUpRequested(at_ms=now_ms, payment=command.payment),)


def _withdraw_top_up(order: Order, command: WithdrawTopUp, now_ms: int) -> Facts:
    if any(known.payment_id == command.payment_id for known in order.open_top_ups):
        return (f.TopUpWithdrawn(at_ms=now_ms, payment_id=command.payment_id),)
    return ()


def _top_up_paid(order: Order, command: TopUpPaid, now_ms: int) -> Facts:
    for known in order.top_ups:
        if known.payment_id == command.payment.payment_id:
            return () if known.is_good else (f.TopUpReceived(at_ms=now_ms, payment=command.payment),)
    raise Refusal(
        Why.WRONG_STATE,
        f"Order {order.order_id} has asked for no payment {command.payment.payment_id}.",
    )


# ---------------------------------------------------------------- saying no


def _sentence(order: Order, what: str) -> str:
    return f"Order {order.order_id} is {order.state} and cannot {what}."


def _wrong_state(order: Order, what: str) -> Refusal:
    return Refusal(Why.WRONG_STATE, _sentence(order, what))


def _not_paid(order: Order, payment: Payment) -> Refusal:
    return Refusal(
        Why.NOT_PAID,
        f"Payment {payment.payment_id} is {from_minor(payment.amount_minor)}, the order {order.quote.total}.",
    )


def _refuse_expired(order: Order, now_ms: int) -> None:
    if now_ms > order.quote_expires_ms:
        raise Refusal(Why.QUOTE_EXPIRED, f"The quote of order {order.order_id} has expired.")


def _refuse_unstarted(order: Order, what: str) -> None:
    if order.state not in STARTED or order.session_id is None:
        raise _wrong_state(order, what)
