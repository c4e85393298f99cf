"""Delivering what we owe the buyers: the durable outbox, signed afresh at every attempt.

Within one conversation (transaction) messages leave in the order in which they were written; between conversations
they leave side by side. 2xx with ACK: done. 4xx or NACK: final, recorded, a case for a person. 5xx, time-out, no
connection: again later, same body, new signature (BECKN 1.2-5).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import structlog

from beckn_adapter.envelope import Outcome, PeerAnswer, read_answer
from csms.app.cases import open_case
from csms.ports import Bell, Clock, Fact, Ids, ReadTx, Row, Store, Table, Tx

log = structlog.get_logger()

_IDLE_S = 2.0
_AT_ONCE = 16
_ANSWER_LIMIT = 64 * 1024  # a peer's acknowledgement is small; more is not read


class Callbacks:
    """Posts waiting outbox rows. `authorize(body, now_ms)` gives the signature header, or None behind an adapter."""

    def __init__(
        self,
        *,
        store: Store,
        bell: Bell,
        clock: Clock,
        ids: Ids,
        authorize: Callable[[bytes, int], str | None],
        timeout_s: float,
        retry_s: tuple[float, ...],
        count: Callable[[str, str], None],
    ) -> None:
        self._store = store
        self._bell = bell
        self._clock = clock
        self._ids = ids
        self._authorize = authorize
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._count = count
        self._busy: set[str] = set()  # conversations with a message in the air
        self._delivering: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Deliver for ever."""
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            try:
                while True:
                    started = await self._start_due(http)
                    if not started:
                        await self._bell.wait("outbox", _IDLE_S)
            finally:
                for task in self._delivering:
                    task.cancel()
                await asyncio.gather(*self._delivering, return_exceptions=True)

    async def _start_due(self, http: aiohttp.ClientSession) -> int:
        now_ms = self._clock.now_ms()

        def query(tx: ReadTx) -> list[Row]:
            return tx.many(Table.OUTBOX, order="no", limit=1000, state="waiting")

        heads: dict[str, Row] = {}
        for row in await self._store.read(query):
            heads.setdefault(f"{row['bap_id']}|{row['transaction_id']}", row)
        started = 0
        for conversation, row in heads.items():
            if conversation in self._busy or row["next_ms"] > now_ms or len(self._busy) >= _AT_ONCE:
                continue
            self._busy.add(conversation)
            task = asyncio.create_task(self._deliver(http, conversation, row))
            self._delivering.add(task)
            task.add_done_callback(self._delivering.discard)
            started += 1
        return started

    async def _deliver(self, http: aiohttp.ClientSession, conversation: str, row: Row) -> None:
        try:
            # The list this row came from may be older than the delivery that has just ended.
            now = await self._store.read(lambda tx: tx.one(Table.OUTBOX, no=row["no"]))
            if now is None or now["state"] != "waiting" or now["attempts"] != row["attempts"]:
                return
            answer, error = await self._post(http, row)
            await self._record(row, answer, error)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("callback.record_failed", outbox_no=row["no"])
            await asyncio.sleep(1)  # the store is in trouble; the row is still waiting and will be tried again
        finally:
            self._busy.discard(conversation)
            self._bell.ring("outbox")

    async def _post(self, http: aiohttp.ClientSession, row: Row) -> tuple[PeerAnswer, str | None]:
        body: bytes = row["body"]
        headers = {"Content-Type": "application/json"}
        authorization = self._authorize(body, self._clock.now_ms())
        if authorization is not None:
            headers["Authorization"] = authorization
        try:
            # No redirects: a callback goes where the registry said and nowhere else.
            async with http.post(row["url"], data=body, headers=headers, allow_redirects=False) as response:
                text = await response.content.read(_ANSWER_LIMIT)
                answer = read_answer(response.status, text)
                said = None if answer.outcome is Outcome.ACK else f"HTTP {response.status}: {text[:500]!r}"
                return answer, said
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return PeerAnswer(Outcome.RETRY), f"{type(error).__name__}: {error} ({urlsplit(row['url']).netloc})"

    async def _record(self, row: Row, answer: PeerAnswer, error: str | None) -> None:
        now_ms = self._clock.now_ms()
        attempts = int(row["attempts"]) + 1
        values: dict[str, Any] = {"attempts": attempts, "error": error}
        given_up = False
        if answer.outcome is Outcome.ACK:
            values |= {"state": "done", "done_ms": now_ms}
        elif answer.outcome is Outcome.RETRY and attempts <= len(self._retry_s):
            values |= {"next_ms": now_ms + int(self._retry_s[attempts - 1] * 1000)}
        else:
            given_up = True
            values |= {"state": "failed", "done_ms": now_ms}
        self._count(row["action"], str(answer.outcome))
        case_id = self._ids.uuid()

        def work(tx: Tx) -> None:
            tx.change(Table.OUTBOX, values, no=row["no"])
            if given_up:
                open_case(
                    tx,
                    case_id=case_id,
                    type_="CALLBACK_FAILED",
                    severity="warning",
                    order_id=row["order_id"],
                    text=f"{row['action']} to {row['bap_id']} was not taken: {error}",
                    now_ms=now_ms,
                )
                tx.append([Fact("CallbackFailed", now_ms, {"outbox_no": row["no"]}, order_id=row["order_id"])])

        await self._store.transact(work)
        if given_up:
            log.warning("callback.given_up", action=row["action"], order_id=row["order_id"], error=error)
