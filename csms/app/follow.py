"""Followers of the journal: each with its own cursor, none able to lose a fact or to hold up another.

    journal ─▶ one tail reads it once ─▶ every follower takes what is behind its cursor, from memory or from the store

A follower that fails stops at its cursor, shows red in `health`, and tries again with growing pauses; it is never
skipped over (STYLE, smell 9). Its cursor is written now and then: whoever follows must bear hearing a fact twice, so a
crash may cost half a second of repeats, and a fact costs no write per follower.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter

import structlog

from csms.ports import Bell, Fact, Follower, Store, Table, Tx

log = structlog.get_logger()

_BATCH = 500
_IDLE_S = 5.0  # a lost ring costs at most this; rings are the rule
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_SAVE_EVERY_S = 0.5
_KEPT_FACTS = 4_000  # what a follower that is a little behind finds in memory

_seq = attrgetter("seq")


@dataclass(slots=True)
class FollowerHealth:
    """What `readyz` says about one follower."""

    cursor: int = 0
    error: str | None = None


@dataclass(slots=True, eq=False)
class _Waiter:
    """A follower that has read everything so far."""

    kinds: frozenset[str]
    cursor: int
    has_moved: bool = False
    event: asyncio.Event = field(default_factory=asyncio.Event)


class Tail:
    """The end of the journal, read once for all followers."""

    def __init__(self, store: Store, bell: Bell) -> None:
        self._store = store
        self._bell = bell
        self._facts: list[Fact] = []
        self._start = 0  # everything after this and up to `newest` is in memory
        self._waiters: set[_Waiter] = set()
        self.newest = 0

    async def open(self) -> None:
        """Begin at the end as it stands now; what is older comes from the store."""
        rows = await self._store.read(lambda tx: tx.many(Table.JOURNAL, order="-seq", limit=1))
        self._start = self.newest = rows[0]["seq"] if rows else 0

    async def run(self) -> None:
        """Read on, for ever. Trouble of the store passes or is for others to tell; the followers only wait."""
        now_s = asyncio.get_running_loop().time
        while True:
            try:
                facts = await self._store.read(lambda tx: tx.facts(self.newest, _BATCH))
            except Exception:
                log.exception("journal.not_read", newest=self.newest)
                await asyncio.sleep(_FIRST_PAUSE_S)
                continue
            if not facts:
                await self._rest(now_s)
                continue
            before, self.newest = self.newest, facts[-1].seq
            self._facts += facts
            if len(self._facts) > 2 * _KEPT_FACTS:
                del self._facts[:-_KEPT_FACTS]
                self._start = self._facts[0].seq - 1
            self._wake({fact.kind for fact in facts}, before)

    async def _rest(self, now_s: Callable[[], float]) -> None:
        """Wait for news. When none comes, those who have moved on write down how far they are."""
        moved = [waiter for waiter in self._waiters if waiter.has_moved]
        begun_s = now_s()
        await self._bell.wait("journal", _SAVE_EVERY_S if moved else _IDLE_S)
        if now_s() - begun_s >= _SAVE_EVERY_S:
            for waiter in moved:
                waiter.event.set()

    def _wake(self, kinds: set[str], before: int) -> None:
        """Wake whom the new facts concern; for the others, who had read all that was before, they are read."""
        for waiter in self._waiters:
            if waiter.cursor == before and waiter.kinds and waiter.kinds.isdisjoint(kinds):
                waiter.cursor, waiter.has_moved = self.newest, True
            else:
                waiter.event.set()

    async def after(self, cursor: int) -> list[Fact]:
        """The next facts behind a cursor, none when there are none yet."""
        if cursor >= self.newest:
            return []
        if cursor >= self._start:
            first = bisect_right(self._facts, cursor, key=_seq)
            return self._facts[first : first + _BATCH]
        return await self._store.read(lambda tx: tx.facts(cursor, _BATCH))

    async def news(self, cursor: int, kinds: frozenset[str], timeout_s: float) -> int:
        """Wait for a fact of these kinds behind the cursor (any kind when there are none), `timeout_s` at most. The
        cursor then: it may have moved on over facts of other kinds."""
        if cursor < self.newest:
            return cursor
        waiter = _Waiter(kinds, cursor)
        self._waiters.add(waiter)
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that meets the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await waiter.event.wait()
        finally:
            self._waiters.discard(waiter)
        return waiter.cursor


class Followers:
    """Runs every follower in one task each, inside the caller's task group."""

    def __init__(self, store: Store, bell: Bell) -> None:
        self._store = store
        self._tail = Tail(store, bell)
        self._opened: asyncio.Future[None] | None = None
        self.health: dict[str, FollowerHealth] = {}

    async def tail(self) -> None:
        """Read the journal for all of them; runs beside them."""
        await self._open()
        await self._tail.run()

    async def _open(self) -> None:
        if self._opened is None:
            self._opened = asyncio.ensure_future(self._tail.open())
        await asyncio.shield(self._opened)

    async def run(self, follower: Follower) -> None:
        """Follow for ever, from where this follower stood when the process last ended."""
        await self._open()
        now_s = asyncio.get_running_loop().time
        health = self.health.setdefault(follower.name, FollowerHealth())
        row = await self._store.read(lambda tx: tx.one(Table.CURSORS, name=follower.name))
        saved = health.cursor = int(row["seq"]) if row else 0
        saved_s = now_s()
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                if health.cursor != saved and now_s() - saved_s >= _SAVE_EVERY_S:
                    await self._store.transact(_saved(follower.name, health.cursor))
                    saved, saved_s, health.error = health.cursor, now_s(), None
                facts = await self._tail.after(health.cursor)
                if not facts:
                    patience_s = _IDLE_S if health.cursor == saved else _SAVE_EVERY_S
                    health.cursor = await self._tail.news(health.cursor, follower.kinds, patience_s)
                    continue
                wanted = [fact for fact in facts if not follower.kinds or fact.kind in follower.kinds]
                if wanted:
                    await follower.on_facts(wanted)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                health.error = repr(error)
                log.exception("follower.failed", follower=follower.name, cursor=health.cursor, pause_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                continue
            health.error = None
            pause_s = _FIRST_PAUSE_S
            health.cursor = facts[-1].seq


def _saved(name: str, cursor: int) -> Callable[[Tx], None]:
    return lambda tx: tx.save(Table.CURSORS, {"name": name, "seq": cursor})
