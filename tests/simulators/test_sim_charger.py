"""The simulated charger against a small scripted central system, on real sockets."""

from __future__ import annotations

import asyncio
import base64
import sys
from pathlib import Path
from typing import Any

import pytest

from simulators.faults import FAULTS
from simulators.fleet import run_fleet
from simulators.ocpp_charger import Charger, StoryError
from simulators.physics import Vehicle
from simulators.wire import Version
from tests.simulators.central import NO_ANSWER, Central

FAST = {"power_scale": 600.0, "reconnect_s": 0.05, "tick_s": 0.005, "call_timeout_s": 1.0}


def charger(central: Central, version: Version = "1.6", **traits: Any) -> Charger:
    traits = {**FAST, **traits}
    settings = {"TransactionMessageRetryInterval": "0", **traits.pop("settings", {})}
    return Charger("CP1", central.url, version=version, settings=settings, **traits)


def reported_wh(central: Central, version: Version = "1.6") -> int:
    if version == "1.6":
        start, stop = central.heard("StartTransaction")[0], central.heard("StopTransaction")[0]
        return int(stop["meterStop"] - start["meterStart"])
    events = central.heard("TransactionEvent")
    registers = [
        value["value"]
        for event in (events[0], next(e for e in events if e["eventType"] == "Ended"))
        for value in event["meterValue"][0]["sampledValue"][:1]
    ]
    return int(registers[1] - registers[0])


async def charge(cp: Charger, wh: float = 600) -> None:
    """Plug, tag, take `wh`, stop, unplug; everything delivered."""
    await cp.wait_online()
    await cp.plug_in(1, Vehicle(max_power_w=22_000, limit_wh=wh))
    assert await cp.present_tag("TAG1")
    await cp.wait_delivered(1, wh)
    if cp.connectors[1].session is not None:
        await cp.stop_local(1)
    await cp.unplug(1)
    await cp.wait_drained()


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_local_charge_is_told_as_it_truly_was(version: Version) -> None:
    async with Central() as central, charger(central, version) as cp:
        if version == "2.0.1":
            central.answers["Authorize"] = {"idTokenInfo": {"status": "Accepted"}}
        await charge(cp)
        assert cp.truth[0].delivered_wh == 600
        assert abs(reported_wh(central, version) - 600) <= 1
        assert cp.complaints == []
        samples = "MeterValues" if version == "1.6" else "TransactionEvent"
        assert len(central.heard(samples)) >= 3
        await central.until(lambda: central.heard("StatusNotification")[-1].get("status", "Available") == "Available")
        if version == "2.0.1":
            events = central.heard("TransactionEvent")
            assert [event["seqNo"] for event in events] == list(range(len(events)))
            assert {event["transactionInfo"]["transactionId"] for event in events} == {cp.truth[0].tx_id}
        else:
            assert central.heard("StopTransaction")[0]["transactionId"] == 1001
            assert central.heard("StopTransaction")[0]["reason"] == "Local"


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_remote_start_and_stop(version: Version) -> None:
    async with Central() as central, charger(central, version) as cp:
        await cp.wait_online()
        await cp.plug_in(1)
        if version == "1.6":
            answer = await central.command("RemoteStartTransaction", {"idTag": "ORDER1", "connectorId": 1})
        else:
            token = {"idToken": "ORDER1", "type": "Central"}
            answer = await central.command(
                "RequestStartTransaction", {"idToken": token, "remoteStartId": 7, "evseId": 1}
            )
        assert answer[2] == {"status": "Accepted"}
        session = await cp.wait_session()
        await cp.wait_for("the transaction id", lambda: bool(session.starts_answered))
        assert session.token == "ORDER1"
        await cp.wait_delivered(1, 200)
        if version == "1.6":
            answer = await central.command("RemoteStopTransaction", {"transactionId": 1001})
        else:
            assert central.heard("TransactionEvent")[0]["transactionInfo"]["remoteStartId"] == 7
            answer = await central.command("RequestStopTransaction", {"transactionId": session.tx_id})
        assert answer[2] == {"status": "Accepted"}
        await cp.wait_ended()
        await cp.wait_drained()
        assert session.stop_reason == "Remote"
        assert abs(reported_wh(central, version) - session.delivered_wh) <= 1
        again = await central.command(
            *(
                ("RemoteStopTransaction", {"transactionId": 1001})
                if version == "1.6"
                else ("RequestStopTransaction", {"transactionId": session.tx_id})
            )
        )
        assert again[2] == {"status": "Rejected"}


