"""An ordinary reading is stored by itself and the session's row follows: a kill in between loses nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from running import running
from wire import Station16, Station201, at, session, sessions, token, until_session

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


async def test_of_many_who_ask_at_once_everyone_sees_every_reading_answered_so_far(tmp_path: Path) -> None:
    async with running(tmp_path, PATIENT) as server:
        await server.sell("CP-R")
        await token(server, "TAG")
        async with Station16(server, "CP-R") as station:
            await station.boot()
            number = (await station.start("TAG", 1000))["transactionId"]
            for n in range(1, 11):
                await station.meter(number, 1000 + n)
                seen = await asyncio.gather(*(session(server, "CP-R") for _ in range(6)))
                assert {one["energy_wh"] for one in seen} == {n}


async def test_a_restart_does_not_take_interval_readings_for_the_register(tmp_path: Path) -> None:
    async with running(tmp_path, PATIENT) as server:
        await server.sell("CP-R")
        await token(server, "TAG")
        async with Station16(server, "CP-R") as station:
            await station.boot()
            number = (await station.start("TAG", 100_000, when=at(-3600)))["transactionId"]
            for n in range(10):
                sample = {"value": str(100 + n % 3), "measurand": "Energy.Active.Import.Interval", "unit": "Wh"}
                value = {"timestamp": at(n * 60 - 3500), "sampledValue": [sample]}
                await station.ask("MeterValues", {"connectorId": 1, "transactionId": number, "meterValue": [value]})
        assert await server.stop() == 0
        await server.start()
        async with Station16(server, "CP-R") as station:
            await station.stop(number, 101_000)
            # Taken for registers they would look like a meter that was reset: 100.9 kWh.
            await until_session(server, "CP-R", state="SETTLED", energy_wh=1000)
