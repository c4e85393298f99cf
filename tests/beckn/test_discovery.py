"""Finding connectors: circles, routes, shapes, words, filters, bounds."""

import random
import time
from dataclasses import replace

import pytest
from beckn_world import ITEM, ITEM_ID, NOW, PROVIDER, SOCKET, STATION
from hypothesis import given, settings
from hypothesis import strategies as st

from beckn_adapter.catalog import ItemView, ProviderView
from beckn_adapter.discovery import Catalogue, Intent, Spatial, vehicle_key
from beckn_adapter.filters import parse
from beckn_adapter.geo import GeometryProblem, Shape, distance_m, distance_to_shape_m, read_geometry
from beckn_adapter.v2.items import item_json, why_unpublishable
from csms.domain.refusal import Refusal, Why

BENGALURU = (77.5946, 12.9716)


def catalogue(*items: ItemView, max_items: int = 200, max_radius_m: float = 50_000) -> Catalogue:
    made = Catalogue(
        item_json,
        is_publishable=lambda item: why_unpublishable(item) is None,
        vehicles={vehicle_key("Moto", "E-1"): ["TYPE2"], vehicle_key("Moto"): ["CCS2"]},
        max_items=max_items,
        max_radius_m=max_radius_m,
    )
    for item in items:
        made.put(item)
    return made


def at(lon: float, lat: float, name: str = "x", **changes: object) -> ItemView:
    station = replace(STATION, station_id=f"st-{name}", lat=lat, lon=lon)
    return replace(ITEM, item_id=name, evse_id=f"evse-{name}", station=station, **changes)  # type: ignore[arg-type]  # test data


def circle(lon: float, lat: float, radius_m: float, **changes: object) -> Spatial:
    return Spatial(op="s_dwithin", shape=Shape(points=((lon, lat),)), distance_m=radius_m, **changes)  # type: ignore[arg-type]  # test data


def ids(found: list[ItemView]) -> list[str]:
    return [item.item_id for item in found]


# --- space


def test_a_circle_finds_what_is_inside_nearest_first() -> None:
    shop = catalogue(at(77.60, 13.00, "far"), at(77.60, 12.98, "near"), at(78.60, 12.98, "out"))
    assert ids(shop.search(Intent(spatial=(circle(*BENGALURU, 10_000),)), NOW)) == ["near", "far"]


def test_the_radius_is_capped() -> None:
    shop = catalogue(at(78.0946, 12.9716, "54 km away"))
    assert shop.search(Intent(spatial=(circle(*BENGALURU, 90_000),)), NOW) == []


def test_the_answer_is_capped_and_keeps_the_nearest() -> None:
    items = [at(77.5946 + step / 1000, 12.9716, f"{step:03}") for step in range(100)]
    random.Random(1).shuffle(items)
    found = catalogue(*items, max_items=7).search(Intent(spatial=(circle(*BENGALURU, 50_000),)), NOW)
    assert ids(found) == [f"{step:03}" for step in range(7)]
    assert len(catalogue(*items).search(Intent(), NOW, max_items=3)) == 3


def test_a_circle_reaches_over_the_date_line() -> None:
    shop = catalogue(at(-179.99, 0.0, "east"), at(179.99, 0.0, "west"))
    assert sorted(ids(shop.search(Intent(spatial=(circle(179.999, 0, 5_000),)), NOW))) == ["east", "west"]


COORDINATES = st.tuples(st.floats(-180, 180), st.floats(-80, 80))


@given(
    centre=COORDINATES,
    offsets=st.lists(st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)), max_size=25),
    radius_m=st.floats(0, 50_000),
)
@settings(max_examples=60, deadline=None)
def test_the_grid_finds_what_looking_at_everything_finds(
    centre: tuple[float, float], offsets: list[tuple[float, float]], radius_m: float
) -> None:
    places = [((centre[0] + dx + 180) % 360 - 180, min(89.0, max(-89.0, centre[1] + dy))) for dx, dy in offsets]
    items = [at(lon, lat, str(number)) for number, (lon, lat) in enumerate(places)]
    found = catalogue(*items).search(Intent(spatial=(circle(*centre, radius_m),)), NOW)
    expected = {
        item.item_id for item, place in zip(items, places, strict=True) if distance_m(centre, place) <= radius_m
    }
    assert set(ids(found)) == expected


