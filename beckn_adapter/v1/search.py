"""`search` of Beckn 1.1.0 -> what to look for (BECKN 5.3, 7.1, 7.2). Pure, tolerant.

Filters come as tag groups with or without a code, as tags without a group, on the intent, its item or its
fulfillment. What is not understood narrows nothing, except where a buyer asks for something else than charging.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from beckn_adapter.catalog import CONNECTORS, connector_named
from beckn_adapter.commands import Discover
from beckn_adapter.discovery import Intent, Spatial
from beckn_adapter.filters import And, Compare, Filter, Path, Truth, Value
from beckn_adapter.geo import Shape
from beckn_adapter.members import Reading, invalid, mapping, number_of
from beckn_adapter.v1.members import code_of, first, listed, text_of
from beckn_adapter.v1.parts import own_id, stops_window
from beckn_adapter.v1.tags import Entry, entries_of

MAX_BOUNDS: Final = 16  # comparisons of power, and of price: each is asked of every connector
EVERYWHERE_M: Final = 1e9  # a place without a radius: nearest first, as far as we answer at all
_METRES: Final[Mapping[str, float]] = {
    **dict.fromkeys(("km", "kms", "kilometer", "kilometers", "kilometre", "kilometres"), 1000.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1.0),
    **dict.fromkeys(("mi", "mile", "miles"), 1609.344),
}
# The power bands of the category codes (BECKN 7.1), in W.
_BANDS: Final[Mapping[str, tuple[bool, tuple[tuple[str, int], ...]]]] = {
    "ac-slow": (False, (("<", 7_000),)),
    "ac-fast": (False, ((">=", 7_000),)),
    "dc-fast": (True, (("<", 150_000),)),
    "dc-ultra": (True, ((">=", 150_000),)),
}
_OTHER_TRADES: Final = frozenset({"loyalty-program", "loyalty-subscription", "v2g-enabled"})
_SWAPS: Final = frozenset({"battery-swap", "mobile-battery-swap"})
_COMPARISON: Final = re.compile(
    r"(>=|<=|==|=|>|<|greater than or equal to|less than or equal to|greater than|less than|more than|at least"
    r"|at most|above|below|up to|equals to|equals|equal to)?\s*([0-9]{1,9}(?:\.[0-9]{1,6})?)"
)
_OPERATORS: Final[Mapping[str, str]] = {
    "": "==",
    "=": "==",
    **dict.fromkeys((">=", "greater than or equal to", "at least"), ">="),
    **dict.fromkeys(("<=", "less than or equal to", "at most", "up to"), "<="),
    **dict.fromkeys((">", "greater than", "more than", "above"), ">"),
    **dict.fromkeys(("<", "less than", "below"), "<"),
}


def search(message: Mapping[str, object], reading: Reading, *, with_slots: bool) -> Discover:
    """The question in a `search`. Without an intent everything is meant, as far as we answer at all."""
    intent = mapping(message.get("intent"))
    item, provider = first(intent.get("item") or intent.get("items")), mapping(intent.get("provider"))
    fulfillment = first(intent.get("fulfillment") or intent.get("fulfillments"))
    stops = [mapping(stop) for stop in listed(fulfillment.get("stops"))]
    entries = entries_of(intent, item, fulfillment, first(stops))
    is_dc, powers = _current(entries, _codes(intent, item))
    item_id = text_of(item, "id")
    found = Intent(
        text=_text(intent, item, provider, stops),
        filter=_filter(intent, item, fulfillment),
        spatial=_place(stops, intent),
        connectors=_plugs(entries, _codes(intent, item), fulfillment),
        power_w=powers,
        is_dc=is_dc,
        provider_id=text_of(provider, "id"),
        item_id=own_id(item_id) if item_id is not None else None,
        vehicle_types=_vehicle_types(entries),
        price_per_kwh=_prices(entries, item),
        available_only=any(e.code in ("availability", "status") and e.value.casefold() == "available" for e in entries),
    )
    return Discover(intent=found, with_slots=with_slots, window=stops_window(stops[:1], reading, "intent: stops"))


def _codes(*holders: Mapping[str, object]) -> tuple[str, ...]:
    """The category's and the item's codes, normalised."""
    found = []
    for holder in holders:
        for part in (holder, first(holder.get("category") or holder.get("categories"))):
            code = text_of(mapping(part.get("descriptor")), "code")
            if code is not None:
                found.append(code_of(code))
    return tuple(found)


def _text(
    intent: Mapping[str, object],
    item: Mapping[str, object],
    provider: Mapping[str, object],
    stops: list[Mapping[str, object]],
) -> str | None:
    words = [text_of(mapping(holder.get("descriptor")), "name") for holder in (intent, item, provider)]
    location = mapping(first(stops).get("location"))
    if _gps_of(location) is None:
        words += [text_of(mapping(location.get("city")), "name"), text_of(location, "area_code")]
    return " ".join(word for word in words if word) or None


# --- where --------------------------------------------------------------------------------------------------


def _place(stops: list[Mapping[str, object]], intent: Mapping[str, object]) -> tuple[Spatial, ...]:
    for holder in (*stops, intent):
        location = mapping(holder.get("location"))
        gps = _gps_of(location)
        if gps is None:
            continue
        where = "intent.fulfillment.stops[0].location"
        circle = mapping(location.get("circle"))
        radius = circle.get("radius")
        reach_m = EVERYWHERE_M if radius is None else _radius_m(radius, f"{where}.circle.radius")
        return (Spatial(op="s_dwithin", shape=Shape(points=(_point(gps, where),)), distance_m=reach_m),)
    return ()


def _gps_of(location: Mapping[str, object]) -> object:
    circle = mapping(location.get("circle"))
    return circle.get("gps") if circle.get("gps") is not None else location.get("gps")


def _point(gps: object, where: str) -> tuple[float, float]:
    """`"lat,lon"`, the other way round than GeoJSON."""
    lat, comma, lon = gps.partition(",") if isinstance(gps, str) else ("", "", "")
    north, east = number_of(lat), number_of(lon)
    if not comma or north is None or east is None or not (-90 <= north <= 90 and -180 <= east <= 180):
        raise invalid(f'{where}: gps is not "latitude,longitude"')
    return float(east), float(north)


def _radius_m(radius: object, where: str) -> float:
    given = mapping(radius)
    value = number_of(given.get("value") if given else radius)
    unit = text_of(given, "unit") or "km"
    size = _METRES.get(unit.casefold())
    if value is None or value < 0:
        raise invalid(f"{where}.value is not a number from 0")
    if size is None:
        raise invalid(f"{where}.unit is not km, m or miles")
    return min(float(value) * size, EVERYWHERE_M)


# --- what ---------------------------------------------------------------------------------------------------


def _plugs(
    entries: tuple[Entry, ...], codes: tuple[str, ...], fulfillment: Mapping[str, object]
) -> frozenset[str] | None:
    """Our names of the plugs asked for; a plug nobody here knows is none, not any."""
    kind = text_of(fulfillment, "type")
    if kind is not None and code_of(kind) in _SWAPS:
        return frozenset({"SWAPPING"})
    words = [entry.value for entry in entries if entry.code == "connector-type" and entry.value]
    named = [code for code in codes if connector_named(code) in CONNECTORS]
    if not words and not named:
        return None
    asked = [part for word in words for part in word.split(",")[:20]] + named
    return frozenset(name for word in asked if (name := connector_named(word)) is not None)


def _current(entries: tuple[Entry, ...], codes: tuple[str, ...]) -> tuple[bool | None, tuple[tuple[str, int], ...]]:
    """AC or DC, and the power asked for in W."""
    is_dc: bool | None = None
    powers: list[tuple[str, int]] = []
    for code in codes:
        if code in _BANDS:
            is_dc, band = _BANDS[code]
            powers += band
    for entry in entries:
        if entry.code in ("charger-type", "power-type"):
            kind = entry.value.strip().upper()
            is_dc = True if kind.startswith("DC") else False if kind.startswith("AC") else is_dc
        elif entry.code == "power-rating":
            size = 1 if re.search(r"[0-9]\s*w\b", entry.value[:100].casefold()) else 1000
            powers += [(op, int(value * size)) for op, value in comparisons(entry.value)]
    return is_dc, tuple(powers[:MAX_BOUNDS])


def comparisons(text: str) -> tuple[tuple[str, Decimal], ...]:
    """`greater than 3.3kW and less than 11kW` -> (>, 3.3), (<, 11); `3.3-11kW` is from and to."""
    said = text[:100].casefold()
    span = re.fullmatch(r"\s*([0-9.]{1,9})\s*(?:kw)?\s*(?:-|to)\s*([0-9.]{1,9})\s*(?:kw)?\s*", said)
    if span is not None:
        low, high = number_of(span.group(1)), number_of(span.group(2))
        return ((">=", low), ("<=", high)) if low is not None and high is not None else ()
    found = []
    for match in _COMPARISON.finditer(said):
        found.append((_OPERATORS.get(match.group(1) or "", "=="), Decimal(match.group(2))))
    return tuple(found[:8])


def _prices(entries: tuple[Entry, ...], item: Mapping[str, object]) -> tuple[tuple[str, Decimal], ...]:
    """What a kWh may cost: a tag `tariff`, or the item's price with its bounds."""
    found: list[tuple[str, Decimal]] = []
    for entry in entries:
        if entry.code in ("tariff", "price", "price-per-unit"):
            found += comparisons(entry.value)
    price = mapping(item.get("price"))
    for name, op in (("maximum_value", "<="), ("minimum_value", ">="), ("value", "<=")):
        bound = number_of(price.get(name))
        if bound is not None:
            found.append((op, bound))
    return tuple(found[:MAX_BOUNDS])


def _vehicle_types(entries: tuple[Entry, ...]) -> frozenset[str] | None:
    """`4-wheeler`, `4W` … as the catalogue has them."""
    found = set()
    for entry in entries:
        if entry.code == "vehicle-type" and entry.value[:1] in ("2", "3", "4"):
            found.add(f"{entry.value[:1]}-WHEELER")
    return frozenset(found) or None


def _filter(
    intent: Mapping[str, object], item: Mapping[str, object], fulfillment: Mapping[str, object]
) -> Filter | None:
    """What only the filter language can say: the vehicle's make, and that we do not sell what is asked for."""
    kind = text_of(fulfillment, "type")
    if any(code in _OTHER_TRADES for code in _codes(intent, item)) or (kind is not None and code_of(kind) == "digital"):
        return Truth(False)
    vehicle = mapping(fulfillment.get("vehicle"))
    parts: list[Filter] = [
        Compare("==", Path(("beckn:fulfillment", "vehicle", name)), Value(said))
        for name in ("make", "model")
        if (said := text_of(vehicle, name)) is not None
    ]
    return None if not parts else parts[0] if len(parts) == 1 else And(tuple(parts))
