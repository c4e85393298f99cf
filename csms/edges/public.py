"""What drivers and gateways reach on the public listener: tracking, the simulated payment page, payment webhooks.

Nothing here belongs to the operator API. Tracking tokens are unguessable and read-only. A gateway's webhook carries
`X-Signature: sha256=<hex HMAC of the raw body>`; a repeat of the same event changes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import structlog
from aiohttp import web

from csms.domain.refusal import Refusal, Why
from csms.domain.units import from_minor

log = structlog.get_logger()

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


class Buying(Protocol):
    """What the public pages need of the use cases."""

    async def tracked(self, token: str) -> Mapping[str, Any] | None:
        """The live view behind a tracking token, None when there is none."""
        ...

    async def payment(self, payment_id: str) -> Mapping[str, Any] | None:
        """`{amount_minor, currency, status, upi_intent}` of a payment we asked for."""
        ...

    async def payment_made(self, payment_id: str, *, held: bool, ref: str | None, amount_minor: int | None) -> None:
        """The gateway says the money is there. Raises Refusal."""
        ...


class PublicPages:
    """Routes for the public listener. `simulated`: the payment page that pays by itself is offered."""

    def __init__(self, buying: Buying, *, simulated: bool, webhook_secret: str | None) -> None:
        self._buying = buying
        self._simulated = simulated
        self._webhook_secret = webhook_secret

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        routes = [
            web.get("/track/{token}", self.track),
            web.post("/payments/webhook/{provider}", self.webhook),
        ]
        if self._simulated:
            routes += [
                web.get("/payments/simulated/{payment_id}", self.pay_page),
                web.post("/payments/simulated/{payment_id}", self.pay),
            ]
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
        page = f"<!doctype html><meta charset=utf-8><title>Charging</title><h1>Charging</h1><table>{rows}</table>"
        return web.Response(text=page, content_type="text/html", headers=_HEADERS)

    async def pay_page(self, request: web.Request) -> web.Response:
        """What a driver sees of the simulated gateway."""
        payment_id = request.match_info["payment_id"]
        payment = await self._buying.payment(payment_id)
        if payment is None:
            return web.json_response({"error": "there is no such payment"}, status=404, headers=_HEADERS)
        amount = f"{from_minor(payment['amount_minor'])} {payment['currency']}"
        page = (
            "<!doctype html><meta charset=utf-8><title>Simulated payment</title><h1>Simulated payment</h1>"
            f"<p>{html.escape(amount)}, {html.escape(str(payment['status']))}. No real money moves here.</p>"
            f"<p><a href='{html.escape(payment['upi_intent'], quote=True)}'>Open a UPI app</a></p>"
            "<form method=post><button name=status value=paid>Pay</button> "
            "<button name=status value=authorized>Hold only</button></form>"
        )
        return web.Response(text=page, content_type="text/html", headers=_HEADERS)

    async def pay(self, request: web.Request) -> web.Response:
        """The simulated driver pays (`paid`) or lets hold (`authorized`); JSON or a form."""
        if request.content_type == "application/json":
            try:
                said = await request.json()
            except ValueError:
                return web.json_response({"error": "the body is not JSON"}, status=400, headers=_HEADERS)
            status = said.get("status") if isinstance(said, dict) else None
        else:
            status = (await request.post()).get("status")
        if status not in {"paid", "authorized"}:
            return web.json_response({"error": "status must be paid or authorized"}, status=400, headers=_HEADERS)
        payment_id = request.match_info["payment_id"]
        return await self._tell(
            self._buying.payment_made(payment_id, held=status == "authorized", ref=None, amount_minor=None)
        )

    async def webhook(self, request: web.Request) -> web.Response:
        """A gateway's event: `{payment_id, status: paid|authorized, amount, reference}`, signed."""
        raw = await request.read()
        if self._webhook_secret is None:
            return web.json_response({"error": "no gateway is configured"}, status=404, headers=_HEADERS)
        expected = hmac.new(self._webhook_secret.encode(), raw, hashlib.sha256).hexdigest()
        given = request.headers.get("X-Signature", "").removeprefix("sha256=")
        if not hmac.compare_digest(expected, given.lower()):
            return web.json_response({"error": "the signature does not fit the body"}, status=401, headers=_HEADERS)
        try:
            event = json.loads(raw)
            payment_id, status = event["payment_id"], event["status"]
            amount_minor = round(float(event["amount"]) * 100) if event.get("amount") is not None else None
            if not isinstance(payment_id, str):
                raise TypeError(payment_id)
        except (ValueError, KeyError, TypeError, OverflowError):
            return web.json_response({"error": "payment_id and status are needed"}, status=400, headers=_HEADERS)
        if status not in {"paid", "authorized"}:
            return web.json_response({"status": "ignored"}, headers=_HEADERS)
        return await self._tell(
            self._buying.payment_made(
                payment_id, held=status == "authorized", ref=event.get("reference"), amount_minor=amount_minor
            )
        )

    @staticmethod
    async def _tell(work: Awaitable[None]) -> web.Response:
        try:
            await work
        except Refusal as refusal:
            status = 404 if refusal.why is Why.UNKNOWN_ORDER else 409
            return web.json_response({"error": refusal.detail}, status=status, headers=_HEADERS)
        return web.json_response({"status": "ok"}, headers=_HEADERS)


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
