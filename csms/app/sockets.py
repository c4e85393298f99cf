"""What the use cases ask of the world of chargers: is it there, what does it say, can it be sold."""

from __future__ import annotations

from csms.app.catalogue import Inventory, Offering
from csms.app.stations import Stations
from csms.domain.connector import Sale, Socket, sale
from csms.domain.order import Order
from csms.domain.reported import SocketStatus
from csms.ports import Clock

_ONE_NUMBER = "ocpp1.6"  # knows connectors and no EVSEs


class Sockets:
    """Chargers in memory joined with what is for sale (`selling.Sockets`)."""

    def __init__(self, stations: Stations, inventory: Inventory, clock: Clock) -> None:
        self._stations = stations
        self._inventory = inventory
        self._clock = clock

    def status(self, station: str, evse: int, connector: int) -> SocketStatus | None:
        """The last reported status."""
        found = self._stations.get(station)
        if found is None:
            return None
        told = found.sockets.get((evse, self.connector_on_wire(station, evse, connector)))
        return told.status if told is not None else None

    def is_online(self, station: str) -> bool:
        """Whether the charger can be reached."""
        found = self._stations.get(station)
        return found is not None and found.online

    def connector_on_wire(self, station: str, evse: int, connector: int) -> int:
        """1.6 numbers connectors alone: there the EVSE's number is the connector's."""
        found = self._stations.get(station)
        return evse if found is not None and found.transport == _ONE_NUMBER else connector

    def socket_of_order(self, order: Order) -> tuple[SocketStatus | None, bool]:
        """(status, online) of an order's connector."""
        return self.status(order.station, order.evse, order.connector), self.is_online(order.station)

    def sale_of(self, offering: Offering) -> Sale:
        """Whether a connector can be sold now."""
        station = self._stations.get(offering.station)
        nothing = Socket(offering.evse, offering.connector)
        now_ms = self._clock.now_ms()
        if station is None:
            return sale(nothing, now_ms=now_ms, link_up=False)
        connector = self.connector_on_wire(offering.station, offering.evse, offering.connector)
        return sale(
            station.sockets.get((offering.evse, connector), nothing),
            now_ms=now_ms,
            link_up=station.online,
            link_lost_ms=station.link_closed_ms,
            station=station.sockets.get((0, 0)),
            # A copy: the store's thread asks too, while sessions come and go.
            is_in_session=any(s.evse == offering.evse for s in tuple(station.sessions.values())),
        )

    def power_type_of(self, station: str, evse: int, connector: int) -> str | None:
        """AC or DC, where the catalogue knows the connector."""
        offering = self._inventory.at(station, evse, connector)
        return None if offering is None else "DC" if offering.power_type == "DC" else "AC"

    def rating_w(self, station_id: str, evse: int, connector: int) -> int | None:
        """What a socket gives at most, by its location."""
        offering = self._inventory.at(station_id, evse, connector)
        return offering.max_power_w if offering is not None else None
