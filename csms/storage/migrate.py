"""Bring a database to this program's schema: forward only, with a backup of a SQLite file before it is touched.

A database that is newer than the program is refused: running old code on it would lose what it does not know.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

_MIGRATIONS = Path(__file__).parent / "migrations"


class SchemaTooNew(Exception):
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

    Raises SchemaTooNew when the file stands at a revision this program does not know.
    """
    url = f"sqlite:///{path}"
    config = alembic_config(url)
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    assert head is not None
    existed = path.exists()
    before = current_revision(url) if existed else None
    if before == head:
        return Migrated(before, head, None)
    if before is not None and before not in {script.revision for script in scripts.walk_revisions()}:
        raise SchemaTooNew(
            f"{path} is at schema {before}, which this version does not know; it was written by a newer one."
            " Install that version, or restore the backup made before it migrated."
        )
    backup = backup_sqlite(path, path.with_name(f"{path.name}.before-{head}-{stamp}")) if before else None
    command.upgrade(config, "head")
    return Migrated(before, head, backup)


def backup_sqlite(source: Path, target: Path) -> Path:
    """An online, consistent copy of a SQLite file (readers and writers go on meanwhile), checked before it counts."""
    with sqlite3.connect(source) as original, sqlite3.connect(target) as copy:
        original.backup(copy)
        (verdict,) = copy.execute("PRAGMA integrity_check").fetchone()
    original.close()
    copy.close()
    if verdict != "ok":
        target.unlink()
        raise OSError(f"the backup of {source} does not pass its integrity check: {verdict}")
    target.chmod(0o600)
    return target
