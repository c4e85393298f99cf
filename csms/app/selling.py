"""The words of selling: who asks for what, what the operator chose, what must be known of the chargers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from csms.domain.buyer import Buyer
from csms.domain.quote import Want
from csms.domain.reported import SocketStatus
from csms.domain.tariff import CancellationPolicy, FinderFee, Pattern


class Sockets(Protocol):
    """What selling must know about the chargers right now."""

    def status(self, station: str, evse: int, connector: int) -> SocketStatus | None:
        """The last reported status; None when the charger never said."""
        ...

    def is_online(self, station: str) -> bool:
        """Whether the charger can be reached."""
        ...

    def connector_on_wire(self, station: str, evse: int, connector: int) -> int:
        """The connector number as this charger spells it (1.6 has one number for both)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Selling:
    """The operator's choices. `collect`: who takes the money; `negotiate` leaves it to the buyer's app (BECKN 0.1)."""

    pattern: Pattern
    absorb_cap_minor: int
    quote_life_ms: int
    currency: str
    default_energy_wh: int = 10_000
    lenient_order_ids: bool = True
    claims: bool = False  # the simulated gateway: a claim that names our reference is a payment
    grace_min: int = 10
    slot_default_ms: int = 60 * 60_000
    cancellation: CancellationPolicy = field(default_factory=CancellationPolicy)
    collect: Literal["negotiate", "bpp", "bap"] = "negotiate"
    postpaid: bool = False  # an order may be confirmed unpaid, and its bill is asked for afterwards


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks, in which conversation."""

    network: str
    bap_id: str
    bap_uri: str
    transaction_id: str
    domain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be priced."""

    item_id: str
    want: Want
    offer_id: str | None = None
    finder_fee: FinderFee | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    buyer: Buyer = field(default_factory=Buyer)
    wire: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the buyer's app says about money."""

    payment_id: str | None = None
    status: str | None = None
    amount_minor: int | None = None
    txn_ref: str | None = None
    paid_at_ms: int | None = None
    payer_vpa: str | None = None  # the address it was paid from
    details: Mapping[str, Any]
