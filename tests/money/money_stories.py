"""Random stories of one purchase each, from a seed, and what must be true of the money when they are over.

A plan is plain data, so that the same story can be told in two worlds: once, and with everything said twice.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

from money_world import BAP, HOUR_MS, MINUTE_MS, OFFERS, TARIFFS, Json, World, item_id, reading

from csms.app.debtors import forgive
from csms.app.orders import order_from
from csms.app.selling import Claim
from csms.domain.breakdown import Role
from csms.domain.ledger import Account, EntryKind, LedgerEntry, outstanding
from csms.domain.order import CancelledBy, CollectedBy, Order, PaymentStatus, State
from csms.domain.refusal import Refusal
from csms.domain.reported import Booted, Metered, SocketStatus, Started, StatusReported, Stopped
from csms.domain.units import rfc3339, to_minor
from csms.ports import Table, Tx
from simulators import bodies
from simulators.reading_v1 import ItemV1
from simulators.tongue_v1 import DIALECTS, tongue
from simulators.tongues import Item

Payment = Literal["paid", "never", "late", "wrong-then-right"]
Fate = Literal["left", "cancelled-early", "cancelled", "no-show", "charged", "failed-start"]
Step = tuple[str, int]  # what happens, and a number for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One purchase. Times in minutes, energy in Wh."""

    charger: str
    dialect: str
    number: float | None
    code: str
    collected_by: str
    payment: Payment
    fate: Fate
    offer: str | None = None
    finder_fee: float | None = None
    slot_in: int | None = None
    cancel_after: int = 0
    steps: tuple[Step, ...] = ()
    end: str = "local"
    after: tuple[Step, ...] = ()
    overshoot_wh: int = field(default=0)
    buyer: str | None = None  # the fleet or programme whose member buys
    lapses: str | None = None  # when the hold ends at the gateway: before charging, while, after
    far_after: tuple[Step, ...] = ()  # when the bill is final


def plan(chance: random.Random) -> Plan:
    """A story somebody might live through, some of them on a bad day."""
    charger = chance.choice([*sorted(TARIFFS), "HOLD", "INCLUSIVE", "PLAIN"])
    code = chance.choice(["KWH", "KWH", "KWH", "INR", "INR", "MIN", "OPEN"])
    number = {
        "KWH": round(chance.choice([1, 1, 4]) * chance.uniform(0.3, 3), 2),
        "INR": float(chance.randrange(30, 400)),
        "MIN": float(chance.randrange(5, 60)),
    }
    collected_by = chance.choice(["BPP", "BPP", "BAP"])
    buyer = chance.choice([None, None, None, None, None, *PHONES])
    payment: Payment = "paid"
    if collected_by == "BPP":
        payment = chance.choices(["paid", "never", "late", "wrong-then-right"], [12, 1, 1, 1])[0]  # type: ignore[assignment]
    if (charger == "AFTERWARDS" or buyer in {"by-month", "own-price"}) and chance.random() < 0.7:
        payment = "never"
    fate: Fate = chance.choices(
        ["charged", "cancelled", "cancelled-early", "no-show", "left", "failed-start"], [14, 2, 1, 1, 1, 1]
    )[0]  # type: ignore[assignment]
    slot_in = chance.choice([None, None, None, 30, 60, 180]) if fate != "failed-start" else None
    if fate == "no-show":
        slot_in = chance.choice([20, 45, 120])
    return Plan(
        charger=charger,
        dialect=chance.choice(["v2", "v2", *DIALECTS]),
        number=number.get(code),
        code=code,
        collected_by=collected_by,
        payment=payment,
        fate=fate,
        offer=chance.choice([None, None, *OFFERS]),
        finder_fee=chance.choice([None, 0, 2.5]),
        slot_in=slot_in,
        cancel_after=chance.choice([0, 5, 25, 50, 100, 200]),
        steps=tuple(_charge(chance)),
        end=chance.choices(
            ["local", "buyer", "power-stop", "power-silence", "dark-late", "dark-never", "zero", "reset", "silence"],
            [5, 4, 3, 2, 3, 2, 1, 1, 1],
        )[0],
        after=tuple(_afterwards(chance)),
        overshoot_wh=chance.choice([0, 0, 5, 200, 3_000]),
        buyer=buyer,
        lapses=chance.choice([None, None, "before", "while", "after"]),
        far_after=tuple(chance.choices(_FAR_AFTER, k=chance.choice([0, 0, 0, 1]))),
    )


