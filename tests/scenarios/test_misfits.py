"""Messages without money that break their schema: read where they can be mended, and notices answered in any case."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from running import Server, running
from wire import V16, V201, Station, at, charger, frames, token

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOOT16 = {"chargePointVendor": "Field", "chargePointModel": "One"}
BOOT201 = {"chargingStation": {"vendorName": "Field", "model": "One"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("misfits")) as running_server:
        await token(running_server, "12345")
        yield running_server


@pytest.mark.parametrize(
    "more",
    [{"chargePointSerialNumber": "S" * 26}, {"chargePointSerialNumber": 4711}, {"chargePointModel": "M" * 21}],
    ids=["long serial", "numeric serial", "long model"],
)
async def test_a_boot_with_a_member_too_long_or_of_another_type_is_accepted(
    server: Server, more: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    async with Station(server, f"BOOT-{request.node.callspec.id.replace(' ', '-')}", V16) as cp:
        assert (await cp.ask("BootNotification", BOOT16 | more))["status"] == "Accepted"
        assert (await charger(server, cp.id))["vendor"] == "Field"


async def test_a_numeric_tag_is_the_tag_where_a_word_says_so_and_one_too_long_is_nobodys(server: Server) -> None:
    await server.api("POST", "/api/v1/chargers", {"id": "NUMBERS", "quirks": ["numbers_for_strings"]})
    async with Station(server, "NUMBERS", V16) as cp:
        await cp.ask("BootNotification", BOOT16)
        assert (await cp.ask("Authorize", {"idTag": 12345}))["idTagInfo"]["status"] == "Accepted"
    async with Station(server, "TAGS", V16) as cp:
        await cp.ask("BootNotification", BOOT16)
        assert await cp.refused("Authorize", {"idTag": 12345}) == "TypeConstraintViolation"
        assert await cp.refused("BootNotification", BOOT16 | {"chargePointVendor": 7}) == "TypeConstraintViolation"
        assert (await cp.ask("Authorize", {"idTag": "1" * 30}))["idTagInfo"]["status"] == "Invalid"


async def test_a_2_0_1_boot_without_reason_and_a_status_in_words_of_1_6_are_taken(server: Server) -> None:
    async with Station(server, "WORDS", V201) as cs:
        assert (await cs.ask("BootNotification", BOOT201))["status"] == "Accepted"
        await cs.ask("StatusNotification", {"evseId": 1, "connectorId": 1, "connectorStatus": "Charging"})
        (one,) = (await charger(server, cs.id))["connectors"]
        assert one["status"] == "Occupied"
        long = {"idToken": {"idToken": "1" * 40, "type": "ISO14443"}}
        assert (await cs.ask("Authorize", long))["idTokenInfo"]["status"] == "Invalid"


@pytest.mark.parametrize(
    ("version", "boot", "action", "payload"),
    [
        (V16, BOOT16, "SecurityEventNotification", {"type": "X", "timestamp": at(), "techInfo": "t" * 300}),
        (V16, BOOT16, "SecurityEventNotification", {"type": "X" * 60, "timestamp": at()}),
        (V16, BOOT16, "SecurityEventNotification", {"timestamp": at()}),
        (V16, BOOT16, "FirmwareStatusNotification", {"status": "DownloadScheduled"}),
        (V16, BOOT16, "DiagnosticsStatusNotification", {"status": "UploadFailure"}),
        (V201, BOOT201 | {"reason": "PowerUp"}, "SecurityEventNotification", {"type": "X" * 60, "timestamp": at()}),
        (V201, BOOT201 | {"reason": "PowerUp"}, "NotifyEvent", {"seqNo": "none", "eventData": {}}),
        (V201, BOOT201 | {"reason": "PowerUp"}, "LogStatusNotification", {"status": ["Uploaded"], "requestId": "x"}),
    ],
)
async def test_a_notice_is_answered_whatever_it_says(
    server: Server, version: str, boot: dict[str, Any], action: str, payload: dict[str, Any]
) -> None:
    async with Station(server, f"NOTICE-{version}", version) as cp:
        await cp.ask("BootNotification", boot)
        assert await cp.ask(action, payload) == {}
        newest = [one for one in await frames(server, cp.id, action) if one["type"] == "call"][-1]
        assert newest["frame"][3] == payload


async def test_a_security_event_leaves_its_queue_before_the_charger_is_accepted(server: Server) -> None:
    await server.api("POST", "/api/v1/chargers", {"id": "WAITING", "registration": "Rejected"})
    async with Station(server, "WAITING", V16) as cp:
        answer = await cp.ask("BootNotification", BOOT16)
        assert (answer["status"], answer["interval"] >= 300) == ("Rejected", True)
        assert await cp.ask("SecurityEventNotification", {"type": "FirmwareUpdated", "timestamp": at()}) == {}
        assert await cp.refused("FirmwareStatusNotification", {"status": "Idle"}) == "SecurityError"


async def test_what_nobody_can_read_is_refused_with_its_reason(server: Server) -> None:
    async with Station(server, "UNREADABLE", V16) as cp:
        assert await cp.refused("BootNotification", {"chargePointVendor": {}}) in {
            "TypeConstraintViolation", "OccurenceConstraintViolation",
        }  # fmt: skip
