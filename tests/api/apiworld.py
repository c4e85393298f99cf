"""The API over a real server and a real store; only chargers and their links are pretended."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from csms.api.server import build_operator_app
from csms.app.answers import RawAnswer, SchemaProblems
from csms.app.scanning import FairUse
from csms.bus.inprocess import InProcessBell
from csms.domain.clock import ClockModel
from csms.domain.refusal import Refusal, Why
from csms.domain.scanning import Allowance
from csms.ports import Fact, Row, Table, Tx
from csms.storage.sqlite import SqliteStore
from firmware_profiles.load import load

KEY = "test-key-of-the-first-admin"
NOW_MS = 1_767_322_800_000  # 2026-01-02T03:00:00Z


class World:
    """What the API stands on, and what it asked for."""

    version = "1.2.3"
    node = "node-a"
    bootstrap_key = KEY

    def __init__(self, store: SqliteStore, bell: InProcessBell) -> None:
        self.store = store
        self.bell = bell
        self.clock = Clock()
        self.ids = Ids()
        self.stations = Stations()
        self.instructing = Instructing(self)
        self.charging = Charging(self)
        self.tokens = Tokens()
        self.catalogue = Changes()
        self.credentials = Credentials()
        self.tolerance = Tolerance()
        self.provisioning = Provisioning()
        self.monitoring = Monitoring()
        self.publisher: Any = None
        self.fair_use = FairUse(Allowance(area=10, total=100, per_select=20, half_life_ms=3_600_000))
        self.checks: dict[str, tuple[bool, str]] = {"store": (True, "answers in 1 ms")}

    async def hash_password(self, password: str) -> str:
        return f"hashed:{len(password)}"

    def readiness(self) -> dict[str, tuple[bool, str]]:
        return self.checks

    def metrics(self) -> bytes:
        return b"# HELP csms_links Chargers connected\ncsms_links 1.0\n"

    async def add(self, table: Table, *rows: Row) -> None:
        """Rows as the rest of the system would have written them."""

        def work(tx: Tx) -> None:
            for row in rows:
                tx.add(table, row)

        await self.store.transact(work)

    async def tell(self, *kinds: str) -> None:
        facts = [Fact(kind, NOW_MS, {"n": n}, station="CP1") for n, kind in enumerate(kinds)]
        await self.store.transact(lambda tx: tx.append(facts))


class Clock:
    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        return self.ms


class Ids:
    def __init__(self) -> None:
        self._count = itertools.count(1)

    def uuid(self) -> str:
        return f"id-{next(self._count):06}"

    uuid4 = uuid

    def secret(self) -> str:
        return f"secret-{next(self._count):06}"


@dataclass
class View:
    id: str
    online: bool = True
    epoch: int = 1
    transport: str | None = "ocpp1.6"
    last_seen_ms: int | None = NOW_MS
    registration: str = "Accepted"
    connected_ms: int | None = NOW_MS


class Stations:
    def __init__(self) -> None:
        self.views: dict[str, View] = {}
        self.told: list[str] = []

    def get(self, station_id: str) -> View | None:
        return self.views.get(station_id)

    async def changed(self, station_id: str) -> None:
        self.told.append(station_id)


class Tolerance:
    profiles = load()

    def oddities(self, station_id: str) -> dict[str, dict[str, int]]:
        return {"repaired": {"object_for_array": 2}} if station_id == "CP1" else {}

    def clock(self, station_id: str) -> ClockModel | None:
        return ClockModel([150_000], 150_000) if station_id == "CP1" else None


class Provisioning:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def want_inventory(self, station_id: str) -> None:
        self.asked.append(("inventory", station_id))

    async def want_check(self, station_id: str) -> None:
        self.asked.append(("check", station_id))

    async def want_apply(self, station_id: str) -> None:
        self.asked.append(("apply", station_id))

    def is_under_way(self, station_id: str) -> bool:
        return any(asked == station_id for _, asked in self.asked)

    async def choose(self, station_id: str, template: str | None) -> None:
        self.asked.append((f"template {template}", station_id))

    async def templates_changed(self) -> None:
        self.asked.append(("templates", ""))


class Monitoring:
    async def set(self, station_id: str, wants: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [{"status": "Accepted", "id": n, "type": want["type"]} for n, want in enumerate(wants)]

    async def clear(self, station_id: str, ids: Sequence[int]) -> list[dict[str, Any]]:
        return [{"status": "Accepted", "id": one} for one in ids]

    async def base(self, station_id: str, base: str) -> str:
        return "Accepted"

    async def level(self, station_id: str, severity: int) -> str:
        return "Rejected"

    async def read(self, station_id: str, names: Sequence[str], criteria: Sequence[str]) -> str:
        return "EmptyResultSet"


class Changes:
    def __init__(self) -> None:
        self.told: list[str] = []

    async def changed(self, name: str = "") -> None:
        self.told.append(name)


class Tokens(Changes):
    """Nobody owes anything."""

    async def vehicle_changed(self, id_norm: str) -> None:
        self.told.append(id_norm)

    def dues(self, token: object) -> list[Any]:
        return []


class Instructing:
    """Writes instruction rows as the real one does; refuses and answers as it is told."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.issued: list[tuple[str, str, dict[str, Any], str | None]] = []
        self.sent: list[tuple[str, str, dict[str, Any], float]] = []
        self.refusal: Refusal | None = None
        self.bug: Exception | None = None
        self.answer = RawAnswer(status="answered", message_id="m-1", response={"status": "Accepted"})

    async def issue(
        self,
        station_id: str,
        kind: str,
        payload: Mapping[str, Any],
        *,
        order_id: str | None = None,
        idem: str | None = None,
    ) -> str:
        if self.bug is not None:
            raise self.bug
        if self.refusal is not None:
            raise self.refusal
        self.issued.append((station_id, kind, dict(payload), idem))
        instruction_id = self._world.ids.uuid()
        await self._world.add(
            Table.INSTRUCTIONS,
            {
                "id": instruction_id,
                "station": station_id,
                "kind": kind,
                "payload": json.dumps(dict(payload)),
                "priority": 5,
                "state": "ISSUED",
                "issued_ms": NOW_MS,
                "expires_ms": NOW_MS + 60_000,
                "order_id": order_id,
            },
        )
        return instruction_id

    async def raw(self, station_id: str, action: str, payload: Mapping[str, Any], *, timeout_s: float) -> RawAnswer:
        if action == "Flurb":
            raise Refusal(Why.NOT_SUPPORTED, "OCPP 1.6 has no message Flurb.")
        if payload.get("type") == "Sideways":
            raise SchemaProblems([("/type", "'Sideways' is not one of Hard, Soft")])
        self.sent.append((station_id, action, dict(payload), timeout_s))
        return self.answer


