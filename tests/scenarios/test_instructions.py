"""What is asked of a charger: raw OCPP calls through the REST API, and the life of an instruction (SURFACES 4)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from running import API_KEY, Server, running
from wire import (
    Refuse,
    Station16,
    Station201,
    answered,
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

ACCEPTED = {"status": "Accepted"}
SETTINGS: dict[str, dict[str, Any]] = {
    "ocpp": {"call_timeout_s": 1.5},
    "limits": {"start_s": 2, "stop_s": 1, "stop_tries": 3},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("instructions"), SETTINGS) as running_server:
        await token(running_server, "TAG")
        yield running_server


async def problem(server: Server, path: str, body: Any, status: int) -> dict[str, Any]:
    """The problem document of a POST that must fail with this status."""
    found: dict[str, Any] = await server.api("POST", path, body, expect=status)
    assert found["status"] == status
    return found


async def silent_for(station: Station16, seconds: float) -> int:
    """How many calls had come after so long."""
    await asyncio.sleep(seconds)
    return len(station.asked)


# -- any OCPP message


async def test_an_answer_is_handed_back_with_the_id_it_had_on_the_wire(server: Server) -> None:
    async with Station16(server, "RAW-OK") as cp:
        cp.table["GetConfiguration"] = {"configurationKey": [], "unknownKey": ["X"]}
        await cp.boot()
        outcome = await raw(server, "RAW-OK", "GetConfiguration", {"key": ["X"]})
        assert (outcome["status"], outcome["error"]) == ("answered", None)
        assert outcome["response"] == {"configurationKey": [], "unknownKey": ["X"]}
        call, result = await frames(server, "RAW-OK", "GetConfiguration")
        assert (call["direction"], call["type"]) == ("out", "call")
        assert call["frame"] == [2, outcome["message_id"], "GetConfiguration", {"key": ["X"]}]
        assert (result["direction"], result["type"]) == ("in", "result")
        assert result["frame"] == [3, outcome["message_id"], outcome["response"]]
        assert result["latency_ms"] >= 0
        assert uuid.UUID(outcome["message_id"]).version == 7


async def test_a_call_error_is_handed_back(server: Server) -> None:
    def refuse(_: dict[str, Any]) -> None:
        raise Refuse("NotSupported")

    async with Station16(server, "RAW-ERROR") as cp:
        cp.table["ClearCache"] = refuse
        await cp.boot()
        outcome = await raw(server, "RAW-ERROR", "ClearCache", {})
        assert (outcome["status"], outcome["response"]) == ("call_error", None)
        assert outcome["error"] == {"code": "NotSupported", "description": "", "details": {}}
        assert (await frames(server, "RAW-ERROR", "ClearCache"))[-1]["type"] == "error"


async def test_a_charger_that_does_not_answer_is_a_timeout_and_its_late_answer_does_no_harm(server: Server) -> None:
    async with Station16(server, "RAW-LATE") as cp:
        await cp.boot()
        cp.table["ClearCache"] = None
        outcome = await raw(server, "RAW-LATE", "ClearCache", {}, timeout_s=0.4)
        assert (outcome["status"], outcome["response"], outcome["error"]) == ("timeout", None, None)
        (call,) = await frames(server, "RAW-LATE", "ClearCache")
        assert call["message_id"] == outcome["message_id"]
        await cp.send(f'[3,"{outcome["message_id"]}",{{"status":"Accepted"}}]')  # late, and nobody waits
        cp.table["ClearCache"] = {"status": "Rejected"}
        assert await answered(server, "RAW-LATE", "ClearCache", {}) == {"status": "Rejected"}
        assert await cp.is_served()
        first = next(f for f in await frames(server, "RAW-LATE") if f["frame"][:2] == [3, outcome["message_id"]])
        assert first["frame"][2] == ACCEPTED


async def test_a_charger_that_is_not_there_is_offline_and_is_not_asked_later(server: Server) -> None:
    async with Station16(server, "RAW-OFF") as cp:
        await cp.boot()
    outcome = await raw(server, "RAW-OFF", "Reset", {"type": "Hard"})
    assert (outcome["status"], outcome["response"]) == ("offline", None)
    async with Station16(server, "RAW-OFF") as cp:
        await cp.boot()
        assert await silent_for(cp, 1.3) == 0


async def test_a_link_that_is_lost_in_the_middle_is_offline_and_is_not_asked_again(server: Server) -> None:
    async with Station16(server, "RAW-LOST") as cp:
        await cp.boot()
        cp.table["Reset"] = None
        asking = asyncio.create_task(raw(server, "RAW-LOST", "Reset", {"type": "Hard"}))
        await cp.until_asked("Reset")
        await cp.cut()
        assert (await asking)["status"] == "offline"
        await cp.connect()
        await cp.boot()
        assert await silent_for(cp, 1.3) == 1  # the one before the cut: a reset again would be a boot loop


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("Reset", {"type": "Lukewarm"}),
        ("Reset", {}),
        ("Reset", {"type": "Soft", "extra": 1}),
        ("UnlockConnector", {"connectorId": "1"}),
        ("RemoteStartTransaction", {"idTag": "x" * 21}),
    ],
)
async def test_a_payload_that_breaks_the_schema_is_refused_and_nothing_is_sent(
    server: Server, action: str, payload: dict[str, Any]
) -> None:
    async with Station16(server, "RAW-422") as cp:
        await cp.boot()
        said = await problem(server, f"/api/v1/chargers/RAW-422/ocpp/{action}", payload, 422)
        assert said["type"] == "/problems/payload-breaks-schema"
        assert said["errors"]
        assert await cp.is_served()
        assert cp.asked == []


@pytest.mark.parametrize("action", ["FlyToTheMoon", "BootNotification", "GetVariables"])
async def test_an_action_that_is_none_of_ours_in_that_version_is_refused(server: Server, action: str) -> None:
    async with Station16(server, "RAW-404") as cp:
        await cp.boot()
        said = await problem(server, f"/api/v1/chargers/RAW-404/ocpp/{action}", {}, 422)
        assert said["type"] == "/problems/not-supported"
        assert cp.asked == []


async def test_a_charger_nobody_knows_is_404(server: Server) -> None:
    await problem(server, "/api/v1/chargers/NOBODY/ocpp/Reset", {"type": "Soft"}, 404)
    await problem(server, "/api/v1/chargers/NOBODY/commands/reset", {}, 404)


# -- one call in the air


async def test_there_is_never_a_second_call_before_the_first_is_answered(server: Server) -> None:
    in_the_air = most = 0

    async def slow(_: dict[str, Any]) -> dict[str, Any]:
        nonlocal in_the_air, most
        in_the_air += 1
        most = max(most, in_the_air)
        await asyncio.sleep(0.05)
        in_the_air -= 1
        return ACCEPTED

    async with Station16(server, "AIR-1") as cp:
        await cp.boot()
        cp.table |= dict.fromkeys(("ClearCache", "Reset", "UnlockConnector", "TriggerMessage"), slow)
        outcomes = await asyncio.gather(
            raw(server, "AIR-1", "ClearCache", {}),
            raw(server, "AIR-1", "Reset", {"type": "Soft"}),
            raw(server, "AIR-1", "TriggerMessage", {"requestedMessage": "Heartbeat"}),
            raw(server, "AIR-1", "ClearCache", {}),
        )
        assert [outcome["status"] for outcome in outcomes] == ["answered"] * 4
        assert most == 1


async def test_a_stop_overtakes_what_waits(server: Server) -> None:
    released = asyncio.Event()

    async def first(_: dict[str, Any]) -> dict[str, Any]:
        await released.wait()
        return {"configurationKey": []}

    async with Station16(server, "AIR-2") as cp:
        await cp.boot()
        cp.table |= {"GetConfiguration": first, "ClearCache": ACCEPTED, "RemoteStopTransaction": {"status": "Rejected"}}
        waiting = [asyncio.create_task(raw(server, "AIR-2", "GetConfiguration", {}))]
        await cp.until_asked("GetConfiguration")
        waiting += [asyncio.create_task(raw(server, "AIR-2", "ClearCache", {})) for _ in range(3)]
        await until(lambda: queued(server, "AIR-2", 4))
        waiting.append(asyncio.create_task(raw(server, "AIR-2", "RemoteStopTransaction", {"transactionId": 1})))
        await until(lambda: queued(server, "AIR-2", 5))
        released.set()
        await asyncio.gather(*waiting)
        assert [action for action, _ in cp.asked][:2] == ["GetConfiguration", "RemoteStopTransaction"]


async def queued(server: Server, charger_id: str, count: int) -> bool:
    found = await server.api("GET", f"/api/v1/instructions?charger_id={charger_id}")
    return len([one for one in found["items"] if one["state"] == "SENT"]) >= count


async def test_the_charger_is_served_while_it_owes_an_answer(server: Server) -> None:
    released = asyncio.Event()

    async def slow(_: dict[str, Any]) -> dict[str, Any]:
        await released.wait()
        return ACCEPTED

    async with Station16(server, "AIR-3") as cp:
        await cp.boot()
        cp.table["ClearCache"] = slow
        asking = asyncio.create_task(raw(server, "AIR-3", "ClearCache", {}))
        await cp.until_asked("ClearCache")
        started = await cp.start("TAG", 0)
        await cp.meter(started["transactionId"], 10)
        assert (await session(server, "AIR-3"))["energy_wh"] == 10
        released.set()
        assert (await asking)["status"] == "answered"


async def test_a_call_waits_for_its_turn_no_longer_than_its_asker(server: Server) -> None:
    async with Station16(server, "AIR-4") as cp:
        await cp.boot()
        cp.table["GetConfiguration"] = None
        blocking = asyncio.create_task(raw(server, "AIR-4", "GetConfiguration", {}, timeout_s=2.5))
        await cp.until_asked("GetConfiguration")
        outcome = await raw(server, "AIR-4", "Reset", {"type": "Hard"}, timeout_s=1)
        assert outcome["status"] == "timeout"
        assert (await blocking)["status"] == "timeout"
        assert cp.questions("Reset") == []
        cp.table["ClearCache"] = ACCEPTED
        assert await answered(server, "AIR-4", "ClearCache", {}) == ACCEPTED
        assert cp.questions("Reset") == []


# -- the life of an instruction


async def states(server: Server, instruction_id: str) -> tuple[str, list[bool]]:
    found = await instruction(server, instruction_id)
    return found["state"], [found[name] is not None for name in ("sent_at", "accepted_at", "effective_at")]


async def test_a_start_goes_from_issued_to_effective(server: Server) -> None:
    released = asyncio.Event()

    async def slow(_: dict[str, Any]) -> dict[str, Any]:
        await released.wait()
        return ACCEPTED

    async with Station16(server, "LIFE-START") as cp:
        await cp.boot()
        cp.table["RemoteStartTransaction"] = slow
        begun = await command(server, "LIFE-START", "start", {"token": "TAG", "connector_id": 1})
        await cp.until_asked("RemoteStartTransaction")
        assert await states(server, begun) == ("SENT", [True, False, False])
        released.set()
        await instruction(server, begun, "ACCEPTED")
        assert await states(server, begun) == ("ACCEPTED", [True, True, False])
        await cp.start("TAG", 0)
        done = await instruction(server, begun)  # the moment the charger was answered
        assert done["session_id"] == (await session(server, "LIFE-START"))["id"]
        assert await states(server, begun) == ("EFFECTIVE", [True, True, True])
        assert (done["reason"], done["response"]) == ("Accepted", ACCEPTED)
        assert done["message_id"]


async def test_a_start_that_begins_before_it_is_answered_stays_effective(server: Server) -> None:
    released = asyncio.Event()

    async def slow(_: dict[str, Any]) -> dict[str, Any]:
        await released.wait()
        return ACCEPTED

    async with Station16(server, "LIFE-EARLY") as cp:
        await cp.boot()
        cp.table["RemoteStartTransaction"] = slow
        begun = await command(server, "LIFE-EARLY", "start", {"token": "TAG", "connector_id": 1})
        await cp.until_asked("RemoteStartTransaction")
        await cp.start("TAG", 0)
        assert (await instruction(server, begun))["state"] == "EFFECTIVE"
        released.set()
        assert await until(lambda: answer_logged(server, "LIFE-EARLY", "RemoteStartTransaction"))
        found = await instruction(server, begun)
        assert (found["state"], found["session_id"]) == ("EFFECTIVE", (await session(server, "LIFE-EARLY"))["id"])


async def answer_logged(server: Server, charger_id: str, action: str) -> bool:
    return any(frame["type"] == "result" for frame in await frames(server, charger_id, action))


async def test_a_start_that_is_accepted_and_never_happens_expires(server: Server) -> None:
    async with Station16(server, "LIFE-SILENT") as cp:
        await cp.boot()
        cp.table["RemoteStartTransaction"] = ACCEPTED
        begun = await command(server, "LIFE-SILENT", "start", {"token": "TAG", "connector_id": 1})
        await instruction(server, begun, "ACCEPTED")
        gone = await instruction(server, begun, "EXPIRED")
        assert gone["reason"]
        assert len(cp.questions("RemoteStartTransaction")) == 1
        assert await sessions(server, "LIFE-SILENT") == []


async def test_what_is_refused_says_why(server: Server) -> None:
    def refuse(_: dict[str, Any]) -> None:
        raise Refuse("InternalError")

    async with Station16(server, "LIFE-REFUSED") as cp:
        await cp.boot()
        for reply, reason in (({"status": "Rejected"}, "Rejected"), (refuse, "InternalError")):
            cp.table["ChangeAvailability"] = reply
            begun = await command(server, "LIFE-REFUSED", "availability", {"operative": False})
            assert (await instruction(server, begun, "REFUSED"))["reason"] == reason
        assert cp.questions("ChangeAvailability") == [{"connectorId": 0, "type": "Inoperative"}] * 2


async def test_what_is_not_answered_expires(server: Server) -> None:
    async with Station16(server, "LIFE-MUTE") as cp:
        await cp.boot()
        cp.table["TriggerMessage"] = None
        begun = await command(server, "LIFE-MUTE", "trigger", {"message": "Heartbeat"})
        assert (await instruction(server, begun, "EXPIRED"))["reason"] == "no answer"


async def test_a_command_to_an_offline_charger_waits_for_it(server: Server) -> None:
    async with Station16(server, "LIFE-WAITS") as cp:
        await cp.boot()
    begun = await command(server, "LIFE-WAITS", "availability", {"operative": True, "connector_id": 1})
    assert await states(server, begun) == ("ISSUED", [False, False, False])
    async with Station16(server, "LIFE-WAITS") as cp:
        cp.table["ChangeAvailability"] = ACCEPTED
        await cp.boot()
        await instruction(server, begun, "EFFECTIVE")
        assert cp.questions("ChangeAvailability") == [{"connectorId": 1, "type": "Operative"}]


async def test_a_reset_that_the_charger_obeys_without_a_word_is_not_repeated(server: Server) -> None:
    async with Station16(server, "LIFE-RESET") as cp:
        await cp.boot()
        cp.table["Reset"] = None
        begun = await command(server, "LIFE-RESET", "reset", {"hard": True})
        await cp.until_asked("Reset")
        await cp.cut()
        await cp.connect()
        assert (await cp.boot())["status"] == "Accepted"
        await instruction(server, begun, "EFFECTIVE")
        assert await silent_for(cp, 1.3) == 1


async def test_a_reset_is_effective_when_the_charger_boots(server: Server) -> None:
    async with Station16(server, "LIFE-BOOT") as cp:
        await cp.boot()
        cp.table["Reset"] = ACCEPTED
        begun = await command(server, "LIFE-BOOT", "reset", {"type": "Soft"})
        await instruction(server, begun, "ACCEPTED")
        await cp.boot()
        await instruction(server, begun, "EFFECTIVE")


async def test_a_stop_is_repeated_until_it_has_its_effect(server: Server) -> None:
    async with Station16(server, "LIFE-STOP") as cp:
        await cp.boot()
        cp.table["RemoteStopTransaction"] = ACCEPTED
        number = (await cp.start("TAG", 0))["transactionId"]
        begun = await command(server, "LIFE-STOP", "stop", {"transaction_id": number})
        assert await cp.until_asked("RemoteStopTransaction", 2) == {"transactionId": number}
        await cp.stop(number, 50, reason="Remote")
        await instruction(server, begun, "EFFECTIVE")
        assert (await session(server, "LIFE-STOP"))["open"] is False
        count = len(cp.questions("RemoteStopTransaction"))
        await asyncio.sleep(1.3)
        assert len(cp.questions("RemoteStopTransaction")) == count
        path = "/api/v1/chargers/LIFE-STOP/commands/stop"
        assert (await problem(server, path, {"transaction_id": number}, 409))["detail"]


async def test_a_stop_that_is_never_confirmed_becomes_a_case(server: Server) -> None:
    async with Station16(server, "LIFE-ZOMBIE") as cp:
        await cp.boot()
        cp.table["RemoteStopTransaction"] = ACCEPTED
        number = (await cp.start("TAG", 0))["transactionId"]
        await command(server, "LIFE-ZOMBIE", "stop", {"transaction_id": number})

        async def has_case() -> bool:
            return bool((await session(server, "LIFE-ZOMBIE"))["cases"])

        await until(has_case)
        found = await session(server, "LIFE-ZOMBIE")
        assert [case["type"] for case in found["cases"]] == ["STOP_UNCONFIRMED"]
        assert found["open"] is True  # what is not proven is not claimed
        assert len(cp.questions("RemoteStopTransaction")) == 3


async def test_a_stop_asked_while_the_link_is_down_is_sent_once_it_is_back(server: Server) -> None:
    async with Station16(server, "LIFE-DARK") as cp:
        await cp.boot()
        cp.table["RemoteStopTransaction"] = ACCEPTED
        number = (await cp.start("TAG", 0))["transactionId"]
        await cp.cut()
        await until_session(server, "LIFE-DARK", state="SUSPENDED_OFFLINE")
        begun = await command(server, "LIFE-DARK", "stop", {"transaction_id": number})
        assert (await instruction(server, begun))["state"] == "ISSUED"
        await cp.connect()
        assert await cp.until_asked("RemoteStopTransaction") == {"transactionId": number}
        await cp.stop(number, 60, reason="Remote")
        await instruction(server, begun, "EFFECTIVE")
        assert (await session(server, "LIFE-DARK"))["end_cause"] == "Remote"
        assert len(cp.questions("RemoteStopTransaction")) == 1


async def test_a_stop_whose_session_ended_in_the_dark_is_withdrawn(server: Server) -> None:
    async with Station16(server, "LIFE-ENDED") as cp:
        await cp.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        await cp.cut()
        cp.table["RemoteStopTransaction"] = {"status": "Rejected"}
        await until_session(server, "LIFE-ENDED", state="SUSPENDED_OFFLINE")
        begun = await command(server, "LIFE-ENDED", "stop", {"transaction_id": number})
        await cp.connect()
        await cp.stop(number, 60)
        crossed = len(cp.questions("RemoteStopTransaction"))  # one may be under way when the charger's own stop comes
        assert crossed <= 1
        found = await until(lambda: over(server, begun))
        assert found["state"] in {"EFFECTIVE", "REFUSED"}
        await asyncio.sleep(1.2)
        assert len(cp.questions("RemoteStopTransaction")) == crossed


async def over(server: Server, instruction_id: str) -> dict[str, Any] | None:
    found = await instruction(server, instruction_id)
    return found if found["state"] in {"EFFECTIVE", "REFUSED", "EXPIRED"} else None


async def test_the_same_idempotency_key_asks_once(server: Server) -> None:
    async with Station16(server, "LIFE-IDEM") as cp:
        cp.table["UnlockConnector"] = {"status": "Unlocked"}
        await cp.boot()
        ids = set()
        headers = {"Authorization": f"Bearer {API_KEY}", "Idempotency-Key": str(uuid.uuid4())}
        url = server.urls["api"] + "/api/v1/chargers/LIFE-IDEM/commands/unlock"
        async with aiohttp.ClientSession(headers=headers) as http:
            for _ in range(3):
                async with http.post(url, json={"connector_id": 1}) as answer:
                    assert answer.status == 202
                    ids.add((await answer.json())["id"])
        (only,) = ids
        await instruction(server, only, "EFFECTIVE")
        assert len(cp.questions("UnlockConnector")) == 1


@pytest.mark.case("1.6 TC_057", "2.0.1 TC_K_60")
async def test_a_limit_of_a_session_is_a_profile_of_its_transaction(server: Server) -> None:
    async with Station16(server, "LIFE-LIMIT") as cp, Station201(server, "LIFE-LIMIT2") as cs:
        cp.table["SetChargingProfile"] = cs.table["SetChargingProfile"] = ACCEPTED
        await cp.boot()
        await cs.boot()
        number = (await cp.start("TAG", 0))["transactionId"]
        await cs.event("Started", "tx-limit", "Authorized", token="TAG", wh=0)
        for charger_id in ("LIFE-LIMIT", "LIFE-LIMIT2"):
            found = await session(server, charger_id)
            body = {"session_id": found["id"], "watts": 3500}
            await instruction(server, await command(server, charger_id, "limit", body), "EFFECTIVE")
        (asked,) = cp.questions("SetChargingProfile")
        assert (asked["connectorId"], asked["csChargingProfiles"]["transactionId"]) == (1, number)
        assert asked["csChargingProfiles"]["chargingProfilePurpose"] == "TxProfile"
        assert asked["csChargingProfiles"]["chargingSchedule"]["chargingSchedulePeriod"] == [
            {"startPeriod": 0, "limit": 3500.0}
        ]
        (asked,) = cs.questions("SetChargingProfile")
        assert (asked["evseId"], asked["chargingProfile"]["transactionId"]) == (1, "tx-limit")
        assert asked["chargingProfile"]["chargingProfilePurpose"] == "TxProfile"


async def test_a_vendors_message_reaches_both_versions(server: Server) -> None:
    body = {"vendor_id": "org.example", "message_id": "m", "data": {"a": 1}}
    async with Station16(server, "LIFE-DT") as cp, Station201(server, "LIFE-DT2") as cs:
        cp.table["DataTransfer"] = cs.table["DataTransfer"] = {"status": "UnknownVendorId"}
        await cp.boot()
        await cs.boot()
        for charger_id in ("LIFE-DT", "LIFE-DT2"):
            begun = await command(server, charger_id, "data_transfer", body)
            assert (await instruction(server, begun, "REFUSED"))["reason"] == "UnknownVendorId"
        assert cp.questions("DataTransfer") == [{"vendorId": "org.example", "messageId": "m", "data": '{"a":1}'}]
        assert cs.questions("DataTransfer") == [{"vendorId": "org.example", "messageId": "m", "data": {"a": 1}}]


async def test_instructions_are_listed_by_charger_and_state(server: Server) -> None:
    async with Station16(server, "LIFE-LIST") as cp:
        cp.table["ClearCache"] = ACCEPTED
        await cp.boot()
        begun = [await command(server, "LIFE-LIST", "clear_cache") for _ in range(2)]
        for one in begun:
            await instruction(server, one, "EFFECTIVE")
        found = await server.api("GET", "/api/v1/instructions?charger_id=LIFE-LIST&state=EFFECTIVE")
        assert [one["id"] for one in found["items"]] == begun[::-1]


async def test_a_command_that_the_version_cannot_say_is_refused_at_once(server: Server) -> None:
    async with Station16(server, "LIFE-CANNOT") as cp:
        await cp.boot()
        path = "/api/v1/chargers/LIFE-CANNOT/commands"
        await problem(server, f"{path}/reset", {"evse_id": 1}, 422)
        await problem(server, f"{path}/start", {"token": "x" * 21, "connector_id": 1}, 422)
        await problem(server, f"{path}/fly", {}, 404)
        assert cp.asked == []
        assert (await charger(server, "LIFE-CANNOT"))["online"] is True
