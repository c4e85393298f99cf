"""Messages on the displays of OCPP 2.0.1 stations (O): set, replaced, bound, refused, cleared, read back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from running import Server, running
from wire import Payload, Refuse, Station16, Station201, answered, at, instruction, session, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCEPTED = {"status": "Accepted"}
TEXT = {"format": "UTF8", "content": "Welcome"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("display")) as running_server:
        await token(running_server, "TOKEN")
        yield running_server


def path(cs: Station201, number: int | str = "") -> str:
    return f"/api/v1/chargers/{cs.id}/display-messages" + (f"/{number}" if number != "" else "")


async def put(server: Server, cs: Station201, number: int, **body: Any) -> Payload:
    """Ask for a message; the answer of the API."""
    answer: Payload = await server.api("PUT", path(cs, number), {"text": "Welcome", **body}, expect=202)
    return answer


async def until_state(server: Server, cs: Station201, number: int, state: str) -> Payload:
    """The message, once it is in that state."""

    async def look() -> Payload | None:
        found: Payload = await server.api("GET", path(cs, number))
        return found if found["state"] == state else None

    found: Payload = await until(look)
    return found


async def listed(server: Server, cs: Station201, state: str = "shown") -> list[int]:
    items = (await server.api("GET", f"{path(cs)}?state={state}"))["items"]
    return [one["id"] for one in items]


async def read_back(server: Server, cs: Station201, **body: Any) -> str:
    """Have the display read; the instruction's id."""
    issued = await server.api("POST", path(cs, "read"), body, expect=202)
    return str(issued["id"])


def told(number: int, **more: Any) -> Payload:
    """A MessageInfo as the station tells it."""
    return {"id": number, "priority": "NormalCycle", "message": TEXT, **more}


@pytest.mark.case("2.0.1 TC_O_01")
async def test_tc_o_01_a_message_is_shown(server: Server) -> None:
    async with Station201(server, "O01") as cs:
        cs.table["SetDisplayMessage"] = ACCEPTED
        await cs.boot()
        asked = await put(server, cs, 1, priority="InFront", display_state="Idle", language="en")
        assert asked["message"]["state"] in {"asked", "shown"}
        assert await cs.until_asked("SetDisplayMessage") == {
            "message": {
                "id": 1, "priority": "InFront", "state": "Idle",
                "message": {"format": "UTF8", "language": "en", "content": "Welcome"},
            }
        }  # fmt: skip
        shown = await until_state(server, cs, 1, "shown")
        assert (shown["text"], shown["priority"], shown["display_state"]) == ("Welcome", "InFront", "Idle")
        assert (await instruction(server, asked["instruction"]["id"]))["state"] == "EFFECTIVE"


@pytest.mark.case("2.0.1 TC_O_02", "2.0.1 TC_O_03")
async def test_tc_o_02_03_everything_is_read_in_parts_and_what_is_gone_is_cleared(server: Server) -> None:
    async with Station201(server, "O02") as cs:
        cs.table |= {"SetDisplayMessage": ACCEPTED, "GetDisplayMessages": ACCEPTED}
        await cs.boot()
        await put(server, cs, 1)
        await until_state(server, cs, 1, "shown")
        begun = await read_back(server, cs)
        asked = await cs.until_asked("GetDisplayMessages")
        assert list(asked) == ["requestId"]
        await instruction(server, begun, "EFFECTIVE")
        request = asked["requestId"]
        parts = [[told(7), told(8, state="Faulted")], [told(9, startDateTime=at(60))]]
        for last, part in enumerate(parts):
            said = {"requestId": request, "messageInfo": part, "tbc": not last}
            assert await cs.ask("NotifyDisplayMessages", said) == {}
        gone = await until_state(server, cs, 1, "cleared")
        assert gone["detail"]
        assert await listed(server, cs) == [7, 8, 9]
        # O_03: nothing is configured any more.
        cs.table["GetDisplayMessages"] = {"status": "Unknown"}
        assert await answered(server, cs.id, "GetDisplayMessages", {"requestId": 99}) == {"status": "Unknown"}
        for number in (7, 8, 9):
            await until_state(server, cs, number, "cleared")
        assert await listed(server, cs) == []


@pytest.mark.case("2.0.1 TC_O_04", "2.0.1 TC_O_05")
@pytest.mark.parametrize("word", ["Accepted", "Unknown"], ids=["o_04", "o_05"])
async def test_tc_o_04_05_a_message_is_cleared_whether_it_was_there_or_not(server: Server, word: str) -> None:
    async with Station201(server, f"O04-{word}") as cs:
        cs.table |= {"SetDisplayMessage": ACCEPTED, "ClearDisplayMessage": {"status": word}}
        await cs.boot()
        await put(server, cs, 3)
        await until_state(server, cs, 3, "shown")
        issued = await server.api("DELETE", path(cs, 3), expect=202)
        assert await cs.until_asked("ClearDisplayMessage") == {"id": 3}
        done = await instruction(server, issued["id"], "EFFECTIVE")
        assert done["reason"] == word
        await until_state(server, cs, 3, "cleared")
        assert await answered(server, cs.id, "ClearDisplayMessage", {"id": 4711}) == {"status": word}


