"""Tag groups of Beckn 1.1.0: reading every spelling, writing one (BECKN 5.1, 5.2).

Groups often lack their code, sometimes have only a name or nothing; entries stand in a list, or (in one guide) the
group itself carries the value. So a group is a set of entries whose codes are what counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from beckn_adapter.members import mapping
from beckn_adapter.v1.members import code_of, listed, word_of

Json = dict[str, object]
MAX_ENTRIES: Final = 200
MAX_LOOKED_AT: Final = 1000  # groups and entries, empty ones too: a mebibyte of `{}` is no work for anybody


@dataclass(frozen=True, slots=True)
class Entry:
    """One value under a group. Codes are normalised (`connector-type`); a missing one is empty."""

    group: str
    code: str
    value: str


def entries_of(*holders: object) -> tuple[Entry, ...]:
    """Every entry of the `tags` of these holders, bounded."""
    found: list[Entry] = []
    places = (place for holder in holders for place in _entries(listed(mapping(holder).get("tags"))))
    for entry in islice(places, MAX_LOOKED_AT):
        if entry is not None:
            found.append(entry)
        if len(found) >= MAX_ENTRIES:
            break
    return tuple(found)


def _entries(groups: Iterable[object]) -> Iterator[Entry | None]:
    """One per group and per entry; None where nothing is said."""
    for group in groups:
        named = _code(mapping(group))
        own = word_of(mapping(group), "value")
        yield Entry("", named, own) if own is not None else None
        for entry in listed(mapping(group).get("list")):
            value = word_of(mapping(entry), "value")
            code = _code(mapping(entry))
            yield Entry(named, code, value or "") if value is not None or code else None


def _code(holder: Mapping[str, object]) -> str:
    descriptor = mapping(holder.get("descriptor"))
    for source in (descriptor, holder):
        for name in ("code", "name"):
            text = source.get(name)
            if isinstance(text, str) and text.strip():
                return code_of(text[:200])
    return ""


def group(code: str, name: str, entries: Iterable[tuple[str, str, str | None]], *, display: bool | None = None) -> Json:
    """A group of (code, name, value); entries without a value are codes alone."""
    shown: Json = {"descriptor": {"code": code, "name": name}}
    if display is not None:
        shown["display"] = display
    written: list[Json] = []
    for entry_code, entry_name, value in entries:
        entry: Json = {"descriptor": {"code": entry_code, "name": entry_name}}
        if value is not None:
            entry["value"] = value
        written.append(entry)
    shown["list"] = written
    return shown
