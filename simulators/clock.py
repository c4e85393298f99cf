"""The wall clock of the simulated world, and how its times are written on a wire.

Only energy runs faster than life here (`power_scale` of the charger): the clock of a simulated charger stays
the real one, because a server rightly distrusts a device that lives in the future.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def wall_ms() -> int:
    """Now, UTC milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def written(at_ms: int) -> str:
    """UTC milliseconds -> `2026-01-02T03:04:05.678Z`."""
    at = EPOCH + timedelta(milliseconds=at_ms)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def read(text: str) -> int | None:
    """RFC 3339 text -> UTC milliseconds; `None` when it is not one or names no zone."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if at.tzinfo is None else (at - EPOCH) // timedelta(milliseconds=1)
