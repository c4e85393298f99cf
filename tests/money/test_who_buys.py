"""Who buys and what that changes: fleets, loyalty, one-time passwords, debts under many names, whoever collects."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from customer import Customer, RefusedError
from money_world import BAP, HOUR_MS, MINUTE_MS, World

from csms.app.debtors import forgive
from csms.domain.access import Token
from csms.domain.ledger import EntryKind, LedgerEntry, outstanding, summary
from csms.domain.order import PaymentStatus, State
from csms.domain.reported import SocketStatus, StatusReported
from csms.domain.units import rfc3339
from csms.ports import Message, Table
from simulators import bodies

pytestmark = pytest.mark.timeout(120)
Json = dict[str, Any]
DRIVER = bodies.Person(id="driver-7", phone="+91 98450-11111")
OTHER = bodies.Person(id="someone", phone="+91 98450 22222")
DEBTS = {"access": {"block_on_due": "all"}}


class Telephone:
    """`ports.Messenger` that keeps what arrives."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    def codes(self) -> list[str]:
        """What came since somebody looked, repeats of one message counted once."""
        found = {message.key: message.code for message in self.messages}
        self.messages.clear()
        return list(found.values())


@asynccontextmanager
async def opened(
    folder: Path, settings: Mapping[str, Any] | None = None, fleets: Mapping[str, Json] | None = None,
    *, doubled: bool = False,
) -> AsyncIterator[tuple[World, Telephone]]:  # fmt: skip
    messages = {"url": "http://127.0.0.1:1/sms", "secret": "s"}
    world = World(folder, seed=7, doubled=doubled, settings={"messages": messages, **(settings or {})})
    await world.open()
    telephone = Telephone()
    world.system.otp_sending._messenger = telephone
    for fleet_id, data in (fleets or {}).items():
        row = {"id": fleet_id, "data": json.dumps(data), "updated_ms": 0}
        await world.system.store.transact(lambda tx, row=row: tx.save(Table.FLEETS, row))  # type: ignore[misc]
    await world.system.inventory.load()
    world.system.buyers.market.refresh()
    try:
        yield world, telephone
    finally:
        await world.close()


async def closed(world: World, order_id: str) -> list[LedgerEntry]:
    """The ledger of an order that is settled, and is in balance."""
    entries = await world.ledger(order_id)
    assert sum(entry.amount_minor for entry in entries) == 0
    assert sum(entry.wh for entry in entries) == 0
    assert outstanding(entries).is_settled
    return entries


# ---------------------------------------------------------------- fleets and loyalty

FLEET = {
    "kind": "fleet", "name": "Swift Cabs", "phones": ["9845011111"], "vehicles": ["MA1-TEST-0001"],
    "bap_ids": ["fleet.example"], "tariff_id": "BY-HOUR",
}  # fmt: skip
GOLD = {"kind": "loyalty", "name": "Gold", "phones": ["+919845011111"], "discount": {"percent": 10, "threshold_kwh": 4}}


@pytest.mark.parametrize("doubled", [False, True])
async def test_a_fleets_driver_pays_the_fleets_price_and_nobody_sees_it_in_a_catalogue(
    tmp_path: Path, doubled: bool
) -> None:
    async with opened(tmp_path, fleets={"swift": FLEET}, doubled=doubled) as (world, _):
        stranger = Customer(world, person=OTHER)
        await stranger.select(5)
        assert stranger.lines()["Energy 5 kWh × 18 INR/kWh"] == 90
        driver = Customer(world, person=DRIVER)
        order = await driver.bought(5)
        assert order.fleet_id == "swift"
        assert driver.lines()["Energy 5 kWh × 19 INR/kWh"] == 95
        car = Customer(world, person=OTHER, vehicle="ma1test0001")
        await car.select(5)
        assert (await car.order()).fleet_id == "swift"
        found = await world.say("discover", bodies.discover(), "d-1")
        assert "BY-HOUR" not in json.dumps([c.get("beckn:offers") for c in found["message"]["catalogs"]])


