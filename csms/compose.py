"""The composition root: Config -> running system. The only file that knows every concrete thing.

Read it top to bottom: storage, memory, use cases, edges, listeners, workers. `run` brings it up, says `ready`, waits
for SIGTERM and takes it down in the opposite order: stop listening, answer what was read, stop the workers, commit.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import errno
import fcntl
import gc
import os
import random
import secrets
import signal
import socket
import sqlite3
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib import metadata
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from nacl.signing import SigningKey

from beckn_adapter import signing
from beckn_adapter.callbacks import Callbacks
from beckn_adapter.catalog import ProviderView
from beckn_adapter.dispatch import Dispatch, Voice
from beckn_adapter.envelope import Endpoint
from beckn_adapter.http import Receiver
from beckn_adapter.market import Market
from beckn_adapter.notices import FOLLOWED as NOTICED
from beckn_adapter.notices import Notices
from beckn_adapter.progress import page_of
from beckn_adapter.registry import Registry, RegistryProblem, StaticRegistry, Subscriber
from beckn_adapter.v2.encode import Contact
from beckn_adapter.v2.orders import Speaker, driver_names
from csms.api.server import build_operator_app
from csms.app.availability import Availability
from csms.app.buying import Buying
from csms.app.calls import Calls
from csms.app.carneeds import CarNeeds
from csms.app.catalogue import Inventory, Offering
from csms.app.charging import Charging
from csms.app.chargingprofiles import ChargingProfiles
from csms.app.costs import Costs
from csms.app.displays import Displays
from csms.app.dues import Dues
from csms.app.follow import Followers
from csms.app.locallists import LocalLists
from csms.app.news import StationNews
from csms.app.ordering import Ordering, Selling
from csms.app.paying import Paying
from csms.app.provisioning import Provisioning
from csms.app.reports import Reports
from csms.app.reserving import Reserving
from csms.app.settling import FOLLOWED as SETTLED
from csms.app.settling import Settling, SettlingRules
from csms.app.stations import Station, Stations
from csms.app.tokens import AccessRules, Tokens
from csms.app.transactions import TransactionNews
from csms.app.upgrading import Upgrading
from csms.app.upkeep import Upkeep
from csms.bus.inprocess import InProcessBell
from csms.config import Config, decode_seed
from csms.domain.clock import ClockModel
from csms.domain.connector import Sale, Socket, sale
from csms.domain.order import Order
from csms.domain.reported import SocketStatus
from csms.domain.session import Timing
from csms.domain.tariff import Pattern
from csms.edges.availability import AvailabilityEdge
from csms.edges.collecting import Collecting
from csms.edges.exchange import Desk
from csms.edges.gate import Gate, Passwords, Rotation
from csms.edges.locallists import LocalListErrand
from csms.edges.maintenance import FileLimits, Maintenance
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
from csms.edges.public import PublicPages, guarded
from csms.edges.pump import Pump
from csms.edges.steward import Steward
from csms.edges.tls import TlsProblem, check_files
from csms.edges.triggers import Triggers
from csms.edges.trust import Trust, TrustSettings
from csms.observe import Metrics, configure_logging
from csms.payments.simulated import SimulatedGateway
from csms.ports import Follower, Table
from csms.storage.files import Folder
from csms.storage.migrate import DatabaseProblem, migrate_sqlite
from csms.storage.sqlite import SqliteStore
from firmware_profiles.load import Profiles
from firmware_profiles.load import load as load_profiles
from firmware_profiles.schema import ProfileProblem

log = structlog.get_logger()

_M_MMAP_THRESHOLD = -3  # malloc.h; named, it stays where it is put
_API_DRAIN_S = 1.0  # the operator's open streams; SIGTERM must be done in 10 s (SURFACES 2)
_RELOAD_WAIT_S = 1.0  # a discover or select during a reload of the inventory


class ServeProblem(Exception):
    """The server cannot start; the text says why and what to do."""


class RealClock:
    """`ports.Clock`: the wall clock, in UTC."""

    def now_ms(self) -> int:
        """UTC milliseconds since the epoch."""
        return time.time_ns() // 1_000_000


class RealIds:
    """`ports.Ids`: randomness of the operating system."""

    def uuid(self) -> str:
        """A UUIDv7 (RFC 9562): 48 bits of time, the rest random."""
        value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
        value = value & ~(0xF << 76) | 7 << 76
        value = value & ~(3 << 62) | 2 << 62
        return str(uuid.UUID(int=value))

    def uuid4(self) -> str:
        """A random UUID."""
        return str(uuid.uuid4())

    def secret(self) -> str:
        """192 bits."""
        return secrets.token_urlsafe(24)


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

    stations: Stations
    charging: Charging

    async def close_session(self, session_id: str, reason: str, who: str) -> None:
        """End a session that no fact will end."""
        await self.charging.close_session(session_id, reason, who)

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
    """Everything that runs. Built by `compose`; the operator API sees it as `csms.api.system.System`."""

    def __init__(self, config: Config, public_url: str) -> None:
        self.config = config
        self.version = metadata.version("csms-bpp")
        self.node = config.node
        self.clock = RealClock()
        self.ids = RealIds()
        self.bell = InProcessBell()
        self.metrics_of = Metrics()
        self.bootstrap_key = _bootstrap_key(config)
        self.store = SqliteStore(config.sqlite_path, self._ring)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reloading: asyncio.Task[None] | None = None

        # memory
        self.profiles = _profiles()
        self.stations_of = Stations(self.store, self.clock, self.profiles)
        self.dues = Dues(
            self.store,
            names_of=lambda order: driver_names(order.wire),
            blocks=config.access.block_on_due != "off",
            on_change=self._access_changed,
        )
        self.tokens = Tokens(
            self.store,
            AccessRules(config.access.master_pass_group, config.access.one_session_at_a_time),
            dues=self.dues.of,
            power_type_of=self.power_type_of,
        )
        self.inventory = Inventory(self.store, config.beckn.provider_id)

        # use cases
        self.provisioning_of = Provisioning(self.store, self.stations_of, self.clock, config.provisioning.template)
        self.charging_of = Charging(
            store=self.store,
            stations=self.stations_of,
            tokens=self.tokens,
            clock=self.clock,
            ids=self.ids,
            bell=self.bell,
            timing=_timing(config),
            on_lost=self.lost,
        )
        self.payments = SimulatedGateway(
            public_url=config.payments.public_url or public_url,
            vpa=config.payments.upi_vpa,
            name=config.payments.upi_name,
        )
        self.ordering = Ordering(
            inventory=self.inventory,
            sockets=self,
            payments=self.payments,
            ids=self.ids,
            selling=_selling(config),
            is_in_debt=self._is_in_debt,
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
        self.paying = Paying(store=self.store, payments=self.payments, clock=self.clock, ids=self.ids, bell=self.bell)

        # chargers
        self.costs = Costs(
            store=self.store, inventory=self.inventory, stations=self.stations_of, ids=self.ids, bell=self.bell,
            every_s=config.ocpp.cost_every_s,
        )  # fmt: skip
        self.passwords = Passwords()
        self.trust = Trust(
            _trust_settings(config),
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
            strict=config.ocpp.strict,
            on_new=self.reload_inventory,
            count_refused=lambda status: self.metrics_of.refused.labels(status).inc(),
        )
        self.car_needs = CarNeeds(
            store=self.store, clock=self.clock, ids=self.ids, bell=self.bell, rating_w=self.rating_w,
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
        self.ocpp = OcppServer(
            dialects={Version.V16: Dialect16(self.desk), Version.V201: Dialect201(self.desk)},
            admit=self.gate.admit,
            clock=self.clock.now_ms,
            chance=random.random,
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
        self.calls = Calls(self.store)
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
            key=_files_key(config), limits=_file_limits(config),
        )  # fmt: skip
        self.maintenance.listen(self.reports, self.calls)
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

        # buyers
        self._compose_beckn(public_url)
        self.buying = Buying(store=self.store, ordering=self.ordering, clock=self.clock, bell=self.bell, page=page_of)
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
                self.notices.tick,
                self.mute.tick,
                self.reserving.tick,
                self.maintenance.tick,
                self.costs.tick,
                self.provisioning.tick,
            ],
        )
        self.followers = Followers(self.store, self.bell)

        # the operator API's view
        self.stations = ApiStations(self.stations_of, self.reload_inventory, self.gate.on_boot)
        self.instructing = self.pump
        self.charging = ApiCharging(self.stations_of, self.charging_of)
        self.catalogue = ApiCatalogue(self.reload_inventory)
        self.tolerance = ApiTolerance(self.profiles, self.stations_of, self.desk.oddities)
        self.credentials = Rotation(
            store=self.store, stations=self.stations_of, passwords=self.passwords, raw=self.pump.raw
        )

    def _compose_provisioning(self) -> None:
        wanted = self.config.provisioning
        collecting = Collecting(self.store, self.clock, self.reports, wanted.report_s)
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
        self.provisioning.register(self.calls, self.reports)
        self.monitoring = Monitoring(
            store=self.store,
            stations=self.stations_of,
            clock=self.clock,
            book=self.provisioning_of,
            collecting=collecting,
            raw=self.pump.raw,
        )
        self.monitoring.register(self.calls, self.reports)

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

    def _compose_beckn(self, public_url: str) -> None:
        beckn = self.config.beckn
        seed = _beckn_seed(self.config)
        bpp = Endpoint(beckn.subscriber_id, beckn.bpp_uri or f"{public_url}/beckn/bpp/receiver")
        self.registry = _registry(self.config)
        provider = ProviderView(provider_id=beckn.provider_id, name=beckn.provider_name)
        self.market = Market(
            self.inventory,
            provider,
            self.sale_of,
            connector_enum=beckn.connector_enum,
            circle_km=beckn.circle_km,
            max_items=beckn.max_items,
        )
        voice = Voice(
            speaker=Speaker(
                bpp=bpp,
                provider_id=beckn.provider_id,
                connector_enum=beckn.connector_enum,
                settlement_account=_account(self.config),
                grace_minutes=10,
            ),
            contact=Contact(name=beckn.provider_name, channels=("PHONE",)),
            public_url=self.config.payments.public_url or public_url,
            caller_url=beckn.caller_url if beckn.mode == "onix" else None,
            lenient=beckn.lenient_order_ids,
        )
        self.dispatch = Dispatch(
            store=self.store,
            bell=self.bell,
            clock=self.clock,
            ids=self.ids,
            ordering=self.ordering,
            tokens=self.tokens,
            market=self.market,
            socket=self.socket_of_order,
            voice=voice,
            spawn=self.spawn,
            ready=self.inventory_loaded,
        )
        self.notices = Notices(
            store=self.store,
            bell=self.bell,
            clock=self.clock,
            ids=self.ids,
            market=self.market,
            socket=self.socket_of_order,
            voice=voice,
            long_break_ms=int(beckn.long_break_s * 1000),
        )
        self.receiver = Receiver(
            store=self.store,
            bell=self.bell,
            clock=self.clock,
            registry=self.registry if beckn.mode == "direct" else None,
            subscriber_id=beckn.subscriber_id,
            check=self.dispatch.check,
            clock_ahead_s=beckn.clock_ahead_s,
            clock_behind_s=beckn.clock_behind_s,
            body_limit=beckn.body_kib * 1024,
            requests_per_min=beckn.requests_per_min,
            discover_per_min=beckn.discover_per_min,
            reject_stale=beckn.reject_stale,
            private_callbacks=beckn.callback_hosts_private,
            legacy_ack={"auto": beckn.mode == "onix" or None, "legacy": True, "v2": False}[beckn.ack_shape] or None,
            count=lambda action, outcome: self.metrics_of.beckn_requests.labels(action, outcome).inc(),
            took=self.metrics_of.ack_seconds.observe,
        )

        def authorize(body: bytes, now_ms: int) -> str | None:
            if beckn.mode == "onix":
                return None
            created_s, expires_s = signing.validity(now_ms // 1000)
            return signing.sign(
                body, beckn.subscriber_id, beckn.unique_key_id, seed, created_s=created_s, expires_s=expires_s
            )

        self.callbacks = Callbacks(
            store=self.store,
            bell=self.bell,
            clock=self.clock,
            ids=self.ids,
            authorize=authorize,
            timeout_s=beckn.callback_timeout_s,
            retry_s=beckn.callback_retry_s,
            count=lambda action, outcome: self.metrics_of.callbacks.labels(action, outcome).inc(),
        )

    # -- what the use cases ask of the world of chargers (`ordering.Sockets`)

    def status(self, station: str, evse: int, connector: int) -> SocketStatus | None:
        """The last reported status."""
        found = self.stations_of.get(station)
        if found is None:
            return None
        told = found.sockets.get((evse, self.connector_on_wire(station, evse, connector)))
        return told.status if told is not None else None

    def is_online(self, station: str) -> bool:
        """Whether the charger can be reached."""
        found = self.stations_of.get(station)
        return found is not None and found.online

    def connector_on_wire(self, station: str, evse: int, connector: int) -> int:
        """1.6 numbers connectors alone: there the EVSE's number is the connector's."""
        found = self.stations_of.get(station)
        return evse if found is not None and found.transport == Version.V16.value else connector

    def socket_of_order(self, order: Order) -> tuple[SocketStatus | None, bool]:
        """(status, online) of an order's connector."""
        return self.status(order.station, order.evse, order.connector), self.is_online(order.station)

    def sale_of(self, offering: Offering) -> Sale:
        """Whether a connector can be sold now."""
        station = self.stations_of.get(offering.station)
        nothing = Socket(offering.evse, offering.connector)
        now_ms = self.clock.now_ms()
        if station is None:
            return sale(nothing, now_ms=now_ms, link_up=False)
        connector = self.connector_on_wire(offering.station, offering.evse, offering.connector)
        return sale(
            station.sockets.get((offering.evse, connector), nothing),
            now_ms=now_ms,
            link_up=station.online,
            link_lost_ms=station.link_closed_ms,
            station=station.sockets.get((0, 0)),
            is_in_session=any(s.evse == offering.evse for s in station.sessions.values()),
        )

    def power_type_of(self, station: str, evse: int, connector: int) -> str | None:
        """AC or DC, where the catalogue knows the connector."""
        offering = self.inventory.at(station, evse, connector)
        return None if offering is None else "DC" if offering.power_type == "DC" else "AC"

    def _is_in_debt(self, wire: Mapping[str, Any]) -> bool:
        """Whether the buyer of an order owes for another one, and that counts for orders."""
        return self.config.access.block_on_due == "all" and bool(self.dues.of_names(driver_names(wire)))

    def _access_changed(self) -> None:
        """Who may charge has changed: what chargers keep of it follows."""
        self.local_lists.changed()

    def rating_w(self, station_id: str, evse: int, connector: int) -> int | None:
        """What a socket gives at most, by its location."""
        offering = self.inventory.at(station_id, evse, connector)
        return offering.max_power_w if offering is not None else None

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

    def reload_inventory(self) -> None:
        """Locations, tariffs, offers or chargers changed; many changes in a row are one reload."""
        if self._reloading is None or self._reloading.done():
            self._reloading = self.spawn(self._reload_inventory())
        else:
            self._reload_again = True

    _reload_again = False

    async def inventory_loaded(self) -> None:
        """Return when what operators have put is for sale; soon in any case, a buyer does not wait for ever."""
        reloading = self._reloading
        if reloading is not None and not reloading.done():
            await asyncio.wait([reloading], timeout=_RELOAD_WAIT_S)

    async def _reload_inventory(self) -> None:
        while True:
            self._reload_again = False
            await asyncio.sleep(0.02)
            before_ms = self.clock.now_ms()
            await self.inventory.load()
            self.market.refresh()
            if not self._reload_again:
                return
            # A big inventory that changes all the time must not eat the loop.
            await asyncio.sleep((self.clock.now_ms() - before_ms) / 1000 * 3)

    def _ring(self, topics: set[str]) -> None:
        for topic in topics:
            self.bell.ring(topic)

    def _malformed(self, link: Link, reason: str, raw: bytes) -> None:
        self.metrics_of.malformed.labels(reason[:40]).inc()
        self.desk.oddities.ignored(link.context, reason[:40])
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
                tx.count(Table.OUTBOX, state="waiting"),
                tx.count(Table.PAYMENTS, status="waiting"),
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
        self.market.refresh()
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
            follow(Follower("local-lists", self.local_list_errand.on_facts, LocalListErrand.FOLLOWED)),
            follow(Follower("notices", self.notices.on_facts, NOTICED)),
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
            self.dispatch.run(),
            self.callbacks.run(),
            self.paying.run(),
            self.upkeep.run(),
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


