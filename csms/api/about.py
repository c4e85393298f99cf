"""What needs no key: health, readiness, metrics, the version, and what the problem types mean."""

from __future__ import annotations

from typing import Annotated, Final

from aiohttp import web
from pydantic import Field

from csms.api.models import View
from csms.api.problems import BY_SLUG, NO_SUCH_PAGE, Problem
from csms.api.routes import Answer, Call, Routes

route: Final = Routes("About")

METRICS: Final = "text/plain"


class Health(View):
    """The process answers."""

    status: str


class Check(View):
    """One thing that must work."""

    ok: bool
    detail: str


class Readiness(View):
    """Whether this node can do its work."""

    status: str
    checks: dict[str, Check]


class Version(View):
    """What runs here."""

    version: str
    node: str


class ProblemKind(View):
    """A type of problem document."""

    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]


@route("GET", "/healthz", answer=Health, scope="open", summary="Is the process alive?")
async def healthz(_: Call[None, None]) -> Health:
    """Alive: this answer is the proof."""
    return Health(status="ok")


@route("GET", "/readyz", answer=Readiness, scope="open", errors=[], also=[503], summary="Can it do its work?")
async def readyz(call: Call[None, None]) -> Answer:
    """200 when everything this node needs works, 503 when something does not."""
    checks = call.system.readiness()
    is_ready = all(ok for ok, _ in checks.values())
    shown = {name: Check(ok=ok, detail=detail) for name, (ok, detail) in checks.items()}
    return Answer(Readiness(status="ready" if is_ready else "not ready", checks=shown), 200 if is_ready else 503)


@route("GET", "/metrics", media=(METRICS,), scope="open", summary="Prometheus metrics")
async def metrics(call: Call[None, None]) -> web.Response:
    """The exposition text."""
    return web.Response(
        body=call.system.metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    )


@route("GET", "/version", answer=Version, scope="open", summary="What runs here")
async def version(call: Call[None, None]) -> Version:
    """Version and node."""
    return Version(version=call.system.version, node=call.system.node)


@route("GET", "/problems/{slug}", answer=ProblemKind, scope="open", errors=[404], summary="What a problem type means")
async def problem_kind(call: Call[None, None]) -> ProblemKind:
    """The `type` of a problem document leads here."""
    kind = BY_SLUG.get(call.path["slug"])
    if kind is None:
        raise Problem(NO_SUCH_PAGE, f"There is no problem type {call.path['slug']!r}.")
    return ProblemKind(type=f"/problems/{kind.slug}", title=kind.title, status=kind.status)