async def test_a_charge_that_ended_while_dark_is_delivered_in_order_after_the_link_returns() -> None:
    async with Central() as central, charger(central) as cp:
        await cp.wait_online()
        await cp.plug_in()
        await cp.present_tag("TAG1")
        await cp.wait_delivered(1, 200)
        await cp.wait_for("the start's answer", lambda: bool(cp.truth[0].tx_id))
        await cp.go_offline()
        await cp.wait_delivered(1, 900)
        await cp.stop_local()
        heard_before = len(central.calls)
        assert not central.heard("StopTransaction")
        await cp.go_online()
        await cp.wait_drained()
        money = [a for a in central.actions()[heard_before:] if a in {"MeterValues", "StopTransaction"}]
        assert money[-1] == "StopTransaction"
        assert "MeterValues" in money
        assert central.actions().count("BootNotification") == 1  # a plain reconnect is not a boot
        assert abs(reported_wh(central) - cp.truth[0].delivered_wh) <= 1


async def test_an_offline_start_gets_its_id_late_and_the_queue_follows_with_it() -> None:
    async with Central() as central, charger(central) as cp:
        await cp.wait_online()
        await cp.go_offline()
        await cp.plug_in()
        assert await cp.present_tag("TAG1")
        await cp.wait_delivered(1, 300)
        await cp.stop_local()
        await cp.go_online()
        await cp.wait_drained()
        assert cp.truth[0].was_offline_at_start
        ids = {payload["transactionId"] for payload in central.heard("MeterValues")}
        assert ids == {1001}
        assert central.heard("StopTransaction")[0]["transactionId"] == 1001


async def test_a_refused_transaction_message_is_tried_again_and_then_given_up() -> None:
    async with Central() as central, charger(central, settings={"TransactionMessageAttempts": "3"}) as cp:
        refusals = iter(["InternalError", "InternalError"])
        central.answers["StopTransaction"] = lambda _: next(refusals, {})
        await charge(cp, 100)
        assert len(central.heard("StopTransaction")) == 3
        assert cp.complaints == []
        central.answers["StopTransaction"] = "InternalError"
        await charge(cp, 100)
        assert any("given up after 3 attempts" in complaint for complaint in cp.complaints)


async def test_an_unanswered_start_is_sent_again() -> None:
    async with Central() as central, charger(central, call_timeout_s=0.2) as cp:
        first = iter([NO_ANSWER])
        central.answers["StartTransaction"] = lambda _: next(
            first, {"transactionId": 5, "idTagInfo": {"status": "Accepted"}}
        )
        await charge(cp, 100)
        starts = central.heard("StartTransaction")
        assert len(starts) == 2
        assert starts[0] == starts[1]


async def test_what_was_in_flight_when_the_link_went_comes_again_as_offline_under_a_new_id() -> None:
    async with Central() as central, charger(central, "2.0.1", call_timeout_s=5) as cp:
        accepted = {"idTokenInfo": {"status": "Accepted"}}
        central.answers |= {"Authorize": accepted, "TransactionEvent": NO_ANSWER}
        await cp.wait_online()
        await cp.plug_in()
        await cp.present_tag("TAG1")
        await central.until(lambda: bool(central.heard("TransactionEvent")))
        await cp.go_offline()
        central.answers["TransactionEvent"] = accepted
        await cp.go_online()
        await central.until(lambda: len(central.heard("TransactionEvent")) >= 2)
        first, again = [(i, p) for i, action, p in central.calls if action == "TransactionEvent"][:2]
        assert first[0] != again[0]
        assert (first[1]["offline"], again[1]["offline"]) == (False, True)
        assert first[1]["seqNo"] == again[1]["seqNo"] == 0


