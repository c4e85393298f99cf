"""What only the market can judge of a search in generation 1: prices of the hour, and what is free now."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from market_world import GONE, NOW_MS, TARIFF, item_id, location, shelves

from beckn_adapter.discovery import Intent
from csms.domain.connector import Availability, Sale
from csms.domain.scanning import Freshness
from csms.ports import Table

BUSY = Sale(Availability.CHARGING, is_sellable=False, is_active=True)


@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        ((), ["A", "B"]),
        ((("<", Decimal(15)),), ["B"]),
        ((("<=", Decimal(18)),), ["A", "B"]),
        (((">", Decimal(12)), ("<", Decimal(20))), ["A"]),
        ((("==", Decimal("12")),), ["B"]),
        ((("<", Decimal(1)),), []),
    ],
)
async def test_a_price_asked_for_is_that_of_the_hour(
    tmp_path: Path, bounds: tuple[tuple[str, Decimal], ...], found: list[str]
) -> None:
    cheap = {**TARIFF, "elements": [{"price_components": [{"type": "ENERGY", "price": 12.0, "step_size": 1}]}]}
    async with shelves(tmp_path) as world:
        await world.put(Table.TARIFFS, "cheap", cheap)
        await world.put(Table.LOCATIONS, "A", location("A", 12.9, 77.5))
        await world.put(Table.LOCATIONS, "B", location("B", 12.9, 77.5, tariff="cheap"))
        await world.load()
        shown = world.market.search(Intent(price_per_kwh=bounds), NOW_MS)
        assert sorted(item.station.station_id for item in shown) == found


async def test_what_is_free_now_is_asked_of_the_chargers(tmp_path: Path) -> None:
    async with shelves(tmp_path) as world:
        await world.put(Table.LOCATIONS, "A", location("A", 12.9, 77.5, evses=3))
        await world.load()
        world.states[item_id("A", 1)] = BUSY
        world.states[item_id("A", 2)] = GONE
        free = world.market.search(Intent(available_only=True), NOW_MS)
        assert [item.item_id for item in free] == [item_id("A", 3)]
        # Who may see no state is told what is sold, and nothing fresher by asking for it.
        assert len(world.market.search(Intent(available_only=True), NOW_MS, freshness=Freshness.COARSE)) == 3
