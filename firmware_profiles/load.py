"""All profiles of a folder, read once at start; what contradicts itself fails there and not on the night it matters.

    vendors/<vendor>/<model>.toml          what is odd about a model
    vendors/<vendor>/transcripts/*.jsonl   frames that show it
    vendors/_blueprint/                    to copy from; not loaded

What is read is never asked again: a change of a file counts from the next start.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Final

from firmware_profiles.schema import Profile, ProfileProblem, parse, plain

SHIPPED: Final = Path(__file__).with_name("vendors")


@dataclass(frozen=True, slots=True)
class Profiles:
    """The profiles known, by id."""

    by_id: dict[str, Profile]
    by_vendor: dict[str, list[Profile]]

    def find(self, vendor: str | None, model: str | None, firmware: str | None) -> Profile | None:
        """The profile of a station that names itself so; there is never more than one."""
        if vendor is None:
            return None
        here = self.by_vendor.get(plain(vendor), ())
        return next((profile for profile in here if profile.matches(vendor, model, firmware)), None)


def profiles(found: Iterable[Profile]) -> Profiles:
    """Those profiles together. Raises ProfileProblem for two of one id, or two that could mean one station."""
    by_id: dict[str, Profile] = {}
    by_vendor: dict[str, list[Profile]] = {}
    for profile in found:
        if profile.id in by_id:
            raise ProfileProblem(f"{profile.source}: {by_id[profile.id].source} has the id {profile.id} already")
        by_id[profile.id] = profile
        by_vendor.setdefault(plain(profile.vendor), []).append(profile)
    for rivals in by_vendor.values():
        for one, two in combinations(rivals, 2):
            if one.may_meet(two):
                raise ProfileProblem(f"{one.source} and {two.source} could both mean one station")
    return Profiles(by_id, by_vendor)


NO_PROFILES: Final = Profiles({}, {})


def load(folder: Path = SHIPPED) -> Profiles:
    """Every profile below `folder`. Raises ProfileProblem for the first that cannot stand."""
    return profiles(read(path, folder) for path in files(folder))


def files(folder: Path) -> Iterator[Path]:
    """The profile files, in order; a folder that begins with an underscore is left out."""
    for path in sorted(folder.glob("*/*.toml")):
        if not path.parent.name.startswith("_"):
            yield path


def read(path: Path, folder: Path) -> Profile:
    """One file, its evidence too. Raises ProfileProblem."""
    source = path.relative_to(folder).as_posix()
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProfileProblem(f"{source}: {error}") from None
    profile = parse(raw, source)
    for quirk in profile.words:
        if not evidence(path, quirk.evidence):
            raise ProfileProblem(f"{source}: {quirk.evidence} is no transcript with a frame in it")
    return profile


def evidence(path: Path, name: str) -> list[list[object]]:
    """The frames of a transcript beside a profile: one JSON object per line, its `frame` an OCPP-J array."""
    frames = []
    try:
        for line in (path.parent / name).read_text(encoding="utf-8").splitlines():
            frame = json.loads(line)["frame"] if line.strip() else None
            if isinstance(frame, list):
                frames.append(frame)
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return frames
