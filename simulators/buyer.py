"""A person who buys charging through the platform: one order from looking around to the final bill.

    async with Bap(identity, registry=path) as bap:
        buyer = Buyer(bap, bpp_id="bpp.example.com", bpp_uri="http://…/beckn/bpp/receiver")
        items = await buyer.discover(near=(12.97, 77.59, 5000))
        await buyer.select(items[0], kwh=2)
        await buyer.init(collected_by="BPP")
        await buyer.pay()
        await buyer.confirm()
        await buyer.start()
        bill = await buyer.wait_for_bill()

A seller's NACK is a NackedError, an error in a callback a RefusedError, silence a NoCallbackError.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from simulators import bodies
from simulators.bap import Bap, Callback, NoCallbackError, RefusedError
from simulators.bodies import Amount, Json, Person
from simulators.clock import wall_ms, written
from simulators.pricing import ZERO, Bill, Quote, exact

Collector = Literal["BAP", "BPP"]
PAID = {"COMPLETED", "AUTHORIZED", "CAPTURED"}
REFUNDED = {"REFUNDED", "PARTIALLY_REFUNDED"}


@dataclass(frozen=True, slots=True)
class Item:
    """One connector of a catalog, with the offers that cover it."""

    raw: Json
    offers: tuple[Json, ...] = ()

    @property
    def id(self) -> str:
        return str(self.raw["beckn:id"])

    @property
    def provider(self) -> str:
        return str(self.raw["beckn:provider"]["beckn:id"])

    @property
    def attributes(self) -> Json:
        attributes: Json = self.raw.get("beckn:itemAttributes", {})
        return attributes

    @property
    def is_active(self) -> bool:
        return bool(self.raw.get("beckn:isActive", True))


@dataclass(slots=True)
class Buyer:
    """One buyer and one order. `begin` starts over with a new transaction."""

    bap: Bap
    bpp_uri: str
    bpp_id: str = ""  # learned from on_discover when it is not given
    person: Person = field(default_factory=Person)
    finder_fee_percent: float | None = None
    timeout_s: float = 10.0
    transaction_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    collected_by: Collector = "BPP"
    order: Json = field(default_factory=dict)  # as the seller last sent it
    quote: Quote | None = None  # of on_select
    payment: Json = field(default_factory=dict)
    paid: Decimal = ZERO
    is_hold: bool = False
    _topped_up: Callback | None = None  # the bill whose rest was paid later
    _mark: int = 0  # position in bap.received when the order began

    def begin(self) -> None:
        """Forget the order; the next message belongs to a new transaction."""
        self.transaction_id = str(uuid.uuid4())
        self.order, self.quote, self.payment = {}, None, {}
        self.paid, self.is_hold, self._topped_up = ZERO, False, None
        self._mark = len(self.bap.received)

    @property
    def order_id(self) -> str:
        """The order's id, once there is one."""
        return str(self.order.get("beckn:id", ""))

    # -- the ten actions -------------------------------------------------------------------------------------------

    async def discover(
        self,
        *,
        near: tuple[float, float, float] | None = None,
        expression: str | None = None,
        text: str | None = None,
    ) -> list[Item]:
        """Look around: within (latitude, longitude, metres), by JSONPath expression, by words."""
        message = bodies.discover(near=near, expression=expression, text=text)
        callback = await self._ask("discover", message, "on_discover", addressed=False)
        self.bpp_id = self.bpp_id or str(callback.context.get("bpp_id", ""))
        items = []
        for catalog in callback.body["message"].get("catalogs", []):
            for raw in catalog.get("beckn:items", []):
                offers = [o for o in catalog.get("beckn:offers", []) if raw["beckn:id"] in o.get("beckn:items", [])]
                items.append(Item(raw, tuple(offers)))
        return items

    async def select(
        self,
        item: Item,
        *,
        kwh: float | None = None,
        amount: float | None = None,
        minutes: float | None = None,
        slot: tuple[str, str] | None = None,
        offer: Json | None = None,
    ) -> Quote:
        """Ask what it costs: by energy, by rupees or by time; `slot` is (from, to) as RFC 3339."""
        asked = [(kwh, "KWH"), (amount, "INR"), (minutes, "MIN")]
        quantities = [Amount(number, code) for number, code in asked if number is not None]
        if len(quantities) > 1:
            raise ValueError("order by energy, money or time, not by several")
        message = bodies.select(
            item=item.raw,
            seller=item.provider,
            person=self.person,
            amount=quantities[0] if quantities else None,
            offer=offer,
            slot=slot,
            finder_fee_percent=self.finder_fee_percent,
        )
        callback = await self._ask("select", message, "on_select")
        self.order = callback.order
        self.quote = Quote.of(self.order)
        return self.quote

    async def init(self, collected_by: Collector = "BPP") -> Quote:
        """Say who collects; afterwards the order has its id and, if the seller collects, a payment page."""
        self.collected_by = collected_by
        message = bodies.init(
            self.order,
            collected_by=collected_by,
            subscriber_id=self.bap.identity.subscriber_id,
            order_id=f"order-{uuid.uuid4()}",
            payment_id=f"pay-{uuid.uuid4()}",
        )
        callback = await self._ask("init", message, "on_init")
        self.order = callback.order
        self.payment = self.order.get("beckn:payment", {})
        # The seller decides who collects in the end (BECKN 0.1).
        self.collected_by = "BAP" if self.payment.get("beckn:beneficiary") == "BAP" else "BPP"
        return Quote.of(self.order)

    async def pay(self, *, hold: bool = False) -> Json:
        """Pay. BPP collects: at its page, then wait for its word that it has the money (`hold`: only reserved)."""
        self.is_hold = hold
        asked: Json = self.payment.get("beckn:amount") or self.order["beckn:orderValue"]
        amount = exact(asked["value"])
        if self.collected_by == "BAP":
            paid = {"beckn:txnRef": f"BAP-{uuid.uuid4().hex[:12]}", "beckn:paidAt": written(wall_ms())}
            self.payment = {**self.payment, **paid, "beckn:paymentStatus": "AUTHORIZED" if hold else "COMPLETED"}
        else:
            mark = len(self.bap.received)
            await self.bap.pay(self._payment_url(self.payment), "authorized" if hold else "paid")
            told = await self.wait_for("on_status", lambda c: _payment_of(c) in PAID, after=mark)
            self.payment = told.order["beckn:payment"]
        self.paid = amount
        return self.payment

    async def confirm(self) -> Json:
        """Make it binding; the confirmed order."""
        callback = await self._ask("confirm", bodies.confirm(self.order, self.payment), "on_confirm")
        self.order = callback.order
        return self.order

    async def start(self, timeout_s: float | None = None) -> Bill:
        """Ask for the session to start and wait until it has: ACTIVE, or further (a link may go at any moment)."""
        message = bodies.update(self.order, session_status="PENDING", order_status="CONFIRMED")
        callback = await self._ask(
            "update",
            message,
            "on_update",
            is_it=lambda c: (
                c.error is not None or Bill(c.order).session_status in {"ACTIVE", "INTERRUPTED", "COMPLETED"}
            ),
            timeout_s=timeout_s,
        )
        return Bill(callback.order)

    async def stop(self, timeout_s: float | None = None, *, wait: bool = True) -> Bill | None:
        """Ask for the end; with `wait` the final bill, which may come under a message id of its own."""
        message = bodies.update(self.order, session_status="STOP", order_status="INPROGRESS")
        mark = len(self.bap.received)
        await self._send("update", message)
        if not wait:
            return None
        callback = await self.wait_for(
            "on_update",
            lambda c: c.error is not None or Bill(c.order).order_status == "COMPLETED",
            after=mark,
            timeout_s=timeout_s,
        )
        return Bill(_checked(callback).order)

    async def status(self) -> Bill:
        """How it stands now."""
        callback = await self._ask("status", bodies.status(self.order_id), "on_status")
        return Bill(callback.order)

    async def track(self) -> Json:
        """Where progress can be followed: the tracking object with its url."""
        callback = await self._ask("track", bodies.track(self.order_id), "on_track")
        tracking: Json = callback.body["message"].get("tracking", {})
        return tracking

    async def cancel(self) -> Bill:
        """Give the order back before it started."""
        callback = await self._ask("cancel", bodies.cancel(self.order), "on_cancel")
        return Bill(callback.order)

    async def rate(self, value: int, comments: str | None = None) -> Json:
        """Rate the order from 1 to 5."""
        callback = await self._ask("rating", bodies.rating(self.order_id, value, "ORDER", comments), "on_rating")
        message: Json = callback.body["message"]
        return message

    async def support(self) -> Json:
        """Ask how to reach a person."""
        callback = await self._ask("support", bodies.support(self.order_id), "on_support")
        info: Json = callback.body["message"]["support"]
        return info

    # -- what comes unasked ----------------------------------------------------------------------------------------

    async def wait_for(
        self,
        action: str,
        is_it: Callable[[Callback], bool] = lambda _: True,
        *,
        after: int | None = None,
        timeout_s: float | None = None,
    ) -> Callback:
        """The first callback of this order that fits; counted from its beginning unless `after` says otherwise."""
        return await self.bap.wait_for(
            action,
            self.transaction_id,
            is_it=is_it,
            after=self._mark if after is None else after,
            timeout_s=self.timeout_s if timeout_s is None else timeout_s,
        )

    async def wait_interrupted(self, timeout_s: float | None = None) -> Bill:
        """The unsolicited word that the session is interrupted."""
        told = await self.wait_for(
            "on_status", lambda c: Bill(c.order).session_status == "INTERRUPTED", timeout_s=timeout_s
        )
        return Bill(told.order)

    async def wait_for_bill(
        self, fits: Callable[[Bill], bool] = lambda _: True, timeout_s: float | None = None
    ) -> Bill:
        """The COMPLETED on_update; of several (a late correction) the first that `fits`, else the last one."""

        def is_final(callback: Callback) -> bool:
            return Bill(callback.order).order_status == "COMPLETED"

        try:
            found = await self.wait_for("on_update", lambda c: is_final(c) and fits(Bill(c.order)), timeout_s=timeout_s)
        except NoCallbackError:
            bills = [c for c in self._mine("on_update") if is_final(c)]
            if not bills:
                raise
            found = bills[-1]
        return Bill(found.order)

    async def pay_due(self, timeout_s: float | None = None) -> Bill:
        """Top up: pay what the final bill says is due and wait for the seller's word that it came."""
        due = await self.wait_for("on_update", lambda c: self._due_of(c) > 0, timeout_s=timeout_s)
        payment, mark = due.order["beckn:payment"], len(self.bap.received)
        await self.bap.pay(self._payment_url(payment), "paid")
        told = await self.wait_for("on_status", lambda c: _payment_of(c) in PAID, after=mark, timeout_s=timeout_s)
        self.paid += self._due_of(due)
        self._topped_up = due
        return Bill(told.order)

    @property
    def bill(self) -> Bill | None:
        """The last COMPLETED on_update, if there is one."""
        finals = [c for c in self._mine("on_update") if Bill(c.order).order_status == "COMPLETED"]
        return Bill(finals[-1].order) if finals else None

    @property
    def refunded(self) -> Decimal:
        """What the seller says it gave back: every refund payment once."""
        payments = {
            str(c.order["beckn:payment"].get("beckn:id")): Bill(c.order).payment_amount
            for c in self._mine("on_status") + self._mine("on_cancel") + self._mine("on_update")
            if _payment_of(c) in REFUNDED
        }
        return sum(payments.values(), ZERO)

    @property
    def due(self) -> Decimal:
        """What the last bill still asks for."""
        finals = [c for c in self._mine("on_update") if Bill(c.order).order_status == "COMPLETED"]
        return self._due_of(finals[-1]) if finals and finals[-1] is not self._topped_up else ZERO

    # -- inside ----------------------------------------------------------------------------------------------------

    def _mine(self, action: str) -> list[Callback]:
        return [c for c in self.bap.messages(self.transaction_id, action) if c.order]

    def _due_of(self, callback: Callback) -> Decimal:
        bill = Bill(callback.order)
        asks = bill.order_status == "COMPLETED" and bill.payment_status in {"PENDING", "INITIATED"}
        return bill.payment_amount if asks else ZERO

    def _payment_url(self, payment: Json) -> str:
        url = payment.get("beckn:paymentURL")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise RefusedError("no-payment-page", f"beckn:paymentURL is {url!r}", payment)
        return url

    async def _send(self, action: str, message: Json, *, addressed: bool = True) -> Json:
        context = self.bap.context(action, self.transaction_id, (self.bpp_id, self.bpp_uri) if addressed else None)
        await self.bap.post(f"{self.bpp_uri.rstrip('/')}/{action}", {"context": context, "message": message})
        return context

    async def _ask(
        self,
        action: str,
        message: Json,
        answer: str,
        *,
        addressed: bool = True,
        is_it: Callable[[Callback], bool] = lambda _: True,
        timeout_s: float | None = None,
    ) -> Callback:
        """Send one request and wait for its callback; an `update` may be answered under another message id."""
        mark = len(self.bap.received)
        context = await self._send(action, message, addressed=addressed)
        same_id = action != "update"

        def is_answer(callback: Callback) -> bool:
            mine: Any = callback.context.get("message_id") == context["message_id"]
            return (bool(mine) or not same_id) and is_it(callback)

        return _checked(await self.wait_for(answer, is_answer, after=mark, timeout_s=timeout_s))


def _checked(callback: Callback) -> Callback:
    if (error := callback.error) is not None:
        raise RefusedError(str(error.get("code")), str(error.get("message")), callback.body)
    return callback


def _payment_of(callback: Callback) -> str:
    return Bill(callback.order).payment_status
