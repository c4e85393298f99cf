"""What OCPP 2.0.1 adds to the repair of frames, and the answers that quarantined money frames still get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from csms.edges.ocppj.codes import Version
from csms.edges.ocpprepair import Payload, Repaired, Rulebook
from csms.edges.ocpprepair import repair as _repair
from csms.edges.ocpptime import NO_CLOCK

# A CALLERROR for one of these starts the station's retry counter, after which it throws the frame away.
MONEY_ACTIONS: Final = frozenset({"TransactionEvent", "MeterValues"})

_NO_TIME: Final = (NO_CLOCK, "time_absent")


# `problems` is the seam's: every repairer is told what was refused, this one looks for itself.
def repair(action: str, payload: object, problems: Sequence[object] = ()) -> Repaired | None:  # noqa: ARG001 - see above
    """The mended payload, or `None` when it cannot be understood and belongs in quarantine."""
    return _repair(_BOOK, action, payload)


def safe_answer(action: str) -> Payload:
    """The valid answer to a money frame in quarantine: neither has a required member."""
    if action not in MONEY_ACTIONS:
        raise ValueError(f"{action} carries no money")
    return {}


def _prepare(action: str, payload: Payload, rules: list[str]) -> None:
    """Nothing of its own."""


_BOOK: Final = Rulebook(
    version=Version.V201,
    stand_ins={
        "TransactionEvent.timestamp": _NO_TIME,
        "TransactionEvent.seqNo": (-1, "sequence_absent"),
        "TransactionEvent.triggerReason": ("AbnormalCondition", "word_absent"),
        "TransactionEvent.meterValue.timestamp": _NO_TIME,
        "TransactionEvent.idToken.type": ("Central", "word_absent"),
        "Authorize.idToken.type": ("Central", "word_absent"),
        "MeterValues.meterValue.timestamp": _NO_TIME,
        "StatusNotification.timestamp": _NO_TIME,
        "BootNotification.reason": ("Unknown", "word_absent"),
    },
    other_names={
        "meterValues": "meterValue",
        "sampledValues": "sampledValue",
        "txId": "transactionId",
    },
    other_words={
        # 1.6 tells five kinds of occupied apart, 2.0.1 says them in the transaction.
        "connectorStatus": dict.fromkeys(
            ("Preparing", "Charging", "SuspendedEV", "SuspendedEVSE", "Finishing"), "Occupied"
        ),
        "stoppedReason": {"HardReset": "ImmediateReset", "SoftReset": "Reboot", "UnlockCommand": "Other"},
        "measurand": {"SOC": "SoC", "StateOfCharge": "SoC"},
    },
    unknown_words={
        "stoppedReason": "Other",
        "context": "Other",
        "triggerReason": "AbnormalCondition",
        "reason": "Unknown",
        "type": "Central",
    },
    identities=frozenset(
        {
            "idToken",
            "additionalIdToken",
            "transactionId",
            "signedMeterData",
            "publicKey",
            "signingMethod",
            "encodingMethod",
        }
    ),
    prepare=_prepare,
)
