"""Searching in generation 1 over signed HTTP: the calendar of a connector, as it fills."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from beckn_shop import PLAIN, RATED_KW, Json, Shop, fast_charger, open_shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR = timedelta(hours=1)
DEG = {"version": "1.1.0", "domain": "deg:ev-charging"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path_factory.mktemp("v1")) as opened:
        await opened.server.sell("V1-1", tariff=PLAIN, rated_kw=RATED_KW)
        async with fast_charger(opened, "V1-1") as charger:
            await charger.wait_online()
            await charger.wait_for("its status being known", lambda: charger.connectors[1].reported_status is not None)
            yield opened
        opened.judge()


def written(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


async def asked(shop: Shop, action: str, message: Json, **context: Any) -> Json:
    """The answer to one request."""
    request = shop.message(action, message, **DEG, **context)
    answer = await shop.knock(request)
    assert answer.body == {"message": {"ack": {"status": "ACK"}}}
    body = (await shop.callback(request)).body
    assert (body["context"]["version"], body["context"]["domain"]) == ("1.1.0", "deg:ev-charging")
    return dict(body)


async def slots(shop: Shop, start: datetime, end: datetime) -> tuple[str, list[tuple[str, str]]]:
    """The connector's id and when it is free within that time."""
    stop = {"location": {"gps": "12.9716,77.5946"}, "time": {"range": {"start": written(start), "end": written(end)}}}
    found = await asked(shop, "search", {"intent": {"fulfillment": {"stops": [stop]}}})
    (provider,) = found["message"]["catalog"]["providers"]
    booked, spot = provider["items"]
    assert spot["id"] == f"{booked['id']}-spot"
    shown = {one["id"]: one["stops"] for one in provider["fulfillments"]}[booked["fulfillment_ids"][0]]
    return booked["id"], [(s["time"]["range"]["start"], s["time"]["range"]["end"]) for s in shown if "time" in s]


async def test_a_reserved_hour_is_gone_from_the_slots_of_everybody_else(shop: Shop) -> None:
    day = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(days=2)
    item_id, free = await slots(shop, day, day + 6 * HOUR)
    assert free == [(written(day), written(day + 6 * HOUR))]

    times = [written(day + 2 * HOUR), written(day + 3 * HOUR)]
    stops = [{"type": kind, "time": {"timestamp": at}} for kind, at in zip(("START", "STOP"), times, strict=True)]
    measure = {"type": "CONSTANT", "value": "10", "unit": "kWh"}
    order = {
        "provider": {"id": "cpo"},
        "items": [{"id": item_id, "quantity": {"selected": {"measure": measure}}}],
        "fulfillments": [{"id": f"f-{item_id}", "stops": stops}],
        "billing": {"name": "A. Rao", "phone": "+91-98123-45678"},
    }
    transaction = "6743e9e2-4fb5-487c-92b7-13ba8018f176"
    quoted = await asked(shop, "select", {"order": order}, transaction_id=transaction)
    granted = quoted["message"]["order"]["fulfillments"][0]["stops"]
    assert [stop["time"]["timestamp"] for stop in granted] == times
    held = await asked(shop, "init", {"order": order}, transaction_id=transaction)
    assert held["message"]["order"]["payments"][0]["status"] == "NOT-PAID"

    _, left = await slots(shop, day, day + 6 * HOUR)
    assert left == [(written(day), times[0]), (times[1], written(day + 6 * HOUR))]


async def test_a_connector_that_was_never_sold_is_refused_without_a_message(shop: Shop) -> None:
    order = {"provider": {"id": "cpo"}, "items": [{"id": "nothing"}], "fulfillments": [{"id": "1"}]}
    said = await asked(shop, "select", {"order": order})
    assert "message" not in said
    assert said["error"]["code"] == "30004"
    assert said["error"]["type"] == "DOMAIN-ERROR"
