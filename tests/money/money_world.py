"""The whole seller in one process with a clock of its own: real store, real use cases, real codecs, no sockets.

A story says what a buyer's app asks, what a charger reports and what a gateway tells; the world carries each of it to
where the listener would, lets every follower read the journal, and moves the money. `doubled`: everything is said twice
and read twice.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

from followers import followers_of

from beckn_adapter.envelope import parse_context
from csms.app import price_events
from csms.app.collecting import row_of_payment
from csms.app.facts import put_fact
from csms.app.gateways import Heard
from csms.app.instructions import from_row as instruction_from
from csms.app.instructions import over_fact, put_state
from csms.app.orders import ledger_of, order_from
from csms.app.stations import Station
from csms.compose import System
from csms.config import Config
from csms.domain.dated_price import DatedPrice, PriceEvent
from csms.domain.instruction import InstructionEvent, Step, step
from csms.domain.ledger import LedgerEntry
from csms.domain.order import Order
from csms.domain.refusal import Refusal
from csms.domain.reported import Booted, Metered, Reading, SocketStatus, Started, StatusReported, Stopped
from csms.domain.units import from_minor
from csms.ports import Fact, Follower, MoneyState, RemoteMoney, Row, Table, Tx, Unit
from csms.storage.migrate import migrate_sqlite
from simulators.tongues import V2_HEADER

Json = dict[str, Any]
NOON_MS = 1_790_000_000_000 - 1_790_000_000_000 % 86_400_000 + 6 * 3_600_000 + 30 * 60_000  # 12:00 in India
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
BAP = "bap.test.example"
RATED_W = 30_000
PUBLIC_URL = "http://127.0.0.1:1"
WEBHOOK_SECRET = "of the money stories"

_BASE = {"country_code": "IN", "party_id": "TST", "currency": "INR", "last_updated": "2026-01-01T00:00:00Z"}


def _tariff(*elements: Json, **more: Any) -> Json:
    return {**_BASE, "elements": list(elements), **more}


def _prices(vat: float = 18, when: Mapping[str, Any] | None = None, **kinds: float) -> Json:
    parts = [{"type": kind, "price": price, "vat": vat} for kind, price in kinds.items()]
    return {"price_components": parts, **({"restrictions": dict(when)} if when else {})}


NIGHT = {"start_time": "22:00", "end_time": "06:00"}
TARIFFS: Mapping[str, Json] = {
    "PLAIN": _tariff(_prices(ENERGY=18), pattern="TOP_UP"),
    "FEES": _tariff(_prices(ENERGY=18, FLAT=10), pattern="BUFFER_IN_QUOTE", buffer_percent=10, buffer_min=20),
    "HOLD": _tariff(_prices(ENERGY=21.37, FLAT=5), pattern="HOLD", buffer_percent=20, buffer_min=10),
    "ABSORBS": _tariff(_prices(ENERGY=15.55), pattern="CPO_ABSORBS", absorb_cap="30"),
    "BY-TIME": _tariff(_prices(TIME=90, FLAT=3), pattern="TOP_UP"),
    "BOTH": _tariff(_prices(ENERGY=9.99, TIME=33), pattern="BUFFER_IN_QUOTE", buffer_percent=15),
    "INCLUSIVE": _tariff(_prices(ENERGY=20), pattern="HOLD", buffer_percent=10, tax_inclusive=True, surge_percent=20),
    "BY-HOUR": _tariff(
        _prices(when=NIGHT, ENERGY=9), _prices(ENERGY=19), pattern="BUFFER_IN_QUOTE", buffer_percent=30
    ),
    "BOUNDED": _tariff(
        _prices(ENERGY=12), pattern="TOP_UP", min_price={"excl_vat": 25}, max_price={"excl_vat": 120},
        surcharge_per_kwh=2, cancellation={"free_minutes": 15, "percent": 30},
    ),
    "BOOKED": _tariff(
        _prices(ENERGY=18), pattern="BUFFER_IN_QUOTE", buffer_percent=10,
        cancellation={"free_minutes": 30, "flat": "25"},
    ),
    "AFTERWARDS": _tariff(_prices(ENERGY=17.3, FLAT=2), pattern="TOP_UP", postpaid=True),
    "ANNOUNCED": _tariff(_prices(ENERGY=16), pattern="BUFFER_IN_QUOTE", buffer_percent=40),
}  # fmt: skip
OFFERS: Mapping[str, Json] = {
    "O-FLAT": {"name": "20 off from 5 kWh", "flat": 20, "threshold_kwh": 5},
    "O-PERCENT": {"name": "15 % up to 30", "percent": 15, "cap": 30},
}


OF_A_FLEET = _tariff(_prices(when=NIGHT, ENERGY=8), _prices(ENERGY=13.3, TIME=6), pattern="BUFFER_IN_QUOTE")
FLEETS: Mapping[str, Json] = {
    "by-month": {"kind": "fleet", "name": "By month", "phones": ["9811100001"], "postpaid": True},
    "own-price": {
        "kind": "fleet", "name": "Own price", "phones": ["9811100002"], "tariff_id": "OF-A-FLEET", "postpaid": True,
        "discount": {"percent": 12, "threshold_kwh": 1},
    },
    "at-once": {"kind": "fleet", "name": "At once", "phones": ["9811100003"], "discount": {"percent": 7, "flat": 3}},
    "gold": {"kind": "loyalty", "name": "Gold", "phones": ["9811100004"], "discount": {"percent": 10, "cap": 25}},
}  # fmt: skip


class Clock:
    """`ports.Clock` that stands until it is moved."""

    def __init__(self) -> None:
        self.at_ms = NOON_MS

    def now_ms(self) -> int:
        return self.at_ms


class Ids:
    """`ports.Ids` from a seed."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._chance.getrandbits(128), version=4))

    uuid4 = uuid

    def secret(self) -> str:
        return f"secret-{self._chance.getrandbits(96):024x}"


