"""What chargers really do (PEERS.md 3, SESSIONS.md 5.8): repeats, losses, wrong clocks, lost links.

The rule everywhere: a money frame is always answered, is stored once, and costs nobody anything it did not measure.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest
import pytest_asyncio
from running import Server, running
from websockets.exceptions import InvalidStatus
from wire import (
    Payload,
    Station16,
    Station201,
    answered,
    at,
    charger,
    frames,
    session,
    sessions,
    token,
    until,
    until_session,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A busy machine takes seconds to start a server; nothing here is about giving a session up.
PATIENT = {"limits": {"abandon_min_s": 120, "abandon_max_s": 120}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("faults"), PATIENT) as running_server:
        await token(running_server, "TAG")
        yield running_server


def case_types(found: Payload) -> list[str]:
    return [case["type"] for case in found["cases"]]


def seconds_ago(moment: str) -> float:
    return (datetime.fromisoformat(at()) - datetime.fromisoformat(moment)).total_seconds()


# -- starts and stops, twice and the wrong way round


@pytest.mark.parametrize("how", ["same_id", "new_id", "restamped", "reconnected"])
async def test_a_repeated_start_is_told_the_same_transaction(server: Server, how: str) -> None:
    async with Station16(server, f"DUP-{how}") as cp:
        await cp.boot()
        said = cp.start_of("TAG", 1000)
        first = await cp.ask("StartTransaction", said, "start-1")
        if how == "restamped":
            said = {**said, "timestamp": at(15)}
        if how == "reconnected":
            await cp.cut()
            await cp.connect()
        again = await cp.ask("StartTransaction", said, "start-1" if how == "same_id" else "start-2")
        assert again == first
        assert first["transactionId"] > 0
        await cp.stop(first["transactionId"], 1500)
        assert (await session(server, cp.id))["energy_wh"] == 500


async def test_a_start_and_its_repeat_in_one_breath(server: Server) -> None:
    async with Station16(server, "DUP-BREATH") as cp:
        await cp.boot()
        said = cp.start_of("TAG", 0)
        both = await asyncio.gather(cp.ask("StartTransaction", said), cp.ask("StartTransaction", said))
        assert both[0] == both[1]
        assert len(await sessions(server, "DUP-BREATH")) == 1


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_killed_server_forgets_no_start_and_no_end(tmp_path: Path, version: str) -> None:
    async with running(tmp_path, PATIENT) as server:
        await token(server, "TAG")
        if version == "1.6":
            async with Station16(server, "KILLED") as cp:
                await cp.boot()
                start = cp.start_of("TAG", 1000)
                first = await cp.ask("StartTransaction", start)
                number = first["transactionId"]
                await cp.meter(number, 1100)
                await server.kill()
                await server.start()
                await cp.connect()
                assert await cp.ask("StartTransaction", start) == first
                stop = cp.stop_of(number, 1300)
                assert await cp.ask("StopTransaction", stop) == {}
                await server.kill()
                await server.start()
                await cp.connect()
                assert await cp.ask("StopTransaction", stop) == {}
                assert await cp.ask("StartTransaction", start) == first
                other = await cp.start("TAG", 1300, when=at(1))
                assert other["transactionId"] > number
                over = (await sessions(server, "KILLED"))[0]
        else:
            async with Station201(server, "KILLED") as cs:
                await cs.boot()
                begun = cs.event_of("Started", "k", "Authorized", token="TAG", wh=1000)
                first = await cs.ask("TransactionEvent", begun)
                await server.kill()
                await server.start()
                await cs.connect()
                assert await cs.ask("TransactionEvent", begun) == first
                ended = cs.event_of("Ended", "k", "StopAuthorized", token="TAG", wh=1300)
                last = await cs.ask("TransactionEvent", ended)
                await server.kill()
                await server.start()
                await cs.connect()
                assert await cs.ask("TransactionEvent", ended) == last
                assert await cs.ask("TransactionEvent", begun) == first
                over = await session(server, "KILLED")
        assert (over["open"], over["energy_wh"], over["quality"], over["cases"]) == (False, 300, "A", [])


async def test_what_was_settled_before_the_restart_is_not_started_again(tmp_path: Path) -> None:
    async with running(tmp_path, PATIENT) as server:
        await token(server, "TAG")
        await server.sell("SETTLED")
        async with Station16(server, "SETTLED") as cp:
            await cp.boot()
            start = cp.start_of("TAG", 1000)
            first = await cp.ask("StartTransaction", start)
            await cp.stop(first["transactionId"], 1300)
            await until_session(server, "SETTLED", state="SETTLED")
            await cp.stop(-1, 400, idTag="OTHER", when=at(-300))  # and an orphan waits for its start
            await server.kill()
            await server.start()
            await cp.connect()
            assert await cp.ask("StartTransaction", start) == first
            await cp.start("OTHER", 300, when=at(-400))
            settled, adopted = await sessions(server, "SETTLED")
            assert (settled["state"], settled["energy_wh"]) == ("SETTLED", 300)
            assert (adopted["token"], adopted["energy_wh"], adopted["open"]) == ("OTHER", 100, False)


async def test_a_stop_repeated_with_the_same_meter_changes_nothing(server: Server) -> None:
    async with Station16(server, "DUP-STOP") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        stop = cp.stop_of(number, 300, idTag="TAG")
        first = await cp.ask("StopTransaction", stop)
        assert await cp.ask("StopTransaction", stop) == first
        over = await session(server, "DUP-STOP")
        assert (over["energy_wh"], over["cases"], over["open"]) == (300, [], False)


async def test_a_second_stop_with_another_meter_is_answered_kept_and_made_a_case(server: Server) -> None:
    async with Station16(server, "DUP-METER") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        await cp.meter(number, 290)
        assert await cp.stop(number, 300) == {}
        assert await cp.stop(number, 900, when=at(1)) == {}
        found = await session(server, "DUP-METER")
        assert "DUP_CONFLICT" in case_types(found)
        assert found["open"] is False


async def test_a_stop_without_a_start_is_answered_and_becomes_an_orphan(server: Server) -> None:
    async with Station16(server, "ORPHAN") as cp:
        await cp.boot()
        assert await cp.stop(4_000_000, 900, idTag="TAG") == {"idTagInfo": {"status": "Accepted"}}
        found = await session(server, "ORPHAN")
        assert (found["state"], found["open"]) == ("ORPHAN", False)
        assert case_types(found) == ["ORPHAN_STOP"]


async def test_a_start_after_its_stop_adopts_it(server: Server) -> None:
    async with Station16(server, "ADOPTS") as cp:
        await cp.boot()
        assert await cp.stop(-1, 900, idTag="TAG", when=at(-30)) == {"idTagInfo": {"status": "Accepted"}}
        started = await cp.start("TAG", 600, when=at(-90))
        assert started["transactionId"] > 0
        found = await session(server, "ADOPTS")
        assert (found["open"], found["energy_wh"], found["token"]) == (False, 300, "TAG")


@pytest.mark.parametrize("number", [0, -1])
async def test_what_once_came_without_an_id_takes_nothing_from_later_transactions(server: Server, number: int) -> None:
    """ "I do not know" is nobody's name: the orphan that it made is not the one that is meant from then on."""
    async with Station16(server, f"LATER{number}") as cp:
        await cp.boot()
        await cp.meter(number, 70)
        await cp.meter(number, 80)
        await cp.stop(number, 90, idTag="SOMEBODY")
        begun = await cp.start("TAG", 1000)
        await cp.meter(number, 1050)
        found = [s for s in await sessions(server, cp.id) if s["token"] == "TAG"]
        assert [(s["state"], s["energy_wh"]) for s in found] == [("ACTIVE", 50)]
        await server.kill()
        await server.start()
        await cp.connect()
        await cp.meter(number, 1080)
        await cp.stop(begun["transactionId"], 1100)
        known = await sessions(server, cp.id)
        over = [s for s in known if s["token"] == "TAG"]
        assert [(s["energy_wh"], s["open"]) for s in over] == [(100, False)]
        assert [s["state"] for s in known if s["token"] != "TAG"] == ["ORPHAN", "ORPHAN"]


