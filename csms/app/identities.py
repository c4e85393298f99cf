"""The cards on which buyers' names stand together, hashed: kept when an order is made, followed when one asks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from csms.domain.access import Token, TokenKind
from csms.domain.buyer import Buyer
from csms.domain.identity import (
    MOST_CARDS,
    Card,
    Entry,
    Name,
    NameKind,
    card_id,
    name_hash,
    names_of,
    one_person,
    phone_norm,
)
from csms.domain.matching import token_norm
from csms.domain.order import Order
from csms.domain.refusal import Refusal, Why
from csms.ports import ReadTx, Table, Tx

_ALONE: Final = 2  # a card with fewer names joins nothing


class Identities:
    """Who is who. `key` is the node's own; without it no name can be told from its hash."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of_buyer(self, buyer: Buyer, bap_id: str, *, is_fleet: bool = False) -> frozenset[str]:
        """The names a buyer was given, hashed."""
        return self._hashes(names_of(buyer, bap_id, is_fleet=is_fleet))

    def of_token(self, token: Token, vehicles: Iterable[str] = ()) -> frozenset[str]:
        """The names behind a token: itself, its driver, the cars that stand for it (not those of a fleet)."""
        driver = (token.driver or "").strip()
        found = [Name(NameKind.TOKEN, token_norm(token.uid) or token.uid)]
        if (phone := phone_norm(driver)) is not None:
            found.append(Name(NameKind.PHONE, phone))
        elif "@" in driver:  # an address of mail or of payment, nobody says which
            found += [Name(NameKind.EMAIL, driver.casefold()), Name(NameKind.VPA, driver.casefold())]
        if token.kind is not TokenKind.FLEET:
            found += [Name(NameKind.VEHICLE, vehicle) for vehicle in vehicles]
        return self._hashes(found)

    def _hashes(self, names: Iterable[Name]) -> frozenset[str]:
        return frozenset(name_hash(self._key, name) for name in names)

    def see(self, tx: Tx, order: Order, *, is_fleet: bool, now_ms: int) -> None:
        """Keep that the names of this order's buyer were seen together. The same card again changes nothing."""
        names = names_of(order.buyer, order.bap_id, is_fleet=is_fleet)
        hashes = {name_hash(self._key, name): name.kind for name in names}
        if len(hashes) < _ALONE:
            return
        card = card_id(hashes)
        # What an operator set apart stays apart on every later card.
        apart = {row["name_hash"] for row in tx.many(Table.IDENTITIES, name_hash=sorted(hashes), apart=1)}
        for hashed, kind in hashes.items():
            row = {
                "name_hash": hashed,
                "card": card,
                "kind": kind.value,
                "apart": int(hashed in apart),
                "order_id": order.order_id,
                "seen_ms": now_ms,
            }
            tx.add(Table.IDENTITIES, row)

    def person(self, tx: ReadTx, names: Iterable[str]) -> frozenset[str]:
        """Every name of whoever goes by these."""
        return one_person(frozenset(names), lambda name: cards_of(tx, name))

    def kinds(self, tx: ReadTx, names: Iterable[str]) -> dict[str, str]:
        """The kind of every name that stands on a card."""
        return {row["name_hash"]: row["kind"] for row in tx.many(Table.IDENTITIES, name_hash=sorted(names))}

    def set_apart(self, tx: Tx, name: str, *, is_apart: bool) -> None:
        """This name joins nobody any more (or does again). Refusal(UNKNOWN_TARGET) when it was never seen."""
        if not tx.change(Table.IDENTITIES, {"apart": int(is_apart)}, name_hash=name):
            raise Refusal(Why.UNKNOWN_TARGET, f"There is no name {name!r}.")


def cards_of(tx: ReadTx, name: str) -> Sequence[Card]:
    """The cards a name stands on; of too many just enough to tell that."""
    own = tx.many(Table.IDENTITIES, order="seen_ms", limit=MOST_CARDS + 1, name_hash=name)
    if len(own) > MOST_CARDS:
        return [[] for _ in own]
    cards: dict[str, list[Entry]] = defaultdict(list)
    for row in tx.many(Table.IDENTITIES, card=sorted(row["card"] for row in own)) if own else ():
        cards[row["card"]].append(Entry(row["name_hash"], NameKind(row["kind"]), bool(row["apart"])))
    return list(cards.values())
