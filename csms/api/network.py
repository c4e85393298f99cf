"""The network as it meets us: catalogs pushed to a discovery service, and how much buyer apps look and buy."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from csms.api.models import Time, View, time
from csms.api.pages import Page, PageQuery, encode, number_key
from csms.api.routes import Answer, Call, Routes
from csms.app import queries
from csms.domain.refusal import Refusal, Why
from csms.domain.scanning import Freshness
from csms.domain.units import rfc3339
from csms.ports import ReadTx, Row, Table

route: Final = Routes("Network")

State = Literal["sent", "replaced", "accepted", "rejected", "partial"]


class Publication(View):
    """One catalog, pushed once. `state` is what the service made of it; `delivery` how far its message has come (empty:
    it is no longer kept)."""

    message_id: str
    catalog_id: str
    reason: Annotated[str, Field(description="start, changed, schedule or asked")]
    items: int
    state: State
    delivery: str | None
    attempts: int
    error: str | None
    results: list[Any]
    published_at: Time
    answered_at: Time | None


class PublicationQuery(PageQuery):
    """Filters of the list."""

    state: State | None = None
    catalog_id: str | None = None


class Asked(View):
    """What was set going."""

    catalogs: int


class Participant(View):
    """A buyer app since this node started. `searches_per_select` is empty while it has selected nothing; `freshness` is
    what its last search was shown."""

    bap_id: str
    searches: int
    selects: int
    searches_per_select: float | None
    freshness: Freshness
    shown: Annotated[dict[str, int], Field(description="searches by how fresh a state they were shown")]
    last_seen_at: Time


class Participants(View):
    """Buyer apps, the latest first."""

    items: list[Participant]


@route("GET", "/api/v1/publications", query=PublicationQuery, answer=Page[Publication], summary="Published catalogs")
async def list_publications(call: Call[PublicationQuery, None]) -> Page[Publication]:
    """One page, newest first."""
    q = call.query

    def work(tx: ReadTx) -> tuple[queries.Found, dict[int, Row]]:
        found = queries.page(
            tx,
            Table.PUBLICATIONS,
            order="-no",
            limit=q.limit,
            after=number_key(q.cursor),
            state=q.state,
            catalog_id=q.catalog_id,
        )
        numbers = [row["outbox_no"] for row in found.rows if row["outbox_no"] is not None]
        messages = tx.many(Table.OUTBOX, no=numbers) if numbers else []
        return found, {row["no"]: row for row in messages}

    found, messages = await call.system.store.read(work)
    items = [_view(row, messages.get(row["outbox_no"])) for row in found.rows]
    return Page[Publication](items=items, next_cursor=encode(found.after))


@route(
    "POST",
    "/api/v1/publications",
    answer=Asked,
    status=202,
    errors=[409],
    summary="Publish every catalog now",
    description="Needs `beckn.cds_url`. What of an earlier publication has not left yet is replaced.",
)
async def publish(call: Call[None, None]) -> Answer:
    """Set it going."""
    publisher = call.system.publisher
    if publisher is None:
        raise Refusal(Why.WRONG_STATE, "No catalogue service is configured: set beckn.cds_url.")
    return Answer(Asked(catalogs=publisher.ask()), 202)


@route(
    "GET",
    "/api/v1/participants",
    answer=Participants,
    summary="Buyer apps: how much they search and select",
    description="Counted since this node started. Who searches far more than it selects is shown less and less.",
)
async def list_participants(call: Call[None, None]) -> Participants:
    """All of them."""
    return Participants(
        items=[
            Participant(
                bap_id=app.bap_id,
                searches=app.searches,
                selects=app.selects,
                searches_per_select=app.searches_per_select,
                freshness=app.freshness,
                shown={freshness.value: count for freshness, count in app.shown.items()},
                last_seen_at=rfc3339(app.last_ms),
            )
            for app in call.system.fair_use.all()
        ]
    )


def _view(row: Row, message: Row | None) -> Publication:
    return Publication(
        message_id=row["message_id"],
        catalog_id=row["catalog_id"],
        reason=row["reason"],
        items=row["items"],
        state=row["state"],
        delivery=message["state"] if message is not None else None,
        attempts=message["attempts"] if message is not None else 0,
        error=message["error"] if message is not None else None,
        results=json.loads(row["results"]) if row["results"] else [],
        published_at=rfc3339(row["at_ms"]),
        answered_at=time(row["answered_ms"]),
    )
