"""What is known of an order's charging right now, read from the store for a callback or a tracking page."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from beckn_adapter.speaking import Progress, Sample
from beckn_adapter.v2.orders import connector_status
from csms.app.settling import minutes_of, usage_of
from csms.domain.order import Order, State
from csms.domain.refusal import Refusal
from csms.domain.reported import SocketStatus
from csms.domain.tariff import bill
from csms.domain.units import from_minor, rfc3339
from csms.ports import ReadTx, Row, Table

_SAMPLES = 20
Socket = Callable[[Order], tuple[SocketStatus | None, bool]]


def asks_otp(tx: ReadTx, order: Order) -> bool:
    """Whether a one-time password was sent for it that nobody has shown yet."""
    return tx.count(Table.OTPS, order_id=order.order_id, state="sent") > 0


def progress_of(tx: ReadTx, order: Order, socket: Socket, public_url: str) -> Progress:
    """Energy, minutes, the last samples and the connector's status. `socket` tells (status, online)."""
    row = tx.one(Table.ORDERS, id=order.order_id)
    url = f"{public_url}/track/{row['tracking']}" if row is not None and row["tracking"] else None
    reservation = tx.many(Table.RESERVATIONS, limit=1, order_id=order.order_id)
    reservation_id = str(reservation[0]["id"]) if reservation else None
    status, online = socket(order)
    socket_status = status.value if status is not None else None
    session = tx.one(Table.SESSIONS, id=order.session_id) if order.session_id is not None else None
    if session is None:
        waiting = order.state in {State.CONFIRMED, State.STARTING}
        said = connector_status(status, is_online=online, is_holder=True) if waiting else None
        return Progress(
            connector_status=said, socket_status=socket_status, tracking_url=url, reservation_id=reservation_id
        )
    return Progress(
        energy_wh=session["energy_wh"],
        minutes=minutes_of(session),
        telemetry=samples_of(tx, session) if order.state is not State.COMPLETED else (),
        connector_status="UNAVAILABLE" if order.state is State.INTERRUPTED else None,
        socket_status=socket_status,
        last_updated_ms=session["last_proven_ms"] or session["updated_ms"],
        tracking_url=url,
        reservation_id=reservation_id,
        started_ms=session["started_ms"],
        ended_ms=session["ended_ms"],
        meter_start_wh=session["meter_start_wh"],
        meter_stop_wh=session["meter_stop_wh"],
    )


def cut_off(tx: ReadTx, order: Order) -> Order:
    """An order whose charger has just gone silent, as it is shown: interrupted, with what is proven so far as the
    estimate (BECKN 4.10). Nothing of it is stored."""
    session = tx.one(Table.SESSIONS, id=order.session_id) if order.session_id is not None else None
    estimate = order.estimate
    if session is not None:
        with suppress(Refusal):
            estimate = bill(order.terms, usage_of(tx, session))
    return replace(order, state=State.INTERRUPTED, estimate=estimate)


def as_interrupted(order: Order, at_ms: int) -> Order:
    """An order that ended for want of power, as it stood the moment before: its bill is the estimate (BECKN 6.4)."""
    return replace(
        order,
        state=State.INTERRUPTED,
        interrupted_at_ms=at_ms,
        estimate=order.final or order.estimate,
        final=None,
        delivered_wh=None,
        duration_min=None,
        ended_at_ms=None,
        refunds=tuple(refund for refund in order.refunds if (refund.paid_at_ms or 0) < at_ms),
        top_ups=(),
    )


def samples_of(tx: ReadTx, session: Row) -> tuple[Sample, ...]:
    """The last samples, oldest first; energy counts from the session's start and never falls."""
    rows = tx.many(Table.READINGS, order="-at_ms", limit=_SAMPLES, subject=session["no"])
    start_wh = session["meter_start_wh"]
    best = 0
    samples = []
    for row in reversed(rows):
        energy_wh = None
        if row["register_wh"] >= 0 and start_wh is not None:
            best = max(best, row["register_wh"] - start_wh)
            energy_wh = best
        samples.append(
            Sample(
                at_ms=row["at_ms"],
                energy_wh=energy_wh,
                power_w=row["power_w"],
                current_ma=row["current_ma"],
                voltage_mv=row["voltage_mv"],
                soc_percent=row["soc_percent"],
            )
        )
    return tuple(samples)


def page_of(order: Order, session: Row | None) -> dict[str, Any]:
    """The tracking view: read-only, nothing about the buyer."""
    total = order.final or order.estimate
    return {
        "order_status": order.state.value,
        "session_status": session["state"] if session is not None else None,
        "energy_kwh": session["energy_wh"] / 1000 if session is not None and session["energy_wh"] is not None else None,
        "power_kw": session["power_w"] / 1000 if session is not None and session["power_w"] is not None else None,
        "soc_percent": session["soc_percent"] if session is not None else None,
        "started_at": rfc3339(session["started_ms"]) if session is not None and session["started_ms"] else None,
        "ended_at": rfc3339(session["ended_ms"]) if session is not None and session["ended_ms"] else None,
        "updated_at": rfc3339(session["updated_ms"]) if session is not None else None,
        "cost": str(from_minor(total.total_minor)) if total is not None else None,
        "currency": order.quote.currency,
        "final": order.final is not None,
    }
