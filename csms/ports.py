"""What the world must provide. Use cases see these and nothing concrete; `compose.py` fills them.

Two roads lead into the store, because two kinds of work exist:

* A **Unit** is what the charger path writes: rows made from what the node already holds in memory, no reads.
  The store's one writer commits every waiting unit in one transaction and then tells each one (`done`), so one
  fsync serves hundreds of answers (SPEED, "Hot path design" 11-14). Units are idempotent by their keys.
* **transact(work)** is every other use case: `work(tx)` loads, decides, saves and journals in one transaction.
  It runs inside the same writer, under its own savepoint, so it shares the fsync and never races with a unit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Row = dict[str, Any]


class Table(StrEnum):
    """The tables a use case may name. Their columns are documented in `storage/tables.py`."""

    STATIONS = "stations"
    SOCKETS = "sockets"
    TOKENS = "tokens"
    SESSIONS = "sessions"
    ALIASES = "aliases"
    READINGS = "readings"
    REVISIONS = "revisions"
    FRAMES = "frames"
    JOURNAL = "journal"
    CURSORS = "cursors"
    ANSWERS = "answers"
    INSTRUCTIONS = "instructions"
    ORDERS = "orders"
    LEDGER = "ledger"
    PAYMENTS = "payments"
    CASES = "cases"
    INBOX = "inbox"
    OUTBOX = "outbox"
    LOCATIONS = "locations"
    TARIFFS = "tariffs"
    OFFERS = "offers"
    RESERVATIONS = "reservations"
    CHARGING_PROFILES = "charging_profiles"
    QUARANTINE = "quarantine"
    REPORTS = "reports"
    SETTINGS = "settings"
    API_KEYS = "api_keys"
    IDEMPOTENCY = "idempotency"
    RATINGS = "ratings"
    CONFIGURATION = "configuration"
    CONFIG_TEMPLATES = "config_templates"
    PROVISIONING = "provisioning"
    LOCAL_LISTS = "local_lists"
    INSTALLED_PROFILES = "installed_profiles"
    CERTIFICATES = "certificates"
    VEHICLES = "vehicles"
    FIRMWARE_IMAGES = "firmware_images"
    FIRMWARE_CAMPAIGNS = "firmware_campaigns"
    FIRMWARE_JOBS = "firmware_jobs"
    UPLOADS = "uploads"
    CUSTOMER_REQUESTS = "customer_requests"
    MONITORS = "monitors"
    STATION_EVENTS = "station_events"
    DISPLAY_MESSAGES = "display_messages"
    AVAILABILITY = "availability"
    FLEETS = "fleets"
    IDENTITIES = "identities"
    OTPS = "otps"
    TICKETS = "tickets"
    TRACKERS = "trackers"
    DOCUMENTS = "documents"
    DOCUMENT_PAGES = "document_pages"
    REMITTANCES = "remittances"
    CONSUMERS = "consumers"
    GATEWAY_EVENTS = "gateway_events"
    GATEWAY_REFS = "gateway_refs"
    PUBLICATIONS = "publications"
    PRICE_EVENTS = "price_events"
    HOMES = "homes"


class Put(IntEnum):
    """A prepared write of the charger path. The tuple each one takes is written beside its SQL in
    `storage/hot.py`; the order here is the order in which one batch writes them."""

    STATION = 0
    STATION_SEEN = 1
    SESSION = 2
    SESSION_METER = 3
    ALIAS = 4
    READING = 5
    SOCKET = 6
    ANSWER = 7
    FRAME = 8
    FRAME_ANSWERED = 9
    INSTRUCTION = 10
    INSTRUCTION_STATE = 11
    CASE = 12
    QUARANTINE = 13
    REPORT = 14
    TOKEN_USED = 15
    RESERVATION_STATE = 16
    FACT = 17


class StoreDown(Exception):
    """A commit failed for a reason that is not the unit's own (disk full, database gone). Nothing of it is stored."""


