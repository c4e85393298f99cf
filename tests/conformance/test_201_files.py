"""OCPP 2.0.1: signed firmware (block L), logs and customer information (block N), with real files over HTTP."""

from __future__ import annotations

import hashlib
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
    tell_firmware,
    until_facts,
    until_job,
    until_log,
    upload,
)
from running import Server, running
from wire import Station201, answered, at, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCEPTED = {"status": "Accepted"}
Json = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("files201"), {"ocpp": {"settle_s": 0.1}}) as running_server:
        yield running_server


async def boot(cp: Station201, version: str = "1.0", reason: str = "PowerUp") -> None:
    station = {"vendorName": "V", "model": "M", "firmwareVersion": version}
    assert (await cp.ask("BootNotification", {"reason": reason, "chargingStation": station}))["status"] == "Accepted"
    await cp.status("Available")


async def updating(server: Server, cp: Station201, answer: str = "Accepted", **more: Any) -> tuple[Json, int]:
    """A charger that was asked to update to 2.0, and its request's number."""
    cp.table["UpdateFirmware"] = {"status": answer}
    await boot(cp)
    made = await campaign(server, await image(server, "2.0", by=maker()), cp.id, **{"tries": 1, **more})
    asked = await cp.until_asked("UpdateFirmware")
    return made, int(asked["requestId"])


# -- L: firmware


@pytest.mark.case("2.0.1 TC_L_01")
async def test_l_01_signed_firmware_is_installed(server: Server) -> None:
    async with Station201(server, "L01") as cp:
        _, number = await updating(server, cp)
        firmware = cp.questions("UpdateFirmware")[0]["firmware"]
        assert firmware["signingCertificate"] == maker().certificate
        status, fetched, _ = await download(firmware["location"])
        assert (status, fetched) == (200, FIRMWARE)
        assert maker().has_signed(fetched, firmware["signature"])
        await tell_firmware(
            cp, "Downloading", "Downloaded", "SignatureVerified", "Installing", "InstallRebooting", request_id=number
        )
        await cp.close()
        await cp.connect()
        await boot(cp, "2.0", "FirmwareUpdate")
        await tell_firmware(cp, "Installed", request_id=number)
        await until_job(server, "L01", state="installed", proven=True)
        installed = (await until_facts(server, "L01", "FirmwareAsked", "FirmwareStatus", "FirmwareInstalled"))[-1]
        assert installed["body"]["version"] == "2.0"


@pytest.mark.case("2.0.1 TC_L_02")
async def test_l_02_the_installation_is_scheduled(server: Server) -> None:
    async with Station201(server, "L02") as cp:
        _, number = await updating(server, cp, install_at=at(7200), window_s=60)
        assert "installDateTime" in cp.questions("UpdateFirmware")[0]["firmware"]
        await tell_firmware(cp, "Downloading", "Downloaded", "SignatureVerified", "InstallScheduled", request_id=number)
        held = await until_job(server, "L02", state="downloaded", status="InstallScheduled")
        assert held["due_at"] > at(7200 + 60)  # waiting for its time is no silence
        await tell_firmware(cp, "Installing", "Installed", request_id=number)
        await until_job(server, "L02", state="installed", proven=False)
        await boot(cp, "2.0", "FirmwareUpdate")
        await until_job(server, "L02", state="installed", proven=True)


