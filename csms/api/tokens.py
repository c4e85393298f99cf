"""Tokens: who may charge."""

from __future__ import annotations

import json
from typing import Final, Literal

from csms.api.models import Body, Instant, ShortText, Text, Time, TokenUid, View, time
from csms.api.pages import Page, PageQuery, encode, text_key
from csms.api.routes import Answer, Call, Routes
from csms.app import queries
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339, to_ms
from csms.ports import Fact, ReadTx, Row, Table, Tx

route: Final = Routes("Tokens")

Status = Literal["Accepted", "Blocked", "Expired", "Invalid"]
# How many earlier states of a token are kept; an offline start is judged by the state of its own time.
_HISTORY: Final = 50


class TokenIn(Body):
    """A token as an operator sets it; absent members take their defaults."""

    type: ShortText = "ISO14443"
    status: Status = "Accepted"
    expires_at: Instant | None = None
    group_id: TokenUid | None = None
    driver: Text | None = None
    kind: Literal["regular", "fleet"] = "regular"


class Token(View):
    """A token. `kind` is `order` for the one-time token of an order."""

    uid: str
    type: str
    status: str
    expires_at: Time | None
    group_id: str | None
    driver: str | None
    kind: Literal["regular", "fleet", "order"]
    order_id: str | None
    last_used_at: Time | None
    updated_at: Time


class TokenQuery(PageQuery):
    """Filters of the list."""

    status: Status | None = None
    kind: Literal["regular", "fleet", "order"] | None = None
    group_id: str | None = None
    driver: str | None = None
    order_id: str | None = None


@route("GET", "/api/v1/tokens", query=TokenQuery, answer=Page[Token], summary="Tokens, by uid")
async def list_tokens(call: Call[TokenQuery, None]) -> Page[Token]:
    """One page of tokens."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(
            tx,
            Table.TOKENS,
            order="uid_norm",
            limit=q.limit,
            after=text_key(q.cursor),
            status=q.status,
            kind=q.kind,
            group_id=q.group_id,
            driver=q.driver,
            order_id=q.order_id,
        )
    )
    return Page[Token](items=[_view(row) for row in found.rows], next_cursor=encode(found.after))


@route("GET", "/api/v1/tokens/{uid}", answer=Token, errors=[404], summary="One token")
async def show_token(call: Call[None, None]) -> Token:
    """One token; upper and lower case are the same."""
    return _view(await call.system.store.read(lambda tx: _token(tx, call.path["uid"])))


@route(
    "PUT",
    "/api/v1/tokens/{uid}",
    path_types={"uid": TokenUid},
    body=TokenIn,
    answer=Token,
    also=[201],
    summary="Make or replace a token",
)
async def put_token(call: Call[None, TokenIn]) -> Answer:
    """Make or replace a token; it counts from the next authorisation on."""
    body, now_ms, uid = call.body, call.now_ms(), call.path["uid"].strip()
    key = queries.normal_token(uid)
    expires_ms = to_ms(body.expires_at) if body.expires_at is not None else None

    def work(tx: Tx) -> tuple[Row, bool]:
        standing = tx.take(Table.TOKENS, uid_norm=key)
        _refuse_order_token(standing)
        row: Row = {
            "uid_norm": key,
            "uid": uid,
            "type": body.type,
            "kind": body.kind,
            "status": body.status,
            "expires_ms": expires_ms,
            "group_id": body.group_id,
            "driver": body.driver,
            "history": json.dumps(_history(standing, body.status, now_ms)),
            "updated_ms": now_ms,
        }
        tx.save(Table.TOKENS, row)
        tx.append([Fact("TokenChanged", now_ms, {"uid": uid, "status": body.status, "who": call.who.name})])
        stored = tx.one(Table.TOKENS, uid_norm=key)
        assert stored is not None
        return stored, standing is None

    row, is_new = await call.system.store.transact(work)
    await call.system.tokens.changed(key)
    return Answer(_view(row), 201 if is_new else 200)


@route("DELETE", "/api/v1/tokens/{uid}", errors=[404], summary="Remove a token")
async def delete_token(call: Call[None, None]) -> None:
    """Remove a token; to keep the record, set its status to Blocked instead."""
    now_ms, key = call.now_ms(), queries.normal_token(call.path["uid"])

    def work(tx: Tx) -> None:
        row = tx.take(Table.TOKENS, uid_norm=key)
        _refuse_order_token(row)
        _token(tx, key)
        tx.drop(Table.TOKENS, uid_norm=key)
        tx.append([Fact("TokenDeleted", now_ms, {"uid": key, "who": call.who.name})])

    await call.system.store.transact(work)
    await call.system.tokens.changed(key)


def _token(tx: ReadTx, uid: str) -> Row:
    if (row := tx.one(Table.TOKENS, uid_norm=queries.normal_token(uid))) is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no token {uid!r}.")
    return row


def _refuse_order_token(row: Row | None) -> None:
    if row is not None and row["kind"] == "order":
        raise Refusal(Why.WRONG_STATE, f"This is the one-time token of order {row['order_id']!r}; cancel the order.")


def _history(standing: Row | None, status: str, now_ms: int) -> list[list[object]]:
    """`[from_ms, status]` pairs, oldest first; empty while the first status holds (`domain.access.Token`)."""
    if standing is None:
        return []
    history: list[list[object]] = json.loads(standing["history"])
    if standing["status"] == status:
        return history
    return [*(history or [[0, standing["status"]]]), [now_ms, status]][-_HISTORY:]


def _view(row: Row) -> Token:
    return Token(
        uid=row["uid"],
        type=row["type"],
        status=row["status"],
        expires_at=time(row["expires_ms"]),
        group_id=row["group_id"],
        driver=row["driver"],
        kind=row["kind"],
        order_id=row["order_id"],
        last_used_at=time(row["used_ms"]),
        updated_at=rfc3339(row["updated_ms"]),
    )
