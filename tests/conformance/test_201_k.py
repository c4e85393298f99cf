"""OCPP 2.0.1 block K: charging profiles, their shadow, and what cars need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from running import Server, running
from wire import Refuse, Station201, answered, at, command, instruction, token, until

from csms.domain.charging_profile import OURS

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCEPTED = {"status": "Accepted"}
DEFAULT, STATION, TX = "TxDefaultProfile", "ChargingStationMaxProfile", "TxProfile"
EXTERNAL = "ChargingStationExternalConstraints"
Json = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("k")) as running_server:
        await token(running_server, "TOKEN")
        yield running_server


def profile(number: int, purpose: str = DEFAULT, kind: str = "Absolute", *, level: int = 0, **more: Any) -> Json:
    """As an operator keeps it, in 2.0.1's shape."""
    schedule: Json = {
        "id": 1, "chargingRateUnit": "A",
        "chargingSchedulePeriod": [
            {"startPeriod": 0, "limit": 10, "numberPhases": 3}, {"startPeriod": 3600, "limit": 6.5, "numberPhases": 3},
        ],
    }  # fmt: skip
    if kind != "Relative":
        schedule["startSchedule"] = "2026-01-01T00:00:00.000Z"
    if kind == "Recurring":
        more = {"recurrencyKind": "Daily", **more}
        schedule["duration"] = 86400
    return {
        "id": number, "stackLevel": level, "chargingProfilePurpose": purpose, "chargingProfileKind": kind,
        "chargingSchedule": [schedule], **more,
    }  # fmt: skip


async def fate(server: Server, issued: Json) -> Json:
    async def over() -> Json | None:
        found = await instruction(server, issued["id"])
        return found if found["state"] in {"EFFECTIVE", "REFUSED", "EXPIRED"} else None

    found: Json = await until(over)
    return found


async def post(server: Server, cs: Station201, what: str, body: Json) -> Json:
    """`charging-profiles`, `…/clear`, `…/read` or `composite-schedule`; the instruction's fate."""
    return await fate(server, await server.api("POST", f"/api/v1/chargers/{cs.id}/{what}", body, expect=202))


async def put(server: Server, cs: Station201, what: Json, **more: Any) -> Json:
    return await post(server, cs, "charging-profiles", {"profile": what, **more})


async def items(server: Server, charger_id: str) -> list[Json]:
    found: list[Json] = (await server.api("GET", f"/api/v1/chargers/{charger_id}/charging-profiles"))["items"]
    return found


async def until_shadow(server: Server, charger_id: str, *wanted: tuple[int, int, str]) -> list[Json]:
    """Wait until the shadow holds exactly these (EVSE, number, purpose)."""

    async def look() -> list[Json] | bool:
        found = await items(server, charger_id)
        here = [(one["evse_id"], one["profile_id"], one["purpose"]) for one in found]
        return (found or True) if here == list(wanted) else False

    found: list[Json] | bool = await until(look)
    return found if isinstance(found, list) else []


async def booted(cs: Station201, evses: int = 1) -> None:
    await cs.boot()
    for evse in range(1, evses + 1):
        await cs.status("Available", evse)
    asked = ["SetChargingProfile", "ClearChargingProfile", "GetChargingProfiles", "RequestStartTransaction"]
    cs.table |= dict.fromkeys(asked, ACCEPTED)


async def charging(cs: Station201, tx: str) -> None:
    await cs.event("Started", tx, "Authorized", token="TOKEN", wh=0, info={"chargingState": "Charging"})


# -- set


@pytest.mark.case("2.0.1 TC_K_01")
async def test_tc_k_01_a_default_profile_for_an_evse(server: Server) -> None:
    async with Station201(server, "K01") as cs:
        await booted(cs)
        await server.api("PUT", "/api/v1/charging-profiles/1", {"description": "K01", **profile(1)})
        body = {"profile_id": 1, "evse_id": 1}
        assert (await post(server, cs, "charging-profiles", body))["state"] == "EFFECTIVE"
        assert cs.questions("SetChargingProfile") == [{"evseId": 1, "chargingProfile": profile(1)}]
        (kept,) = await until_shadow(server, "K01", (1, 1, DEFAULT))
        assert (kept["origin"], kept["source"], kept["profile"]) == ("csms", "CSO", profile(1))


