"""A charger and an operator meet: the shortest way through the whole program over real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from running import running

from simulators.ocpp_charger import Charger


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_local_session_is_stored_as_the_charger_metered_it(tmp_path: Path, version: str) -> None:
    async with running(tmp_path) as server:
        await server.sell("CP-1")
        await server.api("PUT", "/api/v1/tokens/TAG1", {"status": "Accepted"})
        async with Charger("CP-1", server.ocpp_url, version=version, power_scale=120, seed=1) as charger:
            await charger.wait_online()
            await charger.plug_in(1)
            await charger.present_tag("TAG1", 1)
            await charger.wait_delivered(1, 200)
            await charger.stop_local(1)
            await charger.wait_drained()
            truth = charger.truth[0]
            async with asyncio.timeout(5):
                while True:
                    (session,) = (await server.api("GET", "/api/v1/sessions?charger_id=CP-1"))["items"]
                    if session["state"] == "SETTLED":
                        break
                    await asyncio.sleep(0.05)
            # The meter shows whole Wh; what really flowed ends somewhere between two of them.
            assert abs(session["energy_wh"] - truth.delivered_wh) <= 1
            assert session["quality"] == "A"
            assert session["token"] == "TAG1"
            assert session["end_cause"] == "Local"
            assert not charger.complaints
        assert await server.stop() == 0
