"""Who may charge, judged at the time of the event (PEERS 2.25), and the one-time token of an order.

A tag blocked at 18:00 does not make a 17:40 start wrong that arrives at 19:00: what is billed follows the
status of then, what the charger is told follows the status of now. Times are UTC ms.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

ID_TAG_MAX: Final = 20  # OCPP 1.6: IdToken is a CiString20
CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class TokenKind(StrEnum):
    """What a token stands for."""

    RFID = "rfid"
    APP = "app"
    AUTOCHARGE = "autocharge"
    FLEET = "fleet"
    ORDER = "order"  # valid once, for one order


class TokenStatus(StrEnum):
    """The authorisation statuses of OCPP that concern us."""

    ACCEPTED = "Accepted"
    BLOCKED = "Blocked"
    EXPIRED = "Expired"
    INVALID = "Invalid"
    CONCURRENT = "ConcurrentTx"


class Why(StrEnum):
    """What made a verdict other than Accepted; for the case and the operator, not for the wire."""

    UNKNOWN = "unknown-token"
    STATUS = "status"
    EXPIRED = "expired"
    OTHER_PLACE = "other-place"
    USED = "already-used"
    CONCURRENT = "concurrent"


@dataclass(frozen=True, slots=True)
class Token:
    """A token and what restricts it; None restricts nothing.

    `status` holds from the beginning unless `history`, (from_ms, status) pairs, says otherwise.
    """

    uid: str
    kind: TokenKind = TokenKind.RFID
    status: TokenStatus = TokenStatus.ACCEPTED
    expires_ms: int | None = None
    group_id: str | None = None
    driver: str | None = None
    fleet: str | None = None
    order_id: str | None = None
    station: str | None = None
    evse: int | None = None
    connector: int | None = None
    history: tuple[tuple[int, TokenStatus], ...] = ()

    def status_at(self, at_ms: int) -> TokenStatus:
        """The status in force at that time."""
        if not self.history:
            return self.status
        ordered = sorted(self.history, key=lambda entry: entry[0])
        before = [status for from_ms, status in ordered if from_ms <= at_ms]
        # What came before the first entry is not on record; the oldest entry is the best that is known.
        return before[-1] if before else ordered[0][1]

    def with_status(self, status: TokenStatus, from_ms: int) -> Token:
        """The token with a new status from then on; the old one stays on record."""
        history = self.history or ((0, self.status),)
        return Token(
            uid=self.uid,
            kind=self.kind,
            status=status,
            expires_ms=self.expires_ms,
            group_id=self.group_id,
            driver=self.driver,
            fleet=self.fleet,
            order_id=self.order_id,
            station=self.station,
            evse=self.evse,
            connector=self.connector,
            history=(*history, (from_ms, status)),
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where the token is shown. `connector` None: an Authorize names none."""

    station: str
    evse: int | None = None
    connector: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`status` decides and bills; `answer` is what the charger is told now."""

    status: TokenStatus
    group_id: str | None = None
    expires_ms: int | None = None
    answer: TokenStatus = TokenStatus.INVALID
    why: Why | None = None

    @property
    def is_good(self) -> bool:
        """Whether it may charge (then)."""
        return self.status is TokenStatus.ACCEPTED


def judge(
    token: Token | None,
    at_ms: int,
    *,
    now_ms: int | None = None,
    place: Place | None = None,
    open_elsewhere: int = 0,
    used_before: bool = False,
    one_at_a_time: bool = False,
) -> Verdict:
    """Whether `token` was good at `at_ms`, the time of the event.

    `open_elsewhere` counts *other* sessions open with it then; `used_before` tells that an order token already
    made a session. Both must leave out the very session being judged, or its repeat would refuse itself.
    `one_at_a_time` switches the ConcurrentTx rule on for ordinary tokens.
    """
    if token is None:
        return Verdict(TokenStatus.INVALID, why=Why.UNKNOWN)
    status, why = _status(
        token,
        at_ms,
        place=place,
        open_elsewhere=open_elsewhere,
        used_before=used_before,
        one_at_a_time=one_at_a_time,
    )
    answer = status
    if now_ms is not None and status is TokenStatus.ACCEPTED:
        answer = _standing(token, now_ms)[0]
    return Verdict(status, token.group_id, token.expires_ms, answer, why)


def _status(
    token: Token,
    at_ms: int,
    *,
    place: Place | None,
    open_elsewhere: int,
    used_before: bool,
    one_at_a_time: bool,
) -> tuple[TokenStatus, Why | None]:
    status, why = _standing(token, at_ms)
    if why is not None:
        return status, why
    if place is not None and not _is_allowed_at(token, place):
        return TokenStatus.INVALID, Why.OTHER_PLACE
    if token.kind is TokenKind.ORDER:
        if open_elsewhere:
            return TokenStatus.CONCURRENT, Why.CONCURRENT  # the same order on two connectors (5.8-n)
        if used_before:
            return TokenStatus.INVALID, Why.USED
    elif one_at_a_time and open_elsewhere:
        return TokenStatus.CONCURRENT, Why.CONCURRENT
    return TokenStatus.ACCEPTED, None


def _standing(token: Token, at_ms: int) -> tuple[TokenStatus, Why | None]:
    """Status and expiry alone."""
    status = token.status_at(at_ms)
    if status is not TokenStatus.ACCEPTED:
        return status, Why.STATUS
    if token.expires_ms is not None and at_ms >= token.expires_ms:
        return TokenStatus.EXPIRED, Why.EXPIRED
    return TokenStatus.ACCEPTED, None


def _is_allowed_at(token: Token, place: Place) -> bool:
    if token.station is not None and token.station != place.station:
        return False
    if token.evse is not None and place.evse is not None and token.evse != place.evse:
        return False
    return token.connector is None or place.connector is None or token.connector == place.connector


def order_token(order_id: str) -> str:
    """`BK` and 18 Crockford base32 characters of BLAKE2b(order id): fits CiString20, hard to guess, and the
    same whenever it is worked out (BECKN 6.5)."""
    digest = hashlib.blake2b(order_id.encode(), digest_size=12).digest()
    number = int.from_bytes(digest, "big") >> 6  # 96 bits -> the first 90
    return "BK" + "".join(CROCKFORD[(number >> shift) & 31] for shift in range(85, -1, -5))
