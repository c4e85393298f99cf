"""The load generator: `python -m benchmarks.load`, one JSON task on stdin, one JSON result on stdout.

A plain epoll loop over blocking sockets, one outstanding call per charger. It reads the server's CPU time itself, at
the edges of the window, so that no message between two processes blurs the figure. Every answer must be a CALLRESULT
for the id that was asked; anything else fails the run.

The CPU that counts runs from the start of the window until the server is idle again, so that work put off until
after the answer is paid for by the messages that caused it.
"""

from __future__ import annotations

import gc
import json
import re
import select
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from . import BenchError, procfs
from .frames import (
    AUTHORIZE,
    AVAILABLE,
    BOOT,
    CHARGING,
    FINISHING,
    HEARTBEAT,
    METER_VALUES,
    PREPARING,
    START,
    STOP,
    Timeline,
)
from .link import Link

HOURS_BACK = 2.0  # 7,200 messages per charger fit before the virtual clock overtakes the real one
IDLE_WARM_LINKS = 50  # first connections pay for lazy imports and caches; they stay open while the rest is weighed
IDLE_PAUSE_S = 2.0
SETTLE_STEP_S = 0.25
SETTLE_LIMIT_S = 20.0
STUCK_S = 30.0  # an answer that takes longer than a charger's CALL timeout is no answer

TRANSACTION_ID = re.compile(rb'"transactionId":\s*(-?\d+)')


@dataclass(frozen=True, slots=True)
class Task:
    """What to do to which server. `plain` = the server answers a constant, so only the message id is checked."""

    mode: str  # closed, open, idle
    script: str  # heartbeat, meter_values, session
    host: str
    port: int
    server_pid: int
    core: int
    chargers: int
    prefix: str  # of the charger ids; a fresh one per run
    tag_prefix: str = "BENCH"
    tls: bool = False
    plain: bool = False
    may_die: bool = False  # the server is going to be killed under us
    warm_s: float = 0.5
    window_s: float = 2.0
    windows: int = 1
    rate: float = 0.0  # open loop: messages per second over all chargers


@dataclass(slots=True)
class Result:
    """What one run measured. CPU in seconds of the server; latencies in ms, one entry per window."""

    messages: int = 0
    cpu_s: float = 0.0  # from the start of the window until idle again
    busy: float = 0.0  # share of one core used inside the window
    elapsed_s: float = 0.0
    settle_s: float = 0.0
    server_calls: int = 0
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    late: int = 0  # open loop: calls that had to wait for the charger's previous answer
    kib_per_connection: float | None = None
    connect_cpu_ms: float | None = None
    acked: list[tuple[str, int, int, int]] = field(default_factory=list)  # charger, first and last register, count


class Script:
    """What one charger says next. `expect` is how the right answer begins; `listens` asks for the answer's text."""

    counts_meter = False

    def __init__(self, link: Link, timeline: Timeline, tag: bytes) -> None:
        self.link = link
        self.time = timeline
        self.tag = tag
        self.step = 0
        self.expect = b""
        self.listens = False
        self.at_rest = True  # may stop here without leaving a half told story
        self.answers = 0
        self.due = 0.0  # open loop: when the outstanding call was due; 0 = none outstanding
        self.backlog: deque[float] = deque()
        self._seq = 0
        self.recv = link.sock.recv
        self.send = link.sock.sendall

    def uid(self) -> bytes:
        """The next message id, fresh on this connection."""
        self._seq += 1
        uid = b"%010d" % self._seq
        self.expect = b'[3,"%b",' % uid
        return uid

    def advance(self) -> int:
        """One step on the virtual clock."""
        self.step += 1
        if self.step >= len(self.time.stamps):
            self.time.reach(2 * self.step)
        return self.step

    def prepare(self, plain: bool) -> None:
        """Outside the window: boot, and whatever must stand before the first measured message."""
        answer = self.link.call(BOOT.bind() % self.uid())
        if not plain and answer.get("status") != "Accepted":
            raise BenchError(f"{self.link.ident}: BootNotification was answered {answer}")

    def next(self) -> bytes:
        raise NotImplementedError

    def hear(self, text: bytes) -> None:
        """The answer to a message whose text matters."""

    def finish(self) -> None:
        """Outside the window: leave nothing open."""

    def begin(self, plain: bool) -> bytes:
        """Start a transaction by a blocking call; its id as text."""
        n = self.advance()
        answer = self.link.call(START.bind(tag=self.tag) % (self.uid(), self.time.registers[n], self.time.stamps[n]))
        if plain:
            return b"1"
        if answer.get("idTagInfo", {}).get("status") != "Accepted":
            raise BenchError(f"{self.link.ident}: StartTransaction was answered {answer}")
        return str(int(answer["transactionId"])).encode()


