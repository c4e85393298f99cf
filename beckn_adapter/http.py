"""Where buyers knock: `POST /beckn/bpp/receiver/{action}`. Read, verify, check, store, acknowledge.

    bytes -> signature -> JSON -> context -> content (decoded once to see that it can be) -> inbox row, commit -> ACK

Nothing is worked on here: the answer comes from `dispatch`, after the ACK, as `on_*`. A message is refused (NACK) only
for what the sender can mend. A true repeat is acknowledged again; a reused message id with other content is a new
message, because the published start and stop share one (BECKN 1.6).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from aiohttp import web

from beckn_adapter import envelope, signing
from beckn_adapter.codecs import Codecs
from beckn_adapter.envelope import Context, Dialect
from beckn_adapter.errors import (
    INTERNAL,
    INVALID_REQUEST,
    SIGNATURE_INVALID,
    SIGNATURE_MISSING,
    UNAUTHORIZED,
    BecknError,
    error_of,
)
from beckn_adapter.registry import RegistryDown
from beckn_adapter.trust import Binding, Caller, Doorkeeper, homes_of
from csms.domain.refusal import Refusal, Why
from csms.ports import Bell, Clock, Store, StoreDown, Table, Tx

log = structlog.get_logger()

# Where buyers post, and where an adapter in front of us does (BECKN 1.1, 8.3).
BASES = ("/beckn/bpp/receiver", "/beckn/webhook")
MAX_DEPTH = 64
BODY_S = 10.0  # a body that is not there by then is a caller that only holds our memory
_HELD_BYTES = 64 * 1024 * 1024
_MAX_HOMES = 10_000
_STALE_GRACE_MS = 60_000
# What is about an order that must exist; saying no at once beats an error callback (BECKN 1.8).
NEEDS_ORDER = frozenset({"update", "cancel"})


class Receiver:
    """The receiver of one subscriber. `check(context, body)` decodes the message and gives the order id it names, if
    any; Refusal if it cannot be decoded."""

    def __init__(
        self,
        *,
        store: Store,
        bell: Bell,
        clock: Clock,
        doorkeeper: Doorkeeper,
        binding: Binding,
        subscriber_id: str,
        codecs: Codecs,
        check: Callable[[Context, Mapping[str, Any]], str | None],
        body_limit: int,
        requests_per_min: int,
        discover_per_min: int,
        reject_stale: bool,
        legacy_ack: bool | None,
        answers_to_gateway: bool,
        count: Callable[[str, str], None],
        took: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._bell = bell
        self._clock = clock
        self._doorkeeper = doorkeeper
        self._binding = binding
        self._subscriber_id = subscriber_id
        self._codecs = codecs
        self._check = check
        self._body_limit = body_limit
        searches = RateLimit(discover_per_min)
        self._limits = {"discover": searches, "search": searches, "": RateLimit(requests_per_min)}
        self._reject_stale = reject_stale
        self._legacy_ack = legacy_ack
        self._answers_to_gateway = answers_to_gateway
        self._count = count
        self._took = took
        self._held_bytes = 0  # of bodies that are being read or looked at
        self._max_held_bytes = max(_HELD_BYTES, 2 * body_limit)
        self._homes: dict[str, tuple[str, str, str]] = {}  # what stands in the table, so that it is written once

    def routes(self) -> list[web.RouteDef]:
        """The paths with the action and the bare ones; `discover` also as GET with a body (BECKN 1.1, 8.3)."""
        routes = []
        for base in BASES:
            routes += [
                web.post(base, self.receive),
                web.post(base + "/", self.receive),
                web.post(base + "/{action:.+}", self.receive),
                web.get(base + "/discover", self.receive),
            ]
        return routes

    async def receive(self, request: web.Request) -> web.Response:
        """One message in, one acknowledgement out; never a stack trace. `took` hears the seconds."""
        started_s = time.perf_counter()
        try:
            return await self._receive(request)
        except StoreDown:
            error = BecknError(INTERNAL, "the message could not be stored; send it again")
            return self._nack(503, None, error)
        except web.RequestPayloadError:
            return self._nack(400, None, BecknError(INVALID_REQUEST, "the body cannot be read"))
        except Exception:
            log.exception("beckn.receive_failed", path=request.path)
            return self._nack(500, None, BecknError(INTERNAL, "this is our fault; send the message again"))
        finally:
            self._took(time.perf_counter() - started_s)

    async def _receive(self, request: web.Request) -> web.Response:
        held = _Held(self)
        try:
            raw = await self._read(request, held)
            return await self._look_at(request, raw)
        except _TooSlow:
            answer = self._nack(408, None, BecknError(INVALID_REQUEST, "the body did not come in time"))
            answer.force_close()
            return answer
        except _TooLarge:
            error = BecknError(INVALID_REQUEST, f"the body is larger than {self._body_limit // 1024} KiB")
            return self._nack(413, None, error)
        except _Full:
            return self._later(None, "too many messages at once; send it again in a moment")
        finally:
            held.release()

    async def _read(self, request: web.Request, held: _Held) -> bytes:
        """The body. What all callers together hold in memory is bounded, proven or not."""
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_S):
                async for chunk in request.content.iter_any():
                    size += len(chunk)
                    if size > self._body_limit:
                        raise _TooLarge
                    held.take(len(chunk))
                    parts.append(chunk)
        except TimeoutError:
            raise _TooSlow from None
        return b"".join(parts)

    async def _look_at(self, request: web.Request, raw: bytes) -> web.Response:
        now_ms = self._clock.now_ms()
        try:
            caller = await self._doorkeeper.identify(request.headers, raw, now_ms)
        except signing.SignatureProblem as problem:
            self._count("unknown", "unsigned")
            return self._unauthorized(_loads(raw), problem)
        except RegistryDown as down:
            self._count("unknown", "unverified")
            return self._later(_loads(raw), f"{down}, so your signature cannot be checked; send it again in a moment")
        parsed = _loads(raw)
        if not isinstance(parsed, dict):
            return self._nack(400, parsed, BecknError(INVALID_REQUEST, "the body is not a JSON object"))
        if _depth_exceeds(parsed, MAX_DEPTH):
            error = BecknError(INVALID_REQUEST, f"the body is nested deeper than {MAX_DEPTH}")
            return self._nack(400, parsed, error)
        if _has_half_character(raw, parsed):
            error = BecknError(INVALID_REQUEST, "the body has half of a character: a lone \\ud800 to \\udfff")
            return self._nack(400, parsed, error)
        action = "unknown"
        try:
            context = envelope.parse_context(parsed)
            action = context.action
            self._admit(context, request.match_info.get("action"), caller, now_ms)
            order_id = self._check(context, parsed)
        except signing.SignatureProblem as problem:
            self._count(action, "unsigned")
            return self._unauthorized(parsed, problem)
        except Refusal as refusal:
            self._count(action if action in self._codecs.actions else "unknown", "refused")
            status = 429 if refusal.why is Why.TOO_MANY_REQUESTS else 400
            return self._nack(status, parsed, error_of(refusal, action))
        known = await self._store_message(context, caller, order_id, raw, now_ms)
        if not known:
            self._count(action, "refused")
            unknown = Refusal(Why.UNKNOWN_ORDER, "no such order")
            return self._nack(400, parsed, error_of(unknown, action))
        self._count(action, "accepted")
        self._bell.ring("inbox")
        return self._ack(context, parsed, now_ms)

    def _admit(self, context: Context, path_action: str | None, caller: Caller, now_ms: int) -> None:
        self._binding.check(context, caller)
        if context.action not in self._codecs.of_context(context).actions:
            raise Refusal(Why.NOT_SUPPORTED, f"the action {context.action} is not offered here")
        if path_action is not None:
            envelope.check_action(context, path_action.rstrip("/").rsplit("/", 1)[-1])
        envelope.check_addressee(context, self._subscriber_id)
        if self._reject_stale and now_ms > context.expiry_ms(now_ms) + _STALE_GRACE_MS:
            raise Refusal(Why.INVALID_REQUEST, "the message is older than its ttl; send it with a new timestamp")
        for limit in (self._limits.get(context.action), self._limits[""]):
            if limit is not None and not limit.allows(context.bap_id, now_ms):
                raise Refusal(Why.TOO_MANY_REQUESTS, "too many requests; wait a minute")

    async def _store_message(
        self, context: Context, caller: Caller, order_id: str | None, raw: bytes, now_ms: int
    ) -> bool:
        """Store it once. False when it is about an order we do not have."""
        key, network = envelope.key_of(context), self._codecs.of_context(context).network
        digest = envelope.body_digest(raw)
        headers: dict[str, str] = {}
        if self._answers_to_gateway and caller.gateway is not None and caller.gateway.url is not None:
            headers["answer_uri"] = caller.gateway.url
        homes = [home for home in homes_of(caller) if self._homes.get(home[0]) != home]

        def work(tx: Tx) -> bool:
            order = tx.one(Table.ORDERS, id=order_id, bap_id=key.bap_id) if order_id is not None else None
            order = order or tx.one(Table.ORDERS, bap_id=key.bap_id, transaction_id=key.transaction_id)
            if context.action in NEEDS_ORDER and order is None:
                return False
            for subscriber_id, kind, url in homes:
                row = {"subscriber_id": subscriber_id, "kind": kind, "url": url, "seen_ms": now_ms}
                tx.save(Table.HOMES, row)
            row = {**key._asdict(), "digest": digest}
            if not tx.add(
                Table.INBOX,
                {
                    **row,
                    "network": network,
                    "body": raw,
                    "headers": json.dumps(headers),
                    "received_ms": now_ms,
                    "state": "new",
                },
            ):
                # A true repeat: acknowledged again, not worked again; the answer it got is sent once more.
                before = tx.one(Table.INBOX, **row)
                again = {"state": "waiting", "next_ms": now_ms}
                if before is not None and before["outbox_no"] is not None:
                    tx.change(Table.OUTBOX, again, no=before["outbox_no"], state="done")
                elif before is not None and order is not None:  # a start or stop, answered when the charger did it
                    tx.change(Table.OUTBOX, again, order_id=order["id"], message_id=key.message_id, state="done")
            return True

        known = await self._store.transact(work)
        if known:
            if len(self._homes) > _MAX_HOMES:
                self._homes.clear()
            self._homes.update((home[0], home) for home in homes)
        self._bell.ring("outbox")
        return known

    # -- answers

    def _shape_is_legacy(self, parsed: object) -> bool:
        return self._legacy_ack if self._legacy_ack is not None else _is_generation_1(parsed)

    def _ack(self, context: Context, parsed: object, now_ms: int) -> web.Response:
        if self._shape_is_legacy(parsed):
            return web.json_response(envelope.ack_legacy())
        return web.json_response(envelope.ack_v2(context.transaction_id, now_ms))

    def _nack(self, status: int, parsed: object, error: BecknError) -> web.Response:
        if self._shape_is_legacy(parsed):
            return web.json_response(envelope.nack_legacy(error), status=status)
        body = envelope.nack_v2(envelope.transaction_id_of(parsed), self._clock.now_ms(), error)
        return web.json_response(body, status=status)

    def _later(self, parsed: object, sentence: str) -> web.Response:
        answer = self._nack(503, parsed, BecknError(INTERNAL, sentence))
        answer.headers["Retry-After"] = "5"
        return answer

    def _unauthorized(self, parsed: object, problem: signing.SignatureProblem) -> web.Response:
        missing = problem.kind is signing.ProblemKind.MISSING
        code = SIGNATURE_MISSING if missing else SIGNATURE_INVALID
        if self._shape_is_legacy(parsed):
            code = UNAUTHORIZED
        answer = self._nack(401, parsed, BecknError(code, problem.sentence))
        challenge = signing.proxy_authenticate if problem.is_gateway else signing.www_authenticate
        name, value = challenge(self._subscriber_id)
        answer.headers[name] = value
        return answer


class _TooLarge(Exception):
    """The body is larger than one may be."""


class _TooSlow(Exception):
    """The body was not there in time."""


class _Full(Exception):
    """All bodies together are larger than they may be."""


class _Held:
    """The bytes one request holds, counted among those of all."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._bytes = 0

    def take(self, count: int) -> None:
        """Hold `count` more; _Full when that is too much."""
        if self._receiver._held_bytes + count > self._receiver._max_held_bytes:
            raise _Full
        self._receiver._held_bytes += count
        self._bytes += count

    def release(self) -> None:
        """Hold nothing."""
        self._receiver._held_bytes -= self._bytes
        self._bytes = 0


