"""A store with the present tables, the world around the API, and a client."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from apiworld import Client, World, served

from csms.bus.inprocess import InProcessBell
from csms.storage import tables
from csms.storage.sqlite import SqliteStore


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("api") / "empty.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    tables.metadata.create_all(engine)  # migrations are tested where they are written
    engine.dispose()
    return path


@pytest.fixture
async def world(tmp_path: Path, empty_database: Path) -> AsyncIterator[World]:
    path = tmp_path / "csms.db"
    shutil.copy(empty_database, path)
    bell = InProcessBell()
    store = SqliteStore(path, lambda topics: [bell.ring(topic) for topic in topics] and None)
    await store.start()
    yield World(store, bell)
    await store.stop()


@pytest.fixture
async def api(world: World) -> AsyncIterator[Client]:
    async with served(world) as client:
        yield client
