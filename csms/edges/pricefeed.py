"""A supplier's prices by the hour, read from a file or an OpenADR 3 server again and again.

What is understood is kept as price events and holds from each event's own start. A source that cannot be read changes
nothing: the prices announced so far hold until their end, then the tariffs' own; one case per trouble says so. Selling
never waits for a source.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import structlog

from csms.app import price_events
from csms.app.cases import open_case
from csms.app.openadr import Feed, read_feed
from csms.domain.dated_price import PriceEvent
from csms.domain.refusal import Refusal
from csms.ports import Clock, ReadTx, Store, Table, Tx

log = structlog.get_logger()

_LARGEST: Final = 8 * 1024 * 1024
_TIMEOUT_S: Final = 15.0
_AT_ONCE: Final = 200  # events written in one transaction
_TRIED: Final = 3  # readings that fail in a row before a person is asked
_RETIRE_MS: Final = 3_600_000


class BadSourceError(Exception):
    """The source could not be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where prices come from. One of the two is given."""

    name: str
    path: Path | None = None
    url: str | None = None


def source_of(text: str) -> Source | None:
    """`file:PATH` or `openadr:URL`. ValueError with a sentence."""
    if not text:
        return None
    kind, _, rest = text.partition(":")
    if kind == "file" and rest:
        return Source("file", path=Path(rest).expanduser())
    if kind == "openadr" and urlsplit(rest).scheme in {"http", "https"} and urlsplit(rest).hostname:
        return Source("openadr", url=rest)
    raise ValueError(f"{text!r} is neither file:PATH nor openadr:URL")


class PriceFeed:
    """Reads `source` every `every_s`. `on_change` is called after anything changed what something costs."""

    def __init__(
        self,
        source: Source | None,
        *,
        store: Store,
        clock: Clock,
        spawn: Callable[[Any], Any],
        on_change: Callable[[], None],
        token: str | None,
        every_s: float,
        currency: str,
        markup: Decimal,
    ) -> None:
        self._source = source
        self._store = store
        self._clock = clock
        self._spawn = spawn
        self._on_change = on_change
        self._token = token
        self._every_ms = int(every_s * 1000)
        self._currency = currency
        self._markup = markup
        self._next_ms = 0
        self._retire_ms = 0
        self._is_reading = False
        self._failures = 0

    async def tick(self, now_ms: int) -> None:
        """Look whether it is time; the reading itself goes on beside the clockwork."""
        if now_ms >= self._retire_ms:
            self._retire_ms = now_ms + _RETIRE_MS
            if await self._store.transact(lambda tx: price_events.retire(tx, now_ms)):
                self._on_change()
        if self._source is None or self._is_reading or now_ms < self._next_ms:
            return
        self._next_ms = now_ms + self._every_ms
        self._is_reading = True
        self._spawn(self._read_once(self._source))

    async def _read_once(self, source: Source) -> None:
        try:
            await self.read(source)
        except Exception:
            log.exception("price_feed.failed")
        finally:
            self._is_reading = False

    async def read(self, source: Source) -> None:
        """One reading: what is new is kept, what a complete list names no more is withdrawn."""
        now_ms = self._clock.now_ms()
        try:
            raw = await (self._fetch(source.url) if source.url is not None else self._open(source.path))
            feed = read_feed(_parsed(raw), source.name, now_ms, currency=self._currency, markup=self._markup)
        except (BadSourceError, Refusal) as problem:
            await self._failed(source, problem.detail if isinstance(problem, Refusal) else str(problem), now_ms)
            return
        self._failures = 0
        changed = await self._keep(source, feed, now_ms)
        if feed.problems:
            await self._complain(source, feed.problems, now_ms)
        if changed:
            log.info("price_feed.changed", source=source.name, events=changed)
            self._on_change()

    async def _keep(self, source: Source, feed: Feed, now_ms: int) -> int:
        news = await self._store.read(lambda tx: _news(tx, feed.events))
        changed = 0
        for start in range(0, len(news), _AT_ONCE):
            bite = news[start : start + _AT_ONCE]
            changed += await self._store.transact(
                lambda tx, bite=bite: sum(price_events.put(tx, event, now_ms) for event in bite)  # type: ignore[misc]
            )
        if not feed.problems:  # with one we could not read, the list is not complete
            listed = {event.event_id for event in feed.events}
            changed += await self._store.transact(lambda tx: price_events.withdraw(tx, source.name, listed, now_ms))
        return changed

    # -- trouble

    async def _failed(self, source: Source, why: str, now_ms: int) -> None:
        self._failures += 1
        log.warning("price_feed.not_read", source=source.name, why=why, failures=self._failures)
        if self._failures == _TRIED:
            await self._case(source, f"not-read:{now_ms}", f"The energy prices cannot be read: {why}.", now_ms)

    async def _complain(self, source: Source, problems: list[str], now_ms: int) -> None:
        said = "; ".join(problems[:5])
        digest = hashlib.sha256(said.encode()).hexdigest()[:16]
        text = f"{len(problems)} of the announced energy prices cannot be used: {said}."
        await self._case(source, digest, text[:2000], now_ms)

    async def _case(self, source: Source, cause: str, text: str, now_ms: int) -> None:
        def work(tx: Tx) -> None:
            open_case(
                tx,
                case_id=f"price-feed:{source.name}:{cause}",
                type_="PRICE_FEED",
                severity="warning",
                text=text,
                now_ms=now_ms,
            )

        await self._store.transact(work)

    # -- the outside

    async def _open(self, path: Path | None) -> bytes:
        assert path is not None

        def read() -> bytes:
            with path.open("rb") as file:
                return file.read(_LARGEST + 1)

        try:
            raw = await asyncio.to_thread(read)
        except OSError as error:
            raise BadSourceError(f"{path}: {error.strerror or error}") from error
        return _bounded(raw)

    async def _fetch(self, url: str) -> bytes:
        headers = {"Accept": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as http,
                http.get(url, headers=headers, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise BadSourceError(f"the server answered {response.status}")
                raw = b""
                async for chunk in response.content.iter_chunked(64 * 1024):
                    raw = _bounded(raw + chunk)
                return raw
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise BadSourceError(f"{type(error).__name__} {error}".strip()) from error


def _bounded(raw: bytes) -> bytes:
    if len(raw) > _LARGEST:
        raise BadSourceError(f"it is larger than {_LARGEST} bytes")
    return raw


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise BadSourceError("it is not JSON") from error


def _news(tx: ReadTx, events: list[PriceEvent]) -> list[PriceEvent]:
    """What is not known yet: the same list comes again and again, and costs no writing."""
    return [
        event
        for event in events
        if price_events.is_news(event, tx.one(Table.PRICE_EVENTS, id=price_events.key_of(event)))
    ]
