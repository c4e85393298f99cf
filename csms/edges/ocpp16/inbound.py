"""What an OCPP 1.6 charge point may ask: read, call the use case, answer (OCPP.md 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from csms.app.charging import NotInMemory
from csms.domain.access import Verdict
from csms.domain.reported import Metered
from csms.edges.exchange import Desk, Exchange, Payload, carry_out, dumps, quarantine, recall, report
from csms.edges.inbound import MENDED, NOT_ACCEPTED, Inbound, remember
from csms.edges.ocpp16 import wire
from csms.edges.ocpp16.repair import repair, safe_answer
from csms.edges.ocppj.codes import Fault, Version
from csms.edges.ocppj.link import Handler, Link
from csms.edges.ocppj.schemas import Problem, schemas_for
from firmware_profiles.quirks import TX0_MEANS_UNKNOWN

MONEY: Final = frozenset({"StartTransaction", "StopTransaction", "MeterValues"})
_ANSWERED_EMPTY: Final = wire.EMPTY_ANSWERS - MONEY - {"StatusNotification"}


class Dialect16(Inbound):
    """`ocppj.link.Dialect` for OCPP 1.6."""

    wire: ClassVar = wire

    money_actions = MONEY
    mended_actions = MONEY | _ANSWERED_EMPTY | MENDED  # a message with its own words still says much

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._repair = repair
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
        self._money_handlers = {
            "StartTransaction": self.start,
            "MeterValues": self.meter_values,
            "StopTransaction": self.stop,
        }
        self.handlers: Mapping[str, Handler] = {"BootNotification": self.boot, **guarded}

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
        if not self._is_solicited(station, "MeterValues"):
            exchange.refusal = (Fault.SECURITY, NOT_ACCEPTED)
        carry_out(exchange, lambda x, recalled: self._metered(x, told, recalled=recalled))

    def _metered(self, exchange: Exchange, told: Metered, *, recalled: bool = True) -> Payload:
        charging = self._desk.charging
        charging.meter(exchange.station, told, exchange.at_ms, exchange.unit, exchange.seq, recalled=recalled)
        return {}

    def stop(self, link: Link, message_id: str, request: Any, raw: bytes, note: str | None = None) -> None:
        """StopTransaction: cannot be refused."""
        told = wire.stop(request, link.context.quirks)
        if request.transactionId == 0 and TX0_MEANS_UNKNOWN not in link.context.quirks:
            self._desk.oddities.noted(link.context, "transaction_zero")

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

    # -- the rest

    def _notice(self, link: Link, message_id: str, action: str, payload: Payload, raw: bytes) -> None:
        # A security event waits in a queue until it is answered, accepted or not (OCPP.md 4.2 row 37).
        if action != "SecurityEventNotification" and not self._may(link, message_id, action, raw):
            return
        exchange = self._exchange(link, message_id, action, raw)
        report(exchange, action, payload, payload.get("requestId"), exchange.seq % 2**31, payload.get("timestamp"))
        self._started_up(exchange, action, payload)
        exchange.submit()

    def _unreadable(
        self,
        link: Link,
        message_id: str,
        action: str,
        payload: dict[str, Any] | None,  # noqa: ARG002 - 2.0.1 reads from it
        raw: bytes,
        problems: list[Problem],
    ) -> None:
        exchange = self._exchange(link, message_id, action, raw)
        quarantine(exchange, problems, state="waiting")
        number = None
        if action == "StartTransaction":
            number = self._desk.charging.unreadable_start(exchange.station, exchange.at_ms, exchange.unit)
        exchange.submit(dumps(safe_answer(action, transaction_id=number)))


def _word(verdict: Verdict) -> str:
    """What a start or stop is told: no for what was refused then, and the tag's standing now for the cache."""
    return verdict.answer.value if verdict.is_good else verdict.status.value
