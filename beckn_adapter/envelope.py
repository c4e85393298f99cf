"""What every Beckn message has around its content: context, acknowledgement, time, identity.

Reading is tolerant (BECKN 1.4, 1.5), writing exact. Nothing here knows a dialect's `message`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from beckn_adapter.errors import BecknError
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339, to_ms

TTL: Final = "PT30S"
DEFAULT_TTL_MS: Final = 30_000
IST: Final = timezone(timedelta(hours=5, minutes=30))  # Asia/Kolkata has no other offset
MAX_ID_CHARS: Final = 256
MAX_URI_CHARS: Final = 2048
MAX_NETWORKS: Final = 16
END_OF_TIME_MS: Final = 253_402_300_800_000  # the year 10000, which no RFC 3339 text can name
# The first message of a conversation names no provider, or names the catalogue service.
UNADDRESSED: Final = frozenset({"discover", "search"})


class Dialect(StrEnum):
    """Which generation of Beckn a message is written in (BECKN 0)."""

    V1 = "v1"
    V2 = "v2"
    V2_LTS = "v2-lts"  # recognised in order to be refused with a reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The parsed `context`. `at_ms` None: the sender gave no readable timestamp, which is tolerated."""

    dialect: Dialect
    domain: str
    action: str
    version: str
    bap_id: str
    bap_uri: str
    transaction_id: str
    message_id: str
    bpp_id: str | None = None
    bpp_uri: str | None = None
    at_ms: int | None = None
    ttl_ms: int = DEFAULT_TTL_MS
    expires_at_ms: int | None = None  # only when the sender gave the ttl as a point in time
    location: Mapping[str, object] | None = None
    network_id: tuple[str, ...] = ()

    def expiry_ms(self, received_ms: int) -> int:
        """When the asker stops waiting, UTC ms."""
        if self.expires_at_ms is not None:
            return self.expires_at_ms
        return (self.at_ms if self.at_ms is not None else received_ms) + self.ttl_ms


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A provider's identity on the network: what stands in `bpp_id` and `bpp_uri`."""

    subscriber_id: str
    uri: str


# --- reading ------------------------------------------------------------------------------------------------


def detect_dialect(body: Mapping[str, object]) -> Dialect:
    """BECKN 0. `context.version` cannot tell V2 from its long-term-support namesake, member names can."""
    context, message = _mapping(body.get("context")), _mapping(body.get("message"))
    version = context.get("version")
    is_v2 = (isinstance(version, str) and version.startswith("2.")) or context.get("action") == "discover"
    if any(name in context for name in ("bapId", "transactionId", "networkId")):
        return Dialect.V2_LTS
    if is_v2:
        return Dialect.V2_LTS if "contract" in message or "intent" in message else Dialect.V2
    return Dialect.V1


def parse_context(body: Mapping[str, object]) -> Context:
    """The context of a request. Refusal(INVALID_REQUEST) names the member that is missing or wrong."""
    dialect = detect_dialect(body)
    if dialect is Dialect.V2_LTS:
        raise _invalid("unsupported protocol profile: the context must be in snake_case")
    context = body.get("context")
    if not isinstance(context, Mapping):
        raise _invalid("context is missing")
    ttl_ms, expires_at_ms = parse_ttl(context.get("ttl"))
    timestamp = context.get("timestamp")
    location = context.get("location")
    return Context(
        dialect=dialect,
        domain=_required(context, "domain"),
        action=_required(context, "action"),
        version=_optional(context, "version") or ("2.0.0" if dialect is Dialect.V2 else "1.1.0"),
        bap_id=_required(context, "bap_id"),
        bap_uri=_uri(_required(context, "bap_uri"), "context.bap_uri"),
        transaction_id=_required(context, "transaction_id"),
        message_id=_required(context, "message_id"),
        bpp_id=_optional(context, "bpp_id"),
        bpp_uri=_optional(context, "bpp_uri"),
        at_ms=parse_instant(timestamp) if isinstance(timestamp, str) else None,
        ttl_ms=ttl_ms,
        expires_at_ms=expires_at_ms,
        location=_place(location),
        network_id=_network_id(context.get("network_id")) if dialect is Dialect.V2 else (),
    )


