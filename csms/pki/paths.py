"""From a certificate up to a root we trust: for contract certificates, which come inside a message and not by TLS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography import x509

from csms.pki.reading import is_issued_by, named

# Contract certificate, two sub-CAs, root (ISO 15118-2); one more is nobody's harm.
_LONGEST: Final = 5


class PathFault(StrEnum):
    """Why there is no way up."""

    EXPIRED = "expired"
    SIGNATURE = "signature"  # an issuer of this name is there, and did not sign it
    NO_ISSUER = "no issuer"


@dataclass(frozen=True, slots=True)
class Path:
    """A certificate and its issuers up to the root, or the fault that ended the way."""

    certificates: tuple[x509.Certificate, ...]
    fault: PathFault | None = None


def path_to_root(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], now_ms: int) -> Path:
    """The way from the first certificate of `chain` over the others to one of `roots`."""
    way = [chain[0]]
    while True:
        last = way[-1]
        if named(last).problem_at(now_ms) is not None:
            return Path(tuple(way), PathFault.EXPIRED)
        if any(last == root for root in roots):
            return Path(tuple(way))
        issuers = [one for one in (*roots, *chain[1:]) if one.subject == last.issuer and one not in way]
        signers = [one for one in issuers if _may_issue(one) and is_issued_by(last, one)]
        if not signers or len(way) >= _LONGEST:
            return Path(tuple(way), PathFault.SIGNATURE if issuers and not signers else PathFault.NO_ISSUER)
        way.append(signers[0])


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except (x509.ExtensionNotFound, ValueError):
        return False
