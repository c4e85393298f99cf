"""Transactions of OCPP 2.0.1 to their end: what the station says of them when it is asked (E14), remote starts of
running ones, events nobody can read, meter values of every kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from running import Server, running
from wire import (
    Payload,
    Station201,
    answered,
    at,
    charger,
    command,
    instruction,
    raw,
    session,
    sessions,
    token,
    until,
    until_session,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCEPTED = {"status": "Accepted"}
OVER = {"ENDED", "SETTLED"}
# Nothing ends for want of patience here: only what the station says may end a session in time for a test.
PATIENT = {"limits": {"data_online_s": 600, "data_offline_s": 3600, "bootstop_s": 600, "drain_s": 1}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with running(tmp_path_factory.mktemp("transactions201"), PATIENT) as running_server:
        await token(running_server, "TOKEN")
        yield running_server


def status(*, queued: bool, ongoing: bool | None = None) -> Payload:
    """An answer to GetTransactionStatus."""
    return {"messagesInQueue": queued} | ({} if ongoing is None else {"ongoingIndicator": ongoing})


async def started(cs: Station201, tx: str, wh: int = 0) -> None:
    """A running transaction with 50 Wh proven."""
    await cs.boot()
    await cs.event("Started", tx, "Authorized", token="TOKEN", wh=wh)
    charging = {"chargingState": "Charging"}
    await cs.event("Updated", tx, "MeterValuePeriodic", wh=wh + 50, info=charging, when=at(-10))


async def until_over(server: Server, charger_id: str) -> Payload:
    """The charger's only session, once it can be billed."""

    async def look() -> Payload | None:
        found = await session(server, charger_id)
        return found if found["state"] in OVER else None

    over: Payload = await until(look)
    return over


# -- GetTransactionStatus


@pytest.mark.case("2.0.1 TC_E_29")
async def test_tc_e_29_a_running_transaction_with_messages_in_the_queue_goes_on(server: Server) -> None:
    async with Station201(server, "E29") as cs:
        cs.table["GetTransactionStatus"] = status(queued=True, ongoing=True)
        await started(cs, "e29")
        asked = {"transactionId": "e29"}
        assert await answered(server, cs.id, "GetTransactionStatus", asked) == status(queued=True, ongoing=True)
        assert cs.questions("GetTransactionStatus")[0] == asked
        await cs.until_asked("GetTransactionStatus", 2)  # asked again until the queue is empty
        assert (await session(server, cs.id))["state"] == "ACTIVE"
        cs.table["GetTransactionStatus"] = status(queued=False, ongoing=True)
        await cs.event("Updated", "e29", "MeterValuePeriodic", wh=90)
        await cs.event("Ended", "e29", "StopAuthorized", token="TOKEN", wh=100)
        assert (await session(server, cs.id))["energy_wh"] == 100


@pytest.mark.case("2.0.1 TC_E_30")
async def test_tc_e_30_a_running_transaction_without_messages_in_the_queue_goes_on(server: Server) -> None:
    async with Station201(server, "E30") as cs:
        cs.table["GetTransactionStatus"] = status(queued=False, ongoing=True)
        await started(cs, "e30")
        outcome = await answered(server, cs.id, "GetTransactionStatus", {"transactionId": "e30"})
        assert outcome == status(queued=False, ongoing=True)
        assert cs.questions("GetTransactionStatus") == [{"transactionId": "e30"}]
        assert (await session(server, cs.id))["state"] == "ACTIVE"
        await cs.event("Updated", "e30", "MeterValuePeriodic", wh=70)
        found = await session(server, cs.id)
        assert (found["state"], found["energy_wh"]) == ("ACTIVE", 70)
        await cs.event("Ended", "e30", "StopAuthorized", token="TOKEN", wh=100)
        over = await session(server, cs.id)
        assert (over["open"], over["energy_wh"], over["transaction_ids"]) == (False, 100, ["e30"])


