"""The commands that work on files, and the environment they share with others."""

from __future__ import annotations

import fcntl
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from csms.cli import app
from csms.config import ConfigProblem, load
from csms.storage import newmigration

run = CliRunner().invoke


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a migrated database."""
    path = tmp_path / "csms.toml"
    path.write_text(f'data_dir = "{tmp_path / "data"}"\n', encoding="utf-8")
    assert run(app, ["migrate", "--config", str(path)]).exit_code == 0
    return path


def _name_a_charger(database: Path, name: str) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute(
            "INSERT INTO stations (id, no, id_folded, security_profile, registration, quirks, boot_n, epoch,"
            " created_ms, deleted, data) VALUES (?, 1, ?, 0, 'Accepted', '[]', 0, 0, 0, 0, '{}')",
            (name, name),
        )
    connection.close()


def _chargers(database: Path) -> list[str]:
    connection = sqlite3.connect(database)
    found = [row[0] for row in connection.execute("SELECT id FROM stations")]
    connection.close()
    return found


def test_a_restored_backup_is_what_was_backed_up_and_the_old_file_is_kept(config: Path, tmp_path: Path) -> None:
    database, backup = tmp_path / "data" / "csms.db", tmp_path / "monday.db"
    _name_a_charger(database, "before")
    assert run(app, ["backup", str(backup), "--config", str(config)]).exit_code == 0
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE stations SET id = 'after'")
    connection.close()
    assert run(app, ["restore", str(backup), "--config", str(config)]).exit_code == 1  # never without being told
    assert run(app, ["restore", str(backup), "--force", "--config", str(config)]).exit_code == 0
    assert _chargers(database) == ["before"]
    (kept,) = (tmp_path / "data").glob("csms.db.replaced-*")
    assert _chargers(kept) == ["after"]


@pytest.mark.parametrize("command", [["restore", "BACKUP", "--force"], ["migrate"]])
def test_a_database_that_a_server_uses_is_left_alone(config: Path, tmp_path: Path, command: list[str]) -> None:
    database, backup = tmp_path / "data" / "csms.db", tmp_path / "monday.db"
    run(app, ["backup", str(backup), "--config", str(config)])
    _name_a_charger(database, "here")
    with database.with_name("csms.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        words = [str(backup) if word == "BACKUP" else word for word in command]
        done = run(app, [*words, "--config", str(config)])
    assert done.exit_code == 1
    assert "a server is using" in done.output
    assert _chargers(database) == ["here"]


def test_variables_of_the_operator_commands_and_simulators_are_no_configuration() -> None:
    environment = {
        "CSMS_URL": "http://127.0.0.1:1",
        "CSMS_API_KEY": "k",
        "CSMS_SIM_API_KEY": "k",
        "CSMS_FAULT_SEEDS": "3",
    }
    assert load(None, environment).ocpp.port == 9000


def test_a_variable_nobody_knows_is_an_error() -> None:
    with pytest.raises(ConfigProblem, match=r"ocpp\.prot"):
        load(None, {"CSMS_OCPP__PROT": "1"})


def test_the_migrations_make_exactly_the_tables() -> None:
    assert newmigration.draft("nothing to do") is None


def test_a_migration_needs_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert newmigration.main([""]) == 2
    assert "say what changes" in capsys.readouterr().err