@pytest.mark.case("2.0.1 TC_L_03")
async def test_l_03_the_download_is_scheduled(server: Server) -> None:
    async with Station201(server, "L03") as cp:
        later = at(3600)
        _, number = await updating(server, cp, retrieve_at=later)
        assert cp.questions("UpdateFirmware")[0]["firmware"]["retrieveDateTime"] == later
        await tell_firmware(cp, "DownloadScheduled", request_id=number)
        await until_job(server, "L03", state="asked", status="DownloadScheduled")
        await tell_firmware(cp, "Downloading", "Downloaded", "Installing", "Installed", request_id=number)
        await until_job(server, "L03", state="installed")


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        pytest.param("L04", "RevokedCertificate", marks=pytest.mark.case("2.0.1 TC_L_04")),
        pytest.param("L05", "InvalidCertificate", marks=pytest.mark.case("2.0.1 TC_L_05")),
    ],
    ids=["l_04", "l_05"],
)
async def test_l_04_and_05_a_certificate_the_station_refuses_is_the_end(server: Server, name: str, answer: str) -> None:
    async with Station201(server, name) as cp:
        await updating(server, cp, answer, tries=3, retry_s=0)
        gone = await until_job(server, name, state="failed")
        assert (gone["status"], gone["attempts"]) == (answer, 1)
        event = {"type": "InvalidFirmwareSigningCertificate", "timestamp": at()}
        assert await cp.ask("SecurityEventNotification", event) == {}
        assert len(cp.questions("UpdateFirmware")) == 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        pytest.param("L06", ("Downloading", "Downloaded", "InvalidSignature"), marks=pytest.mark.case("2.0.1 TC_L_06")),
        pytest.param("L07", ("Downloading", "DownloadFailed"), marks=pytest.mark.case("2.0.1 TC_L_07")),
        pytest.param(
            "L08",
            ("Downloading", "Downloaded", "SignatureVerified", "InstallVerificationFailed"),
            marks=pytest.mark.case("2.0.1 TC_L_08"),
        ),
        pytest.param(
            "L09",
            ("Downloading", "Downloaded", "SignatureVerified", "Installing", "InstallationFailed"),
            marks=pytest.mark.case("2.0.1 TC_L_09"),
        ),
    ],
    ids=["l_06", "l_07", "l_08", "l_09"],
)
async def test_l_06_to_09_what_fails_on_the_way(server: Server, name: str, told: tuple[str, ...]) -> None:
    async with Station201(server, name) as cp:
        _, number = await updating(server, cp)
        await tell_firmware(cp, *told, request_id=number)
        gone = await until_job(server, name, state="failed")
        assert (gone["status"], gone["detail"]) == (told[-1], f"the charger told {told[-1]}")
        # What is told about another request, or again, changes nothing.
        await tell_firmware(cp, told[-1], request_id=number)
        await tell_firmware(cp, "Installed", request_id=99_999)
        assert await cp.is_served()
        assert (await job(server, name))["state"] == "failed"


@pytest.mark.case("2.0.1 TC_L_10")
async def test_l_10_a_second_update_cancels_the_first(server: Server) -> None:
    async with Station201(server, "L10") as cp:
        first, number = await updating(server, cp)
        await tell_firmware(cp, "Downloading", request_id=number)
        await until_job(server, "L10", state="downloading")
        cp.table["UpdateFirmware"] = {"status": "AcceptedCanceled"}
        second = await campaign(server, await image(server, "2.1", by=maker()), "L10", replace=True)
        number = (await cp.until_asked("UpdateFirmware", 2))["requestId"]
        await until_job(server, "L10", first["id"], state="cancelled")
        await until_job(server, "L10", second["id"], state="asked", status="AcceptedCanceled")
        await tell_firmware(cp, "Downloading", "Downloaded", "Installing", "Installed", request_id=number)
        await until_job(server, "L10", second["id"], state="installed")
        assert (await job(server, "L10", first["id"]))["state"] == "cancelled"


@pytest.mark.case("2.0.1 TC_L_11")
async def test_l_11_an_update_that_cannot_be_cancelled_goes_on(server: Server) -> None:
    async with Station201(server, "L11") as cp:
        first, number = await updating(server, cp)
        await tell_firmware(cp, "Downloading", "Downloaded", "Installing", request_id=number)
        await until_job(server, "L11", state="installing")
        cp.table["UpdateFirmware"] = {"status": "Rejected"}
        more = {"replace": True, "tries": 1}
        second = await campaign(server, await image(server, "2.1", by=maker()), "L11", **more)
        refused = await until_job(server, "L11", second["id"], state="failed")
        assert refused["detail"] == "the charger answered Rejected"
        await tell_firmware(cp, "Installed", request_id=number)
        await until_job(server, "L11", first["id"], state="installed")