@pytest.mark.parametrize("needs_otp", [False, True])
async def test_a_fleets_app_is_shown_what_its_drivers_pay_and_nobody_else_is(tmp_path: Path, needs_otp: bool) -> None:
    """Seed 003: a search answers with the tariff of who asks. What has to be proven first is shown to nobody."""
    fleet = {**FLEET, "phones": [], "bap_ids": [BAP], "needs_otp": needs_otp}
    async with opened(tmp_path, fleets={"swift": fleet}) as (world, _):
        market = world.system.buyers.market
        now_ms = world.clock.now_ms()
        items = [item for name in market.ids() if (item := market.item(name)) is not None]
        public = {offer.offer_id: float(offer.price) for offer in market.offers(items, now_ms)}
        assert len(set(public.values())) > 2
        found = await world.say("discover", bodies.discover(), "d-1")
        offers = [one for catalog in found["message"]["catalogs"] for one in catalog["beckn:offers"]]
        shown = {one["beckn:id"]: one["beckn:price"]["value"] for one in offers}
        assert set(shown) <= set(public)
        if needs_otp:
            assert all(price == public[name] for name, price in shown.items())
        else:
            assert set(shown.values()) == {19}
            driver = Customer(world, person=OTHER)
            await driver.select(5)
            assert driver.lines()["Energy 5 kWh × 19 INR/kWh"] == 95


async def test_a_driver_who_is_known_only_at_init_is_priced_anew_then(tmp_path: Path) -> None:
    async with opened(tmp_path, fleets={"gold": GOLD}) as (world, _):
        driver = Customer(world, person=DRIVER)
        await driver.select(5, phone=False)
        assert "Loyalty discount" not in driver.lines()
        await driver.init()
        assert driver.lines()["Loyalty discount"] == -9
        assert (await driver.order()).fleet_id == "gold"


async def test_loyalty_is_judged_on_the_energy_that_flowed(tmp_path: Path) -> None:
    async with opened(tmp_path, fleets={"gold": GOLD}) as (world, _):
        driver = Customer(world, person=DRIVER)
        order = await driver.bought(5)
        await driver.charge(3_000)
        billed = await driver.order()
        assert billed.final is not None
        assert [line.description for line in billed.final.components if line.amount < 0] == []
        await closed(world, order.order_id)


@pytest.mark.parametrize("doubled", [False, True])
async def test_a_fleet_that_pays_by_the_month_owes_what_was_metered(tmp_path: Path, doubled: bool) -> None:
    fleet = FLEET | {"postpaid": True, "monthly_limit": "250"}
    async with opened(tmp_path, DEBTS, {"swift": fleet}, doubled=doubled) as (world, _):
        driver = Customer(world, person=DRIVER)
        await driver.select(5)
        await driver.init()
        await driver.confirm()
        order = await driver.order()
        assert (order.state, order.on_account, order.is_paid) == (State.CONFIRMED, True, False)
        await world.pay(str(order.payment.payment_id if order.payment else ""), held=False)  # the link is closed
        assert not (await driver.order()).is_paid
        await driver.charge(6_000)
        entries = await closed(world, order.order_id)
        billed = await driver.order()
        assert billed.final is not None
        assert outstanding(entries).on_account_minor == billed.final.total_minor
        assert (outstanding(entries).due_minor, billed.top_ups) == (0, ())
        assert world.system.dues.all() == []
        # 134.52 of 250 stand on its account this month: another 112.10 do, a third order does not.
        second = Customer(world, person=DRIVER, charger="FEES")
        await second.select(5)
        await second.init()
        await second.confirm()
        third = Customer(world, person=DRIVER, charger="HOLD")
        await third.select(5)
        await third.init()
        with pytest.raises(RefusedError, match="monthly limit") as no:
            await third.confirm()
        assert no.value.code == "40004"
        await third.pay()
        await third.confirm()
        assert not (await third.order()).on_account


