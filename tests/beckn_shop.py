"""The Beckn edge from a buyer's side, for tests: a real server, a buyer app that keeps every callback, raw knocks.

shop.bap, shop.buyer()                 a buyer app with its callback server, and a person who buys through it
await shop.knock(body)                 one request over HTTP, signed (or not, or wrongly); its whole answer
shop.judge()                           fails when a callback was not properly signed or broke a published schema
"""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from nacl.signing import SigningKey
from running import BPP_ID, Server, running
from schema import shared, validate_ack, validate_callback

from simulators import bodies
from simulators.bap import Bap, Callback
from simulators.buyer import Buyer, Item
from simulators.ocpp_charger import Charger
from simulators.signing import Identity, registry_entry, sign, write_registry

Json = dict[str, Any]
BAP_ID = "bap.test.example"
RATED_KW = 20_000  # what a 60 kW socket is at the power scale below
POWER_SCALE = 240
# Plain figures, no provision: most tests are about messages.
PLAIN = {"pattern": "TOP_UP"}


def identity(subscriber_id: str = BAP_ID, key_id: str = "bap-1") -> Identity:
    """A fresh participant."""
    return Identity(subscriber_id, key_id, bytes(SigningKey.generate()))


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back on one HTTP request."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Json:
        body = json.loads(self.text)
        assert isinstance(body, dict)
        return body

    @property
    def is_ack(self) -> bool:
        return self.status == 200 and self.body.get("ack_status") == "ACK"

    @property
    def code(self) -> str:
        """The code of a NACK in shape C; everything such an answer must be is checked on the way."""
        body = self.body
        assert self.headers["Content-Type"].startswith("application/json")
        assert body["ack_status"] == "NACK", body
        assert {"transaction_id", "timestamp"} <= body.keys(), body
        error = body["error"]
        assert " " in error["message"], f"not a sentence: {error}"
        self.assert_silent()
        if shared() is not None:
            assert validate_ack(body) == []
        return str(error["code"])

    def assert_silent(self) -> None:
        """Nothing of our insides is shown."""
        for word in ("Traceback", 'File "', ".py", "sqlite", "aiohttp"):
            assert word not in self.text, self.text


