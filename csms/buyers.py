"""The buyers' half of the composition root: everything between the network, the driver's phone and the order.

`compose.System` has built storage, memory and use cases; here they meet the public listener. Read it top to bottom:
who we are, what we sell, what comes in, what goes out, what drivers open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol

from aiohttp import web

from beckn_adapter.callbacks import Callbacks
from beckn_adapter.catalog import ProviderView
from beckn_adapter.codecs import V2, V2_UBC, Codecs
from beckn_adapter.dispatch import Dispatch, Voice
from beckn_adapter.envelope import Endpoint
from beckn_adapter.http import BASES, Receiver
from beckn_adapter.market import Market
from beckn_adapter.notices import FOLLOWED as NOTICED
from beckn_adapter.notices import Notices
from beckn_adapter.posting import Poster
from beckn_adapter.progress import page_of
from beckn_adapter.publishing import Publisher, publish_url
from beckn_adapter.searching import Searching
from beckn_adapter.speaking import Speaker
from beckn_adapter.subscription import OnSubscribe
from beckn_adapter.tracking import Trackers
from beckn_adapter.v1.codec import V1Codec
from beckn_adapter.v1.profiles import DOMAINS, Plugs, profiles
from beckn_adapter.v2.codec import V2Codec
from beckn_adapter.v2.constants import UBC_DOMAINS
from csms import settings
from csms.app.bookkeeping import Bookkeeping
from csms.app.buying import Buying
from csms.app.catalogue import Inventory
from csms.app.gateways import Gateways
from csms.app.helping import Helping
from csms.app.invoicing import links
from csms.app.ordering import Ordering
from csms.app.reloading import Reloading
from csms.app.scanning import FairUse
from csms.app.sockets import Sockets
from csms.app.tickets import FaultTickets
from csms.app.tokens import Tokens
from csms.bus.inprocess import InProcessBell
from csms.config import Config
from csms.edges.helpdesk import HelpPages
from csms.edges.papers import Papers
from csms.edges.public import PublicPages
from csms.observe import Metrics
from csms.ports import Clock, Follower, Ids, Payments
from csms.storage.sqlite import SqliteStore


class Base(Protocol):
    """What `compose.System` has built before it comes here."""

    config: Config
    store: SqliteStore
    clock: Clock
    ids: Ids
    bell: InProcessBell
    metrics_of: Metrics
    inventory: Inventory
    sockets: Sockets
    tokens: Tokens
    reloading: Reloading
    ordering: Ordering
    payments: Payments

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
        self._authorize = settings.beckn_signer(system.config)
        self.outbound = settings.outbound(system.config)
        self.registry = settings.registry(system.config, self.outbound, self._authorize)
        self.codecs = self._codecs()
        self.market = self._market()
        self.fair_use = FairUse(settings.allowance(system.config))
        self.publisher = self._publisher()
        self._voice = Voice(
            codecs=self.codecs,
            contact=settings.contact(system.config),
            public_url=self._public_url,
            caller_url=None if self._is_direct else beckn.caller_url,
            lenient=beckn.lenient_order_ids,
            has_feedback_form=beckn.feedback_form,
        )
        self.dispatch = self._dispatch()
        self.receiver = self._receiver()
        self.on_subscribe = OnSubscribe(settings.challenge_answers(system.config), system.clock)
        self.notices = self._notices()
        self.callbacks = self._callbacks()
        self.trackers = Trackers(
            store=system.store,
            clock=system.clock,
            outbound=self.outbound,
            authorize=self._authorize if self._is_direct else None,
        )
        self.fault_tickets = FaultTickets(store=system.store, clock=system.clock, ids=system.ids)
        self.gateways = Gateways(
            store=system.store,
            payments=system.payments,
            ordering=system.ordering,
            clock=system.clock,
            bell=system.bell,
            rules=settings.gateway_rules(system.config),
            count=lambda what, outcome: system.metrics_of.gateway.labels(what, outcome).inc(),
        )
        self.buying = Buying(
            store=system.store,
            clock=system.clock,
            page=page_of,
            papers=lambda tx, order_id: links(tx, order_id, lambda token: f"{self._public_url}/documents/{token}"),
        )
        self.books = Bookkeeping(
            store=system.store,
            inventory=system.inventory,
            clock=system.clock,
            ids=system.ids,
            rules=settings.statement_rules(system.config),
            keep_days=system.config.retention.money_days,
        )

    # -- what compose takes over

    @property
    def every_second(self) -> list[Callable[[int], Awaitable[None]]]:
        """What is looked after once a second, given UTC milliseconds."""
        return [self.notices.tick]

    @property
    def followers(self) -> list[Follower]:
        """Readers of the journal."""
        return [
            Follower("fault tickets", self.fault_tickets.on_facts, FaultTickets.FOLLOWED),
            Follower("notices", self.notices.on_facts, NOTICED),
            Follower("books", self.books.on_facts, Bookkeeping.FOLLOWED),
        ]

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What runs beside the listeners."""
        publishing = [self.publisher.run()] if self.publisher is not None else []
        return [
            *publishing,
            self.dispatch.run(),
            self.callbacks.run(),
            self.trackers.run(),
            self._hold_open(),
            self.gateways.run(),
        ]

    def routes(self) -> list[web.RouteDef]:
        """The public listener."""
        payments = self._system.config.payments
        papers = Papers(self.books.documents.page)
        pages = PublicPages(self.buying, self.gateways, simulated=payments.provider == "simulated")
        own = [*pages.routes(), *papers.routes(), *self._help_pages()]
        return [*self.on_subscribe.routes(BASES), *self.receiver.routes(), *own]

    def _help_pages(self) -> list[web.RouteDef]:
        system, contact = self._system, settings.contact(self._system.config)
        ways = {"Phone": contact.phone, "E-mail": contact.email, "Web": contact.url, "Hours": contact.hours}
        helping = Helping(store=system.store, clock=system.clock)
        return HelpPages(helping, ways, has_feedback_form=system.config.beckn.feedback_form).routes()

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
            grace_minutes=beckn.grace_min,
            asks_otp=beckn.start_otp == "all",
        )
        national = V2Codec(replace(speaker, empty_error=True), V2_UBC)
        named = dict.fromkeys(UBC_DOMAINS, V2_UBC) if beckn.ubc else {}
        generation_1 = [V1Codec(speaker, profile) for profile in profiles(Plugs(beckn.uei_connector_codes))]
        return Codecs([V2Codec(speaker), national, *generation_1], {**DOMAINS, **named, **beckn.domains})

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

    def _publisher(self) -> Publisher | None:
        system, beckn = self._system, self._system.config.beckn
        if not beckn.cds_url:
            return None
        codec = self.codecs.of_network(V2_UBC if beckn.ubc else V2)
        assert isinstance(codec, V2Codec)
        return Publisher(
            store=system.store,
            bell=system.bell,
            clock=system.clock,
            ids=system.ids,
            market=self.market,
            codec=codec,
            url=publish_url(beckn.cds_url, None if self._is_direct else beckn.caller_url),
            domain=beckn.cds_domain,
            debounce_ms=int(beckn.publish_after_s * 1000),
            every_ms=int(beckn.publish_every_s * 1000),
        )

    # -- what comes in

    def _dispatch(self) -> Dispatch:
        system = self._system
        searches = system.metrics_of.searches
        return Dispatch(
            store=system.store,
            bell=system.bell,
            clock=system.clock,
            ids=system.ids,
            ordering=system.ordering,
            tokens=system.tokens,
            market=self.market,
            searching=Searching(
                store=system.store,
                market=self.market,
                fair_use=self.fair_use,
                count=lambda freshness: searches.labels(freshness).inc(),
            ),
            fair_use=self.fair_use,
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
            doorkeeper=settings.doorkeeper(system.config, self.registry),
            binding=settings.binding(system.config, self.outbound),
            subscriber_id=beckn.subscriber_id,
            codecs=self.codecs,
            check=self.dispatch.check,
            body_limit=beckn.body_kib * 1024,
            requests_per_min=beckn.requests_per_min,
            discover_per_min=beckn.discover_per_min,
            reject_stale=beckn.reject_stale,
            legacy_ack={"auto": None if self._is_direct else True, "legacy": True, "v2": False}[beckn.ack_shape],
            answers_to_gateway=self._is_direct and beckn.on_search_target == "sender",
            count=lambda action, outcome: metrics.beckn_requests.labels(action, outcome).inc(),
            took=metrics.ack_seconds.observe,
        )

    # -- what goes out

    async def _hold_open(self) -> None:
        """The sessions to the outside end with the server."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.outbound.close()

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
        poster = Poster(
            store=system.store,
            outbound=self.outbound,
            now_ms=system.clock.now_ms,
            authorize=self._authorize if self._is_direct else None,  # the adapter in front of us signs
        )
        return Callbacks(
            store=system.store,
            bell=system.bell,
            clock=system.clock,
            ids=system.ids,
            post=poster.post,
            retry_s=beckn.callback_retry_s,
            give_up_s=beckn.callback_give_up_s,
            count=lambda action, outcome: metrics.callbacks.labels(action, outcome).inc(),
        )
