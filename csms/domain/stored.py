"""Frozen domain values as plain JSON and back, for what an order keeps for ever.

A `Decimal` travels as a string (JSON numbers are binary floats on the other side), an enum as its value, a
set as a sorted list. Reading back is strict: a wrong type, an unknown or a missing member is `Unreadable`,
since a stored price that was read nearly right would be billed wrong. Members with a default may be absent,
so that old records stay readable when a type grows.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


class Unreadable(ValueError):
    """Stored JSON is not what `to_json` writes for the type asked for."""


def to_json(value: object) -> dict[str, Any]:
    """The members of one dataclass instance, as JSON can hold them."""
    if not is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"{type(value).__name__} is not a dataclass instance")
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def from_json(cls: type[T], data: Mapping[str, Any]) -> T:
    """The inverse of `to_json` for the dataclass `cls`. `Unreadable` when `data` is not what it wrote."""
    if not isinstance(data, Mapping):
        raise Unreadable(f"{cls.__name__}: expected an object, got {data!r}")
    members = _members(cast(Hashable, cls))
    if unknown := sorted(set(data) - set(members)):
        raise Unreadable(f"{cls.__name__}: unknown members {', '.join(unknown)}")
    if missing := sorted(name for name, (_, needed) in members.items() if needed and name not in data):
        raise Unreadable(f"{cls.__name__}: missing members {', '.join(missing)}")
    values = {name: _typed(members[name][0], data[name], f"{cls.__name__}.{name}") for name in data}
    return cls(**values)


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int():
            return value
        case Decimal():
            return str(value)
        case StrEnum():
            return value.value
        case str() | float():
            return value
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case frozenset() | set():
            return sorted(_plain(item) for item in value)
        case tuple() | list():
            return [_plain(item) for item in value]
        case _:
            return to_json(value)


@lru_cache(maxsize=256)
def _members(cls: Any) -> dict[str, tuple[Any, bool]]:
    hints = get_type_hints(cls)
    return {field.name: (hints[field.name], _is_needed(field)) for field in fields(cls)}


def _is_needed(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _typed(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return _optional(hint, value, where)
    if origin is tuple:
        return tuple(_typed(get_args(hint)[0], item, where) for item in _array(value, where))
    if origin is frozenset:
        return frozenset(_typed(get_args(hint)[0], item, where) for item in _array(value, where))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise Unreadable(f"{where}: expected an object, got {value!r}")
        return dict(value)
    return _scalar(hint, value, where)


def _optional(hint: Any, value: Any, where: str) -> Any:
    """`X | None` is the only union stored values have."""
    (inner,) = (arm for arm in get_args(hint) if arm is not NoneType)
    return None if value is None else _typed(inner, value, where)


def _array(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise Unreadable(f"{where}: expected an array, got {value!r}")
    return value


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    if hint is Decimal:
        return _decimal(value, where)
    if isinstance(hint, type) and issubclass(hint, StrEnum) and isinstance(value, str):
        if value not in set(hint):
            raise Unreadable(f"{where}: {value!r} is no {hint.__name__}")
        return hint(value)
    if hint is int and isinstance(value, bool):
        raise Unreadable(f"{where}: expected a whole number, got {value!r}")
    if not isinstance(hint, type) or not isinstance(value, hint):
        raise Unreadable(f"{where}: expected {getattr(hint, '__name__', hint)}, got {value!r}")
    return value


def _decimal(value: Any, where: str) -> Decimal:
    if not isinstance(value, str):
        raise Unreadable(f"{where}: a decimal is stored as a string, got {value!r}")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise Unreadable(f"{where}: {value!r} is not a decimal") from None
    if not number.is_finite():
        raise Unreadable(f"{where}: {value!r} is not a finite decimal")
    return number