def test_a_route_finds_what_lies_along_it() -> None:
    route = read_geometry({"type": "LineString", "coordinates": [[77.0, 12.0], [77.0, 13.0], [78.0, 13.0]]})
    shop = catalogue(
        at(77.03, 12.5, "beside"), at(77.5, 13.03, "above"), at(77.5, 12.5, "between"), at(77, 11.9, "before")
    )
    found = shop.search(Intent(spatial=(Spatial(op="s_dwithin", shape=route, distance_m=5_000),)), NOW)
    assert sorted(ids(found)) == ["above", "beside"]


SQUARE = [[77.0, 12.0], [78.0, 12.0], [78.0, 13.0], [77.0, 13.0], [77.0, 12.0]]
HOLE = [[77.4, 12.4], [77.6, 12.4], [77.6, 12.6], [77.4, 12.6], [77.4, 12.4]]


@pytest.mark.parametrize(
    ("op", "negated", "expected"),
    [
        ("s_within", False, {"in", "edge"}),
        ("s_intersects", False, {"in", "edge"}),
        ("s_disjoint", False, {"hole", "out"}),
        ("s_disjoint", True, {"in", "edge"}),
        ("s_within", True, {"hole", "out"}),
        ("s_touches", False, {"edge"}),
        ("s_contains", False, set()),
        ("s_equals", False, set()),
        ("s_crosses", False, set()),
        ("s_overlaps", False, set()),
    ],
)
def test_the_other_relations_of_a_place_to_a_polygon(op: str, negated: bool, expected: set[str]) -> None:
    shape = read_geometry({"type": "Polygon", "coordinates": [SQUARE, HOLE]})
    shop = catalogue(at(77.2, 12.5, "in"), at(77.5, 12.5, "hole"), at(79.0, 12.5, "out"), at(77.0, 12.5, "edge"))
    assert set(ids(shop.search(Intent(spatial=(Spatial(op=op, shape=shape, negated=negated),)), NOW))) == expected


def test_a_point_equals_only_itself() -> None:
    shop = catalogue(at(77.2, 12.5, "same"), at(77.3, 12.5, "other"))
    for op in ("s_equals", "s_contains", "s_within", "s_intersects"):
        assert ids(shop.search(Intent(spatial=(Spatial(op=op, shape=Shape(points=((77.2, 12.5),))),)), NOW)) == ["same"]


def test_conditions_are_anded() -> None:
    shop = catalogue(at(77.59, 12.97, "both"), at(77.65, 12.97, "first"))
    both = (circle(77.59, 12.97, 10_000), circle(77.50, 12.97, 12_000))
    assert ids(shop.search(Intent(spatial=both), NOW)) == ["both"]
    without = (circle(77.59, 12.97, 10_000), circle(77.50, 12.97, 12_000, negated=True))
    assert ids(shop.search(Intent(spatial=without), NOW)) == ["first"]


