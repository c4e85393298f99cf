"""The buyers' half of the composition root: everything between the network, the driver's phone and the order.

`compose.System` has built storage, memory and use cases; here they meet the public listener. Read it top to bottom:
who we are, what we sell, what comes in, what goes out, what drivers open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from aiohttp import web

from beckn_adapter import signing
from beckn_adapter.callbacks import Callbacks
from beckn_adapter.catalog import ProviderView
from beckn_adapter.codecs import Codecs
from beckn_adapter.dispatch import Dispatch, Voice
from beckn_adapter.envelope import Endpoint
from beckn_adapter.http import Receiver
from beckn_adapter.market import Market
from beckn_adapter.notices import FOLLOWED as NOTICED
from beckn_adapter.notices import Notices
from beckn_adapter.progress import page_of
from beckn_adapter.speaking import Contact, Speaker
from beckn_adapter.v2.codec import V2Codec
from csms import settings
from csms.app.buying import Buying
from csms.app.catalogue import Inventory
from csms.app.ordering import Ordering
from csms.app.reloading import Reloading
from csms.app.sockets import Sockets
from csms.app.tokens import Tokens
from csms.bus.inprocess import InProcessBell
from csms.config import Config
from csms.edges.public import PublicPages
from csms.observe import Metrics
from csms.ports import Follower
from csms.realworld import RealClock, RealIds
from csms.storage.sqlite import SqliteStore


class Base(Protocol):
    """What `compose.System` has built before it comes here."""

    config: Config
    store: SqliteStore
    clock: RealClock
    ids: RealIds
    bell: InProcessBell
    metrics_of: Metrics
    inventory: Inventory
    sockets: Sockets
    tokens: Tokens
    reloading: Reloading
    ordering: Ordering

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that ends with the system."""
        ...


class Buyers:
    """What runs for buyers. `system` is complete as far as use cases go."""

    def __init__(self, system: Base, public_url: str) -> None:
        self._system = system
        self._public_url = system.config.payments.public_url or public_url
        beckn = system.config.beckn
        self._bpp = Endpoint(beckn.subscriber_id, beckn.bpp_uri or f"{public_url}/beckn/bpp/receiver")
        self._is_direct = beckn.mode == "direct"
        self.registry = settings.registry(system.config)
        self.codecs = self._codecs()
        self.market = self._market()
        self._voice = Voice(
            codecs=self.codecs,
            contact=Contact(name=beckn.provider_name, channels=("PHONE",)),
            public_url=self._public_url,
            caller_url=None if self._is_direct else beckn.caller_url,
            lenient=beckn.lenient_order_ids,
        )
        self.dispatch = self._dispatch()
        self.receiver = self._receiver()
        self.notices = self._notices()
        self.callbacks = self._callbacks()
        self.buying = Buying(
            store=system.store, ordering=system.ordering, clock=system.clock, bell=system.bell, page=page_of
        )

    # -- what compose takes over

    @property
    def every_second(self) -> list[Callable[[int], Awaitable[None]]]:
        """What is looked after once a second, given UTC milliseconds."""
        return [self.notices.tick]

    @property
    def followers(self) -> list[Follower]:
        """Readers of the journal."""
        return [Follower("notices", self.notices.on_facts, NOTICED)]

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What runs beside the listeners."""
        return [self.dispatch.run(), self.callbacks.run()]

    def routes(self) -> list[web.RouteDef]:
        """The public listener."""
        payments = self._system.config.payments
        secret = payments.webhook_secret
        pages = PublicPages(
            self.buying,
            simulated=payments.provider == "simulated",
            webhook_secret=secret.get_secret_value() if secret is not None else None,
        )
        return [*self.receiver.routes(), *pages.routes()]

    # -- who we are, what we sell

    def _codecs(self) -> Codecs:
        config = self._system.config
        beckn = config.beckn
        speaker = Speaker(
            bpp=self._bpp,
            provider_id=beckn.provider_id,
            provider_name=beckn.provider_name,
            connector_enum=beckn.connector_enum,
            settlement_account=settings.account(config),
            grace_minutes=10,
        )
        return Codecs([V2Codec(speaker)], beckn.domains)

    def _market(self) -> Market:
        system, beckn = self._system, self._system.config.beckn
        return Market(
            system.inventory,
            ProviderView(provider_id=beckn.provider_id, name=beckn.provider_name),
            system.sockets.sale_of,
            connector_enum=beckn.connector_enum,
            circle_km=beckn.circle_km,
            max_items=beckn.max_items,
        )

    # -- what comes in

    def _dispatch(self) -> Dispatch:
        system = self._system
        return Dispatch(
            store=system.store,
            bell=system.bell,
            clock=system.clock,
            ids=system.ids,
            ordering=system.ordering,
            tokens=system.tokens,
            market=self.market,
            socket=system.sockets.socket_of_order,
            voice=self._voice,
            spawn=system.spawn,
            ready=system.reloading.done,
        )

    def _receiver(self) -> Receiver:
        system, beckn = self._system, self._system.config.beckn
        metrics = system.metrics_of
        return Receiver(
            store=system.store,
            bell=system.bell,
            clock=system.clock,
            registry=self.registry if self._is_direct else None,
            subscriber_id=beckn.subscriber_id,
            codecs=self.codecs,
            check=self.dispatch.check,
            clock_ahead_s=beckn.clock_ahead_s,
            clock_behind_s=beckn.clock_behind_s,
            body_limit=beckn.body_kib * 1024,
            requests_per_min=beckn.requests_per_min,
            discover_per_min=beckn.discover_per_min,
            reject_stale=beckn.reject_stale,
            private_callbacks=beckn.callback_hosts_private,
            legacy_ack={"auto": not self._is_direct or None, "legacy": True, "v2": False}[beckn.ack_shape] or None,
            count=lambda action, outcome: metrics.beckn_requests.labels(action, outcome).inc(),
            took=metrics.ack_seconds.observe,
        )

    # -- what goes out

    def _notices(self) -> Notices:
        system = self._system
        return Notices(
            store=system.store,
            bell=system.bell,
            clock=system.clock,
            ids=system.ids,
            market=self.market,
            socket=system.sockets.socket_of_order,
            voice=self._voice,
            long_break_ms=int(system.config.beckn.long_break_s * 1000),
        )

    def _callbacks(self) -> Callbacks:
        system, beckn = self._system, self._system.config.beckn
        metrics = system.metrics_of
        seed = settings.beckn_seed(system.config)

        def authorize(body: bytes, now_ms: int) -> str | None:
            if not self._is_direct:
                return None  # the adapter in front of us signs
            created_s, expires_s = signing.validity(now_ms // 1000)
            return signing.sign(
                body, beckn.subscriber_id, beckn.unique_key_id, seed, created_s=created_s, expires_s=expires_s
            )

        return Callbacks(
            store=system.store,
            bell=system.bell,
            clock=system.clock,
            ids=system.ids,
            authorize=authorize,
            timeout_s=beckn.callback_timeout_s,
            retry_s=beckn.callback_retry_s,
            count=lambda action, outcome: metrics.callbacks.labels(action, outcome).inc(),
        )
