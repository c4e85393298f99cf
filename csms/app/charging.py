"""What chargers tell us about charging: starts, readings, stops, boots, links. The hot path of the house.

Every function here is synchronous and works on the station in memory; what must become durable goes into the
caller's `Unit`, and the caller answers the charger when that unit is committed. The rare fact that names a session
no longer in memory raises `NotInMemory`: the edge then holds the link, loads (`recall`), and calls again.

    reported fact -> match (whose is it?) -> apply (what does it change?) -> rows, facts, instructions
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import structlog

from csms.app.facts import put_fact
from csms.app.instructions import over_fact, put_new, put_state
from csms.app.rows import put_reading, put_session, put_session_fact, put_session_meter, put_station_fact
from csms.app.stations import Station, Stations
from csms.app.tokens import Tokens
from csms.app.verdicts import Verdicts, asked_start, heard
from csms.domain import instruction as asking
from csms.domain import session_events as ev
from csms.domain.access import Token, Verdict
from csms.domain.clock import Stamp
from csms.domain.connector import Socket, observe
from csms.domain.instruction import InstructionEvent, Kind, Step
from csms.domain.matching import (
    BootEvidence,
    How,
    is_known_tx,
    is_new_boot_epoch,
    is_offline_start,
    match_meter,
    match_start,
    match_stop,
    token_norm,
)
from csms.domain.meter import RegisterKind
from csms.domain.refusal import Refusal, Why
from csms.domain.reported import Booted, Context, Metered, Reading, Started, StatusReported, Stopped
from csms.domain.session import Session, State, Timing, apply, due, meter_fast, open_session
from csms.domain.session_states import OPEN
from csms.ports import Bell, Clock, Ids, Put, Store, Table, Unit
from firmware_profiles.quirks import BOOT_ON_RECONNECT, NO_QUEUE_OFFLINE

log = structlog.get_logger()

_KEPT = OPEN | {State.ENDED_PENDING_DATA}
_STARTUP_IS_NEWS_MS = 120_000  # the event and the boot leave a charger together; a queue may stand between them


class NotInMemory(Exception):
    """The fact names a session that may be in the store but is not in memory; `names` are its aliases."""

    def __init__(self, names: list[tuple[str, str]]) -> None:
        super().__init__(str(names))
        self.names = names


@dataclass(frozen=True, slots=True)
class Sampling:
    """When progress of a session becomes news: after so long, or with so large a part of what it may use."""

    every_ms: int = 60_000
    share: float = 0.05


@dataclass(frozen=True, slots=True)
class StartAnswer:
    """What a start is answered with. `number` is the 1.6 transaction id."""

    number: int
    verdict: Verdict
    session: Session


@dataclass(frozen=True, slots=True)
class StopAnswer:
    """What a stop is answered with. `verdict` None: it named no token."""

    verdict: Verdict | None
    session: Session | None


def _unlimited(_session: Session, _token: Token) -> None:
    """No limit for whoever brings none."""


class Charging:
    """The use cases of the charger path. `default_limit`: what a token without a limit of its own may draw, in Wh."""

    def __init__(
        self,
        *,
        store: Store,
        stations: Stations,
        tokens: Tokens,
        clock: Clock,
        ids: Ids,
        bell: Bell,
        timing: Timing,
        on_lost: Callable[[Station], None],
        sampling: Sampling | None = None,
        default_limit: Callable[[Session, Token], int | None] = _unlimited,
    ) -> None:
        self._store = store
        self._stations = stations
        self._tokens = tokens
        self._sampling = sampling if sampling is not None else Sampling()
        self._verdicts = Verdicts(tokens, default_limit)
        self._clock = clock
        self._ids = ids
        self._bell = bell
        self._timing = timing
        self._on_lost = on_lost
        self._due: list[tuple[int, str, int]] = []  # (deadline, station, session no), may be stale
        self._unsaved: list[tuple[Station, Session]] = []  # rows that are behind their readings
        self._saving = 0  # units of such rows on their way to the disk
        self._sampled: dict[int, tuple[int, int]] = {}  # session no -> (when, Wh) of the last MeterSampled

    # -- link and boot

    def link_up(self, station: Station, now_ms: int) -> None:
        """A connection was accepted; it takes the next epoch. The caller has put the link into the station."""
        station.epoch += 1
        station.link_opened_ms = now_ms
        station.last_seen_ms = now_ms
        station.boot_doubt = None
        unit = self._unit(station)
        put_station_fact(unit, "LinkOpened", now_ms, station, {"epoch": station.epoch, "transport": station.transport})
        self._all(station, ev.LinkUp(now_ms, queues=NO_QUEUE_OFFLINE not in station.quirks), unit, now_ms)
        unit.put(Put.STATION, station.row())
        self._submit(unit)

    def link_down(self, station: Station, now_ms: int, last_life_ms: int) -> None:
        """The connection is gone. The caller has taken the link out of the station."""
        station.link_closed_ms = last_life_ms  # how long it was really gone counts from its last sign of life
        station.last_seen_ms = last_life_ms
        unit = self._unit(station)
        put_station_fact(unit, "LinkClosed", now_ms, station, {"epoch": station.epoch})
        self._all(station, ev.LinkDown(now_ms, last_life_ms), unit, now_ms)
        unit.put(Put.STATION, station.row())
        self._submit(unit)

    def boot(self, station: Station, told: Booted, now_ms: int, unit: Unit) -> None:
        """BootNotification. Weak evidence: only with a sign of lost power does it interrupt sessions (5.4)."""
        swapped = bool(station.serial and told.serial and told.serial != station.serial)
        for name in ("vendor", "model", "serial", "firmware", "iccid", "imsi", "meter_serial"):
            if (value := getattr(told, name)) is not None:
                setattr(station, name, value)
        self._reprofile(station, now_ms, unit)
        down_ms = None
        if station.link_opened_ms is not None and station.link_closed_ms is not None:
            down_ms = max(0, station.link_opened_ms - station.link_closed_ms)
        evidence = BootEvidence(
            reason=told.reason,
            link_down_ms=down_ms,
            startup_event=station.startup_ms is not None and now_ms - station.startup_ms <= _STARTUP_IS_NEWS_MS,
            boots_on_reconnect=BOOT_ON_RECONNECT in station.quirks,
        )
        station.startup_ms = None
        last_life_ms = station.link_closed_ms if down_ms is not None else station.last_seen_ms
        station.boot_ms, station.boot_reason = now_ms, told.reason
        if swapped or is_new_boot_epoch(evidence):
            self._reboot(station, unit, now_ms, last_life_ms, swapped=swapped)
            station.boot_doubt = None
        else:
            # Was it a reboot? The first status of a socket that should be charging will tell.
            station.boot_doubt, station.boot_doubt_ms = evidence, last_life_ms
        body = {"vendor": told.vendor, "model": told.model, "firmware": told.firmware, "reason": told.reason}
        put_station_fact(unit, "StationBooted", now_ms, station, body | {"boot_n": station.boot_n, "swapped": swapped})
        unit.put(Put.STATION, station.row())

    def _reprofile(self, station: Station, now_ms: int, unit: Unit) -> None:
        """It has said what it is: its profile is the one that means it, unless an operator chose another."""
        if not self._stations.reprofile(station):
            return
        applied = station.applied.id if station.applied is not None else None
        body = {"profile": applied, "quirks": sorted(station.quirks), "firmware": station.firmware}
        put_station_fact(unit, "ProfileApplied", now_ms, station, body)

    def started_up(self, station: Station, now_ms: int, unit: Unit) -> None:
        """A security event says that it has started: hard evidence for the boot beside it, before or after (5.4)."""
        if station.boot_doubt is None:
            station.startup_ms = now_ms
            return
        station.boot_doubt = None
        self._reboot(station, unit, now_ms, station.boot_doubt_ms)
        unit.put(Put.STATION, station.row())

    def _reboot(
        self, station: Station, unit: Unit, now_ms: int, last_life_ms: int | None, *, swapped: bool = False
    ) -> None:
        station.boot_n += 1
        event = ev.BootSeen(now_ms, True, station.boot_ms or now_ms, last_life_ms, swapped)
        self._all(station, event, unit, now_ms)

    # -- status

    def status(self, station: Station, told: StatusReported, now_ms: int, unit: Unit) -> None:
        """StatusNotification."""
        place = (told.evse, told.connector)
        before = station.sockets.get(place) or Socket(told.evse, told.connector)
        after = observe(before, told, now_ms)
        if after is not before:
            station.sockets[place] = after
            assert after.status is not None
            unit.put(
                Put.SOCKET,
                (
                    station.id, told.evse, told.connector, after.status.value, after.at_ms, now_ms,
                    after.error_code, after.info, after.vendor_error_code,
                ),
            )  # fmt: skip
            if after.status != before.status:
                body = {"evse": told.evse, "connector": told.connector, "status": after.status.value}
                put_station_fact(unit, "SocketChanged", now_ms, station, body | {"error_code": after.error_code})
        if told.connector == 0:
            return
        stamp = station.skew.effective(told.at_ms, now_ms) if told.at_ms is not None else None
        here = [s for s in station.sessions.values() if s.evse == told.evse and told.connector in {s.connector, 0}]
        # A session that began after the boot was not cut off by it, whatever its socket says.
        older = [s for s in here if (s.started_at_ms or 0) < (station.boot_ms or now_ms)]
        if station.boot_doubt is not None and older:
            doubt = replace(station.boot_doubt, status_after=told.status)
            if is_new_boot_epoch(doubt):
                self._reboot(station, unit, now_ms, station.boot_doubt_ms)
            station.boot_doubt = None
        for session in here:
            self._apply(
                station, session, ev.StatusSeen(now_ms, told.status, stamp.at_ms if stamp else None), unit, now_ms
            )

    # -- authorisation

    def authorize(self, station: Station, token: str | None, now_ms: int, kind: str | None = None) -> Verdict:
        """Authorize: the tag as of now, at no particular socket. `kind`: 2.0.1's type of the token."""
        return self._verdicts.authorize(station, token, now_ms, kind)

    # -- start

    def start(self, station: Station, told: Started, now_ms: int, unit: Unit, *, recalled: bool = False) -> StartAnswer:
        """StartTransaction, TransactionEvent Started. Always answered, always stored, once (SESSIONS 5.5)."""
        token, vehicle = self._tokens.recognise(told.token)
        if vehicle is not None:
            told = replace(told, token=token)
        stamp = self._stamp(station, told.at_ms, now_ms, queued=told.offline)
        opened_ms = station.link_opened_ms if station.link_opened_ms is not None else now_ms
        offline = told.offline or is_offline_start(stamp.at_ms, opened_ms, self._timing)
        match = match_start(told, stamp.at_ms, station.known_sessions(), self._timing)
        if match.how is How.NEW and (told.offline or stamp.at_ms < opened_ms) and not recalled:
            # One from before this link may be the repeat of a start that memory has let go.
            raise NotInMemory([("start", told.key), *([("tx", told.tx_id)] if told.tx_id else [])])
        if match.how in {How.SAME, How.NEAR}:
            session = match.session
            assert session is not None
            assert match.segment is not None
            verdict = self._verdicts.repeated(station, session, told.token, now_ms)
            return StartAnswer(_number(match.segment.tx_id, session), verdict, session)
        told = self._verdicts.named(station, told)
        if match.displaces is not None:
            other = ev.OtherStartSeen(now_ms, stamp.at_ms, told.register_wh)
            self._apply(station, match.displaces, other, unit, now_ms)
        for waiting in list(station.sessions.values()):
            here = (waiting.evse, waiting.connector) == (told.evse, told.connector)
            if waiting.state is State.ENDED_PENDING_DATA and here and waiting is not match.session:
                self._apply(station, waiting, ev.OtherStartSeen(now_ms, stamp.at_ms, told.register_wh), unit, now_ms)
        number = self._stations.mint_session_no()
        tx_id = told.tx_id if told.tx_id is not None else str(number)
        started = replace(told, readings=self._effective(station, told.readings, now_ms))
        seen = ev.StartSeen(now_ms, started, stamp.at_ms, tx_id=tx_id, offline=offline, time_quality=stamp.quality)
        if match.session is None:
            session, outcomes = open_session(
                seen,
                self._timing,
                no=number,
                session_id=self._ids.uuid(),
                station=station.id,
                evse=told.evse,
                connector=told.connector,
                register_kind=station.register_kind,
                rated_w=station.rated_w,
                link_up=station.online,
            )
            station.sessions[session.no] = session
        else:
            session = match.session
            outcomes = apply(session, seen, self._timing)
        station.by_tx[tx_id] = session
        self._readings(station, session.no, started.readings, told.readings, now_ms, unit)
        verdict = self._verdicts.start(station, session, told.token, stamp.at_ms, now_ms, told.token_kind)
        outcomes += self._verdicts.bind(session, told.token, verdict, vehicle)
        if match.how is not How.RESUMED and told.token is not None:
            outcomes += apply(session, heard(verdict, now_ms), self._timing)
        self._after_start(station, session, told, now_ms, unit, resumed=match.how is How.RESUMED)
        unit.put(Put.ALIAS, (station.id, "start", told.key, session.no, len(session.segments)))
        unit.put(Put.ALIAS, (station.id, "tx", tx_id, session.no, len(session.segments)))
        self._carry_out(station, session, outcomes, unit, now_ms)
        return StartAnswer(number, verdict, session)

    def _started_as_asked(
        self, station: Station, session: Session, instruction: asking.Instruction, now_ms: int, unit: Unit
    ) -> None:
        """The session that this start asked for has begun, or its running transaction was taken for it."""
        del station.starting[instruction.instruction_id]
        if session.order_id is None and instruction.payload.get("budget_wh") is not None:
            session.budget_wh = instruction.payload["budget_wh"]  # an operator's word comes before the token's limit
        done = asking.step(instruction, InstructionEvent(Step.EFFECT), now_ms)
        done = replace(done, session_id=session.session_id)
        put_state(unit, done)
        put_fact(unit, over_fact(done, now_ms))

    def _after_start(
        self, station: Station, session: Session, told: Started, now_ms: int, unit: Unit, *, resumed: bool
    ) -> None:
        instruction = asked_start(station, told)
        if instruction is not None:
            self._started_as_asked(station, session, instruction, now_ms, unit)
        if told.reservation_id is not None:
            unit.put(Put.RESERVATION_STATE, ("USED", now_ms, told.reservation_id, station.id))
        if not resumed:
            self._begun(session, unit, now_ms, told.token, told.reservation_id, told.token_kind)

    def _begun(
        self,
        session: Session,
        unit: Unit,
        now_ms: int,
        token: str | None,
        reservation_id: int | None = None,
        kind: str | None = None,
    ) -> None:
        """A session has begun, or its token was judged: an order's token opens nothing else from now on."""
        if session.order_id is not None and token is not None:
            unit.put(Put.TOKEN_USED, (now_ms, token_norm(token)))
            self._tokens.used(token, now_ms)
        body = {
            "session_id": session.session_id, "token": self._tokens.written(session.token, kind),
            "vehicle": session.vehicle, "evse": session.evse,
            "connector": session.connector, "meter_start_wh": session.meter_start_wh,
            "authorised": session.authorised, "started_ms": session.started_at_ms,
            "reservation_id": reservation_id,
        }  # fmt: skip
        put_session_fact(unit, "SessionStarted", now_ms, session, body)

    # -- meter

    def meter(
        self, station: Station, told: Metered, now_ms: int, unit: Unit, frame_seq: int, *, recalled: bool = False
    ) -> Session | None:
        """MeterValues, TransactionEvent Updated. The ordinary reading of an ordinary session takes the short way."""
        session = station.by_tx.get(told.tx_id) if told.tx_id is not None else None
        if session is not None and session.fast and len(told.readings) == 1 and not told.token:
            reading = told.readings[0]
            wh = reading.register_wh
            if (
                wh is not None
                and told.charging_state in {None, "Charging"}
                and not reading.signed
                and reading.context in _ORDINARY
            ):
                at_ms = station.skew.effective(reading.at_ms, now_ms).at_ms
                if meter_fast(session, at_ms, wh, reading.power_w, told.seq_no, reading.soc_percent):
                    place = (session.evse, session.connector)
                    put_reading(unit, session.no, at_ms, reading, *place, now_ms, frame_seq, told.seq_no)
                    session.frame_seq = frame_seq
                    if not session.unsaved:
                        session.unsaved = True
                        self._unsaved.append((station, session))
                    self._sample(session, unit, now_ms)
                    return session
        return self._meter_with_care(station, told, session, now_ms, unit, frame_seq, recalled=recalled)

    def _meter_with_care(
        self,
        station: Station,
        told: Metered,
        session: Session | None,
        now_ms: int,
        unit: Unit,
        frame_seq: int,
        *,
        recalled: bool,
    ) -> Session | None:
        readings = self._effective(station, told.readings, now_ms)
        at_ms = readings[0].at_ms if readings and readings[0].at_ms is not None else now_ms
        if session is None:
            match = match_meter(told, at_ms, station.known_sessions())
            if match.how is How.UNMATCHED and not recalled and told.tx_id is not None:
                raise NotInMemory([("tx", told.tx_id)])
            if match.how is How.IDLE:
                self._readings(station, -station.no, readings, told.readings, now_ms, unit, frame_seq, told)
                if match.session is not None:
                    for reading in readings:
                        if reading.register_wh is not None and reading.at_ms is not None:
                            seen = ev.RegisterSeen(now_ms, reading.at_ms, reading.register_wh)
                            self._apply(station, match.session, seen, unit, now_ms)
                return None
            session = match.session
        if session is None:
            session, outcomes = self._orphan(
                station, ev.MeterSeen(now_ms, readings, told.seq_no), told.evse, told.connector
            )
            if told.tx_id is not None and session.segments:
                session.segments[-1].tx_id = told.tx_id
                self._name(station, session, told.tx_id, unit)
        else:
            outcomes = apply(session, ev.MeterSeen(now_ms, readings, told.seq_no, told.charging_state), self._timing)
            asked = asked_start(station, told) if session.authorised is None else None
            token, vehicle = self._tokens.recognise(told.token)
            if token is None and asked is not None:
                token = asked.token
            # A master pass that is shown now ends it, and is nobody's to charge by (2.0.1 C16).
            if token is not None and session.authorised is None and not self._tokens.is_master_pass(token):
                session.token = token
                verdict = self._verdicts.start(station, session, token, at_ms, now_ms, told.token_kind)
                outcomes += self._verdicts.bind(session, token, verdict, vehicle)
                outcomes += apply(session, heard(verdict, now_ms), self._timing)
                self._begun(session, unit, now_ms, token, kind=told.token_kind)
                if asked is not None:
                    self._started_as_asked(station, session, asked, now_ms, unit)
        self._readings(station, session.no, readings, told.readings, now_ms, unit, frame_seq)
        session.frame_seq = max(session.frame_seq, frame_seq)
        self._carry_out(station, session, outcomes, unit, now_ms)
        self._sample(session, unit, now_ms)
        return session

    def _orphan(
        self, station: Station, event: ev.MeterSeen | ev.StopSeen, evse: int, connector: int
    ) -> tuple[Session, list[ev.Outcome]]:
        session, outcomes = open_session(
            event,
            self._timing,
            no=self._stations.mint_session_no(),
            session_id=self._ids.uuid(),
            station=station.id,
            evse=evse,
            connector=connector,
            register_kind=station.register_kind,
            rated_w=station.rated_w,
            link_up=station.online,
        )
        station.recent.append(session)
        return session, outcomes

    @staticmethod
    def _name(station: Station, session: Session, tx_id: str, unit: Unit) -> None:
        """What comes under this id is the orphan's, too; but "I do not know" is nobody's name."""
        if is_known_tx(tx_id):
            station.by_tx[tx_id] = session
            unit.put(Put.ALIAS, (station.id, "tx", tx_id, session.no, 1))

    def unreadable_start(self, station: Station, now_ms: int, unit: Unit) -> int:
        """A start that nobody understands: the number it is answered with is a session's all the same, so that it
        is never given again and keeps whatever the charger says under it."""
        session, outcomes = self._orphan(station, ev.MeterSeen(now_ms, (), None), 0, 0)
        tx_id = session.segments[-1].tx_id = str(session.no)
        station.by_tx[tx_id] = session
        unit.put(Put.ALIAS, (station.id, "tx", tx_id, session.no, 1))
        self._carry_out(station, session, outcomes, unit, now_ms)
        return session.no

    def unreadable_event(
        self, station: Station, tx_id: str, now_ms: int, unit: Unit, *, recalled: bool = False
    ) -> None:
        """An event that nobody understands but for its transaction: when that is unknown, something keeps its place,
        so that what comes under the same id later is found together."""
        if tx_id in station.by_tx or not is_known_tx(tx_id):
            return
        if not recalled:
            raise NotInMemory([("tx", tx_id)])
        session, outcomes = self._orphan(station, ev.MeterSeen(now_ms, (), None), 0, 0)
        session.segments[-1].tx_id = tx_id
        self._name(station, session, tx_id, unit)
        self._carry_out(station, session, outcomes, unit, now_ms)

    def _sample(self, session: Session, unit: Unit, now_ms: int) -> None:
        """Progress becomes news now and then, and with every so large part of the budget (`Sampling`)."""
        last = self._sampled.get(session.no)
        if last is not None and now_ms - last[0] < self._sampling.every_ms:
            budget_wh = session.budget_wh
            if budget_wh is None or session.energy_wh - last[1] < budget_wh * self._sampling.share:
                return
        self._sampled[session.no] = (now_ms, session.energy_wh)
        if session.unsaved:  # who hears the news reads the row
            put_session_meter(unit, session, now_ms)
        body = {
            "session_id": session.session_id, "energy_wh": session.energy_wh, "power_w": session.power_w,
            "soc_percent": session.soc_percent, "at_ms": session.last_proven_at_ms, "state": session.state.value,
        }  # fmt: skip
        put_session_fact(unit, "MeterSampled", now_ms, session, body)

    # -- stop

    def stop(self, station: Station, told: Stopped, now_ms: int, unit: Unit, *, recalled: bool = False) -> StopAnswer:
        """StopTransaction, TransactionEvent Ended. Cannot be refused."""
        token, vehicle = self._tokens.recognise(told.token)
        if vehicle is not None:
            told = replace(told, token=token)
        stamp = self._stamp(station, told.at_ms, now_ms, queued=told.offline)
        match = match_stop(told, stamp.at_ms, station.known_sessions())
        # A transaction that is named is looked for in the store before any other is taken for it.
        guessed = match.how in {How.BY_METER, How.BY_SOCKET} and is_known_tx(told.tx_id)
        if (match.how is How.UNMATCHED or guessed) and not recalled:
            raise NotInMemory([("tx", told.tx_id)])
        readings = self._effective(station, told.readings, now_ms)
        stopped = replace(told, readings=readings)
        seen = ev.StopSeen(now_ms, stopped, stamp.at_ms, stamp.quality)
        session = match.session
        if session is None:
            session, outcomes = self._orphan(station, seen, told.evse or 0, told.connector or 0)
            self._name(station, session, told.tx_id, unit)
        elif match.how is How.SAME and not readings:
            return StopAnswer(self._verdicts.stop(told, now_ms), session)
        else:
            outcomes = apply(session, seen, self._timing)
        self._readings(station, session.no, readings, told.readings, now_ms, unit)
        self._carry_out(station, session, outcomes, unit, now_ms)
        return StopAnswer(self._verdicts.stop(told, now_ms), session)

    # -- asked by others

    def request_stop(self, station: Station, session: Session, cause: ev.StopCause) -> None:
        """Somebody wants it to end; where it cannot be sent now, the intent waits with the session."""
        now_ms = self._clock.now_ms()
        unit = self._unit(station)
        self._apply(station, session, ev.StopRequested(now_ms, cause), unit, now_ms)
        self._submit(unit)

    def tell(self, station: Station, session: Session, event: ev.Event) -> None:
        """News for a session from outside the charger path (settled, closed by an operator, complete)."""
        now_ms = self._clock.now_ms()
        unit = self._unit(station)
        self._apply(station, session, event, unit, now_ms)
        self._submit(unit)

    async def close_session(self, session_id: str, reason: str, who: str) -> None:
        """An operator ends what no fact will end, with what is proven so far. Raises Refusal."""
        found = await self._stations.session(session_id)
        if found is None:
            raise Refusal(Why.UNKNOWN_SESSION, f"there is no session {session_id}")
        station, session = found
        if session.state not in _KEPT | {State.ORPHAN}:
            raise Refusal(Why.WRONG_STATE, f"the session is {session.state.value}; there is nothing to close")
        now_ms = self._clock.now_ms()
        unit = self._unit(station)
        body = {"session_id": session_id, "reason": reason, "who": who}
        put_session_fact(unit, "SessionClosedByOperator", now_ms, session, body)
        self._apply(station, session, ev.OperatorClose(now_ms, reason), unit, now_ms)
        self._submit(unit)
        await self._store.transact(
            lambda tx: tx.count(Table.SESSIONS, no=session.no)
        )  # units keep their order: when this is done, so is that

    async def take_late(self, session_id: str, who: str) -> None:
        """An operator lets what came after the final date move money (SESSIONS 5.9). Raises Refusal."""
        found = await self._stations.session(session_id)
        if found is None:
            raise Refusal(Why.UNKNOWN_SESSION, f"there is no session {session_id}")
        station, session = found
        if not session.late_pending:
            raise Refusal(Why.WRONG_STATE, "nothing that came late waits for a decision in this session")
        now_ms = self._clock.now_ms()
        unit = self._unit(station)
        put_session_fact(unit, "LateFactApproved", now_ms, session, {"session_id": session_id, "who": who})
        self._apply(station, session, ev.LateFact(now_ms, approved=True), unit, now_ms)
        self._submit(unit)
        await self._store.transact(lambda tx: tx.count(Table.SESSIONS, no=session.no))  # units keep their order

    def expect_start(self, station: Station, instruction: asking.Instruction) -> None:
        """A start is on its way to the charger: its token, and in 2.0.1 its number, is the thread back to it."""
        if instruction.token is not None:
            station.starting[instruction.instruction_id] = instruction

    # -- time

    def tick(self, now_ms: int) -> None:
        """Fire every session timer that has passed; save what the readings changed."""
        self.save_meters()
        while self._due and self._due[0][0] <= now_ms:
            _, station_id, number = heapq.heappop(self._due)
            station = self._stations.get(station_id)
            session = next((s for s in station.known_sessions() if s.no == number), None) if station else None
            if station is None or session is None or station.reloading:
                continue
            unit = self._unit(station)
            for timer in due(session, now_ms):
                self._apply(station, session, ev.TimerFired(now_ms, timer), unit, now_ms)
            if unit.rows:
                self._submit(unit)

    def watch(self, station: Station) -> None:
        """The station was loaded: its sessions' timers count again."""
        self._tokens.in_use.forget_station(station.id)
        for session in station.known_sessions():
            self._tokens.in_use.note(session)
            self._arm(session)
            if session.unsaved:
                self._unsaved.append((station, session))

    def save_meters(self) -> bool:
        """Bring the rows of sessions up to their readings; False when all of them are on the disk.

        An ordinary reading is stored by itself before it is answered, and a session that is loaded takes in what is
        younger than its row. So the row, which is wide, may follow once for many readings.
        """
        unsaved, self._unsaved = self._unsaved, []
        saved: list[tuple[Station, Session]] = []

        def done(error: BaseException | None) -> None:
            self._saving -= 1
            if error is not None:
                for station, session in saved:
                    session.unsaved = True
                    self._unsaved.append((station, session))

        unit, now_ms = Unit(done), self._clock.now_ms()
        for station, session in unsaved:
            # After a failed commit the memory is read again, and this one may hold what the disk does not.
            if session.unsaved and not station.reloading and self._stations.get(station.id) is station:
                put_session_meter(unit, session, now_ms)
                saved.append((station, session))
        if unit.rows:
            self._saving += 1
            self._store.submit(unit)
        return self._saving > 0

    def _arm(self, session: Session) -> None:
        if session.deadlines:
            heapq.heappush(self._due, (min(session.deadlines.values()), session.station, session.no))

    # -- the pieces

    def _stamp(self, station: Station, device_ms: int | None, now_ms: int, *, queued: bool = False) -> Stamp:
        """The effective time of a fact; one that came at once also teaches the station's skew."""
        if device_ms is not None and not queued and abs(device_ms - now_ms) > 0:
            offset = device_ms - now_ms
            # A frame minutes old was queued, whatever it says; a clock that is ahead cannot be that.
            if offset > -30_000 and now_ms - (station.link_opened_ms or 0) > 5_000:
                station.skew.observe(device_ms, now_ms)
        return station.skew.effective(device_ms, now_ms)

    @staticmethod
    def _effective(station: Station, readings: Iterable[Reading], now_ms: int) -> tuple[Reading, ...]:
        made = []
        for reading in readings:
            at_ms = station.skew.effective(reading.at_ms, now_ms).at_ms
            made.append(reading if at_ms == reading.at_ms else replace(reading, at_ms=at_ms))
        return tuple(made)

    def _readings(
        self,
        station: Station,
        subject: int,
        effective: Iterable[Reading],
        told: Iterable[Reading],
        now_ms: int,
        unit: Unit,
        frame_seq: int | None = None,
        where: Metered | None = None,
    ) -> None:
        session = next((s for s in station.known_sessions() if s.no == subject), None) if subject > 0 else None
        evse = session.evse if session is not None else where.evse if where is not None else 0
        connector = session.connector if session is not None else where.connector if where is not None else 0
        sums = session is not None and session.register_kind is RegisterKind.INTERVAL
        for reading, original in zip(effective, told, strict=True):
            at_ms = reading.at_ms if reading.at_ms is not None else now_ms
            put_reading(unit, subject, at_ms, original, evse, connector, now_ms, frame_seq, sums=sums)

    def _apply(self, station: Station, session: Session, event: ev.Event, unit: Unit, now_ms: int) -> None:
        self._carry_out(station, session, apply(session, event, self._timing), unit, now_ms)

    def _all(self, station: Station, event: ev.Event, unit: Unit, now_ms: int) -> None:
        for session in list(station.known_sessions()):
            self._apply(station, session, event, unit, now_ms)

    def _carry_out(
        self, station: Station, session: Session, outcomes: list[ev.Outcome], unit: Unit, now_ms: int
    ) -> None:
        """Turn what a session asks for into rows, and save it."""
        for outcome in outcomes:
            self._outcome(station, session, outcome, unit, now_ms)
        if session.state in _KEPT:
            station.revive(session)
        else:
            station.retire(session)
            self._sampled.pop(session.no, None)
        self._tokens.in_use.note(session)
        put_session(unit, session, now_ms, next_session_no=self._stations.next_session_no)
        self._arm(session)

    def _outcome(self, station: Station, session: Session, outcome: ev.Outcome, unit: Unit, now_ms: int) -> None:
        match outcome:
            case ev.StateChanged(old, new):
                body = {"session_id": session.session_id, "old": old.value if old else None, "new": new.value}
                put_session_fact(unit, "SessionStateChanged", now_ms, session, body)
            case ev.SendStop(attempt):
                self._ask(
                    station, session, Kind.STOP, {"tx_id": session.segments[-1].tx_id}, unit, now_ms,
                    effect_key=f"{session.session_id}:STOP:{session.version}:{attempt}",
                )  # fmt: skip
            case ev.AskMeterValues():
                trigger = {"message": "MeterValues", "evse": session.evse, "connector": session.connector}
                self._ask(station, session, Kind.TRIGGER, trigger, unit, now_ms)
            case ev.AskTransactionStatus():
                payload: dict[str, Any] = {"evse": session.evse, "connector": session.connector}
                if station.transport == "ocpp2.0.1":
                    raw = {"action": "GetTransactionStatus", "payload": {"transactionId": session.segments[-1].tx_id}}
                    self._ask(station, session, Kind.RAW, raw, unit, now_ms)
                else:
                    self._ask(
                        station, session, Kind.TRIGGER, {"message": "StatusNotification", **payload}, unit, now_ms
                    )
            case ev.CaseOpened(kind, severity, text):
                case_id = self._ids.uuid()
                row = (case_id, kind.value, severity.value, "open", station.id, session.session_id, session.order_id)
                unit.put(Put.CASE, (*row, text, now_ms, "{}"))
                body = {"case_id": case_id, "type": kind.value, "severity": severity.value, "text": text}
                put_session_fact(unit, "CaseOpened", now_ms, session, body | {"session_id": session.session_id})
            case ev.BudgetReached(cause, energy_wh):
                reached = {"session_id": session.session_id, "cause": cause.value, "energy_wh": energy_wh}
                put_session_fact(unit, "BudgetReached", now_ms, session, reached)
            case ev.CancelInstructions():
                pass  # the pump withdraws what is for a transaction that is over
            case _:
                name = _NEWS.get(type(outcome))
                if name is not None:
                    put_session_fact(unit, name, now_ms, session, _figures(session))

    def _ask(
        self,
        station: Station,
        session: Session,
        kind: Kind,
        payload: dict[str, Any],
        unit: Unit,
        now_ms: int,
        effect_key: str | None = None,
    ) -> None:
        instruction = asking.issue(
            self._ids.uuid(),
            station.id,
            kind,
            payload,
            now_ms,
            effect_key=effect_key,
            session_id=session.session_id,
            order_id=session.order_id,
        )
        put_new(unit, instruction)

    def _submit(self, unit: Unit) -> None:
        """Hand over a unit of our own making. It may carry a row that readings had left behind, so whoever asks for
        the newest waits for it, too (`save_meters`)."""
        told = unit.done

        def done(error: BaseException | None) -> None:
            self._saving -= 1
            if told is not None:
                told(error)

        unit.done = done
        self._saving += 1
        self._store.submit(unit)

    def _unit(self, station: Station) -> Unit:
        """A unit nobody waits for; should it fail, the memory no longer follows the disk and is read again."""

        def done(error: BaseException | None) -> None:
            if error is not None:
                log.error("charging.commit_failed", station=station.id, error=repr(error))
                self._on_lost(station)

        return Unit(done)


_ORDINARY = frozenset({Context.SAMPLE, Context.CLOCK, Context.TRIGGER, Context.OTHER})
_NEWS: dict[type, str] = {
    ev.NotifyInterrupted: "SessionInterrupted",
    ev.NotifyResumed: "SessionResumed",
    ev.Ended: "SessionEnded",
    ev.Abandoned: "SessionAbandoned",
    ev.Revised: "SessionRevised",
    ev.Reshaped: "SessionReshaped",
    ev.Voided: "SessionVoided",
}


def _figures(session: Session) -> dict[str, Any]:
    return {
        "session_id": session.session_id, "energy_wh": session.energy_wh, "quality": session.quality.value,
        "ended_ms": session.ended_at_ms, "end_cause": session.end_cause.value if session.end_cause else None,
        "our_fault": session.our_fault, "revision": session.revision,
        "interrupted_by": session.interrupted_by.value if session.interrupted_by else None,
    }  # fmt: skip


def _number(tx_id: str | None, session: Session) -> int:
    """The 1.6 transaction id of a segment; a station's own id (2.0.1) has none."""
    return int(tx_id) if tx_id is not None and tx_id.isdigit() and len(tx_id) < 11 else session.no
