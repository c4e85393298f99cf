"""Certificates for tests, and the services that stand around them: an authority, an OCSP responder, a contract pool.

Everything listens on ports the system chooses, on loopback, for as long as a test wants it.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

OURS = "Test CPO"
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def name_of(common_name: str, organization: str | None = OURS) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization is not None:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def request(common_name: str, organization: str | None = OURS, key: Key | None = None) -> str:
    """A signing request in PEM."""
    built = x509.CertificateSigningRequestBuilder().subject_name(name_of(common_name, organization))
    return built.sign(key or ec_key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def pem(*certificates: x509.Certificate) -> str:
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


def key_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Key

    def files(self, folder: Path, stem: str) -> tuple[Path, Path]:
        """Certificate and key as files."""
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = folder / f"{stem}.pem", folder / f"{stem}-key.pem"
        certificate.write_text(pem(self.certificate))
        key.write_bytes(key_pem(self.key))
        return certificate, key


class Ca:
    """An authority with a root, or below another one."""

    def __init__(self, name: str = "Test Root", above: Ca | None = None) -> None:
        self.key = ec_key()
        subject = name_of(name, "Test authorities")
        issuer = above.certificate.subject if above is not None else subject
        now = datetime.now(UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=10))
            .not_valid_after(now + timedelta(days=10))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(above.key if above is not None else self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> str:
        return pem(self.certificate)

    def issue(
        self,
        common_name: str,
        organization: str | None = OURS,
        *,
        key: Key | None = None,
        public_key: Any = None,
        days: tuple[float, float] = (-1, 5),
        responder: str | None = None,
        host: str | None = None,
    ) -> Issued:
        """A certificate that holds from now + days[0] to now + days[1]."""
        own = key or ec_key()
        now = datetime.now(UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(name_of(common_name, organization))
            .issuer_name(self.certificate.subject)
            .public_key(public_key or own.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        if host is not None:
            built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        if responder is not None:
            access = x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(responder)
            )
            built = built.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        return Issued(built.sign(self.key, hashes.SHA256()), own)

    def sign(self, csr: str, **more: Any) -> x509.Certificate:
        """What a request asks for."""
        asked = x509.load_pem_x509_csr(csr.encode())
        names = {one.oid: str(one.value) for one in asked.subject}
        return self.issue(
            names[NameOID.COMMON_NAME], names.get(NameOID.ORGANIZATION_NAME), public_key=asked.public_key(), **more
        ).certificate


def hash_data(certificate: x509.Certificate, issuer: x509.Certificate, algorithm: str = "SHA256") -> dict[str, str]:
    """CertificateHashData by hand: the DER of the issuer's name, and its public key without its wrapping."""
    made = {"SHA256": hashes.SHA256(), "SHA384": hashes.SHA384(), "SHA512": hashes.SHA512()}[algorithm]

    def digest(raw: bytes) -> str:
        hasher = hashes.Hash(made)
        hasher.update(raw)
        return hasher.finalize().hex()

    bits = issuer.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return {
        "hashAlgorithm": algorithm,
        "issuerNameHash": digest(issuer.subject.public_bytes()),
        "issuerKeyHash": digest(bits),
        "serialNumber": format(certificate.serial_number, "x"),
    }


def client(
    server_root: Ca | None = None,
    own: Issued | None = None,
    *,
    folder: Path | None = None,
    ciphers: str | None = None,
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion] | None = None,
) -> ssl.SSLContext:
    """A charger's TLS: whom it believes, what it brings, what it speaks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if server_root is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=server_root.pem)
    if own is not None:
        assert folder is not None
        context.load_cert_chain(*own.files(folder, f"client-{own.certificate.serial_number}"))
    if ciphers is not None:
        context.set_ciphers(ciphers)
    if versions is not None:
        context.minimum_version, context.maximum_version = versions
    return context


@dataclass
class Responder:
    """An OCSP responder for one authority; `revoked` are serial numbers, `asked` what it was asked."""

    ca: Ca
    url: str = ""
    revoked: set[int] = field(default_factory=set)
    asked: list[int] = field(default_factory=list)
    broken: bool = False

    async def answer(self, incoming: web.Request) -> web.Response:
        asked = ocsp.load_der_ocsp_request(await incoming.read())
        self.asked.append(asked.serial_number)
        if self.broken:
            return web.Response(status=500)
        now = datetime.now(UTC)
        is_revoked = asked.serial_number in self.revoked
        built = ocsp.OCSPResponseBuilder().add_response_by_hash(
            issuer_name_hash=asked.issuer_name_hash,
            issuer_key_hash=asked.issuer_key_hash,
            serial_number=asked.serial_number,
            algorithm=asked.hash_algorithm,
            cert_status=ocsp.OCSPCertStatus.REVOKED if is_revoked else ocsp.OCSPCertStatus.GOOD,
            this_update=now - timedelta(minutes=1),
            next_update=now + timedelta(hours=1),
            revocation_time=now - timedelta(hours=1) if is_revoked else None,
            revocation_reason=None,
        )
        signed = built.responder_id(ocsp.OCSPResponderEncoding.HASH, self.ca.certificate).sign(
            self.ca.key, hashes.SHA256()
        )
        body = signed.public_bytes(serialization.Encoding.DER)
        return web.Response(body=body, content_type="application/ocsp-response")


@dataclass
class SigningService:
    """An authority over HTTP; `chain` are certificates it sends along."""

    ca: Ca
    url: str = ""
    broken: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)
    chain: Sequence[x509.Certificate] = ()
    days: Callable[[int], float] = lambda count: 5

    async def answer(self, incoming: web.Request) -> web.Response:
        self.asked.append(dict(incoming.headers))
        if self.broken:
            return web.Response(status=503)
        signed = self.ca.sign(await incoming.text(), days=(-1, self.days(len(self.asked))))
        return web.Response(text=pem(signed, *self.chain))


@dataclass
class Pool:
    """A pool of contract certificates."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    status: str = "Accepted"

    async def answer(self, incoming: web.Request) -> web.Response:
        self.asked.append(await incoming.json())
        exi = base64.b64encode(json.dumps(self.asked[-1]["exiRequest"]).encode()).decode()
        return web.Response(text=json.dumps({"status": self.status, "exiResponse": exi}))


class Service(Protocol):
    """What answers POSTs."""

    url: str

    async def answer(self, incoming: web.Request) -> web.Response: ...


@asynccontextmanager
async def serving(*services: Service) -> AsyncIterator[None]:
    """Let them listen; their `url` is set."""
    app = web.Application()
    for number, service in enumerate(services):
        app.router.add_post(f"/{number}", service.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    for number, service in enumerate(services):
        service.url = f"http://127.0.0.1:{port}/{number}"
    try:
        yield
    finally:
        await runner.cleanup()
