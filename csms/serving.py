"""The life of the server process: what it needs of its machine, its listeners, and its orderly end.

`run` brings a `System` up, says `ready`, waits for SIGTERM and takes it down in the opposite order: stop listening,
answer what was read, stop the workers, commit.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import gc
import resource
import signal
import socket
import sqlite3
import sys
from contextlib import suppress
from typing import Any

import structlog
from aiohttp import web

from csms.api.server import build_operator_app
from csms.compose import System
from csms.config import Config
from csms.edges.public import guarded
from csms.edges.sweeping import EVERY_S, Sweeper
from csms.edges.tls import TlsProblem
from csms.observe import configure_logging
from csms.realworld import file_stamp
from csms.settings import ServeProblem
from csms.storage.migrate import DatabaseProblem, migrate_sqlite

log = structlog.get_logger()

_M_MMAP_THRESHOLD = -3  # malloc.h; named, it stays where it is put
_API_DRAIN_S = 1.0  # the operator's open streams; SIGTERM must be done in 10 s (SURFACES 2)


async def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT. Raises ServeProblem when it cannot start."""
    _tune_malloc(asyncio.get_running_loop())
    _allow_many_sockets()
    configure_logging(config.telemetry.log_level, config.telemetry.log_json)
    lock = _prepare(config)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)

    public = _listen(config.beckn.host, config.beckn.port, "beckn")
    public_url = _url(config.beckn.host, public)
    system = System(config, public_url)
    try:
        system.files.open()
    except OSError as error:
        raise ServeProblem(f"files.folder cannot be used: {error.filename}: {error.strerror}") from error
    try:
        await system.store.start()
    except sqlite3.Error as error:
        raise ServeProblem(f"{config.sqlite_path} cannot be used as a database: {error}") from error
    runners: list[web.AppRunner] = []
    workers: list[asyncio.Task[Any]] = []
    try:
        await system.load()
        try:
            await system.ocpp.start(config.ocpp.host, config.ocpp.port)
        except OSError as error:
            raise ServeProblem(_taken("ocpp", config.ocpp.host, config.ocpp.port, error)) from error
        over_tls = await _listen_over_tls(system)
        operator = _listen(config.api.host, config.api.port, "api")
        sweeper = Sweeper(loop.time)
        runners += [
            await _serve(build_operator_app(system), operator),
            await _serve(_public_app(system, sweeper), public),
        ]
        system.spawn(_sweep(sweeper, runners[-1]))
        workers = [system.spawn(work) for work in system.work()]
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        _say(f"ready ocpp ws://{_host(config.ocpp.host)}:{system.ocpp.port}/ocpp")
        for listener, url in over_tls.items():
            _say(f"ready {listener} {url}")
        _say(f"ready api {_url(config.api.host, operator)}")
        _say(f"ready public {public_url}")
        _say("ready")
        await _until_stopped_or_failed(stopping, workers)
    finally:
        await system.ocpp.stop()
        for runner in runners:
            await runner.cleanup()
        system.charging_of.save_meters()
        system.upkeep.flush_seen()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        await system.end_tasks()
        await system.store.stop()
        lock.close()


async def _listen_over_tls(system: System) -> dict[str, str]:
    """Open the TLS listeners that are configured; their names and addresses."""
    config, trust = system.config, system.trust
    tls, host = config.tls, config.tls.host or config.ocpp.host
    trust.plain_url = f"ws://{_host(config.ocpp.host)}:{system.ocpp.port}/ocpp"
    trust.tls_url = tls.public_url
    opened: dict[str, str] = {}
    listeners = [("ocpps", tls.port, False), ("ocpps-relic", tls.relic_port, True)]
    for name, port, is_relic in listeners if tls.certificate is not None else []:
        if port is None:
            continue
        try:
            door = trust.door(is_relic=is_relic, on_failed=lambda why: system.gate.on_refused(None, why, "?"))
            bound = await system.ocpp.start(host, port, ssl=door.context, is_relic=is_relic)
        except TlsProblem as problem:
            raise ServeProblem(f"tls: {problem}") from problem
        except OSError as error:
            key = "tls.relic_port" if is_relic else "tls.port"
            raise ServeProblem(_taken("tls", host, port, error).replace("tls.port", key)) from error
        opened[name] = f"wss://{_host(host)}:{bound}/ocpp"
    trust.tls_url = tls.public_url or opened.get("ocpps")
    return opened


