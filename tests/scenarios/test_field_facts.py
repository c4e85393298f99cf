"""Facts seen on real firmware stacks (OCPP.md, appendix) and quirks at work, over real sockets, to what is stored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from running import Server, running
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol
from wire import (
    PATIENCE_S,
    Payload,
    Station,
    Station16,
    Station201,
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
    until_session,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENT = {"limits": {"abandon_min_s": 120, "abandon_max_s": 120}}
BOOT = {"chargePointVendor": "V", "chargePointModel": "M"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("facts"), PATIENT) as running_server:
        await token(running_server, "TAG")
        yield running_server


async def quirks(server: Server, charger_id: str) -> Payload:
    """What the server knows of the charger's oddities."""
    found: Payload = await server.api("GET", f"/api/v1/chargers/{charger_id}/quirks")
    return found


async def text_answer(server: Server, charger_id: str, action: str, payload: Payload) -> str:
    """The very characters of a CALL that an operator sends raw, heard by a bare socket."""
    async with connect(
        f"{server.ocpp_url}/{charger_id}", subprotocols=[Subprotocol("ocpp1.6")], compression=None
    ) as socket:
        await socket.send(json.dumps([2, "b", "BootNotification", BOOT]))
        await socket.recv()
        asking = asyncio.create_task(raw(server, charger_id, action, payload))
        async with asyncio.timeout(PATIENCE_S):
            text = await socket.recv()
        assert isinstance(text, str)
        await socket.send(json.dumps([3, json.loads(text)[1], {"status": "Accepted"}]))
        await asking
        return text


# -- message ids


async def test_message_ids_that_repeat_after_a_reboot_and_at_other_stations_are_other_messages(server: Server) -> None:
    async with Station16(server, "IDS-A") as one, Station16(server, "IDS-B") as two:
        numbers = []
        for cp, wh in ((one, 1000), (two, 2000)):
            await cp.ask("BootNotification", BOOT, "1")
            numbers.append((await cp.ask("StartTransaction", cp.start_of("TAG", wh), "2"))["transactionId"])
        assert numbers[0] != numbers[1]
        await one.stop(numbers[0], 1100)
        await one.cut()
        await one.connect()
        assert (await one.ask("BootNotification", BOOT, "1"))["status"] == "Accepted"
        again = (await one.ask("StartTransaction", one.start_of("TAG", 1100, when=at()), "2"))["transactionId"]
        assert again not in numbers
        # And within one connection the same id with other words is a new message, too.
        third = one.start_of("TAG", 1100, when=at(), connector=2)
        assert (await one.ask("StartTransaction", third, "2"))["transactionId"] not in {*numbers, again}
        first, *others = await sessions(server, "IDS-A")
        assert (first["energy_wh"], len(others)) == (100, 2)


# -- the link


async def test_traffic_simply_goes_on_after_a_reconnect_without_a_boot(server: Server) -> None:
    async with Station16(server, "NO-BOOT") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        await cp.cut()
        await cp.connect()
        assert await cp.is_served()
        await cp.meter(number, 40)
        await cp.stop(number, 80)
        over = await session(server, "NO-BOOT")
        assert (over["energy_wh"], over["quality"], over["cases"]) == (80, "A", [])


async def test_a_hard_reset_answers_with_a_stop_and_a_new_socket_at_once(server: Server) -> None:
    """StopTransaction, close, and nine milliseconds later a new socket; the Reset itself is never answered."""
    async with Station16(server, "HARD-RESET") as cp:
        cp.table["Reset"] = None
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        issued = await command(server, "HARD-RESET", "reset", {"hard": True, "force": True})
        await cp.until_asked("Reset")
        await cp.send(json.dumps([2, "last", "StopTransaction", cp.stop_of(number, 120, reason="HardReset")]))
        await cp.close()
        await asyncio.sleep(0.009)
        await cp.connect()
        await cp.boot()
        over = await until_session(server, "HARD-RESET", open=False)
        assert (over["energy_wh"], over["stop_reason"]) == (120, "HardReset")
        assert (await charger(server, "HARD-RESET"))["online"] is True
        await instruction(server, issued, "EFFECTIVE")
        assert len(cp.questions("Reset")) == 1


