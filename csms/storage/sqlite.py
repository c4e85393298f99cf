"""SQLite as the store of one process: one writer thread that commits in groups, readers beside it.

    event loop --submit/transact--> queue --> writer thread:  BEGIN IMMEDIATE … everything that waits … COMMIT
                                                  \\--one wake-up per batch--> done(), futures

There is no timer: while one batch is in its fsync the next one collects, so the fsync itself is the window
(SPEED D). A unit that violates a constraint is redone by itself under a savepoint and only it hears of it; a
commit that fails for the disk's sake fails everyone in the batch with `StoreDown`, and nothing of it is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
import sqlalchemy as sa
import structlog

from csms.ports import Put, ReadTx, StoreDown, Tx, Unit
from csms.storage.hot import CHUNK, METER_NO, STATEMENTS, many
from csms.storage.sql import SqlTx

log = structlog.get_logger()
T = TypeVar("T")

# WAL + synchronous=FULL: a commit that returned survives power loss.
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA busy_timeout=10000",
    "PRAGMA cache_size=-65536",
    "PRAGMA wal_autocheckpoint=4000",
    "PRAGMA temp_store=MEMORY",
)
_TOPICS = {int(Put.FACT): "journal", int(Put.INSTRUCTION): "instructions"}
_READERS = 4
_STATEMENTS_KEPT = 1024  # one text per kind of row and number of rows: with fewer each batch would be parsed anew
_MAX_BATCH = 4096  # bounds how long a reader of the WAL, and a drain, can be kept waiting


class _Work:
    """A use case on its way to the writer."""

    __slots__ = ("appended", "future", "result", "work")

    def __init__(self, work: Callable[[Tx], Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.appended = 0
        self.future = future
        self.result: Any = None


class _Reader(aiosqlite.Connection):
    """A reading connection with a thread of its own, on which a whole query runs.

    `aiosqlite` under SQLAlchemy's async engine goes to the thread and back for every cursor, fetch and close (about
    240 us of CPU for a read of one row); a query that runs there as a whole costs one trip (about 60 us).
    """

    def __init__(self, path: Path) -> None:
        super().__init__(lambda: sqlite3.connect(path, timeout=10, isolation_level=None), iter_chunk_size=64)
        self._core: sa.Connection | None = None

    async def run(self, query: Callable[[ReadTx], T]) -> T:
        """The result of `query` on one snapshot."""
        result: T = await self._execute(self._on_snapshot, query)  # type: ignore[no-untyped-call]
        return result

    async def close(self) -> None:
        """SQLAlchemy's part goes on this thread too: any other may not touch it, not even at the exit."""
        if self._core is not None:
            await self._execute(self._let_go)  # type: ignore[no-untyped-call]
        await super().close()

    def _let_go(self) -> None:
        assert self._core is not None
        self._core.close()
        self._core.engine.dispose()
        self._core = None

    def _on_snapshot(self, query: Callable[[ReadTx], T]) -> T:
        if self._core is None:
            self._core = _core(self._conn)
        self._conn.execute("BEGIN")
        try:
            return query(SqlTx(self._core))
        finally:
            self._conn.execute("COMMIT")


def _core(raw: sqlite3.Connection) -> sa.Connection:
    """SQLAlchemy on a connection that says BEGIN and COMMIT itself."""
    return sa.create_engine(
        "sqlite://", creator=lambda: raw, poolclass=sa.StaticPool, isolation_level="AUTOCOMMIT"
    ).connect()