async def _until_stopped_or_failed(stopping: asyncio.Event, workers: list[asyncio.Task[Any]]) -> None:
    """A worker that ends is a bug: better to stop with a message than to serve half a system."""
    stop = asyncio.ensure_future(stopping.wait())
    done, _ = await asyncio.wait([stop, *workers], return_when=asyncio.FIRST_COMPLETED)
    if stop not in done:
        stop.cancel()
        failed = next(iter(done))
        raise ServeProblem(f"a worker ended: {failed.exception()!r}")


def _tune_malloc(loop: asyncio.AbstractEventLoop) -> None:
    """Buffers of 256 KiB: stock asyncio takes and frees one for every read, uvloop keeps one per TLS connection."""
    if isinstance(loop, asyncio.SelectorEventLoop):
        bytearray(1 << 20)  # raises glibc's mmap threshold: without it every read costs an mmap (SPEED A)
        return
    # Mapped by itself, such a buffer costs only the pages that are touched; on the heap it takes over dirty ones.
    with suppress(OSError, AttributeError):  # glibc only
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 192 << 10)


def _allow_many_sockets() -> None:
    """A socket is a file to the system, and its soft limit is often 1024: one charger more would be one too many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # where the hard limit is no number the soft one takes
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _prepare(config: Config) -> Any:
    """Folder, lock, schema. One process owns a data folder."""
    path = config.sqlite_path
    try:
        config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("w")
    except OSError as error:
        raise ServeProblem(f"data_dir cannot be used: {error.filename}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ServeProblem(f"another server is using {path}; stop it or set another data_dir") from error
    try:
        done = migrate_sqlite(path, stamp=file_stamp())
    except DatabaseProblem as problem:
        raise ServeProblem(str(problem)) from problem
    if done.changed:
        log.info(
            "store.migrated", before=done.before, after=done.after, backup=str(done.backup) if done.backup else None
        )
    return lock


def _listen(host: str, port: int, section: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ServeProblem(_taken(section, host, port, error)) from error
    return listener


def _taken(section: str, host: str, port: int, error: OSError) -> str:
    if error.errno in {errno.EADDRINUSE, errno.EACCES}:
        return f"cannot listen on port {port} ({error.strerror}); set {section}.port to a free one, or to 0 for any"
    return f"cannot listen on {host!r} ({error.strerror}); set {section}.host to an address of this machine"


def _host(host: str) -> str:
    """A host that can be called: the wildcard is nobody's address."""
    shown = "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 - compared, not bound
    return f"[{shown}]" if ":" in shown else shown


def _url(host: str, listener: socket.socket) -> str:
    return f"http://{_host(host)}:{listener.getsockname()[1]}"


async def _serve(app: web.Application, listener: socket.socket) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_API_DRAIN_S)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner


async def _sweep(sweeper: Sweeper, runner: web.AppRunner) -> None:
    """Until it is cancelled."""
    while (server := runner.server) is not None:
        sweeper.sweep(server.connections)
        await asyncio.sleep(EVERY_S)


def _public_app(system: System, sweeper: Sweeper) -> web.Application:
    @web.middleware
    async def safe(request: web.Request, handler: Any) -> web.StreamResponse:
        return await sweeper.watch(request, guarded(handler))

    app = web.Application(middlewares=[safe], client_max_size=system.config.beckn.body_kib * 1024)
    app.add_routes(system.buyers.routes())
    app.add_routes(system.maintenance.routes())
    return app
