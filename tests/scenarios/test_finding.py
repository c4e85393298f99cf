"""Finding and being found, over sockets: the state of now, the catalogue service, what can be had instead, and who only
looks (BECKN 0.1, 4.3, 4.4, 7.4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from beckn_shop import Json, Shop, fast_charger, identity, open_shop
from cds import Cds, catalogue_service
from running import BPP_ID
from wire import until

from simulators.bap import RefusedError
from simulators.ocpp_charger import Charger
from simulators.signing import registry_entry, write_registry

HERE = (12.9716, 77.5946, 500.0)
QUICK = {"publish_after_s": 0.2, "callback_retry_s": [0.2, 0.2, 0.3]}


@asynccontextmanager
async def chargers(shop: Shop, *names: str) -> AsyncIterator[list[Charger]]:
    """Chargers side by side, online, for sale and known to be free."""
    async with AsyncExitStack() as stack:
        made = []
        for name in names:
            await shop.server.sell(name, rated_kw=20_000)
            charger = await stack.enter_async_context(fast_charger(shop, name))
            await charger.wait_online()
            made.append(charger)
        for charger in made:
            await until(lambda charger=charger: status_of(shop, charger.identity, "Available"))  # type: ignore[misc]
        yield made


async def status_of(shop: Shop, charger_id: str, status: str) -> bool:
    """Whether the server has heard this status."""
    shown = await shop.server.api("GET", f"/api/v1/chargers/{charger_id}")
    return any(connector["status"] == status for connector in shown["connectors"])


async def found(shop: Shop) -> dict[str, bool]:
    """EVSE id -> isActive of what a search around here shows."""
    items = await shop.buyer().discover(near=HERE)
    return {item.raw["beckn:itemAttributes"]["evseId"]: item.raw["beckn:isActive"] for item in items}


# --- the state of now


async def test_a_connector_that_fails_is_inactive_in_the_very_next_answer(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, chargers(shop, "CP-1", "CP-2") as (one, _):
        assert await found(shop) == {"IN*TST*CP-1*1": True, "IN*TST*CP-2*1": True}
        one.set_status(one.connectors[1], "Faulted")
        await until(lambda: status_of(shop, "CP-1", "Faulted"))
        assert await found(shop) == {"IN*TST*CP-1*1": False, "IN*TST*CP-2*1": True}
        one.set_status(one.connectors[1], "Available")
        await until(lambda: status_of(shop, "CP-1", "Available"))
        assert await found(shop) == {"IN*TST*CP-1*1": True, "IN*TST*CP-2*1": True}
        shop.judge()


async def test_a_station_put_by_the_operator_is_found_by_the_next_search(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        assert await found(shop) == {}
        await shop.server.sell("CP-9")
        assert set(await found(shop)) == {"IN*TST*CP-9*1"}
        shop.judge()


# --- what can be had instead


async def test_who_finds_the_connector_gone_is_told_what_is_free_nearby(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, chargers(shop, "CP-1", "CP-2", "CP-3") as (one, two, _):
        item = await shop.item("CP-1")
        two.set_status(two.connectors[1], "Faulted")
        one.set_status(one.connectors[1], "Faulted")
        await until(lambda: status_of(shop, "CP-1", "Faulted"))
        await until(lambda: status_of(shop, "CP-2", "Faulted"))
        with pytest.raises(RefusedError) as told:
            await shop.buyer().select(item, kwh=1)
        assert told.value.code == "30008"
        error = told.value.body["error"]
        assert [a["evseId"] for a in error["details"]["alternatives"]] == ["IN*TST*CP-3*1"]
        (other,) = error["details"]["alternatives"]
        assert other["itemId"] in error["message"]
        buyer = shop.buyer()
        await buyer.select(await shop.item("CP-3"), kwh=1)  # and it can really be had
        assert buyer.order["beckn:orderItems"][0]["beckn:orderedItem"] == other["itemId"]
        shop.judge()


async def test_a_confirmed_order_whose_charger_is_gone_at_the_start_is_told_too(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, chargers(shop, "CP-1", "CP-2") as (one, _):
        buyer = shop.buyer()
        await buyer.select(await shop.item("CP-1"), kwh=1)
        await buyer.init()
        await buyer.pay()
        await buyer.confirm()
        one.set_status(one.connectors[1], "Faulted")
        await until(lambda: status_of(shop, "CP-1", "Faulted"))
        with pytest.raises(RefusedError) as told:
            await buyer.start()
        assert told.value.code == "30008"
        assert [a["evseId"] for a in told.value.body["error"]["details"]["alternatives"]] == ["IN*TST*CP-2*1"]
        shop.judge()


async def test_a_connector_that_is_about_to_be_used_is_not_named(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, chargers(shop, "CP-1", "CP-2", "CP-3") as (one, _, _):
        item = await shop.item("CP-1")
        other = shop.buyer()
        await other.select(await shop.item("CP-2"), kwh=1)
        await other.init()
        await other.pay()
        await other.confirm()
        start = {"order": {"beckn:id": other.order_id, "beckn:orderStatus": "CONFIRMED"}}
        assert (await shop.knock(shop.message("update", start, transaction_id=other.transaction_id))).is_ack

        async def is_starting() -> bool:
            return bool((await shop.server.api("GET", f"/api/v1/orders/{other.order_id}"))["state"] == "STARTING")

        await until(is_starting)
        one.set_status(one.connectors[1], "Faulted")
        await until(lambda: status_of(shop, "CP-1", "Faulted"))
        with pytest.raises(RefusedError) as told:
            await shop.buyer().select(item, kwh=1)
        assert [a["evseId"] for a in told.value.body["error"]["details"]["alternatives"]] == ["IN*TST*CP-3*1"]
        shop.judge()


async def test_nothing_free_means_nothing_is_named(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, chargers(shop, "CP-1") as (one,):
        item = await shop.item("CP-1")
        one.set_status(one.connectors[1], "Faulted")
        await until(lambda: status_of(shop, "CP-1", "Faulted"))
        with pytest.raises(RefusedError) as told:
            await shop.buyer().select(item, kwh=1)
        assert "details" not in told.value.body["error"]
        shop.judge()


# --- who only looks


async def test_a_scanner_sees_less_and_less_and_a_person_is_told(tmp_path: Path) -> None:
    scan = {"scan_area": 2, "scan_total": 100, "scan_per_select": 1}
    other = identity("scanned.example")
    async with open_shop(tmp_path, {"beckn": scan}, known=(other,)) as shop, chargers(shop, "CP-1") as (one,):
        assert [await found(shop) for _ in range(3)] == [{"IN*TST*CP-1*1": True}] * 3  # two live, one remembered
        one.set_status(one.connectors[1], "Faulted")
        await until(lambda: status_of(shop, "CP-1", "Faulted"))
        assert await found(shop) == {"IN*TST*CP-1*1": True}  # the state of up to five minutes ago
        assert [await found(shop) for _ in range(4)] == [{"IN*TST*CP-1*1": True}] * 4  # what is there, without state
        with pytest.raises(RefusedError) as told:
            await found(shop)
        assert told.value.code == "50000"
        (app,) = (await shop.server.api("GET", "/api/v1/participants"))["items"]
        assert app["shown"] == {"live": 2, "recent": 2, "coarse": 4, "refused": 1}
        assert (app["searches"], app["selects"], app["searches_per_select"]) == (9, 0, None)
        cases = (await shop.server.api("GET", "/api/v1/cases?type=SCANNING"))["items"]
        assert len(cases) == 1
        assert app["bap_id"] in cases[0]["text"]
        metrics = await shop.server.api("GET", "/metrics")
        assert 'csms_beckn_searches_total{freshness="refused"} 1.0' in metrics
        shop.judge()


async def test_who_selects_is_shown_the_state_of_now_again(tmp_path: Path) -> None:
    scan = {"scan_area": 2, "scan_total": 100, "scan_per_select": 50}
    async with open_shop(tmp_path, {"beckn": scan}) as shop, chargers(shop, "CP-1", "CP-2") as (one, two):
        for _ in range(4):
            items = await shop.buyer().discover(near=HERE)
        one.set_status(one.connectors[1], "Faulted")
        await until(lambda: status_of(shop, "CP-1", "Faulted"))
        assert (await found(shop))["IN*TST*CP-1*1"] is True
        mine = next(i for i in items if i.raw["beckn:itemAttributes"]["evseId"] == f"IN*TST*{two.identity}*1")
        await shop.buyer().select(mine, kwh=1)
        assert (await found(shop))["IN*TST*CP-1*1"] is False
        shop.judge()


# --- the catalogue service


@asynccontextmanager
async def market_with_cds(folder: Path, **beckn: Any) -> AsyncIterator[tuple[Shop, Cds]]:
    """A shop whose catalog goes to a service; the service is not listening yet."""
    async with catalogue_service(folder / "registry.json") as cds:
        write_registry(folder / "registry.json", cds.entry)
        async with open_shop(folder, {"beckn": {**QUICK, "cds_url": cds.url, **beckn}}) as shop:
            yield shop, cds


async def test_the_catalog_goes_to_the_service_and_its_verdict_comes_back(tmp_path: Path) -> None:
    async with market_with_cds(tmp_path) as (shop, cds):
        await cds.open()
        async with chargers(shop, "CP-1") as (one,):

            async def listed() -> bool:
                catalog = cds.catalogs.get("catalog-ev-test-cpo", {})
                return [i["beckn:isActive"] for i in catalog.get("beckn:items", [])] == [True]

            await until(listed)
            offers = cds.catalogs["catalog-ev-test-cpo"]["beckn:offers"]
            assert offers[0]["beckn:price"]["value"] == 18
            one.set_status(one.connectors[1], "Faulted")

            async def gone() -> bool:
                return not cds.catalogs["catalog-ev-test-cpo"]["beckn:items"][0]["beckn:isActive"]

            await until(gone)

        async def answered() -> Json | None:
            rows = (await shop.server.api("GET", "/api/v1/publications"))["items"]
            return rows[0] if rows[0]["state"] == "accepted" else None

        newest = await until(answered)
        assert newest["results"][0]["status"] == "ACCEPTED"
        assert newest["delivery"] == "done"
        assert (await shop.server.api("POST", "/api/v1/publications", expect=202))["catalogs"] == 1
        assert await until(lambda: reasons(shop, "asked"))
        assert cds.problems == []


async def reasons(shop: Shop, wanted: str) -> bool:
    """Whether something was published for this reason."""
    rows = (await shop.server.api("GET", "/api/v1/publications"))["items"]
    return wanted in {row["reason"] for row in rows}


async def test_a_service_that_was_away_gets_the_newest_and_only_that(tmp_path: Path) -> None:
    async with market_with_cds(tmp_path) as (shop, cds):
        for n in range(1, 4):
            await shop.server.sell(f"CP-{n}")

            async def waits(n: int = n) -> bool:
                rows = (await shop.server.api("GET", "/api/v1/publications"))["items"]
                return bool(rows) and rows[0]["items"] == n

            await until(waits)
        rows = (await shop.server.api("GET", "/api/v1/publications"))["items"]
        assert [row["state"] for row in rows if row["items"]] == ["sent", *["replaced"] * (len(rows) - 1)][: len(rows)]
        await cds.open()

        async def listed() -> bool:
            return len(cds.catalogs.get("catalog-ev-test-cpo", {}).get("beckn:items", [])) == 3

        await until(listed, 20)
        assert len(cds.received) == 1
        assert cds.problems == []


async def test_a_catalog_survives_the_death_of_the_server(tmp_path: Path) -> None:
    async with market_with_cds(tmp_path) as (shop, cds):
        await shop.server.sell("CP-1")
        await shop.server.kill()
        await cds.open()
        await shop.server.start()

        async def listed() -> bool:
            return len(cds.catalogs.get("catalog-ev-test-cpo", {}).get("beckn:items", [])) == 1

        await until(listed, 20)
        assert cds.problems == []


async def test_a_rejected_catalog_is_a_case_and_nobody_else_may_reject_it(tmp_path: Path) -> None:
    async with market_with_cds(tmp_path) as (shop, cds):
        cds.verdict = "REJECTED"
        await cds.open()
        await shop.server.sell("CP-1")

        async def rejected() -> list[Json]:
            found: list[Json] = (await shop.server.api("GET", "/api/v1/cases?type=CATALOG_REJECTED"))["items"]
            return found

        cases = await until(rejected)
        assert "an unknown plug" in cases[0]["text"]
        context = cds.received[-1]["context"]
        stranger = identity("stranger.example")
        write_registry(tmp_path / "registry.json", registry_entry(stranger, "http://elsewhere.example", "CDS"))
        accepted = [{"catalog_id": "catalog-ev-test-cpo", "status": "ACCEPTED"}]
        status, _ = await cds.post_report(context, accepted, by=stranger)
        assert status == 401
        states = {r["state"] for r in (await shop.server.api("GET", "/api/v1/publications"))["items"]}
        assert "accepted" not in states
        shop.server.join()  # the registry file stays as it is
        cds.verdict = None


# --- the national network's profile


UBC_HEADER = {"domain": "beckn.one:deg:ev-charging"}


async def test_the_national_profile_says_so_in_every_message_and_tracks_with_the_order(tmp_path: Path) -> None:
    async with open_shop(tmp_path, {"beckn": {"ubc": True}}) as shop, chargers(shop, "CP-1") as (one,):
        request = shop.message("discover", {"text_search": "CP-1"}, **UBC_HEADER)
        assert (await shop.knock(request)).is_ack
        assert (await shop.callback(request)).body["error"] == {}
        plain = shop.message("discover", {"text_search": "CP-1"}, domain="beckn.one:deg:ev-charging:2.0.0")
        assert (await shop.knock(plain)).is_ack
        assert "error" not in (await shop.callback(plain)).body

        buyer = shop.buyer()  # the simulated app names the domain `…:*`
        await buyer.select(await shop.item("CP-1"), kwh=5)
        await buyer.init()
        await buyer.pay()
        await buyer.confirm()
        await one.plug_in()
        await buyer.start()
        order = {"beckn:id": buyer.order_id, "beckn:orderStatus": "INPROGRESS", "beckn:seller": "test-cpo"}
        track = shop.message("track", {"order": order}, transaction_id=buyer.transaction_id)
        assert (await shop.knock(track)).is_ack
        told = await shop.callback(track)
        assert told.body["error"] == {}
        fulfillment = told.order["beckn:fulfillment"]
        assert fulfillment["trackingAction"]["target"]["url"].startswith("http")
        assert fulfillment["beckn:deliveryAttributes"]["sessionStatus"] == "ACTIVE"
        assert "tracking" in told.body["message"]

        with pytest.raises(RefusedError) as no:  # it is not pending any more
            await buyer.cancel()
        assert no.value.code == "50001"

        loose = {"beckn:id": buyer.order_id, "beckn:fulfillment": {"sessionStatus": "STOP"}}
        stop = shop.message("update", {"order": loose}, transaction_id=buyer.transaction_id)
        assert (await shop.knock(stop)).is_ack
        ended = await shop.callback(stop, timeout_s=15)
        assert ended.order["beckn:orderStatus"] == "COMPLETED"
        shop.judge()


async def test_a_pending_order_of_the_national_profile_is_cancelled_with_an_array(tmp_path: Path) -> None:
    async with open_shop(tmp_path, {"beckn": {"ubc": True}}) as shop, chargers(shop, "CP-1"):
        buyer = shop.buyer()
        await buyer.select(await shop.item("CP-1"), kwh=5)
        await buyer.init()
        await buyer.pay()
        await buyer.confirm()
        cancel = shop.message("cancel", {"order": [{"beckn:id": buyer.order_id}]}, transaction_id=buyer.transaction_id)
        assert (await shop.knock(cancel)).is_ack
        told = await shop.callback(cancel)
        assert told.order["beckn:orderStatus"] == "CANCELLED"
        assert told.body["error"] == {}
        assert told.context["bpp_id"] == BPP_ID
        shop.judge()
