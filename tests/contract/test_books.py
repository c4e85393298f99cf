"""Documents over a real store: each once, numbers without a gap; what was paid over finds its orders."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from conftest import Opener

from csms.app import documents
from csms.app.bookkeeping import Bookkeeping
from csms.app.consuming import Asked, By, Consumed, consumption
from csms.app.orders import add_order, journal, ledger_of, post, save_order
from csms.app.statements import StatementRules
from csms.domain.breakdown import Breakdown
from csms.domain.buyer import Buyer
from csms.domain.consumption import Interval
from csms.domain.ledger import (
    Account,
    EntryKind,
    Totals,
    money_collected_by_bap,
    order_placed,
    outstanding,
    put_on_account,
)
from csms.domain.order import CollectedBy, Order, State, Want, WantKind
from csms.domain.order_facts import CancelledBy, OrderBilled, OrderCancelled, OrderFact, OrderRevised
from csms.domain.refusal import Refusal, Why
from csms.domain.settlement import Charge, settle
from csms.domain.statement import month
from csms.domain.stored import to_json
from csms.domain.tariff import FeeKind, FinderFee, Rate, Slice, Tariff, Terms, Usage, bill
from csms.domain.taxes import Registration, TaxEntry, Withholding
from csms.ports import Put, Row, Table, Tx, Unit

D = Decimal
ZONE = "Asia/Kolkata"
OCTOBER, NOVEMBER = month("2026-10", ZONE), month("2026-11", ZONE)
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
TARIFF = Tariff(tariff_id="t18", rates=(Rate(per_kwh=D(18)),), service_fee=D(10), tax_percent=D(18))
TERMS = Terms(tariff=TARIFF, finder_fee=FinderFee(kind=FeeKind.PERCENTAGE, value=D("2.5")))
ENTRY = TaxEntry(
    valid_from_ms=OCTOBER[0],
    seller="Test <CPO>",
    registrations=(Registration(state="29", address="1 Main Road", gstin="29AAPFU0939F1ZR"),),
    rate_percent=D(18),
    withholding=Withholding(section="194-O", percent=D("0.1")),
)
LOCATION = {
    "id": "L1", "name": "Depot", "address": "1 Main Road", "city": "Bengaluru", "state": "KA", "feeder_id": "F-7",
    "evses": [{"uid": "CP*1"}, {"uid": "CP*2", "feeder_id": "F-8"}],
}  # fmt: skip


class Offering:
    location = LOCATION


class Inventory:
    def find(self, item_id: str) -> Any:
        return Offering


class Clock:
    def __init__(self) -> None:
        self.ms = OCTOBER[0] + DAY_MS

    def now_ms(self) -> int:
        return self.ms


class Ids:
    _count = itertools.count(1)  # of all of them: ids outlive a process

    def uuid(self) -> str:
        return f"id-{next(self._count)}"

    uuid4 = uuid

    def secret(self) -> str:
        return f"secret-{next(self._count)}"


class Office:
    """The books over a store, and orders as the rest of the system leaves them."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.clock = Clock()
        inventory: Any = Inventory()
        self.books = Bookkeeping(
            store=store,
            inventory=inventory,
            clock=self.clock,
            ids=Ids(),
            rules=StatementRules(provider="Test CPO"),
            keep_days=400,
        )

    async def sell(
        self,
        no: int,
        wh: int,
        *,
        bap: str = "bap",
        by_bap: bool = True,
        fleet: str | None = None,
        on_account: bool = False,
    ) -> Order:
        """An order that was charged and billed; its money is with the buyer app or with us."""
        order_id, now_ms = f"o{no}", self.clock.ms
        price = bill(TERMS, usage(10_000))
        order = Order(
            order_id=order_id, network="v2", transaction_id=f"t{no}", bap_id=bap, bap_uri="http://bap.example",
            domain="d", item_id="i", station="CP", evse=1, connector=1, terms=TERMS, quote=price, quoted_wh=10_000,
            want=Want(kind=WantKind.ENERGY, energy_wh=10_000), hold_minor=price.total_minor, quoted_at_ms=now_ms,
            quote_expires_ms=now_ms, state=State.COMPLETED, session_id=f"s{no}", ended_at_ms=now_ms,
            order_number=f"N{no}", collected_by=CollectedBy.BAP if by_bap else CollectedBy.BPP,
            fleet_id=fleet, on_account=on_account,
            buyer=Buyer(name="<script>alert(1)</script>", consumer_number="C-1" if no % 2 else None),
        )  # fmt: skip

        def work(tx: Tx) -> None:
            add_order(tx, order, no=no, tracking=f"track-{no}", now_ms=now_ms)
            tx.add(Table.SESSIONS, session_row(no, order_id, now_ms))
            own = list(order_placed(order_id, amount_minor=price.total_minor, energy_wh=10_000, at_ms=now_ms))
            if on_account and fleet is not None:
                own += put_on_account(own, order_id, amount_minor=price.total_minor, fleet_id=fleet, at_ms=now_ms)
            elif by_bap:
                own += money_collected_by_bap(own, order_id, amount_minor=price.total_minor, ref=f"b{no}", at_ms=now_ms)
            post(tx, own)

        await self.store.transact(work)
        return await self.bill(order, wh)

    async def bill(self, order: Order, wh: int) -> Order:
        """Bill it (again): ledger, revision, order and journal, as settling does."""
        now_ms, made = self.clock.ms, bill(order.terms, usage(wh))

        def work(tx: Tx) -> Order:
            revision = order.revision + 1
            charge = Charge(order_id=order.order_id, revision=revision, breakdown=made, delivered_wh=wh, at_ms=now_ms)
            post(tx, settle(ledger_of(tx, order.order_id), charge, terms=order.terms, want=order.want))
            after = replace(order, final=made, revision=revision, delivered_wh=wh)
            save_order(tx, after, now_ms)
            kind = OrderRevised if order.final is not None else OrderBilled
            journal(tx, after, [kind(at_ms=now_ms, breakdown=made, delivered_wh=wh, minutes=9, revision=revision)])
            no = int(order.order_id[1:])
            tx.change(Table.SESSIONS, {"energy_wh": wh}, no=no)
            tx.save(Table.REVISIONS, revision_row(no, revision, now_ms, wh, made))
            return after

        after: Order = await self.store.transact(work)
        return after

    async def follow(self) -> None:
        """Everything in the journal, from the beginning."""
        facts = await self.store.read(lambda tx: tx.facts(0, 10_000))
        await self.books.on_facts([fact for fact in facts if fact.kind in Bookkeeping.FOLLOWED])

    async def papers(self, order_id: str) -> list[Row]:
        rows: list[Row] = await self.store.read(lambda tx: documents.of_order(tx, order_id))
        return rows

    async def ledger(self) -> Totals:
        rows = await self.store.read(lambda tx: [row["id"] for row in tx.many(Table.ORDERS)])
        return Totals([e for one in rows for e in await self.store.read(lambda tx, o=one: ledger_of(tx, o))])


