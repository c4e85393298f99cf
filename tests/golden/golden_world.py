"""The whole seller in one process, without a socket: real listener code, use cases, codecs and store; a clock that
stands until it is moved, identifiers that count, a charger that is spoken for, and a buyer's app that writes down what
is said.

async with World.open(folder, "v1-uei") as world:
    buyer = world.buyer()
    … the simulators' buyer, as over sockets; world.started(), world.metered(500), world.told is the transcript
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from aiohttp import streams, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from followers import followers_of

from csms.app.stations import Station
from csms.compose import System
from csms.config import Config
from csms.domain.reported import Metered, Reading, SocketStatus, Started, StatusReported, Stopped
from csms.ports import Fact, Follower, Table, Tx, Unit
from csms.storage.migrate import migrate_sqlite
from simulators.bap import Bap, Callback, NackedError, NoCallbackError
from simulators.bodies import Json, Person
from simulators.buyer import Buyer
from simulators.clock import written
from simulators.signing import Identity, registry_entry, sign, write_registry
from simulators.tongue_v1 import tongue

START_MS: Final = 1_772_344_800_000  # 2026-03-01T06:00:00Z, 11:30 in India
MINUTE_MS: Final = 60_000
CHARGER: Final = "CP-GOLD"
ITEM: Final = "IN*GLD*CP-GOLD*1"
PUBLIC_URL: Final = "https://seller.example"
BAP_ID, BPP_ID = "buyer-app.example", "seller.example"
ME: Final = Identity(BAP_ID, "key-1", bytes(32))
# One of a fleet, one who comes often.
DRIVER: Final = Person(id="driver-2", name="Arun Das", phone="+919800000002", tax_id="32AAACG1234F1Z5")
REGULAR: Final = Person(id="driver-3", name="Leela Roy", phone="+919800000003")
CDS: Final = Identity("catalogue.example", "key-1", bytes([1] * 32))
CDS_URL: Final = "https://catalogue.example/beckn"
METER_START_WH: Final = 41_000
# What the simulators call a network -> what the seller calls it.
NETWORKS: Final = {
    "v2": "v2", "ubc": "v2-ubc", "uei": "v1-uei", "deg": "v1-deg", "eos": "v1-eos", "rfc": "v1-rfc", "deg2": "v1-deg2",
}  # fmt: skip
_LAST: Final = {"last_updated": "2026-01-01T00:00:00Z"}
_SETTINGS: Final[Mapping[str, Any]] = {
    "beckn": {
        "subscriber_id": BPP_ID, "bpp_uri": f"{PUBLIC_URL}/beckn/bpp/receiver", "provider_id": "golden-cpo",
        "provider_name": "Golden CPO", "mode": "direct", "cds_url": CDS_URL,
    },
    "payments": {
        "settlement_account": {"accountNumber": "000111222333", "ifscCode": "GOLD0000001", "bankName": "Gold Bank"},
    },
    "telemetry": {"log_level": "error"},
}  # fmt: skip


class Clock:
    """`ports.Clock` that stands until it is moved."""

    def __init__(self) -> None:
        self.at_ms = START_MS

    def now_ms(self) -> int:
        return self.at_ms


class Ids:
    """`ports.Ids` that count, each kind by itself."""

    def __init__(self) -> None:
        self._made = {name: itertools.count(1) for name in ("uuid", "uuid4", "secret")}

    def uuid(self) -> str:
        return f"00000000-0000-7000-8000-{next(self._made['uuid']):012x}"

    def uuid4(self) -> str:
        return f"00000000-0000-4000-8000-{next(self._made['uuid4']):012x}"

    def secret(self) -> str:
        return f"secret-{next(self._made['secret']):06}"


class Line:
    """A charger's connection as the use cases see it."""

    def close(self, code: int, reason: str) -> None:
        """Nobody hangs up on this one."""