@pytest.mark.case("2.0.1 TC_E_31")
async def test_tc_e_31_an_ended_transaction_with_messages_in_the_queue_is_waited_for(server: Server) -> None:
    async with Station201(server, "E31") as cs:
        cs.table["GetTransactionStatus"] = status(queued=True, ongoing=False)
        await started(cs, "e31")
        outcome = await answered(server, cs.id, "GetTransactionStatus", {"transactionId": "e31"})
        assert outcome == status(queued=True, ongoing=False)
        await cs.until_asked("GetTransactionStatus", 2)
        assert (await session(server, cs.id))["open"] is True
        await cs.event("Ended", "e31", "EVDeparted", wh=120, info={"stoppedReason": "EVDisconnected"}, offline=True)
        over = await session(server, cs.id)
        assert (over["open"], over["energy_wh"], over["end_cause"]) == (False, 120, "EVDisconnected")


@pytest.mark.case("2.0.1 TC_E_33")
async def test_tc_e_33_without_a_transaction_messages_in_the_queue_are_waited_for(server: Server) -> None:
    async with Station201(server, "E33") as cs:
        cs.table["GetTransactionStatus"] = status(queued=True)
        await started(cs, "e33")
        lost = cs.event_of("Updated", "e33", "MeterValuePeriodic", wh=80)  # one that waits in the queue
        await cs.event("Ended", "e33", "StopAuthorized", token="TOKEN", wh=100)
        assert (await session(server, cs.id))["state"] == "ENDED_PENDING_DATA"
        assert await answered(server, cs.id, "GetTransactionStatus", {}) == status(queued=True)
        assert {} in cs.questions("GetTransactionStatus")
        assert (await session(server, cs.id))["state"] == "ENDED_PENDING_DATA"
        assert await cs.ask("TransactionEvent", {**lost, "offline": True}) == {}
        over = await until_over(server, cs.id)
        assert (over["energy_wh"], over["quality"]) == (100, "A")


@pytest.mark.case("2.0.1 TC_E_34")
async def test_tc_e_34_without_a_transaction_and_with_nothing_in_the_queue_what_is_missing_never_comes(
    server: Server,
) -> None:
    async with Station201(server, "E34") as cs:
        cs.table["GetTransactionStatus"] = status(queued=True)
        await started(cs, "e34")
        cs.event_of("Updated", "e34", "MeterValuePeriodic", wh=80)  # a number that is never sent: memory ran out
        await cs.event("Ended", "e34", "StopAuthorized", token="TOKEN", wh=100)
        assert (await session(server, cs.id))["state"] == "ENDED_PENDING_DATA"
        cs.table["GetTransactionStatus"] = status(queued=False)
        assert await answered(server, cs.id, "GetTransactionStatus", {}) == status(queued=False)
        assert {} in cs.questions("GetTransactionStatus")
        over = await until_over(server, cs.id)
        assert (over["energy_wh"], over["end_cause"], over["meter_stop_wh"]) == (100, "Local", 100)


async def test_a_gap_that_the_station_cannot_fill_ends_when_it_says_so(server: Server) -> None:
    async with Station201(server, "E-GAP") as cs:
        cs.table["GetTransactionStatus"] = status(queued=False, ongoing=False)
        await started(cs, "gap")
        cs.seq["gap"] += 3
        await cs.event("Ended", "gap", "StopAuthorized", token="TOKEN", wh=100)
        assert (await until_over(server, cs.id))["energy_wh"] == 100
        assert cs.questions("GetTransactionStatus")[0] == {"transactionId": "gap"}


async def test_a_transaction_that_the_station_no_longer_knows_ends_with_what_is_proven(server: Server) -> None:
    async with Station201(server, "E-GONE") as cs:
        cs.table["GetTransactionStatus"] = status(queued=False, ongoing=False)
        await started(cs, "gone")
        await cs.cut()
        await until_session(server, cs.id, state="SUSPENDED_OFFLINE")
        await cs.connect()  # no boot, and no event follows: after the drain it is asked
        assert await cs.until_asked("GetTransactionStatus") == {"transactionId": "gone"}
        over = await until_over(server, cs.id)
        assert (over["energy_wh"], over["end_cause"]) == (50, "Unknown")


