"""Reading a quarantined frame again: with the rules of today, or as a person has put it right (SESSIONS 5.5).

The frame counts as received when it came, so the charger's clock is judged by that time. It goes the same way as any
other money frame and is as idempotent: read twice it changes nothing. Nobody waits for its answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from csms.app.cases import close_case
from csms.app.stations import Station
from csms.domain.refusal import Refusal, Why
from csms.edges.exchange import Desk
from csms.edges.inbound import Inbound
from csms.edges.ocpp16.inbound import Dialect16
from csms.edges.ocpp201.inbound import Dialect201
from csms.edges.ocppj.codes import Fault, Version
from csms.edges.ocppj.frames import Call, parse
from csms.edges.ocppj.link import Link
from csms.ports import Fact, Row, Table, Tx

_VERSIONS: Final[Mapping[str, type[Inbound]]] = {"ocpp1.6": Dialect16, "ocpp2.0.1": Dialect201}
_START: Final = "StartTransaction"


@dataclass(frozen=True, slots=True)
class _Then:
    """A clock that stands at the time of receipt."""

    at_ms: int

    def now_ms(self) -> int:
        return self.at_ms


@dataclass(slots=True)
class _NoLink:
    """Where a charger would hear the answer: as much of `Link` as an exchange touches."""

    context: Station
    version: Version
    said: asyncio.Future[str | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    peer_name: str | None = None

    def answer(self, _message_id: str, _answer: bytes) -> None:
        self._end(None)

    def refuse(self, _message_id: str, _fault: Fault, sentence: str) -> None:
        self._end(sentence)

    def close(self, _code: int, reason: str) -> None:
        self._end(reason)

    def hold(self) -> None:
        """Nothing comes after it."""

    def release(self) -> None:
        """As above."""

    def _end(self, refused: str | None) -> None:
        if not self.said.done():
            self.said.set_result(refused)


class Again:
    """The quarantine's way back."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def read(self, quarantine_id: str, payload: Mapping[str, Any] | None, who: str) -> None:
        """Work on a quarantined frame; `payload` replaces what it said. Refusal when it still cannot be understood."""
        row = await self._desk.store.read(lambda tx: tx.one(Table.QUARANTINE, id=quarantine_id))
        if row is None:
            raise Refusal(Why.UNKNOWN_TARGET, f"There is no quarantined frame {quarantine_id!r}.")
        if row["state"] != "waiting":
            raise Refusal(Why.WRONG_STATE, f"The frame is {row['state']}; there is nothing left to do with it.")
        station = self._desk.stations.get(row["station"])
        if station is None:
            raise Refusal(Why.UNKNOWN_STATION, f"There is no charger {row['station']!r} any more.")
        if row["action"] == _START:
            raise Refusal(
                Why.WRONG_STATE,
                "The charger has its transaction number already: what it charged is kept in a session of its own, "
                "which is billed when you close it (POST /api/v1/sessions/{id}/close).",
            )
        dialect_type = _VERSIONS.get(station.transport or "")
        if dialect_type is None:
            raise Refusal(Why.WRONG_STATE, "It is not known which version of OCPP the charger speaks.")
        await self._work(row, station, dialect_type, payload)
        await self._desk.store.transact(lambda tx: self._done(tx, row, who))

    async def _work(
        self, row: Row, station: Station, dialect_type: type[Inbound], payload: Mapping[str, Any] | None
    ) -> None:
        raw = row["raw"].encode()
        if payload is not None:
            raw = json.dumps([2, row["message_id"], row["action"], payload], ensure_ascii=False).encode()
        dialect = dialect_type(replace(self._desk, clock=_Then(row["at_ms"])))
        version = Version.V16 if dialect_type is Dialect16 else Version.V201
        call = parse(raw)
        request, rules = dialect.read_again(row["action"], call.payload if isinstance(call, Call) else None)
        link = _NoLink(station, version)
        seen_ms = station.last_seen_ms
        note = f"read again{': ' if rules else ''}{', '.join(rules)}"
        dialect.take_again(cast(Link, link), row["message_id"], row["action"], request, raw, note)
        refused = await link.said
        station.last_seen_ms = max(filter(None, (seen_ms, station.last_seen_ms)), default=None)
        if refused is not None:
            raise Refusal(Why.WRONG_STATE, f"It was read but not taken: {refused}")

    def _done(self, tx: Tx, row: Row, who: str) -> None:
        now_ms = self._desk.clock.now_ms()
        tx.change(Table.QUARANTINE, {"state": "done"}, id=row["id"])
        body = {"quarantine_id": row["id"], "action": row["action"], "who": who}
        tx.append([Fact("FrameReadAgain", now_ms, body, station=row["station"])])
        for case in tx.many(Table.CASES, station=row["station"], type="QUARANTINE", state="open"):
            if json.loads(case["data"]).get("quarantine_id") == row["id"]:
                close_case(tx, case, resolution=f"read again by {who}", who=who, now_ms=now_ms)
