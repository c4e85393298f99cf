"""Whether a connector could be used: by who stands there now, by a stranger, by whoever reserved it."""

from __future__ import annotations

from typing import Final

from csms.app import slots
from csms.app.catalogue import Offering
from csms.app.selling import Selling, Sockets
from csms.domain.order import Order
from csms.domain.refusal import Refusal, Why
from csms.domain.reported import SocketStatus
from csms.ports import Table, Tx

_USABLE: Final = frozenset(
    {
        SocketStatus.AVAILABLE,
        SocketStatus.PREPARING,
        SocketStatus.RESERVED,
        SocketStatus.OCCUPIED,
        SocketStatus.FINISHING,
    }
)
_RUNNING: Final = ("STARTING", "ACTIVE", "INTERRUPTED", "STOPPING")


class Usable:
    """Asks the chargers, the orders under way, and the calendar."""

    def __init__(self, sockets: Sockets, selling: Selling) -> None:
        self._sockets = sockets
        self._selling = selling

    def refuse_unusable(self, tx: Tx, at: Offering | Order, now_ms: int, but: str | None) -> None:
        """Refusal when a driver who stands there now could not charge.

        An order means its own socket: it stands, whatever is sold there now."""
        if not self._sockets.is_online(at.station):
            raise Refusal(Why.STATION_OFFLINE, "the charger is offline at the moment")
        status = self._sockets.status(at.station, at.evse, at.connector)
        if status is not None and status not in _USABLE:
            raise Refusal(Why.SOCKET_UNUSABLE, f"the connector is {status.value} at the moment")
        for row in tx.many(Table.ORDERS, station=at.station, evse=at.evse, state=_RUNNING):
            if row["id"] != but and row["connector"] == at.connector:
                raise Refusal(Why.SOCKET_BUSY, "another driver is charging at this connector")
        if slots.booked(tx, at, now_ms, now_ms + 1, but) is not None:
            raise Refusal(Why.SLOT_TAKEN, "the connector is reserved for another driver at the moment")

    def is_free(
        self, tx: Tx, offering: Offering, now_ms: int, start_ms: int | None = None, end_ms: int | None = None
    ) -> bool:
        """Whether a stranger could have it: now, or for a slot."""
        if offering.tariff is None:
            return False
        if start_ms is not None and start_ms > now_ms + slots.SPOT_WINDOW_MS:
            until_ms = end_ms or start_ms + self._selling.slot_default_ms
            return offering.reservable and slots.booked(tx, offering, start_ms, until_ms, None) is None
        try:
            self.refuse_unusable(tx, offering, now_ms, None)
        except Refusal:
            return False
        return True

    def is_dead(self, tx: Tx, order: Order, now_ms: int) -> bool:
        """Whether the reserved time has begun and nobody could charge there."""
        if order.slot is None or now_ms < order.slot.start_ms:
            return False
        try:
            self.refuse_unusable(tx, order, now_ms, order.order_id)
        except Refusal:
            return True
        return False
