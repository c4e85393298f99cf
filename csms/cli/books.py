"""Documents on the command line: invoices and notes, statements of months, what was paid over. Thin over the API."""

from __future__ import annotations

import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Annotated, Any

import typer

from csms.cli.operator import DEFAULT_URL, Json, Limit, Url, items, key, one, quote, request, sentence, show

_TIMEOUT_S = 60
_COLUMNS = ("id", "kind", "number", "order_id", "party", "period", "amount", "made_at")


def register(app: typer.Typer) -> None:
    """Hang the commands onto `app`."""
    groups: tuple[tuple[str, str, dict[str, Callable[..., None]]], ...] = (
        (
            "invoices",
            "invoices, credit and debit notes",
            {"list": invoices_list, "show": invoices_show, "print": invoices_print},
        ),
        (
            "statements",
            "statements of months, and what was paid over",
            {
                "list": statements_list,
                "make": statements_make,
                "show": statements_show,
                "print": statements_print,
                "lines": statements_lines,
                "paid": statements_paid,
            },
        ),
    )
    for name, what, commands in groups:
        group = typer.Typer(help=what, no_args_is_help=True)
        for command, function in commands.items():
            group.command(command)(function)
        app.add_typer(group, name=name)


def invoices_list(
    order: Annotated[str | None, typer.Option(help="only of this order")] = None,
    kind: Annotated[str | None, typer.Option(help="invoice, credit_note or debit_note")] = None,
    url: Url = DEFAULT_URL,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Invoices and notes, newest first."""
    rows = items(url, "/api/v1/documents" + _query(order_id=order, kind=kind, about="order"), limit)
    show(rows, _COLUMNS, as_json=as_json)


def invoices_show(document: str, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """One document with everything in it."""
    one(request("GET", url, f"/api/v1/documents/{quote(document)}"), as_json=as_json)


def invoices_print(document: str, url: Url = DEFAULT_URL) -> None:
    """The page to print (HTML), to standard output."""
    _copy(url, f"/api/v1/documents/{quote(document)}/html")


def statements_list(
    party: Annotated[str | None, typer.Option(help="a buyer app's id, or a fleet's")] = None,
    period: Annotated[str | None, typer.Option(help="a month, e.g. 2026-11")] = None,
    url: Url = DEFAULT_URL,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Statements, newest first."""
    rows = items(url, "/api/v1/statements" + _query(party=party, period=period), limit)
    show(rows, _COLUMNS, as_json=as_json)


def statements_make(
    kind: Annotated[str, typer.Argument(help="bap_statement, cdr_statement or fleet_statement")],
    party: Annotated[str, typer.Argument(help="a buyer app's id, or a fleet's")],
    period: Annotated[str, typer.Argument(help="a month that is over, e.g. 2026-11")],
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Make a statement; one that stands already is shown."""
    body = {"kind": kind, "party": party, "period": period}
    one(request("POST", url, "/api/v1/statements", body), as_json=as_json)


def statements_show(statement: str, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """One statement."""
    one(request("GET", url, f"/api/v1/statements/{quote(statement)}"), as_json=as_json)


def statements_print(statement: str, url: Url = DEFAULT_URL) -> None:
    """The page to print (HTML), to standard output."""
    _copy(url, f"/api/v1/statements/{quote(statement)}/html")


def statements_lines(statement: str, url: Url = DEFAULT_URL) -> None:
    """Its lines (CSV), to standard output."""
    _copy(url, f"/api/v1/statements/{quote(statement)}/csv")


def statements_paid(
    party: Annotated[str, typer.Argument(help="who paid: a buyer app's id, or a fleet's with --fleet")],
    reference: Annotated[str, typer.Argument(help="the bank's reference; the same one counts once")],
    amount: Annotated[str, typer.Argument(help="what came, e.g. 1250.00")],
    withheld: Annotated[str, typer.Option(help="tax deducted at source, beside the amount")] = "0.00",
    fleet: Annotated[bool, typer.Option("--fleet", help="a fleet paid")] = False,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Record what a buyer app or a fleet paid over."""
    who = {"fleet_id" if fleet else "bap_id": party}
    body = {**who, "reference": reference, "amount": amount, "withheld": withheld}
    one(request("POST", url, "/api/v1/remittances", body), as_json=as_json)


def _query(**wanted: str | None) -> str:
    given = {name: value for name, value in wanted.items() if value is not None}
    return f"?{urllib.parse.urlencode(given)}" if given else ""


def _copy(url: str, path: str) -> None:
    """An answer as it comes to standard output; leaves with a sentence when it fails."""
    headers: dict[str, Any] = {"Authorization": f"Bearer {key()}"}
    call = urllib.request.Request(url.rstrip("/") + path, headers=headers)  # noqa: S310 - the operator's own server
    try:
        with urllib.request.urlopen(call, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
            sys.stdout.buffer.write(answer.read())
    except urllib.error.HTTPError as error:
        typer.echo(sentence(error), err=True)
        raise typer.Exit(1) from None
    except (urllib.error.URLError, TimeoutError) as error:
        typer.echo(f"{url} cannot be reached: {getattr(error, 'reason', error)}. Is the server running?", err=True)
        raise typer.Exit(3) from None
