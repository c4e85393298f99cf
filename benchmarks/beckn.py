"""The Beckn side, measured as a buyer sees it: signed requests, the time to the ACK, and the time to `on_discover`.

Many buyers ask, because one buyer that asks often is slowed down on purpose (anti-scanning): each stays far below the
limit of 30 discovers a minute. Their keys stand in a static registry file made for the run.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import secrets
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web
from nacl.signing import SigningKey

from . import BenchError
from .load import percentile
from .servers import BPP_ID, BPP_URI, Server, running
from .suite import Bench

DOMAIN = "beckn.one:deg:ev-charging:*"
_SCHEMA = "https://raw.githubusercontent.com/beckn/protocol-specifications-new/refs/heads/main/schema"
CORE = f"{_SCHEMA}/core/v2/context.jsonld"
SESSION_PACK = f"{_SCHEMA}/EvChargingSession/v1/context.jsonld"

BUYERS = 60
ASKS_PER_S = 50.0  # spread over the buyers: 25 discovers a second are 25 a minute for each of 60
ANSWER_TIMEOUT_S = 30.0  # the ttl of every request
SMALL_LOCATIONS = 4
LOCATIONS, EVSES, CONNECTORS = 1000, 50, 2  # 100,000 connectors
FILL_AT_ONCE = 8
FILL_PATIENCE_S = 300.0
SEARCH_RADIUS_M = 20_000

ACKS: dict[str, Any] = {"message": {"ack": {"status": "ACK"}}, "ack_status": "ACK"}


@dataclass(frozen=True, slots=True)
class Buyer:
    """One BAP: its identity, its key and where it wants to be called."""

    subscriber_id: str
    uri: str
    key: SigningKey

    def registered(self) -> dict[str, str]:
        """Its entry in a static registry file."""
        return {
            "subscriber_id": self.subscriber_id,
            "unique_key_id": "k1",
            "signing_public_key": base64.b64encode(bytes(self.key.verify_key)).decode(),
            "subscriber_url": self.uri,
            "type": "BAP",
        }

    def signed(self, action: str, message: Any, transaction_id: str) -> tuple[str, bytes, dict[str, str]]:
        """Message id, body and headers of one request (Beckn signing: BLAKE2b-512 digest, Ed25519)."""
        message_id = str(uuid.uuid4())
        context = {
            "version": "2.0.0",
            "action": action,
            "domain": DOMAIN,
            "bap_id": self.subscriber_id,
            "bap_uri": self.uri,
            "bpp_id": BPP_ID,
            "bpp_uri": BPP_URI,
            "transaction_id": transaction_id,
            "message_id": message_id,
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "ttl": "PT30S",
        }
        body = json.dumps({"context": context, "message": message}, ensure_ascii=False, separators=(",", ":")).encode()
        digest = base64.b64encode(hashlib.blake2b(body, digest_size=64).digest()).decode()
        created = int(time.time()) - 2
        text = f"(created): {created}\n(expires): {created + 300}\ndigest: BLAKE-512={digest}"
        signature = base64.b64encode(self.key.sign(text.encode()).signature).decode()
        authorization = (
            f'Signature keyId="{self.subscriber_id}|k1|ed25519",algorithm="ed25519",created="{created}",'
            f'expires="{created + 300}",headers="(created) (expires) digest",signature="{signature}"'
        )
        return message_id, body, {"Authorization": authorization, "Content-Type": "application/json"}


class Market:
    """The buyers, the one socket on which they are called back, and the provider they ask."""

    def __init__(self) -> None:
        self.buyers: list[Buyer] = []
        self.refusals: list[str] = []
        self._expected: dict[str, asyncio.Future[tuple[float, Any]]] = {}
        self._url = ""
        self._turn = 0
        self.session: ClientSession

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Listen for callbacks and invent the buyers."""
        application = web.Application(client_max_size=1 << 24)
        application.router.add_post("/bap/{buyer}/{action:.*}", self._called_back)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            self.buyers = [
                Buyer(f"bap{n}.bench.example", f"http://127.0.0.1:{port}/bap/{n}", SigningKey.generate())
                for n in range(BUYERS)
            ]
            async with ClientSession(timeout=ClientTimeout(total=ANSWER_TIMEOUT_S)) as self.session:
                yield
        finally:
            await runner.cleanup()

    async def _called_back(self, request: web.Request) -> web.Response:
        at = time.perf_counter()
        body = await request.json()
        waiting = self._expected.get(body.get("context", {}).get("message_id", ""))
        if waiting is not None and not waiting.done():
            waiting.set_result((at, body))
        return web.json_response(ACKS)

    def sell_at(self, server: Server) -> None:
        """Ask this provider from now on."""
        host, port = server.beckn
        self._url = f"http://{host}:{port}/beckn/bpp/receiver"

    def conversation(self) -> tuple[int, str]:
        """A buyer and a fresh transaction: the buyers take turns."""
        self._turn += 1
        return self._turn % len(self.buyers), str(uuid.uuid4())

    async def ask(
        self,
        action: str,
        message: Any,
        arrived: asyncio.Future[tuple[float, Any]] | None = None,
        chat: tuple[int, str] | None = None,
    ) -> float:
        """Post one request; seconds to its ACK. A refusal is noted. `arrived` is given the callback when it comes."""
        buyer, transaction_id = chat if chat is not None else self.conversation()
        message_id, body, headers = self.buyers[buyer].signed(action, message, transaction_id)
        if arrived is not None:
            self._expected[message_id] = arrived  # before the post, because the callback may overtake the ACK
        begun = time.perf_counter()
        async with self.session.post(f"{self._url}/{action}", data=body, headers=headers) as response:
            text = await response.text()
        if response.status >= 300 or '"NACK"' in text or "ACK" not in text:
            self.refusals.append(f"{action}: HTTP {response.status} {text[:300]}")
        return time.perf_counter() - begun

    async def ask_and_wait(self, action: str, message: Any, chat: tuple[int, str] | None = None) -> tuple[float, Any]:
        """Post one request and wait for its callback; seconds from the post to the callback, and the callback."""
        arrived: asyncio.Future[tuple[float, Any]] = asyncio.get_running_loop().create_future()
        refused = len(self.refusals)
        begun = time.perf_counter()
        await self.ask(action, message, arrived, chat)
        if len(self.refusals) > refused:
            raise BenchError(self.refusals[-1])
        try:
            at, body = await asyncio.wait_for(arrived, ANSWER_TIMEOUT_S)
        except TimeoutError:
            raise BenchError(f"no on_{action} within {ANSWER_TIMEOUT_S:.0f} s") from None
        return at - begun, body


