"""Certificates read: who they name, how long they hold, and the hash data by which OCPP names them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

# OCPP's names of hash algorithms (HashAlgorithmEnumType).
ALGORITHMS: Final[dict[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]]] = {
    "SHA256": hashes.SHA256,
    "SHA384": hashes.SHA384,
    "SHA512": hashes.SHA512,
}
# A00.FR.503 and 2.0.1 A00.FR.503: what is weaker is refused.
LEAST_RSA_BITS: Final = 2048
LEAST_EC_BITS: Final = 224

_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class BadCertificate(ValueError):
    """It cannot be read or must not be used; the text is one sentence that says why."""


@dataclass(frozen=True, slots=True)
class Named:
    """Whom a certificate names and for how long (UTC ms). `serial` is hexadecimal, without leading zeros."""

    serial: str
    subject: str
    common_name: str | None
    organizations: tuple[str, ...]
    valid_from_ms: int
    expires_ms: int

    def problem_at(self, now_ms: int) -> str | None:
        """Why it does not hold at this time, None when it does."""
        if now_ms < self.valid_from_ms:
            return f"is not valid before {day(self.valid_from_ms)}"
        return f"expired on {day(self.expires_ms)}" if now_ms >= self.expires_ms else None


def chain_of(pem: str) -> list[x509.Certificate]:
    """The certificates of a PEM text in their order. Raises BadCertificate when there is none or one is broken."""
    found = _PEM.findall(pem)
    if not found:
        raise BadCertificate("there is no certificate in PEM")
    try:
        return [x509.load_pem_x509_certificate(one.encode()) for one in found]
    except ValueError as error:
        raise BadCertificate("a certificate cannot be read") from error


def pem_of(*certificates: x509.Certificate) -> str:
    """Certificates as PEM, one after the other."""
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


def named(certificate: x509.Certificate) -> Named:
    """Whom it names."""
    return Named(
        serial=format(certificate.serial_number, "x"),
        subject=certificate.subject.rfc4514_string(),
        common_name=common_name(certificate.subject),
        organizations=organizations(certificate.subject),
        valid_from_ms=_ms(certificate.not_valid_before_utc),
        expires_ms=_ms(certificate.not_valid_after_utc),
    )


def named_in_der(der: bytes) -> Named:
    """Whom a certificate in DER names. Raises BadCertificate."""
    try:
        return named(x509.load_der_x509_certificate(der))
    except ValueError as error:
        raise BadCertificate("the certificate cannot be read") from error


def common_name(name: x509.Name) -> str | None:
    """The CN, None when there is none or more than one."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if len(found) == 1 else None


def organizations(name: x509.Name) -> tuple[str, ...]:
    """Every O."""
    return tuple(str(one.value) for one in name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))


def hash_data(certificate: x509.Certificate, issuer: x509.Certificate, algorithm: str) -> dict[str, str]:
    """CertificateHashData, by an algorithm of `ALGORITHMS`: RFC 6960's CertID, hexadecimal (OCPP M04)."""
    built = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, ALGORITHMS[algorithm]()).build()
    return {
        "hashAlgorithm": algorithm,
        "issuerNameHash": built.issuer_name_hash.hex(),
        "issuerKeyHash": built.issuer_key_hash.hex(),
        "serialNumber": format(certificate.serial_number, "x"),
    }


def issuer_in(chain: list[x509.Certificate]) -> x509.Certificate | None:
    """Who issued the first certificate of a chain: itself, or the next one."""
    for issuer in chain[:2]:
        if is_issued_by(chain[0], issuer):
            return issuer
    return None


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's name and signature stand on it."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001  # the library raises InvalidSignature, ValueError or TypeError by what is wrong
        return False
    return True


def weakness(key: PublicKeyTypes) -> str | None:
    """Why a key must not be used, None when it may."""
    match key:
        case rsa.RSAPublicKey():
            return None if key.key_size >= LEAST_RSA_BITS else f"an RSA key of {key.key_size} bits is too short"
        case ec.EllipticCurvePublicKey():
            return None if key.key_size >= LEAST_EC_BITS else f"an EC key of {key.key_size} bits is too short"
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return None
        case _:
            return "a key of this kind is not used with TLS"


def day(at_ms: int) -> str:
    """A day as people read it, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
