"""Firmware: images, campaigns, and each charger's way through one.

    image ─▶ campaign ─▶ a job per charger ─▶ tick: whose turn ─▶ errand: claim, ask ─▶ answer, notices, boot ─▶ job

The decisions about one job stand in `domain.firmware`; here each is one transaction with its facts. A charger fetches
an image kept here with a ticket of its own in the address, which ends and opens nothing else.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from csms.app.signatures import check_signature
from csms.app.stations import Stations
from csms.domain import firmware as domain
from csms.domain.firmware import OPEN, UNDER_WAY, Job, Orders, Selection, State
from csms.domain.refusal import Refusal, Why
from csms.ports import Clock, Draft, Fact, Files, Ids, ReadTx, Row, Store, Table, Tx

_UNDER_WAY: Final = tuple(sorted(UNDER_WAY))
_OPEN: Final = tuple(sorted(OPEN))
_BUSY_PAUSE_MS: Final = 60_000  # a charger with a session open is asked again after this
_AWAY_PAUSE_MS: Final = 30_000  # and one that is not connected
_LOOK: Final = 500
# More are called than there is room for: some are busy, and the claim counts.
_CALLED_PER_ROOM: Final = 4
_MAC_CHARS: Final = 22
_STEERED: Final = {
    "pause": ("paused", ("running",)),
    "resume": ("running", ("paused", "stopped")),
    "cancel": ("cancelled", ("running", "paused", "stopped")),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a charger is to be asked now."""

    job_id: str
    request_id: int
    location: str
    orders: Orders
    signing_certificate: str | None
    signature: str | None


