"""Passwords and secrets: who gets in, how a password is changed without locking a charger out, what is never shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from running import Server, running
from websockets.exceptions import InvalidStatus
from wire import Payload, Reply, Station, Station16, Station201, answered, charger, frames, raw

pytestmark = pytest.mark.asyncio(loop_scope="module")

OLD = "the-old-password-0001"
NEW = "the-new-password-0002"
VARIABLE = {"component": {"name": "SecurityCtrlr"}, "variable": {"name": "BasicAuthPassword"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("security")) as running_server:
        yield running_server


async def admits(station: Station, password: str | None) -> bool:
    """Whether the charger may come with this password."""
    other = Station(station.server, station.id, station.version, password=password)
    try:
        async with other:
            return True
    except InvalidStatus as refused:
        return refused.response.status_code != 401


def stations(server: Server, name: str) -> list[Station]:
    return [Station16(server, f"{name}-16", password=OLD), Station201(server, f"{name}-201", password=OLD)]


def says(station: Station, status: str) -> tuple[str, Reply]:
    """The action that sets the password, and an answer with this status."""
    if station.version == "ocpp1.6":
        return "ChangeConfiguration", {"status": status}
    return "SetVariables", {"setVariableResult": [{"attributeStatus": status, **VARIABLE}]}


async def rotate(server: Server, charger_id: str, **body: object) -> Payload:
    found: Payload = await server.api("POST", f"/api/v1/chargers/{charger_id}/credentials", body)
    return found


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(0, marks=pytest.mark.case("1.6 TC_073"), id="1.6"),
        pytest.param(1, marks=pytest.mark.case("2.0.1 TC_A_09"), id="2.0.1"),
    ],
)
async def test_after_an_accepted_rotation_only_the_new_password_works(server: Server, number: int) -> None:
    station = stations(server, "ACCEPTS")[number]
    await server.api("POST", "/api/v1/chargers", {"id": station.id, "password": OLD})
    async with station:
        action, reply = says(station, "Accepted")
        station.table[action] = reply
        outcome = await rotate(server, station.id, password=NEW)
        assert (outcome["status"], outcome["changed"]) == ("Accepted", True)
        assert NEW not in str(outcome)
        (asked,) = station.questions(action)
        if number == 0:
            assert asked == {"key": "AuthorizationKey", "value": NEW}
        else:
            assert asked == {"setVariableData": [{**VARIABLE, "attributeValue": NEW}]}
        assert (await charger(server, station.id))["online"] is True  # the link stands
    assert await admits(station, NEW)
    assert not await admits(station, OLD)


@pytest.mark.parametrize(
    "number", [pytest.param(0, id="1.6"), pytest.param(1, marks=pytest.mark.case("2.0.1 TC_A_10"), id="2.0.1")]
)
@pytest.mark.parametrize("status", ["Rejected", "NotSupported"])
async def test_after_a_refused_rotation_only_the_old_password_works(server: Server, number: int, status: str) -> None:
    station = stations(server, f"REFUSES-{status}")[number]
    await server.api("POST", "/api/v1/chargers", {"id": station.id, "password": OLD})
    async with station:
        word = status if number == 0 or status == "Rejected" else "NotSupportedAttributeType"
        action, reply = says(station, word)
        station.table[action] = reply
        outcome = await rotate(server, station.id, password=NEW)
        assert (outcome["status"], outcome["changed"], outcome["pending"]) == (word, False, False)
        (asked,) = station.questions(action)
        assert NEW in str(asked)  # it was asked, and said no
    assert await admits(station, OLD)
    assert not await admits(station, NEW)


async def test_while_the_charger_has_not_answered_both_passwords_work(server: Server) -> None:
    station = Station16(server, "WAITS", password=OLD)
    await server.api("POST", "/api/v1/chargers", {"id": "WAITS", "password": OLD})
    async with station:
        station.table["ChangeConfiguration"] = None
        rotating = asyncio.create_task(rotate(server, "WAITS", password=NEW))
        await station.until_asked("ChangeConfiguration")
        await station.cut()  # it may have taken the new one, or not
        outcome = await rotating
        assert (outcome["status"], outcome["changed"], outcome["pending"]) == ("offline", False, True)
        assert await admits(station, OLD)
        assert await admits(station, NEW)
        assert not await admits(station, OLD)  # it came with the new one, so it had taken it


@pytest.mark.parametrize("number", [pytest.param(0, id="1.6"), pytest.param(1, id="2.0.1")])
async def test_after_an_answer_nobody_understands_both_passwords_work(server: Server, number: int) -> None:
    station = stations(server, "MUMBLES")[number]
    await server.api("POST", "/api/v1/chargers", {"id": station.id, "password": OLD})
    async with station:
        action, _ = says(station, "")
        for nonsense in ({}, {"status": ["Accepted"]}, {"setVariableResult": []}, {"setVariableResult": [None]}):
            station.table[action] = nonsense
            outcome = await rotate(server, station.id, password=NEW)
            assert (outcome["status"], outcome["changed"], outcome["pending"]) == ("Unreadable", False, True)
    assert await admits(station, OLD)
    assert await admits(station, NEW)


async def test_one_change_of_a_password_at_a_time_and_a_refused_one_forgets_no_other(server: Server) -> None:
    station = Station16(server, "TWICE", password=OLD)
    await server.api("POST", "/api/v1/chargers", {"id": "TWICE", "password": OLD})
    async with station:
        station.table["ChangeConfiguration"] = None
        rotating = asyncio.create_task(rotate(server, "TWICE", password=NEW))
        await station.until_asked("ChangeConfiguration")
        await server.api("POST", "/api/v1/chargers/TWICE/credentials", {"password": f"{NEW}-b"}, expect=409)
        await station.cut()  # it has taken the new one; its word for it was lost
        assert (await rotating)["pending"] is True
    async with station:
        station.table["ChangeConfiguration"] = {"status": "Rejected"}
        assert (await rotate(server, "TWICE", password=f"{NEW}-c"))["pending"] is False
    assert await admits(station, NEW)


async def test_a_password_that_needs_a_reboot_is_not_forgotten_before_it(server: Server) -> None:
    station = Station16(server, "REBOOTS", password=OLD)
    await server.api("POST", "/api/v1/chargers", {"id": "REBOOTS", "password": OLD})
    async with station:
        station.table["ChangeConfiguration"] = {"status": "RebootRequired"}
        outcome = await rotate(server, "REBOOTS")
        assert (outcome["status"], outcome["pending"]) == ("RebootRequired", True)
    assert await admits(station, OLD)
    assert await admits(station, outcome["password"])
    assert not await admits(station, OLD)


async def test_a_password_made_here_is_shown_once(server: Server) -> None:
    await server.api("POST", "/api/v1/chargers", {"id": "MADE", "password": OLD})
    outcome = await rotate(server, "MADE", push=False)
    station = Station16(server, "MADE")
    assert await admits(station, outcome["password"])
    assert not await admits(station, OLD)
    assert outcome["password"] not in str(await charger(server, "MADE"))


async def test_a_rotation_that_cannot_reach_the_charger_changes_nothing(server: Server) -> None:
    await server.api("POST", "/api/v1/chargers", {"id": "AWAY", "password": OLD})
    await server.api("POST", "/api/v1/chargers/AWAY/credentials", {"password": NEW}, expect=409)
    station = Station16(server, "AWAY")
    assert await admits(station, OLD)
    assert not await admits(station, NEW)
    await server.api("POST", "/api/v1/chargers/AWAY/credentials", {"password": "short", "push": False}, expect=422)
    await server.api("POST", "/api/v1/chargers/NOBODY/credentials", {"password": NEW}, expect=404)


async def test_a_charger_of_a_tls_profile_is_not_served_without_tls(server: Server) -> None:
    for profile in (2, 3):
        body = {"id": f"TLS-{profile}", "password": OLD, "security_profile": profile}
        await server.api("POST", "/api/v1/chargers", body)
        with pytest.raises(InvalidStatus) as refused:
            await Station16(server, f"TLS-{profile}", password=OLD).connect()
        assert refused.value.response.status_code == 403


async def test_a_password_taken_away_lets_the_charger_in_again_only_without_a_profile(server: Server) -> None:
    await server.api("POST", "/api/v1/chargers", {"id": "TAKEN", "password": OLD})
    station = Station16(server, "TAKEN")
    assert not await admits(station, None)
    await server.api("PATCH", "/api/v1/chargers/TAKEN", {"password": None})
    assert not await admits(station, None)
    assert not await admits(station, OLD)
    await server.api("PATCH", "/api/v1/chargers/TAKEN", {"security_profile": 0})
    assert await admits(station, None)


# -- what is never shown


async def test_secrets_in_frames_of_both_directions_are_masked(server: Server) -> None:
    secret = "hunter2-hunter2-hunter2"
    async with Station16(server, "MASK-16") as cp, Station201(server, "MASK-201") as cs:
        await cp.boot()
        await cs.boot()
        cp.table["ChangeConfiguration"] = {"status": "Accepted"}
        shown = [{"key": "AuthorizationKey", "readonly": False, "value": secret}]
        cp.table["GetConfiguration"] = {"configurationKey": shown}
        result = {"attributeStatus": "Accepted", "attributeValue": secret, **VARIABLE}
        cs.table["GetVariables"] = {"getVariableResult": [result]}
        cs.table["SetVariables"] = {"setVariableResult": [{"attributeStatus": "Accepted", **VARIABLE}]}
        said = [
            await raw(server, "MASK-16", "ChangeConfiguration", {"key": "AuthorizationKey", "value": secret}),
            await raw(server, "MASK-16", "GetConfiguration", {}),
            await raw(server, "MASK-201", "GetVariables", {"getVariableData": [VARIABLE]}),
            await raw(
                server, "MASK-201", "SetVariables", {"setVariableData": [{**VARIABLE, "attributeValue": secret}]}
            ),
        ]
        assert [outcome["status"] for outcome in said] == ["answered"] * 4
        for charger_id in ("MASK-16", "MASK-201"):
            logged = await frames(server, charger_id)
            assert {frame["direction"] for frame in logged} == {"in", "out"}
            issued = await server.api("GET", f"/api/v1/instructions?charger_id={charger_id}")
            assert len(issued["items"]) == 2
            said += [*logged, issued]
        assert secret not in str(said)
        assert "***" in str(said)


async def test_the_log_holds_no_password(server: Server) -> None:
    await server.api("POST", "/api/v1/chargers", {"id": "LOGGED", "password": OLD})
    station = Station16(server, "LOGGED", password=OLD)
    async with station:
        station.table["ChangeConfiguration"] = {"status": "Accepted"}
        shown = {"key": "AuthorizationKey", "readonly": False, "value": NEW}
        station.table["GetConfiguration"] = {"configurationKey": [shown]}
        await rotate(server, "LOGGED", password=NEW)
        assert station.questions("ChangeConfiguration") == [{"key": "AuthorizationKey", "value": NEW}]
        await raw(server, "LOGGED", "GetConfiguration", {})
    assert not await admits(station, "a-wrong-password-0003")
    log = server.log.read_text()
    assert not [word for word in (OLD, NEW, "a-wrong-password-0003") if word in log]
    for path in sorted(server.data_dir.rglob("*.db*")):
        stored = path.read_bytes()
        assert OLD.encode() not in stored  # a hash is kept, never the word
        assert f'"value":"{NEW}"'.encode() not in stored  # nor in the message that took it to the charger


async def test_no_answer_of_the_api_without_its_key(server: Server) -> None:
    async with Station16(server, "KEYLESS") as cp, aiohttp.ClientSession() as http:
        await cp.boot()
        for method, path in (
            ("GET", "/api/v1/chargers/KEYLESS/frames"),
            ("POST", "/api/v1/chargers/KEYLESS/ocpp/ClearCache"),
            ("POST", "/api/v1/chargers/KEYLESS/commands/reset"),
            ("POST", "/api/v1/chargers/KEYLESS/credentials"),
        ):
            for headers in ({}, {"Authorization": "Bearer wrong"}):
                async with http.request(method, server.urls["api"] + path, headers=headers, json={}) as answer:
                    assert answer.status == 401
        assert cp.asked == []
        cp.table["ClearCache"] = {"status": "Accepted"}
        assert await answered(server, "KEYLESS", "ClearCache", {}) == {"status": "Accepted"}
