"""The measurements: which server gets which load, how often, in which order."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median

from rich.console import Console

from . import BenchError, procfs, stored
from .load import Result, Task
from .rest import Rest
from .servers import ROOT, Ours, Server, certificate, merged, running

LATENCY_CHARGERS = 1000
LATENCY_RATE = 5000.0  # messages per second: 1,000 chargers at five each, fifteen times a busy fleet of 10,000
KILLED_CHARGERS = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often. The quick plan fits in two minutes on two cores."""

    quick: bool
    ours: Ours
    runs: int
    chargers: int
    warm_s: float
    window_s: float
    latency_window_s: float
    idle_chargers: int
    kill_after_s: float
    ack_requests: int
    discover_requests: int
    busy_s: float

    @classmethod
    def make(cls, quick: bool, ours: Ours) -> Plan:
        """The two plans there are."""
        if quick:
            return cls(True, ours, 3, 100, 0.3, 1.2, 2.0, 500, 1.5, 200, 100, 8.0)
        return cls(False, ours, 5, 100, 1.0, 4.0, 5.0, 1000, 5.0, 1000, 300, 30.0)


@dataclass(slots=True)
class Findings:
    """Everything measured so far. What was not measured stays None, with a note that says why."""

    chargers: int  # closed loop
    cpu_us: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    busy: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    latency: Result | None = None
    held_while_running: bool | None = None
    held_after_kill: bool | None = None
    acked_before_kill: int | None = None
    lost_after_kill: int | None = None
    idle_plain_kib: float | None = None
    idle_tls_kib: float | None = None
    connect_cpu_ms: float | None = None
    discover_ms: tuple[float, float] | None = None
    ack_ms: tuple[float, float] | None = None
    busy_discover_ms: tuple[float, float] | None = None
    confirm_ms: tuple[float, float] | None = None
    busy_messages_per_s: float | None = None
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def median_us(self, scenario: str, server: str) -> float | None:
        """CPU microseconds per message, median over the runs."""
        values = self.cpu_us.get((scenario, server))
        return median(values) if values else None

    def ratio(self, scenario: str, yardstick: str) -> float | None:
        """Throughput per CPU-second of ours, divided by that of the yardstick."""
        ours, theirs = self.median_us(scenario, "ours"), self.median_us(scenario, yardstick)
        return theirs / ours if ours and theirs else None


