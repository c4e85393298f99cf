"""OCPP 1.6: firmware, diagnostics, logs (cases 044, 045, 079 to 081), with real files over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from filing import (
    FIRMWARE,
    campaign,
    download,
    image,
    job,
    log,
    log_file,
    maker,
    sha256,
    tell_firmware,
    until_facts,
    until_job,
    until_log,
    upload,
)
from running import Server, running
from wire import Refuse, Station16, at, frames, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCEPTED = {"status": "Accepted"}
Json = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("files16"), {"ocpp": {"settle_s": 0.1}}) as running_server:
        yield running_server


async def booted(cp: Station16, version: str = "1.0") -> Station16:
    await cp.boot(firmwareVersion=version)
    await cp.status("Available")
    return cp


async def ask_log(server: Server, charger_id: str, **body: Any) -> Json:
    made: Json = await server.api("POST", f"/api/v1/chargers/{charger_id}/logs", body, expect=201)
    return made


# -- firmware


@pytest.mark.case("1.6 TC_044_1")
async def test_tc_044_1_firmware_is_downloaded_installed_and_proven_by_the_next_boot(server: Server) -> None:
    async with Station16(server, "F044-1") as cp:
        cp.table["UpdateFirmware"] = {}
        await booted(cp)
        image_id = await image(server, "2.0", model="M", file_name="box-2.0.bin")
        made = await campaign(server, image_id, "F044-1")
        asked = await cp.until_asked("UpdateFirmware")
        assert set(asked) == {"location", "retrieveDate", "retries", "retryInterval"}
        assert asked["location"].startswith(server.public_url + "/files/fw/")
        assert asked["location"].endswith("/box-2.0.bin")
        await until_job(server, "F044-1", state="asked", status="Accepted")

        # It fetches the file, is cut off, and goes on where it was.
        status, first, headers = await download(asked["location"], Range="bytes=0-99999")
        assert (status, headers["Accept-Ranges"]) == (206, "bytes")
        assert headers["Content-Range"] == f"bytes 0-99999/{len(FIRMWARE)}"
        status, rest, _ = await download(asked["location"], **{"Range": "bytes=100000-", "If-Range": headers["ETag"]})
        assert status == 206
        assert first + rest == FIRMWARE

        await tell_firmware(cp, "Downloading")
        await until_job(server, "F044-1", state="downloading")
        await tell_firmware(cp, "Downloaded", "Installing")
        await until_job(server, "F044-1", state="installing")
        await cp.cut()
        await cp.connect()
        await cp.boot(firmwareVersion="2.0")
        await tell_firmware(cp, "Installed")
        done = await until_job(server, "F044-1", state="installed", proven=True)
        assert (done["attempts"], done["version_before"], done["detail"]) == (1, "1.0", None)
        await until_facts(server, "F044-1", "FirmwareAsked", "FirmwareStatus", "FirmwareInstalled")

        async def is_done() -> bool:
            shown = await server.api("GET", f"/api/v1/firmware-campaigns/{made['id']}")
            return shown["state"] == "done" and shown["progress"]["installed"] == 1

        await until(is_done)
        # The secret of the address is nobody's to read.
        (logged, _) = await frames(server, "F044-1", "UpdateFirmware")
        assert "/***/" in logged["frame"][3]["location"]


@pytest.mark.parametrize(
    ("told", "case"),
    [
        pytest.param(("Downloading", "DownloadFailed"), "044-2", marks=pytest.mark.case("1.6 TC_044_2")),
        pytest.param(
            ("Downloading", "Downloaded", "Installing", "InstallationFailed"),
            "044-3",
            marks=pytest.mark.case("1.6 TC_044_3"),
        ),
    ],
    ids=["tc_044_2", "tc_044_3"],
)
async def test_tc_044_2_and_3_an_update_that_fails_is_tried_again_and_then_given_up(
    server: Server, told: tuple[str, ...], case: str
) -> None:
    async with Station16(server, f"F{case}") as cp:
        cp.table["UpdateFirmware"] = {}
        await booted(cp)
        await campaign(server, await image(server, "2.0"), cp.id, tries=2, retry_s=0)
        await cp.until_asked("UpdateFirmware")
        await tell_firmware(cp, *told)
        await cp.until_asked("UpdateFirmware", 2)
        await tell_firmware(cp, *told)
        gone = await until_job(server, cp.id, state="failed")
        assert (gone["status"], gone["attempts"], gone["detail"]) == (told[-1], 2, f"the charger told {told[-1]}")
        await until_facts(server, cp.id, "FirmwareAsked", "FirmwareAsked", "FirmwareFailed")
        # What it did after all, it did.
        await cp.boot(firmwareVersion="2.0")
        await until_job(server, cp.id, state="installed", proven=True)


@pytest.mark.case("1.6 TC_080")
async def test_tc_080_signed_firmware(server: Server) -> None:
    async with Station16(server, "F080") as cp:
        cp.table["SignedUpdateFirmware"] = ACCEPTED
        await booted(cp)
        by = maker("rsa")
        await campaign(server, await image(server, "3.0", by=by), "F080", install_at=at(60))
        asked = await cp.until_asked("SignedUpdateFirmware")
        firmware = asked["firmware"]
        assert firmware["signingCertificate"] == by.certificate
        assert {"location", "retrieveDateTime", "installDateTime"} <= set(firmware)
        number = asked["requestId"]
        status, fetched, _ = await download(firmware["location"])
        assert (status, fetched) == (200, FIRMWARE)
        assert by.has_signed(fetched, firmware["signature"])
        words = ("Downloading", "Downloaded", "SignatureVerified", "Installing", "InstallRebooting")
        await tell_firmware(cp, *words, request_id=number, signed16=True)
        await until_job(server, "F080", state="installing", status="InstallRebooting", request_id=number)
        await cp.close()
        await cp.connect()
        await cp.boot(firmwareVersion="3.0")
        await tell_firmware(cp, "Installed", request_id=number, signed16=True)
        await until_job(server, "F080", state="installed", proven=True)


@pytest.mark.case("1.6 TC_081")
async def test_tc_081_a_signature_the_charger_does_not_accept_is_the_end(server: Server) -> None:
    async with Station16(server, "F081") as cp:
        cp.table["SignedUpdateFirmware"] = ACCEPTED
        await booted(cp)
        await campaign(server, await image(server, "3.0", by=maker()), "F081", retry_s=0)
        asked = await cp.until_asked("SignedUpdateFirmware")
        firmware = asked["firmware"]
        assert firmware["signingCertificate"] == maker().certificate
        # What was signed was sent; it is what arrived that the charger finds broken.
        assert maker().has_signed(FIRMWARE, firmware["signature"])
        assert not maker().has_signed(FIRMWARE[:-1], firmware["signature"])
        event = {"type": "InvalidFirmwareSignature", "timestamp": at()}
        await tell_firmware(cp, "Downloading", "Downloaded", request_id=asked["requestId"], signed16=True)
        assert await cp.ask("SecurityEventNotification", event) == {}
        await tell_firmware(cp, "InvalidSignature", request_id=asked["requestId"], signed16=True)
        gone = await until_job(server, "F081", state="failed")
        assert (gone["status"], gone["attempts"]) == ("InvalidSignature", 1)
        failed = (await until_facts(server, "F081", "FirmwareAsked", "FirmwareFailed"))[-1]
        assert failed["body"]["detail"] == "the charger told InvalidSignature"
        assert len(cp.questions("SignedUpdateFirmware")) == 1


async def test_a_charger_without_the_extension_gets_a_signed_image_the_old_way(server: Server) -> None:
    async with Station16(server, "F-OLD") as cp:
        cp.table["UpdateFirmware"] = {}
        await booted(cp)
        await campaign(server, await image(server, "3.0", by=maker()), "F-OLD")
        await cp.until_asked("UpdateFirmware")
        assert len(cp.questions("SignedUpdateFirmware")) == 1
        await until_job(server, "F-OLD", state="asked", status="Accepted")


async def test_a_charger_that_charges_is_left_alone_until_it_is_idle(server: Server) -> None:
    async with Station16(server, "F-BUSY") as cp:
        cp.table["UpdateFirmware"] = {}
        await booted(cp)
        number = (await cp.start("TAG", 0))["transactionId"]
        await campaign(server, await image(server, "2.0"), "F-BUSY", when_idle=True)

        async def is_put_back() -> bool:
            return bool((await job(server, "F-BUSY"))["due_at"] > at(30))

        await until(is_put_back)  # looked at, and found charging
        assert cp.questions("UpdateFirmware") == []
        await cp.stop(number, 100)
        assert (await job(server, "F-BUSY"))["state"] == "waiting"


async def test_statuses_out_of_nowhere_are_answered_and_change_nothing(server: Server) -> None:
    async with Station16(server, "F-IDLE") as cp:
        await booted(cp)
        await tell_firmware(cp, "Idle", "Installed", "DownloadFailed")
        await tell_firmware(cp, "Idle", signed16=True)
        for status in ("Idle", "Uploaded", "UploadFailed"):
            assert await cp.ask("DiagnosticsStatusNotification", {"status": status}) == {}
        assert await cp.ask("LogStatusNotification", {"status": "Idle"}) == {}
        assert (await server.api("GET", "/api/v1/firmware-jobs?charger_id=F-IDLE"))["items"] == []
        assert (await server.api("GET", "/api/v1/chargers/F-IDLE/logs"))["items"] == []
        assert await cp.is_served()


# -- diagnostics


@pytest.mark.case("1.6 TC_045_1")
async def test_tc_045_1_diagnostics_are_uploaded(server: Server) -> None:
    async with Station16(server, "D045-1") as cp:
        cp.table["GetDiagnostics"] = {"fileName": "diag.zip"}
        await booted(cp)
        made = await ask_log(server, "D045-1", oldest_at=at(-3600), latest_at=at(), retries=2, retry_interval_s=30)
        assert (made["state"], made["kind"], made["file_name"]) == ("accepted", "diagnostics", "diag.zip")
        (asked,) = cp.questions("GetDiagnostics")
        assert set(asked) == {"location", "startTime", "stopTime", "retries", "retryInterval"}
        assert await cp.ask("DiagnosticsStatusNotification", {"status": "Uploading"}) == {}
        await until_log(server, cp.id, made["id"], state="uploading")
        assert (await log_file(server, cp.id, made["id"]))[0] == 409
        data = b"what happened here " * 50_000
        assert (await upload(asked["location"] + "diag.zip", data)).status == 200
        # There, the moment the charger was answered, before its own word for it.
        got = await log(server, cp.id, made["id"])
        assert (got["state"], got["size"], got["sha256"]) == ("received", len(data), sha256(data))
        assert await cp.ask("DiagnosticsStatusNotification", {"status": "Uploaded"}) == {}
        await until_log(server, cp.id, made["id"], state="received", status="Uploaded")
        assert await log_file(server, cp.id, made["id"]) == (200, data)
        received = (await until_facts(server, cp.id, "LogAsked", "LogReceived"))[-1]
        assert received["body"]["sha256"] == sha256(data)


@pytest.mark.case("1.6 TC_045_2")
async def test_tc_045_2_an_upload_that_fails(server: Server) -> None:
    async with Station16(server, "D045-2") as cp:
        cp.table["GetDiagnostics"] = {"fileName": "diag.zip"}
        await booted(cp)
        made = await ask_log(server, "D045-2")
        for status in ("Uploading", "UploadFailed"):
            assert await cp.ask("DiagnosticsStatusNotification", {"status": status}) == {}
        gone = await until_log(server, cp.id, made["id"], state="failed")
        assert (gone["status"], gone["detail"]) == ("UploadFailed", "the charger told UploadFailed")
        await until_facts(server, cp.id, "LogNotReceived")
        # Some try again by themselves, and then it is there after all.
        assert (await upload(cp.questions("GetDiagnostics")[0]["location"], b"late")).status == 200
        assert (await log(server, cp.id, made["id"]))["state"] == "received"


async def test_a_file_may_have_any_name_and_is_fetched_all_the_same(server: Server) -> None:
    async with Station16(server, "D-NAMED") as cp:
        cp.table["GetDiagnostics"] = {"fileName": '../a "b"\r\nX-Other: c.zip'}
        await booted(cp)
        made = await ask_log(server, "D-NAMED")
        location = cp.questions("GetDiagnostics")[0]["location"]
        assert (await upload(location, b"named")).status == 200
        assert await log_file(server, cp.id, made["id"]) == (200, b"named")


async def test_no_file_name_means_that_there_is_nothing(server: Server) -> None:
    async with Station16(server, "D-NONE") as cp:
        cp.table["GetDiagnostics"] = {}
        await booted(cp)
        made = await ask_log(server, "D-NONE")
        assert (made["state"], made["request_id"]) == ("nothing", None)


async def test_a_place_of_the_operators_own_is_followed_by_the_chargers_word(server: Server) -> None:
    async with Station16(server, "D-FTP") as cp:
        cp.table["GetDiagnostics"] = {"fileName": "a.zip"}
        await booted(cp)
        made = await ask_log(server, "D-FTP", location="ftp://user:word@files.example/in")
        assert cp.questions("GetDiagnostics") == [{"location": "ftp://user:word@files.example/in"}]
        assert made["location"] == "ftp://***@files.example/in"  # whoever may only read learns no password
        assert made["location"] == "ftp://***@files.example/in"  # whoever may only read learns no password
        assert await cp.ask("DiagnosticsStatusNotification", {"status": "Uploaded"}) == {}
        await until_log(server, cp.id, made["id"], state="elsewhere")


async def test_a_charger_that_does_not_know_the_message_and_one_that_is_not_there(server: Server) -> None:
    async with Station16(server, "D-NO") as cp:
        await booted(cp)
        made = await ask_log(server, "D-NO")
        assert (made["state"], made["detail"]) == ("refused", "the charger answered NotImplemented")
    problem = await server.api("POST", "/api/v1/chargers/D-NO/logs", {}, expect=409)
    assert problem["type"] == "/problems/station-offline"


async def test_an_answer_that_comes_late_counts(server: Server) -> None:
    async with Station16(server, "D-LATE") as cp:
        go_on = asyncio.Event()

        async def answer(_: Json) -> Json:
            await go_on.wait()
            return {"fileName": "late.zip"}

        cp.table["GetDiagnostics"] = answer
        await booted(cp)
        made = await server.api("POST", "/api/v1/chargers/D-LATE/logs?timeout_s=0.2", {}, expect=201)
        assert made["state"] == "asked"
        go_on.set()
        await until_log(server, cp.id, made["id"], state="accepted", file_name="late.zip")


@pytest.mark.case("1.6 TC_079")
async def test_tc_079_the_security_log(server: Server) -> None:
    async with Station16(server, "D079") as cp:
        cp.table["GetLog"] = {"status": "Accepted", "filename": "security.log"}
        await booted(cp)
        made = await ask_log(server, "D079", kind="security", oldest_at=at(-60))
        (asked,) = cp.questions("GetLog")
        assert (asked["logType"], asked["requestId"]) == ("SecurityLog", made["request_id"])
        assert set(asked["log"]) == {"remoteLocation", "oldestTimestamp"}
        for status in ("Uploading", "Uploaded"):
            if status == "Uploaded":
                assert (await upload(asked["log"]["remoteLocation"], b"events", method="POST")).status == 200
            said = {"status": status, "requestId": asked["requestId"]}
            assert await cp.ask("LogStatusNotification", said) == {}
        got = await until_log(server, cp.id, made["id"], state="received", status="Uploaded")
        assert (got["kind"], got["size"], got["file_name"]) == ("security", 6, "security.log")
        # It has shown that it speaks the extension: its diagnostics are asked for the same way from now on.
        made = await ask_log(server, "D079")
        assert cp.questions("GetLog")[-1]["logType"] == "DiagnosticsLog"
        assert made["request_id"] > got["request_id"]


async def test_a_second_log_takes_the_place_of_the_first(server: Server) -> None:
    async with Station16(server, "D-TWO") as cp:
        cp.table["GetLog"] = {"status": "Accepted", "filename": "1.log"}
        await booted(cp)
        first = await ask_log(server, "D-TWO", kind="security")
        cp.table["GetLog"] = {"status": "AcceptedCanceled", "filename": "2.log"}
        second = await ask_log(server, "D-TWO", kind="security")
        assert second["state"] == "accepted"
        assert (await log(server, cp.id, first["id"]))["state"] == "cancelled"
        places = [asked["log"]["remoteLocation"] for asked in cp.questions("GetLog")]
        assert [(await upload(place, b"x")).status for place in places] == [410, 200]

        def rejects(_: Json) -> Json:
            raise Refuse("InternalError")

        cp.table["GetLog"] = rejects
        assert (await ask_log(server, "D-TWO", kind="security"))["state"] == "refused"
