"""Frames that do not fit their schema, mended by named rules; the engine both OCPP versions share (PEERS 3 row 18).

A refused money frame is a charge nobody pays, so what can be understood is mended and what cannot goes to quarantine.
The payload is walked along its schema and a new one is built; every liberty taken is named, for the counters per
model and for whoever looks into a case later. The caller keeps the original.

Two things are never done. No value is made up that could pass for a measurement: where one is missing, a value goes
in that the wire reads as "none" (a negative register, the instant of the epoch, an empty token, transaction -1). And
nothing is dropped or cut that would change what the rest means: a sample whose measurand, unit or phase cannot be
understood is dropped whole, and a token too long is no token rather than the beginning of another one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final

from msgspec import inspect

from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.schemas import UnknownAction, is_vast, schemas_for
from csms.edges.ocpptime import stamp

Payload = dict[str, Any]

RULES: Final[Mapping[str, str]] = {
    "object_for_array": "one thing stood where a list of them belongs",
    "array_for_object": "a list of one stood where the thing itself belongs",
    "bare_sample": "a sampled value was a bare number or text",
    "number_for_string": "a number stood where text belongs",
    "string_for_number": "text stood where a number belongs",
    "string_for_boolean": "text or a number stood where true or false belongs",
    "float_for_integer": "a number with a fraction of zero stood where an integer belongs",
    "fraction_rounded": "a meter register with a fraction was rounded half up to whole Wh",
    "number_for_time": "seconds or milliseconds since 1970 stood where a timestamp belongs",
    "null_dropped": "a member was null",
    "empty_string_dropped": "an optional member was an empty string",
    "string_cut": "text longer than allowed was cut",
    "member_spelling": "a member's name was spelled otherwise",
    "word_spelling": "a word of a closed list was spelled otherwise",
    "word_mapped": "a word of another version stood for the one of this version",
    "unknown_word_is_other": "a word nobody knows became the list's own word for that",
    "unknown_member_dropped": "a member nobody knows was dropped",
    "member_dropped": "an optional member that cannot be read was dropped",
    "sample_dropped": "a sampled value that cannot be understood was dropped",
    "instant_dropped": "a meter value without any sampled value was dropped",
    "item_dropped": "an item of another list that cannot be read was dropped",
    "register_absent": "the meter register was missing or unreadable",
    "time_absent": "the timestamp was missing or unreadable",
    "token_absent": "the token was missing, unreadable or too long",
    "transaction_absent": "the transaction id was missing or unreadable",
    "sequence_absent": "the sequence number was missing or unreadable",
    "word_absent": "a word that changes nothing for us was missing",
    "connector_absent": "the connector was missing while the transaction was named",
}


@dataclass(frozen=True, slots=True)
class Repaired:
    """A payload that fits its schema, and the names (of `RULES`, each once) of what was done to it."""

    payload: Payload
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rulebook:
    """What one version adds to the general rules. Paths are `Action.member.member`, without positions."""

    version: Version
    stand_ins: Mapping[str, tuple[Any, str]]  # path -> (what the wire reads as none, the rule's name)
    other_names: Mapping[str, str]  # a member's name in other versions -> ours
    other_words: Mapping[str, Mapping[str, str]]  # member -> a word of other versions -> ours
    unknown_words: Mapping[str, str]  # member -> the list's own word for what it does not know
    identities: frozenset[str]  # members that are never cut
    prepare: Callable[[str, Payload, list[str]], None]  # the version's own rules, on a copy of the top level


class _Unfit(Exception):
    """This part cannot be understood. Whoever holds it decides whether it can go."""


# Members that give a sample its meaning; without one of them the rest would say something else.
_MEANING: Final = frozenset({"measurand", "unit", "phase", "location", "format", "unitOfMeasure", "multiplier"})
# Registers in whole Wh, where a fraction is a meter's honesty and not a mistake.
_REGISTERS: Final = frozenset({"meterStart", "meterStop"})
_PADDING: Final = " \t\r\n\0"
_LONGEST_NUMBER: Final = 40
# Seconds from 2001 to 2128, and the same in milliseconds: the two cannot be confused.
_SECONDS: Final = range(1_000_000_000, 5_000_000_000)
_MILLISECONDS: Final = range(1_000_000_000_000, 5_000_000_000_000)


def repair(book: Rulebook, action: str, payload: object) -> Repaired | None:
    """The mended payload, which fits the schema of `action`; `None` when it cannot be understood."""
    try:
        shape = _shape(book.version, action)
    except UnknownAction:
        return None
    rules: list[str] = []
    if payload is None:
        rules.append("null_dropped")  # some send null for {} (OCPP 4.1 T5)
        payload = {}
    if isinstance(payload, list) and len(payload) == 1:
        rules.append("array_for_object")
        payload = payload[0]
    if not isinstance(payload, dict) or is_vast(payload):
        return None  # what is that long and wrong is for a person, not for the loop that serves everybody
    copy = dict(payload)
    book.prepare(action, copy, rules)
    try:
        mended: Payload = _Walk(book, rules).struct(copy, shape, action)
    except _Unfit:
        return None
    if schemas_for(book.version, strict=True).problems(action, mended):
        return None  # a rule is missing; quarantine keeps the frame until there is one
    return Repaired(mended, tuple(dict.fromkeys(rules)))


def squash(text: str) -> str:
    """The letters and digits of a word: `L1N`, `l1-n` and `L1-N` are one."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def as_integer(value: object) -> int | None:
    """The integer that a number or its text stands for, `None` for anything else."""
    number = _decimal(value)
    return int(number) if number is not None and number == number.to_integral_value() else None