@pytest.mark.case("2.0.1 TC_K_60")
async def test_tc_k_60_a_profile_of_the_running_transaction(server: Server) -> None:
    async with Station201(server, "K60") as cs:
        await booted(cs)
        path = "/api/v1/chargers/K60/charging-profiles"
        await server.api("POST", path, {"profile": profile(60, TX, "Relative"), "evse_id": 1}, expect=409)
        await charging(cs, "tx-k60")
        await put(server, cs, profile(60, TX, "Relative"), evse_id=1)
        (asked,) = cs.questions("SetChargingProfile")
        assert asked == {"evseId": 1, "chargingProfile": {**profile(60, TX, "Relative"), "transactionId": "tx-k60"}}
        (kept,) = await until_shadow(server, "K60", (1, 60, TX))
        assert kept["transaction_id"] == "tx-k60"
        await cs.event("Ended", "tx-k60", "StopAuthorized", wh=10, info={"stoppedReason": "Local"})
        await until_shadow(server, "K60")


@pytest.mark.case("2.0.1 TC_K_03")
async def test_tc_k_03_a_limit_of_the_whole_station(server: Server) -> None:
    async with Station201(server, "K03") as cs:
        await booted(cs)
        await put(server, cs, profile(3, STATION))
        assert cs.questions("SetChargingProfile") == [{"evseId": 0, "chargingProfile": profile(3, STATION)}]
        await until_shadow(server, "K03", (0, 3, STATION))
        path = "/api/v1/chargers/K03/charging-profiles"
        for wrong in (
            {"profile": profile(4, STATION), "evse_id": 1},  # of one EVSE
            {"profile": profile(4, STATION, "Relative")},  # relative to nothing
            {"profile": profile(4, EXTERNAL)},  # not ours to set
        ):
            await server.api("POST", path, wrong, expect=422)
        assert len(cs.questions("SetChargingProfile")) == 1


@pytest.mark.case("2.0.1 TC_K_10")
async def test_tc_k_10_a_default_profile_for_all_evses(server: Server) -> None:
    async with Station201(server, "K10") as cs:
        await booted(cs, 2)
        await put(server, cs, profile(10))
        assert cs.questions("SetChargingProfile") == [{"evseId": 0, "chargingProfile": profile(10)}]
        await until_shadow(server, "K10", (0, 10, DEFAULT))


@pytest.mark.case("2.0.1 TC_K_19")
async def test_tc_k_19_a_recurring_profile(server: Server) -> None:
    async with Station201(server, "K19") as cs:
        await booted(cs)
        await put(server, cs, profile(19, kind="Recurring"), evse_id=1)
        assert cs.questions("SetChargingProfile")[0]["chargingProfile"] == profile(19, kind="Recurring")
        await until_shadow(server, "K19", (1, 19, DEFAULT))


@pytest.mark.case("2.0.1 TC_K_15")
async def test_tc_k_15_a_station_without_smart_charging(server: Server) -> None:
    async with Station201(server, "K15") as cs:
        await booted(cs)

        def no(_: Json) -> None:
            raise Refuse("NotSupported")

        cs.table["SetChargingProfile"] = no
        done = await put(server, cs, profile(15), evse_id=1)
        assert (done["state"], done["reason"]) == ("REFUSED", "NotSupported")
        await until_shadow(server, "K15")
        assert await cs.is_served()


