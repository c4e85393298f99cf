"""Prices on the displays of OCPP 2.0.1 stations (I): the running cost, the total, the tariff in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from beckn_shop import open_shop
from running import Server, running
from wire import Payload, Station201, answered, at, session, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERY_S = 2
# 18 INR/kWh + 10 INR service fee, 18 % GST (`Server.sell`): 1000 Wh are (18.00 + 10.00) * 1.18.
ONE_KWH = 33.04
HALF_KWH = 22.42
WORDS = "18 INR/kWh, 10 INR per session, plus 18% GST"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("costs"), {"ocpp": {"cost_every_s": EVERY_S}}) as running_server:
        await token(running_server, "TOKEN")
        yield running_server


def variable(name: str, instance: str | None = None) -> Payload:
    return {
        "component": {"name": "TariffCostCtrlr"},
        "variable": {"name": name} | ({"instance": instance} if instance else {}),
    }


async def says(server: Server, cs: Station201, **told: str) -> None:
    """The station tells of its display when it is asked: `cost`, `tariff`, `currency`."""
    names = {"cost": ("Enabled", "Cost"), "tariff": ("Enabled", "Tariff"), "currency": ("Currency", None)}
    results = [
        {"attributeStatus": "Accepted", "attributeValue": value, **variable(*names[name])}
        for name, value in told.items()
    ]
    cs.table["GetVariables"] = {"getVariableResult": results}
    asked = [{"component": one["component"], "variable": one["variable"]} for one in results]
    await answered(server, cs.id, "GetVariables", {"getVariableData": asked})

    async def is_learnt() -> bool:
        info = (await cs.authorize("TOKEN")) if "tariff" in told else {}
        return "personalMessage" in info or told.get("tariff") != "true"

    await until(is_learnt)


async def sold(server: Server, cs: Station201, **tariff: Any) -> None:
    """The station is for sale, booted and idle."""
    await server.sell(cs.id, **tariff)
    await cs.connect()
    await cs.boot()
    await cs.status("Available")


async def begun(cs: Station201, tx: str) -> Payload:
    answer = await cs.event("Started", tx, "Authorized", token="TOKEN", wh=0, when=at(-1800))
    assert answer["idTokenInfo"]["status"] == "Accepted"
    return answer


async def shown(cs: Station201, tx: str, wh: int, *, when: str | None = None) -> float | None:
    """The cost in the answer to a reading."""
    answer = await cs.event("Updated", tx, "MeterValuePeriodic", wh=wh, when=when)
    cost: float | None = answer.get("totalCost")
    return cost


async def until_shown(cs: Station201, tx: str, wh: int) -> float:
    """The cost, once the station is known to show costs: what it said is understood after its answer."""
    ago = iter(range(-900, 0))

    async def look() -> list[float]:
        cost = await shown(cs, tx, wh, when=at(next(ago)))
        return [] if cost is None else [cost]  # nought is a cost, too

    (cost,) = await until(look)
    return float(cost)


@pytest.mark.case("2.0.1 TC_I_01")
async def test_tc_i_01_the_running_cost_is_in_the_answers_when_it_is_due(server: Server) -> None:
    cs = Station201(server, "I01")
    await sold(server, cs)
    await says(server, cs, cost="true")
    await begun(cs, "i01")
    assert await until_shown(cs, "i01", 500) == HALF_KWH
    assert await shown(cs, "i01", 600, when=at(-5)) is None  # told a moment ago

    async def later() -> bool:
        return await shown(cs, "i01", 1000) == ONE_KWH

    await until(later)  # the interval has passed, or the cost has come by itself
    await cs.close()


@pytest.mark.case("2.0.1 TC_I_01")
async def test_tc_i_01_a_cost_that_no_answer_tells_comes_by_itself(server: Server) -> None:
    cs = Station201(server, "I02-UPDATED")
    cs.table["CostUpdated"] = {}
    await sold(server, cs)
    await says(server, cs, cost="true")
    await begun(cs, "updated")
    assert await until_shown(cs, "updated", 500) == HALF_KWH
    assert await shown(cs, "updated", 1000) is None
    assert await cs.until_asked("CostUpdated") == {"totalCost": ONE_KWH, "transactionId": "updated"}
    await cs.event("Ended", "updated", "StopAuthorized", wh=1000)
    assert len(cs.questions("CostUpdated")) == 1
    await cs.close()


@pytest.mark.case("2.0.1 TC_I_02")
async def test_tc_i_02_the_total_is_in_the_answer_to_the_end_and_is_the_bill(server: Server) -> None:
    cs = Station201(server, "I02")
    await sold(server, cs)
    await says(server, cs, cost="true")
    await begun(cs, "i02")
    await until_shown(cs, "i02", 500)
    ended = cs.event_of("Ended", "i02", "StopAuthorized", token="TOKEN", wh=1000)
    answer = await cs.ask("TransactionEvent", ended)
    assert (answer["totalCost"], answer["idTokenInfo"]["status"]) == (ONE_KWH, "Accepted")
    assert await cs.ask("TransactionEvent", {**ended, "offline": True}) == answer

    async def billed() -> Payload | None:
        found = await session(server, cs.id)
        revisions = (await server.api("GET", f"/api/v1/sessions/{found['id']}/revisions"))["items"]
        return revisions[-1] if revisions else None

    assert (await until(billed))["amount"] == {"amount": f"{ONE_KWH:.2f}", "currency": "INR"}
    await cs.close()


async def test_free_is_nought_and_no_tariff_is_silence(server: Server) -> None:
    free = Station201(server, "I-FREE")
    await sold(server, free, tariff={"elements": [{"price_components": [{"type": "ENERGY", "price": 0}]}]})
    nothing = Station201(server, "I-NONE")
    await nothing.connect()
    await nothing.boot()
    for cs in (free, nothing):
        await says(server, cs, cost="true")
        await begun(cs, cs.id)
    assert await until_shown(free, free.id, 500) == 0
    assert (await free.event("Ended", free.id, "StopAuthorized", wh=1000))["totalCost"] == 0
    assert await shown(nothing, nothing.id, 500) is None
    assert await nothing.event("Ended", nothing.id, "StopAuthorized", wh=1000) == {}
    await free.close()
    await nothing.close()


@pytest.mark.parametrize("told", [{}, {"cost": "false"}, {"cost": "true", "currency": "EUR"}], ids=str)
async def test_a_station_that_shows_no_costs_is_told_none(server: Server, told: dict[str, str]) -> None:
    cs = Station201(server, f"I-SILENT-{len(told)}-{told.get('cost')}")
    await sold(server, cs)
    if told:
        await says(server, cs, **told, tariff="true")
    await begun(cs, cs.id)
    assert await shown(cs, cs.id, 500) is None
    assert "totalCost" not in await cs.event("Ended", cs.id, "StopAuthorized", wh=1000)
    await cs.close()


async def test_the_tariff_is_told_in_words_and_told_again_when_it_has_changed(server: Server) -> None:
    cs = Station201(server, "I-WORDS")
    await sold(server, cs)
    assert "personalMessage" not in await cs.authorize("TOKEN")
    await says(server, cs, tariff="true")
    said = await cs.authorize("TOKEN")
    assert said["personalMessage"] == {"format": "UTF8", "content": WORDS}
    assert "personalMessage" not in await cs.authorize("NOBODY")
    started = await begun(cs, "words")
    assert started["idTokenInfo"]["personalMessage"]["content"] == WORDS
    assert await cs.event("Updated", "words", "MeterValuePeriodic", wh=100) == {}
    dearer = {
        "country_code": "IN", "party_id": "TST", "id": f"T-{cs.id}", "currency": "INR",
        "elements": [{"price_components": [{"type": "ENERGY", "price": 21, "vat": 18}]}],
        "last_updated": "2026-01-02T00:00:00Z",
    }  # fmt: skip
    await server.api("PUT", f"/api/v1/tariffs/T-{cs.id}", dearer)

    async def told() -> Payload | None:
        answer = await cs.event("Updated", "words", "MeterValuePeriodic", wh=100)
        return answer.get("updatedPersonalMessage")

    assert (await until(told))["content"] == "21 INR/kWh, plus 18% GST"
    assert await cs.event("Updated", "words", "MeterValuePeriodic", wh=100) == {}
    await cs.close()


async def test_what_a_station_shows_is_known_after_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with running(tmp_path_factory.mktemp("costs-restart")) as server:
        await token(server, "TOKEN")
        cs = Station201(server, "I-RESTART")
        await sold(server, cs)
        reported = {
            "requestId": 1, "generatedAt": at(), "seqNo": 0,
            "reportData": [{**variable("Available", "Cost"), "variableAttribute": [{"value": "true"}]}],
        }  # fmt: skip
        assert await cs.ask("NotifyReport", reported) == {}

        async def is_kept() -> bool:
            found = await server.api("GET", f"/api/v1/chargers/{cs.id}/configuration")
            return "TariffCostCtrlr.Available[Cost]" in str(found)

        await until(is_kept)
        await cs.cut()
        await server.stop()
        await server.start()
        await cs.connect()
        await begun(cs, "restart")
        assert (await cs.event("Ended", "restart", "StopAuthorized", wh=1000))["totalCost"] == ONE_KWH
        await cs.close()


@pytest.mark.parametrize(
    ("delivered_wh", "total"),
    [
        # 18.00 + 10.00 service fee, 18 % tax, and 10 % of the units for the buyer's app.
        (1000, 34.84),
        # Eight Wh beyond the order are within its tolerance: nobody is asked for them, and no display shows them.
        (2008, 57.88),
    ],
)
async def test_the_display_of_a_bought_session_shows_what_the_order_will_be_billed(
    tmp_path_factory: pytest.TempPathFactory, delivered_wh: int, total: float
) -> None:
    async with open_shop(tmp_path_factory.mktemp("costs-order")) as shop:
        server, cs = shop.server, Station201(shop.server, "I-ORDER")
        await token(server, "TOKEN")
        cs.table["RequestStartTransaction"] = {"status": "Accepted"}
        await sold(server, cs, tariff={"pattern": "TOP_UP"})
        await says(server, cs, cost="true")
        buyer = shop.buyer(finder_fee_percent=10)  # which no tariff of a socket has
        await buyer.select(await shop.item(cs.id), kwh=2)
        await buyer.init()
        await buyer.pay()
        await buyer.confirm()
        dearer = [{"price_components": [{"type": "ENERGY", "price": 99}]}]  # and the price has changed since
        await server.api(
            "PUT",
            f"/api/v1/tariffs/T-{cs.id}",
            {
                "country_code": "IN", "party_id": "TST", "id": f"T-{cs.id}", "currency": "INR", "elements": dearer,
                "last_updated": "2026-01-02T00:00:00Z",
            },
        )  # fmt: skip
        starting = asyncio.create_task(buyer.start())
        asked = await cs.until_asked("RequestStartTransaction")
        info = {"remoteStartId": asked["remoteStartId"]}
        begun = cs.event_of("Started", "order", "RemoteStart", wh=0, info=info, when=at(-1800))
        await cs.ask("TransactionEvent", begun | {"idToken": asked["idToken"]})
        await starting
        info = {"stoppedReason": "EVDisconnected"}
        ended = await cs.event("Ended", "order", "EVDeparted", wh=delivered_wh, info=info)
        bill = await buyer.wait_for_bill()
        assert (float(bill.quote.value), ended["totalCost"]) == (total, total)
        await cs.close()