class Charging:
    def __init__(self, world: World) -> None:
        self._world = world
        self.closed: list[tuple[str, str, str]] = []

    def save_meters(self) -> bool:
        return False

    async def close_session(self, session_id: str, reason: str, who: str) -> None:
        self.closed.append((session_id, reason, who))
        await self._world.store.transact(
            lambda tx: tx.change(Table.SESSIONS, {"state": "ENDED", "open": 0}, id=session_id)
        )


class Credentials:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None, bool]] = []

    async def rotate(self, station_id: str, password: str | None, push: bool) -> Mapping[str, Any]:
        self.asked.append((station_id, password, push))
        return {"status": "accepted", "password": password or "made-here-0123456789"}


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str]
    text: str
    body: Any = field(default=None)


class Client:
    """Talks HTTP to the server; with the admin's key unless told otherwise."""

    def __init__(self, base: str, http: aiohttp.ClientSession) -> None:
        self.base = base
        self.http = http

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = KEY,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Reply:
        sent = dict(headers or {})
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        data = io.BytesIO(raw) if raw is not None else (json.dumps(body).encode() if body is not None else None)
        async with self.http.request(method, self.base + path, data=data, headers=sent, allow_redirects=False) as r:
            text = await r.text(errors="replace")
            parsed = json.loads(text) if "json" in r.content_type and text else None
            return Reply(r.status, dict(r.headers), text, parsed)

    async def walk(self, path: str, limit: int) -> list[Any]:
        """Every item of a list, page by page."""
        found: list[Any] = []
        cursor = ""
        mark = "&" if "?" in path else "?"
        while True:
            reply = await self("GET", f"{path}{mark}limit={limit}&cursor={cursor}")
            assert reply.status == 200, reply.text
            assert len(reply.body["items"]) <= limit
            found += reply.body["items"]
            cursor = reply.body["next_cursor"]
            if cursor is None:
                return found


@asynccontextmanager
async def served(world: World) -> AsyncIterator[Client]:
    """The API on a port of the system's choice."""
    runner = web.AppRunner(build_operator_app(world), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        async with aiohttp.ClientSession() as http:
            yield Client(f"http://{host}:{port}", http)
    finally:
        await runner.cleanup()


def station_row(id_: str, no: int, **more: Any) -> Row:
    return {"id": id_, "no": no, "id_folded": id_.casefold(), "created_ms": NOW_MS, **more}


def session_row(no: int, **more: Any) -> Row:
    row: Row = {
        "no": no,
        "last_no": no,
        "id": f"s-{no}",
        "station": "CP1",
        "evse": 1,
        "connector": 1,
        "state": "ACTIVE",
        "open": 1,
        "version": 3,
        "token": "TAG1",
        "started_ms": NOW_MS,
        "meter_start_wh": 1000,
        "energy_wh": 0,
        "quality": "A",
        "tx_ids": json.dumps([str(no)]),
        "updated_ms": NOW_MS,
        "data": "{}",
    }
    return {**row, **more}
