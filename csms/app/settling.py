"""From what the chargers proved to what the buyer pays. Follows the journal; every step may be done twice.

    SessionStarted … -> the order hears of it           SessionEnded, SessionAbandoned, SessionRevised
    SessionInterrupted, SessionResumed                     -> bill by the order's own terms -> ledger (deltas only)
    InstructionRefused, InstructionExpired (a start)       -> order BILLED or REVISED, money moves queued
                                                           -> SessionSettled, which the charger path tells the session
A session without an order is priced by its socket's tariff into a revision (a CDR), without a ledger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from csms.app.cases import open_case
from csms.app.catalogue import Inventory
from csms.app.orders import act, ledger_of, post, take_order
from csms.app.paying import queue_moves, settle_top_ups
from csms.app.rounds import Round
from csms.domain.breakdown import Breakdown, Role
from csms.domain.ledger import latest_revision, outstanding
from csms.domain.order import Begin, Bill, End, Interrupt, Order, Resume, StartFailed, State
from csms.domain.refusal import Refusal
from csms.domain.running_cost import PRICED, usage
from csms.domain.settlement import Charge, margin_minor, payable, settle
from csms.domain.stored import from_json, to_json
from csms.domain.tariff import Terms, Usage, bill
from csms.ports import Bell, Clock, Fact, Ids, Payments, ReadTx, Row, Store, StoreDown, Table, Tx

log = structlog.get_logger()

FOLLOWED = frozenset(
    {
        "SessionStarted", "SessionInterrupted", "SessionResumed", "SessionEnded", "SessionAbandoned", "SessionRevised",
        "SessionReshaped", "SessionVoided", "InstructionRefused", "InstructionExpired",
    }
)  # fmt: skip
_ENDS = frozenset({"SessionEnded", "SessionAbandoned", "SessionRevised", "SessionReshaped"})
_PRICED_QUALITIES = frozenset(quality.value for quality in PRICED)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlingRules:
    """The operator's choices."""

    provisional_after_ms: int = 5 * 60_000  # after the driver was told (SESSIONS 5.9)
    sample_interval_ms: int = 60_000
    default_rated_w: int = 7_400


