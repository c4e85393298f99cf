"""What the operator API asks of the running system. The composition root fills it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from csms.app.answers import RawAnswer
from csms.ports import Bell, Clock, Ids, Store


class StationView(Protocol):
    """What a node knows about a charger at this moment."""

    @property
    def id(self) -> str: ...
    @property
    def online(self) -> bool: ...
    @property
    def epoch(self) -> int: ...
    @property
    def transport(self) -> str | None: ...
    @property
    def last_seen_ms(self) -> int | None: ...
    @property
    def registration(self) -> str: ...
    @property
    def connected_ms(self) -> int | None: ...


class Stations(Protocol):
    """The chargers in memory."""

    def get(self, station_id: str) -> StationView | None:
        """The live view of a charger; None when this system has never heard of it."""
        ...

    async def changed(self, station_id: str) -> None:
        """A charger's row was made, changed or deleted: take it over; the link of a deleted one is closed."""
        ...


class Instructing(Protocol):
    """Telling chargers what to do."""

    async def issue(
        self,
        station_id: str,
        kind: str,
        payload: Mapping[str, Any],
        *,
        order_id: str | None = None,
        idem: str | None = None,
    ) -> str:
        """Make an instruction and set it going; its id. The same `idem` gives the same instruction. Raises Refusal."""
        ...

    async def raw(self, station_id: str, action: str, payload: Mapping[str, Any], *, timeout_s: float) -> RawAnswer:
        """Send one CALL as written and wait. Nothing is sent on Refusal (NOT_SUPPORTED) or SchemaProblems."""
        ...


class Charging(Protocol):
    """Sessions, as far as a person may touch them."""

    async def close_session(self, session_id: str, reason: str, who: str) -> None:
        """End a session that no fact will end. Raises Refusal."""
        ...

    def save_meters(self) -> bool:
        """Write what ordinary readings changed; False when nothing waited."""
        ...


class Tokens(Protocol):
    """Who may charge."""

    async def changed(self, uid_norm: str) -> None:
        """A token was put or deleted."""
        ...


class Catalogue(Protocol):
    """Locations, tariffs and offers as the market sees them."""

    async def changed(self) -> None:
        """One of them was put or deleted."""
        ...


class Credentials(Protocol):
    """Basic passwords of chargers."""

    async def rotate(self, station_id: str, password: str | None, push: bool) -> Mapping[str, Any]:
        """Set a new password (made when None), on the charger first when `push`. Raises Refusal."""
        ...


class System(Protocol):
    """Everything the API stands on."""

    @property
    def store(self) -> Store: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def ids(self) -> Ids: ...
    @property
    def bell(self) -> Bell: ...
    @property
    def version(self) -> str: ...
    @property
    def node(self) -> str: ...
    @property
    def bootstrap_key(self) -> str: ...
    @property
    def stations(self) -> Stations: ...
    @property
    def instructing(self) -> Instructing: ...
    @property
    def charging(self) -> Charging: ...
    @property
    def tokens(self) -> Tokens: ...
    @property
    def catalogue(self) -> Catalogue: ...
    @property
    def credentials(self) -> Credentials: ...

    async def hash_password(self, password: str) -> str:
        """The stored form of a Basic password."""
        ...

    def readiness(self) -> dict[str, tuple[bool, str]]:
        """What must work for this node to be useful, each with a sentence."""
        ...

    def metrics(self) -> bytes:
        """The Prometheus exposition text."""
        ...