class Heartbeats(Script):
    """Nothing but heartbeats."""

    _frame = HEARTBEAT.bind()

    def next(self) -> bytes:
        return self._frame % self.uid()


class Metering(Script):
    """One long transaction: a MeterValues of eight samples after the other, each with its own time and register."""

    counts_meter = True

    def prepare(self, plain: bool) -> None:
        super().prepare(plain)
        self._tx = self.begin(plain)
        self._frame = METER_VALUES.bind(tx=self._tx)
        self.first_step = self.step + 1

    def next(self) -> bytes:
        n = self.advance()
        time_ = self.time
        return self._frame % (self.uid(), time_.stamps[n], time_.registers[n], time_.powers[n])

    def finish(self) -> None:
        n = self.advance()
        template = STOP.bind(tx=self._tx, tag=self.tag)
        self.link.call(template % (self.uid(), self.time.registers[n], self.time.stamps[n]))

    def acked(self) -> tuple[str, int, int, int]:
        """Charger, first and last acknowledged register, how many in between, both included."""
        last = self.first_step + self.answers - 1
        registers = self.time.registers
        return self.link.ident, int(registers[self.first_step]), int(registers[last]), self.answers


class Sessions(Script):
    """Whole charging sessions of 15 messages, one after the other."""

    METERS = 8

    def prepare(self, plain: bool) -> None:
        super().prepare(plain)
        self._plain = plain
        self._place = 0
        self._tx = b"1"
        self._statuses = [form.bind() for form in (PREPARING, CHARGING, FINISHING, AVAILABLE)]
        self._authorize = AUTHORIZE.bind(tag=self.tag)
        self._start = START.bind(tag=self.tag)

    def next(self) -> bytes:
        place, self._place = self._place, (self._place + 1) % 15
        self.at_rest = place == 14
        self.listens = place == 2
        uid = self.uid()
        if place == 1:
            return self._authorize % uid
        n = self.advance()
        time_ = self.time
        if 4 <= place < 4 + self.METERS:
            return self._meter % (uid, time_.stamps[n], time_.registers[n], time_.powers[n])
        if place == 2:
            return self._start % (uid, time_.registers[n], time_.stamps[n])
        if place == 12:
            return STOP.bind(tx=self._tx, tag=self.tag) % (uid, time_.registers[n], time_.stamps[n])
        return self._statuses[(0, 3, 13, 14).index(place)] % (uid, time_.stamps[n])

    def hear(self, text: bytes) -> None:
        found = TRANSACTION_ID.search(text)
        if found and b'"Accepted"' in text:
            self._tx = found[1]
        elif not self._plain:
            raise BenchError(f"{self.link.ident}: StartTransaction was answered {text.decode()[:300]}")
        self._meter = METER_VALUES.bind(tx=self._tx)


SCRIPTS: dict[str, type[Script]] = {"heartbeat": Heartbeats, "meter_values": Metering, "session": Sessions}


