"""One charger's WebSocket to the server under test: blocking handshake and calls, and the slow path of the hot loop."""

from __future__ import annotations

import json
import socket
import ssl
import time
from functools import cache
from typing import Any

from . import BenchError
from .frames import CLOSE_FINAL, PONG_FINAL, frame

# Feeder restoration limits answer 503 with Retry-After (OCPP 6.2 "handshake rate"); a benchmark charger waits as told.
CONNECT_PATIENCE_S = 60.0
ANSWER_TIMEOUT_S = 30.0  # the shortest CALL timeout a charger is known to use

PING, PONG, CLOSE, TEXT = 0x9, 0xA, 0x8, 0x1

# What a plain charger answers when the server asks it something while it is under load.
OWN_ANSWERS: dict[str, Any] = {
    "GetConfiguration": {"configurationKey": [], "unknownKey": []},
    "ChangeConfiguration": {"status": "NotSupported"},
    "TriggerMessage": {"status": "NotImplemented"},
    "GetLocalListVersion": {"listVersion": -1},
    "ClearChargingProfile": {"status": "Unknown"},
    "SetChargingProfile": {"status": "NotSupported"},
    "ChangeAvailability": {"status": "Accepted"},
}


class Link:
    """A connected charger. `sock` is blocking; the hot loop reads it only when epoll says there is something."""

    def __init__(self, host: str, port: int, ident: str, tls: bool = False) -> None:
        self.ident = ident
        self.server_calls = 0
        self.closed = False
        self._pending = b""
        deadline = time.monotonic() + CONNECT_PATIENCE_S
        while True:
            self.sock = socket.create_connection((host, port), timeout=ANSWER_TIMEOUT_S)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                self.sock = _tls().wrap_socket(self.sock)
            status, head = self._upgrade(host, port)
            if status == 101:
                return
            self.sock.close()
            if status != 503 or time.monotonic() > deadline:
                raise BenchError(f"{ident} was not let in: HTTP {status}\n{head}")
            time.sleep(min(_retry_after_s(head), 2.0))

    def _upgrade(self, host: str, port: int) -> tuple[int, str]:
        self.sock.sendall(
            (
                f"GET /ocpp/{self.ident} HTTP/1.1\r\nHost: {host}:{port}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
            ).encode()
        )
        data = b""
        while b"\r\n\r\n" not in data:
            chunk = self.sock.recv(4096)
            if not chunk:
                break
            data += chunk
        head, _, self._pending = data.partition(b"\r\n\r\n")
        text = head.decode("latin-1")
        parts = text.split(" ", 2)
        return (int(parts[1]) if len(parts) > 1 else 0), text

    def texts(self, data: bytes) -> list[bytes]:
        """The answers in `data` (and what waited before it). Pings and the server's own calls are answered here."""
        answers: list[bytes] = []
        rest = self._pending + data
        while True:
            opcode, payload, rest, whole = _split(rest)
            if not whole:
                self._pending = rest
                return answers
            if opcode == PING:
                self.sock.sendall(frame(payload, PONG_FINAL))
            elif opcode == CLOSE:
                self.closed = True
            elif opcode == TEXT:
                if payload.startswith(b"[2"):
                    self._answer(payload)
                else:
                    answers.append(payload)
            elif opcode != PONG:
                raise BenchError(f"{self.ident}: unexpected frame, opcode {opcode}")

    def _answer(self, payload: bytes) -> None:
        _, message_id, action, *_ = json.loads(payload)
        self.server_calls += 1
        known = OWN_ANSWERS.get(action)
        answer = [3, message_id, known] if known is not None else [4, message_id, "NotSupported", "", {}]
        self.sock.sendall(frame(json.dumps(answer, separators=(",", ":")).encode()))

    def call(self, ready_frame: bytes) -> Any:
        """Send one ready frame and wait for its CALLRESULT; its payload. A CALLERROR is a BenchError."""
        self.sock.settimeout(ANSWER_TIMEOUT_S)
        self.sock.sendall(ready_frame)
        while True:
            answers = self.texts(self.sock.recv(65536) or self._gone())
            if answers:
                message = json.loads(answers[0])
                if message[0] != 3:
                    raise BenchError(f"{self.ident} was refused: {answers[0].decode()[:300]}")
                self.sock.settimeout(None)
                return message[2]

    def _gone(self) -> bytes:
        raise BenchError(f"{self.ident}: the server closed the connection")

    def close(self) -> None:
        """Say goodbye as RFC 6455 wants it; a server that is gone already is no fault here."""
        try:
            self.sock.sendall(frame((1000).to_bytes(2, "big"), CLOSE_FINAL))
        except OSError:
            pass
        finally:
            self.sock.close()


@cache
def _tls() -> ssl.SSLContext:
    """Made once: reading the system's roots takes longer than the handshake that is to be measured."""
    context = ssl.create_default_context()
    context.check_hostname = False  # a throwaway certificate on loopback
    context.verify_mode = ssl.CERT_NONE
    return context


def _split(data: bytes) -> tuple[int, bytes, bytes, bool]:
    """First frame of `data`: opcode, payload, the rest, and whether a whole frame was there at all."""
    if len(data) < 2:
        return 0, b"", data, False
    length, start = data[1] & 0x7F, 2
    if length == 126:
        length, start = int.from_bytes(data[2:4], "big"), 4
    elif length == 127:
        length, start = int.from_bytes(data[2:10], "big"), 10
    if len(data) < start + length:
        return 0, b"", data, False
    return data[0] & 0x0F, data[start : start + length], data[start + length :], True


def _retry_after_s(head: str) -> float:
    for line in head.splitlines():
        name, _, value = line.partition(":")
        if name.lower() == "retry-after" and value.strip().isdigit():
            return float(value)
    return 0.2
