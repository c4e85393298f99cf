"""What is for sale: operators' locations, tariffs and offers, joined with the sockets of real chargers. In memory.

An OCPI EVSE belongs to a charger by the first rule that fits:

1. it says so: `charger_id`, and `charger_evse` (the charger's own number) when it is not the only one;
2. its `uid` is the charger's id, or the id, one of `*-_:/#.` and the number;
3. the charger's `location_id` is this location and nothing else names it: one charger takes the EVSEs in their
   order, several chargers take one EVSE each when the counts agree.

What no rule joins is not sold; `GET /locations/{id}` shows what was joined to what.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from csms.app import price_events
from csms.app.fleets import Fleets, read_fleet
from csms.app.ocpitariff import read_tariff
from csms.domain.dated_price import DatedPrice, PriceEvent, prevailing
from csms.domain.refusal import Refusal, Why
from csms.domain.tariff import CancellationPolicy, Discount, Pattern, Tariff, Terms
from csms.domain.units import to_minor
from csms.ports import Store, Table

_NUMBERED = re.compile(rf"(.+)[{re.escape('*-_:/#.')}](\d+)")
_DEFAULT_POWER_W = 7_400
_AT_ONCE = 5  # locations read before others may have their turn


@dataclass(frozen=True, slots=True)
class Offer:
    """A discount somebody may ask for by id. `items` empty = everything."""

    discount: Discount
    name: str
    items: frozenset[str] = frozenset()
    valid_from_ms: int | None = None
    valid_until_ms: int | None = None

    def holds(self, item_id: str, now_ms: int) -> bool:
        """Whether it applies to this item now."""
        if self.items and item_id not in self.items:
            return False
        if self.valid_from_ms is not None and now_ms < self.valid_from_ms:
            return False
        return self.valid_until_ms is None or now_ms < self.valid_until_ms


@dataclass(frozen=True, slots=True)
class Policy:
    """What a tariff says beside its prices (members of our own in the OCPI tariff): how energy beyond the order is
    paid for (`pattern`, `absorb_cap`), what cancelling costs (`cancellation`), and whether a buyer may pay afterwards
    (`postpaid`). None: as the system is set."""

    pattern: Pattern | None = None
    absorb_cap_minor: int | None = None
    cancellation: CancellationPolicy | None = None
    postpaid: bool | None = None


@dataclass(frozen=True, slots=True)
class Offering:
    """One connector for sale: where it is, what it is, what it costs."""

    item_id: str
    station: str
    evse: int
    connector: int
    evse_id: str
    location: Mapping[str, Any] = field(repr=False)
    standard: str  # OCPI's ConnectorType
    power_type: str
    format: str
    max_power_w: int
    tariff: Tariff | None
    reservable: bool = False
    policy: Policy = field(default_factory=Policy)
    price_group: str = ""  # the place whose supplier's prices differ from the tariff's elsewhere

    @property
    def base_offer_id(self) -> str | None:
        """The id under which the plain tariff is offered."""
        if self.tariff is None:
            return None
        return f"offer-{self.tariff.tariff_id}{'-' if self.price_group else ''}{self.price_group}"


@dataclass(slots=True)
class _Loaded:
    offerings: dict[str, Offering] = field(default_factory=dict)
    by_socket: dict[tuple[str, int, int], Offering] = field(default_factory=dict)
    by_evse: dict[tuple[str, int], Offering | None] = field(default_factory=dict)  # None: more than one connector
    by_name: dict[str, Offering] = field(default_factory=dict)
    tariffs: dict[str, Tariff] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    fleets: Fleets = field(default_factory=Fleets)
    events: list[PriceEvent] = field(default_factory=list)  # of suppliers
    _dated: dict[frozenset[str], tuple[DatedPrice, ...]] = field(default_factory=dict)

    def dated(self, tariff: Tariff, location_id: str | None = None, feeder_id: str | None = None) -> Tariff:
        """A tariff with the prices that suppliers announced for it, at this place."""
        if not self.events:
            return tariff
        about = price_events.about(tariff.tariff_id, location_id, feeder_id)
        if about not in self._dated:
            self._dated[about] = prevailing(self.events, about)
        return replace(tariff, dated=self._dated[about])


@dataclass(slots=True)
class _Shelf:
    """A location as it was read last, and what was made of it."""

    text: tuple[int, int]  # length and hash of what is stored
    location: Mapping[str, Any]
    made_of: object = None  # the chargers joined and the prices of then
    offerings: tuple[Offering, ...] = ()
    names: frozenset[str] = frozenset()  # chargers that its EVSEs name, there or not


class Inventory:
    """Everything for sale. `generation` grows with every change, so that an index can follow. What did not change
    stays the same object from one reading to the next."""

    def __init__(self, store: Store, provider_id: str) -> None:
        self._store = store
        self._provider_id = provider_id
        self._loaded = _Loaded()
        self._shelves: dict[str, _Shelf] = {}
        self._prices = 0  # grows with every change of a tariff
        self._loading = asyncio.Lock()
        self.generation = 0

    async def load(self) -> None:
        """Read it all again: at start, and after an operator changed something."""
        async with self._loading:
            await self._load()

    async def _load(self) -> None:
        events, fleets, locations, tariffs, offers, stations = await self._store.read(
            lambda tx: (
                price_events.live(tx),
                tx.many(Table.FLEETS, order="id"),
                tx.many(Table.LOCATIONS, order="id"),
                tx.many(Table.TARIFFS, order="id"),
                tx.many(Table.OFFERS, order="id"),
                tx.many(Table.STATIONS, order="id", deleted=0),
            )
        )
        loaded = _Loaded(events=events)
        self._read_fleets(fleets, loaded)
        self._read_tariffs(tariffs, loaded)
        for row in offers:
            try:
                loaded.offers[row["id"]] = read_offer(row["id"], json.loads(row["data"]))
            except Refusal as refusal:
                loaded.problems.append(f"offer {row['id']}: {refusal.detail}")
        chargers = {row["id"]: row["location_id"] for row in stations}
        at: dict[str | None, list[str]] = {}
        for charger, location_id in chargers.items():
            at.setdefault(location_id, []).append(charger)
        shelves: dict[str, _Shelf] = {}
        for count, row in enumerate(locations, 1):
            shelf = shelves[row["id"]] = self._shelf(row)
            for offering in self._of_shelf(shelf, chargers, at.get(shelf.location.get("id"), []), loaded):
                loaded.offerings[offering.item_id] = offering
                loaded.by_socket.setdefault((offering.station, offering.evse, offering.connector), offering)
                evse = (offering.station, offering.evse)
                loaded.by_evse[evse] = None if evse in loaded.by_evse else offering
                loaded.by_name.setdefault(offering.evse_id, offering)
            if not count % _AT_ONCE:
                await asyncio.sleep(0)
        self._loaded, self._shelves = loaded, shelves
        self.generation += 1

    def _read_tariffs(self, rows: Iterable[Mapping[str, Any]], loaded: _Loaded) -> None:
        for row in rows:
            try:
                data = json.loads(row["data"])
                policy, tariff = read_policy(data), read_tariff(row["id"], data)
            except Refusal as refusal:  # put by an older version that took more: shown, not sold
                loaded.problems.append(f"tariff {row['id']}: {refusal.detail}")
                continue
            loaded.policies[row["id"]] = policy
            loaded.tariffs[row["id"]] = loaded.dated(tariff)
        before, is_private = self._loaded, loaded.fleets.tariffs
        now = (loaded.tariffs, loaded.policies, is_private, loaded.events)
        if now != (before.tariffs, before.policies, before.fleets.tariffs, before.events):
            self._prices += 1

    @staticmethod
    def _read_fleets(rows: Iterable[Mapping[str, Any]], loaded: _Loaded) -> None:
        known = []
        for row in rows:
            try:
                known.append(read_fleet(row["id"], json.loads(row["data"])))
            except Refusal as refusal:
                loaded.problems.append(f"fleet {row['id']}: {refusal.detail}")
        loaded.fleets = Fleets.of(known)

    def _shelf(self, row: Mapping[str, Any]) -> _Shelf:
        """A location, parsed again only when its text changed."""
        text = (len(row["data"]), hash(row["data"]))
        known = self._shelves.get(row["id"])
        if known is not None and known.text == text:
            return _Shelf(text, known.location, known.made_of, known.offerings, known.names)
        location = json.loads(row["data"])
        return _Shelf(text, location, names=frozenset(_names(location)))

    def _of_shelf(
        self, shelf: _Shelf, chargers: Mapping[str, str | None], here: list[str], loaded: _Loaded
    ) -> tuple[Offering, ...]:
        evses = [evse for evse in shelf.location.get("evses") or [] if evse.get("status") != "REMOVED"]
        joined = join(shelf.location, evses, chargers, here)
        made_of = (joined, self._prices)
        if shelf.made_of != made_of:
            shelf.offerings = tuple(self._of_location(shelf.location, evses, joined, loaded))
            shelf.made_of = made_of
        return shelf.offerings

    def names(self, charger_id: str) -> bool:
        """Whether a location was put with this charger in mind, known or not."""
        return any(charger_id in shelf.names for shelf in self._shelves.values())

    def __len__(self) -> int:
        return len(self._loaded.offerings)

    def all(self) -> Iterable[Offering]:
        """Every connector for sale."""
        return self._loaded.offerings.values()

    def offers(self) -> Mapping[str, Offer]:
        """Every discount anybody may ask for, by id; not those of fleets and loyalty programmes."""
        private = self._loaded.fleets.offers
        return {key: offer for key, offer in self._loaded.offers.items() if key not in private}

    @property
    def fleets(self) -> Fleets:
        """Fleets and loyalty programmes."""
        return self._loaded.fleets

    def is_fleet(self, fleet_id: str | None) -> bool:
        """Whether this is a fleet, not a loyalty programme nor nothing."""
        found = self._loaded.fleets.by_id.get(fleet_id or "")
        return found is not None and found.is_fleet

    def policy(self, tariff_id: str) -> Policy:
        """What a tariff says beside its prices."""
        return self._loaded.policies.get(tariff_id, Policy())

    def tariff(self, tariff_id: str) -> Tariff | None:
        """A tariff by id."""
        return self._loaded.tariffs.get(tariff_id)

    def problems(self) -> list[str]:
        """What was put but cannot be used."""
        return self._loaded.problems

    def find(self, item_id: str) -> Offering:
        """By item id, or by EVSE id (what stands on the sticker). Refusal(UNKNOWN_ITEM)."""
        found = self._loaded.offerings.get(item_id) or self._loaded.by_name.get(item_id)
        if found is None:
            raise Refusal(Why.UNKNOWN_ITEM, f"there is no item {item_id}")
        return found

    def at(self, station: str, evse: int, connector: int) -> Offering | None:
        """What is sold at a socket. 1.6 numbers its connectors alone, so an EVSE with one connector is enough."""
        loaded = self._loaded
        return loaded.by_socket.get((station, evse, connector)) or loaded.by_evse.get((station, evse))

    def terms_of(self, station: str, evse: int, connector: int, token: str | None, at_ms: int) -> Terms | None:
        """What charging costs that nobody ordered: the tariff of the token's fleet, else of the place."""
        offering, fleet = self.at(station, evse, connector), self.fleets.of_token(token)
        own = self.tariff(fleet.tariff_id) if fleet is not None and fleet.tariff_id is not None else None
        tariff = own if own is not None else offering.tariff if offering is not None else None
        if tariff is None:
            return None
        item_id = offering.item_id if offering is not None else ""
        loyalty = self.member_discount(fleet.fleet_id, item_id, at_ms) if fleet is not None else None
        return Terms(tariff=tariff, pattern=Pattern.TOP_UP, loyalty=loyalty)

    def terms_of_session(self, session: Mapping[str, Any]) -> Terms | None:
        """The same for a stored session."""
        at_ms = session["started_ms"] or 0
        return self.terms_of(session["station"], session["evse"], session["connector"], session["token"], at_ms)

    def discount(self, offer_id: str, offering: Offering, now_ms: int) -> Discount | None:
        """The discount behind an offer id; None for the plain tariff. Refusal(UNKNOWN_OFFER)."""
        if offer_id == offering.base_offer_id:
            return None
        offer = self.offers().get(offer_id)
        if offer is None or not offer.holds(offering.item_id, now_ms):
            raise Refusal(Why.UNKNOWN_OFFER, f"the offer {offer_id} does not exist, has ended or is not for this item")
        return offer.discount

    def member_discount(self, fleet_id: str, item_id: str, now_ms: int) -> Discount | None:
        """What a fleet or programme takes off: its own discount, or the offer it names while that holds."""
        fleet = self._loaded.fleets.by_id.get(fleet_id)
        if fleet is None:
            return None
        offer = self._loaded.offers.get(fleet.offer_id) if fleet.offer_id is not None else None
        if offer is not None:
            return offer.discount if offer.holds(item_id, now_ms) else None
        return fleet.discount

    def _of_location(
        self,
        location: Mapping[str, Any],
        evses: list[Mapping[str, Any]],
        joined: Mapping[str, tuple[str, int]],
        loaded: _Loaded,
    ) -> Iterable[Offering]:
        private = loaded.fleets.tariffs  # never in a catalogue, whatever a connector names (BECKN 7.3)
        tariffs = {key: tariff for key, tariff in loaded.tariffs.items() if key not in private}
        fallback = next(iter(tariffs.values())) if len(tariffs) == 1 else None
        special = price_events.places(loaded.events)
        for evse in evses:
            owner = joined.get(str(evse.get("uid")))
            if owner is None:
                continue
            station, number = owner
            connectors = evse.get("connectors") or []
            for index, connector in enumerate(connectors):
                own = str(connector.get("id", index + 1))
                # One connector on an EVSE is the charger's connector of the same number in 1.6 and 2.0.1 alike;
                # only a second connector on the same EVSE needs its own number.
                connector_no = int(own) if len(connectors) > 1 and own.isdigit() else index + 1
                evse_id = str(evse.get("evse_id") or evse.get("uid"))
                tariff = next(
                    (tariffs[name] for name in connector.get("tariff_ids") or [] if name in tariffs), fallback
                )
                price_group = ""
                feeder_id = evse.get("feeder_id") or location.get("feeder_id")
                here = {f"location:{location.get('id')}", f"feeder:{feeder_id}"} & special
                if tariff is not None and here:
                    tariff = loaded.dated(tariff, str(location.get("id")), str(feeder_id) if feeder_id else None)
                    price_group = "-".join(sorted(target.partition(":")[2] for target in here))
                yield Offering(
                    price_group=price_group,
                    item_id=f"IND*{self._provider_id}*{location.get('id')}*{evse_id}*{own}",
                    station=station,
                    evse=number,
                    connector=connector_no,
                    evse_id=evse_id,
                    location=location,
                    standard=str(connector.get("standard", "")),
                    power_type=str(connector.get("power_type", "AC_1_PHASE")),
                    format=str(connector.get("format", "SOCKET")),
                    max_power_w=power_of(connector),
                    tariff=tariff,
                    reservable="RESERVABLE" in (evse.get("capabilities") or []),
                    policy=loaded.policies.get(tariff.tariff_id, Policy()) if tariff is not None else Policy(),
                )


