"""The ways real chargers misbehave, by name, seeded: the same seed gives the same misbehaviour.

The names are the ones of the interoperability list (PEERS, end of section 3) plus bad networks. A charger asks
`on(name)` where that behaviour would show; whatever needs chance asks `chance`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

FAULTS: Final[dict[str, str]] = {
    "dup_start_same_id": "StartTransaction (Started) is sent again with the same message id",
    "dup_start_new_id": "StartTransaction (Started) is sent again with a new message id",
    "dup_stop_other_meter": "a second Stop (Ended) follows with another meter value",
    "stop_without_start": "the start is never sent, only the stop",
    "start_after_stop": "the stop is delivered before the start",
    "tx_zero": "1.6: transactionId 0 in MeterValues and Stop",
    "tx_minus_one": "1.6: transactionId -1 in MeterValues and Stop",
    "meter_reset_on_boot": "the register restarts at zero after a power cut",
    "meter_session_relative": "the register counts from zero in every session",
    "kwh_as_wh": "sampled registers are kWh labelled Wh",
    "reg_dropout_zero": "now and then a sampled register reads 0",
    "clock_1970": "the clock was never set: times start at 1970",
    "clock_plus_5h30": "Indian time is sent with a Z",
    "no_subprotocol": "the handshake offers no subprotocol",
    "slash_slash_id": "the URL has // before the identity",
    "escaped_id": "the identity in the URL is percent-encoded",
    "call_while_awaiting": "a Heartbeat is sent while another CALL still waits for its answer",
    "reply_unknown_id": "a CALLRESULT nobody asked for is sent after the boot",
    "reuse_message_id_after_boot": "message ids restart at 1 with every boot",
    "frame_2mb_getconfiguration": "GetConfiguration (GetBaseReport) is answered with two megabytes",
    "half_open": "when the link is lost the socket is left open and silent",
    "ignores_server_ping": "WebSocket pings of the server get no pong",
    "drops_on_server_ping": "a WebSocket ping of the server makes the charger drop the link",
    "remote_start_accepted_silent": "a remote start is accepted and nothing follows",
    "status_connector0_only": "only connector 0 is ever reported",
    "availability_never_answers": "ChangeAvailability is never answered",
    "boot_every_reconnect": "BootNotification on every reconnect, though nothing rebooted",
    "no_boot_on_reconnect": "no BootNotification even after a power cut",
    "queue_cap_100_drop_oldest": "the offline queue holds 100 messages and drops the oldest sample",
    "discard_after_3_attempts": "a transaction message is given up after three attempts",
    "power_cut_no_stop": "after a power cut the open transaction is forgotten",
    "power_cut_stop_after_boot": "after a power cut the stop (PowerLoss) follows the boot",
    "swap_serial_same_id": "after a power cut another unit with another meter stands there",
    "duplicate_frames": "CALLs are sent twice",
    "reordered_frames": "samples overtake each other and the stop",
    "flapping_link": "the link drops every second or so",
}


@dataclass(slots=True)
class Faults:
    """The faults switched on for one charger. Unknown names are a `ValueError`."""

    names: frozenset[str] = frozenset()
    seed: int = 0
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.names = check(self.names)
        self.rng = random.Random(f"faults/{self.seed}")

    def on(self, name: str) -> bool:
        """Is this behaviour switched on? Asking for a name that does not exist is a bug."""
        if name not in FAULTS:
            raise KeyError(name)
        return name in self.names

    def chance(self, name: str, probability: float) -> bool:
        """True with `probability` when the behaviour is switched on; draws nothing when it is off."""
        return self.on(name) and self.rng.random() < probability


def check(names: Iterable[str]) -> frozenset[str]:
    """`names` as a set, or a `ValueError` that lists what exists."""
    asked = frozenset(names)
    unknown = sorted(asked - FAULTS.keys())
    if unknown:
        raise ValueError(f"no such fault: {', '.join(unknown)}; known are {', '.join(sorted(FAULTS))}")
    return asked
