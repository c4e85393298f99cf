"""What energy costs: the tariff, the terms an order keeps for ever, and the bill they make of what was metered.

The formula is BECKN 4.5, each line rounded half up to two places and later lines worked out from the rounded
earlier ones, so that a person with a pencil gets the same figures:

    UNIT       price x kWh and price x minutes, one line per distinct price (time of day cuts the usage)
    SURCHARGE  surge % of UNIT; location surcharge per kWh; in a window of hours or dates, of what was used in it
    DISCOUNT   percent of UNIT up to a cap, plus a flat sum, from a threshold of energy; never below zero; the offer
               the buyer chose, then the loyalty programme they belong to
    FEE        service fee; bounds of the tariff; idle fee after the grace (bill only)
    TAX        percent of all the above; with tax-inclusive prices no line, but the share is known
    FEE        the buyer app's finder fee (not taxed by us)

Prices live in civil time of the tariff's zone. A moment no rate covers is refused, never free.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from csms.domain.breakdown import Breakdown, Component, ComponentKind, Role
from csms.domain.dated_price import DatedPrice
from csms.domain.refusal import Refusal, Why
from csms.domain.stored import from_json, to_json
from csms.domain.units import ZERO, from_ms, kwh, rfc3339, round_money

__all__ = [
    "ZERO_ENERGY_WH",
    "Breakdown",
    "CancellationPolicy",
    "Component",
    "ComponentKind",
    "Discount",
    "FeeKind",
    "FinderFee",
    "Pattern",
    "Rate",
    "Role",
    "Slice",
    "Surge",
    "Tariff",
    "Terms",
    "Usage",
    "bill",
    "cancellation_bill",
    "from_json",
    "next_change",
    "rate_at",
    "surges_at",
    "text",
    "to_json",
]

ZERO_ENERGY_WH: Final = 10  # below this nothing was delivered (BECKN 6.2: < 0.01 kWh)
MINUTE_MS: Final = 60_000
MINUTES_PER_DAY: Final = 1440
# Offset changes of civil time fall on quarter hours of UTC; used only to step over one safely.
QUARTER_MS: Final = 15 * MINUTE_MS
EVERY_DAY: Final = frozenset(range(7))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One window of local time and its prices.

    Minutes count from local midnight, `to_minute` exclusive. `from_minute > to_minute` runs over midnight and
    belongs to the weekday (Monday 0) on which it begins. Equal ends would mean nothing or everything: refused.
    """

    from_minute: int = 0
    to_minute: int = MINUTES_PER_DAY
    weekdays: frozenset[int] = EVERY_DAY
    per_kwh: Decimal = ZERO
    per_minute: Decimal = ZERO

    def __post_init__(self) -> None:
        if not (0 <= self.from_minute < MINUTES_PER_DAY and 0 <= self.to_minute <= MINUTES_PER_DAY):
            raise ValueError(f"a rate's window lies inside one day, not {self.from_minute}..{self.to_minute}")
        if self.from_minute == self.to_minute:
            raise ValueError("a rate's window needs two different ends")
        if not self.weekdays or not self.weekdays <= EVERY_DAY:
            raise ValueError(f"weekdays run from 0 (Monday) to 6, not {sorted(self.weekdays)}")
        _refuse_negative(per_kwh=self.per_kwh, per_minute=self.per_minute)

    @property
    def is_always(self) -> bool:
        return (self.from_minute, self.to_minute, self.weekdays) == (0, MINUTES_PER_DAY, EVERY_DAY)

    def covers(self, weekday: int, minute: int) -> bool:
        """Whether local `weekday` (Monday 0) at `minute` of the day lies in the window."""
        if self.from_minute < self.to_minute:
            return weekday in self.weekdays and self.from_minute <= minute < self.to_minute
        if minute >= self.from_minute:
            return weekday in self.weekdays
        return minute < self.to_minute and (weekday - 1) % 7 in self.weekdays