def join(
    location: Mapping[str, Any],
    evses: list[Mapping[str, Any]],
    chargers: Mapping[str, str | None],
    here: Iterable[str] | None = None,
) -> dict[str, tuple[str, int]]:
    """EVSE uid -> (charger id, the charger's own EVSE number), by the rules at the top. `here`: the chargers of this
    location, where somebody has them at hand."""
    joined: dict[str, tuple[str, int]] = {}
    for evse in evses:
        found = _by_charger_id(evse, evses, chargers) or _by_uid(str(evse.get("uid")), chargers)
        if found is not None:
            joined[str(evse.get("uid"))] = found
    if joined:
        return joined
    if here is None:
        here = [charger for charger, at in chargers.items() if at == location.get("id")]
    here = sorted(here)
    if len(here) == 1:
        for index, evse in enumerate(evses):
            uid = str(evse.get("uid"))
            joined[uid] = (here[0], int(uid) if uid.isdigit() and 0 < int(uid) <= len(evses) else index + 1)
    elif here and len(here) == len(evses):
        joined = {str(evse.get("uid")): (charger, 1) for charger, evse in zip(here, evses, strict=True)}
    return joined


def _names(location: Mapping[str, Any]) -> Iterable[str]:
    """The ids of chargers that the first two rules would join."""
    for evse in location.get("evses") or []:
        uid = str(evse.get("uid"))
        yield from (uid, str(evse.get("charger_id")))
        if (match := _NUMBERED.fullmatch(uid)) is not None:
            yield match[1]


