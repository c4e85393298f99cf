"""Chargers, their frames, raw messages and commands."""

from __future__ import annotations

import json
from typing import Any

import pytest
from apiworld import NOW_MS, Client, View, World, session_row, station_row

from csms.app.answers import RawAnswer
from csms.ports import Row, Table


def socket_row(station: str, evse: int, connector: int, status: str = "Available") -> Row:
    return {
        "station": station,
        "evse": evse,
        "connector": connector,
        "status": status,
        "reported_ms": NOW_MS,
        "status_at_ms": NOW_MS - 500,
        "error_code": "NoError",
    }


def exchange(seq: int, **more: Any) -> Row:
    row: Row = {
        "seq": seq,
        "station_no": 1,
        "at_ms": NOW_MS + seq * 1000,
        "origin": 0,
        "action": "Heartbeat",
        "message_id": f"m{seq}",
        "request": json.dumps([2, f"m{seq}", "Heartbeat", {}]),
        "response": json.dumps([3, f"m{seq}", {"currentTime": "2026-01-02T03:00:00Z"}]),
        "answered_ms": NOW_MS + seq * 1000 + 7,
    }
    return {**row, **more}


# -- the register


async def test_a_charger_is_made_shown_changed_and_removed(api: Client, world: World) -> None:
    made = await api(
        "POST",
        "/api/v1/chargers",
        {
            "id": "CP1",
            "password": "0123456789abcdef",
            "location_id": "LOC1",
            "rated_kw": 7.4,
            "quirks": ["ist_sent_as_z"],
        },
    )
    assert made.status == 201
    assert (made.body["registration"], made.body["security_profile"]) == ("Accepted", 1)
    assert (made.body["has_password"], made.body["rated_w"], made.body["online"]) == (True, 7400, False)
    assert "password" not in made.body
    assert world.stations.told == ["CP1"]
    stored = await world.store.read(lambda tx: tx.one(Table.STATIONS, id="CP1"))
    assert stored is not None
    assert (stored["no"], stored["password_hash"]) == (1, "hashed:16")

    changed = await api("PATCH", "/api/v1/chargers/CP1", {"registration": "Pending", "location_id": None})
    assert changed.status == 200
    assert (changed.body["registration"], changed.body["location_id"]) == ("Pending", None)
    assert (changed.body["rated_w"], changed.body["has_password"]) == (7400, True)
    assert (await api("GET", "/api/v1/chargers/CP1")).body == changed.body

    assert (await api("DELETE", "/api/v1/chargers/CP1")).status == 204
    assert (await api("GET", "/api/v1/chargers/CP1")).status == 404
    assert (await api("GET", "/api/v1/chargers")).body == {"items": [], "next_cursor": None}
    assert world.stations.told == ["CP1"] * 3
    facts = await world.store.read(lambda tx: tx.facts(0, 10))
    assert [(fact.kind, fact.station) for fact in facts] == [
        ("ChargerCreated", "CP1"),
        ("RegistrationChanged", "CP1"),
        ("ChargerChanged", "CP1"),
        ("ChargerDeleted", "CP1"),
    ]
    assert all(fact.body["who"] == "bootstrap" for fact in facts)


async def test_a_deleted_charger_comes_back_without_its_old_password(api: Client, world: World) -> None:
    await api("POST", "/api/v1/chargers", {"id": "CP1", "password": "0123456789abcdef"})
    await api("DELETE", "/api/v1/chargers/CP1")
    again = await api("POST", "/api/v1/chargers", {"id": "CP1"})
    assert (again.status, again.body["has_password"], again.body["security_profile"]) == (201, False, 0)
    stored = await world.store.read(lambda tx: tx.one(Table.STATIONS, id="CP1"))
    assert stored is not None
    assert stored["no"] == 1


async def test_two_chargers_cannot_have_one_name(api: Client) -> None:
    assert (await api("POST", "/api/v1/chargers", {"id": "CP1"})).status == 201
    for id_ in ("CP1", "cp1"):
        reply = await api("POST", "/api/v1/chargers", {"id": id_})
        assert (reply.status, reply.body["type"]) == (409, "/problems/already-exists")


