"""The handshake: who may come in, what the others are told, and which subprotocol is spoken."""

from __future__ import annotations

import asyncio
import base64

import pytest
from ocppj_world import Wire, World, until
from websockets.exceptions import InvalidStatus

from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.handshake import (
    Admission,
    Attempt,
    BadPath,
    Turnstile,
    choose_version,
    read_credentials,
    read_identity,
    retry_after_s,
)
from csms.edges.ocppj.server import Limits

PATHS = {
    "/ocpp/CP1": "CP1",
    "/CP1": "CP1",
    "/a/b/c/CP1": "CP1",
    "/ocpp/CP1/": "CP1",
    "//ocpp//CP1//": "CP1",
    "/ocpp/CP1?token=/x/y": "CP1",
    "/ocpp/CP%201": "CP 1",
    "/ocpp/CP%2F1": "CP/1",
    "/ocpp/%43%50": "CP",
    "/ocpp/caf%C3%A9": "café",
    "/ocpp/cafe%CC%81": "café",  # NFC
    "/ocpp/100%": "100%",
    "/ocpp/..": "..",
    "ws://host:9000/ocpp/CP1": "CP1",
    "/ocpp/ocpp": "ocpp",
}


@pytest.mark.parametrize(("target", "identity"), PATHS.items())
def test_the_identity_is_the_last_segment_decoded_once(target: str, identity: str) -> None:
    assert read_identity(target) == identity


@pytest.mark.parametrize(
    "target",
    ["/", "", "//", "/?CP1", "/ocpp", "/ocpp/", "/ocpp/a%00b", "/ocpp/a%0Ab", "/ocpp/%FF", "/" + "x" * 300],
)
def test_a_path_without_a_usable_identity_is_refused(target: str) -> None:
    with pytest.raises(BadPath):
        read_identity(target)


def basic(pair: bytes) -> str:
    return "Basic " + base64.b64encode(pair).decode()


def test_a_password_is_bytes_and_may_be_hexadecimal() -> None:
    credentials = read_credentials(basic(b"CP1:\xff:\x00"), "CP1")
    assert credentials
    assert (credentials.user, credentials.password, credentials.password_from_hex) == ("CP1", b"\xff:\x00", None)
    hexed = read_credentials("basic  " + base64.b64encode(b"CP1:00fFab").decode(), "CP1")
    assert hexed
    assert (hexed.password, hexed.password_from_hex) == (b"00fFab", b"\x00\xff\xab")


def test_a_user_name_with_a_colon_is_understood_when_it_is_the_identity() -> None:
    credentials = read_credentials(basic(b"A:B:secret"), "A:B")
    assert credentials
    assert (credentials.user, credentials.password) == ("A:B", b"secret")


def test_a_password_is_never_printed() -> None:
    assert "secret" not in repr(read_credentials(basic(b"CP1:secret"), "CP1"))


@pytest.mark.parametrize("header", [None, "", "Basic", "Basic %%%", "Bearer abc", basic(b"nocolon"), "Basic é"])
def test_unreadable_credentials_are_none(header: str | None) -> None:
    assert read_credentials(header, "CP1") is None


def test_the_version_is_chosen_in_the_chargers_order_and_spelling() -> None:
    both = frozenset(Version)
    assert choose_version(["ocpp2.1", "ocpp1.6", "ocpp2.0.1"], both) == (Version.V16, "ocpp1.6")
    assert choose_version(["ocpp2.0.1", "ocpp1.6"], both) == (Version.V201, "ocpp2.0.1")
    assert choose_version(["OCPP1.6"], both) == (Version.V16, "OCPP1.6")
    assert choose_version(["ocpp1.6"], frozenset({Version.V201})) is None
    assert choose_version([], both) is None


def test_the_turnstile_refills_with_time() -> None:
    turnstile = Turnstile(2)
    assert [turnstile.admits(0) for _ in range(3)] == [True, True, False]
    assert [turnstile.admits(at) for at in (400, 500, 600, 1000)] == [False, True, False, True]
    assert [turnstile.admits(100_000) for _ in range(3)] == [True, True, False]


def test_retry_after_is_spread() -> None:
    assert [retry_after_s(lambda: 0.0), retry_after_s(lambda: 0.999)] == [5, 30]


def test_only_some_statuses_refuse() -> None:
    with pytest.raises(ValueError, match="200"):
        Admission.refuse(200, "come in")


# Over real sockets


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("path", ["/CP1", "//CP1/", "/x/y/CP1?a=b", "/%43P1"])
async def test_any_prefix_slash_or_escape_leads_to_the_same_charger(world: World, path: str) -> None:
    async with world.run(), world.charger(path) as charger:
        await charger.assert_alive()
        assert list(world.server.links) == ["CP1"]


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
async def test_a_refused_charger_is_told_before_the_upgrade(world: World, status: int) -> None:
    world.admit = lambda attempt: Admission.refuse(status, "No such charger here.")
    async with world.run(), Wire.to(world.server.port, "/ocpp/CP9") as wire:
        assert wire.status == status
        assert wire.body == "No such charger here.\n"
        assert ("www-authenticate" in wire.headers) is (status == 401)
        assert ("retry-after" in wire.headers) is (status in (429, 503))
        assert wire.headers.get("www-authenticate", "Basic").startswith("Basic")
        assert world.refused == [("CP9", "No such charger here.")]
        assert world.opened == []


