"""Catalogue views: connectors and their many names, bands, and the JSON a network reads."""

from dataclasses import replace
from decimal import Decimal

import pytest
from beckn_world import BPP, ITEM, ITEM_ID, NOW, OFFER, PROVIDER, SOCKET, STATION, TARIFF

from beckn_adapter.catalog import (
    ALWAYS_OPEN,
    CONNECTORS,
    PowerType,
    category_code,
    charging_speed,
    connector_named,
    connector_word,
    offer_of,
)
from beckn_adapter.v2.items import catalog_json, item_json, offer_json, why_unpublishable
from csms.domain.tariff import Rate, Tariff


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("CCS2", "CCS2"),
        ("CCS 2", "CCS2"),
        ("CCS_2", "CCS2"),
        ("ccs", "CCS2"),
        ("iec_62196_t2_combo", "CCS2"),
        ("Type 2", "TYPE2"),
        ("TYPE2", "TYPE2"),
        ("AC Type-2", "TYPE2"),
        ("IEC_62196_T2", "TYPE2"),
        ("GB_T", "GBT"),
        ("GB/T", "GBT"),
        ("GBT_DC", "GBT"),
        ("AC-001", "BHARAT_AC001"),
        ("DC001", "BHARAT_DC001"),
        ("15 A", "SOCKET_15A"),
        ("16A", "SOCKET_15A"),
        ("DOMESTIC_M", "SOCKET_15A"),
        ("Type-6", "TYPE6"),
        ("LECCS", "TYPE7"),
        ("CHAdeMO", "CHADEMO"),
        ("J1772", "TYPE1"),
        ("lightning", None),
    ],
)
def test_a_connector_is_known_by_all_its_names(word: str, name: str | None) -> None:
    assert connector_named(word) == name


def test_no_word_means_two_connectors() -> None:
    for name, known in CONNECTORS.items():
        for word in (name, known.label, known.pack_v1, known.pack_v2, *known.ocpi, *known.aliases):
            assert word is None or connector_named(word) == name


@pytest.mark.parametrize(
    ("connector", "v1", "v2"),
    [
        ("CCS2", "CCS2", "CCS2"),
        ("TYPE2", "Type2", "Type2"),
        ("SOCKET_15A", None, "15A"),
        ("BHARAT_DC001", None, "DC-001"),
        ("TYPE7", None, None),
        ("CCS1", None, None),
        ("unheard", None, None),
    ],
)
def test_a_pack_without_a_word_gets_none(connector: str, v1: str | None, v2: str | None) -> None:
    assert connector_word(connector, "v1") == v1
    assert connector_word(connector, "v2") == v2


@pytest.mark.parametrize(
    ("power_type", "power_w", "speed", "code"),
    [
        (PowerType.AC_1_PHASE, 3_300, "SLOW", "AC_SLOW"),
        (PowerType.AC_1_PHASE, 6_999, "SLOW", "AC_SLOW"),
        (PowerType.AC_3_PHASE, 7_000, "NORMAL", "AC_FAST"),
        (PowerType.DC, 22_000, "FAST", "DC_FAST"),
        (PowerType.DC, 99_999, "FAST", "DC_FAST"),
        (PowerType.DC, 100_000, "ULTRAFAST", "DC_FAST"),
        (PowerType.DC, 150_000, "ULTRAFAST", "DC_ULTRA"),
    ],
)
def test_the_bands(power_type: PowerType, power_w: int, speed: str, code: str) -> None:
    assert charging_speed(power_type, power_w) == speed
    assert category_code(power_type, power_w) == code


def test_an_unnameable_connector_is_left_out_and_never_replaced() -> None:
    catalog = catalog_json(PROVIDER, [ITEM, SOCKET], [OFFER], BPP)
    items, offers = catalog["beckn:items"], catalog["beckn:offers"]
    assert isinstance(items, list)
    assert isinstance(offers, list)
    assert [item["beckn:id"] for item in items] == [ITEM_ID]
    assert offers[0]["beckn:items"] == [ITEM_ID]
    assert why_unpublishable(SOCKET) == "connector SOCKET_15A has no name in pack v1"
    wide = catalog_json(PROVIDER, [ITEM, SOCKET], [OFFER], BPP, connector_enum="v2")
    assert isinstance(wide["beckn:items"], list)
    assert wide["beckn:items"][1]["beckn:itemAttributes"]["connectorType"] == "15A"


