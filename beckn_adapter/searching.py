"""Answering a search: what the asker may see, what fits, in words. It needs no store, so no writer waits for it.

How often an app searches and how rarely it buys decides how fresh the states are that it is shown (BECKN 7.4).
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from beckn_adapter import commands as cmd
from beckn_adapter.codec import Codec
from beckn_adapter.discovery import Intent
from beckn_adapter.glance import Glance
from beckn_adapter.grid import cell_of
from beckn_adapter.market import Market
from beckn_adapter.slots import with_slots
from beckn_adapter.speaking import Json
from csms.app.cases import open_case
from csms.app.scanning import FairUse, Verdict
from csms.domain.refusal import Refusal, Why
from csms.domain.scanning import Freshness
from csms.ports import Fact, Store, Tx

log = structlog.get_logger()

EVERYWHERE = "everywhere"


class Searching:
    """The shop window's clerk. `count` hears how fresh each answer was."""

    def __init__(self, *, store: Store, market: Market, fair_use: FairUse, count: Callable[[str], None]) -> None:
        self._store = store
        self._market = market
        self._fair_use = fair_use
        self._count = count

    async def answer(self, codec: Codec, reply: Json, bap_id: str, command: cmd.Discover, now_ms: int) -> Json:
        """The callback. Refusal(TOO_MANY_REQUESTS) for whoever only looks."""
        area = area_of(command.intent)
        verdict = self._fair_use.searched(bap_id, area, now_ms)
        self._count(verdict.freshness.value)
        if verdict.is_alarming:
            log.warning("beckn.scanning", bap_id=bap_id, area=area, freshness=verdict.freshness.value)
            await self._store.transact(lambda tx: _tell(tx, bap_id, area, verdict, now_ms))
        if verdict.freshness is Freshness.REFUSED:
            raise Refusal(
                Why.TOO_MANY_REQUESTS,
                "this app searches far more than it selects; select something, or search again later",
            )
        own = self._market.prices_of(bap_id)
        items = self._market.search(
            command.intent,
            now_ms,
            freshness=verdict.freshness,
            every_plug=speaks_of_every_plug(codec),
            own=own,
        )
        if command.with_slots and items and verdict.freshness is Freshness.LIVE:
            place, window = self._market.place_of, command.window
            items = await self._store.read(lambda tx: with_slots(tx, items, place, window, now_ms))
        offers = self._market.offers(items, now_ms, own) if items else []
        return codec.on_discover(reply, self._market.provider, items, offers)


def speaks_of_every_plug(codec: Codec) -> bool:
    """Generation 1 has a word for every plug; V2's packs have not (BECKN 7.2)."""
    return codec.network.startswith("v1")


def area_of(intent: Intent) -> str:
    """What a question is about, coarse enough that the same question asked a little differently is the same."""
    ids = Glance.of(intent.filter).ids
    if intent.item_id is not None:
        return f"id:{intent.item_id}"
    if ids:
        return f"id:{min(ids)}"
    for condition in intent.spatial:
        for lon, lat in condition.shape.vertices():
            column, row = cell_of(lon, lat)
            return f"cell:{column},{row}"
    return EVERYWHERE


def _tell(tx: Tx, bap_id: str, area: str, verdict: Verdict, now_ms: int) -> None:
    case_id = f"scanning:{bap_id}:{now_ms // 86_400_000}"
    text = (
        f"{bap_id} searches far more than it selects: about {verdict.in_area} times lately in one area and"
        f" {verdict.in_all} times in all; it is no longer shown states"
    )
    if open_case(tx, case_id=case_id, type_="SCANNING", severity="warning", text=text, now_ms=now_ms):
        body = {"bap_id": bap_id, "area": area, "freshness": verdict.freshness.value, "searches": verdict.in_all}
        tx.append([Fact("ScanningSuspected", now_ms, body)])
