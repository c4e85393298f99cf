"""Problem documents (RFC 9457): a stable `type` for programs, a sentence for the person who reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from csms.domain.refusal import Refusal, Why

MEDIA_TYPE: Final = "application/problem+json"


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    model_config = ConfigDict(extra="forbid")

    where: str = Field(description="`body`, `query`, `path` or `header`")
    path: str = Field(description="JSON pointer to the member, or the name of the parameter")
    detail: str


class ProblemDocument(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(description="stable, e.g. `/problems/unknown-charger`", examples=["/problems/unknown-charger"])
    title: str
    status: int
    detail: str = Field(description="a sentence a person can act on")
    errors: list[Fault] | None = Field(default=None, description="every fault of an invalid request")


@dataclass(frozen=True, slots=True)
class Kind:
    """A stable kind of problem."""

    slug: str
    status: int
    title: str


class Problem(Exception):
    """Ends a request with a problem document. `headers` are added to the answer."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        errors: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{kind.slug}: {detail}")
        self.kind = kind
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})

    def answer(self) -> web.Response:
        """The HTTP answer."""
        document: dict[str, Any] = {
            "type": f"/problems/{self.kind.slug}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = [fault.model_dump() for fault in self.errors]
        return web.Response(
            status=self.kind.status,
            text=json.dumps(document, ensure_ascii=False),
            content_type=MEDIA_TYPE,
            headers={"Cache-Control": "no-store", **self.headers},
        )


INVALID_REQUEST: Final = Kind("invalid-request", 422, "The request is not as this interface describes it")
PAYLOAD_BREAKS_SCHEMA: Final = Kind(
    "payload-breaks-schema", 422, "The payload breaks the schema of the charger's OCPP version"
)
BAD_CURSOR: Final = Kind("bad-cursor", 422, "The cursor is none of ours")
UNAUTHENTICATED: Final = Kind("unauthenticated", 401, "A valid API key is needed")
FORBIDDEN: Final = Kind("forbidden", 403, "The API key does not allow this")
KEY_REUSED: Final = Kind("idempotency-key-reused", 409, "The Idempotency-Key was used for another request")
KEY_IN_USE: Final = Kind("idempotency-key-in-use", 409, "The first request with this Idempotency-Key is still running")
NO_SUCH_PAGE: Final = Kind("not-found", 404, "There is nothing here")
METHOD_NOT_ALLOWED: Final = Kind("method-not-allowed", 405, "This method is not possible here")
TOO_LARGE: Final = Kind("too-large", 413, "The request is too large")
BAD_HTTP: Final = Kind("bad-request", 400, "The request is not valid HTTP")
OUR_FAULT: Final = Kind("internal-error", 500, "The system made a mistake")
STORE_DOWN: Final = Kind("store-unavailable", 503, "The database does not take writes at the moment")
NO_ROOM: Final = Kind("no-room", 507, "The disk does not take the file")

_UNKNOWN: Final = {
    Why.UNKNOWN_STATION: Kind("unknown-charger", 404, "There is no such charger"),
    Why.UNKNOWN_SESSION: Kind("unknown-session", 404, "There is no such session"),
    Why.UNKNOWN_ORDER: Kind("unknown-order", 404, "There is no such order"),
    Why.UNKNOWN_INSTRUCTION: Kind("unknown-instruction", 404, "There is no such instruction"),
    Why.UNKNOWN_CONNECTOR: Kind("unknown-connector", 404, "There is no such connector"),
    Why.UNKNOWN_ITEM: Kind("unknown-item", 404, "There is no such thing"),
    Why.UNKNOWN_OFFER: Kind("unknown-offer", 404, "There is no such offer"),
    Why.UNKNOWN_TARGET: Kind("unknown-target", 404, "There is no such thing"),
}
_NOT_UNDERSTOOD: Final = {
    Why.NOT_SUPPORTED: Kind("not-supported", 422, "The charger does not support this"),
    Why.INVALID_REQUEST: INVALID_REQUEST,
    Why.BAD_CANCELLATION_REASON: Kind("bad-cancellation-reason", 422, "The cancellation reason is not known"),
    Why.INCONSISTENT_UPDATE: Kind("inconsistent-update", 422, "The update contradicts itself"),
    Why.BAD_RATING: Kind("bad-rating", 422, "The rating is not usable"),
    Why.PAYMENT_UNSUPPORTED: Kind("payment-unsupported", 422, "This way of paying is not supported"),
    Why.QUANTITY: Kind("quantity-unavailable", 422, "This quantity cannot be sold"),
}
_IN_THE_WAY: Final = {
    Why.SOCKET_BUSY: "The connector is busy",
    Why.SOCKET_UNUSABLE: "The connector cannot be used",
    Why.STATION_OFFLINE: "The charger is offline",
    Why.SLOT_TAKEN: "The time slot is taken",
    Why.NO_TARIFF: "There is no price",
    Why.QUOTE_EXPIRED: "The quote has expired",
    Why.NOT_PAID: "It is not paid",
    Why.BLOCKED: "It is blocked",
    Why.NOT_CANCELLABLE: "It cannot be cancelled",
    Why.NOT_STARTABLE: "It cannot be started",
    Why.NOT_STOPPABLE: "It cannot be stopped",
    Why.CHARGER_REFUSED: "The charger refused",
    Why.CHARGER_SILENT: "The charger did not answer",
    Why.WRONG_STATE: "It is in a state that does not allow this",
    Why.ALREADY_EXISTS: "It exists already",
}

KINDS: Final[dict[Why, Kind]] = {
    **_UNKNOWN,
    **_NOT_UNDERSTOOD,
    **{why: Kind(why.value, 409, title) for why, title in _IN_THE_WAY.items()},
    Why.TOO_MANY_REQUESTS: Kind("too-many-requests", 429, "Too many requests"),
}
BY_SLUG: Final[dict[str, Kind]] = {
    kind.slug: kind
    for kind in (
        *KINDS.values(),
        PAYLOAD_BREAKS_SCHEMA,
        BAD_CURSOR,
        UNAUTHENTICATED,
        FORBIDDEN,
        KEY_REUSED,
        KEY_IN_USE,
        NO_SUCH_PAGE,
        METHOD_NOT_ALLOWED,
        TOO_LARGE,
        BAD_HTTP,
        OUR_FAULT,
        STORE_DOWN,
        NO_ROOM,
    )
}


def refused(refusal: Refusal) -> Problem:
    """The problem document of a rule that said no."""
    return Problem(KINDS[refusal.why], refusal.detail)


def invalid(where: str, path: str, detail: str) -> Problem:
    """A request with one fault."""
    return Problem(INVALID_REQUEST, detail, errors=[Fault(where=where, path=path, detail=detail)])
