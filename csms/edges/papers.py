"""Documents as their buyers open them: `/documents/{token}` on the public listener, read-only.

The token is unguessable and the page complete in itself, so it may load nothing and tell nobody where it was opened.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from csms.edges.pageheaders import page_headers

_HEADERS: Final = {
    **page_headers("style-src 'unsafe-inline'", "frame-ancestors 'none'"),
    "X-Robots-Tag": "noindex",
}


class Papers:
    """`page` gives the HTML behind a token."""

    def __init__(self, page: Callable[[str], Awaitable[bytes | None]]) -> None:
        self._page = page

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [web.get("/documents/{token}", self.show)]

    async def show(self, request: web.Request) -> web.Response:
        """The document."""
        page = await self._page(request.match_info["token"])
        if page is None:
            return web.json_response({"error": "this link is not valid"}, status=404, headers=_HEADERS)
        return web.Response(body=page, content_type="text/html", charset="utf-8", headers=_HEADERS)
