"""Callers of the public listener who hold a connection and say nothing (slowloris) are sent away.

The web server itself waits for ever for a head that comes byte by byte. Here every connection has so many seconds to
become a request, and a request so many for its body; only what carries files may be slow.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog
from aiohttp import web

log = structlog.get_logger()

HEAD_S: Final = 15.0  # from the connection to the end of the first request's head
IDLE_S: Final = 75.0  # between two requests: longer than most proxies keep a connection
BODY_S: Final = 60.0
MOST: Final = 4000  # connections; above it those who wait longest for nothing go first
EVERY_S: Final = 5.0
SLOW_PATHS: Final = ("/files/",)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class _Seen:
    """What is known of one connection. `since_s`: when it began to wait; `request`: what it is at."""

    since_s: float
    limit_s: float
    request: web.Request | None = None


class Sweeper:
    """Watches the connections of one web server. `clock` gives seconds that only go forward."""

    def __init__(self, clock: Callable[[], float], *, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._seen: dict[Any, _Seen] = {}

    async def watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The body of a middleware: while a request is worked on its connection is not idle."""
        connection = request.protocol
        self._seen[connection] = _Seen(self._clock(), BODY_S, request)
        try:
            return await handler(request)
        finally:
            self._seen[connection] = _Seen(self._clock(), IDLE_S)

    def sweep(self, connections: list[Any]) -> int:
        """Close what held its connection for too long among the open ones; how many that were."""
        now_s = self._clock()
        self._seen = {connection: self._seen.get(connection) or _Seen(now_s, HEAD_S) for connection in connections}
        waiting = {c: seen for c, seen in self._seen.items() if _is_waiting(seen)}
        overdue = [c for c, seen in waiting.items() if now_s - seen.since_s > seen.limit_s]
        too_many = len(connections) - len(overdue) - self._most
        if too_many > 0:
            rest = sorted((c for c in waiting if c not in set(overdue)), key=lambda c: waiting[c].since_s)
            overdue += rest[:too_many]
        for connection in overdue:
            connection.force_close()
            del self._seen[connection]
        if overdue:
            log.info("public.swept", connections=len(overdue))
        return len(overdue)


def _is_waiting(seen: _Seen) -> bool:
    """Whether the next move is the caller's."""
    request = seen.request
    if request is None:
        return True
    return not request.content.is_eof() and not request.path.startswith(SLOW_PATHS)
