"""Commands that are the server, or work on its files: serve, demo, migrate, config, keys, backup, restore."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio import sslproto
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from csms.realworld import file_stamp

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file; default CSMS_CONFIG, else ./csms.toml when it is there")
]


def fail(sentence: str, code: int = 1) -> NoReturn:
    """Say what is wrong on standard error and leave."""
    typer.echo(sentence, err=True)
    raise typer.Exit(code)


@contextmanager
def _said() -> Iterator[None]:
    """What a file does not allow ends the command with a sentence."""
    from csms.storage.migrate import DatabaseProblem

    try:
        yield
    except DatabaseProblem as problem:
        fail(str(problem))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def load_config(path: Path | None):  # type: ignore[no-untyped-def]  # Config is imported lazily
    from csms.config import ConfigProblem, load

    try:
        settings = load(path)
        _ = settings.sqlite_path  # a database this version cannot open is a mistake in the configuration, too
    except ConfigProblem as problem:
        fail(str(problem), 2)
    return settings


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the database's lock while its file is replaced: a running server would go on writing into the old one."""
    import fcntl

    with path.with_name(path.name + ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            fail(f"a server is using {path}; stop it first")
        yield


def register(app: typer.Typer) -> None:
    """Hang the commands onto `app`."""
    app.command()(serve)
    app.command()(demo)
    app.command()(migrate)
    app.command()(backup)
    app.command()(restore)
    config = typer.Typer(help="check, show and start a configuration", no_args_is_help=True)
    config.command("check")(config_check)
    config.command("show")(config_show)
    config.command("init")(config_init)
    app.add_typer(config, name="config")
    keys = typer.Typer(help="keys of our own", no_args_is_help=True)
    keys.command("generate")(keys_generate)
    app.add_typer(keys, name="keys")


def serve(config: ConfigOption = None) -> None:
    """Run the server until SIGTERM or Ctrl-C."""
    settings = load_config(config)
    from csms.config import ConfigProblem
    from csms.serving import run
    from csms.settings import ServeProblem

    try:
        _run(run(settings))
    except (ServeProblem, ConfigProblem) as problem:
        fail(str(problem))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _run(main: Coroutine[Any, Any, None]) -> None:
    """On uvloop where it exists: a little faster in plain text, a seventh of the memory over TLS."""
    try:
        import uvloop
    except ImportError:
        sslproto.SSLProtocol.max_size = 16 << 10  # it would keep 256 KiB per TLS connection
        asyncio.run(main)
    else:
        uvloop.run(main)


def demo(
    once: Annotated[bool, typer.Option("--once", help="run every story once and leave with its verdict")] = False,
    data_dir: Annotated[Path, typer.Option(help="where the demo keeps its files; emptied at the start")] = Path(
        "data/demo"
    ),
    story: Annotated[list[str] | None, typer.Option(help="only these stories")] = None,
) -> None:
    """The whole system with simulated chargers and a simulated buyer."""
    from csms.cli.demo import run_demo

    raise typer.Exit(run_demo(once=once, data_dir=data_dir, only=story or []))


def migrate(config: ConfigOption = None) -> None:
    """Bring the database to this version's schema (a backup is made first)."""
    settings = load_config(config)
    from csms.storage.migrate import migrate_sqlite

    with _said():
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(settings.sqlite_path):
            done = migrate_sqlite(settings.sqlite_path, stamp=file_stamp())
    if not done.changed:
        typer.echo(f"{settings.sqlite_path}: already at {done.after}")
        return
    typer.echo(f"{settings.sqlite_path}: {done.before or 'new'} -> {done.after}")
    if done.backup is not None:
        typer.echo(f"backup: {done.backup}")


def backup(target: Annotated[Path, typer.Argument(help="file to write")], config: ConfigOption = None) -> None:
    """Copy the database while the server runs, and check the copy."""
    settings = load_config(config)
    from csms.storage.migrate import backup_sqlite

    if not settings.sqlite_path.exists():
        fail(f"{settings.sqlite_path} does not exist")
    if target.exists():
        fail(f"{target} exists already; a backup never overwrites")
    with _said():
        target.parent.mkdir(parents=True, exist_ok=True)
        backup_sqlite(settings.sqlite_path, target)
    typer.echo(f"{target}: {target.stat().st_size} bytes, integrity ok")


def restore(
    source: Annotated[Path, typer.Argument(help="backup file")],
    config: ConfigOption = None,
    force: Annotated[bool, typer.Option("--force", help="replace an existing database; it is kept beside")] = False,
) -> None:
    """Put a backup in place of the database. The server must be stopped."""
    settings = load_config(config)
    if not source.exists():
        fail(f"{source} does not exist")
    path: Path = settings.sqlite_path
    with _said():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(path):
            _restore(source, path, force=force)


def _restore(source: Path, path: Path, *, force: bool) -> None:
    from csms.storage.migrate import fetch_backup, migrate_sqlite

    if path.exists() and not force:
        fail(f"{path} exists; stop the server and use --force to replace it (the old file is kept)")
    incoming = path.with_name(path.name + ".restoring")
    incoming.unlink(missing_ok=True)
    fetch_backup(source, incoming)  # what is there stays untouched until the backup has proved to be one
    if path.exists():
        typer.echo(f"kept: {_put_aside(path)}")
    incoming.replace(path)
    done = migrate_sqlite(path, stamp=file_stamp())
    typer.echo(f"{path}: restored from {source}, schema {done.after}")


def _put_aside(path: Path) -> Path:
    """Keep the database as one file; a damaged one, which is what restores are for, as the files it consists of."""
    from csms.storage.migrate import DatabaseProblem, backup_sqlite

    kept = path.with_name(f"{path.name}.replaced-{file_stamp()}")
    files = [path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")]
    try:
        backup_sqlite(path, kept)
    except DatabaseProblem:
        for file in files:
            if file.exists():
                file.replace(file.with_name(kept.name + file.name.removeprefix(path.name)))
    else:
        for file in files:
            file.unlink(missing_ok=True)
    return kept


def config_check(config: ConfigOption = None) -> None:
    """Read the configuration and say what is wrong with it, by file and line."""
    settings = load_config(config)
    from csms.config import ConfigProblem
    from csms.settings import ServeProblem, check_names

    try:
        check_names(settings)
    except (ServeProblem, ConfigProblem) as problem:
        fail(str(problem), 2)
    typer.echo("ok")


def config_show(
    config: ConfigOption = None, as_json: Annotated[bool, typer.Option("--json", help="as one JSON object")] = False
) -> None:
    """Every key with its effective value; secrets are masked."""
    from csms.config import flat

    values = flat(load_config(config))
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    for key, value in values.items():
        typer.echo(f"{key} = {value}")


def config_init(path: Annotated[Path, typer.Argument(help="file to write")] = Path("csms.toml")) -> None:
    """Write a commented starting configuration."""
    if path.exists():
        fail(f"{path} exists already")
    with _said():
        path.write_text(_STARTER, encoding="utf-8")
    typer.echo(f"{path} written; edit it, then: csms config check --config {path}")


def keys_generate(
    target: Annotated[
        Path | None,
        typer.Argument(help="file for the private signing seed (0600); the encryption key goes to FILE.encr"),
    ] = None,
) -> None:
    """Our Beckn keys, for signing and for a registry's challenge, with the public halves to publish."""
    import base64
    import secrets

    from nacl.signing import SigningKey

    from beckn_adapter.subscription import encryption_public_of

    key, private = SigningKey.generate(), secrets.token_bytes(32)

    def encode(raw: bytes) -> str:
        return base64.b64encode(raw).decode()

    public = {
        "signing_public_key": encode(bytes(key.verify_key)),
        "encryption_public_key": encode(encryption_public_of(private)),
    }
    if target is None:
        typer.echo(json.dumps({"signing_key": encode(bytes(key)), "encryption_key": encode(private), **public}))
        return
    other = target.with_name(target.name + ".encr")
    for path in (target, other):
        if path.exists():
            fail(f"{path} exists already; keys are never overwritten")
    with _said():
        for path, raw in ((target, bytes(key)), (other, private)):
            path.touch(mode=0o600)
            path.write_text(encode(raw) + "\n", encoding="utf-8")
    typer.echo(json.dumps({"signing_key_file": str(target), "encryption_key_file": str(other), **public}))


_STARTER = """\
# Every key with its value: csms config show; what it means: docs/operating.md; environment: CSMS_SECTION__KEY.
data_dir = "data"

[ocpp]
host = "0.0.0.0"            # where chargers reach us: ws://THIS_HOST:9000/ocpp/CHARGER_ID
port = 9000
accept_unknown = "never"    # "window": for 15 minutes after start; "always": tests only

# [tls]                       # chargers over TLS: wss://THIS_HOST:9443/ocpp/CHARGER_ID
# certificate = "tls/server.pem"
# key = "tls/server-key.pem"

[api]
host = "127.0.0.1"          # REST; put a reverse proxy with TLS in front before opening it
port = 8080

[beckn]
host = "0.0.0.0"
port = 8090
subscriber_id = "bpp.example.com"
unique_key_id = "key-1"
# bpp_uri = "https://bpp.example.com/beckn/bpp/receiver"
# signing_key_file = "/run/secrets/beckn-seed"      # csms keys generate FILE
# registry = "static:registry.json"
"""

if sys.platform == "win32":  # the listeners and signals used here are POSIX
    raise SystemExit("csms serves on Linux and macOS")
