"""Beckn 1.1.0 requests -> frozen commands (BECKN 5.3 to 5.6). Pure, tolerant of every published variant.

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
    Command,
    Confirm,
    Init,
    Rated,
    Rating,
    RatingCategories,
    Select,
    Status,
    Support,
    Track,
    Update,
    Window,
)
from beckn_adapter.envelope import IST, Context
from beckn_adapter.members import Reading, invalid, mapping, number_of, order_of
from beckn_adapter.v1.members import code_of, first, listed, phone_of, text_of, word_of
from beckn_adapter.v1.parts import (
    SPOT,
    buyer_of,
    finder_fee_of,
    fulfillment_of,
    item_id_of,
    line_of,
    offer_id_of,
    optional_item_id,
    otp_of,
    own_id,
    payment_of,
    window_of,
    wire_of,
    wish_of,
)
from beckn_adapter.v1.search import search
from csms.domain.refusal import Refusal, Why

BEST: Final = Decimal(5)
WORST: Final = Decimal(1)
# What is asked of a session, by the state the app writes into its update (BECKN 5.2, 5.6).
_STOPS: Final = frozenset(
    {
        *("end-charging", "stop-charging", "finish-charging", "charging-end", "charging-ended", "charging-stop"),
        *("charging-stopped", "charging-completed", "charging-finished", "stop", "stopped", "end", "ended"),
        *("completed", "complete", "finish", "finished"),
    }
)
_STARTS: Final = frozenset(
    {
        *("start-charging", "start-chargin", "begin-charging", "charging-start", "charging-started"),
        *("charging-active", "start", "started", "active", "pending", "payment-completed", "reservation"),
    }
)
_CATEGORIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("item", "charger", "charging-point", "connector"), "ITEM"),
    **{name: name.upper() for name in ("order", "fulfillment", "provider", "agent", "support")},
}


def decode(
    context: Context, body: Mapping[str, object], now_ms: int, *, has_slots: bool = False, zone: tzinfo = IST
) -> Command:
    """The command in a request. `zone` is where times without an offset are meant.

    Refusal(INVALID_REQUEST) names the member at fault; NOT_SUPPORTED an action this provider does not know.
    """
    reading = Reading(context, now_ms, zone)
    if context.action == "get_rating_categories":
        return RatingCategories()
    message = body.get("message")
    if not isinstance(message, Mapping):
        raise invalid("message is missing")
    if context.action == "search":
        return search(message, reading, with_slots=has_slots)
    reader = _READERS.get(context.action)
    if reader is None:
        raise Refusal(Why.NOT_SUPPORTED, f"{context.action} is not an action of this provider")
    return reader(message, reading)


# --- buying -------------------------------------------------------------------------------------------------


def _select(message: Mapping[str, object], reading: Reading) -> Select:
    order = order_of(message)
    line = line_of(order)
    item_id = item_id_of(line)
    return Select(
        item_id=own_id(item_id),
        want=wish_of(line),
        buyer=buyer_of(order, payment_of(order, reading)),
        offer_id=offer_id_of(order),
        finder_fee=finder_fee_of(order, line),
        slot=_slot(item_id, order, reading),
        wire=wire_of(order, reading),
    )


def _init(message: Mapping[str, object], reading: Reading) -> Init:
    """The order's id is ours to give in this generation, so one that comes along is not taken over."""
    order = order_of(message)
    line = line_of(order)
    item_id = item_id_of(line)
    claim = payment_of(order, reading)
    return Init(
        order_id=None,
        item_id=own_id(item_id),
        want=wish_of(line),
        buyer=buyer_of(order, claim),
        collected_by=(claim.beneficiary if claim is not None else None) or "BPP",
        payment=claim,
        offer_id=offer_id_of(order),
        finder_fee=finder_fee_of(order, line),
        slot=_slot(item_id, order, reading),
        wire=wire_of(order, reading),
    )


def _slot(item_id: str, order: Mapping[str, object], reading: Reading) -> Window | None:
    """Who chose the walk-in twin of an item reserves nothing, whatever times it expects."""
    window = window_of(order, reading)
    return None if item_id.endswith(SPOT) else window


def _confirm(message: Mapping[str, object], reading: Reading) -> Confirm:
    order = order_of(message)
    return Confirm(
        order_id=text_of(order, "id"),
        item_id=optional_item_id(order),
        payment=payment_of(order, reading),
        otp=otp_of(order),
        wire=wire_of(order, reading),
    )


# --- during and after ---------------------------------------------------------------------------------------


def _order_id(message: Mapping[str, object]) -> str | None:
    return text_of(message, "order_id") or text_of(mapping(message.get("order")), "id")


