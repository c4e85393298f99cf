"""A stand-in seller for the simulators' own tests: a tiny BPP that really starts and stops a 1.6 charger.

It follows BECKN 4 far enough for the buyer's plumbing and the stories to be exercised; `spoil` lets a test
change an outgoing callback.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web

from simulators.bodies import CORE, pack
from simulators.pricing import cents
from simulators.signing import Identity, read_registry, registry_entry, sign, signer, verify, write_registry
from tests.simulators.central import Central

PRICE, SERVICE, GST, BUFFER = Decimal(18), Decimal(10), Decimal("0.18"), Decimal("0.10")
ITEM = "IND*cpo*st-1*IN*CPO*CP1*1"


def priced(kwh: Decimal, *, buffer: bool) -> dict[str, Any]:
    unit = cents(PRICE * kwh)
    lines = [("UNIT", unit, f"Energy {kwh} kWh"), ("FEE", SERVICE, "Service fee")]
    lines.append(("TAX", cents((unit + SERVICE) * GST), "GST (18%)"))
    if buffer:
        lines.append(("FEE", cents(sum(v for _, v, _ in lines) * BUFFER), "Overcharge estimation"))
    return {
        "currency": "INR",
        "value": float(sum(value for _, value, _ in lines)),
        "components": [
            {"type": kind, "value": float(value), "currency": "INR", "description": text} for kind, value, text in lines
        ],
    }


class Seller:
    def __init__(self, registry: Path, central: Central | None = None) -> None:
        self.identity = Identity("bpp.test", "key-1", b"s" * 32)
        self.registry, self.central = registry, central
        self.requests: list[dict[str, Any]] = []
        self.spoil: Callable[[dict[str, Any]], None] = lambda _: None
        self.unsigned = False
        self.refuse: dict[str, tuple[int, dict[str, Any]]] = {}
        self.errors: dict[str, dict[str, str]] = {}
        self.order: dict[str, Any] = {}
        self.context: dict[str, Any] = {}
        self.ordered_kwh = Decimal(0)
        self.paid = Decimal(0)
        self.meter_start = 0
        self.tx_id: int | None = None
        self.acks: list[int] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/bpp/{action}", self._receive)
        app.router.add_post("/pay/{what}", self._pay)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.uri = f"{self.base}/bpp"
        self._client = aiohttp.ClientSession()
        write_registry(self.registry, registry_entry(self.identity, self.uri, "BPP"))
        if self.central is not None:
            self.central.answers["StartTransaction"] = self._started
            self.central.answers["MeterValues"] = self._metered
            self.central.answers["StopTransaction"] = self._stopped
            self._spawn(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()
        await self._runner.cleanup()

    # -- Beckn ---------------------------------------------------------------------------------------------------

    async def _receive(self, request: web.Request) -> web.Response:
        raw = await request.read()
        header = request.headers.get("Authorization")
        subscriber, key = signer(header)
        entry = next(e for e in read_registry(self.registry) if e["subscriber_id"] == subscriber)
        assert entry["unique_key_id"] == key
        verify(header, raw, entry["signing_public_key"], int(time.time()))
        body = json.loads(raw)
        self.requests.append(body)
        action = body["context"]["action"]
        if action in self.refuse:
            status, answer = self.refuse[action]
            return web.json_response(answer, status=status)
        self._spawn(self._work(action, body))
        return web.json_response({"message": {"ack": {"status": "ACK"}}})

    async def _work(self, action: str, body: dict[str, Any]) -> None:
        self.context = body["context"]
        if action in self.errors:
            await self.send(f"on_{action}", body["message"], self.context["message_id"], self.errors[action])
            return
        message = await getattr(self, f"_{action}")(body["message"])
        if message is not None:
            await self.send(f"on_{action}", message, self.context["message_id"])

    async def send(
        self, action: str, message: dict[str, Any], message_id: str = "", error: dict[str, str] | None = None
    ) -> None:
        context = {
            **self.context,
            "action": action,
            "bpp_id": "bpp.test",
            "bpp_uri": self.uri,
            "message_id": message_id or str(uuid.uuid4()),
        }
        body = {"context": context, "message": message} | ({"error": error} if error else {})
        body = json.loads(json.dumps(body))
        self.spoil(body)
        raw = json.dumps(body).encode()
        headers = {} if self.unsigned else {"Authorization": sign(self.identity, raw, int(time.time()) - 2)}
        async with self._client.post(f"{context['bap_uri']}/{action}", data=raw, headers=headers) as answer:
            self.acks.append(answer.status)

    async def _discover(self, _: dict[str, Any]) -> dict[str, Any]:
        item = {"beckn:id": ITEM, "beckn:provider": {"beckn:id": "cpo"}, "beckn:itemAttributes": {"evseId": "CP1"}}
        offer = {"beckn:id": "offer-1", "beckn:items": [ITEM]}
        return {"catalogs": [{"beckn:items": [item], "beckn:offers": [offer]}]}

    async def _select(self, message: dict[str, Any]) -> dict[str, Any]:
        self.order = message["order"]
        line = self.order["beckn:orderItems"][0]
        quantity = line["beckn:quantity"]
        number = Decimal(str(quantity["unitQuantity"]))
        by_amount = quantity["unitCode"] == "INR"
        self.ordered_kwh = (number / (1 + GST) - SERVICE) / PRICE if by_amount else number
        per = {"unitText": "Kilowatt Hour", "unitCode": "KWH", "unitQuantity": 1}
        line["beckn:price"] = {"currency": "INR", "value": float(PRICE), "applicableQuantity": per}
        self.order["beckn:orderValue"] = priced(self.ordered_kwh, buffer=not by_amount)
        return {"order": self.order}

    async def _init(self, message: dict[str, Any]) -> dict[str, Any]:
        self.order = message["order"]
        self.order.setdefault("beckn:id", "ord-1")
        payment = self.order["beckn:payment"]
        payment.setdefault("beckn:id", "pay-1")
        if payment["beckn:beneficiary"] == "BPP":
            payment["beckn:paymentURL"] = f"{self.base}/pay/first"
        return {"order": self.order}

    async def _pay(self, request: web.Request) -> web.Response:
        status = {"paid": "COMPLETED", "authorized": "AUTHORIZED"}[(await request.json())["status"]]
        payment = self.order["beckn:payment"]
        self.paid += Decimal(str(payment["beckn:amount"]["value"]))
        payment["beckn:paymentStatus"] = status
        if request.match_info["what"] == "first":
            self.order["beckn:orderStatus"] = "PENDING"
        self._spawn(self.send("on_status", {"order": self.order}))
        return web.json_response({"ok": True})

    async def _confirm(self, message: dict[str, Any]) -> dict[str, Any]:
        assert message["order"]["beckn:payment"]["beckn:paymentStatus"] in {"COMPLETED", "AUTHORIZED"}
        self.order = message["order"]
        self.paid = Decimal(str(self.order["beckn:payment"]["beckn:amount"]["value"]))
        self.order["beckn:orderStatus"] = "CONFIRMED"
        self._session("PENDING")
        return {"order": self.order}

    async def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"order": self.order}

    async def _track(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"tracking": {"id": message["tracking"]["id"], "url": f"{self.base}/track/1"}}

    async def _rating(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"received": True}

    async def _support(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"support": {"@context": CORE, "@type": "beckn:SupportInfo", "phone": "+910000000000"}}

    async def _cancel(self, _: dict[str, Any]) -> dict[str, Any]:
        self.order["beckn:orderStatus"] = "CANCELLED"
        self.order["beckn:payment"] |= {
            "beckn:id": "pay-2",
            "beckn:beneficiary": "BUYER",
            "beckn:paymentStatus": "REFUNDED",
        }
        return {"order": self.order}

    async def _update(self, message: dict[str, Any]) -> dict[str, Any] | None:
        assert self.central is not None
        asked = message["order"]["beckn:fulfillment"]["beckn:deliveryAttributes"]["sessionStatus"]
        if asked == "STOP":
            await self.central.command("RemoteStopTransaction", {"transactionId": self.tx_id})
        else:
            await self.central.command("RemoteStartTransaction", {"idTag": "ORDER", "connectorId": 1})
        return None

    def _session(self, status: str, **more: Any) -> None:
        attributes = {"@context": pack("EvChargingSession"), "@type": "ChargingSession", "sessionStatus": status}
        self.order["beckn:fulfillment"] = {"beckn:deliveryAttributes": attributes | more}

    # -- OCPP 1.6 ------------------------------------------------------------------------------------------------

    def _started(self, payload: dict[str, Any]) -> dict[str, Any]:
        if self.tx_id is None:
            self.tx_id, self.meter_start = 77, payload["meterStart"]
            self.order["beckn:orderStatus"] = "INPROGRESS"
            self._session("ACTIVE")
            self._spawn(self.send("on_update", {"order": self.order}))
        return {"transactionId": self.tx_id, "idTagInfo": {"status": "Accepted"}}

    def _metered(self, payload: dict[str, Any]) -> dict[str, Any]:
        register = int(payload["meterValue"][0]["sampledValue"][0]["value"])
        if Decimal(register - self.meter_start) / 1000 >= self.ordered_kwh:
            assert self.central is not None
            self._spawn(self._remote_stop())
        return {}

    async def _remote_stop(self) -> None:
        assert self.central is not None
        await self.central.command("RemoteStopTransaction", {"transactionId": self.tx_id})

    def _stopped(self, payload: dict[str, Any]) -> dict[str, Any]:
        self._spawn(self._bill(Decimal(payload["meterStop"] - self.meter_start) / 1000))
        return {}

    async def _bill(self, kwh: Decimal) -> None:
        value = priced(kwh, buffer=False)
        cost = Decimal(str(value["value"]))
        self.order["beckn:orderStatus"], self.order["beckn:orderValue"] = "COMPLETED", value
        self._session("COMPLETED", meteredEnergyKWh=float(kwh), totalCost={"inclVat": value["value"]})
        payment = self.order["beckn:payment"]
        if cost > self.paid:
            self.order["beckn:payment"] = {
                "beckn:id": "pay-due",
                "beckn:paymentStatus": "PENDING",
                "beckn:amount": {"currency": "INR", "value": float(cost - self.paid)},
                "beckn:paymentURL": f"{self.base}/pay/due",
            }
        else:
            payment["beckn:paymentStatus"] = "COMPLETED" if cost == self.paid else "ADJUSTED"
        await self.send("on_update", {"order": self.order})
        if cost < self.paid and payment.get("beckn:beneficiary") == "BPP":
            refund = {"currency": "INR", "value": float(self.paid - cost)}
            given = {"beckn:id": "pay-back", "beckn:paymentStatus": "PARTIALLY_REFUNDED", "beckn:amount": refund}
            await self.send(
                "on_status", {"order": {**self.order, "beckn:payment": given | {"beckn:beneficiary": "BUYER"}}}
            )

    async def _watch(self) -> None:
        """Tell of an interruption when the newest connection of a running session is gone."""
        assert self.central is not None
        told = 0
        while True:
            await asyncio.sleep(0.02)
            links = self.central.connections
            active = self.order.get("beckn:orderStatus") == "INPROGRESS"
            if active and links and links[-1].state.name == "CLOSED" and told < len(links):
                told = len(links)
                self._session("INTERRUPTED")
                await self.send("on_status", {"order": self.order})

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
