"""A socket, its lifetime meter and the battery behind it: where the TRUE energy of a simulation comes from.

Pure: no clock and no hidden chance; time passes by calling `step`, noise comes from the generator given.

`power_scale` makes energy flow faster than in life without touching any clock: a 7.4 kW socket at scale 60
is a 444 kW socket. Everything reported (power, current) is scaled alike, so the charger is consistent with
itself; its rating, as the central system should know it, is `rated_w * power_scale`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["AC", "DC"]

SECONDS_PER_HOUR = 3600.0
TAPER_FROM: dict[Kind, float] = {"AC": 0.97, "DC": 0.80}  # share of full from which the battery takes less
FLOOR_AT_FULL = 0.05  # share of full power just before the battery is full
EFFICIENCY_NOISE = 0.01  # one sigma of the power's flicker
# Below this share of a Wh a battery is full and a car's own limit is reached: floats never meet a bound exactly.
CLOSE_WH = 1e-6


@dataclass(slots=True)
class Vehicle:
    """A battery on wheels. `limit_wh` is the driver's own charge limit for this plug-in; `None`: until full."""

    capacity_wh: float = 40_000.0
    soc: float = 0.3
    max_power_w: float = 60_000.0
    limit_wh: float | None = None
    taken_wh: float = 0.0

    def __post_init__(self) -> None:
        if self.capacity_wh <= 0 or not 0.0 <= self.soc <= 1.0 or self.max_power_w <= 0:
            raise ValueError("a vehicle needs a capacity and a power above zero and a charge between 0 and 1")

    @property
    def room_wh(self) -> float:
        """How much more it takes now: to full, or to the driver's own limit."""
        room = (1.0 - self.soc) * self.capacity_wh
        return room if self.limit_wh is None else max(0.0, min(room, self.limit_wh - self.taken_wh))

    @property
    def is_satisfied(self) -> bool:
        """True when it takes nothing more."""
        return self.room_wh <= CLOSE_WH

    def accepts_w(self, offered_w: float, kind: Kind) -> float:
        """What it draws of `offered_w`: all it can, falling off in a straight line near full."""
        if self.is_satisfied:
            return 0.0
        power = min(offered_w, self.max_power_w)
        knee = TAPER_FROM[kind]
        if self.soc > knee:
            share = 1.0 - (self.soc - knee) / (1.0 - knee)
            power *= max(FLOOR_AT_FULL, share)
        return power

    def take(self, energy_wh: float) -> float:
        """Charge it; returns what really went in, never more than there is room for."""
        taken = min(energy_wh, self.room_wh)
        self.taken_wh += taken
        self.soc = min(1.0, self.soc + taken / self.capacity_wh)
        return taken


@dataclass(slots=True)
class Outlet:
    """One socket with its meter. `register_wh` is the lifetime register, which only ever grows."""

    kind: Kind = "AC"
    rated_w: float = 7_400.0
    phases: int = 1
    power_scale: float = 1.0
    register_wh: float = 0.0
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    vehicle: Vehicle | None = None
    is_closed: bool = False  # the contactor: energy flows only when it is
    limit_w: float | None = None  # a charging profile's limit, in nameplate watts
    power_w: float = 0.0  # drawn during the last step, scaled

    def step(self, seconds: float) -> float:
        """Let `seconds` pass; returns the energy in Wh that went through the meter in that time."""
        if seconds < 0:
            raise ValueError("time does not run backwards")
        car = self.vehicle
        if car is None or not self.is_closed or seconds == 0:
            self.power_w = 0.0
            return 0.0
        offered = self.rated_w if self.limit_w is None else max(0.0, min(self.rated_w, self.limit_w))
        flicker = min(1.0, 1.0 - abs(self.rng.gauss(0.0, EFFICIENCY_NOISE)))
        drawn_w = car.accepts_w(offered, self.kind) * max(0.0, flicker) * self.power_scale
        energy = car.take(drawn_w * seconds / SECONDS_PER_HOUR)
        self.register_wh += energy
        self.power_w = energy * SECONDS_PER_HOUR / seconds
        return energy

    @property
    def voltage_v(self) -> float:
        """Phase to neutral for AC; the pack's voltage, rising with its charge, for DC."""
        if self.kind == "AC":
            return 230.0
        return 350.0 + 50.0 * (self.vehicle.soc if self.vehicle else 0.0)

    @property
    def current_a(self) -> float:
        """Per phase."""
        return self.power_w / (self.voltage_v * (self.phases if self.kind == "AC" else 1))

    @property
    def soc_percent(self) -> int | None:
        """What the car tells; only DC cars do."""
        return round(self.vehicle.soc * 100) if self.vehicle and self.kind == "DC" else None
