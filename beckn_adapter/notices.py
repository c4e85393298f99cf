"""What buyers are told without having asked just now: a follower of the journal (BECKN 4.2, 4.10).

    PaymentRecorded      on_status   paid, waiting for confirm         OrderEstimated   on_update   provisional bill
    ChargingStarted      on_update   ACTIVE                            OrderBilled      on_update   the bill
    ChargingNotStarted   on_update   error 40000                       OrderRevised     on_update   the bill, again
    ChargingInterrupted  on_status   INTERRUPTED                       RefundMade       on_status   money went back
    ChargingResumed      on_status   ACTIVE                            TopUpReceived    on_status   paid in full
    MeterSampled         on_status   telemetry                         OrderCancelled   on_cancel   by us
    ChargingEnded        on_status   INTERRUPTED, when the power was to blame and no break was told before
A start or stop that a buyer asked for is answered with the request's message id while its ttl lasts, later with a new
one. Each fact makes at most one message (`purpose`), however often it is read.

Telemetry is different: it may be lost, and what is newer makes what is older worthless. It is put into words on a
reading snapshot, so that thousands of sessions never hold up the writer, and takes the place of what is still unsent
of the same order; what changed the order's state is never replaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from beckn_adapter.codec import Codec
from beckn_adapter.dispatch import Voice
from beckn_adapter.errors import error_of
from beckn_adapter.market import Market
from beckn_adapter.outgoing import write
from beckn_adapter.progress import Socket, as_interrupted, asks_otp, progress_of
from beckn_adapter.speaking import Json, Shown
from csms.app.orders import find_order, touch_wire
from csms.app.outbox import PROGRESS, move_up, replace_progress
from csms.app.rounds import Round
from csms.domain.end_cause import EndCause
from csms.domain.order import CollectedBy, Order, Payment, State
from csms.domain.refusal import Refusal, Why
from csms.domain.stored import from_json
from csms.ports import Bell, Clock, Fact, Ids, ReadTx, Store, Table, Tx

log = structlog.get_logger()

_RUNNING = frozenset({State.ACTIVE, State.STOPPING})
_SAMPLES_AT_ONCE = 50  # what one transaction takes of telemetry: its writing must not be felt by anybody

FOLLOWED = frozenset(
    {
        "PaymentRecorded", "ChargingStarted", "ChargingNotStarted", "ChargingInterrupted", "ChargingResumed",
        "OrderEstimated", "OrderBilled", "OrderRevised", "RefundMade", "TopUpReceived", "OrderCancelled", "OrderFailed",
        "MeterSampled", "ChargingEnded",
    }
)  # fmt: skip
_WITHOUT_POWER = frozenset({EndCause.POWER_LOSS.value, EndCause.POWER_QUALITY.value, EndCause.RESTART.value})


class Notices:
    """Turns facts about orders into messages to their buyers."""

    def __init__(
        self,
        *,
        store: Store,
        bell: Bell,
        clock: Clock,
        ids: Ids,
        market: Market,
        socket: Socket,
        voice: Voice,
        long_break_ms: int,
    ) -> None:
        self._store = store
        self._bell = bell
        self._clock = clock
        self._ids = ids
        self._market = market
        self._socket = socket
        self._voice = voice
        self._long_break_ms = long_break_ms
        self._interrupted = Round(store, "INTERRUPTED")

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """Write the messages of a batch of facts."""
        newest = {fact.order_id: fact for fact in facts if fact.order_id is not None and fact.kind == "MeterSampled"}
        concerned = [fact for fact in facts if fact.order_id is not None and fact.kind != "MeterSampled"]
        if concerned:
            await self._tell_all(concerned)
        samples = list(newest.values())
        for start in range(0, len(samples), _SAMPLES_AT_ONCE):
            await self._tell_progress(samples[start : start + _SAMPLES_AT_ONCE])

    async def _tell_all(self, concerned: Sequence[Fact]) -> None:
        message_ids = {fact.seq: self._ids.uuid4() for fact in concerned}

        def work(tx: Tx) -> None:
            for fact in concerned:
                self._tell(tx, fact, message_ids[fact.seq])

        await self._store.transact(work)
        self._bell.ring("outbox")

    async def _tell_progress(self, samples: Sequence[Fact]) -> None:
        """Worded on a snapshot, written in one short transaction for those that still charge then."""
        message_ids = {fact.seq: self._ids.uuid4() for fact in samples}

        def word(tx: ReadTx) -> list[tuple[Order, Fact, Json]]:
            said = []
            for fact in samples:
                order = find_order(tx, str(fact.order_id))
                if order is not None and order.state in _RUNNING:
                    context = self._news(order, "on_status", message_ids[fact.seq])
                    said.append((order, fact, self._codec(order).on_status(context, order, self._shown(tx, order))))
            return said

        said = await self._store.read(word)

        def work(tx: Tx) -> None:
            now_ms = self._clock.now_ms()
            for order, fact, body in said:
                standing = tx.one(Table.ORDERS, id=order.order_id)
                if standing is None or standing["state"] not in _RUNNING:
                    continue  # what happened meanwhile is told by its own message
                replace_progress(tx, order.order_id)
                self._write(tx, order, body, f"{PROGRESS}{order.order_id}:{fact.seq}")
                move_up(tx, order.bap_id, order.transaction_id, now_ms)

        if said:
            await self._store.transact(work)
            self._bell.ring("outbox")

    def _tell(self, tx: Tx, fact: Fact, message_id: str) -> None:
        assert fact.order_id is not None
        order = find_order(tx, fact.order_id)
        if order is None:
            return  # renamed before anything but the quote was said
        body = self._body(tx, order, fact, message_id)
        if body is not None:
            self._write(tx, order, body, f"fact:{fact.seq}")
        if fact.kind == "ChargingNotStarted":
            self._tell_stopped(tx, fact)

    def _tell_stopped(self, tx: Tx, fact: Fact) -> None:
        """Who asked for the end of a start that never happened hears that nothing runs."""
        order = find_order(tx, str(fact.order_id))
        if order is None or "stop" not in (order.wire.get("asked") or {}):
            return
        context = self._answer(tx, order, "stop", "on_update", self._ids.uuid4())
        self._write(
            tx, order, self._codec(order).on_update(context, order, self._shown(tx, order)), f"fact:{fact.seq}:stop"
        )

    def _body(self, tx: Tx, order: Order, fact: Fact, message_id: str) -> Json | None:
        codec, item = self._codec(order), self._market.item(order.item_id)
        match fact.kind:
            case "PaymentRecorded" if order.state is State.PAID:
                context = self._news(order, "on_status", message_id)
                return codec.on_status(context, order, self._shown(tx, order))
            case "ChargingStarted":
                context = self._answer(tx, order, "start", "on_update", message_id)
                return codec.on_update(context, order, self._shown(tx, order))
            case "ChargingNotStarted":
                context = self._answer(tx, order, "start", "on_update", message_id)
                error = error_of(Refusal(Why.CHARGER_REFUSED, str(fact.body.get("reason"))), "update")
                return codec.error_for_order(context, error, order, Shown(item=item))
            case "ChargingInterrupted" if order.state is not State.INTERRUPTED:
                return None  # it is over already: what came next says so
            case "ChargingInterrupted" if "stop" in (order.wire.get("asked") or {}):
                # A stop nobody can carry out now: its asker hears how it stands, and the end by itself (BECKN 4.10).
                context = self._answer(tx, order, "stop", "on_update", message_id)
                return codec.on_update(context, order, self._shown(tx, order))
            case "ChargingResumed" if order.state not in _RUNNING:
                return None
            case "ChargingInterrupted" | "ChargingResumed" | "TopUpReceived":
                context = self._news(order, "on_status", message_id)
                return codec.on_status(context, order, self._shown(tx, order))
            case "ChargingEnded" if fact.body.get("cause") in _WITHOUT_POWER and order.interrupted_at_ms is None:
                context = self._news(order, "on_status", message_id)
                order = as_interrupted(order, fact.at_ms)
                return codec.on_status(context, order, self._shown(tx, order))
            case "OrderEstimated":
                context = self._news(order, "on_update", message_id)
                return codec.on_update(context, order, self._shown(tx, order))
            case "OrderBilled":
                context = self._answer(tx, order, "stop", "on_update", message_id)
                return codec.on_update(context, order, self._shown(tx, order))
            case "OrderRevised":
                context = self._news(order, "on_update", message_id)
                return codec.on_update(context, order, self._shown(tx, order), is_revised=True)
            case "RefundMade" if order.collected_by is CollectedBy.BAP:
                return None  # it told us
            case "RefundMade":
                context = self._news(order, "on_status", message_id)
                refund = from_json(Payment, fact.body["payment"])
                return codec.on_refund(context, order, refund, self._shown(tx, order))
            case "OrderCancelled" if fact.body.get("by") != "buyer":
                return codec.on_cancel(self._news(order, "on_cancel", message_id), order, Shown(item=item))
            case "OrderFailed":
                return codec.on_cancel(self._news(order, "on_cancel", message_id), order, Shown(item=item))
        return None

    def _news(self, order: Order, action: str, message_id: str) -> dict[str, object]:
        return self._codec(order).news(order, action, message_id, self._clock.now_ms())

    def _answer(self, tx: Tx, order: Order, what: str, action: str, message_id: str) -> dict[str, object]:
        """The answer to a start or stop that was asked for, if its asker may still be waiting."""
        asked: dict[str, Any] = dict(order.wire.get("asked") or {})
        waiting = asked.pop(what, None)
        if waiting is not None:
            now_ms = self._clock.now_ms()
            touch_wire(tx, order, now_ms, asked=asked)
            if now_ms <= waiting["until_ms"]:
                message_id = waiting["message_id"]
        return self._news(order, action, message_id)

    def _codec(self, order: Order) -> Codec:
        return self._voice.codecs.of_network(order.network)

    def _shown(self, tx: ReadTx, order: Order) -> Shown:
        progress = progress_of(tx, order, self._socket, self._voice.public_url)
        return Shown(item=self._market.item(order.item_id), progress=progress, asks_otp=asks_otp(tx, order))

    def _write(self, tx: Tx, order: Order, body: Mapping[str, object], purpose: str) -> None:
        write(
            tx,
            body,
            purpose=purpose,
            network=order.network,
            now_ms=self._clock.now_ms(),
            order_id=order.order_id,
            caller_url=self._voice.caller_url,
        )

    async def tick(self, now_ms: int) -> None:
        """A break that lasts is told once more, as an estimate (BECKN 4.10)."""
        for row in await self._interrupted.bite():
            data = json.loads(row["data"])
            since_ms = data.get("interrupted_at_ms")
            if since_ms is None or now_ms - since_ms < self._long_break_ms:
                continue
            order_id, message_id, purpose = row["id"], self._ids.uuid4(), f"break:{row['id']}:{since_ms}"

            def work(tx: Tx, order_id: str = order_id, message_id: str = message_id, purpose: str = purpose) -> None:
                order = find_order(tx, order_id)
                if order is None or tx.one(Table.OUTBOX, purpose=purpose) is not None:
                    return
                context = self._news(order, "on_update", message_id)
                body = self._codec(order).on_update(context, order, self._shown(tx, order))
                self._write(tx, order, body, purpose)

            await self._store.transact(work)
            self._bell.ring("outbox")
