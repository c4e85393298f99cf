"""The order as it stands, and how facts change it: the table of BECKN 4.2 and `evolve`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from csms.domain import order_facts as f
from csms.domain.breakdown import Breakdown
from csms.domain.buyer import Buyer
from csms.domain.order_facts import CancelledBy, CollectedBy, OrderFact, Payment, PaymentStatus, Slot
from csms.domain.quote import Want
from csms.domain.tariff import Terms


class State(StrEnum):
    QUOTED = "QUOTED"
    INITIALISED = "INITIALISED"
    PAID = "PAID"
    CONFIRMED = "CONFIRMED"
    STARTING = "STARTING"
    ACTIVE = "ACTIVE"
    INTERRUPTED = "INTERRUPTED"
    STOPPING = "STOPPING"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"


S = State
STARTED: Final = frozenset({S.ACTIVE, S.INTERRUPTED, S.STOPPING, S.COMPLETED})
CLOSED: Final = frozenset({S.COMPLETED, S.CANCELLED, S.EXPIRED, S.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One connector, one wish, one price. Energy in Wh, money in paise, times in UTC ms.

    `terms` are the tariff as it was when quoted. `hold_minor` is what is to be collected or held before
    charging. `wire` holds parts of the request that are echoed as they came; nobody in the domain looks inside.
    `version` counts the facts and is the store's optimistic lock.
    """

    order_id: str
    network: str
    transaction_id: str
    bap_id: str
    bap_uri: str
    domain: str
    item_id: str
    station: str
    evse: int
    connector: int
    want: Want
    terms: Terms
    quote: Breakdown
    quoted_wh: int
    hold_minor: int
    quoted_at_ms: int
    quote_expires_ms: int
    state: State = State.QUOTED
    version: int = 0
    order_number: str | None = None
    offer_id: str | None = None
    slot: Slot | None = None
    buyer: Buyer = field(default_factory=Buyer)
    collected_by: CollectedBy = CollectedBy.BPP
    payment: Payment | None = None
    token: str | None = None
    session_id: str | None = None
    confirmed_at_ms: int | None = None
    start_asked_at_ms: int | None = None
    started_at_ms: int | None = None
    stop_asked_at_ms: int | None = None
    interrupted_at_ms: int | None = None
    ended_at_ms: int | None = None
    end_cause: str | None = None
    estimate: Breakdown | None = None
    final: Breakdown | None = None
    revision: int = 0
    delivered_wh: int | None = None
    duration_min: int | None = None
    refunds: tuple[Payment, ...] = ()
    top_ups: tuple[Payment, ...] = ()
    cancelled_at_ms: int | None = None
    cancelled_by: CancelledBy | None = None
    cancel_reason: str | None = None
    cancellation_fee: Breakdown | None = None
    failure: str | None = None
    wire: Mapping[str, Any] = field(default_factory=dict)
    fleet_id: str | None = None  # the fleet or loyalty programme whose price holds
    on_account: bool = False  # that fleet pays for it by the month

    @property
    def is_paid(self) -> bool:
        return self.payment is not None and self.payment.is_good

    @property
    def paid_minor(self) -> int:
        """What the buyer has paid or let us hold before charging."""
        return self.payment.amount_minor if self.payment is not None and self.payment.is_good else 0

    @property
    def open_top_ups(self) -> tuple[Payment, ...]:
        """What is asked for now; a withdrawn one that is paid all the same is booked, and goes back."""
        return tuple(top_up for top_up in self.top_ups if top_up.status is PaymentStatus.PENDING)

    @property
    def is_billed(self) -> bool:
        return self.final is not None


# ---------------------------------------------------------------- the table

_STAYS_WHEN_CLOSED: Final = (f.RefundMade, f.PaymentRecorded)

