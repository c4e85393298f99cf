"""Commands in words of the domain, whatever the charger speaks, and the instructions they become."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue, model_validator

from csms.api.models import (
    LARGEST_NUMBER,
    Body,
    Empty,
    Number,
    ShortText,
    Text,
    Time,
    TokenUid,
    View,
    also_called,
    time,
)
from csms.api.pages import Page, PageQuery, encode, text_key
from csms.api.routes import Call, Routes
from csms.app import chargingprofiles, queries, reserving
from csms.app.availability import part_of, want
from csms.app.masks import mask
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339
from csms.ports import ReadTx, Row, Table

route: Final = Routes("Commands")

Part = Annotated[int, Field(ge=0, le=999)]


class Target(Body):
    """Which connector. One number is enough where it names only one."""

    evse_id: Part | None = also_called("evse_id", "evse")
    connector_id: Part | None = also_called("connector_id", "connector")


class Start(Target):
    """Start charging for a token."""

    token: Annotated[TokenUid, Field(description="as the charger shall see it")]
    budget_wh: Annotated[int, Field(ge=1, le=LARGEST_NUMBER)] | None = Field(
        default=None, description="stop after this much energy"
    )
    watts: Number | None = Field(default=None, description="a limit for this transaction, sent with the start")
    amperes: Annotated[float, Field(ge=0, le=10_000)] | None = None


class Stop(Body):
    """Stop a session, named by its id or by the transaction id the charger knows."""

    session_id: ShortText | None = None
    transaction_id: ShortText | int | None = None

    @model_validator(mode="after")
    def _one_name(self) -> Stop:
        if (self.session_id is None) == (self.transaction_id is None):
            raise ValueError("give session_id or transaction_id")
        return self


class Unlock(Target):
    """Unlock a connector."""


class Reset(Body):
    """Restart the charger, or one EVSE of it. `hard` does not wait for running transactions."""

    hard: bool = False
    force: bool = Field(default=False, description="hard although a session is open, whose last data may be lost")
    type: Literal["Soft", "Hard", "OnIdle", "Immediate"] | None = Field(
        default=None, description="the same in OCPP's words"
    )
    evse_id: Part | None = also_called("evse_id", "evse")


class Availability(Target):
    """Take a charger, an EVSE or a connector into or out of service. Without either number: the charger."""

    operative: bool | None = None
    type: Literal["Operative", "Inoperative"] | None = Field(default=None, description="the same in OCPP's words")

    @model_validator(mode="after")
    def _said_once(self) -> Availability:
        if (self.operative is None) == (self.type is None):
            raise ValueError("say whether it is operative: true or false")
        return self


class Trigger(Target):
    """Ask the charger to send a message now."""

    message: ShortText = Field(description="StatusNotification, MeterValues, BootNotification, Heartbeat, …")


class Limit(Target):
    """Limit power or current, of a session when one is named, else of the connector or the charger."""

    watts: Number | None = None
    amperes: Annotated[float, Field(ge=0, le=10_000)] | None = None
    session_id: ShortText | None = None

    @model_validator(mode="after")
    def _one_unit(self) -> Limit:
        if (self.watts is None) == (self.amperes is None):
            raise ValueError("give watts or amperes")
        return self


class GetConfig(Body):
    """Read configuration keys (OCPP 1.6) or variables as `Component.Variable` (2.0.1); all when none is named."""

    keys: Annotated[list[Text], Field(max_length=200)] = Field(default_factory=list)


class SetConfig(Body):
    """Set a configuration key (OCPP 1.6) or a variable as `Component.Variable` (2.0.1)."""

    key: Text
    value: Annotated[str, Field(max_length=2500)]


class DataTransfer(Body):
    """A vendor's own message."""

    vendor_id: Annotated[str, Field(min_length=1, max_length=255)]
    message_id: Annotated[str, Field(max_length=50)] | None = None
    data: JsonValue = None


class Issued(View):
    """An instruction on its way; `GET /api/v1/instructions/{id}` tells how it went."""

    id: str
    state: str


class Instruction(View):
    """A command and its fate: ISSUED, SENT, ACCEPTED, EFFECTIVE, or REFUSED or EXPIRED with the reason."""

    id: str
    charger_id: str
    kind: str
    state: str
    payload: JsonValue
    issued_at: Time
    sent_at: Time | None
    accepted_at: Time | None = Field(description="when the charger answered")
    effective_at: Time | None = Field(description="when a fact proved the effect")
    expires_at: Time
    reason: str | None
    response: JsonValue
    message_id: str | None
    session_id: str | None
    order_id: str | None


