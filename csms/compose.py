"""The composition root: Config -> System. The only file that knows every concrete thing.

Read it top to bottom: storage, memory, use cases, edges, buyers, workers. `serving.run` gives it listeners and a life.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any

import structlog

from csms import settings
from csms.app.availability import Availability
from csms.app.calls import Calls
from csms.app.carneeds import CarNeeds
from csms.app.catalogue import Inventory
from csms.app.charging import Charging
from csms.app.chargingprofiles import ChargingProfiles
from csms.app.costs import Costs
from csms.app.displays import Displays
from csms.app.dues import Dues
from csms.app.follow import Followers
from csms.app.identities import Identities
from csms.app.locallists import LocalLists
from csms.app.news import StationNews
from csms.app.ordering import Ordering
from csms.app.otps import Otps, OtpSending
from csms.app.outbox import UNSENT
from csms.app.paying import Paying
from csms.app.provisioning import Provisioning
from csms.app.reloading import Reloading
from csms.app.reports import Reports
from csms.app.reserving import Reserving
from csms.app.settling import FOLLOWED as SETTLED
from csms.app.settling import Settling, SettlingRules
from csms.app.sockets import Sockets
from csms.app.stations import Station, Stations
from csms.app.tokens import AccessRules, Tokens
from csms.app.transactions import TransactionNews
from csms.app.upgrading import Upgrading
from csms.app.upkeep import Upkeep
from csms.bus.inprocess import InProcessBell
from csms.buyers import Buyers
from csms.config import Config
from csms.domain.clock import ClockModel
from csms.edges.again import Again
from csms.edges.answershape import shaped_of
from csms.edges.availability import AvailabilityEdge
from csms.edges.collecting import Collecting
from csms.edges.exchange import Desk
from csms.edges.garbled import Garbled
from csms.edges.gate import Gate, Passwords, Rotation
from csms.edges.locallists import LocalListErrand
from csms.edges.maintenance import Maintenance
from csms.edges.monitoring import Monitoring
from csms.edges.mute import ERRAND as MUTE
from csms.edges.mute import Mute
from csms.edges.ocpp16.inbound import Dialect16
from csms.edges.ocpp201.costs import CostEdge, learnt
from csms.edges.ocpp201.inbound import Dialect201
from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.link import Link
from csms.edges.ocppj.server import Hooks, Limits, OcppServer
from csms.edges.oddities import Oddities
from csms.edges.profilecheck import ProfileCheck
from csms.edges.provisioning import Provisioner
from csms.edges.pump import Pump
from csms.edges.steward import Steward
from csms.edges.triggers import Triggers
from csms.edges.trust import Trust
from csms.observe import Metrics
from csms.ports import Clock, Follower, Ids, Table
from csms.realworld import RealClock, RealIds, chance
from csms.storage.files import Folder
from csms.storage.sqlite import SqliteStore
from firmware_profiles.load import Profiles

log = structlog.get_logger()


@dataclass(slots=True)
class ApiStations:
    """What the operator API may do with the chargers in memory."""

    stations: Stations
    inventory_changed: Callable[[], None]
    quirks_changed: Callable[[Link], None]

    def get(self, station_id: str) -> Station | None:
        """The live view."""
        return self.stations.get(station_id)

    async def changed(self, station_id: str) -> None:
        """Take over a changed row; a deleted charger is disconnected."""
        before = self.stations.get(station_id)
        after = await self.stations.refresh(station_id)
        if after is None and before is not None and before.link is not None:
            before.link.close(4004, "removed")
        elif after is not None and isinstance(after.link, Link):
            self.quirks_changed(after.link)
        self.inventory_changed()


@dataclass(slots=True)
class ApiTolerance:
    """What is known of chargers' oddities."""

    profiles: Profiles
    stations: Stations
    counted: Oddities

    def oddities(self, station_id: str) -> dict[str, dict[str, int]]:
        """What a charger got wrong since the start."""
        return self.counted.of(station_id)

    def clock(self, station_id: str) -> ClockModel | None:
        """What is known of its clock."""
        station = self.stations.get(station_id)
        return station.skew if station is not None else None


