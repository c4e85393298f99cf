"""How hard a buyer's server is knocked at while it does not answer. Pure: time is an argument.

closed   side by side, up to `at_once`      three failures in a row open it
open     nothing, until the pause is over; then one message tries. The pauses grow up to a minute
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_FAILURES_TO_OPEN: Final = 3
_FIRST_PAUSE_MS: Final = 1_000
_LONGEST_PAUSE_MS: Final = 60_000
_MOST_DOUBLINGS: Final = 10


@dataclass(slots=True)
class Circuit:
    """One server's standing. `reached_ms`: when it last came back after being away."""

    failures: int = 0
    down_since_ms: int | None = None
    probe_at_ms: int = 0
    reached_ms: int | None = None

    @property
    def is_open(self) -> bool:
        return self.failures >= _FAILURES_TO_OPEN

    def room(self, now_ms: int, at_once: int) -> int:
        """How many messages may be in the air."""
        if not self.is_open:
            return at_once
        return 1 if now_ms >= self.probe_at_ms else 0

    def answered(self, now_ms: int) -> None:
        """The server said something, be it no."""
        if self.is_open:
            self.reached_ms = now_ms
        self.failures, self.down_since_ms = 0, None

    def failed(self, now_ms: int) -> None:
        """It was not reached, or could not answer."""
        if self.down_since_ms is None:
            self.down_since_ms = now_ms
        self.failures += 1
        if self.is_open:
            doublings = min(self.failures - _FAILURES_TO_OPEN, _MOST_DOUBLINGS)
            self.probe_at_ms = now_ms + min(_FIRST_PAUSE_MS << doublings, _LONGEST_PAUSE_MS)