class Line:
    """A charger's connection as the use cases see it."""

    def close(self, code: int, reason: str) -> None:
        """Nobody hangs up on this one."""


class World:
    """One seller. `open` and `close` it; everything between is said by a story."""

    def __init__(self, folder: Path, *, seed: int, doubled: bool = False, settings: Mapping[str, Any] | None = None):
        self.clock = Clock()
        self.times = 2 if doubled else 1
        self._folder = folder
        self._seed = seed
        self._settings = settings or {}
        self._cursor = 0
        self._followers: list[Follower] = []

    async def open(self) -> None:
        payments = {"webhook_secret": WEBHOOK_SECRET, **self._settings.get("payments", {})}
        # One person buys in many stories, and a debt of one of them is not to end the others.
        access = {"block_on_due": "off", **self._settings.get("access", {})}
        config = Config.model_validate(
            {
                "data_dir": self._folder, "telemetry": {"log_level": "error"}, **self._settings, "payments": payments,
                "access": access,
            }
        )  # fmt: skip
        self._folder.mkdir(parents=True, exist_ok=True)
        migrate_sqlite(config.sqlite_path, stamp="test")
        chance = random.Random(self._seed)
        self.system = System(config, PUBLIC_URL, clock=self.clock, ids=Ids(chance))
        await self.system.store.start()
        await self.system.store.transact(self._furnish)
        await self.system.load()
        self._followers = followers_of(self.system)
        for name in TARIFFS:
            self.link_up(name)
            self.report(name, StatusReported(evse=1, connector=1, status=SocketStatus.AVAILABLE))
        await self.settle()

    async def close(self) -> None:
        await self.system.end_tasks()
        await self.system.store.stop()

    def _furnish(self, tx: Tx) -> None:
        now_ms = self.clock.now_ms()
        own = {"id": "OF-A-FLEET", "data": json.dumps(OF_A_FLEET | {"id": "OF-A-FLEET"}), "updated_ms": now_ms}
        tx.save(Table.TARIFFS, own)
        for no, (name, tariff) in enumerate(TARIFFS.items(), 1):
            tx.save(Table.TARIFFS, {"id": name, "data": json.dumps(tariff | {"id": name}), "updated_ms": now_ms})
            tx.save(Table.LOCATIONS, {"id": name, "data": json.dumps(_location(name)), "updated_ms": now_ms})
            row = {
                "id": name, "no": no, "id_folded": name.lower(), "transport": "ocpp1.6", "location_id": name,
                "created_ms": now_ms, "rated_w": RATED_W,
            }  # fmt: skip
            tx.add(Table.STATIONS, row)
        for name, offer in OFFERS.items():
            tx.save(Table.OFFERS, {"id": name, "data": json.dumps(offer | {"id": name}), "updated_ms": now_ms})
        for name, fleet in FLEETS.items():
            tx.save(Table.FLEETS, {"id": name, "data": json.dumps(fleet), "updated_ms": now_ms})

    # -- time

    async def pass_time(self, minutes: float, step_minutes: float | None = None) -> None:
        """Let time pass in steps, doing at each what is due."""
        left_ms = int(minutes * MINUTE_MS)
        step_ms = int((step_minutes if step_minutes is not None else max(1.0, minutes / 12)) * MINUTE_MS)
        while left_ms > 0:
            self.clock.at_ms += min(step_ms, left_ms)
            left_ms -= step_ms
            await self.tick()

    async def tick(self) -> None:
        """What upkeep does every second."""
        now_ms, upkeep = self.clock.now_ms(), self.system.upkeep
        self.system.charging_of.tick(now_ms)
        await self.settle()
        for job in (upkeep._orders, upkeep._unused, upkeep._reservations, self.system.settling.tick):
            for _ in range(self.times):
                await job(now_ms)
        await self.settle()

    async def refuse_starts(self, name: str) -> None:
        """The charger says no to every start it was asked for, as the pump would hear it."""
        rows = await self.rows(Table.INSTRUCTIONS, station=name, kind="start")
        unit = Unit()
        for asked in map(instruction_from, rows):
            if not asked.is_over:
                sent = step(asked, InstructionEvent(Step.SENT), self.clock.now_ms())
                over = step(sent, InstructionEvent(Step.REFUSED, reason="Rejected"), self.clock.now_ms())
                put_state(unit, over)
                put_fact(unit, over_fact(over, self.clock.now_ms()))
        self.system.store.submit(unit)
        await self.settle()

    async def end_everything(self, name: str) -> None:
        """Nothing charges here any more: whatever is still open is ended by a person, and the socket is free."""
        for session in list(self.station(name).sessions.values()):
            with suppress(Refusal):
                await self.system.charging_of.close_session(session.session_id, "nothing more will come", "test")
        self.report(name, StatusReported(evse=1, connector=1, status=SocketStatus.AVAILABLE))
        await self.settle()

    async def settle(self) -> None:
        """Everything written is read by everybody, and all money moved, until nothing happens any more."""
        store = self.system.store
        for _ in range(50):
            self.system.charging_of.save_meters()
            await store.transact(lambda _: None)
            facts: list[Fact] = await store.read(lambda tx: tx.facts(self._cursor, 5_000))
            for follower in self._followers:
                wanted = [fact for fact in facts if not follower.kinds or fact.kind in follower.kinds]
                for _ in range(self.times if wanted else 0):
                    await follower.on_facts(wanted)
            if facts:
                self._cursor = facts[-1].seq
            due = await store.read(lambda tx: tx.many(Table.PAYMENTS, status="waiting", limit=1_000))
            for row in due:
                await self.system.paying._move(row)
            if not facts and not due:
                return
        raise AssertionError("it never comes to rest")

    # -- the buyer's app

    async def say(self, action: str, message: Json, transaction_id: str, header: Json = V2_HEADER) -> Json:
        """One request, worked through; the newest answer to it. `header`: the dialect's part of a context."""
        answer: Json = {}
        message_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{transaction_id}{action}{self.clock.now_ms()}{self._cursor}"))
        for copy in range(self.times):
            body = {
                "context": {
                    **header, "action": action, "bap_id": BAP,
                    "bap_uri": f"https://{BAP}/beckn", "bpp_id": self.system.config.beckn.subscriber_id,
                    "bpp_uri": f"{PUBLIC_URL}/beckn/bpp/receiver", "transaction_id": transaction_id,
                    "message_id": message_id, "timestamp": "2026-01-01T00:00:00Z",
                },
                "message": message,
            }  # fmt: skip
            # Told again with other bytes: the receiver would take it for a new request (BECKN 1.6).
            answer = await self._work_on(body, json.dumps(body, indent=copy or None).encode()) or answer
        await self.settle()
        return answer

    async def _work_on(self, body: Json, raw: bytes) -> Json | None:
        context, store = body["context"], self.system.store
        network = self.system.buyers.codecs.of_context(parse_context(body)).network
        key = {name: context[name] for name in ("bap_id", "transaction_id", "message_id", "action")}
        row = {
            **key, "network": network, "digest": str(hash(raw)), "body": raw,
            "received_ms": self.clock.now_ms(), "state": "new",
        }  # fmt: skip

        def put(tx: Tx) -> Row:
            tx.add(Table.INBOX, row)
            found = tx.one(Table.INBOX, **key, digest=row["digest"])
            assert found is not None
            return found

        stored = await store.transact(put)
        await self.system.buyers.dispatch._answer(stored)
        answered = await store.read(lambda tx: tx.one(Table.OUTBOX, purpose=f"in:{stored['no']}"))
        return json.loads(answered["body"]) if answered is not None else None

    async def pay(
        self, payment_id: str, *, held: bool, amount_minor: int | None = None, ref: str | None = None
    ) -> None:
        """The gateway tells that a payment was made, signed, `amount_minor` or what was asked; doubled, in two events
        about one payment. What we refuse is a case and no crash."""
        asked = await self.system.buyers.buying.payment(payment_id)
        paid_minor = asked["amount_minor"] if asked is not None and amount_minor is None else amount_minor
        if paid_minor is not None:
            said = {
                "payment_id": payment_id,
                "status": "authorized" if held else "paid",
                "amount": str(from_minor(paid_minor)),
                "reference": ref or f"bank-{payment_id}-{paid_minor}",
            }
            for number in range(self.times):
                body = json.dumps(said | {"number": number}).encode()
                signature = hmac.new(WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
                heard = await self.system.buyers.gateways.hear({"X-Signature": f"sha256={signature}"}, body)
                assert heard in {Heard.KEPT, Heard.KNOWN}
        await self.settle()

    async def lose_hold(self, payment_id: str) -> None:
        """A hold has ended at the gateway, and its word of that comes."""
        books, now_ms = self.system.gateways._books, self.clock.now_ms()

        def work(tx: Tx) -> None:
            row = row_of_payment(tx, payment_id)
            assert row is not None
            voided = RemoteMoney(
                remote_payment_id=row["remote_payment_id"], state=MoneyState.VOIDED, amount_minor=row["amount_minor"],
                currency="INR", captured_minor=0,
            )  # fmt: skip
            books.take_in(tx, row, voided, now_ms)

        for _ in range(self.times):
            await self.system.store.transact(work)
        await self.settle()

    async def announce(self, tariff_id: str, modification: int, *prices: tuple[int, int, str]) -> None:
        """A supplier announces prices of energy: (minutes from now, minutes until, per kWh)."""
        now_ms = self.clock.now_ms()
        windows = tuple(
            DatedPrice(from_ms=now_ms + a * MINUTE_MS, until_ms=now_ms + b * MINUTE_MS, per_kwh=Decimal(price))
            for a, b, price in prices
        )
        event = PriceEvent(
            event_id=f"e-{tariff_id}", source="api", prices=windows, targets=(f"tariff:{tariff_id}",),
            modification=modification, received_ms=now_ms,
        )  # fmt: skip
        for _ in range(self.times):
            await self.system.store.transact(lambda tx: price_events.put(tx, event, now_ms))
            await self.system.inventory.load()  # at once: the program reads again a moment later
        await self.settle()

    # -- the charger

    def station(self, name: str) -> Station:
        station = self.system.stations_of.get(name)
        assert station is not None
        return station

    def link_up(self, name: str) -> None:
        station = self.station(name)
        station.link = Line()
        self.system.charging_of.link_up(station, self.clock.now_ms())

    def link_down(self, name: str) -> None:
        station = self.station(name)
        station.link = None
        self.system.charging_of.link_down(station, self.clock.now_ms(), self.clock.now_ms())

    def report(self, name: str, *told: Booted | StatusReported | Started | Metered | Stopped) -> list[Any]:
        """Facts from a charger, each as often as the world says things; the answers to the last telling."""
        charging, now_ms, station = self.system.charging_of, self.clock.now_ms(), self.station(name)
        answers: list[Any] = []
        for fact in told:
            for _ in range(self.times):
                unit = Unit()
                match fact:
                    case Booted():
                        answer: Any = charging.boot(station, fact, now_ms, unit)
                    case StatusReported():
                        answer = charging.status(station, fact, now_ms, unit)
                    case Started():
                        answer = charging.start(station, fact, now_ms, unit, recalled=True)
                    case Metered():
                        frame_seq = self.system.stations_of.mint_frame_seq()
                        answer = charging.meter(station, fact, now_ms, unit, frame_seq)
                    case Stopped():
                        answer = charging.stop(station, fact, now_ms, unit, recalled=True)
                self.system.store.submit(unit)
            answers.append(answer)
        return answers

    # -- what came of it

    async def order(self, transaction_id: str) -> Order | None:
        row = await self.system.store.read(lambda tx: tx.one(Table.ORDERS, bap_id=BAP, transaction_id=transaction_id))
        return order_from(row) if row is not None else None

    async def ledger(self, order_id: str) -> list[LedgerEntry]:
        return await self.system.store.read(lambda tx: ledger_of(tx, order_id))

    async def rows(self, table: Table, **where: Any) -> Sequence[Row]:
        return await self.system.store.read(lambda tx: tx.many(table, limit=10_000, **where))


def reading(at_ms: int, register_wh: int) -> Reading:
    return Reading(at_ms=at_ms, register_wh=register_wh)


def item_id(name: str) -> str:
    return f"IND*cpo*{name}*IN*TST*{name}*1"


def _location(name: str) -> Json:
    connector = {
        "id": "1", "standard": "IEC_62196_T2_COMBO", "format": "CABLE", "power_type": "DC",
        "max_electric_power": RATED_W, "tariff_ids": [name], "last_updated": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return {
        "country_code": "IN", "party_id": "TST", "id": name, "publish": True, "name": name, "address": "1 Main Road",
        "city": "Bengaluru", "country": "IND", "coordinates": {"latitude": "12.97", "longitude": "77.59"},
        "time_zone": "Asia/Kolkata", "last_updated": "2026-01-01T00:00:00Z",
        "evses": [
            {
                "uid": name, "evse_id": f"IN*TST*{name}", "status": "AVAILABLE", "capabilities": ["RESERVABLE"],
                "connectors": [connector], "last_updated": "2026-01-01T00:00:00Z",
            }
        ],
    }  # fmt: skip
