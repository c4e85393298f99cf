"""The configuration says no with a sentence: to what is misspelt, and to what this version does nothing with."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest
from typer.testing import CliRunner

from csms.cli import app
from csms.config import ConfigProblem, load
from csms.settings import ServeProblem, gateway


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[mqtt]\nurl = "mqtt://127.0.0.1"', "mqtt.url"),
        ("[ble]\nenabled = true", "ble.enabled"),
        ('[bus]\nurl = "nats://127.0.0.1"', "bus.url"),
    ],
)
def test_a_key_that_this_version_does_nothing_with_is_refused_when_it_is_set(
    tmp_path: Path, text: str, where: str
) -> None:
    path = tmp_path / "csms.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigProblem, match="not in this version") as problem:
        load(path, {})
    assert where in str(problem.value)


def test_leaving_them_empty_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "csms.toml"
    path.write_text('[mqtt]\nurl = ""\n[ble]\nenabled = false\n[bus]\nurl = ""\n', encoding="utf-8")
    assert load(path, {}).ble.enabled is False


def test_a_misspelt_key_is_refused_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "csms.toml"
    path.write_text("[ocpp]\nprot = 9000\n", encoding="utf-8")
    with pytest.raises(ConfigProblem, match=r"csms\.toml:2.*prot"):
        load(path, {})


def test_a_file_of_other_bytes_is_said_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "csms.toml"
    path.write_bytes(b"\xff\xfe[\x00o\x00")
    with pytest.raises(ConfigProblem, match=r"csms\.toml: not a text in UTF-8"):
        load(path, {})
    with pytest.raises(ConfigProblem, match=r"CSMS_API__BOOTSTRAP_KEY_FILE: .*not a text in UTF-8"):
        load(None, {"CSMS_API__BOOTSTRAP_KEY_FILE": str(path)})


def test_a_bad_variable_is_blamed_itself_and_not_the_line_it_overrides(tmp_path: Path) -> None:
    path = tmp_path / "csms.toml"
    path.write_text("[ocpp]\nport = 9001\n", encoding="utf-8")
    with pytest.raises(ConfigProblem, match=r"^CSMS_OCPP__PORT: ocpp\.port: "):
        load(path, {"CSMS_OCPP__PORT": "abc"})


def test_an_empty_variable_is_an_empty_text() -> None:
    assert load(None, {"CSMS_BECKN__REGISTRY": ""}).beckn.registry == ""


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[storage]\nurl = "postgresql://x"', "storage.url"),
        ('[beckn]\nregistry = "static:nowhere.json"', "beckn.registry"),
        ('[beckn]\nsigning_key = "???"', "beckn.signing_key"),
        ('[beckn]\nsigning_key_file = "nowhere"', "beckn.signing_key_file"),
        ('[beckn]\nsigning_key_file = "csms.toml"', "beckn.signing_key"),
    ],
)
def test_the_check_finds_what_serving_would_trip_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, where: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "csms.toml").write_text(text + "\n", encoding="utf-8")
    answer = CliRunner().invoke(app, ["config", "check"])
    assert answer.exit_code == 2
    assert where in answer.stderr


GATEWAY = """
[payments]
provider = "orderpay"
gateway_url = "https://api.gateway.example"
key_id = "k"
key_secret = "s"
webhook_secret = "w"
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("https://", "http://"), "gateway_url must begin with https"),
        (("https://api.gateway.example", "http://127.0.0.1.evil.example"), "gateway_url must begin with https"),
        (('key_secret = "s"\n', ""), "needs gateway_url, key_id and key_secret"),
        (('webhook_secret = "w"\n', ""), "needs webhook_secret"),
    ],
)
def test_a_gateway_without_what_it_needs_is_refused(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = tmp_path / "csms.toml"
    path.write_text(GATEWAY, encoding="utf-8")
    assert load(path, {}).payments.provider == "orderpay"
    path.write_text(GATEWAY.replace(*change), encoding="utf-8")
    with pytest.raises(ConfigProblem, match=said):
        load(path, {})


def test_the_secrets_of_a_gateway_come_from_files(tmp_path: Path) -> None:
    path, secret = tmp_path / "csms.toml", tmp_path / "secret"
    text = GATEWAY.replace('key_secret = "s"', f'key_secret_file = "{secret}"')
    path.write_text(text.replace('webhook_secret = "w"', f'webhook_secret_file = "{secret}"'), encoding="utf-8")
    with pytest.raises(ServeProblem, match=r"key_secret_file|webhook_secret_file"):
        gateway(load(path, {}), "http://pay.example")
    secret.write_text("shh\n", encoding="utf-8")
    made = gateway(load(path, {}), "http://pay.example")
    signed = hmac.new(b"shh", b"{}", hashlib.sha256).hexdigest()
    assert made.is_genuine({"X-Orderpay-Signature": signed}, b"{}") is True
    secret.write_text("\n", encoding="utf-8")
    with pytest.raises(ServeProblem, match="empty"):
        gateway(load(path, {}), "http://pay.example")
