"""OCPP-J on one WebSocket, from the station's side, on the message tables of the `ocpp` package.

The framing is written here rather than taken from that package's ChargePoint, because a witness must be able to
send the same frame twice, to answer late and to leave an answer unread. Both directions are checked against
the package's JSON schemas; what the other side breaks is told to `complain`, not swallowed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from jsonschema.exceptions import ValidationError  # type: ignore[import-untyped]  # ships no stubs
from ocpp.charge_point import remove_nones, serialize_as_dict, snake_to_camel_case
from ocpp.messages import get_validator
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from simulators.transcript import Transcript

Payload = dict[str, Any]
Version = Literal["1.6", "2.0.1"]
# What a handler gives back: the payload, and what to do once it has been sent.
Answer = tuple[Payload, Callable[[], None] | None]
Handler = Callable[[str, Payload], Awaitable[Answer | None]]

CALL, CALLRESULT, CALLERROR = 2, 3, 4
# These schemas say `multipleOf: 0.1`, which only decimals can be held to.
DECIMAL_ACTIONS = {"SetChargingProfile", "RemoteStartTransaction", "GetCompositeSchedule"}


class LinkLostError(Exception):
    """The socket went away before the answer came."""


class CallTimeoutError(Exception):
    """No answer in time."""


class CallRefusedError(Exception):
    """The other side answered with a CALLERROR."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code


class RefuseError(Exception):
    """Raised by a handler: answer this CALL with a CALLERROR of this code."""

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.description = description


def payload_of(message: Any) -> Payload:
    """One of the `ocpp` package's message dataclasses as the JSON object that goes on the wire."""
    payload: Payload = snake_to_camel_case(remove_nones(serialize_as_dict(message)))
    return payload


def schema_fault(kind: int, action: str, payload: Payload, version: Version) -> str | None:
    """Why `payload` breaks the schema of `action` (CALL or CALLRESULT), or `None`. Unknown actions pass."""
    try:
        if version == "1.6" and action in DECIMAL_ACTIONS:
            payload = json.loads(json.dumps(payload), parse_float=Decimal)
            validator = get_validator(kind, action, version, parse_float=Decimal)
        else:
            validator = get_validator(kind, action, version)
    except OSError:
        return None
    try:
        validator.validate(payload)
    except ValidationError as fault:
        return f"{action}: {fault.message} at /{'/'.join(str(step) for step in fault.absolute_path)}"
    return None


@dataclass(slots=True)
class Pending:
    action: str
    answer: asyncio.Future[Payload]


class Wire:
    """One connection. `run` reads until the socket ends; `call` may be used meanwhile.

    `handler(action, payload)` answers the other side's CALLs; it returns `None` to leave one unanswered,
    raises `RefuseError` for a CALLERROR, and must not itself wait for a CALL.
    """

    def __init__(
        self,
        socket: ClientConnection,
        *,
        version: Version,
        who: str,
        handler: Handler,
        transcript: Transcript,
        complain: Callable[[str], None],
        answer_delay_s: float = 0.0,
        check_schemas: bool = True,
    ) -> None:
        self.socket = socket
        self.version = version
        self.who = who
        self.handler = handler
        self.transcript = transcript
        self.complain = complain
        self.answer_delay_s = answer_delay_s
        self.check_schemas = check_schemas
        self.is_muted = False  # half-open: nothing leaves, nothing is read any more
        self._pending: dict[str, Pending] = {}

    async def call(
        self,
        message_id: str,
        action: str,
        payload: Payload,
        *,
        timeout_s: float,
        followed_by: Sequence[list[Any]] = (),
    ) -> Payload:
        """Send a CALL, then the frames that (wrongly) follow it at once, and wait for the CALL's answer.

        Raises LinkLostError, CallTimeoutError or CallRefusedError.
        """
        if self.check_schemas and (fault := schema_fault(CALL, action, payload, self.version)):
            self.transcript.add(self.who, "note", f"knowingly breaking the schema: {fault}")
        future: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
        self._pending[message_id] = Pending(action, future)
        try:
            await self.send([CALL, message_id, action, payload])
            for frame in followed_by:
                await self.send(frame)
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise CallTimeoutError(f"no answer to {action} within {timeout_s} s") from None
        finally:
            self._pending.pop(message_id, None)

    async def send(self, frame: list[Any]) -> None:
        """Send any frame as it is. Raises LinkLostError."""
        if self.is_muted:
            raise LinkLostError("half open")
        # Noted first: an answer must never stand above its question in the transcript.
        self.transcript.add(self.who, "sent", frame)
        try:
            await self.socket.send(json.dumps(frame, ensure_ascii=False, separators=(",", ":")))
        except ConnectionClosed as gone:
            raise LinkLostError(str(gone)) from gone

    async def run(self) -> None:
        """Read until the socket ends; then every waiting CALL fails with LinkLostError."""
        try:
            async for text in self.socket:
                if self.is_muted:
                    break
                await self._receive(text)
        except (ConnectionClosed, LinkLostError) as gone:
            self.transcript.add(self.who, "note", f"link ended: {gone}")
        finally:
            self.fail_pending()

    def fail_pending(self) -> None:
        """Tell everyone who waits that no answer will come."""
        for waiting in list(self._pending.values()):
            if not waiting.answer.done():
                waiting.answer.set_exception(LinkLostError("the link was lost before the answer came"))

    async def _receive(self, text: str | bytes) -> None:
        try:
            frame = json.loads(text)
            kind, message_id = frame[0], frame[1]
        except (ValueError, LookupError, TypeError):
            self.complain(f"not an OCPP-J frame: {text[:200]!r}")
            return
        self.transcript.add(self.who, "received", frame)
        match kind:
            case 2 if len(frame) == 4:
                await self._answer(message_id, frame[2], frame[3])
            case 3 if len(frame) == 3:
                self._result(message_id, frame[2])
            case 4 if len(frame) == 5:
                self._error(message_id, frame[2], frame[3])
            case _:
                self.complain(f"a frame of unknown shape: {text[:200]!r}")

    def _result(self, message_id: str, payload: Payload) -> None:
        waiting = self._pending.get(message_id)
        if waiting is None or waiting.answer.done():
            return  # the second answer to a frame we sent twice, or one that came too late
        if self.check_schemas and (fault := schema_fault(CALLRESULT, waiting.action, payload, self.version)):
            self.complain(f"an answer that breaks its schema: {fault}")
        waiting.answer.set_result(payload)

    def _error(self, message_id: str, code: str, description: str) -> None:
        waiting = self._pending.get(message_id)
        if waiting is not None and not waiting.answer.done():
            waiting.answer.set_exception(CallRefusedError(code, description))

    async def _answer(self, message_id: str, action: str, payload: Payload) -> None:
        if self.check_schemas and (fault := schema_fault(CALL, action, payload, self.version)):
            self.complain(f"a request that breaks its schema: {fault}")
            # The spelling of the code is the one of each version's own table (OCPP 4.1 T6).
            code = "FormationViolation" if self.version == "1.6" else "FormatViolation"
            await self.send([CALLERROR, message_id, code, fault[:255], {}])
            return
        try:
            answer = await self.handler(action, payload)
        except RefuseError as refusal:
            await self.send([CALLERROR, message_id, refusal.code, refusal.description, {}])
            return
        if answer is None:
            return
        if self.answer_delay_s:
            await asyncio.sleep(self.answer_delay_s)
        result, then = answer
        await self.send([CALLRESULT, message_id, result])
        if then is not None:
            then()
