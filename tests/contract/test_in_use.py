"""Which sessions a token has, wherever, and had at another time."""

from __future__ import annotations

from typing import Any

from csms.app.inuse import InUse
from csms.domain.session import Session, State

T = 1_767_268_800_000


def session(no: int, **members: Any) -> Session:
    made = Session(no=no, session_id=f"s-{no}", station="CP1", evse=1, connector=1, state=State.ACTIVE, token="Tag")
    made.authorised, made.started_at_ms = True, T
    for name, value in members.items():
        setattr(made, name, value)
    return made


def test_a_session_counts_for_its_token_from_its_start_to_its_end() -> None:
    uses, one = InUse(), session(1)
    uses.note(one)
    assert [uses.others("TAG", at, but=2) for at in (T - 1, T, T + 9)] == [0, 1, 1]
    assert uses.others(" tag", T, but=1) == 0  # never against itself
    assert uses.others("OTHER", T, but=2) == 0
    one.state, one.ended_at_ms = State.ENDED, T + 5
    uses.note(one)
    assert [uses.others("TAG", at, but=2) for at in (T + 4, T + 5)] == [1, 0]


def test_what_was_refused_or_came_to_nothing_uses_nothing() -> None:
    uses = InUse()
    for number, members in enumerate(({"authorised": False}, {"authorised": None}, {"state": State.VOID}), 1):
        uses.note(session(number, **members))
    assert uses.others("TAG", T, but=9) == 0
    one = session(5)
    uses.note(one)
    one.authorised = False
    uses.note(one)
    assert uses.others("TAG", T, but=9) == 0


def test_a_dark_session_counts_only_where_one_must_be_the_only_one_ever() -> None:
    uses = InUse()
    uses.note(session(1, state=State.SUSPENDED_OFFLINE))
    assert (uses.others("TAG", T, but=2), uses.others("TAG", T, but=2, dark=True)) == (0, 1)


def test_a_session_may_get_another_token() -> None:
    uses, one = InUse(), session(1)
    uses.note(one)
    one.token = "OTHER"
    uses.note(one)
    assert (uses.others("TAG", T, but=2), uses.others("OTHER", T, but=2)) == (0, 1)


def test_a_station_that_is_read_again_begins_anew() -> None:
    uses = InUse()
    uses.note(session(1))
    uses.note(session(2, station="CP2"))
    uses.forget_station("CP1")
    assert uses.others("TAG", T, but=9) == 1


def test_only_the_last_ended_sessions_are_remembered() -> None:
    uses = InUse()
    for number in range(1, 8):
        ended_ms = T + number * 10
        uses.note(session(number, state=State.ENDED, started_at_ms=ended_ms - 5, ended_at_ms=ended_ms))
    assert [uses.others("TAG", T + number * 10 - 1, but=9) for number in (3, 4, 7)] == [0, 1, 1]
