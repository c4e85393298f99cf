"""Chargers that need another treatment than most: paced, answered in time or not at all, named by their query."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from ocppj_world import Clock, Wire, World, until

from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.handshake import Admission, BadPath, Pace, PingPolicy, read_identity, read_query_identity
from csms.edges.ocppj.session import Conversation, Priority


def result(message_id: str) -> bytes:
    return json.dumps([3, message_id, {}]).encode()


# -- one command per ten seconds


def test_paced_calls_leave_apart_however_quickly_they_are_answered() -> None:
    talk = Conversation(Version.V16)
    talk.pace_ms = 10_000
    talk.call("a", "Reset", {}, now_ms=0, timeout_ms=30_000)
    talk.call("b", "ClearCache", {}, now_ms=0, timeout_ms=30_000)
    talk.call("stop", "RemoteStopTransaction", {}, now_ms=0, timeout_ms=30_000, priority=Priority.STOP)
    assert len(talk.data_to_send()) == 1
    talk.receive(result("a"), 200)
    assert talk.data_to_send() == []
    assert talk.next_deadline() == 10_000
    talk.tick(9_999)
    assert talk.data_to_send() == []
    talk.tick(10_000)
    assert [json.loads(frame)[1] for frame in talk.data_to_send()] == ["stop"]  # the most urgent goes next
    talk.receive(result("stop"), 25_000)
    assert [json.loads(frame)[1] for frame in talk.data_to_send()] == ["b"]  # it was slow: nothing to wait for
    talk.receive(result("b"), 25_100)
    assert talk.next_deadline() is None


def test_a_paced_call_that_waits_too_long_never_runs() -> None:
    talk = Conversation(Version.V16)
    talk.pace_ms = 10_000
    talk.call("a", "Reset", {}, now_ms=0, timeout_ms=30_000)
    talk.receive(result("a"), 100)
    talk.call("late", "RemoteStartTransaction", {}, now_ms=100, timeout_ms=30_000, expires_ms=5_000)
    talk.data_to_send()
    assert talk.next_deadline() == 5_000
    assert [type(event).__name__ for event in talk.tick(5_000)] == ["Settled"]
    assert talk.tick(10_000) == []
    assert talk.data_to_send() == []


# -- the query


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("/ocpp?id=CP%201", "CP 1"),
        ("/ocpp/?chargePointId=CP1&id=", "CP1"),
        ("/ocpp?Identity=CP1", "CP1"),
        ("/ocpp?x=1", None),
        ("/ocpp", None),
        ("/ocpp?id=", None),
        ("/ocpp?id=a%0Ab", None),
        ("/ocpp?id=" + "x" * 256, None),
        ("/ocpp?" + "a=1&" * 30 + "id=CP1", None),
        ("/ocpp?id=%FF", "\ufffd"),
    ],
)
def test_an_identity_is_read_from_the_query(target: str, named: str | None) -> None:
    assert read_query_identity(target) == named


def test_a_path_with_a_query_is_still_read_by_its_path() -> None:
    assert read_identity("/ocpp/CP1?id=CP2") == "CP1"
    with pytest.raises(BadPath):
        read_identity("/ocpp?id=CP2")


# -- over a socket


@pytest_asyncio.fixture
async def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def world(clock: Clock) -> AsyncIterator[World]:
    async with World().run(steady=clock) as world:
        yield world


async def test_an_answer_that_comes_too_late_is_kept_back_for_those_who_would_stumble(
    world: World, clock: Clock
) -> None:
    world.admit = lambda attempt: Admission.accept(ping=PingPolicy(None, None), pace=Pace(0.0, 25.0))
    world.talk.silent.add("StatusNotification")
    async with world.charger() as cp:
        status = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
        for message_id in ("late", "in-time"):
            await cp.say([2, message_id, "StatusNotification", status])
        await until(lambda: len(world.talk.heard) == 2)
        clock.now_ms += 25_000
        assert world.link().answer("in-time", b"{}")
        clock.now_ms += 1
        assert not world.link().answer("late", b"{}")
        assert await cp.hear() == [3, "in-time", {}]
        await cp.assert_alive()
        world.link().follow(PingPolicy(None, None), Pace())
        await cp.say([2, "slow", "StatusNotification", status])
        await until(lambda: len(world.talk.heard) == 4)
        clock.now_ms += 600_000
        assert world.link().answer("slow", b"{}")  # everybody else hears it however late


async def test_a_charger_may_be_named_by_its_query(world: World) -> None:
    world.admit = lambda attempt: Admission.accept(identity=attempt.query_identity)
    async with Wire.to(world.server.port, "/ocpp?id=CP9", "Sec-WebSocket-Protocol: ocpp1.6\r\n") as wire:
        assert wire.status == 101
        await until(lambda: "CP9" in world.server.links)
    (attempt,) = world.attempts
    assert (attempt.identity, attempt.query_identity, attempt.has_path_identity) == ("CP9", "CP9", False)
    async with Wire.to(world.server.port, "/ocpp") as wire:
        assert wire.status == 404


# -- the version nobody named


@pytest.mark.parametrize("guessed", list(Version))
async def test_a_charger_without_a_subprotocol_is_understood_by_its_first_message(
    world: World, guessed: Version
) -> None:
    boots = {
        Version.V16: {"chargePointVendor": "V", "chargePointModel": "M"},
        Version.V201: {"reason": "PowerUp", "chargingStation": {"vendorName": "V", "model": "M"}},
    }
    for number, (spoken, boot) in enumerate(boots.items()):
        world.admit = lambda attempt: Admission.accept(default_version=guessed)
        async with world.charger(f"/CP{number}", None) as cp:
            await cp.assert_alive()  # a heartbeat is the same in both
            assert (await cp.ask([2, "b", "BootNotification", boot]))[0] == 3
            link = world.link(f"CP{number}")
            assert (link.version, link.router.version) == (spoken, spoken)
            assert (await cp.ask([2, "x", "BootNotification", {}]))[0] == 4
            other = {Version.V16: ("TransactionEvent", {}), Version.V201: ("StartTransaction", {})}[spoken]
            assert (await cp.ask([2, "y", *other]))[2] == "NotImplemented"
            await cp.assert_alive()


async def test_a_charger_that_named_its_version_is_held_to_it(world: World) -> None:
    async with world.charger("/CP1", "ocpp1.6") as cp:
        boot = {"reason": "PowerUp", "chargingStation": {"vendorName": "V", "model": "M"}}
        assert (await cp.ask([2, "b", "BootNotification", boot]))[0] == 4
        assert world.link().version is Version.V16
