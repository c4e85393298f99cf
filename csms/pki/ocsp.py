"""OCSP requests written and responses read (RFC 6960), for responders that OCPP names by hash data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from csms.pki.reading import ALGORITHMS, BadCertificate, hash_data


@dataclass(frozen=True, slots=True)
class Question:
    """One certificate, named as OCPP's OCSPRequestData names it."""

    algorithm: str
    issuer_name_hash: str
    issuer_key_hash: str
    serial: str
    responder: str

    def request(self) -> bytes:
        """The DER of the OCSP request. Raises BadCertificate."""
        try:
            algorithm = ALGORITHMS[self.algorithm]()
            builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
                bytes.fromhex(self.issuer_name_hash),
                bytes.fromhex(self.issuer_key_hash),
                int(self.serial, 16),
                algorithm,
            )
            return builder.build().public_bytes(serialization.Encoding.DER)
        except (KeyError, ValueError) as error:
            raise BadCertificate("the certificate's hash data cannot be used") from error


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a responder said. `status` good, revoked or unknown; `until_ms` is when it wants to be asked again."""

    status: str
    der: bytes
    until_ms: int | None


def question_about(certificate: x509.Certificate, issuer: x509.Certificate) -> Question:
    """The question for a certificate at hand; its responder stands in it, or is empty."""
    by = hash_data(certificate, issuer, "SHA256")
    return Question("SHA256", by["issuerNameHash"], by["issuerKeyHash"], by["serialNumber"], _responder(certificate))


def read_response(der: bytes, question: Question, issuer: x509.Certificate | None, now_ms: int) -> Verdict:
    """The verdict in a responder's answer. Raises BadCertificate when it is none, is about another certificate, is
    out of date, or (with the issuer at hand) is signed by somebody who may not."""
    try:
        response = ocsp.load_der_ocsp_response(der)
    except ValueError as error:
        raise BadCertificate("the responder's answer is no OCSP response") from error
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise BadCertificate(f"the responder answered {response.response_status.name}")
    if response.serial_number != int(question.serial, 16):
        raise BadCertificate("the responder answered about another certificate")
    until = response.next_update_utc
    until_ms = _ms(until) if until is not None else None
    if until_ms is not None and until_ms <= now_ms:
        raise BadCertificate("the responder's answer is out of date")
    if issuer is not None and not _may_answer(response, issuer):
        raise BadCertificate("the responder's answer is not signed by the issuer or on its behalf")
    return Verdict(response.certificate_status.name.lower(), der, until_ms)


def _may_answer(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> bool:
    """Signed by the issuer, or by a responder whose certificate the issuer signed for that (RFC 6960 4.2.2.2)."""
    signers = [issuer]
    for one in response.certificates:
        try:
            one.verify_directly_issued_by(issuer)
            usage = one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except Exception:  # noqa: BLE001, S112  # not issued by it, or not for this: whatever it is, it may not answer
            continue
        if ExtendedKeyUsageOID.OCSP_SIGNING in usage:
            signers.append(one)
    return any(_signed(response, signer) for signer in signers)


def _signed(response: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    key, algorithm = signer.public_key(), response.signature_hash_algorithm or hashes.SHA256()
    try:
        match key:
            case ec.EllipticCurvePublicKey():
                key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(algorithm))
            case rsa.RSAPublicKey():
                key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), algorithm)
            case _:
                return False
    except InvalidSignature:
        return False
    return True


def _responder(certificate: x509.Certificate) -> str:
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return ""
    for one in access:
        if one.access_method == AuthorityInformationAccessOID.OCSP:
            return str(one.access_location.value)
    return ""


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
