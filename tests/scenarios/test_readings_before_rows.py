"""An ordinary reading is stored by itself and the session's row follows: a kill in between loses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import running
from wire import Station16, Station201, session, sessions, token

PATIENT = {"limits": {"abandon_min_s": 600, "abandon_max_s": 600, "data_offline_s": 600}}
READINGS = 40


async def test_readings_answered_just_before_a_kill_are_in_the_session_after_the_restart(tmp_path: Path) -> None:
    async with running(tmp_path, PATIENT) as server:
        await server.sell("CP-R")
        await token(server, "TAG")
        async with Station16(server, "CP-R") as station:
            await station.boot()
            number = (await station.start("TAG", 1000))["transactionId"]
            for n in range(1, READINGS + 1):
                await station.meter(number, 1000 + n)
            await server.kill()  # at once: the row is saved a few times a second
        await server.start()
        standing = await session(server, "CP-R")
        assert (standing["energy_wh"], standing["state"]) == (READINGS, "SUSPENDED_OFFLINE")


async def test_sequence_numbers_answered_just_before_a_kill_are_no_gap_afterwards(tmp_path: Path) -> None:
    async with running(tmp_path, PATIENT) as server:
        await server.sell("CP-R")
        await token(server, "TAG")
        async with Station201(server, "CP-R") as station:
            await station.boot()
            await station.event("Started", "T1", "CablePluggedIn", token="TAG", wh=1000)
            for n in range(1, READINGS + 1):
                await station.event("Updated", "T1", "MeterValuePeriodic", wh=1000 + n)
            await server.kill()
        await server.start()
        async with Station201(server, "CP-R") as station:
            station.seq["T1"] = READINGS
            await station.event("Ended", "T1", "EVDeparted", wh=1000 + READINGS)
            # A gap would leave it waiting for data (ENDED_PENDING_DATA).
            (done,) = await sessions(server, "CP-R")
            assert (done["energy_wh"], done["state"]) in {(READINGS, "ENDED"), (READINGS, "SETTLED")}


@pytest.mark.parametrize("reads", [1, 5])
async def test_whoever_asks_sees_every_reading_answered_so_far(tmp_path: Path, reads: int) -> None:
    async with running(tmp_path, PATIENT) as server:
        await server.sell("CP-R")
        await token(server, "TAG")
        async with Station16(server, "CP-R") as station:
            await station.boot()
            number = (await station.start("TAG", 1000))["transactionId"]
            for n in range(1, reads + 1):
                await station.meter(number, 1000 + n)
                assert (await session(server, "CP-R"))["energy_wh"] == n
