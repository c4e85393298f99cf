"""OCPP 2.0.1, block F: messages that are triggered, case by case on the wire and in the records."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from running import Server, running
from wire import Station201, at, charger, command, frames, idle_samples, instruction, session, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = {"status": "Accepted"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("triggers201")) as running_server:
        await token(running_server, "TOKEN")
        yield running_server


async def triggered(server: Server, cs: Station201, about: dict[str, Any], wire: dict[str, Any]) -> None:
    """The command is said so on the wire, and done when it is accepted."""
    cs.table["TriggerMessage"] = GOOD
    begun = await command(server, cs.id, "trigger", about)
    assert (await instruction(server, begun, "EFFECTIVE"))["reason"] == "Accepted"
    assert cs.questions("TriggerMessage") == [wire]


async def answered_frames(server: Server, cs: Station201, action: str, count: int) -> None:
    async def are_answered() -> bool:
        found = [one for one in await frames(server, cs.id, action) if one["type"] == "result"]
        return len(found) == count

    assert await until(are_answered)


def meter_values(evse: int) -> dict[str, Any]:
    sample = {"value": 5.0, "context": "Trigger", "measurand": "Energy.Active.Import.Register"}
    return {"evseId": evse, "meterValue": [{"timestamp": at(), "sampledValue": [sample]}]}


@pytest.mark.case("2.0.1 TC_F_11")
async def test_tc_f_11_meter_values_of_one_evse(server: Server) -> None:
    async with Station201(server, "F11") as cs:
        await cs.boot()
        wire = {"requestedMessage": "MeterValues", "evse": {"id": 1}}
        await triggered(server, cs, {"message": "MeterValues", "evse_id": 1}, wire)
        assert await cs.ask("MeterValues", meter_values(1)) == {}
        await answered_frames(server, cs, "MeterValues", 1)
        assert await idle_samples(server, cs.id) == [(1, 5, "trigger")]


@pytest.mark.case("2.0.1 TC_F_12")
async def test_tc_f_12_meter_values_of_every_evse(server: Server) -> None:
    async with Station201(server, "F12") as cs:
        await cs.boot()
        await triggered(server, cs, {"message": "MeterValues"}, {"requestedMessage": "MeterValues"})
        for evse in (1, 2):
            assert await cs.ask("MeterValues", meter_values(evse)) == {}
        await answered_frames(server, cs, "MeterValues", 2)
        assert await idle_samples(server, cs.id) == [(1, 5, "trigger"), (2, 5, "trigger")]


@pytest.mark.case("2.0.1 TC_F_13")
async def test_tc_f_13_a_transaction_event_of_one_evse(server: Server) -> None:
    async with Station201(server, "F13") as cs:
        await cs.boot()
        await cs.event("Started", "f13", "CablePluggedIn", token="TOKEN", wh=100)
        wire = {"requestedMessage": "TransactionEvent", "evse": {"id": 1}}
        await triggered(server, cs, {"message": "TransactionEvent", "evse_id": 1}, wire)
        assert await cs.event("Updated", "f13", "Trigger", wh=150, info={"chargingState": "Charging"}) == {}
        assert (await session(server, cs.id))["energy_wh"] == 50


@pytest.mark.case("2.0.1 TC_F_14")
async def test_tc_f_14_transaction_events_of_every_evse(server: Server) -> None:
    async with Station201(server, "F14") as cs:
        await cs.boot()
        for evse in (1, 2):
            await cs.event("Started", f"f14-{evse}", "CablePluggedIn", token=f"TOKEN-{evse}", wh=100, evse=evse)
        await triggered(server, cs, {"message": "TransactionEvent"}, {"requestedMessage": "TransactionEvent"})
        for evse in (1, 2):
            info = {"chargingState": "Charging"}
            assert await cs.event("Updated", f"f14-{evse}", "Trigger", wh=100 + 10 * evse, evse=evse, info=info) == {}
        found = (await server.api("GET", f"/api/v1/sessions?charger_id={cs.id}"))["items"]
        assert {one["evse_id"]: one["energy_wh"] for one in found} == {1: 10, 2: 20}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        pytest.param("LogStatusNotification", {"status": "Idle"}, marks=pytest.mark.case("2.0.1 TC_F_15")),
        pytest.param("FirmwareStatusNotification", {"status": "Idle"}, marks=pytest.mark.case("2.0.1 TC_F_18")),
        pytest.param("Heartbeat", {}, marks=pytest.mark.case("2.0.1 TC_F_20")),
    ],
)
async def test_tc_f_15_18_20_a_status_is_triggered(server: Server, message: str, said: dict[str, Any]) -> None:
    async with Station201(server, f"F15-{message}") as cs:
        await cs.boot()
        await triggered(server, cs, {"message": message}, {"requestedMessage": message})
        answer = await cs.ask(message, said)
        assert set(answer) == ({"currentTime"} if message == "Heartbeat" else set())
        await answered_frames(server, cs, message, 1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("Available", "Available", marks=pytest.mark.case("2.0.1 TC_F_23")),
        pytest.param("Available", "Occupied", marks=pytest.mark.case("2.0.1 TC_F_24")),
    ],
)
async def test_tc_f_23_24_the_status_of_a_connector(server: Server, before: str, after: str) -> None:
    async with Station201(server, f"F23-{after}") as cs:
        await cs.boot()
        await cs.status(before)
        wire = {"requestedMessage": "StatusNotification", "evse": {"id": 1, "connectorId": 1}}
        about = {"message": "StatusNotification", "evse_id": 1, "connector_id": 1}
        await triggered(server, cs, about, wire)
        await cs.status(after)
        assert [one["status"] for one in (await charger(server, cs.id))["connectors"]] == [after]
        await answered_frames(server, cs, "StatusNotification", 2)


async def test_a_status_is_never_triggered_without_its_connector(server: Server) -> None:
    async with Station201(server, "F23-WHOLE") as cs:
        await cs.boot()
        for about in ({"message": "StatusNotification"}, {"message": "StatusNotification", "evse_id": 1}):
            await server.api("POST", f"/api/v1/chargers/{cs.id}/commands/trigger", about, expect=422)
        assert cs.questions("TriggerMessage") == []


@pytest.mark.case("2.0.1 TC_F_27")
async def test_tc_f_27_a_trigger_the_station_does_not_implement(server: Server) -> None:
    async with Station201(server, "F27-C") as cs:
        await cs.boot()
        cs.table["TriggerMessage"] = {"status": "NotImplemented"}
        begun = await command(server, cs.id, "trigger", {"message": "LogStatusNotification"})
        assert (await instruction(server, begun, "REFUSED"))["reason"] == "NotImplemented"
        assert len(cs.questions("TriggerMessage")) == 1  # and it is not tried again
        assert await cs.is_served()
