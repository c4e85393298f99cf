"""OCPP 1.6 reservations: told when the window begins, used, expired, refused, taken back (cases 046 to 053)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from running import Server, running
from wire import Refuse, Station16, at, command, instruction, session, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCEPTED = {"status": "Accepted"}
Json = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("reservations16")) as running_server:
        await token(running_server, "TAG")
        await token(running_server, "OTHER")
        await token(running_server, "FAMILY-1", group_id="FAMILY")
        await token(running_server, "FAMILY-2", group_id="FAMILY")
        yield running_server


async def reserve(server: Server, charger_id: str, *, connector: int | None = 1, **more: Any) -> Json:
    body = {"charger_id": charger_id, "token": "TAG", "end_at": at(1800), **more}
    if connector is not None:
        body["connector_id"] = connector
    made: Json = await server.api("POST", "/api/v1/reservations", body, expect=201)
    return made


async def shown(server: Server, made: Json, **wanted: Any) -> Json:
    """The reservation, once it has these members."""

    async def look() -> Json | None:
        found: Json = await server.api("GET", f"/api/v1/reservations/{made['id']}")
        return found if all(found[name] == value for name, value in wanted.items()) else None

    found: Json = await until(look)
    return found


async def booted(cp: Station16) -> Station16:
    await cp.boot()
    await cp.status("Available")
    cp.table |= {"ReserveNow": ACCEPTED, "CancelReservation": ACCEPTED, "RemoteStartTransaction": ACCEPTED}
    return cp


@pytest.mark.case("1.6 TC_046")
async def test_tc_046_reserve_then_use(server: Server) -> None:
    async with Station16(server, "R046") as cp:
        await booted(cp)
        made = await reserve(server, "R046")
        assert (made["status"], made["charger"]) == ("REQUESTED", "asked")
        asked = await cp.until_asked("ReserveNow")
        assert asked == {
            "connectorId": 1, "expiryDate": made["end_at"], "idTag": "TAG", "reservationId": made["id"],
        }  # fmt: skip
        await cp.status("Reserved")
        assert (await shown(server, made, status="ACCEPTED"))["charger"] == "holds"
        await cp.status("Preparing")
        started = await cp.start("TAG", 0, reservationId=made["id"])
        assert started["idTagInfo"]["status"] == "Accepted"
        await shown(server, made, status="USED", charger="gone")
        await cp.stop(started["transactionId"], 400)
        over = await session(server, "R046")
        assert (over["open"], over["token"], over["energy_wh"]) == (False, "TAG", 400)
        assert cp.questions("CancelReservation") == []  # the start has spent it


async def test_a_charger_that_forgets_the_id_uses_the_reservation_all_the_same(server: Server) -> None:
    async with Station16(server, "RFORGET") as cp:
        await booted(cp)
        made = await reserve(server, "RFORGET")
        await shown(server, made, status="ACCEPTED")
        await cp.start("tag", 0)
        await shown(server, made, status="USED", charger="gone")


async def test_a_start_that_names_the_reservation_ends_it_whoever_started(server: Server) -> None:
    async with Station16(server, "RNAMED") as cp:
        await booted(cp)
        made = await reserve(server, "RNAMED")
        await shown(server, made, status="ACCEPTED")
        await cp.start("OTHER", 0, reservationId=made["id"])
        await shown(server, made, status="USED", charger="gone")
        assert await cp.is_served()
        assert cp.questions("CancelReservation") == []  # the start has spent it


async def test_somebody_else_and_another_chargers_number_use_nothing(server: Server) -> None:
    async with Station16(server, "RELSE") as cp, Station16(server, "RELSE2") as other:
        await booted(cp)
        await booted(other)
        made = await reserve(server, "RELSE")
        await shown(server, made, status="ACCEPTED")
        await other.start("TAG", 0, reservationId=made["id"])
        await cp.start("OTHER", 0, connector=2)
        await cp.start("OTHER", 0)
        assert (await session(server, "RELSE2"))["state"] == "ACTIVE"
        assert (await shown(server, made))["status"] == "ACCEPTED"


@pytest.mark.case("1.6 TC_047")
async def test_tc_047_a_reservation_expires(server: Server) -> None:
    async with Station16(server, "R047") as cp:
        await booted(cp)
        made = await reserve(server, "R047", end_at=at(2))
        await shown(server, made, status="ACCEPTED")
        await cp.status("Reserved")
        await shown(server, made, status="EXPIRED", charger="gone")
        await cp.status("Available")
        started = await cp.start("OTHER", 0)
        assert started["idTagInfo"]["status"] == "Accepted"
        assert cp.questions("CancelReservation") == []  # both clocks say that it is over


@pytest.mark.parametrize("word", ["Faulted", "Occupied", "Unavailable", "Rejected"])
@pytest.mark.case("1.6 TC_048_1", "1.6 TC_048_2", "1.6 TC_048_3", "1.6 TC_048_4")
async def test_tc_048_the_charger_says_no(server: Server, word: str) -> None:
    identity = f"R048-{word}"
    async with Station16(server, identity) as cp:
        await booted(cp)
        before = {"Faulted": "Faulted", "Occupied": "Preparing", "Unavailable": "Unavailable"}.get(word, "Available")
        await cp.status(before)
        cp.table["ReserveNow"] = {"status": word}
        made = await reserve(server, identity)
        assert (await shown(server, made, status="REJECTED"))["reason"] == word
        (connector,) = (await server.api("GET", f"/api/v1/chargers/{identity}"))["connectors"]
        assert connector["status"] == before
        again = await server.api("DELETE", f"/api/v1/reservations/{made['id']}", expect=409)
        assert again["type"] == "/problems/wrong-state"
        assert cp.questions("CancelReservation") == []


@pytest.mark.case("1.6 TC_049")
async def test_tc_049_any_connector_of_the_charger(server: Server) -> None:
    async with Station16(server, "R049") as cp:
        await booted(cp)
        await cp.status("Available", connector=2)
        made = await reserve(server, "R049", connector=None)
        assert (await cp.until_asked("ReserveNow"))["connectorId"] == 0
        await shown(server, made, status="ACCEPTED")
        await cp.start("TAG", 0, connector=2, reservationId=made["id"])
        await shown(server, made, status="USED")


@pytest.mark.case("1.6 TC_051")
async def test_tc_051_cancelled(server: Server) -> None:
    async with Station16(server, "R051") as cp:
        await booted(cp)
        made = await reserve(server, "R051")
        await shown(server, made, status="ACCEPTED")
        await cp.status("Reserved")
        gone = await server.api("DELETE", f"/api/v1/reservations/{made['id']}")
        assert gone["status"] == "CANCELLED"
        assert await cp.until_asked("CancelReservation") == {"reservationId": made["id"]}
        await cp.status("Available")
        assert (await shown(server, made, charger="gone"))["status"] == "CANCELLED"
        (connector,) = (await server.api("GET", "/api/v1/chargers/R051"))["connectors"]
        assert connector["status"] == "Available"


@pytest.mark.case("1.6 TC_052")
async def test_tc_052_the_cancellation_is_rejected(server: Server) -> None:
    async with Station16(server, "R052") as cp:
        await booted(cp)
        cp.table["CancelReservation"] = {"status": "Rejected"}
        made = await reserve(server, "R052")
        await shown(server, made, status="ACCEPTED")
        await server.api("DELETE", f"/api/v1/reservations/{made['id']}")
        found = await shown(server, made, reason="CancelReservation: Rejected")
        assert (found["status"], found["charger"]) == ("CANCELLED", "gone")
        assert len(cp.questions("CancelReservation")) == 1


@pytest.mark.case("1.6 TC_053")
async def test_tc_053_another_of_the_group_uses_it(server: Server) -> None:
    async with Station16(server, "R053") as cp:
        await booted(cp)
        made = await reserve(server, "R053", token="FAMILY-1")
        asked = await cp.until_asked("ReserveNow")
        assert (asked["idTag"], asked["parentIdTag"]) == ("FAMILY-1", "FAMILY")
        await shown(server, made, status="ACCEPTED")
        info = await cp.authorize("FAMILY-2")
        assert (info["status"], info["parentIdTag"]) == ("Accepted", "FAMILY")
        await cp.start("FAMILY-2", 0)
        await shown(server, made, status="USED")


# -- beyond the cases


async def test_a_later_window_is_told_when_it_begins(server: Server) -> None:
    async with Station16(server, "RLATER") as cp:
        await booted(cp)
        # A minute ahead of its window it is told: that minute begins in two seconds.
        made = await reserve(server, "RLATER", start_at=at(62))
        assert (made["status"], made["charger"], made["hold"]) == ("ACCEPTED", "no", "soft")
        assert (await cp.until_asked("ReserveNow"))["reservationId"] == made["id"]
        assert (await shown(server, made, charger="holds"))["hold"] == "hard"


async def test_a_charger_that_is_away_is_told_when_it_is_back(server: Server) -> None:
    async with Station16(server, "RAWAY") as cp:
        await booted(cp)
        await cp.cut()
        made = await reserve(server, "RAWAY")
        assert (made["status"], made["charger"]) == ("REQUESTED", "asked")
        await cp.connect()
        assert (await cp.until_asked("ReserveNow"))["reservationId"] == made["id"]
        await shown(server, made, status="ACCEPTED", charger="holds")


async def test_what_was_cancelled_while_the_charger_was_away_is_never_told(server: Server) -> None:
    async with Station16(server, "RNEVER") as cp:
        await booted(cp)
        await cp.cut()
        made = await reserve(server, "RNEVER")
        await server.api("DELETE", f"/api/v1/reservations/{made['id']}")
        await shown(server, made, charger="gone")
        await cp.connect()
        second = await reserve(server, "RNEVER")
        await shown(server, second, charger="holds")
        assert [asked["reservationId"] for asked in cp.questions("ReserveNow")] == [second["id"]]


async def test_an_answer_that_comes_after_the_cancellation_is_taken_back(server: Server) -> None:
    async with Station16(server, "RLATE") as cp:
        await booted(cp)
        may_answer = asyncio.Event()

        async def slowly(_: Json) -> Json:
            await may_answer.wait()
            return ACCEPTED

        cp.table["ReserveNow"] = slowly
        made = await reserve(server, "RLATE")
        await cp.until_asked("ReserveNow")
        await server.api("DELETE", f"/api/v1/reservations/{made['id']}")
        may_answer.set()
        assert await cp.until_asked("CancelReservation") == {"reservationId": made["id"]}
        assert (await shown(server, made, charger="gone"))["status"] == "CANCELLED"


@pytest.mark.parametrize("code", ["NotImplemented", "NotSupported"])
async def test_a_charger_that_keeps_no_reservations_leaves_it_to_our_guard(server: Server, code: str) -> None:
    identity = f"RSOFT-{code}"
    async with Station16(server, identity) as cp:
        await booted(cp)

        def refuse(_: Json) -> None:
            raise Refuse(code)

        cp.table["ReserveNow"] = refuse
        made = await reserve(server, identity)
        found = await shown(server, made, charger="unsupported")
        assert (found["status"], found["hold"], found["reason"]) == ("ACCEPTED", "soft", "NotSupported")
        start = f"/api/v1/chargers/{identity}/commands/start"
        kept = await server.api("POST", start, {"connector_id": 1, "token": "OTHER"}, expect=409)
        assert kept["type"] == "/problems/slot-taken"
        ours = await command(server, identity, "start", {"connector_id": 1, "token": "TAG"})
        await cp.until_asked("RemoteStartTransaction")
        await cp.start("TAG", 0)
        await instruction(server, ours, "EFFECTIVE")
        await shown(server, made, status="USED")
        assert cp.questions("CancelReservation") == []


async def test_another_of_the_group_may_be_started_in_the_window(server: Server) -> None:
    async with Station16(server, "RGROUP") as cp:
        await booted(cp)
        await reserve(server, "RGROUP", token="FAMILY-1")
        await command(server, "RGROUP", "start", {"connector_id": 1, "token": "FAMILY-2"})
        assert (await cp.until_asked("RemoteStartTransaction"))["idTag"] == "FAMILY-2"


async def test_a_silent_charger_may_hold_it_so_it_is_asked_to_let_go(server: Server) -> None:
    async with Station16(server, "RSILENT") as cp:
        await booted(cp)
        cp.table["ReserveNow"] = None
        made = await reserve(server, "RSILENT")
        await cp.until_asked("ReserveNow")
        await cp.cut()
        await cp.connect()
        cp.table["ReserveNow"] = ACCEPTED
        await cp.until_asked("ReserveNow", 2)  # asked again: the same number replaces itself
        await shown(server, made, status="ACCEPTED", charger="holds")


async def test_a_tag_too_long_for_the_wire_is_refused_at_once(server: Server) -> None:
    async with Station16(server, "RLONG") as cp:
        await booted(cp)
        body = {"charger_id": "RLONG", "connector_id": 1, "token": "T" * 21, "end_at": at(600)}
        await server.api("POST", "/api/v1/reservations", body, expect=422)
        assert cp.questions("ReserveNow") == []