async def test_an_order_on_account_that_is_given_back_leaves_nothing_owed(tmp_path: Path) -> None:
    async with opened(tmp_path, fleets={"swift": FLEET | {"postpaid": True}}) as (world, _):
        driver = Customer(world, person=DRIVER)
        await driver.select(5)
        await driver.init()
        await driver.confirm()
        await driver.cancel()
        entries = await closed(world, (await driver.order()).order_id)
        assert outstanding(entries).on_account_minor == 0
        assert not await world.rows(Table.PAYMENTS, kind="refund")


async def test_a_stranger_may_not_pay_later(tmp_path: Path) -> None:
    async with opened(tmp_path, fleets={"swift": FLEET | {"postpaid": True}, "gold": GOLD}) as (world, _):
        stranger = Customer(world, person=OTHER)
        await stranger.select(5)
        await stranger.init()
        with pytest.raises(RefusedError) as no:
            await stranger.confirm()
        assert no.value.code == "40004"


# ---------------------------------------------------------------- one-time passwords


async def test_a_fleets_price_holds_after_the_password_was_shown(tmp_path: Path) -> None:
    async with opened(tmp_path, fleets={"swift": FLEET | {"needs_otp": True, "tariff_id": "ABSORBS"}}) as (
        world,
        phone,
    ):
        driver = Customer(world, person=DRIVER)
        await driver.select(5)
        await driver.init()
        assert driver.lines()["Energy 5 kWh × 18 INR/kWh"] == 90
        (code,) = phone.codes()
        await driver.pay()
        wrong = f"{(int(code) + 1) % 1_000_000:06d}"
        with pytest.raises(RefusedError, match="4 tries are left"):
            await driver.confirm(otp=wrong)
        assert (await driver.order()).state is State.PAID
        await driver.confirm(otp=code)
        order = await driver.order()
        assert (order.fleet_id, order.state) == ("swift", State.CONFIRMED)
        assert order.quote.components[0].description == "Energy 5 kWh × 15.55 INR/kWh"
        await driver.charge(5_000)
        entries = await closed(world, order.order_id)
        billed = await driver.order()
        assert billed.final is not None
        # 106.20 were paid at everybody's price; what the fleet's is below that goes back.
        assert summary(entries).refunded_minor == 10_620 - billed.final.total_minor > 0


async def test_without_the_password_the_regular_price_holds(tmp_path: Path) -> None:
    async with opened(tmp_path, fleets={"swift": FLEET | {"needs_otp": True}}) as (world, phone):
        driver = Customer(world, person=DRIVER)
        order = await driver.bought(5)
        assert order.fleet_id is None
        assert len(phone.codes()) == 1
        # A car's number can be read off any car: whoever only names it gets no password and no price.
        thief = Customer(world, person=OTHER, vehicle="MA1TEST0001", charger="FEES")
        await thief.bought(5)
        assert (phone.codes(), (await thief.order()).fleet_id) == ([], None)


async def test_charging_starts_only_with_the_password_and_tries_are_counted(tmp_path: Path) -> None:
    async with opened(tmp_path, {"beckn": {"start_otp": "all"}}) as (world, phone):
        buyer = Customer(world, person=DRIVER)
        await buyer.bought(5)
        (code,) = phone.codes()
        wrong = f"{(int(code) + 7) % 1_000_000:06d}"
        with pytest.raises(RefusedError, match="ending in 11") as no:
            await buyer.start()
        assert no.value.code == "50002"
        for left in (4, 3, 2, 1):
            with pytest.raises(RefusedError, match=f"{left} tries are left"):
                await buyer.start(wrong)
        with pytest.raises(RefusedError, match="no try is left"):
            await buyer.start(wrong)
        world.clock.at_ms += MINUTE_MS
        with pytest.raises(RefusedError, match="a new one goes to"):
            await buyer.start(code)
        (fresh,) = phone.codes()
        assert not await world.rows(Table.INSTRUCTIONS, kind="start")
        await buyer.start(fresh)
        assert (await buyer.order()).state is State.STARTING
        assert len(await world.rows(Table.INSTRUCTIONS, kind="start")) == 1


