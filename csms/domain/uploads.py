"""One file that a charger was asked for: diagnostics or a log (1.6 5.9 and white paper 4.6; 2.0.1 N01).

    ASKED -> ACCEPTED -> UPLOADING -> RECEIVED -> DROPPED
       |         |           |
       +---------+-----------+--> NOTHING | REFUSED | CANCELLED | FAILED | EXPIRED

What counts is the file: it makes RECEIVED whatever the notices say, also after a notice of failure, because chargers
try again and say so late, or name no file and send one. For a file that goes elsewhere (ELSEWHERE) the charger's word
is all there is. A pair that is not in the table is a late or repeated notice and changes nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """How far it is."""

    ASKED = "asked"
    ACCEPTED = "accepted"
    UPLOADING = "uploading"
    RECEIVED = "received"
    ELSEWHERE = "elsewhere"  # the charger says it has put it where the operator wanted it
    NOTHING = "nothing"  # there is nothing to upload
    REFUSED = "refused"
    CANCELLED = "cancelled"  # a later request took its place
    FAILED = "failed"
    EXPIRED = "expired"
    DROPPED = "dropped"  # received, and deleted when its days were over


class Step(StrEnum):
    """What happened to it."""

    ACCEPTED = "accepted"
    NOTHING = "nothing there"
    REFUSED = "refused"
    UPLOADING = "uploading"
    UPLOADED = "told uploaded, place elsewhere"
    MISSING = "told uploaded, no file"
    FAILED = "told failed"
    CANCELLED = "another request"
    FILE = "file"
    EXPIRE = "too late"
    DROP = "days over"


_S = State
OPEN: Final = frozenset({_S.ASKED, _S.ACCEPTED, _S.UPLOADING})
TAKES_A_FILE: Final = OPEN | {_S.NOTHING, _S.FAILED}
"""States in which a file that comes is kept. A repeat of one that was received is another matter."""

STEPS: Final[dict[tuple[State, Step], State]] = {
    (_S.ASKED, Step.ACCEPTED): _S.ACCEPTED,
    **{(state, Step.NOTHING): _S.NOTHING for state in (_S.ASKED, _S.ACCEPTED)},
    **{(state, Step.REFUSED): _S.REFUSED for state in (_S.ASKED, _S.ACCEPTED)},
    **{(state, Step.UPLOADING): _S.UPLOADING for state in (_S.ASKED, _S.ACCEPTED, _S.NOTHING, _S.FAILED)},
    **{(state, Step.UPLOADED): _S.ELSEWHERE for state in (*sorted(OPEN), _S.NOTHING, _S.FAILED)},
    **{(state, Step.MISSING): _S.FAILED for state in sorted(OPEN)},
    **{(state, Step.FAILED): _S.FAILED for state in sorted(OPEN)},
    **{(state, Step.CANCELLED): _S.CANCELLED for state in sorted(OPEN)},
    **{(state, Step.FILE): _S.RECEIVED for state in sorted(TAKES_A_FILE)},
    **{(state, Step.EXPIRE): _S.EXPIRED for state in sorted(OPEN)},
    (_S.RECEIVED, Step.DROP): _S.DROPPED,
}

_NOTICES: Final = {
    # DiagnosticsStatusNotification and LogStatusNotification; Idle says nothing about any request.
    "Uploading": Step.UPLOADING,
    "UploadFailed": Step.FAILED,
    "UploadFailure": Step.FAILED,
    "BadMessage": Step.FAILED,
    "NotSupportedOperation": Step.FAILED,
    "PermissionDenied": Step.FAILED,
    "AcceptedCanceled": Step.CANCELLED,
}


def after(state: State, step: Step) -> State:
    """The state after `step`; the same when the table does not list it."""
    return STEPS.get((state, step), state)


def notice(status: str, *, is_elsewhere: bool) -> Step | None:
    """What a charger's status means; None for Idle and for words that are none of OCPP's.

    `is_elsewhere`: the file does not come to us, so that nobody but the charger knows.
    """
    if status == "Uploaded":
        return Step.UPLOADED if is_elsewhere else Step.MISSING
    return _NOTICES.get(status)
