"""Stories anyone can write: a TOML file of steps for one charger and one buyer, and what must come out.

    name = "walk-in-by-kwh"            title = "…"
    [charger]   version, kind, rated_kw, speed, seed, faults, settings
    [order]     kwh | inr | minutes, collected_by (BPP|BAP), pattern (PREPAID|HOLD|TOP_UP), slot_in_minutes
    [[step]]    do = "plug_in" | "buy" | "start" | …  (the methods `_do_…` below), with that step's arguments
    [expect]    tolerance_wh, billed_kwh, refund, due, cancelled, …  (`Expectation`)

Steps wait for conditions, never for time. The judgement rests on the charger's true energy and on the price lines
of the quotation, not on anything the system under test computes. Without `[order]` a story needs no buyer.
"""

from __future__ import annotations

import asyncio
import contextlib
import tomllib
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import aiohttp

from simulators.bap import Bap, NackedError, NoCallbackError, RefusedError
from simulators.bodies import Person, somebody
from simulators.buyer import Buyer
from simulators.clock import EPOCH, wall_ms, written
from simulators.judge import Expectation, Result, judge
from simulators.ledger import LedgerError, ledger_of
from simulators.ocpp_charger import Charger, StoryError
from simulators.physics import Vehicle
from simulators.tongue_v1 import tongue
from simulators.transcript import Transcript

SECTIONS = {"name", "title", "charger", "order", "step", "expect"}
CHARGER_KEYS = {"version", "kind", "rated_kw", "speed", "seed", "faults", "settings", "connectors"}
ORDER_KEYS = {"kwh", "inr", "minutes", "collected_by", "pattern", "slot_in_minutes", "slot_minutes"}


class ScenarioError(ValueError):
    """A scenario file that cannot be understood; says where."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A parsed story."""

    name: str
    title: str
    charger: dict[str, Any]
    order: dict[str, Any] | None
    steps: tuple[dict[str, Any], ...]
    expect: Expectation


@dataclass(slots=True)
class World:
    """Where the system under test is, and which of its chargers the story happens at.

    `item` names the catalog item to buy; without it the one whose id or EVSE id contains `charger_id` is taken, or
    the only one there is. `api_url` and `api_key` let the ledger be checked. `speed` and `rated_kw` override the file.
    """

    ocpp_url: str
    charger_id: str
    password: str | None = None
    bap: Bap | None = None
    bpp_uri: str = ""
    bpp_id: str = ""
    item: str | None = None
    api_url: str | None = None
    api_key: str | None = None
    speed: float | None = None
    rated_kw: float | None = None
    seed: int | None = None
    timeout_s: float = 20.0
    person: Person = field(default_factory=somebody)
    transcript: Transcript = field(default_factory=Transcript)
    charger: Charger | None = None  # one that runs already; else the story makes its own
    dialect: str = "v2"  # what the buyer speaks: one of `tongue_v1.DIALECTS`


# -- reading ---------------------------------------------------------------------------------------------------------


def names() -> list[str]:
    """The stories that come with the simulators."""
    folder = resources.files("simulators") / "scenarios"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load(name_or_path: str) -> Scenario:
    """A story by name, or from a file. Raises ScenarioError."""
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        if not path.is_file():
            raise ScenarioError(f"no such file: {path}")
        return parse(path.read_text(), str(path))
    if name_or_path not in names():
        raise ScenarioError(f"no story named {name_or_path!r}; there are {', '.join(names())}")
    return parse((resources.files("simulators") / "scenarios" / f"{name_or_path}.toml").read_text(), name_or_path)


