"""OCPP 1.6 smart charging: profiles set, cleared, asked about, and the shadow of them (cases 056 to 067)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from running import Server, running
from wire import Refuse, Station16, answered, command, instruction, session, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCEPTED = {"status": "Accepted"}
Json = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("profiles16")) as running_server:
        await token(running_server, "TAG")
        yield running_server


def profile(number: int, purpose: str = "TxDefaultProfile", **more: Any) -> Json:
    """As an operator keeps it, in 1.6's shape."""
    made: Json = {
        "chargingProfileId": number, "stackLevel": 0, "chargingProfilePurpose": purpose,
        "chargingProfileKind": "Relative",
        "chargingSchedule": {"chargingRateUnit": "W", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 6000}]},
    }  # fmt: skip
    return made | more


async def put(server: Server, charger_id: str, body: Json) -> Json:
    """Set a profile; the instruction's fate."""
    issued = await server.api("POST", f"/api/v1/chargers/{charger_id}/charging-profiles", body, expect=202)
    return await fate(server, issued)


async def fate(server: Server, issued: Json) -> Json:
    async def over() -> Json | None:
        found = await instruction(server, issued["id"])
        return found if found["state"] in {"EFFECTIVE", "REFUSED", "EXPIRED"} else None

    found: Json = await until(over)
    return found


async def refused(server: Server, charger_id: str, body: Json, status: int = 422) -> str:
    path = f"/api/v1/chargers/{charger_id}/charging-profiles"
    return str((await server.api("POST", path, body, expect=status))["detail"])


async def shadow(server: Server, charger_id: str) -> list[tuple[int, int, str]]:
    found = await server.api("GET", f"/api/v1/chargers/{charger_id}/charging-profiles")
    return [(one["evse_id"], one["profile_id"], one["purpose"]) for one in found["items"]]


async def until_shadow(server: Server, charger_id: str, wanted: list[tuple[int, int, str]]) -> None:
    async def is_so() -> bool:
        return await shadow(server, charger_id) == wanted

    await until(is_so)


async def booted(cp: Station16) -> Station16:
    await cp.boot()
    await cp.status("Available")
    cp.table |= dict.fromkeys(["SetChargingProfile", "ClearChargingProfile", "RemoteStartTransaction"], ACCEPTED)
    return cp


@pytest.mark.case("1.6 TC_056")
async def test_tc_056_a_default_profile(server: Server) -> None:
    async with Station16(server, "P056") as cp:
        await booted(cp)
        await server.api("PUT", "/api/v1/charging-profiles/56", {"description": "day", **profile(56)})
        done = await put(server, "P056", {"profile_id": 56, "connector_id": 1})
        assert (done["state"], done["reason"]) == ("EFFECTIVE", "Accepted")
        assert cp.questions("SetChargingProfile") == [{"connectorId": 1, "csChargingProfiles": profile(56)}]
        await until_shadow(server, "P056", [(1, 56, "TxDefaultProfile")])
        started = await cp.start("TAG", 0)
        await cp.stop(started["transactionId"], 500)
        assert (await session(server, "P056"))["open"] is False
        assert await shadow(server, "P056") == [(1, 56, "TxDefaultProfile")]  # a default outlives its sessions


@pytest.mark.case("1.6 TC_057")
async def test_tc_057_a_profile_of_the_running_transaction(server: Server) -> None:
    async with Station16(server, "P057") as cp:
        await booted(cp)
        await server.api("PUT", "/api/v1/charging-profiles/57", profile(57, "TxProfile"))
        early = await refused(server, "P057", {"profile_id": 57, "connector_id": 1}, 409)
        assert "running transaction" in early
        number = (await cp.start("TAG", 0))["transactionId"]
        await put(server, "P057", {"profile_id": 57, "connector_id": 1})
        (asked,) = cp.questions("SetChargingProfile")
        assert asked == {
            "connectorId": 1, "csChargingProfiles": {**profile(57, "TxProfile"), "transactionId": number},
        }  # fmt: skip
        await until_shadow(server, "P057", [(1, 57, "TxProfile")])
        found = (await server.api("GET", "/api/v1/chargers/P057/charging-profiles"))["items"]
        assert [one["transaction_id"] for one in found] == [str(number)]
        await cp.stop(number, 500)
        await until_shadow(server, "P057", [])  # it ends with its transaction