@pytest.mark.case("2.0.1 TC_L_13")
async def test_l_13_a_running_transaction_holds_the_update_up(server: Server) -> None:
    async with Station201(server, "L13") as cp:
        await boot(cp)
        await cp.event("Started", "T-L13", "Authorized", token="TAG", wh=0)
        cp.table["UpdateFirmware"] = ACCEPTED
        await campaign(server, await image(server, "2.0", by=maker()), "L13", when_idle=False, window_s=60)
        number = (await cp.until_asked("UpdateFirmware"))["requestId"]
        await tell_firmware(cp, "Downloading", "Downloaded", "SignatureVerified", "InstallScheduled", request_id=number)
        await until_job(server, "L13", state="downloaded", status="InstallScheduled")
        await cp.event("Ended", "T-L13", "StopAuthorized", token="TAG", wh=900, info={"stoppedReason": "Local"})
        await tell_firmware(cp, "Installing", "InstallRebooting", request_id=number)
        await boot(cp, "2.0", "FirmwareUpdate")
        await tell_firmware(cp, "Installed", request_id=number)
        await until_job(server, "L13", state="installed", proven=True)


async def test_an_unsigned_image_goes_without_certificate(server: Server) -> None:
    async with Station201(server, "L-PLAIN") as cp:
        cp.table["UpdateFirmware"] = ACCEPTED
        await boot(cp)
        await campaign(server, await image(server, "2.0"), "L-PLAIN")
        asked = await cp.until_asked("UpdateFirmware")
        assert set(asked["firmware"]) == {"location", "retrieveDateTime"}


async def test_publishing_at_a_local_controller(server: Server) -> None:
    async with Station201(server, "L-PUB") as cp:
        cp.table["PublishFirmware"] = ACCEPTED
        cp.table["UnpublishFirmware"] = {"status": "Unpublished"}
        await boot(cp)
        image_id = await image(server, "2.0")
        md5 = (await server.api("GET", f"/api/v1/firmware-images/{image_id}"))["md5"]
        path = "/api/v1/chargers/L-PUB/firmware-publications"
        made = await server.api("POST", path, {"image_id": image_id}, expect=201)
        (asked,) = cp.questions("PublishFirmware")
        assert (made["status"], made["request_id"]) == ("Accepted", asked["requestId"])
        assert asked["checksum"] == md5 == hashlib.md5(FIRMWARE).hexdigest()
        assert (await download(asked["location"]))[:2] == (200, FIRMWARE)
        number = asked["requestId"]
        for status in ("Downloading", "Downloaded", "ChecksumVerified"):
            assert await cp.ask("PublishFirmwareStatusNotification", {"status": status, "requestId": number}) == {}
        places = ["http://10.0.0.1/fw"]
        published = {"status": "Published", "requestId": number, "location": places}
        assert await cp.ask("PublishFirmwareStatusNotification", published) == {}
        assert await cp.ask("PublishFirmwareStatusNotification", {"status": "Idle"}) == {}
        (shown,) = (await server.api("GET", path))["items"]
        assert (shown["request_id"], shown["status"], shown["locations"]) == (number, "Published", places)
        assert await answered(server, "L-PUB", "UnpublishFirmware", {"checksum": md5}) == {"status": "Unpublished"}


# -- N: logs


async def ask_log(server: Server, charger_id: str, **body: Any) -> Json:
    made: Json = await server.api("POST", f"/api/v1/chargers/{charger_id}/logs", body, expect=201)
    return made


@pytest.mark.parametrize(
    ("name", "kind", "word"),
    [
        pytest.param("N25", "diagnostics", "DiagnosticsLog", marks=pytest.mark.case("2.0.1 TC_N_25")),
        pytest.param("N35", "security", "SecurityLog", marks=pytest.mark.case("2.0.1 TC_N_35")),
    ],
    ids=["n_25", "n_35"],
)
async def test_n_25_and_35_a_log_is_uploaded(server: Server, name: str, kind: str, word: str) -> None:
    async with Station201(server, name) as cp:
        cp.table["GetLog"] = {"status": "Accepted", "filename": "a.log"}
        await boot(cp)
        made = await ask_log(server, name, kind=kind, oldest_at=at(-3600), latest_at=at())
        (asked,) = cp.questions("GetLog")
        assert (asked["logType"], asked["requestId"]) == (word, made["request_id"])
        assert set(asked["log"]) == {"remoteLocation", "oldestTimestamp", "latestTimestamp"}
        await cp.ask("LogStatusNotification", {"status": "Uploading", "requestId": asked["requestId"]})
        await until_log(server, name, made["id"], state="uploading")
        data = f"the {kind} of {name}".encode() * 1000
        assert (await upload(asked["log"]["remoteLocation"] + "a.log", data)).status == 200
        await cp.ask("LogStatusNotification", {"status": "Uploaded", "requestId": asked["requestId"]})
        got = await until_log(server, name, made["id"], state="received", status="Uploaded")
        assert (got["kind"], got["size"]) == (kind, len(data))
        assert await log_file(server, name, made["id"]) == (200, data)