def parse(text: str, where: str) -> Scenario:
    """A story from TOML. What is not known is refused by name: a typo must not turn a check off."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as broken:
        raise ScenarioError(f"{where}: {broken}") from broken
    _only(raw, SECTIONS, where)
    _only(raw.get("charger", {}), CHARGER_KEYS, f"{where} [charger]")
    order = raw.get("order")
    if order is not None:
        _only(order, ORDER_KEYS, f"{where} [order]")
    for number, step in enumerate(raw.get("step", []), 1):
        if not hasattr(Play, f"_do_{step.get('do')}"):
            known = sorted(name.removeprefix("_do_") for name in dir(Play) if name.startswith("_do_"))
            raise ScenarioError(f"{where} step {number}: {step.get('do')!r} is none of {', '.join(known)}")
    expect = raw.get("expect", {})
    _only(expect, set(Expectation.__dataclass_fields__), f"{where} [expect]")
    try:
        name = raw["name"]
    except KeyError:
        raise ScenarioError(f"{where}: a story needs a name") from None
    return Scenario(
        name=name,
        title=raw.get("title", name),
        charger=raw.get("charger", {}),
        order=order,
        steps=tuple(raw.get("step", [])),
        expect=Expectation(**expect),
    )


def _only(table: dict[str, Any], allowed: set[str], where: str) -> None:
    unknown = sorted(set(table) - allowed)
    if unknown:
        raise ScenarioError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(allowed))}")


# -- playing ---------------------------------------------------------------------------------------------------------


async def play(scenario: Scenario, world: World) -> Result:
    """Play one story; never raises for a story that goes wrong, the result says why."""
    result = Result(story=scenario.name, title=scenario.title)
    try:
        if world.charger is not None:
            await _play(scenario, world, world.charger, result)
        else:
            async with build_charger(scenario, world) as charger:
                await _play(scenario, world, charger, result)
    except (StoryError, NoCallbackError) as silence:
        result.reasons.append(str(silence))
    except NackedError as refused:
        result.reasons.append(f"the seller refused: {refused}")
    except RefusedError as refused:
        result.reasons.append(f"the seller answered with an error: {refused}")
    except (LedgerError, aiohttp.ClientError, OSError, TimeoutError) as unreachable:
        result.reasons.append(f"{type(unreachable).__name__}: {unreachable}")
    except (KeyError, IndexError, ArithmeticError) as hole:
        result.reasons.append(f"the seller's message lacks or garbles {hole}")
    return result


def build_charger(scenario: Scenario, world: World) -> Charger:
    """The charger of a story, with the world's overrides."""
    traits = dict(scenario.charger)
    speed = world.speed if world.speed is not None else float(traits.pop("speed", 60.0))
    traits.pop("speed", None)
    rated_kw = world.rated_kw if world.rated_kw is not None else float(traits.pop("rated_kw", 7.4))
    traits.pop("rated_kw", None)
    seed = world.seed if world.seed is not None else int(traits.pop("seed", 0))
    traits.pop("seed", None)
    return Charger(
        world.charger_id,
        world.ocpp_url,
        password=world.password,
        power_scale=speed,
        rated_kw=rated_kw,
        seed=seed,
        transcript=world.transcript,
        **traits,
    )


async def _play(scenario: Scenario, world: World, charger: Charger, result: Result) -> None:
    buyer = None
    if scenario.order is not None:
        if world.bap is None:
            raise StoryError(f"{scenario.name} has an order: it needs a buyer platform")
        buyer = Buyer(
            world.bap,
            world.bpp_uri,
            world.bpp_id,
            person=world.person,
            timeout_s=world.timeout_s,
            tongue=tongue(world.dialect),
        )
        buyer.begin()
    first_session, first_complaint = len(charger.truth), len(charger.complaints)
    first_problem = len(world.bap.problems) if world.bap is not None else 0
    await charger.wait_online(world.timeout_s)
    stage = Play(scenario, world, charger, buyer)
    try:
        for number, step in enumerate(scenario.steps, 1):
            world.transcript.add("story", "note", f"step {number}: {step}")
            try:
                await stage.run(step)
            except (StoryError, NoCallbackError) as silence:
                raise StoryError(f"step {number} ({step['do']}): {silence}") from silence
        await stage.settle()
        if world.api_url and world.api_key and buyer is not None and buyer.order_id:
            result.ledger = await settled_ledger(world.api_url, world.api_key, buyer.order_id, buyer.transaction_id)
    finally:
        result.charger_complaints = charger.complaints[first_complaint:]
        result.buyer_problems = world.bap.problems[first_problem:] if world.bap is not None else []
        judge(scenario.expect, scenario.order, charger.truth[first_session:], buyer, result)