async def test_a_transaction_that_survived_its_reboot_goes_on_as_one_session(server: Server) -> None:
    async with Station201(server, "E-SURVIVES") as cs:
        cs.table["GetTransactionStatus"] = status(queued=False, ongoing=True)
        await started(cs, "survives")
        await cs.cut()
        await until_session(server, cs.id, state="SUSPENDED_OFFLINE")
        await cs.connect()
        await cs.boot("PowerUp")
        assert await cs.until_asked("GetTransactionStatus") == {"transactionId": "survives"}
        await until_session(server, cs.id, state="ACTIVE")
        await cs.event("Updated", "survives", "MeterValuePeriodic", wh=80)
        await cs.event("Ended", "survives", "StopAuthorized", token="TOKEN", wh=100)
        over = await session(server, cs.id)
        assert (over["open"], over["energy_wh"], over["transaction_ids"]) == (False, 100, ["survives"])


async def test_after_a_reboot_a_forgotten_transaction_ends_as_a_power_loss(server: Server) -> None:
    async with Station201(server, "E-FORGOTTEN") as cs:
        cs.table["GetTransactionStatus"] = status(queued=False, ongoing=False)
        await started(cs, "forgotten")
        await cs.cut()
        await until_session(server, cs.id, state="SUSPENDED_OFFLINE")
        await cs.connect()
        await cs.boot("PowerUp")
        over = await until_over(server, cs.id)
        assert (over["energy_wh"], over["end_cause"], over["quality"] != "A") == (50, "PowerLoss", True)


async def test_a_free_connector_of_a_running_transaction_is_asked_about_once(server: Server) -> None:
    async with Station201(server, "E-FREE") as cs:
        cs.table["GetTransactionStatus"] = status(queued=False, ongoing=True)
        await started(cs, "free")
        for _ in range(3):
            await cs.status("Available")
        await cs.until_asked("GetTransactionStatus")
        await answered(server, cs.id, "GetTransactionStatus", {"transactionId": "free"})  # behind it in the line
        assert len(cs.questions("GetTransactionStatus")) == 2
        assert (await session(server, cs.id))["state"] == "ACTIVE"


# -- events in odd orders, and those nobody can read


async def test_two_ends_with_the_same_meter_are_one_and_another_meter_is_a_case(server: Server) -> None:
    async with Station201(server, "E-TWICE") as cs:
        await started(cs, "twice")
        when = at()
        await cs.event("Ended", "twice", "StopAuthorized", token="TOKEN", wh=100, when=when)
        first = await session(server, cs.id)
        await cs.event("Ended", "twice", "StopAuthorized", token="TOKEN", wh=100, when=when)
        again = await session(server, cs.id)
        assert (again["energy_wh"], again["cases"]) == (first["energy_wh"], first["cases"]) == (100, [])
        await cs.event("Ended", "twice", "StopAuthorized", token="TOKEN", wh=900)
        assert "DUP_CONFLICT" in {one["type"] for one in (await session(server, cs.id))["cases"]}


async def test_an_event_that_nobody_can_read_keeps_a_place_for_its_transaction(server: Server) -> None:
    async with Station201(server, "E-UNREADABLE") as cs:
        await cs.boot()
        unreadable = {"eventType": "Flown", "transactionInfo": {"transactionId": "odd"}, "seqNo": []}
        assert await cs.ask("TransactionEvent", unreadable) == {}
        kept = await session(server, cs.id)
        assert (kept["state"], kept["transaction_ids"]) == ("ORPHAN", ["odd"])
        assert await cs.ask("TransactionEvent", unreadable) == {}
        assert await cs.ask("TransactionEvent", {"eventType": "Flown"}) == {}  # names none: kept aside, and no more
        await cs.event("Started", "odd", "Authorized", token="TOKEN", wh=0)
        await cs.event("Ended", "odd", "StopAuthorized", token="TOKEN", wh=60)
        over = await session(server, cs.id)  # still the only one
        assert (over["id"], over["open"], over["energy_wh"], over["token"]) == (kept["id"], False, 60, "TOKEN")
        found = (await server.api("GET", f"/api/v1/cases?charger_id={cs.id}&type=QUARANTINE"))["items"]
        assert len(found) == 3