async def test_a_password_grows_old_and_a_new_one_is_sent(tmp_path: Path) -> None:
    async with opened(tmp_path, {"beckn": {"start_otp": "all", "otp_life_s": 60}}) as (world, phone):
        buyer = Customer(world, person=DRIVER)
        await buyer.bought(5)
        (old,) = phone.codes()
        world.clock.at_ms += 2 * MINUTE_MS
        with pytest.raises(RefusedError, match="too old"):
            await buyer.start(old)
        (fresh,) = phone.codes()
        await buyer.start(fresh)
        assert (await buyer.order()).state is State.STARTING


async def test_nothing_is_sold_that_nobody_could_start(tmp_path: Path) -> None:
    async with opened(tmp_path, {"beckn": {"start_otp": "all"}}) as (world, _):
        buyer = Customer(world, person=bodies.Person(id="x", phone="none"))
        await buyer.select(5)
        with pytest.raises(RefusedError, match="telephone number is needed"):
            await buyer.init()


async def test_a_telephone_is_not_rung_for_ever(tmp_path: Path) -> None:
    async with opened(tmp_path, {"beckn": {"start_otp": "all"}}) as (world, phone):
        buyer = Customer(world, person=DRIVER)
        await buyer.bought(5)
        for _ in range(20):
            world.clock.at_ms += MINUTE_MS * 3
            with pytest.raises(RefusedError):
                await buyer.start("000000") if phone.messages else await buyer.start()
        assert len(phone.messages) <= 10


async def test_no_code_stands_in_the_store(tmp_path: Path) -> None:
    async with opened(tmp_path, {"beckn": {"start_otp": "all"}}) as (world, phone):
        await Customer(world, person=DRIVER).bought(5)
        (code,) = phone.codes()
        stored = [*await world.rows(Table.OTPS), *await world.rows(Table.JOURNAL), *await world.rows(Table.OUTBOX)]
        values = {str(value) for row in stored for value in row.values()}
        assert code not in values
        names = json.dumps([dict(row) for row in await world.rows(Table.IDENTITIES)])
        assert "9845011111" not in names


# ---------------------------------------------------------------- debts


async def in_debt(world: World, **customer: Any) -> Customer:
    """Somebody who took half a kWh more than was paid for."""
    debtor = Customer(world, **{"person": DRIVER, **customer})
    await debtor.bought(2)
    await debtor.charge(2_500)
    (due,) = world.system.dues.all()
    assert due.amount_minor == 1_062
    return debtor


@pytest.mark.parametrize("doubled", [False, True])
async def test_a_new_number_with_the_old_payment_address_or_car_still_owes(tmp_path: Path, doubled: bool) -> None:
    async with opened(tmp_path, DEBTS, doubled=doubled) as (world, _):
        debtor = await in_debt(world, vpa="rao@upi", vehicle="MALTEST42")
        for new in (
            Customer(world, person=bodies.Person(id="new-1", phone="+919000000001"), vpa="RAO@upi"),
            Customer(world, person=bodies.Person(id="new-2", phone="+919000000002"), vehicle="mal-test-42"),
            Customer(world, person=bodies.Person(id="new-3", phone="098450 11111")),
        ):
            with pytest.raises(RefusedError, match="pay it at http") as no:
                await new.select(1)
            assert no.value.code == "50000"
        stranger = Customer(world, person=OTHER, vpa="other@upi")
        await stranger.select(1)
        (top_up,) = (await debtor.order()).top_ups
        await world.pay(top_up.payment_id, held=False, amount_minor=top_up.amount_minor)
        await Customer(world, person=bodies.Person(id="n", phone="+919000000003"), vpa="rao@upi").select(1)
        await closed(world, (await debtor.order()).order_id)


