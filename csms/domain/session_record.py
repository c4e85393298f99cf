"""A session as it is kept: the record, its transactions, and the plain row it is saved as.

The record is mutable on purpose: the hot path must not copy fifty fields per sample. Whoever fails to commit
drops the record and loads it again. A row holds plain values only and reloads exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Final

from csms.domain.clock import TimeQuality
from csms.domain.end_cause import EndCause
from csms.domain.meter import Mark, Quality, Register, RegisterKind
from csms.domain.session_events import StopCause
from csms.domain.session_states import State
from csms.domain.timers import Timer

MAX_SEQ: Final = 20_000  # a larger sequence number is nonsense; the mask must not grow without bound


class Interruption(StrEnum):
    """The evidence that power was lost."""

    SITE = "site"
    BOOT = "boot"
    SWAP = "swap"


@dataclass(slots=True)
class StopMark:
    """One stop as delivered. All are kept; which one counts is decided by 5.7-4."""

    key: str
    at_ms: int
    wh: int | None
    signed: bool = False


@dataclass(slots=True)
class Segment:
    """One stretch of charging. `continues`: the same transaction went on after a cut, so its registers do too."""

    n: int
    tx_id: str | None
    start_key: str | None
    start_at_ms: int
    start_wh: int | None = None
    start_source: str | None = None
    stop_at_ms: int | None = None
    stop_wh: int | None = None
    stop_source: str | None = None
    meter_epoch: int = 0
    continues: bool = False
    stops: list[StopMark] = field(default_factory=list)


@dataclass(slots=True)
class Session:
    """Energy on a connector. Times UTC ms, energy Wh; None is absent. Changed only by `session.apply`."""

    no: int
    session_id: str
    station: str
    evse: int
    connector: int
    state: State
    version: int = 0  # +1 with every state change
    token: str | None = None
    vehicle: str | None = None  # the car whose number stood for the token
    order_id: str | None = None
    instruction_id: str | None = None
    register_kind: RegisterKind = RegisterKind.LIFETIME
    rated_w: int | None = None
    segments: list[Segment] = field(default_factory=list)
    register: Register = field(default_factory=Register)
    power: Register = field(default_factory=Register)  # (at, W) of a charger that meters nothing else

    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    meter_start_wh: int | None = None
    meter_stop_wh: int | None = None
    energy_wh: int = 0
    quality: Quality = Quality.U
    time_quality: TimeQuality = TimeQuality.A
    gap_wh_max: int | None = 0
    unmetered_wh: int = 0
    complete: bool = False  # nothing is missing to bill it
    steady: bool = False  # the newest reading is the proven one
    fast: bool = False  # `meter_fast` may take the next reading
    last_proven_at_ms: int | None = None
    last_proven_wh: int | None = None
    lift_wh: int = 0  # added to what a session-relative register says

    stop_reason: str | None = None
    end_cause: EndCause | None = None
    authorised: bool | None = None
    offline_start: bool = False
    budget_wh: int | None = None
    budget_s: int | None = None
    budget_reached: bool = False
    budget_online: bool = False  # it was reached while we could have stopped it
    stop_asked_at_ms: int | None = None
    stop_cause: StopCause | None = None
    stop_attempts: int = 0
    stop_delivered: bool = False
    our_fault: bool = False  # overcharge by our own missing stop (5.9)

    link_up: bool = True
    live_state: State | None = None  # where LINK_UP returns to
    interrupted_by: Interruption | None = None
    interrupted_at_ms: int | None = None
    boot_at_ms: int | None = None
    last_life_ms: int | None = None
    breaks_ms: list[int] = field(default_factory=list)
    notified: bool = False  # the driver was told of the interruption
    drain_since_ms: int | None = None
    queued_since_ms: int | None = None  # the station says that messages of the transaction wait to be sent
    freed_at_ms: int | None = None  # the socket was reported free although the session is open
    idle_at_ms: int | None = None  # the first register seen with no transaction
    idle_wh: int | None = None
    closed_before_ms: int | None = None  # another start bounds the end

    suspended_since_ms: int | None = None
    paused_by_ev: bool = False
    idle_ms: int = 0  # only the EV's own pauses: what the CPO pauses is not the driver's delay
    status_at_ms: int | None = None
    power_w: int | None = None
    power_at_ms: int | None = None
    soc_percent: int | None = None
    seq_base: int = 0
    seq_last: int | None = None
    seq_mask: int = 0
    frame_seq: int = 0  # the newest frame with readings that this record has taken in
    unsaved: bool = field(default=False, compare=False)  # the stored row is behind; the readings are not

    revision: int = 0
    settled_wh: int | None = None
    settled_ended_ms: int | None = None
    settled_cause: EndCause | None = None
    abandoned_at_ms: int | None = None
    late_pending: bool = False
    final: bool = False
    cases: list[str] = field(default_factory=list)
    deadlines: dict[Timer, int] = field(default_factory=dict)

    def groups(self) -> Iterator[list[Segment]]:
        """The segments by transaction, in order."""
        group: list[Segment] = []
        for segment in self.segments:
            if group and not segment.continues:
                yield group
                group = []
            group.append(segment)
        if group:
            yield group

    def last_stops(self) -> list[Mark]:
        """The stops of the last transaction."""
        groups = list(self.groups())
        return [Mark(m.at_ms, m.wh, m.signed) for g in groups[-1:] for seg in g for m in seg.stops]

    def has_seq_gap(self) -> bool:
        """Whether a numbered event before the end has not come (2.0.1)."""
        if not self.seq_last or self.seq_last > MAX_SEQ or self.seq_last <= self.seq_base:
            return False  # "seqNo always 0" firmware exists: no numbers, no gap
        wanted = (1 << (self.seq_last + 1)) - (1 << self.seq_base)
        return self.seq_mask & wanted != wanted

    def note_seq(self, seq_no: int | None) -> None:
        """Remember that this numbered event came."""
        if seq_no is not None and 0 <= seq_no <= MAX_SEQ:
            self.seq_mask |= 1 << seq_no


_SEGMENT_FIELDS: Final = tuple(f.name for f in fields(Segment) if f.name != "stops")
_PLAIN: Final = tuple(
    f.name
    for f in fields(Session)
    if f.name not in {"segments", "register", "power", "seq_mask", "deadlines", "breaks_ms", "cases", "unsaved"}
)
_ENUMS: Final[dict[str, type[StrEnum]]] = {
    "state": State,
    "live_state": State,
    "register_kind": RegisterKind,
    "quality": Quality,
    "time_quality": TimeQuality,
    "end_cause": EndCause,
    "settled_cause": EndCause,
    "stop_cause": StopCause,
    "interrupted_by": Interruption,
}
FAST_FIELDS: Final = (
    "energy_wh",
    "last_proven_at_ms",
    "last_proven_wh",
    "power_w",
    "power_at_ms",
    "soc_percent",
    "seq_mask",
    "frame_seq",
)


def to_row(session: Session, *, with_readings: bool = True) -> dict[str, Any]:
    """The whole record as plain JSON values. Without readings when these are kept as rows of their own."""
    row: dict[str, Any] = {}
    for name in _PLAIN:
        value = getattr(session, name)
        row[name] = value.value if isinstance(value, StrEnum) else value
    row["segments"] = [
        {name: getattr(segment, name) for name in _SEGMENT_FIELDS}
        | {"stops": [[m.key, m.at_ms, m.wh, m.signed] for m in segment.stops]}
        for segment in session.segments
    ]
    row["seq_mask"] = format(session.seq_mask, "x")
    row["deadlines"] = {timer.value: at_ms for timer, at_ms in session.deadlines.items()}
    row["breaks_ms"] = list(session.breaks_ms)
    row["cases"] = list(session.cases)
    if with_readings:
        row["register"] = session.register.rows()
        row["power"] = session.power.rows()
    return row


def fast_row(session: Session) -> dict[str, Any]:
    """Only what `meter_fast` can change; merge it over the last full row."""
    row = {name: getattr(session, name) for name in FAST_FIELDS}
    row["seq_mask"] = format(session.seq_mask, "x")
    return row


def from_row(
    row: dict[str, Any],
    *,
    readings: Iterable[Sequence[int]] | None = None,
    power: Iterable[Sequence[int]] | None = None,
) -> Session:
    """The inverse of `to_row`; `readings` and `power` when they were kept apart. What an older row lacks is as new."""
    values: dict[str, Any] = {name: row[name] for name in _PLAIN if name in row}
    for name, kind in _ENUMS.items():
        if values.get(name) is not None:
            values[name] = kind(values[name])
    return Session(
        **values,
        segments=[_segment(kept) for kept in row["segments"]],
        register=Register.from_rows(row.get("register", ()) if readings is None else readings),
        power=Register.from_rows(row.get("power", ()) if power is None else power),
        seq_mask=int(row["seq_mask"], 16),
        deadlines={Timer(name): at_ms for name, at_ms in row["deadlines"].items()},
        breaks_ms=list(row["breaks_ms"]),
        cases=list(row["cases"]),
    )


def _segment(kept: dict[str, Any]) -> Segment:
    stops = [StopMark(key, at_ms, wh, signed) for key, at_ms, wh, signed in kept["stops"]]
    return Segment(**{name: kept[name] for name in _SEGMENT_FIELDS}, stops=stops)
