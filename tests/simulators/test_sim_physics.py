"""Where the true energy comes from: properties of sockets, meters and batteries."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.physics import Kind, Outlet, Vehicle

KINDS = st.sampled_from(["AC", "DC"])
STEPS = st.lists(st.floats(min_value=0.0, max_value=600.0), min_size=1, max_size=40)


def outlet(kind: Kind = "AC", seed: int = 0, scale: float = 1.0, **car: float) -> Outlet:
    box = Outlet(kind=kind, rated_w=7_400, power_scale=scale, register_wh=1_000, rng=random.Random(seed))
    box.vehicle = Vehicle(**car)
    box.is_closed = True
    return box


@given(kind=KINDS, steps=STEPS, scale=st.sampled_from([1.0, 60.0, 1200.0]), seed=st.integers(0, 5))
def test_the_meter_counts_exactly_what_went_into_the_battery(
    kind: Kind, steps: list[float], scale: float, seed: int
) -> None:
    box = outlet(kind, seed, scale)
    assert box.vehicle is not None
    before = box.vehicle.soc
    readings = [box.register_wh]
    for seconds in steps:
        box.step(seconds)
        readings.append(box.register_wh)
    assert readings == sorted(readings)
    into_battery = (box.vehicle.soc - before) * box.vehicle.capacity_wh
    assert box.register_wh - readings[0] == pytest.approx(into_battery, abs=1e-3)
    assert box.vehicle.soc <= 1.0


@given(kind=KINDS, steps=STEPS, scale=st.sampled_from([1.0, 600.0]))
def test_no_more_than_the_rating_ever_flows(kind: Kind, steps: list[float], scale: float) -> None:
    box = outlet(kind, scale=scale)
    for seconds in steps:
        energy = box.step(seconds)
        assert energy <= 7_400 * scale * seconds / 3600 + 1e-9
        assert box.power_w <= 7_400 * scale * 1.000001


@given(limit=st.floats(min_value=1.0, max_value=20_000.0))
def test_a_drivers_own_limit_is_met_exactly(limit: float) -> None:
    box = outlet(scale=600, limit_wh=limit)
    for _ in range(400):
        box.step(0.2)
    assert box.register_wh - 1_000 == pytest.approx(limit, abs=1e-3)
    assert box.vehicle is not None
    assert box.vehicle.is_satisfied


def test_the_same_seed_gives_the_same_curve() -> None:
    curves = [[box.step(1.0) for _ in range(50)] for box in (outlet(seed=7), outlet(seed=7), outlet(seed=8))]
    assert curves[0] == curves[1] != curves[2]


def test_a_dc_battery_takes_less_near_full() -> None:
    low, high = Vehicle(soc=0.5), Vehicle(soc=0.95)
    assert low.accepts_w(60_000, "DC") == 60_000
    assert high.accepts_w(60_000, "DC") == pytest.approx(15_000)
    assert Vehicle(soc=1.0).accepts_w(60_000, "DC") == 0


def test_an_open_contactor_or_an_empty_bay_meters_nothing() -> None:
    box = outlet()
    box.is_closed = False
    assert box.step(100) == 0
    box.is_closed, box.vehicle = True, None
    assert box.step(100) == 0
    assert box.register_wh == 1_000


def test_a_profile_limit_holds_the_power_down() -> None:
    box = outlet()
    box.limit_w = 1_000
    box.step(10)
    assert 900 < box.power_w <= 1_000
    box.limit_w = 0
    assert box.step(10) == 0


def test_time_does_not_run_backwards() -> None:
    with pytest.raises(ValueError, match="backwards"):
        outlet().step(-1)
