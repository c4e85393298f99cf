"""Questions to the store that more than one screen asks. Pure functions of a snapshot; run them with `store.read`.

Lists are walked by key: a page ends with the key of its last row, and the next page begins strictly after it, so a
walk sees every row that stood there all along exactly once, whatever is added meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from csms.app.masks import mask, mask_text
from csms.domain.matching import token_norm
from csms.domain.refusal import Refusal, Why
from csms.ports import ReadTx, Row, Table

# A CDR says what a finished session delivered; a dark one has a provisional figure.
CDR_STATES: Final = ("ENDED", "SETTLED", "RECONCILED", "ABANDONED")
TRANSACTION_KINDS: Final = ("tx", "ocpp16_id", "ocpp201_txid", "local_txn_id")
# The calendar's states that still claim a socket.
_CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Found:
    """One page. `after` is the key to go on from, None on the last page."""

    rows: list[Row]
    after: Any = None


def page(tx: ReadTx, table: Table, *, order: str, limit: int, after: Any = None, **where: Any) -> Found:
    """Rows by `order`, a unique column (`-column` newest first). Filters that are None do not filter."""
    column = order.lstrip("-")
    wanted = {name: value for name, value in where.items() if value is not None}
    bound = {"before": after} if order.startswith("-") else {"after": after}
    rows = tx.many(table, order=order, limit=limit + 1, **bound, **wanted)
    if len(rows) <= limit:
        return Found(rows)
    return Found(rows[:limit], rows[limit - 1][column])


# -- chargers


def charger(tx: ReadTx, charger_id: str) -> Row:
    """The station row. Refuses UNKNOWN_STATION, also for one that was deleted."""
    row = tx.one(Table.STATIONS, id=charger_id)
    if row is None or row["deleted"]:
        raise Refusal(Why.UNKNOWN_STATION, f"There is no charger {charger_id!r}.")
    return row


def sockets(tx: ReadTx, charger_ids: Sequence[str]) -> dict[str, list[Row]]:
    """Reported sockets by charger, in order; 0/0 is the station itself."""
    found: dict[str, list[Row]] = {charger_id: [] for charger_id in charger_ids}
    if charger_ids:
        for row in tx.many(Table.SOCKETS, station=list(charger_ids)):
            found[row["station"]].append(row)
    for rows in found.values():
        rows.sort(key=lambda row: (row["evse"], row["connector"]))
    return found


def connectors_setting(charger_id: str) -> str:
    """The setting that keeps how a charger's connectors are built (a JSON list)."""
    return f"connectors:{charger_id}"


