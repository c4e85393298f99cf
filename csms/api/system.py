"""What the operator API asks of the running system. The composition root fills it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from csms.app.answers import RawAnswer
from csms.app.customers import CustomerWish
from csms.app.dues import Due
from csms.app.locallists import Shadow
from csms.app.scanning import FairUse
from csms.app.upgrading import Upgrading
from csms.app.uploads import LogRequest
from csms.domain.access import Token
from csms.domain.clock import ClockModel
from csms.domain.taxes import TaxEntry
from csms.ports import Bell, Clock, Files, Ids, ReadTx, Row, Store, Tx
from firmware_profiles.load import Profiles


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

    async def take_late(self, session_id: str, who: str) -> None:
        """Let what came after a session's final date move money. Raises Refusal."""
        ...

    def save_meters(self) -> bool:
        """Write what ordinary readings changed; False when nothing waited."""
        ...


class Again(Protocol):
    """The quarantine's way back."""

    async def read(self, quarantine_id: str, payload: Mapping[str, Any] | None, who: str) -> None:
        """Read a kept frame again, as it came or as `payload` puts it right. Raises Refusal."""
        ...


class Tokens(Protocol):
    """Who may charge."""

    async def changed(self, uid_norm: str) -> None:
        """A token was put or deleted."""
        ...

    async def vehicle_changed(self, id_norm: str) -> None:
        """A vehicle was put or deleted."""
        ...

    def dues(self, token: Token) -> Sequence[Due]:
        """The unpaid amounts for which a token begins nothing."""
        ...


class LocalLists(Protocol):
    """The authorization lists that chargers keep."""

    def rule(self, station_id: str) -> str:
        """Which tokens belong on this charger's list: off, fleet, all."""
        ...

    async def set_rule(self, station_id: str, tokens: str | None, who: str) -> None:
        """A rule of its own; None: as configured."""
        ...

    async def shadow(self, station_id: str) -> Shadow:
        """What we know of its list."""
        ...

    def ask(self, station_id: str) -> None:
        """Have it compared now."""
        ...


class Debts(Protocol):
    """What drivers owe."""

    def all(self) -> Sequence[Due]:
        """Every debt, oldest first."""
        ...


class Names(Protocol):
    """The names buyers go by, hashed."""

    def kinds(self, tx: ReadTx, names: Iterable[str]) -> dict[str, str]:
        """The kind of each that stands on a card."""
        ...

    def set_apart(self, tx: Tx, name: str, *, is_apart: bool) -> None:
        """This name joins nobody any more, or does again. Raises Refusal."""
        ...


class Catalogue(Protocol):
    """Locations, tariffs and offers as the market sees them."""

    async def changed(self) -> None:
        """One of them was put or deleted."""
        ...


class Provisioning(Protocol):
    """What chargers hold and what is wanted of them."""

    async def want_inventory(self, station_id: str) -> None:
        """Read everything, as soon as the charger is there."""
        ...

    async def want_check(self, station_id: str) -> None:
        """Compare it, as soon as it is there."""
        ...

    async def want_apply(self, station_id: str) -> None:
        """Write what differs, as soon as it is there and idle."""
        ...

    def is_under_way(self, station_id: str) -> bool:
        """Whether any of this waits or is being done."""
        ...

    async def choose(self, station_id: str, template: str | None) -> None:
        """A built-in template for this charger."""
        ...

    async def templates_changed(self) -> None:
        """Templates were put or deleted."""
        ...