class Upgrading:
    """The use cases around `firmware_images`, `firmware_campaigns` and `firmware_jobs`."""

    FOLLOWED: Final = frozenset({"StationBooted"})

    def __init__(
        self,
        *,
        store: Store,
        files: Files,
        stations: Stations,
        clock: Clock,
        ids: Ids,
        public_url: str,
        key: bytes,
        ticket_life_s: int,
        want: Callable[[str], None],
    ) -> None:
        self._store = store
        self._files = files
        self._stations = stations
        self._clock = clock
        self._ids = ids
        self._public_url = public_url.rstrip("/")
        self._key = key
        self._ticket_life_s = ticket_life_s
        self._want = want
        self._keeping = asyncio.Lock()  # of two files for one image the row must mean the one that lies there

    # -- images

    async def add_image(self, image: Row, who: str) -> Row:
        """A new image; signed ones are checked as soon as their digest is known."""
        now_ms = self._clock.now_ms()
        row: Row = {"id": self._ids.uuid(), "created_ms": now_ms, **image}
        _check(row, now_ms)

        def work(tx: Tx) -> Row:
            tx.add(Table.FIRMWARE_IMAGES, row)
            tx.append([Fact("FirmwareImageAdded", now_ms, {"image_id": row["id"], "who": who})])
            return image_of(tx, row["id"])

        return await self._store.transact(work)

    async def put_file(self, image_id: str, draft: Draft, who: str) -> Row:
        """The file of an image. What does not fit what was said of it is thrown away and refused."""
        async with self._keeping:
            return await self._put_file(image_id, draft, who)

    async def _put_file(self, image_id: str, draft: Draft, who: str) -> Row:
        now_ms = self._clock.now_ms()
        name = f"firmware/{image_id}"
        try:
            row = await self._store.read(lambda tx: image_of(tx, image_id))
            if row["url"] is not None:
                raise Refusal(Why.WRONG_STATE, "This image is kept elsewhere; chargers fetch it from its url.")
            if row["file"] is not None and row["sha256"] != draft.sha256:
                raise Refusal(Why.ALREADY_EXISTS, "This image has its file; another file is another image.")
            if row["sha256"] not in {None, draft.sha256}:
                raise Refusal(Why.INVALID_REQUEST, f"The file's sha256 is {draft.sha256}, not {row['sha256']}.")
            data = {**json.loads(row["data"]), "md5": draft.md5}
            found = {"file": name, "sha256": draft.sha256, "size": draft.size, "data": json.dumps(data)}
            _check({**row, **found}, now_ms)
            await self._files.keep(draft, name)
        except BaseException:
            await self._files.discard(draft)
            raise

        def work(tx: Tx) -> Row:
            tx.change(Table.FIRMWARE_IMAGES, found, id=image_id)
            tx.append([Fact("FirmwareImageAdded", now_ms, {"image_id": image_id, "who": who, "size": draft.size})])
            return image_of(tx, image_id)

        return await self._store.transact(work)

    async def drop_image(self, image_id: str, who: str) -> None:
        """Forget an image and its file, unless a campaign still needs it."""
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> Row:
            row = image_of(tx, image_id)
            if tx.count(Table.FIRMWARE_JOBS, image=image_id, state=_OPEN):
                raise Refusal(Why.WRONG_STATE, "A campaign still needs this image; cancel it first.")
            tx.drop(Table.FIRMWARE_IMAGES, id=image_id)
            tx.append([Fact("FirmwareImageDeleted", now_ms, {"image_id": image_id, "who": who})])
            return row

        gone = await self._store.transact(work)
        if gone["file"] is not None:
            await self._files.drop(gone["file"])

    # -- campaigns

    async def start(self, image_id: str, selection: Selection, orders: Orders, start_ms: int, who: str) -> str:
        """Make a campaign and a job for each charger it is for; its id. Refuses one that is for nobody."""
        now_ms, campaign_id = self._clock.now_ms(), self._ids.uuid()

        def work(tx: Tx) -> str:
            image = image_of(tx, image_id)
            if not is_ready(image):
                raise Refusal(Why.WRONG_STATE, "The image has no file yet.")
            _check(image, now_ms)  # its certificate may have ended since
            for charger_id in selection.chargers:
                station = tx.one(Table.STATIONS, id=charger_id)
                if station is None or station["deleted"]:
                    raise Refusal(Why.UNKNOWN_STATION, f"There is no charger {charger_id!r}.")
            chosen = [row for row in tx.many(Table.STATIONS, deleted=0) if selection.fits(row, image["version"])]
            if not chosen:
                raise Refusal(Why.INVALID_REQUEST, "No charger fits the selection, or all have this version already.")
            data = {"orders": orders.as_row(), "selection": _selection_row(selection)}
            row: Row = {
                "id": campaign_id,
                "image": image_id,
                "state": "running",
                "start_ms": start_ms,
                "data": json.dumps(data),
                "created_ms": now_ms,
                "updated_ms": now_ms,
            }
            tx.add(Table.FIRMWARE_CAMPAIGNS, row)
            for station in chosen:
                job = Job(image["version"], due_ms=start_ms)
                made = {"id": self._ids.uuid(), "campaign": campaign_id, "image": image_id, "station": station["id"]}
                tx.add(Table.FIRMWARE_JOBS, {**made, **_job_row(job), "created_ms": now_ms, "updated_ms": now_ms})
            told = {"campaign_id": campaign_id, "state": "running", "chargers": len(chosen), "who": who}
            tx.append([Fact("FirmwareCampaignChanged", now_ms, told)])
            return campaign_id

        return await self._store.transact(work)

    async def steer(self, campaign_id: str, how: str, who: str) -> None:
        """`pause`, `resume` or `cancel`. What is under way at a charger goes on: OCPP has no word to end it."""
        to, allowed = _STEERED[how]
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> None:
            row = campaign_of(tx, campaign_id, take=tx)
            if row["state"] == to:
                return
            if row["state"] not in allowed:
                raise Refusal(Why.WRONG_STATE, f"The campaign is {row['state']}.")
            if to == "running":
                # Going on forgives: it stops again after as many further failures.
                failed = tx.count(Table.FIRMWARE_JOBS, campaign=campaign_id, state=State.FAILED.value)
                data = {**json.loads(row["data"]), "forgiven": failed}
                tx.change(Table.FIRMWARE_CAMPAIGNS, {"data": json.dumps(data)}, id=campaign_id)
            _set_campaign(tx, row, to, now_ms, detail=None, who=who)
            if to == "cancelled":
                for job_row in tx.many(Table.FIRMWARE_JOBS, campaign=campaign_id, state=State.WAITING.value):
                    self._save(tx, job_row, domain.cancelled(_job(job_row), "the campaign was cancelled"), now_ms)
            _look_at_campaign(tx, campaign_id, now_ms)  # the last one may have ended during a pause

        await self._store.transact(work)

    # -- whose turn it is

    async def tick(self, now_ms: int) -> None:
        """Once a second: what is silent too long, and who is asked next."""
        silent, turns = await self._store.read(lambda tx: (_silent(tx, now_ms), _turns(tx, now_ms)))
        for row in silent:
            await self._change(row["id"], lambda job, orders: domain.expired(job, now_ms, orders))
        away: list[str] = []
        removed: list[str] = []
        for room, rows in turns:
            called = 0
            for row in rows:
                station = self._stations.get(row["station"])
                if station is None:
                    removed.append(row["id"])
                elif not station.online:
                    away.append(row["id"])
                elif called < room * _CALLED_PER_ROOM:
                    called += 1
                    self._want(station.id)
        for job_id in removed:
            await self._change(job_id, lambda job, _: domain.cancelled(job, "the charger was removed"))
        if away:
            # Behind the others, so that those who are there are seen.
            due = {"due_ms": now_ms + _AWAY_PAUSE_MS}
            await self._store.transact(lambda tx: tx.change(Table.FIRMWARE_JOBS, due, id=away, state="waiting"))

    async def claim(self, station_id: str) -> Claim | None:
        """Begin the next attempt at this charger, when it is its turn; stored before the charger is asked."""
        station = self._stations.get(station_id)
        if station is None:
            return None
        is_idle, before, now_ms = not station.sessions, station.firmware, self._clock.now_ms()

        def work(tx: Tx) -> Claim | None:
            rows = tx.many(Table.FIRMWARE_JOBS, station=station_id, order="created_ms", state=_OPEN)
            is_under_way = any(row["state"] in _UNDER_WAY for row in rows)
            for row in rows:
                campaign = tx.one(Table.FIRMWARE_CAMPAIGNS, id=row["campaign"])
                image = tx.one(Table.FIRMWARE_IMAGES, id=row["image"])
                if row["state"] != State.WAITING or row["due_ms"] > now_ms or campaign is None or image is None:
                    continue
                orders = orders_of(campaign)
                if campaign["state"] != "running" or campaign["start_ms"] > now_ms or not _has_room(tx, row, orders):
                    continue
                if is_under_way and not orders.replaces:
                    continue
                if orders.when_idle and not is_idle:
                    tx.change(Table.FIRMWARE_JOBS, {"due_ms": now_ms + _BUSY_PAUSE_MS}, id=row["id"])
                    continue
                request_id = tx.next_no("request")
                job = domain.asked(_job(row), now_ms, orders, request_id=request_id, before=before)
                self._save(tx, row, job, now_ms)
                location = image["url"] or self._address(image, row["id"], now_ms)
                return Claim(row["id"], request_id, location, orders, image["signing_certificate"], image["signature"])
            return None

        return await self._store.transact(work)

    # -- what the charger says

    async def answered(self, job_id: str, request_id: int, status: str) -> None:
        """The answer to the request: an UpdateFirmwareStatusEnum, `Accepted` for 1.6's empty one, an error's code."""
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> None:
            row = tx.take(Table.FIRMWARE_JOBS, id=job_id)
            if row is None or row["request_id"] != request_id:
                return
            if status == "AcceptedCanceled":
                for other in tx.many(Table.FIRMWARE_JOBS, station=row["station"], state=_UNDER_WAY):
                    if other["id"] != job_id:
                        gone = domain.cancelled(_job(other), "the charger took a later update instead")
                        self._save(tx, other, gone, now_ms)
            self._save(tx, row, domain.answered(_job(row), status, now_ms, _orders(tx, row)), now_ms)

        await self._store.transact(work)

    async def not_answered(self, job_id: str) -> None:
        """Silence, or the link went."""
        now_ms = self._clock.now_ms()
        await self._change(job_id, lambda job, _: domain.not_answered(job, now_ms))

    async def job_of_request(self, station_id: str, request_id: int) -> str | None:
        """The job that asked with this number; None for what an operator sent by hand."""
        rows = await self._store.read(
            lambda tx: tx.many(Table.FIRMWARE_JOBS, station=station_id, request_id=request_id)
        )
        return str(rows[0]["id"]) if rows else None

    async def told(self, station_id: str, status: str, request_id: int | None, at_ms: int) -> None:
        """A status notification of any version, which came at `at_ms`."""

        def work(tx: Tx) -> None:
            row = _meant(tx, station_id, request_id)
            if row is not None:
                job = domain.told(_job(row), status, at_ms, _orders(tx, row), request_id=request_id)
                self._save(tx, row, job, at_ms)

        await self._store.transact(work)

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """StationBooted: the version it boots with is the proof."""
        for fact in facts:
            if fact.station is None or fact.body.get("firmware") is None:
                continue
            version, at_ms = str(fact.body["firmware"]), fact.at_ms

            def work(tx: Tx, station: str = fact.station, version: str = version, at_ms: int = at_ms) -> None:
                row = _meant(tx, station, None)
                if row is not None and (row["updated_ms"] <= at_ms or _is_proof(row, version, at_ms)):
                    self._save(tx, row, domain.booted(_job(row), version), max(at_ms, row["updated_ms"]))

            await self._store.transact(work)

    # -- the pieces

    async def _change(self, job_id: str, decide: Callable[[Job, Orders], Job]) -> None:
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> None:
            if (row := tx.take(Table.FIRMWARE_JOBS, id=job_id)) is not None:
                self._save(tx, row, decide(_job(row), _orders(tx, row)), now_ms)

        await self._store.transact(work)

    @staticmethod
    def _save(tx: Tx, row: Row, job: Job, now_ms: int) -> None:
        """Write what changed, journal it, and see what it means for the campaign."""
        before = _job(row)
        if job == before:
            return
        tx.change(Table.FIRMWARE_JOBS, {**_job_row(job), "updated_ms": now_ms}, id=row["id"])
        told: dict[str, Any] = {
            "job_id": row["id"], "campaign_id": row["campaign"], "version": job.version, "state": job.state.value
        }  # fmt: skip
        facts = []
        if job.attempts > before.attempts:
            facts.append(Fact("FirmwareAsked", now_ms, told | {"attempt": job.attempts}, row["station"]))
        elif job.status != before.status and job.status is not None:
            facts.append(Fact("FirmwareStatus", now_ms, told | {"status": job.status}, row["station"]))
        if job.state is State.INSTALLED and (job.state is not before.state or job.is_proven is not before.is_proven):
            facts.append(Fact("FirmwareInstalled", now_ms, told | {"proven": job.is_proven}, row["station"]))
        if job.state is State.FAILED and job.state is not before.state:
            facts.append(Fact("FirmwareFailed", now_ms, told | {"detail": job.detail}, row["station"]))
        tx.append(facts)
        if job.state is not before.state and job.is_over:
            _look_at_campaign(tx, row["campaign"], now_ms)

    # -- local controllers

    async def publication(self, image_id: str, station_id: str) -> tuple[int, str, str]:
        """(number, address, MD5) for a PublishFirmware of an image (L03). Refuses one that is not kept here."""
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> tuple[int, str, str]:
            image = image_of(tx, image_id)
            md5 = json.loads(image["data"]).get("md5")
            if md5 is None:
                raise Refusal(Why.WRONG_STATE, "Only an image whose file is kept here can be published.")
            return tx.next_no("request"), self._address(image, station_id, now_ms), md5

        return await self._store.transact(work)

    # -- fetching

    def _address(self, image: Row, holder: str, now_ms: int) -> str:
        """`holder`: whose ticket it is, a job's id or a charger's; only its digest stands in the address."""
        expires_s = now_ms // 1000 + self._ticket_life_s
        whose = hashlib.blake2b(holder.encode(), digest_size=12).hexdigest()
        ticket = f"{whose}.{expires_s}.{self._mac(image['id'], whose, expires_s)}"
        name = json.loads(image["data"]).get("file_name") or "firmware.bin"
        return f"{self._public_url}/files/fw/{image['id']}/{ticket}/{name}"

    async def file_behind(self, image_id: str, ticket: str) -> str | None:
        """The name of the file that this ticket opens, None when it opens nothing (any more)."""
        whose, _, rest = ticket.partition(".")
        expires, _, mac = rest.partition(".")
        if not (expires.isascii() and expires.isdecimal() and len(expires) < 12 and mac.isascii()):
            return None
        is_right = hmac.compare_digest(mac, self._mac(image_id, whose, int(expires)))
        if not is_right or int(expires) * 1000 < self._clock.now_ms():
            return None
        row = await self._store.read(lambda tx: tx.one(Table.FIRMWARE_IMAGES, id=image_id))
        return row["file"] if row is not None else None

    def _mac(self, image_id: str, whose: str, expires_s: int) -> str:
        text = f"{image_id}\n{whose}\n{expires_s}".encode(errors="surrogateescape")
        made = hmac.new(self._key, text, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(made).decode()[:_MAC_CHARS]


def image_of(tx: ReadTx, image_id: str) -> Row:
    """The image's row. Refuses UNKNOWN_TARGET."""
    if (row := tx.one(Table.FIRMWARE_IMAGES, id=image_id)) is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no firmware image {image_id!r}.")
    return row


def campaign_of(tx: ReadTx, campaign_id: str, take: Tx | None = None) -> Row:
    """The campaign's row, locked with `take`. Refuses UNKNOWN_TARGET."""
    row = (take.take if take is not None else tx.one)(Table.FIRMWARE_CAMPAIGNS, id=campaign_id)
    if row is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no firmware campaign {campaign_id!r}.")
    return row


def orders_of(campaign: Row) -> Orders:
    """What a campaign's row says."""
    return Orders.from_row(json.loads(campaign["data"])["orders"])


def progress(tx: ReadTx, campaign_id: str) -> dict[str, int]:
    """How many of a campaign's jobs stand where; states without any are there with 0."""
    return {state.value: tx.count(Table.FIRMWARE_JOBS, campaign=campaign_id, state=state.value) for state in State}


def is_ready(image: Row) -> bool:
    """Whether chargers can fetch it."""
    return image["url"] is not None or image["file"] is not None


def _check(image: Row, now_ms: int) -> None:
    """A signature is checked once the digest is known; an image kept elsewhere must bring its digest along."""
    certificate, signature = image.get("signing_certificate"), image.get("signature")
    if (certificate is None) != (signature is None):
        raise Refusal(Why.INVALID_REQUEST, "signing_certificate and signature belong together.")
    if certificate is None or signature is None:
        return
    if image.get("sha256") is not None:
        check_signature(certificate, signature, image["sha256"], now_ms)
    elif image.get("url") is not None:
        raise Refusal(Why.INVALID_REQUEST, "sha256: without it the signature of a file kept elsewhere means nothing.")


def _silent(tx: ReadTx, now_ms: int) -> list[Row]:
    return tx.many(Table.FIRMWARE_JOBS, order="due_ms", before=now_ms, limit=_LOOK, state=_UNDER_WAY)


def _turns(tx: ReadTx, now_ms: int) -> list[tuple[int, list[Row]]]:
    """(room, jobs whose time has come) of each campaign that has room."""
    turns = []
    for campaign in tx.many(Table.FIRMWARE_CAMPAIGNS, state="running"):
        if campaign["start_ms"] > now_ms:
            continue
        room = orders_of(campaign).at_once - tx.count(Table.FIRMWARE_JOBS, campaign=campaign["id"], state=_UNDER_WAY)
        if room > 0:
            where = {"campaign": campaign["id"], "state": State.WAITING.value}
            turns.append((room, tx.many(Table.FIRMWARE_JOBS, order="due_ms", before=now_ms + 1, limit=_LOOK, **where)))
    return turns


def _has_room(tx: ReadTx, row: Row, orders: Orders) -> bool:
    return tx.count(Table.FIRMWARE_JOBS, campaign=row["campaign"], state=_UNDER_WAY) < orders.at_once


def _meant(tx: Tx, station_id: str, request_id: int | None) -> Row | None:
    """The job a notice or a boot is about: by number, else the one under way, else the newest that was asked."""
    rows = tx.many(Table.FIRMWARE_JOBS, station=station_id, order="-created_ms", limit=50)
    asked = [row for row in rows if row["attempts"] > 0]
    if request_id is not None:
        return next((row for row in asked if request_id in _job(row).requests), None)
    return next((row for row in asked if row["state"] in _UNDER_WAY), asked[0] if asked else None)


def _is_proof(row: Row, version: str, booted_ms: int) -> bool:
    """Whether a boot counts although later news of the job was read first: what shows the new version does, what
    shows the old one is only history by then."""
    job = _job(row)
    return version == job.version != job.before and row["created_ms"] <= booted_ms


def _look_at_campaign(tx: Tx, campaign_id: str, now_ms: int) -> None:
    campaign = tx.take(Table.FIRMWARE_CAMPAIGNS, id=campaign_id)
    if campaign is None or campaign["state"] != "running":
        return
    failed = tx.count(Table.FIRMWARE_JOBS, campaign=campaign_id, state=State.FAILED.value)
    if not tx.count(Table.FIRMWARE_JOBS, campaign=campaign_id, state=_OPEN):
        _set_campaign(tx, campaign, "done", now_ms, detail=None)
    elif domain.should_stop(orders_of(campaign), failed - json.loads(campaign["data"]).get("forgiven", 0)):
        _set_campaign(tx, campaign, "stopped", now_ms, detail=f"{failed} updates have failed")


def _set_campaign(tx: Tx, row: Row, state: str, now_ms: int, *, detail: str | None, who: str | None = None) -> None:
    tx.change(Table.FIRMWARE_CAMPAIGNS, {"state": state, "detail": detail, "updated_ms": now_ms}, id=row["id"])
    told: dict[str, Any] = {"campaign_id": row["id"], "state": state, "detail": detail}
    tx.append([Fact("FirmwareCampaignChanged", now_ms, told | ({"who": who} if who is not None else {}))])


def _orders(tx: ReadTx, job_row: Row) -> Orders:
    campaign = tx.one(Table.FIRMWARE_CAMPAIGNS, id=job_row["campaign"])
    return orders_of(campaign) if campaign is not None else Orders()


def _selection_row(selection: Selection) -> dict[str, Any]:
    return {name: getattr(selection, name) for name in selection.__slots__}


def _job(row: Row) -> Job:
    data = json.loads(row["data"])
    return Job(
        version=data["version"],
        state=State(row["state"]),
        due_ms=row["due_ms"] or 0,
        attempts=row["attempts"],
        request_id=row["request_id"],
        status=row["status"],
        detail=row["detail"],
        before=data.get("before"),
        is_proven=bool(data.get("is_proven")),
        requests=tuple(data.get("requests", ())),
    )


def _job_row(job: Job) -> Row:
    data = {"version": job.version, "before": job.before, "is_proven": job.is_proven, "requests": job.requests}
    return {
        "state": job.state.value,
        "due_ms": job.due_ms,
        "attempts": job.attempts,
        "request_id": job.request_id,
        "status": job.status,
        "detail": job.detail,
        "data": json.dumps(data),
    }
