"""Bring a database to this program's schema: forward only, with a backup of a SQLite file before it is touched.

A database that is newer than the program is refused: running old code on it would lose what it does not know.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

_MIGRATIONS = Path(__file__).parent / "migrations"


class DatabaseProblem(Exception):
    """A file cannot be used as our database; the text says why."""


class SchemaTooNew(DatabaseProblem):
    """The database was written by a newer program."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What `migrate` did. `before` is None for a new database; `backup` is set when one was made."""

    before: str | None
    after: str
    backup: Path | None

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return self.before != self.after


def alembic_config(url: str) -> Config:
    """Where the migrations are, for a database at `url`."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def current_revision(url: str) -> str | None:
    """The revision a database stands at; None for an empty one."""
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def migrate_sqlite(path: Path, *, stamp: str) -> Migrated:
    """Migrate the file at `path` (made when absent) to head. `stamp` goes into the backup's name.

    Raises SchemaTooNew when the file stands at a revision this program does not know, DatabaseProblem when it cannot
    be opened, read or written as a database.
    """
    try:
        return _migrate(path, stamp)
    except sa.exc.DBAPIError as error:
        raise DatabaseProblem(_unusable(path, error.orig or error)) from error


def _unusable(path: Path, error: BaseException) -> str:
    return f"{path} cannot be used as a database: {error}"


def _migrate(path: Path, stamp: str) -> Migrated:
    url = f"sqlite:///{path}"
    config = alembic_config(url)
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    assert head is not None
    existed = path.exists()
    before = current_revision(url) if existed else None
    if before == head:
        return Migrated(before, head, None)
    if before is not None:
        _known(path, before, scripts)
    backup = backup_sqlite(path, path.with_name(f"{path.name}.before-{head}-{stamp}")) if before else None
    command.upgrade(config, "head")
    return Migrated(before, head, backup)


def _known(path: Path, revision: str, scripts: ScriptDirectory) -> None:
    if revision not in {script.revision for script in scripts.walk_revisions()}:
        raise SchemaTooNew(
            f"{path} is at schema {revision}, which this version does not know; it was written by a newer one."
            " Install that version, or restore the backup made before it migrated."
        )


def backup_sqlite(source: Path, target: Path) -> Path:
    """An online, consistent copy of a SQLite file (readers and writers go on meanwhile), checked before it counts.

    Raises DatabaseProblem, and leaves no half a copy behind, when `source` is none or `target` cannot be written.
    """
    try:
        with closing(sqlite3.connect(source)) as original, closing(sqlite3.connect(target)) as copy:
            original.backup(copy)
            (verdict,) = copy.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.Error as error:
        target.unlink(missing_ok=True)
        raise DatabaseProblem(f"{source} cannot be copied to {target}: {error}") from error
    if verdict != "ok":
        target.unlink()
        raise DatabaseProblem(f"the backup of {source} does not pass its integrity check: {verdict}")
    target.chmod(0o600)
    return target


def fetch_backup(source: Path, target: Path) -> Path:
    """A checked copy of a backup that this program can go on from. Raises DatabaseProblem when `source` is none."""
    backup_sqlite(source, target)
    url = f"sqlite:///{target}"
    try:
        revision = current_revision(url)
        if revision is None:
            raise DatabaseProblem(f"{source} is no backup of ours: there is no schema in it")
        _known(source, revision, ScriptDirectory.from_config(alembic_config(url)))
    except DatabaseProblem:
        target.unlink(missing_ok=True)
        raise
    return target