class SqliteStore:
    """`ports.Store` on one SQLite file. `start` before use, `stop` writes what waits and closes.

    `on_commit(topics)` is called on the event loop after a commit that is news: "journal" for followers of facts,
    "instructions" for whoever carries instructions to chargers.
    """

    def __init__(self, path: Path, on_commit: Callable[[set[str]], None]) -> None:
        self._path = path
        self._on_commit = on_commit
        self._queue: queue.SimpleQueue[Unit | _Work | None] = queue.SimpleQueue()
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._readers: list[_Reader] = []
        self._idle: asyncio.LifoQueue[_Reader] = asyncio.LifoQueue()  # the one used last has the warmest cache
        self._raw: sqlite3.Connection | None = None
        self._connection: sa.Connection | None = None
        self.commits = 0
        self.committed_items = 0
        self.failures = 0
        self.failing: str | None = None  # what the last commit said, if it failed

    async def start(self) -> None:
        """Open the file (it must be migrated already) and start the writer."""
        self._loop = asyncio.get_running_loop()
        opened: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="store-writer", daemon=True)
        self._thread.start()
        if (error := await asyncio.to_thread(opened.get)) is not None:
            raise error
        for _ in range(_READERS):
            self._readers.append(reader := _Reader(self._path))
            await reader
            self._idle.put_nowait(reader)

    async def stop(self) -> None:
        """Commit what waits, then close every connection."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        readers, self._readers = self._readers, []
        for reader in readers:
            await reader.close()  # its thread is no daemon: an open one would hang the exit

    # -- ports.Store

    def submit(self, unit: Unit) -> None:
        """Hand a unit to the writer."""
        self._waiting += 1
        self._queue.put(unit)

    async def transact(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in one transaction on the writer."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting += 1
        self._queue.put(_Work(work, future))
        # A caller that is cancelled must not take the transaction with it: it is committed or not, as a whole.
        return await asyncio.shield(future)

    async def read(self, query: Callable[[ReadTx], T]) -> T:
        """Run `query` on a snapshot of everything committed so far."""
        if not self._readers:
            raise StoreDown("the store is closed")
        reader = await self._idle.get()
        try:
            return await reader.run(query)
        except ValueError as error:
            raise (error if reader in self._readers else StoreDown("the store was closed meanwhile")) from None
        finally:
            self._idle.put_nowait(reader)

    def waiting(self) -> int:
        """Items handed in and not yet finished."""
        return self._waiting

    # -- the writer thread

    def _run(self, opened: queue.SimpleQueue[BaseException | None]) -> None:
        try:
            self._open()
        except BaseException as error:  # noqa: BLE001 - carried to the caller of start()
            opened.put(error)
            return
        opened.put(None)
        try:
            while self._commit_next():
                pass
        finally:
            assert self._raw is not None
            with contextlib.suppress(sqlite3.Error):
                self._raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if self._connection is not None:
                self._connection.close()
                self._connection.engine.dispose()
            self._raw.close()

    def _open(self) -> None:
        # Autocommit mode: this file says BEGIN and COMMIT itself, SQLAlchemy only builds statements.
        raw = sqlite3.connect(
            self._path, timeout=10, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS_KEPT
        )
        for pragma in _PRAGMAS:
            raw.execute(pragma)
        self._raw = raw
        self._connection = _core(raw)

    def _commit_next(self) -> bool:
        """Wait for work, commit all of it, tell everyone. False when it is time to go."""
        first = self._queue.get()
        batch: list[Unit | _Work] = []
        going_on = first is not None
        if first is not None:
            batch.append(first)
        while going_on and len(batch) < _MAX_BATCH:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:
                going_on = False
                break
            batch.append(item)
        if batch:
            outcomes = self._write(batch)
            assert self._loop is not None
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(self._finish, batch, outcomes)
        return going_on

    def _write(self, batch: list[Unit | _Work]) -> list[BaseException | None]:
        outcomes: list[BaseException | None] = [None] * len(batch)
        try:
            self._transaction(batch, outcomes, one_by_one=False)
        except Exception as error:  # noqa: BLE001 - a unit broke the grouped write: find out which
            first_error = error
        else:
            return outcomes
        outcomes = [None] * len(batch)
        try:
            self._transaction(batch, outcomes, one_by_one=True)
        except Exception as error:  # noqa: BLE001 - the commit itself: nobody's data is stored
            log.error("store.commit_failed", error=repr(error), first=repr(first_error), items=len(batch))
            self.failures += 1
            self.failing = str(error)
            return [StoreDown(str(error))] * len(batch)
        return outcomes

    def _transaction(
        self, batch: list[Unit | _Work], outcomes: list[BaseException | None], *, one_by_one: bool
    ) -> None:
        raw = self._raw
        assert raw is not None
        raw.execute("BEGIN IMMEDIATE")
        try:
            groups: dict[int, list[tuple[Any, ...]]] = {}
            for index, item in enumerate(batch):
                if isinstance(item, _Work):
                    self._flush(groups)
                    outcomes[index] = self._savepoint(item)
                elif one_by_one:
                    outcomes[index] = self._savepoint(item)
                else:
                    for what, row in item.rows:
                        rows = groups.get(what)
                        if rows is None:
                            groups[what] = [row]
                        else:
                            rows.append(row)
            self._flush(groups)
            raw.execute("COMMIT")
            self.failing = None
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                raw.execute("ROLLBACK")
            raise

    def _flush(self, groups: dict[int, list[tuple[Any, ...]]]) -> None:
        assert self._raw is not None
        for what in sorted(groups):
            rows = groups[what]
            if what == Put.SESSION_METER:
                # One row per session and statement: the last one says everything the earlier ones said.
                rows = list({row[METER_NO]: row for row in rows}.values())
            start = 0
            if (text := many(what, CHUNK)) is not None:
                for start in range(CHUNK, len(rows) + 1, CHUNK):
                    self._raw.execute(text, tuple(chain.from_iterable(rows[start - CHUNK : start])))
            rest = rows[start:]
            if len(rest) > 1 and (text := many(what, len(rest))) is not None:
                self._raw.execute(text, tuple(chain.from_iterable(rest)))
            elif rest:
                self._raw.executemany(STATEMENTS[what], rest)
        groups.clear()

    def _savepoint(self, item: Unit | _Work) -> BaseException | None:
        """Run one item by itself; its failure is its own and leaves the batch whole."""
        raw = self._raw
        assert raw is not None
        assert self._connection is not None
        raw.execute("SAVEPOINT item")
        try:
            if isinstance(item, _Work):
                tx = SqlTx(self._connection)
                item.result = item.work(tx)
                item.appended = tx.appended
            else:
                for what, row in sorted(item.rows, key=lambda entry: entry[0]):
                    raw.execute(STATEMENTS[what], row)
        except Exception as error:
            if not raw.in_transaction:  # the failure took the whole transaction with it (disk full, I/O error)
                raise
            raw.execute("ROLLBACK TO item")
            raw.execute("RELEASE item")
            return error
        raw.execute("RELEASE item")
        return None

    # -- back on the event loop

    def _finish(self, batch: list[Unit | _Work], outcomes: list[BaseException | None]) -> None:
        self._waiting -= len(batch)
        self.commits += 1
        self.committed_items += len(batch)
        news: set[str] = set()
        for item, outcome in zip(batch, outcomes, strict=True):
            if isinstance(item, _Work):
                if outcome is None and item.appended > 0:
                    news.add("journal")
                if item.future.cancelled():
                    continue
                if outcome is None:
                    item.future.set_result(item.result)
                else:
                    item.future.set_exception(outcome)
                continue
            for what, _ in item.rows:
                if what in _TOPICS:
                    news.add(_TOPICS[what])
            if item.done is not None:
                try:
                    item.done(outcome)
                except Exception:
                    log.exception("store.done_failed")
        if news:
            self._on_commit(news)