@pytest.mark.case("2.0.1 TC_K_70")
async def test_tc_k_70_two_profiles(server: Server) -> None:
    async with Station201(server, "K70") as cs:
        await booted(cs)
        await charging(cs, "tx-k70")
        of_the_station, of_the_session = profile(70, STATION), profile(71, TX, "Relative", level=1)
        for issued in (await put(server, cs, of_the_station), await put(server, cs, of_the_session, evse_id=1)):
            assert (issued["state"], issued["response"]) == ("EFFECTIVE", ACCEPTED)
        assert cs.questions("SetChargingProfile") == [
            {"evseId": 0, "chargingProfile": of_the_station},
            {"evseId": 1, "chargingProfile": {**of_the_session, "transactionId": "tx-k70"}},
        ]
        _, bound = await until_shadow(server, "K70", (0, 70, STATION), (1, 71, TX))
        assert bound["transaction_id"] == "tx-k70"
        # The one of the transaction goes with it, and only that.
        await cs.event("Ended", "tx-k70", "StopAuthorized", token="TOKEN", wh=10, info={"stoppedReason": "Local"})
        await until_shadow(server, "K70", (0, 70, STATION))


@pytest.mark.case("2.0.1 TC_K_04")
async def test_tc_k_04_the_same_number_replaces(server: Server) -> None:
    async with Station201(server, "K04") as cs:
        await booted(cs)
        await put(server, cs, profile(4), evse_id=1)
        await until_shadow(server, "K04", (1, 4, DEFAULT))
        # Another number of the same purpose and level would stand beside it: that is refused here already.
        path = "/api/v1/chargers/K04/charging-profiles"
        clash = await server.api("POST", path, {"profile": profile(5), "evse_id": 1}, expect=409)
        assert "Profile 4" in clash["detail"]
        await put(server, cs, profile(4, kind="Recurring"), evse_id=1)
        assert [one["chargingProfile"]["id"] for one in cs.questions("SetChargingProfile")] == [4, 4]

        async def replaced() -> bool:
            return [one["profile"] for one in await items(server, "K04")] == [profile(4, kind="Recurring")]

        await until(replaced)


@pytest.mark.case("2.0.1 TC_K_37")
async def test_tc_k_37_a_remote_start_with_a_profile(server: Server) -> None:
    async with Station201(server, "K37") as cs:
        await booted(cs)
        body = {"token": "TOKEN", "evse_id": 1, "connector_id": 1, "amperes": 10}
        asked_for = await command(server, "K37", "start", body)
        asked = await cs.until_asked("RequestStartTransaction")
        sent = asked["chargingProfile"]
        assert (asked["evseId"], asked["idToken"]["idToken"]) == (1, "TOKEN")
        assert (sent["chargingProfilePurpose"], sent["chargingProfileKind"], "transactionId" in sent) == (
            TX, "Relative", False,
        )  # fmt: skip
        info = {"remoteStartId": asked["remoteStartId"]}
        await cs.event("Started", "tx-k37", "RemoteStart", token="TOKEN", wh=0, info=info)
        await instruction(server, asked_for, "EFFECTIVE")

        async def bound() -> bool:
            return [one["transaction_id"] for one in await items(server, "K37")] == ["tx-k37"]

        await until(bound)


# -- composite schedules


@pytest.mark.parametrize("evse", [1, 0])
@pytest.mark.case("2.0.1 TC_K_43", "2.0.1 TC_K_44")
async def test_tc_k_43_and_44_the_composite_schedule(server: Server, evse: int) -> None:
    async with Station201(server, f"K43-{evse}") as cs:
        await booted(cs)
        periods = [{"startPeriod": 0, "limit": 11000, "numberPhases": 3}]
        schedule = {
            "evseId": evse, "duration": 300, "scheduleStart": at(), "chargingRateUnit": "W",
            "chargingSchedulePeriod": periods,
        }  # fmt: skip
        cs.table["GetCompositeSchedule"] = {"status": "Accepted", "schedule": schedule}
        body = {"duration_s": 300, "unit": "W", **({"evse_id": 1} if evse else {})}
        done = await post(server, cs, "composite-schedule", body)
        assert (done["state"], done["response"]["schedule"]) == ("EFFECTIVE", schedule)
        assert cs.questions("GetCompositeSchedule") == [{"duration": 300, "evseId": evse, "chargingRateUnit": "W"}]


# -- read back


