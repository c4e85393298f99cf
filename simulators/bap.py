"""A Beckn buyer app platform (BAP): its callback server and its signing client.

It shares no code with the seller's side: signatures are checked by `signing`, bodies are written by `bodies`.
Everything received is kept, valid or not; what is wrong with it stands in `problems`. `Buyer` (in `buyer`) is the
person who buys through it.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from simulators.beckn_schema import ClassicSchemas, EverySchema, Schemas
from simulators.bodies import Json
from simulators.clock import wall_ms, written
from simulators.signing import Identity, SignatureError, read_registry, sign, signer, verify
from simulators.tongues import V2_HEADER
from simulators.transcript import Transcript

PREFIX = "/bap/receiver"
MAX_BODY = 4 * 2**20
ACK_TIMEOUT_S = 10.0
# A peer with a clock slightly behind and no tolerance must not refuse us (BECKN 2.2).
BACKDATE_S = 2


class NackedError(Exception):
    """The seller refused a request at once."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"HTTP {status}: {json.dumps(body, ensure_ascii=False)[:500]}")
        self.status, self.body = status, body


class RefusedError(Exception):
    """The seller's callback carries an error."""

    def __init__(self, code: str, message: str, body: Json) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.body = code, body


class NoCallbackError(AssertionError):
    """The awaited callback did not come in time."""


@dataclass(frozen=True, slots=True)
class Callback:
    """One received message, kept whatever it was worth."""

    action: str
    body: Json
    at_ms: int
    signature_fault: str | None = None
    schema_faults: tuple[str, ...] = ()

    @property
    def context(self) -> Json:
        context: Json = self.body.get("context", {})
        return context

    @property
    def order(self) -> Json:
        order: Json = self.body.get("message", {}).get("order", {})
        return order

    @property
    def error(self) -> Json | None:
        """The error, at the top or inside `message`; an empty object is none (BECKN 0.1, 1.8)."""
        found = self.body.get("error") or self.body.get("message", {}).get("error")
        return found or None


