"""Certificates for chargers, from request to use (A02, A03; OCPP.md 4.2 rows 29 and 30).

    SignCertificate ─▶ check ─▶ answered, stored ┄▶ errand: authority signs ─▶ CertificateSigned ─▶ accepted
                                                                                the charger comes with it ─▶ in-use
    some days before the end ─▶ errand: the charger is asked for a new request ─▶ and so on

The authority is never asked in the read loop, nor waited for there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, Protocol

import structlog

from csms.app.certificates import Certificates
from csms.app.configured import said
from csms.app.reports import Report, Reports
from csms.app.stations import Station
from csms.domain.certificate import DAY_MS, FOR_US, State, Use, names_of
from csms.edges.ocppj.codes import Version
from csms.edges.pkiweb import Unreachable
from csms.edges.steward import NoAnswer, SaidNo, Steward, Visit
from csms.pki.reading import BadCertificate, chain_of, common_name, pem_of
from csms.pki.requests import check_request, read_request
from csms.ports import Clock, ReadTx, Row, Store

log = structlog.get_logger()

DELIVER: Final = "deliver certificates"
RENEW: Final = "renew certificates"

_TRIGGERS: Final = {
    Use.STATION: "SignChargingStationCertificate",
    Use.V2G: "SignV2GCertificate",
    Use.COMBINED: "SignCombinedCertificate",
}
# CertificateSigned.certificateChain; 1.6 chargers tell a smaller limit by the key CertificateSignedMaxChainSize.
_LONGEST_CHAIN: Final = 10_000
_CHAIN_SIZE_KEYS: Final = ("CertificateSignedMaxChainSize", "SecurityCtrlr.MaxCertificateChainSize")
# A charger waits for minutes and then asks again by itself or not at all; after a day its request is of no use.
_REQUEST_LIFE_MS: Final = DAY_MS
# Each request is a row, a signature and a message: who asks in a circle must not fill the disk.
_MOST_AN_HOUR: Final = 20
_HOUR_MS: Final = 3_600_000
_LOOK_FOR_DUE_S: Final = 3600.0
_ASKED_AGAIN_MS: Final = DAY_MS


class Signer(Protocol):
    """A certificate authority."""

    async def sign(self, csr: str, *, use: str, station: str) -> str:
        """A PEM chain, the charger's certificate first. Raises Unreachable."""
        ...


