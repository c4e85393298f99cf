"""What displays on chargers show of a session's price, from memory: nothing here reads on the charger's path.

    the station says it shows costs ─▶ learnt ─▶ totalCost in the answers to Ended and, when due, to Updated
    every so often, where no answer told the newest sum ─▶ CostUpdated            (2.0.1 I02, I03, I06)

A session of an order is priced by the order's own terms, which are loaded when it is confirmed; any other by the
tariff of its socket. Where neither is known nothing is said: 0 would mean that it is free.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, Final

from csms.app import instructions
from csms.app.catalogue import Inventory
from csms.app.orders import find_order, ledger_of, order_from
from csms.app.stations import Station, Stations
from csms.domain.instruction import Kind
from csms.domain.ledger import LedgerEntry
from csms.domain.order import Order
from csms.domain.running_cost import price_text, priced
from csms.domain.session_record import Session
from csms.domain.settlement import asked_for
from csms.domain.tariff import Tariff, Terms
from csms.ports import Bell, Fact, Ids, ReadTx, Store, Table, Tx

_RUNNING: Final = ("CONFIRMED", "STARTING", "ACTIVE", "INTERRUPTED", "STOPPING")
_KEPT_ORDERS: Final = 1000
# What changes the ledger of an order that still runs, and with it how much of a shortfall is waived.
_PAID: Final = frozenset({"PaymentRecorded", "OrderEstimated"})
_OVER: Final = frozenset({"OrderBilled", "OrderCancelled", "OrderExpired", "OrderFailed"})
_ENDS: Final = frozenset({"SessionEnded", "SessionAbandoned", "SessionVoided"})


@dataclass(slots=True)
class Display:
    """What a station says of its own display (2.0.1 TariffCostCtrlr); None: it has not said."""

    has_cost: bool | None = None
    cost_enabled: bool | None = None
    has_tariff: bool | None = None
    tariff_enabled: bool | None = None
    currency: str | None = None

    @property
    def shows_cost(self) -> bool:
        """Whether it may be sent costs."""
        return _is_on(self.has_cost, self.cost_enabled)

    @property
    def shows_tariff(self) -> bool:
        """Whether it may be sent prices in words."""
        return _is_on(self.has_tariff, self.tariff_enabled)


def _is_on(available: bool | None, enabled: bool | None) -> bool:
    return available is not False and (enabled is True or (enabled is None and available is True))


@dataclass(slots=True)
class _Told:
    """What a session's display was told last."""

    at_ms: int = 0
    cost: Decimal | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class _Sold:
    """An order and its ledger: the display shows what the bill will ask for, less what is waived."""

    order: Order
    entries: list[LedgerEntry]


@dataclass(slots=True)
class _Memory:
    displays: dict[str, Display] = field(default_factory=dict)  # by charger, only those that spoke of one
    orders: dict[str, _Sold] = field(default_factory=dict)  # by id
    over: deque[str] = field(default_factory=deque)  # orders that are not needed any more, oldest first
    told: dict[int, _Told] = field(default_factory=dict)  # by session number