def _by_charger_id(
    evse: Mapping[str, Any], evses: list[Mapping[str, Any]], chargers: Mapping[str, str | None]
) -> tuple[str, int] | None:
    charger = str(evse.get("charger_id"))
    if charger not in chargers:
        return None
    if evse.get("charger_evse") is not None:
        return charger, int(evse["charger_evse"])
    same = [other for other in evses if other.get("charger_id") == charger]
    return charger, same.index(evse) + 1


def _by_uid(uid: str, chargers: Mapping[str, str | None]) -> tuple[str, int] | None:
    if uid in chargers:
        return uid, 1
    match = _NUMBERED.fullmatch(uid)
    return (match[1], int(match[2])) if match and match[1] in chargers else None


def power_of(connector: Mapping[str, Any]) -> int:
    """The most a connector gives, in W: as said, else from volts, amperes and phases."""
    if connector.get("max_electric_power"):
        return int(connector["max_electric_power"])
    volts, amperes = connector.get("max_voltage"), connector.get("max_amperage")
    if not volts or not amperes:
        return _DEFAULT_POWER_W
    phases = 3 if connector.get("power_type") == "AC_3_PHASE" else 1
    return int(volts) * int(amperes) * phases


def read_policy(data: Mapping[str, Any]) -> Policy:
    """The policy members of a tariff. Refusal(INVALID_REQUEST) names the one that cannot be used."""
    try:
        cancellation = data.get("cancellation")
        return Policy(
            pattern=Pattern(data["pattern"]) if data.get("pattern") is not None else None,
            absorb_cap_minor=to_minor(Decimal(str(data["absorb_cap"]))) if data.get("absorb_cap") is not None else None,
            cancellation=CancellationPolicy(
                free_minutes=int(cancellation.get("free_minutes", 0)),
                percent=Decimal(str(cancellation.get("percent", 0))),
                flat=Decimal(str(cancellation.get("flat", 0))),
            )
            if isinstance(cancellation, Mapping)
            else None,
            postpaid=bool(data["postpaid"]) if data.get("postpaid") is not None else None,
        )
    except (ValueError, ArithmeticError, TypeError) as error:
        raise Refusal(Why.INVALID_REQUEST, f"pattern, absorb_cap or cancellation: {error}") from error


