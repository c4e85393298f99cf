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

The dialect is the buyer's `tongue`; the conversation is the same in every one. A seller's NACK is a NackedError, an
error in a callback a RefusedError, silence a NoCallbackError.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from simulators.bap import Bap, Callback, NoCallbackError, RefusedError
from simulators.bodies import Amount, Json, Person, somebody
from simulators.clock import wall_ms, written
from simulators.pricing import ZERO, Bill, Quote
from simulators.tongues import V2, Item, Tongue

__all__ = ["Buyer", "Item"]

Collector = Literal["BAP", "BPP"]
PAID = {"COMPLETED", "AUTHORIZED", "CAPTURED"}


@dataclass(slots=True)
class Buyer:
    """One buyer and one order. `begin` starts over with a new transaction."""

    bap: Bap
    bpp_uri: str
    bpp_id: str = ""  # learned from on_discover when it is not given
    person: Person = field(default_factory=somebody)
    finder_fee_percent: float | None = None
    timeout_s: float = 10.0
    tongue: Tongue = V2
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())
    now_ms: Callable[[], int] = wall_ms
    otp: str | None = None  # what the driver was sent, shown from the next confirm or start on
    transaction_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    collected_by: Collector = "BPP"
    order: Json = field(default_factory=dict)  # as the seller last sent it
    quote: Quote | None = None  # of on_select
    payment: Json = field(default_factory=dict)
    asked: Decimal = ZERO  # by on_init
    paid: Decimal = ZERO
    is_hold: bool = False
    _topped_up: Callback | None = None  # the bill whose rest was paid later
    _mark: int = 0  # position in bap.received when the order began

    def begin(self) -> None:
        """Forget the order; the next message belongs to a new transaction."""
        self.transaction_id = self.new_id()
        self.order, self.quote, self.payment, self.asked = {}, None, {}, ZERO
        self.paid, self.is_hold, self._topped_up = ZERO, False, None
        self._mark = len(self.bap.received)

    @property
    def order_id(self) -> str:
        """The order's id, once there is one."""
        return self.tongue.order_id(self.order)

    def read(self, told: Callback | Json) -> Bill:
        """What an order, or the order of a callback, says."""
        return self.tongue.read(told.order if isinstance(told, Callback) else told)

    # -- the ten actions -------------------------------------------------------------------------------------------

    async def discover(
        self,
        *,
        near: tuple[float, float, float] | None = None,
        expression: str | None = None,
        text: str | None = None,
    ) -> list[Any]:
        """Look around: within (latitude, longitude, metres), by expression, by words; the items of the tongue."""
        message = self.tongue.look(near=near, expression=expression, text=text)
        action, answer = self.tongue.looking
        callback = await self._ask(action, message, answer, addressed=False)
        self.bpp_id = self.bpp_id or str(callback.context.get("bpp_id", ""))
        return self.tongue.items(callback.body["message"])

    async def select(
        self,
        item: Any,
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
        message = self.tongue.select(
            item=item,
            person=self.person,
            amount=quantities[0] if quantities else None,
            offer=offer,
            slot=slot,
            finder_fee_percent=self.finder_fee_percent,
        )
        callback = await self._ask("select", message, "on_select")
        self.order = callback.order
        self.quote = self.read(callback).quote
        return self.quote

    async def init(self, collected_by: Collector = "BPP") -> Quote:
        """Say who collects; afterwards the order has its id and, if the seller collects, a payment page."""
        self.collected_by = collected_by
        message = self.tongue.init(
            self.order,
            person=self.person,
            collected_by=collected_by,
            subscriber_id=self.bap.identity.subscriber_id,
            order_id=f"order-{self.new_id()}",
            payment_id=f"pay-{self.new_id()}",
        )
        callback = await self._ask("init", message, "on_init")
        self.order = callback.order
        self.payment = self.tongue.payment(self.order)
        self.asked = self.tongue.asked(self.payment, self.order)
        # The seller decides who collects in the end (BECKN 0.1).
        self.collected_by = "BAP" if self.tongue.collector(self.payment) == "BAP" else "BPP"
        return self.read(callback).quote

    async def pay(self, *, hold: bool = False) -> Json:
        """Pay. BPP collects: at its page, then wait for its word that it has the money (`hold`: only reserved)."""
        self.is_hold = hold
        amount = self.tongue.asked(self.payment, self.order)
        if self.collected_by == "BAP":
            reference = f"BAP-{self.new_id().replace('-', '')[-12:]}"
            self.payment = self.tongue.paid(self.payment, txn_ref=reference, at=written(self.now_ms()), hold=hold)
        else:
            mark = len(self.bap.received)
            await self.bap.pay(self._payment_url(self.payment), "authorized" if hold else "paid")
            told = await self.wait_for("on_status", self._is_paid, after=mark)
            self.payment = self.tongue.payment(told.order)
        self.paid = amount
        return self.payment

    async def confirm(self) -> Json:
        """Make it binding; the confirmed order."""
        callback = await self._ask("confirm", self.tongue.confirm(self.order, self.payment, self.otp), "on_confirm")
        self.order = callback.order
        return self.order

    async def start(self, timeout_s: float | None = None) -> Bill:
        """Ask for the session to start and wait until it has: ACTIVE, or further (a link may go at any moment)."""
        message = self.tongue.start(self.order, self.otp)
        callback = await self._ask(
            "update",
            message,
            "on_update",
            is_it=lambda c: (
                c.error is not None or self.read(c).session_status in {"ACTIVE", "INTERRUPTED", "COMPLETED"}
            ),
            timeout_s=timeout_s,
        )
        return self.read(callback)

    async def stop(self, timeout_s: float | None = None, *, wait: bool = True) -> Bill | None:
        """Ask for the end; with `wait` the final bill, which may come under a message id of its own."""
        message = self.tongue.stop(self.order)
        mark = len(self.bap.received)
        await self._send("update", message)
        if not wait:
            return None
        callback = await self.wait_for(
            "on_update",
            lambda c: c.error is not None or self._is_final(c),
            after=mark,
            timeout_s=timeout_s,
        )
        return self.read(_checked(callback))

    async def status(self) -> Bill:
        """How it stands now."""
        callback = await self._ask("status", self.tongue.status(self.order_id), "on_status")
        return self.read(callback)

    async def track(self) -> Json:
        """Where progress can be followed: the tracking object with its url."""
        callback = await self._ask("track", self.tongue.track(self.order_id), "on_track")
        tracking: Json = callback.body["message"].get("tracking", {})
        return tracking

    async def cancel(self) -> Bill:
        """Give the order back before it started."""
        callback = await self._ask("cancel", self.tongue.cancel(self.order), "on_cancel")
        return self.read(callback)

    async def rate(self, value: int, comments: str | None = None) -> Json:
        """Rate the order from 1 to 5."""
        callback = await self._ask("rating", self.tongue.rating(self.order_id, value, comments), "on_rating")
        message: Json = callback.body["message"]
        return message

    async def support(self) -> Json:
        """Ask how to reach a person."""
        callback = await self._ask("support", self.tongue.support(self.order_id), "on_support")
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
            "on_status", lambda c: self.read(c).session_status == "INTERRUPTED", timeout_s=timeout_s
        )
        return self.read(told)

    async def wait_for_bill(
        self, fits: Callable[[Bill], bool] = lambda _: True, timeout_s: float | None = None
    ) -> Bill:
        """The COMPLETED on_update; of several (a late correction) the first that `fits`, else the last one."""

        def is_it(callback: Callback) -> bool:
            return self._is_final(callback) and fits(self.read(callback))

        try:
            return self.read(await self.wait_for("on_update", is_it, timeout_s=timeout_s))
        except NoCallbackError:
            if (last := self.bill) is None:
                raise
            return last

    async def pay_due(self, timeout_s: float | None = None) -> Bill:
        """Top up: pay what the final bill says is due and wait for the seller's word that it came."""
        due = await self.wait_for("on_update", lambda c: self._due_of(c) > 0, timeout_s=timeout_s)
        payment, mark = self.read(due).payment, len(self.bap.received)
        await self.bap.pay(self._payment_url(payment), "paid")
        told = await self.wait_for("on_status", self._is_paid, after=mark, timeout_s=timeout_s)
        self.paid += self._due_of(due)
        self._topped_up = due
        return self.read(told)

    @property
    def bill(self) -> Bill | None:
        """The last COMPLETED on_update, if there is one."""
        finals = [c for c in self._mine("on_update") if self._is_final(c)]
        return self.read(finals[-1]) if finals else None

    @property
    def refunded(self) -> Decimal:
        """What the seller says it gave back: every refund payment once."""
        payments: dict[str, Decimal] = {}
        for callback in self._mine("on_status") + self._mine("on_cancel") + self._mine("on_update"):
            payments |= self.read(callback).refunds
        return sum(payments.values(), ZERO)

    @property
    def due(self) -> Decimal:
        """What the last bill still asks for."""
        finals = [c for c in self._mine("on_update") if self._is_final(c)]
        return self._due_of(finals[-1]) if finals and finals[-1] is not self._topped_up else ZERO

    # -- inside ----------------------------------------------------------------------------------------------------

    def _mine(self, action: str) -> list[Callback]:
        return [c for c in self.bap.messages(self.transaction_id, action) if c.order]

    def _due_of(self, callback: Callback) -> Decimal:
        return self.read(callback).due if callback.order else ZERO

    def _is_final(self, callback: Callback) -> bool:
        return bool(callback.order) and self.read(callback).order_status == "COMPLETED"

    def _is_paid(self, callback: Callback) -> bool:
        return bool(callback.order) and self.read(callback).payment_status in PAID

    def _payment_url(self, payment: Json) -> str:
        url = self.tongue.page(payment)
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise RefusedError("no-payment-page", f"the payment's page is {url!r}", payment)
        return url

    async def _send(self, action: str, message: Json, *, addressed: bool = True) -> Json:
        seller = (self.bpp_id, self.bpp_uri) if addressed else None
        context = self.bap.context(action, self.transaction_id, seller, self.tongue.header)
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
