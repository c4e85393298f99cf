"""A tiny central system for the simulators' own tests: it records, answers from a table, and can misbehave."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

Payload = dict[str, Any]
NO_ANSWER = "no answer"


class Central:
    """Answers every message of both versions; `answers[action]` overrides with a payload, a function or a code.

    A function gets the payload and returns a payload, NO_ANSWER, or a string: the code of a CALLERROR.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Payload]] = []  # (message id, action, payload), as received
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answers: dict[str, Any] = {}
        self.connections: list[ServerConnection] = []
        self.results: list[tuple[str, Any]] = []
        self.tx_ids = itertools.count(1001)
        self._ids = itertools.count(1)
        self._pending: dict[str, asyncio.Future[list[Any]]] = {}
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            subprotocols=[Subprotocol("ocpp1.6"), Subprotocol("ocpp2.0.1")],
            select_subprotocol=lambda _, offered: offered[0] if offered else None,
            ping_interval=None,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}/ocpp"

    def heard(self, action: str) -> list[Payload]:
        return [payload for _, name, payload in self.calls if name == action]

    def actions(self) -> list[str]:
        return [name for _, name, _ in self.calls]

    async def until(self, is_so: Callable[[], bool], timeout_s: float = 5.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not is_so():  # noqa: ASYNC110 - plain facts without an event
                await asyncio.sleep(0.01)

    async def command(self, action: str, payload: Payload, timeout_s: float = 3.0) -> list[Any]:
        """Send a CALL on the newest connection; the whole answering frame."""
        message_id = f"c{next(self._ids)}"
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._pending[message_id] = future
        await self.connections[-1].send(json.dumps([2, message_id, action, payload]))
        async with asyncio.timeout(timeout_s):
            return await future

    async def _serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.paths.append(socket.request.path)
        self.headers.append(dict(socket.request.headers.raw_items()))
        self.connections.append(socket)
        try:
            async for text in socket:
                frame = json.loads(text)
                if frame[0] == 2:
                    await self._answer(socket, frame)
                elif frame[1] in self._pending:
                    self._pending.pop(frame[1]).set_result(frame)
                else:
                    self.results.append((frame[1], frame[2]))
        except ConnectionClosed:
            pass

    async def _answer(self, socket: ServerConnection, frame: list[Any]) -> None:
        _, message_id, action, payload = frame
        self.calls.append((message_id, action, payload))
        answer = self.answers.get(action, self._usual)
        if callable(answer):
            answer = answer(payload) if answer != self._usual else self._usual(action)
        if answer is NO_ANSWER:
            return
        if isinstance(answer, str):
            await socket.send(json.dumps([4, message_id, answer, "", {}]))
        else:
            await socket.send(json.dumps([3, message_id, answer]))

    def _usual(self, action: str) -> Payload:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        table: dict[str, Payload] = {
            "BootNotification": {"status": "Accepted", "currentTime": now, "interval": 300},
            "Heartbeat": {"currentTime": now},
            "Authorize": {"idTagInfo": {"status": "Accepted"}},
            "StopTransaction": {"idTagInfo": {"status": "Accepted"}},
        }
        if action == "StartTransaction":
            return {"transactionId": next(self.tx_ids), "idTagInfo": {"status": "Accepted"}}
        return table.get(action, {})
