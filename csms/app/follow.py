"""Followers of the journal: each with its own cursor, none able to lose a fact or to hold up another.

A follower that fails stops at its cursor, shows red in `health`, and tries again with growing pauses; it is never
skipped over (STYLE, smell 9).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from csms.ports import Bell, Follower, Store, Table

log = structlog.get_logger()

_BATCH = 500
_IDLE_S = 5.0  # a lost ring costs at most this; rings are the rule
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0


@dataclass(slots=True)
class FollowerHealth:
    """What `readyz` says about one follower."""

    cursor: int = 0
    error: str | None = None


class Followers:
    """Runs every follower in one task each, inside the caller's task group."""

    def __init__(self, store: Store, bell: Bell) -> None:
        self._store = store
        self._bell = bell
        self.health: dict[str, FollowerHealth] = {}

    async def run(self, follower: Follower) -> None:
        """Follow for ever, from where this follower stood when the process last ended."""
        health = self.health.setdefault(follower.name, FollowerHealth())
        row = await self._store.read(lambda tx: tx.one(Table.CURSORS, name=follower.name))
        health.cursor = int(row["seq"]) if row else 0
        pause_s = _FIRST_PAUSE_S
        while True:
            cursor = health.cursor
            facts = await self._store.read(lambda tx, cursor=cursor: tx.facts(cursor, _BATCH))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            if not facts:
                await self._bell.wait("journal", _IDLE_S)
                continue
            wanted = [fact for fact in facts if not follower.kinds or fact.kind in follower.kinds]
            try:
                if wanted:
                    await follower.on_facts(wanted)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                health.error = repr(error)
                log.exception("follower.failed", follower=follower.name, cursor=cursor, pause_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                continue
            health.error = None
            pause_s = _FIRST_PAUSE_S
            health.cursor = facts[-1].seq
            position = {"name": follower.name, "seq": health.cursor}
            await self._store.transact(lambda tx, position=position: tx.save(Table.CURSORS, position))  # type: ignore[misc]  # as above