PHONES: Final = {
    "by-month": "+919811100001", "own-price": "+919811100002", "at-once": "+919811100003", "gold": "+919811100004",
}  # fmt: skip
_FAR_AFTER: Final = (("stop-differs", 30), ("stop-differs", 400), ("stop-differs", -120), ("late-sample", 0))


def _charge(chance: random.Random) -> Iterable[Step]:
    for _ in range(chance.randrange(0, 7)):
        what = chance.choices(_STEPS, _STEP_WEIGHTS)[0]
        yield what, chance.randrange(10, 1_500) if what.endswith("sample") else chance.randrange(1, 40)


_STEPS: Final = ("sample", "old-sample", "twice", "link-flap", "dark-sample", "boot", "idle", "status")
_STEP_WEIGHTS: Final = (10, 2, 2, 2, 2, 1, 2, 1)


def _afterwards(chance: random.Random) -> Iterable[Step]:
    for _ in range(chance.choice([0, 0, 1, 2, 3])):
        yield chance.choice(
            [
                ("pay-top-up", 0),
                ("pay-top-up", 0),
                ("late-sample", 0),
                ("stop-again", 0),
                ("stop-differs", chance.choice([30, 400, -400])),
                ("pay-top-up", 0),
                ("pay-top-up", 0),
                ("ask-status", 0),
                ("stop-order", 0),
                ("forgive", 0),
                ("pay-again", 0),
                ("app-top-up", chance.choice([0, 0, 1, 2])),
                ("app-refund", chance.choice([0, 500, 10_000_000])),
                ("remit", chance.choice([1, 3_000, 50_000])),
                ("price-news", chance.randrange(1, 90)),
                ("cancel", 0),
            ]
        )


@dataclass(slots=True)
class Told:
    """What came of a story, comparable between worlds."""

    plan: Plan
    order: Order | None
    entries: list[LedgerEntry]
    delivered_wh: int | None  # what the meter really gave, when the charger said so in the end
    moves: list[tuple[str, int]]
    asked_minor: int | None
    cases: list[str]
    messages: list[str]
    refused: list[str]
    by_payment: dict[str, dict[str, int]] = field(default_factory=dict)  # what moved of each payment
    paid: dict[str, tuple[int, bool]] = field(default_factory=dict)  # what the driver gave: paise, and whether held
    documents_minor: int = 0
    is_lost: bool = False  # the gateway let the hold go

    def essence(self) -> dict[str, Any]:
        """Without ids and times: what a second telling must not change."""
        order = self.order
        return {
            "state": order.state.value if order is not None else None,
            "final": str(order.final.total) if order is not None and order.final is not None else None,
            "delivered": order.delivered_wh if order is not None else None,
            "refunds": [refund.amount_minor for refund in order.refunds] if order is not None else [],
            "top_ups": [(top.amount_minor, top.status.value) for top in order.top_ups] if order is not None else [],
            "ledger": [(entry.kind.value, entry.amount_minor, entry.wh, entry.revision) for entry in self.entries],
            "moves": sorted(self.moves),
            "cases": sorted(self.cases),
            "messages": self.messages,
            "documents": self.documents_minor,
        }


def _named(story: Plan) -> tuple[Any, Json | None]:
    """The connector and the offer, as that dialect's catalogue would show them."""
    if story.dialect in {"v2", "ubc"}:
        item: Any = Item({"beckn:id": item_id(story.charger), "beckn:provider": {"beckn:id": "cpo"}})
        return item, {"beckn:id": story.offer} if story.offer is not None else None
    item = ItemV1({"id": item_id(story.charger), "fulfillment_ids": ["f1"]}, {"id": "cpo"})
    return item, {"id": story.offer} if story.offer is not None else None


