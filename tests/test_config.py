"""The configuration says no with a sentence: to what is misspelt, and to what this version does nothing with."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from csms.cli import app
from csms.config import ConfigProblem, load


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
