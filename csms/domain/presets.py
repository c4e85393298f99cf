"""The values we would set on a charger, by its trade (OCPP.md 6.1): the built-in templates.

Each row is a setting: its key in 1.6, its variable in 2.0.1, and the value for AC, for DC and for small sites with
little data. None: left as the charger has it. A charger takes what it knows; the other version's names and the keys
its model lacks are wanted in vain, which is no difference.
"""

from __future__ import annotations

from typing import Final

from csms.domain.provisioning import Template

AC: Final = "builtin-ac"
DC: Final = "builtin-dc"
LOW_DATA: Final = "builtin-low-data"

_ENERGY: Final = "Energy.Active.Import.Register"
_AC_MEASURANDS: Final = f"{_ENERGY},Power.Active.Import"
_DC_MEASURANDS: Final = f"{_AC_MEASURANDS},SoC,Current.Import,Voltage"

_Row = tuple[str | None, str | None, str | None, str | None, str | None]

_ROWS: Final[tuple[_Row, ...]] = (
    # 1.6, 2.0.1, AC, DC, low data
    # The ping finds a dead link; the heartbeat is for the clock.
    ("HeartbeatInterval", "OCPPCommCtrlr.HeartbeatInterval", "300", "120", "900"),
    ("WebSocketPingInterval", "OCPPCommCtrlr.WebSocketPingInterval", "45", "30", "120"),
    # A sample more often bounds what a power cut can hide (SESSIONS 5.9).
    ("MeterValueSampleInterval", "SampledDataCtrlr.TxUpdatedInterval", "60", "30", "300"),
    ("MeterValuesSampledData", "SampledDataCtrlr.TxUpdatedMeasurands", _AC_MEASURANDS, _DC_MEASURANDS, _ENERGY),
    # 1.6 repeats every sample since the start inside the Stop, hundreds of them on AC.
    ("StopTxnSampledData", None, "", _ENERGY, ""),
    (None, "SampledDataCtrlr.TxEndedMeasurands", _ENERGY, _ENERGY, _ENERGY),
    (None, "SampledDataCtrlr.TxEndedInterval", "0", "0", "0"),
    ("StopTxnAlignedData", None, "", "", ""),
    ("ClockAlignedDataInterval", "AlignedDataCtrlr.Interval", "900", "900", "0"),
    # 3 attempts 60 s apart are given up after minutes of our errors; 10 at 30 s span 22 minutes.
    ("TransactionMessageAttempts", "OCPPCommCtrlr.MessageAttempts[TransactionEvent]", "10", "10", "10"),
    ("TransactionMessageRetryInterval", "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]", "30", "30", "60"),
    ("MessageTimeout", "OCPPCommCtrlr.MessageTimeout[Default]", "60", "30", "60"),
    # Chargers of one feeder come back together: they must not all knock at the same second.
    (None, "OCPPCommCtrlr.RetryBackOffWaitMinimum", "10", "5", "20"),
    (None, "OCPPCommCtrlr.RetryBackOffRandomRange", "30", "20", "60"),
    (None, "OCPPCommCtrlr.RetryBackOffRepeatTimes", "5", "4", "5"),
    (None, "OCPPCommCtrlr.OfflineThreshold", "60", "60", "300"),
    (None, "OCPPCommCtrlr.QueueAllMessages", "false", "false", "false"),
    ("LocalAuthorizeOffline", "AuthCtrlr.LocalAuthorizeOffline", "true", "true", "true"),
    ("LocalPreAuthorize", "AuthCtrlr.LocalPreAuthorize", "false", "false", "true"),
    ("AuthorizationCacheEnabled", "AuthCacheCtrlr.Enabled", "true", "true", "true"),
    ("LocalAuthListEnabled", "LocalAuthListCtrlr.Enabled", "true", "true", "true"),
    # Unpaid energy otherwise.
    ("AllowOfflineTxForUnknownId", "AuthCtrlr.OfflineTxForUnknownIdEnabled", "false", "false", "false"),
    ("StopTransactionOnInvalidId", "TxCtrlr.StopTxOnInvalidId", "true", "true", "true"),
    ("MaxEnergyOnInvalidId", "TxCtrlr.MaxEnergyOnInvalidId", "500", "0", "200"),
    ("StopTransactionOnEVSideDisconnect", "TxCtrlr.StopTxOnEVSideDisconnect", "true", "true", "true"),
    ("UnlockConnectorOnEVSideDisconnect", "OCPPCommCtrlr.UnlockOnEVSideDisconnect", "true", "true", None),
    ("ConnectionTimeOut", "TxCtrlr.EVConnectionTimeOut", "120", "180", "120"),
    ("MinimumStatusDuration", None, "2", "1", "5"),
    # The order is authorised already when we start it.
    ("AuthorizeRemoteTxRequests", "AuthCtrlr.AuthorizeRemoteStart", "false", "false", "false"),
    (None, "SampledDataCtrlr.SignReadings", "true", "true", None),
    # Private networks often let no NTP through.
    (None, "ClockCtrlr.TimeSource", "Heartbeat,NTP", "Heartbeat,NTP", "Heartbeat"),
)


def _template(name: str, column: int) -> Template:
    values = [(row[0], row[1], row[column]) for row in _ROWS]
    return Template(
        name, {key: value for *keys, value in values if value is not None for key in keys if key is not None}
    )


BUILTIN: Final[dict[str, Template]] = {
    name: _template(name, column) for column, name in enumerate((AC, DC, LOW_DATA), start=2)
}