class Teller:
    """Tells a plan to a world."""

    def __init__(self, world: World, no: int, story: Plan) -> None:
        self._world = world
        self._plan = story
        self._id = f"{no:08d}-0000-4000-8000-000000000000"
        self._no = no
        self._register_wh = 1_000_000 + no * 100_000
        self._start_wh = self._register_wh
        self._tx = ""
        self._samples: list[tuple[int, int]] = []
        self._delivered_wh: int | None = None
        self._refused: list[str] = []
        self._tongue = tongue(story.dialect)
        phone = PHONES.get(story.buyer or "")
        self._person = bodies.Person(phone=phone) if phone is not None else bodies.Person()
        self._paid: dict[str, tuple[int, bool]] = {}
        self._is_lost = False
        self._told = 0

    async def tell(self) -> Told:
        world, story = self._world, self._plan
        payment_id = await self._buy()
        if payment_id is not None:
            match story.fate:
                case "cancelled":
                    await world.pass_time(story.cancel_after)
                    await self._say("cancel", self._tongue.cancel(self._shown))
                case "no-show":
                    await world.pass_time((story.slot_in or 0) + 60)
                case "failed-start":
                    await self._say("update", self._tongue.start(self._shown, None))
                    await world.refuse_starts(story.charger)
                case "charged":
                    await self._charge()
        await self._afterwards()
        return await self._result()

    # -- buying

    async def _say(self, action: str, message: Json) -> Json:
        answer = await self._world.say(action, message, self._id, self._tongue.header)
        if answer.get("error"):
            self._refused.append(f"{action}: {answer['error'].get('code')}")
        return answer

    async def _buy(self) -> str | None:
        """Up to a confirmed order; None when it never came to that."""
        world, story = self._world, self._plan
        if story.charger == "ANNOUNCED":
            await world.announce("ANNOUNCED", self._no * 10, (5, 25, "31.07"), (25, 50, "4.21"), (70, 900, "22"))
        now_ms = world.clock.now_ms()
        slot = None
        if story.slot_in is not None:
            start_ms = now_ms + story.slot_in * MINUTE_MS
            slot = (rfc3339(start_ms), rfc3339(start_ms + HOUR_MS))
        amount = bodies.Amount(story.number, story.code) if story.number is not None else None
        item, offer = _named(story)
        asked = self._tongue.select(
            item=item,
            person=self._person,
            amount=amount,
            offer=offer,
            slot=slot,
            finder_fee_percent=story.finder_fee,
        )
        answer = await self._say("select", asked)
        if answer.get("error") or story.fate == "left":
            return None
        order = {**answer["message"]["order"]}
        if "beckn:orderAttributes" in asked["order"]:
            order["beckn:orderAttributes"] = asked["order"]["beckn:orderAttributes"]
        wanted = self._tongue.init(
            order, person=self._person, collected_by=story.collected_by, subscriber_id=BAP,
            order_id=f"bap-{self._no}", payment_id=f"bap-pay-{self._no}",
        )  # fmt: skip
        answer = await self._say("init", wanted)
        if answer.get("error"):
            return None
        self._shown: Json = answer["message"]["order"]
        payment = self._tongue.payment(self._shown)
        bought = await world.order(self._id)
        assert bought is not None
        assert bought.payment is not None
        payment_id = bought.payment.payment_id
        if story.dialect not in {"v2", "ubc"}:
            self._shown.setdefault("id", bought.order_id)  # generation 1 tells it with the confirmation
        if story.fate == "cancelled-early":
            await self._say("cancel", self._tongue.cancel(self._shown))
            if story.payment == "paid" and story.collected_by == "BPP":
                await self._pay(payment_id)
            return None
        if story.collected_by == "BPP":
            match story.payment:
                case "paid":
                    await self._pay(payment_id)
                case "wrong-then-right":
                    await world.pay(payment_id, held=False, amount_minor=1)
                    await self._pay(payment_id)
                case "late":
                    await world.pass_time(40)
                    await self._pay(payment_id)
                case "never":
                    pass
        claim = payment
        if story.payment != "never":
            claim = self._tongue.paid(payment, txn_ref=f"TX-{self._no}", at=rfc3339(world.clock.now_ms()), hold=False)
        answer = await self._say("confirm", self._tongue.confirm(self._shown, claim, None))
        return payment_id if not answer.get("error") else None

    async def _pay(self, payment_id: str) -> None:
        order = await self._world.order(self._id)
        assert order is not None
        held = order.terms.pattern.value == "HOLD"
        await self._world.pay(payment_id, held=held, amount_minor=None)
        after = await self._world.order(self._id)
        assert after is not None
        if after.is_paid and after.payment is not None:
            self._paid[payment_id] = (after.payment.amount_minor, held)

    async def _pay_top_ups(self) -> None:
        order = await self._world.order(self._id)
        if order is None or order.collected_by is not CollectedBy.BPP:
            return
        for top_up in order.top_ups:
            await self._world.pay(top_up.payment_id, held=False, amount_minor=top_up.amount_minor)
            self._paid[top_up.payment_id] = (top_up.amount_minor, False)
        after = await self._world.order(self._id)
        assert after is not None
        assert all(top_up.is_good for top_up in after.top_ups), "a top-up was paid and is not booked"

    async def _lapse(self, when: str) -> None:
        """A hold of which nothing has moved ends at the gateway."""
        order = await self._world.order(self._id)
        if self._plan.lapses != when or order is None or order.payment is None or self._is_lost:
            return
        moved = await self._world.rows(Table.PAYMENTS, order_id=order.order_id, kind=("capture", "release"))
        if self._paid.get(order.payment.payment_id, (0, False))[1] and not moved:
            self._is_lost = True
            await self._world.lose_hold(order.payment.payment_id)

    # -- charging

    async def _charge(self) -> None:
        world, story, charger = self._world, self._plan, self._plan.charger
        if story.slot_in is not None:
            await world.pass_time(story.slot_in)
        await self._lapse("before")
        await self._say("update", self._tongue.start(self._shown, None))
        order = await world.order(self._id)
        if order is None or order.token is None or order.state not in {State.STARTING, State.CONFIRMED}:
            return
        world.report(charger, StatusReported(evse=1, connector=1, status=SocketStatus.PREPARING))
        (answer,) = world.report(
            charger,
            Started(
                key=f"start-{self._no}", evse=1, connector=1, token=order.token, at_ms=world.clock.now_ms(),
                register_wh=self._start_wh,
            ),
        )  # fmt: skip
        self._tx = str(answer.number)
        world.report(charger, StatusReported(evse=1, connector=1, status=SocketStatus.CHARGING))
        await world.settle()
        await self._lapse("while")
        for step in story.steps:
            await self._step(*step)
        target = order.quoted_wh + story.overshoot_wh
        if story.end in {"dark-late", "power-stop"} and self._register_wh - self._start_wh < target:
            world.link_down(charger)
            await self._draw(min(3_000, target - (self._register_wh - self._start_wh)), is_told=False)
            world.link_up(charger)
        await self._end(story.end)

    async def _draw(self, wh: int, *, is_told: bool = True) -> None:
        """Energy flows at a power the socket has; `is_told`: the charger says so."""
        world = self._world
        await world.pass_time(max(1.0, wh * 60 / 25_000), step_minutes=1)
        self._register_wh += wh
        self._samples.append((world.clock.now_ms(), self._register_wh))
        if is_told:
            world.report(self._plan.charger, self._metered(self._samples[-1]))
            await world.settle()

    def _metered(self, *samples: tuple[int, int]) -> Metered:
        return Metered(evse=1, connector=1, tx_id=self._tx, readings=tuple(reading(*sample) for sample in samples))

    async def _step(self, what: str, number: int) -> None:
        world, charger = self._world, self._plan.charger
        match what:
            case "sample":
                await self._draw(number)
            case "old-sample" if len(self._samples) > 1:
                world.report(charger, self._metered(*self._samples[:-1]))
            case "twice" if self._samples:
                world.report(charger, self._metered(self._samples[-1]))
            case "link-flap":
                world.link_down(charger)
                await world.pass_time(number)
                world.link_up(charger)
            case "dark-sample":
                world.link_down(charger)
                await self._draw(number, is_told=False)
                world.link_up(charger)
                world.report(charger, self._metered(self._samples[-1]))
            case "boot":
                world.report(charger, Booted(vendor="V", model="M", serial="1"))
                world.report(charger, StatusReported(evse=1, connector=1, status=SocketStatus.CHARGING))
            case "idle":
                await world.pass_time(number)
            case "status":
                await self._say("status", self._tongue.status(self._tongue.order_id(self._shown)))
        await world.settle()

    async def _end(self, how: str) -> None:
        world, charger = self._world, self._plan.charger
        match how:
            case "local":
                await self._draw(300)
                self._stop("Local")
            case "buyer":
                await self._draw(300)
                await self._say("update", self._tongue.stop(self._shown))
                self._stop("Remote")
            case "power-stop":
                world.link_down(charger)
                at_ms, register_wh = world.clock.now_ms(), self._register_wh
                await world.pass_time(90)
                world.link_up(charger)
                world.report(charger, Booted(vendor="V", model="M", serial="1", reason="PowerUp"))
                await world.pass_time(2)
                self._stop("PowerLoss", at_ms=at_ms, register_wh=register_wh)
            case "power-silence":
                world.link_down(charger)
                await world.pass_time(90)
                world.link_up(charger)
                world.report(charger, Booted(vendor="V", model="M", serial="1", reason="PowerUp"))
                world.report(charger, StatusReported(evse=1, connector=1, status=SocketStatus.AVAILABLE))
                await world.pass_time(20)
            case "dark-late":
                world.link_down(charger)
                at_ms = world.clock.now_ms() + 20 * MINUTE_MS
                self._register_wh += 2_000
                await world.pass_time(30 * 60, step_minutes=60)
                world.link_up(charger)
                self._stop("Local", at_ms=at_ms)
            case "dark-never":
                world.link_down(charger)
                await world.pass_time(30 * 60, step_minutes=60)
                world.link_up(charger)
            case "zero":
                if self._register_wh == self._start_wh:
                    self._stop("EVDisconnected")
                else:
                    self._stop("Local", register_wh=0)
            case "reset":
                await self._draw(200)
                world.report(charger, self._metered((world.clock.now_ms() + 1, 0), (world.clock.now_ms() + 60_000, 40)))
                self._stop("Local", register_wh=60)
            case "silence":
                await self._draw(100)
        await world.settle()

    def _stop(self, reason: str, *, at_ms: int | None = None, register_wh: int | None = None) -> None:
        world = self._world
        wh = register_wh if register_wh is not None else self._register_wh
        self._stopped = Stopped(
            key=f"stop-{self._no}", tx_id=self._tx, at_ms=at_ms or world.clock.now_ms(), register_wh=wh, reason=reason
        )
        world.report(self._plan.charger, self._stopped)
        world.report(self._plan.charger, StatusReported(evse=1, connector=1, status=SocketStatus.AVAILABLE))
        if wh >= self._start_wh:
            self._delivered_wh = wh - self._start_wh

    # -- afterwards

    async def _afterwards(self) -> None:
        world, story = self._world, self._plan
        await self._lapse("after")
        await world.pass_time(120, step_minutes=20)
        for what, number in story.after:
            match what:
                case "late-sample" if len(self._samples) > 2 and self._tx:
                    world.report(story.charger, self._metered(self._samples[1]))
                case "stop-again" if self._delivered_wh is not None:
                    world.report(story.charger, self._stopped)
                case "stop-differs" if self._delivered_wh is not None and story.end == "local":
                    first = self._stopped
                    world.report(
                        story.charger,
                        Stopped(
                            key=f"stop-again-{self._no}", tx_id=first.tx_id, at_ms=first.at_ms,
                            register_wh=max(0, (first.register_wh or 0) + number), reason=first.reason,
                        ),
                    )  # fmt: skip
                    self._delivered_wh = None  # two stops that differ: which one counts is not for this test
                case "pay-top-up":
                    await self._pay_top_ups()
                case "pay-again" if self._paid:
                    payment_id, (sum_minor, is_held) = next(iter(self._paid.items()))
                    await world.pay(payment_id, held=is_held, amount_minor=sum_minor, ref="bank-again")
                case "forgive":
                    await self._forgive()
                case "app-top-up" | "app-refund":
                    await self._app_tells(what, number)
                case "remit":
                    await self._remit(number)
                case "price-news":
                    await world.announce("ANNOUNCED", self._no * 10 + 1, (-200, 300, f"{number}.5"))
                case "cancel" if hasattr(self, "_shown"):
                    await self._say("cancel", self._tongue.cancel(self._shown))
                case "ask-status" if hasattr(self, "_shown"):
                    await self._say("status", self._tongue.status(self._tongue.order_id(self._shown)))
                case "stop-order" if hasattr(self, "_shown"):
                    await self._say("update", self._tongue.stop(self._shown))
            await world.settle()
        # Whatever is still open is ended by time, or by a person.
        await world.pass_time(28 * 60, step_minutes=120)
        await world.end_everything(story.charger)
        await self._far_after()

    async def _forgive(self) -> None:
        world, order = self._world, await self._world.order(self._id)
        for _ in range(world.times if order is not None else 0):
            with suppress(Refusal):
                assert order is not None
                await world.system.store.transact(
                    partial(forgive, order_id=order.order_id, reason="x", who="test", now_ms=world.clock.now_ms())
                )
        await world.settle()

    async def _app_tells(self, what: str, number: int) -> None:
        """The buyer's app tells of money that moved, or never did."""
        world, order = self._world, await self._world.order(self._id)
        if order is None:
            return
        self._told += 1
        claims = [Claim(status="REFUNDED", amount_minor=number or None, txn_ref=f"back-{self._told}", details={})]
        if what == "app-top-up":
            claims = [
                Claim(
                    payment_id=top_up.payment_id if number < 2 else "never-asked", status="COMPLETED",
                    amount_minor=top_up.amount_minor + number % 2, txn_ref=f"app-{top_up.payment_id}", details={},
                )
                for top_up in order.top_ups
            ]  # fmt: skip
        for claim in claims:
            for _ in range(world.times):
                with suppress(Refusal):
                    await world.system.store.transact(partial(self._note, claim=claim))
        await world.settle()

    def _note(self, tx: Tx, claim: Claim) -> None:
        order = order_from(tx.many(Table.ORDERS, transaction_id=self._id)[0])
        self._world.system.ordering.heard_of_money(tx, order, claim, self._world.clock.now_ms())

    async def _remit(self, sum_minor: int) -> None:
        """The buyer's app and the fleet pay over what they think they owe."""
        world, story = self._world, self._plan
        self._told += 1
        for kind, party in (("bap", BAP), ("fleet", story.buyer or "by-month")):
            ref = f"UTR-{self._no}-{self._told}"
            for _ in range(world.times):
                await world.system.books.remit(
                    kind, party, ref, amount_minor=sum_minor, withheld_minor=sum_minor // 10, who="test"
                )

    async def _far_after(self) -> None:
        """What comes after the final date moves no money."""
        world, story = self._world, self._plan
        order = await world.order(self._id)
        if not story.far_after or order is None or order.final is None or not hasattr(self, "_stopped"):
            return
        await world.pass_time(8 * 24 * 60, step_minutes=24 * 60)
        before = await world.order(self._id)
        assert before is not None
        ledger = await world.ledger(before.order_id)
        for what, number in story.far_after:
            if what == "late-sample" and self._samples:
                world.report(story.charger, self._metered((self._samples[-1][0] + 1, self._samples[-1][1] + 77)))
            elif what == "stop-differs":
                first = self._stopped
                later = Stopped(
                    key=f"stop-late-{self._no}", tx_id=first.tx_id, at_ms=first.at_ms,
                    register_wh=max(0, (first.register_wh or 0) + number), reason=first.reason,
                )  # fmt: skip
                world.report(story.charger, later)
            await world.settle()
        after = await world.order(self._id)
        assert after is not None
        assert (after.final, after.revision) == (before.final, before.revision), "a final bill has moved"
        assert await world.ledger(before.order_id) == ledger, "money moved after the final date"

    async def _result(self) -> Told:
        world = self._world
        order = await world.order(self._id)
        if order is None:
            return Told(self._plan, None, [], None, [], None, [], [], self._refused, paid=self._paid)
        entries = await world.ledger(order.order_id)
        done = [row for row in await world.rows(Table.PAYMENTS, order_id=order.order_id)
                if row["status"] == "done" and row["kind"] != "topup"]  # fmt: skip
        moves = [(row["kind"], row["amount_minor"]) for row in done]
        by_payment: dict[str, dict[str, int]] = {}
        for row in done:
            of_one = by_payment.setdefault(row["payment_id"], dict.fromkeys(("capture", "release", "refund"), 0))
            of_one[row["kind"]] += row["amount_minor"]
        papers = await world.rows(Table.DOCUMENTS, order_id=order.order_id)
        cases = [row["type"] for row in await world.rows(Table.CASES, order_id=order.order_id)]
        said = [
            row["action"] for row in await world.rows(Table.OUTBOX, order="no", order_id=order.order_id)
            if not row["purpose"].startswith("in:")
        ]  # fmt: skip
        asked = order.payment.amount_minor if order.payment is not None else None
        return Told(
            self._plan, order, entries, self._delivered_wh, moves, asked, cases, said, self._refused,
            by_payment=by_payment, paid=self._paid, documents_minor=sum(row["amount_minor"] for row in papers),
            is_lost=self._is_lost,
        )  # fmt: skip