async def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT. Raises ServeProblem when it cannot start."""
    _tune_malloc(asyncio.get_running_loop())
    configure_logging(config.telemetry.log_level, config.telemetry.log_json)
    lock = _prepare(config)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)

    public = _listen(config.beckn.host, config.beckn.port, "beckn")
    public_url = _url(config.beckn.host, public)
    system = System(config, public_url)
    try:
        system.files.open()
    except OSError as error:
        raise ServeProblem(f"files.folder cannot be used: {error.filename}: {error.strerror}") from error
    try:
        await system.store.start()
    except sqlite3.Error as error:
        raise ServeProblem(f"{config.sqlite_path} cannot be used as a database: {error}") from error
    runners: list[web.AppRunner] = []
    workers: list[asyncio.Task[Any]] = []
    try:
        await system.load()
        try:
            await system.ocpp.start(config.ocpp.host, config.ocpp.port)
        except OSError as error:
            raise ServeProblem(_taken("ocpp", config.ocpp.host, config.ocpp.port, error)) from error
        over_tls = await _listen_over_tls(system)
        operator = _listen(config.api.host, config.api.port, "api")
        runners += [
            await _serve(build_operator_app(system), operator),
            await _serve(_public_app(system), public),
        ]
        workers = [system.spawn(work) for work in system.work()]
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        _say(f"ready ocpp ws://{_host(config.ocpp.host)}:{system.ocpp.port}/ocpp")
        for listener, url in over_tls.items():
            _say(f"ready {listener} {url}")
        _say(f"ready api {_url(config.api.host, operator)}")
        _say(f"ready public {public_url}")
        _say("ready")
        await _until_stopped_or_failed(stopping, workers)
    finally:
        await system.ocpp.stop()
        for runner in runners:
            await runner.cleanup()
        system.charging_of.save_meters()
        system.upkeep.flush_seen()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        await system.end_tasks()
        await system.store.stop()
        lock.close()


async def _listen_over_tls(system: System) -> dict[str, str]:
    """Open the TLS listeners that are configured; their names and addresses."""
    config, trust = system.config, system.trust
    tls, host = config.tls, config.tls.host or config.ocpp.host
    trust.plain_url = f"ws://{_host(config.ocpp.host)}:{system.ocpp.port}/ocpp"
    trust.tls_url = tls.public_url
    opened: dict[str, str] = {}
    listeners = [("ocpps", tls.port, False), ("ocpps-relic", tls.relic_port, True)]
    for name, port, is_relic in listeners if tls.certificate is not None else []:
        if port is None:
            continue
        try:
            door = trust.door(is_relic=is_relic, on_failed=lambda why: system.gate.on_refused(None, why, "?"))
            bound = await system.ocpp.start(host, port, ssl=door.context, is_relic=is_relic)
        except TlsProblem as problem:
            raise ServeProblem(f"tls: {problem}") from problem
        except OSError as error:
            key = "tls.relic_port" if is_relic else "tls.port"
            raise ServeProblem(_taken("tls", host, port, error).replace("tls.port", key)) from error
        opened[name] = f"wss://{_host(host)}:{bound}/ocpp"
    trust.tls_url = tls.public_url or opened.get("ocpps")
    return opened


async def _until_stopped_or_failed(stopping: asyncio.Event, workers: list[asyncio.Task[Any]]) -> None:
    """A worker that ends is a bug: better to stop with a message than to serve half a system."""
    stop = asyncio.ensure_future(stopping.wait())
    done, _ = await asyncio.wait([stop, *workers], return_when=asyncio.FIRST_COMPLETED)
    if stop not in done:
        stop.cancel()
        failed = next(iter(done))
        raise ServeProblem(f"a worker ended: {failed.exception()!r}")


def _tune_malloc(loop: asyncio.AbstractEventLoop) -> None:
    """Buffers of 256 KiB: stock asyncio takes and frees one for every read, uvloop keeps one per TLS connection."""
    if isinstance(loop, asyncio.SelectorEventLoop):
        bytearray(1 << 20)  # raises glibc's mmap threshold: without it every read costs an mmap (SPEED A)
        return
    # Mapped by itself, such a buffer costs only the pages that are touched; on the heap it takes over dirty ones.
    with suppress(OSError, AttributeError):  # glibc only
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 192 << 10)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _prepare(config: Config) -> Any:
    """Folder, lock, schema. One process owns a data folder."""
    path = config.sqlite_path
    try:
        config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("w")
    except OSError as error:
        raise ServeProblem(f"data_dir cannot be used: {error.filename}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ServeProblem(f"another server is using {path}; stop it or set another data_dir") from error
    try:
        done = migrate_sqlite(path, stamp=datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"))
    except DatabaseProblem as problem:
        raise ServeProblem(str(problem)) from problem
    if done.changed:
        log.info(
            "store.migrated", before=done.before, after=done.after, backup=str(done.backup) if done.backup else None
        )
    return lock


def _listen(host: str, port: int, section: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ServeProblem(_taken(section, host, port, error)) from error
    return listener


def _taken(section: str, host: str, port: int, error: OSError) -> str:
    if error.errno in {errno.EADDRINUSE, errno.EACCES}:
        return f"cannot listen on port {port} ({error.strerror}); set {section}.port to a free one, or to 0 for any"
    return f"cannot listen on {host!r} ({error.strerror}); set {section}.host to an address of this machine"


def _host(host: str) -> str:
    """A host that can be called: the wildcard is nobody's address."""
    shown = "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 - compared, not bound
    return f"[{shown}]" if ":" in shown else shown


