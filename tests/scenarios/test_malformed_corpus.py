"""Thousands of frames that are wrong in every way, over many connections of one real server, with a charge beside them.

Half of the corpus is made by hand, half is bred from good frames by a seeded generator, so that a failure comes again.
Whatever is sent: the connection goes on or is closed with a code of RFC 6455, nobody else notices, the memory of the
server stays flat, and its log holds no traceback (`running` looks).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest
from running import Server, running
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol
from wire import PATIENCE_S, Station16, charger, session, token, until

pytestmark = pytest.mark.slow

MIB: Final = 1 << 20
# A round leaves rows behind, not memory: the database's own cache is bounded, and so is what is remembered per link.
MOST_GROWTH_MIB: Final = 16
# Closed because the frame was too big, not text, or no WebSocket; or because a newer link took the place.
CLEAN: Final = {1000, 1002, 1003, 1007, 1009, 4001}

NOW: Final = "2026-01-02T03:04:05.678Z"
SAMPLE: Final = {"value": "1200", "measurand": "Energy.Active.Import.Register", "unit": "Wh"}
GOOD_16: Final[tuple[tuple[str, Any], ...]] = (
    ("BootNotification", {"chargePointVendor": "V", "chargePointModel": "M", "firmwareVersion": "1"}),
    ("Heartbeat", {}),
    ("StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": "Available", "timestamp": NOW}),
    ("Authorize", {"idTag": "TAG"}),
    ("StartTransaction", {"connectorId": 1, "idTag": "TAG", "meterStart": 1000, "timestamp": NOW}),
    (
        "MeterValues",
        {"connectorId": 1, "transactionId": 7, "meterValue": [{"timestamp": NOW, "sampledValue": [SAMPLE]}]},
    ),
    ("StopTransaction", {"transactionId": 7, "meterStop": 1300, "timestamp": NOW, "reason": "Local"}),
    ("DataTransfer", {"vendorId": "V", "messageId": "m", "data": "d"}),
    ("FirmwareStatusNotification", {"status": "Idle"}),
    ("SecurityEventNotification", {"type": "SettingSystemTime", "timestamp": NOW}),
)  # fmt: skip
GOOD_201: Final[tuple[tuple[str, Any], ...]] = (
    ("BootNotification", {"reason": "PowerUp", "chargingStation": {"vendorName": "V", "model": "M"}}),
    ("Heartbeat", {}),
    ("StatusNotification", {"timestamp": NOW, "connectorStatus": "Available", "evseId": 1, "connectorId": 1}),
    ("Authorize", {"idToken": {"idToken": "TAG", "type": "ISO14443"}}),
    (
        "TransactionEvent",
        {
            "eventType": "Started", "timestamp": NOW, "triggerReason": "Authorized", "seqNo": 0,
            "transactionInfo": {"transactionId": "t"}, "evse": {"id": 1, "connectorId": 1},
            "idToken": {"idToken": "TAG", "type": "ISO14443"},
            "meterValue": [{"timestamp": NOW, "sampledValue": [{"value": 1000}]}],
        },
    ),
    ("MeterValues", {"evseId": 1, "meterValue": [{"timestamp": NOW, "sampledValue": [{"value": 5}]}]}),
    ("NotifyEvent", {"generatedAt": NOW, "seqNo": 0, "eventData": []}),
    ("NotifyReport", {"requestId": 1, "generatedAt": NOW, "seqNo": 0}),
    ("DataTransfer", {"vendorId": "V", "data": {"a": [1, 2]}}),
)  # fmt: skip

# -- made by hand

HAND_MADE: Final[tuple[str, ...]] = (
    "", " ", "\x00", "\ufeff[]", "null", "true", "0", "-", "[", "]", "{", "}", '"', "[]", "{}", "[[]]", "[null]",
    "[2]", "[2,]", '[2,"a"]', '[2,"a",]', '[2,"a","Heartbeat"]', '[2,"a","Heartbeat",{},{},{}]',
    '[2,"a","Heartbeat",[{}]]',
    '[2.0,"a","Heartbeat",{}]', '[2e0,"a","Heartbeat",{}]', '[-2,"a","Heartbeat",{}]', '[2,2,"Heartbeat",{}]',
    '[2,"","Heartbeat",{}]', '[2,true,"Heartbeat",{}]', '[2,["a"],"Heartbeat",{}]', '[2,"a",null,{}]',
    '[2,"a",["x"],{}]',
    '[2,"a","heartbeat",{}]', '[2,"a","Heartbeat ",{}]', '[2,"a","__class__",{}]', '[2,"a","boot",{}]', '[2,"a","",{}]',
    '[2,"a","Heartbeat",{"a":1,"a":2}]', '[2,"a","Heartbeat",{"__proto__":{}}]', "[3]", "[4]", '[3,"x"]', '[4,"x",{}]',
    '[3,"x",null]', '[3,null,{}]', '[4,"x","y","z",[]]', '[5,"x",{}]', '[6,"x","Heartbeat",{}]',
    '[99999999999999999999]',
    "[" * 100_000, "[" * 60_000 + "]" * 60_000, '{"a":' * 50_000 + "1" + "}" * 50_000,
    '[2,"a","DataTransfer",{"vendorId":"V","data":' + "[" * 2_000 + "]" * 2_000 + "}]",
    '[2,"a","MeterValues",{"connectorId":' + "9" * 100_000 + "}]",
    '[2,"a","StopTransaction",{"transactionId":1e400,"meterStop":-1e400,"timestamp":""}]',
    '[2,"a","StopTransaction",{"transactionId":' + "1" * 5_000 + ',"meterStop":0.' + "3" * 5_000 + ',"timestamp":7}]',
    '[2,"a","StartTransaction",{"connectorId":-9223372036854775809,"idTag":"\\u0000",'
    '"meterStart":1e308,"timestamp":"x"}]',
    '[2,"a","StopTransaction",{"transactionId":NaN,"meterStop":Infinity,"timestamp":"2026-13-45T99:99:99Z"}]',
    '[2,"' + "i" * 100_000 + '","Heartbeat",{}]', '[2,"a","' + "A" * 100_000 + '",{}]',
    '[2,"\\ud800\\udc00\\ud800","Heartbeat",{}]',
    '[2,"a","DataTransfer",{"vendorId":"\\ud83d","data":"\\udfff"}]', '[2,"\\u202e\\u0007","Heartbeat",{}]',
    '[2,"a","StatusNotification",{"connectorId":1,"errorCode":"' + "e" * 50_000 + '","status":"Available"}]',
    '[2,"a","MeterValues",{"connectorId":1,"meterValue":[' + ",".join(["{}"] * 5_000) + "]}]",
    '[2,"a","MeterValues",{"connectorId":1,"meterValue":[,{}]}]', '[2,"a","BootNotification",[1,2,3]]',
    '[2,"a","TransactionEvent",{"eventType":"Ended","seqNo":1e99,"transactionInfo":[]}]',
    '[2,"a","NotifyReport",{"reportData":0}]',
    '[2,"a","Heartbeat",{}]' * 50, '[2,"a","Heartbeat",{}]\n\n\n', '/* c */[2,"a","Heartbeat",{}]',
    "[2,'a','Heartbeat',{}]",
    '[2,"a","DataTransfer",{"vendorId":"' + "v" * (2 * MIB - 200) + '"}]', "<xml/>", "GET / HTTP/1.1\r\n\r\n",
    "\u2028\u2029",
)  # fmt: skip

STRANGE: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**40, 0.5, -0.0, 1e308, float("nan"), float("inf"), "",
    " ", "0", "-1", "NaN", "null", "x" * 300, "\u0000", "\ud800", "🔌" * 20, "2026-01-02T03:04:05",
    "1970-01-01T00:00:00Z",
    "9999-99-99T99:99:99Z", [], {}, [[]], [{}], [None], {"": None}, {"value": "1"}, ["Wh", "Wh"],
)  # fmt: skip


def bred(seed: int, good: tuple[tuple[str, Any], ...], count: int) -> Iterator[str]:
    """`count` frames, each a good one with something done to it; the same seed breeds the same."""
    rng = random.Random(seed)
    for number in range(count):
        action, payload = rng.choice(good)
        frame: list[Any] = json.loads(json.dumps([2, f"{seed}-{number}", action, payload]))
        for _ in range(rng.randint(0, 3)):
            _bend(frame, rng)
        text = json.dumps(frame, ensure_ascii=rng.random() < 0.7)
        for _ in range(rng.choice((0, 0, 1, 3))):
            text = _tear(text, rng)
        yield text.encode("utf-8", "replace").decode()


def _bend(frame: list[Any], rng: random.Random) -> None:
    """Change one place of the frame's tree."""
    node: Any = frame
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.7:
            node = node[key]
            continue
        match rng.randint(0, 4):
            case 0:
                node[key] = rng.choice(STRANGE)
            case 1:
                del node[key]
            case 2:
                node[key] = [node[key]]
            case 3:
                for _ in range(rng.randint(1, 60)):
                    node[key] = {"deep": node[key]}
            case 4 if isinstance(node, dict):
                node[rng.choice(("extra", str(key).upper(), str(key) + "s", "connector_id", ""))] = node[key]
        return


