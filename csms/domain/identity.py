"""Which names are one person's: a number, an address, an account at an app, a payment address, a car (BECKN 7.4).

Names given together for one order stand on one card. Cards that share a name belong to one person, and so do all names
on them: whoever comes with a new number and pays from the old address, or charges the old car, is still the same.

Too much must not be joined, or strangers pay for each other's debts:

* A name that is seen with more than `MOST_PHONES` telephone numbers (or, of a number, with more than `MOST_BUYERS`
  accounts) is somebody's for all: an app's payment address, a workshop's car, a number typed in to get on. It joins
  nothing and identifies nobody. A debtor cannot wear a name out that way, and nobody can tie a stranger's name to
  theirs for nothing: a card is made of an order that was confirmed.
* A fleet's car and the address it is paid from are the fleet's, not the driver's.
* An operator may set a name apart, which has the same effect.

Nobody's name is kept: only `name_hash`, made with a key that is not in the store.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from csms.domain.access import driver_norm, vehicle_norm
from csms.domain.buyer import Buyer

MOST_PHONES: Final = 3
MOST_BUYERS: Final = 8
MOST_CARDS: Final = 50  # so many different combinations are no person's
MOST_NAMES: Final = 200  # where following stops: one person has fewer


class NameKind(StrEnum):
    """What sort of name it is."""

    PHONE = "phone"
    EMAIL = "email"
    BUYER = "buyer"  # the app's own number for them, within that app
    VPA = "vpa"
    VEHICLE = "vehicle"
    TOKEN = "token"  # noqa: S105 - a card's number is no password


@dataclass(frozen=True, slots=True)
class Name:
    """A name in its one spelling."""

    kind: NameKind
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A name on a card, hashed."""

    name_hash: str
    kind: NameKind
    apart: bool = False


Card = Sequence[Entry]


def phone_norm(text: str | None) -> str | None:
    """A telephone number by its last ten digits; None for what is none."""
    norm = driver_norm(text)
    return norm if norm is not None and len(norm) >= 7 and norm.isdigit() else None


def names_of(buyer: Buyer, bap_id: str, *, is_fleet: bool = False) -> tuple[Name, ...]:
    """Every name a buyer goes by. `is_fleet`: their car and payment address are shared with colleagues."""
    email = (buyer.email or "").strip().casefold()
    vpa = (buyer.vpa or "").strip().casefold()
    vehicle = vehicle_norm(buyer.vehicle_id or "")
    found = [
        (NameKind.PHONE, phone_norm(buyer.phone)),
        (NameKind.EMAIL, email if "@" in email else None),
        (NameKind.BUYER, f"{bap_id}|{buyer.buyer_id}" if buyer.buyer_id else None),
        (NameKind.VPA, vpa if "@" in vpa and not is_fleet else None),
        (NameKind.VEHICLE, vehicle if vehicle and not is_fleet else None),
    ]
    return tuple(Name(kind, text) for kind, text in found if text)


def name_hash(key: bytes, name: Name) -> str:
    """What is kept of a name."""
    return hmac.new(key, f"name|{name.kind}|{name.text}".encode(), hashlib.sha256).hexdigest()[:40]


def card_id(hashes: Iterable[str]) -> str:
    """One id for one combination of names."""
    return hashlib.sha256("|".join(sorted(hashes)).encode()).hexdigest()[:40]


def is_shared(name: str, cards: Sequence[Card]) -> bool:
    """Whether a name stands for too many to be one person's, given the cards it is on."""
    if len(cards) > MOST_CARDS:
        return True
    own = [entry for card in cards for entry in card if entry.name_hash == name]
    if any(entry.apart for entry in own):
        return True
    others = {(entry.kind, entry.name_hash) for card in cards for entry in card if entry.name_hash != name}
    phones = sum(1 for kind, _ in others if kind is NameKind.PHONE)
    buyers = sum(1 for kind, _ in others if kind is NameKind.BUYER)
    is_phone = any(entry.kind is NameKind.PHONE for entry in own)
    return buyers > MOST_BUYERS if is_phone else phones > MOST_PHONES


def one_person(start: Collection[str], cards_of: Callable[[str], Sequence[Card]]) -> frozenset[str]:
    """Every name of whoever goes by the names in `start`; those that stand for many are not among them.

    `cards_of` gives the cards a name is on (more than `MOST_CARDS` need not be looked up). Linear in what is found,
    and bounded by `MOST_NAMES`.
    """
    found: set[str] = set()
    seen: set[str] = set()
    ahead = sorted(start)
    while ahead and len(seen) < MOST_NAMES:
        name = ahead.pop()
        if name in seen:
            continue
        seen.add(name)
        cards = cards_of(name)
        if is_shared(name, cards):
            continue
        found.add(name)
        ahead += sorted({entry.name_hash for card in cards for entry in card} - seen)
    return frozenset(found)
