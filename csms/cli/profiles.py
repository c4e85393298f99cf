"""`csms profiles`: firmware profiles are checked where they are written, not on the night they matter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from csms.cli.server import fail

Folder = Annotated[Path | None, typer.Option("--folder", help="default: the profiles that come with the program")]


def register(app: typer.Typer) -> None:
    """Hang the commands onto `app`."""
    group = typer.Typer(help="firmware profiles: what is odd about which model", no_args_is_help=True)
    group.command("check")(check)
    group.command("words")(words)
    app.add_typer(group, name="profiles")


def check(folder: Folder = None) -> None:
    """Read every profile; leave with a sentence for the first that cannot stand."""
    from firmware_profiles.load import SHIPPED, load
    from firmware_profiles.schema import ProfileProblem

    where = SHIPPED if folder is None else folder
    if not where.is_dir():
        fail(f"{where} is no folder")
    try:
        found = load(where)
    except ProfileProblem as problem:
        fail(str(problem))
    for name, profile in sorted(found.by_id.items()):
        typer.echo(f"{name}: {profile.vendor} {', '.join(profile.models)}, firmware {profile.firmware.text}")
    typer.echo(f"{len(found.by_id)} profiles, no contradiction")


def words() -> None:
    """Every quirk word, with what it says of a charger."""
    from firmware_profiles.quirks import QUIRKS

    for name, quirk in QUIRKS.items():
        typer.echo(f"{', '.join(quirk.spellings(name))}: {quirk.meaning}")
