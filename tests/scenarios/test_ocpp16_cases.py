"""The CSMS certification cases of OCPP 1.6 (OCPP.md 4.3), case by case, on frames and the REST API alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from running import Server, running
from websockets.exceptions import InvalidStatus
from wire import (
    Station16,
    answered,
    at,
    charger,
    command,
    instruction,
    session,
    sessions,
    token,
    until_session,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

OVER = {"ENDED", "SETTLED"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("ocpp16")) as running_server:
        await token(running_server, "TAG")
        yield running_server


async def connector_status(server: Server, charger_id: str, connector: int = 1) -> str:
    found = await charger(server, charger_id)
    (one,) = [one for one in found["connectors"] if one["connector_id"] == connector]
    return str(one["status"])


# -- core, initiated by the charge point


@pytest.mark.case("1.6 TC_001")
async def test_tc_001_cold_boot(server: Server) -> None:
    async with Station16(server, "TC001") as cp:
        answer = await cp.boot(chargePointSerialNumber="S1", firmwareVersion="1.0")
        assert answer["status"] == "Accepted"
        assert answer["interval"] > 0
        assert answer["currentTime"].endswith("Z")
        await cp.status("Available", connector=0)
        await cp.status("Available", connector=1)
        assert await cp.is_served()
        found = await charger(server, "TC001")
        assert (found["online"], found["transport"], found["registration"]) == (True, "ocpp1.6", "Accepted")
        assert (found["vendor"], found["serial"], found["firmware"]) == ("V", "S1", "1.0")
        assert found["status"] == "Available"
        assert [(one["connector_id"], one["status"]) for one in found["connectors"]] == [(1, "Available")]
        assert not [action for action, _ in cp.asked if action != "TriggerMessage"]  # the boot gate asks nothing


async def play(server: Server, cp: Station16, *, cable_first: bool) -> dict[str, Any]:
    """A whole local session; what the REST API shows of it the moment the stop was answered."""
    await cp.boot()
    if cable_first:
        await cp.status("Preparing")
    assert (await cp.authorize("TAG"))["status"] == "Accepted"
    if not cable_first:
        await cp.status("Preparing")
    started = await cp.start("TAG", 1000)
    assert started["idTagInfo"]["status"] == "Accepted"
    number = started["transactionId"]
    await cp.status("Charging")
    running_session = await session(server, cp.id)
    assert (running_session["open"], running_session["state"]) == (True, "ACTIVE")
    assert running_session["transaction_ids"] == [str(number)]
    await cp.meter(number, 1500)
    assert (await session(server, cp.id))["energy_wh"] == 500
    assert await cp.stop(number, 2000, idTag="TAG", reason="Local") == {"idTagInfo": {"status": "Accepted"}}
    over = await session(server, cp.id)
    await cp.status("Finishing")
    await cp.status("Available")
    return over


@pytest.mark.parametrize(
    "cable_first",
    [
        pytest.param(True, marks=pytest.mark.case("1.6 TC_003"), id="tc_003"),
        pytest.param(False, marks=pytest.mark.case("1.6 TC_004_1"), id="tc_004_1"),
    ],
)
async def test_tc_003_and_004_1_charging_with_the_cable_or_the_tag_first(server: Server, cable_first: bool) -> None:
    async with Station16(server, f"TC003-{cable_first}") as cp:
        over = await play(server, cp, cable_first=cable_first)
        assert over["open"] is False
        assert over["state"] in OVER
        assert (over["token"], over["energy_wh"], over["quality"]) == ("TAG", 1000, "A")
        assert (over["meter_start_wh"], over["meter_stop_wh"]) == (1000, 2000)
        assert (over["stop_reason"], over["end_cause"]) == ("Local", "Local")
        assert await connector_status(server, cp.id) == "Available"


@pytest.mark.case("1.6 TC_004_2")
async def test_tc_004_2_the_cable_is_never_plugged_in(server: Server) -> None:
    async with Station16(server, "TC004-2") as cp:
        await cp.boot()
        assert (await cp.authorize("TAG"))["status"] == "Accepted"
        await cp.status("Preparing")
        await cp.status("Available")
        assert await sessions(server, cp.id) == []
        assert await connector_status(server, cp.id) == "Available"


@pytest.mark.case("1.6 TC_005_1")
async def test_tc_005_1_the_ev_side_disconnects(server: Server) -> None:
    async with Station16(server, "TC005") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        await cp.status("Charging")
        await cp.status("SuspendedEV")
        assert await cp.stop(number, 700, reason="EVDisconnected") == {}
        over = await session(server, cp.id)
        assert (over["open"], over["stop_reason"], over["end_cause"]) == (False, "EVDisconnected", "EVDisconnected")
        assert over["energy_wh"] == 700


@pytest.mark.case("1.6 TC_007")
async def test_tc_007_a_cached_tag_starts_without_authorize(server: Server) -> None:
    async with Station16(server, "TC007") as cp:
        await cp.boot()
        assert (await cp.start("tag", 5))["idTagInfo"]["status"] == "Accepted"  # tags have no case
        assert (await session(server, cp.id))["state"] == "ACTIVE"


# -- remote start and stop


@pytest.mark.case("1.6 TC_010")
async def test_tc_010_remote_start_cable_first(server: Server) -> None:
    async with Station16(server, "TC010") as cp:
        cp.table["RemoteStartTransaction"] = {"status": "Accepted"}
        await cp.boot()
        await cp.status("Preparing")
        asked = {"idTag": "TAG", "connectorId": 1}
        assert await answered(server, cp.id, "RemoteStartTransaction", asked) == {"status": "Accepted"}
        assert await cp.until_asked("RemoteStartTransaction") == asked
        number = (await cp.start("TAG", 10))["transactionId"]
        await cp.meter(number, 20)
        found = await session(server, cp.id)
        assert (found["token"], found["state"]) == ("TAG", "ACTIVE")


@pytest.mark.case("1.6 TC_010")
async def test_tc_010_the_start_command_is_effective_when_the_session_begins(server: Server) -> None:
    async with Station16(server, "TC010-C") as cp:
        cp.table["RemoteStartTransaction"] = {"status": "Accepted"}
        await cp.boot()
        await cp.status("Preparing")
        begun = await command(server, cp.id, "start", {"token": "TAG", "connector_id": 1})
        assert await cp.until_asked("RemoteStartTransaction") == {"idTag": "TAG", "connectorId": 1}
        await instruction(server, begun, "ACCEPTED")
        await cp.start("TAG", 10)
        done = await instruction(server, begun, "EFFECTIVE")
        assert done["session_id"] == (await session(server, cp.id))["id"]


@pytest.mark.case("1.6 TC_011_1")
async def test_tc_011_1_remote_start_first_then_remote_stop(server: Server) -> None:
    async with Station16(server, "TC011") as cp:
        for action in ("RemoteStartTransaction", "RemoteStopTransaction"):
            cp.table[action] = {"status": "Accepted"}
        await cp.boot()
        await answered(server, cp.id, "RemoteStartTransaction", {"idTag": "TAG"})
        await cp.status("Preparing")
        number = (await cp.start("TAG", 0))["transactionId"]
        await answered(server, cp.id, "RemoteStopTransaction", {"transactionId": number})
        assert (await cp.until_asked("RemoteStopTransaction")) == {"transactionId": number}
        await cp.stop(number, 300, reason="Remote")
        over = await session(server, cp.id)
        assert (over["open"], over["stop_reason"], over["energy_wh"]) == (False, "Remote", 300)


@pytest.mark.case("1.6 TC_011_2")
async def test_tc_011_2_remote_start_and_no_cable_in_time(server: Server) -> None:
    async with Station16(server, "TC011-2") as cp:
        cp.table["RemoteStartTransaction"] = {"status": "Accepted"}
        await cp.boot()
        begun = await command(server, cp.id, "start", {"token": "TAG", "connector_id": 1})
        await instruction(server, begun, "ACCEPTED")
        await cp.status("Preparing")
        await cp.status("Available")
        assert await sessions(server, cp.id) == []
        assert (await instruction(server, begun))["state"] == "ACCEPTED"  # a promise, until its window closes


@pytest.mark.case("1.6 TC_012")
async def test_tc_012_remote_stop_of_a_local_session(server: Server) -> None:
    async with Station16(server, "TC012") as cp:
        cp.table["RemoteStopTransaction"] = {"status": "Accepted"}
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        stopping = await command(server, cp.id, "stop", {"transaction_id": str(number)})
        assert await cp.until_asked("RemoteStopTransaction") == {"transactionId": number}
        await instruction(server, stopping, "ACCEPTED")
        assert (await session(server, cp.id))["state"] == "STOPPING"
        await cp.stop(number, 300, reason="Remote")
        await instruction(server, stopping, "EFFECTIVE")
        over = await session(server, cp.id)
        assert (over["open"], over["end_cause"]) == (False, "Remote")
        assert len(cp.questions("RemoteStopTransaction")) == 1


@pytest.mark.case("1.6 TC_026")
async def test_tc_026_remote_start_rejected(server: Server) -> None:
    async with Station16(server, "TC026") as cp:
        cp.table["RemoteStartTransaction"] = {"status": "Rejected"}
        await cp.boot()
        begun = await command(server, cp.id, "start", {"token": "TAG", "connector_id": 1})
        refused = await instruction(server, begun, "REFUSED")
        assert refused["reason"] == "Rejected"
        assert refused["response"] == {"status": "Rejected"}
        assert await sessions(server, cp.id) == []


@pytest.mark.case("1.6 TC_028")
async def test_tc_028_remote_stop_rejected_and_the_session_goes_on(server: Server) -> None:
    async with Station16(server, "TC028") as cp:
        cp.table["RemoteStopTransaction"] = {"status": "Rejected"}
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        stopping = await command(server, cp.id, "stop", {"transaction_id": str(number)})
        assert await cp.until_asked("RemoteStopTransaction") == {"transactionId": number}
        refused = await instruction(server, stopping, "REFUSED")
        assert (refused["reason"], refused["response"]) == ("Rejected", {"status": "Rejected"})
        await cp.meter(number, 100)
        going_on = await session(server, cp.id)  # still wanted to stop, and still charging
        assert (going_on["open"], going_on["state"], going_on["energy_wh"]) == (True, "STOPPING", 100)
        await cp.stop(number, 200, idTag="TAG", reason="Local")
        over = await session(server, cp.id)
        assert (over["open"], over["energy_wh"], over["stop_reason"]) == (False, 200, "Local")
        assert (await instruction(server, stopping))["state"] == "REFUSED"


# -- reset and unlock


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        pytest.param("Hard", "HardReset", marks=pytest.mark.case("1.6 TC_013"), id="tc_013"),
        pytest.param("Soft", "SoftReset", marks=pytest.mark.case("1.6 TC_014"), id="tc_014"),
    ],
)
async def test_tc_013_and_014_reset_with_a_running_session(server: Server, kind: str, reason: str) -> None:
    async with Station16(server, f"TC013-{kind}") as cp:
        cp.table["Reset"] = {"status": "Accepted"}
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        await cp.status("Charging")
        # What a hard reset loses has to be wanted.
        begun = await command(server, cp.id, "reset", {"type": kind, "force": kind == "Hard"})
        assert (await instruction(server, begun, "ACCEPTED"))["reason"] == "Accepted"
        assert cp.questions("Reset") == [{"type": kind}]
        assert (await session(server, cp.id))["state"] == "ACTIVE"
        await cp.stop(number, 400, reason=reason)
        await cp.close()
        await cp.connect()
        assert (await cp.boot())["status"] == "Accepted"
        await instruction(server, begun, "EFFECTIVE")
        await cp.status("Available")
        over = await session(server, cp.id)
        assert (over["open"], over["stop_reason"], over["energy_wh"]) == (False, reason, 400)
        assert (await charger(server, cp.id))["online"] is True


async def test_tc_014_a_soft_reset_may_boot_again_on_the_same_socket(server: Server) -> None:
    async with Station16(server, "TC014-S") as cp:
        cp.table["Reset"] = {"status": "Accepted"}
        await cp.boot()
        await instruction(server, await command(server, cp.id, "reset", {"type": "Soft"}), "ACCEPTED")
        assert cp.questions("Reset") == [{"type": "Soft"}]
        assert (await cp.boot())["status"] == "Accepted"
        assert await cp.is_served()


@pytest.mark.parametrize(
    "connector",
    [
        pytest.param(1, marks=pytest.mark.case("1.6 TC_017_1"), id="tc_017_1"),
        pytest.param(2, marks=pytest.mark.case("1.6 TC_017_2"), id="tc_017_2"),
    ],
)
async def test_tc_017_unlock_without_a_session(server: Server, connector: int) -> None:
    async with Station16(server, f"TC017-{connector}") as cp:
        cp.table["UnlockConnector"] = {"status": "Unlocked"}
        await cp.boot()
        await cp.status("Preparing", connector=connector)
        asked = {"connectorId": connector}
        assert await answered(server, cp.id, "UnlockConnector", asked) == {"status": "Unlocked"}
        done = await instruction(
            server, await command(server, cp.id, "unlock", {"connector_id": connector}), "EFFECTIVE"
        )
        assert done["reason"] == "Unlocked"
        assert cp.questions("UnlockConnector") == [asked, asked]


@pytest.mark.case("1.6 TC_018_1")
async def test_tc_018_unlock_with_a_session_fails_and_the_session_goes_on(server: Server) -> None:
    async with Station16(server, "TC018") as cp:
        cp.table["UnlockConnector"] = {"status": "UnlockFailed"}
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        refused = await instruction(server, await command(server, cp.id, "unlock", {"connector_id": 1}), "REFUSED")
        assert refused["reason"] == "UnlockFailed"
        assert (await session(server, cp.id))["state"] == "ACTIVE"
        await cp.stop(number, 100)
        assert (await session(server, cp.id))["open"] is False


@pytest.mark.case("1.6 TC_030")
async def test_tc_030_unlock_fails_without_a_session(server: Server) -> None:
    async with Station16(server, "TC030") as cp:
        cp.table["UnlockConnector"] = {"status": "UnlockFailed"}
        await cp.boot()
        await cp.status("Available")
        assert await answered(server, cp.id, "UnlockConnector", {"connectorId": 1}) == {"status": "UnlockFailed"}
        refused = await instruction(server, await command(server, cp.id, "unlock", {"connector_id": 1}), "REFUSED")
        assert (refused["reason"], refused["response"]) == ("UnlockFailed", {"status": "UnlockFailed"})
        assert cp.questions("UnlockConnector") == [{"connectorId": 1}] * 2
        assert (await connector_status(server, cp.id), await sessions(server, cp.id)) == ("Available", [])


@pytest.mark.case("1.6 TC_031")
async def test_tc_031_unlock_of_an_unknown_connector_goes_out(server: Server) -> None:
    async with Station16(server, "TC031") as cp:
        cp.table["UnlockConnector"] = {"status": "NotSupported"}
        await cp.boot()
        await cp.status("Available")
        assert await answered(server, cp.id, "UnlockConnector", {"connectorId": 99}) == {"status": "NotSupported"}
        refused = await instruction(server, await command(server, cp.id, "unlock", {"connector_id": 99}), "REFUSED")
        assert refused["reason"] == "NotSupported"
        assert cp.questions("UnlockConnector") == [{"connectorId": 99}] * 2


# -- configuration


@pytest.mark.case("1.6 TC_019_1")
async def test_tc_019_1_read_all_keys(server: Server) -> None:
    async with Station16(server, "TC019-1") as cp:
        keys = [
            {"key": "HeartbeatInterval", "readonly": False, "value": "300"},
            {"key": "SupportedFeatureProfiles", "readonly": True, "value": "Core"},
        ]
        cp.table["GetConfiguration"] = {"configurationKey": keys}
        await cp.boot()
        assert await answered(server, cp.id, "GetConfiguration", {}) == {"configurationKey": keys}
        done = await instruction(server, await command(server, cp.id, "get_config"), "EFFECTIVE")
        assert done["response"] == {"configurationKey": keys}
        assert cp.questions("GetConfiguration") == [{}, {}]


@pytest.mark.case("1.6 TC_019_2")
async def test_tc_019_2_read_one_key(server: Server) -> None:
    async with Station16(server, "TC019-2") as cp:
        cp.table["GetConfiguration"] = {"configurationKey": [], "unknownKey": ["HeartbeatInterval"]}
        await cp.boot()
        asked = {"key": ["HeartbeatInterval"]}
        assert (await answered(server, cp.id, "GetConfiguration", asked))["unknownKey"] == ["HeartbeatInterval"]
        begun = await command(server, cp.id, "get_config", {"keys": ["HeartbeatInterval"]})
        await instruction(server, begun, "EFFECTIVE")
        assert cp.questions("GetConfiguration") == [asked, asked]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        pytest.param("Accepted", "EFFECTIVE", marks=pytest.mark.case("1.6 TC_021")),
        ("RebootRequired", "EFFECTIVE"),
        pytest.param("NotSupported", "REFUSED", marks=pytest.mark.case("1.6 TC_040_1")),
        pytest.param("Rejected", "REFUSED", marks=pytest.mark.case("1.6 TC_040_2")),
    ],
    ids=["tc_021", "tc_021_reboot_required", "tc_040_1", "tc_040_2"],
)
async def test_tc_021_and_040_change_a_key(server: Server, status: str, state: str) -> None:
    async with Station16(server, f"TC021-{status}") as cp:
        cp.table["ChangeConfiguration"] = {"status": status}
        await cp.boot()
        asked = {"key": "MeterValueSampleInterval", "value": "10"}
        assert await answered(server, cp.id, "ChangeConfiguration", asked) == {"status": status}
        done = await instruction(server, await command(server, cp.id, "set_config", asked), state)
        assert done["reason"] == status
        assert cp.questions("ChangeConfiguration") == [asked, asked]


@pytest.mark.case("1.6 TC_061")
@pytest.mark.parametrize("status", ["Accepted", "Rejected"])
async def test_tc_061_clear_cache(server: Server, status: str) -> None:
    async with Station16(server, f"TC061-{status}") as cp:
        cp.table["ClearCache"] = {"status": status}
        await cp.boot()
        assert await answered(server, cp.id, "ClearCache", {}) == {"status": status}
        state = "EFFECTIVE" if status == "Accepted" else "REFUSED"
        done = await instruction(server, await command(server, cp.id, "clear_cache"), state)
        assert (done["reason"], done["response"]) == (status, {"status": status})
        assert cp.questions("ClearCache") == [{}, {}]


# -- authorisation


@pytest.mark.parametrize(
    "status",
    [
        pytest.param("Invalid", marks=pytest.mark.case("1.6 TC_023_1"), id="tc_023_1"),
        pytest.param("Expired", marks=pytest.mark.case("1.6 TC_023_2"), id="tc_023_2"),
        pytest.param("Blocked", marks=pytest.mark.case("1.6 TC_023_3"), id="tc_023_3"),
    ],
)
async def test_tc_023_a_bad_tag_is_told_why(server: Server, status: str) -> None:
    tag = f"TAG-{status}"
    if status != "Invalid":
        await token(server, tag, status)
    async with Station16(server, f"TC023-{status}") as cp:
        await cp.boot()
        await cp.status("Preparing")
        assert await cp.authorize(tag) == {"status": status}
        assert await sessions(server, cp.id) == []


@pytest.mark.case("1.6 TC_023_2")
async def test_tc_023_2_a_tag_past_its_date_is_expired(server: Server) -> None:
    await token(server, "TAG-OLD", expires_at="2020-01-01T00:00:00Z")
    async with Station16(server, "TC023-OLD") as cp:
        await cp.boot()
        info = await cp.authorize("TAG-OLD")
        assert info["status"] == "Expired"
        assert info["expiryDate"].startswith("2020-01-01")


async def test_authorize_names_the_group_and_the_expiry_of_a_good_tag(server: Server) -> None:
    await token(server, "TAG-GROUP", group_id="FLEET", expires_at="2099-01-01T00:00:00Z")
    async with Station16(server, "TC-GROUP") as cp:
        await cp.boot()
        wanted = {"status": "Accepted", "parentIdTag": "FLEET", "expiryDate": "2099-01-01T00:00:00.000Z"}
        assert await cp.authorize("TAG-GROUP") == wanted
        assert (await cp.start("TAG-GROUP", 0))["idTagInfo"] == wanted


@pytest.mark.case("1.6 TC_024")
async def test_tc_024_lock_failure(server: Server) -> None:
    async with Station16(server, "TC024") as cp:
        await cp.boot()
        await cp.status("Preparing")
        assert (await cp.authorize("TAG"))["status"] == "Accepted"
        await cp.status("Faulted", error="ConnectorLockFailure")
        (connector,) = (await charger(server, cp.id))["connectors"]
        assert (connector["status"], connector["error_code"]) == ("Faulted", "ConnectorLockFailure")
        await cp.status("Available")
        assert await connector_status(server, cp.id) == "Available"
        assert await sessions(server, cp.id) == []


# -- power and links


@pytest.mark.case("1.6 TC_032_1")
async def test_tc_032_1_power_failure_boot_and_then_the_stop(server: Server) -> None:
    async with Station16(server, "TC032") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 1000))["transactionId"]
        await cp.status("Charging")
        await cp.meter(number, 1200)
        cut = at()
        await cp.cut()
        await until_session(server, cp.id, state="SUSPENDED_OFFLINE")
        await cp.connect()
        assert (await cp.boot())["status"] == "Accepted"
        await cp.status("Available")
        assert await cp.stop(number, 1300, reason="PowerLoss", when=cut, idTag="TAG") == {
            "idTagInfo": {"status": "Accepted"}
        }
        over = await session(server, cp.id)
        assert (over["open"], over["energy_wh"]) == (False, 300)
        assert (over["stop_reason"], over["end_cause"]) == ("PowerLoss", "PowerLoss")


@pytest.mark.case("1.6 TC_037_1")
async def test_tc_037_1_offline_start_with_a_valid_tag(server: Server) -> None:
    async with Station16(server, "TC037-1") as cp:
        await cp.boot()
        begun, sampled = at(-600), at(-300)
        started = await cp.start("TAG", 0, when=begun)
        assert started["idTagInfo"]["status"] == "Accepted"
        await cp.meter(started["transactionId"], 250, when=sampled)
        found = await session(server, cp.id)
        assert (found["state"], found["energy_wh"]) == ("ACTIVE", 250)
        assert found["started_at"] == begun


@pytest.mark.case("1.6 TC_037_3")
async def test_tc_037_3_offline_start_with_an_invalid_tag(server: Server) -> None:
    async with Station16(server, "TC037-3") as cp:
        await cp.boot()
        started = await cp.start("NOBODY", 0, when=at(-600))
        assert started["transactionId"] > 0
        assert started["idTagInfo"] == {"status": "Invalid"}
        assert await cp.stop(started["transactionId"], 90, reason="DeAuthorized", idTag="NOBODY") == {
            "idTagInfo": {"status": "Invalid"}
        }
        over = await session(server, cp.id)
        assert (over["open"], over["energy_wh"]) == (False, 90)
        assert (over["stop_reason"], over["token"]) == ("DeAuthorized", "NOBODY")


@pytest.mark.case("1.6 TC_039")
async def test_tc_039_a_session_that_was_offline_from_start_to_stop(server: Server) -> None:
    async with Station16(server, "TC039") as cp:
        await cp.boot()
        begun, ended = at(-900), at(-300)
        number = (await cp.start("TAG", 100, when=begun))["transactionId"]
        await cp.meter(number, 400, when=at(-600))
        await cp.stop(number, 700, when=ended, idTag="TAG")
        over = await session(server, cp.id)
        assert (over["open"], over["energy_wh"], over["quality"]) == (False, 600, "A")
        assert (over["started_at"], over["ended_at"]) == (begun, ended)


# -- triggers and vendors


@pytest.mark.case("1.6 TC_054")
@pytest.mark.parametrize(
    "message",
    [
        "BootNotification",
        "DiagnosticsStatusNotification",
        "FirmwareStatusNotification",
        "Heartbeat",
        "MeterValues",
        "StatusNotification",
    ],
)
async def test_tc_054_trigger_messages(server: Server, message: str) -> None:
    async with Station16(server, f"TC054-{message}") as cp:
        cp.table["TriggerMessage"] = {"status": "Accepted"}
        await cp.boot()
        asked = {"requestedMessage": message, "connectorId": 1}
        assert await answered(server, cp.id, "TriggerMessage", asked) == {"status": "Accepted"}
        assert cp.questions("TriggerMessage") == [asked]
        match message:
            case "BootNotification":
                assert (await cp.boot())["status"] == "Accepted"
            case "Heartbeat":
                assert await cp.is_served()
            case "MeterValues":
                await cp.meter(None, 5)
            case "StatusNotification":
                await cp.status("Available")
            case _:
                assert await cp.ask(message, {"status": "Idle"}) == {}


@pytest.mark.case("1.6 TC_055")
async def test_tc_055_trigger_rejected(server: Server) -> None:
    async with Station16(server, "TC055") as cp:
        await cp.boot()
        asked = {"message": "MeterValues", "connector_id": 1}
        refused = await instruction(server, await command(server, cp.id, "trigger", asked), "REFUSED")
        assert refused["reason"] == "Rejected"
        assert cp.questions("TriggerMessage") == [{"requestedMessage": "MeterValues", "connectorId": 1}]


@pytest.mark.case("1.6 TC_064")
async def test_tc_064_data_transfer_from_a_vendor_nobody_knows(server: Server) -> None:
    async with Station16(server, "TC064") as cp:
        await cp.boot()
        said = {"vendorId": "org.example", "messageId": "hello", "data": "x" * 5000}
        assert await cp.ask("DataTransfer", said) == {"status": "UnknownVendorId"}


async def test_every_notice_of_a_charge_point_is_answered_in_every_state(server: Server) -> None:
    async with Station16(server, "TC-NOTICES") as cp:
        await cp.boot()
        for status in ("Idle", "Uploading", "UploadFailed", "Uploaded"):
            assert await cp.ask("DiagnosticsStatusNotification", {"status": status}) == {}
        for status in ("Idle", "Downloading", "Downloaded", "Installing", "Installed", "InstallationFailed"):
            assert await cp.ask("FirmwareStatusNotification", {"status": status}) == {}
        event = {"type": "StartupOfTheDevice", "timestamp": at()}
        assert await cp.ask("SecurityEventNotification", event) == {}
        assert await cp.ask("LogStatusNotification", {"status": "Idle"}) == {}
        assert await cp.ask("SignedFirmwareStatusNotification", {"status": "Idle"}) == {}
        assert await cp.ask("SignCertificate", {"csr": "x"}) == {"status": "Rejected"}


# -- security and the handshake


async def test_tc_085_basic_authentication(server: Server) -> None:
    body = {"id": "TC085", "password": "0123456789abcdef0123"}
    await server.api("POST", "/api/v1/chargers", body)
    async with Station16(server, "TC085", password="0123456789abcdef0123") as cp:
        assert (await cp.boot())["status"] == "Accepted"
    for wrong in (
        Station16(server, "TC085", password="0123456789abcdef0124"),
        Station16(server, "TC085", password="0123456789abcdef0123", user="OTHER"),
        Station16(server, "TC085"),
    ):
        with pytest.raises(InvalidStatus) as refused:
            await wrong.connect()
        assert refused.value.response.status_code == 401
    assert (await charger(server, "TC085"))["online"] is False


async def test_tc_085_the_authorization_key_may_come_as_the_bytes_its_hex_means(server: Server) -> None:
    key = "00ff10ee20dd30cc40bb50aa60997788aabbccdd"
    await server.api("POST", "/api/v1/chargers", {"id": "TC085-HEX", "password": key})
    for said in (bytes.fromhex(key), key, key.upper()):
        async with Station16(server, "TC085-HEX", password=said) as cp:
            assert (await cp.boot())["status"] == "Accepted"


@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        (["ocpp1.6"], "ocpp1.6"),
        (["ocpp2.1", "ocpp1.6"], "ocpp1.6"),
        (["ocpp1.6", "ocpp2.0.1"], "ocpp1.6"),
        (["ocpp2.0.1", "ocpp1.6"], "ocpp2.0.1"),
    ],
)
async def test_tc_088_the_subprotocol_is_the_chargers_first_that_we_speak(
    server: Server, offers: list[str], chosen: str
) -> None:
    async with Station16(server, "TC088", offers=offers) as cp:
        assert cp.subprotocol == chosen
        assert (await charger(server, "TC088"))["transport"] == chosen
        assert await cp.is_served()


async def test_tc_088_without_a_common_subprotocol_the_handshake_ends_and_the_socket_closes(server: Server) -> None:
    async with Station16(server, "TC088-NONE", offers=["ocpp1.5"]) as cp:
        assert cp.subprotocol is None
        assert await cp.closed() == 1002
    assert (await charger(server, "TC088-NONE"))["online"] is False


async def test_tc_088_a_charger_that_offers_nothing_speaks_1_6(server: Server) -> None:
    async with Station16(server, "TC088-MUTE", offers=[]) as cp:
        assert cp.subprotocol is None
        assert (await cp.boot())["status"] == "Accepted"


async def test_the_clock_is_answered_in_utc_with_milliseconds(server: Server) -> None:
    async with Station16(server, "TC-CLOCK") as cp:
        said = (await cp.boot())["currentTime"]
        assert len(said) == len("2026-01-02T03:04:05.678Z")
        before = time.monotonic()
        await asyncio.gather(*(cp.is_served() for _ in range(20)))
        assert time.monotonic() - before < 5
