"""Durable memory behind `ports.Store`: SQLAlchemy Core tables, one group-committing writer, alembic migrations."""