async def report(cs: Station201, number: int, evse: int, source: str, *profiles: Json, tbc: bool = False) -> None:
    said: Json = {
        "requestId": number, "chargingLimitSource": source, "evseId": evse, "chargingProfile": list(profiles),
    }  # fmt: skip
    assert await cs.ask("ReportChargingProfiles", said | ({"tbc": True} if tbc else {})) == {}


@pytest.mark.parametrize(
    ("evse", "body", "criteria", "source", "told"),
    [
        (0, {"purpose": DEFAULT}, {"chargingProfilePurpose": DEFAULT}, "CSO", profile(1)),
        (1, {"purpose": DEFAULT}, {"chargingProfilePurpose": DEFAULT}, "CSO", profile(1)),
        (None, {"purpose": DEFAULT}, {"chargingProfilePurpose": DEFAULT}, "CSO", profile(1)),
        (None, {"profile_ids": [1]}, {"chargingProfileId": [1]}, "CSO", profile(1)),
        (1, {"stack_level": 0}, {"stackLevel": 0}, "CSO", profile(1)),
        (1, {"sources": ["EMS"]}, {"chargingLimitSource": ["EMS"]}, "EMS", profile(9, EXTERNAL)),
        (1, {"purpose": STATION}, {"chargingProfilePurpose": STATION}, "CSO", profile(2, STATION)),
        (
            1, {"purpose": DEFAULT, "stack_level": 0}, {"chargingProfilePurpose": DEFAULT, "stackLevel": 0}, "CSO",
            profile(1),
        ),
    ],
    ids=["k_29", "k_30", "k_31", "k_32", "k_33", "k_34", "k_35", "k_36"],
)  # fmt: skip
@pytest.mark.case(
    "2.0.1 TC_K_29", "2.0.1 TC_K_30", "2.0.1 TC_K_31", "2.0.1 TC_K_32", "2.0.1 TC_K_33", "2.0.1 TC_K_34",
    "2.0.1 TC_K_35", "2.0.1 TC_K_36",
)  # fmt: skip
async def test_tc_k_29_to_36_profiles_are_read_by_each_criterion(
    server: Server,
    evse: int | None,
    body: Json,
    criteria: Json,
    source: str,
    told: Json,
    request: pytest.FixtureRequest,
) -> None:
    identity = f"K29-{request.node.callspec.id}"
    async with Station201(server, identity) as cs:
        await booted(cs)
        if evse == 0:
            await charging(cs, f"tx-{identity}")
        await post(server, cs, "charging-profiles/read", {**body, **({} if evse is None else {"evse_id": evse})})
        (asked,) = cs.questions("GetChargingProfiles")
        number = asked.pop("requestId")
        assert asked == {"chargingProfile": criteria, **({} if evse is None else {"evseId": evse})}
        await report(cs, number, evse or 0, source, told)
        (kept,) = await until_shadow(server, identity, (evse or 0, told["id"], told["chargingProfilePurpose"]))
        assert (kept["origin"], kept["source"], kept["profile"]) == ("reported", source, told)


async def test_a_report_in_parts_corrects_the_shadow_and_what_was_lost_is_set_again(server: Server) -> None:
    async with Station201(server, "KPARTS") as cs:
        await booted(cs)
        for number, level in ((1, 0), (2, 1), (3, 2)):
            await put(server, cs, profile(number, level=level), evse_id=1)
        await put(server, cs, profile(4, STATION))
        await until_shadow(server, "KPARTS", (0, 4, STATION), *((1, number, DEFAULT) for number in (1, 2, 3)))
        await post(server, cs, "charging-profiles/read", {"purpose": DEFAULT})
        number = cs.questions("GetChargingProfiles")[0]["requestId"]
        await report(cs, number, 1, "CSO", profile(1), tbc=True)
        await report(cs, number, 1, "EMS", profile(7, level=7), tbc=True)
        assert len(cs.questions("SetChargingProfile")) == 4  # nothing is missing before the last part
        await report(cs, number, 1, "CSO", profile(2, level=1))
        # 3 was asked for and is gone: it is set again. 4 was not asked for. 7 is not ours.
        asked = await cs.until_asked("SetChargingProfile", 5)
        assert (asked["evseId"], asked["chargingProfile"]) == (1, profile(3, level=2))
        found = await until_shadow(
            server, "KPARTS", (0, 4, STATION), *((1, number, DEFAULT) for number in (1, 2, 3, 7))
        )
        assert [one["origin"] for one in found] == ["csms", "csms", "csms", "csms", "reported"]


