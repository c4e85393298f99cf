"""Certificates read, requests judged, the built-in authority, and the way from a certificate to a root."""

from __future__ import annotations

import base64
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from pki_world import OURS, Ca, ec_key, name_of, pem, request
from pki_world import hash_data as by_hand

from csms.domain.certificate import DAY_MS, State, is_due, names_of, peer_problem
from csms.pki.authority import BuiltinAuthority
from csms.pki.paths import PathFault, path_to_root
from csms.pki.reading import ALGORITHMS, BadCertificate, chain_of, hash_data, issuer_in, named
from csms.pki.requests import check_request

NOW_MS = int(datetime.now(UTC).timestamp() * 1000)
NAMES = frozenset({"sn-1"})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_hash_data_is_that_of_the_specification(algorithm: str) -> None:
    root = Ca()
    leaf = root.issue("leaf").certificate
    assert hash_data(leaf, root.certificate, algorithm) == by_hand(leaf, root.certificate, algorithm)
    assert hash_data(root.certificate, root.certificate, algorithm) == by_hand(
        root.certificate, root.certificate, algorithm
    )


def test_a_certificate_says_whom_it_names_and_how_long() -> None:
    root = Ca()
    about = named(root.issue("SN-1", days=(-1, 1)).certificate)
    assert (about.common_name, about.organizations) == ("SN-1", (OURS,))
    assert about.problem_at(NOW_MS) is None
    assert "expired on" in str(about.problem_at(NOW_MS + 2 * DAY_MS))
    assert "not valid before" in str(about.problem_at(NOW_MS - 2 * DAY_MS))
    chain = [root.issue("SN-1").certificate, root.certificate]
    assert issuer_in(chain) == root.certificate
    assert issuer_in(chain[:1]) is None
    assert chain_of(pem(*chain)) == chain
    with pytest.raises(BadCertificate):
        chain_of("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")


def test_a_good_request_is_taken_in_every_spelling_chargers_use() -> None:
    text = request("SN-1")
    for spelling in (text, "\n" + text, text.replace("\n", "\r\n"), "".join(text.split("\n")[1:-2])):
        assert check_request(spelling, names=NAMES, organization=OURS).common_name == "SN-1"
    assert check_request(request("whoever", None), names=frozenset(), organization=None).common_name == "whoever"


def test_a_request_that_must_not_be_signed_is_refused_with_a_reason() -> None:
    def why(text: str) -> str:
        with pytest.raises(BadCertificate) as problem:
            check_request(text, names=NAMES, organization=OURS)
        return str(problem.value)

    assert "cannot be read" in why("")
    assert "cannot be read" in why("héllo")
    assert "cannot be read" in why("-----BEGIN CERTIFICATE REQUEST-----\nx\n-----END CERTIFICATE REQUEST-----")
    assert "names SN-2" in why(request("SN-2"))
    assert "belongs to nobody" in why(request("SN-1", None))
    assert "belongs to Another" in why(request("SN-1", "Another"))
    assert "1024 bits is too short" in why(
        request("SN-1", key=rsa.generate_private_key(public_exponent=65537, key_size=1024))
    )
    assert "192 bits is too short" in why(request("SN-1", key=ec.generate_private_key(ec.SECP192R1())))
    nobody = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    assert "names nobody" in why(_text(nobody.sign(ec_key(), hashes.SHA256())))
    old = x509.CertificateSigningRequestBuilder().subject_name(name_of("SN-1"))
    other = old.sign(dsa.generate_private_key(2048), hashes.SHA256())
    assert "kind is not used" in why(_text(other))
    # The signature is of another key.
    good = x509.load_pem_x509_csr(request("SN-1").encode()).public_bytes(serialization.Encoding.DER)
    forged = base64.b64encode(good[:-1] + bytes([good[-1] ^ 1])).decode()
    assert "not signed with its own key" in why(forged)


