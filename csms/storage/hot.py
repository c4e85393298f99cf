"""The prepared writes of the charger path: one SQL text per `ports.Put`, and the tuple each one takes.

Every statement is idempotent under its key, so a unit that is written twice (a repeat after a lost answer, a batch
that is redone row by row) changes nothing. Session rows carry a version; an older write never covers a newer one.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from csms.ports import Put

SESSION_COLUMNS: Final = (
    "no", "id", "station", "evse", "connector", "state", "open", "version", "token", "order_id",
    "started_ms", "ended_ms", "meter_start_wh", "meter_stop_wh", "energy_wh", "quality",
    "last_proven_ms", "last_proven_wh", "power_w", "power_at_ms", "soc_percent", "seq_mask", "frame_seq",
    "stop_reason", "end_cause", "revision", "last_no", "tx_ids", "updated_ms", "data",
)  # fmt: skip

STATION_COLUMNS: Final = (
    "id", "transport", "vendor", "model", "serial", "firmware", "iccid", "imsi", "meter_serial",
    "boot_n", "boot_ms", "boot_reason", "epoch", "link_node", "link_opened_ms", "link_closed_ms",
    "last_seen_ms", "data",
)  # fmt: skip

INSTRUCTION_COLUMNS: Final = (
    "id", "station", "kind", "payload", "priority", "state", "effect_key", "issued_ms", "expires_ms", "sent_ms",
    "answered_ms", "effective_ms", "order_id", "session_id", "token", "reason", "response",
)  # fmt: skip


def _marks(count: int) -> str:
    return ",".join(["?"] * count)


def _session_upsert() -> str:
    columns = SESSION_COLUMNS
    changes = ",".join(f"{c}=excluded.{c}" for c in columns if c != "no")
    return (
        f"INSERT INTO sessions ({','.join(columns)}) VALUES ({_marks(len(columns))})"  # noqa: S608 - constants
        f" ON CONFLICT(no) DO UPDATE SET {changes} WHERE excluded.version >= sessions.version"
    )


def _station_update() -> str:
    changes = ",".join(f"{c}=?" for c in STATION_COLUMNS if c != "id")
    return f"UPDATE stations SET {changes} WHERE id=?"  # noqa: S608 - constants


STATEMENTS: Final[dict[int, str]] = {
    # (…STATION_COLUMNS without id…, id)
    Put.STATION: _station_update(),
    # (last_seen_ms, id)
    Put.STATION_SEEN: "UPDATE stations SET last_seen_ms=? WHERE id=?",
    # (…SESSION_COLUMNS…)
    Put.SESSION: _session_upsert(),
    # (version, energy_wh, last_proven_ms, last_proven_wh, power_w, power_at_ms, soc_percent, seq_mask, frame_seq,
    #  updated_ms, no, version)
    Put.SESSION_METER: (
        "UPDATE sessions SET version=?, energy_wh=?, last_proven_ms=?, last_proven_wh=?, power_w=?, power_at_ms=?,"
        " soc_percent=?, seq_mask=?, frame_seq=?, updated_ms=? WHERE no=? AND version<?"
    ),
    # (station, kind, value, session_no, segment)
    Put.ALIAS: (
        "INSERT INTO aliases (station, kind, value, session_no, segment) VALUES (?,?,?,?,?)"
        " ON CONFLICT(station, kind, value) DO NOTHING"
    ),
    # (subject, at_ms, socket, register_wh or -1, device_ms, received_ms, context, power_w, current_ma, voltage_mv,
    #  soc_percent, flags, frame_seq, seq_no)
    Put.READING: (
        "INSERT INTO readings (subject, at_ms, socket, register_wh, device_ms, received_ms, context, power_w,"
        " current_ma, voltage_mv, soc_percent, flags, frame_seq, seq_no) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
        " ON CONFLICT DO NOTHING"
    ),
    # (station, evse, connector, status, status_at_ms, reported_ms, error_code, info, vendor_error_code)
    Put.SOCKET: (
        "INSERT INTO sockets (station, evse, connector, status, status_at_ms, reported_ms, error_code, info,"
        " vendor_error_code) VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT(station, evse, connector) DO UPDATE SET"
        " status=excluded.status, status_at_ms=excluded.status_at_ms, reported_ms=excluded.reported_ms,"
        " error_code=excluded.error_code, info=excluded.info, vendor_error_code=excluded.vendor_error_code"
    ),
    # (station_no, key, digest, answer, at_ms)
    Put.ANSWER: (
        "INSERT INTO answers (station_no, key, digest, answer, at_ms) VALUES (?,?,?,?,?)"
        " ON CONFLICT(station_no, key) DO NOTHING"
    ),
    # (seq, station_no, at_ms, origin, action, message_id, request, response, answered_ms, note)
    Put.FRAME: (
        "INSERT INTO frames (seq, station_no, at_ms, origin, action, message_id, request, response, answered_ms,"
        " note) VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT(seq) DO NOTHING"
    ),
    # (response, answered_ms, note, seq)
    Put.FRAME_ANSWERED: "UPDATE frames SET response=?, answered_ms=?, note=? WHERE seq=?",
    # (…INSTRUCTION_COLUMNS…)
    Put.INSTRUCTION: (
        f"INSERT INTO instructions ({','.join(INSTRUCTION_COLUMNS)}) VALUES ({_marks(len(INSTRUCTION_COLUMNS))})"  # noqa: S608 - constants
        " ON CONFLICT(id) DO NOTHING"
    ),
    # (state, sent_ms, answered_ms, effective_ms, session_id, reason, response, message_id, id)
    Put.INSTRUCTION_STATE: (
        "UPDATE instructions SET state=?, sent_ms=?, answered_ms=?, effective_ms=?, session_id=?, reason=?,"
        " response=?, message_id=coalesce(?, message_id) WHERE id=?"
    ),
    # (id, no, type, severity, state, station, session_id, order_id, text, opened_ms, data)
    Put.CASE: (
        "INSERT INTO cases (id, no, type, severity, state, station, session_id, order_id, text, opened_ms, data)"
        " SELECT ?, coalesce(max(no), 0) + 1, ?,?,?,?,?,?,?,?,? FROM cases WHERE true"
        " ON CONFLICT(id) DO NOTHING"
    ),
    # (id, station, at_ms, action, message_id, raw, problems, rules, state)
    Put.QUARANTINE: (
        "INSERT INTO quarantine (id, station, at_ms, action, message_id, raw, problems, rules, state)"
        " VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT(id) DO NOTHING"
    ),
    # (station, kind, request_id, seq_no, generated_at, body, received_ms)
    Put.REPORT: (
        "INSERT INTO reports (station, kind, request_id, seq_no, generated_at, body, received_ms)"
        " VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"
    ),
    # (used_ms, uid_norm)
    Put.TOKEN_USED: "UPDATE tokens SET used_ms=? WHERE uid_norm=?",
    # (status, updated_ms, id, station); one that is over stays so
    Put.RESERVATION_STATE: (
        "UPDATE reservations SET status=?, updated_ms=? WHERE id=? AND station=?"
        " AND status IN ('REQUESTED', 'ACCEPTED')"
    ),
    # (at_ms, kind, station, session_no, order_id, body)
    Put.FACT: "INSERT INTO journal (at_ms, kind, station, session_no, order_id, body) VALUES (?,?,?,?,?,?)",
}

CHUNK: Final = 32  # rows per statement: the driver lets go of the interpreter once per statement, not per row
_METER_COLUMNS: Final = (
    "version", "energy_wh", "last_proven_ms", "last_proven_wh", "power_w", "power_at_ms", "soc_percent", "seq_mask",
    "frame_seq", "updated_ms",
)  # fmt: skip
METER_NO: Final = len(_METER_COLUMNS)  # where the session's number stands in a SESSION_METER row


@cache
def many(what: int, rows: int) -> str | None:
    """One statement for `rows` rows of this kind; None when the kind is written row by row."""
    if what == Put.SESSION_METER:
        marks = ",".join([f"({_marks(len(_METER_COLUMNS) + 2)})"] * rows)
        changes = ",".join(f"{name}=v.column{n}" for n, name in enumerate(_METER_COLUMNS, 1))
        return (
            f"UPDATE sessions SET {changes} FROM (VALUES {marks}) AS v"  # noqa: S608 - constants
            f" WHERE sessions.no=v.column{METER_NO + 1} AND sessions.version<v.column{METER_NO + 2}"
        )
    head, values, tail = STATEMENTS[what].partition(" VALUES (")
    if not values or not head.startswith("INSERT"):
        return None
    marks, closing, conflict = tail.partition(")")
    return f"{head} VALUES {','.join([f'({marks})'] * rows)}{conflict if closing else ''}"
