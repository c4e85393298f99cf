"""What an OCPP 2.0.1 charging station may ask: read, call the use case, answer (OCPP.md 4.4)."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, ClassVar, Final

import structlog

from csms.domain.access import Verdict, Why
from csms.domain.reported import Metered, Started, Stopped
from csms.domain.session_record import Session
from csms.edges.contracts import ACCEPTED as CONTRACT_ACCEPTED
from csms.edges.contracts import question_of
from csms.edges.exchange import Desk, Exchange, Payload, carry_out, dumps, quarantine, report
from csms.edges.inbound import MENDED, Inbound, action_and_payload, remember
from csms.edges.ocpp201 import wire
from csms.edges.ocpp201.repair import repair, safe_answer
from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.link import Handler, Link
from csms.edges.ocppj.schemas import Problem, schemas_for

log = structlog.get_logger()

MONEY: Final = frozenset({"TransactionEvent", "MeterValues"})
_ANSWERED_EMPTY: Final = wire.EMPTY_ANSWERS - MONEY - {"StatusNotification"}
_TX_ID_MAX: Final = 36
_MOST_ASKED: Final = 8
_FREE_TOKEN: Final = "NoAuthorization"  # noqa: S105 - a token type of the specification (C01.FR)


class Dialect201(Inbound):
    """`ocppj.link.Dialect` for OCPP 2.0.1."""

    wire: ClassVar = wire

    money_actions = MONEY
    mended_actions = MONEY | _ANSWERED_EMPTY | MENDED

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._repair = repair
        self._schemas = schemas_for(Version.V201)
        self._asking: dict[Link, int] = {}  # questions that wait for others' answers
        self._money_handlers = {"TransactionEvent": self.transaction_event, "MeterValues": self.meter_values}
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
        verdict = self._desk.charging.authorize(exchange.station, token.idToken, exchange.at_ms, token.type)
        answer = wire.authorize_answer(_word(verdict), verdict.group_id, verdict.expires_ms, evse_ids=verdict.evses)
        if verdict.is_good and (text := self._desk.costs.station_text(exchange.station, exchange.at_ms)):
            answer["idTokenInfo"]["personalMessage"] = wire.message_content(text)
        if request.certificate is None and not request.iso15118CertificateHashData:
            exchange.submit(dumps(answer))
        else:
            self._ask_others(link, self._judged(exchange, request, answer))

    async def _judged(self, exchange: Exchange, request: Any, answer: Payload) -> None:
        """A contract certificate is judged beside the token: both must be good (C07)."""
        hashes = [question_of(data) for data in request.iso15118CertificateHashData or ()]
        info = answer["idTokenInfo"]
        try:
            word = await self._desk.contracts.certificate_status(request.idToken.idToken, request.certificate, hashes)
        except Exception:
            log.exception("contract.failed", station=exchange.station.id)
            word = "CertChainError"
        if word != CONTRACT_ACCEPTED:
            answer["idTokenInfo"] = wire.id_token_info("Invalid")
        elif info["status"] != "Accepted":
            word = "ContractCancelled"
        exchange.submit(dumps({**answer, "certificateStatus": word}))

    def transaction_event(self, link: Link, message_id: str, request: Any, raw: bytes, note: str | None = None) -> None:
        """TransactionEvent: Started, Updated, Ended; always answered (E)."""
        told = wire.transaction_event(request, link.context.quirks)
        named = request.idToken is not None and request.idToken.type != _FREE_TOKEN

        def work(exchange: Exchange, recalled: bool) -> Payload:
            charging, station, unit = self._desk.charging, exchange.station, exchange.unit
            verdict: Verdict | None = None
            session: Session | None = None
            match told:
                case Started():
                    started = charging.start(station, told, exchange.at_ms, unit, recalled=recalled)
                    session, verdict = started.session, started.verdict
                case Metered():
                    session = charging.meter(station, told, exchange.at_ms, unit, exchange.seq, recalled=recalled)
                    if told.token is not None:
                        verdict = charging.authorize(station, told.token, exchange.at_ms, told.token_kind)
                case Stopped():
                    stopped = charging.stop(station, told, exchange.at_ms, unit, recalled=recalled)
                    session, verdict = stopped.session, stopped.verdict
            info = None
            if named and verdict is not None:
                info = wire.id_token_info(_word(verdict), verdict.group_id, verdict.expires_ms, evse_ids=verdict.evses)
            elif request.idToken is not None and not named:
                info = wire.id_token_info("Accepted")
            answer = self._with_price(exchange, told, session, info)
            if not isinstance(told, Metered):
                remember(exchange, f"tx:{told.key}", answer)
            return answer

        self._money(link, message_id, "TransactionEvent", raw, work, note)

    def _with_price(
        self, exchange: Exchange, told: Started | Metered | Stopped, session: Session | None, info: Payload | None
    ) -> Payload:
        """The answer, with what a display that shows prices is due to hear (I01, I02, I03, I06)."""
        costs, station, now_ms = self._desk.costs, exchange.station, exchange.at_ms
        if isinstance(told, Stopped):
            return wire.transaction_event_answer(info, costs.final(station, session))
        text = costs.session_text(station, session, now_ms)
        if text and info is not None and info["status"] == "Accepted":
            info["personalMessage"], text = wire.message_content(text), None
        total = costs.running(station, session, now_ms) if isinstance(told, Metered) else None
        return wire.transaction_event_answer(info, total, message=text)

    def meter_values(self, link: Link, message_id: str, request: Any, raw: bytes, note: str | None = None) -> None:
        """MeterValues outside transactions."""
        told = wire.meter(request, link.context.quirks)

        def work(exchange: Exchange, recalled: bool) -> Payload:
            station = exchange.station
            self._desk.charging.meter(station, told, exchange.at_ms, exchange.unit, exchange.seq, recalled=recalled)
            return {}

        self._money(link, message_id, "MeterValues", raw, work, note)

    # -- the rest

    def _notice(self, link: Link, message_id: str, action: str, payload: Payload, raw: bytes) -> None:
        if not self._may(link, message_id, action, raw):
            return
        exchange = self._exchange(link, message_id, action, raw)
        at = payload.get("generatedAt") or payload.get("timestamp")
        numbered = payload.get("seqNo") is not None
        seq_no = payload.get("seqNo") if numbered else exchange.seq % 2**31
        report(exchange, action, payload, payload.get("requestId"), seq_no, at)
        self._started_up(exchange, action, payload)
        exchange.submit()

    def charging_needs(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:  # noqa: ARG002 - the seam
        """What a car needs: a schedule is planned after the answer (K15)."""
        action, payload = action_and_payload(raw)
        if not self._may(link, message_id, action, raw):
            return
        exchange = self._exchange(link, message_id, action, raw)
        status = self._desk.car_needs.answer(exchange.station, payload)
        if status != "Rejected":
            report(exchange, action, payload, None, exchange.seq % 2**31, None)
        exchange.submit(dumps(wire.charging_needs_answer(status)))

    def charging_schedule(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:  # noqa: ARG002 - the seam
        """What a car will do: Rejected beyond what it was offered, and then it is offered anew (K15.FR.11, K16)."""
        action, payload = action_and_payload(raw)
        if not self._may(link, message_id, action, raw):
            return
        exchange = self._exchange(link, message_id, action, raw)
        accepted = self._desk.car_needs.keeps_to_plan(exchange.station, payload)
        report(exchange, action, payload, None, exchange.seq % 2**31, None)
        exchange.submit(dumps(wire.charging_schedule_answer(accepted=accepted)))

    def ev_certificate(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:
        """A car's request for a contract certificate goes to the pool as it came (M01, M02)."""
        if self._may(link, message_id, "Get15118EVCertificate", raw):
            exchange = self._exchange(link, message_id, "Get15118EVCertificate", raw)
            asked = {
                "iso15118SchemaVersion": request.iso15118SchemaVersion,
                "action": request.action,
                "exiRequest": request.exiRequest,
            }
            self._ask_others(link, self._issued(exchange, asked))

    async def _issued(self, exchange: Exchange, asked: Payload) -> None:
        exi: str | None = None
        try:
            told = await self._desk.contracts.ev_certificate(asked)
            if told is not None and told.get("status") == "Accepted":
                exi = str(told["exiResponse"])
        except Exception:
            log.exception("contract.failed", station=exchange.station.id)
        exchange.submit(dumps(wire.ev_certificate_answer(exi)))

    def certificate_status(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:
        """The OCSP responder's word, when it has spoken (M06)."""
        if self._may(link, message_id, "GetCertificateStatus", raw):
            exchange = self._exchange(link, message_id, "GetCertificateStatus", raw)
            self._ask_others(link, self._looked_up(exchange, request))

    async def _looked_up(self, exchange: Exchange, request: Any) -> None:
        result: str | None = None
        try:
            result = await self._desk.contracts.ocsp(question_of(request.ocspRequestData))
        except Exception:
            log.exception("ocsp.failed", station=exchange.station.id)
        exchange.submit(dumps(wire.certificate_status_answer(result)))

    def _ask_others(self, link: Link, asking: Coroutine[Any, Any, None]) -> None:
        """Answer when somebody else has, off the read loop. A charger with many such questions waits with whatever
        comes next: others may take half a minute, and it could ask a thousand times a second."""
        self._asking[link] = self._asking.get(link, 0) + 1
        is_many = self._asking[link] >= _MOST_ASKED
        if is_many:
            link.hold()

        async def ask() -> None:
            try:
                await asking
            finally:
                self._asking[link] -= 1
                if not self._asking[link]:
                    del self._asking[link]
                if is_many:
                    link.release()

        self._desk.spawn(ask())

    def _unreadable(
        self,
        link: Link,
        message_id: str,
        action: str,
        payload: dict[str, Any] | None,
        raw: bytes,
        problems: list[Problem],
    ) -> None:
        tx_id = _transaction_of(payload)

        def work(exchange: Exchange, recalled: bool) -> Payload:
            if tx_id is not None:
                charging, station = self._desk.charging, exchange.station
                charging.unreadable_event(station, tx_id, exchange.at_ms, exchange.unit, recalled=recalled)
            quarantine(exchange, problems, state="waiting")
            return safe_answer(action)

        carry_out(self._exchange(link, message_id, action, raw), work)


def _transaction_of(payload: dict[str, Any] | None) -> str | None:
    """The transaction that an unreadable event names, where at least that much can be read."""
    info = payload.get("transactionInfo") if payload is not None else None
    tx_id = info.get("transactionId") if isinstance(info, dict) else None
    return tx_id if isinstance(tx_id, str) and 0 < len(tx_id) <= _TX_ID_MAX else None


def _word(verdict: Verdict) -> str:
    status = verdict.answer if verdict.is_good else verdict.status
    return "Unknown" if verdict.why is Why.UNKNOWN else status.value