class Signing:
    """Checks requests, has them signed, brings the certificates to chargers and looks when they end."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        certificates: Certificates,
        signer: Signer | None,
        organization: str | None,
        renew_before_days: int,
    ) -> None:
        self._store = store
        self._clock = clock
        self._certificates = certificates
        self._signer = signer
        self._organization = organization
        self._renew_before_days = renew_before_days
        self._taken: dict[str, deque[int]] = {}  # charger -> when it last asked and was accepted
        self._asked: dict[str, int] = {}  # certificate -> when its charger was asked for a new request
        self._steward: Steward | None = None

    def listen(self, steward: Steward, reports: Reports) -> None:
        """Register the errands and the reader; the read loop judges requests before there are any (`problem`)."""
        self._steward = steward
        reports.read("SignCertificate", self._stored)
        steward.errand(DELIVER, self.deliver)
        steward.errand(RENEW, self.renew)

    def want(self, station_id: str, errand: str) -> None:
        """Call for an errand."""
        if self._steward is not None:
            self._steward.want(station_id, errand)

    # -- asked by a charger

    def problem(self, station: Station, csr: str, use: str) -> str | None:
        """Why a request is rejected, None when it will be signed. In the read loop: memory and arithmetic only."""
        if self._signer is None:
            return "no certificate authority is configured"
        # A V2G certificate names the charger by an id of the V2G world.
        names = frozenset[str]() if use == Use.V2G else names_of(station.id, station.serial)
        try:
            check_request(csr, names=names, organization=None if use == Use.V2G else self._organization)
        except BadCertificate as problem:
            return str(problem)
        now_ms = self._clock.now_ms()
        taken = self._taken.setdefault(station.id, deque(maxlen=_MOST_AN_HOUR))
        if len(taken) == _MOST_AN_HOUR and now_ms - taken[0] < _HOUR_MS:
            return f"the charger has asked {_MOST_AN_HOUR} times within an hour"
        taken.append(now_ms)
        return None

    async def _stored(self, report: Report) -> None:
        """A request that was answered Accepted."""
        use = str(report.body.get("certificateType") or Use.STATION.value)
        key = f"{report.request_id} {report.seq_no} {report.generated_at}"
        await self._certificates.requested(report.station, use, str(report.body["csr"]), key)
        self.want(report.station, DELIVER)

    # -- errands

    async def deliver(self, visit: Visit) -> None:
        """Have signed what is not signed, and bring the charger what it has not taken."""
        for row in await self._certificates.deliverable(visit.station.id):
            chain = row["pem"] if row["state"] == State.SIGNED else await self._sign(row)
            if chain is None:
                continue
            fitting = _shortened(chain, await self._chain_limit(visit.station.id))
            if fitting is None:
                await self._certificates.rejected(row["id"], "the certificate is longer than the charger takes")
                continue
            payload = {"certificateChain": fitting}
            if visit.version is not Version.V16 and row["use"] != Use.COMBINED:
                payload["certificateType"] = row["use"]
            try:
                answer = await visit.ask("CertificateSigned", payload)
            except SaidNo as no:
                await self._certificates.rejected(row["id"], f"the charger answered {no}")
                continue
            await self._certificates.answered(row["id"], str(answer.get("status")))
            if self._is_due(fitting):
                self.want(visit.station.id, RENEW)

    async def _sign(self, row: Row) -> str | None:
        """The chain; None when there will be none. Raises NoAnswer when the authority is to be asked again."""
        if self._clock.now_ms() - row["updated_ms"] > _REQUEST_LIFE_MS:
            await self._certificates.rejected(row["id"], "the certificate authority did not sign within a day")
            return None
        if self._signer is None:
            await self._certificates.rejected(row["id"], "no certificate authority is configured any more")
            return None
        try:
            chain = await self._signer.sign(row["pem"], use=row["use"], station=row["station"])
            _check_answer(chain, row["pem"], row["use"])
        except Unreachable as trouble:
            await self._certificates.delayed(row, str(trouble))
            raise NoAnswer(str(trouble)) from trouble
        except BadCertificate as problem:
            await self._certificates.rejected(row["id"], f"the certificate authority's answer is of no use: {problem}")
            return None
        await self._certificates.signed(row["id"], chain)
        return chain

    async def renew(self, visit: Visit) -> None:
        """Ask the charger for a new request (A02.FR.02)."""
        now_ms = self._clock.now_ms()
        due = [
            row for row in await self._certificates.due(self._renew_before_days) if row["station"] == visit.station.id
        ]
        for row in due:
            if now_ms - self._asked.get(row["id"], -_ASKED_AGAIN_MS) < _ASKED_AGAIN_MS:
                continue
            answer = await visit.ask(*trigger_of(visit.version, row["use"]))
            self._asked[row["id"]] = now_ms
            status = answer.get("status")
            log.info("certificate.renewal_asked", station=visit.station.id, use=row["use"], status=status)

    async def watch(self) -> None:
        """For ever: look which certificates end soon; first of all, take up what a restart interrupted."""
        for station_id in await self._certificates.waiting():
            self.want(station_id, DELIVER)
        while True:
            for row in await self._certificates.due(self._renew_before_days):
                self.want(row["station"], RENEW)
            await asyncio.sleep(_LOOK_FOR_DUE_S)

    def _is_due(self, chain: str) -> bool:
        ends_ms = int(chain_of(chain)[0].not_valid_after_utc.timestamp() * 1000)
        return ends_ms - self._clock.now_ms() <= self._renew_before_days * DAY_MS

    async def _chain_limit(self, station_id: str) -> int:
        def read(tx: ReadTx) -> int:
            told = said(tx, station_id, _CHAIN_SIZE_KEYS).values()
            return min([int(value) for value in told if value and value.isdecimal()] + [_LONGEST_CHAIN])

        return await self._store.read(read)


def trigger_of(version: Version, use: str) -> tuple[str, dict[str, Any]]:
    """The message that asks a charger for a SignCertificate."""
    if version is Version.V16:
        return "ExtendedTriggerMessage", {"requestedMessage": "SignChargePointCertificate"}
    return "TriggerMessage", {"requestedMessage": _TRIGGERS[Use(use)]}


def _check_answer(chain: str, csr: str, use: str) -> None:
    """An authority may make mistakes, too; a charger that gets another's certificate locks itself out."""
    leaf, request = chain_of(chain)[0], read_request(csr)
    if leaf.public_key() != request.public_key():
        raise BadCertificate("its certificate is for another key")
    asked, given = common_name(request.subject) or "", common_name(leaf.subject) or ""
    if use in FOR_US and asked.casefold() != given.casefold():
        raise BadCertificate(f"its certificate names {given or 'nobody'}, not {asked}")


def _shortened(chain: str, limit: int) -> str | None:
    """As many certificates from the front as the charger takes; None when not even its own fits."""
    certificates = chain_of(chain)
    for count in range(len(certificates), 0, -1):
        text = pem_of(*certificates[:count])
        if len(text) <= limit:
            return text
    return None
