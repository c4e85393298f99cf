"""What a profile may say, parsed strictly: an unknown member, word or range is a `ProfileProblem` that names it.

    [profile]
    id = "kestrel-k7-early"
    channel = "ocpp"                                  # the only one yet
    match = { vendor = "Kestrel Power", models = ["K7-*"], firmware = "<2.2" }
    rating = { current_a = 32, voltage_v = 230, phases = 1 }       # or { power_w = 7360 }
    meter = { kind = "register" }                     # register | session | interval

    [[quirk]]
    word = "ist_sent_as_z"
    affects = "<2.1.4"                                # of the firmware in `match`; "*" when absent
    evidence = "transcripts/k7-2.1.0-ist.jsonl"       # beside the file

A member that is absent says nothing; nothing is taken for granted in its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from firmware_profiles.quirks import REGISTER_PER_INTERVAL, REGISTER_PER_SESSION, problem

_METER_WORDS: Final[Mapping[str, str | None]] = {
    "register": None,
    "session": REGISTER_PER_SESSION,
    "interval": REGISTER_PER_INTERVAL,
}
_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,62}")
_BOUND: Final = re.compile(r"(<=|>=|<|>|=)\s*(\d[\w.+-]*)")
_HIGHEST: Final = 10**9


class ProfileProblem(ValueError):
    """A profile that cannot be understood, or two that contradict each other; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Range:
    """Versions of a firmware: `*`, or bounds that all hold, as `>=1.2 <2`. Versions compare number by number."""

    text: str = "*"
    bounds: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Range:
        """Raises ProfileProblem."""
        plain = text.strip()
        if plain == "*":
            return cls()
        bounds = [(found[1], _numbers(found[2])) for found in _BOUND.finditer(plain)]
        if not bounds or _BOUND.sub("", plain).strip(" ,"):
            raise ProfileProblem(f"{text!r} is no range of versions; write `*`, `<2.2` or `>=1.0 <2`")
        return cls(plain, tuple(bounds))

    def holds(self, firmware: str | None) -> bool:
        """Whether that firmware is meant. One that is not known is meant by `*` only."""
        if not self.bounds:
            return True
        if firmware is None or not any(character.isdigit() for character in firmware):
            return False
        version = _numbers(firmware)
        return all(_compare(version, bound, sign) for sign, bound in self.bounds)

    def overlaps(self, other: Range) -> bool:
        """Whether one firmware could be meant by both."""
        low: tuple[int, ...] = (0,)
        high: tuple[int, ...] = (_HIGHEST,)
        low_open = high_open = False
        for sign, bound in (*self.bounds, *other.bounds):
            if sign in {">", ">=", "="} and (_padded(bound), sign == ">") > (_padded(low), low_open):
                low, low_open = bound, sign == ">"
            if sign in {"<", "<=", "="} and (_padded(bound), sign != "<") < (_padded(high), not high_open):
                high, high_open = bound, sign == "<"
        if _padded(low) == _padded(high):
            return not (low_open or high_open)
        return _padded(low) < _padded(high)


@dataclass(frozen=True, slots=True)
class ProfileQuirk:
    """A word of a profile, the firmware it is for, and the file that shows it."""

    word: str
    affects: Range
    evidence: str


@dataclass(frozen=True, slots=True)
class Profile:
    """One model, or several that behave alike."""

    id: str
    vendor: str
    models: tuple[str, ...]
    firmware: Range = Range()
    rated_w: int | None = None
    connectors: int | None = None
    words: tuple[ProfileQuirk, ...] = ()
    meter: str = "register"
    source: str = ""

    def matches(self, vendor: str | None, model: str | None, firmware: str | None) -> bool:
        """Whether a station that names itself so is meant; capitals and spaces around do not matter."""
        if vendor is None or model is None or plain(vendor) != plain(self.vendor):
            return False
        return any(_glob(pattern, plain(model)) for pattern in self.models) and self.firmware.holds(firmware)

    def quirks(self, firmware: str | None) -> frozenset[str]:
        """The words for a station with this firmware; when it is not known, those that hold for all."""
        said = {quirk.word for quirk in self.words if quirk.affects.holds(firmware)}
        counts = _METER_WORDS[self.meter]
        return frozenset(said | {counts} if counts is not None else said)

    def may_meet(self, other: Profile) -> bool:
        """Whether one station could be meant by both."""
        if plain(self.vendor) != plain(other.vendor) or not self.firmware.overlaps(other.firmware):
            return False
        return any(_globs_meet(one.casefold(), two.casefold()) for one in self.models for two in other.models)


def parse(raw: Mapping[str, Any], source: str) -> Profile:
    """A profile from its TOML. Raises ProfileProblem, with `source` in its text."""
    try:
        return _parse(raw, source)
    except ProfileProblem as wrong:
        raise ProfileProblem(f"{source}: {wrong}") from None


