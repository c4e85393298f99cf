"""`csms firmware …`: images, campaigns, and how far they are; over the REST API like every operator command."""

from __future__ import annotations

import hashlib
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from csms.cli import operator
from csms.cli.operator import DEFAULT_URL, Json, Limit, Url

_UPLOAD_S: Final = 600  # of silence, not in all
_LOOK_S: Final = 1.0
_OVER: Final = ("installed", "failed", "cancelled")
_CAMPAIGN: Final = ("id", "state", "image_id", "start_at", "progress", "detail")
_JOB: Final = ("charger_id", "state", "status", "attempts", "version_before", "version", "proven", "detail")

_ODD: Final = re.compile(r"[^A-Za-z0-9._-]")

Many = Annotated[list[str] | None, typer.Option()]


def register(app: typer.Typer) -> None:
    """Hang the commands onto `app`."""
    group = typer.Typer(help="firmware of chargers", no_args_is_help=True)
    commands: dict[str, Callable[..., None]] = {
        "images": images,
        "add": add,
        "remove": remove,
        "campaigns": campaigns,
        "start": start,
        "status": status,
        "pause": pause,
        "resume": resume,
        "cancel": cancel,
    }
    for name, command in commands.items():
        group.command(name)(command)
    app.add_typer(group, name="firmware")


def images(url: Url = DEFAULT_URL, limit: Limit = 50, as_json: Json = False) -> None:
    """Firmware images, newest first."""
    columns = ("id", "version", "vendor", "model", "size", "signed", "ready", "sha256", "url", "created_at")
    operator.show(operator.items(url, "/api/v1/firmware-images", limit), columns, as_json=as_json)