class Unit:
    """Rows of the charger path that become durable together, and who to tell.

    `done(error)` runs on the event loop after the commit (None) or after its failure; answers leave there.
    """

    __slots__ = ("done", "rows")

    def __init__(self, done: Callable[[BaseException | None], None] | None = None) -> None:
        self.rows: list[tuple[int, tuple[Any, ...]]] = []
        self.done = done

    def put(self, what: int, row: tuple[Any, ...]) -> None:
        """Add one prepared write; `what` is a `Put`."""
        self.rows.append((what, row))


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened, as it stands in the journal. `seq` is 0 until it is stored."""

    kind: str
    at_ms: int
    body: Mapping[str, Any]
    station: str | None = None
    session_no: int | None = None
    order_id: str | None = None
    seq: int = 0


class ReadTx(Protocol):
    """A consistent view of the store. Filters are equality; a sequence means "one of"."""

    def one(self, table: Table, **where: Any) -> Row | None:
        """The only row that matches, or None."""
        ...

    def many(
        self,
        table: Table,
        *,
        order: str | None = None,
        limit: int | None = None,
        before: Any = None,
        after: Any = None,
        **where: Any,
    ) -> list[Row]:
        """Rows that match. `order` names a column, `-column` for descending; `after`/`before` bound it, exclusive."""
        ...

    def count(self, table: Table, **where: Any) -> int:
        """How many rows match."""
        ...

    def total(self, table: Table, column: str, **where: Any) -> int:
        """The sum of an integer column over the rows that match (0 for none)."""
        ...

    def facts(self, after_seq: int, limit: int) -> list[Fact]:
        """The journal after `after_seq`, in the order in which a follower must see it."""
        ...


class Tx(ReadTx, Protocol):
    """One transaction of a use case. Its first statement takes its locks: `take`."""

    def take(self, table: Table, **where: Any) -> Row | None:
        """Like `one`, and nobody else changes the row until this transaction ends."""
        ...

    def add(self, table: Table, row: Mapping[str, Any]) -> bool:
        """Insert, or do nothing when a unique key already stands; False then."""
        ...

    def save(self, table: Table, row: Mapping[str, Any]) -> None:
        """Insert, or overwrite the row with the same primary key."""
        ...

    def change(self, table: Table, values: Mapping[str, Any], **where: Any) -> int:
        """Update the rows that match; how many there were."""
        ...

    def drop(self, table: Table, **where: Any) -> int:
        """Delete the rows that match; how many there were."""
        ...

    def append(self, facts: Iterable[Fact]) -> None:
        """Journal facts in this transaction."""
        ...

    def next_no(self, name: str) -> int:
        """The next number of a named sequence, from 1, never reused."""
        ...


class Store(Protocol):
    """Durable memory. `submit` keeps the order of its callers; `transact` keeps it too."""

    def submit(self, unit: Unit) -> None:
        """Hand a unit to the writer; returns at once."""
        ...

    async def transact(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in one transaction and return what it returned, after the commit. Its exceptions roll back."""
        ...

    async def read(self, query: Callable[[ReadTx], T]) -> T:
        """Run `query` on a consistent snapshot that holds everything committed before the call."""
        ...

    def waiting(self) -> int:
        """Units and works not yet committed: the back-pressure gauge."""
        ...


class TooBig(Exception):
    """A file is larger than it may be; what had come of it is gone."""


class NotKept(Exception):
    """The disk does not take a file: it is full, or fails; what had come of it is gone."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A file that has come in full and has no name yet. Digests in hexadecimal."""

    id: str
    size: int
    sha256: str
    md5: str


class Files(Protocol):
    """Large files beside the store: firmware, and what chargers upload. A name is `folder/id`, both made by us."""

    async def draft(self, chunks: AsyncIterator[bytes], limit: int) -> Draft:
        """Take a file of at most `limit` bytes. Raises TooBig, NotKept; what ends it early leaves nothing behind."""
        ...

    async def keep(self, draft: Draft, name: str) -> None:
        """Give it its name, at once or not at all; durable when this returns."""
        ...

    async def discard(self, draft: Draft) -> None:
        """Throw it away."""
        ...

    async def drop(self, name: str) -> None:
        """Delete a kept file; nothing when it is not there."""
        ...

    def path(self, name: str) -> Path:
        """Where a kept file lies, to be sent."""
        ...


class Bell(Protocol):
    """Rings; carries nothing. Whoever hears it looks into the store."""

    def ring(self, topic: str) -> None:
        """Wake everyone who waits on `topic`."""
        ...

    async def wait(self, topic: str, timeout_s: float) -> None:
        """Return at the next ring, or after `timeout_s`. A ring since the last wait counts."""
        ...


class Clock(Protocol):
    """The real time."""

    def now_ms(self) -> int:
        """UTC milliseconds since the epoch."""
        ...


class Ids(Protocol):
    """Fresh, unguessable identifiers."""

    def uuid(self) -> str:
        """A UUIDv7: unique for ever, sorts by time."""
        ...

    def uuid4(self) -> str:
        """A random UUID (Beckn message ids)."""
        ...

    def secret(self) -> str:
        """An unguessable URL-safe token of at least 128 bits."""
        ...


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """What the gateway is asked to collect. `hold` = authorise now, capture later (UPI mandate)."""

    payment_id: str
    order_id: str
    amount_minor: int
    currency: str
    hold: bool
    note: str
    expires_ms: int


@dataclass(frozen=True, slots=True)
class PaymentLink:
    """Where the driver pays: a page, and the UPI intent behind it."""

    url: str
    upi_intent: str
    txn_ref: str