def _url(host: str, listener: socket.socket) -> str:
    return f"http://{_host(host)}:{listener.getsockname()[1]}"


async def _serve(app: web.Application, listener: socket.socket) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_API_DRAIN_S)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner


def _public_app(system: System) -> web.Application:
    @web.middleware
    async def safe(request: web.Request, handler: Any) -> web.StreamResponse:
        answer: web.StreamResponse = await guarded(handler)(request)
        return answer

    app = web.Application(middlewares=[safe], client_max_size=system.config.beckn.body_kib * 1024)
    secret = system.config.payments.webhook_secret
    pages = PublicPages(
        system.buying,
        simulated=system.config.payments.provider == "simulated",
        webhook_secret=secret.get_secret_value() if secret is not None else None,
    )
    app.add_routes(system.receiver.routes())
    app.add_routes(pages.routes())
    app.add_routes(system.maintenance.routes())
    return app


# --- from configuration to the domain's words


def _profiles() -> Profiles:
    try:
        return load_profiles()
    except ProfileProblem as problem:
        raise ServeProblem(f"a firmware profile cannot be used: {problem}") from problem


def _timing(config: Config) -> Timing:
    limits = config.limits
    return Timing(
        start_s=int(limits.start_s),
        notify_s=limits.notify_s,
        drain_s=limits.drain_s,
        drain_max_s=limits.drain_max_s,
        bootstop_s=limits.bootstop_s,
        resume_s=limits.resume_s,
        stop_s=limits.stop_s,
        stop_tries=limits.stop_tries,
        data_online_s=limits.data_online_s,
        data_offline_s=limits.data_offline_s,
        abandon_min_s=limits.abandon_min_s,
        abandon_max_s=limits.abandon_max_s,
        final_s=limits.final_s,
    )


