"""`python -m benchmarks.fleet`: one process, ten thousand chargers, and half of them back in the same minute.

Four acts, each on the real `csms serve` with its default configuration:

1. everybody connects and boots; memory per idle connection;
2. some of them charge and report every few seconds, the rest sends heartbeats;
3. the feeder: half of the chargers lose their sockets without a goodbye and knock again at once, each with a boot,
   statuses and the stop of the session it was in; the other half goes on charging meanwhile. How long until everybody
   is served again, and how long did the money frames of the others wait;
4. the books: every session that was stopped is closed at its register, every reading that was answered is there.

The chargers are one asyncio process on the other core. A charger that is told to come back later (503, Retry-After)
does as it is told.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import os
import random
import sqlite3
import ssl
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from . import BenchError, procfs
from .frames import CLOSE_FINAL, PONG_FINAL, frame
from .link import OWN_ANSWERS, PING, TEXT, _retry_after_s, _split
from .rest import Rest
from .servers import Ours, Server, certificate, running

AT_ONCE = 400  # sockets being opened at the same time by one city of chargers
ANSWER_S = 60.0  # OCPP.md 6.2: how long an AC charger waits for an answer
REPORT_EVERY_S = 10.0
BEFORE_STORM_S = 20.0
AFTER_STORM_S = 20.0
SERVED_AGAIN_S = 180.0
POWER_WH = 20  # per report


class Gone(Exception):
    """The socket is closed, or never opened."""


class Charger(asyncio.Protocol):
    """One charger: a WebSocket client of a hundred lines, because ten thousand of them must cost little."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self.fleet = fleet
        self.number = number
        self.ident = f"FLEET-{number:05d}"
        self.tag = f"BENCH{number % fleet.tags:05d}"
        self.register_wh = 1_000_000
        self.tx: int | None = None
        self.start_wh = 0
        self.answered: list[int] = []  # registers that were acknowledged
        self.stopped: list[tuple[int, int, int]] = []  # transaction, start and stop register, once acknowledged
        self.served_at: float | None = None
        self._transport: asyncio.Transport | None = None
        self._head: asyncio.Future[bytes] | None = None
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._data = b""
        self._ids = itertools.count()

    # -- the socket

    @property
    def is_up(self) -> bool:
        """Whether there is a socket."""
        return self._transport is not None

    async def connect(self) -> None:
        """Knock until let in."""
        loop, fleet = asyncio.get_running_loop(), self.fleet
        while True:
            async with fleet.doors:
                self._data, self._head = b"", loop.create_future()
                try:
                    transport, _ = await loop.create_connection(
                        lambda: self, *fleet.address, ssl=fleet.tls, server_hostname="localhost" if fleet.tls else None
                    )
                    self._transport = transport
                    transport.write(_hello(self.ident, fleet.address))
                    async with asyncio.timeout(ANSWER_S):
                        head = (await self._head).decode("latin-1")
                except (OSError, Gone, TimeoutError):
                    self.cut()
                    fleet.turned_away += 1
                    await asyncio.sleep(1)
                    continue
            self._head = None
            if head.startswith("HTTP/1.1 101"):
                return
            self.cut()
            fleet.turned_away += 1
            if not head.startswith("HTTP/1.1 503"):
                raise BenchError(f"{self.ident} was not let in: {head[:200]}")
            await asyncio.sleep(_retry_after_s(head) + random.random())

    def cut(self) -> None:
        """The power goes."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        self._fail()

    def close(self) -> None:
        """A polite end."""
        if self._transport is not None:
            self._transport.write(frame((1000).to_bytes(2, "big"), CLOSE_FINAL))
            self._transport.close()
            self._transport = None

    def _fail(self) -> None:
        for future in [*self._waiting.values(), *([self._head] if self._head else [])]:
            if not future.done():
                future.set_exception(Gone(self.ident))
        self._waiting.clear()

    # -- asyncio.Protocol

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's seam
        if self._transport is not None:
            self._transport = None
            self.fleet.lost += 1
            self._fail()

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._head is not None and not self._head.done():
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if not end:
                return
            self._data = rest
            self._head.set_result(head)
        while self._data:
            opcode, payload, rest, whole = _split(self._data)
            if not whole:
                return
            self._data = rest
            if opcode == PING and self._transport is not None:
                self._transport.write(frame(payload, PONG_FINAL))
            elif opcode == TEXT:
                self._hear(json.loads(payload))

    def _hear(self, message: list[Any]) -> None:
        if message[0] == 2:
            self.fleet.asked += 1
            known = OWN_ANSWERS.get(message[2])
            answer = [3, message[1], known] if known is not None else [4, message[1], "NotSupported", "", {}]
            if self._transport is not None:
                self._transport.write(frame(json.dumps(answer, separators=(",", ":")).encode()))
            return
        future = self._waiting.pop(message[1], None)
        if future is not None and not future.done():
            if message[0] == 3:
                future.set_result(message[2])
            else:
                future.set_exception(BenchError(f"{self.ident} was refused: {message}"))

    # -- what it says

    async def call(self, action: str, payload: dict[str, Any]) -> Any:
        """One CALL and its RESULT."""
        if self._transport is None:
            raise Gone(self.ident)
        message_id = f"{next(self._ids)}"
        future = self._waiting[message_id] = asyncio.get_running_loop().create_future()
        text = json.dumps([2, message_id, action, payload], separators=(",", ":"))
        begun = time.perf_counter()
        self._transport.write(frame(text.encode()))
        async with asyncio.timeout(ANSWER_S):
            answer = await future
        self.fleet.waits.append((begun, action, time.perf_counter() - begun))
        return answer

    async def boot(self) -> None:
        """Boot and status."""
        answer = await self.call("BootNotification", {"chargePointVendor": "Bench", "chargePointModel": "AC-7"})
        if answer["status"] != "Accepted":
            raise BenchError(f"{self.ident}: boot was answered {answer}")
        status = {"connectorId": 1, "errorCode": "NoError", "status": "Charging" if self.tx else "Available"}
        await self.call("StatusNotification", {**status, "timestamp": _now()})

    async def start(self) -> None:
        """Begin a session."""
        self.start_wh = self.register_wh
        payload = {"connectorId": 1, "idTag": self.tag, "meterStart": self.start_wh, "timestamp": _now()}
        answer = await self.call("StartTransaction", payload)
        if answer["idTagInfo"]["status"] != "Accepted":
            raise BenchError(f"{self.ident}: start was answered {answer}")
        self.tx = answer["transactionId"]

    async def report(self) -> None:
        """One meter reading."""
        register = self.register_wh = self.register_wh + POWER_WH
        sample = {"value": str(register), "measurand": "Energy.Active.Import.Register", "unit": "Wh"}
        values = {"timestamp": _now(), "sampledValue": [sample]}
        await self.call("MeterValues", {"connectorId": 1, "transactionId": self.tx, "meterValue": [values]})
        self.answered.append(register)

    async def stop(self) -> None:
        """End the session."""
        assert self.tx is not None
        tx, self.tx = self.tx, None  # nothing more is reported of it
        register = self.register_wh
        try:
            end = {"transactionId": tx, "meterStop": register, "timestamp": _now(), "reason": "PowerLoss"}
            await self.call("StopTransaction", end)
        except BaseException:
            self.tx = tx  # it may have been heard: it will be said again
            raise
        self.stopped.append((tx, self.start_wh, register))


@dataclass(slots=True)
class Fleet:
    """All of them, and what they saw."""

    address: tuple[str, int]
    tls: ssl.SSLContext | None
    tags: int
    chargers: list[Charger] = field(default_factory=list)
    doors: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    waits: deque[tuple[float, str, float]] = field(default_factory=deque)
    turned_away: int = 0
    lost: int = 0
    asked: int = 0

    def waited(self, since: float, until: float, actions: Iterable[str]) -> list[float]:
        """Seconds that calls of these actions waited for their answer, of those sent in a stretch of time."""
        wanted = set(actions)
        return sorted(s for at, action, s in self.waits if since <= at < until and action in wanted)


async def _each(chargers: Iterable[Charger], do: Callable[[Charger], Awaitable[None]]) -> None:
    await asyncio.gather(*(do(charger) for charger in chargers))


async def _join(charger: Charger) -> None:
    await charger.connect()
    await charger.boot()
    charger.served_at = time.perf_counter()


async def _charge(charger: Charger, until: asyncio.Event) -> None:
    """Report every ten seconds until told otherwise or cut off."""
    await asyncio.sleep(random.random() * REPORT_EVERY_S)
    with suppress(Gone):
        while not until.is_set() and charger.tx is not None:
            await charger.report()
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_EVERY_S):
                    await until.wait()


async def _come_back(charger: Charger) -> None:
    """Power is back: boot, and hand in the stop of what was running."""
    while True:
        with suppress(Gone, TimeoutError):
            await charger.connect()
            await charger.boot()
            if charger.tx is not None:
                await charger.stop()
            charger.served_at = time.perf_counter()
            return


async def act(server: Server, options: argparse.Namespace) -> dict[str, Any]:
    """The four acts against one running server."""
    tls = None
    if options.tls:
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    address = server.need("wss") if options.tls else server.ocpp
    fleet = Fleet(address, tls, options.charging)
    fleet.chargers = [Charger(fleet, number) for number in range(options.chargers)]
    found: dict[str, Any] = {"chargers": options.chargers, "tls": options.tls}

    # Connections pay for first use once: lazy imports, caches, the pages of the database.
    first, rest = fleet.chargers[:50], fleet.chargers[50:]
    await _each(first, _join)
    await asyncio.sleep(3)
    before_kib, before_s = procfs.pss_kib(server.pid), procfs.cpu_seconds(server.pid)
    begun = time.perf_counter()
    await _each(rest, _join)
    found["connected_s"] = time.perf_counter() - begun
    await asyncio.sleep(options.settle_s)
    found["kib_per_idle_connection"] = (procfs.pss_kib(server.pid) - before_kib) / len(rest)
    found["connect_cpu_ms"] = 1000 * (procfs.cpu_seconds(server.pid) - before_s) / len(rest)
    found["asked_by_server"] = fleet.asked
    print(json.dumps({k: _short(v) for k, v in found.items()}), flush=True)
    if options.idle_only:
        return found

    charging = fleet.chargers[: options.charging]
    await _each(charging, Charger.start)
    enough = asyncio.Event()
    reports = [asyncio.create_task(_charge(charger, enough)) for charger in charging]
    calm = time.perf_counter()
    await asyncio.sleep(BEFORE_STORM_S)

    # Every second charger, so that half of those that charge are among them.
    struck = fleet.chargers[:: max(1, options.chargers // options.reconnect)][: options.reconnect]
    standing = [charger for charger in charging if charger not in set(struck)]
    storm = time.perf_counter()
    for charger in struck:
        charger.cut()
    turned_away = fleet.turned_away
    try:
        async with asyncio.timeout(SERVED_AGAIN_S * 2):
            await _each(struck, _come_back)
    except TimeoutError:
        found["never_served"] = sum((c.served_at or 0) < storm for c in struck)
    served = time.perf_counter()
    found["struck"] = len(struck)
    found["served_again_s"] = served - storm
    found["half_served_s"] = sorted((c.served_at or math.inf) - storm for c in struck)[len(struck) // 2]
    found["turned_away"] = fleet.turned_away - turned_away
    found["standing"] = len(standing)
    money = ("MeterValues", "StopTransaction", "StartTransaction")
    found["money_ms_before"] = _quantiles(fleet.waited(calm, storm, money))
    found["money_ms_in_storm"] = _quantiles(fleet.waited(storm, served, money))
    await asyncio.sleep(AFTER_STORM_S)
    enough.set()
    await asyncio.gather(*reports)
    found["lost_links"] = fleet.lost
    for charger in charging:
        if charger.tx is not None:
            await charger.stop()
    found["kib_per_connection_after"] = (procfs.pss_kib(server.pid) - before_kib) / len(rest)
    for charger in fleet.chargers:
        charger.close()
    found["books"] = _books(server.database, charging)
    return found


def _books(database: Path, charging: list[Charger]) -> dict[str, Any]:
    """What was acknowledged against what is stored."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        sessions = {
            tx: (start, stop)
            for tx_ids, start, stop in db.execute("SELECT tx_ids, meter_start_wh, meter_stop_wh FROM sessions")
            for tx in json.loads(tx_ids)
        }
        readings = set(
            db.execute("SELECT s.station, r.register_wh FROM readings r JOIN sessions s ON s.no = r.subject")
        )
    stops = [stop for charger in charging for stop in charger.stopped]
    answered = [(charger.ident, register) for charger in charging for register in charger.answered]
    wrong = [stop for stop in stops if sessions.get(str(stop[0])) != stop[1:]]
    return {
        "stops": len(stops),
        "stops_wrong": len(wrong),
        "wrong": [f"{one}: stored {sessions.get(str(one[0]))}" for one in wrong[:5]],
        "readings": len(answered),
        "readings_lost": sum(one not in readings for one in answered),
    }


