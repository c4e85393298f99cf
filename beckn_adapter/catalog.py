"""What is for sale, in our own words: plain views, and the tables that turn them into a network's words.

A view is built by whoever knows the chargers (one item = one connector); a dialect's codec turns it into JSON.
A connector a dialect has no word for is left out there, never replaced by another plug (BECKN 7.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from csms.domain.connector import Availability
from csms.domain.tariff import Rate, Surge, Tariff, next_change, rate_at, surges_at, text
from csms.domain.units import ZERO


class PowerType(StrEnum):
    """How power comes, in OCPI's spelling."""

    AC_1_PHASE = "AC_1_PHASE"
    AC_2_PHASE = "AC_2_PHASE"
    AC_3_PHASE = "AC_3_PHASE"
    DC = "DC"


class Format(StrEnum):
    """Whether the cable hangs on the charger or is brought along."""

    SOCKET = "SOCKET"
    CABLE = "CABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What buyers think, 0 to 5."""

    value: Decimal
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderView:
    """The operator as buyers see it."""

    provider_id: str
    name: str
    short_desc: str | None = None
    rating: Rating | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StationView:
    """A place with chargers. `hours` are local clock times (`HH:MM`); empty means unknown, which is not "always"."""

    station_id: str
    name: str
    lat: float
    lon: float
    street: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str = "IN"
    amenities: tuple[str, ...] = ()
    parking: str | None = None
    hours: tuple[tuple[str, str], ...] = ()
    utc_offset: str = "+05:30"


ALWAYS_OPEN: Final = (("00:00", "24:00"),)
MAX_HOURS: Final = 12  # windows of a tariff that an offer spells out
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemView:
    """One connector for sale. `item_id` is opaque: an EVSE id may contain every separator there is."""

    item_id: str
    evse_id: str
    station: StationView
    provider: ProviderView
    connector: str  # a name of CONNECTORS
    max_power_w: int
    min_power_w: int | None = None
    power_type: PowerType | None = None
    format: Format | None = None
    name: str | None = None
    short_desc: str | None = None
    long_desc: str | None = None
    reservation_supported: bool = False
    is_active: bool = True
    availability: Availability | None = None  # the state of now; None: not told
    rateable: bool = True
    rating: Rating | None = None
    vehicle_types: tuple[str, ...] = ()
    roaming_network: str | None = None
    visible_from_ms: int | None = None
    visible_until_ms: int | None = None
    free_slots: tuple[tuple[int, int], ...] = ()  # when it can be reserved, UTC ms; asked for only where it is shown

    def is_visible_at(self, now_ms: int) -> bool:
        """Whether buyers may find this connector at `now_ms`."""
        if self.visible_from_ms is not None and now_ms < self.visible_from_ms:
            return False
        return self.visible_until_ms is None or now_ms < self.visible_until_ms

    @property
    def title(self) -> str:
        """The given name, or one made of what the connector is: `DC CCS2 60 kW`."""
        if self.name is not None:
            return self.name
        kind = "" if self.power_type is None else "DC " if self.power_type is PowerType.DC else "AC "
        return f"{kind}{CONNECTORS[self.connector].label} {number(self.max_power_w)} kW"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferView:
    """One price for some items. `unit` is what one `price` buys: `KWH` or `MIN`."""

    offer_id: str
    provider_id: str
    item_ids: tuple[str, ...]
    name: str
    price: Decimal
    unit: str = "KWH"
    currency: str = "INR"
    short_desc: str | None = None
    tariff_model: str = "PER_KWH"
    idle_per_minute: Decimal = ZERO
    idle_grace_minutes: int = 0
    valid_from_ms: int | None = None
    valid_until_ms: int | None = None
    payment_methods: tuple[str, ...] = ()
    surge_percent: Decimal = ZERO
    surcharge_per_kwh: Decimal = ZERO


