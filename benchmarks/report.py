"""What a run prints: a table for people, one JSON object for programs (SURFACES 8), and the verdict on the targets."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from .suite import LATENCY_CHARGERS, LATENCY_RATE, Findings

SESSION_MESSAGES = 15
YARDSTICKS = {"bare": "bare websockets", "ocpp": "ocpp library"}


def summary(found: Findings) -> dict[str, Any]:
    """The promised object. A figure that was not measured is null; `notes` says why."""
    session_us = found.median_us("session", "ours")
    latency = found.latency
    return {
        "ratios": {
            "heartbeat_vs_bare_websockets": _round(found.ratio("heartbeat", "bare"), 3),
            "meter_values_vs_bare_websockets": _round(found.ratio("meter_values", "bare"), 3),
            "meter_values_vs_ocpp_library": _round(found.ratio("meter_values", "ocpp"), 2),
            "session_messages_vs_ocpp_library": _round(found.ratio("session", "ocpp"), 2),
        },
        "meter_values": {
            "cpu_us_per_message": _round(found.median_us("meter_values", "ours"), 1),
            "p50_ms": _round(median(latency.p50_ms), 2) if latency else None,
            "p99_ms": _round(median(latency.p99_ms), 2) if latency else None,
            "chargers": LATENCY_CHARGERS,
            "durable_before_answer": durable(found),
        },
        "session_cpu_ms": _round(session_us and session_us * SESSION_MESSAGES / 1000, 3),
        "idle_connection_kib": {
            "plain": _round(found.idle_plain_kib, 1),
            "tls": _round(found.idle_tls_kib, 1),
        },
        "discover_100k": _pair(found.discover_ms),
        "beckn_ack": {"p99_ms": _pair(found.ack_ms)["p99_ms"]},
        "under_load": {
            "meter_values_per_s": found.busy_messages_per_s,
            "discover": _pair(found.busy_discover_ms),
            "confirm": _pair(found.confirm_ms),
        },
        "details": _details(found),
        "notes": found.notes,
    }


def durable(found: Findings) -> bool | None:
    """True only when a killed server was looked into and nothing acknowledged was missing, then or before."""
    if found.held_after_kill is None:
        return None
    return found.held_after_kill and found.held_while_running is not False


def _details(found: Findings) -> dict[str, Any]:
    latency = found.latency
    return {
        "cpu_us_per_message": {
            f"{scenario}.{server}": [round(us, 2) for us in runs] for (scenario, server), runs in found.cpu_us.items()
        },
        "closed_loop_chargers": found.chargers,
        "open_loop": {
            "rate_per_s": LATENCY_RATE,
            "cpu_us_per_message": _round(1e6 * latency.cpu_s / latency.messages, 1),
            "busy": _round(latency.busy, 2),
            "waited_for_the_previous_answer": latency.late,
        }
        if latency and latency.messages
        else None,
        "acked_before_kill": found.acked_before_kill,
        "lost_after_kill": found.lost_after_kill,
        "connect_and_boot_cpu_ms": _round(found.connect_cpu_ms, 3),
    }


def _pair(times: tuple[float, float] | None) -> dict[str, float | None]:
    return {"p50_ms": times and _round(times[0], 2), "p99_ms": times and _round(times[1], 2)}


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None or math.isnan(value) else round(value, digits)


def print_tables(found: Findings, console: Console) -> None:
    """Absolute figures with their spread, then ratios against both yardsticks."""
    table = Table(title="CPU of the server per message (user + system, median of the runs)")
    table.add_column("load")
    table.add_column("server")
    for column in ("CPU us", "min to max", "messages/s per core", "busy", "ours is"):
        table.add_column(column, justify="right")
    for (scenario, server), runs in sorted(found.cpu_us.items()):
        us = median(runs)
        ratio = found.ratio(scenario, server) if server != "ours" else None
        table.add_row(
            scenario,
            YARDSTICKS.get(server, server),
            f"{us:.1f}",
            f"{min(runs):.1f} to {max(runs):.1f}",
            f"{1e6 / us:,.0f}",
            f"{100 * median(found.busy[scenario, server]):.0f} %",
            f"x {ratio:.2f}" if ratio else "",
        )
    if found.cpu_us:
        console.print(table)


@dataclass(frozen=True, slots=True)
class Target:
    """One promise: which figure, what it must be, and which part measures it."""

    part: str
    text: str
    read: Callable[[dict[str, Any]], Any]
    holds: Callable[[Any], bool]
    optional: bool = False  # may be absent, when what it measures is not configured


TARGETS = (
    Target(
        "heartbeat",
        "heartbeat against bare websockets >= 0.7",
        lambda r: r["ratios"]["heartbeat_vs_bare_websockets"],
        lambda v: v >= 0.7,
    ),
    Target(
        "meter_values",
        "durable meter values against bare websockets >= 0.35",
        lambda r: r["ratios"]["meter_values_vs_bare_websockets"],
        lambda v: v >= 0.35,
    ),
    Target(
        "meter_values",
        "durable meter values against the ocpp library >= 8",
        lambda r: r["ratios"]["meter_values_vs_ocpp_library"],
        lambda v: v >= 8,
    ),
    Target(
        "session",
        "CPU of a whole durable session <= 1.2 ms",
        lambda r: r["session_cpu_ms"],
        lambda v: v <= 1.2,
    ),
    Target(
        "latency",
        "p99 of a durable answer, 1,000 chargers at 5,000 messages/s < 50 ms",
        lambda r: r["meter_values"]["p99_ms"],
        lambda v: v < 50,
    ),
    Target(
        "durability",
        "nothing acknowledged is lost by SIGKILL",
        lambda r: r["meter_values"]["durable_before_answer"],
        lambda v: v is True,
    ),
    Target(
        "idle",
        "memory of an idle plain connection < 40 KiB",
        lambda r: r["idle_connection_kib"]["plain"],
        lambda v: v < 40,
    ),
    Target(
        "idle",
        "memory of an idle TLS connection < 80 KiB",
        lambda r: r["idle_connection_kib"]["tls"],
        lambda v: v < 80,
        optional=True,
    ),
    Target(
        "discover_100k",
        "p99 of a discover among 100,000 connectors, chargers reporting < 2,000 ms",
        lambda r: r["under_load"]["discover"]["p99_ms"],
        lambda v: v < 2000,
    ),
    Target(
        "discover_100k",
        "p99 of a confirm, chargers reporting < 5,000 ms",
        lambda r: r["under_load"]["confirm"]["p99_ms"],
        lambda v: v < 5000,
    ),
)


def judge(result: dict[str, Any], parts: set[str], console: Console) -> bool:
    """Print every target of the parts that ran, and whether all were met. A missing figure is a miss."""
    table = Table(title="Targets")
    for column in ("target", "measured", "verdict"):
        table.add_column(column)
    met_all = True
    for target in TARGETS:
        if target.part not in parts:
            continue
        value = target.read(result)
        if value is None:
            met, verdict = target.optional, "not measured"
        else:
            met = target.holds(value)
            verdict = "met" if met else "MISSED"
        met_all = met_all and met
        table.add_row(target.text, "" if value is None else str(value), verdict)
    if table.row_count:
        console.print(table)
    return met_all


def as_line(result: dict[str, Any]) -> str:
    """The object on one line."""
    return json.dumps(result, ensure_ascii=False)