def check_addressee(context: Context, subscriber_id: str) -> None:
    """Refusal(INVALID_REQUEST) when the message is meant for another provider (BECKN 1.4)."""
    if context.action in UNADDRESSED or context.bpp_id == subscriber_id:
        return
    raise _invalid(f"context.bpp_id is not {subscriber_id}")


def check_action(context: Context, last_path_segment: str) -> None:
    """Refusal(INVALID_REQUEST) when the address and the context name different actions (BECKN 1.1)."""
    expected = "on_catalog_publish" if last_path_segment == "on_publish" else last_path_segment
    if context.action != expected:
        raise _invalid(f"context.action is {context.action} but the address says {last_path_segment}")


def callback_url(bap_uri: str, action: str) -> str:
    """Where `on_…` is posted: one trailing slash of the buyer's URI is dropped."""
    return f"{bap_uri.removesuffix('/')}/{action}"


# --- writing ------------------------------------------------------------------------------------------------


def reply_context(
    request: Context, bpp: Endpoint, now_ms: int, *, message_id: str | None = None, action: str | None = None
) -> dict[str, object]:
    """The context of a callback: domain, version and conversation echoed, everything unknown left out.

    A solicited answer keeps the request's message id; our own news carries a fresh `message_id` (BECKN 1.2).
    """
    return news_context(
        domain=request.domain,
        version=request.version,
        bap_id=request.bap_id,
        bap_uri=request.bap_uri,
        transaction_id=request.transaction_id,
        bpp=bpp,
        action=action if action is not None else f"on_{request.action}",
        message_id=message_id if message_id is not None else request.message_id,
        now_ms=now_ms,
        wire=wire_of_context(request),
    )


