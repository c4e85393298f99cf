"""Price events of suppliers: read, kept, looked up (the rules of which one holds are `domain.dated_price`).

Our own words, over the API and in a file `{"events": […]}`:

    {"id": "e-1", "targets": ["tariff:T1"], "starts_at": "…", "ends_at": "…", "per_kwh": 9.5, "modification": 1}

with `multiplier` and `adder` beside or instead of `per_kwh`, `priority`, `cancelled`, and instead of the two times
`prices`, a list of such windows. Money is per kWh before tax, as in a tariff. OpenADR 3 is read by `openadr`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from csms.domain.dated_price import EVERYTHING, ONE, DatedPrice, PriceEvent, known
from csms.domain.refusal import Refusal, Why
from csms.domain.stored import from_json, to_json
from csms.domain.units import ZERO
from csms.ports import Fact, ReadTx, Row, Table, Tx

OWN: Final = "api"  # the source of what operators put
LIVE: Final = "live"
CANCELLED: Final = "cancelled"
OVER: Final = "over"
_DAY_MS: Final = 86_400_000
KEPT_MS: Final = 8 * _DAY_MS  # sessions that ended are still billed by what held then
_MOST_PRICES: Final = 3_000
_MOST_EVENTS: Final = 5_000
_DEAREST: Final = Decimal(1_000)  # per kWh; more is a slip of somebody's decimal point
_MOST_TIMES: Final = Decimal(100)


def read_event(data: Any, source: str, now_ms: int) -> PriceEvent:
    """An event in our own words. Refusal(INVALID_REQUEST) names the member that cannot be used."""
    if not isinstance(data, Mapping):
        raise _invalid("an event is an object")
    name = data.get("id")
    if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable():
        raise _invalid("id: a text of at most 200 characters is needed")
    prices = data.get("prices")
    windows = prices if isinstance(prices, list) else [data] if "starts_at" in data or not data.get("cancelled") else []
    targets = data.get("targets") or [EVERYTHING]
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        raise _invalid("targets: a list of texts is needed")
    try:
        return checked(
            PriceEvent(
                event_id=name,
                source=source,
                prices=tuple(_window(window) for window in windows),
                targets=tuple(targets),
                modification=_whole(data, "modification"),
                priority=_whole(data, "priority"),
                received_ms=now_ms,
                cancelled=bool(data.get("cancelled", False)),
            )
        )
    except ValueError as error:
        raise _invalid(str(error)) from error


def checked(event: PriceEvent) -> PriceEvent:
    """The event, if its figures can be meant. Refusal(INVALID_REQUEST) when not."""
    if not event.prices and not event.cancelled:
        raise _invalid("prices: at least one is needed")
    if len(event.prices) > _MOST_PRICES:
        raise _invalid(f"prices: at most {_MOST_PRICES}")
    for price in event.prices:
        if (price.per_kwh or ZERO) > _DEAREST or abs(price.adder) > _DEAREST or price.multiplier > _MOST_TIMES:
            raise _invalid(f"per_kwh and adder: at most {_DEAREST} can be meant, and a multiplier of {_MOST_TIMES}")
    return event


def _window(data: Any) -> DatedPrice:
    if not isinstance(data, Mapping):
        raise _invalid("prices: a list of objects is needed")
    if all(data.get(name) is None for name in ("per_kwh", "multiplier", "adder")):
        raise _invalid("one of per_kwh, multiplier and adder is needed")
    return DatedPrice(
        from_ms=_instant(data, "starts_at"),
        until_ms=_instant(data, "ends_at"),
        per_kwh=_number(data, "per_kwh", None),
        multiplier=_number(data, "multiplier", ONE) or ZERO,
        adder=_number(data, "adder", ZERO) or ZERO,
    )


def _instant(data: Mapping[str, Any], name: str) -> int:
    try:
        at = datetime.fromisoformat(str(data[name]))
    except (KeyError, ValueError) as error:
        raise _invalid(f"{name}: a time with its offset is needed") from error
    if at.tzinfo is None or not 2000 <= at.year < 2200:
        raise _invalid(f"{name}: a time with its offset is needed")
    return int(at.timestamp() * 1000)


def _number(data: Mapping[str, Any], name: str, default: Decimal | None) -> Decimal | None:
    value = data.get(name)
    if value is None:
        return default
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if isinstance(value, bool) or not number.is_finite():
        raise _invalid(f"{name}: a number is needed")
    return number


def _whole(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 2**53:
        raise _invalid(f"{name}: a whole number is needed")
    return value


def _invalid(sentence: str) -> Refusal:
    return Refusal(Why.INVALID_REQUEST, sentence)


# -- kept


def key_of(event: PriceEvent) -> str:
    """The row of an event."""
    return f"{event.source}|{event.event_id}"


def event_of(row: Row) -> PriceEvent:
    """A stored event."""
    return from_json(PriceEvent, json.loads(row["data"]))


def put(tx: Tx, event: PriceEvent, now_ms: int) -> bool:
    """Keep an event; False when we knew as much or more: a repeat, or one that was overtaken on the way."""
    key = key_of(event)
    row = tx.take(Table.PRICE_EVENTS, id=key)
    if row is not None and not is_news(event, row):
        return False
    tx.save(Table.PRICE_EVENTS, _row(key, event, now_ms))
    _journal(tx, event, "cancelled" if event.cancelled else "announced", now_ms)
    return True


def is_news(event: PriceEvent, row: Row | None) -> bool:
    """Whether `put` would change anything. What was withdrawn and is announced again holds again."""
    if row is None:
        return True
    standing = event_of(row)
    if row["state"] == CANCELLED and not standing.cancelled:
        return not event.cancelled and event.modification >= standing.modification
    return event.says_more_than(standing)


def withdraw(tx: Tx, source: str, listed: Collection[str], now_ms: int) -> int:
    """What a complete feed does not list any more is withdrawn; how many."""
    gone = [
        event
        for row in tx.many(Table.PRICE_EVENTS, source=source, state=LIVE, limit=_MOST_EVENTS)
        if (event := event_of(row)).event_id not in listed and event.ends_ms > now_ms
    ]
    for event in gone:
        tx.change(Table.PRICE_EVENTS, {"state": CANCELLED}, id=key_of(event))
        _journal(tx, event, "withdrawn", now_ms)
    return len(gone)


def cancel(tx: Tx, key: str, now_ms: int) -> Row:
    """Withdraw one event. Refusal(UNKNOWN_TARGET)."""
    row = tx.take(Table.PRICE_EVENTS, id=key)
    if row is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no price event {key!r}.")
    if row["state"] == LIVE:
        tx.change(Table.PRICE_EVENTS, {"state": CANCELLED}, id=key)
        _journal(tx, event_of(row), "withdrawn", now_ms)
    return {**row, "state": CANCELLED if row["state"] == LIVE else row["state"]}


def retire(tx: Tx, now_ms: int) -> int:
    """Events so long over that no bill needs them are marked so."""
    before = now_ms - KEPT_MS
    old = [row["id"] for row in tx.many(Table.PRICE_EVENTS, state=LIVE, limit=_MOST_EVENTS) if row["ends_ms"] < before]
    return tx.change(Table.PRICE_EVENTS, {"state": OVER}, id=old) if old else 0


def live(tx: ReadTx) -> list[PriceEvent]:
    """Every event that holds, will hold, or held lately."""
    rows = tx.many(Table.PRICE_EVENTS, order="starts_ms", limit=_MOST_EVENTS, state=LIVE)
    return known(event_of(row) for row in rows)


def _row(key: str, event: PriceEvent, now_ms: int) -> dict[str, Any]:
    return {
        "id": key,
        "source": event.source,
        "target": " ".join(event.targets)[:500],
        "starts_ms": event.starts_ms,
        "ends_ms": event.ends_ms,
        "state": CANCELLED if event.cancelled else LIVE,
        "received_ms": now_ms,
        "data": json.dumps(to_json(event), separators=(",", ":")),
    }


def _journal(tx: Tx, event: PriceEvent, what: str, now_ms: int) -> None:
    body = {
        "source": event.source,
        "event_id": event.event_id,
        "what": what,
        "targets": list(event.targets),
        "modification": event.modification,
        "starts_ms": event.starts_ms,
        "ends_ms": event.ends_ms,
    }
    tx.append([Fact("PriceEventChanged", now_ms, body)])


# -- who is meant


def about(tariff_id: str, location_id: str | None, feeder_id: str | None) -> frozenset[str]:
    """The targets that mean a connector."""
    named = {"tariff": tariff_id, "location": location_id, "feeder": feeder_id}
    return frozenset(f"{kind}:{name}" for kind, name in named.items() if name is not None)


def places(events: Iterable[PriceEvent]) -> frozenset[str]:
    """The locations and feeders that any event means by themselves."""
    return frozenset(target for event in events for target in event.targets if not target.startswith(("*", "tariff:")))
