"""Which tokens have sessions, at whatever charger: what the rule of one session at a time is judged by.

In memory only. Ended sessions are remembered a little, because an offline start is judged by what was open at its
own time (PEERS 2.25); a restart forgets those, and the start is then judged the driver's way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from csms.domain.matching import token_norm
from csms.domain.session_record import Session
from csms.domain.session_states import LIVE, OPEN, State

_ENDED_PER_TOKEN: Final = 4


@dataclass(frozen=True, slots=True)
class _Use:
    station: str
    started_ms: int
    ended_ms: int | None  # None: it is open
    is_dark: bool  # open, but nobody knows whether it still runs


class InUse:
    """Sessions by token."""

    def __init__(self) -> None:
        self._by_token: dict[str, dict[int, _Use]] = {}
        self._token_of: dict[int, str] = {}

    def note(self, session: Session) -> None:
        """The session changed. One whose token was refused, or that came to nothing, uses nothing."""
        norm = token_norm(session.token)
        if (before := self._token_of.get(session.no)) is not None and before != norm:
            self._forget(session.no)
        started_ms = session.started_at_ms
        if norm is None or not session.authorised or started_ms is None or session.state is State.VOID:
            self._forget(session.no)
            return
        ended_ms = None
        if session.state not in OPEN:
            ended_ms = session.ended_at_ms if session.ended_at_ms is not None else session.last_proven_at_ms
            ended_ms = started_ms if ended_ms is None else ended_ms
        uses = self._by_token.setdefault(norm, {})
        uses[session.no] = _Use(session.station, started_ms, ended_ms, session.state in OPEN - LIVE)
        self._token_of[session.no] = norm
        if ended_ms is not None:
            self._let_go(uses)

    def forget_station(self, station: str) -> None:
        """Its sessions are read again from the store."""
        gone = [no for no, norm in self._token_of.items() if self._by_token[norm][no].station == station]
        for no in gone:
            self._forget(no)

    def others(self, token: str | None, at_ms: int, *, but: int, dark: bool = False) -> int:
        """How many other sessions were open with the token at that time. `dark`: those count, too, of which nobody
        knows whether they still run: they hold up nobody but an order, which is for one session."""
        uses = self._by_token.get(token_norm(token) or "")
        if not uses:
            return 0
        return sum(
            1
            for no, use in uses.items()
            if no != but
            and use.started_ms <= at_ms
            and (use.ended_ms is None or use.ended_ms > at_ms)
            and (dark or not use.is_dark)
        )

    def _let_go(self, uses: dict[int, _Use]) -> None:
        ended = sorted((use.ended_ms, no) for no, use in uses.items() if use.ended_ms is not None)
        for _, no in ended[:-_ENDED_PER_TOKEN]:
            self._forget(no)

    def _forget(self, number: int) -> None:
        norm = self._token_of.pop(number, None)
        if norm is None:
            return
        uses = self._by_token[norm]
        uses.pop(number, None)
        if not uses:
            del self._by_token[norm]
