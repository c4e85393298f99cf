"""A small world for the transport's tests: a server with a talkative dialect, and chargers of several manners."""

from __future__ import annotations

import asyncio
import json
import os
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.server import Admission, Attempt, Hooks, Limits, Link, OcppServer

HEARTBEAT_ANSWER = b'{"currentTime":"2026-01-02T03:04:05.678Z"}'


class Talk:
    """A dialect that writes down what it hears and answers at once, unless told otherwise."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, Any]] = []
        self.misfits: list[tuple[str, dict[str, Any] | None, list[Any]]] = []
        self.starts = 0
        self.silent: set[str] = set()
        self.mended_actions = frozenset({"StartTransaction", "StopTransaction", "MeterValues", "TransactionEvent"})
        self.handlers: dict[str, Callable[[Link, str, Any, bytes], None]] = {
            "Heartbeat": self._with(HEARTBEAT_ANSWER),
            "MeterValues": self._with(b"{}"),
            "StatusNotification": self._with(b"{}"),
            "StartTransaction": self._start,
            "BootNotification": self._with(
                b'{"currentTime":"2026-01-02T03:04:05.678Z","interval":60,"status":"Accepted"}'
            ),
            "Authorize": self._broken,
            "DataTransfer": self._hold,
            "TransactionEvent": self._with(b"{}"),
        }

    def _note(self, link: Link, action: str, request: Any) -> None:
        self.heard.append((link.identity, action, request))

    def _with(self, answer: bytes) -> Callable[[Link, str, Any, bytes], None]:
        def handler(link: Link, message_id: str, request: Any, raw: bytes) -> None:
            action = json.loads(raw)[2]
            self._note(link, action, request)
            if action not in self.silent:
                link.answer(message_id, answer)

        return handler

    def _start(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:
        self._note(link, "StartTransaction", request)
        self.starts += 1
        link.answer(message_id, {"transactionId": self.starts, "idTagInfo": {"status": "Accepted"}})

    def _broken(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:
        raise RuntimeError("a bug of ours")

    def _hold(self, link: Link, message_id: str, request: Any, raw: bytes) -> None:
        self._note(link, "DataTransfer", request)
        link.hold()
        link.answer(message_id, {"status": "Accepted"})

    def misfit(
        self, link: Link, message_id: str, action: str, payload: dict[str, Any] | None, raw: bytes, problems: list[Any]
    ) -> None:
        self.misfits.append((action, payload, problems))
        if action == "StopTransaction":
            raise RuntimeError("a bug in the repair")
        link.answer(message_id, b"{}")


class Clock:
    """Both clocks of the server, moved by hand when `frozen`."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


class World:
    """A started server and everything it told."""

    def __init__(self) -> None:
        self.talk = Talk()
        self.opened: list[Link] = []
        self.closed: list[tuple[Link, int]] = []
        self.malformed: list[tuple[str, bytes]] = []
        self.refused: list[tuple[str | None, str]] = []
        self.frames: list[tuple[str, bytes]] = []
        self.attempts: list[Attempt] = []
        self.admit: Callable[[Attempt], Any] = lambda attempt: Admission.accept(context=attempt.identity)
        self.server: OcppServer

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.server.port}/ocpp"

    def link(self, identity: str = "CP1") -> Link:
        return self.server.links[identity]

    def _knock(self, attempt: Attempt) -> Any:
        self.attempts.append(attempt)
        return self.admit(attempt)

    @asynccontextmanager
    async def run(self, **options: Any) -> AsyncIterator[World]:
        options.setdefault("limits", Limits(slot_ms=5, drain_s=1.0))
        options.setdefault("clock", lambda: 1_767_323_045_678)
        self.server = OcppServer(
            dialects={Version.V16: self.talk, Version.V201: self.talk},
            admit=self._knock,
            chance=lambda: 0.5,
            hooks=Hooks(
                on_open=self.opened.append,
                on_close=lambda link, code: self.closed.append((link, code)),
                on_malformed=lambda link, reason, raw: self.malformed.append((reason, raw)),
                on_refused=lambda identity, reason, remote: self.refused.append((identity, reason)),
                on_frame=lambda link, direction, raw, at_ms: self.frames.append((direction, raw)),
            ),
            **options,
        )
        await self.server.start("127.0.0.1", 0)
        try:
            yield self
        finally:
            await self.server.stop()

    @asynccontextmanager
    async def charger(
        self, path: str = "/CP1", version: str | None = "ocpp1.6", **options: Any
    ) -> AsyncIterator[Charger]:
        options.setdefault("ping_interval", None)
        options.setdefault("compression", None)
        async with connect(
            self.url + path, subprotocols=None if version is None else [Subprotocol(version)], **options
        ) as socket:
            yield Charger(socket)