class InstructionQuery(PageQuery):
    """Filters of the list."""

    charger_id: str | None = None
    state: str | None = None
    kind: str | None = None
    order_id: str | None = None
    session_id: str | None = None


async def issue(call: Call[Any, Any], kind: str, payload: dict[str, Any]) -> Issued:
    """Hand an instruction over; members that are None are absent."""
    given = {name: value for name, value in payload.items() if value is not None}
    instruction_id = await call.system.instructing.issue(call.path["id"], kind, given, idem=call.idem)
    row = await call.system.store.read(lambda tx: tx.one(Table.INSTRUCTIONS, id=instruction_id))
    return Issued(id=instruction_id, state=row["state"] if row else "ISSUED")


async def _socket(call: Call[Any, Any], target: Target) -> tuple[int, int]:
    def read(tx: ReadTx) -> tuple[int, int]:
        station = queries.charger(tx, call.path["id"])
        return queries.socket(tx, station, target.evse_id, target.connector_id)

    return await call.system.store.read(read)


async def named_part(call: Call[Any, Any], target: Target) -> dict[str, int | None]:
    """The addressed part; nothing named, or 0, is the whole charger."""
    if not target.evse_id and not target.connector_id:
        await call.charger()
        return {}
    if target.connector_id is None:
        await call.charger()
        return {"evse": target.evse_id}
    evse, connector = await _socket(call, target)
    return {"evse": evse, "connector": connector}


_DONE: Final[dict[str, Any]] = {"answer": Issued, "status": 202, "errors": [404]}
_AT: Final = "/api/v1/chargers/{id}/commands"


@route("POST", f"{_AT}/start", body=Start, summary="Start charging", **_DONE)
async def start(call: Call[None, Start]) -> Issued:
    """Ask the charger to start a transaction."""
    evse, connector = await _socket(call, call.body)
    charger_id, token, now_ms = call.path["id"], call.body.token, call.now_ms()
    await call.system.store.read(lambda tx: reserving.refuse_reserved(tx, charger_id, evse, token, now_ms))
    payload = {"token": token, "evse": evse, "connector": connector, "budget_wh": call.body.budget_wh}
    return await issue(call, "start", payload | {"watts": call.body.watts, "amperes": call.body.amperes})


@route("POST", f"{_AT}/stop", body=Stop, summary="Stop a session", **_DONE)
async def stop(call: Call[None, Stop]) -> Issued:
    """Ask the charger to stop a transaction."""
    charger_id, body = call.path["id"], call.body

    def read(tx: ReadTx) -> Row:
        queries.charger(tx, charger_id)
        if body.session_id is not None:
            row = queries.session(tx, body.session_id)
            if row["station"] == charger_id:
                return row
            raise Refusal(Why.UNKNOWN_SESSION, f"Session {body.session_id!r} is not one of this charger.")
        found = queries.sessions(tx, limit=1, charger_id=charger_id, transaction_id=str(body.transaction_id))
        if not found.rows:
            raise Refusal(Why.UNKNOWN_SESSION, f"This charger has no transaction {body.transaction_id!r}.")
        return found.rows[0]

    row = await call.system.store.read(read)
    return await issue(call, "stop", {"session_id": row["id"]})


@route("POST", f"{_AT}/unlock", body=Unlock, summary="Unlock a connector", **_DONE)
async def unlock(call: Call[None, Unlock]) -> Issued:
    """Ask the charger to release the plug."""
    evse, connector = await _socket(call, call.body)
    return await issue(call, "unlock", {"evse": evse, "connector": connector})


@route("POST", f"{_AT}/reset", body=Reset, summary="Restart the charger", **_DONE)
async def reset(call: Call[None, Reset]) -> Issued:
    """Restart the charger or one EVSE. Hard is refused while a session is open there, unless it is forced."""
    await call.charger()
    hard = call.body.hard or call.body.type in ("Hard", "Immediate")
    return await issue(call, "reset", {"hard": hard, "force": call.body.force or None, "evse": call.body.evse_id})


@route("POST", f"{_AT}/availability", body=Availability, summary="Take in or out of service", **_DONE)
async def availability(call: Call[None, Availability]) -> Issued:
    """Change availability of the charger or a part of it."""
    body = call.body
    operative = body.operative if body.operative is not None else body.type == "Operative"
    part = await named_part(call, body)
    issued = await issue(call, "availability", {"operative": operative, **part})
    live = call.system.stations.get(call.path["id"])
    place = part_of(part.get("evse"), part.get("connector"), live.transport if live is not None else None)
    await call.system.store.transact(
        lambda tx: want(tx, call.path["id"], place, operative=operative, now_ms=call.now_ms())
    )
    return issued


