"""The bell of one process: an event per topic."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from weakref import WeakKeyDictionary


class InProcessBell:
    """`ports.Bell` inside one event loop. A ring is remembered until the next wait of each waiter."""

    def __init__(self) -> None:
        self._waiters: dict[str, set[asyncio.Event]] = {}
        # What each task has heard, by topic; a task that ends (a reader of events that went away) is forgotten.
        self._heard: WeakKeyDictionary[asyncio.Task[Any], dict[str, int]] = WeakKeyDictionary()
        self._count: dict[str, int] = {}

    def ring(self, topic: str) -> None:
        """Wake everyone who waits on `topic`; whoever comes later sees that it rang."""
        self._count[topic] = self._count.get(topic, 0) + 1
        for event in self._waiters.get(topic, ()):
            event.set()

    async def wait(self, topic: str, timeout_s: float) -> None:
        """Return at the next ring since this task's last wait, or after `timeout_s`."""
        task = asyncio.current_task()
        assert task is not None
        heard = self._heard.setdefault(task, {})
        if heard.get(topic) != (count := self._count.get(topic, 0)):
            heard[topic] = count
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
            heard[topic] = self._count.get(topic, 0)
