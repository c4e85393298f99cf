"""Tokens: who may charge."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from csms.api.models import (
    Body,
    ChargerId,
    Instant,
    Money,
    Number,
    ShortText,
    Text,
    Time,
    TokenUid,
    View,
    sure_money,
    time,
)
from csms.api.pages import Page, PageQuery, encode, text_key
from csms.api.routes import Answer, Call, Routes
from csms.api.system import System
from csms.app import queries
from csms.app.tokens import entry_from, history_of, written
from csms.domain.access import TokenKind, TokenStatus
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339, to_ms
from csms.ports import Fact, ReadTx, Row, Table, Tx

route: Final = Routes("Tokens")

Status = Literal["Accepted", "Blocked", "Expired", "Invalid"]
Kind = Literal["regular", "fleet", "app", "autocharge"]
Type = Literal[
    "Central", "eMAID", "ISO14443", "ISO15693", "KeyCode", "Local", "MacAddress", "NoAuthorization"
]  # 2.0.1 IdTokenEnum


class Where(Body):
    """A place where a token is good: a charger or a whole location, and there some EVSEs or all."""

    charger_id: ChargerId | None = None
    location_id: ShortText | None = None
    evse_ids: list[Annotated[int, Field(ge=1, le=1000)]] = Field(
        default=[], max_length=100, description="none named: all; OCPP 1.6 has connectors here"
    )

    @model_validator(mode="after")
    def _names_something(self) -> Where:
        if self.charger_id is None and self.location_id is None:
            raise ValueError("name a charger_id or a location_id")
        return self


class TokenIn(Body):
    """A token as an operator sets it; absent members take their defaults."""

    type: Type = "ISO14443"
    status: Status = "Accepted"
    expires_at: Instant | None = None
    group_id: TokenUid | None = None
    driver: Text | None = Field(
        default=None, description="a telephone number or address lets what the driver owes for orders be known"
    )
    kind: Kind = "regular"
    good_at: list[Where] | None = Field(default=None, min_length=1, max_length=100, description="null: everywhere")
    power_types: list[Literal["AC", "DC"]] | None = Field(default=None, min_length=1, description="null: either")
    one_session_at_a_time: bool | None = Field(default=None, description="null: as it is configured for all")
    budget_wh: Number | None = Field(default=None, description="a session is stopped when so much was charged")
    budget_s: Number | None = Field(default=None, description="a session is stopped after so long")


class WhereView(View):
    """A place where a token is good."""

    charger_id: str | None
    location_id: str | None
    evse_ids: list[int]


class StandingView(View):
    """What held of a token from a moment on. An offline start is judged by what held at its own time."""

    since: Time | None = Field(description="null: from the beginning")
    status: str
    expires_at: Time | None
    group_id: str | None


class DueView(View):
    """What an order of the token's driver leaves unpaid."""

    order_id: str
    amount: Money
    since: Time


class Token(View):
    """A token. `kind` is `order` for the one-time token of an order."""

    uid: str
    type: str
    status: str
    expires_at: Time | None
    group_id: str | None
    driver: str | None
    kind: Literal["regular", "fleet", "app", "autocharge", "order"]
    order_id: str | None
    good_at: list[WhereView] | None
    power_types: list[str] | None
    one_session_at_a_time: bool | None
    budget_wh: int | None
    budget_s: int | None
    blocked_by: list[DueView] = Field(description="unpaid amounts for which it begins nothing until they are paid")
    history: list[StandingView] = Field(description="oldest first; empty while its first standing holds")
    last_used_at: Time | None
    updated_at: Time


class TokenQuery(PageQuery):
    """Filters of the list."""

    status: Status | None = None
    kind: Literal["regular", "fleet", "app", "autocharge", "order"] | None = None
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
            deleted=0,
        )
    )
    return Page[Token](items=[_view(call.system, row) for row in found.rows], next_cursor=encode(found.after))