class Fleet:
    """All chargers of one run."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.result = Result()
        self.poller = select.epoll()
        self.by_fd: dict[int, Script] = {}
        self.scripts: list[Script] = []
        self.timeline = Timeline.hours_back(HOURS_BACK)

    def connect(self, count: int, first: int = 0) -> None:
        """Connect and boot `count` chargers, one at a time."""
        task = self.task
        for n in range(first, first + count):
            link = Link(task.host, task.port, f"{task.prefix}-{n:05d}", task.tls)
            script = SCRIPTS[task.script](link, self.timeline, f"{task.tag_prefix}{n:05d}".encode())
            script.prepare(task.plain)
            self.scripts.append(script)
            self.by_fd[link.sock.fileno()] = script
            self.poller.register(link.sock.fileno(), select.EPOLLIN)

    def answered(self, script: Script) -> bool:
        """Read one charger's socket; whether its outstanding call was answered, and rightly."""
        try:
            data = script.recv(65536)
        except ConnectionError:
            data = b""
        # The common case: exactly one short, whole text frame, and it begins as it must.
        if data[:1] == b"\x81" and data[1] == len(data) - 2 and data.startswith(script.expect, 2):
            if script.listens:
                script.hear(data)
            script.answers += 1
            return True
        if not data:
            self._lost(script)
            return False
        answers = script.link.texts(data)
        if script.link.closed:
            self._lost(script)
        if not answers:
            return False
        if len(answers) > 1 or not _is_result(answers[0], script.expect):
            raise BenchError(f"{script.link.ident}: wrong answer {answers[0].decode()[:300]}")
        if script.listens:
            script.hear(answers[0])
        script.answers += 1
        return True

    def _lost(self, script: Script) -> None:
        if not self.task.may_die:
            raise BenchError(f"{script.link.ident}: the server closed the connection under load")
        fileno = script.link.sock.fileno()
        if fileno >= 0:
            self.poller.unregister(fileno)
            del self.by_fd[fileno]
            script.link.sock.close()

    def closed_loop(self) -> None:
        """As fast as the server answers: one outstanding call per charger, the next one the moment it is answered."""
        task, result = self.task, self.result
        for script in self.scripts:
            script.send(script.next())
        measure_at = time.perf_counter() + task.warm_s
        stop_at = measure_at + task.window_s
        measuring = stopping = False
        cpu_start = begun = 0.0
        running = len(self.scripts)
        last_event = time.perf_counter()
        while running and self.by_fd:
            events = self.poller.poll(0.5)
            now = time.perf_counter()
            if events:
                last_event = now
            elif now - last_event > STUCK_S:
                raise BenchError(f"{running} chargers waited over {STUCK_S:.0f} s for an answer")
            if not measuring and now >= measure_at:
                measuring, begun, cpu_start = True, now, procfs.cpu_seconds(task.server_pid)
                stop_at = now + task.window_s
                for script in self.scripts:
                    result.messages -= script.answers
            if measuring and not stopping and now >= stop_at:
                stopping = True
                if not task.may_die:
                    result.busy = (procfs.cpu_seconds(task.server_pid) - cpu_start) / (now - begun)
            for fd, _ in events:
                script = self.by_fd[fd]
                if self.answered(script):
                    if stopping and script.at_rest:
                        running -= 1
                    else:
                        try:
                            script.send(script.next())
                        except ConnectionError:
                            self._lost(script)
        result.elapsed_s = time.perf_counter() - begun
        result.messages += sum(script.answers for script in self.scripts)
        if not task.may_die:
            self._settle(cpu_start)

    def open_loop(self) -> None:
        """At a fixed rate, whatever the server does; latency counts from when a call was due, not from when it left."""
        task, result = self.task, self.result
        gap = 1.0 / task.rate
        measured_s = task.window_s * task.windows
        total = int(task.rate * (task.warm_s + measured_s))
        begun = time.perf_counter() + 0.01
        measure_at = begun + task.warm_s
        samples: list[list[float]] = [[] for _ in range(task.windows)]
        sent = outstanding = 0
        cpu_start = -1.0
        last_answer = begun
        while sent < total or outstanding:
            now = time.perf_counter()
            if cpu_start < 0 and now >= measure_at:
                cpu_start = procfs.cpu_seconds(task.server_pid)
            while sent < total and begun + sent * gap <= now:
                script, due = self.scripts[sent % len(self.scripts)], begun + sent * gap
                sent += 1
                outstanding += 1
                if script.due:
                    script.backlog.append(due)
                    result.late += 1
                else:
                    script.due = due
                    script.send(script.next())
            # epoll sleeps whole milliseconds, so the last stretch before the next call is due is spent looking.
            wait = begun + sent * gap - now if sent < total else 0.1
            for fd, _ in self.poller.poll(wait - 0.001 if wait > 0.002 else 0):
                script = self.by_fd[fd]
                if self.answered(script):
                    last_answer = time.perf_counter()
                    outstanding -= 1
                    if script.due >= measure_at:
                        window = int((script.due - measure_at) / task.window_s)
                        samples[min(window, task.windows - 1)].append(last_answer - script.due)
                    script.due = script.backlog.popleft() if script.backlog else 0.0
                    if script.due:
                        script.send(script.next())
            if now - last_answer > STUCK_S:
                raise BenchError(f"{outstanding} calls waited over {STUCK_S:.0f} s for an answer")
        result.elapsed_s = time.perf_counter() - measure_at
        result.messages = sum(map(len, samples))
        result.busy = (procfs.cpu_seconds(task.server_pid) - cpu_start) / result.elapsed_s
        result.p50_ms = [1000 * percentile(window, 50) for window in samples]
        result.p99_ms = [1000 * percentile(window, 99) for window in samples]
        self._settle(cpu_start)

    def idle(self) -> None:
        """Memory of connections that only stand there, after BootNotification and one Heartbeat each."""
        task, result = self.task, self.result
        self._stand(IDLE_WARM_LINKS, 0)
        before, cpu = procfs.pss_kib(task.server_pid), procfs.cpu_seconds(task.server_pid)
        self._stand(task.chargers, IDLE_WARM_LINKS)
        result.kib_per_connection = (procfs.pss_kib(task.server_pid) - before) / task.chargers
        result.connect_cpu_ms = 1000 * (procfs.cpu_seconds(task.server_pid) - cpu) / task.chargers
        result.messages = 2 * task.chargers

    def _stand(self, count: int, first: int) -> None:
        self.connect(count, first)
        for script in self.scripts[first:]:
            script.link.call(script.next())
        self._attend(IDLE_PAUSE_S)

    def _attend(self, seconds: float) -> None:
        """Let time pass, answering what the server asks by itself."""
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            for fd, _ in self.poller.poll(left):
                script = self.by_fd[fd]
                data = script.recv(65536)
                if not data or script.link.texts(data) or script.link.closed:
                    raise BenchError(f"{script.link.ident}: an idle connection was closed, or answered unasked")

    def _settle(self, cpu_start: float) -> None:
        """Wait until the server does nothing any more; all it used since `cpu_start` belongs to the messages."""
        begun = time.perf_counter()
        used = procfs.cpu_seconds(self.task.server_pid)
        while time.perf_counter() - begun < SETTLE_LIMIT_S:
            self._attend(SETTLE_STEP_S)
            before, used = used, procfs.cpu_seconds(self.task.server_pid)
            if used - before <= 1.5 / procfs.TICKS_PER_S:  # one tick is what timers alone may show
                break
        self.result.cpu_s = used - cpu_start
        self.result.settle_s = time.perf_counter() - begun

    def close(self) -> None:
        """End transactions and connections, outside any window."""
        for script in self.scripts:
            self.result.server_calls += script.link.server_calls
            if script.counts_meter and script.answers:
                assert isinstance(script, Metering)
                self.result.acked.append(script.acked())
            if script.link.sock.fileno() >= 0:
                script.finish()
                script.link.close()


