"""What is wanted, what differs, in how many messages, and when a report is whole."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.domain.notices import needs_a_person, severity_of_event, severity_of_security
from csms.domain.presets import AC, BUILTIN, DC, LOW_DATA
from csms.domain.provisioning import (
    Drift,
    Item,
    Nature,
    State,
    Template,
    Wanted,
    batches,
    carried,
    drift,
    is_same,
    is_whole,
    judge,
    wanted,
)

SITE = Nature("CP1", vendor="Exicom", model="Harmony 60", location_id="L1", transport="ocpp1.6")


@pytest.mark.parametrize(
    ("want", "have", "kind", "same"),
    [
        ("true", "TRUE", None, True),
        ("False", "false", "boolean", True),
        ("true", "1", None, True),
        ("false", "0", "boolean", True),
        ("true", "false", None, False),
        ("true", "yes", None, False),
        ("true", "True", "string", False),
        ("60", "60.0", None, True),
        ("60", " 60 ", "integer", True),
        ("60", "600", None, False),
        ("1", "01", None, True),
        ("1", "1.0", "string", False),
        ("a,b", "b, a", None, True),
        ("a,b", "b,a", "MemberList", True),
        ("a,b", "b,a", "SequenceList", False),
        ("a,b", "a, b", "SequenceList", True),
        ("a,b", "a,b,c", None, False),
        ("a,b", "b,a", "string", False),
        ("", None, None, True),
        ("", "x", None, False),
        ("x", None, None, False),
        ("NaN", "nan", None, False),
        ("Energy", "energy", None, False),
    ],
)
def test_spelling_fools_nobody(want: str, have: str | None, kind: str | None, same: bool) -> None:
    assert is_same(want, have, kind) is same


@given(st.text(max_size=20))
def test_a_value_is_what_it_is(text: str) -> None:
    for kind in (None, "string", "boolean", "integer", "MemberList", "SequenceList"):
        assert is_same(text, text, kind)


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ({}, True),
        ({"vendor": "exi*"}, True),
        ({"vendor": "exi*", "model": "harmony ?0"}, True),
        ({"model": "Harmony"}, False),
        ({"location_id": "L1", "charger_id": "CP1"}, True),
        ({"location_id": "L2"}, False),
        ({"charger_id": "CP2"}, False),
        ({"transport": "ocpp2.0.1"}, False),
        ({"transport": "ocpp1.6"}, True),
        ({"enabled": False}, False),
    ],
)
def test_whom_a_template_means(match: dict[str, Any], fits: bool) -> None:
    assert Template("T", {"A": "1"}, **match).fits(SITE) is fits


def test_the_highest_priority_has_the_last_word_and_the_built_in_the_first() -> None:
    found = wanted(
        [
            Template("high", {"heartbeatinterval": "3"}, priority=5),
            Template("low", {"HeartbeatInterval": "2", "X": "1"}, priority=1),
            Template("other", {"X": "9"}, priority=9, charger_id="CP2"),
        ],
        SITE,
        BUILTIN[DC],
    )
    assert (found["heartbeatinterval"].value, found["heartbeatinterval"].template) == ("3", "high")
    assert (found["x"].value, found["connectiontimeout"].value) == ("1", "180")


def test_only_what_was_reported_and_may_be_written_differs() -> None:
    wants = {name.casefold(): Wanted(name, "1", "T") for name in ("A", "B", "C", "D", "E", "Missing")}
    items = [
        Item("a", "2", "ReadWrite"),
        Item("B", "2", "ReadOnly"),
        Item("C", None, "WriteOnly"),
        Item("D", "1.0", None),
        Item("E", "7", "ReadWrite", attribute="MaxSet"),
        Item("Z", "2", "ReadWrite"),
    ]
    assert drift(wants, items) == [Drift("a", "1", "2", "T")]
    assert drift(wants, items, {"a": "Rejected"}) == [Drift("a", "1", "2", "T", "Rejected")]


def test_states() -> None:
    new, tried = Drift("A", "1", "2", "T"), Drift("B", "1", "2", "T", "Rejected")
    assert judge([], waits_for_reboot=False) is State.IN_STEP
    assert judge([new], waits_for_reboot=False) is State.DRIFTED
    assert judge([tried], waits_for_reboot=False) is State.FAILED
    assert judge([new, tried], waits_for_reboot=False) is State.DRIFTED
    assert judge([], waits_for_reboot=True) is State.REBOOT_NEEDED


def test_an_outcome_is_that_of_the_value_that_was_wanted() -> None:
    before = [Drift("A", "1", "2", "T", "Rejected"), Drift("B", "1", "2", "T", "Rejected")]
    now = [Drift("a", "1", "3", "T"), Drift("B", "5", "2", "T")]
    assert [one.outcome for one in carried(before, now)] == ["Rejected", None]


@given(
    st.lists(st.integers(1, 200), max_size=40),
    st.one_of(st.none(), st.integers(1, 10)),
    st.one_of(st.none(), st.integers(50, 500)),
)
def test_messages_hold_everything_once_and_no_more_than_they_may(
    sizes: list[int], most: int | None, most_bytes: int | None
) -> None:
    items = list(range(len(sizes)))
    made = batches(items, sizes, most=most, most_bytes=most_bytes, frame_bytes=30)
    assert [item for part in made for item in part] == items
    for part in made:
        assert part
        assert most is None or len(part) <= most
        used = 30 + sum(sizes[item] + 1 for item in part)
        assert most_bytes is None or len(part) == 1 or used <= most_bytes


@given(st.integers(1, 12), st.data())
def test_a_report_is_whole_with_its_last_part_and_all_before_it(count: int, data: st.DataObject) -> None:
    numbers = data.draw(st.sets(st.integers(0, count - 1)))
    parts = {number: number == count - 1 for number in numbers}
    assert is_whole(parts) is (numbers == set(range(count)))


def test_a_part_numbered_below_zero_completes_nothing() -> None:
    assert not is_whole({-1: True})


def test_the_built_in_values() -> None:
    assert set(BUILTIN) == {AC, DC, LOW_DATA}
    assert BUILTIN[AC].wanted["MeterValueSampleInterval"] == "60"
    assert BUILTIN[DC].wanted["SampledDataCtrlr.TxUpdatedInterval"] == "30"
    assert BUILTIN[LOW_DATA].wanted["ClockAlignedDataInterval"] == "0"
    assert "UnlockConnectorOnEVSideDisconnect" not in BUILTIN[LOW_DATA].wanted
    for template in BUILTIN.values():
        assert wanted([template], SITE)  # it means everybody, when it is chosen


@pytest.mark.parametrize(
    ("name", "value", "severity", "person"),
    [
        ("ConnectorPlugRetentionLock@1.1.Problem", "true", 1, True),
        ("ConnectorPlugRetentionLock@1.1.Problem", "false", 8, False),
        ("ElectricalFeed@1.Tripped", "1", 2, True),
        ("EVSE@1.Overload[x]", "TRUE", 4, False),
        ("EVSE@1.Power", "12000", 8, False),
    ],
)
def test_how_grave_an_event_without_a_monitor_is(name: str, value: str, severity: int, person: bool) -> None:
    assert severity_of_event(name, value) == severity
    assert needs_a_person(severity) is person


@pytest.mark.parametrize(
    ("type_", "severity"),
    [
        ("TamperDetectionActivated", 1),
        ("tamperdetectionactivated", 1),
        ("SecurityLogWasCleared", 2),
        ("InvalidChargePointCertificate", 3),
        ("StartupOfTheDevice", 7),
        ("org.example.Something", 5),
    ],
)
def test_how_grave_a_security_event_is(type_: str, severity: int) -> None:
    assert severity_of_security(type_) == severity
