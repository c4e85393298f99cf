"""What operators want of chargers: in service or out of it, kept until they want something else.

    command ─▶ want ─▶ row        any ChangeAvailability, whoever sent it ─▶ answered ─▶ row        boot ─▶ told again

What is wanted out of service is in memory too, because every change of a socket is held against it.
"""

from __future__ import annotations

from typing import Final

from csms.app.stations import Station
from csms.domain.in_service import WHOLE, Part, Wanted, tell_again_at
from csms.ports import ReadTx, Row, Store, Table, Tx

OPERATIVE: Final = "Operative"
INOPERATIVE: Final = "Inoperative"


def want(tx: Tx, station: str, part: Part, *, operative: bool, now_ms: int) -> None:
    """An operator wants it so; the charger's answer comes later. Wanting the same again keeps what it said."""
    wanted = OPERATIVE if operative else INOPERATIVE
    standing = tx.take(Table.AVAILABILITY, station=station, evse=part[0], connector=part[1])
    if standing is None or standing["wanted"] != wanted:
        tx.save(Table.AVAILABILITY, _row(station, part, wanted, None, now_ms, None))


def part_of(evse: int | None, connector: int | None, transport: str | None) -> Part:
    """The part that a command names. 1.6 knows connectors only; there the EVSE's number is the connector's."""
    if transport == "ocpp1.6":
        number = connector or evse or 0
        return number, number
    return evse or 0, connector or 0


def wanted_of(tx: ReadTx, stations: list[str]) -> dict[str, list[Row]]:
    """The rows of these chargers, the whole charger first."""
    found: dict[str, list[Row]] = {station: [] for station in stations}
    for row in tx.many(Table.AVAILABILITY, station=stations) if stations else ():
        found[row["station"]].append(row)
    for rows in found.values():
        rows.sort(key=lambda row: (row["evse"], row["connector"]))
    return found


def from_row(row: Row) -> Wanted:
    """A stored wish."""
    return Wanted(
        part=(row["evse"], row["connector"]),
        operative=row["wanted"] == OPERATIVE,
        answer=row["answer"],
        answered_ms=row["answered_ms"],
    )


class Availability:
    """The wishes that chargers have answered, and which of them they have forgotten."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._out: dict[str, dict[Part, Wanted]] = {}  # promised to be out of service, by charger

    async def load(self) -> None:
        """Read what lives in memory."""
        for row in await self._store.read(lambda tx: tx.many(Table.AVAILABILITY, wanted=INOPERATIVE)):
            self._keep(row["station"], from_row(row))

    def is_concerned(self, station_id: str | None) -> bool:
        """Whether anything of this charger is wanted out of service."""
        return station_id in self._out

    async def answered(
        self, station_id: str, part: Part, *, operative: bool, answer: str, at_ms: int, is_all: bool
    ) -> None:
        """A charger was told and has answered. `is_all`: what is said of the whole charger holds for every part, so
        that no wish for a part stands beside it (1.6 connector 0)."""
        wanted = OPERATIVE if operative else INOPERATIVE

        def work(tx: Tx) -> bool:
            before = tx.take(Table.AVAILABILITY, station=station_id, evse=part[0], connector=part[1])
            if before is not None and (before["answered_ms"] or 0) > at_ms:
                return False
            since_ms = before["since_ms"] if before is not None and before["wanted"] == wanted else at_ms
            if is_all and part == WHOLE and answer != "Rejected":
                tx.drop(Table.AVAILABILITY, station=station_id)
            tx.save(Table.AVAILABILITY, _row(station_id, part, wanted, answer, since_ms, at_ms))
            return True

        if not await self._store.transact(work):
            return
        if is_all and part == WHOLE and answer != "Rejected":
            self._out.pop(station_id, None)
        self._keep(station_id, Wanted(part=part, operative=operative, answer=answer, answered_ms=at_ms))

    def forgotten(self, station: Station, now_ms: int) -> tuple[list[Part], int | None]:
        """(the parts to tell again now, how long until the next one is due in ms)."""
        now: list[Part] = []
        later: list[int] = []
        for wanted in self._out.get(station.id, {}).values():
            busy = any(wanted.part == WHOLE or wanted.part[0] == s.evse for s in station.sessions.values())
            due_ms = tell_again_at(wanted, station.sockets.values(), boot_ms=station.boot_ms, is_busy=busy)
            if due_ms is not None and due_ms <= now_ms:
                now.append(wanted.part)
            elif due_ms is not None:
                later.append(due_ms - now_ms)
        return sorted(now), min(later, default=None)

    def _keep(self, station_id: str, wanted: Wanted) -> None:
        parts = self._out.setdefault(station_id, {})
        if wanted.operative or not wanted.is_promised:
            parts.pop(wanted.part, None)
        else:
            parts[wanted.part] = wanted
        if not parts:
            del self._out[station_id]


def _row(station: str, part: Part, wanted: str, answer: str | None, since_ms: int, answered_ms: int | None) -> Row:
    return {
        "station": station,
        "evse": part[0],
        "connector": part[1],
        "wanted": wanted,
        "answer": answer,
        "since_ms": since_ms,
        "answered_ms": answered_ms,
    }