@lru_cache(maxsize=256)
def _shape(version: Version, action: str) -> inspect.StructType:
    shape = inspect.type_info(schemas_for(version).struct(action))
    assert isinstance(shape, inspect.StructType)
    return shape


def _decimal(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = value.strip(_PADDING) if isinstance(value, str) else repr(value)
    if len(text) > _LONGEST_NUMBER or "_" in text:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    # The exponent is bounded so that turning it into an integer stays cheap.
    return number if number.is_finite() and -30 < number.adjusted() < 30 else None


@dataclass(slots=True)
class _Walk:
    """One payload on its way along its schema; `rules` collects what was done."""

    book: Rulebook
    rules: list[str] = field(default_factory=list)

    def value(self, value: Any, kind: inspect.Type, path: str) -> Any:
        match kind:
            case inspect.UnionType(types=types):
                return self.value(value, next(t for t in types if not isinstance(t, inspect.NoneType)), path)
            case inspect.StructType():
                return self.struct(value, kind, path)
            case inspect.ListType():
                return self.array(value, kind, path)
            case inspect.LiteralType(values=words):
                return self.word(value, words, path)
            case inspect.StrType(max_length=longest):
                return self.text(value, longest, path)
            case inspect.IntType():
                return self.integer(value, kind, path)
            case inspect.FloatType():
                return self.number(value)
            case inspect.BoolType():
                return self.boolean(value)
            case inspect.DictType():
                return _custom_data(value)
            case _:
                return value

    def struct(self, value: Any, kind: inspect.StructType, path: str) -> Payload:
        names = {field.name for field in kind.fields}
        if isinstance(value, list) and len(value) == 1:
            self.rules.append("array_for_object")
            value = value[0]
        if "value" in names and isinstance(value, str | int | float) and not isinstance(value, bool):
            self.rules.append("bare_sample")
            value = {"value": value}
        if not isinstance(value, dict):
            raise _Unfit(path)
        given = self.renamed(value, names)
        built: Payload = {}
        for member in kind.fields:
            its_path = f"{path}.{member.name}"
            if member.name in given and not self.is_empty(given[member.name], member, its_path):
                try:
                    built[member.name] = self.value(given[member.name], member.type, its_path)
                    continue
                except _Unfit:
                    if its_path not in self.book.stand_ins:
                        if member.required or member.name in _MEANING:
                            raise
                        self.rules.append("member_dropped")
                        continue
            elif not member.required:
                continue
            if its_path not in self.book.stand_ins:
                raise _Unfit(its_path)
            built[member.name], rule = self.book.stand_ins[its_path]
            self.rules.append(rule)
        return built

    def renamed(self, given: Mapping[str, Any], names: set[str]) -> Payload:
        """`given` under the schema's names; a name that is right wins over one that is nearly right."""
        by_letters = {squash(name): name for name in names}
        known = {name: value for name, value in given.items() if name in names}
        for name, value in given.items():
            if name in names:
                continue
            meant = by_letters.get(squash(name)) or self.book.other_names.get(name)
            if meant is not None and meant in names and meant not in known:
                self.rules.append("member_spelling")
                known[meant] = value
            else:
                self.rules.append("unknown_member_dropped")
        return known

    def is_empty(self, value: Any, member: inspect.Field, path: str) -> bool:
        if value is None:
            self.rules.append("null_dropped")
            return True
        # An empty measurand is not the default one: the value beside it may be anything.
        if isinstance(value, str) and not value.strip(_PADDING) and not member.required and member.name != "measurand":
            # An empty transaction id is unknown rather than absent, so its stand-in speaks.
            if path in self.book.stand_ins:
                return False
            self.rules.append("empty_string_dropped")
            return True
        return False

    def array(self, value: Any, kind: inspect.ListType, path: str) -> list[Any]:
        if not isinstance(value, list):
            self.rules.append("object_for_array")
            value = [value]
        member = path.rpartition(".")[2]
        dropped = {"sampledValue": "sample_dropped", "meterValue": "instant_dropped"}.get(member, "item_dropped")
        if member == "transactionData":
            dropped = "instant_dropped"
        built = []
        for item in value:
            try:
                built.append(self.value(item, kind.item_type, path))
            except _Unfit:
                self.rules.append(dropped)
        if len(built) < (kind.min_length or 0) or (member == "sampledValue" and not built):
            raise _Unfit(path)
        return built[: kind.max_length]

    def word(self, value: Any, words: tuple[Any, ...], path: str) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise _Unfit(path)
        if value in words:
            return value
        letters = squash(value)
        member = path.rpartition(".")[2]
        for word in words:
            if squash(word) == letters:
                self.rules.append("word_spelling")
                return word
        for other, ours in self.book.other_words.get(member, {}).items():
            if squash(other) == letters and ours in words:
                self.rules.append("word_mapped")
                return ours
        fallback = self.book.unknown_words.get(member)
        if fallback is not None and fallback in words:
            self.rules.append("unknown_word_is_other")
            return fallback
        raise _Unfit(path)

    def text(self, value: Any, longest: int | None, path: str) -> str:
        member = path.rpartition(".")[2]
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = self.time_from_number(value) if member == "timestamp" else self.text_from_number(value)
        if not isinstance(value, str):
            raise _Unfit(path)
        text: str = value
        if longest is not None and len(text) > longest:
            text = text.strip(_PADDING)
            if len(text) > longest and member in self.book.identities:
                raise _Unfit(path)
            text = text[:longest]
            self.rules.append("string_cut")
        return text

    def text_from_number(self, value: float) -> str:
        if not math.isfinite(value):
            raise _Unfit
        self.rules.append("number_for_string")
        return str(int(value)) if value == int(value) else repr(value)

    def time_from_number(self, value: float) -> str:
        whole = int(value) if math.isfinite(value) else 0
        if whole in _SECONDS:
            at_ms = int(value * 1000)
        elif whole in _MILLISECONDS:
            at_ms = whole
        else:
            raise _Unfit
        self.rules.append("number_for_time")
        return stamp(at_ms)

    def integer(self, value: Any, kind: inspect.IntType, path: str) -> int:
        number = _decimal(value)
        if number is None:
            raise _Unfit(path)
        if isinstance(value, str):
            self.rules.append("string_for_number")
        elif isinstance(value, float):
            self.rules.append("float_for_integer")
        if number != number.to_integral_value():
            if path.rpartition(".")[2] not in _REGISTERS:
                raise _Unfit(path)
            self.rules.append("fraction_rounded")
            number = number.to_integral_value(ROUND_HALF_UP)
        whole = int(number)
        if (kind.ge is not None and whole < kind.ge) or (kind.le is not None and whole > kind.le):
            raise _Unfit(path)
        return whole

    def number(self, value: Any) -> float:
        number = _decimal(value)
        if number is None:
            raise _Unfit
        if isinstance(value, str):
            self.rules.append("string_for_number")
            return float(number)
        return float(value)

    def boolean(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        words = {"true": True, "false": False, "1": True, "0": False}
        text = str(value).strip(_PADDING).casefold() if isinstance(value, str | int) else ""
        if text not in words:
            raise _Unfit
        self.rules.append("string_for_boolean")
        return words[text]


def _custom_data(value: Any) -> Any:
    """A vendor's own members are left alone as long as the vendor is named (2.0.1 CustomDataType)."""
    vendor = value.get("vendorId") if isinstance(value, dict) else None
    if not isinstance(vendor, str) or len(vendor) > 255:
        raise _Unfit
    return value
