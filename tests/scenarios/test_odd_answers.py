"""Chargers that answer our questions with something else than their schema says: no question of theirs goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from running import API_KEY, Server, running
from wire import Station, Station16, Station201, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

NONSENSE: tuple[Any, ...] = ({}, [], "Accepted", 5, {"status": ["Accepted"]}, {"status": {}})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("odd-answers"), {"ocpp": {"settle_s": 0.1}}) as started:
        yield started  # on leaving it, the log must hold no error


async def test_one_bad_entry_does_not_cost_the_inventory(server: Server) -> None:
    async with Station16(server, "ODD-KEYS") as cp:
        cp.table["GetConfiguration"] = {
            "configurationKey": [
                "?",
                {"value": "1"},
                None,
                {"key": "HeartbeatInterval", "readonly": "false", "value": 60},
            ],
            "unknownKey": None,
        }
        await cp.boot()

        async def read() -> Any:
            return (await server.api("GET", "/api/v1/chargers/ODD-KEYS/configuration"))["items"]

        (item,) = await until(read)
        assert (item["name"], item["value"], item["mutability"]) == ("HeartbeatInterval", "60", "ReadWrite")
        assert await cp.is_served()


@pytest.mark.parametrize(
    ("action", "member", "method", "path", "body"),
    [
        ("GetInstalledCertificateIds", "certificateHashDataChain", "POST", "certificates/read", {}),
        ("ClearVariableMonitoring", "clearMonitoringResult", "DELETE", "monitors/7", None),
        ("SetVariableMonitoring", "setMonitoringResult", "PUT", "monitors", {
            "monitors": [{"name": "EVSE.Power", "type": "UpperThreshold", "value": 5, "severity": 5}]}),
        ("GetMonitoringReport", "status", "POST", "monitors/read", {}),
    ],
)  # fmt: skip
async def test_a_person_who_asks_hears_no_more_than_that(
    server: Server, action: str, member: str, method: str, path: str, body: Any
) -> None:
    async with Station201(server, "ODD-201") as cs:
        await cs.boot()
        for nonsense in (*NONSENSE, {member: 5}, {member: [5, None, {}]}, {member: {"status": 1}}):
            cs.table[action] = nonsense
            # Whatever the answer is, it is no mistake of ours: `running` would find that in the log, too.
            await _asked(server, method, f"/api/v1/chargers/ODD-201/{path}", body)
        assert len(cs.questions(action)) == len(NONSENSE) + 3
        assert await cs.is_served()


async def _asked(server: Server, method: str, path: str, body: Any) -> None:
    key = {"Authorization": f"Bearer {API_KEY}"}
    async with (
        aiohttp.ClientSession(headers=key) as http,
        http.request(method, server.urls["api"] + path, json=body) as answer,
    ):
        assert answer.status in {200, 202, 409}, await answer.text()


async def test_every_command_outlives_every_answer(server: Server) -> None:
    async with Station16(server, "ODD-16") as one, Station201(server, "ODD-2") as two:
        for cp in (one, two):
            await _commanded(server, cp)
            assert await cp.is_served()
    ready = await server.api("GET", "/readyz")
    assert all(check["ok"] for check in ready["checks"].values())


async def _commanded(server: Server, cp: Station) -> None:
    await cp.ask("BootNotification", _boot(cp))
    for nonsense in NONSENSE:
        for action in (
            "Reset",
            "ClearCache",
            "ChangeAvailability",
            "ChangeConfiguration",
            "SetVariables",
            "DataTransfer",
        ):
            cp.table[action] = nonsense
        issued = [
            await server.api("POST", f"/api/v1/chargers/{cp.id}/commands/{name}", body)
            for name, body in (
                ("clear_cache", {}),
                ("availability", {"operative": True}),
                ("set_config", {"key": "A.B", "value": "1"}),
                ("data_transfer", {"vendor_id": "V"}),
            )
        ]
        for instruction in issued:
            await until(lambda found=instruction["id"]: _is_over(server, found))  # type: ignore[misc]


def _boot(cp: Station) -> dict[str, Any]:
    if isinstance(cp, Station16):
        return {"chargePointVendor": "V", "chargePointModel": "M"}
    return {"reason": "PowerUp", "chargingStation": {"vendorName": "V", "model": "M"}}


async def _is_over(server: Server, instruction: str) -> bool:
    return (await server.api("GET", f"/api/v1/instructions/{instruction}"))["state"] in {"REFUSED", "DONE", "EXPIRED"}