async def test_a_soft_reset_boots_twice_on_one_socket(server: Server) -> None:
    async with Station16(server, "SOFT-RESET") as cp:
        cp.table["Reset"] = {"status": "Accepted"}
        await cp.boot()
        issued = await command(server, "SOFT-RESET", "reset", {"hard": False})
        await cp.until_asked("Reset")
        await cp.boot()
        await instruction(server, issued, "EFFECTIVE")
        assert (await charger(server, "SOFT-RESET"))["online"] is True


async def test_handshakes_with_headers_of_every_kind(server: Server) -> None:
    for number, options in enumerate(
        (
            {"origin": "http://charger.local"},
            {"user_agent_header": None},
            {"compression": "deflate"},
        )
    ):
        url = f"{server.ocpp_url}//HEADERS-{number}"
        async with connect(url, subprotocols=[Subprotocol("ocpp1.6")], **options) as socket:  # type: ignore[arg-type]  # each has its own type
            await socket.send(json.dumps([2, "b", "BootNotification", BOOT]))
            async with asyncio.timeout(PATIENCE_S):
                assert json.loads(await socket.recv())[2]["status"] == "Accepted"


# -- silence


async def test_a_charger_that_is_connected_and_mute_is_asked_once_for_a_sign(tmp_path_factory: Any) -> None:
    settings = {"ocpp": {"mute_s": 1, "settle_s": 0.2, "ping_interval_s": 0.5, "silence_s": 30}, **PATIENT}
    async with running(tmp_path_factory.mktemp("mute"), settings) as server:
        await token(server, "TAG")
        async with (
            Station16(server, "MUTE") as cp,
            Station16(server, "DEAF") as deaf,
            Station16(server, "WELL") as well,
        ):
            for station in (cp, deaf, well):
                await station.boot()
                station.table["TriggerMessage"] = {"status": "Accepted"}
            number = (await cp.start("TAG", 0))["transactionId"]
            # One of them lost the answer to a status and waits for it for ever, its stop behind it in the queue.
            await cp.status("Finishing")
            await until(lambda: nudged(cp, "Heartbeat"))
            await cp.is_served()
            await cp.stop(number, 90)
            assert (await session(server, "MUTE"))["energy_wh"] == 90
            # Another lost the answer to its boot: that is what it is asked for.
            await until(lambda: nudged(deaf, "BootNotification"))
            # And one that was asked and stays silent is left alone, because it may be quite well.
            await until(lambda: nudged(cp, "Heartbeat", 2))  # this one had spoken since: its next silence counts anew
            assert len(well.questions("TriggerMessage")) == len(deaf.questions("TriggerMessage")) == 1


async def nudged(station: Station, message: str, times: int = 1) -> bool:
    """Whether the server has asked so often for this message."""
    return station.questions("TriggerMessage").count({"requestedMessage": message}) >= times


# -- order and time


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_start_and_stop_back_to_back_two_minutes_late(server: Server, version: str) -> None:
    """An offline session: the stop follows two milliseconds after the start was answered."""
    identity = f"LATE-PAIR-{version}"
    if version == "1.6":
        async with Station16(server, identity) as cp:
            await cp.boot()
            number = (await cp.start("TAG", 500, when=at(-120)))["transactionId"]
            await cp.stop(number, 900, when=at(-60), idTag="TAG")
    else:
        async with Station201(server, identity) as cs:
            await cs.boot()
            await cs.event("Started", "L", "Authorized", token="TAG", wh=500, when=at(-120), offline=True)
            await cs.event("Ended", "L", "StopAuthorized", token="TAG", wh=900, when=at(-60), offline=True)
    over = await session(server, identity)
    assert (over["open"], over["energy_wh"], over["quality"], over["cases"]) == (False, 400, "A", [])


async def test_a_transaction_goes_on_after_a_power_cut_with_its_register_at_zero(server: Server) -> None:
    async with Station16(server, "ZEROED") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 5000, when=at(-60)))["transactionId"]
        await cp.meter(number, 5300, when=at(-30))
        await cp.status("Charging")
        await cp.cut()
        await cp.connect()
        await cp.boot()
        await cp.status("Available", timestamp=at())
        for wh, back in ((0, 3.0), (60, 4.0), (140, 5.0)):
            await cp.meter(number, wh, when=at(back))
        assert await cp.stop(number, 200, when=at(6)) == {}
        over = await until_session(server, "ZEROED", open=False)
        assert over["energy_wh"] == 300 + 200  # never negative, never free
        assert "NEG_ENERGY" not in [case["type"] for case in over["cases"]]


