"""The calendar of a location: which of its connectors is taken when, and when it is free."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal

from pydantic import Field

from csms.api.catalogue import chargers_of, one_of
from csms.api.models import Instant, Time, View
from csms.api.pages import Query
from csms.api.routes import Call, Routes
from csms.app.catalogue import join
from csms.domain.refusal import Refusal, Why
from csms.domain.reservation import ACTIVE
from csms.domain.units import from_ms, rfc3339, to_ms
from csms.ports import ReadTx, Row, Table

route: Final = Routes("Reservations")

_LONGEST: Final = timedelta(days=62)
_DEFAULT: Final = timedelta(days=1)


class CalendarQuery(Query):
    """Which time."""

    start: Instant | None = Field(default=None, description="now when absent")
    end: Instant | None = Field(default=None, description="a day after `start` when absent; two months at most")


class Free(View):
    """Nobody has it."""

    start_at: Time
    end_at: Time


class Taken(View):
    """Somebody has it. `soft`: for as long as a quotation holds."""

    start_at: Time
    end_at: Time
    reservation_id: int
    order_id: str | None
    hold: Literal["soft", "hard"]
    any_evse: bool = Field(description="one of the charger's connectors, whichever is free then")


class EvseCalendar(View):
    """One EVSE of the location that is a real charger's."""

    evse_uid: str
    charger_id: str
    evse_id: int
    reservable: bool = Field(description="whether buyers may reserve it")
    taken: list[Taken]
    free: list[Free]


class Calendar(View):
    """The location's EVSEs in its own order."""

    location_id: str
    start_at: Time
    end_at: Time
    evses: list[EvseCalendar]


@route(
    "GET",
    "/api/v1/locations/{id}/calendar",
    query=CalendarQuery,
    answer=Calendar,
    errors=[404],
    summary="When the connectors of a location are taken and free",
)
async def show_calendar(call: Call[CalendarQuery, None]) -> Calendar:
    """Reservations of all its chargers within a time."""
    start: datetime = call.query.start or from_ms(call.now_ms())
    end: datetime = call.query.end or start + _DEFAULT
    if not start < end <= start + _LONGEST:
        raise Refusal(Why.INVALID_REQUEST, "end: it lies after start, by 62 days at most.")
    start_ms, end_ms = to_ms(start), to_ms(end)

    def query(tx: ReadTx) -> list[EvseCalendar]:
        location = one_of(tx, call.path["id"])
        evses = [evse for evse in location.get("evses") or [] if evse.get("status") != "REMOVED"]
        joined = join(location, evses, chargers_of(tx))
        stations = sorted({station for station, _ in joined.values()})
        rows = tx.many(Table.RESERVATIONS, order="start_ms", before=end_ms, station=stations, status=ACTIVE)
        rows = [row for row in rows if row["end_ms"] > start_ms]
        return [
            _evse(evse, *joined[str(evse.get("uid"))], rows, (start_ms, end_ms), joined)
            for evse in evses
            if str(evse.get("uid")) in joined
        ]

    evses = await call.system.store.read(query)
    return Calendar(location_id=call.path["id"], start_at=rfc3339(start_ms), end_at=rfc3339(end_ms), evses=evses)


def _evse(
    evse: dict[str, object],
    station: str,
    number: int,
    rows: list[Row],
    window: tuple[int, int],
    joined: dict[str, tuple[str, int]],
) -> EvseCalendar:
    own = [row for row in rows if row["station"] == station and row["evse"] in (0, number)]
    is_only = sum(1 for other, _ in joined.values() if other == station) == 1
    claims = [(row["start_ms"], row["end_ms"]) for row in own if row["evse"] == number or is_only]
    capabilities = evse.get("capabilities")
    return EvseCalendar(
        evse_uid=str(evse.get("uid")),
        charger_id=station,
        evse_id=number,
        reservable=isinstance(capabilities, list) and "RESERVABLE" in capabilities,
        taken=[
            Taken(
                start_at=rfc3339(row["start_ms"]),
                end_at=rfc3339(row["end_ms"]),
                reservation_id=row["id"],
                order_id=row["order_id"],
                hold=row["hold"],
                any_evse=row["evse"] == 0,
            )
            for row in own
        ],
        free=[Free(start_at=rfc3339(begin), end_at=rfc3339(until)) for begin, until in free(claims, *window)],
    )


def free(claims: list[tuple[int, int]], start_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """What is left of a time when others have theirs, in order."""
    left: list[tuple[int, int]] = []
    at_ms = start_ms
    for begin, until in sorted(claims):
        if begin > at_ms:
            left.append((at_ms, min(begin, end_ms)))
        at_ms = max(at_ms, until)
    if at_ms < end_ms:
        left.append((at_ms, end_ms))
    return left
