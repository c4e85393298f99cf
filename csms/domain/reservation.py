"""A reservation and the charger it is for: when the charger is told, what its answer means, who may use it.

    no -> asked -> holds -> gone          `told`: what the charger knows. Our calendar holds in every case.
            |  +-> refused | silent       asked again while the window lasts, a few times
            +----> unsupported            it keeps no reservations: ours is the only guard

A reservation that others were kept out for outlives a charger's no; one that was asked for now does not. Times are
UTC ms.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from csms.domain.reported import SocketStatus

TELL_AHEAD_MS: Final = 60_000
"""A charger holds a reservation from the moment it is told. Closer than this, telling it now costs nobody anything."""
GRACE_MS: Final = 10 * 60_000
ASK_AGAIN_MS: Final = 5_000
MOST_TIMES: Final = 5
EARLY_START_MS: Final = 15 * 60_000  # who comes so early uses the reservation, and does not start beside it


class Status(StrEnum):
    """Where a reservation stands."""

    REQUESTED = "REQUESTED"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    USED = "USED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class Hold(StrEnum):
    """SOFT: while a quote lives, or in our calendar alone. HARD: for certain."""

    SOFT = "soft"
    HARD = "hard"


class Told(StrEnum):
    """What the charger knows of it."""

    NO = "no"
    ASKED = "asked"
    HOLDS = "holds"
    REFUSED = "refused"
    UNSUPPORTED = "unsupported"
    SILENT = "silent"  # asked, and nobody knows whether it was heard
    GONE = "gone"


ACTIVE: Final = (Status.REQUESTED.value, Status.ACCEPTED.value)
_OPEN_WORDS: Final = frozenset({"Occupied", "Faulted", "Unavailable", "Removed"})
"""A no that may become a yes by itself within the window."""
_USABLE: Final = frozenset(
    {
        SocketStatus.AVAILABLE,
        SocketStatus.PREPARING,
        SocketStatus.OCCUPIED,
        SocketStatus.FINISHING,
        SocketStatus.RESERVED,
    }
)


class Step(StrEnum):
    """What is to be done now."""

    NOTHING = "nothing"
    TELL = "tell"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Reservation:
    """One reservation. `evse` 0: any of the charger's sockets. `order_id` of one that was sold."""

    id: int
    station: str
    evse: int
    start_ms: int
    end_ms: int
    expires_ms: int
    status: Status
    hold: Hold
    told: Told
    token: str | None = None
    order_id: str | None = None
    told_ms: int | None = None
    told_times: int = 0
    reason: str | None = None
    updated_ms: int = 0

    @property
    def is_active(self) -> bool:
        """Whether it still claims its socket."""
        return self.status in ACTIVE

    @property
    def is_sure(self) -> bool:
        """A quotation's hold is nobody's claim yet: it is not told, and keeps nobody from charging."""
        return not (self.hold is Hold.SOFT and self.status is Status.REQUESTED)

    @property
    def until_ms(self) -> int:
        """When nobody waits for it any more, whatever became of the order it is for."""
        return max(self.end_ms, self.expires_ms)

    @property
    def wire_until_ms(self) -> int:
        """When the charger lets go of it by itself: not before us, were its clock a little ahead."""
        return self.until_ms + (GRACE_MS if self.order_id is not None else 0)

    def claims(self, now_ms: int) -> bool:
        """Whether its socket is kept by it now."""
        return self.is_active and self.is_sure and self.start_ms <= now_ms < self.until_ms


def next_step(
    it: Reservation, now_ms: int, *, online: bool, socket: SocketStatus | None, ahead_ms: int = TELL_AHEAD_MS
) -> Step:
    """What to do about the charger now. `socket` is the connector's last status, None where nothing is known.

    Telling is also for a charger that is away (it hears of it when it is back); asking again is not.
    """
    if not it.is_active:
        # Used: the news of where is on its way, and mostly the charger has spent it.
        is_settled = it.status is not Status.USED or now_ms - it.updated_ms >= ASK_AGAIN_MS
        may_hold = it.told in (Told.HOLDS, Told.SILENT) and now_ms < it.until_ms
        return Step.RELEASE if may_hold and is_settled else Step.NOTHING
    if not it.is_sure or not it.start_ms - ahead_ms <= now_ms < it.until_ms:
        return Step.NOTHING
    if it.told is Told.NO:
        return Step.TELL
    may_ask_again = online and it.told_times < MOST_TIMES and now_ms - (it.told_ms or 0) >= ASK_AGAIN_MS
    if it.told is Told.SILENT:
        return Step.TELL if may_ask_again else Step.NOTHING
    freed = it.told is Told.REFUSED and it.reason in _OPEN_WORDS and socket is SocketStatus.AVAILABLE
    return Step.TELL if freed and may_ask_again else Step.NOTHING


