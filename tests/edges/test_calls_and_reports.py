"""What chargers answered and reported reaches its readers once it is stored, by way of the journal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from csms.app.calls import CallAnswered, Calls, answered_fact
from csms.app.reports import Report, Reports, parts, stored_fact
from csms.ports import StoreDown, Table


def as_it_came(_: str, __: str, response: dict[str, Any]) -> dict[str, Any]:
    """The shape that every answer has already."""
    return response


class Shelf:
    """A store of given rows."""

    def __init__(self, **tables: list[dict[str, Any]]) -> None:
        self._tables = tables

    def one(self, table: Table, **where: Any) -> dict[str, Any] | None:
        return next(iter(self.many(table, **where)), None)

    def many(self, table: Table, order: str | None = None, **where: Any) -> list[dict[str, Any]]:
        rows = [row for row in self._tables.get(table.value, []) if all(row[k] == v for k, v in where.items())]
        return sorted(rows, key=lambda row: row[order]) if order else rows

    async def read(self, query: Any) -> Any:
        return query(self)


async def test_an_answer_reaches_the_readers_of_its_action() -> None:
    request, response = [2, "m", "ClearCache", {"a": 1}], [3, "m", {"status": "Accepted"}]
    row = {"seq": 7, "request": json.dumps(request), "response": json.dumps(response)}
    heard: list[CallAnswered] = []

    async def reader(call: CallAnswered) -> None:
        heard.append(call)

    calls = Calls(Shelf(frames=[row]), as_it_came)  # type: ignore[arg-type]
    calls.read("ClearCache", reader)
    gone = answered_fact("A", 5, "ClearCache", 8)
    other = answered_fact("A", 5, "Reset", 7)
    await calls.on_facts([answered_fact("A", 5, "ClearCache", 7), gone, other])
    assert heard == [CallAnswered("A", "ClearCache", {"a": 1}, {"status": "Accepted"}, 5, 7)]


async def test_a_report_reaches_its_readers_and_knows_its_parts() -> None:
    key = {"station": "A", "kind": "NotifyReport", "request_id": 3, "generated_at": "t", "received_ms": 9}
    rows = [
        {**key, "seq_no": 1, "body": '{"seqNo": 1}'},
        {**key, "seq_no": 0, "body": '{"seqNo": 0, "tbc": true}'},
        {**key, "request_id": 4, "seq_no": 0, "body": "{}"},
    ]
    shelf = Shelf(reports=rows)
    heard: list[Report] = []

    async def reader(report: Report) -> None:
        heard.append(report)

    reports = Reports(shelf)  # type: ignore[arg-type]
    reports.read("NotifyReport", reader)
    at = {"request_id": 3, "generated_at": "t"}
    await reports.on_facts(
        [
            stored_fact("A", 9, "NotifyReport", {**at, "seq_no": 0}),
            stored_fact("A", 9, "NotifyReport", {**at, "seq_no": 1}),
            stored_fact("A", 9, "NotifyEvent", {**at, "seq_no": 1}),
        ]
    )
    assert [(report.seq_no, report.is_last) for report in heard] == [(0, False), (1, True)]
    assert [report.seq_no for report in parts(shelf, "A", "NotifyReport", 3)] == [0, 1]  # type: ignore[arg-type]


async def test_what_one_charger_says_wrongly_keeps_nobody_else_from_being_read() -> None:
    row = {"request": '[2,"m","ClearCache",{}]', "response": '[3,"m",{}]'}
    heard: list[str] = []

    async def picky(call: CallAnswered) -> None:
        if call.station == "odd":
            _ = call.response["status"]

    async def easy(call: CallAnswered) -> None:
        heard.append(call.station)

    calls = Calls(Shelf(frames=[{"seq": 1, **row}, {"seq": 2, **row}]), as_it_came)  # type: ignore[arg-type]
    calls.read("ClearCache", picky)
    calls.read("ClearCache", easy)
    await calls.on_facts([answered_fact("odd", 5, "ClearCache", 1), answered_fact("B", 5, "ClearCache", 2)])
    assert heard == ["odd", "B"]


async def test_trouble_of_the_store_is_not_the_chargers_and_is_tried_again() -> None:
    async def down(call: CallAnswered) -> None:
        raise StoreDown("disk full")

    row = {"seq": 1, "request": '[2,"m","ClearCache",{}]', "response": '[3,"m",{}]'}
    calls = Calls(Shelf(frames=[row]), as_it_came)  # type: ignore[arg-type]
    calls.read("ClearCache", down)
    with pytest.raises(StoreDown):
        await calls.on_facts([answered_fact("A", 5, "ClearCache", 1)])
