"""Whom we believe: who sent a message, as far as it is proven (BECKN 2.2, 8.3, 8.4).

    direct            Authorization signed by the buyer app; a gateway in between signs X-Gateway-Authorization as well
    onix              a shared secret in a header, the forwarded Authorization verified again, or both
    protocol_server   authorization: HMAC-SHA-256 over the body with a shared key

`identify` looks at headers and bytes only; `bind` then compares with what the message says of itself.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from beckn_adapter import signing
from beckn_adapter.envelope import Context
from beckn_adapter.outbound import Outbound, host_of, is_private_host
from beckn_adapter.registry import GATEWAY, Registry, Subscriber
from beckn_adapter.signing import ProblemKind, SignatureProblem
from csms.domain.refusal import Refusal, Why

# The specification's name, and that of the protocol server (BECKN 2.1).
GATEWAY_HEADERS: Final = ("X-Gateway-Authorization", "Proxy-Authorization")
# Participants who never buy: what they sign is no request of a buyer app.
_NOT_BUYERS: Final = frozenset({"BPP", GATEWAY, "BREG"})
CATALOG_ANSWER: Final = "on_catalog_publish"


class Headers(Protocol):
    """Headers as they came: names in any case, a name perhaps more than once."""

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]:
        """Every value of one name."""
        ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a message is from. `signer` None: nobody signed it for us to see, the adapter in front is believed."""

    signer: Subscriber | None = None
    gateway: Subscriber | None = None


class Doorkeeper(Protocol):
    """One way to prove who knocks."""

    async def identify(self, headers: Headers, raw: bytes, now_ms: int) -> Caller:
        """Who sent `raw`. Raises SignatureProblem, RegistryDown."""
        ...


class Signatures:
    """Beckn signatures, checked with the keys of a registry."""

    def __init__(self, registry: Registry, *, ahead_s: int, behind_s: int) -> None:
        self._registry = registry
        self._ahead_s = ahead_s
        self._behind_s = behind_s

    async def identify(self, headers: Headers, raw: bytes, now_ms: int) -> Caller:
        """The gateway first, when one claims to have forwarded it (BECKN 2.2)."""
        forwarded = {value for name in GATEWAY_HEADERS for value in headers.getall(name, ())}
        gateway = await self._gateway(forwarded, raw, now_ms) if forwarded else None
        own = headers.getall("Authorization", ())
        if len(own) > 1:
            raise SignatureProblem(ProblemKind.MALFORMED, "there are several Authorization headers")
        return Caller(await self._signer(own[0] if own else None, raw, now_ms), gateway)

    async def _gateway(self, values: set[str], raw: bytes, now_ms: int) -> Subscriber:
        try:
            if len(values) > 1:
                raise SignatureProblem(ProblemKind.MALFORMED, "there are several gateway signatures")
            (value,) = values
            gateway = await self._signer(value, raw, now_ms)
            if gateway.kind != GATEWAY:
                raise SignatureProblem(ProblemKind.WRONG_SIGNER, f"{gateway.subscriber_id} is no gateway")
        except SignatureProblem as problem:
            raise problem.at_gateway() from None
        return gateway

    async def _signer(self, header: str | None, raw: bytes, now_ms: int) -> Subscriber:
        authorization = signing.parse_authorization(header)
        names = (authorization.subscriber_id, authorization.key_id)
        subscriber = await self._registry.lookup(*names, now_ms)
        if subscriber is None:
            raise SignatureProblem(ProblemKind.UNKNOWN_SIGNER, f"{names[0]}|{names[1]} is not in the registry")
        try:
            self._verify(authorization, raw, subscriber, now_ms)
        except SignatureProblem as problem:
            if problem.kind is not ProblemKind.MISMATCH:
                raise _seen_as(problem, subscriber) from None
            # The key may have been replaced under its old name (BECKN 3.3): one more look, then it is final.
            fresh = await self._registry.lookup(*names, now_ms, fresh=True)
            if fresh is None or fresh.signing_public_key == subscriber.signing_public_key:
                raise _seen_as(problem, subscriber) from None
            self._verify(authorization, raw, fresh, now_ms)
            return fresh
        return subscriber

    def _verify(self, authorization: signing.Authorization, raw: bytes, by: Subscriber, now_ms: int) -> None:
        signing.verify(
            authorization,
            raw,
            by.signing_public_key,
            now_ms // 1000,
            created_skew_s=self._ahead_s,
            expires_skew_s=self._behind_s,
        )


class SharedSecret:
    """A header that only the adapter in front of us knows, and whatever `then` asks beside it (ONIX)."""

    def __init__(self, header: str, secret: str, then: Doorkeeper | None = None) -> None:
        self._header = header
        self._secret = secret.encode()
        self._then = then

    async def identify(self, headers: Headers, raw: bytes, now_ms: int) -> Caller:
        """See `Doorkeeper`."""
        given = headers.getall(self._header, ())
        if not given:
            raise SignatureProblem(ProblemKind.MISSING, f"the header {self._header} is missing")
        if len(given) > 1 or not hmac.compare_digest(given[0].encode(errors="surrogateescape"), self._secret):
            raise SignatureProblem(ProblemKind.MISMATCH, f"the header {self._header} is not what was agreed")
        return await self._then.identify(headers, raw, now_ms) if self._then is not None else Caller()


