"""OCPP 2.0.1, block N: monitors and events, case by case on the wire and in the records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from held import Variables, configuration
from running import Server, running
from wire import Refuse, Station201, answered, at, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = {"status": "Accepted"}
POWER = {"component": {"name": "EVSE", "evse": {"id": 1}}, "variable": {"name": "Power"}}
LIMITS = {
    "MonitoringCtrlr.ItemsPerMessage[SetVariableMonitoring]": ("2", "ReadOnly"),
    "MonitoringCtrlr.ItemsPerMessage[ClearVariableMonitoring]": ("2", "ReadOnly"),
}


class Watching:
    """The monitors of a station."""

    def __init__(self, cs: Station201) -> None:
        self.cs = cs
        self.monitors: dict[int, dict[str, Any]] = {}
        self.parts = 1
        self._next = 10
        self._tasks: set[asyncio.Task[None]] = set()
        cs.table["SetVariableMonitoring"] = self.set
        cs.table["ClearVariableMonitoring"] = self.clear
        cs.table["GetMonitoringReport"] = self.report

    def set(self, asked: dict[str, Any]) -> dict[str, Any]:
        results = []
        for one in asked["setMonitoringData"]:
            number = one.get("id")
            if number is None:
                number = self._next
                self._next += 1
            self.monitors[number] = one
            told = {name: one[name] for name in ("component", "variable", "type", "severity")}
            results.append({"id": number, "status": "Accepted", **told})
        return {"setMonitoringResult": results}

    def clear(self, asked: dict[str, Any]) -> dict[str, Any]:
        known = [(number, self.monitors.pop(number, None)) for number in asked["id"]]
        words = [{"id": number, "status": "Accepted" if one else "NotFound"} for number, one in known]
        return {"clearMonitoringResult": words}

    def report(self, asked: dict[str, Any]) -> dict[str, Any]:
        if not self.monitors:
            return {"status": "EmptyResultSet"}
        entries = [
            {
                **{name: one[name] for name in ("component", "variable")},
                "variableMonitoring": [
                    {"id": number, "transaction": False, **{name: one[name] for name in ("value", "type", "severity")}}
                ],
            }
            for number, one in self.monitors.items()
        ]
        size = -(-len(entries) // self.parts)
        chunks = [entries[start : start + size] for start in range(0, len(entries), size)]
        said = [
            {
                "requestId": asked["requestId"], "seqNo": number, "generatedAt": at(),
                "tbc": number < len(chunks) - 1, "monitor": chunk,
            }
            for number, chunk in enumerate(chunks)
        ]  # fmt: skip
        task = asyncio.get_running_loop().create_task(self._send(said))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return GOOD

    async def _send(self, parts: Sequence[dict[str, Any]]) -> None:
        for part in parts:
            assert await self.cs.ask("NotifyMonitoringReport", part) == {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("monitoring201")) as running_server:
        await token(running_server, "TOKEN")
        yield running_server


def wanted(name: str = "EVSE@1.Power", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "UpperThreshold", "value": 11000.0, "severity": 4, **more}


async def set_monitors(server: Server, cs: Station201, *monitors: dict[str, Any]) -> list[dict[str, Any]]:
    done = await server.api("PUT", f"/api/v1/chargers/{cs.id}/monitors", {"monitors": list(monitors)})
    results: list[dict[str, Any]] = done["results"]
    return results


async def monitors(server: Server, cs: Station201) -> dict[int, dict[str, Any]]:
    found = await server.api("GET", f"/api/v1/chargers/{cs.id}/monitors")
    return {one["monitor_id"]: one for one in found["items"]}


async def events(server: Server, cs: Station201, count: int) -> list[dict[str, Any]]:
    async def look() -> list[dict[str, Any]] | None:
        found = (await server.api("GET", f"/api/v1/chargers/{cs.id}/events"))["items"]
        return found[::-1] if len(found) == count else None

    told: list[dict[str, Any]] = await until(look)
    return told


async def cases(server: Server, cs: Station201) -> list[str]:
    found = (await server.api("GET", f"/api/v1/cases?charger_id={cs.id}"))["items"]
    return [one["type"] for one in found]


# -- reports


@pytest.mark.parametrize(
    "about",
    [
        pytest.param({"criteria": ["ThresholdMonitoring"]}, marks=pytest.mark.case("2.0.1 TC_N_01")),
        pytest.param({"names": ["EVSE@1.Power"]}, marks=pytest.mark.case("2.0.1 TC_N_02")),
        pytest.param(
            {"criteria": ["DeltaMonitoring"], "names": ["EVSE@1.Power"]}, marks=pytest.mark.case("2.0.1 TC_N_03")
        ),
        pytest.param({}, marks=pytest.mark.case("2.0.1 TC_N_47")),
        pytest.param(
            {"criteria": ["ThresholdMonitoring", "PeriodicMonitoring"], "names": ["EVSE@1.Power", "EVSE@2.Power"]},
            marks=pytest.mark.case("2.0.1 TC_N_60"),
        ),
    ],
    ids=["n_01", "n_02", "n_03", "n_47", "n_60"],
)
async def test_tc_n_01_02_03_47_60_monitors_are_reported(
    server: Server, request: pytest.FixtureRequest, about: dict[str, Any]
) -> None:
    async with Station201(server, request.node.callspec.id) as cs:
        watching = Watching(cs)
        watching.parts = 2
        watching.monitors = {
            1: {**POWER, "type": "UpperThreshold", "value": 11000.0, "severity": 4},
            2: {**POWER, "type": "Delta", "value": 2.5, "severity": 9},
        }
        await cs.boot()
        assert await server.api("POST", f"/api/v1/chargers/{cs.id}/monitors/read", about) == GOOD
        (asked,) = cs.questions("GetMonitoringReport")
        number = asked.pop("requestId")
        assert number > 0
        places = [
            {"component": {"name": "EVSE", "evse": {"id": int(name[5])}}, "variable": {"name": "Power"}}
            for name in about.get("names", ())
        ]
        wire = {"monitoringCriteria": about.get("criteria"), "componentVariable": places or None}
        assert asked == {name: value for name, value in wire.items() if value is not None}
        found = await monitors(server, cs)
        told = [(one["name"], one["type"], one["value"], one["severity"], one["origin"]) for one in found.values()]
        assert told == [
            ("EVSE@1.Power", "UpperThreshold", "11000", 4, "reported"),
            ("EVSE@1.Power", "Delta", "2.5", 9, "reported"),
        ]


@pytest.mark.case("2.0.1 TC_N_47")
async def test_tc_n_47_what_is_not_reported_any_more_is_gone(server: Server) -> None:
    async with Station201(server, "N47-GONE") as cs:
        watching = Watching(cs)
        await cs.boot()
        await set_monitors(server, cs, wanted(), wanted(type="Delta", value=5.0))
        del watching.monitors[10]
        await server.api("POST", f"/api/v1/chargers/{cs.id}/monitors/read", {})
        assert {number: one["origin"] for number, one in (await monitors(server, cs)).items()} == {11: "csms"}
        watching.monitors.clear()
        empty = await server.api("POST", f"/api/v1/chargers/{cs.id}/monitors/read", {})
        assert empty == {"status": "EmptyResultSet"}
        assert await monitors(server, cs) == {}


# -- base and level


@pytest.mark.case("2.0.1 TC_N_05")
@pytest.mark.parametrize("base", ["All", "FactoryDefault", "HardWiredOnly"])
async def test_tc_n_05_the_base_is_set_and_what_was_ours_is_gone(server: Server, base: str) -> None:
    async with Station201(server, f"N05-{base}") as cs:
        Watching(cs)
        cs.table["SetMonitoringBase"] = GOOD
        await cs.boot()
        await set_monitors(server, cs, wanted())
        done = await server.api("PUT", f"/api/v1/chargers/{cs.id}/monitors/base", {"base": base})
        assert done == GOOD
        assert cs.questions("SetMonitoringBase") == [{"monitoringBase": base}]

        async def is_as_it_should() -> bool:
            return len(await monitors(server, cs)) == (1 if base == "All" else 0)

        assert await until(is_as_it_should)


@pytest.mark.parametrize(
    ("severity", "word"),
    [
        pytest.param(4, "Accepted", marks=pytest.mark.case("2.0.1 TC_N_16")),
        pytest.param(9, "Rejected", marks=pytest.mark.case("2.0.1 TC_N_17")),
    ],
)
async def test_tc_n_16_17_the_level_is_set_or_rejected(server: Server, severity: int, word: str) -> None:
    async with Station201(server, f"N16-{severity}") as cs:
        cs.table["SetMonitoringLevel"] = {"status": word}
        await cs.boot()
        done = await server.api("PUT", f"/api/v1/chargers/{cs.id}/monitors/level", {"severity": severity})
        assert done == {"status": word}
        assert cs.questions("SetMonitoringLevel") == [{"severity": severity}]


@pytest.mark.case("2.0.1 TC_N_17")
async def test_tc_n_17_a_level_out_of_range_goes_out_only_by_hand(server: Server) -> None:
    async with Station201(server, "N17-RANGE") as cs:
        cs.table["SetMonitoringLevel"] = {"status": "Rejected"}
        await cs.boot()
        await server.api("PUT", f"/api/v1/chargers/{cs.id}/monitors/level", {"severity": 10}, expect=422)
        assert cs.questions("SetMonitoringLevel") == []
        assert await answered(server, cs.id, "SetMonitoringLevel", {"severity": 10}) == {"status": "Rejected"}


# -- set and clear


@pytest.mark.parametrize(
    "monitor",
    [
        pytest.param(wanted(), marks=pytest.mark.case("2.0.1 TC_N_08")),
        pytest.param(
            wanted(type="Periodic", value=60.0, severity=8, transaction=True),
            marks=pytest.mark.case("2.0.1 TC_N_24"),
        ),
    ],
    ids=["n_08", "n_24"],
)
async def test_tc_n_08_24_a_monitor_is_set(
    server: Server, request: pytest.FixtureRequest, monitor: dict[str, Any]
) -> None:
    async with Station201(server, request.node.callspec.id) as cs:
        Watching(cs)
        await cs.boot()
        (result,) = await set_monitors(server, cs, monitor)
        assert (result["status"], result["id"]) == ("Accepted", 10)
        (asked,) = cs.questions("SetVariableMonitoring")
        (said,) = asked["setMonitoringData"]
        transaction = {"transaction": True} if monitor.get("transaction") else {}
        kept = {name: monitor[name] for name in ("type", "value", "severity")}
        assert said == {**kept, **POWER, **transaction}
        found = (await monitors(server, cs))[10]
        assert (found["name"], found["type"], found["origin"]) == ("EVSE@1.Power", monitor["type"], "csms")
        assert found["transaction"] is bool(transaction)


async def test_more_monitors_than_fit_one_message_go_in_several(server: Server) -> None:
    async with Station201(server, "N08-MANY") as cs:
        Watching(cs)
        Variables(cs, LIMITS)
        await cs.boot()
        places = [Variables.place(name) for name in LIMITS]
        await answered(server, cs.id, "GetVariables", {"getVariableData": places})

        async def are_known() -> bool:
            return len(await configuration(server, cs.id)) == 2

        assert await until(are_known)
        results = await set_monitors(server, cs, *(wanted(severity=number) for number in range(5)))
        assert [one["id"] for one in results] == [10, 11, 12, 13, 14]
        assert [len(one["setMonitoringData"]) for one in cs.questions("SetVariableMonitoring")] == [2, 2, 1]
        assert len(await monitors(server, cs)) == 5


async def test_what_a_station_will_not_watch_is_told_and_not_kept(server: Server) -> None:
    async with Station201(server, "N08-NO") as cs:
        told = {**POWER, "id": 7, "type": "UpperThreshold", "severity": 4, "status": "UnsupportedMonitorType"}
        cs.table["SetVariableMonitoring"] = {"setMonitoringResult": [told]}
        await cs.boot()
        (result,) = await set_monitors(server, cs, wanted())
        assert result["status"] == "UnsupportedMonitorType"
        assert await monitors(server, cs) == {}


@pytest.mark.case("2.0.1 TC_N_18")
async def test_tc_n_18_more_than_a_station_clears_at_once_is_told(server: Server) -> None:
    async with Station201(server, "N18") as cs:
        Watching(cs)
        await cs.boot()
        await set_monitors(server, cs, *(wanted(severity=number) for number in range(3)))

        def refuse(_: object) -> None:
            raise Refuse("OccurrenceConstraintViolation")

        cs.table["ClearVariableMonitoring"] = refuse
        path = f"/api/v1/chargers/{cs.id}/ocpp/ClearVariableMonitoring"
        outcome = await server.api("POST", path, {"id": [10, 11, 12]}, expect=200)
        assert (outcome["status"], outcome["error"]["code"]) == ("call_error", "OccurrenceConstraintViolation")
        assert len(await monitors(server, cs)) == 3  # what was not cleared stands
        problem = await server.api("DELETE", f"/api/v1/chargers/{cs.id}/monitors/10", expect=409)
        assert "OccurrenceConstraintViolation" in str(problem)


@pytest.mark.parametrize(
    ("word", "left"),
    [
        pytest.param("Rejected", 1, marks=pytest.mark.case("2.0.1 TC_N_44")),
        ("Accepted", 0),
        ("NotFound", 0),
    ],
)
async def test_tc_n_44_only_what_it_cleared_is_gone(server: Server, word: str, left: int) -> None:
    async with Station201(server, f"N44-{word}") as cs:
        Watching(cs)
        await cs.boot()
        await set_monitors(server, cs, wanted())
        cs.table["ClearVariableMonitoring"] = {"clearMonitoringResult": [{"id": 10, "status": word}]}
        done = await server.api("DELETE", f"/api/v1/chargers/{cs.id}/monitors/10")
        assert done == {"results": [{"id": 10, "status": word}]}
        assert cs.questions("ClearVariableMonitoring") == [{"id": [10]}]
        assert len(await monitors(server, cs)) == left


async def test_only_a_2_0_1_charger_that_is_there_is_asked(server: Server) -> None:
    await server.api("POST", "/api/v1/chargers", {"id": "N-AWAY", "transport": "ocpp2.0.1"})
    await server.api("POST", "/api/v1/chargers", {"id": "N-OLD", "transport": "ocpp1.6"})
    at_level = {"severity": 4}
    await server.api("PUT", "/api/v1/chargers/N-AWAY/monitors/level", at_level, expect=409)
    await server.api("PUT", "/api/v1/chargers/N-OLD/monitors/level", at_level, expect=422)
    await server.api("PUT", "/api/v1/chargers/NOBODY/monitors/level", at_level, expect=404)


# -- events


def event(number: int, **more: Any) -> dict[str, Any]:
    return {
        "eventId": number, "timestamp": at(), "trigger": "Alerting", "actualValue": "12000",
        "eventNotificationType": "CustomMonitor", **POWER, **more,
    }  # fmt: skip


async def notify(cs: Station201, *told: dict[str, Any], seq: int = 0, **more: Any) -> None:
    said = {"generatedAt": at(), "seqNo": seq, "eventData": list(told), **more}
    assert await cs.ask("NotifyEvent", said) == {}


@pytest.mark.case("2.0.1 TC_N_21")
async def test_tc_n_21_an_alert_of_a_hard_wired_monitor(server: Server) -> None:
    async with Station201(server, "N21") as cs:
        await cs.boot()
        lock = {
            "component": {"name": "ConnectorPlugRetentionLock", "evse": {"id": 1, "connectorId": 1}},
            "variable": {"name": "Problem"}, "actualValue": "true", "eventNotificationType": "HardWiredMonitor",
        }  # fmt: skip
        await notify(cs, event(1, **lock), event(2, **{**lock, "actualValue": "false"}))
        locked, free = await events(server, cs, 2)
        assert (locked["name"], locked["severity"]) == ("ConnectorPlugRetentionLock@1.1.Problem", 1)
        assert (locked["value"], locked["trigger"], locked["cleared"]) == ("true", "Alerting", False)
        assert free["severity"] == 8
        assert await cases(server, cs) == ["STATION_EVENT"]


@pytest.mark.case("2.0.1 TC_N_49")
async def test_tc_n_49_a_threshold_alert_is_told_and_cleared_after_a_reboot(server: Server) -> None:
    async with Station201(server, "N49") as cs:
        Watching(cs)
        await cs.boot()
        await set_monitors(server, cs, wanted(severity=2))
        await notify(cs, event(1, variableMonitoringId=10))
        (alert,) = await events(server, cs, 1)
        assert (alert["severity"], alert["monitor_id"], alert["value"]) == (2, 10, "12000")
        assert await cases(server, cs) == ["STATION_EVENT"]  # 0 to 2: somebody must look
        await cs.close()
        await cs.connect()
        assert (await cs.boot("RemoteReset"))["status"] == "Accepted"
        await notify(cs, event(1, variableMonitoringId=10, actualValue="9000", cleared=True))
        _, cleared = await events(server, cs, 2)
        assert (cleared["cleared"], cleared["value"]) == (True, "9000")
        assert len(await cases(server, cs)) == 1


@pytest.mark.case("2.0.1 TC_N_50")
async def test_tc_n_50_periodic_events_come_and_are_listed_once(server: Server) -> None:
    async with Station201(server, "N50") as cs:
        Watching(cs)
        await cs.boot()
        await set_monitors(server, cs, wanted(type="Periodic", value=60.0, severity=8))
        first = event(1, trigger="Periodic", variableMonitoringId=10)
        await notify(cs, first, tbc=True)
        await notify(cs, event(2, trigger="Periodic", variableMonitoringId=10, actualValue="7000"), seq=1)
        await notify(cs, first)  # its answer was lost: told again
        told = await events(server, cs, 2)
        assert [(one["value"], one["trigger"], one["severity"]) for one in told] == [
            ("12000", "Periodic", 8),
            ("7000", "Periodic", 8),
        ]
        assert await cases(server, cs) == []


async def test_security_events_stand_beside_them(server: Server) -> None:
    async with Station201(server, "N-SEC") as cs:
        await cs.boot()
        said = {"type": "InvalidFirmwareSignature", "timestamp": at()}
        assert await cs.ask("SecurityEventNotification", said) == {}
        assert await cs.ask("SecurityEventNotification", {"type": "FirmwareUpdated", "timestamp": at()}) == {}
        await notify(cs, event(1))
        await events(server, cs, 3)
        found = await server.api("GET", f"/api/v1/chargers/{cs.id}/events?kind=security&severity=2")
        (one,) = found["items"]
        assert (one["name"], one["severity_word"]) == ("InvalidFirmwareSignature", "system failure")
        assert await cases(server, cs) == ["SECURITY_EVENT"]
