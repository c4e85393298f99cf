"""Files of chargers on the public listener: where they put diagnostics and logs, where they fetch firmware.

    PUT|POST /files/up/{id}/{secret}/[name]     the body, or the first file of a form
    PUT|POST /files/up/{id}/[name]              with Basic authentication: user {id}, password {secret}
    GET|HEAD /files/fw/{image}/{ticket}/{name}  with Range and ETag, because chargers resume

Names that strangers give are text for people and never part of a path on our disk.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from typing import Final

import structlog
from aiohttp import BodyPartReader, web
from aiohttp.client_exceptions import ClientError

from csms.app.upgrading import Upgrading
from csms.app.uploads import Uploads
from csms.ports import Files, NotKept, Row, TooBig

log = structlog.get_logger()

_CHUNK: Final = 256 * 1024
_STALL_S: Final = 120.0  # a mobile link may pause; longer, and it is one of the dead
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_ODD: Final = re.compile(r"[^\w.()+ -]+")


class FilePages:
    """Routes for the public listener."""

    def __init__(self, *, files: Files, uploads: Uploads, upgrading: Upgrading, upload_bytes: int) -> None:
        self._files = files
        self._uploads = uploads
        self._upgrading = upgrading
        self._upload_bytes = upload_bytes
        self._coming: dict[str, asyncio.Task[object]] = {}

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        places = ("/files/up/{id}", "/files/up/{id}/{rest:.*}")
        ups = [web.route(method, place, self.put) for place in places for method in ("PUT", "POST")]
        return [*ups, web.get("/files/fw/{image}/{ticket}/{name}", self.fetch)]

    # -- towards us

    async def put(self, request: web.Request) -> web.Response:
        """One file into one slot. 200 also for the same file again: an answer of ours may have been lost."""
        upload_id = request.match_info["id"]
        found = await self._opened(upload_id, request)
        if found is None:
            challenge = {"WWW-Authenticate": 'Basic realm="files"'}
            return _say(401, "this address is not valid", challenge)
        row, name = found
        if not self._uploads.takes(row):
            return _say(410, "nothing is taken here any more")
        if (request.content_length or 0) > self._upload_bytes:
            return _say(413, "the file is too large")
        self._replace(upload_id)
        try:
            return await self._take(request, upload_id, name)
        finally:
            if self._coming.get(upload_id) is asyncio.current_task():
                del self._coming[upload_id]

    async def _opened(self, upload_id: str, request: web.Request) -> tuple[Row, str | None] | None:
        """The slot that the request opens, and the file's name as the address has it."""
        for secret, name in _ways_in(request):
            if (row := await self._uploads.may_put(upload_id, secret)) is not None:
                return row, name
        return None

    def _replace(self, upload_id: str) -> None:
        """The newest attempt counts: the one before may be a dead link that nobody has noticed."""
        task = asyncio.current_task()
        before = self._coming.pop(upload_id, None)
        if before is not None:
            before.cancel()
        if task is not None:
            self._coming[upload_id] = task

    async def _take(self, request: web.Request, upload_id: str, name: str | None) -> web.Response:
        try:
            chunks: AsyncIterator[bytes] = _body(request)
            if request.content_type == "multipart/form-data":
                part = await _first_file(request)
                if part is None:
                    return _say(400, "the form holds no file")
                name, chunks = _plain(part.filename) or name, _part(part)
            draft = await self._files.draft(chunks, self._upload_bytes)
        except TooBig:
            return _say(413, "the file is too large")
        except NotKept as no:
            log.error("upload.not_kept", upload=upload_id, why=str(no))
            return _say(507, "there is no room for the file now")
        except (OSError, TimeoutError, ClientError, ValueError) as broken:
            log.info("upload.broken", upload=upload_id, why=repr(broken))
            return _say(400, "the file did not come in full")
        if draft.size == 0:
            await self._files.discard(draft)
            return _say(400, "the file is empty")
        # A newer attempt may end this task, but not between the file and its row.
        if not await asyncio.shield(self._uploads.received(upload_id, draft, name)):
            return _say(409, "there is another file already")
        return _say(200)

    # -- from us

    async def fetch(self, request: web.Request) -> web.StreamResponse:
        """A firmware image, sent by the kernel from its file."""
        image, ticket = request.match_info["image"], request.match_info["ticket"]
        name = await self._upgrading.file_behind(image, ticket)
        if name is None:
            return _say(404, "there is nothing here")
        headers = {**_HEADERS, "Content-Type": "application/octet-stream"}
        return web.FileResponse(self._files.path(name), chunk_size=_CHUNK, headers=headers)


def _say(status: int, error: str | None = None, headers: dict[str, str] | None = None) -> web.Response:
    body = {"status": "ok"} if error is None else {"error": error}
    return web.json_response(body, status=status, headers={**_HEADERS, **(headers or {})})


def _ways_in(request: web.Request) -> list[tuple[str, str | None]]:
    """(secret, the file's name) as the address has them, and as Basic authentication has them: some chargers send
    their OCPP password to everybody, so the one does not exclude the other."""
    rest = [part for part in request.match_info.get("rest", "").split("/") if part]
    ways = [(rest[0], _plain(rest[-1]) if len(rest) > 1 else None)] if rest else []
    if "Authorization" in request.headers:
        ways.append((_password(request.headers["Authorization"]), _plain(rest[-1]) if rest else None))
    return ways


def _password(header: str) -> str:
    """Of Basic authentication; the user is not looked at, the address names the slot. Empty for anything else."""
    scheme, _, told = header.partition(" ")
    try:
        login = base64.b64decode(told.strip(), validate=True).decode("utf-8", "replace")
    except ValueError:
        return ""
    return login.partition(":")[2] if scheme.lower() == "basic" else ""


def _plain(name: str | None) -> str | None:
    """The last part of a file's name, without characters that could mean something to somebody."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return _ODD.sub("_", last).strip(" .")[:255] or None


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(_STALL_S):
            chunk = await request.content.readany()
        if not chunk:
            return
        yield chunk


async def _first_file(request: web.Request) -> BodyPartReader | None:
    reader = await request.multipart()
    first = None
    async with asyncio.timeout(_STALL_S):
        while (part := await reader.next()) is not None:
            if isinstance(part, BodyPartReader) and (part.filename or part.name == "file"):
                first = part
                break
    return first


async def _part(part: BodyPartReader) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(_STALL_S):
            chunk = await part.read_chunk(_CHUNK)
        if not chunk:
            return
        yield chunk