async def test_an_unreadable_event_of_a_known_transaction_makes_no_second_session(server: Server) -> None:
    async with Station201(server, "E-UNREADABLE2") as cs:
        await started(cs, "known")
        assert await cs.ask("TransactionEvent", {"transactionInfo": {"transactionId": "known"}, "eventType": 7}) == {}
        found = await session(server, cs.id)
        assert (found["state"], found["energy_wh"]) == ("ACTIVE", 50)


# -- remote control


async def test_a_remote_start_takes_a_transaction_that_runs_already(server: Server) -> None:
    """F01 with the start point EVConnected: plugging in began the transaction, the request only authorises it."""
    async with Station201(server, "F01-RUNNING") as cs:
        cs.table["RequestStartTransaction"] = {"status": "Accepted", "transactionId": "f01"}
        await cs.boot()
        await cs.event("Started", "f01", "CablePluggedIn", info={"chargingState": "EVConnected"}, wh=0)
        begun = await command(server, cs.id, "start", {"token": "TOKEN", "evse_id": 1})
        asked = await cs.until_asked("RequestStartTransaction")
        assert asked["idToken"]["idToken"] == "TOKEN"
        await instruction(server, begun, "ACCEPTED")
        info = {"remoteStartId": asked["remoteStartId"], "chargingState": "EVConnected"}
        await cs.event("Updated", "f01", "RemoteStart", info=info)
        done = await instruction(server, begun, "EFFECTIVE")
        found = await session(server, cs.id)
        assert (done["session_id"], found["state"], found["token"]) == (found["id"], "ACTIVE", "TOKEN")


@pytest.mark.case("2.0.1 TC_F_02")
async def test_tc_f_02_remote_start_first_and_the_station_asks_about_the_token(server: Server) -> None:
    async with Station201(server, "F02-ASKS") as cs:
        cs.table["RequestStartTransaction"] = ACCEPTED
        await cs.boot()
        begun = await command(server, cs.id, "start", {"token": "TOKEN", "evse_id": 1})
        asked = await cs.until_asked("RequestStartTransaction")
        await instruction(server, begun, "ACCEPTED")
        authorized = await cs.ask("Authorize", {"idToken": asked["idToken"]})
        assert authorized["idTokenInfo"]["status"] == "Accepted"
        await cs.status("Occupied")
        info = {"remoteStartId": asked["remoteStartId"], "chargingState": "Charging"}
        said = await cs.ask(
            "TransactionEvent",
            cs.event_of("Started", "f02", "RemoteStart", info=info, wh=0) | {"idToken": asked["idToken"]},
        )
        assert said["idTokenInfo"]["status"] == "Accepted"
        await instruction(server, begun, "EFFECTIVE")
        assert (await session(server, cs.id))["state"] == "ACTIVE"


@pytest.mark.case("2.0.1 TC_F_03")
async def test_tc_f_03_remote_start_first_and_the_station_does_not_ask(server: Server) -> None:
    async with Station201(server, "F03-SILENT") as cs:
        cs.table["RequestStartTransaction"] = ACCEPTED
        await cs.boot()
        begun = await command(server, cs.id, "start", {"token": "TOKEN", "evse_id": 1})
        asked = await cs.until_asked("RequestStartTransaction")
        assert (asked["idToken"]["idToken"], asked["evseId"], asked["remoteStartId"] > 0) == ("TOKEN", 1, True)
        info = {"remoteStartId": asked["remoteStartId"]}
        said = await cs.event("Started", "f03", "RemoteStart", token="TOKEN", info=info, wh=0)
        assert said["idTokenInfo"]["status"] == "Accepted"
        await cs.status("Occupied")
        await cs.event("Updated", "f03", "ChargingStateChanged", info={"chargingState": "Charging"})
        await instruction(server, begun, "EFFECTIVE")
        found = await session(server, cs.id)
        assert (found["token"], found["state"]) == ("TOKEN", "ACTIVE")


