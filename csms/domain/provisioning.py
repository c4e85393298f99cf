"""What is wanted of a charger's configuration, and how what it says differs from that. Pure.

A template wants values of names; the name is a key (1.6) or `Component.Variable` (2.0.1), matched without regard to
case as both versions define them. Only what the charger reported and lets us write can differ: a template may want
more than any one model knows.

    templates that match ─▶ wanted() ─▶ drift(wanted, found) ─▶ written ─▶ read again ─▶ judge()
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final, TypeVar

T = TypeVar("T")

ACTUAL: Final = "Actual"
READ_ONLY: Final = "ReadOnly"
WRITE_ONLY: Final = "WriteOnly"
READ_WRITE: Final = "ReadWrite"
REBOOT_REQUIRED: Final = "RebootRequired"

# Only these lists have an order that means something (2.0.1 2.1.20 SequenceList: most preferred first).
_ORDERED: Final = "SequenceList"
_TRUE: Final = frozenset({"true", "1"})
_FALSE: Final = frozenset({"false", "0"})


class State(StrEnum):
    """How a charger stands to what is wanted of it."""

    UNKNOWN = "unknown"  # never compared
    IN_STEP = "in-step"
    DRIFTED = "drifted"
    REBOOT_NEEDED = "reboot-needed"  # written; it counts after a restart
    FAILED = "failed"  # written, and it would not take it


@dataclass(frozen=True, slots=True)
class Item:
    """One value a charger holds. `value` None: not set, or it may not be read."""

    name: str
    value: str | None
    mutability: str | None = None
    attribute: str = ACTUAL
    data: Mapping[str, Any] = field(default_factory=dict)  # 2.0.1: component, variable, characteristics

    @property
    def kind(self) -> str | None:
        """2.0.1's data type of it; None in 1.6."""
        told = self.data.get("characteristics")
        return told.get("dataType") if isinstance(told, Mapping) else None


@dataclass(frozen=True, slots=True)
class Nature:
    """What templates match by."""

    station: str
    vendor: str | None = None
    model: str | None = None
    location_id: str | None = None
    transport: str | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """Values wanted of every charger that matches. An empty `match` matches all."""

    id: str
    wanted: Mapping[str, str]
    priority: int = 0
    transport: str | None = None
    vendor: str | None = None  # a glob, as `model` is
    model: str | None = None
    location_id: str | None = None
    charger_id: str | None = None
    enabled: bool = True

    def fits(self, nature: Nature) -> bool:
        """Whether it wants something of this charger."""
        return (
            self.enabled
            and self.transport in {None, nature.transport}
            and self.charger_id in {None, nature.station}
            and self.location_id in {None, nature.location_id}
            and _globs(self.vendor, nature.vendor)
            and _globs(self.model, nature.model)
        )


def _globs(pattern: str | None, value: str | None) -> bool:
    return pattern is None or fnmatchcase((value or "").casefold(), pattern.casefold())


@dataclass(frozen=True, slots=True)
class Wanted:
    """A value and the template that wants it."""

    name: str
    value: str
    template: str


def wanted(templates: Iterable[Template], nature: Nature, base: Template | None = None) -> dict[str, Wanted]:
    """What is wanted of a charger, by folded name: `base`, then what fits by rising priority (and id); the last counts.

    `base` was chosen for it and does not have to fit.
    """
    fitting = sorted((one for one in templates if one.fits(nature)), key=lambda one: (one.priority, one.id))
    found: dict[str, Wanted] = {}
    for template in [*([base] if base is not None else []), *fitting]:
        for name, value in template.wanted.items():
            found[name.casefold()] = Wanted(name, value, template.id)
    return found


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference. `outcome` is the charger's word for our last attempt to write it."""

    name: str
    wanted: str
    found: str | None
    template: str
    outcome: str | None = None


def drift(wants: Mapping[str, Wanted], items: Iterable[Item], outcomes: Mapping[str, str] | None = None) -> list[Drift]:
    """What differs and can be written, by name. `outcomes` of earlier attempts, by folded name, are carried over."""
    told = outcomes or {}
    found: list[Drift] = []
    for item in items:
        want = wants.get(item.name.casefold())
        if want is None or item.attribute != ACTUAL or item.mutability in {READ_ONLY, WRITE_ONLY}:
            continue
        if not is_same(want.value, item.value, item.kind):
            found.append(Drift(item.name, want.value, item.value, want.template, told.get(item.name.casefold())))
    return sorted(found, key=lambda one: one.name.casefold())


def is_same(want: str, have: str | None, kind: str | None = None) -> bool:
    """Whether two spellings mean one value: `TRUE` is `true`, `60.0` is `60`, most lists have no order.

    `kind` is 2.0.1's data type where it is known; without it a text with commas is a list.
    """
    left, right = want.strip(), (have or "").strip()
    if left == right:
        return True
    if kind not in {"string", _ORDERED, "MemberList"}:
        if left.casefold() in _TRUE | _FALSE and (kind == "boolean" or not _is_number(left)):
            return right.casefold() in (_TRUE if left.casefold() in _TRUE else _FALSE)
        if _is_number(left) and _is_number(right):
            return Decimal(left) == Decimal(right)
    if kind == "string" or not ("," in left or "," in right):
        return False
    ours, theirs = ([part.strip() for part in text.split(",") if part.strip()] for text in (left, right))
    return ours == theirs if kind == _ORDERED else set(ours) == set(theirs)


def _is_number(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


def judge(differing: Sequence[Drift], *, waits_for_reboot: bool) -> State:
    """The state after comparing. Before its restart a charger may show old values or new ones: neither counts.

    FAILED when all that differs was tried already: writing the same once more would change nothing.
    """
    if waits_for_reboot:
        return State.REBOOT_NEEDED
    if not differing:
        return State.IN_STEP
    return State.FAILED if all(one.outcome is not None for one in differing) else State.DRIFTED


def carried(before: Sequence[Drift], now: Sequence[Drift]) -> list[Drift]:
    """`now` with the outcomes of the same differences as they stood before."""
    known = {(one.name.casefold(), one.wanted): one.outcome for one in before}
    return [replace(one, outcome=one.outcome or known.get((one.name.casefold(), one.wanted))) for one in now]


def batches(
    items: Sequence[T], sizes: Sequence[int], *, most: int | None, most_bytes: int | None, frame_bytes: int
) -> list[list[T]]:
    """`items` in messages of at most `most` items and `most_bytes` bytes; one that alone is too big goes alone.

    `sizes` are the bytes each takes, `frame_bytes` what the rest of the message takes.
    """
    made: list[list[T]] = []
    used = 0
    for item, size in zip(items, sizes, strict=True):
        is_full = bool(made) and (
            (most is not None and len(made[-1]) >= most)
            or (most_bytes is not None and used + size + 1 + frame_bytes > most_bytes)
        )
        if not made or is_full:
            made.append([])
            used = 0
        made[-1].append(item)
        used += size + 1
    return made


def is_whole(parts: Mapping[int, bool]) -> bool:
    """Whether a report in parts is complete: every number from 0 to the one that says no more is to come.

    `parts` maps the sequence number to "this is the last".
    """
    last = max((number for number, is_last in parts.items() if is_last), default=-1)
    return last >= 0 and all(number in parts for number in range(last))
