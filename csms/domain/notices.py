"""How grave is what a charger notifies of itself, on the scale of 2.0.1 from 0 (danger) to 9 (debug). Pure.

A monitor carries its own severity. A hard-wired event without one, and every security event, get theirs here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

DANGER: Final = 0
HARDWARE_FAILURE: Final = 1
SYSTEM_FAILURE: Final = 2
CRITICAL: Final = 3
ERROR: Final = 4
ALERT: Final = 5
WARNING: Final = 6
NOTICE: Final = 7
INFORMATION: Final = 8

WORDS: Final = (
    "danger", "hardware failure", "system failure", "critical", "error", "alert", "warning", "notice", "information",
    "debug",
)  # fmt: skip

_GRAVEST: Final = SYSTEM_FAILURE  # up to here somebody must look, whatever else goes on
_TRUE: Final = frozenset({"true", "1"})

# Variables that say of their component that something is wrong with it (part 2 appendix, standardised variables).
_TROUBLE: Final = {
    "problem": HARDWARE_FAILURE,
    "fault": HARDWARE_FAILURE,
    "tripped": SYSTEM_FAILURE,
    "overload": ERROR,
    "fallback": ALERT,
}

# The closed list of security events (1.6 security white paper 4.6, 2.0.1 part 2 appendix 1), by what it means for
# an operator: somebody at the cabinet, somebody in the middle, or news of the trade.
_SECURITY: Final = {
    "tamperdetectionactivated": HARDWARE_FAILURE,
    "securitylogwascleared": SYSTEM_FAILURE,
    "attemptedreplayattacks": SYSTEM_FAILURE,
    "invalidfirmwaresignature": SYSTEM_FAILURE,
    "invalidfirmwaresigningcertificate": SYSTEM_FAILURE,
    "invalidcentralsystemcertificate": SYSTEM_FAILURE,
    "invalidcsmscertificate": SYSTEM_FAILURE,
    "memoryexhaustion": SYSTEM_FAILURE,
    "invalidchargepointcertificate": CRITICAL,
    "invalidchargingstationcertificate": CRITICAL,
    "centralsystemfailedtoauthenticate": ERROR,
    "csmsfailedtoauthenticate": ERROR,
    "failedtoauthenticateatcentralsystem": ERROR,
    "failedtoauthenticateatcsms": ERROR,
    "maintenanceloginfailed": ERROR,
    "maintenanceloginaccepted": WARNING,
    "reconfigurationofsecurityparameters": WARNING,
    "invalidmessages": WARNING,
    "invalidtlsversion": WARNING,
    "invalidtlsciphersuite": WARNING,
    "firmwareupdated": NOTICE,
    "resetorreboot": NOTICE,
    "settingsystemtime": NOTICE,
    "startupofthedevice": NOTICE,
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One event of a charger. `id` tells it from every other of that charger; `data` is what stood on the wire."""

    id: str
    kind: str  # event, security
    name: str  # Component.Variable, or the type of a security event
    severity: int | None = None  # None: as its monitor says, else as `severity_of_event`
    value: str | None = None
    trigger: str | None = None
    is_cleared: bool = False
    monitor_id: int | None = None
    at_ms: int | None = None
    data: dict[str, Any] = field(default_factory=dict)


def severity_of_event(name: str, value: str | None) -> int:
    """Of an event whose monitor nobody knows, by its variable."""
    variable = name.rpartition(".")[2].partition("[")[0].casefold()
    is_so = (value or "").strip().casefold() in _TRUE
    return _TROUBLE.get(variable, INFORMATION) if is_so else INFORMATION


def severity_of_security(type_: str) -> int:
    """Of a security event. One of a vendor's own is an alert until somebody knows better."""
    return _SECURITY.get(type_.casefold(), ALERT)


def needs_a_person(severity: int) -> bool:
    """Whether a case is opened for it."""
    return severity <= _GRAVEST
