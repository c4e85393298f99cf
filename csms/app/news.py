"""News for the charger path that comes from elsewhere: an order to stop, a settled session, a changed token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from csms.app.charging import Charging
from csms.app.orders import find_order
from csms.app.stations import Stations
from csms.app.tokens import Tokens
from csms.domain import session_events as ev
from csms.domain.order import State
from csms.ports import Clock, Fact, Store

log = structlog.get_logger()


class StationNews:
    """Follower of the journal on behalf of the sessions in memory."""

    FOLLOWED = frozenset(
        {
            "StopRequested",
            "ChargingStarted",
            "SessionSettled",
            "SessionEnded",
            "SessionAbandoned",
            "StationBooted",
            "SocketChanged",
            "TokenChanged",
        }
    )

    def __init__(
        self,
        *,
        store: Store,
        stations: Stations,
        charging: Charging,
        tokens: Tokens,
        clock: Clock,
        on_session_over: Callable[[str], None],
        on_boot: Callable[[str, int], None],
        on_socket: Callable[[str, int, int], None],
    ) -> None:
        self._store = store
        self._stations = stations
        self._charging = charging
        self._tokens = tokens
        self._clock = clock
        self._on_session_over = on_session_over
        self._on_boot = on_boot
        self._on_socket = on_socket

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """Tell each fact to whom it concerns; telling twice changes nothing."""
        for fact in facts:
            match fact.kind:
                case "TokenChanged":
                    await self._tokens.changed(str(fact.body["uid"]))
                case "SessionSettled":
                    await self._settled(fact)
                case "SessionEnded" | "SessionAbandoned":
                    self._on_session_over(str(fact.body["session_id"]))
                case "StationBooted" if fact.station is not None:
                    self._on_boot(fact.station, fact.at_ms)
                case "SocketChanged" if fact.station is not None and fact.body["connector"]:
                    self._on_socket(fact.station, int(fact.body["evse"]), fact.at_ms)
                case "StopRequested" | "ChargingStarted" if fact.order_id is not None:
                    await self._stop(fact.order_id)

    async def _settled(self, fact: Fact) -> None:
        station = self._stations.get(fact.station) if fact.station is not None else None
        known = station.known_sessions() if station is not None else ()
        session = next((s for s in known if s.no == fact.session_no), None)
        if station is None or session is None:
            found = await self._stations.session(str(fact.body["session_id"]))
            station, session = found if found is not None else (None, None)
        if station is not None and session is not None:
            self._charging.tell(station, session, ev.Settled(self._clock.now_ms(), int(fact.body["revision"])))

    async def _stop(self, order_id: str) -> None:
        """The buyer wants the end. A stop that was asked while it was starting takes effect once it has started."""
        order = await self._store.read(lambda tx: find_order(tx, order_id))
        if order is None or order.session_id is None or order.stop_asked_at_ms is None:
            return
        if order.state not in {State.STOPPING, State.INTERRUPTED}:
            return
        found = await self._stations.session(order.session_id)
        if found is not None:
            self._charging.request_stop(*found, ev.StopCause.USER)
