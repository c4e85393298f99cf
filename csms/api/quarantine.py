"""Frames of chargers that carry money and could not be understood, and their way back."""

from __future__ import annotations

import json
from typing import Any, Final, Literal

from pydantic import Field

from csms.api.models import Body, Time, View
from csms.api.pages import Page, PageQuery, encode, text_key
from csms.api.routes import Call, Routes
from csms.app import queries
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339
from csms.ports import ReadTx, Row, Table

route: Final = Routes("Quarantine")


class Frame(View):
    """A frame as it came. `repaired`: it was worked on as the rules mended it, and is kept for reading only."""

    id: str
    charger_id: str
    action: str | None
    message_id: str | None
    raw: str
    problems: list[str]
    rules: list[str] = Field(description="what mended it")
    state: str = Field(description="repaired, waiting or done")
    received_at: Time


class FrameQuery(PageQuery):
    """Filters of the list."""

    state: Literal["repaired", "waiting", "done"] | None = None
    charger_id: str | None = None
    action: str | None = None


class RetryFrameIn(Body):
    """How to read it."""

    payload: dict[str, Any] | None = Field(
        default=None, description="the payload put right by a person; absent: as it came, with the rules of today"
    )


@route("GET", "/api/v1/quarantine", query=FrameQuery, answer=Page[Frame], summary="Frames kept aside, newest first")
async def list_frames(call: Call[FrameQuery, None]) -> Page[Frame]:
    """One page of them."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(
            tx,
            Table.QUARANTINE,
            order="-id",
            limit=q.limit,
            after=text_key(q.cursor),
            state=q.state,
            station=q.charger_id,
            action=q.action,
        )
    )
    return Page[Frame](items=[_view(row) for row in found.rows], next_cursor=encode(found.after))


@route("GET", "/api/v1/quarantine/{id}", answer=Frame, errors=[404], summary="One frame kept aside")
async def show_frame(call: Call[None, None]) -> Frame:
    """One of them."""
    return _view(await call.system.store.read(lambda tx: _frame(tx, call.path["id"])))


@route(
    "POST",
    "/api/v1/quarantine/{id}/retry",
    body=RetryFrameIn,
    answer=Frame,
    errors=[404, 409],
    summary="Read a frame again",
)
async def retry_frame(call: Call[None, RetryFrameIn]) -> Frame:
    """It counts as received when it came, goes the way of any other frame, and closes its case."""
    await call.system.again.read(call.path["id"], call.body.payload, call.who.name)
    return _view(await call.system.store.read(lambda tx: _frame(tx, call.path["id"])))


def _frame(tx: ReadTx, frame_id: str) -> Row:
    if (row := tx.one(Table.QUARANTINE, id=frame_id)) is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no quarantined frame {frame_id!r}.")
    return row


def _view(row: Row) -> Frame:
    return Frame(
        id=row["id"],
        charger_id=row["station"],
        action=row["action"],
        message_id=row["message_id"],
        raw=row["raw"],
        problems=json.loads(row["problems"]),
        rules=json.loads(row["rules"]),
        state=row["state"],
        received_at=rfc3339(row["at_ms"]),
    )
