"""The simulators' stories, bought in every dialect of Beckn: over real sockets, judged by the buyer's own arithmetic.

In UEI and DEG every story is told, in the others the essential ones: a session by units and one by money, one that is
stopped early with its refund, and a reservation that is given back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio
from running import Server, running
from worlds import at_version, every, ledger_sum, stage

from simulators.scenario import load, names, play

BOUGHT: Final = [name for name in names() if load(name).order is not None]
ESSENTIAL: Final = frozenset({"walk-in-by-kwh", "walk-in-by-amount", "stopped-early", "reservation-and-cancel"})
IN_FULL: Final = ("uei", "deg")
IN_SHORT: Final = ("ubc", "eos", "rfc", "deg2")
AT_ONCE: Final = 2  # a charger that is not heard in time delivers more than its story allows
SETTINGS: Final = {"beckn": {"domains": {"beckn.one:deg:ev-charging": "v2-ubc"}}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """One server for all; every story has its own charger and its own buyer in every dialect."""
    async with running(tmp_path_factory.mktemp("dialects"), SETTINGS) as started:
        yield started


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("story", BOUGHT)
async def test_a_story_ends_as_it_should_in_every_dialect(server: Server, story: str) -> None:
    dialects = IN_FULL + (IN_SHORT if story in ESSENTIAL else ())
    at_once = asyncio.Semaphore(AT_ONCE)

    async def told(dialect: str) -> None:
        async with at_once:
            await ends_as_it_should(server, story, dialect)

    await asyncio.gather(*map(told, dialects))


async def ends_as_it_should(server: Server, story: str, dialect: str) -> None:
    """Play it; the buyer judges, and the books close."""
    async with stage(server, story, "1.6", dialect=dialect) as world:
        result = await play(at_version(story, "1.6"), world)
        assert world.bap is not None
        assert result.ok, f"{dialect}: {'; '.join(result.reasons)}\n{world.transcript.render()[-6000:]}"
        assert world.bap.problems == []
        assert result.ledger == 0
        (order,) = await every(server, f"/api/v1/orders?charger_id={world.charger_id}")
        assert await ledger_sum(server, order["id"]) == 0
