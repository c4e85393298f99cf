"""Messages to buyer apps and from them: how they went, and taking up again what was given up."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue

from csms.api.models import Body, ShortText, Time, View, time
from csms.api.pages import LARGEST_INT, Page, PageQuery, encode, number_key
from csms.api.routes import Call, Routes
from csms.app import outbox, queries
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339
from csms.ports import Fact, ReadTx, Row, Table, Tx

route: Final = Routes("Messages of buyers")

_MOST_AT_ONCE: Final = 1000
_No = Annotated[int, Field(ge=1, le=LARGEST_INT)]


class Callback(View):
    """A message to a buyer app. `behind`: others of its conversation go first."""

    no: int
    action: str
    bap_id: str
    transaction_id: str
    message_id: str
    order_id: str | None
    network: str
    url: str
    state: str = Field(description="waiting, behind, done or failed")
    attempts: int
    error: str | None = Field(description="what the last attempt came to, when it failed")
    created_at: Time
    next_at: Time | None = Field(description="when it is tried next")
    done_at: Time | None


class CallbackWhole(Callback):
    """The same with what it says."""

    body: JsonValue


class CallbackQuery(PageQuery):
    """Filters of the list."""

    state: Literal["waiting", "behind", "done", "failed"] | None = None
    bap_id: str | None = None
    transaction_id: str | None = None
    order_id: str | None = None
    action: str | None = None


class RetryIn(Body):
    """Whose messages are taken up again."""

    bap_id: ShortText


class Retried(View):
    """How many were taken up. `more`: there are others; ask again."""

    count: int
    more: bool


class Request(View):
    """A message of a buyer app."""

    no: int
    action: str
    bap_id: str
    transaction_id: str
    message_id: str
    network: str
    state: str = Field(description="new, done or failed")
    attempts: int
    error: str | None
    answered_by: int | None = Field(description="the callback that answered it")
    received_at: Time


class RequestWhole(Request):
    """The same with what it says."""

    body: JsonValue


class RequestQuery(PageQuery):
    """Filters of the list."""

    state: Literal["new", "done", "failed"] | None = None
    bap_id: str | None = None
    transaction_id: str | None = None
    action: str | None = None


@route("GET", "/api/v1/callbacks", query=CallbackQuery, answer=Page[Callback], summary="Callbacks, newest first")
async def list_callbacks(call: Call[CallbackQuery, None]) -> Page[Callback]:
    """One page of the messages to buyer apps."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(
            tx,
            Table.OUTBOX,
            order="-no",
            limit=q.limit,
            after=number_key(q.cursor),
            state=q.state,
            bap_id=q.bap_id,
            transaction_id=q.transaction_id,
            order_id=q.order_id,
            action=q.action,
        )
    )
    return Page[Callback](items=[Callback(**_sent(row)) for row in found.rows], next_cursor=encode(found.after))


@route(
    "GET",
    "/api/v1/callbacks/{no}",
    path_types={"no": _No},
    answer=CallbackWhole,
    errors=[404],
    summary="One callback",
)
async def show_callback(call: Call[None, None]) -> CallbackWhole:
    """One message with its body."""
    row = await call.system.store.read(lambda tx: _callback(tx, call.path["no"]))
    return CallbackWhole(**_sent(row), body=_said(row["body"]))


@route(
    "POST",
    "/api/v1/callbacks/retry",
    body=RetryIn,
    answer=Retried,
    summary="Send everything again that was given up for one buyer app",
)
async def retry_callbacks(call: Call[None, RetryIn]) -> Retried:
    """The oldest first, up to 1000 at a time; each conversation in its order."""
    bap_id, now_ms = call.body.bap_id, call.now_ms()

    def work(tx: Tx) -> int:
        count = outbox.take_up_all(tx, bap_id, now_ms, _MOST_AT_ONCE)
        if count:
            tx.append([Fact("CallbacksRetried", now_ms, {"bap_id": bap_id, "count": count, "who": call.who.name})])
        return count

    count = await call.system.store.transact(work)
    call.system.bell.ring("outbox")
    return Retried(count=count, more=count == _MOST_AT_ONCE)