def _tear(text: str, rng: random.Random) -> str:
    """Cut, double, or scatter something into the text."""
    if not text:
        return text
    here, there = sorted((rng.randrange(len(text)), rng.randrange(len(text))))
    match rng.randint(0, 3):
        case 0:
            return text[:here]
        case 1:
            return text[:there] + text[here:]
        case 2:
            return text[:here] + rng.choice('[]{}",:\\\x00e-9 \n\ud7ff') + text[here:]
        case _:
            return text[:here] + text[there:]


# -- below the text


def masked(payload: bytes, *, opcode: int = 1, final: bool = True, reserved: int = 0, mask: bool = True) -> bytes:
    """One WebSocket frame, right or wrong."""
    first = (0x80 if final else 0) | reserved << 4 | opcode
    bit = 0x80 if mask else 0
    if len(payload) < 126:
        head = struct.pack("!BB", first, bit | len(payload))
    elif len(payload) < 65536:
        head = struct.pack("!BBH", first, bit | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, bit | 127, len(payload))
    # A mask of zeros is a mask; it keeps ten megabytes quick to make.
    return head + (b"\0\0\0\0" if mask else b"") + payload


CALL: Final = b'[2,"f","Heartbeat",{}]'
HUGE: Final = b'[2,"h","DataTransfer",{"vendorId":"' + b"v" * (10 * MIB) + b'"}]'
BYTES: Final[dict[str, Callable[[], list[bytes]]]] = {
    "unmasked": lambda: [masked(CALL, mask=False)],
    "reserved_bits": lambda: [masked(CALL, reserved=bits) for bits in (1, 2, 4, 7)],
    "reserved_opcodes": lambda: [masked(CALL, opcode=3), masked(CALL, opcode=11)],
    "binary": lambda: [masked(os.urandom(300), opcode=2)],
    "not_utf8": lambda: [masked(b'[2,"\xff\xfe","Heartbeat",{}]'), masked(b"\xc3"), masked(b"\xed\xa0\x80")],
    "not_utf8_across_fragments": lambda: [masked(b'[2,"\xc3', final=False), masked(b'"]', opcode=0)],
    "empty": lambda: [masked(b"")] * 200,
    "pings": lambda: [masked(b"p" * 125, opcode=9)] * 500,
    "pongs_nobody_asked_for": lambda: [masked(b"", opcode=10)] * 500,
    "ping_too_long": lambda: [masked(b"p" * 126, opcode=9)],
    "ping_in_fragments": lambda: [masked(b"p", opcode=9, final=False)],
    "ping_between_fragments": lambda: [
        masked(CALL[:5], final=False), masked(b"", opcode=9), masked(CALL[5:], opcode=0),
    ],
    "continuation_of_nothing": lambda: [masked(CALL, opcode=0)],
    "text_inside_fragments": lambda: [masked(CALL[:5], final=False), masked(CALL)],
    "ten_thousand_fragments": lambda: [masked(b"[", final=False), *[masked(b"[", opcode=0, final=False)] * 10_000],
    "fragments_without_end": lambda: [masked(b"x" * MIB, opcode=0 if n else 1, final=False) for n in range(10)],
    "ten_megabytes": lambda: [masked(HUGE)],
    "ten_megabytes_announced": lambda: [struct.pack("!BBQ", 0x81, 0xFF, 10 * MIB) + b"\0\0\0\0" + b"[" * 100],
    "two_to_the_63": lambda: [struct.pack("!BBQ", 0x81, 0xFF, 2**63) + b"\0\0\0\0"],
    "long_form_of_a_short_length": lambda: [struct.pack("!BBQ", 0x81, 0xFF, 2) + b"\0\0\0\0[]"],
    "close_of_one_byte": lambda: [masked(b"\x03", opcode=8)],
    "close_with_a_forbidden_code": lambda: [masked(struct.pack("!H", 1005), opcode=8)],
    "close_not_utf8": lambda: [masked(struct.pack("!H", 1000) + b"\xff", opcode=8)],
    "talk_after_close": lambda: [masked(struct.pack("!H", 1000), opcode=8), masked(CALL) * 50],
    "half_a_frame": lambda: [masked(CALL)[:7]],
    "half_a_header": lambda: [b"\x81"],
    "noise": lambda: [random.Random(5).randbytes(4_000)],
}  # fmt: skip


