"""What the outbound halves of both OCPP versions share: the shape of an answer, and asking a command for its parts.

A transport-neutral command is a kind and a flat payload; its members are named here once:

    Start              token, evse?, connector?, remote_start_id?, token_kind?, watts? | amperes?, budget?
    Stop               tx_id
    Unlock             evse, connector
    Reset              hard?, evse?
    Availability       operative, evse?, connector?          (none, or 0: the whole station)
    Trigger            message, evse?, connector?
    GetConfig          keys? | component, variable, instance?, attribute?    (nothing: everything; 2.0.1: request_id)
    SetConfig          key, value | component, variable, value, instance?, attribute?
    Reserve            reservation_id, token, expires_ms, evse?, connector?, group?, token_kind?, connector_type?
    CancelReservation  reservation_id
    ClearCache
    DataTransfer       vendor_id, message_id?, data?
    SetDisplayMessage  message                                   (2.0.1: a MessageInfo as it stands on the wire)
    ClearDisplayMessage  message_no                              (2.0.1)
    GetDisplayMessages request_id, numbers?, priority?, state?   (2.0.1)
    Limit              tx_id, evse, connector, watts | amperes, phases?, profile_id?, stack_level?
    SetProfile         profile, evse?, connector?                (in OCPP's shape; no place: the whole charger)
    ClearProfile       profile_id? | evse?, connector?, purpose?, stack_level?
    CompositeSchedule  duration_s, unit?, evse?, connector?
    GetProfiles        request_id, evse?, purpose?, stack_level?, profile_ids?, sources?           (2.0.1)

1.6 knows connectors only: `connector` is taken, or `evse` where no connector is given. OCPP has no field for a
`budget` of energy, time or money: it is kept by stopping in time, never by the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from csms.domain.refusal import Refusal, Why

Payload = dict[str, Any]
Call = tuple[str, Payload]
Build = Callable[[Mapping[str, Any], frozenset[str]], Call]

ACCEPTED_WORDS: Final = frozenset(
    {"Accepted", "Scheduled", "RebootRequired", "Unlocked", "AcceptedCanceled", "Unpublished"}
)
UNREADABLE: Final = "Unreadable"


class Answer(NamedTuple):
    """A station's answer: will it do it, its own word for it, and the rest of what it said."""

    accepted: bool
    status: str
    detail: Payload


def build(table: Mapping[str, Build], kind: str, payload: Mapping[str, Any], quirks: frozenset[str]) -> Call:
    """The call for a command. Raises `Refusal` for a kind the version does not have or a missing member."""
    try:
        make = table[kind]
    except KeyError:
        raise Refusal(Why.NOT_SUPPORTED, f"The OCPP version of this charger has no {kind}.") from None
    try:
        return make({name: value for name, value in payload.items() if value is not None}, quirks)
    except (ValueError, InvalidOperation) as error:
        raise Refusal(Why.INVALID_REQUEST, f"{kind}: {error}") from error


def need(payload: Mapping[str, Any], *names: str) -> Any:
    """The first of `names` that the command gives."""
    for name in names:
        if name in payload:
            return payload[name]
    raise Refusal(Why.INVALID_REQUEST, f"the command needs {' or '.join(names)}")


def flag(payload: Mapping[str, Any], name: str) -> bool:
    """A yes or no that must be one: the word "false" is not false to Python."""
    value = need(payload, name)
    if not isinstance(value, bool):
        raise Refusal(Why.INVALID_REQUEST, f"{name} is true or false")
    return value


def short(text: object, longest: int, what: str) -> str:
    """`text` if it fits the wire. It is never cut: a token cut short is somebody else's."""
    words = str(text).lower() if isinstance(text, bool) else str(text)
    if len(words) > longest:
        raise Refusal(Why.INVALID_REQUEST, f"{what} is longer than the {longest} characters OCPP allows")
    return words


def power_limit(payload: Mapping[str, Any]) -> tuple[str, float]:
    """(`W` or `A`, the limit in steps of a tenth: the schemas of charging profiles ask for that)."""
    unit, value = ("W", payload["watts"]) if "watts" in payload else ("A", need(payload, "amperes", "watts"))
    return unit, float(Decimal(str(value)).quantize(Decimal("0.1"), ROUND_HALF_UP))


def status_answer(response: Mapping[str, Any]) -> Answer:
    """An answer that is a status and perhaps more."""
    status = response.get("status")
    if not isinstance(status, str):
        return Answer(False, UNREADABLE, dict(response))
    return Answer(status in ACCEPTED_WORDS, status, {k: v for k, v in response.items() if k != "status"})
