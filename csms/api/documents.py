"""Invoices and notes of orders, statements of months: made once, listed, shown, printed; and the tax settings."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from aiohttp import web
from pydantic import AfterValidator, Field, JsonValue

from csms.api.models import Body, Money, ShortText, Text, Time, View, Zone, sure_money
from csms.api.pages import Page, PageQuery, encode, number_key
from csms.api.routes import CSV, Answer, Call, Routes
from csms.app import documents, queries
from csms.domain.invoice import ORDER_KINDS
from csms.domain.refusal import Refusal, Why
from csms.domain.taxes import PlaceOfSupply, Registration, TaxEntry, Withholding, state_of
from csms.domain.units import local, rfc3339, to_minor, to_ms
from csms.ports import Row, Table

route: Final = Routes("Documents")

HTML: Final = "text/html"
StatementKind = Literal["bap_statement", "cdr_statement", "fleet_statement"]
Kind = Literal["invoice", "credit_note", "debit_note", "bap_statement", "cdr_statement", "fleet_statement"]
_STATEMENTS: Final = ("bap_statement", "cdr_statement", "fleet_statement")
# A document is opened in the operator's browser with words of buyers in it: it may load and run nothing.
_PAPER: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


class Document(View):
    """A document as it was made. Amounts of credit notes are negative, so that those of an order add up."""

    id: str
    kind: str
    number: str
    order_id: str | None
    revision: int | None = Field(description="of the order's bill")
    party: str | None = Field(description="the buyer app or fleet")
    period: str | None = Field(description="the month of a statement")
    amount: Money
    made_at: Time
    sha256: str = Field(description="of the printed page")
    link: str | None = Field(description="path on the public listener that its buyer may open")


class FullDocument(Document):
    """A document with everything that stands in it."""

    content: JsonValue


class DocumentQuery(PageQuery):
    """Filters of the list."""

    kind: Kind | None = None
    about: Literal["order", "month"] | None = Field(default=None, description="invoices and notes, or statements")
    order_id: str | None = None
    party: str | None = None
    period: str | None = None
    number: str | None = None


class StatementQuery(PageQuery):
    """Filters of the list."""

    kind: StatementKind | None = None
    party: str | None = None
    period: str | None = None


class StatementIn(Body):
    """Which statement: of a buyer app (its `bap_id`) or of a fleet, for a month that is over."""

    kind: StatementKind
    party: Text
    period: Annotated[str, Field(pattern=r"^2[01][0-9]{2}-(0[1-9]|1[0-2])$", examples=["2026-11"])]


# -- documents


@route("GET", "/api/v1/documents", query=DocumentQuery, answer=Page[Document], summary="Documents, newest first")
async def list_documents(call: Call[DocumentQuery, None]) -> Page[Document]:
    """One page of documents."""
    q = call.query
    kinds = {"order": [kind.value for kind in ORDER_KINDS], "month": _STATEMENTS}.get(q.about or "")
    where = {"order_id": q.order_id, "party": q.party, "period": q.period, "number": q.number}
    return await _listed(call, kind=q.kind or kinds, **where)


@route("GET", "/api/v1/documents/{id}", answer=FullDocument, errors=[404], summary="One document")
async def show_document(call: Call[None, None]) -> FullDocument:
    """One document with everything in it."""
    return _full(await _one(call))


@route("GET", "/api/v1/documents/{id}/html", media=(HTML,), errors=[404], summary="A document to print")
async def print_document(call: Call[None, None]) -> web.Response:
    """The page as it was made."""
    return await _paper(call, await _one(call))


# -- statements


@route("GET", "/api/v1/statements", query=StatementQuery, answer=Page[Document], summary="Statements, newest first")
async def list_statements(call: Call[StatementQuery, None]) -> Page[Document]:
    """One page of statements."""
    q = call.query
    return await _listed(call, kind=q.kind or _STATEMENTS, party=q.party, period=q.period)


@route(
    "POST",
    "/api/v1/statements",
    body=StatementIn,
    answer=FullDocument,
    status=201,
    also=[200],
    errors=[409],
    summary="Make the statement of a month",
)
async def make_statement(call: Call[None, StatementIn]) -> Answer:
    """Make it; one that stands already is shown as it is (200)."""
    wanted = call.body
    row, is_new = await call.system.books.make_statement(wanted.kind, wanted.party, wanted.period)
    return Answer(_full(row), 201 if is_new else 200)


@route("GET", "/api/v1/statements/{id}", answer=FullDocument, errors=[404], summary="One statement")
async def show_statement(call: Call[None, None]) -> FullDocument:
    """One statement with everything in it but its lines."""
    return _full(await _statement(call))


@route("GET", "/api/v1/statements/{id}/html", media=(HTML,), errors=[404], summary="A statement to print")
async def print_statement(call: Call[None, None]) -> web.Response:
    """The page as it was made."""
    return await _paper(call, await _statement(call))


@route("GET", "/api/v1/statements/{id}/csv", media=(CSV,), errors=[404], summary="The lines of a statement")
async def lines_of_statement(call: Call[None, None]) -> web.Response:
    """The lines as they were made."""
    row = await _statement(call)
    headers = {**_PAPER, "Content-Disposition": f'attachment; filename="{row["number"].replace("/", "-")}.csv"'}
    lines = await call.system.store.read(lambda tx: documents.lines_of(tx, row))
    return web.Response(body=lines, content_type=CSV, charset="utf-8", headers=headers)


async def _listed(call: Call[Any, None], **where: Any) -> Page[Document]:
    q = call.query
    found = await call.system.store.read(
        lambda tx: documents.listed(tx, limit=q.limit, after=number_key(q.cursor), **where)
    )
    return Page[Document](items=[Document(**_members(row)) for row in found.rows], next_cursor=encode(found.after))


async def _one(call: Call[None, None]) -> Row:
    return await call.system.store.read(lambda tx: documents.one(tx, call.path["id"]))


async def _statement(call: Call[None, None]) -> Row:
    row = await _one(call)
    if row["kind"] not in _STATEMENTS:
        raise Refusal(Why.UNKNOWN_TARGET, f"{row['number']} is no statement; see /api/v1/documents.")
    return row


def _full(row: Row) -> FullDocument:
    return FullDocument(**_members(row), content=json.loads(row["data"]))


def _members(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "kind": row["kind"],
        "number": row["number"],
        "order_id": row.get("order_id"),
        "revision": row.get("revision"),
        "party": row.get("party"),
        "period": row.get("period"),
        "amount": sure_money(row["amount_minor"], row["currency"]),
        "made_at": rfc3339(row["made_ms"]),
        "sha256": row["sha256"],
        "link": f"/documents/{row['token']}" if row.get("token") else None,
    }


async def _paper(call: Call[None, None], row: Row) -> web.Response:
    page = await call.system.store.read(lambda tx: documents.page_of(tx, row))
    return web.Response(body=page, content_type=HTML, charset="utf-8", headers=_PAPER)


# -- money that buyer apps pay over

Amount = Annotated[str, Field(pattern=r"^[0-9]{1,12}(\.[0-9]{1,2})?$", examples=["1250.00"])]


class RemittanceIn(Body):
    """What a buyer app (`bap_id`) or a fleet (`fleet_id`) paid over, in the currency of the accounts. `withheld`: tax
    it deducted at source."""

    bap_id: Text | None = None
    fleet_id: Text | None = None
    # A `#` tells parts of a remittance apart in the ledger.
    reference: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^#\x00-\x1f\x7f]+$")]
    amount: Amount
    withheld: Amount = "0.00"


class Remittance(View):
    """Money paid over. `left` waits for orders that are not over, or was too much."""

    bap_id: str | None
    fleet_id: str | None
    reference: str
    amount: Money
    withheld: Money
    left: Money
    recorded_at: Time
    recorded_by: str | None


class RemittanceQuery(PageQuery):
    """Filters of the list."""

    bap_id: str | None = None
    fleet_id: str | None = None


@route(
    "POST",
    "/api/v1/remittances",
    body=RemittanceIn,
    answer=Remittance,
    status=201,
    also=[200],
    errors=[404, 409],
    summary="Record what a buyer app or a fleet paid over",
)
async def record_remittance(call: Call[None, RemittanceIn]) -> Answer:
    """Record it and lay it on orders, oldest first. The same reference again changes nothing (200)."""
    told = call.body
    amount_minor, withheld_minor = to_minor(Decimal(told.amount)), to_minor(Decimal(told.withheld))
    if (told.bap_id is None) == (told.fleet_id is None):
        raise Refusal(Why.INVALID_REQUEST, "Say who paid: bap_id or fleet_id, one of them.")
    if amount_minor + withheld_minor <= 0:
        raise Refusal(Why.INVALID_REQUEST, "amount: nothing was paid over.")
    row, is_new = await call.system.books.remit(
        "bap" if told.bap_id is not None else "fleet",
        told.bap_id or told.fleet_id or "",
        told.reference,
        amount_minor=amount_minor,
        withheld_minor=withheld_minor,
        who=call.who.name,
    )
    return Answer(_remittance(row), 201 if is_new else 200)


@route(
    "GET", "/api/v1/remittances", query=RemittanceQuery, answer=Page[Remittance], summary="Remittances, newest first"
)
async def list_remittances(call: Call[RemittanceQuery, None]) -> Page[Remittance]:
    """One page of remittances."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(
            tx, Table.REMITTANCES, order="-no", limit=q.limit, after=number_key(q.cursor), **_payer(q)
        )
    )
    return Page[Remittance](items=[_remittance(row) for row in found.rows], next_cursor=encode(found.after))


