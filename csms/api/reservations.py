"""Reservations: a socket kept free. One that begins now is told to the charger, a later one stands in our calendar."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from csms.api.commands import Target
from csms.api.models import LARGEST_NUMBER, Instant, ShortText, Time, TokenUid, View
from csms.api.pages import Page, PageQuery, encode, number_key
from csms.api.routes import Call, Routes
from csms.app import queries
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339, to_ms
from csms.ports import Fact, ReadTx, Row, Table, Tx

route: Final = Routes("Reservations")

Status = Literal["REQUESTED", "ACCEPTED", "REJECTED", "USED", "CANCELLED", "EXPIRED"]
ReservationId = Annotated[int, Field(ge=1, le=LARGEST_NUMBER)]
# A charger holds a reservation from the moment it is told. Closer than this, telling it now costs nobody anything.
_NOW_MS: Final = 60_000


class ReservationIn(Target):
    """A reservation to make."""

    charger_id: ShortText
    token: TokenUid
    start_at: Instant | None = Field(default=None, description="now when absent")
    end_at: Instant
    order_id: ShortText | None = None


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
    window: Window
    start_at: Time
    end_at: Time
    expires_at: Time
    token: str | None
    order_id: str | None
    status: Status
    hold: Literal["soft", "hard"] = Field(description="`hard`: for certain; told to the charger when it began at once")
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
    """Reserve a socket. One that begins now is REQUESTED until the charger has answered."""
    body, now_ms = call.body, call.now_ms()
    start_ms = max(to_ms(body.start_at), now_ms) if body.start_at is not None else now_ms
    end_ms = to_ms(body.end_at)
    if end_ms <= start_ms:
        raise Refusal(Why.INVALID_REQUEST, "end_at: the window must end after it begins, and in the future.")
    begins_now = start_ms <= now_ms + _NOW_MS

    def work(tx: Tx) -> Row:
        tx.take(Table.STATIONS, id=body.charger_id)
        evse, connector = _place(tx, body)
        _refuse_overlap(tx, body.charger_id, evse, start_ms, end_ms)
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
            "status": "REQUESTED" if begins_now else "ACCEPTED",
            "hold": "hard" if begins_now else "soft",
            "created_ms": now_ms,
            "updated_ms": now_ms,
        }
        tx.add(Table.RESERVATIONS, row)
        told = {"reservation_id": row["id"], "evse": evse, "who": call.who.name}
        tx.append([Fact("ReservationMade", now_ms, told, station=body.charger_id, order_id=body.order_id)])
        return row

    row = await call.system.store.transact(work)
    if begins_now:
        await _tell(call, row)
    return _view(await call.system.store.read(lambda tx: _reservation(tx, row["id"])))


async def _tell(call: Call[None, ReservationIn], row: Row) -> None:
    """Tell the charger; a reservation it cannot be told of is rejected."""
    payload = {
        "reservation_id": row["id"],
        "evse": row["evse"],
        "connector": row["connector"],
        "token": row["token"],
        "expires_ms": row["expires_ms"],
    }
    try:
        await call.system.instructing.issue(
            row["station"], "reserve", payload, order_id=row["order_id"], idem=call.idem
        )
    except Refusal:
        changed = {"status": "REJECTED", "updated_ms": call.now_ms()}
        await call.system.store.transact(
            lambda tx: tx.change(Table.RESERVATIONS, changed, id=row["id"], status="REQUESTED")
        )
        raise


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
    reservation_id = call.path["id"]

    def read(tx: ReadTx) -> Row:
        row = _reservation(tx, reservation_id)
        _refuse_over(row)
        if row["order_id"] is not None and tx.one(Table.ORDERS, id=row["order_id"]) is not None:
            raise Refusal(Why.WRONG_STATE, f"The reservation belongs to order {row['order_id']!r}; cancel the order.")
        return row

    row = await call.system.store.read(read)
    if row["hold"] == "hard":
        payload = {"reservation_id": reservation_id}
        await call.system.instructing.issue(
            row["station"], "cancel_reservation", payload, order_id=row["order_id"], idem=call.idem
        )
    now_ms = call.now_ms()

    def work(tx: Tx) -> Row:
        tx.take(Table.RESERVATIONS, id=reservation_id)
        current = _reservation(tx, reservation_id)
        if current["status"] != "CANCELLED":  # the charger may have said so meanwhile
            _refuse_over(current)
            tx.change(Table.RESERVATIONS, {"status": "CANCELLED", "updated_ms": now_ms}, id=reservation_id)
        told = {"reservation_id": reservation_id, "who": call.who.name}
        tx.append([Fact("ReservationCancelled", now_ms, told, station=row["station"], order_id=row["order_id"])])
        return _reservation(tx, reservation_id)

    return _view(await call.system.store.transact(work))


def _place(tx: ReadTx, body: ReservationIn) -> tuple[int, int]:
    """The socket to keep; nothing named, or 0, is any of the charger's."""
    station = queries.charger(tx, body.charger_id)
    if not body.evse_id and not body.connector_id:
        return 0, 0
    if body.connector_id is None:
        return body.evse_id or 0, queries.socket(tx, station, body.evse_id, None)[1]
    return queries.socket(tx, station, body.evse_id, body.connector_id)


def _refuse_overlap(tx: ReadTx, charger_id: str, evse: int, start_ms: int, end_ms: int) -> None:
    for other in tx.many(Table.RESERVATIONS, station=charger_id, status=queries.RESERVATION_ACTIVE):
        meets = other["start_ms"] < end_ms and start_ms < other["expires_ms"]
        if meets and evse == other["evse"]:
            raise Refusal(
                Why.SLOT_TAKEN,
                f"Reservation {other['id']} holds it from {rfc3339(other['start_ms'])} to {rfc3339(other['end_ms'])}.",
            )


def _refuse_over(row: Row) -> None:
    if row["status"] not in queries.RESERVATION_ACTIVE:
        raise Refusal(Why.WRONG_STATE, f"The reservation is {row['status']} already.")


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
        window=Window(start=start, end=end),
        start_at=start,
        end_at=end,
        expires_at=rfc3339(row["expires_ms"]),
        token=row["token"],
        order_id=row["order_id"],
        status=row["status"],
        hold=row["hold"],
        created_at=rfc3339(row["created_ms"]),
        updated_at=rfc3339(row["updated_ms"]),
    )