async def test_names_that_came_through_another_order_are_the_debtors_too(tmp_path: Path) -> None:
    async with opened(tmp_path, DEBTS) as (world, _):
        between = Customer(world, person=bodies.Person(id="b", phone="+919000000009"), vpa="rao@upi", charger="FEES")
        await between.bought(1)
        debtor = Customer(world, person=DRIVER, vpa="rao@upi")
        await debtor.bought(2)
        await debtor.charge(2_500)
        later = Customer(world, person=bodies.Person(id="c", phone="+919000000009"))
        with pytest.raises(RefusedError, match="still owes"):
            await later.select(1)


async def test_a_debt_found_after_confirm_is_asked_for_at_the_start(tmp_path: Path) -> None:
    async with opened(tmp_path, DEBTS) as (world, _):
        waiting = Customer(world, person=DRIVER, charger="FEES")
        await waiting.bought(1)
        debtor = await in_debt(world)
        with pytest.raises(RefusedError, match="still owes") as no:
            await waiting.start()
        assert (no.value.code, (await waiting.order()).state) == ("50000", State.CONFIRMED)
        (top_up,) = (await debtor.order()).top_ups
        await world.pay(top_up.payment_id, held=False, amount_minor=top_up.amount_minor)
        await waiting.start()
        assert (await waiting.order()).state is State.STARTING


async def test_an_address_that_everybody_pays_from_makes_nobody_a_debtor(tmp_path: Path) -> None:
    async with opened(tmp_path, DEBTS) as (world, _):
        for n in range(4):
            person = bodies.Person(id=f"u{n}", phone=f"+9190000010{n:02d}")
            customer = Customer(world, person=person, vpa="app-collects@upi", charger="FEES")
            await customer.bought(1)
            await customer.cancel()
        await in_debt(world, vpa="app-collects@upi")
        innocent = Customer(world, person=bodies.Person(id="u9", phone="+919000001099"), vpa="app-collects@upi")
        await innocent.select(1)


async def test_a_name_set_apart_joins_nobody(tmp_path: Path) -> None:
    async with opened(tmp_path, DEBTS) as (world, _):
        await in_debt(world, vehicle="WORKSHOP1")
        other = Customer(world, person=OTHER, vehicle="WORKSHOP1")
        with pytest.raises(RefusedError):
            await other.select(1)
        identities = world.system.identities
        (due,) = world.system.dues.all()
        kinds = await world.system.store.read(lambda tx: identities.kinds(tx, due.drivers))
        (car,) = [name for name, kind in kinds.items() if kind == "vehicle"]
        await world.system.store.transact(lambda tx: identities.set_apart(tx, car, is_apart=True))
        await world.system.dues.load()
        await other.select(1)
        with pytest.raises(RefusedError):
            await Customer(world, person=DRIVER).select(1)


@pytest.mark.parametrize("doubled", [False, True])
async def test_a_forgiven_debt_is_over_and_the_books_close(tmp_path: Path, doubled: bool) -> None:
    async with opened(tmp_path, DEBTS, doubled=doubled) as (world, _):
        debtor = await in_debt(world)
        order_id = (await debtor.order()).order_id
        given = await world.system.store.transact(
            lambda tx: forgive(tx, order_id, reason="a broken display", who="op", now_ms=world.clock.now_ms())
        )
        await world.settle()
        assert (given, world.system.dues.all()) == (1_062, [])
        entries = await closed(world, order_id)
        assert summary(entries).forgiven_minor == 1_062
        (fact,) = await world.rows(Table.JOURNAL, kind="DebtForgiven")
        assert json.loads(fact["body"])["reason"] == "a broken display"
        await Customer(world, person=DRIVER).select(1)


# ---------------------------------------------------------------- who collects