def built_connectors(tx: ReadTx, charger_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """What operators said about connectors, by charger. The charger path rewrites its own row and never this."""
    names = {connectors_setting(charger_id): charger_id for charger_id in charger_ids}
    found: dict[str, list[dict[str, Any]]] = {charger_id: [] for charger_id in charger_ids}
    if names:
        for row in tx.many(Table.SETTINGS, name=list(names)):
            found[names[row["name"]]] = json.loads(row["value"])
    return found


def socket(tx: ReadTx, station: Row, evse: int | None, connector: int | None) -> tuple[int, int]:
    """The socket an operator means when naming only part of it.

    OCPP 1.6 has connectors only (its evse carries the same number); elsewhere a lone evse means its first connector.
    Refuses INVALID_REQUEST when more than one socket fits.
    """
    if evse is not None and connector is not None:
        return evse, connector
    known = [
        (row["evse"], row["connector"]) for row in sockets(tx, [station["id"]])[station["id"]] if row["connector"] > 0
    ]
    if evse is None and connector is None:
        if len(known) == 1:
            return known[0]
        raise Refusal(Why.INVALID_REQUEST, "Say which connector: evse_id and connector_id.")
    fitting = [pair for pair in known if pair[0] == evse or pair[1] == connector]
    if evse is not None:
        return fitting[0] if fitting else (evse, evse if station["transport"] == "ocpp1.6" else 1)
    assert connector is not None
    if len(fitting) > 1:
        raise Refusal(Why.INVALID_REQUEST, f"More than one EVSE has a connector {connector}; say which evse_id.")
    return fitting[0] if fitting else (connector, connector)


# -- sessions


def session(tx: ReadTx, session_id: str) -> Row:
    """The session row. Refuses UNKNOWN_SESSION."""
    if (row := tx.one(Table.SESSIONS, id=session_id)) is None:
        raise Refusal(Why.UNKNOWN_SESSION, f"There is no session {session_id!r}.")
    return row


def sessions(
    tx: ReadTx,
    *,
    limit: int,
    after: int | None = None,
    charger_id: str | None = None,
    token: str | None = None,
    is_open: bool | None = None,
    transaction_id: str | None = None,
    order_id: str | None = None,
) -> Found:
    """Sessions, newest first. Sessions keep a token as the charger spelt it; see `spellings`."""
    numbers: list[int] | None = None
    if transaction_id is not None:
        where: dict[str, Any] = {"station": charger_id} if charger_id is not None else {}
        aliases = tx.many(Table.ALIASES, kind=TRANSACTION_KINDS, value=transaction_id, **where)
        numbers = sorted({row["session_no"] for row in aliases})
        if not numbers:
            return Found([])
    return page(
        tx,
        Table.SESSIONS,
        order="-no",
        limit=limit,
        after=after,
        station=charger_id,
        token=spellings(tx, token) if token is not None else None,
        open=int(is_open) if is_open is not None else None,
        order_id=order_id,
        no=numbers,
    )


def normal_token(uid: str) -> str:
    """The key of a token; an empty one has the empty key, which no token has."""
    return token_norm(uid) or ""


def spellings(tx: ReadTx, uid: str) -> list[str]:
    """How a token may stand in a session: as asked for, as registered, or in one case throughout."""
    norm = normal_token(uid)
    registered = tx.one(Table.TOKENS, uid_norm=norm)
    return sorted({uid, uid.strip(), norm, norm.lower(), registered["uid"] if registered is not None else norm})


def cases_of(tx: ReadTx, session_ids: Sequence[str]) -> dict[str, list[Row]]:
    """Cases by session, oldest first."""
    found: dict[str, list[Row]] = {session_id: [] for session_id in session_ids}
    if session_ids:
        for row in tx.many(Table.CASES, order="no", session_id=list(session_ids)):
            found[row["session_id"]].append(row)
    return found


def readings(tx: ReadTx, subject: int, *, limit: int, after: tuple[int, int, int] | None = None) -> Found:
    """Readings by effective time: a session's, or under minus its number a charger's outside of sessions.

    Several may share an instant, so the key is all three columns.
    """

    def place(row: Row) -> tuple[int, int, int]:
        return row["at_ms"], row["socket"], row["register_wh"]

    def instant(at_ms: int) -> list[Row]:
        return sorted(tx.many(Table.READINGS, subject=subject, at_ms=at_ms), key=place)

    rows: list[Row] = []
    since_ms = None
    if after is not None:
        since_ms = after[0]
        rows += [row for row in instant(since_ms) if place(row) > after]
    more = tx.many(Table.READINGS, order="at_ms", after=since_ms, limit=limit + 1, subject=subject)
    if len(more) > limit:  # the last instant may be cut in the middle: take it whole, in its own order
        last_ms = more[-1]["at_ms"]
        more = [row for row in more if row["at_ms"] < last_ms] + instant(last_ms)
    rows += sorted(more, key=place)
    if len(rows) <= limit:
        return Found(rows)
    return Found(rows[:limit], place(rows[limit - 1]))


def newest_revisions(tx: ReadTx, session_numbers: Sequence[int]) -> dict[int, Row]:
    """The last priced revision by session number."""
    newest: dict[int, Row] = {}
    if session_numbers:
        for row in tx.many(Table.REVISIONS, order="revision", session_no=list(session_numbers)):
            newest[row["session_no"]] = row
    return newest


def finished_sessions(
    tx: ReadTx,
    *,
    limit: int,
    after: int | None = None,
    from_ms: int | None = None,
    to_ms: int | None = None,
    **where: Any,
) -> Found:
    """Sessions that make a CDR, newest first; `from_ms` inclusive and `to_ms` exclusive bound their end."""
    rows: list[Row] = []
    while True:
        found = page(tx, Table.SESSIONS, order="-no", limit=max(limit, _CHUNK), after=after, state=CDR_STATES, **where)
        rows += [row for row in found.rows if _ended_within(row["ended_ms"], from_ms, to_ms)]
        if len(rows) > limit:
            return Found(rows[:limit], rows[limit - 1]["no"])
        if found.after is None:
            return Found(rows)
        after = found.after


def _ended_within(ended_ms: int | None, from_ms: int | None, to_ms: int | None) -> bool:
    if from_ms is None and to_ms is None:
        return True
    if ended_ms is None:
        return False
    return (from_ms is None or ended_ms >= from_ms) and (to_ms is None or ended_ms < to_ms)


# -- frames

_TYPES: Final = {2: "call", 3: "result", 4: "error"}
# Where a page of frames goes on: the exchange, and whether only its call is still to be shown.
FramePlace = tuple[int, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One message on the wire. `latency_ms` stands on an answer, `note` on a call that was not ordinary."""

    at_ms: int
    direction: str
    type: str
    action: str | None
    message_id: str | None
    frame: Any
    note: str | None = None
    latency_ms: int | None = None


def frames(
    tx: ReadTx, station_no: int, *, limit: int, action: str | None = None, after: FramePlace | None = None
) -> tuple[list[Frame], FramePlace | None]:
    """A charger's frames, newest exchange first, at most `limit` of them, without secrets."""
    found: list[tuple[int, int, Frame]] = []
    before = None
    if after is not None and after[1]:
        if (row := tx.one(Table.FRAMES, seq=after[0], station_no=station_no)) is not None:
            found.append((row["seq"], 0, _call(row)))
        before = after[0]
    elif after is not None:
        before = after[0]
    where: dict[str, Any] = {"action": action} if action is not None else {}
    rows = tx.many(Table.FRAMES, order="-seq", before=before, limit=limit + 1, station_no=station_no, **where)
    going_on: FramePlace | None = None
    seq = before
    for row in rows:
        if len(found) >= limit:
            assert seq is not None
            going_on = (seq, False)
            break
        seq = row["seq"]
        if row["response"] is not None:
            found.append((seq, 1, _answer(row)))
            if len(found) >= limit:
                going_on = (seq, True)
                break
        found.append((seq, 0, _call(row)))
    found.sort(key=lambda entry: (entry[2].at_ms, entry[0], entry[1]), reverse=True)
    return [frame for _, _, frame in found], going_on


def _call(row: Row) -> Frame:
    type_, frame = _parsed(row["request"])
    return Frame(
        at_ms=row["at_ms"],
        direction="out" if row["origin"] else "in",
        type=type_,
        action=row["action"],
        message_id=row["message_id"],
        frame=frame,
        note=row["note"],
    )


def _answer(row: Row) -> Frame:
    type_, frame = _parsed(row["response"])
    at_ms = row["answered_ms"] if row["answered_ms"] is not None else row["at_ms"]
    return Frame(
        at_ms=at_ms,
        direction="in" if row["origin"] else "out",
        type=type_,
        action=row["action"],
        message_id=row["message_id"],
        frame=frame,
        latency_ms=at_ms - row["at_ms"] if row["answered_ms"] is not None else None,
    )


def _parsed(raw: str) -> tuple[str, Any]:
    try:
        frame = json.loads(raw, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return "malformed", mask_text(raw)
    kind = frame[0] if isinstance(frame, list) and frame else None
    type_ = _TYPES.get(kind, "malformed") if isinstance(kind, int) else "malformed"
    return type_, mask(frame)


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")


# -- orders


def order(tx: ReadTx, order_id: str) -> Row:
    """The order row. Refuses UNKNOWN_ORDER."""
    if (row := tx.one(Table.ORDERS, id=order_id)) is None:
        raise Refusal(Why.UNKNOWN_ORDER, f"There is no order {order_id!r}.")
    return row


def ledger(tx: ReadTx, order_id: str) -> list[Row]:
    """Every entry of an order, as they were booked."""
    return tx.many(Table.LEDGER, order="no", order_id=order_id)


# -- journal


def newest_seq(tx: ReadTx) -> int:
    """Where the journal ends now; 0 for an empty one."""
    rows = tx.many(Table.JOURNAL, order="-seq", limit=1)
    return int(rows[0]["seq"]) if rows else 0


def session_ids(tx: ReadTx, numbers: Iterable[int]) -> dict[int, str]:
    """Session ids by number."""
    wanted = sorted(set(numbers))
    if not wanted:
        return {}
    return {row["no"]: row["id"] for row in tx.many(Table.SESSIONS, no=wanted)}