@dataclass(slots=True)
class ApiCharging:
    """Sessions, as far as a person may touch them."""

    charging: Charging

    async def close_session(self, session_id: str, reason: str, who: str) -> None:
        """End a session that no fact will end."""
        await self.charging.close_session(session_id, reason, who)

    async def take_late(self, session_id: str, who: str) -> None:
        """Let what came after the final date move money."""
        await self.charging.take_late(session_id, who)

    def save_meters(self) -> bool:
        """Write what ordinary readings changed; False when it is written."""
        return self.charging.save_meters()


@dataclass(slots=True)
class ApiCatalogue:
    """Changed locations, tariffs and offers are read again a moment later, many changes at once."""

    reload: Callable[[], None]

    async def changed(self) -> None:
        """One was put or deleted."""
        self.reload()


class System:
    """Everything that runs; the operator API sees it as `csms.api.system.System`. A test may bring its own `clock` and
    `ids`."""

    def __init__(self, config: Config, public_url: str, *, clock: Clock | None = None, ids: Ids | None = None) -> None:
        self.config = config
        self.version = metadata.version("csms-bpp")
        self.node = config.node
        self.clock: Clock = clock if clock is not None else RealClock()
        self.ids: Ids = ids if ids is not None else RealIds()
        self.bell = InProcessBell()
        self.metrics_of = Metrics()
        self.bootstrap_key = settings.bootstrap_key(config)
        self.store = SqliteStore(config.sqlite_path, self._ring)
        self._tasks: set[asyncio.Task[Any]] = set()

        # memory
        self.profiles = settings.profiles()
        self.stations_of = Stations(self.store, self.clock, self.profiles)
        self.inventory = Inventory(self.store, config.beckn.provider_id)
        self.sockets = Sockets(self.stations_of, self.inventory, self.clock)
        self.reloading = Reloading(self.inventory, self.clock, refresh=self._refresh_market, spawn=self.spawn)
        node_key = settings.identity_key(config)
        self.identities = Identities(node_key)
        self.otps = Otps(self.ids, settings.otp_rules(config, node_key))
        self.dues = Dues(
            self.store,
            identities=self.identities,
            blocks=config.access.block_on_due != "off",
            on_change=self._access_changed,
            is_fleets=lambda order: self.inventory.is_fleet(order.fleet_id),
        )
        self.tokens = Tokens(
            self.store,
            AccessRules(config.access.master_pass_group, config.access.one_session_at_a_time),
            dues=self.dues.of,
            power_type_of=self.sockets.power_type_of,
        )

        self.dues.vehicles_of = self.tokens.vehicles_of

        # use cases
        self.otp_sending = OtpSending(
            store=self.store,
            otps=self.otps,
            messenger=settings.messenger(config, self.clock),
            clock=self.clock,
            sender=config.beckn.provider_name,
        )
        self.provisioning_of = Provisioning(self.store, self.stations_of, self.clock, config.provisioning.template)
        limit = settings.default_limit(config)
        self.charging_of = Charging(
            store=self.store,
            stations=self.stations_of,
            tokens=self.tokens,
            clock=self.clock,
            ids=self.ids,
            bell=self.bell,
            timing=settings.timing(config),
            on_lost=self.lost,
            sampling=settings.sampling(config),
            default_limit=lambda session, token: limit.wh(self.inventory, session, token, self.clock.now_ms()),
        )
        self.payments = settings.gateway(config, public_url)
        self.ordering = Ordering(
            inventory=self.inventory,
            sockets=self.sockets,
            payments=self.payments,
            ids=self.ids,
            selling=settings.selling(config),
            otps=self.otps,
            identities=self.identities,
            debts=self.dues if config.access.block_on_due == "all" else None,
        )
        self.settling = Settling(
            store=self.store,
            inventory=self.inventory,
            payments=self.payments,
            clock=self.clock,
            ids=self.ids,
            bell=self.bell,
            rules=SettlingRules(
                provisional_after_ms=int(config.limits.provisional_after_s * 1000),
                sample_interval_ms=int(config.limits.sample_interval_s * 1000),
            ),
        )
        self.paying = Paying(
            store=self.store, payments=self.payments, clock=self.clock, ids=self.ids, bell=self.bell,
            count=lambda kind, outcome: self.metrics_of.gateway.labels(kind, outcome).inc(),
        )  # fmt: skip

        # chargers
        self.costs = Costs(
            store=self.store, inventory=self.inventory, stations=self.stations_of, ids=self.ids, bell=self.bell,
            every_s=config.ocpp.cost_every_s,
        )  # fmt: skip
        self.passwords = Passwords()
        self.trust = Trust(
            settings.trust_settings(config),
            store=self.store,
            stations=self.stations_of,
            clock=self.clock,
            steady_s=time.monotonic,
        )
        self.gate = Gate(
            store=self.store,
            stations=self.stations_of,
            charging=self.charging_of,
            clock=self.clock,
            passwords=self.passwords,
            certificates=self.trust.certificates,
            organization=config.tls.organization,
            accept_unknown=config.ocpp.accept_unknown,
            window_s=config.ocpp.window_s,
            default_version=config.ocpp.default_version,
            ping_interval_s=config.ocpp.ping_interval_s,
            silence_s=config.ocpp.silence_s,
            heartbeat_s=config.ocpp.heartbeat_interval_s,
            heartbeat_of=self.provisioning_of.heartbeat_s,
            strict=config.ocpp.strict,
            on_new=self.reloading.charger_added,
            count_refused=lambda status: self.metrics_of.refused.labels(status).inc(),
        )
        self.car_needs = CarNeeds(
            store=self.store, clock=self.clock, ids=self.ids, bell=self.bell, rating_w=self.sockets.rating_w,
        )  # fmt: skip
        self.desk = Desk(
            charging=self.charging_of,
            car_needs=self.car_needs,
            stations=self.stations_of,
            store=self.store,
            clock=self.clock,
            ids=self.ids,
            bell=self.bell,
            costs=self.costs,
            signing=self.trust.signing,
            contracts=self.trust.contracts,
            heartbeat_interval_s=config.ocpp.heartbeat_interval_s,
            heartbeat_of=self.provisioning_of.heartbeat_s,
            pending_interval_s=config.ocpp.pending_interval_s,
            log_heartbeats=config.ocpp.log_heartbeats,
            writer_queue=config.limits.writer_queue,
            strict=config.ocpp.strict,
            on_boot=self.gate.on_boot,
            on_lost=self.lost,
            spawn=self.spawn,
        )
        self.garbled = Garbled(self.stations_of.mint_frame_seq, self.store.submit)
        self.ocpp = OcppServer(
            dialects={Version.V16: Dialect16(self.desk), Version.V201: Dialect201(self.desk)},
            admit=self.gate.admit,
            clock=self.clock.now_ms,
            chance=chance,
            hooks=Hooks(
                on_open=self.gate.on_open,
                on_close=self.gate.on_close,
                on_malformed=self._malformed,
                on_refused=self.gate.on_refused,
                on_version=self.gate.on_version,
            ),
            strict=config.ocpp.strict,
            limits=Limits(max_size=config.ocpp.max_frame_kib * 1024, handshakes_per_s=config.ocpp.handshakes_per_s),
        )
        self.pump = Pump(
            store=self.store,
            stations=self.stations_of,
            charging=self.charging_of,
            clock=self.clock,
            ids=self.ids,
            bell=self.bell,
            link_of=self.link_of,
            call_timeout_s=config.ocpp.call_timeout_s,
            start_window_s=config.limits.start_s,
            sold_start_window_s=config.beckn.start_timeout_s,
            count=lambda outcome: self.metrics_of.calls.labels(outcome).inc(),
        )
        self.reports = Reports(self.store)
        self.calls = Calls(self.store, partial(shaped_of, self.stations_of))
        self.reserving = Reserving(
            store=self.store, stations=self.stations_of, ids=self.ids, bell=self.bell,
            ahead_ms=int(config.limits.reserve_ahead_s * 1000),
        )  # fmt: skip
        self.reserving.listen(self.calls, self.reports)
        self.charging_profiles = ChargingProfiles(store=self.store, ids=self.ids, bell=self.bell)
        self.charging_profiles.listen(self.calls, self.reports)
        self.car_needs.listen(self.reports)
        self.steward = Steward(
            stations=self.stations_of,
            clock=self.clock,
            link_of=self.link_of,
            raw=self.pump.raw,
            spawn=self.spawn,
            steady_s=time.monotonic,
            settle_s=config.ocpp.settle_s,
            at_once=config.ocpp.errands_at_once,
        )
        self._compose_provisioning()  # the first errands are those that others rest on
        ProfileCheck(store=self.store, stations=self.stations_of, steward=self.steward).listen()
        self.trust.join(
            raw=self.pump.raw,
            steward=self.steward,
            reports=self.reports,
            calls=self.calls,
            refused=self.gate.refused,
        )
        self.files = Folder(config.data_dir / config.files.folder)
        self.maintenance = Maintenance(
            store=self.store, files=self.files, stations=self.stations_of, clock=self.clock, ids=self.ids,
            raw=self.pump.raw, steward=self.steward, public_url=config.files.public_url or public_url,
            key=settings.files_key(config), limits=settings.file_limits(config),
        )  # fmt: skip
        self.maintenance.listen(self.calls, self.reports)
        self.mute = Mute(
            store=self.store,
            stations=self.stations_of,
            now_ms=self.clock.now_ms,
            want=self.steward.want,
            mute_s=config.ocpp.mute_s,
        )
        self.steward.errand(MUTE, self.mute.ask)
        self.availability = Availability(self.store)
        AvailabilityEdge(availability=self.availability, steward=self.steward, calls=self.calls, clock=self.clock)
        CostEdge(costs=self.costs, calls=self.calls, reports=self.reports)
        self.displays = Displays(self.store)
        self.displays.listen(self.calls, self.reports)
        transactions = TransactionNews(stations=self.stations_of, charging=self.charging_of, clock=self.clock)
        self.calls.read("GetTransactionStatus", transactions.answered)
        self._compose_local_lists()
        self.station_news = StationNews(
            store=self.store, stations=self.stations_of, charging=self.charging_of, tokens=self.tokens,
            clock=self.clock, on_session_over=self.pump.session_over, on_boot=self.pump.booted,
            on_socket=self.pump.socket_changed,
        )  # fmt: skip

        self.price_feed = settings.price_feed(
            config, store=self.store, clock=self.clock, spawn=self.spawn, on_change=self.reloading.changed
        )

        # buyers
        self.buyers = Buyers(self, public_url)
        self.upkeep = Upkeep(
            store=self.store,
            stations=self.stations_of,
            charging=self.charging_of,
            ordering=self.ordering,
            clock=self.clock,
            frames_days=config.retention.frames_days,
            unused_s=config.limits.unused_s,
            every_second=[
                self.settling.tick,
                *self.buyers.every_second,
                self.mute.tick,
                self.reserving.tick,
                self.maintenance.tick,
                self.price_feed.tick,
                self.costs.tick,
                self.provisioning.tick,
            ],
        )
        self.followers = Followers(self.store, self.bell)

        # the operator API's view
        self.gateways = self.buyers.gateways
        self.books = self.buyers.books
        self.publisher = self.buyers.publisher
        self.fair_use = self.buyers.fair_use
        self.stations = ApiStations(self.stations_of, self.reloading.changed, self.gate.on_boot)
        self.instructing = self.pump
        self.charging = ApiCharging(self.charging_of)
        self.catalogue = ApiCatalogue(self.reloading.changed)
        self.again = Again(self.desk)
        self.tolerance = ApiTolerance(self.profiles, self.stations_of, self.desk.oddities)
        self.credentials = Rotation(
            store=self.store, stations=self.stations_of, passwords=self.passwords, raw=self.pump.raw
        )

    def _compose_provisioning(self) -> None:
        wanted = self.config.provisioning
        collecting = Collecting(self.store, self.reports, wanted.report_s)
        self.triggers = Triggers(time.monotonic)
        self.provisioning = Provisioner(
            book=self.provisioning_of,
            stations=self.stations_of,
            clock=self.clock,
            steward=self.steward,
            collecting=collecting,
            triggers=self.triggers,
            spawn=self.spawn,
            is_inventory_read=wanted.inventory == "first_contact",
            is_auto=wanted.apply == "auto",
            check_every_h=wanted.check_every_h,
        )
        self.provisioning.listen(self.calls, self.reports)
        self.monitoring = Monitoring(
            store=self.store,
            stations=self.stations_of,
            clock=self.clock,
            book=self.provisioning_of,
            collecting=collecting,
            raw=self.pump.raw,
        )
        self.monitoring.listen(self.calls, self.reports)

    def _compose_local_lists(self) -> None:
        access = self.config.access
        self.local_lists = LocalLists(
            store=self.store,
            stations=self.stations_of,
            tokens=self.tokens,
            clock=self.clock,
            default=access.local_lists,
        )
        self.local_list_errand = LocalListErrand(
            store=self.store,
            stations=self.stations_of,
            lists=self.local_lists,
            clock=self.clock,
            steward=self.steward,
            delay_s=access.local_list_delay_s,
        )
        self.local_list_errand.listen(self.calls)

    def _access_changed(self) -> None:
        """Who may charge has changed: what chargers keep of it follows."""
        self.local_lists.changed()

    def link_of(self, station_id: str) -> Link | None:
        """The live link of a charger."""
        station = self.stations_of.get(station_id)
        return station.link if station is not None and isinstance(station.link, Link) else None

    # -- trouble and change

    def lost(self, station: Station) -> None:
        """A commit failed: the memory of this charger is dropped and read again, its link goes meanwhile."""
        if station.reloading:
            return
        station.reloading = True
        if station.link is not None:
            station.link.close(1011, "not stored")
        self.spawn(self._reload(station))

    async def _reload(self, station: Station) -> None:
        pause_s = 0.2
        while True:
            try:
                await self.store.transact(lambda _: None)  # what was handed in before is written, or has failed
                fresh = await self.stations_of.reload(station.id)
            except Exception:
                log.exception("station.reload_failed", station=station.id)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 10)
                continue
            if fresh is not None:
                self.charging_of.watch(fresh)
                if fresh.link is None:
                    now_ms = self.clock.now_ms()
                    self.charging_of.link_down(fresh, now_ms, fresh.last_seen_ms or now_ms)
            return

    async def _refresh_market(self) -> None:
        await self.buyers.market.follow()

    def _ring(self, topics: set[str]) -> None:
        for topic in topics:
            self.bell.ring(topic)

    def _malformed(self, link: Link, reason: str, raw: bytes) -> None:
        self.metrics_of.malformed.labels(reason[:40]).inc()
        self.desk.oddities.ignored(link.context, reason[:40])
        self.garbled.keep(link.context, reason, raw, self.clock.now_ms())
        log.debug("frame.malformed", station=link.identity, reason=reason, raw=raw[:200])

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that this system owns; it ends with the system."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("task.failed", error=repr(task.exception()), exc_info=task.exception())

    # -- the operator API

    async def hash_password(self, password: str) -> str:
        """The stored form of a Basic password."""
        return await self.passwords.hash(password)

    def readiness(self) -> dict[str, tuple[bool, str]]:
        """What must work for this node to be useful."""
        waiting = self.store.waiting()
        is_behind = waiting >= self.config.limits.writer_queue
        failing = self.store.failing
        checks = {
            "store": (failing is None and not is_behind, failing or f"{waiting} writes waiting"),
            "ocpp": (True, f"{len(self.ocpp.links)} chargers connected"),
            "tls": self.trust.readiness(),
        }
        for name, health in self.followers.health.items():
            checks[f"follower:{name}"] = (health.error is None, health.error or f"at {health.cursor}")
        return checks

    def metrics(self) -> bytes:
        """The Prometheus text, with the gauges read now."""
        m = self.metrics_of
        m.links.set(len(self.ocpp.links))
        m.writer_waiting.set(self.store.waiting())
        m.commits.set(self.store.commits)
        m.committed_items.set(self.store.committed_items)
        m.commit_failures.set(self.store.failures)
        m.open_sessions.set(sum(len(s.sessions) for s in self.stations_of.all()))
        for action, count in self.desk.counts.items():
            counter = m.frames.labels(action)
            counter.inc(count - counter._value.get())
        for labels, count in self.desk.oddities.by_model.items():
            counter = m.oddities.labels(*labels)
            counter.inc(count - counter._value.get())
        for outcome, count in self.desk.quarantined.items():
            counter = m.quarantined.labels(outcome)
            counter.inc(count - counter._value.get())
        return m.render()

    async def gauge(self, now_ms: int) -> None:  # noqa: ARG002 - the tick's shape
        """Gauges that need a query, refreshed in the background."""
        cases, callbacks, money = await self.store.read(
            lambda tx: (
                tx.count(Table.CASES, state="open"),
                tx.count(Table.OUTBOX, state=UNSENT),
                tx.count(Table.PAYMENTS, status=("waiting", "sent")),
            )
        )
        self.metrics_of.open_cases.set(cases)
        self.metrics_of.callbacks_waiting.set(callbacks)
        self.metrics_of.money_waiting.set(money)

    # -- life

    async def load(self) -> None:
        """Read what lives in memory."""
        await self.stations_of.load()
        await self.provisioning_of.load()
        self.provisioning.resume()
        await self.dues.load()
        await self.tokens.load(self.clock.now_ms())
        await self.local_lists.load()
        await self.inventory.load()
        self.buyers.market.refresh()
        await self.availability.load()
        await self.costs.load(await learnt(self.store))
        now_ms = self.clock.now_ms()
        for station in self.stations_of.all():
            self.charging_of.watch(station)
            if any(session.link_up for session in station.sessions.values()):
                # The process ended while the link was up: it is not any more.
                self.charging_of.link_down(station, now_ms, station.last_seen_ms or now_ms)

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """Everything that runs beside the listeners."""
        follow = self.followers.run
        return [
            self.followers.tail(),
            self.pump.run(),
            follow(Follower("settling", self.settling.on_facts, SETTLED)),
            follow(Follower("stations", self.station_news.on_facts, StationNews.FOLLOWED)),
            follow(Follower("dues", self.dues.on_facts, Dues.FOLLOWED)),
            follow(Follower("otps", self.otp_sending.on_facts, OtpSending.FOLLOWED)),
            follow(Follower("local-lists", self.local_list_errand.on_facts, LocalListErrand.FOLLOWED)),
            *(follow(follower) for follower in self.buyers.followers),
            follow(Follower("reports", self.reports.on_facts, Reports.FOLLOWED)),
            follow(Follower("calls", self.calls.on_facts, Calls.FOLLOWED)),
            follow(Follower("reservations", self.reserving.on_facts, Reserving.FOLLOWED)),
            follow(Follower("profiles", self.charging_profiles.on_facts, ChargingProfiles.FOLLOWED)),
            follow(Follower("car needs", self.car_needs.on_facts, CarNeeds.FOLLOWED)),
            follow(Follower("costs", self.costs.on_facts, Costs.FOLLOWED)),
            follow(Follower("displays", self.displays.on_facts, Displays.FOLLOWED)),
            follow(Follower("steward", self.steward.on_facts, self.steward.followed)),
            follow(Follower("firmware", self.maintenance.upgrading.on_facts, Upgrading.FOLLOWED)),
            self.steward.run(),
            self.trust.signing.watch(),
            *self.buyers.work(),
            self.paying.run(),
            self.upkeep.run(),
            self.books.run(),
            self._gauges(),
        ]

    async def _gauges(self) -> None:
        while True:
            with suppress(Exception):
                await self.gauge(self.clock.now_ms())
            await asyncio.sleep(5)

    async def end_tasks(self) -> None:
        """Cancel what still runs."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.payments.close()
