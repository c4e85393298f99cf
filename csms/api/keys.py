"""API keys: made here, shown once, kept as a digest."""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

from pydantic import Field

from csms.api.auth import digest
from csms.api.models import Body, ShortText, Time, View, time
from csms.api.pages import Page, PageQuery, encode, text_key
from csms.api.routes import Call, Routes
from csms.app import queries
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339
from csms.ports import Fact, Row, Table, Tx

route: Final = Routes("API keys")

KeyScope = Literal["read", "write", "admin"]


class ApiKeyIn(Body):
    """A key to make. `write` includes `read`, `admin` includes both."""

    name: ShortText
    scopes: Annotated[list[KeyScope], Field(min_length=1, max_length=3)]


class ApiKey(View):
    """A key, without its secret."""

    id: str
    name: str
    scopes: list[KeyScope]
    created_at: Time
    revoked_at: Time | None


class ApiKeyMade(ApiKey):
    """A new key; `key` is shown this once."""

    key: str


@route("GET", "/api/v1/api-keys", query=PageQuery, answer=Page[ApiKey], scope="admin", summary="API keys, newest first")
async def list_keys(call: Call[PageQuery, None]) -> Page[ApiKey]:
    """One page of keys."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(tx, Table.API_KEYS, order="-id", limit=q.limit, after=text_key(q.cursor))
    )
    items = [ApiKey.model_validate(_members(row)) for row in found.rows]
    return Page[ApiKey](items=items, next_cursor=encode(found.after))


@route(
    "POST",
    "/api/v1/api-keys",
    body=ApiKeyIn,
    answer=ApiKeyMade,
    status=201,
    scope="admin",
    summary="Make an API key",
    secrets=["key"],
    description="The key is shown once: a repeat under the same `Idempotency-Key` shows `***`.",
)
async def make_key(call: Call[None, ApiKeyIn]) -> ApiKeyMade:
    """Make a key."""
    now_ms, key = call.now_ms(), call.system.ids.secret()
    row: Row = {
        "id": call.system.ids.uuid(),
        "name": call.body.name,
        "digest": digest(key),
        "scopes": json.dumps(sorted(set(call.body.scopes))),
        "created_ms": now_ms,
        "revoked_ms": None,
    }

    def work(tx: Tx) -> None:
        tx.add(Table.API_KEYS, row)
        told = {"key_id": row["id"], "name": row["name"], "who": call.who.name}
        tx.append([Fact("ApiKeyMade", now_ms, told)])

    await call.system.store.transact(work)
    return ApiKeyMade.model_validate({**_members(row), "key": key})


@route("DELETE", "/api/v1/api-keys/{id}", errors=[404], scope="admin", summary="Revoke an API key")
async def revoke_key(call: Call[None, None]) -> None:
    """Revoke a key; it is refused from now on."""
    key_id, now_ms = call.path["id"], call.now_ms()

    def work(tx: Tx) -> None:
        row = tx.take(Table.API_KEYS, id=key_id)
        if row is None:
            raise Refusal(Why.UNKNOWN_TARGET, f"There is no API key {key_id!r}.")
        if row["revoked_ms"] is None:
            tx.change(Table.API_KEYS, {"revoked_ms": now_ms}, id=key_id)
            tx.append([Fact("ApiKeyRevoked", now_ms, {"key_id": key_id, "who": call.who.name})])

    await call.system.store.transact(work)


def _members(row: Row) -> dict[str, object]:
    return {
        "id": row["id"],
        "name": row["name"],
        "scopes": json.loads(row["scopes"]),
        "created_at": rfc3339(row["created_ms"]),
        "revoked_at": time(row["revoked_ms"]),
    }