async def test_no_profiles_empties_the_shadow_of_what_was_asked_for(server: Server) -> None:
    async with Station201(server, "KNONE") as cs:
        await booted(cs)
        await charging(cs, "tx-knone")
        await put(server, cs, profile(1, TX, "Relative"), evse_id=1)
        await until_shadow(server, "KNONE", (1, 1, TX))
        cs.table["GetChargingProfiles"] = {"status": "NoProfiles"}
        done = await post(server, cs, "charging-profiles/read", {"purpose": TX, "evse_id": 1})
        assert done["reason"] == "NoProfiles"
        await until_shadow(server, "KNONE")
        assert len(cs.questions("SetChargingProfile")) == 1  # a transaction's profile is not set again


# -- cleared


@pytest.mark.case("2.0.1 TC_K_05")
async def test_tc_k_05_cleared_by_number(server: Server) -> None:
    async with Station201(server, "K05") as cs:
        await booted(cs)
        await put(server, cs, profile(5), evse_id=1)
        await put(server, cs, profile(6, level=1), evse_id=1)
        await until_shadow(server, "K05", (1, 5, DEFAULT), (1, 6, DEFAULT))
        await post(server, cs, "charging-profiles/clear", {"profile_id": 5})
        assert cs.questions("ClearChargingProfile") == [{"chargingProfileId": 5}]
        await until_shadow(server, "K05", (1, 6, DEFAULT))


@pytest.mark.parametrize("word", ["Accepted", "Unknown"])
@pytest.mark.case("2.0.1 TC_K_06", "2.0.1 TC_K_08")
async def test_tc_k_06_and_08_cleared_by_criteria(server: Server, word: str) -> None:
    identity = f"K06-{word}"
    async with Station201(server, identity) as cs:
        await booted(cs)
        await put(server, cs, profile(6), evse_id=1)
        await put(server, cs, profile(7, level=1), evse_id=1)
        await until_shadow(server, identity, (1, 6, DEFAULT), (1, 7, DEFAULT))
        cs.table["ClearChargingProfile"] = {"status": word}
        body = {"evse_id": 1, "purpose": DEFAULT, "stack_level": 0}
        done = await post(server, cs, "charging-profiles/clear", body)
        assert (done["state"], done["reason"]) == ("EFFECTIVE", word)  # it is not there: that was wanted
        criteria = {"evseId": 1, "chargingProfilePurpose": DEFAULT, "stackLevel": 0}
        assert cs.questions("ClearChargingProfile") == [{"chargingProfileCriteria": criteria}]
        await until_shadow(server, identity, (1, 7, DEFAULT))
        nothing = f"/api/v1/chargers/{identity}/charging-profiles/clear"
        await server.api("POST", nothing, {}, expect=422)  # K10.FR.02


# -- limits from elsewhere


async def test_limits_of_others_are_shown_until_they_are_cleared(server: Server) -> None:
    async with Station201(server, "K12") as cs:
        await booted(cs)
        limit = {"chargingLimit": {"chargingLimitSource": "EMS", "isGridCritical": True}}
        schedule = profile(1)["chargingSchedule"]
        assert await cs.ask("NotifyChargingLimit", {**limit, "chargingSchedule": schedule}) == {}
        assert await cs.ask("NotifyChargingLimit", {"evseId": 1, "chargingLimit": {"chargingLimitSource": "SO"}}) == {}
        found = await until_shadow(server, "K12", (0, -1, EXTERNAL), (1, -3, EXTERNAL))
        assert [(one["origin"], one["source"]) for one in found] == [("reported", "EMS"), ("reported", "SO")]
        assert await cs.ask("ClearedChargingLimit", {"chargingLimitSource": "EMS"}) == {}
        await until_shadow(server, "K12", (1, -3, EXTERNAL))
        assert await cs.ask("ClearedChargingLimit", {"chargingLimitSource": "SO", "evseId": 1}) == {}
        await until_shadow(server, "K12")


