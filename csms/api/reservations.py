"""Reservations: a socket kept free. The charger is told when the window begins; ours is the calendar before."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from csms.api.commands import Target
from csms.api.models import LARGEST_NUMBER, Instant, ShortText, Time, TokenUid, View
from csms.api.pages import Page, PageQuery, encode, number_key
from csms.api.routes import Call, Routes
from csms.app import queries, reserving
from csms.domain.refusal import Refusal, Why
from csms.domain.reservation import ACTIVE, TELL_AHEAD_MS
from csms.domain.units import rfc3339, to_ms
from csms.ports import Fact, ReadTx, Row, Table, Tx

route: Final = Routes("Reservations")

Status = Literal["REQUESTED", "ACCEPTED", "REJECTED", "USED", "CANCELLED", "EXPIRED"]
ReservationId = Annotated[int, Field(ge=1, le=LARGEST_NUMBER)]
ConnectorType = Literal[
    "cCCS1", "cCCS2", "cG105", "cTesla", "cType1", "cType2", "s309-1P-16A", "s309-1P-32A", "s309-3P-16A",
    "s309-3P-32A", "sBS1361", "sCEE-7-7", "sType2", "sType3", "Other1PhMax16A", "Other1PhOver16A", "Other3Ph", "Pan",
    "wInductive", "wResonant", "Undetermined", "Unknown",
]  # fmt: skip
Told = Literal["no", "asked", "holds", "refused", "unsupported", "silent", "gone"]


class ReservationIn(Target):
    """A reservation to make."""

    charger_id: ShortText
    token: TokenUid
    start_at: Instant | None = Field(default=None, description="now when absent")
    end_at: Instant
    order_id: ShortText | None = None
    connector_type: ConnectorType | None = Field(
        default=None, description="any socket of this kind (OCPP 2.0.1); then without evse_id"
    )

    @model_validator(mode="after")
    def _a_kind_or_a_place(self) -> ReservationIn:
        if self.connector_type is not None and self.evse_id:
            raise ValueError("give evse_id or connector_type")
        return self


class Window(View):
    """From when to when."""

    start: Time
    end: Time


class Reservation(View):
    """A reservation; `id` is the number on the wire."""

    id: int
    charger_id: str
    evse_id: int
    evse: int = Field(description="the same as evse_id")
    connector_id: int
    connector_type: str | None
    window: Window
    start_at: Time
    end_at: Time
    expires_at: Time
    token: str | None
    order_id: str | None
    status: Status
    hold: Literal["soft", "hard"] = Field(description="`hard`: sold, or kept by the charger; `soft`: by us alone")
    charger: Told = Field(description="what the charger knows of it; `no` until the window begins")
    reason: str | None = Field(description="the charger's own word for not keeping it")
    created_at: Time
    updated_at: Time


class ReservationQuery(PageQuery):
    """Filters of the list."""

    charger_id: str | None = None
    status: Status | None = None
    order_id: str | None = None
    token: str | None = None


@route(
    "GET",
    "/api/v1/reservations",
    query=ReservationQuery,
    answer=Page[Reservation],
    summary="Reservations, newest first",
)
async def list_reservations(call: Call[ReservationQuery, None]) -> Page[Reservation]:
    """One page of reservations."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(
            tx,
            Table.RESERVATIONS,
            order="-id",
            limit=q.limit,
            after=number_key(q.cursor),
            station=q.charger_id,
            status=q.status,
            order_id=q.order_id,
            token=q.token,
        )
    )
    return Page[Reservation](items=[_view(row) for row in found.rows], next_cursor=encode(found.after))


@route(
    "GET",
    "/api/v1/reservations/{id}",
    path_types={"id": ReservationId},
    answer=Reservation,
    errors=[404],
    summary="One reservation",
)
async def show_reservation(call: Call[None, None]) -> Reservation:
    """One reservation."""
    return _view(await call.system.store.read(lambda tx: _reservation(tx, call.path["id"])))


