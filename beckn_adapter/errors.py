"""Why we say no, in Beckn's codes (BECKN 1.7). One table; the sentence comes from whoever refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from csms.domain.refusal import Refusal, Why

SIGNATURE_MISSING: Final = "AUT_SIGNATURE_MISSING"
SIGNATURE_INVALID: Final = "AUT_SIGNATURE_INVALID"
UNAUTHORIZED: Final = "Unauthorized"  # what generation 1 and its adapters say
INTERNAL: Final = "NET_INTERNAL_ERROR"
INVALID_REQUEST: Final = "30000"

CODES: Final[Mapping[Why, str]] = {
    Why.INVALID_REQUEST: INVALID_REQUEST,
    Why.ALREADY_EXISTS: INVALID_REQUEST,
    Why.UNKNOWN_STATION: "30002",
    Why.UNKNOWN_ITEM: "30004",
    Why.UNKNOWN_CONNECTOR: "30004",
    Why.UNKNOWN_OFFER: "30006",
    Why.SOCKET_BUSY: "30008",
    Why.SOCKET_UNUSABLE: "30008",
    Why.STATION_OFFLINE: "30008",
    Why.SLOT_TAKEN: "30008",
    # A session or an instruction is never addressed in Beckn except through its order.
    Why.UNKNOWN_ORDER: "30010",
    Why.UNKNOWN_SESSION: "30010",
    Why.UNKNOWN_INSTRUCTION: "30010",
    Why.BAD_CANCELLATION_REASON: "30011",
    Why.UNKNOWN_TARGET: "30012",
    Why.INCONSISTENT_UPDATE: "30013",
    Why.BAD_RATING: "30015",
    Why.CHARGER_REFUSED: "40000",
    Why.CHARGER_SILENT: "40000",
    Why.NOT_SUPPORTED: "40001",
    Why.QUANTITY: "40002",
    Why.NO_TARIFF: "40003",
    Why.QUOTE_EXPIRED: "40003",
    Why.NOT_PAID: "40004",
    Why.PAYMENT_UNSUPPORTED: "40004",
    Why.BLOCKED: "50000",
    Why.TOO_MANY_REQUESTS: "50000",
    Why.NOT_CANCELLABLE: "50001",
    Why.NOT_STARTABLE: "50002",
    Why.NOT_STOPPABLE: "50002",
    Why.WRONG_STATE: "50002",
}

# Where the same no has a code of its own for the action that asked.
BY_ACTION: Final[Mapping[tuple[str, Why], str]] = {
    ("cancel", Why.WRONG_STATE): "50001",
    ("rating", Why.UNKNOWN_ORDER): "30014",
    ("rating", Why.UNKNOWN_ITEM): "30014",
    ("rating", Why.UNKNOWN_SESSION): "30014",
    ("rating", Why.UNKNOWN_TARGET): "30014",
    ("rating", Why.NOT_SUPPORTED): "50003",
    ("support", Why.NOT_SUPPORTED): "50004",
    ("track", Why.NOT_SUPPORTED): "40005",
}


@dataclass(frozen=True, slots=True)
class BecknError:
    """An error object. The code is always a string, whatever the guides print."""

    code: str
    message: str
    details: Mapping[str, object] | None = None

    def v2(self) -> dict[str, object]:
        """`{code, message, details?}`, the only members the V2 schema knows."""
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.details is not None:
            error["details"] = dict(self.details)
        return error

    def v1(self, paths: str = "") -> dict[str, object]:
        """`{code, paths, message}` of core 1.1.1."""
        return {"code": self.code, "paths": paths, "message": self.message}


def error_of(refusal: Refusal, action: str) -> BecknError:
    """The error that tells the asker of `action` (`select`, `cancel` …) about `refusal`."""
    code = BY_ACTION.get((action, refusal.why), CODES[refusal.why])
    return BecknError(code, refusal.detail)
