"""Catalogue views as Beckn V2 JSON-LD: items, offers, catalogs (BECKN 4.4). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from beckn_adapter.catalog import (
    ItemView,
    OfferView,
    PowerType,
    ProviderView,
    Rating,
    StationView,
    amenity_words,
    charging_speed,
    connector_word,
    number,
    parking_word,
    vehicle_types,
)
from beckn_adapter.envelope import Endpoint, serialise
from beckn_adapter.v2.constants import (
    CORE,
    KWH,
    MAX_POWER_W,
    MIN_POWER_W,
    MINUTE,
    OFFER_PACK,
    PAYMENT_METHODS,
    SERVICE_PACK,
)
from csms.domain.units import ZERO, rfc3339

Json = dict[str, object]

_POWER_TYPES = {
    PowerType.AC_1_PHASE: "AC_SINGLE_PHASE",
    PowerType.AC_3_PHASE: "AC_3_PHASE",
    PowerType.DC: "DC",
}
_VEHICLES = frozenset({"2-WHEELER", "3-WHEELER", "4-WHEELER"})
# What peers take in one piece (BECKN 8.4). Offers, which every catalog repeats, have what items leave.
MAX_CATALOG_BYTES = 200_000
PAGE_BYTES = 150_000
_LAST_SECOND = "23:59:59"


def why_unpublishable(item: ItemView, connector_enum: str = "v1") -> str | None:
    """A sentence when V2 has no way to say what this connector is; None when it can be published."""
    if connector_word(item.connector, connector_enum) is None:
        return f"connector {item.connector} has no name in pack {connector_enum}"
    if not MIN_POWER_W <= item.max_power_w <= MAX_POWER_W:
        return f"{number(item.max_power_w)} kW is outside the pack's 1 to 500 kW"
    return None


def catalog_json(
    provider: ProviderView,
    items: Iterable[ItemView],
    offers: Sequence[OfferView],
    bpp: Endpoint,
    *,
    connector_enum: str = "v1",
    network_id: Sequence[str] = (),
    catalog_id: str | None = None,
) -> Json:
    """One operator's catalog. Unpublishable items are left out, and so is every offer that then covers nothing."""
    shown = [item for item in items if why_unpublishable(item, connector_enum) is None]
    ids = {item.item_id for item in shown}
    catalog: Json = {
        "@context": CORE,
        "@type": "beckn:Catalog",
        "beckn:id": catalog_id or catalog_id_of(provider.provider_id, 1),
        "beckn:descriptor": descriptor(provider.name, provider.short_desc),
        "beckn:providerId": provider.provider_id,
        "beckn:bppId": bpp.subscriber_id,
        "beckn:bppUri": bpp.uri,
        "beckn:items": [item_json(item, connector_enum=connector_enum, network_id=network_id) for item in shown],
    }
    covering = [offer for offer in offers if ids.intersection(offer.item_ids)]
    if covering:
        catalog["beckn:offers"] = [offer_json(offer, only=ids) for offer in covering]
    return catalog


def catalog_id_of(provider_id: str, number: int) -> str:
    """An operator has one catalog; what does not fit into it is in numbered ones (BECKN 4.4)."""
    return f"catalog-ev-{provider_id}" + (f"-{number}" if number > 1 else "")


def catalogs_json(
    provider: ProviderView,
    items: Iterable[ItemView],
    offers: Sequence[OfferView],
    bpp: Endpoint,
    *,
    connector_enum: str = "v1",
) -> list[Json]:
    """The operator's catalogs, in the order of the items and none larger than MAX_CATALOG_BYTES; [] for no items."""
    pages: list[list[ItemView]] = []
    room = 0
    for item in items:
        if why_unpublishable(item, connector_enum) is not None:
            continue
        size = weight(item, connector_enum)
        if size > room:
            pages.append([])
            room = PAGE_BYTES
        pages[-1].append(item)
        room -= size
    return [
        catalog_json(
            provider,
            page,
            offers,
            bpp,
            connector_enum=connector_enum,
            catalog_id=catalog_id_of(provider.provider_id, number),
        )
        for number, page in enumerate(pages, 1)
    ]


def weight(item: ItemView, connector_enum: str = "v1") -> int:
    """How many bytes an item takes in a catalog, its mentions in offers included."""
    return len(serialise(item_json(item, connector_enum=connector_enum))) + 2 * (len(item.item_id.encode()) + 3)


def item_json(item: ItemView, *, connector_enum: str = "v1", network_id: Sequence[str] = ()) -> Json:
    """One connector. The caller has made sure it is publishable."""
    shown: Json = {
        "@context": CORE,
        "@type": "beckn:Item",
        "beckn:id": item.item_id,
        "beckn:descriptor": descriptor(item.title, item.short_desc, item.long_desc),
        "beckn:category": {
            "@type": "schema:CategoryCode",
            "schema:codeValue": "ev-charging",
            "schema:name": "EV Charging",
        },
        "beckn:rateable": item.rateable,
        "beckn:isActive": item.is_active,
        "beckn:provider": _provider(item.provider),
        "beckn:itemAttributes": _attributes(item, connector_enum),
    }
    windows = _windows(item.station)
    if windows:
        shown["beckn:availabilityWindow"] = windows
    if item.rating is not None:
        shown["beckn:rating"] = _rating(item.rating)
    if network_id:
        shown["beckn:networkId"] = list(network_id)
    return shown


