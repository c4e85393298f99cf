"""TLS files: what is refused before the server starts, and what happens when they change under it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pki_world import Ca, client, ec_key
from typer.testing import CliRunner

from csms.cli import app
from csms.config import ConfigProblem, load
from csms.edges.tls import TlsDoor, TlsFiles, TlsProblem, check_files

NOW_MS = int(datetime.now(UTC).timestamp() * 1000)


def check(certificate: Path, key: Path) -> str:
    with pytest.raises(TlsProblem) as problem:
        check_files(((certificate, key),), None, NOW_MS)
    return str(problem.value)


def test_files_that_cannot_serve_are_refused_with_a_sentence(tmp_path: Path) -> None:
    ca = Ca()
    certificate, key = ca.issue("good").files(tmp_path, "good")
    check_files(((certificate, key),), None, NOW_MS)
    other_key = ca.issue("other").files(tmp_path, "other")[1]
    rubbish, binary, locked = tmp_path / "rubbish.pem", tmp_path / "binary.pem", tmp_path / "locked.pem"
    rubbish.write_text("hello")
    binary.write_bytes(b"\xff\xfe")
    locked.write_bytes(
        ec_key().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert "absent.pem cannot be read: No such file" in check(tmp_path / "absent.pem", key)
    assert "absent.pem cannot be read: No such file" in check(certificate, tmp_path / "absent.pem")
    assert "other-key.pem is not the key of" in check(certificate, other_key)
    assert "there is no certificate in PEM" in check(rubbish, key)
    assert "binary.pem is not PEM" in check(binary, key)
    assert "rubbish.pem holds no private key" in check(certificate, rubbish)
    assert "locked.pem is encrypted" in check(certificate, locked)
    expired = ca.issue("old", days=(-3, -1)).files(tmp_path, "old")
    assert "old.pem expired on" in check(*expired)
    assert "is not valid before" in check(*ca.issue("young", days=(1, 3)).files(tmp_path, "young"))
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    assert "an RSA key of 1024 bits is too short" in check(*ca.issue("weak", key=short).files(tmp_path, "weak"))
    with pytest.raises(TlsProblem, match=r"rubbish\.pem: there is no certificate"):
        check_files(((certificate, key),), rubbish, NOW_MS)


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ('certificate = "a.pem"', "certificate and key go together"),
        ('certificate_rsa = "a.pem"\nkey_rsa = "b.pem"', "name the first as certificate"),
        ("relic_port = 9444", "relic_port needs a certificate"),
        ('ca = "external"', "ca = external needs ca_url"),
        ('client_ca = "roots.pem"', "client_ca needs organization"),
        ("certificate_days = 30", "renew_before_days must be less"),
    ],
)
def test_a_configuration_that_contradicts_itself_is_refused(tmp_path: Path, section: str, why: str) -> None:
    path = tmp_path / "csms.toml"
    path.write_text(f"[tls]\n{section}\n", encoding="utf-8")
    with pytest.raises(ConfigProblem, match=why):
        load(path, {})


def test_the_configuration_check_looks_into_the_files(tmp_path: Path) -> None:
    certificate, key = Ca().issue("old", days=(-3, -1)).files(tmp_path, "old")
    path = tmp_path / "csms.toml"
    path.write_text(f'data_dir = "{tmp_path}/data"\n[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n')
    outcome = CliRunner().invoke(app, ["config", "check", "--config", str(path)])
    assert outcome.exit_code == 2
    assert "old.pem expired on" in outcome.output


class Door:
    """A listener with a TLS door whose time is moved by hand."""

    def __init__(self, files: TlsFiles) -> None:
        self.steady_s = 0.0
        self.failed: list[str] = []
        self.door = TlsDoor(
            files,
            is_relic=False,
            now_ms=lambda: NOW_MS,
            steady_s=lambda: self.steady_s,
            on_failed=self.failed.append,
        )

    async def shown(self, port: int) -> int:
        """The serial number of the certificate that is shown now."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client(), server_hostname="localhost")
        raw = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        await reader.read()
        writer.close()
        await writer.wait_closed()
        return x509.load_der_x509_certificate(raw).serial_number


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def test_a_renewed_certificate_counts_from_the_next_connection_and_a_bad_one_never(tmp_path: Path) -> None:
    ca = Ca()
    first = ca.issue("localhost")
    certificate, key = first.files(tmp_path, "server")
    knocking = Door(TlsFiles(((certificate, key),)))
    server = await asyncio.start_server(_hang_up, "127.0.0.1", 0, ssl=knocking.door.context)
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert await knocking.shown(port) == first.certificate.serial_number
        second = ca.issue("localhost")
        second.files(tmp_path, "server")
        assert await knocking.shown(port) == first.certificate.serial_number  # looked at a moment ago
        knocking.steady_s += 2
        assert await knocking.shown(port) == second.certificate.serial_number
        certificate.write_text("half of a fi")
        knocking.steady_s += 2
        assert await knocking.shown(port) == second.certificate.serial_number
        third = ca.issue("localhost")
        third.files(tmp_path, "server")
        knocking.steady_s += 2
        assert await knocking.shown(port) == third.certificate.serial_number
    assert knocking.failed == []
