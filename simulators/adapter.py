"""Adapters between a network and a seller, for trials: what ONIX and a protocol server do to messages (BECKN 8).

Both verify and sign on the network's side and speak unsigned with the seller behind them, over real HTTP. They share no
code with the seller and know its messages only as far as the adapters do: the context.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from simulators.clock import wall_ms, written
from simulators.signing import Identity, SignatureError, read_registry, sign, signer, verify

Json = dict[str, Any]
WEBHOOK_S = 5.0  # ONIX waits so long for the head of an answer
ACK: Json = {"message": {"ack": {"status": "ACK"}}}


def nack(code: str, message: str, paths: str | None = None) -> Json:
    """As ONIX 1.3 says no: the error inside `message`."""
    error = {"code": code, "message": message} | ({"paths": paths} if paths is not None else {})
    return {"message": {"ack": {"status": "NACK"}, "error": error}}


@dataclass(slots=True)
class _Adapter:
    """What both have: an identity, the registry's file, a port."""

    identity: Identity
    registry: Path
    log: list[str] = field(default_factory=list)
    received: list[tuple[str, Json]] = field(default_factory=list)  # callbacks of the seller: path, body
    uri: str = ""
    _runner: web.AppRunner | None = None
    _http: aiohttp.ClientSession | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=4 * 2**20)
        self.add_routes(app)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.uri = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def add_routes(self, app: web.Application) -> None:
        raise NotImplementedError

    @property
    def http(self) -> aiohttp.ClientSession:
        assert self._http is not None
        return self._http

    def check(self, header: str | None, raw: bytes) -> None:
        """Raise SignatureError unless a listed participant signed it."""
        subscriber, key = signer(header)
        for entry in read_registry(self.registry):
            if (entry["subscriber_id"], entry["unique_key_id"]) == (subscriber, key):
                return verify(header, raw, entry["signing_public_key"], int(time.time()))
        raise SignatureError(f"{subscriber}|{key} is not in the registry")

    def signed(self, raw: bytes) -> dict[str, str]:
        """The headers of a message to the network."""
        return {"Content-Type": "application/json", "Authorization": sign(self.identity, raw, int(time.time()))}


@dataclass(slots=True)
class Onix(_Adapter):
    """ONIX 1.3 as a BPP's adapter. `receiver_rules`, `caller_rules`: its routing files, read; `webhook_headers`: what a
    reverse proxy behind it adds; `faults(action, body)`: what its schema validator finds wrong with a callback."""

    receiver_rules: Sequence[Json] = ()
    caller_rules: Sequence[Json] = ()
    webhook: str = ""  # takes the place of the host in a rule's target
    webhook_headers: dict[str, str] = field(default_factory=dict)
    faults: Callable[[str, Json], Sequence[str]] = lambda _action, _body: ()
    fail_next: dict[str, int] = field(default_factory=dict)  # transaction id -> what its next callback is answered

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/bpp/receiver/{action}", self._receive)
        app.router.add_post("/bpp/caller/{action:.+}", self._call)

    @property
    def receiver_uri(self) -> str:
        """What is registered, and stands in bpp_uri."""
        return f"{self.uri}/bpp/receiver"

    @property
    def caller_url(self) -> str:
        """Where the seller posts callbacks."""
        return f"{self.uri}/bpp/caller"

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        """validateSign, addRoute, then a reverse proxy: the answer of the webhook is the answer."""
        raw, action = await request.read(), request.match_info["action"]
        try:
            self.check(request.headers.get("Authorization"), raw)
        except SignatureError as fault:
            header = {"WWW-Authenticate": f'Signature realm="{self.identity.subscriber_id}"'}
            said = nack("Unauthorized", f"Signature Validation Error: {fault}")
            return web.json_response(said, status=401, headers=header)
        rule = self._rule(self.receiver_rules, json.loads(raw)["context"], action)
        if rule is None:
            return web.json_response(nack("Bad Request", f"no route for {action}"), status=400)
        passed = {n: v for n, v in request.headers.items() if n.lower() not in {"host", "content-length"}}
        headers = passed | {
            "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": request.host, "X-Module-Name": "bppTxnReceiver",
            "X-Role": "bpp",
        } | self.webhook_headers  # fmt: skip
        try:
            async with (
                asyncio.timeout(WEBHOOK_S),
                self.http.post(f"{self.webhook}/{action}", data=raw, headers=headers) as answer,
            ):
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            return web.Response(status=502)
        self.log.append(f"{action}: {answer.status}")
        kept = {n: v for n, v in answer.headers.items() if n in {"Content-Type", "WWW-Authenticate", "Retry-After"}}
        return web.Response(status=answer.status, body=body, headers=kept)

    async def _call(self, request: web.Request) -> web.StreamResponse:
        """addRoute, sign, validateSchema, then on to the buyer app; its answer is relayed."""
        raw, path = await request.read(), request.match_info["action"]
        body = json.loads(raw)
        context = body["context"]
        self.received.append((path, body))
        if (status := self.fail_next.pop(context["transaction_id"], None)) is not None:
            said = (
                nack("Bad Request", "the message breaks its schema", "message.order")
                if status == 400
                else nack("Internal Server Error", "later")
            )
            return web.json_response(said, status=status)
        if "Authorization" in request.headers:
            self.log.append("the seller signed, though the adapter does")
        rule = self._rule(self.caller_rules, context, path.rpartition("/")[2])
        if rule is None:
            return web.json_response(nack("Internal Server Error", f"no route for {path}"), status=500)
        if context["bpp_id"] != self.identity.subscriber_id:
            return web.json_response(nack("Internal Server Error", "keyset not found"), status=500)
        if found := self.faults(context["action"], body):
            return web.json_response(nack("Bad Request", found[0]), status=400)
        target = context["bap_uri"] if rule["targetType"] == "bap" else rule["target"]["url"]
        url = f"{target.removesuffix('/')}/{path.rpartition('/')[2]}"
        try:
            async with self.http.post(url, data=raw, headers=self.signed(raw)) as answer:
                return web.Response(status=answer.status, body=await answer.read(), content_type="application/json")
        except aiohttp.ClientError:
            return web.Response(status=502)

    @staticmethod
    def _rule(rules: Sequence[Json], context: Json, endpoint: str) -> Json | None:
        version = context["version"]
        for rule in rules:
            fits = rule["version"] == version and (version.startswith("2.") or rule["domain"] == context["domain"])
            if fits and endpoint in rule["endpoints"]:
                return rule
        return None


