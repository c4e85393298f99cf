"""Which session a fact belongs to (SESSIONS 5.5), and what counts as a boot (end of 5.4).

The callers pass the station's open and recent sessions; keys are without the station. Uniqueness itself is an
index of the store; these are the second chances that an index cannot give.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from csms.domain.clock import Y2020_MS
from csms.domain.epochs import TOLERANCE_WH
from csms.domain.meter import RegisterKind
from csms.domain.reported import Metered, SocketStatus, Started, Stopped
from csms.domain.session_record import Segment, Session
from csms.domain.session_states import OPEN, State
from csms.domain.timers import Timer, Timing

UNKNOWN_TX: Final = frozenset({"0", "-1", ""})
"""What a charger says that does not know its transaction id."""

_RESTARTED: Final = frozenset({"PowerUp", "Watchdog"})
_STILL_CHARGING: Final = frozenset(
    {SocketStatus.CHARGING, SocketStatus.SUSPENDED_EV, SocketStatus.SUSPENDED_EVSE, SocketStatus.OCCUPIED}
)
_RECENT: Final = frozenset({State.ENDED_PENDING_DATA, State.ABANDONED, State.ENDED, State.SETTLED, State.RECONCILED})


class How(StrEnum):
    """How a fact found its session."""

    NEW = "new"  # nobody's: a start makes a session
    SAME = "same"  # a repeat: replay the stored answer
    NEAR = "near"  # a repeat that was stamped anew
    REQUESTED = "requested"  # the start we asked for
    ALIAS = "alias"  # by transaction id
    RESUMED = "resumed"  # goes on after a power cut
    ADOPTS = "adopts"  # the start of an orphan
    BY_SOCKET = "by-socket"  # by socket and time
    BY_METER = "by-meter"  # by token and register
    IDLE = "idle"  # a register that belongs to no transaction
    UNMATCHED = "unmatched"  # an orphan


@dataclass(frozen=True, slots=True)
class Match:
    """`session` is the one found; `displaces` an open one that a new start on its connector ends."""

    how: How
    session: Session | None = None
    segment: Segment | None = None
    displaces: Session | None = None


def token_norm(token: str | None) -> str | None:
    """1.6 tokens are case-insensitive; an empty one is absent."""
    return (token.strip().upper() or None) if token is not None else None


def may_resume(session: Session, started: Started, effective_ms: int, timing: Timing) -> bool:
    """Same tag and socket within T_resume of the cut, and no stop of the old transaction."""
    since_ms = session.boot_at_ms if session.boot_at_ms is not None else session.interrupted_at_ms
    waiting = session.state is State.ENDED_PENDING_DATA and Timer.T_RESUME in session.deadlines
    return (
        timing.merge_after_power_cut
        and (session.state is State.INTERRUPTED or waiting)
        and since_ms is not None
        and effective_ms - since_ms <= timing.resume_s * 1_000
        and session.token is not None
        and token_norm(started.token) == token_norm(session.token)
        and _is_at(session, started.evse, started.connector)
        and not session.last_stops()
    )


def is_offline_start(effective_ms: int, link_opened_ms: int, timing: Timing) -> bool:
    """A start older than the link by more than 30 s happened while we could not see it."""
    return effective_ms < link_opened_ms - timing.offline_start_s * 1_000


def match_start(started: Started, effective_ms: int, sessions: Iterable[Session], timing: Timing) -> Match:
    """A start: a repeat, the one we asked for, an orphan's, a resumed one, or a new session."""
    known = list(sessions)
    for session in known:
        for segment in session.segments:
            if segment.start_key == started.key:
                return Match(How.SAME, session, segment)
            if is_known_tx(started.tx_id) and segment.tx_id == started.tx_id and segment.start_key is not None:
                return Match(How.ALIAS, session, segment)
    for session in known:
        near = _near_start(session, started, effective_ms, timing)
        if near is not None:
            return Match(How.NEAR, session, near)
    asked = [s for s in known if s.state in (State.REQUESTED, State.RESERVED) and _is_asked(s, started)]
    if asked:
        displaced = _displaced(known, started, asked[0])
        return Match(How.REQUESTED, asked[0], displaces=displaced)
    orphan = _orphan_of(started, effective_ms, known)
    if orphan is not None:
        return Match(How.ADOPTS, orphan, orphan.segments[-1])
    for session in known:
        if may_resume(session, started, effective_ms, timing):
            return Match(How.RESUMED, session, session.segments[-1])
    return Match(How.NEW, displaces=_displaced(known, started, None))


