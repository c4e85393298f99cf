"""One message of ours to one peer: where it may go, who signs it, what the answer means.

    direct              signed by us, to the host the registry lists for the buyer app (or its gateway)
    behind an adapter   unsigned, to the adapter, which signs and forwards (BECKN 8)

`callbacks` decides when to post and what to do with the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from beckn_adapter.envelope import Outcome, PeerAnswer, read_answer
from beckn_adapter.outbound import Outbound, host_of
from csms.ports import ReadTx, Row, Store, Table

ANSWER_LIMIT: Final = 64 * 1024  # a peer's acknowledgement is small; more is not read


class Poster:
    """Posts outbox rows. `authorize(body, now_s)` makes the signature header; None: the adapter in front signs."""

    def __init__(
        self,
        *,
        store: Store,
        outbound: Outbound,
        now_ms: Callable[[], int],
        authorize: Callable[[bytes, int], str] | None,
    ) -> None:
        self._store = store
        self._outbound = outbound
        self._now_ms = now_ms
        self._authorize = authorize

    async def post(self, row: Row) -> tuple[PeerAnswer, str | None]:
        """Post `row` of the outbox once: the answer, and what to note of it when it is no ACK."""
        body: bytes = row["body"]
        headers = {"Content-Type": "application/json"}
        if self._authorize is not None:
            headers["Authorization"] = self._authorize(body, self._now_ms() // 1000)
        url = str(row["url"])
        try:
            http = self._outbound.session(url, listed=await self.is_listed(url, row["bap_id"]))
            # No redirects: a callback goes where the registry said and nowhere else.
            async with http.post(url, data=body, headers=headers, allow_redirects=False) as response:
                text = await read_some(response, ANSWER_LIMIT)
                answer = read_answer(response.status, text)
                return answer, None if answer.outcome is Outcome.ACK else self._note(response.status, text)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return PeerAnswer(Outcome.RETRY), f"{type(error).__name__}: {error} ({urlsplit(url).netloc})"

    async def is_listed(self, url: str, bap_id: str) -> bool:
        """Whether the registry named the host of `url` for this buyer app, or for a gateway (BECKN 2.2)."""
        host = host_of(url)

        def query(tx: ReadTx) -> bool:
            homes = [*tx.many(Table.HOMES, subscriber_id=bap_id), *tx.many(Table.HOMES, kind="BG")]
            return any(host_of(home["url"]) == host for home in homes)

        return host is not None and await self._store.read(query)

    def _note(self, status: int, text: bytes) -> str:
        said = f"HTTP {status}: {text[:500]!r}"
        if self._authorize is None and status == 400:
            return f"the adapter in front of us found our message wrong, which is a fault of this program: {said}"
        return said


async def read_some(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body of an answer up to `limit` bytes; the rest is left unread."""
    raw = b""
    async for chunk in response.content.iter_chunked(16 * 1024):
        raw += chunk
        if len(raw) >= limit:
            return raw[:limit]
    return raw
