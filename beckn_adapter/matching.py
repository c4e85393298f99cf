"""Whether a document passes a filter, at a price that is counted.

A comparison whose path leads nowhere is false, also for `!=`. Arrays match when any element does. A filter may name
paths that lead everywhere (`@.*.*`) and compare them with each other, so every step is charged to a `Work`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from beckn_adapter.filters import And, Compare, Each, Exists, Filter, Not, Or, Path, Step, Truth, Value

MAX_WORK: Final = 1_000_000
WINDOWS: Final = "beckn:availabilityWindow"

_Ordered = TypeVar("_Ordered", str, float)


class TooMuchWork(Exception):
    """A question costs more than anybody may ask for."""


class Work:
    """Counts what a question costs, so that one question cannot hold up everybody. A unit is about half a us."""

    __slots__ = ("left",)

    def __init__(self, units: int) -> None:
        self.left = units

    def spend(self, units: int) -> None:
        """Raises TooMuchWork when nothing is left."""
        self.left -= units
        if self.left < 0:
            raise TooMuchWork


def matches(found: Filter, document: Mapping[str, object], work: Work | None = None) -> bool:
    """Whether `document` passes the filter. `work` is charged for every step; raises TooMuchWork."""
    work = work if work is not None else Work(MAX_WORK)
    windows = document.get(WINDOWS)
    if isinstance(windows, list) and len(windows) > 1 and not _has_not(found):
        # A start and an end asked for together must be found in one and the same window.
        return any(_holds(found, {**document, WINDOWS: [window]}, work) for window in windows)
    return _holds(found, document, work)


def _holds(found: Filter, document: Mapping[str, object], work: Work) -> bool:
    match found:
        case And(parts):
            return all(_holds(part, document, work) for part in parts)
        case Or(parts):
            return any(_holds(part, document, work) for part in parts)
        case Not(of):
            return not _holds(of, document, work)
        case Truth(value):
            return value
        case Exists(path):
            return bool(_find(path, document, work))
        case Compare(op, left, right):
            lefts, rights = _leaves(left, document, work), _leaves(right, document, work)
            work.spend(len(lefts) * len(rights))
            return any(_compare(op, one, other) for one in lefts for other in rights)


def _has_not(found: Filter) -> bool:
    match found:
        case Not():
            return True
        case And(parts) | Or(parts):
            return any(_has_not(part) for part in parts)
        case _:
            return False


def _leaves(operand: Path | Value, document: Mapping[str, object], work: Work) -> list[object]:
    if isinstance(operand, Value):
        return [operand.value]
    found = _find(operand, document, work)
    return [leaf for one in found for leaf in (one if isinstance(one, list) else (one,))]


def _find(path: Path, document: object, work: Work) -> list[object]:
    here = [document]
    for step in path.steps:
        here = [found for node in here for found in _follow(node, step)]
        work.spend(1 + len(here))
        if not here:
            break
    return here


def _follow(node: object, step: Step) -> list[object]:
    match node, step:
        case list(), Each():
            return node
        case dict(), Each():
            return list(node.values())
        case list(), int():
            return [node[step]] if -len(node) <= step < len(node) else []
        case list(), str():
            return [found for element in node for found in _follow(element, step)]
        case dict(), str():
            if step in node:
                return [node[step]]
            head, dot, rest = step.partition(".")
            # One bracket with several names in it: "$['a.b.c']" as the published examples write it.
            return _follow(node[head], rest) if dot and head in node else []
        case _:
            return []


def _compare(op: str, left: object, right: object) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        left_clock, right_clock = _clock(left), _clock(right)
        if left_clock is not None and right_clock is not None:
            return ordered(op, left_clock, right_clock)
        return ordered(op, left, right)
    if isinstance(left, bool) or isinstance(right, bool) or left is None or right is None:
        same = type(left) is type(right) and left == right
        return same if op == "==" else not same if op == "!=" else False
    if isinstance(left, int | float) and isinstance(right, int | float):
        return ordered(op, left, right)
    # Values of different kinds are different, and have no order.
    return op == "!="


def ordered(op: str, left: _Ordered, right: _Ordered) -> bool:
    """`left op right` for two values of one kind."""
    match op:
        case "==":
            return left == right
        case "!=":
            return left != right
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case _:
            return left >= right


def _clock(text: str) -> str | None:
    """`HH:MM:SS` of a clock time, without fraction and offset; None when the text is something else."""
    head = text[:8]
    if len(head) != 8 or head[2] != ":" or head[5] != ":":
        return None
    if not (head[:2] + head[3:5] + head[6:]).isdigit():
        return None
    return head if text[8:9] in ("", "Z", "+", "-", ".") else None
