"""Configuration, templates, standings, monitors and events as the API shows them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from apiworld import NOW_MS, Client, View, World, station_row

from csms.ports import Row, Table

WANTED = {"wanted": {"HeartbeatInterval": "120"}}


def variable(name: str, value: str | None, attribute: str = "Actual", **data: Any) -> Row:
    return {
        "station": "CP1", "name": name, "attribute": attribute, "value": value, "mutability": "ReadWrite",
        "data": json.dumps(data), "seen_ms": NOW_MS,
    }  # fmt: skip


def standing(station: str, state: str, **more: Any) -> Row:
    return {"station": station, "state": state, "updated_ms": NOW_MS, **more}


def event(number: int, kind: str = "event", severity: int = 4, **more: Any) -> Row:
    return {
        "no": number, "id": f"CP1|{number}", "station": "CP1", "kind": kind, "name": "EVSE@1.Power",
        "severity": severity, "value": "12", "received_ms": NOW_MS, "data": "{}", **more,
    }  # fmt: skip


async def test_what_a_charger_said_is_listed_by_name_and_filtered(api: Client, world: World) -> None:
    told = {"unit": "s", "dataType": "integer", "maxLimit": 900, "supportsMonitoring": False}
    rows = [variable(f"Comp.V{n}", str(n)) for n in range(5)]
    rows += [variable("Comp.V1", "9", "MaxSet"), variable("Other.Secret", None, characteristics=told)]
    await world.add(Table.STATIONS, station_row("CP1", 1))
    await world.add(Table.CONFIGURATION, *rows)
    found = await api.walk("/api/v1/chargers/CP1/configuration", 2)
    assert [(one["name"], one["attribute"]) for one in found] == [
        ("Comp.V0", "Actual"), ("Comp.V1", "Actual"), ("Comp.V1", "MaxSet"), ("Comp.V2", "Actual"),
        ("Comp.V3", "Actual"), ("Comp.V4", "Actual"), ("Other.Secret", "Actual"),
    ]  # fmt: skip
    (one,) = (await api("GET", "/api/v1/chargers/CP1/configuration?name=OTHER")).body["items"]
    assert (one["value"], one["unit"], one["data_type"], one["max_limit"]) == (None, "s", "integer", 900)
    assert (await api("GET", "/api/v1/chargers/CP9/configuration")).status == 404


async def test_templates_are_put_shown_beside_the_built_in_ones_and_removed(api: Client, world: World) -> None:
    made = await api("PUT", "/api/v1/config-templates/site-a", {**WANTED, "vendor": "Exi*", "priority": 3})
    assert made.status == 200
    assert (made.body["vendor"], made.body["priority"], made.body["builtin"]) == ("Exi*", 3, False)
    found = await api.walk("/api/v1/config-templates", 2)
    assert [one["id"] for one in found] == ["builtin-ac", "builtin-dc", "builtin-low-data", "site-a"]
    assert (await api("GET", "/api/v1/config-templates/site-a")).body == made.body
    assert (await api("GET", "/api/v1/config-templates/builtin-ac")).body["wanted"]["HeartbeatInterval"] == "300"
    assert (await api("PUT", "/api/v1/config-templates/builtin-ac", WANTED)).status == 409
    assert (await api("DELETE", "/api/v1/config-templates/builtin-ac")).status == 409
    assert (await api("DELETE", "/api/v1/config-templates/site-a")).status == 204
    assert (await api("DELETE", "/api/v1/config-templates/site-a")).status == 404
    assert world.provisioning.asked == [("templates", ""), ("templates", "")]


@pytest.mark.parametrize(
    "body",
    [
        {"wanted": {}},
        {"wanted": {"AuthorizationKey": "x"}},
        {"wanted": {"SecurityCtrlr.BasicAuthPassword": "x"}},
        {"wanted": {"SecurityProfile": "2"}},
        {"wanted": {"SecurityCtrlr.SecurityProfile": "2"}},
        {"wanted": {"A": "1", "a": "2"}},
        {"wanted": {"A": 1}},
        {**WANTED, "flurb": 1},
    ],
)
async def test_a_template_that_is_none_is_refused(api: Client, body: dict[str, Any]) -> None:
    assert (await api("PUT", "/api/v1/config-templates/T", body)).status == 422


async def test_how_chargers_stand(api: Client, world: World) -> None:
    drift = [{"name": "A", "wanted": "1", "found": "2", "template": "T", "outcome": "Rejected"}]
    for number, name in enumerate(("CP1", "CP2", "CP3"), start=1):
        await world.add(Table.STATIONS, station_row(name, number))
        world.stations.views[name] = View(name)
    await world.add(
        Table.PROVISIONING,
        standing("CP1", "failed", drift=json.dumps(drift), checked_ms=NOW_MS, inventory_firmware="1.0"),
        standing("CP2", "in-step"),
        standing("GONE", "failed"),
    )
    found = (await api("GET", "/api/v1/chargers/CP1/provisioning")).body
    assert (found["state"], found["drift"], found["inventory_firmware"]) == ("failed", drift, "1.0")
    never = (await api("GET", "/api/v1/chargers/CP3/provisioning")).body
    assert (never["state"], never["drift"], never["checked_at"]) == ("unknown", [], None)
    assert [one["charger_id"] for one in await api.walk("/api/v1/provisioning", 1)] == ["CP1", "CP2"]
    only = (await api("GET", "/api/v1/provisioning?state=failed")).body["items"]
    assert [one["charger_id"] for one in only] == ["CP1"]
    assert (await api("GET", "/api/v1/chargers/CP9/provisioning")).status == 404


async def test_what_an_operator_asks_for_is_wanted(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    assert (await api("GET", "/api/v1/chargers/CP1/provisioning")).body["under_way"] is False
    for path in ("configuration/read", "provisioning/check", "provisioning/apply"):
        assert (await api("POST", f"/api/v1/chargers/CP1/{path}", {})).status == 202
        assert (await api("POST", f"/api/v1/chargers/CP9/{path}", {})).status == 404
    assert world.provisioning.asked == [("inventory", "CP1"), ("check", "CP1"), ("apply", "CP1")]
    chosen = await api("PUT", "/api/v1/chargers/CP1/provisioning", {"template": "builtin-dc"})
    assert (chosen.status, chosen.body["under_way"]) == (200, True)
    assert (await api("PUT", "/api/v1/chargers/CP1/provisioning", {"template": "flurb"})).status == 422


async def test_monitors_are_listed_by_number(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    rows = [
        {
            "station": "CP1", "monitor_id": number, "name": "EVSE@1.Power", "type": "Delta", "value": "2.5",
            "severity": 9, "origin": "csms", "data": json.dumps({"transaction": number == 2}), "updated_ms": NOW_MS,
        }
        for number in (3, 1, 2)
    ]  # fmt: skip
    await world.add(Table.MONITORS, *rows)
    found = await api.walk("/api/v1/chargers/CP1/monitors", 2)
    assert [(one["monitor_id"], one["transaction"]) for one in found] == [(1, False), (2, True), (3, False)]


@pytest.mark.parametrize(
    ("monitor", "status"),
    [
        ({}, 200),
        ({"severity": 10}, 422),
        ({"type": "Sideways"}, 422),
        ({"value": "1"}, 422),
        ({"monitor_id": -1}, 422),
    ],
)
async def test_monitors_are_set_as_the_specification_has_them(
    api: Client, monitor: dict[str, Any], status: int
) -> None:
    one = {"name": "EVSE@1.Power", "type": "Delta", "value": 2.5, "severity": 9, **monitor}
    reply = await api("PUT", "/api/v1/chargers/CP1/monitors", {"monitors": [one]})
    assert reply.status == status
    if status == 200:
        assert reply.body == {"results": [{"status": "Accepted", "id": 0, "type": "Delta"}]}
        twice = await api("PUT", "/api/v1/chargers/CP1/monitors", {"monitors": [one, {**one, "name": "evse@1.power"}]})
        assert twice.status == 422  # N04.FR.03


async def test_events_are_listed_newest_first_and_filtered(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    rows = [event(1), event(2, "security", 1, name="TamperDetectionActivated"), event(3, severity=0, cleared=1)]
    await world.add(Table.STATION_EVENTS, *rows)
    found = await api.walk("/api/v1/chargers/CP1/events", 2)
    assert [(one["no"], one["severity_word"]) for one in found] == [
        (3, "danger"),
        (2, "hardware failure"),
        (1, "error"),
    ]
    only = (await api("GET", "/api/v1/chargers/CP1/events?kind=security")).body["items"]
    assert [one["name"] for one in only] == ["TamperDetectionActivated"]
    assert (await api("GET", "/api/v1/chargers/CP9/events")).status == 404