def test_a_shape_made_to_cost_is_refused() -> None:
    ring = [[77 + (step % 2) / 10, 12 + step / 1000] for step in range(1900)]
    shape = read_geometry({"type": "Polygon", "coordinates": [ring]})
    shop = catalogue(*(at(77.05, 12 + step / 1000, str(step)) for step in range(1900)))
    never = Intent(spatial=(Spatial(op="s_crosses", shape=shape),))
    with pytest.raises(Refusal) as caught:
        shop.search(never, NOW)
    assert caught.value.why is Why.INVALID_REQUEST


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        {},
        {"type": "Circle", "coordinates": [1, 2]},
        {"type": "Point", "coordinates": [1]},
        {"type": "Point", "coordinates": ["1", "2"]},
        {"type": "Point", "coordinates": [True, 2]},
        {"type": "Point", "coordinates": [181, 2]},
        {"type": "Point", "coordinates": [float("nan"), 2]},
        {"type": "LineString", "coordinates": [[1, 2]]},
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [[[1, 2], [3, 4]]]},
        {"type": "MultiPoint", "coordinates": []},
        {"type": "LineString", "coordinates": [[1, 2]] * 5000},
        {"type": "GeometryCollection", "geometries": [{"type": "Point"}]},
    ],
)
def test_a_geometry_that_is_none_is_named(geometry: object) -> None:
    with pytest.raises(GeometryProblem):
        read_geometry(geometry)


def test_a_collection_is_as_near_as_its_nearest_member() -> None:
    shape = read_geometry(
        {
            "type": "GeometryCollection",
            "geometries": [
                {"type": "Point", "coordinates": [77.0, 12.0]},
                {"type": "MultiLineString", "coordinates": [[[80.0, 12.0], [81.0, 12.0]]]},
                {"type": "MultiPolygon", "coordinates": [[SQUARE]]},
            ],
        }
    )
    assert distance_to_shape_m((77.0, 11.999), shape) == pytest.approx(111.2, abs=0.5)
    assert distance_to_shape_m((80.5, 12.001), shape) == pytest.approx(111.2, abs=0.5)
    assert distance_to_shape_m((77.5, 12.5), shape) == 0


# --- filters


OTHER = ProviderView(provider_id="other", name="Other Charging")
SLOW = replace(ITEM, item_id="slow", evse_id="IN*MYC*E0020", connector="TYPE2", max_power_w=22_000)
FOREIGN = replace(ITEM, item_id="foreign", evse_id="IN*OTH*E0001", provider=OTHER, max_power_w=120_000)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("@.beckn:itemAttributes.connectorType == 'CCS2' && @.beckn:itemAttributes.maxPowerKW >= 61", {"foreign"}),
        ("@.beckn:itemAttributes.connectorType == 'CCS2' && @.beckn:itemAttributes.maxPowerKW >= 60",
         {ITEM_ID, "foreign"}),
        ("@.beckn:itemAttributes.maxPowerKW < 60", {"slow"}),
        ("60 <= @.beckn:itemAttributes.maxPowerKW", {ITEM_ID, "foreign"}),
        ("@.beckn:itemAttributes.connectorType == 'IEC_62196_T2'", {"slow"}),
        ("@.beckn:itemAttributes.connectorType == 'Type 2' || @.beckn:id == 'foreign'", {"slow", "foreign"}),
        ("@.beckn:itemAttributes.connectorType != 'CCS 2'", {"slow"}),
        ("@.beckn:itemAttributes.connectorType == '15A'", set()),
        ("@.beckn:provider.beckn:id == 'other'", {"foreign"}),
        ("@['beckn:provider']['beckn:id'] == 'mycpo'", {ITEM_ID, "slow"}),
        ("@.beckn:provider.beckn:id == 'mycpo' && @.beckn:provider.beckn:id == 'other'", set()),
        ("@.beckn:id == 'slow'", {"slow"}),
        ("@.beckn:id == 'slow' || @.beckn:id == 'foreign'", {"slow", "foreign"}),
        ("@.beckn:id == 'slow' && @.beckn:itemAttributes.connectorType == 'CCS2'", set()),
        ("@.beckn:id == 'IN*MYC*E0020'", {"slow"}),
        ("@['beckn:itemAttributes']['evseId'] == 'IN*MYC*E0020'", {"slow"}),
        ("@['beckn:itemAttributes']['evseId'] == 'slow'", set()),
        ("@.beckn:fulfillment.beckn:deliveryAttributes.vehicle.make == 'Moto'"
         " && @.beckn:fulfillment.beckn:deliveryAttributes.vehicle.model == 'E 1'", {"slow"}),
        ("@.beckn:fulfillment.beckn:deliveryAttributes.vehicle.make == 'Moto'", {ITEM_ID, "foreign"}),
        ("@.beckn:fulfillment.beckn:deliveryAttributes.vehicle.make == 'Unknown'", {ITEM_ID, "slow", "foreign"}),
        ("@.beckn:itemAttributes.connectorType == 'CCS2' && @.beckn:availabilityWindow.schema:startTime <= '07:00:00'"
         " && @.beckn:availabilityWindow.schema:endTime >= '14:30:00'", {ITEM_ID, "foreign"}),
        ("@.beckn:rating.beckn:ratingValue > 4", set()),
    ],
)  # fmt: skip
def test_a_filter_finds_what_its_author_means(expression: str, expected: set[str]) -> None:
    shop = catalogue(ITEM, SOCKET, SLOW, FOREIGN)
    assert set(ids(shop.search(Intent(filter=parse(expression)), NOW))) == expected
    around = Intent(filter=parse(expression), spatial=(circle(*BENGALURU, 1_000),))
    assert set(ids(shop.search(around, NOW))) == expected


