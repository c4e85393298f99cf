"""The WebSocket of one charger: the `websockets` server connection with a short cut for the common frame.

Nearly everything a charger sends is a whole, unfragmented, masked text frame in one TCP segment. `data_received`
parses those in place and hands the text on; whatever else comes (control frames, fragments, frames in pieces,
closing) takes the library's own road, and so does everything that follows it until no byte is left over. That is
half the price per message of the library alone, and the library still owns the protocol's state.

There is no task, queue or future per message. `heard_ms` is when any byte last came, on the server's steady clock.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State
from websockets.speedups import apply_mask

OPEN: Final = State.OPEN

_FINAL_TEXT: Final = 0x81
_MASKED: Final = 0x80
_SHORT_HEADERS: Final = tuple(bytes((_FINAL_TEXT, length)) for length in range(126))
_PING: Final = b"\x89\x00"

# RFC 6455 5.5: a control frame holds 125 bytes, two of them the code.
_LONGEST_REASON: Final = 123

# How long a charger has to answer our close before the socket is torn down; a live one takes milliseconds.
_LINGER_S: Final = 5.0

# Frames that may arrive between the handshake's answer and the link: a client that does not wait for it.
_MOST_EARLY_FRAMES: Final = 16

# Keep-alive finds a half-open socket below the WebSocket (OCPP.md 6.2): first probe after 60 s, then each 15 s,
# four in all; and what was sent must be acknowledged within 90 s. Names differ between platforms; absent is skipped.
_SOCKET_OPTIONS: Final = (
    (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 60),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 15),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 4),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 90_000),
)


class ChargerConnection(ServerConnection):
    """Made by the server for every TCP connection; `attach` gives it someone to talk to after the handshake."""

    # Set on the subclass that a server makes for itself.
    steady: Callable[[], int]
    on_abandoned: Callable[[ChargerConnection], None]
    sockets: set[ChargerConnection]
    """Every TCP connection there is, in whatever state."""
    is_relic: bool = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heard_ms = self.steady()
        self.fragments = 0
        self.admission: object | None = None  # the server's note between the two halves of the handshake
        self.identity: str | None = None
        self._on_text: Callable[[bytes], None] | None = None
        self._on_lost: Callable[[int], None] | None = None
        self._early: list[bytes] = []
        self._message: bytearray | None = None
        self._pauses: set[str] = set()
        self._shutting = False
        self._teardown: asyncio.TimerHandle | None = None

    def attach(self, on_text: Callable[[bytes], None], on_lost: Callable[[int], None]) -> None:
        """From now on give every text to `on_text`, in order, and the close code to `on_lost`, once."""
        self._on_text, self._on_lost = on_text, on_lost
        early, self._early = self._early, []
        for text in early:
            on_text(text)

    # Receiving

    def data_received(self, data: bytes) -> None:
        self.heard_ms = self.steady()
        protocol = self.protocol
        on_text = self._on_text
        if (
            on_text is None
            or self._shutting
            or protocol.state is not OPEN
            or protocol.reader.buffer  # a frame is under way in pieces
            or protocol.current_size is not None  # a message is under way in fragments
        ):
            self._receive_slowly(data)
            return
        position, end = 0, len(data)
        # A header needs two bytes, the mask four; the library refuses what is not masked.
        while end - position >= 6 and data[position] == _FINAL_TEXT and data[position + 1] & _MASKED:
            length = data[position + 1] & ~_MASKED
            mask = position + 2
            if length > 125:
                size = 2 if length == 126 else 8
                length = int.from_bytes(data[mask : mask + size], "big")
                mask += size
            start = mask + 4
            stop = start + length
            limit = protocol.max_message_size
            if stop > end or (limit is not None and length > limit):
                break
            on_text(apply_mask(data[start:stop], data[mask:start]))
            position = stop
            if position == end:
                return
        self._receive_slowly(data[position:] if position else data)

    def _receive_slowly(self, data: bytes) -> None:
        super().data_received(data)
        if self._on_lost is not None and not self._shutting and self.protocol.state is not OPEN:
            # The charger said goodbye, or broke the protocol. Nothing more will come, so the link ends here; some
            # stacks then leave the TCP connection open for minutes.
            self._shutting = True
            self._teardown = self.loop.call_later(_LINGER_S, self.transport.abort)
            self._end()

    def _end(self) -> None:
        on_lost, self._on_lost, self._on_text = self._on_lost, None, None
        if on_lost is not None:
            close = self.protocol.close_rcvd or self.protocol.close_sent
            on_lost(1006 if close is None else int(close.code))

    def process_event(self, event: Event) -> None:
        """What the library parsed: the handshake's request, and every frame the short cut did not take."""
        if not isinstance(event, Frame):
            super().process_event(event)
        elif event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            # A binary frame is read as text: OCPP has no other use for one, and some stacks mix them up.
            self._collect(event)
        else:
            super().process_event(event)

    def _collect(self, frame: Frame) -> None:
        if self._message is None:
            if frame.fin:
                self._deliver(bytes(frame.data))
                return
            self._message = bytearray()
        self.fragments += 1
        self._message += frame.data  # the library bounds the sum by max_size
        if frame.fin:
            text, self._message = bytes(self._message), None
            self._deliver(text)

    def _deliver(self, text: bytes) -> None:
        if self._shutting:  # we hung up; what is not answered will be repeated
            return
        if self._on_text is not None:
            self._on_text(text)
        elif len(self._early) < _MOST_EARLY_FRAMES:
            self._early.append(text)

    # Sending

    def send_text(self, text: bytes) -> bool:
        """Write one text frame in one go. False: the socket is closing and nothing was written."""
        if self.protocol.state is not OPEN or self.transport.is_closing():
            return False
        length = len(text)
        if length < 126:
            header = _SHORT_HEADERS[length]
        elif length < 65536:
            header = struct.pack("!BBH", _FINAL_TEXT, 126, length)
        else:
            header = struct.pack("!BBQ", _FINAL_TEXT, 127, length)
        self.transport.write(header + text)
        return True

    def send_ping(self) -> None:
        """Ask for a sign of life. The answer counts like any other byte."""
        if self.protocol.state is OPEN and not self.transport.is_closing():
            self.transport.write(_PING)

    def shut(self, code: int, reason: str, *, linger_s: float = _LINGER_S) -> None:
        """Send a close frame now and tear the socket down soon, answered or not. Nothing is delivered after."""
        if self._shutting:
            return
        self._shutting = True
        if self.protocol.state is OPEN and not self.transport.is_closing():
            self.protocol.send_close(code, reason.encode()[:_LONGEST_REASON].decode(errors="ignore"))
            self.send_data()
        if self._pauses:  # the answer to the close wants reading
            self._pauses.clear()
            self.transport.resume_reading()
        if linger_s <= 0:
            self.transport.abort()
        elif not self.transport.is_closing():
            self._teardown = self.loop.call_later(linger_s, self.transport.abort)

    # Back-pressure

    @property
    def is_paused(self) -> bool:
        """Whether we are the ones who do not listen."""
        return bool(self._pauses)

    def pause(self, reason: str) -> None:
        """Stop reading until every reason given has been taken back; TCP makes the charger wait."""
        if not self._pauses and not self._shutting and not self.transport.is_closing():
            self.transport.pause_reading()
        if not self._shutting:
            self._pauses.add(reason)

    def resume(self, reason: str) -> None:
        """Take back one reason."""
        if reason not in self._pauses:
            return
        self._pauses.discard(reason)
        if not self._pauses and not self.transport.is_closing():
            self.heard_ms = self.steady()  # the silence was ours
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.pause("writing")  # a charger that does not read our answers gets to send no more questions

    def resume_writing(self) -> None:
        super().resume_writing()
        self.resume("writing")

    # Life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.sockets.add(self)
        sock = transport.get_extra_info("socket")
        if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
            return
        for level, name, value in _SOCKET_OPTIONS:
            option = getattr(socket, name, None)
            if option is not None:
                sock.setsockopt(level, option, value)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.sockets.discard(self)
        if self._teardown is not None:
            self._teardown.cancel()
            self._teardown = None
        self._end()
        if self.admission is not None:  # admitted, and no link came of it
            self.on_abandoned(self)
