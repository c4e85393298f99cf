"""What buyers thought. The last opinion of a conversation about a thing counts (BECKN 4.12)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from csms.domain.order import Order
from csms.ports import Fact, ReadTx, Table, Tx

_WORST: Final = Decimal(1)
_BEST: Final = Decimal(5)
_NEWEST: Final = 1_000  # an average of more says nothing else


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """One opinion about `subject`, on the scale from `worst` to `best`."""

    subject: str
    category: str
    value: Decimal
    worst: Decimal = _WORST
    best: Decimal = _BEST
    comments: str | None = None
    tags: tuple[str, ...] = ()

    @property
    def on_our_scale(self) -> Decimal:
        """The same from 1 to 5."""
        part = (self.value - self.worst) / (self.best - self.worst)
        return _WORST + part * (_BEST - _WORST)


def keep(tx: Tx, opinion: Opinion, *, bap_id: str, transaction_id: str, order_id: str | None, now_ms: int) -> None:
    """Keep an opinion in place of the one before."""
    said: dict[str, Any] = {
        "comments": opinion.comments,
        "tags": list(opinion.tags),
        "given": [str(opinion.worst), str(opinion.value), str(opinion.best)],
    }
    tx.save(
        Table.RATINGS,
        {
            "bap_id": bap_id,
            "subject": opinion.subject,
            "category": opinion.category,
            "transaction_id": transaction_id,
            "value": f"{opinion.on_our_scale:.4f}",
            "feedback": json.dumps(said, ensure_ascii=False),
            "at_ms": now_ms,
        },
    )
    body = {"subject": opinion.subject, "category": opinion.category, "value": f"{opinion.on_our_scale:.2f}"}
    tx.append([Fact("Rated", now_ms, body, order_id=order_id)])


def average(tx: ReadTx, subject: str) -> tuple[float, int]:
    """(the average of the newest opinions about a thing, how many there are)."""
    newest = tx.many(Table.RATINGS, order="-at_ms", limit=_NEWEST, subject=subject)
    if not newest:
        return 0.0, 0
    total = sum((Decimal(row["value"]) for row in newest), Decimal(0))
    return float(round(total / len(newest), 2)), tx.count(Table.RATINGS, subject=subject)


def names_of(order: Order) -> frozenset[str]:
    """Everything about an order that can be rated under a name its buyer was told."""
    told = {order.session_id, order.wire.get("fulfillment_id")}
    names = {order.order_id, order.item_id, order.station, f"ful-{order.order_id}"}
    return frozenset(names | {name for name in told if isinstance(name, str)})
