"""Everything said in every dialect, as it was when somebody last looked at it: a changed byte is a changed file.

`make golden` (CSMS_GOLDEN=write) writes the transcripts anew; the difference is then read like any other change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from golden_stories import STORIES, TOLD
from golden_world import NETWORKS, World
from schema import needs_schemas, validate_callback

from beckn_adapter import envelope
from simulators.tongue_v1 import tongue

HERE = Path(__file__).resolve().parent
WIDTH = 118
IS_WRITING = os.environ.get("CSMS_GOLDEN") == "write"


def pretty(value: Any, indent: int = 0, used: int = 0) -> str:
    """JSON for people: whatever fits on one line stands on one line. `used`: what stands before it there."""
    flat = json.dumps(value, ensure_ascii=False)
    if indent + used + len(flat) <= WIDTH or not isinstance(value, dict | list) or not value:
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, list):
        inner = [pad + pretty(one, indent + 2) for one in value]
        return "[\n" + ",\n".join(inner) + "\n" + " " * indent + "]"
    named = [(json.dumps(name, ensure_ascii=False) + ": ", one) for name, one in value.items()]
    inner = [pad + name + pretty(one, indent + 2, len(name)) for name, one in named]
    return "{\n" + ",\n".join(inner) + "\n" + " " * indent + "}"


@pytest.mark.parametrize(("dialect", "story"), TOLD)
async def test_everything_said_is_what_it_was(tmp_path: Path, dialect: str, story: str) -> None:
    async with World.open(tmp_path / "seller", dialect) as world:
        await STORIES[story](world)
        said = pretty(world.told) + "\n"
        networks = {context_network(world, request) for request in requests(world.told)}
    assert networks == {NETWORKS[dialect]}
    kept = HERE / NETWORKS[dialect] / f"{story}.json"
    if IS_WRITING:
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(said, "utf-8")
    assert kept.is_file(), f"there is no {kept.relative_to(HERE)}: `make golden` writes it"
    assert said.splitlines() == kept.read_text("utf-8").splitlines(), "`make golden` writes it anew"


def context_network(world: World, request: dict[str, Any]) -> str:
    """The codec that a request belongs to."""
    return world.system.buyers.codecs.of_context(envelope.parse_context(request)).network


def requests(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Whatever others sent us."""
    return [entry[who] for entry in entries for who in ("buyer", "catalogue service") if who in entry]


def stories(network: str) -> Iterator[list[dict[str, Any]]]:
    """What is kept of each story of one network."""
    for file in sorted((HERE / network).glob("*.json")):
        yield json.loads(file.read_text("utf-8"))


def transcripts(network: str) -> Iterator[dict[str, Any]]:
    """Everything kept of one network."""
    for kept in stories(network):
        yield from kept


async def test_every_dialect_is_kept_and_every_action_of_it_is_asked_and_answered(tmp_path: Path) -> None:
    async with World.open(tmp_path / "seller", "v2") as world:
        codecs = world.system.buyers.codecs._by_network.values()
    assert {codec.network for codec in codecs} == set(NETWORKS.values())
    for codec in codecs:
        kept = list(transcripts(codec.network))
        asked = {request["context"]["action"] for request in requests(kept)}
        told = {entry["seller"]["context"]["action"] for entry in kept if "seller" in entry}
        assert codec.actions - asked == set(), codec.network
        answered = {answer_to(action) for action in codec.actions if not action.startswith("on_")}
        assert answered - told == set(), codec.network


def answer_to(action: str) -> str:
    """The name of the callback."""
    return "rating_categories" if action == "get_rating_categories" else f"on_{action}"


def test_every_kind_of_unasked_message_is_kept() -> None:
    for network in NETWORKS.values():
        kept = list(transcripts(network))
        asked = {request["context"]["message_id"] for request in requests(kept)}
        unasked = {
            entry["seller"]["context"]["action"]
            for entry in kept
            if "seller" in entry and entry["seller"]["context"]["message_id"] not in asked
        }
        assert {"on_status", "on_update", "on_cancel"} <= unasked, network


@needs_schemas
@pytest.mark.parametrize("network", NETWORKS.values())
def test_everything_we_said_is_valid(network: str) -> None:
    said = [entry["seller"] for entry in transcripts(network) if "seller" in entry]
    assert said
    for body in said:
        assert validate_callback(body) == [], body["context"]["action"]


@pytest.mark.parametrize("dialect", NETWORKS)
def test_the_lines_of_every_price_add_up(dialect: str) -> None:
    """And a refund of one order is told under one name, with one amount."""
    read = tongue(dialect).read
    priced = 0
    for kept in stories(NETWORKS[dialect]):
        refunds: dict[str, Decimal] = {}  # every story numbers its orders anew
        for entry in kept:
            order = entry.get("seller", {}).get("message", {}).get("order", {})
            if "quote" not in order and "beckn:orderValue" not in order:
                continue
            bill = read(order)
            priced += 1
            assert bill.quote.adds_up(), entry
            for payment_id, amount in bill.refunds.items():
                assert refunds.setdefault(payment_id, amount) == amount
    assert priced > 10
