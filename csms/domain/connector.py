"""A socket's status as last told, and whether it can be sold (BECKN 6.1).

Status notifications may be repeated from a queue; an older one never overwrites a newer one. Times UTC ms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from csms.domain.clock import is_sane
from csms.domain.reported import SocketStatus, StatusReported

OFFLINE_GRACE_MS: Final = 300_000  # a short drop does not take a charger out of the catalogue


class Availability(StrEnum):
    """What a buyer may be told, before any dialect."""

    AVAILABLE = "available"
    PREPARING = "preparing"
    CHARGING = "charging"
    SUSPENDED_EV = "suspended-ev"
    SUSPENDED_EVSE = "suspended-evse"
    FINISHING = "finishing"
    RESERVED = "reserved"
    UNAVAILABLE = "unavailable"
    FAULTED = "faulted"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Socket:
    """One connector, or with 0/0 the station itself. `status` None: it has not said anything yet."""

    evse: int
    connector: int
    status: SocketStatus | None = None
    at_ms: int | None = None
    received_ms: int | None = None
    error_code: str | None = None
    info: str | None = None
    vendor_id: str | None = None
    vendor_error_code: str | None = None


@dataclass(frozen=True, slots=True)
class Sale:
    """Whether a socket can be sold. `is_sellable`: a new order may take it now; `is_active`: it stays in the
    catalogue although it may be busy."""

    availability: Availability
    is_sellable: bool
    is_active: bool


_MEANING: Final = {
    SocketStatus.AVAILABLE: Availability.AVAILABLE,
    SocketStatus.PREPARING: Availability.PREPARING,
    SocketStatus.CHARGING: Availability.CHARGING,
    SocketStatus.SUSPENDED_EV: Availability.SUSPENDED_EV,
    SocketStatus.SUSPENDED_EVSE: Availability.SUSPENDED_EVSE,
    SocketStatus.FINISHING: Availability.FINISHING,
    SocketStatus.RESERVED: Availability.RESERVED,
    SocketStatus.UNAVAILABLE: Availability.UNAVAILABLE,
    SocketStatus.FAULTED: Availability.FAULTED,
    SocketStatus.OCCUPIED: Availability.PREPARING,
}
_SELLABLE: Final = frozenset({Availability.AVAILABLE, Availability.PREPARING})
_INACTIVE: Final = frozenset({Availability.UNAVAILABLE, Availability.FAULTED})
_CHARGING_STATES: Final = {
    "Charging": Availability.CHARGING,
    "SuspendedEV": Availability.SUSPENDED_EV,
    "SuspendedEVSE": Availability.SUSPENDED_EVSE,
    "EVConnected": Availability.PREPARING,
    "Idle": Availability.FINISHING,
}


def observe(socket: Socket, told: StatusReported, received_ms: int) -> Socket:
    """The socket after a status; the same one when the status is older than what is known.

    A status without a time, or with one from a wrong clock, is as of its receipt: it can neither be older
    than everything nor silence all that follow.
    """
    at_ms = told.at_ms if told.at_ms is not None and is_sane(told.at_ms, received_ms) else received_ms
    if socket.at_ms is not None and at_ms < socket.at_ms:
        return socket
    return replace(
        socket,
        status=told.status,
        at_ms=at_ms,
        received_ms=received_ms,
        error_code=told.error_code,
        info=told.info,
        vendor_id=told.vendor_id,
        vendor_error_code=told.vendor_error_code,
    )


def sale(
    socket: Socket,
    *,
    now_ms: int,
    link_up: bool,
    link_lost_ms: int | None = None,
    station: Socket | None = None,
    is_in_session: bool = False,
    charging_state: str | None = None,
    is_held: bool = False,
    held_for_asker: bool = False,
    grace_ms: int = OFFLINE_GRACE_MS,
) -> Sale:
    """What may be sold of a socket now.

    `station` is connector 0, which may take the whole charger out; `is_in_session`/`charging_state` tell what
    2.0.1's Occupied hides; `is_held` is our own reservation, sellable only to whom it is held for.
    `link_lost_ms` None with the link down: it has never been here.
    """
    if not link_up:
        lately = link_lost_ms is not None and now_ms - link_lost_ms < grace_ms
        return Sale(Availability.OFFLINE, is_sellable=False, is_active=lately)
    availability = _availability(socket, station, is_in_session, charging_state)
    reserved = is_held or availability is Availability.RESERVED
    if reserved and availability in (*_SELLABLE, Availability.RESERVED):
        if held_for_asker:
            return Sale(Availability.AVAILABLE, is_sellable=True, is_active=True)
        return Sale(Availability.RESERVED, is_sellable=False, is_active=True)
    return Sale(
        availability,
        is_sellable=availability in _SELLABLE and not is_in_session,
        is_active=availability not in _INACTIVE,
    )


def _availability(
    socket: Socket, station: Socket | None, is_in_session: bool, charging_state: str | None
) -> Availability:
    if station is not None and station.status in (SocketStatus.UNAVAILABLE, SocketStatus.FAULTED):
        return _MEANING[station.status]
    if socket.status is None:
        return Availability.UNAVAILABLE  # nothing known is not "free"
    if socket.status is SocketStatus.OCCUPIED:
        told = _CHARGING_STATES.get(charging_state or "")
        if told is not None:
            return told
        return Availability.CHARGING if is_in_session else Availability.PREPARING
    return _MEANING[socket.status]
