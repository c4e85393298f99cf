"""Fleets and loyalty programmes: who belongs to one, and what that changes (BECKN 4.6, 7.3).

A fleet has a tariff of its own and may pay by the month; a loyalty programme takes something off the price everybody
pays. Neither stands in any catalogue. A buyer belongs to a fleet by the app they come through, their telephone number,
their car, or a card of the fleet; where it needs a one-time password, only once that was shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from csms.domain.access import vehicle_norm
from csms.domain.buyer import Buyer
from csms.domain.identity import phone_norm
from csms.domain.matching import token_norm
from csms.domain.refusal import Refusal, Why
from csms.domain.tariff import Discount
from csms.domain.units import to_minor

LOYALTY_LABEL = "Loyalty discount"
_BAP_ID = re.compile(r"[a-z0-9._:/-]{1,255}")


class FleetKind(StrEnum):
    """FLEET: its own tariff. LOYALTY: less of the ordinary price."""

    FLEET = "fleet"
    LOYALTY = "loyalty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """One fleet or programme. Members in their one spelling; money in paise."""

    fleet_id: str
    kind: FleetKind
    name: str
    bap_ids: frozenset[str] = frozenset()
    phones: frozenset[str] = frozenset()
    vehicles: frozenset[str] = frozenset()
    tokens: frozenset[str] = frozenset()
    tariff_id: str | None = None
    offer_id: str | None = None
    discount: Discount | None = None
    needs_otp: bool = False
    postpaid: bool = False
    monthly_limit_minor: int | None = None

    @property
    def is_fleet(self) -> bool:
        """Not a loyalty programme."""
        return self.kind is FleetKind.FLEET

    def can_prove(self, buyer: Buyer, bap_id: str) -> bool:
        """Whether a password sent to the buyer's number shows that they belong to it. A car's number shows nothing:
        anybody can write it down."""
        phone = phone_norm(buyer.phone)
        return phone is not None and (phone in self.phones or bap_id.casefold() in self.bap_ids)


@dataclass(slots=True)
class Fleets:
    """All of them, by what their members are known by. Fleets come before programmes, then the order of their ids."""

    by_id: dict[str, Fleet] = field(default_factory=dict)
    _by_name: dict[tuple[str, str], list[Fleet]] = field(default_factory=dict)

    @classmethod
    def of(cls, fleets: Iterable[Fleet]) -> Fleets:
        """An index of these."""
        made = cls()
        for fleet in sorted(fleets, key=lambda one: (not one.is_fleet, one.fleet_id)):
            made.by_id[fleet.fleet_id] = fleet
            names = [("bap", one) for one in fleet.bap_ids] + [("phone", one) for one in fleet.phones]
            names += [("vehicle", one) for one in fleet.vehicles] + [("token", one) for one in fleet.tokens]
            for name in names:
                made._by_name.setdefault(name, []).append(fleet)
        return made

    def of_buyer(self, buyer: Buyer, bap_id: str) -> list[Fleet]:
        """What a buyer says they belong to, each once: fleets first, and of those whose number it is before others."""
        names = [
            ("phone", phone_norm(buyer.phone) or ""),
            ("vehicle", vehicle_norm(buyer.vehicle_id or "")),
            ("bap", bap_id.casefold()),
        ]
        found = {fleet.fleet_id: fleet for name in names for fleet in self._by_name.get(name, ())}
        return sorted(found.values(), key=lambda one: not one.is_fleet)

    def of_token(self, uid: str | None) -> Fleet | None:
        """The fleet a card belongs to."""
        return next(iter(self._by_name.get(("token", token_norm(uid) or ""), ())), None)

    @property
    def tariffs(self) -> frozenset[str]:
        """Tariffs that are nobody else's."""
        return frozenset(fleet.tariff_id for fleet in self.by_id.values() if fleet.tariff_id is not None)

    @property
    def offers(self) -> frozenset[str]:
        """Offers that are nobody else's."""
        return frozenset(fleet.offer_id for fleet in self.by_id.values() if fleet.offer_id is not None)