# --- what is for sale -------------------------------------------------------------------------------------------


def place(n: int) -> tuple[float, float]:
    """Latitude and longitude of location `n`, somewhere between Kanyakumari and Delhi; the same in every run."""
    chance = random.Random(n)
    return round(chance.uniform(8.5, 28.5), 5), round(chance.uniform(74.0, 84.0), 5)


def location(n: int, evses: int) -> dict[str, Any]:
    """An OCPI location with `evses` EVSEs of two connectors each."""
    latitude, longitude = place(n)
    now = "2026-01-01T00:00:00Z"

    def connector(k: int) -> dict[str, Any]:
        return {
            "id": str(k),
            "standard": "IEC_62196_T2_COMBO" if k == 1 else "IEC_62196_T2",
            "format": "CABLE",
            "power_type": "DC" if k == 1 else "AC_3_PHASE",
            "max_voltage": 400,
            "max_amperage": 150 if k == 1 else 32,
            "max_electric_power": 60_000 if k == 1 else 22_000,
            "tariff_ids": ["bench"],
            "last_updated": now,
        }

    return {
        "country_code": "IN",
        "party_id": "BEN",
        "id": f"bench-{n}",
        "publish": True,
        "name": f"Bench station {n}",
        "address": f"{n} Bench Road",
        "city": "Benchpur",
        "postal_code": "560001",
        "country": "IND",
        "coordinates": {"latitude": f"{latitude:.5f}", "longitude": f"{longitude:.5f}"},
        "time_zone": "Asia/Kolkata",
        "evses": [
            {
                "uid": f"bench-{n}*{k + 1}",
                "evse_id": f"IN*BEN*E{n:04d}{k:03d}",
                "status": "AVAILABLE",
                "capabilities": ["RESERVABLE"],
                "connectors": [connector(c + 1) for c in range(CONNECTORS)],
                "last_updated": now,
            }
            for k in range(evses)
        ],
        "last_updated": now,
    }


