"""Carrying instructions to chargers, and their answers back into the instructions.

An instruction is a row first (any use case may issue one); this pump belongs to the node that holds the charger's link.
It claims what is ISSUED (SENT), puts it into the link's conversation, and records what comes of it. "Accepted" is not
"happened": a start becomes EFFECTIVE when its session begins, a stop when its session ends; whatever does not happen
in time EXPIRES, and whoever asked hears of it through the journal.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import structlog

from csms.app import instructions
from csms.app.answers import RawAnswer, SchemaProblems
from csms.app.calls import answered_fact
from csms.app.charging import Charging
from csms.app.facts import put_fact
from csms.app.masks import stored_text, without_passwords
from csms.app.stations import Station, Stations
from csms.domain import instruction as domain
from csms.domain import session_events as ev
from csms.domain.instruction import Instruction, InstructionEvent, InstructionState, Kind, Step
from csms.domain.refusal import Refusal, Why
from csms.domain.session_states import OPEN
from csms.edges.ocpp16 import outbound as outbound16
from csms.edges.ocpp201 import outbound as outbound201
from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.link import Link
from csms.edges.ocppj.schemas import validate
from csms.edges.ocppj.session import (
    Answered,
    DuplicateCall,
    Expired,
    LateAnswer,
    LinkLost,
    Outcome,
    Priority,
    QueueFull,
    Refused,
    TimedOut,
)
from csms.edges.registration import PENDING, SOLICITED_MS, believed, held_back, solicited_by
from csms.ports import Bell, Clock, Ids, Put, Store, Table, Tx, Unit

log = structlog.get_logger()

_OUTBOUND: dict[Version, ModuleType] = {Version.V16: outbound16, Version.V201: outbound201}
_COMMANDS = {
    Kind.START: "Start",
    Kind.STOP: "Stop",
    Kind.UNLOCK: "Unlock",
    Kind.RESET: "Reset",
    Kind.AVAILABILITY: "Availability",
    Kind.TRIGGER: "Trigger",
    Kind.GET_CONFIG: "GetConfig",
    Kind.SET_CONFIG: "SetConfig",
    Kind.PROFILE: "Limit",
}
# Kinds of the API that have no lifecycle of their own travel as RAW with the command's name.
_NAMED = {
    "clear_cache": "ClearCache",
    "reserve": "Reserve",
    "cancel_reservation": "CancelReservation",
    "data_transfer": "DataTransfer",
    "set_display_message": "SetDisplayMessage",
    "clear_display_message": "ClearDisplayMessage",
    "get_display_messages": "GetDisplayMessages",
    "set_profile": "SetProfile",
    "clear_profile": "ClearProfile",
    "composite_schedule": "CompositeSchedule",
    "get_profiles": "GetProfiles",
}
_KINDS = {
    "start": Kind.START,
    "stop": Kind.STOP,
    "unlock": Kind.UNLOCK,
    "reset": Kind.RESET,
    "availability": Kind.AVAILABILITY,
    "trigger": Kind.TRIGGER,
    "limit": Kind.PROFILE,
    "get_config": Kind.GET_CONFIG,
    "set_config": Kind.SET_CONFIG,
}
_IDLE_S = 1.0
_WITHHELD = "withheld"  # in the row of a message whose password is not stored: it cannot be sent from there
# A promise without its effect for so long: the instruction expires (SESSIONS 5.6: T_start, T_stop have their own).
_ACCEPTED_LIFE_S: dict[Kind, float] = {Kind.RESET: 600, Kind.STOP: 86_400}


@dataclass(slots=True)
class _Waiting:
    """Somebody waits for this answer at the other end of an HTTP request."""

    future: asyncio.Future[RawAnswer]
    message_id: str | None = None  # on the wire


class Pump:
    """Issues, sends and follows instructions. `link_of` finds the live link of a station on this node."""

    def __init__(
        self,
        *,
        store: Store,
        stations: Stations,
        charging: Charging,
        clock: Clock,
        ids: Ids,
        bell: Bell,
        link_of: Callable[[str], Link | None],
        call_timeout_s: float,
        start_window_s: float,
        sold_start_window_s: float,
        count: Callable[[str], None],
    ) -> None:
        self._store = store
        self._stations = stations
        self._charging = charging
        self._clock = clock
        self._ids = ids
        self._bell = bell
        self._link_of = link_of
        self._call_timeout_s = call_timeout_s
        self._start_window_s = start_window_s
        self._sold_start_window_s = sold_start_window_s
        self._count = count
        self._waiting: dict[str, _Waiting] = {}
        self._live: dict[str, Instruction] = {}  # sent and not over, by id

    # -- asked from outside

    async def issue(
        self,
        station_id: str,
        kind: str,
        payload: Mapping[str, Any],
        *,
        order_id: str | None = None,
        idem: str | None = None,
    ) -> str:
        """Make an instruction of a transport-neutral command. Raises Refusal for what cannot be meant."""
        station = self._stations.known(station_id)
        if (held := _held_by_registration(station, _KINDS.get(kind, Kind.RAW))) is not None:
            raise Refusal(Why.WRONG_STATE, held)
        values = dict(payload)
        session_id: str | None = None
        now_ms = self._clock.now_ms()
        if kind == "stop":
            found = await self._stations.session(str(values.get("session_id") or ""))
            if found is None or found[0] is not station:
                raise Refusal(Why.UNKNOWN_SESSION, f"there is no session {values.get('session_id')} at this charger")
            session_id = found[1].session_id
            if found[1].state not in OPEN:
                raise Refusal(Why.NOT_STOPPABLE, "the session has ended already")
            self._charging.request_stop(station, found[1], ev.StopCause.OPERATOR)
            values = {"tx_id": found[1].segments[-1].tx_id}
        if kind in {"limit"} and values.get("session_id"):
            found = await self._stations.session(str(values.pop("session_id")))
            if found is None:
                raise Refusal(Why.UNKNOWN_SESSION, "there is no such session")
            values |= {"tx_id": found[1].segments[-1].tx_id, "evse": found[1].evse, "connector": found[1].connector}
        known = _KINDS.get(kind)
        if known is None:
            if kind not in _NAMED:
                raise Refusal(Why.NOT_SUPPORTED, f"there is no command {kind}")
            known, values = Kind.RAW, {instructions.COMMAND: _NAMED[kind], **values}
        if known is Kind.RESET and (held := _held_by_session(station, values)):
            raise Refusal(Why.WRONG_STATE, f"{held}; reset softly, or with force.")
        if known is Kind.START and not values.get("token"):
            raise Refusal(Why.INVALID_REQUEST, "a start needs a token")
        version = _version(station)
        if version is not None:
            # Refuse now what could never be said; the numbers that 2.0.1 wants beside it are minted below.
            to_call(version, known, {**self._complete(values), "remote_start_id": 0, "request_id": 0}, station.quirks)
        instruction_id = idem or self._ids.uuid()

        def work(tx: Tx) -> None:
            if known is Kind.START:
                values.setdefault("remote_start_id", tx.next_no("remote-start"))
            if known is Kind.GET_CONFIG and not values.get("keys"):
                values.setdefault("request_id", tx.next_no("request"))
            if known is Kind.STOP and tx.many(
                Table.INSTRUCTIONS, station=station.id, session_id=session_id, kind="stop", state=("ISSUED", "SENT")
            ):
                return
            instructions.issue(
                tx,
                instruction_id=instruction_id,
                station=station.id,
                kind=known,
                payload=values,
                now_ms=now_ms,
                order_id=order_id,
                session_id=session_id,
                token=values.get("token"),
                effect_key=instruction_id,
            )

        if known is Kind.STOP:
            # The session itself asks for its stop; the row it makes is the one to watch.
            made = await self._stop_of(station, session_id)
            if made is not None:
                self._bell.ring("instructions")
                return made
        await self._store.transact(work)
        self._bell.ring("instructions")
        return instruction_id

    async def _stop_of(self, station: Station, session_id: str | None) -> str | None:
        rows = await self._store.transact(
            lambda tx: tx.many(
                Table.INSTRUCTIONS, order="-issued_ms", limit=1, station=station.id, session_id=session_id, kind="stop"
            )
        )
        return str(rows[0]["id"]) if rows else None

    async def raw(self, station_id: str, action: str, payload: Mapping[str, Any], *, timeout_s: float) -> RawAnswer:
        """Any CSMS-initiated message of the charger's version, schema-checked, and the charger's own answer."""
        station = self._stations.known(station_id)
        link = self._link_of(station.id)
        version = link.version if link is not None else _version(station)
        if version is None:
            return RawAnswer(status="offline")
        if (held := held_back(_believes(station), action)) is not None:
            raise Refusal(Why.WRONG_STATE, held)
        if action not in _OUTBOUND[version].csms_actions():
            raise Refusal(Why.NOT_SUPPORTED, f"{action} is not a message the central system sends in {version.value}")
        problems = validate(version, action, "request", dict(payload))
        if problems:
            raise SchemaProblems([(problem.path, str(problem)) for problem in problems])
        if link is None:
            return RawAnswer(status="offline")
        now_ms = self._clock.now_ms()
        issued = domain.issue(
            self._ids.uuid(),
            station.id,
            Kind.RAW,
            {"action": action, "payload": dict(payload)},
            now_ms,
            priority=domain.Priority(_raw_priority(action)),
        )
        # Nobody waits longer than the asker, so it is not sent later either.
        instruction = replace(issued, expires_ms=now_ms + max(1, int(timeout_s * 1000)))
        future: asyncio.Future[RawAnswer] = asyncio.get_running_loop().create_future()
        waiting = self._waiting[instruction.instruction_id] = _Waiting(future)
        unit = Unit()
        kept = without_passwords(instruction.payload)
        if kept != instruction.payload:
            kept[_WITHHELD] = True
        instructions.put_new(unit, replace(instruction, payload=kept))
        self._store.submit(unit)
        try:
            self._send(link, station, instruction, timeout_s=timeout_s)
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            return RawAnswer(status="timeout", message_id=waiting.message_id)
        finally:
            self._waiting.pop(instruction.instruction_id, None)

    # -- carrying

    async def run(self) -> None:
        """Send what is issued, expire what is over, for ever."""
        await self._recover()
        while True:
            try:
                await self._send_issued()
                await self._expire()
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("pump.failed")
                await asyncio.sleep(1)
            await self._bell.wait("instructions", _IDLE_S)

    async def _recover(self) -> None:
        """After a restart: what was sent and not answered may or may not have been heard. A stop is asked again; a
        start is watched until its window closes, because asking twice could start twice where tokens are ignored;
        so is whatever else must not be heard twice."""
        rows = await self._store.read(lambda tx: tx.many(Table.INSTRUCTIONS, state=("SENT", "ACCEPTED")))
        unit = Unit()
        for row in rows:
            instruction = instructions.from_row(row)
            if instruction.state is InstructionState.SENT and _may_repeat(instruction):
                unsent = domain.step(instruction, InstructionEvent(Step.UNSENT), self._clock.now_ms())
                instructions.put_state(unit, unsent)
            else:
                self._live[instruction.instruction_id] = instruction
                self._watch_start(instruction)
        if unit.rows:
            self._store.submit(unit)

    def _watch_start(self, instruction: Instruction) -> None:
        station = self._stations.get(instruction.station)
        if station is not None and instruction.kind is Kind.START:
            self._charging.expect_start(station, instruction)

    async def _send_issued(self) -> None:
        rows = await self._store.read(
            lambda tx: tx.many(Table.INSTRUCTIONS, order="issued_ms", limit=1000, state="ISSUED")
        )
        now_ms = self._clock.now_ms()
        for instruction in sorted(map(instructions.from_row, rows), key=domain.queue_order):
            if instruction.instruction_id in self._live or instruction.instruction_id in self._waiting:
                continue
            station = self._stations.get(instruction.station)
            if station is None or instruction.is_due_to_expire(now_ms):
                self._over(instruction, InstructionEvent(Step.EXPIRE, "not sent in time"))
                continue
            if instruction.payload.get(_WITHHELD):
                self._over(instruction, InstructionEvent(Step.EXPIRE, "the password in it was not kept; ask again"))
                continue
            link = self._link_of(station.id)
            if link is None or _held_by_registration(station, instruction.kind) is not None:
                continue
            if instruction.kind is Kind.STOP and await self._is_over(instruction):
                self._over(instruction, InstructionEvent(Step.WITHDRAWN, "the session has ended already"))
                continue
            if instruction.kind is Kind.RESET and (held := _held_by_session(station, instruction.payload)):
                self._over(instruction, InstructionEvent(Step.WITHDRAWN, held))  # it began while the charger was away
                continue
            self._send(link, station, instruction)

    async def _is_over(self, instruction: Instruction) -> bool:
        if instruction.session_id is None:
            return False
        found = await self._stations.session(instruction.session_id)
        return found is not None and found[1].state not in OPEN

    def _send(self, link: Link, station: Station, instruction: Instruction, *, timeout_s: float | None = None) -> None:
        now_ms = self._clock.now_ms()
        try:
            action, payload = to_call(
                link.version, instruction.kind, self._complete(instruction.payload), station.quirks
            )
            problems = validate(link.version, action, "request", payload) if instruction.kind is not Kind.RAW else []
            if problems:
                raise Refusal(Why.INVALID_REQUEST, str(problems[0]))
        except Refusal as refusal:
            self._over(instruction, InstructionEvent(Step.EXPIRE, refusal.detail))
            unsayable = RawAnswer(status="call_error", error={"description": refusal.detail})
            self._tell(instruction.instruction_id, unsayable)
            return
        sent = domain.step(instruction, InstructionEvent(Step.SENT), now_ms)
        message_id = self._ids.uuid()
        seq = self._stations.mint_frame_seq()
        request = json.dumps([2, message_id, action, payload], separators=(",", ":"), ensure_ascii=False)
        self._live[sent.instruction_id] = sent
        self._watch_start(sent)
        if (waiting := self._waiting.get(sent.instruction_id)) is not None:
            waiting.message_id = message_id
        unit = Unit()
        instructions.put_state(unit, sent, message_id)
        unit.put(Put.FRAME, (seq, station.no, now_ms, 1, action, message_id, stored_text(request), None, None, None))

        def stored(error: BaseException | None) -> None:
            # A row before it is a frame: nothing leaves that is not known to have been sent.
            if error is not None:
                self._live.pop(sent.instruction_id, None)
                return
            if station.registration == PENDING and (message := solicited_by(action, payload)) is not None:
                station.solicited[message] = self._clock.now_ms() + SOLICITED_MS
            try:
                link.call(
                    action,
                    payload,
                    lambda outcome: self._outcome(station, sent.instruction_id, action, message_id, seq, outcome),
                    message_id=message_id,
                    priority=Priority(int(sent.priority)),
                    expires_ms=sent.expires_ms,
                    timeout_s=timeout_s if timeout_s is not None else self._call_timeout_s,
                )
            except (QueueFull, DuplicateCall) as problem:
                self._outcome(station, sent.instruction_id, action, message_id, seq, LinkLost(sent=False))
                log.warning("pump.not_queued", station=station.id, action=action, problem=str(problem))

        unit.done = stored
        self._store.submit(unit)

    def _complete(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in payload.items() if value is not None}

    # -- what came of it

    def _outcome(
        self, station: Station, instruction_id: str, action: str, message_id: str, seq: int, outcome: Outcome
    ) -> None:
        instruction = self._live.get(instruction_id)
        now_ms = self._clock.now_ms()
        if isinstance(outcome, LateAnswer):
            self._count("late")
            outcome = outcome.answer
        else:
            self._count(type(outcome).__name__.lower())
        unit = Unit()
        answer_text, note = _logged(message_id, outcome)
        fit = stored_text(answer_text) if answer_text is not None else None
        unit.put(Put.FRAME_ANSWERED, (fit, now_ms, note, seq))
        if isinstance(outcome, Answered):
            put_fact(unit, answered_fact(station.id, now_ms, action, seq))
        if instruction is not None and self._has_begun(station, instruction):
            self._live.pop(instruction_id, None)  # the session came before the answer, which changes nothing now
        elif instruction is not None:
            event = self._event(station, instruction, action, outcome)
            if event is not None:
                after = domain.step(instruction, event, now_ms)
                self._keep(after, unit, now_ms, message_id)
        # Who waits is told after the commit, so that what is read next agrees with the answer.
        told = outcome
        unit.done = lambda _: self._tell_outcome(instruction_id, message_id, told)
        self._store.submit(unit)
        if instruction is not None:
            self._consequences(station, instruction, outcome)

    def _event(
        self, station: Station, instruction: Instruction, action: str, outcome: Outcome
    ) -> InstructionEvent | None:
        match outcome:
            case Answered(payload):
                version = _version(station) or Version.V16
                answer = _OUTBOUND[version].read_answer(action, payload)
                # What an operator says in OCPP's own words is done when it is answered, whatever the answer.
                is_verbatim = instruction.kind is Kind.RAW and "action" in instruction.payload
                step = Step.ACCEPTED if answer.accepted or is_verbatim else Step.REFUSED
                return InstructionEvent(step, answer.status, dict(payload))
            case Refused(code, description, _):
                return InstructionEvent(Step.REFUSED, f"{code}: {description}" if description else code)
            case Expired():
                return InstructionEvent(Step.EXPIRE, "not sent in time")
            case TimedOut():
                # A stop is repeated by its session's own timer; the others are over when nobody answers.
                return None if instruction.kind is Kind.START else InstructionEvent(Step.EXPIRE, "no answer")
            case LinkLost(sent):
                if instruction.instruction_id in self._waiting:
                    return InstructionEvent(Step.EXPIRE, "the link was lost")  # its asker hears "offline"
                if sent and not _may_repeat(instruction):
                    if instruction.kind is Kind.RAW:
                        return InstructionEvent(Step.EXPIRE, "the link was lost")
                    return None  # it may have been heard: a start's window decides, or a reset's boot
                return InstructionEvent(Step.UNSENT)
        return None

    @staticmethod
    def _has_begun(station: Station, instruction: Instruction) -> bool:
        """Whether the charging path has seen the session that this start asked for."""
        return instruction.kind is Kind.START and instruction.instruction_id not in station.starting

    def _keep(self, instruction: Instruction, unit: Unit, now_ms: int, message_id: str | None = None) -> None:
        instructions.put_state(unit, instruction, message_id)
        if instruction.state is InstructionState.ISSUED:
            self._live.pop(instruction.instruction_id, None)
            self._bell.ring("instructions")
        elif instruction.is_over:
            self._live.pop(instruction.instruction_id, None)
            station = self._stations.get(instruction.station)
            if station is not None and instruction.token is not None:
                station.starting.pop(instruction.instruction_id, None)
            put_fact(unit, instructions.over_fact(instruction, now_ms))
        else:
            self._live[instruction.instruction_id] = instruction
            self._watch_start(instruction)  # with the answer in it

    def _consequences(self, station: Station, instruction: Instruction, outcome: Outcome) -> None:
        """The answer to a stop is a fact about its session."""
        if instruction.kind is not Kind.STOP or not isinstance(outcome, Answered):
            return
        session = next((s for s in station.known_sessions() if s.session_id == instruction.session_id), None)
        if session is not None:
            accepted = outcome.payload.get("status") == "Accepted"
            self._charging.tell(station, session, ev.StopAnswered(self._clock.now_ms(), accepted))

    def _over(self, instruction: Instruction, event: InstructionEvent) -> None:
        now_ms = self._clock.now_ms()
        unit = Unit()
        self._keep(domain.step(instruction, event, now_ms), unit, now_ms)
        self._store.submit(unit)

    async def _expire(self) -> None:
        now_ms = self._clock.now_ms()
        for instruction in list(self._live.values()):
            if instruction.kind is not Kind.START:
                life_s: float = _ACCEPTED_LIFE_S.get(instruction.kind, 300)
            else:  # a buyer watches a screen; at a charger there is a cable to fetch
                life_s = self._start_window_s if instruction.order_id is None else self._sold_start_window_s
            since_ms = instruction.sent_ms or instruction.issued_ms
            if now_ms - since_ms < life_s * 1000:
                continue
            if instruction.kind is Kind.START:
                station = self._stations.get(instruction.station)
                if station is not None and self._has_begun(station, instruction):
                    self._live.pop(instruction.instruction_id, None)
                    continue
            self._over(instruction, InstructionEvent(Step.EXPIRE, "nothing came of it in time"))

    # -- whoever waits

    def _tell_outcome(self, instruction_id: str, message_id: str, outcome: Outcome) -> None:
        match outcome:
            case Answered(payload):
                answer = RawAnswer(status="answered", message_id=message_id, response=payload)
            case Refused(code, description, details):
                error = {"code": code, "description": description, "details": details}
                answer = RawAnswer(status="call_error", message_id=message_id, error=error)
            case LinkLost():
                answer = RawAnswer(status="offline", message_id=message_id)
            case _:
                answer = RawAnswer(status="timeout", message_id=message_id)
        self._tell(instruction_id, answer)

    def _tell(self, instruction_id: str, answer: RawAnswer) -> None:
        waiting = self._waiting.get(instruction_id)
        if waiting is not None and not waiting.future.done():
            waiting.future.set_result(answer)

    def socket_changed(self, station_id: str, evse: int, at_ms: int) -> None:
        """A socket has another status: what a reset of its EVSE alone shows itself by, because nothing boots then."""
        station = self._stations.get(station_id)
        if station is None or any(session.evse == evse for session in station.sessions.values()):
            return
        for instruction in [i for i in self._live.values() if i.station == station_id and i.kind is Kind.RESET]:
            is_meant = instruction.payload.get("evse") == evse and instruction.state is InstructionState.ACCEPTED
            if is_meant and instruction.answered_ms is not None and instruction.answered_ms <= at_ms:
                self._over(instruction, InstructionEvent(Step.EFFECT))

    def session_over(self, session_id: str) -> None:
        """The session has ended: its stops have had their effect."""
        for instruction in [i for i in self._live.values() if i.session_id == session_id and i.kind is Kind.STOP]:
            self._over(instruction, InstructionEvent(Step.EFFECT))

    def booted(self, station_id: str, at_ms: int) -> None:
        """The charger has booted: a reset that was sent before has had its effect."""
        for instruction in [i for i in self._live.values() if i.station == station_id and i.kind is Kind.RESET]:
            if instruction.sent_ms is not None and instruction.sent_ms <= at_ms:
                self._over(instruction, InstructionEvent(Step.EFFECT))


def to_call(
    version: Version, kind: Kind, payload: Mapping[str, Any], quirks: frozenset[str]
) -> tuple[str, dict[str, Any]]:
    """The OCPP call of an instruction. Raises Refusal when the version cannot say it."""
    outbound = _OUTBOUND[version]
    if kind is Kind.RAW and "action" in payload:
        return str(payload["action"]), dict(payload["payload"])
    command = str(payload.get(instructions.COMMAND)) if kind is Kind.RAW else _COMMANDS[kind]
    action, made = outbound.to_call(command, payload, quirks=quirks)
    return action, made


def _may_repeat(instruction: Instruction) -> bool:
    """Whether hearing it twice does no more than hearing it once. A second start could start twice, a second reset
    is a boot loop, and what an operator says in OCPP's own words may be anything."""
    if instruction.kind is Kind.RAW:
        return instruction.session_id is not None or "action" not in instruction.payload
    return instruction.kind not in {Kind.START, Kind.RESET}


