"""Who may charge, at stations of OCPP 2.0.1 (blocks C and D): groups, master pass, places, vehicles, local lists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from running import Server, running
from wire import Station201, answered, at, frames, session, sessions, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "ocpp": {"settle_s": 0.1},
    "provisioning": {"inventory": "never"},
    "access": {"local_list_delay_s": 0.1, "master_pass_group": "MASTER"},
}
Payload = dict[str, Any]
GROUP = {"idToken": "TRUCKS", "type": "Central"}
MEMBER = {"status": "Accepted", "groupIdToken": GROUP}
MASTER = {"status": "Accepted", "groupIdToken": {"idToken": "MASTER", "type": "Central"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("access201"), SETTINGS) as running_server:
        await token(running_server, "CARD")
        await token(running_server, "PASS", group_id="MASTER")
        for name in ("TRUCK-1", "TRUCK-2"):
            await token(running_server, name, kind="fleet", group_id="TRUCKS")
        yield running_server


class ListStation(Station201):
    """Keeps a list as the specification says."""

    def __init__(self, server: Server, identity: str) -> None:
        super().__init__(server, identity)
        self.list_version = 0
        self.tokens: dict[str, Payload] = {}
        self.fails: list[str] = []  # what the next messages are answered with
        self.table["GetLocalListVersion"] = lambda _: {"versionNumber": self.list_version}
        self.table["SendLocalList"] = self.take

    def take(self, said: Payload) -> Payload:
        if self.fails:
            return {"status": self.fails.pop(0)}
        if said["updateType"] == "Full":
            self.tokens = {}
        for entry in said.get("localAuthorizationList", ()):
            uid = entry["idToken"]["idToken"]
            if "idTokenInfo" in entry:
                self.tokens[uid] = entry
            else:
                self.tokens.pop(uid, None)
        self.list_version = said["versionNumber"]
        return {"status": "Accepted"}


def listed(uid: str, info: Payload, type_: str = "ISO14443") -> Payload:
    return {"idToken": {"idToken": uid, "type": type_}, "idTokenInfo": info}


async def until_shown(server: Server, charger_id: str, **wanted: Any) -> Payload:
    """The list's view, once it has these members."""

    async def look() -> Payload | None:
        found: Payload = await server.api("GET", f"/api/v1/chargers/{charger_id}/local-list")
        return found if all(found[name] == value for name, value in wanted.items()) else None

    fitting: Payload = await until(look)
    return fitting


async def keep(server: Server, charger_id: str, tokens: str | None) -> None:
    """Give the station a rule."""
    await server.api("PUT", f"/api/v1/chargers/{charger_id}/local-list", {"tokens": tokens})


# -- C: master pass


@pytest.mark.case("2.0.1 TC_C_47")
async def test_tc_c_47_a_master_pass_stops_every_transaction(server: Server) -> None:
    async with Station201(server, "C47") as cs:
        await cs.boot()
        for evse in (1, 2):
            await cs.event("Started", f"c47-{evse}", "Authorized", token="CARD", wh=0, evse=evse)
        assert await cs.authorize("PASS") == MASTER
        for evse in (1, 2):
            info = {"stoppedReason": "MasterPass"}
            ended = await cs.event("Ended", f"c47-{evse}", "StopAuthorized", token="PASS", wh=9, info=info, evse=evse)
            assert ended["idTokenInfo"] == MASTER
        over = await sessions(server, "C47")
        assert [(one["token"], one["open"], one["stop_reason"]) for one in over] == [("CARD", False, "MasterPass")] * 2


