"""What a buyer's app can ask of us, in any dialect: frozen commands, made by a codec and carried out by the use cases.

A member that is None was not given. `wire` carries the parts of a request that callbacks repeat, already cleaned
so that repeating them never breaks the network's schema; only the codec that made it looks inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from beckn_adapter.discovery import Intent
from csms.domain.buyer import Buyer
from csms.domain.quote import Want
from csms.domain.tariff import FinderFee


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The time the buyer asked for. `end_ms` None: it gave only a start."""

    start_ms: int
    end_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discover:
    """Find connectors. `with_slots`: show when each is free, in `window` or in the coming day (generation 1)."""

    intent: Intent
    with_slots: bool = False
    window: Window | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentClaim:
    """What a buyer's app says about a payment. A claim, not a fact."""

    payment_id: str | None = None
    status: str | None = None
    beneficiary: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    txn_ref: str | None = None
    paid_at_ms: int | None = None
    accounts: tuple[Mapping[str, str], ...] = ()
    payer_vpa: str | None = None  # the address the buyer pays from (generation 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Select:
    """Price this. `want` OPEN: no quantity was given."""

    item_id: str
    want: Want
    buyer: Buyer
    offer_id: str | None = None
    finder_fee: FinderFee | None = None
    slot: Window | None = None
    wire: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Init:
    """Prepare the order. `order_id` is only there when the buyer's app makes the ids."""

    order_id: str | None
    item_id: str
    want: Want
    buyer: Buyer
    collected_by: str  # BPP or BAP
    payment: PaymentClaim | None = None
    offer_id: str | None = None
    finder_fee: FinderFee | None = None
    slot: Window | None = None
    wire: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """Make the order binding. `order_id` None: the transaction's only order is meant."""

    order_id: str | None
    item_id: str | None = None
    payment: PaymentClaim | None = None
    otp: str | None = None
    wire: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where does the order stand?"""

    order_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """Where can progress be watched? Either the tracking id or the order is named."""

    tracking_id: str | None
    order_id: str | None
    callback_url: str | None = None  # where progress is to be PATCHed (generation 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Start or stop: nothing in the message says which, the order's own state does (BECKN 4.8)."""

    order_id: str | None
    session_status: str | None = None
    order_status: str | None = None
    item_id: str | None = None
    otp: str | None = None
    payment: PaymentClaim | None = None

    @property
    def wants_stop(self) -> bool:
        """STOP, or COMPLETED as older apps say. Everything else starts what has not started, and else nothing."""
        return self.session_status in ("STOP", "COMPLETED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Give the order back."""

    order_id: str | None
    reason: str | None = None
    wire: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """One opinion."""

    target_id: str
    value: Decimal
    best: Decimal
    worst: Decimal
    category: str | None = None
    comments: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """Opinions, at least one."""

    ratings: tuple[Rated, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """Whom can I ask?"""

    ref_id: str
    ref_type: str
    contact: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the catalogue service made of one published catalog."""

    catalog_id: str
    status: str
    item_count: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogPublished:
    """The catalogue service's report."""

    results: tuple[Published, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingCategories:
    """What can be rated? (generation 1)"""


Command = (
    Discover
    | Select
    | Init
    | Confirm
    | Status
    | Track
    | Update
    | Cancel
    | Rating
    | Support
    | CatalogPublished
    | RatingCategories
)
