"""Prices by the hour as suppliers announce them, and which of them holds when (OpenADR-like events).

    events ─▶ known (one per id: the highest modification) ─▶ prevailing (no gap, no overlap) ─▶ Tariff.dated

A tariff without an event at an instant has its own price then. Of events that overlap the highest priority wins, then
the narrower target, then the one announced last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Final

from csms.domain.units import ZERO

ONE: Final = Decimal(1)
EVERYTHING: Final = "*"
_NARROWER: Final = {"feeder": 3, "location": 2, "tariff": 1}  # what comes before the colon of a target


@dataclass(frozen=True, slots=True, kw_only=True)
class DatedPrice:
    """What a kWh costs from `from_ms` until `until_ms` (UTC ms, exclusive): `per_kwh` in place of the hour's own price,
    or that one times `multiplier`; plus `adder`. Never below zero."""

    from_ms: int
    until_ms: int
    per_kwh: Decimal | None = None
    multiplier: Decimal = ONE
    adder: Decimal = ZERO

    def __post_init__(self) -> None:
        if self.from_ms >= self.until_ms:
            raise ValueError("a dated price ends after it begins")
        if (self.per_kwh is not None and self.per_kwh < 0) or self.multiplier < 0:
            raise ValueError("a dated price may not be negative")

    def of(self, per_kwh: Decimal) -> Decimal:
        """The price where the hour's own would be `per_kwh`."""
        base = per_kwh * self.multiplier if self.per_kwh is None else self.per_kwh
        return max(ZERO, base + self.adder)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceEvent:
    """What a supplier announced under one id. `targets`: `*`, `tariff:ID`, `location:ID`, `feeder:ID`."""

    event_id: str
    source: str
    prices: tuple[DatedPrice, ...]
    targets: tuple[str, ...] = (EVERYTHING,)
    modification: int = 0
    priority: int = 0
    received_ms: int = 0
    cancelled: bool = False

    def __post_init__(self) -> None:
        if not self.targets:
            raise ValueError("a price event needs a target")
        for target in self.targets:
            kind, _, name = target.partition(":")
            if target != EVERYTHING and (kind not in _NARROWER or not name):
                raise ValueError(f"{target!r} is no target; use *, tariff:ID, location:ID or feeder:ID")

    @property
    def starts_ms(self) -> int:
        return min((price.from_ms for price in self.prices), default=0)

    @property
    def ends_ms(self) -> int:
        return max((price.until_ms for price in self.prices), default=0)

    def says_more_than(self, known: PriceEvent) -> bool:
        """Whether it takes the place of what is known under its id; events without numbers do when they differ."""
        if self.modification != known.modification:
            return self.modification > known.modification
        said = (self.prices, self.targets, self.priority, self.cancelled)
        return self.modification == 0 and said != (known.prices, known.targets, known.priority, known.cancelled)


def known(events: Iterable[PriceEvent]) -> list[PriceEvent]:
    """One event per source and id, whatever order they came in; the cancelled ones are left out."""
    newest: dict[tuple[str, str], PriceEvent] = {}
    for event in events:
        key = (event.source, event.event_id)
        standing = newest.get(key)
        if standing is None or event.says_more_than(standing):
            newest[key] = event
    return [event for event in newest.values() if not event.cancelled]


def prevailing(events: Sequence[PriceEvent], about: Collection[str]) -> tuple[DatedPrice, ...]:
    """The prices that hold for whoever is meant by one of `about`, in time order and without overlap."""
    windows = [
        (_rank(event, about), price)
        for event in events
        if not event.cancelled and _reach(event, about) >= 0
        for price in event.prices
    ]
    marks = sorted({mark for _, price in windows for mark in (price.from_ms, price.until_ms)})
    starting = sorted(windows, key=lambda window: window[1].from_ms)
    found: list[DatedPrice] = []
    open_: list[tuple[tuple[int, int, int, str, str], DatedPrice]] = []
    position = 0
    for from_ms, until_ms in pairwise(marks):
        while position < len(starting) and starting[position][1].from_ms <= from_ms:
            open_.append(starting[position])
            position += 1
        open_ = [window for window in open_ if window[1].until_ms > from_ms]
        if open_:
            _, best = max(open_, key=lambda window: window[0])
            _append(found, best, from_ms, until_ms)
    return tuple(found)


def within(prices: Iterable[DatedPrice], from_ms: int, until_ms: int) -> tuple[DatedPrice, ...]:
    """Those that hold at some time of a span: what an order keeps of them."""
    return tuple(price for price in prices if price.from_ms < until_ms and price.until_ms > from_ms)


def _append(found: list[DatedPrice], best: DatedPrice, from_ms: int, until_ms: int) -> None:
    said = (best.per_kwh, best.multiplier, best.adder)
    last = found[-1] if found else None
    if last is not None and last.until_ms == from_ms and (last.per_kwh, last.multiplier, last.adder) == said:
        from_ms = found.pop().from_ms
    found.append(
        DatedPrice(
            from_ms=from_ms,
            until_ms=until_ms,
            per_kwh=best.per_kwh,
            multiplier=best.multiplier,
            adder=best.adder,
        )
    )


def _reach(event: PriceEvent, about: Collection[str]) -> int:
    """How narrowly it means us; below zero it does not."""
    reach = [_NARROWER.get(target.partition(":")[0], 0) for target in event.targets if target in about]
    return max(reach, default=0 if EVERYTHING in event.targets else -1)


def _rank(event: PriceEvent, about: Collection[str]) -> tuple[int, int, int, str, str]:
    return event.priority, _reach(event, about), event.received_ms, event.source, event.event_id
