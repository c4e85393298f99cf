"""`ports.Tx` over one SQLAlchemy connection: the few verbs that use cases need, on any database.

The SQL text of each shape (verb, table, columns) is made once from the tables and handed to the driver as it is:
building and caching expression objects per call cost more than running the statement (profile in ADR 0013).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

from csms.ports import Fact, Row, Table
from csms.storage import tables

TABLES: dict[Table, sa.Table] = {name: tables.metadata.tables[name.value] for name in Table}
_COLUMNS: dict[Table, tuple[str, ...]] = {name: tuple(c.name for c in table.columns) for name, table in TABLES.items()}
_KEYS: dict[Table, tuple[str, ...]] = {
    name: tuple(c.name for c in table.primary_key.columns) for name, table in TABLES.items()
}
_DEFAULTS: dict[Table, dict[str, Any]] = {
    name: {c.name: c.default.arg for c in table.columns if isinstance(c.default, sa.ColumnDefault)}
    for name, table in TABLES.items()
}
_FACT = ("at_ms", "kind", "station", "session_no", "order_id", "body")


def dumps(value: Any) -> str:
    """JSON as it is stored: compact, UTF-8, stable under reload."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class _Params:
    """Values and their marks: `?` for SQLite, `$1` and up for PostgreSQL's driver."""

    __slots__ = ("_numbered", "values")

    def __init__(self, numbered: bool) -> None:
        self._numbered = numbered
        self.values: list[Any] = []

    def mark(self, value: Any) -> str:
        """Take a value; its mark."""
        self.values.append(value)
        return f"${len(self.values)}" if self._numbered else "?"


