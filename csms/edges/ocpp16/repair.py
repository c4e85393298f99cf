"""What OCPP 1.6 adds to the repair of frames, and the answers that quarantined money frames still get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from csms.edges.ocpp16 import wire
from csms.edges.ocppj.codes import Version
from csms.edges.ocpprepair import Payload, Repaired, Rulebook, as_integer, squash
from csms.edges.ocpprepair import repair as _repair
from csms.edges.ocpptime import NO_CLOCK

# A CALLERROR for one of these starts the charge point's retry counter, after which it throws the frame away.
MONEY_ACTIONS: Final = frozenset({"StartTransaction", "StopTransaction", "MeterValues"})

_NO_REGISTER: Final = (-1, "register_absent")
_NO_TIME: Final = (NO_CLOCK, "time_absent")
_NO_TRANSACTION: Final = (-1, "transaction_absent")

_ERROR_CODES: Final = frozenset(
    squash(code)
    for code in (
        "ConnectorLockFailure",
        "EVCommunicationError",
        "GroundFailure",
        "HighTemperature",
        "InternalError",
        "LocalListConflict",
        "NoError",
        "OtherError",
        "OverCurrentFailure",
        "PowerMeterFailure",
        "PowerSwitchFailure",
        "ReaderFailure",
        "ResetFailure",
        "UnderVoltage",
        "OverVoltage",
        "WeakSignal",
    )
)
_VENDOR_CODE_MAX: Final = 50


# `problems` is the seam's: every repairer is told what was refused, this one looks for itself.
def repair(action: str, payload: object, problems: Sequence[object] = ()) -> Repaired | None:  # noqa: ARG001 - see above
    """The mended payload, or `None` when it cannot be understood and belongs in quarantine."""
    return _repair(_BOOK, action, payload)


def safe_answer(action: str, *, transaction_id: int | None = None) -> Payload:
    """The valid answer to a money frame in quarantine.

    A StartTransaction needs a fresh id (the stop will name it) and is answered Invalid: nobody can say who pays.
    """
    match action:
        case "StartTransaction":
            if transaction_id is None:
                raise ValueError("a StartTransaction is always answered with a transaction id")
            return wire.start_answer(transaction_id, "Invalid")
        case "StopTransaction" | "MeterValues":
            return {}
        case _:
            raise ValueError(f"{action} carries no money")


def _prepare(action: str, payload: Payload, rules: list[str]) -> None:
    if action == "StatusNotification":
        _keep_error_text(payload)
    elif action == "MeterValues":
        _stand_in_connector(payload, rules)


def _stand_in_connector(payload: Payload, rules: list[str]) -> None:
    """The transaction says where the energy went; connector 0 then only stands where a number must."""
    given = [value for name, value in payload.items() if squash(name) == "connectorid"]
    if any(as_integer(value) is not None for value in given):
        return
    number = as_integer(payload.get("transactionId"))
    if number is not None and number > 0:
        payload["connectorId"] = 0
        rules.append("connector_absent")


def _keep_error_text(payload: Payload) -> None:
    """An error code of the vendor's own moves to where vendors' codes belong, if nothing stands there."""
    code: Any = payload.get("errorCode")
    if not isinstance(code, str) or squash(code) in _ERROR_CODES or payload.get("vendorErrorCode"):
        return
    if text := code.strip():
        payload["vendorErrorCode"] = text[:_VENDOR_CODE_MAX]


_BOOK: Final = Rulebook(
    version=Version.V16,
    stand_ins={
        "StartTransaction.idTag": ("", "token_absent"),
        "StartTransaction.meterStart": _NO_REGISTER,
        "StartTransaction.timestamp": _NO_TIME,
        "StopTransaction.meterStop": _NO_REGISTER,
        "StopTransaction.timestamp": _NO_TIME,
        "StopTransaction.transactionId": _NO_TRANSACTION,
        "StopTransaction.transactionData.timestamp": _NO_TIME,
        "MeterValues.transactionId": _NO_TRANSACTION,
        "MeterValues.meterValue.timestamp": _NO_TIME,
        "StatusNotification.errorCode": ("OtherError", "word_absent"),
    },
    other_names={
        "values": "meterValue",  # OCPP 1.5
        "meterValues": "meterValue",
        "sampledValues": "sampledValue",
        "meterValue": "transactionData",
    },
    other_words={
        "reason": {
            "ImmediateReset": "HardReset",
            "StoppedByEV": "EVDisconnected",
            "EVDisconnect": "EVDisconnected",
            "MasterPass": "Local",
        },
        "measurand": {"SOC": "SoC", "StateOfCharge": "SoC"},
        "unit": {"%": "Percent", "Volt": "V", "Ampere": "A", "Watt": "W"},
    },
    unknown_words={"reason": "Other", "context": "Other", "errorCode": "OtherError"},
    identities=frozenset({"idTag"}),
    prepare=_prepare,
)
