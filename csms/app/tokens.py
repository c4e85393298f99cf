"""Who may charge, in memory: no read stands between a tag and its answer."""

from __future__ import annotations

import json
from dataclasses import dataclass

from csms.domain.access import Place, Token, TokenKind, TokenStatus, Verdict, judge
from csms.domain.matching import token_norm
from csms.ports import Row, Store, Table

_KINDS = {"order": TokenKind.ORDER, "fleet": TokenKind.FLEET}


@dataclass(frozen=True, slots=True)
class Entry:
    """A token and what it may draw."""

    token: Token
    budget_wh: int | None = None
    budget_s: int | None = None
    used_ms: int | None = None


class Tokens:
    """Every token this system knows, by normalised uid."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries: dict[str, Entry] = {}

    async def load(self) -> None:
        """Read them all, at start."""
        rows = await self._store.read(lambda tx: tx.many(Table.TOKENS))
        self._entries = {row["uid_norm"]: entry_from(row) for row in rows}

    async def changed(self, uid: str) -> None:
        """One was put, used up or deleted."""
        norm = token_norm(uid) or ""
        row = await self._store.read(lambda tx: tx.one(Table.TOKENS, uid_norm=norm))
        if row is None:
            self._entries.pop(norm, None)
        else:
            self._entries[norm] = entry_from(row)

    def get(self, uid: str | None) -> Entry | None:
        """By uid as a charger spells it."""
        norm = token_norm(uid)
        return self._entries.get(norm) if norm is not None else None

    def used(self, uid: str, now_ms: int) -> None:
        """An order's token has made its session."""
        norm = token_norm(uid) or ""
        if (entry := self._entries.get(norm)) is not None:
            self._entries[norm] = Entry(entry.token, entry.budget_wh, entry.budget_s, now_ms)

    def verdict(
        self,
        uid: str | None,
        at_ms: int,
        *,
        now_ms: int,
        place: Place,
        open_elsewhere: int = 0,
        used_before: bool = False,
    ) -> Verdict:
        """Whether the token was good at `at_ms`; see `domain.access.judge`."""
        entry = self.get(uid)
        return judge(
            entry.token if entry is not None else None,
            at_ms,
            now_ms=now_ms,
            place=place,
            open_elsewhere=open_elsewhere,
            used_before=used_before,
        )


def entry_from(row: Row) -> Entry:
    """A stored token."""
    history = tuple((int(at_ms), TokenStatus(status)) for at_ms, status in json.loads(row["history"]))
    token = Token(
        uid=row["uid"],
        kind=_KINDS.get(row["kind"], TokenKind.RFID),
        status=TokenStatus(row["status"]),
        expires_ms=row["expires_ms"],
        group_id=row["group_id"],
        driver=row["driver"],
        order_id=row["order_id"],
        station=row["station"],
        evse=row["evse"],
        connector=row["connector"],
        history=history,
    )
    return Entry(token, row["budget_wh"], row["budget_s"], row["used_ms"])
