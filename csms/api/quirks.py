"""What is known of chargers' oddities: the words there are, the firmware profiles, and what one charger got wrong."""

from __future__ import annotations

import json
from typing import Final, Literal

from pydantic import Field

from csms.api.models import View
from csms.api.routes import Call, Routes
from firmware_profiles.quirks import QUIRKS, merged
from firmware_profiles.schema import Profile

route: Final = Routes("Quirks")


class QuirkWord(View):
    """A word for an oddity."""

    name: str
    spellings: list[str] = Field(description="how it may be written; `N` stands for a whole number")
    meaning: str = Field(description="completes: for a charger that …")


class QuirkWords(View):
    """Every word there is."""

    items: list[QuirkWord]


class ProfileQuirkView(View):
    """One oddity of a model."""

    word: str
    affects: str = Field(description="versions of the firmware; `*` is all")
    evidence: str


class ProfileView(View):
    """What is known of a model."""

    id: str
    vendor: str
    models: list[str]
    firmware: str
    rated_w: int | None
    meter: str
    quirks: list[ProfileQuirkView]


class Profiles(View):
    """Every firmware profile."""

    items: list[ProfileView]


class QuirkInForce(View):
    """A word that a charger has, and where from."""

    word: str
    given_by: Literal["operator", "profile"]


class ClockView(View):
    """How wrong the charger's clock is, as far as its messages tell."""

    skew_ms: int | None = Field(description="its clock minus ours; null before the first message that shows it")
    is_alarming: bool = Field(description="more than two minutes")
    is_indian_time_as_utc: bool


class ChargerQuirks(View):
    """What is known of a charger's oddities, and how often they showed since this server started."""

    profile: str | None = Field(description="the firmware profile in force")
    chosen_by: Literal["operator", "boot"] | None
    quirks: list[QuirkInForce]
    counts: dict[str, dict[str, int]] = Field(
        description="repaired, expected (repaired as its quirks announce), quarantined, ignored, noted: by rule"
    )
    clock: ClockView


@route("GET", "/api/v1/quirks", answer=QuirkWords, summary="Every quirk word")
async def list_words(_: Call[None, None]) -> QuirkWords:
    """The closed list of words a charger may be given."""
    return QuirkWords(
        items=[
            QuirkWord(name=name, spellings=quirk.spellings(name), meaning=quirk.meaning)
            for name, quirk in QUIRKS.items()
        ]
    )


@route("GET", "/api/v1/profiles", answer=Profiles, summary="Every firmware profile")
async def list_profiles(call: Call[None, None]) -> Profiles:
    """The profiles this server was started with."""
    return Profiles(items=[_profile(profile) for _, profile in sorted(call.system.tolerance.profiles.by_id.items())])


@route("GET", "/api/v1/chargers/{id}/quirks", answer=ChargerQuirks, errors=[404], summary="Oddities of one charger")
async def show_charger(call: Call[None, None]) -> ChargerQuirks:
    """Its profile and words, its clock, and what was mended, kept aside or ignored."""
    row = await call.charger()
    known = call.system.tolerance
    by_hand = row["profile"] is not None
    applied = (
        known.profiles.by_id.get(row["profile"])
        if by_hand
        else known.profiles.find(row["vendor"], row["model"], row["firmware"])
    )
    own = frozenset(json.loads(row["quirks"]))
    in_force = merged(own, applied.quirks(row["firmware"]) if applied is not None else frozenset())
    clock = known.clock(row["id"])
    return ChargerQuirks(
        profile=applied.id if applied is not None else None,
        chosen_by=None if applied is None else "operator" if by_hand else "boot",
        quirks=[
            QuirkInForce(word=word, given_by="operator" if word in own else "profile") for word in sorted(in_force)
        ],
        counts=known.oddities(row["id"]),
        clock=ClockView(
            skew_ms=clock.skew_ms if clock is not None else None,
            is_alarming=clock is not None and clock.is_alarming,
            is_indian_time_as_utc=clock is not None and clock.is_ist_as_z,
        ),
    )


def _profile(profile: Profile) -> ProfileView:
    return ProfileView(
        id=profile.id,
        vendor=profile.vendor,
        models=list(profile.models),
        firmware=profile.firmware.text,
        rated_w=profile.rated_w,
        meter=profile.meter,
        quirks=[
            ProfileQuirkView(word=quirk.word, affects=quirk.affects.text, evidence=quirk.evidence)
            for quirk in profile.words
        ],
    )