@pytest.mark.case("2.0.1 TC_O_06", "2.0.1 TC_O_27", "2.0.1 TC_O_28")
async def test_tc_o_06_27_28_a_message_of_one_transaction_goes_with_it(server: Server) -> None:
    async with Station201(server, "O06") as cs:
        cs.table["SetDisplayMessage"] = ACCEPTED
        await cs.boot()
        await cs.event("Started", "o06", "Authorized", token="TOKEN", wh=0)
        running_one = (await session(server, cs.id))["id"]
        begin, end = "2099-01-01T00:00:00.000Z", "2099-01-02T00:00:00.000Z"
        await put(server, cs, 1, session_id=running_one)
        await put(server, cs, 2, transaction_id="o06", start_at=begin)  # O_27
        await put(server, cs, 3, session_id=running_one, end_at=end)  # O_28
        await put(server, cs, 4)
        await cs.until_asked("SetDisplayMessage", 4)
        said = {one["message"]["id"]: one["message"] for one in cs.questions("SetDisplayMessage")}
        assert [said[number].get("transactionId") for number in (1, 2, 3, 4)] == ["o06", "o06", "o06", None]
        assert (said[2]["startDateTime"], said[3]["endDateTime"]) == (begin, end)
        for number in (1, 2, 3, 4):
            await until_state(server, cs, number, "shown")
        await cs.event("Ended", "o06", "StopAuthorized", token="TOKEN", wh=10)
        for number in (1, 2, 3):
            await until_state(server, cs, number, "cleared")
        assert await listed(server, cs) == [4]
        await server.api("PUT", path(cs, 5), {"text": "x", "session_id": "nobody's"}, expect=404)


@pytest.mark.parametrize(
    ("body", "asked", "fitting"),
    [
        pytest.param({"ids": [1, 2]}, {"id": [1, 2]}, [1], marks=pytest.mark.case("2.0.1 TC_O_07"), id="o_07"),
        pytest.param(
            {"priority": "InFront"}, {"priority": "InFront"}, [2], marks=pytest.mark.case("2.0.1 TC_O_08"), id="o_08"
        ),
        pytest.param(
            {"display_state": "Charging"}, {"state": "Charging"}, [3],
            marks=pytest.mark.case("2.0.1 TC_O_09"), id="o_09",
        ),
    ],
)  # fmt: skip
async def test_tc_o_07_08_09_messages_are_read_by_a_criterion(
    server: Server, body: Payload, asked: Payload, fitting: list[int]
) -> None:
    async with Station201(server, f"O07-{'-'.join(body)}") as cs:
        cs.table |= {"SetDisplayMessage": ACCEPTED, "GetDisplayMessages": ACCEPTED}
        await cs.boot()
        await put(server, cs, 1)
        await put(server, cs, 2, priority="InFront")
        await put(server, cs, 3, display_state="Charging")
        for number in (1, 2, 3):
            await until_state(server, cs, number, "shown")
        await read_back(server, cs, **body)
        question = await cs.until_asked("GetDisplayMessages")
        assert {name: value for name, value in question.items() if name != "requestId"} == asked
        all_of_them = {1: told(1), 2: told(2, priority="InFront"), 3: told(3, state="Charging")}
        said = {"requestId": question["requestId"], "messageInfo": [all_of_them[number] for number in fitting]}
        assert await cs.ask("NotifyDisplayMessages", said) == {}
        # Only what the question was about can be missing from the answer: 2 for o_07, nothing otherwise.
        missing = [2] if "ids" in body else []
        for number in missing:
            await until_state(server, cs, number, "cleared")
        assert await listed(server, cs) == [number for number in (1, 2, 3) if number not in missing]