def _quantiles(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}

    def pick(share: float) -> float:
        return round(1000 * seconds[min(len(seconds) - 1, int(share * len(seconds)))], 1)

    return {"count": len(seconds), "p50": pick(0.5), "p99": pick(0.99), "max": pick(1)}


def _short(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _hello(ident: str, address: tuple[str, int]) -> bytes:
    return (
        f"GET /ocpp/{ident} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
    ).encode()


def main(arguments: list[str]) -> int:
    """Exit 1 when a promise of the page was broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--chargers", type=int, default=10_000)
    parser.add_argument("--charging", type=int, default=1_000)
    parser.add_argument("--reconnect", type=int, default=5_000)
    parser.add_argument("--settle-s", type=float, default=15.0, help="before memory is read: the server asks, too")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--idle-only", action="store_true", help="only connect and weigh")
    options = parser.parse_args(arguments)
    if procfs.allow_many_sockets() < options.chargers + 200:
        raise SystemExit(f"at most {procfs.allow_many_sockets() - 200} chargers: the limit of open files (ulimit -Hn)")
    server_core, load_core = procfs.two_cores()
    with tempfile.TemporaryDirectory(prefix="fleet-tls-") as folder:
        ours = Ours()
        if options.tls:
            tls = certificate(Path(folder))
            if tls is None:
                raise SystemExit("no openssl to make a certificate with")
            ours = Ours(extra={"tls": tls})
        with running("ours", server_core, ours) as server:
            procfs.pin(load_core)
            rest = Rest(server.api, server.api_key)
            rest.put_tokens(options.charging)
            rest.close()
            found = uvloop.run(act(server, options))
            os.sched_setaffinity(0, {server_core, load_core})
    print(json.dumps({k: _short(v) for k, v in found.items()}, indent=1))
    limit_kib = 80 if options.tls else 40
    broken = [
        sentence
        for is_broken, sentence in (
            (found["kib_per_idle_connection"] > limit_kib, f"more than {limit_kib} KiB per idle connection"),
            (found.get("served_again_s", 0) > SERVED_AGAIN_S, f"not all served again within {SERVED_AGAIN_S:.0f} s"),
            (found.get("never_served", 0) > 0, "some were never served"),
            (found.get("lost_links", 0) > 0, "links of chargers that kept their power were lost"),
            (found.get("money_ms_in_storm", {}).get("max", 0) > 1000 * ANSWER_S / 2, "money frames waited too long"),
            (any(found.get("books", {}).get(k, 0) for k in ("stops_wrong", "readings_lost")), "the books are wrong"),
        )
        if is_broken
    ]
    print("; ".join(broken) if broken else "every promise was kept")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
