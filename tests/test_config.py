"""The configuration says no with a sentence: to what is misspelt, and to what this version does nothing with."""

from __future__ import annotations

from pathlib import Path

import pytest

from csms.config import ConfigProblem, load


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[tls]\ncertificate = "cert.pem"', "tls.certificate"),
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