@route(
    "POST",
    "/api/v1/callbacks/{no}/retry",
    path_types={"no": _No},
    answer=Callback,
    errors=[404, 409],
    summary="Send a callback again that was given up",
)
async def retry_callback(call: Call[None, None]) -> Callback:
    """It goes before everything younger of its conversation."""
    no, now_ms = call.path["no"], call.now_ms()

    def work(tx: Tx) -> Row:
        row = outbox.take_up(tx, no, now_ms)
        body = {"bap_id": row["bap_id"], "outbox_no": no, "count": 1, "who": call.who.name}
        tx.append([Fact("CallbacksRetried", now_ms, body, order_id=row["order_id"])])
        return row

    row = await call.system.store.transact(work)
    call.system.bell.ring("outbox")
    return Callback(**_sent(row))


@route("GET", "/api/v1/requests", query=RequestQuery, answer=Page[Request], summary="Buyers' requests, newest first")
async def list_requests(call: Call[RequestQuery, None]) -> Page[Request]:
    """One page of the messages of buyer apps."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(
            tx,
            Table.INBOX,
            order="-no",
            limit=q.limit,
            after=number_key(q.cursor),
            state=q.state,
            bap_id=q.bap_id,
            transaction_id=q.transaction_id,
            action=q.action,
        )
    )
    return Page[Request](items=[Request(**_received(row)) for row in found.rows], next_cursor=encode(found.after))


@route(
    "GET",
    "/api/v1/requests/{no}",
    path_types={"no": _No},
    answer=RequestWhole,
    errors=[404],
    summary="One request of a buyer",
)
async def show_request(call: Call[None, None]) -> RequestWhole:
    """One message with its body."""
    row = await call.system.store.read(lambda tx: _request(tx, call.path["no"]))
    return RequestWhole(**_received(row), body=_said(row["body"]))


@route(
    "POST",
    "/api/v1/requests/{no}/retry",
    path_types={"no": _No},
    answer=Request,
    errors=[404, 409],
    summary="Work again on a request that failed",
)
async def retry_request(call: Call[None, None]) -> Request:
    """For requests that failed by a fault of this program. What changes something is answered as news (BECKN 1.5)."""
    no, now_ms = call.path["no"], call.now_ms()

    def work(tx: Tx) -> Row:
        row = _request(tx, no)
        if row["state"] == "new":
            return row
        if row["state"] != "failed":
            raise Refusal(Why.WRONG_STATE, f"Request {no} is {row['state']}: only one that failed is worked on again.")
        tx.change(Table.INBOX, {"state": "new", "attempts": 0}, no=no)
        if row["outbox_no"] is not None:
            # The apology stands under the purpose of the answer, which needs it now.
            tx.change(Table.OUTBOX, {"purpose": f"in:{no}:failed:{row['outbox_no']}"}, no=row["outbox_no"])
        tx.append([Fact("RequestRetried", now_ms, {"inbox_no": no, "bap_id": row["bap_id"], "who": call.who.name})])
        return _request(tx, no)

    row = await call.system.store.transact(work)
    call.system.bell.ring("inbox")
    return Request(**_received(row))


def _callback(tx: ReadTx, no: int) -> Row:
    if (row := tx.one(Table.OUTBOX, no=no)) is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no callback {no}.")
    return row


def _request(tx: ReadTx, no: int) -> Row:
    if (row := tx.one(Table.INBOX, no=no)) is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no request {no}.")
    return row


def _said(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")


def _sent(row: Row) -> dict[str, Any]:
    same = ("no", "action", "bap_id", "transaction_id", "message_id", "order_id", "network", "url", "state", "attempts")
    return {
        **{name: row[name] for name in same},
        "error": row["error"],
        "created_at": rfc3339(row["created_ms"]),
        "next_at": rfc3339(row["next_ms"]) if row["state"] == outbox.WAITING else None,
        "done_at": time(row["done_ms"]),
    }


def _received(row: Row) -> dict[str, Any]:
    same = ("no", "action", "bap_id", "transaction_id", "message_id", "network", "state", "attempts", "error")
    return {
        **{name: row[name] for name in same},
        "answered_by": row["outbox_no"],
        "received_at": rfc3339(row["received_ms"]),
    }
