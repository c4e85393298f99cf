"""Certificates of chargers: what becomes of them, whom they may name, and which must not be thrown away.

requested ─▶ signed ─▶ accepted ─▶ in-use ─▶ gone       issued: our authority signed what a charger asked for
    └──────────┴─▶ rejected       any ─▶ revoked
held ─▶ gone                                            installed: a charger says that it holds it
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

DAY_MS: Final = 86_400_000


class State(StrEnum):
    """Where a certificate stands."""

    REQUESTED = "requested"  # the charger's request is stored
    SIGNED = "signed"  # the authority has signed; the charger has not taken it yet
    ACCEPTED = "accepted"
    IN_USE = "in-use"  # the charger has come with it
    REJECTED = "rejected"
    REVOKED = "revoked"
    GONE = "gone"  # replaced by a newer one, or no longer at the charger
    HELD = "held"


class Use(StrEnum):
    """What a certificate is for, in the words of OCPP 2.0.1."""

    STATION = "ChargingStationCertificate"
    V2G = "V2GCertificate"
    COMBINED = "CombinedCertificate"  # one for both; OCPP says so by naming no use
    CSMS_ROOT = "CSMSRootCertificate"
    MANUFACTURER_ROOT = "ManufacturerRootCertificate"
    V2G_ROOT = "V2GRootCertificate"
    MO_ROOT = "MORootCertificate"
    V2G_CHAIN = "V2GCertificateChain"


ROOTS: Final = (Use.CSMS_ROOT, Use.MANUFACTURER_ROOT, Use.V2G_ROOT, Use.MO_ROOT)
FOR_US: Final = (Use.STATION, Use.COMBINED)  # those with which a charger comes to us
DELIVERABLE: Final = (State.REQUESTED, State.SIGNED)
GOOD: Final = (State.ACCEPTED, State.IN_USE)


def names_of(station_id: str, serial: str | None) -> frozenset[str]:
    """What the common name of a charger's certificate may be, folded: its serial number (A00.FR.407), or its identity
    as long as no BootNotification has told a serial number."""
    return frozenset({(serial or station_id).casefold()})


def peer_problem(
    *, names: frozenset[str], common_name: str | None, organization: str | None, organizations: Iterable[str]
) -> str | None:
    """Why a certificate does not open this charger's door, though its chain is good; None when it does."""
    if common_name is None or common_name.casefold() not in names:
        return f"The certificate names {common_name or 'nobody'}, which is not this charger's serial number."
    if organization is not None and organization not in organizations:
        return f"The certificate does not say that the charger belongs to {organization}."
    return None


def is_due(state: str, expires_ms: int | None, now_ms: int, before_days: int) -> bool:
    """Whether it is time to ask the charger for a new request."""
    return state in GOOD and expires_ms is not None and expires_ms - now_ms <= before_days * DAY_MS
