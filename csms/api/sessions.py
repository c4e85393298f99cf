"""Charging sessions: what happened, as far as it is proven."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from pydantic import Field, JsonValue

from csms.api.models import Body, Money, Text, Time, View, money, time
from csms.api.pages import Page, PageQuery, encode, number_key, numbers_key
from csms.api.routes import Call, Routes
from csms.api.system import System
from csms.app import queries
from csms.domain.units import rfc3339
from csms.ports import ReadTx, Row, Table

route: Final = Routes("Sessions")


class CaseBrief(View):
    """A case about the session."""

    id: str
    type: str
    severity: str
    state: str
    text: str


class Session(View):
    """A session. Energy is what is proven so far, with the quality A to D or U of that proof."""

    id: str
    state: str
    open: bool = Field(description="energy may still flow, or data is awaited")
    quality: str | None
    token: str | None
    vehicle: str | None = Field(description="the vehicle that stood for the token")
    charger_id: str
    charger: str = Field(description="the same as charger_id")
    evse_id: int
    evse: int = Field(description="the same as evse_id")
    connector_id: int
    connector: int = Field(description="the same as connector_id")
    transaction_ids: list[str]
    started_at: Time | None
    ended_at: Time | None
    meter_start_wh: int | None
    meter_stop_wh: int | None
    energy_wh: int | None
    power_w: int | None
    soc_percent: int | None
    last_proven_at: Time | None
    last_proven_wh: int | None
    stop_reason: str | None = Field(description="as the charger sent it")
    end_cause: str | None = Field(description="normalised")
    order_id: str | None
    cases: list[CaseBrief]
    revision: int
    version: int
    updated_at: Time


class SessionQuery(PageQuery):
    """Filters of the list."""

    charger_id: str | None = None
    token: str | None = None
    open: bool | None = None
    transaction_id: str | None = Field(default=None, description="as the charger knows it")
    order_id: str | None = None


class Sample(View):
    """One instant of the meter. A member that was not measured is null, never zero."""

    at: Time = Field(description="corrected for the charger's clock")
    device_at: Time | None
    received_at: Time
    evse_id: int
    connector_id: int
    context: str
    register_wh: int | None
    power_w: int | None
    current_ma: int | None
    voltage_mv: int | None
    soc_percent: int | None
    signed: bool


class Revision(View):
    """A price of the session. A later one replaces it in the books by its difference."""

    revision: int
    at: Time
    provisional: bool
    energy_wh: int
    quality: str | None
    duration_s: int | None
    amount: Money | None
    breakdown: JsonValue
    reason: str | None


class CloseIn(Body):
    """Why a person ends the session."""

    reason: Text


_SIGNED: Final = 1
_SOCKET: Final = 1000  # readings keep evse * 1000 + connector


@route("GET", "/api/v1/sessions", query=SessionQuery, answer=Page[Session], summary="Sessions, newest first")
async def list_sessions(call: Call[SessionQuery, None]) -> Page[Session]:
    """One page of sessions, fresh the moment the charger was answered."""
    q = call.query

    def read(tx: ReadTx) -> tuple[queries.Found, dict[str, list[Row]]]:
        found = queries.sessions(
            tx,
            limit=q.limit,
            after=number_key(q.cursor),
            charger_id=q.charger_id,
            token=q.token,
            is_open=q.open,
            transaction_id=q.transaction_id,
            order_id=q.order_id,
        )
        return found, queries.cases_of(tx, [row["id"] for row in found.rows])

    found, cases = await call.system.store.read(read)
    items = [_view(row, cases[row["id"]]) for row in found.rows]
    return Page[Session](items=items, next_cursor=encode(found.after))


@route("GET", "/api/v1/sessions/{id}", answer=Session, errors=[404], summary="One session")
async def show_session(call: Call[None, None]) -> Session:
    """One session."""
    return await _read(call.system, call.path["id"])


@route(
    "GET",
    "/api/v1/sessions/{id}/samples",
    query=PageQuery,
    answer=Page[Sample],
    errors=[404],
    summary="Meter values of a session, oldest first",
)
async def list_samples(call: Call[PageQuery, None]) -> Page[Sample]:
    """The curve. What was not measured is not there: gaps are gaps."""
    return await _samples(call, lambda tx: queries.session(tx, call.path["id"])["no"])


@route(
    "GET",
    "/api/v1/chargers/{id}/samples",
    query=PageQuery,
    answer=Page[Sample],
    errors=[404],
    summary="Meter values of a charger outside of any session, oldest first",
)
async def list_idle_samples(call: Call[PageQuery, None]) -> Page[Sample]:
    """What its meters said while nobody charged: what it uses itself, and energy that no session explains."""
    return await _samples(call, lambda tx: -queries.charger(tx, call.path["id"])["no"])


@route(
    "GET",
    "/api/v1/sessions/{id}/revisions",
    query=PageQuery,
    answer=Page[Revision],
    errors=[404],
    summary="What a session was priced at, each time",
)
async def list_revisions(call: Call[PageQuery, None]) -> Page[Revision]:
    """Every price, first to last."""
    q = call.query

    def read(tx: ReadTx) -> queries.Found:
        number = queries.session(tx, call.path["id"])["no"]
        after = number_key(q.cursor)
        return queries.page(tx, Table.REVISIONS, order="revision", limit=q.limit, after=after, session_no=number)

    found = await call.system.store.read(read)
    return Page[Revision](items=[_revision(row) for row in found.rows], next_cursor=encode(found.after))


@route(
    "POST",
    "/api/v1/sessions/{id}/close",
    body=CloseIn,
    answer=Session,
    errors=[404],
    summary="End a session that no fact will end",
)
async def close_session(call: Call[None, CloseIn]) -> Session:
    """End a session by hand. It is billed on what is proven; a late fact makes a revision."""
    session_id = call.path["id"]
    await call.system.store.read(lambda tx: queries.session(tx, session_id))
    await call.system.charging.close_session(session_id, call.body.reason, call.who.name)
    return await _read(call.system, session_id)


# -- rows


async def _samples(call: Call[PageQuery, None], subject: Callable[[ReadTx], int]) -> Page[Sample]:
    q = call.query
    key = numbers_key(q.cursor, 3)
    after = (key[0], key[1], key[2]) if key is not None else None
    found = await call.system.store.read(lambda tx: queries.readings(tx, subject(tx), limit=q.limit, after=after))
    return Page[Sample](items=[_sample(row) for row in found.rows], next_cursor=encode(found.after))


async def _read(system: System, session_id: str) -> Session:
    def read(tx: ReadTx) -> tuple[Row, list[Row]]:
        return queries.session(tx, session_id), queries.cases_of(tx, [session_id])[session_id]

    row, cases = await system.store.read(read)
    return _view(row, cases)


def _view(row: Row, cases: Sequence[Row]) -> Session:
    return Session(
        id=row["id"],
        state=row["state"],
        open=bool(row["open"]),
        quality=row["quality"],
        token=row["token"],
        vehicle=json.loads(row["data"]).get("vehicle"),
        charger_id=row["station"],
        charger=row["station"],
        evse_id=row["evse"],
        evse=row["evse"],
        connector_id=row["connector"],
        connector=row["connector"],
        transaction_ids=[str(one) for one in json.loads(row["tx_ids"])],
        started_at=time(row["started_ms"]),
        ended_at=time(row["ended_ms"]),
        meter_start_wh=row["meter_start_wh"],
        meter_stop_wh=row["meter_stop_wh"],
        energy_wh=row["energy_wh"],
        power_w=row["power_w"],
        soc_percent=row["soc_percent"],
        last_proven_at=time(row["last_proven_ms"]),
        last_proven_wh=row["last_proven_wh"],
        stop_reason=row["stop_reason"],
        end_cause=row["end_cause"],
        order_id=row["order_id"],
        cases=[
            CaseBrief(
                id=case["id"],
                type=case["type"],
                severity=case["severity"],
                state=case["state"],
                text=case["text"],
            )
            for case in cases
        ],
        revision=row["revision"],
        version=row["version"],
        updated_at=rfc3339(row["updated_ms"]),
    )


def _sample(row: Row) -> Sample:
    evse, connector = divmod(row["socket"], _SOCKET)
    return Sample(
        at=rfc3339(row["at_ms"]),
        device_at=time(row["device_ms"]),
        received_at=rfc3339(row["received_ms"]),
        evse_id=evse,
        connector_id=connector,
        context=row["context"],
        register_wh=row["register_wh"] if row["register_wh"] >= 0 else None,
        power_w=row["power_w"],
        current_ma=row["current_ma"],
        voltage_mv=row["voltage_mv"],
        soc_percent=row["soc_percent"],
        signed=bool(row["flags"] & _SIGNED),
    )


def _revision(row: Row) -> Revision:
    return Revision(
        revision=row["revision"],
        at=rfc3339(row["at_ms"]),
        provisional=bool(row["provisional"]),
        energy_wh=row["energy_wh"],
        quality=row["quality"],
        duration_s=row["duration_s"],
        amount=money(row["amount_minor"], row["currency"]),
        breakdown=parsed(row["breakdown"]),
        reason=row["reason"],
    )


def parsed(text: str | None) -> Any:
    """Stored JSON; None stays None."""
    return json.loads(text) if text is not None else None