def test_what_can_be_decided_without_a_document_never_asks_for_one() -> None:
    asked: list[str] = []

    def document(item: ItemView) -> dict[str, object]:
        asked.append(item.item_id)
        return item_json(item)

    shop = Catalogue(document)
    for number in range(50):
        shop.put(at(77.5946, 12.9716, str(number)))
    found = shop.search(
        Intent(
            filter=parse("@.beckn:itemAttributes.connectorType == 'CCS2' && @.beckn:itemAttributes.maxPowerKW >= 50"),
            spatial=(circle(*BENGALURU, 1_000),),
        ),
        NOW,
    )
    assert len(found) == 50
    assert len(asked) <= 1


# --- words, life of an item


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ccs2 bengaluru", {ITEM_ID, "foreign"}),
        ("Type 2", {"slow"}),
        ("MYCPO ccs2", {ITEM_ID}),
        ("restroom", {ITEM_ID, "slow", "foreign"}),
        ("560001 main", {ITEM_ID, "slow", "foreign"}),
        ("ccs2 mumbai", set()),
        ("   ", {ITEM_ID, "slow", "foreign"}),
    ],
)
def test_every_word_must_be_found(text: str, expected: set[str]) -> None:
    assert set(ids(catalogue(ITEM, SLOW, FOREIGN).search(Intent(text=text), NOW))) == expected


def test_an_item_that_is_not_for_sale_now_is_not_found() -> None:
    coming, gone = at(77.5, 12.9, "coming", visible_from_ms=NOW + 1), at(77.5, 12.9, "gone", visible_until_ms=NOW)
    assert catalogue(coming, gone).search(Intent(), NOW) == []
    assert ids(catalogue(coming, gone).search(Intent(), NOW + 1)) == ["coming"]


def test_a_replaced_item_is_found_only_where_it_is_now() -> None:
    shop = catalogue(at(77.5, 12.9, "a"))
    shop.put(at(70.0, 20.0, "a", connector="TYPE2"))
    assert len(shop) == 1
    assert shop.search(Intent(spatial=(circle(77.5, 12.9, 5_000),)), NOW) == []
    assert ids(shop.search(Intent(spatial=(circle(70.0, 20.0, 5_000),)), NOW)) == ["a"]
    assert shop.search(Intent(filter=parse("@.beckn:itemAttributes.connectorType == 'CCS2'")), NOW) == []
    shop.drop("a")
    shop.drop("a")
    assert shop.get("a") is None
    assert list(shop) == []
    assert shop.search(Intent(), NOW) == []


def test_an_inactive_item_is_shown_as_such() -> None:
    assert ids(catalogue(replace(ITEM, is_active=False)).search(Intent(), NOW)) == [ITEM_ID]