def after_answer(it: Reservation, word: str) -> tuple[Status, Hold, Told]:
    """(status, hold, told) after ReserveNow was answered with `word`, such as Accepted, Occupied or Rejected.

    One that is over meanwhile stays so: what the charger holds of it is taken back.
    """
    accepted = word == "Accepted"
    told = Told.HOLDS if accepted else Told.REFUSED
    if not it.is_active:
        return it.status, it.hold, told if accepted else Told.GONE
    if accepted:
        return Status.ACCEPTED, Hold.HARD, told
    # A sold slot, or one that others were kept out for, goes on in our calendar; one asked for now came to nothing.
    return (it.status if it.status is Status.ACCEPTED else Status.REJECTED), it.hold, told


def after_unsupported(it: Reservation) -> tuple[Status, Hold, Told]:
    """It keeps no reservations: ours stands, and guards what we start ourselves."""
    if not it.is_active:
        return it.status, it.hold, Told.GONE
    hold = it.hold if it.order_id is not None else Hold.SOFT
    return Status.ACCEPTED, hold, Told.UNSUPPORTED


@dataclass(frozen=True, slots=True)
class Reach:
    """When a charger could be reached. `linked_ms`: since when it is connected, None while it is not; `unlinked_ms`:
    when the link before that ended; `heard_ms`: when it was last heard."""

    linked_ms: int | None = None
    unlinked_ms: int | None = None
    heard_ms: int | None = None


def could_be_used(it: Reservation, reach: Reach, sockets: Collection[SocketStatus]) -> bool:
    """Whether its holder could have charged before `expires_ms`, as far as is known then; `sockets` are the statuses
    at its EVSE at that time. A charger that said no, was away all the while or has no socket to use there has let its
    holder down."""
    if it.told is Told.REFUSED or (sockets and _USABLE.isdisjoint(sockets)):
        return False
    if reach.linked_ms is None:
        return reach.heard_ms is not None and reach.heard_ms > it.start_ms
    before = reach.unlinked_ms is not None and reach.unlinked_ms > it.start_ms
    return before or reach.linked_ms <= it.expires_ms


def may_use(reserved: str | None, reserved_group: str | None, token: str | None, group: str | None) -> bool:
    """Whether a token starts on a reservation: it is the one reserved for, or of its group (parentIdTag).

    Tokens and groups in their normal form.
    """
    if token is None or reserved is None:
        return False
    return token == reserved or (group is not None and group == reserved_group)


def is_kept(said: Mapping[str, str | None], evse: int) -> bool | None:
    """Whether a charger keeps reservations (for any socket: `evse` 0), by its configuration; None: not known.

    1.6: SupportedFeatureProfiles, ReserveConnectorZeroSupported (absent is no). 2.0.1: ReservationCtrlr.
    """
    profiles = said.get("SupportedFeatureProfiles")
    if profiles:
        names = {name.strip() for name in profiles.split(",")}
        if "Reservation" not in names:
            return False
        return evse > 0 or _is_true(said.get("ReserveConnectorZeroSupported")) is True
    for name in ("ReservationCtrlr.Available", "ReservationCtrlr.Enabled"):
        if _is_true(said.get(name)) is False:
            return False
    if evse == 0 and (any_socket := _is_true(said.get("ReservationCtrlr.NonEvseSpecific"))) is not None:
        return any_socket
    return True if _is_true(said.get("ReservationCtrlr.Available")) and evse > 0 else None


CONFIGURATION: Final = (
    "SupportedFeatureProfiles",
    "ReserveConnectorZeroSupported",
    "ReservationCtrlr.Available",
    "ReservationCtrlr.Enabled",
    "ReservationCtrlr.NonEvseSpecific",
)
"""The names `is_kept` looks at."""


def _is_true(text: str | None) -> bool | None:
    if text is None or not text.strip():
        return None
    return text.strip().lower() in ("true", "1")


def from_row(row: Mapping[str, Any]) -> Reservation:
    """As it is stored."""
    return Reservation(
        id=row["id"],
        station=row["station"],
        evse=row["evse"],
        start_ms=row["start_ms"],
        end_ms=row["end_ms"],
        expires_ms=row["expires_ms"],
        status=Status(row["status"]),
        hold=Hold(row["hold"]),
        told=Told(row["told"]),
        token=row["token"],
        order_id=row["order_id"],
        told_ms=row["told_ms"],
        told_times=row["told_times"],
        reason=row["reason"],
        updated_ms=row["updated_ms"],
    )
