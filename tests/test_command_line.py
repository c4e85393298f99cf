"""The commands that work on files, and the environment they share with others."""

from __future__ import annotations

import fcntl
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from csms.api.cases import Case
from csms.api.chargers import Charger
from csms.api.models import View
from csms.api.orders import Order
from csms.api.sessions import Session
from csms.api.tokens import Token
from csms.cli import app
from csms.cli.operator import show
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


@pytest.mark.parametrize("content", [b"\x00garbage" * 700, b""])
def test_what_is_no_backup_replaces_nothing(config: Path, tmp_path: Path, content: bytes) -> None:
    database, garbage = tmp_path / "data" / "csms.db", tmp_path / "garbage.db"
    garbage.write_bytes(content)
    _name_a_charger(database, "precious")
    answer = run(app, ["restore", str(garbage), "--force", "--config", str(config)])
    assert answer.exit_code == 1
    assert str(garbage) in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert _chargers(database) == ["precious"]
    assert {file.name for file in database.parent.iterdir()} == {"csms.db", "csms.db.lock"}


def test_a_damaged_database_can_be_replaced_and_is_kept(config: Path, tmp_path: Path) -> None:
    database, backup = tmp_path / "data" / "csms.db", tmp_path / "monday.db"
    _name_a_charger(database, "before")
    assert run(app, ["backup", str(backup), "--config", str(config)]).exit_code == 0
    database.write_bytes(b"damaged" * 1000)
    assert run(app, ["restore", str(backup), "--force", "--config", str(config)]).exit_code == 0
    assert _chargers(database) == ["before"]
    (kept,) = database.parent.glob("csms.db.replaced-*")
    assert kept.read_bytes().startswith(b"damaged")


def test_a_backup_that_fails_leaves_no_file_behind(config: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "csms.db").write_bytes(b"damaged" * 1000)
    answer = run(app, ["backup", str(tmp_path / "monday.db"), "--config", str(config)])
    assert answer.exit_code == 1
    assert "not a database" in answer.stderr
    assert not (tmp_path / "monday.db").exists()


def _serve(*words: str) -> tuple[int, list[str]]:
    """A server that is to fail: its exit code and the last of what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "csms", "serve", *words], capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stderr.splitlines()


def _in_the_way(tmp_path: Path) -> Path:
    """A file where a folder is needed: not even root gets past it."""
    file = tmp_path / "file"
    file.touch()
    return file


@pytest.mark.parametrize(
    "command",
    [["migrate"], ["restore", "FILE"], ["config", "init", "FILE/csms.toml"], ["keys", "generate", "FILE/k"]],
)
def test_a_folder_that_cannot_be_made_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    file = _in_the_way(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CSMS_DATA_DIR", str(file / "data"))
    answer = run(app, [word.replace("FILE", str(file)) for word in command])
    assert answer.exit_code == 1, answer
    assert isinstance(answer.exception, SystemExit)
    assert str(file) in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_a_server_without_its_folder_says_so_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CSMS_DATA_DIR", str(_in_the_way(tmp_path)))
    code, said = _serve()
    assert code == 1
    assert len(said) == 1
    assert said[0].startswith("data_dir cannot be used")


def test_a_file_that_is_no_database_is_said_in_a_sentence(config: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "csms.db").write_bytes(b"damaged" * 1000)
    answer = run(app, ["migrate", "--config", str(config)])
    code, lines = _serve("--config", str(config))
    assert (answer.exit_code, code) == (1, 1)
    for said in (answer.stderr.splitlines(), lines):
        assert len(said) == 1
        assert "file is not a database" in said[0]


def test_a_database_that_cannot_be_written_is_said_in_a_sentence(config: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "csms.db-wal").mkdir()  # where the log of changes belongs
    with config.open("a") as file:
        file.write("[ocpp]\nport = 0\n[api]\nport = 0\n[beckn]\nport = 0\n")
    code, said = _serve("--config", str(config))
    assert code == 1
    assert len(said) == 1
    assert "csms.db cannot be used as a database" in said[0]


@pytest.mark.parametrize(
    ("host", "said"),
    [("192.0.2.1", "ocpp.host"), ("127.0.0.1", "ocpp.port")],
)
def test_what_cannot_be_listened_on_names_the_key_to_change(tmp_path: Path, host: str, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        path = tmp_path / "csms.toml"
        path.write_text(
            f'data_dir = "{tmp_path / "data"}"\n[ocpp]\nhost = "{host}"\nport = {taken.getsockname()[1]}\n'
            "[api]\nport = 0\n[beckn]\nport = 0\n"
        )
        code, lines = _serve("--config", str(path))
    assert code == 1
    assert f"set {said} to" in lines[-1]


@pytest.mark.parametrize(
    ("command", "thing"),
    [
        (["chargers", "list"], Charger),
        (["sessions", "list"], Session),
        (["orders", "list"], Order),
        (["tokens", "list"], Token),
        (["cases", "list"], Case),
    ],
)
def test_every_column_of_a_list_is_something_the_server_says(
    monkeypatch: pytest.MonkeyPatch, command: list[str], thing: type[View]
) -> None:
    """A column that the answer does not have would be empty for ever."""
    row = dict.fromkeys(thing.model_fields, "said")
    monkeypatch.setattr("csms.cli.operator.items", lambda *_: [row])
    cells = [line for line in run(app, command).output.splitlines() if "│" in line][-1].split("│")[1:-1]
    assert [cell.strip() for cell in cells] == ["said"] * len(cells)


ROW = {"id": "01a1f89a-7540-73a0-b4df-c1f05c13a6a0", "state": "COMPLETED", "charger_id": "CP[/b]1"}


@pytest.mark.parametrize("on_a_terminal", [True, False])
def test_an_id_is_never_cut_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], on_a_terminal: bool
) -> None:
    """The next command needs it whole."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: on_a_terminal)
    show([ROW, ROW], ("id", "state", "charger_id", "bap_id"), as_json=False)
    out = capsys.readouterr().out
    assert out.count(ROW["id"]) == 2
    assert "CP[/b]1" in out
    assert on_a_terminal == (max(map(len, out.splitlines())) <= 50)
