"""Firmware: images, campaigns that bring one to many chargers, and how it goes at each."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Final, Literal

from pydantic import Field

from csms.api.models import Body, ChargerId, Empty, Instant, ShortText, Time, View, time
from csms.api.ocpp import WaitQuery
from csms.api.pages import Page, PageQuery, encode, text_key
from csms.api.problems import NO_ROOM, TOO_LARGE, Problem
from csms.api.routes import Call, Routes
from csms.app import queries
from csms.app.masks import mask
from csms.app.upgrading import campaign_of, image_of, is_ready, orders_of, progress
from csms.domain.firmware import Orders, Selection
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339, to_ms
from csms.ports import NotKept, ReadTx, Row, Table, TooBig

route: Final = Routes("Firmware")

Hex256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
Url = Annotated[str, Field(max_length=512, pattern=r"^[A-Za-z][A-Za-z0-9+.-]*://\S+$")]
FileName = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]
Glob = Annotated[ShortText, Field(description="`*` and `?` stand for anything")]
CampaignState = Literal["running", "paused", "stopped", "cancelled", "done"]


class ImageIn(Body):
    """A firmware image. Without `url` its file is put here, see `PUT …/file`."""

    version: Annotated[ShortText, Field(description="as chargers report it once they run it")]
    vendor: ShortText | None = Field(default=None, description="it is for chargers of this vendor only")
    model: ShortText | None = Field(default=None, description="and of this model only")
    url: Url | None = Field(default=None, description="where chargers fetch it, when it is kept elsewhere")
    file_name: FileName | None = Field(default=None, description="the last part of the address chargers see")
    sha256: Hex256 | None = None
    signing_certificate: Annotated[str, Field(max_length=5500)] | None = Field(default=None, description="PEM")
    signature: Annotated[str, Field(max_length=800)] | None = Field(
        default=None, description="base64; RSA-PSS or ECDSA with SHA-256 over the file; verified here"
    )


class Image(View):
    """A firmware image."""

    id: str
    version: str
    vendor: str | None
    model: str | None
    url: str | None
    file_name: str | None
    size: int | None = Field(description="bytes; null while the file is not here")
    sha256: str | None
    md5: str | None = Field(description="PublishFirmware asks for it")
    signed: bool = Field(description="with a signature that was verified")
    ready: bool = Field(description="chargers can fetch it")
    created_at: Time


class CampaignIn(Body):
    """Bring an image to chargers. Whatever narrows the choice must fit; the image's vendor and model do, too."""

    image_id: ShortText
    charger_ids: Annotated[list[ChargerId], Field(max_length=10_000)] = Field(default_factory=list)
    location_ids: Annotated[list[ShortText], Field(max_length=1_000)] = Field(default_factory=list)
    vendor: Glob | None = Field(default=None, description="instead of the image's")
    model: Glob | None = Field(default=None, description="instead of the image's")
    firmware: Glob | None = Field(default=None, description="only chargers that report this version now")
    include_same: bool = Field(default=False, description="also those that report the image's version already")
    start_at: Instant | None = Field(default=None, description="now when absent")
    retrieve_at: Instant | None = Field(default=None, description="when chargers shall download; when asked if absent")
    install_at: Instant | None = Field(default=None, description="when they shall install; not in plain OCPP 1.6")
    at_once: Annotated[int, Field(ge=1, le=10_000)] = 10
    stop_after: Annotated[int, Field(ge=0, le=10_000, description="failures; 0 never stops")] = 3
    tries: Annotated[int, Field(ge=1, le=20)] = 3
    retry_s: Annotated[int, Field(ge=0, le=86_400, description="between attempts, growing")] = 600
    window_s: Annotated[int, Field(ge=60, le=604_800, description="an attempt that is silent so long is over")] = 7200
    when_idle: bool = Field(default=True, description="not while somebody charges")
    replace: bool = Field(default=False, description="also where another update is under way")


class Campaign(View):
    """A campaign and how far it is."""

    id: str
    image_id: str
    state: CampaignState
    detail: str | None = Field(description="why it stopped by itself")
    start_at: Time
    at_once: int
    stop_after: int
    progress: dict[str, int] = Field(
        description="chargers by state: waiting, asked, downloading, downloaded, installing, installed, failed or "
        "cancelled"
    )
    created_at: Time
    updated_at: Time


