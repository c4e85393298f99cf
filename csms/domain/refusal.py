"""The rules say no. Expected, named, told to whoever asked, in their own protocol.

A `Refusal` is not an error of ours and not nonsense from a peer: it is an answer. Edges translate `Why` into a
Beckn error code, an OCPP status or a problem document; nobody looks into the sentence to decide.
"""

from __future__ import annotations

from enum import StrEnum


class Why(StrEnum):
    """Every reason the rules can say no. Grouped by what the asker can do about it."""

    INVALID_REQUEST = "invalid-request"
    UNKNOWN_ITEM = "unknown-item"
    UNKNOWN_OFFER = "unknown-offer"
    UNKNOWN_ORDER = "unknown-order"
    UNKNOWN_STATION = "unknown-station"
    UNKNOWN_CONNECTOR = "unknown-connector"
    UNKNOWN_SESSION = "unknown-session"
    UNKNOWN_INSTRUCTION = "unknown-instruction"
    UNKNOWN_TARGET = "unknown-target"
    SOCKET_BUSY = "socket-busy"
    SOCKET_UNUSABLE = "socket-unusable"
    STATION_OFFLINE = "station-offline"
    SLOT_TAKEN = "slot-taken"
    QUANTITY = "quantity-unavailable"
    NO_TARIFF = "no-tariff"
    QUOTE_EXPIRED = "quote-expired"
    NOT_PAID = "not-paid"
    PAYMENT_UNSUPPORTED = "payment-unsupported"
    BLOCKED = "blocked"
    TOO_MANY_REQUESTS = "too-many-requests"
    NOT_CANCELLABLE = "not-cancellable"
    NOT_STARTABLE = "not-startable"
    NOT_STOPPABLE = "not-stoppable"
    BAD_CANCELLATION_REASON = "bad-cancellation-reason"
    INCONSISTENT_UPDATE = "inconsistent-update"
    BAD_RATING = "bad-rating"
    NOT_SUPPORTED = "not-supported"
    CHARGER_REFUSED = "charger-refused"
    CHARGER_SILENT = "charger-silent"
    WRONG_STATE = "wrong-state"
    ALREADY_EXISTS = "already-exists"


class Refusal(Exception):
    """`why` for programs, `detail` one sentence a person can act on."""

    def __init__(self, why: Why, detail: str) -> None:
        super().__init__(f"{why}: {detail}")
        self.why = why
        self.detail = detail