async def test_a_charger_with_an_open_session_is_not_removed(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    await world.add(Table.SESSIONS, session_row(1))
    reply = await api("DELETE", "/api/v1/chargers/CP1")
    assert (reply.status, reply.body["type"]) == (409, "/problems/wrong-state")


@pytest.mark.parametrize("id_", ["", "a/b", "a b", "a\u0000", "x" * 101])
async def test_an_id_that_fits_no_url_is_refused(api: Client, id_: str) -> None:
    assert (await api("POST", "/api/v1/chargers", {"id": id_})).status == 422


async def test_live_state_and_connectors_are_shown(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1, last_seen_ms=NOW_MS - 5000, vendor="V", boot_ms=NOW_MS))
    await world.add(
        Table.SOCKETS, socket_row("CP1", 0, 0, "Unavailable"), socket_row("CP1", 2, 2), socket_row("CP1", 1, 1)
    )
    world.stations.views["CP1"] = View("CP1")
    body = (await api("GET", "/api/v1/chargers/CP1")).body
    assert (body["online"], body["transport"], body["vendor"]) == (True, "ocpp1.6", "V")
    assert body["last_seen_at"] == "2026-01-02T03:00:00.000Z"
    assert body["connected_at"] == "2026-01-02T03:00:00.000Z"
    assert body["status"] == "Unavailable"
    assert [(one["evse_id"], one["connector_id"], one["status"]) for one in body["connectors"]] == [
        (1, 1, "Available"),
        (2, 2, "Available"),
    ]
    assert body["connectors"][0]["reported_at"] == "2026-01-02T03:00:00.000Z"


async def test_connectors_may_be_declared_before_the_charger_reports_them(api: Client, world: World) -> None:
    declared = [{"evse_id": 1, "connector_id": 1, "standard": "IEC_62196_T2_COMBO", "max_power_w": 60000}]
    made = await api("POST", "/api/v1/chargers", {"id": "CP1", "connectors": declared})
    assert made.body["connectors"][0]["status"] is None
    await world.add(Table.SOCKETS, socket_row("CP1", 1, 1))
    shown = (await api("GET", "/api/v1/chargers/CP1")).body["connectors"]
    assert [(one["status"], one["max_power_w"]) for one in shown] == [("Available", 60000)]
    # The charger path writes `data` from its own memory.
    await world.store.transact(lambda tx: tx.change(Table.STATIONS, {"data": "{}"}, id="CP1"))
    assert (await api("GET", "/api/v1/chargers")).body["items"][0]["connectors"] == shown
    assert (await api("PATCH", "/api/v1/chargers/CP1", {"connectors": None})).body["connectors"][0]["standard"] is None
    twice = await api("PATCH", "/api/v1/chargers/CP1", {"connectors": declared * 2})
    assert twice.status == 422


async def test_a_walk_sees_every_charger_once_while_others_are_added(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, *(station_row(f"CP{n:03}", n) for n in range(1, 26)))
    first = (await api("GET", "/api/v1/chargers?limit=10")).body
    await world.add(Table.STATIONS, station_row("CP000", 99))
    found = [one["id"] for one in first["items"]]
    cursor = first["next_cursor"]
    while cursor:
        page = (await api("GET", f"/api/v1/chargers?limit=10&cursor={cursor}")).body
        found += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert found == [f"CP{n:03}" for n in range(1, 26)]
    assert len(await api.walk("/api/v1/chargers?registration=Accepted", 5)) == 26
    assert (await api("GET", "/api/v1/chargers?registration=Pending")).body["items"] == []


