"""A write that arrives twice under one `Idempotency-Key` counts once; the second gets the first one's answer.

Only answers that say "done" are kept. After a refusal nothing has happened, so the same key may try again. A request
that died with its process leaves its key taken; it is given free after the longest time a request can run.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from csms.api.problems import KEY_IN_USE, KEY_REUSED, Problem, invalid
from csms.api.system import System
from csms.ports import Row, Table, Tx

HEADER: Final = "Idempotency-Key"
LONGEST_KEY: Final = 255
# A raw OCPP call waits at most 300 s for its charger; nothing else here runs longer.
LONGEST_REQUEST_MS: Final = 330_000


@dataclass(frozen=True, slots=True)
class Claim:
    """A key in the hands of one request."""

    key: str
    route: str
    digest: str

    @property
    def name(self) -> str:
        """What identifies the request inside the system."""
        return hashlib.blake2b(f"{self.route}\n{self.key}".encode(errors="replace"), digest_size=20).hexdigest()


def claim_of(request: web.Request, who: str, body: bytes) -> Claim | None:
    """The key of a request, if it has one. Keys of different callers never meet."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not 1 <= len(key) <= LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise invalid("header", HEADER, f"{HEADER} is 1 to {LONGEST_KEY} printable ASCII characters.")
    content = hashlib.blake2b(request.query_string.encode(errors="replace") + b"\n" + body, digest_size=32)
    return Claim(key, f"{who} {request.method} {request.path}", content.hexdigest())


async def begin(system: System, claim: Claim) -> web.Response | None:
    """Take the key; the kept answer when the request is already done. A Problem (409) when it cannot be taken."""
    now_ms = system.clock.now_ms()
    taken: Row = {
        "key": claim.key,
        "route": claim.route,
        "digest": claim.digest,
        "status": None,
        "body": None,
        "at_ms": now_ms,
    }

    def work(tx: Tx) -> Row | None:
        row = tx.take(Table.IDEMPOTENCY, key=claim.key, route=claim.route)
        if row is None:
            # Another node may have come first; then its row stands and ours was not added.
            return None if tx.add(Table.IDEMPOTENCY, taken) else dict(taken)
        if row["status"] is None and row["at_ms"] < now_ms - LONGEST_REQUEST_MS:
            tx.save(Table.IDEMPOTENCY, taken)
            return None
        return row

    row = await system.store.transact(work)
    if row is None:
        return None
    if row["digest"] != claim.digest:
        raise Problem(KEY_REUSED, f"{HEADER} {claim.key!r} belongs to another request; make a new key.")
    if row["status"] is None:
        raise Problem(KEY_IN_USE, "The first request is still running; ask again.", headers={"Retry-After": "1"})
    return kept(row)


def kept(row: Row) -> web.Response:
    """The first answer again."""
    headers = {"Idempotency-Replayed": "true", "Cache-Control": "no-store"}
    if row["body"] is None:
        return web.Response(status=row["status"], headers=headers)
    return web.Response(status=row["status"], text=row["body"], content_type="application/json", headers=headers)


async def finish(system: System, claim: Claim, status: int, body: str | None) -> None:
    """Keep the answer."""
    await system.store.transact(
        lambda tx: tx.change(Table.IDEMPOTENCY, {"status": status, "body": body}, key=claim.key, route=claim.route)
    )


async def release(system: System, claim: Claim) -> None:
    """Nothing was done: the key is free again."""
    await system.store.transact(lambda tx: tx.drop(Table.IDEMPOTENCY, key=claim.key, route=claim.route, status=None))