@pytest.mark.case("1.6 TC_059")
async def test_tc_059_a_remote_start_with_a_profile(server: Server) -> None:
    async with Station16(server, "P059") as cp:
        await booted(cp)
        asked_for = await command(server, "P059", "start", {"token": "TAG", "connector_id": 1, "watts": 6000})
        sent = (await cp.until_asked("RemoteStartTransaction"))["chargingProfile"]
        assert (sent["chargingProfilePurpose"], "transactionId" in sent) == ("TxProfile", False)
        assert sent["chargingSchedule"]["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": 6000.0}]
        number = (await cp.start("TAG", 0))["transactionId"]
        await instruction(server, asked_for, "EFFECTIVE")

        async def bound() -> bool:
            items = (await server.api("GET", "/api/v1/chargers/P059/charging-profiles"))["items"]
            return [one["transaction_id"] for one in items] == [str(number)]

        await until(bound)
        await cp.stop(number, 10)
        await until_shadow(server, "P059", [])


@pytest.mark.case("1.6 TC_066")
async def test_tc_066_the_composite_schedule(server: Server) -> None:
    async with Station16(server, "P066") as cp:
        await booted(cp)
        periods = [{"startPeriod": 0, "limit": 11000}]
        schedule = {"duration": 300, "chargingRateUnit": "W", "chargingSchedulePeriod": periods}
        said = {"status": "Accepted", "connectorId": 1, "chargingSchedule": schedule}
        cp.table["GetCompositeSchedule"] = said
        path = "/api/v1/chargers/P066/composite-schedule"
        issued = await server.api("POST", path, {"connector_id": 1, "duration_s": 300, "unit": "W"}, expect=202)
        assert (await fate(server, issued))["response"] == said
        assert cp.questions("GetCompositeSchedule") == [{"connectorId": 1, "duration": 300, "chargingRateUnit": "W"}]
        cp.table["GetCompositeSchedule"] = {"status": "Rejected"}
        issued = await server.api("POST", path, {"duration_s": 60}, expect=202)
        assert (await fate(server, issued))["state"] == "REFUSED"
        assert cp.questions("GetCompositeSchedule")[1] == {"connectorId": 0, "duration": 60}


@pytest.mark.case("1.6 TC_067")
async def test_tc_067_profiles_are_cleared(server: Server) -> None:
    async with Station16(server, "P067") as cp:
        await booted(cp)
        for number, level in ((671, 0), (672, 1)):
            body = {"profile": profile(number, stackLevel=level), "connector_id": 1}
            assert (await put(server, "P067", body))["state"] == "EFFECTIVE"
        await until_shadow(server, "P067", [(1, 671, "TxDefaultProfile"), (1, 672, "TxDefaultProfile")])
        clear = "/api/v1/chargers/P067/charging-profiles/clear"
        issued = await server.api("POST", clear, {"profile_id": 671}, expect=202)
        assert (await fate(server, issued))["state"] == "EFFECTIVE"
        assert cp.questions("ClearChargingProfile") == [{"id": 671}]
        await until_shadow(server, "P067", [(1, 672, "TxDefaultProfile")])
        cp.table["ClearChargingProfile"] = {"status": "Unknown"}
        wanted = {"connector_id": 1, "purpose": "TxDefaultProfile", "stack_level": 1}
        issued = await server.api("POST", clear, wanted, expect=202)
        assert (await fate(server, issued))["reason"] == "Unknown"  # it is gone already, which was wanted
        await until_shadow(server, "P067", [])
        asked = {"connectorId": 1, "chargingProfilePurpose": "TxDefaultProfile", "stackLevel": 1}
        assert cp.questions("ClearChargingProfile")[1] == asked


# -- beyond the cases