def _parse(raw: Mapping[str, Any], source: str) -> Profile:
    _only(raw, {"profile", "quirk"}, "")
    head = _table(raw, "profile")
    _only(head, {"id", "channel", "match", "rating", "meter"}, "[profile] ")
    identity = _text(head, "id")
    if _ID.fullmatch(identity) is None:
        raise ProfileProblem(f"the id {identity!r} must be small letters, digits and hyphens")
    if head.get("channel") != "ocpp":
        raise ProfileProblem('the channel must be "ocpp"; others are not understood yet')
    match = _table(head, "match")
    _only(match, {"vendor", "models", "firmware"}, "match ")
    meter = head.get("meter", {})
    _only(meter, {"kind"}, "meter ")
    kind = meter.get("kind", "register")
    if kind not in _METER_WORDS:
        raise ProfileProblem(f"meter.kind {kind!r} is none of {', '.join(_METER_WORDS)}")
    rated_w, connectors = _rating(head.get("rating", {}))
    words = tuple(_quirk(entry) for entry in _list(raw, "quirk"))
    said = [quirk.word for quirk in words]
    told = problem([*dict.fromkeys(said), *([word] if (word := _METER_WORDS[kind]) else [])])
    if told is not None:
        raise ProfileProblem(told)
    if len(said) != len(set(said)):
        raise ProfileProblem("a word stands there twice")
    models = match.get("models")
    if not isinstance(models, list) or not models or not all(isinstance(name, str) and name for name in models):
        raise ProfileProblem("match.models must be a list of names, `*` and `?` allowed in them")
    return Profile(
        id=identity,
        vendor=_text(match, "vendor"),
        models=tuple(models),
        firmware=_range(match, "firmware"),
        rated_w=rated_w,
        connectors=connectors,
        words=words,
        meter=kind,
        source=source,
    )


def _quirk(entry: Mapping[str, Any]) -> ProfileQuirk:
    _only(entry, {"word", "affects", "evidence"}, "[[quirk]] ")
    return ProfileQuirk(_text(entry, "word"), _range(entry, "affects"), _text(entry, "evidence"))


def _rating(rating: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Watts of one socket, and how many there are."""
    known = {"connectors", "power_w", "current_a", "voltage_v", "phases"}
    _only(rating, known, "rating ")
    for name, value in rating.items():
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise ProfileProblem(f"rating.{name} must be a whole number above zero")
    parts = {"current_a", "voltage_v", "phases"} & rating.keys()
    if "power_w" in rating:
        if parts:
            raise ProfileProblem("rating: give power_w, or current_a and voltage_v, not both")
        return rating["power_w"], rating.get("connectors")
    if not parts:
        return None, rating.get("connectors")
    if not {"current_a", "voltage_v"} <= parts:
        raise ProfileProblem("rating: current_a and voltage_v belong together")
    return rating["current_a"] * rating["voltage_v"] * rating.get("phases", 1), rating.get("connectors")


def _only(table: Any, known: set[str], where: str) -> None:
    if not isinstance(table, Mapping):
        raise ProfileProblem(f"{where.strip() or 'the file'} must be a table")
    unknown = sorted(set(table) - known)
    if unknown:
        raise ProfileProblem(f"{where}unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _table(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = raw.get(name)
    if not isinstance(found, Mapping):
        raise ProfileProblem(f"{name} is missing, or no table")
    return found


def _list(raw: Mapping[str, Any], name: str) -> list[Any]:
    found = raw.get(name, [])
    if not isinstance(found, list):
        raise ProfileProblem(f"write [[{name}]], one for each")
    return found


def _text(raw: Mapping[str, Any], name: str) -> str:
    found = raw.get(name)
    if not isinstance(found, str) or not found.strip():
        raise ProfileProblem(f"{name} is missing, or no text")
    return found


def _range(raw: Mapping[str, Any], name: str) -> Range:
    return Range.parse(_text(raw, name)) if name in raw else Range()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(min(int(digits), _HIGHEST) for digits in re.findall(r"\d+", version[:100])[:8])


def _padded(version: tuple[int, ...]) -> tuple[int, ...]:
    return version + (0,) * (8 - len(version))


def _compare(version: tuple[int, ...], bound: tuple[int, ...], sign: str) -> bool:
    one, other = _padded(version), _padded(bound)
    return {"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other, "=": one == other}[sign]


def plain(name: str) -> str:
    """A vendor or model as it is compared."""
    return " ".join(name.split()).casefold()


@lru_cache(maxsize=256)
def _pattern(glob: str) -> re.Pattern[str]:
    return re.compile("".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in plain(glob)))


def _glob(glob: str, model: str) -> bool:
    return _pattern(glob).fullmatch(model) is not None


def _globs_meet(one: str, two: str) -> bool:
    """Whether some name fits both patterns."""
    if not one or not two:
        return not (one or two).strip("*")
    if one[0] == "*":
        return _globs_meet(one[1:], two) or _globs_meet(one, two[1:])
    if two[0] == "*":
        return _globs_meet(two, one)
    return (one[0] == two[0] or "?" in {one[0], two[0]}) and _globs_meet(one[1:], two[1:])