@pytest.mark.case("2.0.1 TC_N_34")
async def test_n_34_a_log_is_refused(server: Server) -> None:
    async with Station201(server, "N34") as cp:
        cp.table["GetLog"] = {"status": "Rejected"}
        await boot(cp)
        made = await ask_log(server, "N34")
        assert (made["state"], made["status"]) == ("refused", "Rejected")
        assert (await upload(cp.questions("GetLog")[0]["log"]["remoteLocation"], b"x")).status == 410


@pytest.mark.case("2.0.1 TC_N_36")
async def test_n_36_a_second_request_cancels_the_first(server: Server) -> None:
    async with Station201(server, "N36") as cp:
        cp.table["GetLog"] = {"status": "Accepted", "filename": "1.log"}
        await boot(cp)
        first = await ask_log(server, "N36")
        await cp.ask("LogStatusNotification", {"status": "Uploading", "requestId": first["request_id"]})
        cp.table["GetLog"] = {"status": "AcceptedCanceled", "filename": "2.log"}
        second = await ask_log(server, "N36")
        await cp.ask("LogStatusNotification", {"status": "AcceptedCanceled", "requestId": first["request_id"]})
        assert (await log(server, "N36", first["id"]))["state"] == "cancelled"
        asked = cp.questions("GetLog")
        assert [one["requestId"] for one in asked] == [first["request_id"], second["request_id"]]
        place = asked[1]["log"]["remoteLocation"]
        assert place != asked[0]["log"]["remoteLocation"]
        await cp.ask("LogStatusNotification", {"status": "Uploading", "requestId": second["request_id"]})
        assert (await upload(place, b"second")).status == 200
        await cp.ask("LogStatusNotification", {"status": "Uploaded", "requestId": second["request_id"]})
        await until_log(server, "N36", second["id"], state="received", status="Uploaded")
        assert await log_file(server, "N36", second["id"]) == (200, b"second")
        assert (await log(server, "N36", first["id"]))["state"] == "cancelled"


async def test_uploaded_without_a_file_is_no_success(server: Server) -> None:
    async with Station201(server, "N-LIE") as cp:
        cp.table["GetLog"] = {"status": "Accepted", "filename": "1.log"}
        await boot(cp)
        made = await ask_log(server, "N-LIE")
        await cp.ask("LogStatusNotification", {"status": "Uploaded", "requestId": made["request_id"]})
        gone = await until_log(server, "N-LIE", made["id"], state="failed")
        assert gone["detail"] == "the charger told Uploaded, but no file came"


# -- N: customers


TOKEN = {"idToken": "CUSTOMER1", "type": "ISO14443"}
CERTIFICATE = {"hash_algorithm": "SHA256", "issuer_name_hash": "a1", "issuer_key_hash": "b2", "serial_number": "c3"}


async def ask_customer(server: Server, charger_id: str, **body: Any) -> Json:
    path = f"/api/v1/chargers/{charger_id}/customer-information"
    made: Json = await server.api("POST", path, {"token": "CUSTOMER1", **body}, expect=201)
    return made


async def until_customer(server: Server, made: Json, **wanted: Any) -> Json:
    async def look() -> Json | None:
        path = f"/api/v1/chargers/{made['charger_id']}/customer-information/{made['id']}"
        found: Json = await server.api("GET", path)
        return found if all(found[name] == value for name, value in wanted.items()) else None

    found: Json = await until(look)
    return found