class InnerBap(Bap):
    """The simulators' platform without a network: what it posts goes straight into the listener's handlers, and what
    is waited for is there already or never comes."""

    world: World

    def context(
        self, action: str, transaction_id: str, bpp: tuple[str, str] | None, header: Mapping[str, Any] = {}
    ) -> Json:
        return {
            **header,
            "action": action,
            "bap_id": BAP_ID,
            "bap_uri": self.uri,
            **({"bpp_id": bpp[0], "bpp_uri": bpp[1]} if bpp else {}),
            "transaction_id": transaction_id,
            "message_id": self.world.app_id(),
            "timestamp": written(self.world.clock.now_ms()),
        }

    async def post(self, url: str, body: Json) -> Json:
        status, answer = await self.world.posted(url, body)
        self.world.told.append({"buyer": body, "answer": {"status": status, "body": answer}})
        await self.world.settle()
        if status >= 400:
            raise NackedError(status, answer)
        return answer

    async def pay(self, url: str, status: str) -> Any:
        self.world.note(f"the payment page is told: {status}")
        code, answer = await self.world.posted(url, {"status": status})
        if code >= 400:
            raise NackedError(code, answer)
        await self.world.settle()
        return answer

    async def wait_for(
        self,
        action: str,
        transaction_id: str,
        *,
        is_it: Callable[[Callback], bool] = lambda _: True,
        after: int = 0,
        timeout_s: float = 0,
    ) -> Callback:
        for callback in self.received[after:]:
            if callback.action == action and callback.context["transaction_id"] == transaction_id and is_it(callback):
                return callback
        raise NoCallbackError(f"no fitting {action}; came: {[c.action for c in self.received[after:]]}")