class Charger:
    """A well-mannered WebSocket with freely chosen words."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._last = 0

    async def say(self, frame: object) -> None:
        """Text as it is, everything else as JSON."""
        await self.socket.send(frame if isinstance(frame, str) else json.dumps(frame))

    async def hear(self) -> Any:
        async with asyncio.timeout(3):
            return json.loads(await self.socket.recv())

    async def hear_text(self) -> str:
        async with asyncio.timeout(3):
            text = await self.socket.recv()
        assert isinstance(text, str)
        return text

    async def ask(self, frame: object) -> Any:
        await self.say(frame)
        return await self.hear()

    async def assert_alive(self) -> None:
        """A Heartbeat still works, and nothing else was said before its answer."""
        self._last += 1
        message_id = f"alive-{self._last}"
        assert await self.ask([2, message_id, "Heartbeat", {}]) == [3, message_id, json.loads(HEARTBEAT_ANSWER)]

    async def assert_closed(self, code: int) -> None:
        async with asyncio.timeout(3):
            await self.socket.wait_closed()
        assert self.socket.close_code == code


class Wire:
    """A WebSocket by hand, for bytes no library would send."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = ""

    @classmethod
    @asynccontextmanager
    async def to(
        cls, port: int, target: str = "/ocpp/CP1", headers: str = "", *, upgrade: bool = True, early: bytes = b""
    ) -> AsyncIterator[Wire]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        wire = cls(reader, writer)
        hand = (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        )
        request = f"GET {target} HTTP/1.1\r\nHost: x\r\n{hand if upgrade else ''}{headers}\r\n"
        writer.write(request.encode("utf-8") + early)
        async with asyncio.timeout(3):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *rest = head.split("\r\n")
        wire.status = int(first.split()[1])
        wire.headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in rest if line)}
        if wire.status != 101:
            wire.body = (await reader.read()).decode()
        try:
            yield wire
        finally:
            writer.close()

    @staticmethod
    def frame(
        text: bytes, *, opcode: int = 1, final: bool = True, masked: bool = True, key: bytes | None = None
    ) -> bytes:
        first = (0x80 if final else 0) | opcode
        bit = 0x80 if masked else 0
        if len(text) < 126:
            head = struct.pack("!BB", first, bit | len(text))
        elif len(text) < 65536:
            head = struct.pack("!BBH", first, bit | 126, len(text))
        else:
            head = struct.pack("!BBQ", first, bit | 127, len(text))
        if not masked:
            return head + text
        key = os.urandom(4) if key is None else key
        return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(text))

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read(self) -> tuple[int, bytes]:
        """The next frame of the server: opcode and payload."""
        async with asyncio.timeout(3):
            first, length = await self.reader.readexactly(2)
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
                assert length > 125  # RFC 6455 5.2: the shortest form must be used
            elif length == 127:
                (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
                assert length > 65535
            return first & 0x0F, await self.reader.readexactly(length)

    async def read_text(self) -> Any:
        opcode, payload = await self.read()
        assert opcode == 1, (opcode, payload)
        return json.loads(payload)

    async def read_close(self) -> int:
        opcode, payload = await self.read()
        assert opcode == 8, (opcode, payload)
        return int.from_bytes(payload[:2], "big")


async def until(true: Callable[[], object], what: str = "it") -> None:
    """Wait for a condition to come true; fail after three seconds."""
    for _ in range(300):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{what} never came true")
