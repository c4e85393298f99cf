"""Places on the earth, as far as finding a charger needs them: GeoJSON read once, distances in metres.

Longitude comes first, as in GeoJSON. Distances are great-circle for points; edges are taken as straight in a
local flat map around the point asked about, which is exact enough below a few hundred kilometres.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

EARTH_M: Final = 6_371_008.8
METRES_PER_DEGREE: Final = EARTH_M * math.pi / 180
MAX_VERTICES: Final = 2000
MAX_GEOMETRIES: Final = 64
MAX_NESTING: Final = 4

Point = tuple[float, float]
Line = tuple[Point, ...]


class GeometryProblem(ValueError):
    """The geometry cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A GeoJSON geometry taken apart. A polygon is its outer ring and its holes."""

    points: tuple[Point, ...] = ()
    lines: tuple[Line, ...] = ()
    polygons: tuple[tuple[Line, ...], ...] = ()

    def edges(self) -> Iterator[tuple[Point, Point]]:
        """Every straight piece of every line and ring."""
        for line in self.lines:
            yield from pairwise(line)
        for rings in self.polygons:
            for ring in rings:
                yield from pairwise(ring)

    def vertices(self) -> Iterator[Point]:
        """Every corner."""
        yield from self.points
        for line in self.lines:
            yield from line
        for rings in self.polygons:
            for ring in rings:
                yield from ring


def read_geometry(value: object) -> Shape:
    """A GeoJSON geometry -> Shape. Raises GeometryProblem."""
    shape = _read(value, 0)
    corners = sum(1 for _ in shape.vertices())
    if corners == 0:
        raise GeometryProblem("the geometry has no coordinates")
    if corners > MAX_VERTICES:
        raise GeometryProblem(f"the geometry has more than {MAX_VERTICES} corners")
    return shape


def _read(value: object, depth: int) -> Shape:
    if not isinstance(value, Mapping) or depth > MAX_NESTING:
        raise GeometryProblem("the geometry is not a GeoJSON object")
    coordinates = value.get("coordinates")
    match value.get("type"):
        case "Point":
            return Shape(points=(_point(coordinates),))
        case "MultiPoint":
            return Shape(points=tuple(_point(one) for one in _list(coordinates)))
        case "LineString":
            return Shape(lines=(_line(coordinates),))
        case "MultiLineString":
            return Shape(lines=tuple(_line(one) for one in _list(coordinates)))
        case "Polygon":
            return Shape(polygons=(_polygon(coordinates),))
        case "MultiPolygon":
            return Shape(polygons=tuple(_polygon(one) for one in _list(coordinates)))
        case "GeometryCollection":
            members = _list(value.get("geometries"))
            if len(members) > MAX_GEOMETRIES:
                raise GeometryProblem(f"the collection has more than {MAX_GEOMETRIES} members")
            shapes = [_read(member, depth + 1) for member in members]
            return Shape(
                points=tuple(point for shape in shapes for point in shape.points),
                lines=tuple(line for shape in shapes for line in shape.lines),
                polygons=tuple(polygon for shape in shapes for polygon in shape.polygons),
            )
        case other:
            raise GeometryProblem(f"geometry type {str(other)[:40]} is not GeoJSON")


def _list(value: object) -> list[object]:
    if not isinstance(value, list) or len(value) > MAX_VERTICES:
        raise GeometryProblem("coordinates are not a list of the right depth")
    return value


def _point(value: object) -> Point:
    position = _list(value)
    if len(position) not in (2, 3):
        raise GeometryProblem("a position is [longitude, latitude]")
    lon, lat = position[0], position[1]
    if isinstance(lon, bool) or isinstance(lat, bool):
        raise GeometryProblem("a position is [longitude, latitude]")
    if not (isinstance(lon, int | float) and isinstance(lat, int | float)):
        raise GeometryProblem("a position is [longitude, latitude]")
    # Comparisons are false for NaN, so this refuses it too.
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise GeometryProblem("a position lies outside longitude ±180, latitude ±90")
    return float(lon), float(lat)


def _line(value: object) -> Line:
    line = tuple(_point(one) for one in _list(value))
    if len(line) < 2:
        raise GeometryProblem("a line has at least two positions")
    return line


def _polygon(value: object) -> tuple[Line, ...]:
    rings = tuple(_ring(one) for one in _list(value))
    if not rings:
        raise GeometryProblem("a polygon has at least one ring")
    return rings


def _ring(value: object) -> Line:
    ring = _line(value)
    if ring[0] != ring[-1]:
        ring = (*ring, ring[0])
    if len(ring) < 4:
        raise GeometryProblem("a ring has at least three different positions")
    return ring


# --- measuring ----------------------------------------------------------------------------------------------


def distance_m(a: Point, b: Point) -> float:
    """Great-circle distance (haversine)."""
    lon_a, lat_a, lon_b, lat_b = map(math.radians, (*a, *b))
    half = math.sin((lat_b - lat_a) / 2) ** 2
    half += math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_M * math.asin(min(1.0, math.sqrt(half)))


def distance_to_edge_m(at: Point, start: Point, end: Point) -> float:
    """From a point to a straight piece, in a flat map centred on the point."""
    scale_x = METRES_PER_DEGREE * math.cos(math.radians(at[1]))
    x1, y1 = _turn(start[0] - at[0]) * scale_x, (start[1] - at[1]) * METRES_PER_DEGREE
    x2, y2 = _turn(end[0] - at[0]) * scale_x, (end[1] - at[1]) * METRES_PER_DEGREE
    dx, dy = x2 - x1, y2 - y1
    length2 = dx * dx + dy * dy
    along = 0.0 if length2 == 0 else min(1.0, max(0.0, -(x1 * dx + y1 * dy) / length2))
    return math.hypot(x1 + along * dx, y1 + along * dy)


def _turn(degrees: float) -> float:
    """A difference of longitudes, the short way round."""
    return (degrees + 180) % 360 - 180


def is_inside(at: Point, rings: tuple[Line, ...]) -> bool:
    """Even-odd ray casting over the outer ring and the holes together."""
    lon, lat = at
    inside = False
    for ring in rings:
        for (x1, y1), (x2, y2) in pairwise(ring):
            if (y1 > lat) != (y2 > lat) and lon < x1 + (lat - y1) / (y2 - y1) * (x2 - x1):
                inside = not inside
    return inside


def distance_to_shape_m(at: Point, shape: Shape) -> float:
    """How far a point is from a shape; 0 inside a polygon."""
    if any(is_inside(at, rings) for rings in shape.polygons):
        return 0.0
    nearest = min((distance_m(at, point) for point in shape.points), default=math.inf)
    edges = min((distance_to_edge_m(at, start, end) for start, end in shape.edges()), default=math.inf)
    return min(nearest, edges)
