"""The bell of one process: an event per topic."""

from __future__ import annotations

import asyncio
import contextlib


class InProcessBell:
    """`ports.Bell` inside one event loop. A ring is remembered until the next wait of each waiter."""

    def __init__(self) -> None:
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._rung: dict[tuple[str, int], int] = {}
        self._count: dict[str, int] = {}

    def ring(self, topic: str) -> None:
        """Wake everyone who waits on `topic`; whoever comes later sees that it rang."""
        self._count[topic] = self._count.get(topic, 0) + 1
        for event in self._waiters.get(topic, ()):
            event.set()

    async def wait(self, topic: str, timeout_s: float) -> None:
        """Return at the next ring since this task's last wait, or after `timeout_s`."""
        me = (topic, id(asyncio.current_task()))
        if self._rung.get(me) != (count := self._count.get(topic, 0)):
            self._rung[me] = count
            return
        event = asyncio.Event()
        waiters = self._waiters.setdefault(topic, set())
        waiters.add(event)
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that meets a ring, and the waiter never ends.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await event.wait()
        finally:
            waiters.discard(event)
            self._rung[me] = self._count.get(topic, 0)

    def forget(self, topic: str) -> None:
        """Drop what is remembered about the current task (an SSE client that went away)."""
        self._rung.pop((topic, id(asyncio.current_task())), None)
