"""What a wish will cost: energy, amount, time or open-ended, priced before anything flows.

A quote prices the charging that is expected: full power from the start on, without idling. A provision for
energy beyond the order stands in the quote only under BUFFER_IN_QUOTE; under HOLD it is held but not quoted.
An amount is all-in and gets no provision: the energy is solved for, and the session is limited there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Final

from csms.domain.breakdown import Breakdown, Component, ComponentKind, Role
from csms.domain.refusal import Refusal, Why
from csms.domain.tariff import MINUTE_MS, ZERO_ENERGY_WH, Pattern, Slice, Tariff, Terms, Usage, bill
from csms.domain.units import from_minor, round_money, to_minor

HOUR_MS: Final = 3_600_000
# No sale is quoted for more than a day at full power; it also ends the search where money stops mattering
# (a free tariff, or one with a highest price).
LONGEST_HOURS: Final = 24

_Affordable = Callable[[int], bool]


class WantKind(StrEnum):
    ENERGY = "ENERGY"
    AMOUNT = "AMOUNT"
    TIME = "TIME"
    OPEN = "OPEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What the buyer asked for. Exactly the member its kind names is given; OPEN gives none."""

    kind: WantKind
    energy_wh: int | None = None
    amount_minor: int | None = None
    minutes: int | None = None

    def __post_init__(self) -> None:
        given = {
            WantKind.ENERGY: self.energy_wh,
            WantKind.AMOUNT: self.amount_minor,
            WantKind.TIME: self.minutes,
        }
        for kind, value in given.items():
            if (value is not None) != (kind is self.kind):
                raise ValueError(f"a wish of kind {self.kind} with {kind} = {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A price and what it is for. `energy_wh` limits the session unless the wish was TIME or OPEN.

    `hold_minor` is what has to be collected or held before charging, in paise.
    """

    breakdown: Breakdown
    energy_wh: int
    minutes: int
    hold_minor: int


def quote(terms: Terms, want: Want, *, start_ms: int, max_power_w: int, default_energy_wh: int = 10_000) -> Quote:
    """The price of `want` on a socket of `max_power_w`, starting at `start_ms`.

    Refuses QUANTITY for nothing, or for an amount that buys nothing, and NO_TARIFF for uncovered hours.
    """
    if max_power_w <= 0:
        raise ValueError("a socket without power has nothing to quote")
    match want:
        case Want(kind=WantKind.AMOUNT, amount_minor=int(amount_minor)):
            return _for_amount(terms, from_minor(amount_minor), start_ms, max_power_w)
        case Want(kind=WantKind.TIME, minutes=int(minutes)):
            energy_wh = max_power_w * minutes // 60
            usage = _spread(start_ms, minutes * MINUTE_MS, energy_wh)
        case Want(kind=WantKind.ENERGY, energy_wh=int(energy_wh)):
            usage = _at_full_power(start_ms, energy_wh, max_power_w)
        case _:
            energy_wh = default_energy_wh
            usage = _at_full_power(start_ms, energy_wh, max_power_w)
    if energy_wh < ZERO_ENERGY_WH:
        raise Refusal(Why.QUANTITY, "The least that can be sold is 0.01 kWh.")
    plain = bill(terms, usage)
    held = hold_minor(terms, plain)
    if terms.pattern is Pattern.BUFFER_IN_QUOTE:
        plain = replace(plain, components=(*plain.components, *_provision_lines(terms.tariff, plain.total)))
    return Quote(breakdown=plain, energy_wh=energy_wh, minutes=_minutes(usage), hold_minor=held)


def hold_minor(terms: Terms, breakdown: Breakdown, *, want: Want | None = None) -> int:
    """Paise to collect or hold before charging: the price, with the provision where the pattern has one.

    Given a quote that holds its provision already, it is not added again; an amount never gets one.
    """
    price = breakdown.without(Role.BUFFER).total
    if want is not None and want.kind is WantKind.AMOUNT:
        return to_minor(price)
    if terms.pattern in (Pattern.BUFFER_IN_QUOTE, Pattern.HOLD):
        return to_minor(price + _provision(terms.tariff, price))
    return to_minor(price)


def _provision(tariff: Tariff, price: Decimal) -> Decimal:
    return max(round_money(price * tariff.buffer_percent / 100), round_money(tariff.buffer_min))


def _provision_lines(tariff: Tariff, price: Decimal) -> tuple[Component, ...]:
    provision = _provision(tariff, price)
    if not provision:
        return ()
    said = "Overcharge estimation, unused part refunded"
    return (Component(kind=ComponentKind.FEE, role=Role.BUFFER, amount=provision, description=said),)


def _spread(start_ms: int, duration_ms: int, energy_wh: int) -> Usage:
    return Usage(slices=(Slice(start_ms=start_ms, end_ms=start_ms + duration_ms, energy_wh=energy_wh),))


def _at_full_power(start_ms: int, energy_wh: int, max_power_w: int) -> Usage:
    return _spread(start_ms, -(-max(0, energy_wh) * HOUR_MS // max_power_w), max(0, energy_wh))


def _minutes(usage: Usage) -> int:
    """Expected minutes, the last one begun counted whole: this is a promise of a slot, not a price."""
    return sum(-(-(piece.end_ms - piece.start_ms) // MINUTE_MS) for piece in usage.slices)


# ---------------------------------------------------------------- an amount, solved for energy


def _for_amount(terms: Terms, amount: Decimal, start_ms: int, max_power_w: int) -> Quote:
    """The most energy whose price is not above `amount`; what single Wh cannot use up is shown as rounding.

    The rounding line is a few paise that come back with the bill, so the quote adds up to the amount exactly.
    There is none when something else than money ends the sale (a day of charging, or the tariff's hours).
    """

    def price(energy_wh: int) -> Breakdown | None:
        try:
            return bill(terms, _at_full_power(start_ms, energy_wh, max_power_w))
        except Refusal:  # NO_TARIFF: full power would run into hours without a price, so it cannot be sold
            return None

    def is_affordable(energy_wh: int) -> bool:
        priced = price(energy_wh)
        return priced is not None and priced.total <= amount

    longest = max_power_w * LONGEST_HOURS
    discounts = (terms.discount, terms.loyalty)
    energy_wh = _largest(is_affordable, {found.threshold_wh for found in discounts if found is not None}, longest)
    if amount <= 0 or energy_wh is None:
        bill(terms, _at_full_power(start_ms, ZERO_ENERGY_WH, max_power_w))  # refuses when there is no price now
        raise Refusal(Why.QUANTITY, f"{amount} {terms.tariff.currency} buys no energy under this tariff.")
    usage = _at_full_power(start_ms, energy_wh, max_power_w)
    breakdown = bill(terms, usage)
    if energy_wh < longest and price(energy_wh + 1) is not None:
        breakdown = _filled_up(breakdown, amount)
    return Quote(
        breakdown=breakdown,
        energy_wh=energy_wh,
        minutes=_minutes(usage),
        hold_minor=breakdown.total_minor,
    )


def _filled_up(breakdown: Breakdown, amount: Decimal) -> Breakdown:
    rest = amount - breakdown.total
    if not rest:
        return breakdown
    said = "Rounding, returned with the bill"
    line = Component(kind=ComponentKind.FEE, role=Role.ROUNDING, amount=round_money(rest), description=said)
    return replace(breakdown, components=(*breakdown.components, line))


def _largest(is_affordable: _Affordable, thresholds_wh: Collection[int], longest: int) -> int | None:
    """The largest affordable energy. Crossing a discount's threshold lowers the price; between two of them it rises."""
    high = longest
    for threshold_wh in sorted(thresholds_wh, reverse=True):
        if threshold_wh <= ZERO_ENERGY_WH:
            continue
        if found := _bisect(is_affordable, threshold_wh, high):
            return found
        high = min(high, threshold_wh - 1)
    return _bisect(is_affordable, ZERO_ENERGY_WH, high)


def _bisect(is_affordable: _Affordable, low: int, high: int) -> int | None:
    if low > high or not is_affordable(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        if is_affordable(middle):
            low = middle
        else:
            high = middle - 1
    return low
