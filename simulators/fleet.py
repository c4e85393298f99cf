"""Many chargers at once, all busy: plug in, tag, charge a while, stop, drive off, again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from simulators.ocpp_charger import Charger, StoryError
from simulators.physics import Vehicle
from simulators.transcript import Transcript
from simulators.wire import Version

RAMP_S = 0.02  # between two chargers coming up: a feeder's return, not a single instant
TICK_S = 0.25


@dataclass(slots=True)
class FleetReport:
    """What a fleet did."""

    chargers: int = 0
    sessions: int = 0
    delivered_wh: int = 0
    failures: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


async def run_fleet(
    url: str,
    count: int,
    *,
    prefix: str = "SIM",
    versions: Sequence[Version] = ("1.6", "2.0.1"),
    rounds: int | None = None,
    speed: float = 60.0,
    seed: int = 0,
    password: str | None = None,
    timeout_s: float = 30.0,
    session_wh: tuple[float, float] = (100.0, 600.0),
    report: FleetReport | None = None,
) -> FleetReport:
    """Run `count` chargers, `rounds` sessions each (`None`: until cancelled). The report is filled as it goes."""
    report = report if report is not None else FleetReport()
    rng = random.Random(seed)

    async def one(number: int) -> None:
        await asyncio.sleep(number * RAMP_S)
        charger = Charger(
            f"{prefix}-{number:04}",
            url,
            version=versions[number % len(versions)],
            kind="DC" if number % 4 == 3 else "AC",
            rated_kw=60.0 if number % 4 == 3 else 7.4,
            power_scale=speed,
            seed=seed + number,
            password=password,
            tick_s=TICK_S,
            transcript=Transcript(keep=500),
        )
        async with charger:
            report.chargers += 1
            try:
                await charger.wait_online(timeout_s)
                done = 0
                while rounds is None or done < rounds:
                    await _one_session(charger, rng.uniform(*session_wh), timeout_s)
                    report.sessions += 1
                    report.delivered_wh += charger.truth[-1].delivered_wh
                    charger.truth[:-1] = []
                    done += 1
            except StoryError as failure:
                report.failures.append(str(failure))
            finally:
                report.complaints += [f"{charger.identity}: {complaint}" for complaint in charger.complaints]

    async with asyncio.TaskGroup() as chargers:
        for number in range(count):
            chargers.create_task(one(number))
    return report


async def _one_session(charger: Charger, energy_wh: float, timeout_s: float) -> None:
    await charger.plug_in(1, Vehicle(limit_wh=energy_wh, max_power_w=60_000))
    if not await charger.present_tag(f"TAG-{charger.identity}"[:20]):
        await charger.unplug(1)
        raise StoryError(f"{charger.identity}: its tag was refused")
    await charger.wait_delivered(1, energy_wh - 1, timeout_s)
    if charger.connectors[1].session is not None:
        await charger.stop_local(1)
    await charger.unplug(1)
    await charger.wait_drained(timeout_s)
