"""Asking others about certificates over HTTP: an external authority, OCSP responders, a pool of contract certificates.

A charger may name a responder, so it could make us call into our own network: private hosts only where the
configuration lists them, no redirects, short answers, a short wait.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver
from cryptography.hazmat.primitives.serialization import Encoding

from csms.pki.authority import BuiltinAuthority
from csms.pki.ocsp import Question, Verdict, read_response
from csms.pki.reading import BadCertificate
from csms.pki.requests import read_request

_LONGEST_CHAIN: Final = 64 << 10
_LONGEST_OCSP: Final = 16 << 10
_LONGEST_EXI: Final = 64 << 10
_POOL_S: Final = 30.0
_KEPT_VERDICTS: Final = 1000  # 16 KiB each at worst: chargers choose the responders
# As plain as every reader of addresses reads it alike: digits of other scripts or a login in front make two of them
# see two hosts.
_RESPONDER: Final = re.compile(
    r"https?://(?:(?P<name>[a-z0-9.-]+)|\[(?P<ip6>[0-9a-f:.]+)\])(?::\d+)?(?:[/?][!-~]*)?", re.IGNORECASE | re.ASCII
)
_KEPT_MS: Final = 3_600_000  # a revocation is heard of after an hour, whatever the responder allows
_KEPT_WITHOUT_TERM_MS: Final = 300_000


class Unreachable(Exception):
    """Whoever was asked did not answer as it should; the text is one sentence. Asking again may help."""


class BuiltinSigner:
    """The built-in authority, off the event loop."""

    def __init__(self, authority: BuiltinAuthority, now_ms: Callable[[], int]) -> None:
        self._authority = authority
        self._now_ms = now_ms

    async def sign(self, csr: str, *, use: str, station: str) -> str:  # noqa: ARG002 - the authorities' shape
        """A PEM chain for a request that was found good. Raises Unreachable."""
        try:
            return await asyncio.to_thread(self._authority.sign, csr, use=use, now_ms=self._now_ms())
        except (OSError, BadCertificate) as error:
            raise Unreachable(f"the built-in authority cannot sign: {error}") from error


class ExternalSigner:
    """An authority behind a URL: the request goes there as PEM, with the charger and the use in headers."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s

    async def sign(self, csr: str, *, use: str, station: str) -> str:
        """A PEM chain for a request that was found good. Raises Unreachable."""
        headers = {"Content-Type": "application/x-pem-file", "X-Charger-Id": station, "X-Certificate-Use": use}
        # Written anew from what was judged: a charger may put a second request behind the first.
        asked = read_request(csr).public_bytes(Encoding.PEM)
        status, body = await _post(self._url, asked, headers, self._timeout_s, _LONGEST_CHAIN)
        if status not in {200, 201}:
            raise Unreachable(f"the certificate authority answered HTTP {status}")
        try:
            return body.decode("ascii")
        except UnicodeDecodeError as error:
            raise Unreachable("the certificate authority answered something that is not PEM") from error


class Responders:
    """OCSP responders, with what they said not long ago."""

    def __init__(
        self, *, override: str | None, private_hosts: frozenset[str], timeout_s: float, now_ms: Callable[[], int]
    ) -> None:
        self._override = override
        self._private_hosts = private_hosts
        self._timeout_s = timeout_s
        self._now_ms = now_ms
        # By question and whether the issuer was at hand: what nobody could check is not taken for checked.
        self._verdicts: dict[tuple[Question, bool], tuple[int, Verdict]] = {}

    def can_ask(self, question: Question) -> bool:
        """Whether anybody is known who could answer."""
        return bool(self._override or question.responder)

    async def ask(self, question: Question, issuer: Any = None) -> Verdict:
        """The verdict; signed by the issuer when that is at hand. Raises Unreachable, BadCertificate."""
        key = question, issuer is not None
        kept = self._verdicts.get(key)
        if kept is not None and self._now_ms() < kept[0]:
            return kept[1]
        url = self._override or question.responder
        if self._override is None:
            _check_host(url, self._private_hosts)
        headers = {"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"}
        resolver = None if self._override else _PublicOnly(self._private_hosts)
        status, body = await _post(url, question.request(), headers, self._timeout_s, _LONGEST_OCSP, resolver)
        if status != 200:
            raise Unreachable(f"the OCSP responder answered HTTP {status}")
        now_ms = self._now_ms()
        verdict = read_response(body, question, issuer, now_ms)
        if len(self._verdicts) >= _KEPT_VERDICTS:
            self._verdicts.pop(next(iter(self._verdicts)))
        until_ms = now_ms + (_KEPT_MS if verdict.until_ms is not None else _KEPT_WITHOUT_TERM_MS)
        self._verdicts[key] = (min(until_ms, verdict.until_ms or until_ms), verdict)
        return verdict


class ContractPool:
    """Where cars get contract certificates: the EXI request goes there as it came, the EXI response comes back."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """`status` and `exiResponse` as the pool said them. Raises Unreachable."""
        headers = {"Content-Type": "application/json"}
        status, body = await _post(self._url, json.dumps(dict(request)).encode(), headers, _POOL_S, _LONGEST_EXI)
        if status != 200:
            raise Unreachable(f"the contract certificate pool answered HTTP {status}")
        try:
            told = json.loads(body)
        except ValueError as error:
            raise Unreachable("the contract certificate pool answered something that is not JSON") from error
        return told if isinstance(told, dict) else {}


class _PublicOnly(ThreadedResolver):
    """Names of private hosts lead nowhere, whatever their servers answer, unless they are listed."""

    def __init__(self, private_hosts: frozenset[str]) -> None:
        super().__init__()
        self._private_hosts = private_hosts

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        if host in self._private_hosts:
            return found
        public = [one for one in found if ipaddress.ip_address(one["host"]).is_global]
        if not public:
            raise OSError(f"{host} is a private host")
        return public


def _check_host(url: str, private_hosts: frozenset[str]) -> None:
    found = _RESPONDER.fullmatch(url)
    if found is None:
        raise Unreachable(f"{url[:100]} is no address of an OCSP responder")
    host = (found["name"] or found["ip6"]).lower()
    try:
        is_private = not ipaddress.ip_address(host).is_global
    except ValueError:
        return  # a name: the resolver looks where it leads
    if is_private and host not in private_hosts:
        raise Unreachable(f"{host} is a private host; tls.ocsp_private_hosts does not list it")


async def _post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    timeout_s: float,
    longest: int,
    resolver: aiohttp.abc.AbstractResolver | None = None,
) -> tuple[int, bytes]:
    """(status, body). Raises Unreachable."""
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(resolver=resolver)) as http,
            http.post(url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status, await _read(answer, longest)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        said = "it did not answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        raise Unreachable(f"{urlsplit(url).hostname} cannot be asked: {said}") from error


async def _read(answer: aiohttp.ClientResponse, longest: int) -> bytes:
    body = b""
    async for chunk in answer.content.iter_chunked(8192):
        body += chunk
        if len(body) > longest:
            raise Unreachable("the answer is too long")
    return body