async def test_three_calls_at_once_are_all_answered(server: Server) -> None:
    async with Station16(server, "THREE") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        answers = await asyncio.gather(
            cp.ask("Heartbeat", {}),
            cp.ask("StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": "Charging"}),
            cp.ask("StopTransaction", cp.stop_of(number, 60)),
        )
        assert ["currentTime" in answers[0], answers[1:]] == [True, [{}, {}]]
        assert (await session(server, "THREE"))["energy_wh"] == 60


async def test_two_stops_at_a_shutdown_and_one_a_minute_late_are_one_session(server: Server) -> None:
    async with Station16(server, "TWO-STOPS") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 0, when=at(-100)))["transactionId"]
        stop = cp.stop_of(number, 300, when=at(-60), reason="Reboot")
        assert await asyncio.gather(*(cp.ask("StopTransaction", stop) for _ in range(2))) == [{}, {}]
        over = await session(server, "TWO-STOPS")
        assert (over["energy_wh"], over["cases"], over["quality"]) == (300, [], "A")


async def test_sequence_numbers_that_are_always_zero_lose_nothing(server: Server) -> None:
    async with Station201(server, "SEQ-ZERO") as cs:
        await cs.boot()
        for kind, trigger, wh, back in (
            ("Started", "Authorized", 0, -30.0),
            ("Updated", "MeterValuePeriodic", 40, -20.0),
            ("Updated", "MeterValuePeriodic", 90, -10.0),
            ("Ended", "StopAuthorized", 120, 0.0),
        ):
            cs.seq["Z"] = -1
            await cs.event(kind, "Z", trigger, token="TAG", wh=wh, when=at(back))
        over = await until_session(server, "SEQ-ZERO", open=False)
        assert over["energy_wh"] == 120


async def test_a_status_before_the_boot_answer_and_one_without_a_time_are_taken(server: Server) -> None:
    async with Station16(server, "HASTY") as cp:
        said = {"connectorId": 1, "errorCode": "NoError", "status": "Preparing"}
        answers = await asyncio.gather(cp.ask("BootNotification", BOOT), cp.ask("StatusNotification", said))
        assert (answers[0]["status"], answers[1]) == ("Accepted", {})
        (found,) = (await charger(server, "HASTY"))["connectors"]
        assert (found["status"], found["status_at"]) == ("Preparing", found["reported_at"])


# -- places and empty words


async def test_connector_zero_is_the_station_and_evse_zero_too(server: Server) -> None:
    async with Station16(server, "ZERO-16") as cp:
        await cp.boot()
        await cp.status("Unavailable", connector=0)
        number = (await cp.start("TAG", 0))["transactionId"]
        await cp.meter(None, 77, connector=0)  # the main meter of the station is nobody's energy
        await cp.meter(number, 10)
        await cp.stop(number, 20)
        assert (await charger(server, "ZERO-16"))["status"] == "Unavailable"
        assert [one["connector_id"] for one in (await charger(server, "ZERO-16"))["connectors"]] == []
        assert (await session(server, "ZERO-16"))["energy_wh"] == 20
    async with Station201(server, "ZERO-201") as cs:
        await cs.boot()
        await cs.event("Started", "t", "Authorized", token="TAG", wh=0)
        sample = {"value": 55, "measurand": "Energy.Active.Import.Register"}
        said = {"evseId": 0, "meterValue": [{"timestamp": at(), "sampledValue": [sample]}]}
        assert await cs.ask("MeterValues", said) == {}
        await cs.status("Available", evse=0, connector=0)
        await cs.event("Ended", "t", "StopAuthorized", wh=30)
        assert (await session(server, "ZERO-201"))["energy_wh"] == 30


