"""Names of variables, limits of messages, configuration keys, and triggers that are not sent again and again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from csms.app.answers import RawAnswer
from csms.domain.provisioning import Item, Wanted
from csms.domain.refusal import Refusal
from csms.edges.ocpp16 import provisioning as keys16
from csms.edges.ocpp201 import device_model, monitoring
from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.schemas import validate
from csms.edges.registration import believed, held_back, solicited_by
from csms.edges.steward import Visit
from csms.edges.triggers import HELD, Triggers

PLACES: list[tuple[str, dict[str, Any]]] = [
    ("Comp.Var", {"component": {"name": "Comp"}, "variable": {"name": "Var"}}),
    (
        "OCPPCommCtrlr.MessageTimeout[Default]",
        {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "MessageTimeout", "instance": "Default"}},
    ),
    (
        "Connector@1.2.Available",
        {"component": {"name": "Connector", "evse": {"id": 1, "connectorId": 2}}, "variable": {"name": "Available"}},
    ),
    ("EVSE@1.Power", {"component": {"name": "EVSE", "evse": {"id": 1}}, "variable": {"name": "Power"}}),
    (
        "Fan[left one]@3.Speed[max.]",
        {
            "component": {"name": "Fan", "instance": "left one", "evse": {"id": 3}},
            "variable": {"name": "Speed", "instance": "max."},
        },
    ),
]


@pytest.mark.parametrize(("name", "place"), PLACES, ids=[one[0] for one in PLACES])
def test_a_name_is_its_place_and_back(name: str, place: dict[str, Any]) -> None:
    assert device_model.name_of(place["component"], place["variable"]) == name
    assert device_model.parts_of(name) == place


@pytest.mark.parametrize("name", ["", "Comp", ".Var", "Comp.", "Comp[.Var", "Comp@x.Var", "C" * 51 + ".V"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(Refusal):
        device_model.parts_of(name)


def test_every_known_variable_is_a_name() -> None:
    for name in device_model.KNOWN_VARIABLES:
        place = device_model.parts_of(name)
        assert device_model.name_of(place["component"], place["variable"]) == name


def test_a_report_says_what_is_held_and_no_secret() -> None:
    entry = {
        **PLACES[1][1],
        "variableAttribute": [{"value": "60"}, {"type": "MaxSet", "value": "90", "mutability": "ReadOnly"}],
        "variableCharacteristics": {"dataType": "integer", "supportsMonitoring": False},
    }
    secret = {
        "component": {"name": "SecurityCtrlr"}, "variable": {"name": "BasicAuthPassword"},
        "variableAttribute": [{"value": "leaked", "mutability": "ReadWrite"}],
    }  # fmt: skip
    body = {"requestId": 1, "generatedAt": "2026-01-01T00:00:00Z", "seqNo": 0, "reportData": [entry, secret]}
    assert not validate(Version.V201, "NotifyReport", "request", body)
    actual, largest, hidden = device_model.reported(body)
    assert (actual.name, actual.value, actual.mutability, actual.attribute) == (
        PLACES[1][0],
        "60",
        "ReadWrite",
        "Actual",
    )
    assert (actual.kind, largest.attribute, largest.value) == ("integer", "MaxSet", "90")
    assert hidden.value is None


HELD_LIMITS = [
    Item("DeviceDataCtrlr.ItemsPerMessage[SetVariables]", "3"),
    Item("DeviceDataCtrlr.BytesPerMessage[GetVariables]", "300"),
    Item("MonitoringCtrlr.ItemsPerMessage[SetVariableMonitoring]", "0"),  # nonsense: no limit
]


def test_messages_respect_what_the_station_told() -> None:
    wants = [Wanted(f"Comp.V{n}", "1", "T") for n in range(7)] + [Wanted("comp.v0", "2", "T")]
    made = device_model.set_variables(wants, HELD_LIMITS)
    assert [len(one["setVariableData"]) for one in made] == [3, 3, 1]
    said = [
        device_model.name_of(one["component"], one["variable"]).casefold() for m in made for one in m["setVariableData"]
    ]
    assert len(said) == len(set(said))  # B05.FR.13
    for payload in made:
        assert not validate(Version.V201, "SetVariables", "request", payload)
    read = device_model.get_variables([device_model.parts_of(f"Comp.V{n}") for n in range(9)], HELD_LIMITS)
    assert len(read) > 1
    quirky = device_model.get_variables(
        [device_model.parts_of(f"Comp.V{n}") for n in range(9)], [], frozenset({"max_keys_per_get=4"})
    )
    assert [len(one["getVariableData"]) for one in quirky] == [4, 4, 1]
    monitors = [{"name": "EVSE@1.Power", "type": "Delta", "value": 1, "severity": n} for n in range(5)]
    (one,) = monitoring.set_monitors(monitors, HELD_LIMITS)
    assert len(one["setMonitoringData"]) == 5
    assert not validate(Version.V201, "SetVariableMonitoring", "request", one)
    (cleared,) = monitoring.clear_monitors([1, 2, 2], [])
    assert cleared == {"id": [1, 2]}


def test_written_in_the_stations_own_spelling() -> None:
    held = [Item("Comp.Var", "1", "ReadWrite", data=PLACES[0][1])]
    (payload,) = device_model.set_variables([Wanted("COMP.VAR", "2", "T")], held)
    assert payload["setVariableData"] == [{"attributeValue": "2", **PLACES[0][1]}]


def test_keys_of_1_6() -> None:
    told = {
        "configurationKey": [
            {"key": "A", "readonly": False, "value": "1"},
            {"key": "N", "readonly": True},
            {"key": "AuthorizationKey", "readonly": False, "value": "leaked"},
        ],
        "unknownKey": ["X"],
    }
    items, unknown = keys16.held(told)
    assert [(one.name, one.value, one.mutability) for one in items] == [
        ("A", "1", "ReadWrite"), ("N", None, "ReadOnly"), ("AuthorizationKey", None, "ReadWrite"),
    ]  # fmt: skip
    assert unknown == ["X"]
    assert keys16.max_keys(frozenset({"max_keys_per_get=7"}), [Item("GetConfigurationMaxKeys", "3")]) == 7
    assert keys16.max_keys(frozenset(), [Item("GetConfigurationMaxKeys", "3")]) == 3
    assert keys16.max_keys(frozenset(), [Item("GetConfigurationMaxKeys", "many")]) is None
    assert [len(one["key"]) for one in keys16.in_messages(list("abcdefg"), 3)] == [3, 3, 1]
    assert "AuthorizationKey" not in keys16.KNOWN_KEYS


def test_what_may_pass_before_a_charger_is_accepted() -> None:
    assert held_back("Accepted", "RemoteStartTransaction") is None
    assert held_back("Pending", "ChangeConfiguration") is None
    assert held_back("Pending", "RequestStopTransaction") is not None
    assert held_back("Rejected", "ChangeConfiguration") is not None
    assert believed("Accepted", "Pending") == "Pending"
    assert believed("Accepted", None) == "Accepted"
    assert believed("Rejected", "Accepted") == "Rejected"
    assert solicited_by("TriggerMessage", {"requestedMessage": "SignChargePointCertificate"}) == "SignCertificate"
    assert solicited_by("GetBaseReport", {}) == "NotifyReport"
    assert solicited_by("Reset", {}) is None


class Charger:
    """Answers triggers by a table of action -> word, or CALLERROR where the word begins with a `!`."""

    def __init__(self, version: Version, words: dict[str, str]) -> None:
        self.words = words
        self.asked: list[tuple[str, str]] = []
        station = SimpleNamespace(id="CP1", quirks=frozenset())
        self.visit = Visit(station, version, self.raw)  # type: ignore[arg-type]

    async def raw(self, _: str, action: str, payload: dict[str, Any], *, timeout_s: float) -> RawAnswer:
        self.asked.append((action, payload["requestedMessage"]))
        word = self.words[action]
        if word.startswith("!"):
            return RawAnswer(status="call_error", error={"code": word[1:], "description": ""})
        return RawAnswer(status="answered", response={"status": word})


@pytest.mark.parametrize(
    ("words", "message", "asked", "word"),
    [
        ({"TriggerMessage": "Accepted"}, "Heartbeat", ["TriggerMessage"], "Accepted"),
        ({"TriggerMessage": "Rejected"}, "Heartbeat", ["TriggerMessage"], "Rejected"),
        (
            {"TriggerMessage": "!NotImplemented", "ExtendedTriggerMessage": "Accepted"},
            "BootNotification", ["TriggerMessage", "ExtendedTriggerMessage"], "Accepted",
        ),
        ({"TriggerMessage": "NotImplemented"}, "DiagnosticsStatusNotification", ["TriggerMessage"], "NotImplemented"),
        ({"ExtendedTriggerMessage": "Accepted"}, "LogStatusNotification", ["ExtendedTriggerMessage"], "Accepted"),
    ],
)  # fmt: skip
async def test_which_trigger_1_6_is_asked_with(
    words: dict[str, str], message: str, asked: list[str], word: str
) -> None:
    charger = Charger(Version.V16, words)
    assert await Triggers(lambda: 0.0).ask(charger.visit, message) == word
    assert charger.asked == [(action, message) for action in asked]


async def test_a_trigger_is_not_sent_again_and_again() -> None:
    now = [0.0]
    triggers, charger = Triggers(lambda: now[0]), Charger(Version.V201, {"TriggerMessage": "Accepted"})
    assert await triggers.ask(charger.visit, "Heartbeat") == "Accepted"
    assert await triggers.ask(charger.visit, "Heartbeat") == HELD
    assert await triggers.ask(charger.visit, "BootNotification") == "Accepted"  # another message
    assert await triggers.ask(charger.visit, "MeterValues", evse=1) == "Accepted"
    assert await triggers.ask(charger.visit, "MeterValues", evse=2) == "Accepted"
    now[0] = 61.0
    assert await triggers.ask(charger.visit, "Heartbeat") == "Accepted"
    for number in range(100):
        await triggers.ask(charger.visit, "MeterValues", evse=10 + number)
    assert len(charger.asked) == 30  # an hour's worth
    now[0] = 3700.0
    assert await triggers.ask(charger.visit, "Heartbeat") == "Accepted"