@pytest.mark.parametrize("number", [0, -1])
async def test_a_transaction_whose_id_the_charger_does_not_know(server: Server, number: int) -> None:
    async with Station16(server, f"TX{number}") as cp:
        await cp.boot()
        await cp.start("TAG", 1000)
        await cp.meter(number, 1050)
        assert (await session(server, cp.id))["energy_wh"] == 50
        assert await cp.stop(number, 1100, idTag="TAG") == {"idTagInfo": {"status": "Accepted"}}
        over = await session(server, cp.id)
        assert (over["open"], over["energy_wh"], over["quality"]) == (False, 100, "A")


async def test_meter_values_of_a_transaction_nobody_knows_are_answered(server: Server) -> None:
    async with Station16(server, "NO-TX") as cp, Station16(server, "NO-TX-2") as other:
        await cp.boot()
        await other.boot()
        theirs = (await other.start("TAG", 0))["transactionId"]
        for number in (999_999, theirs, 2**31 - 1, None):
            await cp.meter(number, 500)
        assert (await session(server, "NO-TX-2"))["energy_wh"] == 0
        assert await cp.is_served()


async def test_a_start_on_an_occupied_connector_ends_what_was_there(server: Server) -> None:
    async with Station16(server, "TWO-STARTS") as cp:
        await cp.boot()
        first = (await cp.start("TAG", 0))["transactionId"]
        await cp.meter(first, 80, when=at(-10))
        second = (await cp.start("TAG", 100, when=at(-5)))["transactionId"]
        assert second != first
        before, after = await sessions(server, "TWO-STARTS")
        assert (before["open"], after["open"]) == (False, True)
        await cp.stop(second, 160)
        before, after = await sessions(server, "TWO-STARTS")
        assert after["energy_wh"] == 60
        assert 80 <= before["energy_wh"] <= 100  # the register between the two is nobody else's


