"""Messages of buyers as operators see them, and taking up again what was given up."""

from __future__ import annotations

import json
from typing import Any

from apiworld import NOW_MS, Client, World

from csms.ports import Table


def inbox(no: int, state: str, **more: Any) -> dict[str, Any]:
    return {
        "no": no, "network": "v2", "bap_id": "b.example", "transaction_id": f"t-{no}", "message_id": f"m-{no}",
        "action": "confirm", "digest": f"d{no}", "body": b'{"context":{"action":"confirm"}}', "received_ms": NOW_MS,
        "state": state, "attempts": 3, "error": "it broke", **more,
    }  # fmt: skip


def outbox(no: int, state: str, **more: Any) -> dict[str, Any]:
    return {
        "no": no, "purpose": f"in:{no}", "network": "v2", "url": "https://b.example/on_confirm", "action": "on_confirm",
        "bap_id": "b.example", "transaction_id": f"t-{no}", "message_id": f"m-{no}", "body": b"{}", "state": state,
        "next_ms": NOW_MS, "created_ms": NOW_MS, **more,
    }  # fmt: skip


async def test_a_request_that_failed_is_worked_on_again_and_its_answer_has_room(api: Client, world: World) -> None:
    await world.add(Table.OUTBOX, outbox(1, "done"))
    await world.add(Table.INBOX, inbox(1, "failed", outbox_no=1), inbox(2, "done"))
    assert (await api("POST", "/api/v1/requests/2/retry")).status == 409
    assert (await api("POST", "/api/v1/requests/9/retry")).status == 404
    again = (await api("POST", "/api/v1/requests/1/retry")).body
    assert (again["state"], again["attempts"]) == ("new", 0)
    (apology,) = await world.store.read(lambda tx: tx.many(Table.OUTBOX))
    assert apology["purpose"] != "in:1", "the answer to come would be taken for a repeat of the apology"
    assert (await api("POST", "/api/v1/requests/1/retry")).body["state"] == "new"


async def test_messages_are_found_by_every_filter_newest_first(api: Client, world: World) -> None:
    await world.add(Table.OUTBOX, outbox(1, "done"), outbox(2, "failed", bap_id="c.example"), outbox(3, "waiting"))
    await world.add(Table.INBOX, *(inbox(n, "done") for n in range(1, 4)))

    async def numbers(path: str) -> list[int]:
        return [one["no"] for one in (await api("GET", path)).body["items"]]

    assert await numbers("/api/v1/callbacks") == [3, 2, 1]
    assert await numbers("/api/v1/callbacks?state=failed") == [2]
    assert await numbers("/api/v1/callbacks?bap_id=b.example&limit=1") == [3]
    assert await numbers("/api/v1/requests?transaction_id=t-2") == [2]
    whole = (await api("GET", "/api/v1/requests/1")).body
    assert whole["body"] == {"context": {"action": "confirm"}}


async def test_all_that_was_given_up_of_one_buyer_is_sent_again(api: Client, world: World) -> None:
    await world.add(
        Table.OUTBOX,
        *(outbox(n, "failed", transaction_id="t", purpose=f"p{n}") for n in (1, 2)),
        outbox(3, "failed", bap_id="c.example"),
    )
    told = (await api("POST", "/api/v1/callbacks/retry", {"bap_id": "b.example"})).body
    assert told == {"count": 2, "more": False}
    rows = await world.store.read(lambda tx: tx.many(Table.OUTBOX, order="no"))
    assert [row["state"] for row in rows] == ["waiting", "behind", "failed"]
    journal = await world.store.read(lambda tx: tx.many(Table.JOURNAL, kind="CallbacksRetried"))
    assert json.loads(journal[0]["body"])["count"] == 2


async def test_a_case_that_waits_for_nothing_is_not_applied(api: Client, world: World) -> None:
    case = {
        "id": "c-1", "no": 1, "type": "UNPRICED", "severity": "money", "state": "open", "text": "x",
        "opened_ms": NOW_MS,
    }  # fmt: skip
    await world.add(Table.CASES, case)
    refused = await api("POST", "/api/v1/cases/c-1/resolve", {"resolution": "do it", "action": "apply"})
    assert refused.status == 409
    assert (await api("GET", "/api/v1/cases/c-1")).body["state"] == "open"