TRANSITIONS: Final[dict[tuple[State, type[OrderFact]], State]] = {
    (S.QUOTED, f.OrderQuoted): S.QUOTED,
    (S.QUOTED, f.QuoteRenewed): S.QUOTED,
    (S.QUOTED, f.BuyerClassed): S.QUOTED,
    (S.QUOTED, f.OrderInitialised): S.INITIALISED,
    (S.QUOTED, f.OrderCancelled): S.CANCELLED,
    (S.QUOTED, f.OrderExpired): S.EXPIRED,
    (S.INITIALISED, f.OrderQuoted): S.QUOTED,
    (S.INITIALISED, f.QuoteRenewed): S.INITIALISED,
    (S.INITIALISED, f.BuyerClassed): S.INITIALISED,
    (S.INITIALISED, f.OrderInitialised): S.INITIALISED,
    (S.INITIALISED, f.PaymentRecorded): S.PAID,
    (S.INITIALISED, f.PaymentFailed): S.INITIALISED,
    (S.INITIALISED, f.OrderConfirmed): S.CONFIRMED,
    (S.INITIALISED, f.OrderCancelled): S.CANCELLED,
    (S.INITIALISED, f.OrderExpired): S.EXPIRED,
    (S.PAID, f.PaymentRecorded): S.PAID,
    (S.PAID, f.BuyerClassed): S.PAID,
    (S.PAID, f.OrderConfirmed): S.CONFIRMED,
    (S.PAID, f.OrderCancelled): S.CANCELLED,
    (S.PAID, f.OrderFailed): S.FAILED,
    (S.CONFIRMED, f.PaymentRecorded): S.CONFIRMED,
    (S.CONFIRMED, f.ChargingRequested): S.STARTING,
    (S.CONFIRMED, f.ChargingStarted): S.ACTIVE,  # the driver's tag at the charger, without asking us first
    (S.CONFIRMED, f.OrderCancelled): S.CANCELLED,
    (S.CONFIRMED, f.OrderFailed): S.FAILED,
    (S.STARTING, f.PaymentRecorded): S.STARTING,
    (S.STARTING, f.ChargingStarted): S.ACTIVE,
    (S.STARTING, f.ChargingNotStarted): S.CONFIRMED,
    (S.STARTING, f.StopRequested): S.STOPPING,
    (S.STARTING, f.OrderFailed): S.FAILED,
    (S.ACTIVE, f.PaymentRecorded): S.ACTIVE,
    (S.ACTIVE, f.ChargingInterrupted): S.INTERRUPTED,
    (S.ACTIVE, f.StopRequested): S.STOPPING,
    (S.ACTIVE, f.ChargingEnded): S.COMPLETED,
    (S.ACTIVE, f.OrderEstimated): S.ACTIVE,
    (S.INTERRUPTED, f.PaymentRecorded): S.INTERRUPTED,
    (S.INTERRUPTED, f.ChargingInterrupted): S.INTERRUPTED,
    (S.INTERRUPTED, f.ChargingResumed): S.ACTIVE,
    (S.INTERRUPTED, f.StopRequested): S.INTERRUPTED,
    (S.INTERRUPTED, f.ChargingEnded): S.COMPLETED,
    (S.INTERRUPTED, f.OrderEstimated): S.INTERRUPTED,
    (S.STOPPING, f.PaymentRecorded): S.STOPPING,
    (S.STOPPING, f.ChargingStarted): S.STOPPING,  # it began after all; it is stopped at once
    (S.STOPPING, f.ChargingNotStarted): S.CONFIRMED,
    (S.STOPPING, f.ChargingInterrupted): S.INTERRUPTED,
    (S.STOPPING, f.ChargingEnded): S.COMPLETED,
    (S.STOPPING, f.OrderEstimated): S.STOPPING,
    (S.COMPLETED, f.OrderEstimated): S.COMPLETED,  # ended, its data incomplete
    (S.COMPLETED, f.OrderBilled): S.COMPLETED,
    (S.COMPLETED, f.OrderRevised): S.COMPLETED,
    (S.COMPLETED, f.TopUpRequested): S.COMPLETED,
    (S.COMPLETED, f.TopUpWithdrawn): S.COMPLETED,
    (S.COMPLETED, f.TopUpReceived): S.COMPLETED,
    **{(state, fact): state for state in CLOSED for fact in _STAYS_WHEN_CLOSED},
    # A power cut may pay back early, long before the order ends (SESSIONS 5.9).
    **{(state, f.RefundMade): state for state in (S.ACTIVE, S.INTERRUPTED, S.STOPPING)},
}


def quoted_fact(order: Order) -> f.OrderQuoted:
    """The fact a fresh order begins its journal with."""
    return f.OrderQuoted(
        at_ms=order.quoted_at_ms,
        item_id=order.item_id,
        station=order.station,
        evse=order.evse,
        connector=order.connector,
        offer_id=order.offer_id,
        want=order.want,
        terms=order.terms,
        quote=order.quote,
        quoted_wh=order.quoted_wh,
        hold_minor=order.hold_minor,
        expires_ms=order.quote_expires_ms,
        slot=order.slot,
        buyer=order.buyer,
        wire=order.wire,
        fleet_id=order.fleet_id,
    )


def evolve(order: Order, facts: Iterable[OrderFact]) -> Order:
    """`order` after `facts`. A fact the table does not know in its state is a bug: `ValueError`."""
    for fact in facts:
        state = TRANSITIONS.get((order.state, type(fact)))
        if state is None:
            raise ValueError(f"{fact.kind} cannot happen to order {order.order_id} in {order.state}")
        order = replace(_with(order, fact), state=state, version=order.version + 1)
    return order


