"""Who is knocking: from an HTTP upgrade request to an `Attempt`, and what the application may say to it.

Pure. The rules are OCPP.md T1 and T2: the identity is the last path segment, the subprotocol is chosen in the
charger's order of preference. What is wrong with a request is said in one plain sentence.
"""

from __future__ import annotations

import base64
import binascii
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_to_bytes

from csms.edges.ocppj.codes import Version

LONGEST_IDENTITY: Final = 255
_QUERY_NAMES: Final = ("id", "identity", "chargepointid", "cp")
_MOST_MEMBERS: Final = 20  # of a query; nobody who only says who he is needs as many
LISTENER_PATH: Final = "ocpp"


class BadPath(ValueError):
    """The path names no charger; the text says why."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """HTTP Basic credentials. A 1.6 AuthorizationKey is hexadecimal: some send the text, some the bytes it means,
    so both readings are given (the second only where the text is hexadecimal)."""

    user: str
    password: bytes = field(repr=False)
    password_from_hex: bytes | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One knock on the door, before the upgrade. `query_identity` is what the query names, for chargers that are
    known to name themselves there; `identity` is the same when the path names none (`has_path_identity` False)."""

    identity: str
    query_identity: str | None = None
    has_path_identity: bool = True
    offered: tuple[str, ...]
    credentials: Credentials | None
    remote: str
    is_tls: bool = False
    is_relic: bool = False  # it came to the listener that takes outdated TLS
    peer_certificate: Mapping[str, Any] | None = None
    peer_certificate_der: bytes | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True)
class PingPolicy:
    """How we tell a living charger from a dead one. None switches a part off (some chargers hang up on a ping).

    `interval_s` of silence and we ping; `dead_after_s` without a single byte, pongs included, and the socket goes
    (45 and 100 s: OCPP.md 6.2, two missed pongs).
    """

    interval_s: float | None = 45.0
    dead_after_s: float | None = 100.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast this charger can follow. Our calls leave at least `between_calls_s` apart; an answer that could only
    leave `latest_answer_s` after its question is not sent (None: however late)."""

    between_calls_s: float = 0.0
    latest_answer_s: float | None = None


REFUSALS: Final = frozenset({401, 403, 404, 429, 503})


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The application's word on an attempt; made with `accept` or `refuse`.

    Accepting commits the application to nothing: the charger may be gone before the link opens (`on_open`).
    `epoch` orders rival links of one charger: a link with a lower one never replaces one with a higher.
    """

    status: int | None = None
    reason: str = ""
    versions: frozenset[Version] = frozenset(Version)
    default_version: Version = Version.V16
    ping: PingPolicy = PingPolicy()
    pace: Pace = Pace()
    epoch: int = 0
    context: Any = None
    identity: str | None = None
    peer_name: str | None = None

    @classmethod
    def accept(
        cls,
        context: Any = None,
        *,
        epoch: int = 0,
        versions: Iterable[Version] = frozenset(Version),
        default_version: Version = Version.V16,
        ping: PingPolicy | None = None,
        pace: Pace | None = None,
        identity: str | None = None,
        peer_name: str | None = None,
    ) -> Admission:
        """Let it in. `default_version` is spoken when the charger offers no subprotocol at all; `peer_name` is whom
        the certificate names that it was let in for, None when it was not let in for one; `identity` is who it is
        when that is not what its path says."""
        return cls(
            context=context,
            epoch=epoch,
            versions=frozenset(versions),
            default_version=default_version,
            ping=PingPolicy() if ping is None else ping,
            pace=Pace() if pace is None else pace,
            identity=identity,
            peer_name=peer_name,
        )

    @classmethod
    def refuse(cls, status: int, reason: str) -> Admission:
        """Turn it away with an HTTP status out of `REFUSALS` and one sentence for whoever reads the charger's log."""
        if status not in REFUSALS:
            raise ValueError(f"{status} is not a way to refuse a charger")
        return cls(status=status, reason=reason)


