"""Charging profiles at chargers: set a stored one, clear, read back, and the shadow of what stands there."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue, model_validator

from csms.api.charging_profiles import ChargingProfileIn, ProfileId
from csms.api.commands import Issued, Target, issue, named_part
from csms.api.models import Body, Number, ShortText, Time, View
from csms.api.pages import Page, PageQuery, encode, numbers_key
from csms.api.routes import Call, Routes
from csms.app import chargingprofiles as use_cases
from csms.app import queries
from csms.domain import charging_profile as domain
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339
from csms.ports import ReadTx, Row, Table

route: Final = Routes("Charging profiles")

PurposeWord = Literal["ChargePointMaxProfile", "ChargingStationMaxProfile", "TxDefaultProfile", "TxProfile"]
Source = Literal["EMS", "Other", "SO", "CSO"]
Seconds = Annotated[int, Field(ge=1, le=604_800)]
_ISSUED: Final[dict[str, Any]] = {"answer": Issued, "status": 202, "errors": [404]}
_AT: Final = "/api/v1/chargers/{id}/charging-profiles"


class SetProfile(Target):
    """A profile for a charger, one of its EVSEs, or a session: a stored one by its number, or one given here."""

    profile_id: ProfileId | None = Field(default=None, description="of a stored profile")
    profile: ChargingProfileIn | None = Field(default=None, description="in OCPP's shape, with its number")
    session_id: ShortText | None = Field(default=None, description="for a TxProfile; else the one running there")

    @model_validator(mode="after")
    def _one_profile(self) -> SetProfile:
        if (self.profile_id is None) == (self.profile is None):
            raise ValueError("give profile_id or profile")
        return self


class ClearProfiles(Target):
    """Which to clear: one by its number, or all that match. 2.0.1 wants at least one member."""

    profile_id: Number | None = None
    purpose: PurposeWord | None = None
    stack_level: Number | None = None


class ReadProfiles(Body):
    """Which to read back: by number, or all that match. At least one member beside `evse_id` (K09.FR.03)."""

    evse_id: Annotated[int, Field(ge=0, le=999)] | None = Field(default=None, description="absent: of all")
    profile_ids: Annotated[list[Number], Field(min_length=1, max_length=100)] | None = None
    purpose: PurposeWord | Literal["ChargingStationExternalConstraints"] | None = None
    stack_level: Number | None = None
    sources: Annotated[list[Source], Field(min_length=1, max_length=4)] | None = None

    @model_validator(mode="after")
    def _something(self) -> ReadProfiles:
        if all(one is None for one in (self.profile_ids, self.purpose, self.stack_level, self.sources)):
            raise ValueError("give profile_ids, purpose, stack_level or sources")
        return self


class CompositeSchedule(Target):
    """Which power a charger, or one EVSE, will take over the next seconds, all profiles together."""

    duration_s: Seconds
    unit: Literal["W", "A"] | None = None


class InstalledProfile(View):
    """A profile a charger holds, as far as we set it or it told us."""

    evse_id: int = Field(description="0: the whole charger")
    profile_id: int = Field(description="below 0: not a profile but a limit or plan the charger told of")
    purpose: str
    stack_level: int
    transaction_id: str | None
    origin: Literal["csms", "reported", "vehicle"] = Field(
        description="`csms`: we set it; `reported`: the charger told us; `vehicle`: what the car will do"
    )
    source: str | None = Field(description="who limits: CSO, EMS, SO, Other")
    profile: JsonValue = Field(description="as it stands on the wire")
    updated_at: Time


@route("GET", _AT, query=PageQuery, answer=Page[InstalledProfile], errors=[404], summary="Profiles a charger holds")
async def list_installed(call: Call[PageQuery, None]) -> Page[InstalledProfile]:
    """One page of the shadow, by EVSE and number."""
    charger_id, q = call.path["id"], call.query

    def read(tx: ReadTx) -> list[Row]:
        queries.charger(tx, charger_id)
        rows = tx.many(Table.INSTALLED_PROFILES, station=charger_id)
        return sorted(rows, key=_key)

    rows = await call.system.store.read(read)
    cursor = numbers_key(q.cursor, 2)
    left = [row for row in rows if cursor is None or _key(row) > cursor]
    shown = left[: q.limit]
    following = encode(_key(shown[-1])) if len(left) > len(shown) else None
    return Page[InstalledProfile](items=[_view(row) for row in shown], next_cursor=following)


@route("POST", _AT, body=SetProfile, summary="Set a charging profile", **_ISSUED)
async def set_profile(call: Call[None, SetProfile]) -> Issued:
    """Send a profile to the charger, in a unit it takes. Nothing named, it is for the whole charger."""
    body, charger_id, now_ms = call.body, call.path["id"], call.now_ms()
    place = await named_part(call, body)

    def read(tx: ReadTx) -> dict[str, Any]:
        station = queries.charger(tx, charger_id)
        session = queries.session(tx, body.session_id) if body.session_id is not None else None
        if session is not None and session["station"] != charger_id:
            raise Refusal(Why.UNKNOWN_SESSION, f"Session {body.session_id!r} is not one of this charger.")
        evse, connector = place.get("evse") or 0, place.get("connector") or 0
        return use_cases.set_payload(
            tx, station, _given(tx, body), evse=evse, connector=connector, session=session, now_ms=now_ms
        )

    return await issue(call, "set_profile", await call.system.store.read(read))


@route("POST", f"{_AT}/clear", body=ClearProfiles, summary="Clear charging profiles", **_ISSUED)
async def clear_profiles(call: Call[None, ClearProfiles]) -> Issued:
    """Make the charger forget a profile, or all that match."""
    body = call.body
    place: dict[str, Any] = {"evse": 0} if body.evse_id == 0 else dict(await named_part(call, body))
    purpose = domain.PURPOSES[body.purpose].value if body.purpose is not None else None
    wanted = {"profile_id": body.profile_id, "purpose": purpose, "stack_level": body.stack_level}
    return await issue(call, "clear_profile", {**wanted, **place})


@route("POST", f"{_AT}/read", body=ReadProfiles, summary="Read charging profiles back", **_ISSUED)
async def read_profiles(call: Call[None, ReadProfiles]) -> Issued:
    """Ask a 2.0.1 charger what it holds. Its report corrects the shadow; what it has lost of ours is set again."""
    body = call.body
    await call.charger()
    purpose = domain.PURPOSES[body.purpose].value if body.purpose is not None else None
    number = await call.system.store.transact(lambda tx: tx.next_no("request"))
    wanted = {
        "request_id": number,
        "evse": body.evse_id,
        "profile_ids": body.profile_ids,
        "purpose": purpose,
        "stack_level": body.stack_level,
        "sources": body.sources,
    }
    return await issue(call, "get_profiles", wanted)


@route(
    "POST",
    "/api/v1/chargers/{id}/composite-schedule",
    body=CompositeSchedule,
    summary="Ask what a charger will draw",
    **_ISSUED,
)
async def composite_schedule(call: Call[None, CompositeSchedule]) -> Issued:
    """Ask the charger for its schedule, all profiles together; the instruction's response holds it."""
    body = call.body
    wanted: dict[str, Any] = {"duration_s": body.duration_s, "unit": body.unit, **await named_part(call, body)}
    return await issue(call, "composite_schedule", wanted)


def _given(tx: ReadTx, body: SetProfile) -> domain.Profile:
    if body.profile is not None:
        return domain.read_profile(body.profile.model_dump(exclude_unset=True))
    row = tx.one(Table.CHARGING_PROFILES, id=body.profile_id)
    if row is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no charging profile {body.profile_id}.")
    return domain.read_profile(json.loads(row["data"]), profile_id=row["id"])


def _key(row: Row) -> tuple[int, int]:
    return row["evse"], row["profile_id"]


def _view(row: Row) -> InstalledProfile:
    return InstalledProfile(
        evse_id=row["evse"],
        profile_id=row["profile_id"],
        purpose=row["purpose"],
        stack_level=row["stack_level"],
        transaction_id=row["tx_id"],
        origin=row["origin"],
        source=row["source"],
        profile=json.loads(row["data"]),
        updated_at=rfc3339(row["updated_ms"]),
    )