def test_a_hundred_thousand_connectors_answer_a_circle_quickly() -> None:
    chance = random.Random(7)
    shop = Catalogue(item_json)
    plugs = ("CCS2", "TYPE2", "CHADEMO", "GBT")
    for number in range(25_000):
        station = replace(STATION, station_id=str(number), lon=chance.uniform(70, 85), lat=chance.uniform(10, 28))
        for plug in plugs:
            shop.put(
                ItemView(
                    item_id=f"{number}*{plug}",
                    evse_id=f"{number}*{plug}",
                    station=station,
                    provider=PROVIDER,
                    connector=plug,
                    max_power_w=60_000,
                )
            )
    wanted = parse("@.beckn:itemAttributes.connectorType == 'CCS2' && @.beckn:itemAttributes.maxPowerKW >= 50")
    took = []
    for _ in range(20):
        centre = (chance.uniform(71, 84), chance.uniform(11, 27))
        began = time.perf_counter()
        shop.search(Intent(filter=wanted, spatial=(circle(*centre, 50_000),)), NOW)
        took.append(time.perf_counter() - began)
    assert sorted(took)[10] < 0.02  # about 1 ms on one core; the room is for a busy machine


# --- what a question may cost


COSTLY = [
    Intent(filter=parse("@.beckn:id == 'a' || @.beckn:rating.x > 3")),
    Intent(filter=parse("!(@.beckn:itemAttributes.evseId != 'a')")),
    Intent(filter=parse(" && ".join(["@.*.*.* != @.*.*.*.x"] * 20))),
    Intent(filter=parse("@.beckn:isActive == false")),
]


@pytest.mark.parametrize("intent", COSTLY)
def test_a_question_that_would_look_at_everything_is_refused_with_what_to_do(intent: Intent) -> None:
    shop = catalogue(*(at(77 + number / 10_000, 12, str(number)) for number in range(6000)))
    with pytest.raises(Refusal, match="name a place") as caught:
        shop.search(intent, NOW)
    assert caught.value.why is Why.INVALID_REQUEST
    near = Intent(filter=intent.filter, spatial=(circle(77, 12, 1_000),))
    assert shop.search(near, NOW) == []


def test_a_costly_question_that_found_something_is_answered_with_that() -> None:
    shop = catalogue(*(at(77 + number / 10_000, 12, str(number)) for number in range(8000)))
    few = Intent(filter=parse("@.beckn:id == '1' && true || @.beckn:id == '7999' && @.beckn:isActive == true"))
    assert ids(shop.search(few, NOW)) == ["1"]


def test_connectors_of_one_kind_are_judged_once() -> None:
    asked: list[str] = []

    def document(item: ItemView) -> dict[str, object]:
        asked.append(item.item_id)
        return item_json(item)

    shop = Catalogue(document)
    for number in range(500):
        shop.put(replace(ITEM, item_id=str(number), evse_id=f"evse-{number}"))
    never = Intent(filter=parse("@.beckn:itemAttributes.powerType == 'STEAM'"))
    assert shop.search(never, NOW) == []
    assert len(asked) == 1
    one = Intent(filter=parse("@.beckn:itemAttributes.evseId >= 'evse-499'"))
    assert len(shop.search(one, NOW)) == sum(f"evse-{n}" >= "evse-499" for n in range(500))


@pytest.mark.parametrize("step", ["drop", "put"])
def test_a_kind_that_is_no_more_leaves_nothing_behind(step: str) -> None:
    shop = catalogue(*(at(77 + number, 12, str(number)) for number in range(3)))
    for number in range(3):
        if step == "drop":
            shop.drop(str(number))
        else:
            shop.put(at(70, 10, str(number)))
    left = 0 if step == "drop" else 3
    assert len(shop.kinds.of) == left
    assert len(set(shop.kinds.of.values())) == len(shop.kinds.texts) <= left
