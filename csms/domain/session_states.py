"""The states of a charging session and what moves it between them, as data (SESSIONS 5.3, 5.4).

    RESERVED -> REQUESTED -> STARTING -> ACTIVE <-> SUSPENDED -> STOPPING -> ENDED -> SETTLED -> RECONCILED
                                          |  ^                                ^
                             link down    v  | link up                        | facts complete, T_data
                                     SUSPENDED_OFFLINE -> ABANDONED      ENDED_PENDING_DATA
                                          |  ^                                ^
                    site power cut, boot  v  | resumed                        |
                                         INTERRUPTED -------------------------+

The guards that choose a kind live beside the events (`session_steps`). A pair that is not in the table is
recorded and leaves the state unchanged.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Final


class State(StrEnum):
    """Where a session stands (5.3)."""

    RESERVED = "RESERVED"
    REQUESTED = "REQUESTED"
    STARTING = "STARTING"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    SUSPENDED_OFFLINE = "SUSPENDED_OFFLINE"
    INTERRUPTED = "INTERRUPTED"
    STOPPING = "STOPPING"
    ENDED_PENDING_DATA = "ENDED_PENDING_DATA"
    ABANDONED = "ABANDONED"
    ENDED = "ENDED"
    SETTLED = "SETTLED"
    RECONCILED = "RECONCILED"
    VOID = "VOID"
    ORPHAN = "ORPHAN"


class EventKind(StrEnum):
    """An event after its guard has been judged."""

    RESERVE_OK = "RESERVE_OK"
    START_REQUESTED = "START_REQUESTED"
    START_FACT = "START_FACT"
    AUTH_OK = "AUTH_OK"
    AUTH_BAD = "AUTH_BAD"
    METER = "METER"
    PAUSED = "STATUS Suspended*"
    CHARGING = "STATUS Charging"
    FREED = "STATUS Available"
    LINK_DOWN = "LINK_DOWN"
    LINK_UP = "LINK_UP [same boot]"
    SITE_POWER_CUT = "SITE_POWER_CUT"
    BOOT = "BOOT [new epoch]"
    STOP_REQUESTED = "STOP_REQUESTED"
    STOP_COMPLETE = "STOP_FACT [complete]"
    STOP_INCOMPLETE = "STOP_FACT [incomplete]"
    STOP_OF_REFUSED = "STOP_FACT [refused, no energy]"
    OTHER_START = "START_FACT [other key]"
    METER_AFTER_CUT = "METER [after the cut]"
    START_AFTER_CUT = "START_FACT [same tag, within T_resume]"
    START_TIMEOUT = "T_start"
    BOOTSTOP_TIMEOUT = "T_bootstop"
    STOP_TIMEOUT = "T_stop"
    ABANDON_TIMEOUT = "T_abandon"
    DATA_TIMEOUT = "T_data"
    FACTS_COMPLETE = "FACTS_COMPLETE"
    GONE = "TX_STATUS [over, nothing queued]"
    STILL_ONGOING = "TX_STATUS [ongoing]"
    SETTLE = "SETTLE"
    LATE_FACT = "LATE_FACT [changes energy, time or cause]"
    STILL_CHARGING = "LATE METER [link up]"
    STILL_CHARGING_DARK = "LATE METER [link down]"
    UNMATCHED = "STOP/METER [no match]"
    ADOPTED = "START_FACT [orphan, open]"
    ADOPTED_COMPLETE = "START_FACT [orphan, stopped]"
    ADOPTED_INCOMPLETE = "START_FACT [orphan, stopped, incomplete]"
    OPERATOR_CLOSE = "OPERATOR_CLOSE"
    OPERATOR_VOID = "OPERATOR_VOID [no money captured]"


class Back(Enum):
    """Not a state: return to the live state the session had before the link was lost."""

    LIVE = "previous live state"


_S = State
_K = EventKind

OPEN: Final = frozenset({_S.STARTING, _S.ACTIVE, _S.SUSPENDED, _S.SUSPENDED_OFFLINE, _S.INTERRUPTED, _S.STOPPING})
LIVE: Final = frozenset({_S.STARTING, _S.ACTIVE, _S.SUSPENDED, _S.STOPPING})
"""Open with the link up."""
LATE: Final = frozenset({_S.ABANDONED, _S.SETTLED, _S.RECONCILED})
"""Settled, provisionally or not: what comes now makes a revision."""
CLOSED: Final = frozenset({_S.ENDED_PENDING_DATA, _S.ABANDONED, _S.ENDED, _S.SETTLED, _S.RECONCILED, _S.VOID})

TRANSITIONS: Final[dict[tuple[State | None, EventKind], State | Back]] = {
    (None, _K.RESERVE_OK): _S.RESERVED,
    (None, _K.START_REQUESTED): _S.REQUESTED,
    (_S.RESERVED, _K.START_REQUESTED): _S.REQUESTED,
    (_S.REQUESTED, _K.START_FACT): _S.STARTING,
    (_S.REQUESTED, _K.START_TIMEOUT): _S.VOID,
    (None, _K.START_FACT): _S.STARTING,
    # Not in 5.4 but needed: the holder plugs in before we ask; a reservation nobody used runs out.
    (_S.RESERVED, _K.START_FACT): _S.STARTING,
    (_S.RESERVED, _K.START_TIMEOUT): _S.VOID,
    (_S.STARTING, _K.AUTH_OK): _S.ACTIVE,
    (_S.STARTING, _K.AUTH_BAD): _S.STOPPING,
    (_S.STARTING, _K.METER): _S.STARTING,
    (_S.ACTIVE, _K.METER): _S.ACTIVE,
    (_S.SUSPENDED, _K.METER): _S.SUSPENDED,
    (_S.ACTIVE, _K.PAUSED): _S.SUSPENDED,
    (_S.SUSPENDED, _K.CHARGING): _S.ACTIVE,
    (_S.STARTING, _K.LINK_DOWN): _S.SUSPENDED_OFFLINE,
    (_S.ACTIVE, _K.LINK_DOWN): _S.SUSPENDED_OFFLINE,
    (_S.SUSPENDED, _K.LINK_DOWN): _S.SUSPENDED_OFFLINE,
    (_S.STOPPING, _K.LINK_DOWN): _S.SUSPENDED_OFFLINE,
    (_S.SUSPENDED_OFFLINE, _K.LINK_UP): Back.LIVE,
    (_S.INTERRUPTED, _K.LINK_UP): Back.LIVE,  # [interrupted by site evidence only]
    (_S.SUSPENDED_OFFLINE, _K.SITE_POWER_CUT): _S.INTERRUPTED,
    **{(state, _K.BOOT): _S.INTERRUPTED for state in OPEN},
    (_S.INTERRUPTED, _K.METER_AFTER_CUT): _S.ACTIVE,
    (_S.INTERRUPTED, _K.START_AFTER_CUT): _S.ACTIVE,
    # Not in 5.4 but needed: T_bootstop is shorter than T_resume, which must still mean what it says.
    (_S.ENDED_PENDING_DATA, _K.START_AFTER_CUT): _S.ACTIVE,
    (_S.INTERRUPTED, _K.FREED): _S.ENDED_PENDING_DATA,
    (_S.INTERRUPTED, _K.BOOTSTOP_TIMEOUT): _S.ENDED_PENDING_DATA,
    (_S.ACTIVE, _K.STOP_REQUESTED): _S.STOPPING,
    (_S.SUSPENDED, _K.STOP_REQUESTED): _S.STOPPING,
    (_S.STOPPING, _K.STOP_TIMEOUT): _S.STOPPING,
    (_S.STOPPING, _K.STOP_OF_REFUSED): _S.VOID,
    **{(state, _K.STOP_COMPLETE): _S.ENDED for state in OPEN},
    **{(state, _K.STOP_INCOMPLETE): _S.ENDED_PENDING_DATA for state in OPEN},
    **{(state, _K.OTHER_START): _S.ENDED_PENDING_DATA for state in OPEN},
    (_S.SUSPENDED_OFFLINE, _K.ABANDON_TIMEOUT): _S.ABANDONED,
    (_S.INTERRUPTED, _K.ABANDON_TIMEOUT): _S.ABANDONED,
    # Not in 5.4 but needed: the station's own word on a transaction that one of the two sides has lost (E14).
    **{(state, _K.GONE): _S.ENDED_PENDING_DATA for state in OPEN},
    (_S.INTERRUPTED, _K.STILL_ONGOING): _S.ACTIVE,
    (_S.ENDED_PENDING_DATA, _K.STILL_ONGOING): _S.ACTIVE,
    (_S.ENDED_PENDING_DATA, _K.FACTS_COMPLETE): _S.ENDED,
    (_S.ENDED_PENDING_DATA, _K.DATA_TIMEOUT): _S.ENDED,
    (_S.ENDED, _K.SETTLE): _S.SETTLED,
    **{(state, _K.LATE_FACT): _S.RECONCILED for state in LATE},
    (_S.ABANDONED, _K.STILL_CHARGING): _S.ACTIVE,
    (_S.ABANDONED, _K.STILL_CHARGING_DARK): _S.SUSPENDED_OFFLINE,
    (None, _K.UNMATCHED): _S.ORPHAN,
    (_S.ORPHAN, _K.ADOPTED): _S.ACTIVE,
    (_S.ORPHAN, _K.ADOPTED_COMPLETE): _S.ENDED,
    (_S.ORPHAN, _K.ADOPTED_INCOMPLETE): _S.ENDED_PENDING_DATA,
    **{(state, _K.OPERATOR_CLOSE): _S.ENDED for state in OPEN | {_S.ENDED_PENDING_DATA, _S.ORPHAN}},
    **{(state, _K.OPERATOR_VOID): _S.VOID for state in State if state is not _S.VOID},
}
