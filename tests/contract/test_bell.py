"""The bell of one process: who waits is woken, and who is told to end ends."""

from __future__ import annotations

import asyncio

from csms.bus.inprocess import InProcessBell


async def test_a_ring_before_the_wait_is_not_lost() -> None:
    bell = InProcessBell()
    bell.ring("a")
    async with asyncio.timeout(1):
        await bell.wait("a", 60)


async def test_a_wait_without_a_ring_ends_after_its_time() -> None:
    bell = InProcessBell()
    await bell.wait("a", 60)  # the first looks at what has rung so far
    await bell.wait("a", 0.01)


async def test_a_waiter_that_is_cancelled_while_the_bell_rings_ends() -> None:
    """Otherwise a worker misses its end and the server hangs at SIGTERM."""
    bell = InProcessBell()

    async def work() -> None:
        while True:
            await bell.wait("a", 60)

    worker = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    bell.ring("a")
    worker.cancel()
    done, _ = await asyncio.wait([worker], timeout=1)
    worker.cancel()
    assert done == {worker}
    assert worker.cancelled()
