"""`ports.Tx` over one SQLAlchemy Core connection: the few verbs that use cases need, on any database.

Statements are built once per shape (table, columns) and cached, because building costs more than running them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from csms.ports import Fact, Row, Table
from csms.storage import tables

TABLES: dict[Table, sa.Table] = {name: tables.metadata.tables[name.value] for name in Table}


def dumps(value: Any) -> str:
    """JSON as it is stored: compact, UTF-8, stable under reload."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@cache
def _primary_key(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in TABLES[table].primary_key.columns)


class SqlTx:
    """One transaction. `SELECT … FOR UPDATE` where the database has it; on SQLite the one writer is the lock."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._postgres = connection.dialect.name == "postgresql"
        self.appended = 0

    # -- reading

    def one(self, table: Table, **where: Any) -> Row | None:
        """The only row that matches, or None."""
        return self._first(self._select(table, where).limit(1))

    def take(self, table: Table, **where: Any) -> Row | None:
        """`one`, locked until the transaction ends."""
        return self._first(self._select(table, where).limit(1).with_for_update())

    def many(
        self,
        table: Table,
        *,
        order: str | None = None,
        limit: int | None = None,
        before: Any = None,
        after: Any = None,
        **where: Any,
    ) -> list[Row]:
        """Rows that match; see `ports.ReadTx.many`."""
        query = self._select(table, where)
        if order is not None:
            column = TABLES[table].c[order.lstrip("-")]
            if before is not None:
                query = query.where(column < before)
            if after is not None:
                query = query.where(column > after)
            query = query.order_by(column.desc() if order.startswith("-") else column)
        if limit is not None:
            query = query.limit(limit)
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def count(self, table: Table, **where: Any) -> int:
        """How many rows match."""
        query = sa.select(sa.func.count()).select_from(TABLES[table]).where(*self._conditions(table, where))
        return int(self._connection.execute(query).scalar_one())

    def total(self, table: Table, column: str, **where: Any) -> int:
        """The sum of an integer column."""
        what = sa.func.coalesce(sa.func.sum(TABLES[table].c[column]), 0)
        return int(self._connection.execute(sa.select(what).where(*self._conditions(table, where))).scalar_one())

    def facts(self, after_seq: int, limit: int) -> list[Fact]:
        """The journal after `after_seq`. SQLite has one writer, so the serial is also the commit order."""
        journal = tables.journal
        query = sa.select(journal).where(journal.c.seq > after_seq).order_by(journal.c.seq).limit(limit)
        return [
            Fact(
                kind=row.kind,
                at_ms=row.at_ms,
                body=json.loads(row.body),
                station=row.station,
                session_no=row.session_no,
                order_id=row.order_id,
                seq=row.seq,
            )
            for row in self._connection.execute(query)
        ]

    # -- writing

    def add(self, table: Table, row: Mapping[str, Any]) -> bool:
        """Insert or do nothing; whether it was inserted."""
        statement = self._insert(table).on_conflict_do_nothing()
        return self._connection.execute(statement, [dict(row)]).rowcount > 0

    def save(self, table: Table, row: Mapping[str, Any]) -> None:
        """Insert or overwrite by primary key."""
        keys = _primary_key(table)
        statement = self._insert(table)
        changes = {name: statement.excluded[name] for name in row if name not in keys}
        if changes:
            statement = statement.on_conflict_do_update(index_elements=list(keys), set_=changes)
        else:
            statement = statement.on_conflict_do_nothing()
        self._connection.execute(statement, [dict(row)])

    def change(self, table: Table, values: Mapping[str, Any], **where: Any) -> int:
        """Update; how many rows."""
        statement = sa.update(TABLES[table]).where(*self._conditions(table, where)).values(**values)
        return self._connection.execute(statement).rowcount

    def drop(self, table: Table, **where: Any) -> int:
        """Delete; how many rows."""
        return self._connection.execute(sa.delete(TABLES[table]).where(*self._conditions(table, where))).rowcount

    def append(self, facts: Iterable[Fact]) -> None:
        """Journal facts."""
        rows = [
            {
                "at_ms": fact.at_ms,
                "kind": fact.kind,
                "station": fact.station,
                "session_no": fact.session_no,
                "order_id": fact.order_id,
                "body": dumps(fact.body),
            }
            for fact in facts
        ]
        if rows:
            self._connection.execute(sa.insert(tables.journal), rows)
            self.appended += len(rows)

    def next_no(self, name: str) -> int:
        """The next number of a named sequence; a rolled-back transaction gives its numbers back."""
        key = f"next:{name}"
        row = self.take(Table.SETTINGS, name=key)
        number = int(row["value"]) if row else 1
        self.save(Table.SETTINGS, {"name": key, "value": str(number + 1)})
        return number

    # -- the pieces

    def _first(self, query: sa.Select[Any]) -> Row | None:
        row = self._connection.execute(query).mappings().first()
        return dict(row) if row is not None else None

    def _select(self, table: Table, where: Mapping[str, Any]) -> sa.Select[Any]:
        return sa.select(TABLES[table]).where(*self._conditions(table, where))

    def _conditions(self, table: Table, where: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
        columns: ReadOnlyColumnCollection[str, sa.Column[Any]] = TABLES[table].c
        conditions: list[sa.ColumnElement[bool]] = []
        for name, value in where.items():
            column = columns[name]
            if value is None:
                conditions.append(column.is_(None))
            elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
                conditions.append(column.in_(value))
            else:
                conditions.append(column == value)
        return conditions

    def _insert(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        make = postgresql.insert if self._postgres else sqlite.insert
        return make(TABLES[table])
