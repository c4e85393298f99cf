"""Who may charge, judged at the time of the event (PEERS 2.25), and the one-time token of an order.

A tag blocked at 18:00 does not make a 17:40 start wrong that arrives at 19:00: what is billed follows the
status of then, what the charger is told follows the status of now. Times are UTC ms.

    unknown? -> its status then -> master pass? -> debt? -> the order's one session -> this place? -> one at a time?
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

ID_TAG_MAX: Final = 20  # OCPP 1.6: IdToken is a CiString20
CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
KEY_CODE: Final = "KeyCode"  # 2.0.1 IdTokenEnum: a secret that the driver types, never shown again (C01)
KEPT_STANDINGS: Final = 50  # how many earlier states of a token are kept
_PHONE: Final = re.compile(r"^\+?[\d\s().-]{7,}$")
_PHONE_DIGITS: Final = 10  # an Indian number without its country code
_SEPARATORS: Final = re.compile(r"[\s:.\-_]")
_VEHICLE_PREFIX: Final = "VID:"


class TokenKind(StrEnum):
    """What a token stands for."""

    REGULAR = "regular"
    FLEET = "fleet"
    APP = "app"
    AUTOCHARGE = "autocharge"
    ORDER = "order"  # valid once, for one order


class TokenStatus(StrEnum):
    """The authorisation statuses of OCPP that concern us. DELETED never leaves the house."""

    ACCEPTED = "Accepted"
    BLOCKED = "Blocked"
    EXPIRED = "Expired"
    INVALID = "Invalid"
    CONCURRENT = "ConcurrentTx"
    NOT_HERE = "NotAtThisLocation"
    NOT_THIS_TYPE = "NotAllowedTypeEVSE"
    DELETED = "Deleted"


class Why(StrEnum):
    """What made a verdict other than Accepted; for the case and the operator, not for the wire."""

    UNKNOWN = "unknown-token"
    STATUS = "status"
    EXPIRED = "expired"
    MASTER_PASS = "master-pass"  # noqa: S105 - no password
    DUE = "payment-due"
    OTHER_PLACE = "other-place"
    OTHER_TYPE = "other-type"
    USED = "already-used"
    CONCURRENT = "concurrent"


@dataclass(frozen=True, slots=True)
class Standing:
    """What held of a token from a moment on."""

    from_ms: int
    status: TokenStatus
    expires_ms: int | None = None
    group_id: str | None = None


@dataclass(frozen=True, slots=True)
class Area:
    """Where a token is good: a station or a location, and there these EVSEs (none named: all)."""

    station: str | None = None
    location: str | None = None
    evses: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Token:
    """A token and what restricts it; None restricts nothing, nor does an empty `areas`.

    `status`, `expires_ms` and `group_id` hold from the beginning unless `history` says otherwise.
    """

    uid: str
    kind: TokenKind = TokenKind.REGULAR
    status: TokenStatus = TokenStatus.ACCEPTED
    expires_ms: int | None = None
    group_id: str | None = None
    driver: str | None = None
    order_id: str | None = None
    station: str | None = None
    evse: int | None = None
    connector: int | None = None
    history: tuple[Standing, ...] = ()
    type: str = "ISO14443"  # 2.0.1 IdTokenEnum
    areas: tuple[Area, ...] = ()
    power_types: frozenset[str] = frozenset()  # AC, DC
    one_at_a_time: bool | None = None  # None: as the operator has it for all

    def standing_at(self, at_ms: int) -> Standing:
        """What was in force at that time."""
        if not self.history:
            return Standing(0, self.status, self.expires_ms, self.group_id)
        ordered = sorted(self.history, key=lambda standing: standing.from_ms)
        before = [standing for standing in ordered if standing.from_ms <= at_ms]
        # What came before the first entry is not on record; the oldest entry is the best that is known.
        return before[-1] if before else ordered[0]

    def status_at(self, at_ms: int) -> TokenStatus:
        """The status in force at that time."""
        return self.standing_at(at_ms).status

    def changed(self, standing: Standing) -> Token:
        """The token as it stands from then on; how it stood before stays on record."""
        now = (self.status, self.expires_ms, self.group_id)
        history = self.history
        if now != (standing.status, standing.expires_ms, standing.group_id):
            history = (*(history or (Standing(0, *now),)), standing)[-KEPT_STANDINGS:]
        return replace(
            self,
            status=standing.status,
            expires_ms=standing.expires_ms,
            group_id=standing.group_id,
            history=history,
        )

    def with_status(self, status: TokenStatus, from_ms: int) -> Token:
        """The token with a new status from then on; the old one stays on record."""
        return self.changed(Standing(from_ms, status, self.expires_ms, self.group_id))


@dataclass(frozen=True, slots=True)
class Place:
    """Where the token is shown. `connector` None: an Authorize names none. `power_type` None: not known."""

    station: str
    evse: int | None = None
    connector: int | None = None
    location: str | None = None
    power_type: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`status` decides and bills; `answer` is what the charger is told now. `evses`: good at these only."""

    status: TokenStatus
    group_id: str | None = None
    expires_ms: int | None = None
    answer: TokenStatus = TokenStatus.INVALID
    why: Why | None = None
    evses: tuple[int, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether it may charge (then)."""
        return self.status is TokenStatus.ACCEPTED


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What must be known beside the token. Counts leave out the very session that is judged, or its repeat would
    refuse itself.

    `starts`: it is to begin a session; an Authorize may as well end one. `open_elsewhere`: other sessions open with
    it at that time. `used_before`: an order's token has made a session. `one_at_a_time`: the rule for tokens that
    have none of their own. `due_since_ms`: since when its driver owes.
    """

    starts: bool = True
    open_elsewhere: int = 0
    used_before: bool = False
    one_at_a_time: bool = False
    master_group: str | None = None
    due_since_ms: int | None = None


_ORDINARY: Final = Circumstances()
_Finding = tuple[TokenStatus, Why | None]
_GOOD: Final[_Finding] = (TokenStatus.ACCEPTED, None)


def judge(
    token: Token | None,
    at_ms: int,
    *,
    now_ms: int | None = None,
    place: Place | None = None,
    circumstances: Circumstances = _ORDINARY,
) -> Verdict:
    """Whether `token` was good at `at_ms`, the time of the event, and what the charger is told at `now_ms`."""
    if token is None or token.status_at(at_ms) is TokenStatus.DELETED:
        return Verdict(TokenStatus.INVALID, why=Why.UNKNOWN)
    status, why = _finding(token, at_ms, place, circumstances)
    answer = status
    if now_ms is not None and status is TokenStatus.ACCEPTED:
        answer = _standing(token, now_ms, circumstances)[0]
        if answer is TokenStatus.DELETED:
            answer = TokenStatus.INVALID
    evses: tuple[int, ...] = ()
    is_about_evses = why is Why.OTHER_PLACE or (status is TokenStatus.ACCEPTED and place is not None and not place.evse)
    if place is not None and is_about_evses:
        evses = tuple(sorted(_evses(token, place) or ()))
    return Verdict(status, token.group_id, token.expires_ms, answer, why, evses)


def _finding(token: Token, at_ms: int, place: Place | None, known: Circumstances) -> _Finding:
    status, why = _standing(token, at_ms, known)
    if why is not None:
        return status, why
    is_order = token.kind is TokenKind.ORDER
    if known.starts and known.master_group is not None and token.standing_at(at_ms).group_id == known.master_group:
        return TokenStatus.INVALID, Why.MASTER_PASS  # 2.0.1 C16: it ends sessions and begins none
    if is_order and known.open_elsewhere:
        return TokenStatus.CONCURRENT, Why.CONCURRENT  # the same order on two connectors (5.8-n)
    if place is not None and (refused := _refused_at(token, place)) is not None:
        return refused
    if is_order:
        return (TokenStatus.INVALID, Why.USED) if known.used_before else _GOOD
    one_at_a_time = known.one_at_a_time if token.one_at_a_time is None else token.one_at_a_time
    if known.starts and one_at_a_time and known.open_elsewhere:
        return TokenStatus.CONCURRENT, Why.CONCURRENT
    return _GOOD


def _standing(token: Token, at_ms: int, known: Circumstances) -> _Finding:
    """Status, expiry and debt: what can change while a session runs."""
    standing = token.standing_at(at_ms)
    if standing.status is not TokenStatus.ACCEPTED:
        return standing.status, Why.STATUS
    if standing.expires_ms is not None and at_ms >= standing.expires_ms:
        return TokenStatus.EXPIRED, Why.EXPIRED
    if known.due_since_ms is not None and at_ms >= known.due_since_ms:
        return TokenStatus.BLOCKED, Why.DUE
    return _GOOD


def _refused_at(token: Token, place: Place) -> _Finding | None:
    evses = _evses(token, place)
    if evses is not None and not evses:
        return TokenStatus.NOT_HERE, Why.OTHER_PLACE
    if evses is not None and place.evse and place.evse not in evses:
        return TokenStatus.INVALID, Why.OTHER_PLACE
    if token.connector is not None and place.connector and token.connector != place.connector:
        return TokenStatus.INVALID, Why.OTHER_PLACE
    if token.power_types and place.power_type is not None and place.power_type not in token.power_types:
        return TokenStatus.NOT_THIS_TYPE, Why.OTHER_TYPE
    return None


def _evses(token: Token, place: Place) -> frozenset[int] | None:
    """The EVSEs of the place's station where the token is good; None: all of them, empty: none."""
    areas: Iterable[Area] = token.areas
    if token.station is not None:
        evses = frozenset((token.evse,)) if token.evse is not None else frozenset[int]()
        areas = (*areas, Area(station=token.station, evses=evses))
    if not areas:
        return None
    here = [area for area in areas if _is_in(area, place)]
    if any(not area.evses for area in here):
        return None
    return frozenset(evse for area in here for evse in area.evses)


def _is_in(area: Area, place: Place) -> bool:
    if area.station is not None and area.station != place.station:
        return False
    return area.location is None or area.location == place.location


def driver_norm(name: str | None) -> str | None:
    """One spelling for one driver: telephone numbers by their last ten digits, everything else without case."""
    if name is None or not (text := name.strip()):
        return None
    if _PHONE.match(text):
        return re.sub(r"\D", "", text)[-_PHONE_DIGITS:]
    return text.casefold()


def vehicle_norm(said: str) -> str:
    """One spelling for one vehicle: upper case, without separators and without the prefix some chargers put before."""
    text = said.strip().upper().removeprefix(_VEHICLE_PREFIX)
    return _SEPARATORS.sub("", text)


def order_token(order_id: str) -> str:
    """`BK` and 18 Crockford base32 characters of BLAKE2b(order id): fits CiString20, hard to guess, and the
    same whenever it is worked out (BECKN 6.5)."""
    digest = hashlib.blake2b(order_id.encode(), digest_size=12).digest()
    number = int.from_bytes(digest, "big") >> 6  # 96 bits -> the first 90
    return "BK" + "".join(CROCKFORD[(number >> shift) & 31] for shift in range(85, -1, -5))
