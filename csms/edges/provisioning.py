"""The errands of provisioning: read what a charger holds, compare, write what differs, restart it when it is idle.

    first boot, other firmware ─▶ inventory ─▶ compared ─┬▶ in step
    once a day, an operator ─▶ provisioning-check ─▶ ────┘
                                                         └▶ drifted ─▶ provisioning-apply ─▶ read again ─▶ in step,
                        failed, or reboot-needed ─▶ provisioning-reset ─▶ its boot ─▶ provisioning-check

Write policy (OCPP.md 6.1): read all, write only differences, one key per CALL, read again; nothing is written and
nobody is restarted while a session is open.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import structlog

from csms.app.calls import CallAnswered, Calls
from csms.app.masks import is_secret
from csms.app.provisioning import Provisioning, Standing, is_idle
from csms.app.reports import Report, Reports
from csms.app.stations import Station, Stations
from csms.domain.provisioning import Drift, Item, State, Wanted
from csms.domain.refusal import Refusal
from csms.edges.collecting import Collecting
from csms.edges.ocpp16 import provisioning as keys16
from csms.edges.ocpp201 import device_model
from csms.edges.ocppj.codes import Version
from csms.edges.registration import ACCEPTED, PENDING, REJECTED
from csms.edges.steward import Errand, NoAnswer, SaidNo, Steward, Visit
from csms.edges.triggers import Triggers
from csms.ports import Clock, Fact

log = structlog.get_logger()

INVENTORY: Final = "inventory"
CHECK: Final = "provisioning-check"
APPLY: Final = "provisioning-apply"
RESET: Final = "provisioning-reset"
LET_IN: Final = "registration-accepted"

_BUSY_AGAIN_S: Final = 3600.0  # the end of the session calls for it earlier
_REPORT_TRIES: Final = 3
_TICK_MS: Final = 60_000
_SPREAD_S: Final = 600.0  # a day's checks are not asked in one breath


class Provisioner:
    """Leads the conversations of provisioning. `listen` makes it part of the system."""

    def __init__(
        self,
        *,
        book: Provisioning,
        stations: Stations,
        clock: Clock,
        steward: Steward,
        collecting: Collecting,
        triggers: Triggers,
        spawn: Callable[[Coroutine[Any, Any, None]], Any],
        is_inventory_read: bool,
        is_auto: bool,
        check_every_h: float,
    ) -> None:
        self.book = book
        self._stations = stations
        self._clock = clock
        self._steward = steward
        self._collecting = collecting
        self._triggers = triggers
        self._spawn = spawn
        self._is_inventory_read = is_inventory_read
        self._is_auto = is_auto
        self._check_every_ms = int(check_every_h * 3_600_000)
        self._ticked_ms = 0

    def listen(self, calls: Calls, reports: Reports) -> None:
        """Enter errands and readers. The inventory comes first: others rest on it."""
        errand = self._steward.errand
        errand(
            INVENTORY,
            self._told(INVENTORY, self._inventory),
            on={"StationBooted": self._is_news, "LinkOpened": self._is_unread},
        )
        errand(LET_IN, self._accepted, on={"RegistrationChanged": _lets_in})
        errand(CHECK, self._told(CHECK, self._check), on={"StationBooted": self._is_awaited})
        over = ("SessionEnded", "SessionAbandoned")
        errand(
            APPLY,
            self._told(APPLY, self._apply),
            on=dict.fromkeys(over, self._waits(APPLY)) | {"LinkOpened": self._is_unwritten},
        )
        errand(RESET, self._reset, on=dict.fromkeys(over, self._waits(RESET)) | {"LinkOpened": self._is_unreset})
        calls.read("GetConfiguration", self._keys_read)
        calls.read("ChangeConfiguration", self._key_changed)
        calls.read("GetVariables", self._variables_read)
        calls.read("SetVariables", self._variables_set)
        reports.read("NotifyReport", self._reported)

    # -- asked for by an operator

    async def want_inventory(self, station_id: str) -> None:
        """Read everything, as soon as the charger is there."""
        await self._want(station_id, INVENTORY)

    async def want_check(self, station_id: str) -> None:
        """Compare it, as soon as it is there."""
        await self._want(station_id, CHECK)

    async def want_apply(self, station_id: str) -> None:
        """Write what differs, as soon as it is there and idle."""
        await self._want(station_id, APPLY)

    async def _want(self, station_id: str, errand: str) -> None:
        await self.book.ask(station_id, errand)
        self._steward.want(station_id, errand)

    def resume(self) -> None:
        """What operators had asked for when the process ended is still wanted."""
        for station_id, standing in self.book.standings():
            if standing.asked is not None and self._stations.get(station_id) is not None:
                self._steward.want(station_id, standing.asked)

    def is_under_way(self, station_id: str) -> bool:
        """Whether any of this waits to be done at the charger or is being done."""
        return any(self._steward.is_wanted(station_id, name) for name in (INVENTORY, CHECK, APPLY, RESET))

    async def templates_changed(self) -> None:
        """Compare those concerned anew with what they last said, beside other work; nobody is asked for that."""
        concerned = await self.book.templates_changed()
        self._spawn(self._compare_all([station.id for station in concerned]))

    async def _compare_all(self, station_ids: Sequence[str]) -> None:
        for station_id in station_ids:
            await self._compare_anew(station_id)

    async def choose(self, station_id: str, template: str | None) -> None:
        """A built-in template for this charger; empty: none, None: the configured one."""
        await self.book.choose(station_id, template)
        await self._compare_anew(station_id)

    async def _compare_anew(self, station_id: str) -> None:
        station = self._stations.get(station_id)
        if station is not None and self.book.standing(station_id).inventory_ms is not None:
            await self.book.compare(station, checked=False)
            self._follow_up(station)

    async def tick(self, now_ms: int) -> None:
        """Once a minute: chargers that were not compared for long are asked, spread over ten minutes."""
        if now_ms - self._ticked_ms < _TICK_MS:
            return
        self._ticked_ms = now_ms
        due = [
            station_id
            for station_id, standing in self.book.standings()
            if standing.checked_ms is not None
            and now_ms - standing.checked_ms >= self._check_every_ms
            and not self._steward.is_wanted(station_id, CHECK)
        ]
        for number, station_id in enumerate(due):
            station = self._stations.get(station_id)
            if station is not None and station.online and self.book.wanted_of(station):
                self._steward.want(station_id, CHECK, in_s=number * _SPREAD_S / len(due))

    # -- what news call for

    def _is_news(self, fact: Fact) -> bool:
        """The first boot, or one with other firmware or another serial number (B07: first contact)."""
        station = self._stations.get(str(fact.station))
        if station is None or not self._is_inventory_read or station.registration == REJECTED:
            return False
        standing = self.book.standing(station.id)
        # The news may be old: the charger may have booted twice more since, or been read.
        return (
            standing.inventory_ms is None
            or standing.inventory_firmware not in {fact.body.get("firmware") or station.firmware, station.firmware}
            or (bool(fact.body.get("swapped")) and standing.inventory_ms < fact.at_ms)
        )

    def _is_unread(self, fact: Fact) -> bool:
        """It reconnects without a boot and was never read; one that never booted will boot in a moment."""
        station = self._stations.get(str(fact.station))
        return (
            station is not None
            and self._is_inventory_read
            and station.boot_ms is not None
            and self.book.standing(station.id).inventory_ms is None
        )

    def _is_awaited(self, fact: Fact) -> bool:
        """Its boot makes what was written count."""
        return self.book.standing(str(fact.station)).state is State.REBOOT_NEEDED

    def _is_unwritten(self, fact: Fact) -> bool:
        """It went away, or we did, before what differs was written."""
        return self._is_auto and self.book.standing(str(fact.station)).state is State.DRIFTED

    def _is_unreset(self, fact: Fact) -> bool:
        """It went away, or we did, before it was asked to restart."""
        standing = self.book.standing(str(fact.station))
        return standing.state is State.REBOOT_NEEDED and not standing.is_reset_asked

    def _waits(self, name: str) -> Any:
        """The end of a session, where an errand has been waiting for it."""
        return lambda fact: self._steward.is_wanted(str(fact.station), name)

    # -- errands

    def _told(self, name: str, do: Errand) -> Errand:
        """`do`; when the charger will have nothing of it, whoever asked is told and it is not asked again."""

        async def told(visit: Visit) -> None:
            try:
                await do(visit)
            except (SaidNo, Refusal) as no:
                await self.book.done(visit.station.id, name, f"{name}: {no}")
                raise

        return told

    async def _inventory(self, visit: Visit) -> None:
        items = await self._read_all(visit)
        standing = await self.book.read_all(visit.station, items)
        log.info("inventory.read", station=visit.station.id, count=len(items), state=standing.state.value)
        await self.book.done(visit.station.id, INVENTORY)
        self._follow_up(visit.station)

    async def _check(self, visit: Visit) -> None:
        await self._reread(visit)
        await self.book.done(visit.station.id, CHECK)
        self._follow_up(visit.station)

    async def _apply(self, visit: Visit) -> None:
        station = visit.station
        standing = await self._reread(visit)
        if standing.drift and not await self._write(visit, standing.drift):
            self._steward.want(station.id, APPLY, in_s=_BUSY_AGAIN_S)
        else:
            await self.book.done(station.id, APPLY)
        self._follow_up(station)

    async def _write(self, visit: Visit, differing: Sequence[Drift]) -> bool:
        """Whether all of it was said; a session that is open, or begins meanwhile, ends the writing."""
        station = visit.station
        wants = [Wanted(one.name, one.wanted, one.template) for one in differing]
        outcomes: dict[str, str] = {}
        messages: list[tuple[str, dict[str, Any]]]
        if visit.version is Version.V16:
            messages = [("ChangeConfiguration", {"key": want.name, "value": want.value}) for want in wants]
        else:
            held = await self.book.held(station.id)
            messages = [("SetVariables", payload) for payload in device_model.set_variables(wants, held)]
        try:
            for action, payload in messages:
                if not is_idle(station):
                    return False
                outcomes |= await _written(visit, action, payload)
            return True
        finally:
            # Whatever happened on the way, what it took so far is known: a restart may be due for it.
            written = [one for one in differing if one.name.casefold() in outcomes]
            if written:
                await self._read_back(visit, [one.name for one in written])
                await self.book.wrote(station, written, outcomes)

    async def _read_back(self, visit: Visit, names: Sequence[str]) -> None:
        try:
            await self._read(visit, names)
        except (NoAnswer, TimeoutError, SaidNo) as silence:
            log.info("provisioning.not_read_back", station=visit.station.id, why=str(silence))

    async def _reset(self, visit: Visit) -> None:
        standing = self.book.standing(visit.station.id)
        if standing.state is not State.REBOOT_NEEDED or standing.is_reset_asked:
            return
        if not is_idle(visit.station):
            self._steward.want(visit.station.id, RESET, in_s=_BUSY_AGAIN_S)
            return
        kind = "Soft" if visit.version is Version.V16 else "OnIdle"
        try:
            word = str((await visit.ask("Reset", {"type": kind})).get("status"))
        except SaidNo as no:
            word = str(no)
        except NoAnswer:
            word = "no answer"  # it may be on its way down already
        refused = word not in {"Accepted", "Scheduled"}
        await self.book.reset_asked(visit.station.id, f"asked to restart: {word}" if refused else None)

    async def _accepted(self, visit: Visit) -> None:
        """Accepted while it waits with Pending: it hears so in the answer to its next boot, which we ask for now.
        One that has booted since heard it (errata 3.40: no trigger of a boot after Accepted)."""
        if visit.station.told_registration == PENDING:
            await self._triggers.ask(visit, "BootNotification")

    def _follow_up(self, station: Station) -> None:
        """What the comparison asks for."""
        standing = self.book.standing(station.id)
        if standing.state is State.DRIFTED and self._is_auto and not self._steward.is_wanted(station.id, APPLY):
            self._steward.want(station.id, APPLY)
        elif standing.state is State.REBOOT_NEEDED and not standing.is_reset_asked:
            self._steward.want(station.id, RESET)

    # -- reading

    async def _reread(self, visit: Visit) -> Standing:
        """Compared with what it says now. 1.6 says everything in a message; 2.0.1 is asked for what is wanted."""
        station = visit.station
        if visit.version is Version.V16 or self.book.standing(station.id).inventory_ms is None:
            return await self.book.read_all(station, await self._read_all(visit))
        await self._read(visit, [want.name for want in self.book.wanted_of(station).values()])
        return await self.book.compare(station)

    async def _read_all(self, visit: Visit) -> list[Item]:
        return await (self._all_keys(visit) if visit.version is Version.V16 else self._all_variables(visit))

    async def _read(self, visit: Visit, names: Sequence[str]) -> None:
        """Read these names of those it is known to have, and keep what it says."""
        held = await self.book.held(visit.station.id)
        known = {item.name.casefold(): item for item in held}
        asked = [known[name.casefold()] for name in names if name.casefold() in known]
        if visit.version is Version.V16:
            items, gone = await self._keys(visit, [item.name for item in asked], held)
        else:
            items, gone = await self._variables(visit, [device_model.place_of(item) for item in asked], held)
        await self.book.saw(visit.station.id, items, self._clock.now_ms(), gone)

    async def _all_keys(self, visit: Visit) -> list[Item]:
        """GetConfiguration without keys; in chunks where the model cannot, or where it cut its answer short."""
        most = keys16.max_keys(visit.station.quirks)
        if most is None:
            try:
                items, _ = keys16.held(await visit.ask("GetConfiguration", {}))
            except SaidNo as no:
                if no.is_unsupported:
                    raise
                items = []
            if items:
                more, _ = await self._keys(visit, keys16.left_out(items), items)
                return [*items, *more]
        items, _ = await self._keys(visit, keys16.KNOWN_KEYS, [])
        return items

    async def _keys(self, visit: Visit, names: Sequence[str], held: Sequence[Item]) -> tuple[list[Item], list[str]]:
        items: list[Item] = []
        gone: list[str] = []
        for payload in keys16.in_messages(names, keys16.max_keys(visit.station.quirks, held)):
            told, unknown = keys16.held(await visit.ask("GetConfiguration", payload))
            items += told
            gone += unknown
        return items, gone

    async def _all_variables(self, visit: Visit) -> list[Item]:
        """The whole device model as a report (B07); what it cannot report is asked for by name (B06)."""
        for base in ("FullInventory", "ConfigurationInventory"):
            items = await self._base_report(visit, base)
            if items:
                return items
        places = [device_model.parts_of(name) for name in device_model.KNOWN_VARIABLES]
        limits = [one for one in device_model.KNOWN_VARIABLES if one.endswith("PerMessage[GetVariables]")]
        try:
            first, _ = await self._variables(visit, [device_model.parts_of(name) for name in limits], [])
        except SaidNo:
            first = []
        found, _ = await self._variables(visit, places, first)
        return found

    async def _base_report(self, visit: Visit, base: str) -> list[Item] | None:
        """Its items; None when the station does not make this report."""
        for _ in range(_REPORT_TRIES):
            request_id = await self._collecting.request_id()
            try:
                answer = await visit.ask("GetBaseReport", {"requestId": request_id, "reportBase": base})
            except SaidNo:
                return None
            if answer.get("status") != "Accepted":
                return None
            bodies, is_all = await self._collecting.parts(visit.station.id, "NotifyReport", request_id)
            if is_all:
                return [item for body in bodies for item in device_model.reported(body)]
            for body in bodies:
                await self.book.saw(visit.station.id, device_model.reported(body), self._clock.now_ms())
            log.info("inventory.part_missing", station=visit.station.id, request=request_id, came=len(bodies))
        raise NoAnswer(f"{base}: a part of the report never came")

    async def _variables(
        self, visit: Visit, places: Sequence[dict[str, Any]], held: Sequence[Item]
    ) -> tuple[list[Item], list[str]]:
        items: list[Item] = []
        gone: list[str] = []
        for payload in device_model.get_variables(places, held, visit.station.quirks):
            told, unknown = device_model.variables_read(await visit.ask("GetVariables", payload))
            items += told
            gone += unknown
        return items, gone

    # -- what answers and reports say, whoever asked

    async def _keys_read(self, answered: CallAnswered) -> None:
        items, gone = keys16.held(answered.response)
        await self.book.saw(answered.station, items, answered.at_ms, gone)

    async def _key_changed(self, answered: CallAnswered) -> None:
        # RebootRequired: it stands after the restart, and the charger says so itself then.
        if answered.response.get("status") == "Accepted":
            key, value = str(answered.request["key"]), str(answered.request["value"])
            item = Item(key, None if is_secret(key) else value)
            await self.book.saw(answered.station, [item], answered.at_ms)

    async def _variables_read(self, answered: CallAnswered) -> None:
        items, gone = device_model.variables_read(answered.response)
        await self.book.saw(answered.station, items, answered.at_ms, gone)

    async def _variables_set(self, answered: CallAnswered) -> None:
        items, _ = device_model.variables_set(answered.request, answered.response)
        await self.book.saw(answered.station, items, answered.at_ms)

    async def _reported(self, report: Report) -> None:
        if self._collecting.is_awaited(report):
            return  # whoever collects it keeps it as a whole
        await self.book.saw(report.station, device_model.reported(report.body), report.received_ms)


def _lets_in(fact: Fact) -> bool:
    return fact.body.get("before") == PENDING and fact.body.get("after") == ACCEPTED


async def _written(visit: Visit, action: str, payload: dict[str, Any]) -> dict[str, str]:
    """The charger's words for what one message wrote, by folded name; a CALLERROR is a word, too."""
    names = (
        [str(payload["key"])]
        if action == "ChangeConfiguration"
        else [device_model.name_of(one["component"], one["variable"]) for one in payload["setVariableData"]]
    )
    try:
        answer = await visit.ask(action, payload)
    except SaidNo as no:
        return dict.fromkeys((name.casefold() for name in names), no.code)
    if action == "ChangeConfiguration":
        return {names[0].casefold(): str(answer.get("status"))}
    return device_model.variables_set(payload, answer)[1]
