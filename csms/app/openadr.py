"""OpenADR 3 events, as `GET /events` of a supplier's server (VTN) lists them, read as price events.

    programID, id, modificationDateTime, priority, targets        -> id, modification, priority, targets
    intervalPeriod {start, duration} and intervals[…]             -> windows, one after the other
    payloads [{type: PRICE, values: [9.5]}]                        -> per_kwh

Priority 0 is the highest there and the least here. Targets are `tariff:ID`, `location:ID`, `feeder:ID`, or OpenADR's
pairs `{type: LOCATION, values: [ID]}`; an event without any means everything. Events without a PRICE are not for us.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from csms.app.price_events import checked, read_event
from csms.domain.dated_price import EVERYTHING, DatedPrice, PriceEvent
from csms.domain.refusal import Refusal, Why

_DURATION: Final = re.compile(
    r"P(?:(\d{1,4})Y)?(?:(\d{1,4})M)?(?:(\d{1,5})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,7})(?:\.\d+)?S)?)?"
)
_SECONDS: Final = (31_536_000, 2_592_000, 86_400, 3_600, 60, 1)
_LONGEST_MS: Final = 366 * 86_400_000  # `P9999Y` means for ever
_LOWEST: Final = 1_000_000
_KINDS: Final = {"tariff", "location", "feeder"}
_LONGEST_LIST: Final = 5_000


@dataclass(slots=True)
class Feed:
    """What a feed said. `problems`: a sentence for each event that cannot be used."""

    events: list[PriceEvent] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_feed(parsed: Any, source: str, now_ms: int, *, currency: str, markup: Decimal) -> Feed:
    """Every event of a feed, in our words or OpenADR's; `markup` is added to suppliers' prices per kWh.

    Refusal(INVALID_REQUEST) when it is no feed at all; one bad event spoils no other.
    """
    listed = parsed.get("events") if isinstance(parsed, Mapping) else parsed
    if not isinstance(listed, list):
        raise Refusal(Why.INVALID_REQUEST, "the feed is neither a list of events nor an object with `events`")
    if len(listed) > _LONGEST_LIST:
        raise Refusal(Why.INVALID_REQUEST, f"the feed lists {len(listed)} events; at most {_LONGEST_LIST} are read")
    feed = Feed()
    for number, entry in enumerate(listed):
        try:
            event = (
                _openadr(entry, source, now_ms, currency, markup)
                if _is_openadr(entry)
                else read_event(entry, source, now_ms)
            )
        except Refusal as refusal:
            name = entry.get("id") if isinstance(entry, Mapping) else None
            feed.problems.append(f"event {name or number}: {refusal.detail}")
            continue
        if event is not None:
            feed.events.append(event)
    return feed


def _is_openadr(entry: Any) -> bool:
    return isinstance(entry, Mapping) and ("intervals" in entry or "programID" in entry)


def _openadr(entry: Mapping[str, Any], source: str, now_ms: int, currency: str, markup: Decimal) -> PriceEvent | None:
    name = entry.get("id") or entry.get("eventName")
    if not isinstance(name, str) or not 0 < len(name) <= 200:
        raise _invalid("id is missing")
    for descriptor in _objects(entry.get("payloadDescriptors")):
        said = descriptor.get("currency")
        if descriptor.get("payloadType") == "PRICE" and said not in {None, currency}:
            raise _invalid(f"its prices are in {said}, ours in {currency}")
        if descriptor.get("payloadType") == "PRICE" and descriptor.get("units") not in {None, "KWH"}:
            raise _invalid(f"its prices are per {descriptor['units']}, not per KWH")
    prices = _windows(entry, markup)
    if not prices:
        return None
    priority = entry.get("priority")
    try:
        return checked(
            PriceEvent(
                event_id=name,
                source=source,
                prices=prices,
                targets=_targets(entry.get("targets")),
                modification=_changed_ms(entry),
                priority=max(0, _LOWEST - priority) if isinstance(priority, int) and _is_whole(priority) else 0,
                received_ms=now_ms,
            )
        )
    except ValueError as error:
        raise _invalid(str(error)) from error


def _windows(entry: Mapping[str, Any], markup: Decimal) -> tuple[DatedPrice, ...]:
    default = entry.get("intervalPeriod")
    default = default if isinstance(default, Mapping) else {}
    next_ms: int | None = None
    found = []
    for interval in _objects(entry.get("intervals")):
        own = interval.get("intervalPeriod")
        period = {**default, **own} if isinstance(own, Mapping) else default
        if isinstance(own, Mapping) and own.get("start") is not None:
            start_ms = _instant(own["start"])
        else:
            start_ms = next_ms if next_ms is not None else _instant(period.get("start"))
        next_ms = start_ms + _duration_ms(period.get("duration"))
        price = _price(interval)
        if price is not None:
            found.append(DatedPrice(from_ms=start_ms, until_ms=next_ms, per_kwh=max(Decimal(0), price + markup)))
    return tuple(found)


def _price(interval: Mapping[str, Any]) -> Decimal | None:
    for payload in _objects(interval.get("payloads")):
        values = payload.get("values")
        if payload.get("type") != "PRICE":
            continue
        if not isinstance(values, list) or len(values) != 1 or isinstance(values[0], bool):
            raise _invalid("a PRICE payload needs one value")
        try:
            price = Decimal(str(values[0]))
        except InvalidOperation as error:
            raise _invalid("a PRICE is not a number") from error
        if not price.is_finite():
            raise _invalid("a PRICE is not a number")
        return price
    return None


def _targets(given: Any) -> tuple[str, ...]:
    if not given:
        return (EVERYTHING,)
    found: list[str] = []
    for target in given if isinstance(given, list) else []:
        if isinstance(target, str):
            found.append(target)
        elif isinstance(target, Mapping):
            kind, values = str(target.get("type")).lower(), target.get("values")
            names = [str(value) for value in values] if isinstance(values, list) else []
            found += [f"{kind}:{name}" if kind in _KINDS else name for name in names]
    ours = tuple(target for target in found if target == EVERYTHING or target.partition(":")[0] in _KINDS)
    if not ours:
        raise _invalid("its targets name no tariff, location or feeder of ours")
    return ours


def _changed_ms(entry: Mapping[str, Any]) -> int:
    said = entry.get("modificationDateTime") or entry.get("createdDateTime")
    return _instant(said) if said is not None else 0


def _instant(text: Any) -> int:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise _invalid(f"{text!r} is no time") from error
    if at.tzinfo is None or not 2000 <= at.year < 2200:
        raise _invalid(f"{text!r} is no time with an offset")
    return int(at.timestamp() * 1000)


def _duration_ms(text: Any) -> int:
    match = _DURATION.fullmatch(str(text)) if text is not None else None
    if match is None:
        raise _invalid(f"{text!r} is no duration")
    seconds = sum(int(part) * unit for part, unit in zip(match.groups(), _SECONDS, strict=True) if part)
    if not seconds:
        raise _invalid(f"{text!r} lasts no time")
    return min(seconds * 1000, _LONGEST_MS)


def _objects(given: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in given if isinstance(entry, Mapping)] if isinstance(given, list) else []


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _invalid(sentence: str) -> Refusal:
    return Refusal(Why.INVALID_REQUEST, sentence)