@pytest.mark.case("2.0.1 TC_C_48")
async def test_tc_c_48_a_master_pass_stops_the_chosen_transaction(server: Server) -> None:
    async with Station201(server, "C48") as cs:
        await cs.boot()
        for evse in (1, 2):
            await cs.event("Started", f"c48-{evse}", "Authorized", token="TRUCK-1", wh=0, evse=evse)
        assert await cs.authorize("PASS") == MASTER
        said = await cs.event("Updated", "c48-2", "StopAuthorized", token="PASS", wh=5, evse=2)
        assert said["idTokenInfo"] == MASTER
        await cs.event("Ended", "c48-2", "EVDeparted", wh=5, info={"stoppedReason": "MasterPass"}, evse=2)
        first, second = await sessions(server, "C48")
        assert (first["state"], first["token"]) == ("ACTIVE", "TRUCK-1")
        assert (second["open"], second["token"]) == (False, "TRUCK-1")


@pytest.mark.case("2.0.1 TC_C_49")
async def test_tc_c_49_a_master_pass_at_a_station_without_a_display(server: Server) -> None:
    async with Station201(server, "C49") as cs:
        await cs.boot()
        for evse, uid in ((1, "CARD"), (2, "TRUCK-1")):
            await cs.event("Started", f"c49-{evse}", "Authorized", token=uid, wh=0, evse=evse)
        assert await cs.authorize("PASS") == MASTER
        info = {"stoppedReason": "MasterPass"}
        # Nobody can choose there: all of them end, whosever they are.
        for evse in (1, 2):
            said = await cs.event("Updated", f"c49-{evse}", "StopAuthorized", token="PASS", wh=5, evse=evse)
            assert said["idTokenInfo"] == MASTER
            assert await cs.event("Ended", f"c49-{evse}", "EVCommunicationLost", wh=7, info=info, evse=evse) == {}
        over = [
            (one["token"], one["open"], one["energy_wh"], one["stop_reason"]) for one in await sessions(server, cs.id)
        ]
        assert over == [("CARD", False, 7, "MasterPass"), ("TRUCK-1", False, 7, "MasterPass")]


async def test_a_master_pass_ends_what_nobody_has_shown_a_token_for(server: Server) -> None:
    async with Station201(server, "C-NOBODY") as cs:
        await cs.boot()
        await cs.event("Started", "nobody", "CablePluggedIn", wh=0)
        assert await cs.authorize("PASS") == MASTER
        said = await cs.event("Updated", "nobody", "StopAuthorized", token="PASS", wh=0)
        assert said["idTokenInfo"] == MASTER
        assert (await session(server, cs.id))["token"] is None  # it is nobody's to charge by
        ended = await cs.event("Ended", "nobody", "StopAuthorized", token="PASS", info={"stoppedReason": "MasterPass"})
        assert ended["idTokenInfo"] == MASTER
        over = await session(server, cs.id)
        assert (over["open"], over["token"], over["stop_reason"]) == (False, None, "MasterPass")


async def test_a_master_pass_begins_nothing(server: Server) -> None:
    async with Station201(server, "C-PASS") as cs:
        await cs.boot()
        refused = await cs.event("Started", "pass", "Authorized", token="PASS", wh=0)
        assert refused["idTokenInfo"] == {**MASTER, "status": "Invalid"}
        assert (await session(server, "C-PASS"))["state"] == "STOPPING"


# -- C: places, types, key codes, other tokens


async def test_a_token_for_some_evses_is_told_which(server: Server) -> None:
    await token(server, "PART", good_at=[{"charger_id": "C-PART", "evse_ids": [1, 3]}])
    async with Station201(server, "C-PART") as here, Station201(server, "C-ELSE") as there:
        await here.boot()
        await there.boot()
        assert await here.authorize("PART") == {"status": "Accepted", "evseId": [1, 3]}
        good = await here.event("Started", "p1", "Authorized", token="PART", wh=0, evse=3)
        assert good["idTokenInfo"] == {"status": "Accepted"}
        wrong = await here.event("Started", "p2", "Authorized", token="PART", wh=0, evse=2)
        assert wrong["idTokenInfo"] == {"status": "Invalid", "evseId": [1, 3]}
        assert await there.authorize("PART") == {"status": "NotAtThisLocation"}


