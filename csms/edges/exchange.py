"""One question of a charger on its way to the disk, and its answer on the way back. Shared by both OCPP versions.

    handler -> Exchange(unit) -> use case fills the unit -> answer set -> submit -> commit -> the answer leaves

The answer leaves only after the commit (ADR 0004). If the commit fails the charger hears nothing that it could count
as an attempt: the link goes, the memory is read again, the charger repeats.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from csms.app.carneeds import CarNeeds
from csms.app.charging import Charging, NotInMemory
from csms.app.costs import Costs
from csms.app.facts import put_fact
from csms.app.reports import stored_fact
from csms.app.stations import Station, Stations
from csms.edges.contracts import Contracts
from csms.edges.ocppj.codes import Fault, error_code
from csms.edges.ocppj.link import Link
from csms.edges.ocppj.schemas import Problem
from csms.edges.oddities import Oddities
from csms.edges.signing import Signing
from csms.ports import Bell, Clock, Ids, Put, Store, StoreDown, Unit

log = structlog.get_logger()

Payload = dict[str, Any]
Work = Callable[["Exchange", bool], Payload]  # (exchange, recalled) -> the answer; fills exchange.unit

_FAILED_CLOSE = 1011


@dataclass(slots=True)
class Desk:
    """What the inbound halves of both versions work with."""

    charging: Charging
    stations: Stations
    store: Store
    clock: Clock
    ids: Ids
    bell: Bell
    heartbeat_interval_s: int
    heartbeat_of: Callable[[Station], int | None]  # where a template wants another interval of a charger
    pending_interval_s: int
    log_heartbeats: bool
    writer_queue: int
    costs: Costs
    car_needs: CarNeeds
    signing: Signing
    contracts: Contracts
    strict: bool  # mend nothing that a word of the charger does not announce: for tests of chargers
    on_boot: Callable[[Link], None]  # it has said what it is
    on_lost: Callable[[Station], None]
    spawn: Callable[[Any], Any]  # start a coroutine in the task group of the listener
    counts: dict[str, int] = field(default_factory=dict)  # calls by action, read by the metrics
    quarantined: dict[str, int] = field(default_factory=dict)
    oddities: Oddities = field(default_factory=Oddities)

    def count(self, action: str) -> None:
        """One more call of this action."""
        self.counts[action] = self.counts.get(action, 0) + 1


class Exchange:
    """A call, its unit of work and its answer."""

    __slots__ = (
        "action",
        "answer",
        "at_ms",
        "desk",
        "link",
        "message_id",
        "note",
        "raw",
        "refusal",
        "seq",
        "station",
        "unit",
    )

    def __init__(
        self, desk: Desk, link: Link, message_id: str, action: str, raw: bytes, note: str | None = None
    ) -> None:
        self.desk = desk
        self.link = link
        self.station: Station = link.context
        self.message_id = message_id
        self.action = action
        self.raw = raw
        self.note = note
        self.at_ms = desk.clock.now_ms()
        self.seq = desk.stations.mint_frame_seq()
        self.unit = Unit(self._done)
        self.answer = b"{}"
        self.refusal: tuple[Fault, str] | None = None

    def submit(self, answer: bytes = b"{}") -> None:
        """Hand everything to the writer; the answer follows the commit."""
        self.answer = answer
        self.station.last_seen_ms = self.at_ms
        self.unit.rows.append((Put.FRAME, self._frame()))
        self.desk.store.submit(self.unit)
        if self.desk.store.waiting() > self.desk.writer_queue:
            self._back_pressure()

    def _back_pressure(self) -> None:
        """The writer is behind: this charger's next questions wait until this one is stored."""
        link, done = self.link, self.unit.done
        link.hold()

        def release(error: BaseException | None) -> None:
            if done is not None:
                done(error)
            link.release()

        self.unit.done = release

    def _frame(self) -> tuple[Any, ...]:
        request = self.raw.decode("utf-8", "replace")
        if self.refusal is not None:
            code = error_code(self.link.version, self.refusal[0])
            response = json.dumps([4, self.message_id, code, self.refusal[1], {}])
        else:
            response = logged_answer(self.message_id, self.answer)
        at_ms = self.at_ms
        return (
            self.seq, self.station.no, at_ms, 0, self.action, self.message_id, request, response,
            self.desk.clock.now_ms(), self.note,
        )  # fmt: skip

    def _done(self, error: BaseException | None) -> None:
        if error is None:
            if self.refusal is not None:
                self.link.refuse(self.message_id, *self.refusal)
            else:
                self.link.answer(self.message_id, self.answer)
            return
        log.error("exchange.not_stored", station=self.station.id, action=self.action, error=repr(error))
        if not isinstance(error, StoreDown):
            # The unit's own fault, so ours: the charger may repeat, and others are not concerned.
            self.link.refuse(self.message_id, Fault.INTERNAL, "The central system could not store the message.")
        self.desk.on_lost(self.station)
        self.link.close(_FAILED_CLOSE, "not stored")