TARIFF: dict[str, Any] = {
    "country_code": "IN",
    "party_id": "BEN",
    "id": "bench",
    "currency": "INR",
    "elements": [{"price_components": [{"type": "ENERGY", "price": 18.0, "vat": 18.0, "step_size": 1}]}],
    "last_updated": "2026-01-01T00:00:00Z",
}


async def stock(server: Server, locations: int, evses: int) -> None:
    """Put the tariff, and locations of one charger each, through the operator API, a few at a time."""
    host, port = server.api
    headers = {"Authorization": f"Bearer {server.api_key}"}
    async with ClientSession(f"http://{host}:{port}", headers=headers) as session:

        async def send(method: str, path: str, body: Any) -> None:
            async with session.request(method, path, json=body) as response:
                if response.status >= 300:
                    text = await response.text()
                    raise BenchError(f"{method} {path}: HTTP {response.status} {text[:500]}")

        await send("PUT", "/api/v1/tariffs/bench", TARIFF)
        numbers = iter(range(locations))

        async def some() -> None:
            for n in numbers:
                charger = {"id": f"bench-{n}", "location_id": f"bench-{n}", "rated_kw": 60}
                await send("POST", "/api/v1/chargers", charger)
                await send("PUT", f"/api/v1/locations/bench-{n}", location(n, evses))

        await asyncio.gather(*(some() for _ in range(FILL_AT_ONCE)))


def near(n: int) -> dict[str, Any]:
    """A discover message: fast connectors within 20 km of location `n`."""
    latitude, longitude = place(n)
    return {
        "filters": {"type": "jsonpath", "expression": "$[?(@.beckn:itemAttributes.maxPowerKW >= 50)]"},
        "spatial": [
            {
                "op": "s_dwithin",
                "targets": "$['beckn:itemAttributes.chargingStation.serviceLocation.geo']",
                "geometry": {"type": "Point", "coordinates": [longitude, latitude]},
                "distanceMeters": SEARCH_RADIUS_M,
            }
        ],
    }


def selection(provider: str, item: str) -> dict[str, Any]:
    """A select message: 10 kWh on one connector."""
    return {
        "order": {
            "@context": CORE,
            "@type": "beckn:Order",
            "beckn:orderStatus": "CREATED",
            "beckn:seller": provider,
            "beckn:buyer": {
                "@context": CORE,
                "@type": "beckn:Buyer",
                "beckn:id": f"user-{secrets.token_hex(4)}",
                "beckn:role": "BUYER",
                "beckn:displayName": "A. Buyer",
                "beckn:telephone": f"+9198{secrets.randbelow(10**8):08d}",
            },
            "beckn:orderItems": [
                {
                    "beckn:orderedItem": item,
                    "beckn:quantity": {
                        "unitText": "Kilowatt Hour",
                        "unitCode": "KWH",
                        "unitQuantity": 10,
                    },
                }
            ],
            "beckn:orderAttributes": {
                "@context": SESSION_PACK,
                "@type": "ChargingSession",
                "buyerFinderFee": {"feeType": "PERCENTAGE", "feeValue": 2.5},
            },
        }
    }


def items_of(answer: Any) -> list[tuple[str, str]]:
    """Provider and item ids in an `on_discover`."""
    return [
        (item["beckn:provider"]["beckn:id"], item["beckn:id"])
        for catalog in answer.get("message", {}).get("catalogs", [])
        for item in catalog.get("beckn:items", [])
    ]


# --- the two measurements ---------------------------------------------------------------------------------------


