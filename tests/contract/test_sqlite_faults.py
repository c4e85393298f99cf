"""What only a SQLite file can suffer: a full disk, a kill, a newer schema, a migration that needs a backup."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import textwrap
from pathlib import Path

import pytest

from csms.ports import Put, StoreDown, Table, Unit
from csms.storage.migrate import SchemaTooNew, backup_sqlite, current_revision, migrate_sqlite
from csms.storage.sqlite import SqliteStore


def frame(seq: int) -> tuple[object, ...]:
    return (seq, 7, seq, 0, "MeterValues", f"m{seq}", "x" * 2000, "{}", seq, None)


async def submit(store: SqliteStore, seq: int) -> BaseException | None:
    future: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    unit = Unit(future.set_result)
    unit.put(Put.FRAME, frame(seq))
    store.submit(unit)
    return await asyncio.wait_for(future, 10)


async def test_a_full_disk_is_told_as_store_down_and_the_store_goes_on_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    migrate_sqlite(path, stamp="t")
    store = SqliteStore(path, lambda topics: None)
    await store.start()
    try:
        assert await submit(store, 1) is None
        # SQLite's own limit behaves as a full disk does: SQLITE_FULL, and the transaction is rolled back.
        await store.transact(lambda tx: tx._connection.exec_driver_sql("PRAGMA max_page_count=1"))  # type: ignore[attr-defined]  # the test breaks the file
        outcomes = [await submit(store, n) for n in range(2, 40)]
        assert any(isinstance(outcome, StoreDown) for outcome in outcomes)
        assert store.failing is not None, "readyz has nothing to show"
        stored_before = await store.read(lambda tx: tx.count(Table.FRAMES))
        assert stored_before == 1 + sum(outcome is None for outcome in outcomes)
        await store.transact(lambda tx: tx._connection.exec_driver_sql("PRAGMA max_page_count=1073741823"))  # type: ignore[attr-defined]  # and mends it
        assert await submit(store, 100) is None
        assert store.failing is None
    finally:
        await store.stop()


@pytest.mark.parametrize("seed", range(3))
async def test_what_was_acknowledged_survives_kill_nine(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "store.db"
    migrate_sqlite(path, stamp="t")
    program = textwrap.dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from csms.ports import Put, Unit
        from csms.storage.sqlite import SqliteStore

        async def main():
            store = SqliteStore(Path(sys.argv[1]), lambda topics: None)
            await store.start()
            def put(n):
                unit = Unit(lambda error, n=n: (sys.stdout.write(f"{n}\\n"), sys.stdout.flush()))
                unit.put(Put.FRAME, (n, 7, n, 0, "MeterValues", f"m{n}", "x" * 800, "{}", n, None))
                store.submit(unit)
            n = 0
            while True:
                for _ in range(20):
                    n += 1
                    put(n)
                await asyncio.sleep(0.001)

        asyncio.run(main())
        """
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    acknowledged = []
    for _ in range(150 + 97 * seed):
        acknowledged.append(int(await asyncio.wait_for(process.stdout.readline(), 20)))
    os.kill(process.pid, signal.SIGKILL)
    rest = await process.stdout.read()
    await process.wait()
    acknowledged += [int(line) for line in rest.splitlines() if line.isdigit()]
    with sqlite3.connect(path) as connection:
        stored = {row[0] for row in connection.execute("SELECT seq FROM frames")}
    connection.close()
    assert set(acknowledged[:-1]) <= stored  # the last line may be cut in the middle


def test_a_new_file_is_migrated_without_a_backup_and_again_without_a_change(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    done = migrate_sqlite(path, stamp="t")
    assert (done.before, done.backup, done.changed) == (None, None, True)
    again = migrate_sqlite(path, stamp="t")
    assert (again.changed, again.backup) == (False, None)


def test_a_newer_schema_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    migrate_sqlite(path, stamp="t")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num='9999'")
    connection.close()
    with pytest.raises(SchemaTooNew, match="newer"):
        migrate_sqlite(path, stamp="t")


def test_an_older_schema_is_backed_up_before_it_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.db"
    migrate_sqlite(path, stamp="t")
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO settings (name, value) VALUES ('k', 'v')")
    connection.close()
    from alembic import command
    from alembic.script import ScriptDirectory

    # A release later: head has moved on. Only the head is pretended; backup and refusal rules are the real ones.
    monkeypatch.setattr(ScriptDirectory, "get_current_head", lambda self: "later")
    monkeypatch.setattr(command, "upgrade", lambda config, revision: None)
    done = migrate_sqlite(path, stamp="20260102T030405Z")
    assert done.backup is not None
    assert current_revision(f"sqlite:///{done.backup}") == done.before
    with sqlite3.connect(done.backup) as connection:
        assert connection.execute("SELECT value FROM settings").fetchone() == ("v",)
    connection.close()
    assert done.backup.stat().st_mode & 0o777 == 0o600


def test_the_migrations_make_exactly_the_tables_the_code_knows(tmp_path: Path) -> None:
    import sqlalchemy as sa
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    from csms.storage.tables import metadata

    path = tmp_path / "a.db"
    migrate_sqlite(path, stamp="t")
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        hidden = connection.exec_driver_sql(
            "SELECT name FROM sqlite_master WHERE sql LIKE '%WITHOUT ROWID%'"
        ).fetchall()
    engine.dispose()
    assert {name for (name,) in hidden} == {"answers", "configuration"}


def test_a_backup_is_complete_while_somebody_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    migrate_sqlite(path, stamp="t")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("INSERT INTO settings (name, value) VALUES ('k', 'v')")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO settings (name, value) VALUES ('half', 'v')")
    copy = backup_sqlite(path, tmp_path / "copy.db")
    writer.execute("ROLLBACK")
    writer.close()
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT name FROM settings").fetchall() == [("k",)]
    connection.close()