def offer_of(
    tariff: Tariff,
    *,
    offer_id: str,
    provider_id: str,
    item_ids: Sequence[str],
    now_ms: int,
    name: str | None = None,
    note: str | None = None,
    valid_from_ms: int | None = None,
    valid_until_ms: int | None = None,
    payment_methods: Sequence[str] = ("UPI",),
) -> OfferView:
    """What a tariff looks like from outside at `now_ms`; `note` stands first in what is said of it. A price that
    follows the hour says its hours and holds until the next may begin. Refuses NO_TARIFF when it has none then."""
    rate = rate_at(tariff, now_ms)
    is_by_time = not rate.per_kwh and bool(rate.per_minute)
    price, unit = (rate.per_minute, "MIN") if is_by_time else (rate.per_kwh, "KWH")
    by_hour = len(tariff.rates) > 1
    if by_hour or tariff.surges or tariff.dated:
        change_ms = next_change(tariff, now_ms)
        valid_until_ms = change_ms if valid_until_ms is None else min(valid_until_ms, change_ms)
    notes = [] if note is None else [note]
    if rate.per_kwh and rate.per_minute:
        notes.append(f"plus {text(rate.per_minute)} {tariff.currency} per minute")
    if by_hour:
        notes += [_hours(other, tariff.currency) for other in tariff.rates[:MAX_HOURS]]
    notes += [_surge(surge, tariff.currency) for surge in surges_at(tariff, now_ms)]
    if tariff.service_fee:
        notes.append(f"service fee {text(tariff.service_fee)} {tariff.currency}")
    if tariff.idle_per_minute:
        notes.append(
            f"idle fee {text(tariff.idle_per_minute)} {tariff.currency} per minute"
            f" after {tariff.idle_grace_minutes} min"
        )
    if tariff.tax_percent:
        notes.append(f"{tariff.tax_label} {text(tariff.tax_percent)}% {_included(tariff)}")
    return OfferView(
        offer_id=offer_id,
        provider_id=provider_id,
        item_ids=tuple(item_ids),
        name=name or f"{text(price)} {tariff.currency} per {'minute' if is_by_time else 'kWh'}",
        price=price,
        unit=unit,
        currency=tariff.currency,
        short_desc="; ".join(notes) or None,
        tariff_model="TIME_OF_DAY" if by_hour or tariff.dated else "PER_MINUTE" if is_by_time else "PER_KWH",
        idle_per_minute=tariff.idle_per_minute,
        idle_grace_minutes=tariff.idle_grace_minutes,
        valid_from_ms=valid_from_ms,
        valid_until_ms=valid_until_ms,
        payment_methods=tuple(payment_methods),
        surge_percent=sum((surge.percent for surge in surges_at(tariff, now_ms)), tariff.surge_percent),
        surcharge_per_kwh=sum((surge.per_kwh for surge in surges_at(tariff, now_ms)), tariff.surcharge_per_kwh),
    )


def _hours(rate: Rate, currency: str) -> str:
    """`06:00-10:00 Mon-Fri 12 INR per kWh`."""
    days = "" if len(rate.weekdays) == 7 else " " + ", ".join(_DAYS[day] for day in sorted(rate.weekdays))
    by_time = not rate.per_kwh and bool(rate.per_minute)
    price, unit = (rate.per_minute, "minute") if by_time else (rate.per_kwh, "kWh")
    return f"{clock(rate.from_minute)}-{clock(rate.to_minute)}{days}: {text(price)} {currency} per {unit}"


def _surge(surge: Surge, currency: str) -> str:
    parts = [f"{text(surge.percent)}%"] if surge.percent else []
    parts += [f"{text(surge.per_kwh)} {currency} per kWh"] if surge.per_kwh else []
    return f"{surge.label}: {' and '.join(parts)} more at this time"


def clock(minute: int) -> str:
    """A minute of the day as `06:30`."""
    return f"{minute // 60:02}:{minute % 60:02}"


def _included(tariff: Tariff) -> str:
    return "included" if tariff.tax_inclusive else "extra"


def number(thousandths: int) -> int | float:
    """Thousandths -> a JSON number of wholes: W -> kW, Wh -> kWh, mA -> A. Exact to three places."""
    return thousandths // 1000 if thousandths % 1000 == 0 else thousandths / 1000


# --- connectors ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connector:
    """One kind of plug and what the world calls it. None: that vocabulary has no word."""

    label: str
    pack_v1: str | None = None
    pack_v2: str | None = None
    ocpi: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    vehicle: str | None = None