async def test_credentials_are_rotated_by_the_use_case(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    reply = await api("POST", "/api/v1/chargers/CP1/credentials")
    assert (reply.status, reply.body["password"]) == (200, "made-here-0123456789")
    await api("POST", "/api/v1/chargers/CP1/credentials", {"password": "chosen-0123456789", "push": False})
    assert world.credentials.asked == [("CP1", None, True), ("CP1", "chosen-0123456789", False)]
    assert (await api("POST", "/api/v1/chargers/nobody/credentials")).status == 404


# -- any OCPP message


async def test_a_raw_message_is_sent_as_written_and_the_answer_comes_back(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    reply = await api("POST", "/api/v1/chargers/CP1/ocpp/Reset?timeout_s=2.5", {"type": "Hard"})
    assert reply.status == 200
    assert reply.body == {
        "status": "answered",
        "message_id": "m-1",
        "response": {"status": "Accepted"},
        "error": None,
    }
    await api("POST", "/api/v1/chargers/CP1/ocpp/ClearCache")
    assert world.instructing.sent == [("CP1", "Reset", {"type": "Hard"}, 2.5), ("CP1", "ClearCache", {}, 30.0)]


async def test_silence_and_refusal_of_a_charger_are_answers_too(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    for answer in (
        RawAnswer(status="offline", error="CP1 is offline"),
        RawAnswer(status="timeout", message_id="m"),
        RawAnswer(status="call_error", message_id="m", error=["NotSupported", "", {}]),
    ):
        world.instructing.answer = answer
        reply = await api("POST", "/api/v1/chargers/CP1/ocpp/Reset", {"type": "Hard"})
        assert (reply.status, reply.body["status"]) == (200, answer.status)


async def test_a_payload_that_breaks_the_schema_is_a_422_and_nothing_is_sent(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    reply = await api("POST", "/api/v1/chargers/CP1/ocpp/Reset", {"type": "Sideways"})
    assert (reply.status, reply.body["type"]) == (422, "/problems/payload-breaks-schema")
    assert reply.body["errors"][0]["path"] == "/type"
    unknown = await api("POST", "/api/v1/chargers/CP1/ocpp/Flurb", {})
    assert (unknown.status, unknown.body["type"]) == (422, "/problems/not-supported")
    assert (await api("POST", "/api/v1/chargers/CP1/ocpp/Reset", ["Hard"])).status == 422
    assert (await api("POST", "/api/v1/chargers/CP1/ocpp/Reset?timeout_s=0", {})).status == 422
    assert (await api("POST", "/api/v1/chargers/nobody/ocpp/Reset", {})).status == 404
    assert world.instructing.sent == []


async def test_secrets_in_a_raw_answer_are_masked(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    world.instructing.answer = RawAnswer(
        status="answered",
        message_id="m",
        response={"configurationKey": [{"key": "AuthorizationKey", "readonly": False, "value": "deadbeef"}]},
    )
    reply = await api("POST", "/api/v1/chargers/CP1/ocpp/GetConfiguration", {})
    assert "deadbeef" not in reply.text
    assert reply.body["response"]["configurationKey"][0]["value"] == "***"


# -- frames


async def test_an_exchange_is_two_frames_newest_first(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1), station_row("CP2", 2))
    await world.add(
        Table.FRAMES,
        exchange(1),
        exchange(2, origin=1, action="Reset", request='[2,"m2","Reset",{"type":"Hard"}]', response=None),
        exchange(3, station_no=2),
        exchange(4, action=None, message_id=None, request="[2,oops", response=None, note="no JSON"),
        exchange(5, response='[4,"m5","InternalError","",{}]'),
    )
    items = (await api("GET", "/api/v1/chargers/CP1/frames")).body["items"]
    assert [(one["direction"], one["type"], one["message_id"]) for one in items] == [
        ("out", "error", "m5"),
        ("in", "call", "m5"),
        ("in", "malformed", None),
        ("out", "call", "m2"),
        ("out", "result", "m1"),
        ("in", "call", "m1"),
    ]
    assert items[2]["frame"] == "[2,oops"
    assert items[3]["frame"] == [2, "m2", "Reset", {"type": "Hard"}]
    assert items[4]["latency_ms"] == 7
    assert items[4]["action"] == "Heartbeat"
    only = (await api("GET", "/api/v1/chargers/CP1/frames?action=Reset")).body["items"]
    assert [one["action"] for one in only] == ["Reset"]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 100])
async def test_a_walk_sees_every_frame_once(api: Client, world: World, limit: int) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    await world.add(Table.FRAMES, *(exchange(n, **({"response": None} if n % 3 == 0 else {})) for n in range(1, 10)))
    walked = await api.walk("/api/v1/chargers/CP1/frames", limit)
    seen = [(one["message_id"], one["type"]) for one in walked]
    assert len(seen) == len(set(seen)) == 15
    assert [one["at"] for one in walked] == sorted((one["at"] for one in walked), reverse=True)


@pytest.mark.parametrize(
    "frame",
    [
        [2, "1", "ChangeConfiguration", {"key": "AuthorizationKey", "value": "SECRET"}],
        [3, "1", {"configurationKey": [{"key": "authorizationkey", "readonly": False, "value": "SECRET"}]}],
        [
            2,
            "1",
            "SetVariables",
            {
                "setVariableData": [
                    {
                        "attributeValue": "SECRET",
                        "component": {"name": "SecurityCtrlr"},
                        "variable": {"name": "BasicAuthPassword"},
                    }
                ]
            },
        ],
        [
            2,
            "1",
            "NotifyReport",
            {"reportData": [{"variable": {"name": "BasicAuthPassword"}, "variableAttribute": [{"value": "SECRET"}]}]},
        ],
        [2, "1", "SetNetworkProfile", {"connectionData": {"apn": {"apnPassword": "SECRET", "simPin": 4711}}}],
        [2, "1", "SetNetworkProfile", {"connectionData": {"vpn": {"server": "s", "user": "u", "key": "SECRET"}}}],
        [2, "1", "GetDiagnostics", {"location": "ftp://user:SECRET@host/path"}],
        '[2,"1","ChangeConfiguration",{"key":"AuthorizationKey","value":"SECRET"',
    ],
)
async def test_secrets_in_frames_are_masked(api: Client, world: World, frame: Any) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    raw = frame if isinstance(frame, str) else json.dumps(frame)
    await world.add(Table.FRAMES, exchange(1, request=raw, response=None))
    reply = await api("GET", "/api/v1/chargers/CP1/frames")
    assert "***" in reply.text
    assert "SECRET" not in reply.text
    assert "4711" not in reply.text


async def test_what_is_no_secret_stays_readable(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    frame = [2, "1", "ChangeConfiguration", {"key": "HeartbeatInterval", "value": "300"}]
    await world.add(Table.FRAMES, exchange(1, request=json.dumps(frame), response=None))
    assert (await api("GET", "/api/v1/chargers/CP1/frames")).body["items"][0]["frame"] == frame


# -- commands

COMMANDS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "start",
        {"token": "TAG1", "evse_id": 1, "connector_id": 2, "budget_wh": 500},
        {"token": "TAG1", "evse": 1, "connector": 2, "budget_wh": 500},
    ),
    ("start", {"token": "TAG1", "connector_id": 1}, {"token": "TAG1", "evse": 1, "connector": 1}),
    ("start", {"token": "TAG1", "evse": 2}, {"token": "TAG1", "evse": 2, "connector": 2}),
    ("stop", {"session_id": "s-7"}, {"session_id": "s-7"}),
    ("stop", {"transaction_id": 7}, {"session_id": "s-7"}),
    ("unlock", {"connector_id": 2}, {"evse": 2, "connector": 2}),
    ("reset", {}, {"hard": False}),
    ("reset", {"type": "Hard"}, {"hard": True}),
    ("reset", {"hard": True, "evse_id": 1}, {"hard": True, "evse": 1}),
    ("availability", {"operative": False}, {"operative": False}),
    ("availability", {"type": "Operative", "connector_id": 1}, {"operative": True, "evse": 1, "connector": 1}),
    ("trigger", {"message": "MeterValues", "evse_id": 1}, {"message": "MeterValues", "evse": 1}),
    ("limit", {"watts": 3300, "session_id": "s-7"}, {"watts": 3300, "session_id": "s-7"}),
    ("get_config", {"keys": ["HeartbeatInterval"]}, {"keys": ["HeartbeatInterval"]}),
    ("set_config", {"key": "HeartbeatInterval", "value": "60"}, {"key": "HeartbeatInterval", "value": "60"}),
    ("clear_cache", {}, {}),
    ("data_transfer", {"vendor_id": "V", "data": "x"}, {"vendor_id": "V", "data": "x"}),
]


async def test_a_limit_without_a_session_is_a_profile_of_the_connector_or_the_charger(
    api: Client, world: World
) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1, transport="ocpp1.6"))
    await world.add(Table.SOCKETS, socket_row("CP1", 1, 1))
    for body, purpose, place in (
        ({"amperes": 6.5, "connector_id": 1}, "TxDefaultProfile", {"evse": 1, "connector": 1}),
        ({"watts": 0}, "ChargingStationMaxProfile", {}),
    ):
        assert (await api("POST", "/api/v1/chargers/CP1/commands/limit", body)).status == 202
        charger_id, kind, payload, _ = world.instructing.issued[-1]
        assert (charger_id, kind) == ("CP1", "set_profile")
        profile = payload.pop("profile")
        assert (profile["chargingProfilePurpose"], payload) == (purpose, place)
        (period,) = profile["chargingSchedule"][0]["chargingSchedulePeriod"]
        assert period == {"startPeriod": 0, "limit": body.get("watts", body.get("amperes"))}


