"""Telling a buyer's app how charging goes by PATCHing an address it gave in `track` (BECKN 5.6).

    track{callback_url} ─▶ watch: a row in `trackers` ─▶ Trackers.run: PATCH at most every 15 s, the end once, then done

The body is an OCPI-like session. Only what changed is told. The address must lie at the host the app is registered
with (or whose address its messages carry), https unless that one is plain http itself; what does not is kept as
refused, with the reason, and never called. A row outlives restarts; what fails is tried again with growing pauses, for
a day.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import structlog

from beckn_adapter.circuit import Circuit
from beckn_adapter.outbound import Outbound, host_of
from csms.app.orders import find_order
from csms.app.settling import usage_of
from csms.domain.breakdown import Breakdown
from csms.domain.order import Order, State
from csms.domain.refusal import Refusal
from csms.domain.tariff import Slice, bill
from csms.domain.units import kwh, rfc3339
from csms.ports import Clock, ReadTx, Row, Store, Table, Tx

log = structlog.get_logger()

EVERY_MS: Final = 15_000
_LOOK_S: Final = 1.0
_AT_ONCE: Final = 16
_BITE: Final = 64
_GIVE_UP_ATTEMPTS: Final = 300  # at five minutes each: a day
_LONGEST_PAUSE_MS: Final = 300_000
_LONGEST_URL: Final = 2_000
_ANSWER_LIMIT: Final = 4 * 1024
_OVER: Final = frozenset({State.CANCELLED, State.EXPIRED, State.FAILED})
_STATUS: Final = {
    State.ACTIVE: "ACTIVE",
    State.STOPPING: "ACTIVE",
    State.INTERRUPTED: "ACTIVE",
    State.COMPLETED: "COMPLETED",
    **dict.fromkeys(_OVER, "INVALID"),
}
_COME_AGAIN: Final = frozenset({408, 425, 429})


# -- who may be told


def watch(tx: Tx, order: Order, url: str, now_ms: int) -> None:
    """Note where the buyer's app wants to be told. The last address counts; a bad one is kept as refused."""
    homes = [str(row["url"]) for row in tx.many(Table.HOMES, subscriber_id=order.bap_id)] or [order.bap_uri]
    problem = problem_of(url, homes)
    if problem is not None:
        log.warning("tracking.refused", bap_id=order.bap_id, order_id=order.order_id, why=problem)
    standing = tx.one(Table.TRACKERS, order_id=order.order_id)
    if standing is not None and standing["url"] == url and standing["state"] == "live":
        return
    tx.save(
        Table.TRACKERS,
        {
            "order_id": order.order_id,
            "url": url[:_LONGEST_URL],
            "state": "live" if problem is None else "failed",
            "next_ms": now_ms,
            "attempts": 0,
            "told": "{}",
            "error": problem,
        },
    )


