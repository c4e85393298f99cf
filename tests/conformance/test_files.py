"""Files on the public listener: uploads that break, are too big, come twice or to a wrong place. Images, campaigns."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio
from filing import (
    FIRMWARE,
    Maker,
    campaign,
    download,
    image,
    job,
    log,
    log_file,
    maker,
    put_file,
    sha256,
    tell_firmware,
    until_job,
    until_log,
    upload,
)
from running import API_KEY, Server, running
from wire import Station16, Station201, at, frames, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
Json = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    settings = {"ocpp": {"settle_s": 0.1}, "files": {"upload_mib": 1, "firmware_mib": 2}}
    async with running(tmp_path_factory.mktemp("files"), settings) as running_server:
        yield running_server


async def slot(server: Server, cp: Station16, **body: Any) -> tuple[str, str]:
    """(the log's id, where the charger is to put it)."""
    cp.table["GetDiagnostics"] = {"fileName": "a.zip"}
    await cp.boot(firmwareVersion="1.0")
    made = await server.api("POST", f"/api/v1/chargers/{cp.id}/logs", body, expect=201)
    return str(made["id"]), str(cp.questions("GetDiagnostics")[-1]["location"])


def leftovers(server: Server) -> list[str]:
    """Drafts on the server's disk."""
    return [path.name for path in (server.data_dir / "files" / "drafts").iterdir()]


# -- uploads


@pytest.mark.parametrize("how", ["put", "post", "form", "exact", "slashes"])
async def test_every_way_a_charger_sends_a_file(server: Server, how: str) -> None:
    async with Station16(server, f"UP-{how}") as cp:
        log_id, place = await slot(server, cp)
        data: Any = b"log " * 1000
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("note", "before the file")
        form.add_field("upload", data, filename="C:\\logs\\..\\form.zip", content_type="application/zip")
        ways: dict[str, tuple[str, Any, str]] = {
            "put": (place + "a.zip", data, "PUT"),
            "post": (place + "a.zip", data, "POST"),
            "form": (place, form, "POST"),
            "exact": (place.rstrip("/"), data, "PUT"),
            "slashes": (place + "/logs/today/a.zip", data, "PUT"),
        }
        url, body, method = ways[how]
        assert (await upload(url, body, method=method)).status == 200
        got = await log(server, cp.id, log_id)
        name = "form.zip" if how == "form" else "a.zip"
        assert (got["state"], got["sha256"], got["file_name"]) == ("received", sha256(data), name)
        assert await log_file(server, cp.id, log_id) == (200, data)


async def test_a_user_and_a_password_in_the_address(server: Server) -> None:
    async with Station16(server, "UP-LOGIN") as cp:
        log_id, place = await slot(server, cp, login=True)
        parts = urlsplit(place)
        assert parts.username == log_id
        assert parts.password
        bare = place.replace(f"{parts.username}:{parts.password}@", "")
        nobody = await upload(bare + "a.zip", b"x")
        assert (nobody.status, nobody.headers["WWW-Authenticate"]) == (401, 'Basic realm="files"')
        wrong = await upload(bare + "a.zip", b"x", login=(log_id, "guess"))
        assert wrong.status == 401
        right = await upload(bare + "a.zip", b"x", login=(log_id, parts.password))
        assert right.status == 200
        (logged, _) = await frames(server, cp.id, "GetDiagnostics")
        assert parts.password not in str(logged)


async def test_a_wrong_secret_and_another_chargers_secret_open_nothing(server: Server) -> None:
    async with Station16(server, "UP-A") as a, Station16(server, "UP-B") as b:
        log_a, place_a = await slot(server, a)
        _, place_b = await slot(server, b)
        secret_b = place_b.rstrip("/").rpartition("/")[2]
        base = place_a.rstrip("/").rpartition("/")[0]
        for wrong in ("guess", secret_b, "", "..", "%2e%2e", "%00", "é"):
            assert (await upload(f"{base}/{wrong}/a.zip", b"x")).status in {401, 404}, wrong
        nowhere = f"{server.public_url}/files/up/none/{secret_b}/"
        assert (await upload(nowhere, b"x")).status == 401
        assert (await log(server, a.id, log_a))["state"] == "accepted"
        status, _, _ = await download(place_a)
        assert status == 405  # what was put there is nobody's to read
        assert leftovers(server) == []


async def test_an_upload_that_is_cut_in_the_middle_leaves_nothing_and_may_come_again(server: Server) -> None:
    async with Station16(server, "UP-CUT") as cp:
        log_id, place = await slot(server, cp)
        parts = urlsplit(place)
        assert parts.hostname
        assert parts.port
        for length in (b"Content-Length: 500000", b"Transfer-Encoding: chunked"):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            head = b"PUT " + parts.path.encode() + b"a.zip HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n\r\n"
            body = b"x" * 300_000
            writer.write(head + (b"%x\r\n" % 500_000 if b"chunked" in length else b"") + body)
            await writer.drain()

            async def is_coming() -> bool:
                return len(leftovers(server)) == 1

            await until(is_coming)
            writer.transport.abort()
            del reader

            async def is_gone() -> bool:
                return leftovers(server) == []

            await until(is_gone)
            assert (await log(server, cp.id, log_id))["state"] == "accepted"
        assert (await upload(place + "a.zip", b"whole")).status == 200
        assert await log_file(server, cp.id, log_id) == (200, b"whole")


async def test_a_newer_attempt_ends_one_that_hangs(server: Server) -> None:
    async with Station16(server, "UP-HANG") as cp:
        log_id, place = await slot(server, cp)
        parts = urlsplit(place)
        assert parts.hostname
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(b"PUT " + parts.path.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nhalf")

        async def is_coming() -> bool:
            return len(leftovers(server)) == 1

        await until(is_coming)
        assert (await upload(place, b"whole")).status == 200
        assert await log_file(server, cp.id, log_id) == (200, b"whole")

        async def is_gone() -> bool:
            return leftovers(server) == []

        await until(is_gone)
        writer.close()


async def test_a_file_that_is_too_big_is_refused_told_or_not(server: Server) -> None:
    async with Station16(server, "UP-BIG") as cp:
        log_id, place = await slot(server, cp)
        assert (await upload(place, b"x" * (MIB + 1))).status == 413

        async def untold() -> AsyncIterator[bytes]:
            for _ in range(17):
                yield b"x" * (MIB // 16)

        assert (await upload(place, untold())).status == 413
        assert leftovers(server) == []
        assert (await log(server, cp.id, log_id))["state"] == "accepted"
        assert (await upload(place, b"x" * MIB)).status == 200


async def test_the_same_file_twice_is_welcome_and_another_is_not(server: Server) -> None:
    async with Station16(server, "UP-TWICE") as cp:
        log_id, place = await slot(server, cp)
        assert [(await upload(place, b"once")).status for _ in range(2)] == [200, 200]
        assert (await upload(place, b"other")).status == 409
        assert await log_file(server, cp.id, log_id) == (200, b"once")
        assert (await upload(place, b"")).status == 400
        assert leftovers(server) == []


async def test_a_slot_that_is_over_takes_nothing(tmp_path: Any) -> None:
    settings = {"files": {"upload_life_s": 60, "logs_days": 1}}
    async with running(tmp_path, settings) as server, Station16(server, "UP-OVER") as cp:
        log_id, place = await slot(server, cp)
        # Time is moved where it is kept: in the file, while nobody has it open.
        await cp.close()
        await server.stop()
        _age(server, "uploads", "expires_ms", 61_000)
        await server.start()
        place = server.public_url + urlsplit(place).path
        assert (await upload(place, b"late")).status == 410
        await until_log(server, "UP-OVER", log_id, state="expired", detail="nothing came in time")
        assert (await upload(place, b"late")).status == 410


async def test_a_received_log_goes_when_its_days_are_over(tmp_path: Any) -> None:
    async with running(tmp_path, {"files": {"logs_days": 1}}) as server, Station16(server, "UP-OLD") as cp:
        log_id, place = await slot(server, cp)
        assert (await upload(place, b"old")).status == 200
        file = server.data_dir / "files" / "uploads" / log_id
        assert file.read_bytes() == b"old"
        await cp.close()
        await server.stop()
        _age(server, "uploads", "expires_ms", 3 * 86_400_000)
        await server.start()
        await until_log(server, "UP-OLD", log_id, state="dropped")
        assert not file.exists()
        assert (await log_file(server, "UP-OLD", log_id))[0] == 409


def _age(server: Server, table: str, column: str, by_ms: int) -> None:
    import sqlite3

    database = sqlite3.connect(server.data_dir / "csms.db")
    database.execute(f"UPDATE {table} SET {column} = {column} - ?", (by_ms,))
    database.commit()
    database.close()


# -- images


async def test_signatures_are_verified_before_anything_is_sent(server: Server) -> None:
    for by in (maker("ec"), maker("rsa")):
        image_id = await image(server, "5.0", by=by)
        shown = await server.api("GET", f"/api/v1/firmware-images/{image_id}")
        assert (shown["signed"], shown["ready"], shown["sha256"]) == (True, True, sha256(FIRMWARE))
    good, other = maker("ec"), Maker("ec")
    cases: list[tuple[Json, str]] = [
        ({"signing_certificate": other.certificate, "signature": good.sign(FIRMWARE)}, "does not fit"),
        ({"signing_certificate": good.certificate, "signature": good.sign(FIRMWARE + b"x")}, "does not fit"),
        ({"signing_certificate": good.certificate, "signature": "***"}, "not base64"),
        ({"signing_certificate": "no pem", "signature": good.sign(FIRMWARE)}, "not a certificate"),
        ({"signing_certificate": Maker(days=-2).certificate, "signature": "AAAA"}, "not valid at this time"),
    ]
    for signed, said in cases:
        body = {"version": "5.0", "url": "https://files.example/fw.bin", "sha256": sha256(FIRMWARE), **signed}
        problem = await server.api("POST", "/api/v1/firmware-images", body, expect=422)
        assert said in problem["detail"]
    body = {"version": "5.0", "signing_certificate": other.certificate, "signature": good.sign(FIRMWARE)}
    made = await server.api("POST", "/api/v1/firmware-images", body, expect=201)
    problem = await put_file(server, f"/api/v1/firmware-images/{made['id']}/file", FIRMWARE, expect=422)
    assert "does not fit" in problem["detail"]
    shown = await server.api("GET", f"/api/v1/firmware-images/{made['id']}")
    assert (shown["ready"], shown["signed"], shown["size"]) == (False, False, None)
    half = {"version": "5.0", "signature": "AAAA"}
    await server.api("POST", "/api/v1/firmware-images", half, expect=422)
    assert leftovers(server) == []


async def test_the_file_of_an_image(server: Server) -> None:
    made = await server.api(
        "POST", "/api/v1/firmware-images", {"version": "6.0", "sha256": sha256(b"good").upper()}, expect=201
    )
    path = f"/api/v1/firmware-images/{made['id']}/file"
    assert "not" in (await put_file(server, path, b"bad", expect=422))["detail"]
    assert (await put_file(server, path, b"x" * (2 * MIB + 1), expect=413))["type"] == "/problems/too-large"
    assert (await put_file(server, path, b"good"))["size"] == 4
    assert (await put_file(server, path, b"good"))["ready"] is True
    await put_file(server, path, b"bad", expect=409)
    await put_file(server, "/api/v1/firmware-images/none/file", b"x", expect=404)
    elsewhere = {"version": "6.0", "url": "ftp://files.example/fw.bin"}
    kept = await server.api("POST", "/api/v1/firmware-images", elsewhere, expect=201)
    await put_file(server, f"/api/v1/firmware-images/{kept['id']}/file", b"x", expect=409)
    await server.api("DELETE", f"/api/v1/firmware-images/{made['id']}", expect=204)
    await server.api("GET", f"/api/v1/firmware-images/{made['id']}", expect=404)
    assert not (server.data_dir / "files" / "firmware" / made["id"]).exists()
    assert leftovers(server) == []


async def test_a_ticket_opens_its_image_and_nothing_else(server: Server) -> None:
    async with Station16(server, "FW-TICKET") as cp:
        cp.table["UpdateFirmware"] = {}
        await cp.boot(firmwareVersion="1.0")
        mine, other = await image(server, "7.0"), await image(server, "7.1", data=b"other")
        await campaign(server, mine, cp.id)
        url = (await cp.until_asked("UpdateFirmware"))["location"]
        assert (await download(url))[:2] == (200, FIRMWARE)
        async with aiohttp.ClientSession() as http, http.head(url) as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(FIRMWARE)))
            etag = answer.headers["ETag"]
        assert (await download(url, **{"If-None-Match": etag}))[0] == 304
        assert (await download(url, Range=f"bytes={len(FIRMWARE)}-"))[0] == 416
        ticket = url.split("/")[-2]
        job_id, expires, mac = ticket.split(".")
        forged = [
            f"{job_id}.{int(expires) + 1}.{mac}", f"{job_id}x.{expires}.{mac}", f"{job_id}.{expires}.{mac[:-1]}",
            f"{job_id}.{expires}", "x", f"{job_id}.{'9' * 30}.{mac}", f"{job_id}.é.{mac}",
        ]  # fmt: skip
        for wrong in forged:
            assert (await download(url.replace(ticket, wrong)))[0] == 404, wrong
        assert (await download(url.replace(mine, other)))[0] == 404
        for path in ("/files/fw/", "/files/fw/..%2f..%2fcsms.db/x/y", "/files/../csms.db", "/files/up/", "/files/"):
            assert (await download(server.public_url + path))[0] in {404, 405}, path


# -- campaigns


async def test_at_most_so_many_at_once_and_a_stop_after_failures(server: Server) -> None:
    async with Station201(server, "C-1") as one, Station201(server, "C-2") as two, Station201(server, "C-3") as three:
        stations = {cp.id: cp for cp in (one, two, three)}
        for cp in stations.values():
            cp.table["UpdateFirmware"] = {"status": "Accepted"}
            await cp.boot()
        more = {"at_once": 1, "stop_after": 1, "tries": 1}
        made = await campaign(server, await image(server, "8.0"), *stations, **more)

        async def asked() -> list[Station201]:
            return [cp for cp in stations.values() if cp.questions("UpdateFirmware")]

        (first,) = await until(asked)
        number = first.questions("UpdateFirmware")[0]["requestId"]
        await tell_firmware(first, "Downloading", request_id=number)
        shown = await server.api("GET", f"/api/v1/firmware-campaigns/{made['id']}")
        assert shown["progress"]["waiting"] == 2
        await tell_firmware(first, "DownloadFailed", request_id=number)

        async def stopped() -> Json | None:
            found: Json = await server.api("GET", f"/api/v1/firmware-campaigns/{made['id']}")
            return found if found["state"] == "stopped" else None

        assert (await until(stopped))["detail"] == "1 updates have failed"
        assert await asked() == [first]
        await server.api("POST", f"/api/v1/firmware-campaigns/{made['id']}/resume")

        async def another() -> bool:
            return len(await asked()) == 2

        await until(another)
        cancelled = await server.api("POST", f"/api/v1/firmware-campaigns/{made['id']}/cancel")
        assert cancelled["progress"]["cancelled"] == 1
        assert cancelled["progress"]["failed"] == 1
        await server.api("POST", f"/api/v1/firmware-campaigns/{made['id']}/resume", expect=409)


async def test_a_paused_campaign_asks_nobody_and_an_absent_charger_is_asked_when_it_comes(server: Server) -> None:
    async with Station16(server, "C-PAUSE") as cp:
        cp.table["UpdateFirmware"] = {}
        await cp.boot(firmwareVersion="1.0")
        await cp.close()
        made = await campaign(server, await image(server, "9.0"), cp.id, start_at=at(0.3))
        paused = await server.api("POST", f"/api/v1/firmware-campaigns/{made['id']}/pause")
        assert paused["state"] == "paused"
        await cp.connect()
        assert await cp.is_served()
        assert (await job(server, cp.id))["attempts"] == 0
        resumed = await server.api("POST", f"/api/v1/firmware-campaigns/{made['id']}/resume")
        assert resumed["state"] == "running"
        await cp.until_asked("UpdateFirmware")


async def test_whom_a_campaign_is_for(server: Server) -> None:
    async with Station16(server, "S-1") as one, Station16(server, "S-2") as two:
        await one.boot(chargePointVendor="Maker", chargePointModel="Box 1", firmwareVersion="1.0")
        await two.boot(chargePointVendor="Maker", chargePointModel="Box 2", firmwareVersion="2.0")
    await server.api("PATCH", "/api/v1/chargers/S-2", {"location_id": "SITE"})

    async def chosen(image_id: str, **body: Any) -> set[str]:
        made = await server.api(
            "POST", "/api/v1/firmware-campaigns", {"image_id": image_id, "start_at": at(3600), **body}, expect=201
        )
        found = await server.api("GET", f"/api/v1/firmware-jobs?campaign_id={made['id']}")
        return {one["charger_id"] for one in found["items"]}

    image_id = await image(server, "2.0", vendor="Maker", model="Box*")
    assert await chosen(image_id) == {"S-1"}  # the other one has it
    assert await chosen(image_id, include_same=True) == {"S-1", "S-2"}
    assert await chosen(image_id, include_same=True, location_ids=["SITE"]) == {"S-2"}
    assert await chosen(image_id, model="*", firmware="1.*") == {"S-1"}
    for body in ({"charger_ids": ["S-2"]}, {"vendor": "Nobody"}):
        await server.api("POST", "/api/v1/firmware-campaigns", {"image_id": image_id, **body}, expect=422)
    await server.api("POST", "/api/v1/firmware-campaigns", {"image_id": image_id, "charger_ids": ["NONE"]}, expect=404)
    await server.api("DELETE", f"/api/v1/firmware-images/{image_id}", expect=409)
    empty = await server.api("POST", "/api/v1/firmware-images", {"version": "2.0"}, expect=201)
    await server.api("POST", "/api/v1/firmware-campaigns", {"image_id": empty["id"]}, expect=409)


async def test_a_charger_that_is_removed_leaves_its_campaign(server: Server) -> None:
    async with Station16(server, "C-GONE") as cp:
        await cp.boot(firmwareVersion="1.0")
    made = await campaign(server, await image(server, "2.0"), "C-GONE")
    await server.api("DELETE", "/api/v1/chargers/C-GONE", expect=204)

    async def is_done() -> bool:
        found = await server.api("GET", f"/api/v1/firmware-campaigns/{made['id']}")
        return bool(found["state"] == "done" and found["progress"]["cancelled"] == 1)

    await until(is_done)


async def test_a_campaign_outlives_a_kill(tmp_path: Any) -> None:
    async with running(tmp_path, {"ocpp": {"settle_s": 0.1}}) as server:
        cp = Station201(server, "C-KILL")
        async with cp:
            cp.table["UpdateFirmware"] = {"status": "Accepted"}
            await cp.boot()
            await campaign(server, await image(server, "2.0", by=maker()), cp.id)
            number = (await cp.until_asked("UpdateFirmware"))["requestId"]
            await tell_firmware(cp, "Downloading", request_id=number)
            await until_job(server, cp.id, state="downloading")
            await server.kill()
        await server.start()
        async with cp:
            await tell_firmware(cp, "Downloaded", "Installing", "Installed", request_id=number)
            await until_job(server, cp.id, state="installed")
            assert len(cp.questions("UpdateFirmware")) == 1


async def test_the_operators_commands(server: Server, tmp_path: Path) -> None:
    by, file = maker("rsa"), tmp_path / "box 1.bin"
    file.write_bytes(FIRMWARE)
    (tmp_path / "maker.pem").write_text(by.certificate)
    (tmp_path / "box.sig").write_text(by.sign(FIRMWARE) + "\n")

    async def csms(*words: str, code: int = 0) -> Any:
        environment = {**os.environ, "CSMS_API_KEY": API_KEY, "CSMS_URL": server.urls["api"]}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "csms", "firmware", *words, "--json",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment, cwd=tmp_path,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == code, err.decode()
        return json.loads(out) if out else err.decode()

    signed = ("--certificate", "maker.pem", "--signature", "box.sig")
    async with Station201(server, "CLI-1") as cp:
        cp.table["UpdateFirmware"] = {"status": "Accepted"}
        await cp.boot()
        made = await csms("add", "4.0", "--file", str(file), *signed)
        assert (made["signed"], made["ready"], made["file_name"]) == (True, True, "box_1.bin")
        assert made["id"] in [one["id"] for one in await csms("images")]
        started = await csms("start", made["id"], "--charger", "CLI-1")
        watching = asyncio.create_task(csms("status", started["id"], "--watch"))
        number = (await cp.until_asked("UpdateFirmware"))["requestId"]
        await tell_firmware(cp, "Downloading", "Downloaded", "Installing", "Installed", request_id=number)
        shown = await watching
        assert (shown["progress"]["installed"], shown["jobs"][0]["charger_id"]) == (1, "CLI-1")
        assert started["id"] in [one["id"] for one in await csms("campaigns")]
        assert "The campaign is done" in await csms("cancel", started["id"], code=1)
    (tmp_path / "box.sig").write_text(by.sign(b"something else"))
    assert "does not fit" in await csms("add", "4.1", "--file", str(file), *signed, code=1)
    assert [one["version"] for one in await csms("images") if one["version"] == "4.1"] == []