class CampaignQuery(PageQuery):
    """Filters of the list."""

    state: CampaignState | None = None
    image_id: str | None = None


class Job(View):
    """One charger in one campaign."""

    id: str
    campaign_id: str
    image_id: str
    charger_id: str
    version: str
    state: str
    status: str | None = Field(description="the charger's own last word")
    detail: str | None
    attempts: int
    request_id: int | None
    version_before: str | None
    proven: bool = Field(description="it has booted with the new version")
    due_at: Time | None = Field(description="waiting: not before; under way: given up then")
    created_at: Time
    updated_at: Time


class JobQuery(PageQuery):
    """Filters of the list."""

    campaign_id: str | None = None
    charger_id: str | None = None
    state: str | None = None


# -- images


@route(
    "GET",
    "/api/v1/firmware-images",
    query=PageQuery,
    answer=Page[Image],
    summary="Firmware images, newest first",
)
async def list_images(call: Call[PageQuery, None]) -> Page[Image]:
    """One page of images."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(tx, Table.FIRMWARE_IMAGES, order="-id", limit=q.limit, after=text_key(q.cursor))
    )
    return Page[Image](items=[_image(row) for row in found.rows], next_cursor=encode(found.after))


@route(
    "POST",
    "/api/v1/firmware-images",
    body=ImageIn,
    answer=Image,
    status=201,
    summary="Announce a firmware image",
)
async def add_image(call: Call[None, ImageIn]) -> Image:
    """A new image. A signature is verified as soon as the digest is known; one that does not hold is refused."""
    body = call.body
    row: Row = {
        "version": body.version,
        "vendor": body.vendor,
        "model": body.model,
        "url": body.url,
        "sha256": body.sha256.lower() if body.sha256 is not None else None,
        "signing_certificate": body.signing_certificate,
        "signature": body.signature,
        "data": json.dumps({"file_name": body.file_name}),
    }
    return _image(await call.system.maintenance.upgrading.add_image(row, call.who.name))


@route("GET", "/api/v1/firmware-images/{id}", answer=Image, errors=[404], summary="One firmware image")
async def show_image(call: Call[None, None]) -> Image:
    """One image."""
    return _image(await call.system.store.read(lambda tx: image_of(tx, call.path["id"])))


@route(
    "PUT",
    "/api/v1/firmware-images/{id}/file",
    takes="application/octet-stream",
    answer=Image,
    errors=[404, 409, 413, 422, 507],
    summary="Put the file of an image",
)
async def put_image_file(call: Call[None, None]) -> Image:
    """The file as it is, in the body. What does not fit the digest or the signature is refused and thrown away."""
    maintenance = call.system.maintenance
    await call.system.store.read(lambda tx: image_of(tx, call.path["id"]))
    try:
        draft = await maintenance.files.draft(_chunks(call), maintenance.limits.firmware_bytes)
    except TooBig:
        mib = maintenance.limits.firmware_bytes // (1024 * 1024)
        raise Problem(TOO_LARGE, f"A firmware image may be {mib} MiB at most (files.firmware_mib).") from None
    except NotKept as no:
        raise Problem(NO_ROOM, f"The disk of `files.folder` does not take it: {no}. Free space, then again.") from None
    return _image(await maintenance.upgrading.put_file(call.path["id"], draft, call.who.name))


async def _chunks(call: Call[None, None]) -> AsyncIterator[bytes]:
    async for chunk in call.request.content.iter_any():
        yield chunk


@route("DELETE", "/api/v1/firmware-images/{id}", errors=[404], summary="Delete a firmware image")
async def delete_image(call: Call[None, None]) -> None:
    """Delete an image that no campaign needs any more, with its file."""
    await call.system.maintenance.upgrading.drop_image(call.path["id"], call.who.name)


# -- campaigns


@route(
    "GET",
    "/api/v1/firmware-campaigns",
    query=CampaignQuery,
    answer=Page[Campaign],
    summary="Firmware campaigns, newest first",
)
async def list_campaigns(call: Call[CampaignQuery, None]) -> Page[Campaign]:
    """One page of campaigns."""
    q = call.query

    def read(tx: ReadTx) -> Page[Campaign]:
        found = queries.page(
            tx,
            Table.FIRMWARE_CAMPAIGNS,
            order="-id",
            limit=q.limit,
            after=text_key(q.cursor),
            state=q.state,
            image=q.image_id,
        )
        return Page[Campaign](items=[_campaign(tx, row) for row in found.rows], next_cursor=encode(found.after))

    return await call.system.store.read(read)


@route(
    "POST",
    "/api/v1/firmware-campaigns",
    body=CampaignIn,
    answer=Campaign,
    status=201,
    errors=[404],
    summary="Start a firmware campaign",
)
async def start_campaign(call: Call[None, CampaignIn]) -> Campaign:
    """Choose the chargers now, ask them from `start_at` on, at most `at_once` at a time."""
    body, now_ms = call.body, call.now_ms()
    image = await call.system.store.read(lambda tx: image_of(tx, body.image_id))
    selection = Selection(
        chargers=tuple(body.charger_ids),
        locations=tuple(body.location_ids),
        vendor=body.vendor or image["vendor"],
        model=body.model or image["model"],
        firmware=body.firmware,
        includes_same=body.include_same,
    )
    orders = Orders(
        window_ms=body.window_s * 1000,
        tries=body.tries,
        retry_ms=body.retry_s * 1000,
        retrieve_ms=to_ms(body.retrieve_at) if body.retrieve_at is not None else None,
        install_ms=to_ms(body.install_at) if body.install_at is not None else None,
        when_idle=body.when_idle,
        replaces=body.replace,
        at_once=body.at_once,
        stop_after=body.stop_after,
    )
    start_ms = max(to_ms(body.start_at), now_ms) if body.start_at is not None else now_ms
    upgrading = call.system.maintenance.upgrading
    campaign_id = await upgrading.start(body.image_id, selection, orders, start_ms, call.who.name)
    return await _shown(call, campaign_id)


@route(
    "GET",
    "/api/v1/firmware-campaigns/{id}",
    answer=Campaign,
    errors=[404],
    summary="One firmware campaign",
)
async def show_campaign(call: Call[None, None]) -> Campaign:
    """One campaign."""
    return await _shown(call, call.path["id"])


@route(
    "POST",
    "/api/v1/firmware-campaigns/{id}/pause",
    body=Empty,
    answer=Campaign,
    errors=[404],
    summary="Pause a campaign",
)
async def pause_campaign(call: Call[None, Empty]) -> Campaign:
    """Ask no further charger. What is under way goes on."""
    return await _steered(call, "pause")


@route(
    "POST",
    "/api/v1/firmware-campaigns/{id}/resume",
    body=Empty,
    answer=Campaign,
    errors=[404],
    summary="Resume a campaign",
)
async def resume_campaign(call: Call[None, Empty]) -> Campaign:
    """Go on with one that was paused, or that stopped because of failures."""
    return await _steered(call, "resume")


@route(
    "POST",
    "/api/v1/firmware-campaigns/{id}/cancel",
    body=Empty,
    answer=Campaign,
    errors=[404],
    summary="Cancel a campaign",
)
async def cancel_campaign(call: Call[None, Empty]) -> Campaign:
    """Whoever waits is not asked any more. What is under way goes on: OCPP has no word to end it."""
    return await _steered(call, "cancel")


@route("GET", "/api/v1/firmware-jobs", query=JobQuery, answer=Page[Job], summary="Updates by charger, newest first")
async def list_jobs(call: Call[JobQuery, None]) -> Page[Job]:
    """One page of updates."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(
            tx,
            Table.FIRMWARE_JOBS,
            order="-id",
            limit=q.limit,
            after=text_key(q.cursor),
            campaign=q.campaign_id,
            station=q.charger_id,
            state=q.state,
        )
    )
    return Page[Job](items=[_job(row) for row in found.rows], next_cursor=encode(found.after))