@pytest.mark.case("2.0.1 TC_F_06")
@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("Unlocked", "EFFECTIVE"),
        ("UnlockFailed", "REFUSED"),
        ("OngoingAuthorizedTransaction", "REFUSED"),
        ("UnknownConnector", "REFUSED"),
    ],
)
async def test_tc_f_06_unlock_without_a_transaction(server: Server, word: str, state: str) -> None:
    async with Station201(server, f"F06-{word}") as cs:
        cs.table["UnlockConnector"] = {"status": word}
        await cs.boot()
        begun = await command(server, cs.id, "unlock", {"evse_id": 1, "connector_id": 1})
        assert (await instruction(server, begun, state))["reason"] == word
        assert cs.questions("UnlockConnector") == [{"evseId": 1, "connectorId": 1}]
        assert await sessions(server, cs.id) == []


async def test_two_starts_for_one_token_each_come_true(server: Server) -> None:
    async with Station201(server, "F-TWO") as cs:
        cs.table["RequestStartTransaction"] = ACCEPTED
        await cs.boot()
        begun = [
            await command(server, cs.id, "start", {"token": "TOKEN", "evse_id": evse, "connector_id": 1})
            for evse in (1, 2)
        ]
        asked = [await cs.until_asked("RequestStartTransaction", count) for count in (1, 2)]
        for call in reversed(asked):  # the second one first
            info = {"remoteStartId": call["remoteStartId"]}
            await cs.event("Started", f"two-{call['evseId']}", "RemoteStart", evse=call["evseId"], info=info, wh=0)
        by_evse = {one["evse_id"]: one["id"] for one in await sessions(server, cs.id)}
        for evse, start in zip((1, 2), begun, strict=True):
            assert (await instruction(server, start, "EFFECTIVE"))["session_id"] == by_evse[evse]


# -- resets and availability


async def test_a_hard_reset_waits_for_a_person_while_a_session_is_open(server: Server) -> None:
    async with Station201(server, "G-RESET") as cs:
        cs.table["Reset"] = ACCEPTED
        await started(cs, "reset")
        path = f"/api/v1/chargers/{cs.id}/commands/reset"
        refused = await server.api("POST", path, {"hard": True}, expect=409)
        assert "session" in refused["detail"]
        await server.api("POST", path, {"type": "Immediate", "evse_id": 1}, expect=409)
        assert cs.questions("Reset") == []
        await instruction(server, await command(server, cs.id, "reset", {"hard": True, "evse_id": 2}), "ACCEPTED")
        await instruction(server, await command(server, cs.id, "reset"), "ACCEPTED")  # waits for the transaction
        await instruction(server, await command(server, cs.id, "reset", {"hard": True, "force": True}), "ACCEPTED")
        assert cs.questions("Reset") == [{"type": "Immediate", "evseId": 2}, {"type": "OnIdle"}, {"type": "Immediate"}]


async def test_the_reset_of_one_evse_shows_itself_by_its_status(server: Server) -> None:
    async with Station201(server, "B-EVSE") as cs:
        cs.table["Reset"] = {"status": "Scheduled"}
        await cs.boot()
        for evse in (1, 2):
            await cs.status("Available", evse=evse)
        await cs.event("Started", "evse", "Authorized", token="TOKEN", wh=0)
        await cs.status("Occupied")
        begun = await command(server, cs.id, "reset", {"evse_id": 1})
        assert (await instruction(server, begun, "ACCEPTED"))["reason"] == "Scheduled"
        await cs.status("Unavailable", evse=2)  # another EVSE proves nothing
        await cs.event("Updated", "evse", "MeterValuePeriodic", wh=10)
        assert (await instruction(server, begun))["state"] == "ACCEPTED"
        await cs.event("Ended", "evse", "ResetCommand", wh=20, info={"stoppedReason": "Reboot"})
        await cs.status("Unavailable", evse=1)
        await instruction(server, begun, "EFFECTIVE")


# -- meter values


def instant(*samples: Payload) -> Payload:
    return {"timestamp": at(), "sampledValue": list(samples)}


def clock(value: float, **more: Any) -> Payload:
    return {"value": value, "context": "Sample.Clock", "measurand": "Energy.Active.Import.Register", **more}


SIGNED = {"signedMeterData": "T0NNRg==", "signingMethod": "ECDSA", "encodingMethod": "OCMF", "publicKey": "AAAA"}


