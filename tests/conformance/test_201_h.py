"""OCPP 2.0.1 block H: reservations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from running import Server, running
from wire import Station201, at, charger, session, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCEPTED = {"status": "Accepted"}
TOKEN = {"idToken": "TOKEN", "type": "ISO14443"}
Json = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("h")) as running_server:
        await token(running_server, "TOKEN")
        await token(running_server, "FAMILY-1", group_id="FAMILY")
        await token(running_server, "FAMILY-2", group_id="FAMILY")
        yield running_server


async def reserve(server: Server, charger_id: str, **more: Any) -> Json:
    body = {"charger_id": charger_id, "token": "TOKEN", "end_at": at(1800), **more}
    made: Json = await server.api("POST", "/api/v1/reservations", body, expect=201)
    return made


async def shown(server: Server, made: Json, **wanted: Any) -> Json:
    async def look() -> Json | None:
        found: Json = await server.api("GET", f"/api/v1/reservations/{made['id']}")
        return found if all(found[name] == value for name, value in wanted.items()) else None

    found: Json = await until(look)
    return found


async def booted(cs: Station201, evses: int = 1) -> None:
    await cs.boot()
    for evse in range(1, evses + 1):
        await cs.status("Available", evse)
    cs.table |= {"ReserveNow": ACCEPTED, "CancelReservation": ACCEPTED}


async def connector_status(server: Server, charger_id: str) -> str:
    (connector,) = (await charger(server, charger_id))["connectors"]
    return str(connector["status"])


@pytest.mark.case("2.0.1 TC_H_01")
async def test_tc_h_01_a_reserved_evse_is_used(server: Server) -> None:
    async with Station201(server, "H01") as cs:
        await booted(cs)
        made = await reserve(server, "H01", evse_id=1)
        asked = await cs.until_asked("ReserveNow")
        assert asked == {"id": made["id"], "expiryDateTime": made["end_at"], "idToken": TOKEN, "evseId": 1}
        await cs.status("Reserved")
        await shown(server, made, status="ACCEPTED", charger="holds")
        assert (await cs.authorize("TOKEN"))["status"] == "Accepted"
        await cs.event("Started", "h01", "Authorized", token="TOKEN", wh=0, reservationId=made["id"])
        await shown(server, made, status="USED", charger="gone")
        found = await session(server, "H01")
        assert (found["state"], found["token"], found["evse_id"]) == ("ACTIVE", "TOKEN", 1)
        await cs.event("Ended", "h01", "StopAuthorized", token="TOKEN", wh=70)
        over = await session(server, "H01")
        assert (over["open"], over["energy_wh"]) == (False, 70)
        assert cs.questions("CancelReservation") == []  # what is used needs no cancelling


async def test_a_token_that_comes_after_the_start_uses_the_reservation(server: Server) -> None:
    async with Station201(server, "H01B") as cs:
        await booted(cs)
        made = await reserve(server, "H01B", evse_id=1)
        await shown(server, made, status="ACCEPTED")
        await cs.event("Started", "h01b", "CablePluggedIn", wh=0)
        assert (await shown(server, made))["status"] == "ACCEPTED"
        await cs.event("Updated", "h01b", "Authorized", token="TOKEN")
        await shown(server, made, status="USED")


@pytest.mark.case("2.0.1 TC_H_07")
async def test_tc_h_07_a_reservation_nobody_used_expires(server: Server) -> None:
    async with Station201(server, "H07") as cs:
        await booted(cs)
        made = await reserve(server, "H07", evse_id=1)
        asked = await cs.until_asked("ReserveNow")
        assert (asked["id"], asked["expiryDateTime"]) == (made["id"], made["end_at"])
        await cs.status("Reserved")
        await shown(server, made, status="ACCEPTED")
        update = {"reservationId": made["id"], "reservationUpdateStatus": "Expired"}
        assert await cs.ask("ReservationStatusUpdate", update) == {}
        await cs.status("Available")
        assert (await shown(server, made, status="EXPIRED"))["charger"] == "gone"
        assert await connector_status(server, "H07") == "Available"
        assert cs.questions("CancelReservation") == []


@pytest.mark.case("2.0.1 TC_H_08")
async def test_tc_h_08_any_evse(server: Server) -> None:
    async with Station201(server, "H08") as cs:
        await booted(cs, 2)
        made = await reserve(server, "H08")
        assert "evseId" not in await cs.until_asked("ReserveNow")
        await shown(server, made, status="ACCEPTED")
        await cs.event("Started", "h08", "Authorized", token="TOKEN", wh=0, evse=2, reservationId=made["id"])
        await shown(server, made, status="USED")
        assert (await session(server, "H08"))["evse_id"] == 2


@pytest.mark.case("2.0.1 TC_H_14")
async def test_tc_h_14_as_many_reservations_as_evses(server: Server) -> None:
    async with Station201(server, "H14") as cs:
        await booted(cs, 2)
        made = [await reserve(server, "H14") for _ in range(2)]
        body = {"charger_id": "H14", "token": "TOKEN", "end_at": at(1800)}
        full = await server.api("POST", "/api/v1/reservations", body, expect=409)
        assert full["type"] == "/problems/slot-taken"
        await server.api("POST", "/api/v1/reservations", {**body, "evse_id": 1}, expect=409)
        await cs.until_asked("ReserveNow", 2)
        for evse, one in enumerate(made, 1):
            await shown(server, one, status="ACCEPTED")
            await cs.status("Reserved", evse)
        assert {c["status"] for c in (await charger(server, "H14"))["connectors"]} == {"Reserved"}


async def test_one_evse_that_is_taken_twice_leaves_the_other_free(server: Server) -> None:
    async with Station201(server, "H14B") as cs:
        await booted(cs, 2)
        await reserve(server, "H14B", evse_id=1, start_at=at(3600), end_at=at(5400))
        await reserve(server, "H14B", evse_id=1, start_at=at(5400), end_at=at(7200))
        made = await reserve(server, "H14B", start_at=at(3600), end_at=at(7200))
        assert made["evse_id"] == 0


@pytest.mark.case("2.0.1 TC_H_15")
async def test_tc_h_15_a_kind_of_connector(server: Server) -> None:
    async with Station201(server, "H15") as cs:
        await booted(cs)
        made = await reserve(server, "H15", connector_type="cType2")
        asked = await cs.until_asked("ReserveNow")
        assert (asked["connectorType"], "evseId" in asked) == ("cType2", False)
        assert (await shown(server, made, status="ACCEPTED"))["connector_type"] == "cType2"


@pytest.mark.case("2.0.1 TC_H_17")
async def test_tc_h_17_cancelled(server: Server) -> None:
    async with Station201(server, "H17") as cs:
        await booted(cs)
        made = await reserve(server, "H17", evse_id=1)
        await cs.status("Reserved")
        await shown(server, made, status="ACCEPTED")
        await server.api("DELETE", f"/api/v1/reservations/{made['id']}")
        assert await cs.until_asked("CancelReservation") == {"reservationId": made["id"]}
        await cs.status("Available")
        await shown(server, made, status="CANCELLED", charger="gone")
        assert await connector_status(server, "H17") == "Available"


@pytest.mark.case("2.0.1 TC_H_19")
async def test_tc_h_19_another_of_the_group_uses_it(server: Server) -> None:
    async with Station201(server, "H19") as cs:
        await booted(cs)
        made = await reserve(server, "H19", evse_id=1, token="FAMILY-1")
        asked = await cs.until_asked("ReserveNow")
        assert asked["idToken"]["idToken"] == "FAMILY-1"
        assert asked["groupIdToken"]["idToken"] == "FAMILY"
        await shown(server, made, status="ACCEPTED")
        info = await cs.authorize("FAMILY-2")
        assert info["groupIdToken"]["idToken"] == "FAMILY"
        await cs.event("Started", "h19", "Authorized", token="FAMILY-2", wh=0)
        await shown(server, made, status="USED")
        found = await session(server, "H19")
        assert (found["state"], found["token"]) == ("ACTIVE", "FAMILY-2")


@pytest.mark.case("2.0.1 TC_H_20")
async def test_tc_h_20_a_fault_removes_the_reservation(server: Server) -> None:
    async with Station201(server, "H20") as cs:
        await booted(cs)
        made = await reserve(server, "H20", evse_id=1)
        await shown(server, made, status="ACCEPTED")
        await cs.status("Reserved")
        await cs.status("Faulted")
        update = {"reservationId": made["id"], "reservationUpdateStatus": "Removed"}
        assert await cs.ask("ReservationStatusUpdate", update) == {}
        found = await shown(server, made, status="CANCELLED")
        assert (found["charger"], found["reason"]) == ("gone", "Removed")
        assert await connector_status(server, "H20") == "Faulted"


@pytest.mark.case("2.0.1 TC_H_22")
async def test_tc_h_22_the_station_rejects(server: Server) -> None:
    async with Station201(server, "H22") as cs:
        await booted(cs)
        cs.table["ReserveNow"] = {"status": "Rejected"}
        made = await reserve(server, "H22", evse_id=1)
        found = await shown(server, made, status="REJECTED")
        assert (found["reason"], found["charger"]) == ("Rejected", "refused")
        assert [one["id"] for one in cs.questions("ReserveNow")] == [made["id"]]
        assert cs.questions("CancelReservation") == []


async def test_an_update_about_nothing_we_know_changes_nothing(server: Server) -> None:
    async with Station201(server, "HODD") as cs, Station201(server, "HODD2") as other:
        await booted(cs)
        await booted(other)
        made = await reserve(server, "HODD", evse_id=1)
        await shown(server, made, status="ACCEPTED")
        for number in (99_999, made["id"]):  # nobody's, and another charger's
            update = {"reservationId": number, "reservationUpdateStatus": "Removed"}
            assert await other.ask("ReservationStatusUpdate", update) == {}
        second = await reserve(server, "HODD2", evse_id=1)
        await shown(server, second, status="ACCEPTED")
        update = {"reservationId": second["id"], "reservationUpdateStatus": "Removed"}
        await other.ask("ReservationStatusUpdate", update)
        await shown(server, second, status="CANCELLED")  # reports are read in order: those before have been
        assert (await shown(server, made))["status"] == "ACCEPTED"
