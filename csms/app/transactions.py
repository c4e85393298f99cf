"""What stations answer when they are asked about a transaction (2.0.1 E14), told to the sessions concerned.

    GetTransactionStatus ─▶ {messagesInQueue, ongoingIndicator} ─▶ the session waits, goes on, or ends

A session asks when something is missing, when it was dark and nothing follows, and when its socket is free although
it is open. An operator's own question counts as well.
"""

from __future__ import annotations

from csms.app.calls import CallAnswered
from csms.app.charging import Charging
from csms.app.stations import Station, Stations
from csms.domain.session_events import TransactionStatusSeen
from csms.domain.session_record import Session
from csms.ports import Clock


class TransactionNews:
    """Reader of answers to GetTransactionStatus."""

    def __init__(self, *, stations: Stations, charging: Charging, clock: Clock) -> None:
        self._stations = stations
        self._charging = charging
        self._clock = clock

    async def answered(self, call: CallAnswered) -> None:
        """Tell the session that was asked about; without one, all that wait for the station's queue (E14.FR.06)."""
        station = self._stations.get(call.station)
        if station is None:
            return
        tx_id = call.request.get("transactionId")
        queued = call.response.get("messagesInQueue") is True
        ongoing = call.response.get("ongoingIndicator") if tx_id is not None else None
        seen = TransactionStatusSeen(self._clock.now_ms(), queued, ongoing if isinstance(ongoing, bool) else None)
        for session in self._asked_about(station, tx_id):
            # An answer that is older than the last boot or link speaks of another time.
            if call.at_ms >= max(session.boot_at_ms or 0, station.link_opened_ms or 0):
                self._charging.tell(station, session, seen)

    @staticmethod
    def _asked_about(station: Station, tx_id: object) -> list[Session]:
        if tx_id is None:
            return list(station.sessions.values())
        found = station.by_tx.get(str(tx_id))
        return [found] if found is not None else []
