"""OCPP 2.0.1, block B: registration, variables, reports and resets, case by case on the wire and in the records."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from held import Variables, configuration
from running import Server, running
from wire import Station201, answered, at, charger, command, instruction, session, sessions, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = {"status": "Accepted"}
ROWS = {
    "OCPPCommCtrlr.OfflineThreshold": ("60", "ReadWrite"),
    "OCPPCommCtrlr.HeartbeatInterval": ("300", "ReadWrite"),
    "AuthCtrlr.AuthorizeRemoteStart": ("true", "ReadWrite"),
    "TxCtrlr.EVConnectionTimeOut": ("120", "ReadWrite"),
}


def asked_of(*names: str) -> list[dict[str, Any]]:
    return [Variables.place(name) for name in names]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    # Errands run here: TC_B_02 and TC_B_31 are about what we ask of our own accord.
    settings = {"ocpp": {"settle_s": 0.2, "pending_interval_s": 5}, "provisioning": {"inventory": "never"}}
    async with running(tmp_path_factory.mktemp("provisioning201"), settings) as running_server:
        await token(running_server, "TOKEN")
        yield running_server


async def until_held(server: Server, charger_id: str, wanted: dict[str, str | None]) -> None:
    async def is_held() -> bool:
        held = await configuration(server, charger_id)
        return all(held.get(name, "absent") == value for name, value in wanted.items())

    assert await until(is_held)


@asynccontextmanager
async def stays(server: Server, charger_id: str, word: str) -> AsyncIterator[Station201]:
    await server.api("POST", "/api/v1/chargers", {"id": charger_id, "registration": word})
    async with Station201(server, charger_id) as cs:
        answer = await cs.boot()
        # As configured for one that waits; one that is not wanted need not knock often.
        assert (answer["status"], answer["interval"]) == (word, 300 if word == "Rejected" else 5)
        yield cs


# -- registration


@pytest.mark.case("2.0.1 TC_B_02")
async def test_tc_b_02_pending_then_accepted(server: Server) -> None:
    async with stays(server, "PB02", "Pending") as cs:
        cs.table["SetVariables"] = Variables(cs, ROWS).set
        cs.table["TriggerMessage"] = GOOD
        changed = {"setVariableData": [{**asked_of("OCPPCommCtrlr.OfflineThreshold")[0], "attributeValue": "90"}]}
        await answered(server, cs.id, "SetVariables", changed)
        await until_held(server, cs.id, {"OCPPCommCtrlr.OfflineThreshold": "90"})
        assert cs.questions("TriggerMessage") == []
        await server.api("PATCH", f"/api/v1/chargers/{cs.id}", {"registration": "Accepted"})
        assert await cs.until_asked("TriggerMessage") == {"requestedMessage": "BootNotification"}
        assert (await cs.boot("Triggered"))["status"] == "Accepted"
        await cs.status("Available")
        found = await charger(server, cs.id)
        assert (found["registration"], found["boot_reason"]) == ("Accepted", "Triggered")


@pytest.mark.case("2.0.1 TC_B_30")
@pytest.mark.parametrize("word", ["Pending", "Rejected"])
async def test_tc_b_30_before_it_is_accepted_all_else_is_a_security_error(server: Server, word: str) -> None:
    async with stays(server, f"PB30-{word}", word) as cs:
        said = {"timestamp": at(), "connectorStatus": "Available", "evseId": 1, "connectorId": 1}
        assert await cs.refused("StatusNotification", said) == "SecurityError"
        assert await cs.refused("Heartbeat", {}) == "SecurityError"
        token_said = {"idToken": {"idToken": "TOKEN", "type": "ISO14443"}}
        assert await cs.refused("Authorize", token_said) == "SecurityError"
        assert (await charger(server, cs.id))["connectors"] == []
        started = cs.event_of("Started", f"b30-{word}", "CablePluggedIn", wh=10)
        assert await cs.refused("TransactionEvent", started) == "SecurityError"
        assert (await session(server, cs.id))["transaction_ids"] == [f"b30-{word}"]  # its money is not lost


@pytest.mark.case("2.0.1 TC_B_31")
async def test_tc_b_31_while_pending_what_was_triggered_is_heard(server: Server) -> None:
    async with stays(server, "PB31", "Pending") as cs:
        cs.table["TriggerMessage"] = GOOD
        said = {"timestamp": at(), "connectorStatus": "Available", "evseId": 1, "connectorId": 1}
        assert await cs.refused("StatusNotification", said) == "SecurityError"
        asked = {"requestedMessage": "StatusNotification", "evse": {"id": 1, "connectorId": 1}}
        assert await answered(server, cs.id, "TriggerMessage", asked) == GOOD
        await cs.status("Available")
        assert [one["status"] for one in (await charger(server, cs.id))["connectors"]] == ["Available"]
        assert await answered(server, cs.id, "TriggerMessage", {"requestedMessage": "BootNotification"}) == GOOD
        assert (await cs.boot("Triggered"))["status"] == "Pending"
        assert await cs.refused("Heartbeat", {}) == "SecurityError"


async def test_while_pending_a_report_we_asked_for_is_heard(server: Server) -> None:
    async with stays(server, "PB-REPORT", "Pending") as cs:
        model = Variables(cs, ROWS)
        unasked = {"requestId": 1, "generatedAt": at(), "seqNo": 0, "reportData": model.entries()}
        assert await cs.refused("NotifyReport", unasked) == "SecurityError"
        asked = {"requestId": 700, "reportBase": "FullInventory"}
        assert await answered(server, cs.id, "GetBaseReport", asked) == GOOD
        await until_held(server, cs.id, {name: value for name, (value, _) in ROWS.items()})


async def test_while_pending_nobody_is_asked_to_start_or_stop(server: Server) -> None:
    async with stays(server, "PB-START", "Pending") as cs:
        start = {"idToken": {"idToken": "TOKEN", "type": "Central"}, "remoteStartId": 1}
        at_charger = f"/api/v1/chargers/{cs.id}"
        await server.api("POST", f"{at_charger}/ocpp/RequestStartTransaction", start, expect=409)
        await server.api("POST", f"{at_charger}/ocpp/RequestStopTransaction", {"transactionId": "x"}, expect=409)
        await server.api("POST", f"{at_charger}/commands/start", {"token": "TOKEN", "evse_id": 1}, expect=409)
        assert cs.asked == []
        assert await sessions(server, cs.id) == []


# -- variables


@pytest.mark.case("2.0.1 TC_B_07")
async def test_tc_b_07_several_variables_are_read_at_once(server: Server) -> None:
    async with Station201(server, "PB07") as cs:
        Variables(cs, ROWS)
        await cs.boot()
        names = ["OCPPCommCtrlr.OfflineThreshold", "AuthCtrlr.AuthorizeRemoteStart"]
        done = await instruction(server, await command(server, cs.id, "get_config", {"keys": names}), "EFFECTIVE")
        assert cs.questions("GetVariables") == [{"getVariableData": asked_of(*names)}]
        results = done["response"]["getVariableResult"]
        assert [one["attributeValue"] for one in results] == ["60", "true"]
        await until_held(server, cs.id, {names[0]: "60", names[1]: "true"})


@pytest.mark.case("2.0.1 TC_B_06", "2.0.1 TC_B_09")
async def test_tc_b_06_09_one_variable_is_read_set_and_kept(server: Server) -> None:
    async with Station201(server, "PB09") as cs:
        model = Variables(cs, ROWS)
        await cs.boot()
        name = "OCPPCommCtrlr.OfflineThreshold"
        await answered(server, cs.id, "GetVariables", {"getVariableData": asked_of(name)})
        await until_held(server, cs.id, {name: "60"})
        begun = await command(server, cs.id, "set_config", {"key": name, "value": "123"})
        await instruction(server, begun, "EFFECTIVE")
        assert cs.questions("SetVariables") == [{"setVariableData": [{**asked_of(name)[0], "attributeValue": "123"}]}]
        assert model.rows[name][0] == "123"
        await until_held(server, cs.id, {name: "123"})


@pytest.mark.case("2.0.1 TC_B_10")
async def test_tc_b_10_several_variables_are_set_at_once(server: Server) -> None:
    async with Station201(server, "PB10") as cs:
        model = Variables(cs, ROWS)
        model.words["AuthCtrlr.AuthorizeRemoteStart"] = "Rejected"
        await cs.boot()
        names = ["OCPPCommCtrlr.OfflineThreshold", "AuthCtrlr.AuthorizeRemoteStart"]
        wanted = [
            {**place, "attributeValue": value} for place, value in zip(asked_of(*names), ("123", "false"), strict=True)
        ]
        await answered(server, cs.id, "GetVariables", {"getVariableData": asked_of(*names)})
        outcome = await answered(server, cs.id, "SetVariables", {"setVariableData": wanted})
        assert [one["attributeStatus"] for one in outcome["setVariableResult"]] == ["Accepted", "Rejected"]
        assert cs.questions("SetVariables") == [{"setVariableData": wanted}]
        await until_held(server, cs.id, {names[0]: "123", names[1]: "true"})


async def test_a_variable_is_named_as_the_list_shows_it(server: Server) -> None:
    async with Station201(server, "PB-NAME") as cs:
        cs.table["GetVariables"] = {"getVariableResult": []}
        await cs.boot()
        await command(server, cs.id, "get_config", {"keys": ["OCPPCommCtrlr.MessageTimeout[Default]", "EVSE@1.Power"]})
        named, placed = (await cs.until_asked("GetVariables"))["getVariableData"]
        assert named["variable"] == {"name": "MessageTimeout", "instance": "Default"}
        assert placed["component"] == {"name": "EVSE", "evse": {"id": 1}}


async def test_an_unknown_variable_is_forgotten(server: Server) -> None:
    async with Station201(server, "PB-GONE") as cs:
        model = Variables(cs, ROWS)
        await cs.boot()
        name = "TxCtrlr.EVConnectionTimeOut"
        await answered(server, cs.id, "GetVariables", {"getVariableData": asked_of(name)})
        await until_held(server, cs.id, {name: "120"})
        del model.rows[name]
        await answered(server, cs.id, "GetVariables", {"getVariableData": asked_of(name)})

        async def is_gone() -> bool:
            return name not in await configuration(server, cs.id)

        assert await until(is_gone)


# -- reports


@pytest.mark.parametrize(
    ("number", "base"),
    [
        pytest.param(712, "ConfigurationInventory", marks=pytest.mark.case("2.0.1 TC_B_12")),
        pytest.param(713, "FullInventory", marks=pytest.mark.case("2.0.1 TC_B_13")),
        pytest.param(714, "SummaryInventory", marks=pytest.mark.case("2.0.1 TC_B_14")),
    ],
)
async def test_tc_b_12_13_14_a_base_report_is_taken_part_by_part(server: Server, number: int, base: str) -> None:
    async with Station201(server, f"PB12-{base}") as cs:
        model = Variables(cs, ROWS)
        model.parts = 4
        await cs.boot()
        asked = {"requestId": number, "reportBase": base}
        assert await answered(server, cs.id, "GetBaseReport", asked) == GOOD
        assert cs.questions("GetBaseReport") == [asked]
        await until_held(server, cs.id, {name: value for name, (value, _) in ROWS.items()})


@pytest.mark.case("2.0.1 TC_B_13")
async def test_tc_b_13_everything_is_read_when_an_operator_asks(server: Server) -> None:
    async with Station201(server, "PB13") as cs:
        Variables(cs, ROWS)
        await cs.boot()
        await server.api("POST", f"/api/v1/chargers/{cs.id}/configuration/read", {}, expect=202)
        assert (await cs.until_asked("GetBaseReport"))["reportBase"] == "FullInventory"
        await until_held(server, cs.id, {name: value for name, (value, _) in ROWS.items()})


@pytest.mark.case("2.0.1 TC_B_18")
@pytest.mark.parametrize(
    ("number", "about"),
    [
        (718, {"componentCriteria": ["Available"]}),
        (719, {"componentVariable": [{"component": {"name": "TxCtrlr"}, "variable": {"name": "EVConnectionTimeOut"}}]}),
        (
            720,
            {
                "componentCriteria": ["Problem", "Active"],
                "componentVariable": [{"component": {"name": "TxCtrlr"}}],
            },
        ),
    ],
    ids=["criteria", "variable", "both"],
)
async def test_tc_b_18_a_report_by_criteria_components_and_variables(
    server: Server, number: int, about: dict[str, Any]
) -> None:
    async with Station201(server, f"PB18-{number}") as cs:
        model = Variables(cs, {"TxCtrlr.EVConnectionTimeOut": ("120", "ReadWrite")})
        model.parts = 1
        cs.table["GetReport"] = model.report
        await cs.boot()
        asked = {"requestId": number, **about}
        assert await answered(server, cs.id, "GetReport", asked) == GOOD
        assert cs.questions("GetReport") == [asked]
        await until_held(server, cs.id, {"TxCtrlr.EVConnectionTimeOut": "120"})


@pytest.mark.case("2.0.1 TC_B_18")
async def test_tc_b_18_nothing_to_report(server: Server) -> None:
    async with Station201(server, "PB18-EMPTY") as cs:
        cs.table["GetReport"] = {"status": "EmptyResultSet"}
        await cs.boot()
        asked = {"requestId": 721, "componentCriteria": ["Problem"]}
        assert await answered(server, cs.id, "GetReport", asked) == {"status": "EmptyResultSet"}
        assert await configuration(server, cs.id) == {}


# -- resets of one EVSE


@pytest.mark.case("2.0.1 TC_B_25")
async def test_tc_b_25_reset_of_an_idle_evse(server: Server) -> None:
    async with Station201(server, "PB25") as cs:
        cs.table["Reset"] = GOOD
        await cs.boot()
        await cs.status("Available", evse=1)
        begun = await command(server, cs.id, "reset", {"evse_id": 1})
        assert (await instruction(server, begun, "ACCEPTED"))["reason"] == "Accepted"
        assert cs.questions("Reset") == [{"type": "OnIdle", "evseId": 1}]
        await cs.status("Unavailable", evse=1)
        await cs.status("Available", evse=1)
        await instruction(server, begun, "EFFECTIVE")
        found = await charger(server, cs.id)
        assert (found["online"], found["connectors"][0]["status"]) == (True, "Available")


@pytest.mark.case("2.0.1 TC_B_26")
async def test_tc_b_26_reset_on_idle_of_an_evse_waits_for_its_transaction(server: Server) -> None:
    async with Station201(server, "PB26") as cs:
        cs.table["Reset"] = {"status": "Scheduled"}
        await cs.boot()
        await cs.event("Started", "b26", "CablePluggedIn", token="TOKEN", wh=0)
        begun = await command(server, cs.id, "reset", {"evse_id": 1})
        assert (await instruction(server, begun, "ACCEPTED"))["reason"] == "Scheduled"
        assert cs.questions("Reset") == [{"type": "OnIdle", "evseId": 1}]
        assert (await session(server, cs.id))["state"] == "ACTIVE"
        await cs.event("Ended", "b26", "EVDeparted", wh=100, info={"stoppedReason": "EVDisconnected"})
        over = await session(server, cs.id)
        assert (over["open"], over["stop_reason"], over["energy_wh"]) == (False, "EVDisconnected", 100)
        await cs.status("Unavailable", evse=1)
        await cs.status("Available", evse=1)
        await instruction(server, begun, "EFFECTIVE")


@pytest.mark.case("2.0.1 TC_B_27")
async def test_tc_b_27_reset_immediate_of_an_evse_ends_its_transaction(server: Server) -> None:
    async with Station201(server, "PB27") as cs:
        cs.table["Reset"] = GOOD
        await cs.boot()
        await cs.event("Started", "b27", "CablePluggedIn", token="TOKEN", wh=0)
        await cs.event("Started", "b27-2", "CablePluggedIn", token="OTHER", wh=0, evse=2)
        asked = {"type": "Immediate", "evseId": 1}
        assert await answered(server, cs.id, "Reset", asked) == GOOD
        assert cs.questions("Reset") == [asked]
        await cs.event("Ended", "b27", "ResetCommand", wh=100, info={"stoppedReason": "ImmediateReset"})
        other, over = sorted(await sessions(server, cs.id), key=lambda one: one["evse_id"], reverse=True)
        assert (over["open"], over["stop_reason"], over["energy_wh"]) == (False, "ImmediateReset", 100)
        assert other["transaction_ids"] == ["b27-2"]
        assert other["open"] is True  # the other EVSE went on
