"""Reading an order's ledger over the operator REST API: a closed order sums to zero (SESSIONS 5.9)."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import aiohttp

from simulators.pricing import ZERO

TIMEOUT_S = 10.0


class LedgerError(Exception):
    """The ledger could not be read."""


async def ledger_of(api_url: str, api_key: str, order_id: str, transaction_id: str) -> Decimal:
    """The sum in rupees of `GET /api/v1/orders/{id}/ledger`; the order is found by either of its ids."""
    headers = {"Authorization": f"Bearer {api_key}"}
    base = f"{api_url.rstrip('/')}/api/v1/orders"
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as client:
        status, body = await _get(client, f"{base}/{order_id}/ledger")
        if status == 404:
            own_id = await _find(client, base, {order_id, transaction_id})
            status, body = await _get(client, f"{base}/{own_id}/ledger")
        if status != 200:
            raise LedgerError(f"GET …/orders/{order_id}/ledger answered {status}: {body}")
    return total_of(body)


def total_of(body: Any) -> Decimal:
    """The sum of a ledger answer: a list of entries, bare or under `items` or `entries`."""
    entries = body.get("items", body.get("entries")) if isinstance(body, dict) else body
    if not isinstance(entries, list) or not entries:
        raise LedgerError(f"no ledger entries in {str(body)[:300]}")
    return sum((_amount(entry) for entry in entries), ZERO)


def _amount(entry: dict[str, Any]) -> Decimal:
    amount = entry.get("amount")
    value = amount.get("amount") if isinstance(amount, dict) else amount
    if value is None and "amount_minor" in entry:
        value = Decimal(entry["amount_minor"]) / 100
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise LedgerError(f"an entry without an amount: {entry}") from None


async def _find(client: aiohttp.ClientSession, base: str, ids: set[str]) -> str:
    _, body = await _get(client, f"{base}?limit=200")
    for order in body.get("items", []) if isinstance(body, dict) else []:
        if ids & {value for value in order.values() if isinstance(value, str)}:
            return str(order["id"])
    raise LedgerError(f"the API lists no order with any of {sorted(ids)}")


async def _get(client: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    async with client.get(url) as response:
        body = await response.json(content_type=None) if response.status != 204 else None
        return response.status, body
