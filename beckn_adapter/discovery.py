"""Finding connectors: what `discover` (V2) and `search` (V1) ask, answered from memory.

All conditions are ANDed. A question is narrowed by the cheapest thing it says (an id, a circle, a connector
type, the operator) and only what survives is looked at whole. Answers are bounded: a circle by `max_radius_m`,
the list by `max_items`, nearest first when a place was named (BECKN 7.4).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import chain
from typing import Final, TypeVar

from beckn_adapter.catalog import ItemView, PowerType, connector_named, vehicle_types
from beckn_adapter.filters import Compare, Filter, Or, Path, Truth, Value, comparisons, rewrite
from beckn_adapter.geo import Point, Shape, distance_m, distance_to_shape_m
from beckn_adapter.glance import (
    ATTRIBUTES,
    Glance,
    any_plug,
    is_vehicle,
    letters,
    says_identity,
    says_state,
    sides,
    with_literal,
)
from beckn_adapter.grid import Cell, cell_of, cells_around, cells_by_distance
from beckn_adapter.kinds import Kinds, words_of
from beckn_adapter.matching import TooMuchWork, Work, matches
from csms.domain.refusal import Refusal, Why

TOUCHING_M: Final = 1.0  # two places closer than this are one
MAX_WORK: Final = 300_000  # about a tenth of a second, for one question
DOCUMENT_WORK: Final = 60  # what making an item's document costs
_TEXT_WORK: Final = 2
_STATE_WORK: Final = 15
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
    """What a buyer looks for. Everything given must hold; nothing given means anything.

    The members after `spatial` are what generation 1 asks without a filter language: plugs by our names, power in W,
    and, judged by the market, the price of a kWh in rupees and what is free now.
    """

    text: str | None = None
    filter: Filter | None = None
    spatial: tuple[Spatial, ...] = ()
    connectors: frozenset[str] | None = None
    power_w: tuple[tuple[str, int], ...] = ()
    is_dc: bool | None = None
    provider_id: str | None = None
    item_id: str | None = None
    vehicle_types: frozenset[str] | None = None
    price_per_kwh: tuple[tuple[str, Decimal], ...] = ()
    available_only: bool = False


def vehicle_key(make: str, model: str = "") -> VehicleKey:
    """How a vehicle is looked up: letters and digits only, so `Nexon-EV` and `Nexon EV` are one."""
    return letters(make), letters(model)


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
        self.document = document
        self._is_publishable = is_publishable
        self._vehicles = dict(vehicles or {})
        self._max_radius_m = max_radius_m
        self._max_items = max_items
        self._items: dict[str, ItemView] = {}
        self._cells: dict[Cell, dict[str, ItemView]] = {}
        self._by_connector: dict[str, dict[str, ItemView]] = {}
        self._by_provider: dict[str, dict[str, ItemView]] = {}
        self._by_evse: dict[str, dict[str, ItemView]] = {}
        self.kinds = Kinds()

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[ItemView]:
        return iter(self._items.values())

    def get(self, item_id: str) -> ItemView | None:
        """The item with this id, shown or not."""
        return self._items.get(item_id)

    def named(self, name: str) -> ItemView | None:
        """The item with this id, or one of the EVSE with this id."""
        return self._items.get(name) or next(iter(self._by_evse.get(name, {}).values()), None)

    def put(self, item: ItemView) -> None:
        """Add an item or replace the one with its id."""
        self.drop(item.item_id)
        self._items[item.item_id] = item
        self.kinds.add(item)
        _add(self._cells, cell_of(item.station.lon, item.station.lat), item)
        _add(self._by_connector, item.connector, item)
        _add(self._by_provider, item.provider.provider_id, item)
        _add(self._by_evse, item.evse_id, item)

    def drop(self, item_id: str) -> None:
        """Take an item out; nothing happens when it is not there."""
        item = self._items.pop(item_id, None)
        if item is None:
            return
        self.kinds.drop(item)
        _take_out(self._cells, cell_of(item.station.lon, item.station.lat), item)
        _take_out(self._by_connector, item.connector, item)
        _take_out(self._by_provider, item.provider.provider_id, item)
        _take_out(self._by_evse, item.evse_id, item)

    def search(
        self,
        intent: Intent,
        now_ms: int,
        *,
        max_items: int | None = None,
        as_of: Callable[[ItemView], ItemView] = lambda item: item,
        is_publishable: Callable[[ItemView], bool] | None = None,
        also: Callable[[ItemView], bool] | None = None,
    ) -> list[ItemView]:
        """What fits, nearest first when a circle was given, at most `max_items`.

        `as_of` gives an item its state, asked only where the filter speaks of it; `is_publishable` stands in for the
        catalogue's own; `also` is one more condition, asked last. Refusal(INVALID_REQUEST) for a
        question so costly that it would hold up everybody else and that has found nothing by then.
        """
        limit = self._max_items if max_items is None else min(max_items, self._max_items)
        judge = _Judge(
            self,
            intent,
            now_ms,
            wanted=None if intent.filter is None else self._adapt(intent.filter),
            as_of=as_of,
            is_publishable=is_publishable or self._is_publishable,
            also=also,
        )
        found: list[ItemView] = []
        try:
            if judge.circle is not None:
                named = self._named(judge.glance.ids) if judge.glance.ids is not None else None
                self._nearest(judge.circle, judge.fits, limit, named, found)
            else:
                for item in self._candidates(judge.glance, intent.spatial, judge.work):
                    if len(found) >= limit:
                        break
                    if judge.fits(item):
                        found.append(item)
        except TooMuchWork:
            if not found:
                sentence = "the question is too costly to answer; name a place, or use a simpler shape or filter"
                raise Refusal(Why.INVALID_REQUEST, sentence) from None
        return found

    def nearest(
        self, place: Point, fits: Callable[[ItemView], bool], *, reach_m: float, limit: int
    ) -> list[tuple[ItemView, float]]:
        """The nearest items that fit, with how far they are; `fits` is asked of the nearest first and few others."""
        found: list[ItemView] = []
        circle = Spatial(op="s_dwithin", shape=Shape(points=(place,)), distance_m=reach_m)
        self._nearest(circle, fits, limit, None, found)
        return [(item, distance_m(place, (item.station.lon, item.station.lat))) for item in found]

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

    def _candidates(self, glance: Glance, spatial: Sequence[Spatial], work: Work) -> Iterable[ItemView]:
        if glance.ids is not None:
            return self._named(glance.ids)
        bounded = next((condition for condition in spatial if _is_bounded(condition)), None)
        if bounded is not None:
            reach_m = max(self.reach(bounded), TOUCHING_M)
            cells = cells_around(bounded.shape, reach_m, self._cells, work)
            return chain.from_iterable(self._cells[cell].values() for cell in cells)
        if glance.provider is not None:
            return self._by_provider.get(glance.provider, {}).values()
        if glance.connectors is not None:
            per_plug = (self._by_connector.get(plug, {}) for plug in sorted(glance.connectors))
            return chain.from_iterable(items.values() for items in per_plug)
        return self._items.values()

    def _nearest(
        self,
        circle: Spatial,
        fits: Callable[[ItemView], bool],
        limit: int,
        among: Sequence[ItemView] | None,
        found: list[ItemView],
    ) -> None:
        """Rings of cells outwards; stops when nothing farther out can be nearer than what is already found. What fits
        goes to `found`, nearest first, even when the work runs out half-way."""
        centre, reach_m = circle.shape.points[0], self.reach(circle)
        best: list[tuple[float, int, ItemView]] = []  # a heap, farthest on top
        count = 0
        groups: Iterable[tuple[float, Iterable[ItemView]]] = (
            [(0.0, among)]
            if among is not None
            else (
                (away_m, self._cells[cell].values())
                for away_m, cell in sorted(cells_by_distance(centre, reach_m, self._cells))
            )
        )
        try:
            for away_m, items in groups:
                if len(best) == limit and (limit == 0 or away_m > -best[0][0]):
                    break
                for at_m, item in _by_distance(centre, items):
                    if at_m > reach_m or (len(best) == limit and at_m >= -best[0][0]):
                        break
                    if not fits(item):
                        continue
                    count += 1
                    entry = (-at_m, -count, item)
                    if len(best) < limit:
                        heapq.heappush(best, entry)
                    else:
                        heapq.heappushpop(best, entry)
        finally:
            found.extend(item for _, _, item in sorted(best, key=lambda entry: (-entry[0], -entry[1])))

    def reach(self, condition: Spatial) -> float:
        """How far a condition reaches, bounded."""
        return min(condition.distance_m, self._max_radius_m) if condition.op == "s_dwithin" else 0.0

    # --- what the published filters mean here

    def _adapt(self, found: Filter) -> Filter:
        """Read the filter as its authors mean it (BECKN 4.3): plugs by any name, EVSE ids as ids, vehicles."""
        plugs = self._plugs_of_vehicle(found)

        def change(compare: Compare) -> Filter:
            path, value = sides(compare)
            if path is None or not isinstance(value, str):
                return compare
            names = path.names()
            if is_vehicle(names):
                return Truth(True) if plugs is None else any_plug(plugs)
            if names[-1:] == ("connectorType",):
                return with_literal(compare, self._plug_word(value) or value)
            if compare.op == "==" and names == ("beckn:id",):
                return Or((compare, Compare("==", Path((ATTRIBUTES, "evseId")), Value(value))))
            return compare

        return rewrite(found, change)

    def _plugs_of_vehicle(self, found: Filter) -> tuple[str, ...] | None:
        """The plug words that fit the vehicle a filter names; None when it names none we know."""
        said = {"make": "", "model": ""}
        for compare in comparisons(found):
            path, value = sides(compare)
            if path is not None and isinstance(value, str) and is_vehicle(path.names()):
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
        if sample is None:
            return None
        attributes = self.document(sample).get(ATTRIBUTES)
        word = attributes.get("connectorType") if isinstance(attributes, Mapping) else None
        return word if isinstance(word, str) else None


# --- space --------------------------------------------------------------------------------------------------


class _Judge:
    """One question, asked of items. Connectors of one kind at one place are judged once."""

    def __init__(
        self,
        catalogue: Catalogue,
        intent: Intent,
        now_ms: int,
        *,
        wanted: Filter | None,
        as_of: Callable[[ItemView], ItemView],
        is_publishable: Callable[[ItemView], bool],
        also: Callable[[ItemView], bool] | None = None,
    ) -> None:
        self.glance = _with_plain(Glance.of(wanted), intent)
        self.work = Work(MAX_WORK)
        self._intent = intent
        self._also = also
        self.circle = next((condition for condition in intent.spatial if _is_circle(condition)), None)
        self._others = [_Placed(c, catalogue.reach(c), self.work) for c in intent.spatial if c is not self.circle]
        self._words = words_of(intent.text)
        self._now_ms = now_ms
        self._is_publishable = is_publishable
        self._as_of = as_of if wanted is not None and says_state(wanted) else None
        self._document = catalogue.document
        self._wanted = None if self.glance.is_all else wanted
        self._per_item = self._wanted is not None and (self._as_of is not None or says_identity(self._wanted))
        self._kind_of, self._texts = catalogue.kinds.of, catalogue.kinds.texts
        self._known: dict[int, bool] = {}

    def fits(self, item: ItemView) -> bool:
        """Whether it is an answer. Raises TooMuchWork."""
        kind = self._kind_of[item.item_id]
        known = self._known.get(kind)
        if known is None:
            known = self._known[kind] = self._kind_fits(item)
        if not known or not item.is_visible_at(self._now_ms):
            return False
        if self._per_item and not self._passes(item):
            return False
        if self._also is None:
            return True
        self.work.spend(_STATE_WORK)
        return self._also(item)

    def _kind_fits(self, item: ItemView) -> bool:
        self.work.spend(len(self.glance.power_kw) // 4)
        if not self.glance.may_fit(item) or not self._is_publishable(item):
            return False
        if not _is_kind(item, self._intent):
            return False
        if self._words:
            self.work.spend(_TEXT_WORK)
            text = self._texts[self._kind_of[item.item_id]]
            if not all(word in text for word in self._words):
                return False
        if not all(other.holds(item) for other in self._others):
            return False
        return self._per_item or self._passes(item)

    def _passes(self, item: ItemView) -> bool:
        if self._wanted is None:
            return True
        self.work.spend(DOCUMENT_WORK)
        shown = item if self._as_of is None else self._as_of(item)
        return matches(self._wanted, self._document(shown), self.work)


def _with_plain(glance: Glance, intent: Intent) -> Glance:
    """What the intent says outside its filter narrows the search just as well."""
    plugs, item_id = intent.connectors, intent.item_id
    if plugs is not None:
        glance = replace(glance, connectors=plugs if glance.connectors is None else glance.connectors & plugs)
    if item_id is not None:
        ids = frozenset({item_id})
        glance = replace(glance, ids=ids if glance.ids is None else glance.ids & ids)
    if intent.provider_id is not None:
        glance = replace(glance, provider=intent.provider_id)
    return replace(glance, power_kw=(*glance.power_kw, *((op, watts / 1000) for op, watts in intent.power_w)))


def _is_kind(item: ItemView, intent: Intent) -> bool:
    """Current and vehicle, as far as they are known of the item."""
    is_dc = None if item.power_type is None else item.power_type is PowerType.DC
    if intent.is_dc is not None and is_dc not in (None, intent.is_dc):
        return False
    fits = vehicle_types(item)
    return intent.vehicle_types is None or not fits or not intent.vehicle_types.isdisjoint(fits)


class _Placed:
    """A condition asked of a place."""

    def __init__(self, condition: Spatial, reach_m: float, work: Work) -> None:
        self._condition = condition
        self._reach_m = reach_m
        self._work = work
        self._cost = 4 * sum(1 for _ in condition.shape.vertices())

    def holds(self, item: ItemView) -> bool:
        self._work.spend(self._cost)
        station = item.station
        return _relates(self._condition, (station.lon, station.lat), self._reach_m) is not self._condition.negated


def _by_distance(centre: Point, items: Iterable[ItemView]) -> list[tuple[float, ItemView]]:
    """Nearest first, each place measured once: many connectors stand at one station."""
    stations: dict[int, tuple[float, list[ItemView]]] = {}
    for item in items:
        station = item.station
        known = stations.get(id(station))
        if known is None:
            known = stations[id(station)] = (distance_m(centre, (station.lon, station.lat)), [])
        known[1].append(item)
    return [(at_m, item) for at_m, group in sorted(stations.values(), key=lambda s: s[0]) for item in group]


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


def _add(index: dict[_Key, dict[str, ItemView]], key: _Key, item: ItemView) -> None:
    index.setdefault(key, {})[item.item_id] = item


def _take_out(index: dict[_Key, dict[str, ItemView]], key: _Key, item: ItemView) -> None:
    index[key].pop(item.item_id)
    if not index[key]:
        del index[key]
