"""A charger whose memory is read again after a failed commit is met whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from csms.app.charging import Charging
from csms.app.stations import Stations
from csms.app.tokens import Tokens
from csms.bus.inprocess import InProcessBell
from csms.domain.reported import Started
from csms.domain.session import Timing
from csms.ports import Table, Unit
from csms.realworld import RealClock, RealIds
from csms.storage.migrate import migrate_sqlite
from csms.storage.sqlite import SqliteStore


async def test_while_a_charger_is_read_again_nobody_meets_it_without_its_sessions(tmp_path: Path) -> None:
    path = tmp_path / "csms.db"
    migrate_sqlite(path, stamp="now")
    store, clock, ids = SqliteStore(path, lambda _: None), RealClock(), RealIds()
    await store.start()
    row = {"id": "CP", "id_folded": "cp", "no": 1, "created_ms": 0}
    await store.transact(lambda tx: tx.add(Table.STATIONS, row))
    stations = Stations(store, clock)
    await stations.load()
    station = stations.get("CP")
    assert station is not None
    charging = Charging(
        store=store, stations=stations, tokens=Tokens(store), clock=clock, ids=ids, bell=InProcessBell(),
        timing=Timing(), on_lost=lambda _: None,
    )  # fmt: skip
    now_ms, unit = clock.now_ms(), Unit()
    told = Started(key="k", evse=1, connector=1, token="TAG", at_ms=now_ms, register_wh=1000)
    charging.start(station, told, now_ms, unit)
    store.submit(unit)
    await store.transact(lambda _: None)
    met: list[int] = []
    read = store.read

    async def watched(query: Any) -> Any:
        found = await read(query)
        standing = stations.get("CP")
        met.append(len(standing.sessions) if standing is not None else -1)
        return found

    store.read = watched  # type: ignore[method-assign]  # a look at every step
    await stations.reload("CP")
    assert len(met) > 1
    assert set(met) == {1}
    await store.stop()
