"""Start and stop the servers under test: each is a process on the servers' core that says when it is ready."""

from __future__ import annotations

import base64
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import BenchError, procfs

ROOT = Path(__file__).resolve().parent.parent
START_PATIENCE_S = 60.0  # a first start makes the database
STOP_PATIENCE_S = 12.0  # the drain may take 10 s (SURFACES 2)

BPP_ID, BPP_KEY_ID = "bpp.bench.example", "bench-1"
BPP_URI = "http://bpp.bench.example/beckn/bpp/receiver"  # what we are called in contexts; requests go to the port


@dataclass(slots=True)
class Server:
    """A running server: where it listens, by listener name, and what it may be asked with."""

    name: str
    process: subprocess.Popen[bytes]
    home: Path
    listeners: dict[str, str] = field(default_factory=dict)
    api_key: str = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def plain(self) -> bool:
        """Whether it answers a constant, so that only the message id can be checked."""
        return self.name == "bare"

    @property
    def database(self) -> Path:
        return self.home / "data" / "csms.db"

    def address(self, *schemes: str, named: tuple[str, ...] = ()) -> tuple[str, int] | None:
        """Host and port of the first listener with one of these schemes, and one of these words in its name."""
        for name, url in self.listeners.items():
            parts = urlsplit(url)
            if parts.scheme in schemes and (not named or any(word in name.lower() for word in named)):
                host = parts.hostname or "127.0.0.1"
                return ("127.0.0.1" if host in ("0.0.0.0", "::") else host), parts.port or 0
        return None

    def need(self, *schemes: str, named: tuple[str, ...] = ()) -> tuple[str, int]:
        """As `address`, but the listener must be there."""
        found = self.address(*schemes, named=named)
        if found is None:
            raise BenchError(f"{self.name} announced no {'/'.join(schemes)} listener {named}: {self.listeners}")
        return found

    @property
    def ocpp(self) -> tuple[str, int]:
        return self.need("ws")

    @property
    def api(self) -> tuple[str, int]:
        return self.need("http", named=("api", "operator"))

    @property
    def beckn(self) -> tuple[str, int]:
        return self.need("http", named=("beckn", "public"))

    def kill(self) -> None:
        """What a power cut does to a process: SIGKILL, to all of it at once."""
        for pid in procfs.process_tree(self.pid):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, then patience, then SIGKILL."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def await_ready(self) -> None:
        """Read `ready NAME URL` lines until `ready` alone."""
        deadline = time.monotonic() + START_PATIENCE_S
        while time.monotonic() < deadline:
            for line in (self.home / "stdout.log").read_text().splitlines():
                match line.split():
                    case ["ready", name, url]:
                        self.listeners[name] = url
                    case ["ready"]:
                        return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        tail = "\n".join((self.home / "stderr.log").read_text().splitlines()[-4:])
        state = f"ended with {self.process.poll()}" if self.process.poll() is not None else "is not ready"
        raise BenchError(f"{self.name} {state}:\n{tail}")


@dataclass(frozen=True, slots=True)
class Ours:
    """How to start our server: the command, and configuration beyond what every run sets."""

    command: str = f"{shlex.quote(sys.executable)} -m csms serve --config {{config}}"
    extra: Mapping[str, Any] = field(default_factory=dict)
    registry: Path | None = None  # Beckn participants it shall know


@contextmanager
def running(name: str, core: int, ours: Ours) -> Iterator[Server]:
    """Run one server (`ours`, `bare` or `ocpp`) on its core, in a home of its own that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as folder:
        home = Path(folder)
        api_key = secrets.token_urlsafe(24)
        if name == "ours":
            config = home / "csms.toml"
            config.write_text(to_toml(_configuration(home, api_key, ours)))
            command = shlex.split(ours.command.format(config=shlex.quote(str(config))))
        else:
            command = [sys.executable, "-m", "benchmarks.yardsticks", name]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CSMS_")}
        with (home / "stdout.log").open("wb") as out, (home / "stderr.log").open("wb") as err:
            with procfs.pinned(core):
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=ROOT, env=environment
                )
            server = Server(name, process, home, api_key=api_key)
            try:
                server.await_ready()
                yield server
            finally:
                server.stop()


def certificate(folder: Path) -> dict[str, Any] | None:
    """The `tls` section with a throwaway ECDSA certificate made in `folder`; None where there is no openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        return None
    key, made = folder / "key.pem", folder / "certificate.pem"
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    command = [openssl, *request.split(), "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return {"port": 0, "certificate": str(made), "key": str(key)}


def _configuration(home: Path, api_key: str, ours: Ours) -> dict[str, Any]:
    """A system on SQLite with nothing left out that a real one has: signatures on, storage durable."""
    registry = ours.registry or home / "registry.json"
    if ours.registry is None:
        registry.write_text("[]")
    config: dict[str, Any] = {
        "data_dir": str(home / "data"),
        "ocpp": {"host": "127.0.0.1", "port": 0, "accept_unknown": "always"},
        "api": {"host": "127.0.0.1", "port": 0, "bootstrap_key": api_key},
        "beckn": {
            "host": "127.0.0.1",
            "port": 0,
            "mode": "direct",
            "subscriber_id": BPP_ID,
            "unique_key_id": BPP_KEY_ID,
            "bpp_uri": BPP_URI,
            "signing_key": base64.b64encode(secrets.token_bytes(32)).decode(),
            "registry": f"static:{registry}",
        },
    }
    return merged(config, ours.extra)


def merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, section by section."""
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        if isinstance(inner, dict) and isinstance(value, Mapping):
            result[key] = merged(inner, value)
        else:
            result[key] = value
    return result


def read_toml(path: Path) -> dict[str, Any]:
    """Extra configuration of our server, from a file."""
    return tomllib.loads(path.read_text())


def to_toml(config: Mapping[str, Any], section: str = "") -> str:
    """TOML text of a configuration made of tables, strings, numbers, booleans and flat lists."""
    plain = [(key, value) for key, value in config.items() if not isinstance(value, Mapping)]
    tables = [(key, value) for key, value in config.items() if isinstance(value, Mapping)]
    text = f"[{section}]\n" if section else ""
    text += "".join(f"{key} = {_toml_value(value)}\n" for key, value in plain)
    for key, value in tables:
        text += "\n" + to_toml(value, f"{section}.{key}" if section else key)
    return text


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
