"""Cases: what a person must look at."""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

from pydantic import AliasChoices, Field, JsonValue

from csms.api.models import NO_CONTROL, Body, Time, View, time
from csms.api.pages import Page, PageQuery, encode, number_key
from csms.api.routes import Call, Routes
from csms.app import queries
from csms.app.cases import close_case
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339
from csms.ports import ReadTx, Row, Table, Tx

route: Final = Routes("Cases")


class Case(View):
    """A case. It never closes itself."""

    id: str
    type: str
    severity: str
    state: str
    charger_id: str | None
    session_id: str | None
    order_id: str | None
    text: str
    opened_at: Time
    resolved_at: Time | None
    resolution: str | None
    data: JsonValue


class CaseQuery(PageQuery):
    """Filters of the list."""

    state: Literal["open", "resolved"] | None = None
    type: str | None = None
    severity: str | None = None
    charger_id: str | None = None
    session_id: str | None = None
    order_id: str | None = None


class ResolveIn(Body):
    """What was found and done. `apply` also does what the case waits for."""

    resolution: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2000,
            pattern=NO_CONTROL,
            validation_alias=AliasChoices("resolution", "note", "reason", "text"),
        ),
    ]
    action: Literal["close", "apply"] = Field(
        default="close",
        description="`apply`: let the late fact move money (LATE_FACT), or read the frame again (QUARANTINE)",
    )


@route("GET", "/api/v1/cases", query=CaseQuery, answer=Page[Case], summary="Cases, newest first")
async def list_cases(call: Call[CaseQuery, None]) -> Page[Case]:
    """One page of cases."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(
            tx,
            Table.CASES,
            order="-no",
            limit=q.limit,
            after=number_key(q.cursor),
            state=q.state,
            type=q.type,
            severity=q.severity,
            station=q.charger_id,
            session_id=q.session_id,
            order_id=q.order_id,
        )
    )
    return Page[Case](items=[_view(row) for row in found.rows], next_cursor=encode(found.after))


@route("GET", "/api/v1/cases/{id}", answer=Case, errors=[404], summary="One case")
async def show_case(call: Call[None, None]) -> Case:
    """One case."""
    return _view(await call.system.store.read(lambda tx: _case(tx, call.path["id"])))


@route("POST", "/api/v1/cases/{id}/resolve", body=ResolveIn, answer=Case, errors=[404, 409], summary="Close a case")
async def resolve_case(call: Call[None, ResolveIn]) -> Case:
    """Say what was found and done. Unless it says `apply`, it moves no money and changes no session by itself."""
    if call.body.action == "apply":
        await _apply(call)
    case_id, now_ms, resolution = call.path["id"], call.now_ms(), call.body.resolution

    def work(tx: Tx) -> Row:
        tx.take(Table.CASES, id=case_id)
        row = _case(tx, case_id)
        if row["state"] == "resolved" and call.body.action == "apply":
            return row  # applying closed it
        if row["state"] == "resolved":
            raise Refusal(Why.WRONG_STATE, f"The case was resolved at {time(row['resolved_ms'])}.")
        return close_case(tx, row, resolution=resolution, who=call.who.name, now_ms=now_ms)

    return _view(await call.system.store.transact(work))


async def _apply(call: Call[None, ResolveIn]) -> None:
    row = await call.system.store.read(lambda tx: _case(tx, call.path["id"]))
    if row["state"] == "resolved":
        raise Refusal(Why.WRONG_STATE, f"The case was resolved at {time(row['resolved_ms'])}.")
    kept = json.loads(row["data"]).get("quarantine_id")
    if row["type"] == "LATE_FACT" and row["session_id"] is not None:
        await call.system.charging.take_late(row["session_id"], call.who.name)
    elif row["type"] == "QUARANTINE" and kept is not None:
        await call.system.again.read(kept, None, call.who.name)
    else:
        raise Refusal(Why.WRONG_STATE, f"A case of the type {row['type']} waits for nothing that could be applied.")


def _case(tx: ReadTx, case_id: str) -> Row:
    if (row := tx.one(Table.CASES, id=case_id)) is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no case {case_id!r}.")
    return row


def _view(row: Row) -> Case:
    return Case(
        id=row["id"],
        type=row["type"],
        severity=row["severity"],
        state=row["state"],
        charger_id=row["station"],
        session_id=row["session_id"],
        order_id=row["order_id"],
        text=row["text"],
        opened_at=rfc3339(row["opened_ms"]),
        resolved_at=time(row["resolved_ms"]),
        resolution=row["resolution"],
        data=json.loads(row["data"]),
    )
