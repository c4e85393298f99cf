"""What can be had instead, when the connector somebody chose is gone: said in the error that tells them so.

Only connectors with the same plug, nearest first, and only such as a stranger could have at that time. Generation 1 has
no place for more than a sentence in its error, so the sentence names them; V2 also carries `details.alternatives`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from beckn_adapter import commands as cmd
from beckn_adapter.catalog import CONNECTORS, ItemView, number
from beckn_adapter.errors import BecknError
from beckn_adapter.market import Market
from beckn_adapter.speaking import Json
from csms.app.catalogue import Offering
from csms.app.ordering import Ordering
from csms.domain.order import Order
from csms.domain.refusal import Refusal, Why
from csms.ports import Tx

GONE: Final = frozenset({Why.SOCKET_BUSY, Why.SOCKET_UNUSABLE, Why.STATION_OFFLINE, Why.SLOT_TAKEN})
LIMIT: Final = 3
_LOOKED_AT: Final = 50  # connectors whose bookings are read for one answer


class Alternatives:
    """Knows the market and who could have what."""

    def __init__(self, market: Market, ordering: Ordering) -> None:
        self._market = market
        self._ordering = ordering

    def beside(
        self,
        tx: Tx,
        error: BecknError,
        refusal: Refusal,
        command: cmd.Command,
        order: Order | None,
        now_ms: int,
        *,
        every_plug: bool,
    ) -> BecknError:
        """The error with what is free nearby; the same error when it is about something else or nothing is."""
        item_id = getattr(command, "item_id", None) or (order.item_id if order is not None else None)
        if refusal.why not in GONE or item_id is None:
            return error
        start_ms, end_ms = _when(command, order)
        looked_at = 0

        def is_usable(offering: Offering) -> bool:
            nonlocal looked_at
            if looked_at >= _LOOKED_AT or (start_ms is None and not self._market.is_sellable(offering)):
                return False
            looked_at += 1
            return self._ordering.is_free(tx, offering, now_ms, start_ms, end_ms)

        found = self._market.alternatives(item_id, is_usable, limit=LIMIT, every_plug=every_plug)
        if not found:
            return error
        named = "; ".join(f"{item.item_id} ({item.station.name}, {metres / 1000:.1f} km)" for item, metres in found)
        return replace(
            error,
            message=f"{error.message}. Free nearby: {named}",
            details={**(error.details or {}), "alternatives": [_shown(item, metres) for item, metres in found]},
        )


def _when(command: cmd.Command, order: Order | None) -> tuple[int | None, int | None]:
    slot = getattr(command, "slot", None) or (order.slot if order is not None else None)
    return (slot.start_ms, slot.end_ms) if slot is not None else (None, None)


def _shown(item: ItemView, metres: float) -> Json:
    return {
        "itemId": item.item_id,
        "evseId": item.evse_id,
        "stationName": item.station.name,
        "connectorType": CONNECTORS[item.connector].label if item.connector in CONNECTORS else item.connector,
        "maxPowerKW": number(item.max_power_w),
        "distanceMeters": round(metres),
    }
