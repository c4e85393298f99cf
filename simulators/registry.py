"""A network's registry, for trials: the classic one with its challenge, and DeDi (BECKN 3), over real HTTP.

async with RegistryServer(entry, …) as registry:
    registry.lookup_url, registry.dedi_url      what a configuration names
    registry.list_(entry)                       list a participant, or replace what it was listed with
    registry.down = True                        503 to everybody, until it is False again
    registry.asked                              the questions so far: (subscriber id, key id)
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Json = dict[str, Any]
REGISTRY_NAME = "subscribers.beckn.one"


@dataclass(slots=True)
class RegistryServer:
    """Both kinds on one port. Entries are those of `signing.registry_entry`, with further members as wished."""

    entries: list[Json] = field(default_factory=list)
    key_field: str = "ukId"
    namespaces: list[str] = field(default_factory=lambda: ["network.example"])
    down: bool = False
    sloppy: bool = False  # /lookup answers with everybody, whoever was asked for
    redirect_to: str | None = None  # the base of another registry
    paths: list[str] = field(default_factory=list)  # of every request
    asked: list[tuple[str, str]] = field(default_factory=list)
    headers_seen: list[dict[str, str]] = field(default_factory=list)
    subscribed: list[Json] = field(default_factory=list)
    challenged: list[tuple[int, Any]] = field(default_factory=list)
    url: str = ""
    private: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._note])
        app.router.add_post("/classic/lookup", self._lookup)
        app.router.add_post("/classic/subscribe", self._subscribe)
        app.router.add_get("/dedi/lookup/{subscriber}/{registry}/{key}", self._dedi)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.paths.append(request.path)
        if self.redirect_to is not None:
            raise web.HTTPTemporaryRedirect(f"{self.redirect_to}{request.path_qs}")
        answer: web.StreamResponse = await handler(request)
        return answer

    @property
    def lookup_url(self) -> str:
        """What follows `lookup:`."""
        return f"{self.url}/classic"

    @property
    def dedi_url(self) -> str:
        """What follows `dedi:`."""
        return f"{self.url}/dedi"

    @property
    def encryption_public_key(self) -> str:
        """What challenges are decrypted with, base64."""
        return base64.b64encode(self.private.public_key().public_bytes_raw()).decode()

    def list_(self, *entries: Json) -> None:
        """List participants; one with the same id and key id is replaced."""
        keys = {(e["subscriber_id"], e["unique_key_id"]) for e in entries}
        self.entries = [e for e in self.entries if (e["subscriber_id"], e["unique_key_id"]) not in keys] + list(entries)

    # -- the classic one

    async def _lookup(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        self.asked.append((wanted.get("subscriber_id", ""), wanted.get(self.key_field, "")))
        self.headers_seen.append(dict(request.headers))
        if (broken := self._broken()) is not None:
            return broken
        if set(wanted) - {"subscriber_id", self.key_field}:  # strict servers exist (BECKN 3.1)
            return web.json_response({"error": {"code": "400", "message": "unknown member"}}, status=400)
        found = []
        for entry in self.entries:
            if self.sloppy or (entry["subscriber_id"], entry["unique_key_id"]) == self.asked[-1]:
                spelt = {name: value for name, value in entry.items() if name != "unique_key_id"}
                found.append({**spelt, self.key_field: entry["unique_key_id"]})
        return web.json_response(found)

    async def _subscribe(self, request: web.Request) -> web.Response:
        """Take an entry, then see whether its keys are the sender's: the challenge, encrypted for the key in it."""
        body = await request.json()
        self.subscribed.append({**body, "authorization": request.headers.get("Authorization")})
        plain = secrets.token_urlsafe(24)
        challenge = self._sealed(plain, base64.b64decode(body["encr_public_key"]))
        async with (
            aiohttp.ClientSession() as http,
            http.post(
                f"{body['url']}/on_subscribe",
                json={"subscriber_id": body["subscriber_id"], "status": "INITIATED", "challenge": challenge},
            ) as response,
        ):
            answer = await response.json()
        self.challenged.append((response.status, answer))
        if response.status != 200 or answer.get("answer") != plain:
            return web.json_response({"status": "INITIATED"})
        self.list_({**body, "unique_key_id": body["key_id"], "subscriber_url": body["url"], "status": "SUBSCRIBED"})
        return web.json_response({"status": "UNDER_SUBSCRIPTION"})

    def _sealed(self, text: str, public: bytes) -> str:
        shared = self.private.exchange(X25519PublicKey.from_public_bytes(public))
        padder = padding.PKCS7(128).padder()
        cipher = Cipher(algorithms.AES256(shared), modes.ECB()).encryptor()  # noqa: S305 - the specification's choice
        return base64.b64encode(cipher.update(padder.update(text.encode()) + padder.finalize())).decode()

    # -- DeDi

    async def _dedi(self, request: web.Request) -> web.Response:
        parts = request.match_info
        self.asked.append((parts["subscriber"], parts["key"]))
        if (broken := self._broken()) is not None:
            return broken
        for entry in self.entries:
            names = (entry["subscriber_id"], entry["unique_key_id"])
            if parts["registry"] == REGISTRY_NAME and names == self.asked[-1]:
                details = {
                    "url": entry.get("subscriber_url"), "type": entry["type"], "domain": entry.get("domain", ""),
                    "subscriber_id": entry.get("says_it_is", entry["subscriber_id"]),
                    "signing_public_key": entry["signing_public_key"],
                }  # fmt: skip
                data = {
                    "details": details, "parent_namespaces": self.namespaces, "created_at": "2026-01-01T00:00:00Z",
                    "updated_at": "2026-01-01T00:00:00Z", "is_revoked": entry.get("is_revoked", False),
                }  # fmt: skip
                return web.json_response({"message": "Resource retrieved successfully", "data": data})
        return web.json_response({"message": "Resource not found"}, status=404)

    def _broken(self) -> web.Response | None:
        if self.down:
            return web.Response(status=503, text="<html>down</html>", content_type="text/html")
        return None
