"""Instructions as rows: issued by any use case in its own transaction, carried out by whoever holds the link."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from csms.app.facts import put_fact
from csms.domain import instruction as domain
from csms.domain.instruction import Instruction, InstructionState, Kind, Priority
from csms.ports import Fact, Put, ReadTx, Row, Table, Tx, Unit

COMMAND = "command"  # a RAW payload that names a command of the house instead of an OCPP action
_LOOK_BACK = 200  # instructions searched for the question that a report answers


def to_row(instruction: Instruction) -> dict[str, Any]:
    """As it is stored."""
    return {
        "id": instruction.instruction_id,
        "station": instruction.station,
        "kind": instruction.kind.value,
        "payload": json.dumps(instruction.payload, separators=(",", ":")),
        "priority": int(instruction.priority),
        "state": instruction.state.value,
        "effect_key": instruction.effect_key,
        "issued_ms": instruction.issued_ms,
        "expires_ms": instruction.expires_ms,
        "sent_ms": instruction.sent_ms,
        "answered_ms": instruction.answered_ms,
        "effective_ms": instruction.effective_ms,
        "order_id": instruction.order_id,
        "session_id": instruction.session_id,
        "token": instruction.token,
        "reason": instruction.reason,
        "response": json.dumps(instruction.response) if instruction.response is not None else None,
    }


def from_row(row: Row) -> Instruction:
    """The inverse of `to_row`."""
    return Instruction(
        instruction_id=row["id"],
        station=row["station"],
        kind=Kind(row["kind"]),
        payload=json.loads(row["payload"]),
        priority=Priority(row["priority"]),
        state=InstructionState(row["state"]),
        issued_ms=row["issued_ms"],
        expires_ms=row["expires_ms"],
        effect_key=row["effect_key"],
        sent_ms=row["sent_ms"],
        answered_ms=row["answered_ms"],
        effective_ms=row["effective_ms"],
        order_id=row["order_id"],
        session_id=row["session_id"],
        token=row["token"],
        reason=row["reason"],
        response=json.loads(row["response"]) if row["response"] else None,
    )


def issue(
    tx: Tx,
    *,
    instruction_id: str,
    station: str,
    kind: Kind,
    payload: dict[str, Any],
    now_ms: int,
    effect_key: str | None = None,
    ttl_s: int | None = None,
    order_id: str | None = None,
    session_id: str | None = None,
    token: str | None = None,
) -> Instruction:
    """A new instruction in this transaction. The pump finds it; ring "instructions" after the commit."""
    made = domain.issue(
        instruction_id,
        station,
        kind,
        payload,
        now_ms,
        effect_key=effect_key,
        ttl_s=ttl_s,
        order_id=order_id,
        session_id=session_id,
        token=token,
    )
    tx.add(Table.INSTRUCTIONS, to_row(made))
    tx.append([issued_fact(made)])
    return made


def question(
    tx: ReadTx, station_id: str, request_id: int, *, action: str, command: str
) -> tuple[Mapping[str, Any], bool]:
    """What was asked under this number, by hand or by a command of the house: (its members, whether they are the
    command's). Empty when it is not among the last things asked."""
    asked = tx.many(Table.INSTRUCTIONS, order="-issued_ms", limit=_LOOK_BACK, station=station_id, kind=Kind.RAW.value)
    for row in asked:
        payload: dict[str, Any] = json.loads(row["payload"])
        if payload.get(COMMAND) == command and payload.get("request_id") == request_id:
            return payload, True
        by_hand = payload.get("payload") if payload.get("action") == action else None
        if isinstance(by_hand, dict) and by_hand.get("requestId") == request_id:
            return by_hand, False
    return {}, False


def put_new(unit: Unit, instruction: Instruction) -> None:
    """A new instruction among the writes of the charger path."""
    row = to_row(instruction)
    unit.put(Put.INSTRUCTION, tuple(row.values()))
    put_fact(unit, issued_fact(instruction))


def put_state(unit: Unit, instruction: Instruction, message_id: str | None = None) -> None:
    """What became of an instruction."""
    unit.put(
        Put.INSTRUCTION_STATE,
        (
            instruction.state.value,
            instruction.sent_ms,
            instruction.answered_ms,
            instruction.effective_ms,
            instruction.session_id,
            instruction.reason,
            json.dumps(instruction.response) if instruction.response is not None else None,
            message_id,
            instruction.instruction_id,
        ),
    )


def issued_fact(instruction: Instruction) -> Fact:
    """InstructionIssued."""
    body = {"instruction_id": instruction.instruction_id, "kind": instruction.kind.value}
    return Fact("InstructionIssued", instruction.issued_ms, body, instruction.station, order_id=instruction.order_id)


def over_fact(instruction: Instruction, now_ms: int) -> Fact:
    """InstructionEffective, InstructionRefused or InstructionExpired."""
    kind = {
        InstructionState.EFFECTIVE: "InstructionEffective",
        InstructionState.REFUSED: "InstructionRefused",
        InstructionState.EXPIRED: "InstructionExpired",
    }[instruction.state]
    body = {
        "instruction_id": instruction.instruction_id,
        "kind": instruction.kind.value,
        "reason": instruction.reason,
        "session_id": instruction.session_id,
    }
    return Fact(kind, now_ms, body, instruction.station, order_id=instruction.order_id)
