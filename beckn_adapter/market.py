"""The shop window: what `app.catalogue` has for sale, as the views buyers search, with each connector's state of now.

The index follows the inventory (`generation`); a connector's state is looked up when an item is shown, because it
changes by the second and the index must not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
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
    number,
    offer_of,
)
from beckn_adapter.discovery import Catalogue, Intent
from beckn_adapter.matching import ordered
from beckn_adapter.v2.items import item_json, why_unpublishable
from csms.app.catalogue import Inventory, Offer, Offering
from csms.domain.buyer import Buyer
from csms.domain.connector import Availability, Sale
from csms.domain.order import Order
from csms.domain.refusal import Refusal
from csms.domain.scanning import RECENT_MS, Freshness
from csms.domain.tariff import Discount, Tariff, rate_at, text

log = structlog.get_logger()

_AT_ONCE = 5_000  # offerings looked at before others have their turn: some milliseconds

_FREE = frozenset({Availability.AVAILABLE})
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
    """Searchable views over the inventory. `sale_of` tells a connector's state now.

    The index belongs to the event loop; `item` and `offers` only look up and may be asked from the store's thread.
    """

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
        self._generation = -1
        self._index = Catalogue(
            self._document, is_publishable=self.is_publishable, max_radius_m=self._circle_m, max_items=max_items
        )
        self._offerings: dict[str, Offering] = {}
        self._stations: dict[int, tuple[Mapping[str, Any], StationView]] = {}
        self._hidden: set[str] = set()
        self._seen: dict[str, tuple[int, Sale]] = {}  # item -> when its state was looked at for those who see less

    @property
    def generation(self) -> int:
        """Grows when what is for sale changes, and not with a connector's state."""
        return self._generation

    def is_publishable(self, item: ItemView) -> bool:
        """Whether V2 has words for it."""
        return why_unpublishable(item, self._connector_enum) is None

    def _document(self, item: ItemView) -> Mapping[str, object]:
        """What filters see: as published, and a plug that has no published word under our own name for it."""
        shown = item_json(item, connector_enum=self._connector_enum)
        attributes = shown["beckn:itemAttributes"]
        if isinstance(attributes, dict) and attributes.get("connectorType") is None:
            attributes["connectorType"] = item.connector
        return shown

    def refresh(self) -> None:
        """Follow the inventory, touching only what changed; nothing happens when nothing did."""
        for _ in self._follow():
            pass

    async def follow(self) -> None:
        """`refresh`, with time for others in between: a hundred thousand new connectors are seconds of work. Who
        searches meanwhile finds each connector as it was or as it is."""
        for _ in self._follow():
            await asyncio.sleep(0)

    def _follow(self) -> Iterator[None]:
        if self._generation == self._inventory.generation:
            return
        generation, there = self._inventory.generation, list(self._inventory.all())
        work = 0
        for offering in there:
            work += 1
            before = self._offerings.get(offering.item_id)
            if before is not offering:
                work += self._take_over(before, offering)
            if work >= _AT_ONCE:
                work = 0
                yield
        for gone in self._offerings.keys() - {offering.item_id for offering in there}:
            self._take_off(gone)
        places = {id(offering.location) for offering in there}
        self._stations = {key: here for key, here in self._stations.items() if key in places}
        self._generation = generation

    def _take_over(self, before: Offering | None, offering: Offering) -> int:
        """A new or changed connector; how much work that was, in offerings merely looked at."""
        if before is not None and _looks_alike(before, offering):
            self._offerings[offering.item_id] = offering
            return 1
        view = view_of(offering, self.provider, self._station(offering.location))
        self._say_hidden(offering, view)
        if view is None:
            self._take_off(offering.item_id)
            return 10
        self._offerings[offering.item_id] = offering
        self._index.put(view)
        return 50

    def _take_off(self, item_id: str) -> None:
        self._index.drop(item_id)
        self._offerings.pop(item_id, None)
        self._seen.pop(item_id, None)

    def _station(self, location: Mapping[str, Any]) -> StationView:
        """One view per location: thousands of connectors share it."""
        known = self._stations.get(id(location))  # the location is kept beside it, so its id cannot be another's
        if known is None:
            known = self._stations[id(location)] = (location, station_of(location))
        return known[1]

    def _say_hidden(self, offering: Offering, view: ItemView | None) -> None:
        why = f"unknown connector {offering.standard}" if view is None else None
        if view is not None:
            why = why_unpublishable(view, self._connector_enum)
        if why is None:
            self._hidden.discard(offering.item_id)
        elif offering.item_id not in self._hidden:
            self._hidden.add(offering.item_id)
            log.info("market.not_shown", item_id=offering.item_id, why=why)

    def __len__(self) -> int:
        return len(self._index)

    def ids(self) -> list[str]:
        """Every item, by id."""
        return sorted(self._offerings)

    def item(self, item_id: str) -> ItemView | None:
        """One connector as it is now."""
        found = self._index.get(item_id)
        return self._now(found) if found is not None else None

    def search(
        self,
        intent: Intent,
        now_ms: int,
        *,
        freshness: Freshness = Freshness.LIVE,
        every_plug: bool = False,
        own: Tariff | None = None,
    ) -> list[ItemView]:
        """What fits, in the state of now or what the asker may see of it. `every_plug`: also those V2 cannot name;
        `own`: the asker's own prices, wherever the connector stands."""
        as_of = self._as_of(freshness, now_ms)
        found = self._index.search(
            intent,
            now_ms,
            as_of=as_of,
            is_publishable=(lambda _: True) if every_plug else None,
            also=self._also(intent, as_of, now_ms, own),
        )
        return [as_of(item) for item in found]

    def _also(
        self, intent: Intent, as_of: Callable[[ItemView], ItemView], now_ms: int, own: Tariff | None
    ) -> Callable[[ItemView], bool] | None:
        """What only the market can judge of an intent: prices, and what is free."""
        if not intent.price_per_kwh and not intent.available_only:
            return None

        def holds(item: ItemView) -> bool:
            if intent.available_only:
                shown = as_of(item)
                is_free = shown.is_active if shown.availability is None else shown.availability in _FREE
                if not is_free:
                    return False
            return all(self._costs(item, op, price, now_ms, own) for op, price in intent.price_per_kwh)

        return holds

    def _costs(self, item: ItemView, op: str, price: Decimal, now_ms: int, own: Tariff | None) -> bool:
        offering = self._offerings.get(item.item_id)
        if offering is None or offering.tariff is None:
            return False
        try:
            per_kwh = rate_at(own if own is not None else offering.tariff, now_ms).per_kwh
        except Refusal:
            return False  # no price at this hour
        return ordered(op, float(per_kwh), float(price))

    def place_of(self, item_id: str) -> tuple[str, int] | None:
        """The (station, evse) of an item."""
        offering = self._offerings.get(item_id)
        return None if offering is None else (offering.station, offering.evse)

    def alternatives(
        self, item_id: str, is_usable: Callable[[Offering], bool], *, limit: int, every_plug: bool = False
    ) -> list[tuple[ItemView, float]]:
        """The nearest connectors with the same plug that can be had instead, with their distance in metres."""
        wanted = self._index.named(item_id)
        if wanted is None:
            return []

        def fits(item: ItemView) -> bool:
            offering = self._offerings.get(item.item_id)
            if offering is None or item.item_id == wanted.item_id or item.connector != wanted.connector:
                return False
            return (every_plug or self.is_publishable(item)) and is_usable(offering)

        place = (wanted.station.lon, wanted.station.lat)
        found = self._index.nearest(place, fits, reach_m=self._circle_m, limit=limit)
        return [(self._now(item), metres) for item, metres in found]

    def is_sellable(self, offering: Offering) -> bool:
        """Whether a driver who stands there could begin now, as far as the charger says."""
        return self._sale_of(offering).is_sellable

    def _as_of(self, freshness: Freshness, now_ms: int) -> Callable[[ItemView], ItemView]:
        match freshness:
            case Freshness.LIVE:
                return self._now
            case Freshness.RECENT:
                return lambda item: self._lately(item, now_ms)
            case _:
                return lambda item: item  # as indexed: what is sold there, and no state

    def _now(self, item: ItemView) -> ItemView:
        offering = self._offerings.get(item.item_id)
        return item if offering is None else _in_state(item, self._sale_of(offering))

    def _lately(self, item: ItemView, now_ms: int) -> ItemView:
        """In a state up to RECENT_MS old, the same for everybody who is shown one."""
        seen = self._seen.get(item.item_id)
        offering = self._offerings.get(item.item_id)
        if seen is None or not 0 <= now_ms - seen[0] <= RECENT_MS:
            if offering is None:
                return item
            seen = self._seen[item.item_id] = (now_ms, self._sale_of(offering))
        return _in_state(item, seen[1])

    def prices_of(self, bap_id: str) -> Tariff | None:
        """The tariff of the fleet whose app this is. One that has to be proven by each driver is shown to nobody."""
        for fleet in self._inventory.fleets.of_buyer(Buyer(), bap_id):
            if fleet.is_fleet and not fleet.needs_otp and fleet.tariff_id is not None:
                return self._inventory.tariff(fleet.tariff_id)
        return None

    def is_own(self, order: Order) -> bool:
        """Whether it is sold by the tariff of a fleet."""
        fleet = self._inventory.fleets.by_id.get(order.fleet_id or "")
        return fleet is not None and fleet.tariff_id is not None

    def offers(self, items: Iterable[ItemView], now_ms: int, own: Tariff | None = None) -> list[OfferView]:
        """The plain tariffs and the discounts that cover these items, each once. What belongs to a fleet or a loyalty
        programme is not among them: it is no offer of the inventory (BECKN 7.3). `own`: the prices of the fleet that
        asks, in place of the public ones, under the same names; there is no discount on them."""
        by_tariff: dict[str, list[Offering]] = {}
        for item in items:
            offering = self._offerings.get(item.item_id)
            if offering is not None and offering.tariff is not None:
                by_tariff.setdefault(str(offering.base_offer_id), []).append(offering)
        views = []
        for base_id, covered in by_tariff.items():
            base = self._priced(covered, base_id, now_ms, own=own)
            views += [base] if base is not None else []
        if own is not None:
            return views
        for offer_id, offer in self._inventory.offers().items():
            special = self._special(offer_id, offer, by_tariff.values(), now_ms)
            views += [special] if special is not None else []
        return views

    def prices_change_ms(self, offers: Iterable[OfferView], now_ms: int) -> int | None:
        """When the next of these prices ends or another offer begins, UTC ms; None: never."""
        begins = (offer.valid_from_ms for offer in self._inventory.offers().values())
        times = [*(view.valid_until_ms for view in offers), *begins]
        return min((time for time in times if time is not None and time > now_ms), default=None)

    def _special(self, offer_id: str, offer: Offer, groups: Iterable[list[Offering]], now_ms: int) -> OfferView | None:
        """A discount on everything it covers. It has one price to show: the lowest it applies to."""
        priced = []
        for group in groups:
            covered = [offering for offering in group if offer.holds(offering.item_id, now_ms)]
            view = self._priced(covered, offer_id, now_ms, note=said(offer.discount)) if covered else None
            priced += [view] if view is not None else []
        if not priced:
            return None
        lowest = min(priced, key=lambda view: view.price)
        ends = [end for end in (offer.valid_until_ms, *(view.valid_until_ms for view in priced)) if end is not None]
        return replace(
            lowest,
            name=offer.name,
            item_ids=tuple(item_id for view in priced for item_id in view.item_ids),
            valid_from_ms=offer.valid_from_ms,
            valid_until_ms=min(ends, default=None),
        )

    def _priced(
        self, offerings: list[Offering], offer_id: str, now_ms: int, note: str | None = None, own: Tariff | None = None
    ) -> OfferView | None:
        """One price for these items; None when there is none at this hour."""
        tariff = own if own is not None else offerings[0].tariff
        assert tariff is not None
        try:
            return offer_of(
                tariff,
                offer_id=offer_id,
                provider_id=self.provider.provider_id,
                item_ids=[offering.item_id for offering in offerings],
                now_ms=now_ms,
                note=note,
            )
        except Refusal:
            return None