async def test_empty_strings_in_optional_members_are_absent(server: Server) -> None:
    async with Station16(server, "EMPTY") as cp:
        await cp.ask("BootNotification", {**BOOT, "firmwareVersion": "", "iccid": "", "meterSerialNumber": ""})
        await cp.status("Available", info="", vendorId="", vendorErrorCode="")
        number = (await cp.start("TAG", 0))["transactionId"]
        assert await cp.ask("StopTransaction", cp.stop_of(number, 10, idTag="", reason="Local")) == {}
        found = await charger(server, "EMPTY")
        assert (found["firmware"], found["iccid"], found["meter_serial"]) == (None, None, None)
        assert (await session(server, "EMPTY"))["energy_wh"] == 10


# -- what we send


async def test_what_we_send_is_compact_and_keeps_the_askers_order(server: Server) -> None:
    payload = {"vendorId": "V", "data": "ü {a: 1}", "messageId": "M"}
    text = await text_answer(server, "COMPACT", "DataTransfer", payload)
    message_id = json.loads(text)[1]
    assert text == f'[2,"{message_id}","DataTransfer",{{"vendorId":"V","data":"ü {{a: 1}}","messageId":"M"}}]'
    (sent, *_) = await frames(server, "COMPACT", "DataTransfer")
    assert list(sent["frame"][3]) == ["vendorId", "data", "messageId"]


async def test_what_the_charger_does_not_know_goes_out_when_an_operator_asks(server: Server) -> None:
    async with Station16(server, "UNKNOWN-IDS") as cp:
        cp.table["UnlockConnector"] = {"status": "NotSupported"}
        cp.table["CancelReservation"] = {"status": "Rejected"}
        await cp.boot()
        assert await answered(server, cp.id, "UnlockConnector", {"connectorId": 99}) == {"status": "NotSupported"}
        assert await answered(server, cp.id, "CancelReservation", {"reservationId": 99_999}) == {"status": "Rejected"}
    async with connect(f"{server.ocpp_url}/TIMES", subprotocols=[Subprotocol("ocpp1.6")]) as socket:
        await socket.send(json.dumps([2, "b", "BootNotification", BOOT]))
        text = str(await socket.recv())
        assert json.loads(text)[2]["currentTime"].endswith("Z")  # some clients refuse +00:00
        assert ", " not in text
        assert ": " not in text


# -- boot evidence


async def test_a_security_event_tells_a_reboot_from_a_reconnect(server: Server) -> None:
    """The boot alone is weak evidence; that the device started up is hard."""
    async with Station16(server, "EVIDENCE") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 1000))["transactionId"]
        await cp.meter(number, 1100)
        await cp.cut()
        await cp.connect()
        await cp.boot()
        assert (await session(server, "EVIDENCE"))["state"] == "ACTIVE"
        event = {"type": "StartupOfTheDevice", "timestamp": at()}
        assert await cp.ask("SecurityEventNotification", event) == {}
        assert (await session(server, "EVIDENCE"))["state"] == "INTERRUPTED"
        # And before the boot it is kept for it.
        await cp.meter(number, 1200, when=at(2))
        await until_session(server, "EVIDENCE", state="ACTIVE")
        await cp.ask("SecurityEventNotification", {**event, "timestamp": at()})
        await cp.boot()
        assert (await session(server, "EVIDENCE"))["state"] == "INTERRUPTED"


# -- profiles and their words


async def test_a_profile_is_found_by_the_boot_and_its_words_hold_at_once(server: Server) -> None:
    async with Station16(server, "KESTREL") as cp:
        boot = {"chargePointVendor": "Kestrel Power", "chargePointModel": "K7-S", "firmwareVersion": "2.1.0"}
        await cp.ask("BootNotification", boot)
        shown = await quirks(server, "KESTREL")
        assert (shown["profile"], shown["chosen_by"]) == ("kestrel-k7", "boot")
        assert {one["word"] for one in shown["quirks"]} == {
            "ist_sent_as_z", "energy_unit_override=kWh", "boot_on_reconnect_is_not_reboot",
        }  # fmt: skip
        ist = 5.5 * 3600
        number = (await cp.start("TAG", 1_000_000, when=at(ist - 20)))["transactionId"]
        await cp.meter(number, 1000.05, when=at(ist))
        running_now = await session(server, "KESTREL")
        assert (running_now["energy_wh"], running_now["started_at"] < at()) == (50, True)
        # Two minutes away and a boot: for this model that is no power cut.
        await cp.cut()
        await cp.connect()
        await cp.ask("BootNotification", {**boot, "firmwareVersion": "2.2.0"})  # and it was updated meanwhile
        assert (await session(server, "KESTREL"))["state"] == "ACTIVE"
        assert {one["word"] for one in (await quirks(server, "KESTREL"))["quirks"]} == {
            "boot_on_reconnect_is_not_reboot"
        }
        await cp.stop(number, 1_000_100)
        assert (await session(server, "KESTREL"))["energy_wh"] == 100