async def test_admission_may_take_its_time(world: World) -> None:
    async def think(attempt: Attempt) -> Admission:
        await asyncio.sleep(0.02)
        return Admission.accept(context="thought")

    world.admit = think
    async with world.run(), world.charger() as charger:
        await charger.assert_alive()
        assert world.link().context == "thought"


async def test_an_admission_that_fails_is_our_fault_not_the_chargers(world: World) -> None:
    def broken(attempt: Attempt) -> Admission:
        raise RuntimeError("database gone")

    world.admit = broken
    async with world.run(), Wire.to(world.server.port) as wire:
        assert wire.status == 503
        assert 5 <= int(wire.headers["retry-after"]) <= 30
        assert "database" not in wire.body
        assert len(world.refused) == 1


async def test_the_application_sees_who_knocks(world: World) -> None:
    headers = (
        f"Authorization: {basic(b'CP1:s3cret')}\r\nUser-Agent: Box/1\r\nOrigin: http://elsewhere\r\n"
        "Sec-WebSocket-Protocol: ocpp2.0.1, ocpp1.6\r\n"
    )
    async with world.run(), Wire.to(world.server.port, headers=headers) as wire:
        assert wire.status == 101
        (attempt,) = world.attempts
        assert (attempt.identity, attempt.offered) == ("CP1", ("ocpp2.0.1", "ocpp1.6"))
        assert attempt.credentials
        assert (attempt.credentials.user, attempt.credentials.password) == ("CP1", b"s3cret")
        assert attempt.remote.startswith("127.0.0.1:")
        assert (attempt.is_tls, attempt.user_agent) == (False, "Box/1")


async def test_the_chargers_order_of_subprotocols_decides(world: World) -> None:
    async with world.run():
        for offer, spoken in [
            ("ocpp2.0.1,ocpp1.6", "ocpp2.0.1"),
            ("ocpp2.1, ocpp1.6, ocpp2.0.1", "ocpp1.6"),
        ]:
            async with Wire.to(world.server.port, headers=f"Sec-WebSocket-Protocol: {offer}\r\n") as wire:
                assert wire.headers["sec-websocket-protocol"] == spoken
                await until(lambda: world.server.links)
                assert world.link().version == Version(spoken)


async def test_a_charger_limited_to_one_version_gets_that_one(world: World) -> None:
    world.admit = lambda attempt: Admission.accept(versions={Version.V16})
    header = "Sec-WebSocket-Protocol: ocpp2.0.1, ocpp1.6\r\n"
    async with world.run(), Wire.to(world.server.port, headers=header) as wire:
        assert wire.headers["sec-websocket-protocol"] == "ocpp1.6"


async def test_without_a_common_subprotocol_the_handshake_finishes_and_then_closes(world: World) -> None:
    async with world.run(), Wire.to(world.server.port, headers="Sec-WebSocket-Protocol: ocpp1.5\r\n") as wire:
        assert wire.status == 101
        assert "sec-websocket-protocol" not in wire.headers
        assert await wire.read_close() == 1002
        assert [identity for identity, _ in world.refused] == ["CP1"]
        assert "ocpp1.5" in world.refused[0][1]
        assert world.opened == []


@pytest.mark.parametrize("header", ["", "Sec-WebSocket-Protocol: \r\n", "Sec-WebSocket-Protocol: ,\r\n"])
@pytest.mark.parametrize("version", list(Version))
async def test_with_no_subprotocol_offered_the_registered_version_is_spoken(
    world: World, header: str, version: Version
) -> None:
    world.admit = lambda attempt: Admission.accept(default_version=version)
    async with world.run(), Wire.to(world.server.port, headers=header) as wire:
        assert wire.status == 101
        assert "sec-websocket-protocol" not in wire.headers
        await wire.write(Wire.frame(b'[2,"1","Heartbeat",{}]'))
        assert (await wire.read_text())[0] == 3
        assert world.link().version == version


async def test_offered_compression_is_declined(world: World) -> None:
    async with world.run(), world.charger(compression="deflate") as charger:
        assert charger.socket.protocol.extensions == []
        await charger.assert_alive()


async def test_a_first_frame_sent_with_the_handshake_is_not_lost(world: World) -> None:
    early = Wire.frame(b'[2,"1","Heartbeat",{}]') + Wire.frame(b'[2,"2","Heartbeat",{}]')
    async with world.run(), Wire.to(world.server.port, early=early) as wire:
        assert [(await wire.read_text())[1] for _ in range(2)] == ["1", "2"]


