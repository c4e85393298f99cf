"""Operator commands over the REST API: whatever they show, a script gets with `--json`.

Exit codes: 0 done, 1 the server said no (its sentence is printed), 2 wrong usage, 3 the server cannot be reached.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

Url = Annotated[str, typer.Option("--url", envvar="CSMS_URL", help="the operator listener")]
Json = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]
DEFAULT_URL = "http://127.0.0.1:8080"
_TIMEOUT_S = 60  # the longest the server itself waits for a charger is below this


def register(app: typer.Typer) -> None:
    """Hang the commands onto `app`."""
    groups: tuple[tuple[str, str, dict[str, Callable[..., None]]], ...] = (
        (
            "chargers",
            "chargers",
            {"list": chargers_list, "show": chargers_show, "add": chargers_add, "call": chargers_call},
        ),
        ("sessions", "charging sessions", {"list": sessions_list, "show": sessions_show, "close": sessions_close}),
        ("orders", "Beckn orders", {"list": orders_list, "show": orders_show, "ledger": orders_ledger}),
        ("tokens", "RFID and app tokens", {"list": tokens_list, "set": tokens_set, "remove": tokens_remove}),
        ("cases", "what a person must look at", {"list": cases_list, "resolve": cases_resolve}),
    )
    for name, what, commands in groups:
        group = typer.Typer(help=what, no_args_is_help=True)
        for command, function in commands.items():
            group.command(command)(function)
        app.add_typer(group, name=name)
    app.command("frames")(frames)


# --- talking to the server


def request(method: str, url: str, path: str, body: Any = None) -> Any:
    """One call; leaves with a sentence when it fails."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {key()}", "Content-Type": "application/json"}
    call = urllib.request.Request(url.rstrip("/") + path, data=data, headers=headers, method=method)  # noqa: S310 - the operator's own server
    try:
        with urllib.request.urlopen(call, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
            text = answer.read()
    except urllib.error.HTTPError as error:
        typer.echo(sentence(error), err=True)
        raise typer.Exit(1) from None
    except (urllib.error.URLError, TimeoutError) as error:
        typer.echo(f"{url} cannot be reached: {getattr(error, 'reason', error)}. Is the server running?", err=True)
        raise typer.Exit(3) from None
    return json.loads(text) if text else None


def sentence(error: urllib.error.HTTPError) -> str:
    try:
        problem = json.loads(error.read())
        return f"{problem.get('title', error.code)}: {problem.get('detail', '')}"
    except (ValueError, AttributeError):
        return f"HTTP {error.code}"


def key() -> str:
    if key := os.environ.get("CSMS_API_KEY") or os.environ.get("CSMS_API__BOOTSTRAP_KEY"):
        return key
    for folder in (Path(os.environ.get("CSMS_DATA_DIR", "data")), Path("data/demo/system")):
        file = folder / "bootstrap-key"
        if file.exists():
            return file.read_text(encoding="utf-8").strip()
    typer.echo("no API key: set CSMS_API_KEY, or run where data/bootstrap-key is", err=True)
    raise typer.Exit(2)


def show(rows: list[dict[str, Any]], columns: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    wide = sum(max(map(len, column)) + 3 for column in zip(columns, *cells, strict=True)) + 1
    terminal = shutil.get_terminal_size().columns
    if sys.stdout.isatty() and wide > terminal:  # an id that is cut off can be given to no other command
        _blocks(cells, columns)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*columns)
    for row_cells in cells:
        table.add_row(*map(escape, row_cells))
    Console(width=max(wide, terminal)).print(table)


def _blocks(cells: list[list[str]], columns: tuple[str, ...]) -> None:
    """A table that is too wide for the terminal: one block per row, one line per value."""
    margin = max(map(len, columns))
    for number, row in enumerate(cells):
        if number:
            typer.echo()
        for column, value in zip(columns, row, strict=True):
            if value:
                typer.echo(f"{column:{margin}}  {value}")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict) and {"amount", "currency"} <= value.keys():
        return f"{value['amount']} {value['currency']}"
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def one(thing: Any, *, as_json: bool) -> None:
    if as_json or not isinstance(thing, dict):
        typer.echo(json.dumps(thing, indent=2, ensure_ascii=False))
        return
    for name, value in thing.items():
        typer.echo(f"{name}: {_cell(value)}")