async def test_the_operators_choice_wins_over_what_the_boot_leads_to(server: Server) -> None:
    await server.api("POST", "/api/v1/chargers", {"id": "CHOSEN", "profile": "lumen-duo", "quirks": ["no_server_ping"]})
    async with Station16(server, "CHOSEN") as cp:
        await cp.ask("BootNotification", {"chargePointVendor": "Kestrel Power", "chargePointModel": "K7-S"})
        shown = await quirks(server, "CHOSEN")
        assert (shown["profile"], shown["chosen_by"]) == ("lumen-duo", "operator")
        assert {"word": "no_server_ping", "given_by": "operator"} in shown["quirks"]
        assert {"word": "meter_value_object", "given_by": "profile"} in shown["quirks"]
        # Its register counts each session from zero, in an object where a list belongs, under transaction 0.
        number = (await cp.start("TAG", 80_000))["transactionId"]
        value = {"timestamp": at(-5), "sampledValue": {"value": 35, "unit": "Wh"}}
        said = {"connectorId": 1, "transactionId": number, "meterValue": value}
        assert await cp.ask("MeterValues", said) == {}
        assert (await session(server, "CHOSEN"))["energy_wh"] == 35
        assert await cp.stop(0, 60, idTag="TAG") == {"idTagInfo": {"status": "Accepted"}}
        over = await session(server, "CHOSEN")
        assert (over["energy_wh"], over["open"], over["cases"]) == (60, False, [])
        counts = (await quirks(server, "CHOSEN"))["counts"]
        assert counts == {"expected": {"number_for_string": 1, "object_for_array": 1}}


async def test_what_no_word_announces_is_counted_as_odd(server: Server) -> None:
    async with Station16(server, "COUNTED") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        value = {"timestamp": at(), "sampledValue": {"value": 35}}
        await cp.ask("MeterValues", {"connectorId": 1, "transactionId": number, "meterValue": value})
        await cp.ask("MeterValues", 7)
        await cp.send("nonsense")
        await cp.ask("StopTransaction", cp.stop_of(0, 60))
        counts = (await quirks(server, "COUNTED"))["counts"]
        assert counts["repaired"] == {"number_for_string": 1, "object_for_array": 1}
        assert counts["quarantined"] == {"MeterValues": 1}
        assert counts["noted"] == {"transaction_zero": 1}
        assert sum(counts["ignored"].values()) == 1
        metrics = str(await server.api("GET", "/metrics"))
        assert 'csms_oddities_total{kind="repaired",model="V M",rule="object_for_array"}' in metrics


async def test_a_charger_that_names_itself_in_the_query(server: Server) -> None:
    await server.api("POST", "/api/v1/chargers", {"id": "BY-QUERY", "quirks": ["id_from_query"]})
    async with Station16(server, "BY-QUERY", path="?chargePointId=BY-QUERY") as cp:
        await cp.boot()
        assert (await charger(server, "BY-QUERY"))["online"] is True
        async with Station16(server, "BY-QUERY", path="/gateway?id=by-query") as again:
            assert await cp.closed() == 4001
            assert await again.is_served()
    # Nobody else may be named by a query, whatever it says.
    async with Station16(server, "BY-PATH", path="/BY-PATH?id=SOMEBODY") as cp:
        await cp.boot()
        assert (await charger(server, "BY-PATH"))["online"] is True
    await server.api("GET", "/api/v1/chargers/SOMEBODY", expect=404)


