"""What a dialect must be able to do: read requests into commands, write orders into callbacks. Pure on both sides.

    bytes ─▶ envelope (context) ─▶ Codec.decode ─▶ commands ─▶ use cases ─▶ Order ─▶ Codec.on_… ─▶ outbox

A codec decides nothing: which message is due, and when, is `dispatch`'s and `notices`'s business, and the same in every
dialect. `reply` is the context of the callback, made by `envelope.reply_context` (an answer) or `Codec.news` (ours).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from beckn_adapter.catalog import ItemView, OfferView, ProviderView
from beckn_adapter.commands import Command
from beckn_adapter.envelope import Context
from beckn_adapter.errors import BecknError
from beckn_adapter.speaking import Aggregate, Contact, Json, Shown, Speaker
from csms.domain.order import Order, Payment


class Codec(Protocol):
    """One dialect, or one network's profile of it."""

    @property
    def network(self) -> str:
        """What an order remembers of it: `v2`, `v2-ubc`, `v1-uei` …"""
        ...

    @property
    def actions(self) -> frozenset[str]:
        """The requests it knows."""
        ...

    @property
    def speaker(self) -> Speaker:
        """Who we are there."""
        ...

    def decode(self, context: Context, body: Mapping[str, object], now_ms: int) -> Command:
        """The command in a request. Refusal(INVALID_REQUEST) names the member at fault."""
        ...

    def news(self, order: Order, action: str, message_id: str, now_ms: int) -> Json:
        """The context of a message about `order` that nobody asked for. `message_id` is fresh (BECKN 1.2)."""
        ...

    def on_discover(
        self, reply: Json, provider: ProviderView, items: Sequence[ItemView], offers: Sequence[OfferView]
    ) -> Json:
        """What was found (`on_discover`, `on_search`); nothing found is an empty catalogue."""
        ...

    def on_select(self, reply: Json, order: Order, shown: Shown) -> Json:
        """The quotation with its breakup."""
        ...

    def on_init(self, reply: Json, order: Order, shown: Shown) -> Json:
        """The order with its id, and how to pay it."""
        ...

    def on_confirm(self, reply: Json, order: Order, shown: Shown) -> Json:
        """The binding order. Told again later, it shows how the order stands then."""
        ...

    def on_status(self, reply: Json, order: Order, shown: Shown) -> Json:
        """How the order stands: paid, waiting, progress with telemetry, interrupted."""
        ...

    def on_update(self, reply: Json, order: Order, shown: Shown, *, is_revised: bool = False) -> Json:
        """Started, interrupted for long (with an estimate), ended (with the bill), or billed anew (`is_revised`)."""
        ...

    def on_refund(self, reply: Json, order: Order, refund: Payment, shown: Shown) -> Json:
        """on_status after money went back."""
        ...

    def on_cancel(self, reply: Json, order: Order, shown: Shown) -> Json:
        """The cancelled order and what goes back."""
        ...

    def on_track(self, reply: Json, order: Order, url: str, shown: Shown, *, with_order: bool) -> Json:
        """Where to watch. `with_order`: the asker named the order and gets it too."""
        ...

    def on_rating(
        self, reply: Json, *, aggregate: Aggregate | None, feedback_url: str | None, submission_id: str | None
    ) -> Json:
        """Received."""
        ...

    def on_support(self, reply: Json, contact: Contact, ref_id: str) -> Json:
        """Who helps, and how to reach them."""
        ...

    def rating_categories(self, reply: Json) -> Json:
        """What can be rated. Refusal(NOT_SUPPORTED) where the dialect does not know the question."""
        ...

    def error_for_order(self, reply: Json, error: BecknError, order: Order, shown: Shown) -> Json:
        """An error about an order we know."""
        ...

    def error_for_command(self, reply: Json, error: BecknError, command: Command) -> Json:
        """An error about a request that led to no order of ours."""
        ...