def ack(bench: Bench) -> None:
    """p50 and p99 of the time to the ACK of signed discover and select requests, at a steady rate."""
    asyncio.run(_with_market(bench, _ack))


def discover_100k(bench: Bench, then: Callable[[Bench, Market, Server], Awaitable[None]]) -> None:
    """p50 and p99 from a discover to its `on_discover`, one at a time, with 100,000 connectors for sale; `then` more
    with the same server."""

    async def work(bench: Bench, market: Market, server: Server) -> None:
        await _discover_100k(bench, market, server)
        await then(bench, market, server)

    asyncio.run(_with_market(bench, work))


async def _with_market(bench: Bench, work: Callable[[Bench, Market, Server], Awaitable[None]]) -> None:
    market = Market()
    async with market.open():
        with tempfile.TemporaryDirectory(prefix="bench-registry-") as folder:
            registry = Path(folder) / "registry.json"
            registry.write_text(json.dumps([buyer.registered() for buyer in market.buyers]))
            ours = replace(bench.plan.ours, registry=registry)
            with running("ours", bench.server_core, ours) as server:
                market.sell_at(server)
                await work(bench, market, server)


async def _ack(bench: Bench, market: Market, server: Server) -> None:
    await stock(server, SMALL_LOCATIONS, EVSES)
    _, answer = await market.ask_and_wait("discover", near(0))
    items = items_of(answer)
    if not items:
        bench.note("beckn_ack: on_discover listed no items, so only discover requests were timed")
    count = bench.plan.ack_requests
    begun = time.perf_counter()
    asked = []
    for n in range(count):
        await asyncio.sleep(max(0.0, begun + n / ASKS_PER_S - time.perf_counter()))
        if n % 2 and items:
            asked.append(asyncio.create_task(market.ask("select", selection(*items[n % len(items)]))))
        else:
            asked.append(asyncio.create_task(market.ask("discover", near(n % SMALL_LOCATIONS))))
    times = [1000 * seconds for seconds in await asyncio.gather(*asked)]
    if market.refusals:
        raise BenchError(f"{len(market.refusals)} of {count} requests were not ACKed: {market.refusals[0]}")
    bench.found.ack_ms = (percentile(times, 50), percentile(times, 99))
    bench.console.print(
        f"beckn ack     ours: p50 {bench.found.ack_ms[0]:.2f} ms, p99 {bench.found.ack_ms[1]:.2f} ms, "
        f"{count} signed requests",
        highlight=False,
    )


async def _searchable(market: Market) -> None:
    """Return when what was put is found everywhere: a large inventory is read in pieces, beside everything else."""
    for n in range(0, LOCATIONS, LOCATIONS // 40):
        found = False
        while not found:
            found = bool(items_of((await market.ask_and_wait("discover", near(n)))[1]))
            await asyncio.sleep(0 if found else 0.5)


async def _discover_100k(bench: Bench, market: Market, server: Server) -> None:
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(FILL_PATIENCE_S):
            await stock(server, LOCATIONS, EVSES)
            await _searchable(market)
    except TimeoutError:
        raise BenchError(f"loading 100,000 connectors took over {FILL_PATIENCE_S:.0f} s") from None
    filled_s = time.perf_counter() - begun
    times = []
    empty = 0
    for n in range(bench.plan.discover_requests + 1):
        seconds, answer = await market.ask_and_wait("discover", near(n % LOCATIONS))
        empty += not items_of(answer)
        times.append(1000 * seconds)
    if empty:
        raise BenchError(f"{empty} of {len(times)} answers listed no items, so they prove nothing")
    bench.note(f"discover_100k: loaded in {filled_s:.0f} s; the first answer took {times[0]:.0f} ms and is not counted")
    times = times[1:]
    bench.found.discover_ms = (percentile(times, 50), percentile(times, 99))
    bench.console.print(
        f"discover 100k ours: p50 {bench.found.discover_ms[0]:.1f} ms, p99 {bench.found.discover_ms[1]:.1f} ms",
        highlight=False,
    )