async def test_the_shadow_follows_the_wire_whoever_asked(server: Server) -> None:
    async with Station16(server, "PRAW") as cp:
        await booted(cp)
        sent = {"connectorId": 1, "csChargingProfiles": profile(1)}
        await answered(server, "PRAW", "SetChargingProfile", sent)
        await until_shadow(server, "PRAW", [(1, 1, "TxDefaultProfile")])
        # The same number, or the same purpose and level at the same place, replaces.
        await answered(server, "PRAW", "SetChargingProfile", {**sent, "connectorId": 2})
        await until_shadow(server, "PRAW", [(2, 1, "TxDefaultProfile")])
        await answered(server, "PRAW", "SetChargingProfile", {"connectorId": 2, "csChargingProfiles": profile(2)})
        await until_shadow(server, "PRAW", [(2, 2, "TxDefaultProfile")])
        cp.table["SetChargingProfile"] = {"status": "Rejected"}
        await answered(server, "PRAW", "SetChargingProfile", {"connectorId": 1, "csChargingProfiles": profile(3)})
        await answered(server, "PRAW", "ClearChargingProfile", {})
        await until_shadow(server, "PRAW", [])


async def test_a_profile_that_must_not_be_sent_is_not_sent(server: Server) -> None:
    async with Station16(server, "PNOT") as cp:
        await booted(cp)
        late = {
            "chargingSchedule": {"chargingRateUnit": "W", "chargingSchedulePeriod": [{"startPeriod": 5, "limit": 1}]}
        }
        choices = [profile(1)["chargingSchedule"]] * 2
        for body in (
            {"profile": profile(1, "ChargePointMaxProfile", chargingProfileKind="Absolute"), "connector_id": 1},
            {"profile": profile(1, "ChargePointMaxProfile")},
            {"profile": profile(1, "ChargingStationExternalConstraints"), "connector_id": 1},
            {"profile": profile(1, **late), "connector_id": 1},
            {"profile": profile(1, chargingSchedule=choices), "connector_id": 1},
            {"profile": profile(1, chargingProfileKind="Recurring"), "connector_id": 1},
        ):
            await refused(server, "PNOT", body)
        assert cp.questions("SetChargingProfile") == []
        await put(server, "PNOT", {"profile": profile(1), "connector_id": 1})
        await until_shadow(server, "PNOT", [(1, 1, "TxDefaultProfile")])
        assert "Profile 1" in await refused(server, "PNOT", {"profile": profile(2), "connector_id": 1}, 409)
        await put(server, "PNOT", {"profile": profile(1), "connector_id": 1})  # its own number replaces it
        assert len(cp.questions("SetChargingProfile")) == 2


async def test_limits_without_a_session_are_for_the_connector_or_the_charger(server: Server) -> None:
    async with Station16(server, "PLIMIT") as cp:
        await booted(cp)
        await instruction(
            server, await command(server, "PLIMIT", "limit", {"amperes": 16, "connector_id": 1}), "EFFECTIVE"
        )
        await instruction(server, await command(server, "PLIMIT", "limit", {"watts": 9000}), "EFFECTIVE")
        first, second = cp.questions("SetChargingProfile")
        assert (first["connectorId"], first["csChargingProfiles"]["chargingProfilePurpose"]) == (1, "TxDefaultProfile")
        assert first["csChargingProfiles"]["chargingSchedule"]["chargingRateUnit"] == "A"
        assert (second["connectorId"], second["csChargingProfiles"]["chargingProfilePurpose"]) == (
            0,
            "ChargePointMaxProfile",
        )
        assert second["csChargingProfiles"]["chargingSchedule"]["startSchedule"]


async def test_a_charger_without_smart_charging_says_so(server: Server) -> None:
    async with Station16(server, "PNONE") as cp:
        await booted(cp)

        def no(_: Json) -> None:
            raise Refuse("NotSupported")

        cp.table["SetChargingProfile"] = no
        done = await put(server, "PNONE", {"profile": profile(1), "connector_id": 1})
        assert (done["state"], done["reason"]) == ("REFUSED", "NotSupported")
        assert await shadow(server, "PNONE") == []
        read = "/api/v1/chargers/PNONE/charging-profiles/read"
        await server.api("POST", read, {"purpose": "TxProfile"}, expect=422)  # 1.6 cannot be asked
