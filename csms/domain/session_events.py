"""What can happen to a session, and what the application must do about it (SESSIONS 5.4).

Events are facts normalised from all transports; `now_ms` is when we learned of it, UTC milliseconds. Times
inside (`effective_ms`, readings' `at_ms`) are effective times, already corrected by the station's clock model.
Outcomes are requests to the application in the order they arose; deadlines are on the session itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from csms.domain.clock import TimeQuality
from csms.domain.reported import Reading, SocketStatus, Started, Stopped
from csms.domain.session_states import State
from csms.domain.timers import Timer


class CaseType(StrEnum):
    """What an operator may be asked to look at (5.2)."""

    ORPHAN_STOP = "ORPHAN_STOP"
    NEG_ENERGY = "NEG_ENERGY"
    REG_RESET = "REG_RESET"
    CLOCK = "CLOCK"
    OVER = "OVER"
    UNDER = "UNDER"
    SWAP = "SWAP"
    DUP_CONFLICT = "DUP_CONFLICT"
    NO_STOP_METER = "NO_STOP_METER"
    IMPLAUSIBLE = "IMPLAUSIBLE"
    UNMETERED = "UNMETERED"
    OVERLAP = "OVERLAP"
    STOP_UNCONFIRMED = "STOP_UNCONFIRMED"
    ABANDONED = "ABANDONED"
    LATE_START = "LATE_START"
    LATE_FACT = "LATE_FACT"
    FRAUD = "FRAUD"


class Severity(StrEnum):
    """How soon somebody should look."""

    INFO = "info"
    WARNING = "warning"
    MONEY = "money"


class StopCause(StrEnum):
    """Who wants the session to stop."""

    USER = "user"
    ENERGY_LIMIT = "energy-limit"
    TIME_LIMIT = "time-limit"
    OPERATOR = "operator"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Reserved:
    """A slot or socket is booked until `expires_ms`."""

    now_ms: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class StartRequested:
    """A remote start or BLE grant was issued. `window_s` replaces `T_start` when the order says so."""

    now_ms: int
    token: str | None
    order_id: str | None = None
    instruction_id: str | None = None
    budget_wh: int | None = None
    budget_s: int | None = None
    window_s: int | None = None


@dataclass(frozen=True, slots=True)
class StartSeen:
    """A start. `tx_id` is the alias to find it by (our 1.6 number or the station's own id);
    `authorised` None: not judged yet; `offline`: it began before the link did."""

    now_ms: int
    started: Started
    effective_ms: int
    authorised: bool | None = None
    tx_id: str | None = None
    offline: bool = False
    time_quality: TimeQuality = TimeQuality.A


@dataclass(frozen=True, slots=True)
class AuthOk:
    """The token was good at the time of the start."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class AuthBad:
    """The token was not good at the time of the start."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class MeterSeen:
    """Readings of this session's transaction. `tx_id` matters only while its start is unknown."""

    now_ms: int
    readings: tuple[Reading, ...]
    seq_no: int | None = None
    charging_state: str | None = None
    tx_id: str | None = None


@dataclass(frozen=True, slots=True)
class RegisterSeen:
    """The socket's register with no transaction named, after a boot or an end (5.8-d, 5.8-i)."""

    now_ms: int
    at_ms: int
    wh: int


@dataclass(frozen=True, slots=True)
class StatusSeen:
    """The socket's status; `at_ms` None: as of now."""

    now_ms: int
    status: SocketStatus
    at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The link is gone; `last_life_ms` is the last frame or pong heard."""

    now_ms: int
    last_life_ms: int | None = None


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A link with no evidence of a boot. `queues` False: what happened while it was away was not kept."""

    now_ms: int
    queues: bool = True


@dataclass(frozen=True, slots=True)
class SitePowerCut:
    """Several stations of the site went dark together (PEERS 2.19)."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class BootSeen:
    """A boot. `new_epoch` by `matching.is_new_boot_epoch`; False is no more than a link-up.
    `swapped`: another serial under the same identity (5.8-h)."""

    now_ms: int
    new_epoch: bool
    boot_at_ms: int
    last_life_ms: int | None = None
    swapped: bool = False


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Somebody wants it to stop."""

    now_ms: int
    cause: StopCause


@dataclass(frozen=True, slots=True)
class StopAnswered:
    """The charger answered our stop."""

    now_ms: int
    accepted: bool


@dataclass(frozen=True, slots=True)
class StopSeen:
    """The end of a transaction."""

    now_ms: int
    stopped: Stopped
    effective_ms: int
    time_quality: TimeQuality = TimeQuality.A


@dataclass(frozen=True, slots=True)
class OtherStartSeen:
    """Another transaction began on this connector, which cannot hold two."""

    now_ms: int
    at_ms: int
    wh: int | None = None


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A deadline of this session has passed."""

    now_ms: int
    timer: Timer


@dataclass(frozen=True, slots=True)
class TransactionStatusSeen:
    """What the station says of the transaction when it is asked (2.0.1 E14): whether messages of it still wait to be
    sent, and whether it goes on. `ongoing` None: it did not say."""

    now_ms: int
    queued: bool
    ongoing: bool | None = None


@dataclass(frozen=True, slots=True)
class FactsComplete:
    """Whoever asked the charger knows that nothing more will come and nothing is missing."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class Settled:
    """The ledger balances for this revision."""

    now_ms: int
    revision: int


@dataclass(frozen=True, slots=True)
class LateFact:
    """Look again at what came after the settlement; `approved` by an operator passes `T_final`."""

    now_ms: int
    approved: bool = False


@dataclass(frozen=True, slots=True)
class OperatorClose:
    """An operator ends what will not end by itself, with the energy proven so far."""

    now_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class OperatorVoid:
    """An operator declares it void; refused once money was captured."""

    now_ms: int
    reason: str
    money_captured: bool = False


Event = (
    Reserved
    | StartRequested
    | StartSeen
    | AuthOk
    | AuthBad
    | MeterSeen
    | RegisterSeen
    | StatusSeen
    | LinkDown
    | LinkUp
    | SitePowerCut
    | BootSeen
    | StopRequested
    | StopAnswered
    | StopSeen
    | OtherStartSeen
    | TimerFired
    | TransactionStatusSeen
    | FactsComplete
    | Settled
    | LateFact
    | OperatorClose
    | OperatorVoid
)


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The session moved. `old` None: it has just begun to exist."""

    old: State | None
    new: State


@dataclass(frozen=True, slots=True)
class BudgetReached:
    """What was ordered is delivered; a stop is asked for with it when the session is live."""

    cause: StopCause
    energy_wh: int


@dataclass(frozen=True, slots=True)
class AskMeterValues:
    """TriggerMessage MeterValues, or its like."""


@dataclass(frozen=True, slots=True)
class AskTransactionStatus:
    """GetTransactionStatus, or TriggerMessage StatusNotification on 1.6."""


@dataclass(frozen=True, slots=True)
class SendStop:
    """RemoteStop with priority; `attempt` counts from 1."""

    attempt: int


@dataclass(frozen=True, slots=True)
class CancelInstructions:
    """Instructions for the old transaction have lost their addressee (5.8-h)."""


@dataclass(frozen=True, slots=True)
class CaseOpened:
    """Something for an operator."""

    type: CaseType
    severity: Severity
    text: str


@dataclass(frozen=True, slots=True)
class NotifyInterrupted:
    """Tell the driver and the buyer that the session is interrupted."""


@dataclass(frozen=True, slots=True)
class NotifyResumed:
    """Tell them that it goes on."""


@dataclass(frozen=True, slots=True)
class Ended:
    """End and energy are established; settle it."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Settle it provisionally, as this revision."""

    revision: int


@dataclass(frozen=True, slots=True)
class Reshaped:
    """A late reading tells when the energy flowed; by a time-of-day tariff that may be another price."""


@dataclass(frozen=True, slots=True)
class Revised:
    """A late fact changed the figures; settle this revision, delta only."""

    revision: int


@dataclass(frozen=True, slots=True)
class Voided:
    """Release everything held."""


Outcome = (
    StateChanged
    | BudgetReached
    | AskMeterValues
    | AskTransactionStatus
    | SendStop
    | CancelInstructions
    | CaseOpened
    | NotifyInterrupted
    | NotifyResumed
    | Ended
    | Abandoned
    | Reshaped
    | Revised
    | Voided
)