@route("GET", "/api/v1/tokens/{uid}", answer=Token, errors=[404], summary="One token")
async def show_token(call: Call[None, None]) -> Token:
    """One token; upper and lower case are the same."""
    return _view(call.system, await call.system.store.read(lambda tx: _token(tx, call.path["uid"])))


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
            "places": _places(body.good_at),
            "power_types": json.dumps(sorted(set(body.power_types))) if body.power_types is not None else None,
            "one_at_a_time": None if body.one_session_at_a_time is None else int(body.one_session_at_a_time),
            "budget_wh": body.budget_wh,
            "budget_s": body.budget_s,
            "deleted": 0,
            "history": history_of(standing, TokenStatus(body.status), expires_ms, body.group_id, now_ms),
            "updated_ms": now_ms,
        }
        tx.save(Table.TOKENS, row)
        changed = {"uid": written(uid, body.type), "status": body.status, "who": call.who.name}
        tx.append([Fact("TokenChanged", now_ms, changed)])
        stored = tx.one(Table.TOKENS, uid_norm=key)
        assert stored is not None
        return stored, standing is None or bool(standing["deleted"])

    row, is_new = await call.system.store.transact(work)
    await call.system.tokens.changed(key)
    return Answer(_view(call.system, row), 201 if is_new else 200)


@route("DELETE", "/api/v1/tokens/{uid}", errors=[404], summary="Remove a token")
async def delete_token(call: Call[None, None]) -> None:
    """Remove a token. A start from before, sent by a charger that was offline, is still judged by what held then."""
    now_ms, key = call.now_ms(), queries.normal_token(call.path["uid"])

    def work(tx: Tx) -> None:
        row = tx.take(Table.TOKENS, uid_norm=key)
        _refuse_order_token(row)
        row = _token(tx, key)
        history = history_of(row, TokenStatus.DELETED, row["expires_ms"], row["group_id"], now_ms)
        # Whose it was is forgotten at once.
        gone = {"deleted": 1, "history": history, "driver": None, "updated_ms": now_ms}
        tx.change(Table.TOKENS, gone, uid_norm=key)
        tx.append([Fact("TokenDeleted", now_ms, {"uid": written(key, row["type"]), "who": call.who.name})])

    await call.system.store.transact(work)
    await call.system.tokens.changed(key)


def _token(tx: ReadTx, uid: str) -> Row:
    if (row := tx.one(Table.TOKENS, uid_norm=queries.normal_token(uid), deleted=0)) is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no token {uid!r}.")
    return row


def _refuse_order_token(row: Row | None) -> None:
    if row is not None and row["kind"] == "order":
        raise Refusal(Why.WRONG_STATE, f"This is the one-time token of order {row['order_id']!r}; cancel the order.")


def _places(good_at: list[Where] | None) -> str | None:
    if good_at is None:
        return None
    places = [{"station": w.charger_id, "location": w.location_id, "evses": sorted(set(w.evse_ids))} for w in good_at]
    return json.dumps(places)


def _where(place: dict[str, Any]) -> WhereView:
    return WhereView(charger_id=place.get("station"), location_id=place.get("location"), evse_ids=place["evses"])


def _view(system: System, row: Row) -> Token:
    token = entry_from(row).token
    dues = system.tokens.dues(token) if token.kind is not TokenKind.ORDER else []
    return Token(
        uid=row["uid"],
        type=row["type"],
        status=row["status"],
        expires_at=time(row["expires_ms"]),
        group_id=row["group_id"],
        driver=row["driver"],
        kind=row["kind"],
        order_id=row["order_id"],
        good_at=[_where(place) for place in json.loads(row["places"])] if row["places"] is not None else None,
        power_types=json.loads(row["power_types"]) if row["power_types"] is not None else None,
        one_session_at_a_time=token.one_at_a_time,
        budget_wh=row["budget_wh"],
        budget_s=row["budget_s"],
        blocked_by=[
            DueView(
                order_id=due.order_id,
                amount=sure_money(due.amount_minor, due.currency),
                since=rfc3339(due.since_ms),
            )
            for due in dues
        ],
        history=[
            StandingView(
                since=time(standing.from_ms or None),
                status=standing.status.value,
                expires_at=time(standing.expires_ms),
                group_id=standing.group_id,
            )
            for standing in token.history
        ],
        last_used_at=time(row["used_ms"]),
        updated_at=rfc3339(row["updated_ms"]),
    )