async def test_commands_become_instructions(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1, transport="ocpp1.6"))
    await world.add(Table.SOCKETS, socket_row("CP1", 1, 1), socket_row("CP1", 2, 2))
    await world.add(Table.SESSIONS, session_row(7))
    await world.add(Table.ALIASES, {"station": "CP1", "kind": "ocpp16_id", "value": "7", "session_no": 7})
    for kind, body, payload in COMMANDS:
        reply = await api("POST", f"/api/v1/chargers/CP1/commands/{kind}", body)
        assert reply.status == 202, (kind, body, reply.text)
        assert set(reply.body) == {"id", "state"}
        assert reply.body["state"] == "ISSUED"
        assert world.instructing.issued[-1][:3] == ("CP1", kind, payload)
        shown = await api("GET", f"/api/v1/instructions/{reply.body['id']}")
        assert (shown.body["charger_id"], shown.body["kind"], shown.body["payload"]) == ("CP1", kind, payload)
    assert {kind for kind, _, _ in COMMANDS} == {
        path.rsplit("/", 1)[1] for path in (await api("GET", "/openapi.json")).body["paths"] if "/commands/" in path
    }
    walked = await api.walk("/api/v1/instructions?charger_id=CP1", 3)
    assert len({one["id"] for one in walked}) == len(walked) == len(COMMANDS)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("start", {"evse_id": 1, "connector_id": 1}, 422),
        ("start", {"token": "TAG1"}, 422),  # two connectors: which?
        ("start", {"token": "T" * 37, "connector_id": 1}, 422),
        ("stop", {}, 422),
        ("stop", {"session_id": "s-7", "transaction_id": 7}, 422),
        ("stop", {"session_id": "s-9"}, 404),
        ("stop", {"session_id": "s-8"}, 404),  # of another charger
        ("stop", {"transaction_id": 9}, 404),
        ("reset", {"type": "Softly"}, 422),
        ("availability", {}, 422),
        ("limit", {"watts": 1, "amperes": 1}, 422),
        ("limit", {"watts": -1}, 422),
        ("fly", {}, 404),
    ],
)
async def test_a_command_that_says_too_little_or_too_much_goes_nowhere(
    api: Client, world: World, kind: str, body: dict[str, Any], status: int
) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1), station_row("CP2", 2))
    await world.add(Table.SOCKETS, socket_row("CP1", 1, 1), socket_row("CP1", 2, 2))
    await world.add(Table.SESSIONS, session_row(7), session_row(8, station="CP2"))
    assert (await api("POST", f"/api/v1/chargers/CP1/commands/{kind}", body)).status == status
    assert world.instructing.issued == []


