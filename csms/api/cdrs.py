"""Charge detail records: finished sessions with their price, as JSON pages or as one streamed CSV."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from aiohttp import web
from pydantic import Field, JsonValue

from csms.api.models import Instant, Money, Time, View, Zone, money, time
from csms.api.pages import Page, PageQuery, encode, number_key
from csms.api.routes import CSV, JSON, Call, Routes
from csms.api.sessions import parsed
from csms.app import queries
from csms.app.csvlines import lines
from csms.domain.units import to_ms
from csms.ports import ReadTx, Row

route: Final = Routes("CDRs")

_COLUMNS: Final = (
    "id",
    "charger_id",
    "evse_id",
    "connector_id",
    "token",
    "order_id",
    "state",
    "started_at",
    "ended_at",
    "meter_start_wh",
    "meter_stop_wh",
    "energy_wh",
    "quality",
    "stop_reason",
    "end_cause",
    "revision",
    "provisional",
    "amount",
    "currency",
)
_CHUNK: Final = 500
# A spreadsheet runs a cell that begins so; chargers and drivers choose some of these texts.


class Cdr(View):
    """What a finished session delivered and cost. `amount` is null when nothing was sold."""

    id: str = Field(description="the session's id")
    session_id: str
    charger_id: str
    evse_id: int
    connector_id: int
    token: str | None
    order_id: str | None
    state: str
    started_at: Time | None
    ended_at: Time | None
    meter_start_wh: int | None
    meter_stop_wh: int | None
    energy_wh: int | None
    quality: str | None
    stop_reason: str | None
    end_cause: str | None
    revision: int
    provisional: bool = Field(description="a later fact may change it")
    amount: Money | None
    breakdown: JsonValue


class CdrQuery(PageQuery):
    """Filters and form of the export. CSV ignores `limit` and `cursor`: it streams everything."""

    format: Literal["json", "csv"] = "json"
    charger_id: str | None = None
    order_id: str | None = None
    token: str | None = None
    from_: Instant | None = Field(default=None, alias="from", description="ended at or after")
    to: Instant | None = Field(default=None, description="ended before")
    tz: Zone = Field(default="UTC", description="time zone of the CSV's times, e.g. Asia/Kolkata")


@route(
    "GET",
    "/api/v1/cdrs",
    query=CdrQuery,
    answer=Page[Cdr],
    media=(JSON, CSV),
    summary="Charge detail records, newest first",
)
async def list_cdrs(call: Call[CdrQuery, None]) -> Page[Cdr] | web.StreamResponse:
    """One page as JSON, or everything as CSV."""
    if call.query.format == "csv":
        return await _stream(call)
    items, after = await _page(call, call.query.limit, number_key(call.query.cursor))
    return Page[Cdr](items=items, next_cursor=encode(after))


async def _page(call: Call[CdrQuery, None], limit: int, after: int | None) -> tuple[list[Cdr], Any]:
    q = call.query

    def read(tx: ReadTx) -> tuple[queries.Found, dict[int, Row]]:
        found = queries.finished_sessions(
            tx,
            limit=limit,
            after=after,
            from_ms=to_ms(q.from_) if q.from_ else None,
            to_ms=to_ms(q.to) if q.to else None,
            station=q.charger_id,
            order_id=q.order_id,
            token=queries.spellings(tx, q.token) if q.token else None,
        )
        return found, queries.newest_revisions(tx, [row["no"] for row in found.rows])

    found, revisions = await call.system.store.read(read)
    return [_view(row, revisions.get(row["no"])) for row in found.rows], found.after


async def _stream(call: Call[CdrQuery, None]) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={
            "Content-Type": f"{CSV}; charset=utf-8",
            "Content-Disposition": 'attachment; filename="cdrs.csv"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
    )
    # The first rows are read before the headers leave, so that a fault still becomes a proper answer.
    chunks = _chunks(call)
    first = await anext(chunks)
    await response.prepare(call.request)
    await response.write(lines([_COLUMNS]) + first)
    async for chunk in chunks:
        await response.write(chunk)
    await response.write_eof()
    return response


async def _chunks(call: Call[CdrQuery, None]) -> AsyncIterator[bytes]:
    zone, after = ZoneInfo(call.query.tz), None
    while True:
        items, after = await _page(call, _CHUNK, after)
        yield lines(_cells(cdr, zone) for cdr in items)
        if after is None:
            return


def _cells(cdr: Cdr, zone: ZoneInfo) -> list[Any]:
    values = cdr.model_dump(exclude={"amount", "breakdown"})
    values["provisional"] = str(cdr.provisional).lower()
    values["amount"] = Decimal(cdr.amount.amount) if cdr.amount else None
    values["currency"] = cdr.amount.currency if cdr.amount else None
    for name in ("started_at", "ended_at"):
        values[name] = _in_zone(values[name], zone)
    return [values[name] for name in _COLUMNS]


def _in_zone(at: str | None, zone: ZoneInfo) -> str | None:
    if at is None or zone.key == "UTC":
        return at
    return datetime.fromisoformat(at).astimezone(zone).isoformat(timespec="seconds")


def _view(row: Row, revision: Row | None) -> Cdr:
    return Cdr(
        id=row["id"],
        session_id=row["id"],
        charger_id=row["station"],
        evse_id=row["evse"],
        connector_id=row["connector"],
        token=row["token"],
        order_id=row["order_id"],
        state=row["state"],
        started_at=time(row["started_ms"]),
        ended_at=time(row["ended_ms"]),
        meter_start_wh=row["meter_start_wh"],
        meter_stop_wh=row["meter_stop_wh"],
        energy_wh=row["energy_wh"],
        quality=row["quality"],
        stop_reason=row["stop_reason"],
        end_cause=row["end_cause"],
        revision=revision["revision"] if revision else row["revision"],
        provisional=bool(revision["provisional"]) if revision else row["state"] == "ABANDONED",
        amount=money(revision["amount_minor"], revision["currency"]) if revision else None,
        breakdown=parsed(revision["breakdown"]) if revision else None,
    )