def _status(message: Mapping[str, object], _: Reading) -> Status:
    return Status(order_id=_order_id(message) or text_of(message, "ref_id"))


def _track(message: Mapping[str, object], _: Reading) -> Track:
    tracking = mapping(message.get("tracking"))
    callback = text_of(message, "callback_url", limit=2048) or text_of(tracking, "callback_url", limit=2048)
    return Track(tracking_id=text_of(tracking, "id"), order_id=_order_id(message), callback_url=callback)


def _update(message: Mapping[str, object], reading: Reading) -> Update:
    order = order_of(message)
    code = text_of(mapping(mapping(fulfillment_of(order).get("state")).get("descriptor")), "code")
    payment = payment_of(order, reading)
    target = text_of(message, "update_target") or ""
    about_payment = "payment" in target.casefold()
    if target and not about_payment and not any(word in target.casefold() for word in ("fulfillment", "state")):
        raise Refusal(Why.UNKNOWN_TARGET, f"update_target {target[:100]} is not order.fulfillments[0].state")
    wanted: str | None = None
    if code is not None and not about_payment:
        wanted = _wanted(code)
    elif not about_payment:
        raise invalid("order.fulfillments[0].state.descriptor.code is missing; it says start-charging or end-charging")
    return Update(
        order_id=text_of(order, "id"),
        session_status=wanted,
        order_status=text_of(order, "status"),
        item_id=optional_item_id(order),
        otp=otp_of(order),
        payment=payment,
    )


def _wanted(code: str) -> str:
    said = code_of(code)
    if said in _STOPS:
        return "STOP"
    if said in _STARTS:
        return "ACTIVE"
    raise invalid(f"order.fulfillments[0].state.descriptor.code {code[:60]} is neither start-charging nor end-charging")


def _cancel(message: Mapping[str, object], _: Reading) -> Cancel:
    descriptor = mapping(message.get("descriptor"))
    reason_id = word_of(message, "cancellation_reason_id")
    said = next((text for name in ("short_desc", "name", "code") if (text := text_of(descriptor, name))), None)
    wire = {name: value for name, value in (("id", reason_id), ("said", said)) if value is not None}
    return Cancel(order_id=_order_id(message), reason=reason_id or said, wire={"cancellation": wire} if wire else {})


def _rating(message: Mapping[str, object], _: Reading) -> Rating:
    given = message.get("ratings", message.get("rating", message if "value" in message else None))
    entries = listed(given)
    if not entries or len(entries) > 50:
        raise invalid("message.ratings is not a list of ratings")
    return Rating(ratings=tuple(_rated(entry, position) for position, entry in enumerate(entries)))


def _rated(value: object, position: int) -> Rated:
    where = f"message.ratings[{position}]"
    given = mapping(value)
    target_id = text_of(given, "id")
    if target_id is None:
        raise invalid(f"{where}.id is missing")
    score = number_of(given.get("value"))
    if score is None or not WORST <= score <= BEST:
        raise Refusal(Why.BAD_RATING, f"{where}.value does not lie between {WORST} and {BEST}")
    said = text_of(given, "rating_category")
    category = _CATEGORIES.get(code_of(said)) if said is not None else None
    if said is not None and category is None:
        known = "Item, Order, Fulfillment, Provider, Agent or Support"
        raise Refusal(Why.NOT_SUPPORTED, f"{where}.rating_category is not {known}")
    feedback = first(given.get("feedback_form"))
    return Rated(
        target_id=own_id(target_id),
        value=score,
        best=BEST,
        worst=WORST,
        category=category,
        comments=text_of(feedback, "answer", limit=4000) or text_of(given, "comments", limit=4000),
    )


def _support(message: Mapping[str, object], _: Reading) -> Support:
    support = mapping(message.get("support")) or message
    ref_id = text_of(support, "ref_id") or text_of(message, "ref_id") or _order_id(message)
    if ref_id is None:
        raise invalid("message.support.ref_id is missing")
    named = {
        "phone": phone_of(text_of(support, "callback_phone") or text_of(support, "phone")),
        "email": text_of(support, "email"),
    }
    return Support(ref_id=ref_id, ref_type="ORDER", contact={k: v for k, v in named.items() if v is not None})


_READERS: Final[Mapping[str, Callable[[Mapping[str, object], Reading], Command]]] = {
    "select": _select,
    "init": _init,
    "confirm": _confirm,
    "status": _status,
    "track": _track,
    "update": _update,
    "cancel": _cancel,
    "rating": _rating,
    "support": _support,
}
