"""Firmware makers, chargers that fetch and put files, and an operator who watches: for the tests of files."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import aiohttp
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from running import API_KEY, Server
from wire import PATIENCE_S, Payload, Station, until

FIRMWARE = b"firmware of test chargers " * 40_000  # a mebibyte


class Maker:
    """A manufacturer that signs firmware."""

    def __init__(self, kind: str = "ec", *, days: int = 30) -> None:
        self.key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = (
            ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
        )
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Firmware of V")])
        now = datetime.now(UTC)
        begin, end = sorted((now - timedelta(days=1), now + timedelta(days=days)))
        built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
        built = built.serial_number(7).not_valid_before(begin).not_valid_after(end)
        self.certificate = built.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def sign(self, data: bytes) -> str:
        """base64, as OCPP carries it."""
        if isinstance(self.key, rsa.RSAPrivateKey):
            pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.MAX_LENGTH)
            raw = self.key.sign(data, pss, hashes.SHA256())
        else:
            raw = self.key.sign(data, ec.ECDSA(hashes.SHA256()))
        return base64.b64encode(raw).decode()

    def has_signed(self, data: bytes, signature: str) -> bool:
        """What a charger does before it installs: whether this is the maker's word for these bytes."""
        key, raw = self.key.public_key(), base64.b64decode(signature, validate=True)
        try:
            if isinstance(key, rsa.RSAPublicKey):
                pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.AUTO)
                key.verify(raw, data, pss, hashes.SHA256())
            else:
                key.verify(raw, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


@cache
def maker(kind: str = "ec") -> Maker:
    """One manufacturer for all tests: keys take their time."""
    return Maker(kind)


def sha256(data: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(data).hexdigest()


# -- the operator


async def put_file(server: Server, path: str, data: bytes, *, expect: int = 200) -> Any:
    """A PUT of bytes to the operator API."""
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/octet-stream"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.put(server.urls["api"] + path, data=io.BytesIO(data)) as answer,
    ):
        assert answer.status == expect, await answer.text()
        return await answer.json()


async def image(server: Server, version: str, *, by: Maker | None = None, data: bytes = FIRMWARE, **more: Any) -> str:
    """An image with its file, signed when there is a maker; its id."""
    if by is not None:
        more |= {"signing_certificate": by.certificate, "signature": by.sign(data)}
    made = await server.api("POST", "/api/v1/firmware-images", {"version": version, **more}, expect=201)
    await put_file(server, f"/api/v1/firmware-images/{made['id']}/file", data)
    return str(made["id"])


async def campaign(server: Server, image_id: str, *chargers: str, **more: Any) -> Payload:
    """A campaign for these chargers."""
    body = {"image_id": image_id, "charger_ids": list(chargers), "when_idle": False, **more}
    made: Payload = await server.api("POST", "/api/v1/firmware-campaigns", body, expect=201)
    return made


async def job(server: Server, charger_id: str, campaign_id: str | None = None) -> Payload:
    """The charger's newest update."""
    where = f"charger_id={charger_id}" + (f"&campaign_id={campaign_id}" if campaign_id else "")
    found: Payload = (await server.api("GET", f"/api/v1/firmware-jobs?{where}&limit=1"))["items"][0]
    return found


async def until_job(server: Server, charger_id: str, campaign_id: str | None = None, **wanted: Any) -> Payload:
    """Wait until the newest update has these members."""

    async def look() -> Payload | None:
        found = await job(server, charger_id, campaign_id)
        return found if all(found[name] == value for name, value in wanted.items()) else None

    found: Payload = await until(look)
    return found


async def log(server: Server, charger_id: str, log_id: str) -> Payload:
    """One requested log."""
    found: Payload = await server.api("GET", f"/api/v1/chargers/{charger_id}/logs/{log_id}")
    return found


async def until_log(server: Server, charger_id: str, log_id: str, **wanted: Any) -> Payload:
    """Wait until it has these members."""

    async def look() -> Payload | None:
        found = await log(server, charger_id, log_id)
        return found if all(found[name] == value for name, value in wanted.items()) else None

    found: Payload = await until(look)
    return found


async def log_file(server: Server, charger_id: str, log_id: str) -> tuple[int, bytes]:
    """(status, the file) as an operator fetches it."""
    url = f"{server.urls['api']}/api/v1/chargers/{charger_id}/logs/{log_id}/file"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as http,
        http.get(url) as answer,
    ):
        return answer.status, await answer.read()


async def until_facts(server: Server, charger_id: str, *kinds: str) -> list[Payload]:
    """All of the charger's facts of these kinds, once they have happened in this order with any others between."""
    url = f"{server.urls['api']}/api/v1/events?after=0&kinds={','.join(sorted(set(kinds)))}"
    found: list[Payload] = []
    waiting = list(kinds)
    async with (
        asyncio.timeout(PATIENCE_S),
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as http,
        http.get(url) as answer,
    ):
        async for line in answer.content:
            if not line.startswith(b"data:"):
                continue
            fact = json.loads(line.removeprefix(b"data:"))
            if fact["charger_id"] != charger_id:
                continue
            found.append(fact)
            if fact["kind"] == waiting[0]:
                waiting.pop(0)
            if not waiting:
                break
    return found


# -- the charger


@dataclass
class Put:
    """How an upload ended."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


async def upload(url: str, data: Any, *, method: str = "PUT", login: tuple[str, str] | None = None) -> Put:
    """A file on its way to where the server wants it."""
    headers = {"Authorization": aiohttp.encode_basic_auth(*login)} if login is not None else {}
    body = io.BytesIO(data) if isinstance(data, bytes) else data
    async with aiohttp.ClientSession(headers=headers) as http, http.request(method, url, data=body) as answer:
        return Put(answer.status, await answer.json(), dict(answer.headers))


async def download(url: str, **headers: str) -> tuple[int, bytes, Mapping[str, str]]:
    """(status, body, headers) of a GET."""
    async with aiohttp.ClientSession(headers=headers) as http, http.get(url) as answer:
        return answer.status, await answer.read(), answer.headers


async def tell_firmware(cp: Station, *statuses: str, request_id: int | None = None, signed16: bool = False) -> None:
    """Firmware status notifications in a row, each answered `{}`."""
    action = "SignedFirmwareStatusNotification" if signed16 else "FirmwareStatusNotification"
    for status in statuses:
        said: Payload = {"status": status}
        if request_id is not None:
            said["requestId"] = request_id
        assert await cp.ask(action, said) == {}
