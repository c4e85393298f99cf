"""Pushing the catalog to a catalogue discovery service (CDS), which then answers buyers from it (BECKN 4.4, 0.1).

    start, every `every_ms`, asked     every catalog
    stations, prices, isActive         the catalogs whose content is another now, `debounce_ms` after the first change

What is for sale is laid out in catalogs small enough for one message; a connector stays in its catalog while it is
there. Messages leave through the outbox like any other. While the service is away only the newest message of each
catalog waits, so a long outage ends with one message per catalog and none of them old. Prices of the hour and states
change without an event, so a few connectors are looked at every second, all of them within LOOK_MS.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from beckn_adapter.catalog import ItemView, OfferView
from beckn_adapter.commands import CatalogPublished
from beckn_adapter.envelope import callback_url, serialise
from beckn_adapter.market import Market
from beckn_adapter.speaking import Json
from beckn_adapter.v2 import encode
from beckn_adapter.v2.codec import V2Codec
from beckn_adapter.v2.items import MAX_CATALOG_BYTES, PAGE_BYTES, catalog_id_of, catalog_json, weight
from csms.app.cases import open_case
from csms.app.outbox import PUBLICATION, UNSENT, place
from csms.ports import Bell, Clock, Ids, ReadTx, Row, Store, Table, Tx

log = structlog.get_logger()

ACTION: Final = "catalog_publish"
LOOK_MS: Final = 20_000  # within this every connector's state has been looked at
_TICK_S: Final = 1.0
_PAGES_AT_ONCE: Final = 5  # catalogs written in one tick: half a second of work on a slow machine
_SLICE: Final = 100  # items weighed before others have their turn
_KEPT: Final = 50  # publications of a catalog that are remembered
_DAY_MS: Final = 86_400_000


@dataclass(slots=True)
class _Page:
    """One catalog: which items are in it, and what was said of it last."""

    catalog_id: str
    items: dict[str, int] = field(default_factory=dict)  # item id -> bytes
    digest: str | None = None
    reason: str | None = None  # it is to be published, and why
    due_ms: int = 0
    is_forced: bool = False  # also when its content is the same
    is_urgent: bool = False  # a connector of it came or went
    changes_ms: int | None = None  # when a price of the hour in it ends, or an offer begins

    @property
    def room(self) -> int:
        return PAGE_BYTES - sum(self.items.values())


class Publisher:
    """Keeps a discovery service in step. `url` is where the catalog is posted."""

    def __init__(
        self,
        *,
        store: Store,
        bell: Bell,
        clock: Clock,
        ids: Ids,
        market: Market,
        codec: V2Codec,
        url: str,
        domain: str,
        debounce_ms: int,
        every_ms: int,
    ) -> None:
        self._store = store
        self._bell = bell
        self._clock = clock
        self._ids = ids
        self._market = market
        self._codec = codec
        self._url = url
        self._domain = domain
        self._debounce_ms = debounce_ms
        self._every_ms = every_ms
        self._pages: list[_Page] = []
        self._page_of: dict[str, _Page] = {}
        self._active: dict[str, bool] = {}
        self._round: Iterator[str] = iter(())
        self._generation: int | None = None
        self._next_ms = 0  # of the schedule

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self.step(self._clock.now_ms())
            except Exception:
                log.exception("publishing.failed")
            await asyncio.sleep(_TICK_S)

    async def step(self, now_ms: int) -> None:
        """What is due by now, or a part of it when it is much."""
        if self._generation is None:
            await self._begin(now_ms)
        elif self._generation != self._market.generation:
            await self._lay_out()
            self._mark_all("changed", now_ms + self._debounce_ms)
        elif now_ms >= self._next_ms:
            self._next_ms = now_ms + self._every_ms
            self._mark_all("schedule", now_ms, is_forced=True)
        self._look(now_ms)
        for page in self._pages:
            if page.changes_ms is not None and page.changes_ms <= now_ms:
                page.changes_ms = None
                self._mark(page, "changed", now_ms)
        due = [page for page in self._pages if page.reason is not None and page.due_ms <= now_ms]
        due.sort(key=lambda page: (not page.is_urgent, page.due_ms))
        for page in due[:_PAGES_AT_ONCE]:
            await self._publish(page, now_ms)
            await asyncio.sleep(0)

    def ask(self) -> int:
        """Publish everything now; how many catalogs that are."""
        self._mark_all("asked", self._clock.now_ms(), is_forced=True)
        return len(self._pages)

    # -- what is in which catalog

    async def _begin(self, now_ms: int) -> None:
        await self._lay_out()
        known = await self._store.read(_standing)
        laid_out = {page.catalog_id for page in self._pages}
        # What an earlier layout filled and this one does not: emptied there.
        self._pages += [_Page(catalog_id) for catalog_id in sorted(known - laid_out)]
        self._mark_all("start", now_ms, is_forced=True)
        self._next_ms = now_ms + self._every_ms

    async def _lay_out(self) -> None:
        """Put new connectors where there is room, take out what is gone. Time for others in between."""
        generation, ids = self._market.generation, self._market.ids()
        there = set(ids)
        for gone in [item_id for item_id in self._page_of if item_id not in there]:
            del self._page_of.pop(gone).items[gone]
            self._active.pop(gone, None)
        with_room = next((page for page in reversed(self._pages) if page.room > 0), None)
        for count, item_id in enumerate(ids, 1):
            item = self._market.item(item_id)
            if item is not None and item_id not in self._page_of and self._market.is_publishable(item):
                size = weight(item, self._codec.speaker.connector_enum)
                if with_room is None or size > with_room.room:
                    with_room = self._new_page()
                with_room.items[item_id] = size
                self._page_of[item_id] = with_room
            if not count % _SLICE:
                await asyncio.sleep(0)
        self._generation = generation

    def _new_page(self) -> _Page:
        taken = {page.catalog_id for page in self._pages}
        number = 1
        while (catalog_id := catalog_id_of(self._market.provider.provider_id, number)) in taken:
            number += 1
        page = _Page(catalog_id)
        self._pages.append(page)
        return page

    # -- what is to be said

    def _mark_all(self, reason: str, due_ms: int, *, is_forced: bool = False) -> None:
        for page in self._pages:
            self._mark(page, reason, due_ms, is_forced=is_forced)

    def _mark(self, page: _Page, reason: str, due_ms: int, *, is_forced: bool = False) -> None:
        """The first reason and the earliest time stand: a change never waits for those that follow it."""
        if page.reason is None:
            page.reason, page.due_ms = reason, due_ms
        else:
            page.due_ms = min(page.due_ms, due_ms)
        page.is_forced = page.is_forced or is_forced

    def _look(self, now_ms: int) -> None:
        """Look at some connectors; the catalog of one that came or went is due after the debounce."""
        share = 1 + len(self._page_of) * int(_TICK_S * 1000) // LOOK_MS
        for _ in range(share):
            item_id = next(self._round, None)
            if item_id is None:
                self._round = iter(list(self._page_of))
                return
            item, page_of = self._market.item(item_id), self._page_of.get(item_id)
            if item is None or page_of is None:
                continue
            before = self._active.get(item_id)
            self._active[item_id] = item.is_active
            if before is not None and before is not item.is_active:
                self._mark(page_of, "changed", now_ms + self._debounce_ms)
                page_of.is_urgent = True

    # -- saying it

    async def _publish(self, page: _Page, now_ms: int) -> None:
        reason, is_forced = page.reason, page.is_forced
        assert reason is not None
        items = [item for item_id in page.items if (item := self._market.item(item_id)) is not None]
        offers = self._market.offers(items, now_ms)
        page.changes_ms = self._market.prices_change_ms(offers, now_ms)
        catalog = self._catalog(page, items, offers)
        size = len(serialise(catalog))
        if size > MAX_CATALOG_BYTES:
            log.warning("publishing.large", catalog_id=page.catalog_id, bytes=size)
        digest = hashlib.blake2b(serialise(catalog), digest_size=16).hexdigest()
        page.reason, page.is_forced, page.is_urgent = None, False, False
        if digest == page.digest and not is_forced:
            return
        message_id, transaction_id = self._ids.uuid4(), self._ids.uuid4()
        row = {
            "message_id": message_id,
            "catalog_id": page.catalog_id,
            "reason": reason,
            "items": len(items),
            "digest": digest,
            "state": "sent",
            "at_ms": now_ms,
        }

        def work(tx: Tx) -> None:
            self._write(tx, row, catalog, transaction_id)

        try:
            await self._store.transact(work)
        except Exception:
            self._mark(page, reason, now_ms, is_forced=is_forced)
            raise
        page.digest = digest
        log.info("publishing.sent", catalog_id=page.catalog_id, items=len(items), reason=reason)
        self._bell.ring("outbox")

    def _catalog(self, page: _Page, items: list[ItemView], offers: list[OfferView]) -> Json:
        for item in items:
            self._active[item.item_id] = item.is_active
        speaker = self._codec.speaker
        catalog = catalog_json(
            self._market.provider,
            items,
            offers,
            speaker.bpp,
            connector_enum=speaker.connector_enum,
            catalog_id=page.catalog_id,
        )
        return catalog | {"beckn:isActive": bool(items)}

    def _write(self, tx: Tx, row: Row, catalog: Json, transaction_id: str) -> None:
        """Into the outbox, in place of what has not left yet. Messages of one catalog that overlap share a
        conversation, so that one in the air is not overtaken by the next."""
        now_ms, message_id = row["at_ms"], row["message_id"]
        before = tx.many(Table.PUBLICATIONS, order="-no", catalog_id=row["catalog_id"])
        transaction_id = _make_room(tx, before, now_ms) or transaction_id
        peer, purpose = f"catalogue:{urlsplit(self._url).netloc}", f"{PUBLICATION}{message_id}"
        speaker = self._codec.speaker
        context = encode.publish_context(speaker.bpp, self._domain, transaction_id, message_id, now_ms)
        tx.add(
            Table.OUTBOX,
            {
                "purpose": purpose,
                "network": self._codec.network,
                "url": self._url,
                "action": ACTION,
                "bap_id": peer,
                "transaction_id": transaction_id,
                "message_id": message_id,
                "order_id": None,
                "body": serialise(encode.catalog_publish(context, [catalog], speaker)),
                "state": place(tx, peer, transaction_id),
                "next_ms": now_ms,
                "created_ms": now_ms,
            },
        )
        written = tx.one(Table.OUTBOX, purpose=purpose)
        made = {
            "no": tx.next_no("publication"),
            "outbox_no": written["no"] if written is not None else None,
            "transaction_id": transaction_id,
        }
        tx.add(Table.PUBLICATIONS, {**row, **made})


def _standing(tx: ReadTx) -> set[str]:
    """Catalogs the service may know and that had something in them when they were last published."""
    newest: dict[str, int] = {}
    for row in tx.many(Table.PUBLICATIONS, order="no"):
        newest[row["catalog_id"]] = row["items"]
    return {catalog_id for catalog_id, items in newest.items() if items}


def _make_room(tx: Tx, before: list[Row], now_ms: int) -> str | None:
    """Take back what has not left of a catalog's earlier messages, and forget what is old. The conversation of one
    that was taken back."""
    conversation = None
    for row in before:
        if row["outbox_no"] is None:
            continue
        message = tx.take(Table.OUTBOX, no=row["outbox_no"])
        changes: dict[str, Any] = {"outbox_no": None}
        if message is not None and message["state"] in UNSENT:
            conversation = conversation or row["transaction_id"]
            changes["state"] = "replaced"
            if message["attempts"]:
                _say_away(tx, message, now_ms)
        if message is not None:
            tx.drop(Table.OUTBOX, no=message["no"])  # large, and of use to nobody any more
        tx.change(Table.PUBLICATIONS, changes, message_id=row["message_id"])
    if forgotten := [row["message_id"] for row in before[_KEPT - 1 :]]:
        tx.drop(Table.PUBLICATIONS, message_id=forgotten)
    return conversation


def _say_away(tx: Tx, message: Row, now_ms: int) -> None:
    """The service does not take what it is sent: once a day is enough for a person to look."""
    service = message["bap_id"].removeprefix("catalogue:")
    open_case(
        tx,
        case_id=f"publish:away:{now_ms // _DAY_MS}",
        type_="CATALOG_NOT_TAKEN",
        severity="warning",
        text=f"the catalogue service at {service} does not take our catalog: {message['error']}",
        now_ms=now_ms,
    )


def record_results(tx: Tx, message_id: str, told: CatalogPublished, now_ms: int) -> None:
    """What the service made of a publication. A report about a message we never sent changes nothing."""
    row = tx.take(Table.PUBLICATIONS, message_id=message_id)
    if row is None:
        log.info("publishing.unknown_report", message_id=message_id)
        return
    states = {result.status for result in told.results}
    state = "rejected" if "REJECTED" in states else "partial" if states - {"ACCEPTED"} else "accepted"
    results = [
        {"catalog_id": r.catalog_id, "status": r.status, "item_count": r.item_count, "error": r.error}
        for r in told.results
    ]
    tx.change(
        Table.PUBLICATIONS,
        {"state": state, "results": json.dumps(results, ensure_ascii=False), "answered_ms": now_ms},
        message_id=message_id,
    )
    if state == "accepted":
        return
    reasons = "; ".join(r.error or r.status for r in told.results if r.status != "ACCEPTED")
    open_case(
        tx,
        case_id=f"publish:{row['catalog_id']}:{state}:{now_ms // _DAY_MS}",
        type_="CATALOG_REJECTED",
        severity="warning",
        text=f"the catalogue service took catalog {row['catalog_id']} only in part or not at all: {reasons[:500]}",
        now_ms=now_ms,
    )


def publish_url(cds_url: str, caller_url: str | None) -> str:
    """Where catalogs are posted: at the service, or through the adapter in front of us, which routes by the last part
    of the address (BECKN 8.2)."""
    if caller_url is not None:
        return callback_url(caller_url, "publish")
    base = cds_url.rstrip("/")
    if base.endswith("/publish"):
        return base
    return f"{base}/publish" if base.endswith("/catalog") else f"{base}/catalog/publish"
