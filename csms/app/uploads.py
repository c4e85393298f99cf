"""Diagnostics and logs: a place for one file of one charger, what the charger says of it, and the file itself.

    ask ─▶ row `uploads`, a secret of its own in the address ─▶ GetDiagnostics | GetLog ─▶ answer, notices
                                                            └─▶ PUT …/files/up/ID/SECRET ─▶ received

The secret is 192 bits of chance and kept as a digest. A slot takes one file; the same file again is welcome, because a
charger whose answer was lost sends it again.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from csms.domain import uploads as domain
from csms.domain.uploads import OPEN, TAKES_A_FILE, State, Step
from csms.ports import Clock, Draft, Fact, Files, Ids, ReadTx, Row, Store, Table, Tx

_DAY_MS: Final = 86_400_000
_LOOK_EVERY_MS: Final = 10_000
_BITE: Final = 100
_OPEN: Final = tuple(sorted(OPEN))
_NAME_MAX: Final = 255

DIAGNOSTICS: Final = "diagnostics"  # GetDiagnostics: notices without a number
LOG: Final = "log"  # GetLog: notices carry its request id


@dataclass(frozen=True, slots=True)
class LogRequest:
    """What an operator wants: `kind` diagnostics or security, and the time it is about.

    `location`: a place of the operator's own; `is_login`: the address of ours carries user and password.
    """

    kind: str
    oldest_ms: int | None = None
    latest_ms: int | None = None
    retries: int | None = None
    retry_interval_s: int | None = None
    location: str | None = None
    is_login: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """A request that is about to be sent. `location` is where the charger is told to put the file."""

    id: str
    request_id: int
    location: str


@dataclass(frozen=True, slots=True)
class Wish:
    """The place a request needs."""

    kind: str  # DIAGNOSTICS or LOG
    log_type: str  # DiagnosticsLog, SecurityLog
    location: str | None = None
    is_login: bool = False


class Uploads:
    """The use cases around `uploads`."""

    def __init__(
        self, *, store: Store, files: Files, clock: Clock, ids: Ids, public_url: str, life_s: int, kept_days: int
    ) -> None:
        self._store = store
        self._files = files
        self._clock = clock
        self._ids = ids
        self._public_url = public_url.rstrip("/")
        self._life_ms = life_s * 1000
        self._kept_ms = kept_days * _DAY_MS
        self._looked_ms = 0
        self._receiving = asyncio.Lock()  # of two files for one slot the row must mean the one that lies there

    # -- asked for

    async def ask(self, station_id: str, wish: Wish, who: str) -> Slot:
        """Make the slot, before the charger hears of it."""
        upload_id, secret, now_ms = self._ids.uuid(), self._ids.secret(), self._clock.now_ms()
        location = wish.location or self._address(upload_id, secret, is_login=wish.is_login)

        def work(tx: Tx) -> Slot:
            request_id = tx.next_no("request")
            row: Row = {
                "id": upload_id,
                "station": station_id,
                "kind": wish.kind,
                "log_type": wish.log_type,
                "request_id": request_id,
                "secret": _digest(secret),
                "state": State.ASKED.value,
                "location": wish.location,
                "created_ms": now_ms,
                "expires_ms": now_ms + self._life_ms,
                "updated_ms": now_ms,
            }
            tx.add(Table.UPLOADS, row)
            told = {"upload_id": upload_id, "log_type": wish.log_type, "who": who}
            tx.append([Fact("LogAsked", now_ms, told, station_id)])
            return Slot(upload_id, request_id, location)

        return await self._store.transact(work)

    def _address(self, upload_id: str, secret: str, *, is_login: bool) -> str:
        """The slash at the end is for chargers that hang their file's name on without one."""
        if not is_login:
            return f"{self._public_url}/files/up/{upload_id}/{secret}/"
        parts = urlsplit(self._public_url)
        login = parts._replace(netloc=f"{quote(upload_id)}:{quote(secret)}@{parts.netloc}")
        return f"{urlunsplit(login)}/files/up/{upload_id}/"

    # -- what the charger says

    async def answered(self, upload_id: str, status: str, file_name: str | None) -> None:
        """Its answer: `Accepted`, `AcceptedCanceled`, or any word that means no. No file name: nothing is there."""
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> None:
            row = tx.take(Table.UPLOADS, id=upload_id)
            if row is None or row["state"] not in _OPEN:
                return
            if status == "AcceptedCanceled":
                self._cancel_older(tx, row, now_ms)
            if status not in {"Accepted", "AcceptedCanceled"}:
                _step(tx, row, Step.REFUSED, now_ms, status=status, detail=f"the charger answered {status}")
            elif not file_name:
                _step(tx, row, Step.NOTHING, now_ms, detail="the charger named no file: it has nothing to upload")
            else:
                _step(tx, row, Step.ACCEPTED, now_ms, status=status, file_name=file_name[:_NAME_MAX])

        await self._store.transact(work)

    @staticmethod
    def _cancel_older(tx: Tx, row: Row, now_ms: int) -> None:
        for other in tx.many(Table.UPLOADS, station=row["station"], kind=LOG, state=_OPEN):
            if other["id"] != row["id"] and other["request_id"] < row["request_id"]:
                _step(tx, other, Step.CANCELLED, now_ms, detail="the charger took a later request instead")

    async def failed(self, upload_id: str, why: str) -> None:
        """It could not be asked."""
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> None:
            if (row := tx.take(Table.UPLOADS, id=upload_id)) is not None:
                _step(tx, row, Step.FAILED, now_ms, detail=why)

        await self._store.transact(work)

    async def noticed(self, station_id: str, kind: str, status: str, request_id: int | None) -> None:
        """A status notification. Without a number it is about the newest request; Idle is about none."""
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> None:
            where = {"request_id": request_id} if request_id is not None else {}
            rows = tx.many(Table.UPLOADS, station=station_id, kind=kind, order="-created_ms", limit=1, **where)
            step = domain.notice(status, is_elsewhere=bool(rows and rows[0]["location"]))
            if not rows or step is None:
                return
            if step is Step.MISSING and rows[0]["state"] == State.RECEIVED:
                tx.change(Table.UPLOADS, {"status": status, "updated_ms": now_ms}, id=rows[0]["id"])
                return
            detail = f"the charger told {status}" + (", but no file came" if step is Step.MISSING else "")
            is_bad = step in {Step.FAILED, Step.MISSING, Step.CANCELLED}
            _step(tx, rows[0], step, now_ms, status=status, detail=detail if is_bad else None)

        await self._store.transact(work)

    async def slot_of_call(self, station_id: str, action: str, request: dict[str, Any]) -> str | None:
        """Which slot a GetLog or GetDiagnostics of ours was about; None when an operator sent it by hand."""

        is_log = action == "GetLog"
        log = request.get("log")
        location = str((log.get("remoteLocation") if isinstance(log, dict) else request.get("location")) or "")

        def read(tx: ReadTx) -> Row | None:
            kind = LOG if is_log else DIAGNOSTICS
            rows = tx.many(Table.UPLOADS, station=station_id, kind=kind, order="-created_ms", state=_OPEN)
            return next((row for row in rows if row["location"] == location or f"/{row['id']}/" in location), None)

        row = await self._store.read(read)
        return str(row["id"]) if row is not None else None

    # -- the file

    async def may_put(self, upload_id: str, secret: str) -> Row | None:
        """The slot that this secret opens, None otherwise. Whether it still takes a file says `takes`."""
        row = await self._store.read(lambda tx: tx.one(Table.UPLOADS, id=upload_id))
        given = _digest(secret)
        is_right = hmac.compare_digest(given, row["secret"] if row is not None else given[::-1])
        return row if row is not None and is_right and row["location"] is None else None

    def takes(self, row: Row) -> bool:
        """Whether a file may come now: not expired, not replaced by another request; or there already, and again."""
        state = State(row["state"])
        return state is State.RECEIVED or (state in TAKES_A_FILE and self._clock.now_ms() < row["expires_ms"])

    async def received(self, upload_id: str, draft: Draft, file_name: str | None) -> bool:
        """The file has come in full. False when the slot has another file, or takes none any more."""
        async with self._receiving:
            return await self._received(upload_id, draft, file_name)

    async def _received(self, upload_id: str, draft: Draft, file_name: str | None) -> bool:
        name = f"uploads/{upload_id}"
        row = await self._store.read(lambda tx: tx.one(Table.UPLOADS, id=upload_id))
        if row is None or not self.takes(row) or row["state"] == State.RECEIVED:
            await self._files.discard(draft)
            return row is not None and row["state"] == State.RECEIVED and row["sha256"] == draft.sha256
        # The file first: a row that names a file which is not there would be a lie, a file without a row is not.
        await self._files.keep(draft, name)
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> bool:
            standing = tx.take(Table.UPLOADS, id=upload_id)
            if standing is None or standing["state"] not in TAKES_A_FILE:
                return False
            values: Row = {"file": name, "size": draft.size, "sha256": draft.sha256, "detail": None}
            if file_name:
                values["file_name"] = file_name[:_NAME_MAX]
            _step(tx, standing, Step.FILE, now_ms, **values)
            return True

        return await self._store.transact(work)

    # -- time

    async def tick(self, now_ms: int) -> None:
        """Close slots that were not used in time; delete files whose days are over."""
        if now_ms - self._looked_ms < _LOOK_EVERY_MS:
            return
        self._looked_ms = now_ms
        expired, old = await self._store.read(
            lambda tx: (
                tx.many(Table.UPLOADS, order="expires_ms", before=now_ms, limit=_BITE, state=_OPEN),
                tx.many(
                    Table.UPLOADS, order="expires_ms", before=now_ms - self._kept_ms, limit=_BITE, state="received"
                ),
            )
        )
        for row in old:
            await self._files.drop(row["file"])
        if not expired and not old:
            return

        def work(tx: Tx) -> None:
            for row in expired:
                if (standing := tx.take(Table.UPLOADS, id=row["id"])) is not None:
                    _step(tx, standing, Step.EXPIRE, now_ms, detail="nothing came in time")
            for row in old:
                _step(tx, row, Step.DROP, now_ms, file=None)

        await self._store.transact(work)


def _step(tx: Tx, row: Row, step: Step, now_ms: int, **values: Any) -> None:
    """Take the step if the table has it; the other values only then."""
    before = State(row["state"])
    state = domain.after(before, step)
    if (before, step) not in domain.STEPS:
        return
    tx.change(Table.UPLOADS, {**values, "state": state.value, "updated_ms": now_ms}, id=row["id"])
    if state is before:
        return
    told = {"upload_id": row["id"], "log_type": row["log_type"], "state": state.value}
    if state is State.RECEIVED:
        more = {"size": values["size"], "sha256": values["sha256"]}
        tx.append([Fact("LogReceived", now_ms, told | more, row["station"])])
    elif state not in OPEN and state is not State.DROPPED:
        tx.append([Fact("LogNotReceived", now_ms, told | {"detail": values.get("detail")}, row["station"])])


def _digest(secret: str) -> str:
    return hashlib.blake2b(secret.encode(errors="surrogateescape"), digest_size=32).hexdigest()
