"""Pages for drivers beside the payment pages: how a question stands, and what they thought of the charging.

Links carry an unguessable token and show nothing of who asked. Plain HTML, no script.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final, Protocol

from aiohttp import web

from csms.domain.refusal import Refusal
from csms.edges.pageheaders import PLAIN as _HEADERS

_LARGEST_FORM: Final = 16 * 1024
_LONGEST_COMMENT: Final = 2_000


class Helping(Protocol):
    """What the pages need of the use cases."""

    async def ticket(self, token: str) -> Mapping[str, str | None] | None:
        """`{number, state, answer, opened_at, closed_at}` of a question; None when the link is not valid."""
        ...

    async def may_rate(self, token: str) -> bool:
        """Whether the token is that of an order."""
        ...

    async def rated(self, token: str, value: Decimal, comments: str | None) -> None:
        """Keep an opinion. Raises Refusal."""
        ...


class HelpPages:
    """Routes for the public listener. `contact`: what is shown of how to reach us."""

    def __init__(self, helping: Helping, contact: Mapping[str, str | None], *, has_feedback_form: bool) -> None:
        self._helping = helping
        self._contact = contact
        self._has_feedback_form = has_feedback_form

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        routes = [web.get("/support/{token}", self.ticket)]
        if self._has_feedback_form:
            routes += [web.get("/feedback/{token}", self.form), web.post("/feedback/{token}", self.rate)]
        return routes

    async def ticket(self, request: web.Request) -> web.Response:
        """How a question stands: JSON, or a page for a browser."""
        view = await self._helping.ticket(request.match_info["token"])
        if view is None:
            return web.json_response({"error": "this link is not valid"}, status=404, headers=_HEADERS)
        if "text/html" not in request.headers.get("Accept", ""):
            return web.json_response(dict(view), headers=_HEADERS)
        said = html.escape(view["answer"] or "") or "Somebody is looking into it."
        reach = "".join(
            f"<li>{html.escape(name)}: {_reach(name, value)}</li>" for name, value in self._contact.items() if value
        )
        return _page(
            f"Question {html.escape(str(view['number']))}",
            f"<p>Opened {html.escape(str(view['opened_at']))}, {html.escape(str(view['state']))}.</p><p>{said}</p>"
            f"<ul>{reach}</ul>",
        )

    async def form(self, request: web.Request) -> web.Response:
        """The form."""
        if not await self._helping.may_rate(request.match_info["token"]):
            return web.json_response({"error": "this link is not valid"}, status=404, headers=_HEADERS)
        choices = " ".join(f"<label><input type=radio name=value value={n} required> {n}</label>" for n in range(1, 6))
        return _page(
            "How was it?",
            f"<form method=post><p>{choices} (5 is best)</p>"
            f"<p><textarea name=comments maxlength={_LONGEST_COMMENT} rows=6 cols=40></textarea></p>"
            "<button>Send</button></form>",
        )

    async def rate(self, request: web.Request) -> web.Response:
        """What was said in it: `value` from 1 to 5, `comments`."""
        if (request.content_length or 0) > _LARGEST_FORM:
            return web.json_response({"error": "that is too long"}, status=413, headers=_HEADERS)
        if not await self._helping.may_rate(request.match_info["token"]):  # a stranger's form is not even read
            return web.json_response({"error": "this link is not valid"}, status=404, headers=_HEADERS)
        try:
            said = await request.post()
        except (ValueError, LookupError):
            return web.json_response({"error": "the form is not text in UTF-8"}, status=400, headers=_HEADERS)
        comments = said.get("comments")
        try:
            value = Decimal(str(said.get("value")))
        except InvalidOperation:
            value = Decimal(0)
        is_mark = value.is_finite() and value in {Decimal(n) for n in range(1, 6)}
        if not is_mark or not isinstance(comments, str | None):
            return web.json_response({"error": "value must be a number from 1 to 5"}, status=400, headers=_HEADERS)
        try:
            await self._helping.rated(
                request.match_info["token"], value, (comments or "").strip()[:_LONGEST_COMMENT] or None
            )
        except Refusal as refusal:
            return web.json_response({"error": refusal.detail}, status=404, headers=_HEADERS)
        return _page("Thank you", "<p>Your opinion was kept.</p>")


def _page(title: str, body: str) -> web.Response:
    page = f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1>{body}"
    return web.Response(text=page, content_type="text/html", headers=_HEADERS)


def _reach(name: str, value: str) -> str:
    shown = html.escape(value, quote=True)
    if name == "Web" and value.startswith(("https://", "http://")):
        return f"<a href='{shown}' rel=noreferrer>{shown}</a>"
    return shown
