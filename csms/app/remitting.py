"""Money that buyer apps pay over for what they collected, and fleets for what stands on their account: recorded once
per reference, then laid on orders.

A payment settles orders from the oldest on, as far as it reaches; only orders that are over, because what an open one
will cost nobody knows yet. What finds no order stays with the payment and is laid on later ones (`tick`). Tax deducted
at source settles like money, under a reference that says so (`statement.WITHHELD`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from csms.app.orders import entry_from, ledger_of, post
from csms.domain.ledger import Account, LedgerEntry, account_paid, outstanding, remitted
from csms.domain.order import State
from csms.domain.refusal import Refusal, Why
from csms.domain.statement import WITHHELD
from csms.domain.units import from_minor
from csms.ports import Clock, Fact, ReadTx, Row, Store, Table, Tx

BAP: Final = "bap"
FLEET: Final = "fleet"
ACCOUNTS: Final = {BAP: Account.BAP, FLEET: Account.FLEET}
_CHUNK: Final = 200
_OVER: Final = (State.COMPLETED.value, State.CANCELLED.value, State.FAILED.value, State.EXPIRED.value)
_LOOK_EVERY_MS: Final = 300_000


@dataclass(frozen=True, slots=True, order=True)
class Payer:
    """Who pays over: a buyer app by its id, or a fleet by its."""

    kind: str
    party: str


class Remitting:
    """Records payments and lays them on orders."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._looked_ms = 0

    async def record(
        self, payer: Payer, ref: str, *, amount_minor: int, withheld_minor: int, who: str
    ) -> tuple[Row, bool]:
        """The payment as it stands after it was laid on orders, and whether it is new. The same reference with other
        amounts is refused."""
        now_ms = self._clock.now_ms()
        row: Row = {
            "payer": payer.kind,
            "party": payer.party,
            "ref": ref,
            "amount_minor": amount_minor,
            "withheld_minor": withheld_minor,
            "left_minor": amount_minor + withheld_minor,
            "at_ms": now_ms,
            "who": who,
        }
        is_new = await self._store.transact(partial(_keep, row=row))
        await self.lay(payer)
        kept = await self._store.read(
            lambda tx: tx.one(Table.REMITTANCES, payer=payer.kind, party=payer.party, ref=ref)
        )
        assert kept is not None
        return kept, is_new

    async def tick(self, now_ms: int) -> None:
        """Lay what is left of payments on orders that have ended meanwhile."""
        if now_ms - self._looked_ms < _LOOK_EVERY_MS:
            return
        self._looked_ms = now_ms
        left = await self._store.read(lambda tx: tx.many(Table.REMITTANCES, order="left_minor", after=0))
        for payer in sorted({Payer(row["payer"], row["party"]) for row in left}):
            await self.lay(payer)

    async def lay(self, payer: Payer) -> None:
        """Lay all that is left of a party's payments on its orders, oldest first, a few at a time."""
        after: int | None = 0
        while after is not None:
            orders, after = await self._store.read(partial(_receivable, payer=payer, after=after))
            if orders and not await self._store.transact(partial(self._lay, payer=payer, orders=orders)):
                return

    def _lay(self, tx: Tx, payer: Payer, orders: Sequence[str]) -> bool:
        """One bite; whether something is left for more."""
        now_ms = self._clock.now_ms()
        where: dict[str, Any] = {"payer": payer.kind, "party": payer.party}
        refs = [row["ref"] for row in tx.many(Table.REMITTANCES, order="no", **where) if row["left_minor"] > 0]
        purses = [_Purse(row) for ref in refs if (row := tx.take(Table.REMITTANCES, **where, ref=ref)) is not None]
        for order_id in orders:
            entries = ledger_of(tx, order_id)
            now = outstanding(entries)
            open_minor = now.receivable_minor if payer.kind == BAP else now.on_account_minor
            for purse in purses:
                open_minor -= purse.lay(tx, entries, order_id, open_minor, now_ms)
        for purse in purses:
            purse.save(tx)
        return any(purse.left_minor for purse in purses)


