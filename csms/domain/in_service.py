"""Whether a charger and its parts are in service: what is wanted of them beside what they report (OCPP G03, G04).

A part is (evse, connector): 0/0 the whole charger, n/0 an EVSE. Where a part that is wanted out of service shows
itself in service, the charger has forgotten it, and is told again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from csms.domain.connector import Socket
from csms.domain.reported import SocketStatus

Part = tuple[int, int]
WHOLE: Final[Part] = (0, 0)

# Between two tellings of the same thing, unless the charger has booted between them.
AGAIN_AFTER_MS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is wanted of one part, and the charger's word on it (Accepted, Scheduled, Rejected; None: no word yet)."""

    part: Part
    operative: bool
    answer: str | None = None
    answered_ms: int | None = None

    @property
    def is_promised(self) -> bool:
        """Whether the charger said that it is so, or will be once its transaction has ended."""
        return self.answer in {"Accepted", "Scheduled"}


def covers(part: Part, socket: Part) -> bool:
    """Whether `socket` lies within `part`."""
    return part in (WHOLE, socket) or part == (socket[0], 0)


def is_operative(part: Part, sockets: Iterable[Socket]) -> bool | None:
    """What the charger reports of a part: in service when any socket of it is. A fault says neither; None: unknown."""
    here = [s for s in sockets if s.status is not None and covers(part, (s.evse, s.connector))]
    if part == WHOLE and any(s.connector == 0 and s.status is SocketStatus.UNAVAILABLE for s in here):
        return False
    said = [s.status for s in here if s.connector > 0 and s.status is not SocketStatus.FAULTED]
    return any(status is not SocketStatus.UNAVAILABLE for status in said) if said else None


def tell_again_at(wanted: Wanted, sockets: Iterable[Socket], *, boot_ms: int | None, is_busy: bool) -> int | None:
    """From when on (UTC ms) the charger is to be told again; None: not at all.

    `is_busy`: a transaction holds a socket of the part; until it ends the change is only scheduled. What the charger
    has not reported since its boot is told again as well: hearing it twice does no harm.
    """
    if wanted.operative or is_busy or not wanted.is_promised or wanted.answered_ms is None:
        return None
    here = [s for s in sockets if covers(wanted.part, (s.evse, s.connector))]
    rebooted = boot_ms is not None and boot_ms > wanted.answered_ms
    is_heard = any((s.received_ms or 0) >= (boot_ms or 0) for s in here if s.connector > 0)
    if rebooted and not is_heard:
        return boot_ms
    if is_operative(wanted.part, here) is not True:
        return None
    return boot_ms if rebooted else wanted.answered_ms + AGAIN_AFTER_MS
