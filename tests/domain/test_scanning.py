"""Who only looks is shown less and less, who buys is not, and everything is forgotten in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.app.scanning import MAX_APPS, MAX_AREAS, FairUse
from csms.domain.scanning import Allowance, Freshness, Score, freshness

HOUR_MS = 3_600_000
NOW_MS = 1_800_000_000_000
ALLOWANCE = Allowance(area=10, total=40, per_select=5, half_life_ms=HOUR_MS)
ORDER = list(Freshness)

scores = st.floats(0, 1e6)


@pytest.mark.parametrize(
    ("area", "total", "selects", "expected"),
    [
        (0, 0, 0, Freshness.LIVE),
        (10, 40, 0, Freshness.LIVE),
        (11, 11, 0, Freshness.RECENT),
        (20, 20, 0, Freshness.RECENT),
        (21, 21, 0, Freshness.COARSE),
        (40, 40, 0, Freshness.COARSE),
        (41, 41, 0, Freshness.REFUSED),
        (1, 41, 0, Freshness.RECENT),
        (1, 161, 0, Freshness.REFUSED),
        (41, 41, 7, Freshness.LIVE),  # 10 + 5 * 7 searches are within the allowance
        (100, 100, 7, Freshness.COARSE),
    ],
)
def test_the_table(area: float, total: float, selects: float, expected: Freshness) -> None:
    assert freshness(area, total, selects, ALLOWANCE) is expected


@given(scores, scores, scores, scores)
def test_more_searching_never_shows_more_and_more_buying_never_less(
    area: float, total: float, selects: float, more: float
) -> None:
    here = ORDER.index(freshness(area, total, selects, ALLOWANCE))
    assert ORDER.index(freshness(area + more, total, selects, ALLOWANCE)) >= here
    assert ORDER.index(freshness(area, total + more, selects, ALLOWANCE)) >= here
    assert ORDER.index(freshness(area, total, selects + more, ALLOWANCE)) <= here


@given(scores, scores, scores)
def test_an_allowance_of_nothing_limits_nobody(area: float, total: float, selects: float) -> None:
    free = Allowance(area=0, total=0, per_select=0, half_life_ms=HOUR_MS)
    assert freshness(area, total, selects, free) is Freshness.LIVE


@given(st.lists(st.integers(0, 10 * HOUR_MS), max_size=50), st.integers(1, HOUR_MS))
def test_a_score_fades_and_never_exceeds_how_often_or_its_ceiling(gaps: list[int], half_life_ms: int) -> None:
    score, at_ms = Score(), NOW_MS
    for count, gap_ms in enumerate(gaps, 1):
        at_ms += gap_ms
        score = score.plus_one(at_ms, half_life_ms, 8.0)
        assert 0 < score.value <= min(count, 8.0)
    assert score.at(at_ms + half_life_ms, half_life_ms) == pytest.approx(score.value / 2)


def test_a_clock_that_went_back_forgives_nothing() -> None:
    score = Score(4.0, NOW_MS)
    assert score.at(NOW_MS - HOUR_MS, HOUR_MS) == 4.0
    assert score.plus_one(NOW_MS - HOUR_MS, HOUR_MS, 100).at_ms == NOW_MS


def _ask(use: FairUse, times: int, area: str = "here", bap: str = "bap", at_ms: int = NOW_MS) -> list[Freshness]:
    return [use.searched(bap, area, at_ms).freshness for _ in range(times)]


def test_polling_one_place_goes_down_the_steps_one_by_one() -> None:
    seen = _ask(FairUse(ALLOWANCE), 60)
    assert seen[:10] == [Freshness.LIVE] * 10
    assert seen[10:20] == [Freshness.RECENT] * 10
    assert seen[20:40] == [Freshness.COARSE] * 20
    assert set(seen[40:]) == {Freshness.REFUSED}


def test_walking_a_map_is_found_although_no_place_is_asked_twice() -> None:
    use = FairUse(ALLOWANCE)
    seen = [use.searched("bap", f"cell:{n}", NOW_MS).freshness for n in range(200)]
    assert seen[39] is Freshness.LIVE
    assert seen[40] is Freshness.RECENT
    assert seen[-1] is Freshness.REFUSED


def test_who_selects_now_and_then_stays_within_the_allowance() -> None:
    use = FairUse(ALLOWANCE)
    for n in range(400):
        if n % 5 == 0:
            use.selected("bap", NOW_MS + n * 1000)
        assert use.searched("bap", "here", NOW_MS + n * 1000).freshness is Freshness.LIVE


def test_one_app_does_not_pay_for_another() -> None:
    use = FairUse(ALLOWANCE)
    _ask(use, 60, bap="scanner")
    assert _ask(use, 1, bap="honest") == [Freshness.LIVE]


def test_even_the_worst_is_forgotten_within_hours() -> None:
    use = FairUse(ALLOWANCE)
    _ask(use, 10_000)
    assert _ask(use, 1, at_ms=NOW_MS + 2 * HOUR_MS)[0] is not Freshness.LIVE
    assert _ask(use, 1, at_ms=NOW_MS + 4 * HOUR_MS) == [Freshness.LIVE]


def test_a_person_is_told_once_a_day_and_only_of_a_scanner() -> None:
    use = FairUse(ALLOWANCE)
    alarms = [use.searched("bap", "here", NOW_MS).is_alarming for _ in range(200)]
    assert sum(alarms) == 1
    assert alarms.index(True) == 20  # the first answer without states
    assert use.searched("bap", "here", NOW_MS + 3 * 60_000).is_alarming is False
    again = [use.searched("bap", "here", NOW_MS + 24 * HOUR_MS).is_alarming for _ in range(40)]
    assert sum(again) == 1


def test_the_ratio_is_there_to_be_looked_at() -> None:
    use = FairUse(ALLOWANCE)
    _ask(use, 12)
    use.selected("bap", NOW_MS)
    (app,) = use.all()
    assert (app.bap_id, app.searches, app.selects, app.searches_per_select) == ("bap", 12, 1, 12.0)
    assert app.shown == {Freshness.LIVE: 10, Freshness.RECENT: 2}
    assert app.freshness is Freshness.RECENT


def test_memory_is_bounded() -> None:
    use = FairUse(ALLOWANCE)
    for n in range(MAX_AREAS + 50):
        use.searched("bap", f"cell:{n}", NOW_MS)
    (app,) = use.all()
    assert len(app._areas) == MAX_AREAS
    for n in range(MAX_APPS + 50):
        _ask(use, 25, bap=f"bap{n}")
    assert len(use.all()) == MAX_APPS
    assert len(use._told) <= MAX_APPS
