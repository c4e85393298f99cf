"""`python -m benchmarks`: run the suite, print the table, and as the last line one JSON object."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from . import beckn, buying, procfs, report
from .servers import Ours, read_toml
from .suite import Bench, Plan

CPU_PARTS = ("heartbeat", "meter_values", "session")
PARTS = (*CPU_PARTS, "latency", "durability", "idle", "beckn_ack", "discover_100k")
YARDSTICKS = "yardsticks"
# Loading 100,000 connectors takes half a minute: too long for a quick run, where it is asked for by name.
NOT_QUICK = {"discover_100k"}


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three short runs of everything, under two minutes")
    parser.add_argument(
        "--only",
        action="append",
        choices=(*PARTS, YARDSTICKS),
        metavar="NAME",
        help=f"only this part (repeatable): {', '.join((*PARTS, YARDSTICKS))}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the JSON object to a file too")
    parser.add_argument("--assert-targets", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument(
        "--server", metavar="COMMAND", help="start this instead of `csms serve`; {config} is the configuration file"
    )
    parser.add_argument("--config-extra", type=Path, metavar="TOML", help="laid over the configuration of our server")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run what was asked for. Exit 0, or 1 when a part failed or, if asked, a target was missed."""
    asked = parse(arguments)
    parts = set(asked.only or set(PARTS) - (NOT_QUICK if asked.quick else set()))
    # In a file or a pipe the table keeps its shape; there is no terminal to ask for a width.
    console = Console() if sys.stdout.isatty() else Console(width=120)
    ours = Ours(extra=read_toml(asked.config_extra)) if asked.config_extra else Ours()
    if asked.server:
        ours = Ours(command=asked.server, extra=ours.extra)
    procfs.allow_many_sockets()
    bench = Bench(Plan.make(asked.quick, ours), console)
    procfs.pin(bench.load_core)

    servers = ["ours", "bare", "ocpp"] if parts != {YARDSTICKS} else ["bare", "ocpp"]
    scenarios = CPU_PARTS if YARDSTICKS in parts else [part for part in CPU_PARTS if part in parts]
    if scenarios or "latency" in parts:
        bench.cpu(scenarios, servers if scenarios else ["ours"], "latency" in parts)
    if "durability" in parts:
        bench.attempt("durability", bench.durability)
    if "idle" in parts:
        bench.attempt("idle", bench.idle)
    if "beckn_ack" in parts:
        bench.attempt("beckn_ack", lambda: beckn.ack(bench))
    if "discover_100k" in parts:
        bench.attempt("discover_100k", lambda: beckn.discover_100k(bench, buying.under_load))
    elif parts != {YARDSTICKS}:
        bench.note("discover_100k was not run: ask with --only discover_100k")

    result = report.summary(bench.found)
    report.print_tables(bench.found, console)
    met = report.judge(result, parts, console) if parts != {YARDSTICKS} else True
    if bench.found.failed:
        console.print(f"failed: {', '.join(bench.found.failed)}", style="bold red")
    line = report.as_line(result)
    if asked.json:
        asked.json.write_text(line + "\n")
    print(line, flush=True)
    return 1 if bench.found.failed or (asked.assert_targets and not met) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
