"""What drivers see on the public pages: how the charging goes, what there is to pay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from csms.app.collecting import data_of, row_of_payment
from csms.app.orders import order_from
from csms.app.till import find_payment
from csms.domain.order import Order, State
from csms.ports import Clock, ReadTx, Row, Store, Table


class Buying:
    """`edges.public.Buying`. `page` renders an order and its session as the tracking view, `papers` lists its
    invoices."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        page: Callable[[Order, Row | None], Mapping[str, Any]],
        papers: Callable[[ReadTx, str], list[dict[str, Any]]] = lambda _tx, _order_id: [],
    ) -> None:
        self._store = store
        self._clock = clock
        self._page = page
        self._papers = papers

    async def tracked(self, token: str) -> Mapping[str, Any] | None:
        """The live view behind a tracking token."""

        def query(tx: ReadTx) -> Mapping[str, Any] | None:
            row = tx.one(Table.ORDERS, tracking=token)
            if row is None:
                return None
            session = tx.one(Table.SESSIONS, id=row["session_id"]) if row["session_id"] else None
            papers = self._papers(tx, row["id"])
            return {**self._page(order_from(row), session), **({"documents": papers} if papers else {})}

        return await self._store.read(query)

    async def payment(self, payment_id: str) -> Mapping[str, Any] | None:
        """What is asked for under this payment id: an order's payment or a top-up."""

        def query(tx: ReadTx) -> Mapping[str, Any] | None:
            found = find_payment(tx, payment_id)
            order, payment, is_top_up = found if found is not None else (None, None, False)
            if order is None or payment is None:
                return None
            row = row_of_payment(tx, payment_id)
            intent = payment.details.get("upi_intent") or (data_of(row).get("upi_intent") if row is not None else None)
            is_open = (
                payment in order.open_top_ups if is_top_up else not payment.is_good and order.state is State.INITIALISED
            )
            return {
                "amount_minor": payment.amount_minor,
                "currency": order.quote.currency,
                "status": payment.status.value,
                "upi_intent": str(intent or ""),
                "what": f"Charging at {order.station}" + (", energy beyond the order" if is_top_up else ""),
                "hold": bool(payment.details.get("hold")),
                "is_paid": payment.is_good,
                "is_open": is_open and (is_top_up or self._clock.now_ms() <= order.quote_expires_ms),
            }

        return await self._store.read(query)
