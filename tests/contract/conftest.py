"""One body of tests for every backend: a second one adds a parameter and a way to open and to break it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from csms.storage.migrate import migrate_sqlite
from csms.storage.sqlite import SqliteStore

Opener = Callable[[], AbstractAsyncContextManager[SqliteStore]]


@pytest.fixture(params=["sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens the store as often as asked, always on the same data: closing and opening is a restart."""
    assert request.param == "sqlite"
    path = tmp_path / "store.db"
    migrate_sqlite(path, stamp="test")

    @asynccontextmanager
    async def opened() -> AsyncIterator[SqliteStore]:
        rings: list[set[str]] = []
        store = SqliteStore(path, rings.append)
        store.rings = rings  # type: ignore[attr-defined]  # the test looks at it
        await store.start()
        try:
            yield store
        finally:
            await store.stop()

    return opened
