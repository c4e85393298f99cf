"""Where a buyer app may have progress told, and what happens when its address does not answer (BECKN 5.6)."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from beckn_world import ITEM_ID, TERMS, WANT

from beckn_adapter.outbound import Outbound
from beckn_adapter.tracking import Trackers, problem_of, watch
from csms.app.orders import add_order
from csms.domain.order import Order, State
from csms.domain.quote import quote
from csms.domain.stored import to_json
from csms.ports import Row, Table
from csms.storage.migrate import migrate_sqlite
from csms.storage.sqlite import SqliteStore

HOME = "https://app.example/bap/receiver"
PLAIN = "http://10.0.0.7:9000/bap"


@pytest.mark.parametrize(
    ("url", "home"),
    [
        ("https://app.example/sessions/1", HOME),
        ("https://app.example:443/x?y=1", HOME),
        ("https://hooks.app.example/x", HOME),
        ("https://APP.example./x", HOME),
        ("http://10.0.0.7:9000/x", PLAIN),
    ],
)
def test_an_address_at_the_apps_own_host_may_be_called(url: str, home: str) -> None:
    assert problem_of(url, [home]) is None


@pytest.mark.parametrize(
    ("url", "home"),
    [
        ("https://evil.example/x", HOME),
        ("https://notapp.example/x", HOME),
        ("https://app.example.evil.example/x", HOME),
        ("https://app.example@evil.example/x", HOME),
        ("https://user:secret@app.example/x", HOME),
        ("http://app.example/x", HOME),
        ("https://app.example:6379/x", HOME),
        ("http://10.0.0.7:22/x", PLAIN),
        ("http://169.254.169.254/latest/meta-data", HOME),
        ("http://169.254.169.254/latest/meta-data", PLAIN),
        ("ftp://app.example/x", HOME),
        ("file:///etc/passwd", HOME),
        ("https://app.example/\nx", HOME),
        ("https://[", HOME),
        ("https://app.example:port/x", HOME),
        ("//app.example/x", HOME),
        ("", HOME),
        ("https://app.example/" + "x" * 3000, HOME),
    ],
)
def test_no_other_address_is_called(url: str, home: str) -> None:
    problem = problem_of(url, [home])
    assert problem is not None
    assert " " in problem


class Clock:
    at_ms = 1_790_000_000_000

    def now_ms(self) -> int:
        return self.at_ms


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    path = tmp_path / "store.db"
    migrate_sqlite(path, stamp="test")
    store = SqliteStore(path, lambda _: None)
    await store.start()
    yield store
    await store.stop()


def an_order(bap_uri: str) -> Order:
    priced = quote(TERMS, WANT, start_ms=Clock.at_ms, max_power_w=60_000)
    return Order(
        order_id=str(uuid.uuid4()), network="v1-deg", transaction_id="t", bap_id="app.example", bap_uri=bap_uri,
        domain="deg:ev-charging", item_id=ITEM_ID, station="S", evse=1, connector=1, want=WANT, terms=TERMS,
        quote=priced.breakdown, quoted_wh=priced.energy_wh, hold_minor=priced.hold_minor, quoted_at_ms=Clock.at_ms,
        quote_expires_ms=Clock.at_ms, state=State.CONFIRMED, wire={},
    )  # fmt: skip


class Listener:
    """An app's address, which answers as it is told to."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.status = 200
        app = web.Application()
        app.router.add_patch("/bap/sessions/1", self.patched)
        self.server = TestServer(app)

    async def patched(self, request: web.Request) -> web.Response:
        self.told.append(await request.json())
        return web.Response(status=self.status)


async def test_an_address_is_told_what_changed_and_tried_again_until_it_answers(store: SqliteStore) -> None:
    listener, clock = Listener(), Clock()
    await listener.server.start_server()
    home = str(listener.server.make_url("/bap"))
    order = an_order(home)
    outbound = Outbound(timeout_s=5, private=True)
    trackers = Trackers(store=store, clock=clock, outbound=outbound, authorize=None)

    async def later(seconds: float) -> None:
        clock.at_ms += int(seconds * 1000)
        await trackers.tell_due()

    async def row() -> Row:
        (found,) = await store.read(lambda tx: tx.many(Table.TRACKERS))
        return found

    def begin(tx: Any) -> None:
        add_order(tx, order, no=1, tracking="x", now_ms=clock.at_ms)
        watch(tx, order, "http://169.254.169.254/latest", clock.at_ms)

    try:
        await store.transact(begin)
        await later(1)
        refused = await row()
        assert (refused["state"], listener.told) == ("failed", [])
        assert "host" in refused["error"]
        await store.transact(lambda tx: watch(tx, order, f"{home}/sessions/1", clock.at_ms))
        listener.status = 503
        await later(1)
        assert ((await row())["attempts"], len(listener.told)) == (1, 1)
        await later(1)
        assert len(listener.told) == 1, "not before its pause is over"
        listener.status = 200
        await later(15)
        assert (listener.told[-1]["status"], listener.told[-1]["kwh"]) == ("PENDING", 0)
        for _ in range(5):
            await later(15)
        assert len(listener.told) == 2, "nothing new, nothing told"
        over = replace(order, state=State.CANCELLED)
        await store.transact(lambda tx: tx.change(Table.ORDERS, {"data": _data(over)}, id=order.order_id))
        await later(15)
        assert listener.told[-1]["status"] == "INVALID"
        assert (await row())["state"] == "done"
        await later(60)
        assert len(listener.told) == 3
    finally:
        await outbound.close()
        await listener.server.close()


def _data(order: Order) -> str:
    return json.dumps(to_json(order))


async def test_an_address_that_says_no_is_told_nothing_more(store: SqliteStore) -> None:
    listener, clock = Listener(), Clock()
    await listener.server.start_server()
    home = str(listener.server.make_url("/bap"))
    order, listener.status = an_order(home), 410
    outbound = Outbound(timeout_s=5, private=True)
    trackers = Trackers(store=store, clock=clock, outbound=outbound, authorize=None)
    try:

        def begin(tx: Any) -> None:
            add_order(tx, order, no=1, tracking="x", now_ms=clock.at_ms)
            watch(tx, order, f"{home}/sessions/1", clock.at_ms)

        await store.transact(begin)
        for _ in range(3):
            await trackers.tell_due()
            clock.at_ms += 60_000
        (row,) = await store.read(lambda tx: tx.many(Table.TRACKERS))
        assert (row["state"], row["error"], len(listener.told)) == ("failed", "HTTP 410", 1)
    finally:
        await outbound.close()
        await listener.server.close()
