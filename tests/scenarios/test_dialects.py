"""The use cases of the network's documents in every dialect, over signed HTTP and a real charger (BECKN 4, 5).

Walk-in, reservation, undercharge, overcharge, loyalty, fleets, offers, surcharges: the figures are worked out here from
the tariff, not taken from what the seller says. Every callback is held to the published schemas when they are at hand.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from beckn_shop import PLAIN, Json, Shop, open_shop
from dialect_world import (
    PRICE,
    a_person,
    as_delivered,
    books_close,
    charged,
    comes_back,
    meeting,
    next_number,
    paise,
    prepaid,
    worth,
)
from worlds import schemas

from simulators.bap import RefusedError
from simulators.buyer import Buyer
from simulators.clock import wall_ms, written
from simulators.reading_v1 import BillV1, normal
from simulators.tongue_v1 import DIALECTS, tongue

pytestmark = pytest.mark.asyncio(loop_scope="module")

MINUTE_MS = 60_000
FIRST_GENERATION = [name for name in DIALECTS if name not in {"v2", "ubc"}]
USE_CASES = ["v2", "uei", "deg"]
SETTINGS: dict[str, dict[str, Any]] = {
    "beckn": {
        "start_timeout_s": 2, "telemetry_every_s": 3600, "telemetry_share": 1,
        "domains": {"beckn.one:deg:ev-charging": "v2-ubc"},
    },
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path_factory.mktemp("dialects"), SETTINGS) as shop:
        shop.bap.schemas = schemas()
        yield shop


@pytest_asyncio.fixture(loop_scope="module")
async def shop(open_market: Shop) -> AsyncIterator[Shop]:
    yield open_market
    problems, open_market.bap.problems = open_market.bap.problems, []
    assert problems == []


async def ordered(shop: Shop, buyer: Buyer) -> tuple[str, Any]:
    """How much of what, as the operator sees it."""
    order = await shop.server.api("GET", f"/api/v1/orders/{buyer.order_id}")
    kind, amount = order["ordered"]["kind"], order["ordered"]["amount"]
    return kind, order["ordered"]["minutes"] if kind == "TIME" else Decimal(amount["amount"])


# --- 1: walk-in, by energy, by money, by time


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_walk_in_by_units_is_billed_by_the_meter_and_the_rest_comes_back(shop: Shop, dialect: str) -> None:
    async with meeting(shop, dialect) as (charger, buyer, item):
        quote = await prepaid(buyer, item, kwh=40)
        assert quote.value == worth(Decimal(40))
        assert (await buyer.status()).order_status == "CONFIRMED"
        tracking = await buyer.track()
        await charger.plug_in()
        assert (await buyer.start()).order_status == "INPROGRESS"
        await charger.wait_delivered(1, 2_000)
        running = await buyer.status()
        assert (running.order_status, running.session_status) == ("INPROGRESS", "ACTIVE")
        if isinstance(running, BillV1):
            assert running.delivered_kwh is not None
            assert running.delivered_kwh > 0
            assert tracking["status"] == "inactive"
            assert (await buyer.track())["status"] == "active"
        async with shop.http.get(tracking["url"]) as page:
            assert page.status == 200
        bill = await buyer.stop()
        assert bill is not None
        as_delivered(charger, bill)
        assert bill.metered_kwh is not None
        assert bill.value == worth(bill.metered_kwh)
        assert bill.payment_status in {"ADJUSTED", "PARTIALLY_REFUNDED"}  # the second when the money was quicker
        await comes_back(shop, buyer, quote.value - bill.value)
        await buyer.rate(4)
        assert await buyer.support()


@pytest.mark.parametrize("dialect", USE_CASES)
async def test_a_walk_in_by_money_costs_that_money_at_most(shop: Shop, dialect: str) -> None:
    async with meeting(shop, dialect) as (charger, buyer, item):
        quote = await prepaid(buyer, item, amount=100)
        assert quote.value == 100
        assert await ordered(shop, buyer) == ("AMOUNT", Decimal(100))
        await charger.plug_in()
        await buyer.start()
        bill = as_delivered(charger, await buyer.wait_for_bill())
        assert bill.metered_kwh is not None
        assert bill.metered_kwh > Decimal("4.15")  # (100 / 1.18 - 10) / 18: not stopped before
        # What flowed until the charger heard of the limit is asked for, a rupee of it is the seller's.
        assert bill.value in {worth(bill.metered_kwh), quote.value}
        await books_close(shop, buyer)


@pytest.mark.parametrize("dialect", USE_CASES)
async def test_a_walk_in_by_time_is_quoted_for_full_power_and_billed_by_the_meter(shop: Shop, dialect: str) -> None:
    async with meeting(shop, dialect) as (charger, buyer, item):
        quote = await prepaid(buyer, item, minutes=6)
        assert quote.value == worth(Decimal(6))  # 60 kW for a tenth of an hour
        assert await ordered(shop, buyer) == ("TIME", 6)
        bill = await charged(charger, buyer, 1_000)
        assert bill.metered_kwh is not None
        assert bill.value == worth(bill.metered_kwh)
        await comes_back(shop, buyer, quote.value - bill.value)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_the_buyers_app_collected_it_pays_back_itself(shop: Shop, dialect: str) -> None:
    async with meeting(shop, dialect) as (charger, buyer, item):
        quote = await buyer.select(item, kwh=30)
        await buyer.init("BAP")
        assert buyer.collected_by == "BAP"
        assert buyer.tongue.page(buyer.payment) is None
        await buyer.pay()
        assert buyer.read(await buyer.confirm()).order_status == "CONFIRMED"
        bill = await charged(charger, buyer, 1_000)
        assert bill.value < quote.value
        assert bill.payment_status in {"ADJUSTED", "PARTIALLY_REFUNDED"}
        await books_close(shop, buyer)


# --- 2: reservation, cancelled


def slot(in_minutes: int) -> tuple[str, str]:
    start = (wall_ms() + in_minutes * MINUTE_MS) // 1000 * 1000
    return written(start), written(start + 30 * MINUTE_MS)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_reservation_given_back_early_costs_nothing(shop: Shop, dialect: str) -> None:
    async with meeting(shop, dialect, for_now=False) as (charger, buyer, item):
        quote = await prepaid(buyer, item, kwh=2, slot=slot(60))
        (booked,) = await reservations_of(shop, charger.identity)
        assert booked["status"] in {"REQUESTED", "ACCEPTED"}
        cancelled = await buyer.cancel()
        assert cancelled.order_status == "CANCELLED"
        if isinstance(cancelled, BillV1):
            assert cancelled.quote.value == -quote.value
            assert cancelled.quote.adds_up()
            assert [normal(line.text) for line in cancelled.quote.lines][-1].startswith("payment-refund")
            assert cancelled.order["cancellation"]["cancelled_by"] == "CONSUMER"
        else:
            assert cancelled.payment_status == "REFUNDED"
        await books_close(shop, buyer)


async def reservations_of(shop: Shop, charger_id: str) -> list[Json]:
    listed = await shop.server.api("GET", f"/api/v1/reservations?charger_id={charger_id}")
    return list(listed["items"])


@pytest.mark.parametrize("dialect", USE_CASES)
async def test_a_taken_slot_is_answered_with_the_nearest_free_one(shop: Shop, dialect: str) -> None:
    async with meeting(shop, dialect, for_now=False) as (_, buyer, item):
        wanted = slot(90)
        await prepaid(buyer, item, kwh=2, slot=wanted)
        other = shop.buyer(tongue=tongue(dialect), person=a_person(next_number()))
        await other.select(item, kwh=2, slot=wanted)
        offered = window_of(other)
        assert offered != wanted
        assert offered[0] >= wanted[1] or offered[1] <= wanted[0]


def window_of(buyer: Buyer) -> tuple[str, str]:
    """The slot of the order, as UTC text."""
    if buyer.tongue.name in {"v2", "ubc"}:
        preferences = buyer.order["beckn:orderAttributes"]["preferences"]
        return preferences["startTime"], preferences["endTime"]
    first, last = (stop["time"]["timestamp"] for stop in buyer.order["fulfillments"][0]["stops"])
    return in_utc(first), in_utc(last)


def in_utc(text: str) -> str:
    from datetime import UTC, datetime

    at = datetime.fromisoformat(text).astimezone(UTC)
    return written(int(at.timestamp() * 1000))


# --- 6, 7: offers and surcharges


@pytest.mark.parametrize("dialect", USE_CASES)
async def test_an_offers_threshold_counts_what_was_really_charged(shop: Shop, dialect: str) -> None:
    offer_id = f"TWENTY-OFF-{dialect.upper()}"
    await shop.server.api(
        "PUT", f"/api/v1/offers/{offer_id}", {"name": "20 INR off from 5 kWh", "flat": 20, "threshold_kwh": 5}
    )
    async with meeting(shop, dialect) as (charger, buyer, item):
        (offer,) = [offer for offer in item.offers if offer_id in str(offer.get("beckn:id", offer.get("id")))]
        quote = await prepaid(buyer, item, kwh=20, offer=offer)
        assert quote.value == worth(Decimal(20), Decimal(-20))
        bill = await charged(charger, buyer, 6_000)
        assert bill.metered_kwh is not None
        assert bill.value == worth(bill.metered_kwh, Decimal(-20))
        assert [line.value for line in bill.quote.lines if line.kind == "DISCOUNT" and line.value == -20] == [-20]
    async with meeting(shop, dialect) as (charger, buyer, item):
        (offer,) = [offer for offer in item.offers if offer_id in str(offer.get("beckn:id", offer.get("id")))]
        await prepaid(buyer, item, kwh=20, offer=offer)
        bill = await charged(charger, buyer, 1_000)
        assert bill.metered_kwh is not None
        assert bill.metered_kwh < 5
        assert bill.value == worth(bill.metered_kwh)
    await shop.server.api("DELETE", f"/api/v1/offers/{offer_id}")


@pytest.mark.parametrize("dialect", USE_CASES)
async def test_a_surcharge_is_a_line_of_quotation_and_bill(shop: Shop, dialect: str) -> None:
    tariff = {**PLAIN, "surge_percent": 20, "surcharge_per_kwh": 2}
    async with meeting(shop, dialect, tariff=tariff) as (charger, buyer, item):
        quote = await prepaid(buyer, item, kwh=10)
        assert quote.value == worth(Decimal(10), Decimal(36), Decimal(20))
        bill = await charged(charger, buyer, 2_000)
        assert bill.metered_kwh is not None
        kwh = bill.metered_kwh
        surge = paise(paise(PRICE * kwh) * Decimal("0.2"))  # of the line as it stands there
        assert bill.value == worth(kwh, surge, paise(kwh * 2))
        surcharges = [line for line in bill.quote.lines if line.kind == "SURCHARGE"]
        assert [line.value for line in surcharges] == [surge, paise(kwh * 2)]


# --- what is refused


@pytest.mark.parametrize("dialect", FIRST_GENERATION)
async def test_errors_are_told_in_the_dialects_form(shop: Shop, dialect: str) -> None:
    async with meeting(shop, dialect) as (charger, buyer, item):
        item.raw["id"], known = "no-such-connector", item.raw["id"]
        with pytest.raises(RefusedError) as told:
            await buyer.select(item, kwh=1)
        assert told.value.code == "30004"
        item.raw["id"] = known
        buyer.begin()
        await buyer.select(item, kwh=1)
        await buyer.init()
        with pytest.raises(RefusedError) as told:
            await buyer.confirm()
        assert told.value.code == "40004"
        await buyer.pay()
        await buyer.confirm()
        await charger.plug_in()
        await buyer.start()
        with pytest.raises(RefusedError) as told:
            await buyer.cancel()
        assert told.value.code == "50001"
        assert all(isinstance(c.error["code"], str) for c in shop.bap.received if c.error)
        await buyer.stop()
        await books_close(shop, buyer)


@pytest.mark.parametrize("dialect", FIRST_GENERATION)
async def test_an_answer_repeats_domain_and_version_of_its_question(shop: Shop, dialect: str) -> None:
    async with meeting(shop, dialect) as (_, buyer, item):
        await buyer.select(item, kwh=1)
        for callback in shop.bap.messages(buyer.transaction_id):
            header = buyer.tongue.header
            assert {name: callback.context[name] for name in ("domain", "version", "location")} == {
                name: header[name] for name in ("domain", "version", "location")
            }
            assert callback.context["ttl"] == "PT30S"


async def test_what_can_be_rated_is_told_in_uei(shop: Shop) -> None:
    async with meeting(shop, "uei") as (_, buyer, _item):
        mark = len(shop.bap.received)
        await buyer._send("get_rating_categories", {})
        told = await buyer.wait_for("rating_categories", after=mark)
        assert told.body["message"]["rating_categories"] == ["Item", "Order", "Fulfillment", "Provider"]
