"""What time brings: session timers, quotes that run out, reservations nobody used, old frames."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog

from csms.app.charging import Charging
from csms.app.ordering import Ordering
from csms.app.orders import act, order_from
from csms.app.stations import Stations
from csms.domain import reservation as reservations
from csms.domain.order import CancelledBy, Expire, State
from csms.domain.refusal import Refusal
from csms.domain.reported import SocketStatus
from csms.domain.reservation import Reach, Reservation
from csms.domain.session_states import OPEN
from csms.ports import Clock, Fact, Put, Store, Table, Tx, Unit

log = structlog.get_logger()

_TICK_S = 0.2
_SLOW_EVERY_MS = 1_000
_SEEN_EVERY_MS = 60_000
_RETENTION_EVERY_S = 3_600
_DAY_MS = 86_400_000
_BITE = 500
_BITE_PAUSE_S = 0.05
_MESSAGE_BITE = 50  # a message may have a mebibyte
# Where messages with buyers stand, their time, and those that nobody asks for after a day: searches, and the catalogs
# that answered them, which are most of what there is.
_MESSAGES = (
    (Table.INBOX, "received_ms", ("discover", "search")),
    (Table.OUTBOX, "created_ms", ("on_discover", "on_search")),
)
_OUT_OF_USE = frozenset({SocketStatus.UNAVAILABLE, SocketStatus.FAULTED})
_PAID_NOT_CONFIRMED_MS = 15 * 60_000  # a buyer app that was told "paid" and never confirms has gone


class Upkeep:
    """One loop for everything that happens because time passes."""

    def __init__(
        self,
        *,
        store: Store,
        stations: Stations,
        charging: Charging,
        ordering: Ordering,
        clock: Clock,
        frames_days: int,
        unused_s: int,
        every_second: list[Callable[[int], Awaitable[None]]],
    ) -> None:
        self._store = store
        self._stations = stations
        self._charging = charging
        self._ordering = ordering
        self._clock = clock
        self._frames_days = frames_days
        self._unused_ms = unused_s * 1000
        self._every_second = every_second
        self._seen: dict[str, int] = {}

    async def run(self) -> None:
        """For ever. History is dropped beside the clockwork: it must never hold up a timer."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick())
            tasks.create_task(self._retain())

    async def _tick(self) -> None:
        slow_ms = seen_ms = self._clock.now_ms()
        while True:
            now_ms = self._clock.now_ms()
            try:
                self._charging.tick(now_ms)
                if now_ms - slow_ms >= _SLOW_EVERY_MS:
                    slow_ms = now_ms
                    await self._orders(now_ms)
                    await self._unused(now_ms)
                    await self._reservations(now_ms)
                    for job in self._every_second:
                        await job(now_ms)
                if now_ms - seen_ms >= _SEEN_EVERY_MS:
                    seen_ms = now_ms
                    self.flush_seen()
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("upkeep.failed")
                await asyncio.sleep(1)
            await asyncio.sleep(_TICK_S)

    def flush_seen(self) -> None:
        """Write when each charger was last heard: in memory it is exact, on disk a minute old at most."""
        unit = Unit()
        for station in self._stations.all():
            last = station.last_seen_ms
            if last is not None and self._seen.get(station.id) != last:
                self._seen[station.id] = last
                unit.put(Put.STATION_SEEN, (last, station.id))
        if unit.rows:
            self._store.submit(unit)

    async def _orders(self, now_ms: int) -> None:
        over = {("QUOTED", "INITIALISED"): now_ms, ("PAID",): now_ms - _PAID_NOT_CONFIRMED_MS}
        rows = await self._store.read(
            lambda tx: [
                row
                for state, before in over.items()
                for row in tx.many(Table.ORDERS, order="expires_ms", limit=100, before=before, state=state)
            ]
        )
        for row in rows:
            order_id = row["id"]
            await self._store.transact(partial(self._expire, order_id=order_id, now_ms=now_ms))

    async def _unused(self, now_ms: int) -> None:
        """Bought, never started, and no slot that ends it, or none that still does: the money goes back after a while.

        A start that was asked at the end of a slot and came to nothing leaves an order whose reservation is over."""
        rows = await self._store.read(
            lambda tx: tx.many(
                Table.ORDERS, order="updated_ms", limit=1000, before=now_ms - self._unused_ms, state="CONFIRMED"
            )
        )
        for order in map(order_from, rows):
            if order.slot is None or order.slot.end_ms < now_ms:
                order_id = order.order_id
                await self._store.transact(partial(self._give_up, order_id=order_id, now_ms=now_ms))

    def _give_up(self, tx: Tx, order_id: str, now_ms: int) -> None:
        row = tx.take(Table.ORDERS, id=order_id)
        if row is None or row["state"] != "CONFIRMED" or row["updated_ms"] >= now_ms - self._unused_ms:
            return
        if tx.count(Table.RESERVATIONS, order_id=order_id, status=reservations.ACTIVE):
            return  # its reservation decides, a moment later
        try:
            self._ordering.cancel(tx, order_from(row), "no_show", CancelledBy.PROVIDER, now_ms, {})
        except Refusal as refusal:
            log.info("upkeep.not_given_up", order_id=order_id, why=refusal.detail)

    def _expire(self, tx: Tx, order_id: str, now_ms: int) -> None:
        row = tx.take(Table.ORDERS, id=order_id)
        if row is None:
            return
        order = order_from(row)
        try:
            if order.state is State.PAID:
                self._ordering.cancel(tx, order, "payment_timeout", CancelledBy.PROVIDER, now_ms, {})
            else:
                act(tx, order, Expire(), now_ms)
                tx.change(
                    Table.RESERVATIONS,
                    {"status": "EXPIRED", "updated_ms": now_ms},
                    order_id=order_id,
                    status=reservations.ACTIVE,
                )
        except Refusal as refusal:
            log.info("upkeep.not_expired", order_id=order_id, why=refusal.detail)
            tx.change(Table.ORDERS, {"expires_ms": now_ms + 60_000}, id=order_id)

    async def _reservations(self, now_ms: int) -> None:
        """Slots whose grace has passed: unused and confirmed is a no-show, the rest just end."""
        rows = await self._store.read(
            lambda tx: tx.many(
                Table.RESERVATIONS, order="expires_ms", limit=100, before=now_ms, status=reservations.ACTIVE
            )
        )
        for row in rows:
            reservation = dict(row)
            await self._store.transact(partial(self._lapse, reservation=reservation, now_ms=now_ms))

    def _lapse(self, tx: Tx, reservation: dict[str, Any], now_ms: int) -> None:
        standing = tx.take(Table.RESERVATIONS, id=reservation["id"])
        if standing is None or standing["status"] not in reservations.ACTIVE:
            return
        if standing["order_id"] and tx.count(Table.SESSIONS, order_id=standing["order_id"]):
            return  # its session has just begun; the news of it is on the way
        tx.change(Table.RESERVATIONS, {"status": "EXPIRED", "updated_ms": now_ms}, id=reservation["id"])
        body = {"reservation_id": reservation["id"], "order_id": reservation["order_id"]}
        tx.append([Fact("ReservationExpired", now_ms, body, reservation["station"], order_id=reservation["order_id"])])
        row = tx.take(Table.ORDERS, id=reservation["order_id"]) if reservation["order_id"] else None
        if row is None or standing["hold"] != "hard":
            return
        order = order_from(row)
        if order.state is not State.CONFIRMED:
            return
        reason, by = "no_show", CancelledBy.NO_SHOW
        if not self._could_be_used(reservations.from_row(standing)):
            reason, by = "charger_unavailable", CancelledBy.PROVIDER  # whoever came could not charge: all goes back
        try:
            self._ordering.cancel(tx, order, reason, by, now_ms, {})
        except Refusal as refusal:
            log.info("upkeep.no_show_not_cancelled", order_id=order.order_id, why=refusal.detail)

    def _could_be_used(self, it: Reservation) -> bool:
        station = self._stations.get(it.station)
        if station is None:
            return False
        reach = Reach(station.connected_ms, station.link_closed_ms, station.last_seen_ms)
        whole = station.sockets.get((0, 0))
        if whole is not None and whole.status in _OUT_OF_USE:
            return False
        if any(s.evse == it.evse and s.state in OPEN for s in station.sessions.values()):
            return False  # 2.0.1's Occupied does not tell whose car it is
        here = (s.status for s in station.sockets.values() if s.connector and s.evse == it.evse)
        return reservations.could_be_used(it, reach, {status for status in here if status is not None})

    async def _retain(self) -> None:
        while True:
            try:
                await self.drop_history(self._clock.now_ms())
            except Exception:
                log.exception("upkeep.retention_failed")
            await asyncio.sleep(_RETENTION_EVERY_S)

    async def drop_history(self, now_ms: int) -> int:
        """Drop frames, reports and messages with buyers beyond their days and keys of requests beyond theirs; how many.

        In small bites with pauses between: the writer is not held up by history.
        """
        frames_ms = now_ms - self._frames_days * _DAY_MS
        dropped = 0
        for bite in (_old_frames(frames_ms), _old_reports(frames_ms), _old_keys(now_ms - _DAY_MS)):
            while count := await self._store.transact(bite):
                dropped += count
                await asyncio.sleep(_BITE_PAUSE_S)
        for table, stamp, searches in _MESSAGES:
            dropped += await self._drop_messages(table, stamp, now_ms - _DAY_MS, action=searches)
            dropped += await self._drop_messages(table, stamp, frames_ms)
        if dropped:
            log.info("upkeep.history_dropped", rows=dropped)
        return dropped

    async def _drop_messages(self, table: Table, stamp: str, limit_ms: int, **where: Any) -> int:
        """Messages with buyers that are over and older: found on a snapshot, because their bodies are large.

        The newest stays: its number would be given away again, and messages are known by their numbers.
        """
        newest = await self._store.read(lambda tx: tx.many(table, order="-no", limit=1))
        dropped, after = 0, 0
        over = {"state": ("done", "failed")}
        while True:
            page = {"order": "no", "limit": _MESSAGE_BITE, "after": after, **over, **where}
            rows = await self._store.read(lambda tx, page=page: tx.many(table, **page))  # type: ignore[misc]
            nos = [row["no"] for row in rows if row[stamp] < limit_ms and row["no"] < newest[0]["no"]]
            if not nos:
                return dropped
            # One that was sent again meanwhile is not over any more.
            dropped += await self._store.transact(lambda tx, nos=nos: tx.drop(table, no=nos, **over))  # type: ignore[misc]
            after = rows[-1]["no"]
            await asyncio.sleep(_BITE_PAUSE_S)


