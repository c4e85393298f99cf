"""What displays of 2.0.1 stations show for us (O): the shadow follows the wire, whoever sent the call.

    SetDisplayMessage, ClearDisplayMessage ─▶ answer ─▶ row        GetDisplayMessages ─▶ parts ─▶ rows, as they stand

A message of a transaction goes with it; one with an end goes with that. Both are the station's work (O01, O02), so
the rows follow without asking.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from csms.app.calls import CallAnswered, Calls
from csms.app.instructions import COMMAND
from csms.app.reports import Report, Reports, parts
from csms.domain.units import to_ms
from csms.ports import Fact, ReadTx, Row, Store, Table, Tx

ASKED: Final = "asked"
SHOWN: Final = "shown"
REFUSED: Final = "refused"
CLEARED: Final = "cleared"

_SET: Final = "SetDisplayMessage"
_GET: Final = "GetDisplayMessages"
_FAILURES: Final = frozenset({"InstructionRefused", "InstructionExpired"})
_LOOK_BACK: Final = 50  # instructions searched for the question that a report answers


class Displays:
    """The shadow of display messages."""

    FOLLOWED: Final = _FAILURES | {"SessionEnded", "SessionAbandoned", "SessionVoided"}

    def __init__(self, store: Store) -> None:
        self._store = store

    def listen(self, calls: Calls, reports: Reports) -> None:
        """Follow the wire."""
        calls.read(_SET, self._set)
        calls.read("ClearDisplayMessage", self._cleared)
        calls.read(_GET, self._asked)
        reports.read("NotifyDisplayMessages", self._told)

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """Transactions have ended, and with them the messages that belonged to them (O02); or a message did not even
        reach the station."""
        concerned = [fact for fact in facts if fact.kind not in _FAILURES or fact.body["kind"] == "raw"]

        def work(tx: Tx) -> None:
            for fact in concerned:
                if fact.kind in _FAILURES:
                    self._failed(tx, fact)
                else:
                    self._ended(tx, fact)

        if concerned:
            await self._store.transact(work)

    @staticmethod
    def _failed(tx: Tx, fact: Fact) -> None:
        asked = tx.one(Table.INSTRUCTIONS, id=fact.body["instruction_id"])
        payload = json.loads(asked["payload"]) if asked is not None else {}
        if payload.get(COMMAND) != _SET:
            return
        row = tx.take(Table.DISPLAY_MESSAGES, station=fact.station, id=payload["message"]["id"])
        if row is not None and row["state"] == ASKED and json.loads(row["data"]) == payload["message"]:
            _change(tx, row, fact.at_ms, state=REFUSED, detail=fact.body["reason"])

    @staticmethod
    def _ended(tx: Tx, fact: Fact) -> None:
        rows = tx.many(Table.DISPLAY_MESSAGES, station=fact.station, state=SHOWN)
        bound = {row["id"]: tx_id for row in rows if (tx_id := json.loads(row["data"]).get("transactionId"))}
        session = tx.one(Table.SESSIONS, no=fact.session_no) if bound else None
        ended = json.loads(session["tx_ids"]) if session is not None else []
        for row in rows:
            if bound.get(row["id"]) in ended:
                _change(tx, row, fact.at_ms, state=CLEARED, detail="its transaction has ended")

    async def _set(self, call: CallAnswered) -> None:
        message, status = call.request["message"], call.response.get("status")
        if isinstance(status, str):
            await self._store.transact(lambda tx: self._keep_answer(tx, call, message, status))

    @staticmethod
    def _keep_answer(tx: Tx, call: CallAnswered, message: Mapping[str, Any], status: str) -> None:
        standing = tx.take(Table.DISPLAY_MESSAGES, station=call.station, id=message["id"])
        if status == "Accepted":
            _save(tx, call.station, message, SHOWN, None, call.at_ms)
        elif standing is not None and standing["state"] == SHOWN:
            # The station goes on showing what it had under this number.
            _change(tx, standing, call.at_ms, detail=f"a change was refused: {status}")
        else:
            _save(tx, call.station, message, REFUSED, status, call.at_ms)

    async def _cleared(self, call: CallAnswered) -> None:
        """Unknown: the station does not have it, which is what was wanted."""
        status = call.response.get("status")
        if status not in {"Accepted", "Unknown"}:
            return

        def work(tx: Tx) -> None:
            row = tx.take(Table.DISPLAY_MESSAGES, station=call.station, id=call.request["id"])
            if row is not None:
                detail = None if status == "Accepted" else "the station did not have it"
                _change(tx, row, call.at_ms, state=CLEARED, detail=detail)

        await self._store.transact(work)

    async def _asked(self, call: CallAnswered) -> None:
        """Unknown: it shows nothing that the question fits."""
        if call.response.get("status") == "Unknown":
            await self._store.transact(lambda tx: self._only(tx, call.station, call.request, set(), call.at_ms))

    async def _told(self, report: Report) -> None:
        """One part of what it shows; with the last part, what stood in none of them is gone."""

        station, at_ms = report.station, report.received_ms

        def work(tx: Tx) -> None:
            for message in report.body.get("messageInfo") or ():
                row = tx.take(Table.DISPLAY_MESSAGES, station=station, id=message["id"])
                if row is None or row["updated_ms"] <= at_ms:
                    _save(tx, station, message, SHOWN, None, at_ms)
            question = _question(tx, report) if report.is_last else None
            if question is not None:
                whole = parts(tx, station, report.kind, report.request_id)
                told = {message["id"] for part in whole for message in part.body.get("messageInfo") or ()}
                self._only(tx, station, question, told, at_ms)

        await self._store.transact(work)

    @staticmethod
    def _only(tx: Tx, station: str, question: Mapping[str, Any], told: set[int], at_ms: int) -> None:
        """Of the messages that the question fits, the station shows just those it told."""
        for row in tx.many(Table.DISPLAY_MESSAGES, station=station, state=SHOWN):
            if row["id"] not in told and row["updated_ms"] <= at_ms and _fits(json.loads(row["data"]), question):
                _change(tx, row, at_ms, state=CLEARED, detail="the station does not show it any more")


def ask(tx: Tx, station: str, message: Mapping[str, Any], asked_ms: int) -> None:
    """An operator wants it shown. What the station shows under the number already stands until it has answered, and
    an answer that was quicker than this counts."""
    row = tx.take(Table.DISPLAY_MESSAGES, station=station, id=message["id"])
    if row is None or (row["state"] != SHOWN and row["updated_ms"] < asked_ms):
        _save(tx, station, message, ASKED, None, asked_ms)


def instant(text: str | None) -> int | None:
    """A time as it stands on the wire; None for one that cannot be read."""
    try:
        at = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return to_ms(at if at.tzinfo is not None else at.replace(tzinfo=UTC)) if at is not None else None


def _question(tx: ReadTx, report: Report) -> Mapping[str, Any] | None:
    """The GetDisplayMessages that a report answers."""
    asked = tx.many(Table.INSTRUCTIONS, order="-issued_ms", limit=_LOOK_BACK, station=report.station, kind="raw")
    for row in asked:
        payload = json.loads(row["payload"])
        if payload.get(COMMAND) == _GET and payload.get("request_id") == report.request_id:
            return {**payload, "id": payload.get("numbers")}
        question = payload.get("payload") if payload.get("action") == _GET else None
        if isinstance(question, dict) and question.get("requestId") == report.request_id:
            return question
    return None


def _fits(message: Mapping[str, Any], question: Mapping[str, Any]) -> bool:
    if question.get("id") and message["id"] not in question["id"]:
        return False
    return all(question.get(name) in {None, message.get(name)} for name in ("priority", "state"))


def _save(tx: Tx, station: str, message: Mapping[str, Any], state: str, detail: str | None, at_ms: int) -> None:
    row = {"station": station, "id": message["id"], "state": state, "detail": detail, "updated_ms": at_ms}
    tx.save(Table.DISPLAY_MESSAGES, row | {"data": json.dumps(message, ensure_ascii=False)})


def _change(tx: Tx, row: Row, at_ms: int, **values: Any) -> None:
    tx.change(Table.DISPLAY_MESSAGES, {**values, "updated_ms": at_ms}, station=row["station"], id=row["id"])
