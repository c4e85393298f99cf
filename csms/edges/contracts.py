"""Contract certificates of cars (ISO 15118): judged at Authorize, their OCSP status, their issue (C07, M03, M06).

Everything here asks somebody else, so it is answered when they have answered, never in the read loop.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Final

import structlog
from cryptography import x509

from csms.edges.pkiweb import ContractPool, Responders, Unreachable
from csms.pki.ocsp import Question, question_about
from csms.pki.paths import PathFault, path_to_root
from csms.pki.reading import ALGORITHMS, BadCertificate, chain_of, common_name, hash_data
from csms.ports import Clock

log = structlog.get_logger()

ACCEPTED: Final = "Accepted"
# GetCertificateStatusResponse.ocspResult
_LONGEST_OCSP_RESULT: Final = 5500
_WORDS: Final = {
    PathFault.EXPIRED: "CertificateExpired",
    PathFault.SIGNATURE: "SignatureError",
    PathFault.NO_ISSUER: "CertChainError",
}


class Contracts:
    """`roots` names the PEM file of the roots of contract certificates; None: there are none."""

    def __init__(self, *, clock: Clock, responders: Responders, roots: Path | None, pool: ContractPool | None) -> None:
        self._clock = clock
        self._responders = responders
        self._roots = roots
        self._pool = pool

    async def certificate_status(self, token: str, certificate: str | None, hashes: list[Question]) -> str:
        """AuthorizeCertificateStatus of a contract certificate, given in full, by hash data, or both."""
        try:
            if certificate is not None:
                word = await self._judge_chain(token, certificate)
                if word != ACCEPTED:
                    return word
            return await self._judge_hashes(hashes)
        except (Unreachable, BadCertificate) as problem:
            # Not known to be good is not good (C07.FR.05): a revoked contract would charge for nothing.
            log.info("contract.not_judged", why=str(problem))
            return "CertChainError"

    async def _judge_chain(self, token: str, certificate: str) -> str:
        roots = self._load_roots()
        if not roots:
            return "NoCertificateAvailable"
        way = path_to_root(chain_of(certificate), roots, self._clock.now_ms())
        if way.fault is not None:
            return _WORDS[way.fault]
        if _plain(common_name(way.certificates[0].subject)) != _plain(token):
            return "CertChainError"
        for one, issuer in zip(way.certificates, way.certificates[1:], strict=False):
            question = question_about(one, issuer)
            if self._responders.can_ask(question):
                word = _word((await self._responders.ask(question, issuer)).status)
                if word != ACCEPTED:
                    return word
        return ACCEPTED

    async def _judge_hashes(self, hashes: list[Question]) -> str:
        for question in hashes:
            issuer = self._issuer_of(question)
            word = _word((await self._responders.ask(question, issuer)).status)
            if word != ACCEPTED:
                return word
        return ACCEPTED

    async def ocsp(self, question: Question) -> str | None:
        """The DER of the responder's answer in base64 (M06.FR.08), None when there is none."""
        try:
            verdict = await self._responders.ask(question, self._issuer_of(question))
        except (Unreachable, BadCertificate) as problem:
            log.info("ocsp.failed", responder=question.responder, why=str(problem))
            return None
        text = base64.b64encode(verdict.der).decode()
        return text if len(text) <= _LONGEST_OCSP_RESULT else None

    async def ev_certificate(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """What the contract certificate pool answers to a car's request; None when there is no pool or no answer."""
        if self._pool is None:
            return None
        try:
            return await self._pool.ask(request)
        except Unreachable as problem:
            log.warning("contract.pool_failed", why=str(problem))
            return None

    def _load_roots(self) -> list[x509.Certificate]:
        if self._roots is None:
            return []
        try:
            return chain_of(self._roots.read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError, BadCertificate) as problem:
            log.error("contract.roots_unreadable", file=str(self._roots), why=str(problem))
            return []

    def _issuer_of(self, question: Question) -> x509.Certificate | None:
        """Among the roots, so that a responder's signature can be checked."""
        if question.algorithm not in ALGORITHMS:
            return None
        for root in self._load_roots():
            if hash_data(root, root, question.algorithm)["issuerKeyHash"] == question.issuer_key_hash.lower():
                return root
        return None


def question_of(data: Any) -> Question:
    """OCSPRequestData as it came."""
    return Question(
        algorithm=str(data.hashAlgorithm),
        issuer_name_hash=data.issuerNameHash.lower(),
        issuer_key_hash=data.issuerKeyHash.lower(),
        serial=data.serialNumber,
        responder=data.responderURL,
    )


def _word(status: str) -> str:
    return {"good": ACCEPTED, "revoked": "CertificateRevoked"}.get(status, "CertChainError")


def _plain(emaid: str | None) -> str:
    """Contract ids are the same with and without their separators."""
    return (emaid or "").replace("-", "").replace("*", "").upper()
