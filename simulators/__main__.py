"""`csms-sim`: simulated chargers and buyers against any system.

Every command prints what was sent and got, ends with a summary, and exits non-zero when its story failed.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from simulators import scenario as stories
from simulators.bap import Bap
from simulators.beckn_schema import schemas_of
from simulators.faults import FAULTS
from simulators.fleet import FleetReport, run_fleet
from simulators.gateway import Gateway
from simulators.judge import Result
from simulators.ocpp_charger import Charger, StoryError
from simulators.signing import Identity, registry_entry, write_registry
from simulators.tongue_v1 import DIALECTS
from simulators.transcript import Entry, Transcript

SEED_BYTES = 32

app = typer.Typer(
    help="Simulated chargers and buyers, usable against any system.", no_args_is_help=True, add_completion=False
)
console = Console(highlight=False, soft_wrap=True, markup=False)

Url = Annotated[str, typer.Option("--url", help="The OCPP endpoint without the identity, ws://HOST:9000/ocpp.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the summary only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as one line of JSON.")]
Password = Annotated[
    str | None, typer.Option("--password", envvar="CSMS_SIM_PASSWORD", help="Basic authentication of the charger.")
]
Speed = Annotated[float | None, typer.Option("--speed", min=0.001, help="Energy flows this many times faster.")]
RatedKw = Annotated[float | None, typer.Option("--rated-kw", min=0.1, help="Nameplate power of a socket.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0.01, help="Longest wait for one thing, in seconds.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Same seed, same noise and same faults.")]


@app.command()
def charger(
    url: Url,
    identity: Annotated[str, typer.Option("--id", help="The charger's identity.")],
    version: Annotated[str, typer.Option("--version", help="1.6 or 2.0.1.")] = "1.6",
    connectors: Annotated[int, typer.Option("--connectors", min=1)] = 1,
    scenario: Annotated[
        str | None, typer.Option("--scenario", help="A story without a buyer, or a .toml file.")
    ] = None,
    fault: Annotated[list[str] | None, typer.Option("--fault", help="A misbehaviour; may be repeated.")] = None,
    seed: Seed = None,
    speed: Speed = None,
    rated_kw: RatedKw = None,
    password: Password = None,
    timeout: Timeout = 20.0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """One charger: plays a story, or stands there until Ctrl-C."""
    if version not in {"1.6", "2.0.1"}:
        raise typer.BadParameter("1.6 or 2.0.1", param_hint="--version")
    transcript = _transcript(quiet, as_json)
    if scenario is not None:
        story = _load(scenario)
        if story.order is not None:
            raise typer.BadParameter(f"{story.name} has a buyer: use `csms-sim bap --story {scenario}`")
        story = _at_charger(story, version, connectors, fault)
        world = stories.World(
            url, identity, password, speed=speed, rated_kw=rated_kw, seed=seed, timeout_s=timeout, transcript=transcript
        )
        _finish([_run(stories.play(story, world))], as_json)
        return
    try:
        made = Charger(
            identity,
            url,
            version="1.6" if version == "1.6" else "2.0.1",
            connectors=connectors,
            rated_kw=rated_kw or 7.4,
            power_scale=speed or 1.0,
            seed=seed or 0,
            password=password,
            faults=fault or (),
            transcript=transcript,
        )
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong)) from wrong
    _run(_stand(made))


@app.command()
def fleet(
    url: Url,
    count: Annotated[int, typer.Option("--count", min=1, help="How many chargers.")] = 10,
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=1, help="Sessions per charger; default: no end.")
    ] = None,
    prefix: Annotated[str, typer.Option("--prefix", help="Identities are PREFIX-0000 and up.")] = "SIM",
    seed: Seed = 0,
    speed: Speed = 60.0,
    password: Password = None,
    as_json: AsJson = False,
) -> None:
    """Many chargers, both OCPP versions, all busy."""
    report = FleetReport()
    work = run_fleet(
        url,
        count,
        prefix=prefix,
        rounds=rounds,
        speed=speed or 60.0,
        seed=seed or 0,
        password=password,
        report=report,
    )
    _run(work)
    if as_json:
        print(json.dumps(_plain(report)))
    else:
        console.print(
            f"{report.chargers} chargers, {report.sessions} sessions, {report.delivered_wh / 1000:.1f} kWh, "
            f"{len(report.failures)} failures, {len(report.complaints)} complaints"
        )
        for line in [*report.failures, *report.complaints][:20]:
            console.print(f"  {line}")
    raise typer.Exit(1 if report.failures else 0)


@app.command()
def bap(
    bpp: Annotated[str, typer.Option("--bpp", help="The seller's receiver, http://HOST:8090/beckn/bpp/receiver.")],
    story: Annotated[list[str], typer.Option("--story", help="A story's name, a .toml file, or `all`; repeatable.")],
    url: Url = "ws://127.0.0.1:9000/ocpp",
    identity: Annotated[str, typer.Option("--id", help="The charger the story happens at.")] = "SIM-0000",
    registry: Annotated[
        Path, typer.Option("--registry", help="JSON file of participants, the seller's too; ours is added.")
    ] = Path("data/beckn-registry.json"),
    bpp_id: Annotated[str, typer.Option("--bpp-id", help="The seller's id; default: as it answers.")] = "",
    bap_id: Annotated[str, typer.Option("--bap-id", help="Our subscriber id.")] = "bap.sim.example",
    key_id: Annotated[str, typer.Option("--key-id")] = "key-1",
    signing_key: Annotated[
        str | None,
        typer.Option("--signing-key", envvar="CSMS_SIM_SIGNING_KEY", help="Base64 seed; default: a new one."),
    ] = None,
    dialect: Annotated[str, typer.Option("--dialect", help=f"What the buyer speaks: {', '.join(DIALECTS)}.")] = "v2",
    host: Annotated[str, typer.Option("--host", help="Where callbacks are received.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port")] = 0,
    schema: Annotated[
        Path | None, typer.Option("--schema", help="Folder with beckn.yaml, or of 1.1.0: check every callback.")
    ] = None,
    gateway_url: Annotated[
        str | None,
        typer.Option(
            "--gateway",
            envvar="CSMS_SIM_GATEWAY",
            help="Where the seller's payments are paid: `csms-sim gateway`, http://KEY:SECRET@HOST:8095.",
        ),
    ] = None,
    item: Annotated[str | None, typer.Option("--item", help="Catalog item to buy; default: the charger's.")] = None,
    api_url: Annotated[str | None, typer.Option("--api-url", help="Operator API, to check the ledger.")] = None,
    api_key: Annotated[str | None, typer.Option("--api-key", envvar="CSMS_SIM_API_KEY")] = None,
    seed: Seed = None,
    speed: Speed = None,
    rated_kw: RatedKw = None,
    password: Password = None,
    timeout: Timeout = 20.0,
    quiet: Quiet = False,
    brief: Annotated[bool, typer.Option("--brief", help="One short line for each thing that matters.")] = False,
    as_json: AsJson = False,
) -> None:
    """A buyer that really buys: plays stories of a buyer and a charger."""
    if dialect not in DIALECTS:
        raise typer.BadParameter(f"one of {', '.join(DIALECTS)}", param_hint="--dialect")
    wanted = [name for name in stories.names() if _load(name).order] if story == ["all"] else story
    loaded = [_load(name) for name in wanted]
    transcript = _transcript(quiet, as_json, brief)
    me = Identity(bap_id, key_id, _seed(signing_key))
    platform = Bap(
        me,
        registry=registry,
        schemas=schemas_of(schema) if schema is not None else None,
        host=host,
        port=port,
        gateway=gateway_url,
        transcript=transcript,
    )

    async def go() -> list[Result]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(platform)
            write_registry(registry, registry_entry(me, platform.uri, "BAP"))
            results = []
            for chosen in loaded:
                world = stories.World(
                    ocpp_url=url,
                    charger_id=identity,
                    password=password,
                    bap=platform,
                    bpp_uri=bpp,
                    bpp_id=bpp_id,
                    item=item,
                    api_url=api_url,
                    api_key=api_key,
                    speed=speed,
                    rated_kw=rated_kw,
                    seed=seed,
                    timeout_s=timeout,
                    transcript=transcript,
                    dialect=dialect,
                )
                results.append(await stories.play(chosen, world))
            return results

    _finish(_run(go()), as_json)


@app.command()
def gateway(
    webhook_url: Annotated[
        str | None,
        typer.Option("--webhook-url", help="Where events go, http://HOST:8090/payments/webhook/orderpay."),
    ] = None,
    host: Annotated[str, typer.Option("--host")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port")] = 8095,
    key_id: Annotated[str, typer.Option("--key-id")] = "key_simulated",
    key_secret: Annotated[
        str | None,
        typer.Option("--key-secret", envvar="CSMS_SIM_GATEWAY_SECRET", help="Of the key; default: a new one."),
    ] = None,
    webhook_secret: Annotated[
        str | None,
        typer.Option("--webhook-secret", envvar="CSMS_SIM_WEBHOOK_SECRET", help="Events are signed with it; as above."),
    ] = None,
    hold_life: Annotated[float, typer.Option("--hold-life", min=0, help="Seconds until a hold ends.")] = 604_800,
) -> None:
    """A payment gateway with books of its own; drivers pay by POST /sim/pay."""
    made = Gateway(webhook_url, host=host, port=port, key_id=key_id)
    made.key_secret = key_secret or made.key_secret
    made.webhook_secret = webhook_secret or made.webhook_secret
    made.books.hold_life_s = hold_life
    _run(_open(made))


@app.command("stories")
def list_stories() -> None:
    """The stories that come along."""
    for name in stories.names():
        story = _load(name)
        console.print(f"{name:<28} {'buyer + charger' if story.order else 'charger only':<16} {story.title}")


@app.command("faults")
def list_faults() -> None:
    """The misbehaviours a charger can be given."""
    for name, sentence in FAULTS.items():
        console.print(f"{name:<30} {sentence}")


def main() -> None:
    """The entry point."""
    app()


async def _stand(made: Charger) -> None:
    async with made:
        try:
            await made.wait_online(30)
        except StoryError as silence:
            console.print(f"{silence}; {made.refusals[-1] if made.refusals else 'no answer'}; still trying")
        await asyncio.Event().wait()


async def _open(made: Gateway) -> None:
    async with made:
        console.print(f"gateway {made.url}, key {made.key_id}:{made.key_secret}, webhooks {made.webhook_secret}")
        await asyncio.Event().wait()


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        return None


def _load(name: str) -> stories.Scenario:
    try:
        return stories.load(name)
    except stories.ScenarioError as wrong:
        raise typer.BadParameter(str(wrong)) from wrong


def _at_charger(story: stories.Scenario, version: str, connectors: int, faults: list[str] | None) -> stories.Scenario:
    """The story with what the command line says about the charger."""
    traits = {**story.charger, "version": version, "connectors": connectors}
    if faults:
        traits["faults"] = faults
    return stories.Scenario(story.name, story.title, traits, story.order, story.steps, story.expect)


def _seed(text: str | None) -> bytes:
    if text is None:
        return os.urandom(SEED_BYTES)
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as wrong:
        raise typer.BadParameter(f"--signing-key is not base64: {wrong}") from wrong
    # 64 bytes are a seed followed by its public key (BECKN 2.1).
    if len(raw) not in {SEED_BYTES, 2 * SEED_BYTES}:
        raise typer.BadParameter("--signing-key must be 32 bytes in base64")
    return raw[:SEED_BYTES]


def _transcript(quiet: bool, as_json: bool = False, brief: bool = False) -> Transcript:
    """Printed as it happens; beside `--json` on standard error, so that a program reads nothing but JSON."""
    transcript = Transcript()
    if not quiet:
        shown = Console(highlight=False, soft_wrap=True, markup=False, stderr=True) if as_json else console

        def show(entry: Entry) -> None:
            line = entry.brief() if brief else entry.render()
            if line is not None:
                shown.print(line)

        transcript.listeners.append(show)
    return transcript


def _plain(report: FleetReport) -> dict[str, Any]:
    fields = {name: getattr(report, name) for name in FleetReport.__dataclass_fields__}
    return {"ok": not report.failures, **fields}


def _finish(results: list[Result | None] | None, as_json: bool) -> None:
    """Print what came of it; exit 1 unless every story ended as it should."""
    ended = [result for result in results or [] if result is not None]
    if as_json:
        print(json.dumps([result.as_json() for result in ended]))
    else:
        table = Table("story", "ordered", "delivered kWh", "billed ₹", "back ₹", "due ₹", "ok")
        for result in ended:
            ordered = f"₹{result.ordered_inr}" if result.ordered_inr is not None else f"{result.ordered_kwh or '–'} kWh"
            figures = (result.delivered_kwh, result.billed_inr, result.refunded_inr, result.due_inr)
            row = ["–" if figure is None else str(figure) for figure in figures]
            table.add_row(result.story, ordered, *row, "yes" if result.ok else "NO")
        console.print(table)
        for result in ended:
            for reason in result.reasons:
                console.print(f"{result.story}: {reason}")
    raise typer.Exit(0 if ended and all(result.ok for result in ended) else 1)


if __name__ == "__main__":
    main()