class World:
    """One seller, one charger, one buyer's app; `told` is all that was said, in order."""

    def __init__(self, folder: Path, dialect: str) -> None:
        self.clock, self.told = Clock(), list[Json]()
        self.dialect = dialect
        self._folder, self._cursor, self._outbox = folder, 0, 0
        self._followers: list[Follower] = []
        self._app_ids = itertools.count(1)
        self._meter_wh = METER_START_WH
        self._tx_id = ""
        self.received: list[Callback] = []  # by whichever buyer

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, dialect: str) -> AsyncIterator[World]:
        world = cls(folder, dialect)
        await world._open()
        try:
            yield world
        finally:
            await world._close()

    async def _open(self) -> None:
        registry = self._folder / "registry.json"
        self._folder.mkdir(parents=True, exist_ok=True)
        write_registry(
            registry,
            registry_entry(ME, f"https://{BAP_ID}/bap/receiver", "BAP"),
            registry_entry(CDS, CDS_URL, "CDS"),
        )
        beckn = {**_SETTINGS["beckn"], "ubc": self.dialect == "ubc", "registry": f"static:{registry}"}
        config = Config.model_validate({"data_dir": self._folder, **_SETTINGS, "beckn": beckn})
        shutil.copy(_empty(), config.sqlite_path)
        self.system = System(config, PUBLIC_URL, clock=self.clock, ids=Ids())
        await self.system.store.start()
        await self.system.store.transact(_furnish)
        await self.system.load()
        self._app = web.Application()
        self._app.add_routes(self.system.buyers.routes())
        self._followers = followers_of(self.system)
        self.link_up()
        self.status(SocketStatus.AVAILABLE)
        await self.settle()

    async def _close(self) -> None:
        await self.system.end_tasks()
        await self.system.store.stop()

    # -- the buyer's app

    def buyer(self, **options: Any) -> Buyer:
        """A person with a conversation, in the world's dialect."""
        bap = InnerBap(ME, uri=f"https://{BAP_ID}/bap/receiver")
        bap.world = self
        bap.received = self.received
        person = options.pop("person", Person(id="driver-1", name="Meera Nair", phone="+919800000001"))
        return Buyer(
            bap, f"{PUBLIC_URL}/beckn/bpp/receiver", BPP_ID, person=person, tongue=tongue(self.dialect),
            transaction_id=self.app_id(), new_id=self.app_id, now_ms=self.clock.now_ms, **options,
        )  # fmt: skip

    def app_id(self) -> str:
        """A fresh identifier of the buyer's app's own."""
        return f"a0000000-0000-4000-8000-{next(self._app_ids):012x}"

    def note(self, text: str) -> None:
        """What happened that is no message."""
        self.told.append({"meanwhile": text})

    @asynccontextmanager
    async def unwritten(self, what: str) -> AsyncIterator[None]:
        """What another story has written down already happens, and is not written down again."""
        mark = len(self.told)
        yield
        del self.told[mark:]
        self.note(what)

    async def posted(self, url: str, body: Json, by: Identity = ME) -> tuple[int, Any]:
        """One POST through the public listener's own routes, signed: status and answer."""
        raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        loop = asyncio.get_running_loop()
        payload = streams.StreamReader(BaseProtocol(loop), limit=2**22, loop=loop)
        payload.feed_data(raw)
        payload.feed_eof()
        path = url.removeprefix(PUBLIC_URL)
        created_s = self.clock.now_ms() // 1000
        headers = {"Content-Type": "application/json", "Authorization": sign(by, raw, created_s)}
        request = make_mocked_request("POST", path, headers=headers, payload=payload, app=self._app)
        match = await self._app.router.resolve(request)
        request._match_info = match
        match.add_app(self._app)
        answer = await match.handler(request)
        assert isinstance(answer, web.Response)
        return answer.status, json.loads(answer.text or "{}")

    # -- everything follows

    async def settle(self) -> None:
        """Requests are worked, facts are read, money is moved and answers written down, until nothing happens."""
        store = self.system.store
        for _ in range(100):
            self.system.charging_of.save_meters()
            await store.transact(lambda _: None)
            asked = await store.read(lambda tx: tx.many(Table.INBOX, order="no", state="new"))
            for row in asked:
                await self.system.buyers.dispatch._answer(row)
            facts: list[Fact] = await store.read(lambda tx: tx.facts(self._cursor, 5_000))
            for follower in self._followers:
                wanted = [fact for fact in facts if not follower.kinds or fact.kind in follower.kinds]
                if wanted:
                    await follower.on_facts(wanted)
            if facts:
                self._cursor = facts[-1].seq
            # First everything that is known is told, then money moves: as it is with a gateway that takes its time.
            if not asked and not facts and not await self._money_is_moved():
                await self._collect()
                return
        raise AssertionError("it never comes to rest")

    async def _money_is_moved(self) -> bool:
        """Everything that waits to be moved is; whether there was anything. The worker works at no other time."""

        async def due() -> bool:
            rows = await self.system.store.read(lambda tx: tx.many(Table.PAYMENTS, status="waiting"))
            return any(row["next_ms"] <= self.clock.now_ms() for row in rows)

        if not await due():
            return False
        worker = asyncio.ensure_future(self.system.paying.run())
        try:
            async with asyncio.timeout(10):
                while await due():  # noqa: ASYNC110 - what is waited for is in the store
                    await asyncio.sleep(0.001)
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
        return True

    async def _collect(self) -> None:
        rows = await self.system.store.read(
            lambda tx: tx.many(Table.OUTBOX, order="no", after=self._outbox, limit=1_000)
        )
        for row in rows:
            self._outbox = row["no"]
            body = json.loads(row["body"])
            self.told.append({"seller": body, "to": row["url"]})
            self.received.append(Callback(body["context"]["action"], body, self.clock.now_ms()))

    async def published(self) -> Json:
        """The catalogues go to the catalogue service; the message."""
        publisher = self.system.buyers.publisher
        assert publisher is not None
        for _ in range(3):
            await publisher.step(self.clock.now_ms())
            self.clock.at_ms += MINUTE_MS
        await self.settle()
        sent: Json = self.told[-1]["seller"]
        assert sent["context"]["action"] == "catalog_publish"
        return sent

    async def reported(self, context: Json, message: Json) -> None:
        """The catalogue service tells what it made of it."""
        told = context | {"action": "on_catalog_publish", "timestamp": written(self.clock.now_ms())}
        body = {"context": told, "message": message}
        status, answer = await self.posted(f"{PUBLIC_URL}/beckn/bpp/receiver/catalog/on_publish", body, CDS)
        self.told.append({"catalogue service": body, "answer": {"status": status, "body": answer}})
        await self.settle()

    async def minutes(self, count: float) -> None:
        """Time passes, and what was due meanwhile is done."""
        self.note(f"{count:g} minutes pass")
        self.clock.at_ms += int(count * MINUTE_MS)
        now_ms, upkeep = self.clock.now_ms(), self.system.upkeep
        self.system.charging_of.tick(now_ms)
        await self.settle()
        for job in (upkeep._orders, upkeep._unused, upkeep._reservations, *upkeep._every_second):
            await job(now_ms)
        await self.settle()

    # -- the charger

    @property
    def _station(self) -> Station:
        station = self.system.stations_of.get(CHARGER)
        assert station is not None
        return station

    def link_up(self) -> None:
        self._station.link = Line()
        self.system.charging_of.link_up(self._station, self.clock.now_ms())

    async def link_down(self) -> None:
        """The charger is gone, as if it had just been heard."""
        self.note("the charger's connection breaks")
        self._station.link = None
        self.system.charging_of.link_down(self._station, self.clock.now_ms(), self.clock.now_ms())
        await self.settle()

    async def link_again(self) -> None:
        self.note("the charger connects again")
        self.link_up()
        await self.settle()

    def status(self, status: SocketStatus) -> None:
        """What the socket says."""
        unit = Unit()
        told = StatusReported(evse=1, connector=1, status=status, at_ms=self.clock.now_ms())
        self.system.charging_of.status(self._station, told, self.clock.now_ms(), unit)
        self.system.store.submit(unit)

    async def plugged_in(self) -> None:
        self.note("the car is plugged in")
        self.status(SocketStatus.PREPARING)
        await self.settle()

    async def started(self) -> None:
        """The charger begins what it was asked to begin."""
        self.note("the charger starts")
        rows = await self.system.store.read(lambda tx: tx.many(Table.INSTRUCTIONS, station=CHARGER, kind="start"))
        unit, now_ms = Unit(), self.clock.now_ms()
        told = Started(
            key=f"start-{now_ms}",
            evse=1,
            connector=1,
            token=rows[-1]["token"],
            at_ms=now_ms,
            register_wh=self._meter_wh,
        )
        answer = self.system.charging_of.start(self._station, told, now_ms, unit, recalled=True)
        self._tx_id = str(answer.number)
        self.system.store.submit(unit)
        self.status(SocketStatus.CHARGING)
        await self.settle()

    async def metered(self, kwh: float, soc: int | None = None) -> None:
        """The meter stands at `kwh` since the start."""
        self._meter_wh = METER_START_WH + round(kwh * 1000)
        now_ms, unit = self.clock.now_ms(), Unit()
        reading = Reading(
            at_ms=now_ms, register_wh=self._meter_wh, power_w=29_500, current_ma=74_000, voltage_mv=398_000,
            soc_percent=soc,
        )  # fmt: skip
        told = Metered(evse=1, connector=1, readings=(reading,), tx_id=self._tx_id)
        self.system.charging_of.meter(self._station, told, now_ms, unit, self.system.stations_of.mint_frame_seq())
        self.system.store.submit(unit)
        await self.settle()

    async def stopped(self, reason: str) -> None:
        """The charger ends the transaction where the meter stands."""
        self.note(f"the charger stops: {reason}")
        now_ms, unit = self.clock.now_ms(), Unit()
        told = Stopped(
            key=f"stop-{now_ms}", tx_id=self._tx_id, at_ms=now_ms, register_wh=self._meter_wh, reason=reason, evse=1,
            connector=1,
        )  # fmt: skip
        self.system.charging_of.stop(self._station, told, now_ms, unit, recalled=True)
        self.system.store.submit(unit)
        self.status(SocketStatus.FINISHING)
        await self.settle()


