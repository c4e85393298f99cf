"""An independent reading of OCPP against a real server: charge points of the `ocpp` package, both versions.

The package checks with its own schemas whatever it sends and whatever it hears, in both directions, and hands messages
over in its own words. What it read is compared with what was asked, what it answered with what the REST API shows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib import resources
from typing import Any

import ocpp.v16
import ocpp.v201
import pytest
import pytest_asyncio
from library_messages import ASKED16, ASKED201, Asked, Payload, said16, said201
from ocpp.charge_point import camel_to_snake_case, remove_nones, serialize_as_dict, snake_to_camel_case
from ocpp.routing import after, on
from ocpp.v16 import call as call16
from ocpp.v16 import call_result as result16
from ocpp.v201 import call as call201
from ocpp.v201 import call_result as result201
from pki_world import Ca
from running import Server, running
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol
from wire import PATIENCE_S, at, charger, command, frames, instruction, raw, session, sessions, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("library")) as running_server:
        await token(running_server, "TAG")
        yield running_server


class Attentive:
    """Keeps what was heard: every frame as it was written, and every call as the package read it."""

    def __init__(self, *rest: Any, **more: Any) -> None:
        super().__init__(*rest, **more)
        self.written: list[str] = []
        self.heard: list[tuple[str, Payload]] = []
        self.news = asyncio.Condition()

    async def route_message(self, text: str) -> None:
        self.written.append(text)
        await super().route_message(text)  # type: ignore[misc]  # of the package's class beside this one

    async def took(self, action: str, said: Payload) -> None:
        async with self.news:
            self.heard.append((action, said))
            self.news.notify_all()

    def written_of(self, action: str) -> str:
        """The last frame of this action as it came."""
        return next(text for text in reversed(self.written) if f',"{action}",' in text)

    async def until_heard(self, action: str, count: int = 1) -> Payload:
        async with asyncio.timeout(PATIENCE_S), self.news:
            while len(found := [said for name, said in self.heard if name == action]) < count:
                await self.news.wait()
            return found[count - 1]


def answering(base: type, results: Any, asked: Asked) -> Any:
    """A charge point with a handler for every action, which answers with an object of the package."""

    def handler(action: str, answer: Payload) -> Any:
        async def take(self: Any, **said: Any) -> Any:
            await self.took(action, said)
            return getattr(results, action)(**answer)

        take.__name__ = f"on_{action}"  # the package finds handlers by their names
        return on(action)(take)

    handlers = {f"on_{action}": handler(action, answer) for action, (_, answer) in asked.items()}
    return type(f"Answering{base.__name__}", (Attentive, base), handlers)


@asynccontextmanager
async def plugged(server: Server, kind: Callable[..., Any], identity: str, version: str) -> AsyncIterator[Any]:
    """A charge point on a real socket, reading in a task of its own."""
    url = f"{server.ocpp_url}/{identity}"
    async with connect(url, subprotocols=[Subprotocol(version)], ping_interval=None) as socket:
        assert socket.subprotocol == version
        point = kind(identity, socket, response_timeout=PATIENCE_S)
        reading = asyncio.create_task(point.start())
        try:
            yield point
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def boot_of(version: str) -> Any:
    if version == "ocpp1.6":
        return call16.BootNotification(
            charge_point_model="Model", charge_point_vendor="Vendor", charge_point_serial_number="S-1",
            charge_box_serial_number="B-1", firmware_version="1.2.3", iccid="89", imsi="404", meter_type="M",
            meter_serial_number="MS-1",
        )  # fmt: skip
    station = {
        "model": "Model", "vendor_name": "Vendor", "serial_number": "S-1", "firmware_version": "1.2.3",
        "modem": {"iccid": "89", "imsi": "404"},
    }  # fmt: skip
    return call201.BootNotification(charging_station=station, reason="PowerUp")


POINTS = {
    "ocpp1.6": answering(ocpp.v16.ChargePoint, result16, ASKED16),
    "ocpp2.0.1": answering(ocpp.v201.ChargePoint, result201, ASKED201),
}
ASKED = {"ocpp1.6": ASKED16, "ocpp2.0.1": ASKED201}
SAID = {"ocpp1.6": said16, "ocpp2.0.1": said201}
IN_SESSIONS = {
    "ocpp1.6": {"BootNotification", "StartTransaction", "StopTransaction"},
    "ocpp2.0.1": {"BootNotification", "TransactionEvent"},
}
ROOT = Ca("The maker's root")
both_versions = pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1"])


def actions_of(version: str) -> set[str]:
    """Every action the package has a schema for."""
    folder = resources.files(f"ocpp.v{version.removeprefix('ocpp').replace('.', '')}") / "schemas"
    names = {path.name.removesuffix(".json") for path in folder.iterdir() if path.name.endswith(".json")}
    return {name.removesuffix("Request") for name in names if not name.endswith("Response")}


@both_versions
async def test_every_message_of_the_version_is_played(version: str) -> None:
    said = {type(one).__name__ for one, _ in SAID[version]()}
    assert set(ASKED[version]) | said | IN_SESSIONS[version] == actions_of(version)
    assert set(ASKED[version]) & said == {"DataTransfer"}


# -- what the package says


def fits(answer: Payload, wanted: Payload) -> bool:
    """Whether an answer has these members; a tuple holds what is allowed."""
    for name, value in wanted.items():
        found = answer.get(name)
        if isinstance(value, dict):
            if not (isinstance(found, dict) and fits(found, value)):
                return False
        elif found not in (value if isinstance(value, tuple) else (value,)):
            return False
    return True


@both_versions
async def test_whatever_the_package_says_is_answered_by_the_schema_and_logged_as_it_was_said(
    server: Server, version: str
) -> None:
    identity, sayings = f"SAYS-{version}", SAID[version]()
    async with plugged(server, POINTS[version], identity, version) as point:
        boot = await point.call(boot_of(version), suppress=False)
        assert (boot.status, boot.interval > 0, boot.current_time[-1]) == ("Accepted", True, "Z")
        for said, wanted in sayings:
            # An answer that breaks the package's schema, or a CALLERROR, is an exception here.
            answer = await point.call(said, suppress=False)
            assert fits(serialize_as_dict(answer), wanted), (said, answer)
        found = await charger(server, identity)
        assert (found["vendor"], found["model"], found["serial"]) == ("Vendor", "Model", "S-1")
        assert (found["firmware"], found["online"], found["transport"]) == ("1.2.3", True, version)
        states = {one["connector_id"]: one["status"] for one in found["connectors"]}
        assert states == ({2: "Faulted"} if version == "ocpp1.6" else {1: "Occupied"})
        for said, _ in sayings:
            await until(partial(logged, server, identity, said))


async def logged(server: Server, identity: str, said: Any) -> bool:
    """Whether the log holds what the package said, with a result behind it."""
    action, payload = type(said).__name__, remove_nones(snake_to_camel_case(serialize_as_dict(said)))
    found = [frame for frame in await frames(server, identity, action) if frame["type"] in ("call", "result")]
    pairs = zip(found[::2], found[1::2], strict=False)
    return any(call["frame"][3] == payload and result["type"] == "result" for call, result in pairs)


async def test_a_16_session_of_the_package(server: Server) -> None:
    async with plugged(server, POINTS["ocpp1.6"], "LIB-S16", "ocpp1.6") as point:
        await point.call(boot_of("ocpp1.6"), suppress=False)
        await point.call(
            call16.StatusNotification(connector_id=1, error_code="NoError", status="Preparing", timestamp=at()),
            suppress=False,
        )
        assert (await point.call(call16.Authorize(id_tag="TAG"), suppress=False)).id_tag_info["status"] == "Accepted"
        started = await point.call(
            call16.StartTransaction(connector_id=1, id_tag="TAG", meter_start=1000, timestamp=at(-60)), suppress=False
        )
        assert started.id_tag_info["status"] == "Accepted"
        assert started.transaction_id > 0
        for seconds, kwh in ((-40, "1.1"), (-20, "1.25")):
            energy = {"value": kwh, "measurand": "Energy.Active.Import.Register", "unit": "kWh", "location": "Outlet"}
            soc = {"value": "41", "measurand": "SoC", "unit": "Percent", "location": "EV"}
            value = {"timestamp": at(seconds), "sampled_value": [energy, soc]}
            said = call16.MeterValues(connector_id=1, transaction_id=started.transaction_id, meter_value=[value])
            await point.call(said, suppress=False)
        assert (await session(server, "LIB-S16"))["energy_wh"] == 250
        stopped = await point.call(
            call16.StopTransaction(
                meter_stop=1400, timestamp=at(), transaction_id=started.transaction_id, reason="Local", id_tag="TAG"
            ),
            suppress=False,
        )
        assert stopped.id_tag_info["status"] == "Accepted"
        over = await session(server, "LIB-S16")
        assert (over["open"], over["energy_wh"], over["end_cause"], over["quality"]) == (False, 400, "Local", "A")
        assert (over["meter_start_wh"], over["meter_stop_wh"], over["token"]) == (1000, 1400, "TAG")
        assert over["transaction_ids"] == [str(started.transaction_id)]


def event_of(kind: str, trigger: str, seq: int, kwh: float, seconds: int, **more: Any) -> Any:
    context = {"Started": "Transaction.Begin", "Ended": "Transaction.End"}.get(kind, "Sample.Periodic")
    sample = {
        "value": kwh, "context": context, "measurand": "Energy.Active.Import.Register", "location": "Outlet",
        "unit_of_measure": {"unit": "kWh", "multiplier": 0},
    }  # fmt: skip
    return call201.TransactionEvent(
        event_type=kind,
        timestamp=at(seconds),
        trigger_reason=trigger,
        seq_no=seq,
        transaction_info={"transaction_id": "lib-tx", **more.pop("info", {})},
        meter_value=[{"timestamp": at(seconds), "sampled_value": [sample]}],
        evse={"id": 1, "connector_id": 1},
        **more,
    )


async def test_a_201_transaction_of_the_package(server: Server) -> None:
    token_of = {"id_token": "TAG", "type": "ISO14443"}
    async with plugged(server, POINTS["ocpp2.0.1"], "LIB-S201", "ocpp2.0.1") as point:
        await point.call(boot_of("ocpp2.0.1"), suppress=False)
        answer = await point.call(call201.Authorize(id_token=token_of), suppress=False)
        assert answer.id_token_info["status"] == "Accepted"
        started = await point.call(
            event_of("Started", "Authorized", 0, 1.0, -60, id_token=token_of, info={"charging_state": "EVConnected"}),
            suppress=False,
        )
        assert started.id_token_info["status"] == "Accepted"
        updated = event_of("Updated", "MeterValuePeriodic", 1, 1.25, -20, info={"charging_state": "Charging"})
        await point.call(updated, suppress=False)
        assert (await session(server, "LIB-S201"))["energy_wh"] == 250
        ended = event_of("Ended", "StopAuthorized", 2, 1.4, 0, id_token=token_of, info={"stopped_reason": "Local"})
        assert (await point.call(ended, suppress=False)).id_token_info["status"] == "Accepted"
        over = await session(server, "LIB-S201")
        assert (over["open"], over["energy_wh"], over["end_cause"]) == (False, 400, "Local")
        assert (over["meter_start_wh"], over["meter_stop_wh"], over["token"]) == (1000, 1400, "TAG")
        assert over["transaction_ids"] == ["lib-tx"]


# -- what the package hears


@both_versions
async def test_every_message_of_ours_is_read_by_the_package_as_it_was_asked(server: Server, version: str) -> None:
    identity = f"HEARS-{version}"
    async with plugged(server, POINTS[version], identity, version) as point:
        await point.call(boot_of(version), suppress=False)
        for action, (asked, answer) in ASKED[version].items():
            outcome = await raw(server, identity, action, asked)
            # A call that breaks the package's schema, or an answer of ours that does, is a CALLERROR.
            assert (outcome["status"], outcome["error"]) == ("answered", None), (action, outcome)
            assert outcome["response"] == snake_to_camel_case(answer), action
            heard, said = point.heard[-1]
            assert (heard, plain(said)) == (action, camel_to_snake_case(asked))
            # As it went over the wire: compact, the members in the asker's order.
            assert point.written[-1] == json.dumps([2, outcome["message_id"], action, asked], separators=(",", ":"))
        assert [action for action, _ in point.heard] == list(ASKED[version])


def plain(said: Payload) -> Payload:
    """What was read, its decimals as the numbers they are in JSON."""
    numbers: Payload = json.loads(json.dumps(said, default=float))
    return numbers


# -- commands in words of the house, obeyed as a charger would


def accepting(asked: Asked, **words: str) -> Asked:
    """The same messages; these are answered with these words."""
    return asked | {action: (asked[action][0], {"status": word}) for action, word in words.items()}


class Obedient16(  # type: ignore[misc]  # its base is made here
    answering(
        ocpp.v16.ChargePoint,
        result16,
        accepting(
            ASKED16, RemoteStartTransaction="Accepted", RemoteStopTransaction="Accepted", Reset="Accepted",
            UnlockConnector="Unlocked", ReserveNow="Accepted", CancelReservation="Accepted",
            ChangeAvailability="Accepted", ChangeConfiguration="Accepted", TriggerMessage="Accepted",
            SendLocalList="Accepted",
        ),
    )
):  # fmt: skip
    """Starts, stops and boots when it is asked to."""

    @after("RemoteStartTransaction")  # type: ignore[untyped-decorator]  # the package has no type marker
    async def starts(self, id_tag: str, connector_id: int, **_: Any) -> None:
        said = call16.StartTransaction(connector_id=connector_id, id_tag=id_tag, meter_start=0, timestamp=at(-20))
        await self.call(said)

    @after("RemoteStopTransaction")  # type: ignore[untyped-decorator]  # as above
    async def stops(self, transaction_id: int) -> None:
        said = call16.StopTransaction(transaction_id=transaction_id, meter_stop=90, timestamp=at(), reason="Remote")
        await self.call(said)

    @after("Reset")  # type: ignore[untyped-decorator]  # as above
    async def boots(self, **_: Any) -> None:
        await self.call(boot_of("ocpp1.6"))


class Obedient201(  # type: ignore[misc]  # its base is made here
    answering(
        ocpp.v201.ChargePoint,
        result201,
        accepting(
            ASKED201, RequestStartTransaction="Accepted", RequestStopTransaction="Accepted", Reset="Accepted",
            UnlockConnector="Unlocked", ReserveNow="Accepted", CancelReservation="Accepted",
            ChangeAvailability="Accepted", TriggerMessage="Accepted", ClearCache="Accepted",
            SendLocalList="Accepted", GetBaseReport="Accepted",
        ),
    )
):  # fmt: skip
    """Starts, stops and boots when it is asked to."""

    @after("RequestStartTransaction")  # type: ignore[untyped-decorator]  # as above
    async def starts(self, id_token: Payload, remote_start_id: int, **_: Any) -> None:
        info = {"charging_state": "Charging", "remote_start_id": remote_start_id}
        await self.call(event_of("Started", "RemoteStart", 0, 0, -20, id_token=id_token, info=info))

    @after("RequestStopTransaction")  # type: ignore[untyped-decorator]  # as above
    async def stops(self, **_: Any) -> None:
        await self.call(event_of("Ended", "RemoteStop", 1, 0.09, 0, info={"stopped_reason": "Remote"}))

    @after("Reset")  # type: ignore[untyped-decorator]  # as above
    async def boots(self, **_: Any) -> None:
        await self.call(boot_of("ocpp2.0.1"))

    @after("GetBaseReport")  # type: ignore[untyped-decorator]  # as above
    async def reports(self, request_id: int, **_: Any) -> None:
        told = [{**THRESHOLD, "variable_attribute": [{"value": "60", "mutability": "ReadWrite"}]}]
        await self.call(
            call201.NotifyReport(request_id=request_id, generated_at=at(), seq_no=0, report_data=told, tbc=False)
        )


OBEDIENT = {"ocpp1.6": Obedient16, "ocpp2.0.1": Obedient201}
THRESHOLD = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "OfflineThreshold"}}

# name, body -> action, what the package must read
COMMANDS: dict[str, list[tuple[str, Payload, str, Payload]]] = {
    "ocpp1.6": [
        ("unlock", {"connector_id": 1}, "UnlockConnector", {"connector_id": 1}),
        ("availability", {"operative": False}, "ChangeAvailability", {"connector_id": 0, "type": "Inoperative"}),
        ("trigger", {"message": "Heartbeat"}, "TriggerMessage", {"requested_message": "Heartbeat"}),
        (
            "trigger", {"message": "LogStatusNotification"},
            "ExtendedTriggerMessage", {"requested_message": "LogStatusNotification"},
        ),
        ("get_config", {"keys": ["HeartbeatInterval"]}, "GetConfiguration", {"key": ["HeartbeatInterval"]}),
        (
            "set_config", {"key": "HeartbeatInterval", "value": "60"},
            "ChangeConfiguration", {"key": "HeartbeatInterval", "value": "60"},
        ),
        ("clear_cache", {}, "ClearCache", {}),
        (
            "data_transfer", {"vendor_id": "org.example", "message_id": "m", "data": "x"},
            "DataTransfer", {"vendor_id": "org.example", "message_id": "m", "data": "x"},
        ),
        ("reset", {"type": "Soft"}, "Reset", {"type": "Soft"}),
    ],
    "ocpp2.0.1": [
        ("unlock", {"connector_id": 1}, "UnlockConnector", {"evse_id": 1, "connector_id": 1}),
        ("availability", {"operative": False}, "ChangeAvailability", {"operational_status": "Inoperative"}),
        ("trigger", {"message": "Heartbeat"}, "TriggerMessage", {"requested_message": "Heartbeat"}),
        (
            "get_config", {"keys": ["OCPPCommCtrlr.OfflineThreshold"]},
            "GetVariables", {"get_variable_data": [THRESHOLD]},
        ),
        (
            "set_config", {"key": "OCPPCommCtrlr.OfflineThreshold", "value": "123"},
            "SetVariables", {"set_variable_data": [{**THRESHOLD, "attribute_value": "123"}]},
        ),
        ("clear_cache", {}, "ClearCache", {}),
        (
            "data_transfer", {"vendor_id": "org.example", "message_id": "m", "data": {"a": [1]}},
            "DataTransfer", {"vendor_id": "org.example", "message_id": "m", "data": {"a": [1]}},
        ),
        ("reset", {"type": "OnIdle"}, "Reset", {"type": "OnIdle"}),
    ],
}  # fmt: skip


@both_versions
async def test_commands_reach_the_package_and_have_their_effect(server: Server, version: str) -> None:
    identity = f"OBEYS-{version}"
    async with plugged(server, OBEDIENT[version], identity, version) as point:
        await point.call(boot_of(version), suppress=False)
        for name, body, action, wanted in COMMANDS[version]:
            begun = await command(server, identity, name, body)
            assert await point.until_heard(action) == wanted, name
            done = await instruction(server, begun, "EFFECTIVE")
            assert done["message_id"] == json.loads(point.written_of(action))[1]
            point.heard.clear()


@both_versions
async def test_a_remote_session_from_start_to_stop(server: Server, version: str) -> None:
    identity = f"REMOTE-{version}"
    is_16 = version == "ocpp1.6"
    async with plugged(server, OBEDIENT[version], identity, version) as point:
        await point.call(boot_of(version), suppress=False)
        begun = await command(server, identity, "start", {"token": "TAG", "connector_id": 1})
        asked = await point.until_heard("RemoteStartTransaction" if is_16 else "RequestStartTransaction")
        if is_16:
            assert asked == {"connector_id": 1, "id_tag": "TAG"}
        else:
            assert asked.pop("remote_start_id") > 0
            assert asked == {"evse_id": 1, "id_token": {"id_token": "TAG", "type": "Central"}}
        done = await instruction(server, begun, "EFFECTIVE")
        (live,) = await sessions(server, identity)
        assert (live["id"], live["token"], live["open"]) == (done["session_id"], "TAG", True)

        limited = await command(server, identity, "limit", {"session_id": live["id"], "watts": 7000})
        profile = (await point.until_heard("SetChargingProfile")).get(
            "cs_charging_profiles" if is_16 else "charging_profile"
        )
        await instruction(server, limited, "EFFECTIVE")
        number = live["transaction_ids"][0]
        assert profile["transaction_id"] == (int(number) if is_16 else number)
        schedule = profile["charging_schedule"] if is_16 else profile["charging_schedule"][0]
        assert schedule["charging_schedule_period"] == [{"start_period": 0, "limit": 7000.0}]

        stopping = await command(server, identity, "stop", {"session_id": live["id"]})
        asked = await point.until_heard("RemoteStopTransaction" if is_16 else "RequestStopTransaction")
        assert asked == {"transaction_id": int(number) if is_16 else number}
        await instruction(server, stopping, "EFFECTIVE")
        over = await session(server, identity)
        assert (over["open"], over["energy_wh"], over["end_cause"]) == (False, 90, "Remote")


@both_versions
async def test_a_reservation_is_told_and_taken_back(server: Server, version: str) -> None:
    identity, is_16 = f"BOOKED-{version}", version == "ocpp1.6"
    async with plugged(server, OBEDIENT[version], identity, version) as point:
        await point.call(boot_of(version), suppress=False)
        body = {"charger_id": identity, "connector_id": 1, "token": "TAG", "end_at": at(1800)}
        made = await server.api("POST", "/api/v1/reservations", body, expect=201)
        asked = await point.until_heard("ReserveNow")
        assert asked["reservation_id" if is_16 else "id"] == made["id"]
        assert asked["expiry_date" if is_16 else "expiry_date_time"].endswith("Z")
        assert asked["id_tag"] == "TAG" if is_16 else asked["id_token"]["id_token"] == "TAG"
        assert asked["connector_id" if is_16 else "evse_id"] == 1

        async def accepted() -> bool:
            found = await server.api("GET", f"/api/v1/reservations/{made['id']}")
            return bool(found["status"] == "ACCEPTED")

        await until(accepted)
        await server.api("DELETE", f"/api/v1/reservations/{made['id']}")
        assert await point.until_heard("CancelReservation") == {"reservation_id": made["id"]}


# -- what the rest of the API says to chargers

RELATIVE16 = {
    "chargingProfileId": 56, "stackLevel": 1, "chargingProfilePurpose": "TxDefaultProfile",
    "chargingProfileKind": "Relative",
    "chargingSchedule": {"chargingRateUnit": "W", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 6000.5}]},
}  # fmt: skip
RELATIVE201 = {
    "id": 56, "stackLevel": 1, "chargingProfilePurpose": "TxDefaultProfile", "chargingProfileKind": "Relative",
    "chargingSchedule": [
        {"id": 1, "chargingRateUnit": "W", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 6000.5}]}
    ],
}  # fmt: skip
TEMPERATURE = {
    "component": {"name": "Connector", "evse": {"id": 1, "connector_id": 1}},
    "variable": {"name": "Temperature", "instance": "inlet"},
}

# method, path below the charger, body -> action, members the package must read
OPERATIONS: dict[str, list[tuple[str, str, Payload, str, Payload]]] = {
    "ocpp1.6": [
        (
            "POST", "charging-profiles", {"profile": RELATIVE16, "connector_id": 1},
            "SetChargingProfile", {"connector_id": 1, "cs_charging_profiles": camel_to_snake_case(RELATIVE16)},
        ),
        ("POST", "charging-profiles/clear", {"profile_id": 56}, "ClearChargingProfile", {"id": 56}),
        (
            "POST", "composite-schedule", {"connector_id": 1, "duration_s": 300, "unit": "W"},
            "GetCompositeSchedule", {"connector_id": 1, "duration": 300, "charging_rate_unit": "W"},
        ),
        ("POST", "logs", {"retries": 2, "retry_interval_s": 9}, "GetDiagnostics", {"retries": 2, "retry_interval": 9}),
        ("POST", "logs", {"kind": "security"}, "GetLog", {"log_type": "SecurityLog"}),
        (
            "POST", "certificates", {"use": "ManufacturerRootCertificate", "pem": ROOT.pem},
            "InstallCertificate", {"certificate_type": "ManufacturerRootCertificate", "certificate": ROOT.pem},
        ),
        (
            "POST", "certificates/read", {"uses": ["CSMSRootCertificate"]},
            "GetInstalledCertificateIds", {"certificate_type": "CentralSystemRootCertificate"},
        ),
    ],
    "ocpp2.0.1": [
        (
            "POST", "charging-profiles", {"profile": RELATIVE201, "evse_id": 1},
            "SetChargingProfile", {"evse_id": 1, "charging_profile": camel_to_snake_case(RELATIVE201)},
        ),
        ("POST", "charging-profiles/clear", {"profile_id": 56}, "ClearChargingProfile", {"charging_profile_id": 56}),
        (
            "POST", "charging-profiles/read", {"purpose": "TxDefaultProfile", "evse_id": 1}, "GetChargingProfiles",
            {"evse_id": 1, "charging_profile": {"charging_profile_purpose": "TxDefaultProfile"}},
        ),
        (
            "POST", "composite-schedule", {"evse_id": 1, "duration_s": 300, "unit": "W"},
            "GetCompositeSchedule", {"evse_id": 1, "duration": 300, "charging_rate_unit": "W"},
        ),
        ("POST", "logs", {"kind": "security"}, "GetLog", {"log_type": "SecurityLog"}),
        (
            "POST", "customer-information", {"token": "TAG", "clear": True},
            "CustomerInformation", {"report": True, "clear": True, "id_token": {"id_token": "TAG", "type": "ISO14443"}},
        ),
        (
            "PUT", "display-messages/7", {"text": "Closed", "priority": "InFront", "language": "en"},
            "SetDisplayMessage",
            {
                "message": {
                    "id": 7, "priority": "InFront",
                    "message": {"format": "UTF8", "language": "en", "content": "Closed"},
                }
            },
        ),
        ("POST", "display-messages/read", {"ids": [7]}, "GetDisplayMessages", {"id": [7]}),
        (
            "PUT", "monitors",
            {
                "monitors": [
                    {"name": "Connector@1.1.Temperature[inlet]", "type": "UpperThreshold", "value": 80.5, "severity": 3}
                ]
            },
            "SetVariableMonitoring",
            {"set_monitoring_data": [{"value": 80.5, "type": "UpperThreshold", "severity": 3, **TEMPERATURE}]},
        ),
        ("DELETE", "monitors/20", {}, "ClearVariableMonitoring", {"id": [20]}),
        (
            "POST", "monitors/read", {"criteria": ["DeltaMonitoring"]},
            "GetMonitoringReport", {"monitoring_criteria": ["DeltaMonitoring"]},
        ),
        ("PUT", "monitors/base", {"base": "All"}, "SetMonitoringBase", {"monitoring_base": "All"}),
        ("PUT", "monitors/level", {"severity": 4}, "SetMonitoringLevel", {"severity": 4}),
        (
            "POST", "certificates", {"use": "V2GRootCertificate", "pem": ROOT.pem},
            "InstallCertificate", {"certificate_type": "V2GRootCertificate", "certificate": ROOT.pem},
        ),
        (
            "POST", "certificates/read", {"uses": ["MORootCertificate"]},
            "GetInstalledCertificateIds", {"certificate_type": ["MORootCertificate"]},
        ),
    ],
}  # fmt: skip


@both_versions
async def test_the_rest_of_the_api_speaks_what_the_package_understands(server: Server, version: str) -> None:
    identity = f"ASKS-{version}"
    async with plugged(server, OBEDIENT[version], identity, version) as point:
        await point.call(boot_of(version), suppress=False)
        for method, path, body, action, wanted in OPERATIONS[version]:
            await server.api(method, f"/api/v1/chargers/{identity}/{path}", body or None)
            said = plain(await point.until_heard(action))
            assert fits(said, wanted), (path, said)
            point.heard.clear()


@both_versions
async def test_errands_are_spoken_so_that_the_package_understands(
    tmp_path_factory: pytest.TempPathFactory, version: str
) -> None:
    settings = {"ocpp": {"settle_s": 0.1}, "access": {"local_list_delay_s": 0.1}}
    async with running(tmp_path_factory.mktemp("errands"), settings) as server:
        await token(server, "FLEET", kind="fleet", group_id="TRUCKS")
        async with plugged(server, OBEDIENT[version], "QUIET", version) as point:
            await point.call(boot_of(version), suppress=False)
            if version == "ocpp1.6":  # first contact: everything is read
                assert await point.until_heard("GetConfiguration") == {}
            else:
                assert (await point.until_heard("GetBaseReport"))["report_base"] == "FullInventory"

                async def is_kept() -> bool:
                    held = await server.api("GET", "/api/v1/chargers/QUIET/configuration")
                    return "OCPPCommCtrlr.OfflineThreshold" in str(held)

                await until(is_kept)
            await server.api("PUT", "/api/v1/chargers/QUIET/local-list", {"tokens": "fleet"})
            assert await point.until_heard("GetLocalListVersion") == {}
            sent = await point.until_heard("SendLocalList")
            (entry,) = sent["local_authorization_list"]
            assert sent["update_type"] == "Full"
            if version == "ocpp1.6":
                assert entry == {"id_tag": "FLEET", "id_tag_info": {"status": "Accepted", "parent_id_tag": "TRUCKS"}}
            else:
                assert entry["id_token"] == {"id_token": "FLEET", "type": "ISO14443"}
                assert entry["id_token_info"]["group_id_token"] == {"id_token": "TRUCKS", "type": "Central"}
