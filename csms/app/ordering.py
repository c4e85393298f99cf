"""Selling a charging session: quote, prepare, pay, confirm, start, stop, cancel. One transaction per use case.

Every function here takes the transaction and is pure with respect to the outside, because the store may run it
twice. What must follow outside (a bell, a token in memory) is done by the caller after the commit.

    select -> QUOTED -> init -> INITIALISED -> paid -> PAID -> confirm -> CONFIRMED (token minted, slot booked)
           -> start -> STARTING (an Instruction) … the charger's facts come back through `settling`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from csms.app.catalogue import Inventory, Offering
from csms.app.instructions import issue
from csms.app.orders import act, add_order, journal, ledger_of, order_from, post, save_order
from csms.app.paying import queue_moves
from csms.domain.access import order_token
from csms.domain.breakdown import Breakdown, Role
from csms.domain.buyer import Buyer
from csms.domain.instruction import Instruction, Kind
from csms.domain.ledger import money_collected, money_collected_by_bap, money_held, order_placed
from csms.domain.order import (
    AskStart,
    AskStop,
    Cancel,
    CancelledBy,
    CollectedBy,
    Confirm,
    Initialise,
    Order,
    Payment,
    PaymentStatus,
    RecordPayment,
    Renew,
    Requote,
    Slot,
    State,
    quoted_fact,
)
from csms.domain.quote import Quote, Want, WantKind, quote
from csms.domain.refusal import Refusal, Why
from csms.domain.reported import SocketStatus
from csms.domain.settlement import Charge, settle_cancellation
from csms.domain.tariff import CancellationPolicy, FinderFee, Pattern, Terms
from csms.domain.units import to_minor
from csms.ports import Fact, Ids, PaymentRequest, Payments, Row, Table, Tx

_USABLE = frozenset(
    {
        SocketStatus.AVAILABLE,
        SocketStatus.PREPARING,
        SocketStatus.RESERVED,
        SocketStatus.OCCUPIED,
        SocketStatus.FINISHING,
    }
)
_RUNNING = ("STARTING", "ACTIVE", "INTERRUPTED", "STOPPING")
_SPOT_WINDOW_MS = 15 * 60_000  # a start this soon is a walk-in, not a reservation (BECKN 4.5)


class Sockets(Protocol):
    """What selling must know about the chargers right now."""

    def status(self, station: str, evse: int, connector: int) -> SocketStatus | None:
        """The last reported status; None when the charger never said."""
        ...

    def is_online(self, station: str) -> bool:
        """Whether the charger can be reached."""
        ...

    def connector_on_wire(self, station: str, evse: int, connector: int) -> int:
        """The connector number as this charger spells it (1.6 has one number for both)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Selling:
    """The operator's choices."""

    pattern: Pattern
    absorb_cap_minor: int
    quote_life_ms: int
    currency: str
    default_energy_wh: int = 10_000
    lenient_order_ids: bool = True
    claims: bool = False  # the simulated gateway: a claim that names our reference is a payment
    grace_min: int = 10
    slot_default_ms: int = 60 * 60_000
    cancellation: CancellationPolicy = field(default_factory=CancellationPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks, in which conversation."""

    network: str
    bap_id: str
    bap_uri: str
    transaction_id: str
    domain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be priced."""

    item_id: str
    want: Want
    offer_id: str | None = None
    finder_fee: FinderFee | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    buyer: Buyer = field(default_factory=Buyer)
    wire: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the buyer's app says about money."""

    payment_id: str | None = None
    status: str | None = None
    amount_minor: int | None = None
    txn_ref: str | None = None
    paid_at_ms: int | None = None
    details: Mapping[str, Any]


def _nobody_owes(_buyer: Buyer) -> bool:
    return False


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
        is_in_debt: Callable[[Buyer], bool] = _nobody_owes,
    ) -> None:
        self._inventory = inventory
        self._sockets = sockets
        self._payments = payments
        self._ids = ids
        self._selling = selling
        self._is_in_debt = is_in_debt

    # -- quote

    def select(self, tx: Tx, asker: Asker, wish: Wish, now_ms: int) -> Order:
        """Price a wish. Selecting again prices again; once paid the selection stands."""
        row = tx.take(Table.ORDERS, bap_id=asker.bap_id, transaction_id=asker.transaction_id)
        offering = self._inventory.find(wish.item_id)
        wish = _plain(wish, offering)
        priced, terms, slot = self._price(tx, offering, wish, now_ms, but=row["id"] if row else None)
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
            )
            add_order(tx, order, no=tx.next_no("order"), tracking=self._ids.secret(), now_ms=now_ms)
            journal(tx, order, [quoted_fact(order)])
            return order
        order, _ = act(
            tx,
            order_from(row),
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
                wire=wish.wire,
            ),
            now_ms,
        )
        return order

    def _price(
        self, tx: Tx, offering: Offering, wish: Wish, now_ms: int, but: str | None
    ) -> tuple[Quote, Terms, Slot | None]:
        if offering.tariff is None:
            raise Refusal(Why.NO_TARIFF, f"{offering.item_id} has no tariff; it cannot be sold yet")
        if offering.tariff.currency != self._selling.currency:
            raise Refusal(Why.NO_TARIFF, f"{offering.item_id} is priced in {offering.tariff.currency}")
        slot = self._slot(tx, offering, wish, now_ms, but)
        if slot is None:
            self.refuse_unusable(tx, offering, now_ms, but)
        discount = self._inventory.discount(wish.offer_id, offering, now_ms) if wish.offer_id is not None else None
        policy = offering.policy
        terms = Terms(
            tariff=offering.tariff,
            discount=discount,
            finder_fee=wish.finder_fee,
            pattern=policy.pattern or self._selling.pattern,
            absorb_cap_minor=(
                self._selling.absorb_cap_minor if policy.absorb_cap_minor is None else policy.absorb_cap_minor
            ),
            cancellation=policy.cancellation or self._selling.cancellation,
        )
        priced = quote(
            terms,
            wish.want,
            start_ms=slot.start_ms if slot is not None else now_ms,
            max_power_w=offering.max_power_w,
            default_energy_wh=self._selling.default_energy_wh,
        )
        return priced, terms, slot

    def refuse_unusable(self, tx: Tx, offering: Offering, now_ms: int, but: str | None) -> None:
        """Refusal when a driver who stands there now could not charge."""
        if not self._sockets.is_online(offering.station):
            raise Refusal(Why.STATION_OFFLINE, "the charger is offline at the moment")
        status = self._sockets.status(offering.station, offering.evse, offering.connector)
        if status is not None and status not in _USABLE:
            raise Refusal(Why.SOCKET_UNUSABLE, f"the connector is {status.value} at the moment")
        for row in tx.many(Table.ORDERS, station=offering.station, evse=offering.evse, state=_RUNNING):
            if row["id"] != but and row["connector"] == offering.connector:
                raise Refusal(Why.SOCKET_BUSY, "another driver is charging at this connector")
        booked = self._booked(tx, offering, now_ms, now_ms + 1, but)
        if booked is not None:
            raise Refusal(Why.SLOT_TAKEN, "the connector is reserved for another driver at the moment")

    # -- slots

    def _slot(self, tx: Tx, offering: Offering, wish: Wish, now_ms: int, but: str | None) -> Slot | None:
        """The slot granted: the one asked for, or the next free one of its length. None: a walk-in."""
        if wish.start_ms is None or wish.start_ms <= now_ms + _SPOT_WINDOW_MS:
            return None
        if not offering.reservable:
            raise Refusal(Why.SLOT_TAKEN, f"{offering.item_id} cannot be reserved; it is sold to who stands there")
        length_ms = max(60_000, (wish.end_ms or wish.start_ms + self._selling.slot_default_ms) - wish.start_ms)
        start_ms = wish.start_ms
        for _ in range(20):
            booked = self._booked(tx, offering, start_ms, start_ms + length_ms, but)
            if booked is None:
                return Slot(start_ms=start_ms, end_ms=start_ms + length_ms)
            start_ms = booked["end_ms"]
        raise Refusal(Why.SLOT_TAKEN, "the connector is booked out around that time")

    @staticmethod
    def _booked(tx: Tx, at: Offering | Order, start_ms: int, end_ms: int, but: str | None) -> Row | None:
        """The reservation of somebody else that overlaps, the earliest."""
        rows = tx.many(Table.RESERVATIONS, order="start_ms", station=at.station, status=("REQUESTED", "ACCEPTED"))
        for row in rows:
            if row["evse"] != at.evse or row["order_id"] == but:  # an EVSE serves one car, whatever plugs it has
                continue
            if row["start_ms"] < end_ms and start_ms < row["end_ms"]:
                return row
        return None

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
        changed = order is not None and order.state in {State.QUOTED, State.INITIALISED} and self._differs(order, wish)
        if order is None or changed:
            order = self.select(tx, asker, wish, now_ms)
        elif order.state in {State.QUOTED, State.INITIALISED} and now_ms > order.quote_expires_ms:
            order = self._renew(tx, order, now_ms)
        if collected_by is CollectedBy.BAP and order_id is not None and order_id != order.order_id:
            order = self._rename(tx, order, order_id, now_ms)
        if not order.is_paid and self._is_in_debt(order.buyer.with_news(wish.buyer)):
            raise Refusal(Why.BLOCKED, "the driver owes for an earlier order, which must be paid first")
        hold = order.terms.pattern is Pattern.HOLD
        amount_minor = order.hold_minor
        payment_id = (claim.payment_id if claim is not None else None) or f"pay-{order.order_id}"
        if collected_by is CollectedBy.BPP:
            payment_id = f"pay-{order.order_id}"
            link = self._payments.link(
                PaymentRequest(
                    payment_id=payment_id,
                    order_id=order.order_id,
                    amount_minor=amount_minor,
                    currency=order.quote.currency,
                    hold=hold,
                    note=f"Charging {order.station}",
                    expires_ms=order.quote_expires_ms,
                )
            )
            payment = Payment(
                payment_id=payment_id,
                status=PaymentStatus.INITIATED,
                amount_minor=amount_minor,
                beneficiary="BPP",
                txn_ref=link.txn_ref,
                url=link.url,
                methods=("UPI",),
                details={**(claim.details if claim is not None else {}), "upi_intent": link.upi_intent, "hold": hold},
            )
        else:
            payment = Payment(
                payment_id=payment_id,
                status=PaymentStatus.INITIATED,
                amount_minor=amount_minor,
                beneficiary="BAP",
                details=dict(claim.details) if claim is not None else {},
            )
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
            self._book(tx, order, "soft", order.quote_expires_ms, now_ms)
        return order

    def _differs(self, order: Order, wish: Wish) -> bool:
        """Whether an init asks for something else than what was selected. What it leaves out is as it was."""
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
        priced, terms, _ = self._price(tx, offering, wish, now_ms, but=order.order_id)
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
        if len(order_id) > 64:
            raise Refusal(Why.INVALID_REQUEST, "the order id is longer than 64 characters")
        if tx.one(Table.ORDERS, id=order_id) is not None:
            raise Refusal(Why.ALREADY_EXISTS, f"the order id {order_id} is taken")
        renamed = replace(order, order_id=order_id)
        tx.change(Table.ORDERS, {"id": order_id}, id=order.order_id)
        tx.change(Table.RESERVATIONS, {"order_id": order_id}, order_id=order.order_id)
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
        paid = replace(
            order.payment,
            status=PaymentStatus.AUTHORIZED if held else PaymentStatus.COMPLETED,
            txn_ref=ref or order.payment.txn_ref,
            paid_at_ms=now_ms,
        )
        order, facts = act(tx, order, RecordPayment(payment=paid), now_ms)
        if facts:
            self._post_payment(tx, order, now_ms)
        if facts and order.state in {State.CANCELLED, State.EXPIRED, State.FAILED}:
            _give_back(tx, order, now_ms)  # it came after the end
        return order

    @staticmethod
    def _post_payment(tx: Tx, order: Order, now_ms: int) -> None:
        payment = order.payment
        if payment is None or not payment.is_good:
            return
        entries = ledger_of(tx, order.order_id)
        ref = payment.txn_ref or payment.payment_id
        if order.collected_by is CollectedBy.BAP:
            book = money_collected_by_bap
        elif payment.status is PaymentStatus.AUTHORIZED:
            book = money_held
        else:
            book = money_collected
        post(tx, book(entries, order.order_id, amount_minor=payment.amount_minor, ref=ref, at_ms=now_ms))

    # -- confirm

    def confirm(self, tx: Tx, order: Order, claim: Claim | None, now_ms: int, wire: Mapping[str, Any]) -> Order:
        """Make it binding: paid, token minted, slot booked. A second confirm answers the same order."""
        if order.state in {State.QUOTED, State.INITIALISED} and now_ms > order.quote_expires_ms and not order.is_paid:
            order = self._renew(tx, order, now_ms)
        evidence = _evidence(order, claim)
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
        token = order_token(order.order_id)
        order, facts = act(
            tx,
            order,
            Confirm(evidence=evidence, token=token, wire=wire),
            now_ms,
        )
        if not facts:
            return order
        if order.slot is None:
            self.refuse_unusable(tx, self._inventory.find(order.item_id), now_ms, order.order_id)
        ordered = order.quote.without(Role.BUFFER, Role.ROUNDING)
        post(
            tx,
            order_placed(order.order_id, amount_minor=to_minor(ordered.total), energy_wh=order.quoted_wh, at_ms=now_ms),
        )
        self._post_payment(tx, order, now_ms)
        tx.save(Table.TOKENS, self._token_row(order, now_ms))
        tx.append([Fact("TokenChanged", now_ms, {"uid": token}, order_id=order.order_id)])
        if order.slot is not None:
            self._book(tx, order, "hard", order.slot.start_ms + self._selling.grace_min * 60_000, now_ms)
        return order

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

    def _book(self, tx: Tx, order: Order, hold: str, expires_ms: int, now_ms: int) -> None:
        """Hold or book the order's slot. Between the quotation and now somebody else may have been quicker."""
        assert order.slot is not None
        if self._booked(tx, order, order.slot.start_ms, order.slot.end_ms, order.order_id) is not None:
            raise Refusal(Why.SLOT_TAKEN, "another driver has taken the slot meanwhile; select again for the next one")
        standing = tx.many(Table.RESERVATIONS, order_id=order.order_id, status=("REQUESTED", "ACCEPTED"))
        values = {
            "hold": hold,
            "status": "ACCEPTED" if hold == "hard" else "REQUESTED",
            "start_ms": order.slot.start_ms,
            "end_ms": order.slot.end_ms,
            "expires_ms": expires_ms,
            "token": order.token,
            "updated_ms": now_ms,
        }
        if standing:
            tx.change(Table.RESERVATIONS, values, id=standing[0]["id"])
            return
        tx.add(
            Table.RESERVATIONS,
            {
                "id": tx.next_no("reservation"),
                "station": order.station,
                "evse": order.evse,
                "connector": order.connector,
                "order_id": order.order_id,
                "created_ms": now_ms,
                **values,
            },
        )

    # -- start, stop, cancel

    def start(self, tx: Tx, order: Order, now_ms: int) -> tuple[Order, Instruction | None]:
        """Ask the charger to start. When it charges already nothing is asked again."""
        if order.state is State.CONFIRMED:
            if not self._sockets.is_online(order.station):
                raise Refusal(Why.STATION_OFFLINE, "the charger is offline at the moment; try again shortly")
            offering = self._inventory.find(order.item_id)
            self.refuse_unusable(tx, offering, now_ms, order.order_id)
            if order.slot is not None and now_ms < order.slot.start_ms - _SPOT_WINDOW_MS:
                raise Refusal(Why.NOT_STARTABLE, "the reserved time has not come yet")
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
    def cancel(tx: Tx, order: Order, reason: str, by: CancelledBy, now_ms: int, wire: Mapping[str, Any]) -> Order:
        """Give the order back before it started; what was paid beyond the fee goes back."""
        before = order.state
        if before is State.CONFIRMED and tx.count(Table.SESSIONS, order_id=order.order_id):
            # Its session has begun; the order hears of it a moment later.
            raise Refusal(Why.NOT_CANCELLABLE, f"Order {order.order_id} is charging and cannot be cancelled.")
        order, facts = act(tx, order, Cancel(reason=reason, by=by, wire=wire), now_ms)
        if not facts:
            return order
        release(tx, order, now_ms)
        if before in {State.PAID, State.CONFIRMED} or ledger_of(tx, order.order_id):
            _give_back(tx, order, now_ms)
        return order


