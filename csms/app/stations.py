"""The chargers this node knows, in memory: what the hot path needs and nothing that it would have to read.

A `Station` is loaded at start (all of them: a few KiB each) and is the only writer of its own rows. It holds the open
sessions, the recently ended ones (so that repeats and late facts find them), the sockets, and the starts that are
waiting for their first fact. When a commit fails, `drop` forgets the station and the next touch loads it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from csms.app.instructions import from_row as instruction_from
from csms.domain.clock import ClockModel
from csms.domain.connector import Socket
from csms.domain.instruction import Instruction
from csms.domain.matching import BootEvidence, is_known_tx
from csms.domain.meter import RegisterKind
from csms.domain.refusal import Refusal, Why
from csms.domain.reported import SocketStatus
from csms.domain.session import meter_fast
from csms.domain.session_record import FAST_FIELDS, Session, from_row
from csms.domain.session_states import OPEN, State
from csms.ports import Clock, ReadTx, Row, Store, Table
from firmware_profiles.load import NO_PROFILES, Profiles
from firmware_profiles.quirks import REGISTER_PER_INTERVAL, REGISTER_PER_SESSION, merged
from firmware_profiles.schema import Profile

RECENT_PER_STATION = 16
# States in which a session waits for something by itself; the others are loaded when a fact names them.
_IN_MEMORY = tuple(
    state.value for state in sorted(OPEN | {State.ENDED_PENDING_DATA, State.ABANDONED, State.ENDED, State.ORPHAN})
)
# What a plain reading changes is written to columns only; it overrides the record's older copy.
_FAST_COLUMNS = dict(
    zip(
        FAST_FIELDS,
        (
            "energy_wh",
            "last_proven_ms",
            "last_proven_wh",
            "power_w",
            "power_at_ms",
            "soc_percent",
            "seq_mask",
            "frame_seq",
        ),
        strict=True,
    )
)
_SOCKET_FACTOR = 1000  # readings.socket = evse * 1000 + connector


class Link(Protocol):
    """What the app needs of a live connection; the edges provide it."""

    def close(self, code: int, reason: str) -> None:
        """End the connection; the charger will come back."""
        ...


@dataclass(slots=True)
class Station:
    """One charger as this node knows it. Mutable, touched only on the event loop, in order."""

    id: str
    no: int
    registration: str = "Accepted"
    told_registration: str | None = None  # what its last boot was answered; None: not since we run
    solicited: dict[str, int] = field(default_factory=dict)  # messages we asked of it while Pending, until when (ms)
    transport: str | None = None
    security_profile: int = 0
    security_profile_pending: int | None = None  # asked of the charger; counts from its first connection with it
    password_hash: str | None = None
    password_pending_hash: str | None = None
    profile: str | None = None
    own_quirks: frozenset[str] = frozenset()  # set by an operator
    quirks: frozenset[str] = frozenset()  # those and its profile's: what everybody asks
    applied: Profile | None = None  # the profile in force, chosen by hand (`profile`) or found by its boot
    location_id: str | None = None
    own_rated_w: int | None = None
    rated_w: int | None = None  # the operator's word, else the profile's
    vendor: str | None = None
    model: str | None = None
    serial: str | None = None
    firmware: str | None = None
    iccid: str | None = None
    imsi: str | None = None
    meter_serial: str | None = None
    boot_n: int = 0
    boot_ms: int | None = None
    boot_reason: str | None = None
    epoch: int = 0
    link: Link | None = None
    link_opened_ms: int | None = None
    link_closed_ms: int | None = None
    last_seen_ms: int | None = None
    created_ms: int = 0
    boot_doubt: BootEvidence | None = None  # a boot on this link that may have been no more than a reconnect
    boot_doubt_ms: int | None = None
    startup_ms: int | None = None  # when it last said in a security event that it has started
    reloading: bool = False  # a commit failed; the memory is being read again and the charger has to wait
    skew: ClockModel = field(default_factory=ClockModel)
    sockets: dict[tuple[int, int], Socket] = field(default_factory=dict)
    sessions: dict[int, Session] = field(default_factory=dict)  # open ones
    recent: list[Session] = field(default_factory=list)  # ended ones, newest last
    starting: dict[str, Instruction] = field(default_factory=dict)  # starts asked for and not seen yet, by id
    by_tx: dict[str, Session] = field(default_factory=dict)  # transaction id -> session

    @property
    def online(self) -> bool:
        """Whether a live connection of this charger ends on this node."""
        return self.link is not None

    @property
    def register_kind(self) -> RegisterKind:
        """What its samples count from (SESSIONS 5.7-2)."""
        if REGISTER_PER_SESSION in self.quirks:
            return RegisterKind.SESSION
        return RegisterKind.INTERVAL if REGISTER_PER_INTERVAL in self.quirks else RegisterKind.LIFETIME

    @property
    def connected_ms(self) -> int | None:
        """Since when, or None."""
        return self.link_opened_ms if self.link is not None else None

    def known_sessions(self) -> Iterable[Session]:
        """Open ones first, then the recent ones, newest first."""
        yield from self.sessions.values()
        yield from reversed(self.recent)

    def retire(self, session: Session) -> None:
        """An open session has ended: keep it where late facts look."""
        self.sessions.pop(session.no, None)
        if session not in self.recent:
            self.recent.append(session)
        while len(self.recent) > RECENT_PER_STATION:
            gone = self.recent.pop(0)
            for tx_id in [tx_id for tx_id, found in self.by_tx.items() if found is gone]:
                del self.by_tx[tx_id]

    def revive(self, session: Session) -> None:
        """An ended session is open again (it was abandoned and still charges)."""
        if session in self.recent:
            self.recent.remove(session)
        self.sessions[session.no] = session

    def row(self) -> tuple[Any, ...]:
        """The tuple of `Put.STATION`."""
        return (
            self.transport, self.vendor, self.model, self.serial, self.firmware, self.iccid, self.imsi,
            self.meter_serial, self.boot_n, self.boot_ms, self.boot_reason, self.epoch,
            "here" if self.link is not None else None, self.link_opened_ms, self.link_closed_ms, self.last_seen_ms,
            json.dumps({"skew": self.skew.to_row()}), self.id,
        )  # fmt: skip


def fold(identity: str) -> str:
    """Charger ids are matched without regard to case (PEERS 3 row 16)."""
    return identity.casefold()


def socket_number(evse: int, connector: int) -> int:
    """How a socket stands in the readings."""
    return evse * _SOCKET_FACTOR + connector


class Stations:
    """All stations, by id and by folded id."""

    def __init__(self, store: Store, clock: Clock, profiles: Profiles = NO_PROFILES) -> None:
        self._store = store
        self._clock = clock
        self._profiles = profiles
        self._by_id: dict[str, Station] = {}
        self._by_folded: dict[str, Station] = {}
        self.next_session_no = 1
        self.next_frame_seq = 1

    async def load(self) -> None:
        """Read everything once, at start."""

        def query(tx: ReadTx) -> dict[str, Any]:
            newest_session = tx.many(Table.SESSIONS, order="-last_no", limit=1)
            newest_frame = tx.many(Table.FRAMES, order="-seq", limit=1)
            seen = tx.many(Table.SESSIONS, order="-frame_seq", limit=1)
            return {
                "session_no": (newest_session[0]["last_no"] if newest_session else 0) + 1,
                # Old frames are dropped; what the sessions have taken in must stay behind the next number.
                "frame_seq": max([0, *(row["seq"] for row in newest_frame), *(row["frame_seq"] for row in seen)]) + 1,
                "stations": tx.many(Table.STATIONS, deleted=0),
                "sockets": tx.many(Table.SOCKETS),
                "open": tx.many(Table.SESSIONS, order="no", state=_IN_MEMORY),
                "starting": tx.many(Table.INSTRUCTIONS, kind="start", state=("ISSUED", "SENT", "ACCEPTED")),
            }

        found = await self._store.read(query)
        self.next_session_no = found["session_no"]
        self.next_frame_seq = found["frame_seq"]
        for row in found["stations"]:
            self._put(_station_from(row))
        for row in found["sockets"]:
            if (station := self._by_id.get(row["station"])) is not None:
                station.sockets[row["evse"], row["connector"]] = socket_from(row)
        for row in found["starting"]:
            if (station := self._by_id.get(row["station"])) is not None and row["token"]:
                station.starting[row["id"]] = instruction_from(row)
        for row in found["open"]:
            await self._load_session(row)

    async def reload(self, station_id: str) -> Station | None:
        """Read one station again; None when it is gone. Its live connection, if any, is kept."""

        def query(tx: ReadTx) -> tuple[Row | None, list[Row], list[Row], list[Row]]:
            return (
                tx.one(Table.STATIONS, id=station_id, deleted=0),
                tx.many(Table.SOCKETS, station=station_id),
                tx.many(Table.SESSIONS, station=station_id, order="-no", limit=RECENT_PER_STATION),
                tx.many(Table.INSTRUCTIONS, station=station_id, kind="start", state=("ISSUED", "SENT", "ACCEPTED")),
            )

        row, sockets, sessions, starting = await self._store.read(query)
        before = self._by_id.get(station_id)
        if row is None:
            self.forget(station_id)
            return None
        station = _station_from(row)
        for socket_row in sockets:
            station.sockets[socket_row["evse"], socket_row["connector"]] = socket_from(socket_row)
        for instruction_row in starting:
            if instruction_row["token"]:
                station.starting[instruction_row["id"]] = instruction_from(instruction_row)
        for session_row in reversed(sessions):
            await self._load_session(session_row, station)
        # Only now: a charger that comes back meanwhile must not meet half of its sessions.
        if before is not None:
            station.link, station.link_opened_ms = before.link, before.link_opened_ms
            station.epoch = max(station.epoch, before.epoch)
        self._put(station)
        return station

    async def refresh(self, station_id: str) -> Station | None:
        """Take over what an operator changed, without touching what the charger path owns."""
        row = await self._store.read(lambda tx: tx.one(Table.STATIONS, id=station_id, deleted=0))
        if row is None:
            self.forget(station_id)
            return None
        station = self._by_id.get(station_id)
        if station is None:
            return await self.reload(station_id)
        fresh = _station_from(row)
        for name in (
            "registration", "security_profile", "security_profile_pending", "password_hash", "password_pending_hash",
            "profile", "own_quirks", "location_id", "own_rated_w",
        ):  # fmt: skip
            setattr(station, name, getattr(fresh, name))
        station.serial = fresh.serial or station.serial  # an operator may know it before the charger has told
        self.reprofile(station)
        return station

    def reprofile(self, station: Station) -> bool:
        """Give it the profile an operator chose, else the one that means its vendor, model and firmware; whether
        anything changed by that. Its own words and rating are added to it, and win."""
        before = (station.applied, station.quirks)
        if station.profile is not None:
            applied = self._profiles.by_id.get(station.profile)
        else:
            applied = self._profiles.find(station.vendor, station.model, station.firmware)
        station.applied = applied
        words = applied.quirks(station.firmware) if applied is not None else frozenset[str]()
        station.quirks = merged(station.own_quirks, words)
        station.rated_w = station.own_rated_w
        if station.rated_w is None and applied is not None:
            station.rated_w = applied.rated_w
        return before != (applied, station.quirks)

    def get(self, identity: str) -> Station | None:
        """By exact id, else without regard to case."""
        return self._by_id.get(identity) or self._by_folded.get(fold(identity))

    def known(self, station_id: str) -> Station:
        """As `get`. Refuses UNKNOWN_STATION."""
        station = self.get(station_id)
        if station is None:
            raise Refusal(Why.UNKNOWN_STATION, f"There is no charger {station_id!r}.")
        return station

    def present(self, station_id: str) -> Station:
        """One that is connected now, to be asked something. Refuses UNKNOWN_STATION, STATION_OFFLINE."""
        station = self.known(station_id)
        if not station.online:
            raise Refusal(Why.STATION_OFFLINE, f"{station.id} is not connected; ask again when it is.")
        return station

    def all(self) -> Iterable[Station]:
        """Every station."""
        return self._by_id.values()

    def forget(self, station_id: str) -> None:
        """The station was deleted."""
        station = self._by_id.pop(station_id, None)
        if station is not None:
            self._by_folded.pop(fold(station_id), None)

    def mint_session_no(self) -> int:
        """The next session number: also the 1.6 transaction id, 1 … 2^31-1, never reused (SESSIONS 5.5)."""
        number = self.next_session_no
        self.next_session_no += 1
        return number

    def mint_frame_seq(self) -> int:
        """The next frame number."""
        seq = self.next_frame_seq
        self.next_frame_seq += 1
        return seq

    async def find_ended(self, station: Station, aliases: list[tuple[str, str]]) -> Session | None:
        """The slow path: an ended session that is no longer in memory, by any of its names."""

        def query(tx: ReadTx) -> Row | None:
            for kind, value in aliases:
                alias = tx.one(Table.ALIASES, station=station.id, kind=kind, value=value)
                if alias is not None:
                    return tx.one(Table.SESSIONS, no=alias["session_no"])
            return None

        row = await self._store.read(query)
        if row is None or row["station"] != station.id:
            return None
        if (known := next((s for s in station.known_sessions() if s.no == row["no"]), None)) is not None:
            return known
        return await self._load_session(row)

    async def session(self, session_id: str) -> tuple[Station, Session] | None:
        """A session by its public id, loaded into its station if it is not there."""
        row = await self._store.read(lambda tx: tx.one(Table.SESSIONS, id=session_id))
        station = self._by_id.get(row["station"]) if row else None
        if row is None or station is None:
            return None
        for session in station.known_sessions():
            if session.no == row["no"]:
                return station, session
        loaded = await self._load_session(row)
        return (station, loaded) if loaded is not None else None

    async def _load_session(self, row: Row, station: Station | None = None) -> Session | None:
        station = self._by_id.get(row["station"]) if station is None else station
        if station is None:
            return None
        readings = await self._store.read(lambda tx: tx.many(Table.READINGS, subject=row["no"], order="at_ms"))
        if (known := next((s for s in station.known_sessions() if s.no == row["no"]), None)) is not None:
            return known  # somebody else loaded it meanwhile; there is one of it
        registers = [r for r in readings if r["register_wh"] >= 0]
        newer = [r for r in registers if (r["frame_seq"] or 0) > row["frame_seq"]]
        session = from_row(
            {**json.loads(row["data"]), **{name: row[column] for name, column in _FAST_COLUMNS.items()}},
            readings=[(r["at_ms"], r["register_wh"], r["flags"]) for r in registers if r not in newer],
        )
        session.version = row["version"]
        _replay(session, newer)
        for segment in session.segments:
            if segment.tx_id is not None and (segment.start_key is not None or is_known_tx(segment.tx_id)):
                station.by_tx[segment.tx_id] = session
        if session.state in OPEN or session.state is State.ENDED_PENDING_DATA:
            station.sessions[session.no] = session
        else:
            station.retire(session)
        return session

    def _put(self, station: Station) -> None:
        self.reprofile(station)
        self._by_id[station.id] = station
        self._by_folded[fold(station.id)] = station


def _replay(session: Session, newer: list[Row]) -> None:
    """Take in the readings that are younger than the row: an ordinary one is stored at once, the row follows later."""
    for reading in sorted(newer, key=lambda r: r["frame_seq"]):
        session.unsaved = True
        session.frame_seq = reading["frame_seq"]
        taken = meter_fast(
            session, reading["at_ms"], reading["register_wh"], reading["power_w"], reading["seq_no"],
            reading["soc_percent"],
        )  # fmt: skip
        if not taken:  # not ordinary after all; the register has it, and the next figure is worked out from that
            session.register.add(reading["at_ms"], reading["register_wh"], reading["flags"])


def _station_from(row: Row) -> Station:
    data = json.loads(row["data"])
    same = (
        "id", "no", "registration", "transport", "security_profile", "security_profile_pending", "password_hash",
        "password_pending_hash", "profile", "location_id", "vendor", "model", "serial", "firmware", "iccid", "imsi",
        "meter_serial", "boot_n", "boot_ms", "boot_reason", "epoch", "link_opened_ms", "link_closed_ms",
        "last_seen_ms", "created_ms",
    )  # fmt: skip
    station = Station(
        **{name: row[name] for name in same},
        own_quirks=frozenset(json.loads(row["quirks"])),
        own_rated_w=row["rated_w"],
    )
    if skew := data.get("skew"):
        station.skew = ClockModel.from_row(skew)
    return station


def socket_from(row: Row) -> Socket:
    """A stored socket."""
    return Socket(
        evse=row["evse"],
        connector=row["connector"],
        status=SocketStatus(row["status"]),
        at_ms=row["status_at_ms"],
        received_ms=row["reported_ms"],
        error_code=row["error_code"],
        info=row["info"],
        vendor_error_code=row["vendor_error_code"],
    )
