"""What tests of every dialect share: a tariff's arithmetic, a meeting of charger and buyer, a purchase, a session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from beckn_shop import PLAIN, RATED_KW, Shop, fast_charger
from wire import until

from simulators.bodies import Person
from simulators.buyer import Buyer
from simulators.ocpp_charger import Charger
from simulators.pricing import Bill, Quote
from simulators.tongue_v1 import tongue

PRICE, FEE, GST = Decimal(18), Decimal(10), Decimal("0.18")  # of `server.sell`


def paise(amount: Decimal) -> Decimal:
    """Half up, as every line of a bill is."""
    return amount.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


def worth(kwh: Decimal, *extra: Decimal) -> Decimal:
    """Energy and service fee with tax; `extra` are further taxed lines, discounts negative."""
    net = paise(PRICE * kwh) + FEE + sum(extra, Decimal(0))
    return net + paise(net * GST)


_numbers = iter(range(1, 10_000))


def next_number() -> int:
    """One nobody has used."""
    return next(_numbers)


def a_person(number: int) -> Person:
    """Somebody of their own: what one owes or belongs to is not another's."""
    return Person(id=f"driver-{number}", name="Meera Nair", phone=f"+91980000{number:04}")


@asynccontextmanager
async def meeting(
    shop: Shop, dialect: str, *, tariff: Mapping[str, Any] = PLAIN, for_now: bool = True, **options: Any
) -> AsyncIterator[tuple[Charger, Buyer, Any]]:
    """A charger of its own that is for sale, a buyer who speaks the dialect, and what it found."""
    number = next_number()
    charger_id = f"DI-{number}"
    await shop.server.sell(charger_id, tariff=tariff, rated_kw=RATED_KW)
    buyer = shop.buyer(tongue=tongue(dialect), person=a_person(number), **options)
    async with fast_charger(shop, charger_id) as charger:
        await charger.wait_online()
        await charger.wait_for("its status being known", lambda: charger.connectors[1].reported_status is not None)
        found = [item for item in await buyer.discover(near=(12.97, 77.59, 5_000)) if charger_id in item.names]
        fitting = [item for item in found if getattr(item, "is_spot", for_now) is for_now] or found
        assert fitting, f"{charger_id} is not for sale"
        yield charger, buyer, fitting[0]
        assert not charger.complaints


async def prepaid(buyer: Buyer, item: Any, **wanted: Any) -> Quote:
    """Paid to the seller and confirmed; the quotation."""
    quote = await buyer.select(item, **wanted)
    assert quote.adds_up()
    await buyer.init()
    await buyer.pay()
    confirmed = buyer.read(await buyer.confirm())
    assert (confirmed.order_status, confirmed.session_status) == ("CONFIRMED", "PENDING")
    assert buyer.order_id
    return quote


async def charged(charger: Charger, buyer: Buyer, wh: int) -> Bill:
    """A session the buyer starts, and stops after `wh`; the bill, checked against what the charger delivered."""
    await charger.plug_in()
    assert (await buyer.start()).session_status == "ACTIVE"
    await charger.wait_delivered(1, wh)
    bill = await buyer.stop()
    assert bill is not None
    return as_delivered(charger, bill)


def as_delivered(charger: Charger, bill: Bill) -> Bill:
    """The same bill: complete, adding up, over what was delivered."""
    assert (bill.order_status, bill.session_status) == ("COMPLETED", "COMPLETED")
    assert bill.quote.adds_up()
    assert bill.metered_kwh is not None
    truth = Decimal(charger.truth[-1].delivered_wh) / 1000
    assert abs(bill.metered_kwh - truth) <= Decimal("0.001")  # registers show whole Wh
    return bill


async def comes_back(shop: Shop, buyer: Buyer, amount: Decimal) -> None:
    """The buyer is told so, and the books close."""
    await buyer.wait_for("on_status", lambda c: bool(buyer.read(c).refunds))
    assert buyer.refunded == amount
    await books_close(shop, buyer)


async def books_close(shop: Shop, buyer: Buyer) -> None:
    async def is_closed() -> bool:
        ledger = await shop.server.api("GET", f"/api/v1/orders/{buyer.order_id}/ledger")
        return Decimal(ledger["sum"]["amount"]) == 0

    await until(is_closed)
