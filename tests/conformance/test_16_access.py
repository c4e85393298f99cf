"""Who may charge, at chargers of OCPP 1.6: groups, master pass, places, one session at a time, vehicles, debts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from running import Server, running
from wire import Station16, at, session, sessions, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCESS = {"access": {"master_pass_group": "MASTER"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("access16"), ACCESS) as running_server:
        await token(running_server, "TAG")
        yield running_server


async def events(server: Server, charger_id: str, kind: str) -> list[dict[str, Any]]:
    """The charger's cases of this type."""
    found = await server.api("GET", f"/api/v1/cases?charger_id={charger_id}&type={kind}")
    return list(found["items"])


# -- groups and master pass


async def test_the_group_is_in_every_answer_and_a_member_may_end_anothers_session(server: Server) -> None:
    for tag in ("MEMBER-1", "MEMBER-2"):
        await token(server, tag, group_id="FLEET-7", kind="fleet")
    wanted = {"status": "Accepted", "parentIdTag": "FLEET-7"}
    async with Station16(server, "A16-GROUP") as cp:
        await cp.boot()
        assert await cp.authorize("MEMBER-1") == wanted
        begun = await cp.start("MEMBER-1", 0)
        assert begun["idTagInfo"] == wanted
        assert await cp.authorize("member-2") == wanted  # the charger compares the groups
        assert await cp.stop(begun["transactionId"], 100, idTag="MEMBER-2") == {"idTagInfo": wanted}
        over = await session(server, cp.id)
        assert (over["token"], over["open"]) == ("MEMBER-1", False)


async def test_a_master_pass_ends_sessions_and_begins_none(server: Server) -> None:
    await token(server, "PASS", group_id="MASTER")
    async with Station16(server, "A16-MASTER") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        assert await cp.authorize("PASS") == {"status": "Accepted", "parentIdTag": "MASTER"}
        ended = await cp.stop(number, 100, idTag="PASS")
        assert ended == {"idTagInfo": {"status": "Accepted", "parentIdTag": "MASTER"}}
        assert (await session(server, cp.id))["token"] == "TAG"
        refused = await cp.start("PASS", 100)
        assert refused["idTagInfo"] == {"status": "Invalid", "parentIdTag": "MASTER"}
        assert refused["transactionId"] > number


# -- judged at its own time


async def test_an_offline_start_is_judged_by_what_held_then_and_told_what_holds_now(server: Server) -> None:
    await token(server, "TURNS")
    async with Station16(server, "A16-THEN") as cp:
        await cp.boot()
        await token(server, "TURNS", "Blocked")
        blocked = at()
        begun = await cp.start("TURNS", 0, when=at(-60))
        assert begun["idTagInfo"] == {"status": "Blocked"}  # for its cache: blocked now
        assert (await session(server, cp.id))["state"] == "ACTIVE"  # but billed: good then
        assert await cp.stop(begun["transactionId"], 100, when=blocked, idTag="TURNS") == {
            "idTagInfo": {"status": "Blocked"}
        }
        await token(server, "TURNS", "Accepted")
        late = await cp.start("TURNS", 100, when=blocked)
        assert late["idTagInfo"] == {"status": "Blocked"}
        assert (await sessions(server, cp.id))[1]["state"] == "STOPPING"


async def test_a_start_before_its_token_was_removed_is_good_and_one_after_it_is_not(server: Server) -> None:
    await token(server, "GONE", group_id="G")
    async with Station16(server, "A16-GONE") as cp:
        await cp.boot()
        await server.api("DELETE", "/api/v1/tokens/GONE")
        begun = await cp.start("GONE", 0, when=at(-60))
        assert begun["idTagInfo"]["status"] == "Invalid"
        assert (await session(server, cp.id))["state"] == "ACTIVE"
        await cp.stop(begun["transactionId"], 10)
        away = at()
        assert await cp.authorize("GONE") == {"status": "Invalid"}
        await token(server, "GONE")
        assert (await cp.start("GONE", 10, when=away))["idTagInfo"]["status"] == "Invalid"
        assert await cp.authorize("GONE") == {"status": "Accepted"}


