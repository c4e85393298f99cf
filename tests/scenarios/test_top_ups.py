"""Top-ups as the driver pays them: what was not due any more goes back, and a hold is no payment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from csms.app.orders import add_order, ledger_of, post
from csms.app.paying import ask_top_up
from csms.app.till import Till
from csms.domain.breakdown import Breakdown, Component, ComponentKind, Role
from csms.domain.ledger import money_collected, order_placed, outstanding
from csms.domain.order import Order, Payment, PaymentStatus, State, Want, WantKind
from csms.domain.refusal import Refusal
from csms.domain.settlement import Charge, settle
from csms.domain.tariff import Rate, Tariff, Terms
from csms.payments.simulated import SimulatedGateway
from csms.ports import Table, Tx
from csms.realworld import RealClock
from csms.storage.migrate import migrate_sqlite
from csms.storage.sqlite import SqliteStore

TERMS = Terms(tariff=Tariff(tariff_id="t18", rates=(Rate(per_kwh=Decimal(18)),)))
GATEWAY = SimulatedGateway(public_url="http://pay.example", vpa="cpo@bank", name="CPO")


def of(rupees: int) -> Breakdown:
    line = Component(kind=ComponentKind.UNIT, role=Role.ENERGY, amount=Decimal(f"{rupees}.00"), description="")
    return Breakdown(currency="INR", components=(line,))


ORDER = Order(
    order_id="o", network="v2", transaction_id="t", bap_id="bap", bap_uri="http://bap.example", domain="d",
    item_id="i", station="CP", evse=1, connector=1, want=Want(kind=WantKind.ENERGY, energy_wh=27_778), terms=TERMS,
    quote=of(500), quoted_wh=27_778, hold_minor=50_000, quoted_at_ms=0, quote_expires_ms=1, state=State.COMPLETED,
    session_id="s", final=of(500), revision=0,
    payment=Payment(payment_id="pay-o", status=PaymentStatus.COMPLETED, amount_minor=50_000, beneficiary="BPP"),
)  # fmt: skip


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A store with an order of 500, paid, whose bill rose to 520: 20 are asked for."""
    path = tmp_path / "csms.db"
    migrate_sqlite(path, stamp="now")
    opened = SqliteStore(path, lambda _: None)
    await opened.start()

    def work(tx: Tx) -> None:
        add_order(tx, ORDER, no=1, tracking="k", now_ms=0)
        ledger = list(order_placed("o", amount_minor=50_000, energy_wh=27_778, at_ms=0))
        ledger += money_collected(ledger, "o", amount_minor=50_000, ref="p", at_ms=0)
        charge = Charge(order_id="o", revision=1, breakdown=of(520), delivered_wh=28_900, at_ms=1)
        ledger += settle(ledger, charge, terms=TERMS, want=ORDER.want)
        post(tx, ledger)
        ask_top_up(tx, ORDER, 2_000, GATEWAY, 1)

    await opened.transact(work)
    yield opened
    await opened.stop()


async def pay(store: SqliteStore, *, held: bool) -> None:
    nothing: Any = None  # selling is not asked for a top-up
    till, now_ms = Till(nothing), RealClock().now_ms()
    await store.transact(lambda tx: till.paid(tx, "top-o-0", held=held, ref="R1", amount_minor=2_000, now_ms=now_ms))


async def test_a_top_up_that_is_paid_after_the_bill_came_down_goes_back(store: SqliteStore) -> None:
    def work(tx: Tx) -> None:
        ledger = ledger_of(tx, "o")
        charge = Charge(order_id="o", revision=2, breakdown=of(500), delivered_wh=27_778, at_ms=2)
        post(tx, settle(ledger, charge, terms=TERMS, want=ORDER.want))

    await store.transact(work)
    await pay(store, held=False)
    ledger = await store.read(lambda tx: ledger_of(tx, "o"))
    moves = await store.read(lambda tx: tx.many(Table.PAYMENTS, order_id="o", kind="refund"))
    assert [(move["amount_minor"], move["status"]) for move in moves] == [(2_000, "waiting")]
    assert (outstanding(ledger).due_minor, outstanding(ledger).collected_minor) == (0, 50_000)


async def test_a_top_up_that_is_only_held_is_not_paid(store: SqliteStore) -> None:
    with pytest.raises(Refusal, match="held"):
        await pay(store, held=True)
    ledger = await store.read(lambda tx: ledger_of(tx, "o"))
    assert outstanding(ledger).due_minor == 2_000
