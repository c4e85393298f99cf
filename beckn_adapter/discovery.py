"""Finding connectors: what `discover` (V2) and `search` (V1) ask, answered from memory.

All conditions are ANDed. A question is narrowed by the cheapest thing it says (an id, a circle, a connector
type, the operator) and only what survives is looked at whole. Answers are bounded: a circle by `max_radius_m`,
the list by `max_items`, nearest first when a place was named (BECKN 7.4).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Final, TypeVar

from beckn_adapter.catalog import CONNECTORS, ItemView, connector_named, number
from beckn_adapter.filters import (
    Compare,
    Filter,
    Or,
    Path,
    Truth,
    Value,
    comparisons,
    conjuncts,
    matches,
    ordered,
    rewrite,
)
from beckn_adapter.geo import METRES_PER_DEGREE, Point, Shape, distance_m, distance_to_shape_m
from csms.domain.refusal import Refusal, Why

CELL_DEGREES: Final = 0.05
COLUMNS: Final = round(360 / CELL_DEGREES)
TOUCHING_M: Final = 1.0  # two places closer than this are one
MAX_WORK: Final = 2_000_000  # places looked at times edges of the shape: about a second
MAX_WORDS: Final = 16
OPERATIONS: Final = frozenset(
    {
        "s_within",
        "s_contains",
        "s_intersects",
        "s_disjoint",
        "s_overlaps",
        "s_crosses",
        "s_touches",
        "s_equals",
        "s_dwithin",
    }
)

VehicleKey = tuple[str, str]
Cell = tuple[int, int]
_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spatial:
    """One spatial condition on the station's place. Whatever target the buyer named, it is the only place we have."""

    op: str
    shape: Shape
    distance_m: float = 0.0
    negated: bool = False  # quantifier `none`; for a single place `any` and `all` are the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What a buyer looks for. Everything given must hold; nothing given means anything."""

    text: str | None = None
    filter: Filter | None = None
    spatial: tuple[Spatial, ...] = ()


def vehicle_key(make: str, model: str = "") -> VehicleKey:
    """How a vehicle is looked up: letters and digits only, so `Nexon-EV` and `Nexon EV` are one."""
    return _letters(make), _letters(model)