async def settled_ledger(api_url: str, api_key: str, order_id: str, transaction_id: str) -> Decimal:
    """The sum of the order's ledger, asked again for a moment while the books are still being closed."""
    for _ in range(20):
        total = await ledger_of(api_url, api_key, order_id, transaction_id)
        if total == 0:
            break
        await asyncio.sleep(0.25)
    return total


@dataclass(slots=True)
class Play:
    """One story in progress: every `_do_…` is a step a file may name, its parameters are the step's keys."""

    scenario: Scenario
    world: World
    charger: Charger
    buyer: Buyer | None

    async def run(self, step: dict[str, Any]) -> None:
        arguments = {key: value for key, value in step.items() if key != "do"}
        act: Callable[..., Awaitable[None]] = getattr(self, f"_do_{step['do']}")
        try:
            await act(**arguments)
        except TypeError as wrong:
            raise ScenarioError(f"{self.scenario.name}, step {step}: {wrong}") from wrong

    async def settle(self) -> None:
        """The word of an expected refund may come after the bill; if it never comes the judgement says so."""
        buyer, expect = self.buyer, self.scenario.expect
        if buyer is not None and expect.refund and buyer.collected_by == "BPP" and not buyer.is_hold:
            with contextlib.suppress(NoCallbackError):
                await self._do_refunded()

    @property
    def _buyer(self) -> Buyer:
        if self.buyer is None:
            raise StoryError("a story without an order has no buyer")
        return self.buyer

    # the person at the charger

    async def _do_plug_in(self, connector: int = 1, car_limit_kwh: float | None = None, soc: float = 0.2) -> None:
        """`car_limit_kwh`: the car takes exactly this much, so the story's energy is exact."""
        limit = None if car_limit_kwh is None else car_limit_kwh * 1000
        await self.charger.plug_in(connector, Vehicle(soc=soc, max_power_w=60_000, limit_wh=limit))

    async def _do_unplug(self, connector: int = 1) -> None:
        await self.charger.unplug(connector)

    async def _do_tag(self, tag: str, connector: int = 1) -> None:
        if not await self.charger.present_tag(tag, connector):
            raise StoryError(f"the tag {tag} was refused")

    async def _do_stop_local(self, connector: int = 1) -> None:
        await self.charger.stop_local(connector)

    async def _do_until_kwh(self, kwh: float, connector: int = 1) -> None:
        await self.charger.wait_delivered(connector, kwh * 1000, self.world.timeout_s)

    async def _do_until_ended(self, connector: int = 1) -> None:
        """The session ends by itself: the server stops it at its limit."""
        await self.charger.wait_session(connector, self.world.timeout_s) if not self.charger.truth else None
        await self.charger.wait_ended(connector, self.world.timeout_s)

    async def _do_until_drained(self) -> None:
        await self.charger.wait_drained(self.world.timeout_s)

    # the link and the power

    async def _do_link_down(self, seconds: float | None = None) -> None:
        await self.charger.go_offline(seconds)

    async def _do_link_up(self) -> None:
        await self.charger.go_online()
        await self.charger.wait_online(self.world.timeout_s)

    async def _do_power_cut(self) -> None:
        await self.charger.power_cut()

    async def _do_power_on(self) -> None:
        await self.charger.power_on()
        await self.charger.wait_online(self.world.timeout_s)

    # the buyer

    async def _do_buy(self) -> None:
        """discover, select, init, pay, confirm: the order stands."""
        buyer, order = self._buyer, self.scenario.order or {}
        item = self._choose(await buyer.discover())
        await buyer.select(
            item, kwh=order.get("kwh"), amount=order.get("inr"), minutes=order.get("minutes"), slot=_slot(order)
        )
        await buyer.init(order.get("collected_by", "BPP"))
        await buyer.pay(hold=order.get("pattern") == "HOLD")
        confirmed = await buyer.confirm()
        if (status := buyer.read(confirmed).order_status) != "CONFIRMED":
            raise StoryError(f"confirmed order is {status}")

    async def _do_start(self) -> None:
        await self._buyer.start(self.world.timeout_s)
        await self.charger.wait_session(timeout_s=self.world.timeout_s)

    async def _do_status(self) -> None:
        await self._buyer.status()

    async def _do_track(self) -> None:
        if not str((await self._buyer.track()).get("url", "")).startswith("http"):
            raise StoryError("on_track names no url")

    async def _do_stop(self) -> None:
        await self._buyer.stop(self.world.timeout_s)

    async def _do_ask_stop(self) -> None:
        """Ask for the end without waiting for it: for a charger that cannot hear."""
        await self._buyer.stop(wait=False)

    async def _do_cancel(self) -> None:
        await self._buyer.cancel()

    async def _do_interrupted(self) -> None:
        await self._buyer.wait_interrupted(self.world.timeout_s)

    async def _do_resumed(self) -> None:
        """The unsolicited word that it goes on again, after an interruption."""
        buyer = self._buyer
        told = buyer.bap.messages(buyer.transaction_id, "on_status")
        if not any(buyer.read(c).session_status == "INTERRUPTED" for c in told if c.order):
            await buyer.wait_interrupted(self.world.timeout_s)
        position = max(
            i
            for i, c in enumerate(buyer.bap.received)
            if c.order
            and c.context.get("transaction_id") == buyer.transaction_id
            and buyer.read(c).session_status == "INTERRUPTED"
        )
        await buyer.wait_for(
            "on_status",
            lambda c: buyer.read(c).session_status == "ACTIVE",
            after=position,
            timeout_s=self.world.timeout_s,
        )

    async def _do_bill(self) -> None:
        """The final bill: of several, the first that agrees with the truth within the story's tolerance."""
        tolerance = Decimal(self.scenario.expect.tolerance_wh) / 1000
        true_kwh = Decimal(sum(session.delivered_wh for session in self.charger.truth[-1:])) / 1000
        await self._buyer.wait_for_bill(
            lambda bill: bill.metered_kwh is not None and abs(bill.metered_kwh - true_kwh) <= tolerance,
            self.world.timeout_s,
        )

    async def _do_provisional_bill(self) -> None:
        """Any COMPLETED bill: what the seller settles on before it knows everything."""
        await self._buyer.wait_for_bill(timeout_s=self.world.timeout_s)

    async def _do_refunded(self) -> None:
        """The seller says that money went back."""
        buyer = self._buyer
        await buyer.wait_for("on_status", lambda c: bool(buyer.read(c).refunds), timeout_s=self.world.timeout_s)

    async def _do_pay_due(self) -> None:
        await self._buyer.pay_due(self.world.timeout_s)

    async def _do_rate(self, value: int = 5) -> None:
        await self._buyer.rate(value)

    async def _do_support(self) -> None:
        await self._buyer.support()

    def _choose(self, items: list[Any]) -> Any:
        wanted = self.world.item or self.world.charger_id
        exact = [item for item in items if item.id == wanted]
        near = [item for item in items if wanted in item.names]
        chosen = exact or near or (items if len(items) == 1 else [])
        # Where a network tells a booking from a walk-in, the buyer takes what fits.
        for_now = _slot(self.scenario.order or {}) is None
        chosen = [item for item in chosen if getattr(item, "is_spot", for_now) is for_now] or chosen
        if not chosen:
            raise StoryError(f"no item for {wanted} among {[item.id for item in items]}")
        return chosen[0]


def _slot(order: dict[str, Any]) -> tuple[str, str] | None:
    if "slot_in_minutes" not in order:
        return None
    begin = EPOCH + timedelta(milliseconds=wall_ms()) + timedelta(minutes=order["slot_in_minutes"])
    end = begin + timedelta(minutes=order.get("slot_minutes", 30))
    first, last = ((at - EPOCH) // timedelta(milliseconds=1) for at in (begin, end))
    return written(first), written(last)


def new_charger_id(prefix: str = "SIM") -> str:
    """A charger identity nobody has used."""
    return f"{prefix}-{uuid.uuid4().hex[:8].upper()}"
