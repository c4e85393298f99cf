"""The calendar as buyers see it: who has which socket when, and the next time it is free (BECKN 4.5, 4.11)."""

from __future__ import annotations

from csms.app.catalogue import Offering
from csms.domain.order import Order, Slot
from csms.domain.refusal import Refusal, Why
from csms.domain.reservation import ACTIVE
from csms.ports import Row, Table, Tx

SPOT_WINDOW_MS = 15 * 60_000  # a start this soon is a walk-in, not a reservation (BECKN 4.5)
_TRIES = 20


def booked(tx: Tx, at: Offering | Order, start_ms: int, end_ms: int, but: str | None) -> Row | None:
    """The reservation of somebody else that overlaps, the earliest."""
    for row in tx.many(Table.RESERVATIONS, order="start_ms", station=at.station, status=ACTIVE):
        if row["evse"] != at.evse or row["order_id"] == but:  # an EVSE serves one car, whatever plugs it has
            continue
        if row["start_ms"] < end_ms and start_ms < row["end_ms"]:
            return row
    return None


def nearest(
    tx: Tx, offering: Offering, start_ms: int | None, end_ms: int | None, now_ms: int, *, default_ms: int,
    but: str | None,
) -> Slot | None:  # fmt: skip
    """The slot granted: the one asked for, or the next free one of its length. None: a walk-in."""
    if start_ms is None or start_ms <= now_ms + SPOT_WINDOW_MS:
        return None
    if not offering.reservable:
        raise Refusal(Why.SLOT_TAKEN, f"{offering.item_id} cannot be reserved; it is sold to who stands there")
    length_ms = max(60_000, (end_ms or start_ms + default_ms) - start_ms)
    for _ in range(_TRIES):
        taken = booked(tx, offering, start_ms, start_ms + length_ms, but)
        if taken is None:
            return Slot(start_ms=start_ms, end_ms=start_ms + length_ms)
        start_ms = taken["end_ms"]
    raise Refusal(Why.SLOT_TAKEN, "the connector is booked out around that time")


def book(tx: Tx, order: Order, hold: str, expires_ms: int, now_ms: int) -> None:
    """Hold or book the order's slot. Between the quotation and now somebody else may have been quicker."""
    assert order.slot is not None
    if booked(tx, order, order.slot.start_ms, order.slot.end_ms, order.order_id) is not None:
        raise Refusal(Why.SLOT_TAKEN, "another driver has taken the slot meanwhile; select again for the next one")
    standing = tx.many(Table.RESERVATIONS, order_id=order.order_id, status=ACTIVE)
    values = {
        "hold": hold,
        "status": "ACCEPTED" if hold == "hard" else "REQUESTED",
        "start_ms": order.slot.start_ms,
        "end_ms": order.slot.end_ms,
        "expires_ms": expires_ms,
        "token": order.token,
        "updated_ms": now_ms,
    }
    if standing:
        tx.change(Table.RESERVATIONS, values, id=standing[0]["id"])
        return
    tx.add(
        Table.RESERVATIONS,
        {
            "id": tx.next_no("reservation"),
            "station": order.station,
            "evse": order.evse,
            "connector": order.connector,
            "order_id": order.order_id,
            "created_ms": now_ms,
            **values,
        },
    )


def let_go(tx: Tx, order_id: str, status: str, now_ms: int) -> None:
    """Nothing is kept for this order any more."""
    tx.change(Table.RESERVATIONS, {"status": status, "updated_ms": now_ms}, order_id=order_id, status=ACTIVE)
