"""Is this firmware signed by this certificate? Asked before a charger hears of it (2.0.1 L01, 1.6 white paper 5.2).

RSA-PSS or ECDSA over the file's SHA-256, so the digest is enough and the file is not read again.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from csms.domain.refusal import Refusal, Why
from csms.domain.units import to_ms

_RSA_BITS: Final = 2048  # the least of A00.FR.504 and the white paper
_EC_BITS: Final = 224


def check_signature(certificate_pem: str, signature: str, sha256: str, now_ms: int) -> None:
    """Refuse INVALID_REQUEST, with the reason, unless `signature` (base64) over the digest (hex) holds now.

    `certificate_pem` may be a chain; its first certificate has signed.
    """
    certificate = _certificate(certificate_pem)
    if not to_ms(certificate.not_valid_before_utc) <= now_ms <= to_ms(certificate.not_valid_after_utc):
        raise _bad("signing_certificate: it is not valid at this time")
    try:
        raw = base64.b64decode(signature, validate=True)
    except (ValueError, binascii.Error):
        raise _bad("signature: it is not base64") from None
    digest = bytes.fromhex(sha256)
    key = certificate.public_key()
    try:
        match key:
            case rsa.RSAPublicKey() if key.key_size >= _RSA_BITS:
                pss = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=padding.PSS.AUTO)
                key.verify(raw, digest, pss, Prehashed(SHA256()))
            case ec.EllipticCurvePublicKey() if key.key_size >= _EC_BITS:
                key.verify(raw, digest, ec.ECDSA(Prehashed(SHA256())))
            case _:
                raise _bad(f"signing_certificate: RSA from {_RSA_BITS} or EC from {_EC_BITS} bits is needed")
    except InvalidSignature:
        raise _bad("signature: it does not fit the file and the certificate (RSA-PSS or ECDSA with SHA-256)") from None


def _certificate(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise _bad("signing_certificate: it is not a certificate in PEM") from None


def _bad(detail: str) -> Refusal:
    return Refusal(Why.INVALID_REQUEST, detail)