async def test_a_token_for_a_location_is_good_at_its_chargers(server: Server) -> None:
    await server.sell("C-SITE")
    await token(server, "RESIDENT", good_at=[{"location_id": "L-C-SITE"}])
    async with Station201(server, "C-SITE") as here, Station201(server, "C-ELSE") as there:
        await here.boot()
        await there.boot()
        assert await here.authorize("RESIDENT") == {"status": "Accepted"}
        assert await there.authorize("RESIDENT") == {"status": "NotAtThisLocation"}


async def test_a_token_for_alternating_current_is_refused_where_the_catalogue_knows_better(server: Server) -> None:
    await server.sell("C-DC")
    await token(server, "SLOW", power_types=["AC"])
    async with Station201(server, "C-DC") as cs:
        await cs.boot()

        async def is_known() -> bool:
            tx = f"t{len(cs.seq)}"
            said = await cs.event("Started", tx, "Authorized", token="SLOW", wh=0)
            await cs.event("Ended", tx, "StopAuthorized", wh=0)
            return bool(said["idTokenInfo"]["status"] == "NotAllowedTypeEVSE")

        await until(is_known)  # the catalogue is read a moment after it was put


async def test_a_key_code_is_no_card_and_is_shown_to_nobody(server: Server) -> None:
    await token(server, "4711", type="KeyCode")
    async with Station201(server, "C-CODE") as cs:
        await cs.boot()
        assert await cs.authorize("4711", "KeyCode") == {"status": "Accepted"}
        assert await cs.authorize("CARD", "KeyCode") == {"status": "Unknown"}
        said = cs.event_of("Started", "code", "Authorized", wh=0) | {"idToken": {"idToken": "4711", "type": "KeyCode"}}
        answer = await cs.ask("TransactionEvent", said)
        assert answer["idTokenInfo"] == {"status": "Accepted"}
        logged = [frame["frame"] for frame in await frames(server, cs.id)]
        assert logged
        assert "4711" not in str(logged)
        assert (await session(server, cs.id))["state"] == "ACTIVE"
        assert await cs.authorize("4711", "ISO14443") == {"status": "Unknown"}


@pytest.mark.parametrize("kind", ["Central", "eMAID", "ISO14443", "ISO15693", "Local", "MacAddress"])
async def test_a_token_of_every_type_is_authorised(server: Server, kind: str) -> None:
    async with Station201(server, f"C-{kind}") as cs:
        await cs.boot()
        assert await cs.authorize("CARD", kind) == {"status": "Accepted"}
        said = cs.event_of("Started", f"k-{kind}", "Authorized", wh=0) | {"idToken": {"idToken": "CARD", "type": kind}}
        assert (await cs.ask("TransactionEvent", said))["idTokenInfo"] == {"status": "Accepted"}


async def test_an_offline_start_is_judged_by_what_held_then(server: Server) -> None:
    await token(server, "TURNS")
    async with Station201(server, "C-THEN") as cs:
        await cs.boot()
        await token(server, "TURNS", "Blocked")
        blocked = at()
        begun = await cs.event("Started", "then", "Authorized", token="TURNS", wh=0, when=at(-60), offline=True)
        assert begun["idTokenInfo"]["status"] == "Blocked"
        assert (await session(server, cs.id))["state"] == "ACTIVE"
        await cs.event("Ended", "then", "StopAuthorized", token="TURNS", wh=5, when=at(-30), offline=True)
        await token(server, "TURNS")
        late = await cs.event("Started", "late", "Authorized", token="TURNS", wh=5, when=blocked, offline=True)
        assert late["idTokenInfo"]["status"] == "Blocked"
        assert (await sessions(server, cs.id))[1]["state"] == "STOPPING"


