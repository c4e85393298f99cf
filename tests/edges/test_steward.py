"""Errands: one at a time per charger, when it is there and quiet, again when it fell silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from csms.app.answers import RawAnswer
from csms.edges import steward as stewarding
from csms.edges.ocppj.codes import Version
from csms.edges.steward import NoAnswer, SaidNo, Steward, Visit
from csms.ports import Fact


class Site:
    """Chargers in memory, and what they answer."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.stations: dict[str, Any] = {}
        self.links: dict[str, Any] = {}
        self.answers: list[RawAnswer] = []
        self.asked: list[tuple[str, str]] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.steward = Steward(
            stations=self,  # type: ignore[arg-type]
            clock=SimpleNamespace(now_ms=lambda: self.now_ms),
            link_of=self.links.get,
            raw=self.raw,
            spawn=self.spawn,
            steady_s=lambda: asyncio.get_running_loop().time(),
            settle_s=10,
            at_once=2,
        )

    def add(self, name: str, *, opened_ms: int = 0, questions: int = 0, registration: str = "Accepted") -> None:
        self.stations[name] = SimpleNamespace(id=name, link_opened_ms=opened_ms, registration=registration)
        self.links[name] = SimpleNamespace(open_questions=questions, version=Version.V16)

    def get(self, name: str) -> Any:
        return self.stations.get(name)

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        self.tasks.append(asyncio.get_running_loop().create_task(work))
        return self.tasks[-1]

    async def raw(self, station: str, action: str, payload: Any, *, timeout_s: float) -> RawAnswer:
        self.asked.append((station, action))
        await asyncio.sleep(0)
        return self.answers.pop(0) if self.answers else RawAnswer(status="answered", response={"status": "Accepted"})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Steward]:
        task = asyncio.create_task(self.steward.run())
        yield self.steward
        task.cancel()
        await asyncio.gather(task, *self.tasks, return_exceptions=True)


async def soon(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # a test polls
            await asyncio.sleep(0.01)


async def ask(visit: Visit) -> None:
    await visit.ask("ClearCache", {})


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(stewarding, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(stewarding, "_FIRST_PAUSE_S", 0.02)
    return Site()


async def test_an_errand_is_done_once_at_a_quiet_charger(site: Site) -> None:
    site.add("A")
    site.steward.errand("clear", ask)
    async with site.running() as steward:
        steward.want("A", "clear")
        steward.want("A", "clear")
        await soon(lambda: not steward.is_wanted("A", "clear"))
        await asyncio.sleep(0.05)
    assert site.asked == [("A", "ClearCache")]


@pytest.mark.parametrize(
    "how", [{"opened_ms": 995_000}, {"questions": 1}, {"registration": "Rejected"}], ids=["new", "busy", "rejected"]
)
async def test_a_charger_that_does_not_listen_yet_is_left_alone(site: Site, how: dict[str, Any]) -> None:
    site.add("A", **how)
    site.steward.errand("clear", ask)
    async with site.running() as steward:
        steward.want("A", "clear")
        await asyncio.sleep(0.05)
        assert site.asked == []
        site.add("A")
        await soon(lambda: site.asked)


async def test_silence_is_tried_again_and_a_no_is_not(site: Site) -> None:
    site.add("A")
    site.add("B")
    site.answers = [RawAnswer(status="timeout"), RawAnswer(status="answered", response={})]
    site.steward.errand("clear", ask)
    async with site.running() as steward:
        steward.want("A", "clear")
        await soon(lambda: len(site.asked) == 2)
        await soon(lambda: not steward.is_wanted("A", "clear"))
        site.answers = [RawAnswer(status="call_error", error={"code": "NotSupported", "description": "no"})]
        steward.want("B", "clear")
        await soon(lambda: not steward.is_wanted("B", "clear"))
        await asyncio.sleep(0.1)
    assert site.asked == [("A", "ClearCache"), ("A", "ClearCache"), ("B", "ClearCache")]


async def test_one_charger_has_one_errand_at_a_time_in_the_order_of_registration(site: Site) -> None:
    site.add("A")
    busy, order = [0], []

    def errand(name: str) -> Any:
        async def do(visit: Visit) -> None:
            busy[0] += 1
            assert busy[0] == 1
            order.append(name)
            await asyncio.sleep(0.02)
            busy[0] -= 1

        return do

    for name in ("first", "second", "third"):
        site.steward.errand(name, errand(name))
    for name in ("third", "second", "first"):
        site.steward.want("A", name)
    async with site.running() as steward:
        await soon(lambda: not any(steward.is_wanted("A", name) for name in ("first", "second", "third")))
    assert order == ["first", "second", "third"]


async def test_facts_call_for_errands_where_their_condition_holds(site: Site) -> None:
    site.add("A")
    site.add("B")
    site.steward.errand("clear", ask, on={"StationBooted": lambda fact: fact.station == "A"})
    async with site.running() as steward:
        await steward.on_facts([Fact("StationBooted", 1, {}, station="B"), Fact("StationBooted", 1, {}, station="A")])
        await soon(lambda: site.asked)
        await asyncio.sleep(0.05)
    assert site.asked == [("A", "ClearCache")]
    assert steward.followed == {"StationBooted"}


async def test_wanted_again_while_it_is_done_is_done_again(site: Site) -> None:
    site.add("A")
    done = []

    async def do(visit: Visit) -> None:
        done.append(1)
        if len(done) == 1:
            site.steward.want("A", "again", in_s=0.01)
        await asyncio.sleep(0.05)

    site.steward.errand("again", do)
    async with site.running() as steward:
        steward.want("A", "again")
        await soon(lambda: len(done) == 2)
        await soon(lambda: not steward.is_wanted("A", "again"))


async def test_what_a_visit_hears(site: Site) -> None:
    site.add("A")
    visit = Visit(site.get("A"), Version.V16, site.raw)
    site.answers = [
        RawAnswer(status="answered", response={"x": 1}),
        RawAnswer(status="offline"),
        RawAnswer(status="call_error", error={"code": "NotImplemented", "description": ""}),
    ]
    assert await visit.ask("ClearCache", {}) == {"x": 1}
    with pytest.raises(NoAnswer):
        await visit.ask("ClearCache", {})
    with pytest.raises(SaidNo) as no:
        await visit.ask("ClearCache", {})
    assert no.value.is_unsupported
