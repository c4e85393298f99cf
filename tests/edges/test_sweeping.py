"""Connections that hold on and say nothing, over real sockets and a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

from csms.edges.sweeping import BODY_S, HEAD_S, IDLE_S, Sweeper

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"


class World:
    """A web server with a sweeper, and its clock."""

    def __init__(self, most: int) -> None:
        self.now_s = 0.0
        self.sweeper = Sweeper(lambda: self.now_s, most=most)
        self.working, self.go_on = asyncio.Event(), asyncio.Event()
        self.runner: web.AppRunner
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def handle(self, request: web.Request) -> web.Response:
        await request.read()
        if request.path == "/slow":
            self.working.set()
            await self.go_on.wait()
        return web.Response(text="done")

    def sweep(self, after_s: float) -> int:
        self.now_s += after_s
        assert self.runner.server is not None
        return self.sweeper.sweep(self.runner.server.connections)

    async def connect(self, said: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        writer.write(said)
        await writer.drain()
        return reader, writer

    async def connected(self, count: int) -> None:
        """Until the server has noticed so many."""
        assert self.runner.server is not None
        async with asyncio.timeout(5):
            while len(self.runner.server.connections) != count:  # noqa: ASYNC110 - sockets are seen by the loop
                await asyncio.sleep(0.01)


@asynccontextmanager
async def world(most: int = 100) -> AsyncIterator[World]:
    w = World(most)

    @web.middleware
    async def watched(request: web.Request, handler: Any) -> web.StreamResponse:
        return await w.sweeper.watch(request, handler)

    app = web.Application(middlewares=[watched])
    app.router.add_route("*", "/{path:.*}", w.handle)
    w.runner = web.AppRunner(app, shutdown_timeout=0.1)
    await w.runner.setup()
    await web.TCPSite(w.runner, "127.0.0.1", 0).start()
    w.port = w.runner.addresses[0][1]
    try:
        yield w
    finally:
        w.go_on.set()
        for writer in w.writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in w.writers), return_exceptions=True)
        await w.runner.cleanup()


async def is_closed(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(5):
        with suppress(ConnectionResetError):
            return await reader.read(1) == b""
    return True


async def test_a_head_that_never_ends_is_cut_off() -> None:
    async with world() as w:
        nothing, _ = await w.connect()
        drip, dripping = await w.connect(b"POST /x HTTP/1.1\r\nHost: ")
        await w.connected(2)
        assert w.sweep(0) == 0
        assert w.sweep(HEAD_S) == 0
        dripping.write(b"a")  # a byte now and then buys no time
        assert w.sweep(1) == 2
        assert await is_closed(nothing)
        assert await is_closed(drip)


async def test_a_body_that_never_comes_is_cut_off() -> None:
    async with world() as w:
        reader, _ = await w.connect(HEAD + b"ab")
        await w.connected(1)
        await asyncio.sleep(0.05)  # its head is read
        assert w.sweep(BODY_S) == 0
        assert w.sweep(1) == 1
        assert await is_closed(reader)


async def test_files_may_take_their_time_and_so_may_we() -> None:
    async with world() as w:
        await w.connect(HEAD.replace(b"/x", b"/files/up") + b"ab")
        reader, _ = await w.connect(HEAD.replace(b"/x", b"/slow") + b"abcd")
        async with asyncio.timeout(5):
            await w.working.wait()
        await w.connected(2)
        assert w.sweep(100_000) == 0
        w.go_on.set()
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_a_kept_connection_may_rest_between_requests_but_not_for_ever() -> None:
    async with world() as w:
        reader, writer = await w.connect(HEAD + b"abcd")
        assert (await reader.readuntil(b"done")).startswith(b"HTTP/1.1 200")
        assert w.sweep(IDLE_S) == 0
        writer.write(HEAD + b"abcd")
        assert (await reader.readuntil(b"done")).startswith(b"HTTP/1.1 200")
        assert w.sweep(IDLE_S) == 0
        assert w.sweep(1) == 1
        assert await is_closed(reader)


async def test_above_the_limit_those_who_wait_longest_go_first() -> None:
    async with world(most=3) as w:
        first, _ = await w.connect()
        await w.connected(1)
        assert w.sweep(1) == 0
        _others = [await w.connect() for _ in range(3)]
        await w.connected(4)
        assert w.sweep(1) == 1
        assert await is_closed(first)