async def test_meter_values_after_the_stop_are_answered_and_cost_nothing(server: Server) -> None:
    async with Station16(server, "AFTER-STOP") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        await cp.stop(number, 300)
        await cp.meter(number, 150, when=at(-10))
        await cp.meter(number, 300)
        assert (await session(server, "AFTER-STOP"))["energy_wh"] == 300


async def test_a_stop_whose_socket_closes_behind_it_is_taken(server: Server) -> None:
    async with Station16(server, "CLOSING") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        await cp.send(json.dumps([2, "last", "StopTransaction", cp.stop_of(number, 200, reason="HardReset")]))
        await cp.close()
        await cp.connect()
        await cp.boot()
        over = await until_session(server, "CLOSING", open=False)
        assert (over["energy_wh"], over["stop_reason"]) == (200, "HardReset")
        assert (await charger(server, "CLOSING"))["online"] is True


async def test_a_late_stop_of_an_old_transaction_does_not_end_the_running_one(server: Server) -> None:
    async with Station16(server, "OLD-STOP") as cp:
        await cp.boot()
        numbers = []
        for n in range(18):  # more than are kept in memory
            numbers.append((await cp.start("TAG", n * 10, when=at(-210 + n * 10)))["transactionId"])
            await cp.stop(numbers[-1], n * 10 + 10, when=at(-205 + n * 10))
        fresh = (await cp.start("TAG", 180))["transactionId"]
        assert await cp.stop(numbers[0], 300) == {}
        found = {one["transaction_ids"][0]: one for one in await sessions(server, "OLD-STOP")}
        assert found[str(fresh)]["open"] is True
        assert "DUP_CONFLICT" in case_types(found[str(numbers[0])])


# -- meters


async def test_a_register_that_falls_back_never_makes_energy_negative(server: Server) -> None:
    async with Station16(server, "ROLLBACK") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 1000))["transactionId"]
        for back, wh in ((15, 1100), (12, 1200), (9, 10), (6, 60)):
            await cp.meter(number, wh, when=at(-back))
        await cp.stop(number, 110)
        over = await session(server, "ROLLBACK")
        assert over["energy_wh"] == 200 + 100
        assert "REG_RESET" in case_types(over)


async def test_a_stop_below_its_start_is_a_case_and_no_energy(server: Server) -> None:
    async with Station16(server, "NEGATIVE") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 1000))["transactionId"]
        assert await cp.stop(number, 400) == {}
        over = await session(server, "NEGATIVE")
        assert over["energy_wh"] == 0
        assert case_types(over)


async def test_a_single_zero_between_two_readings_is_no_reset(server: Server) -> None:
    async with Station16(server, "DROPOUT") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 1000))["transactionId"]
        for back, wh in ((15, 1100), (12, 0), (9, 1150)):
            await cp.meter(number, wh, when=at(-back))
        await cp.stop(number, 1200)
        over = await session(server, "DROPOUT")
        assert (over["energy_wh"], over["quality"]) == (200, "A")


async def test_registers_in_kilowatt_hours_are_taken_at_their_word(server: Server) -> None:
    async with Station16(server, "KWH") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 1000))["transactionId"]
        sample = {"value": "1.250", "measurand": "Energy.Active.Import.Register", "unit": "kWh"}
        values = [{"timestamp": at(), "sampledValue": [sample]}]
        said = {"connectorId": 1, "transactionId": number, "meterValue": values}
        assert await cp.ask("MeterValues", said) == {}
        assert (await session(server, "KWH"))["energy_wh"] == 250


