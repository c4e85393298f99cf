"""Chargers: the register of stations, their connectors and their passwords."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from csms.api.models import (
    Body,
    ChargerId,
    Number,
    OpenView,
    ShortText,
    Text,
    Time,
    View,
    time,
)
from csms.api.pages import Page, PageQuery, encode, text_key
from csms.api.routes import Call, Routes
from csms.api.system import StationView, System
from csms.app import queries
from csms.app.availability import INOPERATIVE, OPERATIVE, wanted_of
from csms.app.stations import fold, socket_from
from csms.domain.in_service import is_operative
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339
from csms.ports import Fact, ReadTx, Row, Table, Tx
from firmware_profiles.quirks import problem

route: Final = Routes("Chargers")

_Sockets = dict[str, list[Row]]
_Built = dict[str, list[dict[str, Any]]]
_Wanted = dict[str, list[Row]]

Transport = Literal["ocpp1.6", "ocpp2.0.1", "mqtt", "ble"]
Registration = Literal["Accepted", "Pending", "Rejected"]
SecurityProfile = Annotated[int, Field(ge=0, le=3)]
# Short ones are accepted because chargers in the field have them; the specifications ask for 16 to 40 characters.
Password = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[ -~]+$", description="16 to 40 characters are advised")
]


def _known_words(words: list[str]) -> list[str]:
    if (wrong := problem(words)) is not None:
        raise ValueError(wrong)
    return words


class ConnectorIn(Body):
    """A connector as it is built, for places that must know before the charger has said so."""

    evse_id: Annotated[int, Field(ge=1, le=999)]
    connector_id: Annotated[int, Field(ge=1, le=999)]
    standard: ShortText | None = None
    format: Literal["SOCKET", "CABLE"] | None = None
    power_type: ShortText | None = None
    max_power_w: Number | None = None
    label: ShortText | None = None


class ChargerSettings(Body):
    """What an operator sets on a charger. In a PATCH, absent members stay as they are and null clears one."""

    registration: Registration | None = None
    security_profile: SecurityProfile | None = Field(
        default=None, description="when a charger with a password is made without it, it is 1"
    )
    password: Password | None = None
    serial: ShortText | None = Field(
        default=None,
        description="normally learnt from the charger; the name in its certificate (security profile 3)",
    )
    transport: Transport | None = Field(default=None, description="normally learnt from the charger")
    profile: Text | None = Field(
        default=None, description="firmware profile, instead of the one its BootNotification leads to"
    )
    quirks: Annotated[list[ShortText], Field(max_length=50), AfterValidator(_known_words)] | None = Field(
        default=None, description="words of its own, beside those of its profile; see /api/v1/quirks"
    )
    location_id: Text | None = None
    rated_w: Number | None = None
    rated_kw: Annotated[float, Field(ge=0, le=2_000_000)] | None = Field(default=None, description="instead of rated_w")
    connectors: Annotated[list[ConnectorIn], Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _one_rating_and_distinct_connectors(self) -> ChargerSettings:
        if self.rated_w is not None and self.rated_kw is not None:
            raise ValueError("give rated_w or rated_kw, not both")
        if "serial" in self.model_fields_set and self.serial is None:
            raise ValueError("serial: a serial number can be changed, not cleared")
        pairs = [(one.evse_id, one.connector_id) for one in self.connectors or ()]
        if len(pairs) != len(set(pairs)):
            raise ValueError("connectors: one of them stands there twice")
        return self


class ChargerCreate(ChargerSettings):
    """A new charger."""

    id: ChargerId


class ConnectorView(View):
    """A connector: what the charger last said about it, and how it is built when somebody said so."""

    evse_id: int
    connector_id: int
    status: str | None = Field(description="null until the charger reports it")
    reported_at: Time | None = Field(description="when the report came")
    status_at: Time | None = Field(description="the charger's own time of it")
    error_code: str | None
    vendor_error_code: str | None
    info: str | None
    standard: str | None
    format: str | None
    power_type: str | None
    max_power_w: int | None
    label: str | None


class Wanted(View):
    """What is wanted of the charger or a part of it, beside what the charger reports. 0 and 0: the whole charger."""

    evse_id: int
    connector_id: int
    wanted: Literal["Operative", "Inoperative"]
    answer: str | None = Field(description="the charger's word: Accepted, Scheduled, Rejected; null until it answers")
    reported: Literal["Operative", "Inoperative"] | None = Field(description="as its statuses say; null: they do not")
    since_at: Time


class Charger(View):
    """A charger as it is known now."""

    id: str
    transport: Transport | None
    security_profile: int
    security_profile_pending: int | None = Field(description="asked of the charger; in force when it comes with it")
    registration: str
    has_password: bool
    profile: str | None
    quirks: list[str]
    location_id: str | None
    rated_w: int | None
    online: bool
    last_seen_at: Time | None
    connected_at: Time | None = Field(description="since when the present link stands")
    vendor: str | None
    model: str | None
    serial: str | None
    firmware: str | None
    iccid: str | None
    imsi: str | None
    meter_serial: str | None
    boot_at: Time | None
    boot_reason: str | None
    status: str | None = Field(description="of the station itself")
    connectors: list[ConnectorView]
    availability: list[Wanted] = Field(description="what operators want in or out of service")
    created_at: Time


class ChargerQuery(PageQuery):
    """Filters of the list."""

    location_id: str | None = None
    registration: Registration | None = None
    profile: str | None = None
    transport: Transport | None = None


class CredentialsIn(Body):
    """A new Basic password. `push` sets it on the station first and keeps the old one valid until it accepts."""

    password: Password | None = Field(default=None, description="made here when absent")
    push: bool = True


class CredentialsOut(OpenView):
    """What became of the rotation."""


@route("GET", "/api/v1/chargers", query=ChargerQuery, answer=Page[Charger], summary="All chargers, by id")
async def list_chargers(call: Call[ChargerQuery, None]) -> Page[Charger]:
    """One page of chargers."""
    q = call.query

    def read(tx: ReadTx) -> tuple[queries.Found, _Sockets, _Built, _Wanted]:
        found = queries.page(
            tx,
            Table.STATIONS,
            order="id",
            limit=q.limit,
            after=text_key(q.cursor),
            deleted=0,
            location_id=q.location_id,
            registration=q.registration,
            profile=q.profile,
            transport=q.transport,
        )
        ids = [row["id"] for row in found.rows]
        return found, queries.sockets(tx, ids), queries.built_connectors(tx, ids), wanted_of(tx, ids)

    found, sockets, built, wanted = await call.system.store.read(read)
    stations = call.system.stations
    items = [
        _view(row, sockets[row["id"]], built[row["id"]], wanted[row["id"]], stations.get(row["id"]))
        for row in found.rows
    ]
    return Page[Charger](items=items, next_cursor=encode(found.after))


@route(
    "POST", "/api/v1/chargers", body=ChargerCreate, answer=Charger, status=201, errors=[409], summary="Add a charger"
)
async def create_charger(call: Call[None, ChargerCreate]) -> Charger:
    """Add a charger. One that was deleted comes back with its history."""
    body, now_ms = call.body, call.now_ms()
    values = await _values(call.system, body)
    if body.password is not None and body.security_profile is None:
        values["security_profile"] = 1

    def work(tx: Tx) -> None:
        standing = tx.take(Table.STATIONS, id=body.id) or tx.one(Table.STATIONS, id_folded=fold(body.id))
        if standing is not None and (not standing["deleted"] or standing["id"] != body.id):
            raise Refusal(Why.ALREADY_EXISTS, f"There is a charger {standing['id']!r} already; change it with PATCH.")
        fresh = {
            "registration": "Accepted",
            "security_profile": 0,
            "security_profile_pending": None,
            "password_hash": None,
            "password_pending_hash": None,
            "quirks": "[]",
            "deleted": 0,
            "created_ms": now_ms,
            **values,
        }
        if standing is not None:
            tx.change(Table.STATIONS, fresh, id=body.id)
        else:
            number = tx.next_no("station")
            tx.add(Table.STATIONS, {**fresh, "id": body.id, "no": number, "id_folded": fold(body.id)})
        _keep_connectors(tx, body.id, body)
        tx.append([Fact("ChargerCreated", now_ms, {"who": call.who.name}, station=body.id)])

    await call.system.store.transact(work)
    await call.system.stations.changed(body.id)
    return await _read(call.system, body.id)


@route("GET", "/api/v1/chargers/{id}", answer=Charger, errors=[404], summary="One charger")
async def show_charger(call: Call[None, None]) -> Charger:
    """The charger, its live state and its connectors."""
    return await _read(call.system, call.path["id"])


@route(
    "PATCH",
    "/api/v1/chargers/{id}",
    body=ChargerSettings,
    answer=Charger,
    errors=[404],
    summary="Change a charger",
)
async def change_charger(call: Call[None, ChargerSettings]) -> Charger:
    """Change what is given; a password set here is valid at once and is not sent to the charger."""
    body, now_ms, charger_id = call.body, call.now_ms(), call.path["id"]
    values = await _values(call.system, body)

    def work(tx: Tx) -> None:
        tx.take(Table.STATIONS, id=charger_id)
        before = queries.charger(tx, charger_id)
        if values:
            tx.change(Table.STATIONS, values, id=charger_id)
        after = values.get("registration", before["registration"])
        if after != before["registration"]:
            told = {"before": before["registration"], "after": after, "who": call.who.name}
            tx.append([Fact("RegistrationChanged", now_ms, told, station=charger_id)])
        if "connectors" in body.model_fields_set:
            _keep_connectors(tx, charger_id, body)
        names = sorted(body.model_fields_set)
        tx.append([Fact("ChargerChanged", now_ms, {"members": names, "who": call.who.name}, station=charger_id)])

    await call.system.store.transact(work)
    await call.system.stations.changed(charger_id)
    return await _read(call.system, charger_id)


@route("DELETE", "/api/v1/chargers/{id}", errors=[404, 409], summary="Remove a charger")
async def delete_charger(call: Call[None, None]) -> None:
    """Remove a charger and close its link. What it delivered stays in the books."""
    now_ms, charger_id = call.now_ms(), call.path["id"]

    def work(tx: Tx) -> None:
        tx.take(Table.STATIONS, id=charger_id)
        queries.charger(tx, charger_id)
        if count := tx.count(Table.SESSIONS, station=charger_id, open=1):
            raise Refusal(Why.WRONG_STATE, f"The charger has {count} open session(s); end or close them first.")
        sold = [row["id"] for row in tx.many(Table.ORDERS, station=charger_id, state=("PAID", "CONFIRMED"), limit=5)]
        if sold:
            first = "POST /api/v1/orders/{id}/cancel"
            raise Refusal(Why.WRONG_STATE, f"Orders wait here; call them off first ({first}): {', '.join(sold)}.")
        tx.change(Table.STATIONS, {"deleted": 1, "password_hash": None, "password_pending_hash": None}, id=charger_id)
        tx.append([Fact("ChargerDeleted", now_ms, {"who": call.who.name}, station=charger_id)])

    await call.system.store.transact(work)
    await call.system.stations.changed(charger_id)


@route(
    "POST",
    "/api/v1/chargers/{id}/credentials",
    body=CredentialsIn,
    answer=CredentialsOut,
    errors=[404],
    secrets=["password"],
    summary="Rotate the Basic password",
)
async def rotate_credentials(call: Call[None, CredentialsIn]) -> CredentialsOut:
    """Set a new password on the station and keep the old one valid until it accepts, or set it here only."""
    charger_id = call.path["id"]
    await call.charger()
    outcome = await call.system.credentials.rotate(charger_id, call.body.password, call.body.push)
    return CredentialsOut.model_validate(dict(outcome))


# -- rows


async def _values(system: System, body: ChargerSettings) -> Row:
    """The columns that a body sets, and no others."""
    given = body.model_fields_set
    if body.profile is not None and body.profile not in system.tolerance.profiles.by_id:
        known = ", ".join(sorted(system.tolerance.profiles.by_id))
        raise Refusal(Why.INVALID_REQUEST, f"There is no firmware profile {body.profile!r}; known are {known}.")
    values: Row = {
        name: getattr(body, name)
        for name in ("registration", "security_profile", "serial", "transport", "profile", "location_id", "rated_w")
        if name in given
    }
    for name, default in (("registration", "Accepted"), ("security_profile", 0)):
        if name in values and values[name] is None:
            values[name] = default
    if "security_profile" in given:
        values["security_profile_pending"] = None  # whatever was asked of the charger, this is the word now
    if body.rated_kw is not None:
        values["rated_w"] = round(body.rated_kw * 1000)
    if "quirks" in given:
        values["quirks"] = json.dumps(body.quirks or [])
    if "password" in given:
        values["password_hash"] = await system.hash_password(body.password) if body.password is not None else None
        values["password_pending_hash"] = None
    return values


def _keep_connectors(tx: Tx, charger_id: str, body: ChargerSettings) -> None:
    name = queries.connectors_setting(charger_id)
    if not body.connectors:
        tx.drop(Table.SETTINGS, name=name)
        return
    built = [one.model_dump(exclude_none=True) for one in body.connectors]
    tx.save(Table.SETTINGS, {"name": name, "value": json.dumps(built, ensure_ascii=False)})


async def _read(system: System, charger_id: str) -> Charger:
    def read(tx: ReadTx) -> tuple[Row, _Sockets, _Built, _Wanted]:
        row, ids = queries.charger(tx, charger_id), [charger_id]
        return row, queries.sockets(tx, ids), queries.built_connectors(tx, ids), wanted_of(tx, ids)

    row, sockets, built, wanted = await system.store.read(read)
    return _view(row, sockets[charger_id], built[charger_id], wanted[charger_id], system.stations.get(charger_id))


def _view(
    row: Row,
    sockets: Sequence[Row],
    built: Sequence[Mapping[str, Any]],
    wanted: Sequence[Row],
    live: StationView | None,
) -> Charger:
    last_seen = [at for at in (row["last_seen_ms"], live.last_seen_ms if live else None) if at is not None]
    whole = next((socket for socket in sockets if socket["connector"] == 0), None)
    return Charger(
        id=row["id"],
        transport=(live.transport if live else None) or row["transport"],
        security_profile=row["security_profile"],
        security_profile_pending=row["security_profile_pending"],
        registration=row["registration"],
        has_password=row["password_hash"] is not None,
        profile=row["profile"],
        quirks=json.loads(row["quirks"]),
        location_id=row["location_id"],
        rated_w=row["rated_w"],
        online=live.online if live else False,
        last_seen_at=time(max(last_seen, default=None)),
        connected_at=time(live.connected_ms) if live and live.online else None,
        vendor=row["vendor"],
        model=row["model"],
        serial=row["serial"],
        firmware=row["firmware"],
        iccid=row["iccid"],
        imsi=row["imsi"],
        meter_serial=row["meter_serial"],
        boot_at=time(row["boot_ms"]),
        boot_reason=row["boot_reason"],
        status=whole["status"] if whole else None,
        connectors=_merged(sockets, built),
        availability=[_wanted(one, sockets) for one in wanted],
        created_at=rfc3339(row["created_ms"]),
    )


def _wanted(row: Row, sockets: Sequence[Row]) -> Wanted:
    in_service = is_operative((row["evse"], row["connector"]), [socket_from(socket) for socket in sockets])
    return Wanted(
        evse_id=row["evse"],
        connector_id=row["connector"],
        wanted=row["wanted"],
        answer=row["answer"],
        reported=None if in_service is None else OPERATIVE if in_service else INOPERATIVE,
        since_at=rfc3339(row["since_ms"]),
    )


def _merged(sockets: Sequence[Row], built: Sequence[Mapping[str, Any]]) -> list[ConnectorView]:
    reported = {(row["evse"], row["connector"]): row for row in sockets if row["connector"] > 0}
    declared = {(one["evse_id"], one["connector_id"]): one for one in built}
    return [_connector(pair, reported.get(pair, {}), declared.get(pair, {})) for pair in sorted({*reported, *declared})]


def _connector(pair: tuple[int, int], row: Mapping[str, Any], built: Mapping[str, Any]) -> ConnectorView:
    return ConnectorView(
        evse_id=pair[0],
        connector_id=pair[1],
        status=row.get("status"),
        reported_at=time(row.get("reported_ms")),
        status_at=time(row.get("status_at_ms")),
        error_code=row.get("error_code"),
        vendor_error_code=row.get("vendor_error_code"),
        info=row.get("info"),
        standard=built.get("standard"),
        format=built.get("format"),
        power_type=built.get("power_type"),
        max_power_w=built.get("max_power_w"),
        label=built.get("label"),
    )
