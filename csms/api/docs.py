"""The documentation page: a vendored Swagger UI that asks nobody else for anything.

Addresses are relative, so the page also works behind a proxy's sub-path.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from aiohttp import web

_STATIC: Final = Path(__file__).parent / "static"
_FILES: Final = {
    "swagger-ui.css": ("swagger-ui/swagger-ui.css", "text/css"),
    "swagger-ui-bundle.js": ("swagger-ui/swagger-ui-bundle.js", "text/javascript"),
    "favicon-32x32.png": ("swagger-ui/favicon-32x32.png", "image/png"),
    "start.js": ("docs/start.js", "text/javascript"),
}
# No inline script, no inline style sheet, nothing from elsewhere; `data:` are the icons inside the style sheet.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def add_docs(app: web.Application, document: dict[str, Any]) -> None:
    """Add `/openapi.json` and `/api/docs` to an application. They need no key: they hold no data."""
    described = json.dumps(document, ensure_ascii=False, separators=(",", ":"))

    async def openapi(_: web.Request) -> web.Response:
        return web.Response(
            text=described,
            content_type="application/json",
            headers={"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"},
        )

    app.router.add_get("/openapi.json", openapi)
    app.router.add_get("/api/docs", _page)
    app.router.add_get("/api/docs/", _redirect)
    app.router.add_get("/api/docs/{name}", _file)


async def _page(_: web.Request) -> web.StreamResponse:
    return web.FileResponse(
        _STATIC / "docs" / "index.html", headers={**_HEADERS, "Content-Type": "text/html; charset=utf-8"}
    )


async def _redirect(_: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("../docs")


async def _file(request: web.Request) -> web.StreamResponse:
    found = _FILES.get(request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound
    path, media = found
    return web.FileResponse(_STATIC / path, headers={**_HEADERS, "Content-Type": media})
