"""`on_search` of Beckn 1.1.0 (BECKN 5.3, 7.1, 7.2). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from beckn_adapter.catalog import ItemView, OfferView, ProviderView, StationView, category_code
from beckn_adapter.envelope import serialise
from beckn_adapter.speaking import Json
from beckn_adapter.v1.orders import fulfillment_id, gps, item_tags, point_tags, tag_group
from beckn_adapter.v1.parts import SPOT
from beckn_adapter.v1.profiles import Profile
from csms.domain.tariff import text
from csms.domain.units import rfc3339

MAX_BYTES: Final = 180_000  # adapters in front of buyers take 200 kB (BECKN 1.1)
_CATEGORIES: Final = {
    "AC_SLOW": "AC, slow",
    "AC_FAST": "AC, fast",
    "DC_FAST": "DC, fast",
    "DC_ULTRA": "DC, ultra fast",
}


def catalog_json(
    provider: ProviderView, items: Sequence[ItemView], offers: Sequence[OfferView], profile: Profile
) -> Json:
    """The connectors that fit, nearest first, as many as one message holds; none is an empty catalogue."""
    if not items:
        return {"descriptor": {"name": provider.name}, "providers": []}
    shown: list[tuple[ItemView, dict[str, list[Json]]]] = []
    room = MAX_BYTES
    for item in items:
        written = _written(item, offers, profile)
        room -= len(serialise(written))
        if room < 0 and shown:
            break
        shown.append((item, written))
    stations = {item.station.station_id: item.station for item, _ in shown}
    named = {own["id"] for _, written in shown for own in written["items"]}
    listed: Json = {
        "id": provider.provider_id,
        "descriptor": _provider(provider),
        "categories": _categories([item for item, _ in shown]),
        "locations": [_location(station, item) for station, item in _places(stations, [i for i, _ in shown])],
        "fulfillments": [one for _, written in shown for one in written["fulfillments"]],
        "items": [one for _, written in shown for one in written["items"]],
    }
    special = [_offer(offer, named) for offer in offers]
    special = [offer for offer in special if offer["item_ids"]]
    if special:
        listed["offers"] = special
    return {"descriptor": {"name": provider.name}, "providers": [listed]}


def _provider(provider: ProviderView) -> Json:
    return {"name": provider.name, **({"short_desc": provider.short_desc} if provider.short_desc else {})}


def _written(item: ItemView, offers: Sequence[OfferView], profile: Profile) -> dict[str, list[Json]]:
    """One connector: itself, and its walk-in twin where the network keeps reservations apart."""
    if not profile.has_slots:
        return {"items": [_item(item, offers, profile)], "fulfillments": [_fulfillment(item, profile)]}
    if not item.reservation_supported:
        spot = _item(item, offers, profile, short_desc="Spot Booking")
        return {"items": [spot], "fulfillments": [_fulfillment(item, profile)]}
    twin_id = item.item_id + SPOT
    booked = _item(item, offers, profile)
    spot = _item(item, offers, profile, item_id=twin_id, short_desc="Spot Booking")
    fulfillments = [_fulfillment(item, profile, with_slots=True), _fulfillment(item, profile, item_id=twin_id)]
    return {"items": [booked, spot], "fulfillments": fulfillments}


def _item(
    item: ItemView,
    offers: Sequence[OfferView],
    profile: Profile,
    *,
    item_id: str | None = None,
    short_desc: str | None = None,
) -> Json:
    own_id = item_id or item.item_id
    said = short_desc or item.short_desc
    descriptor: Json = {"code": profile.item_code_found, "name": item.title}
    if said:
        descriptor["short_desc"] = said
    written: Json = {"id": own_id, "descriptor": descriptor}
    base = next((offer for offer in offers if item.item_id in offer.item_ids), None)
    if base is not None:
        unit = "min" if base.unit == "MIN" else profile.kwh
        written["price"] = {"value": text(base.price), "currency": f"{base.currency}/{unit}"}
    if item.power_type is not None:
        written["category_ids"] = [category_code(item.power_type, item.max_power_w)]
    written["location_ids"] = [item.station.station_id]
    written["fulfillment_ids"] = [fulfillment_id(own_id)]
    written["tags"] = [item_tags(item, profile), *_surcharges(base, profile)]
    return written


def _surcharges(base: OfferView | None, profile: Profile) -> list[Json]:
    """What comes on top of the unit price now (BECKN 5.7)."""
    entries = []
    if base is not None and base.surge_percent:
        entries.append(("peak-hour-surcharge", "Peak Hour Surcharge", f"{text(base.surge_percent)}%"))
    if base is not None and base.surcharge_per_kwh:
        amount = f"{text(base.surcharge_per_kwh)} {base.currency}/kWh"
        entries.append(("location-surcharge", "Location Surcharge", amount))
    return [tag_group(profile, "surcharge-details", "Surcharge Details", entries)] if entries else []


def _fulfillment(item: ItemView, profile: Profile, *, item_id: str | None = None, with_slots: bool = False) -> Json:
    written: Json = {"id": fulfillment_id(item_id or item.item_id), "type": "CHARGING"}
    place: Json = {"gps": gps(item)}
    if with_slots and item.free_slots:
        written["stops"] = [
            {
                "type": profile.stop_types[0],
                "location": place,
                "time": {"range": {"start": rfc3339(start_ms), "end": rfc3339(end_ms)}},
            }
            for start_ms, end_ms in item.free_slots
        ]
    else:
        written["stops"] = [{"type": profile.stop_types[0], "location": place}]
    if profile.point_tags:
        written["tags"] = [point_tags(item, profile)]
    return written


def _places(stations: dict[str, StationView], items: Sequence[ItemView]) -> list[tuple[StationView, ItemView]]:
    first: dict[str, ItemView] = {}
    for item in items:
        first.setdefault(item.station.station_id, item)
    return [(station, first[station_id]) for station_id, station in stations.items()]


def _location(station: StationView, item: ItemView) -> Json:
    parts = (station.street, station.city, station.region, station.postal_code)
    written: Json = {"id": station.station_id, "gps": gps(item), "descriptor": {"name": station.name}}
    address = ", ".join(part for part in parts if part)
    if address:
        written["address"] = address
    if station.city:
        written["city"] = {"name": station.city}
    if station.region:
        written["state"] = {"name": station.region}
    if station.postal_code:
        written["area_code"] = station.postal_code
    return written


def _categories(items: Sequence[ItemView]) -> list[Json]:
    codes = dict.fromkeys(
        category_code(item.power_type, item.max_power_w) for item in items if item.power_type is not None
    )
    return [{"id": code, "descriptor": {"code": code, "name": _CATEGORIES[code]}} for code in codes]


def _offer(offer: OfferView, named: set[object]) -> Json:
    covered = [own for item_id in offer.item_ids for own in (item_id, item_id + SPOT) if own in named]
    descriptor: Json = {"code": offer.offer_id, "name": offer.name}
    if offer.short_desc:
        descriptor["short_desc"] = offer.short_desc
    written: Json = {"id": offer.offer_id, "descriptor": descriptor, "item_ids": covered}
    span = {
        name: rfc3339(at_ms)
        for name, at_ms in (("start", offer.valid_from_ms), ("end", offer.valid_until_ms))
        if at_ms is not None
    }
    if span:
        written["time"] = {"range": span}
    return written