def _give_back(tx: Tx, order: Order, now_ms: int) -> None:
    """Settle an order that never charged: its fee is kept, everything else goes back."""
    fee = order.cancellation_fee or Breakdown(currency=order.quote.currency, components=())
    charge = Charge(order_id=order.order_id, revision=1, breakdown=fee, delivered_wh=0, at_ms=now_ms)
    queue_moves(tx, order, post(tx, settle_cancellation(ledger_of(tx, order.order_id), charge)), now_ms)


def release(tx: Tx, order: Order, now_ms: int) -> None:
    """The order is over before it began: its token opens nothing any more, its slot is free."""
    if order.token is not None:
        tx.change(Table.TOKENS, {"status": "Invalid", "updated_ms": now_ms}, uid_norm=order.token)
        tx.append([Fact("TokenChanged", now_ms, {"uid": order.token}, order_id=order.order_id)])
    tx.change(
        Table.RESERVATIONS,
        {"status": "CANCELLED", "updated_ms": now_ms},
        order_id=order.order_id,
        status=("REQUESTED", "ACCEPTED"),
    )


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


def _evidence(order: Order, claim: Claim | None) -> Payment | None:
    if claim is None or claim.status is None:
        return None
    try:
        status = PaymentStatus(claim.status)
    except ValueError:
        return None
    asked = order.payment
    return Payment(
        payment_id=claim.payment_id or (asked.payment_id if asked is not None else f"pay-{order.order_id}"),
        status=status,
        amount_minor=claim.amount_minor if claim.amount_minor is not None else order.hold_minor,
        beneficiary=order.collected_by.value,
        txn_ref=claim.txn_ref,
        paid_at_ms=claim.paid_at_ms,
        details={**(asked.details if asked is not None else {}), **claim.details},
    )