async def test_readings_in_any_order_give_the_same_energy(server: Server) -> None:
    async with Station16(server, "ORDER") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        for back, wh in ((5, 150), (15, 50), (10, 100)):
            await cp.meter(number, wh, when=at(-back))
        assert (await session(server, "ORDER"))["energy_wh"] == 150
        await cp.stop(number, 200)
        assert (await session(server, "ORDER"))["energy_wh"] == 200


async def test_more_energy_than_the_socket_can_give_waits_for_a_person(server: Server) -> None:
    async with Station16(server, "IMPLAUSIBLE") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        assert await cp.stop(number, 40_000_000) == {}
        over = await session(server, "IMPLAUSIBLE")
        assert over["state"] == "ENDED_PENDING_DATA"
        assert "IMPLAUSIBLE" in case_types(over)


async def test_transaction_data_of_a_stop_is_merged(server: Server) -> None:
    async with Station16(server, "TXDATA") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        shared = at(-10)
        await cp.meter(number, 40, when=shared)
        data = [
            {"timestamp": moment, "sampledValue": [{"value": str(wh), "context": context}]}
            for moment, wh, context in (
                (shared, 40, "Sample.Periodic"),
                (at(-5), 60, "Sample.Periodic"),
                (at(), 90, "Transaction.End"),
            )
        ]
        assert await cp.stop(number, 90, transactionData=data) == {}
        over = await session(server, "TXDATA")
        assert over["energy_wh"] == 90
        samples = (await server.api("GET", f"/api/v1/sessions/{over['id']}/samples"))["items"]
        assert [one["register_wh"] for one in samples] == [40, 60, 90]


# -- clocks


async def test_a_clock_of_1970_costs_no_energy_and_makes_no_second_session(server: Server) -> None:
    async with Station16(server, "Y1970") as cp:
        await cp.boot()
        first = await cp.start("TAG", 100, when="1970-01-01T00:00:10Z")
        assert first["idTagInfo"]["status"] == "Accepted"
        assert await cp.start("TAG", 100, when="1970-01-01T00:00:40Z") == first
        await cp.meter(first["transactionId"], 150, when="1970-01-01T00:01:00Z")
        await cp.stop(first["transactionId"], 200, when="1970-01-01T00:02:00Z")
        over = await session(server, "Y1970")
        assert (over["energy_wh"], over["open"]) == (100, False)
        assert seconds_ago(over["started_at"]) < 10
        assert seconds_ago(over["ended_at"]) < 10


async def test_a_clock_hours_ahead_is_not_believed(server: Server) -> None:
    async with Station16(server, "IST") as cp:
        await cp.boot()
        ist = 5.5 * 3600
        number = (await cp.start("TAG", 0, when=at(ist - 20)))["transactionId"]
        await cp.meter(number, 50, when=at(ist))
        await cp.stop(number, 100, when=at(ist))
        over = await session(server, "IST")
        assert (over["energy_wh"], over["open"]) == (100, False)
        assert abs(seconds_ago(over["started_at"])) < 30


@pytest.mark.parametrize(
    "written",
    ["{}+00:00", "{}Z", "{}", "{}.1234567Z"],
    ids=["offset", "no_fraction", "no_zone", "seven_digits"],
)
async def test_times_are_read_as_they_are_written(server: Server, written: str) -> None:
    async with Station16(server, f"TIME-{abs(hash(written))}") as cp:
        await cp.boot()
        moment = at(-20)[:19]
        number = (await cp.start("TAG", 0, when=written.format(moment)))["transactionId"]
        assert number > 0
        assert (await session(server, cp.id))["started_at"][:19] == moment


async def test_a_tag_that_was_blocked_later_was_good_when_it_started_offline(server: Server) -> None:
    await token(server, "LATER")
    async with Station16(server, "LATER") as cp:
        await cp.boot()
        await token(server, "LATER", "Blocked")
        assert (await cp.authorize("LATER"))["status"] == "Blocked"
        begun = await cp.start("LATER", 0, when=at(-600))
        assert (await session(server, "LATER"))["state"] == "ACTIVE"  # billed to whoever held it then
        await cp.stop(begun["transactionId"], 500, when=at(-60))
        over = await session(server, "LATER")
        assert (over["energy_wh"], over["open"]) == (500, False)
        fresh = await cp.start("LATER", 500, when=at())
        assert fresh["idTagInfo"]["status"] == "Blocked"
        assert [one["state"] for one in await sessions(server, "LATER")][1] == "STOPPING"