def _selling(config: Config) -> Selling:
    return Selling(
        pattern=Pattern(config.payments.pattern),
        absorb_cap_minor=int(Decimal(str(config.payments.absorb_cap)) * 100),
        quote_life_ms=int(config.limits.quote_life_s * 1000),
        currency=config.beckn.currency,
        lenient_order_ids=config.beckn.lenient_order_ids,
        claims=config.payments.claims and config.payments.provider == "simulated",
    )


def _account(config: Config) -> Mapping[str, str]:
    account = {"beneficiaryId": config.beckn.subscriber_id, **config.payments.settlement_account}
    account.setdefault("accountHolderName", config.beckn.provider_name)
    account.setdefault("vpa", config.payments.upi_vpa)
    return account


def check_names(config: Config) -> None:
    """What a configuration names and serving would trip over. Raises ServeProblem or ConfigProblem."""
    _registry(config)
    _check_tls(config)
    if config.beckn.signing_key is not None or config.beckn.signing_key_file is not None:
        _beckn_seed(config)


def _trust_settings(config: Config) -> TrustSettings:
    tls = config.tls
    named = ((tls.certificate, tls.key), (tls.certificate_rsa, tls.key_rsa))
    return TrustSettings(
        folder=config.data_dir,
        pairs=tuple((certificate, key) for certificate, key in named if certificate is not None and key is not None),
        client_ca=tls.client_ca,
        organization=tls.organization,
        authority=tls.ca,
        authority_name=tls.organization or config.beckn.provider_name,
        authority_url=tls.ca_url,
        authority_timeout_s=tls.ca_timeout_s,
        certificate_days=tls.certificate_days,
        renew_before_days=tls.renew_before_days,
        ocsp_url=tls.ocsp_url,
        ocsp_private_hosts=frozenset(tls.ocsp_private_hosts),
        ocsp_timeout_s=tls.ocsp_timeout_s,
        contract_ca=tls.contract_ca,
        ev_certificate_url=tls.ev_certificate_url,
    )


