"""What chargers watch for us, and the events they notify."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue, model_validator

from csms.api.models import LARGEST_NUMBER, Body, OpenView, Time, View, time
from csms.api.pages import Page, PageQuery, encode, number_key
from csms.api.provisioning import Name
from csms.api.routes import Call, Routes
from csms.app import queries
from csms.app.masks import mask
from csms.domain.notices import WORDS
from csms.domain.units import rfc3339
from csms.ports import ReadTx, Row, Table

route: Final = Routes("Monitoring")

MonitorType = Literal["UpperThreshold", "LowerThreshold", "Delta", "Periodic", "PeriodicClockAligned"]
Severity = Annotated[int, Field(ge=0, le=9, description="0 danger … 9 debug")]
MonitorId = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]


class Monitor(View):
    """Something the charger watches."""

    monitor_id: int
    name: str
    type: str
    value: str
    severity: int
    origin: Literal["csms", "reported"] = Field(description="csms: set by us; reported: it was there")
    transaction: bool = Field(description="only while a transaction runs")
    updated_at: Time


class MonitorIn(Body):
    """A monitor to set. With `monitor_id` the one of this number is replaced."""

    name: Name = Field(description="`Component.Variable`")
    type: MonitorType
    value: Annotated[float, Field(ge=-1e12, le=1e12)]
    severity: Severity
    transaction: bool = False
    monitor_id: MonitorId | None = None


class MonitorsIn(Body):
    """Monitors to set."""

    monitors: Annotated[list[MonitorIn], Field(min_length=1, max_length=500)]

    @model_validator(mode="after")
    def _each_once(self) -> MonitorsIn:
        keys = [(one.name.casefold(), one.type, one.severity) for one in self.monitors]
        if len(keys) != len(set(keys)):
            raise ValueError("monitors: one of them stands there twice")  # N04.FR.03
        return self


class Results(View):
    """The charger's result for each, in its own words."""

    results: list[JsonValue]


class Word(OpenView):
    """The charger's word."""

    status: str


class BaseIn(Body):
    """What is watched before anybody sets anything."""

    base: Literal["All", "FactoryDefault", "HardWiredOnly"]


class LevelIn(Body):
    """Up to which severity events are notified."""

    severity: Severity


class MonitorsReadIn(Body):
    """Which monitors to ask for; all when nothing is given."""

    names: Annotated[list[Name], Field(max_length=200)] = Field(default_factory=list)
    criteria: list[Literal["ThresholdMonitoring", "DeltaMonitoring", "PeriodicMonitoring"]] = Field(
        default_factory=list, max_length=3
    )


class Event(View):
    """An event as the charger notified it."""

    no: int
    kind: Literal["event", "security"]
    name: str
    severity: int
    severity_word: str
    value: str | None
    trigger: str | None
    cleared: bool
    monitor_id: int | None
    at: Time | None = Field(description="the charger's own time of it")
    received_at: Time
    data: JsonValue


class EventQuery(PageQuery):
    """Filters of the list."""

    kind: Literal["event", "security"] | None = None
    severity: Severity | None = None
    name: str | None = None


_CONVERSED: Final[dict[str, Any]] = {"errors": [404, 409]}


@route(
    "GET",
    "/api/v1/chargers/{id}/monitors",
    query=PageQuery,
    answer=Page[Monitor],
    errors=[404],
    summary="What the charger watches, by number",
)
async def list_monitors(call: Call[PageQuery, None]) -> Page[Monitor]:
    """One page, as far as we set them or it reported them."""
    charger_id, q = call.path["id"], call.query

    def read(tx: ReadTx) -> queries.Found:
        queries.charger(tx, charger_id)
        return queries.page(
            tx, Table.MONITORS, order="monitor_id", limit=q.limit, after=number_key(q.cursor), station=charger_id
        )

    found = await call.system.store.read(read)
    return Page[Monitor](items=[_monitor(row) for row in found.rows], next_cursor=encode(found.after))


