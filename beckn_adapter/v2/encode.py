"""Beckn V2 callbacks, one pure function each (BECKN 4.2 to 4.12).

`context` is made by `envelope.reply_context` (an answer) or `news_for` (news of ours). The rest follows from the
order. What is emitted passes the network's schemas with formats on; the tests see to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from beckn_adapter.catalog import ItemView, OfferView
from beckn_adapter.commands import Cancel, Command, Confirm, Discover, Init, Rating, Select, Status, Support, Update
from beckn_adapter.envelope import Endpoint, news_context, serialise
from beckn_adapter.errors import BecknError
from beckn_adapter.speaking import Aggregate, Contact, Json, Progress, Sample, Speaker
from beckn_adapter.v2.constants import CORE, ORDER_STATUSES, SUPPORT_CHANNELS, VERSION
from beckn_adapter.v2.orders import (
    accounts_of,
    buyer_json,
    connector_status,
    current_payment,
    fulfillment_json,
    is_open_to_pay,
    not_to_be_had,
    order_json,
    order_status,
    payment_json,
    payment_of_bill,
    payment_of_cancellation,
    quantity_json,
    refund_shown,
    value_json,
)
from csms.domain.breakdown import Breakdown
from csms.domain.order import CancelledBy, Order, Payment, State

__all__ = [
    "Aggregate",
    "Contact",
    "Progress",
    "Sample",
    "Speaker",
    "catalog_publish",
    "connector_status",
    "error_for_command",
    "error_for_order",
    "news_for",
    "on_cancel",
    "on_confirm",
    "on_discover",
    "on_init",
    "on_rating",
    "on_refund",
    "on_select",
    "on_status",
    "on_support",
    "on_track",
    "on_update",
    "publish_context",
    "serialise",
]


# --- contexts -----------------------------------------------------------------------------------------------


def news_for(order: Order, speaker: Speaker, action: str, message_id: str, now_ms: int) -> Json:
    """The context of a message about `order` that nobody asked for. `message_id` is fresh (BECKN 1.2)."""
    wire = order.wire.get("context")
    return news_context(
        domain=order.domain,
        version=VERSION,
        bap_id=order.bap_id,
        bap_uri=order.bap_uri,
        transaction_id=order.transaction_id,
        bpp=speaker.bpp,
        action=action,
        message_id=message_id,
        now_ms=now_ms,
        wire=wire if isinstance(wire, Mapping) else None,
    )


def publish_context(bpp: Endpoint, domain: str, transaction_id: str, message_id: str, now_ms: int) -> Json:
    """The context of `catalog/publish`. Our id stands on both sides, because the published example differs from
    the schema's prose about which one is ours (BECKN 4.4)."""
    return news_context(
        domain=domain,
        version=VERSION,
        bap_id=bpp.subscriber_id,
        bap_uri=bpp.uri,
        transaction_id=transaction_id,
        bpp=bpp,
        action="catalog_publish",
        message_id=message_id,
        now_ms=now_ms,
    )


def _body(context: Json, message: Json, speaker: Speaker | None = None, error: BecknError | None = None) -> Json:
    body: Json = {"context": context, "message": message}
    if error is not None:
        body["error"] = error.v2()
    elif speaker is not None and speaker.empty_error:
        body["error"] = {}
    return body


# --- finding ------------------------------------------------------------------------------------------------


def on_discover(context: Json, catalogs: Sequence[Json], speaker: Speaker | None = None) -> Json:
    """Catalogs that fit (see `items.catalog_json`); an empty list means none."""
    return _body(context, {"catalogs": list(catalogs)}, speaker)


def catalog_publish(context: Json, catalogs: Sequence[Json], speaker: Speaker | None = None) -> Json:
    """All catalogs, pushed to the catalogue service."""
    return _body(context, {"catalogs": list(catalogs)}, speaker)


# --- buying -------------------------------------------------------------------------------------------------


def on_select(
    context: Json,
    order: Order,
    speaker: Speaker,
    *,
    item: ItemView | None = None,
    offer: OfferView | None = None,
) -> Json:
    """The quotation with its breakup. The order has no id for the buyer yet."""
    shown = order_json(
        order,
        speaker,
        item=item,
        offer=offer,
        status="CREATED",
        value=order.quote,
        with_id=False,
        with_attributes=True,
    )
    return _body(context, {"order": shown}, speaker)


def on_init(
    context: Json,
    order: Order,
    speaker: Speaker,
    *,
    item: ItemView | None = None,
    offer: OfferView | None = None,
) -> Json:
    """The order with its id, and how to pay it: a link when we collect, our account when the buyer's app does."""
    payment = None
    if order.payment is not None:
        payment = payment_json(
            order.payment,
            order.quote.currency,
            accounts=accounts_of(order, speaker),
            with_url=is_open_to_pay(order, order.payment),
        )
    shown = order_json(
        order,
        speaker,
        item=item,
        offer=offer,
        status="CREATED",
        value=order.quote,
        payment=payment,
        with_attributes=True,
    )
    return _body(context, {"order": shown}, speaker)


