"""Authorization lists in the words of both versions, and what chargers say they take. Pure."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csms.domain.locallist import Limits, Listed, Update
from csms.edges import locallists
from csms.edges.locallists import limits_of, read_message
from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.schemas import validate

V16, V201 = Version.V16, Version.V201
UIDS = st.text(st.sampled_from("ABCDEF0123456789"), min_size=1, max_size=20)


def entries(version: Version) -> st.SearchStrategy[dict[str, Listed]]:
    types = st.none() if version is V16 else st.sampled_from(["ISO14443", "eMAID", "MacAddress", "Central"])
    evses = st.just(()) if version is V16 else st.sampled_from([(), (1,), (1, 3)])
    one = st.builds(
        Listed,
        UIDS,
        types,
        st.sampled_from(["Accepted", "Blocked", "Expired"]),
        st.one_of(st.none(), st.just("GROUP")),
        st.one_of(st.none(), st.integers(1_600_000_000_000, 4_000_000_000_000)),
        evses,
    )
    return st.lists(one, max_size=4).map(lambda made: {entry.uid: entry for entry in made})


@pytest.mark.parametrize("version", [V16, V201])
@given(data=st.data(), full=st.booleans(), number=st.integers(1, 2**31 - 1))
@settings(max_examples=60, deadline=None)
def test_what_is_said_fits_the_schema_and_is_read_back(
    version: Version, data: st.DataObject, full: bool, number: int
) -> None:
    put, drop = data.draw(entries(version)), data.draw(entries(version))
    gone = {} if full else {key: entry for key, entry in drop.items() if key not in put}
    update = Update(number, full, tuple(put.items()), tuple(gone.items()))
    message = locallists._message(version, update)
    assert validate(version, "SendLocalList", "request", message) == []
    read = read_message(message)
    assert (read.version, read.full, dict(read.put)) == (number, full, put)
    assert [key for key, _ in read.drop] == list(gone)


def row(name: str, value: str | None, attribute: str = "Actual", **data: Any) -> dict[str, Any]:
    return {"name": name, "attribute": attribute, "value": value, "data": json.dumps(data)}


@pytest.mark.parametrize(
    ("version", "rows", "limits"),
    [
        (V16, [], Limits(per_message=10)),
        (V16, [row("SendLocalListMaxLength", "25")], Limits(per_message=25)),
        (V16, [row("LocalAuthListMaxLength", "500"), row("SendLocalListMaxLength", "?")], Limits(10, None, 500)),
        (V16, [row("SendLocalListMaxLength", "0"), row("LocalAuthListMaxLength", None)], Limits(per_message=10)),
        (V201, [], Limits(per_message=10)),
        (V201, [row("LocalAuthListCtrlr.ItemsPerMessage", "4")], Limits(per_message=4)),
        (V201, [row("LocalAuthListCtrlr.BytesPerMessage", "1200")], Limits(10, 1000)),
        (V201, [row("LocalAuthListCtrlr.BytesPerMessage", "100")], Limits(10, 1)),
        (V201, [row("LocalAuthListCtrlr.Entries", "7", characteristics={"maxLimit": 64.0})], Limits(10, None, 64)),
        (V201, [row("LocalAuthListCtrlr.Entries", "32", "MaxSet")], Limits(10, None, 32)),
    ],
)
def test_the_limits_are_the_chargers_own(version: Version, rows: list[dict[str, Any]], limits: Limits) -> None:
    assert limits_of(version, rows) == limits


def test_what_a_version_cannot_say_is_not_said() -> None:
    wanted = {
        "A": Listed("A", "ISO14443", "Accepted"),
        "PART": Listed("PART", "ISO14443", "Accepted", evses=(1,)),
        "L" * 21: Listed("L" * 21, "ISO14443", "Accepted"),
        "GROUP": Listed("GROUP", "ISO14443", "Accepted", "G" * 21),
    }
    said16 = locallists._sayable(V16, wanted)
    assert said16 == {"A": Listed("A", None, "Accepted"), "GROUP": Listed("GROUP", None, "Accepted")}
    said201 = locallists._sayable(V201, wanted)
    assert said201 == wanted