def usage(wh: int) -> Usage:
    return Usage(slices=(Slice(start_ms=0, end_ms=HOUR_MS, energy_wh=wh),))


def session_row(no: int, order_id: str | None, now_ms: int, **more: Any) -> Row:
    return {
        "no": no, "last_no": no, "id": f"s{no}", "station": "CP", "evse": 1, "connector": 1, "state": "SETTLED",
        "open": 0, "version": 1, "token": "TAG1", "started_ms": now_ms - HOUR_MS, "ended_ms": now_ms,
        "meter_start_wh": 1_000, "meter_stop_wh": 7_400, "energy_wh": 6_400, "quality": "A", "tx_ids": "[]",
        "updated_ms": now_ms, "data": "{}", "order_id": order_id, **more,
    }  # fmt: skip


def revision_row(no: int, revision: int, now_ms: int, wh: int, made: Breakdown) -> Row:
    return {
        "session_no": no, "revision": revision, "at_ms": now_ms, "provisional": 0, "energy_wh": wh,
        "currency": "INR", "amount_minor": made.total_minor, "breakdown": json.dumps(to_json(made)),
        "session_version": 1,
    }  # fmt: skip


async def lines(store: Any, row: Row) -> bytes:
    found: bytes = await store.read(lambda tx: documents.lines_of(tx, row))
    return found


