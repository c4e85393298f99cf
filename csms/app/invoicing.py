"""From bills to invoices and notes. Follows the journal; every step may be done twice.

    OrderBilled      -> invoice                      OrderCancelled with a fee -> invoice of the fee
    OrderRevised     -> credit or debit note of the difference

Nothing is invoiced while no tax settings are in force at the time of supply. When they are set or corrected, orders
without their documents are gone through again (`tick`), from the first one on, as far as the settings reach back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import structlog

from csms.app import documents
from csms.app.cases import open_case
from csms.app.catalogue import Inventory, Offering
from csms.app.orders import find_order, order_from
from csms.domain.breakdown import Breakdown
from csms.domain.buyer import Buyer
from csms.domain.invoice import (
    Metered,
    NotInvoiced,
    Stamp,
    Supply,
    check,
    document,
    due,
)
from csms.domain.order import Order, State
from csms.domain.refusal import Refusal
from csms.domain.stored import from_json
from csms.domain.taxes import entry_at
from csms.ports import Clock, Fact, Ids, ReadTx, Row, Store, StoreDown, Table, Tx

log = structlog.get_logger()

_AGAIN: Final = "invoicing:again"  # the number of the order to go on with
_PAGE: Final = 50


class Invoicing:
    """The follower that makes documents of orders. What was supplied more than `keep_days` ago is past: its documents
    may have been deleted, and are not made again."""

    FOLLOWED: Final = frozenset({"OrderBilled", "OrderRevised", "OrderCancelled"})

    def __init__(self, *, store: Store, inventory: Inventory, clock: Clock, ids: Ids, keep_days: int) -> None:
        self._store = store
        self._inventory = inventory
        self._clock = clock
        self._ids = ids
        self._keep_ms = keep_days * 86_400_000
        self._is_again = True  # a process that ended in the middle goes on

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """Each in its own transaction: one that cannot be invoiced keeps no other from it."""
        now_ms = self._clock.now_ms()
        failed: Exception | None = None
        for fact in facts:
            if fact.order_id is None:
                continue
            try:
                await self._store.transact(partial(self._on_fact, fact=fact, now_ms=now_ms))
            except StoreDown:
                raise
            except Exception as error:
                log.exception("invoicing.failed", order_id=fact.order_id, kind=fact.kind)
                failed = error
        if failed is not None:
            raise failed

    def _on_fact(self, tx: Tx, fact: Fact, now_ms: int) -> None:
        order = find_order(tx, fact.order_id or "")
        if order is None:
            return
        # The bill as it was at this fact: the order may have been billed again meanwhile.
        if fact.kind == "OrderCancelled":
            self.invoice(tx, order, _read(fact.body["fee"]), 1, now_ms)
        else:
            self.invoice(
                tx,
                order,
                _read(fact.body["breakdown"]),
                fact.body["revision"],
                now_ms,
                delivered_wh=fact.body["delivered_wh"],
            )

    def invoice(
        self, tx: Tx, order: Order, bill: Breakdown, revision: int, now_ms: int, *, delivered_wh: int = 0
    ) -> Row | None:
        """Bring the documents of an order to its bill. None when they say so already, or nothing can be made."""
        made = documents.of_order(tx, order.order_id)
        if any(row["revision"] >= revision for row in made):
            return None
        wanted = due(bill, [documents.figures_from(row) for row in made])
        supplied_ms = order.ended_at_ms or order.cancelled_at_ms or now_ms
        entry = entry_at(documents.tax_entries(tx), supplied_ms)
        if wanted is None or entry is None or supplied_ms < now_ms - self._keep_ms:
            return None
        session = tx.one(Table.SESSIONS, id=order.session_id) if order.session_id else None
        offering = self._offering(order)
        supply = Supply(
            order=order,
            bill=bill,
            revision=revision,
            supplied_ms=supplied_ms,
            metered=_metered(order, session, offering, delivered_wh),
            station_state=_state(offering),
            buyer=_payer(tx, order),
        )
        try:
            seller = check(supply, entry)
        except NotInvoiced as problem:
            self._case(tx, order, revision, str(problem), now_ms)
            return None
        kind, figures = wanted
        first = documents.invoice_from(made[0]) if made else None
        stamp = Stamp(
            number="",  # with the row
            issued_ms=now_ms,
            refers_to=first.number if first is not None else None,
            refers_to_ms=first.issued_ms if first is not None else None,
        )
        it = document(supply, entry, seller, kind, figures, stamp)
        return documents.add_invoice(tx, it, sign=seller.sign, document_id=self._ids.uuid(), token=self._ids.secret())

    def _offering(self, order: Order) -> Offering | None:
        try:
            return self._inventory.find(order.item_id)
        except Refusal:
            return self._inventory.at(order.station, order.evse, order.connector)

    @staticmethod
    def _case(tx: Tx, order: Order, revision: int, text: str, now_ms: int) -> None:
        open_case(
            tx,
            case_id=f"not-invoiced:{order.order_id}:{revision}",
            type_="NOT_INVOICED",
            severity="money",
            text=text,
            now_ms=now_ms,
            station=order.station,
            order_id=order.order_id,
        )

    # -- settings that came later

    @staticmethod
    def mark_again(tx: Tx) -> None:
        """Have all orders gone through again, a few at a time; to be followed by `go_again`."""
        tx.save(Table.SETTINGS, {"name": _AGAIN, "value": "0"})

    def go_again(self) -> None:
        """Begin with it now."""
        self._is_again = True

    async def tick(self, now_ms: int) -> None:
        """The next few orders, while there is something to go through."""
        if self._is_again:
            self._is_again = await self._store.transact(partial(self._some, now_ms=now_ms))

    def _some(self, tx: Tx, now_ms: int) -> bool:
        mark = tx.take(Table.SETTINGS, name=_AGAIN)
        if mark is None:
            return False
        rows = tx.many(Table.ORDERS, order="no", after=int(mark["value"]), limit=_PAGE)
        for row in rows:
            if row["state"] in (State.COMPLETED.value, State.CANCELLED.value):
                self._again(tx, order_from(row), now_ms)
        if len(rows) < _PAGE:
            tx.drop(Table.SETTINGS, name=_AGAIN)
            return False
        tx.save(Table.SETTINGS, {"name": _AGAIN, "value": str(rows[-1]["no"])})
        return True

    def _again(self, tx: Tx, order: Order, now_ms: int) -> None:
        try:
            if order.final is not None:
                self.invoice(tx, order, order.final, order.revision, now_ms, delivered_wh=order.delivered_wh or 0)
            elif order.cancellation_fee is not None:
                self.invoice(tx, order, order.cancellation_fee, 1, now_ms)
        except (ValueError, LookupError, TypeError):  # found before anything is written; the next order has its turn
            log.exception("invoicing.failed", order_id=order.order_id)


def links(tx: ReadTx, order_id: str, address: Callable[[str], str]) -> list[dict[str, Any]]:
    """What a driver is shown of the documents of an order, oldest first."""
    return [
        {"kind": row["kind"], "number": row["number"], "url": address(row["token"])}
        for row in documents.of_order(tx, order_id)
        if row["token"]
    ]


def _read(breakdown: Mapping[str, Any]) -> Breakdown:
    return from_json(Breakdown, breakdown)


def _metered(order: Order, session: Row | None, offering: Offering | None, delivered_wh: int) -> Metered:
    location = offering.location if offering is not None else {}
    place = ", ".join(str(location[name]) for name in ("name", "address", "city") if location.get(name))
    if session is None:
        return Metered(station=order.station, place=place or None)
    return Metered(
        session_id=session["id"],
        station=order.station,
        place=place or None,
        energy_wh=delivered_wh,
        meter_start_wh=session["meter_start_wh"],
        meter_stop_wh=session["meter_stop_wh"],
        started_ms=session["started_ms"],
        ended_ms=session["ended_ms"],
    )


def _payer(tx: ReadTx, order: Order) -> Buyer | None:
    """The fleet on whose account the order stands."""
    row = tx.one(Table.FLEETS, id=order.fleet_id) if order.on_account else None
    if row is None:
        return None
    fleet = json.loads(row["data"])
    return Buyer(
        organization=fleet.get("name") or row["id"],
        tax_id=fleet.get("tax_id"),
        address=fleet.get("address"),
        state=fleet.get("state"),
    )


def _state(offering: Offering | None) -> str | None:
    """OCPI's `state` of a location; the three letters of ISO 3166-2 do as well."""
    state = offering.location.get("state") if offering is not None else None
    return str(state) if state else None