class Catalogue:
    """The connectors on sale, indexed. Not thread-safe; owned by one event loop."""

    def __init__(
        self,
        document: Callable[[ItemView], Mapping[str, object]],
        *,
        is_publishable: Callable[[ItemView], bool] = lambda _: True,
        vehicles: Mapping[VehicleKey, Sequence[str]] | None = None,
        max_radius_m: float = 50_000,
        max_items: int = 200,
    ) -> None:
        """`document` is what filters see of an item; `vehicles` maps `vehicle_key` to our connector names."""
        self._document = document
        self._is_publishable = is_publishable
        self._vehicles = dict(vehicles or {})
        self._max_radius_m = max_radius_m
        self._max_items = max_items
        self._items: dict[str, ItemView] = {}
        self._cells: dict[tuple[int, int], dict[str, ItemView]] = {}
        self._by_connector: dict[str, dict[str, ItemView]] = {}
        self._by_provider: dict[str, dict[str, ItemView]] = {}
        self._by_evse: dict[str, dict[str, ItemView]] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[ItemView]:
        return iter(self._items.values())

    def get(self, item_id: str) -> ItemView | None:
        """The item with this id, shown or not."""
        return self._items.get(item_id)

    def put(self, item: ItemView) -> None:
        """Add an item or replace the one with its id."""
        self.drop(item.item_id)
        self._items[item.item_id] = item
        _add(self._cells, _cell(item.station.lon, item.station.lat), item)
        _add(self._by_connector, item.connector, item)
        _add(self._by_provider, item.provider.provider_id, item)
        _add(self._by_evse, item.evse_id, item)

    def drop(self, item_id: str) -> None:
        """Take an item out; nothing happens when it is not there."""
        item = self._items.pop(item_id, None)
        if item is None:
            return
        _take_out(self._cells, _cell(item.station.lon, item.station.lat), item)
        _take_out(self._by_connector, item.connector, item)
        _take_out(self._by_provider, item.provider.provider_id, item)
        _take_out(self._by_evse, item.evse_id, item)

    def search(self, intent: Intent, now_ms: int, *, max_items: int | None = None) -> list[ItemView]:
        """What fits, nearest first when a circle was given, at most `max_items`.

        Refusal(INVALID_REQUEST) for a shape so detailed that answering would hold up everybody else.
        """
        limit = self._max_items if max_items is None else min(max_items, self._max_items)
        wanted = None if intent.filter is None else self._adapt(intent.filter)
        facts = _Facts.of(wanted)
        words = _words(intent.text)
        budget = _Budget()
        circle = next((condition for condition in intent.spatial if _is_circle(condition)), None)
        others = [_Placed(c, self._reach(c), budget) for c in intent.spatial if c is not circle]

        def fits(item: ItemView) -> bool:
            if not facts.may_fit(item) or not item.is_visible_at(now_ms) or not self._is_publishable(item):
                return False
            if words and not _has_words(item, words):
                return False
            if not all(other.holds(item) for other in others):
                return False
            return wanted is None or facts.is_all or matches(wanted, self._document(item))

        if circle is not None:
            return self._nearest(circle, fits, limit, self._named(facts.ids) if facts.ids is not None else None)
        found: list[ItemView] = []
        for item in self._candidates(facts, intent.spatial, budget):
            if len(found) >= limit:
                break
            if fits(item):
                found.append(item)
        return found

    # --- narrowing

    def _named(self, ids: frozenset[str]) -> list[ItemView]:
        """Items whose id or EVSE id is one of `ids`, each once, in a fixed order."""
        found: dict[str, ItemView] = {}
        for name in sorted(ids):
            item = self._items.get(name)
            if item is not None:
                found[name] = item
            found |= self._by_evse.get(name, {})
        return list(found.values())

    def _candidates(self, facts: _Facts, spatial: Sequence[Spatial], budget: _Budget) -> Iterable[ItemView]:
        if facts.ids is not None:
            return self._named(facts.ids)
        bounded = next((condition for condition in spatial if _is_bounded(condition)), None)
        if bounded is not None:
            reach_m = max(self._reach(bounded), TOUCHING_M)
            cells = _cells_around(bounded.shape, reach_m, self._cells, budget)
            return chain.from_iterable(self._cells[cell].values() for cell in cells)
        if facts.provider is not None:
            return self._by_provider.get(facts.provider, {}).values()
        if facts.connectors is not None:
            per_plug = (self._by_connector.get(plug, {}) for plug in sorted(facts.connectors))
            return chain.from_iterable(items.values() for items in per_plug)
        return self._items.values()

    def _nearest(
        self,
        circle: Spatial,
        fits: Callable[[ItemView], bool],
        limit: int,
        among: Sequence[ItemView] | None,
    ) -> list[ItemView]:
        """Rings of cells outwards; stops when nothing farther out can be nearer than what is already found."""
        centre, reach_m = circle.shape.points[0], self._reach(circle)
        best: list[tuple[float, int, ItemView]] = []  # a heap, farthest on top
        count = 0
        distances: dict[int, float] = {}  # many connectors stand at one station
        groups: Iterable[tuple[float, Iterable[ItemView]]] = (
            [(0.0, among)]
            if among is not None
            else (
                (away_m, self._cells[cell].values())
                for away_m, cell in sorted(_cells_by_distance(centre, reach_m, self._cells))
            )
        )
        for away_m, items in groups:
            if len(best) == limit and (limit == 0 or away_m > -best[0][0]):
                break
            for item in items:
                station = item.station
                at_m = distances.get(id(station))
                if at_m is None:
                    at_m = distances[id(station)] = distance_m(centre, (station.lon, station.lat))
                if at_m > reach_m or (len(best) == limit and at_m >= -best[0][0]) or not fits(item):
                    continue
                count += 1
                entry = (-at_m, -count, item)
                if len(best) < limit:
                    heapq.heappush(best, entry)
                else:
                    heapq.heappushpop(best, entry)
        return [item for _, _, item in sorted(best, key=lambda entry: (-entry[0], -entry[1]))]

    def _reach(self, condition: Spatial) -> float:
        return min(condition.distance_m, self._max_radius_m) if condition.op == "s_dwithin" else 0.0

    # --- what the published filters mean here

    def _adapt(self, found: Filter) -> Filter:
        """Read the filter as its authors mean it (BECKN 4.3): plugs by any name, EVSE ids as ids, vehicles."""
        plugs = self._plugs_of_vehicle(found)

        def change(compare: Compare) -> Filter:
            path, value = _sides(compare)
            if path is None or not isinstance(value, str):
                return compare
            names = path.names()
            if _is_vehicle(names):
                return Truth(True) if plugs is None else _any_of(plugs)
            if names[-1:] == ("connectorType",):
                return _with_literal(compare, self._plug_word(value) or value)
            if compare.op == "==" and names == ("beckn:id",):
                return Or((compare, Compare("==", Path(("beckn:itemAttributes", "evseId")), Value(value))))
            return compare

        return rewrite(found, change)

    def _plugs_of_vehicle(self, found: Filter) -> tuple[str, ...] | None:
        """The plug words that fit the vehicle a filter names; None when it names none we know."""
        said = {"make": "", "model": ""}
        for compare in comparisons(found):
            path, value = _sides(compare)
            if path is not None and isinstance(value, str) and _is_vehicle(path.names()):
                said[path.names()[-1]] = value
        exact, brand = vehicle_key(said["make"], said["model"]), vehicle_key(said["make"])
        plugs = self._vehicles.get(exact) or self._vehicles.get(brand)
        if not plugs:
            return None
        return tuple(word for plug in plugs if (word := self._word_of(plug)) is not None) or None

    def _plug_word(self, word: str) -> str | None:
        connector = connector_named(word)
        return None if connector is None else self._word_of(connector)

    def _word_of(self, connector: str) -> str | None:
        """How our documents spell a plug: asked of a document, so that this file knows no dialect's words."""
        sample = next(iter(self._by_connector.get(connector, {}).values()), None)
        if sample is None or not self._is_publishable(sample):
            return None
        attributes = self._document(sample).get("beckn:itemAttributes")
        word = attributes.get("connectorType") if isinstance(attributes, Mapping) else None
        return word if isinstance(word, str) else None


