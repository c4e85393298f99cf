"""The drawer of documents: numbered, stored and found. A document is made once and never changed.

Its number is taken in the transaction that stores it, so numbers have no gap: what is rolled back gives its number
back. `key` says what a document is about; making it again finds the one that stands.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from csms.app import queries
from csms.app.printing import invoice_page
from csms.domain.invoice import ORDER_KINDS, Figures, Invoice, number_in, series
from csms.domain.refusal import Refusal, Why
from csms.domain.stored import from_json, to_json
from csms.domain.taxes import TaxEntry, sorted_entries
from csms.ports import Fact, ReadTx, Row, Store, Table, Tx

log = structlog.get_logger()

TAX_SETTING: Final = "tax"
_DAY_MS: Final = 86_400_000
_BITE: Final = 200
_BITE_PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxSettings:
    """The dated entries, as they are stored."""

    entries: tuple[TaxEntry, ...] = ()


def tax_entries(tx: ReadTx) -> tuple[TaxEntry, ...]:
    """Every entry, oldest first; none while nobody has set any."""
    row = tx.one(Table.SETTINGS, name=TAX_SETTING)
    return from_json(TaxSettings, json.loads(row["value"])).entries if row is not None else ()


def save_tax_entries(tx: Tx, entries: tuple[TaxEntry, ...], who: str, now_ms: int) -> tuple[TaxEntry, ...]:
    """Replace all entries. Raises Refusal when two begin at once."""
    try:
        kept = TaxSettings(entries=tuple(sorted_entries(entries)))
    except ValueError as error:
        raise Refusal(Why.INVALID_REQUEST, f"{error}.") from error
    before = tx.take(Table.SETTINGS, name=TAX_SETTING)
    text = json.dumps(to_json(kept), ensure_ascii=False)
    if before is None or before["value"] != text:
        tx.save(Table.SETTINGS, {"name": TAX_SETTING, "value": text})
        tx.append([Fact("TaxSettingsChanged", now_ms, {"who": who, "entries": len(kept.entries)})])
    return kept.entries


# ---------------------------------------------------------------- documents of orders


def of_order(tx: ReadTx, order_id: str) -> list[Row]:
    """Invoices and notes of an order, oldest first."""
    kinds = [kind.value for kind in ORDER_KINDS]
    return tx.many(Table.DOCUMENTS, order="no", order_id=order_id, kind=kinds)


def invoice_from(row: Row) -> Invoice:
    """A stored invoice or note."""
    return from_json(Invoice, json.loads(row["data"]))


def figures_from(row: Row) -> Figures:
    return from_json(Figures, json.loads(row["data"])["figures"])


def add_invoice(tx: Tx, it: Invoice, *, sign: str, document_id: str, token: str) -> Row:
    """Number, print and store it. `it.number` is set here."""
    name = series(it.kind, it.issued_ms, it.zone, sign)
    it = replace(it, number=number_in(name, tx.next_no(f"document:{name}")))
    return _add(
        tx,
        {
            "id": document_id,
            "key": f"{it.kind}:{it.order_id}:{it.revision}",
            "kind": it.kind.value,
            "number": it.number,
            "token": token,
            "order_id": it.order_id,
            "revision": it.revision,
            "party": it.bap_id,
            "amount_minor": it.figures.total_minor,
            "currency": it.currency,
            "made_ms": it.issued_ms,
            "data": json.dumps(to_json(it), ensure_ascii=False),
        },
        invoice_page(it),
    )


def add_statement(tx: Tx, row: Mapping[str, Any], page: bytes, lines: bytes) -> Row:
    """Store a numbered statement with its lines (CSV)."""
    return _add(tx, row, page, zlib.compress(lines, 6))


def _add(tx: Tx, row: Mapping[str, Any], page: bytes, csv: bytes | None = None) -> Row:
    made = {**row, "no": tx.next_no("documents"), "sha256": hashlib.sha256(page).hexdigest()}
    large = {"id": row["id"], "html": page, "csv": csv}
    if not (tx.add(Table.DOCUMENTS, made) and tx.add(Table.DOCUMENT_PAGES, large)):
        raise RuntimeError(f"the document {row['key']} stands already")
    body = {
        "document_id": row["id"],
        "kind": row["kind"],
        "number": row["number"],
        "amount_minor": row["amount_minor"],
        "party": row.get("party"),
    }
    tx.append([Fact("DocumentMade", row["made_ms"], body, order_id=row.get("order_id"))])
    return made


# ---------------------------------------------------------------- found again


def one(tx: ReadTx, document_id: str) -> Row:
    """Refuses UNKNOWN_TARGET."""
    if (row := tx.one(Table.DOCUMENTS, id=document_id)) is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no document {document_id!r}.")
    return row


def page_of(tx: ReadTx, row: Row) -> bytes:
    """The page as it was printed."""
    return bytes(_large(tx, row)["html"])


def lines_of(tx: ReadTx, row: Row) -> bytes:
    """The lines of a statement as CSV. Refuses UNKNOWN_TARGET where a document has none."""
    csv = _large(tx, row)["csv"]
    if csv is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"The document {row['number']} has no lines of its own.")
    return zlib.decompress(csv)


def _large(tx: ReadTx, row: Row) -> Row:
    found = tx.one(Table.DOCUMENT_PAGES, id=row["id"])
    assert found is not None, "stored with its document"
    return found


def listed(tx: ReadTx, *, limit: int, after: int | None, **where: Any) -> queries.Found:
    """Documents, newest first."""
    return queries.page(tx, Table.DOCUMENTS, order="-no", limit=limit, after=after, **where)


class Documents:
    """What drivers open: a page behind an unguessable token."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def page(self, token: str) -> bytes | None:
        """The page, None when there is none."""

        def query(tx: ReadTx) -> bytes | None:
            row = tx.one(Table.DOCUMENTS, token=token) if token else None
            return page_of(tx, row) if row is not None else None

        return await self._store.read(query)


# ---------------------------------------------------------------- kept, and no longer


async def drop_old(store: Store, now_ms: int, keep_days: int) -> int:
    """Documents older than they have to be kept; how many. Their numbers are not given again, the ledger stays."""
    limit_ms, dropped = now_ms - keep_days * _DAY_MS, 0
    while count := await store.transact(_old(limit_ms)):
        dropped += count
        await asyncio.sleep(_BITE_PAUSE_S)
    if dropped:
        log.info("documents.dropped", documents=dropped)
    return dropped


def _old(limit_ms: int) -> Callable[[Tx], int]:
    def work(tx: Tx) -> int:
        old = tx.many(Table.DOCUMENTS, order="made_ms", limit=_BITE, before=limit_ms)
        ids = [row["id"] for row in old]
        tx.drop(Table.DOCUMENT_PAGES, id=ids)
        return tx.drop(Table.DOCUMENTS, id=ids)

    return work
