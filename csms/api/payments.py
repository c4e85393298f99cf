"""What our payment gateway is asked to collect, what it did, and what it told us."""

from __future__ import annotations

import json
from typing import Final, Literal

from pydantic import Field

from csms.api.models import Money, Time, View, sure_money, time
from csms.api.pages import Page, PageQuery, encode, number_key
from csms.api.routes import Call, Routes
from csms.app import queries
from csms.domain.units import rfc3339
from csms.ports import ReadTx, Row, Table

route: Final = Routes("Payments")
_EVENTS: Final = 50


class Movement(View):
    """A capture, release, refund or top-up, by its key."""

    key: str
    kind: str
    status: str = Field(
        description="waiting, sent (the gateway has it), done, refused; of a top-up asked, withdrawn or forgiven, done"
    )
    amount: Money
    ref: str | None
    attempts: int
    at: Time
    next_at: Time | None


class GatewayEvent(View):
    """A webhook of the gateway, kept once."""

    event_id: str
    kind: str
    state: str
    error: str | None
    received_at: Time


class Payment(View):
    """A payment asked for through our gateway. One that is asked for anew with another sum is another one."""

    payment_id: str
    order_id: str
    provider: str
    amount: Money
    is_hold: bool
    state: str
    remote_id: str | None = Field(description="the gateway's order")
    remote_payment_id: str | None = Field(description="the payment that fulfilled it there")
    error: str | None = Field(description="what the gateway said last when something went wrong")
    hold_ends_at: Time | None
    created_at: Time
    expires_at: Time
    checked_at: Time | None = Field(description="when the gateway was asked last")
    next_check_at: Time | None
    movements: list[Movement]
    events: list[GatewayEvent] = Field(description="the newest ones")


class PaymentQuery(PageQuery):
    """Filters of the list."""

    state: Literal["wanted", "made", "authorized", "captured", "voided", "refused", "closed"] | None = None
    order_id: str | None = None
    payment_id: str | None = None


class Reconciled(View):
    """How the payment stands now that the gateway was asked."""

    items: list[Payment]


@route("GET", "/api/v1/payments", query=PaymentQuery, answer=Page[Payment], summary="Payments, newest first")
async def list_payments(call: Call[PaymentQuery, None]) -> Page[Payment]:
    """One page of payments."""
    q = call.query

    def read(tx: ReadTx) -> Page[Payment]:
        found = queries.page(
            tx,
            Table.GATEWAY_REFS,
            order="-no",
            limit=q.limit,
            after=number_key(q.cursor),
            state=q.state,
            order_id=q.order_id,
            payment_id=q.payment_id,
        )
        return Page[Payment](items=[_view(tx, row) for row in found.rows], next_cursor=encode(found.after))

    return await call.system.store.read(read)


@route(
    "POST",
    "/api/v1/payments/{id}/reconcile",
    answer=Reconciled,
    errors=[404],
    summary="Compare a payment with the gateway now",
    description="Asks the gateway how the payment stands, books what is new, and has movements that it refused tried "
    "again. Where the books differ a case is opened.",
)
async def reconcile_payment(call: Call[None, None]) -> Reconciled:
    """Compare now. `id` is the payment's id."""
    payment_id = call.path["id"]
    await call.system.gateways.reconcile(payment_id)

    def read(tx: ReadTx) -> Reconciled:
        rows = tx.many(Table.GATEWAY_REFS, order="-no", payment_id=payment_id)
        return Reconciled(items=[_view(tx, row) for row in rows])

    return await call.system.store.read(read)


def _view(tx: ReadTx, row: Row) -> Payment:
    currency, data = row["currency"], json.loads(row["data"])
    moves = tx.many(Table.PAYMENTS, order="at_ms", payment_id=row["payment_id"])
    events = tx.many(Table.GATEWAY_EVENTS, order="-received_ms", limit=_EVENTS, payment_id=row["payment_id"])
    return Payment(
        payment_id=row["payment_id"],
        order_id=row["order_id"],
        provider=row["provider"],
        amount=sure_money(row["amount_minor"], currency),
        is_hold=bool(row["is_hold"]),
        state=row["state"],
        remote_id=row["remote_id"],
        remote_payment_id=row["remote_payment_id"],
        error=data.get("error"),
        hold_ends_at=time(data.get("hold_ends_ms")),
        created_at=rfc3339(row["created_ms"]),
        expires_at=rfc3339(row["expires_ms"]),
        checked_at=time(row["checked_ms"]),
        next_check_at=time(row["next_ms"]),
        movements=[
            Movement(
                key=move["key"],
                kind=move["kind"],
                status=move["status"],
                amount=sure_money(move["amount_minor"], currency),
                ref=move["ref"],
                attempts=move["attempts"],
                at=rfc3339(move["at_ms"]),
                next_at=time(move["next_ms"]) if move["status"] in {"waiting", "sent"} else None,
            )
            for move in moves
        ],
        events=[
            GatewayEvent(
                event_id=event["event_id"],
                kind=event["kind"],
                state=event["state"],
                error=event["error"],
                received_at=rfc3339(event["received_ms"]),
            )
            for event in events
        ],
    )
