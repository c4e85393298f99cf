"""What tokens mean for sessions: judged at a start, at its repeat, at the stop; and what a good one brings along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from csms.app.stations import Station
from csms.app.tokens import Tokens, Vehicle
from csms.domain import session_events as ev
from csms.domain.access import Place, Token, TokenKind, TokenStatus, Verdict, Why
from csms.domain.instruction import Instruction
from csms.domain.matching import token_norm
from csms.domain.reported import Metered, Started, Stopped
from csms.domain.session import Session
from firmware_profiles.quirks import START_MATCH_BY_SOCKET


class Verdicts:
    """The charger path's questions to `tokens`. Memory only."""

    def __init__(self, tokens: Tokens, default_limit: Callable[[Session, Token], int | None]) -> None:
        self._tokens = tokens
        self._default_limit = default_limit

    def authorize(self, station: Station, token: str | None, now_ms: int, kind: str | None) -> Verdict:
        """The tag as of now, at no particular socket."""
        token, _ = self._tokens.recognise(token)
        return self._tokens.authorize(token, now_ms, Place(station.id, location=station.location_id), kind)

    def start(
        self, station: Station, session: Session, token: str | None, at_ms: int, now_ms: int, kind: str | None = None
    ) -> Verdict:
        """Whether this token may have this session, begun at `at_ms`."""
        place = Place(station.id, session.evse, session.connector, station.location_id)
        return self._tokens.start(token, at_ms, now_ms, place, session, kind)

    def repeated(self, station: Station, session: Session, token: str | None, now_ms: int) -> Verdict:
        """The verdict that a repeat is answered with: the one the session was started on."""
        judged = self.start(station, session, token, session.started_at_ms or now_ms, now_ms)
        if session.authorised is None:
            return judged
        if not session.authorised:
            refused = TokenStatus.INVALID if judged.is_good else judged.status
            return replace(judged, status=refused, answer=refused)
        return replace(judged, status=TokenStatus.ACCEPTED, answer=self._tokens.stop(token, now_ms).answer, why=None)

    def stop(self, told: Stopped, now_ms: int) -> Verdict | None:
        """Of the token that a stop names; None where it names none."""
        if told.token is None:
            return None
        entry = self._tokens.get(told.token)
        if entry is not None and entry.token.kind is TokenKind.ORDER:
            return Verdict(TokenStatus.ACCEPTED, answer=TokenStatus.ACCEPTED)
        return self._tokens.stop(told.token, now_ms, told.token_kind)

    def bind(self, session: Session, token: str | None, verdict: Verdict, vehicle: Vehicle | None) -> list[ev.Outcome]:
        """What the judged token brings with it: its order, its limits, the vehicle that stood for it."""
        if vehicle is not None:
            session.vehicle = vehicle.vehicle_id
        entry = self._tokens.get(token)
        if entry is None:
            return []
        if not verdict.is_good:
            if entry.token.kind is TokenKind.ORDER and verdict.why is Why.CONCURRENT:
                text = f"The token of order {entry.token.order_id} was used while its session ran at another connector."
                return [ev.CaseOpened(ev.CaseType.FRAUD, ev.Severity.MONEY, text)]  # SESSIONS 5.8-n
            return []
        if entry.token.order_id is not None:
            if session.order_id is None:
                session.order_id = entry.token.order_id
                session.budget_wh, session.budget_s = entry.budget_wh, entry.budget_s
        elif session.authorised is None:
            session.budget_wh, session.budget_s = entry.budget_wh, entry.budget_s
            if vehicle is not None and (vehicle.limit_wh is not None or vehicle.limit_s is not None):
                session.budget_wh, session.budget_s = vehicle.limit_wh, vehicle.limit_s
            if session.budget_wh is None and session.budget_s is None:
                session.budget_wh = self._default_limit(session, entry.token)
        return []

    def named(self, station: Station, told: Started) -> Started:
        """A start that names no token but our remote start id is the start we asked for; where the model puts a token
        of its own, so is the only one we asked for at this socket."""
        if START_MATCH_BY_SOCKET in station.quirks and self._tokens.get(told.token) is None:
            here = [i for i in station.starting.values() if i.payload.get("evse") in {told.evse, None}]
            return replace(told, token=here[0].token) if len(here) == 1 else told
        if told.token is not None or told.remote_start_id is None:
            return told
        asked = asked_start(station, told)
        return replace(told, token=asked.token) if asked is not None else told


def asked_start(station: Station, told: Started | Metered) -> Instruction | None:
    """The start we asked for that this one is: by its number (2.0.1), else by its token, at its own socket first."""
    waiting = list(station.starting.values())
    if told.remote_start_id is not None:
        for instruction in waiting:
            if instruction.payload.get("remote_start_id") == told.remote_start_id:
                return instruction
    norm = token_norm(told.token)
    fitting = [i for i in waiting if norm is not None and token_norm(i.token) == norm]
    here = [i for i in fitting if i.payload.get("evse") in {told.evse, None}]
    return min(here or fitting, key=lambda i: (i.issued_ms, i.instruction_id), default=None)


def heard(verdict: Verdict, now_ms: int) -> ev.AuthOk | ev.AuthBad:
    """The verdict as its session hears it."""
    return ev.AuthOk(now_ms) if verdict.is_good else ev.AuthBad(now_ms)