class Costs:
    """Prices and costs for displays."""

    FOLLOWED: Final = frozenset({"OrderConfirmed"}) | _PAID | _OVER | _ENDS

    def __init__(
        self, *, store: Store, inventory: Inventory, stations: Stations, ids: Ids, bell: Bell, every_s: float
    ) -> None:
        self._store = store
        self._inventory = inventory
        self._stations = stations
        self._ids = ids
        self._bell = bell
        self._every_ms = int(every_s * 1000)  # 0: the total only
        self._memory = _Memory()

    async def load(self, learnt: Mapping[str, Display]) -> None:
        """Running orders, and what chargers have said of their displays before (by charger)."""
        self._memory.displays.update(learnt)
        for sold in await self._store.read(_running):
            self._memory.orders[sold.order.order_id] = sold

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """Orders come with their terms and go; so do sessions."""
        for fact in facts:
            if fact.kind in _ENDS and fact.session_no is not None:
                self._memory.told.pop(fact.session_no, None)
            elif fact.order_id is None:
                continue
            elif fact.kind == "OrderConfirmed" or (fact.kind in _PAID and fact.order_id in self._memory.orders):
                sold = await self._store.read(partial(_sold, order_id=fact.order_id))
                if sold is not None and fact.order_id not in self._memory.over:
                    self._memory.orders[fact.order_id] = sold
            elif fact.kind in _OVER:
                self._forget(fact.order_id)

    def _forget(self, order_id: str) -> None:
        """A charger may repeat its last message for a while, and is to hear the same."""
        over = self._memory.over
        if order_id in self._memory.orders and order_id not in over:
            over.append(order_id)
        while len(over) > _KEPT_ORDERS:
            self._memory.orders.pop(over.popleft(), None)

    def display(self, station_id: str) -> Display:
        """What is known of a charger's display, to be changed by whoever learns more."""
        return self._memory.displays.setdefault(station_id, Display())

    # -- asked on the charger's path: memory only

    def final(self, station: Station, session: Session | None) -> Decimal | None:
        """The total for the answer to the end; None where it is not shown or not known (I03.FR.02, I03.FR.04)."""
        if session is None or not self._shows_cost(station, session):
            return None
        terms = self._terms(session)
        bill = priced(terms, session) if terms is not None else None
        sold = self._memory.orders.get(session.order_id) if session.order_id is not None else None
        if bill is not None and sold is not None:
            order = sold.order
            bill = asked_for(
                sold.entries, order.order_id, bill, session.energy_wh, terms=order.terms, want=order.want,
                our_fault=session.our_fault, at_ms=session.last_proven_at_ms or 0,
            )  # fmt: skip
        return bill.total if bill is not None else None

    def running(self, station: Station, session: Session | None, now_ms: int) -> Decimal | None:
        """The cost so far, when the display is due to hear it (I02.FR.01)."""
        if not self._every_ms or session is None or station.id not in self._memory.displays:
            return None
        told = self._memory.told.get(session.no)
        if told is not None and told.cost is not None and now_ms - told.at_ms < self._every_ms:
            return None
        total = self.final(station, session)
        if total is not None:
            told = self._memory.told.setdefault(session.no, _Told())
            told.at_ms, told.cost = now_ms, total
        return total

    def session_text(self, station: Station, session: Session | None, now_ms: int) -> str | None:
        """The prices of a session, when its display has not been told them or they are others by now (I06.FR.01)."""
        if session is None or not self._shows_tariff(station):
            return None
        terms = self._terms(session)
        text = price_text(terms.tariff, now_ms) if terms is not None else None
        told = self._memory.told.setdefault(session.no, _Told())
        if text is None or text == told.text:
            return None
        told.text = text
        return text

    def station_text(self, station: Station, now_ms: int) -> str | None:
        """The prices at a charger for somebody who has not chosen a socket; None where its sockets differ (I01)."""
        if not self._shows_tariff(station):
            return None
        tariffs = {tariff.tariff_id: tariff for tariff in self._tariffs(station)}
        return price_text(next(iter(tariffs.values())), now_ms) if len(tariffs) == 1 else None

    # -- time

    async def tick(self, now_ms: int) -> None:
        """Tell the displays that no answer has told the newest cost in time."""
        if not self._every_ms or not self._memory.told:
            return
        due = [found for found in self._told_sessions() if now_ms - found[2].at_ms >= self._every_ms]
        for station, session, told in due:
            total = self.final(station, session)
            if total is None or total == told.cost or not station.online:
                continue
            told.at_ms, told.cost = now_ms, total
            tx_id = session.segments[-1].tx_id
            payload: dict[str, Any] = {
                "action": "CostUpdated",
                "payload": {"totalCost": float(total), "transactionId": tx_id},
            }
            await self._store.transact(
                partial(self._issue, station=station, session=session, payload=payload, now_ms=now_ms)
            )
            self._bell.ring("instructions")

    def _told_sessions(self) -> list[tuple[Station, Session, _Told]]:
        found = []
        for station_id in self._memory.displays:
            station = self._stations.get(station_id)
            for session in station.sessions.values() if station is not None else ():
                if (told := self._memory.told.get(session.no)) is not None and told.cost is not None:
                    assert station is not None
                    found.append((station, session, told))
        return found

    def _issue(self, tx: Tx, station: Station, session: Session, payload: dict[str, Any], now_ms: int) -> None:
        instructions.issue(
            tx,
            instruction_id=self._ids.uuid(),
            station=station.id,
            kind=Kind.RAW,
            payload=payload,
            now_ms=now_ms,
            ttl_s=max(1, self._every_ms // 1000),  # a newer sum is on its way by then
            session_id=session.session_id,
            order_id=session.order_id,
        )

    # -- the pieces

    def _shows_cost(self, station: Station, session: Session) -> bool:
        display = self._memory.displays.get(station.id)
        if display is None or not display.shows_cost:
            return False
        terms = self._terms(session)
        return terms is not None and display.currency in {None, "", terms.tariff.currency}

    def _shows_tariff(self, station: Station) -> bool:
        display = self._memory.displays.get(station.id)
        return display is not None and display.shows_tariff

    def _terms(self, session: Session) -> Terms | None:
        if session.order_id is not None:
            sold = self._memory.orders.get(session.order_id)
            return sold.order.terms if sold is not None else None
        return self._inventory.terms_of(
            session.station, session.evse, session.connector, session.token, session.started_at_ms or 0
        )

    def _tariffs(self, station: Station) -> Iterable[Tariff]:
        for evse, connector in station.sockets:
            offering = self._inventory.at(station.id, evse, connector) if connector else None
            if offering is not None and offering.tariff is not None:
                yield offering.tariff


def _sold(tx: ReadTx, order_id: str) -> _Sold | None:
    order = find_order(tx, order_id)
    return _Sold(order, ledger_of(tx, order_id)) if order is not None else None


def _running(tx: ReadTx) -> list[_Sold]:
    orders = map(order_from, tx.many(Table.ORDERS, state=_RUNNING))
    return [_Sold(order, ledger_of(tx, order.order_id)) for order in orders]