def carry_out(exchange: Exchange, work: Work) -> None:
    """Do the use case and submit; when it names a session out of memory, load that first and do it then."""
    try:
        answer = work(exchange, False)
    except NotInMemory as missing:
        recall(exchange, lambda x: work(x, True), missing)
        return
    exchange.submit(dumps(answer))


def recall(exchange: Exchange, work: Callable[[Exchange], Payload], missing: NotInMemory) -> None:
    """Hold the link, load what is missing, do the work then."""
    exchange.link.hold()
    exchange.desk.spawn(_recalled(exchange, work, missing.names))


async def _recalled(exchange: Exchange, work: Callable[[Exchange], Payload], names: list[tuple[str, str]]) -> None:
    desk = exchange.desk
    try:
        await desk.stations.find_ended(exchange.station, names)
        exchange.unit.rows.clear()
        exchange.submit(dumps(work(exchange)))
    except Exception:
        log.exception("exchange.recall_failed", station=exchange.station.id, action=exchange.action)
        exchange.link.close(_FAILED_CLOSE, "not stored")
    finally:
        exchange.link.release()


def logged_answer(message_id: str, answer: bytes) -> str:
    """The frame that will leave, for the log."""
    is_plain = '"' not in message_id and "\\" not in message_id and message_id.isprintable()
    quoted = f'"{message_id}"' if is_plain else json.dumps(message_id)
    return f"[3,{quoted},{answer.decode()}]"


def dumps(payload: Mapping[str, Any]) -> bytes:
    """Compact JSON; the empty object without a call."""
    return msgspec.json.encode(payload) if payload else b"{}"


def quarantine(exchange: Exchange, problems: list[Problem], *, rules: tuple[str, ...] = (), state: str) -> None:
    """Keep a money frame that does not fit its schema, as it came, beside what was made of it."""
    desk, station = exchange.desk, exchange.station
    desk.quarantined[state] = desk.quarantined.get(state, 0) + 1
    if state == "waiting":
        desk.oddities.quarantined(station, exchange.action)
    quarantine_id = desk.ids.uuid()
    said = [str(problem) for problem in problems[:20]]
    exchange.unit.put(
        Put.QUARANTINE,
        (
            quarantine_id, station.id, exchange.at_ms, exchange.action, exchange.message_id,
            exchange.raw.decode("utf-8", "replace"), json.dumps(said), json.dumps(list(rules)), state,
        ),
    )  # fmt: skip
    if state != "waiting":
        exchange.note = f"repaired: {', '.join(rules)}"
        return
    exchange.note = "quarantined"
    text = f"{exchange.action} could not be understood and is kept aside: {said[0] if said else 'no object'}"
    case = (desk.ids.uuid(), "QUARANTINE", "money", "open", station.id, None, None, text, exchange.at_ms)
    exchange.unit.put(Put.CASE, (*case, json.dumps({"quarantine_id": quarantine_id})))


def report(
    exchange: Exchange, kind: str, body: Payload, request_id: int | None, seq_no: int | None, at: str | None
) -> None:
    """Store a report as it came (NotifyReport, NotifyEvent, …), and the news of it; a repeat changes nothing."""
    key = {"request_id": request_id or 0, "seq_no": seq_no or 0, "generated_at": at or ""}
    exchange.unit.put(Put.REPORT, (exchange.station.id, kind, *key.values(), json.dumps(body), exchange.at_ms))
    put_fact(exchange.unit, stored_fact(exchange.station.id, exchange.at_ms, kind, key))
