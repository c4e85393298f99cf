"""Certificates on chargers: installed, listed and deleted by an operator's word; the list follows the answers (M).

operator ─▶ InstallCertificate, DeleteCertificate, GetInstalledCertificateIds ─▶ answer
any answer to those, whoever asked ─▶ table `certificates`
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from csms.app.answers import RawAnswer
from csms.app.calls import CallAnswered, Calls
from csms.app.certificates import INSTALLED, Certificates
from csms.app.stations import Stations
from csms.domain.certificate import ROOTS, State, Use
from csms.domain.refusal import Refusal, Why
from csms.edges.ocppj.codes import Version
from csms.edges.steward import Visit, visit_now
from csms.pki.reading import BadCertificate, chain_of
from csms.ports import Row

_TO_16: Final = {Use.CSMS_ROOT: "CentralSystemRootCertificate", Use.MANUFACTURER_ROOT: "ManufacturerRootCertificate"}
_FROM_16: Final = {word: use for use, word in _TO_16.items()}
_LONGEST: Final = 5500  # InstallCertificate.certificate


class Roots:
    """Conversations about installed certificates. Every method raises Refusal for what cannot be done."""

    def __init__(
        self, *, stations: Stations, certificates: Certificates, raw: Callable[..., Awaitable[RawAnswer]]
    ) -> None:
        self._stations = stations
        self._certificates = certificates
        self._raw = raw

    def listen(self, calls: Calls) -> None:
        """Hear every answer, whoever asked."""
        calls.read("InstallCertificate", self._was_installed)
        calls.read("DeleteCertificate", self._was_deleted)
        calls.read("GetInstalledCertificateIds", self._was_listed)

    # -- asked by an operator

    async def install(self, station_id: str, use: Use, pem: str) -> str:
        """Send a root certificate; the charger's word: Accepted, Rejected, Failed."""
        try:
            chain = chain_of(pem)
        except BadCertificate as problem:
            raise Refusal(Why.INVALID_REQUEST, f"The certificate is of no use: {problem}.") from problem
        if len(pem) > _LONGEST:
            raise Refusal(Why.INVALID_REQUEST, f"OCPP has room for {_LONGEST} characters; this has {len(pem)}.")
        if len(chain) != 1:
            raise Refusal(Why.INVALID_REQUEST, "One certificate at a time is installed.")
        visit = self.visit(station_id)
        payload = {"certificateType": word_of(visit, use), "certificate": pem}
        answer = await visit.ask_now("InstallCertificate", payload)
        return str(answer.get("status"))

    async def listing(self, station_id: str, uses: Sequence[Use]) -> dict[str, str]:
        """Ask what the charger holds; its word for each use, or for all in one."""
        visit = self.visit(station_id)
        if visit.version is not Version.V16:
            payload = {"certificateType": [use.value for use in uses]} if uses else {}
            answer = await visit.ask_now("GetInstalledCertificateIds", payload)
            return {use.value: str(answer.get("status")) for use in uses} or {"all": str(answer.get("status"))}
        said = {}
        for use in uses or _TO_16:
            asked = {"certificateType": word_of(visit, use)}
            said[use.value] = str((await visit.ask_now("GetInstalledCertificateIds", asked)).get("status"))
        return said

    async def delete(self, station_id: str, certificate_id: str, *, force: bool) -> str:
        """Delete what the charger listed; its word. The last root it knows us by is kept unless `force`: without it
        the charger would never come back over TLS."""
        row = await self._certificates.one(station_id, certificate_id)
        if row["role"] != INSTALLED or row["state"] != State.HELD:
            raise Refusal(Why.WRONG_STATE, "The charger does not hold this certificate.")
        data = json.loads(row["hash"])
        if not data:
            raise Refusal(Why.WRONG_STATE, "Its hash data is not known; read the charger's list first.")
        if row["use"] == Use.CSMS_ROOT and not force and await self._is_last(row):
            sentence = (
                "It is the last root by which the charger knows this system; use force to delete it all the same."
            )
            raise Refusal(Why.WRONG_STATE, sentence)
        answer = await self.visit(station_id).ask_now("DeleteCertificate", {"certificateHashData": data})
        return str(answer.get("status"))

    async def _is_last(self, row: Row) -> bool:
        return len(await self._certificates.held(row["station"], Use.CSMS_ROOT.value)) <= 1

    def visit(self, station_id: str) -> Visit:
        """A charger that is there, ready to be asked."""
        return visit_now(self._stations, station_id, self._raw)

    # -- answered by a charger

    async def _was_installed(self, answered: CallAnswered) -> None:
        if answered.response.get("status") == "Accepted":
            use, pem = _use(answered.request.get("certificateType")), str(answered.request.get("certificate"))
            await self._certificates.installed(answered.station, use, pem)

    async def _was_deleted(self, answered: CallAnswered) -> None:
        if answered.response.get("status") in {"Accepted", "NotFound"}:
            await self._certificates.deleted(answered.station, answered.request["certificateHashData"])

    async def _was_listed(self, answered: CallAnswered) -> None:
        asked = answered.request.get("certificateType")
        names = [asked] if isinstance(asked, str) else asked
        uses = [_use(name) for name in names] if names else [use.value for use in (*ROOTS, Use.V2G_CHAIN)]
        await self._certificates.listed(answered.station, uses, _listed(answered.request, answered.response))


def _listed(request: dict[str, Any], response: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """Pairs of use and hash data, in either version's shape; certificates below another count for themselves."""
    if "certificateHashData" in response:
        use = _use(request.get("certificateType"))
        return [(use, _bare(data)) for data in response["certificateHashData"]]
    found = []
    for chain in response.get("certificateHashDataChain") or []:
        below = chain.get("childCertificateHashData") or []
        found += [(_use(chain["certificateType"]), _bare(data)) for data in [chain["certificateHashData"], *below]]
    return found


def _bare(data: dict[str, Any]) -> dict[str, str]:
    names = ("hashAlgorithm", "issuerNameHash", "issuerKeyHash", "serialNumber")
    return {name: str(data[name]) for name in names}


def _use(word: object) -> str:
    known = _FROM_16.get(str(word))
    return known.value if known is not None else str(word)


def word_of(visit: Visit, use: Use) -> str:
    """A use in the words of the charger's version. Raises Refusal for one that 1.6 does not have."""
    if visit.version is not Version.V16:
        return use.value
    if use not in _TO_16:
        raise Refusal(Why.NOT_SUPPORTED, f"OCPP 1.6 knows no {use.value}.")
    return _TO_16[use]