@pytest.mark.parametrize(("power_w", "is_fine"), [(999, False), (1_000, True), (500_000, True), (500_001, False)])
def test_power_the_pack_cannot_say_is_not_published(power_w: int, is_fine: bool) -> None:
    assert (why_unpublishable(replace(ITEM, max_power_w=power_w)) is None) is is_fine


def test_an_offer_that_covers_nothing_shown_is_left_out() -> None:
    assert "beckn:offers" not in catalog_json(PROVIDER, [SOCKET], [OFFER], BPP)


def test_an_item_says_what_it_is() -> None:
    shown = item_json(ITEM)
    attributes = shown["beckn:itemAttributes"]
    assert isinstance(attributes, dict)
    assert shown["beckn:descriptor"] == {"@type": "beckn:Descriptor", "schema:name": "DC CCS2 60 kW"}
    assert shown["beckn:availabilityWindow"] == [
        {"@type": "beckn:TimePeriod", "schema:startTime": "06:00:00+05:30", "schema:endTime": "22:00:00+05:30"}
    ]
    assert attributes["maxPowerKW"] == 60
    assert attributes["chargingSpeed"] == "FAST"
    assert attributes["vehicleType"] == "4-WHEELER"
    assert attributes["amenityFeature"] == ["RESTROOM", "WI-FI"]
    assert attributes["chargingStation"]["serviceLocation"]["geo"]["coordinates"] == [77.5946, 12.9716]
    assert "minPowerKW" not in attributes


def test_power_keeps_its_fraction() -> None:
    attributes = item_json(replace(SOCKET, max_power_w=7_360), connector_enum="v2")["beckn:itemAttributes"]
    assert isinstance(attributes, dict)
    assert attributes["maxPowerKW"] == 7.36


@pytest.mark.parametrize(
    ("hours", "windows"),
    [
        ((), None),
        (ALWAYS_OPEN, [("00:00:00", "23:59:59")]),
        ((("22:00", "06:00"),), [("22:00:00", "23:59:59"), ("00:00:00", "06:00:00")]),
        ((("18:00", "00:00"),), [("18:00:00", "23:59:59")]),
    ],
)
def test_opening_hours(hours: tuple[tuple[str, str], ...], windows: list[tuple[str, str]] | None) -> None:
    shown = item_json(replace(ITEM, station=replace(STATION, hours=hours))).get("beckn:availabilityWindow")
    if windows is None:
        assert shown is None
    else:
        assert isinstance(shown, list)
        assert [(w["schema:startTime"][:8], w["schema:endTime"][:8]) for w in shown] == windows


def test_an_offer_shows_price_idle_fee_and_known_payment_methods() -> None:
    shown = offer_json(OFFER)
    assert shown["beckn:price"] == {
        "currency": "INR",
        "value": 18.0,
        "applicableQuantity": {"unitText": "Kilowatt Hour", "unitCode": "KWH", "unitQuantity": 1},
    }
    assert shown["beckn:acceptedPaymentMethod"] == ["UPI", "WALLET"]
    attributes, descriptor = shown["beckn:offerAttributes"], shown["beckn:descriptor"]
    assert isinstance(attributes, dict)
    assert isinstance(descriptor, dict)
    assert attributes["idleFeePolicy"]["value"] == 2
    assert attributes["idleFeePolicy"]["applicableQuantity"]["unitQuantity"] == 10
    assert "idle fee 2 INR per minute after 10 min" in descriptor["beckn:shortDesc"]


def test_a_tariff_by_time_and_one_by_the_hour_of_day() -> None:
    by_time = Tariff(tariff_id="t", rates=(Rate(per_minute=Decimal("1.5")),))
    shown = offer_of(by_time, offer_id="o", provider_id="p", item_ids=["i"], now_ms=NOW)
    assert (shown.unit, shown.price, shown.tariff_model) == ("MIN", Decimal("1.5"), "PER_MINUTE")
    by_day = Tariff(
        tariff_id="t",
        rates=(Rate(from_minute=360, to_minute=1320, per_kwh=Decimal(20)), Rate(per_kwh=Decimal(12))),
    )
    shown = offer_of(by_day, offer_id="o", provider_id="p", item_ids=["i"], now_ms=NOW)
    assert (shown.unit, shown.price, shown.tariff_model) == ("KWH", Decimal(20), "TIME_OF_DAY")
    assert offer_of(TARIFF, offer_id="o", provider_id="p", item_ids=["i"], now_ms=NOW).tariff_model == "PER_KWH"
