"""What the inbound halves of both OCPP versions do alike: open an exchange, turn away who is not accepted, log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from csms.edges.exchange import Desk, Exchange, Payload, Work, carry_out, dumps, logged_answer, quarantine
from csms.edges.ocppj.codes import Fault
from csms.edges.ocppj.link import Link
from csms.edges.ocppj.schemas import Problem
from csms.ports import Put, Unit

# A clock is set from it once in minutes, over a network: wording it anew for every heartbeat buys nothing.
_BEAT_MS: Final = 50
NOT_ACCEPTED: Final = "This charger is not accepted yet."


class Inbound:
    """The base of `Dialect16` and `Dialect201`. `wire` is the version's module of pure translations."""

    wire: ClassVar[Any]

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._beat = (0, b"")  # when the last heartbeat's answer was worded, and the answer

    def boot(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:
        """Answered with the registration the operator decided (B01-B03)."""
        exchange = self._exchange(link, message_id, "BootNotification", raw)
        station = exchange.station
        self._desk.charging.boot(station, self.wire.boot(request), exchange.at_ms, exchange.unit)
        accepted = station.registration == "Accepted"
        interval_s = self._desk.heartbeat_interval_s if accepted else self._desk.pending_interval_s
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

    def sign_certificate(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:  # noqa: ARG002 - the seam
        """No certificate authority is configured: Rejected."""
        self._say(link, message_id, "SignCertificate", raw, self.wire.sign_certificate_answer(accepted=False))

    # -- the pieces

    def _exchange(self, link: Link, message_id: str, action: str, raw: bytes, note: str | None = None) -> Exchange:
        self._desk.count(action)
        return Exchange(self._desk, link, message_id, action, raw, note)

    def _may(self, link: Link, message_id: str, action: str, raw: bytes) -> bool:
        """Before it is accepted a charger may only boot (T8; B02.FR.09, B03.FR.07); the rest is logged and refused."""
        if link.context.registration == "Accepted":
            return True
        exchange = self._exchange(link, message_id, action, raw)
        exchange.refusal = (Fault.SECURITY, NOT_ACCEPTED)
        exchange.submit()
        return False

    def _say(self, link: Link, message_id: str, action: str, raw: bytes, answer: Payload) -> None:
        """Answer what needs no work."""
        if self._may(link, message_id, action, raw):
            self._exchange(link, message_id, action, raw).submit(dumps(answer))

    def _money(self, link: Link, message_id: str, action: str, raw: bytes, work: Work, note: str | None) -> None:
        """A fact that carries money is stored whoever sends it; only the answer tells who is not accepted."""
        exchange = self._exchange(link, message_id, action, raw, note)
        if exchange.station.registration != "Accepted":
            exchange.refusal = (Fault.SECURITY, NOT_ACCEPTED)
        carry_out(exchange, work)

    def _keep_original(
        self, link: Link, message_id: str, action: str, raw: bytes, problems: list[Problem], rules: tuple[str, ...]
    ) -> None:
        """A frame that will be worked on as it was mended is also stored as it came; nobody waits for that."""
        exchange = self._exchange(link, message_id, action, raw)
        quarantine(exchange, problems, rules=rules, state="repaired")
        exchange.unit.done = None
        self._desk.store.submit(exchange.unit)


def remember(exchange: Exchange, key: str, answer: Mapping[str, Any]) -> None:
    """Keep what a money frame was told, under its business key (SESSIONS 5.5)."""
    text = json.dumps(answer, separators=(",", ":"))
    exchange.unit.put(Put.ANSWER, (exchange.station.no, key, exchange.action, text, exchange.at_ms))


def action_and_payload(raw: bytes) -> tuple[str, dict[str, Any]]:
    """The action of a CALL and its payload as it came, for what is stored unread."""
    frame = json.loads(raw)
    return str(frame[2]), frame[3] if isinstance(frame[3], dict) else {}


def _log_only(desk: Desk, link: Link, message_id: str, action: str, raw: bytes, answer: bytes, now_ms: int) -> None:
    """A frame for the log that nobody waits for."""
    unit = Unit()
    station = link.context
    text = logged_answer(message_id, answer)
    row = (desk.stations.mint_frame_seq(), station.no, now_ms, 0, action, message_id, raw.decode(), text, now_ms, None)
    unit.put(Put.FRAME, row)
    desk.store.submit(unit)