@dataclass(slots=True)
class ProtocolServer(_Adapter):
    """A protocol server (BPP): the network is acknowledged at once, the webhook is called afterwards, at one address
    for every action. Solicited answers are told by their message id; others go to the registry's address."""

    webhook: str = ""
    shared_key: str | None = None
    _open: dict[str, Json] = field(default_factory=dict)  # message id -> the context it came with

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/network/{action}", self._receive)
        app.router.add_post("/client/{action}", self._call)

    @property
    def network_uri(self) -> str:
        """What is registered."""
        return f"{self.uri}/network"

    @property
    def client_url(self) -> str:
        """Where the seller posts callbacks."""
        return f"{self.uri}/client"

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        context = json.loads(raw)["context"]
        try:
            self.check(request.headers.get("Authorization"), raw)
        except SignatureError:
            said = {"message": {"ack": {"status": "NACK"}}, "error": {"message": "Authentication failed"}}
            return web.json_response(said, status=401)
        self._open[context["message_id"]] = context
        self._spawn(self._tell(raw))
        return web.json_response({"context": context, **ACK}, status=202)

    async def _tell(self, raw: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        if self.shared_key is not None:
            mac = hmac.new(self.shared_key.encode(), raw, hashlib.sha256).hexdigest()
            headers["authorization"] = f"HMAC-SHA-256 {mac}"
        for _ in range(3):
            try:
                async with self.http.post(self.webhook, data=raw, headers=headers) as answer:
                    self.log.append(f"webhook: {answer.status} {(await answer.text())[:300]}")
                    if answer.status < 500:
                        return
            except aiohttp.ClientError as error:
                self.log.append(f"webhook: {error}")

    async def _call(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        context = body["context"]
        self.received.append((request.match_info["action"], body))
        asked = self._open.get(context["message_id"])
        solicited = asked is not None and context["action"] == f"on_{asked['action']}"
        target = context["bap_uri"] if solicited else self._registered(context["bap_id"])
        location = {"country": {"code": "IND"}, "city": {"code": "std:080"}}
        changed = {"timestamp": written(wall_ms()), "ttl": "PT30S", "location": context.get("location", location)}
        raw = json.dumps({**body, "context": context | changed}, ensure_ascii=False).encode()
        self._spawn(self._forward(f"{target}/{context['action']}", raw))
        return web.json_response({"context": context, **ACK}, status=202)

    async def _forward(self, url: str, raw: bytes) -> None:
        async with self.http.post(url, data=raw, headers=self.signed(raw)) as answer:
            self.log.append(f"forwarded: {answer.status}")

    def _registered(self, subscriber_id: str) -> str:
        for entry in read_registry(self.registry):
            if entry["subscriber_id"] == subscriber_id:
                return str(entry["subscriber_url"])
        raise KeyError(subscriber_id)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
