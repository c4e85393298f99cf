"""kill -9 in the middle of the stories: the same bills, nothing acknowledged lost, nothing done twice.

One run plays four stories side by side against one server that dies up to three times and comes back on its ports.
The moments come from a seed and are counted in messages, never in seconds: just before a frame leaves, with its bytes
already on the wire, a few milliseconds into the server's work on it, when its answer has just been read, or when the
charger hears a remote start. CSMS_FAULT_SEEDS asks for more seeds.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
from running import Server, running
from worlds import at_version, every, ledger_sum, same_ports, stage

from simulators.bap import Bap, Callback
from simulators.bodies import Json
from simulators.clock import wall_ms, written
from simulators.judge import Result
from simulators.ocpp_charger import Charger
from simulators.pricing import Bill
from simulators.scenario import Scenario, World, build_charger, play
from simulators.transcript import Entry, Transcript

T = TypeVar("T")

SEEDS = (5, 6, 20)  # three deaths each; the first at an answer, at anything, at a remote start
MORE_SEEDS = range(100, 100 + int(os.environ.get("CSMS_FAULT_SEEDS", "0")))
MONEY = {"StartTransaction", "MeterValues", "StopTransaction", "TransactionEvent"}
ANSWER_S = 45.0
CHARGER_OFFLINE = "30008"
LONGEST_S = 100.0  # the window of a start that the charger never heard, and more

# A charger that needs a while to find the new server has not vanished: nothing is settled before all is known.
PATIENCE = dict.fromkeys(
    ("abandon_min_s", "abandon_max_s", "provisional_after_s", "bootstop_s", "data_online_s", "data_offline_s"), 60
)

# The car stops where a dead server cannot: what goes beyond the order stays small, and the true energy exact.
STORIES = {"walk-in-by-kwh": 1.05, "stopped-early": 1.6, "power-cut-late-stop": 2.5, "duplicate-and-reordered": 1.2}
FEWEST, MOST = 5, 160  # messages of the four stories between two deaths


def is_for_now(callback: Callback) -> bool:
    """A refusal that asking again overcomes."""
    if callback.error is None:
        return False
    not_started = callback.action == "on_update" and Bill(callback.order).order_status == "CONFIRMED"
    return callback.error["code"] == CHARGER_OFFLINE or not_started


@dataclass
class PatientBap(Bap):
    """A buyer app beside a seller that comes and goes.

    What was not acknowledged is sent again: the same message, the same message id. Where the seller says that the
    charger is offline, because it has not found its way back to the new server yet, the driver asks again; and again
    when the server died with the start on its lips, which it never says twice, and the order stands as it was.
    """

    asked: dict[str, tuple[str, Json]] = field(default_factory=dict)  # by transaction

    async def post(self, url: str, body: Json) -> Json:
        self.asked[body["context"]["transaction_id"]] = (url, body)
        return await super().post(url, body)

    async def _send(self, url: str, raw: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        until = time.monotonic() + ANSWER_S
        while True:
            try:
                status, answer = await super()._send(url, raw, headers)
            except (aiohttp.ClientError, TimeoutError):
                if time.monotonic() > until:
                    raise
            else:
                if status < 500:
                    return status, answer
            await asyncio.sleep(0.1)

    async def wait_for(
        self,
        action: str,
        transaction_id: str,
        *,
        is_it: Callable[[Callback], bool] = lambda _: True,
        after: int = 0,
        timeout_s: float = 10.0,
    ) -> Callback:
        found = await super().wait_for(action, transaction_id, is_it=is_it, after=after, timeout_s=timeout_s)
        while is_for_now(found):
            await asyncio.sleep(0.5)
            url, body = self.asked[transaction_id]
            mark, again = len(self.received), str(uuid.uuid4())
            fresh = {"message_id": again, "timestamp": written(wall_ms())}
            await self.post(url, {**body, "context": {**body["context"], **fresh}})
            fits = is_it if action == "on_update" else (lambda c, again=again: c.context["message_id"] == again)
            found = await super().wait_for(action, transaction_id, is_it=fits, after=mark, timeout_s=timeout_s)
        return found


def is_answer(entry: Entry) -> bool:
    """From here on the other side relies on it: an acknowledgement that has just been read."""
    content = entry.content
    is_result = isinstance(content, list) and content[0] == 3
    is_ack = isinstance(content, dict) and content.get("ack_status") == "ACK"
    return entry.direction == "received" and (is_result or is_ack)


TARGETS: dict[str, Callable[[Entry], bool]] = {
    "anything": lambda _: True,
    "an answer": is_answer,
    "a remote start": lambda entry: bool(starts([entry])),
}


@dataclass
class Killer:
    """Counts messages as they are noted, kills at the chosen ones, and starts the server again."""

    server: Server
    seed: int
    deaths: list[str] = field(default_factory=list)
    _seen: int = 0
    _next: int = 0
    _target: str = ""
    _how: str = ""
    _is_down: bool = False
    _revival: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._left = self.rng.randint(1, 3)
        self._aim(["anything", "an answer", "a remote start"])

    def _aim(self, targets: list[str]) -> None:
        """Choose the next death: from which message on, at what, and how."""
        self._target = self.rng.choice(targets)
        self._next = self._seen + (0 if self._target == "a remote start" else self.rng.randint(FEWEST, MOST))
        how = ["at once", "with the bytes sent", "while it works"]
        self._how = "at once" if self._target == "an answer" else self.rng.choice(how)

    def hear(self, entry: Entry) -> None:
        """A listener of the transcripts."""
        if isinstance(entry.content, str) or self._is_down or not self._left:
            return
        self._seen += 1
        if self._seen < self._next or not TARGETS[self._target](entry):
            return
        self._left -= 1
        self._is_down = True
        told = entry.brief() or str(entry.content)[:60]
        self.deaths.append(f"message {self._seen}, {entry.who}, {self._target}, {self._how}: {told}")
        loop = asyncio.get_running_loop()
        match self._how:
            case "at once":
                self._kill()
            case "with the bytes sent":
                loop.call_soon(self._kill)
            case _:
                loop.call_later(self.rng.uniform(0.0, 0.01), self._kill)

    def _kill(self) -> None:
        os.kill(self.server.pid, signal.SIGKILL)
        self._revival = asyncio.get_running_loop().create_task(self._revive())

    async def _revive(self) -> None:
        with suppress(ProcessLookupError):
            await self.server.kill()
        urls = dict(self.server.urls)
        await self.server.start()
        assert self.server.urls == urls
        self._aim(["anything", "an answer"])
        self._is_down = False

    async def end(self) -> None:
        """No more deaths; the server is up afterwards."""
        self._left = 0
        while self._is_down:  # noqa: ASYNC110 - the death may still be on its way
            await asyncio.sleep(0.05)
        if self._revival is not None:
            await self._revival


@pytest.mark.slow
@pytest.mark.parametrize("seed", [*SEEDS, *(pytest.param(seed, marks=pytest.mark.faults) for seed in MORE_SEEDS)])
async def test_a_server_that_is_killed_in_mid_story_bills_the_same(tmp_path: Path, seed: int) -> None:
    await live_and_die(tmp_path, seed)


async def live_and_die(folder: Path, seed: int) -> None:
    """Play, kill, and hold what stands in the books against what the charger and the buyer have seen."""
    async with running(folder, {**same_ports(), "limits": PATIENCE}) as server, AsyncExitStack() as stack:
        killer = Killer(server, seed)
        plays = []
        for number, story in enumerate(STORIES):
            scenario = contained(story, "1.6" if (seed + number) % 2 else "2.0.1")
            version = scenario.charger["version"]
            world = await stack.enter_async_context(stage(server, story, version, PatientBap, Transcript()))
            world.api_url = None  # it may be dead when the story would ask; the books are looked into below
            world.timeout_s = LONGEST_S
            plays.append((scenario, world))
        for _, world in plays:
            world.transcript.listeners.append(killer.hear)
        results = await asyncio.gather(*(at_charger(scenario, world) for scenario, world in plays))
        await killer.end()
        for line in killer.deaths:
            print(line)
        assert killer.deaths
        for (scenario, world), (result, charger) in zip(plays, results, strict=True):
            try:
                await hold_to_account(server, scenario, world, result, charger)
            except AssertionError:
                print(f"transcript of {scenario.name}:", *told(world.transcript), sep="\n")
                raise


def told(transcript: Transcript) -> list[str]:
    """The transcript without what only repeats."""
    return [line for line in (entry.brief() for entry in transcript.entries) if line is not None]


def contained(story: str, version: str) -> Scenario:
    """The story with a car that takes no more than is good for the story."""
    scenario = at_version(story, version)
    steps = ({**s, "car_limit_kwh": STORIES[story]} if s["do"] == "plug_in" else s for s in scenario.steps)
    return replace(scenario, steps=tuple(steps))


async def at_charger(scenario: Scenario, world: World) -> tuple[Result, Charger]:
    """Play at a charger that can be asked afterwards."""
    async with build_charger(scenario, world) as charger:
        return await play(scenario, replace(world, charger=charger)), charger


async def hold_to_account(server: Server, scenario: Scenario, world: World, result: Result, charger: Charger) -> None:
    """Everything one story must have left behind."""
    assert charger.complaints == []
    mine = f"charger_id={world.charger_id}"
    assert result.ok, f"{scenario.name}: {'; '.join(result.reasons)}"
    (session,) = await until(lambda: every(server, f"/api/v1/sessions?{mine}"), lambda s: s[0]["state"] == "SETTLED")
    (truth,) = charger.truth
    assert abs(session["energy_wh"] - truth.delivered_wh) <= 1  # registers are reported in whole Wh
    (order,) = await every(server, f"/api/v1/orders?{mine}")
    assert order["session_id"] == session["id"]
    assert await until(lambda: ledger_sum(server, order["id"]), lambda total: total == 0) == 0
    await no_answered_frame_is_lost(server, world, session)
    await money_moved_once(server, world, order, result)
    callbacks = world.bap.messages(order["transaction_id"], "on_update") if world.bap is not None else []
    bills = [Bill(c.order) for c in callbacks if Bill(c.order).order_status == "COMPLETED"]
    assert bills[-1].value == Decimal(order["final"]["amount"])
    cases = await every(server, f"/api/v1/cases?severity=money&state=open&{mine}")
    assert cases == []


async def no_answered_frame_is_lost(server: Server, world: World, session: dict[str, Any]) -> None:
    """What the charger has an answer to it will never say again: it must be in the store."""
    calls: dict[str, list[Any]] = {}
    answered: list[list[Any]] = []
    for entry in world.transcript.entries:
        frame = entry.content
        if not isinstance(frame, list):
            continue
        if entry.direction == "sent" and frame[0] == 2 and frame[2] in MONEY:
            calls[frame[1]] = frame
        elif entry.direction == "received" and frame[0] == 3 and frame[1] in calls:
            answered.append(calls[frame[1]])
    assert answered
    stored = await every(server, f"/api/v1/chargers/{world.charger_id}/frames")
    kept = {frame["message_id"] for frame in stored if frame["direction"] == "in"}
    answers = {frame["message_id"] for frame in stored if frame["direction"] == "out" and frame["type"] == "result"}
    lost = [frame for frame in answered if frame[1] not in kept or frame[1] not in answers]
    assert lost == []
    samples = {sample["register_wh"] for sample in await every(server, f"/api/v1/sessions/{session['id']}/samples")}
    readings = [frame[3] for frame in answered if "transactionId" in frame[3] and frame[2] == "MeterValues"]
    readings += [frame[3] for frame in answered if frame[3].get("eventType") == "Updated"]
    registers_told = {register for reading in readings for register in registers(reading)}
    assert registers_told
    assert registers_told <= samples


def registers(payload: dict[str, Any]) -> set[int]:
    """The energy registers of a message, in Wh."""
    return {
        int(float(value["value"]))
        for meter_value in payload.get("meterValue", ())
        for value in meter_value["sampledValue"]
        if value.get("measurand", "Energy.Active.Import.Register") == "Energy.Active.Import.Register"
    }


async def money_moved_once(server: Server, world: World, order: dict[str, Any], result: Result) -> None:
    """Taken once and given back once, whatever was said twice."""
    assert result.paid_inr is not None
    assert result.billed_inr is not None
    assert await moved(server, order) == (result.paid_inr, result.paid_inr - result.billed_inr)
    accepted = set(starts(world.transcript.entries)) & {
        frame[1] for frame in world.transcript.frames("sent") if frame[0] == 3 and frame[2].get("status") == "Accepted"
    }
    assert len(accepted) <= 1


async def moved(server: Server, order: dict[str, Any]) -> tuple[Decimal, Decimal]:
    """What the ledger says was taken and given back; the money is taken in one piece."""
    entries = (await server.api("GET", f"/api/v1/orders/{order['id']}/ledger"))["items"]
    by_kind: dict[str, list[Decimal]] = defaultdict(list)
    for entry in entries:
        by_kind[entry["kind"]].append(Decimal(entry["amount"]["amount"]))
    assert len(by_kind["ORDERED"]) == 1
    names = ("BAP_COLLECTED", "BAP_REFUND") if order["collected_by"] == "BAP" else ("COLLECTED", "REFUND")
    (taken,) = by_kind[names[0]]
    return taken, -sum(by_kind[names[1]], Decimal(0))


def starts(entries: list[Entry]) -> list[str]:
    """Message ids of the remote starts the charger heard."""
    frames = [e.content for e in entries if e.direction == "received" and isinstance(e.content, list)]
    actions = {"RemoteStartTransaction", "RequestStartTransaction"}
    return [frame[1] for frame in frames if frame[0] == 2 and frame[2] in actions]


async def until(ask: Callable[[], Awaitable[T]], fits: Callable[[T], bool]) -> T:
    """Ask again until it fits or patience ends; the last answer."""
    deadline = time.monotonic() + 10
    while True:
        found = await ask()
        if fits(found) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.1)
