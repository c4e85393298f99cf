"""What a session costs while it runs and when it is over: the bill's own arithmetic on what is proven so far.

A display next to the driver must never show another sum than the bill, so both take their profile from `usage` and
their price from `tariff.bill`. Nothing is worked out from an estimate: then there is no cost to show (I02).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from csms.domain.breakdown import Breakdown
from csms.domain.meter import Quality
from csms.domain.refusal import Refusal
from csms.domain.session_record import Session
from csms.domain.session_states import State
from csms.domain.tariff import Slice, Surge, Tariff, Terms, Usage, bill, rate_at, surges_at, text

PRICED: Final = frozenset({Quality.A, Quality.B, Quality.C})
"""Energy of these qualities is money; D is provisional only, U never (SESSIONS 5.3)."""

_QUARTER_MS: Final = 900_000
_MINUTE_MS: Final = 60_000


def usage(
    *,
    start_ms: int | None,
    end_ms: int | None,
    start_wh: int | None,
    energy_wh: int,
    registers: Iterable[tuple[int, int]],
    idle_minutes: int,
) -> Usage:
    """The metered profile of a session, in time order, adding up to its energy exactly.

    `registers` (UTC ms, Wh; below zero is none) give the shape (time of day), the session gives the energy: a reset,
    a gap or a bound of SESSIONS 5.8-d is already in it, so the last slice takes what the shape does not explain.
    """
    if start_ms is None or end_ms is None:
        return Usage()
    end_ms = max(start_ms, end_ms)
    slices: list[Slice] = []
    at_ms, wh, left = start_ms, start_wh, energy_wh
    highest_wh = None if wh is None else wh + energy_wh
    for when, register in registers:
        if register < 0 or not at_ms < when < end_ms:
            continue
        if highest_wh is not None and register > highest_wh:
            continue  # beyond what was billed: a spike, which must not draw the rest into its quarter of an hour
        if wh is not None and register >= wh:
            part = min(register - wh, left)
            slices.append(Slice(start_ms=at_ms, end_ms=when, energy_wh=part))
            left -= part
            at_ms = when
        wh = register
    slices.append(Slice(start_ms=at_ms, end_ms=end_ms, energy_wh=left))
    return Usage(slices=_merged(slices), idle_minutes=idle_minutes)


def _merged(slices: list[Slice]) -> tuple[Slice, ...]:
    """At most one slice per quarter hour: rates change on quarter hours at the finest, and bills read better."""
    out: list[Slice] = []
    for piece in slices:
        if out and out[-1].start_ms // _QUARTER_MS == (piece.end_ms - 1) // _QUARTER_MS:
            last = out.pop()
            out.append(Slice(start_ms=last.start_ms, end_ms=piece.end_ms, energy_wh=last.energy_wh + piece.energy_wh))
        else:
            out.append(piece)
    return tuple(out)


def cost(terms: Terms, session: Session) -> Decimal | None:
    """What the session costs by `terms` as far as it is proven, tax included; 0.00 is free, None is unknown."""
    breakdown = priced(terms, session)
    return breakdown.total if breakdown is not None else None


def priced(terms: Terms, session: Session) -> Breakdown | None:
    """The same with its lines."""
    if session.state is State.ORPHAN or (session.energy_wh and session.quality not in PRICED):
        return None
    profile = usage(
        start_ms=session.started_at_ms,
        end_ms=session.ended_at_ms or session.last_proven_at_ms or session.started_at_ms,
        start_wh=session.meter_start_wh,
        energy_wh=session.energy_wh,
        registers=session.register,
        idle_minutes=session.idle_ms // _MINUTE_MS,
    )
    try:
        return bill(terms, profile)
    except Refusal:  # a moment without a rate: the bill will be a case, and a display says nothing
        return None


def price_text(tariff: Tariff, at_ms: int) -> str | None:
    """The prices in force at an instant, in words a driver reads on the charger; None where none is in force."""
    try:
        rate = rate_at(tariff, at_ms)
    except Refusal:
        return None
    money = tariff.currency
    said = [
        *([f"{text(rate.per_kwh)} {money}/kWh"] if rate.per_kwh else []),
        *([f"{text(rate.per_minute)} {money}/min"] if rate.per_minute else []),
        *([f"{text(tariff.service_fee)} {money} per session"] if tariff.service_fee else []),
        *([f"surge {text(tariff.surge_percent)}%"] if tariff.surge_percent else []),
        *([f"{text(tariff.surcharge_per_kwh)} {money}/kWh surcharge"] if tariff.surcharge_per_kwh else []),
        *(f"{surge.label} {_surge_text(surge, money)}" for surge in surges_at(tariff, at_ms)),
        *([_idle_text(tariff)] if tariff.idle_per_minute else []),
    ]
    if not said:
        return "Free of charge"
    if tariff.tax_percent:
        said.append(f"{'incl.' if tariff.tax_inclusive else 'plus'} {text(tariff.tax_percent)}% {tariff.tax_label}")
    return ", ".join(said)


def _surge_text(surge: Surge, money: str) -> str:
    parts = [f"{text(surge.percent)}%"] if surge.percent else []
    return " and ".join(parts + ([f"{text(surge.per_kwh)} {money}/kWh"] if surge.per_kwh else []))


def _idle_text(tariff: Tariff) -> str:
    after = f" after {tariff.idle_grace_minutes} min" if tariff.idle_grace_minutes else ""
    return f"idle {text(tariff.idle_per_minute)} {tariff.currency}/min{after}"