def said(discount: Discount) -> str:
    """A discount as a sentence: `10% off, at most 50, from 5 kWh on`."""
    parts = [f"{text(discount.percent)}% off"] if discount.percent else []
    parts += [f"{text(discount.flat)} off"] if discount.flat else []
    sentence = " and ".join(parts) or "nothing off"
    if discount.percent and discount.cap is not None:
        sentence += f", at most {text(discount.cap)}"
    return sentence + (f", from {number(discount.threshold_wh)} kWh on" if discount.threshold_wh else "")


def _in_state(item: ItemView, sale: Sale) -> ItemView:
    return replace(item, is_active=sale.is_active, availability=sale.availability)


def _looks_alike(one: Offering, other: Offering) -> bool:
    """Whether both have the same view; prices do not show in it."""
    return one.location is other.location and all(
        getattr(one, name) == getattr(other, name)
        for name in ("evse_id", "standard", "power_type", "format", "max_power_w", "reservable")
    )


def view_of(offering: Offering, provider: ProviderView, station: StationView) -> ItemView | None:
    """An offering as buyers see it; None for a plug nobody here has a name for."""
    connector = connector_named(offering.standard)
    if connector is None:
        return None
    return ItemView(
        item_id=offering.item_id,
        evse_id=offering.evse_id,
        station=station,
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
