"""Why a session ended, in one vocabulary for all wires (BECKN 6.4). The raw reason is kept beside it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class EndClass(StrEnum):
    """What the cause means for the buyer."""

    NORMAL = "normal"  # completed, normal bill
    INTERRUPTED = "interrupted"  # undercharge path: interrupted, then completed with a refund
    FAULT = "fault"  # completed with a refund, socket out of sale, a ticket


class EndCause(StrEnum):
    """The normalised cause. The last five are ours: no charger says them."""

    LOCAL = "Local"
    REMOTE = "Remote"
    EV_DISCONNECTED = "EVDisconnected"
    DEAUTHORIZED = "DeAuthorized"
    STOPPED_BY_EV = "StoppedByEV"
    SOC_LIMIT = "SOCLimitReached"
    ENERGY_LIMIT = "EnergyLimitReached"
    TIME_LIMIT = "TimeLimitReached"
    UNLOCK = "UnlockCommand"
    MASTER_PASS = "MasterPass"  # noqa: S105  # an OCPP stop reason, not a secret
    TIMEOUT = "Timeout"
    OUT_OF_CREDIT = "LocalOutOfCredit"
    POWER_LOSS = "PowerLoss"
    POWER_QUALITY = "PowerQuality"
    RESTART = "Reboot"
    EMERGENCY_STOP = "EmergencyStop"
    GROUND_FAULT = "GroundFault"
    OVERCURRENT = "OvercurrentFault"
    OTHER = "Other"
    SUPERSEDED = "Superseded"  # another start on the same connector
    SWAPPED = "Swapped"  # the unit was replaced
    ABANDONED = "Abandoned"  # dark until the deadline
    OPERATOR = "Operator"
    UNKNOWN = "Unknown"

    @property
    def end_class(self) -> EndClass:
        """How the buyer is told, and which settlement path applies."""
        if self in _INTERRUPTING:
            return EndClass.INTERRUPTED
        return EndClass.FAULT if self in _FAULTS else EndClass.NORMAL


_INTERRUPTING: Final = frozenset(
    {
        EndCause.POWER_LOSS,
        EndCause.POWER_QUALITY,
        EndCause.RESTART,
        EndCause.SWAPPED,
        EndCause.ABANDONED,
        EndCause.UNKNOWN,
    }
)
_FAULTS: Final = frozenset({EndCause.EMERGENCY_STOP, EndCause.GROUND_FAULT, EndCause.OVERCURRENT})
_BY_NAME: Final = {cause.value.lower(): cause for cause in EndCause if cause is not EndCause.UNKNOWN} | {
    "hardreset": EndCause.RESTART,
    "softreset": EndCause.RESTART,
    "immediatereset": EndCause.RESTART,
}
# A charger that lost power and forgot why says nothing or one of these; evidence of the cut outweighs them.
WEAK: Final = frozenset({EndCause.OTHER, EndCause.RESTART})


def normalise_end_cause(reason: str | None) -> EndCause:
    """OCPP 1.6 and 2.0.1 stop reasons; a missing one means Local (1.6 section 4.10), an unknown one Other."""
    if reason is None or not reason.strip():
        return EndCause.LOCAL
    return _BY_NAME.get(reason.strip().lower(), EndCause.OTHER)
