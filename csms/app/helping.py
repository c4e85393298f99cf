"""What drivers do on the pages for help: look how a question stands, say what they thought."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from csms.app.orders import order_from
from csms.app.ratings import Opinion, keep
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339
from csms.ports import Clock, Store, Table, Tx


class Helping:
    """`edges.helpdesk.Helping`."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def ticket(self, token: str) -> Mapping[str, str | None] | None:
        """How a question stands; nothing about who asked."""
        row = await self._store.read(lambda tx: tx.one(Table.TICKETS, id=token))
        if row is None:
            return None
        return {
            "number": str(row["no"]),
            "state": row["state"],
            "answer": row["answer"],
            "opened_at": rfc3339(row["opened_ms"]),
            "closed_at": rfc3339(row["closed_ms"]) if row["closed_ms"] is not None else None,
        }

    async def may_rate(self, token: str) -> bool:
        """Whether the token is that of an order."""
        return await self._store.read(lambda tx: tx.one(Table.ORDERS, tracking=token)) is not None

    async def rated(self, token: str, value: Decimal, comments: str | None) -> None:
        """Keep an opinion about an order in place of the one before. Raises Refusal."""
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> None:
            row = tx.one(Table.ORDERS, tracking=token)
            if row is None:
                raise Refusal(Why.UNKNOWN_ORDER, "this link is not valid")
            order = order_from(row)
            opinion = Opinion(subject=order.order_id, category="ORDER", value=value, comments=comments)
            keep(
                tx,
                opinion,
                bap_id=order.bap_id,
                transaction_id=order.transaction_id,
                order_id=order.order_id,
                now_ms=now_ms,
            )

        await self._store.transact(work)