def on_confirm(
    context: Json,
    order: Order,
    speaker: Speaker,
    progress: Progress | None = None,
    *,
    item: ItemView | None = None,
) -> Json:
    """The binding order. Told again later, it shows how the order stands then."""
    return _order_body(context, order, speaker, progress, item)


def on_status(
    context: Json,
    order: Order,
    speaker: Speaker,
    progress: Progress | None = None,
    *,
    item: ItemView | None = None,
) -> Json:
    """How the order stands: paid, waiting with its connector's status, progress with telemetry, interrupted."""
    return _order_body(context, order, speaker, progress, item)


def on_update(
    context: Json,
    order: Order,
    speaker: Speaker,
    progress: Progress | None = None,
    *,
    item: ItemView | None = None,
    is_revised: bool = False,
) -> Json:
    """Started, interrupted for long (with an estimate), ended (with the bill), or billed anew (`is_revised`)."""
    payment = payment_of_bill(order, is_revised=is_revised) if order.is_billed else None
    return _order_body(context, order, speaker, progress, item, payment=payment)


def on_refund(
    context: Json,
    order: Order,
    speaker: Speaker,
    refund: Payment,
    progress: Progress | None = None,
    *,
    item: ItemView | None = None,
) -> Json:
    """on_status after money went back (BECKN 4.10 ii): the order unchanged, the payment is the refund."""
    return _order_body(context, order, speaker, progress, item, payment=refund_shown(order, refund))


def on_cancel(context: Json, order: Order, speaker: Speaker, *, item: ItemView | None = None) -> Json:
    """The cancelled order; the payment describes what goes back."""
    payment = payment_of_cancellation(order)
    is_ours = order.state is State.FAILED or order.cancelled_by in (CancelledBy.PROVIDER, CancelledBy.NO_SHOW)
    shown = order_json(
        order,
        speaker,
        item=item,
        value=_value(order),
        payment=payment_json(payment, order.quote.currency) if payment is not None else None,
        fulfillment=not_to_be_had(order) if is_ours else None,
    )
    return _body(context, {"order": shown}, speaker)


def _order_body(
    context: Json,
    order: Order,
    speaker: Speaker,
    progress: Progress | None,
    item: ItemView | None,
    *,
    payment: Payment | None = None,
) -> Json:
    if payment is None:
        payment = current_payment(order)
    value = _value(order)
    shown = order_json(
        order,
        speaker,
        item=item,
        payment=payment_json(payment, order.quote.currency, with_url=is_open_to_pay(order, payment))
        if payment is not None
        else None,
        fulfillment=fulfillment_json(order, speaker, _metered(order, progress), item=item, cost=_cost(order)),
    )
    shown["beckn:orderValue"] = value_json(value, "Estimate: " if value is order.estimate else "")
    return _body(context, {"order": shown}, speaker)


def _value(order: Order) -> Breakdown:
    """What the order is worth by now: the bill, a cancellation's fee, an interruption's estimate, or the quote."""
    if order.final is not None:
        return order.final
    if order.cancellation_fee is not None and order.cancellation_fee.components:
        return order.cancellation_fee
    if order.estimate is not None and order.state in (State.INTERRUPTED, State.COMPLETED):
        return order.estimate
    return order.quote


def _cost(order: Order) -> Breakdown | None:
    """What has been charged so far, as far as it is worked out."""
    return order.final if order.final is not None else order.estimate


def _metered(order: Order, progress: Progress | None) -> Progress:
    """A billed order shows the figures it was billed for, whatever a running meter says."""
    shown = progress if progress is not None else Progress()
    if order.final is None:
        return shown
    return Progress(
        session_status=shown.session_status,
        energy_wh=order.delivered_wh,
        minutes=order.duration_min,
        last_updated_ms=shown.last_updated_ms if shown.last_updated_ms is not None else order.ended_at_ms,
        tracking_url=shown.tracking_url,
        reservation_id=shown.reservation_id,
    )


# --- tracking, rating, support ------------------------------------------------------------------------------


def on_track(
    context: Json,
    order: Order,
    speaker: Speaker,
    url: str,
    progress: Progress | None = None,
    *,
    item: ItemView | None = None,
    with_order: bool = False,
) -> Json:
    """Where to watch. `with_order`: the asker named the order, so it gets it too, with its telemetry."""
    status = {State.ACTIVE: "ACTIVE", State.INTERRUPTED: "ACTIVE", State.STOPPING: "ACTIVE"}
    over = order.state in (State.COMPLETED, State.CANCELLED, State.EXPIRED, State.FAILED)
    message: Json = {
        "tracking": {
            "id": f"TRACK-{order.session_id or order.order_id}",
            "url": url,
            "tl_method": "http/get",
            "trackingStatus": "COMPLETED" if over else status.get(order.state, "DISABLED"),
        }
    }
    if with_order:
        body = _order_body(context, order, speaker, progress, item)
        inner = body["message"]
        if isinstance(inner, dict):
            message["order"] = inner["order"]
    return _body(context, message, speaker)


