"""The protocol versions we speak and the names each gives to the same fault.

1.6 and 2.0.1 spell two error codes differently and 2.0.1 knows two more (OCPP 1.6J 4.2.3; 2.0.1 Part 4, 4.3).
Code names the fault once, as a `Fault`; only the wire sees the spelling.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Final


class Version(StrEnum):
    """An OCPP version; its value is the WebSocket subprotocol of the same name."""

    V16 = "ocpp1.6"
    V201 = "ocpp2.0.1"


class Fault(Enum):
    """Why a CALL is not answered with a result."""

    NOT_IMPLEMENTED = "the action is unknown"
    NOT_SUPPORTED = "the action is known but not offered"
    INTERNAL = "our own failure; the charger may repeat the message"
    PROTOCOL = "the payload is incomplete"
    SECURITY = "not allowed now"
    FORMATION = "the payload is not what the action's structure asks for"
    PROPERTY = "a field holds a value that is not allowed"
    OCCURRENCE = "a field is missing or there are too many of it"
    TYPE = "a field has the wrong data type"
    GENERIC = "anything else"
    RPC = "the array itself is not a valid message"
    MESSAGE_TYPE = "the message type number is unknown"


_V201: Final = {
    Fault.NOT_IMPLEMENTED: "NotImplemented",
    Fault.NOT_SUPPORTED: "NotSupported",
    Fault.INTERNAL: "InternalError",
    Fault.PROTOCOL: "ProtocolError",
    Fault.SECURITY: "SecurityError",
    Fault.FORMATION: "FormatViolation",
    Fault.PROPERTY: "PropertyConstraintViolation",
    Fault.OCCURRENCE: "OccurrenceConstraintViolation",
    Fault.TYPE: "TypeConstraintViolation",
    Fault.GENERIC: "GenericError",
    Fault.RPC: "RpcFrameworkError",
    Fault.MESSAGE_TYPE: "MessageTypeNotSupported",
}

# 1.6 has no name for a broken frame or an unknown message type; the nearest of its ten are used.
_V16: Final = _V201 | {
    Fault.FORMATION: "FormationViolation",
    Fault.OCCURRENCE: "OccurenceConstraintViolation",  # one r: the specification's own spelling
    Fault.RPC: "FormationViolation",
    Fault.MESSAGE_TYPE: "GenericError",
}

ERROR_CODES: Final[dict[Version, dict[Fault, str]]] = {Version.V16: _V16, Version.V201: _V201}


def error_code(version: Version, fault: Fault) -> str:
    """The name `version` has for `fault` in a CALLERROR."""
    return ERROR_CODES[version][fault]
