"""The real clock and real chance, known here and nowhere else: others are handed `ports.Clock` and `ports.Ids`."""

from __future__ import annotations

import random
import secrets
import time
import uuid
from datetime import UTC, datetime


class RealClock:
    """`ports.Clock`: the wall clock, in UTC."""

    def now_ms(self) -> int:
        """UTC milliseconds since the epoch."""
        return time.time_ns() // 1_000_000


class RealIds:
    """`ports.Ids`: randomness of the operating system."""

    def uuid(self) -> str:
        """A UUIDv7 (RFC 9562): 48 bits of time, the rest random."""
        value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
        value = value & ~(0xF << 76) | 7 << 76
        value = value & ~(3 << 62) | 2 << 62
        return str(uuid.UUID(int=value))

    def uuid4(self) -> str:
        """A random UUID."""
        return str(uuid.uuid4())

    def secret(self) -> str:
        """192 bits."""
        return secrets.token_urlsafe(24)


def chance() -> float:
    """A number from 0 up to 1, for spreading things; nothing secret hangs on it."""
    return random.random()  # noqa: S311 - as above


def file_stamp() -> str:
    """The time as it stands in names of files."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