def percentile(values: Iterable[float], percent: int) -> float:
    """Nearest-rank percentile; NaN of nothing."""
    ranked = sorted(values)
    if not ranked:
        return float("nan")
    return ranked[min(len(ranked) - 1, -(-len(ranked) * percent // 100) - 1)]


def _is_result(text: bytes, expect: bytes) -> bool:
    """Whether `text` is a CALLRESULT for the id in `expect`, however the server spaces its JSON."""
    if text.startswith(expect):
        return True
    message = json.loads(text)
    return bool(message[0] == 3 and message[1] == expect[4:-2].decode())


def run(task: Task) -> Result:
    """One whole run: connect, prepare, load, settle, leave."""
    procfs.pin(task.core)
    procfs.allow_many_sockets()
    fleet = Fleet(task)
    if task.mode == "idle":
        fleet.idle()
    else:
        fleet.connect(task.chargers)
        gc.collect()
        gc.disable()  # a pause of ours would read as a pause of the server
        (fleet.closed_loop if task.mode == "closed" else fleet.open_loop)()
    fleet.close()
    return fleet.result


def main() -> int:
    """Read the task, run it, print the result."""
    wanted: dict[str, Any] = json.load(sys.stdin)
    try:
        result = run(Task(**wanted))
    except (BenchError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(json.dumps(asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
