"""Configuration keys of OCPP 1.6 on the wire <-> items (5.2, 5.8). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from csms.app.masks import is_secret
from csms.domain.provisioning import READ_ONLY, READ_WRITE, Item
from firmware_profiles.quirks import MAX_KEYS_PER_GET, number_of

Payload = dict[str, Any]

# Chapter 9 of the specification and the security white paper, AuthorizationKey left out: it cannot be read.
KNOWN_KEYS: Final = (
    "AllowOfflineTxForUnknownId", "AuthorizationCacheEnabled", "AuthorizeRemoteTxRequests", "BlinkRepeat",
    "ClockAlignedDataInterval", "ConnectionTimeOut", "ConnectorPhaseRotation", "ConnectorPhaseRotationMaxLength",
    "GetConfigurationMaxKeys", "HeartbeatInterval", "LightIntensity", "LocalAuthorizeOffline", "LocalPreAuthorize",
    "MaxEnergyOnInvalidId", "MeterValuesAlignedData", "MeterValuesAlignedDataMaxLength", "MeterValuesSampledData",
    "MeterValuesSampledDataMaxLength", "MeterValueSampleInterval", "MinimumStatusDuration", "NumberOfConnectors",
    "ResetRetries", "StopTransactionOnEVSideDisconnect", "StopTransactionOnInvalidId", "StopTxnAlignedData",
    "StopTxnAlignedDataMaxLength", "StopTxnSampledData", "StopTxnSampledDataMaxLength", "SupportedFeatureProfiles",
    "SupportedFeatureProfilesMaxLength", "TransactionMessageAttempts", "TransactionMessageRetryInterval",
    "UnlockConnectorOnEVSideDisconnect", "WebSocketPingInterval", "SupportedFileTransferProtocols",
    "LocalAuthListEnabled", "LocalAuthListMaxLength", "SendLocalListMaxLength", "ReserveConnectorZeroSupported",
    "ChargeProfileMaxStackLevel", "ChargingScheduleAllowedChargingRateUnit", "ChargingScheduleMaxPeriods",
    "ConnectorSwitch3to1PhaseSupported", "MaxChargingProfilesInstalled", "AdditionalRootCertificateCheck",
    "CertificateSignedMaxChainSize", "CertificateStoreMaxLength", "CpoName", "SecurityProfile",
)  # fmt: skip

_MAX_KEYS: Final = "GetConfigurationMaxKeys"
_SAFE_CHUNK: Final = 10  # for a charger that does not say what it can take


def held(response: Mapping[str, Any]) -> tuple[list[Item], list[str]]:
    """Of a GetConfiguration answer: what it holds, and the keys it does not know. Secrets stay on the wire."""
    items = [
        Item(
            entry["key"],
            None if is_secret(entry["key"]) else entry.get("value"),
            READ_ONLY if entry.get("readonly") else READ_WRITE,
        )
        for entry in response.get("configurationKey") or ()
    ]
    return items, list(response.get("unknownKey") or ())


def max_keys(quirks: frozenset[str], items: Iterable[Item] = ()) -> int | None:
    """How many keys one GetConfiguration may name: what the model is known for, else what it says."""
    if (known := number_of(quirks, MAX_KEYS_PER_GET)) is not None:
        return known
    for item in items:
        if item.name == _MAX_KEYS and item.value and item.value.isdecimal() and int(item.value) > 0:
            return int(item.value)
    return None


def in_messages(keys: Sequence[str], most: int | None) -> list[Payload]:
    """GetConfiguration for these keys, as many messages as the charger needs."""
    size = most or _SAFE_CHUNK
    return [{"key": list(keys[start : start + size])} for start in range(0, len(keys), size)]


def left_out(items: Sequence[Item]) -> list[str]:
    """Known keys that an answer for all keys may have cut off: it holds exactly as many as one message may name."""
    most = max_keys(frozenset(), items)
    if most is None or len(items) != most:
        return []
    told = {item.name.casefold() for item in items}
    return [key for key in KNOWN_KEYS if key.casefold() not in told]
