"""The authorization list of OCPP 1.6 chargers: sent whole and in parts, kept in step, repaired when it has drifted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from running import Server, running
from wire import Station16, answered, instruction, raw, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "ocpp": {"settle_s": 0.1},
    "provisioning": {"inventory": "never"},
    "access": {"local_list_delay_s": 0.1, "master_pass_group": "MASTER"},
}
Payload = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("list16"), SETTINGS) as running_server:
        await token(running_server, "CARD")
        await token(running_server, "FLEET-1", kind="fleet", group_id="TRUCKS", expires_at="2099-01-01T00:00:00Z")
        await token(running_server, "FLEET-2", kind="fleet")
        yield running_server


class ListStation(Station16):
    """Keeps a list as the specification says."""

    def __init__(self, server: Server, identity: str) -> None:
        super().__init__(server, identity)
        self.list_version = 0
        self.tags: dict[str, Payload] = {}
        self.fails: list[str] = []  # what the next messages are answered with
        self.table["GetLocalListVersion"] = lambda _: {"listVersion": self.list_version}
        self.table["SendLocalList"] = self.take

    def take(self, said: Payload) -> Payload:
        if self.fails:
            return {"status": self.fails.pop(0)}
        if said["updateType"] == "Full":
            self.tags = {}
        for entry in said.get("localAuthorizationList", ()):
            if "idTagInfo" in entry:
                self.tags[entry["idTag"]] = entry["idTagInfo"]
            else:
                self.tags.pop(entry["idTag"], None)
        self.list_version = said["listVersion"]
        return {"status": "Accepted"}

    def sent(self) -> list[tuple[int, str, list[str]]]:
        """(version, kind, tags) of every list that was sent."""
        return [
            (one["listVersion"], one["updateType"], [entry["idTag"] for entry in one["localAuthorizationList"]])
            for one in self.questions("SendLocalList")
        ]


async def shown(server: Server, charger_id: str) -> Payload:
    found: Payload = await server.api("GET", f"/api/v1/chargers/{charger_id}/local-list")
    return found


async def until_shown(server: Server, charger_id: str, **wanted: Any) -> Payload:
    """The list's view, once it has these members."""

    async def look() -> Payload | None:
        found = await shown(server, charger_id)
        return found if all(found[name] == value for name, value in wanted.items()) else None

    fitting: Payload = await until(look)
    return fitting


async def keep(server: Server, charger_id: str, tokens: str | None) -> Payload:
    """Give the charger a rule."""
    found: Payload = await server.api("PUT", f"/api/v1/chargers/{charger_id}/local-list", {"tokens": tokens})
    return found


def uids(view: Payload) -> list[str]:
    return [entry["uid"] for entry in view["entries"]]


# -- by hand


@pytest.mark.case("1.6 TC_042_1")
async def test_tc_042_1_a_charger_without_a_list_is_not_asked_again(server: Server) -> None:
    async with ListStation(server, "L042-1") as cp:
        cp.table["GetLocalListVersion"] = {"listVersion": -1}
        await cp.boot(firmwareVersion="1.0")
        assert await answered(server, cp.id, "GetLocalListVersion", {}) == {"listVersion": -1}
        await until_shown(server, cp.id, reported_version=-1)
        await keep(server, cp.id, "all")
        await until_shown(server, cp.id, state="not-supported")
        assert len(cp.questions("GetLocalListVersion")) == 2
        await cp.close()
        await cp.connect()
        await cp.boot(firmwareVersion="1.0")
        await token(server, "CARD", "Accepted", driver="somebody else")
        cp.list_version = 0
        cp.table["GetLocalListVersion"] = lambda _: {"listVersion": cp.list_version}
        await cp.boot(firmwareVersion="2.0")  # other firmware may keep one
        await until_shown(server, cp.id, state="in-step")
        assert len(cp.questions("GetLocalListVersion")) == 3


