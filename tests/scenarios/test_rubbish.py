"""Rubbish on the HTTP listeners is refused with its status, and leaves no traceback in the log."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from running import API_KEY, running

BAD_GZIP = {"Content-Encoding": "gzip", "Content-Type": "application/json", "Authorization": f"Bearer {API_KEY}"}
NO_HTTP = (
    b"\x16\x03\x01\x02\x00\x01\x00\xff" * 20,
    b"GET " + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nA: " + b"b" * 70_000 + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
)


@pytest.mark.asyncio
async def test_what_is_no_http_is_refused_without_a_traceback(tmp_path: Path) -> None:
    async with running(tmp_path) as server:  # which looks for tracebacks in the log
        once = aiohttp.TCPConnector(force_close=True)  # what follows a broken body cannot be read
        async with aiohttp.ClientSession(headers=BAD_GZIP, connector=once) as http:
            for address in (
                f"{server.urls['api']}/api/v1/chargers",
                f"{server.receiver}/discover",
                f"{server.public_url}/payments/webhook/simulated",
            ):
                async with http.post(address, data=b"not gzip") as answer:
                    assert answer.status == 400 if "/api/" not in address else answer.status == 422, address
                    assert "fault" not in await answer.text()
        for name in ("api", "public"):
            host, port = server.urls[name].removeprefix("http://").split(":")
            for rubbish in NO_HTTP:
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(rubbish)
                assert (await asyncio.wait_for(reader.read(100), 5)).startswith(b"HTTP/1.0 400 ")
                writer.close()
        log = server.log.read_text()
        assert log.count("http.malformed") >= len(NO_HTTP)
        assert not [line for line in log.splitlines() if not line.startswith("{")]
