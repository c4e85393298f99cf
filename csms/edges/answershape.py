"""What chargers answered to calls of ours, brought into the shape of its schema before a program reads it.

Frames keep an answer as it came, and an operator who asked in OCPP's own words sees those words. Whoever takes answers
apart gets what fits: what is no list, text or number where one belongs is read as one when that is plain (one thing
for a list of one, `60` for `"60"`) and left out otherwise, and so is an item of a list without what names it. So one
bad entry of a hundred costs that entry, and no reader has to doubt the type of what it finds. Nothing is made up, and
a word that is in no list stays: readers look for those they know. A required member of the answer itself may still be
missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from msgspec import inspect

from csms.app.stations import Stations
from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.schemas import UnknownAction, schemas_for

_BOOLEANS: Final = {"true": True, "false": False}
_VAST: Final = 2**63


class _Unfit(Exception):
    """It cannot be read as what belongs there."""


def shaped(version: Version, action: str, response: object) -> dict[str, Any]:
    """The parts of the payload of a RESULT that have the types which the schema of `action` gives them."""
    if not isinstance(response, dict):
        return {}
    try:
        kind = _kind(version, action)
    except UnknownAction:
        return dict(response)
    return _members(response, kind)


def shaped_of(stations: Stations, station_id: str, action: str, response: object) -> dict[str, Any]:
    """The same in the version which the charger speaks."""
    station = stations.get(station_id)
    if station is None or station.transport is None:
        return response if isinstance(response, dict) else {}
    return shaped(Version(station.transport), action, response)


@lru_cache(maxsize=256)
def _kind(version: Version, action: str) -> inspect.StructType:
    kind = inspect.type_info(schemas_for(version).struct(action, "response"))
    assert isinstance(kind, inspect.StructType)
    return kind


def _members(given: Mapping[str, Any], kind: inspect.StructType) -> dict[str, Any]:
    built = dict(given)  # a vendor's own members stay
    for member in kind.fields:
        value = built.pop(member.name, None)
        if value is None:
            continue
        try:
            built[member.name] = _value(value, member.type)
        except _Unfit:
            continue
    return built


def _item(value: object, kind: inspect.StructType) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Unfit
    built = _members(value, kind)
    # Chargers leave out `readonly`; a true or false that is missing is read as false anyway.
    if any(member.required and member.name not in built and not _is_boolean(member) for member in kind.fields):
        raise _Unfit
    return built


def _is_boolean(member: inspect.Field) -> bool:
    return isinstance(member.type, inspect.BoolType)


def _value(value: Any, kind: inspect.Type) -> Any:
    match kind:
        case inspect.UnionType(types=types):
            return _value(value, next(t for t in types if not isinstance(t, inspect.NoneType)))
        case inspect.StructType():
            return _item(value, kind)
        case inspect.ListType(item_type=item):
            return _list(value, item)
        case inspect.StrType() | inspect.LiteralType():
            return _text(value)
        case inspect.IntType():
            return _integer(value)
        case inspect.FloatType():
            return _number(value)
        case inspect.BoolType():
            return _boolean(value)
        case inspect.DictType() if not isinstance(value, dict):
            raise _Unfit
        case _:
            return value


def _list(value: object, kind: inspect.Type) -> list[Any]:
    built = []
    for item in value if isinstance(value, list) else [value]:
        try:
            built.append(_value(item, kind))
        except _Unfit:
            continue
    return built


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        number = _number(value)
        return str(int(number)) if number == int(number) else repr(number)
    if not isinstance(value, str):
        raise _Unfit
    return value


def _number(value: object) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError as error:
            raise _Unfit from error
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _VAST:  # NaN is not, either
        raise _Unfit
    return value


def _integer(value: object) -> int:
    number = _number(value)
    if number != int(number):
        raise _Unfit
    return int(number)


def _boolean(value: object) -> bool:
    word = value.strip().casefold() if isinstance(value, str) else value
    if isinstance(word, str):
        word = _BOOLEANS.get(word)
    if not isinstance(word, bool):
        raise _Unfit
    return word