async def test_a_token_the_start_refuses_ends_the_session() -> None:
    async with Central() as central, charger(central) as cp:
        central.answers["StartTransaction"] = {"transactionId": 9, "idTagInfo": {"status": "Blocked"}}
        await cp.wait_online()
        await cp.plug_in()
        await cp.present_tag("TAG1")
        await cp.wait_for("the end", lambda: bool(cp.truth) and not cp.truth[0].is_open)
        await cp.wait_drained()
        assert central.heard("StopTransaction")[0]["reason"] == "DeAuthorized"


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_after_a_power_cut_it_boots_and_stops_with_power_loss(version: Version) -> None:
    async with Central() as central, charger(central, version) as cp:
        if version == "2.0.1":
            central.answers["Authorize"] = {"idTokenInfo": {"status": "Accepted"}}
        await cp.wait_online()
        await cp.plug_in()
        await cp.present_tag("TAG1")
        await cp.wait_delivered(1, 300)
        await cp.press_power_key()
        at_cut = cp.truth[0].delivered_wh
        await cp.press_power_key()
        await cp.wait_drained()
        actions = central.actions()
        assert actions.count("BootNotification") == 2
        assert cp.truth[0].delivered_wh == at_cut
        assert abs(reported_wh(central, version) - at_cut) <= 1
        if version == "1.6":
            assert central.heard("StopTransaction")[0]["reason"] == "PowerLoss"
            assert actions.index("StopTransaction") > actions.index("BootNotification", 1)
        else:
            assert central.heard("BootNotification")[1]["reason"] == "PowerUp"
            ended = central.heard("TransactionEvent")[-1]
            assert ended["transactionInfo"]["stoppedReason"] == "PowerLoss"
            assert ended["offline"] is True


async def test_power_cut_no_stop_forgets_the_transaction_but_not_the_register() -> None:
    async with Central() as central, charger(central, faults=["power_cut_no_stop"]) as cp:
        await cp.wait_online()
        await cp.plug_in()
        await cp.present_tag("TAG1")
        await cp.wait_delivered(1, 300)
        await cp.power_cut(0.1)
        await cp.wait_for("the boot", lambda: cp.boots == 2)
        await cp.wait_drained()
        assert not central.heard("StopTransaction")
        await central.command("TriggerMessage", {"requestedMessage": "MeterValues", "connectorId": 1})
        await central.until(lambda: "transactionId" not in central.heard("MeterValues")[-1])
        register = int(central.heard("MeterValues")[-1]["meterValue"][0]["sampledValue"][0]["value"])
        true_end = central.heard("StartTransaction")[0]["meterStart"] + cp.truth[0].delivered_wh
        assert abs(register - true_end) <= 1


async def test_it_waits_while_pending_and_boots_again_when_triggered() -> None:
    async with Central() as central:
        now = "2026-01-01T00:00:00Z"
        central.answers["BootNotification"] = {"status": "Pending", "currentTime": now, "interval": 60}
        async with charger(central) as cp:
            await central.until(lambda: "BootNotification" in central.actions())
            assert not cp.is_online
            del central.answers["BootNotification"]
            answer = await central.command("TriggerMessage", {"requestedMessage": "BootNotification"})
            assert answer[2] == {"status": "Accepted"}
            await cp.wait_online(2)
            assert central.actions()[:2] == ["BootNotification", "BootNotification"]


async def test_commands_of_1_6_are_answered() -> None:
    async with Central() as central, charger(central, connectors=2) as cp:
        await cp.wait_online()

        async def status(action: str, **payload: Any) -> str:
            return str((await central.command(action, payload))[2]["status"])

        keys = (await central.command("GetConfiguration", {"key": ["HeartbeatInterval", "Nope"]}))[2]
        assert keys["configurationKey"][0]["value"] == "300"
        assert keys["unknownKey"] == ["Nope"]
        assert await status("ChangeConfiguration", key="HeartbeatInterval", value="60") == "Accepted"
        assert await status("ChangeConfiguration", key="HeartbeatInterval", value="soon") == "Rejected"
        assert await status("ChangeConfiguration", key="Nope", value="1") == "NotSupported"
        assert (
            await status("ReserveNow", connectorId=1, expiryDate="2030-01-01T00:00:00Z", idTag="A", reservationId=4)
            == "Accepted"
        )
        await central.until(lambda: central.heard("StatusNotification")[-1]["status"] == "Reserved")
        assert await status("RemoteStartTransaction", idTag="B", connectorId=1) == "Rejected"
        assert await status("CancelReservation", reservationId=4) == "Accepted"
        assert await status("CancelReservation", reservationId=4) == "Rejected"
        assert await status("ChangeAvailability", connectorId=0, type="Inoperative") == "Accepted"
        await central.until(lambda: central.heard("StatusNotification")[-1]["status"] == "Unavailable")
        assert await status("UnlockConnector", connectorId=1) == "Unlocked"
        assert await status("UnlockConnector", connectorId=99) == "NotSupported"
        periods = [{"startPeriod": 0, "limit": 3700.5}]
        profile = {
            "chargingProfileId": 1,
            "stackLevel": 0,
            "chargingProfilePurpose": "TxDefaultProfile",
            "chargingProfileKind": "Absolute",
            "chargingSchedule": {"chargingRateUnit": "W", "chargingSchedulePeriod": periods},
        }
        assert await status("SetChargingProfile", connectorId=1, csChargingProfiles=profile) == "Accepted"
        assert cp.connectors[1].outlet.limit_w == 3700.5
        assert await status("ClearChargingProfile", id=1) == "Accepted"
        assert await status("DataTransfer", vendorId="nobody") == "UnknownVendorId"
        assert (await central.command("GetDiagnostics", {"location": "ftp://x"}))[2] == "NotImplemented"
        assert (await central.command("RemoteStartTransaction", {"connectorId": 1}))[2] == "FormationViolation"
        assert any("breaks its schema" in complaint for complaint in cp.complaints)
        assert await status("Reset", type="Hard") == "Accepted"
        await cp.wait_for("the boot", lambda: cp.boots == 2)


