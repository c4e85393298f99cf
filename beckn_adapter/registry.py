"""Who a subscriber is and which key is theirs (BECKN 3).

`Registry` is what verification needs of any registry. `StaticRegistry` answers from a JSON list in a file,
for tests, pilots and bilateral set-ups. Reading one subscription is a pure function here because every
registry in the field spells the same record differently.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from beckn_adapter.envelope import parse_instant
from beckn_adapter.signing import KeyProblem, load_public_key

KEY_ID_NAMES: Final = ("ukId", "unique_key_id", "key_id", "pub_key_id")
URL_NAMES: Final = ("subscriber_url", "url")
SUBSCRIBED: Final = "SUBSCRIBED"
BAP: Final = "BAP"
GATEWAY: Final = "BG"


class RegistryProblem(ValueError):
    """A registry's record or file cannot be used. The text says which member and where."""


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One network participant with one key. `kind` is BAP, BPP, BG or whatever else the network calls it."""

    subscriber_id: str
    key_id: str
    signing_public_key: bytes
    url: str | None
    kind: str | None
    domain: str | None = None
    status: str | None = None
    valid_from_ms: int | None = None
    valid_until_ms: int | None = None
    encr_public_key: str | None = None

    def is_usable_at(self, now_ms: int) -> bool:
        """Subscribed, and now within its validity; what the record does not say does not limit it."""
        if self.status is not None and self.status != SUBSCRIBED:
            return False
        if self.valid_from_ms is not None and now_ms < self.valid_from_ms:
            return False
        return self.valid_until_ms is None or now_ms <= self.valid_until_ms


class RegistryDown(Exception):
    """The registry gives no answer now: nothing can be said of the signer, neither good nor bad."""


class Registry(Protocol):
    """Where keys come from. Implementations may ask the network and cache; None means nobody usable."""

    async def lookup(self, subscriber_id: str, key_id: str, now_ms: int, *, fresh: bool = False) -> Subscriber | None:
        """The subscriber with this id and key, if it may be believed at `now_ms`. Raises RegistryDown.

        `fresh`: the key known so far did not fit a signature, so it may have been replaced: ask again.
        """
        ...


class Source(Protocol):
    """A registry as it is asked over the network, without a memory of its own."""

    async def fetch(self, subscriber_id: str, key_id: str, now_ms: int) -> Sequence[Subscriber]:
        """What it lists under this id and key, in force or not. Raises RegistryDown."""
        ...


class StaticRegistry:
    """A registry in a file: a JSON list of subscriptions (SURFACES 3)."""

    def __init__(self, subscribers: Sequence[Subscriber] = (), path: Path | None = None) -> None:
        self._path = path
        self._loaded_mtime_ns: int | None = None
        self._by_key = _index(subscribers)

    @classmethod
    def open(cls, path: Path) -> StaticRegistry:
        """Read the file now. Raises RegistryProblem when it cannot be used."""
        registry = cls(path=path)
        registry.reload()
        return registry

    async def lookup(self, subscriber_id: str, key_id: str, now_ms: int, *, fresh: bool = False) -> Subscriber | None:  # noqa: ARG002
        """See `Registry`; there is nothing fresher than the file."""
        return usable(self._by_key.get((subscriber_id, key_id), ()), now_ms)

    def reload(self) -> None:
        """Read the file again. On a RegistryProblem the keys known so far stay in force."""
        if self._path is None:
            return
        try:
            text = self._path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RegistryProblem(f"the registry file cannot be read: {error}") from error
        self._by_key = _index(read_list(text))

    def reload_if_changed(self, mtime_ns: int) -> bool:
        """Reload when the file's modification time is not the one last seen here. True when it was read."""
        if mtime_ns == self._loaded_mtime_ns:
            return False
        self.reload()
        self._loaded_mtime_ns = mtime_ns
        return True

    def __len__(self) -> int:
        return len(self._by_key)


class FileRegistry:
    """A static registry whose file is read again when it has changed, so that partners come without a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listed = StaticRegistry.open(path)

    async def lookup(self, subscriber_id: str, key_id: str, now_ms: int, *, fresh: bool = False) -> Subscriber | None:  # noqa: ARG002
        """See `Registry`. A file that cannot be read leaves the keys known so far in force."""
        with suppress(OSError, RegistryProblem):
            self._listed.reload_if_changed(self._path.stat().st_mtime_ns)
        return await self._listed.lookup(subscriber_id, key_id, now_ms)


def usable(listed: Sequence[Subscriber], now_ms: int) -> Subscriber | None:
    """The one of several subscriptions under one key id that may be believed: a buyer app's before any other."""
    found = [subscriber for subscriber in listed if subscriber.is_usable_at(now_ms)]
    return min(found, key=lambda subscriber: subscriber.kind not in {None, BAP}, default=None)


