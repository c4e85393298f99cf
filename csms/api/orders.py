"""Orders of buyers, their prices and payments, and the ledger that says where the money is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import Field

from csms.api.models import CURRENCY, Body, Money, OpenView, Time, View, money, rupees, sure_money, time
from csms.api.pages import Page, PageQuery, encode, number_key
from csms.api.routes import Call, Routes
from csms.app import queries
from csms.app.orderbooks import withdraw
from csms.app.orders import entry_from
from csms.domain.ledger import summary
from csms.domain.units import ZERO, rfc3339
from csms.ports import ReadTx, Row, Table, Tx

route: Final = Routes("Orders")


class PriceLine(View):
    """One line of a price."""

    kind: str
    role: str
    amount: Money
    description: str


class Price(View):
    """A price: the sum of its lines."""

    amount: Annotated[str, Field(pattern=r"^-?\d+\.\d\d$")]
    currency: str
    components: list[PriceLine]
    included_tax: Money | None = Field(description="tax inside the lines, when prices include it")


class PaymentView(View):
    """A payment, a refund or a top-up."""

    payment_id: str | None
    status: str | None
    amount: Money | None
    beneficiary: str | None
    txn_ref: str | None
    paid_at: Time | None
    url: str | None


class Ordered(View):
    """What the buyer asked for."""

    kind: str | None
    energy_wh: int | None
    amount: Money | None
    minutes: int | None
    quoted_wh: int | None


class Order(View):
    """An order. `final` is null until the meter data for the bill are complete."""

    id: str
    number: str | None
    network: str
    transaction_id: str
    bap_id: str
    state: str
    charger_id: str | None
    evse_id: int | None
    connector_id: int | None
    item_id: str | None
    session_id: str | None
    token: str | None
    ordered: Ordered
    quote: Price | None
    hold: Money | None
    estimate: Price | None
    final: Price | None
    cancellation_fee: Price | None
    collected_by: str | None
    fleet_id: str | None = Field(description="the fleet or loyalty programme whose price it has")
    on_account: bool = Field(description="that fleet pays for it by the month")
    payment: PaymentView | None
    payments: list[PaymentView] = Field(description="the payment, then refunds and top-ups")
    delivered_wh: int | None
    duration_min: int | None
    revision: int
    end_cause: str | None
    cancel_reason: str | None
    cancelled_by: str | None
    failure: str | None
    created_at: Time
    updated_at: Time
    expires_at: Time | None
    confirmed_at: Time | None
    started_at: Time | None
    ended_at: Time | None
    cancelled_at: Time | None
    version: int


class OrderQuery(PageQuery):
    """Filters of the list."""

    state: str | None = None
    charger_id: str | None = None
    session_id: str | None = None
    network: str | None = None
    bap_id: str | None = None
    fleet_id: str | None = None
    transaction_id: str | None = None
    token: str | None = None


class Entry(View):
    """One line of the ledger; it is never changed."""

    kind: str
    account: str
    amount: Money
    energy_wh: int
    revision: int
    at: Time
    ref: str | None


class Summary(OpenView):
    """The order in figures: money members, and energy members that end in `_wh`."""


class Ledger(View):
    """Every entry in order, their sum (0.00 once the order is settled), and the figures a person asks for."""

    items: list[Entry]
    next_cursor: str | None = Field(description="always null: a ledger comes whole")
    sum: Money
    summary: Summary


@route("GET", "/api/v1/orders", query=OrderQuery, answer=Page[Order], summary="Orders, newest first")
async def list_orders(call: Call[OrderQuery, None]) -> Page[Order]:
    """One page of orders."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(
            tx,
            Table.ORDERS,
            order="-no",
            limit=q.limit,
            after=number_key(q.cursor),
            state=q.state,
            station=q.charger_id,
            session_id=q.session_id,
            network=q.network,
            bap_id=q.bap_id,
            fleet_id=q.fleet_id,
            transaction_id=q.transaction_id,
            token=q.token,
        )
    )
    return Page[Order](items=[_view(row) for row in found.rows], next_cursor=encode(found.after))


@route("GET", "/api/v1/orders/{id}", answer=Order, errors=[404], summary="One order")
async def show_order(call: Call[None, None]) -> Order:
    """One order."""
    return _view(await call.system.store.read(lambda tx: queries.order(tx, call.path["id"])))


class WithdrawIn(Body):
    """Why a sale is called off; the buyer's app is told."""

    reason: str = Field("charger_unavailable", min_length=1, max_length=200)


@route(
    "POST", "/api/v1/orders/{id}/cancel", body=WithdrawIn, answer=Order, errors=[404, 409], summary="Call a sale off"
)
async def cancel_order(call: Call[None, WithdrawIn]) -> Order:
    """Cancel an order that has not begun to charge. Everything that was paid goes back, and its buyer is told."""
    order_id, now_ms = call.path["id"], call.now_ms()

    def work(tx: Tx) -> tuple[Row, str | None]:
        token = withdraw(tx, order_id, reason=call.body.reason, who=call.who.name, now_ms=now_ms).token
        return queries.order(tx, order_id), token

    row, token = await call.system.store.transact(work)
    if token is not None:
        await call.system.tokens.changed(token)
    for topic in ("payments", "outbox"):
        call.system.bell.ring(topic)
    return _view(row)


