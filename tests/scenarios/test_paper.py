"""Paper of a real sale: an invoice when the bill is there, notes when a late fact changes it, the account of the buyer
app that collected. Real server, raw charger, signed HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
from beckn_shop import BAP_ID, PLAIN, Json, Shop, open_shop
from running import API_KEY
from wire import Station16, at, until

from simulators.buyer import Buyer

GSTIN = "29AAPFU0939F1ZR"
ENTRY = {
    "valid_from": "2026-01-01",
    "seller": "Test CPO",
    "registrations": [{"state": "KA", "address": "1 Main Road, Bengaluru", "gstin": GSTIN}],
    "rate_percent": 18,
}


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path) as opened:
        await opened.server.api("PUT", "/api/v1/settings/tax", {"entries": [ENTRY]})
        yield opened
        opened.judge()


async def charging(shop: Shop, cp: Station16, collected_by: str) -> tuple[Buyer, int]:
    """Bought, and begun on the wire an hour ago; the charger's transaction."""
    await shop.server.sell(cp.id, tariff=PLAIN)
    await cp.connect()
    await cp.boot()
    await cp.status("Preparing")
    cp.table["RemoteStartTransaction"] = {"status": "Accepted"}
    buyer = shop.buyer()
    await buyer.select(await shop.item(cp.id), kwh=10)
    await buyer.init(collected_by)
    await buyer.pay()
    await buyer.confirm()

    async def asked() -> str | None:
        return next((said["idTag"] for action, said in cp.asked if action == "RemoteStartTransaction"), None)

    async def begin() -> int:
        number: int = (await cp.start(await until(asked), 1_000, when=at(-3_600)))["transactionId"]
        return number

    _, number = await asyncio.gather(buyer.start(), begin())
    return buyer, number


async def papers(shop: Shop, order_id: str, count: int) -> list[Json]:
    """Its documents, oldest first, when there are so many."""

    async def made() -> list[Json]:
        found: list[Json] = (await shop.server.api("GET", f"/api/v1/documents?order_id={order_id}"))["items"]
        return found[::-1] if len(found) >= count else []

    found: list[Json] = await until(made)
    return found


async def command(shop: Shop, *words: str) -> str:
    """What an operator command prints."""
    environment = {**os.environ, "CSMS_API_KEY": API_KEY, "CSMS_URL": shop.server.urls["api"]}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "csms", *words, stdout=asyncio.subprocess.PIPE, env=environment
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


async def test_a_sale_is_invoiced_and_a_late_fact_credited_and_the_driver_sees_both(shop: Shop) -> None:
    cp = Station16(shop.server, "PAPER-1")
    try:
        buyer, number = await charging(shop, cp, "BPP")
        await cp.stop(number, 7_400, when=at(-30))
        (invoice,) = await papers(shop, buyer.order_id, 1)
        order = await shop.server.api("GET", f"/api/v1/orders/{buyer.order_id}")
        assert invoice["kind"] == "invoice"
        assert re.fullmatch(r"I29/\d{4}/0000001", invoice["number"])
        assert invoice["amount"] == {"amount": order["final"]["amount"], "currency": "INR"}
        assert invoice["amount"]["amount"] == "147.74"  # 6.4 kWh at 18, a service fee of 10, 18 % tax

        await cp.stop(number, 7_360, when=at(-20))
        both = await papers(shop, buyer.order_id, 2)
        order = await shop.server.api("GET", f"/api/v1/orders/{buyer.order_id}")
        assert [one["kind"] for one in both] == ["invoice", "credit_note"]
        assert sum(Decimal(one["amount"]["amount"]) for one in both) == Decimal(order["final"]["amount"])
        content = (await shop.server.api("GET", f"/api/v1/documents/{both[1]['id']}"))["content"]
        assert content["refers_to"] == invoice["number"]
        assert content["metered"]["energy_wh"] == 6_360

        url = (await buyer.track())["url"]
        async with shop.http.get(url) as answer:
            linked = (await answer.json())["documents"]
        assert [one["number"] for one in linked] == [one["number"] for one in both]
        async with shop.http.get(url, headers={"Accept": "text/html"}) as answer:
            page = await answer.text()
        for one in linked:
            assert one["url"] in page
            async with shop.http.get(one["url"]) as answer:
                assert answer.status == 200
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                text = await answer.text()
            assert GSTIN in text
            assert one["number"] in text
        async with shop.http.get(f"{shop.server.public_url}/documents/guessed") as answer:
            assert answer.status == 404

        listed = json.loads(await command(shop, "invoices", "list", "--order", buyer.order_id, "--json"))
        assert [one["number"] for one in listed] == [one["number"] for one in both[::-1]]
        assert GSTIN in await command(shop, "invoices", "print", invoice["id"])
        assert invoice["number"] in await command(shop, "invoices", "show", invoice["id"])
    finally:
        await cp.close()


async def test_what_the_buyer_app_collected_is_paid_over_and_survives_a_crash(shop: Shop) -> None:
    cp = Station16(shop.server, "PAPER-2")
    try:
        buyer, number = await charging(shop, cp, "BAP")
        await cp.stop(number, 7_400, when=at(-30))
        (invoice,) = await papers(shop, buyer.order_id, 1)
        owed = (await shop.server.api("GET", f"/api/v1/orders/{buyer.order_id}/ledger"))["summary"]["receivable"][
            "amount"
        ]
        told = {"bap_id": BAP_ID, "reference": "UTR-1", "amount": owed}
        paid = json.loads(await command(shop, "statements", "paid", BAP_ID, "UTR-1", owed, "--json"))
        assert (paid["left"]["amount"], paid["reference"]) == ("0.00", "UTR-1")
    finally:
        await cp.close()
    await shop.server.kill()
    await shop.server.start()
    await shop.server.api("POST", "/api/v1/remittances", told, expect=200)
    ledger = await shop.server.api("GET", f"/api/v1/orders/{buyer.order_id}/ledger")
    assert ledger["summary"]["receivable"]["amount"] == "0.00"
    assert ledger["summary"]["collected"]["amount"] != "0.00"
    assert ledger["sum"]["amount"] == "0.00"
    assert [one["kind"] for one in ledger["items"]].count("REMITTED") == 1
    assert [one["id"] for one in await papers(shop, buyer.order_id, 1)] == [invoice["id"]]
