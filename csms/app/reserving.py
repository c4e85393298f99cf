"""Reservations and the chargers they are for: told when their window begins, taken back when they end, used once.

    row in the calendar ─▶ tick: the window begins ─▶ ReserveNow (an instruction) ─▶ its answer ─▶ the row
                           tick: it ended          ─▶ CancelReservation
    SessionStarted with its id, its token or its token's group ─▶ USED

What is to be done follows from the rows alone, so a crash, a charger that is away or an answer that never came only
delays it. A charger that keeps no reservations is told nothing: there only `refuse_reserved` guards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from csms.app import instructions
from csms.app.calls import CallAnswered, Calls
from csms.app.cases import open_case
from csms.app.configured import said
from csms.app.reports import Report, Reports
from csms.app.stations import Stations
from csms.domain import instruction as asking
from csms.domain import reservation as domain
from csms.domain.instruction import InstructionEvent, InstructionState, Kind
from csms.domain.matching import token_norm
from csms.domain.refusal import Refusal, Why
from csms.domain.reported import SocketStatus
from csms.domain.reservation import Hold, Reservation, Status, Step, Told
from csms.domain.units import rfc3339
from csms.ports import Bell, Fact, Ids, ReadTx, Row, Store, Table, Tx

_HELD: Final = ("asked", "holds", "silent")
_OVER: Final = ("REJECTED", "USED", "CANCELLED", "EXPIRED")
_BITE: Final = 500
# Token types that 2.0.1 knows by the same word; the rest are ours (C01).
_TOKEN_KINDS: Final = frozenset({"Central", "eMAID", "ISO14443", "ISO15693", "KeyCode", "Local", "MacAddress"})
_UNHEARD: Final = frozenset({"no answer", "the link was lost", "nothing came of it in time"})
_TOO_LATE: Final = "not sent in time"
_UNKNOWN_MESSAGE: Final = ("NotImplemented", "NotSupported")


class Reserving:
    """Tells chargers of reservations and follows what becomes of them."""

    FOLLOWED: Final = frozenset({"SessionStarted", "InstructionRefused", "InstructionExpired"})

    def __init__(self, *, store: Store, stations: Stations, ids: Ids, bell: Bell, ahead_ms: int) -> None:
        self._store = store
        self._stations = stations
        self._ids = ids
        self._bell = bell
        self._ahead_ms = ahead_ms

    def listen(self, calls: Calls, reports: Reports) -> None:
        """Hear what chargers answer and report about reservations; at composition."""
        calls.read("ReserveNow", self.reserve_answered)
        calls.read("CancelReservation", self.cancel_answered)
        reports.read("ReservationStatusUpdate", self.status_updated)

    # -- what time brings

    async def tick(self, now_ms: int) -> None:
        """Tell chargers of what begins, take back what has ended. Asked of the rows, so again and again."""
        rows = await self._store.read(lambda tx: _standing(tx, now_ms + self._ahead_ms))
        work = [row for row in rows if self._step(row, now_ms) is not Step.NOTHING or _is_left(row, now_ms)]
        if not work:
            return

        def carry_out(tx: Tx) -> None:
            for row in work:
                self._carry_out(tx, row["id"], now_ms)

        await self._store.transact(carry_out)
        self._bell.ring("instructions")

    def _carry_out(self, tx: Tx, reservation_id: int, now_ms: int) -> None:
        row = tx.take(Table.RESERVATIONS, id=reservation_id)
        if row is None:
            return
        if _is_left(row, now_ms):
            _withdraw(tx, row, now_ms)
            if now_ms >= domain.from_row(row).wire_until_ms:
                tx.change(Table.RESERVATIONS, {"told": Told.GONE.value}, id=reservation_id)
            return
        match self._step(row, now_ms):
            case Step.TELL:
                tell(tx, row, now_ms, instruction_id=self._ids.uuid())
            case Step.RELEASE:
                release(tx, row, now_ms, instruction_id=self._ids.uuid())
            case Step.NOTHING:
                pass

    def _step(self, row: Row, now_ms: int) -> Step:
        it = domain.from_row(row)
        station = self._stations.get(it.station)
        online = station is not None and station.online
        return domain.next_step(it, now_ms, online=online, socket=self._socket(it), ahead_ms=self._ahead_ms)

    def _socket(self, it: Reservation) -> SocketStatus | None:
        """The status of the kept socket; of the best of them where any is meant."""
        station = self._stations.get(it.station)
        here = [s.status for s in station.sockets.values() if s.connector and it.evse in (0, s.evse)] if station else []
        return SocketStatus.AVAILABLE if SocketStatus.AVAILABLE in here else next(iter(here), None)

    # -- what chargers answered

    async def reserve_answered(self, answered: CallAnswered) -> None:
        """ReserveNow, whoever sent it."""
        number = answered.request.get("reservationId", answered.request.get("id"))
        word = answered.response.get("status")
        if isinstance(number, int) and isinstance(word, str):
            await self._change(answered.station, number, lambda tx, row: _answered(tx, row, word, answered.at_ms))

    async def cancel_answered(self, answered: CallAnswered) -> None:
        """CancelReservation, whoever sent it. Rejected: the charger knows of none, so there is none to take back."""
        number, word = answered.request.get("reservationId"), answered.response.get("status")
        if isinstance(number, int) and isinstance(word, str):
            await self._change(answered.station, number, lambda tx, row: _taken_back(tx, row, word, answered.at_ms))

    async def status_updated(self, report: Report) -> None:
        """ReservationStatusUpdate (H04): the charger let it go by itself."""
        number, word = report.body.get("reservationId"), report.body.get("reservationUpdateStatus")
        if isinstance(number, int) and isinstance(word, str):
            await self._change(report.station, number, lambda tx, row: _let_go(tx, row, word, report.received_ms))

    async def _change(self, station_id: str, reservation_id: int, work: Callable[[Tx, Row], None]) -> None:
        def change(tx: Tx) -> None:
            row = tx.take(Table.RESERVATIONS, id=reservation_id)
            if row is not None and row["station"] == station_id:
                work(tx, row)

        await self._store.transact(change)

    # -- what happened

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """Sessions that use a reservation, and questions that were never answered; telling twice changes nothing."""
        started = [fact for fact in facts if fact.kind == "SessionStarted"]
        reserved, sold = await self._store.read(lambda tx: _reserved(tx, started)) if started else (set(), set())
        concerned = [fact for fact in facts if _is_concerned(fact, reserved, sold)]  # hardly ever any
        if not concerned:
            return

        def work(tx: Tx) -> None:
            for fact in concerned:
                (_used if fact.kind == "SessionStarted" else _unanswered)(tx, fact)

        await self._store.transact(work)


# -- the pieces, each within a transaction


def tell(tx: Tx, row: Row, now_ms: int, *, instruction_id: str) -> None:
    """Ask the charger to keep it; ring "instructions" after the commit. Where it keeps none, ours is the only guard."""
    it = domain.from_row(row)
    if domain.is_kept(said(tx, it.station, domain.CONFIGURATION), it.evse) is False:
        _unsupported(tx, it, now_ms)
        return
    token = tx.one(Table.TOKENS, uid_norm=token_norm(it.token) or "")
    kind = token["type"] if token is not None else None
    payload = {
        instructions.COMMAND: "Reserve",
        "reservation_id": it.id,
        "token": it.token,
        "token_kind": kind if kind in _TOKEN_KINDS else None,
        "group": token["group_id"] if token is not None else None,
        "evse": it.evse or None,
        "connector": _connector_on_wire(tx, row),
        "connector_type": row["connector_type"],
        # Whoever bought the slot may come until its end; that nobody came in time is ours to say.
        "expires_ms": it.wire_until_ms,
    }
    instructions.issue(
        tx,
        instruction_id=instruction_id,
        station=it.station,
        kind=Kind.RAW,
        payload=payload,
        now_ms=now_ms,
        ttl_s=max(1, (it.until_ms - now_ms) // 1000),
        order_id=it.order_id,
        effect_key=_effect_key(it.id),
    )
    asked = {"told": Told.ASKED.value, "told_ms": now_ms, "told_times": it.told_times + 1, "reason": None}
    tx.change(Table.RESERVATIONS, asked, id=it.id)


def release(tx: Tx, row: Row, now_ms: int, *, instruction_id: str) -> None:
    """Ask the charger to let it go; ring "instructions" after the commit."""
    it = domain.from_row(row)
    instructions.issue(
        tx,
        instruction_id=instruction_id,
        station=it.station,
        kind=Kind.RAW,
        payload={instructions.COMMAND: "CancelReservation", "reservation_id": it.id},
        now_ms=now_ms,
        ttl_s=max(1, (it.until_ms - now_ms) // 1000),
        order_id=it.order_id,
    )
    tx.change(Table.RESERVATIONS, {"told": Told.GONE.value, "told_times": it.told_times + 1}, id=it.id)


def refuse_reserved(tx: ReadTx, station_id: str, evse: int, token: str, now_ms: int) -> None:
    """Refusal when the socket is kept for somebody else now, whatever its charger knows of it."""
    for row in tx.many(Table.RESERVATIONS, station=station_id, status=domain.ACTIVE):
        it = domain.from_row(row)
        # One for any socket keeps this one only where there is no other.
        is_this = it.evse == evse or (it.evse == 0 and _evses(tx, station_id) <= 1)
        if is_this and it.claims(now_ms) and not _may_use(tx, it, token):
            until = rfc3339(it.until_ms)
            raise Refusal(Why.SLOT_TAKEN, f"Reservation {it.id} keeps this connector for somebody else until {until}.")


def refuse_full(tx: ReadTx, station_id: str, evse: int, start_ms: int, end_ms: int) -> None:
    """Refusal when the socket, or as many as the charger has, are claimed within that time."""
    claims: list[Row] = []
    for row in tx.many(Table.RESERVATIONS, station=station_id, status=domain.ACTIVE):
        it = domain.from_row(row)
        if it.start_ms < end_ms and start_ms < it.until_ms:
            claims.append(row)
    same = next((row for row in claims if row["evse"] == evse and evse), None)
    taken = {row["evse"] or f"any {row['id']}" for row in claims}
    is_any = not evse or any(not row["evse"] for row in claims)
    if same is None and is_any and len(taken) >= _evses(tx, station_id):
        same = claims[-1]
    if same is not None:
        times = f"from {rfc3339(same['start_ms'])} to {rfc3339(same['end_ms'])}"
        raise Refusal(Why.SLOT_TAKEN, f"Reservation {same['id']} holds it {times}.")


def _evses(tx: ReadTx, station_id: str) -> int:
    """How many cars the charger serves at once, as far as it has said."""
    return len({row["evse"] for row in tx.many(Table.SOCKETS, station=station_id) if row["connector"]}) or 1


def refuse_untellable(tx: ReadTx, station: Row, evse: int, token: str, connector_type: str | None) -> None:
    """Refusal for a reservation that this charger could never be told of or be guarded for."""
    if evse == 0 and domain.is_kept(said(tx, station["id"], domain.CONFIGURATION), 0) is False:
        raise Refusal(Why.NOT_SUPPORTED, "This charger keeps one connector free, not any of them: say which.")
    if connector_type is not None and station["transport"] == "ocpp1.6":
        raise Refusal(Why.NOT_SUPPORTED, "connector_type: OCPP 1.6 reserves connectors, not kinds of them.")
    if station["transport"] == "ocpp1.6" and len(token) > 20:
        raise Refusal(Why.INVALID_REQUEST, "token: an OCPP 1.6 charger takes 20 characters at most.")


def _standing(tx: ReadTx, before_ms: int) -> list[Row]:
    beginning = tx.many(Table.RESERVATIONS, order="start_ms", before=before_ms, limit=_BITE, status=domain.ACTIVE)
    return beginning + tx.many(Table.RESERVATIONS, limit=_BITE, told=_HELD, status=_OVER)


def _is_left(row: Row, now_ms: int) -> bool:
    """Over, and the question to the charger may still stand in the queue; or the charger has let go by itself."""
    if row["status"] not in _OVER:
        return False
    return row["told"] == Told.ASKED or (row["told"] in _HELD and now_ms >= domain.from_row(row).wire_until_ms)


def _withdraw(tx: Tx, row: Row, now_ms: int) -> None:
    """What was not yet sent is not sent any more; what was sent is answered, and then taken back."""
    waiting = tx.many(Table.INSTRUCTIONS, effect_key=_effect_key(row["id"]), state=InstructionState.ISSUED.value)
    for found in map(instructions.from_row, waiting):
        over = asking.step(found, InstructionEvent(asking.Step.WITHDRAWN, "the reservation is over"), now_ms)
        tx.save(Table.INSTRUCTIONS, instructions.to_row(over))
        tx.append([instructions.over_fact(over, now_ms)])
        tx.change(Table.RESERVATIONS, {"told": Told.GONE.value}, id=row["id"])


def _effect_key(reservation_id: int) -> str:
    return f"reservation:{reservation_id}"


def _connector_on_wire(tx: ReadTx, row: Row) -> int | None:
    """1.6 numbers connectors alone: there the EVSE's number is the connector's."""
    station = tx.one(Table.STATIONS, id=row["station"])
    is_flat = station is not None and station["transport"] == "ocpp1.6"
    return (row["evse"] if is_flat else row["connector"]) or None


def _answered(tx: Tx, row: Row, word: str, at_ms: int) -> None:
    it = domain.from_row(row)
    if it.told not in (Told.ASKED, Told.SILENT) and word != "Accepted":
        return
    status, hold, told = domain.after_answer(it, word)
    if (status, hold, told) == (it.status, it.hold, it.told):
        return
    reason = None if word == "Accepted" else word
    _keep(tx, it, status, hold, told, reason, at_ms)
    if told is Told.HOLDS:
        tx.append([_fact(it, "ReservationTold", at_ms)])
    elif it.is_active:
        _refused(tx, it, word, at_ms)


def _taken_back(tx: Tx, row: Row, word: str, at_ms: int) -> None:
    it = domain.from_row(row)
    if word != "Accepted":
        tx.change(Table.RESERVATIONS, {"reason": f"CancelReservation: {word}"}, id=it.id)
        return
    # Asked for by hand: one that was sold is still sold, any other ends with it.
    ends = it.is_active and it.order_id is None
    _keep(tx, it, Status.CANCELLED if ends else it.status, it.hold, Told.GONE, it.reason, at_ms)
    if ends:
        tx.append([_fact(it, "ReservationCancelled", at_ms, who="charger")])


def _let_go(tx: Tx, row: Row, word: str, at_ms: int) -> None:
    it = domain.from_row(row)
    if not it.is_active:
        tx.change(Table.RESERVATIONS, {"told": Told.GONE.value}, id=it.id)
        return
    if it.told is Told.GONE or it.reason == word:
        return  # told twice
    if it.order_id is not None:
        # Sold: ours goes on, and it is told again once the socket is free.
        told = Told.REFUSED if word == "Removed" else Told.GONE
        _keep(tx, it, it.status, it.hold, told, word, at_ms)
        _refused(tx, it, word, at_ms)
        return
    is_expired = word == "Expired"
    status = Status.EXPIRED if is_expired else Status.CANCELLED
    _keep(tx, it, status, it.hold, Told.GONE, word, at_ms)
    tx.append([_fact(it, "ReservationExpired" if is_expired else "ReservationCancelled", at_ms, who="charger")])


def _unanswered(tx: Tx, fact: Fact) -> None:
    """A ReserveNow or CancelReservation that came to nothing: refused with a CALLERROR, never sent, never answered."""
    found = tx.one(Table.INSTRUCTIONS, id=fact.body["instruction_id"])
    if found is None or found["response"] is not None:
        return  # answered with a result: the answers' readers have it
    payload = instructions.from_row(found).payload
    reason = str(fact.body.get("reason") or "")
    row = tx.take(Table.RESERVATIONS, id=payload.get("reservation_id"))
    if row is None or row["station"] != found["station"]:
        return
    it = domain.from_row(row)
    match payload.get(instructions.COMMAND):
        case "CancelReservation" if reason in _UNHEARD and it.told_times < domain.MOST_TIMES:
            tx.change(Table.RESERVATIONS, {"told": Told.HOLDS.value}, id=it.id)
        case "Reserve" if it.told is Told.ASKED:
            if reason in _UNHEARD:
                tx.change(Table.RESERVATIONS, {"told": Told.SILENT.value, "reason": reason}, id=it.id)
            elif reason == _TOO_LATE:
                tx.change(Table.RESERVATIONS, {"told": Told.GONE.value, "reason": reason}, id=it.id)
            elif reason.startswith(_UNKNOWN_MESSAGE):
                _unsupported(tx, it, fact.at_ms)
            else:
                _answered(tx, row, reason or "Rejected", fact.at_ms)


def _unsupported(tx: Tx, it: Reservation, now_ms: int) -> None:
    status, hold, told = domain.after_unsupported(it)
    _keep(tx, it, status, hold, told, "NotSupported", now_ms)
    if it.is_active:
        tx.append([_fact(it, "ReservationRefused", now_ms, reason="NotSupported")])


def _refused(tx: Tx, it: Reservation, word: str, now_ms: int) -> None:
    tx.append([_fact(it, "ReservationRefused", now_ms, reason=word)])
    if it.order_id is None or tx.one(Table.ORDERS, id=it.order_id) is None:
        return
    open_case(
        tx,
        case_id=f"RESERVATION_REFUSED:{it.id}",
        type_="RESERVATION_REFUSED",
        severity="warning",
        text=f"The charger does not keep the slot that was sold ({word}). Its buyer has paid and will come.",
        now_ms=now_ms,
        station=it.station,
        order_id=it.order_id,
    )


def _reserved(tx: ReadTx, started: list[Fact]) -> tuple[set[str], set[str]]:
    """Of the chargers and orders of these starts, those with a reservation."""
    stations = sorted({fact.station for fact in started if fact.station is not None})
    orders = sorted({fact.order_id for fact in started if fact.order_id is not None})
    at_stations = tx.many(Table.RESERVATIONS, station=stations, status=domain.ACTIVE)
    of_orders = tx.many(Table.RESERVATIONS, order_id=orders, status=domain.ACTIVE) if orders else []
    return {row["station"] for row in at_stations}, {row["order_id"] for row in of_orders}


def _is_concerned(fact: Fact, reserved: set[str], sold: set[str]) -> bool:
    if fact.kind != "SessionStarted":
        return bool(fact.body.get("kind") == Kind.RAW.value)
    return fact.station in reserved or fact.order_id in sold or fact.body.get("reservation_id") is not None


def _used(tx: Tx, fact: Fact) -> None:
    body = fact.body
    rows = tx.many(Table.RESERVATIONS, station=fact.station, status=domain.ACTIVE)
    if (named := body.get("reservation_id")) is not None:
        rows += tx.many(Table.RESERVATIONS, id=named, station=fact.station, status="USED")
    if fact.order_id is not None:
        rows += tx.many(Table.RESERVATIONS, order_id=fact.order_id, status=domain.ACTIVE)
    for row in {row["id"]: row for row in rows}.values():
        it = domain.from_row(row)
        here = it.station == fact.station and it.evse in (0, body["evse"])
        is_named = it.id == named or (fact.order_id is not None and it.order_id == fact.order_id)
        in_time = here and _is_time(it, body.get("started_ms") or fact.at_ms)
        if is_named or (in_time and _may_use(tx, it, body.get("token"))):
            _use(tx, it, fact, here=here)


def _use(tx: Tx, it: Reservation, fact: Fact, *, here: bool) -> None:
    """Used here the charger has spent it with the start; used elsewhere it still holds it, and is asked to let go."""
    told = Told.GONE if here else it.told
    if (it.status, it.told) == (Status.USED, told):
        return
    if it.told is Told.ASKED:
        _withdraw(tx, {"id": it.id}, fact.at_ms)
    _keep(tx, it, Status.USED, it.hold, told, it.reason, fact.at_ms)
    tx.append([_fact(it, "ReservationUsed", fact.at_ms, session_id=fact.body["session_id"])])


def _is_time(it: Reservation, at_ms: int) -> bool:
    return it.is_sure and it.start_ms - domain.EARLY_START_MS <= at_ms < it.until_ms


def _may_use(tx: ReadTx, it: Reservation, token: str | None) -> bool:
    shown, reserved = token_norm(token), token_norm(it.token)
    return domain.may_use(reserved, _group_of(tx, reserved), shown, _group_of(tx, shown))


def _group_of(tx: ReadTx, norm: str | None) -> str | None:
    row = tx.one(Table.TOKENS, uid_norm=norm) if norm is not None else None
    return token_norm(row["group_id"]) if row is not None else None


def _keep(tx: Tx, it: Reservation, status: Status, hold: Hold, told: Told, reason: str | None, now_ms: int) -> None:
    values = {"status": status.value, "hold": hold.value, "told": told.value, "reason": reason, "updated_ms": now_ms}
    tx.change(Table.RESERVATIONS, values, id=it.id)


def _fact(it: Reservation, kind: str, now_ms: int, **more: Any) -> Fact:
    body = {"reservation_id": it.id, "evse": it.evse, **more}
    return Fact(kind, now_ms, body, station=it.station, order_id=it.order_id)