def problem_of(url: str, homes: Iterable[str]) -> str | None:
    """Why `url` may not be called for an app that is at home at `homes`; None when it may."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "callback_url is not a URL"
    host = host_of(url)
    if host is None or len(url) > _LONGEST_URL or not url.isprintable() or " " in url:
        return "callback_url is not an http(s) URL"
    if parts.username is not None or parts.password is not None:
        return "callback_url carries a user or a password"
    own = [home for home in homes if (at := host_of(home)) is not None and (host == at or host.endswith(f".{at}"))]
    if not own:
        return "the host of callback_url is not the one the buyer app is registered with"
    if any((urlsplit(home).scheme, urlsplit(home).port) == (parts.scheme, port) for home in own):
        return None
    if parts.scheme != "https":
        return "callback_url is not https"
    return None if port in {None, 443} else "the port of callback_url is not the one the buyer app is registered with"


def _is_listed(tx: ReadTx, row: Row, order: Order | None) -> bool:
    """Whether the registry itself names the host: only then may it be a private one."""
    homes = tx.many(Table.HOMES, subscriber_id=order.bap_id) if order is not None else []
    return any(host_of(home["url"]) == host_of(row["url"]) for home in homes)


# -- what is told


def session_json(tx: ReadTx, order: Order) -> dict[str, Any]:
    """The OCPI-like session of an order, as far as it is proven."""
    session = tx.one(Table.SESSIONS, id=order.session_id) if order.session_id is not None else None
    slices: tuple[Slice, ...] = ()
    cost = order.final
    if session is not None:
        usage = usage_of(tx, session)
        slices = usage.slices
        if cost is None:
            try:
                cost = bill(order.terms, usage)
            except Refusal:
                cost = order.estimate
    energy_wh = session["energy_wh"] if session is not None and session["energy_wh"] is not None else 0
    at_ms = (session["last_proven_ms"] or session["updated_ms"]) if session is not None else order.quoted_at_ms
    return {
        "id": order.session_id or order.order_id,
        "kwh": float(kwh(energy_wh)),
        "status": _STATUS.get(order.state, "PENDING"),
        "currency": order.quote.currency,
        "charging_periods": [_period(piece) for piece in slices if piece.energy_wh or piece.end_ms > piece.start_ms],
        "total_cost": _cost(cost),
        "last_updated": rfc3339(at_ms),
    }


def _period(piece: Slice) -> dict[str, Any]:
    hours = round((piece.end_ms - piece.start_ms) / 3_600_000, 4)
    return {
        "start_date_time": rfc3339(piece.start_ms),
        "dimensions": [{"type": "ENERGY", "volume": float(kwh(piece.energy_wh))}, {"type": "TIME", "volume": hours}],
    }


def _cost(cost: Breakdown | None) -> dict[str, float] | None:
    if cost is None:
        return None
    return {"excl_vat": float(cost.total_before_tax), "incl_vat": float(cost.total)}


# -- telling


class Trackers:
    """The worker. `authorize(body, now_s)` makes the signature header; None: none is made."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        outbound: Outbound,
        authorize: Callable[[bytes, int], str] | None,
        every_ms: int = EVERY_MS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._outbound = outbound
        self._authorize = authorize
        self._every_ms = every_ms
        self._circuits: dict[str, Circuit] = {}

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                more = await self.tell_due()
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("tracking.failed")
                more = False
            if not more:
                await asyncio.sleep(_LOOK_S)

    async def tell_due(self) -> bool:
        """Tell everybody whose time has come; whether there may be more."""
        now_ms = self._clock.now_ms()
        due = await self._store.read(
            lambda tx: [
                (row, order, session_json(tx, order) if order is not None else None, _is_listed(tx, row, order))
                for row in tx.many(Table.TRACKERS, order="next_ms", limit=_BITE, before=now_ms + 1, state="live")
                for order in [find_order(tx, row["order_id"])]
            ]
        )
        places = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._tell(*one, places) for one in due))
        return len(due) == _BITE

    async def _tell(
        self, row: Row, order: Order | None, body: dict[str, Any] | None, listed: bool, places: asyncio.Semaphore
    ) -> None:
        now_ms = self._clock.now_ms()
        if order is None or body is None:
            await self._note(row, {"state": "failed", "error": "the order is gone"})
            return
        is_last = order.is_billed or order.state in _OVER
        told = json.dumps(body, sort_keys=True)
        if told == row["told"]:
            await self._note(row, {"state": "done"} if is_last else {"next_ms": now_ms + self._every_ms})
            return
        circuit = self._circuits.setdefault(str(host_of(row["url"])), Circuit())
        if not circuit.room(now_ms, _AT_ONCE):
            await self._note(row, {"next_ms": circuit.probe_at_ms})
            return
        async with places:
            status, error = await self._patch(row["url"], body, listed=listed)
        now_ms = self._clock.now_ms()
        if status is not None and status < 500 and status not in _COME_AGAIN:
            circuit.answered(now_ms)
            if status >= 300:
                await self._note(row, {"state": "failed", "error": error})
                log.warning("tracking.given_up", order_id=order.order_id, error=error)
                return
            next_ms = now_ms + self._every_ms
            state = "done" if is_last else "live"
            await self._note(row, {"told": told, "attempts": 0, "error": None, "next_ms": next_ms, "state": state})
            return
        circuit.failed(now_ms)
        attempts = int(row["attempts"]) + 1
        pause_ms = min(self._every_ms << min(attempts - 1, 10), _LONGEST_PAUSE_MS)
        values = {"attempts": attempts, "error": error, "next_ms": now_ms + pause_ms}
        if attempts >= _GIVE_UP_ATTEMPTS:
            values["state"] = "failed"
            log.warning("tracking.given_up", order_id=order.order_id, error=error)
        await self._note(row, values)

    async def _patch(self, url: str, body: dict[str, Any], *, listed: bool) -> tuple[int | None, str | None]:
        raw = json.dumps(body, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json"}
        if self._authorize is not None:
            headers["Authorization"] = self._authorize(raw, self._clock.now_ms() // 1000)
        try:
            # The host is the app's own (`watch`); no redirect leads away from it.
            http = self._outbound.session(url, listed=listed)
            async with http.patch(url, data=raw, headers=headers, allow_redirects=False) as response:
                await response.content.read(_ANSWER_LIMIT)
                return response.status, None if response.status < 300 else f"HTTP {response.status}"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return None, f"{type(error).__name__}: {error}"[:500]

    async def _note(self, row: Row, values: dict[str, Any]) -> None:
        """Write it down, unless the app has named another address meanwhile."""
        where = {"order_id": row["order_id"], "url": row["url"], "state": "live"}
        await self._store.transact(lambda tx: tx.change(Table.TRACKERS, values, **where))