# ---------------------------------------------------------------- what must be true


def check(told: Told) -> None:
    """The invariants of one order that is over (SESSIONS 5.9)."""
    order, entries = told.order, told.entries
    if order is None:
        return
    _check_each_payment(told, order)
    if not entries:
        assert not order.is_paid or order.state not in {State.COMPLETED, State.CANCELLED}, "paid, over, and no ledger"
        return
    is_over = order.is_billed or order.state in {State.CANCELLED, State.EXPIRED, State.FAILED}
    assert is_over, f"{order.state} after days, with money in the ledger: {told.cases}"
    assert sum(entry.amount_minor for entry in entries) == 0, "the ledger does not close"
    assert sum(entry.wh for entry in entries) == 0, "the energy does not close"
    _check_holds(entries)
    _check_fee(order)
    _check_money(told, order, entries)
    if told.delivered_wh is not None and order.is_billed:
        assert order.delivered_wh == told.delivered_wh, f"billed {order.delivered_wh} Wh of {told.delivered_wh}"


def _total(entries: Sequence[LedgerEntry], *kinds: EntryKind) -> int:
    return sum(entry.amount_minor for entry in entries if entry.kind in kinds)


def _check_holds(entries: Sequence[LedgerEntry]) -> None:
    held, captured = _total(entries, EntryKind.HELD), -_total(entries, EntryKind.CAPTURE)
    assert 0 <= captured <= held, f"{captured} captured of {held} held"
    assert sum(entry.amount_minor for entry in entries if entry.account is Account.HOLD) == 0, "a hold stays open"


