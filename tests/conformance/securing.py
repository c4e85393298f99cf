"""What the security cases of both versions share: a server over TLS with two certificates, and ways to knock."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from pki_world import OURS, Ca, Issued, client
from running import Server, running
from websockets.exceptions import InvalidHandshake, InvalidStatus
from wire import Payload, Station, until

PASSWORD = "the-right-password-01"
FAILURES = (ssl.SSLError, OSError, EOFError, InvalidHandshake)


class World:
    """The server, the authorities around it, and a folder for keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server_ca = Ca("Server Root")
        self.client_ca = Ca("Charger Root")
        self.server: Server
        ec_pair = self.server_ca.issue("localhost", host="localhost")
        rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.files = ec_pair.files(folder, "server")
        self.files_rsa = self.server_ca.issue("localhost", key=rsa_key, host="localhost").files(folder, "server-rsa")
        (folder / "client-ca.pem").write_text(self.client_ca.pem)

    def settings(self, tls: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        return {
            "ocpp": {"settle_s": 0.2},
            "tls": {
                "port": 0,
                "certificate": str(self.files[0]),
                "key": str(self.files[1]),
                "certificate_rsa": str(self.files_rsa[0]),
                "key_rsa": str(self.files_rsa[1]),
                "client_ca": str(self.folder / "client-ca.pem"),
                "organization": OURS,
                **tls,
            },
        }

    def client(self, own: Issued | None = None, **more: Any) -> ssl.SSLContext:
        """TLS of a charger that believes in the server's root."""
        return client(self.server_ca, own, folder=self.folder, **more)

    async def add(self, charger_id: str, profile: int, **more: Any) -> None:
        """A charger of this security profile."""
        body = {"id": charger_id, "security_profile": profile, **more}
        if profile in {1, 2}:
            body["password"] = PASSWORD
        await self.server.api("POST", "/api/v1/chargers", body)

    async def reason(self, station: Station) -> str:
        """Why the last attempt of this station, and no other, came to nothing after TLS."""

        async def look() -> str | None:
            found = (await self.server.api("GET", "/api/v1/refused-connections"))["items"]
            return next((one["reason"] for one in found if one["remote"] == station.address), None)

        return str(await until(look))

    async def ended_in_tls(self, station: Station) -> str:
        """It knocks and must not get through TLS; why, as the server knows it: of the attempt that came just then."""
        before = len(await self._ended_in_tls())
        assert not await is_let_in(station)

        async def look() -> str | None:
            found = await self._ended_in_tls()
            return found[0] if len(found) > before else None

        return str(await until(look))

    async def _ended_in_tls(self) -> list[str]:
        """Newest first. Nobody has said who they are before TLS stands."""
        found = (await self.server.api("GET", "/api/v1/refused-connections"))["items"]
        return [one["reason"] for one in found if (one["charger_id"], one["remote"]) == (None, "?")]

    async def certificates(self, charger_id: str) -> list[Payload]:
        found = await self.server.api("GET", f"/api/v1/chargers/{charger_id}/certificates")
        items: list[Payload] = found["items"]
        return items

    async def certificate(self, charger_id: str, state: str, role: str = "issued") -> Payload:
        """The charger's certificate in this state, once there is one."""

        async def look() -> Payload | None:
            found = await self.certificates(charger_id)
            return next((one for one in found if (one["state"], one["role"]) == (state, role)), None)

        fitting: Payload = await until(look)
        return fitting


@asynccontextmanager
async def secured(folder: Path, **tls: Any) -> AsyncIterator[World]:
    """A started server with TLS; `tls` adds to its section of the configuration."""
    world = World(folder)
    async with running(folder / "server", world.settings(tls)) as server:
        world.server = server
        yield world


async def is_let_in(station: Station) -> bool:
    """Whether it may connect now; a heartbeat proves it."""
    try:
        async with station:
            return await station.is_served()
    except FAILURES:
        return False


async def status_of_refusal(station: Station) -> int:
    """The HTTP status with which it is turned away."""
    try:
        await station.connect()
    except InvalidStatus as refused:
        return refused.response.status_code
    raise AssertionError(f"{station.id} was let in")


def old_tls(world: World) -> ssl.SSLContext:
    """A charger that speaks TLS 1.1 and nothing newer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return world.client(
            ciphers="ALL:@SECLEVEL=0", versions=(ssl.TLSVersion.MINIMUM_SUPPORTED, ssl.TLSVersion.TLSv1_1)
        )
