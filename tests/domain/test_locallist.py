"""The steps by which a charger's list becomes as it should be."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from csms.domain.access import Place, Token, TokenKind, TokenStatus
from csms.domain.locallist import (
    LARGEST_VERSION,
    Held,
    Limits,
    Listed,
    Update,
    fit,
    listed,
    may_be_listed,
    next_update,
)

NOW = 1_767_268_800_000
ALL = frozenset({TokenKind.REGULAR, TokenKind.FLEET})


def entry(uid: str, group: str | None = None) -> tuple[str, Listed]:
    return uid, Listed(uid, None, "Accepted", group)


def lists(*uids: str, group: str | None = None) -> dict[str, Listed]:
    return dict(entry(uid, group) for uid in uids)


NO_LIMITS = Limits()


def weigh(_: Listed) -> int:
    return 10


def step(held: Held | None, wanted: Held, version: int = 0, limits: Limits = NO_LIMITS) -> Update | None:
    return next_update(held, wanted, version=version, limits=limits, weigh=weigh)


def told(update: Update | None) -> tuple[int, bool, list[str], list[str]]:
    assert update is not None
    return update.version, update.full, [key for key, _ in update.put], [key for key, _ in update.drop]


def test_the_first_list_is_full_and_changes_are_differential() -> None:
    assert told(step({}, lists("A", "B"))) == (1, True, ["A", "B"], [])
    assert told(step(lists("A", "B"), lists("B", "C"), 1)) == (2, False, ["C"], ["A"])
    assert told(step(lists("A"), lists("A", group="G"), 2)) == (3, False, ["A"], [])
    assert step(lists("A"), lists("A"), 3) is None
    assert step({}, {}) is None


def test_what_is_not_known_is_sent_whole_and_an_empty_list_is_a_full_one() -> None:
    assert told(step(None, lists("A"), 7)) == (8, True, ["A"], [])
    assert told(step(None, {}, 7)) == (8, True, [], [])
    assert told(step(lists("A"), {}, 7)) == (8, True, [], [])


def test_messages_hold_what_the_charger_takes_and_what_must_go_goes_first() -> None:
    wanted = lists("A", "B", "C")
    assert told(step({}, wanted, limits=Limits(per_message=2)))[2] == ["A", "B"]
    assert told(step({}, wanted, limits=Limits(bytes_per_message=29)))[2] == ["A", "B"]
    assert told(step({}, wanted, limits=Limits(bytes_per_message=5)))[2] == ["A"]  # one at least, or it never ends
    assert told(step(lists("X", "Y"), wanted, 1, Limits(per_message=3)))[2:] == (["A"], ["X", "Y"])


def test_after_the_largest_version_it_begins_again() -> None:
    assert told(step(lists("A"), lists("B"), LARGEST_VERSION))[:2] == (1, True)
    assert step(lists("A"), lists("A"), LARGEST_VERSION) is None


@given(
    held=st.one_of(st.none(), st.sets(st.sampled_from("ABCDEFGH"))),
    wanted=st.sets(st.sampled_from("ABCDEFGHIJ")),
    per_message=st.integers(1, 4),
    fails_at=st.one_of(st.none(), st.integers(1, 3)),
)
@settings(max_examples=200, deadline=None)
def test_it_is_reached_in_rising_versions_whatever_fails_once(
    held: set[str] | None, wanted: set[str], per_message: int, fails_at: int | None
) -> None:
    charger: Held = lists(*(held or {"Z"}))  # not known: something else is on it
    known: Held | None = None if held is None else charger
    goal, version, messages = lists(*sorted(wanted)), 5, 0
    while (update := step(known, goal, version, Limits(per_message=per_message))) is not None:
        messages += 1
        assert messages < 40
        assert update.version > version
        assert len(update.put) + len(update.drop) <= per_message
        assert not (update.full and update.drop)
        version = update.version
        if messages == fails_at and not update.full:
            known = None  # it said Failed: it holds what it held
            continue
        charger = update.applied_to(charger)
        known = update.applied_to(known)
        assert known == charger
    assert known == goal


def test_what_has_no_room_is_left_out_from_the_end() -> None:
    kept, left_out = fit(lists("A", "B", "C"), Limits(capacity=2))
    assert (list(kept), left_out) == (["A", "B"], 1)
    assert fit(lists("A"), Limits()) == (lists("A"), 0)


def test_only_what_may_begin_a_session_by_itself_is_listed() -> None:
    assert may_be_listed(Token("A"), ALL, None)
    assert not may_be_listed(Token("A", TokenKind.ORDER), ALL, None)
    assert not may_be_listed(Token("A"), frozenset({TokenKind.FLEET}), None)
    assert not may_be_listed(Token("1234", type="KeyCode"), ALL, None)
    assert not may_be_listed(Token("A", group_id="MASTER"), ALL, "MASTER")
    assert not may_be_listed(Token("A", power_types=frozenset({"DC"})), ALL, None)


def test_only_who_may_charge_there_now_is_listed() -> None:
    here = Place("CP1")
    good = Token("A", group_id="G", expires_ms=NOW + 1)
    assert listed(good, NOW, here, due_since_ms=None) == Listed("A", "ISO14443", "Accepted", "G", NOW + 1)
    assert listed(good, NOW + 1, here, due_since_ms=None) is None
    assert listed(good, NOW, here, due_since_ms=NOW) is None
    assert listed(Token("A", status=TokenStatus.BLOCKED), NOW, here, due_since_ms=None) is None
    elsewhere = Token("A", station="CP2")
    assert listed(elsewhere, NOW, here, due_since_ms=None) is None
    part = Token("A", station="CP1", evse=2)
    found = listed(part, NOW, here, due_since_ms=None)
    assert found is not None
    assert found.evses == (2,)
