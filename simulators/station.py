"""What a simulated charger is made of: its connectors, the sessions it really had, and its offline queue.

`Session.delivered_wh` is the truth a bill is held against: it is taken from the physical meter and knows nothing
of what was reported.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from simulators.physics import Outlet

KIND_START, KIND_SAMPLE, KIND_STOP = "start", "sample", "stop"
# Settings in their 1.6 names; the 2.0.1 dialect knows which variable is which.
SETTINGS = {
    "HeartbeatInterval": "300",
    "MeterValueSampleInterval": "60",
    "MeterValuesSampledData": "Energy.Active.Import.Register,Power.Active.Import",
    "ClockAlignedDataInterval": "0",
    "TransactionMessageAttempts": "3",
    "TransactionMessageRetryInterval": "60",
    "ConnectionTimeOut": "60",
    "LocalAuthorizeOffline": "true",
    "AllowOfflineTxForUnknownId": "true",
    "StopTransactionOnInvalidId": "true",
    "StopTransactionOnEVSideDisconnect": "true",
    "AuthorizeRemoteTxRequests": "false",
    "WebSocketPingInterval": "0",
}


@dataclass(slots=True)
class Session:
    """One charging session as it really was. `tx_id`: the server's (1.6, once told) or our own (2.0.1)."""

    local_id: str
    connector: int
    token: str
    start_ms: int
    start_register_wh: float
    tx_id: str | None = None
    remote_start_id: int | None = None
    reservation_id: int | None = None
    was_offline_at_start: bool = False
    end_register_wh: float | None = None
    stop_ms: int | None = None
    stop_reason: str | None = None
    seq_no: int = 0
    charging_state: str = "Charging"
    starts_answered: list[str] = field(default_factory=list)
    _register_now: float = 0.0

    @property
    def is_open(self) -> bool:
        return self.stop_ms is None

    def meter(self, register_wh: float) -> None:
        """Tell the session the present state of the physical register."""
        self._register_now = register_wh

    @property
    def delivered_wh(self) -> int:
        """The TRUE energy, whole Wh, so far or in the end."""
        end = self.end_register_wh if self.end_register_wh is not None else self._register_now
        return max(0, round(end - self.start_register_wh))


@dataclass(slots=True)
class Connector:
    """One socket and what the charger knows of it. `status` is in OCPP 1.6 words; 2.0.1 maps it."""

    number: int
    outlet: Outlet
    status: str = "Available"
    reported_status: str | None = None
    session: Session | None = None
    authorized_token: str | None = None
    remote_start_id: int | None = None
    reservation: tuple[int, str] | None = None  # (reservation id, token)
    is_operative: bool = True
    pending_inoperative: bool = False
    register_offset_wh: float = 0.0  # what a reset or a swapped meter takes off the reported register
    next_sample_s: float = 0.0

    @property
    def is_plugged(self) -> bool:
        return self.outlet.vehicle is not None

    @property
    def register_wh(self) -> int:
        """The register as this charger would report it: whole Wh."""
        return max(0, int(self.outlet.register_wh - self.register_offset_wh))


@dataclass(slots=True)
class Queued:
    """A transaction message waiting for its answer. 1.6 messages learn their transactionId when they leave."""

    kind: str
    action: str
    payload: dict[str, Any]
    session: str
    created_ms: int
    attempts: int = 0
    message_id: str | None = None


@dataclass(slots=True)
class Outbox:
    """The charger's queue of transaction messages: first in, first out, surviving link loss and power cuts.

    With `path` every change is written there, so it survives the end of the process too.
    """

    path: Path | None = None
    cap: int | None = None
    items: deque[Queued] = field(default_factory=deque)
    dropped: int = 0

    def __post_init__(self) -> None:
        if self.path is not None and self.path.exists():
            self.items.extend(Queued(**entry) for entry in json.loads(self.path.read_text()))

    def put(self, item: Queued) -> None:
        """Add at the end; a full queue gives up its oldest sample first, else its oldest message."""
        if self.cap is not None and len(self.items) >= self.cap:
            victim = next((entry for entry in self.items if entry.kind == KIND_SAMPLE), self.items[0])
            self.items.remove(victim)
            self.dropped += 1
        self.items.append(item)
        self._save()

    def head(self) -> Queued | None:
        return self.items[0] if self.items else None

    def drop(self, item: Queued) -> None:
        """Take one out: answered, or given up."""
        if item in self.items:
            self.items.remove(item)
            self._save()

    def forget_session(self, session: str, kinds: set[str]) -> None:
        """Remove what is queued of one session and of these kinds (firmware that loses its memory)."""
        kept = [item for item in self.items if not (item.session == session and item.kind in kinds)]
        self.items = deque(kept)
        self._save()

    def __len__(self) -> int:
        return len(self.items)

    def _save(self) -> None:
        if self.path is not None:
            self.path.write_text(json.dumps([asdict(item) for item in self.items]))
