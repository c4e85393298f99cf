"""What is for sale: locations and tariffs in OCPI 2.2.1's shape, and offers.

Members that OCPI requires and the product needs are checked; everything else is kept as it was put. A tariff or an
offer that could not be billed exactly is refused here, with the member named, not discovered at the first sale.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from csms.api.models import Instant, OpenView, Shaped, Text, Time, Zone
from csms.api.pages import Page, PageQuery, encode, text_key
from csms.api.routes import Answer, Call, Routes
from csms.app import queries
from csms.app.catalogue import join, read_offer
from csms.app.ocpitariff import read_tariff
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339
from csms.ports import Fact, ReadTx, Row, Table, Tx

route: Final = Routes("Catalogue")

OcpiId = Annotated[str, Field(min_length=1, max_length=36, pattern=r"^[^\s/\\?#\x00-\x1f\x7f]+$")]
Price = Annotated[float, Field(ge=0, le=1e9)]


class Coordinates(Shaped):
    """Decimal degrees as text, as OCPI has them."""

    latitude: Annotated[str, Field(pattern=r"^-?[0-9]{1,2}\.[0-9]{1,15}$")]
    longitude: Annotated[str, Field(pattern=r"^-?[0-9]{1,3}\.[0-9]{1,15}$")]

    @model_validator(mode="after")
    def _on_earth(self) -> Coordinates:
        if abs(float(self.latitude)) > 90 or abs(float(self.longitude)) > 180:
            raise ValueError("latitude lies within ±90, longitude within ±180")
        return self


class ConnectorShape(Shaped):
    """OCPI Connector."""

    id: OcpiId
    standard: Text
    format: Literal["SOCKET", "CABLE"]
    power_type: Literal["AC_1_PHASE", "AC_2_PHASE", "AC_2_PHASE_SPLIT", "AC_3_PHASE", "DC"]
    max_voltage: Annotated[int, Field(ge=1, le=10_000)]
    max_amperage: Annotated[int, Field(ge=1, le=10_000)]
    max_electric_power: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    tariff_ids: Annotated[list[OcpiId], Field(max_length=100)] | None = None


class EvseShape(Shaped):
    """OCPI EVSE. `charger_id` and `charger_evse` say which charger it is; else it is found by its uid."""

    uid: OcpiId
    evse_id: Annotated[str, Field(min_length=1, max_length=48)] | None = None
    status: Text | None = None
    connectors: Annotated[list[ConnectorShape], Field(min_length=1, max_length=50)]
    charger_id: Text | None = None
    charger_evse: Annotated[int, Field(ge=1, le=999)] | None = None
    capabilities: list[Text] | None = None


class LocationIn(Shaped):
    """OCPI Location."""

    id: OcpiId | None = None
    country_code: Annotated[str, Field(pattern=r"^[A-Za-z]{2}$")] | None = None
    party_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{3}$")] | None = None
    publish: bool | None = None
    name: Annotated[str, Field(max_length=255)] | None = None
    address: Annotated[str, Field(min_length=1, max_length=200)]
    city: Annotated[str, Field(min_length=1, max_length=100)]
    postal_code: Annotated[str, Field(max_length=10)] | None = None
    country: Annotated[str, Field(pattern=r"^[A-Za-z]{3}$")]
    coordinates: Coordinates
    time_zone: Zone | None = None
    evses: Annotated[list[EvseShape], Field(max_length=500)] | None = None
    last_updated: Instant | None = None

    @model_validator(mode="after")
    def _distinct_evses(self) -> LocationIn:
        uids = [evse.uid for evse in self.evses or ()]
        if len(uids) != len(set(uids)):
            raise ValueError("evses: two of them have the same uid")
        return self


class PriceComponentShape(Shaped):
    """OCPI PriceComponent: per kWh, per hour, or once."""

    type: Literal["ENERGY", "FLAT", "PARKING_TIME", "TIME"]
    price: Price
    vat: Annotated[float, Field(ge=0, le=100)] | None = None
    step_size: Annotated[int, Field(ge=0, le=1_000_000)] = 1


class ElementShape(Shaped):
    """OCPI TariffElement."""

    price_components: Annotated[list[PriceComponentShape], Field(min_length=1, max_length=50)]


class TariffIn(Shaped):
    """OCPI Tariff."""

    id: OcpiId | None = None
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    elements: Annotated[list[ElementShape], Field(min_length=1, max_length=200)]
    last_updated: Instant | None = None


class OfferIn(Shaped):
    """A discount buyers may ask for: percent up to a cap, plus a flat sum, from a threshold of energy."""

    id: OcpiId | None = None
    name: Text
    percent: Annotated[float, Field(ge=0, le=100)] | Text | None = None
    cap: Price | Text | None = None
    flat: Price | Text | None = None
    threshold_kwh: Price | Text | None = None
    items: Annotated[list[Text], Field(max_length=10_000)] | None = None
    valid_from: Instant | None = None
    valid_until: Instant | None = None
    last_updated: Instant | None = None


class Joined(OpenView):
    """Which charger an EVSE of a location is."""

    evse_uid: str
    charger_id: str
    charger_evse: int


class Location(OpenView):
    """The location as it was put. `joined` says which of its EVSEs are real chargers; the rest is not sold."""

    id: str
    last_updated: Time
    joined: list[Joined]


class Tariff(OpenView):
    """The tariff as it was put."""

    id: str
    last_updated: Time


class Offer(OpenView):
    """The offer as it was put."""

    id: str
    last_updated: Time


_OURS: Final = ("id", "last_updated", "joined")


# -- the three of them alike


async def _list(call: Call[PageQuery, None], table: Table) -> queries.Found:
    q = call.query
    return await call.system.store.read(
        lambda tx: queries.page(tx, table, order="id", limit=q.limit, after=text_key(q.cursor))
    )


def _one(tx: ReadTx, table: Table, name: str, id_: str) -> Row:
    if (row := tx.one(table, id=id_)) is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no {name} {id_!r}.")
    return row


async def _put(
    call: Call[None, Any], table: Table, name: str, check: Callable[[str, Mapping[str, Any]], object] | None
) -> tuple[Row, bool]:
    """Keep the body as it came; its row, and whether it is new."""
    id_, now_ms = call.path["id"], call.now_ms()
    # The text as it was sent, not as the model spells it again: numbers of money keep their digits.
    sent: dict[str, Any] = json.loads(await call.request.read())
    if sent.get("id") not in (None, id_):
        raise Refusal(Why.INVALID_REQUEST, f"The body's id {sent['id']!r} is not the one in the address, {id_!r}.")
    data = {member: value for member, value in sent.items() if member not in _OURS}
    if check is not None:
        check(id_, data)
    kept = {"id": id_, **data, "last_updated": rfc3339(now_ms)}
    row: Row = {"id": id_, "data": json.dumps(kept, ensure_ascii=False), "updated_ms": now_ms}

    def work(tx: Tx) -> bool:
        is_new = tx.take(table, id=id_) is None
        tx.save(table, row)
        told = {f"{name}_id": id_, "who": call.who.name}
        tx.append([Fact(f"{name.capitalize()}Changed", now_ms, told)])
        return is_new

    is_new = await call.system.store.transact(work)
    await call.system.catalogue.changed()
    return row, is_new


async def _delete(call: Call[None, None], table: Table, name: str) -> None:
    id_, now_ms = call.path["id"], call.now_ms()

    def work(tx: Tx) -> None:
        tx.take(table, id=id_)
        _one(tx, table, name, id_)
        tx.drop(table, id=id_)
        told = {f"{name}_id": id_, "who": call.who.name}
        tx.append([Fact(f"{name.capitalize()}Deleted", now_ms, told)])

    await call.system.store.transact(work)
    await call.system.catalogue.changed()


# -- locations


def one_of(tx: ReadTx, location_id: str) -> dict[str, Any]:
    """A location as it was put. Refusal(UNKNOWN_TARGET)."""
    found: dict[str, Any] = json.loads(_one(tx, Table.LOCATIONS, "location", location_id)["data"])
    return found


def chargers_of(tx: ReadTx) -> dict[str, str | None]:
    """Every charger, and the location it says it is at."""
    return _chargers(tx)


def _chargers(tx: ReadTx) -> dict[str, str | None]:
    return {row["id"]: row["location_id"] for row in tx.many(Table.STATIONS, order="id", deleted=0)}


def _location(row: Row, chargers: Mapping[str, str | None]) -> Location:
    data = json.loads(row["data"])
    evses = [evse for evse in data.get("evses") or [] if evse.get("status") != "REMOVED"]
    joined = [
        {"evse_uid": uid, "charger_id": charger, "charger_evse": number}
        for uid, (charger, number) in join(data, evses, chargers).items()
    ]
    return Location.model_validate({**data, "joined": joined})


@route("GET", "/api/v1/locations", query=PageQuery, answer=Page[Location], summary="Locations, by id")
async def list_locations(call: Call[PageQuery, None]) -> Page[Location]:
    """One page of locations."""
    found = await _list(call, Table.LOCATIONS)
    chargers = await call.system.store.read(_chargers)
    return Page[Location](items=[_location(row, chargers) for row in found.rows], next_cursor=encode(found.after))


@route("GET", "/api/v1/locations/{id}", answer=Location, errors=[404], summary="One location")
async def show_location(call: Call[None, None]) -> Location:
    """One location, and which chargers its EVSEs are."""
    row, chargers = await call.system.store.read(
        lambda tx: (_one(tx, Table.LOCATIONS, "location", call.path["id"]), _chargers(tx))
    )
    return _location(row, chargers)


@route(
    "PUT",
    "/api/v1/locations/{id}",
    path_types={"id": OcpiId},
    body=LocationIn,
    answer=Location,
    also=[201],
    summary="Make or replace a location",
)
async def put_location(call: Call[None, LocationIn]) -> Answer:
    """Make or replace a location."""
    row, is_new = await _put(call, Table.LOCATIONS, "location", None)
    return Answer(_location(row, await call.system.store.read(_chargers)), 201 if is_new else 200)


@route("DELETE", "/api/v1/locations/{id}", errors=[404], summary="Remove a location")
async def delete_location(call: Call[None, None]) -> None:
    """Remove a location; its chargers stay."""
    await _delete(call, Table.LOCATIONS, "location")


# -- tariffs


@route("GET", "/api/v1/tariffs", query=PageQuery, answer=Page[Tariff], summary="Tariffs, by id")
async def list_tariffs(call: Call[PageQuery, None]) -> Page[Tariff]:
    """One page of tariffs."""
    found = await _list(call, Table.TARIFFS)
    items = [Tariff.model_validate_json(row["data"]) for row in found.rows]
    return Page[Tariff](items=items, next_cursor=encode(found.after))


@route("GET", "/api/v1/tariffs/{id}", answer=Tariff, errors=[404], summary="One tariff")
async def show_tariff(call: Call[None, None]) -> Tariff:
    """One tariff."""
    row = await call.system.store.read(lambda tx: _one(tx, Table.TARIFFS, "tariff", call.path["id"]))
    return Tariff.model_validate_json(row["data"])


@route(
    "PUT",
    "/api/v1/tariffs/{id}",
    path_types={"id": OcpiId},
    body=TariffIn,
    answer=Tariff,
    also=[201],
    summary="Make or replace a tariff",
)
async def put_tariff(call: Call[None, TariffIn]) -> Answer:
    """Make or replace a tariff. Orders that stand keep the prices they were quoted."""
    row, is_new = await _put(call, Table.TARIFFS, "tariff", read_tariff)
    return Answer(Tariff.model_validate_json(row["data"]), 201 if is_new else 200)


@route("DELETE", "/api/v1/tariffs/{id}", errors=[404], summary="Remove a tariff")
async def delete_tariff(call: Call[None, None]) -> None:
    """Remove a tariff; what it priced is no longer sold."""
    await _delete(call, Table.TARIFFS, "tariff")


# -- offers


@route("GET", "/api/v1/offers", query=PageQuery, answer=Page[Offer], summary="Offers, by id")
async def list_offers(call: Call[PageQuery, None]) -> Page[Offer]:
    """One page of offers."""
    found = await _list(call, Table.OFFERS)
    items = [Offer.model_validate_json(row["data"]) for row in found.rows]
    return Page[Offer](items=items, next_cursor=encode(found.after))


@route("GET", "/api/v1/offers/{id}", answer=Offer, errors=[404], summary="One offer")
async def show_offer(call: Call[None, None]) -> Offer:
    """One offer."""
    row = await call.system.store.read(lambda tx: _one(tx, Table.OFFERS, "offer", call.path["id"]))
    return Offer.model_validate_json(row["data"])


@route(
    "PUT",
    "/api/v1/offers/{id}",
    path_types={"id": OcpiId},
    body=OfferIn,
    answer=Offer,
    also=[201],
    summary="Make or replace an offer",
)
async def put_offer(call: Call[None, OfferIn]) -> Answer:
    """Make or replace an offer."""
    row, is_new = await _put(call, Table.OFFERS, "offer", read_offer)
    return Answer(Offer.model_validate_json(row["data"]), 201 if is_new else 200)


@route("DELETE", "/api/v1/offers/{id}", errors=[404], summary="Remove an offer")
async def delete_offer(call: Call[None, None]) -> None:
    """Remove an offer."""
    await _delete(call, Table.OFFERS, "offer")
