"""What a car is offered: never more than allowed, enough where enough is possible, no more steps than it takes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from csms.domain.charging_needs import (
    HORIZON_S,
    Needs,
    Step,
    energy_wh,
    is_within,
    lowest,
    plan,
    to_profile,
    watts_at,
)
from csms.domain.charging_profile import NOMINAL_V, Unit, check
from csms.domain.charging_profile import Ability as Able

HOUR_S = 3600


@st.composite
def ceilings(draw: st.DrawFn) -> list[Step]:
    starts = draw(st.lists(st.integers(1, 2 * HORIZON_S), unique=True, max_size=12))
    return [Step(start_s, draw(st.integers(0, 200_000))) for start_s in [0, *sorted(starts)]]


needs = st.builds(
    Needs,
    is_dc=st.booleans(),
    phases=st.integers(1, 3),
    max_w=st.integers(0, 200_000),
    min_w=st.integers(0, 5_000),
    energy_wh=st.none() | st.integers(0, 100_000),
    leaves_in_s=st.none() | st.integers(-10, 2 * HORIZON_S),
    most_steps=st.integers(1, 20),
)


def until_s(needs: Needs) -> int:
    return HORIZON_S if needs.leaves_in_s is None else max(1, min(needs.leaves_in_s, HORIZON_S))


@given(needs, ceilings())
def test_no_choice_is_ever_above_a_limit_or_beyond_what_the_car_takes(needs: Needs, ceilings: list[Step]) -> None:
    for choice in plan(needs, ceilings):
        marks = {step.start_s for step in (*choice, *ceilings)}
        for at_s in marks:
            watts = watts_at(choice, at_s)
            assert watts <= watts_at(ceilings, at_s)
            assert watts <= needs.max_w


@given(needs, ceilings())
def test_a_choice_has_a_beginning_and_no_more_steps_than_the_car_takes(needs: Needs, ceilings: list[Step]) -> None:
    choices = plan(needs, ceilings)
    assert 1 <= len(choices) <= 3
    for choice in choices:
        assert choice[0].start_s == 0
        assert 1 <= len(choice) <= needs.most_steps
        assert all(one.start_s < other.start_s for one, other in pairwise(choice))


@given(needs, ceilings())
def test_the_fastest_gives_all_there_is_and_the_even_one_all_that_is_needed(needs: Needs, ceilings: list[Step]) -> None:
    roomy = Needs(needs.is_dc, needs.phases, needs.max_w, 0, needs.energy_wh, needs.leaves_in_s)
    end_s = until_s(roomy)
    fastest, *even = plan(roomy, ceilings)
    possible = energy_wh([Step(one.start_s, min(one.watts, roomy.max_w)) for one in ceilings], end_s)
    assert energy_wh(fastest, end_s) == possible
    for choice in even:
        assert roomy.energy_wh is not None
        assert roomy.energy_wh <= energy_wh(choice, end_s) <= possible
        highest = max(step.watts for step in choice)
        # One W less would not do: it is as even as may be.
        lower = [Step(step.start_s, min(step.watts, highest - 1)) for step in choice]
        assert highest == 1 or energy_wh(lower, end_s) < roomy.energy_wh


@given(needs, ceilings())
def test_a_car_is_never_given_less_than_it_can_take_but_nothing(needs: Needs, ceilings: list[Step]) -> None:
    # Joining steps may bring a lower one forward, never one that did not exist.
    given_ = {step.watts for choice in plan(needs, ceilings) for step in choice}
    assert all(watts == 0 or watts >= needs.min_w for watts in given_)


@given(needs, ceilings(), st.sampled_from(list(Unit)))
def test_a_profile_of_it_may_be_sent_and_is_not_above_its_steps(needs: Needs, ceilings: list[Step], unit: Unit) -> None:
    choices = plan(needs, ceilings)
    profile = to_profile(needs, choices, unit, profile_id=1, tx_id="t", start_ms=1_767_323_045_678)
    check(profile, 1, Able())
    for schedule, choice in zip(profile.schedules, choices, strict=True):
        for period, step in zip(schedule.periods, choice, strict=True):
            watts = period.limit if unit is Unit.WATT else period.limit * NOMINAL_V * needs.phases
            assert watts <= step.watts
    assert is_within(choices[0], choices, until_s=HORIZON_S, slack_w=0)


def test_a_ceiling_is_the_lowest_of_all() -> None:
    site = [Step(0, 50_000), Step(HOUR_S, 7_000)]
    assert lowest([[Step(0, 22_000)], site]) == (Step(0, 22_000), Step(HOUR_S, 7_000))


def test_time_to_spare_makes_an_even_choice() -> None:
    asked = Needs(False, 3, max_w=22_000, min_w=4_140, energy_wh=10_000, leaves_in_s=2 * HOUR_S)
    assert plan(asked, [Step(0, 11_000)]) == ((Step(0, 11_000),), (Step(0, 5_000),))
    hurried = Needs(False, 3, max_w=22_000, min_w=4_140, energy_wh=30_000, leaves_in_s=2 * HOUR_S)
    assert plan(hurried, [Step(0, 11_000)]) == ((Step(0, 11_000),),)
    gentle = Needs(False, 3, max_w=22_000, min_w=4_140, energy_wh=1_000, leaves_in_s=2 * HOUR_S)
    assert plan(gentle, [Step(0, 11_000)])[1] == (Step(0, 4_140),)


def test_too_many_steps_become_few_at_the_least_loss() -> None:
    steps = [Step(0, 11_000), Step(HOUR_S, 10_900), Step(2 * HOUR_S, 3_000), Step(3 * HOUR_S, 11_000)]
    asked = Needs(True, 3, max_w=50_000, most_steps=3)
    assert plan(asked, steps) == ((Step(0, 10_900), Step(2 * HOUR_S, 3_000), Step(3 * HOUR_S, 11_000)),)


def test_what_the_car_will_do_must_fit_one_choice_throughout() -> None:
    choices = [[Step(0, 11_000), Step(HOUR_S, 4_000)], [Step(0, 5_000)]]
    assert is_within([Step(0, 11_000), Step(HOUR_S, 4_000)], choices, until_s=HORIZON_S, slack_w=0)
    assert is_within([Step(0, 5_000)], choices, until_s=HORIZON_S, slack_w=0)
    assert not is_within([Step(0, 6_000)], choices, until_s=HORIZON_S, slack_w=0)
    assert is_within([Step(0, 6_000)], choices, until_s=HOUR_S, slack_w=0)  # it leaves before the limit drops
    assert is_within([Step(0, 5_001)], choices, until_s=HORIZON_S, slack_w=1)
