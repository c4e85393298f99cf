"""What the inbound halves of both OCPP versions do alike: open an exchange, turn away who is not accepted, log."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from csms.app.stations import Station
from csms.domain.certificate import Use
from csms.domain.refusal import Refusal, Why
from csms.edges.exchange import Desk, Exchange, Payload, Work, carry_out, dumps, logged_answer, quarantine, report
from csms.edges.garbled import LONGEST
from csms.edges.ocppj.codes import Fault
from csms.edges.ocppj.frames import Call, parse
from csms.edges.ocppj.link import Handler, Link
from csms.edges.ocppj.schemas import Problem, SchemaSet
from csms.edges.ocpprepair import Repaired
from csms.edges.oddities import is_announced
from csms.edges.registration import ACCEPTED, PENDING, REJECTED
from csms.edges.vendors import reply
from csms.ports import Put, Unit

# A clock is set from it once in minutes, over a network: wording it anew for every heartbeat buys nothing.
_BEAT_MS: Final = 50
_REJECTED_S: Final = 300  # OCPP.md 6.2: one that is not wanted need not knock often
_STARTED: Final = "StartupOfTheDevice"
_POLICY_VIOLATION: Final = 1008
MENDED: Final = frozenset({"BootNotification", "StatusNotification", "Authorize", "Heartbeat", "DataTransfer"})
"""What carries no money and is read all the same when it can be mended (PEERS 3 row 18)."""
_WHO_IT_IS: Final = frozenset({"", "chargePointVendor", "chargePointModel", "chargingStation", "vendorName", "model"})
NOT_ACCEPTED: Final = "This charger is not accepted yet."


class Inbound:
    """The base of `Dialect16` and `Dialect201`. `wire` is the version's module of pure translations."""

    wire: ClassVar[Any]
    money_actions: ClassVar[frozenset[str]]
    handlers: Mapping[str, Handler]
    _money_handlers: Mapping[str, Callable[..., None]]  # they also take a note for the frame log
    _schemas: SchemaSet
    _repair: Callable[[str, object, Sequence[object]], Repaired | None]  # by the version's own rules

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._beat = (0, b"")  # when the last heartbeat's answer was worded, and the answer

    def boot(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:
        """Answered with the registration the operator decided (B01-B03)."""
        exchange = self._exchange(link, message_id, "BootNotification", raw)
        station, told = exchange.station, self.wire.boot(request)
        if link.peer_name is not None and told.serial is not None and not _same(told.serial, link.peer_name):
            _turn_out(exchange, told.serial)
            return
        self._desk.charging.boot(station, told, exchange.at_ms, exchange.unit)
        self._desk.on_boot(link)
        accepted = station.registration == ACCEPTED
        station.told_registration = station.registration
        heartbeat_s = self._desk.heartbeat_of(station) or self._desk.heartbeat_interval_s
        interval_s = heartbeat_s if accepted else self._desk.pending_interval_s
        if station.registration == REJECTED:
            interval_s = max(interval_s, _REJECTED_S)
        exchange.submit(dumps(self.wire.boot_answer(station.registration, exchange.at_ms, interval_s)))

    def heartbeat(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:  # noqa: ARG002 - the seam
        """The current time. Nothing of it must be durable, so the answer does not wait; the frame log follows."""
        desk = self._desk
        if not self._may(link, message_id, "Heartbeat", raw):
            return
        now_ms = desk.clock.now_ms()
        link.context.last_seen_ms = now_ms
        at_ms, answer = self._beat
        if not 0 <= now_ms - at_ms < _BEAT_MS:
            answer = dumps(self.wire.heartbeat_answer(now_ms))
            self._beat = (now_ms, answer)
        link.answer(message_id, answer)
        desk.count("Heartbeat")
        if desk.log_heartbeats:
            _log_only(desk, link, message_id, "Heartbeat", raw, answer, now_ms)

    def status(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:
        """StatusNotification."""
        if not self._may(link, message_id, "StatusNotification", raw):
            return
        exchange = self._exchange(link, message_id, "StatusNotification", raw)
        told = self.wire.status(request, exchange.station.quirks)
        self._desk.charging.status(exchange.station, told, exchange.at_ms, exchange.unit)
        exchange.submit()

    def data_transfer(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:
        """A vendor's own message: stored as it came, answered as the vendor's contract says (`vendors`)."""
        if not self._may(link, message_id, "DataTransfer", raw):
            return
        exchange = self._exchange(link, message_id, "DataTransfer", raw)
        body = {"vendorId": request.vendorId, "messageId": request.messageId, "data": request.data}
        report(exchange, "DataTransfer", body, None, exchange.seq % 2**31, None)
        status, data = reply(request.vendorId, request.messageId, request.data)
        exchange.submit(dumps(self.wire.data_transfer_answer(status, data)))

    def sign_certificate(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:
        """Accepted when the request will be signed, which happens after the answer (A02.FR.11); else Rejected."""
        if not self._may(link, message_id, "SignCertificate", raw):
            return
        exchange = self._exchange(link, message_id, "SignCertificate", raw)
        # 2.0.1 names no use where one certificate serves both; 1.6 has but one use.
        use = str(getattr(request, "certificateType", Use.STATION) or Use.COMBINED)
        problem = self._desk.signing.problem(exchange.station, request.csr, use)
        if problem is None:
            body = {"csr": request.csr, "certificateType": use}
            report(exchange, "SignCertificate", body, None, exchange.seq % 2**31, None)
        else:
            exchange.note = problem
        exchange.submit(dumps(self.wire.sign_certificate_answer(accepted=problem is None)))

    # -- the pieces

    def _exchange(self, link: Link, message_id: str, action: str, raw: bytes, note: str | None = None) -> Exchange:
        self._desk.count(action)
        return Exchange(self._desk, link, message_id, action, raw, note)

    def _may(self, link: Link, message_id: str, action: str, raw: bytes) -> bool:
        """Before it is accepted a charger may only boot, and say what we asked for while it is Pending (T8; B02.FR.09,
        B03.FR.07); the rest is logged and refused."""
        if link.context.registration == ACCEPTED or self._is_solicited(link.context, action):
            return True
        exchange = self._exchange(link, message_id, action, raw)
        exchange.refusal = (Fault.SECURITY, NOT_ACCEPTED)
        exchange.submit()
        return False

    def _is_solicited(self, station: Station, action: str) -> bool:
        until_ms = station.solicited.get(action)
        return until_ms is not None and station.registration == PENDING and self._desk.clock.now_ms() < until_ms

    def _say(self, link: Link, message_id: str, action: str, raw: bytes, answer: Payload) -> None:
        """Answer what needs no work."""
        if self._may(link, message_id, action, raw):
            self._exchange(link, message_id, action, raw).submit(dumps(answer))

    def _money(self, link: Link, message_id: str, action: str, raw: bytes, work: Work, note: str | None) -> None:
        """A fact that carries money is stored whoever sends it; only the answer tells who is not accepted."""
        exchange = self._exchange(link, message_id, action, raw, note)
        if exchange.station.registration != ACCEPTED and not self._is_solicited(exchange.station, action):
            exchange.refusal = (Fault.SECURITY, NOT_ACCEPTED)
        carry_out(exchange, work)

    def _started_up(self, exchange: Exchange, action: str, payload: Payload) -> None:
        """Evidence for a boot that may have been no more than a reconnect (SESSIONS 5.4)."""
        if action == "SecurityEventNotification" and payload.get("type") == _STARTED:
            self._desk.charging.started_up(exchange.station, exchange.at_ms, exchange.unit)

    def misfit(
        self,
        link: Link,
        message_id: str,
        action: str,
        payload: dict[str, Any] | None,
        raw: bytes,
        problems: list[Problem],
    ) -> None:
        """A money frame that breaks its schema is repaired, or kept and answered all the same (PEERS 2.6)."""
        mended = self._repair(action, payload, problems) if payload is not None else None
        fitted = self._schemas.fit(action, mended.payload) if mended is not None else None
        request = None if isinstance(fitted, list) else fitted
        if self._is_refused(link, message_id, problems, mended.rules if mended is not None else None):
            return
        if action not in self.money_actions:
            self._misfit_without_money(link, message_id, action, raw, problems, mended, request)
        elif mended is not None and request is not None:
            self._keep_original(link, message_id, action, raw, problems, mended.rules)
            self._money_handlers[action](link, message_id, request, raw, f"repaired: {', '.join(mended.rules)}")
        else:
            self._unreadable(link, message_id, action, payload, raw, problems)

    def read_again(self, action: str, payload: object) -> tuple[Any, tuple[str, ...]]:
        """A quarantined payload with the rules of today: (request, rules that mended it). Raises Refusal."""
        fitted = self._schemas.fit(action, payload)
        if not isinstance(fitted, list):
            return fitted, ()
        mended = self._repair(action, payload, fitted) if isinstance(payload, dict) else None
        again = self._schemas.fit(action, mended.payload) if mended is not None else fitted
        if mended is None or isinstance(again, list):
            said = "; ".join(str(problem) for problem in fitted[:3])
            raise Refusal(Why.INVALID_REQUEST, f"It still cannot be understood: {said or 'it is no object'}.")
        return again, mended.rules

    def take_again(self, link: Link, message_id: str, action: str, request: Any, raw: bytes, note: str) -> None:
        """Work on what `read_again` made of a frame."""
        self._money_handlers[action](link, message_id, request, raw, note)

    def _unreadable(
        self,
        link: Link,
        message_id: str,
        action: str,
        payload: dict[str, Any] | None,
        raw: bytes,
        problems: list[Problem],
    ) -> None:
        """Keep a money frame that nobody can mend aside, and answer it."""
        raise NotImplementedError

    def _misfit_without_money(
        self,
        link: Link,
        message_id: str,
        action: str,
        raw: bytes,
        problems: list[Problem],
        mended: Repaired | None,
        request: Any,
    ) -> None:
        """A message that does not fit and carries no money: read as it was mended where that gives anything. What
        nobody can read is refused, but for a notice, which would come for ever, and a token, which nobody knows."""
        is_notice = action not in MENDED
        may_be_read = mended is not None and (is_notice or self._may_mend(link, action, problems, mended.rules))
        if mended is not None and request is not None and may_be_read:
            self._desk.oddities.repaired(link.context, mended.rules)
            kept = raw[:LONGEST]  # for the log; what counts of it was read
            if is_notice:
                self._notice(link, message_id, action, mended.payload, kept)
            else:
                self.handlers[action](link, message_id, request, kept)
        elif is_notice:
            self._unread(link, message_id, action, raw, problems[0])
        elif action == "Authorize" and all(problem.fault is Fault.PROPERTY for problem in problems):
            self._say(link, message_id, action, raw, self.wire.authorize_answer("Invalid"))
        else:
            link.refuse(message_id, problems[0].fault, str(problems[0]))

    @staticmethod
    def _may_mend(link: Link, action: str, problems: list[Problem], rules: tuple[str, ...]) -> bool:
        """What is too long, empty, missing or in other words is mended. A value of another type is what the charger
        meant only where nothing hangs on it, or where a word of the charger says that it writes so."""
        if action == "StatusNotification" or is_announced(link.context.quirks, rules):
            return True
        wrong = {problem.path.rpartition("/")[2] for problem in problems if problem.fault is Fault.TYPE}
        return not wrong or (action == "BootNotification" and wrong.isdisjoint(_WHO_IT_IS))

    def notified(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:  # noqa: ARG002 - the seam
        """Reports, events and notices: stored as they came, answered `{}`."""
        action, payload = action_and_payload(raw)
        self._notice(link, message_id, action, payload, raw)

    def _notice(self, link: Link, message_id: str, action: str, payload: Payload, raw: bytes) -> None:
        """Store a notice with this payload and answer it."""
        raise NotImplementedError

    def _unread(self, link: Link, message_id: str, action: str, raw: bytes, problem: Problem) -> None:
        """A notice that nobody can read stands in the frame log and is answered: refused, it would come for ever."""
        if self._may(link, message_id, action, raw):
            self._desk.oddities.noted(link.context, f"{action} kept unread")
            cut = f", of {len(raw)} bytes" if len(raw) > LONGEST else ""
            self._exchange(link, message_id, action, raw[:LONGEST], f"kept unread{cut}: {problem}").submit()

    def _is_refused(self, link: Link, message_id: str, problems: list[Problem], rules: tuple[str, ...] | None) -> bool:
        """Strict mode takes the schemas at their word: what a word of the charger does not announce is refused."""
        if not self._desk.strict or (rules is not None and is_announced(link.context.quirks, rules)):
            return False
        link.refuse(message_id, problems[0].fault, str(problems[0]))
        return True

    def _keep_original(
        self, link: Link, message_id: str, action: str, raw: bytes, problems: list[Problem], rules: tuple[str, ...]
    ) -> None:
        """A frame that will be worked on as it was mended is also stored as it came, unless the charger is known to
        write so; nobody waits for that."""
        if self._desk.oddities.repaired(link.context, rules):
            return
        exchange = self._exchange(link, message_id, action, raw)
        quarantine(exchange, problems, rules=rules, state="repaired")
        exchange.unit.done = None
        self._desk.store.submit(exchange.unit)


def remember(exchange: Exchange, key: str, answer: Mapping[str, Any]) -> None:
    """Keep what a money frame was told, under its business key (SESSIONS 5.5)."""
    text = json.dumps(answer, separators=(",", ":"))
    exchange.unit.put(Put.ANSWER, (exchange.station.no, key, exchange.action, text, exchange.at_ms))


def _same(serial: str, name: str) -> bool:
    return serial.casefold() == name.casefold()


def _turn_out(exchange: Exchange, serial: str) -> None:
    """The charger booted under another serial number than its certificate's: refused, and the link ends (A00.FR.407,
    B01). Nothing that it said of itself is believed."""
    link, station = exchange.link, exchange.station
    exchange.refusal = (Fault.SECURITY, "The serial number is not the one in the certificate.")
    text = f"{station.id} came with a certificate for {link.peer_name} and booted as {serial}."
    case_id = f"serial-{station.id}-{serial}"
    case = (case_id, "CERTIFICATE", "warning", "open", station.id, None, None, text, exchange.at_ms, "{}")
    exchange.unit.put(Put.CASE, case)
    answered = exchange.unit.done

    def done(error: BaseException | None) -> None:
        if answered is not None:
            answered(error)
        link.close(_POLICY_VIOLATION, "not the charger of the certificate")

    exchange.unit.done = done
    exchange.submit()


def action_and_payload(raw: bytes) -> tuple[str, dict[str, Any]]:
    """The action of a CALL and its payload as it came, for what is stored unread; read as tolerantly as at the door."""
    call = parse(raw)
    assert isinstance(call, Call)  # it was answered as one
    return call.action, call.payload if isinstance(call.payload, dict) else {}


def _log_only(desk: Desk, link: Link, message_id: str, action: str, raw: bytes, answer: bytes, now_ms: int) -> None:
    """A frame for the log that nobody waits for."""
    unit = Unit()
    station = link.context
    text = logged_answer(message_id, answer)
    request = raw.decode("utf-8", "replace")
    row = (desk.stations.mint_frame_seq(), station.no, now_ms, 0, action, message_id, request, text, now_ms, None)
    unit.put(Put.FRAME, row)
    desk.store.submit(unit)