@dataclass(slots=True)
class Bap:
    """The platform. Async context manager; `uri` is known once it runs.

    `registry` is the JSON file of participants the seller's key is looked up in; without it nothing can be
    verified and every callback counts as a problem. `strict`: answer NACK 400 to what breaks the schema.
    """

    identity: Identity
    registry: Path | None = None
    schemas: Schemas | ClassicSchemas | EverySchema | None = None
    strict: bool = False
    host: str = "127.0.0.1"
    port: int = 0
    public_uri: str | None = None
    gateway: str | None = None  # of `csms-sim gateway`, http://KEY:SECRET@HOST:PORT: what drivers pay at
    transcript: Transcript = field(default_factory=Transcript)
    received: list[Callback] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    patches: list[tuple[str, Json]] = field(default_factory=list)  # sessions told to a tracking address: (name, body)
    uri: str = ""
    _runner: web.AppRunner | None = None
    _client: aiohttp.ClientSession | None = None
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post(f"{PREFIX}/{{action:.+}}", self._receive)
        app.router.add_patch(f"{PREFIX}/sessions/{{name}}", self._patched)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        await site.start()
        port = self._runner.addresses[0][1]
        self.uri = self.public_uri or f"http://{self.host}:{port}{PREFIX}"
        self._client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ACK_TIMEOUT_S))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()
        if self._runner is not None:
            await self._runner.cleanup()

    # -- sending -------------------------------------------------------------------------------------------------

    def context(
        self, action: str, transaction_id: str, bpp: tuple[str, str] | None, header: Mapping[str, Any] = V2_HEADER
    ) -> Json:
        """A fresh context; `bpp` is (bpp_id, bpp_uri), absent in a discover; `header` says the dialect."""
        context: Json = {
            **header,
            "action": action,
            "bap_id": self.identity.subscriber_id,
            "bap_uri": self.uri,
            "transaction_id": transaction_id,
            "message_id": str(uuid.uuid4()),
            "timestamp": written(wall_ms()),
        }
        return context | ({"bpp_id": bpp[0], "bpp_uri": bpp[1]} if bpp else {})

    async def post(self, url: str, body: Json) -> Json:
        """Sign and send one request to `url`; the ACK's body. Raises NackedError."""
        raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        self.transcript.add(self.identity.subscriber_id, "sent", body)
        created = int(time.time()) - BACKDATE_S
        headers = {"Content-Type": "application/json", "Authorization": sign(self.identity, raw, created)}
        status, answer = await self._send(url, raw, headers)
        verdicts = _verdicts(answer)
        if status >= 400 or "NACK" in verdicts:
            raise NackedError(status, answer)
        if "ACK" not in verdicts:
            self.problems.append(f"{body['context']['action']}: answered without an ACK: {answer!r}"[:300])
        return answer if isinstance(answer, dict) else {}

    async def pay(self, url: str, status: str) -> Any:
        """Be the person at the payment page: tell it `paid` or `authorized`, or pay at the gateway.

        Raises NackedError.
        """
        self.transcript.add(self.identity.subscriber_id, "note", f"payment page {url}: {status}")
        if self.gateway is None:
            told: Json = {"status": status}
        else:
            await self._open(url)  # the page is what makes it payable there; that it is a hold is known there
            url, told = f"{self.gateway.rstrip('/')}/sim/pay", {"order": url.rsplit("/", 1)[-1]}
        code, answer = await self._send(url, json.dumps(told).encode(), {"Content-Type": "application/json"})
        if code == 405 and self.gateway is None:
            answer = "this page takes no payment: it is paid at a gateway, name it with --gateway"
        if code >= 400:
            raise NackedError(code, answer)
        return answer

    async def _open(self, url: str) -> None:
        if self._client is None:
            raise RuntimeError("the platform is not running: use `async with Bap(…)`")
        async with self._client.get(url) as response:
            if response.status >= 400:
                raise NackedError(response.status, await response.text())

    async def _send(self, url: str, raw: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        if self._client is None:
            raise RuntimeError("the platform is not running: use `async with Bap(…)`")
        async with self._client.post(url, data=raw, headers=headers) as response:
            text = await response.text()
            try:
                answer = json.loads(text) if text else {}
            except ValueError:
                answer = text
        self.transcript.add(self.identity.subscriber_id, "received", answer)
        return response.status, answer

    # -- receiving -----------------------------------------------------------------------------------------------

    async def wait_for(
        self,
        action: str,
        transaction_id: str,
        *,
        is_it: Callable[[Callback], bool] = lambda _: True,
        after: int = 0,
        timeout_s: float = 10.0,
    ) -> Callback:
        """The first callback from position `after` on that is of this action and transaction and fits `is_it`.

        What is not properly signed is never taken. Raises NoCallbackError with what came instead.
        """

        def found() -> Callback | None:
            mine = (c for c in self.received[after:] if c.context.get("transaction_id") == transaction_id)
            genuine = (c for c in mine if c.action == action and c.signature_fault is None)
            return next((c for c in genuine if is_it(c)), None)

        try:
            async with asyncio.timeout(timeout_s), self._news:
                while (callback := found()) is None:
                    await self._news.wait()
                return callback
        except TimeoutError:
            came = [
                f"{c.action} ({c.signature_fault})" if c.signature_fault else c.action for c in self.received[after:]
            ]
            raise NoCallbackError(f"no fitting {action} within {timeout_s} s; came: {came or 'nothing'}") from None

    def messages(self, transaction_id: str, action: str | None = None) -> list[Callback]:
        """What was received for one transaction and properly signed, oldest first."""
        genuine = (c for c in self.received if c.signature_fault is None)
        mine = [c for c in genuine if c.context.get("transaction_id") == transaction_id]
        return [c for c in mine if action is None or c.action == action]

    async def _patched(self, request: web.Request) -> web.Response:
        """A session told to the address that a `track` gave (BECKN 5.6)."""
        body = await request.json()
        async with self._news:
            self.patches.append((request.match_info["name"], body))
            self._news.notify_all()
        return web.json_response({})

    async def _receive(self, request: web.Request) -> web.Response:
        raw = await request.read()
        path = request.match_info["action"]
        try:
            body = json.loads(raw)
            context = body["context"]
            action = str(context["action"])
        except (ValueError, KeyError, TypeError):
            self.problems.append(f"{path}: not a Beckn message: {raw[:200]!r}")
            return web.json_response({"error": {"code": "30000", "message": "no context.action"}}, status=400)
        self.transcript.add(self.identity.subscriber_id, "received", body)
        signature_fault = self._signature_fault(request.headers.get("Authorization"), raw, context)
        faults = tuple(self.schemas.faults(action, body)) if self.schemas else ()
        callback = Callback(action, body, wall_ms(), signature_fault, faults)
        self.problems += [f"{action}: {fault}" for fault in self._faults(callback, path)]
        async with self._news:
            self.received.append(callback)
            self._news.notify_all()
        if signature_fault is not None:
            challenge = f'Signature realm="{self.identity.subscriber_id}",headers="(created) (expires) digest"'
            return self._answer(context, 401, signature_fault, {"WWW-Authenticate": challenge})
        if faults and self.strict:
            return self._answer(context, 400, faults[0])
        return self._answer(context, 200)

    def _faults(self, callback: Callback, path: str) -> list[str]:
        """All that is wrong with one callback, as sentences."""
        faults = list(callback.schema_faults)
        if callback.signature_fault is not None:
            faults.append(f"signature: {callback.signature_fault}")
        if callback.action not in {path, f"on_catalog_{path.removeprefix('catalog/on_')}"}:
            faults.append(f"posted to the path of {path}")
        if callback.context.get("bap_id") != self.identity.subscriber_id:
            faults.append(f"addressed to {callback.context.get('bap_id')}")
        faults += [
            f"no {name} in the context" for name in ("transaction_id", "message_id") if not callback.context.get(name)
        ]
        return faults

    def _signature_fault(self, header: str | None, raw: bytes, context: Json) -> str | None:
        try:
            subscriber, key = signer(header)
            if subscriber != context.get("bpp_id"):
                raise SignatureError(f"signed by {subscriber}, sent as {context.get('bpp_id')}")
            verify(header, raw, self._public_key(subscriber, key), int(time.time()))
        except SignatureError as fault:
            return str(fault)
        return None

    def _public_key(self, subscriber: str, key: str) -> str:
        entries = read_registry(self.registry) if self.registry else []
        for entry in entries:
            if (entry["subscriber_id"], entry["unique_key_id"]) == (subscriber, key):
                return str(entry["signing_public_key"])
        raise SignatureError(f"{subscriber}|{key} is not in the registry")

    def _answer(
        self, context: Json, status: int, fault: str | None = None, headers: dict[str, str] | None = None
    ) -> web.Response:
        """Shape C of BECKN 1.3, or shape A for generation 1."""
        if str(context.get("version", "")).startswith("1."):
            told: Json = {"message": {"ack": {"status": "ACK" if fault is None else "NACK"}}}
            if fault is not None:
                told["error"] = {"code": "30000", "message": fault}
            return web.json_response(told, status=status, headers=headers)
        body: Json = {
            "transaction_id": str(context.get("transaction_id", "")),
            "timestamp": written(wall_ms()),
            "ack_status": "ACK" if fault is None else "NACK",
        }
        if fault is not None:
            code = "AUT_SIGNATURE_INVALID" if status == 401 else "SCH_INVALID_FORMAT"
            body["error"] = {"code": code, "message": fault}
        return web.json_response(body, status=status, headers=headers)


def _verdicts(answer: Any) -> set[str]:
    """Every place where ACK or NACK may stand (BECKN 1.3)."""
    if not isinstance(answer, dict):
        return set()
    message = answer.get("message")
    message = message if isinstance(message, dict) else {}
    ack = message.get("ack")
    ack = ack if isinstance(ack, dict) else {}
    places = (ack.get("status"), message.get("status"), answer.get("ack_status"), answer.get("status"))
    return {place for place in places if isinstance(place, str)}
