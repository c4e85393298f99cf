"""OCPP 1.6: registration, configuration, triggers and security events, case by case on the wire and in the records."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from held import Keys, configuration
from running import Server, running
from wire import (
    Station16,
    answered,
    at,
    charger,
    command,
    frames,
    instruction,
    raw,
    session,
    sessions,
    token,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = {"status": "Accepted"}
KEYS = {"HeartbeatInterval": "300", "SupportedFeatureProfiles": "Core", "MeterValueSampleInterval": "60"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("provisioning16")) as running_server:
        await token(running_server, "TAG")
        yield running_server


async def until_held(server: Server, charger_id: str, **wanted: str | None) -> None:
    async def is_held() -> bool:
        held = await configuration(server, charger_id)
        return all(held.get(name, "absent") == value for name, value in wanted.items())

    assert await until(is_held)


async def until_logged(server: Server, charger_id: str, action: str) -> None:
    async def is_answered() -> bool:
        return any(one["type"] == "result" for one in await frames(server, charger_id, action))

    assert await until(is_answered)


# -- configuration


@pytest.mark.case("1.6 TC_019_1", "1.6 TC_019_2")
async def test_tc_019_keys_are_read_and_kept(server: Server) -> None:
    async with Station16(server, "P16-019") as cp:
        Keys(cp, KEYS, readonly={"SupportedFeatureProfiles"})
        await cp.boot()
        done = await instruction(server, await command(server, cp.id, "get_config"), "EFFECTIVE")
        assert {one["key"] for one in done["response"]["configurationKey"]} == set(KEYS)
        assert cp.questions("GetConfiguration") == [{}]
        await until_held(server, cp.id, **KEYS)
        asked = {"keys": ["HeartbeatInterval", "Nonsense"]}
        done = await instruction(server, await command(server, cp.id, "get_config", asked), "EFFECTIVE")
        assert done["response"]["unknownKey"] == ["Nonsense"]
        assert cp.questions("GetConfiguration")[-1] == {"key": asked["keys"]}


@pytest.mark.parametrize(
    ("word", "state", "kept"),
    [
        pytest.param("Accepted", "EFFECTIVE", "10", marks=pytest.mark.case("1.6 TC_021")),
        pytest.param("RebootRequired", "EFFECTIVE", "60", marks=()),
        pytest.param("NotSupported", "REFUSED", "60", marks=pytest.mark.case("1.6 TC_040_1")),
        pytest.param("Rejected", "REFUSED", "60", marks=pytest.mark.case("1.6 TC_040_2")),
    ],
)
async def test_tc_021_and_040_only_what_it_took_is_kept(server: Server, word: str, state: str, kept: str) -> None:
    async with Station16(server, f"P16-021-{word}") as cp:
        keys = Keys(cp, KEYS)
        keys.words["MeterValueSampleInterval"] = word
        await cp.boot()
        await answered(server, cp.id, "GetConfiguration", {})
        asked = {"key": "MeterValueSampleInterval", "value": "10"}
        done = await instruction(server, await command(server, cp.id, "set_config", asked), state)
        assert done["reason"] == word
        assert cp.questions("ChangeConfiguration") == [asked]
        await answered(server, cp.id, "GetConfiguration", {"key": ["HeartbeatInterval"]})
        await until_held(server, cp.id, MeterValueSampleInterval=kept)


# -- triggers

SAID_16: list[tuple[str, dict[str, Any]]] = [
    ("BootNotification", {"chargePointVendor": "V", "chargePointModel": "M2"}),
    ("DiagnosticsStatusNotification", {"status": "Idle"}),
    ("FirmwareStatusNotification", {"status": "Idle"}),
    ("Heartbeat", {}),
    ("MeterValues", {"connectorId": 1, "meterValue": [{"timestamp": at(), "sampledValue": [{"value": "7"}]}]}),
    ("StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": "Unavailable"}),
]


@pytest.mark.case("1.6 TC_054")
@pytest.mark.parametrize(("message", "said"), SAID_16, ids=[one[0] for one in SAID_16])
async def test_tc_054_what_was_triggered_comes_and_is_taken(server: Server, message: str, said: dict[str, Any]) -> None:
    async with Station16(server, f"P16-054-{message}") as cp:
        cp.table["TriggerMessage"] = GOOD
        await cp.boot()
        about = {"connector_id": 1} if message in {"MeterValues", "StatusNotification"} else {}
        done = await command(server, cp.id, "trigger", {"message": message, **about})
        assert (await instruction(server, done, "EFFECTIVE"))["reason"] == "Accepted"
        connector = {"connectorId": 1} if about else {}
        assert cp.questions("TriggerMessage") == [{"requestedMessage": message, **connector}]
        await cp.ask(message, said)
        await until_logged(server, cp.id, message)
        found = await charger(server, cp.id)
        match message:
            case "BootNotification":
                assert (found["model"], found["registration"]) == ("M2", "Accepted")
            case "StatusNotification":
                assert found["connectors"][0]["status"] == "Unavailable"
            case _:
                assert found["online"] is True


@pytest.mark.parametrize("message", ["LogStatusNotification", "SignChargePointCertificate"])
async def test_what_only_the_white_paper_knows_is_triggered_its_way(server: Server, message: str) -> None:
    async with Station16(server, f"P16-EXT-{message}") as cp:
        cp.table["ExtendedTriggerMessage"] = GOOD
        await cp.boot()
        done = await command(server, cp.id, "trigger", {"message": message})
        await instruction(server, done, "EFFECTIVE")
        assert cp.questions("ExtendedTriggerMessage") == [{"requestedMessage": message}]
        assert cp.questions("TriggerMessage") == []


@pytest.mark.case("1.6 TC_055")
@pytest.mark.parametrize("word", ["Rejected", "NotImplemented"])
async def test_tc_055_a_trigger_that_is_refused_changes_nothing(server: Server, word: str) -> None:
    async with Station16(server, f"P16-055-{word}") as cp:
        cp.table["TriggerMessage"] = {"status": word}
        await cp.boot()
        await cp.status("Available")
        done = await command(server, cp.id, "trigger", {"message": "StatusNotification", "connector_id": 1})
        assert (await instruction(server, done, "REFUSED"))["reason"] == word
        assert (await charger(server, cp.id))["connectors"][0]["status"] == "Available"
        assert await cp.is_served()


# -- registration


@asynccontextmanager
async def stays(server: Server, charger_id: str, word: str = "Pending") -> AsyncIterator[Station16]:
    await server.api("POST", "/api/v1/chargers", {"id": charger_id, "registration": word})
    async with Station16(server, charger_id) as cp:
        assert (await cp.boot())["status"] == word
        yield cp


async def test_while_pending_only_what_we_asked_for_is_heard(server: Server) -> None:
    async with stays(server, "P16-PEND") as cp:
        Keys(cp, KEYS)
        cp.table["TriggerMessage"] = GOOD
        for action, said in SAID_16[1:]:
            assert await cp.refused(action, said) == "SecurityError"
        assert (await charger(server, cp.id))["connectors"] == []
        assert await answered(server, cp.id, "GetConfiguration", {})  # configuration is allowed
        await until_held(server, cp.id, **KEYS)
        await answered(server, cp.id, "TriggerMessage", {"requestedMessage": "StatusNotification", "connectorId": 1})
        await cp.status("Unavailable")  # asked for: B02.FR.02, errata J-3.10
        assert (await charger(server, cp.id))["connectors"][0]["status"] == "Unavailable"
        assert await cp.refused("Heartbeat", {}) == "SecurityError"


async def test_while_pending_nobody_is_asked_to_start_or_stop(server: Server) -> None:
    async with stays(server, "P16-PEND-START") as cp:
        problem = await server.api(
            "POST", f"/api/v1/chargers/{cp.id}/commands/start", {"token": "TAG", "connector_id": 1}, expect=409
        )
        assert "Pending" in str(problem)
        await server.api("POST", f"/api/v1/chargers/{cp.id}/ocpp/RemoteStartTransaction", {"idTag": "TAG"}, expect=409)
        await server.api(
            "POST", f"/api/v1/chargers/{cp.id}/ocpp/RemoteStopTransaction", {"transactionId": 1}, expect=409
        )
        assert cp.asked == []


async def test_what_carries_money_is_stored_although_it_is_refused(server: Server) -> None:
    async with stays(server, "P16-PEND-MONEY") as cp:
        assert await cp.refused("StartTransaction", cp.start_of("TAG", 100)) == "SecurityError"
        assert (await session(server, cp.id))["meter_start_wh"] == 100


async def test_nothing_is_sent_to_a_rejected_charger(server: Server) -> None:
    async with stays(server, "P16-REJ", "Rejected") as cp:
        assert await cp.refused("Heartbeat", {}) == "SecurityError"
        refused = await server.api("POST", f"/api/v1/chargers/{cp.id}/commands/get_config", {}, expect=409)
        assert "Rejected" in str(refused)
        await server.api("POST", f"/api/v1/chargers/{cp.id}/ocpp/GetConfiguration", {}, expect=409)
        await server.api("PATCH", f"/api/v1/chargers/{cp.id}", {"registration": "Accepted"})
        await server.api("POST", f"/api/v1/chargers/{cp.id}/ocpp/GetConfiguration", {}, expect=409)
        assert cp.asked == []
        assert (await cp.boot())["status"] == "Accepted"  # its next try
        assert (await raw(server, cp.id, "GetConfiguration", {}))["status"] == "call_error"  # it was asked
        assert await sessions(server, cp.id) == []


# -- security events


async def events(server: Server, charger_id: str) -> list[dict[str, Any]]:
    found = await server.api("GET", f"/api/v1/chargers/{charger_id}/events")
    items: list[dict[str, Any]] = found["items"]
    return items[::-1]


async def test_security_events_are_listed_and_the_grave_ones_open_a_case_once(server: Server) -> None:
    async with Station16(server, "P16-SEC") as cp:
        await cp.boot()
        startup = {"type": "StartupOfTheDevice", "timestamp": at()}
        tamper = {"type": "TamperDetectionActivated", "timestamp": at(), "techInfo": "door"}
        for said in (startup, tamper, tamper, {**tamper, "timestamp": at(60)}):
            assert await cp.ask("SecurityEventNotification", said) == {}

        async def all_told() -> list[dict[str, Any]]:
            found = await events(server, cp.id)
            return found if len(found) == 3 else []

        told = await until(all_told)
        assert [(one["name"], one["severity"], one["kind"]) for one in told] == [
            ("StartupOfTheDevice", 7, "security"),
            ("TamperDetectionActivated", 1, "security"),
            ("TamperDetectionActivated", 1, "security"),
        ]
        assert (told[1]["value"], told[1]["severity_word"]) == ("door", "hardware failure")
        cases = (await server.api("GET", f"/api/v1/cases?charger_id={cp.id}"))["items"]
        assert [(case["type"], case["state"]) for case in cases] == [("SECURITY_EVENT", "open")]
