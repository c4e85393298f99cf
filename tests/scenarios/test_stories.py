"""Every story the simulators know, at chargers of both OCPP versions, against one real server.

The simulators judge: true energy against the bill, the bill against the quotation's own lines, every callback against
the published schemas (when they are at hand), every frame against OCPP's. What only the server can show, its ledgers
and its cases, is asked over REST.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from running import Server, running
from worlds import at_version, every, ledger_sum, stage

from simulators.scenario import names, play

# Money that was settled before the stop came is shown to a person, who closes the case.
INTENDED: dict[str, set[str]] = {"dark-then-late-stop": {"ABANDONED"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """One server for all stories; each has its own charger and its own buyer."""
    async with running(tmp_path_factory.mktemp("stories")) as started:
        yield started


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("story", names())
async def test_a_story_ends_as_it_should_at_chargers_of_both_versions(server: Server, story: str) -> None:
    await asyncio.gather(*(ends_as_it_should(server, story, version) for version in ("1.6", "2.0.1")))


async def ends_as_it_should(server: Server, story: str, version: str) -> None:
    """Play it and ask the server what it made of it."""
    scenario = at_version(story, version)
    async with stage(server, story, version) as world:
        result = await play(scenario, world)
        assert world.bap is not None
        told = f"OCPP {version}: {'; '.join(result.reasons)}\n{world.transcript.render()[-6000:]}"
        assert result.ok, told
        assert result.charger_complaints == []
        assert world.bap.problems == []
        mine = f"charger_id={world.charger_id}"
        if scenario.order is not None:
            assert result.ledger == 0
        orders = await every(server, f"/api/v1/orders?{mine}")
        assert len(orders) == (scenario.order is not None)
        assert [await ledger_sum(server, order["id"]) for order in orders] == [0] * len(orders)
        sessions = await every(server, f"/api/v1/sessions?{mine}")
        assert len(sessions) == scenario.expect.sessions, sessions
        cases = await every(server, f"/api/v1/cases?severity=money&state=open&{mine}")
        assert {case["type"] for case in cases} == INTENDED.get(story, set()), cases
