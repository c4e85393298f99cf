"""A payment gateway to test against: a real HTTP server with books of its own, webhooks, and trouble on demand.

    async with Gateway(webhook_url=…) as gateway:         # gateway.url, .key_id, .key_secret, .webhook_secret
        gateway.books.pay(receipt)                        # a driver pays
        gateway.trouble.drop_after = 1                    # the next request acts, and its answer is lost

Over HTTP the same stands below `/sim/`: `POST pay {order, works}`, `POST trouble {…}`, `POST flush`, `GET books`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from simulators.gateway_books import Books, Json, Refused, shown

_TICK_S = 0.05
_REPEATS_S = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass
class Trouble:
    """What goes wrong now. Counts go down with each request they spoil; -1 never ends."""

    outage: int = 0  # requests that are answered 503 and do nothing
    drop_after: int = 0  # requests that act, and whose connection is dropped before the answer
    delay_s: float = 0  # the answer comes so long after the act
    delay_after: dict[str, float] = field(default_factory=dict)  # the same, for paths that end like this
    lose_webhooks: bool = False
    keep_webhooks: bool = False  # they wait for `flush`, which sends them in the opposite order
    copies: int = 1  # how often each webhook is sent
    wrong_signature: bool = False


@dataclass
class Request:
    """One request to the API, for witnesses."""

    method: str
    path: str
    body: Json | None
    status: int


@dataclass
class Gateway:
    """Started by `async with`. Without `webhook_url` nothing is told to anybody."""

    webhook_url: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    key_id: str = field(default_factory=lambda: f"key_{secrets.token_hex(6)}")
    key_secret: str = field(default_factory=lambda: secrets.token_hex(16))
    webhook_secret: str = field(default_factory=lambda: secrets.token_hex(16))
    trouble: Trouble = field(default_factory=Trouble)
    now: Callable[[], float] = time.time
    requests: list[Request] = field(default_factory=list)
    webhooks: list[tuple[str, int]] = field(default_factory=list)  # event id, HTTP status (0: no answer)
    _answers: dict[str, tuple[str, int, Json]] = field(default_factory=dict)  # by idempotency key
    _kept: list[tuple[str, bytes]] = field(default_factory=list)
    _sending: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.books = Books(now=self._time, tell=self._happened)
        self.url = ""

    def _time(self) -> float:
        return self.now()

    async def __aenter__(self) -> Gateway:
        app = web.Application(middlewares=[self._middleware])
        app.add_routes(self._routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://{self.host}:{self.port}"
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        self._clockwork = asyncio.create_task(self._pass_time())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._clockwork, *self._sending):
            task.cancel()
        await asyncio.gather(self._clockwork, *self._sending, return_exceptions=True)
        await self._runner.cleanup()
        await self._http.close()

    # -- the API

    def _routes(self) -> list[web.RouteDef]:
        books = self.books

        def said(answer: Callable[[web.Request, Json], Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
            async def handle(request: web.Request) -> web.Response:
                body = await _body(request)
                found = answer(request, body)
                if not isinstance(found, list):
                    return web.json_response(shown(found))
                items = [shown(one) for one in found]
                return web.json_response({"entity": "collection", "count": len(items), "items": items})

            return handle

        def listed(request: web.Request, _: Json) -> list[Json]:
            receipt = request.query.get("receipt")
            return [order for order in books.orders.values() if receipt in {None, order["receipt"]}]

        return [
            web.post("/v1/orders", said(lambda _, body: books.new_order(body))),
            web.get("/v1/orders", said(listed)),
            web.get("/v1/orders/{id}", said(lambda r, _: books.order(r.match_info["id"]))),
            web.get("/v1/orders/{id}/payments", said(lambda r, _: books.payments_of(r.match_info["id"]))),
            web.post("/v1/payments/create/upi", said(lambda _, body: books.new_intent(body))),
            web.get("/v1/payments/{id}", said(lambda r, _: books.payment(r.match_info["id"]))),
            web.post("/v1/payments/{id}/capture", said(lambda r, body: books.capture(r.match_info["id"], body))),
            web.post("/v1/payments/{id}/void", said(lambda r, _: books.void(r.match_info["id"]))),
            web.post("/v1/payments/{id}/refund", said(lambda r, body: books.refund(r.match_info["id"], body))),
            web.get("/v1/payments/{id}/refunds", said(lambda r, _: books.refunds_of(r.match_info["id"]))),
            web.post("/sim/pay", self._sim_pay),
            web.post("/sim/trouble", self._sim_trouble),
            web.post("/sim/flush", self._sim_flush),
            web.get("/sim/books", self._sim_books),
        ]

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith("/sim/"):
            return await self._guarded(request, handler)
        if self._is_spoilt("outage"):
            self._note(request, None, 503)
            return web.json_response(_error("SERVER_ERROR", "we are busy; try again"), status=503)
        raw = await request.read()
        key = request.headers.get("X-Idempotency-Key")
        fingerprint = f"{request.method} {request.path} {raw.decode(errors='replace')}"
        known = self._answers.get(key) if key is not None else None
        if known is not None:
            is_same = known[0] == fingerprint
            body = known[2] if is_same else _error("BAD_REQUEST_ERROR", "the key was used for another request")
            answer = web.json_response(body, status=known[1] if is_same else 400)
        else:
            answer = await self._guarded(request, handler)
            if key is not None and answer.status < 500 and answer.body is not None:
                self._answers[key] = (fingerprint, answer.status, json.loads(answer.body))  # type: ignore[arg-type]
        self._note(request, raw, answer.status)
        if request.method == "POST" and self._is_spoilt("drop_after"):
            assert request.transport is not None
            request.transport.close()
        else:
            delays = self.trouble.delay_after.items()
            delay_s = next((s for end, s in delays if request.path.endswith(end)), self.trouble.delay_s)
            await asyncio.sleep(delay_s)
        return answer

    async def _guarded(self, request: web.Request, handler: Any) -> web.Response:
        expected = "Basic " + base64.b64encode(f"{self.key_id}:{self.key_secret}".encode()).decode()
        if request.headers.get("Authorization") != expected:
            return web.json_response(_error("BAD_REQUEST_ERROR", "authentication failed"), status=401)
        try:
            answer: web.Response = await handler(request)
        except Refused as refused:
            return web.json_response(_error("BAD_REQUEST_ERROR", str(refused)), status=refused.status)
        return answer

    def _is_spoilt(self, what: str) -> bool:
        left: int = getattr(self.trouble, what)
        if left > 0:
            setattr(self.trouble, what, left - 1)
        return left != 0

    def _note(self, request: web.Request, raw: bytes | None, status: int) -> None:
        self.requests.append(Request(request.method, request.path, json.loads(raw) if raw else None, status))

    # -- for tests in another process

    async def _sim_pay(self, request: web.Request) -> web.Response:
        body = await _body(request)
        return web.json_response(shown(self.books.pay(str(body.get("order")), works=bool(body.get("works", True)))))

    async def _sim_trouble(self, request: web.Request) -> web.Response:
        for name, value in (await _body(request)).items():
            if not hasattr(self.trouble, name):
                raise Refused(f"there is no trouble {name}")
            setattr(self.trouble, name, value)
        return web.json_response(asdict(self.trouble))

    async def _sim_flush(self, _: web.Request) -> web.Response:
        return web.json_response({"sent": self.flush()})

    async def _sim_books(self, _: web.Request) -> web.Response:
        books = self.books
        tables = {"orders": books.orders, "payments": books.payments, "refunds": books.refunds}
        entities = {name: [shown(one) for one in table.values()] for name, table in tables.items()}
        return web.json_response(entities | {"totals": books.totals(), "webhooks": self.webhooks})

    # -- webhooks

    def _happened(self, event: str, entities: dict[str, Json]) -> None:
        body = {
            "entity": "event", "account_id": "acc_simulated", "event": event, "contains": list(entities),
            "payload": {name: {"entity": shown(entity)} for name, entity in entities.items()},
            "created_at": int(self.now()),
        }  # fmt: skip
        told = (f"evt_{secrets.token_hex(7)}", json.dumps(body).encode())
        if self.trouble.lose_webhooks or self.webhook_url is None:
            return
        if self.trouble.keep_webhooks:
            self._kept.append(told)
            return
        self._send(*told)

    def flush(self) -> int:
        """Send what was kept back, the newest first; how many."""
        kept, self._kept = self._kept, []
        for told in reversed(kept):
            self._send(*told)
        return len(kept)

    def _send(self, event_id: str, body: bytes) -> None:
        for _ in range(self.trouble.copies):
            task = asyncio.get_running_loop().create_task(self._deliver(event_id, body))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _deliver(self, event_id: str, body: bytes) -> None:
        """At least once: again until somebody answers 2xx. A wrong signature is sent once, it never gets better."""
        for pause_s in _REPEATS_S:
            status = await self.post_webhook(event_id, body)
            if 200 <= status < 300 or self.trouble.wrong_signature:
                return
            await asyncio.sleep(pause_s)

    async def post_webhook(self, event_id: str, body: bytes, signature: str | None = None) -> int:
        """One delivery; the HTTP status, 0 when nobody answered."""
        assert self.webhook_url is not None
        secret = "wrong" if self.trouble.wrong_signature else self.webhook_secret
        signed = signature if signature is not None else hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "X-Orderpay-Signature": signed,
            "x-orderpay-event-id": event_id,
        }
        try:
            async with self._http.post(self.webhook_url, data=body, headers=headers) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        self.webhooks.append((event_id, status))
        return status

    async def told(self) -> None:
        """Wait until every webhook under way has been taken."""
        while self._sending:
            await asyncio.gather(*self._sending, return_exceptions=True)

    async def _pass_time(self) -> None:
        while True:
            self.books.pass_time()
            await asyncio.sleep(_TICK_S)


async def _body(request: web.Request) -> Json:
    raw = await request.read()
    if not raw:
        return {}
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise Refused("the body is not JSON") from error
    if not isinstance(body, dict):
        raise Refused("the body is no object")
    return body


def _error(code: str, description: str) -> Json:
    return {"error": {"code": code, "description": description}}