def _check_fee(order: Order) -> None:
    """Only who cancels a slot too late, or stays away, pays for it (BECKN 4.11)."""
    if order.cancelled_at_ms is None or not (order.is_paid or order.on_account):
        return
    policy = TARIFFS[order.station].get("cancellation") if order.fleet_id != "own-price" else None
    fee_minor = order.cancellation_fee.total_minor if order.cancellation_fee is not None else 0
    is_free = policy is None or order.slot is None or order.cancelled_by is CancelledBy.PROVIDER
    if not is_free and policy is not None and order.slot is not None and order.cancelled_by is CancelledBy.BUYER:
        is_free = order.cancelled_at_ms <= order.slot.start_ms - policy["free_minutes"] * MINUTE_MS
    assert (fee_minor == 0) == is_free, (
        f"a fee of {fee_minor}, cancelled by {order.cancelled_by} at {order.cancelled_at_ms}"
    )


def _check_each_payment(told: Told, order: Order) -> None:
    """What goes back goes where it came from, and never more than came; what is charged is on paper."""
    for payment_id, moved in told.by_payment.items():
        assert payment_id in told.paid, f"money moved of {payment_id}, by which nothing ever came"
        sum_minor, is_held = told.paid[payment_id]
        assert moved["capture"] + moved["release"] <= (sum_minor if is_held else 0), "more than was held"
        taken_minor = moved["capture"] if is_held else sum_minor
        assert moved["refund"] <= taken_minor, f"{moved['refund']} went back of {taken_minor} on {payment_id}"
    price = order.final or order.cancellation_fee
    if price is not None:
        assert told.documents_minor == price.total_minor, f"invoiced {told.documents_minor} of {price.total_minor}"


