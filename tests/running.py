"""A real server process for tests: its own data folder, ports the system chooses, stopped by its process id.

async with running(tmp_path) as server:
    await server.api("PUT", "/api/v1/tokens/AABB", {"status": "Accepted"})
    … server.ocpp_url, server.public_url …
    await server.kill(); await server.start()        # the same data, new ports
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from nacl.signing import SigningKey

API_KEY = "test-key"
BPP_ID = "bpp.test.example"
KEY_ID = "key-1"
READY_S = 30

# Timers short enough for a test; one that is about a timer sets its own.
LIMITS = {
    "notify_s": 1,
    "drain_s": 1,
    "bootstop_s": 3,
    "data_online_s": 3,
    "data_offline_s": 20,
    "abandon_min_s": 6,
    "abandon_max_s": 6,
    "provisional_after_s": 2,
    "sample_interval_s": 0.1,
}


def b64(raw: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(raw).decode()


def toml(value: Any) -> str:
    """A value as TOML has it: JSON but for tables."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml(inner)}" for name, inner in value.items()) + "}"
    return json.dumps(value)


class Server:
    """One server, startable again and again on the same data."""

    def __init__(self, folder: Path, settings: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.folder = folder
        self.registry = folder / "registry.json"
        self.data_dir = folder / "data"
        self.log = folder / "server.log"
        self.urls: dict[str, str] = {}
        self._settings = settings or {}
        self._process: asyncio.subprocess.Process | None = None
        folder.mkdir(parents=True, exist_ok=True)
        key = SigningKey.generate()
        self.public_key = b64(bytes(key.verify_key))
        self._config = folder / "csms.toml"
        self._config.write_text(self._toml(b64(bytes(key))), encoding="utf-8")
        self.join(
            {
                "subscriber_id": BPP_ID,
                "unique_key_id": KEY_ID,
                "signing_public_key": self.public_key,
                "subscriber_url": "http://127.0.0.1/beckn/bpp/receiver",
                "type": "BPP",
            }
        )

    def _toml(self, seed: str) -> str:
        sections: dict[str, dict[str, Any]] = {
            # Asked nothing of our own accord, unless a test is about that: then settle_s is its own.
            "ocpp": {
                "port": 0,
                "accept_unknown": "always",
                "ping_interval_s": 2,
                "silence_s": 6,
                "settle_s": 3600,
            },
            "api": {"port": 0, "bootstrap_key": API_KEY},
            "beckn": {
                "port": 0,
                "subscriber_id": BPP_ID,
                "unique_key_id": KEY_ID,
                "signing_key": seed,
                "registry": f"static:{self.registry}",
                "provider_id": "test-cpo",
                "provider_name": "Test CPO",
                "requests_per_min": 100_000,
                "discover_per_min": 100_000,
                "scan_area": 0,  # tests look more than they buy
                "scan_total": 0,
                "callback_retry_s": [0.2, 0.5, 1, 1, 1],
            },
            "limits": dict(LIMITS),
            "telemetry": {"log_level": "info", "log_json": True},
        }
        for name, values in self._settings.items():
            sections.setdefault(name, {}).update(values)
        lines = [f"data_dir = {json.dumps(str(self.data_dir))}"]
        for name, values in sections.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {toml(value)}" for key, value in values.items()]
        return "\n".join(lines) + "\n"

    def join(self, *entries: dict[str, str]) -> None:
        """Add participants to the registry file the server reads."""
        known = json.loads(self.registry.read_text()) if self.registry.exists() else []
        fresh = self.registry.with_suffix(".new")
        fresh.write_text(json.dumps(known + list(entries)))
        fresh.replace(self.registry)

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CSMS_")}
        with self.log.open("a") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "csms", "serve", "--config", str(self._config),
                stdout=asyncio.subprocess.PIPE, stderr=log, env=environment,
            )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(READY_S):
            while True:
                line = (await self._process.stdout.readline()).decode().split()
                if not line:
                    raise AssertionError(f"the server did not come up:\n{self.log.read_text()[-2000:]}")
                if line == ["ready"]:
                    return
                if line[0] == "ready":
                    self.urls[line[1]] = line[2]

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    async def kill(self) -> None:
        """kill -9: no goodbye, nothing flushed."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM; its exit code."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(15):
                await self._process.wait()
        assert self._process.returncode is not None
        return self._process.returncode

    @property
    def ocpp_url(self) -> str:
        """ws://…/ocpp"""
        return self.urls["ocpp"]

    @property
    def public_url(self) -> str:
        """http://…"""
        return self.urls["public"]

    @property
    def receiver(self) -> str:
        """Where buyers post."""
        return f"{self.public_url}/beckn/bpp/receiver"

    async def api(self, method: str, path: str, body: Any = None, *, expect: int | None = None) -> Any:
        """One REST call; an answer above 399 fails unless expected."""
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.request(method, self.urls["api"] + path, json=body) as answer,
        ):
            text = await answer.text()
            if expect is not None:
                assert answer.status == expect, f"{method} {path}: {answer.status} {text}"
            else:
                assert answer.status < 400, f"{method} {path}: {answer.status} {text}"
            return json.loads(text) if text and "json" in answer.content_type else text

    async def sell(
        self, charger_id: str, *, tariff: Mapping[str, Any] | None = None, rated_kw: float = 4500, evses: int = 1
    ) -> None:
        """A charger at a location with a tariff (18 INR/kWh, 10 INR service fee, 18 % GST), through the REST API."""
        tariff_id = f"T-{charger_id}"
        components = [{"type": "ENERGY", "price": 18, "vat": 18}, {"type": "FLAT", "price": 10, "vat": 18}]
        await self.api(
            "PUT",
            f"/api/v1/tariffs/{tariff_id}",
            {
                "country_code": "IN", "party_id": "TST", "id": tariff_id, "currency": "INR",
                "elements": [{"price_components": components}], "last_updated": "2026-01-01T00:00:00Z",
                **(tariff or {"pattern": "BUFFER_IN_QUOTE", "buffer_percent": 10, "buffer_min": 20}),
            },
        )  # fmt: skip
        await self.api(
            "POST", "/api/v1/chargers", {"id": charger_id, "location_id": f"L-{charger_id}", "rated_kw": rated_kw}
        )
        connector = {
            "id": "1", "standard": "IEC_62196_T2_COMBO", "format": "CABLE", "power_type": "DC", "max_voltage": 500,
            "max_amperage": 120, "max_electric_power": 60000, "tariff_ids": [tariff_id],
            "last_updated": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        await self.api(
            "PUT",
            f"/api/v1/locations/L-{charger_id}",
            {
                "country_code": "IN", "party_id": "TST", "id": f"L-{charger_id}", "publish": True,
                "name": f"Site {charger_id}", "address": "1 Main Road", "city": "Bengaluru", "postal_code": "560001",
                "country": "IND", "coordinates": {"latitude": "12.9716", "longitude": "77.5946"},
                "time_zone": "Asia/Kolkata", "opening_times": {"twentyfourseven": True},
                "evses": [
                    {
                        "uid": charger_id if evses == 1 else f"{charger_id}*{n}",
                        "evse_id": f"IN*TST*{charger_id}*{n}", "status": "AVAILABLE", "capabilities": ["RESERVABLE"],
                        "connectors": [connector], "last_updated": "2026-01-01T00:00:00Z",
                    }
                    for n in range(1, evses + 1)
                ],
                "last_updated": "2026-01-01T00:00:00Z",
            },
        )  # fmt: skip


@asynccontextmanager
async def running(folder: Path, settings: Mapping[str, Mapping[str, Any]] | None = None) -> AsyncIterator[Server]:
    """A started server; on leaving it is stopped, and its log must not hold a traceback."""
    server = Server(folder, settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
    said = [line for line in server.log.read_text().splitlines() if "Traceback" in line or '"level": "error"' in line]
    assert not said, f"the server logged errors: {said[:3]}"