@pytest.mark.parametrize("doubled", [False, True])
async def test_an_app_that_collects_tells_of_a_top_up(tmp_path: Path, doubled: bool) -> None:
    async with opened(tmp_path, DEBTS, doubled=doubled) as (world, _):
        buyer = Customer(world, person=DRIVER)
        await buyer.select(2)
        await buyer.init("BAP")
        await buyer.confirm(status="COMPLETED")
        await buyer.charge(2_500)
        order = await buyer.order()
        (due,) = order.top_ups
        payment = {"beckn:id": due.payment_id, "beckn:paymentStatus": "COMPLETED", "beckn:beneficiary": "BAP"}
        money = {"currency": "INR", "value": due.amount_minor / 100}
        with pytest.raises(RefusedError) as no:
            await buyer.tell(payment | {"beckn:amount": {"currency": "INR", "value": 1}})
        assert no.value.code == "40004"
        await buyer.tell(payment | {"beckn:amount": money, "beckn:txnRef": "utr-9"})
        await buyer.tell(payment | {"beckn:amount": money, "beckn:txnRef": "utr-9"})
        entries = await closed(world, order.order_id)
        assert [top_up.status for top_up in (await buyer.order()).top_ups] == [PaymentStatus.COMPLETED]
        paid = [entry.amount_minor for entry in entries if entry.kind is EntryKind.TOP_UP_PAID]
        assert paid == [-due.amount_minor]
        assert outstanding(entries).receivable_minor == (await buyer.order()).final.total_minor  # type: ignore[union-attr]
        assert world.system.dues.all() == []


@pytest.mark.parametrize("doubled", [False, True])
async def test_an_app_that_collects_tells_of_a_refund_and_of_no_more_than_it_owes(
    tmp_path: Path, doubled: bool
) -> None:
    async with opened(tmp_path, doubled=doubled) as (world, _):
        buyer = Customer(world, person=DRIVER)
        await buyer.select(2)
        await buyer.init("BAP")
        await buyer.confirm(status="COMPLETED")
        await buyer.charge(1_000)
        refund = {
            "beckn:id": "ref-1", "beckn:paymentStatus": "PARTIALLY_REFUNDED", "beckn:txnRef": "utr-r",
            "beckn:beneficiary": "BUYER", "beckn:amount": {"currency": "INR", "value": 100.0},
        }  # fmt: skip
        before = await world.ledger((await buyer.order()).order_id)
        await buyer.tell(refund)
        await buyer.tell(refund)
        order = await buyer.order()
        assert [back.amount_minor for back in order.refunds] == [2_124]
        assert await world.ledger(order.order_id) == before  # it was decided when the bill was made


async def test_an_app_that_collected_tells_that_a_cancelled_order_was_paid_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as (world, _):
        buyer = Customer(world, person=DRIVER)
        await buyer.select(2)
        await buyer.init("BAP")
        await buyer.confirm(status="COMPLETED")
        await buyer.cancel()
        paid_minor = (await buyer.order()).paid_minor
        money = {"currency": "INR", "value": paid_minor / 100}
        await buyer.tell(
            {"beckn:id": "r", "beckn:paymentStatus": "REFUNDED", "beckn:txnRef": "u", "beckn:amount": money}
        )
        order = await buyer.order()
        assert ([back.amount_minor for back in order.refunds], order.state) == ([paid_minor], State.CANCELLED)
        await closed(world, order.order_id)


async def test_where_we_collect_an_apps_word_moves_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, DEBTS) as (world, _):
        debtor = await in_debt(world)
        (due,) = (await debtor.order()).top_ups
        claim = {"beckn:id": due.payment_id, "beckn:paymentStatus": "COMPLETED", "beckn:beneficiary": "BPP"}
        await debtor.tell(claim)
        debtor.shown["beckn:payment"] = claim
        await debtor.confirm()
        assert [top_up.is_good for top_up in (await debtor.order()).top_ups] == [False]
        assert len(world.system.dues.all()) == 1


@pytest.mark.parametrize(
    ("collect", "proposed", "granted"),
    [("negotiate", "BAP", "BAP"), ("negotiate", "BPP", "BPP"), ("bpp", "BAP", "BPP"), ("bap", "BPP", "BAP")],
)
async def test_the_beneficiary_is_ours_to_grant(tmp_path: Path, collect: str, proposed: str, granted: str) -> None:
    async with opened(tmp_path, {"beckn": {"collect": collect}}) as (world, _):
        buyer = Customer(world)
        await buyer.select(2)
        await buyer.init(proposed)
        payment = buyer.shown["beckn:payment"]
        assert payment["beckn:beneficiary"] == granted
        assert ("beckn:paymentURL" in payment) == (granted == "BPP")


