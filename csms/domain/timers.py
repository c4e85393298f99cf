"""The clocks of a charging session (SESSIONS 5.6), per site and model.

A timer is a deadline kept on the session; whoever owns the clock looks at the earliest one and reports
`TimerFired`. Nothing here waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from csms.domain.meter import Between


class Timer(StrEnum):
    """What a session may be waiting for."""

    T_START = "T_start"  # remote start asked for, no start fact
    T_NOTIFY = "T_notify"  # link down before the driver is told
    T_DRAIN = "T_drain"  # the backlog after a reconnect
    T_BOOTSTOP = "T_bootstop"  # Stop(PowerLoss) after a boot
    T_RESUME = "T_resume"  # same tag and socket count as the same order after a cut
    T_STOP = "T_stop"  # unconfirmed remote stop
    T_DATA = "T_data"  # missing meterStop or seqNo gap
    T_QUEUE = "T_queue"  # the station said that messages of the transaction wait: ask again
    T_ABANDON = "T_abandon"  # provisional settlement of a dark session
    T_FINAL = "T_final"  # afterwards late facts need an operator
    T_BUDGET = "T_budget"  # the ordered time is used up


@dataclass(frozen=True, slots=True)
class Timing:
    """Defaults of 5.6 and the two policies that go with them; seconds unless the name says otherwise."""

    start_s: int = 150  # ConnectionTimeOut + 30
    notify_s: int = 60
    drain_s: int = 180
    drain_max_s: int = 1_800
    bootstop_s: int = 600
    resume_s: int = 900
    stop_s: int = 45
    stop_tries: int = 3
    data_online_s: int = 1_800
    data_offline_s: int = 86_400
    abandon_min_s: int = 21_600
    abandon_max_s: int = 86_400
    final_s: int = 604_800
    dead_time_s: int = 100  # silence after which a link counts as dead (PEERS 3 row 2)
    offline_start_s: int = 30  # a start older than the link by this much happened offline
    near_start_s: int = 120  # a re-stamped start is the same one within this
    between_sessions: Between = Between.BOUND
    merge_after_power_cut: bool = True

    def abandon_after_s(self, remaining_wh: int | None, power_w: int | None) -> int:
        """max(2 x expected remaining time, 6 h), at most 24 h."""
        expected_s = 0
        if remaining_wh is not None and power_w:
            expected_s = max(0, remaining_wh) * 3_600 // power_w
        return min(max(2 * expected_s, self.abandon_min_s), self.abandon_max_s)
