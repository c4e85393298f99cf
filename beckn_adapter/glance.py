"""What a filter says at first glance: conditions that narrow a search before any document is made (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from beckn_adapter.catalog import ItemView, connector_named, number
from beckn_adapter.filters import Compare, Each, Filter, Or, Path, Truth, Value, conjuncts, paths
from beckn_adapter.matching import ordered

ATTRIBUTES = "beckn:itemAttributes"


@dataclass(frozen=True, slots=True)
class Glance:
    """Conditions that must hold whatever else the filter says. `is_all`: the filter says nothing beyond them."""

    connectors: frozenset[str] | None = None
    provider: str | None = None
    ids: frozenset[str] | None = None
    power_kw: tuple[tuple[str, float], ...] = ()
    is_all: bool = True

    @classmethod
    def of(cls, found: Filter | None) -> Glance:
        """What a filter says."""
        glance = cls()
        for part in conjuncts(found) if found is not None else ():
            glance = glance._and(part)
        return glance

    def _and(self, part: Filter) -> Glance:
        if part == Truth(True):
            return self
        words = _alternatives(part, (ATTRIBUTES, "connectorType"))
        if words is not None:
            named = frozenset(name for word in words if (name := connector_named(word)) is not None)
            both = named if self.connectors is None else self.connectors & named
            return replace(self, connectors=both)
        ids = _alternatives(part, ("beckn:id",), (ATTRIBUTES, "evseId"))
        if ids is not None:
            return replace(self, ids=ids if self.ids is None else self.ids & ids, is_all=False)
        if isinstance(part, Compare):
            path, value = sides(part)
            names = () if path is None else path.names()
            if names == ("beckn:provider", "beckn:id") and part.op == "==" and isinstance(value, str):
                return replace(self, provider=value, is_all=self.is_all and self.provider in (None, value))
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if names == (ATTRIBUTES, "maxPowerKW") and is_number and isinstance(part.left, Path):
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
    path, value = sides(part)
    if path is None or path.names() not in paths or not isinstance(value, str):
        return None
    return frozenset({value})


def sides(compare: Compare) -> tuple[Path | None, object]:
    """The path and the literal of a comparison between the two, in either order."""
    match compare:
        case Compare(_, Path() as path, Value(value)) | Compare(_, Value(value), Path() as path):
            return path, value
        case _:
            return None, None


def says_state(found: Filter) -> bool:
    """Whether a connector's state of now decides about it."""
    return any("beckn:isActive" in path.names() or not _is_plain(path) for path in paths(found))


def says_identity(found: Filter) -> bool:
    """Whether two connectors of one kind at one place may be told apart by it: by an id, or by a path that could lead
    anywhere."""
    return any(
        path.names()[0] == "beckn:id" or "evseId" in path.names() if _is_plain(path) else True for path in paths(found)
    )


def _is_plain(path: Path) -> bool:
    return bool(path.names()) and not any(isinstance(step, Each) for step in path.steps)


def with_literal(compare: Compare, text: str) -> Compare:
    """The same comparison with another literal."""
    if isinstance(compare.left, Value):
        return Compare(compare.op, Value(text), compare.right)
    return Compare(compare.op, compare.left, Value(text))


def is_vehicle(names: tuple[str, ...]) -> bool:
    """Whether a path leads to a vehicle's make or model (which no catalogue has, BECKN 4.3-3)."""
    return len(names) >= 2 and names[-2] == "vehicle" and names[-1] in ("make", "model")


def any_plug(words: Sequence[str]) -> Filter:
    """One of these connector types."""
    choices = [Compare("==", Path((ATTRIBUTES, "connectorType")), Value(word)) for word in words]
    return choices[0] if len(choices) == 1 else Or(tuple(choices))


def letters(text: str) -> str:
    """Letters and digits only, without case."""
    return "".join(char for char in text.casefold() if char.isalnum())