def said(rows: Sequence[Row]) -> list[tuple[str, str, int]]:
    return [(row["kind"], row["number"], row["amount_minor"]) for row in rows]


# ---------------------------------------------------------------- invoices and notes


async def test_a_bill_becomes_an_invoice_and_a_lower_one_a_credit_note_each_once(open_store: Opener) -> None:
    async with open_store() as store:
        office = Office(store)
        await office.books.set_taxes([ENTRY], "test")
        order = await office.sell(1, 6_400)
        await office.follow()
        await office.follow()
        order = await office.bill(order, 6_300)
        await office.follow()
        await office.bill(order, 6_500)
        for _ in range(2):
            await office.follow()
        rows = await office.papers("o1")
        assert said(rows) == [
            ("invoice", "I29/2627/0000001", 15_062),
            ("credit_note", "C29/2627/0000001", -217),
            ("debit_note", "D29/2627/0000001", 434),
        ]
        charged = -(await office.ledger()).of(EntryKind.PRICED)
        assert sum(row["amount_minor"] for row in rows) == charged == bill(TERMS, usage(6_500)).total_minor
        note = documents.invoice_from(rows[1])
        assert (note.refers_to, note.metered.energy_wh) == ("I29/2627/0000001", 6_300)
        facts = await store.read(lambda tx: [f for f in tx.facts(0, 1000) if f.kind == "DocumentMade"])
        assert [fact.body["number"] for fact in facts] == [row["number"] for row in rows]


async def test_what_buyers_say_of_themselves_is_text_on_the_page(open_store: Opener) -> None:
    async with open_store() as store:
        office = Office(store)
        await office.books.set_taxes([ENTRY], "test")
        await office.sell(1, 6_400)
        await office.follow()
        (row,) = await office.papers("o1")
        page = (await store.read(lambda tx: documents.page_of(tx, row))).decode()
        assert "<script" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "Test &lt;CPO&gt;" in page
        assert "//" not in page.replace("<!doctype html>", "")  # no other address
        for word in ("29AAPFU0939F1ZR", "CGST 9%", "SGST 9%", "998714", "6.400 kWh", "150.62 INR", "N1"):
            assert word in page
        assert await office.books.documents.page(row["token"]) == page.encode()
        assert await office.books.documents.page("guessed") is None
        assert await office.books.documents.page("") is None


async def test_without_settings_nothing_is_invoiced_and_later_settings_catch_up(open_store: Opener) -> None:
    async with open_store() as store:
        office = Office(store)
        for no in range(1, 120):
            await office.sell(no, 6_400)
        await office.follow()
        assert await store.read(lambda tx: tx.count(Table.DOCUMENTS)) == 0
        assert await store.read(lambda tx: tx.count(Table.CASES)) == 0
        await office.books.set_taxes([ENTRY], "test")
        await office.books.invoicing.tick(office.clock.ms)
    async with open_store() as store:  # the process ended in the middle
        office = Office(store)
        for _ in range(5):
            await office.books.invoicing.tick(office.clock.ms)
        rows = await store.read(lambda tx: tx.many(Table.DOCUMENTS, order="no"))
        assert [row["number"] for row in rows] == [f"I29/2627/{no:07d}" for no in range(1, 120)]
        assert {row["order_id"] for row in rows} == {f"o{no}" for no in range(1, 120)}


async def test_a_rate_that_was_not_charged_opens_a_case_and_is_invoiced_once_corrected(open_store: Opener) -> None:
    async with open_store() as store:
        office = Office(store)
        await office.books.set_taxes([replace(ENTRY, rate_percent=D(12))], "test")
        await office.sell(1, 6_400)
        await office.follow()
        await office.follow()
        (case,) = await store.read(lambda tx: tx.many(Table.CASES))
        assert (case["type"], case["order_id"], case["severity"]) == ("NOT_INVOICED", "o1", "money")
        assert await office.papers("o1") == []
        await office.books.set_taxes([ENTRY], "test")
        await office.books.invoicing.tick(office.clock.ms)
        assert [kind for kind, _, _ in said(await office.papers("o1"))] == ["invoice"]