# -- local controllers


class PublishIn(Body):
    """Have a local controller offer an image to the stations behind it."""

    image_id: ShortText


class Publication(View):
    """What a local controller says about an image it was asked to publish."""

    request_id: int
    status: str = Field(description="its answer, then what it told: Downloading, …, Published, …")
    locations: list[str] = Field(description="where it offers the image")
    at: Time


@route(
    "POST",
    "/api/v1/chargers/{id}/firmware-publications",
    query=WaitQuery,
    body=PublishIn,
    answer=Publication,
    status=201,
    errors=[404],
    summary="Publish an image at a local controller",
)
async def publish(call: Call[WaitQuery, PublishIn]) -> Publication:
    """PublishFirmware (OCPP 2.0.1). UnpublishFirmware is an OCPP message like any other; it takes the image's md5."""
    charger_id, image_id = call.path["id"], call.body.image_id
    await call.charger()
    ask = call.system.maintenance.upgrades.publish
    request_id, answer = await ask(charger_id, image_id, timeout_s=call.query.timeout_s)
    if answer.status == "offline":
        raise Refusal(Why.STATION_OFFLINE, f"{charger_id} is not connected; ask again when it is.")
    said = answer.response.get("status") if isinstance(answer.response, dict) else answer.status
    return Publication(request_id=request_id, status=str(said), locations=[], at=rfc3339(call.now_ms()))


