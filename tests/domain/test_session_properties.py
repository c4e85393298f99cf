"""The five properties of SESSIONS 5.11 over random seeded traces of a rude charger.

A trace is what one station says while the link drops, the power fails, its queue drains late, and its meter
stammers. `House` is the smallest possible application: matching, apply, timers, and a ledger at 18 per kWh.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from csms.domain import session_events as ev
from csms.domain.matching import How, match_meter, match_start, match_stop
from csms.domain.meter import Quality
from csms.domain.reported import Metered, Reading, SocketStatus, Started, Stopped
from csms.domain.session import (
    Session,
    State,
    Timing,
    apply,
    due,
    from_row,
    meter_fast,
    open_session,
    to_row,
)
from csms.domain.session_energy import recompute
from csms.domain.session_states import LATE
from csms.domain.units import kwh, round_money

T0 = 1_767_225_600_000
SEC, MIN, HOUR = 1_000, 60_000, 3_600_000
RATED_W = 7_400
TIMING = Timing()
RATE = Decimal(18)
SEEDS = st.integers(0, 2**32)

Said = Started | Metered | Stopped | ev.LinkDown | ev.LinkUp | ev.BootSeen | ev.StatusSeen | ev.RegisterSeen


@dataclass(frozen=True)
class Delivery:
    """Something the station said, and when it came."""

    at_ms: int
    said: Said


# ── the station ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Station:
    """One socket. `tx` is put in by the house for 1.6 (the start's answer), named by the station for 2.0.1."""

    chance: random.Random
    dialect201: bool
    resets: bool = True
    now_ms: int = T0
    wh: int = 1_000
    online: bool = True
    last_life_ms: int = T0
    queue: list[Said] = field(default_factory=list)
    out: list[Delivery] = field(default_factory=list)
    count: int = 0

    def say(self, said: Said) -> None:
        if self.online:
            self.out.append(Delivery(self.now_ms, said))
            self.last_life_ms = self.now_ms
        else:
            self.queue.append(said)

    def lose_link(self) -> None:
        if self.online:
            self.out.append(Delivery(self.now_ms + 50, ev.LinkDown(self.now_ms + 50, self.last_life_ms)))
            self.online = False

    def find_link(self) -> None:
        if self.online:
            return
        self.out.append(Delivery(self.now_ms, ev.LinkUp(self.now_ms)))
        self.online = True
        for said in self.queue:
            self.now_ms += 20
            self.say(said)
        self.queue.clear()

    def charge(self, minutes: int) -> None:
        """Energy flows; a sample every minute, sometimes lost, zero, or a little low."""
        for _ in range(minutes):
            self.now_ms += MIN
            self.wh += self.chance.randint(0, RATED_W // 60)
            if self.chance.random() < 0.15:
                continue
            shown = self.wh
            if self.chance.random() < 0.05:
                shown = 0
            elif self.chance.random() < 0.1:
                shown = max(1, self.wh - self.chance.randint(1, 9))
            self.sample(shown)

    def sample(self, shown: int) -> None:
        self.count += 1
        reading = Reading(at_ms=self.now_ms, register_wh=shown, power_w=RATED_W)
        self.say(Metered(1, 1, (reading,), tx_id=f"T{self.session}"))

    session = 0

    def begin(self, token: str = "BK7") -> None:  # a tag, not a password
        self.session += 1
        key = f"s{self.session}"
        tx_id = f"T{self.session}" if self.dialect201 else None
        self.say(Started(key, 1, 1, token, self.now_ms, self.wh, tx_id))

    def end(self, reason: str | None = None, *, at_ms: int | None = None) -> None:
        self.count += 1
        when = self.now_ms if at_ms is None else at_ms
        said = Stopped(f"e{self.count}", f"T{self.session}", when, self.wh, reason)
        self.say(replace(said, evse=1, connector=1) if self.dialect201 else said)

    def cut_power(self) -> None:
        """Dark for a while, then a boot; then a stop, or none and an idle register, or the same transaction."""
        cut_ms = self.now_ms
        self.lose_link()
        self.now_ms += self.chance.randint(2, 300) * MIN
        booted_ms = self.now_ms
        self.out.append(Delivery(booted_ms, ev.BootSeen(booted_ms, new_epoch=True, boot_at_ms=booted_ms)))
        self.online = True
        queued, self.queue = self.queue, []
        what = self.chance.choice(["stop", "stop", "nothing", "resume", "restart"])
        for said in queued:
            self.now_ms += 20
            self.say(said)
        self.now_ms += 5 * SEC
        if what == "stop":
            self.end("PowerLoss", at_ms=cut_ms)
        elif what == "nothing":
            self.wh += self.chance.randint(0, 400)
            self.say(ev.RegisterSeen(self.now_ms, self.now_ms, self.wh))
            self.now_ms += SEC
            self.say(ev.StatusSeen(self.now_ms, SocketStatus.AVAILABLE, self.now_ms))
        elif what == "resume":
            self.wh = self.wh if not self.resets or self.chance.random() < 0.5 else self.chance.randint(0, 30)
            self.now_ms += SEC
            self.sample(self.wh)
            self.charge(self.chance.randint(1, 20))
            self.end()
        else:
            self.begin()
            self.charge(self.chance.randint(1, 20))
            self.end()

    def live(self, sessions: int, *, cuts: bool = True) -> list[Delivery]:
        """`sessions` plug-ins of a bad day."""
        for _ in range(sessions):
            self.begin()
            for _ in range(self.chance.randint(1, 4)):
                self.charge(self.chance.randint(1, 12))
                if self.chance.random() < 0.4:
                    self.lose_link()
                elif self.chance.random() < 0.7:
                    self.find_link()
            if cuts and self.chance.random() < 0.5:
                self.cut_power()
            else:
                self.end(self.chance.choice([None, "Local", "EVDisconnected"]))
            self.now_ms += self.chance.randint(1, 40) * HOUR if self.chance.random() < 0.2 else 30 * MIN
            self.find_link()
            self.now_ms += 30 * MIN
        return self.out


def trace(seed: int, *, cuts: bool = True, resets: bool = True, sessions: int = 2) -> list[Delivery]:
    chance = random.Random(seed)
    return Station(chance, dialect201=chance.random() < 0.5, resets=resets).live(sessions, cuts=cuts)


# ── the house ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class House:
    """Matching, apply, timers and a ledger; `restarts` reloads every session between any two events."""

    restarts: bool = False
    fast: bool = False
    sessions: list[Session] = field(default_factory=list)
    tx_of_start: dict[str, str] = field(default_factory=dict)
    ledger: dict[int, list[tuple[int, Decimal]]] = field(default_factory=dict)
    cases: list[str] = field(default_factory=list)

    def hear(self, deliveries: list[Delivery]) -> House:
        for delivery in deliveries:
            self.pass_time(delivery.at_ms)
            self.take(delivery)
            if self.restarts:
                self.sessions = [from_row(json.loads(json.dumps(to_row(s)))) for s in self.sessions]
        last_ms = max(delivery.at_ms for delivery in deliveries)
        self.pass_time(last_ms + 3 * 24 * HOUR)
        return self

    def pass_time(self, now_ms: int) -> None:
        """Fire what is due, in order."""
        for _ in range(200):
            waiting = [
                (session.deadlines[timer], session.no, timer, session)
                for session in self.sessions
                for timer in due(session, now_ms)
            ]
            if not waiting:
                return
            at_ms, _, timer, session = min(waiting, key=lambda item: item[:3])
            self.apply(session, ev.TimerFired(at_ms, timer))
        raise AssertionError("timers without end")

    def take(self, delivery: Delivery) -> None:
        now_ms, said = delivery.at_ms, delivery.said
        match said:
            case Started():
                self.start(now_ms, said)
            case Metered():
                self.meter(now_ms, said)
            case Stopped():
                self.stop(now_ms, said)
            case _:
                for session in list(self.sessions):
                    self.apply(session, replace(said, now_ms=now_ms))

    def start(self, now_ms: int, said: Started) -> None:
        at_ms = said.at_ms if said.at_ms is not None else now_ms
        found = match_start(said, at_ms, self.sessions, TIMING)
        if found.how in (How.SAME, How.NEAR, How.ALIAS):
            return
        tx_id = said.tx_id or str(1_000 + len(self.tx_of_start))
        self.tx_of_start[f"T{said.key[1:]}"] = tx_id
        event = ev.StartSeen(now_ms, said, at_ms, authorised=True, tx_id=tx_id)
        if found.displaces is not None:
            self.apply(found.displaces, ev.OtherStartSeen(now_ms, at_ms, said.register_wh))
        for session in self.sessions:
            if session is not found.session and session.state is State.ENDED_PENDING_DATA:
                self.apply(session, ev.OtherStartSeen(now_ms, at_ms, said.register_wh))
        if found.session is None:
            self.open(event)
        else:
            self.apply(found.session, event)

    def meter(self, now_ms: int, said: Metered) -> None:
        known = replace(said, tx_id=self.tx_of_start.get(said.tx_id or "", said.tx_id))
        at_ms = known.readings[0].at_ms or now_ms
        session = match_meter(known, at_ms, self.sessions).session
        assert session is not None, "the trace names only transactions it began"
        reading = known.readings[0]
        assert reading.register_wh is not None
        if self.fast and meter_fast(session, at_ms, reading.register_wh, reading.power_w):
            return
        self.apply(session, ev.MeterSeen(now_ms, known.readings))

    def stop(self, now_ms: int, said: Stopped) -> None:
        known = replace(said, tx_id=self.tx_of_start.get(said.tx_id, said.tx_id))
        at_ms = known.at_ms if known.at_ms is not None else now_ms
        found = match_stop(known, at_ms, self.sessions)
        if found.how is How.SAME:
            return
        event = ev.StopSeen(now_ms, known, at_ms)
        if found.session is None:
            self.open(event)
        else:
            self.apply(found.session, event)

    def open(self, event: ev.StartSeen | ev.StopSeen) -> None:
        no = len(self.sessions) + 1
        session, out = open_session(
            event, TIMING, no=no, session_id=f"id{no}", station="CP1", evse=1, connector=1, rated_w=RATED_W
        )
        self.sessions.append(session)
        self.settle(session, out, event.now_ms)

    def apply(self, session: Session, event: ev.Event) -> None:
        self.settle(session, apply(session, event, TIMING), event.now_ms)

    def settle(self, session: Session, outcomes: list[ev.Outcome], now_ms: int) -> None:
        for outcome in outcomes:
            match outcome:
                case ev.Ended():
                    self.post(session, session.revision + 1)
                    self.apply(session, ev.Settled(now_ms, session.revision + 1))
                case ev.Abandoned(revision) | ev.Revised(revision):
                    self.post(session, revision)
                case _:
                    pass

    def post(self, session: Session, revision: int) -> None:
        """Only the difference to what is in the ledger."""
        entries = self.ledger.setdefault(session.no, [])
        posted = sum((amount for _, amount in entries), Decimal(0))
        entries.append((revision, price(session) - posted))

    def energies(self) -> list[tuple[int, int, Quality]]:
        return [(session.no, session.energy_wh, session.quality) for session in self.sessions]


def price(session: Session) -> Decimal:
    """18.00 per kWh; unknown energy has no price."""
    return Decimal(0) if session.quality is Quality.U else round_money(kwh(session.energy_wh) * RATE)


# ── the properties ──────────────────────────────────────────────────────────────────────────────────────────


def delayed(deliveries: list[Delivery], chance: random.Random) -> list[Delivery]:
    """Readings overtaken by anything that follows them; starts, stops, boots and the link stay where they are."""
    line = []
    for index, delivery in enumerate(deliveries):
        at_ms, behind = delivery.at_ms, index
        if isinstance(delivery.said, Metered) and chance.random() < 0.5:
            behind = min(len(deliveries) - 1, index + chance.randint(1, 30))
            at_ms = deliveries[behind].at_ms
        line.append((behind, at_ms, Delivery(at_ms, delivery.said)))
    return [moved for _, _, moved in sorted(line, key=lambda item: item[:2])]


@given(SEEDS, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_1_the_order_of_delivery_does_not_change_energy_or_amount(seed: int, chance: random.Random) -> None:
    deliveries = trace(seed)
    one, other = House().hear(deliveries), House().hear(delayed(deliveries, chance))
    assert one.energies() == other.energies()
    assert [price(s) for s in one.sessions] == [price(s) for s in other.sessions]


@given(SEEDS)
@settings(max_examples=80, deadline=None)
def test_2_every_frame_twice_changes_nothing(seed: int) -> None:
    deliveries = trace(seed)
    once = House().hear(deliveries)
    twice = House().hear([delivery for delivery in deliveries for _ in range(2)])
    assert [to_row(s) for s in once.sessions] == [to_row(s) for s in twice.sessions]
    assert once.ledger == twice.ledger


@given(SEEDS, st.randoms(use_true_random=False), st.floats(0.0, 1.0))
@settings(max_examples=80, deadline=None)
def test_3_lost_meter_values_do_not_change_energy_between_start_and_stop(
    seed: int, chance: random.Random, share: float
) -> None:
    deliveries = trace(seed, cuts=False)
    kept = [d for d in deliveries if not isinstance(d.said, Metered) or chance.random() > share]
    whole, thin = House().hear(deliveries), House().hear(kept)
    assert whole.energies() == thin.energies()
    assert all(quality is Quality.A for _, _, quality in whole.energies())


@given(SEEDS, st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_4_the_ledger_always_closes(seed: int, chance: random.Random) -> None:
    house = House().hear(delayed(trace(seed), chance))
    for session in house.sessions:
        entries = house.ledger[session.no]
        assert session.state in LATE, "everything is settled in the end"
        assert sum(amount for _, amount in entries) == price(session)
        revisions = [revision for revision, _ in entries]
        assert revisions == list(range(1, session.revision + 1)), "one posting per revision"


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_5_a_restart_between_any_two_frames_changes_nothing(seed: int) -> None:
    deliveries = trace(seed)
    steady, restarted = House().hear(deliveries), House(restarts=True).hear(deliveries)
    assert steady.sessions == restarted.sessions
    assert steady.ledger == restarted.ledger


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_the_fast_path_and_the_running_figures_equal_a_full_recount(seed: int) -> None:
    deliveries = trace(seed)
    slow, fast = House().hear(deliveries), House(fast=True).hear(deliveries)
    assert [to_row(s) for s in slow.sessions] == [to_row(s) for s in fast.sessions]
    house = House()
    for delivery in deliveries:
        house.pass_time(delivery.at_ms)
        house.take(delivery)
        for session in house.sessions:
            again = from_row(to_row(session))
            recompute(again, TIMING)
            assert to_row(again) == to_row(session)


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_energy_is_never_negative_and_never_more_than_the_meter_turned(seed: int) -> None:
    chance = random.Random(seed)
    station = Station(chance, dialect201=True, resets=False)
    house = House().hear(station.live(2))
    assert all(wh >= 0 for _, wh, _ in house.energies())
    assert sum(wh for _, wh, _ in house.energies()) <= station.wh - 1_000
