"""The event stream: in order, resumable, alive when nothing happens, gone when the system stops."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from apiworld import KEY, NOW_MS, Client, World, session_row

from csms.api import events
from csms.api.server import build_operator_app
from csms.ports import Fact, Table


class Stream:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def block(self) -> str:
        async with asyncio.timeout(5):
            return (await self.response.content.readuntil(b"\n\n")).decode()

    async def event(self) -> dict[str, Any]:
        while True:
            fields = dict(line.split(": ", 1) for line in (await self.block()).strip().splitlines() if line[0] != ":")
            if "data" in fields:
                data = json.loads(fields["data"])
                assert fields["id"] == str(data["seq"])
                assert fields["event"] == data["kind"]
                return dict(data)


@asynccontextmanager
async def stream(api: Client, query: str = "", headers: Mapping[str, str] | None = None) -> AsyncIterator[Stream]:
    sent = {"Authorization": f"Bearer {KEY}", **(headers or {})}
    async with api.http.get(f"{api.base}/api/v1/events{query}", headers=sent) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        opened = Stream(response)
        assert (await opened.block()).startswith("retry: ")
        yield opened


async def test_a_new_reader_sees_what_happens_from_now_on(api: Client, world: World) -> None:
    await world.tell("Old")
    await world.add(Table.SESSIONS, session_row(7))
    async with stream(api) as reader:
        fact = Fact("SessionStarted", NOW_MS, {"energy_wh": 0}, station="CP1", session_no=7, order_id="o-1")
        await world.store.transact(lambda tx: tx.append([fact]))
        assert await reader.event() == {
            "seq": 2,
            "kind": "SessionStarted",
            "at": "2026-01-02T03:00:00.000Z",
            "charger_id": "CP1",
            "session_id": "s-7",
            "order_id": "o-1",
            "body": {"energy_wh": 0},
        }
        await world.tell("Next")
        assert (await reader.event())["kind"] == "Next"


async def test_a_reader_that_comes_back_misses_nothing_and_sees_nothing_twice(api: Client, world: World) -> None:
    await world.tell(*(f"K{n}" for n in range(1, 8)))
    seen: list[int] = []
    async with stream(api, "?after=0") as reader:
        seen += [(await reader.event())["seq"] for _ in range(3)]
    await world.tell("K8")
    async with stream(api, headers={"Last-Event-ID": str(seen[-1])}) as reader:
        seen += [(await reader.event())["seq"] for _ in range(5)]
    assert seen == list(range(1, 9))


async def test_a_long_backlog_comes_whole(api: Client, world: World) -> None:
    await world.tell(*(["K"] * 1201))
    async with stream(api, "?after=0") as reader:
        assert [(await reader.event())["seq"] for _ in range(1201)] == list(range(1, 1202))


async def test_a_reader_may_ask_for_some_kinds_only(api: Client, world: World) -> None:
    async with stream(api, "?kinds=B,%20D") as reader:
        await world.tell("A", "B", "C", "D")
        assert [(await reader.event())["kind"] for _ in range(2)] == ["B", "D"]


async def test_silence_is_broken_by_a_comment(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_HEARTBEAT_S", 0.05)
    async with stream(api) as reader:
        assert (await reader.block()).startswith(": ")
        assert (await reader.block()).startswith(": ")


async def test_unwanted_kinds_do_not_put_off_the_comment(
    api: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_HEARTBEAT_S", 0.1)
    async with stream(api, "?kinds=Wanted") as reader:

        async def chatter() -> None:
            while True:
                await world.tell("Unwanted")
                await asyncio.sleep(0.01)

        task = asyncio.create_task(chatter())
        try:
            assert (await reader.block()).startswith(": ")
        finally:
            task.cancel()


async def test_an_id_from_another_journal_begins_at_the_end(api: Client, world: World) -> None:
    await world.tell("A")
    async with stream(api, headers={"Last-Event-ID": "99999"}) as reader:
        await world.tell("B")
        assert (await reader.event())["kind"] == "B"
    for wrong in ("x", "-1", "9" * 5000):
        reply = await api("GET", "/api/v1/events", headers={"Last-Event-ID": wrong})
        assert reply.status == 422


async def test_secrets_do_not_leave_by_the_stream(api: Client, world: World) -> None:
    async with stream(api) as reader:
        fact = Fact("Told", NOW_MS, {"key": "AuthorizationKey", "value": "SECRET"})
        await world.store.transact(lambda tx: tx.append([fact]))
        assert (await reader.event())["body"]["value"] == "***"


async def test_a_shutdown_does_not_wait_for_readers(world: World) -> None:
    runner = web.AppRunner(build_operator_app(world), access_log=None, shutdown_timeout=30)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with (
        aiohttp.ClientSession() as http,
        asyncio.timeout(5),
        stream(Client(f"http://{host}:{port}", http)) as reader,
    ):
        await runner.cleanup()
        assert await reader.response.content.read() == b""
