"""What happened to an order, in past tense, so that it can be journalled and read back.

`kind` is stable for ever (it is what a journal holds); `body()` is plain JSON. A new member of a fact needs a
default, else old journals become unreadable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Final

from csms.domain.breakdown import Breakdown
from csms.domain.buyer import Buyer
from csms.domain.quote import Want
from csms.domain.stored import from_json, to_json
from csms.domain.tariff import Terms


class CollectedBy(StrEnum):
    """Who takes the buyer's money: we (BPP) or the buyer app (BAP)."""

    BPP = "BPP"
    BAP = "BAP"


class PaymentStatus(StrEnum):
    INITIATED = "INITIATED"
    PENDING = "PENDING"
    AUTHORIZED = "AUTHORIZED"
    CAPTURED = "CAPTURED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    VOIDED = "VOIDED"
    ADJUSTED = "ADJUSTED"
    REFUNDED = "REFUNDED"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"


GOOD_AS_PAID: Final = frozenset({PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED, PaymentStatus.COMPLETED})


class CancelledBy(StrEnum):
    """Who or what ended an order before it started. Only a buyer's cancelling and a no-show may cost a fee."""

    BUYER = "buyer"
    PROVIDER = "provider"
    NO_SHOW = "no-show"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """One payment, refund or top-up. `beneficiary` is BPP, BAP or BUYER; `txn_ref` the bank's reference."""

    payment_id: str
    status: PaymentStatus
    amount_minor: int
    beneficiary: str
    txn_ref: str | None = None
    paid_at_ms: int | None = None
    url: str | None = None
    methods: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)  # settlement accounts and the like, opaque

    @property
    def is_good(self) -> bool:
        """Held or paid: good enough to start charging on."""
        return self.status in GOOD_AS_PAID


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """The reserved time."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFact:
    """Something that happened to an order at `at_ms`."""

    kind: ClassVar[str]
    at_ms: int

    def body(self) -> dict[str, Any]:
        return to_json(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderQuoted(OrderFact):
    """A price was offered, the first one or another one for a changed selection."""

    kind: ClassVar[str] = "OrderQuoted"
    item_id: str
    station: str
    evse: int
    connector: int
    offer_id: str | None
    want: Want
    terms: Terms
    quote: Breakdown
    quoted_wh: int
    hold_minor: int
    expires_ms: int
    slot: Slot | None = None
    buyer: Buyer | None = None
    wire: Mapping[str, Any] = field(default_factory=dict)
    fleet_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyerClassed(OrderFact):
    """The buyer was found to belong to a fleet or a loyalty programme after the price was given."""

    kind: ClassVar[str] = "BuyerClassed"
    fleet_id: str
    terms: Terms
    quote: Breakdown
    quoted_wh: int
    hold_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteRenewed(OrderFact):
    """The same price was offered for longer."""

    kind: ClassVar[str] = "QuoteRenewed"
    terms: Terms
    quote: Breakdown
    quoted_wh: int
    hold_minor: int
    expires_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderInitialised(OrderFact):
    kind: ClassVar[str] = "OrderInitialised"
    order_number: str | None
    collected_by: CollectedBy
    payment: Payment | None
    buyer: Buyer | None = None
    wire: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRecorded(OrderFact):
    """Our payment provider says the money is held or here."""

    kind: ClassVar[str] = "PaymentRecorded"
    payment: Payment


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentFailed(OrderFact):
    kind: ClassVar[str] = "PaymentFailed"
    payment: Payment


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderConfirmed(OrderFact):
    kind: ClassVar[str] = "OrderConfirmed"
    payment: Payment | None
    token: str | None
    wire: Mapping[str, Any] = field(default_factory=dict)
    on_account: bool = False
    buyer: Buyer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargingRequested(OrderFact):
    kind: ClassVar[str] = "ChargingRequested"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargingStarted(OrderFact):
    kind: ClassVar[str] = "ChargingStarted"
    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargingNotStarted(OrderFact):
    """The charger refused or kept silent; the order stands as it did before."""

    kind: ClassVar[str] = "ChargingNotStarted"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequested(OrderFact):
    kind: ClassVar[str] = "StopRequested"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargingInterrupted(OrderFact):
    """Link or power is gone; `estimate` is the price of what is proven, where known."""

    kind: ClassVar[str] = "ChargingInterrupted"
    estimate: Breakdown | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargingResumed(OrderFact):
    kind: ClassVar[str] = "ChargingResumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargingEnded(OrderFact):
    kind: ClassVar[str] = "ChargingEnded"
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEstimated(OrderFact):
    """A provisional bill: shown and partly paid back, not final."""

    kind: ClassVar[str] = "OrderEstimated"
    breakdown: Breakdown
    delivered_wh: int
    minutes: int
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderBilled(OrderFact):
    kind: ClassVar[str] = "OrderBilled"
    breakdown: Breakdown
    delivered_wh: int
    minutes: int
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRevised(OrderFact):
    """Late data changed a bill that had been final."""

    kind: ClassVar[str] = "OrderRevised"
    breakdown: Breakdown
    delivered_wh: int
    minutes: int
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCancelled(OrderFact):
    """Ended before it started. `fee` is the price of that (no lines when free), `refund_minor` what goes back."""

    kind: ClassVar[str] = "OrderCancelled"
    by: CancelledBy
    reason: str
    fee: Breakdown
    refund_minor: int
    wire: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderExpired(OrderFact):
    """Nobody came back to it; nothing had been paid."""

    kind: ClassVar[str] = "OrderExpired"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFailed(OrderFact):
    """We gave up starting; everything paid goes back."""

    kind: ClassVar[str] = "OrderFailed"
    reason: str
    refund_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundMade(OrderFact):
    kind: ClassVar[str] = "RefundMade"
    payment: Payment


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUpRequested(OrderFact):
    kind: ClassVar[str] = "TopUpRequested"
    payment: Payment


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUpWithdrawn(OrderFact):
    """It is not asked for any more: the bill came down, another sum is asked for, or the debt was given up."""

    kind: ClassVar[str] = "TopUpWithdrawn"
    payment_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUpReceived(OrderFact):
    kind: ClassVar[str] = "TopUpReceived"
    payment: Payment


FACTS: Final[dict[str, type[OrderFact]]] = {
    fact.kind: fact
    for fact in (
        OrderQuoted,
        BuyerClassed,
        QuoteRenewed,
        OrderInitialised,
        PaymentRecorded,
        PaymentFailed,
        OrderConfirmed,
        ChargingRequested,
        ChargingStarted,
        ChargingNotStarted,
        StopRequested,
        ChargingInterrupted,
        ChargingResumed,
        ChargingEnded,
        OrderEstimated,
        OrderBilled,
        OrderRevised,
        OrderCancelled,
        OrderExpired,
        OrderFailed,
        RefundMade,
        TopUpRequested,
        TopUpWithdrawn,
        TopUpReceived,
    )
}


def order_fact(kind: str, body: Mapping[str, Any]) -> OrderFact:
    """A fact out of the journal. `ValueError` when it was not one of ours."""
    if kind not in FACTS:
        raise ValueError(f"{kind!r} is no fact of an order")
    return from_json(FACTS[kind], body)
