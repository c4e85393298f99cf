"""A charger's certificate signing request: what it asks for, and why it may not have it."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from csms.pki.reading import BadCertificate, common_name, organizations, weakness

_STRONG: Final = frozenset({"sha256", "sha384", "sha512"})


@dataclass(frozen=True, slots=True)
class Request:
    """A request that may be signed."""

    csr: x509.CertificateSigningRequest
    common_name: str
    organizations: tuple[str, ...]


def read_request(text: str) -> x509.CertificateSigningRequest:
    """A PKCS#10 request in PEM, or in the bare base64 that some chargers send. Raises BadCertificate."""
    try:
        if "-----BEGIN" in text:
            return x509.load_pem_x509_csr(text.strip().encode())
        return x509.load_der_x509_csr(base64.b64decode("".join(text.split()), validate=True))
    except (ValueError, binascii.Error, UnicodeEncodeError) as error:
        raise BadCertificate("the signing request cannot be read") from error


def check_request(text: str, *, names: frozenset[str], organization: str | None) -> Request:
    """The request, when all is well with it. Raises BadCertificate.

    `names` are the words the charger may call itself, folded; none of them: any name will do (V2G certificates name
    the charger by an id of its own). `organization` None: any.
    """
    csr = read_request(text)
    try:
        is_own = csr.is_signature_valid
        key, algorithm = csr.public_key(), csr.signature_hash_algorithm
    except (UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise BadCertificate("the signing request uses an algorithm that is not known here") from error
    if not is_own:
        raise BadCertificate("the signing request is not signed with its own key")
    if (weak := weakness(key)) is not None:
        raise BadCertificate(weak)
    if algorithm is not None and algorithm.name not in _STRONG:
        raise BadCertificate(f"the signing request is signed with {algorithm.name}, which is too weak")
    name = common_name(csr.subject)
    if not name:
        raise BadCertificate("the signing request names nobody, or more than one")
    if names and name.casefold() not in names:
        raise BadCertificate(f"the signing request names {name}, which is not this charger's serial number")
    found = organizations(csr.subject)
    if organization is not None and found != (organization,):
        said = ", ".join(found) or "nobody"
        raise BadCertificate(f"the signing request says the charger belongs to {said}, not to {organization}")
    return Request(csr, name, found)
