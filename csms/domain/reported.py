"""What a charger told us, in the domain's words, whatever it speaks.

OCPP 1.6, OCPP 2.0.1, MQTT and BLE edges turn their wire into these and nothing else goes inward. All are past
tense and frozen; a field the charger did not give is `None`, never zero. `at_ms` is the device's own time,
UTC ms (`None` when it gave none or nonsense); when a frame came is known by the caller as `received_ms`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SocketStatus(StrEnum):
    """The union of OCPP 1.6 ChargePointStatus and 2.0.1 ConnectorStatus, in 1.6 spelling."""

    AVAILABLE = "Available"
    PREPARING = "Preparing"
    CHARGING = "Charging"
    SUSPENDED_EV = "SuspendedEV"
    SUSPENDED_EVSE = "SuspendedEVSE"
    FINISHING = "Finishing"
    RESERVED = "Reserved"
    UNAVAILABLE = "Unavailable"
    FAULTED = "Faulted"
    OCCUPIED = "Occupied"


class Context(StrEnum):
    """Why a reading was taken. Only what changes its meaning for money is told apart."""

    BEGIN = "begin"
    END = "end"
    SAMPLE = "sample"
    CLOCK = "clock"
    TRIGGER = "trigger"
    INTERRUPTION = "interruption"
    OTHER = "other"


@dataclass(slots=True)  # a value, though not frozen: one is made per message, and freezing costs five times the making
class Reading:
    """One instant of one socket's meter. Absent is not zero."""

    at_ms: int | None = None
    context: Context = Context.SAMPLE
    register_wh: int | None = None  # Energy.Active.Import.Register, total, normalised to whole Wh
    interval_wh: int | None = None  # Energy.Active.Import.Interval
    power_w: int | None = None  # Power.Active.Import, total over the phases
    current_ma: int | None = None  # Current.Import, the largest phase
    voltage_mv: int | None = None  # Voltage, the mean of the phase-neutral values
    soc_percent: int | None = None
    signed: bool = False  # the register came in a signed value


@dataclass(frozen=True, slots=True)
class Booted:
    """BootNotification. `reason` is 2.0.1's BootReason as sent; 1.6 gives none."""

    vendor: str
    model: str
    serial: str | None = None
    firmware: str | None = None
    iccid: str | None = None
    imsi: str | None = None
    meter_serial: str | None = None
    meter_type: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class StatusReported:
    """StatusNotification. `connector` 0 (with `evse` 0) is the station itself."""

    evse: int
    connector: int
    status: SocketStatus
    at_ms: int | None = None
    error_code: str | None = None
    info: str | None = None
    vendor_id: str | None = None
    vendor_error_code: str | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """StartTransaction, or TransactionEvent Started.

    `tx_id` is the station's own transaction id (2.0.1, MQTT); 1.6 has none until we mint it. `key` is the
    business key of SESSIONS 5.5 without the station: equal keys are the same start.
    """

    key: str
    evse: int
    connector: int
    token: str | None
    at_ms: int | None
    register_wh: int | None
    tx_id: str | None = None
    remote_start_id: int | None = None
    reservation_id: int | None = None
    offline: bool = False
    seq_no: int | None = None
    charging_state: str | None = None
    token_kind: str | None = None
    readings: tuple[Reading, ...] = ()


@dataclass(slots=True)  # not frozen, as Reading
class Metered:
    """MeterValues, or TransactionEvent Updated.

    `tx_id` None: no transaction named (clock-aligned idle values, or 1.6 without transactionId);
    "0"/"-1": the charger does not know its id and the session is found by socket and time (SESSIONS 5.5).
    `key` only where the answer must be remembered (TransactionEvent); a reading told twice is one by what it says.
    """

    evse: int
    connector: int
    readings: tuple[Reading, ...]
    tx_id: str | None = None
    token: str | None = None
    charging_state: str | None = None
    offline: bool = False
    seq_no: int | None = None
    key: str = ""
    token_kind: str | None = None
    remote_start_id: int | None = None  # ours, where the transaction had begun before it was asked for (2.0.1 F01)


@dataclass(frozen=True, slots=True)
class Stopped:
    """StopTransaction, or TransactionEvent Ended. 1.6 names no connector: `evse` and `connector` are None."""

    key: str
    tx_id: str
    at_ms: int | None
    register_wh: int | None
    reason: str | None = None
    token: str | None = None
    evse: int | None = None
    connector: int | None = None
    offline: bool = False
    seq_no: int | None = None
    signed: bool = False
    readings: tuple[Reading, ...] = ()
    token_kind: str | None = None