def _payer(q: RemittanceQuery) -> dict[str, str]:
    if q.bap_id is not None:
        return {"payer": "bap", "party": q.bap_id}
    return {"payer": "fleet", "party": q.fleet_id} if q.fleet_id is not None else {}


def _remittance(row: Row) -> Remittance:
    return Remittance(
        bap_id=row["party"] if row["payer"] == "bap" else None,
        fleet_id=row["party"] if row["payer"] == "fleet" else None,
        reference=row["ref"],
        amount=sure_money(row["amount_minor"]),
        withheld=sure_money(row["withheld_minor"]),
        left=sure_money(row["left_minor"]),
        recorded_at=rfc3339(row["at_ms"]),
        recorded_by=row["who"],
    )


# -- what stands on tax documents


def _date(text: str) -> str:
    datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    return text


Date = Annotated[
    str, Field(pattern=r"^2[01][0-9]{2}-[0-9]{2}-[0-9]{2}$", examples=["2026-04-01"]), AfterValidator(_date)
]
Percent = Annotated[float, Field(ge=0, le=100)]


class RegistrationShape(Body):
    """The seller in one state (`KA`, `29`, `Karnataka`). `series` stands in its numbers, else the two digits."""

    state: ShortText
    address: Text
    gstin: Annotated[str, Field(pattern=r"^[0-9A-Z]{15}$")] | None = None
    series: Annotated[str, Field(pattern=r"^[0-9A-Z]{1,2}$")] | None = None


