"""Calling others over HTTP without being sent into our own network (no SSRF).

A message of a buyer names addresses that we then call. Two sessions keep that safe: `listed` for hosts that the
registry or our configuration names, and `public` for every other one, which connects to public addresses only. The
address is looked at when the socket is made, so a name that answers differently a second time gains nothing. Neither
session follows a redirect, unless its caller asks for it.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

CONNECT_S: Final = 5.0
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class PrivateAddressError(OSError):
    """The address is in a private network, and nobody we trust named its host."""


def is_private_address(text: str) -> bool:
    """Whether an IP address is none of the public internet; what is no address counts as private."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return True
    if isinstance(address, ipaddress.IPv6Address):
        # Addresses that carry another: what counts is where the packet ends up.
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_private_address(str(inner))
    return not address.is_global or address.is_multicast


def is_private_host(host: str) -> bool:
    """Whether a host looks private by its name alone: an address, or a name no public resolver knows."""
    host = host.rstrip(".").lower()
    try:
        ipaddress.ip_address(host)
    except ValueError:
        ends = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
        # `0x7f.1` and `2130706433` are addresses to a resolver: no public name ends in a number.
        is_number = host.rpartition(".")[2][:1].isdigit()
        return host == "localhost" or host.endswith(ends) or "." not in host or is_number
    return is_private_address(host)


def host_of(url: str | None) -> str | None:
    """The host of an http(s) address in lower case; None when it is none."""
    try:
        parts = urlsplit(url or "")
        host = parts.hostname
    except ValueError:
        return None
    return host.rstrip(".").lower() if host and parts.scheme in {"http", "https"} else None


def _public_socket(address: Any) -> socket.socket:
    family, kind, protocol, _, where = address
    if is_private_address(str(where[0])):
        raise PrivateAddressError(errno.EACCES, f"{where[0]} is a private address")
    return socket.socket(family, kind, protocol)


class Outbound:
    """The sessions of this process, made on first use. `hosts` are those where callbacks may go besides the buyer apps'
    own; `own` those we call for ourselves (registry, catalogue service, adapter), where no message may send us.

    `private`: every host may be private (a network of one machine, for tests and trials). `listed_private`: those that
    a registry lists may be; False where a registry takes whatever its participants write.
    """

    def __init__(
        self,
        *,
        timeout_s: float,
        hosts: Iterable[str | None] = (),
        own: Iterable[str | None] = (),
        private: bool = False,
        listed_private: bool = True,
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S)
        self._hosts = frozenset(host for host in hosts if host)
        self._own = frozenset(host for host in own if host)
        self._private = private
        self.listed_private = listed_private
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    def names(self, url: str) -> bool:
        """Whether our configuration lets callbacks go to the host of `url`."""
        return self._private or host_of(url) in self._hosts

    def session(self, url: str, *, listed: bool) -> aiohttp.ClientSession:
        """The session to call `url` with. `listed`: the registry names its host for whom we call.

        What the `public` session may not reach fails as aiohttp.ClientConnectorError when it connects.
        """
        is_free = (listed and self.listed_private) or self.names(url) or host_of(url) in self._own
        session = self._sessions.get(is_free)
        if session is None or session.closed:
            connector = aiohttp.TCPConnector(limit=64, socket_factory=None if is_free else _public_socket)
            session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, trust_env=False)
            self._sessions[is_free] = session
        return session

    async def close(self) -> None:
        """Close what is open; a later call opens anew."""
        sessions, self._sessions = list(self._sessions.values()), {}
        await asyncio.gather(*(session.close() for session in sessions), return_exceptions=True)
