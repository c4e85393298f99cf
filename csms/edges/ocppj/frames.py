"""OCPP-J frames: text to message and back (OCPP 1.6J 4.2; 2.0.1 Part 4, 4.2).

`parse` accepts any bytes whatever and never raises: it returns a message, or a `Malformed` that says what is
wrong and what a CALLERROR about it would say. It knows shapes only; whether a payload fits its action is the
schemas' business. `encode_*` write compact JSON, members in the order the caller gave.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from csms.edges.ocppj.codes import Fault, Version, error_code

CALL: Final = 2
CALL_RESULT: Final = 3
CALL_ERROR: Final = 4

# The specification allows 36 characters. Longer ones exist and are echoed; what no generator makes is refused,
# because answered ids are remembered.
LONGEST_MESSAGE_ID: Final = 255

# No OCPP message nests deeper than a dozen levels; deeper is an attack or an accident (OCPP.md 6.2).
DEEPEST_NESTING: Final = 32

# 2.0.1 Part 4, 4.2.3: a CALLERROR about a message whose id cannot be read carries "-1".
UNREADABLE_ID: Final = "-1"

LONGEST_DESCRIPTION: Final = 255


@dataclass(frozen=True, slots=True)
class Call:
    """The peer asks. `payload` is `{}` when it sent null; `echo` is its id as JSON, to be given back as it came."""

    message_id: str
    action: str
    payload: object
    echo: bytes


@dataclass(frozen=True, slots=True)
class Result:
    """The peer answers."""

    message_id: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Error:
    """The peer declines. A missing or null description is empty, missing details are `{}`."""

    message_id: str
    code: str
    description: str
    details: object


@dataclass(frozen=True, slots=True)
class Malformed:
    """Not a message. `fault` is None where nothing may be answered: the frame was empty or itself an answer."""

    reason: str
    message_id: str | None = None
    fault: Fault | None = None
    echo: bytes | None = None

    def error_code(self, version: Version) -> str | None:
        """The name `version` has for the fault, None when nothing may be answered."""
        return None if self.fault is None else error_code(version, self.fault)


Frame = Call | Result | Error | Malformed


def parse(text: bytes | str) -> Frame:
    """Read one frame. Any input is allowed; nothing is raised."""
    if not text.strip():
        return Malformed("the frame is empty")
    try:
        frame = msgspec.json.decode(text)
    except RecursionError:
        return Malformed("nested too deeply", fault=Fault.RPC)
    except (msgspec.MsgspecError, UnicodeError, ValueError) as error:
        frame = _nearly_json(text)
        if frame is None:
            return Malformed(f"not JSON: {error}", fault=Fault.RPC)
    if not isinstance(frame, list):
        return Malformed("the frame is not an array", fault=Fault.RPC)
    if is_too_deep(frame):
        return _broken(frame, "nested too deeply")
    match frame:
        case [kind, *_] if kind not in (CALL, CALL_RESULT, CALL_ERROR):
            return _unknown_kind(frame)
        case [2, *_]:
            return _call(frame)
        case [3, *_]:
            return _result(frame)
        case [4, *_]:
            return _error(frame)
        case _:
            return Malformed("the array is empty", fault=Fault.RPC)


def _nearly_json(text: bytes | str) -> Any:
    """What chargers send and JSON forbids: NaN, numbers beyond any double, half characters, bytes that are no UTF-8.

    None when it is none of these. A number that is none stays as its text, so that the schema finds it and a money
    frame is kept aside with it, instead of being lost for one bad sample.
    """
    said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    try:
        frame = json.loads(said, parse_constant=str, parse_float=_finite, strict=False)
        return msgspec.json.decode(json.dumps(frame, ensure_ascii=False).encode("utf-8", "replace"))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def is_too_deep(value: object) -> bool:
    """Whether `value` nests deeper than any OCPP message does."""
    layer = [value]
    for _ in range(DEEPEST_NESTING):
        below: list[object] = []
        for item in layer:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return False
        layer = below
    return any(isinstance(item, dict | list) for item in layer)


def _read_id(frame: list[Any]) -> tuple[str, bytes] | None:
    """The message id as text and as the JSON to echo. Numbers are no strings, but some chargers count."""
    if len(frame) < 2:
        return None
    value = frame[1]
    if isinstance(value, str):
        return (value, msgspec.json.encode(value)) if len(value) <= LONGEST_MESSAGE_ID else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        echo = msgspec.json.encode(value)
        return (echo.decode(), echo) if len(echo) <= LONGEST_MESSAGE_ID else None
    return None


def _broken(frame: list[Any], reason: str, fault: Fault = Fault.RPC) -> Malformed:
    """A frame that is wrong but whose id may be readable. An answer is never answered."""
    known = _read_id(frame)
    message_id, echo = known if known else (None, None)
    is_answer = bool(frame) and frame[0] in (CALL_RESULT, CALL_ERROR)
    return Malformed(reason, message_id, None if is_answer else fault, echo)


def _more_or_less(frame: list[Any], wanted: int) -> str:
    """Without the number: reasons are counted by their words, and nobody may invent as many as he likes."""
    return "more" if len(frame) > wanted else "fewer"


def _unknown_kind(frame: list[Any]) -> Malformed:
    return _broken(frame, "the message type is unknown", Fault.MESSAGE_TYPE)


def _call(frame: list[Any]) -> Frame:
    known = _read_id(frame)
    if known is None:
        return Malformed("the message id cannot be read", fault=Fault.RPC)
    if len(frame) != 4:
        return _broken(frame, f"a CALL has 4 elements, this one has {_more_or_less(frame, 4)}")
    action, payload = frame[2], frame[3]
    if not isinstance(action, str):
        return _broken(frame, "the action is not a string")
    return Call(known[0], action, {} if payload is None else payload, known[1])


def _result(frame: list[Any]) -> Frame:
    known = _read_id(frame)
    if known is None:
        return Malformed("the message id of a CALLRESULT cannot be read")
    if len(frame) != 3:
        return _broken(frame, f"a CALLRESULT has 3 elements, this one has {_more_or_less(frame, 3)}")
    payload = {} if frame[2] is None else frame[2]
    if not isinstance(payload, dict):
        return _broken(frame, "the payload of a CALLRESULT is not an object")
    return Result(known[0], payload)


def _error(frame: list[Any]) -> Frame:
    """However short or odd, it declines: whoever asked is told so now instead of waiting for nothing (T5)."""
    known = _read_id(frame)
    if known is None:
        return Malformed("the message id of a CALLERROR cannot be read")
    code = frame[2] if len(frame) > 2 and isinstance(frame[2], str) else "GenericError"
    description = frame[3] if len(frame) > 3 else None
    details = frame[4] if len(frame) > 4 else None
    text = "" if description is None else description
    return Error(
        known[0],
        code,
        text if isinstance(text, str) else msgspec.json.encode(text).decode(),
        {} if details is None else details,
    )


# A Decimal would become a JSON string by default; OCPP wants numbers.
_encoder: Final = msgspec.json.Encoder(decimal_format="number")

Payload = bytes | Mapping[str, Any] | msgspec.Struct
"""A JSON object: encoded already, or about to be."""


def encode_payload(payload: Payload) -> bytes:
    """Compact JSON of an object. Bytes are taken to be that already."""
    return payload if isinstance(payload, bytes) else _encoder.encode(payload)


def encode_id(message_id: str) -> bytes:
    """A message id as a JSON string."""
    return _encoder.encode(message_id)


def encode_call(message_id: str, action: str, payload: Payload) -> bytes:
    """`[2,id,action,payload]`."""
    return b"[2,%b,%b,%b]" % (encode_id(message_id), _encoder.encode(action), encode_payload(payload))


def encode_result(echo: bytes, payload: Payload) -> bytes:
    """`[3,id,payload]`; `echo` is the asker's id as JSON."""
    return b"[3,%b,%b]" % (echo, encode_payload(payload))


def encode_error(echo: bytes, code: str, description: str = "", details: Mapping[str, Any] | None = None) -> bytes:
    """`[4,id,code,description,details]`, the description cut to what both versions allow."""
    return b"[4,%b,%b,%b,%b]" % (
        echo,
        _encoder.encode(code),
        _encoder.encode(description[:LONGEST_DESCRIPTION]),
        _encoder.encode(details or {}),
    )


def reply_to_malformed(bad: Malformed, version: Version) -> bytes | None:
    """The CALLERROR a malformed frame deserves, None when silence is right.

    1.6 ignores unknown message types (OCPP.md T7) and has no id to answer an unreadable one with.
    """
    if bad.fault is None:
        return None
    if version is Version.V16 and (bad.echo is None or bad.fault is Fault.MESSAGE_TYPE):
        return None
    echo = encode_id(UNREADABLE_ID) if bad.echo is None else bad.echo
    return encode_error(echo, error_code(version, bad.fault), bad.reason)
