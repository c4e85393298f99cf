"""Prices by the hour: what a supplier announced, and what an operator adds by hand."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue

from csms.api.models import Body, Instant, ShortText, Time, View
from csms.api.pages import Page, PageQuery, encode, text_key
from csms.api.routes import Call, Routes
from csms.app import price_events, queries
from csms.domain.refusal import Refusal, Why
from csms.domain.stored import to_json
from csms.domain.units import rfc3339
from csms.ports import ReadTx, Row, Table, Tx

route: Final = Routes("Energy prices")

_Price = Annotated[float, Field(ge=-1000, le=1000)]


class Window(Body):
    """A price from one time until another (exclusive), per kWh before tax. At least one of the last three is given."""

    starts_at: Instant
    ends_at: Instant
    per_kwh: Annotated[float | None, Field(ge=0, le=1000, description="in place of the tariff's own price")] = None
    multiplier: Annotated[float | None, Field(ge=0, le=100, description="times the tariff's own price")] = None
    adder: Annotated[_Price | None, Field(description="added to it; the result is never below zero")] = None


class PriceEventIn(Body):
    """What is announced."""

    targets: Annotated[list[ShortText], Field(min_length=1, max_length=200)] = Field(
        default=["*"], description="`*`, `tariff:ID`, `location:ID`, `feeder:ID`"
    )
    prices: Annotated[list[Window], Field(min_length=1, max_length=3000)]
    modification: Annotated[int, Field(ge=0, le=2**53)] = Field(
        default=0, description="of two words under one id the higher one counts; 0: the later one does"
    )
    priority: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=0, description="of events that overlap the highest counts"
    )


class NewPriceEventIn(PriceEventIn):
    """The same under an id."""

    id: ShortText


class PriceEvent(View):
    """An event. `cancelled`: it was withdrawn. `over`: no bill can need it any more."""

    id: str = Field(description="source and id")
    event_id: str
    source: str
    state: str = Field(description="live, cancelled or over")
    targets: list[str]
    prices: JsonValue
    modification: int
    priority: int
    starts_at: Time
    ends_at: Time
    received_at: Time


class PriceEventQuery(PageQuery):
    """Filters of the list."""

    state: Literal["live", "cancelled", "over"] | None = None
    source: str | None = None


@route(
    "GET",
    "/api/v1/price-events",
    query=PriceEventQuery,
    answer=Page[PriceEvent],
    summary="Price events, by source and id",
)
async def list_price_events(call: Call[PriceEventQuery, None]) -> Page[PriceEvent]:
    """One page of them."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(
            tx,
            Table.PRICE_EVENTS,
            order="id",
            limit=q.limit,
            after=text_key(q.cursor),
            state=q.state,
            source=q.source,
        )
    )
    return Page[PriceEvent](items=[_view(row) for row in found.rows], next_cursor=encode(found.after))


@route("POST", "/api/v1/price-events", body=NewPriceEventIn, answer=PriceEvent, summary="Announce a price")
async def post_price_event(call: Call[None, NewPriceEventIn]) -> PriceEvent:
    """Like PUT, with the id in the body."""
    return await _put(call, call.body.id)


@route("PUT", "/api/v1/price-events/{id}", body=PriceEventIn, answer=PriceEvent, summary="Announce a price under an id")
async def put_price_event(call: Call[None, PriceEventIn]) -> PriceEvent:
    """It holds from its own start for quotations made from now on; orders keep what they were quoted with."""
    return await _put(call, call.path["id"])


@route("GET", "/api/v1/price-events/{id}", answer=PriceEvent, errors=[404], summary="One price event")
async def show_price_event(call: Call[None, None]) -> PriceEvent:
    """By its id in the list (`api|my-id`), or your own id of it."""
    return _view(await call.system.store.read(lambda tx: _event(tx, call.path["id"])))


@route("DELETE", "/api/v1/price-events/{id}", answer=PriceEvent, errors=[404], summary="Withdraw a price event")
async def delete_price_event(call: Call[None, None]) -> PriceEvent:
    """The tariffs' own prices hold again for new quotations. A feed that announces it anew brings it back."""
    now_ms = call.now_ms()
    row = await call.system.store.transact(
        lambda tx: price_events.cancel(tx, _event(tx, call.path["id"])["id"], now_ms)
    )
    await call.system.catalogue.changed()
    return _view(row)


async def _put(call: Call[Any, Any], event_id: str) -> PriceEvent:
    now_ms = call.now_ms()
    said = call.body.model_dump(mode="json", exclude={"id"})
    event = price_events.read_event({**said, "id": event_id}, price_events.OWN, now_ms)

    def work(tx: Tx) -> Row:
        price_events.put(tx, event, now_ms)
        return _event(tx, price_events.key_of(event))

    row = await call.system.store.transact(work)
    await call.system.catalogue.changed()
    return _view(row)


def _event(tx: ReadTx, event_id: str) -> Row:
    row = tx.one(Table.PRICE_EVENTS, id=event_id) or tx.one(Table.PRICE_EVENTS, id=f"{price_events.OWN}|{event_id}")
    if row is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no price event {event_id!r}.")
    return row


def _view(row: Row) -> PriceEvent:
    event = price_events.event_of(row)
    return PriceEvent(
        id=row["id"],
        event_id=event.event_id,
        source=event.source,
        state=row["state"],
        targets=list(event.targets),
        prices=[
            {
                "starts_at": rfc3339(price.from_ms),
                "ends_at": rfc3339(price.until_ms),
                **{name: value for name, value in to_json(price).items() if not name.endswith("_ms")},
            }
            for price in event.prices
        ],
        modification=event.modification,
        priority=event.priority,
        starts_at=rfc3339(event.starts_ms),
        ends_at=rfc3339(event.ends_ms),
        received_at=rfc3339(row["received_ms"]),
    )
