"""The conversations we lead with chargers: reading what they hold, bringing it in line with what is wanted.

An errand is a coroutine that asks a charger several things. What it wants stands in the store, so an errand may be
broken off anywhere and done again. Per charger there is one at a time; over all chargers `at_once`; and none before
the charger has been connected and quiet for `settle_s`: what it queued while it was away goes first (OCPP.md 6.2).

    news, or an operator ─▶ want(charger, errand) ─▶ … there and quiet … ─▶ errand(visit) ─▶ visit.ask(…)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from csms.app.answers import RawAnswer, SchemaProblems
from csms.app.stations import Station, Stations
from csms.domain.refusal import Refusal, Why
from csms.edges.answershape import shaped
from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.link import Link
from csms.ports import Clock, Fact

log = structlog.get_logger()

_FIRST_PAUSE_S: Final = 30.0
_LONGEST_PAUSE_S: Final = 3600.0
_LOOK_EVERY_S: Final = 0.5
_LOOK_COSTS_S: Final = 50e-6  # fifty times what a look at one charger takes
_ASK_S: Final = 45.0


class NoAnswer(Exception):
    """The charger is gone or silent; the errand is done again later."""


class SaidNo(Exception):
    """The charger answered with a CALLERROR; `code` is OCPP's. The errand decides what that means."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}" if description else code)
        self.code = code

    @property
    def is_unsupported(self) -> bool:
        """Whether it does not know the message at all."""
        return self.code in {"NotImplemented", "NotSupported"}