async def test_a_lone_connector_need_not_be_named(api: Client, world: World) -> None:
    await world.add(Table.STATIONS, station_row("CP1", 1))
    await world.add(Table.SOCKETS, socket_row("CP1", 0, 0), socket_row("CP1", 1, 1))
    assert (await api("POST", "/api/v1/chargers/CP1/commands/start", {"token": "TAG1"})).status == 202
    assert world.instructing.issued[0][2] == {"token": "TAG1", "evse": 1, "connector": 1}


async def test_commands_to_nobody_are_404(api: Client) -> None:
    for kind, body, _ in COMMANDS:
        assert (await api("POST", f"/api/v1/chargers/nobody/commands/{kind}", body)).status == 404


async def test_an_instruction_tells_its_fate_without_secrets(api: Client, world: World) -> None:
    row: Row = {
        "id": "i1",
        "station": "CP1",
        "kind": "set_config",
        "payload": '{"key":"AuthorizationKey","value":"SECRET"}',
        "priority": 5,
        "state": "REFUSED",
        "issued_ms": NOW_MS,
        "sent_ms": NOW_MS + 1,
        "answered_ms": NOW_MS + 2,
        "expires_ms": NOW_MS + 60_000,
        "reason": "Rejected",
        "response": '{"status":"Rejected"}',
    }
    await world.add(Table.INSTRUCTIONS, row)
    body = (await api("GET", "/api/v1/instructions/i1")).body
    assert "SECRET" not in str(body)
    assert (body["state"], body["reason"], body["response"]) == ("REFUSED", "Rejected", {"status": "Rejected"})
    assert body["accepted_at"] == "2026-01-02T03:00:00.002Z"
    assert body["effective_at"] is None