# -- what cars need


AC: Json = {"energyAmount": 10_000, "evMinCurrent": 6, "evMaxCurrent": 32, "evMaxVoltage": 230}


async def need(cs: Station201, what: Json | None = None, *, tuples: int = 10, hours: float | None = None) -> str:
    """NotifyEVChargingNeeds; how it was answered."""
    needs: Json = {"requestedEnergyTransfer": "AC_three_phase", "acChargingParameters": AC} if what is None else what
    if hours is not None:
        needs = needs | {"departureTime": (datetime.now(UTC) + timedelta(hours=hours)).isoformat()}
    said = {"evseId": 1, "maxScheduleTuples": tuples, "chargingNeeds": needs}
    return str((await cs.ask("NotifyEVChargingNeeds", said))["status"])


async def planned(cs: Station201, count: int = 1) -> Json:
    """The `count`th SetChargingProfile, which must be a schedule for a car (K15.FR.07, K15.FR.08)."""
    asked = await cs.until_asked("SetChargingProfile", count)
    made: Json = asked["chargingProfile"]
    assert (asked["evseId"], made["chargingProfilePurpose"]) == (1, TX)
    assert made["transactionId"]
    assert 1 <= len(made["chargingSchedule"]) <= 3
    for schedule in made["chargingSchedule"]:
        assert schedule["startSchedule"]
        assert schedule["chargingSchedulePeriod"][0]["startPeriod"] == 0
    return made


def limits(schedule: Json) -> list[tuple[int, float]]:
    return [(period["startPeriod"], period["limit"]) for period in schedule["chargingSchedulePeriod"]]


async def will(cs: Station201, schedule: Json) -> str:
    """NotifyEVChargingSchedule; how it was answered."""
    said = {"timeBase": at(), "evseId": 1, "chargingSchedule": schedule}
    return str((await cs.ask("NotifyEVChargingSchedule", said))["status"])


@pytest.mark.case("2.0.1 TC_K_53")
async def test_tc_k_53_a_schedule_for_the_needs_of_a_car(server: Server) -> None:
    async with Station201(server, "K53") as cs:
        await booted(cs)
        await charging(cs, "tx-k53")
        assert await need(cs, hours=4) == "Accepted"
        made = await planned(cs)
        assert (made["id"], made["transactionId"]) == (OURS + 1, "tx-k53")
        fastest, even = made["chargingSchedule"]
        assert limits(fastest) == [(0, 32.0)]
        assert limits(even) == [(0, 6.0)]  # 10 kWh in four hours need less than the least the car can take
        assert await will(cs, even) == "Accepted"
        await until_shadow(server, "K53", (1, -10, "EVChargingSchedule"), (1, OURS + 1, TX))
        await cs.event("Updated", "tx-k53", "ChargingStateChanged", info={"chargingState": "Charging"})
        assert await cs.is_served()
        assert len(cs.questions("SetChargingProfile")) == 1  # nothing is renegotiated without cause


