"""What an OCPP 2.0.1 charging station may ask: read, call the use case, answer (OCPP.md 4.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from csms.domain.access import Verdict, Why
from csms.domain.reported import Metered, Started, Stopped
from csms.edges.exchange import Desk, Exchange, Payload, dumps, quarantine, report
from csms.edges.inbound import Inbound, action_and_payload, remember
from csms.edges.ocpp201 import wire
from csms.edges.ocpp201.repair import repair, safe_answer
from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.link import Handler, Link
from csms.edges.ocppj.schemas import Problem, schemas_for

MONEY: Final = frozenset({"TransactionEvent", "MeterValues"})
_ANSWERED_EMPTY: Final = wire.EMPTY_ANSWERS - MONEY - {"StatusNotification"}
_FREE_TOKEN: Final = "NoAuthorization"  # noqa: S105 - a token type of the specification (C01.FR)


class Dialect201(Inbound):
    """`ocppj.link.Dialect` for OCPP 2.0.1."""

    wire: ClassVar = wire

    money_actions = MONEY

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._schemas = schemas_for(Version.V201)
        self.handlers: Mapping[str, Handler] = {
            "BootNotification": self.boot,
            "Heartbeat": self.heartbeat,
            "StatusNotification": self.status,
            "Authorize": self.authorize,
            "TransactionEvent": self.transaction_event,
            "MeterValues": self.meter_values,
            "DataTransfer": self.data_transfer,
            "SignCertificate": self.sign_certificate,
            "NotifyEVChargingNeeds": self.charging_needs,
            "NotifyEVChargingSchedule": self.charging_schedule,
            "Get15118EVCertificate": self.ev_certificate,
            "GetCertificateStatus": self.certificate_status,
            **dict.fromkeys(_ANSWERED_EMPTY, self.notified),
        }

    # -- charging

    def authorize(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:
        """Authorize: answered from memory; NoAuthorization is Accepted (C02)."""
        if not self._may(link, message_id, "Authorize", raw):
            return
        exchange = self._exchange(link, message_id, "Authorize", raw)
        token = request.idToken
        if token.type == _FREE_TOKEN:
            exchange.submit(dumps(wire.authorize_answer("Accepted")))
            return
        verdict = self._desk.charging.authorize(exchange.station, token.idToken, exchange.at_ms)
        exchange.submit(dumps(wire.authorize_answer(_word(verdict), verdict.group_id, verdict.expires_ms)))

    def transaction_event(self, link: Link, message_id: str, request: Any, raw: bytes, note: str | None = None) -> None:
        """TransactionEvent: Started, Updated, Ended; always answered (E)."""
        told = wire.transaction_event(request, link.context.quirks)
        named = request.idToken is not None and request.idToken.type != _FREE_TOKEN

        def work(exchange: Exchange, recalled: bool) -> Payload:
            charging, station, unit = self._desk.charging, exchange.station, exchange.unit
            verdict: Verdict | None = None
            match told:
                case Started():
                    verdict = charging.start(station, told, exchange.at_ms, unit, recalled=recalled).verdict
                case Metered():
                    charging.meter(station, told, exchange.at_ms, unit, exchange.seq, recalled=recalled)
                    if told.token is not None:
                        verdict = charging.authorize(station, told.token, exchange.at_ms)
                case Stopped():
                    verdict = charging.stop(station, told, exchange.at_ms, unit, recalled=recalled).verdict
            info = None
            if named and verdict is not None:
                info = wire.id_token_info(_word(verdict), verdict.group_id, verdict.expires_ms)
            elif request.idToken is not None and not named:
                info = wire.id_token_info("Accepted")
            answer = wire.transaction_event_answer(info)
            if not isinstance(told, Metered):
                remember(exchange, f"tx:{told.key}", answer)
            return answer

        self._money(link, message_id, "TransactionEvent", raw, work, note)

    def meter_values(self, link: Link, message_id: str, request: Any, raw: bytes, note: str | None = None) -> None:
        """MeterValues outside transactions."""
        told = wire.meter(request, link.context.quirks)

        def work(exchange: Exchange, recalled: bool) -> Payload:
            station = exchange.station
            self._desk.charging.meter(station, told, exchange.at_ms, exchange.unit, exchange.seq, recalled=recalled)
            return {}

        self._money(link, message_id, "MeterValues", raw, work, note)

    # -- the rest

    def notified(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:  # noqa: ARG002 - the seam
        """Reports, events and notices: stored as they came, answered `{}`."""
        action, payload = action_and_payload(raw)
        if not self._may(link, message_id, action, raw):
            return
        exchange = self._exchange(link, message_id, action, raw)
        at = payload.get("generatedAt") or payload.get("timestamp")
        numbered = payload.get("seqNo") is not None
        seq_no = payload.get("seqNo") if numbered else exchange.seq % 2**31
        report(exchange, action, payload, payload.get("requestId"), seq_no, at)
        exchange.submit()

    def data_transfer(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:
        """No vendor's contract is known yet: UnknownVendorId (P02)."""
        if not self._may(link, message_id, "DataTransfer", raw):
            return
        exchange = self._exchange(link, message_id, "DataTransfer", raw)
        body = {"vendorId": request.vendorId, "messageId": request.messageId}
        report(exchange, "DataTransfer", body, None, exchange.seq % 2**31, None)
        exchange.submit(dumps(wire.data_transfer_answer("UnknownVendorId")))

    def charging_needs(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:  # noqa: ARG002 - the seam
        """No schedule is computed: Rejected, so that the station charges by its own."""
        self._say(link, message_id, "NotifyEVChargingNeeds", raw, wire.charging_needs_answer("Rejected"))

    def charging_schedule(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:  # noqa: ARG002 - the seam
        """Taken note of."""
        self._say(link, message_id, "NotifyEVChargingSchedule", raw, wire.charging_schedule_answer(accepted=True))

    def ev_certificate(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:  # noqa: ARG002 - the seam
        """No contract certificate pool is configured."""
        self._say(link, message_id, "Get15118EVCertificate", raw, wire.ev_certificate_answer(None))

    def certificate_status(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:  # noqa: ARG002 - the seam
        """No OCSP responder is configured."""
        self._say(link, message_id, "GetCertificateStatus", raw, wire.certificate_status_answer(None))

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
        if mended is not None and request is not None and not isinstance(request, list):
            self._keep_original(link, message_id, action, raw, problems, mended.rules)
            handler = {"TransactionEvent": self.transaction_event, "MeterValues": self.meter_values}
            handler[action](link, message_id, request, raw, f"repaired: {', '.join(mended.rules)}")
            return
        exchange = self._exchange(link, message_id, action, raw)
        quarantine(exchange, problems, state="waiting")
        exchange.submit(dumps(safe_answer(action)))


def _word(verdict: Verdict) -> str:
    status = verdict.answer if verdict.is_good else verdict.status
    return "Unknown" if verdict.why is Why.UNKNOWN else status.value
