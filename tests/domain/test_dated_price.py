"""Prices by the hour: which event holds when, and what a tariff makes of it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.domain.dated_price import DatedPrice, PriceEvent, known, prevailing, within
from csms.domain.stored import from_json, to_json
from csms.domain.tariff import Pattern, Rate, Slice, Tariff, Terms, Usage, bill, next_change, rate_at

HOUR = 3_600_000
NOON = 1_790_000_000_000 - 1_790_000_000_000 % 86_400_000 + 6 * HOUR + HOUR // 2  # 12:00 in India
BASE = Tariff(tariff_id="T1", rates=(Rate(per_kwh=Decimal(18)),))
ABOUT = frozenset({"tariff:T1", "location:L1", "feeder:F1"})


def event(name: str = "e", start: float = 0, end: float = 1, price: object = 9, **more: object) -> PriceEvent:
    window = DatedPrice(from_ms=NOON + int(start * HOUR), until_ms=NOON + int(end * HOUR), per_kwh=Decimal(str(price)))
    return PriceEvent(event_id=name, source="s", prices=(window,), **more)  # type: ignore[arg-type]


def priced(tariff: Tariff, *events: PriceEvent) -> Tariff:
    return replace(tariff, dated=prevailing(known(events), ABOUT))


def price_at(tariff: Tariff, hours: float) -> Decimal:
    return rate_at(tariff, NOON + int(hours * HOUR)).per_kwh


def test_an_event_holds_from_its_own_start_until_its_end_and_the_tariff_before_and_after() -> None:
    tariff = priced(BASE, event(start=1, end=2))
    assert [price_at(tariff, h) for h in (0, 0.999, 1, 1.999, 2, 50)] == [18, 18, 9, 9, 18, 18]


def test_a_bill_is_cut_at_the_boundaries_of_an_event() -> None:
    tariff = priced(BASE, event(start=1, end=2))
    used = Usage(slices=(Slice(start_ms=NOON, end_ms=NOON + 3 * HOUR, energy_wh=3000),))
    breakdown = bill(Terms(tariff=tariff, pattern=Pattern.TOP_UP), used)
    assert [line.amount for line in breakdown.components] == [Decimal("36.00"), Decimal("9.00")]


def test_a_price_by_the_hour_is_moved_and_not_forgotten() -> None:
    by_hour = Tariff(
        tariff_id="T1",
        rates=(
            Rate(from_minute=0, to_minute=780, per_kwh=Decimal(10)), Rate(from_minute=780, per_kwh=Decimal(20)),
        ),
    )  # fmt: skip
    window = DatedPrice(from_ms=NOON, until_ms=NOON + 2 * HOUR, multiplier=Decimal("1.5"), adder=Decimal(-1))
    tariff = replace(by_hour, dated=(window,))
    assert [price_at(tariff, h) for h in (-1, 0, 0.99, 1, 1.99, 2)] == [10, 14, 14, 29, 29, 20]


def test_no_price_falls_below_zero() -> None:
    window = DatedPrice(from_ms=0, until_ms=1, adder=Decimal(-100))
    assert window.of(Decimal(18)) == 0


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_words_under_one_id_the_higher_modification_counts_in_whatever_order_they_come(
    order: tuple[int, int],
) -> None:
    words = (event(price=9, modification=1), event(price=7, modification=2))
    assert price_at(priced(BASE, *(words[n] for n in order)), 0.5) == 7


def test_a_cancelled_event_holds_no_more_and_an_older_word_does_not_bring_it_back() -> None:
    cancelled = event(modification=3, cancelled=True)
    assert price_at(priced(BASE, cancelled, event(modification=2)), 0.5) == 18


def test_of_events_that_overlap_the_priority_then_the_narrower_target_then_the_later_wins() -> None:
    everybody = event("a", 0, 4, 1)
    here = event("b", 0, 3, 2, targets=("location:L1",))
    feeder = event("c", 0, 2, 3, targets=("feeder:F1",))
    urgent = event("d", 0, 1, 4, priority=1)
    tariff = priced(BASE, everybody, here, feeder, urgent)
    assert [price_at(tariff, h) for h in (0.5, 1.5, 2.5, 3.5, 4.5)] == [4, 3, 2, 1, 18]
    later = event("e", 3, 4, 5, received_ms=1)
    assert price_at(priced(BASE, everybody, later), 3.5) == 5


def test_what_is_meant_for_others_changes_nothing() -> None:
    assert priced(BASE, event(targets=("tariff:T2",)), event("f", targets=("location:L2",))) == BASE


def test_an_order_keeps_what_was_announced_when_it_was_quoted() -> None:
    tariff = priced(BASE, *(event(f"e{n}", n, n + 1, n + 1) for n in range(100)))
    kept = replace(tariff, dated=within(tariff.dated, NOON, NOON + 48 * HOUR))
    assert len(kept.dated) == 48
    terms = Terms(tariff=kept)
    assert from_json(Terms, to_json(terms)) == terms


def test_orders_of_before_there_were_announced_prices_are_readable() -> None:
    stored = to_json(BASE)
    del stored["dated"]
    assert from_json(Tariff, stored) == BASE


HALVES = st.integers(min_value=0, max_value=20)


@st.composite
def events(draw: st.DrawFn) -> PriceEvent:
    windows = []
    for _ in range(draw(st.integers(1, 3))):
        start = draw(HALVES)
        length = draw(st.integers(1, 8))
        windows.append(
            DatedPrice(
                from_ms=NOON + start * HOUR // 2,
                until_ms=NOON + (start + length) * HOUR // 2,
                per_kwh=draw(st.one_of(st.none(), st.decimals(0, 30, places=2))),
                multiplier=draw(st.sampled_from([Decimal(1), Decimal("0.5"), Decimal(2)])),
                adder=draw(st.decimals(-10, 10, places=2)),
            )
        )
    return PriceEvent(
        event_id=draw(st.sampled_from("abcde")),
        source=draw(st.sampled_from(["s", "t"])),
        prices=tuple(windows),
        targets=draw(st.sampled_from([("*",), ("tariff:T1",), ("tariff:T2",), ("feeder:F1", "location:L9")])),
        modification=draw(st.integers(0, 3)),
        priority=draw(st.integers(0, 2)),
        received_ms=draw(st.integers(0, 5)),
        cancelled=draw(st.booleans()),
    )


@given(st.lists(events(), max_size=12))
def test_windows_never_overlap_and_hold_exactly_where_an_event_does(given_events: list[PriceEvent]) -> None:
    standing = known(given_events)
    windows = prevailing(standing, ABOUT)
    assert all(a.until_ms <= b.from_ms for a, b in pairwise(windows))
    meant = [one for one in standing if set(one.targets) & (ABOUT | {"*"})]
    for half in range(-1, 60):
        at_ms = NOON + half * HOUR // 2
        covering = [p for one in meant for p in one.prices if p.from_ms <= at_ms < p.until_ms]
        holding = [w for w in windows if w.from_ms <= at_ms < w.until_ms]
        assert bool(covering) == bool(holding)
        tariff = replace(BASE, dated=windows)
        if not covering:
            assert rate_at(tariff, at_ms) == BASE.rates[0]
        else:
            assert rate_at(tariff, at_ms).per_kwh in {price.of(Decimal(18)) for price in covering}
            top = max(one.priority for one in meant if any(p.from_ms <= at_ms < p.until_ms for p in one.prices))
            best = [p for one in meant if one.priority == top for p in one.prices if p.from_ms <= at_ms < p.until_ms]
            assert rate_at(tariff, at_ms).per_kwh in {price.of(Decimal(18)) for price in best}


@given(st.lists(events(), max_size=8), st.randoms(use_true_random=False))
def test_the_order_in_which_events_come_does_not_matter_when_they_are_numbered(
    given_events: list[PriceEvent], chance: object
) -> None:
    numbered = [replace(one, modification=n + 1) for n, one in enumerate(given_events)]
    shuffled = list(numbered)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert prevailing(known(numbered), ABOUT) == prevailing(known(shuffled), ABOUT)


@given(st.lists(events(), max_size=8), st.integers(0, 40), st.integers(1, 5000))
def test_cutting_a_bill_at_announced_prices_never_loses_energy(
    given_events: list[PriceEvent], halves: int, energy_wh: int
) -> None:
    tariff = replace(BASE, dated=prevailing(known(given_events), ABOUT))
    start_ms = NOON - HOUR
    used = Usage(slices=(Slice(start_ms=start_ms, end_ms=start_ms + halves * HOUR // 2 + 7, energy_wh=energy_wh),))
    by_hand = Decimal(0)
    at_ms, given_wh = used.slices[0].start_ms, 0
    while at_ms < used.slices[0].end_ms:
        until = min(next_change(tariff, at_ms), used.slices[0].end_ms)
        part = energy_wh * (until - start_ms) // (used.slices[0].end_ms - start_ms) - given_wh
        given_wh += part
        by_hand += rate_at(tariff, at_ms).per_kwh * part / 1000
        at_ms = until
    assert given_wh == energy_wh
    if energy_wh >= 10:
        total = bill(Terms(tariff=tariff, pattern=Pattern.TOP_UP), used).total
        assert abs(total - by_hand) < Decimal("0.20")
