"""Tickets: what drivers and buyer apps ask, and what faults ask in their name."""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

from pydantic import Field

from csms.api.models import Body, Time, View, time
from csms.api.pages import LARGEST_INT, Page, PageQuery, encode, number_key
from csms.api.routes import Call, Routes
from csms.app import queries, tickets
from csms.domain.units import rfc3339
from csms.ports import Row, Table

route: Final = Routes("Tickets")

_No = Annotated[int, Field(ge=1, le=LARGEST_INT)]


class Ticket(View):
    """A question."""

    no: int
    state: str = Field(description="open or closed")
    bap_id: str
    transaction_id: str
    order_id: str | None
    ref_id: str = Field(description="what it is about")
    ref_type: str
    contact: dict[str, str] = Field(description="who asked, as far as they said; `fault`: what ended the charging")
    answer: str | None
    opened_at: Time
    closed_at: Time | None


class TicketQuery(PageQuery):
    """Filters of the list."""

    state: Literal["open", "closed"] | None = None
    bap_id: str | None = None
    order_id: str | None = None


class CloseIn(Body):
    """What the asker reads."""

    answer: Annotated[str, Field(min_length=1, max_length=4000)]


@route("GET", "/api/v1/tickets", query=TicketQuery, answer=Page[Ticket], summary="Tickets, newest first")
async def list_tickets(call: Call[TicketQuery, None]) -> Page[Ticket]:
    """One page of tickets."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(
            tx,
            Table.TICKETS,
            order="-no",
            limit=q.limit,
            after=number_key(q.cursor),
            state=q.state,
            bap_id=q.bap_id,
            order_id=q.order_id,
        )
    )
    return Page[Ticket](items=[_view(row) for row in found.rows], next_cursor=encode(found.after))


@route("GET", "/api/v1/tickets/{no}", path_types={"no": _No}, answer=Ticket, errors=[404], summary="One ticket")
async def show_ticket(call: Call[None, None]) -> Ticket:
    """One ticket."""
    return _view(await call.system.store.read(lambda tx: tickets.found(tx, call.path["no"])))


@route(
    "POST",
    "/api/v1/tickets/{no}/close",
    path_types={"no": _No},
    body=CloseIn,
    answer=Ticket,
    errors=[404, 409],
    summary="Answer a ticket",
)
async def close_ticket(call: Call[None, CloseIn]) -> Ticket:
    """The answer stands on the page whose link the asker was given. Asking again opens the ticket again."""
    no, answer, who, now_ms = call.path["no"], call.body.answer, call.who.name, call.now_ms()
    return _view(await call.system.store.transact(lambda tx: tickets.close(tx, no, answer, who, now_ms)))


def _view(row: Row) -> Ticket:
    return Ticket(
        no=row["no"],
        state=row["state"],
        bap_id=row["bap_id"],
        transaction_id=row["transaction_id"],
        order_id=row["order_id"],
        ref_id=row["ref_id"],
        ref_type=row["ref_type"],
        contact=json.loads(row["contact"]),
        answer=row["answer"],
        opened_at=rfc3339(row["opened_ms"]),
        closed_at=time(row["closed_ms"]),
    )
