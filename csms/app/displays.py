"""What displays of 2.0.1 stations show for us (O): the shadow follows the wire, whoever sent the call.

    SetDisplayMessage, ClearDisplayMessage ─▶ answer ─▶ row        GetDisplayMessages ─▶ parts ─▶ rows, as they stand

A message of a transaction goes with it; one with an end goes with that. Both are the station's work (O01, O02), so
the rows follow without asking.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from csms.app.calls import CallAnswered, Calls
from csms.app.instructions import COMMAND, question
from csms.app.reports import Report, Reports, parts
from csms.ports import Fact, ReadTx, Row, Store, Table, Tx

ASKED: Final = "asked"
SHOWN: Final = "shown"
REFUSED: Final = "refused"
CLEARED: Final = "cleared"

_SET: Final = "SetDisplayMessage"
_GET: Final = "GetDisplayMessages"
_FAILURES: Final = frozenset({"InstructionRefused", "InstructionExpired"})


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
        stations = sorted({fact.station for fact in facts if fact.kind not in _FAILURES and fact.station is not None})
        shown = await self._store.read(lambda tx: tx.many(Table.DISPLAY_MESSAGES, station=stations, state=SHOWN))
        showing = {row["station"] for row in shown}  # hardly ever any: most sessions end without a message
        concerned = [f for f in facts if (f.body["kind"] == "raw" if f.kind in _FAILURES else f.station in showing)]

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
            asked = _question(tx, report) if report.is_last else None
            if asked is not None:
                whole = parts(tx, station, report.kind, report.request_id)
                told = {message["id"] for part in whole for message in part.body.get("messageInfo") or ()}
                self._only(tx, station, asked, told, at_ms)

        await self._store.transact(work)

    @staticmethod
    def _only(tx: Tx, station: str, asked: Mapping[str, Any], told: set[int], at_ms: int) -> None:
        """Of the messages that the question fits, the station shows just those it told."""
        for row in tx.many(Table.DISPLAY_MESSAGES, station=station, state=SHOWN):
            if row["id"] not in told and row["updated_ms"] <= at_ms and _fits(json.loads(row["data"]), asked):
                _change(tx, row, at_ms, state=CLEARED, detail="the station does not show it any more")


def ask(tx: Tx, station: str, message: Mapping[str, Any], asked_ms: int) -> None:
    """An operator wants it shown. What the station shows under the number already stands until it has answered, and
    an answer that was quicker than this counts."""
    row = tx.take(Table.DISPLAY_MESSAGES, station=station, id=message["id"])
    if row is None or (row["state"] != SHOWN and row["updated_ms"] < asked_ms):
        _save(tx, station, message, ASKED, None, asked_ms)


def _question(tx: ReadTx, report: Report) -> Mapping[str, Any] | None:
    """The GetDisplayMessages that a report answers."""
    asked, is_command = question(tx, report.station, report.request_id, action=_GET, command=_GET)
    return ({**asked, "id": asked.get("numbers")} if is_command else asked) or None


def _fits(message: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    if asked.get("id") and message["id"] not in asked["id"]:
        return False
    return all(asked.get(name) in {None, message.get(name)} for name in ("priority", "state"))


def _save(tx: Tx, station: str, message: Mapping[str, Any], state: str, detail: str | None, at_ms: int) -> None:
    row = {"station": station, "id": message["id"], "state": state, "detail": detail, "updated_ms": at_ms}
    tx.save(Table.DISPLAY_MESSAGES, row | {"data": json.dumps(message, ensure_ascii=False)})


def _change(tx: Tx, row: Row, at_ms: int, **values: Any) -> None:
    tx.change(Table.DISPLAY_MESSAGES, {**values, "updated_ms": at_ms}, station=row["station"], id=row["id"])
