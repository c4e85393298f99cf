"""What drivers and gateways reach on the public listener: tracking, the payment page, payment webhooks.

Nothing here belongs to the operator API. Tracking tokens are unguessable and read-only. How a webhook is signed is
the gateway adapter's matter (docs/payments.md); a repeat of the same event changes nothing.
"""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import structlog
from aiohttp import web

from csms.app.gateways import Heard
from csms.domain.refusal import Refusal, Why
from csms.edges import paymentpage
from csms.edges.pageheaders import PLAIN as _HEADERS

log = structlog.get_logger()

_LARGEST_EVENT = 128 * 1024  # of a gateway; those seen in the field have a few KiB
_PAPERS = {"invoice": "Invoice", "credit_note": "Credit note", "debit_note": "Debit note"}


class Buying(Protocol):
    """What the public pages need of the use cases."""

    async def tracked(self, token: str) -> Mapping[str, Any] | None:
        """The live view behind a tracking token, None when there is none."""
        ...

    async def payment(self, payment_id: str) -> Mapping[str, Any] | None:
        """What the payment page shows of a payment we asked for (`paymentpage.page`)."""
        ...


class Gateways(Protocol):
    """The payment gateway, as drivers and the gateway itself reach it."""

    @property
    def name(self) -> str:
        """As in the paths."""
        ...

    async def hear(self, headers: Mapping[str, str], body: bytes) -> Heard:
        """A webhook."""
        ...

    async def ready(self, payment_id: str) -> None:
        """A driver wants to pay this now."""
        ...

    async def pay_here(self, payment_id: str, *, held: bool) -> None:
        """The simulated driver pays. Raises Refusal."""
        ...


class PublicPages:
    """Routes for the public listener. `simulated`: the payment page has buttons that pay by themselves."""

    def __init__(self, buying: Buying, gateways: Gateways, *, simulated: bool) -> None:
        self._buying = buying
        self._gateways = gateways
        self._simulated = simulated

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        routes = [
            web.get("/track/{token}", self.track),
            web.post("/payments/webhook/{provider}", self.webhook),
            web.get(f"/payments/{self._gateways.name}/{{payment_id}}", self.pay_page),
        ]
        if self._simulated:
            routes.append(web.post("/payments/simulated/{payment_id}", self.pay))
        return routes

    async def track(self, request: web.Request) -> web.Response:
        """The live view: JSON, or a small page for a browser."""
        view = await self._buying.tracked(request.match_info["token"])
        if view is None:
            return web.json_response({"error": "this link is not valid"}, status=404, headers=_HEADERS)
        if "text/html" not in request.headers.get("Accept", ""):
            return web.json_response(dict(view), headers=_HEADERS)
        rows = "".join(
            f"<tr><th scope=row>{html.escape(str(name))}</th><td>{html.escape(str(value))}</td></tr>"
            for name, value in view.items()
            if value is not None and not isinstance(value, dict | list)
        )
        papers = "".join(
            f"<li><a href='{html.escape(paper['url'])}'>{html.escape(_PAPERS[paper['kind']])}"
            f" {html.escape(paper['number'])}</a></li>"
            for paper in view.get("documents") or ()
        )
        page = (
            "<!doctype html><meta charset=utf-8><title>Charging</title><h1>Charging</h1>"
            f"<table>{rows}</table><ul>{papers}</ul>"
        )
        return web.Response(text=page, content_type="text/html", headers=_HEADERS)

    async def pay_page(self, request: web.Request) -> web.Response:
        """What a driver sees of a payment."""
        payment_id = request.match_info["payment_id"]
        await self._gateways.ready(payment_id)
        payment = await self._buying.payment(payment_id)
        if payment is None:
            return web.json_response({"error": "there is no such payment"}, status=404, headers=_HEADERS)
        text = paymentpage.page(payment, simulated=self._simulated)
        return web.Response(text=text, content_type="text/html", headers=paymentpage.HEADERS)

    async def pay(self, request: web.Request) -> web.Response:
        """The simulated driver pays (`paid`) or lets hold (`authorized`); JSON or a form."""
        try:
            if request.content_type == "application/json":
                said = await request.json()
                status = said.get("status") if isinstance(said, dict) else None
            else:
                status = (await request.post()).get("status")
        except (ValueError, LookupError, RecursionError):
            return web.json_response({"error": "the body is neither JSON nor a form"}, status=400, headers=_HEADERS)
        if status not in {"paid", "authorized"}:
            return web.json_response({"error": "status must be paid or authorized"}, status=400, headers=_HEADERS)
        return await self._tell(self._gateways.pay_here(request.match_info["payment_id"], held=status == "authorized"))

    async def webhook(self, request: web.Request) -> web.Response:
        """A gateway's event. Once its signature holds it is kept, and then never refused for what it says."""
        heard = Heard.NOBODY
        if request.match_info["provider"] == self._gateways.name:
            raw = await _at_most(request, _LARGEST_EVENT)
            heard = await self._gateways.hear(request.headers, raw)
        if heard is Heard.NOBODY:
            return web.json_response({"error": "no such gateway is configured"}, status=404, headers=_HEADERS)
        if heard is Heard.FORGED:
            return web.json_response({"error": "the signature does not fit the body"}, status=401, headers=_HEADERS)
        return web.json_response({"status": heard.value}, headers=_HEADERS)

    @staticmethod
    async def _tell(work: Awaitable[None]) -> web.Response:
        try:
            await work
        except Refusal as refusal:
            status = 404 if refusal.why is Why.UNKNOWN_ORDER else 409
            return web.json_response({"error": refusal.detail}, status=status, headers=_HEADERS)
        return web.json_response({"status": "ok"}, headers=_HEADERS)


async def _at_most(request: web.Request, limit: int) -> bytes:
    """The body; HTTP 413 as soon as it is longer: until it has ended nobody knows whose it is."""
    raw = bytearray()
    async for chunk in request.content.iter_any():
        raw += chunk
        if len(raw) > limit:
            raise web.HTTPRequestEntityTooLarge(max_size=limit, actual_size=len(raw))
    return bytes(raw)


def guarded(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    """Middleware body of the public listener: what goes wrong inside is logged here and never shown outside."""

    async def call(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.RequestPayloadError:
            return web.json_response({"error": "the body cannot be read"}, status=400, headers=_HEADERS)
        except web.HTTPException as error:
            return web.json_response({"error": error.reason}, status=error.status, headers=_HEADERS)
        except Exception:
            log.exception("public.failed", path=request.path)
            return web.json_response({"error": "this is our fault; try again"}, status=500, headers=_HEADERS)

    return call
