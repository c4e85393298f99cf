"""Large files on disk behind `ports.Files`: streamed, counted, renamed into place, never named by a stranger.

data_dir/files/drafts/…       while they come; emptied at start
data_dir/files/firmware/ID    images
data_dir/files/uploads/ID     diagnostics and logs
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from csms.ports import Draft, NotKept, TooBig

T = TypeVar("T")

_NAME: Final = re.compile(r"[a-z]+/[A-Za-z0-9-]+")
_WRITE_BYTES: Final = 256 * 1024  # written and hashed in one go of a thread


class Folder:
    """`ports.Files` in one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._drafts = root / "drafts"

    def open(self) -> None:
        """Make the folder; what a crash left half done goes."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.rmtree(self._drafts, ignore_errors=True)
        self._drafts.mkdir(mode=0o700)

    async def draft(self, chunks: AsyncIterator[bytes], limit: int) -> Draft:
        """See `ports.Files`. The disk is never touched on the event loop."""
        incoming = await _on_disk(_Incoming, self._drafts)
        try:
            waiting = bytearray()
            async for chunk in chunks:
                waiting += chunk
                if incoming.size + len(waiting) > limit:
                    raise TooBig(f"more than {limit} bytes")
                if len(waiting) >= _WRITE_BYTES:
                    await _on_disk(incoming.write, bytes(waiting))
                    waiting.clear()
            return await _on_disk(incoming.finish, bytes(waiting))
        except BaseException:
            incoming.abandon()  # two system calls, also while the task is being cancelled
            raise

    async def keep(self, draft: Draft, name: str) -> None:
        """Rename, and make the new name durable."""
        await asyncio.to_thread(self._keep, draft, self.path(name))

    async def discard(self, draft: Draft) -> None:
        """Delete the draft."""
        await asyncio.to_thread((self._drafts / draft.id).unlink, missing_ok=True)

    async def drop(self, name: str) -> None:
        """Delete a kept file."""
        await asyncio.to_thread(self.path(name).unlink, missing_ok=True)

    def path(self, name: str) -> Path:
        """The place of a name; ValueError for what is none of ours."""
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no name of a file")
        return self._root / name

    def _keep(self, draft: Draft, path: Path) -> None:
        path.parent.mkdir(exist_ok=True, mode=0o700)
        (self._drafts / draft.id).replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


async def _on_disk(work: Callable[..., T], *told: Any) -> T:
    """In a thread; trouble of the disk must not be taken for trouble of the line the file comes by."""
    try:
        return await asyncio.to_thread(work, *told)
    except OSError as error:
        raise NotKept(error.strerror or str(error)) from error


class _Incoming:
    """A draft while it is written. Its methods block: they run in threads, one after the other."""

    def __init__(self, folder: Path) -> None:
        self._id = secrets.token_hex(12)
        self._path = folder / self._id
        self._file = self._path.open("xb")
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self.size = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self._md5.update(data)
        self.size += len(data)

    def finish(self, data: bytes) -> Draft:
        self.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return Draft(self._id, self.size, self._sha256.hexdigest(), self._md5.hexdigest())

    def abandon(self) -> None:
        with suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)
