"""Charging profiles kept by number, in the shape OCPP gives them; the number is the one on the wire."""

from __future__ import annotations

import json
from typing import Annotated, Final

from pydantic import Field, JsonValue

from csms.api.models import LARGEST_NUMBER, Number, OpenView, Shaped, Text, Time
from csms.api.pages import Page, PageQuery, encode, number_key
from csms.api.routes import Answer, Call, Routes
from csms.app import queries
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339
from csms.ports import Fact, ReadTx, Row, Table, Tx

route: Final = Routes("Charging profiles")

ProfileId = Annotated[int, Field(ge=1, le=LARGEST_NUMBER)]


class ChargingProfileIn(Shaped):
    """A ChargingProfile of OCPP 1.6 or 2.0.1, with a description beside it."""

    description: Text | None = None
    id: int | None = None
    chargingProfileId: int | None = None  # noqa: N815 - OCPP's spelling
    stackLevel: Number | None = None  # noqa: N815 - OCPP's spelling
    chargingProfilePurpose: Text | None = None  # noqa: N815 - OCPP's spelling
    chargingProfileKind: Text | None = None  # noqa: N815 - OCPP's spelling
    chargingSchedule: dict[str, JsonValue] | list[dict[str, JsonValue]]  # noqa: N815 - OCPP's spelling


class ChargingProfile(OpenView):
    """The profile as it was put, and the number it has on the wire."""

    id: int
    description: str | None
    updated_at: Time


class ProfileQuery(PageQuery):
    """Filters of the list."""

    description: str | None = None


@route(
    "GET",
    "/api/v1/charging-profiles",
    query=ProfileQuery,
    answer=Page[ChargingProfile],
    summary="Stored charging profiles, by number",
)
async def list_profiles(call: Call[ProfileQuery, None]) -> Page[ChargingProfile]:
    """One page of profiles; `?description=` finds by the exact description."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(
            tx,
            Table.CHARGING_PROFILES,
            order="id",
            limit=q.limit,
            after=number_key(q.cursor),
            description=q.description,
        )
    )
    return Page[ChargingProfile](items=[_view(row) for row in found.rows], next_cursor=encode(found.after))


@route(
    "GET",
    "/api/v1/charging-profiles/{id}",
    path_types={"id": ProfileId},
    answer=ChargingProfile,
    errors=[404],
    summary="One charging profile",
)
async def show_profile(call: Call[None, None]) -> ChargingProfile:
    """One profile."""
    return _view(await call.system.store.read(lambda tx: _profile(tx, call.path["id"])))


@route(
    "PUT",
    "/api/v1/charging-profiles/{id}",
    path_types={"id": ProfileId},
    body=ChargingProfileIn,
    answer=ChargingProfile,
    also=[201],
    summary="Keep a charging profile",
)
async def put_profile(call: Call[None, ChargingProfileIn]) -> Answer:
    """Make or replace a profile. It is kept here; sending it to a charger is an OCPP message."""
    profile_id, now_ms = call.path["id"], call.now_ms()
    for said in (call.body.id, call.body.chargingProfileId):
        if said is not None and said != profile_id:
            raise Refusal(Why.INVALID_REQUEST, f"The body's id {said} is not the one in the address, {profile_id}.")
    shape = call.body.model_dump(exclude_unset=True)
    description = shape.pop("description", None)
    row: Row = {
        "id": profile_id,
        "description": description,
        "data": json.dumps(shape, ensure_ascii=False),
        "updated_ms": now_ms,
    }

    def work(tx: Tx) -> bool:
        is_new = tx.take(Table.CHARGING_PROFILES, id=profile_id) is None
        tx.save(Table.CHARGING_PROFILES, row)
        told = {"charging_profile_id": profile_id, "who": call.who.name}
        tx.append([Fact("ChargingProfileChanged", now_ms, told)])
        return is_new

    is_new = await call.system.store.transact(work)
    return Answer(_view(row), 201 if is_new else 200)


@route(
    "DELETE",
    "/api/v1/charging-profiles/{id}",
    path_types={"id": ProfileId},
    errors=[404],
    summary="Forget a charging profile",
)
async def delete_profile(call: Call[None, None]) -> None:
    """Forget a profile here; a charger that has it keeps it."""
    profile_id, now_ms = call.path["id"], call.now_ms()

    def work(tx: Tx) -> None:
        tx.take(Table.CHARGING_PROFILES, id=profile_id)
        _profile(tx, profile_id)
        tx.drop(Table.CHARGING_PROFILES, id=profile_id)
        told = {"charging_profile_id": profile_id, "who": call.who.name}
        tx.append([Fact("ChargingProfileDeleted", now_ms, told)])

    await call.system.store.transact(work)


def _profile(tx: ReadTx, profile_id: int) -> Row:
    if (row := tx.one(Table.CHARGING_PROFILES, id=profile_id)) is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no charging profile {profile_id}.")
    return row


def _view(row: Row) -> ChargingProfile:
    shown = {"description": row["description"], "updated_at": rfc3339(row["updated_ms"]), "id": row["id"]}
    return ChargingProfile.model_validate({**json.loads(row["data"]), **shown})
