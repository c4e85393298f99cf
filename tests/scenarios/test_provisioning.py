"""First contact, drift and repair, reboot when idle, Pending until accepted, a report with a part lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from held import Keys, Variables, configuration, inventory, standing
from running import Server, running
from wire import Refuse, Station16, Station201, charger, command, session, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = {
    "HeartbeatInterval": "300",
    "GetConfigurationMaxKeys": "50",
    "MeterValueSampleInterval": "900",
    "StopTransactionOnInvalidId": "TRUE",
    "MeterValuesSampledData": "Power.Active.Import, Energy.Active.Import.Register",
    "AuthorizationKey": "a-secret-that-must-not-show",
    "NumberOfConnectors": "2",
}
ROWS = {
    "OCPPCommCtrlr.HeartbeatInterval": ("300", "ReadWrite"),
    "OCPPCommCtrlr.OfflineThreshold": ("600", "ReadWrite"),
    "SecurityCtrlr.BasicAuthPassword": ("a-secret-that-must-not-show", "WriteOnly"),
    "DeviceDataCtrlr.ItemsPerMessage[SetVariables]": ("2", "ReadOnly"),
    "DeviceDataCtrlr.ItemsPerMessage[GetVariables]": ("2", "ReadOnly"),
    "TxCtrlr.EVConnectionTimeOut": ("60", "ReadWrite"),
    "AuthCtrlr.LocalPreAuthorize": ("True", "ReadWrite"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    settings = {"ocpp": {"settle_s": 0.2, "pending_interval_s": 60}, "provisioning": {"report_s": 1}}
    async with running(tmp_path_factory.mktemp("provisioning"), settings) as running_server:
        await token(running_server, "TAG")
        yield running_server


async def template(server: Server, charger_id: str, wanted: dict[str, str]) -> None:
    await server.api("PUT", f"/api/v1/config-templates/T-{charger_id}", {"charger_id": charger_id, "wanted": wanted})


# -- first contact


async def test_the_first_boot_brings_everything_a_charger_holds(server: Server) -> None:
    async with Station16(server, "FC16") as cp:
        Keys(cp, KEYS, readonly={"NumberOfConnectors"})
        await cp.boot(firmwareVersion="1.0")
        read = await inventory(server, "FC16")
        assert (read["inventory_firmware"], read["state"]) == ("1.0", "unknown")  # nothing is wanted of it
        held = await configuration(server, "FC16")
        assert held == {**KEYS, "AuthorizationKey": None}
        assert cp.questions("GetConfiguration") == [{}]
        found = await server.api("GET", "/api/v1/chargers/FC16/configuration?name=connectors")
        (one,) = found["items"]
        assert (one["name"], one["mutability"], one["attribute"]) == ("NumberOfConnectors", "ReadOnly", "Actual")


async def test_only_other_firmware_is_a_reason_to_read_again(server: Server) -> None:
    async with Station16(server, "FC16-FW") as cp:
        keys = Keys(cp, KEYS)
        await cp.boot(firmwareVersion="1.0")
        first = await inventory(server, "FC16-FW")
        await cp.boot(firmwareVersion="1.0")
        del keys.values["NumberOfConnectors"]
        await cp.boot(firmwareVersion="1.1")
        again = await inventory(server, "FC16-FW", after=first["inventory_at"])
        assert again["inventory_firmware"] == "1.1"
        assert len(cp.questions("GetConfiguration")) == 2
        assert "NumberOfConnectors" not in await configuration(server, "FC16-FW")


async def test_a_charger_that_cannot_say_all_at_once_is_asked_in_chunks(server: Server) -> None:
    quirks = {"id": "FC16-MAX", "quirks": ["max_keys_per_get=4"]}
    await server.api("POST", "/api/v1/chargers", quirks)
    async with Station16(server, "FC16-MAX") as cp:
        Keys(cp, KEYS)
        await cp.boot()
        await inventory(server, "FC16-MAX")
        asked = cp.questions("GetConfiguration")
        assert max(len(one["key"]) for one in asked) == 4
        assert (await configuration(server, "FC16-MAX"))["MeterValueSampleInterval"] == "900"


async def test_an_answer_cut_at_the_most_keys_is_completed(server: Server) -> None:
    async with Station16(server, "FC16-CUT") as cp:
        keys = Keys(cp, {**KEYS, "GetConfigurationMaxKeys": "3"})

        def cut(asked: dict[str, list[str]]) -> object:
            answer = keys.get(asked)
            answer["configurationKey"] = answer["configurationKey"][:3]
            return answer

        cp.table["GetConfiguration"] = cut
        await cp.boot()
        await inventory(server, "FC16-CUT")
        held = await configuration(server, "FC16-CUT")
        assert held["NumberOfConnectors"] == "2"
        assert all(len(one["key"]) <= 3 for one in cp.questions("GetConfiguration")[1:])


async def test_the_device_model_comes_in_parts_out_of_order_and_repeated(server: Server) -> None:
    async with Station201(server, "FC201") as cs:
        model = Variables(cs, ROWS)
        model.parts = 3
        model.order = lambda parts: [parts[2], parts[0], parts[0], parts[1]]
        await cs.boot()
        read = await inventory(server, "FC201")
        assert read["state"] == "unknown"
        held = await configuration(server, "FC201")
        assert held == {name: None if "Password" in name else value for name, (value, _) in ROWS.items()}
        (asked,) = cs.questions("GetBaseReport")
        assert asked["reportBase"] == "FullInventory"


async def test_a_report_with_a_part_lost_is_asked_for_again(server: Server) -> None:
    async with Station201(server, "LOST") as cs:
        model = Variables(cs, ROWS)
        model.lose = [1]
        await cs.boot()
        await inventory(server, "LOST")
        first, second = cs.questions("GetBaseReport")
        assert first["requestId"] != second["requestId"]
        assert len(await configuration(server, "LOST")) == len(ROWS)


async def test_a_station_that_makes_no_report_is_asked_by_name(server: Server) -> None:
    async with Station201(server, "NOREPORT") as cs:
        Variables(cs, ROWS)
        cs.table["GetBaseReport"] = {"status": "NotSupported"}
        await cs.boot()
        await inventory(server, "NOREPORT")
        asked = [one["reportBase"] for one in cs.questions("GetBaseReport")]
        assert asked == ["FullInventory", "ConfigurationInventory"]
        sizes = [len(one["getVariableData"]) for one in cs.questions("GetVariables")[1:]]
        assert max(sizes) == 2  # ItemsPerMessage[GetVariables], which it was asked for first
        assert (await configuration(server, "NOREPORT"))["OCPPCommCtrlr.OfflineThreshold"] == "600"


async def test_a_charger_that_knows_no_such_message_is_left_in_peace(server: Server) -> None:
    async with Station16(server, "FC16-NONE") as cp:

        def refuse(_: object) -> None:
            raise Refuse("NotImplemented")

        cp.table["GetConfiguration"] = refuse
        await cp.boot()
        await cp.until_asked("GetConfiguration")
        found = await standing(server, "FC16-NONE")
        assert (found["inventory_at"], found["state"]) == (None, "unknown")
        assert len(cp.questions("GetConfiguration")) == 1


async def test_what_answers_say_is_kept_whoever_asked(server: Server) -> None:
    async with Station16(server, "STEP16") as cp:
        Keys(cp, KEYS)
        await cp.boot()
        await inventory(server, "STEP16")
        await command(server, "STEP16", "set_config", {"key": "HeartbeatInterval", "value": "77"})

        async def is_kept() -> bool:
            return (await configuration(server, "STEP16"))["HeartbeatInterval"] == "77"

        assert await until(is_kept)
        await command(server, "STEP16", "set_config", {"key": "AuthorizationKey", "value": "another-secret"})
        await command(server, "STEP16", "set_config", {"key": "heartbeatinterval", "value": "78"})

        async def is_kept_too() -> bool:
            return (await configuration(server, "STEP16"))["HeartbeatInterval"] == "78"

        assert await until(is_kept_too)  # under the charger's own spelling
        assert len(await configuration(server, "STEP16")) == len(KEYS)
        shown = await server.api("GET", "/api/v1/chargers/STEP16/configuration?limit=1000")
        assert "secret" not in str(shown)


# -- drift


async def test_drift_is_found_written_one_key_per_call_and_read_back(server: Server) -> None:
    wanted = {
        "MeterValueSampleInterval": "60",
        "heartbeatinterval": "120",
        "StopTransactionOnInvalidId": "true",  # it says TRUE
        "MeterValuesSampledData": "Energy.Active.Import.Register,Power.Active.Import",  # in another order
        "NumberOfConnectors": "4",  # it may not be written
        "TxCtrlr.EVConnectionTimeOut": "120",  # a name of the other version
    }
    await template(server, "DRIFT16", wanted)
    async with Station16(server, "DRIFT16") as cp:
        Keys(cp, KEYS, readonly={"NumberOfConnectors"})
        await cp.boot()
        found = await standing(server, "DRIFT16", "drifted")
        assert [(one["name"], one["wanted"], one["found"], one["outcome"]) for one in found["drift"]] == [
            ("HeartbeatInterval", "120", "300", None),
            ("MeterValueSampleInterval", "60", "900", None),
        ]
        assert cp.questions("ChangeConfiguration") == []  # shown, not written: nobody asked for it
        listed = await server.api("GET", "/api/v1/provisioning?state=drifted")
        assert "DRIFT16" in [one["charger_id"] for one in listed["items"]]

        await server.api("POST", "/api/v1/chargers/DRIFT16/provisioning/apply", {}, expect=202)
        mended = await standing(server, "DRIFT16", "in-step")
        assert mended["drift"] == []
        assert mended["written_at"] is not None
        assert cp.questions("ChangeConfiguration") == [
            {"key": "HeartbeatInterval", "value": "120"},
            {"key": "MeterValueSampleInterval", "value": "60"},
        ]
        assert cp.questions("GetConfiguration")[-1] == {"key": ["HeartbeatInterval", "MeterValueSampleInterval"]}
        assert (await configuration(server, "DRIFT16"))["HeartbeatInterval"] == "120"


async def test_what_a_charger_refuses_is_shown_with_its_word(server: Server) -> None:
    await template(server, "FAIL16", {"HeartbeatInterval": "1", "MeterValueSampleInterval": "60"})
    async with Station16(server, "FAIL16") as cp:
        keys = Keys(cp, KEYS)
        keys.words["HeartbeatInterval"] = "Rejected"
        await cp.boot()
        await standing(server, "FAIL16", "drifted")
        await server.api("POST", "/api/v1/chargers/FAIL16/provisioning/apply", {}, expect=202)
        found = await standing(server, "FAIL16", "failed")
        (one,) = found["drift"]
        assert (one["name"], one["outcome"]) == ("HeartbeatInterval", "Rejected")
        await server.api("POST", "/api/v1/chargers/FAIL16/provisioning/check", {}, expect=202)
        assert (await standing(server, "FAIL16", "failed"))["drift"] == found["drift"]


async def test_variables_are_written_within_the_limits_the_station_told(server: Server) -> None:
    wanted = {
        "OCPPCommCtrlr.HeartbeatInterval": "120",
        "OCPPCommCtrlr.OfflineThreshold": "60",
        "TxCtrlr.EVConnectionTimeOut": "180",
        "AuthCtrlr.LocalPreAuthorize": "true",
    }
    await template(server, "DRIFT201", wanted)
    async with Station201(server, "DRIFT201") as cs:
        Variables(cs, ROWS)
        await cs.boot()
        found = await standing(server, "DRIFT201", "drifted")
        assert "AuthCtrlr.LocalPreAuthorize" in [one["name"] for one in found["drift"]]  # a string there: no boolean
        await server.api("POST", "/api/v1/chargers/DRIFT201/provisioning/apply", {}, expect=202)
        await standing(server, "DRIFT201", "in-step")
        sizes = [len(one["setVariableData"]) for one in cs.questions("SetVariables")]
        assert sizes == [2, 2]
        assert (await configuration(server, "DRIFT201"))["OCPPCommCtrlr.OfflineThreshold"] == "60"


async def test_nothing_is_written_while_a_session_is_open(server: Server) -> None:
    await template(server, "BUSY16", {"MeterValueSampleInterval": "60"})
    async with Station16(server, "BUSY16") as cp:
        Keys(cp, KEYS)
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        await standing(server, "BUSY16", "drifted")
        await server.api("POST", "/api/v1/chargers/BUSY16/provisioning/apply", {}, expect=202)
        await cp.until_asked("GetConfiguration", 2)  # it compares, and finds somebody charging
        await server.api("POST", "/api/v1/chargers/BUSY16/provisioning/check", {}, expect=202)
        await cp.until_asked("GetConfiguration", 3)  # that errand is over when the next one begins
        await cp.meter(number, 50)
        assert (await session(server, "BUSY16"))["open"] is True
        assert cp.questions("ChangeConfiguration") == []
        await cp.stop(number, 100)
        await standing(server, "BUSY16", "in-step")
        assert len(cp.questions("ChangeConfiguration")) == 1


async def test_a_restart_that_a_change_needs_waits_for_the_end_of_the_session(server: Server) -> None:
    await template(server, "REBOOT16", {"MeterValueSampleInterval": "60"})
    async with Station16(server, "REBOOT16") as cp:
        keys = Keys(cp, KEYS)
        keys.words["MeterValueSampleInterval"] = "RebootRequired"
        started: list[int] = []
        cp.table["Reset"] = {"status": "Accepted"}
        await cp.boot()
        await standing(server, "REBOOT16", "drifted")

        async def start_meanwhile() -> None:
            started.append((await cp.start("TAG", 0))["transactionId"])

        def change(asked: dict[str, str]) -> object:
            import asyncio

            tasks.append(asyncio.get_running_loop().create_task(start_meanwhile()))
            return keys.change(asked)

        tasks: list[object] = []
        cp.table["ChangeConfiguration"] = change
        await server.api("POST", "/api/v1/chargers/REBOOT16/provisioning/apply", {}, expect=202)

        async def is_needed() -> bool:
            found = await server.api("GET", "/api/v1/chargers/REBOOT16/provisioning")
            return bool(found["state"] == "reboot-needed" and started)

        assert await until(is_needed)
        await cp.meter(started[0], 50)
        assert cp.questions("Reset") == []
        await cp.stop(started[0], 100)
        assert await cp.until_asked("Reset") == {"type": "Soft"}
        keys.restart()
        await cp.close()
        await cp.connect()
        await cp.boot()
        await standing(server, "REBOOT16", "in-step")
        assert len(cp.questions("Reset")) == 1
        assert (await configuration(server, "REBOOT16"))["MeterValueSampleInterval"] == "60"


async def test_a_change_that_no_restart_brings_is_not_tried_for_ever(server: Server) -> None:
    await template(server, "REBOOT-N", {"MeterValueSampleInterval": "60"})
    async with Station16(server, "REBOOT-N") as cp:
        keys = Keys(cp, KEYS)
        keys.words["MeterValueSampleInterval"] = "RebootRequired"
        cp.table["Reset"] = {"status": "Accepted"}
        await cp.boot()
        await standing(server, "REBOOT-N", "drifted")
        await server.api("POST", "/api/v1/chargers/REBOOT-N/provisioning/apply", {}, expect=202)
        await cp.until_asked("Reset")
        await cp.boot()
        found = await standing(server, "REBOOT-N", "failed")
        assert found["drift"][0]["outcome"] == "RebootRequired"
        assert len(cp.questions("Reset")) == 1


async def test_a_template_put_later_is_compared_with_what_is_known(server: Server) -> None:
    async with Station16(server, "LATER16") as cp:
        Keys(cp, KEYS)
        await cp.boot()
        await inventory(server, "LATER16")
        await template(server, "LATER16", {"HeartbeatInterval": "240"})
        found = await standing(server, "LATER16", "drifted")
        assert found["drift"][0]["template"] == "T-LATER16"
        assert len(cp.questions("GetConfiguration")) == 1  # nobody was asked for that
        await server.api("DELETE", "/api/v1/config-templates/T-LATER16")
        await standing(server, "LATER16", "unknown")


async def test_a_built_in_template_is_chosen_for_one_charger(server: Server) -> None:
    shown = await server.api("GET", "/api/v1/config-templates/builtin-dc")
    assert (shown["builtin"], shown["wanted"]["HeartbeatInterval"]) == (True, "120")
    async with Station16(server, "DC16") as cp:
        Keys(cp, KEYS)
        await cp.boot()
        await inventory(server, "DC16")
        await server.api("PUT", "/api/v1/chargers/DC16/provisioning", {"template": "builtin-dc"})
        found = await standing(server, "DC16", "drifted")
        assert {(one["name"], one["wanted"]) for one in found["drift"]} == {
            ("HeartbeatInterval", "120"),
            ("MeterValueSampleInterval", "30"),
            ("MeterValuesSampledData", shown["wanted"]["MeterValuesSampledData"]),
        }


@pytest.mark.parametrize(
    "wanted",
    [{"AuthorizationKey": "x"}, {"SecurityCtrlr.BasicAuthPassword": "x"}, {"SecurityProfile": "2"}, {}],
    ids=["key", "password", "profile", "nothing"],
)
async def test_secrets_are_no_matter_for_templates(server: Server, wanted: dict[str, str]) -> None:
    await server.api("PUT", "/api/v1/config-templates/SECRET", {"wanted": wanted}, expect=422)


# -- Pending


async def test_pending_then_configured_then_accepted(server: Server) -> None:
    await server.api("POST", "/api/v1/chargers", {"id": "PEND16", "registration": "Pending"})
    await template(server, "PEND16", {"MeterValueSampleInterval": "60"})
    async with Station16(server, "PEND16") as cp:
        Keys(cp, KEYS)
        cp.table["TriggerMessage"] = {"status": "Accepted"}
        answer = await cp.boot()
        assert (answer["status"], answer["interval"]) == ("Pending", 60)
        await standing(server, "PEND16", "drifted")
        await server.api("POST", "/api/v1/chargers/PEND16/provisioning/apply", {}, expect=202)
        await standing(server, "PEND16", "in-step")
        assert await cp.refused("StatusNotification", cp_status()) == "SecurityError"
        await server.api("PATCH", "/api/v1/chargers/PEND16", {"registration": "Accepted"})
        assert await cp.until_asked("TriggerMessage") == {"requestedMessage": "BootNotification"}
        assert (await cp.boot())["status"] == "Accepted"
        await cp.status("Available")
        assert (await charger(server, "PEND16"))["registration"] == "Accepted"
        assert len(cp.questions("TriggerMessage")) == 1


def cp_status() -> dict[str, object]:
    return {"connectorId": 1, "errorCode": "NoError", "status": "Available"}


async def test_an_accepted_charger_is_never_asked_to_boot_again(server: Server) -> None:
    await server.api("POST", "/api/v1/chargers", {"id": "PEND-B", "registration": "Pending"})
    async with Station16(server, "PEND-B") as cp:
        Keys(cp, KEYS)
        assert (await cp.boot())["status"] == "Pending"
        await inventory(server, "PEND-B")
        await cp.close()
        await server.api("PATCH", "/api/v1/chargers/PEND-B", {"registration": "Accepted"})
        await cp.connect()
        assert (await cp.boot())["status"] == "Accepted"
        # A comparison has its turn after the trigger would have had.
        await server.api("POST", "/api/v1/chargers/PEND-B/provisioning/check", {}, expect=202)
        await cp.until_asked("GetConfiguration", 2)
        assert cp.questions("TriggerMessage") == []


# -- of its own accord


async def test_auto_writes_what_differs_and_goes_on_after_a_crash(tmp_path: Path) -> None:
    settings = {
        "ocpp": {"settle_s": 0.2},
        "provisioning": {"apply": "auto", "template": "builtin-ac"},
    }
    async with running(tmp_path, settings) as server:
        async with Station16(server, "AUTO16") as cp:
            keys = Keys(cp, KEYS)
            keys.words["MeterValueSampleInterval"] = "RebootRequired"
            cp.table["Reset"] = {"status": "Accepted"}
            assert (await cp.boot())["interval"] == 300
            await cp.until_asked("Reset")
            assert keys.waiting == {"MeterValueSampleInterval": "60"}

            async def is_asked() -> bool:
                found = await server.api("GET", "/api/v1/chargers/AUTO16/provisioning")
                return found["reset_at"] is not None

            assert await until(is_asked)
        await server.kill()
        await server.start()
        async with Station16(server, "AUTO16") as cp:
            again = Keys(cp, keys.values | keys.waiting)
            cp.table["Reset"] = {"status": "Accepted"}
            await cp.boot()
            await standing(server, "AUTO16", "in-step")
            assert again.values["MeterValueSampleInterval"] == "60"
            assert (cp.questions("Reset"), cp.questions("ChangeConfiguration")) == ([], [])
        async with Station16(server, "AUTO-BUSY") as cp:
            Keys(cp, KEYS)
            await cp.boot()
            number = (await cp.start("TAG", 0))["transactionId"]
            await cp.until_asked("GetConfiguration", 2)  # read, and read again to be written
            await server.api("POST", "/api/v1/chargers/AUTO-BUSY/provisioning/check", {}, expect=202)
            await cp.until_asked("GetConfiguration", 3)
            assert await cp.is_served()
            await cp.stop(number, 100)
            await cp.until_asked("ChangeConfiguration")
            assert len(cp.questions("GetConfiguration")) == 4  # nobody went on asking while it charged
            await standing(server, "AUTO-BUSY", "in-step")


async def test_the_answer_to_a_boot_sets_the_heartbeat_a_template_wants(server: Server) -> None:
    await template(server, "BEAT16", {"HeartbeatInterval": "77"})
    await template(server, "BEAT201", {"OCPPCommCtrlr.HeartbeatInterval": "88"})
    async with Station16(server, "BEAT16") as cp, Station201(server, "BEAT201") as cs:
        assert (await cp.boot())["interval"] == 77
        assert (await cs.boot())["interval"] == 88


async def test_nothing_is_read_where_nobody_wants_it(tmp_path: Path) -> None:
    settings = {"ocpp": {"settle_s": 0.1}, "provisioning": {"inventory": "never"}}
    async with running(tmp_path, settings) as server, Station16(server, "NEVER16") as cp:
        Keys(cp, KEYS)
        await cp.boot()
        await server.api("POST", "/api/v1/chargers/NEVER16/provisioning/check", {}, expect=202)  # but on request
        await inventory(server, "NEVER16")
        assert cp.questions("GetConfiguration") == [{}]


async def test_what_was_asked_of_a_charger_that_is_away_outlives_a_crash(tmp_path: Path) -> None:
    async with running(tmp_path, {"ocpp": {"settle_s": 0.1}}) as server:
        async with Station16(server, "AWAY16") as cp:
            Keys(cp, KEYS)
            await cp.boot()
            await inventory(server, "AWAY16")
        await template(server, "AWAY16", {"HeartbeatInterval": "240"})
        await standing(server, "AWAY16", "drifted")
        await server.api("POST", "/api/v1/chargers/AWAY16/provisioning/apply", {}, expect=202)
        await server.kill()
        await server.start()
        async with Station16(server, "AWAY16") as cp:
            Keys(cp, KEYS)
            await cp.is_served()  # it comes back without a boot
            assert (await cp.until_asked("ChangeConfiguration"))["value"] == "240"
            await standing(server, "AWAY16", "in-step")