@pytest.mark.case("1.6 TC_042_2")
async def test_tc_042_2_an_empty_list_has_version_0(server: Server) -> None:
    async with ListStation(server, "L042-2") as cp:
        await cp.boot()
        assert await answered(server, cp.id, "GetLocalListVersion", {}) == {"listVersion": 0}
        assert cp.questions("GetLocalListVersion") == [{}]
        found = await until_shown(server, cp.id, reported_version=0)
        assert (found["version"], found["entries"], found["tokens"], found["own_rule"]) == (0, [], "off", None)
        assert cp.questions("SendLocalList") == []  # nobody wants a list here


@pytest.mark.case("1.6 TC_043_1")
async def test_tc_043_1_a_list_that_is_not_supported(server: Server) -> None:
    async with ListStation(server, "L043-1") as cp:
        cp.fails = ["NotSupported"]
        await cp.boot()
        await keep(server, cp.id, "fleet")
        found = await until_shown(server, cp.id, state="not-supported")
        assert (found["version"], found["entries"]) == (0, [])
        full = {"listVersion": 1, "updateType": "Full", "localAuthorizationList": []}
        cp.fails = ["NotSupported"]
        assert await answered(server, cp.id, "SendLocalList", full) == {"status": "NotSupported"}
        assert cp.questions("SendLocalList")[1:] == [full]
        found = await shown(server, cp.id)
        assert (found["version"], found["entries"]) == (0, [])


@pytest.mark.case("1.6 TC_043_3")
async def test_tc_043_3_a_list_that_fails(server: Server) -> None:
    async with ListStation(server, "L043-3") as cp:
        cp.fails = ["Failed"]
        await cp.boot()
        await keep(server, cp.id, "fleet")
        found = await until_shown(server, cp.id, state="failed")
        assert (found["detail"], found["version"]) == ("the charger answered Failed to the whole list", 0)
        again = await server.api("POST", f"/api/v1/chargers/{cp.id}/local-list/sync", expect=202)
        assert again["charger_id"] == cp.id
        found = await until_shown(server, cp.id, state="in-step")
        assert uids(found) == ["FLEET-1", "FLEET-2"]


@pytest.mark.case("1.6 TC_043_4")
async def test_tc_043_4_the_whole_list(server: Server) -> None:
    async with ListStation(server, "L043-4") as cp:
        await cp.boot()
        await keep(server, cp.id, "fleet")
        found = await until_shown(server, cp.id, state="in-step", version=1)
        assert cp.sent() == [(1, "Full", ["FLEET-1", "FLEET-2"])]
        assert cp.tags["FLEET-1"] == {
            "status": "Accepted", "parentIdTag": "TRUCKS", "expiryDate": "2099-01-01T00:00:00.000Z",
        }  # fmt: skip
        assert cp.tags["FLEET-2"] == {"status": "Accepted"}
        assert found["entries"][0] == {
            "uid": "FLEET-1", "type": None, "status": "Accepted", "group_id": "TRUCKS",
            "expires_at": "2099-01-01T00:00:00.000Z", "evse_ids": [],
        }  # fmt: skip


@pytest.mark.case("1.6 TC_043_5")
async def test_tc_043_5_only_what_changed_after_the_whole_list(server: Server) -> None:
    async with ListStation(server, "L043-5") as cp:
        await cp.boot()
        await keep(server, cp.id, "fleet")
        await until_shown(server, cp.id, state="in-step", version=1)
        await token(server, "FLEET-9", kind="fleet")
        await until_shown(server, cp.id, version=2)
        await token(server, "FLEET-9", "Blocked", kind="fleet")
        found = await until_shown(server, cp.id, version=3)
        assert cp.sent()[1:] == [(2, "Differential", ["FLEET-9"]), (3, "Differential", ["FLEET-9"])]
        assert cp.questions("SendLocalList")[2]["localAuthorizationList"] == [{"idTag": "FLEET-9"}]
        assert uids(found) == sorted(cp.tags) == ["FLEET-1", "FLEET-2"]


# -- kept in step