async def test_commands_of_2_0_1_are_answered() -> None:
    async with Central() as central, charger(central, "2.0.1") as cp:
        await cp.wait_online()
        named = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}
        got = (await central.command("GetVariables", {"getVariableData": [named]}))[2]["getVariableResult"][0]
        assert got["attributeValue"] == "300"
        set_ = (await central.command("SetVariables", {"setVariableData": [{**named, "attributeValue": "60"}]}))[2]
        assert set_["setVariableResult"][0]["attributeStatus"] == "Accepted"
        assert (await central.command("GetBaseReport", {"requestId": 1, "reportBase": "FullInventory"}))[2] == {
            "status": "Accepted"
        }
        await central.until(lambda: len(central.heard("NotifyReport")) == 2)
        assert [report["tbc"] for report in central.heard("NotifyReport")] == [True, False]
        await cp.plug_in()
        token = {"idToken": "ORDER1", "type": "Central"}
        await central.command("RequestStartTransaction", {"idToken": token, "remoteStartId": 1})
        session = await cp.wait_session()
        status = (await central.command("GetTransactionStatus", {"transactionId": session.tx_id}))[2]
        assert status["ongoingIndicator"] is True
        assert (await central.command("Reset", {"type": "OnIdle"}))[2] == {"status": "Scheduled"}
        assert (await central.command("UnlockConnector", {"evseId": 1, "connectorId": 1}))[2]["status"] == (
            "OngoingAuthorizedTransaction"
        )
        assert (await central.command("TriggerMessage", {"requestedMessage": "TransactionEvent"}))[2]["status"] == (
            "Accepted"
        )
        await central.until(
            lambda: any(event["triggerReason"] == "Trigger" for event in central.heard("TransactionEvent"))
        )
        await cp.stop_local()
        await cp.wait_for("the reboot", lambda: cp.boots == 2)
        assert central.heard("BootNotification")[1]["reason"] == "ScheduledReset"
        assert (
            await central.command(
                "GetLog", {"logType": "DiagnosticsLog", "requestId": 1, "log": {"remoteLocation": "x"}}
            )
        )[2] == "NotImplemented"
        assert cp.complaints == []


async def test_the_password_goes_as_basic_authentication() -> None:
    async with Central() as central, charger(central, password="secret-of-16-byte") as cp:
        await cp.wait_online()
        expected = base64.b64encode(b"CP1:secret-of-16-byte").decode()
        assert central.headers[0]["Authorization"] == f"Basic {expected}"


async def test_the_queue_survives_the_end_of_the_process(tmp_path: Path) -> None:
    kept = tmp_path / "queue.json"
    async with Central() as central, charger(central, "2.0.1", queue_file=kept) as cp:
        await cp.wait_online()
        await cp.go_offline()
        await cp.plug_in()
        await cp.present_tag("TAG1")
        await cp.wait_delivered(1, 100)
        await cp.stop_local()
    async with Central() as central, charger(central, "2.0.1", queue_file=kept) as cp:
        await cp.wait_drained()
        assert [event["eventType"] for event in central.heard("TransactionEvent")][-1] == "Ended"


async def test_waiting_for_what_never_comes_says_what() -> None:
    async with Central() as central, charger(central) as cp:
        with pytest.raises(StoryError, match="a running session did not come within"):
            await cp.wait_session(timeout_s=0.05)


# -- faults ------------------------------------------------------------------------------------------------------