@pytest.mark.case("2.0.1 TC_J_03")
async def test_tc_j_03_clock_aligned_values_in_the_end(server: Server) -> None:
    async with Station201(server, "J03-CLOCK") as cs:
        await started(cs, "j03", 1000)
        ended = [
            {"timestamp": at(-10), "sampledValue": [clock(1060)]},
            instant({"value": 1080, "context": "Transaction.End"}),
        ]
        assert await cs.event("Ended", "j03", "StopAuthorized", meterValue=ended) == {}
        over = await session(server, cs.id)
        assert (over["energy_wh"], over["meter_stop_wh"]) == (80, 1080)
        samples = (await server.api("GET", f"/api/v1/sessions/{over['id']}/samples"))["items"]
        assert {1060, 1080} <= {one["register_wh"] for one in samples}


@pytest.mark.case("2.0.1 TC_J_04")
async def test_tc_j_04_clock_aligned_values_that_are_signed(server: Server) -> None:
    async with Station201(server, "J04") as cs:
        await started(cs, "j04")
        said = {"meterValue": [instant(clock(70, signedMeterValue=SIGNED))]}
        assert await cs.event("Updated", "j04", "MeterValueClock", **said) == {}
        assert await cs.ask("MeterValues", {"evseId": 2, **said}) == {}
        outside = (await server.api("GET", f"/api/v1/chargers/{cs.id}/samples"))["items"]
        assert [(one["evse_id"], one["register_wh"], one["signed"]) for one in outside] == [(2, 70, True)]
        found = await session(server, cs.id)
        assert found["energy_wh"] == 70
        samples = (await server.api("GET", f"/api/v1/sessions/{found['id']}/samples"))["items"]
        assert [one["signed"] for one in samples if one["register_wh"] == 70] == [True]
        for action in ("TransactionEvent", "MeterValues"):  # kept as it came, for whoever verifies it
            logged = await server.api("GET", f"/api/v1/chargers/{cs.id}/frames?action={action}")
            assert "T0NNRg==" in str(logged)


@pytest.mark.case("2.0.1 TC_J_07", "2.0.1 TC_J_08")
@pytest.mark.parametrize("knows_its_evse", [True, False], ids=["j_07", "j_08"])
async def test_tc_j_07_08_sampled_values_of_the_beginning(server: Server, knows_its_evse: bool) -> None:
    async with Station201(server, f"J07-{knows_its_evse}") as cs:
        await cs.boot()
        begin = [instant({"value": 500, "context": "Transaction.Begin"})]
        first = cs.event_of("Started", cs.id, "Authorized", token="TOKEN", evse=1 if knows_its_evse else None)
        if knows_its_evse:
            first["meterValue"] = begin
        assert (await cs.ask("TransactionEvent", first))["idTokenInfo"]["status"] == "Accepted"
        if not knows_its_evse:
            assert await cs.event("Updated", cs.id, "CablePluggedIn", meterValue=begin) == {}
        assert await cs.event("Updated", cs.id, "MeterValuePeriodic", wh=620) == {}
        found = await session(server, cs.id)
        assert (found["energy_wh"], found["state"]) == (120, "ACTIVE")
        await cs.event("Ended", cs.id, "StopAuthorized", wh=700)
        over = await session(server, cs.id)
        assert (over["open"], over["energy_wh"]) == (False, 200)


async def test_an_answer_too_short_for_its_kind_is_a_refusal_and_no_wait(server: Server) -> None:
    async with Station201(server, "T5") as cs:
        await cs.boot()

        async def stammer(_: Payload) -> None:
            message_id = (await frames_asked(server, cs.id))[-1]
            await cs.send(f'[4,"{message_id}"]')

        cs.table["ClearCache"] = stammer
        outcome = await raw(server, cs.id, "ClearCache", {})
        assert (outcome["status"], outcome["error"]["code"]) == ("call_error", "GenericError")
        assert (await charger(server, cs.id))["online"] is True


async def frames_asked(server: Server, charger_id: str) -> list[str]:
    """The message ids of our calls, once there are any."""

    async def look() -> list[str]:
        found = await server.api("GET", f"/api/v1/chargers/{charger_id}/frames?action=ClearCache")
        return [one["message_id"] for one in found["items"] if one["direction"] == "out"][::-1]

    ids: list[str] = await until(look)
    return ids
