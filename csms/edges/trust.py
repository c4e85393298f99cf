"""Keys and certificates of one node, put together: who signs, who is believed, what the TLS listeners show.

What is asked from outside (the REST API, the composition root) is asked here; each part has a module of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csms.app.answers import RawAnswer
from csms.app.calls import Calls
from csms.app.certificates import Certificates
from csms.app.reports import Reports
from csms.app.stations import Stations
from csms.domain.certificate import State, Use
from csms.domain.refusal import Refusal, Why
from csms.edges.contracts import Contracts
from csms.edges.ocppj.link import Link
from csms.edges.pkiweb import BuiltinSigner, ContractPool, ExternalSigner, Responders
from csms.edges.roots import Roots
from csms.edges.signing import Signing, trigger_of
from csms.edges.steward import Steward
from csms.edges.tls import TlsDoor, TlsFiles, TlsProblem, check_files
from csms.edges.upgrade import Upgrade
from csms.pki.authority import BuiltinAuthority
from csms.pki.reading import BadCertificate, day
from csms.ports import Clock, Row, Store

_REVOKED_CLOSE = 4003


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustSettings:
    """Section `tls` of the configuration, and where the built-in authority keeps its key."""

    folder: Path
    pairs: tuple[tuple[Path, Path], ...]
    client_ca: Path | None
    organization: str | None
    authority: str  # off, builtin, external
    authority_name: str
    authority_url: str | None
    authority_timeout_s: float
    certificate_days: int
    renew_before_days: int
    ocsp_url: str | None
    ocsp_private_hosts: frozenset[str]
    ocsp_timeout_s: float
    contract_ca: Path | None
    ev_certificate_url: str | None


class Trust:
    """Built before the links (`certificates`, `signing`, `contracts`), joined to what carries conversations after."""

    def __init__(
        self, settings: TrustSettings, *, store: Store, stations: Stations, clock: Clock, steady_s: Callable[[], float]
    ) -> None:
        self.settings = settings
        self.plain_url = ""
        self.tls_url: str | None = None
        self._store = store
        self._stations = stations
        self._clock = clock
        self._steady_s = steady_s
        self._builtin: BuiltinAuthority | None = None
        self._door: TlsDoor | None = None
        signer: BuiltinSigner | ExternalSigner | None = None
        if settings.authority == "builtin":
            self._builtin = BuiltinAuthority(
                settings.folder, organization=settings.authority_name, days=settings.certificate_days
            )
            signer = BuiltinSigner(self._builtin, clock.now_ms)
        elif settings.authority_url is not None and settings.authority == "external":
            signer = ExternalSigner(settings.authority_url, timeout_s=settings.authority_timeout_s)
        self.certificates = Certificates(store, clock)
        self.signing = Signing(
            store=store,
            clock=clock,
            certificates=self.certificates,
            signer=signer,
            organization=settings.organization,
            renew_before_days=settings.renew_before_days,
        )
        self.contracts = Contracts(
            clock=clock,
            responders=Responders(
                override=settings.ocsp_url,
                private_hosts=settings.ocsp_private_hosts,
                timeout_s=settings.ocsp_timeout_s,
                now_ms=clock.now_ms,
            ),
            roots=settings.contract_ca,
            pool=ContractPool(settings.ev_certificate_url) if settings.ev_certificate_url is not None else None,
        )

    def join(
        self,
        *,
        raw: Callable[..., Awaitable[RawAnswer]],
        steward: Steward,
        reports: Reports,
        calls: Calls,
        refused: deque[tuple[int, str | None, str, str]],
    ) -> None:
        """Join what carries conversations; `refused` are the attempts that came to nothing."""
        self._refused = refused
        self.roots = Roots(stations=self._stations, certificates=self.certificates, raw=raw)
        self.upgrade = Upgrade(
            store=self._store,
            stations=self._stations,
            certificates=self.certificates,
            clock=self._clock,
            raw=raw,
            plain_url=lambda: self.plain_url,
            tls_url=lambda: self.tls_url,
        )
        self.signing.listen(steward, reports)
        self.roots.listen(calls)

    # -- the listeners

    def door(self, *, is_relic: bool, on_failed: Callable[[str], None]) -> TlsDoor:
        """The TLS of a listener. Raises TlsProblem."""
        check_files(self.settings.pairs, self.settings.client_ca, self._clock.now_ms())
        trusted = [self.settings.client_ca] if self.settings.client_ca is not None else []
        if self._builtin is not None:
            try:
                self._builtin.root_pem(self._clock.now_ms())
            except (OSError, BadCertificate, ValueError) as error:
                raise TlsProblem(f"the built-in authority in {self.settings.folder} cannot be used: {error}") from error
            trusted.append(self._builtin.certificate_file)
        self._door = TlsDoor(
            TlsFiles(self.settings.pairs, tuple(trusted)),
            is_relic=is_relic,
            now_ms=self._clock.now_ms,
            steady_s=self._steady_s,
            on_failed=on_failed,
        )
        return self._door

    def readiness(self) -> tuple[bool, str]:
        """Whether chargers can believe what is shown to them, and until when."""
        if self._door is None:
            return True, "no TLS listener"
        ends_ms = self._door.expires_ms
        is_good = self._clock.now_ms() < ends_ms
        return is_good, f"our certificate {'holds until' if is_good else 'expired on'} {day(ends_ms)}"

    # -- asked by operators; every method raises Refusal for what cannot be done

    def refusals(self) -> list[tuple[int, str | None, str, str]]:
        """The latest attempts to connect that came to nothing, newest first: (UTC ms, identity, why, remote)."""
        return list(self._refused)[::-1]

    def authority(self) -> tuple[str, str | None]:
        """(off, builtin or external, the built-in root as PEM)."""
        root = self._builtin.root_pem(self._clock.now_ms()) if self._builtin is not None else None
        return self.settings.authority, root

    async def listing(self, station_id: str) -> list[Row]:
        """Every certificate issued to a charger or held by it."""
        return await self.certificates.all_of(station_id)

    async def install(self, station_id: str, use: str, pem: str) -> str:
        """Send a root certificate to a charger; its word."""
        return await self.roots.install(station_id, Use(use), pem)

    async def read_installed(self, station_id: str, uses: Sequence[str]) -> Mapping[str, str]:
        """Ask a charger what it holds; its word for each use."""
        return await self.roots.listing(station_id, [Use(use) for use in uses])

    async def delete(self, station_id: str, certificate_id: str, force: bool) -> str:
        """Delete a certificate on a charger; its word."""
        return await self.roots.delete(station_id, certificate_id, force=force)

    async def renew(self, station_id: str, use: str) -> str:
        """Ask a charger for a new signing request now; its word."""
        if self.settings.authority == "off":
            raise Refusal(Why.WRONG_STATE, "No certificate authority is configured; set tls.ca.")
        visit = self.roots.visit(station_id)
        return str((await visit.ask_now(*trigger_of(visit.version, use))).get("status"))

    async def revoke(self, station_id: str, certificate_id: str, who: str) -> Row:
        """A certificate of ours opens no door any more; the link that it opened is closed."""
        before = await self.certificates.one(station_id, certificate_id)
        row = await self.certificates.revoke(station_id, certificate_id, who)
        station = self._stations.get(station_id)
        link = station.link if station is not None else None
        if isinstance(link, Link) and link.peer_name is not None and before["state"] == State.IN_USE:
            link.close(_REVOKED_CLOSE, "the certificate was revoked")
        return row

    async def raise_profile(
        self, station_id: str, profile: int, *, url: str | None, slot: int | None, interface: str, force: bool
    ) -> Mapping[str, Any]:
        """Ask a charger to move to a higher security profile; what it said."""
        return await self.upgrade.ask(station_id, profile, url=url, slot=slot, interface=interface, force=force)