class GatewayRefused(Exception):
    """The gateway says no and would say so again. Nothing has moved; a person decides."""


class GatewayAway(Exception):
    """No answer, or a failure of the gateway's own: whether it acted is unknown. The same call is made again."""


class UnreadableEvent(Exception):
    """A genuine event whose content cannot be understood."""


class MoneyState(StrEnum):
    """What a gateway says of one attempt to pay."""

    WAITING = "waiting"
    AUTHORIZED = "authorized"  # held for us, or about to be captured by the gateway itself
    CAPTURED = "captured"
    FAILED = "failed"
    VOIDED = "voided"  # a hold that ended without a capture: released or expired


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """What a gateway is asked to collect, and what is known of it there (table `gateway_refs`).

    `receipt` is our name for it: the same for the same payment, sum and manner, and at most 40 characters.
    `taken_minor` and `released_minor` are what our books take and give back of a hold in all, done or queued: a
    gateway that captures once and gives the rest back by itself learns from them when that is due.
    """

    receipt: str
    payment_id: str
    amount_minor: int
    currency: str
    hold: bool
    note: str = ""
    expires_ms: int = 0
    remote_id: str | None = None
    remote_payment_id: str | None = None
    taken_minor: int = 0
    released_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Where the driver can pay now."""

    remote_id: str
    upi_intent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteMoney:
    """One attempt to pay, as the gateway knows it. `reason` says why it failed, `hold_ends_ms` when a hold lapses."""

    remote_payment_id: str
    state: MoneyState
    amount_minor: int
    currency: str
    captured_minor: int = 0
    refunded_minor: int = 0
    reason: str | None = None
    hold_ends_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteView:
    """A collection as it stands at the gateway, with every attempt to pay it."""

    remote_id: str
    attempts: tuple[RemoteMoney, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What came of a movement. Not done: the gateway has it and will say later; the same call tells."""

    ref: str
    is_done: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundNews:
    """What a gateway says of a refund; `key` is empty when it is none of ours (made by hand at the gateway)."""

    key: str | None
    ref: str
    amount_minor: int
    state: str  # pending, done, failed


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayEvent:
    """A webhook, read. Which collection it is about is told by whichever of the names is there."""

    event_id: str
    kind: str
    at_ms: int | None = None
    payment_id: str | None = None
    receipt: str | None = None
    remote_id: str | None = None
    money: RemoteMoney | None = None
    refund: RefundNews | None = None


class Payments(Protocol):
    """A payment gateway (docs/payments.md). Every movement is idempotent by its key: asked twice it happens once.

    All that goes over the network raises GatewayRefused or GatewayAway and takes a bounded time.
    """

    @property
    def name(self) -> str:
        """As configured, and in the path of its webhook."""
        ...

    @property
    def is_remote(self) -> bool:
        """Whether it keeps books elsewhere that have to be compared with ours."""
        ...

    def link(self, request: PaymentRequest) -> PaymentLink:
        """The page and intent for a payment; no network, no side effect."""
        ...

    async def prepare(self, of: Collection) -> Prepared:
        """Make it payable there: again for the same receipt gives the same remote order, with a fresh intent."""
        ...

    async def look(self, of: Collection) -> RemoteView | None:
        """How it stands there; None when the gateway knows no such receipt."""
        ...

    async def capture(self, of: Collection, amount_minor: int, key: str) -> Moved:
        """Take `amount_minor` of a hold."""
        ...

    async def release(self, of: Collection, amount_minor: int, key: str) -> Moved:
        """Give back `amount_minor` of a hold; of one that was captured whole, by a refund."""
        ...

    async def refund(self, of: Collection, amount_minor: int, key: str) -> Moved:
        """Return `amount_minor` of a captured payment to its source. Never more than was captured."""
        ...

    def is_genuine(self, headers: Mapping[str, str], body: bytes) -> bool | None:
        """Whether a webhook was signed with our secret, compared in constant time; None when there is no secret."""
        ...

    def event(self, headers: Mapping[str, str], body: bytes) -> GatewayEvent:
        """Read a genuine webhook. Raises UnreadableEvent."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A text for somebody's telephone. `key` is the same when it is sent again; `code` stands in the text, too."""

    key: str
    to: str
    purpose: str
    text: str
    code: str
    expires_at: str


class Messenger(Protocol):
    """Whoever brings a text to a telephone."""

    async def send(self, message: Message) -> None:
        """Hand it over, in bounded time. Any exception means that it was not."""
        ...


@dataclass(slots=True)
class Follower:
    """A reader of the journal with a cursor of its own (`name`). `on_facts` must be idempotent: after a crash it
    sees again what it had not yet put behind its cursor."""

    name: str
    on_facts: Callable[[Sequence[Fact]], Awaitable[None]]
    kinds: frozenset[str] = field(default_factory=frozenset)
