"""Answers of chargers in the shape of their schemas: one bad entry costs that entry, and nothing is made up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.edges.answershape import shaped
from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.schemas import schemas_for

V16, V201 = Version.V16, Version.V201
PLACE = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}


def test_what_fits_is_left_as_it_is() -> None:
    told = {"configurationKey": [{"key": "A", "readonly": True, "value": "1"}], "unknownKey": ["B"]}
    assert shaped(V16, "GetConfiguration", told) == told
    variables = {"getVariableResult": [{"attributeStatus": "Accepted", "attributeValue": "60", **PLACE}]}
    assert shaped(V201, "GetVariables", variables) == variables


def test_one_bad_entry_costs_that_entry() -> None:
    entries: list[Any] = ["x", {"key": "A", "readonly": False, "value": "1"}, {"value": "2"}, None, {"key": None}]
    assert shaped(V16, "GetConfiguration", {"configurationKey": entries}) == {"configurationKey": [entries[1]]}
    results: list[Any] = [7, {"attributeStatus": [], **PLACE}, {"attributeStatus": "Accepted", **PLACE}]
    assert shaped(V201, "GetVariables", {"getVariableResult": results}) == {"getVariableResult": [results[2]]}


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        ({"key": "A", "readonly": "false", "value": 60}, {"key": "A", "readonly": False, "value": "60"}),
        ({"key": "A", "readonly": "TRUE", "value": True}, {"key": "A", "readonly": True, "value": "true"}),
        ({"key": "A", "value": 0.5}, {"key": "A", "value": "0.5"}),
        ({"key": "A", "readonly": 3, "value": None}, {"key": "A"}),
        ({"key": "A", "value": {"a": 1}, "vendors": "own"}, {"key": "A", "vendors": "own"}),
        ({"key": "A", "value": 10**400}, {"key": "A"}),
    ],
)
def test_what_is_plain_is_read_and_the_rest_left_out(entry: dict[str, Any], read: dict[str, Any]) -> None:
    assert shaped(V16, "GetConfiguration", {"configurationKey": [entry]}) == {"configurationKey": [read]}
    assert shaped(V16, "GetConfiguration", {"configurationKey": entry}) == {"configurationKey": [read]}


@pytest.mark.parametrize("status", [None, [], {}, ["Accepted", "Rejected"]])
def test_a_status_that_is_no_word_is_none(status: Any) -> None:
    assert shaped(V16, "Reset", {"status": status}) == {}


def test_a_word_nobody_knows_stays() -> None:
    assert shaped(V16, "Reset", {"status": "OK"}) == {"status": "OK"}


def test_numbers_may_come_as_text() -> None:
    assert shaped(V16, "GetLocalListVersion", {"listVersion": "7"}) == {"listVersion": 7}
    assert shaped(V16, "GetLocalListVersion", {"listVersion": 7.0}) == {"listVersion": 7}
    for nonsense in ("seven", 7.5, True, "nan", "1e999", 10**400):
        assert shaped(V16, "GetLocalListVersion", {"listVersion": nonsense}) == {}


@pytest.mark.parametrize("nothing", [None, [], "x", 5])
def test_no_object_holds_nothing(nothing: Any) -> None:
    assert shaped(V201, "GetVariables", nothing) == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_whatever_comes_what_is_left_has_its_types(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from(Version))
    action = data.draw(st.sampled_from(sorted(schemas_for(version).actions)))
    members = list(schemas_for(version).struct(action, "response").__struct_fields__)
    told = data.draw(st.dictionaries(st.sampled_from(members), JSON)) if members else {}
    again = shaped(version, action, shaped(version, action, told))
    assert again == shaped(version, action, told)
    for value in again.values():
        assert value is not None