@pytest.mark.parametrize(
    ("word", "body", "said"),
    [
        pytest.param(
            "UnknownTransaction", {"transaction_id": "nobody's"}, {"transactionId": "nobody's"},
            marks=pytest.mark.case("2.0.1 TC_O_10"), id="o_10",
        ),
        pytest.param(
            "NotSupportedPriority", {"priority": "AlwaysFront"}, {"priority": "AlwaysFront"},
            marks=pytest.mark.case("2.0.1 TC_O_17"), id="o_17",
        ),
        pytest.param(
            "NotSupportedState", {"display_state": "Unavailable"}, {"state": "Unavailable"},
            marks=pytest.mark.case("2.0.1 TC_O_18"), id="o_18",
        ),
        pytest.param(
            "NotSupportedMessageFormat", {"format": "HTML"}, {"message": {"format": "HTML", "content": "Welcome"}},
            marks=pytest.mark.case("2.0.1 TC_O_19"), id="o_19",
        ),
        pytest.param("Rejected", {}, {}, marks=pytest.mark.case("2.0.1 TC_O_26"), id="o_26"),
    ],
)  # fmt: skip
async def test_a_message_that_is_refused_says_why(server: Server, word: str, body: Payload, said: Payload) -> None:
    async with Station201(server, f"O10-{word}") as cs:
        cs.table["SetDisplayMessage"] = {"status": word}
        await cs.boot()
        asked = await put(server, cs, 1, **body)
        assert (await until_state(server, cs, 1, "refused"))["detail"] == word
        assert (await instruction(server, asked["instruction"]["id"], "REFUSED"))["reason"] == word
        sent = (await cs.until_asked("SetDisplayMessage"))["message"]
        assert {name: sent[name] for name in said} == said


@pytest.mark.case("2.0.1 TC_O_12")
async def test_tc_o_12_a_message_replaces_the_one_with_its_number_once_the_station_agrees(server: Server) -> None:
    async with Station201(server, "O12") as cs:
        cs.table["SetDisplayMessage"] = ACCEPTED
        await cs.boot()
        await put(server, cs, 1)
        await until_state(server, cs, 1, "shown")
        cs.table["SetDisplayMessage"] = {"status": "Rejected"}
        refused = await put(server, cs, 1, text="Never")
        await instruction(server, refused["instruction"]["id"], "REFUSED")

        async def is_noted() -> bool:
            return (await server.api("GET", path(cs, 1)))["detail"] is not None

        await until(is_noted)
        assert (await until_state(server, cs, 1, "shown"))["text"] == "Welcome"
        cs.table["SetDisplayMessage"] = ACCEPTED
        await put(server, cs, 1, text="Second")

        async def is_replaced() -> bool:
            found = await server.api("GET", path(cs, 1))
            return (found["state"], found["text"], found["detail"]) == ("shown", "Second", None)

        await until(is_replaced)
        assert [one["message"]["id"] for one in cs.questions("SetDisplayMessage")] == [1, 1, 1]


@pytest.mark.case("2.0.1 TC_O_13", "2.0.1 TC_O_14")
async def test_tc_o_13_14_a_message_from_and_until_a_given_time(server: Server) -> None:
    async with Station201(server, "O13") as cs:
        cs.table["SetDisplayMessage"] = ACCEPTED
        await cs.boot()
        begin, end = "2099-01-01T00:00:00.000Z", "2099-01-02T00:00:00.000Z"
        await put(server, cs, 1, start_at=begin)
        await put(server, cs, 2, end_at=end)
        await cs.until_asked("SetDisplayMessage", 2)
        said = {one["message"]["id"]: one["message"] for one in cs.questions("SetDisplayMessage")}
        assert (said[1]["startDateTime"], "endDateTime" in said[1]) == (begin, False)
        assert (said[2]["endDateTime"], "startDateTime" in said[2]) == (end, False)
        assert (await until_state(server, cs, 1, "shown"))["start_at"] == begin
        assert (await until_state(server, cs, 2, "shown"))["end_at"] == end
        soon = at(1)
        await put(server, cs, 3, end_at=soon)
        assert (await cs.until_asked("SetDisplayMessage", 3))["message"]["endDateTime"] == soon
        assert (await until_state(server, cs, 3, "ended"))["end_at"] == soon
        assert (await listed(server, cs), await listed(server, cs, "ended")) == ([1, 2], [3])
        assert cs.questions("ClearDisplayMessage") == []  # the station removes it by itself
        wrong = {"text": "x", "start_at": end, "end_at": begin}
        await server.api("PUT", path(cs, 4), wrong, expect=422)


async def test_a_call_error_refuses_and_an_old_charger_has_no_display(server: Server) -> None:
    async with Station201(server, "O-ERROR") as cs, Station16(server, "O-16") as cp:

        def refuse(_: Payload) -> None:
            raise Refuse("NotImplemented")

        cs.table["SetDisplayMessage"] = refuse
        await cs.boot()
        await cp.boot()
        asked = await put(server, cs, 1)
        await instruction(server, asked["instruction"]["id"], "REFUSED")
        assert "NotImplemented" in (await until_state(server, cs, 1, "refused"))["detail"]
        await server.api("GET", path(cs, 2), expect=404)
        problem = await server.api("PUT", "/api/v1/chargers/O-16/display-messages/1", {"text": "x"}, expect=422)
        assert "version" in problem["detail"]
        await server.api("GET", "/api/v1/chargers/O-16/display-messages/1", expect=404)
        assert cp.questions("SetDisplayMessage") == []
