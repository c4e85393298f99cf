"""An operator's inventory in a real store, and a market over it whose connectors are in whatever state a test says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from beckn_adapter.catalog import ProviderView
from beckn_adapter.market import Market
from csms.app.catalogue import Inventory, Offering
from csms.domain.connector import Availability, Sale
from csms.ports import Table, Tx
from csms.storage.migrate import migrate_sqlite
from csms.storage.sqlite import SqliteStore

NOW_MS = 1_800_000_000_000
FREE = Sale(Availability.AVAILABLE, is_sellable=True, is_active=True)
GONE = Sale(Availability.FAULTED, is_sellable=False, is_active=False)
TARIFF: dict[str, Any] = {
    "currency": "INR",
    "elements": [{"price_components": [{"type": "ENERGY", "price": 18.0, "vat": 18.0, "step_size": 1}]}],
}


def location(
    name: str, lat: float, lon: float, evses: int = 1, standard: str = "IEC_62196_T2_COMBO", tariff: str = "base"
) -> dict[str, Any]:
    """An OCPI location; EVSE n is the charger `name*n`'s."""
    return {
        "id": name,
        "name": f"Station {name}",
        "address": f"{name} Road",
        "city": "Benchpur",
        "country": "IND",
        "coordinates": {"latitude": str(lat), "longitude": str(lon)},
        "evses": [
            {
                "uid": f"{name}*{n}",
                "evse_id": f"IN*TST*{name}*{n}",
                "connectors": [
                    {
                        "id": "1",
                        "standard": standard,
                        "format": "CABLE",
                        "power_type": "DC",
                        "max_electric_power": 60_000,
                        "tariff_ids": [tariff],
                    }
                ],
            }
            for n in range(1, evses + 1)
        ],
    }


@dataclass(slots=True)
class Shelves:
    """The store, the inventory and the market over it."""

    store: SqliteStore
    inventory: Inventory
    market: Market
    states: dict[str, Sale] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)  # whose state was asked

    async def put(self, table: Table, name: str, data: Mapping[str, Any]) -> None:
        """One thing for sale, as the operator API stores it; chargers for a location come with it."""

        def work(tx: Tx) -> None:
            tx.save(table, {"id": name, "data": json.dumps(data), "updated_ms": NOW_MS})
            if table is Table.LOCATIONS and tx.one(Table.STATIONS, id=name) is None:
                no = tx.next_no("station")
                tx.add(Table.STATIONS, {"id": name, "id_folded": name.casefold(), "no": no, "created_ms": NOW_MS})

        await self.store.transact(work)

    async def load(self) -> None:
        """Read it again and follow."""
        await self.inventory.load()
        self.market.refresh()


@asynccontextmanager
async def shelves(folder: Path, **options: Any) -> AsyncIterator[Shelves]:
    """A market of nothing yet; one tariff `base`."""
    path = folder / "store.db"
    migrate_sqlite(path, stamp="test")
    store = SqliteStore(path, lambda _: None)
    await store.start()
    try:
        inventory = Inventory(store, "cpo")
        states: dict[str, Sale] = {}
        asked: list[str] = []

        def sale_of(offering: Offering) -> Sale:
            asked.append(offering.item_id)
            return states.get(offering.item_id, FREE)

        market = Market(
            inventory,
            ProviderView(provider_id="cpo", name="CPO"),
            sale_of,
            **{"connector_enum": "v1", "circle_km": 50, "max_items": 200, **options},
        )
        world = Shelves(store, inventory, market, states, asked)
        await world.put(Table.TARIFFS, "base", TARIFF)
        yield world
    finally:
        await store.stop()


def item_id(name: str, n: int = 1) -> str:
    """The item of EVSE n of a location."""
    return f"IND*cpo*{name}*IN*TST*{name}*{n}*1"