class RateLimit:
    """So many per minute per caller, counted over a sliding window."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._seen: dict[str, deque[int]] = {}

    def allows(self, caller: str, now_ms: int) -> bool:
        """Count one more of `caller`; False when it is one too many."""
        if len(self._seen) > 10_000:  # callers are signed and few; unsigned ones never come this far
            self._seen.clear()
        seen = self._seen.setdefault(caller, deque())
        while seen and seen[0] <= now_ms - 60_000:
            seen.popleft()
        if len(seen) >= self._per_minute:
            return False
        seen.append(now_ms)
        return True


def _loads(raw: bytes) -> object:
    """JSON in UTF-8 and nothing else: `json.loads` of bytes lets half of a character pass, which cannot be stored."""
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _is_generation_1(parsed: object) -> bool:
    """Whether the sender says so itself; what says nothing is answered in the V2 shape (BECKN 1.3)."""
    if not isinstance(parsed, dict) or not isinstance(parsed.get("context"), dict):
        return False
    version = parsed["context"].get("version")
    return isinstance(version, str) and version.startswith("1.") and envelope.detect_dialect(parsed) is Dialect.V1


def _has_half_character(raw: bytes, parsed: object) -> bool:
    r"""A lone surrogate (`"\ud800"`) is legal JSON and no text: it can be neither stored nor repeated."""
    if b"\\ud" not in raw and b"\\uD" not in raw:
        return False
    try:
        json.dumps(parsed, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _depth_exceeds(value: object, limit: int) -> bool:
    """Whether containers nest deeper than `limit`; walks without recursion."""
    level: list[object] = [value]
    for _ in range(limit):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True
