"""An OCPI 2.2.1 tariff, as operators write it, read into the domain's price list.

What OCPI can say and this product cannot bill exactly is refused when the tariff is put, with the member named:
a restriction that is silently ignored would be a wrong bill. `step_size` is accepted and not applied: energy is
billed by the Wh and time by the minute, which never exceeds what stepping would give.

Members of our own, beside OCPI's: `surge_percent`, `surcharge_per_kwh`, `surcharge_label`, `buffer_percent`,
`buffer_min`, `idle_grace_minutes`, `tax_label`, `tax_inclusive`, `time_zone`; and `surge_windows`, a list of `{label,
percent, per_kwh, start_time, end_time, day_of_week, valid_from, valid_until}`, each needing a percent or a per_kwh.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

from csms.domain.refusal import Refusal, Why
from csms.domain.tariff import MINUTES_PER_DAY, Rate, Surge, Tariff
from csms.domain.units import ZERO, to_ms

_DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
_RESTRICTIONS = {"start_time", "end_time", "day_of_week"}
_PER_HOUR = Decimal(60)
MAX_SURGES = 100


def read_tariff(tariff_id: str, data: Mapping[str, Any], *, default_zone: str = "Asia/Kolkata") -> Tariff:
    """The price list in `data`. Refusal(INVALID_REQUEST) names the member that cannot be used."""
    elements = data.get("elements")
    if not isinstance(elements, list) or not elements:
        raise _invalid("elements: at least one price is needed")
    parts = [_Element(index, element) for index, element in enumerate(elements)]
    vats = {vat for part in parts for vat in part.vats}
    if len(vats) > 1:
        raise _invalid("elements: all price components must carry the same vat")
    tax = vats.pop() if vats else ZERO
    inclusive = bool(data.get("tax_inclusive", data.get("tax_included") == "YES"))
    try:
        return Tariff(
            tariff_id=tariff_id,
            currency=str(data.get("currency", "INR")),
            zone=str(data.get("time_zone", default_zone)),
            rates=_rates(parts),
            service_fee=_flat(parts),
            idle_per_minute=_idle(parts),
            idle_grace_minutes=int(_number(data, "idle_grace_minutes")),
            tax_percent=tax,
            tax_label=str(data.get("tax_label", "GST")),
            tax_inclusive=inclusive,
            surge_percent=_number(data, "surge_percent"),
            surcharge_per_kwh=_number(data, "surcharge_per_kwh"),
            surcharge_label=str(data.get("surcharge_label", "Location surcharge")),
            buffer_percent=_number(data, "buffer_percent"),
            buffer_min=_number(data, "buffer_min"),
            min_price=_bound(data, "min_price", inclusive=inclusive),
            max_price=_bound(data, "max_price", inclusive=inclusive),
            surges=_surges(data),
        )
    except ValueError as error:
        raise _invalid(str(error)) from error


def _surges(data: Mapping[str, Any]) -> tuple[Surge, ...]:
    listed = data.get("surge_windows") or []
    if not isinstance(listed, list) or len(listed) > MAX_SURGES or not all(isinstance(one, dict) for one in listed):
        raise _invalid(f"surge_windows is not a list of at most {MAX_SURGES} objects")
    return tuple(_surge(window, f"surge_windows[{index}]") for index, window in enumerate(listed))


def _surge(window: Mapping[str, Any], where: str) -> Surge:
    known = {"label", "percent", "per_kwh", "start_time", "end_time", "day_of_week", "valid_from", "valid_until"}
    unknown = sorted(set(window) - known)
    if unknown:
        raise _invalid(f"{where}.{unknown[0]} is not a member of a surge window")
    days = window.get("day_of_week") or list(_DAYS)
    if not isinstance(days, list) or not set(days) <= set(_DAYS):
        raise _invalid(f"{where}.day_of_week has an unknown day")
    try:
        return Surge(
            label=str(window.get("label") or "Surge price"),
            percent=_number(window, "percent"),
            per_kwh=_number(window, "per_kwh"),
            from_minute=_minute(window.get("start_time"), 0, where),
            to_minute=_minute(window.get("end_time"), MINUTES_PER_DAY, where) or MINUTES_PER_DAY,
            weekdays=frozenset(_DAYS.index(day) for day in days),
            from_ms=_instant(window, "valid_from", where),
            until_ms=_instant(window, "valid_until", where),
        )
    except ValueError as error:
        raise _invalid(f"{where}: {error}") from error


def _instant(window: Mapping[str, Any], name: str, where: str) -> int | None:
    if not window.get(name):
        return None
    try:
        return to_ms(datetime.fromisoformat(str(window[name])))
    except ValueError as error:
        raise _invalid(f"{where}.{name} is not a time with its zone") from error


class _Element:
    """One tariff element: prices by dimension, and when they hold."""

    def __init__(self, index: int, element: Any) -> None:
        where = f"elements[{index}]"
        if not isinstance(element, dict) or not isinstance(element.get("price_components"), list):
            raise _invalid(f"{where}.price_components is missing")
        self.prices: dict[str, Decimal] = {}
        self.vats: set[Decimal] = set()
        for number, component in enumerate(element["price_components"]):
            at = f"{where}.price_components[{number}]"
            kind = component.get("type") if isinstance(component, dict) else None
            if kind not in {"ENERGY", "TIME", "FLAT", "PARKING_TIME"}:
                raise _invalid(f"{at}.type must be ENERGY, TIME, FLAT or PARKING_TIME")
            if "price" not in component:
                raise _invalid(f"{at}.price is missing")
            self.prices[kind] = _decimal(component["price"], f"{at}.price")
            if component.get("vat") is not None:
                self.vats.add(_decimal(component["vat"], f"{at}.vat"))
        restrictions = element.get("restrictions") or {}
        unknown = sorted(set(restrictions) - _RESTRICTIONS)
        if unknown:
            raise _invalid(
                f"{where}.restrictions.{unknown[0]} is not supported; allowed: {', '.join(sorted(_RESTRICTIONS))}"
            )
        self.from_minute = _minute(restrictions.get("start_time"), 0, where)
        self.to_minute = _minute(restrictions.get("end_time"), MINUTES_PER_DAY, where)
        if self.to_minute == 0:
            self.to_minute = MINUTES_PER_DAY
        days = restrictions.get("day_of_week") or list(_DAYS)
        if not set(days) <= set(_DAYS):
            raise _invalid(f"{where}.restrictions.day_of_week has an unknown day")
        self.days = frozenset(_DAYS.index(day) for day in days)

    def covers(self, day: int, minute: int) -> bool:
        if self.from_minute < self.to_minute:
            return day in self.days and self.from_minute <= minute < self.to_minute
        if minute >= self.from_minute:
            return day in self.days
        return minute < self.to_minute and (day - 1) % 7 in self.days

    @property
    def is_always(self) -> bool:
        return (self.from_minute, self.to_minute, len(self.days)) == (0, MINUTES_PER_DAY, 7)


def _rates(parts: list[_Element]) -> tuple[Rate, ...]:
    """Cut the week where any element begins or ends; in each piece the first element with a dimension prices it."""
    cuts = sorted({0, MINUTES_PER_DAY} | {m for part in parts for m in (part.from_minute, part.to_minute)})
    rates: list[Rate] = []
    for start, end in pairwise(cuts):
        by_price: dict[tuple[Decimal, Decimal], set[int]] = {}
        for day in range(7):
            energy = _first(parts, "ENERGY", day, start)
            time = _first(parts, "TIME", day, start)
            if energy is None and time is None:
                continue  # not covered: charging then is refused, never free
            by_price.setdefault((energy or ZERO, (time or ZERO) / _PER_HOUR), set()).add(day)
        for (per_kwh, per_minute), days in by_price.items():
            rates.append(
                Rate(
                    from_minute=start,
                    to_minute=end,
                    weekdays=frozenset(days),
                    per_kwh=per_kwh,
                    per_minute=per_minute,
                )
            )
    if not rates:
        raise _invalid("elements: no ENERGY or TIME price")
    if len({(rate.per_kwh, rate.per_minute) for rate in rates}) == 1 and _covers_week(rates):
        return (Rate(per_kwh=rates[0].per_kwh, per_minute=rates[0].per_minute),)
    return tuple(rates)


def _covers_week(rates: list[Rate]) -> bool:
    return sum((rate.to_minute - rate.from_minute) * len(rate.weekdays) for rate in rates) == 7 * MINUTES_PER_DAY


def _first(parts: list[_Element], kind: str, day: int, minute: int) -> Decimal | None:
    return next((part.prices[kind] for part in parts if kind in part.prices and part.covers(day, minute)), None)


def _unrestricted(parts: list[_Element], kind: str) -> Decimal:
    found = [part for part in parts if kind in part.prices]
    if any(not part.is_always for part in found):
        raise _invalid(f"a {kind} price cannot be restricted to a time of day")
    return found[0].prices[kind] if found else ZERO


def _flat(parts: list[_Element]) -> Decimal:
    return _unrestricted(parts, "FLAT")


def _idle(parts: list[_Element]) -> Decimal:
    return _unrestricted(parts, "PARKING_TIME") / _PER_HOUR


def _bound(data: Mapping[str, Any], name: str, *, inclusive: bool) -> Decimal | None:
    value = data.get(name)
    if value is None:
        return None
    if isinstance(value, Mapping):
        member = "incl_vat" if inclusive and "incl_vat" in value else "excl_vat"
        return _decimal(value.get(member), f"{name}.{member}")
    return _decimal(value, name)


def _minute(text: Any, default: int, where: str) -> int:
    if text is None:
        return default
    hours, _, minutes = str(text).partition(":")
    if not (hours.isdigit() and minutes.isdigit()) or int(hours) > 24 or int(minutes) > 59:
        raise _invalid(f"{where}.restrictions: {text!r} is not a time HH:MM")
    return min(MINUTES_PER_DAY, int(hours) * 60 + int(minutes))


def _number(data: Mapping[str, Any], name: str) -> Decimal:
    return _decimal(data[name], name) if data.get(name) is not None else ZERO


def _decimal(value: Any, where: str) -> Decimal:
    try:
        if isinstance(value, bool):
            raise InvalidOperation
        number = Decimal(str(value))
    except InvalidOperation as error:
        raise _invalid(f"{where} is not a number") from error
    if not number.is_finite() or number < 0:
        raise _invalid(f"{where} must be a number from 0 up")
    return number


def _invalid(sentence: str) -> Refusal:
    return Refusal(Why.INVALID_REQUEST, sentence)