# --- what a filter says at first glance ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Facts:
    """Conditions that must hold whatever else the filter says. `is_all`: the filter says nothing beyond them."""

    connectors: frozenset[str] | None = None
    provider: str | None = None
    ids: frozenset[str] | None = None
    power_kw: tuple[tuple[str, float], ...] = ()
    is_all: bool = True

    @classmethod
    def of(cls, found: Filter | None) -> _Facts:
        facts = cls()
        for part in conjuncts(found) if found is not None else ():
            facts = facts._and(part)
        return facts

    def _and(self, part: Filter) -> _Facts:
        if part == Truth(True):
            return self
        words = _alternatives(part, ("beckn:itemAttributes", "connectorType"))
        if words is not None:
            named = frozenset(name for word in words if (name := connector_named(word)) is not None)
            both = named if self.connectors is None else self.connectors & named
            return replace(self, connectors=both)
        ids = _alternatives(part, ("beckn:id",), ("beckn:itemAttributes", "evseId"))
        if ids is not None:
            return replace(self, ids=ids if self.ids is None else self.ids & ids, is_all=False)
        if isinstance(part, Compare):
            path, value = _sides(part)
            names = () if path is None else path.names()
            if names == ("beckn:provider", "beckn:id") and part.op == "==" and isinstance(value, str):
                return replace(self, provider=value, is_all=self.is_all and self.provider in (None, value))
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if names == ("beckn:itemAttributes", "maxPowerKW") and is_number and isinstance(part.left, Path):
                limit = value if isinstance(value, int | float) else 0
                return replace(self, power_kw=(*self.power_kw, (part.op, limit)))
        return replace(self, is_all=False)

    def may_fit(self, item: ItemView) -> bool:
        """Cheap, and never wrong about a no."""
        if self.connectors is not None and item.connector not in self.connectors:
            return False
        if self.provider is not None and item.provider.provider_id != self.provider:
            return False
        return all(ordered(op, number(item.max_power_w), limit) for op, limit in self.power_kw)


