"""The built-in certificate authority: one root key in the data folder, which signs what chargers ask for.

It is made at first need, ECDSA P-256, readable by its owner alone. Whoever has the key can make a charger; losing it
means that every charger of security profile 3 needs a new certificate, so it belongs into the backup.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from csms.pki.reading import BadCertificate, chain_of, pem_of
from csms.pki.requests import read_request

_ROOT_DAYS: Final = 20 * 365
# A charger's clock may be behind ours, and a certificate of the future is refused.
_BACKDATED: Final = timedelta(hours=24)
# Towards the car the charger is the server, towards us the client.
_PURPOSES: Final = {
    "V2GCertificate": (ExtendedKeyUsageOID.SERVER_AUTH,),
    "CombinedCertificate": (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH),
}


class BuiltinAuthority:
    """Root and key in `folder`. Raises BadCertificate or OSError when they are there and cannot be used."""

    def __init__(self, folder: Path, *, organization: str, days: int) -> None:
        self._organization = organization
        self._days = days
        self._folder = folder
        self._loaded: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None

    @property
    def certificate_file(self) -> Path:
        """Where the root certificate stands."""
        return self._folder / "ca.pem"

    def root_pem(self, now_ms: int) -> str:
        """The root certificate; made now when there is none."""
        return pem_of(self._pair(now_ms)[0])

    def sign(self, csr: str, *, use: str, now_ms: int) -> str:
        """A certificate for a request that was found good, as PEM. The root is not sent along: chargers have no use
        for it, and their room for a chain is small."""
        root, key = self._pair(now_ms)
        request = read_request(csr)
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        purposes = _PURPOSES.get(use, (ExtendedKeyUsageOID.CLIENT_AUTH,))
        public = request.public_key()
        built = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(root.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - _BACKDATED, root.not_valid_before_utc))
            .not_valid_after(min(now + timedelta(days=self._days), root.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        )
        return pem_of(built.sign(key, hashes.SHA256()))

    def _pair(self, now_ms: int) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        if self._loaded is None:
            key_file = self._folder / "ca-key.pem"
            if not key_file.exists():
                self._make(key_file, now_ms)
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            root = chain_of(self.certificate_file.read_text(encoding="ascii"))[0]
            if not isinstance(key, ec.EllipticCurvePrivateKey) or root.public_key() != key.public_key():
                raise BadCertificate(f"{key_file} is not the key of {self.certificate_file}")
            self._loaded = root, key
        return self._loaded

    def _make(self, key_file: Path, now_ms: int) -> None:
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, self._organization[:64]),
                x509.NameAttribute(NameOID.COMMON_NAME, f"{self._organization[:50]} chargers"),
            ]
        )
        public = key.public_key()
        root = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + timedelta(days=_ROOT_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(key, hashes.SHA256())
        )
        # The key last: a half-made authority is one without a key, and is made anew.
        self.certificate_file.write_text(pem_of(root), encoding="ascii")
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        fresh = key_file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(key_file)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
