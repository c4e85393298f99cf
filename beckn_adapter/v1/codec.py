"""Beckn 1.1.0 as a `Codec`: one reader and one writer, spoken in the words of a `Profile` (BECKN 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from beckn_adapter.catalog import ItemView, OfferView, ProviderView
from beckn_adapter.commands import Command
from beckn_adapter.envelope import Context, news_context
from beckn_adapter.errors import BecknError
from beckn_adapter.members import is_email, is_uri
from beckn_adapter.speaking import Aggregate, Contact, Json, Shown, Speaker
from beckn_adapter.v1.catalogue import catalog_json
from beckn_adapter.v1.decode import decode
from beckn_adapter.v1.members import phone_of
from beckn_adapter.v1.orders import order_json
from beckn_adapter.v1.payments import cancellation_json, payments_json, terms_json
from beckn_adapter.v1.profiles import Profile
from beckn_adapter.v1.quotes import refund_quote
from csms.domain.order import Order, Payment, State

ACTIONS: Final = frozenset(
    {
        *("search", "select", "init", "confirm", "status", "track", "update", "cancel", "rating", "support"),
        "get_rating_categories",
    }
)
VERSION: Final = "1.1.0"
RATING_CATEGORIES: Final = ("Item", "Order", "Fulfillment", "Provider")
_TRACKED: Final = frozenset({State.STARTING, State.ACTIVE, State.INTERRUPTED, State.STOPPING})


@dataclass(frozen=True, slots=True)
class V1Codec:
    """`codec.Codec` for Beckn 1.1.0 in one network's profile."""

    speaker: Speaker
    profile: Profile
    actions: frozenset[str] = ACTIONS

    @property
    def network(self) -> str:
        return self.profile.network

    def decode(self, context: Context, body: Mapping[str, object], now_ms: int) -> Command:
        return decode(context, body, now_ms, has_slots=self.profile.has_slots)

    def news(self, order: Order, action: str, message_id: str, now_ms: int) -> Json:
        """The version is the one the buyer's app spoke: it was kept with the order."""
        kept = order.wire.get("context")
        return news_context(
            domain=order.domain,
            version=VERSION,
            bap_id=order.bap_id,
            bap_uri=order.bap_uri,
            transaction_id=order.transaction_id,
            bpp=self.speaker.bpp,
            action=action,
            message_id=message_id,
            now_ms=now_ms,
            wire=kept if isinstance(kept, Mapping) else None,
        )

    # -- finding and buying

    def on_discover(
        self, reply: Json, provider: ProviderView, items: Sequence[ItemView], offers: Sequence[OfferView]
    ) -> Json:
        return _body(reply, {"catalog": catalog_json(provider, items, offers, self.profile)})

    def on_select(self, reply: Json, order: Order, shown: Shown) -> Json:
        return self._order(reply, order_json(order, shown, self.profile, self.speaker, with_id=False, with_ttl=True))

    def on_init(self, reply: Json, order: Order, shown: Shown) -> Json:
        written = order_json(order, shown, self.profile, self.speaker, with_id=False, with_ttl=True)
        payments = payments_json(order, self.profile, self.speaker, is_offer=True)
        return self._order(reply, written, payments, terms_json(order, self.profile))

    def on_confirm(self, reply: Json, order: Order, shown: Shown) -> Json:
        written = order_json(order, shown, self.profile, self.speaker, is_start=True)
        return self._order(reply, written, self._payments(order), terms_json(order, self.profile))

    # -- during and after

    def on_status(self, reply: Json, order: Order, shown: Shown) -> Json:
        return self._standing(reply, order, shown)

    def on_update(self, reply: Json, order: Order, shown: Shown, *, is_revised: bool = False) -> Json:
        """A revised bill looks like the first one, but shows what had gone back before it."""
        return self._standing(reply, order, shown, is_bill=not is_revised)

    def on_refund(self, reply: Json, order: Order, refund: Payment, shown: Shown) -> Json:  # noqa: ARG002
        """The refund stands among the payments by now, paid."""
        return self._standing(reply, order, shown)

    def on_cancel(self, reply: Json, order: Order, shown: Shown) -> Json:
        written = order_json(order, shown, self.profile, self.speaker, quote=refund_quote(order))
        written["cancellation"] = cancellation_json(order)
        return self._order(reply, written, self._payments(order))

    def _standing(self, reply: Json, order: Order, shown: Shown, *, is_bill: bool = False) -> Json:
        written = order_json(order, shown, self.profile, self.speaker)
        if order.state in (State.CANCELLED, State.FAILED):
            written["cancellation"] = cancellation_json(order)
        return self._order(reply, written, self._payments(order, is_bill=is_bill))

    def _payments(self, order: Order, *, is_bill: bool = False) -> list[Json]:
        return payments_json(order, self.profile, self.speaker, is_bill=is_bill)

    @staticmethod
    def _order(reply: Json, written: Json, payments: Sequence[Json] = (), terms: Json | None = None) -> Json:
        if payments:
            written["payments"] = list(payments)
        return _body(reply, {"order": {**written, **(terms or {})}})

    # -- tracking, rating, support

    def on_track(self, reply: Json, order: Order, url: str, shown: Shown, *, with_order: bool) -> Json:  # noqa: ARG002
        """This generation has no room for the order beside its tracking."""
        status = "active" if order.state in _TRACKED else "inactive"
        tracking = {"id": f"TRACK-{order.session_id or order.order_id}", "url": url, "status": status}
        return _body(reply, {"tracking": tracking})

    def on_rating(
        self,
        reply: Json,
        *,
        aggregate: Aggregate | None,  # noqa: ARG002 - this generation does not show it
        feedback_url: str | None,
        submission_id: str | None,
    ) -> Json:
        if feedback_url is None:
            return _body(reply, {})
        form: Json = {"url": feedback_url, "mime_type": "text/html"}
        if submission_id is not None:
            form["submission_id"] = submission_id
        return _body(reply, {"feedback_form": {"form": form, "required": False}})

    def on_support(self, reply: Json, contact: Contact, ref_id: str) -> Json:
        support: Json = {"ref_id": ref_id}
        phone = phone_of(contact.phone)
        if phone is not None:
            support["phone"] = phone
        if contact.email is not None and is_email(contact.email):
            support["email"] = contact.email
        if contact.url is not None and is_uri(contact.url):
            support["url"] = contact.url
        return _body(reply, {"support": support})

    def rating_categories(self, reply: Json) -> Json:
        """The answer's action is not `on_` its question (BECKN 1.1)."""
        return _body({**reply, "action": "rating_categories"}, {"rating_categories": list(RATING_CATEGORIES)})

    # -- errors

    def error_for_order(self, reply: Json, error: BecknError, order: Order, shown: Shown) -> Json:  # noqa: ARG002
        return self._error(reply, error)

    def error_for_command(self, reply: Json, error: BecknError, command: Command) -> Json:  # noqa: ARG002
        return self._error(reply, error)

    def _error(self, reply: Json, error: BecknError) -> Json:
        """Context and error, no message (BECKN 1.8); only `on_rating` must have one."""
        details = error.details or {}
        path = details.get("path")
        written: Json = error.v1(path if isinstance(path, str) else "")
        if self.profile.has_error_type:
            written["type"] = _error_type(error.code)
        if reply["action"] == "on_get_rating_categories":
            reply = {**reply, "action": "rating_categories"}
        body: Json = {"context": reply, "error": written}
        return {**body, "message": {}} if reply["action"] == "on_rating" else body


def _body(context: Json, message: Json) -> Json:
    return {"context": context, "message": message}


def _error_type(code: str) -> str:
    """The families of protocol-server (BECKN 1.7)."""
    if code == "30000":
        return "CORE-ERROR"
    return {"3": "DOMAIN-ERROR", "4": "DOMAIN-ERROR", "5": "POLICY-ERROR"}.get(code[:1], "CORE-ERROR")
