"""The CSMS certification cases of OCPP 2.0.1 (OCPP.md 4.5), case by case, on frames and the REST API alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from running import Server, running
from websockets.exceptions import InvalidStatus
from wire import (
    Refuse,
    Station201,
    answered,
    at,
    charger,
    command,
    idle_samples,
    instruction,
    raw,
    session,
    sessions,
    token,
    until_session,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = {"status": "Accepted"}
THRESHOLD = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "OfflineThreshold"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("ocpp201")) as running_server:
        await token(running_server, "TOKEN")
        await token(running_server, "MEMBER", group_id="FLEET")
        await token(running_server, "COLLEAGUE", group_id="FLEET")
        yield running_server


# -- A: security


async def test_tc_a_01_02_03_basic_authentication(server: Server) -> None:
    await server.api("POST", "/api/v1/chargers", {"id": "A01", "password": "a-password-of-20-ch."})
    async with Station201(server, "A01", password="a-password-of-20-ch.") as cs:
        assert (await cs.boot())["status"] == "Accepted"
    for wrong in (
        Station201(server, "A01", password="a-password-of-20-ch.", user="A02"),  # A_02
        Station201(server, "A01", password="another-password-20."),  # A_03
    ):
        with pytest.raises(InvalidStatus) as refused:
            await wrong.connect()
        assert refused.value.response.status_code == 401


# -- B: provisioning


@pytest.mark.case("2.0.1 TC_B_01")
async def test_tc_b_01_cold_boot(server: Server) -> None:
    async with Station201(server, "B01") as cs:
        answer = await cs.boot()
        assert answer["status"] == "Accepted"
        assert answer["interval"] > 0
        await cs.status("Available")
        await cs.status("Available", evse=2)
        found = await charger(server, "B01")
        assert (found["transport"], found["boot_reason"], found["model"]) == ("ocpp2.0.1", "PowerUp", "M")
        assert [(one["evse_id"], one["connector_id"]) for one in found["connectors"]] == [(1, 1), (2, 1)]


@pytest.mark.case("2.0.1 TC_B_06")
async def test_tc_b_06_get_variables(server: Server) -> None:
    async with Station201(server, "B06") as cs:
        result = [{"attributeStatus": "Accepted", "attributeValue": "60", **THRESHOLD}]
        cs.table["GetVariables"] = {"getVariableResult": result}
        await cs.boot()
        asked = {"getVariableData": [THRESHOLD]}
        assert await answered(server, "B06", "GetVariables", asked) == {"getVariableResult": result}
        done = await command(server, "B06", "get_config", {"keys": ["OCPPCommCtrlr.OfflineThreshold"]})
        assert (await instruction(server, done, "EFFECTIVE"))["response"] == {"getVariableResult": result}
        assert cs.questions("GetVariables") == [asked, asked]


@pytest.mark.case("2.0.1 TC_B_09")
@pytest.mark.parametrize(("status", "state"), [("Accepted", "EFFECTIVE"), ("Rejected", "REFUSED")])
async def test_tc_b_09_set_variables(server: Server, status: str, state: str) -> None:
    async with Station201(server, f"B09-{status}") as cs:
        cs.table["SetVariables"] = {"setVariableResult": [{"attributeStatus": status, **THRESHOLD}]}
        await cs.boot()
        asked = {"setVariableData": [{**THRESHOLD, "attributeValue": "123"}]}
        outcome = await answered(server, cs.id, "SetVariables", asked)
        assert outcome["setVariableResult"][0]["attributeStatus"] == status
        begun = await command(server, cs.id, "set_config", {"key": "OCPPCommCtrlr.OfflineThreshold", "value": "123"})
        assert (await instruction(server, begun, state))["reason"] == status
        assert cs.questions("SetVariables") == [asked, asked]


async def test_everything_is_read_as_a_base_report(server: Server) -> None:
    async with Station201(server, "B12") as cs:
        cs.table["GetBaseReport"] = GOOD
        await cs.boot()
        await instruction(server, await command(server, "B12", "get_config"), "EFFECTIVE")
        (asked,) = cs.questions("GetBaseReport")
        assert asked["reportBase"] == "FullInventory"
        report = {"requestId": asked["requestId"], "generatedAt": at(), "seqNo": 0, "tbc": False}
        assert await cs.ask("NotifyReport", report) == {}


@pytest.mark.case("2.0.1 TC_B_20")
async def test_tc_b_20_reset_on_idle_without_a_transaction(server: Server) -> None:
    async with Station201(server, "B20") as cs:
        cs.table["Reset"] = GOOD
        await cs.boot()
        begun = await command(server, "B20", "reset")
        assert (await instruction(server, begun, "ACCEPTED"))["reason"] == "Accepted"
        assert cs.questions("Reset") == [{"type": "OnIdle"}]
        await cs.close()
        await cs.connect()
        assert (await cs.boot("RemoteReset"))["status"] == "Accepted"
        await instruction(server, begun, "EFFECTIVE")
        assert (await charger(server, "B20"))["boot_reason"] == "RemoteReset"


@pytest.mark.case("2.0.1 TC_B_21")
async def test_tc_b_21_reset_on_idle_waits_for_the_transaction(server: Server) -> None:
    async with Station201(server, "B21") as cs:
        cs.table["Reset"] = {"status": "Scheduled"}
        await cs.boot()
        await cs.event("Started", "b21", "CablePluggedIn", token="TOKEN", wh=0)
        begun = await command(server, "B21", "reset", {"type": "OnIdle"})
        promised = await instruction(server, begun, "ACCEPTED")
        assert promised["reason"] == "Scheduled"
        assert cs.questions("Reset") == [{"type": "OnIdle"}]
        assert (await session(server, "B21"))["state"] == "ACTIVE"
        await cs.event("Ended", "b21", "EVDeparted", wh=100, info={"stoppedReason": "EVDisconnected"})
        assert (await session(server, "B21"))["open"] is False
        assert (await cs.boot("ScheduledReset"))["status"] == "Accepted"
        await instruction(server, begun, "EFFECTIVE")


@pytest.mark.case("2.0.1 TC_B_22")
async def test_tc_b_22_reset_immediate_ends_the_transaction(server: Server) -> None:
    async with Station201(server, "B22") as cs:
        cs.table["Reset"] = GOOD
        await cs.boot()
        await cs.event("Started", "b22", "CablePluggedIn", token="TOKEN", wh=0)
        await server.api("POST", "/api/v1/chargers/B22/commands/reset", {"type": "Immediate"}, expect=409)
        assert cs.questions("Reset") == []  # what it loses has to be wanted
        begun = await command(server, "B22", "reset", {"type": "Immediate", "force": True})
        assert (await instruction(server, begun, "ACCEPTED"))["reason"] == "Accepted"
        assert cs.questions("Reset") == [{"type": "Immediate"}]
        await cs.event("Ended", "b22", "ResetCommand", wh=100, info={"stoppedReason": "ImmediateReset"})
        await cs.close()
        await cs.connect()
        assert (await cs.boot("RemoteReset"))["status"] == "Accepted"
        await instruction(server, begun, "EFFECTIVE")
        over = await session(server, "B22")
        assert (over["open"], over["stop_reason"], over["energy_wh"]) == (False, "ImmediateReset", 100)


# -- C: authorisation


@pytest.mark.case("2.0.1 TC_C_02", "2.0.1 TC_C_06", "2.0.1 TC_C_07")
async def test_tc_c_02_06_07_bad_tokens_are_told_why(server: Server) -> None:
    await token(server, "C-BLOCKED", "Blocked")
    await token(server, "C-EXPIRED", expires_at="2020-01-01T00:00:00Z")
    async with Station201(server, "C02") as cs:
        await cs.boot()
        assert (await cs.authorize("NOBODY"))["status"] in {"Invalid", "Unknown"}
        assert (await cs.authorize("C-BLOCKED"))["status"] == "Blocked"
        assert (await cs.authorize("C-EXPIRED"))["status"] == "Expired"
        assert (await cs.authorize("TOKEN"))["status"] == "Accepted"
        assert (await cs.authorize("", "NoAuthorization"))["status"] == "Accepted"
        assert await sessions(server, "C02") == []


@pytest.mark.case("2.0.1 TC_C_08", "2.0.1 TC_C_20")
async def test_tc_c_08_20_cached_tokens_in_transaction_events(server: Server) -> None:
    async with Station201(server, "C08") as cs:
        await cs.boot()
        good = await cs.event("Started", "c08", "Authorized", token="TOKEN", wh=0)
        assert good["idTokenInfo"]["status"] == "Accepted"
        await cs.event("Ended", "c08", "StopAuthorized", token="TOKEN", wh=10)
        bad = await cs.event("Started", "c20", "Authorized", token="NOBODY", wh=10)
        assert bad["idTokenInfo"]["status"] in {"Invalid", "Unknown"}


@pytest.mark.case("2.0.1 TC_C_37", "2.0.1 TC_C_38")
async def test_tc_c_37_38_clear_cache(server: Server) -> None:
    async with Station201(server, "C37") as cs:
        await cs.boot()
        for status, state in (("Accepted", "EFFECTIVE"), ("Rejected", "REFUSED")):
            cs.table["ClearCache"] = {"status": status}
            assert await answered(server, "C37", "ClearCache", {}) == {"status": status}
            done = await instruction(server, await command(server, "C37", "clear_cache"), state)
            assert (done["reason"], done["response"]) == (status, {"status": status})
        assert cs.questions("ClearCache") == [{}] * 4


@pytest.mark.case("2.0.1 TC_C_39")
async def test_tc_c_39_one_of_the_group_stops_what_another_started(server: Server) -> None:
    wanted = {"status": "Accepted", "groupIdToken": {"idToken": "FLEET", "type": "Central"}}
    async with Station201(server, "C39") as cs:
        await cs.boot()
        assert await cs.authorize("MEMBER") == wanted
        assert (await cs.event("Started", "c39", "Authorized", token="MEMBER", wh=0))["idTokenInfo"] == wanted
        # The station compares the groups it was told: that of the second token must be there, and be the same.
        assert await cs.authorize("COLLEAGUE") == wanted
        assert "groupIdToken" not in await cs.authorize("TOKEN")
        stopping = await cs.event("Updated", "c39", "StopAuthorized", token="COLLEAGUE", wh=5)
        assert stopping["idTokenInfo"] == wanted
        assert (await cs.event("Ended", "c39", "StopAuthorized", token="COLLEAGUE", wh=5))["idTokenInfo"] == wanted
        over = await session(server, "C39")
        assert (over["open"], over["token"], over["energy_wh"], over["end_cause"]) == (False, "MEMBER", 5, "Local")


# -- E: transactions


@pytest.mark.parametrize(
    ("case", "trigger", "state", "id_token"),
    [
        pytest.param(  # PowerPathClosed
            "E_01", "ChargingStateChanged", "Charging", "TOKEN", marks=pytest.mark.case("2.0.1 TC_E_01"), id="e_01"
        ),
        pytest.param(  # EnergyTransfer
            "E_02", "ChargingStateChanged", "Charging", None, marks=pytest.mark.case("2.0.1 TC_E_02"), id="e_02"
        ),
        pytest.param(  # EVConnected
            "E_09", "CablePluggedIn", "EVConnected", None, marks=pytest.mark.case("2.0.1 TC_E_09"), id="e_09"
        ),
        pytest.param(  # Authorized
            "E_10", "Authorized", "EVConnected", "TOKEN", marks=pytest.mark.case("2.0.1 TC_E_10"), id="e_10"
        ),
        pytest.param(  # DataSigned
            "E_11", "SignedDataReceived", "EVConnected", "TOKEN", marks=pytest.mark.case("2.0.1 TC_E_11"), id="e_11"
        ),
        pytest.param(  # ParkingBayOccupancy
            "E_12", "EVDetected", None, None, marks=pytest.mark.case("2.0.1 TC_E_12"), id="e_12"
        ),
    ],
)
async def test_tc_e_start_points(
    server: Server, case: str, trigger: str, state: str | None, id_token: str | None
) -> None:
    async with Station201(server, case) as cs:
        await cs.boot()
        info = {"chargingState": state} if state is not None else {}
        answer = await cs.event("Started", case, trigger, token=id_token, info=info, wh=1000)
        if id_token is not None:
            assert answer["idTokenInfo"]["status"] == "Accepted"
        else:
            assert "idTokenInfo" not in answer
            later = await cs.event("Updated", case, "Authorized", token="TOKEN", info={"chargingState": "Charging"})
            assert later["idTokenInfo"]["status"] == "Accepted"
        await cs.event("Updated", case, "MeterValuePeriodic", wh=1100, info={"chargingState": "Charging"})
        found = await session(server, case)
        assert (found["state"], found["energy_wh"], found["token"]) == ("ACTIVE", 100, "TOKEN")
        assert found["transaction_ids"] == [case]
        await cs.event("Ended", case, "EVCommunicationLost", wh=1200, info={"stoppedReason": "EVDisconnected"})
        over = await session(server, case)
        assert (over["open"], over["energy_wh"], over["quality"]) == (False, 200, "A")


@pytest.mark.parametrize(
    "cable_first",
    [
        pytest.param(True, marks=pytest.mark.case("2.0.1 TC_E_03"), id="e_03"),
        pytest.param(False, marks=pytest.mark.case("2.0.1 TC_E_04"), id="e_04"),
    ],
)
async def test_tc_e_03_04_cable_or_token_first(server: Server, cable_first: bool) -> None:
    async with Station201(server, f"E03-{cable_first}") as cs:
        await cs.boot()
        if cable_first:
            await cs.status("Occupied")
            await cs.event("Started", cs.id, "CablePluggedIn", info={"chargingState": "EVConnected"}, wh=0)
            assert (await cs.authorize("TOKEN"))["status"] == "Accepted"
            answer = await cs.event("Updated", cs.id, "Authorized", token="TOKEN")
        else:
            assert (await cs.authorize("TOKEN"))["status"] == "Accepted"
            answer = await cs.event("Started", cs.id, "Authorized", token="TOKEN", wh=0)
            await cs.status("Occupied")
            await cs.event("Updated", cs.id, "CablePluggedIn", info={"chargingState": "EVConnected"})
        assert answer["idTokenInfo"]["status"] == "Accepted"
        await cs.event("Updated", cs.id, "ChargingStateChanged", info={"chargingState": "Charging"})
        await cs.event("Updated", cs.id, "MeterValuePeriodic", wh=70)
        found = await session(server, cs.id)
        assert (found["state"], found["token"], found["energy_wh"]) == ("ACTIVE", "TOKEN", 70)


@pytest.mark.case("2.0.1 TC_E_38")
async def test_tc_e_38_the_ev_is_not_ready(server: Server) -> None:
    async with Station201(server, "E38") as cs:
        await cs.boot()
        await cs.event("Started", "e38", "CablePluggedIn", token="TOKEN", wh=0)
        assert await cs.event("Updated", "e38", "ChargingStateChanged", info={"chargingState": "SuspendedEV"}) == {}
        assert (await session(server, "E38"))["state"] == "SUSPENDED"
        await cs.event("Updated", "e38", "ChargingStateChanged", info={"chargingState": "Charging"})
        assert (await session(server, "E38"))["state"] == "ACTIVE"


# What happened before the end (trigger, state), and the end: trigger, reason, and what we call it.
STOPPED_AT_THE_STATION = ("StopAuthorized", "EVConnected")
UNPLUGGED = ("EVCommunicationLost", "Idle")


@pytest.mark.parametrize(
    ("case", "before", "trigger", "reason", "cause"),
    [
        pytest.param(  # PowerPathClosed: the driver ends it at the station
            "E_07", [], "StopAuthorized", "Local", "Local", marks=pytest.mark.case("2.0.1 TC_E_07"), id="e_07"
        ),
        pytest.param(  # EnergyTransfer: a reason that is left out means Local
            "E_08", [], "StopAuthorized", None, "Local", marks=pytest.mark.case("2.0.1 TC_E_08"), id="e_08"
        ),
        pytest.param(  # EVConnected: ended at the station, then unplugged
            "E_14", [STOPPED_AT_THE_STATION], "EVCommunicationLost", "EVDisconnected", "EVDisconnected",
            marks=pytest.mark.case("2.0.1 TC_E_14"), id="e_14",
        ),
        pytest.param(  # Authorized
            "E_15", [], "StopAuthorized", "Local", "Local", marks=pytest.mark.case("2.0.1 TC_E_15"), id="e_15"
        ),
        pytest.param(  # unplugged at the EV: the station takes the authorization back
            "E_17", [UNPLUGGED], "EVCommunicationLost", "EVDisconnected", "EVDisconnected",
            marks=pytest.mark.case("2.0.1 TC_E_17"), id="e_17",
        ),
        pytest.param(  # ParkingBayOccupancy: it ends when the car has left the bay
            "E_19", [STOPPED_AT_THE_STATION, UNPLUGGED], "EVDeparted", "Local", "Local",
            marks=pytest.mark.case("2.0.1 TC_E_19"), id="e_19",
        ),
        pytest.param(  # EVConnected: unplugged at the EV
            "E_20", [], "EVCommunicationLost", "EVDisconnected", "EVDisconnected",
            marks=pytest.mark.case("2.0.1 TC_E_20"), id="e_20",
        ),
        pytest.param(  # EnergyTransfer: the EV has had enough
            "E_22", [("ChargingStateChanged", "SuspendedEV")], "ChargingStateChanged", "StoppedByEV", "StoppedByEV",
            marks=pytest.mark.case("2.0.1 TC_E_22"), id="e_22",
        ),
        pytest.param("LIMIT", [], "EnergyLimitReached", "EnergyLimitReached", "EnergyLimitReached", id="energy_limit"),
        pytest.param("TIME", [], "TimeLimitReached", "TimeLimitReached", "TimeLimitReached", id="time_limit"),
        pytest.param("SOC", [], "ChargingStateChanged", "SOCLimitReached", "SOCLimitReached", id="soc_limit"),
    ],
)  # fmt: skip
async def test_tc_e_stop_points(
    server: Server, case: str, before: list[tuple[str, str]], trigger: str, reason: str | None, cause: str
) -> None:
    async with Station201(server, f"STOP-{case}") as cs:
        await cs.boot()
        started = await cs.event("Started", cs.id, "Authorized", token="TOKEN", wh=500)
        assert started["idTokenInfo"]["status"] == "Accepted"
        await cs.event("Updated", cs.id, "ChargingStateChanged", info={"chargingState": "Charging"})
        for update, state in before:
            said = await cs.event(
                "Updated", cs.id, update, info={"chargingState": state}, token="TOKEN" if "Auth" in update else None
            )
            assert ("idTokenInfo" in said) == ("Auth" in update)
            assert (await session(server, cs.id))["open"] is True
        info = {"stoppedReason": reason} if reason is not None else {}
        said = await cs.event("Ended", cs.id, trigger, wh=800, info=info, token="TOKEN" if "Auth" in trigger else None)
        if "Auth" in trigger:
            assert said["idTokenInfo"]["status"] == "Accepted"
        else:
            assert "idTokenInfo" not in said
        over = await session(server, cs.id)
        assert (over["open"], over["energy_wh"], over["quality"]) == (False, 300, "A")
        assert (over["stop_reason"], over["end_cause"]) == (reason or "Local", cause)


@pytest.mark.case("2.0.1 TC_E_16")
async def test_tc_e_16_a_bad_token_is_told_and_the_station_deauthorises(server: Server) -> None:
    async with Station201(server, "E16") as cs:
        await cs.boot()
        bad = await cs.event("Started", "e16", "Authorized", token="NOBODY", wh=0)
        assert bad["idTokenInfo"]["status"] in {"Invalid", "Unknown"}
        assert (await session(server, "E16"))["state"] == "STOPPING"
        await cs.event("Ended", "e16", "Deauthorized", wh=0, info={"stoppedReason": "DeAuthorized"})
        over = await session(server, "E16")
        assert (over["open"], over["energy_wh"], over["state"]) == (False, 0, "VOID")


@pytest.mark.case("2.0.1 TC_E_21")
async def test_tc_e_21_request_stop_names_the_stations_transaction(server: Server) -> None:
    async with Station201(server, "E21") as cs:
        cs.table["RequestStopTransaction"] = GOOD
        await cs.boot()
        await cs.event("Started", "a-station's-own-id", "Authorized", token="TOKEN", wh=0)
        stopping = await command(server, "E21", "stop", {"transaction_id": "a-station's-own-id"})
        assert await cs.until_asked("RequestStopTransaction") == {"transactionId": "a-station's-own-id"}
        await cs.event("Updated", "a-station's-own-id", "RemoteStop", info={"chargingState": "EVConnected"})
        await cs.event("Ended", "a-station's-own-id", "RemoteStop", wh=50, info={"stoppedReason": "Remote"})
        await instruction(server, stopping, "EFFECTIVE")
        assert (await session(server, "E21"))["end_cause"] == "Remote"


@pytest.mark.case("2.0.1 TC_E_26")
async def test_tc_e_26_the_cable_is_out_and_the_transaction_goes_on(server: Server) -> None:
    async with Station201(server, "E26") as cs:
        await cs.boot()
        await cs.event("Started", "e26", "Authorized", token="TOKEN", wh=0)
        await cs.event("Updated", "e26", "EVCommunicationLost", info={"chargingState": "Idle"}, wh=20)
        await cs.status("Available")
        assert (await session(server, "E26"))["open"] is True
        await cs.event("Updated", "e26", "CablePluggedIn", info={"chargingState": "EVConnected"})
        await cs.event("Ended", "e26", "StopAuthorized", wh=40, token="TOKEN")
        assert (await session(server, "E26"))["energy_wh"] == 40


@pytest.mark.case("2.0.1 TC_E_39")
async def test_tc_e_39_the_ev_never_connects_and_the_station_ends_it(server: Server) -> None:
    async with Station201(server, "E39") as cs:
        await cs.boot()
        await cs.status("Available")
        assert (await cs.authorize("TOKEN"))["status"] == "Accepted"
        began = await cs.event("Started", "e39", "Authorized", token="TOKEN", wh=0)
        assert began["idTokenInfo"]["status"] == "Accepted"
        found = await session(server, "E39")
        assert (found["open"], found["token"], found["energy_wh"]) == (True, "TOKEN", 0)
        timeout = {"stoppedReason": "Timeout"}
        assert await cs.event("Ended", "e39", "EVConnectTimeout", wh=0, info=timeout) == {}
        over = await session(server, "E39")
        assert (over["open"], over["energy_wh"], over["stop_reason"]) == (False, 0, "Timeout")
        assert (over["token"], over["transaction_ids"]) == ("TOKEN", ["e39"])


@pytest.mark.case("2.0.1 TC_E_53")
async def test_tc_e_53_two_sessions_that_both_count_from_zero(server: Server) -> None:
    async with Station201(server, "E53") as cs:
        await cs.boot()
        for number, wh in ((1, 0), (2, 100)):
            await cs.event("Started", f"e53-{number}", "Authorized", token="TOKEN", wh=wh, when=at(-20 + number * 5))
            assert cs.seq[f"e53-{number}"] == 0
            ended = at(-19 + number * 5)
            await cs.event("Ended", f"e53-{number}", "StopAuthorized", wh=wh + 100, token="TOKEN", when=ended)
        found = await sessions(server, "E53")
        assert [one["transaction_ids"] for one in found] == [["e53-1"], ["e53-2"]]
        assert [one["energy_wh"] for one in found] == [100, 100]
        assert not any(one["open"] for one in found)


async def test_a_station_that_never_counts_loses_nothing(server: Server) -> None:
    async with Station201(server, "E-SEQ0") as cs:
        await cs.boot()
        await cs.event("Started", "seq0", "Authorized", token="TOKEN", wh=0)
        for wh in (50, 100):
            cs.seq["seq0"] = -1
            await cs.event("Updated", "seq0", "MeterValuePeriodic", wh=wh)
        assert (await session(server, "E-SEQ0"))["energy_wh"] == 100
        cs.seq["seq0"] = -1
        await cs.event("Ended", "seq0", "StopAuthorized", wh=150, token="TOKEN")
        over = await session(server, "E-SEQ0")
        assert (over["open"], over["energy_wh"]) == (False, 150)


async def test_a_repeated_event_under_a_new_message_id_changes_nothing(server: Server) -> None:
    async with Station201(server, "E-DUP") as cs:
        await cs.boot()
        started = cs.event_of("Started", "dup", "Authorized", token="TOKEN", wh=0)
        first = await cs.ask("TransactionEvent", started)
        assert await cs.ask("TransactionEvent", {**started, "offline": True}) == first
        ended = cs.event_of("Ended", "dup", "StopAuthorized", token="TOKEN", wh=100)
        last = await cs.ask("TransactionEvent", ended)
        assert await cs.ask("TransactionEvent", {**ended, "offline": True}) == last
        over = await session(server, "E-DUP")
        assert (over["open"], over["energy_wh"], over["cases"]) == (False, 100, [])


async def test_the_end_before_its_start_makes_one_session(server: Server) -> None:
    async with Station201(server, "E-LATE") as cs:
        await cs.boot()
        started = cs.event_of("Started", "late", "Authorized", token="TOKEN", wh=0)
        ended = cs.event_of("Ended", "late", "StopAuthorized", token="TOKEN", wh=100)
        assert (await cs.ask("TransactionEvent", ended))["idTokenInfo"]["status"] == "Accepted"
        assert (await session(server, "E-LATE"))["state"] == "ORPHAN"
        assert (await cs.ask("TransactionEvent", started))["idTokenInfo"]["status"] == "Accepted"
        over = await session(server, "E-LATE")
        assert (over["open"], over["energy_wh"], over["token"]) == (False, 100, "TOKEN")


async def test_an_offline_transaction_is_taken_with_its_own_times(server: Server) -> None:
    async with Station201(server, "E-OFF") as cs:
        await cs.boot()
        begun, ended = at(-1200), at(-600)
        await cs.event("Started", "off", "Authorized", token="TOKEN", wh=10, when=begun, offline=True)
        await cs.event("Updated", "off", "MeterValuePeriodic", wh=60, when=at(-900), offline=True)
        await cs.event("Ended", "off", "StopAuthorized", token="TOKEN", wh=110, when=ended, offline=True)
        over = await session(server, "E-OFF")
        assert (over["started_at"], over["ended_at"], over["energy_wh"]) == (begun, ended, 100)


async def test_a_power_loss_ends_with_the_stations_own_end(server: Server) -> None:
    async with Station201(server, "E-POWER") as cs:
        await cs.boot()
        await cs.event("Started", "pl", "Authorized", token="TOKEN", wh=0)
        await cs.event("Updated", "pl", "MeterValuePeriodic", wh=80)
        cut = at()
        await cs.cut()
        await until_session(server, "E-POWER", state="SUSPENDED_OFFLINE")
        await cs.connect()
        await cs.boot("PowerUp")
        assert (await session(server, "E-POWER"))["state"] == "INTERRUPTED"
        lost = {"stoppedReason": "PowerLoss"}
        await cs.event("Ended", "pl", "AbnormalCondition", wh=90, info=lost, when=cut, offline=True)
        over = await session(server, "E-POWER")
        assert (over["open"], over["energy_wh"], over["end_cause"]) == (False, 90, "PowerLoss")


# -- F: remote control


@pytest.mark.case("2.0.1 TC_F_01")
async def test_tc_f_01_remote_start_cable_first(server: Server) -> None:
    async with Station201(server, "F01") as cs:
        cs.table["RequestStartTransaction"] = GOOD
        await cs.boot()
        await cs.status("Occupied")
        begun = await command(server, "F01", "start", {"token": "TOKEN", "evse_id": 1})
        asked = await cs.until_asked("RequestStartTransaction")
        assert asked["idToken"]["idToken"] == "TOKEN"
        assert asked["evseId"] == 1
        await instruction(server, begun, "ACCEPTED")
        # F_01 (cable first) with no token in the event: the remote start id is the thread.
        info = {"remoteStartId": asked["remoteStartId"], "chargingState": "EVConnected"}
        await cs.event("Started", "f01", "RemoteStart", info=info, wh=0)
        done = await instruction(server, begun, "EFFECTIVE")
        found = await session(server, "F01")
        assert (done["session_id"], found["token"], found["state"]) == (found["id"], "TOKEN", "ACTIVE")


async def test_every_remote_start_has_its_own_id(server: Server) -> None:
    async with Station201(server, "F02") as cs:
        cs.table["RequestStartTransaction"] = {"status": "Rejected"}
        await cs.boot()
        for _ in range(2):
            begun = await command(server, "F02", "start", {"token": "TOKEN", "evse_id": 1, "connector_id": 1})
            assert (await instruction(server, begun, "REFUSED"))["reason"] == "Rejected"
        ids = [asked["remoteStartId"] for asked in cs.questions("RequestStartTransaction")]
        assert len(set(ids)) == 2


@pytest.mark.case("2.0.1 TC_F_04")
async def test_tc_f_04_a_remote_start_without_a_cable_in_time(server: Server) -> None:
    async with Station201(server, "F03") as cs:
        cs.table["RequestStartTransaction"] = GOOD
        await cs.boot()
        begun = await command(server, "F03", "start", {"token": "TOKEN", "evse_id": 1, "connector_id": 1})
        asked = await cs.until_asked("RequestStartTransaction")
        await cs.event(
            "Started", "f03", "RemoteStart", token="TOKEN", wh=0, info={"remoteStartId": asked["remoteStartId"]}
        )
        await cs.event("Ended", "f03", "EVConnectTimeout", wh=0, info={"stoppedReason": "Timeout"})
        assert (await instruction(server, begun))["state"] == "EFFECTIVE"
        over = await session(server, "F03")
        assert (over["open"], over["energy_wh"]) == (False, 0)


@pytest.mark.case("2.0.1 TC_F_20")
async def test_tc_f_20_trigger_heartbeat(server: Server) -> None:
    async with Station201(server, "F20") as cs:
        cs.table["TriggerMessage"] = GOOD
        await cs.boot()
        assert await answered(server, "F20", "TriggerMessage", {"requestedMessage": "Heartbeat"}) == GOOD
        assert await cs.is_served()


@pytest.mark.case("2.0.1 TC_F_27")
async def test_tc_f_27_trigger_not_implemented(server: Server) -> None:
    async with Station201(server, "F27") as cs:
        await cs.boot()
        cs.table["TriggerMessage"] = {"status": "NotImplemented"}
        begun = await command(server, "F27", "trigger", {"message": "LogStatusNotification"})
        assert (await instruction(server, begun, "REFUSED"))["reason"] == "NotImplemented"

        def refuse(_: dict[str, Any]) -> None:
            raise Refuse("NotImplemented")

        cs.table["TriggerMessage"] = refuse
        outcome = await raw(server, "F27", "TriggerMessage", {"requestedMessage": "LogStatusNotification"})
        assert outcome["status"] == "call_error"
        assert outcome["error"]["code"] == "NotImplemented"


# -- G: availability

LEVELS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("station", {}, {}),
    ("evse", {"evse_id": 1}, {"evse": {"id": 1}}),
    ("connector", {"evse_id": 1, "connector_id": 1}, {"evse": {"id": 1, "connectorId": 1}}),
]


@pytest.mark.parametrize(
    ("level", "where", "said"),
    [
        pytest.param(*LEVELS[0], marks=pytest.mark.case("2.0.1 TC_G_05", "2.0.1 TC_G_06"), id="station"),
        pytest.param(*LEVELS[1], marks=pytest.mark.case("2.0.1 TC_G_03", "2.0.1 TC_G_04"), id="evse"),
        pytest.param(*LEVELS[2], marks=pytest.mark.case("2.0.1 TC_G_07", "2.0.1 TC_G_08"), id="connector"),
    ],
)
async def test_tc_g_03_to_08_change_availability_at_every_level(
    server: Server, level: str, where: dict[str, Any], said: dict[str, Any]
) -> None:
    async with Station201(server, f"G03-{level}") as cs:
        cs.table["ChangeAvailability"] = GOOD
        await cs.boot()
        for kind, status in (("Inoperative", "Unavailable"), ("Operative", "Available")):
            asked = {"operationalStatus": kind, **said}
            assert await answered(server, cs.id, "ChangeAvailability", asked) == GOOD
            begun = await command(server, cs.id, "availability", {"type": kind, **where})
            await instruction(server, begun, "EFFECTIVE")
            assert cs.questions("ChangeAvailability")[-2:] == [asked, asked]
            await cs.status(status)
            (connector,) = (await charger(server, cs.id))["connectors"]
            assert connector["status"] == status


@pytest.mark.parametrize(
    ("level", "where", "said"),
    [
        pytest.param(*LEVELS[0], marks=pytest.mark.case("2.0.1 TC_G_14"), id="g_14"),
        pytest.param(*LEVELS[1], marks=pytest.mark.case("2.0.1 TC_G_11"), id="g_11"),
        pytest.param(*LEVELS[2], marks=pytest.mark.case("2.0.1 TC_G_17"), id="g_17"),
    ],
)
async def test_tc_g_11_14_17_change_availability_with_a_running_transaction(
    server: Server, level: str, where: dict[str, Any], said: dict[str, Any]
) -> None:
    async with Station201(server, f"G11-{level}") as cs:
        cs.table["ChangeAvailability"] = {"status": "Scheduled"}
        await cs.boot()
        await cs.event("Started", cs.id, "Authorized", token="TOKEN", wh=0)
        begun = await command(server, cs.id, "availability", {"operative": False, **where})
        assert (await instruction(server, begun, "EFFECTIVE"))["reason"] == "Scheduled"
        assert cs.questions("ChangeAvailability") == [{"operationalStatus": "Inoperative", **said}]
        assert (await session(server, cs.id))["state"] == "ACTIVE"
        await cs.event("Ended", cs.id, "StopAuthorized", token="TOKEN", wh=10)
        await cs.status("Unavailable")
        assert (await session(server, cs.id))["energy_wh"] == 10


@pytest.mark.case("2.0.1 TC_G_20")
async def test_tc_g_20_a_lock_failure_is_an_event(server: Server) -> None:
    async with Station201(server, "G20") as cs:
        await cs.boot()
        event = {
            "eventId": 1, "timestamp": at(), "trigger": "Alerting", "actualValue": "true",
            "eventNotificationType": "HardWiredNotification",
            "component": {"name": "ConnectorPlugRetentionLock", "evse": {"id": 1, "connectorId": 1}},
            "variable": {"name": "Problem"},
        }  # fmt: skip
        said = {"generatedAt": at(), "seqNo": 0, "tbc": False, "eventData": [event]}
        assert await cs.ask("NotifyEvent", said) == {}
        assert await cs.ask("NotifyEvent", said) == {}  # a repeat changes nothing
        assert await sessions(server, "G20") == []


# -- J: metering


def instant(*samples: dict[str, Any]) -> dict[str, Any]:
    return {"timestamp": at(), "sampledValue": list(samples)}


@pytest.mark.case("2.0.1 TC_J_01", "2.0.1 TC_J_02")
async def test_tc_j_01_02_clock_aligned_values_outside_and_inside_a_transaction(server: Server) -> None:
    sample = {"value": 1000, "context": "Sample.Clock", "measurand": "Energy.Active.Import.Register"}
    async with Station201(server, "J01") as cs:
        await cs.boot()
        assert await cs.ask("MeterValues", {"evseId": 1, "meterValue": [instant(sample)]}) == {}
        of_the_mains = {**sample, "value": 7000}
        assert await cs.ask("MeterValues", {"evseId": 0, "meterValue": [instant(of_the_mains)]}) == {}
        assert await sessions(server, "J01") == []
        outside = [(0, 7000, "clock"), (1, 1000, "clock")]
        assert await idle_samples(server, "J01") == outside
        await cs.event("Started", "j01", "Authorized", token="TOKEN", wh=1000)
        clock = {"meterValue": [instant({**sample, "value": 1050})]}
        assert await cs.event("Updated", "j01", "MeterValueClock", **clock) == {}
        found = await session(server, "J01")
        assert found["energy_wh"] == 50
        inside = (await server.api("GET", f"/api/v1/sessions/{found['id']}/samples"))["items"]
        assert [one["context"] for one in inside if one["register_wh"] == 1050] == ["clock"]
        assert await idle_samples(server, "J01") == outside


@pytest.mark.case("2.0.1 TC_J_09", "2.0.1 TC_J_10")
async def test_tc_j_09_10_sampled_values_of_every_kind(server: Server) -> None:
    async with Station201(server, "J03") as cs:
        await cs.boot()
        await cs.event("Started", "j03", "Authorized", token="TOKEN", wh=0)
        samples = [
            {"value": 0.12, "measurand": "Energy.Active.Import.Register", "unitOfMeasure": {"unit": "kWh"}},
            {"value": 72, "measurand": "Power.Active.Import", "unitOfMeasure": {"unit": "W", "multiplier": 2}},
            {"value": 55, "measurand": "SoC", "location": "EV"},
            {"value": 230, "measurand": "Voltage", "phase": "L1-N"},
            {"value": 16, "measurand": "Current.Import", "phase": "L1"},
            {"value": 3, "measurand": "Frequency"},
        ]
        assert await cs.event("Updated", "j03", "MeterValuePeriodic", meterValue=[instant(*samples)]) == {}
        found = await session(server, "J03")
        assert (found["energy_wh"], found["power_w"], found["soc_percent"]) == (120, 7200, 55)
        ended = [instant({"value": 150, "context": "Transaction.End"})]
        assert await cs.event("Ended", "j03", "StopAuthorized", meterValue=ended) == {}
        assert (await session(server, "J03"))["energy_wh"] == 150


@pytest.mark.case("2.0.1 TC_J_11")
async def test_tc_j_11_signed_values_are_taken(server: Server) -> None:
    signed = {
        "signedMeterData": "T0NNRg==", "signingMethod": "ECDSA", "encodingMethod": "OCMF", "publicKey": "AAAA",
    }  # fmt: skip
    async with Station201(server, "J11") as cs:
        await cs.boot()
        await cs.event("Started", "j11", "Authorized", token="TOKEN", wh=0)
        end = instant({"value": 90, "context": "Transaction.End", "signedMeterValue": signed})
        assert await cs.event("Ended", "j11", "StopAuthorized", meterValue=[end]) == {}
        over = await session(server, "J11")
        assert over["energy_wh"] == 90
        samples = (await server.api("GET", f"/api/v1/sessions/{over['id']}/samples"))["items"]
        assert [one["signed"] for one in samples if one["register_wh"] == 90] == [True]


# -- P: vendors


@pytest.mark.case("2.0.1 TC_P_02")
async def test_tc_p_02_an_unknown_data_transfer(server: Server) -> None:
    async with Station201(server, "P02") as cs:
        await cs.boot()
        said = {"vendorId": "org.example", "messageId": "m", "data": {"a": [1, 2, {"b": None}]}}
        assert await cs.ask("DataTransfer", said) == {"status": "UnknownVendorId"}


@pytest.mark.case("2.0.1 TC_P_03")
async def test_tc_p_03_custom_data_in_every_place(server: Server) -> None:
    custom: dict[str, Any] = {"customData": {"vendorId": "org.example", "more": {"deep": [1]}}}
    async with Station201(server, "P03") as cs:
        station = {"vendorName": "V", "model": "M", "modem": custom, **custom}
        assert (await cs.ask("BootNotification", {"reason": "PowerUp", "chargingStation": station, **custom}))[
            "status"
        ] == "Accepted"
        assert (await cs.ask("Heartbeat", custom))["currentTime"]
        sample = {"value": 10, "unitOfMeasure": {"unit": "Wh", **custom}, **custom}
        event = cs.event_of("Started", "p03", "Authorized", info=custom, **custom)
        event |= {
            "evse": {"id": 1, "connectorId": 1, **custom},
            "idToken": {"idToken": "TOKEN", "type": "ISO14443", **custom},
            "meterValue": [{**instant(sample), **custom}],
        }
        assert (await cs.ask("TransactionEvent", event))["idTokenInfo"]["status"] == "Accepted"
        found = await session(server, "P03")
        assert (found["meter_start_wh"], found["state"]) == (10, "ACTIVE")


async def test_notices_of_every_kind_are_answered(server: Server) -> None:
    period = {"startPeriod": 0, "limit": 1.5, "numberPhases": 3}
    schedule = {"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [period]}
    profile = {
        "id": 1, "stackLevel": 0, "chargingProfilePurpose": "TxProfile", "chargingProfileKind": "Relative",
        "chargingSchedule": [schedule],
    }  # fmt: skip
    notices: list[tuple[str, dict[str, Any]]] = [
        ("SecurityEventNotification", {"type": "StartupOfTheDevice", "timestamp": at()}),
        ("FirmwareStatusNotification", {"status": "Idle"}),
        ("LogStatusNotification", {"status": "Idle"}),
        ("ReservationStatusUpdate", {"reservationId": 1, "reservationUpdateStatus": "Expired"}),
        ("NotifyChargingLimit", {"chargingLimit": {"chargingLimitSource": "EMS"}}),
        ("ClearedChargingLimit", {"chargingLimitSource": "EMS"}),
        ("NotifyCustomerInformation", {"data": "x", "seqNo": 0, "generatedAt": at(), "requestId": 1}),
        ("NotifyMonitoringReport", {"requestId": 1, "seqNo": 0, "generatedAt": at()}),
        ("NotifyDisplayMessages", {"requestId": 1}),
        (
            "ReportChargingProfiles",
            {"requestId": 1, "chargingLimitSource": "CSO", "evseId": 0, "chargingProfile": [profile]},
        ),
    ]
    async with Station201(server, "NOTICES") as cs:
        await cs.boot()
        for action, payload in notices:
            assert await cs.ask(action, payload) == {}, action
        needs = {"evseId": 1, "chargingNeeds": {"requestedEnergyTransfer": "DC"}}
        assert (await cs.ask("NotifyEVChargingNeeds", needs))["status"] == "Rejected"
        planned = {"timeBase": at(), "evseId": 1, "chargingSchedule": schedule}
        assert (await cs.ask("NotifyEVChargingSchedule", planned))["status"] == "Accepted"
        ocsp = {"hashAlgorithm": "SHA256", "issuerNameHash": "a", "issuerKeyHash": "b", "serialNumber": "c"}
        asked = {"ocspRequestData": {**ocsp, "responderURL": "http://127.0.0.1/"}}
        assert (await cs.ask("GetCertificateStatus", asked))["status"] == "Failed"
        assert (await cs.ask("SignCertificate", {"csr": "x"}))["status"] == "Rejected"
        assert await cs.refused("FlyToTheMoon", {}) == "NotImplemented"