@pytest.mark.parametrize("doubled", [False, True])
async def test_where_it_is_allowed_a_bill_is_paid_afterwards(tmp_path: Path, doubled: bool) -> None:
    settings = {"payments": {"postpaid": True}, **DEBTS}
    async with opened(tmp_path, settings, doubled=doubled) as (world, _):
        buyer = Customer(world, person=DRIVER)
        await buyer.select(2)
        await buyer.init()
        first = str(buyer.shown["beckn:payment"]["beckn:id"])
        await buyer.confirm()
        await world.pay(first, held=False)  # its link is closed: the bill will ask
        assert not (await buyer.order()).is_paid
        await buyer.charge(1_500)
        order = await buyer.order()
        (due,) = order.top_ups
        assert order.final is not None
        assert due.amount_minor == order.final.total_minor
        with pytest.raises(RefusedError, match="still owes"):
            await Customer(world, person=DRIVER).select(1)
        await world.pay(due.payment_id, held=False, amount_minor=due.amount_minor)
        entries = await closed(world, order.order_id)
        assert summary(entries).collected_minor == order.final.total_minor


# ---------------------------------------------------------------- reservations


def slot_in(world: World, hours: float, length_h: float = 1) -> tuple[str, str]:
    start = world.clock.now_ms() + int(hours * HOUR_MS)
    return rfc3339(start), rfc3339(start + int(length_h * HOUR_MS))


async def test_giving_up_at_a_dead_charger_costs_nothing_and_at_a_living_one_its_fee(tmp_path: Path) -> None:
    async with opened(tmp_path) as (world, _):
        for is_dead, fee in ((True, 0), (False, 2_950)):
            buyer = Customer(world, charger="BOOKED")
            await buyer.bought(5, slot=slot_in(world, 2))
            await world.pass_time(121, step_minutes=121)
            if is_dead:
                world.link_down("BOOKED")
            await buyer.cancel()
            order = await buyer.order()
            assert order.cancellation_fee is not None
            assert order.cancellation_fee.total_minor == fee
            entries = await closed(world, order.order_id)
            assert summary(entries).refunded_minor == order.paid_minor - fee
            world.link_up("BOOKED")
            await world.pass_time(120, step_minutes=60)


async def test_cancelling_too_late_before_the_slot_costs_its_fee_though_the_charger_is_away(tmp_path: Path) -> None:
    async with opened(tmp_path) as (world, _):
        buyer = Customer(world, charger="BOOKED")
        await buyer.bought(5, slot=slot_in(world, 2))
        await world.pass_time(100, step_minutes=100)
        world.link_down("BOOKED")  # it may well be back in time
        await buyer.cancel()
        fee = (await buyer.order()).cancellation_fee
        assert fee is not None
        assert fee.total_minor == 2_950


@pytest.mark.parametrize("doubled", [False, True])
async def test_of_two_who_confirm_one_slot_the_second_gets_everything_back(tmp_path: Path, doubled: bool) -> None:
    async with opened(tmp_path, doubled=doubled) as (world, _):
        slot = slot_in(world, 3)
        slow, quick = Customer(world, charger="BOOKED"), Customer(world, charger="BOOKED", person=OTHER)
        await slow.select(5, slot=slot)
        await slow.init()
        await slow.pay()
        await world.system.store.transact(  # its hold lapses before it confirms
            lambda tx: tx.change(Table.RESERVATIONS, {"status": "EXPIRED"}, station="BOOKED")
        )
        await quick.bought(5, slot=slot)
        assert (await quick.order()).slot == (await slow.order()).slot
        with pytest.raises(RefusedError) as no:
            await slow.confirm()
        assert no.value.code == "30008"
        assert no.value.body["message"]["order"]["beckn:orderStatus"] == "REJECTED"
        order = await slow.order()
        assert order.state is State.FAILED
        entries = await closed(world, order.order_id)
        assert summary(entries).refunded_minor == order.paid_minor
        assert [refund.amount_minor for refund in order.refunds] == [order.paid_minor]
        assert (await quick.order()).state is State.CONFIRMED


