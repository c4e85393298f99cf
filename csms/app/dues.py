"""Who owes us money for energy beyond an order: a driver in debt begins nothing new until it is paid (SESSIONS 5.9).

    TopUpRequested, OrderRevised, TopUpReceived, DebtForgiven ─▶ the order's ledger ─▶ what its driver owes, in memory

The ledger is the truth; nothing is kept beside it. A driver is known by every name that belongs to the same person
(`app/identities.py`): a new telephone number does not help whoever pays from the same address or charges the same car.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from csms.app.identities import Identities
from csms.app.orders import find_order, ledger_of
from csms.domain.access import Token
from csms.domain.buyer import Buyer
from csms.domain.ledger import due_since_ms, outstanding
from csms.domain.order import Order
from csms.domain.refusal import Refusal, Why
from csms.domain.units import from_minor
from csms.ports import Fact, ReadTx, Store, Table

_OPEN_TOP_UPS: Final = ("asked", "forgiven")
_NEWS_OF_NAMES: Final = frozenset({"OrderConfirmed"})
_NEWS_OF_MONEY: Final = frozenset(
    {"TopUpRequested", "TopUpReceived", "OrderBilled", "OrderRevised", "RefundMade", "DebtForgiven"}
)


@dataclass(frozen=True, slots=True)
class Due:
    """What one order leaves unpaid. `url`: where the driver can pay it."""

    order_id: str
    amount_minor: int
    currency: str
    since_ms: int
    drivers: frozenset[str]  # every name of whoever ordered, hashed
    url: str | None = None


def _no_vehicles(_uid: str) -> Iterable[str]:
    return ()


class Dues:
    """Follower of the journal that knows every unpaid amount. `vehicles_of` tells which cars stand for a token."""

    FOLLOWED: Final = _NEWS_OF_MONEY | _NEWS_OF_NAMES | {"NameSetApart"}

    def __init__(
        self,
        store: Store,
        *,
        identities: Identities,
        blocks: bool,
        on_change: Callable[[], None],
        is_fleets: Callable[[Order], bool] = lambda _: False,
    ) -> None:
        self._store = store
        self._identities = identities
        self._blocks = blocks
        self._on_change = on_change
        self._is_fleets = is_fleets
        self._by_order: dict[str, Due] = {}
        self._by_driver: dict[str, list[Due]] = {}
        self.vehicles_of: Callable[[str], Iterable[str]] = _no_vehicles

    async def load(self) -> None:
        """Read every unpaid top-up, at start."""

        def query(tx: ReadTx) -> dict[str, Due]:
            asked = tx.many(Table.PAYMENTS, status=_OPEN_TOP_UPS, kind="topup")
            found = {row["order_id"]: self._due(tx, row["order_id"]) for row in asked}
            return {order_id: due for order_id, due in found.items() if due is not None}

        self._by_order = await self._store.read(query)
        self._sort()

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """Look again at the orders these facts are about, and at the debts of people who got a new name."""
        before = dict(self._by_order)
        if any(fact.kind == "NameSetApart" for fact in facts):
            await self.load()
        money = {fact.order_id for fact in facts if fact.order_id is not None and fact.kind in _NEWS_OF_MONEY}
        named = {fact.order_id for fact in facts if fact.order_id is not None and fact.kind in _NEWS_OF_NAMES}

        def query(tx: ReadTx) -> tuple[dict[str, Due | None], list[frozenset[str]]]:
            people = [self._person(tx, order_id) for order_id in sorted(named)] if self._by_order else []
            return {order_id: self._due(tx, order_id) for order_id in sorted(money)}, people

        found, people = await self._store.read(query)
        for order_id, due in found.items():
            if due is None:
                self._by_order.pop(order_id, None)
            else:
                self._by_order[order_id] = due
        for person in people:
            for due in list(self._by_order.values()):
                if due.drivers & person and not person <= due.drivers:
                    self._by_order[due.order_id] = replace(due, drivers=due.drivers | person)
        if self._by_order != before:
            self._sort()
            self._on_change()

    def all(self) -> list[Due]:
        """Every debt, oldest first, whether or not debts block anybody."""
        return sorted(self._by_order.values(), key=_age)

    def of(self, token: Token) -> list[Due]:
        """What the driver of a token owes, oldest first; nothing where debts block nobody."""
        if not self._blocks or not self._by_driver:
            return []
        return self._of_names(self._identities.of_token(token, self.vehicles_of(token.uid)))

    def of_buyer(self, tx: ReadTx, buyer: Buyer, bap_id: str, *, is_fleet: bool, but: str | None) -> list[Due]:
        """What a buyer owes for other orders than `but`, under any name of theirs, oldest first."""
        if not self._blocks or not self._by_driver:
            return []
        person = self._identities.person(tx, self._identities.of_buyer(buyer, bap_id, is_fleet=is_fleet))
        return [due for due in self._of_names(person) if due.order_id != but]

    def _of_names(self, names: Iterable[str]) -> list[Due]:
        found = {due.order_id: due for name in names for due in self._by_driver.get(name, ())}
        return sorted(found.values(), key=_age)

    def _sort(self) -> None:
        self._by_driver = {}
        for due in sorted(self._by_order.values(), key=_age):
            for driver in due.drivers:
                self._by_driver.setdefault(driver, []).append(due)

    def _person(self, tx: ReadTx, order_id: str) -> frozenset[str]:
        order = find_order(tx, order_id)
        return self._names(tx, order) if order is not None else frozenset()

    def _names(self, tx: ReadTx, order: Order) -> frozenset[str]:
        direct = self._identities.of_buyer(order.buyer, order.bap_id, is_fleet=self._is_fleets(order))
        return self._identities.person(tx, direct)

    def _due(self, tx: ReadTx, order_id: str) -> Due | None:
        entries = ledger_of(tx, order_id)
        amount_minor = outstanding(entries).due_minor
        order = find_order(tx, order_id) if amount_minor > 0 else None
        if order is None:
            return None
        url = next((top_up.url for top_up in reversed(order.open_top_ups)), None)
        since_ms = due_since_ms(entries) or 0
        return Due(order_id, amount_minor, order.quote.currency, since_ms, self._names(tx, order), url)


def refuse_debtor(dues: Sequence[Due]) -> None:
    """Refusal(BLOCKED) when something is owed, with where to pay it."""
    if not dues:
        return
    due = dues[0]
    where = f"pay it at {due.url}" if due.url is not None else "pay it in the app it was ordered with"
    amount = f"{from_minor(due.amount_minor)} {due.currency}"
    raise Refusal(Why.BLOCKED, f"the driver still owes {amount} for an earlier charging session; {where} first")


def _age(due: Due) -> tuple[int, str]:
    return due.since_ms, due.order_id
