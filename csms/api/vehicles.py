"""Vehicles that stand for a token: plugged in, they charge (autocharge)."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from csms.api.models import NO_CONTROL, Body, Number, Time, TokenUid, View
from csms.api.pages import Page, PageQuery, encode, text_key
from csms.api.routes import Answer, Call, Routes
from csms.app import queries
from csms.domain.access import vehicle_norm
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339
from csms.ports import Fact, ReadTx, Row, Table, Tx

route: Final = Routes("Vehicles")

VehicleId = Annotated[str, Field(min_length=4, max_length=40, pattern=NO_CONTROL)]


class VehicleIn(Body):
    """A vehicle and its token; absent members take their defaults."""

    kind: Literal["mac", "vin", "evccid", "emaid"] = "mac"
    token: TokenUid
    limit_wh: Number | None = Field(default=None, description="in place of the token's own limits")
    limit_s: Number | None = Field(default=None, description="in place of the token's own limits")
    enabled: bool = True


class Vehicle(View):
    """A vehicle. Its sessions belong to its token."""

    id: str
    kind: str
    token: str
    limit_wh: int | None
    limit_s: int | None
    enabled: bool
    updated_at: Time


class VehicleQuery(PageQuery):
    """Filters of the list."""

    token: str | None = None


@route("GET", "/api/v1/vehicles", query=VehicleQuery, answer=Page[Vehicle], summary="Vehicles, by id")
async def list_vehicles(call: Call[VehicleQuery, None]) -> Page[Vehicle]:
    """One page of vehicles."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(
            tx,
            Table.VEHICLES,
            order="id_norm",
            limit=q.limit,
            after=text_key(q.cursor),
            token=queries.normal_token(q.token) if q.token is not None else None,
        )
    )
    return Page[Vehicle](items=[_view(row) for row in found.rows], next_cursor=encode(found.after))


@route("GET", "/api/v1/vehicles/{id}", answer=Vehicle, errors=[404], summary="One vehicle")
async def show_vehicle(call: Call[None, None]) -> Vehicle:
    """One vehicle; case and separators are the same."""
    return _view(await call.system.store.read(lambda tx: _vehicle(tx, call.path["id"])))


@route(
    "PUT",
    "/api/v1/vehicles/{id}",
    path_types={"id": VehicleId},
    body=VehicleIn,
    answer=Vehicle,
    also=[201],
    errors=[404],
    summary="Make or replace a vehicle",
)
async def put_vehicle(call: Call[None, VehicleIn]) -> Answer:
    """Make or replace a vehicle. Chargers may send its number with or without separators, or with `VID:` before it."""
    body, now_ms, said = call.body, call.now_ms(), call.path["id"].strip()
    key, token = vehicle_norm(said), queries.normal_token(body.token)
    if not key:
        raise Refusal(Why.INVALID_REQUEST, f"{said!r} holds no number of a vehicle.")

    def work(tx: Tx) -> tuple[Row, bool]:
        standing = tx.take(Table.VEHICLES, id_norm=key)
        known = tx.one(Table.TOKENS, uid_norm=token, deleted=0)
        if known is None:
            raise Refusal(Why.UNKNOWN_TARGET, f"There is no token {body.token!r}.")
        if known["kind"] == "order":
            raise Refusal(Why.WRONG_STATE, "The one-time token of an order can stand for no vehicle.")
        row: Row = {
            "id_norm": key,
            "id": said,
            "kind": body.kind,
            "token": token,
            "limit_wh": body.limit_wh,
            "limit_s": body.limit_s,
            "enabled": int(body.enabled),
            "updated_ms": now_ms,
        }
        tx.save(Table.VEHICLES, row)
        changed = {"vehicle": said, "token": known["uid"], "enabled": body.enabled, "who": call.who.name}
        tx.append([Fact("VehicleChanged", now_ms, changed)])
        return row, standing is None

    row, is_new = await call.system.store.transact(work)
    await call.system.tokens.vehicle_changed(key)
    return Answer(_view(row), 201 if is_new else 200)


@route("DELETE", "/api/v1/vehicles/{id}", errors=[404], summary="Remove a vehicle")
async def delete_vehicle(call: Call[None, None]) -> None:
    """Remove a vehicle; its token stays."""
    now_ms, key = call.now_ms(), vehicle_norm(call.path["id"])

    def work(tx: Tx) -> None:
        row = _vehicle(tx, key)
        tx.drop(Table.VEHICLES, id_norm=key)
        tx.append([Fact("VehicleDeleted", now_ms, {"vehicle": row["id"], "who": call.who.name})])

    await call.system.store.transact(work)
    await call.system.tokens.vehicle_changed(key)


def _vehicle(tx: ReadTx, vehicle_id: str) -> Row:
    if (row := tx.one(Table.VEHICLES, id_norm=vehicle_norm(vehicle_id))) is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no vehicle {vehicle_id!r}.")
    return row


def _view(row: Row) -> Vehicle:
    return Vehicle(
        id=row["id"],
        kind=row["kind"],
        token=row["token"],
        limit_wh=row["limit_wh"],
        limit_s=row["limit_s"],
        enabled=bool(row["enabled"]),
        updated_at=rfc3339(row["updated_ms"]),
    )