def _held_by_session(station: Station, reset: Mapping[str, Any]) -> str | None:
    """Why a hard reset must not go out: what a session still owes us may be lost with it (OCPP 4.2 row 14)."""
    if not reset.get("hard") or reset.get("force"):
        return None
    evse = reset.get("evse")
    count = sum(1 for session in station.sessions.values() if not evse or session.evse == evse)
    return f"{count} open session(s) may lose data by a hard reset" if count else None


def _believes(station: Station) -> str:
    return believed(station.registration, station.told_registration)


def _held_by_registration(station: Station, kind: Kind) -> str | None:
    """Why an instruction waits: what is no start and no stop waits for nothing but a Rejected charger's next boot."""
    action = "RequestStartTransaction" if kind in {Kind.START, Kind.STOP} else ""
    return held_back(_believes(station), action)


def _version(station: Station) -> Version | None:
    return next((version for version in Version if version.value == station.transport), None)


def _raw_priority(action: str) -> int:
    if action in {"RemoteStopTransaction", "RequestStopTransaction"}:
        return int(domain.Priority.STOP)
    if action == "UnlockConnector":
        return int(domain.Priority.UNLOCK)
    if action in {"RemoteStartTransaction", "RequestStartTransaction"}:
        return int(domain.Priority.START)
    if action in {"SetChargingProfile", "ClearChargingProfile"}:
        return int(domain.Priority.PROFILE)
    return int(domain.Priority.REPORT if action.startswith("Get") else domain.Priority.CONFIG)


def _logged(message_id: str, outcome: Outcome) -> tuple[str | None, str | None]:
    match outcome:
        case Answered(payload):
            return json.dumps([3, message_id, payload], separators=(",", ":")), None
        case Refused(code, description, details):
            return json.dumps([4, message_id, code, description, details], separators=(",", ":")), None
        case TimedOut():
            return None, "no answer in time"
        case Expired():
            return None, "expired before it was sent"
        case LinkLost(sent):
            return None, "the link was lost" if sent else "the link was lost before it was sent"
    return None, None
