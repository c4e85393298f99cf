"""The journal as server-sent events: everything that happened, in order, from where the reader left off."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Annotated, Final

from aiohttp import web
from pydantic import Field

from csms.api.pages import LARGEST_INT, Query
from csms.api.problems import invalid
from csms.api.routes import Call, Routes
from csms.app import queries
from csms.app.masks import mask
from csms.domain.units import rfc3339
from csms.ports import Fact, ReadTx

route: Final = Routes("Events")

STREAM: Final = "text/event-stream"
# Open streams by application, so that a shutdown need not wait for readers who never leave.
OPEN_STREAMS: Final = web.AppKey("open_streams", set[asyncio.Task[object]])
_BATCH: Final = 500
_HEARTBEAT_S: Final = 15.0  # proxies cut silent connections after 30 to 60 s
_RETRY_MS: Final = 2_000


class EventQuery(Query):
    """Where to begin and what to see."""

    kinds: Annotated[str | None, Field(max_length=2000, description="only these, separated by commas")] = None
    after: Annotated[
        int | None,
        Field(ge=0, le=LARGEST_INT, description="instead of `Last-Event-ID`; 0 is the beginning of the journal"),
    ] = None


@route(
    "GET",
    "/api/v1/events",
    query=EventQuery,
    media=(STREAM,),
    summary="Everything that happens, as it happens",
    description="Resumable: send `Last-Event-ID` with the last id seen. Without it the stream begins now. A comment is"
    " sent when nothing happened for a while.",
)
async def stream_events(call: Call[EventQuery, None]) -> web.StreamResponse:
    """Stream facts until the reader leaves or the system stops."""
    cursor = await _begin(call)
    kinds = frozenset(kind.strip() for kind in (call.query.kinds or "").split(",") if kind.strip())
    response = web.StreamResponse(
        headers={"Content-Type": STREAM, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    task = asyncio.current_task()
    assert task is not None
    streams = call.request.app[OPEN_STREAMS]
    streams.add(task)
    try:
        await response.prepare(call.request)
        await response.write(f"retry: {_RETRY_MS}\n: begins after {cursor}\n\n".encode())
        await _follow(call, response, cursor, kinds)
    except (ConnectionError, asyncio.CancelledError):
        pass  # the reader left, or we are stopping: both are how a stream ends
    finally:
        streams.discard(task)
    return response


async def _begin(call: Call[EventQuery, None]) -> int:
    given = call.request.headers.get("Last-Event-ID", "").strip()
    if given and not (given.isascii() and given.isdigit() and len(given) < 19):
        raise invalid("header", "Last-Event-ID", "Last-Event-ID is the number of an event.")
    newest = await call.system.store.read(queries.newest_seq)
    if given:
        # Ids beyond the end come from another journal (a restored backup): nothing was missed that we know of.
        return min(int(given), newest)
    return newest if call.query.after is None else min(call.query.after, newest)


async def _follow(
    call: Call[EventQuery, None], response: web.StreamResponse, cursor: int, kinds: frozenset[str]
) -> None:
    clock = asyncio.get_running_loop().time
    written_at = clock()
    while True:
        facts, sessions = await call.system.store.read(partial(_read, after=cursor))
        text = "".join(_event(fact, sessions) for fact in facts if not kinds or fact.kind in kinds)
        if facts:
            cursor = facts[-1].seq
        if text:
            await response.write(text.encode())
            written_at = clock()
        if len(facts) == _BATCH:
            continue
        await call.system.bell.wait("journal", max(0.0, written_at + _HEARTBEAT_S - clock()))
        if clock() >= written_at + _HEARTBEAT_S:
            await response.write(b": still here\n\n")
            written_at = clock()


def _read(tx: ReadTx, after: int) -> tuple[list[Fact], dict[int, str]]:
    facts = tx.facts(after, _BATCH)
    return facts, queries.session_ids(tx, (fact.session_no for fact in facts if fact.session_no is not None))


def _event(fact: Fact, sessions: dict[int, str]) -> str:
    data = {
        "seq": fact.seq,
        "kind": fact.kind,
        "at": rfc3339(fact.at_ms),
        "charger_id": fact.station,
        "session_id": sessions.get(fact.session_no) if fact.session_no is not None else None,
        "order_id": fact.order_id,
        "body": mask(dict(fact.body)),
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"id: {fact.seq}\nevent: {fact.kind}\ndata: {text}\n\n"
