"""What may be asked of an order, and the news that reach it from the charger and from the bank. Imperative."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from csms.domain.breakdown import Breakdown
from csms.domain.buyer import Buyer
from csms.domain.order_facts import CancelledBy, CollectedBy, Payment, Slot
from csms.domain.quote import Want
from csms.domain.tariff import Terms

# ---------------------------------------------------------------- commands, from the network


@dataclass(frozen=True, slots=True, kw_only=True)
class Requote:
    """Another selection, or the same one again: a new price. Undoes an init, never a payment."""

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
    fleet_id: str | None = None
    wire: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclass:
    """The buyer has proven to belong to a fleet or a programme: its price holds from now on, paid or not."""

    fleet_id: str
    terms: Terms
    quote: Breakdown
    quoted_wh: int
    hold_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """The quote ran out and was worked out again: it lives on only if the price is the same (BECKN 4.5)."""

    terms: Terms
    quote: Breakdown
    quoted_wh: int
    hold_minor: int
    expires_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialise:
    order_number: str | None = None
    collected_by: CollectedBy = CollectedBy.BPP
    payment: Payment | None = None
    buyer: Buyer | None = None
    wire: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPayment:
    """News from our own payment provider."""

    payment: Payment


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """`evidence` is what the buyer app claims; `token` the one-time tag that will start the session. `on_account`: the
    order's fleet pays by the month, so an order that nobody paid may be confirmed; `allow_postpaid`: the buyer may
    pay afterwards."""

    evidence: Payment | None = None
    token: str | None = None
    allow_postpaid: bool = False
    on_account: bool = False
    buyer: Buyer | None = None
    wire: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskStart:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class AskStop:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    reason: str
    by: CancelledBy = CancelledBy.BUYER
    is_free: bool = False  # no fee whatever the time: it could not have been used
    wire: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    """The time for the next step is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """We cannot deliver: the socket is broken, the start failed for good."""

    reason: str


# ---------------------------------------------------------------- commands, from the charger's side and from money


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    session_id: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFailed:
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupt:
    at_ms: int
    estimate: Breakdown | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    at_ms: int
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """The price of what was metered. `provisional` while the end is not proven."""

    breakdown: Breakdown
    delivered_wh: int
    minutes: int
    revision: int
    provisional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundDone:
    payment: Payment


@dataclass(frozen=True, slots=True, kw_only=True)
class AskTopUp:
    payment: Payment


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawTopUp:
    payment_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUpPaid:
    payment: Payment


Command = (
    Requote
    | Renew
    | Reclass
    | Initialise
    | RecordPayment
    | Confirm
    | AskStart
    | AskStop
    | Cancel
    | Expire
    | Fail
    | Begin
    | StartFailed
    | Interrupt
    | Resume
    | End
    | Bill
    | RefundDone
    | AskTopUp
    | WithdrawTopUp
    | TopUpPaid
)
