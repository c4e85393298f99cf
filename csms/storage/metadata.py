"""What all tables stand in."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, MetaData

metadata = MetaData()

# SQLite gives auto-increment only to the exact type INTEGER; PostgreSQL wants 64 bits.
Serial = BigInteger().with_variant(Integer, "sqlite")
