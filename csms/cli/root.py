"""What `csms` offers. Imports are lazy: `csms --help` must not pay for a database library."""

from __future__ import annotations

import typer

from csms.cli import beckn, books, firmware, operator, profiles, server

app = typer.Typer(
    name="csms",
    help="A charge point operator's central system with an embedded Beckn provider.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
server.register(app)
operator.register(app)
firmware.register(app)
profiles.register(app)
beckn.register(app)
books.register(app)