async def test_a_supply_before_the_first_entry_is_left_alone(open_store: Opener) -> None:
    async with open_store() as store:
        office = Office(store)
        await office.books.set_taxes([ENTRY], "test")
        office.clock.ms = OCTOBER[0] - DAY_MS
        await office.sell(1, 6_400)
        office.clock.ms = OCTOBER[0] + DAY_MS
        await office.follow()
        assert await office.papers("o1") == []
        assert await store.read(lambda tx: tx.count(Table.CASES)) == 0


async def test_a_cancellation_fee_is_invoiced_and_a_free_one_is_not(open_store: Opener) -> None:
    fee = bill(TERMS, usage(1_000)).without()
    async with open_store() as store:
        office = Office(store)
        await office.books.set_taxes([ENTRY], "test")
        for no, breakdown in ((1, fee), (2, Breakdown(currency="INR", components=()))):
            order = await office.sell(no, 0)
            cancelled: OrderFact = OrderCancelled(
                at_ms=office.clock.ms, by=CancelledBy.BUYER, reason="r", fee=breakdown, refund_minor=0
            )
            await store.transact(lambda tx, o=order, f=cancelled: journal(tx, o, [f]))
        await office.follow()
        assert [(row["kind"], row["amount_minor"]) for row in await office.papers("o1")] == [
            ("invoice", fee.total_minor)
        ]
        assert await office.papers("o2") == []


async def test_numbers_have_no_gap_whatever_fails_in_between(open_store: Opener) -> None:
    """Transactions at the same time, every third of them failing after it took its number; then a restart."""

    class Broken(Exception):
        pass

    async def make(office: Office, order: Order, fails: bool) -> None:
        def work(tx: Tx) -> None:
            assert order.final is not None
            office.books.invoicing.invoice(tx, order, order.final, 1, office.clock.ms, delivered_wh=6_400)
            if fails:
                raise Broken

        await office.store.transact(work)

    made = 0
    for turn in range(2):
        async with open_store() as store:
            office = Office(store)
            await office.books.set_taxes([ENTRY], "test")
            orders = [await office.sell(turn * 100 + no, 6_400) for no in range(1, 31)]
            jobs = [make(office, order, fails=no % 3 == 0) for no, order in enumerate(orders)]
            results = await asyncio.gather(*jobs, return_exceptions=True)
            assert sum(isinstance(result, Broken) for result in results) == 10
            made += 20
            rows = await store.read(lambda tx: tx.many(Table.DOCUMENTS, order="no"))
            assert sorted(row["number"] for row in rows) == [f"I29/2627/{no:07d}" for no in range(1, made + 1)]