class Settling:
    """The follower that moves orders and money."""

    def __init__(
        self,
        *,
        store: Store,
        inventory: Inventory,
        payments: Payments,
        clock: Clock,
        ids: Ids,
        bell: Bell,
        rules: SettlingRules,
    ) -> None:
        self._store = store
        self._inventory = inventory
        self._payments = payments
        self._clock = clock
        self._ids = ids
        self._bell = bell
        self._rules = rules
        self._interrupted = Round(store, "INTERRUPTED")

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """A batch in one transaction; when one of them fails, each by itself, so that only that one is stuck."""
        now_ms = self._clock.now_ms()
        concerned = [fact for fact in facts if fact.order_id is not None or fact.kind in _ENDS]
        if not concerned:
            return

        def batch(tx: Tx) -> None:
            for fact in concerned:
                self._on_fact(tx, fact, now_ms)

        try:
            await self._store.transact(batch)
        except StoreDown:
            raise
        except Exception:
            log.exception("settling.batch_failed", facts=len(concerned))
            await self._one_by_one(concerned, now_ms)
        self._bell.ring("payments")

    async def _one_by_one(self, facts: Sequence[Fact], now_ms: int) -> None:
        """Every order and session as far as it goes; what is stuck keeps its later facts waiting, and the cursor."""
        stuck: dict[str | int | None, Exception] = {}
        for fact in facts:
            about = fact.order_id or fact.session_no
            if about in stuck:
                continue
            try:
                await self._store.transact(partial(self._on_fact, fact=fact, now_ms=now_ms))
            except StoreDown:
                raise
            except Exception as error:  # noqa: BLE001 - raised below, when the others have had their turn
                stuck[about] = error
        if stuck:
            self._bell.ring("payments")
            raise next(iter(stuck.values()))

    def _on_fact(self, tx: Tx, fact: Fact, now_ms: int) -> None:
        match fact.kind:
            case "SessionEnded" | "SessionAbandoned" | "SessionRevised" | "SessionReshaped":
                self.settle_session(tx, fact, now_ms)
                return
            case "InstructionRefused" | "InstructionExpired":
                self._start_failed(tx, fact, now_ms)
                return
        order = take_order(tx, fact.order_id) if fact.order_id is not None else None
        if order is None:
            return
        match fact.kind:
            case "SessionStarted" if fact.body.get("authorised"):
                self._try(
                    tx,
                    order,
                    Begin(session_id=fact.body["session_id"], at_ms=fact.body["started_ms"] or now_ms),
                    now_ms,
                )
            case "SessionInterrupted":
                estimate = self._estimate(tx, order, fact)
                self._try(tx, order, Interrupt(at_ms=fact.at_ms, estimate=estimate), now_ms)
            case "SessionResumed":
                self._try(tx, order, Resume(at_ms=fact.at_ms), now_ms)
            case "SessionVoided":
                self._try(tx, order, StartFailed(reason="the charger gave up before any energy flowed"), now_ms)

    @staticmethod
    def _try(tx: Tx, order: Order, command: Any, now_ms: int) -> Order:
        """News from the charger cannot be refused; what the order cannot take in this state it has heard already."""
        try:
            return act(tx, order, command, now_ms)[0]
        except Refusal as refusal:
            log.info("order.news_not_taken", order_id=order.order_id, state=order.state.value, why=refusal.detail)
            return order

    def _start_failed(self, tx: Tx, fact: Fact, now_ms: int) -> None:
        if fact.body.get("kind") != "start" or fact.order_id is None:
            return
        order = take_order(tx, fact.order_id)
        if order is None or order.state not in {State.STARTING, State.STOPPING} or order.session_id is not None:
            return
        reason = fact.body.get("reason") or "no answer"
        self._try(tx, order, StartFailed(reason=f"the charger did not start: {reason}"), now_ms)

    # -- bills

    def _estimate(self, tx: Tx, order: Order, fact: Fact) -> Any:
        session = tx.one(Table.SESSIONS, no=fact.session_no)
        if session is None:
            return None
        try:
            return bill(order.terms, usage_of(tx, session))
        except Refusal:
            return None

    def settle_session(self, tx: Tx, fact: Fact, now_ms: int) -> None:
        """Bill what the session proves now. Nothing happens when this version of it is billed already."""
        session = tx.take(Table.SESSIONS, no=fact.session_no)
        if session is None:
            return
        if session["quality"] not in _PRICED_QUALITIES and session["energy_wh"]:
            self._case(tx, session, now_ms, "UNPRICED", "The energy of this session is an estimate; it is not billed.")
            return
        billed = tx.many(Table.REVISIONS, order="-revision", limit=1, session_no=session["no"])
        profile = usage_of(tx, session)
        if billed and not billed[0]["provisional"] and billed[0]["reason"] == _digest(session, profile):
            return
        order = take_order(tx, session["order_id"]) if session["order_id"] else None
        terms = order.terms if order is not None else self._inventory.terms_of_session(session)
        if billed and _only_reshaped(billed[0], session) and _costs_the_same(billed[0], terms, profile):
            return
        if order is None:
            self._price_alone(tx, session, billed, now_ms)
            return
        end = End(at_ms=session["ended_ms"] or now_ms, cause=session["end_cause"] or "Unknown")
        if order.session_id is None:
            order = self._try(tx, order, Begin(session_id=session["id"], at_ms=session["started_ms"] or now_ms), now_ms)
        if order.state is not State.COMPLETED and order.session_id == session["id"]:
            order = self._try(tx, order, end, now_ms)
        if order.state is not State.COMPLETED or order.session_id != session["id"]:
            self._not_of_the_order(tx, order, session, now_ms)
            return
        self._bill(tx, order, session, now_ms, margin=None)

    def settle_provisionally(self, tx: Tx, order_id: str, now_ms: int) -> None:
        """Long interrupted with the power gone: give back now what no lost sample can need (SESSIONS 5.9)."""
        order = take_order(tx, order_id)
        if order is None or order.state is not State.INTERRUPTED or order.session_id is None or order.estimate is None:
            return
        session = tx.take(Table.SESSIONS, id=order.session_id)
        if session is None or session["state"] != "INTERRUPTED" or session["quality"] not in _PRICED_QUALITIES:
            return
        if tx.many(Table.REVISIONS, limit=1, session_no=session["no"]):
            return
        # The wait begins with the evidence: a charger that has only just booted is still telling what it kept.
        proven_ms = json.loads(session["data"]).get("interrupted_at_ms")
        if proven_ms is not None and now_ms - proven_ms < self._rules.provisional_after_ms:
            return
        profile = usage_of(tx, session)
        station = tx.one(Table.STATIONS, id=session["station"])
        rated_w = (station["rated_w"] if station else None) or self._rules.default_rated_w
        at_ms = session["last_proven_ms"] or now_ms
        margin = margin_minor(
            order.terms, profile, rated_w=rated_w, sample_interval_ms=self._rules.sample_interval_ms, at_ms=at_ms
        )
        self._bill(tx, order, session, now_ms, margin=margin)

    def _bill(self, tx: Tx, order: Order, session: Row, now_ms: int, margin: int | None) -> None:
        try:
            breakdown = bill(order.terms, usage_of(tx, session))
        except Refusal as refusal:
            self._case(tx, session, now_ms, "NO_TARIFF", f"It cannot be billed: {refusal.detail}.")
            return
        entries = ledger_of(tx, order.order_id)
        revision = latest_revision(entries) + 1
        wh = session["energy_wh"] or 0
        charge = Charge(order_id=order.order_id, revision=revision, breakdown=breakdown, delivered_wh=wh, at_ms=now_ms)
        our_fault = bool(json.loads(session["data"]).get("our_fault"))
        new = post(tx, settle(entries, charge, terms=order.terms, want=order.want, our_fault=our_fault, margin=margin))
        breakdown = payable(breakdown, [*entries, *new])
        billed = Bill(
            breakdown=breakdown,
            delivered_wh=wh,
            minutes=minutes_of(session),
            revision=revision,
            provisional=margin is not None,
        )
        order = self._try(tx, order, billed, now_ms)
        queue_moves(tx, order, new, now_ms)
        if margin is None:
            order = settle_top_ups(tx, order, outstanding([*entries, *new]).due_minor, self._payments, now_ms)
        self._keep_revision(tx, session, revision, breakdown, now_ms, provisional=margin is not None)
        if margin is None:
            tx.append([_settled(session, revision, now_ms, order.order_id)])

    def _not_of_the_order(self, tx: Tx, order: Order, session: Row, now_ms: int) -> None:
        """It flowed for an order that was over before it (its end and the start crossed), or that another session
        is billed for: nothing is taken for it, a person hears of it, and the session is done with."""
        if session["energy_wh"]:
            why = f"{session['energy_wh']} Wh flowed for order {order.order_id}, which is {order.state.value}"
            if order.session_id is not None:
                why += f" and is billed for session {order.session_id}"
            self._case(tx, session, now_ms, "NOT_ORDERED", f"{why}. They are billed to nobody.")
        billed = tx.many(Table.REVISIONS, order="-revision", limit=1, session_no=session["no"])
        revision = (billed[0]["revision"] if billed else 0) + 1
        self._keep_revision(tx, session, revision, None, now_ms, provisional=False)
        tx.append([_settled(session, revision, now_ms, None)])

    def _price_alone(self, tx: Tx, session: Row, billed: list[Row], now_ms: int) -> None:
        terms = self._inventory.terms_of_session(session)
        breakdown = None
        if terms is not None:
            try:
                breakdown = bill(terms, usage_of(tx, session))
            except Refusal as refusal:
                self._case(tx, session, now_ms, "NO_TARIFF", f"It cannot be priced: {refusal.detail}.")
        revision = (billed[0]["revision"] if billed else 0) + 1
        self._keep_revision(tx, session, revision, breakdown, now_ms, provisional=False)
        tx.append([_settled(session, revision, now_ms, None)])

    @staticmethod
    def _keep_revision(tx: Tx, session: Row, revision: int, breakdown: Any, now_ms: int, *, provisional: bool) -> None:
        tx.save(
            Table.REVISIONS,
            {
                "session_no": session["no"],
                "revision": revision,
                "at_ms": now_ms,
                "provisional": int(provisional),
                "energy_wh": session["energy_wh"] or 0,
                "quality": session["quality"],
                "duration_s": minutes_of(session) * 60,
                "currency": breakdown.currency if breakdown is not None else None,
                "amount_minor": breakdown.total_minor if breakdown is not None else None,
                "breakdown": json.dumps(to_json(breakdown)) if breakdown is not None else None,
                "reason": _digest(session, usage_of(tx, session)),
                "session_version": session["version"],
            },
        )

    @staticmethod
    def _case(tx: Tx, session: Row, now_ms: int, kind: str, text: str) -> None:
        open_case(
            tx,
            case_id=f"{kind}:{session['id']}",
            type_=kind,
            severity="money",
            text=text,
            now_ms=now_ms,
            station=session["station"],
            session_id=session["id"],
            order_id=session["order_id"],
        )

    async def tick(self, now_ms: int) -> None:
        """Interrupted orders whose buyers have waited long enough for their money."""
        for row in await self._interrupted.bite():
            interrupted_ms = json.loads(row["data"]).get("interrupted_at_ms")
            if interrupted_ms is not None and now_ms - interrupted_ms >= self._rules.provisional_after_ms:
                order_id = row["id"]
                await self._store.transact(partial(self.settle_provisionally, order_id=order_id, now_ms=now_ms))
                self._bell.ring("payments")