def on_rating(
    context: Json,
    speaker: Speaker,
    *,
    aggregate: Aggregate | None = None,
    feedback_url: str | None = None,
    submission_id: str | None = None,
) -> Json:
    """Received. `submission_id` must be a plain UUID."""
    message: Json = {"received": True}
    if aggregate is not None:
        message["aggregate"] = {
            "value": aggregate.value,
            "count": aggregate.count,
            "best": aggregate.best,
            "worst": aggregate.worst,
        }
    if feedback_url is not None:
        form: Json = {"@context": CORE, "@type": "beckn:Form", "url": feedback_url, "mime_type": "text/html"}
        if submission_id is not None:
            form["submission_id"] = submission_id
        message["feedbackForm"] = form
    return _body(context, message, speaker)


def on_support(context: Json, speaker: Speaker, contact: Contact) -> Json:
    """Who helps, and how to reach them."""
    return _body(context, {"support": _support(contact)}, speaker)


def _support(contact: Contact) -> Json:
    support: Json = {"@context": CORE, "@type": "beckn:SupportInfo"}
    for name in ("name", "phone", "email", "url", "hours"):
        value = getattr(contact, name)
        if value is not None:
            support[name] = value
    channels = [channel for channel in contact.channels if channel in SUPPORT_CHANNELS]
    if channels:
        support["channels"] = channels
    return support


# --- errors -------------------------------------------------------------------------------------------------

_REJECTING = frozenset({"on_select", "on_init", "on_confirm"})


def error_for_order(
    context: Json, error: BecknError, order: Order, speaker: Speaker, *, item: ItemView | None = None
) -> Json:
    """An error about an order we know (BECKN 1.8): REJECTED while it is being bought, unchanged afterwards."""
    if context["action"] in ("on_track", "on_rating", "on_support", "on_discover"):
        return _body(context, _empty(str(context["action"])), error=error)
    is_rejected = context["action"] in _REJECTING
    shown = order_json(
        order,
        speaker,
        item=item,
        status="REJECTED" if is_rejected else order_status(order),
        with_id=context["action"] != "on_select",
        fulfillment=None if is_rejected else fulfillment_json(order, speaker, item=item),
    )
    return _body(context, {"order": shown}, error=error)


def error_for_command(context: Json, error: BecknError, command: Command, speaker: Speaker) -> Json:
    """An error about a request that led to no order of ours: what it asked for is repeated, REJECTED."""
    match command:
        case Select() | Init():
            return _body(context, {"order": _asked(command, speaker)}, error=error)
        case Confirm() | Update() | Cancel():
            # The schema wants an order here; an unknown one is better refused before the ACK (BECKN 1.8).
            return _body(context, {"order": _unknown(command, speaker)}, error=error)
        case Status() | Rating() | Support() | Discover():
            return _body(context, _empty(str(context["action"])), error=error)
        case _:
            return _body(context, _empty("on_track"), error=error)


def _empty(action: str) -> Json:
    """The smallest message each callback's schema takes."""
    match action:
        case "on_discover":
            return {"catalogs": []}
        case "on_rating":
            return {"received": False}
        case "on_support":
            return {"support": _support(Contact())}
        case "on_track":
            return {"tracking": {}}
        case _:
            return {}


def _asked(command: Select | Init, speaker: Speaker) -> Json:
    line: Json = {"beckn:orderedItem": command.item_id}
    quantity = command.wire.get("quantity")
    shown = dict(quantity) if isinstance(quantity, Mapping) else quantity_json(command.want)
    if shown is not None:
        line["beckn:quantity"] = shown
    order = _bare(command.wire, speaker, line)
    if isinstance(command, Init) and command.order_id is not None:
        order["beckn:id"] = command.order_id
    return order


def _unknown(command: Confirm | Update | Cancel, speaker: Speaker) -> Json:
    item_id = None if isinstance(command, Cancel) else command.item_id
    wire = command.wire if isinstance(command, Confirm) else {}
    order = _bare(wire, speaker, {"beckn:orderedItem": item_id or "unknown"})
    order["beckn:id"] = command.order_id or "unknown"
    if isinstance(command, Update) and command.order_status in ORDER_STATUSES:
        order["beckn:orderStatus"] = command.order_status
    return order


def _bare(wire: Mapping[str, object], speaker: Speaker, line: Json) -> Json:
    seller = wire.get("seller")
    return {
        "@context": CORE,
        "@type": "beckn:Order",
        "beckn:orderStatus": "REJECTED",
        "beckn:seller": seller if isinstance(seller, str) else speaker.provider_id,
        "beckn:buyer": buyer_json(wire),
        "beckn:orderItems": [line],
    }