def read_list(text: str) -> list[Subscriber]:
    """A JSON list of subscriptions, from a file or from a classic registry's /lookup (BECKN 3.1)."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RegistryProblem(f"the registry's list is not JSON: {error}") from None
    if not isinstance(entries, list):
        raise RegistryProblem("the registry's list is not a JSON list")
    found = []
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise RegistryProblem(f"entry {position} of the registry's list is not an object")
        try:
            found.append(read_subscription(entry))
        except RegistryProblem as problem:
            raise RegistryProblem(f"entry {position} of the registry's list: {problem}") from None
    return found


def read_subscription(record: Mapping[str, object]) -> Subscriber:
    """One subscription under any of the member names in use. Raises RegistryProblem naming what is wrong."""
    key = _text(record, ("signing_public_key",))
    if key is None:
        raise RegistryProblem("signing_public_key is missing")
    try:
        signing_public_key = load_public_key(key)
    except KeyProblem as problem:
        raise RegistryProblem(f"signing_public_key: {problem}") from None
    subscriber_id, key_id = _text(record, ("subscriber_id",)), _text(record, KEY_ID_NAMES)
    if subscriber_id is None or key_id is None:
        raise RegistryProblem("subscriber_id or the key id (unique_key_id) is missing")
    kind, status = _text(record, ("type",)), _text(record, ("status",))
    return Subscriber(
        subscriber_id=subscriber_id,
        key_id=key_id,
        signing_public_key=signing_public_key,
        url=_text(record, URL_NAMES),
        kind=kind.upper() if kind is not None else None,
        domain=_text(record, ("domain",)),
        status=status.upper() if status is not None else None,
        valid_from_ms=_instant(record, "valid_from"),
        valid_until_ms=_instant(record, "valid_until"),
        encr_public_key=_text(record, ("encr_public_key",)),
    )


def read_dedi(
    answer: Mapping[str, object],
    subscriber_id: str,
    key_id: str,
    allowed_parents: frozenset[str] = frozenset(),
) -> Subscriber:
    """A DeDi answer to a lookup of `subscriber_id` and `key_id` (BECKN 3.2). Raises RegistryProblem.

    `allowed_parents`: when not empty, the record must hang under at least one of these namespaces.
    """
    data = answer.get("data")
    details = data.get("details") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(details, dict):
        raise RegistryProblem("the answer has no data.details")
    if data.get("is_revoked") is True:
        raise RegistryProblem("the record is revoked")
    parents = data.get("parent_namespaces")
    if allowed_parents and not (isinstance(parents, list) and allowed_parents.intersection(map(str, parents))):
        raise RegistryProblem("the record is in no namespace we trust")
    if details.get("subscriber_id", subscriber_id) != subscriber_id:
        raise RegistryProblem("the record belongs to another subscriber")
    # The key id is part of the address that was asked; the details need not repeat it.
    named = {name: value for name, value in details.items() if name not in KEY_ID_NAMES}
    return read_subscription({**named, "subscriber_id": subscriber_id, "unique_key_id": key_id})


def _index(subscribers: Sequence[Subscriber]) -> dict[tuple[str, str], list[Subscriber]]:
    index: dict[tuple[str, str], list[Subscriber]] = {}
    for subscriber in subscribers:
        same = index.setdefault((subscriber.subscriber_id, subscriber.key_id), [])
        # The same participant may be listed once per domain, but one key id can only mean one key.
        if same and same[0].signing_public_key != subscriber.signing_public_key:
            raise RegistryProblem(f"{subscriber.subscriber_id} has two keys called {subscriber.key_id}")
        same.append(subscriber)
    return index


def _text(record: Mapping[str, object], names: Sequence[str]) -> str | None:
    for name in names:
        value = record.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None


def _instant(record: Mapping[str, object], name: str) -> int | None:
    text = _text(record, (name,))
    if text is None:
        return None
    at_ms = parse_instant(text)
    if at_ms is None:
        # A validity nobody can read must not silently become "valid for ever".
        raise RegistryProblem(f"{name} is not a time")
    return at_ms