def read_fleet(fleet_id: str, data: Mapping[str, Any]) -> Fleet:
    """A fleet as an operator put it. Refusal(INVALID_REQUEST) names the member that cannot be used."""
    try:
        kind = FleetKind(str(data.get("kind")))
    except ValueError as error:
        raise _invalid("kind is fleet or loyalty") from error
    fleet = Fleet(
        fleet_id=fleet_id,
        kind=kind,
        name=str(data.get("name") or fleet_id),
        bap_ids=frozenset(_bap_id(one) for one in _texts(data, "bap_ids")),
        phones=frozenset(_phone(one) for one in _texts(data, "phones")),
        vehicles=frozenset(_given(vehicle_norm(one), "vehicles", one) for one in _texts(data, "vehicles")),
        tokens=frozenset(_given(token_norm(one), "tokens", one) for one in _texts(data, "tokens")),
        tariff_id=data.get("tariff_id"),
        offer_id=data.get("offer_id"),
        discount=_discount(fleet_id, data.get("discount")),
        needs_otp=bool(data.get("needs_otp")),
        postpaid=bool(data.get("postpaid")),
        monthly_limit_minor=to_minor(_decimal(data["monthly_limit"], "monthly_limit"))
        if data.get("monthly_limit") is not None
        else None,
    )
    _check(fleet)
    return fleet


def _check(fleet: Fleet) -> None:
    if fleet.discount is not None and fleet.offer_id is not None:
        raise _invalid("discount and offer_id: give one of them")
    if fleet.kind is FleetKind.LOYALTY:
        if fleet.discount is None and fleet.offer_id is None:
            raise _invalid("discount or offer_id: a loyalty programme takes something off the price")
        if fleet.tariff_id is not None or fleet.postpaid or fleet.monthly_limit_minor is not None:
            raise _invalid("tariff_id, postpaid and monthly_limit are a fleet's, not a loyalty programme's")
    if fleet.monthly_limit_minor is not None and not fleet.postpaid:
        raise _invalid("monthly_limit bounds what is paid by the month: set postpaid, too")


def _discount(fleet_id: str, data: Any) -> Discount | None:
    if data is None:
        return None
    if not isinstance(data, Mapping):
        raise _invalid("discount is not an object")
    try:
        return Discount(
            offer_id=fleet_id,
            label=str(data.get("label") or LOYALTY_LABEL),
            percent=_decimal(data.get("percent") or 0, "discount.percent"),
            cap=_decimal(data["cap"], "discount.cap") if data.get("cap") is not None else None,
            flat=_decimal(data.get("flat") or 0, "discount.flat"),
            threshold_wh=int(_decimal(data.get("threshold_kwh") or 0, "discount.threshold_kwh") * 1000),
        )
    except ValueError as error:
        raise _invalid(f"discount: {error}") from error


def _texts(data: Mapping[str, Any], name: str) -> list[str]:
    given = data.get(name) or []
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise _invalid(f"{name} is not a list of texts")
    return given


def _bap_id(text: str) -> str:
    if _BAP_ID.fullmatch(text.strip().casefold()) is None:
        raise _invalid(f"bap_ids: {text!r} is no subscriber id")
    return text.strip().casefold()


def _phone(text: str) -> str:
    norm = phone_norm(text)
    if norm is None:
        raise _invalid(f"phones: {text!r} is no telephone number")
    return norm


def _given(norm: str | None, name: str, text: str) -> str:
    if not norm:
        raise _invalid(f"{name}: {text!r} is empty")
    return norm


def _decimal(value: Any, name: str) -> Decimal:
    try:
        number = Decimal(str(value))
    except ArithmeticError as error:
        raise _invalid(f"{name} is not a number") from error
    if not number.is_finite() or number < 0:
        raise _invalid(f"{name} must be a number from 0 up")
    return number


def _invalid(sentence: str) -> Refusal:
    return Refusal(Why.INVALID_REQUEST, sentence)