def read_offer(offer_id: str, data: Mapping[str, Any]) -> Offer:
    """`{name, percent, cap, flat, threshold_kwh, items, valid_from, valid_until}` -> an offer."""

    def decimal(name: str) -> Decimal:
        try:
            return Decimal(str(data.get(name) or 0))
        except ArithmeticError as error:
            raise Refusal(Why.INVALID_REQUEST, f"{name} is not a number") from error

    def instant(name: str) -> int | None:
        if not data.get(name):
            return None
        try:
            return int(datetime.fromisoformat(str(data[name])).timestamp() * 1000)
        except ValueError as error:
            raise Refusal(Why.INVALID_REQUEST, f"{name} is not a time") from error

    name = str(data.get("name") or offer_id)
    try:
        discount = Discount(
            offer_id=offer_id,
            label=str(data.get("label") or name),
            percent=decimal("percent"),
            cap=decimal("cap") if data.get("cap") is not None else None,
            flat=decimal("flat"),
            threshold_wh=int(decimal("threshold_kwh") * 1000),
        )
    except ValueError as error:
        raise Refusal(Why.INVALID_REQUEST, str(error)) from error
    return Offer(
        discount=discount,
        name=name,
        items=frozenset(map(str, data.get("items") or [])),
        valid_from_ms=instant("valid_from"),
        valid_until_ms=instant("valid_until"),
    )