def items(url: str, path: str, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(found) < limit:
        query = {"limit": str(min(200, limit - len(found))), **({"cursor": cursor} if cursor else {})}
        page = request("GET", url, f"{path}{'&' if '?' in path else '?'}{urllib.parse.urlencode(query)}")
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    return found


Limit = Annotated[int, typer.Option(help="how many at most")]


# --- chargers


def chargers_list(url: Url = DEFAULT_URL, limit: Limit = 100, as_json: Json = False) -> None:
    """Every charger, with what it is doing."""
    columns = ("id", "online", "transport", "registration", "vendor", "model", "firmware", "last_seen_at")
    show(items(url, "/api/v1/chargers", limit), columns, as_json=as_json)


def chargers_show(charger: str, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """One charger."""
    one(request("GET", url, f"/api/v1/chargers/{quote(charger)}"), as_json=as_json)


def chargers_add(
    charger: str,
    password: Annotated[str | None, typer.Option(help="Basic password (security profile 1)")] = None,
    rated_kw: Annotated[float | None, typer.Option(help="rated power")] = None,
    location: Annotated[str | None, typer.Option(help="location id")] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Let a charger in."""
    body: dict[str, Any] = {"id": charger}
    if password is not None:
        body |= {"password": password, "security_profile": 1}
    if rated_kw is not None:
        body["rated_kw"] = rated_kw
    if location is not None:
        body["location_id"] = location
    one(request("POST", url, "/api/v1/chargers", body), as_json=as_json)


def chargers_call(
    charger: str,
    action: Annotated[str, typer.Argument(help="any OCPP action of the charger's version")],
    payload: Annotated[str, typer.Argument(help="JSON object")] = "{}",
    timeout_s: float = 30,
    url: Url = DEFAULT_URL,
) -> None:
    """Send any OCPP message and print the charger's answer."""
    try:
        body = json.loads(payload)
    except ValueError as error:
        typer.echo(f"the payload is not JSON: {error}", err=True)
        raise typer.Exit(2) from None
    path = f"/api/v1/chargers/{quote(charger)}/ocpp/{action}?timeout_s={timeout_s}"
    answer = request("POST", url, path, body)
    typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    if answer["status"] != "answered":
        raise typer.Exit(1)


def frames(
    charger: str,
    action: Annotated[str | None, typer.Option(help="only this action")] = None,
    limit: Limit = 50,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """The raw frames of a charger, newest first."""
    query = f"?action={action}" if action else ""
    rows = items(url, f"/api/v1/chargers/{quote(charger)}/frames{query}", limit)
    show(rows, ("at", "direction", "type", "action", "frame"), as_json=as_json)


# --- sessions, orders, tokens, cases


def sessions_list(
    charger: Annotated[str | None, typer.Option(help="only of this charger")] = None,
    only_open: Annotated[bool, typer.Option("--open", help="only open ones")] = False,
    url: Url = DEFAULT_URL,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Sessions, newest first."""
    query = urllib.parse.urlencode(
        {**({"charger_id": charger} if charger else {}), **({"open": "true"} if only_open else {})}
    )
    columns = ("id", "charger_id", "state", "quality", "token", "started_at", "ended_at", "energy_wh", "end_cause")
    show(items(url, "/api/v1/sessions" + (f"?{query}" if query else ""), limit), columns, as_json=as_json)


def sessions_show(session: str, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """One session."""
    one(request("GET", url, f"/api/v1/sessions/{quote(session)}"), as_json=as_json)


def sessions_close(session: str, reason: str, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """End a session that no fact will end."""
    one(request("POST", url, f"/api/v1/sessions/{quote(session)}/close", {"reason": reason}), as_json=as_json)


def orders_list(url: Url = DEFAULT_URL, limit: Limit = 50, as_json: Json = False) -> None:
    """Orders, newest first."""
    columns = ("id", "state", "charger_id", "bap_id", "session_id", "quote", "final", "created_at")
    show(items(url, "/api/v1/orders", limit), columns, as_json=as_json)


def orders_show(order: str, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """One order."""
    one(request("GET", url, f"/api/v1/orders/{quote(order)}"), as_json=as_json)


def orders_ledger(order: str, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """The ledger of an order; its sum is zero when it is settled."""
    ledger = request("GET", url, f"/api/v1/orders/{quote(order)}/ledger")
    if as_json:
        typer.echo(json.dumps(ledger, indent=2, ensure_ascii=False))
        return
    show(ledger["items"], ("at", "revision", "kind", "account", "amount", "energy_wh", "ref"), as_json=False)
    typer.echo(f"sum: {_cell(ledger['sum'])}")


def tokens_list(url: Url = DEFAULT_URL, limit: Limit = 100, as_json: Json = False) -> None:
    """Tokens."""
    columns = ("uid", "type", "status", "kind", "driver", "group_id", "expires_at")
    show(items(url, "/api/v1/tokens", limit), columns, as_json=as_json)


def tokens_set(
    uid: str,
    status: Annotated[str, typer.Option(help="Accepted, Blocked, Expired or Invalid")] = "Accepted",
    driver: Annotated[str | None, typer.Option()] = None,
    group: Annotated[str | None, typer.Option()] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Let a token charge, or block it."""
    body: dict[str, Any] = {"status": status}
    if driver is not None:
        body["driver"] = driver
    if group is not None:
        body["group_id"] = group
    one(request("PUT", url, f"/api/v1/tokens/{quote(uid)}", body), as_json=as_json)


def tokens_remove(uid: str, url: Url = DEFAULT_URL) -> None:
    """Forget a token."""
    request("DELETE", url, f"/api/v1/tokens/{quote(uid)}")


def cases_list(url: Url = DEFAULT_URL, limit: Limit = 50, as_json: Json = False) -> None:
    """What waits for a person."""
    columns = ("id", "type", "severity", "state", "charger_id", "session_id", "order_id", "text", "opened_at")
    show(items(url, "/api/v1/cases", limit), columns, as_json=as_json)


def cases_resolve(case: str, resolution: str, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Close a case with what was done about it."""
    one(request("POST", url, f"/api/v1/cases/{quote(case)}/resolve", {"resolution": resolution}), as_json=as_json)


def quote(part: str) -> str:
    return urllib.parse.quote(part, safe="")
