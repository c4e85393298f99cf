"""Published catalogs and buyer apps, as an operator sees them."""

from __future__ import annotations

from typing import Any

from apiworld import NOW_MS, Client, World

from csms.ports import Row, Table


def publication_row(no: int, **more: Any) -> Row:
    row: Row = {
        "message_id": f"m-{no}",
        "no": no,
        "catalog_id": "catalog-ev-cpo",
        "outbox_no": no,
        "transaction_id": f"t-{no}",
        "reason": "changed",
        "items": 3,
        "digest": "d",
        "state": "sent",
        "at_ms": NOW_MS,
    }
    return {**row, **more}


def message_row(no: int, **more: Any) -> Row:
    row: Row = {
        "no": no,
        "purpose": f"publish:m-{no}",
        "network": "v2",
        "url": "https://cds.example/catalog/publish",
        "action": "catalog_publish",
        "bap_id": "catalogue:cds.example",
        "transaction_id": f"t-{no}",
        "message_id": f"m-{no}",
        "body": b"{}",
        "state": "waiting",
        "attempts": 2,
        "next_ms": NOW_MS,
        "created_ms": NOW_MS,
        "error": "HTTP 502",
    }
    return {**row, **more}


class Publisher:
    def __init__(self) -> None:
        self.asked = 0

    def ask(self) -> int:
        self.asked += 1
        return 7


async def test_publications_newest_first_with_how_far_their_message_has_come(api: Client, world: World) -> None:
    results = '[{"catalog_id": "catalog-ev-cpo", "status": "REJECTED", "error": "no plug"}]'
    await world.add(
        Table.PUBLICATIONS,
        publication_row(1, state="rejected", results=results, outbox_no=None, answered_ms=NOW_MS + 1),
    )
    await world.add(Table.PUBLICATIONS, publication_row(2))
    await world.add(Table.OUTBOX, message_row(2))
    newest, oldest = (await api("GET", "/api/v1/publications")).body["items"]
    assert (newest["message_id"], newest["delivery"], newest["attempts"], newest["error"]) == (
        "m-2",
        "waiting",
        2,
        "HTTP 502",
    )
    assert (oldest["state"], oldest["delivery"], oldest["results"][0]["error"]) == ("rejected", None, "no plug")
    rejected = (await api("GET", "/api/v1/publications?state=rejected")).body["items"]
    assert [row["message_id"] for row in rejected] == ["m-1"]
    assert [row["message_id"] for row in await api.walk("/api/v1/publications", 1)] == ["m-2", "m-1"]


async def test_publishing_now_is_asked_of_whoever_publishes(api: Client, world: World) -> None:
    reply = await api("POST", "/api/v1/publications")
    assert reply.status == 409
    assert "beckn.cds_url" in reply.text
    world.publisher = Publisher()
    reply = await api("POST", "/api/v1/publications")
    assert (reply.status, reply.body) == (202, {"catalogs": 7})
    assert world.publisher.asked == 1


async def test_who_searches_and_who_buys(api: Client, world: World) -> None:
    for n in range(12):
        world.fair_use.searched("scanner.example", "here", NOW_MS + n)
    world.fair_use.searched("honest.example", "here", NOW_MS + 20)
    world.fair_use.selected("honest.example", NOW_MS + 30)
    honest, scanner = (await api("GET", "/api/v1/participants")).body["items"]
    assert (honest["bap_id"], honest["searches_per_select"], honest["freshness"]) == ("honest.example", 1.0, "live")
    assert scanner == {
        "bap_id": "scanner.example",
        "searches": 12,
        "selects": 0,
        "searches_per_select": None,
        "freshness": "recent",
        "shown": {"live": 10, "recent": 2},
        "last_seen_at": scanner["last_seen_at"],
    }
