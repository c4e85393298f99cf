"""Writing a message of ours into the outbox, in the transaction of whatever it is about."""

from __future__ import annotations

import json
from collections.abc import Mapping

from beckn_adapter.envelope import UNADDRESSED, callback_url, serialise
from csms.app.outbox import place
from csms.ports import Row, Table, Tx


def write(
    tx: Tx,
    body: Mapping[str, object],
    *,
    purpose: str,
    network: str,
    now_ms: int,
    order_id: str | None,
    caller_url: str | None = None,
    answer_uri: str | None = None,
) -> int | None:
    """Put `body` into the outbox; None when a message for this purpose is there already.

    `caller_url`: behind an adapter everything goes to the adapter, which signs and forwards. `answer_uri`: the gateway
    through which the question came, where the network wants its answer there too (see `answer_uri_of`).
    """
    context = body["context"]
    assert isinstance(context, Mapping)
    action = str(context["action"])
    row = {
        "purpose": purpose,
        "network": network,
        "url": callback_url(caller_url or answer_uri or str(context["bap_uri"]), action),
        "action": action,
        "bap_id": str(context["bap_id"]),
        "transaction_id": str(context["transaction_id"]),
        "message_id": str(context["message_id"]),
        "order_id": order_id,
        "body": serialise(body),
        "state": place(tx, str(context["bap_id"]), str(context["transaction_id"])),
        "next_ms": now_ms,
        "created_ms": now_ms,
    }
    if not tx.add(Table.OUTBOX, row):
        return None
    written = tx.one(Table.OUTBOX, purpose=purpose)
    return int(written["no"]) if written is not None else None


def answer_uri_of(row: Row) -> str | None:
    """Where the answer to a message of the inbox goes when that is not its `bap_uri`: a search through a gateway."""
    if row["action"] not in UNADDRESSED:
        return None
    uri = json.loads(row["headers"]).get("answer_uri")
    return uri if isinstance(uri, str) else None
