"""The two servers we measure ourselves against: `python -m benchmarks.yardsticks bare|ocpp`.

`bare` is what the `websockets` library alone costs: plain recv and send, stock asyncio, no compression, a constant
answer. `ocpp` is the plain central system of the `ocpp` library with handlers that store nothing, on uvloop, with
its default settings. Both announce themselves as our server does: `ready NAME URL`, then `ready`.
"""

# The ocpp package ships no types, so its base class and its decorators are Any to mypy.
# mypy: disable-error-code="misc,untyped-decorator"

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from ocpp.routing import on
from ocpp.v16 import ChargePoint, call_result
from ocpp.v16.datatypes import IdTagInfo
from ocpp.v16.enums import Action, AuthorizationStatus, RegistrationStatus
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

NOW = "2026-01-01T00:00:00.000Z"
ACCEPTED = IdTagInfo(status=AuthorizationStatus.accepted)
OCPP16 = [Subprotocol("ocpp1.6")]


async def answer_constant(connection: ServerConnection) -> None:
    """Answer every call with the same payload; the message id is cut out of the bytes, nothing is parsed."""
    try:
        while True:
            message = await connection.recv(decode=False)
            answer = b'[3,"' + message.split(b'"', 2)[1] + b'",{"currentTime":"2026-01-01T00:00:00.000Z"}]'
            await connection.send(answer, text=True)
    except ConnectionClosed:
        return


class StoresNothing(ChargePoint):
    """The library's central system: it validates, converts and answers, and forgets."""

    _next_transaction = 0

    @on(Action.boot_notification)
    def boot(self, **_: Any) -> call_result.BootNotification:
        return call_result.BootNotification(current_time=NOW, interval=300, status=RegistrationStatus.accepted)

    @on(Action.heartbeat)
    def heartbeat(self) -> call_result.Heartbeat:
        return call_result.Heartbeat(current_time=NOW)

    @on(Action.authorize)
    def authorize(self, **_: Any) -> call_result.Authorize:
        return call_result.Authorize(id_tag_info=ACCEPTED)

    @on(Action.status_notification)
    def status(self, **_: Any) -> call_result.StatusNotification:
        return call_result.StatusNotification()

    @on(Action.meter_values)
    def meter(self, **_: Any) -> call_result.MeterValues:
        return call_result.MeterValues()

    @on(Action.start_transaction)
    def start_transaction(self, **_: Any) -> call_result.StartTransaction:
        StoresNothing._next_transaction += 1
        return call_result.StartTransaction(transaction_id=StoresNothing._next_transaction, id_tag_info=ACCEPTED)

    @on(Action.stop_transaction)
    def stop_transaction(self, **_: Any) -> call_result.StopTransaction:
        return call_result.StopTransaction(id_tag_info=ACCEPTED)


async def answer_with_library(connection: ServerConnection) -> None:
    """One charger of the `ocpp` library's central system."""
    assert connection.request is not None
    try:
        await StoresNothing(connection.request.path.rsplit("/", 1)[1], connection).start()
    except ConnectionClosed:
        return


async def stand(handler: Callable[[ServerConnection], Awaitable[None]], **options: Any) -> None:
    """Listen on an OS-assigned port until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with serve(handler, "127.0.0.1", 0, subprotocols=OCPP16, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(f"ready ocpp ws://127.0.0.1:{port}/ocpp\nready", flush=True)
        await ended.wait()


def main(which: str) -> None:
    """Run one yardstick."""
    logging.basicConfig(level=logging.ERROR)
    if which == "bare":
        # glibc serves asyncio's 256 KiB receive buffer by mmap until a block of that size was freed once: 17 us per
        # message, cured by one line. The yardstick gets the cure, or beating it would mean nothing.
        bytearray(1 << 20)
        asyncio.run(stand(answer_constant, compression=None))
    elif which == "ocpp":
        import uvloop

        uvloop.run(stand(answer_with_library))
    else:
        sys.exit(f"which yardstick? bare or ocpp, not {which!r}")


if __name__ == "__main__":
    main(sys.argv[1])