class SqlTx:
    """One transaction. `SELECT … FOR UPDATE` where the database has it; on SQLite the one writer is the lock."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._postgres = connection.dialect.name == "postgresql"
        self.appended = 0

    # -- reading

    def one(self, table: Table, **where: Any) -> Row | None:
        """The only row that matches, or None."""
        found = self._rows(table, where, " LIMIT 1")
        return found[0] if found else None

    def take(self, table: Table, **where: Any) -> Row | None:
        """`one`, locked until the transaction ends."""
        found = self._rows(table, where, " LIMIT 1 FOR UPDATE" if self._postgres else " LIMIT 1")
        return found[0] if found else None

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
        params = _Params(self._postgres)
        conditions = self._conditions(table, where, params)
        tail = ""
        if order is not None:
            column = self._column(table, order.lstrip("-"))
            if before is not None:
                conditions.append(f"{column} < {params.mark(before)}")
            if after is not None:
                conditions.append(f"{column} > {params.mark(after)}")
            tail = f" ORDER BY {column}{' DESC' if order.startswith('-') else ''}"
        if limit is not None:
            tail += f" LIMIT {params.mark(limit)}"
        return self._fetch(table, conditions, tail, params)

    def count(self, table: Table, **where: Any) -> int:
        """How many rows match."""
        return int(self._scalar("count(*)", table, where))

    def total(self, table: Table, column: str, **where: Any) -> int:
        """The sum of an integer column."""
        return int(self._scalar(f"coalesce(sum({self._column(table, column)}), 0)", table, where))

    def facts(self, after_seq: int, limit: int) -> list[Fact]:
        """The journal after `after_seq`. SQLite has one writer, so the serial is also the commit order."""
        rows = self.many(Table.JOURNAL, order="seq", after=after_seq, limit=limit)
        return [
            Fact(
                kind=row["kind"],
                at_ms=row["at_ms"],
                body=json.loads(row["body"]),
                station=row["station"],
                session_no=row["session_no"],
                order_id=row["order_id"],
                seq=row["seq"],
            )
            for row in rows
        ]

    # -- writing

    def add(self, table: Table, row: Mapping[str, Any]) -> bool:
        """Insert or do nothing; whether it was inserted."""
        return self._insert(table, row, " ON CONFLICT DO NOTHING") > 0

    def save(self, table: Table, row: Mapping[str, Any]) -> None:
        """Insert or overwrite by primary key; what the row does not name keeps its value."""
        keys = _KEYS[table]
        changes = ",".join(f"{self._column(table, n)}=excluded.{n}" for n in row if n not in keys)
        action = f"UPDATE SET {changes}" if changes else "NOTHING"
        self._insert(table, row, f" ON CONFLICT ({','.join(keys)}) DO {action}")

    def change(self, table: Table, values: Mapping[str, Any], **where: Any) -> int:
        """Update; how many rows."""
        params = _Params(self._postgres)
        changes = ",".join(f"{self._column(table, name)}={params.mark(value)}" for name, value in values.items())
        conditions = self._conditions(table, where, params)
        return self._run(f"UPDATE {table.value} SET {changes}{_where(conditions)}", params).rowcount  # noqa: S608 - names come from the tables

    def drop(self, table: Table, **where: Any) -> int:
        """Delete; how many rows."""
        params = _Params(self._postgres)
        conditions = self._conditions(table, where, params)
        return self._run(f"DELETE FROM {table.value}{_where(conditions)}", params).rowcount  # noqa: S608 - as above

    def append(self, facts: Iterable[Fact]) -> None:
        """Journal facts."""
        for fact in facts:
            values = (fact.at_ms, fact.kind, fact.station, fact.session_no, fact.order_id, dumps(dict(fact.body)))
            self._insert(Table.JOURNAL, dict(zip(_FACT, values, strict=True)), "")
            self.appended += 1

    def next_no(self, name: str) -> int:
        """The next number of a named sequence; a rolled-back transaction gives its numbers back."""
        key = f"next:{name}"
        row = self.take(Table.SETTINGS, name=key)
        number = int(row["value"]) if row else 1
        self.save(Table.SETTINGS, {"name": key, "value": str(number + 1)})
        return number

    # -- the pieces

    def _rows(self, table: Table, where: Mapping[str, Any], tail: str) -> list[Row]:
        params = _Params(self._postgres)
        return self._fetch(table, self._conditions(table, where, params), tail, params)

    def _fetch(self, table: Table, conditions: list[str], tail: str, params: _Params) -> list[Row]:
        columns = _COLUMNS[table]
        found = self._run(f"{_select(table)}{_where(conditions)}{tail}", params)
        return [dict(zip(columns, row, strict=True)) for row in found]

    def _scalar(self, what: str, table: Table, where: Mapping[str, Any]) -> Any:
        params = _Params(self._postgres)
        conditions = self._conditions(table, where, params)
        return self._run(f"SELECT {what} FROM {table.value}{_where(conditions)}", params).scalar_one()  # noqa: S608 - as above

    def _insert(self, table: Table, row: Mapping[str, Any], tail: str) -> int:
        values = {**_DEFAULTS[table], **row}
        params = _Params(self._postgres)
        names = ",".join(self._column(table, name) for name in values)
        marks = ",".join(params.mark(value) for value in values.values())
        return self._run(f"INSERT INTO {table.value} ({names}) VALUES ({marks}){tail}", params).rowcount  # noqa: S608 - as above

    def _conditions(self, table: Table, where: Mapping[str, Any], params: _Params) -> list[str]:
        conditions = []
        for name, value in where.items():
            column = self._column(table, name)
            if value is None:
                conditions.append(f"{column} IS NULL")
            elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
                marks = ",".join(params.mark(item) for item in value)
                conditions.append(f"{column} IN ({marks})" if marks else "1=0")
            else:
                conditions.append(f"{column} = {params.mark(value)}")
        return conditions

    @staticmethod
    def _column(table: Table, name: str) -> str:
        """The name, if the table has it: names go into the text, so nothing else may."""
        if name not in _COLUMNS[table]:
            raise KeyError(f"{table.value} has no column {name}")
        return f'"{name}"'

    def _run(self, text: str, params: _Params) -> sa.CursorResult[Any]:
        return self._connection.exec_driver_sql(text, tuple(params.values))


@cache
def _select(table: Table) -> str:
    names = ",".join(f'"{name}"' for name in _COLUMNS[table])
    return f"SELECT {names} FROM {table.value}"  # noqa: S608 - as above


def _where(conditions: list[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""