def offer_json(offer: OfferView, only: frozenset[str] | set[str] | None = None) -> Json:
    """One offer; `only` limits the items it names to those that stand beside it."""
    named = [item_id for item_id in offer.item_ids if only is None or item_id in only]
    attributes: Json = {"@context": OFFER_PACK, "@type": "ChargingOffer", "tariffModel": offer.tariff_model}
    if offer.idle_per_minute != ZERO:
        # The value is per minute; unitQuantity is the grace in minutes (BECKN 4.4). The sentence says it too.
        attributes["idleFeePolicy"] = {
            "currency": offer.currency,
            "value": float(offer.idle_per_minute),
            "applicableQuantity": {
                "unitCode": "MIN",
                "unitText": "minutes",
                "unitQuantity": offer.idle_grace_minutes,
            },
        }
    shown: Json = {
        "@context": CORE,
        "@type": "beckn:Offer",
        "beckn:id": offer.offer_id,
        "beckn:descriptor": descriptor(offer.name, offer.short_desc),
        "beckn:provider": offer.provider_id,
        "beckn:items": named,
        "beckn:price": unit_price_json(offer),
        "beckn:offerAttributes": attributes,
    }
    validity: Json = {"@type": "beckn:TimePeriod"}
    if offer.valid_from_ms is not None:
        validity["schema:startDate"] = rfc3339(offer.valid_from_ms)
    if offer.valid_until_ms is not None:
        validity["schema:endDate"] = rfc3339(offer.valid_until_ms)
    if len(validity) > 1:
        shown["beckn:validity"] = validity
    methods = [method for method in offer.payment_methods if method in PAYMENT_METHODS]
    if methods:
        shown["beckn:acceptedPaymentMethod"] = methods
    return shown


def unit_price_json(offer: OfferView) -> Json:
    """The price of one unit."""
    quantity = MINUTE if offer.unit == "MIN" else KWH
    return {"currency": offer.currency, "value": float(offer.price), "applicableQuantity": dict(quantity)}


def descriptor(name: str, short_desc: str | None = None, long_desc: str | None = None) -> Json:
    """A core Descriptor."""
    shown: Json = {"@type": "beckn:Descriptor", "schema:name": name}
    if short_desc is not None:
        shown["beckn:shortDesc"] = short_desc
    if long_desc is not None:
        shown["beckn:longDesc"] = long_desc
    return shown


def _provider(provider: ProviderView) -> Json:
    shown: Json = {
        "beckn:id": provider.provider_id,
        "beckn:descriptor": descriptor(provider.name, provider.short_desc),
    }
    if provider.rating is not None:
        shown["beckn:rating"] = _rating(provider.rating)
    return shown


def _rating(rating: Rating) -> Json:
    return {
        "@type": "beckn:Rating",
        "beckn:ratingValue": float(rating.value),
        "beckn:ratingCount": rating.count,
    }


def _attributes(item: ItemView, connector_enum: str) -> Json:
    shown: Json = {
        "@context": SERVICE_PACK,
        "@type": "ChargingService",
        "evseId": item.evse_id,
        "connectorType": connector_word(item.connector, connector_enum),
        "maxPowerKW": number(item.max_power_w),
        "reservationSupported": item.reservation_supported,
        "chargingStation": {"id": item.station.station_id, "serviceLocation": _location(item.station)},
    }
    if item.min_power_w is not None:
        shown["minPowerKW"] = number(item.min_power_w)
    if item.power_type is not None:
        shown["chargingSpeed"] = charging_speed(item.power_type, item.max_power_w)
        if item.power_type in _POWER_TYPES:
            shown["powerType"] = _POWER_TYPES[item.power_type]
    if item.format is not None:
        shown["connectorFormat"] = item.format.value
    fits = [vehicle for vehicle in vehicle_types(item) if vehicle in _VEHICLES]
    if fits:
        # Pack v1 takes one value; v2 a list as well. The first configured is the one the place is made for.
        shown["vehicleType"] = list(fits) if connector_enum == "v2" and len(fits) > 1 else fits[0]
    amenities = amenity_words(item.station.amenities)
    if amenities:
        shown["amenityFeature"] = amenities
    parking = parking_word(item.station.parking)
    if parking is not None:
        shown["parkingType"] = parking
    if item.roaming_network is not None:
        shown["roamingNetwork"] = item.roaming_network
    return shown


def _location(station: StationView) -> Json:
    address = {
        "streetAddress": station.street,
        "addressLocality": station.city,
        "addressRegion": station.region,
        "postalCode": station.postal_code,
        "addressCountry": station.country,
    }
    return {
        "@type": "beckn:Location",
        "geo": {"type": "Point", "coordinates": [station.lon, station.lat]},
        "address": {name: value for name, value in address.items() if value is not None},
    }


def _windows(station: StationView) -> list[Json]:
    windows: list[Json] = []
    for start, end in station.hours:
        # Clock times are compared as texts, so a window over midnight is published as its two halves.
        halves = [(start, end)] if start < end else [(start, "24:00"), ("00:00", end)]
        windows += [
            {
                "@type": "beckn:TimePeriod",
                "schema:startTime": f"{begin}:00{station.utc_offset}",
                "schema:endTime": (_LAST_SECOND if until == "24:00" else f"{until}:00") + station.utc_offset,
            }
            for begin, until in halves
            if begin != until
        ]
    return windows
