"""The transport over real sockets: bytes in any pieces, words of any kind, and never a dead connection."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from ocppj_world import HEARTBEAT_ANSWER, Clock, Wire, World, until

from csms.edges.ocppj.codes import Fault
from csms.edges.ocppj.link import MOST_HELD_FRAMES
from csms.edges.ocppj.server import Admission, Limits, Link, PingPolicy
from csms.edges.ocppj.session import (
    Answered,
    Expired,
    LateAnswer,
    LinkLost,
    Outcome,
    Priority,
    Refused,
    TimedOut,
)
from csms.edges.ocppj.wheel import Wheel


@pytest.fixture
def world() -> World:
    return World()


def heartbeat(message_id: str) -> bytes:
    return b'[2,"%b","Heartbeat",{}]' % message_id.encode()


METER = {"connectorId": 1, "meterValue": [{"timestamp": "x", "sampledValue": [{"value": "1"}]}]}
START = {"connectorId": 1, "idTag": "A", "timestamp": "2026-01-02T03:04:05Z", "meterStart": 0}

# frame -> the answer's first three elements in 1.6 and in 2.0.1; None is silence
UNREADABLE = [4, "-1", "RpcFrameworkError"]
BAD_FRAMES: dict[str, tuple[list[Any] | None, list[Any] | None]] = {
    "": (None, None),
    "not json": (None, UNREADABLE),
    "{}": (None, UNREADABLE),
    "[]": (None, UNREADABLE),
    "[,{": (None, UNREADABLE),
    "[" * 5000: (None, UNREADABLE),
    '[2,"1","Heartbeat",{"x":' + "[" * 5000 + "]" * 5000 + "}]": (None, UNREADABLE),
    '[2,"1",["x"],{}]': ([4, "1", "FormationViolation"], [4, "1", "RpcFrameworkError"]),
    '[2,"1","Heartbeat"]': ([4, "1", "FormationViolation"], [4, "1", "RpcFrameworkError"]),
    '[2,"1","Heartbeat",{},{}]': ([4, "1", "FormationViolation"], [4, "1", "RpcFrameworkError"]),
    '[2,["1"],"Heartbeat",{}]': (None, UNREADABLE),
    '[9,"1"]': (None, [4, "1", "MessageTypeNotSupported"]),
    '[6,"1","NotifyPeriodicEventStream",{}]': (None, [4, "1", "MessageTypeNotSupported"]),
    '[3,"1"]': (None, None),
    '[3,"nobody",{}]': (None, None),
    '[3,"1","Heartbeat",{}]': (None, None),
    '[9,"1","Heartbeat",{}]': (None, [4, "1", "MessageTypeNotSupported"]),
    '[2,"\\"x\\"Heartbeat","Reset",{}]': ([4, '"x"Heartbeat', "NotSupported"], [4, '"x"Heartbeat', "NotSupported"]),
    '[4,"nobody","GenericError","",{}]': (None, None),
    '[4,"nobody","GenericError"]': (None, None),
    '[2,"1","Heartbeat",[]]': ([4, "1", "TypeConstraintViolation"], [4, "1", "TypeConstraintViolation"]),
    '[2,"1","Heartbeat","x"]': ([4, "1", "TypeConstraintViolation"], [4, "1", "TypeConstraintViolation"]),
    '[2,"1","Make Coffee",{}]': ([4, "1", "NotImplemented"], [4, "1", "NotImplemented"]),
    '[2,"1","../Heartbeat",{}]': ([4, "1", "NotImplemented"], [4, "1", "NotImplemented"]),
    '[2,"1","Reset",{}]': ([4, "1", "NotSupported"], [4, "1", "NotSupported"]),
    '[2,"1","StatusNotification",{}]': (
        [4, "1", "OccurenceConstraintViolation"],
        [4, "1", "OccurrenceConstraintViolation"],
    ),
}


@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1"])
@pytest.mark.parametrize("text", BAD_FRAMES, ids=[text[:30] or "empty" for text in BAD_FRAMES])
async def test_after_a_bad_frame_a_heartbeat_still_works(world: World, text: str, version: str) -> None:
    expected = BAD_FRAMES[text][version == "ocpp2.0.1"]
    async with world.run(), world.charger(version=version) as charger:
        await charger.assert_alive()  # and the short cut for Heartbeat is in place
        await charger.say(text)
        if expected is not None:
            answer = await charger.hear()
            assert answer[:3] == expected
            assert isinstance(answer[3], str)
            assert answer[4] == {}
        await charger.assert_alive()


async def test_bytes_that_are_not_utf8_spoil_only_their_own_text(world: World) -> None:
    async with world.run(), Wire.to(world.server.port) as wire:
        await wire.write(Wire.frame(b'[2,"1","Heartbeat",{"x":"\xff"}]') + Wire.frame(heartbeat("2")))
        assert [(await wire.read_text())[1], (await wire.read_text())[1]] == ["1", "2"]
        assert world.server.stats.malformed == 0


@pytest.mark.parametrize(
    "text",
    [
        '[2,"1","Heartbeat",{}]',
        '[2,"1","Heartbeat",null]',
        ' [ 2 , "1" , "Heartbeat" , { } ] ',
        '[2,"1","Heart\\u0062eat",{}]',
        '[2,"1","Heartbeat",{"surprise":[1]}]',
    ],
)
async def test_every_way_to_write_a_heartbeat_is_understood(world: World, text: str) -> None:
    async with world.run(), world.charger() as charger:
        assert await charger.ask(text) == [3, "1", json.loads(HEARTBEAT_ANSWER)]


@pytest.mark.parametrize("echo", ["17", '"a\\"b"', '"a\\nb"', '"é"', f'"{"x" * 100}"', '""'])
async def test_any_id_is_echoed_as_it_came(world: World, echo: str) -> None:
    async with world.run(), world.charger() as charger:
        await charger.say(f'[2,{echo},"Heartbeat",{{}}]')
        assert (await charger.hear_text()).startswith(f"[3,{echo},")


# Bytes in pieces


async def test_frames_split_at_every_byte_and_glued_together_are_the_same_frames(world: World) -> None:
    meter = json.dumps([2, "m", "MeterValues", METER | {"padding": "x" * 200}]).encode()
    stream = b"".join(
        [
            Wire.frame(heartbeat("a")),
            Wire.frame(meter),
            Wire.frame(b"", opcode=9),
            Wire.frame(heartbeat("b")[:7], final=False),
            Wire.frame(b"mid", opcode=9),
            Wire.frame(heartbeat("b")[7:], opcode=0),
            Wire.frame(heartbeat("c"), opcode=2),
            Wire.frame(heartbeat("d")),
        ]
    )

    def cuts() -> list[list[bytes]]:
        whole = [[stream]]
        pairs = [[stream[:cut], stream[cut:]] for cut in range(1, len(stream), 3)]
        return [*whole, *pairs, [stream[i : i + 1] for i in range(len(stream))]]

    async with world.run(), Wire.to(world.server.port) as wire:
        await until(lambda: world.server.links)
        received = next(iter(world.server._sockets)).data_received
        for pieces in cuts():
            for piece in pieces:  # handed over exactly so: TCP would glue them together again
                received(piece)
            heard: list[Any] = []
            while len(heard) < 7:
                opcode, payload = await wire.read()
                heard.append((opcode, payload) if opcode == 10 else json.loads(payload)[1])
            texts = [item for item in heard if isinstance(item, str)]
            assert texts == ["a", "m", "b", "c", "d"]
            assert [item for item in heard if not isinstance(item, str)] == [(10, b""), (10, b"mid")]
        assert next(iter(world.server._sockets)).fragments % 2 == 0


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_cuts_of_random_streams_lose_nothing(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.sampled_from([0, 1, 70, 98, 99, 100, 300, 70_000]), min_size=1, max_size=5))
    frames = [b'[2,"%d","Heartbeat",{"x":"%b"}]' % (number, b"x" * size) for number, size in enumerate(sizes)]
    stream = b"".join(Wire.frame(frame) for frame in frames)
    places = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]

    async def play() -> None:
        world = World()
        async with world.run(), Wire.to(world.server.port) as wire:
            await until(lambda: world.server.links)
            received = next(iter(world.server._sockets)).data_received
            for piece in pieces:
                received(piece)
            assert [raw for direction, raw in world.frames if direction == "in"] == frames
            for number in range(len(frames)):
                assert (await wire.read_text())[1] == f"{number}"

    asyncio.run(play())


async def test_a_frame_of_two_megabytes_is_taken_and_a_larger_one_is_not(world: World) -> None:
    async with world.run(), world.charger(max_size=None) as charger:
        room = (2 << 20) - len('[2,"1","Heartbeat",{"x":""}]')
        assert (await charger.ask('[2,"1","Heartbeat",{"x":"' + "x" * room + '"}]'))[0] == 3
        await charger.assert_alive()
        await charger.say('[2,"1","Heartbeat",{"x":"' + "x" * (room + 1) + '"}]')
        await charger.assert_closed(1009)


async def test_the_size_limit_holds_for_small_frames_in_one_segment_and_for_fragments(world: World) -> None:
    async with world.run(limits=Limits(max_size=100)):
        async with Wire.to(world.server.port) as wire:
            await wire.write(Wire.frame(heartbeat("1")) + Wire.frame(b"x" * 101))
            assert (await wire.read_text())[1] == "1"
            assert await wire.read_close() == 1009
        async with Wire.to(world.server.port) as wire:
            await wire.write(Wire.frame(b"x" * 60, final=False) + Wire.frame(b"x" * 60, opcode=0))
            assert await wire.read_close() == 1009


async def test_an_unmasked_frame_is_a_protocol_error(world: World) -> None:
    async with world.run(), Wire.to(world.server.port) as wire:
        await wire.write(Wire.frame(heartbeat("1")) + Wire.frame(heartbeat("2"), masked=False) + b"more" * 10)
        assert (await wire.read_text())[1] == "1"
        assert await wire.read_close() == 1002
        assert world.malformed == []


async def test_a_new_message_inside_a_fragmented_one_is_a_protocol_error(world: World) -> None:
    async with world.run(), Wire.to(world.server.port) as wire:
        await until(lambda: world.server.links)
        received = next(iter(world.server._sockets)).data_received
        received(Wire.frame(b"[2,", final=False))
        received(Wire.frame(heartbeat("1")))
        assert await wire.read_close() == 1002
        assert world.talk.heard == []


async def test_what_looks_like_a_frame_inside_a_frame_is_payload(world: World) -> None:
    inner = Wire.frame(heartbeat("inner"), key=b"\x01\x01\x01\x01")
    outer = Wire.frame(b"junk" + inner, key=bytes(4))  # with a zero mask the inner bytes stand as they are
    async with world.run(), Wire.to(world.server.port) as wire:
        await until(lambda: world.server.links)
        received = next(iter(world.server._sockets)).data_received
        cut = outer.index(inner)
        received(outer[:cut])
        received(outer[cut:])
        await wire.write(Wire.frame(heartbeat("after")))
        assert (await wire.read_text())[1] == "after"
        assert world.server.stats.malformed == 1


async def test_a_stop_is_processed_although_the_socket_is_already_closing(world: World) -> None:
    async with world.run(), Wire.to(world.server.port) as wire:
        await wire.write(Wire.frame(heartbeat("1")) + Wire.frame(b"\x03\xe8", opcode=8))
        assert (await wire.read_text())[1] == "1"
        assert await wire.read_close() == 1000
        await until(lambda: world.closed)
        assert world.closed[0][1] == 1000
    world = World()
    async with world.run(), Wire.to(world.server.port) as wire:
        await until(lambda: world.server.links)
        frame = Wire.frame(heartbeat("1"))
        received = next(iter(world.server._sockets)).data_received
        received(frame[:5])
        received(frame[5:] + Wire.frame(b"\x03\xe8", opcode=8))
        assert [action for _, action, _ in world.talk.heard] == ["Heartbeat"]


async def test_answers_of_every_length_have_the_shortest_header(world: World) -> None:
    answers: dict[str, bytes] = {}

    def from_list(link: Link, message_id: str, request: Any, raw: bytes) -> None:
        link.answer(message_id, answers[message_id])

    world.talk.handlers["Heartbeat"] = from_list
    async with world.run(), Wire.to(world.server.port) as wire:
        for frame_length in (20, 124, 125, 126, 127, 65_535, 65_536, 100_000):
            head = b'[3,"%d",' % frame_length
            filler = frame_length - len(head) - len(b'{"x":""}]')
            answers[f"{frame_length}"] = b'{"x":"%b"}' % (b"x" * filler) if filler >= 0 else b"{}"
            await wire.write(Wire.frame(heartbeat(f"{frame_length}")))
            opcode, text = await wire.read()
            assert opcode == 1
            assert text == head + answers[f"{frame_length}"] + b"]"


# Handlers


async def test_a_handler_that_raises_costs_an_answer_and_not_the_connection(world: World) -> None:
    async with world.run(), world.charger() as charger:
        answer = await charger.ask([2, "1", "Authorize", {"idTag": "A"}])
        assert answer[:3] == [4, "1", "InternalError"]
        assert "bug" not in answer[3]
        await charger.assert_alive()
        assert world.server.stats.handler_errors == 1


async def test_a_money_frame_that_does_not_fit_is_never_refused(world: World) -> None:
    async with world.run(), world.charger() as charger:
        assert await charger.ask([2, "1", "MeterValues", {"connectorId": "one"}]) == [3, "1", {}]
        assert await charger.ask([2, "2", "MeterValues", ["what"]]) == [3, "2", {}]
        (action, payload, problems), (_, nothing, _) = world.talk.misfits
        assert (action, payload, nothing) == ("MeterValues", {"connectorId": "one"}, None)
        assert {problem.path for problem in problems} == {"", "connectorId"}
        assert world.server.stats.misfits == 2


async def test_a_repair_that_raises_is_answered_with_internal_error(world: World) -> None:
    async with world.run(), world.charger() as charger:
        world.talk.handlers["StopTransaction"] = world.talk.handlers["MeterValues"]
        assert (await charger.ask([2, "1", "StopTransaction", {}]))[:3] == [4, "1", "InternalError"]
        await charger.assert_alive()


async def test_a_repeated_start_is_handled_once_and_answered_twice(world: World) -> None:
    async with world.run(), world.charger() as charger:
        first = await charger.ask([2, "s", "StartTransaction", START])
        assert await charger.ask([2, "s", "StartTransaction", START]) == first
        assert world.talk.starts == 1
        other = await charger.ask([2, "s", "StartTransaction", START | {"meterStart": 5}])
        assert other[2]["transactionId"] == 2
        assert (world.server.stats.repeats_replayed, world.server.stats.ids_reused) == (1, 1)


async def test_an_answer_may_come_later_and_out_of_order(world: World) -> None:
    world.talk.silent.update({"Heartbeat", "MeterValues"})
    async with world.run(), world.charger() as charger:
        await charger.say([2, "1", "Heartbeat", {}])
        await charger.say([2, "2", "MeterValues", METER])
        await until(lambda: len(world.talk.heard) == 2)
        assert world.link().open_questions == 2
        assert world.link().answer("2", {})
        assert world.link().refuse("1", Fault.SECURITY, "not yet")
        assert not world.link().answer("1", {})
        assert [await charger.hear(), await charger.hear()] == [
            [3, "2", {}],
            [4, "1", "SecurityError", "not yet", {}],
        ]


async def test_an_answer_to_a_charger_that_has_gone_is_dropped_and_counted(world: World) -> None:
    world.talk.silent.add("Heartbeat")
    async with world.run():
        async with world.charger() as charger:
            await charger.say([2, "1", "Heartbeat", {}])
            await until(lambda: world.talk.heard)
            link = world.link()
        await until(lambda: world.closed)
        assert not link.answer("1", {})
        assert world.server.stats.answers_dropped == 1


async def test_a_frame_log_sees_both_directions(world: World) -> None:
    async with world.run(), world.charger() as charger:
        await charger.ask([2, "1", "Heartbeat", {}])
        assert [direction for direction, _ in world.frames] == ["in", "out"]
        assert json.loads(world.frames[1][1])[:2] == [3, "1"]


# Holding


async def test_held_calls_wait_in_order_while_answers_pass(world: World) -> None:
    async with world.run(), world.charger() as charger:
        outcomes: list[Outcome] = []
        await charger.assert_alive()
        world.link().call("Reset", {"type": "Soft"}, outcomes.append, message_id="o1")
        assert (await charger.hear())[1] == "o1"
        assert (await charger.ask([2, "1", "DataTransfer", {"vendorId": "v"}]))[0] == 3  # this one holds
        for name in ("2", "3"):
            await charger.say([2, name, "Heartbeat", {}])
        await charger.say([3, "o1", {"status": "Accepted"}])
        await until(lambda: outcomes)
        assert outcomes == [Answered({"status": "Accepted"})]
        assert world.link().open_questions == 2
        world.link().release()
        assert [(await charger.hear())[1] for _ in range(2)] == ["2", "3"]
        await charger.assert_alive()


async def test_a_hold_inside_the_queue_stops_the_queue(world: World) -> None:
    async with world.run(), world.charger() as charger:
        hold = [2, "h", "DataTransfer", {"vendorId": "v"}]
        await charger.ask(hold)
        await charger.say([2, "1", "Heartbeat", {}])
        await charger.say([2, "h2", "DataTransfer", {"vendorId": "w"}])
        await charger.say([2, "2", "Heartbeat", {}])
        await until(lambda: world.link().open_questions == 3)
        world.link().release()
        assert [(await charger.hear())[1] for _ in range(2)] == ["1", "h2"]
        assert world.link().open_questions == 1
        world.link().release()
        assert (await charger.hear())[1] == "2"
        with pytest.raises(RuntimeError, match="without hold"):
            world.link().release()


async def test_too_many_held_calls_make_the_charger_wait_not_the_server_swell(world: World) -> None:
    async with world.run(), world.charger() as charger:
        await charger.ask([2, "h", "DataTransfer", {"vendorId": "v"}])
        link = world.link()
        for number in range(MOST_HELD_FRAMES * 3):
            await charger.say([2, f"{number}", "Heartbeat", {}])
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        assert MOST_HELD_FRAMES <= link.open_questions < MOST_HELD_FRAMES * 3
        link.release()
        assert [(await charger.hear())[1] for _ in range(MOST_HELD_FRAMES * 3)] == [
            f"{number}" for number in range(MOST_HELD_FRAMES * 3)
        ]


async def test_held_calls_are_served_even_when_the_socket_is_gone(world: World) -> None:
    async with world.run():
        async with world.charger() as charger:
            await charger.ask([2, "h", "DataTransfer", {"vendorId": "v"}])
            link = world.link()
            await charger.say([2, "1", "StartTransaction", START])
            await until(lambda: link.open_questions)
        await until(lambda: world.closed)
        link.release()
        assert world.talk.starts == 1


# Calls of ours


def collect(link: Link, name: str, **options: Any) -> list[Outcome]:
    outcomes: list[Outcome] = []
    link.call("Reset", {"type": "Soft"}, outcomes.append, message_id=name, **options)
    return outcomes


async def test_one_call_at_a_time_the_most_urgent_next_and_theirs_in_between(world: World) -> None:
    async with world.run(), world.charger() as charger:
        await charger.assert_alive()
        link = world.link()
        report, config, stop = (
            collect(link, name, priority=priority)
            for name, priority in [("r", Priority.REPORT), ("c", Priority.CONFIG), ("s", Priority.STOP)]
        )
        assert await charger.hear() == [2, "r", "Reset", {"type": "Soft"}]
        await charger.assert_alive()  # crossing
        await charger.say([3, "r", {"status": "Accepted"}])
        assert (await charger.hear())[1] == "s"
        await charger.say([4, "s", "NotSupported", "no", {}])
        assert (await charger.hear())[1] == "c"
        await charger.say([3, "c", {}])
        await until(lambda: config)
        assert report == [Answered({"status": "Accepted"})]
        assert stop == [Refused("NotSupported", "no", {})]


async def test_a_silent_charger_times_out_and_its_late_answer_is_marked(world: World) -> None:
    async with world.run(), world.charger() as charger:
        await charger.assert_alive()
        outcomes = collect(world.link(), "a", timeout_s=0.03)
        following = collect(world.link(), "b")
        assert (await charger.hear())[1] == "a"
        assert (await charger.hear())[1] == "b"  # a timeout does not close the socket
        assert outcomes == [TimedOut()]
        await charger.say([3, "a", {"status": "Accepted"}])
        await charger.say([3, "a", {"status": "Accepted"}])
        await charger.say([3, "b", {}])
        await until(lambda: following)
        assert outcomes == [TimedOut(), LateAnswer(Answered({"status": "Accepted"}))]
        stats = world.server.stats
        assert (stats.answers_late, stats.answers_doubled, stats.calls_timed_out) == (1, 1, 1)


async def test_an_expired_call_is_never_sent(world: World) -> None:
    async with world.run(), world.charger() as charger:
        await charger.assert_alive()
        link = world.link()
        collect(link, "a")
        outcomes = collect(link, "b", expires_ms=world.server.clock() + 20)
        assert (await charger.hear())[1] == "a"
        await until(lambda: outcomes)
        assert outcomes == [Expired()]
        await charger.say([3, "a", {}])
        await charger.assert_alive()


async def test_when_the_link_goes_every_call_learns_whether_it_was_sent(world: World) -> None:
    async with world.run():
        async with world.charger() as charger:
            await charger.assert_alive()
            link = world.link()
            sent, waiting = collect(link, "a"), collect(link, "b")
        await until(lambda: world.closed)
        assert (sent, waiting) == ([LinkLost(sent=True)], [LinkLost(sent=False)])
        assert collect(link, "c") == [LinkLost(sent=False)]


async def test_an_outcome_callback_that_raises_harms_nobody(world: World) -> None:
    def broken(outcome: Outcome) -> None:
        raise RuntimeError("a bug of ours")

    async with world.run(), world.charger() as charger:
        await charger.assert_alive()
        world.link().call("Reset", {}, broken, message_id="a")
        assert (await charger.hear())[1] == "a"
        await charger.say([3, "a", {}])
        await charger.assert_alive()
        assert world.server.stats.handler_errors == 1


# Liveness


async def test_a_silent_charger_is_pinged_and_its_pong_is_life(world: World) -> None:
    steady = Clock()
    world.admit = lambda attempt: Admission.accept(ping=PingPolicy(interval_s=45, dead_after_s=100))
    async with world.run(steady=steady, clock=lambda: steady.now_ms + 7), Wire.to(world.server.port) as wire:
        await until(lambda: world.server.links)
        link = world.link()
        for _ in range(4):
            steady.now_ms += 45_000
            assert await wire.read() == (9, b"")
            before = link.last_seen_ms
            await wire.write(Wire.frame(b"", opcode=10))
            await until(lambda seen=before: link.last_seen_ms > seen)  # type: ignore[misc]  # a lambda's default
        assert link.last_seen_ms == steady.now_ms + 7
        steady.now_ms += 45_000
        assert await wire.read() == (9, b"")
        steady.now_ms += 54_000
        assert await wire.read() == (9, b"")
        assert world.closed == []
        steady.now_ms += 1_100
        assert await wire.read_close() == 4002
        assert [code for _, code in world.closed] == [4002]
        assert world.server.stats.died_silent == 1
        assert world.server.links == {}


async def test_a_talking_charger_is_not_pinged_and_pings_can_be_switched_off(world: World) -> None:
    steady = Clock()
    policies = {"CP1": PingPolicy(), "CP2": PingPolicy(interval_s=None, dead_after_s=None)}
    world.admit = lambda attempt: Admission.accept(ping=policies[attempt.identity])
    async with (
        world.run(steady=steady),
        Wire.to(world.server.port) as talking,
        Wire.to(world.server.port, "/ocpp/CP2") as mute,
    ):
        await until(lambda: len(world.server.links) == 2)
        for number in range(10):
            steady.now_ms += 40_000
            await talking.write(Wire.frame(heartbeat(f"{number}")))
            assert (await talking.read_text())[1] == f"{number}"
        await asyncio.sleep(0.05)
        assert world.closed == []
        await talking.write(Wire.frame(heartbeat("last")))
        assert (await talking.read_text())[1] == "last"
        await mute.write(Wire.frame(heartbeat("still")))
        assert (await mute.read_text())[1] == "still"  # no ping came before it


async def test_a_charger_we_do_not_listen_to_is_not_called_silent(world: World) -> None:
    steady = Clock()
    async with world.run(steady=steady), Wire.to(world.server.port) as wire:
        await until(lambda: world.server.links)
        connection = next(iter(world.server._sockets))
        connection.pause("held")
        for _ in range(5):
            steady.now_ms += 60_000
            await asyncio.sleep(0.02)
        connection.resume("held")
        await asyncio.sleep(0.05)
        assert world.closed == []
        await wire.write(Wire.frame(heartbeat("1")))
        while (frame := await wire.read())[0] == 9:
            pass
        assert json.loads(frame[1])[1] == "1"


async def test_the_silence_of_a_pause_does_not_count_afterwards(world: World) -> None:
    steady = Clock()
    world.admit = lambda attempt: Admission.accept(ping=PingPolicy(interval_s=None, dead_after_s=100))
    async with world.run(steady=steady), Wire.to(world.server.port):
        connection = await _first_socket(world)
        connection.pause("held")
        steady.now_ms += 90_000
        connection.resume("held")
        steady.now_ms += 20_000
        await asyncio.sleep(0.03)
        assert world.closed == []
        steady.now_ms += 90_000
        await until(lambda: world.closed)


async def test_half_open_sockets_are_found_below_the_websocket_too(world: World) -> None:
    async with world.run(), world.charger() as charger:
        await charger.assert_alive()
        sock = next(iter(world.server._sockets)).transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 90_000
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


def test_the_wheel_wakes_nobody_early_and_everybody_once() -> None:
    wheel: Wheel[str] = Wheel(100)
    wheel.set("b", 250)
    wheel.set("a", 199)
    wheel.set("moved", 120)
    wheel.set("moved", 900)
    wheel.set("dropped", 120)
    wheel.drop("dropped")
    wheel.drop("never there")
    assert wheel.due(199) == []
    assert wheel.due(299) == ["a"]
    assert wheel.due(10_000_000) == ["b", "moved"]
    assert len(wheel) == 0


# Back-pressure and the end


async def test_a_charger_that_does_not_read_gets_to_ask_no_more(world: World) -> None:
    big = json.dumps([2, "1", "Heartbeat", {"x": "y" * 1000}]).encode()

    def long_answer(link: Link, message_id: str, request: Any, raw: bytes) -> None:
        link.answer(message_id, b'{"currentTime":"%b"}' % (b"z" * 100_000))

    world.talk.handlers["Heartbeat"] = long_answer
    async with world.run(), Wire.to(world.server.port) as wire:
        wire.writer.write(b"".join(Wire.frame(big.replace(b'"1"', b'"%d"' % n)) for n in range(3000)))
        connection = await _first_socket(world)
        await until(lambda: connection.is_paused)
        await asyncio.sleep(0.05)
        handled = world.server.stats.frames_in
        assert handled < 3000
        for number in range(3000):
            assert (await wire.read_text())[1] == f"{number}"
        assert not connection.is_paused


async def _first_socket(world: World) -> Any:
    await until(lambda: world.server.links)
    return next(iter(world.server._sockets))


async def test_stopping_answers_what_was_read_and_then_goes_away(world: World) -> None:
    world.talk.silent.add("Heartbeat")
    async with world.run(), world.charger() as charger:
        await charger.say([2, "1", "Heartbeat", {}])
        await until(lambda: world.talk.heard)
        link = world.link()
        stopping = asyncio.ensure_future(world.server.stop())
        await charger.say([2, "2", "Heartbeat", {}])
        await asyncio.sleep(0.03)
        assert world.closed == []
        assert len(world.talk.heard) == 1  # what was not read will be repeated
        link.answer("1", HEARTBEAT_ANSWER)
        assert (await charger.hear())[1] == "1"
        await charger.assert_closed(1001)
        await stopping
        assert [code for _, code in world.closed] == [1001]
        await world.server.stop()  # again does no harm


async def test_stopping_does_not_wait_for_ever_for_an_answer_or_a_close(world: World) -> None:
    world.talk.silent.add("Heartbeat")
    async with world.run(limits=Limits(drain_s=0.05, slot_ms=5)), Wire.to(world.server.port) as wire:
        await wire.write(Wire.frame(heartbeat("1")))
        await until(lambda: world.talk.heard)
        async with asyncio.timeout(2.5):
            await world.server.stop()
        assert await wire.read_close() == 1001


async def test_the_application_may_hang_up_itself(world: World) -> None:
    async with world.run(), world.charger() as charger:
        await charger.assert_alive()
        link = world.link()
        link.close(4100, "maintenance " * 20)
        assert world.closed == [(link, 4100)]
        assert not link.is_open
        await charger.assert_closed(4100)
        assert len(world.closed) == 1


async def test_a_dropped_connection_is_an_abnormal_closure(world: World) -> None:
    async with world.run(), Wire.to(world.server.port) as wire:
        await until(lambda: world.server.links)
        wire.writer.transport.abort()
        await until(lambda: world.closed)
        assert world.closed[0][1] == 1006


def test_uvloop_carries_the_same_conversation() -> None:
    async def play() -> None:
        world = World()
        async with world.run(), world.charger() as charger:
            await charger.assert_alive()
            outcomes = collect(world.link(), "a")
            assert (await charger.hear())[1] == "a"
            await charger.say([3, "a", {}])
            await charger.say("junk")
            await charger.assert_alive()
            assert outcomes == [Answered({})]
            async with world.charger() as newer:
                await newer.assert_alive()
                await charger.assert_closed(4001)
            await asyncio.sleep(0.02)
            async with Wire.to(world.server.port) as wire:
                frame = Wire.frame(heartbeat("1"))
                await wire.write(frame[:9])
                await asyncio.sleep(0.01)
                await wire.write(frame[9:] + Wire.frame(heartbeat("2")))
                assert [(await wire.read_text())[1] for _ in range(2)] == ["1", "2"]
                connection = await _first_socket(world)
                connection.pause("held")
                connection.pause("writing")
                connection.resume("held")
                connection.resume("writing")
                await wire.write(Wire.frame(heartbeat("3")))
                assert (await wire.read_text())[1] == "3"
            link: Link | None = None
            async with world.charger("/CP7") as leaving:
                await leaving.assert_alive()
                link = world.link("CP7")
                link.close(4002, "silent", linger_s=0)
                assert not link.answer("x", {})

    uvloop.run(play())


async def test_two_hundred_chargers_do_not_mix_up_their_answers(world: World) -> None:
    async def one(number: int) -> None:
        async with world.charger(f"/CP{number}") as charger:
            for turn in range(3):
                assert (await charger.ask([2, f"{number}-{turn}", "Heartbeat", {}]))[1] == f"{number}-{turn}"

    async with world.run():
        await asyncio.gather(*(one(number) for number in range(200)))
        await until(lambda: not world.server.links)
        assert len(world.closed) == 200
        assert world.server.stats.frames_in == 600
        assert len(world.server._wheel) == 0