def usage_of(tx: ReadTx, session: Row) -> Usage:
    """The metered profile of a stored session (`running_cost.usage`)."""
    start_ms = session["started_ms"]
    readings = tx.many(Table.READINGS, order="at_ms", subject=session["no"])
    return usage(
        start_ms=start_ms,
        end_ms=session["ended_ms"] or session["last_proven_ms"] or start_ms,
        start_wh=session["meter_start_wh"],
        energy_wh=session["energy_wh"] or 0,
        # In the order in which the session has them in memory: two of one instant by their value.
        registers=sorted((reading["at_ms"], reading["register_wh"]) for reading in readings),
        idle_minutes=_idle_minutes(session),
    )


def minutes_of(session: Row) -> int:
    """Whole minutes from the start to the last thing known."""
    if session["started_ms"] is None:
        return 0
    end_ms = session["ended_ms"] or session["last_proven_ms"] or session["started_ms"]
    return int(max(0, end_ms - session["started_ms"]) // 60_000)


def _digest(session: Row, profile: Usage) -> str:
    """What a bill depends on; equal digests need no new revision. The last part is when the energy flowed."""
    pieces = ",".join(f"{piece.start_ms}:{piece.end_ms}:{piece.energy_wh}" for piece in profile.slices)
    return f"{_figures(session)}|{hashlib.sha256(pieces.encode()).hexdigest()[:16]}"


def _figures(session: Row) -> str:
    idle_minutes = _idle_minutes(session)
    return f"{session['energy_wh']}|{session['started_ms']}|{session['ended_ms']}|{session['end_cause']}|{idle_minutes}"


def _only_reshaped(billed: Row, session: Row) -> bool:
    """Billed with the same figures; only when the energy flowed is told otherwise now."""
    figures = _figures(session)
    return not billed["provisional"] and (billed["reason"] == figures or billed["reason"].rpartition("|")[0] == figures)


def _costs_the_same(billed: Row, terms: Terms | None, profile: Usage) -> bool:
    if billed["breakdown"] is None or terms is None:
        return True  # it had no price, and has none now
    before = from_json(Breakdown, json.loads(billed["breakdown"])).without(Role.WAIVED)
    try:
        return bill(terms, profile) == before
    except Refusal:
        return True


def _idle_minutes(session: Row) -> int:
    return int(json.loads(session["data"]).get("idle_ms") or 0) // 60_000


def _settled(session: Row, revision: int, now_ms: int, order_id: str | None) -> Fact:
    body = {"session_id": session["id"], "revision": revision}
    return Fact("SessionSettled", now_ms, body, session["station"], session["no"], order_id)
