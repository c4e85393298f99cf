"""The named faults of the field (PEERS.md 3): what each charger does, and the session, energy and bill that come of it.

A fault is a behaviour of `simulators/faults.py`; the story around it is a function here. The truth is the charger's
own physical meter; a car that takes exactly so much makes it a whole number. Whatever the charger says, there is one
session per plug-in, the bill is the tariff times the energy that was proven, and nothing is left open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

import pytest
import pytest_asyncio
from running import Server, running
from wire import answered, charger, command, instruction, raw, sessions, token, until

from simulators.faults import FAULTS
from simulators.ocpp_charger import Charger
from simulators.physics import Vehicle

pytestmark = pytest.mark.slow

WH: Final = 400
STEP_S: Final = 45.0
SETTINGS: Final = {"MeterValueSampleInterval": "30", "TransactionMessageRetryInterval": "0"}
# Beside the names of the list: networks that are bad on purpose have tests of their own.
ELSEWHERE: Final = {"duplicate_frames", "reordered_frames", "flapping_link"}


@dataclass(slots=True)
class Scene:
    """One charger with its fault at one server."""

    server: Server
    id: str
    fault: str
    version: str
    charger: Charger = field(init=False)

    def make(self, **more: Any) -> Charger:
        """The charger, not yet switched on."""
        settings = {**SETTINGS, **more.pop("settings", {})}
        self.charger = Charger(
            self.id, self.server.ocpp_url, version=self.version, rated_kw=7.4, power_scale=300.0, faults=[self.fault],
            seed=7, settings=settings, **more,
        )  # type: ignore[arg-type]  # the version is one of the two  # fmt: skip
        return self.charger

    async def begin(self, wh: int = WH) -> None:
        """Plug in a car that takes so much, hold a card to the reader."""
        await self.charger.wait_online(STEP_S)
        await self.charger.plug_in(1, Vehicle(soc=0.2, limit_wh=wh))
        assert await self.charger.present_tag("CARD")

    async def fill(self, wh: int = WH) -> None:
        """Until the car has it all."""
        await self.charger.wait_delivered(1, wh - 0.5, STEP_S)

    async def finish(self) -> None:
        """Press stop, deliver what is queued, unplug."""
        await self.charger.stop_local(1)
        await self.charger.wait_drained(STEP_S)
        await self.charger.unplug(1)


Script = Callable[[Scene], Awaitable[None]]


async def plain(scene: Scene) -> None:
    """Nothing but a charge."""
    async with scene.make():
        await scene.begin()
        await scene.fill()
        await scene.finish()


async def reconnects(scene: Scene) -> None:
    """The link is lost in the middle, and comes back."""
    async with scene.make():
        await scene.begin()
        await scene.charger.wait_delivered(1, 100, STEP_S)
        await scene.charger.go_offline()
        await scene.fill()
        await scene.charger.go_online()
        await scene.charger.wait_drained(STEP_S)
        await scene.finish()


async def power_cut(scene: Scene) -> None:
    """The power goes when the car has what it wanted and everything is told."""
    async with scene.make():
        await scene.begin()
        await scene.fill()
        await scene.charger.wait_for("the rest", lambda: scene.charger.connectors[1].status == "SuspendedEV", STEP_S)
        await scene.charger.wait_drained(STEP_S)
        await scene.charger.power_cut()
        await scene.charger.power_on()
        await scene.charger.wait_drained(STEP_S)
        await scene.charger.unplug(1)
        await until(lambda: all_closed(scene))


async def two_boots(scene: Scene) -> None:
    """A charge, a power cut, and another charge under the same message ids."""
    async with scene.make():
        for _ in range(2):
            await scene.begin()
            await scene.fill()
            await scene.finish()
            await scene.charger.power_cut()
            await scene.charger.power_on()


async def big_configuration(scene: Scene) -> None:
    """Everything it holds is asked for in the middle of a charge."""
    async with scene.make():
        await scene.begin()
        await scene.charger.wait_delivered(1, 100, STEP_S)
        if scene.version == "1.6":
            outcome = await raw(scene.server, scene.id, "GetConfiguration", {})
        else:
            asked = {"requestId": 1, "reportBase": "FullInventory"}
            outcome = await raw(scene.server, scene.id, "GetBaseReport", asked)
        assert outcome["status"] == "answered"
        await scene.fill()
        await scene.charger.wait_online(STEP_S)
        await scene.finish()


async def long_offline(scene: Scene) -> None:
    """Offline for longer than the queue holds."""
    async with scene.make(settings={"MeterValueSampleInterval": "1"}):
        await scene.begin()
        await scene.charger.wait_delivered(1, 100, STEP_S)
        await scene.charger.go_offline()
        await scene.charger.wait_for("a dropped sample", lambda: scene.charger.outbox.dropped > 0, STEP_S)
        await scene.fill()
        await scene.charger.go_online()
        await scene.charger.wait_drained(STEP_S)
        await scene.finish()


async def refused_three_times(scene: Scene) -> None:
    """The charger is put on hold in mid-charge: its stop is refused, but stored, and given up."""
    async with scene.make():
        await scene.begin()
        await scene.fill()
        await scene.charger.wait_drained(STEP_S)
        await scene.server.api("PATCH", f"/api/v1/chargers/{scene.id}", {"registration": "Pending"})
        await scene.finish()
        assert any("given up after 3 attempts" in said for said in scene.charger.complaints)
        scene.charger.complaints.clear()


async def pinged(scene: Scene) -> None:
    """Idle until the server has pinged it and lost it, or been dropped, once; then a charge."""
    async with scene.make():
        await scene.charger.wait_online(STEP_S)
        first = (await charger(scene.server, scene.id))["connected_at"]

        async def is_another() -> bool:
            found = await charger(scene.server, scene.id)
            return bool(found["online"]) and found["connected_at"] != first

        await until(is_another)
        await scene.begin()
        await scene.fill()
        await scene.finish()


async def started_from_afar(scene: Scene) -> None:
    """A remote start is accepted and nothing comes of it; then somebody comes with a card."""
    async with scene.make():
        await scene.charger.wait_online(STEP_S)
        issued = await command(scene.server, scene.id, "start", {"token": "CARD", "evse_id": 1})
        over = await instruction(scene.server, issued, "EXPIRED")
        assert over["state"] == "EXPIRED"
        assert await sessions(scene.server, scene.id) == []
        await scene.begin()
        await scene.fill()
        await scene.finish()


async def made_unavailable(scene: Scene) -> None:
    """ChangeAvailability stays without an answer; charging does not care."""
    async with scene.make():
        await scene.charger.wait_online(STEP_S)
        if scene.version == "1.6":
            said: dict[str, Any] = {"connectorId": 0, "type": "Inoperative"}
        else:
            said = {"operationalStatus": "Inoperative"}
        outcome = await raw(scene.server, scene.id, "ChangeAvailability", said, timeout_s=1)
        assert outcome["status"] == "timeout"
        await scene.begin()
        await scene.fill()
        await scene.finish()


@dataclass(frozen=True, slots=True)
class Expected:
    """What must come of a fault. `wh` None: the truth; `billed` False: nothing can be billed, a person looks at it.

    `cases` are those of the sessions.
    """

    script: Script = plain
    versions: tuple[str, ...] = ("1.6", "2.0.1")
    sessions: int = 1
    wh: int | None = None
    billed: bool = True
    cases: frozenset[str] = frozenset()
    end_cause: str | None = None


NAMED: Final[dict[str, Expected]] = {
    "dup_start_same_id": Expected(),
    "dup_start_new_id": Expected(),
    "dup_stop_other_meter": Expected(cases=frozenset({"DUP_CONFLICT"}), wh=WH + 137),
    "stop_without_start": Expected(billed=False, cases=frozenset({"ORPHAN_STOP"})),
    "start_after_stop": Expected(cases=frozenset({"ORPHAN_STOP"})),
    "tx_zero": Expected(versions=("1.6",)),
    "tx_minus_one": Expected(versions=("1.6",)),
    "meter_reset_on_boot": Expected(power_cut, cases=frozenset({"NO_STOP_METER"}), end_cause="PowerLoss"),
    "meter_session_relative": Expected(),
    "kwh_as_wh": Expected(),
    "reg_dropout_zero": Expected(),
    "clock_1970": Expected(cases=frozenset({"CLOCK"})),
    "clock_plus_5h30": Expected(cases=frozenset({"CLOCK"})),
    "no_subprotocol": Expected(),
    "slash_slash_id": Expected(),
    "escaped_id": Expected(),
    "call_while_awaiting": Expected(),
    "reply_unknown_id": Expected(),
    "reuse_message_id_after_boot": Expected(two_boots, sessions=2),
    "frame_2mb_getconfiguration": Expected(big_configuration),
    "half_open": Expected(reconnects),
    "ignores_server_ping": Expected(pinged),
    "drops_on_server_ping": Expected(pinged),
    "remote_start_accepted_silent": Expected(started_from_afar),
    "status_connector0_only": Expected(),
    "availability_never_answers": Expected(made_unavailable),
    "boot_every_reconnect": Expected(reconnects),
    "no_boot_on_reconnect": Expected(power_cut, end_cause="PowerLoss"),
    "queue_cap_100_drop_oldest": Expected(long_offline),
    "discard_after_3_attempts": Expected(refused_three_times),
    "power_cut_no_stop": Expected(power_cut, end_cause="PowerLoss"),
    "power_cut_stop_after_boot": Expected(power_cut, end_cause="PowerLoss"),
    "swap_serial_same_id": Expected(power_cut, cases=frozenset({"SWAP", "NO_STOP_METER"})),
}


def test_every_named_fault_is_told_here() -> None:
    assert len(NAMED) == 33
    assert NAMED.keys() | ELSEWHERE == FAULTS.keys()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """One server for all of them; a start nobody follows is given up soon, a silent socket soon found."""
    settings: dict[str, dict[str, Any]] = {
        "ocpp": {"ping_interval_s": 1, "silence_s": 4},
        "limits": {"start_s": 3, "data_offline_s": 5, "abandon_min_s": 120, "abandon_max_s": 120},
    }
    async with running(tmp_path_factory.mktemp("named"), settings) as started:
        await token(started, "CARD")
        yield started


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("fault", NAMED)
async def test_named_fault(server: Server, fault: str) -> None:
    expected = NAMED[fault]
    await asyncio.gather(*(comes_to(server, fault, version, expected) for version in expected.versions))


async def comes_to(server: Server, fault: str, version: str, expected: Expected) -> None:
    """Play it at a charger of that version, and look at what is stored and billed."""
    scene = Scene(server, f"{fault}-{version}".upper().replace(".", ""), fault, version)
    await server.sell(scene.id)
    await expected.script(scene)
    told = f"{fault} at {version}"
    assert scene.charger.complaints == [], told
    truth = sum(session.delivered_wh for session in scene.charger.truth)
    assert abs(truth - WH * len(scene.charger.truth)) <= 1

    async def is_over() -> list[dict[str, Any]] | None:
        found = await sessions(server, scene.id)
        want = {"SETTLED", "RECONCILED"} if expected.billed else {"ORPHAN"}
        return found if found and all(one["state"] in want for one in found) else None

    try:
        found = await until(is_over)
    except TimeoutError:
        raise AssertionError((told, await sessions(server, scene.id))) from None
    assert len(found) == expected.sessions, (told, found)
    assert {case["type"] for one in found for case in one["cases"]} == expected.cases, (told, found)
    if expected.end_cause is not None:
        assert [one["end_cause"] for one in found] == [expected.end_cause] * len(found), told
    cdrs = (await server.api("GET", f"/api/v1/cdrs?charger_id={scene.id}"))["items"]
    if not expected.billed:
        assert [cdr["amount"] for cdr in cdrs] in ([], [None]), (told, cdrs)
        return
    billed = sum(cdr["energy_wh"] for cdr in cdrs)
    assert abs(billed - (truth if expected.wh is None else expected.wh)) <= len(cdrs), (told, billed, truth, found)
    for cdr in cdrs:
        assert Decimal(cdr["amount"]["amount"]) == price(cdr["energy_wh"]), (told, cdr)


def price(wh: int) -> Decimal:
    """By the tariff of `Server.sell`: 18 INR/kWh and a fee of 10, with 18 % GST."""
    net = _paise(Decimal(18 * wh) / 1000) + 10
    return net + _paise(net * Decimal("0.18"))


def _paise(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


async def all_closed(scene: Scene) -> bool:
    """Whether no session is open any more."""
    return not any(one["open"] for one in await sessions(scene.server, scene.id))


@pytest.mark.asyncio(loop_scope="module")
async def test_the_word_spares_a_charger_that_drops_on_a_ping(server: Server) -> None:
    """The same charger twice: the one without the word loses its link at every ping."""
    spared = Scene(server, "PING-SPARED", "drops_on_server_ping", "1.6")
    dropped = Scene(server, "PING-DROPPED", "drops_on_server_ping", "1.6")
    await server.api("POST", "/api/v1/chargers", {"id": spared.id, "quirks": ["no_server_ping"]})
    async with spared.make() as one, dropped.make() as other:
        for simulated in (one, other):
            await simulated.wait_online(STEP_S)
        before = [(await charger(server, scene.id))["connected_at"] for scene in (spared, dropped)]

        async def has_dropped() -> bool:
            found = await charger(server, dropped.id)
            return found["connected_at"] not in {None, before[1]}

        await until(has_dropped)
        assert (await charger(server, spared.id))["connected_at"] == before[0]
        outcome = await answered(server, spared.id, "ClearCache", {})
        assert outcome == {"status": "Accepted"}
