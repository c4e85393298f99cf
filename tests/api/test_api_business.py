"""Sessions, CDRs, tokens, reservations, charging profiles, the catalogue, orders and cases."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from apiworld import NOW_MS, Client, World, session_row, station_row

from csms.app.tokens import entry_from
from csms.ports import Row, Table

HOUR_MS = 3_600_000


def case_row(no: int, **more: Any) -> Row:
    row: Row = {
        "id": f"case-{no}",
        "no": no,
        "type": "CLOCK",
        "severity": "warning",
        "state": "open",
        "text": "The clock is wrong.",
        "opened_ms": NOW_MS,
    }
    return {**row, **more}


# -- sessions


async def test_a_session_is_shown_with_everything_that_is_promised(api: Client, world: World) -> None:
    await world.add(
        Table.SESSIONS,
        session_row(
            7,
            state="ENDED",
            open=0,
            ended_ms=NOW_MS + HOUR_MS,
            meter_stop_wh=6340,
            energy_wh=5340,
            stop_reason="PowerLoss",
            end_cause="PowerLoss",
            order_id="o-1",
            power_w=0,
            last_proven_ms=NOW_MS + HOUR_MS,
        ),
    )
    await world.add(Table.CASES, case_row(1, session_id="s-7"))
    body = (await api("GET", "/api/v1/sessions/s-7")).body
    expected = {
        "id": "s-7",
        "state": "ENDED",
        "open": False,
        "quality": "A",
        "token": "TAG1",
        "charger_id": "CP1",
        "charger": "CP1",
        "evse_id": 1,
        "evse": 1,
        "connector_id": 1,
        "connector": 1,
        "transaction_ids": ["7"],
        "started_at": "2026-01-02T03:00:00.000Z",
        "ended_at": "2026-01-02T04:00:00.000Z",
        "meter_start_wh": 1000,
        "meter_stop_wh": 6340,
        "energy_wh": 5340,
        "power_w": 0,
        "soc_percent": None,
        "stop_reason": "PowerLoss",
        "end_cause": "PowerLoss",
        "order_id": "o-1",
        "version": 3,
        "last_proven_at": "2026-01-02T04:00:00.000Z",
    }
    assert {name: body[name] for name in expected} == expected
    assert body["cases"] == [
        {"id": "case-1", "type": "CLOCK", "severity": "warning", "state": "open", "text": "The clock is wrong."}
    ]


async def test_sessions_are_found_by_every_filter_newest_first(api: Client, world: World) -> None:
    await world.add(
        Table.SESSIONS,
        session_row(1, token="TAG1"),
        session_row(2, token="tag2", open=0, state="ENDED"),
        session_row(3, station="CP2", token="TAG1", order_id="o-1"),
    )
    await world.add(
        Table.ALIASES,
        {"station": "CP1", "kind": "ocpp16_id", "value": "501", "session_no": 1},
        {"station": "CP2", "kind": "ocpp201_txid", "value": "501", "session_no": 3},
        {"station": "CP1", "kind": "remote_start_id", "value": "501", "session_no": 2},
    )

    async def found(query: str) -> list[str]:
        reply = await api("GET", f"/api/v1/sessions?{query}")
        assert reply.status == 200
        return [one["id"] for one in reply.body["items"]]

    assert await found("") == ["s-3", "s-2", "s-1"]
    assert await found("charger_id=CP1") == ["s-2", "s-1"]
    assert await found("token=TAG1") == ["s-3", "s-1"]
    assert await found("token=tag2") == ["s-2"]
    assert await found("token=TAG2") == ["s-2"]
    assert await found("open=true") == ["s-3", "s-1"]
    assert await found("open=false") == ["s-2"]
    assert await found("transaction_id=501") == ["s-3", "s-1"]
    assert await found("transaction_id=501&charger_id=CP1") == ["s-1"]
    assert await found("transaction_id=502") == []
    assert await found("order_id=o-1") == ["s-3"]
    assert await found("charger_id=CP1&open=true&token=TAG1") == ["s-1"]


async def test_a_walk_sees_every_session_once_while_new_ones_begin(api: Client, world: World) -> None:
    await world.add(Table.SESSIONS, *(session_row(n) for n in range(1, 24)))
    first = (await api("GET", "/api/v1/sessions?limit=5")).body
    await world.add(Table.SESSIONS, session_row(24))
    rest = await api.walk("/api/v1/sessions", 5)
    assert [one["id"] for one in rest] == [f"s-{n}" for n in range(24, 0, -1)]
    second = (await api("GET", f"/api/v1/sessions?limit=5&cursor={first['next_cursor']}")).body
    assert [one["id"] for one in second["items"]] == [f"s-{n}" for n in range(18, 13, -1)]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_a_walk_sees_every_sample_once_also_those_of_one_instant(api: Client, world: World, limit: int) -> None:
    await world.add(Table.SESSIONS, session_row(7))

    def reading(at: int, register: int) -> Row:
        return {
            "subject": 7,
            "at_ms": NOW_MS + at,
            "socket": 1001,
            "register_wh": register,
            "received_ms": NOW_MS + at,
            "context": "sample",
            "flags": 1,
        }

    rows = [reading(at, register) for at in range(6) for register in ((20, 30, 40) if at % 2 else (10,))]
    rows.append(reading(9, -1))
    await world.add(Table.READINGS, *reversed(rows))
    walked = await api.walk("/api/v1/sessions/s-7/samples", limit)
    assert [(one["at"], one["register_wh"]) for one in walked] == [
        (f"2026-01-02T03:00:00.{row['at_ms'] - NOW_MS:03}Z", row["register_wh"] if row["register_wh"] >= 0 else None)
        for row in rows
    ]
    assert (walked[0]["evse_id"], walked[0]["connector_id"], walked[0]["signed"]) == (1, 1, True)
    assert walked[0]["power_w"] is None


async def test_revisions_tell_every_price(api: Client, world: World) -> None:
    await world.add(Table.SESSIONS, session_row(7))
    for revision, amount in ((1, 11412), (2, 11500)):
        row: Row = {
            "session_no": 7,
            "revision": revision,
            "at_ms": NOW_MS,
            "provisional": 2 - revision,
            "energy_wh": 6340,
            "quality": "A",
            "currency": "INR",
            "amount_minor": amount,
            "breakdown": '{"lines": 1}',
            "session_version": 3,
        }
        await world.add(Table.REVISIONS, row)
    items = (await api("GET", "/api/v1/sessions/s-7/revisions")).body["items"]
    assert [(one["revision"], one["provisional"], one["amount"]) for one in items] == [
        (1, True, {"amount": "114.12", "currency": "INR"}),
        (2, False, {"amount": "115.00", "currency": "INR"}),
    ]
    assert items[0]["breakdown"] == {"lines": 1}


async def test_a_person_closes_a_session_with_a_reason(api: Client, world: World) -> None:
    await world.add(Table.SESSIONS, session_row(7))
    assert (await api("POST", "/api/v1/sessions/s-7/close", {})).status == 422
    reply = await api("POST", "/api/v1/sessions/s-7/close", {"reason": "station burnt down"})
    assert (reply.status, reply.body["state"]) == (200, "ENDED")
    assert world.charging.closed == [("s-7", "station burnt down", "bootstrap")]
    assert (await api("POST", "/api/v1/sessions/none/close", {"reason": "x"})).status == 404


# -- CDRs


async def finished(world: World) -> None:
    await world.add(
        Table.SESSIONS,
        session_row(1, state="SETTLED", open=0, ended_ms=NOW_MS, energy_wh=5000, token="=1+1"),
        session_row(2, state="ACTIVE"),
        session_row(3, state="ENDED", open=0, ended_ms=NOW_MS + HOUR_MS, energy_wh=100, token=None),
        session_row(4, state="VOID", open=0, ended_ms=NOW_MS),
        session_row(5, state="ABANDONED", open=0, station="CP2", ended_ms=NOW_MS + 2 * HOUR_MS),
    )
    row: Row = {
        "session_no": 1,
        "revision": 2,
        "at_ms": NOW_MS,
        "energy_wh": 5000,
        "currency": "INR",
        "amount_minor": -1,
        "session_version": 1,
    }
    await world.add(Table.REVISIONS, {**row, "revision": 1, "amount_minor": 5}, row)


async def test_cdrs_are_the_finished_sessions_with_their_last_price(api: Client, world: World) -> None:
    await finished(world)
    items = (await api("GET", "/api/v1/cdrs")).body["items"]
    assert [(one["id"], one["amount"], one["provisional"]) for one in items] == [
        ("s-5", None, True),
        ("s-3", None, False),
        ("s-1", {"amount": "-0.01", "currency": "INR"}, False),
    ]
    assert [one["id"] for one in await api.walk("/api/v1/cdrs", 1)] == ["s-5", "s-3", "s-1"]
    from_to = "from=2026-01-02T03:00:00Z&to=2026-01-02T04:00:00Z"
    assert [one["id"] for one in (await api("GET", f"/api/v1/cdrs?{from_to}")).body["items"]] == ["s-1"]
    assert [one["id"] for one in await api.walk("/api/v1/cdrs?charger_id=CP2", 1)] == ["s-5"]


async def test_cdrs_stream_as_csv_that_no_spreadsheet_runs(api: Client, world: World) -> None:
    await finished(world)
    reply = await api("GET", "/api/v1/cdrs?format=csv&tz=Asia/Kolkata")
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(reply.text)))
    assert [row["id"] for row in rows] == ["s-5", "s-3", "s-1"]
    assert rows[2]["token"] == "'=1+1"
    assert (rows[2]["amount"], rows[2]["currency"], rows[2]["energy_wh"]) == ("-0.01", "INR", "5000")
    assert rows[2]["ended_at"] == "2026-01-02T08:30:00+05:30"
    assert rows[1]["token"] == ""
    assert (await api("GET", "/api/v1/cdrs?format=csv&tz=Mars/Olympus")).status == 422
    assert (await api("GET", "/api/v1/cdrs?format=xml")).status == 422


async def test_a_long_csv_holds_every_row_once(api: Client, world: World) -> None:
    rows = [session_row(n, state="ENDED", open=0, ended_ms=NOW_MS) for n in range(1, 1203)]
    await world.add(Table.SESSIONS, *rows)
    reply = await api("GET", "/api/v1/cdrs?format=csv&limit=10")
    ids = [row["id"] for row in csv.DictReader(io.StringIO(reply.text))]
    assert ids == [f"s-{n}" for n in range(1202, 0, -1)]


# -- tokens


async def test_a_token_is_put_found_in_any_case_and_deleted(api: Client, world: World) -> None:
    made = await api("PUT", "/api/v1/tokens/Tag%201", {"driver": "D", "expires_at": "2027-01-01T05:30:00+05:30"})
    assert made.status == 201
    assert (made.body["uid"], made.body["status"], made.body["kind"]) == ("Tag 1", "Accepted", "regular")
    assert made.body["expires_at"] == "2027-01-01T00:00:00.000Z"
    world.clock.ms += 1000
    again = await api("PUT", "/api/v1/tokens/TAG%201", {"status": "Blocked", "kind": "fleet", "group_id": "G"})
    assert (again.status, again.body["status"], again.body["driver"]) == (200, "Blocked", None)
    assert (await api("GET", "/api/v1/tokens/tag%201")).body == again.body
    row = await world.store.read(lambda tx: tx.one(Table.TOKENS, uid_norm="TAG 1"))
    assert row is not None
    expires_ms = 1_798_761_600_000
    history = [[0, "Accepted", expires_ms, None], [NOW_MS + 1000, "Blocked", None, "G"]]
    assert json.loads(row["history"]) == history
    assert [(h["since"], h["status"], h["group_id"]) for h in again.body["history"]] == [
        (None, "Accepted", None),
        ("2026-01-02T03:00:01.000Z", "Blocked", "G"),
    ]
    token = entry_from(row).token
    assert (token.status_at(NOW_MS), token.status_at(NOW_MS + 2000)) == ("Accepted", "Blocked")
    assert (await api("DELETE", "/api/v1/tokens/tag%201")).status == 204
    assert (await api("DELETE", "/api/v1/tokens/tag%201")).status == 404
    assert (await api("GET", "/api/v1/tokens/tag%201")).status == 404
    assert (await api("GET", "/api/v1/tokens")).body["items"] == []
    assert world.tokens.told == ["TAG 1"] * 3


async def test_a_removed_token_that_comes_back_was_away_meanwhile(api: Client, world: World) -> None:
    await api("PUT", "/api/v1/tokens/TAG1", {"driver": "D"})
    world.clock.ms += 1000
    await api("DELETE", "/api/v1/tokens/TAG1")
    removed = await world.store.read(lambda tx: tx.one(Table.TOKENS, uid_norm="TAG1"))
    assert removed is not None
    assert removed["driver"] is None  # whose it was is nobody's business any more
    assert entry_from(removed).token.status_at(NOW_MS) == "Accepted"
    world.clock.ms += 1000
    back = await api("PUT", "/api/v1/tokens/TAG1", {})
    assert (back.status, [h["status"] for h in back.body["history"]]) == (201, ["Accepted", "Deleted", "Accepted"])
    row = await world.store.read(lambda tx: tx.one(Table.TOKENS, uid_norm="TAG1"))
    assert row is not None
    token = entry_from(row).token
    assert [token.status_at(NOW_MS + ms) for ms in (0, 1500, 2500)] == ["Accepted", "Deleted", "Accepted"]


async def test_the_history_of_an_older_version_told_the_status_alone(world: World) -> None:
    row = {
        "uid_norm": "T",
        "uid": "T",
        "updated_ms": 0,
        "history": '[[0, "Accepted"], [5, "Blocked"]]',
        "group_id": "G",
    }
    await world.add(Table.TOKENS, {**row, "status": "Blocked"})
    found = await world.store.read(lambda tx: tx.one(Table.TOKENS, uid_norm="T"))
    assert found is not None
    standing = entry_from(found).token.standing_at(1)
    assert (standing.status, standing.group_id) == ("Accepted", "G")


async def test_a_token_is_shown_with_everything_that_restricts_it(api: Client) -> None:
    body = {
        "type": "MacAddress", "kind": "autocharge", "power_types": ["DC", "AC", "DC"], "one_session_at_a_time": True,
        "budget_wh": 20_000, "budget_s": 3600,
        "good_at": [{"charger_id": "CP1", "evse_ids": [2, 1]}, {"location_id": "SITE"}],
    }  # fmt: skip
    shown = (await api("PUT", "/api/v1/tokens/TAG1", body)).body
    assert (shown["kind"], shown["power_types"], shown["one_session_at_a_time"]) == ("autocharge", ["AC", "DC"], True)
    assert (shown["budget_wh"], shown["budget_s"], shown["blocked_by"]) == (20_000, 3600, [])
    assert shown["good_at"] == [
        {"charger_id": "CP1", "location_id": None, "evse_ids": [1, 2]},
        {"charger_id": None, "location_id": "SITE", "evse_ids": []},
    ]
    again = (await api("PUT", "/api/v1/tokens/TAG1", {})).body
    assert (again["good_at"], again["power_types"], again["budget_wh"]) == (None, None, None)


async def test_a_key_code_is_not_written_into_the_journal(api: Client, world: World) -> None:
    await api("PUT", "/api/v1/tokens/4711", {"type": "KeyCode"})
    await api("DELETE", "/api/v1/tokens/4711")
    facts = await world.store.read(lambda tx: tx.facts(0, 10))
    assert [(fact.kind, fact.body["uid"]) for fact in facts] == [("TokenChanged", "***"), ("TokenDeleted", "***")]


# -- vehicles


async def test_a_vehicle_is_put_found_however_written_and_removed(api: Client, world: World) -> None:
    await api("PUT", "/api/v1/tokens/Tag1", {})
    made = await api("PUT", "/api/v1/vehicles/aa:bb:cc:dd:ee:01", {"token": "TAG1", "limit_wh": 5000})
    assert made.status == 201
    assert made.body == {
        "id": "aa:bb:cc:dd:ee:01", "kind": "mac", "token": "TAG1", "limit_wh": 5000, "limit_s": None, "enabled": True,
        "updated_at": "2026-01-02T03:00:00.000Z",
    }  # fmt: skip
    assert (await api("GET", "/api/v1/vehicles/VID:AABBCCDDEE01")).body == made.body
    assert (await api("PUT", "/api/v1/vehicles/AA-BB-CC-DD-EE-01", {"token": "tag1", "enabled": False})).status == 200
    listed = (await api("GET", "/api/v1/vehicles?token=tag1")).body["items"]
    assert [(one["id"], one["enabled"]) for one in listed] == [("AA-BB-CC-DD-EE-01", False)]
    assert (await api("DELETE", "/api/v1/vehicles/AABBCCDDEE01")).status == 204
    assert (await api("GET", "/api/v1/vehicles/AABBCCDDEE01")).status == 404
    assert world.tokens.told[1:] == ["AABBCCDDEE01"] * 3


async def test_a_vehicle_needs_a_token_that_can_be_charged_with(api: Client, world: World) -> None:
    await world.add(Table.TOKENS, {"uid_norm": "K7", "uid": "k7", "kind": "order", "order_id": "o-1", "updated_ms": 0})
    assert (await api("PUT", "/api/v1/vehicles/AABBCCDDEE01", {"token": "NOBODY"})).status == 404
    assert (await api("PUT", "/api/v1/vehicles/AABBCCDDEE01", {"token": "K7"})).status == 409
    assert (await api("PUT", "/api/v1/vehicles/-----", {"token": "K7"})).status == 422


@pytest.mark.parametrize(
    "body",
    [
        {"status": "Maybe"},
        {"kind": "order"},
        {"expires_at": "2027-01-01"},
        {"expires_at": "2027-01-01T00:00:00"},
        {"expires_at": "0128-01-01T00:00:00Z"},
        {"expires_at": "0001-01-01T00:00:00+14:00"},
        {"expires_at": "9999-12-31T23:59:59-14:00"},
        {"x": 1},
    ],
)
async def test_a_token_that_makes_no_sense_is_refused(api: Client, body: dict[str, Any]) -> None:
    assert (await api("PUT", "/api/v1/tokens/TAG1", body)).status == 422


async def test_the_token_of_an_order_belongs_to_the_order(api: Client, world: World) -> None:
    row: Row = {"uid_norm": "K7", "uid": "K7", "kind": "order", "order_id": "o-1", "updated_ms": NOW_MS}
    await world.add(Table.TOKENS, row)
    assert (await api("PUT", "/api/v1/tokens/K7", {"status": "Blocked"})).status == 409
    assert (await api("DELETE", "/api/v1/tokens/K7")).status == 409
    assert (await api("GET", "/api/v1/tokens?kind=order")).body["items"][0]["order_id"] == "o-1"


async def test_a_walk_sees_every_token_once(api: Client) -> None:
    for n in range(7):
        await api("PUT", f"/api/v1/tokens/tag{n}", {})
    assert [one["uid"] for one in await api.walk("/api/v1/tokens", 2)] == [f"tag{n}" for n in range(7)]


# -- reservations


def wish(**more: Any) -> dict[str, Any]:
    body = {"charger_id": "CP1", "connector_id": 1, "token": "TAG1", "end_at": "2026-01-02T04:00:00Z"}
    return {**body, **more}


async def issued(api: Client) -> list[dict[str, Any]]:
    """The payloads of the instructions, oldest first."""
    return [one["payload"] for one in (await api("GET", "/api/v1/instructions")).body["items"][::-1]]


async def test_a_reservation_that_begins_now_is_told_to_the_charger(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1, transport="ocpp1.6"))
    made = await api("POST", "/api/v1/reservations", wish(order_id="o-1"))
    assert made.status == 201
    assert (made.body["id"], made.body["status"], made.body["evse"]) == (1, "REQUESTED", 1)
    assert (made.body["charger"], made.body["reason"]) == ("asked", None)
    assert made.body["window"] == {"start": "2026-01-02T03:00:00.000Z", "end": "2026-01-02T04:00:00.000Z"}
    (told,) = await issued(api)
    assert {name: value for name, value in told.items() if value is not None} == {
        "command": "Reserve", "reservation_id": 1, "evse": 1, "connector": 1, "token": "TAG1",
        "expires_ms": NOW_MS + HOUR_MS + 600_000,
    }  # fmt: skip
    gone = await api("DELETE", "/api/v1/reservations/1")
    assert (gone.status, gone.body["status"]) == (200, "CANCELLED")
    over = await api("DELETE", "/api/v1/reservations/1")
    assert (over.status, over.body["type"]) == (409, "/problems/wrong-state")
    assert (await api("GET", "/api/v1/reservations/1")).body["status"] == "CANCELLED"


async def test_what_the_charger_holds_is_taken_back_with_the_reservation(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1, transport="ocpp1.6"))
    await api("POST", "/api/v1/reservations", wish())
    await world.store.transact(lambda tx: tx.change(Table.RESERVATIONS, {"told": "holds", "status": "ACCEPTED"}, id=1))
    assert (await api("DELETE", "/api/v1/reservations/1")).body["charger"] == "gone"
    assert (await issued(api))[1] == {"command": "CancelReservation", "reservation_id": 1}


async def test_a_charger_that_keeps_no_reservations_is_told_nothing(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1, transport="ocpp1.6"))
    said = {"station": "CP1", "name": "SupportedFeatureProfiles", "attribute": "Actual", "seen_ms": NOW_MS}
    await world.add(Table.CONFIGURATION, {**said, "value": "Core,SmartCharging"})
    made = await api("POST", "/api/v1/reservations", wish())
    assert (made.body["status"], made.body["hold"], made.body["charger"]) == ("ACCEPTED", "soft", "unsupported")
    assert await issued(api) == []
    taken = await api("POST", "/api/v1/chargers/CP1/commands/start", {"token": "TAG2", "connector_id": 1})
    assert (taken.status, taken.body["type"]) == (409, "/problems/slot-taken")
    assert (
        await api("POST", "/api/v1/chargers/CP1/commands/start", {"token": "tag1", "connector_id": 1})
    ).status == 202
    anywhere = await api("POST", "/api/v1/reservations", {**wish(), "connector_id": 0})
    assert (anywhere.status, anywhere.body["type"]) == (409, "/problems/slot-taken")
    await api("DELETE", "/api/v1/reservations/1")
    anywhere = await api("POST", "/api/v1/reservations", {**wish(), "connector_id": 0})
    assert (anywhere.status, anywhere.body["type"]) == (422, "/problems/not-supported")


async def test_a_later_reservation_stands_in_our_calendar_and_keeps_others_out(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1, transport="ocpp1.6"))
    later = wish(start_at="2026-01-02T06:00:00Z", end_at="2026-01-02T07:00:00Z")
    made = await api("POST", "/api/v1/reservations", later)
    assert (made.status, made.body["status"], made.body["hold"]) == (201, "ACCEPTED", "soft")
    assert world.instructing.issued == []
    taken = await api("POST", "/api/v1/reservations", {**later, "start_at": "2026-01-02T06:30:00Z"})
    assert (taken.status, taken.body["type"]) == (409, "/problems/slot-taken")
    after = wish(start_at="2026-01-02T07:00:00Z", end_at="2026-01-02T08:00:00Z")
    assert (await api("POST", "/api/v1/reservations", after)).status == 201
    assert (await api("POST", "/api/v1/reservations", {**later, "connector_id": 2})).status == 201
    assert (await api("DELETE", f"/api/v1/reservations/{made.body['id']}")).status == 200
    assert world.instructing.issued == []
    assert (await api("POST", "/api/v1/reservations", later)).status == 201
    walked = await api.walk("/api/v1/reservations?charger_id=CP1", 1)
    assert [one["id"] for one in walked] == [4, 3, 2, 1]
    assert len((await api("GET", "/api/v1/reservations?status=CANCELLED")).body["items"]) == 1


async def test_the_reservation_of_an_order_ends_with_the_order(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1, transport="ocpp1.6"))
    await world.add(Table.ORDERS, order_row(1))
    made = await api("POST", "/api/v1/reservations", wish(order_id="o-1"))
    reply = await api("DELETE", f"/api/v1/reservations/{made.body['id']}")
    assert (reply.status, reply.body["type"]) == (409, "/problems/wrong-state")
    assert (await api("GET", "/api/v1/reservations/1")).body["status"] == "REQUESTED"


async def test_a_reservation_no_charger_could_be_told_of_is_refused(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1, transport="ocpp1.6"))
    for more in ({"token": "T" * 21}, {"connector_type": "cType2", "connector_id": 0}):
        assert (await api("POST", "/api/v1/reservations", wish(**more))).status == 422
    both = wish(connector_type="cType2", evse_id=1)
    assert (await api("POST", "/api/v1/reservations", both)).status == 422
    assert (await api("GET", "/api/v1/reservations")).body["items"] == []


async def test_a_reservation_must_end_after_it_begins_and_have_a_charger(api: Client, world: World) -> None:
    assert (await api("POST", "/api/v1/reservations", wish())).status == 404
    await world.add(Table.STATIONS, station_row("CP1", 1))
    assert (await api("POST", "/api/v1/reservations", wish(end_at="2026-01-02T02:00:00Z"))).status == 422
    assert (await api("GET", "/api/v1/reservations/x")).status == 422


# -- charging profiles


async def test_charging_profiles_are_kept_in_ocpps_shape(api: Client) -> None:
    profile = {
        "description": "night",
        "stackLevel": 0,
        "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 6.5}]},
        "vendorMember": {"kept": True},
    }
    made = await api("PUT", "/api/v1/charging-profiles/42", profile)
    assert made.status == 201
    assert {**made.body, "updated_at": None} == {**profile, "id": 42, "updated_at": None}
    found = (await api("GET", "/api/v1/charging-profiles?description=night")).body["items"]
    assert [one["id"] for one in found] == [42]
    assert (await api("GET", "/api/v1/charging-profiles?description=day")).body["items"] == []
    assert (await api("PUT", "/api/v1/charging-profiles/42", {**profile, "description": None})).status == 200
    assert (await api("PUT", "/api/v1/charging-profiles/43", {**profile, "chargingProfileId": 44})).status == 422
    assert (await api("PUT", "/api/v1/charging-profiles/43", {"description": "no schedule"})).status == 422
    assert (await api("PUT", "/api/v1/charging-profiles/0", profile)).status == 422
    assert (await api("DELETE", "/api/v1/charging-profiles/42")).status == 204
    assert (await api("GET", "/api/v1/charging-profiles/42")).status == 404


async def test_the_shadow_of_a_charger_is_walked_by_evse_and_number(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    places = [(1, 3), (0, 7), (1, -1), (2, 2_000_000_002), (0, 5)]
    for evse, number in places:
        row = {"station": "CP1", "evse": evse, "profile_id": number, "purpose": "TxProfile", "stack_level": 0}
        more = {"origin": "csms", "data": '{"id": 1}', "updated_ms": NOW_MS}
        await world.add(Table.INSTALLED_PROFILES, {**row, **more})
    path = "/api/v1/chargers/CP1/charging-profiles"
    walked = await api.walk(path, 2)
    assert [(one["evse_id"], one["profile_id"]) for one in walked] == sorted(places)
    assert walked[0]["profile"] == {"id": 1}
    assert (await api("GET", f"{path}?cursor=nonsense")).status == 422
    assert (await api("GET", "/api/v1/chargers/CP9/charging-profiles")).status == 404


# -- catalogue

LOCATION: dict[str, Any] = {
    "country_code": "IN",
    "party_id": "ABC",
    "publish": True,
    "name": "Station road",
    "address": "1 Station Road",
    "city": "Bengaluru",
    "country": "IND",
    "coordinates": {"latitude": "12.9716", "longitude": "77.5946"},
    "time_zone": "Asia/Kolkata",
    "parking_type": "ON_STREET",
    "evses": [
        {
            "uid": "CP1",
            "status": "AVAILABLE",
            "connectors": [
                {
                    "id": "1",
                    "standard": "IEC_62196_T2_COMBO",
                    "format": "CABLE",
                    "power_type": "DC",
                    "max_voltage": 500,
                    "max_amperage": 120,
                    "tariff_ids": ["T1"],
                }
            ],
        }
    ],
}
TARIFF: dict[str, Any] = {
    "currency": "INR",
    "elements": [{"price_components": [{"type": "ENERGY", "price": 18.0, "vat": 18.0, "step_size": 1}]}],
    "surge_percent": 10,
}
OFFER: dict[str, Any] = {"name": "Night owl", "percent": 10, "valid_until": "2027-01-01T00:00:00Z", "colour": "blue"}


async def test_locations_tariffs_and_offers_are_kept_as_they_were_put(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    for kind, body in (("locations", LOCATION), ("tariffs", TARIFF), ("offers", OFFER)):
        made = await api("PUT", f"/api/v1/{kind}/X1", body)
        assert made.status == 201, made.text
        shown = await api("GET", f"/api/v1/{kind}/X1")
        assert shown.body == made.body
        assert {name: shown.body[name] for name in body} == body
        assert (shown.body["id"], shown.body["last_updated"]) == ("X1", "2026-01-02T03:00:00.000Z")
        again = await api("PUT", f"/api/v1/{kind}/X1", shown.body)  # what was read can be written back
        assert (again.status, again.body) == (200, shown.body)
        assert [one["id"] for one in (await api("GET", f"/api/v1/{kind}")).body["items"]] == ["X1"]
        assert (await api("PUT", f"/api/v1/{kind}/X2", {**body, "id": "X1"})).status == 422
        assert (await api("DELETE", f"/api/v1/{kind}/X1")).status == 204
        assert (await api("GET", f"/api/v1/{kind}/X1")).status == 404
    assert len(world.catalogue.told) == 9


async def test_a_location_shows_which_chargers_it_has(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    made = await api("PUT", "/api/v1/locations/L1", LOCATION)
    assert made.body["joined"] == [{"evse_uid": "CP1", "charger_id": "CP1", "charger_evse": 1}]
    stored = await world.store.read(lambda tx: tx.one(Table.LOCATIONS, id="L1"))
    assert stored is not None
    assert "joined" not in json.loads(stored["data"])


@pytest.mark.parametrize(
    ("kind", "change", "path"),
    [
        ("locations", {"coordinates": {"latitude": "12", "longitude": "77.5"}}, "/coordinates/latitude"),
        ("locations", {"coordinates": None}, "/coordinates"),
        ("locations", {"time_zone": "Mars/Olympus"}, "/time_zone"),
        ("locations", {"evses": [{"uid": "E1", "connectors": []}]}, "/evses/0/connectors"),
        ("locations", {"city": 7}, "/city"),
        ("tariffs", {"currency": "rupees"}, "/currency"),
        ("tariffs", {"elements": []}, "/elements"),
        (
            "tariffs",
            {"elements": [{"price_components": [{"type": "ENERGY", "price": -1}]}]},
            "/elements/0/price_components/0/price",
        ),
        ("offers", {"name": ""}, "/name"),
        ("offers", {"valid_until": "soon"}, "/valid_until"),
    ],
)
async def test_what_could_not_be_sold_is_refused_by_name(
    api: Client, kind: str, change: dict[str, Any], path: str
) -> None:
    body = {"locations": LOCATION, "tariffs": TARIFF, "offers": OFFER}[kind]
    reply = await api("PUT", f"/api/v1/{kind}/X1", {**body, **change})
    assert reply.status == 422
    assert path in [fault["path"] for fault in reply.body["errors"]]
    missing = {name: value for name, value in body.items() if name not in change}
    if kind == "locations" and not {"time_zone", "evses"} & set(change):
        reply = await api("PUT", f"/api/v1/{kind}/X1", missing)
        assert reply.status == 422
        assert "missing" in reply.body["detail"]


async def test_a_tariff_that_cannot_be_billed_exactly_is_refused(api: Client, world: World) -> None:
    element = {**TARIFF["elements"][0], "restrictions": {"max_kwh": 5}}
    reply = await api("PUT", "/api/v1/tariffs/T1", {**TARIFF, "elements": [element]})
    assert (reply.status, reply.body["type"]) == (422, "/problems/invalid-request")
    assert "max_kwh" in reply.body["detail"]
    assert world.catalogue.told == []


# -- orders


def order_row(no: int, **data: Any) -> Row:
    price = {
        "currency": "INR",
        "components": [
            {"kind": "UNIT", "role": "energy", "amount": "112.50", "description": "Energy 2.5 kWh"},
            {"kind": "DISCOUNT", "role": "discount", "amount": "-15.00", "description": "Offer"},
        ],
        "included_tax": "0",
    }
    whole = {
        "item_id": "IND*x*1",
        "want": {"kind": "ENERGY", "energy_wh": 2500, "amount_minor": None, "minutes": None},
        "quote": price,
        "quoted_wh": 2500,
        "hold_minor": 9750,
        "payment": {
            "payment_id": "p-1",
            "status": "CAPTURED",
            "amount_minor": 9750,
            "beneficiary": "BPP",
            "paid_at_ms": NOW_MS,
        },
        "refunds": [{"payment_id": "r-1", "status": "REFUNDED", "amount_minor": 750, "beneficiary": "BUYER"}],
        "delivered_wh": 2300,
        "order_number": f"N{no}",
        **data,
    }
    return {
        "id": f"o-{no}",
        "no": no,
        "network": "v2",
        "bap_id": "bap.example",
        "transaction_id": f"t-{no}",
        "state": "COMPLETED",
        "version": 4,
        "station": "CP1",
        "evse": 1,
        "connector": 1,
        "session_id": "s-7",
        "created_ms": NOW_MS,
        "updated_ms": NOW_MS,
        "data": json.dumps(whole),
    }


async def test_an_order_shows_quote_session_and_payments(api: Client, world: World) -> None:
    await world.add(Table.ORDERS, order_row(1), order_row(2, final=None, payment=None, refunds=[]))
    body = (await api("GET", "/api/v1/orders/o-1")).body
    assert (body["number"], body["charger_id"], body["session_id"]) == ("N1", "CP1", "s-7")
    assert (body["quote"]["amount"], body["quote"]["currency"]) == ("97.50", "INR")
    assert body["quote"]["components"][1]["amount"] == {"amount": "-15.00", "currency": "INR"}
    assert body["ordered"] == {"kind": "ENERGY", "energy_wh": 2500, "amount": None, "minutes": None, "quoted_wh": 2500}
    assert body["payment"]["amount"] == {"amount": "97.50", "currency": "INR"}
    assert [one["payment_id"] for one in body["payments"]] == ["p-1", "r-1"]
    assert (body["delivered_wh"], body["final"]) == (2300, None)
    assert [one["id"] for one in await api.walk("/api/v1/orders", 1)] == ["o-2", "o-1"]
    for query in ("transaction_id=t-1", "state=COMPLETED&transaction_id=t-1", "bap_id=bap.example&transaction_id=t-1"):
        assert [one["id"] for one in (await api("GET", f"/api/v1/orders?{query}")).body["items"]] == ["o-1"]


async def test_the_ledger_shows_entries_their_sum_and_the_figures(api: Client, world: World) -> None:
    await world.add(Table.ORDERS, order_row(1))
    assert (await api("GET", "/api/v1/orders/o-1/ledger")).body["items"] == []
    entries = [("ORDERED", 9750, 2500), ("METERED", -8970, -2300), ("DIFFERENCE", -780, -200), ("COLLECTED", 9750, 0)]
    entries += [("PRICED", -8970, 0), ("REFUND", -780, 0)]
    for n, (kind, amount, wh) in enumerate(entries):
        row: Row = {
            "order_id": "o-1",
            "revision": 1,
            "kind": kind,
            "amount_minor": amount,
            "wh": wh,
            "idem_key": f"k{n}",
            "at_ms": NOW_MS,
        }
        await world.add(Table.LEDGER, row)
    body = (await api("GET", "/api/v1/orders/o-1/ledger")).body
    assert [one["kind"] for one in body["items"]] == [kind for kind, _, _ in entries]
    assert body["items"][3]["account"] == "buyer"
    assert body["items"][1]["energy_wh"] == -2300
    assert body["sum"] == {"amount": "0.00", "currency": "INR"}
    assert body["summary"]["delivered"] == {"amount": "89.70", "currency": "INR"}
    assert body["summary"]["refunded"] == {"amount": "7.80", "currency": "INR"}
    assert (body["summary"]["ordered_wh"], body["summary"]["delivered_wh"]) == (2500, 2300)
    assert body["next_cursor"] is None


# -- cases


async def test_a_case_is_resolved_once_and_journalled(api: Client, world: World) -> None:
    await world.add(Table.CASES, case_row(1, station="CP1", session_id="s-7"), case_row(2))
    assert [one["id"] for one in await api.walk("/api/v1/cases", 1)] == ["case-2", "case-1"]
    assert (await api("POST", "/api/v1/cases/case-1/resolve", {})).status == 422
    done = await api("POST", "/api/v1/cases/case-1/resolve", {"resolution": "clock set"})
    assert (done.status, done.body["state"], done.body["resolution"]) == (200, "resolved", "clock set")
    assert done.body["resolved_at"] == "2026-01-02T03:00:00.000Z"
    again = await api("POST", "/api/v1/cases/case-1/resolve", {"resolution": "again"})
    assert (again.status, again.body["type"]) == (409, "/problems/wrong-state")
    assert [one["id"] for one in (await api("GET", "/api/v1/cases?state=open")).body["items"]] == ["case-2"]
    assert (await api("GET", "/api/v1/cases/case-1")).body == done.body
    facts = await world.store.read(lambda tx: tx.facts(0, 10))
    assert [(fact.kind, fact.body["who"]) for fact in facts] == [("CaseResolved", "bootstrap")]