def _alternatives(part: Filter, *paths: tuple[str, ...]) -> frozenset[str] | None:
    """The texts when `part` says "one of these paths equals one of these texts", else None."""
    if isinstance(part, Or):
        choices = [_alternatives(choice, *paths) for choice in part.parts]
        return None if None in choices else frozenset(word for words in choices if words for word in words)
    if not isinstance(part, Compare) or part.op != "==":
        return None
    path, value = _sides(part)
    if path is None or path.names() not in paths or not isinstance(value, str):
        return None
    return frozenset({value})


def _sides(compare: Compare) -> tuple[Path | None, object]:
    """The path and the literal of a comparison between the two, in either order."""
    match compare:
        case Compare(_, Path() as path, Value(value)) | Compare(_, Value(value), Path() as path):
            return path, value
        case _:
            return None, None


def _with_literal(compare: Compare, text: str) -> Compare:
    if isinstance(compare.left, Value):
        return Compare(compare.op, Value(text), compare.right)
    return Compare(compare.op, compare.left, Value(text))


def _is_vehicle(names: tuple[str, ...]) -> bool:
    return len(names) >= 2 and names[-2] == "vehicle" and names[-1] in ("make", "model")


def _any_of(words: Sequence[str]) -> Filter:
    choices = [Compare("==", Path(("beckn:itemAttributes", "connectorType")), Value(word)) for word in words]
    return choices[0] if len(choices) == 1 else Or(tuple(choices))


def _letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())


# --- text ---------------------------------------------------------------------------------------------------


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys((text or "").casefold().split()))[:MAX_WORDS]


def _has_words(item: ItemView, words: tuple[str, ...]) -> bool:
    station, provider = item.station, item.provider
    label = CONNECTORS[item.connector].label if item.connector in CONNECTORS else ""
    parts = (
        *(item.title, item.short_desc, item.long_desc, item.connector, label),
        *(provider.name, provider.short_desc, station.name, station.street, station.city),
        *(station.region, station.postal_code, station.parking, *station.amenities),
    )
    haystack = " ".join(part for part in parts if part).casefold()
    return all(word in haystack for word in words)


# --- space --------------------------------------------------------------------------------------------------


class _Budget:
    """Counts what a shape costs, so that one question cannot hold up everybody."""

    def __init__(self) -> None:
        self._left = MAX_WORK

    def spend(self, cost: int) -> None:
        self._left -= cost
        if self._left < 0:
            raise Refusal(Why.INVALID_REQUEST, "the spatial condition is too detailed; use a simpler shape")


class _Placed:
    """A condition asked of each station once: many connectors stand at one place."""

    def __init__(self, condition: Spatial, reach_m: float, budget: _Budget) -> None:
        self._condition = condition
        self._reach_m = reach_m
        self._budget = budget
        self._cost = sum(1 for _ in condition.shape.vertices())
        self._known: dict[int, bool] = {}

    def holds(self, item: ItemView) -> bool:
        station = item.station
        known = self._known.get(id(station))
        if known is None:
            self._budget.spend(self._cost)
            holds = _relates(self._condition, (station.lon, station.lat), self._reach_m)
            known = self._known[id(station)] = holds is not self._condition.negated
        return known


def _is_circle(condition: Spatial) -> bool:
    shape = condition.shape
    is_point = len(shape.points) == 1 and not shape.lines and not shape.polygons
    return condition.op == "s_dwithin" and is_point and not condition.negated


def _is_bounded(condition: Spatial) -> bool:
    """Whether only places near the shape can satisfy the condition."""
    return condition.op != "s_disjoint" if not condition.negated else condition.op == "s_disjoint"