@route("POST", f"{_AT}/trigger", body=Trigger, summary="Ask for a message", **_DONE)
async def trigger(call: Call[None, Trigger]) -> Issued:
    """Ask the charger to send a message now."""
    return await issue(call, "trigger", {"message": call.body.message, **await named_part(call, call.body)})


@route("POST", f"{_AT}/limit", body=Limit, summary="Limit power or current", **_DONE)
async def limit(call: Call[None, Limit]) -> Issued:
    """Set a charging limit: of a session's transaction, else for whoever charges there, now and later."""
    body, charger_id, now_ms = call.body, call.path["id"], call.now_ms()
    place = await named_part(call, body)
    if body.session_id is not None:
        limit = {"watts": body.watts, "amperes": body.amperes, "session_id": body.session_id}
        return await issue(call, "limit", {**limit, **place})
    profile = await call.system.store.read(
        lambda tx: chargingprofiles.flat_limit(
            tx,
            charger_id,
            watts=body.watts,
            amperes=body.amperes,
            evse=place.get("evse"),
            connector=place.get("connector"),
            now_ms=now_ms,
        )
    )
    return await issue(call, "set_profile", profile)


@route("POST", f"{_AT}/get_config", body=GetConfig, summary="Read configuration", **_DONE)
async def get_config(call: Call[None, GetConfig]) -> Issued:
    """Read configuration from the charger; the instruction's response holds it."""
    await call.charger()
    return await issue(call, "get_config", {"keys": call.body.keys})


@route("POST", f"{_AT}/set_config", body=SetConfig, summary="Change configuration", **_DONE)
async def set_config(call: Call[None, SetConfig]) -> Issued:
    """Change configuration on the charger."""
    await call.charger()
    return await issue(call, "set_config", {"key": call.body.key, "value": call.body.value})


@route("POST", f"{_AT}/clear_cache", body=Empty, summary="Clear the authorization cache", **_DONE)
async def clear_cache(call: Call[None, Empty]) -> Issued:
    """Make the charger forget which tokens it has seen."""
    await call.charger()
    return await issue(call, "clear_cache", {})


@route("POST", f"{_AT}/data_transfer", body=DataTransfer, summary="Send a vendor's message", **_DONE)
async def data_transfer(call: Call[None, DataTransfer]) -> Issued:
    """Send a DataTransfer."""
    await call.charger()
    return await issue(call, "data_transfer", call.body.model_dump())


@route(
    "GET",
    "/api/v1/instructions",
    query=InstructionQuery,
    answer=Page[Instruction],
    summary="Instructions, newest first",
)
async def list_instructions(call: Call[InstructionQuery, None]) -> Page[Instruction]:
    """One page of instructions."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(
            tx,
            Table.INSTRUCTIONS,
            order="-id",
            limit=q.limit,
            after=text_key(q.cursor),
            station=q.charger_id,
            state=q.state,
            kind=q.kind,
            order_id=q.order_id,
            session_id=q.session_id,
        )
    )
    return Page[Instruction](items=[_view(row) for row in found.rows], next_cursor=encode(found.after))


@route("GET", "/api/v1/instructions/{id}", answer=Instruction, errors=[404], summary="How a command went")
async def show_instruction(call: Call[None, None]) -> Instruction:
    """One instruction."""
    row = await call.system.store.read(lambda tx: tx.one(Table.INSTRUCTIONS, id=call.path["id"]))
    if row is None:
        raise Refusal(Why.UNKNOWN_INSTRUCTION, f"There is no instruction {call.path['id']!r}.")
    return _view(row)


def _view(row: Row) -> Instruction:
    return Instruction(
        id=row["id"],
        charger_id=row["station"],
        kind=row["kind"],
        state=row["state"],
        payload=mask(json.loads(row["payload"])),
        issued_at=rfc3339(row["issued_ms"]),
        sent_at=time(row["sent_ms"]),
        accepted_at=time(row["answered_ms"]),
        effective_at=time(row["effective_ms"]),
        expires_at=rfc3339(row["expires_ms"]),
        reason=row["reason"],
        response=_response(row["response"]),
        message_id=row["message_id"],
        session_id=row["session_id"],
        order_id=row["order_id"],
    )


def _response(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return mask(json.loads(text))
    except ValueError:
        return text
