"""Frames that are none, and payloads that do not fit (OCPP.md 4.1, PEERS.md 3 rows 8, 10, 18).

Whatever a charger sends, the next Heartbeat is answered; a money frame is mended or kept aside, and always answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from running import Server, running
from websockets.exceptions import ConnectionClosed
from wire import Gone, Station16, Station201, answered, at, charger, frames, session, sessions, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENT = {"limits": {"abandon_min_s": 120, "abandon_max_s": 120}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("frames"), PATIENT) as running_server:
        await token(running_server, "TAG")
        yield running_server


# -- frames that are none

NEITHER_FISH_NOR_FOWL = [
    "", " ", "hello", "{}", "[]", "[2]", "null", "0", '"x"', "[[", '[2,"a"', '[2,"a","Heartbeat"]',
    '[2,"a","Heartbeat",{},{}]', '[2,"a","Heartbeat",[]]', '[2,"a","Heartbeat","x"]', '[2,"a",7,{}]',
    '[2,null,"Heartbeat",{}]', '[2,{},"Heartbeat",{}]', '[7,"a","Heartbeat",{}]', '["2","a","Heartbeat",{}]',
    '[3,"unasked",{}]', '[3,"unasked"]', '[3,"unasked",[]]', '[4,"unasked"]', '[4,"unasked","X","",{}]',
    '[4,"unasked",null,null,null]', '[2,"a","Heartbeat",{}][2,"b","Heartbeat",{}]', '[2,"a","Heartbeat",{"x":}]',
    '[2,"a","NoSuchAction",{}]', '[2,"a","Reset",{"type":"Soft"}]', '[2,"a","BootNotification",{}]',
    '[2,"a","BootNotification",null]', '[2,"a","StatusNotification",{"connectorId":"one"}]',
    "[" * 5000 + "]" * 5000, '[2,"a","DataTransfer",' + '{"x":' * 200 + "1" + "}" * 200 + "]",
    '[2,"' + "i" * 5000 + '","Heartbeat",{}]', '[2,"a","Heartbeat",{"x":1e999}]', '[2,"a","Heartbeat",{"x":NaN}]',
    '[2,"\\ud800","Heartbeat",{}]', '[2,"a\\u0000b","Heartbeat",{}]',
]  # fmt: skip


async def test_a_frame_that_is_none_is_kept_for_a_person_to_read(server: Server) -> None:
    half = '[2,"m1","StopTransaction",{"transactionId":7,"meterStop":1200,"times'
    async with Station16(server, "GARBLED") as cp:
        await cp.boot()
        await cp.send(half)
        await cp.send(b"\xff\xfe[2,\x00")
        assert await cp.is_served()

        async def kept_both() -> list[Any]:
            found = [frame for frame in await frames(server, "GARBLED") if frame["type"] == "malformed"]
            return found if len(found) == 2 else []

        kept = await until(kept_both)  # nobody waits for it to be stored
    assert [(frame["direction"], frame["frame"]) for frame in kept] == [
        ("in", half),
        ("in", "\\xff\\xfe[2,\\x00"),
    ]
    assert all(frame["note"].startswith("malformed: ") for frame in kept)


@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1"])
async def test_after_any_malformed_frame_the_heartbeat_is_still_answered(server: Server, version: str) -> None:
    async with Station16(server, f"BROKEN-{version}", version) as cp:
        for frame in NEITHER_FISH_NOR_FOWL:
            await cp.send(frame)
            assert await cp.is_served(), frame[:60]
        assert (await charger(server, cp.id))["online"] is True


@pytest.mark.parametrize("binary", [b"\xff\xfe\x00", b'[2,"a","Heartbeat",{}]'])
async def test_a_binary_frame_harms_nobody(server: Server, binary: bytes) -> None:
    async with Station16(server, "BINARY") as cp:
        await cp.send(binary)
        try:
            assert await cp.is_served()
        except (ConnectionClosed, Gone):
            await cp.cut()
            await cp.connect()
            assert await cp.is_served()


@pytest.mark.parametrize(
    ("version", "frame", "code"),
    [
        ("ocpp1.6", '[2,"q","NoSuchAction",{}]', "NotImplemented"),
        ("ocpp1.6", '[2,"q","Reset",{"type":"Soft"}]', "NotSupported"),
        ("ocpp1.6", '[2,"q","Authorize",{}]', "OccurenceConstraintViolation"),
        ("ocpp1.6", '[2,"q","Authorize",{"idTag":7}]', "TypeConstraintViolation"),
        ("ocpp2.0.1", '[2,"q","NoSuchAction",{}]', "NotImplemented"),
        ("ocpp2.0.1", '[2,"q","Authorize",{}]', "OccurrenceConstraintViolation"),
        ("ocpp2.0.1", '[9,"q","Authorize",{}]', "MessageTypeNotSupported"),
        ("ocpp2.0.1", '[2,"q","Authorize"]', "RpcFrameworkError"),
    ],
)
async def test_the_error_code_is_the_versions_own(server: Server, version: str, frame: str, code: str) -> None:
    async with Station16(server, f"CODES-{version}", version) as cp:
        answer = cp.expect("q")
        await cp.send(frame)
        async with asyncio.timeout(5):
            found = await answer
        assert (found[0], found[1], found[2]) == (4, "q", code)
        assert isinstance(found[3], str)
        assert isinstance(found[4], dict)


async def test_a_frame_whose_id_cannot_be_read_is_answered_with_minus_one_in_2_0_1(server: Server) -> None:
    async with Station201(server, "MINUS-ONE") as cs:
        await cs.send('[2,{},"Heartbeat",{}]')
        found = await cs.until_heard(lambda frame: frame[1] == "-1")
        assert (found[0], found[2]) == (4, "RpcFrameworkError")


async def test_an_unknown_message_type_is_ignored_in_1_6(server: Server) -> None:
    async with Station16(server, "TYPE-16") as cp:
        await cp.send('[9,"q","Heartbeat",{}]')
        assert await cp.is_served()
        assert cp.heard == []


async def test_a_message_id_that_is_a_number_comes_back_as_a_number(server: Server) -> None:
    async with Station16(server, "NUMBER-ID") as cp:
        answer = cp.expect("17")
        await cp.send('[2,17,"Heartbeat",{}]')
        assert (await answer)[1] == 17


async def test_white_space_and_null_payloads_are_understood(server: Server) -> None:
    async with Station16(server, "SPACES") as cp:
        for number, frame in enumerate((' [ 2 , "s0" , "Heartbeat" , { } ] ', '\n[2,"s1","Heartbeat",null]\n')):
            answer = cp.expect(f"s{number}")
            await cp.send(frame)
            assert (await answer)[0] == 3


async def test_several_calls_at_once_are_all_answered(server: Server) -> None:
    async with Station16(server, "AT-ONCE") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        calls = [cp.meter(number, wh, when=at(-20 + wh / 10)) for wh in range(10, 200, 10)]
        await asyncio.gather(*calls, cp.status("Charging"), cp.authorize("TAG"), cp.ask("Heartbeat", {}))
        assert (await session(server, "AT-ONCE"))["energy_wh"] == 190


async def test_a_message_id_used_again_after_a_boot_is_a_new_message(server: Server) -> None:
    async with Station16(server, "ID-AGAIN") as cp:
        await cp.ask("BootNotification", {"chargePointVendor": "V", "chargePointModel": "M"}, "1")
        first = await cp.ask("StartTransaction", cp.start_of("TAG", 0), "2")
        await cp.stop(first["transactionId"], 100)
        second = await cp.ask("StartTransaction", cp.start_of("TAG", 100, when=at()), "2")
        assert second["transactionId"] != first["transactionId"]


async def test_a_frame_of_two_megabytes_is_taken_and_one_of_nine_only_costs_the_link(server: Server) -> None:
    async with Station16(server, "LARGE") as cp:
        await cp.boot()
        key = {"key": "K", "readonly": True, "value": "v" * 480}
        cp.table["GetConfiguration"] = {"configurationKey": [key] * 3500}
        assert len((await answered(server, "LARGE", "GetConfiguration", {}))["configurationKey"]) == 3500
        with pytest.raises((ConnectionClosed, Gone)):
            await cp.ask("DataTransfer", {"vendorId": "v", "data": "x" * (9 << 20)})
        await cp.cut()
        await cp.connect()
        assert await cp.is_served()


# -- payloads that do not fit


async def notes(server: Server, charger_id: str, action: str) -> list[str]:
    return [frame["note"] for frame in await frames(server, charger_id, action) if frame["note"]]


async def test_money_frames_that_break_their_schema_are_repaired_and_counted_right(server: Server) -> None:
    async with Station16(server, "REPAIR") as cp:
        await cp.boot()
        said: dict[str, Any] = {
            "connectorId": "1", "idTag": "TAG", "meterStart": "1000.4", "timestamp": at(-20), "reservationId": None,
            "vendorNonsense": {"a": 1},
        }  # fmt: skip
        started = await cp.ask("StartTransaction", said)
        assert started["idTagInfo"]["status"] == "Accepted"
        number = started["transactionId"]
        values = {"timestamp": at(-10), "sampledValue": {"value": 1100, "unit": "wh", "measurand": ""}}
        broken = {"connectorId": 1, "transactionId": str(number), "meterValue": values}
        assert await cp.ask("MeterValues", broken) == {}
        values = {"timestamp": at(-5), "sampledValue": {"value": 1150, "unit": "wh"}}
        broken = {"connectorId": 1, "transactionId": str(number), "meterValue": values}
        assert await cp.ask("MeterValues", broken) == {}
        assert (await session(server, "REPAIR"))["energy_wh"] == 150
        stop = {"transactionId": f"{number}", "meterStop": 1200.0, "timestamp": at(), "reason": "StoppedByEV"}
        assert await cp.ask("StopTransaction", stop) == {}
        over = await session(server, "REPAIR")
        assert (over["open"], over["energy_wh"], over["end_cause"]) == (False, 200, "EVDisconnected")
        for action in ("StartTransaction", "MeterValues", "StopTransaction"):
            assert any(note.startswith("repaired:") for note in await notes(server, "REPAIR", action)), action


async def test_a_transaction_event_that_breaks_its_schema_is_repaired(server: Server) -> None:
    async with Station201(server, "REPAIR-201") as cs:
        await cs.boot()
        event = cs.event_of("Started", "r", "Authorized", token="TAG", wh=1000)
        event["seqNo"] = "0"
        event["evse"] = [{"id": "1", "connectorId": 1}]
        event["meterValue"] = event["meterValue"][0]
        assert (await cs.ask("TransactionEvent", event))["idTokenInfo"]["status"] == "Accepted"
        ended = cs.event_of("Ended", "r", "StopAuthorized", wh=1200)
        ended["transactionInfo"]["stoppedReason"] = "WhoKnows"
        ended["meterValue"][0]["sampledValue"][0]["value"] = "1200"
        assert await cs.ask("TransactionEvent", ended) == {}
        over = await session(server, "REPAIR-201")
        assert (over["open"], over["energy_wh"]) == (False, 200)
        assert any(note.startswith("repaired:") for note in await notes(server, "REPAIR-201", "TransactionEvent"))


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("StartTransaction", {"garbage": True}),
        ("StartTransaction", []),
        ("StopTransaction", "nonsense"),
        ("MeterValues", {"connectorId": 1, "meterValue": "much"}),
        ("MeterValues", 7),
    ],
)
async def test_what_cannot_be_repaired_is_kept_and_answered(server: Server, action: str, payload: Any) -> None:
    async with Station16(server, f"QUARANTINE-{action}-{type(payload).__name__}") as cp:
        await cp.boot()
        answer = await cp.ask(action, payload)
        if action == "StartTransaction":
            assert answer["transactionId"] > 0
            assert answer["idTagInfo"]["status"] == "Invalid"
        else:
            assert answer == {}
        assert await notes(server, cp.id, action) == ["quarantined"]
        (call, _) = await frames(server, cp.id, action)
        assert call["frame"][3] == payload
        cases = (await server.api("GET", "/api/v1/cases?type=QUARANTINE&limit=100"))["items"]
        assert [case["type"] for case in cases if case["charger_id"] == cp.id] == ["QUARANTINE"]


async def test_a_quarantined_start_has_a_transaction_of_its_own_for_ever(tmp_path: Path) -> None:
    async with running(tmp_path, PATIENT) as server:
        await token(server, "TAG")
        async with Station16(server, "Q-START") as cp:
            await cp.boot()
            kept_aside = (await cp.ask("StartTransaction", {"garbage": True}))["transactionId"]
            await server.kill()
            await server.start()
            await cp.connect()
            good = (await cp.start("TAG", 0))["transactionId"]
            assert good != kept_aside
            assert await cp.stop(kept_aside, 5000) == {}
            found = {one["transaction_ids"][0]: one for one in await sessions(server, "Q-START")}
            assert found[str(good)]["open"] is True  # it was not this one's stop
            orphan = found[str(kept_aside)]
            assert (orphan["state"], orphan["meter_stop_wh"]) == ("ORPHAN", 5000)


async def test_a_status_with_words_of_its_own_is_taken(server: Server) -> None:
    async with Station16(server, "STATUS") as cp:
        await cp.boot()
        said: dict[str, Any] = {"connectorId": 1, "status": "Faulted", "errorCode": "MyOwnError"}
        assert await cp.ask("StatusNotification", said) == {}
        said = {"connectorId": 2, "status": "Available", "errorCode": "NoError", "info": "", "vendorId": ""}
        assert await cp.ask("StatusNotification", said) == {}
        found = {one["connector_id"]: one for one in (await charger(server, "STATUS"))["connectors"]}
        assert (found[1]["status"], found[2]["status"]) == ("Faulted", "Available")
        assert "MyOwnError" in (found[1]["error_code"], found[1]["vendor_error_code"])


@pytest.mark.parametrize("bad", ["NaN", "1e999", '"\\ud800"'])
async def test_a_money_frame_with_a_value_that_json_forbids_is_answered_and_not_lost(server: Server, bad: str) -> None:
    async with Station16(server, f"NEARLY-{len(bad)}") as cp:
        await cp.boot()
        raw = f'[2,"q","StopTransaction",{{"transactionId":4711,"meterStop":{bad},"timestamp":"2026-01-02T03:04:05Z"}}]'
        answer = cp.expect("q")
        await cp.send(raw)
        assert (await answer)[0] == 3
        logged = await frames(server, cp.id, "StopTransaction")
        assert any(frame["note"] for frame in logged)  # mended by a named rule, or kept aside with a case
