"""The samples of one OCPP instant become one `Reading` (SESSIONS 5.7-1, BECKN 6.3). Shared by both versions.

A wire takes a short cut of its own when all samples are plain: one context, at the outlet, unsigned, energy and
power as totals. Everything else comes here as `Sample` rows and is settled by `combine`: a total beats the phases
of the same instant, the outlet beats every other place, text that is no number is dropped, and a sum with a missing
addend is no sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Final, NamedTuple

from csms.domain.reported import Context, Reading

# What a sample contributes to, as small numbers because the wires compare them once per sample.
IGNORED: Final = 0
REGISTER: Final = 1
INTERVAL: Final = 2
POWER: Final = 3
CURRENT: Final = 4
VOLTAGE: Final = 5
SOC: Final = 6

LIMIT: Final = 2**53  # beyond it a JSON number is no longer exact, and no meter counts so far
LOWEST: Final = -LIMIT

PERIODIC: Final = "Sample.Periodic"  # what a sample without a context is (1.6 7.35, 2.0.1 3.70)

CONTEXTS: Final[dict[str | None, Context]] = {
    None: Context.SAMPLE,
    "Sample.Periodic": Context.SAMPLE,
    "Sample.Clock": Context.CLOCK,
    "Transaction.Begin": Context.BEGIN,
    "Transaction.End": Context.END,
    "Trigger": Context.TRIGGER,
    "Interruption.Begin": Context.INTERRUPTION,
    "Interruption.End": Context.INTERRUPTION,
    "Other": Context.OTHER,
}

KINDS: Final[dict[str | None, int]] = {
    None: REGISTER,  # OCPP 1.6 7.43, 2.0.1 SampledValueType: the default measurand is the import register
    "Energy.Active.Import.Register": REGISTER,
    "Energy.Active.Import.Interval": INTERVAL,
    "Power.Active.Import": POWER,
    "Current.Import": CURRENT,
    "Voltage": VOLTAGE,
    "SoC": SOC,
}

# kind -> unit -> factor to our unit (Wh, W, mA, mV, percent). A unit that is not here does not belong to the kind,
# and its sample is no reading: kWh taken for Wh would be a plausible value.
_FACTORS: Final[dict[int, dict[str | None, int]]] = {
    REGISTER: {None: 1, "Wh": 1, "kWh": 1000},
    INTERVAL: {None: 1, "Wh": 1, "kWh": 1000},
    POWER: {None: 1, "W": 1, "kW": 1000},
    CURRENT: {None: 1000, "A": 1000},
    VOLTAGE: {None: 1000, "V": 1000},
    SOC: {None: 1, "Percent": 1, "%": 1},
}

PHASES: Final[dict[str | None, int]] = {"L1": 1, "L2": 2, "L3": 3, "L1-N": 1, "L2-N": 2, "L3-N": 3}
_TOTAL: Final = 0
_NO_PHASE: Final = -1  # a phase that adds nothing: the neutral, or one line against another

_BEST_PLACE_FIRST: Final = ("Outlet", "Cable", "Body", "Inlet", "EV")


class Sample(NamedTuple):
    """One sampled value as sent; `value` text in 1.6, a number in 2.0.1, where `multiplier` is a power of ten."""

    value: str | float
    measurand: str | None = None
    unit: str | None = None
    phase: str | None = None
    location: str | None = None
    context: str | None = None
    signed: bool = False
    opaque: bool = False  # the value is signed data, not a number
    multiplier: int = 0


def _factor(kind: int, unit: str | None) -> int | None:
    factors = _FACTORS[kind]
    factor = factors.get(unit)
    if factor is None and unit is not None:  # 2.0.1 units are free text, so `KWH` and `kwh` arrive
        folded = unit.casefold()
        factor = next((factor for name, factor in factors.items() if name and name.casefold() == folded), None)
    return factor


def whole(value: str | float, factor: int = 1, multiplier: int = 0) -> int | None:
    """`value` x `factor` x 10^`multiplier`, rounded half up to an integer; `None` if it is not a usable number."""
    text = value if isinstance(value, str) else repr(value)
    # `1_000` is a number to Python and a mystery on a wire; a wild exponent would fill the memory with digits.
    if "_" in text or len(text) > 64 or not -20 <= multiplier <= 20:
        return None
    try:
        number = Decimal(text)
        if not number.is_finite() or number.adjusted() > 20:
            return None
        scaled = (number * factor).scaleb(multiplier)
        if abs(scaled) >= LIMIT:
            return None
        return int(scaled.to_integral_value(ROUND_HALF_UP))
    except InvalidOperation:
        return None


def combine(at_ms: int | None, samples: Iterable[Sample], *, energy_is_kwh: bool = False) -> tuple[Reading, ...]:
    """The readings of one instant, one per context in the order they appear; an empty one is left out."""
    by_context: dict[Context, list[Sample]] = {}
    for sample in samples:
        by_context.setdefault(CONTEXTS.get(sample.context, Context.OTHER), []).append(sample)
    readings = (_reading(at_ms, context, rows, energy_is_kwh) for context, rows in by_context.items())
    return tuple(reading for reading in readings if reading is not None)


def is_blank(reading: Reading) -> bool:
    """Nothing in it that the house keeps: temperature, frequency and the like only."""
    return (
        reading.register_wh is None
        and reading.power_w is None
        and reading.current_ma is None
        and reading.voltage_mv is None
        and reading.soc_percent is None
        and reading.interval_wh is None
        and not reading.signed
    )


def _reading(at_ms: int | None, context: Context, samples: list[Sample], energy_is_kwh: bool) -> Reading | None:
    slots: dict[int, dict[str, dict[int, int | None]]] = {}
    signed = False
    for sample in samples:
        kind = KINDS.get(sample.measurand, IGNORED)
        if kind == IGNORED:
            continue
        if sample.signed and kind == REGISTER:
            signed = True
        phase = _TOTAL if sample.phase is None or kind == SOC else PHASES.get(sample.phase, _NO_PHASE)
        factor = _factor(kind, sample.unit)
        if sample.opaque or phase == _NO_PHASE or factor is None:
            continue
        if energy_is_kwh and kind in (REGISTER, INTERVAL):
            factor = 1000
        amount = whole(sample.value, factor, sample.multiplier)
        if amount is None and phase == _TOTAL:
            continue
        slots.setdefault(kind, {}).setdefault(sample.location or "Outlet", {})[phase] = amount
    values = {kind: _settle(kind, places) for kind, places in slots.items()}
    reading = Reading(
        at_ms,
        context,
        values.get(REGISTER),
        values.get(INTERVAL),
        values.get(POWER),
        values.get(CURRENT),
        values.get(VOLTAGE),
        values.get(SOC),
        signed,
    )
    return None if is_blank(reading) else reading


def _settle(kind: int, places: dict[str, dict[int, int | None]]) -> int | None:
    phases = next((places[place] for place in _BEST_PLACE_FIRST if place in places), None)
    if phases is None:  # a place nobody has heard of; it is still a measurement
        phases = next(iter(places.values()))
    total = phases.pop(_TOTAL, None)
    parts = list(phases.values())
    if kind == SOC:
        return total if total is not None and 0 <= total <= 100 else None
    known = [part for part in parts if part is not None]
    if kind == CURRENT:
        # "The largest phase": a total beside phases is the sum of them on some meters, so phases go first.
        return max(known) if known else total
    if kind == VOLTAGE:
        return round(sum(known) / len(known)) if known else total
    if total is not None:
        return total
    # A sum with a phase that could not be read would be too low, and energy too low is money lost.
    return sum(known) if known and len(known) == len(parts) else None
