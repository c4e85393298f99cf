"""The operator's REST API as one aiohttp application.

    app = build_operator_app(system)

Pages for people are added to the same application by whoever serves them; they may put a `auth.PRINCIPAL` into the
request to use these routes with a login of their own.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from csms.api import (
    about,
    calendar,
    callbacks,
    cases,
    catalogue,
    cdrs,
    certificates,
    chargers,
    charging_profiles,
    commands,
    consumption,
    customers,
    debtors,
    display_messages,
    documents,
    events,
    firmware,
    fleets,
    installed_profiles,
    keys,
    local_lists,
    logs,
    monitors,
    network,
    ocpp,
    orders,
    payments,
    price_events,
    provisioning,
    quarantine,
    quirks,
    reservations,
    sessions,
    tickets,
    tokens,
    vehicles,
)
from csms.api.docs import add_docs
from csms.api.handling import http_handler, problem_middleware
from csms.api.openapi import document
from csms.api.routes import Operation
from csms.api.system import System

_RESOURCES: Final = (
    chargers,
    certificates,
    ocpp,
    commands,
    display_messages,
    sessions,
    cdrs,
    tokens,
    vehicles,
    local_lists,
    reservations,
    charging_profiles,
    installed_profiles,
    catalogue,
    calendar,
    fleets,
    orders,
    debtors,
    payments,
    documents,
    consumption,
    provisioning,
    monitors,
    quirks,
    logs,
    firmware,
    customers,
    cases,
    callbacks,
    network,
    quarantine,
    tickets,
    price_events,
    events,
    keys,
    about,
)
OPERATIONS: Final[tuple[Operation, ...]] = tuple(
    operation for resource in _RESOURCES for operation in resource.route.operations
)
# A location with a few hundred EVSEs is some hundred KiB.
_LARGEST_BODY: Final = 1024 * 1024


def build_operator_app(system: System) -> web.Application:
    """The application; it is not yet listening."""
    app = web.Application(middlewares=[problem_middleware], client_max_size=_LARGEST_BODY)
    app[events.OPEN_STREAMS] = set()
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, http_handler(system, operation))
    add_docs(app, openapi_document(system.version))
    app.on_shutdown.append(_end_streams)
    return app


def openapi_document(version: str) -> dict[str, Any]:
    """The description of every operation."""
    return document(OPERATIONS, version)


async def _end_streams(app: web.Application) -> None:
    streams: set[asyncio.Task[object]] = app[events.OPEN_STREAMS]
    for task in list(streams):
        task.cancel()