class SharedKey:
    """`authorization: HMAC-SHA-256 <hex>` over the raw body, as a protocol server sends it (BECKN 8.4)."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    async def identify(self, headers: Headers, raw: bytes, now_ms: int) -> Caller:  # noqa: ARG002
        """See `Doorkeeper`."""
        given = headers.getall("Authorization", ())
        if not given:
            raise SignatureProblem(ProblemKind.MISSING, "the message carries no HMAC-SHA-256 of its body")
        scheme, _, value = given[0].strip().partition(" ")
        expected = hmac.new(self._key, raw, hashlib.sha256).hexdigest().encode()
        said = value.strip().lower().encode(errors="surrogateescape")
        if len(given) > 1 or scheme.upper() != "HMAC-SHA-256" or not hmac.compare_digest(said, expected):
            raise SignatureProblem(ProblemKind.MISMATCH, "the HMAC-SHA-256 does not fit the body and the shared key")
        return Caller()


class Open:
    """Whoever reaches the port is believed: the network in front of us keeps others out."""

    async def identify(self, headers: Headers, raw: bytes, now_ms: int) -> Caller:  # noqa: ARG002
        """Nobody in particular."""
        return Caller()


@dataclass(frozen=True, slots=True)
class Binding:
    """What a signed message may say. `catalog_hosts`: where the catalogue service is at home, as configured.

    `we_call`: answers go from here to `bap_uri`; behind an adapter they go to the adapter, whatever a message names.
    """

    outbound: Outbound
    catalog_hosts: frozenset[str] = frozenset()
    gateway_required: bool = False
    we_call: bool = True

    def check(self, context: Context, caller: Caller) -> None:
        """SignatureProblem or Refusal when the message is not the signer's to send, or leads elsewhere."""
        self._check_sender(context, caller)
        if self.we_call and caller.signer is not None and context.action != CATALOG_ANSWER:
            check_callback(context.bap_uri, caller.signer.url, self.outbound)

    def _check_sender(self, context: Context, caller: Caller) -> None:
        signer = caller.signer
        if signer is None:
            return
        if context.action == CATALOG_ANSWER:
            if host_of(signer.url) not in self.catalog_hosts:
                said = f"{signer.subscriber_id} is not the catalogue service we publish to"
                raise SignatureProblem(ProblemKind.WRONG_SIGNER, said)
            return
        if signer.kind in _NOT_BUYERS:
            said = f"the registry lists {signer.subscriber_id} as {signer.kind}; requests are signed by the buyer app"
            problem = SignatureProblem(ProblemKind.WRONG_SIGNER, said)
            raise problem.at_gateway() if signer.kind == GATEWAY else problem
        if signer.subscriber_id != context.bap_id:
            said = f"{signer.subscriber_id} signed a message of {context.bap_id}"
            raise SignatureProblem(ProblemKind.WRONG_SIGNER, said)
        if self.gateway_required and context.action == "search" and caller.gateway is None:
            problem = SignatureProblem(
                ProblemKind.MISSING, "a search must come through a gateway and carry its signature"
            )
            raise problem.at_gateway()


def check_callback(uri: str, home: str | None, outbound: Outbound) -> None:
    """Refusal unless answers to `uri` stay where the registry lists the sender (`home`), or our configuration allows.

    Where the registry names no address, public hosts are allowed; what they resolve to is checked when we connect.
    """
    host, listed = host_of(uri), host_of(home)
    if host is None:
        raise Refusal(Why.INVALID_REQUEST, "context.bap_uri is not an http(s) address")
    if outbound.names(uri) or (host == listed and (outbound.listed_private or not is_private_host(host))):
        return
    if is_private_host(host):
        said = f"context.bap_uri names {host}, a private host"
        raise Refusal(Why.INVALID_REQUEST, f"{said}, but the registry lists you at {listed or 'no address at all'}")
    if listed is not None:
        raise Refusal(
            Why.INVALID_REQUEST, f"context.bap_uri names {host}, but the registry lists you at {listed}; use that host"
        )


def homes_of(caller: Caller) -> Iterable[tuple[str, str, str]]:
    """`(subscriber_id, kind, url)` of everybody who signed and whose address the registry names."""
    for subscriber in (caller.signer, caller.gateway):
        if subscriber is not None and subscriber.url is not None and host_of(subscriber.url) is not None:
            yield subscriber.subscriber_id, subscriber.kind or "BAP", subscriber.url


def _seen_as(problem: SignatureProblem, subscriber: Subscriber) -> SignatureProblem:
    """A gateway that signs where the buyer app should is told in the gateway's header (BECKN 2.2 step 1)."""
    return problem.at_gateway() if subscriber.kind == GATEWAY else problem
