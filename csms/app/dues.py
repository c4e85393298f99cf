"""Who owes us money for energy beyond an order: a driver in debt begins nothing new until it is paid (SESSIONS 5.9).

    TopUpRequested, OrderRevised, TopUpReceived ─▶ the order's ledger ─▶ what its driver owes, in memory

The ledger is the truth; nothing is kept beside it. A driver is known by what the buyer's app said of the buyer (a
telephone number, an address), a token's by what an operator wrote on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from csms.app.orders import find_order, ledger_of
from csms.domain.access import Token, driver_norm
from csms.domain.ledger import EntryKind, outstanding
from csms.domain.order import Order
from csms.ports import Fact, ReadTx, Store, Table


@dataclass(frozen=True, slots=True)
class Due:
    """What one order leaves unpaid."""

    order_id: str
    amount_minor: int
    currency: str
    since_ms: int
    drivers: frozenset[str]  # normalised names of whoever ordered


class Dues:
    """Follower of the journal that knows every unpaid amount. `names_of` tells who an order's buyer is."""

    FOLLOWED: Final = frozenset({"TopUpRequested", "TopUpReceived", "OrderBilled", "OrderRevised", "RefundMade"})

    def __init__(
        self,
        store: Store,
        *,
        names_of: Callable[[Order], Sequence[str]],
        blocks: bool,
        on_change: Callable[[], None],
    ) -> None:
        self._store = store
        self._names_of = names_of
        self._blocks = blocks
        self._on_change = on_change
        self._by_order: dict[str, Due] = {}
        self._by_driver: dict[str, list[Due]] = {}

    async def load(self) -> None:
        """Read every unpaid top-up, at start."""

        def query(tx: ReadTx) -> dict[str, Due]:
            asked = tx.many(Table.PAYMENTS, status="asked", kind="topup")
            found = {row["order_id"]: self._due(tx, row["order_id"]) for row in asked}
            return {order_id: due for order_id, due in found.items() if due is not None}

        self._by_order = await self._store.read(query)
        self._sort()

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """Look again at the orders these facts are about."""
        orders = sorted({fact.order_id for fact in facts if fact.order_id is not None})
        found = await self._store.read(lambda tx: {order_id: self._due(tx, order_id) for order_id in orders})
        before = dict(self._by_order)
        for order_id, due in found.items():
            if due is None:
                self._by_order.pop(order_id, None)
            else:
                self._by_order[order_id] = due
        if self._by_order != before:
            self._sort()
            self._on_change()

    def of(self, token: Token) -> list[Due]:
        """What the driver of a token owes, oldest first; nothing where debts block nobody."""
        if not self._blocks or not self._by_driver:
            return []
        return self._by_driver.get(driver_norm(token.driver) or "", [])

    def of_names(self, names: Iterable[str]) -> list[Due]:
        """What any of these names owes, oldest first."""
        if not self._blocks or not self._by_driver:
            return []
        norms = {driver_norm(name) or "" for name in names}
        found = {due.order_id: due for norm in norms for due in self._by_driver.get(norm, ())}
        return sorted(found.values(), key=_age)

    def _sort(self) -> None:
        self._by_driver = {}
        for due in sorted(self._by_order.values(), key=_age):
            for driver in due.drivers:
                self._by_driver.setdefault(driver, []).append(due)

    def _due(self, tx: ReadTx, order_id: str) -> Due | None:
        entries = ledger_of(tx, order_id)
        amount_minor = outstanding(entries).due_minor
        order = find_order(tx, order_id) if amount_minor > 0 else None
        if order is None:
            return None
        since_ms = min((entry.at_ms for entry in entries if entry.kind is EntryKind.TOP_UP_DUE), default=0)
        names = (driver_norm(name) for name in self._names_of(order))
        drivers = frozenset(name for name in names if name is not None)
        return Due(order_id, amount_minor, order.quote.currency, since_ms, drivers)


def _age(due: Due) -> tuple[int, str]:
    return due.since_ms, due.order_id
