"""Beckn V2 as a `Codec`: the functions of `decode` and `encode`, spoken by one speaker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from beckn_adapter.catalog import ItemView, OfferView, ProviderView
from beckn_adapter.commands import Command
from beckn_adapter.envelope import Context
from beckn_adapter.errors import BecknError
from beckn_adapter.speaking import Aggregate, Contact, Json, Shown, Speaker
from beckn_adapter.v2 import encode
from beckn_adapter.v2.decode import decode
from beckn_adapter.v2.items import catalogs_json
from csms.domain.order import Order, Payment
from csms.domain.refusal import Refusal, Why

ACTIONS: Final = frozenset(
    {
        *("discover", "select", "init", "confirm", "status", "update", "cancel", "rating", "support", "track"),
        "on_catalog_publish",
    }
)


@dataclass(frozen=True, slots=True)
class V2Codec:
    """`codec.Codec` for Beckn 2.0.0. `network` tells plain V2 and the national network's profile apart."""

    speaker: Speaker
    network: str = "v2"
    actions: frozenset[str] = ACTIONS

    def decode(self, context: Context, body: Mapping[str, object], now_ms: int) -> Command:
        return decode(context, body, now_ms)

    def news(self, order: Order, action: str, message_id: str, now_ms: int) -> Json:
        return encode.news_for(order, self.speaker, action, message_id, now_ms)

    def on_discover(
        self, reply: Json, provider: ProviderView, items: Sequence[ItemView], offers: Sequence[OfferView]
    ) -> Json:
        speaker = self.speaker
        catalogs = catalogs_json(provider, items, offers, speaker.bpp, connector_enum=speaker.connector_enum)
        return encode.on_discover(reply, catalogs, speaker)

    def on_select(self, reply: Json, order: Order, shown: Shown) -> Json:
        return encode.on_select(reply, order, self.speaker, item=shown.item, offer=shown.offer)

    def on_init(self, reply: Json, order: Order, shown: Shown) -> Json:
        return encode.on_init(reply, order, self.speaker, item=shown.item, offer=shown.offer)

    def on_confirm(self, reply: Json, order: Order, shown: Shown) -> Json:
        return encode.on_confirm(reply, order, self.speaker, shown.progress, item=shown.item)

    def on_status(self, reply: Json, order: Order, shown: Shown) -> Json:
        return encode.on_status(reply, order, self.speaker, shown.progress, item=shown.item)

    def on_update(self, reply: Json, order: Order, shown: Shown, *, is_revised: bool = False) -> Json:
        return encode.on_update(reply, order, self.speaker, shown.progress, item=shown.item, is_revised=is_revised)

    def on_refund(self, reply: Json, order: Order, refund: Payment, shown: Shown) -> Json:
        return encode.on_refund(reply, order, self.speaker, refund, shown.progress, item=shown.item)

    def on_cancel(self, reply: Json, order: Order, shown: Shown) -> Json:
        return encode.on_cancel(reply, order, self.speaker, item=shown.item)

    def on_track(self, reply: Json, order: Order, url: str, shown: Shown, *, with_order: bool) -> Json:
        return encode.on_track(reply, order, self.speaker, url, shown.progress, item=shown.item, with_order=with_order)

    def on_rating(
        self, reply: Json, *, aggregate: Aggregate | None, feedback_url: str | None, submission_id: str | None
    ) -> Json:
        return encode.on_rating(
            reply, self.speaker, aggregate=aggregate, feedback_url=feedback_url, submission_id=submission_id
        )

    def on_support(self, reply: Json, contact: Contact, ref_id: str) -> Json:  # noqa: ARG002 - V2 does not repeat it
        return encode.on_support(reply, self.speaker, contact)

    def rating_categories(self, reply: Json) -> Json:
        raise Refusal(Why.NOT_SUPPORTED, f"the action {reply['action']} is not offered here")

    def error_for_order(self, reply: Json, error: BecknError, order: Order, shown: Shown) -> Json:
        return encode.error_for_order(reply, error, order, self.speaker, item=shown.item)

    def error_for_command(self, reply: Json, error: BecknError, command: Command) -> Json:
        return encode.error_for_command(reply, error, command, self.speaker)
