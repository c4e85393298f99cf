"""The performance suite behind `make bench`: our server beside two yardsticks, on the same frames, in the same run.

How to read it and what noise to expect: benchmarks/README.md. Nothing here imports `csms`: the suite is an outside
witness that knows only the wire, the REST surface and (for the durability check) two tables of the SQLite file.
"""

from __future__ import annotations


class BenchError(Exception):
    """A measurement that must not be believed: a wrong answer, a server that did not start, a lost connection."""