class Monitoring(Protocol):
    """What 2.0.1 chargers watch; every question waits for the charger's answer. All raise Refusal."""

    async def set(self, station_id: str, wants: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Set monitors; its result for each."""
        ...

    async def clear(self, station_id: str, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Clear monitors; its result for each."""
        ...

    async def base(self, station_id: str, base: str) -> str:
        """Set the monitoring base; its word."""
        ...

    async def level(self, station_id: str, severity: int) -> str:
        """Set the monitoring level; its word."""
        ...

    async def read(self, station_id: str, names: Sequence[str], criteria: Sequence[str]) -> str:
        """Ask what it watches; its word, after the whole report has come."""
        ...


class Credentials(Protocol):
    """Basic passwords of chargers."""

    async def rotate(self, station_id: str, password: str | None, push: bool) -> Mapping[str, Any]:
        """Set a new password (made when None), on the charger first when `push`. Raises Refusal."""
        ...


class Tolerance(Protocol):
    """What is known of chargers' oddities."""

    @property
    def profiles(self) -> Profiles: ...

    def oddities(self, station_id: str) -> dict[str, dict[str, int]]:
        """What a charger got wrong since the start: kind -> rule -> how often."""
        ...

    def clock(self, station_id: str) -> ClockModel | None:
        """What is known of its clock."""
        ...


class Logs(Protocol):
    """Asking chargers for diagnostics and logs."""

    async def ask(self, station_id: str, wanted: LogRequest, who: str, *, timeout_s: float) -> str:
        """Ask now; the id of the upload. Raises Refusal."""
        ...


class FileLimits(Protocol):
    """How large files may be."""

    @property
    def firmware_bytes(self) -> int: ...


class Upgrades(Protocol):
    """Firmware beside campaigns."""

    async def publish(self, station_id: str, image_id: str, *, timeout_s: float) -> tuple[int, RawAnswer]:
        """Have a local controller offer an image: (the number on the wire, its answer). Raises Refusal."""
        ...


class Enquiries(Protocol):
    """Asking chargers about customers."""

    async def ask(self, station_id: str, wish: CustomerWish, who: str, *, timeout_s: float) -> Row:
        """Ask now; the row of the request. Raises Refusal."""
        ...


class Maintenance(Protocol):
    """Firmware, logs and customer information."""

    @property
    def files(self) -> Files: ...
    @property
    def limits(self) -> FileLimits: ...
    @property
    def logs(self) -> Logs: ...
    @property
    def upgrading(self) -> Upgrading: ...
    @property
    def upgrades(self) -> Upgrades: ...
    @property
    def enquiries(self) -> Enquiries: ...


class Trust(Protocol):
    """Certificates of chargers. What a charger cannot be asked raises Refusal; answers are its own words."""

    def refusals(self) -> list[tuple[int, str | None, str, str]]:
        """The latest attempts to connect that came to nothing: (UTC ms, identity, why, remote)."""
        ...

    def authority(self) -> tuple[str, str | None]:
        """(off, builtin or external, the built-in root as PEM)."""
        ...

    async def listing(self, station_id: str) -> list[Row]:
        """Every certificate issued to a charger or held by it."""
        ...

    async def install(self, station_id: str, use: str, pem: str) -> str:
        """Send a root certificate to a charger."""
        ...

    async def read_installed(self, station_id: str, uses: Sequence[str]) -> Mapping[str, str]:
        """Ask a charger what it holds; its word for each use."""
        ...

    async def delete(self, station_id: str, certificate_id: str, force: bool) -> str:
        """Delete a certificate on a charger."""
        ...

    async def renew(self, station_id: str, use: str) -> str:
        """Ask a charger for a new signing request now."""
        ...

    async def revoke(self, station_id: str, certificate_id: str, who: str) -> Row:
        """A certificate of ours opens no door any more."""
        ...

    async def raise_profile(
        self, station_id: str, profile: int, *, url: str | None, slot: int | None, interface: str, force: bool
    ) -> Mapping[str, Any]:
        """Ask a charger to move to a higher security profile."""
        ...


class Gateways(Protocol):
    """The payment gateway."""

    async def reconcile(self, payment_id: str) -> None:
        """Compare a payment with the gateway's books now. Raises Refusal."""
        ...


class Publisher(Protocol):
    """Pushing catalogs to a discovery service."""

    def ask(self) -> int:
        """Publish everything now; how many catalogs that are."""
        ...


class Books(Protocol):
    """Documents, statements, money paid over. All raise Refusal."""

    async def set_taxes(self, entries: Sequence[TaxEntry], who: str) -> Sequence[TaxEntry]:
        """Replace what stands on tax documents; the entries as they are kept."""
        ...

    async def make_statement(self, kind: str, party: str, period: str) -> tuple[Row, bool]:
        """The statement of a month, and whether it is new."""
        ...

    async def remit(
        self, payer: str, party: str, ref: str, *, amount_minor: int, withheld_minor: int, who: str
    ) -> tuple[Row, bool]:
        """Record what a buyer app (`bap`) or a `fleet` paid over; the row, and whether it is new."""
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
    def again(self) -> Again: ...
    @property
    def tokens(self) -> Tokens: ...
    @property
    def local_lists(self) -> LocalLists: ...
    @property
    def catalogue(self) -> Catalogue: ...
    @property
    def dues(self) -> Debts: ...
    @property
    def identities(self) -> Names: ...
    @property
    def provisioning(self) -> Provisioning: ...
    @property
    def monitoring(self) -> Monitoring: ...
    @property
    def credentials(self) -> Credentials: ...
    @property
    def trust(self) -> Trust: ...
    @property
    def maintenance(self) -> Maintenance: ...
    @property
    def tolerance(self) -> Tolerance: ...
    @property
    def books(self) -> Books: ...
    @property
    def gateways(self) -> Gateways: ...
    @property
    def publisher(self) -> Publisher | None: ...
    @property
    def fair_use(self) -> FairUse: ...

    async def hash_password(self, password: str) -> str:
        """The stored form of a Basic password."""
        ...

    def readiness(self) -> dict[str, tuple[bool, str]]:
        """What must work for this node to be useful, each with a sentence."""
        ...

    def metrics(self) -> bytes:
        """The Prometheus exposition text."""
        ...