class WithholdingShape(Body):
    """Tax that buyer apps deduct at source from what they pass on."""

    section: ShortText
    percent: Percent


class TaxEntryShape(Body):
    """What holds from a day on. The first registration is the head office; it sells where no other does."""

    valid_from: Date
    seller: Text
    registrations: Annotated[list[RegistrationShape], Field(min_length=1, max_length=50)]
    rate_percent: Percent
    code: Annotated[str, Field(pattern=r"^[0-9]{4,8}$", description="HSN or SAC")] = "998714"
    description: Text = "Electric vehicle charging"
    place_of_supply: Literal["buyer", "station"] = "buyer"
    time_zone: Zone = "Asia/Kolkata"
    withholding: WithholdingShape | None = None
    footer: Text | None = None


class TaxSettingsIn(Body):
    """All entries; those that are left out are gone. Documents that were made stay as they are."""

    entries: Annotated[list[TaxEntryShape], Field(max_length=200)]


class TaxSettings(View):
    """The entries in force, oldest first."""

    entries: list[TaxEntryShape]


@route("GET", "/api/v1/settings/tax", answer=TaxSettings, summary="What stands on tax documents")
async def show_taxes(call: Call[None, None]) -> TaxSettings:
    """All entries."""
    entries = await call.system.store.read(documents.tax_entries)
    return TaxSettings(entries=[_shape(entry) for entry in entries])


@route(
    "PUT",
    "/api/v1/settings/tax",
    body=TaxSettingsIn,
    answer=TaxSettings,
    scope="admin",
    summary="Set what stands on tax documents",
)
async def put_taxes(call: Call[None, TaxSettingsIn]) -> TaxSettings:
    """Replace all entries. Orders of their time that have no documents yet get them now."""
    entries = [_entry(number, shape) for number, shape in enumerate(call.body.entries)]
    kept = await call.system.books.set_taxes(entries, call.who.name)
    return TaxSettings(entries=[_shape(entry) for entry in kept])


def _entry(number: int, shape: TaxEntryShape) -> TaxEntry:
    begins = datetime.fromisoformat(shape.valid_from).replace(tzinfo=ZoneInfo(shape.time_zone))
    try:
        return TaxEntry(
            valid_from_ms=to_ms(begins),
            seller=shape.seller,
            registrations=tuple(
                Registration(
                    state=state_of(one.state) or one.state, address=one.address, gstin=one.gstin, series=one.series
                )
                for one in shape.registrations
            ),
            rate_percent=Decimal(str(shape.rate_percent)),
            code=shape.code,
            description=shape.description,
            place_of_supply=PlaceOfSupply(shape.place_of_supply),
            zone=shape.time_zone,
            withholding=Withholding(section=shape.withholding.section, percent=Decimal(str(shape.withholding.percent)))
            if shape.withholding is not None
            else None,
            footer=shape.footer,
        )
    except ValueError as error:
        raise Refusal(Why.INVALID_REQUEST, f"entries/{number}: {error}.") from error


def _shape(entry: TaxEntry) -> TaxEntryShape:
    return TaxEntryShape(
        valid_from=f"{local(entry.valid_from_ms, entry.zone):%Y-%m-%d}",
        seller=entry.seller,
        registrations=[
            RegistrationShape(state=one.state, address=one.address, gstin=one.gstin, series=one.series)
            for one in entry.registrations
        ],
        rate_percent=float(entry.rate_percent),
        code=entry.code,
        description=entry.description,
        place_of_supply=entry.place_of_supply.value,
        time_zone=entry.zone,
        withholding=WithholdingShape(section=entry.withholding.section, percent=float(entry.withholding.percent))
        if entry.withholding is not None
        else None,
        footer=entry.footer,
    )
