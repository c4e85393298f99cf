"""Messages on the displays of 2.0.1 chargers: what is asked, what the charger shows, read back from it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from csms.api.commands import Issued, issue
from csms.api.models import LARGEST_NUMBER, Body, Instant, ShortText, Time, View, time
from csms.api.pages import Page, PageQuery, encode, number_key
from csms.api.routes import Call, Routes
from csms.app import displays, queries
from csms.app.chargingprofiles import transaction_of
from csms.domain.refusal import Refusal, Why
from csms.domain.units import instant, rfc3339, to_ms
from csms.ports import ReadTx, Row, Table

route: Final = Routes("Display messages")

MessageNo = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]
Priority = Literal["AlwaysFront", "InFront", "NormalCycle"]
DisplayState = Literal["Charging", "Faulted", "Idle", "Unavailable"]
Format = Literal["ASCII", "HTML", "URI", "UTF8"]

_AT: Final = "/api/v1/chargers/{id}/display-messages"
_ENDED: Final = "ended"  # never stored: it follows from the clock


class DisplayMessageIn(Body):
    """A message to show. Without a state it is shown in every state, without times from now on and for ever."""

    text: Annotated[str, Field(min_length=1, max_length=512)]
    format: Format = "UTF8"
    language: Annotated[str, Field(min_length=2, max_length=8)] | None = Field(default=None, description="RFC 5646")
    priority: Priority = "NormalCycle"
    display_state: DisplayState | None = Field(default=None, description="show it only in this state of the charger")
    start_at: Instant | None = None
    end_at: Instant | None = Field(default=None, description="the charger removes it then")
    session_id: ShortText | None = Field(default=None, description="show it during this session only")
    transaction_id: Annotated[str, Field(min_length=1, max_length=36)] | None = Field(
        default=None, description="the same by the transaction's id"
    )

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> DisplayMessageIn:
        if self.start_at is not None and self.end_at is not None and self.end_at <= self.start_at:
            raise ValueError("end_at must be after start_at")
        if self.session_id is not None and self.transaction_id is not None:
            raise ValueError("give session_id or transaction_id, not both")
        return self


class DisplayMessage(View):
    """A message as it stands: `asked` until the charger has answered, `shown`, `refused` with its word, `cleared`,
    or `ended` when its time is over."""

    id: int
    state: Literal["asked", "shown", "refused", "cleared", "ended"]
    detail: str | None
    text: str
    format: str
    language: str | None
    priority: str
    display_state: str | None
    start_at: Time | None
    end_at: Time | None
    transaction_id: str | None
    updated_at: Time


class Shown(View):
    """A message on its way; `GET /api/v1/instructions/{id}` tells how it went."""

    instruction: Issued
    message: DisplayMessage


class DisplayReadIn(Body):
    """Which messages to read back from the charger; all of them when nothing is named."""

    ids: Annotated[list[MessageNo], Field(max_length=100)] = Field(default_factory=list)
    priority: Priority | None = None
    display_state: DisplayState | None = None


class DisplayQuery(PageQuery):
    """Filters of the list."""

    state: Literal["asked", "shown", "refused", "cleared", "ended"] | None = None


@route(
    "GET", _AT, query=DisplayQuery, answer=Page[DisplayMessage], errors=[404], summary="Messages of a display, by id"
)
async def list_messages(call: Call[DisplayQuery, None]) -> Page[DisplayMessage]:
    """One page of messages, as far as the charger told or was told."""
    q, charger_id, now_ms = call.query, call.path["id"], call.now_ms()
    where = {"station": charger_id, "state": displays.SHOWN if q.state == _ENDED else q.state}

    def read(tx: ReadTx) -> queries.Found:
        queries.charger(tx, charger_id)
        rows: list[Row] = []
        after = number_key(q.cursor)
        while True:  # time ends a message, not a write: one that is over still stands as shown
            found = queries.page(tx, Table.DISPLAY_MESSAGES, order="id", limit=q.limit, after=after, **where)
            rows += [row for row in found.rows if q.state in (None, _state(row, now_ms))]
            if len(rows) > q.limit:
                return queries.Found(rows[: q.limit], rows[q.limit - 1]["id"])
            if found.after is None:
                return queries.Found(rows)
            after = found.after

    found = await call.system.store.read(read)
    return Page[DisplayMessage](items=[_view(row, now_ms) for row in found.rows], next_cursor=encode(found.after))


@route(
    "GET",
    f"{_AT}/{{n}}",
    path_types={"n": MessageNo},
    answer=DisplayMessage,
    errors=[404],
    summary="One message of a display",
)
async def show_message(call: Call[None, None]) -> DisplayMessage:
    """One message."""
    row = await call.system.store.read(lambda tx: _message(tx, call.path["id"], call.path["n"]))
    return _view(row, call.now_ms())


@route(
    "PUT",
    f"{_AT}/{{n}}",
    path_types={"n": MessageNo},
    body=DisplayMessageIn,
    answer=Shown,
    status=202,
    errors=[404],
    summary="Show a message",
)
async def put_message(call: Call[None, DisplayMessageIn]) -> Shown:
    """Ask the charger to show a message; one with the same number is replaced once it agrees."""
    charger_id, number, asked_ms = call.path["id"], call.path["n"], call.now_ms()
    tx_id = await call.system.store.read(lambda tx: _transaction(tx, charger_id, call.body))
    message = _wire(number, call.body, tx_id)
    issued = await issue(call, "set_display_message", {"message": message})
    await call.system.store.transact(lambda tx: displays.ask(tx, charger_id, message, asked_ms))
    row = await call.system.store.read(lambda tx: _message(tx, charger_id, number))
    return Shown(instruction=issued, message=_view(row, call.now_ms()))


@route(
    "DELETE",
    f"{_AT}/{{n}}",
    path_types={"n": MessageNo},
    answer=Issued,
    status=202,
    errors=[404],
    summary="Remove a message",
)
async def clear_message(call: Call[None, None]) -> Issued:
    """Ask the charger to remove a message, also one that only the charger knows."""
    await call.charger()
    return await issue(call, "clear_display_message", {"message_no": call.path["n"]})


@route(
    "POST", f"{_AT}/read", body=DisplayReadIn, answer=Issued, status=202, errors=[404], summary="Read a display back"
)
async def read_messages(call: Call[None, DisplayReadIn]) -> Issued:
    """Ask the charger what it shows; the list follows when it has told all of it."""
    await call.charger()
    body = call.body
    request_id = await call.system.store.transact(lambda tx: tx.next_no("request"))
    asked = {"request_id": request_id, "numbers": body.ids or None, "priority": body.priority}
    return await issue(call, "get_display_messages", {**asked, "state": body.display_state})


def _transaction(tx: ReadTx, charger_id: str, body: DisplayMessageIn) -> str | None:
    """The transaction that a message belongs to, as the charger names it."""
    queries.charger(tx, charger_id)
    if body.session_id is None:
        return body.transaction_id
    row = queries.session(tx, body.session_id)
    tx_id = transaction_of(row)
    if row["station"] != charger_id or tx_id is None:
        raise Refusal(Why.UNKNOWN_SESSION, f"Session {body.session_id!r} is not one of this charger.")
    return tx_id


def _message(tx: ReadTx, charger_id: str, number: int) -> Row:
    queries.charger(tx, charger_id)
    if (row := tx.one(Table.DISPLAY_MESSAGES, station=charger_id, id=number)) is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no message {number} for this charger.")
    return row


def _wire(number: int, body: DisplayMessageIn, tx_id: str | None) -> dict[str, Any]:
    """OCPP's MessageInfo."""
    content = {"format": body.format, "language": body.language, "content": body.text}
    message = {
        "id": number,
        "priority": body.priority,
        "state": body.display_state,
        "startDateTime": rfc3339(to_ms(body.start_at)) if body.start_at is not None else None,
        "endDateTime": rfc3339(to_ms(body.end_at)) if body.end_at is not None else None,
        "transactionId": tx_id,
        "message": {name: value for name, value in content.items() if value is not None},
    }
    return {name: value for name, value in message.items() if value is not None}


def _end_ms(row: Row) -> int | None:
    return instant(json.loads(row["data"]).get("endDateTime"))


def _state(row: Row, now_ms: int) -> Any:
    end_ms = _end_ms(row)
    is_over = row["state"] == displays.SHOWN and end_ms is not None and end_ms <= now_ms
    return _ENDED if is_over else row["state"]


def _view(row: Row, now_ms: int) -> DisplayMessage:
    message = json.loads(row["data"])
    content = message["message"]
    return DisplayMessage(
        id=row["id"],
        state=_state(row, now_ms),
        detail=row["detail"],
        text=content["content"],
        format=content["format"],
        language=content.get("language"),
        priority=message["priority"],
        display_state=message.get("state"),
        start_at=time(instant(message.get("startDateTime"))),
        end_at=time(_end_ms(row)),
        transaction_id=message.get("transactionId"),
        updated_at=rfc3339(row["updated_ms"]),
    )
