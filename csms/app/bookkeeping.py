"""The office: documents of orders, statements of months, money that buyer apps pay over, and how long paper is kept.

What takes long (a month of a large network) runs in a task of its own, never in the clockwork of sessions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from csms.app import documents
from csms.app.catalogue import Inventory
from csms.app.documents import Documents
from csms.app.invoicing import Invoicing
from csms.app.remitting import Payer, Remitting
from csms.app.statements import StatementRules, Statements
from csms.domain.invoice import DocumentKind
from csms.domain.taxes import TaxEntry
from csms.ports import Clock, Fact, Ids, Row, Store, Tx

log = structlog.get_logger()

_TURN_S: Final = 1.0
_DROP_EVERY_MS: Final = 3_600_000


class Bookkeeping:
    """Everything on paper. `keep_days`: how long documents are kept at least, and at most."""

    FOLLOWED: Final = Invoicing.FOLLOWED

    def __init__(
        self, *, store: Store, inventory: Inventory, clock: Clock, ids: Ids, rules: StatementRules, keep_days: int
    ) -> None:
        self._store = store
        self._clock = clock
        self._keep_days = keep_days
        self._dropped_ms = 0
        self.documents = Documents(store)
        self.invoicing = Invoicing(store=store, inventory=inventory, clock=clock, ids=ids, keep_days=keep_days)
        self.statements = Statements(store=store, clock=clock, ids=ids, rules=rules)
        self.remitting = Remitting(store, clock)

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """News of orders."""
        await self.invoicing.on_facts(facts)

    async def set_taxes(self, entries: Sequence[TaxEntry], who: str) -> Sequence[TaxEntry]:
        """Replace the tax settings; orders that wait for them are invoiced. Raises Refusal."""
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> Sequence[TaxEntry]:
            kept = documents.save_tax_entries(tx, tuple(entries), who, now_ms)
            self.invoicing.mark_again(tx)
            return kept

        kept = await self._store.transact(work)
        self.invoicing.go_again()
        return kept

    async def make_statement(self, kind: str, party: str, period: str) -> tuple[Row, bool]:
        """The statement of a month, and whether it is new. Raises Refusal."""
        return await self.statements.make(DocumentKind(kind), party, period)

    async def remit(
        self, payer: str, party: str, ref: str, *, amount_minor: int, withheld_minor: int, who: str
    ) -> tuple[Row, bool]:
        """Record what a buyer app (`bap`) or a `fleet` paid over; the row and whether it is new. Raises Refusal."""
        return await self.remitting.record(
            Payer(payer, party), ref, amount_minor=amount_minor, withheld_minor=withheld_minor, who=who
        )

    async def run(self) -> None:
        """For ever: what has come due, one after the other."""
        while True:
            now_ms = self._clock.now_ms()
            for work in (self.invoicing.tick, self.remitting.tick, self.statements.tick, self._drop):
                try:
                    await work(now_ms)
                except asyncio.CancelledError:
                    raise
                except Exception:
                    log.exception("bookkeeping.failed", work=work.__qualname__)
            await asyncio.sleep(_TURN_S)

    async def _drop(self, now_ms: int) -> None:
        if now_ms - self._dropped_ms >= _DROP_EVERY_MS:
            self._dropped_ms = now_ms
            await documents.drop_old(self._store, now_ms, self._keep_days)