async def test_a_repeated_start_is_not_judged_anew(server: Server) -> None:
    await token(server, "TWICE", one_session_at_a_time=True)
    async with Station16(server, "A16-TWICE") as cp:
        await cp.boot()
        said = cp.start_of("TWICE", 0)
        first = await cp.ask("StartTransaction", said)
        assert first["idTagInfo"] == {"status": "Accepted"}
        assert await cp.ask("StartTransaction", said) == first


# -- one session at a time


async def test_a_token_charges_at_one_charger_at_a_time_when_it_may_not_more(server: Server) -> None:
    await token(server, "ONE", one_session_at_a_time=True)
    async with Station16(server, "A16-ONE-A") as here, Station16(server, "A16-ONE-B") as there:
        await here.boot()
        await there.boot()
        number = (await here.start("ONE", 0))["transactionId"]
        assert await there.authorize("ONE") == {"status": "Accepted"}  # it may be to end a session
        refused = await there.start("ONE", 0)
        assert refused["idTagInfo"] == {"status": "ConcurrentTx"}
        assert (await session(server, there.id))["state"] == "STOPPING"
        await there.stop(refused["transactionId"], 0, reason="DeAuthorized")
        await here.stop(number, 50)
        again = await there.start("ONE", 0, when=at())
        assert again["idTagInfo"] == {"status": "Accepted"}


async def test_whether_it_was_the_only_one_is_judged_by_its_own_time(server: Server) -> None:
    await token(server, "ONLY", one_session_at_a_time=True)
    async with Station16(server, "A16-TIME-A") as here, Station16(server, "A16-TIME-B") as there:
        await here.boot()
        await there.boot()
        running_one = await here.start("ONLY", 0, when=at(-300))
        assert running_one["idTagInfo"] == {"status": "Accepted"}
        earlier = await there.start("ONLY", 0, when=at(-600))
        assert earlier["idTagInfo"] == {"status": "Accepted"}  # nothing else ran then
        await there.stop(earlier["transactionId"], 10, when=at(-500))
        await here.stop(running_one["transactionId"], 10, when=at(-200))
        meanwhile = await there.start("ONLY", 10, when=at(-250))
        assert meanwhile["idTagInfo"] == {"status": "ConcurrentTx"}  # the other one ran then
        after = await there.start("ONLY", 10, when=at(-150), connector=2)
        assert after["idTagInfo"] == {"status": "Accepted"}


async def test_the_rule_survives_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    rule = {"access": {"one_session_at_a_time": True}}
    async with running(tmp_path_factory.mktemp("one"), rule) as server:
        await token(server, "ONE")
        await token(server, "MANY", one_session_at_a_time=False)
        async with Station16(server, "HERE") as here:
            await here.boot()
            for connector, tag in ((1, "ONE"), (2, "MANY")):
                assert (await here.start(tag, 0, connector=connector))["idTagInfo"]["status"] == "Accepted"
        await server.stop()
        await server.start()
        async with Station16(server, "HERE") as here, Station16(server, "THERE") as there:
            await here.boot()
            await there.boot()

            async def is_back() -> bool:
                return all(one["state"] == "ACTIVE" for one in await sessions(server, "HERE"))

            await until(is_back)
            assert (await there.start("ONE", 0))["idTagInfo"]["status"] == "ConcurrentTx"
            assert (await there.start("MANY", 0, connector=2))["idTagInfo"]["status"] == "Accepted"


async def test_a_session_that_is_dark_holds_up_nobody_elsewhere(server: Server) -> None:
    await token(server, "DARK", one_session_at_a_time=True)
    async with Station16(server, "A16-DARK-A") as here, Station16(server, "A16-DARK-B") as there:
        await here.boot()
        await there.boot()
        await here.start("DARK", 0)
        await here.cut()

        async def is_dark() -> bool:
            return (await session(server, here.id))["state"] == "SUSPENDED_OFFLINE"

        await until(is_dark)
        assert (await there.start("DARK", 0))["idTagInfo"] == {"status": "Accepted"}


# -- places and limits


async def test_a_token_is_good_where_it_is_good(server: Server) -> None:
    await token(server, "HERE", good_at=[{"charger_id": "A16-HERE", "evse_ids": [2]}])
    async with Station16(server, "A16-HERE") as here, Station16(server, "A16-ELSE") as there:
        await here.boot()
        await there.boot()
        assert await here.authorize("HERE") == {"status": "Accepted"}
        assert (await here.start("HERE", 0, connector=1))["idTagInfo"] == {"status": "Invalid"}
        assert (await here.start("HERE", 0, connector=2))["idTagInfo"] == {"status": "Accepted"}
        assert await there.authorize("HERE") == {"status": "Invalid"}
        assert (await there.start("HERE", 0))["idTagInfo"] == {"status": "Invalid"}