async def test_a_list_that_drifted_is_sent_whole_again(server: Server) -> None:
    async with ListStation(server, "L-DRIFT") as cp:
        await cp.boot()
        await keep(server, cp.id, "fleet")
        await until_shown(server, cp.id, state="in-step", version=1)
        cp.list_version, cp.tags = 7, {"STRANGER": {"status": "Accepted"}}
        await cp.close()
        await cp.connect()
        await cp.boot()
        await until_shown(server, cp.id, version=8)
        assert cp.sent()[1:] == [(8, "Full", ["FLEET-1", "FLEET-2"])]
        assert sorted(cp.tags) == ["FLEET-1", "FLEET-2"]


@pytest.mark.parametrize("answer", ["Failed", "VersionMismatch"])
async def test_after_a_change_that_failed_the_whole_list_is_sent(server: Server, answer: str) -> None:
    async with ListStation(server, f"L-{answer}") as cp:
        await cp.boot()
        await keep(server, cp.id, "fleet")
        await until_shown(server, cp.id, state="in-step", version=1)
        cp.fails = [answer]
        await token(server, f"NEW-{answer}", kind="fleet")
        found = await until_shown(server, cp.id, version=3)
        kinds = [(version, kind) for version, kind, _ in cp.sent()]
        assert kinds == [(1, "Full"), (2, "Differential"), (3, "Full")]
        assert uids(found) == sorted(cp.tags)
        await server.api("DELETE", f"/api/v1/tokens/NEW-{answer}")
        found = await until_shown(server, cp.id, version=4)
        assert f"NEW-{answer}" not in cp.tags


async def test_a_list_that_an_operator_sent_is_known_and_put_right(server: Server) -> None:
    async with ListStation(server, "L-HAND") as cp:
        await cp.boot()
        theirs = {
            "listVersion": 4, "updateType": "Full",
            "localAuthorizationList": [
                {"idTag": "GUEST", "idTagInfo": {"status": "Accepted", "parentIdTag": "G"}},
                {"idTag": "BAD", "idTagInfo": {"status": "Blocked"}},
            ],
        }  # fmt: skip
        assert await answered(server, cp.id, "SendLocalList", theirs) == {"status": "Accepted"}
        found = await until_shown(server, cp.id, version=4)
        assert [(one["uid"], one["status"], one["group_id"]) for one in found["entries"]] == [
            ("BAD", "Blocked", None),
            ("GUEST", "Accepted", "G"),
        ]
        change = {"listVersion": 5, "updateType": "Differential", "localAuthorizationList": [{"idTag": "BAD"}]}
        await answered(server, cp.id, "SendLocalList", change)
        assert uids(await until_shown(server, cp.id, version=5)) == ["GUEST"]
        assert len(cp.questions("SendLocalList")) == 2  # nobody but the operator minds this list
        await keep(server, cp.id, "fleet")
        await until_shown(server, cp.id, version=6)
        assert sorted(cp.tags) == ["FLEET-1", "FLEET-2"]
        cp.fails = ["Failed"]
        assert (await raw(server, cp.id, "SendLocalList", theirs))["response"] == {"status": "Failed"}
        assert (await shown(server, cp.id))["version"] == 6  # what it did not take changes nothing


async def test_a_list_that_is_switched_off_is_emptied(server: Server) -> None:
    async with ListStation(server, "L-OFF") as cp:
        await cp.boot()
        await keep(server, cp.id, "fleet")
        await until_shown(server, cp.id, state="in-step", version=1)
        await keep(server, cp.id, "off")
        found = await until_shown(server, cp.id, version=2)
        assert (cp.sent()[1], cp.tags) == ((2, "Full", []), {})
        assert (found["entries"], found["own_rule"]) == ([], "off")
        await until_shown(server, cp.id, state="in-step")


