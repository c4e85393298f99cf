"""What may pass between us and a charger that is not accepted (1.6 4.2; 2.0.1 B02, B03). Pure.

Pending   we may ask anything but a start or a stop; it may say only what we asked it to say (B02.FR.02, FR.09)
Rejected  nothing is sent, and all it says is refused (B03.FR.07)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

ACCEPTED: Final = "Accepted"
PENDING: Final = "Pending"
REJECTED: Final = "Rejected"

SOLICITED_MS: Final = 600_000
"""How long a message that we asked for is expected: an inventory over a slow modem takes minutes."""

_STARTS_AND_STOPS: Final = frozenset(
    {"RemoteStartTransaction", "RemoteStopTransaction", "RequestStartTransaction", "RequestStopTransaction"}
)
_FOLLOWS: Final = {
    "GetBaseReport": "NotifyReport",
    "GetReport": "NotifyReport",
    "GetMonitoringReport": "NotifyMonitoringReport",
    "GetChargingProfiles": "ReportChargingProfiles",
    "GetDisplayMessages": "NotifyDisplayMessages",
    "CustomerInformation": "NotifyCustomerInformation",
    "GetLog": "LogStatusNotification",
    "GetDiagnostics": "DiagnosticsStatusNotification",
    "UpdateFirmware": "FirmwareStatusNotification",
    "SignedUpdateFirmware": "SignedFirmwareStatusNotification",
    "PublishFirmware": "PublishFirmwareStatusNotification",
}
_TRIGGERS: Final = frozenset({"TriggerMessage", "ExtendedTriggerMessage"})
_TRIGGERED: Final = {  # the names of things that are no messages of that name
    "SignChargePointCertificate": "SignCertificate",
    "SignChargingStationCertificate": "SignCertificate",
    "SignV2GCertificate": "SignCertificate",
    "SignCombinedCertificate": "SignCertificate",
}


def believed(registration: str, told: str | None) -> str:
    """What the charger believes to be: a decision counts for it from the answer to its next boot.

    `told` is what its last boot was answered, None when that is not known any more.
    """
    return told if registration == ACCEPTED and told is not None else registration


def held_back(registration: str, action: str) -> str | None:
    """Why `action` must not be sent to a charger that believes to be so; None when it may."""
    if registration == REJECTED:
        return "The charger is Rejected: nothing is sent to it before its boot is answered otherwise."
    if registration != ACCEPTED and action in _STARTS_AND_STOPS:
        return f"The charger is {registration}: it is not asked to start or stop before it is Accepted."
    return None


def solicited_by(action: str, payload: Mapping[str, Any]) -> str | None:
    """The message that our `action` asks a charger to send."""
    if action in _TRIGGERS:
        message = str(payload.get("requestedMessage"))
        return _TRIGGERED.get(message, message)
    return _FOLLOWS.get(action)
