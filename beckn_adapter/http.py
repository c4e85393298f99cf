"""Where buyers knock: `POST /beckn/bpp/receiver/{action}`. Read, verify, check, store, acknowledge.

    bytes -> signature -> JSON -> context -> content (decoded once to see that it can be) -> inbox row, commit -> ACK

Nothing is worked on here: the answer comes from `dispatch`, after the ACK, as `on_*`. A message is refused (NACK) only
for what the sender can mend. A true repeat is acknowledged again; a reused message id with other content is a new
message, because the published start and stop share one (BECKN 1.6).
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

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
from beckn_adapter.registry import Registry
from csms.domain.refusal import Refusal, Why
from csms.ports import Bell, Clock, Store, StoreDown, Table, Tx

log = structlog.get_logger()

MAX_DEPTH = 64
_STALE_GRACE_MS = 60_000
# What is about an order that must exist; saying no at once beats an error callback (BECKN 1.8).
NEEDS_ORDER = frozenset({"update", "cancel"})


def _check_callback_host(bap_uri: str, home: str | None) -> None:
    """A signed message must not make us call into our own network: a private host only where the registry lists it.

    Raises Refusal. `home` is the sender's URL in the registry; where it lists none there is nothing to compare.
    """
    host, listed = urlsplit(bap_uri).hostname or "", urlsplit(home).hostname if home else None
    if listed is None or host == listed:
        return
    try:
        is_private = not ipaddress.ip_address(host).is_global
    except ValueError:
        is_private = host == "localhost" or host.endswith((".localhost", ".local", ".internal")) or "." not in host
    if is_private:
        raise Refusal(
            Why.INVALID_REQUEST, f"context.bapUri names {host}, a private host, but the registry lists you at {listed}"
        )


class Receiver:
    """The receiver of one subscriber. `check(context, body)` decodes the message and gives the order id it names, if
    any; Refusal if it cannot be decoded."""

    def __init__(
        self,
        *,
        store: Store,
        bell: Bell,
        clock: Clock,
        registry: Registry | None,
        subscriber_id: str,
        codecs: Codecs,
        check: Callable[[Context, Mapping[str, Any]], str | None],
        clock_ahead_s: int,
        clock_behind_s: int,
        body_limit: int,
        requests_per_min: int,
        discover_per_min: int,
        reject_stale: bool,
        private_callbacks: bool,
        legacy_ack: bool | None,
        count: Callable[[str, str], None],
        took: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._bell = bell
        self._clock = clock
        self._registry = registry
        self._subscriber_id = subscriber_id
        self._codecs = codecs
        self._check = check
        self._clock_ahead_s = clock_ahead_s
        self._clock_behind_s = clock_behind_s
        self._body_limit = body_limit
        self._limits = {"discover": RateLimit(discover_per_min), "": RateLimit(requests_per_min)}
        self._reject_stale = reject_stale
        self._private_callbacks = private_callbacks
        self._legacy_ack = legacy_ack
        self._count = count
        self._took = took

    def routes(self) -> list[web.RouteDef]:
        """Both the path with the action and the bare one; `discover` also as GET with a body (BECKN 1.1)."""
        base = "/beckn/bpp/receiver"
        return [
            web.post(base, self.receive),
            web.post(base + "/{action:.+}", self.receive),
            web.get(base + "/discover", self.receive),
        ]

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
        now_ms = self._clock.now_ms()
        raw = await request.content.read(self._body_limit + 1)
        while not request.content.at_eof() and len(raw) <= self._body_limit:
            raw += await request.content.read(self._body_limit + 1 - len(raw))
        if len(raw) > self._body_limit:
            error = BecknError(INVALID_REQUEST, f"the body is larger than {self._body_limit // 1024} KiB")
            return self._nack(413, None, error)
        signer: signing.Signer | None = None
        home: str | None = None
        if self._registry is not None:
            try:
                signer, home = await self._verify(request.headers.get("Authorization"), raw, now_ms)
            except signing.SignatureProblem as problem:
                self._count("unknown", "unsigned")
                return self._unauthorized(_loads(raw), problem)
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
            self._admit(context, request.match_info.get("action"), signer, now_ms)
            if not self._private_callbacks:
                _check_callback_host(context.bap_uri, home)
            order_id = self._check(context, parsed)
        except signing.SignatureProblem as problem:
            self._count(action, "unsigned")
            return self._unauthorized(parsed, problem)
        except Refusal as refusal:
            self._count(action if action in self._codecs.actions else "unknown", "refused")
            status = 429 if refusal.why is Why.TOO_MANY_REQUESTS else 400
            return self._nack(status, parsed, error_of(refusal, action))
        known = await self._store_message(context, order_id, raw, now_ms)
        if not known:
            self._count(action, "refused")
            unknown = Refusal(Why.UNKNOWN_ORDER, "no such order")
            return self._nack(400, parsed, error_of(unknown, action))
        self._count(action, "accepted")
        self._bell.ring("inbox")
        return self._ack(context, parsed, now_ms)

    async def _verify(self, header: str | None, raw: bytes, now_ms: int) -> tuple[signing.Signer, str | None]:
        """Who signed, and the URL under which the registry lists them."""
        assert self._registry is not None
        authorization = signing.parse_authorization(header)
        subscriber = await self._registry.lookup(authorization.subscriber_id, authorization.key_id, now_ms)
        if subscriber is None:
            raise signing.SignatureProblem(
                signing.ProblemKind.UNKNOWN_SIGNER,
                f"{authorization.subscriber_id}|{authorization.key_id} is not in the registry",
            )
        signer = signing.verify(
            authorization,
            raw,
            subscriber.signing_public_key,
            now_ms // 1000,
            created_skew_s=self._clock_ahead_s,
            expires_skew_s=self._clock_behind_s,
        )
        return signer, subscriber.url

    def _admit(self, context: Context, path_action: str | None, signer: signing.Signer | None, now_ms: int) -> None:
        if context.action not in self._codecs.of_context(context).actions:
            raise Refusal(Why.NOT_SUPPORTED, f"the action {context.action} is not offered here")
        if path_action is not None:
            envelope.check_action(context, path_action.rstrip("/").rsplit("/", 1)[-1])
        envelope.check_addressee(context, self._subscriber_id)
        if signer is not None and signer.subscriber_id != context.bap_id:
            raise signing.SignatureProblem(
                signing.ProblemKind.WRONG_SIGNER, f"{signer.subscriber_id} signed a message of {context.bap_id}"
            )
        if self._reject_stale and now_ms > context.expiry_ms(now_ms) + _STALE_GRACE_MS:
            raise Refusal(Why.INVALID_REQUEST, "the message is older than its ttl; send it with a new timestamp")
        for limit in (self._limits.get(context.action), self._limits[""]):
            if limit is not None and not limit.allows(context.bap_id, now_ms):
                raise Refusal(Why.TOO_MANY_REQUESTS, "too many requests; wait a minute")

    async def _store_message(self, context: Context, order_id: str | None, raw: bytes, now_ms: int) -> bool:
        """Store it once. False when it is about an order we do not have."""
        key, network = envelope.key_of(context), self._codecs.of_context(context).network
        digest = envelope.body_digest(raw)

        def work(tx: Tx) -> bool:
            order = tx.one(Table.ORDERS, id=order_id, bap_id=key.bap_id) if order_id is not None else None
            order = order or tx.one(Table.ORDERS, bap_id=key.bap_id, transaction_id=key.transaction_id)
            if context.action in NEEDS_ORDER and order is None:
                return False
            row = {**key._asdict(), "digest": digest}
            if not tx.add(
                Table.INBOX,
                {**row, "network": network, "body": raw, "received_ms": now_ms, "state": "new"},
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

    def _unauthorized(self, parsed: object, problem: signing.SignatureProblem) -> web.Response:
        missing = problem.kind is signing.ProblemKind.MISSING
        code = SIGNATURE_MISSING if missing else SIGNATURE_INVALID
        if self._shape_is_legacy(parsed):
            code = UNAUTHORIZED
        answer = self._nack(401, parsed, BecknError(code, problem.sentence))
        name, value = signing.www_authenticate(self._subscriber_id)
        answer.headers[name] = value
        return answer


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
    try:
        return json.loads(raw)
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