async def test_one_session_at_a_time_at_whatever_station(server: Server) -> None:
    await token(server, "ONE", one_session_at_a_time=True)
    async with Station201(server, "C-ONE-A") as here, Station201(server, "C-ONE-B") as there:
        await here.boot()
        await there.boot()
        await here.event("Started", "one-a", "Authorized", token="ONE", wh=0)
        assert await there.authorize("ONE") == {"status": "Accepted"}
        refused = await there.event("Started", "one-b", "Authorized", token="ONE", wh=0)
        assert refused["idTokenInfo"] == {"status": "ConcurrentTx"}


# -- C: vehicles


@pytest.mark.parametrize(
    ("kind", "number", "said"),
    [("mac", "AA:BB:CC:DD:EE:21", "AABBCCDDEE21"), ("emaid", "IN-ABC-C1234567-8", "INABCC12345678")],
)
async def test_a_vehicle_charges_on_its_token(server: Server, kind: str, number: str, said: str) -> None:
    await token(server, f"OWNER-{kind}", group_id="TRUCKS")
    await server.api("PUT", f"/api/v1/vehicles/{number}", {"kind": kind, "token": f"OWNER-{kind}", "limit_wh": 100})
    wire_type = {"mac": "MacAddress", "emaid": "eMAID"}[kind]
    async with Station201(server, f"C-CAR-{kind}") as cs:
        cs.table["RequestStopTransaction"] = {"status": "Accepted"}
        await cs.boot()
        assert await cs.authorize(said, wire_type) == MEMBER
        started = cs.event_of("Started", f"car-{kind}", "CablePluggedIn", wh=0)
        assert await cs.ask("TransactionEvent", started) == {}
        seen = cs.event_of("Updated", f"car-{kind}", "Authorized") | {"idToken": {"idToken": said, "type": wire_type}}
        assert (await cs.ask("TransactionEvent", seen))["idTokenInfo"] == MEMBER
        found = await session(server, cs.id)
        assert (found["token"], found["vehicle"], found["state"]) == (f"OWNER-{kind}", number, "ACTIVE")
        await cs.event("Updated", f"car-{kind}", "MeterValuePeriodic", wh=120)
        assert await cs.until_asked("RequestStopTransaction") == {"transactionId": f"car-{kind}"}


# -- C and D: groups with a local list


@pytest.mark.case("2.0.1 TC_C_40")
async def test_tc_c_40_a_group_on_the_local_list(server: Server) -> None:
    async with ListStation(server, "C40") as cs:
        await cs.boot()
        await keep(server, cs.id, "fleet")
        await until_shown(server, cs.id, state="in-step")
        assert cs.tokens["TRUCK-1"] == listed("TRUCK-1", MEMBER)
        assert cs.tokens["TRUCK-2"] == listed("TRUCK-2", MEMBER)
        begun = await cs.event("Started", "c40", "Authorized", token="TRUCK-1", wh=0)
        assert begun["idTokenInfo"] == MEMBER
        ended = await cs.event("Ended", "c40", "StopAuthorized", token="TRUCK-2", wh=5)
        assert ended["idTokenInfo"] == MEMBER
        over = await session(server, cs.id)
        assert (over["token"], over["open"], over["energy_wh"]) == ("TRUCK-1", False, 5)


@pytest.mark.case("2.0.1 TC_C_43")
async def test_tc_c_43_a_group_member_with_a_bad_status(server: Server) -> None:
    await token(server, "TRUCK-BAD", "Blocked", kind="fleet", group_id="TRUCKS")
    bad = {"status": "Blocked", "groupIdToken": GROUP}
    async with ListStation(server, "C43") as cs:
        await cs.boot()
        entries = [listed("TRUCK-1", MEMBER), listed("TRUCK-BAD", bad)]
        said = {"versionNumber": 1, "updateType": "Full", "localAuthorizationList": entries}
        assert await answered(server, cs.id, "SendLocalList", said) == {"status": "Accepted"}
        found = await until_shown(server, cs.id, version=1)
        assert [(one["uid"], one["status"], one["group_id"]) for one in found["entries"]] == [
            ("TRUCK-1", "Accepted", "TRUCKS"),
            ("TRUCK-BAD", "Blocked", "TRUCKS"),
        ]
        assert await cs.authorize("TRUCK-BAD") == bad
        begun = await cs.event("Started", "c43", "Authorized", token="TRUCK-BAD", wh=0)
        assert begun["idTokenInfo"] == bad
        assert (await session(server, cs.id))["state"] == "STOPPING"