def add(
    version: Annotated[str, typer.Argument(help="as chargers report it once they run it")],
    file: Annotated[Path | None, typer.Option(help="the image; or --location")] = None,
    location: Annotated[str | None, typer.Option(help="where chargers fetch it, when it is kept elsewhere")] = None,
    vendor: Annotated[str | None, typer.Option(help="for chargers of this vendor only")] = None,
    model: Annotated[str | None, typer.Option(help="for this model only")] = None,
    sha256: Annotated[str | None, typer.Option(help="hexadecimal; the file must fit it")] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM of the manufacturer's signing certificate")] = None,
    signature: Annotated[Path | None, typer.Option(help="file with the signature in base64")] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Add an image. A signature is verified before the image can be used."""
    if (file is None) == (location is None):
        typer.echo("give --file or --location", err=True)
        raise typer.Exit(2)
    digest = _digest(file) if file is not None else sha256
    if sha256 is not None and digest != sha256.lower():
        typer.echo(f"the sha256 of {file} is {digest}", err=True)
        raise typer.Exit(2)
    body = {
        "version": version,
        "vendor": vendor,
        "model": model,
        "url": location,
        "sha256": digest,  # so that a wrong signature is found before the file is sent
        "file_name": _ODD.sub("_", file.name).lstrip("._-")[-80:] or None if file is not None else None,
        "signing_certificate": _text(certificate),
        "signature": _text(signature),
    }
    made = operator.request("POST", url, "/api/v1/firmware-images", {k: v for k, v in body.items() if v is not None})
    if file is not None:
        made = _send(url, f"/api/v1/firmware-images/{made['id']}/file", file)
    operator.one(made, as_json=as_json)


def remove(image: str, url: Url = DEFAULT_URL) -> None:
    """Delete an image that no campaign needs any more."""
    operator.request("DELETE", url, f"/api/v1/firmware-images/{operator.quote(image)}")


def campaigns(url: Url = DEFAULT_URL, limit: Limit = 50, as_json: Json = False) -> None:
    """Campaigns, newest first."""
    operator.show(operator.items(url, "/api/v1/firmware-campaigns", limit), _CAMPAIGN, as_json=as_json)


def start(
    image: Annotated[str, typer.Argument(help="the image's id")],
    charger: Many = None,
    location: Many = None,
    model: Annotated[str | None, typer.Option(help="with * and ?, instead of the image's")] = None,
    at_once: Annotated[int, typer.Option(help="chargers at the same time")] = 10,
    stop_after: Annotated[int, typer.Option(help="failures; 0 never stops")] = 3,
    at: Annotated[str | None, typer.Option(help="begin then, e.g. 2026-01-02T01:00:00+05:30")] = None,
    busy: Annotated[bool, typer.Option("--busy", help="also while somebody charges")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="also where another update is under way")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="stay and show how far it is")] = False,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Bring an image to chargers: those named, else all that fit the image's vendor and model."""
    body: dict[str, Any] = {
        "image_id": image,
        "charger_ids": charger or [],
        "location_ids": location or [],
        "at_once": at_once,
        "stop_after": stop_after,
        "when_idle": not busy,
        "replace": replace,
    }
    optional = {"model": model, "start_at": at}
    body |= {name: value for name, value in optional.items() if value is not None}
    made = operator.request("POST", url, "/api/v1/firmware-campaigns", body)
    if watch:
        made = _watch(url, made["id"])
    operator.one(made, as_json=as_json)


def status(
    campaign: str,
    watch: Annotated[bool, typer.Option("--watch", help="stay until it is over")] = False,
    url: Url = DEFAULT_URL,
    limit: Limit = 1000,
    as_json: Json = False,
) -> None:
    """How far a campaign is, charger by charger."""
    path = f"/api/v1/firmware-campaigns/{operator.quote(campaign)}"
    found = _watch(url, campaign) if watch else operator.request("GET", url, path)
    jobs = operator.items(url, f"/api/v1/firmware-jobs?campaign_id={operator.quote(campaign)}", limit)
    if as_json:
        typer.echo(json.dumps({**found, "jobs": jobs}, indent=2, ensure_ascii=False))
        return
    operator.one(found, as_json=False)
    operator.show(jobs, _JOB, as_json=False)


def pause(campaign: str, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Ask no further charger; what is under way goes on."""
    _steer(campaign, "pause", url, as_json=as_json)


def resume(campaign: str, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Go on with a campaign that was paused or stopped by itself."""
    _steer(campaign, "resume", url, as_json=as_json)


def cancel(campaign: str, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Ask nobody any more; what is under way goes on."""
    _steer(campaign, "cancel", url, as_json=as_json)


def _steer(campaign: str, how: str, url: str, *, as_json: bool) -> None:
    path = f"/api/v1/firmware-campaigns/{operator.quote(campaign)}/{how}"
    operator.one(operator.request("POST", url, path, {}), as_json=as_json)


def _watch(url: str, campaign: str) -> dict[str, Any]:
    """Look until nobody waits or is under way any more; a bar on standard error meanwhile."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[said]}"))
    path = f"/api/v1/firmware-campaigns/{operator.quote(campaign)}"
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("firmware", said="", total=None)
        while True:
            found: dict[str, Any] = operator.request("GET", url, path)
            counts: dict[str, int] = found["progress"]
            said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
            over = sum(counts[name] for name in _OVER)
            bar.update(task, total=sum(counts.values()), completed=over, said=said)
            is_stuck = found["state"] in {"paused", "stopped"} and not any(
                counts[name] for name in counts if name not in {*_OVER, "waiting"}
            )
            if over == sum(counts.values()) or is_stuck:
                return found
            time.sleep(_LOOK_S)


def _send(url: str, path: str, file: Path) -> Any:
    """The file as the body of a PUT, with a bar on standard error."""
    from rich.console import Console
    from rich.progress import Progress

    try:
        size = file.stat().st_size
        with Progress(console=Console(stderr=True)) as bar, bar.open(file, "rb", description=file.name) as body:
            call = urllib.request.Request(url.rstrip("/") + path, data=body, method="PUT")  # noqa: S310 - the operator's own server
            call.add_header("Authorization", f"Bearer {operator.key()}")
            call.add_header("Content-Type", "application/octet-stream")
            call.add_header("Content-Length", str(size))
            with urllib.request.urlopen(call, timeout=_UPLOAD_S) as answer:  # noqa: S310 - as above
                return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        typer.echo(operator.sentence(error), err=True)
        raise typer.Exit(1) from None
    except (urllib.error.URLError, TimeoutError) as error:
        typer.echo(f"{url} cannot be reached: {getattr(error, 'reason', error)}. Is the server running?", err=True)
        raise typer.Exit(3) from None
    except OSError as error:
        typer.echo(f"{file} cannot be read: {error.strerror}", err=True)
        raise typer.Exit(2) from None


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as body:
            return hashlib.file_digest(body, "sha256").hexdigest()
    except OSError as error:
        typer.echo(f"{file} cannot be read: {error.strerror}", err=True)
        raise typer.Exit(2) from None


def _text(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        typer.echo(f"{file} cannot be read: {error}", err=True)
        raise typer.Exit(2) from None