@pytest.mark.parametrize(
    ("target", "upgrade", "status", "identity"),
    [("/ocpp/CP1", False, 426, "CP1"), ("/", True, 404, None), ("/ocpp/%FF", True, 404, None)],
)
async def test_what_is_no_proper_request_is_refused_and_reported(
    world: World, target: str, upgrade: bool, status: int, identity: str | None
) -> None:
    async with world.run(), Wire.to(world.server.port, target, upgrade=upgrade) as wire:
        assert wire.status == status
        assert wire.body
        assert [refused for refused, _ in world.refused] == [identity]
        assert world.attempts == []  # the application was not bothered


async def test_a_missing_key_is_refused_and_reported(world: World) -> None:
    headers = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    async with world.run(), Wire.to(world.server.port, headers=headers, upgrade=False) as wire:
        assert wire.status == 400
        assert [identity for identity, _ in world.refused] == ["CP1"]
        assert world.attempts == []


async def test_a_charger_that_leaves_during_admission_is_reported(world: World) -> None:
    gate = asyncio.Event()

    async def wait(attempt: Attempt) -> Admission:
        await gate.wait()
        return Admission.accept()

    world.admit = wait
    async with world.run():
        _, writer = await asyncio.open_connection("127.0.0.1", world.server.port)
        writer.write(
            b"GET /ocpp/CP1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await until(lambda: world.attempts)
        writer.close()
        await asyncio.sleep(0.05)
        gate.set()
        await until(lambda: world.refused)
        assert world.refused[0][0] == "CP1"
        assert world.opened == []
        assert world.server.links == {}


async def test_a_storm_of_handshakes_is_spread_over_time(world: World) -> None:
    async with world.run(limits=Limits(handshakes_per_s=3), steady=lambda: 0):
        statuses = []
        for number in range(5):
            async with Wire.to(world.server.port, f"/ocpp/CP{number}") as wire:
                statuses.append(wire.status)
                if wire.status == 503:
                    assert wire.headers["retry-after"] == "18"  # chance 0.5 between 5 and 30
        assert statuses == [101, 101, 101, 503, 503]
        assert [identity for identity, _ in world.refused] == ["CP3", "CP4"]


async def test_the_newest_socket_wins_and_the_late_end_of_the_old_disturbs_nobody(world: World) -> None:
    async with world.run(), world.charger() as old:
        await old.assert_alive()
        first = world.link()
        async with world.charger() as new:
            await new.assert_alive()
            second = world.link()
            assert second is not first
            await old.assert_closed(4001)
            await asyncio.sleep(0.05)
            assert world.closed == [(first, 4001)]
            assert world.link() is second
            assert world.server.stats.replaced == 1
            await new.assert_alive()
        await until(lambda: len(world.closed) == 2)
        assert world.server.links == {}


async def test_a_half_open_old_socket_does_not_hold_up_its_successor(world: World) -> None:
    async with world.run(), Wire.to(world.server.port) as old:  # never answers the close
        await until(lambda: world.server.links)
        async with world.charger() as new:
            await new.assert_alive()
            assert [code for _, code in world.closed] == [4001]
            assert await old.read_close() == 4001


async def test_an_overtaken_handshake_does_not_replace_the_newer_link(world: World) -> None:
    epochs = iter([5, 4])
    world.admit = lambda attempt: Admission.accept(epoch=next(epochs))
    async with world.run(), world.charger() as newer:
        await newer.assert_alive()
        async with world.charger() as older:
            await older.assert_closed(4001)
        await newer.assert_alive()
        assert world.link().epoch == 5
        assert world.closed == []


async def test_while_stopping_nobody_new_comes_in(world: World) -> None:
    world.talk.silent.add("Heartbeat")
    async with world.run() as running:
        port = running.server.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)  # connected, silent so far
        async with world.charger() as charger:
            await charger.say([2, "1", "Heartbeat", {}])
            await until(lambda: world.talk.heard)
            stopping = asyncio.ensure_future(running.server.stop())
            await asyncio.sleep(0.02)
            writer.write(
                b"GET /ocpp/CP2 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            assert b" 503 " in await reader.readline()
            assert [attempt.identity for attempt in world.attempts] == ["CP1"]
            world.link().answer("1", b"{}")
            assert await charger.hear() == [3, "1", {}]
            await charger.assert_closed(1001)
            async with asyncio.timeout(3):  # although CP2 keeps its TCP connection open
                await stopping
        writer.close()


async def test_a_broken_on_open_closes_only_that_socket(world: World) -> None:
    class Fussy(list):  # type: ignore[type-arg]  # stands in for the list the world writes into
        def append(self, link: object) -> None:
            raise RuntimeError("a bug of ours")

    world.opened = Fussy()
    async with world.run(), world.charger() as charger:
        await charger.assert_closed(1011)
        assert world.server.links == {}
        assert world.server.stats.handler_errors == 1


async def test_a_library_client_learns_the_status(world: World) -> None:
    world.admit = lambda attempt: Admission.refuse(404, "Unknown.")
    async with world.run():
        with pytest.raises(InvalidStatus) as caught:
            async with world.charger():
                pass
        assert caught.value.response.status_code == 404