@route(
    "POST",
    "/api/v1/reservations",
    body=ReservationIn,
    answer=Reservation,
    status=201,
    errors=[404],
    summary="Reserve a socket",
)
async def make_reservation(call: Call[None, ReservationIn]) -> Reservation:
    """Reserve a socket. One that begins now is REQUESTED until the charger has answered.

    A charger that is away hears of it when it is back, as long as the window lasts.
    """
    body, now_ms = call.body, call.now_ms()
    start_ms = max(to_ms(body.start_at), now_ms) if body.start_at is not None else now_ms
    end_ms = to_ms(body.end_at)
    if end_ms <= start_ms:
        raise Refusal(Why.INVALID_REQUEST, "end_at: the window must end after it begins, and in the future.")
    begins_now = start_ms <= now_ms + TELL_AHEAD_MS

    def work(tx: Tx) -> Row:
        tx.take(Table.STATIONS, id=body.charger_id)
        evse, connector = _place(tx, body)
        reserving.refuse_full(tx, body.charger_id, evse, start_ms, end_ms)
        station = queries.charger(tx, body.charger_id)
        reserving.refuse_untellable(tx, station, evse, body.token, body.connector_type)
        row: Row = {
            "id": tx.next_no("reservation"),
            "station": body.charger_id,
            "evse": evse,
            "connector": connector,
            "start_ms": start_ms,
            "end_ms": end_ms,
            "expires_ms": end_ms,
            "token": body.token,
            "order_id": body.order_id,
            "connector_type": body.connector_type,
            "status": "REQUESTED" if begins_now else "ACCEPTED",
            "hold": "hard" if begins_now else "soft",
            "created_ms": now_ms,
            "updated_ms": now_ms,
        }
        tx.add(Table.RESERVATIONS, row)
        told = {"reservation_id": row["id"], "evse": evse, "who": call.who.name}
        tx.append([Fact("ReservationMade", now_ms, told, station=body.charger_id, order_id=body.order_id)])
        if begins_now:
            reserving.tell(tx, _reservation(tx, row["id"]), now_ms, instruction_id=call.system.ids.uuid())
        return _reservation(tx, row["id"])

    row = await call.system.store.transact(work)
    call.system.bell.ring("instructions")
    return _view(row)


@route(
    "DELETE",
    "/api/v1/reservations/{id}",
    path_types={"id": ReservationId},
    answer=Reservation,
    errors=[404],
    summary="Cancel a reservation",
)
async def cancel_reservation(call: Call[None, None]) -> Reservation:
    """Cancel a reservation; a charger that was told of it is told of this, too."""
    reservation_id, now_ms = call.path["id"], call.now_ms()

    def work(tx: Tx) -> Row:
        tx.take(Table.RESERVATIONS, id=reservation_id)
        row = _reservation(tx, reservation_id)
        if row["status"] not in ACTIVE:
            raise Refusal(Why.WRONG_STATE, f"The reservation is {row['status']} already.")
        if row["order_id"] is not None and tx.one(Table.ORDERS, id=row["order_id"]) is not None:
            raise Refusal(Why.WRONG_STATE, f"The reservation belongs to order {row['order_id']!r}; cancel the order.")
        tx.change(Table.RESERVATIONS, {"status": "CANCELLED", "updated_ms": now_ms}, id=reservation_id)
        told = {"reservation_id": reservation_id, "who": call.who.name}
        tx.append([Fact("ReservationCancelled", now_ms, told, station=row["station"], order_id=row["order_id"])])
        if row["told"] == "holds":
            reserving.release(tx, row, now_ms, instruction_id=call.system.ids.uuid())
        return _reservation(tx, reservation_id)

    row = await call.system.store.transact(work)
    call.system.bell.ring("instructions")
    return _view(row)


def _place(tx: ReadTx, body: ReservationIn) -> tuple[int, int]:
    """The socket to keep; nothing named, or 0, is any of the charger's."""
    station = queries.charger(tx, body.charger_id)
    if not body.evse_id and not body.connector_id:
        return 0, 0
    if body.connector_id is None:
        return body.evse_id or 0, queries.socket(tx, station, body.evse_id, None)[1]
    return queries.socket(tx, station, body.evse_id, body.connector_id)


def _reservation(tx: ReadTx, reservation_id: int) -> Row:
    if (row := tx.one(Table.RESERVATIONS, id=reservation_id)) is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no reservation {reservation_id}.")
    return row


def _view(row: Row) -> Reservation:
    start, end = rfc3339(row["start_ms"]), rfc3339(row["end_ms"])
    return Reservation(
        id=row["id"],
        charger_id=row["station"],
        evse_id=row["evse"],
        evse=row["evse"],
        connector_id=row["connector"],
        connector_type=row["connector_type"],
        window=Window(start=start, end=end),
        start_at=start,
        end_at=end,
        expires_at=rfc3339(row["expires_ms"]),
        token=row["token"],
        order_id=row["order_id"],
        status=row["status"],
        hold=row["hold"],
        charger=row["told"],
        reason=row["reason"],
        created_at=rfc3339(row["created_ms"]),
        updated_at=rfc3339(row["updated_ms"]),
    )
