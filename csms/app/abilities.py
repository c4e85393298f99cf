"""What a charger can do beyond its version's minimum, as far as it has shown it."""

from __future__ import annotations

from typing import Final

from csms.ports import ReadTx, Table

# The security white paper's own keys and messages: who has one of them speaks its extension of OCPP 1.6.
_SECURITY_KEYS: Final = ("SecurityProfile", "CertificateSignedMaxChainSize", "AdditionalRootCertificateCheck")
_SECURITY_REPORTS: Final = ("SecurityEventNotification", "LogStatusNotification", "SignedFirmwareStatusNotification")


def has_security_extension(tx: ReadTx, station_id: str) -> bool:
    """Whether an OCPP 1.6 charger has shown that it speaks the security extension (GetLog, SignedUpdateFirmware, …).

    False is no proof: it may never have had a reason to show it.
    """
    named = tx.count(Table.CONFIGURATION, station=station_id, name=_SECURITY_KEYS)
    return named > 0 or tx.count(Table.REPORTS, station=station_id, kind=_SECURITY_REPORTS) > 0