def _relates(condition: Spatial, at: Point, reach_m: float) -> bool:
    """The predicate for one place. A place is a point, so it contains nothing but itself and crosses nothing."""
    shape = condition.shape
    match condition.op:
        case "s_dwithin":
            return distance_to_shape_m(at, shape) <= reach_m
        case "s_within" | "s_intersects":
            return distance_to_shape_m(at, shape) <= TOUCHING_M
        case "s_disjoint":
            return distance_to_shape_m(at, shape) > TOUCHING_M
        case "s_touches":
            border = Shape(lines=tuple(ring for rings in shape.polygons for ring in rings))
            return bool(shape.polygons) and distance_to_shape_m(at, border) <= TOUCHING_M
        case "s_contains" | "s_equals":
            is_one_point = len(shape.points) == 1 and not shape.lines and not shape.polygons
            return is_one_point and distance_m(at, shape.points[0]) <= TOUCHING_M
        case _:
            return False


def _cell(lon: float, lat: float) -> Cell:
    return math.floor((lon + 180) / CELL_DEGREES) % COLUMNS, math.floor((lat + 90) / CELL_DEGREES)


def _box(corners: Iterable[Point], reach_m: float) -> tuple[float, float, float, float]:
    """West, south, east, north around the corners with `reach_m` to spare; may run past the date line."""
    points = list(corners)
    south, north = min(lat for _, lat in points), max(lat for _, lat in points)
    d_lat = reach_m / METRES_PER_DEGREE
    widest = min(89.9, max(abs(south - d_lat), abs(north + d_lat)))
    d_lon = d_lat / math.cos(math.radians(widest))
    return min(lon for lon, _ in points) - d_lon, south - d_lat, max(lon for lon, _ in points) + d_lon, north + d_lat


def _cells_in(
    box: tuple[float, float, float, float], known: Mapping[Cell, object], budget: _Budget | None = None
) -> list[Cell]:
    """The known cells in a box; by walking the box or by walking what is known, whichever is less."""
    west, south, east, north = box
    first_row, last_row = (math.floor((lat + 90) / CELL_DEGREES) for lat in (south, north))
    first, last = (math.floor((lon + 180) / CELL_DEGREES) for lon in (west, east))
    columns = {column % COLUMNS for column in range(first, min(last, first + COLUMNS) + 1)}
    if budget is not None:
        budget.spend(1 + min(len(columns) * (last_row - first_row + 1), len(known)))
    if len(columns) * (last_row - first_row + 1) > len(known):
        return [cell for cell in known if first_row <= cell[1] <= last_row and cell[0] in columns]
    rows = range(first_row, last_row + 1)
    return [(column, row) for column in columns for row in rows if (column, row) in known]


def _cells_by_distance(centre: Point, reach_m: float, known: Mapping[Cell, object]) -> Iterator[tuple[float, Cell]]:
    """Known cells that the circle may touch, each with a distance that nothing in it is nearer than."""
    for column, row in _cells_in(_box([centre], reach_m), known):
        west, south = column * CELL_DEGREES - 180, row * CELL_DEGREES - 90
        lat = min(max(centre[1], south), south + CELL_DEGREES)
        turned = (centre[0] - west + 180) % 360 - 180  # the centre's longitude, counted from the cell's west edge
        lon = west + min(max(turned, 0.0), CELL_DEGREES)
        # The nearest parallel of a cell is not exactly where its nearest point lies; a small part less is safe.
        away_m = max(0.0, distance_m(centre, (lon, lat)) * 0.99 - 1)
        if away_m <= reach_m:
            yield away_m, (column, row)


def _cells_around(shape: Shape, reach_m: float, known: Mapping[Cell, object], budget: _Budget) -> list[Cell]:
    """Known cells that may hold a place within `reach_m` of the shape, in a fixed order."""
    # Lines piece by piece: the box around a whole route would be most of a country.
    pieces: list[Sequence[Point]] = [[point] for point in shape.points]
    pieces += [piece for line in shape.lines for piece in pairwise(line)]
    pieces += [rings[0] for rings in shape.polygons]
    cells: set[Cell] = set()
    for piece in pieces:
        cells.update(_cells_in(_box(piece, reach_m), known, budget))
    return sorted(cells)


def _add(index: dict[_Key, dict[str, ItemView]], key: _Key, item: ItemView) -> None:
    index.setdefault(key, {})[item.item_id] = item


def _take_out(index: dict[_Key, dict[str, ItemView]], key: _Key, item: ItemView) -> None:
    index[key].pop(item.item_id)
    if not index[key]:
        del index[key]