# -- D: the list


@pytest.mark.case("2.0.1 TC_D_01", "2.0.1 TC_D_02", "2.0.1 TC_D_03", "2.0.1 TC_D_04")
async def test_tc_d_01_to_04_whole_changed_reduced_and_empty(server: Server) -> None:
    async with ListStation(server, "D01") as cs:
        await cs.boot()
        await keep(server, cs.id, "fleet")
        await until_shown(server, cs.id, state="in-step", version=1)
        await token(server, "TRUCK-3", kind="fleet")
        found = await until_shown(server, cs.id, version=2)
        assert [one["uid"] for one in found["entries"]] == ["TRUCK-1", "TRUCK-2", "TRUCK-3"]
        await server.api("DELETE", "/api/v1/tokens/TRUCK-3")
        found = await until_shown(server, cs.id, version=3)
        assert [one["uid"] for one in found["entries"]] == ["TRUCK-1", "TRUCK-2"]
        await keep(server, cs.id, "off")
        await until_shown(server, cs.id, version=4, entries=[])
        full, added, removed, empty = cs.questions("SendLocalList")
        members = [listed("TRUCK-1", MEMBER), listed("TRUCK-2", MEMBER)]
        assert full == {"versionNumber": 1, "updateType": "Full", "localAuthorizationList": members}
        new = listed("TRUCK-3", {"status": "Accepted"})
        assert added == {"versionNumber": 2, "updateType": "Differential", "localAuthorizationList": [new]}
        gone = {"idToken": {"idToken": "TRUCK-3", "type": "ISO14443"}}
        assert removed == {"versionNumber": 3, "updateType": "Differential", "localAuthorizationList": [gone]}
        assert empty == {"versionNumber": 4, "updateType": "Full"}
        assert cs.tokens == {}


@pytest.mark.case("2.0.1 TC_D_08")
async def test_tc_d_08_the_version_of_the_list(server: Server) -> None:
    async with ListStation(server, "D08") as cs:
        await cs.boot()
        await keep(server, cs.id, "fleet")
        await until_shown(server, cs.id, state="in-step", version=1)
        assert await answered(server, cs.id, "GetLocalListVersion", {}) == {"versionNumber": 1}
        assert cs.questions("GetLocalListVersion")[-1] == {}
        found = await until_shown(server, cs.id, reported_version=1)
        assert (found["version"], found["state"]) == (1, "in-step")
        assert len(cs.questions("SendLocalList")) == 1  # what it said is what we know


@pytest.mark.case("2.0.1 TC_D_09")
async def test_tc_d_09_the_version_of_no_list(server: Server) -> None:
    async with ListStation(server, "D09") as cs:
        await cs.boot()
        assert await answered(server, cs.id, "GetLocalListVersion", {}) == {"versionNumber": 0}
        assert cs.questions("GetLocalListVersion") == [{}]
        await until_shown(server, cs.id, reported_version=0, version=0, entries=[])


async def test_a_station_that_has_no_such_message_is_left_alone(server: Server) -> None:
    async with Station201(server, "D-NONE") as cs:
        await cs.boot()
        await keep(server, cs.id, "fleet")
        found = await until_shown(server, cs.id, state="not-supported")
        assert found["detail"] == "NotImplemented"
        await token(server, "TRUCK-1", kind="fleet", group_id="TRUCKS")
        await cs.boot()
        assert await cs.is_served()
        assert len(cs.questions("GetLocalListVersion")) == 1