# -- who may speak


@pytest.mark.parametrize("registration", ["Pending", "Rejected"])
async def test_before_it_is_accepted_a_charger_may_only_boot_and_money_is_kept(
    server: Server, registration: str
) -> None:
    charger_id = f"GATE-{registration}"
    await server.api("POST", "/api/v1/chargers", {"id": charger_id, "registration": registration})
    async with Station16(server, charger_id) as cp:
        answer = await cp.boot()
        assert (answer["status"], answer["interval"] > 0) == (registration, True)
        start = cp.start_of("TAG", 0)
        assert await cp.refused("Heartbeat", {}) == "SecurityError"
        assert await cp.refused("Authorize", {"idTag": "TAG"}) == "SecurityError"
        assert await cp.refused("StartTransaction", start) == "SecurityError"
        kept = await session(server, charger_id)
        assert kept["token"] == "TAG"
        logged = await frames(server, charger_id, "StartTransaction")
        assert [frame["type"] for frame in logged] == ["call", "error"]
        assert logged[-1]["frame"][2] == "SecurityError"
        await server.api("PATCH", f"/api/v1/chargers/{charger_id}", {"registration": "Accepted"})
        assert (await cp.boot())["status"] == "Accepted"
        again = await cp.ask("StartTransaction", start)
        assert kept["transaction_ids"] == [str(again["transactionId"])]
        assert len(await sessions(server, charger_id)) == 1


@pytest.mark.case("2.0.1 TC_B_30")
async def test_before_it_is_accepted_a_2_0_1_station_may_only_boot(server: Server) -> None:
    await server.api("POST", "/api/v1/chargers", {"id": "GATE-201", "registration": "Pending"})
    async with Station201(server, "GATE-201") as cs:
        assert (await cs.boot())["status"] == "Pending"
        event = cs.event_of("Started", "g", "Authorized", token="TAG", wh=0)
        assert await cs.refused("TransactionEvent", event) == "SecurityError"
        assert (await session(server, "GATE-201"))["transaction_ids"] == ["g"]


async def test_a_charger_nobody_knows_is_turned_away_with_404(tmp_path: Path) -> None:
    async with running(tmp_path, {"ocpp": {"accept_unknown": "never"}}) as server:
        cp = Station16(server, "STRANGER")
        with pytest.raises(InvalidStatus) as refused:
            await cp.connect()
        assert refused.value.response.status_code == 404
        await server.api("GET", "/api/v1/chargers/STRANGER", expect=404)
        await server.api("POST", "/api/v1/chargers", {"id": "STRANGER"})
        async with cp:
            assert (await cp.boot())["status"] == "Accepted"
            await server.api("DELETE", "/api/v1/chargers/STRANGER")
            await cp.closed()
        with pytest.raises(InvalidStatus):
            await cp.connect()


@pytest.mark.parametrize(
    "path",
    ["//{}", "/some/more/{}", "/{}/", "/{}?x=1", "/{lower}"],
    ids=["doubled", "deep", "trailing", "query", "case"],
)
async def test_an_identity_is_found_however_the_path_is_written(server: Server, path: str) -> None:
    await server.api("POST", "/api/v1/chargers", {"id": "PATH-1"})
    try:
        async with Station16(server, "PATH-1", path=path.format("PATH-1", lower="path-1")) as cp:
            await cp.boot()
            assert (await charger(server, "PATH-1"))["online"] is True
    finally:
        await server.api("DELETE", "/api/v1/chargers/PATH-1")


# -- links


async def test_the_newest_socket_wins_and_the_old_one_takes_nothing_with_it(server: Server) -> None:
    old = Station16(server, "NEWEST")
    await old.connect()
    await old.boot()
    number = (await old.start("TAG", 0))["transactionId"]
    async with Station16(server, "NEWEST") as new:
        assert await old.closed() == 4001
        assert await new.is_served()
        await new.meter(number, 60)
        found = await charger(server, "NEWEST")
        assert found["online"] is True
        await asyncio.sleep(0.3)  # the old socket's end must not be taken for the new one's
        assert (await charger(server, "NEWEST"))["online"] is True
        assert (await session(server, "NEWEST"))["state"] == "ACTIVE"
        new.table["ClearCache"] = {"status": "Accepted"}
        assert await answered(server, "NEWEST", "ClearCache", {}) == {"status": "Accepted"}
    await old.close()
    assert (await charger(server, "NEWEST"))["online"] is False


