"""Every story the simulators know, at chargers of both OCPP versions, against one real server.

The simulators judge: true energy against the bill, the bill against the quotation's own lines, every callback against
the published schemas (when they are at hand), every frame against OCPP's. What only the server can show, its ledgers
and its cases, is asked over REST.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

import pytest
import pytest_asyncio
from running import LIMITS, Server, running
from worlds import at_version, every, ledger_sum, stage

from simulators.buyer import Buyer
from simulators.scenario import build_charger, names, play
from simulators.transcript import Entry

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


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_a_provisional_refund_waits_for_what_a_charger_kept_in_a_long_silence(server: Server) -> None:
    """The link went long ago; now the charger boots, and its memory comes: no refund on half of it."""
    scenario = at_version("power-cut-no-stop", "1.6")
    async with stage(server, "long-silence", "1.6") as world, build_charger(scenario, world) as charger:
        assert world.bap is not None
        buyer = Buyer(world.bap, world.bpp_uri, world.bpp_id, timeout_s=world.timeout_s)
        await charger.wait_online(world.timeout_s)
        await charger.plug_in(1)
        (item,) = [item for item in await buyer.discover() if world.charger_id in item.id]
        await buyer.select(item, kwh=3.0)
        await buyer.init("BPP")
        await buyer.pay()
        await buyer.confirm()
        await buyer.start()
        await charger.wait_delivered(1, 300)
        await charger.go_offline()
        await buyer.wait_interrupted()
        await asyncio.sleep(LIMITS["provisional_after_s"] + 0.5)
        await charger.power_cut()
        await charger.power_on()
        await charger.go_online()
        await charger.wait_online(world.timeout_s)
        (session,) = await every(server, f"/api/v1/sessions?charger_id={world.charger_id}")
        await buyer.wait_for_bill()
        priced = await every(server, f"/api/v1/sessions/{session['id']}/revisions")
        (boot,) = [row for row in world.transcript.entries if is_boot(row)][1:]
        first = datetime.fromisoformat(priced[0]["at"]).timestamp() * 1000
        assert first - boot.at_ms >= LIMITS["provisional_after_s"] * 1000


def is_boot(entry: Entry) -> bool:
    """A BootNotification on its way."""
    return entry.direction == "sent" and isinstance(entry.content, list) and entry.content[2:3] == ["BootNotification"]
