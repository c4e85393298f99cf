"""The shop window: follows what is for sale piece by piece, shows the state of now or less, offers each thing once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from market_world import GONE, NOW_MS, TARIFF, item_id, location, shelves

from beckn_adapter.discovery import Intent, Spatial
from beckn_adapter.envelope import Endpoint, serialise
from beckn_adapter.filters import parse
from beckn_adapter.geo import Shape
from beckn_adapter.speaking import Speaker
from beckn_adapter.v2.codec import V2Codec
from beckn_adapter.v2.items import MAX_CATALOG_BYTES
from csms.app.catalogue import Offering
from csms.domain.connector import Availability
from csms.domain.scanning import RECENT_MS, Freshness
from csms.ports import Table

SPEAKER = Speaker(bpp=Endpoint("bpp.example", "https://bpp.example/r"), provider_id="cpo")


def around(lon: float, lat: float, metres: float = 5_000) -> Intent:
    return Intent(spatial=(Spatial(op="s_dwithin", shape=Shape(points=((lon, lat),)), distance_m=metres),))


# --- following the inventory


async def test_a_change_touches_only_what_changed(tmp_path: Path) -> None:
    async with shelves(tmp_path) as world:
        for n in range(3):
            await world.put(Table.LOCATIONS, f"st{n}", location(f"st{n}", 12.9 + n, 77.5, evses=2))
        await world.load()
        offerings = {o.item_id: o for o in world.inventory.all()}
        views = {name: world.market._index.get(name) for name in offerings}
        await world.put(Table.LOCATIONS, "st1", location("st1", 20.0, 80.0, evses=1))
        await world.load()
        for o in world.inventory.all():
            is_same = "st1" not in o.item_id
            assert (o is offerings[o.item_id]) is is_same
            assert (world.market._index.get(o.item_id) is views[o.item_id]) is is_same
        assert len(world.market) == 5
        assert [i.item_id for i in world.market.search(around(80.0, 20.0), NOW_MS)] == [item_id("st1")]
        assert world.market.search(around(77.5, 13.9), NOW_MS) == []


async def test_a_changed_tariff_is_sold_at_once_and_moves_no_index(tmp_path: Path) -> None:
    async with shelves(tmp_path) as world:
        await world.put(Table.LOCATIONS, "st", location("st", 12.9, 77.5))
        await world.load()
        view = world.market._index.get(item_id("st"))
        dearer = json.loads(json.dumps(TARIFF))
        dearer["elements"][0]["price_components"][0]["price"] = 25.0
        await world.put(Table.TARIFFS, "base", dearer)
        await world.load()
        item = world.market.item(item_id("st"))
        assert item is not None
        assert world.market._index.get(item_id("st")) is view
        assert [o.price for o in world.market.offers([item], NOW_MS)] == [Decimal("25.0")]


async def test_what_is_taken_off_the_shelf_is_gone(tmp_path: Path) -> None:
    async with shelves(tmp_path) as world:
        await world.put(Table.LOCATIONS, "st", location("st", 12.9, 77.5, evses=2))
        await world.load()
        await world.put(Table.LOCATIONS, "st", location("st", 12.9, 77.5, evses=1))
        await world.load()
        assert world.market.item(item_id("st", 2)) is None
        assert [i.item_id for i in world.market.search(Intent(), NOW_MS)] == [item_id("st")]


async def test_a_status_is_asked_when_an_item_is_shown_and_never_to_build_the_index(tmp_path: Path) -> None:
    async with shelves(tmp_path) as world:
        await world.put(Table.LOCATIONS, "st", location("st", 12.9, 77.5, evses=30))
        await world.load()
        assert world.asked == []
        (found,) = world.market.search(Intent(filter=parse(f"@.beckn:id == '{item_id('st', 7)}'")), NOW_MS)
        assert world.asked == [found.item_id]


async def test_a_new_charger_matters_only_to_a_location_that_names_it(tmp_path: Path) -> None:
    async with shelves(tmp_path) as world:
        await world.put(Table.LOCATIONS, "st", location("st", 12.9, 77.5, evses=2))
        other = location("other", 12.9, 77.5)
        other["evses"][0] |= {"uid": "1", "charger_id": "CP-7"}
        await world.put(Table.LOCATIONS, "other", other)
        await world.load()
        assert [name for name in ("st", "st*1", "CP-7", "st*3", "CP-8", "st*") if world.inventory.names(name)] == [
            "st",
            "st*1",
            "CP-7",
        ]


async def test_following_a_large_change_lets_others_have_their_turn_and_shows_only_whole_connectors(
    tmp_path: Path,
) -> None:
    async with shelves(tmp_path) as world:
        for n in range(4):
            await world.put(Table.LOCATIONS, f"st{n}", location(f"st{n}", 12.9, 77.5, evses=100))
        await world.inventory.load()
        following = asyncio.ensure_future(world.market.follow())
        seen = set()
        while not following.done():
            await asyncio.sleep(0)
            items = world.market.search(Intent(), NOW_MS)
            assert all(item.availability is Availability.AVAILABLE for item in items)
            assert len(world.market.offers(items, NOW_MS)) == (1 if items else 0)
            seen.add(len(world.market))
        assert len(seen) > 2
        assert len(world.market) == 400


# --- how fresh a state is


async def test_the_state_of_now_is_shown_and_filtered_by(tmp_path: Path) -> None:
    async with shelves(tmp_path) as world:
        await world.put(Table.LOCATIONS, "st", location("st", 12.9, 77.5, evses=2))
        await world.load()
        active = Intent(filter=parse("@.beckn:isActive == true"))
        assert len(world.market.search(active, NOW_MS)) == 2
        world.states[item_id("st", 1)] = GONE
        shown = {i.item_id: (i.is_active, i.availability) for i in world.market.search(Intent(), NOW_MS)}
        assert shown[item_id("st", 1)] == (False, Availability.FAULTED)
        assert shown[item_id("st", 2)] == (True, Availability.AVAILABLE)
        assert [i.item_id for i in world.market.search(active, NOW_MS)] == [item_id("st", 2)]


async def test_a_recent_state_is_at_most_five_minutes_old_and_a_coarse_one_is_none(tmp_path: Path) -> None:
    async with shelves(tmp_path) as world:
        await world.put(Table.LOCATIONS, "st", location("st", 12.9, 77.5))
        await world.load()

        def shown(now_ms: int, freshness: Freshness) -> tuple[bool, Availability | None]:
            (item,) = world.market.search(Intent(), now_ms, freshness=freshness)
            return item.is_active, item.availability

        assert shown(NOW_MS, Freshness.RECENT) == (True, Availability.AVAILABLE)
        world.states[item_id("st")] = GONE
        assert shown(NOW_MS + RECENT_MS, Freshness.RECENT) == (True, Availability.AVAILABLE)
        assert shown(NOW_MS + RECENT_MS, Freshness.LIVE) == (False, Availability.FAULTED)
        assert shown(NOW_MS + RECENT_MS, Freshness.COARSE) == (True, None)
        assert shown(NOW_MS + RECENT_MS + 1, Freshness.RECENT) == (False, Availability.FAULTED)


async def test_a_filter_by_state_tells_a_scanner_nothing_fresher(tmp_path: Path) -> None:
    async with shelves(tmp_path) as world:
        await world.put(Table.LOCATIONS, "st", location("st", 12.9, 77.5))
        await world.load()
        inactive = Intent(filter=parse("@.beckn:isActive == false"))
        assert world.market.search(inactive, NOW_MS, freshness=Freshness.RECENT) == []
        world.states[item_id("st")] = GONE
        assert world.market.search(inactive, NOW_MS + 1, freshness=Freshness.RECENT) == []
        assert world.market.search(inactive, NOW_MS + 1, freshness=Freshness.COARSE) == []
        assert len(world.market.search(inactive, NOW_MS + 1)) == 1


# --- plugs


@pytest.mark.parametrize("standard", ["DOMESTIC_M", "TYPE_7", "TYPE_6"])
async def test_a_plug_without_a_v2_word_is_found_in_generation_1_only(tmp_path: Path, standard: str) -> None:
    async with shelves(tmp_path) as world:
        await world.put(Table.LOCATIONS, "st", location("st", 12.9, 77.5, standard=standard))
        await world.load()
        wanted = Intent(filter=parse(f"@.beckn:itemAttributes.connectorType == '{standard}'"))
        assert world.market.search(wanted, NOW_MS) == []
        assert [i.item_id for i in world.market.search(wanted, NOW_MS, every_plug=True)] == [item_id("st")]
        assert world.market.search(Intent(), NOW_MS) == []
        assert len(world.market.search(Intent(), NOW_MS, every_plug=True)) == 1


@pytest.mark.parametrize(("standard", "word"), [("DOMESTIC_M", "15A"), ("TYPE_6", "Type6"), ("TYPE_7", None)])
async def test_pack_v2_names_what_it_has_a_name_for(tmp_path: Path, standard: str, word: str | None) -> None:
    async with shelves(tmp_path, connector_enum="v2") as world:
        await world.put(Table.LOCATIONS, "st", location("st", 12.9, 77.5, standard=standard))
        await world.load()
        codec = V2Codec(replace(SPEAKER, connector_enum="v2"))
        body = codec.on_discover({}, world.market.provider, world.market.search(Intent(), NOW_MS), [])
        message = body["message"]
        assert isinstance(message, dict)
        words = [i["beckn:itemAttributes"]["connectorType"] for c in message["catalogs"] for i in c["beckn:items"]]
        assert words == ([word] if word is not None else [])


# --- offers


async def test_every_item_has_a_base_offer_and_a_discount_is_one_offer_over_all_tariffs(tmp_path: Path) -> None:
    async with shelves(tmp_path) as world:
        cheap = json.loads(json.dumps(TARIFF))
        cheap["elements"][0]["price_components"][0]["price"] = 12.0
        await world.put(Table.TARIFFS, "cheap", cheap)
        await world.put(Table.LOCATIONS, "a", location("a", 12.9, 77.5))
        await world.put(Table.LOCATIONS, "b", location("b", 12.9, 77.5, tariff="cheap"))
        offer = {"name": "Diwali", "percent": 10, "cap": 50, "threshold_kwh": 5, "valid_until": "2030-01-01T00:00:00Z"}
        await world.put(Table.OFFERS, "diwali", offer)
        await world.put(Table.OFFERS, "past", {"name": "Past", "flat": 5, "valid_until": "2020-01-01T00:00:00Z"})
        await world.put(Table.OFFERS, "only-b", {"name": "Only B", "flat": 5, "items": [item_id("b")]})
        await world.load()
        items = world.market.search(Intent(), NOW_MS)
        offers = {view.offer_id: view for view in world.market.offers(items, NOW_MS)}
        assert set(offers) == {"offer-base", "offer-cheap", "diwali", "only-b"}
        covered = {i for name in ("offer-base", "offer-cheap") for i in offers[name].item_ids}
        assert covered == {item_id("a"), item_id("b")}
        assert set(offers["diwali"].item_ids) == covered
        assert offers["diwali"].price == Decimal("12.0")
        assert offers["diwali"].name == "Diwali"
        assert (offers["diwali"].short_desc or "").startswith("10% off, at most 50, from 5 kWh on")
        assert offers["diwali"].valid_until_ms == 1_893_456_000_000
        assert offers["only-b"].item_ids == (item_id("b"),)


async def test_a_price_of_the_hour_says_its_hours_and_ends_with_its_hour(tmp_path: Path) -> None:
    async with shelves(tmp_path) as world:
        energy = {"type": "ENERGY", "price": 12.0, "vat": 18.0, "step_size": 1}
        by_hour = {
            "currency": "INR",
            "elements": [
                {"price_components": [energy], "restrictions": {"start_time": "22:00", "end_time": "06:00"}},
                {"price_components": [energy | {"price": 20.0}]},
            ],
        }
        await world.put(Table.TARIFFS, "base", by_hour)
        await world.put(Table.LOCATIONS, "st", location("st", 12.9, 77.5))
        await world.load()
        items = world.market.search(Intent(), NOW_MS)
        noon_ms = 1_799_908_200_000  # 2027-01-14 12:00 in India
        (day,) = world.market.offers(items, noon_ms)
        (night,) = world.market.offers(items, noon_ms + 11 * 3_600_000)
        assert (day.tariff_model, day.price, night.price) == ("TIME_OF_DAY", Decimal("20.0"), Decimal("12.0"))
        assert day.valid_until_ms == noon_ms + 10 * 3_600_000
        assert "22:00-24:00: 12 INR per kWh" in (day.short_desc or "")
        assert world.market.prices_change_ms([day], noon_ms) == noon_ms + 10 * 3_600_000


async def test_a_catalog_that_would_be_too_large_is_several(tmp_path: Path) -> None:
    async with shelves(tmp_path) as world:
        await world.put(Table.LOCATIONS, "st", location("st", 12.9, 77.5, evses=200))
        await world.load()
        items = world.market.search(Intent(), NOW_MS)
        body = V2Codec(SPEAKER).on_discover({}, world.market.provider, items, world.market.offers(items, NOW_MS))
        message = body["message"]
        assert isinstance(message, dict)
        catalogs = message["catalogs"]
        assert len(catalogs) > 1
        assert [c["beckn:id"] for c in catalogs][:2] == ["catalog-ev-cpo", "catalog-ev-cpo-2"]
        assert all(len(serialise(c)) <= MAX_CATALOG_BYTES for c in catalogs)
        shown = [i["beckn:id"] for c in catalogs for i in c["beckn:items"]]
        assert shown == [i.item_id for i in items]
        for catalog in catalogs:
            named = {i for offer in catalog["beckn:offers"] for i in offer["beckn:items"]}
            assert named == {i["beckn:id"] for i in catalog["beckn:items"]}


# --- what can be had instead


async def test_alternatives_are_the_nearest_usable_with_the_same_plug(tmp_path: Path) -> None:
    async with shelves(tmp_path) as world:
        await world.put(Table.LOCATIONS, "here", location("here", 12.90, 77.50, evses=2))
        await world.put(Table.LOCATIONS, "near", location("near", 12.91, 77.50))
        await world.put(Table.LOCATIONS, "far", location("far", 13.10, 77.50))
        await world.put(Table.LOCATIONS, "other", location("other", 12.90, 77.50, standard="IEC_62196_T2"))
        await world.put(Table.LOCATIONS, "away", location("away", 15.00, 77.50))
        await world.load()
        usable = {item_id("here", 2), item_id("near"), item_id("far"), item_id("other"), item_id("away")}

        def ids(name: str, limit: int = 9) -> list[str]:
            found = world.market.alternatives(name, lambda o: o.item_id in usable, limit=limit)
            return [item.item_id for item, _ in found]

        assert ids(item_id("here")) == [item_id("here", 2), item_id("near"), item_id("far")]
        assert ids("IN*TST*here*1") == [item_id("here", 2), item_id("near"), item_id("far")]  # by the sticker
        assert ids(item_id("here"), limit=1) == [item_id("here", 2)]
        usable.discard(item_id("here", 2))
        assert ids(item_id("here")) == [item_id("near"), item_id("far")]
        assert ids("unknown") == []


async def test_alternatives_stop_asking_when_there_are_enough(tmp_path: Path) -> None:
    async with shelves(tmp_path) as world:
        await world.put(Table.LOCATIONS, "st", location("st", 12.9, 77.5, evses=100))
        await world.load()
        asked: list[str] = []

        def usable(offering: Offering) -> bool:
            asked.append(offering.item_id)
            return True

        assert len(world.market.alternatives(item_id("st"), usable, limit=3)) == 3
        assert len(asked) == 3