@route(
    "GET",
    "/api/v1/chargers/{id}/firmware-publications",
    answer=Page[Publication],
    errors=[404],
    summary="What a local controller publishes, newest first",
)
async def list_publications(call: Call[None, None]) -> Page[Publication]:
    """The last notice about each publication."""

    def read(tx: ReadTx) -> list[Row]:
        station = queries.charger(tx, call.path["id"])["id"]
        return tx.many(Table.REPORTS, order="received_ms", station=station, kind="PublishFirmwareStatusNotification")

    newest: dict[int, Publication] = {}
    for row in await call.system.store.read(read):
        told = json.loads(row["body"])
        if told["status"] == "Idle":
            continue
        newest.pop(row["request_id"], None)
        newest[row["request_id"]] = Publication(
            request_id=row["request_id"],
            status=told["status"],
            locations=told.get("location") or [],
            at=rfc3339(row["received_ms"]),
        )
    return Page[Publication](items=list(newest.values())[::-1], next_cursor=None)


async def _steered(call: Call[None, Empty], how: str) -> Campaign:
    await call.system.maintenance.upgrading.steer(call.path["id"], how, call.who.name)
    return await _shown(call, call.path["id"])


async def _shown(call: Call[None, CampaignIn] | Call[None, Empty] | Call[None, None], campaign_id: str) -> Campaign:
    return await call.system.store.read(lambda tx: _campaign(tx, campaign_of(tx, campaign_id)))


def _image(row: Row) -> Image:
    data = json.loads(row["data"])
    return Image(
        id=row["id"],
        version=row["version"],
        vendor=row["vendor"],
        model=row["model"],
        url=mask(row["url"]),
        file_name=data.get("file_name"),
        size=row["size"],
        sha256=row["sha256"],
        md5=data.get("md5"),
        signed=row["signature"] is not None and is_ready(row),
        ready=is_ready(row),
        created_at=rfc3339(row["created_ms"]),
    )


def _campaign(tx: ReadTx, row: Row) -> Campaign:
    orders = orders_of(row)
    return Campaign(
        id=row["id"],
        image_id=row["image"],
        state=row["state"],
        detail=row["detail"],
        start_at=rfc3339(row["start_ms"]),
        at_once=orders.at_once,
        stop_after=orders.stop_after,
        progress=progress(tx, row["id"]),
        created_at=rfc3339(row["created_ms"]),
        updated_at=rfc3339(row["updated_ms"]),
    )


def _job(row: Row) -> Job:
    data = json.loads(row["data"])
    return Job(
        id=row["id"],
        campaign_id=row["campaign"],
        image_id=row["image"],
        charger_id=row["station"],
        version=data["version"],
        state=row["state"],
        status=row["status"],
        detail=row["detail"],
        attempts=row["attempts"],
        request_id=row["request_id"],
        version_before=data["before"],
        proven=data["is_proven"],
        due_at=time(row["due_ms"]),
        created_at=rfc3339(row["created_ms"]),
        updated_at=rfc3339(row["updated_ms"]),
    )
