"""What each action's payload must look like, from the JSON schemas that the `ocpp` package ships.

The schema files are the one source of truth and are read twice: into msgspec structs, which decode and check a
whole frame in one pass (about 1 µs), and into jsonschema-rs validators, which name the exact fault of a payload
that does not fit. Both are built when an action is first used, so start-up costs nothing.

From a charger we accept more than the schemas do: members they do not know are dropped, null stands for absent,
`1.0` is an integer, and a date-time is any string (the wire layer reads it, with the charger's quirks). `strict`
takes the schemas at their word. In the structs an absent optional member is None, a JSON number is a float
(`Decimal(repr(x))` is exact what was sent), an integer fits 64 bits and `customData` stays a dict.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import islice
from typing import Annotated, Any, Final, Literal

import jsonschema_rs
import msgspec

from csms.edges.ocppj.codes import Fault, Version, error_code

Direction = Literal["request", "response"]

Decode = Callable[[bytes], tuple[int, str, str, msgspec.Struct]]
"""A whole CALL frame -> (2, message id, action, payload). Raises one of `ACTION_DOES_NOT_FIT`."""

# What a decoder raises when bytes are no frame of its action. UnicodeDecodeError is a ValueError.
ACTION_DOES_NOT_FIT: Final = (msgspec.MsgspecError, ValueError, RecursionError)

_FOLDERS: Final = {Version.V16: "v16", Version.V201: "v201"}
_REQUEST_SUFFIX: Final = {Version.V16: "", Version.V201: "Request"}

# The databases behind us hold 64 bits; OCPP's own integers are smaller still.
_INT64: Final = {"ge": -(2**63), "le": 2**63 - 1}

# The nearest OCPP code for each JSON schema keyword (1.6J table 7, 2.0.1 Part 4 table 9). What is not listed is
# a value that is not allowed.
_FAULTS: Final = {
    "type": Fault.TYPE,
    "required": Fault.OCCURRENCE,
    "minItems": Fault.OCCURRENCE,
    "maxItems": Fault.OCCURRENCE,
    "additionalProperties": Fault.FORMATION,
}
_LONGEST_MESSAGE: Final = 200
_MOST_PROBLEMS: Final = 100  # of one payload; nobody reads more
# Naming every fault costs 13 µs each, and two megabytes hold half a million: of a long payload the first is enough.
_LONG: Final = 2_000
VAST: Final = 50_000  # more values than the longest honest payload has: a stop with a day of samples


@dataclass(frozen=True, slots=True)
class Problem:
    """One way in which a payload does not fit. `path` is like `meterValue/0/timestamp`, empty for the whole."""

    fault: Fault
    code: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class UnknownAction(LookupError):
    """The version has no such action."""


class SchemaSet:
    """The schemas of one version. Get it with `schemas_for`; a `strict` one refuses what the files refuse."""

    def __init__(self, version: Version, *, strict: bool = False) -> None:
        self.version = version
        self.strict = strict
        self._structs: dict[tuple[str, Direction], type[msgspec.Struct]] = {}
        self._validators: dict[tuple[str, Direction, bool], jsonschema_rs.Validator] = {}

    @cached_property
    def _folder(self) -> Traversable:
        # Not `ocpp.v16`: importing the subpackage builds all of its dataclasses.
        return resources.files("ocpp") / _FOLDERS[self.version] / "schemas"

    @cached_property
    def actions(self) -> frozenset[str]:
        """Every action of the version, whoever may send it."""
        responses = {
            entry.name.removesuffix("Response.json")
            for entry in self._folder.iterdir()
            if entry.name.endswith("Response.json")
        }
        return frozenset(responses)

    def struct(self, action: str, direction: Direction = "request") -> type[msgspec.Struct]:
        """The generated struct of a payload; its fields are the schema's names. Raises `UnknownAction`."""
        key = (action, direction)
        if key not in self._structs:
            self._structs[key] = _Generator(self._read(action, direction)).payload(action, direction)
        return self._structs[key]

    def decoder(self, action: str) -> Decode:
        """One pass over a whole CALL frame. Raises one of `ACTION_DOES_NOT_FIT` when it is not one of `action`."""
        decode = msgspec.json.Decoder(tuple[int, str, str, self.struct(action)]).decode  # type: ignore[misc]  # made at run time
        if not self.strict:
            return decode

        def decode_strictly(frame: bytes) -> tuple[int, str, str, msgspec.Struct]:
            whole: tuple[int, str, str, msgspec.Struct] = decode(frame)
            problems = self.problems(action, msgspec.json.decode(frame)[3])
            if problems:
                raise msgspec.ValidationError(str(problems[0]))
            return whole

        return decode_strictly

    def fit(self, action: str, payload: object) -> msgspec.Struct | list[Problem]:
        """A decoded payload as the action's struct, or every reason why not. Never raises for a known action."""
        if self.strict:
            problems = self.problems(action, payload)
            if problems:
                return problems
        kind = self.struct(action)
        try:
            return msgspec.convert(payload, kind)
        except ACTION_DOES_NOT_FIT:
            pass
        try:
            return msgspec.convert(_without_nulls(payload), kind)
        except ACTION_DOES_NOT_FIT as error:
            return self.problems(action, payload) or [
                self._problem(Fault.TYPE, "", str(error)),
            ]

    def problems(
        self, action: str, payload: object, direction: Direction = "request", *, formats: bool = False
    ) -> list[Problem]:
        """Every reason why a payload from a charger does not fit, the first being the one to answer with."""
        if not self.strict:
            payload = _without_nulls(payload)
        found = self._check(action, payload, direction, formats=formats)
        return found if self.strict else [problem for problem in found if problem.fault is not Fault.FORMATION]

    def validate(self, action: str, direction: Direction, payload: object) -> list[Problem]:
        """Every reason why a payload of ours must not be sent: schemas to the letter, date-times included."""
        if action not in self.actions:
            return [self._problem(Fault.NOT_IMPLEMENTED, "", f"{self.version} has no action {action}")]
        return self._check(action, payload, direction, formats=True)

    def _check(self, action: str, payload: object, direction: Direction, *, formats: bool) -> list[Problem]:
        key = (action, direction, formats)
        if key not in self._validators:
            schema = self._read(action, direction)
            self._validators[key] = jsonschema_rs.validator_for(schema, validate_formats=formats)
        try:
            return [
                self._problem(
                    _FAULTS.get(error.kind.name, Fault.PROPERTY),
                    "/".join(str(step) for step in error.instance_path),
                    error.message,
                )
                for error in _errors(self._validators[key], payload)
            ]
        except ValueError as error:  # not JSON at all: a key that is no string, a number that is none
            return [self._problem(Fault.FORMATION, "", str(error))]

    def _problem(self, fault: Fault, path: str, message: str) -> Problem:
        return Problem(fault, error_code(self.version, fault), path, message[:_LONGEST_MESSAGE])

    def _read(self, action: str, direction: Direction) -> dict[str, Any]:
        if action not in self.actions:  # also what keeps a peer's text out of a file name
            raise UnknownAction(action)
        suffix = "Response" if direction == "response" else _REQUEST_SUFFIX[self.version]
        # The library reads its own files so, too: releases of it differ in byte order marks.
        text = (self._folder / f"{action}{suffix}.json").read_text(encoding="utf-8-sig")
        schema: dict[str, Any] = json.loads(text)
        return schema