# ---------------------------------------------------------------- offers and the time of day


async def test_an_offer_chosen_in_time_holds_for_the_order(tmp_path: Path) -> None:
    async with opened(tmp_path) as (world, _):
        ends = rfc3339(world.clock.now_ms() + 10 * MINUTE_MS)
        row = {
            "id": "O-SHORT",
            "data": json.dumps({"name": "Soon over", "flat": 5, "valid_until": ends}),
            "updated_ms": 0,
        }
        await world.system.store.transact(lambda tx: tx.save(Table.OFFERS, row))
        await world.system.inventory.load()
        buyer = Customer(world)
        await buyer.select(5, offer="O-SHORT")
        world.clock.at_ms += 20 * MINUTE_MS  # the offer is over, and so is the quotation's life
        await buyer.init()
        assert buyer.lines()["Soon over"] == -5
        with pytest.raises(RefusedError) as no:
            await Customer(world, person=OTHER).select(5, offer="O-SHORT")
        assert no.value.code == "30006"


@pytest.mark.parametrize("doubled", [False, True])
async def test_a_late_reading_that_moves_energy_between_prices_makes_a_new_bill(tmp_path: Path, doubled: bool) -> None:
    async with opened(tmp_path, doubled=doubled) as (world, _):
        half_past_nine = world.clock.at_ms + 9 * HOUR_MS + 30 * MINUTE_MS  # in India; the night's price begins at 22:00
        world.clock.at_ms = half_past_nine - 5 * MINUTE_MS
        await world.tick()
        world.report("BY-HOUR", StatusReported(evse=1, connector=1, status=SocketStatus.AVAILABLE))
        buyer = Customer(world, charger="BY-HOUR")
        order = await buyer.bought(10)
        began_ms = world.clock.at_ms = half_past_nine
        await buyer.charge(10_000, minutes=60)
        first = await buyer.order()
        assert first.final is not None
        assert first.final.total_minor == (5 * 1_900 + 5 * 900) * 118 // 100
        buyer.meter(began_ms + 30 * MINUTE_MS, 2_000)  # it came late: most of it flowed at night
        await world.settle()
        second = await buyer.order()
        assert second.final is not None
        assert second.final.total_minor == (2 * 1_900 + 8 * 900) * 118 // 100
        assert second.revision == first.revision + 1
        entries = await closed(world, order.order_id)
        assert summary(entries).refunded_minor == order.paid_minor - second.final.total_minor
        buyer.meter(began_ms + 45 * MINUTE_MS, 6_000)  # within one price: nothing new
        await world.settle()
        assert (await buyer.order()).revision == second.revision


async def test_an_identical_request_of_another_app_is_another_buyer(tmp_path: Path) -> None:
    async with opened(tmp_path, DEBTS) as (world, _):
        debtor = await in_debt(world, person=bodies.Person(id="same-id", phone="+919000000077"))
        assert (await debtor.order()).bap_id == BAP
        names = world.system.identities.of_buyer((await debtor.order()).buyer, "other.example")
        (due,) = world.system.dues.all()
        assert len(names & due.drivers) == 1  # the telephone number, not the other app's account of the same name


async def test_where_debts_stop_cards_only_a_name_learnt_later_counts_too(tmp_path: Path) -> None:
    async with opened(tmp_path, {"access": {"block_on_due": "tokens"}}) as (world, _):
        await in_debt(world)
        card = Token(uid="04AA", driver="rao@example.in")
        assert world.system.dues.of(card) == []
        again = Customer(world, person=bodies.Person(id="driver-7", phone=DRIVER.phone, email="Rao@example.in"))
        await again.bought(1)  # orders are not refused here
        assert [due.amount_minor for due in world.system.dues.of(card)] == [1_062]
        assert world.system.dues.of(Token(uid="04AB", driver="other@example.in")) == []