@route("GET", "/api/v1/orders/{id}/ledger", answer=Ledger, errors=[404], summary="Where the money of an order is")
async def show_ledger(call: Call[None, None]) -> Ledger:
    """The append-only ledger of an order."""

    def read(tx: ReadTx) -> tuple[Row, list[Row]]:
        return queries.order(tx, call.path["id"]), queries.ledger(tx, call.path["id"])

    order, rows = await call.system.store.read(read)
    currency = _currency(json.loads(order["data"]))
    figures = summary(entry_from(row) for row in rows)
    return Ledger(
        items=[
            Entry(
                kind=row["kind"],
                account=row["account"] or entry_from(row).account.value,
                amount=sure_money(row["amount_minor"], currency),
                energy_wh=row["wh"],
                revision=row["revision"],
                at=rfc3339(row["at_ms"]),
                ref=row["ref"],
            )
            for row in rows
        ],
        next_cursor=None,
        sum=sure_money(figures.balance_minor, currency),
        summary=Summary.model_validate(
            {
                name.removesuffix("_minor"): sure_money(value, currency) if name.endswith("_minor") else value
                for name, value in asdict(figures).items()
            }
        ),
    )


def _view(row: Row) -> Order:
    data: dict[str, Any] = json.loads(row["data"])
    currency = _currency(data)
    paid = _payment(data.get("payment"), currency)
    others = [*(data.get("refunds") or ()), *(data.get("top_ups") or ())]
    want = data.get("want") or {}
    return Order(
        id=row["id"],
        number=data.get("order_number"),
        network=row["network"],
        transaction_id=row["transaction_id"],
        bap_id=row["bap_id"],
        state=row["state"],
        charger_id=row["station"],
        evse_id=row["evse"],
        connector_id=row["connector"],
        item_id=data.get("item_id"),
        session_id=row["session_id"],
        token=row["token"],
        ordered=Ordered(
            kind=want.get("kind"),
            energy_wh=want.get("energy_wh"),
            amount=money(want.get("amount_minor"), currency),
            minutes=want.get("minutes"),
            quoted_wh=data.get("quoted_wh"),
        ),
        quote=_price(data.get("quote")),
        hold=money(data.get("hold_minor"), currency),
        estimate=_price(data.get("estimate")),
        final=_price(data.get("final")),
        cancellation_fee=_price(data.get("cancellation_fee")),
        collected_by=data.get("collected_by"),
        fleet_id=row["fleet_id"],
        on_account=bool(data.get("on_account")),
        payment=paid,
        payments=[one for one in (paid, *(_payment(other, currency) for other in others)) if one is not None],
        delivered_wh=data.get("delivered_wh"),
        duration_min=data.get("duration_min"),
        revision=data.get("revision", 0),
        end_cause=data.get("end_cause"),
        cancel_reason=data.get("cancel_reason"),
        cancelled_by=data.get("cancelled_by"),
        failure=data.get("failure"),
        created_at=rfc3339(row["created_ms"]),
        updated_at=rfc3339(row["updated_ms"]),
        expires_at=time(row["expires_ms"]),
        confirmed_at=time(data.get("confirmed_at_ms")),
        started_at=time(data.get("started_at_ms")),
        ended_at=time(data.get("ended_at_ms")),
        cancelled_at=time(data.get("cancelled_at_ms")),
        version=row["version"],
    )


def _currency(data: Mapping[str, Any]) -> str:
    return str((data.get("quote") or {}).get("currency") or CURRENCY)


def _price(breakdown: Mapping[str, Any] | None) -> Price | None:
    if breakdown is None:
        return None
    currency = str(breakdown["currency"])
    lines = [
        PriceLine(
            kind=line["kind"],
            role=line["role"],
            amount=rupees(Decimal(line["amount"]), currency),
            description=line["description"],
        )
        for line in breakdown["components"]
    ]
    total = sum((Decimal(line["amount"]) for line in breakdown["components"]), ZERO)
    tax = Decimal(breakdown.get("included_tax", "0"))
    shown = rupees(total, currency)
    return Price(
        amount=shown.amount, currency=currency, components=lines, included_tax=rupees(tax, currency) if tax else None
    )


def _payment(data: Mapping[str, Any] | None, currency: str) -> PaymentView | None:
    if data is None:
        return None
    return PaymentView(
        payment_id=data.get("payment_id"),
        status=data.get("status"),
        amount=money(data.get("amount_minor"), currency),
        beneficiary=data.get("beneficiary"),
        txn_ref=data.get("txn_ref"),
        paid_at=time(data.get("paid_at_ms")),
        url=data.get("url"),
    )