def _old_frames(limit_ms: int) -> Callable[[Tx], int]:
    def work(tx: Tx) -> int:
        # Frames are numbered in the order in which they came, so the oldest stand first and no index on time is due.
        oldest = tx.many(Table.FRAMES, order="seq", limit=_BITE)
        seqs = [row["seq"] for row in oldest if row["at_ms"] < limit_ms]
        return tx.drop(Table.FRAMES, seq=seqs) if seqs else 0

    return work


def _old_reports(limit_ms: int) -> Callable[[Tx], int]:
    """What was understood of them stands elsewhere; as they came they are frames, with what customers told in them."""
    key = ("station", "kind", "request_id", "seq_no", "generated_at")

    def work(tx: Tx) -> int:
        old = tx.many(Table.REPORTS, order="received_ms", limit=_BITE, before=limit_ms)
        return sum(tx.drop(Table.REPORTS, **{name: row[name] for name in key}) for row in old)

    return work


def _old_keys(limit_ms: int) -> Callable[[Tx], int]:
    def work(tx: Tx) -> int:
        old = tx.many(Table.IDEMPOTENCY, order="at_ms", limit=_BITE, before=limit_ms)
        return sum(tx.drop(Table.IDEMPOTENCY, key=row["key"], route=row["route"]) for row in old)

    return work