async def test_one_order_that_cannot_be_read_keeps_no_other_from_its_invoice(
    open_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store() as store:
        office = Office(store)
        await office.books.set_taxes([ENTRY], "test")
        for no in (1, 2, 3):
            await office.sell(no, 6_400)
        invoice = office.books.invoicing.invoice

        def some(tx: Tx, order: Order, *rest: Any, **more: Any) -> Any:
            if order.order_id == "o2":
                raise ValueError("it cannot be read")
            return invoice(tx, order, *rest, **more)

        monkeypatch.setattr(office.books.invoicing, "invoice", some)
        with pytest.raises(ValueError, match="cannot be read"):
            await office.follow()
        assert await store.read(lambda tx: tx.count(Table.DOCUMENTS)) == 2


async def test_documents_are_kept_as_long_as_they_must_and_numbers_are_not_given_again(open_store: Opener) -> None:
    async with open_store() as store:
        office = Office(store)
        await office.books.set_taxes([ENTRY], "test")
        await office.sell(1, 6_400)
        await office.follow()
        assert await documents.drop_old(store, office.clock.ms + 400 * DAY_MS, 400) == 0
        assert await documents.drop_old(store, office.clock.ms + 400 * DAY_MS + 1, 400) == 1
        office.clock.ms += 401 * DAY_MS
        await office.sell(2, 6_400)
        await office.follow()
        # The first order is not invoiced a second time, and the ledger still stands.
        numbers = await store.read(lambda tx: [row["number"] for row in tx.many(Table.DOCUMENTS, order="no")])
        assert numbers == ["I29/2728/0000001"]
        assert (await office.ledger()).account(Account.BAP) > 0


# ---------------------------------------------------------------- money paid over


async def test_what_is_paid_over_settles_the_oldest_orders_first_and_counts_once(open_store: Opener) -> None:
    async with open_store() as store:
        office = Office(store)
        for no in (1, 2, 3):
            await office.sell(no, 6_400)
        await office.sell(4, 6_400, bap="other")
        each = outstanding(await store.read(lambda tx: ledger_of(tx, "o1"))).receivable_minor
        for _ in range(3):
            row, is_new = await office.books.remit("bap", "bap", "UTR1", amount_minor=each, withheld_minor=100, who="t")
        assert not is_new
        assert row["left_minor"] == 0
        open_minor = [outstanding(await store.read(lambda tx, n=n: ledger_of(tx, f"o{n}"))).receivable_minor
                      for n in (1, 2, 3, 4)]  # fmt: skip
        assert open_minor == [0, each - 100, each, each]
        with pytest.raises(Refusal) as refused:
            await office.books.remit("bap", "bap", "UTR1", amount_minor=each + 1, withheld_minor=100, who="t")
        assert refused.value.why is Why.ALREADY_EXISTS
        with pytest.raises(Refusal) as refused:
            await office.books.remit("bap", "nobody", "UTR1", amount_minor=1, withheld_minor=0, who="t")
        assert refused.value.why is Why.UNKNOWN_TARGET


async def test_what_was_paid_too_early_waits_for_later_orders(open_store: Opener) -> None:
    async with open_store() as store:
        office = Office(store)
        await office.sell(1, 6_400)
        each = outstanding(await store.read(lambda tx: ledger_of(tx, "o1"))).receivable_minor
        row, _ = await office.books.remit("bap", "bap", "UTR1", amount_minor=2 * each, withheld_minor=0, who="t")
        assert row["left_minor"] == each
        await office.sell(2, 6_400)
        await office.books.remitting.tick(office.clock.ms)
        (row,) = await store.read(lambda tx: tx.many(Table.REMITTANCES))
        assert row["left_minor"] == 0
        assert (await office.ledger()).account(Account.BAP) == 0


async def test_what_a_fleet_pays_settles_its_orders_and_stands_on_its_statement(open_store: Opener) -> None:
    async with open_store() as store:
        office = Office(store)
        fleet = {"kind": "fleet", "name": "Vans & Co", "tax_id": "27AAPFU0939F1ZV", "tokens": ["van-9"]}
        row = {"id": "f1", "data": json.dumps(fleet), "updated_ms": 0}
        await store.transact(lambda tx: tx.add(Table.FLEETS, row))
        await office.books.set_taxes([ENTRY], "test")
        for no in (1, 2):
            await office.sell(no, 6_400, fleet="f1", on_account=True)
        await office.sell(3, 6_400, fleet="f2", on_account=True)
        each = bill(TERMS, usage(6_400)).total_minor
        row, _ = await office.books.remit("fleet", "f1", "UTR1", amount_minor=each + 100, withheld_minor=0, who="t")
        assert row["left_minor"] == 0
        open_minor = [outstanding(await store.read(lambda tx, n=n: ledger_of(tx, f"o{n}"))).on_account_minor
                      for n in (1, 2, 3)]  # fmt: skip
        assert open_minor == [0, each - 100, each]
        office.clock.ms = NOVEMBER[0] + DAY_MS
        made, _ = await office.books.make_statement("fleet_statement", "f1", "2026-10")
        account = json.loads(made["data"])["account"]
        figures = {name: account[f"{name}_minor"] for name in ("opening", "collected", "remitted", "closing")}
        assert figures == {"opening": 0, "collected": 2 * each, "remitted": each + 100, "closing": each - 100}
        assert json.loads(made["data"])["sessions"]["amount_minor"] == 2 * each
        await office.follow()
        invoice = documents.invoice_from((await office.papers("o1"))[0])
        assert (invoice.buyer.name, invoice.buyer.gstin) == ("Vans & Co", "27AAPFU0939F1ZV")
        assert [tax.label for tax in invoice.taxes] == ["IGST"]


async def test_sessions_without_an_order_belong_to_the_fleet_of_their_token(open_store: Opener) -> None:
    fleets = {
        "f1": {"kind": "fleet", "name": "a", "tokens": ["van-9"]},
        "gold": {"kind": "loyalty", "name": "b", "tokens": ["van-7"]},
    }
    async with open_store() as store:
        office = Office(store)
        made, now_ms = bill(TERMS, usage(1_000)), office.clock.ms

        def work(tx: Tx) -> None:
            for name, fleet in fleets.items():
                tx.add(Table.FLEETS, {"id": name, "data": json.dumps(fleet), "updated_ms": 0})
            tokens = {"VAN-8": "group-2", "VAN-7": None}
            for uid, group in tokens.items():
                tx.add(Table.TOKENS, {"uid_norm": uid, "uid": uid, "kind": "fleet", "group_id": group, "updated_ms": 0})
            for no, token in enumerate(("VAN-9", "van-8", "van-7", "else", None), 1):
                tx.add(Table.SESSIONS, session_row(no, None, now_ms, token=token))
                tx.save(Table.REVISIONS, revision_row(no, 1, now_ms, 1_000, made))

        await store.transact(work)
        await office.sell(9, 6_400, fleet="gold", by_bap=False)
        office.clock.ms = NOVEMBER[0] + 4 * DAY_MS
        await office.books.statements.make_all("2026-10")
        rows = await store.read(lambda tx: tx.many(Table.DOCUMENTS, kind="fleet_statement", order="no"))
        assert [(row["party"], row["amount_minor"]) for row in rows] == [
            ("f1", made.total_minor), ("group-2", made.total_minor),
        ]  # fmt: skip


async def test_a_bill_that_falls_after_it_was_paid_over_is_taken_off_the_next_statement(open_store: Opener) -> None:
    async with open_store() as store:
        office = Office(store)
        order = await office.sell(1, 6_400)
        each = outstanding(await store.read(lambda tx: ledger_of(tx, "o1"))).receivable_minor
        await office.books.remit("bap", "bap", "UTR1", amount_minor=each, withheld_minor=0, who="t")
        await office.bill(order, 6_300)
        office.clock.ms = NOVEMBER[0] + DAY_MS
        row, _ = await office.books.make_statement("bap_statement", "bap", "2026-10")
        account = json.loads(row["data"])["account"]
        less = (bill(TERMS, usage(6_400)).total_minor - 288) - (bill(TERMS, usage(6_300)).total_minor - 284)
        assert account["closing_minor"] == -less < 0
        assert (await office.ledger()).of(EntryKind.REFUND) == 0


async def test_money_paid_over_at_once_from_two_sides_is_laid_once(open_store: Opener) -> None:
    async with open_store() as store:
        office = Office(store)
        for no in range(1, 8):
            await office.sell(no, 6_400)
        before = (await office.ledger()).account(Account.BAP)
        pay = [
            office.books.remit("bap", "bap", f"UTR{no % 3}", amount_minor=10_000, withheld_minor=5, who="t")
            for no in range(9)
        ]
        await asyncio.gather(*pay)
        assert (await office.ledger()).account(Account.BAP) == before - 3 * 10_005
        for no in range(1, 8):
            assert outstanding(await store.read(lambda tx, n=no: ledger_of(tx, f"o{n}"))).receivable_minor >= 0


# ---------------------------------------------------------------- statements


async def test_the_statement_of_a_month_is_made_once_and_reproduces_the_ledger(open_store: Opener) -> None:
    async with open_store() as store:
        office = Office(store)
        await office.books.set_taxes([ENTRY], "test")
        for no in (1, 2):
            await office.sell(no, 6_400)
        await office.sell(3, 6_400, by_bap=False)
        await office.sell(4, 6_400, bap="other")
        with pytest.raises(Refusal) as refused:
            await office.books.make_statement("bap_statement", "bap", "2026-10")
        assert refused.value.why is Why.WRONG_STATE
        office.clock.ms = NOVEMBER[0] + DAY_MS
        await office.books.remit("bap", "bap", "UTR1", amount_minor=10_000, withheld_minor=0, who="t")
        row, is_new = await office.books.make_statement("bap_statement", "bap", "2026-10")
        again, is_new_again = await office.books.make_statement("bap_statement", "bap", "2026-10")
        assert (is_new, is_new_again, again["id"]) == (True, False, row["id"])
        account = json.loads(row["data"])["account"]
        quoted, made = bill(TERMS, usage(10_000)).total_minor, bill(TERMS, usage(6_400)).total_minor
        figures = {name: account[f"{name}_minor"] for name in ("opening", "collected", "refunded", "retained")}
        assert figures == {"opening": 0, "collected": 2 * quoted, "refunded": 2 * (quoted - made), "retained": 2 * 288}
        assert account["closing_minor"] == 2 * (made - 288)
        assert account["withholding_minor"] == (2 * made + 500) // 1000
        assert (account["own_billed_minor"], account["own_finder_minor"]) == (made, 288)
        told = (await lines(store, row)).decode().splitlines()
        amounts = [Decimal(line.split(",")[3]) for line in told[1:]]
        assert sum(amounts) * 100 == account["closing_minor"]

        office.clock.ms = NOVEMBER[1] + DAY_MS
        later, _ = await office.books.make_statement("bap_statement", "bap", "2026-11")
        account = json.loads(later["data"])["account"]
        assert account["opening_minor"] == 2 * (made - 288)
        assert account["remitted_minor"] == 10_000
        assert (row["number"], later["number"]) == ("B/2627/0000001", "B/2627/0000002")


async def test_sessions_stand_in_the_month_they_were_billed_and_corrections_as_differences(open_store: Opener) -> None:
    async with open_store() as store:
        office = Office(store)
        first = await office.sell(1, 6_400, fleet="f1")
        await office.sell(2, 6_400)
        office.clock.ms = NOVEMBER[0] + DAY_MS
        await office.bill(first, 6_300)
        made, lower = bill(TERMS, usage(6_400)), bill(TERMS, usage(6_300))
        october, _ = await office.books.make_statement("cdr_statement", "bap", "2026-10")
        office.clock.ms = NOVEMBER[1] + DAY_MS
        november, _ = await office.books.make_statement("cdr_statement", "bap", "2026-11")
        fleet, _ = await office.books.make_statement("fleet_statement", "f1", "2026-10")
        assert json.loads(october["data"])["sessions"] == {
            "sessions": 2, "corrections": 0, "energy_wh": 12_800, "amount_minor": 2 * made.total_minor,
            "tax_minor": 2 * 2_254,
        }  # fmt: skip
        assert json.loads(november["data"])["sessions"] == {
            "sessions": 0, "corrections": 1, "energy_wh": -100, "amount_minor": lower.total_minor - made.total_minor,
            "tax_minor": int(lower.tax * 100) - 2_254,
        }  # fmt: skip
        assert json.loads(fleet["data"])["sessions"]["sessions"] == 1
        assert len((await lines(store, october)).decode().splitlines()) == 3
        assert ",-0.100," in (await lines(store, november)).decode()


async def test_statements_make_themselves_once_the_month_is_over(open_store: Opener) -> None:
    async with open_store() as store:
        office = Office(store)
        await office.sell(1, 6_400, fleet="f1")
        await office.sell(2, 6_400, bap="other", by_bap=False)
        for day, expected in ((2, 0), (4, 5), (5, 5)):
            office.clock.ms = NOVEMBER[0] + (day - 1) * DAY_MS
            await office.books.statements.tick(office.clock.ms)
            assert await store.read(lambda tx: tx.count(Table.DOCUMENTS)) == expected
        rows = await store.read(lambda tx: tx.many(Table.DOCUMENTS, order="no"))
        assert sorted((row["kind"], row["party"], row["period"]) for row in rows) == [
            ("bap_statement", "bap", "2026-10"),
            ("bap_statement", "other", "2026-10"),
            ("cdr_statement", "bap", "2026-10"),
            ("cdr_statement", "other", "2026-10"),
            ("fleet_statement", "f1", "2026-10"),
        ]


async def test_bills_of_one_instant_are_not_lost_between_two_reads(
    open_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csms.app.billings._CHUNK", 4)
    async with open_store() as store:
        office = Office(store)
        for no in range(1, 12):
            office.clock.ms += no % 5 == 0
            await office.sell(no, 1_000)
        office.clock.ms = NOVEMBER[0] + DAY_MS
        row, _ = await office.books.make_statement("cdr_statement", "bap", "2026-10")
        assert json.loads(row["data"])["sessions"]["sessions"] == 11


# ---------------------------------------------------------------- consumption


async def asked(store: Any, by: By, **more: Any) -> list[tuple[str | None, int, int]]:
    begin_ms = OCTOBER[0]
    wanted = Asked(by=by, from_ms=begin_ms, to_ms=begin_ms + 3 * DAY_MS, **more)
    found: list[Consumed] = await consumption(store, wanted)
    return [(one.key, (one.from_ms - begin_ms) // HOUR_MS, one.energy_wh) for one in found]


async def test_energy_by_feeder_and_by_consumer_is_what_was_billed(open_store: Opener) -> None:
    at_ms = OCTOBER[0] + 10 * HOUR_MS + HOUR_MS // 2
    async with open_store() as store:

        def work(tx: Tx) -> None:
            tx.add(Table.STATIONS, {"id": "CP", "no": 1, "id_folded": "cp", "created_ms": 0})
            tx.add(Table.LOCATIONS, {"id": "L1", "data": json.dumps(LOCATION), "updated_ms": 0})
            tx.add(Table.SESSIONS, session_row(1, None, at_ms))
            tx.add(Table.SESSIONS, session_row(2, None, at_ms, evse=2, energy_wh=1_000))
            tx.add(Table.SESSIONS, session_row(3, None, at_ms, station="ELSE", energy_wh=10, token=None))
            tx.add(Table.SESSIONS, session_row(4, None, at_ms, state="ACTIVE", open=1))
            number = {"uid_norm": "TAG1", "uid": "tag1", "consumer_number": "C-9", "updated_ms": 0}
            tx.add(Table.CONSUMERS, number)

        await store.transact(work)
        unit = Unit()
        row = (1, at_ms - HOUR_MS // 2, 1001, 1_400, at_ms, at_ms, "sample", None, None, None, None, 0, 1, None)
        unit.put(Put.READING, row)  # a tenth before the hour, the rest after it
        store.submit(unit)
        await store.transact(lambda _: None)
        assert await asked(store, By.FEEDER) == [
            (None, 9, 5), (None, 10, 5), ("F-7", 9, 400), ("F-7", 10, 6_000), ("F-8", 9, 500), ("F-8", 10, 500),
        ]  # fmt: skip
        assert await asked(store, By.FEEDER, interval=Interval.DAY, key="F-7") == [("F-7", 0, 6_400)]
        assert await asked(store, By.CONSUMER, interval=Interval.DAY) == [(None, 0, 10), ("C-9", 0, 7_400)]
        with pytest.raises(Refusal):
            await consumption(store, Asked(by=By.FEEDER, from_ms=0, to_ms=63 * DAY_MS))


async def test_the_number_a_buyers_app_gave_goes_before_the_tokens(open_store: Opener) -> None:
    async with open_store() as store:
        office = Office(store)
        await office.sell(1, 6_400)
        await store.transact(
            lambda tx: tx.add(
                Table.CONSUMERS, {"uid_norm": "TAG1", "uid": "t", "consumer_number": "C-9", "updated_ms": 0}
            )
        )
        await office.sell(2, 6_400)
        assert await asked(store, By.CONSUMER, interval=Interval.DAY) == [
            ("C-1", 0, 6_400), ("C-9", 0, 6_400),
        ]  # fmt: skip