async def tell_customer(cp: Station201, number: int, *parts: str, begin: int = 0) -> None:
    """Parts of a report, the last one without `tbc`."""
    for place, data in enumerate(parts):
        said = {"requestId": number, "seqNo": begin + place, "generatedAt": at(), "data": data}
        said["tbc"] = place < len(parts) - 1
        assert await cp.ask("NotifyCustomerInformation", said) == {}


@pytest.mark.case("2.0.1 TC_N_27")
async def test_n_27_what_is_known_of_a_customer_is_reported_in_parts(server: Server) -> None:
    async with Station201(server, "N27") as cp:
        cp.table["CustomerInformation"] = ACCEPTED
        await boot(cp)
        made = await ask_customer(server, "N27")
        (asked,) = cp.questions("CustomerInformation")
        assert asked == {"requestId": made["request_id"], "report": True, "clear": False, "idToken": TOKEN}
        assert (made["state"], made["data"]) == ("accepted", None)
        said = {"requestId": made["request_id"], "seqNo": 0, "generatedAt": at(), "data": "name: A", "tbc": True}
        assert await cp.ask("NotifyCustomerInformation", said) == {}
        await until_customer(server, made, data="name: A", complete=False, state="accepted")
        assert await cp.ask("NotifyCustomerInformation", said) == {}  # sent again: it is the same part
        await tell_customer(cp, made["request_id"], "; tag: B", begin=1)
        await until_customer(server, made, data="name: A; tag: B", complete=True, state="done")


@pytest.mark.parametrize("number", [4_000_000_000, 10**17, -1])
async def test_a_part_with_a_number_beyond_all_bounds_costs_nothing(server: Server, number: int) -> None:
    async with Station201(server, f"N-FAR{number}") as cp:
        cp.table["CustomerInformation"] = ACCEPTED
        await boot(cp)
        made = await ask_customer(server, cp.id)
        said = {"requestId": made["request_id"], "seqNo": number, "generatedAt": at(), "data": "far", "tbc": False}
        assert await cp.ask("NotifyCustomerInformation", said) == {}
        await until_customer(server, made, data="far", complete=False, state="accepted")
        assert await cp.is_served()


@pytest.mark.case("2.0.1 TC_N_28")
async def test_n_28_nothing_is_known_of_a_customer(server: Server) -> None:
    async with Station201(server, "N28") as cp:
        cp.table["CustomerInformation"] = ACCEPTED
        await boot(cp)
        made = await ask_customer(server, "N28")
        assert cp.questions("CustomerInformation") == [
            {"requestId": made["request_id"], "report": True, "clear": False, "idToken": TOKEN}
        ]
        await tell_customer(cp, made["request_id"], "")
        await until_customer(server, made, data="", complete=True, state="done")


@pytest.mark.case("2.0.1 TC_N_29")
async def test_n_29_the_question_is_not_accepted(server: Server) -> None:
    async with Station201(server, "N29") as cp:
        await boot(cp)
        for answer in ("Invalid", "Rejected"):
            cp.table["CustomerInformation"] = {"status": answer}
            made = await ask_customer(server, "N29", clear=True)
            assert (made["state"], made["status"]) == ("refused", answer)
            asked = cp.questions("CustomerInformation")[-1]
            assert asked == {"requestId": made["request_id"], "report": True, "clear": True, "idToken": TOKEN}
        cp.table["CustomerInformation"] = ACCEPTED
        await ask_customer(server, "N29", clear=True)
        cleared = await until_facts(server, "N29", "CustomerAsked", "CustomerAsked", "CustomerAsked", "CustomerCleared")
        assert len(cleared) == 4  # only what was accepted was cleared


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("N30", "name: A", marks=pytest.mark.case("2.0.1 TC_N_30")),
        pytest.param("N31", "", marks=pytest.mark.case("2.0.1 TC_N_31")),
    ],
    ids=["n_30", "n_31"],
)
async def test_n_30_and_31_a_customer_is_reported_and_cleared(server: Server, name: str, data: str) -> None:
    async with Station201(server, name) as cp:
        cp.table["CustomerInformation"] = ACCEPTED
        await boot(cp)
        made = await ask_customer(server, name, report=True, clear=True)
        assert cp.questions("CustomerInformation") == [
            {"requestId": made["request_id"], "report": True, "clear": True, "idToken": TOKEN}
        ]
        await tell_customer(cp, made["request_id"], data)
        await until_customer(server, made, data=data, state="done")
        cleared = (await until_facts(server, name, "CustomerCleared"))[0]
        assert cleared["body"]["token"] == "CUSTOMER1"