async def test_the_charger_on_a_new_socket_is_found_under_any_spelling(server: Server) -> None:
    async with Station16(server, "Spelling") as old, Station16(server, "SPELLING") as new:
        assert await new.is_served()
        assert await old.closed() == 4001
        assert (await charger(server, "Spelling"))["online"] is True
    assert (await charger(server, "Spelling"))["online"] is False


async def test_a_charger_that_falls_silent_is_offline_after_its_time(server: Server) -> None:
    async with Station16(server, "SILENT") as cp:
        await cp.boot()
        await cp.start("TAG", 0)
        assert cp._socket is not None
        cp._socket.transport.pause_reading()  # no pong from now on
        await until_session(server, "SILENT", state="SUSPENDED_OFFLINE")
        assert (await charger(server, "SILENT"))["online"] is False
        await cp.cut()
        await cp.connect()
        assert await cp.is_served()
        await until_session(server, "SILENT", state="ACTIVE")


@pytest.mark.parametrize("boots", [True, False], ids=["boot_every_reconnect", "no_boot_on_reconnect"])
async def test_a_dropped_link_is_no_power_cut(server: Server, boots: bool) -> None:
    async with Station16(server, f"DROP-{boots}") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        await cp.status("Charging")
        for wh in (50, 100):
            await cp.cut()
            await until_session(server, cp.id, state="SUSPENDED_OFFLINE")
            await cp.connect()
            if boots:
                await cp.boot()
            await cp.status("Charging")
            await cp.meter(number, wh)
            assert (await session(server, cp.id))["state"] == "ACTIVE"
        await cp.stop(number, 150)
        over = await session(server, cp.id)
        assert (over["open"], over["energy_wh"], over["cases"]) == (False, 150, [])


async def test_a_power_cut_without_a_stop_ends_with_what_is_proven(server: Server) -> None:
    async with Station16(server, "CUT") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 1000))["transactionId"]
        await cp.status("Charging")
        await cp.meter(number, 1150)
        await cp.cut()
        await until_session(server, "CUT", state="SUSPENDED_OFFLINE")
        await cp.connect()
        await cp.boot()
        await cp.status("Available")

        async def ended() -> bool:
            return (await session(server, "CUT"))["state"] in {"ENDED", "SETTLED"}

        await until(ended)
        over = await session(server, "CUT")
        assert (over["energy_wh"], over["end_cause"]) == (150, "PowerLoss")
        assert over["quality"] in {"B", "C"}


async def test_a_replaced_unit_ends_the_old_units_session(server: Server) -> None:
    async with Station16(server, "SWAP") as cp:
        await cp.boot(chargePointSerialNumber="OLD")
        number = (await cp.start("TAG", 1000))["transactionId"]
        await cp.meter(number, 1100)
        await cp.cut()
        await cp.connect()
        await cp.boot(chargePointSerialNumber="NEW")
        found = await session(server, "SWAP")
        assert "SWAP" in case_types(found)
        fresh = await cp.start("TAG", 5, when=at(2))
        assert fresh["transactionId"] != number
        assert (await sessions(server, "SWAP"))[0]["energy_wh"] == 100


async def test_a_reset_with_two_boots_is_one_charger(server: Server) -> None:
    async with Station16(server, "TWO-BOOTS") as cp:
        await cp.boot()
        assert (await cp.boot())["status"] == "Accepted"
        await cp.close()
        await cp.connect()
        assert (await cp.boot())["status"] == "Accepted"
        assert (await cp.boot())["status"] == "Accepted"
        found = (await server.api("GET", "/api/v1/chargers?limit=200"))["items"]
        assert [one["id"] for one in found if one["id"] == "TWO-BOOTS"] == ["TWO-BOOTS"]


async def test_a_running_session_survives_the_end_of_the_server(tmp_path: Path) -> None:
    async with running(tmp_path, PATIENT) as server:
        await token(server, "TAG")
        async with Station16(server, "SURVIVES") as cp:
            await cp.boot()
            number = (await cp.start("TAG", 0))["transactionId"]
            await cp.meter(number, 50)
            assert await server.stop() == 0
            assert await cp.closed() == 1001
            await server.start()
            assert (await session(server, "SURVIVES"))["open"] is True
            await cp.connect()  # and no boot
            await cp.meter(number, 100)
            await cp.stop(number, 150)
            over = await session(server, "SURVIVES")
            assert (over["open"], over["energy_wh"], over["quality"]) == (False, 150, "A")