def _check_tls(config: Config) -> None:
    settings = _trust_settings(config)
    try:
        check_files(settings.pairs, settings.client_ca, RealClock().now_ms())
    except TlsProblem as problem:
        raise ServeProblem(f"tls: {problem}") from problem


def _bootstrap_key(config: Config) -> str:
    if config.api.bootstrap_key is not None:
        return config.api.bootstrap_key.get_secret_value()
    return _secret_file(config.data_dir / "bootstrap-key", secrets.token_urlsafe(32))


def _files_key(config: Config) -> bytes:
    """What the tickets of firmware downloads are made with."""
    return _secret_file(config.data_dir / "files-key", secrets.token_urlsafe(32)).encode()


def _file_limits(config: Config) -> FileLimits:
    files = config.files
    return FileLimits(
        upload_bytes=files.upload_mib * 1024 * 1024,
        firmware_bytes=files.firmware_mib * 1024 * 1024,
        upload_life_s=files.upload_life_s,
        download_life_s=files.download_life_s,
        logs_days=files.logs_days,
    )


def _beckn_seed(config: Config) -> bytes:
    beckn = config.beckn
    if beckn.signing_key is not None:
        text = beckn.signing_key.get_secret_value()
    elif beckn.signing_key_file is not None:
        try:
            text = beckn.signing_key_file.read_text(encoding="utf-8")
        except OSError as error:
            raise ServeProblem(f"beckn.signing_key_file: cannot read {error.filename}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ServeProblem(f"beckn.signing_key_file: {beckn.signing_key_file} is not base64") from error
    else:
        text = _secret_file(config.data_dir / "beckn-seed", base64.b64encode(bytes(SigningKey.generate())).decode())
    raw = decode_seed(text)
    seed = raw[:32]
    if len(raw) == 64 and bytes(SigningKey(seed).verify_key) != raw[32:]:
        raise ServeProblem("beckn.signing_key: its second half is not the public key of its first half")
    return seed


def _secret_file(path: Path, fresh: str) -> str:
    """The secret in a 0600 file, made on first use."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="utf-8").strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(fresh + "\n")
    return fresh


class FileRegistry:
    """A static registry whose file is read again when it has changed, so that partners come without a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listed = StaticRegistry.open(path)

    async def lookup(self, subscriber_id: str, key_id: str, now_ms: int) -> Subscriber | None:
        """See `registry.Registry`. A file that cannot be read leaves the keys known so far in force."""
        with suppress(OSError, RegistryProblem):
            self._listed.reload_if_changed(self._path.stat().st_mtime_ns)
        return await self._listed.lookup(subscriber_id, key_id, now_ms)


def _registry(config: Config) -> Registry:
    where = config.beckn.registry
    if not where:
        return StaticRegistry()
    kind, _, rest = where.partition(":")
    if kind != "static":
        raise ServeProblem(f"beckn.registry: {kind} is not supported yet; use static:FILE")
    try:
        return FileRegistry(Path(rest))
    except RegistryProblem as problem:
        raise ServeProblem(f"beckn.registry: {problem}") from problem
