"""Diagnostics and logs of chargers: ask for one, see how it goes, fetch the file."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from aiohttp import web
from pydantic import Field, model_validator

from csms.api.models import Body, Instant, Time, View
from csms.api.ocpp import WaitQuery
from csms.api.pages import Page, PageQuery, encode, text_key
from csms.api.routes import Call, Routes
from csms.app import queries
from csms.app.masks import mask
from csms.app.uploads import LogRequest
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339, to_ms
from csms.ports import ReadTx, Row, Table

route: Final = Routes("Logs")

_KINDS: Final = {"DiagnosticsLog": "diagnostics", "SecurityLog": "security"}
_BINARY: Final = "application/octet-stream"
# What a charger named its file must not end the header, nor lead anywhere.
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f\"\\/]")


class LogIn(Body):
    """What is wanted of a charger."""

    kind: Literal["diagnostics", "security"] = "diagnostics"
    oldest_at: Instant | None = Field(default=None, description="nothing from before")
    latest_at: Instant | None = Field(default=None, description="nothing from after")
    retries: Annotated[int, Field(ge=0, le=20)] | None = None
    retry_interval_s: Annotated[int, Field(ge=1, le=86_400)] | None = None
    location: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^\S+$")] | None = Field(
        default=None, description="a place of your own, e.g. ftp://…; then the file does not come here"
    )
    login: bool = Field(
        default=False, description="the address carries user and password, for chargers that only know Basic"
    )

    @model_validator(mode="after")
    def _in_order(self) -> LogIn:
        if self.oldest_at is not None and self.latest_at is not None and self.oldest_at >= self.latest_at:
            raise ValueError("oldest_at must lie before latest_at")
        return self


class Log(View):
    """One requested file."""

    id: str
    charger_id: str
    kind: Literal["diagnostics", "security"]
    request_id: int | None = Field(description="the number on the wire; GetDiagnostics has none")
    state: str = Field(
        description="asked, accepted, uploading, received, elsewhere, nothing, refused, cancelled, failed, expired "
        "or dropped (deleted by age)"
    )
    status: str | None = Field(description="the charger's own last word")
    detail: str | None
    location: str | None = Field(description="when the file does not come here")
    file_name: str | None
    size: int | None = Field(description="bytes")
    sha256: str | None
    created_at: Time
    expires_at: Time
    updated_at: Time


@route(
    "POST",
    "/api/v1/chargers/{id}/logs",
    query=WaitQuery,
    body=LogIn,
    answer=Log,
    status=201,
    errors=[404],
    summary="Ask a charger for its diagnostics or log",
)
async def ask_log(call: Call[WaitQuery, LogIn]) -> Log:
    """GetDiagnostics or GetLog, whichever the charger speaks. `asked`: it has not answered in time, but it may."""
    body = call.body
    await call.charger()
    wanted = LogRequest(
        kind=body.kind,
        oldest_ms=to_ms(body.oldest_at) if body.oldest_at is not None else None,
        latest_ms=to_ms(body.latest_at) if body.latest_at is not None else None,
        retries=body.retries,
        retry_interval_s=body.retry_interval_s,
        location=body.location,
        is_login=body.login,
    )
    logs = call.system.maintenance.logs
    upload_id = await logs.ask(call.path["id"], wanted, call.who.name, timeout_s=call.query.timeout_s)
    return _view(await call.system.store.read(lambda tx: _log(tx, call.path["id"], upload_id)))


@route(
    "GET",
    "/api/v1/chargers/{id}/logs",
    query=PageQuery,
    answer=Page[Log],
    errors=[404],
    summary="Requested logs of a charger, newest first",
)
async def list_logs(call: Call[PageQuery, None]) -> Page[Log]:
    """One page of them."""
    q = call.query

    def read(tx: ReadTx) -> queries.Found:
        station = queries.charger(tx, call.path["id"])
        after = text_key(q.cursor)
        return queries.page(tx, Table.UPLOADS, order="-id", limit=q.limit, after=after, station=station["id"])

    found = await call.system.store.read(read)
    return Page[Log](items=[_view(row) for row in found.rows], next_cursor=encode(found.after))


@route(
    "GET",
    "/api/v1/chargers/{id}/logs/{log}",
    answer=Log,
    errors=[404],
    summary="One requested log",
)
async def show_log(call: Call[None, None]) -> Log:
    """One of them."""
    return _view(await call.system.store.read(lambda tx: _log(tx, call.path["id"], call.path["log"])))


@route(
    "GET",
    "/api/v1/chargers/{id}/logs/{log}/file",
    media=(_BINARY,),
    errors=[404, 409],
    scope="write",
    summary="The file of a log",
)
async def fetch_log(call: Call[None, None]) -> web.StreamResponse:
    """The file as the charger sent it. A log may hold secrets of the charger: a key that only reads does not do."""
    row = await call.system.store.read(lambda tx: _log(tx, call.path["id"], call.path["log"]))
    if row["file"] is None:
        raise Refusal(Why.WRONG_STATE, f"There is no file: it is {row['state']}.")
    name = _UNSAFE.sub("_", row["file_name"] or f"{row['id']}.log")
    headers = {
        "Content-Type": _BINARY,
        "Content-Disposition": f'attachment; filename="{name.encode("ascii", "replace").decode()}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return web.FileResponse(call.system.maintenance.files.path(row["file"]), headers=headers)


def _log(tx: ReadTx, charger_id: str, upload_id: str) -> Row:
    row = tx.one(Table.UPLOADS, id=upload_id, station=queries.charger(tx, charger_id)["id"])
    if row is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"This charger was not asked for a log {upload_id!r}.")
    return row


def _view(row: Row) -> Log:
    return Log(
        id=row["id"],
        charger_id=row["station"],
        kind="security" if _KINDS.get(row["log_type"]) == "security" else "diagnostics",
        request_id=row["request_id"] if row["kind"] == "log" else None,
        state=row["state"],
        status=row["status"],
        detail=row["detail"],
        location=mask(row["location"]),
        file_name=row["file_name"],
        size=row["size"],
        sha256=row["sha256"],
        created_at=rfc3339(row["created_ms"]),
        expires_at=rfc3339(row["expires_ms"]),
        updated_at=rfc3339(row["updated_ms"]),
    )
