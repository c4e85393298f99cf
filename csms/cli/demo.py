"""`csms demo`: the whole system, simulated chargers and a simulated buyer, each a program of its own.

The server runs as it would for an operator, on ports the system chooses, in a data folder of its own. Everything is
set up through its REST API; the stories are told by the simulators, who share no code with it and judge the bills by
what their own meters delivered.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

_START_S = 60
_STORY_S = 180
_AT_ONCE = 3
_KEY = "demo-key"

# Timers as short as a story: a demo cannot wait six hours for a dark charger.
_CONFIG = """\
data_dir = {data_dir}

[ocpp]
port = {ocpp_port}
accept_unknown = "never"
ping_interval_s = 2
silence_s = 5

[api]
port = {api_port}
bootstrap_key = "{key}"

[beckn]
port = {public_port}
subscriber_id = "bpp.demo.example"
unique_key_id = "demo-1"
signing_key_file = {seed}
registry = {registry}
provider_id = "demo-cpo"
provider_name = "Demo CPO"
requests_per_min = 6000
discover_per_min = 6000

[payments]
settlement_account = {{ accountNumber = "000111222333", ifscCode = "DEMO0000001", bankName = "Demo Bank" }}

[limits]
notify_s = 1
drain_s = 1
bootstop_s = 3
data_online_s = 3
data_offline_s = 20
abandon_min_s = 6
abandon_max_s = 6
provisional_after_s = 2
sample_interval_s = 0.1

[telemetry]
log_level = "warning"
log_json = true
"""

_TARIFFS: dict[str, dict[str, Any]] = {
    "prepaid": {"pattern": "BUFFER_IN_QUOTE", "buffer_percent": 10, "buffer_min": 20},
    "hold": {"pattern": "HOLD", "buffer_percent": 20, "buffer_min": 20},
    "topup": {"pattern": "TOP_UP"},
}

# name -> tariff. A story is told in Beckn 2.0.0, unless its name says another dialect after the @.
_STORIES = {
    "walk-in-by-amount": "prepaid",
    "walk-in-by-kwh": "prepaid",
    "stopped-early": "prepaid",
    "reservation-and-cancel": "prepaid",
    "power-cut-late-stop": "prepaid",
    "power-cut-no-stop": "prepaid",
    "offline-overrun-in-buffer": "hold",
    "offline-overrun-top-up": "topup",
    "dark-then-late-stop": "prepaid",
    "flapping-link": "prepaid",
    "duplicate-and-reordered": "prepaid",
    "stopped-early@uei": "prepaid",
    "walk-in-by-amount@deg": "prepaid",
}
_DIALECT = "v2"


@dataclass
class Server:
    """The running server program."""

    process: subprocess.Popen[str]
    urls: dict[str, str]

    def stop(self) -> int:
        """SIGTERM, as an operator would."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def run_demo(*, once: bool, data_dir: Path, only: list[str]) -> int:
    """0 when every story ended as it should."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    unknown = set(only) - set(_STORIES)
    if unknown:
        console.print(f"no such story: {', '.join(sorted(unknown))}; there are: {', '.join(_STORIES)}")
        return 2
    stories = {name: tariff for name, tariff in _STORIES.items() if not only or name in only}
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir(parents=True)
    console.rule("starting the system")
    server = start_server(data_dir, fixed_ports=not once)
    try:
        for name, url in server.urls.items():
            console.print(f"  {name:8} {url}")
        setup(server.urls["api"], stories)
        console.rule(f"{len(stories)} stories")
        results = _play_all(console, server, data_dir, stories)
        _report(console, results, data_dir)
        good = all(result["ok"] for result in results)
        if once:
            code = server.stop()
            if code != 0:
                console.print(f"[red]the server left with {code}[/red]")
            return 0 if good and code == 0 else 1
        _stay(console, server, stories)
        return 0 if good else 1
    finally:
        if server.process.poll() is None:
            server.stop()


# --- the server


def start_server(data_dir: Path, *, fixed_ports: bool) -> Server:
    """Write its configuration and keys, start it, wait for `ready`. Leaves with a sentence when it does not come up."""
    from nacl.signing import SigningKey

    key = SigningKey.generate()
    seed = data_dir / "beckn-seed"
    seed.touch(mode=0o600)
    seed.write_text(_b64(bytes(key)), encoding="utf-8")
    registry = data_dir / "registry.json"
    entry = {
        "subscriber_id": "bpp.demo.example",
        "unique_key_id": "demo-1",
        "signing_public_key": _b64(bytes(key.verify_key)),
        "subscriber_url": "http://127.0.0.1/beckn/bpp/receiver",
        "type": "BPP",
    }
    registry.write_text(json.dumps([entry]), encoding="utf-8")
    ports = {"ocpp_port": 9000, "api_port": 8080, "public_port": 8090} if fixed_ports else {}
    config = data_dir / "csms.toml"
    text = _CONFIG.format(
        data_dir=json.dumps(str((data_dir / "system").resolve())),
        seed=json.dumps(str(seed.resolve())),
        registry=json.dumps(f"static:{registry.resolve()}"),
        key=_KEY,
        **{name: ports.get(name, 0) for name in ("ocpp_port", "api_port", "public_port")},
    )
    config.write_text(text, encoding="utf-8")
    log_path = data_dir / "server.log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CSMS_")}
    with log_path.open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "csms", "serve", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
    urls: dict[str, str] = {}
    ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            words = line.split()
            if words[:1] == ["ready"] and len(words) == 3:
                urls[words[1]] = words[2]
            elif words == ["ready"]:
                ready.set()

    threading.Thread(target=read, daemon=True).start()
    deadline = time.monotonic() + _START_S
    while not ready.wait(0.1):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            said = log_path.read_text(encoding="utf-8").strip().splitlines()[-3:]
            typer.echo("the server did not come up:\n  " + "\n  ".join(said), err=True)
            raise typer.Exit(1)
    return Server(process, urls)


def _b64(raw: bytes) -> str:
    import base64

    return base64.b64encode(raw).decode()


def setup(api: str, stories: dict[str, str]) -> None:
    """Tariffs, chargers and locations, through the REST API."""
    for name, policy in _TARIFFS.items():
        call(api, "PUT", f"/api/v1/tariffs/{name}", tariff(name, policy))
    for number, (story, tariff_id) in enumerate(stories.items()):
        charger = charger_id(story)
        site = f"site-{_plain(story)}"
        call(api, "POST", "/api/v1/chargers", {"id": charger, "location_id": site, "rated_kw": 4500})
        call(api, "PUT", f"/api/v1/locations/{site}", location(site, charger, tariff_id, number))


def charger_id(story: str) -> str:
    """The charger at which a story happens."""
    return "DEMO-" + _plain(story).upper()


def _plain(story: str) -> str:
    """The story's name as ids and hosts may have it."""
    return story.replace("@", "-")


