"""What an OCPP 1.6 charge point may ask: read, call the use case, answer (OCPP.md 4.2)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from csms.app.charging import NotInMemory
from csms.domain.access import Verdict
from csms.domain.reported import Metered
from csms.edges.exchange import Desk, Exchange, Payload, carry_out, dumps, logged_answer, quarantine, recall, report
from csms.edges.ocpp16 import wire
from csms.edges.ocpp16.repair import repair, safe_answer
from csms.edges.ocppj.codes import Fault, Version
from csms.edges.ocppj.link import Handler, Link
from csms.edges.ocppj.schemas import Problem, schemas_for
from csms.ports import Put, Unit

NOT_ACCEPTED: Final = "This charger is not accepted yet."
MONEY: Final = frozenset({"StartTransaction", "StopTransaction", "MeterValues"})
_ANSWERED_EMPTY: Final = wire.EMPTY_ANSWERS - MONEY - {"StatusNotification"}


class Dialect16:
    """`ocppj.link.Dialect` for OCPP 1.6."""

    money_actions = MONEY | {"StatusNotification"}  # those worth a repair; a status with its own words still says much

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._schemas = schemas_for(Version.V16)
        guarded: dict[str, Handler] = {
            "Heartbeat": self.heartbeat,
            "StatusNotification": self.status,
            "Authorize": self.authorize,
            "StartTransaction": self.start,
            "MeterValues": self.meter_values,
            "StopTransaction": self.stop,
            "DataTransfer": self.data_transfer,
            "SignCertificate": self.sign_certificate,
            **dict.fromkeys(_ANSWERED_EMPTY, self.notified),
        }
        self.handlers: Mapping[str, Handler] = {"BootNotification": self.boot, **guarded}

    # -- provisioning

    def boot(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:
        """Answered with the registration the operator decided."""
        exchange = self._exchange(link, message_id, "BootNotification", raw)
        station = exchange.station
        self._desk.charging.boot(station, wire.boot(request), exchange.at_ms, exchange.unit)
        accepted = station.registration == "Accepted"
        interval_s = self._desk.heartbeat_interval_s if accepted else self._desk.pending_interval_s
        exchange.submit(dumps(wire.boot_answer(station.registration, exchange.at_ms, interval_s)))

    def heartbeat(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:  # noqa: ARG002 - the seam
        """The current time. Nothing of it must be durable, so the answer does not wait; the frame log follows."""
        desk = self._desk
        if not self._may(link, message_id, "Heartbeat", raw):
            return
        now_ms = desk.clock.now_ms()
        link.context.last_seen_ms = now_ms
        answer = dumps(wire.heartbeat_answer(now_ms))
        link.answer(message_id, answer)
        desk.count("Heartbeat")
        if desk.log_heartbeats:
            log_only(desk, link, message_id, "Heartbeat", raw, answer, now_ms)

    def status(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:
        """StatusNotification."""
        if not self._may(link, message_id, "StatusNotification", raw):
            return
        exchange = self._exchange(link, message_id, "StatusNotification", raw)
        told = wire.status(request, exchange.station.quirks)
        self._desk.charging.status(exchange.station, told, exchange.at_ms, exchange.unit)
        exchange.submit()

    # -- charging

    def authorize(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:
        """Authorize: answered from memory."""
        if not self._may(link, message_id, "Authorize", raw):
            return
        exchange = self._exchange(link, message_id, "Authorize", raw)
        verdict = self._desk.charging.authorize(exchange.station, request.idTag, exchange.at_ms)
        exchange.submit(dumps(wire.authorize_answer(verdict.answer.value, verdict.group_id, verdict.expires_ms)))

    def start(self, link: Link, message_id: str, request: Any, raw: bytes, note: str | None = None) -> None:
        """StartTransaction: always answered with an id."""
        told = wire.start(request, link.context.quirks)

        def work(exchange: Exchange, recalled: bool) -> Payload:
            charging = self._desk.charging
            done = charging.start(exchange.station, told, exchange.at_ms, exchange.unit, recalled=recalled)
            answer = wire.start_answer(done.number, _word(done.verdict), done.verdict.group_id, done.verdict.expires_ms)
            remember(exchange, f"start:{told.key}", answer)
            return answer

        self._money(link, message_id, "StartTransaction", raw, work, note)

    def meter_values(self, link: Link, message_id: str, request: Any, raw: bytes, note: str | None = None) -> None:
        """MeterValues: the hot path. What is ordinary goes straight through, without a closure."""
        station = link.context
        told = wire.meter(request, station.quirks)
        exchange = self._exchange(link, message_id, "MeterValues", raw, note)
        charging = self._desk.charging
        if station.registration == "Accepted":
            try:
                charging.meter(station, told, exchange.at_ms, exchange.unit, exchange.seq)
            except NotInMemory as missing:
                recall(exchange, lambda x: self._metered(x, told), missing)
            else:
                exchange.submit()
            return
        exchange.refusal = (Fault.SECURITY, NOT_ACCEPTED)
        carry_out(exchange, lambda x, recalled: self._metered(x, told, recalled=recalled))

    def _metered(self, exchange: Exchange, told: Metered, *, recalled: bool = True) -> Payload:
        charging = self._desk.charging
        charging.meter(exchange.station, told, exchange.at_ms, exchange.unit, exchange.seq, recalled=recalled)
        return {}

    def stop(self, link: Link, message_id: str, request: Any, raw: bytes, note: str | None = None) -> None:
        """StopTransaction: cannot be refused."""
        told = wire.stop(request, link.context.quirks)

        def work(exchange: Exchange, recalled: bool) -> Payload:
            done = self._desk.charging.stop(exchange.station, told, exchange.at_ms, exchange.unit, recalled=recalled)
            verdict = done.verdict
            answer = (
                wire.stop_answer()
                if verdict is None
                else wire.stop_answer(_word(verdict), verdict.group_id, verdict.expires_ms)
            )
            remember(exchange, f"stop:{told.key}", answer)
            return answer

        self._money(link, message_id, "StopTransaction", raw, work, note)

    def _money(self, link: Link, message_id: str, action: str, raw: bytes, work: Any, note: str | None) -> None:
        exchange = self._exchange(link, message_id, action, raw, note)
        if exchange.station.registration != "Accepted":
            exchange.refusal = (Fault.SECURITY, NOT_ACCEPTED)
        carry_out(exchange, work)

    # -- the rest

    def notified(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:  # noqa: ARG002 - the seam
        """Firmware, diagnostics, log and security notices: stored as they came, answered `{}` in every state."""
        action, payload = _action(raw)
        if not self._may(link, message_id, action, raw):
            return
        exchange = self._exchange(link, message_id, action, raw)
        report(exchange, action, payload, payload.get("requestId"), exchange.seq % 2**31, payload.get("timestamp"))
        exchange.submit()

    def data_transfer(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:
        """No vendor's contract is known yet: UnknownVendorId, which is an answer and no error."""
        if not self._may(link, message_id, "DataTransfer", raw):
            return
        exchange = self._exchange(link, message_id, "DataTransfer", raw)
        body = {"vendorId": request.vendorId, "messageId": request.messageId, "data": request.data}
        report(exchange, "DataTransfer", body, None, exchange.seq % 2**31, None)
        exchange.submit(dumps(wire.data_transfer_answer("UnknownVendorId")))

    def sign_certificate(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:  # noqa: ARG002 - the seam
        """No certificate authority is configured: Rejected."""
        if not self._may(link, message_id, "SignCertificate", raw):
            return
        exchange = self._exchange(link, message_id, "SignCertificate", raw)
        exchange.submit(dumps(wire.sign_certificate_answer(accepted=False)))

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
        mended = repair(action, payload, problems) if payload is not None else None
        request = self._schemas.fit(action, mended.payload) if mended is not None else None
        if action == "StatusNotification":
            if request is None or isinstance(request, list):
                link.refuse(message_id, problems[0].fault, str(problems[0]))
            else:
                self.status(link, message_id, request, raw)
            return
        if mended is not None and request is not None and not isinstance(request, list):
            store = self._exchange(link, message_id, action, raw)
            quarantine(store, problems, rules=mended.rules, state="repaired")
            store.unit.done = None
            self._desk.store.submit(store.unit)
            handler = {"StartTransaction": self.start, "MeterValues": self.meter_values, "StopTransaction": self.stop}
            handler[action](link, message_id, request, raw, f"repaired: {', '.join(mended.rules)}")
            return
        exchange = self._exchange(link, message_id, action, raw)
        quarantine(exchange, problems, state="waiting")
        number = None
        if action == "StartTransaction":
            number = self._desk.charging.unreadable_start(exchange.station, exchange.at_ms, exchange.unit)
        exchange.submit(dumps(safe_answer(action, transaction_id=number)))

    # -- the pieces

    def _exchange(self, link: Link, message_id: str, action: str, raw: bytes, note: str | None = None) -> Exchange:
        self._desk.count(action)
        return Exchange(self._desk, link, message_id, action, raw, note)

    def _may(self, link: Link, message_id: str, action: str, raw: bytes) -> bool:
        """Before it is accepted a charge point may only boot (T8); what it sends is logged and refused."""
        if link.context.registration == "Accepted":
            return True
        exchange = self._exchange(link, message_id, action, raw)
        exchange.refusal = (Fault.SECURITY, NOT_ACCEPTED)
        exchange.submit()
        return False


def _word(verdict: Verdict) -> str:
    """What a start or stop is told: no for what was refused then, and the tag's standing now for the cache."""
    return verdict.answer.value if verdict.is_good else verdict.status.value


def remember(exchange: Exchange, key: str, answer: Mapping[str, Any]) -> None:
    """Keep what a money frame was told, under its business key (SESSIONS 5.5)."""
    text = json.dumps(answer, separators=(",", ":"))
    exchange.unit.put(Put.ANSWER, (exchange.station.no, key, exchange.action, text, exchange.at_ms))


def log_only(desk: Desk, link: Link, message_id: str, action: str, raw: bytes, answer: bytes, now_ms: int) -> None:
    """A frame for the log that nobody waits for."""
    unit = Unit()
    station = link.context
    text = logged_answer(message_id, answer)
    row = (desk.stations.mint_frame_seq(), station.no, now_ms, 0, action, message_id, raw.decode(), text, now_ms, None)
    unit.put(Put.FRAME, row)
    desk.store.submit(unit)


def _action(raw: bytes) -> tuple[str, dict[str, Any]]:
    frame = json.loads(raw)
    return str(frame[2]), frame[3] if isinstance(frame[3], dict) else {}
