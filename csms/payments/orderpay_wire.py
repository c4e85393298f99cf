"""What an `orderpay` gateway writes, read without trust: orders, payments, refunds, events. Pure.

    order    {id, amount, currency, receipt, status: created|attempted|paid, notes{payment_id}}
    payment  {id, order_id, amount, currency, status: created|authorized|captured|refunded|failed|voided,
              captured_amount, amount_refunded, authorized_until (s), error_description}
    refund   {id, payment_id, amount, status: pending|processed|failed, receipt, notes{key}}
    event    {event, created_at (s), payload{payment{entity}, order{entity}, refund{entity}}}

Amounts are integer paise. What is missing or of another type raises ValueError, with a sentence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from csms.ports import GatewayEvent, MoneyState, RefundNews, RemoteMoney

Json = Mapping[str, Any]

_STATES: Final = {
    "created": MoneyState.WAITING,
    "authorized": MoneyState.AUTHORIZED,
    "captured": MoneyState.CAPTURED,
    "refunded": MoneyState.CAPTURED,  # captured, and all of it given back
    "failed": MoneyState.FAILED,
    "voided": MoneyState.VOIDED,
}
_REFUNDS: Final = {"pending": "pending", "processed": "done", "failed": "failed"}
_LONGEST = 200


def payment(said: Json) -> RemoteMoney:
    """A payment entity."""
    amount_minor = paise(said, "amount")
    state = _STATES.get(text(said, "status"))
    if state is None:
        raise ValueError(f"a payment cannot be {said['status']!r}")
    captured_minor = 0
    if state is MoneyState.CAPTURED:
        captured_minor = paise(said, "captured_amount") if said.get("captured_amount") is not None else amount_minor
    until_s = said.get("authorized_until")
    return RemoteMoney(
        remote_payment_id=text(said, "id"),
        state=state,
        amount_minor=amount_minor,
        currency=text(said, "currency"),
        captured_minor=captured_minor,
        refunded_minor=paise(said, "amount_refunded") if said.get("amount_refunded") is not None else 0,
        reason=str(said["error_description"])[:_LONGEST] if said.get("error_description") else None,
        hold_ends_ms=_ms(until_s),
    )


def refund(said: Json) -> RefundNews:
    """A refund entity."""
    state = _REFUNDS.get(text(said, "status"))
    if state is None:
        raise ValueError(f"a refund cannot be {said['status']!r}")
    key = entity(said.get("notes")).get("key")
    return RefundNews(
        key=key if isinstance(key, str) else None,
        ref=text(said, "id"),
        amount_minor=paise(said, "amount"),
        state=state,
    )


def event(event_id: str, body: bytes) -> GatewayEvent:
    """A webhook's body. Raises ValueError."""
    try:
        said = json.loads(body)
    except RecursionError as error:
        raise ValueError("the body is nested too deeply") from error
    if not isinstance(said, dict):
        raise ValueError("the body is no object")  # noqa: TRY004 - what was sent is wrong, not the caller
    payload = entity(said.get("payload"))
    paid, order, back = (entity(entity(payload.get(name)).get("entity")) for name in ("payment", "order", "refund"))
    created_s = said.get("created_at")
    remote_id = order.get("id") or paid.get("order_id")
    payment_id = entity(order.get("notes")).get("payment_id") or entity(paid.get("notes")).get("payment_id")
    receipt = order.get("receipt")
    return GatewayEvent(
        event_id=event_id,
        kind=text(said, "event")[:_LONGEST],
        at_ms=_ms(created_s),
        payment_id=payment_id if isinstance(payment_id, str) else None,
        receipt=receipt if isinstance(receipt, str) else None,
        remote_id=remote_id if isinstance(remote_id, str) else None,
        money=payment(paid) if paid else None,
        refund=refund(back) if back else None,
    )


def items(said: Json) -> list[Json]:
    """A list: `{items: [...]}`."""
    found = said.get("items")
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError("a list without items")
    return found


def entity(said: Any) -> dict[str, Any]:
    """An object, or an empty one in its place (gateways of this kind write an empty list for empty notes)."""
    return said if isinstance(said, dict) else {}


def text(said: Json, name: str) -> str:
    """A member that must be a text."""
    value = said.get(name)
    if not isinstance(value, str) or not value or len(value) > _LONGEST:
        raise ValueError(f"{name} is no text")
    return value


def paise(said: Json, name: str) -> int:
    """A member that must be an amount: a whole number of paise, not below 0."""
    value = said.get(name)
    if not _is_count(value):
        raise ValueError(f"{name} is no whole number of paise")
    assert isinstance(value, int)
    return value


def _ms(seconds: Any) -> int | None:
    return int(seconds) * 1000 if _is_count(seconds) else None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
