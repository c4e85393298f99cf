"""What was consumed, for those who supply it: by feeder, or by account with the supplier, hour by hour.

A session belongs to the feeder that its EVSE or location names (`feeder_id`, a member of our own in the OCPI
location), and to the consumer number that the buyer's app gave, else to that of its token. Sessions without one stand
under none. Only sessions that are over count, with the energy they were billed for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

from csms.app import queries
from csms.app.catalogue import join
from csms.app.settling import usage_of
from csms.domain.consumption import Interval, bounds, by_interval
from csms.domain.matching import token_norm
from csms.domain.refusal import Refusal, Why
from csms.ports import ReadTx, Row, Store, Table

_CHUNK: Final = 100
_MOST: Final = 200_000  # rows; an hour of a feeder is one
_DAY_MS: Final = 86_400_000
LONGEST_DAYS: Final = {Interval.HOUR: 62, Interval.DAY: 732}


Socket = tuple[str, int]


class By(StrEnum):
    """What consumption is told by."""

    FEEDER = "feeder"
    CONSUMER = "consumer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """UTC ms, `to_ms` exclusive; civil hours and days of `zone`. `key` picks one feeder or consumer."""

    by: By
    from_ms: int
    to_ms: int
    interval: Interval = Interval.HOUR
    zone: str = "Asia/Kolkata"
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumed:
    """Energy of one feeder or consumer in one hour or day. `sessions` took part in it."""

    key: str | None
    from_ms: int
    to_ms: int
    energy_wh: int
    sessions: int


async def consumption(store: Store, asked: Asked) -> list[Consumed]:
    """By key and time. Raises Refusal when more was asked than one answer holds."""
    longest = LONGEST_DAYS[asked.interval]
    if not 0 < asked.to_ms - asked.from_ms <= longest * _DAY_MS:
        raise Refusal(Why.INVALID_REQUEST, f"By the {asked.interval}, ask for at most {longest} days; to after from.")
    found: dict[tuple[str, int], list[int]] = {}
    after: int | None = None
    fed = await store.read(feeders) if asked.by is By.FEEDER else None
    while True:
        parts, after = await store.read(partial(_some, asked=asked, fed=fed, after=after))
        for key, begin_ms, energy_wh in parts:
            cell = found.setdefault((key or "", begin_ms), [0, 0])
            cell[0] += energy_wh
            cell[1] += 1
        if len(found) > _MOST:
            raise Refusal(Why.QUANTITY, f"More than {_MOST} rows: ask for a shorter time, or by the day.")
        if after is None:
            break
    return [
        Consumed(
            key=key or None,
            from_ms=begin_ms,
            to_ms=bounds(begin_ms, asked.interval, asked.zone)[1],
            energy_wh=energy_wh,
            sessions=sessions,
        )
        for (key, begin_ms), (energy_wh, sessions) in sorted(found.items())
    ]


def _some(
    tx: ReadTx, asked: Asked, fed: Mapping[Socket, str | None] | None, after: int | None
) -> tuple[list[tuple[str | None, int, int]], int | None]:
    """Parts of the next sessions, newest first, and where to go on. `fed` is given when feeders are asked for."""
    page = queries.page(tx, Table.SESSIONS, order="-no", limit=_CHUNK, after=after, state=queries.CDR_STATES)
    rows = [row for row in page.rows if row["energy_wh"] and _touches(row, asked)]
    if fed is not None:
        keys = {row["no"]: fed.get((row["station"], row["evse"])) for row in rows}
    else:
        keys = consumers_of(tx, rows)
    parts: list[tuple[str | None, int, int]] = []
    for row in rows:
        key = keys.get(row["no"])
        if asked.key is not None and key != asked.key:
            continue
        spread = by_interval(usage_of(tx, row), asked.interval, asked.zone)
        parts += [
            (key, begin_ms, energy_wh)
            for begin_ms, energy_wh in spread.items()
            if asked.from_ms <= begin_ms < asked.to_ms
        ]
    return parts, page.after


def _touches(row: Row, asked: Asked) -> bool:
    if row["started_ms"] is None:
        return False
    # An hour counts where it begins: what runs over the edge belongs to the day before or after.
    end_ms = row["ended_ms"] or row["last_proven_ms"] or row["started_ms"]
    return bool(row["started_ms"] < asked.to_ms + _DAY_MS and end_ms >= asked.from_ms - _DAY_MS)


def feeders(tx: ReadTx) -> dict[Socket, str | None]:
    """The feeder of every charger's EVSE that a location says one for: the EVSE's own, else the location's."""
    chargers = {row["id"]: row["location_id"] for row in tx.many(Table.STATIONS)}
    found: dict[Socket, str | None] = {}
    for row in tx.many(Table.LOCATIONS, order="id"):
        location = json.loads(row["data"])
        evses = list(location.get("evses") or [])
        by_uid = {str(evse.get("uid")): evse for evse in evses}
        for uid, socket in join(location, evses, chargers).items():
            feeder = by_uid[uid].get("feeder_id") or location.get("feeder_id")
            found.setdefault(socket, str(feeder) if feeder else None)
    return found


def consumers_of(tx: ReadTx, sessions: Sequence[Row]) -> dict[int, str | None]:
    """The consumer number of each session, by its number."""
    if not sessions:
        return {}
    ids = sorted({row["order_id"] for row in sessions if row["order_id"]})
    orders = {row["id"]: json.loads(row["data"]) for row in tx.many(Table.ORDERS, id=ids)} if ids else {}
    norms = {row["no"]: token_norm(row["token"]) for row in sessions}
    wanted = sorted({norm for norm in norms.values() if norm})
    tokens = (
        {row["uid_norm"]: row["consumer_number"] for row in tx.many(Table.CONSUMERS, uid_norm=wanted)} if wanted else {}
    )
    found: dict[int, str | None] = {}
    for row in sessions:
        buyer = orders.get(row["order_id"], {}).get("buyer") or {}
        found[row["no"]] = buyer.get("consumer_number") or tokens.get(norms[row["no"]])
    return found