def _text(csr: x509.CertificateSigningRequest) -> str:
    return csr.public_bytes(serialization.Encoding.PEM).decode()


def test_the_built_in_authority_is_made_once_and_keeps_its_key_to_itself(tmp_path: Path) -> None:
    authority = BuiltinAuthority(tmp_path, organization=OURS, days=30)
    assert list(tmp_path.iterdir()) == []  # at first need
    root = chain_of(authority.root_pem(NOW_MS))[0]
    key_file = tmp_path / "ca-key.pem"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert named(root).organizations == (OURS,)
    key = ec_key()
    text = authority.sign(request("SN-1", key=key), use="ChargingStationCertificate", now_ms=NOW_MS)
    (leaf,) = chain_of(text)
    leaf.verify_directly_issued_by(root)
    assert leaf.public_key() == key.public_key()
    assert named(leaf).expires_ms - NOW_MS <= 30 * DAY_MS
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    again = BuiltinAuthority(tmp_path, organization="Renamed since", days=30)
    assert again.root_pem(NOW_MS) == authority.root_pem(NOW_MS)
    key_file.write_bytes(
        ec_key().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(BadCertificate, match="is not the key of"):
        BuiltinAuthority(tmp_path, organization=OURS, days=30).root_pem(NOW_MS)


def test_an_authority_whose_making_was_broken_off_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("half")
    (tmp_path / "ca-key.new").write_text("half")
    root = chain_of(BuiltinAuthority(tmp_path, organization=OURS, days=30).root_pem(NOW_MS))[0]
    assert named(root).organizations == (OURS,)


def test_the_way_to_a_root() -> None:
    root, stranger = Ca(), Ca("Stranger")
    sub = Ca("Sub", above=root)
    leaf = sub.issue("leaf").certificate
    roots = [stranger.certificate, root.certificate]

    def fault(*chain: x509.Certificate, now_ms: int = NOW_MS) -> PathFault | None:
        return path_to_root(chain, roots, now_ms).fault

    assert path_to_root([leaf, sub.certificate], roots, NOW_MS).certificates == (
        leaf,
        sub.certificate,
        root.certificate,
    )
    assert fault(leaf, root.certificate, sub.certificate) is None  # in any order
    assert fault(root.certificate) is None
    assert fault(leaf) is PathFault.NO_ISSUER
    assert fault(leaf, sub.certificate, now_ms=NOW_MS + 6 * DAY_MS) is PathFault.EXPIRED  # the leaf
    assert fault(sub.certificate, now_ms=NOW_MS + 11 * DAY_MS) is PathFault.EXPIRED
    forged = Ca("Sub")
    assert fault(forged.issue("leaf").certificate, sub.certificate) is PathFault.SIGNATURE
    assert fault(Ca("Nobody").issue("leaf").certificate) is PathFault.NO_ISSUER
    ring = Ca("Ring")
    assert fault(ring.issue("leaf").certificate, ring.certificate) is PathFault.NO_ISSUER


def test_whom_a_certificate_may_name_and_when_a_new_one_is_due() -> None:
    def problem(common_name: str | None, *organizations: str, serial: str | None = "SN-1") -> str | None:
        names = names_of("CP-1", serial)
        return peer_problem(names=names, common_name=common_name, organization=OURS, organizations=organizations)

    assert problem("sn-1", OURS) is None
    assert problem("SN-1", "Another", OURS) is None
    assert problem("CP-1", OURS) is not None  # its serial number is known
    assert problem("CP-1", OURS, serial=None) is None
    assert problem(None, OURS) is not None
    assert problem("SN-1") is not None
    assert is_due(State.IN_USE, 10 * DAY_MS, 0, 10)
    assert not is_due(State.IN_USE, 10 * DAY_MS + 1, 0, 10)
    assert not is_due(State.REVOKED, 0, 0, 10)
    assert not is_due(State.IN_USE, None, 0, 10)
