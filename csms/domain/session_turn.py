"""One event's turn at a session: look up the table, move, and do what entering a state demands (SESSIONS 5.4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from csms.domain.end_cause import EndCause
from csms.domain.meter import Doubt
from csms.domain.session_energy import recompute
from csms.domain.session_events import (
    Abandoned,
    AskMeterValues,
    AskTransactionStatus,
    CaseOpened,
    CaseType,
    Ended,
    NotifyInterrupted,
    NotifyResumed,
    Outcome,
    Revised,
    SendStop,
    Severity,
    StateChanged,
    Voided,
)
from csms.domain.session_record import Interruption, Session
from csms.domain.session_states import LIVE, TRANSITIONS, Back, EventKind, State
from csms.domain.timers import Timer, Timing

_DOUBTS: dict[Doubt, tuple[CaseType, Severity, str]] = {
    Doubt.REG_RESET: (CaseType.REG_RESET, Severity.WARNING, "The register fell back; only proven parts count."),
    Doubt.NEG_ENERGY: (CaseType.NEG_ENERGY, Severity.MONEY, "The stop's register is below the start's."),
    Doubt.NO_STOP_METER: (CaseType.NO_STOP_METER, Severity.WARNING, "The stop brought no usable register."),
    Doubt.DUP_CONFLICT: (CaseType.DUP_CONFLICT, Severity.MONEY, "Two stops differ by more than 50 Wh."),
    Doubt.STOP_BELOW_SAMPLES: (
        CaseType.UNDER,
        Severity.WARNING,
        "The stop's register is below the samples before it.",
    ),
    Doubt.IMPLAUSIBLE: (CaseType.IMPLAUSIBLE, Severity.MONEY, "More energy than the socket can give in the time."),
    Doubt.UNMETERED: (CaseType.UNMETERED, Severity.MONEY, "The register counted energy that belongs to nobody."),
}
_CUT_OFF = frozenset({State.INTERRUPTED, State.ENDED_PENDING_DATA, State.ABANDONED})
_STARTS_AN_INTERRUPTION = frozenset({EventKind.SITE_POWER_CUT, EventKind.BOOT})


@dataclass(slots=True)
class Turn:
    """The session, the clocks in force, the time of the event, and what came out so far.

    `at_ms` is when the event really happened; it ends the idle clock, nothing else.
    """

    session: Session
    timing: Timing
    now_ms: int
    at_ms: int
    exists: bool = True  # False while the session is being opened
    out: list[Outcome] = field(default_factory=list)

    def fire(self, kind: EventKind) -> bool:
        """Move by the table; False when the table does not list it here."""
        session = self.session
        to = TRANSITIONS.get((session.state if self.exists else None, kind))
        if to is None:
            return False
        if to is Back.LIVE:
            to = session.live_state if session.live_state in LIVE else State.ACTIVE
        self._move(to, kind)
        return True

    def arm(self, timer: Timer, seconds: int) -> None:
        """The timer fires this many seconds from now."""
        self.session.deadlines[timer] = self.now_ms + seconds * 1_000

    def disarm(self, *timers: Timer) -> None:
        """These timers will not fire; without any named, none will."""
        for timer in timers or tuple(self.session.deadlines):
            self.session.deadlines.pop(timer, None)

    def case(self, kind: CaseType, severity: Severity, text: str) -> None:
        """Open a case, once per type and session."""
        if kind.value not in self.session.cases:
            self.session.cases.append(kind.value)
            self.out.append(CaseOpened(kind, severity, text))

    def doubt(self, doubts: Iterable[Doubt]) -> None:
        """Open the cases that the figures ask for."""
        for doubt in doubts:
            self.case(*_DOUBTS[doubt])

    def refigure(self) -> None:
        """All figures from the facts. An orphan's are not odd yet: half of its facts are missing."""
        doubts = recompute(self.session, self.timing)
        if self.session.state is not State.ORPHAN:
            self.doubt(doubts)

    def ask(self) -> None:
        """Ask the charger for what is missing."""
        self.out += [AskMeterValues(), AskTransactionStatus()]

    def send_stop(self) -> None:
        """(Re)send the stop and wait for its effect."""
        self.session.stop_attempts += 1
        self.out.append(SendStop(self.session.stop_attempts))
        self.arm(Timer.T_STOP, self.timing.stop_s)

    def start_drain(self, *, queues: bool = True) -> None:
        """The link is back: what the charger queued comes first (T_drain). Nothing does from one that keeps nothing."""
        self.session.drain_since_ms = self.now_ms
        self.arm(Timer.T_DRAIN, self.timing.drain_s if queues else 0)

    def extend_drain(self) -> None:
        """A fact came while draining: wait for the next, but not for ever."""
        session = self.session
        if Timer.T_DRAIN in session.deadlines and session.drain_since_ms is not None:
            limit_ms = session.drain_since_ms + self.timing.drain_max_s * 1_000
            session.deadlines[Timer.T_DRAIN] = min(self.now_ms + self.timing.drain_s * 1_000, limit_ms)

    def tell_resumed(self) -> None:
        """Only whoever was told of an interruption is told of its end."""
        if self.session.notified:
            self.session.notified = False
            self.out.append(NotifyResumed())

    def tell_interrupted(self) -> None:
        """Once per interruption."""
        if not self.session.notified:
            self.session.notified = True
            self.out.append(NotifyInterrupted())

    def remember_settled(self) -> None:
        """These figures are in the ledger; a later change is measured against them."""
        session = self.session
        session.settled_wh = session.energy_wh
        session.settled_ended_ms = session.ended_at_ms
        session.settled_cause = session.end_cause
        session.late_pending = False

    def _move(self, to: State, kind: EventKind) -> None:
        session, old = self.session, self.session.state if self.exists else None
        if old is State.SUSPENDED and to is not State.SUSPENDED:
            self._stop_idle_clock()
        session.state = to
        if old is to and kind is not EventKind.LATE_FACT:
            self._enter(to, old, kind)
            return
        session.version += 1
        self.exists = True
        if old is not to:
            self.out.append(StateChanged(old, to))
        self._enter(to, old, kind)

    def _stop_idle_clock(self) -> None:
        session = self.session
        if session.suspended_since_ms is not None and session.paused_by_ev:
            session.idle_ms += max(0, min(self.at_ms, self.now_ms) - session.suspended_since_ms)
        session.suspended_since_ms = None

    def _enter(self, to: State, old: State | None, kind: EventKind) -> None:
        """What entering a state demands, whatever led there."""
        match to:
            case State.ACTIVE:
                self._enter_active(old, kind)
            case State.SUSPENDED if old is State.SUSPENDED_OFFLINE:
                self.session.suspended_since_ms = self.now_ms
            case State.STOPPING:
                self._enter_stopping(kind)
            case State.SUSPENDED_OFFLINE:
                self._enter_offline(old)
            case State.INTERRUPTED if kind in _STARTS_AN_INTERRUPTION:
                self._enter_interrupted(kind)
            case State.ENDED_PENDING_DATA:
                self._enter_pending(kind)
            case State.ENDED:
                self._enter_ended(kind)
            case State.ABANDONED | State.RECONCILED:
                self._enter_revision(to)
            case State.SETTLED:
                self.remember_settled()
                self.arm(Timer.T_FINAL, self.timing.final_s)
            case State.VOID:
                self.disarm()
                self.out.append(Voided())
            case _:
                pass

    def _enter_active(self, old: State | None, kind: EventKind) -> None:
        session = self.session
        if old is State.ENDED_PENDING_DATA:
            session.end_cause = session.ended_at_ms = None
        if old in _CUT_OFF and kind is not EventKind.LINK_UP:
            self.disarm(Timer.T_BOOTSTOP, Timer.T_RESUME, Timer.T_ABANDON, Timer.T_FINAL, Timer.T_DATA)
            session.interrupted_by = None
            self.tell_resumed()
        self._take_back_abandonment(old)
        if session.budget_s is not None and Timer.T_BUDGET not in session.deadlines and not session.budget_reached:
            since_ms = session.started_at_ms if session.started_at_ms is not None else self.now_ms
            session.deadlines[Timer.T_BUDGET] = since_ms + session.budget_s * 1_000
        waits = Timer.T_DRAIN in session.deadlines or kind is EventKind.LINK_UP
        if session.stop_asked_at_ms is not None and not waits and old not in (None, State.ACTIVE):
            self.fire(EventKind.STOP_REQUESTED)  # the intent is older than the session's being live

    def _take_back_abandonment(self, old: State | None) -> None:
        """It was charging all along: the provisional settlement stands, the end does not."""
        if old is State.ABANDONED:
            self.disarm(Timer.T_FINAL)
            self.session.end_cause = None
            self.refigure()

    def _enter_stopping(self, kind: EventKind) -> None:
        session = self.session
        if kind is EventKind.STOP_REQUESTED:
            session.stop_attempts = 0
            self.send_stop()
        elif kind is EventKind.AUTH_BAD:
            # The charger stops by itself (DeAuthorized); we insist only if it does not.
            session.stop_attempts = 0
            self.arm(Timer.T_STOP, self.timing.stop_s)

    def _enter_offline(self, old: State | None) -> None:
        session = self.session
        self.disarm(Timer.T_STOP, Timer.T_DRAIN)
        self._take_back_abandonment(old)
        session.live_state = old if old in LIVE else State.ACTIVE
        remaining = None if session.budget_wh is None else session.budget_wh - session.energy_wh
        self.arm(Timer.T_ABANDON, self.timing.abandon_after_s(remaining, session.power_w))
        if not session.notified:
            self.arm(Timer.T_NOTIFY, self.timing.notify_s)

    def _enter_interrupted(self, kind: EventKind) -> None:
        session = self.session
        self.disarm(Timer.T_NOTIFY, Timer.T_DRAIN, Timer.T_STOP)
        if kind is EventKind.SITE_POWER_CUT:
            session.interrupted_by = Interruption.SITE
            session.interrupted_at_ms = self.now_ms
        else:
            # The link is up again: the stop normally follows within T_bootstop.
            self.disarm(Timer.T_ABANDON)
            self.arm(Timer.T_BOOTSTOP, self.timing.bootstop_s)
            self.arm(Timer.T_RESUME, self.timing.resume_s)
            self.ask()
        self.tell_interrupted()

    def _enter_pending(self, kind: EventKind) -> None:
        session, timing = self.session, self.timing
        # A freed socket is another plug-in; a silent one may still go on with the same car.
        resumable = session.deadlines.get(Timer.T_RESUME) if kind is EventKind.BOOTSTOP_TIMEOUT else None
        self.disarm()
        if resumable is not None:
            session.deadlines[Timer.T_RESUME] = resumable
        self.arm(Timer.T_DATA, timing.data_online_s if session.link_up else timing.data_offline_s)
        if session.end_cause is None:
            session.end_cause = _cause_without_stop(session, kind)
        self.refigure()
        self.ask()

    def _enter_ended(self, kind: EventKind) -> None:
        session = self.session
        self.disarm()
        if session.end_cause is None:
            session.end_cause = _cause_without_stop(session, kind)
        self.refigure()
        over = session.budget_wh is not None and session.energy_wh > session.budget_wh
        session.our_fault = over and session.budget_online and not session.stop_delivered
        self.out.append(Ended())

    def _enter_revision(self, to: State) -> None:
        session = self.session
        self.disarm(*(timer for timer in tuple(session.deadlines) if timer is not Timer.T_FINAL))
        if to is State.ABANDONED:
            session.end_cause = session.end_cause or EndCause.ABANDONED
            session.abandoned_at_ms = self.now_ms
            self.case(
                CaseType.ABANDONED, Severity.MONEY, "No end was heard before the deadline; settled provisionally."
            )
            self.refigure()
        session.revision += 1
        self.remember_settled()
        self.out.append(Abandoned(session.revision) if to is State.ABANDONED else Revised(session.revision))
        if Timer.T_FINAL not in session.deadlines and not session.final:
            self.arm(Timer.T_FINAL, self.timing.final_s)


def _cause_without_stop(session: Session, kind: EventKind) -> EndCause:
    """What to write when no stop says why."""
    if session.interrupted_by is Interruption.SWAP:
        return EndCause.SWAPPED
    if session.interrupted_by is not None:
        return EndCause.POWER_LOSS
    if kind is EventKind.OTHER_START:
        return EndCause.SUPERSEDED
    return EndCause.OPERATOR if kind is EventKind.OPERATOR_CLOSE else EndCause.UNKNOWN
