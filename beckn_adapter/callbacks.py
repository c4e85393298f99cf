"""Delivering what we owe the buyers: the durable outbox, signed afresh at every attempt (BECKN 1.2-5).

Within one conversation (transaction) messages leave in the order in which they were written: only its head waits, and
whoever stands behind it moves up when it is over (`app.outbox`). Conversations go side by side, and buyer apps take
turns: one that is slow or away has its own few places and, after three failures in a row, one knock a minute at most
(`circuit`), however many messages wait for it.

2xx with ACK: done. 4xx or NACK: final, recorded, a case for a person; a 401 gets one more try, with a new signature.
5xx, time-out, no connection: again after the pauses in `retry_s`, the last of them for ever, until the message is
`give_up_s` old.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from beckn_adapter.circuit import Circuit
from beckn_adapter.envelope import Outcome, PeerAnswer
from csms.app.cases import open_case
from csms.app.outbox import PROGRESS, PUBLICATION, UNSENT, WAITING, move_up
from csms.ports import Bell, Clock, Fact, Ids, ReadTx, Row, Store, Table, Tx

log = structlog.get_logger()

_IDLE_S = 2.0
_AT_ONCE = 32
_PER_BUYER = 8
_MOST_BUYERS = 10_000
_BITE = 200  # how many messages to a server that is gone are given up in one transaction
_UNAUTHORIZED = 401


class Callbacks:
    """Posts waiting outbox rows through `post` (`posting.Poster`): the answer, and what to note when it is no ACK."""

    def __init__(
        self,
        *,
        store: Store,
        bell: Bell,
        clock: Clock,
        ids: Ids,
        post: Callable[[Row], Awaitable[tuple[PeerAnswer, str | None]]],
        retry_s: tuple[float, ...],
        give_up_s: float,
        count: Callable[[str, str], None],
    ) -> None:
        self._store = store
        self._bell = bell
        self._clock = clock
        self._ids = ids
        self._post = post
        self._pauses_ms = tuple(int(pause_s * 1000) for pause_s in retry_s) or (60_000,)
        self._give_up_ms = int(give_up_s * 1000)
        self._count = count
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._circuits: dict[str, Circuit] = {}
        self._busy: set[str] = set()  # conversations with a message in the air
        self._flying: dict[str, int] = {}  # by buyer app
        self._tasks: set[asyncio.Task[None]] = set()
        self._soonest_ms: int | None = None  # when the next attempt is due that is not due yet

    async def run(self) -> None:
        """Deliver for ever."""
        try:
            while True:
                await self._look()
                now_ms = self._clock.now_ms()
                ahead_s = (self._soonest_ms - now_ms) / 1000 if self._soonest_ms is not None else _IDLE_S
                await self._bell.wait("outbox", min(_IDLE_S, max(0.05, ahead_s)))
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def deliver_due(self) -> None:
        """Deliver what can be delivered now, and return when nothing of it is in the air."""
        await self._look()
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _look(self) -> None:
        """Start what is due, buyer app by buyer app."""
        now_ms = self._clock.now_ms()
        soonest_ms: int | None = None
        for bap_id, next_ms in await self._store.read(_in_line):
            circuit = self._circuits.setdefault(bap_id, Circuit())
            due_ms = max(next_ms, circuit.probe_at_ms) if circuit.is_open else next_ms
            if due_ms <= now_ms or circuit.reached_ms is not None:
                await self._start(bap_id, circuit)
            if due_ms > now_ms:
                soonest_ms = min(due_ms, soonest_ms or due_ms)
        self._soonest_ms = soonest_ms

    async def _start(self, bap_id: str, circuit: Circuit) -> None:
        """Start what is due of one buyer app, as far as there is room."""
        now_ms = self._clock.now_ms()
        limit = circuit.room(now_ms, _PER_BUYER)
        if self._flying.get(bap_id, 0) >= limit:
            return
        rows = await self._store.read(
            lambda tx: tx.many(Table.OUTBOX, order="next_ms", limit=limit, state=WAITING, bap_id=bap_id)
        )
        for row in rows:
            conversation = _conversation(row)
            if self._flying.get(bap_id, 0) >= limit:
                return
            if conversation in self._busy or not self._is_due(row, circuit, now_ms):
                continue
            self._busy.add(conversation)
            self._flying[bap_id] = self._flying.get(bap_id, 0) + 1
            task = asyncio.create_task(self._carry(conversation, row, circuit))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _is_due(self, row: Row, circuit: Circuit, now_ms: int) -> bool:
        """Its pause is over, or its pause was for a server that has come back since."""
        if row["next_ms"] <= now_ms:
            return True
        tried_ms = int(row["next_ms"]) - self._pause_ms(int(row["attempts"]))
        return circuit.reached_ms is not None and row["attempts"] > 0 and tried_ms < circuit.reached_ms

    def _pause_ms(self, attempts: int) -> int:
        return self._pauses_ms[min(attempts, len(self._pauses_ms)) - 1]

    # -- one message

    async def _carry(self, conversation: str, row: Row, circuit: Circuit) -> None:
        """Deliver one message, and go on with the next of the same buyer app."""
        bap_id = str(row["bap_id"])
        try:
            await self._deliver(row, circuit)
        except Exception:
            log.exception("callback.record_failed", outbox_no=row["no"])
            await asyncio.sleep(1)  # the store is in trouble; the row is still waiting and will be tried again
        finally:
            self._busy.discard(conversation)
            self._flying[bap_id] -= 1
            if not self._flying[bap_id]:
                del self._flying[bap_id]
        try:
            await self._start(bap_id, circuit)
        except Exception:
            log.exception("callbacks.not_read", bap_id=bap_id)

    async def _deliver(self, row: Row, circuit: Circuit) -> None:
        async with self._places:
            # The list this row came from may be older than the delivery that has just ended.
            now = await self._store.read(lambda tx: tx.one(Table.OUTBOX, purpose=row["purpose"]))
            if now is None or now["state"] != WAITING or now["attempts"] != row["attempts"]:
                return
            answer, error = await self._post(row)
        now_ms = self._clock.now_ms()
        if answer.outcome is Outcome.RETRY:
            circuit.failed(now_ms)
        else:
            circuit.answered(now_ms)
        await self._record(row, answer, error, now_ms)
        await self._give_up_aged(row["bap_id"], circuit, now_ms)

    async def _record(self, row: Row, answer: PeerAnswer, error: str | None, now_ms: int) -> None:
        attempts = int(row["attempts"]) + 1
        outcome = answer.outcome
        if answer.status == _UNAUTHORIZED and attempts == 1:
            outcome = Outcome.RETRY  # a clock that was set, a key that was changed: signed anew it may pass
        self._count(row["action"], str(answer.outcome))
        is_old = now_ms - row["created_ms"] >= self._give_up_ms and attempts > len(self._pauses_ms)
        values: dict[str, Any] = {"attempts": attempts, "error": error}
        if outcome is Outcome.RETRY and not is_old:
            values["next_ms"] = now_ms + self._pause_ms(attempts)
        else:
            values |= {"state": "done" if outcome is Outcome.ACK else "failed", "done_ms": now_ms}
        case_id = self._ids.uuid()

        def work(tx: Tx) -> None:
            # By purpose: the number of progress that was replaced may be another message's by now.
            standing = tx.take(Table.OUTBOX, purpose=row["purpose"])
            if standing is None or standing["state"] not in UNSENT:
                return  # newer progress took its place meanwhile
            if outcome is Outcome.ACK and _is_progress(row):
                tx.drop(Table.OUTBOX, no=row["no"])  # of use to nobody once it is told, and there are many
            else:
                tx.change(Table.OUTBOX, values, no=row["no"])
            if "state" not in values:
                return
            if values["state"] == "failed":
                _give_up(tx, row, case_id, error, now_ms)
            move_up(tx, row["bap_id"], row["transaction_id"], now_ms)

        await self._store.transact(work)
        if values.get("state") == "failed":
            log.warning("callback.given_up", action=row["action"], order_id=row["order_id"], error=error)

    async def _give_up_aged(self, bap_id: str, circuit: Circuit, now_ms: int) -> None:
        """A server that has been gone for as long as we wait for one: what is that old is given up, a bite per knock,
        as one case. Its commands bring it back (`app.outbox.take_up_all`)."""
        since_ms = circuit.down_since_ms
        if since_ms is None or now_ms - since_ms < self._give_up_ms:
            return

        def work(tx: Tx) -> int:
            rows = tx.many(Table.OUTBOX, order="no", limit=_BITE, bap_id=bap_id, state=UNSENT)
            aged = [row for row in rows if now_ms - row["created_ms"] >= self._give_up_ms]
            for row in aged:
                tx.change(Table.OUTBOX, {"state": "failed", "done_ms": now_ms}, no=row["no"])
            for row in aged:
                move_up(tx, row["bap_id"], row["transaction_id"], now_ms)
            if aged:
                tx.append(
                    [Fact("CallbackFailed", now_ms, {"outbox_no": row["no"]}, order_id=row["order_id"]) for row in aged]
                )
                open_case(
                    tx,
                    case_id=f"callbacks:{bap_id}:{since_ms}",
                    type_="CALLBACK_FAILED",
                    severity="warning",
                    text=f"The server of {bap_id} has not answered for days; messages to it were given up.",
                    now_ms=now_ms,
                )
            return len(aged)

        if given_up := await self._store.transact(work):
            log.warning("callback.server_gone", bap_id=bap_id, given_up=given_up)


def _give_up(tx: Tx, row: Row, case_id: str, error: str | None, now_ms: int) -> None:
    if _is_progress(row):
        return  # the next one says more; a person need not look at each
    if str(row["purpose"]).startswith(PUBLICATION):
        case_id = f"{row['bap_id']}:{now_ms // 86_400_000}"  # every quarter of an hour there is another one
    open_case(
        tx,
        case_id=case_id,
        type_="CALLBACK_FAILED",
        severity="warning",
        order_id=row["order_id"],
        text=f"{row['action']} to {row['bap_id']} was not taken (callback {row['no']}): {error}",
        now_ms=now_ms,
    )
    tx.append([Fact("CallbackFailed", now_ms, {"outbox_no": row["no"]}, order_id=row["order_id"])])


def _is_progress(row: Row) -> bool:
    return str(row["purpose"]).startswith(PROGRESS)


def _conversation(row: Row) -> str:
    return f"{row['bap_id']}|{row['transaction_id']}"


def _in_line(tx: ReadTx) -> list[tuple[str, int]]:
    """The buyer apps with heads in line, each with its soonest attempt: two short looks into an index per app."""
    found: list[tuple[str, int]] = []
    after: str | None = None
    while len(found) < _MOST_BUYERS:
        where = {} if after is None else {"after": after}
        rows = tx.many(Table.OUTBOX, order="bap_id", limit=1, state=WAITING, **where)
        if not rows:
            break
        after = str(rows[0]["bap_id"])
        soonest = tx.many(Table.OUTBOX, order="next_ms", limit=1, state=WAITING, bap_id=after)
        found.append((after, int(soonest[0]["next_ms"])))
    return found
