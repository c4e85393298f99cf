"""Our books and the gateway's kept alike: payments made there, events heard from there, and both compared.

    expect (init, top-up) ─▶ gateway_refs: wanted ─▶ prepare ─▶ made ─▶ authorized ─▶ captured ─▶ closed
    webhook ─▶ gateway_events (kept first) ─▶ what it says of a payment ─┐
    worker  ─▶ look, at start and again and again until it is final ─────┴─▶ Till: booked once

A webhook tells early what the worker would find anyway, so a lost one loses no money. What both say goes one way
(`gatewaybooks`) and only forward: an older word about a payment changes nothing. Where they differ a case is opened.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import structlog

from csms.app.cases import open_case
from csms.app.collecting import LIVE, collection_of, data_of, row_of_payment
from csms.app.gatewaybooks import GatewayBooks, GatewayRules
from csms.app.ordering import Ordering
from csms.app.paying import try_again
from csms.domain.refusal import Refusal, Why
from csms.ports import (
    Bell,
    Clock,
    Collection,
    GatewayAway,
    GatewayEvent,
    GatewayRefused,
    MoneyState,
    Payments,
    ReadTx,
    RemoteView,
    Row,
    Store,
    StoreDown,
    Table,
    Tx,
    UnreadableEvent,
)

log = structlog.get_logger()

_AT_ONCE = 8
_RETRY_S = (1, 5, 30, 120, 600)


class Heard(StrEnum):
    """What became of a webhook."""

    NOBODY = "nobody"  # no gateway is configured to send any
    FORGED = "forged"
    KNOWN = "known"
    KEPT = "kept"


class Gateways:
    """The worker, the ear and the hand of an operator; `count(what, outcome)` counts what came of each."""

    def __init__(
        self,
        *,
        store: Store,
        payments: Payments,
        ordering: Ordering,
        clock: Clock,
        bell: Bell,
        rules: GatewayRules,
        count: Callable[[str, str], None],
    ) -> None:
        self._store = store
        self._payments = payments
        self._books = GatewayBooks(
            provider=payments.name, is_remote=payments.is_remote, ordering=ordering, rules=rules, count=count
        )
        self._clock = clock
        self._bell = bell
        self._rules = rules
        self._count = count
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def name(self) -> str:
        """The gateway's, as in the path of its webhook."""
        return self._payments.name

    # -- webhooks

    async def hear(self, headers: Mapping[str, str], body: bytes) -> Heard:
        """A webhook. Kept before anything is made of it; once kept it is never refused for its content."""
        genuine = self._payments.is_genuine(headers, body)
        if not genuine:
            self._count("webhook", "forged")
            return Heard.NOBODY if genuine is None else Heard.FORGED
        now_ms = self._clock.now_ms()
        event, error = self._read(headers, body)
        row = {
            "provider": self.name,
            "event_id": event.event_id,
            "kind": event.kind,
            "payment_id": event.payment_id,
            "body": body,
            "state": "waiting",
            "received_ms": now_ms,
        }

        def keep(tx: Tx) -> bool:
            if not tx.add(Table.GATEWAY_EVENTS, row):
                return False
            if error is not None:
                self._books.unreadable(tx, event, error, now_ms)
            return True

        if not await self._store.transact(keep):
            self._count("webhook", "known")
            return Heard.KNOWN
        if error is None:
            try:
                await self._use(event)
            except StoreDown:
                raise
            except Exception:
                # It is kept: the worker takes it up, and the gateway need not tell it again.
                log.exception("gateway.event_failed", event_id=event.event_id, kind=event.kind)
        return Heard.KEPT

    def _read(self, headers: Mapping[str, str], body: bytes) -> tuple[GatewayEvent, str | None]:
        try:
            return self._payments.event(headers, body), None
        except UnreadableEvent as unreadable:
            event_id = f"sha256:{hashlib.sha256(body).hexdigest()}"
            return GatewayEvent(event_id=event_id, kind="unreadable"), str(unreadable)

    async def _use(self, event: GatewayEvent) -> None:
        now_ms = self._clock.now_ms()
        outcome = await self._store.transact(lambda tx: self._books.on_event(tx, event, now_ms))
        self._count("webhook", outcome)
        for topic in ("outbox", "payments", "gateways"):
            self._bell.ring(topic)

    # -- the simulated driver

    async def pay_here(self, payment_id: str, *, held: bool) -> None:
        """The driver pays on the page of a gateway that lives in this process. Raises Refusal."""
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> None:
            row = row_of_payment(tx, payment_id)
            self._books.till.paid(tx, payment_id, held=held, ref=None, amount_minor=None, now_ms=now_ms)
            if row is not None:
                state = MoneyState.AUTHORIZED if held else MoneyState.CAPTURED
                self._books.change(tx, row, now_ms, {"state": state.value})

        await self._store.transact(work)
        for topic in ("outbox", "payments"):
            self._bell.ring(topic)

    # -- the worker

    async def run(self) -> None:
        """For ever."""
        if self._payments.is_remote:
            now_ms = self._clock.now_ms()
            live = {"state": LIVE}
            await self._store.transact(lambda tx: tx.change(Table.GATEWAY_REFS, {"next_ms": now_ms}, **live))
        while True:
            try:
                did = await self._events() + await self._due()
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("gateway.worker_failed")
                await asyncio.sleep(1)
                continue
            if not did:
                await self._bell.wait("gateways", 1.0)

    async def _events(self) -> int:
        """What was kept and not yet used: the process ended in between, or the store was in trouble."""
        limit_ms = self._clock.now_ms() - 5_000  # younger ones are being used right now
        rows = await self._store.read(
            lambda tx: tx.many(
                Table.GATEWAY_EVENTS, order="received_ms", limit=100, before=limit_ms, state="waiting",
                provider=self.name,
            )
        )  # fmt: skip
        for row in rows:
            event, error = self._read({}, row["body"])
            event = replace(event, event_id=row["event_id"])
            try:
                if error is None:
                    await self._use(event)
            except StoreDown:
                raise
            except Exception as fault:
                log.exception("gateway.event_failed", event_id=event.event_id, kind=event.kind)
                error = repr(fault)
            if error is not None:  # a second time: it would hold up the others for ever
                why, now_ms = error, self._clock.now_ms()
                await self._store.transact(partial(self._books.unreadable, event=event, error=why, now_ms=now_ms))
        return len(rows)

    async def _due(self) -> int:
        now_ms = self._clock.now_ms()
        rows = await self._store.read(
            lambda tx: tx.many(Table.GATEWAY_REFS, order="next_ms", limit=50, before=now_ms + 1, provider=self.name)
        )
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(receipt: str) -> None:
            async with gate:
                await self.settle(receipt)

        await asyncio.gather(*(one(row["receipt"]) for row in rows))
        return len(rows)

    async def settle(self, receipt: str) -> None:
        """Bring one collection further: make it there, or compare it. Trouble is written down and tried again."""
        lock = self._locks.setdefault(receipt, asyncio.Lock())
        async with lock:
            found = await self._store.read(lambda tx: _found(tx, receipt))
            if found is None:
                return
            row, of = found
            call = "prepare" if row["state"] == "wanted" else "look"
            try:
                if call == "prepare" and self._clock.now_ms() < row["expires_ms"]:
                    await self._prepare(row, of)
                else:
                    await self._compare(row, of)
            except GatewayRefused as refused:
                await self._trouble(row, str(refused), is_final=call == "prepare")
                self._count(call, "refused")
            except GatewayAway as away:
                await self._trouble(row, str(away), is_final=False)
                self._count(call, "away")
            except (asyncio.CancelledError, StoreDown):
                raise
            except Exception as fault:
                log.exception("gateway.settle_failed", payment_id=row["payment_id"], state=row["state"])
                await self._trouble(row, repr(fault), is_final=False)
                self._count(call, "failed")
            else:
                self._count(call, "done")

    async def _prepare(self, row: Row, of: Collection) -> None:
        prepared = await self._payments.prepare(of)
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> None:
            fresh = tx.take(Table.GATEWAY_REFS, receipt=row["receipt"])
            if fresh is None:
                return
            values: dict[str, Any] = {"remote_id": prepared.remote_id, "next_ms": now_ms + self._rules.reconcile_ms}
            if fresh["state"] == "wanted":
                values["state"] = "made"
            self._books.change(tx, fresh, now_ms, values, upi_intent=prepared.upi_intent)

        await self._store.transact(work)

    async def _compare(self, row: Row, of: Collection) -> None:
        view = await self._payments.look(of)
        if view is not None and self._waits_for_capture(of, view):
            await self._payments.capture(of, of.amount_minor, f"take:{of.receipt}")
            view = await self._payments.look(of)
        now_ms = self._clock.now_ms()
        await self._store.transact(lambda tx: self._books.found_there(tx, row["receipt"], view, now_ms))
        for topic in ("outbox", "payments"):
            self._bell.ring(topic)

    @staticmethod
    def _waits_for_capture(of: Collection, view: RemoteView) -> bool:
        return not of.hold and bool(view.attempts) and view.attempts[0].state is MoneyState.AUTHORIZED

    async def _trouble(self, row: Row, error: str, *, is_final: bool) -> None:
        now_ms = self._clock.now_ms()
        log.warning("gateway.trouble", payment_id=row["payment_id"], state=row["state"], error=error)

        def work(tx: Tx) -> None:
            fresh = tx.take(Table.GATEWAY_REFS, receipt=row["receipt"])
            if fresh is None:
                return
            data = data_of(fresh)
            tries = data.get("tries", 0) + 1
            pause_s = _RETRY_S[min(tries, len(_RETRY_S)) - 1]
            values: dict[str, Any] = {"next_ms": now_ms + pause_s * 1000}
            if is_final:
                values = {"state": "refused", "next_ms": None}
                open_case(
                    tx,
                    case_id=f"collection:{row['receipt']}:{tries}",
                    type_="PAYMENT_REFUSED",
                    severity="money",
                    order_id=row["order_id"],
                    text=f"The gateway does not take the payment {row['payment_id']}: {error}",
                    now_ms=now_ms,
                )
            values["data"] = json.dumps(data | {"tries": tries, "error": error[:500]})
            tx.change(Table.GATEWAY_REFS, values, receipt=row["receipt"])

        await self._store.transact(work)

    # -- on request

    async def ready(self, payment_id: str) -> None:
        """A driver opens the page: what was not made yet is made now, within a time a person waits."""
        now_ms = self._clock.now_ms()
        row = await self._store.read(lambda tx: row_of_payment(tx, payment_id))
        if row is None or row["provider"] != self.name or not self._payments.is_remote:
            return
        if now_ms > row["expires_ms"]:
            row = await self._store.transact(lambda tx: self._books.renewed(tx, payment_id, now_ms))
        if row is None or row["state"] != "wanted" or (data_of(row).get("tries") and now_ms < row["next_ms"]):
            return  # the worker tries again soon: a page that is loaded often does not ask more often
        try:
            async with asyncio.timeout(self._rules.page_wait_s):
                await self.settle(row["receipt"])
        except TimeoutError:
            log.info("gateway.page_waits", payment_id=payment_id)

    async def reconcile(self, payment_id: str) -> None:
        """Compare now, and try again what was refused. Raises Refusal when there is no such payment."""
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> list[str]:
            rows = tx.many(Table.GATEWAY_REFS, order="no", payment_id=payment_id, provider=self.name)
            if not rows:
                raise Refusal(Why.UNKNOWN_TARGET, f"There is no payment {payment_id!r} of the gateway {self.name}.")
            for move in tx.many(Table.PAYMENTS, payment_id=payment_id, status="refused"):
                try_again(tx, move, now_ms)
            tx.change(Table.GATEWAY_REFS, {"state": "wanted"}, payment_id=payment_id, state="refused")
            return [row["receipt"] for row in rows]

        for receipt in await self._store.transact(work):
            await self.settle(receipt)
        self._bell.ring("payments")


def _found(tx: ReadTx, receipt: str) -> tuple[Row, Collection] | None:
    row = tx.one(Table.GATEWAY_REFS, receipt=receipt)
    return (row, collection_of(tx, row)) if row is not None else None