async def run_with(fault: str, wh: float = 300, version: Version = "1.6", seed: int = 1) -> tuple[Central, Charger]:
    async with Central() as central, charger(central, version, faults=[fault], seed=seed) as cp:
        if version == "2.0.1":
            central.answers["Authorize"] = {"idTokenInfo": {"status": "Accepted"}}
        await charge(cp, wh)
    return central, cp


async def test_an_unknown_fault_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no such fault: dup_strat"):
        Charger("CP1", "ws://127.0.0.1:1", faults=["dup_strat"])


@pytest.mark.parametrize("fault", ["dup_start_same_id", "dup_start_new_id"])
async def test_a_start_sent_twice(fault: str) -> None:
    central, cp = await run_with(fault)
    starts = [(message_id, payload) for message_id, action, payload in central.calls if action == "StartTransaction"]
    assert len(starts) == 2
    assert starts[0][1] == starts[1][1]
    assert (starts[0][0] == starts[1][0]) == (fault == "dup_start_same_id")
    assert any("several transaction ids" in c for c in cp.complaints)  # this central system does it wrong


async def test_a_second_stop_with_another_meter() -> None:
    central, _ = await run_with("dup_stop_other_meter")
    first, second = central.heard("StopTransaction")
    assert second["meterStop"] - first["meterStop"] == 137
    assert first["transactionId"] == second["transactionId"]


async def test_a_stop_without_a_start_and_a_start_after_the_stop() -> None:
    central, _ = await run_with("stop_without_start")
    assert not central.heard("StartTransaction")
    assert central.heard("StopTransaction")[0]["transactionId"] > 2_000_000_000
    central, _ = await run_with("start_after_stop")
    actions = central.actions()
    assert actions.index("StartTransaction") > actions.index("StopTransaction")


@pytest.mark.parametrize(("fault", "tx_id"), [("tx_zero", 0), ("tx_minus_one", -1)])
async def test_ids_the_charger_does_not_know(fault: str, tx_id: int) -> None:
    central, _ = await run_with(fault)
    assert {p["transactionId"] for p in central.heard("StopTransaction") + central.heard("MeterValues")} == {tx_id}


async def test_registers_that_lie() -> None:
    central, cp = await run_with("kwh_as_wh")
    last = central.heard("MeterValues")[-1]["meterValue"][0]["sampledValue"][0]
    assert last["unit"] == "Wh"
    assert float(last["value"]) < 2_000  # a register of about a million Wh
    central, _ = await run_with("reg_dropout_zero", 1500)
    values = [p["meterValue"][0]["sampledValue"][0]["value"] for p in central.heard("MeterValues")]
    assert "0" in values
    assert set(values) != {"0"}
    central, cp = await run_with("meter_session_relative")
    assert central.heard("StartTransaction")[0]["meterStart"] == 0
    assert central.heard("StopTransaction")[0]["meterStop"] == cp.truth[0].delivered_wh


async def test_clocks_that_lie() -> None:
    central, _ = await run_with("clock_1970")
    assert central.heard("StartTransaction")[0]["timestamp"].startswith("1970-01-01T")
    central, cp = await run_with("clock_plus_5h30")
    assert abs(cp.truth[0].start_ms - cp.transcript.entries[0].at_ms - 19_800_000) < 20_000


async def test_addresses_written_oddly() -> None:
    assert (await run_with("slash_slash_id", 50))[0].paths[0] == "/ocpp//CP1"
    assert (await run_with("escaped_id", 50))[0].paths[0] == "/ocpp/%43P1"
    central, _ = await run_with("no_subprotocol", 50)
    assert "Sec-WebSocket-Protocol" not in central.headers[0]


async def test_frames_that_break_the_rules_of_turn() -> None:
    central, _ = await run_with("call_while_awaiting", 50)
    assert central.actions()[:2] == ["BootNotification", "Heartbeat"]
    central, _ = await run_with("duplicate_frames")
    ids = [message_id for message_id, _, _ in central.calls]
    assert len(ids) > len(set(ids))
    central, _ = await run_with("reply_unknown_id", 50)
    assert central.results == [("nobody-asked-for-this", {})]
    central, _ = await run_with("reuse_message_id_after_boot", 50)
    assert central.calls[0][0] == "1"


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_reordered_samples_lose_nothing(version: Version) -> None:
    central, cp = await run_with("reordered_frames", 1500, version)
    assert abs(reported_wh(central, version) - cp.truth[0].delivered_wh) <= 1
    if version == "2.0.1":
        numbers = [event["seqNo"] for event in central.heard("TransactionEvent")]
        assert numbers != sorted(numbers)
        assert sorted(numbers) == list(range(len(numbers)))


