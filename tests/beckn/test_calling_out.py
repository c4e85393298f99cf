"""Where we call to: nobody outside can send us into our own network, by whatever spelling (no SSRF)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from beckn_adapter.envelope import Context, Dialect
from beckn_adapter.outbound import Outbound, host_of, is_private_address, is_private_host
from beckn_adapter.registry import Subscriber
from beckn_adapter.signing import SignatureProblem
from beckn_adapter.trust import Binding, Caller, check_callback
from csms.domain.refusal import Refusal


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
     "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "not an address", ""],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert is_private_address(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_that_are_public(address: str) -> None:
    assert not is_private_address(address)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "a.localhost", "db", "db.internal", "printer.local", "nas.lan", "x.home.arpa",
     "10.0.0.8", "::1", "2130706433", "0x7f000001", "127.1", "0x7f.1", "017700000001", "localhost."],
)  # fmt: skip
def test_hosts_that_look_private_by_name(host: str) -> None:
    assert is_private_host(host)
    assert not is_private_host("bap.example.com")


def test_hosts_are_read_from_http_addresses_only() -> None:
    assert host_of("https://BAP.example.com.:8443/x") == "bap.example.com"
    assert host_of("http://user@10.0.0.1/") == "10.0.0.1"
    for bad in (None, "", "ftp://x", "http://", "http://[::1", "file:///etc/passwd", "//x"):
        assert host_of(bad) is None


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[int, list[str]]]:
    """A web server on this machine: a private host by all means. Its port and what came."""
    came: list[str] = []

    async def anything(request: web.Request) -> web.Response:
        came.append(request.path)
        if request.path == "/away":
            raise web.HTTPTemporaryRedirect(f"http://127.0.0.1:{request.url.port}/inside")
        return web.Response(text="secret")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", anything)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1], came
    finally:
        await runner.cleanup()


async def test_a_public_name_that_leads_home_is_stopped_when_it_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS answers at connect time count, not what a name looked like when the message came."""

    async def resolve(self: Any, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    monkeypatch.setattr(aiohttp.resolver.ThreadedResolver, "resolve", resolve)
    monkeypatch.setattr(aiohttp.connector, "DefaultResolver", aiohttp.resolver.ThreadedResolver)
    outbound = Outbound(timeout_s=3)
    async with listening() as (port, came):
        url = f"http://bap.example.com:{port}/x"
        for _ in range(2):
            with pytest.raises(aiohttp.ClientConnectorError, match="private address"):
                await outbound.session(url, listed=False).post(url)
        assert came == []
        async with outbound.session(url, listed=True).post(url) as response:  # the registry names it: then it may
            assert response.status == 200
        with pytest.raises(aiohttp.ClientConnectorError):  # and that opens no way for those who are not listed
            await outbound.session(url, listed=False).post(url)
        assert came == ["/x"]
    await outbound.close()


async def test_a_private_address_is_reached_only_when_somebody_we_trust_named_its_host() -> None:
    async with listening() as (port, came):
        url = f"http://127.0.0.1:{port}/x"
        strict, named = Outbound(timeout_s=3), Outbound(timeout_s=3, hosts=["127.0.0.1"])
        trial = Outbound(timeout_s=3, private=True)
        with pytest.raises(aiohttp.ClientConnectorError, match="private address"):
            await strict.session(url, listed=False).post(url)
        for outbound, listed in ((strict, True), (named, False), (trial, False)):
            async with outbound.session(url, listed=listed).post(url) as response:
                assert response.status == 200
        assert len(came) == 3
        wary = Outbound(timeout_s=3, listed_private=False)  # not even the registry is believed in this
        with pytest.raises(aiohttp.ClientConnectorError, match="private address"):
            await wary.session(url, listed=True).post(url)
        await asyncio.gather(wary.close(), strict.close(), named.close(), trial.close())


def context(bap_uri: str, bap_id: str = "bap.example") -> Context:
    return Context(
        dialect=Dialect.V2, domain="d", action="select", version="2.0.0", bap_id=bap_id, bap_uri=bap_uri,
        transaction_id="t", message_id="m",
    )  # fmt: skip


def listed(url: str | None, kind: str | None = "BAP") -> Subscriber:
    return Subscriber("bap.example", "k", bytes(32), url, kind)


@pytest.mark.parametrize(
    ("home", "uri", "goes"),
    [
        ("https://bap.example/x", "https://bap.example/other/path", True),
        ("https://bap.example/x", "https://BAP.example:8443/x", True),
        ("https://bap.example/x", "https://elsewhere.example/x", False),
        ("https://bap.example/x", "https://bap.example.evil.example/x", False),
        ("https://bap.example/x", "https://bap.example@evil.example/x", False),
        ("https://bap.example/x", "https://10.0.0.8/x", False),
        ("http://10.0.0.8:80/x", "http://10.0.0.8:9999/x", True),
        (None, "https://anywhere.example/x", True),
        (None, "https://192.168.0.1/x", False),
        (None, "http://localhost:8080/x", False),
        (None, "http://2130706433/x", False),
        ("https://bap.example/x", "https://allowed.example/x", True),
    ],
)
def test_callbacks_stay_where_the_registry_says(home: str | None, uri: str, goes: bool) -> None:
    outbound = Outbound(timeout_s=1, hosts=["allowed.example"])
    binding = Binding(outbound)
    if goes:
        binding.check(context(uri), Caller(listed(home)))
        return
    with pytest.raises(Refusal):
        binding.check(context(uri), Caller(listed(home)))
    with pytest.raises(Refusal):
        check_callback(uri, home, outbound)


def test_a_registry_that_takes_everything_names_no_private_host() -> None:
    wary = Outbound(timeout_s=1, listed_private=False, hosts=["10.0.0.9"])
    check_callback("https://bap.example/x", "https://bap.example/y", wary)
    check_callback("http://10.0.0.9/x", None, wary)  # our own configuration does
    with pytest.raises(Refusal):
        check_callback("http://10.0.0.8/x", "http://10.0.0.8/y", wary)


def test_behind_an_adapter_a_message_may_name_any_address_because_we_do_not_call_it() -> None:
    binding = Binding(Outbound(timeout_s=1), we_call=False)
    binding.check(context("http://10.0.0.8/x"), Caller(listed("https://bap.example/x")))
    with pytest.raises(SignatureProblem):
        binding.check(context("http://10.0.0.8/x", bap_id="other.example"), Caller(listed("https://bap.example/x")))


def test_only_the_catalogue_service_answers_catalogues() -> None:
    binding = Binding(Outbound(timeout_s=1), catalog_hosts=frozenset({"cds.example"}))
    answer = Context(
        dialect=Dialect.V2, domain="d", action="on_catalog_publish", version="2.0.0", bap_id="us", bap_uri="https://us/x",
        transaction_id="t", message_id="m",
    )  # fmt: skip
    binding.check(answer, Caller(listed("https://cds.example/beckn", "BPP")))
    with pytest.raises(SignatureProblem):
        binding.check(answer, Caller(listed("https://bap.example/x")))
    with pytest.raises(SignatureProblem):
        binding.check(answer, Caller(listed(None)))
