"""What Linux tells about a process from outside: CPU seconds, memory, cores. No cooperation of the process needed."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def process_tree(pid: int) -> list[int]:
    """`pid` and every living descendant."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found.extend(int(child) for child in (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return found


def cpu_seconds(pid: int) -> float:
    """User plus system time of the process, all its threads and all its children, living or reaped, in seconds."""
    ticks = 0
    for each in process_tree(pid):
        try:
            stat = Path(f"/proc/{each}/stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The name in parentheses may hold spaces. After it come state, ppid, …; proc(5): utime is field 14,
        # then stime, cutime and cstime (children that ended and were waited for).
        ticks += sum(int(field) for field in stat[stat.rindex(b")") + 2 :].split()[11:15])
    return ticks / TICKS_PER_S


def pss_kib(pid: int) -> int:
    """Proportional set size of the process and its children, in KiB: memory, shared pages counted by their share."""
    total = 0
    for each in process_tree(pid):
        for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def two_cores() -> tuple[int, int]:
    """One core for the servers, one for the load. The same core twice when there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[1 % len(cores)]


def pin(core: int) -> None:
    """Keep this process, and what it starts from now on, on one core."""
    os.sched_setaffinity(0, {core})


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Processes started inside inherit the core; this one returns to where it was."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def allow_many_sockets() -> int:
    """Raise the limit of open files as far as allowed; the number we got."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
