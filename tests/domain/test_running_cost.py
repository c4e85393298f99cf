"""The cost on the display is the bill: same arithmetic, from memory instead of rows."""

from __future__ import annotations

from decimal import Decimal
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from test_session import MIN, T0, in_state, meter, opened, play, stop

from csms.domain.running_cost import PRICED, cost, price_text, usage
from csms.domain.session import State
from csms.domain.tariff import Rate, Tariff, Terms, bill

S = State
HOUR_RATES = (Rate(to_minute=17 * 60, per_kwh=Decimal(10)), Rate(from_minute=17 * 60, per_kwh=Decimal(20)))


def tariff(*rates: Rate, **more: object) -> Tariff:
    return Tariff(tariff_id="T", rates=rates or (Rate(per_kwh=Decimal(18)),), **more)  # type: ignore[arg-type]  # members of a tariff


def test_a_running_session_costs_what_is_proven() -> None:
    session = in_state(S.ACTIVE)  # 200 Wh
    terms = Terms(tariff=tariff(service_fee=Decimal(10), tax_percent=Decimal(18)))
    assert cost(terms, session) == Decimal("16.05")  # (3.60 + 10.00) * 1.18 = 16.048
    play(session, meter(T0 + 2 * MIN, 2000))
    assert cost(terms, session) == Decimal("33.04")


def test_nothing_delivered_is_free_and_an_orphan_is_unknown() -> None:
    terms = Terms(tariff=tariff(service_fee=Decimal(10)))
    assert cost(terms, opened()) == Decimal("0.00")
    assert cost(terms, in_state(S.ORPHAN)) is None


def test_an_estimate_and_a_moment_without_a_price_have_no_cost_to_show() -> None:
    implausible = opened(rated_w=1)
    play(implausible, stop(T0 + MIN, 500_000))
    assert implausible.energy_wh
    assert cost(Terms(tariff=tariff()), implausible) is None
    nights_only = tariff(Rate(from_minute=1, to_minute=2, per_kwh=Decimal(1)))
    assert cost(Terms(tariff=nights_only), in_state(S.ACTIVE)) is None


@given(st.lists(st.integers(1, 900), min_size=1, max_size=30), st.booleans())
def test_the_profile_adds_up_to_the_energy_and_the_cost_to_its_bill(steps: list[int], has_spike: bool) -> None:
    session = opened()
    wh = 1000
    for number, step in enumerate(steps, 1):
        wh += step
        play(session, meter(T0 + number * 10 * MIN, wh))
    if has_spike:
        session.register.add(T0 + 5 * MIN, 99_000_000)
    profile = usage(
        start_ms=session.started_at_ms,
        end_ms=session.last_proven_at_ms,
        start_wh=session.meter_start_wh,
        energy_wh=session.energy_wh,
        registers=session.register,
        idle_minutes=0,
    )
    assert profile.energy_wh == session.energy_wh == sum(steps)
    terms = Terms(tariff=tariff(*HOUR_RATES))
    assert cost(terms, session) == bill(terms, profile).total


WHOLE = st.integers(0, 40).map(Decimal)
TARIFFS = st.builds(
    lambda first, second, fee, minute, idle, surge, tax, inclusive: tariff(
        Rate(to_minute=17 * 60, per_kwh=first, per_minute=minute), Rate(from_minute=17 * 60, per_kwh=second),
        service_fee=fee, idle_per_minute=idle, surge_percent=surge, tax_percent=tax, tax_inclusive=inclusive,
    ),
    WHOLE, WHOLE, WHOLE, WHOLE, WHOLE, WHOLE, WHOLE, st.booleans(),
)  # fmt: skip


@given(
    TARIFFS,
    st.lists(st.tuples(st.integers(1, 600), st.integers(0, 60_000)), max_size=25),
    st.integers(0, 600),
    st.integers(0, 3 * 60),
    st.randoms(use_true_random=False),
)
def test_the_total_from_memory_is_the_bill_from_the_rows(
    prices: Tariff, samples: list[tuple[int, int]], until_min: int, idle_min: int, chance: Random
) -> None:
    """Readings late, doubled, in any order, behind the end, and two of one instant: the rows lie as they came."""
    session, terms = opened(), Terms(tariff=prices)
    rows: list[tuple[int, int]] = []
    line = [(T0 + minute * MIN, 1000 + wh) for minute, wh in samples]
    told = chance.sample(line + line[: len(line) // 3], len(line) + len(line) // 3)
    ends_after = chance.randint(0, len(told))
    for number, (at_ms, wh) in enumerate([*told, (0, 0)]):
        if number == ends_after:
            play(session, stop(T0 + until_min * MIN, 1000 + max([wh for _, wh in samples], default=0)))
            session.idle_ms = idle_min * MIN
        if at_ms:
            play(session, meter(at_ms, wh, now_ms=T0 + 700 * MIN))
            rows += [] if (at_ms, wh) in rows else [(at_ms, wh)]
    profile = usage(
        start_ms=session.started_at_ms,
        end_ms=session.ended_at_ms,
        start_wh=session.meter_start_wh,
        energy_wh=session.energy_wh,
        registers=sorted(rows),
        idle_minutes=session.idle_ms // MIN,
    )
    assert profile.energy_wh == session.energy_wh
    total = cost(terms, session)
    assert total == (bill(terms, profile).total if session.quality in PRICED or not session.energy_wh else None)


def test_prices_are_said_in_words() -> None:
    assert price_text(tariff(), T0) == "18 INR/kWh"
    assert price_text(tariff(Rate()), T0) == "Free of charge"
    everything = tariff(
        Rate(per_kwh=Decimal("12.50"), per_minute=Decimal(1)), service_fee=Decimal(5), surge_percent=Decimal(10),
        surcharge_per_kwh=Decimal("0.5"), idle_per_minute=Decimal(2), idle_grace_minutes=10, tax_percent=Decimal(18),
        tax_inclusive=True,
    )  # fmt: skip
    assert price_text(everything, T0) == (
        "12.5 INR/kWh, 1 INR/min, 5 INR per session, surge 10%, 0.5 INR/kWh surcharge, idle 2 INR/min after 10 min, "
        "incl. 18% GST"
    )
    assert price_text(tariff(Rate(from_minute=1, to_minute=2)), T0) is None
    # T0 is 05:30 in India: the day's price holds until 17:00 there, which is 11:30 UTC.
    evening = T0 + 12 * 60 * MIN
    assert [price_text(tariff(*HOUR_RATES), at_ms) for at_ms in (T0, evening)] == ["10 INR/kWh", "20 INR/kWh"]
