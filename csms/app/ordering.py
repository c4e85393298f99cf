"""Selling a charging session: quote, prepare, pay, confirm, start, stop, cancel. One transaction per use case.

Every function here takes the transaction and is pure with respect to the outside, because the store may run it
twice. What must follow outside (a bell, a token in memory) is done by the caller after the commit.

    select -> QUOTED -> init -> INITIALISED -> paid -> PAID -> confirm -> CONFIRMED (token minted, slot booked)
           -> start -> STARTING (an Instruction) … the charger's facts come back through `settling`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from csms.app import slots
from csms.app.appmoney import told_by_app
from csms.app.catalogue import Inventory, Offering
from csms.app.dues import Due, refuse_debtor
from csms.app.identities import Identities
from csms.app.instructions import issue
from csms.app.kept import KeptRefusal
from csms.app.orderbooks import call_off, evidence_of, fail, give_back, payment_asked, post_order, post_payment
from csms.app.orders import act, add_order, journal, order_from, save_order
from csms.app.otps import Otps, Purpose
from csms.app.pricing import Pricing
from csms.app.selling import Asker, Claim, Selling, Sockets, Wish
from csms.app.usable import Usable
from csms.domain.access import order_token
from csms.domain.buyer import Buyer
from csms.domain.instruction import Instruction, Kind
from csms.domain.order import (
    AskStart,
    AskStop,
    Cancel,
    CancelledBy,
    CollectedBy,
    Confirm,
    Initialise,
    Order,
    PaymentStatus,
    Reclass,
    RecordPayment,
    Renew,
    Requote,
    State,
    quoted_fact,
)
from csms.domain.quote import WantKind
from csms.domain.refusal import Refusal, Why
from csms.ports import Fact, Ids, Payments, ReadTx, Table, Tx


class Debts(Protocol):
    """What buyers owe for other orders."""

    def of_buyer(self, tx: ReadTx, buyer: Buyer, bap_id: str, *, is_fleet: bool, but: str | None) -> Sequence[Due]:
        """Oldest first; nothing where debts block nobody from buying."""
        ...


class NoDebts:
    """Nobody is asked for old debts."""

    def of_buyer(self, tx: ReadTx, buyer: Buyer, bap_id: str, *, is_fleet: bool, but: str | None) -> Sequence[Due]:  # noqa: ARG002
        """Nothing."""
        return ()


class Ordering:
    """The seller's use cases."""

    def __init__(
        self,
        *,
        inventory: Inventory,
        sockets: Sockets,
        payments: Payments,
        ids: Ids,
        selling: Selling,
        otps: Otps,
        identities: Identities,
        debts: Debts | None = None,
    ) -> None:
        self._inventory = inventory
        self._sockets = sockets
        self._payments = payments
        self._ids = ids
        self._selling = selling
        self._otps = otps
        self._identities = identities
        self._debts = debts if debts is not None else NoDebts()
        self._pricing = Pricing(inventory, selling, otps)
        self._usable = Usable(sockets, selling)

    # -- quote

    def select(self, tx: Tx, asker: Asker, wish: Wish, now_ms: int) -> Order:
        """Price a wish. Selecting again prices again; once paid the selection stands."""
        return self._select(tx, asker, wish, now_ms, keeps=False)

    def _select(self, tx: Tx, asker: Asker, wish: Wish, now_ms: int, *, keeps: bool) -> Order:
        """`keeps`: nothing was chosen anew, so an offer that has ended meanwhile still holds."""
        row = tx.take(Table.ORDERS, bap_id=asker.bap_id, transaction_id=asker.transaction_id)
        before = order_from(row) if row is not None else None
        buyer = (before.buyer if before is not None else Buyer()).with_news(wish.buyer)
        if before is None or not before.is_paid:
            self._refuse_debtor(tx, before, buyer, asker.bap_id)
        offering = self._inventory.find(wish.item_id)
        wish = _plain(wish, offering)
        order_id = before.order_id if before is not None else None
        slot = slots.nearest(
            tx, offering, wish.start_ms, wish.end_ms, now_ms, default_ms=self._selling.slot_default_ms, but=order_id
        )
        if slot is None:
            self._usable.refuse_unusable(tx, offering, now_ms, order_id)
        fleet = self._pricing.member(tx, before, buyer, asker.bap_id)
        fleet_id = fleet.fleet_id if fleet is not None else None
        priced, terms = self._pricing.price(
            offering,
            wish,
            fleet,
            now_ms,
            start_ms=slot.start_ms if slot is not None else now_ms,
            kept=before.terms if before is not None and keeps else None,
        )
        if row is None:
            order = Order(
                order_id=self._ids.uuid(),
                network=asker.network,
                transaction_id=asker.transaction_id,
                bap_id=asker.bap_id,
                bap_uri=asker.bap_uri,
                domain=asker.domain,
                item_id=offering.item_id,
                station=offering.station,
                evse=offering.evse,
                connector=offering.connector,
                want=wish.want,
                terms=terms,
                quote=priced.breakdown,
                quoted_wh=priced.energy_wh,
                hold_minor=priced.hold_minor,
                quoted_at_ms=now_ms,
                quote_expires_ms=now_ms + self._selling.quote_life_ms,
                offer_id=wish.offer_id,
                slot=slot,
                buyer=wish.buyer,
                wire=wish.wire,
                fleet_id=fleet_id,
            )
            add_order(tx, order, no=tx.next_no("order"), tracking=self._ids.secret(), now_ms=now_ms)
            journal(tx, order, [quoted_fact(order)])
            return order
        assert before is not None
        order, _ = act(
            tx,
            before,
            Requote(
                item_id=offering.item_id,
                station=offering.station,
                evse=offering.evse,
                connector=offering.connector,
                offer_id=wish.offer_id,
                want=wish.want,
                terms=terms,
                quote=priced.breakdown,
                quoted_wh=priced.energy_wh,
                hold_minor=priced.hold_minor,
                expires_ms=now_ms + self._selling.quote_life_ms,
                slot=slot,
                buyer=wish.buyer,
                fleet_id=fleet_id,
                wire=wish.wire,
            ),
            now_ms,
        )
        return order

    def _refuse_debtor(self, tx: Tx, order: Order | None, buyer: Buyer, bap_id: str) -> None:
        """Refusal(BLOCKED) when the buyer, under whatever name, owes for another order (BECKN 7.4)."""
        is_fleet = order is not None and self._inventory.is_fleet(order.fleet_id)
        but = order.order_id if order is not None else None
        refuse_debtor(self._debts.of_buyer(tx, buyer, bap_id, is_fleet=is_fleet, but=but))

    def is_free(
        self, tx: Tx, offering: Offering, now_ms: int, start_ms: int | None = None, end_ms: int | None = None
    ) -> bool:
        """Whether a stranger could have it: now, or for a slot."""
        return self._usable.is_free(tx, offering, now_ms, start_ms, end_ms)

    # -- init and payment

    def initialise(
        self,
        tx: Tx,
        asker: Asker,
        wish: Wish,
        now_ms: int,
        *,
        order_id: str | None,
        collected_by: CollectedBy,
        claim: Claim | None,
    ) -> Order:
        """Fix buyer and payment. An init without a select is a walk-in at the sticker: it quotes first."""
        row = tx.take(Table.ORDERS, bap_id=asker.bap_id, transaction_id=asker.transaction_id)
        order = order_from(row) if row is not None else None
        collected_by = self._collector(collected_by)
        if order is None:
            order = self.select(tx, asker, wish, now_ms)
        elif order.state in {State.QUOTED, State.INITIALISED} and self._differs(tx, order, wish):
            order = self._select(tx, asker, self._completed(order, wish), now_ms, keeps=True)
        elif order.state in {State.QUOTED, State.INITIALISED} and now_ms > order.quote_expires_ms:
            order = self._renew(tx, order, now_ms)
        if collected_by is CollectedBy.BAP and order_id is not None and order_id != order.order_id:
            order = self._rename(tx, order, order_id, now_ms)
        if not order.is_paid:
            self._refuse_debtor(tx, order, order.buyer.with_news(wish.buyer), asker.bap_id)
        payment = payment_asked(tx, order, self._payments, collected_by, claim, now_ms)
        number = row["no"] if row is not None else self._number(tx, order)
        order, _ = act(
            tx,
            order,
            Initialise(
                order_number=f"EV-{number:06d}",
                collected_by=collected_by,
                payment=payment,
                buyer=wish.buyer,
                wire=wish.wire,
            ),
            now_ms,
        )
        if order.slot is not None:
            slots.book(tx, order, "soft", order.quote_expires_ms, now_ms)
        self._ask_otp(tx, order, now_ms)
        return order

    def _collector(self, proposed: CollectedBy) -> CollectedBy:
        """Who collects: the buyer's app proposes, and our answer stands (BECKN 0.1)."""
        own = {"bpp": CollectedBy.BPP, "bap": CollectedBy.BAP}
        return own.get(self._selling.collect, proposed)

    def _ask_otp(self, tx: Tx, order: Order, now_ms: int) -> None:
        """A fleet's password is sent now, and shown at confirm; without a number to send one for the start to, there
        is nothing to sell."""
        if self._is_otp_wanted(order):
            self._otps.phone_of(order)
        if order.state is State.INITIALISED and self._pricing.unproven(order) is not None:
            self._otps.ask(tx, order, Purpose.FLEET, now_ms)

    def _is_otp_wanted(self, order: Order) -> bool:
        """Whether the driver has to show a password at the start."""
        rule = self._otps.rules.start
        if rule == "all" or (rule == "fleet" and self._inventory.is_fleet(order.fleet_id)):
            return True
        offering = self._inventory.at(order.station, order.evse, order.connector)
        return offering is not None and offering.location.get("start_otp") is True

    def _completed(self, order: Order, wish: Wish) -> Wish:
        """What an init leaves out is as it was selected, while it means the same connector."""
        if self._inventory.find(wish.item_id).item_id != order.item_id:
            return wish
        slot = order.slot if wish.start_ms is None else None
        return replace(
            wish,
            want=order.want if wish.want.kind is WantKind.OPEN else wish.want,
            offer_id=wish.offer_id or order.offer_id,
            finder_fee=wish.finder_fee or order.terms.finder_fee,
            start_ms=slot.start_ms if slot is not None else wish.start_ms,
            end_ms=slot.end_ms if slot is not None else wish.end_ms,
        )

    def _differs(self, tx: Tx, order: Order, wish: Wish) -> bool:
        """Whether an init asks for something else than what was selected, or comes from somebody with other prices."""
        fleet = self._pricing.member(tx, order, order.buyer.with_news(wish.buyer), order.bap_id)
        if (fleet.fleet_id if fleet is not None else None) != order.fleet_id:
            return True
        offering = self._inventory.find(wish.item_id)
        item_id, wish = offering.item_id, _plain(wish, offering)
        wanted = wish.want.kind is not WantKind.OPEN and wish.want != order.want
        return item_id != order.item_id or wanted or (wish.offer_id is not None and wish.offer_id != order.offer_id)

    def _renew(self, tx: Tx, order: Order, now_ms: int) -> Order:
        offering = self._inventory.find(order.item_id)
        wish = Wish(
            item_id=order.item_id,
            want=order.want,
            offer_id=order.offer_id,
            finder_fee=order.terms.finder_fee,
            start_ms=order.slot.start_ms if order.slot else None,
            end_ms=order.slot.end_ms if order.slot else None,
            wire={},
        )
        slot = slots.nearest(
            tx, offering, wish.start_ms, wish.end_ms, now_ms, default_ms=self._selling.slot_default_ms,
            but=order.order_id,
        )  # fmt: skip
        if slot is None:
            self._usable.refuse_unusable(tx, offering, now_ms, order.order_id)
        start_ms = slot.start_ms if slot is not None else now_ms
        fleet = self._pricing.member(tx, order, order.buyer, order.bap_id)
        priced, terms = self._pricing.price(offering, wish, fleet, now_ms, start_ms=start_ms, kept=order.terms)
        renewed, _ = act(
            tx,
            order,
            Renew(
                terms=terms,
                quote=priced.breakdown,
                quoted_wh=priced.energy_wh,
                hold_minor=priced.hold_minor,
                expires_ms=now_ms + self._selling.quote_life_ms,
            ),
            now_ms,
        )
        return renewed

    @staticmethod
    def _number(tx: Tx, order: Order) -> int:
        row = tx.one(Table.ORDERS, id=order.order_id)
        return int(row["no"]) if row is not None else 0

    @staticmethod
    def _rename(tx: Tx, order: Order, order_id: str, now_ms: int) -> Order:
        """The buyer's app made the order id (BECKN 4.6). Nothing but the quote refers to ours yet."""
        if order.state not in {State.QUOTED, State.INITIALISED}:
            raise Refusal(Why.WRONG_STATE, f"the order {order.order_id} is paid and keeps its id")
        if len(order_id) > 64 or not order_id.isprintable():
            raise Refusal(Why.INVALID_REQUEST, "the order id is longer than 64 characters or not printable")
        if tx.one(Table.ORDERS, id=order_id) is not None:
            raise Refusal(Why.ALREADY_EXISTS, f"the order id {order_id} is taken")
        renamed = replace(order, order_id=order_id)
        tx.change(Table.ORDERS, {"id": order_id}, id=order.order_id)
        for table in (Table.RESERVATIONS, Table.OTPS, Table.IDENTITIES):
            tx.change(table, {"order_id": order_id}, order_id=order.order_id)
        save_order(tx, renamed, now_ms)
        tx.append([Fact("OrderRenamed", now_ms, {"before": order.order_id}, order_id=order_id)])
        return renamed

    def record_payment(
        self, tx: Tx, order: Order, now_ms: int, *, held: bool, ref: str | None, amount_minor: int | None
    ) -> Order:
        """Our gateway says that the money is there. Told twice it changes nothing."""
        if order.payment is None or order.collected_by is not CollectedBy.BPP:
            raise Refusal(Why.WRONG_STATE, "this order has no payment of ours")
        if amount_minor is not None and amount_minor != order.payment.amount_minor:
            raise Refusal(Why.NOT_PAID, f"{amount_minor} paise were paid, {order.payment.amount_minor} were asked")
        if order.payment.is_good:
            return order
        if order.confirmed_at_ms is not None:
            raise Refusal(Why.WRONG_STATE, f"order {order.order_id} was confirmed to be paid afterwards, by its bill")
        paid = replace(
            order.payment,
            status=PaymentStatus.AUTHORIZED if held else PaymentStatus.COMPLETED,
            txn_ref=ref or order.payment.txn_ref,
            paid_at_ms=now_ms,
        )
        order, facts = act(tx, order, RecordPayment(payment=paid), now_ms)
        if facts:
            post_payment(tx, order, now_ms)
        if facts and order.state in {State.CANCELLED, State.EXPIRED, State.FAILED}:
            give_back(tx, order, now_ms)  # it came after the end
        return order

    # -- confirm

    def confirm(
        self,
        tx: Tx,
        order: Order,
        claim: Claim | None,
        now_ms: int,
        wire: Mapping[str, Any],
        *,
        otp: str | None = None,
    ) -> Order:
        """Make it binding: paid, token minted, slot booked. A second confirm answers the same order."""
        if order.confirmed_at_ms is not None and order.state not in {State.CANCELLED, State.FAILED}:
            return told_by_app(tx, order, claim, now_ms)
        if order.state is State.FAILED:
            raise Refusal(Why.SLOT_TAKEN, order.failure or "the order cannot be had any more")
        if order.state in {State.QUOTED, State.INITIALISED} and now_ms > order.quote_expires_ms and not order.is_paid:
            order = self._renew(tx, order, now_ms)
        if order.state in {State.INITIALISED, State.PAID} and otp is not None:
            order = self._proven(tx, order, otp, now_ms)
        evidence = evidence_of(order, claim)
        if (
            order.collected_by is CollectedBy.BPP
            and not order.is_paid
            and self._selling.claims
            and evidence is not None
            and evidence.is_good
            and order.payment is not None
            and claim is not None
            and claim.txn_ref == order.payment.txn_ref
        ):
            order = self.record_payment(
                tx, order, now_ms, held=evidence.status is PaymentStatus.AUTHORIZED, ref=None, amount_minor=None
            )
        buyer = Buyer(vpa=claim.payer_vpa) if claim is not None and claim.payer_vpa is not None else None
        if not order.is_paid:
            self._refuse_debtor(tx, order, order.buyer.with_news(buyer), order.bap_id)
        is_unpaid = order.state is State.INITIALISED and not (
            order.collected_by is CollectedBy.BAP and evidence is not None and evidence.is_good
        )
        order, facts = act(
            tx,
            order,
            Confirm(
                evidence=evidence,
                token=order_token(order.order_id),
                allow_postpaid=is_unpaid and self._pricing.may_pay_later(order),
                on_account=is_unpaid and self._pricing.on_account(tx, order, now_ms),
                buyer=buyer,
                wire=wire,
            ),
            now_ms,
        )
        if not facts:
            return order
        if order.slot is None:
            self._usable.refuse_unusable(tx, self._inventory.find(order.item_id), now_ms, order.order_id)
        else:
            self._book_hard(tx, order, now_ms)
        post_order(tx, order, now_ms)
        self._identities.see(tx, order, is_fleet=self._inventory.is_fleet(order.fleet_id), now_ms=now_ms)
        if self._is_otp_wanted(order):
            self._otps.ask(tx, order, Purpose.START, now_ms)
        self._mint(tx, order, now_ms)
        return order

    def _proven(self, tx: Tx, order: Order, otp: str, now_ms: int) -> Order:
        """The password shows that the buyer belongs to a fleet: its price holds from now on (BECKN 5.7).

        One that was paid at a lower price already stays as it is. A password nobody asked for means nothing here."""
        fleet = self._pricing.unproven(order)
        if fleet is None:
            return order
        self._otps.check(tx, order, Purpose.FLEET, otp, now_ms)
        offering = self._inventory.find(order.item_id)
        wish = Wish(
            item_id=order.item_id,
            want=order.want,
            offer_id=order.offer_id,
            finder_fee=order.terms.finder_fee,
            wire={},
        )
        start_ms = order.slot.start_ms if order.slot is not None else order.quoted_at_ms
        priced, terms = self._pricing.price(offering, wish, fleet, now_ms, start_ms=start_ms, kept=order.terms)
        if order.is_paid and priced.breakdown.total_minor > order.paid_minor:
            return order
        proven = Reclass(
            fleet_id=fleet.fleet_id,
            terms=terms,
            quote=priced.breakdown,
            quoted_wh=priced.energy_wh,
            hold_minor=priced.hold_minor,
        )
        return act(tx, order, proven, now_ms)[0]

    def _book_hard(self, tx: Tx, order: Order, now_ms: int) -> None:
        """The first to confirm has the slot; whoever comes second and has paid gets everything back (BECKN 4.7)."""
        assert order.slot is not None
        expires_ms = order.slot.start_ms + self._selling.grace_min * 60_000
        try:
            slots.book(tx, order, "hard", expires_ms, now_ms)
        except Refusal as refusal:
            order_id, why = order.order_id, refusal.detail
            raise KeptRefusal(refusal.why, why, lambda tx: fail(tx, order_id, why, now_ms)) from refusal

    def _mint(self, tx: Tx, order: Order, now_ms: int) -> None:
        """The token that opens the charger for this order."""
        tx.save(Table.TOKENS, self._token_row(order, now_ms))
        tx.append([Fact("TokenChanged", now_ms, {"uid": order.token}, order_id=order.order_id)])

    def _token_row(self, order: Order, now_ms: int) -> dict[str, Any]:
        want = order.want
        return {
            "uid_norm": order.token,
            "uid": order.token,
            "type": "Central",
            "kind": "order",
            "status": "Accepted",
            "order_id": order.order_id,
            "station": order.station,
            "evse": order.evse,
            "connector": self._sockets.connector_on_wire(order.station, order.evse, order.connector),
            "budget_wh": order.quoted_wh if want.kind in {WantKind.ENERGY, WantKind.AMOUNT} else None,
            "budget_s": want.minutes * 60 if want.minutes is not None else None,
            "updated_ms": now_ms,
        }

    # -- start, stop, cancel

    def start(self, tx: Tx, order: Order, now_ms: int, *, otp: str | None = None) -> tuple[Order, Instruction | None]:
        """Ask the charger to start. When it charges already nothing is asked again."""
        if order.state is State.CONFIRMED:
            self._refuse_debtor(tx, order, order.buyer, order.bap_id)
            if not self._sockets.is_online(order.station):
                raise Refusal(Why.STATION_OFFLINE, "the charger is offline at the moment; try again shortly")
            self._usable.refuse_unusable(tx, order, now_ms, order.order_id)
            if order.slot is not None and now_ms < order.slot.start_ms - slots.SPOT_WINDOW_MS:
                raise Refusal(Why.NOT_STARTABLE, "the reserved time has not come yet")
            if self._is_otp_wanted(order):
                self._otps.demand(tx, order, otp, now_ms)
        order, facts = act(tx, order, AskStart(), now_ms)
        if not facts:
            return order, None
        connector = self._sockets.connector_on_wire(order.station, order.evse, order.connector)
        payload = {
            "token": order.token,
            "evse": order.evse,
            "connector": connector,
            "remote_start_id": tx.next_no("remote-start"),
            "budget_wh": order.quoted_wh if order.want.kind in {WantKind.ENERGY, WantKind.AMOUNT} else None,
        }
        instruction = issue(
            tx,
            instruction_id=self._ids.uuid(),
            station=order.station,
            kind=Kind.START,
            payload=payload,
            now_ms=now_ms,
            order_id=order.order_id,
            token=order.token,
            effect_key=f"{order.order_id}:START:{order.version}",
        )
        return order, instruction

    @staticmethod
    def stop(tx: Tx, order: Order, now_ms: int) -> Order:
        """Ask for the end. The charger path hears of it through the journal and tells the charger."""
        order, _ = act(tx, order, AskStop(), now_ms)
        return order

    @staticmethod
    def heard_of_money(tx: Tx, order: Order, claim: Claim | None, now_ms: int) -> Order:
        """What a buyer's app that collects tells of a top-up or a refund (`appmoney`)."""
        return told_by_app(tx, order, claim, now_ms)

    def cancel(self, tx: Tx, order: Order, reason: str, by: CancelledBy, now_ms: int, wire: Mapping[str, Any]) -> Order:
        """Give the order back before it started; what was paid beyond the fee goes back.

        Whoever finds the charger dead once their time has come pays nothing for giving up (BECKN 4.11)."""
        is_free = by is CancelledBy.BUYER and self._usable.is_dead(tx, order, now_ms)
        return call_off(tx, order, Cancel(reason=reason, by=by, is_free=is_free, wire=wire), now_ms)


def find_for(tx: Tx, asker: Asker, order_id: str | None, *, lenient: bool) -> Order:
    """The order a message is about: by its id, else the conversation's only one (BECKN 1.6). UNKNOWN_ORDER otherwise.

    An order of another buyer app is unknown: its existence is not told.
    """
    if order_id is not None:
        row = tx.take(Table.ORDERS, id=order_id, bap_id=asker.bap_id)
        if row is not None:
            return order_from(row)
    row = tx.take(Table.ORDERS, bap_id=asker.bap_id, transaction_id=asker.transaction_id)
    if row is not None and (order_id is None or lenient):
        return order_from(row)
    raise Refusal(Why.UNKNOWN_ORDER, "no such order" if order_id is None else f"no order {order_id}")


def _plain(wish: Wish, offering: Offering) -> Wish:
    """Naming the plain tariff's offer is the same as naming none."""
    return replace(wish, offer_id=None) if wish.offer_id == offering.base_offer_id else wish