@pytest.mark.case("2.0.1 TC_N_32")
async def test_n_32_a_customer_is_cleared_without_a_report(server: Server) -> None:
    async with Station201(server, "N32") as cp:
        cp.table["CustomerInformation"] = ACCEPTED
        await boot(cp)
        made = await ask_customer(server, "N32", report=False, clear=True)
        assert cp.questions("CustomerInformation") == [
            {"requestId": made["request_id"], "report": False, "clear": True, "idToken": TOKEN}
        ]
        await tell_customer(cp, made["request_id"], "cleared")
        await until_customer(server, made, state="done")
        assert (await until_facts(server, "N32", "CustomerCleared"))[0]["body"]["token"] == "CUSTOMER1"


@pytest.mark.case("2.0.1 TC_N_62")
async def test_n_62_by_the_operators_own_identifier(server: Server) -> None:
    async with Station201(server, "N62") as cp:
        cp.table["CustomerInformation"] = ACCEPTED
        await boot(cp)
        path = "/api/v1/chargers/N62/customer-information"
        made = await server.api("POST", path, {"customer_identifier": "OpenCharge-7", "clear": True}, expect=201)
        assert cp.questions("CustomerInformation") == [
            {"requestId": made["request_id"], "report": True, "clear": True, "customerIdentifier": "OpenCharge-7"}
        ]
        await tell_customer(cp, made["request_id"], "one ", "two ", "three")
        await until_customer(server, made, data="one two three", state="done")
        assert (await until_facts(server, "N62", "CustomerCleared"))[0]["body"]["token"] is None


@pytest.mark.case("2.0.1 TC_N_63")
async def test_n_63_by_the_contract_certificate(server: Server) -> None:
    async with Station201(server, "N63") as cp:
        cp.table["CustomerInformation"] = ACCEPTED
        await boot(cp)
        path = "/api/v1/chargers/N63/customer-information"
        made = await server.api("POST", path, {"certificate": CERTIFICATE, "clear": True}, expect=201)
        named = {"hashAlgorithm": "SHA256", "issuerNameHash": "a1", "issuerKeyHash": "b2", "serialNumber": "c3"}
        assert cp.questions("CustomerInformation") == [
            {"requestId": made["request_id"], "report": True, "clear": True, "customerCertificate": named}
        ]
        await tell_customer(cp, made["request_id"], "gone")
        await until_customer(server, made, data="gone", complete=True, state="done")
        assert (await until_facts(server, "N63", "CustomerCleared"))[0]["body"]["token"] is None


async def test_what_an_operator_asks_by_hand_is_collected_and_cleared_too(server: Server) -> None:
    async with Station201(server, "N-RAW") as cp:
        cp.table["CustomerInformation"] = ACCEPTED
        await boot(cp)
        by_hand = {"requestId": 400_000, "report": True, "clear": True, "idToken": TOKEN}
        assert await answered(server, "N-RAW", "CustomerInformation", by_hand) == ACCEPTED
        await tell_customer(cp, 400_000, "by hand")
        cleared = (await until_facts(server, "N-RAW", "CustomerCleared"))[0]
        assert cleared["body"]["token"] == "CUSTOMER1"

        async def look() -> Any:
            found = (await server.api("GET", "/api/v1/chargers/N-RAW/customer-information"))["items"]
            return [one for one in found if one["data"] == "by hand" and one["state"] == "done"]

        await until(look)


async def test_one_customer_named_in_one_way(server: Server) -> None:
    async with Station201(server, "N-BAD") as cp:
        await boot(cp)
        path = "/api/v1/chargers/N-BAD/customer-information"
        for body in ({}, {"token": "A", "customer_identifier": "B"}, {"token": "A", "report": False}):
            await server.api("POST", path, body, expect=422)
        assert cp.questions("CustomerInformation") == []