class _Purse:
    """What is left of one payment: money first, then what was withheld."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._pay = remitted if row["payer"] == BAP else account_paid
        self.left_minor: int = row["left_minor"]
        self._pass = int(row["passes"]) + 1

    def lay(self, tx: Tx, entries: list[LedgerEntry], order_id: str, open_minor: int, now_ms: int) -> int:
        """Settle up to `open_minor` of an order; how much."""
        laid = 0
        for is_money in (True, False):
            withheld_left = min(self.left_minor, self._row["withheld_minor"])
            available = self.left_minor - withheld_left if is_money else withheld_left
            part = min(open_minor - laid, available)
            if part <= 0:
                continue
            # A reference may reach an order twice, when a later bill opened it again: each pass is told apart.
            ref = self._row["ref"] + (f"#{self._pass}" if self._pass > 1 else "") + ("" if is_money else WITHHELD)
            entries += post(tx, self._pay(entries, order_id, amount_minor=part, ref=ref, at_ms=now_ms))
            self.left_minor -= part
            laid += part
        return laid

    def save(self, tx: Tx) -> None:
        if self.left_minor != self._row["left_minor"]:
            values = {"left_minor": self.left_minor, "passes": self._pass}
            where = {name: self._row[name] for name in ("payer", "party", "ref")}
            tx.change(Table.REMITTANCES, values, **where)


def _keep(tx: Tx, row: Row) -> bool:
    """Store a payment; whether it is new. Raises Refusal for a known reference with other amounts."""
    where = {name: row[name] for name in ("payer", "party", "ref")}
    standing = tx.take(Table.REMITTANCES, **where)
    amounts = ("amount_minor", "withheld_minor")
    if standing is not None:
        if any(standing[name] != row[name] for name in amounts):
            money, withheld = (from_minor(standing[name]) for name in amounts)
            raise Refusal(
                Why.ALREADY_EXISTS,
                f"The reference {row['ref']} of {row['party']} is recorded already, with {money} and {withheld}"
                " withheld.",
            )
        return False
    if not _is_known(tx, Payer(row["payer"], row["party"])):
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no {row['payer']} {row['party']!r} that ever had an order here.")
    tx.add(Table.REMITTANCES, {**row, "no": tx.next_no("remittances")})
    body = {name: row[name] for name in ("payer", "party", "ref", *amounts, "who")}
    tx.append([Fact("RemittanceRecorded", row["at_ms"], body)])
    return True


def _is_known(tx: ReadTx, payer: Payer) -> bool:
    if payer.kind == FLEET:
        # One that was removed still owes what its orders put on its account.
        is_there = tx.one(Table.FLEETS, id=payer.party) is not None
        return is_there or bool(tx.many(Table.ORDERS, fleet_id=payer.party, limit=1))
    return bool(tx.many(Table.ORDERS, bap_id=payer.party, limit=1))


def _receivable(tx: ReadTx, payer: Payer, after: int) -> tuple[list[str], int | None]:
    """The next orders that are over and have something to be paid over, oldest first, and where to go on."""
    where: dict[str, Any] = {"bap_id": payer.party} if payer.kind == BAP else {}
    rows = tx.many(Table.ORDERS, order="no", after=after, limit=_CHUNK, state=_OVER, **where)
    ids = [row["id"] for row in rows if _is_due(json.loads(row["data"]), payer)]
    open_minor: dict[str, int] = {}
    for row in tx.many(Table.LEDGER, order_id=ids, account=ACCOUNTS[payer.kind].value) if ids else []:
        open_minor[row["order_id"]] = open_minor.get(row["order_id"], 0) + entry_from(row).amount_minor
    going_on = int(rows[-1]["no"]) if len(rows) == _CHUNK else None
    return [order_id for order_id in ids if open_minor.get(order_id, 0) > 0], going_on


def _is_due(order: dict[str, Any], payer: Payer) -> bool:
    """What it cost is known, and this party pays for it."""
    if payer.kind == FLEET and order.get("fleet_id") != payer.party:
        return False
    return order["state"] != State.COMPLETED.value or order.get("final") is not None