async def test_messages_are_as_long_as_the_station_takes(server: Server) -> None:
    async with ListStation(server, "D-LONG") as cs:
        await cs.boot()
        asked = [
            {"component": {"name": "LocalAuthListCtrlr"}, "variable": {"name": name}}
            for name in ("ItemsPerMessage", "BytesPerMessage")
        ]
        values = dict(zip(("ItemsPerMessage", "BytesPerMessage"), ("9", "340"), strict=True))
        cs.table["GetVariables"] = lambda said: {
            "getVariableResult": [
                {**one, "attributeStatus": "Accepted", "attributeValue": values[one["variable"]["name"]]}
                for one in said["getVariableData"]
            ]
        }
        await answered(server, cs.id, "GetVariables", {"getVariableData": asked})

        async def is_known() -> bool:
            found = await server.api("GET", f"/api/v1/chargers/{cs.id}/configuration")
            return len(found["items"]) == 2

        await until(is_known)
        await keep(server, cs.id, "fleet")
        await until_shown(server, cs.id, state="in-step")
        sent = [len(one["localAuthorizationList"]) for one in cs.questions("SendLocalList")]
        assert sent == [1, 1]  # of these a message of 340 bytes carries one
        assert sorted(cs.tokens) == ["TRUCK-1", "TRUCK-2"]


@pytest.mark.case("2.0.1 TC_N_46")
async def test_tc_n_46_a_cleared_customer_leaves_the_list(server: Server) -> None:
    await token(server, "TRUCK-N", kind="fleet", driver="N. Driver")
    async with ListStation(server, "N46") as cs:
        cs.table["CustomerInformation"] = {"status": "Accepted"}
        await cs.boot()
        await keep(server, cs.id, "fleet")
        await until_shown(server, cs.id, state="in-step", version=1)
        assert "TRUCK-N" in cs.tokens
        who = {"idToken": {"idToken": "TRUCK-N", "type": "ISO14443"}}
        asked = {"requestId": 46, "report": True, "clear": True, **who}
        assert await answered(server, cs.id, "CustomerInformation", asked) == {"status": "Accepted"}
        told = {"data": "N. Driver", "seqNo": 0, "generatedAt": at(), "requestId": 46, "tbc": False}
        assert await cs.ask("NotifyCustomerInformation", told) == {}
        await until_shown(server, cs.id, version=2)
        update = cs.questions("SendLocalList")[1]
        assert update == {"versionNumber": 2, "updateType": "Differential", "localAuthorizationList": [who]}
        await token(server, "TRUCK-2", kind="fleet", group_id="TRUCKS", expires_at="2099-01-01T00:00:00Z")
        await until_shown(server, cs.id, version=3)
        assert "TRUCK-N" not in cs.tokens  # and stays away
        await token(server, "TRUCK-2", kind="fleet", group_id="TRUCKS")
        await token(server, "TRUCK-N", kind="fleet", driver="N. Driver")

        async def is_back() -> bool:
            return "TRUCK-N" in cs.tokens

        await until(is_back)  # put again, it is wanted again
        await server.api("DELETE", "/api/v1/tokens/TRUCK-N")


async def test_a_customer_that_is_cleared_by_name_leaves_a_list_sent_by_hand(server: Server) -> None:
    await token(server, "NAMED", driver="C-77")
    async with ListStation(server, "N46-HAND") as cs:
        cs.table["CustomerInformation"] = {"status": "Accepted"}
        await cs.boot()
        entries = [listed("NAMED", {"status": "Accepted"}), listed("CARD", {"status": "Accepted"})]
        said = {"versionNumber": 5, "updateType": "Full", "localAuthorizationList": entries}
        await answered(server, cs.id, "SendLocalList", said)
        await until_shown(server, cs.id, version=5)
        asked = {"requestId": 47, "report": False, "clear": True, "customerIdentifier": "C-77"}
        await answered(server, cs.id, "CustomerInformation", asked)
        found = await until_shown(server, cs.id, version=6)
        assert [one["uid"] for one in found["entries"]] == list(cs.tokens) == ["CARD"]
