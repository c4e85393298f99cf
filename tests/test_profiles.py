"""Firmware profiles and quirk words: every profile that ships, and what must never load."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.app.stations import Station, Stations
from csms.edges.ocpp16 import wire
from csms.edges.ocpp16.repair import repair
from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.schemas import schemas_for
from csms.edges.ocpprepair import RULES
from csms.edges.oddities import ANNOUNCED, Oddities, is_announced
from firmware_profiles.load import SHIPPED, evidence, files, load, profiles, read
from firmware_profiles.quirks import (
    ENERGY_SAMPLES_ARE_KWH,
    IST_SENT_AS_Z,
    METER_VALUE_OBJECT,
    NUMBERS_FOR_STRINGS,
    TZ_MISSING_IST,
    UNKNOWN_ERROR_CODE_AS_TEXT,
    merged,
    number_of,
    problem,
    spellings,
    value_of,
)
from firmware_profiles.schema import Profile, ProfileProblem, Range, parse

GOOD = {"profile": {"id": "a-b", "channel": "ocpp", "match": {"vendor": "V", "models": ["M-*"]}}}


def made(**profile: object) -> Profile:
    return parse({"profile": {**GOOD["profile"], **profile}}, "test.toml")


# -- what ships


@pytest.mark.parametrize("path", list(files(SHIPPED)), ids=lambda path: path.stem)
def test_every_profile_is_sound_and_its_evidence_shows_what_it_says(path: Path) -> None:
    profile = read(path, SHIPPED)
    assert problem(profile.quirks(None)) is None
    for quirk in profile.words:
        frames = evidence(path, quirk.evidence)
        assert frames
        for line in (path.parent / quirk.evidence).read_text().splitlines():
            assert set(json.loads(line)) == {"from", "at", "frame"}


SHOWN = {IST_SENT_AS_Z, TZ_MISSING_IST, ENERGY_SAMPLES_ARE_KWH, METER_VALUE_OBJECT, NUMBERS_FOR_STRINGS,
         UNKNOWN_ERROR_CODE_AS_TEXT}  # fmt: skip
WIRED = [
    (path, quirk.word, quirk.evidence)
    for path in files(SHIPPED)
    for quirk in read(path, SHIPPED).words
    if quirk.word in SHOWN
]


@pytest.mark.parametrize(("path", "word", "file"), WIRED, ids=[f"{path.stem}-{word}" for path, word, _ in WIRED])
def test_a_word_that_a_wire_hears_changes_how_its_evidence_is_read(path: Path, word: str, file: str) -> None:
    """With the word the transcript means something else than without, or is mended as the word announces."""
    differs = False
    for frame in evidence(path, file):
        if frame[0] != 2 or frame[2] not in READERS:
            continue
        schemas, action = schemas_for(Version.V16), str(frame[2])
        fitted = schemas.fit(action, frame[3])
        if isinstance(fitted, list) or word in ANNOUNCED:
            mended = repair(action, frame[3])
            assert mended is not None
            # A transcript may show several oddities: this word must account for one of the rules.
            differs = differs or bool(ANNOUNCED.get(word, frozenset()).intersection(mended.rules))
            continue
        read_with = READERS[action](fitted, frozenset({word}))
        differs = differs or read_with != READERS[action](fitted, frozenset())
    assert differs


READERS = {
    "StartTransaction": wire.start,
    "StopTransaction": wire.stop,
    "MeterValues": wire.meter,
    "StatusNotification": wire.status,
}


def test_the_blueprint_is_a_profile_but_for_its_evidence() -> None:
    import tomllib

    blueprint = SHIPPED / "_blueprint" / "ocpp.toml"
    assert parse(tomllib.loads(blueprint.read_text()), "blueprint").rated_w == 7360
    assert blueprint not in list(files(SHIPPED))


# -- finding


def test_a_profile_is_found_by_what_a_charger_says_of_itself() -> None:
    known = load()
    found = known.find("  kestrel POWER", "k7-s2", "2.1.0")
    assert found is not None
    assert found.quirks("2.1.0") > found.quirks("2.1.4")
    assert found.quirks(None) == found.quirks("2.1.4")  # a firmware nobody knows has no defects of old versions
    assert known.find("Kestrel Power", "K8", "1") is None
    assert known.find("Monsoon EV", "Lite", "3.0") is None
    assert known.find("Monsoon EV", "Lite", None) is None
    assert known.find(None, None, None) is None


def test_the_operators_word_wins_over_the_profiles() -> None:
    assert merged(frozenset({"tz_missing=UTC"}), frozenset({"tz_missing=IST", "no_server_ping"})) == {
        "tz_missing=UTC",
        "no_server_ping",
    }
    stations = Stations(None, None, load())  # type: ignore[arg-type]  # neither store nor clock is asked
    station = Station(id="CP", no=1, vendor="Lumen Mobility", model="Duo", own_rated_w=5000)
    assert stations.reprofile(station)
    assert station.rated_w == 5000
    assert METER_VALUE_OBJECT in station.quirks
    assert station.register_kind.value == "session"
    station.profile = "kestrel-k7"  # chosen by hand
    station.own_rated_w = None
    assert stations.reprofile(station)
    assert (station.rated_w, station.register_kind.value) == (7360, "lifetime")
    assert not stations.reprofile(station)


# -- what must not load


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "No Such"}, "small letters"),
        ({"channel": "mqtt"}, "channel"),
        ({"colour": "red"}, "unknown colour"),
        ({"match": {"vendor": "V", "models": []}}, "models"),
        ({"match": {"vendor": "V", "models": ["M"], "firmware": "new"}}, "range"),
        ({"rating": {"current_a": 16}}, "belong together"),
        ({"rating": {"power_w": 1, "current_a": 16, "voltage_v": 230}}, "not both"),
        ({"rating": {"power_w": -1}}, "above zero"),
        ({"meter": {"kind": "odd"}}, "none of"),
    ],
)
def test_a_profile_that_says_something_else_fails(change: dict[str, object], said: str) -> None:
    with pytest.raises(ProfileProblem, match=f"test.toml: .*{said}"):
        made(**change)


def test_unknown_words_words_that_exclude_each_other_and_lost_evidence_fail(tmp_path: Path) -> None:
    for words, said in (
        (["no_such_word"], "there is no quirk"),
        (["tz_missing=IST", "tz_missing=UTC"], "exclude each other"),
        (["max_keys_per_get=none"], "there is no quirk"),
        (["ist_sent_as_z", "ist_sent_as_z"], "twice"),
    ):
        with pytest.raises(ProfileProblem, match=said):
            parse({**GOOD, "quirk": [{"word": word, "evidence": "t.jsonl"} for word in words]}, "t")
    with pytest.raises(ProfileProblem, match="exclude each other"):
        parse(
            {
                "profile": {**GOOD["profile"], "meter": {"kind": "session"}},
                "quirk": [{"word": "register_scope=INTERVAL", "evidence": "t.jsonl"}],
            },
            "t",
        )
    folder = tmp_path / "v"
    folder.mkdir()
    (folder / "m.toml").write_text(
        '[profile]\nid = "a-b"\nchannel = "ocpp"\nmatch = { vendor = "V", models = ["M"] }\n'
        '[[quirk]]\nword = "no_server_ping"\nevidence = "t.jsonl"\n'
    )
    with pytest.raises(ProfileProblem, match=r"v/m\.toml: t\.jsonl is no transcript"):
        load(tmp_path)
    (folder / "t.jsonl").write_text('{"frame": [3, "a", {}]}\n')
    assert list(load(tmp_path).by_id) == ["a-b"]


@pytest.mark.parametrize(
    ("one", "two", "meet"),
    [
        (["M-*"], ["M-1"], True),
        (["M-*"], ["*-1"], True),
        (["M-?"], ["M-12"], False),
        (["A*"], ["B*"], False),
        (["A*Z"], ["AB"], False),
        (["m-1"], ["M-1"], True),
    ],
)
def test_two_profiles_that_could_mean_one_charger_fail(one: list[str], two: list[str], meet: bool) -> None:
    pair = [
        made(id="one", match={"vendor": "V", "models": one}),
        made(id="two", match={"vendor": "v ", "models": two}),
    ]
    if meet:
        with pytest.raises(ProfileProblem, match="could both mean one station"):
            profiles(pair)
    else:
        assert len(profiles(pair).by_id) == 2
    apart = [
        made(id="one", match={"vendor": "V", "models": one, "firmware": "<2.0"}),
        made(id="two", match={"vendor": "V", "models": two, "firmware": ">=2"}),
    ]
    assert len(profiles(apart).by_id) == 2


@given(
    st.text(alphabet="ab*?", min_size=1, max_size=6),
    st.text(alphabet="ab*?", min_size=1, max_size=6),
    st.text(alphabet="ab", min_size=0, max_size=6),
)
def test_patterns_that_one_name_fits_are_seen_to_meet(one: str, two: str, name: str) -> None:
    both = [made(id=identity, match={"vendor": "V", "models": [glob]}) for identity, glob in (("o1", one), ("t2", two))]
    if all(profile.matches("V", name, None) for profile in both):
        assert both[0].may_meet(both[1])


@given(
    st.lists(st.tuples(st.sampled_from(["<", "<=", ">", ">=", "="]), st.integers(0, 5)), min_size=1, max_size=3),
    st.lists(st.tuples(st.sampled_from(["<", "<=", ">", ">=", "="]), st.integers(0, 5)), min_size=1, max_size=3),
    st.integers(0, 6),
    st.integers(0, 3),
)
def test_ranges_that_one_version_fits_are_seen_to_overlap(
    one: list[tuple[str, int]], two: list[tuple[str, int]], major: int, minor: int
) -> None:
    ranges = [Range.parse(" ".join(f"{sign}{number}" for sign, number in bounds)) for bounds in (one, two)]
    if all(found.holds(f"v{major}.{minor}-rc") for found in ranges):
        assert ranges[0].overlaps(ranges[1])


# -- words


def test_words_are_read_by_name_and_number() -> None:
    words = frozenset({"max_keys_per_get=10", "tz_missing=IST", "no_server_ping"})
    assert problem(words) is None
    assert number_of(words, "max_keys_per_get") == 10
    assert value_of(words, "tz_missing") == "IST"
    assert number_of(words, "tz_missing") is None
    assert value_of(words, "no_server_ping") is None
    for wrong in ("max_keys_per_get=0", "max_keys_per_get=", "no_server_ping=yes", "tz_missing=CET", ""):
        assert problem([wrong]) is not None, wrong
    assert all(problem([spelling.replace("=N", "=7")]) is None for spelling in spellings())


def test_what_a_word_announces_are_rules_that_exist() -> None:
    assert set().union(*ANNOUNCED.values()) <= set(RULES)
    assert is_announced(frozenset({METER_VALUE_OBJECT, NUMBERS_FOR_STRINGS}), ("object_for_array", "number_for_string"))
    assert not is_announced(frozenset({METER_VALUE_OBJECT}), ("object_for_array", "number_for_string"))


def test_oddities_are_counted_by_model_and_by_charger_without_end() -> None:
    counted = Oddities()
    first = Station(id="A", no=1, vendor="V", model="M", quirks=frozenset({METER_VALUE_OBJECT}))
    assert counted.repaired(first, ("object_for_array",))
    assert not counted.repaired(first, ("object_for_array", "null_dropped"))
    counted.ignored(first, "no JSON")
    assert counted.of("A") == {
        "expected": {"object_for_array": 1},
        "ignored": {"no JSON": 1},
        "repaired": {"null_dropped": 1, "object_for_array": 1},
    }
    assert counted.by_model["repaired", "null_dropped", "V M"] == 1
    for number in range(1000):
        counted.noted(Station(id="B", no=2, vendor="V", model=f"M{number}"), f"rule {number}")
    assert len({model for _, _, model in counted.by_model}) <= 301
    assert len(counted.of("B")["noted"]) <= 101
    assert sum(counted.of("B")["noted"].values()) == 1000
    assert counted.of("C") == {}


def test_no_code_asks_for_a_vendor() -> None:
    """An oddity has a word; whose it is stands in a profile (ADR 0006)."""
    root = Path(__file__).resolve().parent.parent
    names = {profile.vendor for profile in load().by_id.values()}
    for path in (root / "csms").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not any(name in text for name in names), path
        assert not re.search(r"(vendor|model) (==|in) [\"(\[{]", text), path