@dataclass(frozen=True, slots=True, kw_only=True)
class Surge:
    """Dearer for a while: `percent` on the units and `per_kwh` on the energy used inside the window.

    The window's hours are a rate's; `from_ms` and `until_ms` (exclusive) bound its dates. An order keeps the windows
    it was quoted with, so quote and bill agree whatever is announced meanwhile. Windows that overlap add up.
    """

    label: str = "Surge price"
    percent: Decimal = ZERO
    per_kwh: Decimal = ZERO
    from_minute: int = 0
    to_minute: int = MINUTES_PER_DAY
    weekdays: frozenset[int] = EVERY_DAY
    from_ms: int | None = None
    until_ms: int | None = None

    def __post_init__(self) -> None:
        _refuse_negative(percent=self.percent, per_kwh=self.per_kwh)
        if not self.percent and not self.per_kwh:
            raise ValueError("a surge window needs a percent or a price per kWh")
        if self.from_ms is not None and self.until_ms is not None and self.from_ms >= self.until_ms:
            raise ValueError("a surge window ends after it begins")
        self._hours()  # a rate's own checks

    def _hours(self) -> Rate:
        return Rate(from_minute=self.from_minute, to_minute=self.to_minute, weekdays=self.weekdays)

    def covers(self, at_ms: int, weekday: int, minute: int) -> bool:
        """Whether it holds at an instant, whose civil time is given."""
        if self.from_ms is not None and at_ms < self.from_ms:
            return False
        if self.until_ms is not None and at_ms >= self.until_ms:
            return False
        return self._hours().covers(weekday, minute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """A price list. Money in rupees, percents as percents (18, not 0.18). The first rate that covers wins.

    `min_price` and `max_price` bound what charging itself costs (units, surcharges, discount, service fee), in
    the same terms as the prices: before tax, or with tax when `tax_inclusive`. Idling is outside the bounds.
    """

    tariff_id: str
    rates: tuple[Rate, ...]
    currency: str = "INR"
    zone: str = "Asia/Kolkata"
    service_fee: Decimal = ZERO
    idle_per_minute: Decimal = ZERO
    idle_grace_minutes: int = 0
    tax_percent: Decimal = ZERO
    tax_label: str = "GST"
    tax_inclusive: bool = False
    surge_percent: Decimal = ZERO
    surcharge_per_kwh: Decimal = ZERO
    surcharge_label: str = "Location surcharge"
    buffer_percent: Decimal = ZERO
    buffer_min: Decimal = ZERO
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    surges: tuple[Surge, ...] = ()
    dated: tuple[DatedPrice, ...] = ()  # announced by a supplier: in time order, without overlap

    def __post_init__(self) -> None:
        _refuse_negative(
            service_fee=self.service_fee,
            idle_per_minute=self.idle_per_minute,
            idle_grace_minutes=self.idle_grace_minutes,
            tax_percent=self.tax_percent,
            surge_percent=self.surge_percent,
            surcharge_per_kwh=self.surcharge_per_kwh,
            buffer_percent=self.buffer_percent,
            buffer_min=self.buffer_min,
            min_price=self.min_price or ZERO,
            max_price=self.max_price or ZERO,
        )
        if self.min_price is not None and self.max_price is not None and self.min_price > self.max_price:
            raise ValueError("the lowest price is above the highest")
        if any(a.until_ms > b.from_ms for a, b in zip(self.dated, self.dated[1:], strict=False)):
            raise ValueError("dated prices stand in time order and do not overlap")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{self.zone!r} is no time zone") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount:
    """Less money from `threshold_wh` of energy on: `percent` of the units up to `cap`, plus `flat`."""

    offer_id: str
    label: str
    percent: Decimal = ZERO
    cap: Decimal | None = None
    flat: Decimal = ZERO
    threshold_wh: int = 0

    def __post_init__(self) -> None:
        _refuse_negative(percent=self.percent, cap=self.cap or ZERO, flat=self.flat, threshold_wh=self.threshold_wh)
        if self.percent > 100:
            raise ValueError("a discount of more than all of it")


class FeeKind(StrEnum):
    PERCENTAGE = "PERCENTAGE"
    AMOUNT = "AMOUNT"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinderFee:
    """What the buyer app takes: percent of the units, or rupees."""

    kind: FeeKind
    value: Decimal

    def __post_init__(self) -> None:
        _refuse_negative(value=self.value)


class Pattern(StrEnum):
    """How more energy than ordered is paid for (BECKN 4.10, PEERS 2.2)."""

    BUFFER_IN_QUOTE = "BUFFER_IN_QUOTE"  # a provision is collected with the price and its rest refunded
    HOLD = "HOLD"  # price plus provision are held, the bill is captured, the rest released
    TOP_UP = "TOP_UP"  # the shortfall is asked for afterwards
    CPO_ABSORBS = "CPO_ABSORBS"  # the operator loses it, up to a cap


@dataclass(frozen=True, slots=True, kw_only=True)
class CancellationPolicy:
    """Free until `free_minutes` before the slot begins; from then on percent of the order, or a flat fee.

    The default is free at any time, and so is any order without a slot.
    """

    free_minutes: int = 0
    percent: Decimal = ZERO
    flat: Decimal = ZERO

    def __post_init__(self) -> None:
        _refuse_negative(free_minutes=self.free_minutes, percent=self.percent, flat=self.flat)
        if self.percent > 100:
            raise ValueError("a cancellation fee of more than the order")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Everything a price depends on. An order keeps its terms for ever; a later tariff never touches it."""

    tariff: Tariff
    discount: Discount | None = None
    finder_fee: FinderFee | None = None
    pattern: Pattern = Pattern.TOP_UP
    absorb_cap_minor: int = 0  # paise; what CPO_ABSORBS loses at most on one order
    cancellation: CancellationPolicy = field(default_factory=CancellationPolicy)
    loyalty: Discount | None = None  # of the programme the buyer belongs to; its `offer_id` is the programme's id


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Metered energy between two instants, spread evenly over them where a rate boundary cuts it."""

    start_ms: int
    end_ms: int
    energy_wh: int

    def __post_init__(self) -> None:
        if self.end_ms < self.start_ms or self.energy_wh < 0:
            raise ValueError("a slice runs forward and never takes energy back")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was used: the metered profile in time order, and how long the socket was blocked after it."""

    slices: tuple[Slice, ...] = ()
    idle_minutes: int = 0

    def __post_init__(self) -> None:
        if any(a.end_ms > b.start_ms for a, b in zip(self.slices, self.slices[1:], strict=False)):
            raise ValueError("slices stand in time order and do not overlap")
        _refuse_negative(idle_minutes=self.idle_minutes)

    @property
    def energy_wh(self) -> int:
        return sum(piece.energy_wh for piece in self.slices)

    @property
    def minutes(self) -> int:
        """Whole minutes of the slices together; the unfinished one is not counted."""
        return sum(piece.end_ms - piece.start_ms for piece in self.slices) // MINUTE_MS


def bill(terms: Terms, usage: Usage) -> Breakdown:
    """The price of `usage` as metered, without any provision.

    Under 0.01 kWh nothing is charged, neither time nor a service fee (BECKN 6.2). A discount's threshold is
    judged on the energy that was delivered. Refuses NO_TARIFF when a slice touches a moment without a rate.
    """
    tariff = terms.tariff
    if usage.energy_wh < ZERO_ENERGY_WH:
        return Breakdown(currency=tariff.currency, components=(_nothing(),))
    lines = _unit_lines(tariff, usage)
    units = _sum(lines)
    lines += _surcharge_lines(tariff, units, usage.energy_wh)
    lines += _window_lines(tariff, usage)
    lines += _discount_lines(terms.discount, units, _sum(lines), usage.energy_wh)
    lines += _discount_lines(terms.loyalty, units, _sum(lines), usage.energy_wh)
    lines += _line(ComponentKind.FEE, Role.SERVICE, tariff.service_fee, "Service fee")
    lines += _bound_lines(tariff, _sum(lines))
    lines += _idle_lines(tariff, usage.idle_minutes)
    taxable = _sum(lines)
    if not tariff.tax_inclusive:
        lines += _tax_lines(tariff, taxable)
    lines += _finder_lines(terms.finder_fee, units)
    return Breakdown(currency=tariff.currency, components=tuple(lines), included_tax=_included_tax(tariff, taxable))


def cancellation_bill(terms: Terms, ordered: Decimal, at_most: Decimal) -> Breakdown:
    """The fee for cancelling too late: tax included in the percentage, added to a flat fee.

    `ordered` is the order's price with everything in it, `at_most` what the buyer has paid: a fee is kept
    from money in hand and never becomes a debt.
    """
    tariff, policy = terms.tariff, terms.cancellation
    factor = 1 + tariff.tax_percent / 100
    flat = policy.flat if tariff.tax_inclusive else policy.flat * factor
    gross = min(round_money(ordered * policy.percent / 100 + flat), at_most)
    tax = gross - round_money(gross / factor)
    if tariff.tax_inclusive:
        fee = _line(ComponentKind.FEE, Role.CANCELLATION, gross, "Cancellation fee")
        return Breakdown(currency=tariff.currency, components=tuple(fee), included_tax=tax)
    lines = _line(ComponentKind.FEE, Role.CANCELLATION, gross - tax, "Cancellation fee")
    lines += _line(ComponentKind.TAX, Role.TAX, tax, f"{tariff.tax_label} ({text(tariff.tax_percent)}%)")
    return Breakdown(currency=tariff.currency, components=tuple(lines))


def rate_at(tariff: Tariff, at_ms: int) -> Rate:
    """The rate in force at an instant. Refuses NO_TARIFF when none covers it."""
    return _rate(tariff, at_ms, _local(ZoneInfo(tariff.zone), at_ms))


def surges_at(tariff: Tariff, at_ms: int) -> tuple[Surge, ...]:
    """The surge windows in force at an instant."""
    return _surges(tariff, at_ms, _local(ZoneInfo(tariff.zone), at_ms)) if tariff.surges else ()


def next_change(tariff: Tariff, at_ms: int) -> int:
    """Until when at least the rate of `at_ms` holds, UTC ms, exclusive."""
    return _next_change(tariff, ZoneInfo(tariff.zone), at_ms)


def text(number: Decimal) -> str:
    """`10.50` as `10.5`, `10` as `10`: how quantities and prices stand in descriptions."""
    return f"{number.normalize():f}"


# ---------------------------------------------------------------- time of day


def _local(zone: ZoneInfo, at_ms: int) -> datetime:
    return from_ms(at_ms).astimezone(zone)


def _rate(tariff: Tariff, at_ms: int, local: datetime) -> Rate:
    weekday, minute = local.weekday(), local.hour * 60 + local.minute
    for rate in tariff.rates:
        if rate.covers(weekday, minute):
            return _dated(tariff, at_ms, rate)
    raise Refusal(Why.NO_TARIFF, f"Tariff {tariff.tariff_id} has no price at {rfc3339(at_ms)}.")


def _dated(tariff: Tariff, at_ms: int, rate: Rate) -> Rate:
    """The hour's rate with the price that a supplier announced for this instant, where there is one."""
    at = bisect_right(tariff.dated, at_ms, key=lambda price: price.from_ms) - 1
    if at < 0 or at_ms >= tariff.dated[at].until_ms:
        return rate
    return replace(rate, per_kwh=tariff.dated[at].of(rate.per_kwh))


def _dated_marks(tariff: Tariff, at_ms: int) -> list[int]:
    """The next instants at which an announced price begins or ends."""
    after = bisect_right(tariff.dated, at_ms, key=lambda price: price.from_ms)
    ends = [price.until_ms for price in tariff.dated[max(0, after - 1) : after] if price.until_ms > at_ms]
    return ends + [price.from_ms for price in tariff.dated[after : after + 1]]


def _pieces(tariff: Tariff, piece: Slice) -> Iterator[tuple[Rate, int, int, tuple[Surge, ...]]]:
    """`(rate, milliseconds, Wh, surges)` of one slice, cut where either may change. The Wh add up exactly."""
    if tariff.rates and tariff.rates[0].is_always and not tariff.surges and not tariff.dated:
        yield tariff.rates[0], piece.end_ms - piece.start_ms, piece.energy_wh, ()
        return
    zone = ZoneInfo(tariff.zone)
    if piece.start_ms == piece.end_ms:
        local = _local(zone, piece.start_ms)
        yield _rate(tariff, piece.start_ms, local), 0, piece.energy_wh, _surges(tariff, piece.start_ms, local)
        return
    at_ms, given_wh = piece.start_ms, 0
    while at_ms < piece.end_ms:
        local = _local(zone, at_ms)
        rate, surges = _rate(tariff, at_ms, local), _surges(tariff, at_ms, local)
        until = min(_next_change(tariff, zone, at_ms), piece.end_ms)
        so_far = piece.energy_wh * (until - piece.start_ms) // (piece.end_ms - piece.start_ms)
        yield rate, until - at_ms, so_far - given_wh, surges
        at_ms, given_wh = until, so_far


def _surges(tariff: Tariff, at_ms: int, local: datetime) -> tuple[Surge, ...]:
    weekday, minute = local.weekday(), local.hour * 60 + local.minute
    return tuple(surge for surge in tariff.surges if surge.covers(at_ms, weekday, minute))


def _next_change(tariff: Tariff, zone: ZoneInfo, at_ms: int) -> int:
    """The next instant at which another rate may apply: a window's end, midnight, or near a clock change."""
    local = _local(zone, at_ms)
    minute = local.hour * 60 + local.minute
    windows: list[Rate | Surge] = [*tariff.rates, *tariff.surges]
    marks = {MINUTES_PER_DAY}.union(*({window.from_minute, window.to_minute} for window in windows))
    ahead = min(mark for mark in marks if mark > minute)
    until = at_ms - at_ms % MINUTE_MS + (ahead - minute) * MINUTE_MS
    dates = (date for surge in tariff.surges for date in (surge.from_ms, surge.until_ms) if date is not None)
    until = min([until, *(date for date in dates if date > at_ms)])
    until = min([until, *_dated_marks(tariff, at_ms)])
    if _local(zone, until).utcoffset() != local.utcoffset():
        return min(until, at_ms - at_ms % QUARTER_MS + QUARTER_MS)
    return until


# ---------------------------------------------------------------- lines


def _sum(lines: list[Component]) -> Decimal:
    return sum((line.amount for line in lines), ZERO)


def _line(kind: ComponentKind, role: Role, amount: Decimal, description: str) -> list[Component]:
    """One rounded line, or none when it would say 0.00."""
    rounded = round_money(amount)
    if not rounded:
        return []
    return [Component(kind=kind, role=role, amount=rounded, description=description)]


def _nothing() -> Component:
    return Component(
        kind=ComponentKind.UNIT, role=Role.ENERGY, amount=round_money(ZERO), description="No energy delivered"
    )


def _unit_lines(tariff: Tariff, usage: Usage) -> list[Component]:
    energy: dict[Decimal, int] = {}
    minutes: dict[Decimal, int] = {}
    elapsed_ms = 0
    for piece in usage.slices:
        for rate, duration_ms, energy_wh, _ in _pieces(tariff, piece):
            # Whole minutes of the running total, so that cutting a session never adds or loses one.
            whole = (elapsed_ms + duration_ms) // MINUTE_MS - elapsed_ms // MINUTE_MS
            elapsed_ms += duration_ms
            energy[rate.per_kwh] = energy.get(rate.per_kwh, 0) + energy_wh
            minutes[rate.per_minute] = minutes.get(rate.per_minute, 0) + whole
    lines: list[Component] = []
    for price, energy_wh in energy.items():
        if price:
            said = f"Energy {text(kwh(energy_wh))} kWh × {text(price)} {tariff.currency}/kWh"
            lines += _line(ComponentKind.UNIT, Role.ENERGY, price * kwh(energy_wh), said)
    for price, whole in minutes.items():
        if price:
            said = f"Time {whole} min × {text(price)} {tariff.currency}/min"
            lines += _line(ComponentKind.UNIT, Role.TIME, price * whole, said)
    return lines or [
        Component(
            kind=ComponentKind.UNIT,
            role=Role.ENERGY,
            amount=round_money(ZERO),
            description=f"Energy {text(kwh(usage.energy_wh))} kWh",
        )
    ]


def _surcharge_lines(tariff: Tariff, units: Decimal, energy_wh: int) -> list[Component]:
    surge = f"Surge price ({text(tariff.surge_percent)}%)"
    place = f"{tariff.surcharge_label} ({text(tariff.surcharge_per_kwh)} {tariff.currency}/kWh)"
    return [
        *_line(ComponentKind.SURCHARGE, Role.SURGE, units * tariff.surge_percent / 100, surge),
        *_line(ComponentKind.SURCHARGE, Role.LOCATION_SURCHARGE, tariff.surcharge_per_kwh * kwh(energy_wh), place),
    ]


def _window_lines(tariff: Tariff, usage: Usage) -> list[Component]:
    """One line for each surge window's percent and one for its price per kWh, of what was used while it held."""
    if not tariff.surges:
        return []
    units: dict[Surge, Decimal] = {}
    energy: dict[Surge, int] = {}
    elapsed_ms = 0
    for piece in usage.slices:
        for rate, duration_ms, energy_wh, surges in _pieces(tariff, piece):
            whole = (elapsed_ms + duration_ms) // MINUTE_MS - elapsed_ms // MINUTE_MS
            elapsed_ms += duration_ms
            for surge in surges:
                value = rate.per_kwh * kwh(energy_wh) + rate.per_minute * whole
                units[surge] = units.get(surge, ZERO) + value
                energy[surge] = energy.get(surge, 0) + energy_wh
    lines: list[Component] = []
    for surge, value in units.items():
        part = "" if energy[surge] == usage.energy_wh else f", on {text(kwh(energy[surge]))} kWh"
        dearer = f"{surge.label} ({text(surge.percent)}%{part})"
        more = f"{surge.label} ({text(surge.per_kwh)} {tariff.currency}/kWh{part})"
        lines += _line(ComponentKind.SURCHARGE, Role.SURGE, value * surge.percent / 100, dearer)
        lines += _line(ComponentKind.SURCHARGE, Role.SURGE, surge.per_kwh * kwh(energy[surge]), more)
    return lines


def _discount_lines(discount: Discount | None, units: Decimal, ceiling: Decimal, energy_wh: int) -> list[Component]:
    """`ceiling` is what there is to take off: a discount never turns into a payout."""
    if discount is None or energy_wh < discount.threshold_wh:
        return []
    off = units * discount.percent / 100
    if discount.cap is not None:
        off = min(off, discount.cap)
    return _line(ComponentKind.DISCOUNT, Role.DISCOUNT, -min(off + discount.flat, ceiling), discount.label)


def _bound_lines(tariff: Tariff, charging: Decimal) -> list[Component]:
    if tariff.min_price is not None and charging < tariff.min_price:
        return _line(ComponentKind.FEE, Role.MINIMUM, tariff.min_price - charging, "Up to the minimum price")
    if tariff.max_price is not None and charging > tariff.max_price:
        return _line(ComponentKind.DISCOUNT, Role.MAXIMUM, tariff.max_price - charging, "Down to the maximum price")
    return []


def _idle_lines(tariff: Tariff, idle_minutes: int) -> list[Component]:
    over = max(0, idle_minutes - tariff.idle_grace_minutes)
    return _line(ComponentKind.FEE, Role.IDLE, tariff.idle_per_minute * over, f"Idle fee ({over} min)")


def _tax_lines(tariff: Tariff, taxable: Decimal) -> list[Component]:
    label = f"{tariff.tax_label} ({text(tariff.tax_percent)}%)"
    return _line(ComponentKind.TAX, Role.TAX, taxable * tariff.tax_percent / 100, label)


def _included_tax(tariff: Tariff, taxable: Decimal) -> Decimal:
    if not tariff.tax_inclusive:
        return ZERO
    return round_money(taxable * tariff.tax_percent / (100 + tariff.tax_percent))


def _finder_lines(fee: FinderFee | None, units: Decimal) -> list[Component]:
    match fee:
        case None:
            return []
        case FinderFee(kind=FeeKind.PERCENTAGE, value=value):
            label = f"Buyer finder fee ({text(value)}%)"
            return _line(ComponentKind.FEE, Role.FINDER, units * value / 100, label)
        case FinderFee(value=value):
            return _line(ComponentKind.FEE, Role.FINDER, value, "Buyer finder fee")


def _refuse_negative(**values: Decimal | int) -> None:
    for name, value in values.items():
        if value < 0:
            raise ValueError(f"{name} may not be negative: {value}")
