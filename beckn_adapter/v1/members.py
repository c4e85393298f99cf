"""Members of a Beckn 1.1.0 message, read with patience (BECKN 5.1). Pure; see `beckn_adapter.members`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from beckn_adapter.members import MAX_TEXT, invalid, mapping, number_of

_DIGITS: Final = frozenset("0123456789")


def listed(value: object) -> Sequence[object]:
    """A list; one object standing where a list belongs is a list of one."""
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, Mapping) else []


def first(value: object) -> Mapping[str, object]:
    """The first object of a list, or the object itself."""
    entries = listed(value)
    return mapping(entries[0]) if entries else {}


def text_of(holder: Mapping[str, object], name: str, limit: int = MAX_TEXT) -> str | None:
    """A non-empty text, or None. One beyond `limit` is refused rather than cut: it may be an id."""
    value = holder.get(name)
    if not isinstance(value, str) or not value.strip():
        return None
    if len(value) > limit:
        raise invalid(f"{name} is longer than {limit} characters")
    return value.strip()


def word_of(holder: Mapping[str, object], name: str) -> str | None:
    """A text, or a number as text: codes and ratings come as either."""
    value = holder.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = number_of(value)
        return None if number is None else plain(number)
    return text_of(holder, name)


def figure_of(value: object) -> Decimal | None:
    """The number a text begins with: `2.5%`, `25 INR`, `60kW`."""
    if not isinstance(value, str):
        return number_of(value)
    head = value.strip()[:40]
    end = 0
    while end < len(head) and head[end] in "+-.0123456789":
        end += 1
    return number_of(head[:end])


def plain(number: Decimal) -> str:
    """`10.50` as `10.5`, `10` as `10`, never with an exponent."""
    shown = f"{number:f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def code_of(text: str) -> str:
    """A code as the guides mean it, however they spell it: `Connector_Type`, `CONNECTOR TYPE` -> `connector-type`."""
    return "-".join(text.casefold().replace("_", " ").replace("-", " ").split())


def phone_of(text: str | None) -> str | None:
    """A telephone number without the hyphens and blanks that some networks refuse (BECKN 5.8)."""
    if text is None:
        return None
    kept = "".join(char for char in text if char in _DIGITS or char == "+")
    return kept or None