async def test_a_silent_remote_start() -> None:
    async with Central() as central, charger(central, faults=["remote_start_accepted_silent"]) as cp:
        await cp.wait_online()
        await cp.plug_in()
        answer = await central.command("RemoteStartTransaction", {"idTag": "X", "connectorId": 1})
        assert answer[2] == {"status": "Accepted"}
        with pytest.raises(StoryError):
            await cp.wait_session(timeout_s=0.1)


@pytest.mark.parametrize(
    ("fault", "cut", "boots"), [("boot_every_reconnect", False, 2), ("no_boot_on_reconnect", True, 1)]
)
async def test_boots_are_weak_evidence(fault: str, cut: bool, boots: int) -> None:
    async with Central() as central, charger(central, faults=[fault]) as cp:
        await cp.wait_online()
        await (cp.power_cut(0.05) if cut else cp.go_offline(0.05))
        await central.until(lambda: len(central.connections) == 2)
        await cp.wait_online()
        assert central.actions().count("BootNotification") == boots


async def test_half_open_leaves_the_old_socket_silent_and_comes_back_on_a_new_one() -> None:
    async with Central() as central, charger(central, faults=["half_open"]) as cp:
        await cp.wait_online()
        await cp.go_offline(0.05)
        await central.until(lambda: len(central.connections) == 2)
        assert central.connections[0].state.name == "OPEN"


async def test_a_flapping_link_still_delivers_everything() -> None:
    central, cp = await run_with("flapping_link", 3000)
    assert abs(reported_wh(central) - cp.truth[0].delivered_wh) <= 1


async def test_after_a_cut_the_meter_may_start_again_or_be_another() -> None:
    for fault in ("meter_reset_on_boot", "swap_serial_same_id"):
        async with Central() as central, charger(central, faults=[fault]) as cp:
            await cp.wait_online()
            await cp.plug_in()
            await cp.present_tag("TAG1")
            await cp.wait_delivered(1, 200)
            await cp.power_cut(0.05)
            await cp.wait_for("the boot", lambda: cp.boots == 2)
            await cp.wait_drained()
            assert central.heard("StopTransaction")[0]["meterStop"] == 0
            serials = {boot["chargePointSerialNumber"] for boot in central.heard("BootNotification")}
            assert len(serials) == (2 if fault == "swap_serial_same_id" else 1)


async def test_pings_that_get_no_pong() -> None:
    async with Central() as central, charger(central, faults=["ignores_server_ping"]) as cp:
        await cp.wait_online()
        pong = asyncio.ensure_future(await central.connections[0].ping())
        with pytest.raises(TimeoutError):
            await central.until(pong.done, 0.2)
        pong.cancel()


async def test_a_ping_that_makes_the_charger_fall_over() -> None:
    async with Central() as central, charger(central, faults=["drops_on_server_ping"]) as cp:
        await cp.wait_online()
        await central.connections[0].ping()
        await central.until(lambda: len(central.connections) == 2)


async def test_a_fleet_of_both_versions_charges_once_each() -> None:
    async with Central() as central:
        accepted = {"status": "Accepted"}
        central.answers["Authorize"] = {"idTagInfo": accepted, "idTokenInfo": accepted}
        report = await run_fleet(central.url, 4, rounds=1, speed=600, timeout_s=8)
        assert report.failures == []
        assert (report.chargers, report.sessions) == (4, 4)
        assert report.delivered_wh > 400


@pytest.mark.parametrize(("reachable", "code"), [(True, 0), (False, 1)])
async def test_the_command_tells_by_its_exit_code_how_the_story_ended(reachable: bool, code: int) -> None:
    async with Central() as central:
        url = central.url if reachable else "ws://127.0.0.1:9/ocpp"
        limit = "8" if reachable else "0.3"
        words = ["charger", "--url", url, "--id", "CP1", "--scenario", "local-tag", "--timeout", limit]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "simulators", *words, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()
        assert process.returncode == code
        assert ("StartTransaction" in printed.decode()) == reachable
        assert "local-tag" in printed.decode()


def test_every_fault_has_a_sentence() -> None:
    assert len(FAULTS) >= 35
    assert all(sentence and name == name.lower() for name, sentence in FAULTS.items())
