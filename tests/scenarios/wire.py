"""A charger of raw frames: sends what a test says, byte for byte if need be, and answers our calls by a table.

    async with Station(server, "CP-1", "ocpp1.6") as cp:
        await cp.boot()
        cp.table["Reset"] = {"status": "Accepted"}
        number = (await cp.ask("StartTransaction", {...}))["transactionId"]

It knows nothing of charging: every frame is the test's own word, so that a wrong answer is the server's.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ssl import SSLContext
from typing import Any, Final, Self
from urllib.parse import urlsplit

from running import Server
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

V16: Final = "ocpp1.6"
V201: Final = "ocpp2.0.1"
PATIENCE_S: Final = 15.0

Payload = dict[str, Any]
Reply = Payload | Callable[[Payload], Any] | None  # a payload, a function of the question, or silence


class Gone(Exception):
    """The link went before the answer came."""


class Refuse(Exception):
    """Raised by a function of the table: answer with a CALLERROR of this code."""


def at(seconds: float = 0) -> str:
    """Now plus `seconds` as chargers write it."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Station:
    """One charger; `connect` may be called again and again."""

    def __init__(
        self,
        server: Server,
        identity: str,
        version: str = V16,
        *,
        password: str | bytes | None = None,
        user: str | None = None,
        offers: Sequence[str] | None = None,
        path: str | None = None,
        tls: SSLContext | None = None,
        listener: str = "ocpps",
    ) -> None:
        self.server = server
        self.id = identity
        self.version = version
        self.password = password
        self.user = user if user is not None else identity
        self.offers = [version] if offers is None else list(offers)
        self.path = path if path is not None else f"/{identity}"
        self.tls = tls  # None: without TLS
        self.listener = listener
        self.table: dict[str, Reply] = {
            "TriggerMessage": {"status": "Rejected"},
            "GetTransactionStatus": {"messagesInQueue": True},
        }
        self.address = ""  # where it called from last, as the server sees it
        self.asked: list[tuple[str, Payload]] = []  # what the server asked, in order
        self.heard: list[Any] = []  # every frame that was no answer to `call`, parsed
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._answers: dict[str, asyncio.Future[list[Any]]] = {}
        self._replies: set[asyncio.Task[None]] = set()
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- the socket

    async def connect(self) -> None:
        """Open a (new) socket. One that is open is left as it is, as a half-open one would be."""
        headers = {}
        if self.password is not None:
            word = self.password if isinstance(self.password, bytes) else self.password.encode()
            headers["Authorization"] = "Basic " + base64.b64encode(self.user.encode() + b":" + word).decode()
        base = self.server.ocpp_url if self.tls is None else self.server.urls[self.listener]
        self._socket = await connect(
            base + self.path,
            sock=await self._call_from_own_port(base),
            ssl=self.tls,
            subprotocols=[Subprotocol(name) for name in self.offers] or None,
            additional_headers=headers,
            compression=None,
            ping_interval=None,
            max_size=None,
        )
        self._reader = asyncio.create_task(self._read(self._socket))

    async def _call_from_own_port(self, url: str) -> socket.socket:
        """The port is known before the server has a word to say: a refusal of this very attempt is found by it."""
        where = urlsplit(url)
        line = socket.socket(socket.AF_INET)
        line.setblocking(False)
        await asyncio.get_running_loop().sock_connect(line, (where.hostname, where.port))
        self.address = "{}:{}".format(*line.getsockname())
        return line

    @property
    def subprotocol(self) -> str | None:
        """What the server chose."""
        assert self._socket is not None
        return self._socket.subprotocol

    @property
    def cipher(self) -> str:
        """The TLS suite in use."""
        assert self._socket is not None
        return str(self._socket.transport.get_extra_info("cipher")[0])

    @property
    def peer_certificate(self) -> bytes:
        """What the server showed of itself, in DER."""
        assert self._socket is not None
        shown = self._socket.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert isinstance(shown, bytes)
        return shown

    async def close(self) -> None:
        """Hang up politely."""
        if self._socket is not None:
            await self._socket.close()
            await self._gone()

    async def cut(self) -> None:
        """The power goes: no close frame."""
        assert self._socket is not None
        if not self._socket.transport.is_closing():
            self._socket.transport.abort()
        await self._gone()

    async def closed(self) -> int | None:
        """Wait until the server hangs up; its close code."""
        assert self._socket is not None
        async with asyncio.timeout(PATIENCE_S):
            await self._socket.wait_closed()
        return self._socket.close_code

    async def _gone(self) -> None:
        if self._reader is not None:
            with suppress(asyncio.CancelledError):
                self._reader.cancel()
                await self._reader
        self._reader = self._socket = None

    # -- ours

    async def send(self, text: str | bytes) -> None:
        """These very characters (or a binary frame)."""
        assert self._socket is not None
        await self._socket.send(text)

    async def call(self, action: str, payload: Any, message_id: str | None = None) -> list[Any]:
        """The whole answer, CALLRESULT or CALLERROR."""
        message_id = message_id or uuid.uuid4().hex
        future = self.expect(message_id)
        await self.send(json.dumps([2, message_id, action, payload]))
        async with asyncio.timeout(PATIENCE_S):
            return await future

    def expect(self, message_id: str) -> asyncio.Future[list[Any]]:
        """The answer that will come under this id."""
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._answers[message_id] = future
        return future

    async def ask(self, action: str, payload: Any, message_id: str | None = None) -> Payload:
        """The payload of the answer, which must be a CALLRESULT."""
        answer = await self.call(action, payload, message_id)
        assert answer[0] == 3, f"{action} was refused: {answer}"
        assert len(answer) == 3
        assert isinstance(answer[2], dict)
        return answer[2]

    async def refused(self, action: str, payload: Any, message_id: str | None = None) -> str:
        """The error code of the answer, which must be a CALLERROR."""
        answer = await self.call(action, payload, message_id)
        assert answer[0] == 4, f"{action} was not refused: {answer}"
        assert len(answer) == 5
        return str(answer[2])

    async def is_served(self) -> bool:
        """Whether a Heartbeat is answered as it should be."""
        answer = await self.ask("Heartbeat", {})
        moment = datetime.fromisoformat(answer["currentTime"])
        return abs((datetime.now(UTC) - moment).total_seconds()) < 5

    # -- theirs

    async def until_asked(self, action: str, count: int = 1) -> Payload:
        """Wait for the server's `count`th CALL of this action; its payload."""
        async with asyncio.timeout(PATIENCE_S), self._news:
            while len(found := self.questions(action)) < count:
                await self._news.wait()
            return found[count - 1]

    def questions(self, action: str) -> list[Payload]:
        """Every payload the server asked this action with."""
        return [payload for name, payload in self.asked if name == action]

    async def until_heard(self, wanted: Callable[[Any], bool]) -> Any:
        """Wait for a frame that answers nothing we know of."""
        async with asyncio.timeout(PATIENCE_S), self._news:
            while True:
                for frame in self.heard:
                    if wanted(frame):
                        return frame
                await self._news.wait()

    async def _read(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            async for text in socket:
                await self._take(socket, json.loads(text))
        for future in self._answers.values():
            if not future.done():
                future.set_exception(Gone())
                future.exception()  # whoever waits gets it; if nobody does, that is all right
        self._answers.clear()

    async def _take(self, socket: ClientConnection, frame: Any) -> None:
        if isinstance(frame, list) and frame[0] == 2 and len(frame) == 4:
            async with self._news:
                self.asked.append((frame[2], frame[3]))
                self._news.notify_all()
            # A slow answer of ours must not keep us from hearing the server's.
            task = asyncio.create_task(self._reply(socket, frame))
            self._replies.add(task)
            task.add_done_callback(self._replies.discard)
            return
        future = self._answers.pop(str(frame[1]), None) if isinstance(frame, list) and len(frame) > 1 else None
        if future is not None and not future.done():
            future.set_result(frame)
            return
        async with self._news:
            self.heard.append(frame)
            self._news.notify_all()

    async def _reply(self, socket: ClientConnection, frame: list[Any]) -> None:
        with suppress(ConnectionClosed):
            await self._answer(socket, *frame[1:])

    async def _answer(self, socket: ClientConnection, message_id: str, action: str, payload: Payload) -> None:
        if action not in self.table:
            await socket.send(json.dumps([4, message_id, "NotImplemented", "", {}]))
            return
        reply = self.table[action]
        try:
            answer = reply(payload) if callable(reply) else reply
            if isinstance(answer, Awaitable):
                answer = await answer
        except Refuse as refusal:
            await socket.send(json.dumps([4, message_id, str(refusal), "", {}]))
            return
        if answer is not None:
            await socket.send(json.dumps([3, message_id, answer]))


class Station16(Station):
    """The sentences of OCPP 1.6."""

    async def boot(self, **more: Any) -> Payload:
        """BootNotification."""
        return await self.ask("BootNotification", {"chargePointVendor": "V", "chargePointModel": "M", **more})

    async def status(self, status: str, connector: int = 1, error: str = "NoError", **more: Any) -> None:
        """StatusNotification, answered `{}`."""
        said = {"connectorId": connector, "status": status, "errorCode": error, "timestamp": at(), **more}
        assert await self.ask("StatusNotification", said) == {}

    async def authorize(self, tag: str) -> Payload:
        """Authorize; the idTagInfo."""
        answer = await self.ask("Authorize", {"idTag": tag})
        info: Payload = answer["idTagInfo"]
        return info

    def start_of(self, tag: str, wh: int, *, connector: int = 1, when: str | None = None, **more: Any) -> Payload:
        """The payload of a StartTransaction, of 20 s ago: a test's energy needs time to have flowed."""
        return {"connectorId": connector, "idTag": tag, "meterStart": wh, "timestamp": when or at(-20), **more}

    async def start(self, tag: str, wh: int, **more: Any) -> Payload:
        """StartTransaction; its answer."""
        return await self.ask("StartTransaction", self.start_of(tag, wh, **more))

    async def meter(self, number: int | None, wh: float, *, connector: int = 1, when: str | None = None) -> None:
        """MeterValues of one register, answered `{}`."""
        sample = {"value": str(wh), "measurand": "Energy.Active.Import.Register", "unit": "Wh"}
        said: Payload = {
            "connectorId": connector,
            "meterValue": [{"timestamp": when or at(), "sampledValue": [sample]}],
        }
        if number is not None:
            said["transactionId"] = number
        assert await self.ask("MeterValues", said) == {}

    def stop_of(self, number: int, wh: int, *, when: str | None = None, **more: Any) -> Payload:
        """The payload of a StopTransaction."""
        return {"transactionId": number, "meterStop": wh, "timestamp": when or at(), **more}

    async def stop(self, number: int, wh: int, **more: Any) -> Payload:
        """StopTransaction; its answer."""
        return await self.ask("StopTransaction", self.stop_of(number, wh, **more))


class Station201(Station):
    """The sentences of OCPP 2.0.1. `seq` counts as the specification wants; set it to make it wrong."""

    def __init__(self, server: Server, identity: str, version: str = V201, **more: Any) -> None:
        super().__init__(server, identity, version, **more)
        self.seq: dict[str, int] = {}

    async def boot(self, reason: str = "PowerUp") -> Payload:
        """BootNotification."""
        station = {"vendorName": "V", "model": "M"}
        return await self.ask("BootNotification", {"reason": reason, "chargingStation": station})

    async def status(self, status: str, evse: int = 1, connector: int = 1) -> None:
        """StatusNotification, answered `{}`."""
        said = {"timestamp": at(), "connectorStatus": status, "evseId": evse, "connectorId": connector}
        assert await self.ask("StatusNotification", said) == {}

    async def authorize(self, token: str, kind: str = "ISO14443") -> Payload:
        """Authorize; the idTokenInfo."""
        answer = await self.ask("Authorize", {"idToken": {"idToken": token, "type": kind}})
        info: Payload = answer["idTokenInfo"]
        return info

    def event_of(
        self,
        kind: str,
        tx: str,
        trigger: str,
        *,
        token: str | None = None,
        wh: float | None = None,
        info: Mapping[str, Any] | None = None,
        when: str | None = None,
        evse: int | None = 1,
        **more: Any,
    ) -> Payload:
        """The payload of a TransactionEvent with the next sequence number; Started was 20 s ago (see above)."""
        when = when or at(-20 if kind == "Started" else 0)
        seq = self.seq[tx] = self.seq.get(tx, -1) + 1
        said: Payload = {
            "eventType": kind, "timestamp": when or at(), "triggerReason": trigger, "seqNo": seq,
            "transactionInfo": {"transactionId": tx, **(info or {})}, **more,
        }  # fmt: skip
        if evse is not None:
            said["evse"] = {"id": evse, "connectorId": 1}
        if token is not None:
            said["idToken"] = {"idToken": token, "type": "ISO14443"}
        if wh is not None:
            context = {"Started": "Transaction.Begin", "Ended": "Transaction.End"}.get(kind, "Sample.Periodic")
            sample = {"value": wh, "context": context, "measurand": "Energy.Active.Import.Register"}
            said["meterValue"] = [{"timestamp": said["timestamp"], "sampledValue": [sample]}]
        return said

    async def event(self, kind: str, tx: str, trigger: str, **more: Any) -> Payload:
        """A TransactionEvent; its answer."""
        return await self.ask("TransactionEvent", self.event_of(kind, tx, trigger, **more))


# -- the REST API


async def sessions(server: Server, charger_id: str) -> list[Payload]:
    """The charger's sessions, oldest first."""
    found: list[Payload] = (await server.api("GET", f"/api/v1/sessions?charger_id={charger_id}"))["items"]
    return found[::-1]


async def session(server: Server, charger_id: str) -> Payload:
    """The charger's only session."""
    (only,) = await sessions(server, charger_id)
    return only


async def charger(server: Server, charger_id: str) -> Payload:
    """The charger."""
    found: Payload = await server.api("GET", f"/api/v1/chargers/{charger_id}")
    return found


async def frames(server: Server, charger_id: str, action: str | None = None) -> list[Payload]:
    """Logged frames, oldest first."""
    wanted = f"&action={action}" if action else ""
    found = await server.api("GET", f"/api/v1/chargers/{charger_id}/frames?limit=100{wanted}")
    items: list[Payload] = found["items"]
    return items[::-1]


async def idle_samples(server: Server, charger_id: str) -> list[tuple[int, int, str]]:
    """(EVSE, register in Wh, context) of every reading outside of sessions, sorted."""
    items = (await server.api("GET", f"/api/v1/chargers/{charger_id}/samples"))["items"]
    return sorted((one["evse_id"], one["register_wh"], one["context"]) for one in items)


async def token(server: Server, uid: str, status: str = "Accepted", **more: Any) -> None:
    """Make or change a token."""
    await server.api("PUT", f"/api/v1/tokens/{uid}", {"status": status, **more})


async def raw(server: Server, charger_id: str, action: str, payload: Payload, timeout_s: float = 10) -> Payload:
    """Any OCPP message through the REST API; how it went."""
    path = f"/api/v1/chargers/{charger_id}/ocpp/{action}?timeout_s={timeout_s}"
    answer: Payload = await server.api("POST", path, payload, expect=200)
    return answer


async def answered(server: Server, charger_id: str, action: str, payload: Payload) -> Payload:
    """`raw`, which must have been answered; the charger's own words."""
    outcome = await raw(server, charger_id, action, payload)
    assert outcome["status"] == "answered", outcome
    assert outcome["error"] is None
    assert outcome["message_id"]
    response: Payload = outcome["response"]
    return response


async def command(server: Server, charger_id: str, name: str, body: Payload | None = None) -> str:
    """A transport-neutral command; the instruction's id."""
    path = f"/api/v1/chargers/{charger_id}/commands/{name}"
    issued = await server.api("POST", path, {} if body is None else body, expect=202)
    return str(issued["id"])


async def instruction(server: Server, instruction_id: str, state: str | None = None) -> Payload:
    """The instruction, once it is in that state."""
    found: Payload = {}
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await server.api("GET", f"/api/v1/instructions/{instruction_id}")
            if state is None or found["state"] == state:
                return found
            assert found["state"] in {"ISSUED", "SENT", "ACCEPTED"}, f"it will never be {state}: {found}"
            await asyncio.sleep(0.02)


async def until(condition: Callable[[], Awaitable[Any]], timeout_s: float = PATIENCE_S) -> Any:
    """Ask until the answer is true; the answer."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = await condition()
            if found:
                return found
            await asyncio.sleep(0.02)


async def until_session(server: Server, charger_id: str, **wanted: Any) -> Payload:
    """Wait until the charger's only session has these members."""

    async def look() -> Payload | None:
        found = await sessions(server, charger_id)
        fits = len(found) == 1 and all(found[0][name] == value for name, value in wanted.items())
        return found[0] if fits else None

    fitting: Payload = await until(look)
    return fitting
