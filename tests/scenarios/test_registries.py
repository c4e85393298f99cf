"""A server whose buyers stand in a registry on the network: classic or DeDi, down, rotated, subscribed to (BECKN 3)."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from beckn_shop import BAP_ID, identity
from running import BPP_ID, Server, running

from simulators import bodies
from simulators.bap import Bap
from simulators.buyer import Buyer
from simulators.registry import RegistryServer
from simulators.signing import Identity, registry_entry, sign, write_registry

Json = dict[str, Any]


@dataclass(slots=True)
class World:
    """A server, a buyer app, and the registry between them."""

    server: Server
    bap: Bap
    registry: RegistryServer

    async def discover(self, signer: Identity | None = None) -> tuple[int, Json, dict[str, str]]:
        """One signed question; status, body and headers of what came back at once."""
        context = self.bap.context("discover", str(uuid.uuid4()), None)
        raw = json.dumps({"context": context, "message": bodies.discover()}).encode()
        headers = {"Content-Type": "application/json"}
        headers["Authorization"] = sign(signer or self.bap.identity, raw, now())
        url = f"{self.server.receiver}/discover"
        async with aiohttp.ClientSession() as http, http.post(url, data=io.BytesIO(raw), headers=headers) as answer:
            return answer.status, await answer.json(), dict(answer.headers)


def now() -> int:
    """Seconds, a little back."""
    return int(time.time()) - 2


@asynccontextmanager
async def world(folder: Path, kind: str, **beckn: Any) -> AsyncIterator[World]:
    """`kind` lookup or dedi. The buyer app still looks the seller up in the file beside the server."""
    me = identity()
    async with RegistryServer() as registry, Bap(me, folder / "registry.json") as bap:
        registry.list_(registry_entry(me, bap.uri, "BAP"))
        url = registry.lookup_url if kind == "lookup" else registry.dedi_url
        settings = {"beckn": {"registry": f"{kind}:{url}", "registry_timeout_s": 2, **beckn}}
        async with running(folder, settings) as server:
            yield World(server, bap, registry)


@pytest.mark.parametrize("kind", ["lookup", "dedi"])
async def test_a_buyer_app_in_the_networks_registry_is_served(tmp_path: Path, kind: str) -> None:
    async with world(tmp_path, kind) as w:
        await w.server.sell("CP-1")
        buyer = Buyer(w.bap, w.server.receiver, bpp_id=BPP_ID)
        assert len(await buyer.discover()) == 1
        assert len(await buyer.discover()) == 1
        assert w.registry.asked == [(BAP_ID, "bap-1")]  # once, then it is remembered
        assert w.bap.problems == []


@pytest.mark.parametrize("kind", ["lookup", "dedi"])
async def test_a_replaced_key_needs_no_restart(tmp_path: Path, kind: str) -> None:
    """A new key id is looked up at once; a new key under the old id when the old one has failed."""
    async with world(tmp_path, kind) as w:
        assert (await w.discover())[0] == 200
        second = identity(BAP_ID, "bap-2")
        w.registry.list_(registry_entry(second, w.bap.uri, "BAP"))
        assert (await w.discover(second))[0] == 200
        assert (await w.discover())[0] == 200  # both ids are valid side by side


@pytest.mark.parametrize("kind", ["lookup", "dedi"])
async def test_a_registry_that_is_down_is_no_verdict(tmp_path: Path, kind: str) -> None:
    async with world(tmp_path, kind) as w:
        w.registry.down = True
        status, body, headers = await w.discover()
        assert (status, body["ack_status"], body["error"]["code"]) == (503, "NACK", "NET_INTERNAL_ERROR")
        assert "WWW-Authenticate" not in headers
        assert headers["Retry-After"]
        w.registry.down = False
        async with asyncio.timeout(10):
            while (await w.discover())[0] != 200:  # noqa: ASYNC110 - in another process
                await asyncio.sleep(0.2)
        w.registry.down = True
        assert (await w.discover())[0] == 200  # who is known stays known
        assert (await w.discover(identity("new.example")))[0] == 503
        w.registry.down = False


async def test_the_server_starts_though_the_registry_does_not_answer(tmp_path: Path) -> None:
    async with running(tmp_path, {"beckn": {"registry": "lookup:http://127.0.0.1:9/classic"}}) as server:
        assert await server.api("GET", "/api/v1/cases") is not None


async def csms(*arguments: str) -> tuple[int, str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CSMS_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "csms", *arguments, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_our_entry_is_subscribed_with_its_challenge_and_again_with_new_keys(tmp_path: Path) -> None:
    async with RegistryServer() as registry:
        beckn = {"registry": f"lookup:{registry.lookup_url}", "registry_encryption_key": registry.encryption_public_key}
        async with running(tmp_path, {"beckn": beckn}) as server:
            common = ["--config", str(tmp_path / "csms.toml"), "--domain", "deg:ev-charging", "--url", server.receiver]
            code, said = await csms("beckn", "subscribe", *common, "--city", "std:080")
            assert (code, json.loads(said)["status"]) == (0, "UNDER_SUBSCRIPTION"), said
            (entry,) = registry.entries
            assert (entry["type"], entry["key_id"]) == ("BPP", "key-1")
            assert entry["signing_public_key"] == server.public_key
            assert entry["location"] == {"country": {"code": "IND"}, "city": {"code": "std:080"}}
            assert f'keyId="{BPP_ID}|key-1|ed25519"' in registry.subscribed[0]["authorization"]

            keys = tmp_path / "next"
            code, said = await csms("keys", "generate", str(keys))
            assert code == 0
            public = json.loads(said)
            new = ["--key-id", "key-2", "--signing-key", str(keys), "--encryption-key", f"{keys}.encr"]
            code, said = await csms("beckn", "subscribe", *common, *new)
            assert (code, json.loads(said)["status"]) == (0, "UNDER_SUBSCRIPTION"), said
            # Both stand side by side; the request for the new one was signed with the old.
            assert {one["key_id"] for one in registry.entries} == {"key-1", "key-2"}
            assert registry.entries[-1]["signing_public_key"] == public["signing_public_key"]
            assert registry.entries[-1]["encr_public_key"] == public["encryption_public_key"]
            assert "|key-1|" in registry.subscribed[1]["authorization"]
            assert len({one["nonce"] for one in registry.subscribed}) == 2
            code, said = await csms("beckn", "subscribe", *common, *new[2:])
            assert code == 2
            assert "--key-id" in said


async def test_challenges_of_strangers_are_refused_and_not_too_often(tmp_path: Path) -> None:
    async with RegistryServer() as registry:
        beckn = {"registry": f"lookup:{registry.lookup_url}", "registry_encryption_key": registry.encryption_public_key}
        async with running(tmp_path, {"beckn": beckn}) as server, aiohttp.ClientSession() as http:
            bad: list[Any] = [{}, {"challenge": 7}, {"challenge": base64.b64encode(os.urandom(32)).decode()}, [], "x"]
            for body in bad:
                for path in ("/beckn/on_subscribe", "/beckn/bpp/receiver/on_subscribe"):
                    async with http.post(server.public_url + path, json=body) as answer:
                        assert answer.status == 400
                        assert " " in (await answer.json())["error"]["message"]
            for _ in range(11):
                async with http.post(f"{server.public_url}/beckn/on_subscribe", json={}) as answer:
                    status = answer.status
            assert status == 429


async def test_an_answer_to_a_search_goes_to_the_gateway_where_the_network_wants_it(tmp_path: Path) -> None:
    """`on_search_target = sender`: the question came through a gateway, the answer goes back through it (BECKN 8.5)."""
    gateway_id = identity("gateway.example", "gw-1")
    me = identity()
    registry = tmp_path / "registry.json"
    # Two callback servers stand in for the gateway and the buyer app behind it.
    async with Bap(identity(BAP_ID), registry) as gateway, Bap(me, registry) as bap:
        write_registry(registry, registry_entry(me, bap.uri, "BAP"), registry_entry(gateway_id, gateway.uri, "BG"))
        async with running(tmp_path, {"beckn": {"on_search_target": "sender"}}) as server:
            context = bap.context("discover", str(uuid.uuid4()), None)
            raw = json.dumps({"context": context, "message": bodies.discover()}).encode()
            own = {"Content-Type": "application/json", "Authorization": sign(me, raw, now())}
            through = own | {"X-Gateway-Authorization": sign(gateway_id, raw, now())}
            url = f"{server.receiver}/discover"
            async with aiohttp.ClientSession() as http, http.post(url, data=io.BytesIO(raw), headers=through) as answer:
                assert answer.status == 200
            told = await gateway.wait_for("on_discover", context["transaction_id"])
            assert told.context["bap_uri"] == bap.uri
            assert bap.received == []
            # The same buyer app asking directly is answered directly.
            buyer = Buyer(bap, server.receiver, bpp_id=BPP_ID)
            assert await buyer.discover() == []


@pytest.mark.parametrize(
    ("beckn", "sentence"),
    [
        ({"registry": "ldap://x"}, "no kind of registry"),
        ({"registry": "lookup:ftp://x"}, "not an http(s) address"),
        ({"mode": "onix"}, "caller_url"),
        ({"mode": "onix", "caller_url": "http://onix/x", "registry": ""}, "webhook_secret"),
        ({"mode": "onix", "caller_url": "http://onix/x", "registry": "", "reverify": True}, "beckn.registry"),
        ({"mode": "protocol_server", "caller_url": "http://ps/x"}, "HMAC"),
        ({"registry_encryption_key": "AAAA"}, "X25519"),
    ],
)
async def test_a_topology_that_proves_nobody_is_told_before_serving(
    tmp_path: Path, beckn: dict[str, Any], sentence: str
) -> None:
    server = Server(tmp_path, {"beckn": beckn})
    code, said = await csms("config", "check", "--config", str(server.folder / "csms.toml"))
    assert code == 2
    assert sentence in said
