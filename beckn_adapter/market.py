"""The shop window: what `app.catalogue` has for sale, as the views buyers search, with each connector's state of now.

The index follows the inventory (`generation`); a connector's state is looked up when an item is shown, because it
changes by the second and the index must not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from beckn_adapter.catalog import (
    ALWAYS_OPEN,
    Format,
    ItemView,
    OfferView,
    PowerType,
    ProviderView,
    StationView,
    connector_named,
    offer_of,
)
from beckn_adapter.discovery import Catalogue, Intent
from beckn_adapter.v2.items import item_json, why_unpublishable
from csms.app.catalogue import Inventory, Offering
from csms.domain.connector import Sale
from csms.domain.refusal import Refusal

log = structlog.get_logger()

_POWER = {
    "DC": PowerType.DC,
    "AC_3_PHASE": PowerType.AC_3_PHASE,
    "AC_2_PHASE": PowerType.AC_2_PHASE,
    "AC_2_PHASE_SPLIT": PowerType.AC_2_PHASE,
}
_AMENITIES = {"RESTAURANT": "RESTAURANT", "CAFE": "RESTAURANT", "WIFI": "WI-FI", "PARKING_LOT": "PARKING"}
_PARKING = {
    "ALONG_MOTORWAY": "OnStreet", "ON_STREET": "OnStreet", "PARKING_GARAGE": "Basement", "PARKING_LOT": "OffStreet",
    "UNDERGROUND_GARAGE": "Basement", "ON_DRIVEWAY": "OffStreet",
}  # fmt: skip


class Market:
    """Searchable views over the inventory. `sale_of` tells a connector's state now."""

    def __init__(
        self,
        inventory: Inventory,
        provider: ProviderView,
        sale_of: Callable[[Offering], Sale],
        *,
        connector_enum: str,
        circle_km: float,
        max_items: int,
    ) -> None:
        self._inventory = inventory
        self.provider = provider
        self._sale_of = sale_of
        self._connector_enum = connector_enum
        self._circle_m = circle_km * 1000
        self._max_items = max_items
        self._generation = -1
        self._index = self._empty()
        self._offerings: dict[str, Offering] = {}

    def _empty(self) -> Catalogue:
        enum = self._connector_enum
        return Catalogue(
            lambda item: item_json(item, connector_enum=enum),
            is_publishable=lambda item: why_unpublishable(item, enum) is None,
            max_radius_m=self._circle_m,
            max_items=self._max_items,
        )

    def refresh(self) -> None:
        """Follow the inventory; nothing happens when it has not changed."""
        if self._generation == self._inventory.generation:
            return
        index = self._empty()
        offerings = {}
        for offering in self._inventory.all():
            view = view_of(offering, self.provider)
            if view is None:
                log.info("market.not_shown", item_id=offering.item_id, why=f"unknown connector {offering.standard}")
                continue
            if (why := why_unpublishable(view, self._connector_enum)) is not None:
                log.info("market.not_shown", item_id=offering.item_id, why=why)
            index.put(view)
            offerings[view.item_id] = offering
        self._index, self._offerings = index, offerings
        self._generation = self._inventory.generation

    def __len__(self) -> int:
        self.refresh()
        return len(self._index)

    def item(self, item_id: str) -> ItemView | None:
        """One connector as it is now."""
        self.refresh()
        found = self._index.get(item_id)
        return self._now(found) if found is not None else None

    def search(self, intent: Intent, now_ms: int) -> list[ItemView]:
        """What fits, with the state of now."""
        self.refresh()
        return [self._now(item) for item in self._index.search(intent, now_ms)]

    def _now(self, item: ItemView) -> ItemView:
        return replace(item, is_active=self._sale_of(self._offerings[item.item_id]).is_active)

    def offers(self, items: Iterable[ItemView], now_ms: int) -> list[OfferView]:
        """The plain tariffs and the discounts that cover these items."""
        by_tariff: dict[str, list[str]] = {}
        shown = [item.item_id for item in items]
        tariffs = {}
        for item_id in shown:
            tariff = self._offerings[item_id].tariff
            if tariff is not None:
                by_tariff.setdefault(tariff.tariff_id, []).append(item_id)
                tariffs[tariff.tariff_id] = tariff
        views = []
        for tariff_id, item_ids in by_tariff.items():
            base = self.offer(self._offerings[item_ids[0]], f"offer-{tariff_id}", item_ids, now_ms)
            views += [base] if base is not None else []
            for offer_id, offer in self._inventory.offers().items():
                covered = [item_id for item_id in item_ids if offer.holds(item_id, now_ms)]
                special = self.offer(self._offerings[item_ids[0]], offer_id, covered, now_ms) if covered else None
                if special is not None:
                    views.append(replace(special, name=offer.name))
        return views

    def offer(self, offering: Offering, offer_id: str, item_ids: list[str], now_ms: int) -> OfferView | None:
        """One price for these items; None when there is none at this hour."""
        if offering.tariff is None:
            return None
        try:
            return offer_of(
                offering.tariff,
                offer_id=offer_id,
                provider_id=self.provider.provider_id,
                item_ids=item_ids,
                now_ms=now_ms,
            )
        except Refusal:
            return None


def view_of(offering: Offering, provider: ProviderView) -> ItemView | None:
    """An offering as buyers see it; None for a plug nobody here has a name for."""
    connector = connector_named(offering.standard)
    if connector is None:
        return None
    return ItemView(
        item_id=offering.item_id,
        evse_id=offering.evse_id,
        station=station_of(offering.location),
        provider=provider,
        connector=connector,
        max_power_w=offering.max_power_w,
        power_type=_POWER.get(offering.power_type, PowerType.AC_1_PHASE),
        format=Format.CABLE if offering.format == "CABLE" else Format.SOCKET,
        reservation_supported=offering.reservable,
    )


def station_of(location: Mapping[str, Any]) -> StationView:
    """An OCPI location as a place."""
    coordinates = location.get("coordinates") or {}
    opening = location.get("opening_times") or {}
    hours: tuple[tuple[str, str], ...] = ()
    if opening.get("twentyfourseven"):
        hours = ALWAYS_OPEN
    elif opening.get("regular_hours"):
        hours = tuple(dict.fromkeys((str(h["period_begin"]), str(h["period_end"])) for h in opening["regular_hours"]))
    facilities = [_AMENITIES[f] for f in location.get("facilities") or [] if f in _AMENITIES]
    country = str(location.get("country") or "IND")
    return StationView(
        station_id=str(location.get("id")),
        name=str(location.get("name") or location.get("id")),
        lat=float(coordinates.get("latitude") or 0),
        lon=float(coordinates.get("longitude") or 0),
        street=location.get("address"),
        city=location.get("city"),
        region=location.get("state"),
        postal_code=location.get("postal_code"),
        country="IN" if country == "IND" else country[:2],
        amenities=tuple(dict.fromkeys(facilities)),
        parking=_PARKING.get(str(location.get("parking_type"))),
        hours=hours,
    )
