"""Energy for those who supply it: by feeder or consumer number, hour by hour; and whose energy a token's is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

from aiohttp import web
from pydantic import Field

from csms.api.models import Body, Instant, ShortText, Time, TokenUid, View, Zone
from csms.api.pages import Page, PageQuery, Query, encode, text_key
from csms.api.routes import CSV, JSON, Answer, Call, Routes
from csms.app import queries
from csms.app.consuming import Asked, By, Consumed, consumption
from csms.app.csvlines import lines
from csms.domain.consumption import Interval
from csms.domain.refusal import Refusal, Why
from csms.domain.units import kwh, local, rfc3339, to_ms
from csms.ports import Row, Table, Tx

route: Final = Routes("Consumption")

_CHUNK: Final = 500


class ConsumptionRow(View):
    """Energy of one feeder or consumer in one hour or day. `key` is null where nobody said one."""

    key: str | None
    from_: Time = Field(alias="from")
    to: Time
    energy_wh: int
    sessions: int = Field(description="how many had a part in it")


class Consumption(View):
    """All rows, by key and time."""

    items: list[ConsumptionRow]
    next_cursor: str | None = Field(description="always null: it comes whole")


class ConsumptionQuery(Query):
    """What is asked for: whole hours or days of `tz` that begin in the period."""

    by: Literal["feeder", "consumer"]
    from_: Instant = Field(alias="from", description="from the hour or day that begins at or after")
    to: Instant = Field(description="to the one that begins before")
    interval: Literal["hour", "day"] = "hour"
    key: str | None = Field(default=None, max_length=200, description="one feeder or consumer number only")
    format: Literal["json", "csv"] = "json"
    tz: Zone = Field(default="Asia/Kolkata", description="civil time of hours and days")


@route(
    "GET",
    "/api/v1/consumption",
    query=ConsumptionQuery,
    answer=Consumption,
    media=(JSON, CSV),
    summary="Energy by feeder or consumer number, hour by hour",
)
async def show_consumption(call: Call[ConsumptionQuery, None]) -> web.StreamResponse:
    """Everything in one answer, streamed."""
    q = call.query
    asked = Asked(
        by=By(q.by),
        from_ms=to_ms(q.from_),
        to_ms=to_ms(q.to),
        interval=Interval(q.interval),
        zone=q.tz,
        key=q.key,
    )
    found = await consumption(call.system.store, asked)
    if q.format == "csv":
        return await _stream(call, f"{CSV}; charset=utf-8", _csv(found, q.by, q.tz), f"{q.by}s.csv")
    return await _stream(call, "application/json; charset=utf-8", _json(found), None)


def _json(found: list[Consumed]) -> Iterator[bytes]:
    yield b'{"items":['
    for begin in range(0, len(found), _CHUNK):
        rows = [_row(one).model_dump_json(by_alias=True) for one in found[begin : begin + _CHUNK]]
        yield (("," if begin else "") + ",".join(rows)).encode()
    yield b'],"next_cursor":null}'


def _csv(found: list[Consumed], by: str, tz: str) -> Iterator[bytes]:
    yield lines([(by, "from", "to", "energy_kwh", "sessions")])
    for begin in range(0, len(found), _CHUNK):
        yield lines(
            (
                one.key,
                local(one.from_ms, tz).isoformat(),
                local(one.to_ms, tz).isoformat(),
                f"{kwh(one.energy_wh):.3f}",
                one.sessions,
            )
            for one in found[begin : begin + _CHUNK]
        )


def _row(one: Consumed) -> ConsumptionRow:
    return ConsumptionRow.model_validate(
        {
            "key": one.key,
            "from": rfc3339(one.from_ms),
            "to": rfc3339(one.to_ms),
            "energy_wh": one.energy_wh,
            "sessions": one.sessions,
        }
    )


async def _stream(
    call: Call[Any, None], content_type: str, chunks: Iterable[bytes], name: str | None
) -> web.StreamResponse:
    headers = {"Content-Type": content_type, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if name is not None:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response = web.StreamResponse(headers=headers)
    await response.prepare(call.request)
    for chunk in chunks:
        await response.write(chunk)
    await response.write_eof()
    return response


# -- whose energy a token's is


class Consumer(View):
    """A token whose energy belongs to an account with the electricity supplier."""

    token: str
    consumer_number: str
    updated_at: Time


class ConsumerIn(Body):
    """The account."""

    consumer_number: ShortText


@route("GET", "/api/v1/consumers", query=PageQuery, answer=Page[Consumer], summary="Consumer numbers of tokens")
async def list_consumers(call: Call[PageQuery, None]) -> Page[Consumer]:
    """One page, by token."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(tx, Table.CONSUMERS, order="uid_norm", limit=q.limit, after=text_key(q.cursor))
    )
    return Page[Consumer](items=[_consumer(row) for row in found.rows], next_cursor=encode(found.after))


@route(
    "PUT",
    "/api/v1/consumers/{token}",
    path_types={"token": TokenUid},
    body=ConsumerIn,
    answer=Consumer,
    also=[201],
    summary="Give a token's energy to a consumer number",
)
async def put_consumer(call: Call[None, ConsumerIn]) -> Answer:
    """It counts for past sessions, too: consumption is read from them each time."""
    uid = call.path["token"]
    row = {
        "uid_norm": queries.normal_token(uid),
        "uid": uid,
        "consumer_number": call.body.consumer_number,
        "updated_ms": call.now_ms(),
    }

    def work(tx: Tx) -> bool:
        is_new = tx.take(Table.CONSUMERS, uid_norm=row["uid_norm"]) is None
        tx.save(Table.CONSUMERS, row)
        return is_new

    is_new = await call.system.store.transact(work)
    return Answer(_consumer(row), 201 if is_new else 200)


@route("DELETE", "/api/v1/consumers/{token}", errors=[404], summary="Take a token's consumer number away")
async def delete_consumer(call: Call[None, None]) -> None:
    """Its energy belongs to nobody by name again."""
    norm = queries.normal_token(call.path["token"])
    if not await call.system.store.transact(lambda tx: tx.drop(Table.CONSUMERS, uid_norm=norm)):
        raise Refusal(Why.UNKNOWN_TARGET, f"The token {call.path['token']!r} has no consumer number.")


def _consumer(row: Row) -> Consumer:
    return Consumer(token=row["uid"], consumer_number=row["consumer_number"], updated_at=rfc3339(row["updated_ms"]))