async def test_a_token_with_a_budget_is_stopped_when_it_is_used_up(server: Server) -> None:
    await token(server, "SMALL", budget_wh=500)
    async with Station16(server, "A16-BUDGET") as cp:
        cp.table["RemoteStopTransaction"] = {"status": "Accepted"}
        await cp.boot()
        number = (await cp.start("SMALL", 1000))["transactionId"]
        await cp.meter(number, 1400)
        assert cp.questions("RemoteStopTransaction") == []
        await cp.meter(number, 1510)
        assert await cp.until_asked("RemoteStopTransaction") == {"transactionId": number}


async def drawn_until_stopped(cp: Station16, tag: str, *, until_wh: int, from_wh: int = 1000) -> None:
    """It is not stopped just below `until_wh`, and is at it."""
    begun = await cp.start(tag, from_wh)
    assert begun["idTagInfo"]["status"] == "Accepted"
    before = len(cp.questions("RemoteStopTransaction"))
    await cp.meter(begun["transactionId"], from_wh + until_wh - 1)
    assert len(cp.questions("RemoteStopTransaction")) == before
    await cp.meter(begun["transactionId"], from_wh + until_wh)

    async def is_asked() -> bool:
        return {"transactionId": begun["transactionId"]} in cp.questions("RemoteStopTransaction")

    await until(is_asked)
    await cp.stop(begun["transactionId"], from_wh + until_wh, idTag=tag, reason="Remote")