@dataclass(frozen=True, slots=True)
class Visit:
    """One charger, while an errand is with it."""

    station: Station
    version: Version
    _raw: Callable[..., Awaitable[RawAnswer]]

    async def ask(self, action: str, payload: Mapping[str, Any], *, timeout_s: float = _ASK_S) -> dict[str, Any]:
        """The payload of its answer, in the shape of its schema. Raises NoAnswer, SaidNo; Refusal or SchemaProblems
        when it cannot be asked so."""
        answer = await self._raw(self.station.id, action, payload, timeout_s=timeout_s)
        if answer.status == "call_error":
            error = answer.error if isinstance(answer.error, dict) else {}
            raise SaidNo(str(error.get("code") or ""), str(error.get("description") or ""))
        if answer.status != "answered":
            raise NoAnswer(f"{action}: {answer.status}")
        return shaped(self.version, action, answer.response)

    async def ask_now(self, action: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """As `ask`, for a person who waits: silence and a no are refusals, too."""
        try:
            return await self.ask(action, payload)
        except NoAnswer as silence:
            raise Refusal(Why.CHARGER_SILENT, f"The charger did not answer {action}.") from silence
        except SaidNo as no:
            raise Refusal(Why.CHARGER_REFUSED, f"The charger refused {action}: {no}.") from no


def visit_now(stations: Stations, station_id: str, raw: Callable[..., Awaitable[RawAnswer]]) -> Visit:
    """A charger that is there, to be asked beside the errands. Refuses UNKNOWN_STATION, STATION_OFFLINE."""
    station = stations.present(station_id)
    assert station.transport is not None  # a link has one
    return Visit(station, Version(station.transport), raw)


Errand = Callable[[Visit], Awaitable[None]]


@dataclass(slots=True)
class _Plan:
    """What is to be done at one charger."""

    wanted: dict[str, float] = field(default_factory=dict)  # errand -> not before (steady seconds)
    pauses: dict[str, float] = field(default_factory=dict)  # errand -> the last pause after a failure
    doing: str | None = None
    task: asyncio.Task[None] | None = None


class Steward:
    """Runs errands. `errand` registers them at composition; `want` and the journal call for them."""

    def __init__(
        self,
        *,
        stations: Stations,
        clock: Clock,
        link_of: Callable[[str], Link | None],
        raw: Callable[..., Awaitable[RawAnswer]],
        spawn: Callable[[Any], asyncio.Task[Any]],
        steady_s: Callable[[], float],
        settle_s: float,
        at_once: int,
    ) -> None:
        self._stations = stations
        self._clock = clock
        self._link_of = link_of
        self._raw = raw
        self._spawn = spawn
        self._steady_s = steady_s
        self._settle_s = settle_s
        self._slots = asyncio.Semaphore(at_once)
        self._errands: dict[str, Errand] = {}
        self._on: dict[str, list[tuple[str, Callable[[Fact], bool]]]] = {}
        self._plans: dict[str, _Plan] = {}
        self._bell = asyncio.Event()

    # -- composition

    def errand(self, name: str, do: Errand, *, on: Mapping[str, Callable[[Fact], bool]] | None = None) -> None:
        """Register an errand; `on` names the journal's facts of a charger that call for it, each with a condition.

        The condition is asked for every such fact of every charger: it looks into memory and nowhere else.
        """
        self._errands[name] = do
        for kind, condition in (on or {}).items():
            self._on.setdefault(kind, []).append((name, condition))

    @property
    def followed(self) -> frozenset[str]:
        """The kinds of facts that call for errands."""
        return frozenset(self._on)

    # -- called for

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """News of chargers."""
        for fact in facts:
            for name, condition in self._on.get(fact.kind, ()) if fact.station is not None else ():
                if condition(fact):
                    self.want(str(fact.station), name)

    def want(self, station_id: str, name: str, *, in_s: float = 0) -> None:
        """Do this errand at this charger, when it is there; wanting it twice is wanting it once."""
        if name not in self._errands:
            raise LookupError(f"there is no errand {name}")
        plan = self._plans.setdefault(station_id, _Plan())
        at_s = self._steady_s() + in_s
        plan.wanted[name] = min(plan.wanted.get(name, at_s), at_s)
        self._bell.set()

    def is_wanted(self, station_id: str, name: str) -> bool:
        """Whether it waits to be done or is being done."""
        plan = self._plans.get(station_id)
        return plan is not None and (name in plan.wanted or plan.doing == name)

    # -- done

    async def run(self) -> None:
        """For ever: send errands to chargers that listen."""
        while True:
            now_s = self._steady_s()
            for station_id, plan in list(self._plans.items()):
                if plan.task is None and plan.wanted:
                    self._begin(station_id, plan, now_s)
            self._bell.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S if self._plans else None):
                    await self._bell.wait()
            # After a power cut everybody is on the list: looking through it must not become the work.
            await asyncio.sleep(len(self._plans) * _LOOK_COSTS_S)

    def _begin(self, station_id: str, plan: _Plan, now_s: float) -> None:
        station, link = self._stations.get(station_id), self._link_of(station_id)
        if station is None:
            del self._plans[station_id]
            return
        if link is None or not self._listens(station, link):
            return
        ready = [name for name, at_s in plan.wanted.items() if at_s <= now_s]
        if ready:
            # In the order of registration: what others rest on (the inventory) is registered first.
            name = plan.doing = min(ready, key=list(self._errands).index)
            del plan.wanted[name]  # called for again from now on, it is done again
            plan.task = self._spawn(self._do(station, link, plan, name))

    def _listens(self, station: Station, link: Link) -> bool:
        """Connected long enough, nothing of its own under way, and its boot answered with anything but Rejected."""
        opened_ms = station.link_opened_ms
        is_settled = opened_ms is not None and self._clock.now_ms() - opened_ms >= self._settle_s * 1000
        return is_settled and not link.open_questions and station.registration != "Rejected"

    async def _do(self, station: Station, link: Link, plan: _Plan, name: str) -> None:
        again_s: float | None = None
        try:
            async with self._slots:
                await self._errands[name](Visit(station, link.version, self._raw))
            plan.pauses.pop(name, None)
        except (NoAnswer, TimeoutError) as silence:
            again_s = self._pause(plan, name)
            log.info("errand.no_answer", station=station.id, errand=name, why=str(silence), again_s=again_s)
        except (SaidNo, Refusal, SchemaProblems) as no:
            log.warning("errand.refused", station=station.id, errand=name, why=str(no))
        except asyncio.CancelledError:
            raise
        except Exception:
            again_s = self._pause(plan, name)
            log.exception("errand.failed", station=station.id, errand=name, again_s=again_s)
        finally:
            plan.task = plan.doing = None
            if again_s is not None:
                plan.wanted.setdefault(name, self._steady_s() + again_s)
            if not plan.wanted and self._plans.get(station.id) is plan:
                del self._plans[station.id]
            self._bell.set()

    @staticmethod
    def _pause(plan: _Plan, name: str) -> float:
        pause_s = min(plan.pauses.get(name, _FIRST_PAUSE_S / 2) * 2, _LONGEST_PAUSE_S)
        plan.pauses[name] = pause_s
        return pause_s
