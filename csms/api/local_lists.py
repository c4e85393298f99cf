"""The authorization list that a charger keeps for when it is offline."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from csms.api.models import Body, Time, View, time
from csms.api.routes import Call, Routes
from csms.api.system import System
from csms.domain.locallist import Listed

route: Final = Routes("Local lists")

Rule = Literal["off", "fleet", "all"]


class LocalListIn(Body):
    """Which tokens belong on the charger's list."""

    tokens: Rule | None = Field(description="null: as `access.local_lists` has it for all chargers")


class EntryView(View):
    """A token as the charger was told of it."""

    uid: str
    type: str | None = Field(description="null: OCPP 1.6 tells none")
    status: str
    group_id: str | None
    expires_at: Time | None
    evse_ids: list[int] = Field(description="good at these only; empty: at all")


class LocalList(View):
    """What a charger's list should hold and what it was told. It follows whatever is sent, also by hand."""

    charger_id: str
    tokens: Rule = Field(description="the rule in force")
    own_rule: Rule | None = Field(description="this charger's own rule; null: as configured for all")
    state: Literal["unknown", "in-step", "due", "not-supported", "failed"]
    detail: str | None
    version: int = Field(description="of the list it took last; 0: none")
    reported_version: int | None = Field(description="what it said last; -1: it keeps no list")
    entries: list[EntryView]
    checked_at: Time | None
    updated_at: Time | None


@route(
    "GET",
    "/api/v1/chargers/{id}/local-list",
    answer=LocalList,
    errors=[404],
    summary="The tokens a charger keeps for when it is offline",
)
async def show_local_list(call: Call[None, None]) -> LocalList:
    """What the charger was told, and whether that is what it should hold."""
    charger = await call.charger()
    return await _view(call.system, charger["id"])


@route(
    "PUT",
    "/api/v1/chargers/{id}/local-list",
    body=LocalListIn,
    answer=LocalList,
    errors=[404],
    summary="Which tokens belong on a charger's list",
)
async def put_local_list(call: Call[None, LocalListIn]) -> LocalList:
    """Give the charger a rule of its own. Switched off, its list is emptied and left alone from then on."""
    charger_id = (await call.charger())["id"]
    await call.system.local_lists.set_rule(charger_id, call.body.tokens, call.who.name)
    return await _view(call.system, charger_id)


@route(
    "POST",
    "/api/v1/chargers/{id}/local-list/sync",
    answer=LocalList,
    status=202,
    errors=[404],
    summary="Compare a charger's list now, and bring it in step",
)
async def sync_local_list(call: Call[None, None]) -> LocalList:
    """Ask the charger for its version and send what is missing, as soon as it is connected and quiet."""
    charger_id = (await call.charger())["id"]
    call.system.local_lists.ask(charger_id)
    return await _view(call.system, charger_id)


async def _view(system: System, charger_id: str) -> LocalList:
    shadow = await system.local_lists.shadow(charger_id)
    return LocalList.model_validate(
        {
            "charger_id": charger_id,
            "tokens": system.local_lists.rule(charger_id),
            "own_rule": shadow.tokens,
            "state": shadow.state,
            "detail": shadow.detail,
            "version": shadow.version,
            "reported_version": shadow.reported_version,
            "entries": [_entry(shadow.entries[key]) for key in sorted(shadow.entries)],
            "checked_at": time(shadow.checked_ms),
            "updated_at": time(shadow.updated_ms),
        }
    )


def _entry(entry: Listed) -> EntryView:
    return EntryView(
        uid=entry.uid,
        type=entry.type,
        status=entry.status,
        group_id=entry.group_id,
        expires_at=time(entry.expires_ms),
        evse_ids=list(entry.evses),
    )