async def test_messages_are_as_long_as_the_charger_takes(server: Server) -> None:
    async with ListStation(server, "L-LONG") as cp:
        told = {"SendLocalListMaxLength": "2", "LocalAuthListMaxLength": "3"}
        keys = [{"key": key, "readonly": True, "value": value} for key, value in told.items()]
        cp.table["GetConfiguration"] = {"configurationKey": keys}
        await cp.boot()
        await answered(server, cp.id, "GetConfiguration", {})
        for n in range(4):
            await token(server, f"LONG-{n}", good_at=[{"charger_id": "L-LONG"}])

        async def is_known() -> bool:
            found = await server.api("GET", f"/api/v1/chargers/{cp.id}/configuration")
            return bool(found["items"])

        await until(is_known)
        await keep(server, cp.id, "all")
        found = await until_shown(server, cp.id, state="in-step")
        # The fleet first; how many have no room is said.
        assert [(kind, tags) for _, kind, tags in cp.sent()] == [
            ("Full", ["FLEET-1", "FLEET-2"]),
            ("Differential", ["CARD"]),
        ]
        assert found["detail"] == "4 tokens have no room on it"
        for n in range(4):
            await server.api("DELETE", f"/api/v1/tokens/LONG-{n}")


async def test_what_a_charger_must_not_keep_is_not_on_its_list(server: Server) -> None:
    only = [{"charger_id": "L-WHO"}]
    await token(server, "WHO-HERE", good_at=only)
    await token(server, "WHO-ELSEWHERE", good_at=[{"charger_id": "L-043-4"}])
    await token(server, "WHO-PART", good_at=[{"charger_id": "L-WHO", "evse_ids": [1]}])  # 1.6 cannot say so
    await token(server, "WHO-OLD", good_at=only, expires_at="2020-01-01T00:00:00Z")
    await token(server, "WHO-MASTER", good_at=only, group_id="MASTER")
    await token(server, "WHO-CODE", good_at=only, type="KeyCode")
    await token(server, "WHO-IS-TOO-LONG-FOR-AN-ID-TAG", good_at=only)
    async with ListStation(server, "L-WHO") as cp:
        await cp.boot()
        await keep(server, cp.id, "all")
        await until_shown(server, cp.id, state="in-step")
        assert {tag for tag in cp.tags if tag.startswith("WHO")} == {"WHO-HERE"}


async def test_a_charger_that_is_away_is_told_when_it_is_back(server: Server) -> None:
    async with ListStation(server, "L-AWAY") as cp:
        await cp.boot()
        await keep(server, cp.id, "fleet")
        await until_shown(server, cp.id, state="in-step", version=1)
        await cp.close()
        await token(server, "AWAY", kind="fleet")
        await cp.connect()
        await until_shown(server, cp.id, version=2)
        assert "AWAY" in cp.tags
        await server.api("DELETE", "/api/v1/tokens/AWAY")
        await until_shown(server, cp.id, version=3)


async def test_the_list_of_a_restarted_server_goes_on_where_it_was(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = {**SETTINGS, "access": {**SETTINGS["access"], "local_lists": "all"}}
    async with running(tmp_path_factory.mktemp("again"), settings) as server:
        await token(server, "CARD")
        async with ListStation(server, "L-AGAIN") as cp:
            await cp.boot()
            await until_shown(server, cp.id, state="in-step", version=1, tokens="all")
            await cp.close()
            await server.stop()
            await server.start()
            await token(server, "CARD-2")
            await cp.connect()
            await cp.boot()
            await until_shown(server, cp.id, version=2)
            assert cp.sent()[1] == (2, "Differential", ["CARD-2"])


async def test_clear_cache_and_the_list_are_two_things(server: Server) -> None:
    async with ListStation(server, "L-CACHE") as cp:
        cp.table["ClearCache"] = {"status": "Accepted"}
        await cp.boot()
        await keep(server, cp.id, "fleet")
        await until_shown(server, cp.id, state="in-step", version=1)
        issued = await server.api("POST", f"/api/v1/chargers/{cp.id}/commands/clear_cache", {}, expect=202)
        await instruction(server, issued["id"], "EFFECTIVE")
        assert (await shown(server, cp.id))["version"] == 1
        assert len(cp.questions("SendLocalList")) == 1
