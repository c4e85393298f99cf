"""A hundred thousand connectors for sale while chargers report: how long finding and confirming take then.

Chargers report at a steady rate from their own process. Buyers search and buy at a steady rate: select, init, confirm
of a slot, each answered by its callback. What counts is the time from a request to its callback.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from . import BenchError
from .beckn import CORE, EVSES, LOCATIONS, Market, items_of, near, selection
from .load import percentile
from .servers import Server
from .suite import Bench

CHARGERS, MESSAGES_PER_S = 200, 1000.0  # fifteen times what so many busy chargers say
SEARCHES_PER_S, PURCHASES_PER_S = 20.0, 3.0


@dataclass(slots=True)
class Times:
    """Milliseconds from request to callback."""

    discover: list[float] = field(default_factory=list)
    confirm: list[float] = field(default_factory=list)


async def under_load(bench: Bench, market: Market, server: Server) -> None:
    """Search and buy while chargers report. The server has LOCATIONS * EVSES * 2 connectors."""
    await asyncio.to_thread(bench.give_tokens, server, CHARGERS)
    seconds = bench.plan.busy_s
    process = bench.start_load(
        server, "open", "meter_values", chargers=CHARGERS, rate=MESSAGES_PER_S, warm_s=1.0, window_s=seconds, windows=1
    )
    try:
        times = await _buy(market, seconds)
    finally:
        result = await asyncio.to_thread(bench.finish_load, process)
    found = bench.found
    found.busy_discover_ms = (percentile(times.discover, 50), percentile(times.discover, 99))
    found.confirm_ms = (percentile(times.confirm, 50), percentile(times.confirm, 99))
    found.busy_messages_per_s = MESSAGES_PER_S
    bench.console.print(
        f"under load    ours: discover p50 {found.busy_discover_ms[0]:.1f} ms, p99 {found.busy_discover_ms[1]:.1f} ms"
        f" ({len(times.discover)}); confirm p50 {found.confirm_ms[0]:.1f} ms, p99 {found.confirm_ms[1]:.1f} ms"
        f" ({len(times.confirm)}); {MESSAGES_PER_S:.0f} meter messages/s, answered with p99 {result.p99_ms[0]:.1f} ms",
        highlight=False,
    )


async def _buy(market: Market, seconds: float) -> Times:
    times = Times()
    begun = time.perf_counter()
    tasks: list[asyncio.Task[None]] = []
    searches, purchases = int(seconds * SEARCHES_PER_S), int(seconds * PURCHASES_PER_S)
    due = [(n / SEARCHES_PER_S, _search(market, n, times)) for n in range(searches)]
    due += [(n / PURCHASES_PER_S, _purchase(market, n, times)) for n in range(purchases)]
    for at_s, work in sorted(due, key=lambda entry: entry[0]):
        await asyncio.sleep(max(0.0, begun + at_s - time.perf_counter()))
        tasks.append(asyncio.create_task(work))
    await asyncio.gather(*tasks)
    if market.refusals:
        raise BenchError(f"{len(market.refusals)} requests were refused under load: {market.refusals[0]}")
    return times


async def _search(market: Market, n: int, times: Times) -> None:
    seconds, answer = await market.ask_and_wait("discover", near(n * 37 % LOCATIONS))
    if not items_of(answer):
        raise BenchError("a search under load found nothing")
    times.discover.append(1000 * seconds)


async def _purchase(market: Market, n: int, times: Times) -> None:
    """One order of a slot tomorrow, at a connector of its own."""
    place, evse = n * 41 % LOCATIONS, n // LOCATIONS % EVSES
    item = f"IND*cpo*bench-{place}*IN*BEN*E{place:04d}{evse:03d}*1"
    chat = market.conversation()
    order = selection("cpo", item)["order"]
    order["beckn:orderAttributes"]["preferences"] = _tomorrow()
    told = await _asked(market, "select", order, chat)
    initial = {
        "@context": CORE,
        "@type": "beckn:Payment",
        "beckn:beneficiary": "BPP",
        "beckn:paymentStatus": "INITIATED",
    }
    told = await _asked(market, "init", _again(told, order, "CREATED", initial), chat)
    payment = dict(told["beckn:payment"]) | {"beckn:paymentStatus": "COMPLETED"}
    payment["beckn:paidAt"] = datetime.now(UTC).isoformat(timespec="seconds")
    begun = time.perf_counter()
    confirmed = await _asked(market, "confirm", _again(told, order, "PENDING", payment), chat)
    times.confirm.append(1000 * (time.perf_counter() - begun))
    if confirmed["beckn:orderStatus"] != "CONFIRMED":
        raise BenchError(f"a confirm under load came back {confirmed['beckn:orderStatus']}")


async def _asked(market: Market, action: str, order: dict[str, Any], chat: tuple[int, str]) -> dict[str, Any]:
    _, answer = await market.ask_and_wait(action, {"order": order}, chat)
    if answer.get("error"):
        raise BenchError(f"on_{action} under load: {answer['error']}")
    told: dict[str, Any] = answer["message"]["order"]
    return told


def _again(told: dict[str, Any], asked: dict[str, Any], status: str, payment: dict[str, Any]) -> dict[str, Any]:
    """The next request about an order: as asked, under the id it was given, with this payment."""
    known = {"beckn:id": told["beckn:id"]} if "beckn:id" in told else {}
    return {**asked, **known, "beckn:orderStatus": status, "beckn:payment": payment}


def _tomorrow() -> dict[str, str]:
    start = datetime.now(UTC) + timedelta(days=1)
    return {
        "startTime": start.isoformat(timespec="seconds"),
        "endTime": (start + timedelta(hours=1)).isoformat(timespec="seconds"),
    }
