"""What samples mean that lie below their start: kWh labelled Wh, or energy since the start."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.domain.epochs import Point
from csms.domain.meter import Mark, Marks, Quality, Register, energy
from csms.domain.register_scope import reread

MINUTE = 60_000
START = Mark(0, 1_000_000)


def of(*wh: int) -> Register:
    register = Register()
    for number, value in enumerate(wh, 1):
        register.add(number * MINUTE, value)
    return register


@pytest.mark.parametrize(
    ("samples", "what"),
    [
        ((1000, 1000, 1001), "kWh labelled Wh"),
        ((100, 250, 500), "since the start"),
        ((0, 250, 500), "since the start, beginning with zero"),
        ((1000, 0, 1001), "kWh with a dropout"),
    ],
)
def test_two_registers_that_agree_are_not_shaken_by_samples_of_another_kind(
    samples: tuple[int, ...], what: str
) -> None:
    found = energy(of(*samples), start=START, stops=[Mark(4 * MINUTE, 1_000_700)], rated_w=60_000)
    assert (found.wh, found.quality, found.doubts, found.complete) == (700, Quality.A, (), True), what


@pytest.mark.parametrize("samples", [(1000, 1000, 1001), (100, 250, 500)])
def test_the_readings_that_begin_and_end_a_transaction_are_registers_whatever_the_samples_are(
    samples: tuple[int, ...],
) -> None:
    register = of(*samples)
    register.add(0, 1_000_000, Marks.BEGIN)
    register.add(4 * MINUTE, 1_000_700, Marks.END)
    found = energy(register, start=START, stops=[Mark(4 * MINUTE, None)], rated_w=60_000)
    assert (found.wh, found.quality, found.doubts) == (700, Quality.A, ())


def test_without_a_stop_kwh_prove_no_more_than_was_metered() -> None:
    found = energy(of(1000, 1001, 1002), start=START, rated_w=60_000)
    assert found.wh == 1500  # 1002 may have been 1001.5


def test_a_register_that_really_restarted_is_not_taken_for_a_count_since_the_start() -> None:
    start = Mark(0, 1000)
    found = energy(of(10, 400, 900), start=start, stops=[Mark(4 * MINUTE, 1100)], rated_w=60_000)
    assert found.wh == 1090
    behind_a_boot = energy(of(100, 250), start=START, breaks_ms=[MINUTE // 2], rated_w=60_000)
    assert behind_a_boot.wh == 150


@given(
    st.integers(0, 10**9),
    st.lists(st.integers(0, 3000), max_size=12),
    st.sets(st.integers(0, 11)),
    st.integers(0, 3000),
    st.booleans(),
    st.none() | st.sampled_from([7_400, 60_000]),
    st.randoms(use_true_random=False),
)
def test_a_lifetime_register_that_behaves_is_never_taken_for_anything_else(
    begin: int, steps: list[int], dropouts: set[int], last: int, is_stopped: bool, rated_w: int | None, chance: Random
) -> None:
    """Whatever it stands at, whoever sends its samples late or in any order, whatever zeros are between them."""
    samples: list[Point] = []
    wh = begin
    for number, step in enumerate(steps):
        wh += step
        samples.append(((number + 1) * 60 * MINUTE, 0 if number in dropouts else wh))
    stop_wh = wh + last if is_stopped else None
    for known in range(len(samples) + 1):
        told = chance.sample(samples, known)
        read = reread(sorted(told), (0, begin), stop_wh, breaks_ms=(), ceiling_w=rated_w or 400_000)
        assert read == sorted(told)
    register = Register()
    for at_ms, value in chance.sample(samples, len(samples)):
        register.add(at_ms, value)
    stops = [Mark((len(samples) + 1) * 60 * MINUTE, stop_wh)] if stop_wh else []
    found = energy(register, start=Mark(0, begin), stops=stops)
    # Without a stop a zero that nothing follows may hide the last of it, never more than was metered.
    assert found.wh == wh + last - begin if stop_wh else found.wh <= wh - begin


@given(st.integers(100_000, 10**9), st.integers(1, 50_000), st.integers(0, 50_000))
def test_a_register_that_restarts_or_rolls_over_is_billed_no_more_than_flowed(
    begin: int, before: int, after: int
) -> None:
    """It fell back to zero between two samples, and no boot says so."""
    register = of(begin + before // 2, begin + before, after // 2, after)
    hours = [Mark(9 * 60 * MINUTE, after)] if after < begin else []
    assert energy(register, start=Mark(0, begin), stops=hours).wh <= before + after


def test_one_honest_sample_is_enough_to_believe_the_rest() -> None:
    found = energy(of(1_000_100, 200, 400), start=START, rated_w=60_000)
    assert found.wh == 100 + 200


@given(
    st.integers(0, 10**8),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=8),
    st.integers(0, 10**6),
)
def test_samples_below_the_start_never_add_to_what_both_registers_say(
    begin: int, samples: list[int], delivered: int
) -> None:
    relative = sorted(min(sample, delivered) for sample in samples)
    if begin - 20 <= delivered:
        return  # then they may be taken for the register itself
    found = energy(of(*relative), start=Mark(0, begin), stops=[Mark(9 * MINUTE, begin + delivered)])
    assert found.wh == delivered or not found.complete
