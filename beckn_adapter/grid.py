"""The earth in squares of a twentieth of a degree: which squares a shape may touch, nearest first. Pure.

A square is about 5.5 km high. What stands in a square is the caller's; here are only numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from beckn_adapter.geo import METRES_PER_DEGREE, Point, Shape, distance_m
from beckn_adapter.matching import Work

CELL_DEGREES: Final = 0.05
COLUMNS: Final = round(360 / CELL_DEGREES)

Cell = tuple[int, int]


def cell_of(lon: float, lat: float) -> Cell:
    """The square a place stands in."""
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
    box: tuple[float, float, float, float], known: Mapping[Cell, object], work: Work | None = None
) -> list[Cell]:
    """The known cells in a box; by walking the box or by walking what is known, whichever is less."""
    west, south, east, north = box
    first_row, last_row = (math.floor((lat + 90) / CELL_DEGREES) for lat in (south, north))
    first, last = (math.floor((lon + 180) / CELL_DEGREES) for lon in (west, east))
    last = min(last, first + COLUMNS)
    if work is not None:
        work.spend(1 + (last - first) // 8)  # before it is done: a line may go round the earth at every corner
    columns = {column % COLUMNS for column in range(first, last + 1)}
    if work is not None:
        work.spend(min(len(columns) * (last_row - first_row + 1), len(known)))
    if len(columns) * (last_row - first_row + 1) > len(known):
        return [cell for cell in known if first_row <= cell[1] <= last_row and cell[0] in columns]
    rows = range(first_row, last_row + 1)
    return [(column, row) for column in columns for row in rows if (column, row) in known]


def cells_by_distance(centre: Point, reach_m: float, known: Mapping[Cell, object]) -> Iterator[tuple[float, Cell]]:
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


def cells_around(shape: Shape, reach_m: float, known: Mapping[Cell, object], work: Work) -> list[Cell]:
    """Known cells that may hold a place within `reach_m` of the shape, in a fixed order."""
    # Lines piece by piece: the box around a whole route would be most of a country.
    pieces: list[Sequence[Point]] = [[point] for point in shape.points]
    pieces += [piece for line in shape.lines for piece in pairwise(line)]
    pieces += [rings[0] for rings in shape.polygons]
    cells: set[Cell] = set()
    for piece in pieces:
        cells.update(_cells_in(_box(piece, reach_m), known, work))
    return sorted(cells)