# -- quirks


async def test_a_word_nobody_knows_is_refused_with_those_there_are(api: Client, world: World) -> None:
    for method, path in (("POST", "/api/v1/chargers"), ("PATCH", "/api/v1/chargers/CP1")):
        body = {"quirks": ["no_server_pong"], **({"id": "CP1"} if method == "POST" else {})}
        refused = await api(method, path, body)
        assert refused.status == 422
        assert "no_server_pong" in refused.body["errors"][0]["detail"]
        assert "max_keys_per_get=N" in refused.body["errors"][0]["detail"]
        await api("POST", "/api/v1/chargers", {"id": "CP1"})
    words = ["tz_missing=UTC", "tz_missing=IST"]
    assert (await api("PATCH", "/api/v1/chargers/CP1", {"quirks": words})).status == 422
    assert (await api("PATCH", "/api/v1/chargers/CP1", {"profile": "nobody"})).status == 422
    listed = (await api("GET", "/api/v1/quirks")).body["items"]
    assert {"name": "max_keys_per_get", "spellings": ["max_keys_per_get=N"]}.items() <= {
        k: v for k, v in next(one for one in listed if one["name"] == "max_keys_per_get").items() if k != "meaning"
    }.items()


async def test_what_is_odd_about_a_charger_is_shown_with_where_it_is_known_from(api: Client, world: World) -> None:
    body = {"id": "CP1", "profile": "kestrel-k7", "quirks": ["no_server_ping"]}
    assert (await api("POST", "/api/v1/chargers", body)).status == 201
    shown = (await api("GET", "/api/v1/chargers/CP1/quirks")).body
    assert (shown["profile"], shown["chosen_by"]) == ("kestrel-k7", "operator")
    assert shown["quirks"] == [
        {"word": "boot_on_reconnect_is_not_reboot", "given_by": "profile"},
        {"word": "no_server_ping", "given_by": "operator"},
    ]
    assert shown["counts"] == {"repaired": {"object_for_array": 2}}
    assert shown["clock"] == {"skew_ms": 150_000, "is_alarming": True, "is_indian_time_as_utc": False}
    assert (await api("GET", "/api/v1/chargers/NOBODY/quirks")).status == 404
    listed = (await api("GET", "/api/v1/profiles")).body["items"]
    assert [one["id"] for one in listed] == sorted(one["id"] for one in listed)
    assert {"word": "ist_sent_as_z", "affects": "<2.1.4", "evidence": "transcripts/k7-2.1.0.jsonl"} in listed[0][
        "quirks"
    ]
