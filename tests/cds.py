"""A catalogue discovery service, for tests: takes catalogs as the network's does, keeps the newest, reports back.

It checks signatures with the registry file, refuses what breaks the published schema (when that is at hand), and can be
away: closed for a while on the same port.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web
from schema import shared, validate_callback

from simulators.clock import wall_ms, written
from simulators.signing import Identity, SignatureError, read_registry, registry_entry, sign, signer, verify

Json = dict[str, Any]
CDS_ID = "cds.test.example"


@dataclass(slots=True)
class Cds:
    """The service. `verdict` is what it reports of each catalog; None: it does not report."""

    identity: Identity
    registry: Path
    verdict: str | None = "ACCEPTED"
    port: int = 0
    catalogs: dict[str, Json] = field(default_factory=dict)  # the newest of each, by id
    received: list[Json] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _runner: web.AppRunner | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        if not self.port:
            with socket.socket() as probe:  # a port of its own, also while nobody listens there
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def url(self) -> str:
        """What `beckn.cds_url` names."""
        return f"http://127.0.0.1:{self.port}/beckn"

    @property
    def entry(self) -> Json:
        """Its line in the registry."""
        return registry_entry(self.identity, self.url, "CDS")

    async def open(self) -> None:
        """Listen."""
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/beckn/catalog/publish", self._publish)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def close(self) -> None:
        """Be away."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _publish(self, request: web.Request) -> web.Response:
        raw = await request.read()
        body = json.loads(raw)
        try:
            self._verify(request.headers.get("Authorization"), raw, body)
        except (SignatureError, KeyError) as wrong:
            self.problems.append(str(wrong))
            return web.json_response(
                {"ack_status": "NACK", "error": {"code": "401", "message": str(wrong)}}, status=401
            )
        if shared() is not None and (faults := validate_callback(body)):
            self.problems += faults
        if len(raw) > 220_000:
            self.problems.append(f"a body of {len(raw)} bytes")
        self.received.append(body)
        for catalog in body["message"]["catalogs"]:
            self.catalogs[catalog["beckn:id"]] = catalog
        if self.verdict is not None:
            task = asyncio.create_task(self._report(body, self.verdict))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        context = body["context"]
        ack = {"transaction_id": context["transaction_id"], "timestamp": written(wall_ms()), "ack_status": "ACK"}
        return web.json_response(ack)

    def _verify(self, header: str | None, raw: bytes, body: Json) -> None:
        subscriber_id, key_id = signer(header)
        known = {(e["subscriber_id"], e["unique_key_id"]): e for e in read_registry(self.registry)}
        verify(header, raw, known[subscriber_id, key_id]["signing_public_key"], int(time.time()))
        if body["context"]["bpp_id"] != subscriber_id:
            raise SignatureError("signed by another")

    async def _report(self, body: Json, verdict: str) -> None:
        results = [
            {"catalog_id": c["beckn:id"], "status": verdict, "item_count": len(c["beckn:items"])}
            | ({} if verdict == "ACCEPTED" else {"error": {"code": "400", "message": "an unknown plug"}})
            for c in body["message"]["catalogs"]
        ]
        status, text = await self.post_report(body["context"], results)
        if status != 200:
            self.problems.append(f"the report was answered with {status}: {text}")

    async def post_report(self, context: Json, results: list[Json], by: Identity | None = None) -> tuple[int, str]:
        """Post `on_catalog_publish` about a publication to the provider."""
        told = context | {"action": "on_catalog_publish", "timestamp": written(wall_ms())}
        raw = json.dumps({"context": told, "message": {"results": results}}).encode()
        headers = {
            "Content-Type": "application/json",
            "Authorization": sign(by or self.identity, raw, int(time.time()) - 2),
        }
        url = f"{context['bpp_uri']}/catalog/on_publish"
        async with aiohttp.ClientSession() as http, http.post(url, data=raw, headers=headers) as answer:
            return answer.status, await answer.text()


def catalogue_service(registry: Path) -> Cds:
    """A fresh one with a key of its own."""
    return Cds(Identity(CDS_ID, "cds-1", uuid.uuid4().bytes * 2), registry)
