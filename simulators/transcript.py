"""What the simulated parties said and heard, kept in order and readable by a person.

A transcript is evidence: every frame and every Beckn message, both ways, with the real time. Secrets are
masked when a line is rendered, never in what was sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from simulators.clock import wall_ms, written

Direction = Literal["sent", "received", "note"]
Listener = Callable[["Entry"], None]

ARROWS: dict[Direction, str] = {"sent": "->", "received": "<-", "note": "--"}
# The value beside the key of a password, whichever of the two orders a 1.6 or 2.0.1 message writes them in.
SECRET = re.compile(
    r'("key":\s*"AuthorizationKey",\s*"value":\s*")[^"]*|("attributeValue":\s*")[^"]*(?=".{0,120}BasicAuthPassword)'
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: who, which way, what. `content` is the parsed frame or body, or a sentence for a note."""

    at_ms: int
    who: str
    direction: Direction
    content: Any

    def brief(self) -> str | None:
        """One short line of what a person follows a story by; None for what only repeats (meter values, answers)."""
        head = f"{written(self.at_ms)[11:19]} {ARROWS[self.direction]} "
        if isinstance(self.content, str):
            return head + self.content
        if isinstance(self.content, list):
            told = _brief_frame(self.content)
            return head + told if told is not None else None
        if isinstance(self.content, dict):
            told = _brief_message(self.content)
            return head + told if told is not None else None
        return None

    def render(self, width: int = 400) -> str:
        """One printable line, shortened to `width` characters of content, without secrets."""
        text = self.content if isinstance(self.content, str) else json.dumps(self.content, ensure_ascii=False)
        text = SECRET.sub(lambda found: f"{found.group(1) or found.group(2)}***", text)
        if len(text) > width:
            text = f"{text[:width]}… ({len(text)} characters)"
        return f"{written(self.at_ms)[11:23]} {self.who:<14} {ARROWS[self.direction]} {text}"


_DULL = frozenset({"MeterValues", "Heartbeat"})


def _brief_frame(frame: list[Any]) -> str | None:
    if not frame or frame[0] != 2 or len(frame) < 4 or frame[2] in _DULL or not isinstance(frame[3], dict):
        return f"CALLERROR {frame[2:4]}" if frame and frame[0] == 4 else None
    action, payload = str(frame[2]), frame[3]
    if action == "TransactionEvent":
        if payload.get("eventType") == "Updated":
            return None
        reason = payload.get("transactionInfo", {}).get("stoppedReason")
        return f"OCPP {action} {payload.get('eventType')}{f' ({reason})' if reason else ''}"
    names = ("status", "connectorStatus", "reason", "idTag", "meterStart", "meterStop", "type")
    shown = ", ".join(f"{name} {payload[name]}" for name in names if payload.get(name) is not None)
    return f"OCPP {action}{f' ({shown})' if shown else ''}"


def _brief_message(body: dict[str, Any]) -> str | None:
    context, message = body.get("context"), body.get("message")
    if not isinstance(context, dict):
        error = body.get("error")
        return f"NACK {error}" if body.get("ack_status") == "NACK" else None
    order = message.get("order") if isinstance(message, dict) else None
    parts = [f"Beckn {context.get('action')}"]
    if isinstance(order, dict) and "items" in order:
        parts += _brief_order_v1(order)
    elif isinstance(order, dict):
        delivery = (order.get("beckn:fulfillment") or {}).get("beckn:deliveryAttributes") or {}
        payment, value = order.get("beckn:payment") or {}, order.get("beckn:orderValue") or {}
        parts += [str(order.get("beckn:orderStatus")), str(delivery.get("sessionStatus") or "")]
        if delivery.get("meteredEnergyKWh") is not None:
            parts.append(f"{delivery['meteredEnergyKWh']} kWh")
        if value.get("value") is not None:
            parts.append(f"worth {value['value']} {value.get('currency')}")
        if payment.get("beckn:paymentStatus"):
            amount = (payment.get("beckn:amount") or {}).get("value")
            parts.append(f"payment {payment['beckn:paymentStatus']} {amount if amount is not None else ''}")
    if body.get("error"):
        parts.append(f"error {body['error']}")
    return " ".join(part for part in parts if part)


def _brief_order_v1(order: dict[str, Any]) -> list[str]:
    """An order of generation 1: state, energy, worth, the last payment."""
    fulfillment = (order.get("fulfillments") or [{}])[0]
    parts = [str(order.get("status") or ""), str(fulfillment.get("state", {}).get("descriptor", {}).get("code") or "")]
    allocated = order["items"][0].get("quantity", {}).get("allocated", {}).get("measure") if order["items"] else None
    if allocated:
        parts.append(f"{allocated.get('value')} {allocated.get('unit')}")
    price = order.get("quote", {}).get("price")
    if price:
        parts.append(f"worth {price.get('value')} {price.get('currency')}")
    for payment in order.get("payments") or []:
        amount = payment.get("params", {}).get("amount")
        parts.append(f"payment {payment.get('status') or ''} {amount if amount is not None else ''}".rstrip())
    return parts


@dataclass(slots=True)
class Transcript:
    """An append-only list of entries, told to listeners as they come. The oldest go when `keep` is passed."""

    listeners: list[Listener] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    keep: int = 20_000

    def add(self, who: str, direction: Direction, content: Any) -> None:
        """Record one thing said, heard or done by `who`."""
        entry = Entry(wall_ms(), who, direction, content)
        self.entries.append(entry)
        if len(self.entries) > self.keep:
            del self.entries[: self.keep // 10]
        for listener in self.listeners:
            listener(entry)

    def frames(self, direction: Direction, action: str | None = None) -> list[list[Any]]:
        """The OCPP frames of one direction, oldest first; with `action`, only the CALLs of that action."""
        return [
            entry.content
            for entry in self.entries
            if entry.direction == direction
            and isinstance(entry.content, list)
            and (action is None or (len(entry.content) > 2 and entry.content[0] == 2 and entry.content[2] == action))
        ]

    def render(self) -> str:
        """The whole story as text."""
        return "\n".join(entry.render() for entry in self.entries)