def _with(order: Order, fact: OrderFact) -> Order:
    match fact:
        case f.OrderQuoted():
            return replace(
                _repriced(order, fact),
                item_id=fact.item_id,
                station=fact.station,
                evse=fact.evse,
                connector=fact.connector,
                offer_id=fact.offer_id,
                want=fact.want,
                slot=fact.slot,
                buyer=order.buyer.with_news(fact.buyer),
                wire={**order.wire, **fact.wire},
                payment=None,
                fleet_id=fact.fleet_id,
            )
        case f.BuyerClassed():
            return replace(
                order,
                fleet_id=fact.fleet_id,
                terms=fact.terms,
                quote=fact.quote,
                quoted_wh=fact.quoted_wh,
                hold_minor=fact.hold_minor,
            )
        case f.QuoteRenewed():
            return _repriced(order, fact)
        case f.OrderInitialised():
            return replace(
                order,
                order_number=fact.order_number or order.order_number,
                collected_by=fact.collected_by,
                payment=fact.payment,
                buyer=order.buyer.with_news(fact.buyer),
                wire={**order.wire, **fact.wire},
            )
        case f.PaymentRecorded() | f.PaymentFailed():
            return replace(order, payment=fact.payment)
        case f.OrderConfirmed():
            return replace(
                order,
                payment=fact.payment,
                token=fact.token,
                on_account=fact.on_account,
                buyer=order.buyer.with_news(fact.buyer),
                confirmed_at_ms=fact.at_ms,
                wire={**order.wire, **fact.wire},
            )
        case f.ChargingRequested():
            return replace(order, start_asked_at_ms=fact.at_ms)
        case f.ChargingStarted():
            return replace(order, session_id=fact.session_id, started_at_ms=fact.at_ms)
        case f.ChargingNotStarted():
            return replace(order, start_asked_at_ms=None, stop_asked_at_ms=None)
        case f.StopRequested():
            return replace(order, stop_asked_at_ms=order.stop_asked_at_ms or fact.at_ms)
        case f.ChargingInterrupted():
            since = order.interrupted_at_ms if order.state is S.INTERRUPTED else fact.at_ms
            return replace(order, interrupted_at_ms=since, estimate=fact.estimate or order.estimate)
        case f.ChargingResumed():
            return replace(order, interrupted_at_ms=None)
        case f.ChargingEnded():
            return replace(order, ended_at_ms=fact.at_ms, end_cause=fact.cause)
        case f.OrderEstimated():
            return replace(_metered(order, fact), estimate=fact.breakdown)
        case f.OrderBilled() | f.OrderRevised():
            return replace(_metered(order, fact), final=fact.breakdown, payment=_owed(order, fact.breakdown))
        case f.OrderCancelled():
            return replace(
                order,
                cancelled_at_ms=fact.at_ms,
                cancelled_by=fact.by,
                cancel_reason=fact.reason,
                cancellation_fee=fact.fee,
                wire={**order.wire, **fact.wire},
            )
        case f.OrderFailed():
            return replace(order, failure=fact.reason)
        case f.RefundMade():
            return replace(order, refunds=(*order.refunds, fact.payment))
        case f.TopUpRequested():
            return replace(order, top_ups=(*order.top_ups, fact.payment))
        case f.TopUpWithdrawn():
            return replace(
                order,
                top_ups=tuple(
                    replace(t, status=PaymentStatus.CANCELLED) if t.payment_id == fact.payment_id else t
                    for t in order.top_ups
                ),
            )
        case f.TopUpReceived():
            paid = fact.payment
            return replace(
                order,
                top_ups=tuple(paid if t.payment_id == paid.payment_id else t for t in order.top_ups),
            )
        case _:
            return order


def _owed(order: Order, final: Breakdown) -> Payment | None:
    """On account the payment follows the bill: nobody paid anything before."""
    if not order.on_account or order.payment is None:
        return order.payment
    return replace(order.payment, amount_minor=final.total_minor)


def _repriced(order: Order, fact: f.OrderQuoted | f.QuoteRenewed) -> Order:
    return replace(
        order,
        terms=fact.terms,
        quote=fact.quote,
        quoted_wh=fact.quoted_wh,
        hold_minor=fact.hold_minor,
        quoted_at_ms=fact.at_ms,
        quote_expires_ms=fact.expires_ms,
    )


def _metered(order: Order, fact: f.OrderEstimated | f.OrderBilled | f.OrderRevised) -> Order:
    return replace(order, revision=fact.revision, delivered_wh=fact.delivered_wh, duration_min=fact.minutes)