class Bench:
    """One run of the suite."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self.plan = plan
        self.console = console
        self.found = Findings(plan.chargers)
        self.server_core, self.load_core = procfs.two_cores()
        if self.server_core == self.load_core:
            self.note("only one core: server and load share it, so latencies mean little; CPU ratios still hold")
        self._serial = 0
        self._tokens: set[str] = set()

    def note(self, text: str) -> None:
        """Something the reader of the figures must know."""
        self.found.notes.append(text)
        self.console.print(f"note: {text}", highlight=False)

    def attempt(self, part: str, work: Callable[[], None]) -> None:
        """Do one part; when it fails, its figures stay empty, the rest goes on, and the run ends with 1."""
        try:
            work()
        except BenchError as error:
            self.found.failed.append(part)
            self.note(f"{part}: {error}")
        except Exception as error:  # an answer of a shape nobody expected must not cost the figures we have
            self.found.failed.append(part)
            self.note(f"{part}: {type(error).__name__}: {error}")

    def load(self, server: Server, mode: str, script: str, **more: object) -> Result:
        """One run of the load generator against one server."""
        return self.finish_load(self.start_load(server, mode, script, **more))

    def start_load(self, server: Server, mode: str, script: str, **more: object) -> subprocess.Popen[str]:
        """Start the load generator as its own process on its own core."""
        self._serial += 1
        plan = self.plan
        wanted: dict[str, object] = {
            "host": server.ocpp[0],
            "port": server.ocpp[1],
            "chargers": plan.chargers,
            "warm_s": plan.warm_s,
            "window_s": plan.window_s,
        } | more
        task = Task(
            mode=mode,
            script=script,
            server_pid=server.pid,
            core=self.load_core,
            prefix=f"BENCH-{self._serial:03d}",
            plain=server.plain,
            **wanted,  # type: ignore[arg-type]  # the dataclass checks nothing, the load generator reads it as JSON
        )
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load"],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=ROOT,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(task)))
        process.stdin.close()
        process.stdin = None  # so that communicate() does not touch it again
        return process

    def finish_load(self, process: subprocess.Popen[str]) -> Result:
        """Wait for the load generator's result."""
        try:
            out, err = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            process.kill()
            raise BenchError("the load generator did not come back within 300 s") from None
        if process.returncode:
            raise BenchError(err.strip()[-600:])
        result = Result(**json.loads(out))
        result.acked = [(charger, first, last, count) for charger, first, last, count in result.acked]
        return result

    def give_tokens(self, server: Server, count: int) -> None:
        """Make the chargers' tokens known to our server; the yardsticks accept anything."""
        if server.name != "ours":
            return
        rest = Rest(server.api, server.api_key)
        try:
            rest.put_tokens(count)
        finally:
            rest.close()

    # --- CPU per message, closed loop ---------------------------------------------------------------------------

    def cpu(self, scenarios: Iterable[str], servers: Iterable[str], latency: bool) -> None:
        """CPU per message of every scenario on every server, interleaved so that noise hits all alike."""
        scenarios, servers = list(scenarios), list(servers)
        with ExitStack() as stack:
            up: dict[str, Server] = {}
            for name in servers:
                try:
                    up[name] = stack.enter_context(running(name, self.server_core, self.plan.ours))
                except BenchError as error:
                    self.found.failed.append(name)
                    self.note(f"{name}: {error}")
            if "ours" in up and (latency or set(scenarios) & {"meter_values", "session"}):
                self.attempt("tokens", lambda: self.give_tokens(up["ours"], LATENCY_CHARGERS))
            for scenario in scenarios:
                for turn in range(self.plan.runs):
                    for name in self._compared(scenario, up):
                        self.attempt(f"{scenario} {name}", partial(self._cpu_once, scenario, up[name], turn))
            if latency and "ours" in up:
                self.attempt("latency", lambda: self._latency(up["ours"]))

    def _compared(self, scenario: str, up: Iterable[str]) -> list[str]:
        """The quick plan leaves out the pairs that no ratio needs."""
        unneeded = {"heartbeat": "ocpp", "session": "bare"}.get(scenario) if self.plan.quick else None
        return [name for name in up if name != unneeded]

    def _cpu_once(self, scenario: str, server: Server, turn: int) -> None:
        result = self.load(server, "closed", scenario)
        us = 1e6 * result.cpu_s / result.messages
        self.found.cpu_us[scenario, server.name].append(us)
        self.found.busy[scenario, server.name].append(result.busy)
        self.console.print(
            f"{scenario:13} {server.name:5} run {turn + 1}: {us:7.1f} us/message, {result.messages} messages, "
            f"server {100 * result.busy:.0f} % busy, idle again after {result.settle_s:.2f} s",
            highlight=False,
        )
        if server.name == "ours" and scenario == "meter_values":
            self._check_held(stored.compare(server.database, result.acked), "while running")

    def _check_held(self, held: stored.Held, when: str) -> bool:
        if held.lost or not held.acked:
            self.note(f"{when}: {held.stored} of {held.acked} acknowledged are stored ({held.first_loss})")
        ok = held.acked > 0 and not held.lost
        if when == "while running":
            self.found.held_while_running = ok and self.found.held_while_running is not False
        return ok

    # --- latency, open loop -------------------------------------------------------------------------------------

    def _latency(self, server: Server) -> None:
        result = self.load(
            server,
            "open",
            "meter_values",
            chargers=LATENCY_CHARGERS,
            rate=LATENCY_RATE,
            warm_s=1.0,
            window_s=self.plan.latency_window_s,
            windows=self.plan.runs,
        )
        self.found.latency = result
        self._check_held(stored.compare(server.database, result.acked), "while running")
        self.console.print(
            f"latency       ours: p50 {median(result.p50_ms):.2f} ms, p99 {median(result.p99_ms):.2f} ms at "
            f"{LATENCY_RATE:.0f}/s over {LATENCY_CHARGERS} chargers, server {100 * result.busy:.0f} % busy",
            highlight=False,
        )

    # --- durability ---------------------------------------------------------------------------------------------

    def durability(self) -> None:
        """Kill the server under load and look for what it had acknowledged."""
        with running("ours", self.server_core, self.plan.ours) as server:
            self.give_tokens(server, KILLED_CHARGERS)
            load = self.start_load(
                server,
                "closed",
                "meter_values",
                chargers=KILLED_CHARGERS,
                may_die=True,
                window_s=self.plan.kill_after_s + 60,
            )
            # The chargers are connected first; then the load runs for this long before the blow.
            timer = threading.Timer(self.plan.kill_after_s + 1.0, server.kill)
            timer.start()
            try:
                result = self.finish_load(load)
            finally:
                timer.join()
            held = stored.compare_after_death(server.database, result.acked)
        self.found.acked_before_kill, self.found.lost_after_kill = held.acked, held.lost
        self.found.held_after_kill = self._check_held(held, "after SIGKILL under load")
        self.console.print(
            f"durability    ours: {held.acked} acknowledged before SIGKILL, {held.lost} of them lost",
            highlight=False,
        )

    # --- memory -------------------------------------------------------------------------------------------------

    def idle(self) -> None:
        """Memory per idle connection, plain and over TLS, from a fresh server each."""
        with running("ours", self.server_core, self.plan.ours) as server:
            result = self._weigh(server, server.ocpp, tls=False)
        self.found.idle_plain_kib = result.kib_per_connection
        self.found.connect_cpu_ms = result.connect_cpu_ms
        with tempfile.TemporaryDirectory(prefix="bench-tls-") as folder:
            certified = self._with_certificate(Path(folder))
            if certified is None:
                self.note("idle over TLS was not weighed: no openssl to make a certificate with")
                return
            try:
                with running("ours", self.server_core, certified) as server:
                    result = self._weigh(server, server.need("wss"), tls=True)
            except BenchError as problem:
                self.note(f"idle over TLS was not weighed: {problem}")
                return
        self.found.idle_tls_kib = result.kib_per_connection

    def _with_certificate(self, folder: Path) -> Ours | None:
        """Our server with a throwaway ECDSA certificate, unless the extra configuration brought one."""
        ours = self.plan.ours
        if "certificate" in ours.extra.get("tls", {}):
            return ours
        tls = certificate(folder)
        if tls is None:
            return None
        return replace(ours, extra=merged(dict(ours.extra), {"tls": tls}))

    def _weigh(self, server: Server, address: tuple[str, int], *, tls: bool) -> Result:
        host, port = address
        count = self.plan.idle_chargers
        result = self.load(server, "idle", "heartbeat", chargers=count, host=host, port=port, tls=tls)
        self.console.print(
            f"idle {'TLS' if tls else 'plain':8} ours: {result.kib_per_connection:.1f} KiB per connection, "
            f"{result.connect_cpu_ms:.2f} ms CPU to connect and boot one",
            highlight=False,
        )
        return result
