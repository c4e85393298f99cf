"""Vendors' own messages and vendors' own members, in both versions (1.6 4.3 DataTransfer, 2.0.1 P01, P02)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from running import Server, running
from wire import Payload, Station16, Station201, at, charger, command, instruction, session, token

pytestmark = pytest.mark.asyncio(loop_scope="module")

CUSTOM: Payload = {"vendorId": "org.example", "more": {"deep": [1, {"b": None}]}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("vendors")) as running_server:
        await token(running_server, "TOKEN")
        yield running_server


@pytest.mark.case("1.6 TC_064")
@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ({"vendorId": "org.nobody"}, {"status": "UnknownVendorId"}),
        ({"vendorId": "com.example"}, {"status": "UnknownMessageId"}),
        ({"vendorId": "com.example", "messageId": "Fly"}, {"status": "UnknownMessageId"}),
        ({"vendorId": "com.example", "messageId": "Echo", "data": "x"}, {"status": "Accepted", "data": "x"}),
        ({"vendorId": "com.example", "messageId": "EnergyLimit", "data": "500"}, {"status": "Accepted"}),
        ({"vendorId": "com.example", "messageId": "EnergyLimit", "data": "five"}, {"status": "Rejected"}),
    ],
)
async def test_tc_064_data_of_a_vendor_is_answered_by_its_contract(
    server: Server, said: Payload, answer: Payload
) -> None:
    async with Station16(server, "V16") as cp:
        await cp.boot()
        assert await cp.ask("DataTransfer", said) == answer


@pytest.mark.case("2.0.1 TC_P_02")
async def test_tc_p_02_data_of_a_vendor_may_have_any_shape(server: Server) -> None:
    async with Station201(server, "V201") as cs:
        await cs.boot()
        for data in ({"a": [1, {"b": None}]}, [1, 2], "x", 7, True):
            said = {"vendorId": "com.example", "messageId": "Echo", "data": data}
            assert await cs.ask("DataTransfer", said) == {"status": "Accepted", "data": data}
            assert await cs.ask("DataTransfer", {**said, "vendorId": "org.nobody"}) == {"status": "UnknownVendorId"}
            assert await cs.ask("DataTransfer", {**said, "messageId": "Fly"}) == {"status": "UnknownMessageId"}


@pytest.mark.parametrize("word", ["Rejected", "UnknownVendorId", "UnknownMessageId"])
async def test_a_charger_may_decline_our_data(server: Server, word: str) -> None:
    async with Station16(server, f"V16-{word}") as cp, Station201(server, f"V201-{word}") as cs:
        for station in (cp, cs):
            station.table["DataTransfer"] = {"status": word}
            await station.boot()
            body = {"vendor_id": "com.example", "message_id": "Echo", "data": {"a": 1}}
            done = await instruction(server, await command(server, station.id, "data_transfer", body), "REFUSED")
            assert done["reason"] == word
        assert cp.questions("DataTransfer") == [{"vendorId": "com.example", "messageId": "Echo", "data": '{"a":1}'}]
        assert cs.questions("DataTransfer") == [{"vendorId": "com.example", "messageId": "Echo", "data": {"a": 1}}]


def everywhere(value: Any) -> Any:
    """The same with customData in every object."""
    if isinstance(value, dict):
        return {**{name: everywhere(item) for name, item in value.items()}, "customData": CUSTOM}
    return [everywhere(item) for item in value] if isinstance(value, list) else value


def _reading(value: float, context: str) -> Payload:
    signed = {"signedMeterData": "T0M=", "signingMethod": "ECDSA", "encodingMethod": "OCMF", "publicKey": "AAAA"}
    unit = {"unit": "Wh", "multiplier": 0}
    sample = {"value": value, "context": context, "signedMeterValue": signed, "unitOfMeasure": unit}
    return {"timestamp": at(), "sampledValue": [sample]}


@pytest.mark.case("2.0.1 TC_P_03")
async def test_tc_p_03_members_of_vendors_are_no_obstacle_anywhere(server: Server) -> None:
    component = {"name": "Connector", "evse": {"id": 1, "connectorId": 1}}
    event = {
        "eventId": 1, "timestamp": at(), "trigger": "Delta", "actualValue": "x", "component": component,
        "eventNotificationType": "CustomMonitor", "variable": {"name": "Problem"},
    }  # fmt: skip
    report = {"component": component, "variable": {"name": "Available"}, "variableAttribute": [{"value": "true"}]}
    token_ = {"idToken": "TOKEN", "type": "ISO14443", "additionalInfo": [{"additionalIdToken": "x", "type": "y"}]}
    said: list[tuple[str, Payload]] = [
        ("Heartbeat", {}),
        (
            "StatusNotification",
            {"timestamp": at(), "connectorStatus": "Available", "evseId": 1, "connectorId": 1},
        ),
        ("Authorize", {"idToken": token_}),
        ("MeterValues", {"evseId": 1, "meterValue": [_reading(1000, "Sample.Clock")]}),
        ("NotifyEvent", {"generatedAt": at(), "seqNo": 0, "eventData": [event]}),
        ("NotifyReport", {"requestId": 1, "generatedAt": at(), "seqNo": 0, "reportData": [report]}),
        ("SecurityEventNotification", {"type": "StartupOfTheDevice", "timestamp": at()}),
        ("FirmwareStatusNotification", {"status": "Idle"}),
        ("LogStatusNotification", {"status": "Idle"}),
        ("NotifyDisplayMessages", {"requestId": 1}),
        ("DataTransfer", {"vendorId": "com.example", "messageId": "Echo", "data": "x"}),
    ]
    async with Station201(server, "P03-ALL") as cs:
        station = {"vendorName": "V", "model": "M", "modem": {"iccid": "1", "imsi": "2"}}
        boot = everywhere({"reason": "PowerUp", "chargingStation": station})
        assert (await cs.ask("BootNotification", boot))["status"] == "Accepted"
        for action, payload in said:
            await cs.ask(action, everywhere(payload))
        begun = cs.event_of("Started", "p03", "Authorized") | {"idToken": token_}
        begun |= {"meterValue": [_reading(1000, "Transaction.Begin")], "timestamp": at(-20)}
        assert (await cs.ask("TransactionEvent", everywhere(begun)))["idTokenInfo"]["status"] == "Accepted"
        ended = cs.event_of("Ended", "p03", "StopAuthorized") | {"meterValue": [_reading(1100, "Transaction.End")]}
        assert await cs.ask("TransactionEvent", everywhere(ended)) == {}
        over = await session(server, cs.id)
        assert (over["open"], over["energy_wh"], over["quality"]) == (False, 100, "A")
        found = await charger(server, cs.id)
        assert (found["iccid"], found["connectors"][0]["status"]) == ("1", "Available")
        # And in what it answers us.
        cs.table["ClearCache"] = everywhere({"status": "Accepted", "statusInfo": {"reasonCode": "Done"}})
        await instruction(server, await command(server, cs.id, "clear_cache"), "EFFECTIVE")