async def test_a_card_or_car_without_a_limit_of_its_own_has_the_default_one(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """By energy and by money (20 INR: 0.386 kWh at 18 INR, after 10 INR of fees, with 18 % tax); fleets' have none."""
    rule = {"access": {"default_kwh": 0.5, "default_amount": 20}}
    async with running(tmp_path_factory.mktemp("default"), rule) as server:
        await server.sell("A16-PRICED")  # read into memory while the others charge
        await token(server, "CARD")
        await token(server, "OWN", budget_wh=600)
        await token(server, "CAB", kind="fleet")
        await server.api("PUT", "/api/v1/vehicles/AA:BB:CC:DD:EE:02", {"token": "CARD"})
        async with Station16(server, "A16-ANYWHERE") as cp:
            cp.table["RemoteStopTransaction"] = {"status": "Accepted"}
            await cp.boot()
            await drawn_until_stopped(cp, "CARD", until_wh=500)  # nothing is priced here
            await drawn_until_stopped(cp, "OWN", until_wh=600, from_wh=2000)
            asked = len(cp.questions("RemoteStopTransaction"))
            number = (await cp.start("CAB", 3000))["transactionId"]
            await cp.meter(number, 3900)
            await cp.stop(number, 3900, idTag="CAB")
            assert len(cp.questions("RemoteStopTransaction")) == asked
        async with Station16(server, "A16-PRICED") as cp:
            cp.table["RemoteStopTransaction"] = {"status": "Accepted"}
            await cp.boot()
            await drawn_until_stopped(cp, "VID:AABBCCDDEE02", until_wh=386)


async def test_a_start_by_an_operator_ends_where_it_was_told_to(server: Server) -> None:
    await token(server, "ROOMY", budget_wh=50_000)
    async with Station16(server, "A16-ASKED") as cp:
        cp.table["RemoteStartTransaction"] = cp.table["RemoteStopTransaction"] = {"status": "Accepted"}
        await cp.boot()
        wanted = {"token": "ROOMY", "connector_id": 1, "budget_wh": 700}
        await server.api("POST", "/api/v1/chargers/A16-ASKED/commands/start", wanted)
        await cp.until_asked("RemoteStartTransaction")
        await drawn_until_stopped(cp, "ROOMY", until_wh=700)


# -- vehicles


async def test_a_vehicle_charges_on_its_token(server: Server) -> None:
    await token(server, "OWNER", group_id="FAMILY", kind="autocharge", budget_wh=90_000)
    await server.api("PUT", "/api/v1/vehicles/AA:BB:CC:DD:EE:01", {"token": "OWNER", "limit_wh": 300})
    async with Station16(server, "A16-CAR") as cp:
        cp.table["RemoteStopTransaction"] = {"status": "Accepted"}
        await cp.boot()
        wanted = {"status": "Accepted", "parentIdTag": "FAMILY"}
        assert await cp.authorize("VID:aabbccddee01") == wanted
        begun = await cp.start("VID:AABBCCDDEE01", 0)
        assert begun["idTagInfo"] == wanted
        found = await session(server, cp.id)
        assert (found["token"], found["vehicle"], found["state"]) == ("OWNER", "AA:BB:CC:DD:EE:01", "ACTIVE")
        assert [one["id"] for one in (await server.api("GET", "/api/v1/sessions?token=owner"))["items"]] == [
            found["id"]
        ]
        await cp.meter(begun["transactionId"], 310)
        await cp.until_asked("RemoteStopTransaction")  # the vehicle's own limit
        ended = await cp.stop(begun["transactionId"], 320, idTag="VID:AABBCCDDEE01", reason="Remote")
        assert ended == {"idTagInfo": wanted}


async def test_a_vehicle_is_judged_as_its_token_and_unknown_without_one(server: Server) -> None:
    await token(server, "OWNER-2")
    await server.api("PUT", "/api/v1/vehicles/MA1TA2B3C4D567890", {"kind": "vin", "token": "OWNER-2"})
    async with Station16(server, "A16-VIN") as cp:
        await cp.boot()
        assert await cp.authorize("MA1TA2B3C4D567890") == {"status": "Accepted"}
        await token(server, "OWNER-2", "Blocked")
        assert await cp.authorize("MA1TA2B3C4D567890") == {"status": "Blocked"}
        await token(server, "OWNER-2")
        for change in ({"enabled": False}, None):
            body = {"kind": "vin", "token": "OWNER-2", **(change or {})}
            await server.api("PUT", "/api/v1/vehicles/MA1TA2B3C4D567890", body)
            wanted = "Invalid" if change else "Accepted"
            assert await cp.authorize("MA1TA2B3C4D567890") == {"status": wanted}
        await server.api("DELETE", "/api/v1/vehicles/MA1TA2B3C4D567890")
        assert await cp.authorize("MA1TA2B3C4D567890") == {"status": "Invalid"}


async def test_a_number_that_was_a_token_once_may_be_a_vehicle_now(server: Server) -> None:
    await token(server, "OWNER-4")
    await token(server, "AABBCCDDEE04")
    async with Station16(server, "A16-MOVED") as cp:
        await cp.boot()
        await server.api("PUT", "/api/v1/vehicles/AABBCCDDEE04", {"token": "OWNER-4"})
        begun = await cp.start("AABBCCDDEE04", 0)
        assert (await session(server, cp.id))["token"] == "AABBCCDDEE04"  # a token comes first
        await cp.stop(begun["transactionId"], 10)
        await server.api("DELETE", "/api/v1/tokens/AABBCCDDEE04")
        begun = await cp.start("AABBCCDDEE04", 10)
        assert begun["idTagInfo"] == {"status": "Accepted"}
        found = (await server.api("GET", f"/api/v1/sessions?charger_id={cp.id}"))["items"]
        assert sorted(one["token"] for one in found) == ["AABBCCDDEE04", "OWNER-4"]


async def test_a_session_of_a_vehicle_goes_on_after_a_power_cut(server: Server) -> None:
    await token(server, "OWNER-3")
    await server.api("PUT", "/api/v1/vehicles/AABBCCDDEE03", {"token": "OWNER-3"})
    async with Station16(server, "A16-CUT") as cp:
        await cp.boot()
        number = (await cp.start("AABBCCDDEE03", 0))["transactionId"]
        await cp.meter(number, 100)
        await cp.cut()

        async def is_dark() -> bool:
            return (await session(server, cp.id))["state"] == "SUSPENDED_OFFLINE"

        await until(is_dark)
        await cp.connect()
        await cp.boot(chargePointSerialNumber="S")
        await cp.status("Preparing")
        resumed = await cp.start("AABBCCDDEE03", 110, when=at())
        assert resumed["idTagInfo"]["status"] == "Accepted"
        found = await session(server, cp.id)
        assert (found["token"], found["vehicle"], len(found["transaction_ids"])) == ("OWNER-3", "AABBCCDDEE03", 2)
