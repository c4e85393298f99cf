"""Who is one person: names on shared cards belong together, and what stands for many joins nobody."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from csms.domain.buyer import Buyer
from csms.domain.identity import (
    MOST_CARDS,
    MOST_PHONES,
    Card,
    Entry,
    Name,
    NameKind,
    card_id,
    is_shared,
    name_hash,
    names_of,
    one_person,
    phone_norm,
)

P, V, C = NameKind.PHONE, NameKind.VPA, NameKind.VEHICLE


def book(*cards: Sequence[tuple[str, NameKind]], apart: frozenset[str] = frozenset()) -> list[Card]:
    return [[Entry(name, kind, name in apart) for name, kind in card] for card in cards]


def person(start: str, cards: list[Card]) -> frozenset[str]:
    return one_person([start], lambda name: [card for card in cards if any(e.name_hash == name for e in card)])


def test_a_new_number_at_the_old_address_is_the_same_person() -> None:
    cards = book([("p1", P), ("v", V)], [("p2", P), ("v", V), ("car", C)], [("p3", P), ("car", C)], [("p9", P)])
    assert person("p3", cards) == {"p1", "p2", "p3", "v", "car"}
    assert person("p9", cards) == {"p9"}
    assert person("new", cards) == {"new"}


def test_an_address_of_too_many_numbers_joins_nobody_and_is_nobody() -> None:
    cards = book(*[[(f"p{n}", P), ("v", V)] for n in range(MOST_PHONES + 1)])
    assert person("p0", cards) == {"p0"}
    assert person("v", cards) == frozenset()
    assert person("p0", cards[:-1]) == {"p0", "p1", "p2", "v"}


def test_a_name_set_apart_joins_nobody() -> None:
    cards = book([("p1", P), ("car", C)], [("p2", P), ("car", C)], apart=frozenset({"car"}))
    assert person("p1", cards) == {"p1"}


def test_a_name_on_endlessly_many_cards_is_looked_up_no_further() -> None:
    assert is_shared("x", [[] for _ in range(MOST_CARDS + 1)])


def test_numbers_and_cars_have_one_spelling_and_no_name_can_be_read_from_its_hash() -> None:
    a = Buyer(phone="+91 98450-11111", email=" A@B.IN ", vpa="Rao@UPI", vehicle_id="mal-12 3", buyer_id="7")
    b = Buyer(phone="098450 11111", email="a@b.in", vpa="rao@upi", vehicle_id="MAL123", buyer_id="7")
    assert names_of(a, "app") == names_of(b, "app")
    assert set(names_of(a, "app")) - set(names_of(b, "other")) == {Name(NameKind.BUYER, "app|7")}
    assert [name.kind for name in names_of(a, "app", is_fleet=True)] == [P, NameKind.EMAIL, NameKind.BUYER]
    assert names_of(Buyer(phone="none", email="n/a", vpa="-", vehicle_id=" - "), "app") == ()
    assert phone_norm("call me") is None
    name = Name(P, "9845011111")
    assert name_hash(b"one", name) != name_hash(b"two", name)
    assert name_hash(b"one", name) != name_hash(b"one", Name(NameKind.TOKEN, "9845011111"))
    assert card_id(["a", "b"]) == card_id(["b", "a"]) != card_id(["a", "c"])


_names = st.tuples(st.integers(0, 12), st.sampled_from([P, V, C])).map(lambda t: (f"{t[1]}{t[0]}", t[1]))
_cards = st.lists(st.lists(_names, min_size=1, max_size=3, unique=True), max_size=25)


@given(_cards)
def test_belonging_together_is_mutual_and_whole(raw: list[list[tuple[str, NameKind]]]) -> None:
    cards = book(*raw)
    names = {name for card in raw for name, _ in card}
    people = {name: person(name, cards) for name in names}
    shared = {name for name in names if not people[name]}
    for name in names - shared:
        assert name in people[name]
        assert not people[name] & shared  # whoever is many identifies nobody
        for other in people[name]:
            assert people[other] == people[name]


@given(_cards, st.integers(0, 24))
def test_one_more_card_never_parts_two_names_that_are_their_owners_own(
    raw: list[list[tuple[str, NameKind]]], which: int
) -> None:
    """Only a name that has become everybody's lets go."""
    before, after = book(*raw[:which]), book(*raw)
    names = {name for card in raw[:which] for name, _ in card}
    became_shared = {name for name in names if person(name, before) and not person(name, after)}
    if not became_shared:
        for name in names:
            assert person(name, before) <= person(name, after)