@cache
def _empty() -> Path:
    """A database with nothing in it yet, made once."""
    path = Path(tempfile.mkdtemp(prefix="golden-")) / "empty.db"
    migrate_sqlite(path, stamp="test")
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    return path


def _furnish(tx: Tx) -> None:
    """One charger, its tariff, an offer."""
    prices = [{"type": "ENERGY", "price": 18, "vat": 18}, {"type": "FLAT", "price": 10, "vat": 18}]
    tariff = {
        "country_code": "IN", "party_id": "GLD", "id": "T-1", "currency": "INR", "surge_percent": 20,
        "elements": [{"price_components": prices}], "pattern": "BUFFER_IN_QUOTE", "buffer_percent": 10,
        "cancellation": {"free_minutes": 15, "percent": 30}, **_LAST,
    }  # fmt: skip
    connector = {
        "id": "1", "standard": "IEC_62196_T2_COMBO", "format": "CABLE", "power_type": "DC", "max_voltage": 500,
        "max_amperage": 120, "max_electric_power": 30_000, "tariff_ids": ["T-1"], **_LAST,
    }  # fmt: skip
    evse = {
        "uid": CHARGER, "evse_id": ITEM, "status": "AVAILABLE", "capabilities": ["RESERVABLE"],
        "connectors": [connector], **_LAST,
    }  # fmt: skip
    location = {
        "country_code": "IN", "party_id": "GLD", "id": "gold-site", "publish": True, "name": "Golden site",
        "address": "7 Lake Road", "city": "Kochi", "state": "Kerala", "postal_code": "682001", "country": "IND",
        "coordinates": {"latitude": "9.9312", "longitude": "76.2673"}, "time_zone": "Asia/Kolkata", "evses": [evse],
        **_LAST,
    }  # fmt: skip
    offer = {"id": "O-1", "name": "20 INR off from 5 kWh", "flat": 20, "threshold_kwh": 5}
    tx.save(Table.TARIFFS, {"id": "T-1", "data": json.dumps(tariff), "updated_ms": START_MS})
    tx.save(Table.LOCATIONS, {"id": "gold-site", "data": json.dumps(location), "updated_ms": START_MS})
    tx.save(Table.OFFERS, {"id": "O-1", "data": json.dumps(offer), "updated_ms": START_MS})
    fleet = {
        "id": "F-1", "kind": "fleet", "name": "Lake Cabs", "phones": [DRIVER.phone], "tariff_id": "T-2",
        "needs_otp": True,
    }  # fmt: skip
    loyal = {
        "id": "L-1", "kind": "loyalty", "name": "Regulars", "phones": [REGULAR.phone], "discount": {"percent": 10},
    }  # fmt: skip
    special = tariff | {"id": "T-2", "elements": [{"price_components": [{"type": "ENERGY", "price": 12, "vat": 18}]}]}
    tx.save(Table.TARIFFS, {"id": "T-2", "data": json.dumps(special), "updated_ms": START_MS})
    for one in (fleet, loyal):
        tx.save(Table.FLEETS, {"id": one["id"], "data": json.dumps(one), "updated_ms": START_MS})
    row = {
        "id": CHARGER, "no": 1, "id_folded": CHARGER.lower(), "transport": "ocpp1.6", "location_id": "gold-site",
        "created_ms": START_MS, "rated_w": 30_000,
    }  # fmt: skip
    tx.add(Table.STATIONS, row)