def _check_money(told: Told, order: Order, entries: Sequence[LedgerEntry]) -> None:
    price = order.final or order.cancellation_fee
    price_minor = price.total_minor if price is not None else 0
    due_minor, forgiven_minor = outstanding(entries).due_minor, _total(entries, EntryKind.FORGIVEN)
    assert due_minor >= 0, "a buyer is owed and nothing goes back"
    assert forgiven_minor >= 0, "more was given up than was ever due"
    top_ups_minor = sum(top.amount_minor for top in order.top_ups if top.status is PaymentStatus.COMPLETED)
    asked = [top_up.amount_minor for top_up in order.open_top_ups]
    assert (len(asked), sum(asked) >= due_minor) == (1 if due_minor else 0, True), f"{asked} asked, {due_minor} due"
    if order.on_account:
        assert not told.moves, "money moved that a fleet pays by the month"
        assert not order.top_ups, "a driver is asked for what the fleet pays"
        promised_minor = _total(entries, EntryKind.ON_ACCOUNT)
        assert (promised_minor, due_minor, forgiven_minor) == (price_minor, 0, 0)
    elif order.collected_by is CollectedBy.BPP:
        taken_minor, returned_minor = _check_gateway(told, order, entries, price_minor, top_ups_minor)
        assert taken_minor - returned_minor + due_minor + forgiven_minor == price_minor, (
            f"taken {taken_minor}, returned {returned_minor}, due {due_minor}, forgiven {forgiven_minor}, "
            f"price {price_minor}"
        )
    else:
        assert not told.moves, "we moved money that the buyer's app holds"
        # Top-ups that the app collected are in it, too.
        collected_minor = _total(entries, EntryKind.BAP_COLLECTED)
        returned_minor = -_total(entries, EntryKind.BAP_REFUND)
        assert 0 <= returned_minor <= collected_minor, "the app returns more than it took"
        finder_minor = to_minor(order.final.amount(Role.FINDER)) if order.final is not None else 0
        kept_minor = -_total(entries, EntryKind.FINDER_RETAINED)
        assert kept_minor == (finder_minor if collected_minor > returned_minor else 0), "the app's fee is another one"
        written_minor = sum(refund.amount_minor for refund in order.refunds)
        assert written_minor <= returned_minor, f"{written_minor} are written down as returned of {returned_minor}"
        assert collected_minor - returned_minor + due_minor + forgiven_minor == price_minor, (
            f"collected {collected_minor} ({top_ups_minor} by top-ups), returned {returned_minor}, due {due_minor}, "
            f"forgiven {forgiven_minor}, price {price_minor}"
        )


