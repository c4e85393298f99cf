"""Was everything that was acknowledged really stored? Read from the SQLite file, not from the server's own words."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from . import BenchError

Acked = tuple[str, int, int, int]  # charger, first and last acknowledged register in Wh, how many

# The only knowledge of our tables in this suite: one row per meter message, with its register.
COUNT = """
    SELECT count(DISTINCT readings.register_wh) FROM sessions JOIN readings ON readings.subject = sessions.no
    WHERE sessions.station = ? AND readings.register_wh BETWEEN ? AND ?
"""


@dataclass(frozen=True, slots=True)
class Held:
    """How many meter messages were acknowledged, how many of these the file holds, and where one is missing."""

    acked: int
    stored: int
    first_loss: str | None = None

    @property
    def lost(self) -> int:
        return self.acked - self.stored


def compare(database: Path, acked: Iterable[Acked]) -> Held:
    """Look every acknowledged register up in a database that may be in use."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return _compare(connection, acked)


def compare_after_death(database: Path, acked: Iterable[Acked]) -> Held:
    """The same for the file of a killed server. SQLite replays the log on a copy; the original stays as it fell."""
    with tempfile.TemporaryDirectory(prefix="bench-autopsy-") as folder:
        for part in ("", "-wal"):
            source = database.with_name(database.name + part)
            if source.exists():
                shutil.copy(source, folder)
        with closing(sqlite3.connect(Path(folder) / database.name)) as connection:
            return _compare(connection, acked)


def _compare(connection: sqlite3.Connection, acked: Iterable[Acked]) -> Held:
    total = stored = 0
    first_loss = None
    try:
        for charger, first, last, count in acked:
            (found,) = connection.execute(COUNT, (charger, first, last)).fetchone()
            total += count
            stored += min(found, count)
            if found < count and first_loss is None:
                first_loss = f"{charger}: {found} of {count} registers between {first} and {last} Wh"
    except sqlite3.Error as error:
        raise BenchError(f"stored readings cannot be counted: {error}") from error
    return Held(total, stored, first_loss)
