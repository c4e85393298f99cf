"""Statements of a month: made once per kind, party and month, by hand or by themselves when the month is over.

    bap_statement    the account of a buyer app, from the ledger of all its orders
    cdr_statement    the sessions billed for orders of a buyer app
    fleet_statement  the sessions billed for a fleet, and what it has to pay

Reading goes over small transactions; nothing of a month that is over can still be posted into it, so all of them see
the same. The statement itself is numbered and stored in one.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any, Final

import structlog

from csms.app import documents
from csms.app.billings import Billing, billings
from csms.app.csvlines import lines
from csms.app.orders import entry_from
from csms.app.printing import account_page, sessions_page
from csms.domain.invoice import DocumentKind, number_in, series
from csms.domain.ledger import Account as LedgerAccount
from csms.domain.ledger import LedgerEntry
from csms.domain.refusal import Refusal, Why
from csms.domain.statement import (
    Account,
    AccountReader,
    Billed,
    CdrTotals,
    Statement,
    month,
    month_before,
    month_of,
    totals,
)
from csms.domain.stored import to_json
from csms.domain.units import from_minor, kwh, local, rfc3339
from csms.ports import Clock, Ids, ReadTx, Row, Store, Table, Tx

log = structlog.get_logger()

KINDS: Final = (DocumentKind.BAP_STATEMENT, DocumentKind.CDR_STATEMENT, DocumentKind.FLEET_STATEMENT)
_CHUNK: Final = 200
_LONGEST: Final = 250_000
_DONE: Final = "statements:done"  # the last month whose statements have made themselves
_LOOK_EVERY_MS: Final = 600_000
_WH: Final = Decimal("0.001")
_SETTLES_MS: Final = 3_600_000  # what was under way when the month ended, and a clock that was set back a little

_MOVES: Final = ("at", "order_id", "kind", "amount", "currency", "reference")
_SESSIONS: Final = (
    "billed_at", "session_id", "revision", "order_id", "order_number", "charger_id", "evse_id", "connector_id", "token",
    "started_at", "ended_at", "energy_kwh", "amount", "tax", "currency", "is_correction",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementRules:
    """The operator's choices. `day` is the day of the month from which the last month's are made; 0: by hand only."""

    provider: str
    currency: str = "INR"
    zone: str = "Asia/Kolkata"
    day: int = 3


@dataclass(slots=True)
class _Sheet:
    """Lines of a CSV while they are collected; a month that would not fit is refused."""

    columns: Sequence[str]
    rows: list[Sequence[Any]] = field(default_factory=list)

    def put(self, *cells: Any) -> None:
        if len(self.rows) >= _LONGEST:
            raise Refusal(
                Why.QUANTITY, f"More than {_LONGEST} lines: export the CDRs of shorter periods instead of a statement."
            )
        self.rows.append(cells)

    def csv(self) -> bytes:
        return lines([self.columns, *self.rows])


class Statements:
    """Makes statements."""

    def __init__(self, *, store: Store, clock: Clock, ids: Ids, rules: StatementRules) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._rules = rules
        self._looked_ms = 0

    async def make(self, kind: DocumentKind, party: str, period: str) -> tuple[Row, bool]:
        """The statement of a month, and whether it is new. Raises Refusal for a month that is not over."""
        from_ms, to_ms = self._month(period)
        if (standing := await self._store.read(partial(_standing, kind=kind, party=party, period=period))) is not None:
            return standing, False
        now_ms = self._clock.now_ms()
        if to_ms + _SETTLES_MS > now_ms:
            raise Refusal(
                Why.WRONG_STATE, f"{period} is not over yet; its statement can be made an hour after its end."
            )
        made = Statement(
            kind=kind,
            number="",
            issued_ms=now_ms,
            zone=self._rules.zone,
            provider=self._rules.provider,
            party=party,
            period=period,
            from_ms=from_ms,
            to_ms=to_ms,
            currency=self._rules.currency,
        )
        if kind is DocumentKind.BAP_STATEMENT:
            sheet = _Sheet(_MOVES)
            made = replace(made, account=await self._account(made, sheet))
        else:
            sheet = _Sheet(_SESSIONS)
            made = replace(made, sessions=await self._sessions(made, sheet))
        if kind is DocumentKind.FLEET_STATEMENT:
            made = replace(made, account=await self._fleet_account(made))
        csv = sheet.csv()
        return await self._store.transact(partial(self._keep, made=made, csv=csv))

    def _month(self, period: str) -> tuple[int, int]:
        try:
            return month(period, self._rules.zone)
        except ValueError as error:
            raise Refusal(Why.INVALID_REQUEST, f"period: {error}.") from error

    def _keep(self, tx: Tx, made: Statement, csv: bytes) -> tuple[Row, bool]:
        if (standing := _standing(tx, made.kind, made.party, made.period)) is not None:
            return standing, False
        name = series(made.kind, made.issued_ms, made.zone)
        made = replace(made, number=number_in(name, tx.next_no(f"document:{name}")))
        row = {
            "id": self._ids.uuid(),
            "key": f"{made.kind}:{made.party}:{made.period}",
            "kind": made.kind.value,
            "number": made.number,
            "party": made.party,
            "period": made.period,
            "amount_minor": _amount(made),
            "currency": made.currency,
            "made_ms": made.issued_ms,
            "data": json.dumps(to_json(made), ensure_ascii=False),
        }
        page = account_page(made) if made.sessions is None else sessions_page(made)
        return documents.add_statement(tx, row, page, csv), True

    # -- the account of a buyer app

    async def _account(self, made: Statement, sheet: _Sheet) -> Account:
        entries = await self._store.read(documents.tax_entries)
        reader = AccountReader(made.from_ms, made.to_ms, made.zone, entries)
        async for entry in _entries(self._store, made.party):
            if reader.take(entry):
                sheet.put(
                    rfc3339(entry.at_ms), entry.order_id, entry.kind.value, from_minor(entry.amount_minor),
                    made.currency, entry.ref,
                )  # fmt: skip
        sheet.rows.sort(key=lambda row: (row[0], row[1]))
        billed_minor = finder_minor = 0
        async for one in billings(self._store, made.from_ms, made.to_ms):
            if one.bap_id == made.party and one.order.get("collected_by") != "BAP":
                billed_minor += one.line.amount_minor
                finder_minor += one.line.finder_minor
        return reader.account(own_billed_minor=billed_minor, own_finder_minor=finder_minor)

    async def _fleet_account(self, made: Statement) -> Account:
        """What the fleet has to pay for its orders; its movements are the sessions, and what it paid."""
        reader = AccountReader(made.from_ms, made.to_ms, made.zone, of=LedgerAccount.FLEET)
        async for fleet, entry in _all_entries(self._store, None, LedgerAccount.FLEET):
            if fleet == made.party:
                reader.take(entry)
        return reader.account()

    # -- sessions

    async def _sessions(self, made: Statement, sheet: _Sheet) -> CdrTotals:
        found: list[Billed] = []
        async for one in billings(self._store, made.from_ms, made.to_ms):
            party = one.fleet if made.kind is DocumentKind.FLEET_STATEMENT else one.bap_id
            if party == made.party:
                found.append(one.line)
                sheet.put(*_cells(one, made.currency))
        return totals(found)

    # -- by themselves

    async def tick(self, now_ms: int) -> None:
        """Every ten minutes: make what the last month still lacks, once its day has come."""
        if not self._rules.day or now_ms - self._looked_ms < _LOOK_EVERY_MS:
            return
        self._looked_ms = now_ms
        if local(now_ms, self._rules.zone).day < self._rules.day:
            return
        period = month_before(month_of(now_ms, self._rules.zone))
        done = await self._store.read(lambda tx: tx.one(Table.SETTINGS, name=_DONE))
        if done is None or done["value"] < period:
            await self.make_all(period)
            await self._store.transact(lambda tx: tx.save(Table.SETTINGS, {"name": _DONE, "value": period}))

    async def make_all(self, period: str) -> int:
        """Every statement of a month that has something to say; how many were new."""
        count = 0
        for kind, party in await self._parties(period):
            try:
                count += (await self.make(kind, party, period))[1]
            except Refusal as refusal:
                log.warning("statement.not_made", kind=kind.value, party=party, period=period, why=refusal.detail)
        return count

    async def _parties(self, period: str) -> list[tuple[DocumentKind, str]]:
        from_ms, to_ms = self._month(period)
        found: dict[tuple[DocumentKind, str], None] = {}
        async for one in billings(self._store, from_ms, to_ms):
            if one.bap_id:
                found[(DocumentKind.CDR_STATEMENT, one.bap_id)] = None
                found[(DocumentKind.BAP_STATEMENT, one.bap_id)] = None
            if one.fleet:
                found[(DocumentKind.FLEET_STATEMENT, one.fleet)] = None
        for bap_id in await self._moving(from_ms, to_ms, LedgerAccount.BAP):
            found[(DocumentKind.BAP_STATEMENT, bap_id)] = None
        for fleet in await self._moving(from_ms, to_ms, LedgerAccount.FLEET):
            found[(DocumentKind.FLEET_STATEMENT, fleet)] = None
        return sorted(found)

    async def _moving(self, from_ms: int, to_ms: int, of: LedgerAccount) -> set[str]:
        """Parties whose account moved in the period, or holds something that has not been paid over."""
        accounts: dict[str, AccountReader] = {}
        async for party, entry in _all_entries(self._store, None, of):
            accounts.setdefault(party, AccountReader(from_ms, to_ms, self._rules.zone, of=of)).take(entry)
        return {party for party, reader in accounts.items() if not reader.account().is_empty}


async def _entries(store: Store, bap_id: str) -> AsyncIterator[LedgerEntry]:
    async for _, entry in _all_entries(store, bap_id, LedgerAccount.BAP):
        yield entry


async def _all_entries(store: Store, bap_id: str | None, of: LedgerAccount) -> AsyncIterator[tuple[str, LedgerEntry]]:
    """Every entry of an account, of a buyer app's orders or of everybody's, with its party: buyer app or fleet."""
    after: int | None = 0
    while after is not None:
        found, after = await store.read(partial(_some_entries, bap_id=bap_id, of=of, after=after))
        for one in found:
            yield one


def _some_entries(
    tx: ReadTx, bap_id: str | None, of: LedgerAccount, after: int
) -> tuple[list[tuple[str, LedgerEntry]], int | None]:
    where = {"bap_id": bap_id} if bap_id is not None else {}
    orders = tx.many(Table.ORDERS, order="no", after=after, limit=_CHUNK, **where)
    if of is LedgerAccount.BAP:
        parties = {row["id"]: row["bap_id"] for row in orders}
    else:
        parties = {row["id"]: json.loads(row["data"]).get("fleet_id") for row in orders}
    ids = [order_id for order_id, party in parties.items() if party]
    rows = tx.many(Table.LEDGER, order="no", order_id=ids, account=of.value) if ids else []
    going_on = int(orders[-1]["no"]) if len(orders) == _CHUNK else None
    return [(parties[row["order_id"]], entry_from(row)) for row in rows], going_on


def _standing(tx: ReadTx, kind: DocumentKind, party: str, period: str) -> Row | None:
    return tx.one(Table.DOCUMENTS, key=f"{kind}:{party}:{period}")


def _amount(made: Statement) -> int:
    """What stands as the amount of a statement in a list: what was billed, or of a buyer app what is open."""
    if made.sessions is not None:
        return made.sessions.amount_minor
    return made.account.closing_minor if made.account is not None else 0


def _cells(one: Billing, currency: str) -> tuple[Any, ...]:
    session, line = one.session, one.line
    return (
        rfc3339(line.billed_ms),
        session["id"],
        line.revision,
        session["order_id"],
        one.order.get("order_number"),
        session["station"],
        session["evse"],
        session["connector"],
        session["token"],
        rfc3339(session["started_ms"]) if session["started_ms"] is not None else None,
        rfc3339(session["ended_ms"]) if session["ended_ms"] is not None else None,
        kwh(line.energy_wh).quantize(_WH),
        from_minor(line.amount_minor),
        from_minor(line.tax_minor),
        currency,
        "yes" if line.is_correction else "no",
    )
