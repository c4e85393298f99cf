"""Beckn V2 requests -> frozen commands (BECKN 4.3 to 4.12). Pure, tolerant of every published variant.

A message that cannot be meant raises Refusal(INVALID_REQUEST) with the member's name. Whether it is allowed is
decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import tzinfo
from decimal import Decimal
from typing import Final

from beckn_adapter.commands import (
    Cancel,
    CatalogPublished,
    Command,
    Confirm,
    Discover,
    Init,
    Published,
    Rated,
    Rating,
    Select,
    Status,
    Support,
    Track,
    Update,
)
from beckn_adapter.discovery import OPERATIONS, Intent, Spatial
from beckn_adapter.envelope import IST, Context
from beckn_adapter.filters import Filter, FilterProblem, parse
from beckn_adapter.geo import GeometryProblem, read_geometry
from beckn_adapter.members import MAX_TEXT, Reading, invalid, mapping, number_of, order_of
from beckn_adapter.v2.constants import REFERENCE_KINDS
from beckn_adapter.v2.parts import (
    buyer_of,
    finder_fee_of,
    get,
    item_id,
    line_of,
    offer_id,
    optional_item_id,
    order_id,
    otp_of,
    payment_of,
    text_of,
    window_of,
    wire_of,
    wish_of,
)
from csms.domain.refusal import Refusal, Why

MAX_SPATIAL: Final = 8


def decode(context: Context, body: Mapping[str, object], now_ms: int, zone: tzinfo = IST) -> Command:
    """The command in a request. `zone` is where clock times without an offset are meant.

    Refusal(INVALID_REQUEST) names the member at fault; NOT_SUPPORTED an action this provider does not know.
    """
    message = body.get("message")
    if not isinstance(message, Mapping):
        raise invalid("message is missing")
    reader = _READERS.get(context.action)
    if reader is None:
        raise Refusal(Why.NOT_SUPPORTED, f"{context.action} is not an action of this provider")
    return reader(message, Reading(context, now_ms, zone))


# --- discover -----------------------------------------------------------------------------------------------


def _discover(message: Mapping[str, object], _: Reading) -> Discover:
    text = message.get("text_search")
    if text is not None and (not isinstance(text, str) or len(text) > MAX_TEXT):
        raise invalid(f"message.text_search is not a text of at most {MAX_TEXT} characters")
    given = [name for name in ("text_search", "filters", "spatial") if message.get(name) is not None]
    if not given and message.get("media_search") is not None:
        raise Refusal(Why.NOT_SUPPORTED, "media_search is not offered here; use text_search, filters or spatial")
    if not given:
        raise invalid("message has none of text_search, filters, spatial")
    spatial = message.get("spatial")
    conditions = spatial if isinstance(spatial, list) else [] if spatial is None else [spatial]
    if len(conditions) > MAX_SPATIAL:
        raise invalid(f"message.spatial has more than {MAX_SPATIAL} conditions")
    return Discover(
        intent=Intent(
            text=text,
            filter=_filter(message.get("filters")),
            spatial=tuple(_spatial(condition, position) for position, condition in enumerate(conditions)),
        )
    )


def _filter(value: object) -> Filter | None:
    if value is None:
        return None
    expression: object = value  # the guide sends a plain string, the schema wants an object
    if isinstance(value, Mapping):
        if value.get("type", "jsonpath") != "jsonpath":
            raise invalid("message.filters.type is not jsonpath")
        expression = value.get("expression")
    if not isinstance(expression, str):
        raise invalid("message.filters.expression is not a text")
    try:
        return parse(expression)
    except FilterProblem as problem:
        raise invalid(f"message.filters: {problem}") from None


def _spatial(value: object, position: int) -> Spatial:
    where = f"message.spatial[{position}]"
    if not isinstance(value, Mapping):
        raise invalid(f"{where} is not an object")
    op = value.get("op")
    if not isinstance(op, str) or op.lower() not in OPERATIONS:
        raise invalid(f"{where}.op is not a spatial operator")
    # Whatever the target names, a connector has one place: its station's. So the target is not looked into.
    targets = value.get("targets")
    if targets is not None and not isinstance(targets, str | list):
        raise invalid(f"{where}.targets is neither a text nor a list")
    quantifier = value.get("quantifier", "any")
    if quantifier not in ("any", "all", "none"):
        raise invalid(f"{where}.quantifier is not any, all or none")
    if value.get("srid") not in (None, "EPSG:4326", "4326", 4326):
        raise invalid(f"{where}.srid is not EPSG:4326")
    try:
        shape = read_geometry(value.get("geometry"))
    except GeometryProblem as problem:
        raise invalid(f"{where}.geometry: {problem}") from None
    distance = number_of(value.get("distanceMeters"))
    if op.lower() == "s_dwithin" and (distance is None or distance < 0):
        raise invalid(f"{where}.distanceMeters is needed for s_dwithin")
    return Spatial(
        op=op.lower(),
        shape=shape,
        distance_m=float(distance) if distance is not None else 0.0,
        negated=quantifier == "none",
    )


# --- buying -------------------------------------------------------------------------------------------------


def _select(message: Mapping[str, object], reading: Reading) -> Select:
    order = order_of(message)
    line = line_of(order)
    return Select(
        item_id=item_id(line),
        want=wish_of(line),
        buyer=buyer_of(order),
        offer_id=offer_id(line, order),
        finder_fee=finder_fee_of(order, line),
        slot=window_of(order, reading),
        wire=wire_of(order, reading.context),
    )


def _init(message: Mapping[str, object], reading: Reading) -> Init:
    order = order_of(message)
    line = line_of(order)
    payment = payment_of(order, reading)
    collected_by = (payment.beneficiary if payment is not None else None) or "BPP"
    if collected_by not in ("BPP", "BAP"):
        raise invalid("order.beckn:payment.beckn:beneficiary is neither BPP nor BAP")
    return Init(
        order_id=order_id(order),
        item_id=item_id(line),
        want=wish_of(line),
        buyer=buyer_of(order),
        collected_by=collected_by,
        payment=payment,
        offer_id=offer_id(line, order),
        finder_fee=finder_fee_of(order, line),
        slot=window_of(order, reading),
        wire=wire_of(order, reading.context),
    )


def _confirm(message: Mapping[str, object], reading: Reading) -> Confirm:
    order = order_of(message)
    return Confirm(
        order_id=order_id(order),
        item_id=optional_item_id(order),
        payment=payment_of(order, reading),
        otp=otp_of(order),
        wire=wire_of(order, reading.context),
    )


# --- during and after ---------------------------------------------------------------------------------------


def _status(message: Mapping[str, object], _: Reading) -> Status:
    return Status(order_id=order_id(order_of(message)))


def _track(message: Mapping[str, object], _: Reading) -> Track:
    tracking = message.get("tracking")
    if isinstance(tracking, Mapping):
        tracking_id = text_of(tracking, "id")
        if tracking_id is None:
            raise invalid("message.tracking.id is missing")
        return Track(tracking_id=tracking_id, order_id=None)
    # Older apps and the national network name the order instead (BECKN 4.9, 0.1).
    if message.get("order") is None:
        raise invalid("message.tracking is missing")
    return Track(tracking_id=None, order_id=order_id(order_of(message)))


def _update(message: Mapping[str, object], reading: Reading) -> Update:
    order = order_of(message)
    fulfillment = mapping(get(order, "fulfillment"))
    delivery = mapping(get(fulfillment, "deliveryAttributes"))
    wanted = get(delivery, "sessionStatus") or get(fulfillment, "sessionStatus")
    wanted = wanted or get(mapping(get(order, "orderAttributes")), "sessionStatus")
    if wanted is not None and not isinstance(wanted, str):
        raise invalid("order.beckn:fulfillment.beckn:deliveryAttributes.sessionStatus is not a text")
    order_status = text_of(order, "orderStatus")
    return Update(
        order_id=order_id(order),
        session_status=wanted.upper() if wanted is not None else None,
        order_status=order_status.upper() if order_status is not None else None,
        item_id=optional_item_id(order),
        otp=otp_of(order),
        payment=payment_of(order, reading),
    )


def _cancel(message: Mapping[str, object], _: Reading) -> Cancel:
    order = order_of(message)
    reason = None
    for holder in (message, order):
        for name in ("cancellation_reason_id", "cancellationReasonId", "cancellationReason", "reason", "reasonCode"):
            found = get(holder, name)
            if isinstance(found, Mapping):
                found = get(found, "code") or get(found, "id") or get(found, "shortDesc")
            if reason is None and isinstance(found, str) and found.strip():
                reason = found.strip()[:MAX_TEXT]
    return Cancel(order_id=order_id(order), reason=reason)


def _rating(message: Mapping[str, object], _: Reading) -> Rating:
    given = message.get("ratings", message.get("rating"))
    entries = given if isinstance(given, list) else [given]
    if given is None or not entries or len(entries) > 50:
        raise invalid("message.ratings is not a list of ratings")
    return Rating(ratings=tuple(_rated(entry, position) for position, entry in enumerate(entries)))


def _rated(value: object, position: int) -> Rated:
    where = f"message.ratings[{position}]"
    if not isinstance(value, Mapping):
        raise invalid(f"{where} is not an object")
    target_id = text_of(value, "id")
    if target_id is None:
        raise invalid(f"{where}.id is missing")
    score = number_of(get(value, "ratingValue"))
    best, worst = number_of(get(value, "bestRating")), number_of(get(value, "worstRating"))
    best, worst = (Decimal(5) if best is None else best), (Decimal(1) if worst is None else worst)
    if score is None or not worst <= score <= best or worst >= best:
        raise Refusal(Why.BAD_RATING, f"{where}.ratingValue does not lie between {worst} and {best}")
    category = text_of(value, "category")
    feedback = mapping(get(value, "feedback"))
    tags = feedback.get("tags")
    return Rated(
        target_id=target_id,
        value=score,
        best=best,
        worst=worst,
        category=category.upper() if category is not None else None,
        comments=text_of(feedback, "comments", limit=4000),
        tags=tuple(tag[:100] for tag in tags[:50] if isinstance(tag, str)) if isinstance(tags, list) else (),
    )


def _support(message: Mapping[str, object], _: Reading) -> Support:
    ref_id = text_of(message, "refId") or text_of(message, "ref_id")
    if ref_id is None:
        raise invalid("message.refId is missing")
    ref_type = (text_of(message, "refType") or text_of(message, "ref_type") or "ORDER").upper()
    if ref_type not in REFERENCE_KINDS:
        raise invalid("message.refType is not ORDER, FULFILLMENT, ITEM, PROVIDER, AGENT or OTHER")
    contact = mapping(message.get("support"))
    named = {name: text_of(contact, name) for name in ("name", "phone", "email")}
    return Support(ref_id=ref_id, ref_type=ref_type, contact={k: v for k, v in named.items() if v is not None})


def _published(message: Mapping[str, object], _: Reading) -> CatalogPublished:
    results = message.get("results")
    if not isinstance(results, list):
        raise invalid("message.results is not a list")
    found = []
    for position, result in enumerate(results):
        entry = mapping(result)
        catalog_id, status = text_of(entry, "catalog_id"), text_of(entry, "status")
        if catalog_id is None or status is None:
            raise invalid(f"message.results[{position}] lacks catalog_id or status")
        count = entry.get("item_count")
        found.append(
            Published(
                catalog_id=catalog_id,
                status=status.upper(),
                item_count=count if isinstance(count, int) and not isinstance(count, bool) else None,
                error=text_of(mapping(entry.get("error")), "message"),
            )
        )
    return CatalogPublished(results=tuple(found))


_READERS: Final[Mapping[str, Callable[[Mapping[str, object], Reading], Command]]] = {
    "discover": _discover,
    "select": _select,
    "init": _init,
    "confirm": _confirm,
    "status": _status,
    "track": _track,
    "update": _update,
    "cancel": _cancel,
    "rating": _rating,
    "support": _support,
    "on_catalog_publish": _published,
}
