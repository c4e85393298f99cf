"""Where stories are played in tests: a real server program, a charger and a buyer of the story's own.

async with running(tmp_path) as server, stage(server, "walk-in-by-kwh", "1.6") as world:
    result = await play(at_version("walk-in-by-kwh", "1.6"), world)
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final

from running import API_KEY, BPP_ID, Server

from simulators.bap import Bap
from simulators.beckn_schema import ClassicSchemas, EverySchema, Schemas
from simulators.buyer import Buyer
from simulators.scenario import Scenario, World, load
from simulators.signing import Identity, registry_entry, write_registry
from simulators.tongue_v1 import tongue
from simulators.transcript import Transcript

BECKN_FOLDER: Final = Path(__file__).resolve().parents[3] / "shared" / "beckn"
SCHEMA_FOLDER: Final = BECKN_FOLDER / "v2" / "schema"
CLASSIC_FOLDER: Final = BECKN_FOLDER / "v1" / "schema"
CLASSIC_FILES: Final = ("core-1.1.1-transaction.yaml", "uei-layer2-3.0.yaml")
STEP_S: Final = 45.0  # the longest a story waits for one thing on a busy machine

PREPAID: Final[Mapping[str, Any]] = {"pattern": "BUFFER_IN_QUOTE", "buffer_percent": 10, "buffer_min": 20}
TARIFFS: Final[Mapping[str, Mapping[str, Any]]] = {
    "offline-overrun-in-buffer": {"pattern": "HOLD", "buffer_percent": 20, "buffer_min": 20},
    "offline-overrun-top-up": {"pattern": "TOP_UP"},
}


def at_version(story: str, version: str) -> Scenario:
    """The story of that name at a charger of that OCPP version."""
    scenario = load(story)
    return replace(scenario, charger={**scenario.charger, "version": version})


@cache
def schemas() -> EverySchema | None:
    """The published schemas when they lie beside the repository; without them callbacks are not held to them."""
    files = [CLASSIC_FOLDER / name for name in CLASSIC_FILES]
    if not (SCHEMA_FOLDER / "beckn.yaml").is_file() or not all(file.is_file() for file in files):
        return None
    return EverySchema(Schemas(SCHEMA_FOLDER), ClassicSchemas(*files))


def charger_of(story: str, version: str, dialect: str = "v2") -> str:
    """The identity of the story's charger."""
    told = "" if dialect == "v2" else f"-{dialect}"
    return f"{story}-{version.replace('.', '')}{told}".upper()


@asynccontextmanager
async def stage(
    server: Server,
    story: str,
    version: str,
    make: type[Bap] = Bap,
    transcript: Transcript | None = None,
    dialect: str = "v2",
) -> AsyncIterator[World]:
    """What a story needs: a charger that is sold, a card that is known, a buyer's platform in the registry."""
    charger_id = charger_of(story, version, dialect)
    await server.sell(charger_id, tariff=TARIFFS.get(story, PREPAID))
    await server.api("PUT", "/api/v1/tokens/DEMO-TAG", {"status": "Accepted"})
    transcript = transcript or Transcript()
    me = Identity(f"bap.{charger_id.lower()}.example", "key-1", os.urandom(32))
    async with make(me, registry=server.registry, schemas=schemas(), transcript=transcript) as bap:
        write_registry(server.registry, registry_entry(me, bap.uri, "BAP"))
        bpp_uri = f"{server.public_url}/beckn/bpp/receiver"
        await _on_sale(Buyer(bap, bpp_uri, BPP_ID, tongue=tongue(dialect)), charger_id)
        yield World(
            ocpp_url=server.ocpp_url,
            charger_id=charger_id,
            bap=bap,
            bpp_uri=bpp_uri,
            bpp_id=BPP_ID,
            api_url=server.urls["api"],
            api_key=API_KEY,
            timeout_s=STEP_S,
            transcript=transcript,
            dialect=dialect,
        )


async def _on_sale(buyer: Buyer, charger_id: str) -> None:
    """A change of the catalogue shows a moment later: many changes in a row are one for the search index."""
    async with asyncio.timeout(STEP_S):
        while not any(charger_id in item.names for item in await buyer.discover()):  # noqa: ASYNC110 - asking is all there is
            await asyncio.sleep(0.05)


def same_ports() -> dict[str, dict[str, int]]:
    """Settings with three ports that were free a moment ago: a server that comes back must be found again.

    The ports lie below those the system gives to outgoing connections, so that none of those takes one meanwhile.
    """
    with ExitStack() as held:
        ports = [held.enter_context(_below_ephemeral()).getsockname()[1] for _ in range(3)]
    return {section: {"port": port} for section, port in zip(("ocpp", "api", "beckn"), ports, strict=True)}


def _below_ephemeral() -> socket.socket:
    for _ in range(200):
        port = 20_000 + int.from_bytes(os.urandom(2)) % 12_000
        bound = socket.socket()
        try:
            bound.bind(("127.0.0.1", port))
        except OSError:
            bound.close()
        else:
            return bound
    raise AssertionError("no free port between 20000 and 32000")


async def every(server: Server, path: str) -> list[dict[str, Any]]:
    """All items of a list of the API, page after page."""
    items: list[dict[str, Any]] = []
    joiner = "&" if "?" in path else "?"
    url = f"{path}{joiner}limit=500"
    cursor: str | None = None
    while True:
        page = await server.api("GET", url if cursor is None else f"{url}&cursor={cursor}")
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items


async def ledger_sum(server: Server, order_id: str) -> Decimal:
    """What an order's ledger comes to, every entry as it was booked; zero when the books are closed."""
    ledger = await server.api("GET", f"/api/v1/orders/{order_id}/ledger")
    return sum((Decimal(entry["amount"]["amount"]) for entry in ledger["items"]), Decimal(0))
