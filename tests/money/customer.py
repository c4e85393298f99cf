"""One buyer of `money_world`, step by step: every message through the codec, every answer as it goes out."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from money_world import BAP, Json, World, item_id, reading

from csms.domain.order import Order
from csms.domain.reported import Metered, SocketStatus, Started, StatusReported, Stopped
from simulators import bodies

_registers: dict[tuple[int, str], int] = {}


class RefusedError(Exception):
    """An error in an answer."""

    def __init__(self, code: str, message: str, body: Json) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.body = code, message, body


@dataclass(slots=True)
class Customer:
    """One order of one person at one charger."""

    world: World
    charger: str = "PLAIN"
    person: bodies.Person = field(default_factory=bodies.Person)
    vehicle: str | None = None
    vpa: str | None = None
    transaction_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    shown: Json = field(default_factory=dict)
    number: str = ""  # the transaction at the charger
    register_wh: int = 0  # of the meter when it began

    async def _ask(self, action: str, message: Json) -> Json:
        self.world.clock.at_ms += 1  # no two messages are alike
        answer = await self.world.say(action, message, self.transaction_id)
        error = answer.get("error")
        if error:
            raise RefusedError(str(error["code"]), str(error["message"]), answer)
        order = answer.get("message", {}).get("order", {})
        if order:
            self.shown = order
        return answer

    def _named(self, message: Json) -> Json:
        order = message["order"]
        if self.vpa is not None:
            order["beckn:buyer"]["beckn:vpa"] = self.vpa
        if self.vehicle is not None:
            order.setdefault("beckn:orderAttributes", {})["vehicleId"] = self.vehicle
        return message

    async def select(
        self, kwh: float = 5, *, offer: str | None = None, slot: tuple[str, str] | None = None, phone: bool = True,
        finder_fee: float | None = None,
    ) -> Json:  # fmt: skip
        message = bodies.select(
            item={"beckn:id": item_id(self.charger)}, seller="cpo", person=self.person,
            amount=bodies.Amount(kwh, "KWH"), offer={"beckn:id": offer} if offer is not None else None, slot=slot,
            finder_fee_percent=finder_fee,
        )  # fmt: skip
        if not phone:
            message["order"]["beckn:buyer"].pop("beckn:telephone")
        await self._ask("select", self._named(message))
        return self.shown

    async def init(self, collected_by: str = "BPP") -> Json:
        message = bodies.init(
            self.shown, collected_by=collected_by, subscriber_id=BAP, order_id=f"ord-{self.transaction_id}",
            payment_id=f"pay-{self.transaction_id}",
        )  # fmt: skip
        message["order"]["beckn:buyer"] = self.person.body()
        await self._ask("init", self._named(message))
        return self.shown

    async def pay(self) -> None:
        await self.world.pay(str(self.shown["beckn:payment"]["beckn:id"]), held=False)

    async def confirm(self, *, otp: str | None = None, status: str | None = None) -> Json:
        payment = dict(self.shown["beckn:payment"])
        if status is not None:
            payment["beckn:paymentStatus"] = status
        await self._ask("confirm", bodies.with_otp(bodies.confirm(self.shown, payment), otp))
        return self.shown

    async def bought(self, kwh: float = 5, **select: Any) -> Order:
        """Selected, initialised, paid and confirmed."""
        await self.select(kwh, **select)
        await self.init()
        await self.pay()
        await self.confirm()
        return await self.order()

    async def start(self, otp: str | None = None) -> None:
        message = bodies.update(self.shown, session_status="PENDING", order_status="CONFIRMED")
        await self._ask("update", bodies.with_otp(message, otp))

    async def cancel(self) -> Json:
        await self._ask("cancel", bodies.cancel(self.shown))
        return self.shown

    async def tell(self, payment: Json) -> Json:
        """An update that tells of money."""
        message = bodies.update(self.shown, session_status="COMPLETED", order_status="COMPLETED")
        message["order"]["beckn:payment"] = payment
        return await self._ask("update", message)

    async def charge(self, wh: int, *, minutes: int = 30, samples: tuple[tuple[int, int], ...] = ()) -> None:
        """Charge so much, from now on, at the charger; `samples` are (minute, Wh)."""
        world, order = self.world, await self.order()
        began_ms = world.clock.now_ms()
        self.register_wh = _registers.get((id(world), self.charger), 0)
        world.report(self.charger, StatusReported(evse=1, connector=1, status=SocketStatus.PREPARING))
        assert order.token is not None
        (answer,) = world.report(
            self.charger,
            Started(
                key=f"start-{self.transaction_id}", evse=1, connector=1, token=order.token, at_ms=began_ms,
                register_wh=self.register_wh,
            ),
        )  # fmt: skip
        self.number = str(answer.number)
        world.report(self.charger, StatusReported(evse=1, connector=1, status=SocketStatus.CHARGING))
        await world.settle()
        for minute, delivered_wh in samples:
            world.clock.at_ms = began_ms + minute * 60_000
            self.meter(world.clock.now_ms(), delivered_wh)
            await world.settle()
        world.clock.at_ms = began_ms + minutes * 60_000
        stopped = Stopped(
            key=f"stop-{self.transaction_id}", tx_id=self.number, at_ms=world.clock.now_ms(),
            register_wh=self.register_wh + wh, reason="Local", token=order.token,
        )  # fmt: skip
        world.report(self.charger, stopped)
        world.report(self.charger, StatusReported(evse=1, connector=1, status=SocketStatus.AVAILABLE))
        await world.settle()
        _registers[id(world), self.charger] = self.register_wh + wh

    def meter(self, at_ms: int, delivered_wh: int) -> None:
        """A reading of the running or ended session, told now."""
        point = reading(at_ms, self.register_wh + delivered_wh)
        self.world.report(self.charger, Metered(evse=1, connector=1, tx_id=self.number, readings=(point,)))

    async def order(self) -> Order:
        order = await self.world.order(self.transaction_id)
        assert order is not None
        return order

    def lines(self) -> dict[str, float]:
        """Descriptions and values of the price as it was shown last."""
        return {line["description"]: line["value"] for line in self.shown["beckn:orderValue"]["components"]}