@route(
    "PUT",
    "/api/v1/chargers/{id}/monitors",
    body=MonitorsIn,
    answer=Results,
    summary="Set monitors",
    **_CONVERSED,
)
async def set_monitors(call: Call[None, MonitorsIn]) -> Results:
    """Ask the charger to watch these, in as many messages as it can take, and wait for its results."""
    wants = [one.model_dump(exclude_none=True) for one in call.body.monitors]
    return Results(results=await call.system.monitoring.set(call.path["id"], wants))


@route(
    "DELETE",
    "/api/v1/chargers/{id}/monitors/{monitor_id}",
    path_types={"monitor_id": MonitorId},
    answer=Results,
    summary="Clear a monitor",
    **_CONVERSED,
)
async def clear_monitor(call: Call[None, None]) -> Results:
    """Ask the charger to watch it no more."""
    return Results(results=await call.system.monitoring.clear(call.path["id"], [call.path["monitor_id"]]))


@route(
    "POST",
    "/api/v1/chargers/{id}/monitors/read",
    body=MonitorsReadIn,
    answer=Word,
    summary="Ask what the charger watches",
    **_CONVERSED,
)
async def read_monitors(call: Call[None, MonitorsReadIn]) -> Word:
    """Ask and wait for its report; then the list here holds it."""
    status = await call.system.monitoring.read(call.path["id"], call.body.names, call.body.criteria)
    return Word(status=status)


@route(
    "PUT",
    "/api/v1/chargers/{id}/monitors/base",
    body=BaseIn,
    answer=Word,
    summary="Set the monitoring base",
    **_CONVERSED,
)
async def set_base(call: Call[None, BaseIn]) -> Word:
    """All, factory default, or hard-wired only; the last two clear what we had set."""
    return Word(status=await call.system.monitoring.base(call.path["id"], call.body.base))


@route(
    "PUT",
    "/api/v1/chargers/{id}/monitors/level",
    body=LevelIn,
    answer=Word,
    summary="Set the monitoring level",
    **_CONVERSED,
)
async def set_level(call: Call[None, LevelIn]) -> Word:
    """Events of a higher number than this are not notified."""
    return Word(status=await call.system.monitoring.level(call.path["id"], call.body.severity))


@route(
    "GET",
    "/api/v1/chargers/{id}/events",
    query=EventQuery,
    answer=Page[Event],
    errors=[404],
    summary="What the charger notified, newest first",
)
async def list_events(call: Call[EventQuery, None]) -> Page[Event]:
    """One page of events and security events."""
    charger_id, q = call.path["id"], call.query

    def read(tx: ReadTx) -> queries.Found:
        queries.charger(tx, charger_id)
        return queries.page(
            tx, Table.STATION_EVENTS, order="-no", limit=q.limit, after=number_key(q.cursor), station=charger_id,
            kind=q.kind, severity=q.severity, name=q.name,
        )  # fmt: skip

    found = await call.system.store.read(read)
    return Page[Event](items=[_event(row) for row in found.rows], next_cursor=encode(found.after))


def _monitor(row: Row) -> Monitor:
    return Monitor(
        monitor_id=row["monitor_id"],
        name=row["name"],
        type=row["type"],
        value=row["value"],
        severity=row["severity"],
        origin=row["origin"],
        transaction=bool(json.loads(row["data"]).get("transaction")),
        updated_at=rfc3339(row["updated_ms"]),
    )


def _event(row: Row) -> Event:
    return Event(
        no=row["no"],
        kind=row["kind"],
        name=row["name"],
        severity=row["severity"],
        severity_word=WORDS[row["severity"]],
        value=row["value"],
        trigger=row["trigger"],
        cleared=bool(row["cleared"]),
        monitor_id=row["monitor_id"],
        at=time(row["at_ms"]),
        received_at=rfc3339(row["received_ms"]),
        data=mask(json.loads(row["data"])),
    )