def read_identity(target: str) -> str:
    """The charger's identity out of a request target, percent-decoded once and in NFC. Raises `BadPath`.

    The query, doubled and trailing slashes do not matter; an encoded slash belongs to the identity.
    """
    path = target.partition("?")[0]
    segments = [segment for segment in path.split("/") if segment]
    # The listener's own path with nothing behind it; a charger that is really called so comes as /ocpp/ocpp.
    last = segments[-1] if segments and segments != [LISTENER_PATH] else ""
    try:
        # The library hands undecodable header bytes over as surrogates; a raw UTF-8 path is readable all the same.
        text = unquote_to_bytes(last.encode("utf-8", "surrogateescape")).decode("utf-8")
    except UnicodeError:
        raise BadPath("The charger's identity in the path is not UTF-8.") from None
    identity = unicodedata.normalize("NFC", text)
    if not identity:
        raise BadPath("The path names no charger; its last segment is the charger's identity.")
    if (problem := _problem_of(identity)) is not None:
        raise BadPath(f"The charger's identity in the path {problem}.")
    return identity


def read_query_identity(target: str) -> str | None:
    """The identity that the query of a request target names; None when there is none, or none that could be one."""
    query = target.partition("?")[2]
    pairs = parse_qsl(query) if query and query.count("&") < _MOST_MEMBERS else []
    given = {name.casefold(): value for name, value in reversed(pairs)}
    text = next((given[name] for name in _QUERY_NAMES if given.get(name)), "")
    identity = unicodedata.normalize("NFC", text)
    return identity if identity and _problem_of(identity) is None else None


def _problem_of(identity: str) -> str | None:
    if len(identity) > LONGEST_IDENTITY:
        return "is too long"
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in identity):
        return "has control characters"
    return None


def read_credentials(header: str | None, identity: str) -> Credentials | None:
    """HTTP Basic credentials, None when there are none or they cannot be read.

    The password is bytes: 1.6 keys need not be text. A colon in the user name is against RFC 7617 but not against
    OCPP, so a user part equal to the identity is taken whole.
    """
    if header is None:
        return None
    scheme, _, encoded = header.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    own = identity.encode() + b":"
    if pair.startswith(own):
        user, password = identity, pair[len(own) :]
    else:
        raw_user, colon, password = pair.partition(b":")
        if not colon:
            return None
        user = raw_user.decode("utf-8", "replace")
    return Credentials(user, password, _from_hex(password))


def _from_hex(password: bytes) -> bytes | None:
    if not password or not password.isalnum():
        return None
    try:
        return binascii.unhexlify(password)
    except binascii.Error:
        return None


def choose_version(offered: Iterable[str], ours: frozenset[Version]) -> tuple[Version, str] | None:
    """The first subprotocol of the charger that is ours, with its own spelling of it to send back (T2)."""
    known: dict[str, Version] = {version.value: version for version in ours}
    for name in offered:
        version = known.get(name.lower())
        if version is not None:
            return version, name
    return None


class Turnstile:
    """Lets a bounded number of handshakes through per second: after a power cut a whole feeder knocks at once.

    A token bucket on the caller's steady clock; one second's worth may come in one burst.
    """

    def __init__(self, per_s: float, *, burst: float | None = None) -> None:
        self._per_ms = per_s / 1000
        self._burst = max(1.0, per_s if burst is None else burst)
        self._tokens = self._burst
        self._at_ms: int | None = None

    def admits(self, now_ms: int) -> bool:
        """Whether one more may pass now."""
        if self._at_ms is not None:
            self._tokens = min(self._burst, self._tokens + (now_ms - self._at_ms) * self._per_ms)
        self._at_ms = now_ms
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def retry_after_s(chance: Callable[[], float], *, shortest_s: int = 5, longest_s: int = 30) -> int:
    """Seconds for a Retry-After header, spread so that those refused together do not come back together."""
    return shortest_s + int(chance() * (longest_s - shortest_s + 1))
