"""Fleets and loyalty programmes: who belongs to them, and what that changes."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from csms.api.catalogue import OcpiId, Price
from csms.api.models import Body, ShortText, Text, Time, TokenUid
from csms.api.pages import Page, PageQuery, encode, text_key
from csms.api.routes import Answer, Call, Routes
from csms.app import queries
from csms.app.fleets import read_fleet
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339
from csms.ports import Fact, ReadTx, Row, Table, Tx

route: Final = Routes("Fleets")

_MEMBERS: Final = 20_000
Amount = Price | Text


class DiscountIn(Body):
    """Less of the price: percent of the units up to a cap, plus a flat sum, from a threshold of energy on."""

    label: Text | None = None
    percent: Annotated[float, Field(ge=0, le=100)] | Text | None = None
    cap: Amount | None = None
    flat: Amount | None = None
    threshold_kwh: Amount | None = None


class FleetIn(Body):
    """A fleet, which has a tariff of its own and may pay by the month, or a loyalty programme, which has a discount.

    A buyer belongs to it by the app they come through, by their telephone number, or by their car; a session without
    an order by its token. Its tariff and its offer appear in no catalogue."""

    kind: Literal["fleet", "loyalty"]
    name: Text
    bap_ids: list[ShortText] = Field(default=[], max_length=1000, description="buyer apps all of whose buyers belong")
    phones: list[ShortText] = Field(default=[], max_length=_MEMBERS)
    vehicles: list[ShortText] = Field(default=[], max_length=_MEMBERS, description="VIN or EVCCID")
    tokens: list[TokenUid] = Field(default=[], max_length=_MEMBERS, description="cards of its drivers")
    tariff_id: OcpiId | None = Field(default=None, description="instead of the tariff of the place")
    offer_id: OcpiId | None = Field(default=None, description="an offer that its members have without asking")
    discount: DiscountIn | None = Field(default=None, description="instead of `offer_id`")
    needs_otp: bool = Field(default=False, description="only after the one-time password sent to the driver was shown")
    postpaid: bool = Field(default=False, description="its orders need not be paid; they stand on its account")
    monthly_limit: Amount | None = Field(default=None, description="the most it may owe for one calendar month")
    tax_id: ShortText | None = Field(default=None, description="GSTIN, for invoices of orders on its account")
    address: Text | None = Field(default=None, description="for the same")
    state: ShortText | None = Field(default=None, description="for the same, when there is no GSTIN")


class Fleet(FleetIn):
    """A fleet or a loyalty programme."""

    id: str
    updated_at: Time


@route("GET", "/api/v1/fleets", query=PageQuery, answer=Page[Fleet], summary="Fleets and loyalty programmes, by id")
async def list_fleets(call: Call[PageQuery, None]) -> Page[Fleet]:
    """One page of them."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(tx, Table.FLEETS, order="id", limit=q.limit, after=text_key(q.cursor))
    )
    return Page[Fleet](items=[_view(row) for row in found.rows], next_cursor=encode(found.after))


@route("GET", "/api/v1/fleets/{id}", answer=Fleet, errors=[404], summary="One fleet or programme")
async def show_fleet(call: Call[None, None]) -> Fleet:
    """One of them."""
    return _view(await call.system.store.read(lambda tx: _one(tx, call.path["id"])))


@route(
    "PUT",
    "/api/v1/fleets/{id}",
    path_types={"id": OcpiId},
    body=FleetIn,
    answer=Fleet,
    also=[201],
    summary="Make or replace a fleet or programme",
)
async def put_fleet(call: Call[None, FleetIn]) -> Answer:
    """Make or replace one. Orders that stand keep the prices they were quoted."""
    id_, now_ms = call.path["id"], call.now_ms()
    data: dict[str, Any] = call.body.model_dump(exclude_none=True)
    read_fleet(id_, data)
    row: Row = {"id": id_, "data": json.dumps(data, ensure_ascii=False), "updated_ms": now_ms}

    def work(tx: Tx) -> bool:
        if call.body.tariff_id is not None and tx.one(Table.TARIFFS, id=call.body.tariff_id) is None:
            raise Refusal(Why.INVALID_REQUEST, f"tariff_id: there is no tariff {call.body.tariff_id!r}.")
        if call.body.offer_id is not None and tx.one(Table.OFFERS, id=call.body.offer_id) is None:
            raise Refusal(Why.INVALID_REQUEST, f"offer_id: there is no offer {call.body.offer_id!r}.")
        is_new = tx.take(Table.FLEETS, id=id_) is None
        tx.save(Table.FLEETS, row)
        tx.append([Fact("FleetChanged", now_ms, {"fleet_id": id_, "who": call.who.name})])
        return is_new

    is_new = await call.system.store.transact(work)
    await call.system.catalogue.changed()
    return Answer(_view(row), 201 if is_new else 200)


@route("DELETE", "/api/v1/fleets/{id}", errors=[404], summary="Remove a fleet or programme")
async def delete_fleet(call: Call[None, None]) -> None:
    """Remove one. What its orders put on its account is still owed."""
    id_, now_ms = call.path["id"], call.now_ms()

    def work(tx: Tx) -> None:
        tx.take(Table.FLEETS, id=id_)
        _one(tx, id_)
        tx.drop(Table.FLEETS, id=id_)
        tx.append([Fact("FleetDeleted", now_ms, {"fleet_id": id_, "who": call.who.name})])

    await call.system.store.transact(work)
    await call.system.catalogue.changed()


def _one(tx: ReadTx, fleet_id: str) -> Row:
    if (row := tx.one(Table.FLEETS, id=fleet_id)) is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no fleet {fleet_id!r}.")
    return row


def _view(row: Row) -> Fleet:
    return Fleet.model_validate({**json.loads(row["data"]), "id": row["id"], "updated_at": rfc3339(row["updated_ms"])})