CONNECTORS: Final[Mapping[str, Connector]] = {
    "CCS2": Connector("CCS2", "CCS2", "CCS2", ("IEC_62196_T2_COMBO",), ("CCS", "Combo2", "Combo 2"), "4-WHEELER"),
    "CCS1": Connector("CCS1", None, None, ("IEC_62196_T1_COMBO",), ("Combo1",), "4-WHEELER"),
    "TYPE2": Connector("Type 2", "Type2", "Type2", ("IEC_62196_T2",), ("Mennekes", "AC Type-2", "AC Type 2")),
    "TYPE1": Connector("Type 1", None, "Type1", ("IEC_62196_T1",), ("J1772",)),
    "CHADEMO": Connector("CHAdeMO", "CHAdeMO", "CHAdeMO", ("CHADEMO",), (), "4-WHEELER"),
    "GBT": Connector("GB/T", "GB_T", "GB_T", ("GBT_AC", "GBT_DC"), ("GB_T", "GB/T")),
    "BHARAT_AC001": Connector("AC001", None, "AC-001", (), ("AC-001", "Bharat AC", "Bharat AC-001")),
    "BHARAT_DC001": Connector("DC001", None, "DC-001", (), ("DC-001", "Bharat DC", "Bharat DC-001")),
    "SOCKET_15A": Connector("15A", None, "15A", ("DOMESTIC_M",), ("15 A", "16A", "16 A", "IS 1293")),
    "TYPE6": Connector("Type 6", None, "Type6", ("TYPE_6",), ("Type-6", "Ola", "IS 17017-2-6"), "2-WHEELER"),
    "TYPE7": Connector("Ather", None, None, ("TYPE_7",), ("Ather", "LECCS", "IS 17017-2-7"), "2-WHEELER"),
    "IEC60309": Connector(
        "IEC 60309", None, "IEC_60309", ("IEC_60309_2_single_16", "IEC_60309_2_three_16", "IEC_60309_2_three_32")
    ),
    "ANDERSON": Connector("Anderson", None, "Anderson", ("ANDERSON",)),
    "CHOGORI": Connector("Chogori", None, None, ("CHOGORI",)),
    "IS_17017": Connector("IS 17017", None, None, ("IS_17017",)),
    "SWAPPING": Connector("Battery swapping", None, None, ("SWAPPING",)),
}


def connector_named(word: str) -> str | None:
    """Our name for a plug under any of its names, or None."""
    return _BY_WORD.get(_fold(word))


def connector_word(connector: str, connector_enum: str = "v1") -> str | None:
    """What Beckn V2 calls a connector of ours in pack `v1` or `v2`; None when that pack has no word for it."""
    known = CONNECTORS.get(connector)
    if known is None:
        return None
    return known.pack_v2 if connector_enum == "v2" else known.pack_v1


def _fold(word: str) -> str:
    return "".join(char for char in word.casefold() if char.isalnum())


_BY_WORD: Final[Mapping[str, str]] = {
    _fold(word): name
    for name, known in CONNECTORS.items()
    for word in (name, known.label, known.pack_v1, known.pack_v2, *known.ocpi, *known.aliases)
    if word is not None
}


# --- bands and features -------------------------------------------------------------------------------------


def charging_speed(power_type: PowerType, max_power_w: int) -> str:
    """V2 `chargingSpeed` (BECKN 7.1): AC splits at 7 kW, DC at 100 kW."""
    if power_type is PowerType.DC:
        return "ULTRAFAST" if max_power_w >= 100_000 else "FAST"
    return "NORMAL" if max_power_w >= 7_000 else "SLOW"


def category_code(power_type: PowerType, max_power_w: int) -> str:
    """The category of BECKN 7.1. Its DC boundary (150 kW) is not that of `charging_speed`."""
    if power_type is PowerType.DC:
        return "DC_ULTRA" if max_power_w >= 150_000 else "DC_FAST"
    return "AC_FAST" if max_power_w >= 7_000 else "AC_SLOW"


def vehicle_types(item: ItemView) -> tuple[str, ...]:
    """What may charge here: as configured, or what the plug alone decides, or nothing said."""
    if item.vehicle_types:
        return item.vehicle_types
    fits = CONNECTORS[item.connector].vehicle if item.connector in CONNECTORS else None
    return () if fits is None else (fits,)


# OCPI's words and the network's own, folded. What is not listed has no word there and is left out.
_AMENITIES: Final[Mapping[str, str]] = {
    "restaurant": "RESTAURANT",
    "cafe": "RESTAURANT",
    "restroom": "RESTROOM",
    "toilet": "RESTROOM",
    "wifi": "WI-FI",
    "parking": "PARKING",
    "parkinglot": "PARKING",
}
_PARKING: Final[Mapping[str, str]] = {
    "onstreet": "OnStreet",
    "offstreet": "OffStreet",
    "parkinglot": "OffStreet",
    "parkinggarage": "OffStreet",
    "basement": "Basement",
    "undergroundgarage": "Basement",
    "mall": "Mall",
    "fuelstation": "FuelStation",
    "office": "Office",
    "hotel": "Hotel",
}


def amenity_words(amenities: Sequence[str]) -> list[str]:
    """The network's words for the amenities it has words for, each once."""
    return list(dict.fromkeys(word for a in amenities if (word := _AMENITIES.get(_fold(a))) is not None))


def parking_word(parking: str | None) -> str | None:
    """The network's word for a kind of parking, or None."""
    return None if parking is None else _PARKING.get(_fold(parking))
