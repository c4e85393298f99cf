"""The rows of the charger path: readings, sessions and their facts, as prepared writes."""

from __future__ import annotations

from typing import Any, Final

from csms.app.facts import encode, put_fact
from csms.app.stations import Station, socket_number
from csms.domain.meter import Marks
from csms.domain.reported import Context, Reading
from csms.domain.session import Session, to_row
from csms.domain.session_states import OPEN
from csms.ports import Fact, Put, Unit

_NO_REGISTER: Final = -1  # readings.register_wh of a reading that has none
_MARKS: Final = {Context.BEGIN: Marks.BEGIN.value, Context.END: Marks.END.value}


def put_reading(
    unit: Unit,
    subject: int,
    at_ms: int,
    told: Reading,
    evse: int,
    connector: int,
    now_ms: int,
    frame_seq: int | None,
    seq_no: int | None = None,
    *,
    sums: bool = False,
) -> None:
    """One reading, of a session or under minus its number of a charger; `sums`: its figures are intervals."""
    # What the session is worked out from after a restart: an interval is never taken for a register.
    wh = told.interval_wh if sums else told.register_wh
    unit.put(
        Put.READING,
        (
            subject, at_ms, socket_number(evse, connector), _NO_REGISTER if wh is None else wh, told.at_ms, now_ms,
            told.context.value, told.power_w, told.current_ma, told.voltage_mv, told.soc_percent,
            _MARKS.get(told.context, 0) | (1 if told.signed else 0), frame_seq, seq_no,
        ),
    )  # fmt: skip


def put_session(unit: Unit, session: Session, now_ms: int, *, next_session_no: int) -> None:
    """The whole row. `next_session_no` tells numbers that we gave from a charger's own."""
    session.version += 1
    session.unsaved = False
    data = to_row(session, with_readings=False)
    if len(session.power):
        data["power"] = session.power.rows()
    # A transaction that went on after a cut has several segments and one id.
    tx_ids = list(dict.fromkeys(segment.tx_id for segment in session.segments if segment.tx_id is not None))
    numbers = [int(tx_id) for tx_id in tx_ids if tx_id.isdigit() and len(tx_id) < 10]
    last_no = max([session.no, *(n for n in numbers if n < next_session_no)])
    unit.put(
        Put.SESSION,
        (
            session.no, session.session_id, session.station, session.evse, session.connector, session.state.value,
            1 if session.state in OPEN else 0, session.version, session.token, session.order_id,
            session.started_at_ms, session.ended_at_ms, session.meter_start_wh, session.meter_stop_wh,
            session.energy_wh, session.quality.value, session.last_proven_at_ms, session.last_proven_wh,
            session.power_w, session.power_at_ms, session.soc_percent, format(session.seq_mask, "x"),
            session.frame_seq, session.stop_reason, session.end_cause.value if session.end_cause else None,
            session.revision, last_no, encode(tx_ids), now_ms, encode(data),
        ),
    )  # fmt: skip


def put_session_meter(unit: Unit, session: Session, now_ms: int) -> None:
    """What ordinary readings change of a row."""
    session.version = version = session.version + 1
    session.unsaved = False
    unit.put(
        Put.SESSION_METER,
        (
            version, session.energy_wh, session.last_proven_at_ms, session.last_proven_wh, session.power_w,
            session.power_at_ms, session.soc_percent, format(session.seq_mask, "x"), session.frame_seq, now_ms,
            session.no, version,
        ),
    )  # fmt: skip


def put_session_fact(unit: Unit, kind: str, now_ms: int, session: Session, body: dict[str, Any]) -> None:
    """News of a session, and of its order where it has one."""
    put_fact(unit, Fact(kind, now_ms, body, session.station, session.no, session.order_id))


def put_station_fact(unit: Unit, kind: str, now_ms: int, station: Station, body: dict[str, Any]) -> None:
    """News of a charger."""
    put_fact(unit, Fact(kind, now_ms, body, station.id))
