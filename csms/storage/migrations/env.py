"""Alembic's entry: one connection, batch mode for SQLite's sake."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from csms.storage.tables import metadata


def run() -> None:
    """Migrate through the URL in the configuration."""
    url = context.config.get_main_option("sqlalchemy.url")
    assert url is not None
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
            with context.begin_transaction():
                context.run_migrations()
    finally:
        engine.dispose()


run()