def tariff(name: str, policy: dict[str, Any]) -> dict[str, Any]:
    """18 INR/kWh, 10 INR service fee, 18 % GST."""
    components = [
        {"type": "ENERGY", "price": 18, "vat": 18, "step_size": 1},
        {"type": "FLAT", "price": 10, "vat": 18, "step_size": 1},
    ]
    return {
        "country_code": "IN", "party_id": "DEM", "id": name, "currency": "INR",
        "elements": [{"price_components": components}], "last_updated": "2026-01-01T00:00:00Z", **policy,
    }  # fmt: skip


def location(site: str, charger: str, tariff_id: str, number: int) -> dict[str, Any]:
    """One charger with one connector, somewhere in Bengaluru."""
    connector = {
        "id": "1", "standard": "IEC_62196_T2_COMBO", "format": "CABLE", "power_type": "DC", "max_voltage": 500,
        "max_amperage": 120, "max_electric_power": 60000, "tariff_ids": [tariff_id],
        "last_updated": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    evse = {
        "uid": charger, "evse_id": f"IN*DEM*{charger}*1", "status": "AVAILABLE", "capabilities": ["RESERVABLE"],
        "connectors": [connector], "last_updated": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return {
        "country_code": "IN", "party_id": "DEM", "id": site, "publish": True,
        "name": f"Demo {site}", "address": "1 Main Road", "city": "Bengaluru", "postal_code": "560001",
        "country": "IND", "coordinates": {"latitude": f"{12.9716 + number / 1000:.4f}", "longitude": "77.5946"},
        "time_zone": "Asia/Kolkata", "opening_times": {"twentyfourseven": True}, "evses": [evse],
        "last_updated": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def call(api: str, method: str, path: str, body: Any = None) -> Any:
    """One REST call. Raises RuntimeError with the server's own words."""
    request = urllib.request.Request(  # noqa: S310 - the server this program started
        api + path,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"Authorization": f"Bearer {_KEY}", "Content-Type": "application/json"},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode()}") from None
    return json.loads(text) if text else None


# --- the stories


def _play_all(console: Console, server: Server, data_dir: Path, stories: dict[str, str]) -> list[dict[str, Any]]:
    lock = threading.Lock()
    done = 0

    def play(story: str) -> dict[str, Any]:
        nonlocal done
        result = _play(console, lock, server, data_dir, story)
        with lock:
            done += 1
            verdict = "[green]as it should[/green]" if result["ok"] else f"[red]{'; '.join(result['reasons'])}[/red]"
            console.print(f"[bold]({done}/{len(stories)}) {story}[/bold]: {verdict}", highlight=False)
        return result

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(play, stories))


def _play(console: Console, lock: threading.Lock, server: Server, data_dir: Path, story: str) -> dict[str, Any]:
    told, _, dialect = story.partition("@")
    command = [
        sys.executable, "-m", "simulators", "bap", "--bpp", f"{server.urls['public']}/beckn/bpp/receiver",
        "--bpp-id", "bpp.demo.example", "--bap-id", f"bap.{_plain(story)}.demo.example", "--story", told,
        "--dialect", dialect or _DIALECT,
        "--url", server.urls["ocpp"], "--id", charger_id(story), "--registry", str(data_dir / "registry.json"),
        "--api-url", server.urls["api"], "--api-key", _KEY, "--json", "--brief", "--timeout", "45",
    ]  # fmt: skip
    log_path = data_dir / f"{_plain(story)}.log"
    process = subprocess.Popen(  # noqa: S603 - our own program
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines: list[str] = []
    with log_path.open("w") as log:
        for line in _lines(process):
            log.write(line)
            lines.append(line.rstrip())
            if not line.startswith("["):
                with lock:
                    console.print(
                        f"[dim]{story:26}[/dim] {line.rstrip()}", highlight=False, markup=True, soft_wrap=True
                    )
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, list) and found and "ok" in found[0]:
                return {**found[0], "story": story}
    return {"story": story, "ok": False, "reasons": [f"the program said nothing; see {log_path}"]}


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    timer = threading.Timer(_STORY_S, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        yield from process.stdout
    finally:
        timer.cancel()
        process.wait()


def _report(console: Console, results: list[dict[str, Any]], data_dir: Path) -> None:
    columns = ("story", "ordered", "quoted", "paid", "delivered", "billed", "returned", "due", "ledger", "")
    table = Table(*columns, title="what was ordered is delivered, returned or owed; every ledger sums to zero")
    for result in results:
        table.add_row(
            result["story"],
            _kwh(result.get("ordered_kwh")) or _money(result.get("ordered_inr")),
            _money(result.get("quoted_inr")),
            _money(result.get("paid_inr")),
            _kwh(result.get("delivered_kwh")),
            _money(result.get("billed_inr")),
            _money(result.get("refunded_inr")),
            _money(result.get("due_inr")),
            _money(result.get("ledger")),
            "[green]ok[/green]" if result["ok"] else "[red]failed[/red]",
        )
    console.print(table)
    for result in results:
        if not result["ok"]:
            console.print(f"[red]{result['story']}[/red]: {'; '.join(map(str, result['reasons']))}", highlight=False)
    summary = {"ok": all(result["ok"] for result in results), "stories": results}
    (data_dir / "summary.json").write_text(json.dumps(summary, indent=2), encoding="utf-8")
    console.print(f"summary: {data_dir / 'summary.json'}")


def _kwh(value: Any) -> str:
    return "" if value is None else f"{Decimal(str(value)):.3f} kWh"


def _money(value: Any) -> str:
    return "" if value is None else f"₹{Decimal(str(value)):.2f}"


def _stay(console: Console, server: Server, stories: dict[str, str]) -> None:
    """Keep the system and a few idle chargers running until Ctrl-C."""
    console.rule("running; Ctrl-C ends it")
    console.print(f"  API and its documentation: {server.urls['api']}/api/docs   key: {_KEY}")
    console.print(f"  plug in a charger of your own: {server.urls['ocpp']}/CHARGER_ID")
    sim = [sys.executable, "-m", "simulators", "charger", "--quiet", "--url", server.urls["ocpp"], "--id"]
    chargers = [
        subprocess.Popen(  # noqa: S603 - our own program
            [*sim, charger_id(story)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for story in list(stories)[:4]
    ]
    try:
        while server.process.poll() is None:
            time.sleep(0.5)
    except KeyboardInterrupt:
        console.print("stopping")
    finally:
        for charger in chargers:
            charger.terminate()
        for charger in chargers:
            charger.wait()