# -- what plays it


def resident_mib(server: Server) -> float:
    """Memory of the server's process."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]  # every Linux has it


async def say(server: Server, identity: str, version: str, frames: list[str]) -> int:
    """Send the frames, 20 in a breath, and hear a heartbeat after each breath; how often the server hung up."""
    closures, at_frame = 0, 0
    while at_frame < len(frames):
        async with connect(
            f"{server.ocpp_url}/{identity}", subprotocols=[Subprotocol(version)], compression=None, max_size=None,
            ping_interval=None,
        ) as socket:  # fmt: skip
            try:
                while at_frame < len(frames):
                    breath = frames[at_frame : at_frame + 20]
                    at_frame += len(breath)
                    for text in breath:
                        await socket.send(text)
                    await _hear_alive(socket, f"alive-{at_frame}")
            except ConnectionClosed:
                closures += 1
                assert socket.close_code in CLEAN, (socket.close_code, socket.close_reason, breath)
    return closures


async def _hear_alive(socket: ClientConnection, message_id: str) -> None:
    await socket.send(json.dumps([2, message_id, "Heartbeat", {}]))
    async with asyncio.timeout(PATIENCE_S * 2):
        while True:
            answer = json.loads(await socket.recv())
            assert isinstance(answer, list)
            if answer[1] == message_id:
                assert answer[0] == 3, answer
                return


async def abuse(server: Server, identity: str, pieces: list[bytes]) -> None:
    """Write bytes to a socket that was opened properly; the server answers, closes, or waits, and we go."""
    host, port = server.ocpp_url.removeprefix("ws://").split("/")[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=4 * MIB)
    request = (
        f"GET /ocpp/{identity} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
    )
    writer.write(request.encode())
    try:
        async with asyncio.timeout(PATIENCE_S):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101"), head[:100]
            with suppress(ConnectionError):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                writer.write(masked(CALL.replace(b'"f"', b'"end"')))
                await writer.drain()
                with suppress(asyncio.IncompleteReadError):
                    await reader.readuntil(b'[3,"end"') if _goes_on(identity) else await reader.read(1)
    finally:
        writer.transport.abort()


def _goes_on(identity: str) -> bool:
    """Bytes after which the server must still answer the next frame on the same socket."""
    return identity.removeprefix("ABUSE-") in {
        "BINARY", "NOT_UTF8", "EMPTY", "PINGS", "PONGS_NOBODY_ASKED_FOR", "PING_BETWEEN_FRAGMENTS",
        "NOT_UTF8_ACROSS_FRAGMENTS", "LONG_FORM_OF_A_SHORT_LENGTH",
    }  # fmt: skip


async def play(server: Server, seed: int) -> int:
    """The whole corpus once; how many frames that were."""
    spoken = [
        (f"RUDE-{number}", version, list(HAND_MADE) if number < 2 else list(bred(seed + number, good, 300)))
        for number, (version, good) in enumerate([("ocpp1.6", GOOD_16), ("ocpp2.0.1", GOOD_201)] * 5)
    ]
    await asyncio.gather(*(say(server, *one) for one in spoken))
    for name, pieces in BYTES.items():
        await abuse(server, f"ABUSE-{name.upper()}", pieces())
    return sum(len(frames) for _, _, frames in spoken) + sum(len(pieces()) for pieces in BYTES.values())


@asynccontextmanager
async def charging_beside(server: Server) -> AsyncIterator[list[int]]:
    """A charger that charges all the while; every reading must be answered. The registers it has told."""
    told = [1000]
    async with Station16(server, "WELL-BEHAVED") as cp:
        await cp.boot()
        number = (await cp.start("TAG", told[0]))["transactionId"]

        async def charge() -> None:
            while True:
                told.append(told[-1] + 1)
                await cp.meter(number, told[-1])
                await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as tasks:
            charging = tasks.create_task(charge())
            yield told
            charging.cancel()
        await cp.stop(number, told[-1])


@pytest.mark.asyncio
async def test_nothing_that_is_sent_hurts_the_server_or_anybody_else(tmp_path: Path) -> None:
    settings = {"ocpp": {"handshakes_per_s": 2000, "ping_interval_s": 20, "silence_s": 120}}
    async with running(tmp_path, settings) as server:
        await token(server, "TAG")
        async with charging_beside(server) as told:
            count = await play(server, 1) + await play(server, 500)  # until the caches are as big as they get
            before_mib = resident_mib(server)
            for seed in (1000, 2000, 3000):
                count += await play(server, seed)
            grown_mib = resident_mib(server) - before_mib
            assert count > 10_000
            assert grown_mib < MOST_GROWTH_MIB, f"{grown_mib:.1f} MiB more after {count} frames"
            found = await charger(server, "WELL-BEHAVED")
            assert found["online"] is True
        over = await session(server, "WELL-BEHAVED")
        assert (over["open"], over["energy_wh"], over["cases"]) == (False, told[-1] - told[0], [])
        assert len(told) > 20
        stored = 0
        cursor = ""
        while True:
            page = await server.api("GET", f"/api/v1/sessions/{over['id']}/samples?limit=500{cursor}")
            stored += len(page["items"])
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert stored == len(told) - 1  # every reading it was answered for
        await until(lambda: _nobody_is_left(server))
        ready = await server.api("GET", "/readyz")
        assert ready["status"] == "ready"


async def _nobody_is_left(server: Server) -> bool:
    """Every socket was given back: no task of a connection that has gone stays behind."""
    metrics = str(await server.api("GET", "/metrics"))
    found = re.search(r"^csms_links (\S+)$", metrics, re.MULTILINE)
    return found is not None and float(found[1]) == 0


def test_the_generator_breeds_the_same_again() -> None:
    one, two = (list(bred(7, GOOD_16, 200)) for _ in range(2))
    assert one == two
    assert len(set(one)) > 190
