"""Who asks: API keys as `Authorization: Bearer KEY`.

Keys are random (at least 128 bits), so a fast digest is as good as a slow one, and a lookup by digest gives nothing
away about other keys. Scopes: `read` sees, `write` also acts, `admin` also makes keys.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Final, Literal

from aiohttp import web

from csms.api.problems import FORBIDDEN, UNAUTHENTICATED, Problem
from csms.api.system import System
from csms.ports import Table

Scope = Literal["open", "read", "write", "admin"]
_GRANTS: Final[dict[str, frozenset[str]]] = {
    "read": frozenset({"read"}),
    "write": frozenset({"read", "write"}),
    "admin": frozenset({"read", "write", "admin"}),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, by the name that goes into the journal, and what they may."""

    name: str
    scopes: frozenset[str]


ANYONE: Final = Principal("anyone", frozenset())
# Whoever authenticates people in another way (the console) puts the principal here before the route runs.
PRINCIPAL: Final = web.RequestKey("principal", Principal)


def digest(key: str) -> str:
    """How a key is stored."""
    return hashlib.blake2b(key.encode(errors="surrogateescape"), digest_size=32).hexdigest()


async def principal_of(system: System, request: web.Request, scope: Scope) -> Principal:
    """Who asks, when they may. A Problem (401, 403) otherwise."""
    if scope == "open":
        return ANYONE
    who = request.get(PRINCIPAL) or await _by_key(system, request)
    if who is None:
        raise Problem(
            UNAUTHENTICATED,
            "Send a valid API key as `Authorization: Bearer KEY`.",
            headers={"WWW-Authenticate": 'Bearer realm="operator"'},
        )
    if scope not in who.scopes:
        raise Problem(FORBIDDEN, f"This API key may not do that: it lacks the scope {scope!r}.")
    return who


async def _by_key(system: System, request: web.Request) -> Principal | None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        return None
    given = digest(key)
    if hmac.compare_digest(given, digest(system.bootstrap_key)):
        return Principal("bootstrap", _GRANTS["admin"])
    row = await system.store.read(lambda tx: tx.one(Table.API_KEYS, digest=given))
    if row is None or row["revoked_ms"] is not None:
        return None
    scopes: frozenset[str] = frozenset().union(*(_GRANTS.get(name, ()) for name in json.loads(row["scopes"])))
    return Principal(f"key:{row['id']}", scopes)