def _without_nulls(value: object) -> object:
    """`value` with null members dropped and whole floats as integers: null is absent, `1.0` is 1."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


class _Generator:
    """Types of one schema file. Understands exactly the keywords the files use; another one is a loud error."""

    _UNCHECKED: Final = frozenset(
        {"$schema", "$id", "title", "comment", "description", "javaType", "default", "definitions"}
        # multipleOf 0.1 stands only in charging profiles, which we send and `validate` checks; formats are the
        # wire layer's; unknown members and item positions are tolerated.
        | {"multipleOf", "format", "additionalProperties", "additionalItems"}
    )
    _CHECKED: Final = frozenset(
        {"type", "$ref", "enum", "properties", "required", "items"}
        | {"minItems", "maxItems", "maxLength", "minimum", "maximum"}
    )

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._definitions: Mapping[str, Mapping[str, Any]] = schema.get("definitions", {})
        self._made: dict[str, Any] = {}

    def payload(self, action: str, direction: Direction) -> type[msgspec.Struct]:
        kind: type[msgspec.Struct] = self._object(f"{action}{direction.capitalize()}", self._schema)
        return kind

    def _type(self, name: str, schema: Mapping[str, Any]) -> Any:
        unknown = schema.keys() - self._CHECKED - self._UNCHECKED
        if unknown:
            raise NotImplementedError(f"{name}: keywords {sorted(unknown)}")
        if "$ref" in schema:
            return self._definition(schema["$ref"])
        if "enum" in schema:
            return Literal[tuple(schema["enum"])]
        match schema.get("type"):
            case "object":
                return self._object(name, schema)
            case "array":
                items: Any = self._type(f"{name}Item", schema["items"])
                return _bounded(list[items], min_length=schema.get("minItems"), max_length=schema.get("maxItems"))
            case "string":
                return _bounded(str, max_length=schema.get("maxLength"))
            case "integer":
                # Some files write the bounds of an integer as 0.0 and 3.0.
                least, most = schema.get("minimum", _INT64["ge"]), schema.get("maximum", _INT64["le"])
                return _bounded(int, ge=int(least), le=int(most))
            case "number":
                return _bounded(float, ge=schema.get("minimum"), le=schema.get("maximum"))
            case "boolean":
                return bool
            case None:  # DataTransfer.data of 2.0.1: whatever the two parties agreed
                return Any
            case other:
                raise NotImplementedError(f"{name}: type {other}")

    def _definition(self, reference: str) -> Any:
        name = reference.removeprefix("#/definitions/")
        if name not in self._made:
            # The one open type: a vendor's own members are kept, so it stays a dict.
            is_open = name == "CustomDataType"
            self._made[name] = dict[str, Any] if is_open else self._type(name, self._definitions[name])
        return self._made[name]

    def _object(self, name: str, schema: Mapping[str, Any]) -> Any:
        required = set(schema.get("required", ()))
        fields: list[tuple[str, Any] | tuple[str, Any, None]] = []
        for member, its_schema in schema.get("properties", {}).items():
            kind = self._type(f"{name}_{member}", its_schema)
            fields.append((member, kind) if member in required else (member, kind | None, None))
        # gc=False: the structs are trees, so the collector never has to look at them.
        return msgspec.defstruct(name, fields, kw_only=True, frozen=True, gc=False, module=__name__)


def _bounded(kind: Any, **bounds: float | None) -> Any:
    given: dict[str, Any] = {name: bound for name, bound in bounds.items() if bound is not None}
    return Annotated[kind, msgspec.Meta(**given)] if given else kind


_SETS: Final[dict[tuple[Version, bool], SchemaSet]] = {}


def is_vast(payload: object, most: int = VAST) -> bool:
    """Whether it holds more values than that, without counting them all."""
    waiting = [payload]
    while waiting and most > 0:
        value = waiting.pop()
        most -= 1
        if isinstance(value, dict):
            most -= len(value)
            waiting.extend(inner for inner in value.values() if isinstance(inner, dict | list))
        elif isinstance(value, list):
            most -= len(value)
            waiting.extend(inner for inner in value if isinstance(inner, dict | list))
    return most <= 0


def _errors(validator: Any, payload: object) -> list[jsonschema_rs.ValidationError]:
    if not is_vast(payload, _LONG):
        return list(islice(validator.iter_errors(payload), _MOST_PROBLEMS))
    try:
        validator.validate(payload)
    except jsonschema_rs.ValidationError as error:
        return [error]
    return []


def schemas_for(version: Version, *, strict: bool = False) -> SchemaSet:
    """The one shared set of a version; what it has built stays built."""
    key = (version, strict)
    if key not in _SETS:
        _SETS[key] = SchemaSet(version, strict=strict)
    return _SETS[key]


def validate(version: Version, action: str, direction: Direction, payload: object) -> list[Problem]:
    """Every reason why `payload` must not be sent as `action`; empty when it may be (see `SchemaSet.validate`)."""
    return schemas_for(version).validate(action, direction, payload)
