"""What a full disk, or a closed pipe behind the log, must not do: end the program, or look like another's fault."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from csms.ports import NotKept
from csms.storage.files import Folder

SPEAKS = """
import sys, structlog
from csms.observe import configure_logging
configure_logging("info", json=True)
for _ in range(3):
    structlog.get_logger().error("store.commit_failed", error="disk full")
sys.stdout.write("alive")
"""


def test_a_log_that_takes_no_line_stops_nobody() -> None:
    reading, writing = os.pipe()
    os.close(reading)  # every write fails from now on, as on a full disk
    try:
        said = subprocess.run([sys.executable, "-c", SPEAKS], stdout=subprocess.PIPE, stderr=writing, check=False)
    finally:
        os.close(writing)
    assert said.stdout == b"alive"


async def one_chunk() -> AsyncIterator[bytes]:
    yield b"x" * 1_000_000


async def test_a_disk_that_takes_no_file_is_not_taken_for_a_broken_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path / "files")
    folder.open()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("csms.storage.files._Incoming.write", full)
    with pytest.raises(NotKept, match="No space left on device"):
        await folder.draft(one_chunk(), 2_000_000)
    assert list((tmp_path / "files" / "drafts").iterdir()) == []


async def test_a_line_that_breaks_is_not_taken_for_the_disk(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "files")
    folder.open()

    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await folder.draft(broken(), 2_000_000)
