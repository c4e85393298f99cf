"""Remote control and availability of OCPP 1.6 chargers: what is wanted is kept, and what they forget is told again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from running import Server, running
from websockets.exceptions import InvalidStatus
from wire import Payload, Station16, Station201, answered, at, charger, command, instruction, session, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCEPTED = {"status": "Accepted"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    settings = {"ocpp": {"settle_s": 0.2}, "provisioning": {"inventory": "never"}}
    async with running(tmp_path_factory.mktemp("remote16"), settings) as running_server:
        await token(running_server, "TAG")
        yield running_server


async def until_wanted(server: Server, charger_id: str, *wanted: tuple[int, int, str, str | None, str | None]) -> None:
    """Wait until just these stand: EVSE, connector, what is wanted, the answer, what is reported."""

    async def look() -> bool:
        found = (await charger(server, charger_id))["availability"]
        members = ("evse_id", "connector_id", "wanted", "answer", "reported")
        return [tuple(one[name] for name in members) for one in found] == list(wanted)

    await until(look)


# -- availability


async def test_what_is_wanted_stands_beside_what_is_reported(server: Server) -> None:
    async with Station16(server, "R16-WANTED") as cp:
        cp.table["ChangeAvailability"] = ACCEPTED
        await cp.boot()
        for connector in (1, 2):
            await cp.status("Available", connector=connector)
        await command(server, cp.id, "availability", {"operative": False, "connector_id": 2})
        await until_wanted(server, cp.id, (2, 2, "Inoperative", "Accepted", "Operative"))
        await cp.status("Unavailable", connector=2)
        await until_wanted(server, cp.id, (2, 2, "Inoperative", "Accepted", "Inoperative"))
        # Said in OCPP's own words it counts as well, and connector 0 is said of all.
        await answered(server, cp.id, "ChangeAvailability", {"connectorId": 0, "type": "Operative"})
        await until_wanted(server, cp.id, (0, 0, "Operative", "Accepted", "Operative"))
        cp.table["ChangeAvailability"] = {"status": "Rejected"}
        await command(server, cp.id, "availability", {"operative": False})
        await until_wanted(server, cp.id, (0, 0, "Inoperative", "Rejected", "Operative"))


async def test_a_scheduled_change_is_told_again_when_the_session_has_ended_and_nothing_came_of_it(
    server: Server,
) -> None:
    async with Station16(server, "R16-SCHEDULED") as cp:
        cp.table["ChangeAvailability"] = {"status": "Scheduled"}
        await cp.boot()
        await cp.status("Preparing")
        number = (await cp.start("TAG", 0))["transactionId"]
        begun = await command(server, cp.id, "availability", {"operative": False, "connector_id": 1})
        assert (await instruction(server, begun, "EFFECTIVE"))["reason"] == "Scheduled"
        await until_wanted(server, cp.id, (1, 1, "Inoperative", "Scheduled", "Operative"))
        await cp.stop(number, 100)
        await cp.boot()  # after the reboot it knows nothing of what was scheduled
        cp.table["ChangeAvailability"] = ACCEPTED
        await cp.status("Available")
        assert await cp.until_asked("ChangeAvailability", 2) == {"connectorId": 1, "type": "Inoperative"}
        await cp.status("Unavailable")
        await until_wanted(server, cp.id, (1, 1, "Inoperative", "Accepted", "Inoperative"))
        assert (await session(server, cp.id))["energy_wh"] == 100


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_charger_that_forgets_by_its_reboot_is_told_again_and_one_that_remembers_is_not(
    server: Server, version: str
) -> None:
    forgets: Station16 | Station201
    remembers: Station16 | Station201
    if version == "1.6":
        forgets, remembers = Station16(server, "R16-FORGETS"), Station16(server, "R16-KEEPS")
        wanted: Payload = {"connectorId": 1, "type": "Inoperative"}
    else:
        forgets, remembers = Station201(server, "R201-FORGETS"), Station201(server, "R201-KEEPS")
        wanted = {"operationalStatus": "Inoperative", "evse": {"id": 1, "connectorId": 1}}
    for cp in (forgets, remembers):
        cp.table["ChangeAvailability"] = ACCEPTED
        await cp.connect()
        await cp.boot()
        await cp.status("Available")
        await command(server, cp.id, "availability", {"operative": False, "evse_id": 1, "connector_id": 1})
        await cp.until_asked("ChangeAvailability")
        await cp.status("Unavailable")
        await until_wanted(server, cp.id, (1, 1, "Inoperative", "Accepted", "Inoperative"))
        await cp.cut()
        await cp.connect()
        await cp.boot()
    await remembers.status("Unavailable")
    await forgets.status("Available")
    assert await forgets.until_asked("ChangeAvailability", 2) == wanted
    # The other is asked at most for what it had not reported yet when its turn came; reported, it is left alone.
    asked = len(remembers.questions("ChangeAvailability"))
    await remembers.status("Unavailable")
    await answered(server, remembers.id, "ChangeAvailability", wanted)
    assert len(remembers.questions("ChangeAvailability")) == asked + 1
    for cp in (forgets, remembers):
        await cp.close()


async def test_what_is_wanted_outlives_a_restart_of_the_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = {"ocpp": {"settle_s": 0.2}, "provisioning": {"inventory": "never"}}
    async with running(tmp_path_factory.mktemp("remote16-restart"), settings) as server:
        cp = Station16(server, "R16-RESTART")
        cp.table["ChangeAvailability"] = ACCEPTED
        await cp.connect()
        await cp.boot()
        await cp.status("Available")
        await command(server, cp.id, "availability", {"operative": False})
        await until_wanted(server, cp.id, (0, 0, "Inoperative", "Accepted", "Operative"))
        await cp.cut()
        await server.stop()
        await server.start()
        await cp.connect()
        await cp.boot()
        await cp.status("Available")
        assert await cp.until_asked("ChangeAvailability", 2) == {"connectorId": 0, "type": "Inoperative"}
        await cp.close()


# -- starts, resets, unlocks


async def test_two_starts_for_one_tag_each_come_true(server: Server) -> None:
    async with Station16(server, "R16-TWO") as cp:
        cp.table["RemoteStartTransaction"] = ACCEPTED
        await cp.boot()
        begun = [await command(server, cp.id, "start", {"token": "TAG", "connector_id": number}) for number in (1, 2)]
        await cp.until_asked("RemoteStartTransaction", 2)
        for start in begun:
            await instruction(server, start, "ACCEPTED")
        await cp.start("TAG", 0, connector=2)
        await instruction(server, begun[1], "EFFECTIVE")
        assert (await instruction(server, begun[0]))["state"] == "ACCEPTED"
        await cp.start("TAG", 0, connector=1)
        await instruction(server, begun[0], "EFFECTIVE")


async def test_a_hard_reset_is_refused_while_a_session_is_open_unless_it_is_forced(server: Server) -> None:
    async with Station16(server, "R16-RESET") as cp:
        cp.table["Reset"] = ACCEPTED
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        path = f"/api/v1/chargers/{cp.id}/commands/reset"
        refused = await server.api("POST", path, {"type": "Hard"}, expect=409)
        assert "force" in refused["detail"]
        await instruction(server, await command(server, cp.id, "reset", {"type": "Soft"}), "ACCEPTED")
        await instruction(server, await command(server, cp.id, "reset", {"hard": True, "force": True}), "ACCEPTED")
        await cp.stop(number, 10)
        await instruction(server, await command(server, cp.id, "reset", {"hard": True}), "ACCEPTED")
        assert [one["type"] for one in cp.questions("Reset")] == ["Soft", "Hard", "Hard"]


async def test_a_free_connector_of_a_running_session_is_asked_about_once(server: Server) -> None:
    """On 1.6 the answer to the question is the very status that raised it."""
    async with Station16(server, "R16-FREE") as cp:
        cp.table["TriggerMessage"] = ACCEPTED
        await cp.boot()
        await cp.start("TAG", 0, when=at())  # after the boot, which therefore explains nothing
        for _ in range(4):
            await cp.status("Available")
        wanted = {"requestedMessage": "StatusNotification", "connectorId": 1}
        assert await cp.until_asked("TriggerMessage") == wanted
        await answered(server, cp.id, "TriggerMessage", {"requestedMessage": "Heartbeat"})  # behind it in the line
        assert [one for one in cp.questions("TriggerMessage") if one == wanted] == [wanted]
        assert (await session(server, cp.id))["state"] == "ACTIVE"


# -- the door


@pytest.mark.parametrize("path", ["", "/", "//"])
async def test_the_listeners_own_path_names_no_charger(server: Server, path: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await Station16(server, "ocpp", path=path).connect()
    assert refused.value.response.status_code == 404
    assert "names no charger" in bytes(refused.value.response.body or b"").decode()
    known = (await server.api("GET", "/api/v1/chargers?limit=1000"))["items"]
    assert "ocpp" not in [one["id"] for one in known]
