"""Feeds of suppliers: OpenADR 3 and our own words, good, late, doubled and broken."""

from __future__ import annotations

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.app.openadr import Feed, read_feed
from csms.app.price_events import read_event
from csms.domain.refusal import Refusal
from csms.domain.units import rfc3339

NOW = 1_790_000_000_000


def read(*events: Any, markup: str = "0") -> Feed:
    parsed = json.loads(json.dumps(list(events)), parse_float=Decimal)
    return read_feed(parsed, "openadr", NOW, currency="INR", markup=Decimal(markup))


def adr(**more: Any) -> dict[str, Any]:
    return {
        "id": "ev-1", "objectType": "EVENT", "programID": "p-1", "createdDateTime": "2026-11-20T00:00:00Z",
        "modificationDateTime": "2026-11-20T01:00:00Z",
        "payloadDescriptors": [{"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "PRICE", "units": "KWH",
                                "currency": "INR"}],
        "intervalPeriod": {"start": "2026-11-20T10:00:00Z", "duration": "PT1H"},
        "intervals": [
            {"id": 0, "payloads": [{"type": "PRICE", "values": [8.5]}]},
            {"id": 1, "payloads": [{"type": "PRICE", "values": [12]}]},
        ],
        **more,
    }  # fmt: skip


def windows(feed: Feed) -> list[tuple[str, str, str]]:
    (event,) = feed.events
    return [(rfc3339(p.from_ms), rfc3339(p.until_ms), str(p.per_kwh)) for p in event.prices]


def test_the_intervals_of_an_openadr_event_follow_each_other() -> None:
    feed = read(adr())
    assert feed.problems == []
    assert windows(feed) == [
        ("2026-11-20T10:00:00.000Z", "2026-11-20T11:00:00.000Z", "8.5"),
        ("2026-11-20T11:00:00.000Z", "2026-11-20T12:00:00.000Z", "12"),
    ]
    assert feed.events[0].targets == ("*",)
    assert feed.events[0].modification > 0


def test_an_interval_may_have_a_time_of_its_own() -> None:
    own = {"id": 0, "intervalPeriod": {"start": "2026-11-21T10:00:00+05:30", "duration": "PT15M"},
           "payloads": [{"type": "PRICE", "values": [1]}]}  # fmt: skip
    assert windows(read(adr(intervals=[own])))[0][:2] == ("2026-11-21T04:30:00.000Z", "2026-11-21T04:45:00.000Z")


def test_the_operators_margin_is_added_to_what_the_supplier_asks() -> None:
    assert windows(read(adr(), markup="4.25"))[0][2] == "12.75"


def test_targets_are_ours_in_either_spelling_and_others_are_not_meant_for_us() -> None:
    pairs = [{"type": "LOCATION", "values": ["L1"]}, {"type": "VEN_NAME", "values": ["feeder:F1"]}]
    assert read(adr(targets=pairs)).events[0].targets == ("location:L1", "feeder:F1")
    assert read(adr(targets=["tariff:T1"])).events[0].targets == ("tariff:T1",)
    assert "targets" in read(adr(targets=[{"type": "GROUP", "values": ["g"]}])).problems[0]


def test_priority_zero_is_the_highest_there() -> None:
    first, second, none = (read(adr(priority=p)).events[0].priority for p in (0, 1, None))
    assert first > second > none


@pytest.mark.parametrize(
    "broken",
    [
        {"intervalPeriod": {"start": "soon", "duration": "PT1H"}},
        {"intervalPeriod": {"start": "2026-11-20T10:00:00", "duration": "PT1H"}},
        {"intervalPeriod": {"start": "2026-11-20T10:00:00Z", "duration": "1 hour"}},
        {"intervalPeriod": {"start": "2026-11-20T10:00:00Z", "duration": "PT0S"}},
        {"intervals": [{"payloads": [{"type": "PRICE", "values": ["free"]}]}]},
        {"intervals": [{"payloads": [{"type": "PRICE", "values": [1, 2]}]}]},
        {"intervals": [{"payloads": [{"type": "PRICE", "values": [5000]}]}]},
        {"payloadDescriptors": [{"payloadType": "PRICE", "currency": "USD"}]},
        {"payloadDescriptors": [{"payloadType": "PRICE", "units": "MWH"}]},
        {"id": None, "eventName": None},
    ],
)
def test_one_bad_event_is_told_and_spoils_no_other(broken: dict[str, Any]) -> None:
    feed = read(adr(**broken), adr(id="good"))
    assert [event.event_id for event in feed.events] == ["good"]
    assert len(feed.problems) == 1


def test_events_without_a_price_are_not_for_us() -> None:
    shed = {"id": 0, "payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [10]}]}
    assert read(adr(intervals=[shed])) == Feed()


@pytest.mark.parametrize("parsed", [None, 3, "x", {"events": {}}, {}, [[]] * 6000])
def test_what_is_no_feed_is_refused_as_a_whole(parsed: Any) -> None:
    with pytest.raises(Refusal):
        read_feed(parsed, "file", NOW, currency="INR", markup=Decimal(0))


def test_our_own_words() -> None:
    at = {"starts_at": "2026-11-20T10:00:00+05:30", "ends_at": "2026-11-20T12:00:00+05:30"}
    event = read_event({"id": "e", "targets": ["feeder:F1"], **at, "multiplier": "1.2", "adder": -1}, "file", NOW)
    (price,) = event.prices
    assert (price.multiplier, price.adder, price.per_kwh) == (Decimal("1.2"), Decimal(-1), None)
    assert read_event({"id": "e", "cancelled": True, "modification": 4}, "file", NOW).cancelled


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
                        st.sampled_from(["id", "intervals", "payloads", "type", "values", "intervalPeriod", "start",
                                         "duration", "targets", "events", "prices", "starts_at", "ends_at", "per_kwh",
                                         "priority", "modification", "programID", "payloadDescriptors"]),
                        inner | st.sampled_from(["PRICE", "PT1H", "2026-11-20T10:00:00Z", "*"]), max_size=6),
                    max_leaves=20))  # fmt: skip
def test_no_feed_ever_breaks_the_reader(parsed: Any) -> None:
    with suppress(Refusal):  # and nothing else
        read_feed(parsed, "file", NOW, currency="INR", markup=Decimal(0))