def match_meter(metered: Metered, at_ms: int, sessions: Iterable[Session]) -> Match:
    """Readings: by transaction id, else by socket and time. `at_ms` is the effective time of the first.

    Without a transaction named they belong to the open live session of the socket; after a cut or an end they
    are the idle register, which proves nothing about the transaction (5.8-d).
    """
    known = list(sessions)
    if is_known_tx(metered.tx_id):
        return _by_alias(metered.tx_id, known) or Match(How.UNMATCHED)
    here = [s for s in known if _is_at(s, metered.evse, metered.connector) and _began_by(s, at_ms)]
    live = [s for s in here if s.state in OPEN and s.state is not State.INTERRUPTED]
    if len(live) == 1:
        return Match(How.BY_SOCKET, live[0], live[0].segments[-1])
    if metered.tx_id is None:
        waiting = [s for s in here if s.state is State.INTERRUPTED or s.state in _RECENT]
        newest = max(waiting, key=lambda s: s.started_at_ms or 0, default=None)
        return Match(How.IDLE, newest)
    within = [s for s in here if s.state is State.INTERRUPTED or _covers(s, at_ms)]
    if len(within) == 1:
        return Match(How.BY_SOCKET, within[0], within[0].segments[-1])
    nameless = next((s for s in known if _is_nameless(s) and _is_at(s, metered.evse, metered.connector)), None)
    return Match(How.UNMATCHED) if nameless is None else Match(How.BY_SOCKET, nameless, nameless.segments[-1])


def match_stop(stopped: Stopped, effective_ms: int, sessions: Iterable[Session]) -> Match:
    """A stop: a repeat, by transaction id, else by socket and time or by token and register (1.6 names no
    connector). More than one candidate is none: it becomes an orphan, never a guess."""
    known = list(sessions)
    for session in known:
        for segment in session.segments:
            if any(mark.key == stopped.key and mark.wh == stopped.register_wh for mark in segment.stops):
                return Match(How.SAME, session, segment)
    if is_known_tx(stopped.tx_id):
        alias = _by_alias(stopped.tx_id, known)
        if alias is not None:
            return alias
        if stopped.connector is not None:
            return Match(How.UNMATCHED)  # 2.0.1 ids are the station's own: this one's start is still to come
    for states in (OPEN, frozenset({State.ENDED_PENDING_DATA, State.ABANDONED})):
        found = [s for s in known if s.state in states and _can_end(s, stopped, effective_ms)]
        if len(found) == 1:
            how = How.BY_METER if stopped.connector is None else How.BY_SOCKET
            return Match(how, found[0], found[0].segments[-1])
        if found:
            break
    return Match(How.UNMATCHED)


def is_known_tx(tx_id: str | None) -> bool:
    """Whether it names a transaction at all."""
    return tx_id is not None and tx_id.strip() not in UNKNOWN_TX


def _is_nameless(session: Session) -> bool:
    """Readings without a start, whose transaction the charger could not name: more of them belong together."""
    is_orphan = session.state is State.ORPHAN and bool(session.segments) and not session.last_stops()
    return is_orphan and not is_known_tx(session.segments[-1].tx_id)


def _is_at(session: Session, evse: int, connector: int) -> bool:
    return session.evse == evse and (session.connector == connector or 0 in (session.connector, connector))


def _began_by(session: Session, at_ms: int) -> bool:
    return bool(session.segments) and session.segments[0].start_at_ms <= at_ms


def _covers(session: Session, at_ms: int) -> bool:
    return session.ended_at_ms is not None and at_ms <= session.ended_at_ms


def _by_alias(tx_id: str | None, sessions: Sequence[Session]) -> Match | None:
    for session in sessions:
        for segment in reversed(session.segments):
            if segment.tx_id == tx_id:
                return Match(How.ALIAS, session, segment)
    return None


def _near_start(session: Session, started: Started, effective_ms: int, timing: Timing) -> Segment | None:
    """Same connector, tag and meter_start within 120 s, or a clock that is clearly wrong; no stop between."""
    if token_norm(session.token) != token_norm(started.token) or started.register_wh is None:
        return None
    if not _is_at(session, started.evse, started.connector) or not session.segments:
        return None
    segment = session.segments[-1]
    if segment.start_wh != started.register_wh or segment.stops or segment.start_key is None:
        return None
    if is_known_tx(started.tx_id) and is_known_tx(segment.tx_id):
        return None  # both name their transaction, and not the same one
    clock_wrong = started.at_ms is None or started.at_ms < Y2020_MS
    near = abs(effective_ms - segment.start_at_ms) <= timing.near_start_s * 1_000
    return segment if near or clock_wrong else None


