"""Interop: the `ocpp` package's ChargePoint, an independent reading of the protocol, talks to our server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ocpp.v16
import ocpp.v201
import pytest
from ocpp.exceptions import OCPPError
from ocpp.routing import on
from ocpp.v16 import call as call16
from ocpp.v16 import call_result as result16
from ocpp.v201 import call as call201
from ocpp.v201 import call_result as result201
from ocppj_world import World, until

from csms.edges.ocppj.session import Answered, Outcome, Refused


class Charger16(ocpp.v16.ChargePoint):  # type: ignore[misc]  # the library has no type marker
    @on("RemoteStartTransaction")  # type: ignore[untyped-decorator]  # as above
    def on_remote_start(self, id_tag: str, **more: Any) -> Any:
        return result16.RemoteStartTransaction(status="Accepted" if id_tag == "GOOD" else "Rejected")

    @on("ChangeConfiguration")  # type: ignore[untyped-decorator]  # as above
    async def on_change(self, key: str, value: str) -> Any:
        await asyncio.sleep(0.02)
        return result16.ChangeConfiguration(status="Accepted")


class Charger201(ocpp.v201.ChargePoint):  # type: ignore[misc]  # the library has no type marker
    @on("RequestStartTransaction")  # type: ignore[untyped-decorator]  # as above
    def on_request_start(self, **more: Any) -> Any:
        return result201.RequestStartTransaction(status="Accepted", transaction_id="tx-1")


@asynccontextmanager
async def plugged(world: World, kind: Any, version: str) -> AsyncIterator[Any]:
    async with world.run(), world.charger(version=version) as charger:
        assert charger.socket.subprotocol == version
        point = kind("CP1", charger.socket, response_timeout=3)
        reading = asyncio.ensure_future(point.start())
        try:
            yield point
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def ask(world: World, action: str, payload: dict[str, Any], message_id: str) -> list[Outcome]:
    outcomes: list[Outcome] = []
    world.link().call(action, payload, outcomes.append, message_id=message_id)
    return outcomes


async def test_a_16_session_with_a_library_charger() -> None:
    world = World()
    async with plugged(world, Charger16, "ocpp1.6") as point:
        boot = await point.call(call16.BootNotification(charge_point_model="M", charge_point_vendor="V"))
        assert (boot.status, boot.interval) == ("Accepted", 60)
        assert (await point.call(call16.Heartbeat())).current_time == "2026-01-02T03:04:05.678Z"
        await point.call(call16.StatusNotification(connector_id=1, error_code="NoError", status="Available"))
        start = await point.call(
            call16.StartTransaction(connector_id=1, id_tag="A", meter_start=0, timestamp="2026-01-02T03:04:05Z")
        )
        assert (start.transaction_id, start.id_tag_info["status"]) == (1, "Accepted")
        sample = {"value": "1.5", "measurand": "Energy.Active.Import.Register", "unit": "kWh"}
        await point.call(
            call16.MeterValues(
                connector_id=1,
                transaction_id=1,
                meter_value=[{"timestamp": "2026-01-02T03:04:05Z", "sampled_value": [sample]}],
            )
        )
        heard = [(action, request) for _, action, request in world.talk.heard]
        assert [action for action, _ in heard] == [
            "BootNotification",
            "Heartbeat",
            "StatusNotification",
            "StartTransaction",
            "MeterValues",
        ]
        assert heard[0][1].chargePointModel == "M"
        assert heard[4][1].meterValue[0].sampledValue[0].value == "1.5"
        assert world.server.stats.misfits == 0


async def test_our_16_calls_are_answered_by_a_library_charger_while_it_asks() -> None:
    world = World()
    async with plugged(world, Charger16, "ocpp1.6") as point:
        await point.call(call16.Heartbeat())
        good = ask(world, "RemoteStartTransaction", {"idTag": "GOOD", "connectorId": 1}, "o1")
        bad = ask(world, "RemoteStartTransaction", {"idTag": "BAD"}, "o2")
        slow = ask(world, "ChangeConfiguration", {"key": "k", "value": "v"}, "o3")
        unknown = ask(world, "GetDiagnostics", {"location": "ftp://x"}, "o4")
        # What does not fit goes out as it is when an operator insists; the charger decides.
        nonsense = ask(world, "RemoteStartTransaction", {"connectorId": "one"}, "o5")
        await point.call(call16.Heartbeat())
        await until(lambda: nonsense)
        assert good == [Answered({"status": "Accepted"})]
        assert bad == [Answered({"status": "Rejected"})]
        assert slow == [Answered({"status": "Accepted"})]
        assert isinstance(unknown[0], Refused)
        assert unknown[0].code in ("NotSupported", "NotImplemented")
        assert isinstance(nonsense[0], Refused)


async def test_a_201_session_with_a_library_charger() -> None:
    world = World()
    async with plugged(world, Charger201, "ocpp2.0.1") as point:
        boot = await point.call(
            call201.BootNotification(charging_station={"model": "M", "vendor_name": "V"}, reason="PowerUp")
        )
        assert boot.status == "Accepted"
        await point.call(
            call201.TransactionEvent(
                event_type="Started",
                timestamp="2026-01-02T03:04:05Z",
                trigger_reason="CablePluggedIn",
                seq_no=0,
                transaction_info={"transaction_id": "tx-1"},
                meter_value=[{"timestamp": "2026-01-02T03:04:05Z", "sampled_value": [{"value": 12.1}]}],
            )
        )
        event = world.talk.heard[-1][2]
        assert event.transactionInfo.transactionId == "tx-1"
        assert event.meterValue[0].sampledValue[0].value == 12.1
        token = {"idToken": "T", "type": "Central"}
        started = ask(world, "RequestStartTransaction", {"idToken": token, "remoteStartId": 7}, "o1")
        await until(lambda: started)
        assert started == [Answered({"status": "Accepted", "transactionId": "tx-1"})]


async def test_our_refusals_are_exceptions_the_library_knows() -> None:
    world = World()
    async with plugged(world, Charger16, "ocpp1.6") as point:
        with pytest.raises(OCPPError) as caught:
            await point.call(call16.Authorize(id_tag="A"), suppress=False)  # the handler raises
        assert caught.value.code == "InternalError"
        with pytest.raises(OCPPError) as caught:
            await point.call(call16.FirmwareStatusNotification(status="Idle"), suppress=False)
        assert caught.value.code == "NotSupported"
        assert (await point.call(call16.Heartbeat())).current_time