def news_context(
    *,
    domain: str,
    version: str,
    bap_id: str,
    bap_uri: str,
    transaction_id: str,
    bpp: Endpoint,
    action: str,
    message_id: str,
    now_ms: int,
    wire: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """The context of a message nobody asked for. `wire` is what `wire_of_context` kept of the order's requests."""
    context: dict[str, object] = {
        "version": version,
        "action": action,
        "domain": domain,
        "bap_id": bap_id,
        "bap_uri": bap_uri,
        "bpp_id": bpp.subscriber_id,
        "bpp_uri": bpp.uri,
        "transaction_id": transaction_id,
        "message_id": message_id,
        "timestamp": rfc3339(now_ms),
        "ttl": TTL,
    }
    return {**context, **(wire or {})}


def wire_of_context(context: Context) -> dict[str, object]:
    """The optional members of a context that every later message of the conversation repeats."""
    kept: dict[str, object] = {}
    if context.location is not None:
        kept["location"] = dict(context.location)
    if context.network_id:
        kept["network_id"] = list(context.network_id)
    return kept


def serialise(body: Mapping[str, object]) -> bytes:
    """The bytes to sign and to send; they are made once (BECKN 2.1)."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def ack_legacy() -> dict[str, object]:
    """Shape A: V1, and every message that came through an adapter in front of us."""
    return {"message": {"ack": {"status": "ACK"}}}


def ack_v2(transaction_id: str, now_ms: int) -> dict[str, object]:
    """Shape C: direct V2. Nothing else is allowed in it."""
    return {"transaction_id": transaction_id, "timestamp": rfc3339(now_ms), "ack_status": "ACK"}


def nack_legacy(error: BecknError) -> dict[str, object]:
    """Shape A, refusing: core 1.1.1 puts the error beside `message`."""
    return {"message": {"ack": {"status": "NACK"}}, "error": error.v1()}


def nack_v2(transaction_id: str, now_ms: int, error: BecknError) -> dict[str, object]:
    """Shape C, refusing."""
    return {
        "transaction_id": transaction_id,
        "timestamp": rfc3339(now_ms),
        "ack_status": "NACK",
        "error": error.v2(),
    }


def transaction_id_of(body: object) -> str:
    """The transaction id to put into a NACK of a message too broken to parse; "unknown" when it has none."""
    context = _mapping(_mapping(body).get("context"))
    for name in ("transaction_id", "transactionId"):
        found = context.get(name)
        if isinstance(found, str) and 0 < len(found) <= MAX_ID_CHARS:
            return found
    return "unknown"


# --- what a peer answered -----------------------------------------------------------------------------------


class Outcome(StrEnum):
    """What to do after posting to a peer: nothing, give up and record, or try again later."""

    ACK = "ack"
    NACK = "nack"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """A peer's synchronous answer, whichever of the five shapes it used (BECKN 1.3). `status`: None without one."""

    outcome: Outcome
    error: BecknError | None = None
    warning: str | None = None
    status: int | None = None


_COME_AGAIN = frozenset({408, 425, 429})  # these statuses ask for a repeat, unlike the rest of their kind


def read_answer(http_status: int, body: bytes) -> PeerAnswer:
    """Read a peer's answer to a callback. A 5xx or "too many" is worth repeating; anything else refusing is final."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    answer = _mapping(parsed)
    error = read_error(answer)
    if http_status >= 500 or http_status in _COME_AGAIN:
        return PeerAnswer(Outcome.RETRY, error, status=http_status)
    if not 200 <= http_status < 300:
        return PeerAnswer(Outcome.NACK, error, status=http_status)
    message = _mapping(answer.get("message"))
    said = [
        _mapping(message.get("ack")).get("status"),
        message.get("status"),
        answer.get("ack_status"),
        answer.get("status"),
    ]
    words = {word.upper() for word in said if isinstance(word, str)}
    if "NACK" in words:
        return PeerAnswer(Outcome.NACK, error, status=http_status)
    if "ACK" in words:
        return PeerAnswer(Outcome.ACK, status=http_status)
    warning = "a success status without an acknowledgement in the body"
    return PeerAnswer(Outcome.ACK, error, warning=warning, status=http_status)


def read_error(body: Mapping[str, object]) -> BecknError | None:
    """The `error` of a body, at the top or inside `message`. An empty one means there is none."""
    for holder in (body, _mapping(body.get("message"))):
        error = _mapping(holder.get("error"))
        if error:
            code, text = error.get("code"), error.get("message")
            known = code if isinstance(code, str | int) else ""
            return BecknError(str(known), text if isinstance(text, str) else "")
    return None


# --- identity of a message ----------------------------------------------------------------------------------


class MessageKey(NamedTuple):
    """What makes two requests the same message, together with equal body digests (BECKN 1.6)."""

    bap_id: str
    transaction_id: str
    message_id: str
    action: str


def key_of(context: Context) -> MessageKey:
    """The key under which a request is remembered."""
    return MessageKey(context.bap_id, context.transaction_id, context.message_id, context.action)


def body_digest(body: bytes) -> str:
    """Tells a true repeat from a new request under a reused message id: buyers start and stop with one id."""
    return hashlib.blake2b(body, digest_size=32).hexdigest()


# --- time ---------------------------------------------------------------------------------------------------


def parse_ttl(value: object) -> tuple[int, int | None]:
    """`(duration_ms, absolute_expiry_ms)` of a ttl. What cannot be read counts as the default of 30 s."""
    if not isinstance(value, str) or len(value) > 64:
        return DEFAULT_TTL_MS, None
    duration_ms = parse_duration(value)
    if duration_ms is not None:
        return duration_ms, None
    return DEFAULT_TTL_MS, parse_instant(value)


def parse_duration(text: str) -> int | None:
    """ISO 8601 `P[nD]T[nH][nM][nS]` -> ms; a bare `15S` or `10M` is read as if `PT` stood before it."""
    text = text.strip().upper()
    if not text.startswith("P"):
        text = "PT" + text
    days, has_time, clock = text[1:].partition("T")
    total = _units(days, (("D", 86_400_000),))
    if total is None or (has_time and not clock) or not (days or clock):
        return None
    rest = _units(clock, (("H", 3_600_000), ("M", 60_000), ("S", 1000)))
    return None if rest is None else total + rest


def parse_instant(text: str, zone: tzinfo = IST) -> int | None:
    """A point in time since 1970 -> UTC ms, or None. Without an offset it is civil time in `zone`.

    Takes RFC 3339 and the `YYYY:MM:DD:HH:MM:SS` of older guides.
    """
    text = text.strip()
    if len(text) > 64:
        return None
    parts = text.split(":")
    if len(parts) == 6:
        text = "-".join(parts[:3]) + "T" + ":".join(parts[3:])
    try:
        at = datetime.fromisoformat(text)
        at_ms = to_ms(at if at.tzinfo is not None else at.replace(tzinfo=zone))
    except (ValueError, OverflowError):
        return None
    return at_ms if 0 <= at_ms < END_OF_TIME_MS else None


def parse_clock(text: str, now_ms: int, zone: tzinfo = IST) -> int | None:
    """`HH:MM:SS` with or without an offset -> UTC ms on the civil day of `now_ms`, or None."""
    try:
        clock = time.fromisoformat(text.strip())
        clock_zone = clock.tzinfo or zone
        day: date = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(clock_zone).date()
        return to_ms(datetime.combine(day, clock.replace(tzinfo=clock_zone)))
    except (ValueError, OverflowError):
        return None


def _units(text: str, units: tuple[tuple[str, int], ...]) -> int | None:
    total = 0
    for letter, size_ms in units:
        number, found, rest = text.partition(letter)
        if not found:
            continue
        whole, _, part = number.partition(".")
        if not _is_digits(whole) or (part and not _is_digits(part)):
            return None
        total += int(whole) * size_ms + (int(part[:6]) * size_ms // 10 ** len(part[:6]) if part else 0)
        text = rest
    return None if text else total


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


# --- members ------------------------------------------------------------------------------------------------


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _invalid(sentence: str) -> Refusal:
    return Refusal(Why.INVALID_REQUEST, sentence)


def _network_id(value: object) -> tuple[str, ...]:
    """Known to generation 2 only; every later message repeats it, so it is short."""
    named = value[:MAX_NETWORKS] if isinstance(value, list) else ()
    return tuple(entry for entry in named if isinstance(entry, str) and len(entry) <= MAX_ID_CHARS)


def _place(value: object) -> dict[str, object] | None:
    """Country, city and state of a `location`, as far as they can be repeated under the network's schema."""
    kept: dict[str, object] = {}
    for name in ("country", "city", "state"):
        part = _mapping(_mapping(value).get(name))
        texts = {key: text[:MAX_ID_CHARS] for key in ("name", "code") if isinstance(text := part.get(key), str)}
        if texts:
            kept[name] = texts
    return kept or None


def _required(context: Mapping[str, object], name: str) -> str:
    value = _optional(context, name)
    if value is None:
        raise _invalid(f"context.{name} is missing")
    return value


def _optional(context: Mapping[str, object], name: str) -> str | None:
    value = context.get(name)
    if value is None:
        return None
    limit = MAX_URI_CHARS if name.endswith("_uri") else MAX_ID_CHARS
    if not isinstance(value, str) or not value.strip() or len(value) > limit or not value.isprintable():
        raise _invalid(f"context.{name} is not a usable text")
    return value


def _uri(value: str, where: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise _invalid(f"{where} is not an http(s) address")
    return value