def _is_asked(session: Session, started: Started) -> bool:
    """The one-time tag is the thread; the socket must not contradict it."""
    if session.token is None or token_norm(session.token) != token_norm(started.token):
        return False
    return session.evse == 0 or _is_at(session, started.evse, started.connector)


def _orphan_of(started: Started, effective_ms: int, sessions: Sequence[Session]) -> Session | None:
    """The orphan that this start explains: by id, else the only one by token, register and time (5.8-k)."""
    orphans = [s for s in sessions if s.state is State.ORPHAN and s.segments]
    for orphan in orphans:
        if is_known_tx(started.tx_id) and orphan.segments[-1].tx_id == started.tx_id:
            return orphan
    if is_known_tx(started.tx_id):
        return None
    fitting = [o for o in orphans if o.segments[-1].stops and _fits_orphan(o, started, effective_ms)]
    return fitting[0] if len(fitting) == 1 else None


def _fits_orphan(orphan: Session, started: Started, effective_ms: int) -> bool:
    if orphan.token is not None and token_norm(orphan.token) != token_norm(started.token):
        return False
    stop = orphan.segments[-1].stops[-1]
    if started.register_wh is None or stop.wh is None:
        return False
    return effective_ms <= stop.at_ms and started.register_wh <= stop.wh


def _displaced(sessions: Sequence[Session], started: Started, but: Session | None) -> Session | None:
    for session in sessions:
        if session is not but and session.state in OPEN and _is_at(session, started.evse, started.connector):
            return session
    return None


def _can_end(session: Session, stopped: Stopped, effective_ms: int) -> bool:
    """5.5: connector when named, token when given, start before the stop, register not above it."""
    if not session.segments or session.last_stops():
        return False
    if stopped.connector is not None and not _is_at(session, stopped.evse or 0, stopped.connector):
        return False
    if stopped.token is not None and token_norm(stopped.token) != token_norm(session.token):
        return False
    if session.segments[-1].start_at_ms > effective_ms:
        return False
    if not stopped.register_wh:
        return True
    floors = [wh for wh in (session.segments[-1].start_wh, session.last_proven_wh) if wh is not None]
    # A count since the start of the session is compared as the register it would be (5.7-2).
    is_count = session.register_kind is RegisterKind.SESSION and stopped.register_wh < session.lift_wh
    register_wh = stopped.register_wh + (session.lift_wh if is_count else 0)
    return all(wh - TOLERANCE_WH <= register_wh for wh in floors)


@dataclass(frozen=True, slots=True)
class BootEvidence:
    """What is known when a boot is reported; None is unknown. `reason` is 2.0.1's."""

    reason: str | None = None
    link_down_ms: int | None = None
    uptime_known: bool = False
    startup_event: bool = False
    counter_changed: bool | None = None
    message_ids_restarted: bool = False
    status_after: SocketStatus | None = None
    boots_on_reconnect: bool = False  # quirk boot_on_reconnect_is_not_reboot


def is_new_boot_epoch(evidence: BootEvidence) -> bool:
    """A boot is weak evidence: many chargers boot on every reconnect. One hard sign makes it a power loss.

    For models with the quirk the soft signs (outage length, message ids, status) do not count.
    """
    reason = evidence.reason or ""
    if reason in _RESTARTED or reason.endswith("Reset") or evidence.startup_event:
        return True
    if evidence.counter_changed is not None:
        return evidence.counter_changed
    if evidence.boots_on_reconnect:
        return False
    down_ms = evidence.link_down_ms or 0
    if (down_ms > 20_000 and not evidence.uptime_known) or evidence.message_ids_restarted:
        return True
    return evidence.status_after is not None and evidence.status_after not in _STILL_CHARGING


def canonical_hash(payload: object) -> str:
    """SHA-256 of canonical JSON without `offline` and `customData`: a 2.0.1 station sets `offline` on what is
    still queued when the link drops (E11.FR.07), so a retry differs from the first attempt."""
    kept = _without(payload, lambda key: key in ("offline", "customData"))
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _without(value: object, drop: Callable[[str], bool]) -> object:
    if isinstance(value, dict):
        return {key: _without(item, drop) for key, item in value.items() if not drop(str(key))}
    if isinstance(value, list | tuple):
        return [_without(item, drop) for item in value]
    return value
