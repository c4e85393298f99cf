"""Registries on the network: the classic `/lookup` and DeDi (BECKN 3.1, 3.2). `keycache` remembers what they say.

Both raise RegistryDown when they give no answer that says anything about a participant: no connection, too late, 5xx,
a redirect, an answer that is too long. What they say about a participant and cannot be used counts as not listed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import structlog

from beckn_adapter.envelope import serialise
from beckn_adapter.outbound import Outbound
from beckn_adapter.posting import read_some
from beckn_adapter.registry import RegistryDown, RegistryProblem, Subscriber, read_dedi, read_subscription

log = structlog.get_logger()

ANSWER_LIMIT: Final = 1024 * 1024
MAX_LISTED: Final = 64  # subscriptions of one answer that are looked at
# Answers that speak of the participant asked for; every other refusal is about us or about the registry's health.
_NOT_LISTED: Final = frozenset({400, 404, 410, 422})


class LookupRegistry:
    """A classic registry. `key_field` is its name for the key id; `authorize(body, now_s)` signs the question."""

    def __init__(
        self,
        url: str,
        *,
        outbound: Outbound,
        key_field: str,
        authorize: Callable[[bytes, int], str],
        timeout_s: float,
    ) -> None:
        self._url = url.rstrip("/") if url.rstrip("/").endswith("/lookup") else f"{url.rstrip('/')}/lookup"
        self._outbound = outbound
        self._key_field = key_field
        self._authorize = authorize
        self._timeout_s = timeout_s

    async def fetch(self, subscriber_id: str, key_id: str, now_ms: int) -> Sequence[Subscriber]:
        """See `registry.Source`. What it lists for others than asked for is left out."""
        body = serialise({"subscriber_id": subscriber_id, self._key_field: key_id})
        headers = {"Content-Type": "application/json", "Authorization": self._authorize(body, now_ms // 1000)}
        text = await _ask(self._outbound, "POST", self._url, self._timeout_s, data=body, headers=headers)
        entries = _json(text)
        if text is not None and not isinstance(entries, list):
            raise RegistryDown("the registry's answer to /lookup is no JSON list")
        found = []
        for entry in (entries if isinstance(entries, list) else [])[:MAX_LISTED]:
            subscriber = _read(entry)
            if subscriber is not None and (subscriber.subscriber_id, subscriber.key_id) == (subscriber_id, key_id):
                found.append(subscriber)
        return found


class DediRegistry:
    """A DeDi registry; `allowed_parents` empty: a record may hang under any namespace."""

    def __init__(
        self, url: str, *, outbound: Outbound, registry_name: str, allowed_parents: frozenset[str], timeout_s: float
    ) -> None:
        self._url = url.rstrip("/")
        self._outbound = outbound
        self._registry_name = registry_name
        self._allowed_parents = allowed_parents
        self._timeout_s = timeout_s

    async def fetch(
        self,
        subscriber_id: str,
        key_id: str,
        now_ms: int,  # noqa: ARG002 - nothing here is signed
    ) -> Sequence[Subscriber]:
        """See `registry.Source`."""
        if {subscriber_id, key_id} & {".", ".."}:
            return ()  # a part of a path that would lead elsewhere
        parts = (subscriber_id, self._registry_name, key_id)
        url = f"{self._url}/lookup/{'/'.join(quote(part, safe='') for part in parts)}"
        text = await _ask(self._outbound, "GET", url, self._timeout_s)
        if text is None:
            return ()
        answer = _json(text)
        if not isinstance(answer, dict):
            raise RegistryDown("the registry's answer is no JSON object")
        try:
            return (read_dedi(answer, subscriber_id, key_id, self._allowed_parents),)
        except RegistryProblem as problem:
            log.info("registry.record_unusable", subscriber_id=subscriber_id, key_id=key_id, problem=str(problem))
            return ()


async def _ask(outbound: Outbound, method: str, url: str, timeout_s: float, **options: Any) -> bytes | None:
    """The body of a 200; None when the participant is not listed. Asked twice when the connection broke."""
    for is_last in (False, True):
        session = outbound.session(url, listed=True)
        try:
            async with session.request(
                method,
                url,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                **options,
            ) as response:
                if response.status in _NOT_LISTED:
                    return None
                if response.status != 200:
                    raise RegistryDown(f"the registry answers HTTP {response.status}")
                text = await read_some(response, ANSWER_LIMIT + 1)
                if len(text) > ANSWER_LIMIT:
                    raise RegistryDown("the registry's answer is too long")
                return text
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # A connection kept open may have been closed at the other end; a second one tells that from an outage.
            if is_last or isinstance(error, TimeoutError):
                raise RegistryDown(f"the registry cannot be reached: {type(error).__name__}") from error
            await asyncio.sleep(0)
    raise AssertionError("unreachable")


def _json(text: bytes | None) -> object:
    try:
        return json.loads(text) if text is not None else None
    except (ValueError, RecursionError):
        raise RegistryDown("the registry's answer is not JSON") from None


def _read(entry: object) -> Subscriber | None:
    if not isinstance(entry, Mapping):
        return None
    try:
        return read_subscription(entry)
    except RegistryProblem as problem:
        log.info("registry.record_unusable", problem=str(problem))
        return None
