"""Writing a message of ours into the outbox, in the transaction of whatever it is about."""

from __future__ import annotations

from collections.abc import Mapping

from beckn_adapter.envelope import callback_url, serialise
from csms.ports import Table, Tx


def write(
    tx: Tx,
    body: Mapping[str, object],
    *,
    purpose: str,
    network: str,
    now_ms: int,
    order_id: str | None,
    caller_url: str | None = None,
) -> int | None:
    """Put `body` into the outbox; None when a message for this purpose is there already.

    `caller_url`: behind an adapter everything goes to the adapter, which signs and forwards.
    """
    context = body["context"]
    assert isinstance(context, Mapping)
    action = str(context["action"])
    row = {
        "purpose": purpose,
        "network": network,
        "url": callback_url(caller_url or str(context["bap_uri"]), action),
        "action": action,
        "bap_id": str(context["bap_id"]),
        "transaction_id": str(context["transaction_id"]),
        "message_id": str(context["message_id"]),
        "order_id": order_id,
        "body": serialise(body),
        "state": "waiting",
        "next_ms": now_ms,
        "created_ms": now_ms,
    }
    if not tx.add(Table.OUTBOX, row):
        return None
    written = tx.one(Table.OUTBOX, purpose=purpose)
    return int(written["no"]) if written is not None else None