@dataclass(slots=True)
class Shop:
    """A running server and one buyer app on its network."""

    server: Server
    bap: Bap
    http: aiohttp.ClientSession
    _judged: int = 0
    _knocks: list[Answer] = field(default_factory=list)

    def buyer(self, **options: Any) -> Buyer:
        """A person with a conversation of its own."""
        options = {"timeout_s": 15.0, **options}
        return Buyer(self.bap, self.server.receiver, bpp_id=BPP_ID, **options)

    async def item(self, charger_id: str) -> Item:
        """The catalog's entry for a charger of `server.sell`."""
        expression = f"$[?(@.beckn:itemAttributes.evseId == 'IN*TST*{charger_id}*1')]"
        (found,) = await self.buyer().discover(expression=expression)
        return found

    def message(self, action: str, message: Any, **context: Any) -> Json:
        """A request with a good context; `context` overrides members, None takes one out."""
        bpp = None if action == "discover" else (BPP_ID, self.server.receiver)
        made = self.bap.context(action, str(uuid.uuid4()), bpp) | context
        return {"context": {k: v for k, v in made.items() if v is not None}, "message": message}

    async def knock(
        self,
        body: Json | bytes,
        *,
        path: str | None = None,
        method: str = "POST",
        signer: Identity | None = None,
        authorization: str | None = "",
        created: int | None = None,
        expires: int | None = None,
        content_type: str = "application/json",
    ) -> Answer:
        """Post it to `{receiver}{path}` (default: `/` and its action). `authorization` None sends none."""
        if isinstance(body, bytes):
            raw = body
        else:
            raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
            path = f"/{body['context']['action']}" if path is None else path
        if authorization == "":
            created = int(time.time()) - 2 if created is None else created
            authorization = sign(signer or self.bap.identity, raw, created, expires)
        headers = {"Content-Type": content_type}
        if authorization is not None:
            headers["Authorization"] = authorization
        url = f"{self.server.receiver}{path or ''}"
        async with self.http.request(method, url, data=io.BytesIO(raw), headers=headers) as response:
            return Answer(response.status, dict(response.headers), await response.text())

    async def callback(self, request: Json, timeout_s: float = 10.0, after: int = 0) -> Callback:
        """The answer to exactly this request."""
        context = request["context"]
        return await self.bap.wait_for(
            f"on_{context['action']}",
            context["transaction_id"],
            is_it=lambda c: c.context.get("message_id") == context["message_id"],
            after=after,
            timeout_s=timeout_s,
        )

    def select(self, item: Item, *, kwh: float = 1, slot: tuple[str, str] | None = None, **context: Any) -> Json:
        """A select as bytes on the wire will carry it."""
        message = bodies.select(
            item=item.raw, seller=item.provider, person=bodies.somebody(), amount=bodies.Amount(kwh, "KWH"), offer=None,
            slot=slot, finder_fee_percent=None,
        )  # fmt: skip
        return self.message("select", message, **context)

    def judge(self) -> None:
        """Everything received since the last call: signed by us, addressed right, and valid against the schemas."""
        fresh, self._judged = self.bap.received[self._judged :], len(self.bap.received)
        for callback in fresh:
            assert callback.signature_fault is None, callback.signature_fault
            assert callback.context["bap_id"] == self.bap.identity.subscriber_id
            assert callback.context["bpp_id"] == BPP_ID
            assert callback.context["bpp_uri"].endswith("/beckn/bpp/receiver")
            if shared() is not None:
                assert validate_callback(callback.body) == [], f"{callback.action}: {callback.body}"
        problems, self.bap.problems = self.bap.problems, []
        assert problems == []

    def join(self, *participants: Identity) -> None:
        """Make buyer apps known to the network."""
        self.server.join(*(registry_entry(one, self.bap.uri, "BAP") for one in participants))


@asynccontextmanager
async def open_shop(
    folder: Path,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    subscriber_id: str = BAP_ID,
    known: tuple[Identity, ...] = (),
) -> AsyncIterator[Shop]:
    """A started server and a buyer app its registry lists; `known` are further participants, listed from the start."""
    me, registry = identity(subscriber_id), folder / "registry.json"
    async with Bap(me, registry) as bap, aiohttp.ClientSession() as http:
        # Before the server starts: it need not notice newcomers first.
        write_registry(registry, *(registry_entry(one, bap.uri, "BAP") for one in (me, *known)))
        async with running(folder, settings) as server:
            yield Shop(server, bap, http)


def fast_charger(shop: Shop, charger_id: str, **options: Any) -> Charger:
    """A charger that delivers a kWh in a quarter of a second."""
    options = {"kind": "DC", "rated_kw": 60, "power_scale": POWER_SCALE, "seed": 1, **options}
    return Charger(charger_id, shop.server.ocpp_url, **options)


_numbers = iter(range(1, 10_000))


@asynccontextmanager
async def selling(
    shop: Shop, charger_id: str | None = None, *, tariff: Mapping[str, Any] = PLAIN, **options: Any
) -> AsyncIterator[tuple[Charger, Item]]:
    """A charger of its own, online and for sale."""
    charger_id = charger_id or f"CP-{next(_numbers)}"
    await shop.server.sell(charger_id, tariff=tariff, rated_kw=RATED_KW)
    async with fast_charger(shop, charger_id, **options) as charger:
        await charger.wait_online()
        item = await shop.item(charger_id)
        await charger.wait_for("its status being known", lambda: charger.connectors[1].reported_status is not None)
        yield charger, item
        assert not charger.complaints


async def bought(buyer: Buyer, item: Item, *, kwh: float = 1, slot: tuple[str, str] | None = None) -> Buyer:
    """The same buyer with a paid and confirmed order."""
    await buyer.select(item, kwh=kwh, slot=slot)
    await buyer.init()
    await buyer.pay()
    await buyer.confirm()
    return buyer