async def test_the_version_nobody_offered_is_heard_and_remembered(server: Server) -> None:
    async with Station201(server, "UNSAID", offers=[]) as cs:
        assert (await cs.boot())["status"] == "Accepted"
        await cs.event("Started", "u", "Authorized", token="TAG", wh=0)
        assert (await session(server, "UNSAID"))["transaction_ids"] == ["u"]
        assert (await charger(server, "UNSAID"))["transport"] == "ocpp2.0.1"
        await cs.cut()
        await cs.connect()
        await cs.event("Ended", "u", "StopAuthorized", wh=40)  # without a boot: it was remembered
        assert (await session(server, "UNSAID"))["energy_wh"] == 40
    body = {"id": "SAID", "quirks": ["default_subprotocol=2.0.1"]}
    await server.api("POST", "/api/v1/chargers", body)
    async with Station201(server, "SAID", offers=[]) as cs:
        await cs.status("Available")  # no boot was needed to know it
        assert (await charger(server, "SAID"))["transport"] == "ocpp2.0.1"


async def test_a_charger_that_keeps_nothing_offline_is_not_waited_for(tmp_path_factory: Any) -> None:
    """Connected again and silent: is it still charging? Where nothing is queued, that is asked at once."""
    settings = {"limits": {"drain_s": 3600, "drain_max_s": 3600, "abandon_min_s": 120, "abandon_max_s": 120}}
    asked = {"requestedMessage": "StatusNotification", "connectorId": 1}
    async with running(tmp_path_factory.mktemp("queue"), settings) as server:
        await token(server, "TAG")
        await server.api("POST", "/api/v1/chargers", {"id": "FORGETS", "quirks": ["no_queue_offline"]})
        async with Station16(server, "KEEPS") as keeps, Station16(server, "FORGETS") as forgets:
            for cp in (keeps, forgets):
                await cp.boot()
                await cp.start("TAG", 0)
                await cp.cut()
                await until_session(server, cp.id, state="SUSPENDED_OFFLINE")
                await cp.connect()
                assert await cp.is_served()
            await until(lambda: was_asked(forgets, asked))
            assert asked not in keeps.questions("TriggerMessage")


async def was_asked(station: Station, trigger: Payload) -> bool:
    """Whether the server has triggered just this."""
    return trigger in station.questions("TriggerMessage")


async def test_a_start_under_a_token_of_its_own_is_the_one_we_asked_for_at_that_socket(server: Server) -> None:
    for identity, words in (("OWN-TOKEN", ["start.match_by_socket"]), ("STRICT-TOKEN", [])):
        await server.api("POST", "/api/v1/chargers", {"id": identity, "quirks": words})
        async with Station16(server, identity) as cp:
            cp.table["RemoteStartTransaction"] = {"status": "Accepted"}
            await cp.boot()
            issued = await command(server, identity, "start", {"token": "TAG", "evse_id": 1})
            await cp.until_asked("RemoteStartTransaction")
            await instruction(server, issued, "ACCEPTED")
            begun = await cp.start("00000000", 0, when=at())
            status = begun["idTagInfo"]["status"]
            found = await session(server, identity)
            assert (status == "Accepted", found["token"] == "TAG") == (bool(words), bool(words))
            if words:
                await instruction(server, issued, "EFFECTIVE")


# -- strict mode


async def test_strict_mode_mends_nothing_but_what_a_word_announces(tmp_path_factory: Any) -> None:
    async with running(tmp_path_factory.mktemp("strict"), {"ocpp": {"strict": True}, **PATIENT}) as server:
        await token(server, "TAG")
        body = {"id": "ANNOUNCED", "quirks": ["meter_value_object", "numbers_for_strings"]}
        await server.api("POST", "/api/v1/chargers", body)
        for identity, is_taken in (("PLAIN", False), ("ANNOUNCED", True)):
            async with Station16(server, identity) as cp:
                await cp.boot()
                number = (await cp.start("TAG", 0))["transactionId"]
                value = {"timestamp": at(-5), "sampledValue": {"value": 35}}
                said = {"connectorId": 1, "transactionId": number, "meterValue": value}
                answer = await cp.call("MeterValues", said)
                assert answer[0] == (3 if is_taken else 4), answer
                assert (await session(server, identity))["energy_wh"] == (35 if is_taken else 0)
                assert (await cp.call("StopTransaction", {"transactionId": number, "meterStop": "12"}))[0] == 4
                assert await cp.stop(number, 60) == {}
