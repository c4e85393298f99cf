"""What strangers can cost the receiver: slow bodies, many bodies at once, bodies without end (BECKN 1.1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from beckn_adapter import http as edge
from beckn_adapter.codecs import Codecs
from beckn_adapter.http import Receiver
from beckn_adapter.outbound import Outbound
from beckn_adapter.registry import RegistryDown
from beckn_adapter.signing import ProblemKind, SignatureProblem
from beckn_adapter.trust import Binding, Caller, Headers

LIMIT = 64 * 1024


class Nobody:
    """A doorkeeper who takes his time and lets nobody in."""

    def __init__(self) -> None:
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self.waiting = 0

    async def identify(self, headers: Headers, raw: bytes, now_ms: int) -> Caller:
        self.waiting += 1
        self.asked.set()
        await self.may_answer.wait()
        if "X-Down" in headers:  # type: ignore[operator]
            raise RegistryDown("the registry cannot be reached")
        raise SignatureProblem(ProblemKind.MISSING, "the message carries no signature")


class Clock:
    def now_ms(self) -> int:
        return 1_767_323_045_000


@asynccontextmanager
async def receiving(held: int = LIMIT * 4, legacy_ack: bool | None = None) -> AsyncIterator[tuple[str, Nobody]]:
    nobody = Nobody()
    anything: Any = None
    receiver = Receiver(
        store=anything, bell=anything, clock=Clock(), doorkeeper=nobody, binding=Binding(Outbound(timeout_s=1)),
        subscriber_id="bpp.example", codecs=Codecs([]), check=anything, body_limit=LIMIT, requests_per_min=1,
        discover_per_min=1, reject_stale=False, legacy_ack=legacy_ack, answers_to_gateway=False,
        count=lambda _a, _b: None,
    )  # fmt: skip
    receiver._max_held_bytes = held
    app = web.Application()
    app.add_routes(receiver.routes())
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/beckn/bpp/receiver", nobody
    finally:
        nobody.may_answer.set()
        await runner.cleanup()
    assert receiver._held_bytes == 0


async def test_bodies_of_all_callers_together_are_bounded() -> None:
    async with receiving(held=LIMIT * 2) as (url, nobody), aiohttp.ClientSession() as http:
        body = b"x" * LIMIT
        first = [asyncio.create_task(http.post(url, data=body)) for _ in range(2)]
        async with asyncio.timeout(5):
            while nobody.waiting < 2:
                await nobody.asked.wait()
                nobody.asked.clear()
        async with asyncio.timeout(5), http.post(url, data=b"y") as one_too_many:
            assert one_too_many.status == 503
            assert one_too_many.headers["Retry-After"]
            assert (await one_too_many.json())["ack_status"] == "NACK"
        nobody.may_answer.set()
        for answer in await asyncio.gather(*first):
            assert answer.status == 401
            answer.release()
        async with http.post(url, data=b"y") as again:
            assert again.status == 401  # what they held is free again


async def test_a_body_that_comes_too_slowly_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "BODY_S", 0.2)
    async with receiving() as (url, nobody):
        host, _, port = url.removeprefix("http://").partition("/")[0].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /beckn/bpp/receiver/select HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        async with asyncio.timeout(5):
            said = await reader.readuntil(b"}}")
        assert said.startswith(b"HTTP/1.1 408")
        assert b"Connection: close" in said
        assert b"did not come in time" in said
        assert nobody.waiting == 0
        writer.close()
        await writer.wait_closed()


async def test_a_body_without_end_is_cut_at_the_limit() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"z" * 8192

    async with receiving() as (url, nobody), aiohttp.ClientSession() as http:
        try:
            async with asyncio.timeout(5), http.post(url, data=endless()) as answer:
                assert answer.status == 413
        except aiohttp.ClientError:
            pass  # the connection was closed under the sender: as good
        assert nobody.waiting == 0


@pytest.mark.parametrize(
    "path", ["/bpp/receiver", "/bpp/receiver/", "/bpp/receiver/select", "/webhook", "/webhook/x/y"]
)
async def test_a_registry_that_is_down_is_503_on_every_path(path: str) -> None:
    async with receiving() as (url, nobody), aiohttp.ClientSession() as http:
        nobody.may_answer.set()
        async with http.post(url.removesuffix("/bpp/receiver") + path, data=b"{}", headers={"X-Down": "1"}) as answer:
            assert answer.status == 503
            assert "WWW-Authenticate" not in answer.headers


V1, V2 = b'{"context": {"version": "1.1.0"}}', b'{"context": {"version": "2.0.0"}}'


@pytest.mark.parametrize(
    ("legacy_ack", "raw", "is_legacy"),
    [(None, V1, True), (None, V2, False), (True, V2, True), (False, V1, False)],
)
async def test_the_shape_of_an_answer_follows_the_message_unless_it_is_configured(
    legacy_ack: bool | None, raw: bytes, is_legacy: bool
) -> None:
    async with receiving(legacy_ack=legacy_ack) as (url, nobody), aiohttp.ClientSession() as http:
        nobody.may_answer.set()
        async with http.post(url, data=raw) as answer:
            assert ("message" in await answer.json()) is is_legacy
