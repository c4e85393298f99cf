"""How wrong a station's clock is, and when a thing really happened (SESSIONS 5.7, PEERS 2.11).

The device's own time is never overwritten; from it, the time we received the frame and the station's usual
skew we derive the *effective* time and say how good it is. All times are UTC milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

DAY_MS: Final = 86_400_000
Y2020_MS: Final = 1_577_836_800_000
FUTURE_MS: Final = 600_000  # a device time later than this beyond the receipt is nonsense
IST_MS: Final = 19_800_000  # +05:30
IST_SLACK_MS: Final = 120_000
ALARM_MS: Final = 120_000  # PEERS 3 row 15: tell the operator above this
SAMPLES: Final = 9
STEADY_MS: Final = 60_000  # samples further apart than this do not describe one skew
# The skew in use follows the median only when it moves this far, so that a repeated frame gets the time it
# had before and network jitter does not become clock error.
HYSTERESIS_MS: Final = 5_000


class TimeQuality(StrEnum):
    """How a time was established. `D` must not choose a tariff slab by itself."""

    A = "A"  # the device's own, sane
    B = "B"  # the device's own, corrected by a known skew
    C = "C"  # interpolated between good neighbours
    D = "D"  # the time of receipt, for want of better


_RANK: Final = {TimeQuality.A: 0, TimeQuality.B: 1, TimeQuality.C: 2, TimeQuality.D: 3}


def worse(one: TimeQuality, other: TimeQuality) -> TimeQuality:
    """The poorer of two time qualities."""
    return one if _RANK[one] >= _RANK[other] else other


@dataclass(slots=True)  # a value, though not frozen: one is made per message
class Stamp:
    """An effective time, its quality, and whether IST sent as UTC was corrected on the way."""

    at_ms: int
    quality: TimeQuality
    ist_as_z: bool = False


@dataclass(slots=True)
class ClockModel:
    """The skew of one station: the median of its last nine samples.

    `observe` it only with live frames (Heartbeat, Boot, unqueued events): a queued frame is old, not skewed.
    """

    samples: list[int] = field(default_factory=list)
    applied_ms: int = 0

    def observe(self, device_ms: int, received_ms: int) -> None:
        """One live frame's `device_ts - received_at`."""
        self.samples.append(device_ms - received_ms)
        del self.samples[:-SAMPLES]
        skew = self.skew_ms
        if skew is not None and abs(skew - self.applied_ms) > HYSTERESIS_MS:
            self.applied_ms = skew

    @property
    def skew_ms(self) -> int | None:
        """The median of the samples; `None` before the first."""
        if not self.samples:
            return None
        ordered = sorted(self.samples)
        return ordered[len(ordered) // 2]

    @property
    def is_good(self) -> bool:
        """Whether the skew may be used: below a day, and half of the samples agree with the median."""
        skew = self.skew_ms
        if skew is None or abs(skew) >= DAY_MS:
            return False
        near = sum(1 for sample in self.samples if abs(sample - skew) <= STEADY_MS)
        return near * 2 > len(self.samples)

    @property
    def is_ist_as_z(self) -> bool:
        """A constant +05:30 on a `Z` time: Indian local time mislabelled (visible to the operator)."""
        return abs(self.applied_ms - IST_MS) <= IST_SLACK_MS and self.is_good

    @property
    def is_alarming(self) -> bool:
        """Whether the station's clock deserves an alarm."""
        skew = self.skew_ms
        return skew is not None and abs(skew) > ALARM_MS

    def effective(
        self,
        device_ms: int | None,
        received_ms: int,
        *,
        before_ms: int | None = None,
        after_ms: int | None = None,
        position: int = 1,
        of: int = 1,
    ) -> Stamp:
        """When it really happened.

        `before_ms`/`after_ms` are the effective times of the neighbouring good facts of the same boot epoch;
        a nonsense time is put between them, as number `position` of `of` such facts in a row.
        """
        if device_ms is not None:
            skew = self.applied_ms if self.applied_ms and self.is_good else 0
            at_ms = device_ms - skew
            if is_sane(at_ms, received_ms):
                return Stamp(at_ms, TimeQuality.B if skew else TimeQuality.A, self.is_ist_as_z)
        if before_ms is not None and after_ms is not None and before_ms <= after_ms:
            return Stamp(before_ms + (after_ms - before_ms) * position // (of + 1), TimeQuality.C)
        return Stamp(received_ms, TimeQuality.D)

    def to_row(self) -> dict[str, Any]:
        """Plain values, for storage."""
        return {"samples": list(self.samples), "applied_ms": self.applied_ms}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> ClockModel:
        """The inverse of `to_row`."""
        return cls(list(row["samples"]), row["applied_ms"])


def is_sane(at_ms: int, received_ms: int) -> bool:
    """Neither before 2020 nor more than ten minutes after it came."""
    return Y2020_MS <= at_ms <= received_ms + FUTURE_MS