def _check_gateway(
    told: Told, order: Order, entries: Sequence[LedgerEntry], price_minor: int, top_ups_minor: int
) -> tuple[int, int]:
    """What our gateway moved for an order; what was taken in all, and what went back."""
    payment = order.payment
    assert payment is not None
    moved = {
        kind: sum(amount for name, amount in told.moves if name == kind) for kind in ("capture", "release", "refund")
    }
    held_minor, prepaid_minor = _total(entries, EntryKind.HELD), 0
    if not held_minor and order.is_paid:
        prepaid_minor = payment.amount_minor
    assert held_minor + prepaid_minor in {0, order.hold_minor}, "something else was taken than was agreed"
    released_minor = moved["release"]
    if told.is_lost:
        assert not moved["capture"], "captured of a hold that is gone"
        released_minor -= _total([entry for entry in entries if ":lost:" in entry.idem_key], EntryKind.RELEASE)
    assert moved["capture"] + released_minor == held_minor, "the gateway still holds, or gave what it never held"
    taken_minor = prepaid_minor + moved["capture"] + top_ups_minor
    assert moved["refund"] <= taken_minor, "more went back than was taken"
    if held_minor and order.is_billed and order.revision == 1 and not told.is_lost:
        assert moved["capture"] == min(price_minor, held_minor), "a hold was captured beyond the bill, or short of it"
    return taken_minor, moved["refund"]
