"""One requested file: what its notices and the file itself make of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.domain.uploads import OPEN, STEPS, TAKES_A_FILE, State, Step, after, notice

S = State


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ((Step.ACCEPTED, Step.UPLOADING, Step.FILE, Step.MISSING), S.RECEIVED),
        ((Step.ACCEPTED, Step.FILE), S.RECEIVED),  # no notice at all
        ((Step.FILE, Step.ACCEPTED), S.RECEIVED),  # quicker than its own answer
        ((Step.ACCEPTED, Step.FAILED, Step.FILE), S.RECEIVED),  # tried again and said so late
        ((Step.NOTHING, Step.FILE), S.RECEIVED),  # named no file and sent one
        ((Step.NOTHING, Step.UPLOADING, Step.FAILED), S.FAILED),
        ((Step.ACCEPTED, Step.MISSING), S.FAILED),
        ((Step.ACCEPTED, Step.UPLOADED), S.ELSEWHERE),
        ((Step.ACCEPTED, Step.FAILED, Step.UPLOADED), S.ELSEWHERE),
        ((Step.ACCEPTED, Step.CANCELLED, Step.FILE), S.CANCELLED),
        ((Step.REFUSED, Step.FILE), S.REFUSED),
        ((Step.EXPIRE, Step.FILE), S.EXPIRED),
        ((Step.ACCEPTED, Step.FILE, Step.EXPIRE, Step.DROP), S.DROPPED),
        ((Step.ACCEPTED, Step.DROP), S.ACCEPTED),
    ],
)
def test_a_way_through(steps: tuple[Step, ...], state: State) -> None:
    now = State.ASKED
    for step in steps:
        now = after(now, step)
    assert now is state


@pytest.mark.parametrize(
    ("word", "here", "elsewhere"),
    [
        ("Uploaded", Step.MISSING, Step.UPLOADED),
        ("Uploading", Step.UPLOADING, Step.UPLOADING),
        ("UploadFailed", Step.FAILED, Step.FAILED),  # DiagnosticsStatusNotification
        ("UploadFailure", Step.FAILED, Step.FAILED),  # LogStatusNotification
        ("PermissionDenied", Step.FAILED, Step.FAILED),
        ("AcceptedCanceled", Step.CANCELLED, Step.CANCELLED),
        ("Idle", None, None),
        ("Sideways", None, None),
    ],
)
def test_what_a_notice_means(word: str, here: Step | None, elsewhere: Step | None) -> None:
    assert notice(word, is_elsewhere=False) is here
    assert notice(word, is_elsewhere=True) is elsewhere


@given(st.lists(st.sampled_from(Step)))
def test_a_file_that_is_there_stays_until_its_days_are_over(steps: list[Step]) -> None:
    now = State.RECEIVED
    for step in steps:
        now = after(now, step)
    assert now is (S.DROPPED if Step.DROP in steps else S.RECEIVED)


def test_every_open_state_can_end_and_take_a_file() -> None:
    for state in OPEN:
        for step in (Step.FAILED, Step.CANCELLED, Step.EXPIRE):
            assert (state, step) in STEPS
    assert {state for state, step in STEPS if step is Step.FILE} == TAKES_A_FILE
