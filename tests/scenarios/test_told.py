"""Everything that is said beside buying: progress, tracking, questions, ratings, news of a dark charger, prices by the
hour; and what takes up again what was given up. Real server, real chargers, signed HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from beckn_shop import PLAIN, RATED_KW, Json, Shop, bought, fast_charger, open_shop, selling
from running import running
from wire import V16, Station, Station201, at, sessions, token, until

from simulators import bodies
from simulators.buyer import Buyer, Item
from simulators.tongue_v1 import tongue

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS: dict[str, dict[str, Any]] = {
    "beckn": {
        "start_timeout_s": 5, "telemetry_every_s": 0.4, "telemetry_share": 1, "feedback_form": True,
        "support_phone": "+911140000000", "support_hours": "always",
    },
    "limits": {"notify_s": 30},
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path_factory.mktemp("told"), SETTINGS) as shop:
        yield shop


@pytest_asyncio.fixture(loop_scope="module")
async def shop(open_market: Shop) -> AsyncIterator[Shop]:
    yield open_market
    open_market.judge()


_numbers = iter(range(1, 10_000))


async def page(shop: Shop, url: str, *, html: bool = False, **form: str) -> tuple[int, str]:
    headers = {"Accept": "text/html"} if html else {}
    method = "POST" if form else "GET"
    async with shop.http.request(method, url, headers=headers, data=form or None) as answer:
        return answer.status, await answer.text()


def fulfilment(body: Json) -> Json:
    found: Json = body["message"]["order"]["beckn:fulfillment"]
    return found


# --- telemetry


async def test_progress_is_told_now_and_then_while_it_charges_and_never_after(shop: Shop) -> None:
    async with selling(shop) as (charger, item):
        buyer = await bought(shop.buyer(), item, kwh=80)
        await charger.plug_in()
        await buyer.start()

        def told() -> list[Json]:
            mine = shop.bap.messages(buyer.transaction_id, "on_status")
            return [c.body for c in mine if "chargingTelemetry" in json.dumps(c.body)]

        async def several() -> bool:
            return len(told()) >= 3

        await until(several)
        begun = len(told())
        await buyer.stop()
        seen = told()
        assert len({body["context"]["message_id"] for body in seen}) == len(seen)
        energies = [
            max(
                m["value"]
                for t in fulfilment(b)["beckn:deliveryAttributes"]["chargingTelemetry"]
                for m in t["metrics"]
                if m["name"] == "ENERGY"
            )
            for b in seen
        ]
        assert energies == sorted(energies)
        assert begun <= len(seen) <= begun + 1
        mine = [c.body for c in shop.bap.messages(buyer.transaction_id)]
        end = next(
            n for n, b in enumerate(mine) if b["message"].get("order", {}).get("beckn:orderStatus") == "COMPLETED"
        )
        assert not any("chargingTelemetry" in json.dumps(body) for body in mine[end:])
        callbacks = await shop.server.api("GET", f"/api/v1/callbacks?order_id={buyer.order_id}&limit=1000")
        assert not [one for one in callbacks["items"] if one["state"] == "failed"]


# --- a dark charger


async def test_a_stop_while_the_charger_is_offline_is_answered_with_the_estimate_and_ends_when_it_is_back(
    shop: Shop,
) -> None:
    async with selling(shop) as (charger, item):
        buyer = await bought(shop.buyer(), item, kwh=5)
        await charger.plug_in()
        await buyer.start()
        await charger.wait_delivered(1, 500)
        await charger.go_offline()

        async def is_offline() -> bool:
            return not (await shop.server.api("GET", f"/api/v1/chargers/{charger.identity}"))["online"]

        await until(is_offline)
        request = shop.message("update", buyer.tongue.stop(buyer.order), transaction_id=buyer.transaction_id)
        assert (await shop.knock(request)).is_ack
        told = await shop.callback(request)
        order = told.order
        assert (order["beckn:orderStatus"], fulfilment(told.body)["beckn:deliveryAttributes"]["sessionStatus"]) == (
            "INPROGRESS", "INTERRUPTED",
        )  # fmt: skip
        assert "stimate" in json.dumps(order["beckn:orderValue"])
        await charger.go_online()
        final = await buyer.wait_for_bill(timeout_s=20)
        assert final.order_status == "COMPLETED"
        ends = [
            c for c in shop.bap.messages(buyer.transaction_id, "on_update")
            if c.order.get("beckn:orderStatus") == "COMPLETED"
        ]  # fmt: skip
        assert len(ends) == 1
        assert ends[0].context["message_id"] != request["context"]["message_id"]


async def test_what_changed_something_and_is_answered_too_late_is_news(shop: Shop) -> None:
    async with selling(shop) as (_, item):
        buyer = shop.buyer()
        await buyer.select(item)
        await buyer.init()
        await buyer.pay()
        message = bodies.confirm(buyer.order, buyer.payment)
        request = shop.message("confirm", message, transaction_id=buyer.transaction_id, ttl="PT0S")
        assert (await shop.knock(request)).is_ack
        told = await shop.bap.wait_for("on_confirm", buyer.transaction_id)
        assert told.order["beckn:orderStatus"] == "CONFIRMED"
        assert told.context["message_id"] != request["context"]["message_id"]


# --- questions


async def test_a_question_has_one_ticket_whose_page_shows_the_answer(shop: Shop) -> None:
    async with selling(shop) as (_, item):
        buyer = await bought(shop.buyer(), item)
        first = await buyer.support()
        again = await buyer.support()
        assert first["url"] == again["url"]
        assert (first["phone"], first["hours"]) == ("+911140000000", "always")
        listed = await shop.server.api("GET", f"/api/v1/tickets?order_id={buyer.order_id}")
        (ticket,) = listed["items"]
        assert (ticket["state"], ticket["ref_id"]) == ("open", buyer.order_id)
        assert json.loads((await page(shop, first["url"]))[1])["answer"] is None
        closed = await shop.server.api(
            "POST", f"/api/v1/tickets/{ticket['no']}/close", {"answer": "<b>It</b> is paid."}
        )
        assert closed["state"] == "closed"
        status, text = await page(shop, first["url"], html=True)
        assert status == 200
        assert "&lt;b&gt;It&lt;/b&gt; is paid." in text
        assert (await page(shop, first["url"] + "x"))[0] == 404
        await buyer.support()
        assert (await shop.server.api("GET", f"/api/v1/tickets/{ticket['no']}"))["state"] == "open"


async def test_a_fault_that_ends_the_charging_opens_a_ticket_by_itself(shop: Shop) -> None:
    charger_id = f"TD-{next(_numbers)}"
    await shop.server.sell(charger_id, tariff=PLAIN)
    async with Station(shop.server, charger_id, V16) as cp:
        cp.table["RemoteStartTransaction"] = {"status": "Accepted"}
        await cp.ask("BootNotification", {"chargePointVendor": "Field", "chargePointModel": "One"})
        await cp.ask("StatusNotification", {"connectorId": 1, "status": "Preparing", "errorCode": "NoError"})
        buyer = await bought(shop.buyer(), await shop.item(charger_id))
        starting = asyncio.create_task(buyer.start())

        async def asked() -> Json | None:
            return next((payload for action, payload in cp.asked if action == "RemoteStartTransaction"), None)

        tag = (await until(asked))["idTag"]
        start = {"connectorId": 1, "idTag": tag, "meterStart": 0, "timestamp": at()}
        number = (await cp.ask("StartTransaction", start))["transactionId"]
        await starting
        stop = {"transactionId": number, "meterStop": 500, "timestamp": at(1), "reason": "EmergencyStop"}
        await cp.ask("StopTransaction", stop)
        await buyer.wait_for_bill()

        async def ticket() -> Json | None:
            found = (await shop.server.api("GET", f"/api/v1/tickets?order_id={buyer.order_id}"))["items"]
            return found[0] if found else None

        assert "EmergencyStop" in (await until(ticket))["contact"]["fault"]


@pytest.mark.parametrize("dialect", ["v2", "uei", "deg"])
async def test_a_stop_for_want_of_power_is_told_as_an_interruption_and_then_billed(shop: Shop, dialect: str) -> None:
    """BECKN 6.4: the charger lives on a battery, keeps its link, and says why it ends."""
    charger_id = f"TD-{next(_numbers)}"
    await shop.server.sell(charger_id, tariff=PLAIN)
    async with Station(shop.server, charger_id, V16) as cp:
        cp.table["RemoteStartTransaction"] = {"status": "Accepted"}
        await cp.ask("BootNotification", {"chargePointVendor": "Field", "chargePointModel": "One"})
        await cp.ask("StatusNotification", {"connectorId": 1, "status": "Preparing", "errorCode": "NoError"})
        shopper = shop.buyer(tongue=tongue(dialect))
        found = [one for one in await shopper.discover(near=(12.97, 77.59, 5_000)) if charger_id in one.names]
        item = next((one for one in found if getattr(one, "is_spot", True)), found[0])
        await shopper.select(item, kwh=1)
        await shopper.init()
        await shopper.pay()
        await shopper.confirm()
        starting = asyncio.create_task(shopper.start())

        async def asked() -> Json | None:
            return next((payload for action, payload in cp.asked if action == "RemoteStartTransaction"), None)

        tag = (await until(asked))["idTag"]
        start = {"connectorId": 1, "idTag": tag, "meterStart": 0, "timestamp": at()}
        number = (await cp.ask("StartTransaction", start))["transactionId"]
        await starting
        mark = len(shop.bap.received)
        stop = {"transactionId": number, "meterStop": 500, "timestamp": at(1), "reason": "PowerLoss"}
        await cp.ask("StopTransaction", stop)
        bill = await shopper.wait_for_bill()
        mine = [c for c in shop.bap.received[mark:] if c.context["transaction_id"] == shopper.transaction_id]
        told = [(c.action, shopper.read(c)) for c in mine if c.action in {"on_status", "on_update"}]
        interrupted = [said for action, said in told if action == "on_status" and said.session_status == "INTERRUPTED"]
        assert len(interrupted) == 1
        assert told[0][1] is interrupted[0]
        assert interrupted[0].order_status == "INPROGRESS"
        assert interrupted[0].value == bill.value
        assert next(action for action, said in told if said.order_status == "COMPLETED") == "on_update"


# --- ratings


async def rate(shop: Shop, buyer: Buyer, target: str, value: int) -> Json:
    request = shop.message("rating", bodies.rating(target, value, "ORDER", "fine"), transaction_id=buyer.transaction_id)
    assert (await shop.knock(request)).is_ack
    return (await shop.callback(request)).body


async def test_the_last_opinion_counts_and_the_form_is_one_more(shop: Shop) -> None:
    async with selling(shop) as (_, item):
        buyer = await bought(shop.buyer(), item)
        await rate(shop, buyer, buyer.order_id, 2)
        told = (await rate(shop, buyer, buyer.order_id, 4))["message"]
        assert (told["aggregate"]["value"], told["aggregate"]["count"]) == (4, 1)
        url = told["feedbackForm"]["url"]
        assert (await page(shop, url, html=True))[0] == 200
        assert (await page(shop, url, value="9"))[0] == 400
        assert (await page(shop, url, value="5", comments="<script>"))[0] == 200
        told = (await rate(shop, buyer, item.id, 3))["message"]
        assert told["aggregate"]["count"] == 1
        assert (await page(shop, url.rpartition("/")[0] + "/nobody", value="5"))[0] == 404


# --- tracking by PATCH


async def test_a_tracking_address_is_told_the_session_until_its_end(shop: Shop) -> None:
    charger_id = f"TD-{next(_numbers)}"
    await shop.server.sell(charger_id, tariff=PLAIN, rated_kw=RATED_KW)
    async with fast_charger(shop, charger_id) as charger:
        await charger.wait_online()
        await charger.wait_for("its status being known", lambda: charger.connectors[1].reported_status is not None)
        buyer = shop.buyer(tongue=tongue("deg"))
        found = [one for one in await buyer.discover(near=(12.97, 77.59, 5_000)) if charger_id in one.names]
        await bought(buyer, next(one for one in found if getattr(one, "is_spot", True)))
        url = f"{shop.bap.uri}/sessions/{buyer.order_id}"
        for callback_url in ("http://169.254.169.254/latest", url):
            await buyer._ask("track", {"order_id": buyer.order_id, "callback_url": callback_url}, "on_track")

        async def first() -> bool:
            return bool(shop.bap.patches)

        await until(first)
        await charger.plug_in()
        await buyer.start()
        await charger.wait_delivered(1, 500)
        await buyer.stop()

        async def told() -> list[Json]:
            mine = [body for name, body in shop.bap.patches if name == buyer.order_id]
            return mine if mine and mine[-1]["status"] == "COMPLETED" else []

        mine = await until(told, 40)
        last = mine[-1]
        assert mine[0]["status"] == "PENDING"
        assert last["kwh"] > 0
        assert round(sum(p["dimensions"][0]["volume"] for p in last["charging_periods"]), 3) == last["kwh"]
        assert last["total_cost"]["incl_vat"] > last["total_cost"]["excl_vat"] > 0
        assert len(mine) <= 4
    shop.bap.received.clear()
    shop._judged = 0


# --- what was given up


async def test_a_callback_nobody_takes_is_a_case_and_can_be_sent_again(shop: Shop) -> None:
    async with selling(shop) as (_, item):
        buyer = shop.buyer()
        request = shop.select(item, bap_uri=f"{shop.bap.uri}/../../nowhere")
        assert (await shop.knock(request)).is_ack
        transaction = request["context"]["transaction_id"]

        async def failed() -> Json | None:
            found = await shop.server.api("GET", f"/api/v1/callbacks?state=failed&transaction_id={transaction}")
            return found["items"][0] if found["items"] else None

        row = await until(failed)
        assert row["attempts"] == 1
        cases = (await shop.server.api("GET", "/api/v1/cases?type=CALLBACK_FAILED&state=open"))["items"]
        assert any(f"callback {row['no']}" in case["text"] for case in cases)
        whole = await shop.server.api("GET", f"/api/v1/callbacks/{row['no']}")
        assert whole["body"]["context"]["action"] == "on_select"
        again = await shop.server.api("POST", f"/api/v1/callbacks/{row['no']}/retry")
        assert again["state"] == "waiting"
        await until(failed)
        done = await shop.server.api("POST", "/api/v1/callbacks/retry", {"bap_id": row["bap_id"]})
        assert done == {"count": 1, "more": False}
        await until(failed)
        await shop.server.api("POST", "/api/v1/callbacks/999999999/retry", expect=404)
        requests = await shop.server.api("GET", f"/api/v1/requests?transaction_id={transaction}")
        assert [one["state"] for one in requests["items"]] == ["done"]
        await shop.server.api("POST", f"/api/v1/requests/{requests['items'][0]['no']}/retry", expect=409)
        assert buyer.transaction_id != transaction


async def test_an_outage_of_the_buyers_server_with_a_crash_of_ours_loses_and_reorders_nothing(tmp_path: Path) -> None:
    settings = {"beckn": {"telemetry_every_s": 3600, "telemetry_share": 1}}
    async with open_shop(tmp_path, settings) as shop, selling(shop) as (charger, item):
        buyer = await bought(shop.buyer(), item, kwh=3)
        await charger.plug_in()
        await buyer.start()
        await charger.wait_delivered(1, 500)
        mark = len(shop.bap.received)
        port = int(shop.bap.uri.split(":")[2].split("/")[0])
        await shop.bap.__aexit__(None, None, None)  # the buyer's server is gone
        await charger.stop_local()

        async def is_billed() -> bool:
            order = await shop.server.api("GET", f"/api/v1/orders/{buyer.order_id}")
            return order["final"] is not None and len(order["payments"]) == 2

        await until(is_billed)

        async def is_tried() -> bool:
            rows = await shop.server.api("GET", f"/api/v1/callbacks?order_id={buyer.order_id}&state=waiting")
            return bool(rows["items"] and rows["items"][0]["attempts"] >= 2)

        await until(is_tried)
        await shop.server.kill()
        await shop.server.start()
        await asyncio.wait_for(is_billed(), 10)
        shop.bap.port = port
        await shop.bap.__aenter__()

        async def is_told() -> bool:
            rows = await shop.server.api("GET", f"/api/v1/callbacks?order_id={buyer.order_id}&limit=1000")
            return all(row["state"] == "done" for row in rows["items"])

        await until(is_told, 20)
        news = [c for c in shop.bap.received[mark:] if c.context["transaction_id"] == buyer.transaction_id]
        assert [c.action for c in news] == ["on_update", "on_status"]  # the bill, then the money back
        assert news[0].order["beckn:orderStatus"] == "COMPLETED"
        assert "REFUNDED" in news[1].order["beckn:payment"]["beckn:paymentStatus"]
        shop.judge()


BOOT = {"chargePointVendor": "Field", "chargePointModel": "One"}


async def test_a_frame_nobody_understood_is_read_again_as_a_person_put_it_right(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        await token(server, "TAG")
        async with Station(server, "Q-AGAIN", V16) as cp:
            await cp.ask("BootNotification", BOOT)
            start = {"connectorId": 1, "idTag": "TAG", "meterStart": 1000, "timestamp": at(-60)}
            number = (await cp.ask("StartTransaction", start))["transactionId"]
            assert await cp.ask("StopTransaction", "nonsense") == {}
            (frame,) = (await server.api("GET", "/api/v1/quarantine?state=waiting"))["items"]
            refused = await server.api("POST", f"/api/v1/quarantine/{frame['id']}/retry", {}, expect=422)
            assert "cannot be understood" in refused["detail"]
            (case,) = (await server.api("GET", "/api/v1/cases?type=QUARANTINE&state=open"))["items"]
            right = {"payload": {"transactionId": number, "meterStop": 1500, "timestamp": at(-1)}}
            read = await server.api("POST", f"/api/v1/quarantine/{frame['id']}/retry", right)
            assert read["state"] == "done"
            (session,) = await sessions(server, "Q-AGAIN")
            assert (session["energy_wh"], session["open"]) == (500, False)
            assert (await server.api("GET", f"/api/v1/cases/{case['id']}"))["state"] == "resolved"
            await server.api("POST", f"/api/v1/quarantine/{frame['id']}/retry", right, expect=409)
            assert (await server.api("GET", f"/api/v1/chargers/{cp.id}"))["online"]


async def test_an_event_of_2_0_1_nobody_understood_is_read_again(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        await token(server, "TAG")
        async with Station201(server, "Q-AGAIN-201") as cs:
            await cs.boot()
            await cs.event("Started", "tx", "Authorized", token="TAG", wh=1000)
            ended = cs.event_of("Ended", "tx", "StopAuthorized", wh=1700)
            assert await cs.ask("TransactionEvent", {"transactionInfo": {"transactionId": "tx"}, "seqNo": {}}) == {}
            (frame,) = (await server.api("GET", "/api/v1/quarantine?state=waiting"))["items"]
            (case,) = (await server.api("GET", "/api/v1/cases?type=QUARANTINE&state=open"))["items"]
            apply = {"resolution": "try", "action": "apply"}
            await server.api("POST", f"/api/v1/cases/{case['id']}/resolve", apply, expect=422)
            await server.api("POST", f"/api/v1/quarantine/{frame['id']}/retry", {"payload": ended})
            (session,) = await sessions(server, "Q-AGAIN-201")
            assert (session["energy_wh"], session["open"]) == (700, False)
            assert (await server.api("GET", f"/api/v1/cases/{case['id']}"))["state"] == "resolved"


async def test_a_fact_after_the_final_date_moves_money_when_a_person_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, {"limits": {"final_s": 1}}) as server:
        await server.sell("LATE", tariff=PLAIN)
        await token(server, "TAG")
        async with Station(server, "LATE", V16) as cp:
            await cp.ask("BootNotification", BOOT)
            start = {"connectorId": 1, "idTag": "TAG", "meterStart": 1000, "timestamp": at(-60)}
            number = (await cp.ask("StartTransaction", start))["transactionId"]
            await cp.ask("StopTransaction", {"transactionId": number, "meterStop": 1500, "timestamp": at(-30)})

            async def settled() -> bool:
                (one,) = await sessions(server, "LATE")
                return bool(one["state"] == "SETTLED")

            await until(settled)
            await asyncio.sleep(1.6)  # the final date passes
            await cp.ask("StopTransaction", {"transactionId": number, "meterStop": 1900, "timestamp": at(-20)})

            async def asked() -> Json | None:
                found = (await server.api("GET", "/api/v1/cases?type=LATE_FACT&state=open"))["items"]
                return found[0] if found else None

            case = await until(asked)
            (before,) = (await server.api("GET", "/api/v1/cdrs"))["items"]
            assert before["amount"]["amount"] == "22.42"
            apply = {"resolution": "the charger is right", "action": "apply"}
            done = await server.api("POST", f"/api/v1/cases/{case['id']}/resolve", apply)
            assert done["state"] == "resolved"

            async def revised() -> bool:
                (after,) = (await server.api("GET", "/api/v1/cdrs"))["items"]
                return bool(after["amount"]["amount"] == "30.92")

            await until(revised)
            await server.api("POST", f"/api/v1/cases/{case['id']}/resolve", apply, expect=409)


# --- prices by the hour


def window(hours: float, length_h: float = 1, **price: Any) -> Json:
    start = datetime.now(UTC) + timedelta(hours=hours)
    return {
        "starts_at": start.isoformat(timespec="seconds"),
        "ends_at": (start + timedelta(hours=length_h)).isoformat(timespec="seconds"),
        **price,
    }


async def quoted(shop: Shop, item: Item, wanted: str) -> None:
    """Wait until a kWh costs this."""

    async def costs() -> bool:
        value = (await shop.callback(await asked())).order["beckn:orderValue"]
        return f"{wanted} INR/kWh" in json.dumps(value)

    async def asked() -> Json:
        request = shop.select(item)
        assert (await shop.knock(request)).is_ack
        return request

    await until(costs)


async def test_an_announced_price_holds_for_new_quotations_and_orders_keep_theirs(shop: Shop) -> None:
    async with selling(shop) as (charger, item):
        before = await bought(shop.buyer(), item)
        tariff = f"tariff:T-{charger.identity}"
        event = {"targets": [tariff], "prices": [window(-1, 2, per_kwh=7)], "modification": 2}
        put = await shop.server.api("PUT", "/api/v1/price-events/e-1", event)
        assert (put["state"], put["id"]) == ("live", "api|e-1")
        await quoted(shop, item, " 7")
        older = {**event, "prices": [window(-1, 2, per_kwh=99)], "modification": 1}
        assert (await shop.server.api("PUT", "/api/v1/price-events/e-1", older))["modification"] == 2
        shown = await shop.item(charger.identity)
        assert shown.id == item.id
        await charger.plug_in()
        await before.start()
        await charger.wait_delivered(1, 300)
        bill = await before.stop()
        assert bill is not None
        order = await shop.server.api("GET", f"/api/v1/orders/{before.order_id}")
        assert "18 INR/kWh" in order["final"]["components"][0]["description"]
        gone = await shop.server.api("DELETE", "/api/v1/price-events/e-1")
        assert gone["state"] == "cancelled"
        await quoted(shop, item, " 18")
        await shop.server.api("DELETE", "/api/v1/price-events/e-2", expect=404)
        bad = {"targets": ["planet:earth"], "prices": [window(0, 1, per_kwh=1)]}
        await shop.server.api("PUT", "/api/v1/price-events/e-3", bad, expect=422)


async def test_a_feed_that_breaks_leaves_the_last_prices_and_a_case(tmp_path: Path) -> None:
    feed = tmp_path / "prices.json"
    feed.write_text(json.dumps({"events": [{"id": "f", **window(-1, 3, per_kwh=5)}]}))
    settings = {"energy_prices": {"source": f"file:{feed}", "every_s": 1}}
    async with open_shop(tmp_path / "shop", settings) as shop, selling(shop) as (_, item):
        await quoted(shop, item, " 5")
        feed.write_text("{broken")

        async def complained() -> bool:
            return bool((await shop.server.api("GET", "/api/v1/cases?type=PRICE_FEED"))["items"])

        await until(complained, 15)
        await quoted(shop, item, " 5")
        feed.write_text(json.dumps({"events": []}))
        await quoted(shop, item, " 18")