@pytest.mark.case("2.0.1 TC_K_55")
async def test_tc_k_55_a_car_that_wants_more_than_it_may(server: Server) -> None:
    async with Station201(server, "K55") as cs:
        await booted(cs)
        await charging(cs, "tx-k55")
        await answered(server, "K55", "SetChargingProfile", {"evseId": 0, "chargingProfile": site(8_000)})
        await until_shadow(server, "K55", (0, 3, STATION))
        assert await need(cs) == "Accepted"
        made = await planned(cs, 2)
        (schedule,) = made["chargingSchedule"]
        assert limits(schedule) == [(0, 11.5)]  # 8 kW over three phases, rounded down
        greedy = {**schedule, "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 32}]}
        assert await will(cs, greedy) == "Rejected"
        again = await planned(cs, 3)
        assert limits(again["chargingSchedule"][0]) == [(0, 11.5)]
        assert await will(cs, again["chargingSchedule"][0]) == "Accepted"


def site(watts: int) -> Json:
    """A limit of the whole station."""
    made = profile(3, STATION)
    periods = [{"startPeriod": 0, "limit": watts}]
    schedule = {"id": 1, "startSchedule": at(-60), "chargingRateUnit": "W", "chargingSchedulePeriod": periods}
    return made | {"chargingSchedule": [schedule]}


@pytest.mark.case("2.0.1 TC_K_57")
async def test_tc_k_57_the_car_renegotiates(server: Server) -> None:
    async with Station201(server, "K57") as cs:
        await booted(cs)
        await charging(cs, "tx-k57")
        assert await need(cs) == "Accepted"
        assert await will(cs, (await planned(cs))["chargingSchedule"][0]) == "Accepted"
        slower = {"requestedEnergyTransfer": "AC_single_phase", "acChargingParameters": {**AC, "evMaxCurrent": 16}}
        assert await need(cs, slower) == "Accepted"
        made = await planned(cs, 2)
        assert limits(made["chargingSchedule"][0]) == [(0, 16.0)]
        assert made["chargingSchedule"][0]["chargingSchedulePeriod"][0]["numberPhases"] == 1
        assert await will(cs, made["chargingSchedule"][0]) == "Accepted"


@pytest.mark.case("2.0.1 TC_K_58", "2.0.1 TC_K_59")
async def test_tc_k_58_and_59_we_renegotiate_and_the_car_answers_with_its_needs(server: Server) -> None:
    async with Station201(server, "K58") as cs:
        await booted(cs)
        await charging(cs, "tx-k58")
        assert await need(cs) == "Accepted"
        assert await will(cs, (await planned(cs))["chargingSchedule"][0]) == "Accepted"
        (running_session,) = (await server.api("GET", "/api/v1/sessions?charger_id=K58"))["items"]
        body = {"watts": 5_000, "session_id": running_session["id"]}
        await instruction(server, await command(server, "K58", "limit", body), "EFFECTIVE")
        asked = await cs.until_asked("SetChargingProfile", 2)
        assert asked["chargingProfile"]["transactionId"] == "tx-k58"
        assert await need(cs) == "Accepted"
        made = await planned(cs, 3)
        assert limits(made["chargingSchedule"][0]) == [(0, 7.2)]  # within the limit of the session: 5 kW
        assert await will(cs, made["chargingSchedule"][0]) == "Accepted"


async def test_a_dc_car_is_planned_for_in_watts_within_the_rating_and_its_tuples(server: Server) -> None:
    async with Station201(server, "KDC") as cs:
        await booted(cs)
        built = [{"evse_id": 1, "connector_id": 1, "power_type": "DC", "max_power_w": 60_000}]
        await server.api("PATCH", "/api/v1/chargers/KDC", {"connectors": built})
        # Dearer hours: a limit that changes often, for a car that takes two steps.
        periods = [{"startPeriod": 3600 * n, "limit": 30_000 + 5_000 * (n % 3)} for n in range(24)]
        schedule = {"id": 1, "startSchedule": at(-60), "chargingRateUnit": "W", "chargingSchedulePeriod": periods}
        await put(server, cs, profile(3, STATION) | {"chargingSchedule": [schedule]})
        await until_shadow(server, "KDC", (0, 3, STATION))
        await charging(cs, "tx-kdc")
        dc = {"evMaxCurrent": 300, "evMaxVoltage": 500, "stateOfCharge": 20, "evEnergyCapacity": 50_000}
        assert await need(cs, {"requestedEnergyTransfer": "DC", "dcChargingParameters": dc}, tuples=2) == "Accepted"
        made = await planned(cs, 2)
        for one in made["chargingSchedule"]:
            assert one["chargingRateUnit"] == "W"
            assert len(one["chargingSchedulePeriod"]) <= 2
            assert all(0 < limit <= 40_000 for _, limit in limits(one))
            assert "numberPhases" not in one["chargingSchedulePeriod"][0]


async def test_a_plan_keeps_within_the_transactions_own_profile_and_stands_above_it(server: Server) -> None:
    async with Station201(server, "KOWN") as cs:
        await booted(cs)
        await charging(cs, "tx-kown")
        await put(server, cs, profile(60, TX, "Relative", level=2), evse_id=1)
        await until_shadow(server, "KOWN", (1, 60, TX))
        assert await need(cs) == "Accepted"
        made = await planned(cs, 2)
        assert made["stackLevel"] == 3
        assert limits(made["chargingSchedule"][0]) == [(0, 6.5)]  # the lowest of a schedule that began we know not when


async def test_needs_before_their_transaction_are_planned_for_when_it_begins(server: Server) -> None:
    async with Station201(server, "KEARLY") as cs:
        await booted(cs)
        assert await need(cs) == "Processing"
        await cs.ask("NotifyChargingLimit", {"chargingLimit": {"chargingLimitSource": "EMS"}})
        await until_shadow(server, "KEARLY", (0, -1, EXTERNAL))  # reports are read in order: the needs have been
        assert cs.questions("SetChargingProfile") == []
        await charging(cs, "tx-kearly")
        assert (await planned(cs))["transactionId"] == "tx-kearly"


async def test_a_plan_ends_with_its_transaction(server: Server) -> None:
    async with Station201(server, "KOVER") as cs:
        await booted(cs)
        await charging(cs, "tx-kover")
        slow = {"requestedEnergyTransfer": "AC_single_phase", "acChargingParameters": {**AC, "evMaxCurrent": 10}}
        assert await need(cs, slow) == "Accepted"
        await planned(cs)
        assert await will(cs, profile(1)["chargingSchedule"][0]) == "Rejected"  # three phases, where one was planned
        await cs.event("Ended", "tx-kover", "StopAuthorized", wh=10, info={"stoppedReason": "Local"})
        await charging(cs, "tx-kover-2")

        async def forgotten() -> bool:
            return await will(cs, profile(1)["chargingSchedule"][0]) == "Accepted"

        await until(forgotten)


async def test_needs_that_say_nothing_are_rejected_and_plans_nobody_made_forbid_nothing(server: Server) -> None:
    async with Station201(server, "KODD") as cs:
        await booted(cs)
        await charging(cs, "tx-kodd")
        nothing: Sequence[Json] = (
            {"requestedEnergyTransfer": "DC"},
            {"requestedEnergyTransfer": "AC_two_phase", "acChargingParameters": {**AC, "evMaxCurrent": 0}},
        )
        for needs in nothing:
            assert await need(cs, needs) == "Rejected"
        assert await will(cs, profile(1)["chargingSchedule"][0]) == "Accepted"
        async with asyncio.timeout(5):
            assert await cs.is_served()
        assert cs.questions("SetChargingProfile") == []


async def test_after_a_boot_the_station_is_asked_what_it_still_holds(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with (
        running(tmp_path_factory.mktemp("boot"), {"ocpp": {"settle_s": 0.2}}) as server,
        Station201(server, "KBOOT") as cs,
    ):
        await token(server, "TOKEN")
        await booted(cs)
        await put(server, cs, profile(1), evse_id=1)
        await put(server, cs, profile(2, STATION))
        await until_shadow(server, "KBOOT", (0, 2, STATION), (1, 1, DEFAULT))
        asked_before = len(cs.questions("GetChargingProfiles"))
        await cs.cut()
        await cs.connect()
        await cs.boot()
        asked = await cs.until_asked("GetChargingProfiles", asked_before + 1)
        assert asked["chargingProfile"] == {"chargingProfileId": [1, 2]}
        await report(cs, asked["requestId"], 1, "CSO", profile(1))
        again = await cs.until_asked("SetChargingProfile", 3)
        assert again == {"evseId": 0, "chargingProfile": profile(2, STATION)}
        await until_shadow(server, "KBOOT", (0, 2, STATION), (1, 1, DEFAULT))
